"""A projection over several devices: the same numbers, and no array of its size moves."""

import functools
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

from bench import aot, meshes
from bench.hlo import moved
from jxent import (
    cross_entropy,
    entropy,
    js_divergence,
    kl_divergence,
    Labels,
    LinearLogits,
    Logits,
    LogProbs,
    Probs,
)
from jxent._core.meshes import is_manual

HERE = str(Path(__file__).parent)
N, D, V = 8, 5, 40
SMALL = 3  # classes at once, so that there are many tiles and a narrower last one
rng = np.random.default_rng(0)
normal = lambda *shape: rng.normal(size=shape).astype("f4")
DATA = {
    "h": (normal(N, D), P("data")),
    "w": (normal(D, V), P(None, "vocab")),
    "b": (normal(V), P("vocab")),
    "h2": (normal(N, D), P("data")),
    "w2": (normal(V, D), P("vocab")),
    "z": (normal(N, V), P("data", "vocab")),
}
VALUES = tuple(x for x, _ in DATA.values())
SPECS = tuple(spec for _, spec in DATA.values())
DOTS = tuple(normal(*x.shape) for x in VALUES)
CT, LABELS = normal(N), rng.integers(0, V, N).astype("i4")


class Views:
    """The distributions that a measure may get, of all classes or of a shard."""

    def __init__(self, axis_name, h, w, b, h2, w2, z):
        axis = {"axis_name": axis_name}
        self.linear = LinearLogits(h, w, b, 1.3, softcap=3.0, block_size=SMALL, **axis)
        self.tied = LinearLogits(h2, w2, vocab_axis=0, block_size=SMALL, **axis)
        self.logits = Logits(-0.5 * z, **axis)
        log_sum = _log_sum_of_shards if is_manual(axis_name) else jax.nn.logsumexp
        log_p = z - log_sum(z, -1)[..., None]
        self.probs = Probs(jnp.exp(log_p), **axis)
        self.log_probs = LogProbs(log_p, **axis)


def _log_sum_of_shards(z, axis):
    return jnp.log(jax.lax.psum(jnp.sum(jnp.exp(z), axis), "vocab"))


MEASURES = {
    "entropy": lambda y, v: entropy(v.linear),
    "labels": lambda y, v: cross_entropy(Labels(y), v.linear),
    "smoothed": lambda y, v: cross_entropy(Labels(y, 0.1), v.linear),
    "soft": lambda y, v: cross_entropy(v.probs, v.linear),
    "two projections": lambda y, v: cross_entropy(v.tied, v.linear),
    "kl": lambda y, v: kl_divergence(v.tied, v.linear),
    "kl of smoothed": lambda y, v: kl_divergence(Labels(y, 0.1), v.tied),
    "kl from logits": lambda y, v: kl_divergence(v.logits, v.linear),
    "js": lambda y, v: js_divergence(v.linear, v.log_probs, weight=0.3),
    "dense entropy": lambda y, v: entropy(v.probs) + entropy(v.logits),
    "dense labels": lambda y, v: cross_entropy(Labels(y, 0.1), v.logits),
    "dense pair": lambda y, v: js_divergence(v.log_probs, v.logits),
}
each_measure = pytest.mark.parametrize("name", MEASURES)


def rows_of(name, axis_name=None):
    return lambda y, *arrays: MEASURES[name](y, Views(axis_name, *arrays))


def everything(rows):
    """A program for the rows, the gradient of their weighted sum, and its change."""

    def program(y, ct, values, dots):
        total = lambda *values: jnp.sum(ct * rows(y, *values))
        gradient = jax.grad(total, argnums=tuple(range(len(values))))
        return rows(y, *values), *jax.jvp(gradient, values, dots)

    return jax.jit(program)


@functools.cache
def alone(name):
    return everything(rows_of(name))(LABELS, CT, VALUES, DOTS)


def mesh_of(kind=AxisType.Auto, shape=(2, 4), names=("data", "vocab")):
    return jax.make_mesh(shape, names, axis_types=(kind,) * len(names))


def over_shards(function, in_specs, out_specs, mesh=None):
    return jax.shard_map(
        function, mesh=mesh or mesh_of(), in_specs=in_specs, out_specs=out_specs
    )


def close(got, expected, rtol=1e-5):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(
            a, b, rtol=rtol, atol=rtol * np.abs(b).max(initial=0)
        )


@each_measure
def test_named_axis_agrees_with_one_device(name):
    rows = over_shards(rows_of(name, "vocab"), (P("data"), *SPECS), P("data"))
    close(everything(rows)(LABELS, CT, VALUES, DOTS), alone(name))


@pytest.mark.parametrize("name", ["smoothed", "kl", "dense pair"])
def test_gradients_taken_inside_of_shard_map_agree(name):
    def gradient(y, ct, *values):
        def total(*values):
            here = jnp.sum(ct * rows_of(name, "vocab")(y, *values))
            return jax.lax.psum(here, "data")

        return jax.grad(total, argnums=tuple(range(len(values))))(*values)

    specs = P("data"), P("data"), *SPECS
    got = jax.jit(over_shards(gradient, specs, SPECS))(LABELS, CT, *VALUES)
    close(got, alone(name)[1])


@pytest.mark.parametrize("name", [name for name in MEASURES if "dense" not in name])
def test_explicit_axes_agree_with_one_device(name):
    mesh = mesh_of(AxisType.Explicit)
    put = lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec))
    values = tuple(map(put, VALUES, SPECS))
    dots = tuple(map(put, DOTS, SPECS))
    y, ct = put(LABELS, P("data")), put(CT, P("data"))
    program = everything(rows_of(name))
    got = program(y, ct, values, dots)
    close(got, alone(name))
    for gradient, value in zip(got[1], values, strict=True):
        assert jax.typeof(gradient) == jax.typeof(value)


# How the weight [d, v] and the hidden states [n, d] may lie on Explicit axes.
LAYOUTS = {
    "tokens": (P(), P("data")),
    "vocabulary over all": (P(None, ("data", "vocab")), P()),
    "fully sharded": (P("data", "vocab"), P("data")),
    "fully sharded along classes": (P(None, ("vocab", "data")), P("data")),
    "the other way around": (P(None, ("data", "vocab")), P("data")),
    "hidden axis": (P("vocab", None), P("data", "vocab")),
}


@pytest.mark.parametrize("weight, hidden", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_any_layout_on_explicit_axes_agrees(weight, hidden):
    mesh = mesh_of(AxisType.Explicit)
    put = lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec))
    h, w = np.tile(VALUES[0], (1, 8)), np.tile(VALUES[1], (8, 1))

    def total(h, w, y):
        rows = cross_entropy(Labels(y, 0.1), LinearLogits(h, w, block_size=SMALL))
        return jnp.sum(rows * jnp.arange(1.0, N + 1))

    program = jax.jit(jax.value_and_grad(total, (0, 1)))
    got = program(put(h, hidden), put(w, weight), put(LABELS, P("data")))
    close(got, program(h, w, LABELS))
    assert jax.typeof(got[1][1]) == jax.typeof(put(w, weight))


@pytest.mark.parametrize("nested", [False, True], ids=["", "nested"])
@pytest.mark.parametrize("axis", [0, 1])
def test_vmap_over_tokens_that_are_sharded(axis, nested):
    mesh = mesh_of(AxisType.Explicit)
    put = lambda x, *spec: jax.device_put(x, NamedSharding(mesh, P(*spec)))
    h, y = normal(N, 6, D).swapaxes(0, axis), rng.integers(0, V, (N, 6)).astype("i4")
    y, w = y.swapaxes(0, axis), VALUES[1]
    rows = lambda h, w, y: cross_entropy(
        Labels(y), LinearLogits(h, w, block_size=SMALL)
    )
    rows = jax.vmap(rows, (0, None, 0)) if nested else rows
    each = jax.vmap(rows, (axis, None, axis), axis)
    weights = jnp.arange(1.0, y.size + 1).reshape(y.shape)
    total = lambda h, w, y: jnp.sum(weights * each(h, w, y))
    program = jax.jit(jax.value_and_grad(total, (0, 1)))
    split = [None, None]
    split[axis] = "data"
    args = put(h, *split), put(w, None, "vocab"), put(y, *split)
    close(program(*args), program(h, w, y))
    text = program.lower(*args).compile().as_text()
    assert all(c.times == 1 for c in moved(text))  # of the weight's gradient too


def test_vmap_over_tokens_on_a_mesh_that_splits_nothing():
    mesh = mesh_of(AxisType.Explicit)
    put = lambda x: jax.device_put(x, NamedSharding(mesh, P()))
    y, w = rng.integers(0, V, (3, N)).astype("i4"), VALUES[1]
    row = lambda h, w, y: cross_entropy(Labels(y), LinearLogits(h, w, block_size=SMALL))
    total = lambda h, w, y: jnp.sum(jax.vmap(row, (0, None, 0))(h, w, y))
    args = normal(3, N, D), w, y
    program = jax.jit(jax.value_and_grad(total, (0, 1)))
    close(program(*map(put, args)), program(*args))


def test_shards_of_padding_alone_change_nothing():
    real = (
        13  # of 40 classes: a shard that is full, one that is not, and two of padding
    )
    w = VALUES[1].copy()
    w[:, real:] = 100 * rng.normal(size=(D, V - real))
    bias = np.where(np.arange(V) < real, VALUES[2], -np.inf).astype("f4")
    y = LABELS % real
    measures = lambda q, y: cross_entropy(Labels(y), q) + entropy(q)
    padded = lambda axis_name: (
        lambda y, h, w, b: measures(
            LinearLogits(h, w, b, block_size=SMALL, axis_name=axis_name), y
        )
    )
    specs = P("data"), *SPECS[:3]
    values, dots = (VALUES[0], w, bias), DOTS[:3]
    rows = over_shards(padded("vocab"), specs, P("data"))
    got = everything(rows)(y, CT, values, dots)
    cut = lambda arrays: (arrays[0], arrays[1][:, :real], arrays[2][:real])
    expected = everything(padded(None))(y, CT, cut(values), cut(dots))
    close((got[0], *map(cut, got[1:])), expected)
    for _, of_weight, of_bias in got[1:]:
        assert not of_weight[:, real:].any() and not of_bias[real:].any()


def test_shards_of_one_distribution_alone_are_an_error_that_says_so():
    z = VALUES[-1]
    here = lambda p, z: kl_divergence(p, Logits(z, axis_name="vocab"))
    for spec in (P("data"), P("data", "vocab")):  # all classes, and a shard of them
        specs = spec, P("data", "vocab")
        with pytest.raises(ValueError, match="of p is None and that of q 'vocab'"):
            over_shards(here, specs, P("data"))(jax.nn.softmax(z), z)


@pytest.mark.parametrize("way", ["shard_map", "Explicit axes"])
@pytest.mark.parametrize("name", meshes.CASES)
def test_rows_and_one_gradient_move(name, way):
    case = meshes.CASES[name]
    program = meshes.compiled(case, way, jax.devices()[:8], BIG, jnp.float32, TILE)
    check_moves(case, program.as_text())


BIG, TILE = (64, 16, 4096), 128  # tokens, hidden axis, vocabulary; classes at once
ROWS = 5  # numbers per token that may move between shards of the vocabulary


def check_moves(case, text, shape=BIG, itemsize=4):
    n, d, v = shape
    here, shards = n // case.axes.get("data", 1), case.axes.get("vocab", 1)
    found = moved(text)
    assert all(c.times == 1 for c in found)
    whole, hidden = itemsize * d * v // shards, itemsize * d * here
    of = lambda kind: sum(c.size for c in found if c.kind == kind)
    rows = hidden * ("vocab" in case.axes) + 4 * ROWS * here
    if case.weight[1]:  # fully sharded: in by parts, out by parts
        assert of("all-gather") == whole
        # Of a small array, TPU's compiler prefers to add up the whole. On Auto axes CPU's
        # does so too, as it does for the dense program.
        scattered = case.axes["data"] * of("reduce-scatter")
        assert whole <= scattered + of("all-reduce") <= whole + rows
    else:
        assert {c.kind for c in found} <= {"all-reduce"}
        gradients = whole * ("data" in case.axes) + hidden * ("vocab" in case.axes)
        assert gradients <= of("all-reduce") <= gradients + 4 * ROWS * here


@pytest.mark.skipif(
    not aot.installed(), reason="needs the compilers of the extra `aot`"
)
@pytest.mark.parametrize("platform", ["TPU v5e", "H100"])
@pytest.mark.parametrize("name", meshes.CASES)
def test_rows_and_one_gradient_move_on_accelerators(name, platform):
    case, shape, devices = (
        meshes.CASES[name],
        (2048, 256, 16384),
        meshes.devices(platform),
    )
    program = meshes.compiled(case, "Explicit axes", devices, shape, jnp.bfloat16, 512)
    check_moves(case, program.as_text(), shape, itemsize=2)


# With Auto axes no type says how arrays are split.


@pytest.mark.parametrize("name", ["smoothed", "kl from logits"])
def test_auto_axes_agree_with_one_device(name):
    put = lambda x, spec: jax.device_put(x, NamedSharding(mesh_of(), spec))
    values, dots = tuple(map(put, VALUES, SPECS)), tuple(map(put, DOTS, SPECS))
    y, ct = put(LABELS, P("data")), put(CT, P("data"))
    close(everything(rows_of(name))(y, ct, values, dots), alone(name))


def test_tokens_on_auto_axes_gather_nothing():
    case, devices = meshes.CASES["data 8"], jax.devices()[:8]
    program = meshes.compiled(case, "Auto axes", devices, BIG, jnp.float32, TILE)
    found = moved(program.as_text())
    assert {c.kind for c in found} == {"all-reduce"}
    # Tile by tile, but no more of it than the gradient of the weight, and the loss.
    assert sum(c.size * c.times for c in found) <= 4 * (BIG[1] * BIG[2] + 1)


def test_auto_axes_are_made_explicit():
    mesh, rows = mesh_of(), rows_of("smoothed")

    def total(values, ct):
        of_tokens = jax.sharding.explicit_axes(
            lambda y, ct, *values: jnp.sum(ct * rows(y, *values)),
            in_sharding=(P("data"), P("data"), *SPECS),
        )
        return of_tokens(LABELS, ct, *values)

    put = lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec))
    values, ct = tuple(map(put, VALUES, SPECS)), put(CT, P("data"))
    with jax.set_mesh(mesh):
        program = jax.jit(jax.grad(total)).lower(values, ct).compile()
    close(program(values, ct), alone("smoothed")[1])
    kinds = {c.kind for c in moved(program.as_text())}
    assert kinds == {"all-reduce"}


# Two processes of two devices each.

WORKER = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(
    sys.argv[1], 2, int(sys.argv[2]),
    initialization_timeout=60, heartbeat_timeout_seconds=10,
)
import test_sharding
test_sharding.agrees_between_processes()
"""


def agrees_between_processes():
    """What each process runs: the tokens are split between the two of them."""
    mesh = jax.make_mesh((2, 2), ("data", "vocab"))  # with Explicit axes
    put = lambda x, spec: jax.make_array_from_callback(
        x.shape, NamedSharding(mesh, spec), lambda index: x[index]
    )

    def total(arrays, y, ct):
        rows = cross_entropy(Labels(y, 0.1), LinearLogits(*arrays, block_size=SMALL))
        return jnp.sum(ct * rows)

    program = jax.jit(jax.value_and_grad(total))
    arrays = tuple(map(put, VALUES[:3], SPECS[:3]))
    got = program(arrays, put(LABELS, P("data")), put(CT, P("data")))
    expected = program(VALUES[:3], LABELS, CT)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        for shard in a.addressable_shards:
            close(shard.data, np.asarray(b)[shard.index])


def test_two_processes_agree_with_one():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, HERE])}
    environment.pop("JAX_NUM_CPU_DEVICES")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, address, str(i)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    try:
        said = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
