"""Classes: probabilities, log-probabilities, logits, labels."""

import dataclasses
from typing import Any, final

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, DTypeLike, Float, Int

from .. import checks
from .._core import arithmetic as num, shapes as facts
from .._core.domains import BELOW_ONE
from .._core.meshes import AxisName
from .._core.pytrees import number, pytree, static
from .._core.verdicts import demand
from .._kernels import softmax as sm
from .._kernels.streamed import Dense, Kind, OneHot, Source
from .base import as_array, Density, Distribution, Model, Streamed
from .binary import Binary, BinaryProbs


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
        x = self.p
        return x if isinstance(x, jax.Array) else as_array(x)

    def check(self, name: str, caller: str) -> None:
        _check(self, self.p, checks.assert_simplex, name, caller)

    def source(self, partner: Model) -> tuple[Kind, Source]:
        return "probs", Dense(self.data)

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
        x = self.log_p
        return x if isinstance(x, jax.Array) else as_array(x)

    def check(self, name: str, caller: str) -> None:
        _check(self, self.log_p, checks.assert_log_simplex, name, caller)

    def source(self, partner: Model) -> tuple[Kind, Source]:
        return "logs", Dense(self.data)

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
        x = self.z
        return x if isinstance(x, jax.Array) else as_array(x)

    def check(self, name: str, caller: str) -> None:
        _check(self, self.z, checks.assert_logits, name, caller)

    def source(self, partner: Model) -> tuple[Kind, Source]:
        return "logits", Dense(self.data)

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
      smoothing: The mass that is spread out, in [0, 1). A Python number is part of the
        structure: under `jit`, a new value compiles anew, and 0 costs nothing. An array
        without axes is data, for a schedule, and has a derivative.

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
    smoothing: float | Float[ArrayLike, ""] = number(0.0)

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
        y = facts.integers(self.y, name, caller)
        facts.check_labels_dtype(y, name=name, caller=caller)
        demand(self.smoothing, BELOW_ONE, f"smoothing of {name}", caller)

    def source(self, partner: Model) -> tuple[Kind, Source]:
        _, classes = partner.source(partner)
        here, dtype = classes.num_classes, num.accumulator(partner.data.dtype)
        axis_name = partner.axis_name
        return "probs", OneHot(self.data, self.share(dtype), here, axis_name, dtype)

    def share(self, dtype: DTypeLike) -> Any:
        """The smoothing: a Python number, or an array of that dtype."""
        s = self.smoothing
        return s if isinstance(s, int | float) else jnp.asarray(s, dtype)

    def among(self, partner: Density) -> Density:
        dtype = num.accumulator(partner.data.dtype)
        y, k, s = self.data, partner.num_classes, self.share(dtype)
        hot, cold = 1 - s + s / k, s / k
        valid = jnp.where((0 <= y) & (y < k), 1, jnp.nan).astype(dtype)
        if isinstance(partner, Binary):
            return BinaryProbs(jnp.where(y == 1, hot, cold) * valid)
        label = sm.at_class(y, partner.data)
        return Probs(jnp.where(label, hot, cold) * valid[..., None])


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Shard(Streamed):
    """Some of the classes of a distribution, of which each device has as many."""

    of: Probs | LogProbs | Logits

    @property
    def axis_name(self) -> AxisName | None:
        return self.of.axis_name

    @property
    def data(self) -> Array:
        return self.of.data

    @property
    def num_classes(self) -> int:
        return self.of.num_classes

    def check(self, name: str, caller: str) -> None:
        self.of.check(name, caller)

    def source(self, partner: Model) -> tuple[Kind, Source]:
        return self.of.source(partner)


def _check(p: Density, x: ArrayLike, values: Any, name: str, caller: str) -> None:
    if p.axis_name is None:
        values(x, name=name, caller=caller)
    else:  # one shard of a distribution is none
        facts.check_float(facts.as_given(x, name, caller), name=name, caller=caller)
