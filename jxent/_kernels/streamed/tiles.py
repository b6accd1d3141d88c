"""Tiles of the vocabulary: how wide they are, and one pass over them."""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

_C = TypeVar("_C")


def width_forward(num_rows: int) -> int:
    """How many classes to take at once: 16 MiB of logits in float32."""
    return _width(16 << 20, 4 * num_rows, 4096)


def width_backward(num_rows: int, itemsize: int) -> int:
    """Likewise, 20 MiB of cotangents, of `itemsize` bytes each.

    Every tile reads and writes all of the hidden states' gradient in float32, so that wide
    tiles are worth more here. No wider, for this is most of the memory on a GPU.
    """
    return _width(20 << 20, itemsize * num_rows, 1536)


def num_blocks(num_rows: int) -> int:
    """In how many blocks a backward tile goes through the tokens: of 2048, or fewer."""
    if not isinstance(num_rows, int) or num_rows < 16384:
        return 1
    least = -(-num_rows // 2048)
    # No padding: if tokens do not divide, they stay in one block.
    return next((k for k in range(least, 2 * least) if num_rows % k == 0), 1)


def width_in_blocks(num_rows: int, itemsize: int, features: int) -> int:
    """For tiles that go through blocks of `num_rows` tokens: 16 MiB of cotangents each.

    And at most 64 MiB of the weight's gradient, in float32.
    """
    most = min(4096, (64 << 20) // (4 * max(features, 1)))
    return _width(16 << 20, itemsize * num_rows, max(most // 256 * 256, 512))


def _width(budget: int, per_class: int, most: int) -> int:
    if not isinstance(per_class, int):  # an export has a symbol for the rows
        return 512
    width = budget // max(per_class, 1)
    return min(max(width // 256 * 256, 512), most)


def fold(
    first: Callable[[int, int], _C],
    step: Callable[[_C, jax.Array | int, int], _C],
    size: int,
    width: int,
) -> _C:
    """`first` of the first tile, then `step` for each that follows, in one loop.

    A tile is its start and its width, which is static and at most `size`; the last may be
    narrower.
    """
    whole = size // width
    carry = first(0, width)
    if whole > 1:
        starts = jnp.arange(1, whole, dtype=jnp.int32) * width
        body = lambda carry, start: (step(carry, start, width), None)
        carry, _ = jax.lax.scan(body, carry, starts)
    if size % width:
        carry = step(carry, whole * width, size % width)
    return carry
