"""`LinearLogits`: the softmax of a projection that nobody has multiplied out yet."""

import dataclasses
import warnings
from typing import final

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._core import arithmetic as num
from .._core.domains import Finite, MASK, POSITIVE
from .._core.meshes import all_classes, AxisName, layout
from .._core.pytrees import pytree, static
from .._core.shapes import as_array, check_float
from .._core.verdicts import Claim, demand, demand_all, look
from .._kernels.streamed import Kind, Linear, Source
from .base import Model, Streamed


@final
@pytree
@dataclasses.dataclass(frozen=True)
class LinearLogits(Streamed):
    """The softmax of hidden · weight over a vocabulary, never multiplied out.

        pᵢ = exp zᵢ / Σⱼ exp zⱼ,      z = cap(hidden · weight + bias) / temperature
                                      cap(u) = softcap · tanh(u / softcap)
                                      cap(−∞) = −∞

    The last layer of a language model makes gigabytes of logits, of which a loss needs one
    number per token. Every measure takes this instead, and goes through the vocabulary
    tile by tile, in the gradient too: the memory is that of a tile and of the gradients.
    Where the array of logits would be small, `Logits(hidden @ weight)` is faster.

    Args:
      hidden: The last hidden states. Products are taken in their dtype, and add up in
        float32.
      weight: One column per class; with `vocab_axis=0` one row, as in a tied embedding.
      bias: One number per class. A bias of −inf masks a class, padding for instance; a cap
        cannot make it possible.
      temperature: What to divide the logits by: one number, or one for each row.
      softcap: The bound of the soft-capped logits, one number. It may be learned.
      vocab_axis: Which axis of the weight the classes are on, 1 or 0.
      axis_name: The axis of a mesh, or several, over which the classes are shared out in
        equal parts. The name means the same under `jit`, with Auto or Explicit axes, where
        arrays are whole, and in a `shard_map` over that axis, where they are shards:
        labels count all classes, and so does the softmax. The weight stays where it is.
        Explicit axes are also found without a name. On Auto axes, the tokens are taken to
        be split over all other axes of the mesh; without a name over all of its axes, and
        every device gathers the whole weight.
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
    temperature: float | Float[ArrayLike, "*#batch"] | None = None
    softcap: float | Float[ArrayLike, ""] | None = None
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
        bias = None
        if self.bias is not None:
            bias = as_array(self.bias, f"{name}.bias", caller)
            check_float(bias, name=f"{name}.bias", caller=caller)
            if bias.shape != (k,):
                wrong = f"bias of shape {bias.shape}, and {k} classes"
                raise ValueError(f"{caller}: {name} has {wrong}")
        self._check_numbers(hidden.shape[:-1], name, caller)
        block = self.block_size
        if not isinstance(block, int | None) or isinstance(block, bool):
            wrong = f"block_size of {name} is a {type(block).__name__}"
            raise TypeError(f"{caller}: {wrong}, and must be a whole number")
        if block is not None:
            demand(block, POSITIVE, f"block_size of {name}", caller)
        look(hidden, Claim(Finite(), f"{name}.hidden", caller))
        look(weight, Claim(Finite(), f"{name}.weight", caller))
        if bias is not None:
            look(bias, Claim(MASK, f"{name}.bias", caller))

        if self.axis_name is None:
            _warn_of_gathering(weight, self.vocab_axis, name, caller)

    def _check_numbers(self, batch: tuple[int, ...], name: str, caller: str) -> None:
        """That the temperature is one number, or one for each row, and the cap is one."""
        if self.temperature is not None:
            demand_all(self.temperature, POSITIVE, f"temperature of {name}", caller)
        shape = () if self.temperature is None else jnp.shape(self.temperature)
        if shape and (len(shape) > len(batch) or not _broadcasts(shape, batch)):
            wrong = f"temperature of {name} has shape {shape}"
            rows = f"one number, or one for each row, {batch}"
            raise ValueError(f"{caller}: {wrong}, and must be {rows}")
        if self.softcap is not None:
            demand(self.softcap, POSITIVE, f"softcap of {name}", caller)

    def source(self, partner: Model) -> tuple[Kind, Source]:
        dtype = num.accumulator(self.data.dtype)
        number = lambda x: None if x is None else as_array(x).astype(dtype)
        bias = None if self.bias is None else as_array(self.bias)
        t, cap, weight = (
            *map(number, (self.temperature, self.softcap)),
            as_array(self.weight),
        )
        if t is not None and t.ndim:
            t = jnp.broadcast_to(t, self.batch)
        weight = as_array(self.weight)
        return "logits", Linear(self.data, weight, bias, t, cap, self.vocab_axis)


def _broadcasts(shape: tuple[int, ...], batch: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(batch), strict=False)
    return all(n in (1, m) for n, m in pairs)


def _warn_of_gathering(weight: Array, vocab_axis: int, name: str, caller: str) -> None:
    """Warns if Auto axes split the classes of a concrete weight, which is not told."""
    if layout(weight).mesh.empty or isinstance(
        weight := jax.lax.stop_gradient(weight), Tracer
    ):
        return
    spec = getattr(weight.sharding, "spec", ())
    over = spec[vocab_axis] if len(spec) > vocab_axis else None
    if over is None or any(layout(weight).spec):
        return
    warnings.warn(
        f"{caller}: the classes of {name}.weight are split over the mesh axis {over!r}, "
        "and every device will gather the whole weight. To keep the classes where they "
        f"are, pass axis_name={over!r} to LinearLogits or to the loss",
        stacklevel=2,
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
