"""Cross-entropy of soft targets, or of a softmax, and logits."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num, autodiff as ad, schedules
from . import softmax as sm
from .tilt import difference, probability, tilt


@jax.custom_jvp
def soft_cross_entropy(
    t: Float[Array, "*batch k"], z: Float[Array, "*batch k"]
) -> Float[Array, "*batch"]:
    nats, _ = _sums(t, z)
    return nats


@functools.partial(soft_cross_entropy.defjvp, symbolic_zeros=True)
def _soft_cross_entropy_jvp(primals, tangents):
    # ∂(−Σ tⱼ log pⱼ)/∂zᵢ = T pᵢ − tᵢ with T = Σ tⱼ,  and by tᵢ it is −log pᵢ.
    (t, z), (t_dot, z_dot) = primals, tangents
    nats, hints = _sums(*jax.lax.stop_gradient((t, z)))
    along_t = t_dot, lambda t_dot: ad.along(t_dot, _surprise, (t, z), hints)
    along_z = z_dot, lambda z_dot: ad.along(z_dot, _soft_slope, (t, z), hints)
    nats = ad.known(nats, soft_cross_entropy, t, z)
    return nats, ad.tangent_of(nats, along_t, along_z)


class _SoftHints(NamedTuple):
    part: sm.Partition
    total: Float[Array, "*batch 1"]  # of all targets
    others: Float[Array, "*batch 1"]  # of the targets below the top class


def _sums(t, z):
    # −Σ tⱼ log pⱼ = Σ tⱼ (top − zⱼ) + T · surprise, of which no part is negative.
    nats, hints = schedules.by_platform(
        t, z, cpu=_sums_on_cpu, accelerator=_sums_in_one_pass
    )
    return nats[..., 0], hints


def _sums_on_cpu(t, z):
    t, z = num.widen(t, z)
    total = functools.partial(jnp.sum, axis=-1, keepdims=True)
    part = sm.partition(z)
    nats = total(num.weigh(t, -sm.log_probabilities(z, part)))
    return nats, _SoftHints(part, total(t), total(jnp.where(z == part.top, 0, t)))


def _sums_in_one_pass(t, z):
    dtype = num.accumulator(t.dtype, z.dtype)
    terms = (
        lambda z, top, t: t.astype(dtype),
        lambda z, top, t: jnp.where(z.astype(dtype) < top, t.astype(dtype), 0),
        lambda z, top, t: num.weigh(t.astype(dtype), top - z.astype(dtype)),
    )
    part, (total, others, lag) = sm.parted(z, dtype, plain=terms, args=(t,))
    nats = lag + num.weigh(total, part.surprise)
    return nats, _SoftHints(part, total, others)


def _surprise_plainly(t, z):
    _, z = num.widen(t, z)
    return -sm.log_softmax(z)


@ad.with_derivatives_of(_surprise_plainly)
def _surprise(args, hints):
    _, z = num.widen(*args)
    return num.finite_log(-sm.log_probabilities(z, hints.part))


def _soft_slope_plainly(t, z):
    t, z = num.widen(t, z)
    return jnp.sum(t, axis=-1, keepdims=True) * sm.softmax(z) - t


@ad.with_derivatives_of(_soft_slope_plainly)
def _soft_slope(args, hints):
    # At a top class that has nearly all of p, T p − t is (T − t) + T (p − 1): two small
    # numbers, of which T − t is the sum of the other targets.
    args, (part, total, others) = schedules.read_again(args, hints)
    t, z = num.widen(*args)
    below = sm.below_top(z, part) * (total * part.scale) - t
    alone = others + total * jnp.expm1(-part.surprise)
    shared = total * jnp.exp(-part.surprise) - t
    return jnp.where(
        z == part.top, jnp.where(part.surprise < 0.4, alone, shared), below
    )


# Logits against logits.


@jax.custom_jvp
def softmax_cross_entropy(
    a: Float[Array, "*batch k"], b: Float[Array, "*batch k"]
) -> Float[Array, "*batch"]:
    # The probabilities that KL has, so that a class counts in both or in neither.
    a, b = num.widen(a, b)
    a0 = jnp.max(a, axis=-1, keepdims=True)
    a_mass = jnp.sum(num.exp_of_difference(a, a0), axis=-1, keepdims=True)
    return soft_cross_entropy(probability(a, a0, a_mass), b)


@functools.partial(softmax_cross_entropy.defjvp, symbolic_zeros=True)
def _softmax_cross_entropy_jvp(primals, tangents):
    # H(p, q) = log Σ exp(bⱼ) − Σ pⱼ bⱼ  with  p = softmax(a)  and  q = softmax(b),  hence
    # ∂H/∂aᵢ = −pᵢ (bᵢ − Σ pⱼ bⱼ)  and  ∂H/∂bᵢ = qᵢ − pᵢ.
    (a, b), (a_dot, b_dot) = primals, tangents
    hints = tilt(*jax.lax.stop_gradient(primals))
    along_a = a_dot, lambda a_dot: ad.along(a_dot, _slope_by_a, a, b)
    along_b = b_dot, lambda b_dot: ad.along(b_dot, difference, a, b, hints)
    nats = softmax_cross_entropy(a, b)
    return nats, ad.tangent_of(nats, along_a, along_b)


def _slope_by_a(a, b):
    a, b = num.widen(a, b)
    log_q = num.finite_log(sm.log_softmax(b))
    p, d = sm.softmax(a), sm.centre(log_q, sm.leader(a))
    d = jnp.where(p > 0, d, 0)  # of a masked class it may be as large as numbers go
    return -p * (d - jnp.sum(p * d, axis=-1, keepdims=True))
