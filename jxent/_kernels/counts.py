"""The entropy of Poisson's distribution, which has no closed form."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .gamma_gap import log_factorial_rest
from .terms import bregman, log_ratio

# H = ½ log(2πeλ) + Σᵢ cᵢ λ⁻ⁱ; Evans, Boersma, Blachman and Jagers, "The entropy of a
# Poisson distribution", SIAM Review 30, 1988.
_SERIES = (
    -1 / 12,
    -1 / 24,
    -19 / 360,
    -9 / 80,
    -863 / 2520,
    -1375 / 1008,
    -33953 / 5040,
    -57281 / 1440,
)


def surprise(
    k: Float[Array, "*shape"], rate: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """`−log(e^{−λ} λᵏ / k!)`, Loader's saddle-point form: a deviance, and log k!'s rest.

    Loader, "Fast and accurate computation of binomial probabilities", 2000, section 2.
    """
    return bregman(k, rate, rate - k) + log_factorial_rest(k)


def _sizes(rate: Array) -> tuple[float, int]:
    """From which rate on the series serves, and how many counts matter below."""
    return (200.0, 420) if rate.dtype == jnp.float64 else (16.0, 64)


def _counts(rate):
    cut, n = _sizes(rate)
    rate = jnp.broadcast_to(jnp.minimum(rate, cut), (n, *rate.shape))
    k = jax.lax.broadcasted_iota(rate.dtype, rate.shape, 0)
    return k, rate


@jax.custom_jvp
def poisson_entropy(rate: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    cut, _ = _sizes(rate)
    nats = surprise(*_counts(rate))
    near = jnp.sum(jnp.where(nats < jnp.inf, jnp.exp(-nats) * nats, 0), axis=0)
    large = jnp.maximum(rate, cut)
    u, tail = 1 / large, jnp.zeros_like(rate)
    for c in reversed(_SERIES):
        tail = (tail + c) * u
    far = 0.5 * jnp.log(2 * math.pi * math.e * large) + tail
    return jnp.where(rate <= cut, near, far)


@poisson_entropy.defjvp
def _poisson_entropy_jvp(primals, tangents):
    return poisson_entropy(*primals), _slope(*primals) * tangents[0]


def _slope(rate):
    # dH/dλ = E[log((k+1)/λ)]
    cut, _ = _sizes(rate)
    k, low = _counts(rate)
    excess = -log_ratio((low, k + 1), k + 1 - low)
    near = jnp.sum(jnp.exp(-surprise(k, low)) * excess, axis=0)
    u, tail = 1 / jnp.maximum(rate, cut), jnp.zeros_like(rate)
    for i, c in reversed(list(enumerate(_SERIES))):
        tail = (tail - (i + 1) * c) * u
    return jnp.where(rate <= cut, near, u * (0.5 + tail))
