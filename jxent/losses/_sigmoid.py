"""Events that happen or not, each by itself: losses from their logits."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import checks
from .._core import arithmetic as num
from .._distributions.binary import BinaryLogits, BinaryProbs
from .._measures.cross_entropy import cross_entropy
from ._arguments import (
    as_where,
    check_predictions,
    common_batch,
    demand,
    FloatLike,
    smoothing,
    spread,
    TargetLike,
    Where,
)
from ._rows import measured
from ._surprise import least


def sigmoid_binary_cross_entropy(
    logits: FloatLike,
    labels: TargetLike,
    *,
    where: Where = None,
    label_smoothing: float = 0.0,
    pos_weight: float | FloatLike | None = None,
) -> Float[Array, "*batch"]:
    """Cross-entropy of events that do not exclude each other, in nats, one for each.

        −w y log p − (1 − y) log(1 − p),   p = 1 / (1 + exp(−x))         0 · log 0 = 0

    `jxent.cross_entropy(BinaryProbs(labels), BinaryLogits(logits))`, with optax's name and
    order.

    Args:
      logits: Predictions, one number per event.
      labels: 0, 1 or a probability between; integers and booleans too. One of the two
        shapes must be the other's after broadcasting.
      where: Which events count, of a shape that broadcasts to the losses'; the others
        are 0.
      label_smoothing: The share `s` of (1 − s) y + s/2, in [0, 1).
      pos_weight: `w`, a factor on the term of the event that happens: above 1 it trades
        precision for recall. It broadcasts to the losses' shape.

    Returns:
      One number per event, in [0, ∞]; float32 for half precision.

    Limits:
      A logit of ±∞ is a certain event: 0 where the label agrees, +∞ where it does not.
      An event that `where` removes has gradient 0, whatever it holds.

    Raises:
      TypeError: If `logits` is not floating point, or `where` is not boolean.
      ValueError: If shapes do not match, as (4, 1) and (4,) do not.
      AssertionError: If a label is not in [0, 1], or a logit NaN (see `checks`).

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> logits, labels = jnp.array([3.0, -1.0]), jnp.array([1, 1])
      >>> print(losses.sigmoid_binary_cross_entropy(logits, labels))
      [0.04858735 1.3132617 ]
      >>> print(losses.sigmoid_binary_cross_entropy(logits, labels, pos_weight=2.0))
      [0.0971747 2.6265235]
    """
    caller = "sigmoid_binary_cross_entropy"
    x, y, kept = _events(logits, labels, where, label_smoothing, caller)
    if pos_weight is None:
        loss = measured(cross_entropy, BinaryProbs(y), BinaryLogits(x))
    else:
        demand(
            pos_weight, lambda w: w >= 0, f"{caller}: pos_weight", "which is negative"
        )
        x, y = num.widen(x, y)
        w = spread(jnp.asarray(pos_weight, x.dtype), x.shape, "pos_weight", caller)
        happens, fails = _surprises(BinaryLogits(x))
        loss = num.weigh(w * y, happens) + num.weigh(1 - y, fails)
    return loss if kept is None else jnp.where(kept, loss, 0)


def sigmoid_focal_loss(
    logits: FloatLike,
    labels: TargetLike,
    *,
    alpha: float | FloatLike | None = None,
    gamma: float = 2.0,
    where: Where = None,
    label_smoothing: float = 0.0,
) -> Float[Array, "*batch"]:
    """Binary cross-entropy in which what is already right counts for little.

        α_y (1 − p_y)^γ H(y, p),   1 − p_y = y (1 − p) + (1 − y) p,   p = 1 / (1 + exp(−x))
        α_y = α y + (1 − α) (1 − y), or 1 without α

    Args:
      logits: Predictions, one number per event.
      labels: 0, 1 or a probability between; integers and booleans too.
      alpha: α, in [0, 1]: the weight of events that happen against those that do not.
      gamma: γ ≥ 0; 0 is cross-entropy.
      where, label_smoothing: As for `sigmoid_binary_cross_entropy`.

    Returns:
      One number per event, in [0, ∞]; float32 for half precision.

    Limits:
      Those of `sigmoid_binary_cross_entropy`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> print(losses.sigmoid_focal_loss(jnp.array([3.0, -1.0]), jnp.array([1, 1])))
      [1.0928...e-04 7.0186...e-01]

    References:
      Lin, Goyal, Girshick, He and Dollár, "Focal Loss for Dense Object Detection", ICCV
      2017, section 3.

    See also: `softmax_focal_loss`, for classes that exclude each other.
    """
    caller = "sigmoid_focal_loss"
    demand(gamma, lambda g: g >= 0, f"{caller}: gamma", "which is negative")
    wrong = "not in [0, 1]; None leaves it out"
    demand(alpha, lambda a: 0 <= a <= 1, f"{caller}: alpha", wrong)
    x, y, kept = _events(logits, labels, where, label_smoothing, caller)
    x, y = num.widen(x, y)
    loss = measured(cross_entropy, BinaryProbs(y), BinaryLogits(x))
    happens, fails = num.sigmoids(x)
    miss = y * fails + (1 - y) * happens
    weight = jnp.maximum(miss, least(miss)) ** gamma
    loss = num.weigh(weight, loss)
    if alpha is not None:
        alpha = spread(jnp.asarray(alpha, loss.dtype), loss.shape, "alpha", caller)
        loss = (alpha * y + (1 - alpha) * (1 - y)) * loss
    return loss if kept is None else jnp.where(kept, loss, 0)


def _surprises(
    q: BinaryLogits,
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """The cost of an event, and of its opposite."""
    one = jnp.ones_like(q.data)
    truths = BinaryProbs(one), BinaryProbs(jnp.zeros_like(one))
    return measured(cross_entropy, truths[0], q), measured(cross_entropy, truths[1], q)


def _events(
    logits: Any, labels: Any, where: Where, label_smoothing: float, caller: str
) -> tuple[
    Float[Array, "*batch"], Float[Array, "*batch"], Bool[Array, "*batch"] | None
]:
    x, y = jnp.asarray(logits), jnp.asarray(labels)
    check_predictions(x, y, "logits", caller)
    s = smoothing(label_smoothing, caller)
    if not jnp.issubdtype(y.dtype, jnp.floating):
        y = y.astype(jnp.float32)
    shapes = f"logits have shape {x.shape}, labels have shape {y.shape}"
    batch = common_batch(x.shape, y.shape, caller, shapes)
    x, y, kept = jnp.broadcast_to(x, batch), jnp.broadcast_to(y, batch), None
    if where is not None:
        kept = spread(as_where(where, caller), batch, "where", caller)
        x, y = jnp.where(kept, x, 0), jnp.where(kept, y, 0)
    checks.assert_binary_logits(x, name="logits", caller=caller)
    checks.assert_binary_probs(y, name="labels", caller=caller)
    if s:
        y = (1 - s) * num.at_least_float32(y) + s / 2
    return x, y, kept
