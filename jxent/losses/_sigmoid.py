"""Events that happen or not, each by itself: losses from their logits."""

import functools
from typing import Annotated, Any, Generic, Unpack

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num
from .._distributions.binary import BinaryLogits, BinaryProbs
from .._measures.cross_entropy import cross_entropy_in_nats
from ._arguments import FloatLike, spread, TargetLike
from ._counts import events
from ._options import Binary, loss, Number, Option, R
from ._surprise import power


class PosWeight(Binary[R], Generic[R], total=False):
    """Options of binary cross-entropy.

    pos_weight: A factor on the term of the event that happens.
    """

    pos_weight: Annotated[
        Number | FloatLike | None, Option(None, "[0, inf)", per_row=True)
    ]


class FocalBinary(Binary[R], Generic[R], total=False):
    """Options of binary focal loss.

    alpha: The weight of events that happen against those that do not; None for neither.
    gamma: γ ≥ 0; 0 is cross-entropy.
    """

    alpha: Annotated[Number | FloatLike | None, Option(None, "[0, 1]", per_row=True)]
    gamma: Annotated[Number, Option(2.0, "[0, inf)")]


@loss
def sigmoid_binary_cross_entropy(
    logits: FloatLike, labels: TargetLike, **options: Unpack[PosWeight[R]]
) -> R:
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
      ignore_index: A label whose events are removed as if by `where`. A Python integer.
      pos_weight: `w`, a factor on the term of the event that happens: above 1 it trades
        precision for recall. It broadcasts to the losses' shape.
      weights, reduction: As for `softmax_cross_entropy_with_integer_labels`.

    Returns:
      One number per event, in [0, ∞], or what `reduction` makes of them; float32 for half
      precision.

    Limits:
      A logit of ±∞ is a certain event: 0 where the label agrees, +∞ where it does not.
      An event that `where` or `ignore_index` removes has gradient 0, whatever it holds. A
      label outside of [0, 1] gives NaN, in value and gradient.

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
    given: Any = options
    caller, w = "sigmoid_binary_cross_entropy", given.pop("pos_weight")
    x, y, counts, reduction = events(logits, labels, caller=caller, **given)
    if w is None:
        losses = cross_entropy_in_nats(BinaryProbs(y), BinaryLogits(x))
    else:
        x, y = num.widen(x, y)
        w = spread(jnp.asarray(w, x.dtype), x.shape, "pos_weight", caller)
        happens, fails = _surprises(BinaryLogits(x))
        losses = num.weigh(w * y, happens) + num.weigh(1 - y, fails)
    return counts.reduce(losses, reduction)


@loss
def sigmoid_focal_loss(
    logits: FloatLike, labels: TargetLike, **options: Unpack[FocalBinary[R]]
) -> R:
    """Binary cross-entropy in which what is already right counts for little.

        α_y (1 − p_y)^γ H(y, p),   1 − p_y = y (1 − p) + (1 − y) p,   p = 1 / (1 + exp(−x))
        α_y = α y + (1 − α) (1 − y), or 1 without α

    Args:
      logits: Predictions, one number per event.
      labels: 0, 1 or a probability between; integers and booleans too.
      alpha: α, in [0, 1]: the weight of events that happen against those that do not.
      gamma: γ ≥ 0; 0 is cross-entropy.
      where, ignore_index, label_smoothing, weights, reduction: As for
        `sigmoid_binary_cross_entropy`.

    Returns:
      One number per event, in [0, ∞], or what `reduction` makes of them; float32 for half
      precision.

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
    given: Any = options
    caller = "sigmoid_focal_loss"
    alpha, gamma = given.pop("alpha"), given.pop("gamma")
    x, y, counts, reduction = events(logits, labels, caller=caller, **given)
    if alpha is not None:
        alpha = spread(jnp.asarray(alpha), x.shape, "alpha", caller)
    return counts.reduce(_focal(x, y, gamma, alpha), reduction)


@functools.partial(jax.jit, inline=True)
def _focal(x: Array, y: Array, gamma: Number, alpha: Any) -> Float[Array, "*batch"]:
    x, y = num.widen(x, y)
    losses = cross_entropy_in_nats(BinaryProbs(y), BinaryLogits(x))
    happens, fails = num.sigmoids(x)
    losses = num.weigh(power(y * fails + (1 - y) * happens, gamma), losses)
    if alpha is None:
        return losses
    alpha = alpha.astype(losses.dtype)
    return (alpha * y + (1 - alpha) * (1 - y)) * losses


def _surprises(
    q: BinaryLogits,
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """The cost of an event, and of its opposite."""
    one = jnp.ones_like(q.data)
    truths = BinaryProbs(one), BinaryProbs(jnp.zeros_like(one))
    return cross_entropy_in_nats(truths[0], q), cross_entropy_in_nats(truths[1], q)
