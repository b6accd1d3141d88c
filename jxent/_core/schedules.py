"""Sums over a row in the order that a platform is fast with: the formulas are the same.

On an accelerator a row costs the passes that are made over it. There each pass is one
reduction of several numbers, and XLA may not store what it made of a row for the next.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def by_platform(*args: Any, cpu: Callable, accelerator: Callable) -> Any:
    """One of two functions with the same results; which one, is known when compiling."""
    return jax.lax.platform_dependent(*args, cpu=cpu, default=accelerator)


def read_again(*args: Any) -> Any:
    """`args`; what was computed of them before is on accelerators not kept for now."""
    return by_platform(
        args, cpu=lambda args: args, accelerator=jax.lax.optimization_barrier
    )


def merge_rows(
    classes: Sequence[Float[Array, "*batch k"]],
    nothing: Sequence[float],
    merge: Callable[[Any, Any], Sequence[Array]],
) -> list[Float[Array, "*batch 1"]]:
    """What `merge`, which is associative, makes of all classes of a row, in one pass."""
    first, *more = jnp.broadcast_arrays(*classes)
    empty = [jnp.asarray(x, first.dtype) for x in nothing]
    merged = jax.lax.reduce([first, *more], empty, merge, (first.ndim - 1,))
    return [x[..., None] for x in merged]


def each_of(terms: Sequence[Callable[..., Array]], *args: Any) -> list[Array]:
    """`[term(*args) for term in terms]`, without storing what they share.

    On a GPU, XLA would store that for one reduction to read, and so it may not see it. A
    pass then computes it several times, or once, if the code generator sees it after all.
    """
    again = jax.lax.optimization_barrier

    def apart(*args):
        found = []
        for term in terms:
            args = again(args)  # of the last one: equal ones are one
            found.append(term(*args))
        return found

    def together(*args):
        args = again(args)
        return [term(*args) for term in terms]

    return jax.lax.platform_dependent(*args, tpu=together, default=apart)


def row_sums(*terms: Float[Array, "*batch k"]) -> list[Float[Array, "*batch 1"]]:
    """The sums of several terms over the classes of a row, in one pass."""
    add = lambda x, y: [i + j for i, j in zip(x, y, strict=True)]
    return merge_rows(terms, [0] * len(terms), add)
