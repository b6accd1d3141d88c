"""How the softmaxes of two rows of logits differ, exact where they hardly do."""

import functools
import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num, autodiff as ad, schedules
from . import softmax as sm


class Tilt(NamedTuple):
    """What turns p = softmax(a) into q = softmax(b), row by row.

    With dⱼ = (bⱼ − aⱼ) − (b₀ − a₀), class 0 being the leading one of `a`:

        qⱼ = pⱼ exp(eⱼ − KL),      eⱼ = dⱼ − Σ pᵢ dᵢ

    All of it is exact where a and b are near. If class 0 is impossible in q, the leading
    class of `b` gives b₀.
    """

    a0: Float[Array, "*batch 1"]
    b0: Float[Array, "*batch 1"]
    a_mass: Float[Array, "*batch 1"]  # Σ exp(aⱼ − a₀)
    b_top: Float[Array, "*batch 1"]
    b_mass: Float[Array, "*batch 1"]  # Σ exp(bⱼ − b_top)
    mean: Float[Array, "*batch 1"]  # Σ pⱼ dⱼ, over the classes that are possible in q
    kl: Float[Array, "*batch 1"]


class Tops(NamedTuple):
    a0: Float[Array, "*batch 1"]
    b0: Float[Array, "*batch 1"]
    b_top: Float[Array, "*batch 1"]


def step_between(a, b, a0, b0):
    """`d`, and what it is for an impossible class: −∞ for q's, ∞ or NaN for p's."""
    step, error = num.two_diff(b, a)
    step0, error0 = num.two_diff(b0, a0)
    d = step - step0
    # Rows far apart may be out of range of each other, though not of their own tops.
    return jnp.where(jnp.isfinite(d), d + (error - error0), (b - b0) - (a - a0))


def tilt(a: Float[Array, "*batch k"], b: Float[Array, "*batch k"]) -> Tilt:
    """The numbers of a row, of logits as they came."""
    return schedules.by_platform(a, b, cpu=_tilt_on_cpu, accelerator=_tilt)


def _tilt_on_cpu(a, b):
    a, b = num.widen(a, b)
    total = functools.partial(jnp.sum, axis=-1, keepdims=True)
    a0 = jnp.max(a, axis=-1, keepdims=True)
    b_top = jnp.max(b, axis=-1, keepdims=True)
    b0 = jnp.max(jnp.where(a == a0, b, -jnp.inf), axis=-1, keepdims=True)
    tops = Tops(a0, jnp.where(b0 == -jnp.inf, b_top, b0), b_top)
    sums = [total(term(a, b, tops)) for term in MOMENTS]
    more = [total(term(a, b, tops, *sums[:2])) for term in CURVATURE]
    return tilt_of(tops, *sums, *more)


def _tilt(a, b):
    # Three passes: who leads, what is summed, and what is summed around the mean.
    a0, b0, b_top = num.widen(*leaders(a, b))
    tops = Tops(a0, jnp.where(b0 == -jnp.inf, b_top, b0), b_top)
    sums = schedules.row_sums(*schedules.each_of(MOMENTS, a, b, tops))
    terms = schedules.each_of(CURVATURE, a, b, tops, *sums[:2])
    return tilt_of(tops, *sums, *schedules.row_sums(*terms))


def leaders(a, b):
    """The top of `a`, the largest `b` where `a` has it, and the top of `b`."""

    def merge(x, y):
        (m, i, s), (n, j, t) = x, y
        first = (m > n) | ((m == n) & (i >= j))
        return jnp.where(first, m, n), jnp.where(first, i, j), jnp.maximum(s, t)

    a, b = num.widen(a, b)
    return schedules.merge_rows((a, b, b), [-jnp.inf] * 3, merge)


def tilt_of(tops, a_mass, moment, lag, b_mass, near, lost) -> Tilt:
    """The numbers of a row, of the sums over its classes."""
    a0, b0, b_top = tops
    # Σ qⱼ exp(KL) = 1, hence KL = log1p(Σ pⱼ (exp(eⱼ) − 1 − eⱼ)), without a negative term.
    # The exponentials overflow where KL is large, and the plain difference will do:
    # H(p, q) = log b_mass + Σ p (b_top − b)  less  H(p) = log a_mass + Σ p (a₀ − a).
    far = jnp.log(b_mass) - jnp.log(a_mass) + lag / a_mass
    kl = jnp.where(far > 40, far, jnp.log1p(near / a_mass))
    kl = jnp.where((lost > 0) & (b_top > -jnp.inf), jnp.inf, kl)
    return Tilt(a0, b0, a_mass, b_top, b_mass, moment / a_mass, kl)


# What the classes add to a row's sums. But for b's mass all is relative to exp(a₀), and
# so has to be divided by Σ exp(aⱼ − a₀) when it has been summed.


# Of what is dear, each makes use once: XLA would store what is used twice.


def _possible(a, b, tops):
    """Where neither p nor q is 0."""
    return (a - tops.a0 > math.log(num.tiny(a.dtype))) & (b > -jnp.inf)


def _of_p(term):
    """`p · term`, over the classes that are possible in both."""

    def summand(a, b, tops):
        a, b = num.widen(a, b)
        p = num.exp_of_difference(a, tops.a0)
        return jnp.where(_possible(a, b, tops), p * term(a, b, tops), 0)

    return summand


def _mass(a, b, tops):
    a, _ = num.widen(a, b)
    return num.exp_of_difference(a, tops.a0)


def _other_mass(a, b, tops):
    _, b = num.widen(a, b)
    return num.exp_of_difference(b, tops.b_top)


MOMENTS = (
    _mass,
    _of_p(lambda a, b, tops: step_between(a, b, tops.a0, tops.b0)),
    _of_p(lambda a, b, tops: (tops.b_top - b) - (tops.a0 - a)),
    _other_mass,
)


def _curvature(a, b, tops, a_mass, moment):
    """p (exp(e) − 1 − e), of which no term is negative."""
    a, b = num.widen(a, b)
    mean = moment / a_mass
    e = step_between(a, b, tops.a0, tops.b0) - mean
    possible = _possible(a, b, tops)
    near = possible & (jnp.abs(e) <= 1)
    p = num.exp_of_difference(a, tops.a0)
    q = num.exp_of_difference(b, tops.b_top)
    factor = jnp.exp((tops.b_top - tops.b0) - mean)
    of_p = jnp.where(near, num.expm1_minus(jnp.clip(e, -1, 1)), -(1 + e))
    return jnp.where(possible, p * of_p, 0) + jnp.where(near, 0, q * factor)


def _lost(a, b, tops, a_mass, moment):
    """Where q is 0 and p is not; a logit whose probability underflows is as −∞."""
    a, b = num.widen(a, b)
    lost = (probability(a, tops.a0, a_mass) > 0) & (b == -jnp.inf)
    return lost.astype(a.dtype)


CURVATURE = (_curvature, _lost)


def probability(z, top, mass):
    return num.exp_of_difference(z, top) / mass


def excess(a, b, tilt):
    """`e`, with the log of the smallest normal number for that of an impossible class."""
    return num.finite_log(step_between(a, b, tilt.a0, tilt.b0) - tilt.mean)


def _softmaxes_plainly(a, b):
    p, q = map(sm.softmax, num.widen(a, b))
    return p, q, q - p


@ad.with_derivatives_of(_softmaxes_plainly)
def softmaxes(args, tilt):
    """p = softmax(a), q = softmax(b), and q − p with its digits where they are near."""
    # Where KL is over 1, q − p is as large as p for most of p, and nothing cancels. There
    # e and KL may be so large that nothing is left of their difference.
    args, tilt = schedules.read_again(args, tilt)
    a, b = num.widen(*args)
    p = probability(a, tilt.a0, tilt.a_mass)
    q = probability(b, tilt.b_top, tilt.b_mass)
    t = (step_between(a, b, tilt.a0, tilt.b0) - tilt.mean) - tilt.kl
    return p, q, jnp.where(tilt.kl <= 1, num.rise(p, q, t), q - p)


def difference(a, b, tilt):
    """`softmax(b) − softmax(a)`, from logits as they came."""
    _, _, d = softmaxes((a, b), tilt)
    return d
