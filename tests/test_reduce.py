"""A mean of pieces is the mean of the whole, and holes in the data do not spread."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st
from jax.sharding import PartitionSpec as P

from jxent import cross_entropy, Labels, Logits, Mean

rng = np.random.default_rng(0)
LOSSES = jnp.asarray(rng.gamma(2.0, size=(4, 3)), jnp.float32)
WHERE = jnp.array([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]], bool)
WEIGHTS = jnp.asarray(rng.integers(0, 4, (4, 3)), jnp.float32)
BAD = [jnp.nan, jnp.inf, -jnp.inf]


def test_is_the_weighted_average():
    expected = np.average(LOSSES, weights=np.where(WHERE, WEIGHTS, 0))
    mean = Mean.of(LOSSES, where=WHERE, weights=WEIGHTS)
    np.testing.assert_allclose(mean.value, expected, rtol=1e-6)
    np.testing.assert_allclose(Mean.of(LOSSES).value, LOSSES.mean(), rtol=1e-6)


@given(st.lists(st.integers(0, 4), min_size=3, max_size=3))
def test_unequal_pieces_merge_to_the_mean_of_the_whole(counts):
    where = jnp.arange(4)[None, :] < jnp.array(counts)[:, None]
    losses = LOSSES.T
    pieces = [Mean.of(x, where=w) for x, w in zip(losses, where, strict=True)]
    merged = functools.reduce(lambda a, b: a + b, pieces, Mean.of(jnp.zeros(0)))
    whole = Mean.of(losses, where=where)
    np.testing.assert_allclose(merged.value, whole.value, rtol=1e-6)
    np.testing.assert_array_equal(merged.weight, sum(counts))


def test_what_is_wrong_with_a_mean_of_means():
    a, b = Mean.of(jnp.array([1.0, 1.0, 1.0])), Mean.of(jnp.array([5.0]))
    assert (a.value + b.value) / 2 == 3
    assert (a + b).value == 2


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("how", ["where", "weights", "bool weights"])
def test_a_removed_element_reaches_neither_value_nor_gradient(bad, how):
    poisoned = jnp.where(WHERE, LOSSES, bad)
    mask = {
        "where": {"where": WHERE},
        "weights": {"weights": WHERE.astype(jnp.float32)},
        "bool weights": {"weights": WHERE},
    }[how]
    value, grad = jax.value_and_grad(lambda x: Mean.of(x, **mask).value)(poisoned)
    np.testing.assert_allclose(value, LOSSES[WHERE].mean(), rtol=1e-6)
    np.testing.assert_allclose(grad, WHERE.astype(jnp.float32) / 6, rtol=1e-6)
    _, tangent = jax.jvp(
        lambda x: Mean.of(x, **mask).value, (poisoned,), (jnp.ones_like(poisoned),)
    )
    np.testing.assert_allclose(tangent, 1, rtol=1e-6)


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_weight_that_where_removes_does_not_count(bad):
    weights = jnp.where(WHERE, WEIGHTS, bad)
    mean = Mean.of(LOSSES, where=WHERE, weights=weights)
    np.testing.assert_array_equal(
        mean.value, Mean.of(LOSSES, where=WHERE, weights=WEIGHTS).value
    )


def test_a_mean_of_nothing_is_zero_with_zero_gradient():
    for where in (jnp.zeros((4, 3), bool), None):
        weights = None if where is not None else jnp.zeros((4, 3))
        f = lambda x, where=where, weights=weights: Mean.of(x, where, weights).value
        value, grad = jax.value_and_grad(f)(LOSSES * jnp.nan)
        assert value == 0
        np.testing.assert_array_equal(grad, 0)
    assert Mean.of(jnp.zeros(0)).value == 0
    assert Mean.of(jnp.zeros(0)).weight.dtype == jnp.float32


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_adds_up_in_float32(dtype):
    losses = jnp.full(5000, 1.0, dtype)
    mean = Mean.of(losses, weights=losses)
    assert mean.total == mean.weight == 5000 and mean.total.dtype == jnp.float32


def test_class_weights_count_as_in_the_weighted_mean_of_pytorch():
    # torch.nn.CrossEntropyLoss(weight=w): Σ w[y] ℓ / Σ w[y]
    z = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    y, w = jnp.array([0, 2, 2, 1]), jnp.array([1.0, 5.0, 0.5])
    log_q = np.log(np.exp(z) / np.exp(z).sum(-1, keepdims=True))
    expected = -sum(w[i] * log_q[n, i] for n, i in enumerate(y)) / sum(w[y])
    losses = cross_entropy(Labels(y), Logits(z))
    np.testing.assert_allclose(Mean.of(losses, weights=w[y]).value, expected, rtol=1e-6)


def test_is_a_pytree_in_scan_and_vmap():
    step = lambda mean, xs: (mean + Mean.of(xs[0], where=xs[1]), None)
    mean, _ = jax.jit(lambda *xs: jax.lax.scan(step, Mean.of(jnp.zeros(0)), xs))(
        LOSSES, WHERE
    )
    expected = Mean.of(LOSSES, where=WHERE).value
    np.testing.assert_allclose(mean.value, expected, rtol=1e-6)
    rows = jax.vmap(lambda x, w: Mean.of(x, where=w))(LOSSES, WHERE)
    assert rows.value.shape == (4,) and rows.value[2] == 0


def test_devices_merge_by_psum_in_value_and_gradient():
    # Eight devices hold 0 to 7 valid rows each.
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x = jnp.asarray(rng.normal(size=(64, 3)), jnp.float32)
    y = jnp.asarray(rng.integers(0, 3, 64))
    where = jnp.concatenate([jnp.arange(8) < n for n in range(8)])
    w = jnp.eye(3)

    def mean(w, x, y, where):
        return Mean.of(cross_entropy(Labels(y), Logits(x @ w)), where=where)

    @functools.partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(P(), P("data"), P("data"), P("data")),
        out_specs=P(),
    )
    def over_devices(*args):
        return jax.lax.psum(mean(*args), "data")

    value = lambda f: jax.jit(jax.value_and_grad(lambda *args: f(*args).value))
    whole, slope = value(mean)(w, x, y, where)
    parts, part_slope = value(over_devices)(w, x, y, where)
    np.testing.assert_allclose(parts, whole, rtol=1e-6)
    np.testing.assert_allclose(part_slope, slope, rtol=1e-5, atol=1e-7)
    each = [
        mean(w, x[i : i + 8], y[i : i + 8], where[i : i + 8]) for i in range(0, 64, 8)
    ]
    assert abs(np.mean([m.value for m in each]) - whole) > 0.01


def test_streamed_perplexity_and_bits_weigh_tokens_not_batches():
    nats, num_bytes = [jnp.full(9, 1.0), jnp.full(1, 3.0)], [31, 3]
    mean, per_byte = Mean.of(jnp.zeros(0)), Mean.of(jnp.zeros(0))
    for x, n in zip(nats, num_bytes, strict=True):
        mean += Mean.of(x)
        per_byte += Mean(jnp.sum(x), jnp.float32(n))
    np.testing.assert_allclose(jnp.exp(mean.value), np.exp(1.2), rtol=1e-6)
    np.testing.assert_allclose(mean.value / np.log(2), 1.2 / np.log(2), rtol=1e-6)
    np.testing.assert_allclose(
        per_byte.value / np.log(2), 12 / 34 / np.log(2), rtol=1e-6
    )


def test_accuracy_is_a_mean_of_hits():
    hits = jnp.array([True, False, True, True])
    assert Mean.of(hits).value == 0.75
    assert Mean.of(hits, where=jnp.array([True, True, False, False])).value == 0.5


def test_mistakes_are_refused():
    column = jnp.ones((4, 1))
    with pytest.raises(ValueError, match=r"weights has shape \(4, 1\), .* \(4,\)"):
        Mean.of(jnp.ones(4), weights=column)
    with pytest.raises(ValueError, match="where has shape"):
        Mean.of(jnp.ones(4), where=column > 0)
    with pytest.raises(TypeError, match="are they weights"):
        Mean.of(jnp.ones(4), where=jnp.ones(4))  # pyright: ignore
    with pytest.raises(TypeError):
        Mean.of(jnp.ones(4)) + 1.0  # pyright: ignore
