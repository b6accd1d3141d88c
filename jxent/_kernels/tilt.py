"""How the softmaxes of two rows of logits differ, exact where they hardly do."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num, autodiff as ad
from . import softmax as sm


class Tilt(NamedTuple):
    """What turns p = softmax(a) into q = softmax(b), row by row.

    With dⱼ = (bⱼ − aⱼ) − (b₀ − a₀), class 0 being the leading one of `a`:

        qⱼ = pⱼ exp(dⱼ + lead)     and     qⱼ = pⱼ exp(eⱼ − KL),  eⱼ = dⱼ − Σ pᵢ dᵢ

    All of it is exact where a and b are near. If class 0 is impossible in q, the leading
    class of `b` gives b₀, and `lead` is a constant without a meaning of its own.
    """

    a0: Float[Array, "*batch 1"]
    b0: Float[Array, "*batch 1"]
    a_mass: Float[Array, "*batch 1"]  # Σ exp(aⱼ − a₀)
    b_top: Float[Array, "*batch 1"]
    b_mass: Float[Array, "*batch 1"]  # Σ exp(bⱼ − b_top)
    mean: Float[Array, "*batch 1"]  # Σ pⱼ dⱼ, over the classes that are possible in q
    kl: Float[Array, "*batch 1"]
    lead: Float[Array, "*batch 1"]  # log (q₀ / p₀) = −log Σ pⱼ exp(dⱼ)


def _step(a, b, a0, b0):
    """`d`, and what it is for an impossible class: −∞ for q's, ∞ or NaN for p's."""
    step, error = num.two_diff(b, a)
    step0, error0 = num.two_diff(b0, a0)
    d = step - step0
    # Rows far apart may be out of range of each other, though not of their own tops.
    return jnp.where(jnp.isfinite(d), d + (error - error0), (b - b0) - (a - a0))


def tilt(a: Float[Array, "*batch k"], b: Float[Array, "*batch k"]) -> Tilt:
    total = functools.partial(jnp.sum, axis=-1, keepdims=True)
    a0 = jnp.max(a, axis=-1, keepdims=True)
    b_top = jnp.max(b, axis=-1, keepdims=True)
    b0 = jnp.max(jnp.where(a == a0, b, -jnp.inf), axis=-1, keepdims=True)
    b0 = jnp.where(b0 == -jnp.inf, b_top, b0)
    a_mass, moment, lag, risen = map(total, moments(a, b, a0, b0, b_top))
    b_mass = total(num.exp_of_difference(b, b_top))
    mean, lead = moment / a_mass, lead_of(risen / a_mass)
    near = total(curvature(a, b, a0, b0, b_top, mean)) / a_mass
    far = jnp.log(b_mass) - jnp.log(a_mass) + lag / a_mass
    lost = jnp.any(lost_from_q(a, b, a0, a_mass), axis=-1, keepdims=True)
    kl = divergence(near, far, lost & (b_top > -jnp.inf))
    return Tilt(a0, b0, a_mass, b_top, b_mass, mean, kl, lead)


# What the classes add to a row's statistics. All are relative to exp(a₀), and so have to
# be divided by a_mass when they have been summed.


def moments(a, b, a0, b0, b_top):
    """What each class adds to the four sums that align the two softmaxes."""
    p = num.exp_of_difference(a, a0)
    shared = (p > 0) & (b > -jnp.inf)
    d = _step(a, b, a0, b0)
    lag = (b_top - b) - (a0 - a)
    near = p * jnp.expm1(jnp.clip(d, -1, 1))
    far = num.exp_of_difference(b, b0) - p
    risen = jnp.where(shared & (jnp.abs(d) <= 1), near, far)
    return p, jnp.where(shared, p * d, 0), jnp.where(shared, p * lag, 0), risen


def curvature(a, b, a0, b0, b_top, mean):
    """What each class adds to Σ p (exp(e) − 1 − e), of which no term is negative."""
    p = num.exp_of_difference(a, a0)
    shared = (p > 0) & (b > -jnp.inf)
    e = _step(a, b, a0, b0) - mean
    near = p * num.expm1_minus(jnp.clip(e, -1, 1))
    far = num.exp_of_difference(b, b_top) * jnp.exp((b_top - b0) - mean)
    far = far - jnp.where(shared, p * (1 + e), 0)
    return jnp.where(shared & (jnp.abs(e) <= 1), near, far)


def lost_from_q(a, b, a0, a_mass):
    """Where q is 0 and p is not; a logit whose probability underflows is as −∞."""
    return (probability(a, a0, a_mass) > 0) & (b == -jnp.inf)


def probability(z, top, mass):
    return num.exp_of_difference(z, top) / mass


def lead_of(risen):
    """log (q₀ / p₀), of Σ p (exp(d) − 1); no less than −70, where it is of no use."""
    return -jnp.log1p(jnp.minimum(risen, 1e30))


def divergence(near, far, lost):
    """KL(p ‖ q), of Σ p (exp(e) − 1 − e), and of cross-entropy less entropy."""
    # Σ qⱼ exp(KL) = 1, hence KL = log1p(Σ pⱼ (exp(eⱼ) − 1 − eⱼ)), without a negative term.
    # The exponentials overflow where KL is large, and the plain difference will do:
    # H(p, q) = log b_mass + Σ p (b_top − b)  less  H(p) = log a_mass + Σ p (a₀ − a).
    return jnp.where(lost, jnp.inf, jnp.where(far > 40, far, jnp.log1p(near)))


def excess(a, b, tilt):
    """`e`, with the log of the smallest normal number for that of an impossible class."""
    return num.finite_log(_step(a, b, tilt.a0, tilt.b0) - tilt.mean)


def _softmaxes_plainly(a, b):
    p, q = sm.softmax(a), sm.softmax(b)
    return p, q, q - p


@ad.with_derivatives_of(_softmaxes_plainly)
def softmaxes(args, tilt):
    """p = softmax(a), q = softmax(b), and q − p with its digits where they are near."""
    # Where q₀ and p₀ are a factor e apart, q − p is as large as p₀, and nothing cancels.
    a, b = args
    p = probability(a, tilt.a0, tilt.a_mass)
    q = probability(b, tilt.b_top, tilt.b_mass)
    t = _step(a, b, tilt.a0, tilt.b0) + tilt.lead
    return p, q, jnp.where(jnp.abs(tilt.lead) <= 1, num.rise(p, q, t), q - p)


def difference(a, b, tilt):
    """`softmax(b) − softmax(a)`, from logits as they came."""
    _, _, d = softmaxes(num.widen(a, b), tilt)
    return d
