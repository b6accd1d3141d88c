"""Distributions of counts: Poisson's and the geometric one."""

import dataclasses
from typing import ClassVar, final, Self

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._core import arithmetic as num
from ..._core.pytrees import pytree
from ..._kernels.counts import poisson_entropy
from ..._kernels.gamma_gap import log_factorial_rest
from ..._kernels.terms import bregman
from .base import Family, Numbers, parameter, Positive
from .positive import Log, ratio, value


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Poisson(Family):
    """Poisson distributions, one for each count.

        −log p(k) = λ − k log λ + log k!,    KL(p ‖ q) = λp log(λp/λq) − λp + λq

    The entropy has no closed form. It is summed up to a rate of 16 (200 in float64), and
    Stirling's series for it is taken beyond.

    Args:
      rate: The mean λ, 0 or more; or its logarithm as `Log(x)`.

    Limits:
      A rate of 0 is a count that is certainly 0: KL is λq for λp = 0, and +inf for
      λq = 0 < λp. Counts up to 1e6 keep their digits, and more do where the rate is near.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> x, q = jxent.Observed(jnp.array([0, 1, 4])), jxent.Poisson(2.0)
      >>> print(jxent.cross_entropy(x, q))
      [2.        1.306852... 2.405465...]
      >>> print(jxent.kl_divergence(jxent.Poisson(1.0), q), jxent.entropy(q))
      0.306852... 1.704882...

    References:
      Loader, "Fast and accurate computation of binomial probabilities", 2000, section 2.
      Evans, Boersma, Blachman and Jagers, "The entropy of a Poisson distribution", SIAM
      Review 30, 1988.
    """

    support: ClassVar[str] = "count"

    rate: Positive = parameter("nonnegative")

    def entropy(self) -> Float[Array, "*batch"]:
        return poisson_entropy(value(self.rate))

    def surprise(self, x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        # k (r − 1 − log r) + log k! − k log k + k,  r = λ/k;  λ for k = 0
        outside = (x < 0) | (x != jnp.floor(x)) & ~jnp.isnan(x)
        k = jnp.where(x < 1, 1, x)
        nats = k * ratio(self.rate, k).gap + log_factorial_rest(k)
        nats = jnp.where(x == 0, value(self.rate), nats)
        return jnp.where(outside, jnp.inf, nats)

    def cross_entropy(self, q: Self) -> Float[Array, "*batch"]:
        return self.entropy() + self.divergence(q)

    def divergence(self, q: Self) -> Float[Array, "*batch"]:
        # λp (r − 1 − log r),  r = λq/λp;  λq for λp = 0
        a, b = value(self.rate), value(q.rate)
        rate = self.rate if isinstance(self.rate, Log) else jnp.where(a == 0, 1, a)
        nats = value(rate) * ratio(q.rate, rate).gap
        return jnp.where(a == 0, bregman(a, b, b - a), nats)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Geometric(Family):
    """Failures before the first success, counted from 0; one distribution for each count.

        −log p(k) = −log π − k log(1 − π),    H = −log π − (1 − π) log(1 − π) / π
        KL(p ‖ q) = (r − 1 − log r) + B(1 − πp ‖ 1 − πq)/πp,    r = πq/πp

    B(x ‖ y) = x log(x/y) − x + y.

    Args:
      probs: The probability π of a success, in (0, 1].

    Limits:
      For π = 1 the count is certainly 0, and the entropy is 0.

    Example:
      >>> import jxent
      >>> p, q = jxent.Geometric(0.5), jxent.Geometric(0.25)
      >>> print(jxent.kl_divergence(p, q, base=2), jxent.entropy(p, base=2))
      0.4150375 2.0

    References:
      Cover and Thomas, "Elements of Information Theory", 2006, problem 2.1.
    """

    support: ClassVar[str] = "count"

    probs: Numbers = parameter("probability above 0")

    def entropy(self) -> Float[Array, "*batch"]:
        return self.cross_entropy(self)

    def surprise(self, x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        outside = (x < 0) | (x != jnp.floor(x)) & ~jnp.isnan(x)
        k = jnp.where(outside, 0, x)
        nats = num.weigh(k, -num.log1m(self.probs)) - num.log(self.probs)
        return jnp.where(outside, jnp.inf, nats)

    def cross_entropy(self, q: Self) -> Float[Array, "*batch"]:
        failures = num.quotient(1 - self.probs, self.probs)
        return num.weigh(failures, -num.log1m(q.probs)) - num.log(q.probs)

    def divergence(self, q: Self) -> Float[Array, "*batch"]:
        a, b = self.probs, q.probs
        failure = num.quotient(bregman(1 - a, 1 - b, a - b), a)
        return ratio(b, a).gap + failure
