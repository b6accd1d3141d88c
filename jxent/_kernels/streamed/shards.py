"""Sums over classes on a mesh: the program of a `shard_map`, for arrays that are whole.

Tokens stay where they are, every device goes through its own classes, and the shards' sums
meet, one number per row. Of the weight, all axes are gathered first that its classes are
not split over, and its gradient is added up, and scattered, once, after the last tile.

Types say how arrays lie on Explicit axes. Of Auto axes nobody knows while tracing: the
classes are split over those that are named, the tokens over all others. If the arrays lie
otherwise, XLA moves them, once and in front of the loop.
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
    batch: tuple[tuple[str, ...], ...]  # of each batch axis
    vocab: tuple[str, ...]  # of the classes

    @property
    def known(self) -> set[str]:
        return set(self.vocab).union(*self.batch)

    def of_type(self, kind: AxisType) -> set[str]:
        kinds = zip(self.mesh.axis_names, self.mesh.axis_types, strict=True)
        return {name for name, found in kinds if found == kind}


def split_of(
    sources: tuple[Source, ...], rows: Rows, axis_name: AxisName | None = None
) -> Split | None:
    """How the arrays are split; None if there is no mesh, or none that splits them."""
    arrays = jax.tree.leaves((sources, rows))
    by_type = [layout(x).mesh for x in arrays if any(layout(x).spec)]
    meshes = [*by_type, *(layout(x).mesh for x in arrays)]
    mesh = next((m for m in meshes if not m.empty), jax.sharding.get_abstract_mesh())
    weights = [source for source in sources if isinstance(source, Linear)]
    if mesh.empty or not (weights or axis_name):
        return None
    rank = max(len(source.batch) for source in sources)
    tokens = [layout(x).spec[:rank] for x in _by_token(sources, rows)]
    batch = tuple(map(_names, next(filter(any, tokens), (None,) * rank)))
    if axis_name is None:
        first, *_ = weights
        taken = {name for names in batch for name in names}
        vocab = _leading(_names(layout(first.weight).spec[first.vocab_axis]), taken)
    else:
        vocab = _named(axis_name, mesh, sources[0].num_classes)
        batch = tuple(tuple(n for n in names if n not in vocab) for names in batch)
    split = Split(mesh, batch, vocab)
    split = split._replace(batch=_over_auto_axes(split, sources, rows))
    return split if by_type or split.known else None


def _named(axis_name: AxisName, mesh: Any, num_classes: int) -> tuple[str, ...]:
    """The axes that the classes are split over, which have to be axes of the mesh."""
    names = _names(axis_name)
    kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    wrong = [name for name in names if kinds.get(name) in (None, AxisType.Manual)]
    if wrong:
        known = f"the arrays are on a mesh with the axes {mesh.axis_names}"
        raise ValueError(f"axis_name is {axis_name!r}, and {known}")
    shards = math.prod(mesh.shape[name] for name in names)
    if num_classes % shards:
        fix = "pad the vocabulary, with a bias of −inf for what is no class"
        parts = f"{num_classes} classes do not make {shards} equal parts"
        raise ValueError(f"{parts}, as axis_name={axis_name!r} wants: {fix}")
    return names


def _over_auto_axes(split: Split, sources: Any, rows: Rows) -> tuple[Any, ...]:
    """The tokens' axes, split over every Auto axis that classes are not, if they divide."""
    example = next(_by_token(sources, rows))
    batch, sizes = list(split.batch), example.shape[: len(split.batch)]
    size_of = lambda names: math.prod(split.mesh.shape[name] for name in names)
    sizes = [n // size_of(names) for n, names in zip(sizes, batch, strict=True)]
    auto = split.of_type(AxisType.Auto).difference(split.known)
    for name, shards in split.mesh.shape.items():
        known = [i for i, n in enumerate(sizes) if isinstance(n, int) and n > 0]
        fits = [i for i in known if sizes[i] % shards == 0]
        if name in auto and fits and shards > 1:
            i, *_ = fits
            batch[i], sizes[i] = (*batch[i], name), sizes[i] // shards
    return tuple(batch)


def _by_token(sources: tuple[Source, ...], rows: Rows) -> Iterator[Array]:
    """What has batch axes in front; hidden states first."""
    for source in sources:
        if isinstance(source, Linear):
            yield source.hidden
    for source in sources:
        match source:
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
    all_specs = specs, {name: _spec(*split.batch) for name in rows}
    explicit = split.of_type(AxisType.Explicit)
    if explicit:
        sources, rows = jax.tree.map(
            lambda x, spec: jax.sharding.reshard(
                x, NamedSharding(split.mesh, _only(explicit, spec))
            ),
            (sources, rows),
            all_specs,
        )

    def here(sources, rows):
        sources = map(_gathered, sources, specs, [split] * len(specs))
        return sum_up(split.vocab or None, tuple(sources), rows)

    if not split.known:
        return here(sources, rows)
    alone = {name for name, size in split.mesh.shape.items() if size == 1}
    manual = split.known | explicit | (alone & split.of_type(AxisType.Auto))
    # All of them is the default, which leaves out what a surrounding `vmap` has taken.
    every = manual == set(split.mesh.axis_names)
    return jax.shard_map(
        here,
        mesh=split.mesh,
        in_specs=all_specs,
        out_specs=_spec(*split.batch),
        axis_names=set() if every else manual,
    )(sources, rows)


def _of_a_shard(source: Source, split: Split) -> Source:
    if not (isinstance(source, OneHot) and split.vocab):
        return source
    shards = math.prod(split.mesh.shape[name] for name in split.vocab)
    k = source.num_classes // shards
    return dataclasses.replace(source, num_classes=k, axis_name=split.vocab)


def _specs(source: Source, split: Split) -> Any:
    vocab, batch = split.vocab, split.batch
    match source:
        case Dense():
            spec = _spec(vocab) if source.shared else _spec(*batch, vocab)
            return dataclasses.replace(source, x=spec)
        case OneHot():
            same = lambda s: s if isinstance(s, int | float) else P()
            smoothing = same(source.smoothing)
            return dataclasses.replace(source, label=_spec(*batch), smoothing=smoothing)
    kept = []
    for i, axis in enumerate(layout(source.weight).spec):
        first = split.vocab if i == source.vocab_axis else ()
        rest = split.known.difference(split.vocab)
        kept.append((*first, *(name for name in _names(axis) if name in rest)))
    of_rows = () if "temperature" in source.shared else batch
    return dataclasses.replace(
        source,
        hidden=_spec(*batch, ()),
        weight=_spec(*kept),
        bias=None if source.bias is None else _spec(vocab),
        temperature=None if source.temperature is None else _spec(*of_rows),
        softcap=None if source.softcap is None else P(),
    )


def _gathered(source: Source, specs: Any, split: Split) -> Source:
    if not isinstance(source, Linear):
        return source
    weight = source.weight
    for i, axis in enumerate(specs.weight):
        if names := tuple(name for name in _names(axis) if name not in split.vocab):
            weight = jax.lax.all_gather(weight, names, axis=i, tiled=True)
    return dataclasses.replace(source, weight=weight)


def _spec(*axes: tuple[str, ...]) -> P:
    return P(*(names or None for names in axes))


def _only(kept: set[str], spec: P) -> P:
    return _spec(*(tuple(n for n in _names(axis) if n in kept) for axis in spec))


def _leading(names: tuple[str, ...], taken: set[str]) -> tuple[str, ...]:
    """The first of `names`, up to one that is taken."""
    return tuple(itertools.takewhile(lambda name: name not in taken, names))


def _names(axis: Any) -> tuple[str, ...]:
    """The mesh axes of one array axis, as a PartitionSpec names them."""
    return axis if isinstance(axis, tuple) else () if axis is None else (axis,)
