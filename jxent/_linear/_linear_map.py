"""A linear map whose transpose is another algorithm, and both may be differentiated.

`jax.custom_vjp` knows no forward mode, `jax.custom_jvp` transposes by itself, and
`jax.custom_derivatives.linear_call` takes no derivative by what is not linear. A streamed
projection needs all three: its transpose has an order of loops, and dtypes, of its own.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from .._mesh import layout

_X = TypeVar("_X")
_Y = TypeVar("_Y")


def linear_map(
    apply: Callable[[Any, _X], _Y],
    transpose: Callable[[Any, _Y], _X],
    fixed: Any,
    x: _X,
) -> _Y:
    """`apply(fixed, x)`, linear in `x`, of which `transpose(fixed, y)` is the transpose.

    Derivatives by `fixed` are those of `apply`, and of `transpose` once it has taken its
    place, so both are to be written such that JAX can differentiate them.
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

    y = _bind(flat_apply, flat_transpose, num_fixed, *leaves)
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


def _bind(apply, transpose, num_fixed, *args):
    jaxpr = jax.make_jaxpr(apply)(*args)
    return _linear_map.bind(
        *args, jaxpr=jaxpr, apply=apply, transpose=transpose, num_fixed=num_fixed
    )


@_linear_map.def_impl
def _impl(*args, apply, **_):
    return apply(*args)


@_linear_map.def_abstract_eval
def _abstract_eval(*_, jaxpr, **__):
    return jaxpr.out_avals


def _jvp(primals, tangents, *, jaxpr, apply, transpose, num_fixed):
    del jaxpr
    y = _bind(apply, transpose, num_fixed, *primals)
    terms = []
    if any(type(t) is not ad.Zero for t in tangents[num_fixed:]):
        x_dot = map(ad.instantiate_zeros, tangents[num_fixed:])
        terms.append(_bind(apply, transpose, num_fixed, *primals[:num_fixed], *x_dot))
    moving = [i for i in range(num_fixed) if type(tangents[i]) is not ad.Zero]
    if moving:

        def at(*values):
            args = list(primals)
            for i, value in zip(moving, values, strict=True):
                args[i] = value
            return apply(*args)

        values, dots = [primals[i] for i in moving], [tangents[i] for i in moving]
        terms.append(jax.jvp(at, values, dots)[1])
    return y, [sum(parts[1:], parts[0]) for parts in zip(*terms, strict=True)]


def _transpose(y, *args, jaxpr, apply, transpose, num_fixed):
    del apply, jaxpr
    y = [ad.instantiate_zeros(ct) for ct in y]
    return [None] * num_fixed + list(transpose(args[:num_fixed], y))


def _batch(args, axes, *, jaxpr, apply, transpose, num_fixed):
    del jaxpr
    axes_fixed, axes_x = tuple(axes[:num_fixed]), axes[num_fixed:]
    # All of x moves with the batch if any of it does: so does all of the transpose.
    size, split = next(
        (a.shape[i], layout(a).spec[i])
        for a, i in zip(args, axes, strict=True)
        if i is not None
    )
    x = [
        _repeated(a, size, split) if i is None else jax.numpy.moveaxis(a, i, 0)
        for a, i in zip(args[num_fixed:], axes_x, strict=True)
    ]
    in_axes = (*axes_fixed, *[0] * len(x))
    many = jax.vmap(apply, in_axes, axis_size=size)
    back = jax.vmap(transpose, (axes_fixed, 0), axis_size=size)
    back_of = lambda fixed, y: back(tuple(fixed), y)
    y = _bind(many, back_of, num_fixed, *args[:num_fixed], *x)
    return y, [0] * len(y)


def _repeated(a, size, split):
    """`a`, `size` times, along an axis that is split as `split` says."""
    here = layout(a)
    to = here.update(spec=(split, *here.spec)) if split is not None else None
    return jax.lax.broadcast(a, (size,), out_sharding=to)


ad.primitive_jvps[_linear_map] = _jvp
ad.primitive_transposes[_linear_map] = _transpose
batching.primitive_batchers[_linear_map] = _batch
mlir.register_lowering(
    _linear_map, mlir.lower_fun(lambda *args, apply, **_: apply(*args), True)
)
