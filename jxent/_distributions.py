"""What the numbers mean: probabilities, logits, labels.

Two abstract bases say what a distribution can be. A `Distribution` may be the truth p. A
`Density` has a probability and its logarithm for every class, and so may be the model q
too.
"""

import abc
import dataclasses
from typing import Any, final, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from . import _numerics as num, _softmax as sm, _static as facts, checks
from ._mesh import all_classes, AxisName
from ._pytree import pytree, static


class Distribution(abc.ABC):
    """One distribution per row; may be the truth p."""

    axis_name: AxisName | None = None  # of a `shard_map`, over which the classes are

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


class Density(Distribution):
    """A distribution that has a probability for every class; may be the model q."""

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


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Probs(Density):
    """Probabilities, the last axis the classes. What a bare float array means.

        pᵢ ≥ 0,  Σᵢ pᵢ = 1

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> print(jxent.entropy(jxent.Probs(jnp.array([0.5, 0.25, 0.25])), base=2))
      1.5

    See also: `checks.assert_simplex`, which the measures apply.
    """

    p: Float[ArrayLike, "*batch k"]
    axis_name: AxisName | None = static(None)

    @property
    def data(self) -> Array:
        return _array(self.p)

    def check(self, name: str, caller: str) -> None:
        _check(self, self.p, checks.assert_simplex, name, caller)

    def probs(self) -> Float[Array, "*batch k"]:
        return num.at_least_float32(self.data)

    def log_probs(self) -> Float[Array, "*batch k"]:
        return num.log(self.probs())


@final
@pytree
@dataclasses.dataclass(frozen=True)
class LogProbs(Density):
    """Log-probabilities, in nats, the last axis the classes.

        Σᵢ exp(log pᵢ) = 1

    An impossible class is −inf. Unlike `Logits`, nothing is normalised.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> log_p = jnp.array([-0.6931472, -0.6931472, -jnp.inf])
      >>> print(jxent.perplexity(jxent.LogProbs(log_p)))
      2.0

    See also: `checks.assert_log_simplex`, which the measures apply.
    """

    log_p: Float[ArrayLike, "*batch k"]
    axis_name: AxisName | None = static(None)

    @property
    def data(self) -> Array:
        return _array(self.log_p)

    def check(self, name: str, caller: str) -> None:
        _check(self, self.log_p, checks.assert_log_simplex, name, caller)

    def probs(self) -> Float[Array, "*batch k"]:
        return jnp.exp(self.log_probs())

    def log_probs(self) -> Float[Array, "*batch k"]:
        return num.at_least_float32(self.data)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Logits(Density):
    """Unnormalised log-probabilities, the last axis the classes.

        pᵢ = exp zᵢ / Σⱼ exp zⱼ

    A logit of −inf makes a class impossible: an illegal action, or the padding of a
    vocabulary. A constant added to a row changes nothing. Inside of a `shard_map` over the
    classes, `axis_name` is the axis of the mesh that they are shared out over, in equal
    parts; here as in `Probs` and `LogProbs`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> z = jnp.array([2.0, 2.0, -jnp.inf])
      >>> print(jxent.entropy(jxent.Logits(z), base=2))
      1.0

    See also: `checks.assert_logits`, which the measures apply.
    """

    z: Float[ArrayLike, "*batch k"]
    axis_name: AxisName | None = static(None)

    @property
    def data(self) -> Array:
        return _array(self.z)

    def check(self, name: str, caller: str) -> None:
        _check(self, self.z, checks.assert_logits, name, caller)

    def probs(self) -> Float[Array, "*batch k"]:
        return sm.softmax(num.at_least_float32(self.data))

    def log_probs(self) -> Float[Array, "*batch k"]:
        return sm.log_softmax(num.at_least_float32(self.data))


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Labels(Distribution):
    """Classes known by their index: all of the probability on class `y`.

        pᵢ = (1 − s) [i = y] + s / k                     s = smoothing, k classes

    There is no class axis, so the partner in a measure says how many classes there are,
    and labels can only be the truth p. Smoothing spreads `s` evenly over all classes,
    the labelled and the impossible ones too; for `s = 0` an impossible class costs
    nothing. With a `BinaryProbs` or `BinaryLogits` partner, 1 is the event, 0 that it
    fails to happen. A label outside of [0, k) gives NaN, in value and gradient.

    Args:
      y: The index of each row's class.
      smoothing: The mass that is spread out, in [0, 1). A Python number, part of the
        structure and not of the data: under `jit`, a new value compiles anew.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> q = jnp.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]])
      >>> print(jxent.cross_entropy(jxent.Labels(jnp.array([0, 2])), q, base=2))
      [1. 2.]

    References:
      Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception Architecture
      for Computer Vision", CVPR 2016, section 7.

    See also: `checks.assert_labels`, which the measures apply.
    """

    y: Int[ArrayLike, "*batch"]
    smoothing: float = static(0.0)

    @property
    def data(self) -> Array:
        return facts.indices(self.y)

    @property
    def num_classes(self) -> None:
        return None

    @property
    def batch(self) -> tuple[int, ...]:
        return self.data.shape

    def check(self, name: str, caller: str) -> None:
        facts.check_labels_dtype(facts.integers(self.y), name=name, caller=caller)
        if not isinstance(self.smoothing, int | float):
            kind = type(self.smoothing).__name__
            message = f"{caller}: smoothing is a {kind}, and must be a Python number"
            raise TypeError(message)
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"{caller}: smoothing is {self.smoothing}, not in [0, 1)")

    def among(self, partner: Density) -> Density:
        y, k, s = self.data, partner.num_classes, self.smoothing
        dtype = num.accumulator(partner.data.dtype)
        hot, cold = 1 - s + s / k, s / k
        valid = jnp.where((0 <= y) & (y < k), 1, jnp.nan).astype(dtype)
        if isinstance(partner, Binary):
            return BinaryProbs(jnp.where(y == 1, hot, cold) * valid)
        label = sm.at_class(y, partner.data)
        return Probs(jnp.where(label, hot, cold) * valid[..., None])


@final
@pytree
@dataclasses.dataclass(frozen=True)
class BinaryProbs(Density):
    """The probability of one event, in [0, 1]. Elementwise: there is no class axis.

    As the truth p of a cross-entropy these are the targets, 0, 1 or anything between.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p = jnp.array([0.0, 0.25, 0.5])
      >>> print(jxent.entropy(jxent.BinaryProbs(p), base=2))
      [0.        0.81127... 1.       ]

    See also: `checks.assert_binary_probs`, which the measures apply.
    """

    p: Float[ArrayLike, "*batch"]

    @property
    def data(self) -> Array:
        return _array(self.p)

    @property
    def num_classes(self) -> Literal[2]:
        return 2

    @property
    def batch(self) -> tuple[int, ...]:
        return self.data.shape

    def check(self, name: str, caller: str) -> None:
        checks.assert_binary_probs(self.p, name=name, caller=caller)

    def probs(self) -> Float[Array, "*batch 2"]:
        p = num.at_least_float32(self.data)
        return jnp.stack([1 - p, p], axis=-1)

    def log_probs(self) -> Float[Array, "*batch 2"]:
        p = num.at_least_float32(self.data)
        return jnp.stack([num.log1m(p), num.log(p)], axis=-1)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class BinaryLogits(Density):
    """The logit of one event. Elementwise: there is no class axis.

        p = 1 / (1 + exp(−x)),   x = log(p / (1 − p))

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> x, target = jnp.array([0.0, 3.0, -3.0]), jnp.array([1.0, 1.0, 0.5])
      >>> print(jxent.cross_entropy(jxent.BinaryProbs(target), jxent.BinaryLogits(x)))
      [0.6931472  0.04858735 1.5485873 ]

    See also: `checks.assert_binary_logits`, which the measures apply.
    """

    x: Float[ArrayLike, "*batch"]

    @property
    def data(self) -> Array:
        return _array(self.x)

    @property
    def num_classes(self) -> Literal[2]:
        return 2

    @property
    def batch(self) -> tuple[int, ...]:
        return self.data.shape

    def check(self, name: str, caller: str) -> None:
        checks.assert_binary_logits(self.x, name=name, caller=caller)

    def two_class(self) -> Float[Array, "*batch 2"]:
        """The logits of the two classes."""
        # The larger one is 0, so that an infinite x is no infinite difference.
        x = self.data
        return jnp.stack([jnp.where(x > 0, -x, 0), jnp.where(x > 0, 0, x)], axis=-1)

    def probs(self) -> Float[Array, "*batch 2"]:
        yes, no = num.sigmoids(num.at_least_float32(self.data))
        return jnp.stack([no, yes], axis=-1)

    def log_probs(self) -> Float[Array, "*batch 2"]:
        return sm.log_softmax(num.at_least_float32(self.two_class()))


Binary = (BinaryProbs, BinaryLogits)  # no class axis, two classes: elementwise


def _check(p: Density, x: ArrayLike, values: Any, name: str, caller: str) -> None:
    if p.axis_name is not None:  # one shard of a distribution is none
        values = facts.check_float
    values(x, name=name, caller=caller)


def _array(x: ArrayLike) -> Array:
    return x if isinstance(x, jax.Array) else jnp.asarray(x)
