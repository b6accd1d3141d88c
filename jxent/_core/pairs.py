"""Numbers as the exact sum of two floats: what a difference that cancels is made of."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .arithmetic import two_diff

Shaped = Float[Array, "*shape"]


class Pair(NamedTuple):
    """`high + low`, of which `high` is the rounded sum."""

    high: Shaped
    low: Shaped


def exact_sum(x: Float[Array, "*batch k"]) -> Pair:
    """The sum over the last axis, with its rounding error to first order."""
    if not isinstance(x.shape[-1], int):
        return _sum_in_turn(x)
    # A tree: as a chain, k additions would take minutes to compile.
    low = jnp.zeros_like(x)
    while (k := x.shape[-1]) > 1:
        if k % 2:
            pad = [(0, 0)] * (x.ndim - 1) + [(0, 1)]
            x, low = jnp.pad(x, pad), jnp.pad(low, pad)
        half = x.shape[-1] // 2
        x, error = two_diff(x[..., :half], -x[..., half:])
        low = low[..., :half] + low[..., half:] + error
    return Pair(x[..., 0], low[..., 0])


def _sum_in_turn(x):
    """Of as many numbers as a symbol of an export says, from which no tree can be made."""

    def add(total, number):
        high, error = two_diff(total.high, -number)
        return Pair(high, total.low + error), None

    zero = jnp.zeros_like(x[..., 0])
    return jax.lax.scan(add, Pair(zero, zero), jnp.moveaxis(x, -1, 0))[0]


def two_product(a: Shaped, b: Shaped) -> Pair:
    """`a · b` and its exact rounding error.

    Dekker, "A floating-point technique for extending the available precision", Numerische
    Mathematik 18, 1971. The split is by bits: one by multiplication does not survive a
    compiler that fuses multiplications with additions.
    """
    product = a * b
    (a1, a0), (b1, b0) = _halves(a), _halves(b)
    return Pair(product, ((a1 * b1 - product) + a1 * b0 + a0 * b1) + a0 * b0)


def _halves(x):
    wide = x.dtype == jnp.float64
    bits, mask = (jnp.uint64, 0xFFFFFFFFF8000000) if wide else (jnp.uint32, 0xFFFFF000)
    as_bits = jax.lax.bitcast_convert_type(x, bits)
    high = jax.lax.bitcast_convert_type(as_bits & jnp.asarray(mask, bits), x.dtype)
    return high, x - high
