"""Under plain `jit` on Auto axes, `axis_name` keeps the classes where they are."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from test_sharding import (
    alone,
    BIG,
    check_moves,
    close,
    CT,
    DOTS,
    everything,
    LABELS,
    MEASURES,
    mesh_of,
    rows_of,
    SPECS,
    TILE,
    VALUES,
)

from bench import aot, meshes
from bench.hlo import moved
from jxent import cross_entropy, entropy, Labels, LinearLogits, Logits, losses


def put(x, *spec, mesh=None):
    return jax.device_put(x, NamedSharding(mesh or mesh_of(), P(*spec)))


def on_mesh(arrays, specs=SPECS, mesh=None):
    return tuple(
        put(x, *spec, mesh=mesh) for x, spec in zip(arrays, specs, strict=True)
    )


@pytest.mark.parametrize("name", MEASURES)
def test_a_named_axis_agrees_with_one_device(name):
    y, ct = put(LABELS, "data"), put(CT, "data")
    got = everything(rows_of(name, "vocab"))(y, ct, on_mesh(VALUES), on_mesh(DOTS))
    close(got, alone(name))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_the_name_means_the_same_wherever_it_stands(kind):
    """Also on Explicit axes, on a part of a mesh, and where there is no mesh at all."""
    mesh = mesh_of(kind)
    rows, expected = rows_of("smoothed", "vocab"), alone("smoothed")[0]
    values = on_mesh(VALUES, mesh=mesh)
    close(jax.jit(rows)(put(LABELS, "data", mesh=mesh), *values), expected)
    close(jax.jit(rows)(LABELS, *VALUES), expected)
    with jax.set_mesh(mesh):
        close(jax.jit(rows)(LABELS, *VALUES), expected)
        by_data = jax.shard_map(
            rows,
            in_specs=(
                P("data"),
                *(P(*(a if a == "data" else None for a in s)) for s in SPECS),
            ),
            out_specs=P("data"),
            axis_names={"data"},
        )
        if kind == AxisType.Auto:
            close(jax.jit(by_data)(put(LABELS, "data"), *values), expected)


def test_a_name_that_is_no_axis_is_an_error():
    h, w = put(VALUES[0], "data"), put(VALUES[1], None, "vocab")
    with pytest.raises(ValueError, match="axis_name is 'vocb', and the arrays are on"):
        jax.jit(rows_of("entropy", "vocb"))(LABELS, h, w, *on_mesh(VALUES)[2:])
    with pytest.raises(ValueError, match="39 classes do not make 4 equal parts"):
        entropy(LinearLogits(h, VALUES[1][:, :39], axis_name="vocab"))


# A loss with every statistic, under the transforms of a training loop.

N, D, V = 32, 8, 256
rng = np.random.default_rng(1)
normal = lambda *shape: rng.normal(size=shape).astype("f4")
H, W, B, Y = normal(N, D), normal(D, V), normal(V), rng.integers(0, V, N).astype("i4")
DH, DW = normal(N, D), normal(D, V)
CLASS_WEIGHTS = np.linspace(0.5, 2, V, dtype="f4")


def loss(axis_name, h, w, y):
    nats, more = losses.linear_softmax_cross_entropy(
        h,
        w,
        y,
        bias=jnp.asarray(B),
        class_weights=jnp.asarray(CLASS_WEIGHTS),
        label_smoothing=0.1,
        z_loss=1e-3,
        reduction="mean",
        returns=["correct", "entropy", "argmax"],
        block_size=96,
        axis_name=axis_name,
    )
    hits = jnp.sum(more["correct"]) + jnp.sum(more["argmax"])
    return nats + jnp.mean(more["entropy"]), hits


def of_loss(transform):
    """A transform of the loss, without what it counts."""
    return lambda axis_name: transform(lambda *args: loss(axis_name, *args)[0])


def _both_moving(f, y):
    return lambda h, w: f(h, w, y)


@of_loss
def hessian_product(f):
    way = jnp.asarray(DH), jnp.asarray(DW)
    return lambda h, w, y: jax.jvp(jax.grad(_both_moving(f, y), (0, 1)), (h, w), way)[1]


@of_loss
def reverse_of_reverse(f):
    def slope(h, w, y):
        by_h, by_w = jax.grad(f, (0, 1))(h, w, y)
        return jnp.vdot(by_h, DH) + jnp.vdot(by_w, DW)

    return jax.grad(slope, (0, 1))


@of_loss
def scanned(f):
    """Gradient accumulation over four micro-batches."""

    def gradient(h, w, y):
        micro = h.reshape(4, N // 4, D), y.reshape(4, N // 4)
        step = lambda sofar, hy: (sofar + jax.grad(f, 1)(hy[0], w, hy[1]), None)
        return jax.lax.scan(step, jnp.zeros_like(w), micro)[0]

    return gradient


@of_loss
def remade(f):
    return jax.value_and_grad(jax.checkpoint(f), (0, 1))


@of_loss
def mapped(f):
    by_micro_batch = jax.vmap(jax.grad(f, (0, 1)), (0, None, 0))
    return lambda h, w, y: by_micro_batch(
        h.reshape(4, N // 4, D), w, y.reshape(4, N // 4)
    )


def with_counts(axis_name):
    at = functools.partial(loss, axis_name)
    return jax.value_and_grad(at, (0, 1), has_aux=True)


WAYS = {
    "with counts": with_counts,
    "Hessian product": hessian_product,
    "reverse of reverse": reverse_of_reverse,
    "scanned": scanned,
    "remade": remade,
    "mapped": mapped,
}


WITH = [(AxisType.Auto, way) for way in WAYS] + [(AxisType.Explicit, "with counts")]


@pytest.mark.parametrize("kind, way", WITH, ids=str)
def test_transforms_agree_with_one_device(kind, way):
    way, mesh = WAYS[way], mesh_of(kind)
    args = put(H, "data", mesh=mesh), put(W, None, "vocab", mesh=mesh)
    got = jax.jit(way("vocab"))(*args, put(Y, "data", mesh=mesh))
    close(got, jax.jit(way(None))(H, W, Y))


def test_without_a_name_the_weight_is_gathered_once_and_said_so():
    case, devices = meshes.CASES["data 2 × vocab 4"], jax.devices()[:8]
    program = meshes.compiled(case, "Auto axes", devices, BIG, jnp.float32, TILE)
    found = moved(program.as_text())
    assert all(c.times == 1 for c in found)
    n, d, v = BIG
    assert sum(c.size for c in found) <= 4 * (2 * d * v + 3 * n * d)

    h, w = put(H, "data"), put(W, None, "vocab")
    with pytest.warns(UserWarning, match="pass axis_name='vocab' to LinearLogits"):
        jax.grad(lambda w: jnp.sum(entropy(LinearLogits(h, w))))(w)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        entropy(LinearLogits(h, w, axis_name="vocab"))
        entropy(LinearLogits(h, put(W, "vocab", None)))  # of classes, none is split


@pytest.mark.parametrize("vocab_axis", [0, 1])
@pytest.mark.parametrize("name", meshes.CASES)
def test_rows_and_one_gradient_move(name, vocab_axis):
    case, devices = meshes.CASES[name], jax.devices()[:8]
    program = functools.partial(
        meshes.compiled, case, "Auto axes, named", devices, BIG, jnp.float32, TILE
    )(vocab_axis=vocab_axis)
    check_moves(case, program.as_text())


@pytest.mark.skipif(
    not aot.installed(), reason="needs the compilers of the extra `aot`"
)
@pytest.mark.parametrize("platform", ["TPU v5e", "H100"])
@pytest.mark.parametrize("name", meshes.CASES)
def test_rows_and_one_gradient_move_on_accelerators(name, platform):
    case, shape = meshes.CASES[name], (2048, 256, 16384)
    compiled = lambda way: meshes.compiled(
        case, way, meshes.devices(platform), shape, jnp.bfloat16, 512
    )
    program, explicit = compiled("Auto axes, named"), compiled("Explicit axes")
    check_moves(case, program.as_text(), shape, itemsize=2)
    temporary = lambda program: program.memory_analysis().temp_size_in_bytes
    assert temporary(program) <= temporary(explicit) + 2**16


def test_logits_of_a_named_axis_move_rows_only():
    n, v = 16, 512
    z, y = put(normal(n, v), "data", "vocab"), put(Y[:n], "data")
    loss = lambda z, y: jnp.sum(cross_entropy(Labels(y), Logits(z, axis_name="vocab")))
    text = jax.jit(jax.grad(loss)).lower(z, y).compile().as_text()
    assert sum(c.size * c.times for c in moved(text)) <= 4 * 5 * n
