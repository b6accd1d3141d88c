"""Rules for derivatives: slopes made anew, tangents that are not zero, hints."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float


def along(
    tangent: Float[Array, "*batch k"], slope: Callable[..., Array], *args: Any
) -> Float[Array, "*batch"]:
    """`Σᵢ slope(*args)ᵢ · tangentᵢ`, where reverse mode computes the slope anew."""

    # The slope may share its work with the value, where one program computes both.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def product(tangent, args):
        slopes = slope(*args)
        return jnp.sum(slopes * tangent.astype(slopes.dtype), axis=-1)

    return product(tangent, args)


def tangent_of(
    value: Float[Array, "*shape"],
    *terms: tuple[Any, Callable[[Any], Float[Array, "*shape"]]],
) -> Float[Array, "*shape"]:
    """The sum of `term(tangent)`, for those of the tangents that are not zero."""
    total = jnp.zeros_like(value)
    for tangent, term in terms:
        if not isinstance(tangent, SymbolicZero):
            total += term(tangent)
    return total


class Moving:
    """Those leaves of a pytree that have a tangent."""

    def __init__(self, tangents: Any):
        leaves = jax.tree.leaves(tangents)
        self.moves = [not isinstance(dot, SymbolicZero) for dot in leaves]
        self.dots = [
            dot for dot, moves in zip(leaves, self.moves, strict=True) if moves
        ]

    @classmethod
    def at(cls, moves: Sequence[bool]) -> "Moving":
        """Of leaves of which it is known whether they move."""
        moving = cls(())
        moving.moves = list(moves)
        return moving

    def pick(self, tree: Any) -> list[Array]:
        leaves = jax.tree.leaves(tree)
        return [x for x, moves in zip(leaves, self.moves, strict=True) if moves]

    def put(self, moving: list[Array], tree: Any) -> Any:
        """`tree` with these for the leaves that move."""
        leaves, structure = jax.tree.flatten(tree)
        new = iter(moving)
        pairs = zip(leaves, self.moves, strict=True)
        return structure.unflatten([next(new) if moves else x for x, moves in pairs])


def with_derivatives_of(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates `fast(args, hints)`: its own value, but the derivatives of `plain(*args)`.

    `hints` are numbers that the caller has already computed from `args` (a normaliser,
    say). They make the value fast or exact, and carry no derivative of their own.
    """

    def decorate(fast):
        @jax.custom_jvp
        def function(args, hints):
            return fast(args, hints)

        @functools.partial(function.defjvp, symbolic_zeros=True)
        def _(primals, tangents):
            value = function(*primals)
            moving = Moving(tangents[0])
            at = lambda now: plain(*moving.put(now, primals[0]))
            now = moving.pick(primals[0])
            return value, jax.jvp(at, (now,), (moving.dots,))[1]

        return function

    return decorate


def known(value: Array, function: Callable[..., Array], *args: Any) -> Array:
    """`value`, which is `function(*args)`, and has its derivatives too."""
    return with_derivatives_of(function)(lambda args, value: value)(args, value)


FIXED: Any = None  # the term of what has no derivative


@jax.custom_jvp
def priced(
    slope: Float[Array, "*#shape"], x: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Something whose derivative by `x` is `slope`; of no other use.

    Higher derivatives are those of `slope`: it may depend on `x`, and on what depends on x.
    """
    return jnp.zeros_like(x)


@functools.partial(priced.defjvp, symbolic_zeros=True)
def _priced_jvp(primals, tangents):
    slope, x = primals
    _, x_dot = tangents
    value = priced(slope, x)
    return value, tangent_of(value, (x_dot, lambda x_dot: slope * x_dot))
