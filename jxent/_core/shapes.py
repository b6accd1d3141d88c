"""Arguments become arrays; what is known while tracing is checked: dtypes and shapes."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, DTypeLike


def as_array(x: Any, name: str = "argument", caller: str = "jxent") -> Array:
    """`x` as an array of JAX: also what converts itself, such as a parameter of nnx."""
    return x if isinstance(x, jax.Array) else _converted(jnp.asarray, x, name, caller)


def as_given(x: Any, name: str, caller: str) -> Array | np.ndarray:
    """As `as_array`, but numpy's arrays stay, and so do their integers of 64 bits."""
    if isinstance(x, jax.Array | np.ndarray):
        return x
    if isinstance(x, np.generic | int | float | complex | list | tuple):
        return _converted(np.asarray, x, name, caller)
    return _converted(jnp.asarray, x, name, caller)


def _converted(convert: Any, x: Any, name: str, caller: str) -> Any:
    kind, fix = type(x).__name__, ""
    if dataclasses.is_dataclass(x) and not hasattr(x, "__jax_array__"):
        # Its repr would be all of its numbers.
        fix = f"; pass the array in it, which is its {dataclasses.fields(x)[0].name}"
    elif not isinstance(x, str | bytes | None):
        try:
            return convert(x)
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(error, jax.errors.JAXTypeError):
                raise  # of tracers, in JAX's own words
    article = "an" if kind[0] in "AEIOUaeiou" else "a"
    raise TypeError(f"{caller}: {name} is {article} {kind}, not an array{fix}")


@functools.cache
def _is(dtype: Any, kind: Any) -> bool:
    return bool(jnp.issubdtype(dtype, kind))


def is_float(dtype: DTypeLike) -> bool:
    return _is(dtype, jnp.floating)


def is_integer(dtype: DTypeLike) -> bool:
    return _is(dtype, jnp.integer)


def check_float(
    x: Array | np.ndarray, *, name: str, caller: str, fix: str = ""
) -> None:
    """TypeError unless `x` has a floating-point dtype; `fix` is what may be meant."""
    if not is_float(x.dtype):
        raise TypeError(f"{caller}: {name} is {x.dtype}, not floating point{fix}")


def check_real(x: Array | np.ndarray, *, name: str, caller: str) -> None:
    """TypeError unless `x` has numbers, or bools, on the real line."""
    if not (is_float(x.dtype) or is_integer(x.dtype) or x.dtype == bool):
        raise TypeError(f"{caller}: {name} is {x.dtype}, and must be real numbers")


def check_labels_dtype(y: Array | np.ndarray, *, name: str, caller: str) -> None:
    """TypeError unless `y` has an integer dtype."""
    if not is_integer(y.dtype):
        fix = f"did you mean Probs({name})?" if is_float(y.dtype) else ""
        fix = f"; {fix}" if fix else ""
        raise TypeError(
            f"{caller}: {name} is {y.dtype}; labels are integer class indices{fix}"
        )


def check_class_axis(x: Array | np.ndarray, *, name: str, caller: str) -> None:
    """ValueError unless `x` has a last axis, and a class on it."""
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"{caller}: {name} has no class, its shape is {x.shape}")


def broadcast_batches(
    p: tuple[int, ...], q: tuple[int, ...], shapes: str, *, columns: bool
) -> tuple[int, ...]:
    """The batch that both broadcast to; unless `columns`, none of new axes for both."""
    if p == q:
        return p
    batch = broadcast_shapes(p, q)
    if batch is None:
        raise ValueError(f"{shapes}: the batch axes do not broadcast")
    if not columns and len(p) != len(q) and batch not in (p, q):
        raise ValueError(
            f"{shapes}: batches {p} and {q} would make a table of {batch}; if that is "
            "wanted, give both of them as many axes"
        )
    return batch


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape that all broadcast to, or None; dimensions may be symbols of an export."""
    try:
        return jnp.broadcast_shapes(*shapes)
    except ValueError:
        return None


def log_size(k: int) -> Any:
    """`log k` of a dimension, which an export may have a symbol for."""
    return math.log(k) if isinstance(k, int) else jnp.log(jnp.asarray(k, jnp.float32))


def integers(y: Any, name: str = "labels", caller: str = "jxent") -> Array | np.ndarray:
    """Labels as an array; an empty list has no labels, and they are integers."""
    y = as_given(y, name, caller)
    empty = isinstance(y, np.ndarray) and y.size == 0
    return y.astype(np.int32) if empty and not is_integer(y.dtype) else y


def indices(y: Any) -> Array:
    """Labels as int32, where one that is out of range stays so, and does not wrap."""
    y = integers(y)
    if y.dtype.itemsize >= 4 and y.dtype != np.int32:
        smallest = 0 if _is(y.dtype, jnp.unsignedinteger) else -(2**31)
        y = y.clip(smallest, 2**31 - 1)
    elif isinstance(y, jax.Array) and y.dtype == jnp.int32:
        return y
    return jnp.asarray(y).astype(jnp.int32)


def is_ignored(y: Any, ignore_index: int) -> Bool[Array, "..."]:
    """Where a label is `ignore_index`, whatever of the two its dtype can hold."""
    y = integers(y)
    info: Any = jnp.iinfo(y.dtype)
    if not info.min <= ignore_index <= info.max:
        return jnp.zeros(y.shape, bool)
    return jnp.asarray(y == np.asarray(ignore_index, y.dtype))
