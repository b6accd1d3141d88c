"""Arrays on meshes: how many shards they are in, and indexing.

What Explicit axes refuse is left to XLA's partitioner.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

AxisName: TypeAlias = str | tuple[str, ...]  # of a mesh


def is_manual(axis_name: AxisName | None) -> bool:
    """Whether an array is one shard, because a `shard_map` surrounds us.

    Otherwise it is the whole array, however it is laid out on the mesh.
    """
    if axis_name is None:
        return False
    try:
        jax.lax.axis_size(axis_name)
    except NameError:
        return False
    return True


def all_classes(here: int, axis_name: AxisName | None) -> int:
    """How many classes all shards have together."""
    return here * jax.lax.axis_size(axis_name) if is_manual(axis_name) else here


def sum_over_shards(x: Array, axis_name: AxisName | None) -> Array:
    """The sum of what each shard has."""
    return jax.lax.psum(x, axis_name) if is_manual(axis_name) else x


def pick(
    x: Shaped[Array, "*batch k"], at: Int[Array, "*batch m"]
) -> Shaped[Array, "*batch m"]:
    """The entries of every row at the indices `at`, which are in range."""
    take = lambda x, at: jnp.take_along_axis(x, at, axis=-1)
    rows = layout(x)
    return partitioned(take, x, at, out=rows.update(spec=(*rows.spec[:-1], None)))


def pick_each(x: Shaped[Array, " k"], at: Int[Array, "*batch"]) -> Array:
    """The entry of the one row `x` at every index; beyond its ends, the last or first."""
    take = lambda x, at: jnp.take(x, at, mode="clip")
    return partitioned(take, x, at, out=layout(at))


def layout(x: Array) -> Any:
    """How `x` is split over the Explicit axes of a mesh."""
    return jax.typeof(x).sharding


def partitioned(f: Callable[..., Array], *args: Array, out: Any) -> Array:
    """`f(*args)`, laid out as `out`, of a function that Explicit axes refuse."""
    if all(axis is None for x in args for axis in layout(x).spec):
        return f(*args)
    by_partitioner: Any = jax.sharding.auto_axes(f, out_sharding=out)
    return by_partitioner(*args)
