"""Means that merge: `Mean`, a sum of losses that remembers what to divide it by."""

import dataclasses
from typing import Any, final

import jax
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
    batches, `sum([a, b, c])` that over several, `jax.lax.psum(mean, axis_name)` that over
    all devices. It is a pytree, for `jit`, `scan` and `shard_map`; `Mean.of(jnp.zeros(0))`
    is the empty mean to start from. Every loss returns one for `reduction=Mean`. As a
    number, in `float(mean)`, `print(mean)` and `f"{mean:.3f}"`, it is its value.

    Merging keeps what rounding takes from the sums, and adds it back: a mean over 10¹²
    tokens, one at a time in float32, has all of its digits.

    Args:
      total: Σᵢ wᵢ ℓᵢ.
      weight: Σᵢ wᵢ, or whatever else the total is to be counted per: bytes, say.
      lost: What rounding has taken from `total` and from `weight`; a pair. Left out, 0.
      beside: Another mean, over other weights, whose value is added. A class-weighted loss
        has one for its z-loss, which counts tokens.

    Limits:
      A mean of nothing is 0, with gradient 0. A total that is not 0 over a weight of 0, as
      negative weights can make it, is infinite.

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
    lost: Any = None
    beside: "Mean | None" = None

    def __post_init__(self):
        # Always there, so that a mean has one structure: in a loop's carry, and merged.
        if self.lost is None and isinstance(self.total, jax.Array):
            zeros = jnp.zeros_like(self.total), jnp.zeros_like(self.weight)
            object.__setattr__(self, "lost", zeros)

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
        if where is not None:
            losses = jnp.where(
                _spread(where, losses.shape, "where", "Mean.of"), losses, 0
            )
        return cls(jnp.sum(weigh(w, losses)), jnp.sum(w))

    @property
    def value(self) -> Float[Array, "*batch"]:
        """`total / weight`, and 0 where there is nothing to divide."""
        total, weight = self.total, self.weight
        if self.lost is not None:
            total, weight = total + self.lost[0], weight + self.lost[1]
        empty = (weight == 0) & (total == 0)
        value = _ratio(jnp.where(empty, 0, total), jnp.where(empty, 1, weight))
        return value if self.beside is None else value + self.beside.value

    def __add__(self, other: "Mean") -> "Mean":
        if not isinstance(other, Mean):
            return NotImplemented
        none: Any = (0, 0)
        a, b = self.lost or none, other.lost or none
        total, total_lost = _add(self.total, other.total, a[0] + b[0])
        weight, weight_lost = _add(self.weight, other.weight, a[1] + b[1])
        beside = self.beside if other.beside is None else other.beside
        if self.beside is not None and other.beside is not None:
            beside = self.beside + other.beside
        return Mean(total, weight, (total_lost, weight_lost), beside)

    def __radd__(self, other: Any) -> "Mean":  # as `sum` begins with 0
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(float(self), spec) if spec else str(self)


def weigh(w: Float[Array, "*batch"], x: Float[Array, "*batch"]) -> Array:
    """`w · x`, and 0 where `w` is 0, whatever `x` is; the slope by `w` is `x`."""
    return num.weigh(w, jnp.where((w == 0) & jnp.isnan(x), 0, x))


def _add(a: Array, b: Array, lost: Array) -> tuple[Array, Array]:
    """`a + b + lost`, and what rounding takes from that."""
    # Rounding has no derivative: autodiff would have it twice, once with each sign.
    total, error = num.two_sum(a, b)
    total, error = num.two_sum(total, lost + jax.lax.stop_gradient(error))
    return total, jax.lax.stop_gradient(error)


@jax.custom_jvp
def _ratio(total: Array, weight: Array) -> Array:
    return total / weight


@_ratio.defjvp
def _ratio_jvp(primals, tangents):
    # ∂(t / w) = (∂t − (t / w) ∂w) / w, without w², which a weight of 1e-20 has as 0.
    (total, weight), (total_dot, weight_dot) = primals, tangents
    value = _ratio(total, weight)
    return value, _ratio(total_dot - value * weight_dot, weight)


def counts(
    shape: tuple[int, ...],
    dtype: DTypeLike,
    where: Bool[ArrayLike, "*#batch"] | None,
    weights: Num[ArrayLike, "*#batch"] | Bool[ArrayLike, "*#batch"] | None,
    caller: str,
) -> Float[Array, "*batch"]:
    """How much each of the losses counts: 0 where `where` removes it, else its weight."""
    w = jnp.ones((), dtype)
    if weights is not None:
        w = _as_float(weights).astype(dtype)
    w = _spread(w, shape, "weights", caller)
    if where is None:
        return w
    where = jnp.asarray(where)
    if where.dtype != bool:
        raise TypeError(
            f"{caller}: where is {where.dtype}, not bool; are they weights?"
        )
    return jnp.where(_spread(where, shape, "where", caller), w, 0)


def _as_float(x: ArrayLike) -> Array:
    x = jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jnp.floating):
        return num.at_least_float32(x)
    return x.astype(jnp.float32)


def _spread(x: Any, shape: tuple[int, ...], name: str, caller: str) -> Array:
    x = jnp.asarray(x)
    try:
        return jnp.broadcast_to(x, shape)
    except ValueError:
        message = f"{caller}: {name} has shape {x.shape}, and losses have shape {shape}"
        raise ValueError(message) from None
