"""`LinearLogits`: the softmax of a projection that nobody has multiplied out yet."""

import dataclasses
from typing import final

from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._core.domains import Finite, MASK, POSITIVE
from .._core.meshes import all_classes, AxisName
from .._core.pytrees import pytree, static
from .._core.shapes import as_array, check_float
from .._core.verdicts import Claim, demand, demand_static, look
from .base import Density


@final
@pytree
@dataclasses.dataclass(frozen=True)
class LinearLogits(Density):
    """The softmax of hidden · weight over a vocabulary, never multiplied out.

        pᵢ = exp zᵢ / Σⱼ exp zⱼ,      z = cap(hidden · weight + bias) / temperature
                                      cap(u) = softcap · tanh(u / softcap)

    The last layer of a language model makes gigabytes of logits, of which a loss needs one
    number per token. Every measure takes this instead, and goes through the vocabulary
    tile by tile, in the gradient too: the memory is that of a tile and of the gradients.
    Where the array of logits would be small, `Logits(hidden @ weight)` is faster.

    Args:
      hidden: The last hidden states. Products are taken in their dtype, and add up in
        float32.
      weight: One column per class; with `vocab_axis=0` one row, as in a tied embedding.
      bias: One number per class. A bias of −inf masks a class, padding for instance.
      temperature: What to divide the logits by, a number or an array of no axes.
      softcap: The bound of the soft-capped logits, a Python number.
      vocab_axis: Which axis of the weight the classes are on, 1 or 0.
      axis_name: The axis of a surrounding `shard_map` over which the classes are shared
        out, in equal parts: labels count all classes, and so does the softmax. Under
        `jit`, Explicit axes of a mesh are found by themselves. Auto axes are not: tokens
        may be sharded over them; for classes put `jax.sharding.explicit_axes` around it.
      block_size: How many classes to take at once. By default as many as make 16 MiB of
        float32 logits, from 512 to 4096; in the backward pass 20 MiB of cotangents in the
        dtype of `hidden` (bfloat16 if that has 8 bits), from 512 to 1536.

    Raises:
      TypeError, ValueError: Where it is used, if dtypes or shapes do not fit; and if what
        uses it needs all probabilities at once.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import jxent
      >>> from jxent import Labels, LinearLogits, Logits
      >>> h = jnp.array([[1.0, 0.0], [0.0, 2.0]])
      >>> w = jnp.array([[0.0, 1.0, 2.0], [1.0, 0.0, 0.0]])
      >>> print(jxent.cross_entropy(Labels(jnp.array([2, 0])), LinearLogits(h, w)))
      [0.407... 0.239...]
      >>> print(jxent.cross_entropy(Labels(jnp.array([2, 0])), Logits(h @ w)))
      [0.407... 0.239...]

    References:
      Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018. Wijmans,
      Huval, Hertzberg, Koltun and Krähenbühl, "Cut Your Losses in Large-Vocabulary
      Language Models", ICLR 2025, section 4.
    """

    hidden: Float[ArrayLike, "*batch d"]
    weight: Float[ArrayLike, "d v"] | Float[ArrayLike, "v d"]
    bias: Float[ArrayLike, " v"] | None = None
    temperature: float | Float[ArrayLike, ""] | None = None
    softcap: float | None = static(None)
    vocab_axis: int = static(1)
    axis_name: AxisName | None = static(None)
    block_size: int | None = static(None)

    @property
    def data(self) -> Array:
        return as_array(self.hidden)

    @property
    def num_classes(self) -> int:
        """How many classes there are, on all shards."""
        here = as_array(self.weight).shape[self.vocab_axis]
        return all_classes(here, self.axis_name)

    def check(self, name: str, caller: str) -> None:
        if self.vocab_axis not in (0, 1):
            wrong = f"vocab_axis of {name} is {self.vocab_axis}"
            raise ValueError(f"{caller}: {wrong}, and must be 0 or 1")
        hidden = as_array(self.hidden, f"{name}.hidden", caller)
        weight = as_array(self.weight, f"{name}.weight", caller)
        check_float(hidden, name=f"{name}.hidden", caller=caller)
        check_float(weight, name=f"{name}.weight", caller=caller)
        _check_product(hidden.shape, weight.shape, self.vocab_axis, name, caller)
        k = weight.shape[self.vocab_axis]
        if k == 0:
            raise ValueError(
                f"{caller}: {name} has no class, its weight {weight.shape}"
            )
        if self.bias is not None:
            bias = as_array(self.bias, f"{name}.bias", caller)
            check_float(bias, name=f"{name}.bias", caller=caller)
            if bias.shape != (k,):
                wrong = f"bias of shape {bias.shape}, and {k} classes"
                raise ValueError(f"{caller}: {name} has {wrong}")
        if self.temperature is not None:
            demand(self.temperature, POSITIVE, f"temperature of {name}", caller)
        if self.softcap is not None:
            demand_static(self.softcap, POSITIVE, f"softcap of {name}", caller)
        block = self.block_size
        if not isinstance(block, int | None) or isinstance(block, bool):
            wrong = f"block_size of {name} is a {type(block).__name__}"
            raise TypeError(f"{caller}: {wrong}, and must be a whole number")
        if block is not None:
            demand(block, POSITIVE, f"block_size of {name}", caller)
        look(hidden, Claim(Finite(), f"{name}.hidden", caller))
        look(weight, Claim(Finite(), f"{name}.weight", caller))
        if self.bias is not None:
            look(bias, Claim(MASK, f"{name}.bias", caller))

    def probs(self) -> Float[Array, "*batch k"]:
        raise TypeError(_NEVER_THERE)

    def log_probs(self) -> Float[Array, "*batch k"]:
        raise TypeError(_NEVER_THERE)


_NEVER_THERE = (
    "LinearLogits have no array of probabilities, and this needs one. If it may be as "
    "large as that, multiply: Logits(hidden @ weight)"
)


def _check_product(hidden, weight, vocab_axis, name, caller):
    if len(hidden) > 0 and len(weight) == 2:
        if hidden[-1] == weight[1 - vocab_axis]:
            return
        swapped = hidden[-1] == weight[vocab_axis]
    else:
        swapped = False
    fix = f"; did you mean vocab_axis={1 - vocab_axis}?" if swapped else ""
    raise ValueError(
        f"{caller}: {name} has hidden of shape {hidden} and weight of shape {weight} with "
        f"classes on axis {vocab_axis}, which do not multiply{fix}"
    )
