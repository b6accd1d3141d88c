"""Dataclasses as pytrees whose structure knows its class."""

import dataclasses
from typing import Any, TypeVar

import jax

_T = TypeVar("_T")


def pytree(cls: type[_T]) -> type[_T]:
    """Registers a dataclass as a pytree; fields marked `static` are structure, not data.

    Fields marked `number` are structure as Python numbers, which the program then knows,
    and data as arrays, which may be traced.

    In place of `jax.tree_util.register_dataclass`: since JAX 0.10 the structures of two
    of those are equal even if their classes differ, and `jit`, whose caches compare
    structures, may then answer for one class with what it has compiled for the other.
    """
    fields: Any = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
    static = [f.name for f in fields if f.metadata.get("static")]
    numbers = [f.name for f in fields if f.metadata.get("number")]
    data = [f.name for f in fields if f.name not in static]

    def flatten(tree: _T):
        values = {name: getattr(tree, name) for name in data}
        known = {n: values[n] for n in numbers if isinstance(values[n], int | float)}
        values |= dict.fromkeys(known)
        aux = tuple(getattr(tree, name) for name in static), tuple(known.items())
        return list(values.values()), aux

    def flatten_with_keys(tree: _T):
        values, aux = flatten(tree)
        return list(zip(map(jax.tree_util.GetAttrKey, data), values, strict=True)), aux

    def unflatten(aux: Any, values: Any) -> _T:
        fixed, known = aux
        arguments = dict(zip([*data, *static], [*values, *fixed], strict=True))
        return cls(**(arguments | dict(known)))

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def static(default: Any) -> Any:
    """A field of the structure, that need not be given."""
    return dataclasses.field(default=default, metadata={"static": True})


def number(default: Any) -> Any:
    """A field that is structure if it is a Python number, and data if an array."""
    return dataclasses.field(default=default, metadata={"number": True})
