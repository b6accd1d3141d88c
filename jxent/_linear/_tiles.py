"""Tiles of the vocabulary: how wide they are, and one pass over them."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

_C = TypeVar("_C")


def tile_width(num_rows: int, num_classes: int) -> int:
    """How many classes to take at once: 16 MiB of float32 logits, 512 to 4096 classes."""
    width = (16 << 20) // (4 * max(num_rows, 1))
    width = min(max(width // 128 * 128, 512), 4096)
    return min(width, num_classes)


def fold(
    first: Callable[[int, int], _C],
    step: Callable[[_C, jax.Array | int, int], _C],
    size: int,
    width: int,
) -> _C:
    """`first` of the first tile, then `step` for each that follows, in one loop.

    A tile is its start and its width, which is static; the last may be narrower.
    """
    width = min(width, size)
    whole = size // width
    carry = first(0, width)
    if whole > 1:
        starts = jnp.arange(1, whole, dtype=jnp.int32) * width
        body = lambda carry, start: (step(carry, start, width), None)
        carry, _ = jax.lax.scan(body, carry, starts)
    if size % width:
        carry = step(carry, whole * width, size % width)
    return carry
