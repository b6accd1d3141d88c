"""Losses that bend cross-entropy: functions of the surprise −log q of the true class."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._core import arithmetic as num
from ._arguments import Axis, demand_number, FloatLike, TargetLike, Where
from ._rows import ClassWeights, expected, rows_of


def poly_loss_cross_entropy(
    logits: FloatLike,
    labels: TargetLike,
    *,
    epsilon: float | Float[ArrayLike, ""] = 2.0,
    axis: Axis = -1,
    where: Where = None,
    label_smoothing: float = 0.0,
    class_weights: ClassWeights = None,
    ignore_index: int | None = None,
    temperature: float = 1.0,
) -> Float[Array, "*batch"]:
    """Cross-entropy with another first term in its series in 1 − q.

        Σᵢ tᵢ (−log qᵢ + ε (1 − qᵢ)),   q = softmax(x)                   sum over `axis`

    −log q = Σⱼ (1 − q)ʲ / j; the loss is that with 1 + ε for the first coefficient. More
    than cross-entropy, it pulls at classes that are nearly right (ε > 0) or nearly wrong.

    Args:
      logits: Predictions. A class of logit −inf is impossible.
      labels: Soft targets of the logits' shape; or class indices, if integer.
      epsilon: ε; 0 is cross-entropy.
      axis, where, label_smoothing, class_weights, ignore_index, temperature: As for
        `softmax_cross_entropy_with_integer_labels`; `ignore_index` needs class indices.

    Returns:
      One number per row; float32 for half precision.

    Limits:
      Those of `softmax_cross_entropy`, or of its kin for class indices.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> logits = jnp.array([[2.0, 0.0, 1.0], [2.0, 0.0, 1.0]])
      >>> print(losses.poly_loss_cross_entropy(logits, jnp.array([0, 1])))
      [1.077... 4.227...]

    References:
      Leng, Tan, Liu, Cubuk, Shi, Cheng and Anguelov, "PolyLoss: A Polynomial Expansion
      Perspective of Classification Loss Functions", ICLR 2022, section 4.
    """
    demand_number(epsilon, lambda _: True, "poly_loss_cross_entropy: epsilon", "")

    def poly(surprise):
        return surprise - jnp.asarray(epsilon, surprise.dtype) * jnp.expm1(-surprise)

    return _bent(
        poly,
        logits,
        labels,
        axis,
        where,
        caller="poly_loss_cross_entropy",
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        ignore_index=ignore_index,
        temperature=temperature,
    )


def softmax_focal_loss(
    logits: FloatLike,
    labels: TargetLike,
    *,
    gamma: float = 2.0,
    axis: Axis = -1,
    where: Where = None,
    label_smoothing: float = 0.0,
    class_weights: ClassWeights = None,
    ignore_index: int | None = None,
    temperature: float = 1.0,
) -> Float[Array, "*batch"]:
    """Cross-entropy in which what is already right counts for little.

        Σᵢ tᵢ (1 − qᵢ)^γ (−log qᵢ),   q = softmax(x)                     sum over `axis`

    `sigmoid_focal_loss` is its kin for events that do not exclude each other.

    Args:
      logits: Predictions. A class of logit −inf is impossible.
      labels: Soft targets of the logits' shape; or class indices, if integer.
      gamma: γ ≥ 0; 0 is cross-entropy.
      axis, where, label_smoothing, class_weights, ignore_index, temperature: As for
        `softmax_cross_entropy_with_integer_labels`; `ignore_index` needs class indices.

    Returns:
      One number per row, in [0, ∞]; float32 for half precision.

    Limits:
      Those of `softmax_cross_entropy`, or of its kin for class indices.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> logits = jnp.array([[2.0, 0.0, 1.0], [2.0, 0.0, 1.0]])
      >>> print(losses.softmax_focal_loss(logits, jnp.array([0, 1])))
      [0.0456... 1.9936...]

    References:
      Lin, Goyal, Girshick, He and Dollár, "Focal Loss for Dense Object Detection", ICCV
      2017, section 3.
    """
    name, wrong = "softmax_focal_loss: gamma", "which is negative"
    demand_number(gamma, lambda g: g >= 0, name, wrong)
    return _bent(
        lambda surprise: focal(surprise, gamma),
        logits,
        labels,
        axis,
        where,
        caller="softmax_focal_loss",
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        ignore_index=ignore_index,
        temperature=temperature,
    )


def generalized_cross_entropy(
    logits: FloatLike,
    labels: TargetLike,
    *,
    q: float = 0.7,
    axis: Axis = -1,
    where: Where = None,
    label_smoothing: float = 0.0,
    class_weights: ClassWeights = None,
    ignore_index: int | None = None,
    temperature: float = 1.0,
) -> Float[Array, "*batch"]:
    """Generalised cross-entropy, which bounds what a wrong label can cost.

        Σᵢ tᵢ (1 − pᵢ^q) / q,   p = softmax(x)                           sum over `axis`

    Between cross-entropy, its limit at q = 0, and 1 − p, at q = 1, the mean absolute
    error: the larger q, the better it bears with labels that are noise.

    Args:
      logits: Predictions. A class of logit −inf is impossible.
      labels: Soft targets of the logits' shape; or class indices, if integer.
      q: The exponent, in (0, 1].
      axis, where, label_smoothing, class_weights, ignore_index, temperature: As for
        `softmax_cross_entropy_with_integer_labels`; `ignore_index` needs class indices.

    Returns:
      One number per row, in [0, 1/q] for labels; float32 for half precision.

    Limits:
      An impossible class costs 1/q, with gradient 0. Otherwise as `softmax_cross_entropy`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> logits = jnp.array([[2.0, 0.0, 1.0], [2.0, 0.0, 1.0]])
      >>> print(losses.generalized_cross_entropy(logits, jnp.array([0, 1])))
      [0.3546... 1.1637...]

    References:
      Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks
      with Noisy Labels", NeurIPS 2018, section 3.2.
    """
    inside = lambda q: 0 < q <= 1
    demand_number(q, inside, "generalized_cross_entropy: q", "not in (0, 1]")
    return _bent(
        lambda surprise: -jnp.expm1(-q * surprise) / q,
        logits,
        labels,
        axis,
        where,
        caller="generalized_cross_entropy",
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        ignore_index=ignore_index,
        temperature=temperature,
    )


def focal(surprise: Float[Array, "*batch"], gamma: float) -> Float[Array, "*batch"]:
    """`(1 − p)^γ (−log p)`, of −log p."""
    # With p = e⁻ˢ it is (1 − e⁻ˢ)^γ s.
    bounded = jnp.clip(surprise, least(surprise), -math.log(num.tiny(surprise.dtype)))
    return num.weigh((-jnp.expm1(-bounded)) ** gamma, surprise)


def least(miss: Float[Array, "*batch"]) -> float:
    """The least 1 − p to take to the power γ: its second slope still is a number."""
    # Beyond that the loss is 0 to the last digit, and so are its slopes, where autodiff
    # would multiply 0 by ∞.
    return math.sqrt(num.tiny(miss.dtype))


def _bent(
    f: Callable[[Array], Array],
    logits: FloatLike,
    labels: TargetLike,
    axis: Axis,
    where: Where,
    **options: Any,
) -> Float[Array, "*batch"]:
    rows = rows_of(logits, labels, axis, where, kinds="both", **options)
    return rows.finish(expected(rows, f))
