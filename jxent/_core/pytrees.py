"""Dataclasses as pytrees whose structure knows its class."""

import dataclasses
from typing import Any, TypeVar

import jax

_T = TypeVar("_T")


def pytree(cls: type[_T]) -> type[_T]:
    """Registers a dataclass as a pytree; fields marked `static` are structure, not data.

    In place of `jax.tree_util.register_dataclass`: since JAX 0.10 the structures of two
    of those are equal even if their classes differ, and `jit`, whose caches compare
    structures, may then answer for one class with what it has compiled for the other.
    """
    fields: Any = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
    static = [f.name for f in fields if f.metadata.get("static")]
    data = [f.name for f in fields if f.name not in static]

    def flatten(tree: _T):
        values = [getattr(tree, name) for name in data]
        return values, tuple(getattr(tree, name) for name in static)

    def flatten_with_keys(tree: _T):
        values, aux = flatten(tree)
        return list(zip(map(jax.tree_util.GetAttrKey, data), values, strict=True)), aux

    def unflatten(aux: Any, values: Any) -> _T:
        names = [*data, *static]
        return cls(**dict(zip(names, [*values, *aux], strict=True)))

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls


def static(default: Any) -> Any:
    """A field of the structure, that need not be given."""
    return dataclasses.field(default=default, metadata={"static": True})
