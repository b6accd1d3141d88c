"""One class out of many: cross-entropy from logits."""

from typing import Any, Literal, overload

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from .. import checks
from .._core import arithmetic as num
from ._arguments import (
    as_where,
    axes_from_the_end,
    Axis,
    demand,
    demand_number,
    FloatLike,
    spread,
    Where,
)
from ._rows import ClassWeights, expected, log_normalizer, Rows, rows_of


@overload
def softmax_cross_entropy(
    logits: FloatLike,
    labels: FloatLike,
    axis: Axis = ...,
    where: Where = ...,
    *,
    label_smoothing: float = ...,
    class_weights: ClassWeights = ...,
    temperature: float = ...,
    z_loss: float = ...,
    return_z_loss: Literal[False] = ...,
) -> Float[Array, "*batch"]: ...
@overload
def softmax_cross_entropy(
    logits: FloatLike,
    labels: FloatLike,
    axis: Axis = ...,
    where: Where = ...,
    *,
    label_smoothing: float = ...,
    class_weights: ClassWeights = ...,
    temperature: float = ...,
    z_loss: float = ...,
    return_z_loss: Literal[True],
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]: ...
def softmax_cross_entropy(
    logits: FloatLike,
    labels: FloatLike,
    axis: Axis = -1,
    where: Where = None,
    *,
    label_smoothing: float = 0.0,
    class_weights: ClassWeights = None,
    temperature: float = 1.0,
    z_loss: float = 0.0,
    return_z_loss: bool = False,
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
      label_smoothing: The share of the targets to spread evenly over the classes, except
        those that `where` masks. A float, not an array.
      class_weights: A factor on each class's term, smoothed mass included.
      temperature: What to divide the logits by.
      z_loss: A factor on (log Σᵢ exp xᵢ)², which it adds, to keep logits from drifting.
      return_z_loss: Whether to return that term as well.

    Returns:
      One number per row, in [0, ∞]; float32 for half precision. With `return_z_loss` a
      pair: the loss, all included, and the term of the z-loss.

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
    rows = rows_of(
        logits,
        labels,
        axis,
        where,
        caller="softmax_cross_entropy",
        kinds="soft",
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        temperature=temperature,
    )
    return _with_z_loss(rows, z_loss, return_z_loss, "softmax_cross_entropy")


def safe_softmax_cross_entropy(
    logits: FloatLike, labels: FloatLike
) -> Float[Array, "*batch"]:
    """Cross-entropy of soft targets and logits, in nats: `softmax_cross_entropy`.

        −Σᵢ tᵢ log qᵢ,   q = softmax(x)             sum over the last axis; 0 · log 0 = 0

    The other name is as safe: it too counts impossible classes as 0.

    Args:
      logits: Predictions. A class of logit −inf is impossible.
      labels: Soft targets, one-hot or not.

    Returns:
      One number per row, in [0, ∞]; float32 for half precision.

    Limits:
      As for `softmax_cross_entropy`, in forward mode too.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> logits, labels = jnp.array([-jnp.inf, 0.0, 0.0]), jnp.array([0.0, 0.5, 0.5])
      >>> print(losses.safe_softmax_cross_entropy(logits, labels))
      0.6931472
    """
    caller = "safe_softmax_cross_entropy"
    return expected(rows_of(logits, labels, -1, None, caller=caller, kinds="soft"))


@overload
def softmax_cross_entropy_with_integer_labels(
    logits: FloatLike,
    labels: Int[ArrayLike, "*batch"],
    axis: Axis = ...,
    where: Where = ...,
    *,
    label_smoothing: float = ...,
    class_weights: ClassWeights = ...,
    ignore_index: int | None = ...,
    temperature: float = ...,
    z_loss: float = ...,
    return_z_loss: Literal[False] = ...,
) -> Float[Array, "*batch"]: ...
@overload
def softmax_cross_entropy_with_integer_labels(
    logits: FloatLike,
    labels: Int[ArrayLike, "*batch"],
    axis: Axis = ...,
    where: Where = ...,
    *,
    label_smoothing: float = ...,
    class_weights: ClassWeights = ...,
    ignore_index: int | None = ...,
    temperature: float = ...,
    z_loss: float = ...,
    return_z_loss: Literal[True],
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]: ...
def softmax_cross_entropy_with_integer_labels(
    logits: FloatLike,
    labels: Int[ArrayLike, "*batch"],
    axis: Axis = -1,
    where: Where = None,
    *,
    label_smoothing: float = 0.0,
    class_weights: ClassWeights = None,
    ignore_index: int | None = None,
    temperature: float = 1.0,
    z_loss: float = 0.0,
    return_z_loss: bool = False,
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
      label_smoothing: `s`, in [0, 1). A float, not an array.
      class_weights: `w`, one for each class. A weighted mean divides by the weights:
        `Mean.of(losses, weights=w[labels])` for losses that have no weights of their own,
        and `Mean(losses.sum(), w[labels].sum())` for those that have.
      ignore_index: A label whose rows are 0; PyTorch's is −100.
      temperature: What to divide the logits by.
      z_loss: A factor on (log Σᵢ exp xᵢ)², which it adds, to keep logits from drifting.
        Class weights do not weigh it.
      return_z_loss: Whether to return that term as well.

    Returns:
      One number per row, in [0, ∞]; float32 for half precision. With `return_z_loss` a
      pair: the loss, all included, and the term of the z-loss.

    Limits:
      A label whose class is impossible, or masked by `where`, costs +∞, without a z-loss;
      so does smoothing with a logit of −inf that `where` does not mask. A label outside of
      [0, k) gives NaN, in value and gradient. A row that is removed, by `where`,
      `ignore_index` or a class weight of 0, is 0 with gradient 0, whatever it holds.

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

    References:
      Good, "Rational Decisions", Journal of the Royal Statistical Society B 14, 1952.
      Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception Architecture
      for Computer Vision", CVPR 2016, section 7.
    """
    caller = "softmax_cross_entropy_with_integer_labels"
    rows = rows_of(
        logits,
        labels,
        axis,
        where,
        caller=caller,
        kinds="hard",
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        ignore_index=ignore_index,
        temperature=temperature,
    )
    return _with_z_loss(rows, z_loss, return_z_loss, caller)


def _with_z_loss(rows: Rows, z_loss: float, apart: bool, caller: str) -> Any:
    wrong = "and must not be negative"
    demand_number(z_loss, lambda z: z >= 0, f"{caller}: z_loss", wrong)
    off = isinstance(z_loss, int | float) and z_loss == 0
    if off and apart:
        raise ValueError(f"{caller}: return_z_loss, but z_loss is 0")
    loss = expected(rows)
    if off:
        return rows.finish(loss)
    loss, log_total = num.widen(loss, log_normalizer(rows))
    term = rows.finish(jnp.asarray(z_loss, log_total.dtype) * log_total**2)
    loss = rows.finish(loss)
    return (loss + term, term) if apart else loss + term


def smooth_labels(
    labels: FloatLike,
    alpha: float | Float[Array, ""],
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
    t = jnp.asarray(labels)
    checks.check_float(t, name="labels", caller=caller)
    demand(alpha, lambda a: 0 <= a <= 1, f"{caller}: alpha", "not in [0, 1]")
    t, axes = num.at_least_float32(t), axes_from_the_end(axis, t.ndim, caller)
    alpha = jnp.asarray(alpha, t.dtype)
    exists = jnp.ones((), bool) if where is None else as_where(where, caller)
    exists = spread(exists, t.shape, "where", caller)
    k = jnp.sum(exists.astype(t.dtype), axis=axes, keepdims=True)
    return jnp.where(exists, (1 - alpha) * t + alpha / jnp.maximum(k, 1), 0)
