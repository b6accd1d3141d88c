"""What one class adds to a divergence, never negative, with every digit that it has."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num, autodiff as ad

# Probabilities against probabilities.


@jax.custom_jvp
def bregman(
    p: Float[Array, "*shape"], q: Float[Array, "*shape"], d: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """`p log(p/q) − p + q`, never negative; `d` is q − p, with the digits that it has."""
    # With s = d / (p + q), q/p = (1+s)/(1−s) and log(q/p) = 2 atanh(s) = 2s + 2s³ R(s²).
    # Near p = q no logarithm is needed, whose rounding would be all of the result:
    #     p log(p/q) + d = s (d − 2 p s² R(s²))
    s = _relative(p, q, d)
    near = s * (d - 2 * p * s * s * num.atanh_tail(jnp.clip(s, -1 / 3, 1 / 3)))
    far = d + num.weigh(p, jnp.log(p / q))
    return jnp.where(jnp.abs(s) <= 1 / 3, near, far)


@functools.partial(bregman.defjvp, symbolic_zeros=True)
def _bregman_jvp(primals, tangents):
    # ∂/∂p = log(p/q)  and  ∂/∂q = 1 − p/q = d/q, in which tiny stands in for 0.
    (p, q, d), (p_dot, q_dot, _) = primals, tangents
    value = bregman(p, q, d)
    along_p = p_dot, lambda p_dot: log_ratio((p, q), d) * p_dot
    along_q = q_dot, lambda q_dot: num.quotient(d, q) * q_dot
    return value, ad.tangent_of(value, along_p, along_q)


@ad.with_derivatives_of(lambda p, q: num.log(p) - num.log(q))
def log_ratio(args, d):
    p, q = args
    s = _relative(p, q, d)
    near = -2 * s * (1 + s * s * num.atanh_tail(jnp.clip(s, -1 / 3, 1 / 3)))
    far = jnp.log(jnp.maximum(p, num.tiny(p.dtype)) / jnp.maximum(q, num.tiny(q.dtype)))
    return jnp.where(jnp.abs(s) <= 1 / 3, near, far)


def _relative(p, q, d):
    return d / jnp.where(p + q == 0, 1, p + q)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def skewed(
    w: float,
    p: Float[Array, "*shape"],
    q: Float[Array, "*shape"],
    d: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """`w p log(p/m) + (1 − w) q log(q/m)`, m = w p + (1 − w) q; never negative."""
    # m − p = (1 − w) d and m − q = −w d: as exact as d = q − p is.
    m = w * p + (1 - w) * q
    return w * bregman(p, m, (1 - w) * d) + (1 - w) * bregman(q, m, -w * d)


@functools.partial(skewed.defjvp, symbolic_zeros=True)
def _skewed_jvp(w, primals, tangents):
    # ∂/∂p = w log(p/m)  and  ∂/∂q = (1 − w) log(q/m): what m adds to the two cancels.
    (p, q, d), (p_dot, q_dot, _) = primals, tangents
    m = w * p + (1 - w) * q
    by_p = w * log_ratio((p, m), (1 - w) * d)
    by_q = (1 - w) * log_ratio((q, m), -w * d)
    value = skewed(w, p, q, d)
    along_p = p_dot, lambda p_dot: by_p * p_dot
    along_q = q_dot, lambda q_dot: by_q * q_dot
    return value, ad.tangent_of(value, along_p, along_q)


# Probabilities against log-probabilities, and whatever else is mixed.


@jax.custom_jvp
def log_bregman(
    p: Float[Array, "*shape"],
    log_p: Float[Array, "*shape"],
    log_q: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """`p log(p/q) − p + q`, never negative; `log_p` is log p, with the digits it has."""
    # With t = log(q/p):  p (eᵗ − 1 − t) near p = q, and  q − p (1 + t)  elsewhere.
    t = num.finite_log(log_q) - num.finite_log(log_p)
    near = p * num.expm1_minus(jnp.clip(t, -1, 1))
    far = jnp.exp(log_q) - num.weigh(p, 1 + log_q - log_p)
    return jnp.where(_near(t, log_q), near, far)


@functools.partial(log_bregman.defjvp, symbolic_zeros=True)
def _log_bregman_jvp(primals, tangents):
    # ∂/∂p = log(p/q) = −t, and tiny stands in for 0.  ∂/∂(log q) = q − p.
    (p, log_p, log_q), (p_dot, _, log_q_dot) = primals, tangents
    value = log_bregman(p, log_p, log_q)
    t = num.finite_log(log_q) - num.finite_log(log_p)
    d = num.rise(p, jnp.exp(log_q), t)
    along_p = p_dot, lambda p_dot: -t * p_dot
    along_q = log_q_dot, lambda log_q_dot: d * log_q_dot
    return value, ad.tangent_of(value, along_p, along_q)


def _near(t, log_q):
    return (jnp.abs(t) <= 1) & (log_q > -jnp.inf)
