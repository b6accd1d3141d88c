"""The divergences beside KL: digits, limits, views and laws, for one table of them all."""

import functools
import itertools
import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import oracles_of_relatives as truth
import pytest
from jax.sharding import PartitionSpec

import jxent
from jxent import (
    BinaryLogits,
    BinaryProbs,
    Labels,
    LinearLogits,
    Logits,
    LogProbs,
    Probs,
)

ROWS, K = 4, 5
INF = math.inf
MEASURES = (
    "alpha_divergence",
    "renyi_divergence",
    "jeffreys_divergence",
    "squared_hellinger",
    "bhattacharyya_distance",
    "chi2_divergence",
    "total_variation",
)
ORDER = {"alpha_divergence": "alpha", "renyi_divergence": "order"}
ORDERS = {
    "alpha_divergence": (-2.0, 0.0, 1e-4, 0.5, 0.9999, 1.0, 2.0, 6.0),
    "renyi_divergence": (1e-3, 0.5, 0.9999, 1.0, 1.0001, 2.0, 6.0),
}
each_measure = pytest.mark.parametrize("name", MEASURES)


def measure(name):
    """As a function of p, q and the order, which most of them do not have."""
    f, keyword = getattr(jxent, name), ORDER.get(name)
    return lambda p, q, a: f(p, q, **({keyword: a} if keyword else {}))


def exactly(name, p, q, a):
    return getattr(truth, name)(p, q, *([a] if name in ORDER else []))


def generator(*seed):
    return np.random.default_rng(zlib.crc32(repr(seed).encode()))


def pair(distance, *seed):
    """Rows of logits, and others that far from them, the leading class left alone."""
    rng = generator(distance, *seed)
    a = 2 * rng.standard_normal((ROWS, K))
    return np.float32(a), np.float32(a + distance * rng.standard_normal(a.shape))


def normwise(got, want, axis=-1):
    error = np.linalg.norm(np.asarray(got, np.float64) - want, axis=axis)
    return error / np.maximum(np.linalg.norm(want, axis=axis), 1e-37)


def softmax32(z):
    e = np.exp(np.float64(z) - np.max(z, -1, keepdims=True))
    return np.float32(e / e.sum(-1, keepdims=True))


# ------------------------------------------------------------------ digits

DATA = {  # the data of rows of logits
    Probs: softmax32,
    LogProbs: lambda z: np.log(softmax32(z)),
    Logits: np.float32,
    BinaryProbs: lambda z: softmax32(np.stack([z, 0 * z], -1))[..., 0],
    BinaryLogits: np.float32,
}
BINARY = BinaryProbs, BinaryLogits
CASES = [
    *itertools.product(MEASURES[:3], [Probs, Logits, BinaryProbs]),
    *itertools.product(MEASURES[:1], [LogProbs, BinaryLogits]),
    *itertools.product(MEASURES[3:], [Logits]),
]


@pytest.mark.parametrize("name, kind", CASES)
def test_values_and_slopes_keep_their_digits_near_and_far(name, kind):
    f = measure(name)
    by_row = jax.value_and_grad(lambda p, q, a: f(kind(p), kind(q), a), argnums=(0, 1))
    by_row = jax.jit(jax.vmap(by_row, (0, 0, None)))
    for distance, a in itertools.product(
        (2.0, 0.1, 1e-3, 1e-6), ORDERS.get(name, (1.0,))
    ):
        p, q = map(DATA[kind], pair(distance, name))
        if kind in BINARY:
            p, q = p[:, 0], q[:, 0]
        values, slopes = by_row(p, q, np.float32(a))
        exact = oracles.at(
            lambda p, q: exactly(name, p, q, float(np.float32(a))), kind, kind
        )
        for i in range(2):
            row = [oracles.exact(x[i]) for x in (p, q)]
            want = float(exact(*(x[()] for x in row)))
            assert abs(values[i] - want) <= 3e-6 * want
            if distance == 2 and kind is Probs:
                continue  # up to a constant, which no row that adds up to 1 sees
            at = (lambda x, y: exact(x[0], y[0])) if kind in BINARY else exact
            for got, want in zip(
                slopes, oracles.gradient(at, *map(np.atleast_1d, row))
            ):
                assert normwise(np.atleast_1d(got[i]), want.astype(float)) <= 1e-5


def test_slopes_with_respect_to_the_order():
    p, q = map(softmax32, pair(1.0, "order"))
    by_row = lambda f: jax.jit(jax.vmap(jax.grad(f, argnums=2), (0, 0, None)))
    at = lambda f, p, q: lambda a: f(oracles.exact(p), oracles.exact(q), a)
    for name in ORDER:
        slope = by_row(measure(name))
        for a in (0.25, 1.0, 1.0001, 3.0):
            a = np.float32(a)
            got, f = slope(p, q, a), at(getattr(truth, name), p[0], q[0])
            (want,) = oracles.gradient(lambda a: f(a[0]), oracles.exact([a]))
            assert normwise(got[:1], np.float64(want)) <= 1e-5, (name, a)


ENTROPY_ORDERS = (0.0, 0.3, 0.9999, 1.0, 1.0001, 2.0, 40.0)


@pytest.mark.parametrize("kind", [Probs, LogProbs, Logits, BinaryProbs])
@pytest.mark.parametrize("name", ["renyi_entropy", "tsallis_entropy"])
def test_entropies_of_every_order(name, kind):
    f = getattr(jxent, name)
    at = lambda p, a: f(kind(p), order=a)
    by_row = jax.jit(jax.vmap(jax.value_and_grad(at, argnums=(0, 1)), (0, None)))
    rng = generator(name)
    flat, wide = 1e-3 * rng.standard_normal(K), 8 * rng.standard_normal(K)
    confident = np.array([0.0, *(-30 - rng.random(K - 1))])
    z = [rng.standard_normal(K), wide, *([flat, confident] if kind is Logits else [])]
    p = DATA[kind](np.float32(z))
    p = p[:, 0] if kind in BINARY else p
    for a in np.float32(ENTROPY_ORDERS):
        values, (slopes, by_order) = by_row(p, a)
        exact = oracles.at(lambda p, a=a: getattr(truth, name)(p, float(a)), kind)
        for i, row in enumerate(map(oracles.exact, p)):
            want = float(exact(row[()]))
            assert abs(values[i] - want) <= 3e-6 * want
            at = (lambda x: exact(x[0])) if kind in BINARY else exact
            (want,) = oracles.gradient(at, np.atleast_1d(row))
            assert normwise(np.atleast_1d(slopes[i]), want.astype(float)) <= 1e-5
            beside = lambda a: getattr(truth, name)(
                oracles.MEANING[kind](row[()]), a[0]
            )
            if a > 0:
                (want,) = oracles.gradient(beside, oracles.exact([a]))
                assert normwise(by_order[i : i + 1], want.astype(float)) <= 2e-5


# ------------------------------------------------------------------ limits

# p, q, and the value of each measure (at each order), where classes are impossible.
HALVES, ONE, OTHER = [0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
LOG2 = math.log(2)
LIMITS = {
    ("jeffreys_divergence", None): (INF, INF, INF, 0),
    ("squared_hellinger", None): (1 - math.sqrt(0.5), 1 - math.sqrt(0.5), 1, 0),
    ("bhattacharyya_distance", None): (LOG2 / 2, LOG2 / 2, INF, 0),
    ("chi2_divergence", None): (INF, 1, INF, 0),
    ("total_variation", None): (0.5, 0.5, 1, 0),
    ("alpha_divergence", -1.0): (0.5, INF, INF, 0),
    ("alpha_divergence", 0.0): (LOG2, INF, INF, 0),
    ("alpha_divergence", 0.5): (4 - math.sqrt(8), 4 - math.sqrt(8), 4, 0),
    ("alpha_divergence", 1.0): (INF, LOG2, INF, 0),
    ("alpha_divergence", 2.0): (INF, 0.5, INF, 0),
    ("renyi_divergence", 0.0): (0, LOG2, INF, 0),
    ("renyi_divergence", 0.5): (LOG2, LOG2, INF, 0),
    ("renyi_divergence", 1.0): (INF, LOG2, INF, 0),
    ("renyi_divergence", 2.0): (INF, LOG2, INF, 0),
    ("renyi_divergence", INF): (INF, LOG2, INF, 0),
}
P = np.float32([HALVES, ONE, ONE, HALVES])
Q = np.float32([ONE, HALVES, OTHER, HALVES])


def log(p):
    return np.where(p == 0, -INF, np.log(np.maximum(p, 1e-30))).astype(np.float32)


@functools.cache
def at_limits(name, view, infinite):
    f, kind = measure(name), {"Probs": Probs, "Logits": Logits}[view]
    if infinite:
        return jax.jit(lambda p, q, _: f(kind(p), kind(q), INF))
    return jax.jit(lambda p, q, a: f(kind(p), kind(q), a))


@pytest.mark.parametrize("view", ["Probs", "Logits"])
@pytest.mark.parametrize("name, order", LIMITS)
def test_limits(name, order, view):
    p, q = (log(x) if view == "Logits" else x for x in (P, Q))
    f = at_limits(name, view, order == INF)
    got = f(p, q, np.float32(order or 1))
    np.testing.assert_allclose(got, LIMITS[name, order], rtol=2e-6, atol=2e-7)
    slopes = jax.grad(lambda *x: f(*x, np.float32(order or 1)).sum(), (0, 1))(p, q)
    assert all(np.isfinite(s).all() for s in slopes)


def test_limits_of_entropies():
    for data, kind in (
        (P[:2], Probs),
        (log(P[:2]), Logits),
        (log(P[:2]), LogProbs),
    ):
        f = jax.jit(lambda x, a, kind=kind: jxent.renyi_entropy(kind(x), order=a))
        for a in (0.0, 0.5, 1.0, 3.0):
            np.testing.assert_allclose(f(data, np.float32(a)), [LOG2, 0], rtol=1e-6)
            slope = jax.grad(lambda x, a=a: f(x, np.float32(a)).sum())(data)
            assert np.isfinite(slope).all()
        got = jxent.renyi_entropy(kind(data), order=INF)
        np.testing.assert_allclose(got, [LOG2, 0], rtol=1e-6)
    impossible = Logits(jnp.full(3, -INF))
    assert np.isnan(jxent.renyi_entropy(impossible, order=2.0))


def test_far_apart_logits_neither_overflow_nor_saturate():
    a, b = np.float32([[0, -300, -90]]), np.float32([[-300, 0, -90]])
    f = jax.jit(lambda order: jxent.renyi_divergence(Logits(a), Logits(b), order=order))
    at = oracles.at(
        lambda p, q: [truth.renyi_divergence(p, q, o) for o in (0.5, 2)], Logits, Logits
    )
    far = [float(x) for x in at(oracles.exact(a[0]), oracles.exact(b[0]))]
    np.testing.assert_allclose([f(0.5)[0], f(2.0)[0]], far, rtol=1e-6)
    np.testing.assert_allclose(f(40.0), 300, rtol=1e-6)


# ------------------------------------------------------------------ views

H, W = np.float32(generator("h").standard_normal((ROWS, 3))), None
W = np.float32(generator("w").standard_normal((3, K)))
STREAMED = LinearLogits(H, W, block_size=2)
Y = Labels(np.array([0, 1, 4, 4]))


@pytest.mark.parametrize("name, order", [*LIMITS, ("alpha_divergence", 0.9)])
def test_streamed_is_dense_and_labels_are_one_hot(name, order):
    order = 1.0 if order is None else order
    f = lambda p, q: measure(name)(p, q, order)
    dense, p = Logits(H @ W), softmax32(pair(1.0)[0])
    for truth_ in (p, Y):
        np.testing.assert_allclose(f(truth_, STREAMED), f(truth_, dense), rtol=1e-5)
    hot = np.eye(K, dtype=np.float32)[np.asarray(Y.y)]
    np.testing.assert_allclose(f(Y, dense), f(Probs(hot), dense), rtol=1e-5)


@pytest.mark.parametrize("name", [*ORDER, "total_variation"])
def test_streamed_slopes_are_those_of_dense(name):
    p, f = softmax32(pair(1.0)[0]), measure(name)
    of = lambda q: lambda h, w, a: f(p, q(h, w), a).sum()
    streamed = of(lambda h, w: LinearLogits(h, w, block_size=2))
    dense = of(lambda h, w: Logits(h @ w))
    for a in (0.5, 1.5):
        slopes = [
            jax.jit(jax.grad(g, (0, 1, 2)))(H, W, np.float32(a))
            for g in (streamed, dense)
        ]
        for got, want in zip(*slopes, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_streamed_entropies_and_their_slopes():
    for name in ("renyi_entropy", "tsallis_entropy"):
        f = getattr(jxent, name)
        of = lambda q: lambda h, w, a: f(q(h, w), order=a).sum()
        streamed = of(lambda h, w: LinearLogits(h, w, block_size=2))
        dense = of(lambda h, w: Logits(h @ w))
        for a in (0.5, 1.0):
            pair_ = [
                jax.jit(jax.value_and_grad(g, (0, 1, 2)))(H, W, np.float32(a))
                for g in (streamed, dense)
            ]
            for got, want in zip(*map(jax.tree.leaves, pair_), strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
    at_infinity = [jxent.renyi_entropy(q, order=INF) for q in (STREAMED, Logits(H @ W))]
    np.testing.assert_allclose(*at_infinity, rtol=1e-6)


@pytest.mark.parametrize("kind", [Probs, Logits])
def test_shards_are_the_whole(kind):
    p, q = (DATA[kind](np.tile(x, (1, 8))) for x in pair(1.0, "shards"))
    f = {
        **{name: lambda p, q, f=measure(name): f(p, q, 1.5) for name in MEASURES},
        "order ∞": lambda p, q: jxent.renyi_divergence(p, q, order=INF),
        "entropy": lambda p, q: jxent.renyi_entropy(p, order=1.5),
        "min-entropy": lambda p, q: jxent.renyi_entropy(p, order=INF),
    }
    each = lambda p, q: {name: g(p, q) for name, g in f.items()}
    mesh = jax.make_mesh((8,), ("v",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = PartitionSpec(None, "v")
    over = jax.jit(
        jax.shard_map(
            lambda p, q: each(kind(p, axis_name="v"), kind(q, axis_name="v")),
            mesh=mesh,
            in_specs=(spec, spec),
            out_specs=PartitionSpec(),
        )
    )
    got, want = over(p, q), jax.jit(each)(kind(p), kind(q))
    for name in f:
        np.testing.assert_allclose(got[name], want[name], rtol=2e-5, err_msg=name)


def test_orders_are_broadcast_traced_and_mapped():
    p, q = map(softmax32, pair(1.0))
    orders = jnp.array([0.0, 0.5, 1.0, 2.0])
    each = [
        jxent.renyi_divergence(p[i], q[i], order=float(a)) for i, a in enumerate(orders)
    ]
    together = jxent.renyi_divergence(p, q, order=orders)
    np.testing.assert_allclose(together, np.stack(each), rtol=2e-6)
    curve = jax.vmap(lambda a: jxent.renyi_divergence(p[0], q[0], order=a))(orders)
    assert curve.shape == (4,) and (np.diff(curve) > 0).all()
    assert np.isnan(jax.jit(lambda a: jxent.renyi_entropy(p[0], order=a))(-1.0))
    for bad in (-1, math.nan):
        with pytest.raises(ValueError, match="order is"):
            jxent.renyi_divergence(p, q, order=bad)
    with pytest.raises(ValueError, match="vmap"):
        jxent.renyi_entropy(p, order=jnp.ones(3))
    with pytest.raises(ValueError, match="order is inf"):
        jxent.tsallis_entropy(p, order=INF)


@each_measure
def test_equal_rows_are_exactly_0_with_slope_0(name):
    a = pair(1.0)[0]
    for kind in (Probs, Logits):
        x = jnp.asarray(DATA[kind](a))
        f = lambda p, q, kind=kind: measure(name)(kind(p), kind(q), 1.5).sum()
        value, slopes = jax.jit(jax.value_and_grad(f, (0, 1)))(x, x)
        assert value == 0 and all((s == 0).all() for s in slopes)


def test_half_precision_is_computed_in_float32_and_bits_are_bits():
    p, q = (softmax32(x).astype(jnp.bfloat16) for x in pair(1.0))
    with jxent.checks.mode("off"):
        half = jxent.renyi_divergence(p, q, order=2, base=2)
        wide = jxent.renyi_divergence(
            Probs(np.float32(p)), Probs(np.float32(q)), order=2
        )
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, wide / LOG2, rtol=1e-6)
