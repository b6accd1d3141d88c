"""Tokens in blocks: tiles of the vocabulary that are wide, with few logits at once.

Every tile reads and writes all of the hidden states' gradient, in float32, so that narrow
tiles cost more than the products. With many tokens, wide tiles would be too many logits.
So a tile goes through the tokens block by block, and what it adds to the weight's gradient
adds up in float32 until it has seen all of them.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..._core import arithmetic as num

_T = TypeVar("_T")
Tree = Any


def cut(x: Array, rank: int, count: int) -> Array:
    """`x` with its first `rank` axes, those of the tokens, as [count, tokens]."""
    return x.reshape(count, -1, *x.shape[rank:])


def at_block(tree: _T, shared: Tree, i: Any) -> _T:
    """Block `i` of all that is not shared."""
    take = lambda x, same: x if same else jax.lax.dynamic_index_in_dim(x, i, 0, False)
    return jax.tree.map(take, tree, shared)


def over_blocks(
    of_block: Callable[[Any], tuple[Tree, Tree]], by_row: Tree | None, count: int
) -> tuple[Tree, Tree]:
    """The sums of what `of_block(i)` returns: of its first tree for each token, added to
    `by_row`, and of its second over all tokens."""
    rows, sums = jax.eval_shape(of_block, jax.ShapeDtypeStruct((), jnp.int32))
    if by_row is None:
        by_row = jax.tree.map(lambda s: _zeros(s, (count, *s.shape)), rows)

    def step(carry, i):
        rows, sums = of_block(i)
        add = lambda total, x: total + x.astype(total.dtype)
        return (
            jax.tree.map(lambda total, x: _add_at(total, x, i), carry[0], rows),
            jax.tree.map(add, carry[1], sums),
        ), None

    first = by_row, jax.tree.map(lambda s: _zeros(s, s.shape), sums)
    return jax.lax.scan(step, first, jnp.arange(count, dtype=jnp.int32))[0]


def _add_at(total: Array, x: Array, i: Any) -> Array:
    here = jax.lax.dynamic_index_in_dim(total, i, 0, False)
    return jax.lax.dynamic_update_index_in_dim(
        total, here + x.astype(total.dtype), i, 0
    )


def _zeros(like: Any, shape: tuple[int, ...]) -> Array:
    """Zeros to add to: float32, and varying over a mesh as what is added does."""
    zeros = jnp.zeros(shape, num.accumulator(like.dtype))
    axes = tuple(sorted(jax.typeof(like).mat.varying))
    return jax.lax.pcast(zeros, axes, to="varying") if axes else zeros
