"""Sums over classes on meshes with Explicit axes, where types say how arrays are split.

The program is that of a `shard_map`: tokens stay where they are, every device goes through
its own classes, and the shards' sums meet, one number per row. Of the weight, all axes are
gathered first that its classes are not split over, and its gradient is scattered alike.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from jaxtyping import Array

from ..._core.meshes import AxisName, layout
from .sources import Dense, Linear, OneHot, Source

_S = TypeVar("_S")
Rows = dict[str, Array]


class Split(NamedTuple):
    """How tokens and classes are split over a mesh."""

    mesh: Any
    batch: tuple[Any, ...]  # of each batch axis, as in a PartitionSpec
    vocab: tuple[str, ...]  # of the classes

    @property
    def known(self) -> set[str]:
        return {name for axis in self.batch for name in _names(axis)}.union(self.vocab)


def split_of(sources: tuple[Source, ...], rows: Rows) -> Split | None:
    """Tokens stay as the first array has them; None if no type says that any is split."""
    arrays = jax.tree.leaves((sources, rows))
    meshes = [layout(x).mesh for x in arrays if any(layout(x).spec)]
    weights = [source for source in sources if isinstance(source, Linear)]
    if not (meshes and weights):
        return None
    first, *_ = weights
    rank = first.hidden.ndim - 1
    tokens = [layout(x).spec[:rank] for x in _by_token(sources, rows)]
    batch = next(filter(any, tokens), (None,) * rank)
    taken = {name for axis in batch for name in _names(axis)}
    vocab = _leading(_names(layout(first.weight).spec[first.vocab_axis]), taken)
    return Split(meshes[0], tuple(batch), vocab)


def _by_token(sources: tuple[Source, ...], rows: Rows) -> Iterator[Array]:
    for source in sources:
        match source:
            case Linear():
                yield source.hidden
            case OneHot():
                yield source.label
            case Dense() if not source.shared:
                yield source.x
    yield from rows.values()


def over_shards(
    sum_up: Callable[[AxisName | None, tuple[Source, ...], Rows], _S],
    split: Split,
    sources: tuple[Source, ...],
    rows: Rows,
) -> _S:
    """`sum_up` of every device's own tokens and classes."""
    sources = tuple(_of_a_shard(source, split) for source in sources)
    specs = tuple(_specs(source, split) for source in sources)
    all_specs = specs, {name: P(*split.batch) for name in rows}
    sources, rows = jax.tree.map(
        lambda x, spec: jax.sharding.reshard(x, NamedSharding(split.mesh, spec)),
        (sources, rows),
        all_specs,
    )

    def here(sources, rows):
        sources = map(_gathered, sources, specs, [split] * len(specs))
        return sum_up(split.vocab or None, tuple(sources), rows)

    if not split.known:
        return here(sources, rows)
    kinds = zip(split.mesh.axis_names, split.mesh.axis_types, strict=True)
    explicit = {name for name, kind in kinds if kind == AxisType.Explicit}
    # All of them is the default, which leaves out what a surrounding `vmap` has taken.
    every = explicit == set(split.mesh.axis_names)
    return jax.shard_map(
        here,
        mesh=split.mesh,
        in_specs=all_specs,
        out_specs=P(*split.batch),
        axis_names=set() if every else explicit,
    )(sources, rows)


def _of_a_shard(source: Source, split: Split) -> Source:
    if not (isinstance(source, OneHot) and split.vocab):
        return source
    shards = math.prod(split.mesh.shape[name] for name in split.vocab)
    k = source.num_classes // shards
    return dataclasses.replace(source, num_classes=k, axis_name=split.vocab)


def _specs(source: Source, split: Split) -> Any:
    vocab, batch = split.vocab or None, split.batch
    match source:
        case Dense():
            spec = P(vocab) if source.shared else P(*batch, vocab)
            return dataclasses.replace(source, x=spec)
        case OneHot():
            return dataclasses.replace(source, label=P(*batch))
    kept = [
        tuple(name for name in _names(axis) if name in split.known) or None
        for axis in layout(source.weight).spec
    ]
    return dataclasses.replace(
        source,
        hidden=P(*batch, None),
        weight=P(*kept),
        bias=None if source.bias is None else P(vocab),
        temperature=None if source.temperature is None else P(),
    )


def _gathered(source: Source, specs: Any, split: Split) -> Source:
    if not isinstance(source, Linear):
        return source
    weight = source.weight
    for i, axis in enumerate(specs.weight):
        if names := tuple(name for name in _names(axis) if name not in split.vocab):
            weight = jax.lax.all_gather(weight, names, axis=i, tiled=True)
    return dataclasses.replace(source, weight=weight)


def _leading(names: tuple[str, ...], taken: set[str]) -> tuple[str, ...]:
    """The first of `names`, up to one that is taken."""
    return tuple(itertools.takewhile(lambda name: name not in taken, names))


def _names(axis: Any) -> tuple[str, ...]:
    """The mesh axes of one array axis, as a PartitionSpec names them."""
    return axis if isinstance(axis, tuple) else () if axis is None else (axis,)
