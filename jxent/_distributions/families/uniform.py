"""The uniform distribution between two numbers."""

import dataclasses
from typing import final, Self

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._core import arithmetic as num
from ..._core.pytrees import pytree
from ..._kernels.terms import skewed
from .base import check_range, Family, Numbers, parameter


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Uniform(Family):
    """Uniform distributions between two numbers, one for each pair.

        −log p(x) = log(b − a),  a ≤ x ≤ b      H = log(b − a)
        KL(p ‖ q) = log((bq − aq)/(bp − ap)), or +∞ where q does not hold all of p

    As the truth p it meets every family that has a mean of −log q over an interval, and
    whose support holds the interval: `Normal`, `Laplace`, `Exponential`, and so on.

    Args:
      low: The lower end a.
      high: The upper end b.

    Limits:
      At equality KL is 0, and its slopes are those from inside: widening q costs.

    Example:
      >>> import jxent
      >>> p = jxent.Uniform(0.0, 1.0)
      >>> print(jxent.kl_divergence(p, jxent.Uniform(0.0, 2.0), base=2))
      1.0
      >>> print(jxent.kl_divergence(p, jxent.Normal(0.5, 1.0)))
      0.960605...
      >>> print(jxent.js_divergence(p, jxent.Uniform(1.0, 2.0), base=2))
      1.0

    References:
      Cover and Thomas, "Elements of Information Theory", 2006, example 8.1.1.
    """

    low: Numbers = parameter("finite")
    high: Numbers = parameter("finite")

    def check(self, name: str, caller: str) -> None:
        super().check(name, caller)
        width = jnp.asarray(self.high) - jnp.asarray(self.low)
        field = f"{name}.high - {name}.low"
        check_range(width, "width", field, caller)

    def check_observation(self, x: Array, name: str, caller: str) -> None:
        super().check_observation(x, name, caller)
        inside = ((x - self.low, "low"), (self.high - x, "high"))
        for distance, end in inside:
            field = f"{name} - q.low" if end == "low" else f"q.high - {name}"
            check_range(distance, "observed from 0", field, caller)

    def _width(self) -> Float[Array, "*batch"]:
        width = self.high - self.low
        return jnp.where(width > 0, width, jnp.nan)

    def entropy(self) -> Float[Array, "*batch"]:
        return num.log(self._width())

    def surprise(self, x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        outside = (x < self.low) | (x > self.high)
        return jnp.where(outside, jnp.inf, self.entropy() + 0 * x)

    def cross_entropy(self, q: Self) -> Float[Array, "*batch"]:
        return q.surprise_over(self.low, self.high)

    def divergence(self, q: Self) -> Float[Array, "*batch"]:
        # log(1 + (wq − wp)/wp), where wq − wp is the sum of two parts that are not
        # negative where q holds all of p.
        extra = (q.high - self.high) + (self.low - q.low)
        inside = (q.low <= self.low) & (self.high <= q.high)
        nats = jnp.log1p(num.quotient(jnp.where(inside, extra, 0), self._width()))
        return jnp.where(inside, nats, jnp.where(q._width() > 0, jnp.inf, jnp.nan))

    def surprise_over(self, low: Array, high: Array) -> Float[Array, "*batch"]:
        inside = (self.low <= low) & (high <= self.high)
        return jnp.where(inside, self.entropy(), jnp.inf)

    def js_divergence(
        self, q: "Uniform", w: Float[Array, "*batch"]
    ) -> Float[Array, "*batch"]:
        # Three intervals, on each of which both densities are constant: what p alone
        # holds, what both do, and what q alone does.
        wp, wq = self._width(), q._width()
        both = jnp.minimum(self.high, q.high) - jnp.maximum(self.low, q.low)
        both = jnp.maximum(both, 0)
        a, b, none = num.reciprocal(wp), num.reciprocal(wq), jnp.zeros_like(wp)
        apart = jnp.zeros_like(wp, bool)
        nats = both * skewed(a, b, num.quotient(wp - wq, wq) * a, w, apart)
        nats = nats + (wp - both) * skewed(a, none, -a, w, apart)
        return nats + (wq - both) * skewed(none, b, b, w, apart)
