"""`linear_map`: two algorithms, one linear map, every transform."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jxent._kernels.streamed.linear_map import linear_map, mapped_together

pytestmark = pytest.mark.usefixtures("hasty_compiler")
rng = np.random.default_rng(0)
array = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
A, B, X, Y = array(3, 4), array(4), array(4), array(2, 4)
CT = array(3)


def apply(fixed, x):
    """Linear in x and y, not in what is fixed."""
    a, b = fixed
    return {"rows": jnp.tanh(a) @ (x["x"] * jnp.exp(b)), "sum": x["y"].sum(0) * b}


def transpose(fixed, ct):
    # By another way round: one row at a time.
    a, b = fixed

    def step(total, row_and_ct):
        row, ct = row_and_ct
        return total + jnp.tanh(row) * ct, None

    total, _ = jax.lax.scan(step, jnp.zeros_like(b), (a, ct["rows"]))
    y = jnp.broadcast_to(ct["sum"] * b, (2, *b.shape))
    return {"x": total * jnp.exp(b), "y": y}


def mapped(a, b, x, y):
    out = linear_map(apply, transpose, (a, b), {"x": x, "y": y})
    return out["rows"], out["sum"]


def plain(a, b, x, y):
    out = apply((a, b), {"x": x, "y": y})
    return out["rows"], out["sum"]


def close(got, expected, rtol=1e-6):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


ARGS = (A, B, X, Y)
WAY = tuple(jnp.cos(x) for x in ARGS)
total = lambda f: lambda *x: sum(jnp.sum(jnp.sin(part)) for part in f(*x))
every = (0, 1, 2, 3)
slope = lambda f: jax.grad(total(f), every)
along = lambda f: lambda *x: jax.jvp(f, x, WAY)[1]

TRANSFORMS = {
    "value": lambda f: f,
    "tangent": along,
    "tangent of x alone": lambda f: (
        lambda a, b, x, y: jax.jvp(lambda x: f(a, b, x, y), (x,), (x,))[1]
    ),
    "tangent of what is fixed": lambda f: (
        lambda a, b, x, y: jax.jvp(lambda a: f(a, b, x, y), (a,), (a,))[1]
    ),
    "gradient": slope,
    "gradient of one": lambda f: jax.grad(total(f), 3),
    "gradient of one part": lambda f: jax.grad(lambda *x: f(*x)[0].sum(), every),
    "linearize": lambda f: lambda *x: jax.linearize(f, *x)[1](*WAY),
    "remat": lambda f: slope(jax.checkpoint(f)),
    "remat that keeps nothing": lambda f: slope(
        jax.checkpoint(f, policy=jax.checkpoint_policies.nothing_saveable)
    ),
    "jacfwd": lambda f: jax.jacfwd(f, every),
    "jacrev": lambda f: jax.jacrev(f, every),
    "forward over reverse": lambda f: along(slope(f)),
    "reverse over forward": lambda f: jax.grad(lambda *x: along(total(f))(*x), every),
    "reverse over reverse": lambda f: jax.grad(
        lambda *x: sum(map(jnp.vdot, slope(f)(*x), WAY)), every
    ),
    "forward over forward": lambda f: along(along(f)),
    "third order": lambda f: along(along(slope(f))),
    "scan": lambda f: slope(
        lambda a, b, x, y: jax.lax.scan(
            lambda c, k: (c + f(a, b, x, k * y)[1], f(a, b, c, y)[0]), b, A[:, 0]
        )
    ),
    "cond": lambda f: slope(
        lambda *x: jax.lax.cond(x[1][0] < 9, f, lambda *x: (CT, B), *x)
    ),
    "while": lambda f: along(
        lambda a, b, x, y: jax.lax.fori_loop(
            0, jnp.int32(3), lambda i, r: (r[0] + f(a, b, x, y)[0], r[1]), f(a, b, x, y)
        )
    ),
}


@functools.cache
def expected(name):
    return jax.jit(TRANSFORMS[name](plain))(*ARGS)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("jit", [jax.jit, lambda f: f], ids=["jit", "eager"])
def test_every_transform(name, jit):
    close(jit(TRANSFORMS[name](mapped))(*ARGS), expected(name), 3e-6)


MANY = tuple(jnp.stack([x, 2 * x, -x], axis=-1) for x in ARGS)


@pytest.mark.parametrize("which", [(0,), (3,), (1, 2), (0, 1, 2, 3)])
def test_vmap_over_what_is_fixed_and_what_is_not(which):
    axes = tuple(-1 if i in which else None for i in every)
    args = tuple(
        many if i in which else x
        for i, (many, x) in enumerate(zip(MANY, ARGS, strict=True))
    )
    many = lambda f: jax.vmap(f, axes, 1)
    inside = lambda f: jax.jit(many(lambda *x: jax.tree.map(jnp.ravel, slope(f)(*x))))
    every_way = lambda f: jax.jit(
        lambda *x: (
            [
                g(f)(*x)
                for g in (
                    many,
                    lambda f: slope(many(f)),
                    inside,
                    lambda f: slope(jax.jit(many(f))),
                )
            ],
            jax.jvp(slope(many(f)), x, x)[1],
        )
    )
    (got, hessian), (truth, true_hessian) = (
        every_way(f)(*args) for f in (mapped, plain)
    )
    close(got, truth, 3e-6)
    close(hessian, true_hessian, 1e-5)
    close(slope(many(mapped))(*args), truth[1], 3e-6)  # eagerly, too


SHARED = {"w": True, "h": False}
seen = []  # how many axes the rows had that were transposed


def of_rows(fixed, x):
    return jnp.tanh(fixed["h"]) @ x["w"].T + x["h"] @ fixed["w"].T


def back_of_rows(fixed, ct):
    seen.append(ct.ndim)
    w = jnp.einsum("...i,...j->ij", ct, jnp.tanh(fixed["h"]))
    return {"w": w, "h": ct @ fixed["w"]}


def rows_of(w, h, w_dot, h_dot):
    fixed, x = {"w": w, "h": h}, {"w": w_dot, "h": h_dot}
    return linear_map(of_rows, back_of_rows, fixed, x, (SHARED, SHARED))


@pytest.mark.parametrize(
    "which, axes", [((1,), 2), ((1, 3), 2), ((3,), 1), ((0, 1), 1), ((1, 2), 1)]
)
def test_vmap_over_rows_is_one_batch_axis_more(which, axes):
    args, many = (A, B, 2 * A, X), lambda x: jnp.stack([x, 2 * x, -x])
    args = tuple(many(x) if i in which else x for i, x in enumerate(args))
    mapped = tuple(0 if i in which else None for i in every)
    each = lambda f: jax.vmap(f, mapped)
    total = lambda f: lambda *x: jnp.sum(jnp.sin(each(f)(*x)))
    plain = lambda w, h, *x: of_rows({"w": w, "h": h}, dict(zip("wh", x, strict=True)))
    seen.clear()
    close(*(jax.grad(total(f), every)(*args) for f in (rows_of, plain)), 3e-6)
    assert set(seen) == {axes}
    along = lambda f: jax.jvp(jax.grad(total(f), every), args, args)[1]
    back = lambda f: jax.grad(lambda *x: jax.jvp(total(f), x, x)[1], every)(*args)
    for transform in (along, back):
        close(*(transform(f) for f in (rows_of, plain)), 1e-5)


def test_vmap_over_rows_twice_and_vmap_of_the_gradient():
    h, ct = array(5, 2, 4), array(5, 2, 3)
    total = lambda w, h, ct: jnp.vdot(ct, rows_of(A, h, w, h))
    each = lambda f: jax.vmap(jax.vmap(f, (None, 0, 0)), (None, 1, 1))
    seen.clear()
    got = jax.grad(lambda w: each(total)(w, h, ct).sum())(A)
    one_each = each(jax.grad(total))(A, h, ct)
    assert seen == [3, 1]
    tanh = jnp.tanh(h)
    close(got, jnp.einsum("nmi,nmj->ij", ct, tanh))
    close(one_each, jnp.einsum("nmi,nmj->mnij", ct, tanh))


def test_vmap_over_no_rows():
    total = lambda w, h: jnp.sum(jax.vmap(rows_of, (None, 0, None, 0))(w, h, w, h))
    of_shared, of_rows = jax.grad(total, (0, 1))(A, jnp.zeros((0, 4)))
    assert of_rows.shape == (0, 4)
    np.testing.assert_array_equal(of_shared, jnp.zeros_like(A))


def test_vmap_of_the_transpose():
    back = lambda f: jax.vjp(lambda x, y: f(A, B, x, y), X, Y)[1]
    cts = jnp.stack([CT, -CT]), jnp.stack([B, jnp.sin(B)])
    close(jax.vmap(back(mapped))(cts), jax.vmap(back(plain))(cts))
    turned = jax.tree.map(jnp.transpose, cts)
    axes = lambda f: jax.vmap(back(f), (1,), 1)(turned)
    close(axes(mapped), axes(plain))


def test_the_transpose_is_the_one_that_was_given():
    marked = lambda fixed, ct: jax.tree.map(lambda x: 3 * x, transpose(fixed, ct))

    def f(x):
        return linear_map(apply, marked, (A, B), {"x": x, "y": Y})["rows"].sum()

    truth = jax.grad(lambda x: plain(A, B, x, Y)[0].sum())(X)
    for g in (jax.grad(f), jax.jit(jax.grad(f)), jax.grad(jax.checkpoint(f))):
        close(g(X), 3 * truth)
    close(jax.vmap(jax.grad(f))(jnp.stack([X, X])), jnp.stack([3 * truth] * 2))


def test_export_with_two_gradients():
    f = jax.jit(total(mapped))
    exported = jax.export.export(f, platforms=["cpu", "cuda", "tpu"])(*ARGS)
    again = jax.export.deserialize(exported.serialize(vjp_order=2)).call
    dot = lambda f: lambda *x: sum(map(jnp.vdot, jax.grad(f, every)(*x), WAY))
    close(jax.grad(again, every)(*ARGS), jax.grad(f, every)(*ARGS), 3e-6)
    twice = lambda f: jax.grad(dot(f), every)(*ARGS)
    close(twice(again), twice(total(plain)), 1e-5)


def test_values_of_a_rule_are_mapped_where_its_tangents_are():
    """Of two sums only one is mapped, and the slope maps both."""

    @jax.custom_jvp
    def f(x, y):
        return mapped_together((x, y), (jnp.sum(x), jnp.sum(y)))

    @f.defjvp
    def _(primals, tangents):
        dots = lambda _, d: (jnp.sum(d[0]), jnp.sum(d[1]))
        back = lambda _, ct: tuple(map(jnp.broadcast_to, ct, ((4,), (4,))))
        return f(*primals), linear_map(dots, back, (), tangents)

    rows = jax.jit(lambda x, y: jnp.broadcast_to(f(x, y)[1], (3,)))
    total = lambda x, y: jax.vmap(rows, (0, None))(x, y).sum()
    slopes = jax.grad(total, (0, 1))(Y, X)
    close(slopes, (jnp.zeros_like(Y), 6 * jnp.ones_like(X)))
