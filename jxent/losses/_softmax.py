"""One class out of many: cross-entropy from logits."""

from collections.abc import Sequence
from typing import Any, overload, Unpack

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from .. import checks
from .._core import arithmetic as num
from .._core.domains import SHARE
from .._core.shapes import as_array
from .._core.verdicts import demand
from .._measures.entropy import entropy_in_nats
from ._arguments import as_where, axes_from_the_end, Axis, FloatLike, spread
from ._options import (
    Extra,
    LogLoss,
    loss,
    Number,
    R,
    Softmax,
    Where,
    WithExtra,
)
from ._rows import expected, log_normalizer, Rows, rows_of


@overload
def softmax_cross_entropy(
    logits: FloatLike,
    labels: FloatLike,
    axis: Axis = ...,
    where: Where = ...,
    *,
    returns: None = ...,
    **options: Unpack[LogLoss[R]],
) -> R: ...
@overload
def softmax_cross_entropy(
    logits: FloatLike,
    labels: FloatLike,
    axis: Axis = ...,
    where: Where = ...,
    *,
    returns: Sequence[Extra],
    **options: Unpack[LogLoss[R]],
) -> WithExtra[R]: ...
@loss
def softmax_cross_entropy(
    logits: FloatLike,
    labels: FloatLike,
    axis: Axis = -1,
    where: Where = None,
    *,
    returns: Sequence[Extra] | None = None,
    **options: Unpack[LogLoss[R]],
) -> Any:
    """Cross-entropy of soft targets and logits, in nats.

        −Σᵢ tᵢ log qᵢ,   q = softmax(x)                    sum over `axis`; 0 · log 0 = 0

    `jxent.cross_entropy(labels, Logits(logits))`, with optax's name and order. Targets are
    taken as they are: a row that sums to T costs T times as much.

    Args:
      logits: Predictions. A class of logit −inf is impossible.
      labels: Soft targets, one-hot or not. Class axes must be equal. Batches may differ
        where one of them broadcasts to the other.
      axis: The class axis; or several, whose product are the classes; None for all.
      where: Which rows count, of the batch's shape: the others are 0. Or which classes
        exist, of the logits' shape: what a target says of the others is dropped, and a
        row without any is 0.
      returns: What else to give of each row, before it is weighed or reduced, as for
        `softmax_cross_entropy_with_integer_labels`, but for "correct".
      options: As for `softmax_cross_entropy_with_integer_labels`, but for `ignore_index`.
        Smoothing spreads over the classes that `where` leaves.

    Returns:
      One number per row, in [0, ∞], or what `reduction` makes of them; float32 for half
      precision. With `returns` a named tuple `(loss, extra)`.

    Limits:
      A class of logit −inf costs 0 where its target is 0, and gets gradient 0; where its
      target is positive, the loss is +∞. A row that is removed has gradient 0, whatever
      it holds.

    Raises:
      TypeError: If `labels` is an integer array, or `where` is not boolean.
      ValueError: If shapes do not match, or an option is out of range.
      AssertionError: If a row of logits has no softmax (see `checks`).

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> logits = jnp.array([[2.0, 0.0, -jnp.inf], [2.0, 0.0, 1.0]])
      >>> labels = jnp.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
      >>> print(losses.softmax_cross_entropy(logits, labels))
      [1.1269281 2.4076061]

    References:
      Good, "Some Terminology and Notation in Information Theory", Proceedings of the IEE
      103C, 1956. For the z-loss: Chowdhery et al., "PaLM: Scaling Language Modeling with
      Pathways", 2022, section 5.
    """
    given: Any = options
    caller, z_loss = "softmax_cross_entropy", given.pop("z_loss")
    rows = rows_of(logits, labels, axis, where, caller=caller, kinds="soft", **given)
    return _log_loss(rows, z_loss, returns, caller)


@loss
def safe_softmax_cross_entropy(
    logits: FloatLike, labels: FloatLike, **options: Unpack[Softmax[R]]
) -> R:
    """Cross-entropy of soft targets and logits, in nats: `softmax_cross_entropy`.

        −Σᵢ tᵢ log qᵢ,   q = softmax(x)             sum over the last axis; 0 · log 0 = 0

    The other name is as safe: it too counts impossible classes as 0.

    Args:
      logits: Predictions. A class of logit −inf is impossible.
      labels: Soft targets, one-hot or not.
      options: As for `softmax_cross_entropy`.

    Returns:
      One number per row, in [0, ∞], or what `reduction` makes of them; float32 for half
      precision.

    Limits:
      As for `softmax_cross_entropy`, in forward mode too.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> logits, labels = jnp.array([-jnp.inf, 0.0, 0.0]), jnp.array([0.0, 0.5, 0.5])
      >>> print(losses.safe_softmax_cross_entropy(logits, labels))
      0.6931472
    """
    given: Any = options
    caller = "safe_softmax_cross_entropy"
    rows = rows_of(logits, labels, -1, None, caller=caller, kinds="soft", **given)
    return rows.finish(expected(rows))


@overload
def softmax_cross_entropy_with_integer_labels(
    logits: FloatLike,
    labels: Int[ArrayLike, "*batch"],
    axis: Axis = ...,
    where: Where = ...,
    *,
    returns: None = ...,
    **options: Unpack[LogLoss[R]],
) -> R: ...
@overload
def softmax_cross_entropy_with_integer_labels(
    logits: FloatLike,
    labels: Int[ArrayLike, "*batch"],
    axis: Axis = ...,
    where: Where = ...,
    *,
    returns: Sequence[Extra],
    **options: Unpack[LogLoss[R]],
) -> WithExtra[R]: ...
@loss
def softmax_cross_entropy_with_integer_labels(
    logits: FloatLike,
    labels: Int[ArrayLike, "*batch"],
    axis: Axis = -1,
    where: Where = None,
    *,
    returns: Sequence[Extra] | None = None,
    **options: Unpack[LogLoss[R]],
) -> Any:
    """Log loss: cross-entropy of class indices and logits, in nats.

        −log q_y,   q = softmax(x)
        −Σᵢ wᵢ tᵢ log qᵢ,   t = (1 − s) [i = y] + s / k           with smoothing, weights

    `jxent.cross_entropy(Labels(labels), Logits(logits))`, with optax's name and order.
    Smoothing spreads `s` evenly over all k classes, the labelled one too, and the weight
    of a class multiplies its own term, so that smoothed mass is weighed by the class that
    it lands on, as in PyTorch. No one-hot is made.

    Args:
      logits: Predictions. A class of logit −inf is impossible.
      labels: The index of each row's class; among several class axes, in row-major order.
      axis: The class axis; or several, whose product are the classes; None for all.
      where: Which rows count, of the batch's shape: the others are 0. Or which classes
        exist, of the logits' shape: the others are impossible, get no smoothed mass, and
        a row without any is 0.
      returns: What else to give of each row, before it is weighed or reduced:
        "log_normalizer", log Σᵢ exp xᵢ; "entropy" of q; "argmax", the likeliest class;
        "correct", whether that is the label; "z_loss", its term.
      label_smoothing: `s`, in [0, 1).
      class_weights: `w`, one for each class. The mean divides by the weights of the labels.
      ignore_index: A label whose rows are removed; PyTorch's is −100. A Python integer.
      temperature: What to divide the logits by; one number, or one for each row.
      z_loss: A factor on (log Σᵢ exp xᵢ)², which it adds, to keep logits from drifting.
        Class weights do not weigh it, and its mean is over rows.
      weights: How much each row counts: the loss is multiplied by it, and a mean divided
        by the sum. Its slope is the loss, also where it is 0.
      reduction: None for one number per row, "sum", "mean", or `jxent.Mean` for a mean
        that merges.

    Returns:
      One number per row, in [0, ∞], or what `reduction` makes of them; float32 for half
      precision. With `returns` a named tuple `(loss, extra)`, of a dictionary of one array
      per name.

    Limits:
      A label whose class is impossible, or masked by `where`, costs +∞, without a z-loss;
      so does smoothing with a logit of −inf that `where` does not mask. A label outside of
      [0, k) gives NaN, in value and gradient. A row that is removed, by `where` or
      `ignore_index`, is 0 with gradient 0, whatever it holds. So is one of weight 0 that
      has no loss, since it holds NaN or +inf, or its label is no class; of any other row,
      a weight of 0 is a factor, and leaves the z-loss if it is the class's.

    Numbers may be traced, as in schedules, and have their derivatives.

    Raises:
      TypeError: If `labels` is not an integer array, or `where` is not boolean.
      ValueError: If shapes do not match, or an option is out of range.
      AssertionError: If a row of logits has no softmax, or a label no class (see
        `checks`).

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> loss = losses.softmax_cross_entropy_with_integer_labels
      >>> logits = jnp.array([[2.0, 0.0, 1.0], [2.0, 0.0, 1.0]])
      >>> print(loss(logits, jnp.array([0, 1])))
      [0.40760595 2.407606  ]
      >>> print(loss(logits, jnp.array([0, -100]), ignore_index=-100, label_smoothing=0.1))
      [0.50760597 0.        ]
      >>> print(loss(logits, jnp.array([0, -100]), ignore_index=-100, reduction="mean"))
      0.40760595

    References:
      Good, "Rational Decisions", Journal of the Royal Statistical Society B 14, 1952.
      Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception Architecture
      for Computer Vision", CVPR 2016, section 7.
    """
    given: Any = options
    caller, z_loss = "softmax_cross_entropy_with_integer_labels", given.pop("z_loss")
    rows = rows_of(logits, labels, axis, where, caller=caller, kinds="hard", **given)
    return _log_loss(rows, z_loss, returns, caller)


def _log_loss(rows: Rows, z_loss: Any, returns: Any, caller: str) -> Any:
    known = ("log_normalizer", "entropy", "argmax", "correct", "z_loss")
    if wrong := [name for name in returns or () if name not in known]:
        raise ValueError(f"{caller}: returns has {wrong}, and there are {known}")
    losses, term, extra = expected(rows), None, {}
    wants = lambda name: returns is not None and name in returns
    if wants("log_normalizer") or wants("z_loss") or not num.is_known(z_loss, 0):
        losses, log_total = num.widen(losses, log_normalizer(rows))
        term = jnp.asarray(z_loss, log_total.dtype) * log_total**2
        extra = {"log_normalizer": log_total, "z_loss": term}
        term = None if num.is_known(z_loss, 0) else term
    if wants("entropy"):
        extra["entropy"] = entropy_in_nats(rows.q)
    if wants("argmax") or wants("correct"):
        leader = jnp.argmax(rows.q.data, axis=-1)
        extra |= {"argmax": leader, "correct": leader == rows.p.data}
    result = rows.finish(losses, term)
    if returns is None:
        return result
    return WithExtra(result, {name: rows.counts.only(extra[name]) for name in returns})


def smooth_labels(
    labels: FloatLike,
    alpha: Number,
    *,
    axis: Axis = -1,
    where: Where = None,
) -> Float[Array, "..."]:
    """Soft targets mixed with the uniform distribution.

        (1 − α) tᵢ + α / k                                               over `axis`

    For class indices no array of targets is needed: the losses have `label_smoothing`,
    and `Labels(y, smoothing=α)` is such a distribution.

    Args:
      labels: Soft targets, one-hot or not.
      alpha: The share that is spread, in [0, 1].
      axis: The class axis, or several; None for all.
      where: Which classes exist, of a shape that broadcasts to the labels'. The others
        get 0, and k does not count them.

    Returns:
      An array of the labels' shape; float32 for half precision.

    Raises:
      TypeError: If `labels` is not floating point, or `where` is not boolean.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> print(losses.smooth_labels(jnp.array([0.0, 1.0]), 0.1))
      [0.05 0.95]

    References:
      Müller, Kornblith and Hinton, "When Does Label Smoothing Help?", NeurIPS 2019.
    """
    caller = "smooth_labels"
    t = as_array(labels, "labels", caller)
    checks.check_float(t, name="labels", caller=caller)
    alpha = demand(alpha, SHARE, "alpha", caller)
    t, axes = num.at_least_float32(t), axes_from_the_end(axis, t.ndim, caller)
    alpha = jnp.asarray(alpha, t.dtype)
    exists = jnp.ones((), bool) if where is None else as_where(where, caller)
    exists = spread(exists, t.shape, "where", caller)
    k = jnp.sum(exists.astype(t.dtype), axis=axes, keepdims=True)
    return jnp.where(exists, (1 - alpha) * t + alpha / jnp.maximum(k, 1), 0)
