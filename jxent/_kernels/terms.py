"""What one class adds to a divergence, never negative, with every digit that it has.

A class is known by `p`, `q` and `d`, which is q − p with the digits that it has: where p
and q are near, `d` is known better than the difference of the two. It is a hint, and has no
derivative of its own.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._core import arithmetic as num, autodiff as ad


@jax.custom_jvp
def bregman(
    p: Float[Array, "*shape"], q: Float[Array, "*shape"], d: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """`p log(p/q) − p + q`, never negative."""
    return bregman_at(p, q, d, -_log_quotient(p, q))


@functools.partial(bregman.defjvp, symbolic_zeros=True)
def _bregman_jvp(primals, tangents):
    # ∂/∂p = log(p/q)  and  ∂/∂q = 1 − p/q = d/q, in which tiny stands in for 0. Where both
    # are 0, mass that q gains costs itself: 1.
    (p, q, d), (p_dot, q_dot, _) = primals, tangents
    value = bregman(p, q, d)
    along_p = p_dot, lambda p_dot: log_ratio((p, q), d) * p_dot
    along_q = q_dot, lambda q_dot: excess_ratio(p, q, d) * q_dot
    return value, ad.tangent_of(value, along_p, along_q)


@jax.custom_jvp
def log_bregman(
    p: Float[Array, "*shape"],
    log_p: Float[Array, "*shape"],
    log_q: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """`bregman` by logarithms; `log_p` is log p, with the digits that it has."""
    q, t = jnp.exp(log_q), log_difference(log_p, log_q)
    return bregman_at(p, q, num.rise(p, q, t), log_q - log_p)


@functools.partial(log_bregman.defjvp, symbolic_zeros=True)
def _log_bregman_jvp(primals, tangents):
    # ∂/∂p = log(p/q) = −t, and tiny stands in for 0.  ∂/∂(log q) = q − p.
    (p, log_p, log_q), (p_dot, _, log_q_dot) = primals, tangents
    value = log_bregman(p, log_p, log_q)
    t = log_difference(log_p, log_q)
    along_p = p_dot, lambda p_dot: -t * p_dot
    by_log_q = lambda: rise_by_logs((p, log_p, log_q), ())
    along_q = log_q_dot, lambda log_q_dot: by_log_q() * log_q_dot
    return value, ad.tangent_of(value, along_p, along_q)


@ad.with_derivatives_of(lambda p, log_p, log_q: jnp.exp(log_q) - p)
def rise_by_logs(args, _):
    """`q − p`; where the formula changes its form, no derivative is taken of the change."""
    p, log_p, log_q = args
    return num.rise(p, jnp.exp(log_q), log_difference(log_p, log_q))


def bregman_at(p, q, d, t):
    """`p log(p/q) − p + q` of t = log(q/p), which may have more digits than q/p."""
    # With s = d / (p + q), q/p = (1+s)/(1−s) and log(q/p) = 2 atanh(s) = 2s + 2s³ R(s²).
    # Near p = q no logarithm is needed, whose rounding would be all of the result:
    #     p log(p/q) + d = s (d − 2 p s² R(s²))
    s = _relative(p, q, d)
    near = s * (d - 2 * p * s * s * num.atanh_tail(jnp.clip(s, -1 / 3, 1 / 3)))
    return jnp.where(jnp.abs(s) <= 1 / 3, near, d - num.weigh(p, t))


@ad.with_derivatives_of(lambda p, q: num.log(p) - num.log(q))
def log_ratio(args, d):
    """`log(p/q)`, with the smallest normal number in place of 0."""
    p, q = args
    s = _relative(p, q, d)
    near = -2 * s * (1 + s * s * num.atanh_tail(jnp.clip(s, -1 / 3, 1 / 3)))
    tiny = num.tiny(p.dtype)
    far = _log_quotient(jnp.maximum(p, tiny), jnp.maximum(q, tiny))
    return jnp.where(jnp.abs(s) <= 1 / 3, near, far)


def excess_ratio(p, q, d):
    """`(q − p) / q`, and 1 where both are 0."""
    return jnp.where((p == 0) & (q == 0), 1, num.quotient(d, q))


def log_difference(log_p, log_q):
    """`log(q/p)` of logarithms, with that of the smallest normal number in place of −∞."""
    return num.finite_log(log_q) - num.finite_log(log_p)


def _log_quotient(p, q):
    # p/q may be too small for a float where p and q are not: then it is taken of scaled
    # numbers, and the logarithm of the scale, which is as large as the result, comes off.
    small = p < 2.0**-60 * q
    scale = jnp.where(small, 2.0**60, 1)
    return jnp.log(scale * p / (q / scale)) - jnp.where(small, 120 * math.log(2), 0)


def _relative(p, q, d):
    return d / jnp.where(p + q == 0, 1, p + q)


@jax.custom_jvp
def skewed(
    p: Float[Array, "*shape"],
    q: Float[Array, "*shape"],
    d: Float[Array, "*shape"],
    w: Float[Array, "..."],
    apart: Bool[Array, "..."],
) -> Float[Array, "*shape"]:
    """`w p log(p/m) + (1 − w) q log(q/m)`, m = w p + (1 − w) q; never negative.

    `apart` is True for rows of two softmaxes that hardly overlap. A constant in the
    derivative by p drops out of that by its logits, and by the same token hides it: there
    log(p/m) is measured from its value at q = 0, log(1/w).
    """
    # m − p = (1 − w) d and m − q = −w d: as exact as d = q − p is.
    m = w * p + (1 - w) * q
    return w * bregman(p, m, (1 - w) * d) + (1 - w) * bregman(q, m, -w * d)


@functools.partial(skewed.defjvp, symbolic_zeros=True)
def _skewed_jvp(primals, tangents):
    p, q, d, w, apart = primals
    p_dot, q_dot, _, w_dot, _ = tangents
    value = skewed(p, q, d, w, apart)
    by = lambda: skewed_slopes(p, q, d, w, apart)
    along_p = p_dot, lambda p_dot: by()[0] * p_dot
    along_q = q_dot, lambda q_dot: by()[1] * q_dot
    along_w = w_dot, lambda w_dot: by()[2] * w_dot
    return value, ad.tangent_of(value, along_p, along_q, along_w)


def skewed_slopes(p, q, d, w, apart):
    """The derivatives of `skewed` by p, by q and by w."""
    # ∂/∂p = w log(p/m)  and  ∂/∂q = (1 − w) log(q/m): what m adds to the two cancels.
    # ∂/∂w = (p log(p/m) − p + m) − (q log(q/m) − q + m).
    m = w * p + (1 - w) * q
    by_p = w * _log_share(p, m, (1 - w) * d, w, (1 - w) * q, apart)
    by_q = (1 - w) * _log_share(q, m, -w * d, 1 - w, w * p, apart)
    return by_p, by_q, bregman(p, m, (1 - w) * d) - bregman(q, m, -w * d)


def _log_share(p, m, d, w, other, apart):
    """`log(p/m)`, or log(wp/m) for rows that are apart: m is wp and the other's share."""
    share = -jnp.log1p(num.quotient(jnp.where(apart, other, 0), w * p))
    return jnp.where(apart, share, log_ratio((p, m), d))
