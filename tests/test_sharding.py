"""A projection over several devices: the same numbers, and no array of its size moves."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

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
        log_sum = jax.nn.logsumexp if axis_name is None else _log_sum_of_shards
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
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max(initial=0))


@each_measure
def test_named_axis_agrees_with_one_device(name):
    rows = over_shards(rows_of(name, "vocab"), (P("data"), *SPECS), P("data"))
    close(everything(rows)(LABELS, CT, VALUES, DOTS), alone(name))


@each_measure
def test_gradients_taken_inside_of_shard_map_agree(name):
    def gradient(y, ct, *values):
        def total(*values):
            here = jnp.sum(ct * rows_of(name, "vocab")(y, *values))
            return jax.lax.psum(here, "data")

        return jax.grad(total, argnums=tuple(range(len(values))))(*values)

    specs = P("data"), P("data"), *SPECS
    got = jax.jit(over_shards(gradient, specs, SPECS))(LABELS, CT, *VALUES)
    close(got, alone(name)[1])


@each_measure
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
