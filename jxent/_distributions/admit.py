"""How distributions meet in a measure.

Arrays become `Probs`, shapes and dtypes are checked, values as the mode of `checks` says,
and both arguments are brought to one batch shape.
"""

import dataclasses
from typing import TypeAlias, TypeVar

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .. import checks
from .._core import shapes as facts
from .base import Density, Distribution
from .binary import Binary
from .discrete import Labels, Probs

DensityLike: TypeAlias = Density | Float[ArrayLike, "*batch k"]
DistributionLike: TypeAlias = Distribution | DensityLike


def admit_density(p: DensityLike, *, caller: str, name: str = "p") -> Density:
    """Makes an argument of a measure a density, and checks it."""
    admitted = _admit(p, name, caller)
    if isinstance(admitted, Density):
        return admitted
    raise TypeError(
        f"{caller}: {name} is Labels, which do not say how many classes there are; give "
        f"{name} its class axis, as probabilities"
    )


def admit_pair(
    p: DistributionLike, q: DensityLike, *, caller: str
) -> tuple[Distribution, Density]:
    """Checks both arguments of a measure, and brings them to one batch shape."""
    p = _admit(p, "p", caller)
    if isinstance(q, Labels):
        raise TypeError(
            f"{caller}: q is Labels, which have no log-probabilities. The truth comes "
            f"first, as in {caller}(p, q): were the two swapped?"
        )
    q = admit_density(q, caller=caller, name="q")
    if isinstance(p, Labels):
        checks.assert_labels(p.data, q.num_classes, name="p", caller=caller)
    elif isinstance(p, Binary) != isinstance(q, Binary):
        raise TypeError(
            f"{caller}: p is {type(p).__name__} and q is {type(q).__name__}, and only "
            "one of them has a class axis. Give an event its two classes, as in "
            "Probs(jnp.stack([1 - p, p], axis=-1)), or use binary distributions for both"
        )
    if isinstance(p, Density) and p.axis_name != q.axis_name:
        raise ValueError(
            f"{caller}: axis_name of p is {p.axis_name!r} and that of q {q.axis_name!r}: "
            "if one of them has a shard of the classes, give both as shards"
        )
    shapes = f"p has shape {p.data.shape} and q has shape {q.data.shape}"
    if p.num_classes not in (None, q.num_classes):
        raise ValueError(f"{caller}: the class axis (the last) differs: {shapes}")
    # A column of labels or events, (n, 1), against a row of n is a mistake, not a table.
    columns, message = not isinstance(p, (Labels, *Binary)), f"{caller}: {shapes}"
    batch = facts.broadcast_batches(p.batch, q.batch, message, columns=columns)
    return _spread(p, batch), _spread(q, batch)


_D = TypeVar("_D", bound=Distribution)


def _admit(p: DistributionLike, name: str, caller: str) -> Distribution:
    if not isinstance(p, Distribution):
        p = Probs(jnp.asarray(p))
        if name == "q" and jnp.issubdtype(p.data.dtype, jnp.integer):
            fix = "; Labels(q) can only come first: were the two swapped?"
            facts.check_float(p.data, name=name, caller=caller, fix=fix)
    p.check(name, caller)
    if isinstance(p, Labels):
        return Labels(p.data, float(p.smoothing))
    return _with_data(p, p.data)


def _spread(p: _D, batch: tuple[int, ...]) -> _D:
    if p.batch == batch:
        return p
    return _with_data(p, jnp.broadcast_to(p.data, batch + p.data.shape[len(p.batch) :]))


def _with_data(p: _D, data: Array) -> _D:
    field = dataclasses.fields(p)[0]  # pyright: ignore[reportArgumentType]
    if getattr(p, field.name) is data:
        return p
    return dataclasses.replace(p, **{field.name: data})  # pyright: ignore
