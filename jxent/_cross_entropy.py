"""What it costs to code one distribution with a code built for another."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from . import _mesh as mesh, _numerics as num, _softmax as sm, _streamed as streamed
from ._arguments import admit_pair, DensityLike, DistributionLike
from ._distributions import (
    BinaryLogits,
    BinaryProbs,
    Density,
    Distribution,
    Labels,
    Logits,
)
from ._tilt import difference, tilt


def cross_entropy(
    p: DistributionLike, q: DensityLike, *, base: float | None = None
) -> Float[Array, "*batch"]:
    """Cross-entropy of `q` relative to the truth `p`, in nats.

        H(p, q) = Σᵢ pᵢ · (−log qᵢ) = H(p) + KL(p ‖ q)       sum over the last axis

    The mean length of the messages when events drawn from `p` are coded with a code
    built for `q`: never less than the entropy H(p), and equal only if `p = q`. When `p`
    is `Labels(y)` it is −log q of the true class: log loss, whose mean is the negative
    log-likelihood. `BinaryProbs` and `BinaryLogits` give binary cross-entropy, one number
    per event.

    Args:
      p: The truth. A plain float array means probabilities, soft targets; class indices
        are `Labels(y)`.
      q: The model. A plain float array means probabilities; a network's output is
        `Logits(z)`, or `BinaryLogits(x)` for one event each.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per row, in [H(p), ∞]. Half-precision input is computed and returned in
      float32; otherwise the wider dtype of the two. Nothing is renormalised.

    Limits:
      `pᵢ = 0` adds 0, whatever `qᵢ` is. `qᵢ = 0 < pᵢ` gives +∞. The gradient of a logit of
      −inf is 0 where `pᵢ = 0`, and that of a confidently right label is −(1 − q_y), never
      rounded to 0. The derivative by `pᵢ` is −log qᵢ, and at `qᵢ = 0` that of the smallest
      normal number. A label outside of [0, k) gives NaN, in value and gradient, and so
      does a row of logits that are all −inf.

    Raises:
      TypeError: If `q` is Labels, labels are not integer or probabilities are, or only
        one of the two has a class axis.
      ValueError: If class axes differ, or batch axes do not broadcast, or if labels or
        events of shape (n, 1) meet a batch of n.
      AssertionError: If a row is not a distribution (see `checks`).

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p = jnp.array([0.5, 0.25, 0.25])
      >>> print(jxent.cross_entropy(p, p, base=2), jxent.cross_entropy(p, p[::-1], base=2))
      1.5 1.75
      >>> z = jnp.array([[9.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
      >>> print(jxent.cross_entropy(jxent.Labels(jnp.array([0, 1])), jxent.Logits(z)))
      [2.467...e-04 9.000...e+00]

    References:
      Good, "Some Terminology and Notation in Information Theory", Proceedings of the IEE
      103C, 1956. Cover and Thomas, "Elements of Information Theory", 2006, section 5.4.
    """
    p, q = admit_pair(p, q, caller="cross_entropy")
    return num.in_base(mean_code_length(p, q), base)


@functools.partial(jax.jit, inline=True)
def mean_code_length(p: Distribution, q: Density) -> Float[Array, "*batch"]:
    """Cross-entropy in nats, of distributions that have been admitted."""
    if streamed.takes(p, q):
        return streamed.cross_entropy(p, q)
    match p, q:
        case Labels(), Logits():
            return _label_cross_entropy(q.data, p.data, p.smoothing)
        case _, BinaryLogits():
            return _logistic_cross_entropy(*_two_sides(p, q.data.dtype), q.data)
        case _, BinaryProbs():
            return _event_cross_entropy(*_two_sides(p, q.data.dtype), q.data)
        case Labels(), _:
            return _log_loss(q.log_probs(), p.data, p.smoothing)
        case Logits(), Logits():
            return _softmax_cross_entropy(p.data, q.data)
        case _, Logits():
            return _soft_cross_entropy(p.among(q).probs(), q.data)
    probs, log_q = num.widen(p.among(q).probs(), q.log_probs())
    return jnp.sum(num.weigh(probs, -log_q), axis=-1)


# Class indices against logits.


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _label_cross_entropy(
    z: Float[Array, "*batch k"], y: Int[Array, "*batch"], smoothing: float
) -> Float[Array, "*batch"]:
    return _label_value(z, y, smoothing)[0]


@_label_cross_entropy.defjvp
def _label_cross_entropy_jvp(smoothing, primals, tangents):
    # ∂(−Σ tⱼ log pⱼ)/∂zᵢ = pᵢ − tᵢ,  with t = (1 − s) [i = y] + s/k. At the label pᵢ − 1
    # is −(1 − p_y) = expm1(−loss): small where p_y is near 1, and it keeps its digits.
    (z, y), (z_dot, _) = primals, tangents
    _, hints = _label_value(jax.lax.stop_gradient(z), y, smoothing)
    nats = _label_cross_entropy(z, y, smoothing)
    return nats, num.along(z_dot, _label_slope, z, y, hints, smoothing)


class _LabelHints(NamedTuple):
    loss: Float[Array, "*batch 1"]  # of the bare label, −log p_y
    rival: Float[Array, "*batch 1"]  # the largest of the other logits
    scale: Float[Array, "*batch 1"]  # pⱼ = exp(zⱼ − rival) · scale for the others


def _label_value(z, y, smoothing):
    # −log p_y = log(1 + Σ_{j ≠ y} exp(zⱼ − z_y)), measured from the largest other logit:
    # nothing is subtracted from 1, and a confidently right label keeps its small loss.
    valid = (0 <= y) & (y < z.shape[-1])
    z_y = mesh.pick(z, jnp.where(valid, y, 0)[..., None])
    # Not before: a gather from the float32 logits would have XLA store them. Nor does it
    # read half precision twice rather than store it widened, unless it has to.
    again = z if z.dtype.itemsize > 2 else jax.lax.optimization_barrier(z)
    z, z_y = num.at_least_float32(z), num.at_least_float32(z_y)
    rest = sm.rest_of(z, sm.at_class(y, z))
    lag, error = num.two_diff(rest.top, z_y)
    ratio = jnp.exp(-jnp.abs(lag)) * (1 - jnp.sign(lag) * error)
    ahead = jnp.log1p(ratio * rest.total)
    behind = lag + jnp.log(rest.total + ratio)
    loss = jnp.where(lag <= 0, ahead, behind)
    scale = jnp.where(lag <= 0, ratio * jnp.exp(-loss), 1 / (rest.total + ratio))
    loss = jnp.where(valid[..., None], loss, jnp.nan)
    scale = jnp.where(valid[..., None], scale, jnp.nan)
    nats = loss[..., 0]
    if smoothing:
        # The mean of −log pⱼ = loss + (z_y − zⱼ) over all classes. For z_y = −inf the loss
        # is infinite as it is. (A select inside the mean would have XLA store it.)
        step = jnp.mean(z_y - num.at_least_float32(again), axis=-1)
        nats = nats + smoothing * jnp.where(z_y[..., 0] == -jnp.inf, 0, step)
    return nats, _LabelHints(loss, sm.reference(rest.top), scale)


def _label_slope(z, y, hints, smoothing):
    z = num.at_least_float32(z)
    return _label_slope_at((z,), (y, hints, smoothing))


@num.with_derivatives_of(sm.softmax)
def _label_slope_at(args, hints):
    (z,), (y, (loss, rival, scale), smoothing) = args, hints
    # As in `sm.below_top`, the very numbers that `rest_of` adds up.
    label = sm.at_class(y, z)
    others = jnp.exp(jnp.where(label, -jnp.inf, z) - rival) * scale
    slope = jnp.where(label, jnp.expm1(-loss) + smoothing, others)
    return slope - smoothing / z.shape[-1]


def _log_loss(log_q, y, smoothing):
    valid = (0 <= y) & (y < log_q.shape[-1])
    log_q = log_q * jnp.where(valid, 1, jnp.nan)[..., None].astype(log_q.dtype)
    at_y = jnp.where(valid, y, 0)[..., None]
    nats = -mesh.pick(log_q, at_y)[..., 0]
    if smoothing:
        nats = (1 - smoothing) * nats - smoothing * jnp.mean(log_q, axis=-1)
    return nats


# Soft targets against logits.


@jax.custom_jvp
def _soft_cross_entropy(
    t: Float[Array, "*batch k"], z: Float[Array, "*batch k"]
) -> Float[Array, "*batch"]:
    t, z = num.widen(t, z)
    return jnp.sum(num.weigh(t, -sm.log_probabilities(z, sm.partition(z))), axis=-1)


@functools.partial(_soft_cross_entropy.defjvp, symbolic_zeros=True)
def _soft_cross_entropy_jvp(primals, tangents):
    # ∂(−Σ tⱼ log pⱼ)/∂zᵢ = T pᵢ − tᵢ with T = Σ tⱼ,  and by tᵢ it is −log pᵢ.
    (t, z), (t_dot, z_dot) = primals, tangents
    _, wide = num.widen(t, jax.lax.stop_gradient(z))
    hints = sm.partition(wide)
    along_t = t_dot, lambda t_dot: num.along(t_dot, _surprise, t, z, hints)
    along_z = z_dot, lambda z_dot: num.along(z_dot, _soft_slope, t, z, hints)
    nats = _soft_cross_entropy(t, z)
    return nats, num.tangent_of(nats, along_t, along_z)


def _surprise(t, z, hints):
    _, z = num.widen(t, z)
    return _surprise_at((z,), hints)


@num.with_derivatives_of(lambda z: -sm.log_softmax(z))
def _surprise_at(args, part):
    (z,) = args
    return num.finite_log(-sm.log_probabilities(z, part))


def _soft_slope(t, z, hints):
    return _soft_slope_at(num.widen(t, z), hints)


def _soft_slope_plainly(t, z):
    return jnp.sum(t, axis=-1, keepdims=True) * sm.softmax(z) - t


@num.with_derivatives_of(_soft_slope_plainly)
def _soft_slope_at(args, part):
    # At a top class that has nearly all of p, T p − t is (T − t) + T (p − 1): two small
    # numbers, of which T − t is the sum of the other targets.
    t, z = args
    top = z == part.top
    total = jnp.sum(t, axis=-1, keepdims=True)
    others = jnp.sum(jnp.where(top, 0, t), axis=-1, keepdims=True)
    below = sm.below_top(z, part) * (total * part.scale) - t
    alone = others + total * jnp.expm1(-part.surprise)
    shared = total * jnp.exp(-part.surprise) - t
    return jnp.where(top, jnp.where(part.surprise < 0.4, alone, shared), below)


# Logits against logits.


@jax.custom_jvp
def _softmax_cross_entropy(
    a: Float[Array, "*batch k"], b: Float[Array, "*batch k"]
) -> Float[Array, "*batch"]:
    a, b = num.widen(a, b)
    return _soft_cross_entropy(sm.softmax(a), b)


@functools.partial(_softmax_cross_entropy.defjvp, symbolic_zeros=True)
def _softmax_cross_entropy_jvp(primals, tangents):
    # H(p, q) = log Σ exp(bⱼ) − Σ pⱼ bⱼ  with  p = softmax(a)  and  q = softmax(b),  hence
    # ∂H/∂aᵢ = −pᵢ (bᵢ − Σ pⱼ bⱼ)  and  ∂H/∂bᵢ = qᵢ − pᵢ.
    (a, b), (a_dot, b_dot) = primals, tangents
    hints = tilt(*num.widen(*jax.lax.stop_gradient(primals)))
    along_a = a_dot, lambda a_dot: num.along(a_dot, _slope_by_a, a, b)
    along_b = b_dot, lambda b_dot: num.along(b_dot, difference, a, b, hints)
    nats = _softmax_cross_entropy(a, b)
    return nats, num.tangent_of(nats, along_a, along_b)


def _slope_by_a(a, b):
    a, b = num.widen(a, b)
    log_q = num.finite_log(sm.log_softmax(b))
    p, d = sm.softmax(a), sm.centre(log_q, sm.leader(a))
    return -p * (d - jnp.sum(p * d, axis=-1, keepdims=True))


# Events against logits.


def _two_sides(p: Distribution, dtype) -> tuple[Array, Array]:
    """The probabilities of an event and of its opposite, each with all of its digits."""
    match p:
        case Labels():
            y, s = p.data, p.smoothing
            zero, one = y == 0, y == 1
            valid = jnp.where(zero | one, 1, jnp.nan).astype(num.accumulator(dtype))
            sides = jnp.where(one, 1 - s / 2, s / 2), jnp.where(zero, 1 - s / 2, s / 2)
            return sides[0] * valid, sides[1] * valid
        case BinaryLogits():
            return num.sigmoids(num.at_least_float32(p.data))
        case _:
            yes = num.at_least_float32(p.data)
            return yes, 1 - yes


@jax.custom_jvp
def _logistic_cross_entropy(
    yes: Float[Array, "*batch"], no: Float[Array, "*batch"], x: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    # −yes log σ(x) − no log σ(−x), where the likelier event costs log(1 + e^−|x|), and
    # the other one |x| more. No term is negative, so no digit is lost.
    yes, no, x = num.widen(yes, no, x)
    unlikely, far = jnp.where(x < 0, yes, no), jnp.abs(x)
    return jnp.log1p(jnp.exp(-far)) + num.weigh(unlikely, far)


@functools.partial(_logistic_cross_entropy.defjvp, symbolic_zeros=True)
def _logistic_cross_entropy_jvp(primals, tangents):
    # ∂/∂x = no σ(x) − yes σ(−x), two terms that are small each on its own side.
    # ∂/∂yes = log σ(−x) − log σ(x) = −x, which leaves nothing for no = 1 − yes.
    yes, no, x = num.widen(*primals)
    yes_dot, _, x_dot = tangents
    p_yes, p_no = num.sigmoids(x)
    nats = _logistic_cross_entropy(*primals)
    along_yes = yes_dot, lambda yes_dot: -num.finite_log(x) * yes_dot.astype(x.dtype)
    along_x = x_dot, lambda x_dot: (no * p_yes - yes * p_no) * x_dot.astype(x.dtype)
    return nats, num.tangent_of(nats, along_yes, along_x)


# Events against probabilities.


@jax.custom_jvp
def _event_cross_entropy(
    yes: Float[Array, "*batch"], no: Float[Array, "*batch"], q: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    # −yes log q − no log(1 − q)
    yes, no, q = num.widen(yes, no, q)
    return num.weigh(yes, -num.log(q)) + num.weigh(no, -num.log1m(q))


@functools.partial(_event_cross_entropy.defjvp, symbolic_zeros=True)
def _event_cross_entropy_jvp(primals, tangents):
    # ∂/∂yes = −log(q / (1−q))  and  ∂/∂q = no / (1−q) − yes / q.
    yes, no, q = num.widen(*primals)
    yes_dot, _, q_dot = tangents
    nats = _event_cross_entropy(*primals)
    by_yes, by_q = -num.log_odds(q), _slope_by_event((yes, q), no)
    along_yes = yes_dot, lambda yes_dot: by_yes * yes_dot.astype(q.dtype)
    along_q = q_dot, lambda q_dot: by_q * q_dot.astype(q.dtype)
    return nats, num.tangent_of(nats, along_yes, along_q)


def _slope_by_event_plainly(yes, q):
    return (1 - yes) * num.reciprocal(1 - q) - yes * num.reciprocal(q)


@num.with_derivatives_of(_slope_by_event_plainly)
def _slope_by_event(args, no):
    # (q − yes) / (q (1−q)), where nothing cancels; for yes = 0 or no = 0, one factor.
    yes, q = args
    slope = (q - yes) * num.reciprocal(q) * num.reciprocal(1 - q)
    slope = jnp.where(yes == 0, num.reciprocal(1 - q), slope)
    return jnp.where(no == 0, -num.reciprocal(q), slope)
