"""Families of distributions over numbers: what each of them says about itself.

A family is one file: a frozen dataclass whose fields are its parameters, each with the
range that it lies in, and four methods, each a formula. What they are given is `aligned`:
arrays of one shape and one dtype. The rest, shapes, dtypes, checks, is done here.
"""

import abc
import dataclasses
from typing import Any, ClassVar, final, Self, TypeAlias

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from ..._core import shapes as facts
from ..._core.pytrees import pytree
from ..._core.ranges import Range
from ..._core.verdicts import Claim, look
from .positive import Log, Numbers

Positive: TypeAlias = Numbers | Log


def parameter(range: str, *, axes: int = 0, **default: Any) -> Any:
    """A field that lies in a named range, and has so many axes of the event."""
    return dataclasses.field(metadata={"range": range, "axes": axes}, **default)


class Family(abc.ABC):
    """A distribution over numbers, or over vectors: the last axis is then the event's.

    The base of `Normal`, `Gamma`, `Poisson` and all the others, for annotations.

    Example:
      >>> import jxent
      >>> def uncertain(p: jxent.Family) -> bool:
      ...     return bool(jxent.entropy(p) > 1)
      >>> uncertain(jxent.Normal(0.0, 1.0))
      True
    """

    event_axes: ClassVar[int] = 0
    support: ClassVar[str] = "finite"  # the range of an observation

    @abc.abstractmethod
    def entropy(self) -> Float[Array, "*batch"]:
        """`−∫ p log p`, in nats; of counts, a sum."""

    @abc.abstractmethod
    def surprise(self, x: Float[Array, "..."]) -> Float[Array, "*batch"]:
        """`−log p(x)`, the density's or the probability's; +inf where p(x) is 0."""

    @abc.abstractmethod
    def cross_entropy(self, q: Any) -> Float[Array, "*batch"]:
        """`−∫ p log q`, for another member q of the family."""

    @abc.abstractmethod
    def divergence(self, q: Any) -> Float[Array, "*batch"]:
        """`∫ p log(p/q)`, for another member q of the family; never negative."""

    def wider(self) -> "Family | None":
        """The same distribution as a member of a larger family, where there is one."""
        return None

    def surprise_over(
        self, low: Float[Array, "..."], high: Float[Array, "..."]
    ) -> Float[Array, "*batch"] | None:
        """The mean of `surprise` between two numbers, where it has a closed form."""
        return None

    @property
    def batch(self) -> tuple[int, ...]:
        shapes = [jnp.shape(x)[: jnp.ndim(x) - axes] for _, x, _, axes in self._items()]
        return broadcast(type(self).__name__, *shapes)

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of one draw."""
        if not self.event_axes:
            return ()
        sizes = [jnp.shape(x)[-1:] for _, x, _, axes in self._items() if axes]
        if () in sizes or len(set(sizes)) > 1:
            raise ValueError(f"{self._shapes()}: the event axis (the last) differs")
        return sizes[0]

    def check(self, name: str, caller: str) -> None:
        """Raises if a parameter is none; the values as the mode of `checks` says."""
        for field, x, range, axes in self._items():
            if jnp.ndim(x) < axes:
                shape = f"{caller}: {name}.{field} has shape {jnp.shape(x)}"
                raise ValueError(f"{shape}, and needs an axis of the event")
            check_range(x, range, f"{name}.{field}", caller)
        _ = self.event  # raises if sizes differ

    def check_observation(self, x: Array, name: str, caller: str) -> None:
        """Raises if `x` has no density here."""
        check_range(x, self.support, name, caller)

    def aligned(self, batch: tuple[int, ...], dtype: Any) -> Self:
        """The same, with parameters of one shape and dtype; NaN where they are illegal."""
        new = {}
        for field, x, range, axes in self._items():
            x = jnp.asarray(x).astype(dtype)
            x = Range(range).only(x)
            x = jnp.broadcast_to(x, batch + x.shape[x.ndim - axes :])
            new[field] = Log(x) if isinstance(getattr(self, field), Log) else x
        return dataclasses.replace(self, **new)  # pyright: ignore

    def _items(self) -> list[tuple[str, Any, str, int]]:
        """Each parameter's name, numbers, range, and axes of the event."""
        items = []
        for f in dataclasses.fields(self):  # pyright: ignore[reportArgumentType]
            x = getattr(self, f.name)
            range, axes = f.metadata["range"], f.metadata["axes"]
            if isinstance(x, Log):
                items.append((f.name, x.x, "finite", axes))
            elif x is not None:
                items.append((f.name, x, range, axes))
        return items

    def _shapes(self) -> str:
        shapes = (f"{name} of {jnp.shape(x)}" for name, x, *_ in self._items())
        return f"{type(self).__name__} with {', '.join(shapes)}"


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Observed:
    """What has been observed: numbers, counts, or vectors. The truth of a likelihood.

    As `Labels` are to classes: `cross_entropy(Observed(x), q)` is −log q(x), whose mean is
    the negative log-likelihood. With a `Normal` of scale 1 it is half the squared error,
    and a constant; with a `Laplace` the absolute error. It has no entropy and no
    divergence: against a density, a point's are infinite.

    Args:
      x: The observations. Integers are counts; a `MultivariateNormal` and a `Dirichlet`
        take the last axis as one observation.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> x = jxent.Observed(jnp.array([0.0, 1.0, 2.0]))
      >>> print(jxent.cross_entropy(x, jxent.Normal(0.0, 1.0)))
      [0.9189385 1.4189385 2.9189386]
      >>> print(jxent.cross_entropy(jxent.Observed(jnp.array([0, 3])), jxent.Poisson(2.0)))
      [2.        1.712318...]
    """

    x: Num[ArrayLike, "..."]


def broadcast(what: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The batch that all broadcast to; no column against a row, which is a mistake."""
    batch = ()
    for shape in shapes:
        message = f"{what}: shapes {', '.join(map(str, shapes))}"
        batch = facts.broadcast_batches(batch, shape, message, columns=not batch)
    return batch


def check_range(x: Any, range: str, name: str, caller: str) -> None:
    """Raises unless `x` is of floating-point numbers in a named range."""
    x = facts.as_given(as_float(x), name, caller)
    fix = f"; did you mean {name}.astype(float)?"
    facts.check_float(x, name=name, caller=caller, fix=fix)
    look(x, Claim(Range(range), name, caller))


def as_float(x: Any) -> Any:
    """Python's integers as numbers; arrays of integers stay what they are."""
    return float(x) if isinstance(x, int) else x
