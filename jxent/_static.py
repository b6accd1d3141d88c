"""What is known while tracing, and always checked: dtypes and the class axis."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def check_float(x: Array | np.ndarray, *, name: str, caller: str) -> None:
    """TypeError unless `x` has a floating-point dtype."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        integer = jnp.issubdtype(x.dtype, jnp.integer)
        fix = f"; did you mean Labels({name})?" if integer else ""
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
