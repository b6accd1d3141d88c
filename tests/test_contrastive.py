"""Losses of two towers, against dense float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from relatives import generator

from jxent import losses

N, D = 32, 8


def towers():
    rng = generator("towers")
    a = rng.standard_normal((N, D))
    b = a + 0.5 * rng.standard_normal((N, D))
    unit = lambda x: np.float32(x / np.linalg.norm(x, axis=-1, keepdims=True))
    return unit(a), unit(b)


A, B = towers()
T, C = np.float32(0.07), np.float32(-3.0)


def nce(a, b, t, c):
    z = a @ b.T / t
    one = lambda z: jax.nn.logsumexp(z, axis=-1) - jnp.diag(z)
    return (one(z) + one(z.T)) / 2


def siglip(a, b, t, c):
    z = a @ b.T / t + c
    return jnp.sum(jax.nn.softplus(jnp.where(jnp.eye(len(z)) == 1, -z, z)), -1)


LOSSES = {
    "contrastive_loss": (
        lambda a, b, t, c, **o: losses.contrastive_loss(a, b, temperature=t, **o),
        nce,
    ),
    "sigmoid_contrastive_loss": (
        lambda a, b, t, c, **o: losses.sigmoid_contrastive_loss(
            a, b, temperature=t, bias=c, **o
        ),
        siglip,
    ),
}


def dense64(f):
    with jax.enable_x64(True):
        wide = [jnp.asarray(x, jnp.float64) for x in (A, B, T, C)]
        slopes = jax.grad(lambda *x: f(*x).sum(), (0, 1, 2, 3))(*wide)
        return np.asarray(f(*wide)), [np.asarray(x) for x in slopes]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("devices", [1, 8])
def test_losses_and_slopes_are_those_of_dense_float64(name, devices):
    f, truth = LOSSES[name]
    options = {"block_size": 12} if devices == 1 else {"axis_name": "pairs"}

    def here(a, b, t, c):
        slopes = jax.grad(lambda *x: f(*x, **options).sum(), (0, 1, 2, 3))
        return f(a, b, t, c, **options), slopes(a, b, t, c)

    if devices > 1:
        mesh = jax.make_mesh((8,), ("pairs",), axis_types=(jax.sharding.AxisType.Auto,))
        pairs, one = PartitionSpec("pairs"), PartitionSpec()
        here = jax.shard_map(
            here,
            mesh=mesh,
            in_specs=(pairs, pairs, one, one),
            out_specs=(pairs, (pairs, pairs, one, one)),
        )
    (got, slopes), (want, of_want) = jax.jit(here)(A, B, T, C), dense64(truth)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    for x, y in zip(slopes, of_want, strict=True):
        assert np.linalg.norm(x - y) <= 1e-5 * np.linalg.norm(y)


@pytest.mark.parametrize("name", LOSSES)
def test_no_table_of_pairs_is_stored(name):
    n, f = 4096, LOSSES[name][0]
    x, one = (
        jax.ShapeDtypeStruct((n, D), jnp.float32),
        jax.ShapeDtypeStruct((), jnp.float32),
    )
    both = jax.value_and_grad(lambda *x: f(*x, block_size=256).sum(), (0, 1, 2, 3))
    memory = jax.jit(both).lower(x, x, one, one).compile().memory_analysis()
    assert memory.temp_size_in_bytes < n * n * 4 / 2


def test_confident_pairs_keep_their_digits():
    a = np.eye(4, dtype=np.float32)
    loss = losses.contrastive_loss(a, a, temperature=0.02)
    np.testing.assert_allclose(loss, np.log1p(3 * np.exp(-50.0)), rtol=1e-5)
    slope = jax.grad(lambda t: losses.contrastive_loss(a, a, temperature=t).sum())(0.02)
    assert slope > 0
    loss = losses.sigmoid_contrastive_loss(a, a, temperature=0.01, bias=-50.0)
    np.testing.assert_allclose(loss, 4 * np.exp(-50.0), rtol=1e-5)


def test_reductions():
    each = losses.contrastive_loss(A, B, temperature=T)
    mean = losses.contrastive_loss(A, B, temperature=T, reduction="mean")
    np.testing.assert_allclose(mean, each.mean(), rtol=1e-6)
    w = np.float32(np.arange(N) % 2)
    total = losses.sigmoid_contrastive_loss(A, B, weights=w, reduction="sum")
    each = losses.sigmoid_contrastive_loss(A, B)
    np.testing.assert_allclose(total, (w * each).sum(), rtol=1e-6)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="one row of each"):
        losses.contrastive_loss(A, B[:-1])
    with pytest.raises(ValueError, match="temperature"):
        losses.contrastive_loss(A, B, temperature=0.0)
    with pytest.raises(TypeError, match="int"):
        losses.contrastive_loss(np.ones((2, 2), int), np.ones((2, 2), int))
