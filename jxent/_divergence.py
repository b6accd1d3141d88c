"""How far is one distribution from another: `kl_divergence` and `js_divergence`."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import _numerics as num, _softmax as sm
from ._cross_entropy import mean_code_length
from ._distributions import (
    admit_pair,
    BinaryLogits,
    BinaryProbs,
    Density,
    DensityLike,
    Distribution,
    DistributionLike,
    Labels,
    Logits,
    Probs,
)
from ._tilt import difference, excess, softmaxes, tilt


def kl_divergence(
    p: DistributionLike, q: DensityLike, *, base: float | None = None
) -> Float[Array, "*batch"]:
    """Kullback-Leibler divergence of `q` from the truth `p`, in nats.

        KL(p ‖ q) = Σᵢ pᵢ log(pᵢ / qᵢ) − pᵢ + qᵢ = H(p, q) − H(p)      over the last axis

    What coding draws from `p` costs beyond the least possible, when the code was built
    for `q`; relative entropy. It is 0 only if `p = q`, and it is not symmetric. The sum of
    −pᵢ + qᵢ is 0 for distributions; with it no term is negative, and neither is the result
    for probabilities that rounding has kept from summing to 1 (Bregman's form).

    Args:
      p: The truth. A plain float array means probabilities.
      q: The model. Likewise; a network's output is `Logits(z)`.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per row, in [0, ∞]. Half-precision input is computed and returned in
      float32; otherwise the wider dtype of the two. When both are probabilities, both
      log-probabilities or both logits, the result keeps its digits down to 1e-15 and
      less, and is an exact 0, with gradient 0, where the two are equal. Mixed, the digits
      below about 1e-7 · √KL are rounding.

    Limits:
      `pᵢ = 0` adds qᵢ, which the other terms make up for; `qᵢ = 0 < pᵢ` gives +∞. The
      derivatives by `pᵢ`, log(pᵢ / qᵢ), and by `qᵢ`, 1 − pᵢ / qᵢ, are finite: the smallest
      normal number stands in for 0. Where `pᵢ = 0`, the gradient of a logit
      of −inf is 0. A row of logits that are all −inf gives NaN.

    Raises:
      TypeError: If `q` is Labels, `p` is an integer array, or only one of the two has a
        class axis.
      ValueError: If class axes differ, or batch axes do not broadcast, or if labels or
        events of shape (n, 1) meet a batch of n.
      AssertionError: If a row is not a distribution (see `checks`).

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p, q = jnp.array([0.5, 0.5]), jnp.array([0.75, 0.25])
      >>> print(jxent.kl_divergence(p, q), jxent.kl_divergence(q, p))
      0.14384104 0.13081203
      >>> print(jxent.kl_divergence(p, jnp.array([1.0, 0.0])))
      inf

    References:
      Kullback and Leibler, "On Information and Sufficiency", Annals of Mathematical
      Statistics 22, 1951. Bregman, "The relaxation method of finding the common point of
      convex sets", USSR Computational Mathematics 7, 1967, section 1.
    """
    p, q = admit_pair(p, q, caller="kl_divergence")
    return num.in_base(_kl_divergence(p, q), base)


@functools.partial(jax.jit, inline=True)
def _kl_divergence(p: Distribution, q: Density) -> Float[Array, "*batch"]:
    if isinstance(p, Labels) and isinstance(q, Logits | BinaryLogits):
        if p.smoothing == 0:
            return mean_code_length(p, q)
    p = p.among(q)
    match p, q:
        case Probs(), Probs():
            return jnp.sum(_bregman(*_with_difference(p, q)), axis=-1)
        case BinaryProbs(), BinaryProbs():
            return _of_both_events(_bregman, p, q)
        case Logits(), Logits():
            return _softmax_kl(p.data, q.data)
        case BinaryLogits(), BinaryLogits():
            return _softmax_kl(p.two_class(), q.two_class())
    terms = _log_bregman(*num.widen(p.probs(), p.log_probs(), q.log_probs()))
    return jnp.sum(terms, axis=-1)


def js_divergence(
    p: DistributionLike,
    q: DensityLike,
    *,
    weight: float = 0.5,
    base: float | None = None,
) -> Float[Array, "*batch"]:
    """Jensen-Shannon divergence, in nats.

        JS(p, q) = w KL(p ‖ m) + (1 − w) KL(q ‖ m)            m = w p + (1 − w) q

    What one draw tells about which of the two it came from, when `p` is picked with
    probability `w`: 0 only if `p = q`, and never more than the entropy of that pick, log 2
    for w = 1/2, where it is symmetric and its square root a metric.

    Args:
      p: One distribution. A plain float array means probabilities.
      q: The other. Likewise.
      weight: The weight `w` of `p`, in (0, 1). A Python number, not an array.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per row, in [0, H(w)]. Dtype and digits as for `kl_divergence`.

    Limits:
      Finite everywhere: an impossible class of one of the two costs no more than its
      share. The derivative by `pᵢ` is w log(pᵢ / mᵢ), in which the smallest normal number
      stands in for 0. A row of logits that are all −inf gives NaN.

    Raises:
      TypeError, ValueError, AssertionError: As `kl_divergence`; ValueError too if
        `weight` is not in (0, 1).

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p, q = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
      >>> print(jxent.js_divergence(p, q, base=2), jxent.js_divergence(p, p))
      1.0 0.0

    References:
      Lin, "Divergence Measures Based on the Shannon Entropy", IEEE Transactions on
      Information Theory 37, 1991, section 4.
    """
    if not 0 < weight < 1:
        raise ValueError(f"js_divergence: weight is {weight}, not in (0, 1)")
    p, q = admit_pair(p, q, caller="js_divergence")
    return num.in_base(_js_divergence(p, q, float(weight)), base)


@functools.partial(jax.jit, inline=True, static_argnames="w")
def _js_divergence(p: Distribution, q: Density, w: float) -> Float[Array, "*batch"]:
    js = functools.partial(_skewed, w)
    p = p.among(q)
    match p, q:
        case BinaryProbs(), BinaryProbs():
            return _of_both_events(js, p, q)
        case Logits(), Logits():
            terms = js(*_softmaxes(p.data, q.data))
        case BinaryLogits(), BinaryLogits():
            terms = js(*_softmaxes(p.two_class(), q.two_class()))
        case _:
            terms = js(*_with_difference(p, q))
    return jnp.sum(terms, axis=-1)


def _with_difference(p: Density, q: Density) -> tuple[Array, Array, Array]:
    """p, q, and q − p with the digits that it has."""
    p_, q_ = num.widen(p.probs(), q.probs())
    if isinstance(p, Probs) or isinstance(q, Probs):
        return p_, q_, q_ - p_
    log_p, log_q = num.widen(p.log_probs(), q.log_probs())
    t = num.finite_log(log_q) - num.finite_log(log_p)
    return p_, q_, num.rise(p_, q_, t)


def _of_both_events(term, p: BinaryProbs, q: BinaryProbs) -> Float[Array, "*batch"]:
    yes_p, yes_q = num.widen(p.data, q.data)
    d = yes_q - yes_p
    return term(yes_p, yes_q, d) + term(1 - yes_p, 1 - yes_q, -d)


def _softmaxes(a, b) -> tuple[Array, Array, Array]:
    a, b = num.widen(a, b)
    return softmaxes((a, b), tilt(*jax.lax.stop_gradient((a, b))))


# Probabilities against probabilities.


@jax.custom_jvp
def _bregman(
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


@functools.partial(_bregman.defjvp, symbolic_zeros=True)
def _bregman_jvp(primals, tangents):
    # ∂/∂p = log(p/q)  and  ∂/∂q = 1 − p/q = d/q, in which tiny stands in for 0.
    (p, q, d), (p_dot, q_dot, _) = primals, tangents
    value = _bregman(p, q, d)
    along_p = p_dot, lambda p_dot: _log_ratio((p, q), d) * p_dot
    along_q = q_dot, lambda q_dot: d * num.reciprocal(q) * q_dot
    return value, num.tangent_of(value, along_p, along_q)


@num.with_derivatives_of(lambda p, q: num.log(p) - num.log(q))
def _log_ratio(args, d):
    p, q = args
    s = _relative(p, q, d)
    near = -2 * s * (1 + s * s * num.atanh_tail(jnp.clip(s, -1 / 3, 1 / 3)))
    far = jnp.log(jnp.maximum(p, num.tiny(p.dtype)) / jnp.maximum(q, num.tiny(q.dtype)))
    return jnp.where(jnp.abs(s) <= 1 / 3, near, far)


def _relative(p, q, d):
    return d / jnp.where(p + q == 0, 1, p + q)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _skewed(
    w: float,
    p: Float[Array, "*shape"],
    q: Float[Array, "*shape"],
    d: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """`w p log(p/m) + (1 − w) q log(q/m)`, m = w p + (1 − w) q; never negative."""
    # m − p = (1 − w) d and m − q = −w d: as exact as d = q − p is.
    m = w * p + (1 - w) * q
    return w * _bregman(p, m, (1 - w) * d) + (1 - w) * _bregman(q, m, -w * d)


@functools.partial(_skewed.defjvp, symbolic_zeros=True)
def _skewed_jvp(w, primals, tangents):
    # ∂/∂p = w log(p/m)  and  ∂/∂q = (1 − w) log(q/m): what m adds to the two cancels.
    (p, q, d), (p_dot, q_dot, _) = primals, tangents
    m = w * p + (1 - w) * q
    by_p = w * _log_ratio((p, m), (1 - w) * d)
    by_q = (1 - w) * _log_ratio((q, m), -w * d)
    value = _skewed(w, p, q, d)
    along_p = p_dot, lambda p_dot: by_p * p_dot
    along_q = q_dot, lambda q_dot: by_q * q_dot
    return value, num.tangent_of(value, along_p, along_q)


# Probabilities against log-probabilities, and whatever else is mixed.


@jax.custom_jvp
def _log_bregman(
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


@functools.partial(_log_bregman.defjvp, symbolic_zeros=True)
def _log_bregman_jvp(primals, tangents):
    # ∂/∂p = log(p/q) = −t, and tiny stands in for 0.  ∂/∂(log q) = q − p.
    (p, log_p, log_q), (p_dot, _, log_q_dot) = primals, tangents
    value = _log_bregman(p, log_p, log_q)
    t = num.finite_log(log_q) - num.finite_log(log_p)
    d = num.rise(p, jnp.exp(log_q), t)
    along_p = p_dot, lambda p_dot: -t * p_dot
    along_q = log_q_dot, lambda log_q_dot: d * log_q_dot
    return value, num.tangent_of(value, along_p, along_q)


def _near(t, log_q):
    return (jnp.abs(t) <= 1) & (log_q > -jnp.inf)


# Logits against logits.


@jax.custom_jvp
def _softmax_kl(
    a: Float[Array, "*batch k"], b: Float[Array, "*batch k"]
) -> Float[Array, "*batch"]:
    return tilt(*num.widen(a, b)).kl[..., 0]


@functools.partial(_softmax_kl.defjvp, symbolic_zeros=True)
def _softmax_kl_jvp(primals, tangents):
    # KL = log Σ exp(bⱼ) − log Σ exp(aⱼ) − Σ pⱼ (bⱼ − aⱼ),  hence
    # ∂KL/∂aᵢ = −pᵢ eᵢ  and  ∂KL/∂bᵢ = qᵢ − pᵢ = pᵢ (exp(eᵢ − KL) − 1).
    (a, b), (a_dot, b_dot) = primals, tangents
    hints = tilt(*num.widen(*jax.lax.stop_gradient(primals)))
    along_a = a_dot, lambda a_dot: num.along(a_dot, _slope_by_a, a, b, hints)
    along_b = b_dot, lambda b_dot: num.along(b_dot, difference, a, b, hints)
    nats = _softmax_kl(a, b)
    return nats, num.tangent_of(nats, along_a, along_b)


def _slope_by_a(a, b, hints):
    return _slope_by_a_at(num.widen(a, b), hints)


def _slope_by_a_plainly(a, b):
    shared = (a > -jnp.inf) & (b > -jnp.inf)
    p, d = sm.softmax(a), sm.centre(jnp.where(shared, b - a, 0), sm.leader(a))
    return -p * (d - jnp.sum(p * d, axis=-1, keepdims=True))


@num.with_derivatives_of(_slope_by_a_plainly)
def _slope_by_a_at(args, hints):
    a, b = args
    p = num.exp_of_difference(a, hints.a0) / hints.a_mass
    return -num.weigh(p, excess(a, b, hints))
