"""Means that merge: `Mean`, a sum of losses that remembers what to divide it by."""

import dataclasses
from typing import final

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, DTypeLike, Float, Num

from . import arithmetic as num
from .pytrees import pytree


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Mean:
    """A weighted mean, kept as the total and the weight that it is divided by.

        value = Σᵢ wᵢ ℓᵢ / Σᵢ wᵢ,   and 0 where Σᵢ wᵢ = 0

    A mean of means is wrong where the counts differ: between micro-batches, devices, or
    sentences of unequal length. These merge instead: `a + b` is the mean over both
    batches, `jax.lax.psum(mean, axis_name)` that over all devices. It is a pytree, for
    `jit`, `scan` and `shard_map`; `Mean.of(jnp.zeros(0))` is the empty mean to start from.

    Args:
      total: Σᵢ wᵢ ℓᵢ.
      weight: Σᵢ wᵢ, or whatever else the total is to be counted per: bytes, say.

    Limits:
      A mean of nothing is 0, with gradient 0.

    Example:
      Perplexity and bits per token, byte or row come from a mean of log losses, accuracy
      from one of hits:

      >>> import jax.numpy as jnp
      >>> import jxent
      >>> nats = jnp.array([[0.5, 1.0, 0.0], [3.0, 0.0, 0.0]])
      >>> real = jnp.array([[True, True, False], [True, False, False]])
      >>> loss = jxent.Mean.of(nats[0], where=real[0])
      >>> loss += jxent.Mean.of(nats[1], where=real[1])
      >>> print(loss.value, jnp.exp(loss.value), loss.value / jnp.log(2))
      1.5 4.481689 2.1640425
      >>> per_byte = jxent.Mean(loss.total, jnp.float32(9))
      >>> print(per_byte.value / jnp.log(2))
      0.7213475
      >>> hits = jxent.Mean.of(jnp.array([2, 0, 1]) == jnp.array([2, 1, 1]))
      >>> print(hits.value)
      0.6666667

      Where batches are unequal, add up the gradients of `total`, and divide last:

      >>> import jax
      >>> loss = lambda x, data: jxent.Mean.of((x - data) ** 2)
      >>> total = lambda x, data: ((mean := loss(x, data)).total, mean)
      >>> slope = jax.grad(total, has_aux=True)
      >>> g1, mean1 = slope(0.0, jnp.array([3.0]))
      >>> g2, mean2 = slope(0.0, jnp.array([1.0, 2.0]))
      >>> print((g1 + g2) / (mean1 + mean2).weight)
      -4.0
    """

    total: Float[Array, "*batch"]
    weight: Float[Array, "*batch"]

    @classmethod
    def of(
        cls,
        losses: Num[ArrayLike, "*batch"] | Bool[ArrayLike, "*batch"],
        where: Bool[ArrayLike, "*#batch"] | None = None,
        weights: Num[ArrayLike, "*#batch"] | Bool[ArrayLike, "*#batch"] | None = None,
    ) -> "Mean":
        """The mean over all elements of an array.

            total = Σᵢ wᵢ ℓᵢ,   weight = Σᵢ wᵢ              over i where `where` is True

        Whatever `where` or a weight of 0 removes, NaN and inf too, reaches neither the
        value nor the gradient with respect to `losses`. What made such a loss still sees
        its slope times 0: give the loss that `where` as well.

        Args:
          losses: One number per row. Integers and booleans count as float32.
          where: Which of them count.
          weights: How much each counts: a mask, token counts, or the `class_weights[y]`
            by which a class-weighted mean divides. They broadcast to the losses' shape.

        Returns:
          Sums in float32 for half-precision losses, else in their dtype.

        Raises:
          ValueError: If `where` or `weights` would not broadcast to the losses' shape.
          TypeError: If `where` is not boolean. Numbers are weights.

        Example:
          >>> import jax.numpy as jnp
          >>> import jxent
          >>> losses = jnp.array([1.0, jnp.nan, 3.0])
          >>> keep = jnp.array([True, False, True])
          >>> print(jxent.Mean.of(losses, where=keep).value)
          2.0
          >>> print(jxent.Mean.of(losses, weights=jnp.array([3.0, 0.0, 1.0])).value)
          1.5
        """
        losses = _as_float(losses)
        w = counts(losses.shape, losses.dtype, where, weights, caller="Mean.of")
        # Both are masked before they are multiplied: 0 · NaN is NaN, in the slope too.
        losses = jnp.where(w != 0, losses, 0)
        return cls(jnp.sum(w * losses), jnp.sum(w))

    @property
    def value(self) -> Float[Array, "*batch"]:
        """`total / weight`, and 0 where there is nothing to divide."""
        empty = self.weight == 0
        return jnp.where(empty, 0, self.total / jnp.where(empty, 1, self.weight))

    def __add__(self, other: "Mean") -> "Mean":
        if not isinstance(other, Mean):
            return NotImplemented
        return Mean(self.total + other.total, self.weight + other.weight)


def counts(
    shape: tuple[int, ...],
    dtype: DTypeLike,
    where: Bool[ArrayLike, "*#batch"] | None,
    weights: Num[ArrayLike, "*#batch"] | Bool[ArrayLike, "*#batch"] | None,
    caller: str,
) -> Float[Array, "*batch"]:
    """How much each of the losses counts: 0 if `where` or its weight removes it."""
    w = jnp.ones((), dtype)
    if weights is not None:
        w = _as_float(weights).astype(dtype)
    w = _spread(w, shape, "weights", caller)
    if where is not None:
        where = jnp.asarray(where)
        if where.dtype != bool:
            raise TypeError(
                f"{caller}: where is {where.dtype}, not bool; are they weights?"
            )
        w = jnp.where(_spread(where, shape, "where", caller), w, 0)
    return jnp.where(w != 0, w, 0)


def _as_float(x: ArrayLike) -> Array:
    x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.floating):
        return num.at_least_float32(x)
    return x.astype(jnp.float32)


def _spread(x: Array, shape: tuple[int, ...], name: str, caller: str) -> Array:
    try:
        return jnp.broadcast_to(x, shape)
    except ValueError:
        message = f"{caller}: {name} has shape {x.shape}, and losses have shape {shape}"
        raise ValueError(message) from None
