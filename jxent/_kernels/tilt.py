"""How the softmaxes of two rows of logits differ, exact where they hardly do."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num, autodiff as ad
from . import softmax as sm


class Tilt(NamedTuple):
    """What turns softmax(a) into softmax(b), row by row: `qⱼ = pⱼ exp(eⱼ − KL)`.

    `eⱼ = (bⱼ − aⱼ) − (b₀ − a₀) − mean`, with class 0 the leading one of `a`, and the mean
    over p = softmax(a), so that Σ pⱼ eⱼ = 0. All of it is exact where a and b are near.
    """

    a0: Float[Array, "*batch 1"]
    b0: Float[Array, "*batch 1"]
    a_mass: Float[Array, "*batch 1"]  # Σ exp(aⱼ − a₀)
    b_top: Float[Array, "*batch 1"]
    b_mass: Float[Array, "*batch 1"]  # Σ exp(bⱼ − b_top)
    mean: Float[Array, "*batch 1"]
    kl: Float[Array, "*batch 1"]


def _excess(a, b, a0, b0, mean):
    step, error = num.two_diff(b, a)
    step0, error0 = num.two_diff(b0, a0)
    return ((step - step0) + (error - error0)) - mean


def tilt(a: Float[Array, "*batch k"], b: Float[Array, "*batch k"]) -> Tilt:
    total = functools.partial(jnp.sum, axis=-1, keepdims=True)
    a0 = jnp.max(a, axis=-1, keepdims=True)
    b_top = jnp.max(b, axis=-1, keepdims=True)
    b0 = jnp.max(jnp.where(a == a0, b, -jnp.inf), axis=-1, keepdims=True)
    b0 = jnp.where(b0 == -jnp.inf, b_top, b0)
    shared = (a > -jnp.inf) & (b > -jnp.inf)
    p = num.exp_of_difference(a, a0)
    a_mass, b_mass = total(p), total(num.exp_of_difference(b, b_top))
    mean = total(jnp.where(shared, p * _excess(a, b, a0, b0, 0), 0)) / a_mass
    # Σ qⱼ exp(KL) = 1, hence KL = log1p(Σ pⱼ (exp(eⱼ) − 1 − eⱼ)), without a negative term.
    e = _excess(a, b, a0, b0, mean)
    near = p * num.expm1_minus(jnp.clip(e, -1, 1))
    far = num.exp_of_difference(b, b_top) * jnp.exp((b_top - b0) - mean)
    far = far - jnp.where(shared, p * (1 + e), 0)
    terms = jnp.where(shared & (jnp.abs(e) <= 1), near, far)
    small = jnp.log1p(total(terms) / a_mass)
    # The exponentials overflow where KL is large, and the plain difference will do.
    large = (b_top - b0) + jnp.log(b_mass) - jnp.log(a_mass) - mean
    kl = jnp.where(large > 40, large, small)
    lost = jnp.any((a > -jnp.inf) & (b == -jnp.inf), axis=-1, keepdims=True)
    kl = jnp.where(lost & (b_top > -jnp.inf), jnp.inf, kl)
    return Tilt(a0, b0, a_mass, b_top, b_mass, mean, kl)


def excess(a, b, tilt):
    """`e`, with the log of the smallest normal number for that of an impossible class."""
    e = _excess(a, b, tilt.a0, tilt.b0, tilt.mean)
    return num.finite_log(e)


def _softmaxes_plainly(a, b):
    p, q = sm.softmax(a), sm.softmax(b)
    return p, q, q - p


@ad.with_derivatives_of(_softmaxes_plainly)
def softmaxes(args, tilt):
    """p = softmax(a), q = softmax(b), and q − p with its digits where they are near."""
    a, b = args
    p = num.exp_of_difference(a, tilt.a0) / tilt.a_mass
    q = num.exp_of_difference(b, tilt.b_top) / tilt.b_mass
    t = _excess(a, b, tilt.a0, tilt.b0, tilt.mean) - tilt.kl
    return p, q, num.rise(p, q, t)


def difference(a, b, tilt):
    """`softmax(b) − softmax(a)`, from logits as they came."""
    _, _, d = softmaxes(num.widen(a, b), tilt)
    return d
