"""KL divergence of one softmax from another."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num, autodiff as ad, schedules
from . import softmax as sm
from .tilt import difference, excess, probability, tilt


@jax.custom_jvp
def softmax_kl(
    a: Float[Array, "*batch k"], b: Float[Array, "*batch k"]
) -> Float[Array, "*batch"]:
    return tilt(a, b).kl[..., 0]


@functools.partial(softmax_kl.defjvp, symbolic_zeros=True)
def _softmax_kl_jvp(primals, tangents):
    # KL = log Σ exp(bⱼ) − log Σ exp(aⱼ) − Σ pⱼ (bⱼ − aⱼ),  hence
    # ∂KL/∂aᵢ = −pᵢ eᵢ  and  ∂KL/∂bᵢ = qᵢ − pᵢ = pᵢ (exp(eᵢ − KL) − 1).
    (a, b), (a_dot, b_dot) = primals, tangents
    hints = tilt(*jax.lax.stop_gradient(primals))
    along_a = a_dot, lambda a_dot: ad.along(a_dot, _slope_by_a, (a, b), hints)
    along_b = b_dot, lambda b_dot: ad.along(b_dot, difference, a, b, hints)
    nats = ad.known(hints.kl[..., 0], softmax_kl, a, b)
    return nats, ad.tangent_of(nats, along_a, along_b)


def _slope_by_a_plainly(a, b):
    a, b = num.widen(a, b)
    p, lead = sm.softmax(a), sm.leader(a)
    shared = (p > 0) & (b > -jnp.inf)
    # Centred before they are subtracted, which keeps the digits of far-apart offsets.
    centred_a, centred_b = (sm.centre(jnp.where(shared, z, 0), lead) for z in (a, b))
    d = centred_b - centred_a
    return -p * (d - jnp.sum(p * d, axis=-1, keepdims=True))


@ad.with_derivatives_of(_slope_by_a_plainly)
def _slope_by_a(args, hints):
    args, hints = schedules.read_again(args, hints)
    a, b = num.widen(*args)
    p = probability(a, hints.a0, hints.a_mass)
    return -num.weigh(p, excess(a, b, hints))
