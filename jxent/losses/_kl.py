"""How far predictions are from a target distribution."""

import functools
from typing import Unpack

import jax
import jax.numpy as jnp

from .. import checks
from .._core import arithmetic as num, autodiff as ad
from .._core.shapes import as_array, log_size
from .._distributions.discrete import LogProbs, Probs
from .._measures.cross_entropy import cross_entropy_in_nats
from .._measures.divergence import kl_in_nats
from .._measures.entropy import entropy_in_nats
from ._arguments import (
    as_where,
    axes_from_the_end,
    Axis,
    classes_last,
    common_batch,
    FloatLike,
    spread,
)
from ._counts import Counts
from ._options import loss, R, Reduced, Where


@loss
def kl_divergence(
    log_predictions: FloatLike,
    targets: FloatLike,
    axis: Axis = -1,
    where: Where = None,
    **options: Unpack[Reduced[R]],
) -> R:
    """Kullback-Leibler divergence of predictions from targets, in nats.

        KL(t ‖ q) = Σᵢ tᵢ (log tᵢ − log qᵢ)                sum over `axis`; 0 · log 0 = 0

    `jxent.kl_divergence(targets, LogProbs(log_predictions))`, with optax's name and order,
    and for rows that do not sum to 1 the formula as it stands, which may be negative.

    Args:
      log_predictions: log q, as `jax.nn.log_softmax` gives it.
      targets: t. One of the two batch shapes must be the other's after broadcasting; the
        class axes must be equal.
      axis: The class axis, or several; None for all.
      where: Which elements to sum over. It broadcasts to the shape of `log_predictions`;
        for a mask of rows that is `rows[..., None]`. A row without any is removed.
      weights, reduction: As for `softmax_cross_entropy_with_integer_labels`.

    Returns:
      One number per row, or what `reduction` makes of them; float32 for half precision.
      Never negative where both rows sum to the same, up to rounding; below about 1e-6 the
      rounding of what was given counts.

    Limits:
      `tᵢ = 0` adds 0, whatever `log qᵢ` is; `qᵢ = 0 < tᵢ` gives +∞. The derivative by
      `log qᵢ` is −tᵢ; by `tᵢ` it is 1 + log(tᵢ / qᵢ), in which the smallest normal number
      stands in for 0. What `where` removes has gradient 0, whatever it holds.

    Raises:
      TypeError: If an argument is not floating point, or `where` is not boolean.
      ValueError: If shapes do not match, or `where` could be a mask of rows.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> log_q = jnp.log(jnp.array([0.5, 0.25, 0.25]))
      >>> print(losses.kl_divergence(log_q, jnp.array([0.5, 0.5, 0.0])))
      0.3465736

    References:
      Kullback and Leibler, "On Information and Sufficiency", Annals of Mathematical
      Statistics 22, 1951.
    """
    caller = "kl_divergence"
    q, p, counts, how = _pair(
        log_predictions, targets, axis, where, Probs, caller=caller, **options
    )
    return counts.reduce(_textbook_kl((p, q), ()), how)


@loss
def kl_divergence_with_log_targets(
    log_predictions: FloatLike,
    log_targets: FloatLike,
    axis: Axis = -1,
    where: Where = None,
    **options: Unpack[Reduced[R]],
) -> R:
    """`kl_divergence` of targets that are given by their logarithms, in nats.

        KL(t ‖ q) = Σᵢ tᵢ (log tᵢ − log qᵢ)                sum over `axis`; 0 · log 0 = 0

    `jxent.kl_divergence(LogProbs(log_targets), LogProbs(log_predictions))`, with optax's
    name and order.

    Args:
      log_predictions: log q, as `jax.nn.log_softmax` gives it.
      log_targets: log t.
      axis, where, options: As for `kl_divergence`.

    Returns:
      One number per row, as `kl_divergence`.

    Limits:
      A target of −inf adds 0, and gets gradient 0. Otherwise as for `kl_divergence`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> log_q = jnp.log(jnp.array([0.5, 0.25, 0.25]))
      >>> log_t = jnp.log(jnp.array([0.5, 0.5, 0.0]))
      >>> print(losses.kl_divergence_with_log_targets(log_q, log_t))
      0.3465736
    """
    caller = "kl_divergence_with_log_targets"
    q, p, counts, how = _pair(
        log_predictions, log_targets, axis, where, LogProbs, caller=caller, **options
    )
    return counts.reduce(_textbook_kl((p, q), ()), how)


@loss
def generalized_kl_divergence(
    log_predictions: FloatLike,
    targets: FloatLike,
    axis: Axis = -1,
    where: Where = None,
    **options: Unpack[Reduced[R]],
) -> R:
    """Kullback-Leibler divergence of positive numbers that need not sum to 1, in nats.

        Σᵢ tᵢ log(tᵢ / qᵢ) − tᵢ + qᵢ                       sum over `axis`; 0 · log 0 = 0

    The Bregman divergence of the negative entropy: no term is negative, and the sum is 0
    only where `t = q`.

    Args:
      log_predictions: log q.
      targets: t.
      axis, where, options: As for `kl_divergence`.

    Returns:
      One number per row, in [0, ∞], or what `reduction` makes of them; float32 for half
      precision.

    Limits:
      `tᵢ = 0` adds `qᵢ`; `qᵢ = 0 < tᵢ` gives +∞. The derivative by `log qᵢ` is qᵢ − tᵢ.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> log_q = jnp.log(jnp.array([2.0, 1.0]))
      >>> print(losses.generalized_kl_divergence(log_q, jnp.array([1.0, 1.0])))
      0.30685282

    References:
      Bregman, "The relaxation method of finding the common point of convex sets", USSR
      Computational Mathematics 7, 1967, section 1.
    """
    caller = "generalized_kl_divergence"
    q, p, counts, how = _pair(
        log_predictions, targets, axis, where, Probs, caller=caller, **options
    )
    return counts.reduce(kl_in_nats(p, q), how)


def _plain_kl(p, q):
    return cross_entropy_in_nats(p, q) - entropy_in_nats(p)


@ad.with_derivatives_of(_plain_kl)
def _textbook_kl(args, _):
    # Bregman's form has −tᵢ + qᵢ in each term, none of which is then negative, nor lost to
    # the rounding of the others. It is this sum where both rows sum to the same, for it
    # differs by Σ qᵢ − Σ tᵢ.
    p, q = args
    t, bregman = p.probs(), kl_in_nats(p, q)
    nats = _textbook_sum(p, q)
    rounding = (16 + log_size(t.shape[-1])) * float(jnp.finfo(t.dtype).eps)
    alike = jnp.abs(bregman - nats) <= rounding * jnp.abs(jnp.sum(t, axis=-1))
    return jnp.where(alike, bregman, nats)


@functools.partial(jax.jit, inline=True)
def _textbook_sum(p, q):
    # −∞ − (−∞) is NaN, and weighed by 0; `jax_debug_nans` looks at what `jit` returns.
    return jnp.sum(num.weigh(p.probs(), p.log_probs() - q.log_probs()), axis=-1)


def _pair(log_q, t, axis, where, of, *, caller, weights, reduction):
    """Both arguments as distributions, of rows that count."""
    logs = of is LogProbs
    name, nothing = ("log_targets", -jnp.inf) if logs else ("targets", 0.0)
    log_q, t = as_array(log_q, "log_predictions", caller), as_array(t, name, caller)
    checks.check_float(log_q, name="log_predictions", caller=caller)
    checks.check_float(t, name=name, caller=caller)
    log_q, t = num.widen(log_q, t)
    shapes = f"log_predictions have shape {log_q.shape}, {name} have shape {t.shape}"
    axes, full = axes_from_the_end(axis, log_q.ndim, caller), log_q.shape
    log_q = classes_last(log_q, axes)
    checks.check_class_axis(log_q, name="log_predictions", caller=caller)
    t = classes_last(t, axes) if t.ndim >= -min(axes) else t[..., None][..., :0]
    if t.shape[-1] != log_q.shape[-1]:
        raise ValueError(f"{caller}: the class axes differ: {shapes}")
    batch = common_batch(log_q.shape[:-1], t.shape[:-1], caller, shapes)
    log_q, t = (jnp.broadcast_to(x, (*batch, x.shape[-1])) for x in (log_q, t))
    kept = None
    if where is not None:
        where = as_where(where, caller)
        if where.ndim < len(full) and where.shape == batch and batch:
            raise ValueError(
                f"{caller}: where has shape {where.shape}, the shape of the rows; a mask "
                "of rows is where[..., None]"
            )
        where = classes_last(spread(where, full, "where", caller), axes)
        where = spread(where, t.shape, "where", caller)
        log_q, t = jnp.where(where, log_q, -jnp.inf), jnp.where(where, t, nothing)
        kept = jnp.any(where, axis=-1)
    bad = None
    if weights is not None:
        bad = jnp.any(jnp.isnan(log_q) | jnp.isnan(t), axis=-1)
    counts = Counts.of(kept, weights, batch, caller, bad)
    if weights is not None and counts.kept is not None:
        row = counts.kept[..., None]
        log_q, t = jnp.where(row, log_q, -jnp.inf), jnp.where(row, t, nothing)
    return LogProbs(log_q), of(t), counts, reduction
