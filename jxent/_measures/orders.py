"""The order of a measure: a number, or an array that may be traced and differentiated."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, DTypeLike, Float

from .._core.domains import Interval
from .._core.shapes import broadcast_shapes
from .._core.verdicts import demand_all

FINITE = Interval("(-inf, inf)")


def is_infinite(order: Any) -> bool:
    """Whether this is the limit of all orders: a Python float, known while tracing."""
    return isinstance(order, float | np.floating) and float(order) == math.inf


def as_order(
    order: ArrayLike,
    batch: tuple[int, ...],
    dtype: DTypeLike,
    within: Interval,
    *,
    name: str,
    caller: str,
) -> Float[Array, "*#batch"]:
    """`order` in the dtype to compute in: one number, or one for each row."""
    array = jnp.asarray(demand_all(order, within, name, caller))
    if broadcast_shapes(array.shape, batch) != batch:
        raise ValueError(
            f"{caller}: {name} has shape {array.shape}, and the batch is {batch}. Give one "
            f"{name} per row, or use jax.vmap over several"
        )
    return jnp.broadcast_to(array, batch if array.ndim else ()).astype(dtype)
