"""The von Mises distribution, a normal one on the circle."""

import dataclasses
import math
from typing import final, Self

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._core import arithmetic as num
from ..._core.pytrees import pytree
from ..._kernels.bessel import log_i0_gap, log_i0e, resultant, shortfall
from .base import Family, Numbers, parameter
from .positive import LOG_2PI


@final
@pytree
@dataclasses.dataclass(frozen=True)
class VonMises(Family):
    """Distributions of angles, in radians, one for each.

        −log p(x) = log 2πI₀(κ) − κ cos(x − μ)
        KL(p ‖ q) = B(κq ‖ κp) + 2 κq A′(κp) sin²(½(μp − μq))

    A(κ) = log I₀(κ), A′ is the mean resultant length, and B is how far A is above its
    tangent. The density is that of one turn of the circle, and x may be any turn's.

    Args:
      loc: The mean direction μ.
      concentration: κ, 0 or more. 0 is uniform on the circle.

    Limits:
      κ = 0 makes the mean direction meaningless, and its slope 0.

    Example:
      >>> import jxent
      >>> p, q = jxent.VonMises(0.0, 1.0), jxent.VonMises(1.0, 1.0)
      >>> print(jxent.kl_divergence(p, q), jxent.entropy(p))
      0.2052... 1.6274...

    References:
      Mardia and Jupp, "Directional Statistics", 2000, section 3.5.4.
    """

    loc: Numbers = parameter("finite")
    concentration: Numbers = parameter("nonnegative")

    def entropy(self) -> Float[Array, "*batch"]:
        k = self.concentration
        return LOG_2PI + log_i0e(k) + k * shortfall(k)

    def surprise(self, x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        k, half = self.concentration, jnp.sin(0.5 * (x - self.loc))
        return LOG_2PI + log_i0e(k) + 2 * k * half * half

    def cross_entropy(self, q: Self) -> Float[Array, "*batch"]:
        k, c = self.concentration, q.concentration
        return LOG_2PI + log_i0e(c) + c * shortfall(k) + self._turned(q)

    def divergence(self, q: Self) -> Float[Array, "*batch"]:
        return log_i0_gap(q.concentration, self.concentration) + self._turned(q)

    def _turned(self, q: "VonMises") -> Float[Array, "*batch"]:
        half = jnp.sin(0.5 * (self.loc - q.loc))
        return 2 * q.concentration * resultant(self.concentration) * half * half

    def surprise_over(self, low: Array, high: Array) -> Float[Array, "*batch"]:
        # The mean of cos(x − μ) is cos(m − μ) sin(h)/h, of middle m and half width h.
        m, h = 0.5 * (low + high) - self.loc, 0.5 * (high - low)
        k, cosine = self.concentration, jnp.cos(m) * num.quotient(jnp.sin(h), h)
        nats = LOG_2PI + log_i0e(k) + k * (1 - cosine)
        return jnp.where(high - low <= 2 * math.pi * (1 + 1e-6), nats, jnp.inf)
