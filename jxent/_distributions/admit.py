"""How distributions meet in a measure.

Arrays become `Probs`, shapes and dtypes are checked, values as the mode of `checks` says,
and both arguments are brought to one batch shape.
"""

import dataclasses
from typing import Any, Literal, overload, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .. import checks
from .._core import arithmetic as num, shapes as facts
from .adapters import adopt
from .base import Density, Distribution, Model, Streamed
from .binary import Binary, BinaryLogits, BinaryProbs
from .discrete import Labels, Logits, LogProbs, Probs, Shard
from .families import Family, meet, Observed

DensityLike: TypeAlias = Model | Float[ArrayLike, "*batch k"]
DistributionLike: TypeAlias = Distribution | DensityLike
# What the measures of families take as well.
AnyDensity: TypeAlias = DensityLike | Family
AnyDistribution: TypeAlias = DistributionLike | Family | Observed


@overload
def admit_density(
    p: AnyDensity, *, caller: str, name: str = ..., families: Literal[True]
) -> Model | Family: ...
@overload
def admit_density(p: DensityLike, *, caller: str, name: str = ...) -> Model: ...
def admit_density(
    p: Any, *, caller: str, name: str = "p", families: bool = False
) -> Model | Family:
    """Makes an argument of a measure a density, and checks it; a family if it takes one."""
    p = adopt(p, caller=caller, name=name)
    if isinstance(p, Family | Observed):
        _demand_families(families, caller, **{name: p})
        if isinstance(p, Observed):
            raise TypeError(
                f"{caller}: {name} is Observed: numbers, not a distribution"
            )
        p = meet.converted(p, name, caller)
        p.check(name, caller)
        return p
    return _in_shards(
        _model(_admit(p, name, caller, _COUNTS.format(name)), name, caller)
    )


def _model(p: Distribution, name: str, caller: str) -> Model:
    if isinstance(p, Density | Streamed):
        return p
    raise TypeError(
        f"{caller}: {name} is Labels, which do not say how many classes there are; give "
        f"{name} its class axis, as probabilities"
    )


@overload
def admit_pair(
    p: AnyDistribution, q: AnyDensity, *, caller: str, families: Literal[True]
) -> tuple[Distribution, Model] | tuple[Family | Observed, Family]: ...
@overload
def admit_pair(
    p: DistributionLike, q: DensityLike, *, caller: str
) -> tuple[Distribution, Model]: ...
def admit_pair(p: Any, q: Any, *, caller: str, families: bool = False) -> Any:
    """Checks both arguments of a measure, and brings them to one batch shape.

    Members of families come back as they are: `families.meet` aligns them.
    """
    p, q = adopt(p, caller=caller, name="p"), adopt(q, caller=caller, name="q")
    if isinstance(p, Family | Observed) or isinstance(q, Family | Observed):
        _demand_families(families, caller, p=p, q=q)
        p, q = meet.converted(p, "p", caller), meet.converted(q, "q", caller)
        meet.check(p, q, caller)
        return p, q
    p = _admit(p, "p", caller, "class indices are Labels(p), " + _COUNTS.format("p"))
    if isinstance(q, Labels):
        raise TypeError(
            f"{caller}: q is Labels, which have no log-probabilities. The truth comes "
            f"first, as in {caller}(p, q): were the two swapped?"
        )
    swapped = "Labels(q) can only come first: were the two swapped? If not, "
    q = _model(_admit(q, "q", caller, swapped + _COUNTS.format("q")), "q", caller)
    k, elementwise = q.num_classes, isinstance(p, Labels | BinaryProbs | BinaryLogits)
    if isinstance(p, Labels):
        checks.assert_labels(p.y, k, name="p", caller=caller)
        p = Labels(p.data, _number(p.smoothing))
    elif isinstance(p, Binary) != isinstance(q, Binary):
        raise TypeError(
            f"{caller}: p is {type(p).__name__} and q is {type(q).__name__}, and only "
            "one of them has a class axis. Give an event its two classes, as in "
            "Probs(jnp.stack([1 - p, p], axis=-1)), or use binary distributions for both"
        )
    if not isinstance(p, Labels) and p.axis_name != q.axis_name:
        raise ValueError(
            f"{caller}: axis_name of p is {p.axis_name!r} and that of q {q.axis_name!r}: "
            "if one of them has a shard of the classes, give both as shards"
        )
    if p.num_classes not in (None, k):
        why = f"the class axis (the last) differs: {_shapes(p, q)}"
        raise ValueError(f"{caller}: {why}")
    if (batch := p.batch) != q.batch:
        # A column of labels or events, (n, 1), against a row of n is a mistake.
        columns, message = not elementwise, f"{caller}: {_shapes(p, q)}"
        batch = facts.broadcast_batches(batch, q.batch, message, columns=columns)
        p, q = _spread(p, batch), _spread(q, batch)
    if not isinstance(p, Labels) and p.data.dtype != q.data.dtype:
        p, q = _in_the_widest_dtype(p, q)
    return _in_shards(p), _in_shards(q)


def _demand_families(taken: bool, caller: str, **given: Any) -> None:
    """TypeError unless a measure takes families, and all of the arguments are of them."""
    kinds = " and ".join(f"{name} is {type(x).__name__}" for name, x in given.items())
    if not taken:
        raise TypeError(f"{caller}: {kinds}; it takes distributions over classes only")
    if isinstance(given.get("q"), Observed):
        raise TypeError(
            f"{caller}: q is Observed, which has no density. The truth comes first, as in "
            f"{caller}(p, q): were the two swapped?"
        )
    if not all(isinstance(x, Family | Observed) for x in given.values()):
        raise TypeError(
            f"{caller}: {kinds}, and only one of them is a distribution over numbers. "
            "Numbers that were observed are Observed(x), class indices Labels(y)"
        )


def _number(x: Any) -> Any:
    """Python's numbers, which numpy's too become, are known to the program."""
    return float(x) if isinstance(x, int | float | np.number) else jnp.asarray(x)


_D = TypeVar("_D", bound=Distribution)


def _in_shards(p: _D) -> _D | Shard:
    if isinstance(p, Probs | LogProbs | Logits) and p.axis_name is not None:
        return Shard(p)
    return p


def _in_the_widest_dtype(p: _D, q: Model) -> tuple[_D, Model]:
    """Both in float64 if one is; half precision stays what it is beside float32."""
    dtype = num.accumulator(p.data.dtype, q.data.dtype)
    widened = lambda x: (
        x
        if num.accumulator(x.data.dtype) == dtype
        else _with_data(x, x.data.astype(dtype))
    )
    return widened(p), widened(q)


_COUNTS = "counts are divided by their sum: {0} / {0}.sum(-1, keepdims=True)"


def _admit(p: DistributionLike, name: str, caller: str, instead: str) -> Distribution:
    """`instead` is what integers may have been meant for."""
    if not isinstance(p, Distribution):
        p = Probs(facts.as_array(p, name, caller))
        if facts.is_integer(p.data.dtype):
            facts.check_float(p.data, name=name, caller=caller, fix="; " + instead)
    p = of_arrays(p, name, caller)
    p.check(name, caller)
    return p if isinstance(p, Labels) else _with_data(p, p.data)


def of_arrays(p: _D, name: str, caller: str) -> _D:
    """`p` with arrays for what converts itself; what is structure must not be traced."""
    new = {}
    for field in dataclasses.fields(p):  # pyright: ignore[reportArgumentType]
        x = getattr(p, field.name)
        if field.metadata.get("static"):
            if isinstance(x, Tracer):
                raise TypeError(
                    f"{caller}: {field.name} of {name} is traced, and is part of the "
                    "program; close over it, or name it in static_argnames"
                )
        elif not isinstance(x, jax.Array | np.ndarray | int | float | None):
            if not isinstance(p, Labels):
                new[field.name] = facts.as_array(x, f"{field.name} of {name}", caller)
    return dataclasses.replace(p, **new) if new else p  # pyright: ignore


def _shapes(p: Distribution, q: Model) -> str:
    """The words of an error."""

    def shape(p: Distribution) -> tuple[int, ...]:
        elementwise = isinstance(p, (Labels, *Binary))
        return p.batch if elementwise else (*p.batch, p.num_classes or 0)

    return f"p has shape {shape(p)} and q has shape {shape(q)}"


def _spread(p: _D, batch: tuple[int, ...]) -> _D:
    if p.batch == batch:
        return p
    return _with_data(p, jnp.broadcast_to(p.data, batch + p.data.shape[len(p.batch) :]))


def _with_data(p: _D, data: Array) -> _D:
    field = dataclasses.fields(p)[0]  # pyright: ignore[reportArgumentType]
    if getattr(p, field.name) is data:
        return p
    return dataclasses.replace(p, **{field.name: data})  # pyright: ignore
