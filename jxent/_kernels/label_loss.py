"""Log loss: class indices against logits."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._core import arithmetic as num, autodiff as ad, meshes as mesh, schedules
from . import softmax as sm


def label_cross_entropy(
    z: Float[Array, "*batch k"], y: Int[Array, "*batch"], smoothing: Any
) -> Float[Array, "*batch"]:
    if isinstance(smoothing, int | float):
        return _label_cross_entropy(z, y, smoothing)
    nats = _label_cross_entropy(z, y, 0.0)
    share = jnp.broadcast_to(smoothing.astype(nats.dtype), nats.shape)
    return nats + num.weigh(share, _mean_lead(z, y))


def _mean_lead(z, y):
    """The mean of z_y − zⱼ: what smoothing all of a label would add to its loss."""
    z, label = num.at_least_float32(z), sm.at_class(y, z)
    z_y = jnp.sum(jnp.where(label, z, 0), axis=-1, keepdims=True)
    # For z_y = −inf the loss is infinite as it is.
    lead = jnp.sum((z_y - z) / z.shape[-1], axis=-1)
    return jnp.where(z_y[..., 0] == -jnp.inf, 0, lead)


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
    nats, hints = _label_value(jax.lax.stop_gradient(z), y, smoothing)
    again = lambda z, y: _label_cross_entropy(z, y, smoothing)
    nats = ad.known(nats, again, z, y)
    return nats, ad.along(z_dot, _label_slope, (z,), (y, hints, smoothing))


@jax.custom_jvp
def surprise(
    top: Float[Array, "*shape"],
    total: Float[Array, "*shape"],
    z_y: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """`−log p_y = log(1 + total · exp(top − z_y))`, of the sum over the other classes."""
    lag, ratio = _ratio(top, z_y)
    ahead = jnp.log1p(ratio * total)
    behind = lag + jnp.log(total + ratio)
    return jnp.where(lag <= 0, ahead, behind)


@surprise.defjvp
def _surprise_jvp(primals, tangents):
    # ∂(−log p_y) = (1 − p_y) ∂(top − z_y + log total),  and 1 − p_y = −expm1(−loss).
    (_, total, _), (top_dot, total_dot, y_dot) = primals, tangents
    loss = surprise(*primals)
    return loss, -jnp.expm1(-loss) * (top_dot - y_dot + total_dot / total)


def _ratio(top, z_y):
    """`top − z_y`, and the exponential of minus its size, exact however large that is."""
    lag, error = num.two_diff(top, z_y)
    return lag, jnp.exp(-jnp.abs(lag)) * (1 - jnp.sign(lag) * error)


class _LabelHints(NamedTuple):
    loss: Float[Array, "*batch 1"]  # of the bare label, −log p_y
    rival: Float[Array, "*batch 1"]  # the largest of the other logits
    scale: Float[Array, "*batch 1"]  # pⱼ = exp(zⱼ − rival) · scale for the others


def _label_value(z, y, smoothing):
    # −log p_y = log(1 + Σ_{j ≠ y} exp(zⱼ − z_y)), measured from the largest other logit:
    # nothing is subtracted from 1, and a confidently right label keeps its small loss.
    valid = (0 <= y) & (y < z.shape[-1])
    # Gather before widening: gathering from the float32 copy would make XLA store it.
    z_y = num.at_least_float32(mesh.pick(z, jnp.where(valid, y, 0)[..., None]))
    rest, step = schedules.by_platform(
        z,
        y,
        z_y,
        cpu=functools.partial(_sums_on_cpu, smoothing),
        accelerator=functools.partial(_sums, smoothing),
    )
    loss = surprise(rest.top, rest.total, z_y)
    lag, ratio = _ratio(rest.top, z_y)
    scale = jnp.where(lag <= 0, ratio * jnp.exp(-loss), 1 / (rest.total + ratio))
    loss = jnp.where(valid[..., None], loss, jnp.nan)
    scale = jnp.where(valid[..., None], scale, jnp.nan)
    # The mean of −log pⱼ = loss + (z_y − zⱼ) over all classes, of which `step` is the
    # second part. For z_y = −inf the loss is infinite as it is.
    nats = loss + jnp.where(z_y == -jnp.inf, 0, step)
    return nats[..., 0], _LabelHints(loss, sm.reference(rest.top), scale)


def _sums_on_cpu(smoothing, z, y, z_y):
    """The classes but y, and s times the mean of z_y − zⱼ."""
    # XLA does not read half precision twice rather than store it widened, unless it has to.
    again = z if z.dtype.itemsize > 2 else jax.lax.optimization_barrier(z)
    z = num.at_least_float32(z)
    step = jnp.zeros_like(z_y)
    if smoothing:
        # (A select inside the sum would have XLA store it.)
        step = jnp.sum(_steps(smoothing, again, z_y), axis=-1, keepdims=True)
    return sm.rest_of(z, sm.at_class(y, z)), step


def _sums(smoothing, z, y, z_y):
    z = num.at_least_float32(z)
    steps = (_steps(smoothing, z, z_y),) if smoothing else ()
    others = jnp.where(sm.at_class(y, z), -jnp.inf, z)
    rest, step = sm.rest_and_sums(others, plain=steps)
    return rest, step[0] if smoothing else jnp.zeros_like(z_y)


def _steps(smoothing, z, z_y):
    # The weight is taken inside the sum, which masks as large as numbers go would overflow.
    return (z_y - num.at_least_float32(z)) * (smoothing / z.shape[-1])


@ad.with_derivatives_of(lambda z: sm.softmax(num.at_least_float32(z)))
def _label_slope(args, hints):
    # As in `sm.below_top`, the very numbers that `rest_of` adds up.
    y, numbers, smoothing = hints
    (z,), (loss, rival, scale) = schedules.read_again(args, numbers)
    z = num.at_least_float32(z)
    label = sm.at_class(y, z)
    others = jnp.exp(jnp.where(label, -jnp.inf, z) - rival) * scale
    slope = jnp.where(label, jnp.expm1(-loss) + smoothing, others)
    return slope - smoothing / z.shape[-1]


def log_loss(log_q, y, smoothing):
    valid = (0 <= y) & (y < log_q.shape[-1])
    log_q = log_q * jnp.where(valid, 1, jnp.nan)[..., None].astype(log_q.dtype)
    at_y = jnp.where(valid, y, 0)[..., None]
    nats = -mesh.pick(log_q, at_y)[..., 0]
    if not num.is_known(smoothing, 0):
        nats = (1 - smoothing) * nats - smoothing * jnp.mean(log_q, axis=-1)
    return nats
