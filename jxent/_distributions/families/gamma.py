"""Waiting times: exponential and gamma distributions."""

import dataclasses
from typing import ClassVar, final, Self

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._core.pytrees import pytree
from ..._kernels import ratios
from ..._kernels.gamma_gap import gamma_gap, stirling, stirling_slope
from ..._kernels.means import log_moments
from ..._kernels.ratios import Ratio
from .base import Family, parameter, Positive
from .positive import Log, log, ratio, times, value


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Exponential(Family):
    """Exponential distributions, one for each number.

        −log p(x) = λx − log λ,  x ≥ 0       H = 1 − log λ
        KL(p ‖ q) = r − 1 − log r,           r = λq/λp

    Against a `Gamma`, it is the gamma distribution of concentration 1.

    Args:
      rate: λ, one over the mean; or its logarithm as `Log(x)`.

    Example:
      >>> import jxent
      >>> p, q = jxent.Exponential(1.0), jxent.Exponential(2.0)
      >>> print(jxent.kl_divergence(p, q), jxent.entropy(p))
      0.30685282 1.0

    References:
      Cover and Thomas, "Elements of Information Theory", 2006, table 17.1.
    """

    support: ClassVar[str] = "observed from 0"

    rate: Positive = parameter("positive")

    def entropy(self) -> Float[Array, "*batch"]:
        return 1 - log(self.rate)

    def surprise(self, x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        inside = jnp.where(x < 0, 0, x)
        return jnp.where(x < 0, jnp.inf, times(inside, self.rate) - log(self.rate))

    def cross_entropy(self, q: Self) -> Float[Array, "*batch"]:
        return ratio(q.rate, self.rate).value - log(q.rate)

    def divergence(self, q: Self) -> Float[Array, "*batch"]:
        return ratio(q.rate, self.rate).gap

    def surprise_over(self, low: Array, high: Array) -> Float[Array, "*batch"]:
        nats = times(0.5 * (low + high), self.rate) - log(self.rate)
        return jnp.where(low >= 0, nats, jnp.inf)

    def wider(self) -> "Gamma":
        rate = self.rate
        like = rate.x if isinstance(rate, Log) else rate
        return Gamma(jnp.ones_like(like), rate)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Gamma(Family):
    """Gamma distributions, one for each number.

        −log p(x) = βx − (α − 1) log x − α log β + log Γ(α),  x > 0
        H = log(α/β) + g(α) + (1 − α) g′(α)
        KL(p ‖ q) = αq (r − 1 − log r) + G(αq ‖ αp),   r = (αp/βp)/(αq/βq)

    r is the ratio of the means, g(x) = log Γ(x) − x log x + x, and G is how far g is above
    its tangent. Both terms are positive, and keep their digits near p = q, where the
    textbook's formula is a difference of large numbers.

    Args:
      concentration: The shape α, or its logarithm as `Log(x)`.
      rate: β, or its logarithm as `Log(x)`. The mean is α/β.

    Limits:
      Concentrations from 1e-4 to 1e7 keep all digits.

    Example:
      >>> import jxent
      >>> p, q = jxent.Gamma(2.0, 1.0), jxent.Gamma(3.0, 1.0)
      >>> print(jxent.kl_divergence(p, q), jxent.entropy(p))
      0.270362... 1.57721...

    References:
      Loader, "Fast and accurate computation of binomial probabilities", 2000, section 5.
      Bregman, "The relaxation method of finding the common point of convex sets", USSR
      Computational Mathematics 7, 1967, section 1.
    """

    support: ClassVar[str] = "observed above 0"

    concentration: Positive = parameter("positive")
    rate: Positive = parameter("positive")

    def _mean_ratio(self, q: "Gamma") -> Ratio:
        a, c = value(self.concentration), value(q.concentration)
        if isinstance(self.rate, Log) or isinstance(q.rate, Log):
            return ratio(a, c) * ratio(q.rate, self.rate)
        return ratios.of_products(a, q.rate, self.rate, c)

    def _log_mean(self) -> Float[Array, "*batch"]:
        if isinstance(self.rate, Log) or isinstance(self.concentration, Log):
            return log(self.concentration) - log(self.rate)
        return ratio(self.concentration, self.rate).t

    def entropy(self) -> Float[Array, "*batch"]:
        a = value(self.concentration)
        return self._log_mean() + stirling(a) + (1 - a) * stirling_slope(a)

    def surprise(self, x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        # α (r − 1 − log r) + g(α) + log x,  r = βx/α
        a, inside = value(self.concentration), jnp.where(x <= 0, 1, x)
        at = Gamma(inside, jnp.ones_like(inside))  # of mean x
        nats = a * at._mean_ratio(self).gap + stirling(a) + jnp.log(inside)
        return jnp.where(x <= 0, jnp.inf, nats)

    def cross_entropy(self, q: Self) -> Float[Array, "*batch"]:
        a, c = value(self.concentration), value(q.concentration)
        nats = c * self._mean_ratio(q).gap + stirling(c) + (1 - c) * stirling_slope(a)
        return nats + self._log_mean()

    def divergence(self, q: Self) -> Float[Array, "*batch"]:
        a, c = value(self.concentration), value(q.concentration)
        return c * self._mean_ratio(q).gap + gamma_gap(c, a)

    def surprise_over(self, low: Array, high: Array) -> Float[Array, "*batch"]:
        # The mean of α (r − 1 − log r) + g(α) + log x
        a, mean = value(self.concentration), 0.5 * (low + high)
        log_x, _ = log_moments(low, high)
        nats = times(mean, self.rate) - a + a * (self._log_mean() - log_x)
        return jnp.where(low >= 0, nats + stirling(a) + log_x, jnp.inf)
