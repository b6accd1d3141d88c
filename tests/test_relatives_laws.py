"""The divergences beside KL: limits, views, laws."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import oracles_of_relatives as truth
import pytest
from jax.sharding import PartitionSpec
from relatives import (
    DATA,
    generator,
    INF,
    K,
    measure,
    MEASURES,
    pair,
    ROWS,
    softmax32,
)

import jxent
from jxent import Labels, LinearLogits, Logits, LogProbs, Probs

pytestmark = pytest.mark.usefixtures("hasty_compiler")

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
    """Slopes by p and q, and the values, in one program."""
    f, kind = measure(name), {"Probs": Probs, "Logits": Logits}[view]

    def summed(p, q, a):
        values = f(kind(p), kind(q), INF if infinite else a)
        return values.sum(), values

    return jax.jit(jax.grad(summed, (0, 1), has_aux=True))


@pytest.mark.parametrize("view", ["Probs", "Logits"])
@pytest.mark.parametrize("name, order", LIMITS)
def test_limits(name, order, view):
    p, q = (log(x) if view == "Logits" else x for x in (P, Q))
    a = np.float32(1 if order is None else order)
    slopes, got = at_limits(name, view, order == INF)(p, q, a)
    np.testing.assert_allclose(got, LIMITS[name, order], rtol=2e-6, atol=2e-7)
    assert all(np.isfinite(s).all() for s in slopes)


def test_limits_of_entropies():
    for data, kind in (
        (P[:2], Probs),
        (log(P[:2]), Logits),
        (log(P[:2]), LogProbs),
    ):
        f = lambda x, a, kind=kind: jxent.renyi_entropy(kind(x), order=a)
        f = jax.jit(jax.vmap(jax.value_and_grad(f), (0, None)))
        for a in (0.0, 0.5, 1.0, 3.0):
            value, slope = f(data, np.float32(a))
            np.testing.assert_allclose(value, [LOG2, 0], rtol=1e-6)
            assert np.isfinite(slope).all()
        got = jxent.renyi_entropy(kind(data), order=INF)
        np.testing.assert_allclose(got, [LOG2, 0], rtol=1e-6)
    impossible = Logits(jnp.full(3, -INF))
    with jxent.checks.mode("off"):
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


STREAMABLE = {
    "alpha_divergence": lambda p, q: jxent.alpha_divergence(p, q, alpha=0.9),
    "renyi_divergence": lambda p, q: jxent.renyi_divergence(p, q, order=0.5),
    "renyi_divergence at ∞": lambda p, q: jxent.renyi_divergence(p, q, order=INF),
    "total_variation": jxent.total_variation,
    "jeffreys_divergence": jxent.jeffreys_divergence,
}


@pytest.mark.parametrize("name", STREAMABLE)
def test_streamed_is_dense_and_labels_are_one_hot(name):
    f, y = STREAMABLE[name], Y if name != "jeffreys_divergence" else Labels(Y.y, 0.1)
    p, hot = softmax32(pair(1.0)[0]), y.among(Logits(jnp.asarray(H @ W)))
    views = jax.jit(lambda p, y, hot, q: (f(p, q), f(y, q), f(hot, q)))
    got, want = views(p, y, hot, STREAMED), views(p, y, hot, Logits(H @ W))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(want[1], want[2], rtol=1e-5)


@pytest.mark.parametrize("name", ["renyi_divergence", "renyi_entropy"])
def test_streamed_slopes_are_those_of_dense(name):
    p, f = softmax32(pair(1.0)[0]), getattr(jxent, name)
    if name == "renyi_divergence":
        f = functools.partial(f, p)
    of = lambda q: lambda h, w, a: f(q(h, w), order=a).sum()
    streamed = of(lambda h, w: LinearLogits(h, w, block_size=3))
    dense = of(lambda h, w: Logits(h @ w))
    both = [jax.value_and_grad(g, (0, 1, 2)) for g in (streamed, dense)]
    for a in np.float32([0.5, 1.0]):
        got, want = (jax.tree.leaves(jax.jit(g)(H, W, a)) for g in both)
        for x, y in zip(got, want, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


def test_shards_are_the_whole(kind=Logits):
    p, q = (DATA[kind](np.tile(x, (1, 8))) for x in pair(1.0, "shards"))
    f = {
        **{name: functools.partial(measure(name), a=1.5) for name in MEASURES},
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


@pytest.mark.parametrize("name", ["alpha_divergence", "renyi_divergence"])
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


# ------------------------------------------------------------------ laws

CHANNEL = softmax32(generator("channel").standard_normal((K, 3)))
F_DIVERGENCES = {
    "KL": jxent.kl_divergence,
    "JS": jxent.js_divergence,
    "TV": jxent.total_variation,
    "H²": jxent.squared_hellinger,
    "χ²": jxent.chi2_divergence,
    "Jeffreys": jxent.jeffreys_divergence,
    "α = −1": lambda p, q: jxent.alpha_divergence(p, q, alpha=-1.0),
    "α = 3": lambda p, q: jxent.alpha_divergence(p, q, alpha=3.0),
    "triangular": jxent.f_divergence(lambda r: (r - 1) ** 2 / (r + 1)),
    "Rényi 0.5": lambda p, q: jxent.renyi_divergence(p, q, order=0.5),
    "Rényi 5": lambda p, q: jxent.renyi_divergence(p, q, order=5.0),
    "Rényi ∞": lambda p, q: jxent.renyi_divergence(p, q, order=INF),
}


@functools.cache
def drawn(*seed):
    rng = generator(*seed)
    return softmax32(3 * rng.standard_normal((64, K)))


@functools.cache
def laws_of():
    """All of them at once: one program for every law."""
    return jax.jit(lambda p, q: {name: f(p, q) for name, f in F_DIVERGENCES.items()})


def test_processing_data_tells_no_more():
    p, q = drawn("p"), drawn("q")
    before, after = laws_of()(p, q), laws_of()(p @ CHANNEL, q @ CHANNEL)
    for name in F_DIVERGENCES:
        assert (after[name] <= before[name] * (1 + 1e-5) + 1e-6).all(), name


def test_inequalities_between_relatives():
    p, q = drawn("p"), drawn("q")
    d = {name: np.float64(x) for name, x in laws_of()(p, q).items()}
    slack = 1e-6
    assert (d["TV"] <= np.sqrt(d["KL"] / 2) + slack).all()  # Pinsker
    assert (d["H²"] <= d["TV"] + slack).all()
    assert (d["TV"] <= np.sqrt(2 * d["H²"]) + slack).all()
    assert (d["KL"] <= np.log1p(d["χ²"]) + slack).all()
    assert (d["JS"] <= math.log(2) * d["TV"] + slack).all()
    for lower, higher in itertools.pairwise(("Rényi 0.5", "KL", "Rényi 5", "Rényi ∞")):
        assert (d[lower] <= d[higher] + slack).all()


def test_metrics_keep_the_triangle_and_their_symmetry():
    p, q, r = drawn("p"), drawn("q"), drawn("r")
    for name, metric in (("TV", lambda x: x), ("H²", np.sqrt), ("JS", np.sqrt)):
        pairs = (p, q), (q, r), (p, r), (q, p)
        pq, qr, pr, qp = (metric(laws_of()(*x)[name]) for x in pairs)
        assert (pr <= pq + qr + 1e-6).all()
        np.testing.assert_allclose(pq, qp, rtol=1e-5)


def test_relatives_meet_in_their_limits():
    p, q = drawn("p"), drawn("q")
    d = laws_of()(p, q)
    alpha = jax.jit(lambda a: jxent.alpha_divergence(p, q, alpha=a))
    renyi = jax.jit(lambda a: jxent.renyi_divergence(p, q, order=a))
    same = functools.partial(np.testing.assert_allclose, rtol=2e-5)
    same(alpha(1.0), d["KL"])
    same(alpha(0.0), jxent.kl_divergence(q, p))
    same(renyi(1.0), d["KL"])
    same(renyi(1 + 1e-6), d["KL"])
    same(renyi(2.0), np.log1p(d["χ²"]))
    same(renyi(0.5), -2 * np.log1p(-np.float64(d["H²"])))
    same(jxent.bhattacharyya_distance(p, q), renyi(0.5) / 2)
    same(d["Jeffreys"], d["KL"] + jxent.kl_divergence(q, p))
    same(renyi(2e4), d["Rényi ∞"], rtol=2e-3)
    near = p * (1 + 1e-3 * np.sin(np.arange(K, dtype=np.float32)))
    near = near / near.sum(-1, keepdims=True)
    e = laws_of()(p, near)
    same(e["χ²"], 2 * e["KL"], rtol=5e-3)
    same(8 * e["JS"], 2 * e["KL"], rtol=5e-3)
    same(8 * e["H²"], 2 * e["KL"], rtol=5e-3)


def test_entropies_fall_with_their_order_and_know_the_uniform():
    p, orders = drawn("p"), np.float32([0.0, 0.5, 1.0, 2.0, 30.0])
    f = jax.jit(jax.vmap(lambda a, p: jxent.renyi_entropy(p, order=a), (0, None)))
    h = f(orders, p)
    assert (np.diff(h, axis=0) <= 1e-6).all()
    assert (h[-1] >= jxent.renyi_entropy(p, order=INF) - 1e-6).all()
    np.testing.assert_allclose(h[2], jxent.entropy(p), rtol=2e-6)
    gini = jxent.tsallis_entropy(p, order=2)
    np.testing.assert_allclose(gini, 1 - (np.float64(p) ** 2).sum(-1), rtol=1e-5)
    even = np.full((64, K), 1 / K, np.float32)
    np.testing.assert_allclose(f(orders, even), math.log(K), rtol=1e-6)
    apart = jxent.renyi_divergence(p, even, order=2.0)
    np.testing.assert_allclose(apart, math.log(K) - h[3], rtol=1e-4, atol=1e-5)


F = {
    "kl_divergence": lambda r: r * jnp.log(r),
    "chi2_divergence": lambda r: (r - 1) ** 2,
    "squared_hellinger": lambda r: (jnp.sqrt(r) - 1) ** 2 / 2,
    "total_variation": lambda r: jnp.abs(r - 1) / 2,
    "reverse": lambda r: -jnp.log(r),
}


def summed(f):
    return jax.jit(jax.value_and_grad(lambda p, q: f(p, q).sum()))


@pytest.mark.parametrize("name", F)
def test_f_divergences_of_a_user_are_those_of_the_house(name):
    f = jxent.f_divergence(F[name])
    g = getattr(jxent, name, lambda p, q: jxent.kl_divergence(q, p))
    # Far apart, as near as 1e-6 (unless there is a kink), and where classes are impossible.
    for distance in (2.0, *([1e-6] if name != "total_variation" else [])):
        p, q = map(softmax32, pair(distance, "f"))
        (value, slope), (want, of_want) = summed(f)(p, q), summed(g)(p, q)
        np.testing.assert_allclose(value, want, rtol=3e-6)
        centred = lambda x: x - x.mean(-1, keepdims=True)
        size = np.abs(centred(of_want)).max()
        np.testing.assert_allclose(centred(slope), centred(of_want), atol=2e-5 * size)
    np.testing.assert_allclose(f(P, Q), g(P, Q), rtol=1e-5, atol=1e-6)
    streamed, dense = f(p, STREAMED), f(p, Logits(H @ W))
    np.testing.assert_allclose(streamed, dense, rtol=1e-4)
