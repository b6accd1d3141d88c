"""The programs that are made of a case: its loss, the gradient, and the Hessian's product.

Each stands above a floor, which does no more than the memory demands: it reads each
floating-point argument once, and writes one array per gradient.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from . import libraries
from .cases import arguments, Arrays, Case, Shape

KINDS = ("value", "gradient", "Hessian")
FLOOR = "copy"
Arguments: TypeAlias = Sequence[Any]
Run = Callable[[], Any]


def program(kind: str, call: Callable, wrt: tuple[int, ...]) -> Callable:
    """A function of a case's arguments and of the directions of its Hessian."""

    def loss(*given):
        return jnp.mean(call(*given))

    return {
        "value": lambda given, along: loss(*given),
        "gradient": lambda given, along: jax.value_and_grad(loss, wrt)(*given),
        "Hessian": lambda *both: gradient_and_product(loss, wrt, *both)[1],
    }[kind]


def gradient_and_product(
    loss: Callable, wrt: tuple[int, ...], given: Arguments, along: Arguments
) -> Any:
    """The slopes of `loss`, and the product of its Hessian with `along`."""

    def gradient(*leaves):
        replaced = dict(enumerate(given)) | dict(zip(wrt, leaves, strict=True))
        return jax.grad(loss, wrt)(*replaced.values())

    return jax.jvp(gradient, tuple(given[i] for i in wrt), tuple(along))


def directions(arrays: Arrays, wrt: tuple[int, ...]) -> Arrays:
    """Of the size that the slopes have, and in memory of their own."""
    return tuple(np.ascontiguousarray(arrays[i][::-1]) for i in wrt)


def outlines(case: Case, shape: Shape, dtype: str) -> Any:
    """The case's arguments and directions, as shapes and dtypes that take no memory."""
    sizes = {1: shape.rows, 2: shape.classes}
    small = arguments(case.function, 1, 2, dtype)

    def outline(x: np.ndarray) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct([sizes.get(n, n) for n in x.shape], x.dtype)

    return jax.tree.map(outline, (small, directions(small, case.wrt)))


def spelled(case: Case) -> dict[str, Callable]:
    """The case as jxent and its peers have it, those that are installed, and XLA's."""
    spellings = libraries.spellings()
    return {
        library: spellings[library][case.function].function
        for library in ("jxent", *case.peers)
        if library in spellings and library != "torch"
    }


def contenders(kind: str, case: Case, shape: Shape, dtype: str) -> dict[str, Run]:
    """All that are timed next to each other: jxent, its peers and the floor."""
    arrays = arguments(case.function, shape.rows, shape.classes, dtype)
    along = directions(arrays, case.wrt)
    given = jax.tree.map(jnp.asarray, (arrays, along))
    runs = {
        library: _by_jax(program(kind, call, case.wrt), given)
        for library, call in spelled(case).items()
    }
    if "torch" in case.peers and "torch" in libraries.spellings():
        runs["torch"] = _by_torch(kind, case, arrays, along)
    runs[FLOOR] = _by_jax(functools.partial(_floor, kind), given)
    return runs


def _by_jax(function: Callable, given: Arguments) -> Run:
    compiled = jax.jit(function).lower(*given).compile()
    return lambda: jax.block_until_ready(compiled(*given))


def _floor(kind: str, given: Arguments, along: Arguments) -> Any:
    read = [x for x in given if jnp.issubdtype(x.dtype, jnp.floating)]
    if kind == "value":
        return jnp.sum(functools.reduce(jnp.add, read), dtype=jnp.float32)
    total = functools.reduce(jnp.add, [*read, *(along if kind == "Hessian" else ())])
    return [total + (i + 1) for i in range(len(along))]


def _by_torch(kind: str, case: Case, arrays: Arrays, along: Arrays) -> Run:
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    call = libraries.spellings()["torch"][case.function].function
    given = [libraries.tensor(x) for x in arrays]
    leaves = [given[i].requires_grad_(kind != "value") for i in case.wrt]
    vectors = [libraries.tensor(x) for x in along]

    def run():
        loss = call(*given).mean()
        if kind == "value":
            return loss
        slopes = torch.autograd.grad(loss, leaves, create_graph=kind == "Hessian")
        if kind == "gradient":
            return loss, slopes
        return torch.autograd.grad(slopes, leaves, vectors)

    return run
