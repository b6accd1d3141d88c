"""Log loss of a projection that is never multiplied out."""

import dataclasses
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Annotated, Any, Generic, overload, Unpack

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from .._core import arithmetic as num
from .._core.meshes import AxisName, sum_over_shards
from .._distributions.projection import LinearLogits
from .._kernels.streamed import ChoiceOf, DepthOf, LeaderOf, SpreadOf
from .._measures import streamed
from ._options import (
    Extra,
    LogLoss,
    loss,
    Number,
    Option,
    R,
    Where,
    WithExtra,
)
from ._tokens import check_shapes, temper, tokens_of, weights_of

EXTRAS = ("log_normalizer", "entropy", "argmax", "correct", "z_loss")


class Projected(LogLoss[R], Generic[R], total=False):
    """What the log loss of a projection takes besides; see `jxent.LinearLogits`."""

    bias: Annotated[Float[ArrayLike, " v"] | None, Option()]
    class_mask: Annotated[Bool[ArrayLike, " v"] | None, Option()]
    where: Annotated[Where, Option()]
    softcap: Annotated[Number | None, Option(None, "(0, inf)")]
    vocab_axis: Annotated[int, Option(1)]
    axis_name: Annotated[AxisName | None, Option()]
    block_size: Annotated[int | None, Option()]


@overload
def linear_softmax_cross_entropy(
    hidden: Float[ArrayLike, "*batch d"],
    weight: Float[ArrayLike, "d v"] | Float[ArrayLike, "v d"],
    labels: Int[ArrayLike, "*batch"],
    *,
    returns: None = ...,
    **options: Unpack[Projected[R]],
) -> R: ...
@overload
def linear_softmax_cross_entropy(
    hidden: Float[ArrayLike, "*batch d"],
    weight: Float[ArrayLike, "d v"] | Float[ArrayLike, "v d"],
    labels: Int[ArrayLike, "*batch"],
    *,
    returns: Sequence[Extra],
    **options: Unpack[Projected[R]],
) -> WithExtra[R]: ...
@loss
def linear_softmax_cross_entropy(
    hidden: Float[ArrayLike, "*batch d"],
    weight: Float[ArrayLike, "d v"] | Float[ArrayLike, "v d"],
    labels: Int[ArrayLike, "*batch"],
    *,
    returns: Sequence[Extra] | None = None,
    **options: Unpack[Projected[R]],
) -> Any:
    """Log loss of a large vocabulary, in nats, from hidden states; no logits are stored.

        −Σᵢ wᵢ tᵢ log qᵢ,   q = softmax(cap(hidden · weight + bias) / temperature)
        t = (1 − s) [i = y] + s / k                              of k classes

    `softmax_cross_entropy_with_integer_labels` of `hidden @ weight`, whose options mean
    the same here, on `jxent.LinearLogits`. The memory is that of the gradients and of a
    tile of the vocabulary, whatever its size.

    Args:
      hidden: The last hidden states.
      weight: One column per class; with `vocab_axis=0` one row, as in a tied embedding.
      labels: The index of each token's class.
      bias: One number per class; −inf masks a class.
      class_mask: Which classes there are, in a vocabulary that is padded for instance. The
        others are impossible, and get no part of the smoothing.
      softcap: The bound of soft-capped logits.
      returns: What else to give of each token, from the same pass: "log_normalizer",
        log Σᵢ exp zᵢ; "entropy" of q; "argmax", the likeliest class; "correct", whether
        that is the label; "z_loss", its term. Each before it is weighed or reduced.
      vocab_axis, axis_name, block_size: As for `jxent.LinearLogits`.
      where, ignore_index, weights, class_weights, label_smoothing, temperature, z_loss,
        reduction: As for `softmax_cross_entropy_with_integer_labels`.

    Returns:
      One number per token, or what `reduction` makes of them; float32 for half precision.
      With `returns` a named tuple `(loss, extra)`, of a dictionary of one array per name.

    Limits:
      Those of `softmax_cross_entropy_with_integer_labels`; what removes a row there removes
      a token here. It is 0 in what it `returns`, too.

    Raises:
      TypeError: If `labels` is not an integer array, or `where` is not boolean.
      ValueError: If shapes do not match, or an option is out of range.
      AssertionError: If a label is no class (see `checks`).

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> hidden = jnp.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
      >>> embedding = jnp.array([[0.0, 1.0], [1.0, 0.0], [2.0, 0.0]])
      >>> labels = jnp.array([2, 0, -100])
      >>> loss, extra = losses.linear_softmax_cross_entropy(
      ...     hidden, embedding, labels, vocab_axis=0, ignore_index=-100,
      ...     reduction="mean", returns=["correct"])
      >>> print(loss, extra["correct"])
      0.3235... [ True  True False]

    References:
      Wijmans, Huval, Hertzberg, Koltun and Krähenbühl, "Cut Your Losses in
      Large-Vocabulary Language Models", ICLR 2025, section 4.
    """
    caller, o = "linear_softmax_cross_entropy", SimpleNamespace(**options)
    if wrong := [name for name in returns or () if name not in EXTRAS]:
        raise ValueError(f"{caller}: returns has {wrong}, and there are {EXTRAS}")
    q = LinearLogits(
        hidden, weight, o.bias, None, o.softcap, o.vocab_axis, o.axis_name, o.block_size
    )
    check_shapes(q, "logits", caller)
    per_class = _of_classes(o.class_weights, q, "class_weights", caller)
    exist = _of_classes(o.class_mask, q, "class_mask", caller)
    if exist is not None:
        q = _without_classes(q, exist)
        per_class = None if per_class is None else jnp.where(exist != 0, per_class, 0)
    q, y, counts = tokens_of(
        q,
        labels,
        o.where,
        o.ignore_index,
        caller,
        weights=o.weights,
        class_weights=per_class,
    )
    q = temper(q, o.temperature)
    even = exist if per_class is None else per_class
    statistics = _statistics(o.label_smoothing, even, q.num_classes, returns or ())
    found = streamed.sums_of(q, statistics, {"label": y}, even)
    k = q.num_classes
    if exist is not None:
        k = sum_over_shards(jnp.sum(exist), q.axis_name)
    losses, of_class = _weighted_loss(found, y, q, k, o.label_smoothing, per_class)
    choice = found["choice"]
    log_normalizer = jnp.logaddexp(choice.rest.log, choice.at_label)
    term = jnp.asarray(o.z_loss, losses.dtype) * log_normalizer**2

    extra: dict[str, Array] = {"log_normalizer": log_normalizer, "z_loss": term}
    if "spread" in found:
        extra["entropy"] = found["spread"].entropy
    if "leader" in found:
        leader = found["leader"].label
        extra |= {"argmax": leader, "correct": leader == y}
    term = None if num.is_known(o.z_loss, 0) else term
    result = counts.reduce(losses, o.reduction, of_class=of_class, term=term)
    if returns is None:
        return result
    return WithExtra(result, {name: counts.only(extra[name]) for name in returns})


def _weighted_loss(found, y, q, k, s, class_weights):
    """The losses, among `k` classes, and the class weights of the labels."""
    choice = found["choice"]
    losses = streamed.surprise_from(choice, y, q.num_classes)
    smooth = not num.is_known(s, 0)
    s = jnp.asarray(s, losses.dtype)
    # What is spread evenly over `k` classes, of the sums over all classes divided by `v`.
    share = s * (q.num_classes / k)
    if class_weights is None:
        if smooth:
            losses = losses + share * streamed.lead_from(choice, found["depth"])
        return losses, None
    of_class = weights_of(class_weights, y, q).astype(losses.dtype)
    hard = num.weigh(of_class, losses)
    if not smooth:
        return hard, of_class
    depth = found["depth"]
    even = depth.weight * losses + streamed.lead_from(choice, depth)
    return (1 - s) * hard + share * even, of_class


def _statistics(smoothing, of_classes, num_classes, returns):
    statistics: dict[str, Any] = {"choice": ChoiceOf()}
    if not num.is_known(smoothing, 0):
        statistics["depth"] = DepthOf(num_classes, of_classes is not None)
    if "entropy" in returns:
        statistics["spread"] = SpreadOf()
    if "argmax" in returns or "correct" in returns:
        statistics["leader"] = LeaderOf()
    return statistics


def _of_classes(x: Any, q: LinearLogits, name: str, caller: str):
    """An option with one number for each class, in the dtype of the sums."""
    if x is None:
        return None
    x, here = jnp.asarray(x), jnp.shape(q.weight)[q.vocab_axis]
    if x.shape != (here,):
        raise ValueError(
            f"{caller}: {name} has shape {x.shape}, and there are {here} classes"
        )
    if name == "class_mask" and x.dtype != bool:
        raise TypeError(f"{caller}: class_mask is {x.dtype}, not boolean")
    return x.astype(num.accumulator(q.data.dtype))


def _without_classes(q: LinearLogits, exist: Float[Array, " v"]) -> LinearLogits:
    bias = jnp.zeros_like(exist) if q.bias is None else jnp.asarray(q.bias)
    return dataclasses.replace(q, bias=jnp.where(exist != 0, bias, -jnp.inf))
