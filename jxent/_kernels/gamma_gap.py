"""What is left of log Γ once Stirling's leading terms are taken off.

    g(x) = log Γ(x) − x log x + x,    g′(x) = ψ(x) − log x,    g″(x) = ψ′(x) − 1/x > 0

g grows as a logarithm where log Γ grows as x log x: what families of concentrations and
counts say in terms of g keeps the digits that differences of log Γ lose. The recurrence
Γ(x + 1) = x Γ(x) moves x up by n, where Stirling's series takes over:

    g(x) = Σ_{k<n} [(x+k+1) log((x+k+1)/(x+k)) − 1] + g(X),    X = x + n
    g(X) = ½ log(2π/X) + Σᵢ βᵢ X^{−(2i+1)},    β = 1/12, −1/360, 1/1260, …
"""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num
from .convex import bregman_gap
from .terms import bregman

# β = B_{2i+2} / ((2i+1)(2i+2)), of Bernoulli's numbers
_BETA = [
    float(Fraction(*x))
    for x in (
        (1, 12),
        (-1, 360),
        (1, 1260),
        (-1, 1680),
        (1, 1188),
        (-691, 360360),
        (1, 156),
        (-3617, 122400),
    )
]


def _sizes(x: Array) -> tuple[int, list[float]]:
    """How far to move up, and the coefficients of Stirling's series from there."""
    return (12, _BETA) if x.dtype == jnp.float64 else (6, _BETA[:4])


def _shifted(x: Array, n: int) -> Array:
    """x, x + 1, …, x + n − 1, along a new leading axis."""
    k = jax.lax.broadcasted_iota(x.dtype, (n, *x.shape), 0)
    return jnp.broadcast_to(x, k.shape) + k


def _height(c, a, d):
    # Each term of the recurrence has a gap that is a `bregman`, −½ log X has another, and
    # the gap of X⁻ᵏ is (d/A)² Σ_{j=1..k} j A^{1−j} C^{−(k−j+1)}.
    n, beta = _sizes(c)
    a_, c_ = _shifted(a, n), _shifted(c, n)
    d_ = jnp.broadcast_to(d, a_.shape)
    total = jnp.sum(bregman(a_ * (c_ + 1), c_ * (a_ + 1), d_) / a_, axis=0)
    a, c = a + n, c + n
    u, v = 1 / a, 1 / c
    tail, s, power = jnp.zeros_like(u), jnp.zeros_like(u), jnp.ones_like(u)
    for k in range(1, 2 * len(beta)):
        s, power = v * s + k * power, power * u
        tail += beta[k // 2] * s * v if k % 2 else 0
    return total + 0.5 * bregman(a, c, d) * u + tail * (d * u) ** 2


def _rise(c, a, d):
    # The slope of each of the terms above.
    n, beta = _sizes(c)
    a_, c_ = _shifted(a, n), _shifted(c, n)
    d_ = jnp.broadcast_to(d, a_.shape)
    phi = bregman(a_ * (c_ + 1), c_ * (a_ + 1), d_) / (a_ * (c_ + 1))
    total = jnp.sum(phi + d_ / (a_ * c_ * (c_ + 1)), axis=0)
    u, v = 1 / (a + n), 1 / (c + n)
    tail, s, power = jnp.zeros_like(u), jnp.zeros_like(u), jnp.ones_like(u)
    for k in range(1, 2 * len(beta) + 1):
        s, power = v * s + power, power * u
        tail += 0 if k % 2 else beta[k // 2 - 1] * (k - 1) * s
    return total + (0.5 + tail) * d * u * v


def curvature(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`g″(x)`"""
    n, beta = _sizes(x)
    x_, u = _shifted(x, n), 1 / (x + n)
    tail = jnp.zeros_like(u)
    for i, b in reversed(list(enumerate(beta))):
        tail = tail * u * u + b * (2 * i + 1) * (2 * i + 2)
    return jnp.sum(1 / (x_ * x_ * (x_ + 1)), axis=0) + u * u * (0.5 + u * tail)


_gap = bregman_gap(_height, _rise, curvature)


def gamma_gap(
    c: Float[Array, "*shape"],
    a: Float[Array, "*shape"],
    d: Float[Array, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """`g(c) − g(a) − g′(a)(c − a)`, never negative; `d` is c − a, with its digits."""
    return _gap(c, a, c - a if d is None else d)


@jax.custom_jvp
def stirling(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`g(x) = log Γ(x) − x log x + x`"""
    n, beta = _sizes(x)
    x_ = _shifted(x, n)
    total = jnp.sum((x_ + 1) * jnp.log1p(1 / x_) - 1, axis=0)
    u, tail = 1 / (x + n), jnp.zeros_like(x)
    for b in reversed(beta):
        tail = tail * u * u + b
    return total + 0.5 * jnp.log(2 * math.pi * u) + u * tail


@stirling.defjvp
def _stirling_jvp(primals, tangents):
    return stirling(*primals), stirling_slope(*primals) * tangents[0]


@jax.custom_jvp
def stirling_slope(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`g′(x) = ψ(x) − log x`, always negative."""
    # log(1 + 1/x) − 1/x = −gap of the ratio (x+1)/x, whose terms are all negative.
    n, beta = _sizes(x)
    x_ = _shifted(x, n)
    total = jnp.sum(bregman(x_, x_ + 1, jnp.ones_like(x_)) / x_, axis=0)
    u, tail = 1 / (x + n), jnp.zeros_like(x)
    for i, b in reversed(list(enumerate(beta))):
        tail = tail * u * u + b * (2 * i + 1)
    return -total - u * (0.5 + u * tail)


@stirling_slope.defjvp
def _stirling_slope_jvp(primals, tangents):
    return stirling_slope(*primals), curvature(*primals) * tangents[0]


def log_factorial_rest(k: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`log k! − k log k + k`, for counts; 0 at 0."""
    positive = jnp.maximum(k, 1)
    return num.weigh(jnp.sign(k), stirling(positive) + jnp.log(positive))
