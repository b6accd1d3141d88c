"""Losses of two towers: each thing of a batch is to find its partner among all others."""

from typing import Annotated, Any, Generic, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from .._core import arithmetic as num
from .._core.meshes import AxisName
from .._core.shapes import as_array
from .._distributions.discrete import Labels
from .._distributions.projection import LinearLogits
from .._kernels.streamed.contrast import BelongingOf
from .._measures import streamed
from .._measures.cross_entropy import cross_entropy_in_nats
from ._counts import Counts
from ._options import loss, Number, Option, R, Reduced


class Towers(Reduced[R], Generic[R], total=False):
    """What contrastive losses take.

    temperature: What to divide similarities by.
    axis_name: The axis of a surrounding `shard_map` over which the pairs are shared out.
    block_size: How many partners to take at once.
    """

    temperature: Annotated[Number, Option(1.0, "(0, inf)")]
    axis_name: Annotated[AxisName | None, Option()]
    block_size: Annotated[int | None, Option()]


class BiasedTowers(Towers[R], Generic[R], total=False):
    """What contrastive losses of sigmoids take besides.

    bias: What to add to similarities.
    """

    bias: Annotated[Number, Option(0.0, "(-inf, inf)")]


@loss
def contrastive_loss(
    a: Float[ArrayLike, "n d"],
    b: Float[ArrayLike, "n d"],
    **options: Unpack[Towers[R]],
) -> R:
    """InfoNCE, the contrastive loss of CLIP, both ways, in nats; no n × n array is stored.

        zᵢⱼ = aᵢ · bⱼ / temperature
        lossᵢ = −½ log(exp zᵢᵢ / Σⱼ exp zᵢⱼ) − ½ log(exp zᵢᵢ / Σⱼ exp zⱼᵢ)

    Each `aᵢ` is to tell its own `bᵢ` from all others, and the other way round: two log
    losses over the batch, tile by tile as those of `jxent.LinearLogits`. log n less the
    loss is at most the mutual information of the two towers.

    Args:
      a: Embeddings of one tower, one row for each pair; normalised, if similarity is to be
        the cosine.
      b: Those of the other, in the same order. Products are taken in the dtype of the
        embeddings, and add up in float32.
      temperature: What to divide similarities by. It may be learned: an array of no axes.
      axis_name: The axis of a surrounding `shard_map` over which the pairs are shared out,
        in equal parts: partners are sought among those of all devices.
      block_size: How many partners to take at once, as for `jxent.LinearLogits`.
      weights: How much each pair counts, as for `softmax_cross_entropy`; all of them are
        partners to choose from.
      reduction: None for one number per pair, "sum", "mean" or `jxent.Mean`.

    Returns:
      One number for each pair that is here, in [0, ∞], or what `reduction` makes of them;
      float32 for half precision. Under `axis_name`, take the mean with `jax.lax.pmean`.

    Limits:
      A confident match keeps its digits, as in `jxent.cross_entropy`: its loss is never
      rounded to 0, nor its gradient.

    Raises:
      TypeError: If embeddings are not floating point.
      ValueError: If they are not two matrices of one shape, or an option is out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> images = jnp.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
      >>> texts = jnp.array([[0.8, 0.6], [0.0, 1.0], [0.6, 0.8]])
      >>> print(losses.contrastive_loss(images, texts, temperature=0.1))
      [0.9668... 0.1349... 0.3669...]

    References:
      Van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive
      Coding", 2018, section 2.3. Radford et al., "Learning Transferable Visual Models From
      Natural Language Supervision", ICML 2021, section 2.3.
    """
    towers = _both_ways(a, b, caller="contrastive_loss", **options)
    y = Labels(towers.label)
    nats = cross_entropy_in_nats(y, towers.forth) + cross_entropy_in_nats(
        y, towers.back
    )
    return towers.counts.reduce(nats / 2, towers.reduction)


@loss
def sigmoid_contrastive_loss(
    a: Float[ArrayLike, "n d"],
    b: Float[ArrayLike, "n d"],
    **options: Unpack[BiasedTowers[R]],
) -> R:
    """The contrastive loss of SigLIP, in nats; no n × n array is stored.

        zᵢⱼ = aᵢ · bⱼ / temperature + bias
        lossᵢ = log(1 + exp(−zᵢᵢ)) + Σ_{j ≠ i} log(1 + exp(zᵢⱼ))

    Every pair of the batch is an event of its own: does it belong together? There is no
    normaliser, so that pairs do not compete, and the loss is symmetric in `a` and `b`.

    Args:
      a: Embeddings of one tower, one row for each pair.
      b: Those of the other, in the same order.
      temperature: What to divide similarities by. It may be learned.
      bias: What to add to them; since most pairs do not belong together, −10 is usual to
        begin with. It may be learned.
      axis_name, block_size, weights, reduction: As for `contrastive_loss`.

    Returns:
      One number for each row of `a` that is here, in [0, ∞]: the sum over all `b`. Or what
      `reduction` makes of them; the mean over rows is the loss of the paper.

    Limits:
      Confident pairs, of either kind, keep their digits.

    Raises:
      TypeError, ValueError: As `contrastive_loss`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> images = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> print(losses.sigmoid_contrastive_loss(images, images, temperature=0.1, bias=-5.0))
      [0.0134... 0.0134...]

    References:
      Zhai, Mustafa, Kolesnikov and Beyer, "Sigmoid Loss for Language Image Pre-Training",
      ICCV 2023, section 3.2.
    """
    given: dict[str, Any] = dict(options)
    bias = given.pop("bias")
    towers = _both_ways(a, b, caller="sigmoid_contrastive_loss", **given)
    bias = jnp.asarray(bias, num.accumulator(towers.forth.data.dtype))
    bias = jnp.broadcast_to(bias, towers.label.shape)
    rows = {"label": towers.label, "bias": bias}
    found = streamed.sums_of(towers.forth, {"loss": BelongingOf()}, rows)
    return towers.counts.reduce(found["loss"], towers.reduction)


class _BothWays(NamedTuple):
    forth: LinearLogits  # the partners of `a` among all of `b`
    back: LinearLogits  # those of `b` among all of `a`
    label: Int[Array, " n"]  # which are right
    counts: Counts
    reduction: Any


def _both_ways(
    a, b, *, temperature, axis_name, block_size, weights, reduction, caller: str
) -> _BothWays:
    a, b = as_array(a, "a", caller), as_array(b, "b", caller)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(
            f"{caller}: a has shape {a.shape} and b has shape {b.shape}; give one row of "
            "each for every pair"
        )
    here = a.shape[0]
    label = jnp.arange(here, dtype=jnp.int32)
    everywhere = lambda x: x
    if axis_name is not None:
        label = label + here * jax.lax.axis_index(axis_name)
        everywhere = lambda x: jax.lax.all_gather(x, axis_name, tiled=True)

    def among(x, y):
        of = {"temperature": temperature, "block_size": block_size, "vocab_axis": 0}
        q = LinearLogits(x, everywhere(y), **of)
        q.check("the product of a and b", caller)
        return q

    counts = Counts.of(None, weights, label.shape, caller)
    return _BothWays(among(a, b), among(b, a), label, counts, reduction)
