"""The entropy of probabilities, and of a softmax."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num, autodiff as ad, schedules
from . import softmax as sm


@jax.custom_jvp
def surprise(p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return num.weigh(p, -jnp.log(p))


@surprise.defjvp
def _surprise_jvp(primals, tangents):
    # ∂(−p log p) = −1 − log p, infinite at p = 0; tiny stands in for 0.
    (p,), (p_dot,) = primals, tangents
    return surprise(p), (-1 - num.log(jnp.maximum(p, num.tiny(p.dtype)))) * p_dot


@jax.custom_jvp
def softmax_entropy(z: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
    nats, _ = _hints(z)
    return nats


@softmax_entropy.defjvp
def _softmax_entropy_jvp(primals, tangents):
    # With p = softmax(z):  ∂pⱼ/∂zᵢ = pⱼ (δᵢⱼ − pᵢ),  hence  ∂H/∂zᵢ = −pᵢ (log pᵢ + H).
    (z,), (z_dot,) = primals, tangents
    nats, hints = _hints(jax.lax.stop_gradient(z))
    nats = ad.known(nats, softmax_entropy, z)
    return nats, ad.along(z_dot, _softmax_slope, (z,), hints)


def _hints(z):
    # H = −log p_top + Σ pᵢ (top − zᵢ): no term is negative, so no digit is lost.
    # The factor comes after the sum, since exp(−88) underflows, but 88 times it does not.
    # The sum may be infinite where the factor is 0: all others masked by large numbers.
    part, total = schedules.by_platform(z, cpu=_sums_on_cpu, accelerator=_sums)
    spread = num.weigh(part.scale, total)
    return (part.surprise + spread)[..., 0], (part, spread)


def _sums_on_cpu(z):
    z = num.at_least_float32(z)
    part = sm.partition(z)
    terms = num.weigh(sm.below_top(z, part), part.top - z)
    return part, jnp.sum(terms, axis=-1, keepdims=True)


def _sums(z):
    lag = lambda z, top: top - z.astype(top.dtype)
    part, (total,) = sm.parted(z, num.accumulator(z.dtype), weighted=[lag])
    return part, total


def _softmax_slope_plainly(z):
    z = num.at_least_float32(z)
    h, p = softmax_entropy(z)[..., None], sm.softmax(z)
    return -p * (jnp.where(p == 0, 0, sm.log_softmax(z)) + h)


@ad.with_derivatives_of(_softmax_slope_plainly)
def _softmax_slope(args, hints):
    # log pᵢ + H = (zᵢ − top) + Σ pⱼ (top − zⱼ), which is small near the uniform softmax.
    (z,), (part, spread) = schedules.read_again(args, hints)
    z = num.at_least_float32(z)
    return -num.weigh(sm.probabilities(z, part), (z - part.top) + spread)
