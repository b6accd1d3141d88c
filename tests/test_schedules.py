"""What accelerators compute is what the CPU computes, in another order of summation.

The forms for accelerators run here on the CPU, with the sums of a row in the order that
an accelerator has: lanes that stride over the classes, and then halves that are merged.
"""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from test_contract import confident, normwise, ulps
from test_masks import ALIKE, ALONE, APART, assert_right, FAR

import jxent
from jxent import Labels, Logits, Probs
from jxent._core import schedules

LANES = 128


def lane_wise(classes, nothing, merge):
    """`merge_rows`, in the order of a vector unit."""
    k = classes[0].shape[-1]
    lanes = min(LANES, 1 << (k - 1).bit_length())
    rest = -k % lanes
    columns = []
    for x, fill in zip(classes, nothing, strict=True):
        width = [(0, 0)] * (x.ndim - 1) + [(0, rest)]
        padded = jnp.pad(x, width, constant_values=jnp.asarray(fill, x.dtype))
        columns.append(jnp.moveaxis(padded.reshape(*x.shape[:-1], -1, lanes), -2, 0))
    first = [x[0] for x in columns]
    merged, _ = jax.lax.scan(
        lambda kept, new: (list(merge(kept, new)), None),
        first,
        [x[1:] for x in columns],
    )
    while lanes > 1:
        lanes //= 2
        merged = merge(
            [x[..., :lanes] for x in merged], [x[..., lanes:] for x in merged]
        )
    return merged


@pytest.fixture(autouse=True)
def accelerator(monkeypatch):
    def choose(*args, cpu, accelerator):
        return accelerator(*args)

    jax.clear_caches()
    monkeypatch.setattr(schedules, "by_platform", choose)
    monkeypatch.setattr(schedules, "merge_rows", lane_wise)
    yield
    jax.clear_caches()


@pytest.mark.parametrize("k", [3, 3000])
def test_confident_rows_keep_their_digits(k):
    z = confident(k, [0, 0.25, 4, 12, 20, 40, 70], [0, 1e6])
    y = jnp.ones(len(z), jnp.int32)

    @jax.jit
    def everything(z):
        label = lambda z: jxent.cross_entropy(Labels(y), Logits(z))
        entropy = lambda z: jxent.entropy(Logits(z))
        soft = lambda z: jxent.cross_entropy(Probs(jax.nn.one_hot(y, k)), Logits(z))
        slope = lambda f: jax.grad(lambda z: f(z).sum())(z)
        return [(f(z), slope(f)) for f in (label, soft, entropy)]

    *labels, (h, h_slope) = everything(z)
    right = oracles.label_cross_entropy64(z, np.asarray(y))
    p = np.exp(np.float64(z) - np.float64(z).max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    slope = np.where(np.arange(k) == 1, np.expm1(-right)[:, None], p)
    for loss, loss_slope in labels:
        bound = np.where(np.arange(len(z)) % 7 >= 5, 64, 8)
        assert (ulps(loss, right) <= bound).all(), ulps(loss, right).max()
        off = normwise(loss_slope, slope)
        assert (off <= 1e-5).all(), off
    right = oracles.entropy64(z)
    assert (ulps(h, right) <= 8).all(), ulps(h, right).max()
    lag = np.float64(z).max(-1, keepdims=True) - z
    mean = (p * np.where(p > 0, lag, 0)).sum(-1, keepdims=True)
    assert (normwise(h_slope, p * (lag - mean)) <= 1e-5).all()


@pytest.mark.parametrize("distance", [1e-6, 1e-3, 0.1, 1, 10])
def test_kl_of_logits_keeps_its_digits(distance):
    rng = np.random.default_rng(0)
    a = np.float32(rng.normal(0, 3, (2, 300)) + np.array([[0], [1e4]]))
    b = np.float32(a + distance * rng.normal(size=a.shape))
    definition = oracles.at(oracles.kl_divergence, Logits, Logits)
    right = oracles.rows(definition, a, b)
    p = oracles.rows(oracles.softmax, a)
    d = oracles.rows(lambda a, b: oracles.softmax(b) - oracles.softmax(a), a, b)
    gap = oracles.rows(lambda a, b: b - a, a, b)
    gap -= (p * gap).sum(-1, keepdims=True)
    kl = lambda a, b: jxent.kl_divergence(Logits(a), Logits(b))
    both = jax.jit(
        lambda a, b: (kl(a, b), jax.grad(lambda *x: kl(*x).sum(), (0, 1))(a, b))
    )
    value, (by_a, by_b) = both(a, b)
    np.testing.assert_allclose(value, right, rtol=1e-6)
    assert (normwise(by_b, d) <= 5e-6).all(), normwise(by_b, d)
    assert (normwise(by_a, -p * gap) <= 5e-6).all(), normwise(by_a, -p * gap)
    same, slopes = both(a, a)
    assert not np.any(same) and not any(map(np.any, slopes))


def test_masks():
    entropy = lambda z: jxent.entropy(Logits(z))
    assert_right(entropy, oracles.at(oracles.entropy, Logits), [(z,) for z in ALONE])
    label = lambda z: jxent.cross_entropy(Labels(jnp.array(0)), Logits(z))
    cost = lambda z: oracles.cross_entropy(oracles.one_hot(0, 5), oracles.softmax(z))
    assert_right(label, cost, [(z,) for z in ALONE])
    kl = lambda a, b: jxent.kl_divergence(Logits(a), Logits(b))
    far = list(FAR.values())
    definition = oracles.at(oracles.kl_divergence, Logits, Logits)
    assert_right(kl, definition, ALIKE + APART + far)


def test_a_smoothed_label():
    z = jnp.array([[0.5, -1.5, 3.0], [2.0, 0.0, -4.0]])
    y, s = jnp.array([2, 1]), 0.25
    f = lambda z: jxent.cross_entropy(Labels(y, s), Logits(z))
    right = -jnp.sum(
        ((1 - s) * jax.nn.one_hot(y, 3) + s / 3) * jax.nn.log_softmax(z), axis=-1
    )
    np.testing.assert_allclose(f(z), right, rtol=1e-6)


def test_a_row_without_any_class_is_nan():
    z = jnp.full((1, 4), -jnp.inf)
    with jxent.checks.mode("off"):
        assert jnp.isnan(jxent.entropy(Logits(z)))
        assert jnp.isnan(jxent.kl_divergence(Logits(z), Logits(z * 0)))


FUNCTIONS = {
    "label": lambda z: jxent.cross_entropy(Labels(jnp.arange(len(z))), Logits(z)),
    "entropy": lambda z: jxent.entropy(Logits(z)),
    "soft": lambda z: jxent.cross_entropy(Probs(jax.nn.softmax(z[:, ::-1])), Logits(z)),
    "KL": lambda z: jxent.kl_divergence(Logits(z), Logits(z[:, ::-1])),
}
Z = np.float32(np.random.default_rng(0).normal(size=(4, 7)))


def gradient(f):
    return lambda z: jax.grad(lambda z: f(z).sum())(z)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_shards_of_rows_and_mapped_rows(name):
    f = FUNCTIONS[name]
    expected = f(Z), gradient(f)(Z)
    if name != "label":  # whose labels are those of the whole batch
        mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
        rows = jax.P("x")
        both = jax.shard_map(
            lambda z: (f(z), gradient(f)(z)), mesh=mesh, in_specs=rows, out_specs=rows
        )
        for got, want in zip(jax.jit(both)(Z), expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-7)
    mapped = jax.vmap(lambda z: f(z[None])[0])(Z[:1])
    np.testing.assert_allclose(mapped, expected[0][:1], rtol=2e-6)


def test_batches_broadcast():
    one, other = Z[:2, None], Z[None, 2:]
    for p in (Logits, lambda z: Probs(jax.nn.softmax(z))):
        for f in (jxent.cross_entropy, jxent.kl_divergence):
            value = lambda a, b, p=p, f=f: f(p(a), Logits(b))
            table = jax.vmap(jax.vmap(value, (None, 0)), (0, None))(Z[:2], Z[2:])
            np.testing.assert_allclose(value(one, other), table, rtol=2e-6)
            slope = jax.grad(lambda a, b, v=value: v(a, b).sum())(one, other)
            assert slope.shape == one.shape
