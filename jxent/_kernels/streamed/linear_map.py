"""A linear map whose transpose is another algorithm, and both may be differentiated.

`jax.custom_vjp` knows no forward mode, `jax.custom_jvp` transposes by itself, and
`jax.custom_derivatives.linear_call` takes no derivative by what is not linear. A streamed
projection needs all three: its transpose has an order of loops, and dtypes, of its own.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.interpreters import ad, batching, mlir
from jax.sharding import PartitionSpec
from jaxtyping import Array

from ..._core.meshes import layout

# `jax.extend.core` has it by name, but imports Pallas, which takes as long as this package.
Primitive: Any = type(jax.lax.add_p)

_X = TypeVar("_X")
_Y = TypeVar("_Y")


def linear_map(
    apply: Callable[[Any, _X], _Y],
    transpose: Callable[[Any, _Y], _X],
    fixed: Any,
    x: _X,
    shared: tuple[Any, _X] | None = None,
) -> _Y:
    """`apply(fixed, x)`, linear in `x`, of which `transpose(fixed, y)` is the transpose.

    Derivatives by `fixed` are those of `apply`, and of `transpose` once it has taken its
    place, so both are to be written such that JAX can differentiate them.

    Both may be made for rows with any batch axes in front. Then `shared`, a bool for every
    array of `(fixed, x)`, says which have none because all rows share them. To `vmap` over
    the others is one batch axis more, and the transpose adds up over it what would else be
    an array for every row.
    """
    leaves, tree = jax.tree.flatten((fixed, x))
    num_fixed = len(jax.tree.leaves(fixed))
    out_tree = None

    def flat_apply(*leaves):
        nonlocal out_tree
        y, out_tree = jax.tree.flatten(apply(*jax.tree.unflatten(tree, leaves)))
        return y

    def flat_transpose(fixed_leaves, y):
        # The structure of x is part of `tree`; any leaves will do to find it.
        fixed, _ = jax.tree.unflatten(tree, leaves_like(fixed_leaves))
        return jax.tree.leaves(transpose(fixed, jax.tree.unflatten(out_tree, y)))

    def leaves_like(fixed_leaves):
        return [*fixed_leaves, *[None] * (tree.num_leaves - num_fixed)]

    flags = None if shared is None else tuple(jax.tree.leaves(shared))
    y = _bind(_Map(flat_apply, flat_transpose, num_fixed, flags), *leaves)
    return jax.tree.unflatten(out_tree, y)


def mapped_together(fixed: Any, x: _X) -> _X:
    """`x`; under `vmap` all of its arrays are mapped if any of these or of `fixed` is.

    What a function with a rule for its derivative returns has to be: JAX takes for mapped
    what its tangents are, and they may depend on more than the values do.
    """
    same = lambda fixed, x: x
    return linear_map(same, same, fixed, x)


_linear_map = Primitive("linear_map")
_linear_map.multiple_results = True


class _Map(NamedTuple):
    """A linear map of flat arrays, the first `num_fixed` of which are fixed."""

    apply: Callable[..., list[Array]]
    transpose: Callable[[list[Array], list[Array]], list[Array]]
    num_fixed: int
    shared: (
        tuple[bool, ...] | None
    )  # None: what is fixed may have batch axes of its own


def _bind(of, *args):
    return _linear_map.bind(*args, of=of, jaxpr=jax.make_jaxpr(of.apply)(*args))


@_linear_map.def_impl
def _impl(*args, of, jaxpr):
    return of.apply(*args)


@_linear_map.def_abstract_eval
def _abstract_eval(*_, of, jaxpr):
    return jaxpr.out_avals


def _jvp(primals, tangents, *, of, jaxpr):
    fixed, x_dot = primals[: of.num_fixed], tangents[of.num_fixed :]
    y = _bind(of, *primals)
    terms = []
    if any(type(t) is not ad.Zero for t in x_dot):
        terms.append(_bind(of, *fixed, *map(ad.instantiate_zeros, x_dot)))
    moving = [i for i in range(of.num_fixed) if type(tangents[i]) is not ad.Zero]
    if moving:

        def at(*values):
            args = list(primals)
            for i, value in zip(moving, values, strict=True):
                args[i] = value
            return of.apply(*args)

        values, dots = [primals[i] for i in moving], [tangents[i] for i in moving]
        terms.append(jax.jvp(at, values, dots)[1])
    return y, [sum(parts[1:], parts[0]) for parts in zip(*terms, strict=True)]


def _transpose(y, *args, of, jaxpr):
    n, y = of.num_fixed, [ad.instantiate_zeros(ct) for ct in y]
    return [None] * n + of.transpose(list(args[:n]), y)


def _batch(args, axes, *, of, jaxpr):
    n = of.num_fixed
    size, split = next(
        (a.shape[i], layout(a).spec[i])
        for a, i in zip(args, axes, strict=True)
        if i is not None
    )

    def in_front(a, i):
        return _repeated(a, size, split) if i is None else jnp.moveaxis(a, i, 0)

    if of.shared and _only_rows_are_mapped(of, args, axes):
        args = [
            a if common else in_front(a, i)
            for a, i, common in zip(args, axes, of.shared, strict=True)
        ]
        y = _bind(of if split is None else _over_shards(of, split), *args)
        return y, [0] * len(y)

    # All of x moves with the batch if any of it does: so does all of the transpose.
    axes_fixed, x = list(axes[:n]), list(map(in_front, args[n:], axes[n:]))
    many = jax.vmap(of.apply, (*axes_fixed, *[0] * len(x)), axis_size=size)
    back = jax.vmap(of.transpose, (axes_fixed, 0), axis_size=size)
    y = _bind(_Map(many, back, n, None), *args[:n], *x)
    return y, [0] * len(y)


def _only_rows_are_mapped(of, args, axes):
    """Whether nothing shared is mapped, and nothing fixed repeated that is larger.

    Of a table that is the same for all rows, and was given to them as their own, `vmap`
    would make one copy for each.
    """
    mapped, repeated = [0], [0]  # how large the rows' arrays are
    for j, (a, i, common) in enumerate(zip(args, axes, of.shared, strict=True)):
        if common and i is not None:
            return False
        if common or j >= of.num_fixed:
            continue
        if i is None:
            repeated.append(a.size)
        else:
            mapped.append(math.prod(a.shape[:i] + a.shape[i + 1 :]))
    return 0 < max(mapped) >= max(repeated)


def _over_shards(of, split):
    """The same map, of rows whose first axis is split as `split` says: no more may come."""
    n, rows = of.num_fixed, PartitionSpec(split)
    specs = [PartitionSpec() if common else rows for common in of.shared]
    names = {split} if isinstance(split, str) else set(split)
    over = functools.partial(jax.shard_map, axis_names=names)
    apply = over(of.apply, in_specs=tuple(specs), out_specs=rows)
    back = over(of.transpose, in_specs=(specs[:n], rows), out_specs=specs[n:])
    return _Map(apply, back, n, None)


def _repeated(a, size, split):
    """`a`, `size` times, along an axis that is split as `split` says."""
    here = layout(a)
    to = here.update(spec=(split, *here.spec)) if split is not None else None
    return jax.lax.broadcast(a, (size,), out_sharding=to)


ad.primitive_jvps[_linear_map] = _jvp
ad.primitive_transposes[_linear_map] = _transpose
batching.primitive_batchers[_linear_map] = _batch
mlir.register_lowering(
    _linear_map, mlir.lower_fun(lambda *args, of, jaxpr: of.apply(*args), True)
)
