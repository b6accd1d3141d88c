"""The order of a measure: a number, or an array that may be traced and differentiated."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, DTypeLike, Float


def is_infinite(order: Any) -> bool:
    """Whether this is the limit of all orders: a Python float, known while tracing."""
    return isinstance(order, float | np.floating) and float(order) == math.inf


def as_order(
    order: ArrayLike,
    batch: tuple[int, ...],
    dtype: DTypeLike,
    *,
    name: str,
    caller: str,
    least: float = -math.inf,
) -> Float[Array, "*#batch"]:
    """`order` in the dtype to compute in; its axes are batch axes."""
    if isinstance(order, int | float):
        if not least <= order < math.inf:
            raise ValueError(f"{caller}: {name} is {order}, not in [{least:g}, ∞)")
    array = jnp.asarray(order)
    if jnp.issubdtype(array.dtype, jnp.complexfloating) or array.dtype == bool:
        raise TypeError(f"{caller}: {name} is {array.dtype}, and must be a number")
    try:
        fits = np.broadcast_shapes(array.shape, batch) == batch
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{caller}: {name} has shape {array.shape}, and the batch is {batch}. Give one "
            f"{name} per row, or use jax.vmap over several"
        )
    array = array.astype(dtype)
    array = array if array.ndim in (0, len(batch)) else jnp.broadcast_to(array, batch)
    return jnp.where(array >= least, array, jnp.nan) if least > -math.inf else array
