"""What the numbers mean: probabilities, logits, labels.

Abstract bases say what a distribution can be. Any `Distribution` may be the truth p. A
`Density` has a probability and its logarithm for every class, and so may be the model q
too. So may what is `Streamed`: it has them as well, but never all at once.
"""

import abc
from typing import Any, TypeAlias

from jaxtyping import Array, Float

from .._core.meshes import all_classes
from .._core.shapes import as_array as as_array
from .._kernels.streamed import Kind, Source


class Distribution(abc.ABC):
    """One distribution per row; may be the truth p. The base of all of them.

    Example:
      >>> import jxent
      >>> def bits(p: jxent.Distribution, q: jxent.Density):
      ...     return jxent.cross_entropy(p, q, base=2)
      >>> print(bits(jxent.Labels(0), jxent.Probs([0.25, 0.75])))
      2.0
    """

    axis_name: Any = None  # an `AxisName`, of the mesh axis over which the classes are
    block_size: Any = None  # how many classes to take at once, of what is in tiles

    @property
    @abc.abstractmethod
    def data(self) -> Array:
        """The array that carries the batch axes."""

    @property
    @abc.abstractmethod
    def num_classes(self) -> int | None:
        """How many classes there are, or None where only the partner knows."""

    @property
    @abc.abstractmethod
    def batch(self) -> tuple[int, ...]:
        """The shape of `data` without its class axis, if it has one."""

    @abc.abstractmethod
    def check(self, name: str, caller: str) -> None:
        """Raises if this is not a distribution; the values as the mode says."""

    @abc.abstractmethod
    def among(self, partner: "Density") -> "Density":
        """The same distribution as a density, over the partner's classes."""

    @abc.abstractmethod
    def source(self, partner: "Model") -> tuple[Kind, Source]:
        """What its numbers are, and where a tile of classes has them from."""


class Density(Distribution):
    """A distribution that has a probability for every class; may be the model q.

    The base of `Probs`, `Logits` and their kin, `Labels` excepted.

    Example:
      >>> import jxent
      >>> isinstance(jxent.Probs([0.25, 0.75]), jxent.Density)
      True
      >>> isinstance(jxent.Labels(0), jxent.Density)
      False
    """

    @property
    def num_classes(self) -> int:
        return all_classes(self.data.shape[-1], self.axis_name)

    @property
    def batch(self) -> tuple[int, ...]:
        return self.data.shape[:-1]

    def among(self, partner: "Density") -> "Density":
        return self

    @abc.abstractmethod
    def probs(self) -> Float[Array, "*batch k"]: ...

    @abc.abstractmethod
    def log_probs(self) -> Float[Array, "*batch k"]: ...


class Streamed(Distribution):
    """A distribution whose classes are never all there: in tiles, or in shards.

    It has no `probs()`. A measure that did not think of it cannot be silently wrong.
    """

    @property
    def batch(self) -> tuple[int, ...]:
        return self.data.shape[:-1]

    def among(self, partner: Density) -> Density:
        raise TypeError(self._never_there())

    def __getattr__(self, name: str) -> Any:
        what = f"{type(self).__name__!r} object has no attribute {name!r}"
        asked = name in ("probs", "log_probs")
        raise AttributeError(self._never_there() if asked else what)

    def _never_there(self) -> str:
        return (
            f"{type(self).__name__} has no array of all classes, and this needs one. If it "
            "may be as large as that, multiply: Logits(hidden @ weight)"
        )


Model: TypeAlias = Density | Streamed  # what may be q
