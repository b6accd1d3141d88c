"""Pieces that every measure leans on: 0 · log 0, exact differences, accumulation."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike, Float

from .domains import BASE
from .verdicts import demand


def at_least_float32(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x` in the dtype to compute in: float32 for half precision, else its own."""
    return x.astype(accumulator(x.dtype))


def accumulator(*dtypes: DTypeLike) -> DTypeLike:
    """The widest of `dtypes`, and float32 at least."""
    # Not `promote_types`: under strict promotion it refuses to mix dtypes, and float8
    # promotes with nothing at all.
    widest = max(dtypes, key=lambda d: jnp.finfo(d).bits)
    return jnp.float32 if jnp.finfo(widest).bits < 32 else widest


def widen(*arrays: Float[Array, "..."]) -> tuple[Array, ...]:
    """`arrays` in one dtype, the one to compute in."""
    dtype = accumulator(*(x.dtype for x in arrays))
    return tuple(x.astype(dtype) for x in arrays)


def tiny(dtype: DTypeLike) -> float:
    """The smallest normal number: what stands in for 0 in a derivative that has a log."""
    return float(jnp.finfo(dtype).tiny)


def two_diff(
    a: Float[Array, "*shape"], b: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """`a − b` as a rounded difference and its exact rounding error.

    Knuth, The Art of Computer Programming, volume 2, 1969, section 4.2.2, theorem B.
    """
    difference = a - b
    minus_b = difference - a
    error = (a - (difference - minus_b)) - (b + minus_b)
    return difference, jnp.where(jnp.isfinite(difference), error, 0)


def two_sum(
    a: Float[Array, "*shape"], b: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """`a + b` as a rounded sum and its exact rounding error, likewise."""
    return two_diff(a, -b)


def exp_of_difference(
    a: Float[Array, "*shape"], b: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """`exp(a − b)`, whose relative error does not grow with a − b; not its derivative."""
    difference, error = two_diff(a, b)
    return jnp.exp(difference) * (1 + error)


def rise(
    p: Float[Array, "*shape"], q: Float[Array, "*shape"], t: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """`q − p`, without its cancellation where `t = log(q/p)` is small."""
    return jnp.where(jnp.abs(t) <= 1, p * jnp.expm1(jnp.clip(t, -1, 1)), q - p)


def expm1_minus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`ψ(x) = eˣ − 1 − x` for |x| <= 1, without the cancellation; never negative."""
    # ψ(x) = x² (1/2! + x/3! + x²/4! + …)
    terms = 11 if x.dtype == jnp.float32 else 18
    return x * x * polynomial(x, [1 / math.factorial(k + 2) for k in range(terms)])


def atanh_tail(s: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`(atanh(s) − s) / s³` for |s| <= 1/3."""
    # atanh(s) = s + s³ (1/3 + s²/5 + s⁴/7 + …)
    terms = 8 if s.dtype == jnp.float32 else 17
    return polynomial(s * s, [1 / (2 * k + 3) for k in range(terms)])


def polynomial(
    x: Float[Array, "*shape"], coefficients: list[float]
) -> Float[Array, "*shape"]:
    total = jnp.full_like(x, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total


@jax.custom_jvp
def reciprocal(y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`1 / y` for y ≥ 0, with the smallest normal number in place of 0."""
    return 1 / jnp.maximum(y, tiny(y.dtype))


@reciprocal.defjvp
def _reciprocal_jvp(primals, tangents):
    # ∂(1/y) = −∂y / y², one factor at a time: y² would be 0, and its inverse infinite.
    # Where tiny stands in for y, it does so for its neighbours too.
    (y,), (y_dot,) = primals, tangents
    r = reciprocal(y)
    return r, jnp.where(y < tiny(y.dtype), 0, -(r * (r * y_dot)))


@jax.custom_jvp
def quotient(
    x: Float[Array, "*shape"], y: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """`x / y` for y ≥ 0, with the smallest normal number in place of 0."""
    return x * reciprocal(y)


@quotient.defjvp
def _quotient_jvp(primals, tangents):
    # ∂(x/y) = ∂x / y − (x/y) ∂y / y, in which no y², which is 0 too early, and no 1/y²,
    # which is infinite, takes part.
    (x, y), (x_dot, y_dot) = primals, tangents
    r, ratio = reciprocal(y), quotient(x, y)
    return ratio, r * x_dot - jnp.where(y < tiny(y.dtype), 0, ratio * (r * y_dot))


@jax.custom_jvp
def log(p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`log p`, −∞ at 0, with a derivative that stays finite there."""
    return jnp.log(p)


@log.defjvp
def _log_jvp(primals, tangents):
    # ∂ log p = 1/p, and 1/tiny at p = 0: a later factor p then makes it 0, not NaN.
    (p,), (p_dot,) = primals, tangents
    return log(p), reciprocal(p) * p_dot


@jax.custom_jvp
def log1m(p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`log(1 − p)`, −∞ at 1, with a derivative that stays finite there."""
    return jnp.log1p(-p)


@log1m.defjvp
def _log1m_jvp(primals, tangents):
    (p,), (p_dot,) = primals, tangents
    return log1m(p), -reciprocal(1 - p) * p_dot


@jax.custom_jvp
def log_odds(p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`log(p / (1 − p))`, with the smallest normal number in place of 0."""
    # Near 1/2 it is 2 atanh(2p − 1), and no difference of logarithms.
    s = 2 * p - 1
    near = 2 * s * (1 + s * s * atanh_tail(jnp.clip(s, -1 / 3, 1 / 3)))
    far = finite_log(log(p)) - finite_log(log1m(p))
    return jnp.where(jnp.abs(s) <= 1 / 3, near, far)


@log_odds.defjvp
def _log_odds_jvp(primals, tangents):
    (p,), (p_dot,) = primals, tangents
    return log_odds(p), (reciprocal(p) + reciprocal(1 - p)) * p_dot


@jax.custom_jvp
def sigmoids(
    x: Float[Array, "*shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """`1 / (1 + e⁻ˣ)` and `1 / (1 + eˣ)`: an event of logit `x`, and its opposite."""
    u = jnp.exp(-jnp.abs(x))
    return jnp.where(x < 0, u, 1) / (1 + u), jnp.where(x < 0, 1, u) / (1 + u)


@sigmoids.defjvp
def _sigmoids_jvp(primals, tangents):
    # ∂p = p (1 − p), where 1 − p is the opposite's probability, with all of its digits.
    (x,), (x_dot,) = primals, tangents
    yes, no = sigmoids(x)
    return (yes, no), (yes * no * x_dot, -yes * no * x_dot)


@jax.custom_jvp
def softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`log(1 + eˣ)`"""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _softplus_jvp(primals, tangents):
    (x,), (x_dot,) = primals, tangents
    return softplus(x), sigmoids(x)[0] * x_dot


@jax.custom_jvp
def weigh(
    p: Float[Array, "*shape"], f: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """`p · f`, but exactly 0 where `p` is 0, even if `f = −log q` is infinite there."""
    product = p * jnp.where(p == 0, 0, f)
    return jnp.where(product == 0, 0, product)  # 0, and never −0


@weigh.defjvp
def _weigh_jvp(primals, tangents):
    # ∂(p f) = f ∂p + p ∂f. An infinite f = −log 0 counts as −log tiny in the slope, so
    # that a later factor p = 0 makes it 0, not NaN.
    (p, f), (p_dot, f_dot) = primals, tangents
    return weigh(p, f), finite_log(f) * p_dot + p * f_dot


def finite_log(log_p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`log_p` (or −log_p) with ±∞ moved to the log of the smallest normal number."""
    bound = -math.log(tiny(log_p.dtype))
    return jnp.where(jnp.isinf(log_p), jnp.sign(log_p) * bound, log_p)


def in_base(
    nats: Float[Array, "*batch"], base: Any, caller: str = "jxent"
) -> Float[Array, "*batch"]:
    """Converts nats to the unit of `base`: 2 for bits, 10 for hartleys."""
    if base is None:
        return nats
    base = demand(base, BASE, "base", caller)
    if isinstance(base, int | float):
        return nats / math.log(base)
    return nats / jnp.log(jnp.asarray(base, nats.dtype))
