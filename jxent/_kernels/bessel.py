"""The normaliser of circular distributions: A(κ) = log I₀(κ), and what is left of it.

    A′(κ) = I₁(κ)/I₀(κ), the mean of cos x,     A″(κ) = the variance of cos x

The textbook's A″ = 1 − A′/κ − A′² cancels. Up to some κ the means over the circle are
taken at n points evenly spaced, which is exact up to Iₙ(κ)/I₀(κ), and in which every term
is positive:

    1 − A′ = mean of v,  A″ = mean of (v − 1 + A′)²,    v = 1 − cos x, weights e^{−κv}

Larger κ take the asymptotic series of A, κ − ½ log(2πκ) + Σᵢ aᵢ κ⁻ⁱ.
"""

import functools
import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .convex import bregman_gap


def _sizes(x: Array) -> tuple[float, int, int]:
    """Up to which κ points on the circle serve, half their number, and aᵢ beyond."""
    return (24.0, 32, 24) if x.dtype == jnp.float64 else (12.0, 12, 8)


@functools.cache
def _asymptotic(terms: int) -> tuple[float, ...]:
    """`aᵢ`, the logarithm of Hankel's series I₀ ~ eᵏ/√(2πk) Σ ((2i)!/i!)²/(i! 32ⁱ) k⁻ⁱ."""
    fact = math.factorial
    b = [Fraction(fact(2 * i) ** 2, fact(i) ** 3 * 32**i) for i in range(terms + 1)]
    a = [Fraction(0)]
    for n in range(1, terms + 1):  # from  B′ = A′ B
        a.append(b[n] - sum(Fraction(i, n) * a[i] * b[n - i] for i in range(1, n)))
    return tuple(map(float, a[1:]))


def _half_circle(n: int, k: Array) -> tuple[Array, Array, Array]:
    """cos x, 1 − cos x and the weights of n + 1 points, along a new leading axis."""
    x = np.linspace(0, math.pi, n + 1)
    weights = np.where((x == 0) | (x == math.pi), 0.5, 1)
    column = lambda y: jnp.array(y, k.dtype).reshape(-1, *(1,) * k.ndim)
    return column(np.cos(x)), column(2 * np.sin(x / 2) ** 2), column(weights)


def _mean(f, weights):
    return jnp.sum(weights * f, axis=0) / jnp.sum(weights, axis=0)


def _in_powers_of(u, coefficients):
    total = jnp.zeros_like(u)
    for c in reversed(coefficients):
        total = total * u + c
    return total


def curvature(k: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`A″(κ)`, the variance of cos x."""
    cut, n, terms = _sizes(k)
    _, v, weights = _half_circle(n, k)
    weights = weights * jnp.exp(-jnp.minimum(k, cut)[None] * v)
    near = _mean((v - _mean(v, weights)[None]) ** 2, weights)
    u = 1 / jnp.maximum(k, cut)
    tail = [i * (i + 1) * a for i, a in enumerate(_asymptotic(terms), 1)]
    return jnp.where(k <= cut, near, u * u * (0.5 + u * _in_powers_of(u, tail)))


@jax.custom_jvp
def shortfall(k: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`1 − A′(κ)`, the circular variance."""
    cut, n, terms = _sizes(k)
    _, v, weights = _half_circle(n, k)
    near = _mean(v, weights * jnp.exp(-jnp.minimum(k, cut)[None] * v))
    u = 1 / jnp.maximum(k, cut)
    tail = [i * a for i, a in enumerate(_asymptotic(terms), 1)]
    return jnp.where(k <= cut, near, u * (0.5 + u * _in_powers_of(u, tail)))


@shortfall.defjvp
def _shortfall_jvp(primals, tangents):
    return shortfall(*primals), -curvature(*primals) * tangents[0]


@jax.custom_jvp
def resultant(k: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`A′(κ) = I₁(κ)/I₀(κ)`"""
    # cos x and −cos x together, since A′ is small where κ is: Σ c sinh(κc) / Σ cosh(κc)
    c, _, weights = _half_circle(_sizes(k)[1], k)
    half = jnp.where(c > 0, weights, 0)  # of a quarter circle; at c = 0, sinh is 0
    kc = jnp.minimum(k, 1)[None] * c
    near = 2 * jnp.sum(half * c * jnp.sinh(kc), 0) / jnp.sum(weights * jnp.cosh(kc), 0)
    return jnp.where(k <= 1, near, 1 - shortfall(k))


@resultant.defjvp
def _resultant_jvp(primals, tangents):
    return resultant(*primals), curvature(*primals) * tangents[0]


@jax.custom_jvp
def log_i0e(k: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`log I₀(κ) − κ`"""
    return jnp.log(jax.scipy.special.i0e(k))


@log_i0e.defjvp
def _log_i0e_jvp(primals, tangents):
    return log_i0e(*primals), -shortfall(*primals) * tangents[0]


# Gauss' points on [0, 1]: the gap is d² ∫ (1 − s) A″(a + s d) ds, its slope d ∫ A″ ds.


def _mean_curvature(a, d, weigh):
    points, weights = np.polynomial.legendre.leggauss(
        20 if a.dtype == jnp.float64 else 8
    )
    points, weights = 0.5 * (points + 1), 0.5 * weights
    at = jnp.stack([a + float(s) * d for s in points])
    weights = jnp.array(weights * weigh(points), a.dtype)
    weights = weights.reshape(-1, *(1,) * a.ndim)
    return jnp.sum(weights * curvature(at), axis=0)


def _near(c, a, d):
    return jnp.abs(d) <= jnp.maximum((a + c) / 3, 1)


def _height(c, a, d):
    near = d * d * _mean_curvature(a, d, lambda s: 1 - s)
    # A − κ takes the largest terms out: A(c) − A(a) − A′(a) d = … + (1 − A′(a)) d
    far = log_i0e(c) - log_i0e(a) + shortfall(a) * d
    return jnp.where(_near(c, a, d), near, far)


def _rise(c, a, d):
    near = d * _mean_curvature(a, d, np.ones_like)
    both_large = jnp.minimum(a, c) > 1
    far = jnp.where(
        both_large, shortfall(a) - shortfall(c), resultant(c) - resultant(a)
    )
    return jnp.where(_near(c, a, d), near, far)


_gap = bregman_gap(_height, _rise, curvature)


def log_i0_gap(
    c: Float[Array, "*shape"], a: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """`A(c) − A(a) − A′(a)(c − a)`, never negative."""
    return _gap(c, a, c - a)
