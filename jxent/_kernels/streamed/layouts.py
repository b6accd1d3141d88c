"""A hint to the TPU compiler on how an array lies in memory, which `jax.export` leaves out.

The weight's gradient is carried through a loop, tile by tile. Of a weight [d, v], XLA for
TPU lays the carry out transposed, and copies the whole of it at the end: as much memory as
the weight takes. A layout constraint prevents that, but `jax.export` refuses one.
"""

from typing import Any

import jax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

Primitive: Any = type(jax.lax.add_p)  # `jax.extend.core`, which has it, imports Pallas
_row_major = Primitive("row_major")


def row_major(x: Array) -> Array:
    """`x`, its last axis contiguous if it is compiled for a TPU."""
    return _row_major.bind(x)


def _pinned(x):
    return with_layout_constraint(x, Layout(tuple(range(x.ndim))))


def _lower_for_tpu(ctx, x):
    exported = ctx.module_context.lowering_parameters.for_export
    return (_lower if exported else _lower_pinned)(ctx, x)


_lower = mlir.lower_fun(lambda x: x, multiple_results=False)
_lower_pinned = mlir.lower_fun(_pinned, multiple_results=False)
_row_major.def_impl(lambda x: x)
_row_major.def_abstract_eval(lambda x: x)
ad.deflinear2(_row_major, lambda ct, _: [row_major(ct)])
batching.defvectorized(_row_major)
mlir.register_lowering(_row_major, _lower)
mlir.register_lowering(_row_major, _lower_for_tpu, platform="tpu")
