"""Losses of two towers: each thing of a batch is to find its partner among all others."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from .._core import arithmetic as num
from .._core.meshes import AxisName
from .._distributions.discrete import Labels
from .._distributions.projection import LinearLogits
from .._kernels.streamed.contrast import BelongingOf
from .._measures import streamed
from .._measures.cross_entropy import mean_code_length


def contrastive_loss(
    a: Float[ArrayLike, "n d"],
    b: Float[ArrayLike, "n d"],
    *,
    temperature: float | Float[ArrayLike, ""] = 1.0,
    axis_name: AxisName | None = None,
    block_size: int | None = None,
) -> Float[Array, " n"]:
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

    Returns:
      One number for each pair that is here, in [0, ∞]; float32 for half precision. Under
      `axis_name`, take the mean with `jax.lax.pmean`.

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
    caller = "contrastive_loss"
    forth, back, label = _both_ways(a, b, temperature, axis_name, block_size, caller)
    y = Labels(label)
    return (mean_code_length(y, forth) + mean_code_length(y, back)) / 2


def sigmoid_contrastive_loss(
    a: Float[ArrayLike, "n d"],
    b: Float[ArrayLike, "n d"],
    *,
    temperature: float | Float[ArrayLike, ""] = 1.0,
    bias: float | Float[ArrayLike, ""] = 0.0,
    axis_name: AxisName | None = None,
    block_size: int | None = None,
) -> Float[Array, " n"]:
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
      axis_name, block_size: As for `contrastive_loss`.

    Returns:
      One number for each row of `a` that is here, in [0, ∞]: the sum over all `b`. The
      mean over rows is the loss of the paper.

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
    caller = "sigmoid_contrastive_loss"
    forth, _, label = _both_ways(a, b, temperature, axis_name, block_size, caller)
    bias = jnp.asarray(bias, num.accumulator(forth.data.dtype))
    if bias.ndim:
        raise ValueError(f"{caller}: bias has shape {bias.shape}, and is one number")
    rows = {"label": label, "bias": jnp.broadcast_to(bias, label.shape)}
    return streamed.sums_of(forth, {"loss": BelongingOf()}, rows)["loss"]


def _both_ways(
    a, b, temperature: Any, axis_name, block_size, caller: str
) -> tuple[LinearLogits, LinearLogits, Int[Array, " n"]]:
    """The partners of `a` among all of `b`, those of `b` among `a`; which are right."""
    a, b = jnp.asarray(a), jnp.asarray(b)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(
            f"{caller}: a has shape {a.shape} and b has shape {b.shape}; give one row of "
            "each for every pair"
        )
    label, here = jnp.arange(len(a), dtype=jnp.int32), len(a)
    everywhere = lambda x: x
    if axis_name is not None:
        label = label + here * jax.lax.axis_index(axis_name)
        everywhere = lambda x: jax.lax.all_gather(x, axis_name, tiled=True)

    def among(x, y):
        q = LinearLogits(
            x,
            everywhere(y),
            temperature=temperature,
            vocab_axis=0,
            block_size=block_size,
        )
        q.check("a · b", caller)
        return q

    return among(a, b), among(b, a), label
