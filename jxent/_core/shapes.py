"""What is known while tracing, and always checked: dtypes and shapes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def check_float(
    x: Array | np.ndarray, *, name: str, caller: str, fix: str = ""
) -> None:
    """TypeError unless `x` has a floating-point dtype; `fix` is what may be meant."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"{caller}: {name} is {x.dtype}, not floating point{fix}")


def check_labels_dtype(y: Array | np.ndarray, *, name: str, caller: str) -> None:
    """TypeError unless `y` has an integer dtype."""
    if not jnp.issubdtype(y.dtype, jnp.integer):
        fix = f"labels are integer class indices; did you mean Probs({name})?"
        raise TypeError(f"{caller}: {name} is {y.dtype}; {fix}")


def check_class_axis(x: Array | np.ndarray, *, name: str, caller: str) -> None:
    """ValueError unless `x` has a last axis, and a class on it."""
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"{caller}: {name} has no class, its shape is {x.shape}")


def broadcast_batches(
    p: tuple[int, ...], q: tuple[int, ...], shapes: str, *, columns: bool
) -> tuple[int, ...]:
    """The batch that both broadcast to; unless `columns`, none of new axes for both."""
    try:
        batch = np.broadcast_shapes(p, q)
    except ValueError:
        raise ValueError(f"{shapes}: the batch axes do not broadcast") from None
    if not columns and len(p) != len(q) and batch not in (p, q):
        raise ValueError(
            f"{shapes}: batches {p} and {q} would make a table of {batch}; if that is "
            "wanted, give both of them as many axes"
        )
    return batch


def integers(y: Any) -> Array | np.ndarray:
    """Labels as an array; an empty list has no labels, and they are integers."""
    if hasattr(y, "dtype"):
        return y
    y = np.asarray(y)
    return y if y.size else y.astype(np.int32)


def indices(y: Any) -> Array:
    """Labels as int32, where one that is out of range stays so, and does not wrap."""
    if isinstance(y, jax.Array) and y.dtype == jnp.int32:
        return y
    y = integers(y)
    if y.dtype.itemsize == 8:
        smallest = 0 if jnp.issubdtype(y.dtype, jnp.unsignedinteger) else -(2**31)
        y = y.clip(smallest, 2**31 - 1)
    return jnp.asarray(y).astype(jnp.int32)
