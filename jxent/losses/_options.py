"""The options of losses: each declared once, with its default and its domain.

A loss takes `**options: Unpack[...]` of one of the `TypedDict`s below, and `@loss` does the
rest: it refuses what is not declared, fills in defaults, checks numbers, and gives the loss
a signature that lists them all. A new option is one more line of a `TypedDict`, and the
line that uses it.
"""

import difflib
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeAlias, TypedDict

from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Num
from typing_extensions import TypeVar

from .._core.domains import Interval
from .._core.means import Mean
from .._core.verdicts import demand, demand_all

R = TypeVar("R", default=Array)  # what a reduction makes of the losses
Reduction: TypeAlias = type[R] | Literal["none", "sum", "mean"] | None
Number: TypeAlias = float | Float[ArrayLike, ""]
Where: TypeAlias = Bool[ArrayLike, "..."] | None
Weights: TypeAlias = Num[ArrayLike, "..."] | Bool[ArrayLike, "..."] | None
ClassWeights: TypeAlias = Float[ArrayLike, " k"] | None
Extra: TypeAlias = Literal["log_normalizer", "entropy", "argmax", "correct", "z_loss"]


class Option(NamedTuple):
    """An option's default and, of a number, the interval that it is in."""

    default: Any = None
    within: str = ""  # "[0, 1)", "(0, inf)"; empty for what is no number
    per_row: bool = False  # whether it may be an array, one number for each row


class Reduced(TypedDict, Generic[R], total=False):
    """What every loss takes.

    weights: How much each of the losses counts, of a shape that broadcasts to theirs. A
      loss is multiplied by its weight, and a mean divided by the weights' sum. The slope
      with respect to a weight is the loss, where the weight is 0 too. A weight of 0 also
      removes what has no loss: a row that holds NaN or +inf, or a label that is no class.
    reduction: What to make of the losses. None (or "none") is one number for each; "sum"
      is their sum; "mean" divides it by the weights of what is left, and is 0 where nothing
      is; `jxent.Mean` is that mean, unfinished, so that it merges over micro-batches and
      devices.
    """

    weights: Annotated[Weights, Option()]
    reduction: Annotated[Reduction[R], Option()]


class Rowwise(Reduced[R], Generic[R], total=False):
    """What losses of one event each take.

    where: Which events count, of a shape that broadcasts to the losses'. The others are 0,
      have gradient 0 whatever they hold, and no mean counts them.
    ignore_index: A label whose events are removed likewise.
    """

    where: Annotated[Where, Option()]
    ignore_index: Annotated[int | None, Option()]


class Binary(Rowwise[R], Generic[R], total=False):
    """What losses of sigmoids take besides.

    label_smoothing: The share `s` of (1 − s) y + s/2, in [0, 1).
    """

    label_smoothing: Annotated[Number, Option(0.0, "[0, 1)")]


class Softmax(Reduced[R], Generic[R], total=False):
    """What losses of a softmax take.

    label_smoothing: The share of the target that is spread evenly over the classes, in
      [0, 1).
    class_weights: One number for each class, a factor on that class's term. The mean over
      class indices divides by the weights of the labels, and over soft targets by the
      number of rows, as in PyTorch.
    ignore_index: A class index whose rows are removed; PyTorch's is −100. It has to be
      known while tracing.
    temperature: What to divide the logits by; one number, or one for each row.
    """

    label_smoothing: Annotated[Number, Option(0.0, "[0, 1)")]
    class_weights: Annotated[ClassWeights, Option()]
    ignore_index: Annotated[int | None, Option()]
    temperature: Annotated[
        Number | Float[ArrayLike, "..."], Option(1.0, "(0, inf)", per_row=True)
    ]


class LogLoss(Softmax[R], Generic[R], total=False):
    """What cross-entropies of a softmax take besides.

    z_loss: A factor on (log Σᵢ exp xᵢ)², which is added to keep logits from drifting. Class
      weights do not weigh it, and its mean is over rows.
    """

    z_loss: Annotated[Number, Option(0.0, "[0, inf)")]


class WithExtra(NamedTuple, Generic[R]):
    """A loss, and what else was asked for: one array per name, one number per row."""

    loss: R
    extra: dict[str, Array]


_F = TypeVar("_F", bound=Callable[..., Any])


def loss(f: _F) -> _F:
    """Decorates a loss: `f` gets all options that it declares, checked and complete."""
    declared = _declared(f)
    own = inspect.signature(f)
    kind = inspect.Parameter.KEYWORD_ONLY
    listed = [
        inspect.Parameter(name, kind, default=option.default, annotation=annotation)
        for name, (option, annotation) in declared.items()
    ]
    names = {*own.parameters, *declared} - {"options"}
    own_only = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]

    @functools.wraps(f)
    def call(*args: Any, **given: Any) -> Any:
        if unknown := given.keys() - names:
            name = min(unknown)
            close = difflib.get_close_matches(name, names, 1)
            fix = f"; did you mean {close[0]}?" if close else ""
            raise TypeError(f"{f.__name__}: there is no option {name}{fix}")
        for name, (option, _) in declared.items():
            value = given.setdefault(name, option.default)
            if option.within and value is not option.default:
                check = demand_all if option.per_row else demand
                given[name] = check(value, Interval(option.within), name, f.__name__)
        if (how := given["reduction"]) not in (None, "none", "sum", "mean", Mean):
            raise ValueError(
                f"{f.__name__}: reduction is {how!r}; it is None, 'sum', 'mean' or Mean"
            )
        return f(*args, **given)

    call.__signature__ = own.replace(parameters=[*own_only, *listed])  # pyright: ignore
    return call  # pyright: ignore[reportReturnType]


def _declared(f: Callable[..., Any]) -> dict[str, tuple[Option, Any]]:
    """Options by name: those of the `TypedDict`, and numbers among the parameters."""
    found = {}
    hints = typing.get_type_hints(f, include_extras=True)
    fields = hints.pop("options")
    (fields,) = typing.get_args(fields)  # of Unpack
    fields = typing.get_origin(fields) or fields  # of Softmax[R]
    for name, hint in typing.get_type_hints(fields, include_extras=True).items():
        annotation, option = typing.get_args(hint)[:2]
        found[name] = option, annotation
    return found
