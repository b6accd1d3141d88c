"""Log loss of a projection that is never multiplied out."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from .._core import arithmetic as num
from .._core.means import Mean
from .._core.meshes import sum_over_shards
from .._distributions.projection import LinearLogits
from .._kernels.streamed import ChoiceOf, LeaderOf, MomentOf, SpreadOf, WeightOf
from .._measures import streamed
from ._arguments import both, demand_number, smoothing, spread, Where
from ._rows import ClassWeights
from ._tokens import cooler, rows_where, tokens_of, without_rows

Reduction: TypeAlias = Literal["none", "sum", "mean"]
Extra: TypeAlias = Literal["log_normalizer", "entropy", "argmax", "correct", "z_loss"]
EXTRAS = ("log_normalizer", "entropy", "argmax", "correct", "z_loss")


def linear_softmax_cross_entropy(
    hidden: Float[ArrayLike, "*batch d"],
    weight: Float[ArrayLike, "d v"] | Float[ArrayLike, "v d"],
    labels: Int[ArrayLike, "*batch"],
    *,
    bias: Float[ArrayLike, " v"] | None = None,
    where: Where = None,
    weights: Float[ArrayLike, "*#batch"] | None = None,
    label_smoothing: float = 0.0,
    class_weights: ClassWeights = None,
    ignore_index: int | None = None,
    temperature: float | Float[ArrayLike, ""] = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    reduction: Reduction = "none",
    returns: Sequence[Extra] = (),
    vocab_axis: int = 1,
    axis_name: str | None = None,
    block_size: int | None = None,
) -> Any:
    """Log loss of a large vocabulary, in nats, from hidden states; no logits are stored.

        −Σᵢ wᵢ tᵢ log qᵢ,   q = softmax(cap(hidden · weight + bias) / temperature)
        t = (1 − s) [i = y] + s / v

    `softmax_cross_entropy_with_integer_labels` of `hidden @ weight`, whose options mean
    the same here, on `jxent.LinearLogits`. The memory is that of the gradients and of a
    tile of the vocabulary, whatever its size.

    Args:
      hidden: The last hidden states.
      weight: One column per class; with `vocab_axis=0` one row, as in a tied embedding.
      labels: The index of each token's class.
      bias: One number per class; −inf masks a class.
      where: Which tokens count; the others are 0.
      weights: How much each token counts in the sum and in the mean. A token of weight 0
        is removed.
      label_smoothing: `s`, in [0, 1). A float, not an array.
      class_weights: `w`, one for each class. The mean then divides by those of the labels.
      ignore_index: A label whose tokens are 0; PyTorch's is −100.
      temperature: What to divide the logits by.
      softcap: The bound of soft-capped logits.
      z_loss: A factor on (log Σᵢ exp zᵢ)², which it adds.
      reduction: "none" for one number per token; "sum", Σ weights · loss; "mean", that
        over Σ weights, and 0 where nothing counts.
      returns: What else to give of each token, from the same pass: "log_normalizer",
        log Σᵢ exp zᵢ; "entropy" of q; "argmax", the likeliest class; "correct", whether
        that is the label; "z_loss", its term.
      vocab_axis, axis_name, block_size: As for `jxent.LinearLogits`.

    Returns:
      The losses, or their sum or mean, in float32 for half precision. With `returns` a
      pair: that, and a dictionary of one array per name.

    Limits:
      Those of `softmax_cross_entropy_with_integer_labels`. A token that is removed, by
      `where`, `ignore_index` or a weight of 0, is 0 in everything, with gradient 0,
      whatever it holds.

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
    caller = "linear_softmax_cross_entropy"
    s = smoothing(label_smoothing, caller)
    positive = lambda z: z >= 0
    demand_number(z_loss, positive, f"{caller}: z_loss", "and must not be negative")
    if reduction not in ("none", "sum", "mean"):
        raise ValueError(f"{caller}: reduction is {reduction!r}, not none, sum or mean")
    if wrong := [name for name in returns if name not in EXTRAS]:
        raise ValueError(f"{caller}: returns has {wrong}, and there are {EXTRAS}")
    q = LinearLogits(
        hidden, weight, bias, None, softcap, vocab_axis, axis_name, block_size
    )
    if weights is not None:
        weights = spread(jnp.asarray(weights), q.batch, "weights", caller)
        where = both(rows_where(where, q.batch, caller), weights != 0)
    q, y, kept = tokens_of(q, labels, where, ignore_index, caller)
    q = cooler(q, temperature, caller)

    per_class = _class_weights(class_weights, q, caller)
    statistics = _statistics(s, per_class, returns)
    found = streamed.sums_of(q, statistics, {"label": y}, per_class)
    loss, counts = _weighted_loss(found, y, q, s, per_class)
    choice = found["choice"]
    log_normalizer = jnp.logaddexp(choice.rest.log, choice.at_label)
    term = jnp.asarray(z_loss, loss.dtype) * log_normalizer**2
    loss = loss if _is(z_loss, 0) else loss + term

    extra: dict[str, Array] = {"log_normalizer": log_normalizer, "z_loss": term}
    if "spread" in found:
        extra["entropy"] = found["spread"].entropy
    if "leader" in found:
        leader = found["leader"].label
        extra |= {"argmax": leader, "correct": leader == y}
    loss = without_rows(loss, kept)
    extra = {name: without_rows(extra[name], kept) for name in returns}
    if reduction != "none":
        each = 1 if weights is None else weights.astype(loss.dtype)
        total, weight = jnp.sum(each * loss), jnp.sum(each * without_rows(counts, kept))
        loss = total if reduction == "sum" else Mean(total, weight).value
    return (loss, extra) if returns else loss


def _weighted_loss(found, y, q, s, class_weights):
    """The losses, and what the mean counts each of them as."""
    choice, k = found["choice"], q.num_classes
    loss = streamed.surprise_from(choice, y, k)
    if class_weights is None:
        if s:
            loss = loss + s / k * streamed.lead_from(choice, found["moment"], k)
        return loss, jnp.ones_like(loss)
    counts = found["weight"].astype(loss.dtype)
    hard = num.weigh(counts, loss)
    if not s:
        return hard, counts
    total = jnp.sum(class_weights).astype(loss.dtype)
    total = sum_over_shards(total, q.axis_name)
    even = total * loss + streamed.lead_from(choice, found["moment"], total)
    return (1 - s) * hard + s / k * even, counts


def _statistics(smoothing, class_weights, returns):
    weighted = class_weights is not None
    statistics: dict[str, Any] = {"choice": ChoiceOf()}
    if smoothing:
        statistics["moment"] = MomentOf(weighted)
    if weighted:
        statistics["weight"] = WeightOf()
    if "entropy" in returns:
        statistics["spread"] = SpreadOf()
    if "argmax" in returns or "correct" in returns:
        statistics["leader"] = LeaderOf()
    return statistics


def _class_weights(weights, q: LinearLogits, caller: str):
    if weights is None:
        return None
    weights, here = jnp.asarray(weights), jnp.shape(q.weight)[q.vocab_axis]
    if weights.shape != (here,):
        shapes = (
            f"class_weights has shape {weights.shape}, and there are {here} classes"
        )
        raise ValueError(f"{caller}: {shapes}")
    return weights.astype(num.accumulator(q.data.dtype))


def _is(option: Any, value: float) -> bool:
    """Whether an option is known to be `value` while tracing."""
    return isinstance(option, int | float) and option == value
