"""What optax's arguments may be: axes, masks, shapes that match, numbers in range."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Num, Shaped

from .. import checks
from .._core import arithmetic as num
from .._core.shapes import as_array, broadcast_shapes, integers, is_ignored, is_integer
from ._options import Where

Axis: TypeAlias = int | tuple[int, ...] | None
FloatLike: TypeAlias = Float[ArrayLike, "..."]
TargetLike: TypeAlias = Num[ArrayLike, "..."] | Bool[ArrayLike, "..."]


def axes_from_the_end(axis: Axis, ndim: int, caller: str) -> tuple[int, ...]:
    """The class axes as negative numbers, which hold for arrays of fewer axes too."""
    axes = tuple(range(ndim)) if axis is None else axis
    axes = axes if isinstance(axes, tuple) else (axes,)
    wrong = not axes or any(not -ndim <= a < ndim for a in axes)
    axes = tuple(a - ndim if a >= 0 else a for a in axes)
    if wrong or len(set(axes)) < len(axes):
        raise ValueError(f"{caller}: axis is {axis}, and there are {ndim} axes")
    return axes


def classes_last(
    x: Shaped[Array, "..."], axes: tuple[int, ...]
) -> Shaped[Array, "*batch k"]:
    """Moves `axes` to the end, and makes them one."""
    if axes == (-1,):
        return x
    x = jnp.moveaxis(x, axes, range(-len(axes), 0))
    return x.reshape(*x.shape[: x.ndim - len(axes)], -1)


def common_batch(
    a: Sequence[int], b: Sequence[int], caller: str, shapes: str
) -> tuple[int, ...]:
    """The batch shape, which one of the two must have already."""
    a, b = tuple(a), tuple(b)
    if a == b:
        return a
    batch = broadcast_shapes(a, b)
    if batch is None or batch not in (a, b):
        # (4, 1) and (4,) would broadcast to (4, 4): sixteen losses that nobody wants.
        raise ValueError(f"{caller}: {shapes}, and batches {a} and {b} do not match")
    return batch


def split_where(
    where: Where, shape: tuple[int, ...], axes: tuple[int, ...], caller: str
) -> tuple[Bool[Array, "*batch k"] | None, Bool[Array, "*batch"] | None]:
    """A mask of classes, if it has as many axes as the logits, or one of rows."""
    if where is None:
        return None, None
    where = as_where(where, caller)
    if where.ndim < len(shape):
        return None, where
    return classes_last(spread(where, shape, "where", caller), axes), None


def as_where(where: Bool[ArrayLike, "..."], caller: str) -> Bool[Array, "..."]:
    where = as_array(where, "where", caller)
    if where.dtype != bool:
        raise TypeError(
            f"{caller}: where is {where.dtype}, not bool. Weights are another option: "
            "weights=..."
        )
    return where


def spread(x: Array, shape: tuple[int, ...], name: str, caller: str) -> Array:
    """`x`, broadcast to a shape, which it must not add to."""
    try:
        return jnp.broadcast_to(x, shape)
    except ValueError:
        message = f"{caller}: {name} has shape {x.shape}, which does not fit {shape}"
        raise ValueError(message) from None


def both(
    a: Bool[Array, "*batch"] | None, b: Bool[Array, "*batch"]
) -> Bool[Array, "*batch"]:
    return b if a is None else a & b


def check_predictions(x: Array, truth: Any, name: str, caller: str) -> None:
    """TypeError unless predictions are floating point."""
    swapped = jnp.issubdtype(truth.dtype, jnp.floating)
    fix = "; predictions come first: were the two swapped?" if swapped else ""
    checks.check_float(x, name=name, caller=caller, fix=fix)


def at_temperature(
    z: Float[Array, "*batch k"], temperature: Any, caller: str
) -> Float[Array, "*batch k"]:
    if num.is_known(temperature, 1):
        return z
    z = num.at_least_float32(z)
    t = jnp.asarray(temperature, z.dtype)
    t = spread(t, z.shape[:-1], "temperature", caller) if t.ndim else t
    return z / jnp.broadcast_to(t[..., None] if t.ndim else t, z.shape)


def ignored(
    labels: Any, index: int | None, caller: str
) -> Bool[Array, "*batch"] | None:
    """Where labels are `index`; one that their dtype does not have is none of them."""
    if index is None:
        return None
    if not isinstance(index, int | np.integer):
        kind = type(index).__name__
        raise TypeError(
            f"{caller}: ignore_index is {kind}, and must be a Python integer"
        )
    labels = integers(labels)
    if not is_integer(labels.dtype):
        return jnp.asarray(labels == index)
    return is_ignored(labels, index)
