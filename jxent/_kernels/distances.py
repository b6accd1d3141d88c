"""What one class adds to a symmetric distance; `d` is q − p, with the digits it has."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num, autodiff as ad
from .terms import log_ratio

Shaped = Float[Array, "*shape"]


@jax.custom_jvp
def half_distance(p: Shaped, q: Shaped, d: Shaped) -> Shaped:
    """`½ |p − q|`"""
    return 0.5 * jnp.abs(d)


@functools.partial(half_distance.defjvp, symbolic_zeros=True)
def _half_distance_jvp(primals, tangents):
    # ∂/∂p = −½ sign(q − p), and 0 at p = q; ∂/∂q is its opposite.
    (p, q, d), (p_dot, q_dot, _) = primals, tangents
    along_p = p_dot, lambda dot: -0.5 * jnp.sign(d) * dot
    along_q = q_dot, lambda dot: 0.5 * jnp.sign(d) * dot
    value = half_distance(p, q, d)
    return value, ad.tangent_of(value, along_p, along_q)


@jax.custom_jvp
def jeffreys_term(p: Shaped, q: Shaped, d: Shaped) -> Shaped:
    """`(p − q) log(p / q)`, which has no negative values; +∞ if one of the two is 0."""
    one_sided = (p == 0) != (q == 0)
    return jnp.where(one_sided, jnp.inf, -d * log_ratio((p, q), d))


@functools.partial(jeffreys_term.defjvp, symbolic_zeros=True)
def _jeffreys_term_jvp(primals, tangents):
    # ∂/∂p = log(p/q) − (q − p)/p  and  ∂/∂q = −log(p/q) + (q − p)/q.
    (p, q, d), (p_dot, q_dot, _) = primals, tangents
    y = log_ratio((p, q), d)
    along_p = p_dot, lambda dot: (y - num.quotient(d, p)) * dot
    along_q = q_dot, lambda dot: (num.quotient(d, q) - y) * dot
    value = jeffreys_term(p, q, d)
    return value, ad.tangent_of(value, along_p, along_q)
