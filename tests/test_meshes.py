"""On meshes with Auto or Explicit axes, losses are the same numbers, cheaply moved."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

from jxent import cross_entropy, Labels, Logits, losses

N, K, M = 8, 512, 3
rng = np.random.default_rng(0)
normal = lambda: rng.normal(size=(N, K)).astype("f4") * 2
softmax = lambda z: np.exp(z) / np.exp(z).sum(-1, keepdims=True)
TEACHER = normal()
TOLD = np.argsort(-TEACHER, -1)[:, :M].astype("i4")
LABELS = rng.integers(0, K, N).astype("i4")
EXIST = rng.random((N, K)) < 0.8
EXIST[np.arange(N), LABELS] = True
LABELS[2] = -100

# What each is, and how it lies on a mesh with a "data" and a "vocab" axis.
DATA = {
    "z": (normal(), P("data", "vocab")),
    "teacher": (TEACHER, P("data", "vocab")),
    "t": (softmax(TEACHER), P("data", "vocab")),
    "events": ((rng.random((N, K)) < 0.5).astype("f4"), P("data", "vocab")),
    "exist": (EXIST, P("data", "vocab")),
    "y": (LABELS, P("data")),
    "action": (np.maximum(LABELS, 0), P("data")),
    "w": (np.linspace(0.5, 2.0, K, dtype="f4"), P("vocab")),
    "told": (TOLD, P("data", None)),
    "log_told": (
        np.take_along_axis(np.log(softmax(TEACHER)), TOLD, -1),
        P("data", None),
    ),
}
hard = functools.partial(
    losses.softmax_cross_entropy_with_integer_labels, ignore_index=-100
)
options = {"label_smoothing": 0.1, "z_loss": 1e-2}
LOSSES = {
    "integer labels": lambda z, y, **_: hard(z, y),
    "every option": lambda z, y, w, exist, **_: hard(
        z, y, class_weights=w, where=exist, **options
    ),
    "soft targets": lambda z, t, w, **_: losses.softmax_cross_entropy(
        z, t, class_weights=w, **options
    ),
    "poly": lambda z, y, w, **_: losses.poly_loss_cross_entropy(
        z, y, ignore_index=-100, class_weights=w
    ),
    "binary": lambda z, events, w, **_: losses.sigmoid_binary_cross_entropy(
        z, events, pos_weight=w
    ).sum(-1),
    "kl": lambda z, t, **_: losses.kl_divergence(jax.nn.log_softmax(z), t),
    "distillation": lambda z, teacher, y, **_: (
        losses.distillation_loss(z, teacher, y, hard_weight=0.5, ignore_index=-100).loss
    ),
    "shortened teacher": lambda z, log_told, told, **_: (
        losses.distillation_loss(z, log_told, teacher_classes=told).loss
    ),
    "policy": lambda z, action, **_: sum(losses.log_prob_and_entropy(z, action)),
    "sparsemax": lambda z, action, **_: losses.multiclass_sparsemax_loss(z, action),
    "labels, probabilities": lambda z, action, t, **_: cross_entropy(
        Labels(action), jax.nn.softmax(z) + 0 * t
    ),
    "labels, logits": lambda z, action, **_: cross_entropy(
        Labels(action, smoothing=0.1), Logits(z)
    ),
}


def of(loss):
    def total(z, rest):
        rows = loss(z=z, **rest)
        return jnp.sum(rows), rows

    return jax.jit(jax.grad(total, has_aux=True))


@functools.cache
def alone(name):
    data = {key: jnp.asarray(x) for key, (x, _) in DATA.items()}
    return of(LOSSES[name])(data.pop("z"), data)


def moved(text):
    """How many numbers each collective of a compiled program moves."""
    kinds = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    for shapes in re.findall(rf" = (.*?) (?:{kinds})(?:-start)?\(", text):
        for sizes in re.findall(r"\w+\[([\d,]*)\]", shapes):
            yield math.prod(int(n) for n in sizes.split(",") if n)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_shards_agree_and_move_rows_only(name, kind):
    mesh = jax.make_mesh((2, 4), ("data", "vocab"), axis_types=(kind, kind))
    data = {
        key: jax.device_put(x, NamedSharding(mesh, spec))
        for key, (x, spec) in DATA.items()
    }
    program = of(LOSSES[name]).lower(data.pop("z"), data).compile()
    z = jax.device_put(DATA["z"][0], NamedSharding(mesh, DATA["z"][1]))
    for got, expected in zip(program(z, data), alone(name), strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6)
    if name != "sparsemax":  # which sorts
        assert all(n <= 2 * N * (M + 1) for n in moved(program.as_text()))
