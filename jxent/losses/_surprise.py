"""Losses that bend cross-entropy: functions of the surprise −log q of the true class."""

import functools
from collections.abc import Callable
from typing import Annotated, Any, Generic, Unpack

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num
from ._arguments import Axis, FloatLike, TargetLike
from ._options import loss, Number, Option, R, Softmax, Where
from ._rows import expected, rows_of


class Poly(Softmax[R], Generic[R], total=False):
    """Options of poly loss. epsilon: ε; 0 is cross-entropy."""

    epsilon: Annotated[Number, Option(2.0, "(-inf, inf)")]


class Focal(Softmax[R], Generic[R], total=False):
    """Options of focal loss. gamma: γ ≥ 0; 0 is cross-entropy."""

    gamma: Annotated[Number, Option(2.0, "[0, inf)")]


class Generalized(Softmax[R], Generic[R], total=False):
    """Options of generalised cross-entropy. q: The exponent, in (0, 1]."""

    q: Annotated[Number, Option(0.7, "(0, 1]")]


@loss
def poly_loss_cross_entropy(
    logits: FloatLike,
    labels: TargetLike,
    *,
    axis: Axis = -1,
    where: Where = None,
    **options: Unpack[Poly[R]],
) -> R:
    """Cross-entropy with another first term in its series in 1 − q.

        Σᵢ tᵢ (−log qᵢ + ε (1 − qᵢ)),   q = softmax(x)                   sum over `axis`

    −log q = Σⱼ (1 − q)ʲ / j; the loss is that with 1 + ε for the first coefficient. More
    than cross-entropy, it pulls at classes that are nearly right (ε > 0) or nearly wrong.

    Args:
      logits: Predictions. A class of logit −inf is impossible.
      labels: Soft targets of the logits' shape; or class indices, if integer.
      epsilon: ε; 0 is cross-entropy.
      axis, where, options: As for `softmax_cross_entropy_with_integer_labels`, but for
        `z_loss`; `ignore_index` needs class indices.

    Returns:
      One number per row, or what `reduction` makes of them; float32 for
      half precision.

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
    given: Any = options
    epsilon = given.pop("epsilon")

    def poly(surprise):
        return surprise - jnp.asarray(epsilon, surprise.dtype) * jnp.expm1(-surprise)

    name = "poly_loss_cross_entropy"
    return _bent(poly, logits, labels, axis, where, caller=name, **given)


@loss
def softmax_focal_loss(
    logits: FloatLike,
    labels: TargetLike,
    *,
    axis: Axis = -1,
    where: Where = None,
    **options: Unpack[Focal[R]],
) -> R:
    """Cross-entropy in which what is already right counts for little.

        Σᵢ tᵢ (1 − qᵢ)^γ (−log qᵢ),   q = softmax(x)                     sum over `axis`

    `sigmoid_focal_loss` is its kin for events that do not exclude each other.

    Args:
      logits: Predictions. A class of logit −inf is impossible.
      labels: Soft targets of the logits' shape; or class indices, if integer.
      gamma: γ ≥ 0; 0 is cross-entropy.
      axis, where, options: As for `softmax_cross_entropy_with_integer_labels`, but for
        `z_loss`; `ignore_index` needs class indices.

    Returns:
      One number per row, in [0, ∞], or what `reduction` makes of them; float32 for
      half precision.

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
    given: Any = options
    gamma = given.pop("gamma")
    f = lambda surprise: focal(surprise, gamma)
    return _bent(f, logits, labels, axis, where, caller="softmax_focal_loss", **given)


@loss
def generalized_cross_entropy(
    logits: FloatLike,
    labels: TargetLike,
    *,
    axis: Axis = -1,
    where: Where = None,
    **options: Unpack[Generalized[R]],
) -> R:
    """Generalised cross-entropy, which bounds what a wrong label can cost.

        Σᵢ tᵢ (1 − pᵢ^q) / q,   p = softmax(x)                           sum over `axis`

    Between cross-entropy, its limit at q = 0, and 1 − p, at q = 1, the mean absolute
    error: the larger q, the better it bears with labels that are noise.

    Args:
      logits: Predictions. A class of logit −inf is impossible.
      labels: Soft targets of the logits' shape; or class indices, if integer.
      q: The exponent, in (0, 1].
      axis, where, options: As for `softmax_cross_entropy_with_integer_labels`, but for
        `z_loss`; `ignore_index` needs class indices.

    Returns:
      One number per row, in [0, 1/q] for labels, or what `reduction` makes of them;
      float32 for half precision.

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
    given: Any = options
    q = given.pop("q")

    def of(surprise):
        exponent = jnp.asarray(q, surprise.dtype)
        return -jnp.expm1(-exponent * surprise) / exponent

    name = "generalized_cross_entropy"
    return _bent(of, logits, labels, axis, where, caller=name, **given)


@functools.partial(jax.jit, inline=True)
def focal(surprise: Float[Array, "*batch"], gamma: Number) -> Float[Array, "*batch"]:
    """`(1 − p)^γ (−log p)`, of −log p."""
    # With p = e⁻ˢ it is (1 − e⁻ˢ)^γ s.
    return num.weigh(power(-jnp.expm1(-surprise), gamma), surprise)


@functools.partial(jax.jit, inline=True)
def power(miss: Float[Array, "*batch"], gamma: Number) -> Float[Array, "*batch"]:
    """`missᵞ`, of miss = 1 − p."""
    return _power(miss, jnp.broadcast_to(jnp.asarray(gamma, miss.dtype), miss.shape))


@jax.custom_jvp
def _power(x: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Array:
    return jnp.maximum(x, num.tiny(x.dtype)) ** y


@_power.defjvp
def _power_jvp(primals, tangents):
    # ∂xʸ = xʸ (y ∂x/x + log x ∂y). Of xʸ⁻¹ and xʸ⁻², which overflow near 0, the slopes of
    # a loss need only the products with ∂x and ∂x², which do not.
    (x, y), (x_dot, y_dot) = primals, tangents
    value, log_x = _power(x, y), jnp.log(jnp.maximum(x, num.tiny(x.dtype)))
    return value, value * (y * num.quotient(x_dot, x) + log_x * y_dot)


def _bent(
    f: Callable[[Array], Array],
    logits: FloatLike,
    labels: TargetLike,
    axis: Axis,
    where: Where,
    **options: Any,
) -> Any:
    rows = rows_of(logits, labels, axis, where, kinds="both", **options)
    return rows.finish(expected(rows, f))
