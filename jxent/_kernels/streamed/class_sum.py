"""Sums over the classes of logits that are never all there at once.

A statistic of a row is a sum over its classes. Its value is found in one pass over tiles of
the vocabulary, each of which is reduced before the next is made. Its slope is that of the
summand, which one more pass makes anew, tile by tile, and turns at once into what it adds
to every cotangent: no array of tokens × vocabulary, forward or backward.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Int

from ..._core.meshes import AxisName, is_manual
from .blocks import at_block, cut, over_blocks
from .linear_map import linear_map, mapped_together
from .shards import over_shards, split_of
from .sources import add_up, arrays_of, like, Source
from .tiles import fold, num_blocks, width_backward, width_forward, width_in_blocks

_S = TypeVar("_S")
Rows = dict[str, Array]


class Tile(NamedTuple):
    """Some classes among all of them."""

    first: Any  # the index of its first class, among those of all shards
    width: int

    def classes(self, like: Array) -> Int[Array, "*batch w"]:
        """The index of the class of every logit of the tile."""
        return self.first + jax.lax.broadcasted_iota(
            jnp.int32, like.shape, like.ndim - 1
        )


class Statistic(Protocol[_S]):
    """What to add up. Frozen and hashable: it is part of the program, not of the data."""

    def of_tile(self, tile: Tile, logits: tuple[Array, ...], rows: Rows) -> _S:
        """The statistic of a tile of classes, exactly."""
        ...

    def merge(self, a: _S, b: _S) -> _S:
        """The statistic of the classes of both."""
        ...

    def across(self, a: _S, axis_name: AxisName) -> _S:
        """The statistic of the classes of all shards."""
        ...

    def finish(self, total: _S) -> Any:
        """What is made of it in the end."""
        ...

    def terms(
        self, tile: Tile, logits: tuple[Array, ...], rows: Rows, total: Any
    ) -> Any:
        """What every class adds to the finished `total`, as far as derivatives go.

        Its first derivative is taken by logits and rows alone; those that follow, of the
        first, by `total` as well. `FIXED` for a part that has no derivative.
        """
        ...


# Under `jit`, because an eager loop over tiles would compile anew at every call.
@functools.partial(jax.jit, static_argnums=(0, 1, 2), inline=True)
def class_sum(
    statistic: Statistic[_S],
    axis_name: AxisName | None,
    block: int | None,
    sources: tuple[Source, ...],
    rows: Rows,
) -> _S:
    """The statistic of every row.

    Args:
      statistic: What to add up.
      axis_name: The axis of a mesh over which the classes are shared out. In a `shard_map`
        over it, the sources are one shard; else they are whole.
      block: How many classes to take at once; None for a default.
      sources: Where the logits come from, all with the same classes.
      rows: Whatever else the statistic depends on, one number per row each.
    """
    here = functools.partial(sum_here, statistic)
    return on_mesh(
        lambda axis_name, *args: here(axis_name, block, *args), axis_name, sources, rows
    )


def on_mesh(
    sum_up: Callable[[AxisName | None, tuple[Source, ...], Rows], _S],
    axis_name: AxisName | None,
    sources: tuple[Source, ...],
    rows: Rows,
) -> _S:
    """`sum_up(axis_name, sources, rows)`, by every device for what it has of them."""
    if is_manual(axis_name):
        return sum_up(axis_name, sources, rows)
    split = split_of(sources, rows, axis_name)
    if split is None:
        return sum_up(None, sources, rows)
    return over_shards(sum_up, split, sources, rows)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def sum_here(statistic, axis_name, block, sources, rows):
    """`class_sum` on one device, or inside of a `shard_map` over the axis."""
    tiles = _Tiles.forward(sources, axis_name, block)

    def of_tile(start, width):
        logits = tuple(source.tile(start, width) for source in sources)
        return statistic.of_tile(tiles.at(start, width), logits, rows)

    def step(total, start, width):
        return statistic.merge(total, of_tile(start, width))

    total = fold(of_tile, step, tiles.size, tiles.width)
    if axis_name is not None:
        total = statistic.across(total, axis_name)
    return mapped_together((sources, rows), statistic.finish(total))


@functools.partial(sum_here.defjvp, symbolic_zeros=True)
def _sum_here_jvp(statistic, axis_name, block, primals, tangents):
    sources, rows = primals
    total = sum_here(statistic, axis_name, block, sources, rows)
    dot = derivative(statistic, axis_name, block, sources, rows, total, tangents)
    return total, dot


def derivative(statistic, axis_name, block, sources, rows, total, tangents):
    """The tangent of `total`, of those of `(sources, rows)`."""
    # ∂ Σᵥ f(zᵥ, r) = Σᵥ f′(zᵥ, r) (żᵥ, ṙ):  linear in what made z, and its transpose is
    # another loop. Both make the logits of a tile anew.
    x = tuple(_moving(arrays_of(dot)) for dot in tangents[0]), _moving(tangents[1])
    names = tuple(tuple(d) for d in x[0]), tuple(x[1])
    slope = _Slope(statistic, axis_name, block, names)
    fixed = sources, rows, total
    sums = linear_map(slope.along, slope.transpose, fixed, x, _shared(fixed, x))
    sums = sums if axis_name is None else jax.lax.psum(sums, axis_name)

    def filled(value, tangent):
        if not jnp.issubdtype(value.dtype, jnp.floating):
            # Not an array of zeros, which would not vary over a mesh as the value does.
            return SymbolicZero(jax.typeof(value).to_tangent_aval())
        return jnp.zeros_like(value) if tangent is None else tangent.astype(value.dtype)

    return jax.tree.map(filled, total, sums)


def _shared(fixed, x):
    """Which of these arrays have no batch axes: the same trees, of bools."""
    flags = lambda source, names: {name: name in source.shared for name in names}
    none = functools.partial(jax.tree.map, lambda _: False)
    sources, rows, total = fixed
    of_sources = tuple(replace(s, **flags(s, arrays_of(s))) for s in sources)
    of_moving = tuple(map(flags, sources, x[0]))
    return (of_sources, none(rows), none(total)), (of_moving, none(x[1]))


def _moving(dots: Rows) -> Rows:
    """The tangents that are not zero."""
    return {k: v for k, v in dots.items() if not isinstance(v, SymbolicZero)}


class _Slope(NamedTuple):
    statistic: Statistic
    axis_name: AxisName | None
    block: int | None
    names: tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]  # of what moves

    def along(self, fixed, moving):
        """Σᵥ f′(zᵥ, r) (żᵥ, ṙ), over the classes that are here."""
        tiles = _Tiles.forward(fixed[0], self.axis_name, self.block)

        # The checkpoint is for derivatives of this: they are to make tiles anew as well.
        @functools.partial(jax.checkpoint, static_argnums=1, prevent_cse=False)
        def of_tile(start, width, fixed, moving):
            sources, rows, total = fixed

            def sums(parts, rows_now):
                logits = tuple(
                    replace(source, **now).tile(start, width)
                    for source, now in zip(sources, parts, strict=True)
                )
                tile = tiles.at(start, width)
                return self._sums(tile, logits, rows | rows_now, total)

            return jax.jvp(sums, self._now(sources, rows), moving)[1]

        def step(sofar, start, width):
            return jax.tree.map(jnp.add, sofar, of_tile(start, width, fixed, moving))

        first = lambda start, width: of_tile(start, width, fixed, moving)
        return fold(first, step, tiles.size, tiles.width)

    def transpose(self, fixed, cts):
        # Else XLA makes one product of the first tiles, forward and backward, and keeps it.
        # Each array by itself, for each has its own type.
        fixed = jax.tree.map(jax.lax.optimization_barrier, fixed)
        blocks = self._num_blocks(fixed[0])
        tiles = _Tiles.backward(fixed[0], self.axis_name, self.block, blocks)

        @functools.partial(jax.checkpoint, static_argnums=1, prevent_cse=False)
        def of_tile(start, width, fixed, cts):
            sources, rows, total = fixed
            logits, pulls = zip(
                *(
                    source.pull(start, width, names, partial=blocks > 1)
                    for source, names in zip(sources, self.names[0], strict=True)
                ),
                strict=True,
            )
            tile = tiles.at(start, width)
            f = lambda logits, now: self._sums(tile, logits, rows | now, total)
            _, back = jax.vjp(f, logits, self._now(sources, rows)[1])
            ct_logits, ct_rows = back(cts)
            found = tuple(
                {name: pieces[name] for name in names}
                for pull, ct, names in zip(pulls, ct_logits, self.names[0], strict=True)
                for pieces in [pull(ct)]
            )
            return found, ct_rows

        def step(sofar, start, width):
            found, ct_rows = of_tile(start, width, fixed, cts)
            totals = sofar[0] if sofar else [None] * len(found)
            totals = tuple(
                add_up(source, total, pieces, start)
                for source, total, pieces in zip(fixed[0], totals, found, strict=True)
            )
            return totals, jax.tree.map(
                jnp.add, sofar[1], ct_rows
            ) if sofar else ct_rows

        now = self._now(*fixed[:2])
        if blocks > 1:
            return jax.tree.map(
                like, self._in_blocks(of_tile, tiles, blocks, fixed, cts), now
            )
        first = lambda start, width: step(None, start, width)
        return jax.tree.map(like, fold(first, step, tiles.size, tiles.width), now)

    def _num_blocks(self, sources):
        """Of the tokens. One if what moves has tokens and classes, both."""
        pairs = zip(sources, self.names[0], strict=True)
        whole = any(
            name in source.class_axis and name not in source.shared
            for source, names in pairs
            for name in names
        )
        linear = any(source.itemsize for source in sources if source.shared)
        return 1 if self.block or whole or not linear else num_blocks(_rows(sources))

    def _in_blocks(self, of_tile, tiles, blocks, fixed, cts):
        """The transpose, of which each tile goes through the tokens block by block."""
        sources, batch = fixed[0], max((s.batch for s in fixed[0]), key=len)
        rank = len(batch)
        flags = _shared(fixed, self._now(*fixed[:2]))[0]
        own = lambda x, same: x if same else cut(x, rank, blocks)
        fixed = jax.tree.map(own, fixed, flags)
        cts = jax.tree.map(lambda x: cut(x, rank, blocks), cts)

        def step(sofar, start, width):
            (by_row, totals) = sofar or (None, [None] * len(sources))

            def of_block(i):
                each = jax.tree.map(lambda x: False, cts)
                now = at_block(fixed, flags, i), at_block(cts, each, i)
                found, ct_rows = of_tile(start, width, *now)
                pairs = list(zip(sources, found, strict=True))
                of = lambda shared: tuple(
                    {k: v for k, v in f.items() if (k in s.shared) == shared}
                    for s, f in pairs
                )
                return (of(False), ct_rows), of(True)

            by_row, found = over_blocks(of_block, by_row, blocks)
            parts = zip(sources, totals, found, strict=True)
            return by_row, tuple(
                add_up(s, sofar, new, start) for s, sofar, new in parts
            )

        first = lambda start, width: step(None, start, width)
        (of_rows, ct_rows), totals = fold(first, step, tiles.size, tiles.width)
        whole = lambda x: x.reshape(*batch, *x.shape[2:])
        of_rows, ct_rows = jax.tree.map(whole, (of_rows, ct_rows))
        return tuple(a | b for a, b in zip(of_rows, totals, strict=True)), ct_rows

    def _now(self, sources, rows):
        """The values of what moves."""
        of_sources = tuple(
            {name: getattr(source, name) for name in names}
            for source, names in zip(sources, self.names[0], strict=True)
        )
        return of_sources, {name: rows[name] for name in self.names[1]}

    def _sums(self, tile, logits, rows, total):
        terms = self.statistic.terms(tile, logits, rows, total)
        return jax.tree.map(lambda x: jnp.sum(x, axis=-1), terms)


class _Tiles(NamedTuple):
    """The tiles of the classes that are here."""

    size: int
    width: int
    offset: Any

    @classmethod
    def forward(cls, sources, axis_name, block):
        return cls._of(sources, axis_name, block or width_forward(_rows(sources)))

    @classmethod
    def backward(cls, sources, axis_name, block, blocks=1):
        itemsize = max(source.itemsize for source in sources)
        if blocks > 1:
            features = max(s.features for s in sources)
            width = width_in_blocks(_rows(sources) // blocks, itemsize, features)
        else:
            width = block or width_backward(_rows(sources), itemsize)
        return cls._of(sources, axis_name, width)

    @classmethod
    def _of(cls, sources, axis_name, width):
        size = sources[0].num_classes
        offset = 0 if axis_name is None else size * jax.lax.axis_index(axis_name)
        # All classes are one tile where an export has a symbol for them.
        width = min(width, size) if isinstance(size, int) else size
        return cls(size, width, offset)

    def at(self, start, width):
        return Tile(self.offset + start, width)


def _rows(sources):
    return max(math.prod(source.batch) for source in sources)
