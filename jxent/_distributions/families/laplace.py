"""Laplace's distribution, whose surprise is the absolute error."""

import dataclasses
import math
from typing import final, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._core import arithmetic as num
from ..._core.pytrees import pytree
from .base import Family, Numbers, parameter, Positive
from .positive import log, over, ratio


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Laplace(Family):
    """Laplace distributions, one for each number.

        −log p(x) = |x − μ|/b + log 2b,    H = 1 + log 2b
        KL(p ‖ q) = r (e^{−δ} − 1 + δ) + (r − 1 − log r),   r = bp/bq, δ = |μp − μq|/bp

    Args:
      loc: The median μ.
      scale: The mean absolute deviation b, or its logarithm as `Log(x)`.

    Example:
      >>> import jxent
      >>> p, q = jxent.Laplace(0.0, 1.0), jxent.Laplace(1.0, 1.0)
      >>> print(jxent.kl_divergence(p, q), jxent.entropy(p))
      0.36787945 1.6931472

    References:
      Kotz, Kozubowski and Podgórski, "The Laplace Distribution and Generalizations", 2001,
      section 2.1.
    """

    loc: Numbers = parameter("finite")
    scale: Positive = parameter("scale")

    def entropy(self) -> Float[Array, "*batch"]:
        return log(self.scale) + (1 + math.log(2))

    def surprise(self, x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        return _distance(over(x - self.loc, self.scale)) + log(self.scale) + math.log(2)

    def cross_entropy(self, q: Self) -> Float[Array, "*batch"]:
        scales = ratio(self.scale, q.scale)
        rest = scales.value + log(q.scale) + math.log(2)
        return self._excess_distance(q, scales.value) + rest

    def divergence(self, q: Self) -> Float[Array, "*batch"]:
        scales = ratio(self.scale, q.scale)
        return self._excess_distance(q, scales.value) + scales.gap

    def _excess_distance(self, q: "Laplace", r: Array) -> Float[Array, "*batch"]:
        # r (e^{−δ} − 1 + δ);  far apart, r δ is |μp − μq|/bq, whatever bp is.
        d = self.loc - q.loc
        delta = over(d, self.scale)
        near = r * _sharp(jnp.clip(delta, -1, 1))
        far = _distance(over(d, q.scale)) + r * jnp.expm1(
            -_distance(jnp.clip(delta, -_FAR, _FAR))
        )
        return jnp.where(jnp.abs(delta) <= 1, near, far)

    def surprise_over(self, low: Array, high: Array) -> Float[Array, "*batch"]:
        a, b = (over(x - self.loc, self.scale) for x in (low, high))
        # The mean of |y| between a and b.
        inside = 0.5 * num.quotient(a * a + b * b, b - a)
        outside = 0.5 * _distance(a + b)
        mean = jnp.where((a < 0) & (b > 0), inside, outside)
        return mean + log(self.scale) + math.log(2)


_FAR = 200.0  # e⁻²⁰⁰ is 0, and keeps an infinite δ out of the derivative


@jax.custom_jvp
def _distance(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`|x|`, with derivative 0 at 0."""
    return jnp.abs(x)


@_distance.defjvp
def _distance_jvp(primals, tangents):
    return _distance(*primals), jnp.sign(primals[0]) * tangents[0]


@jax.custom_jvp
def _sharp(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`e^{−|x|} − 1 + |x|` for |x| <= 1"""
    return num.expm1_minus(-jnp.abs(x))


@_sharp.defjvp
def _sharp_jvp(primals, tangents):
    return _sharp(*primals), _flattened_sign(*primals) * tangents[0]


@jax.custom_jvp
def _flattened_sign(x):
    """`sign(x) (1 − e^{−|x|})`, which is smooth through 0."""
    return -jnp.sign(x) * jnp.expm1(-jnp.abs(x))


@_flattened_sign.defjvp
def _flattened_sign_jvp(primals, tangents):
    (x,) = primals
    return _flattened_sign(x), jnp.exp(-_distance(x)) * tangents[0]
