"""Masked classes: the value and the derivatives of the classes that are left.

People mask a class with −inf, with −1e9, or with the smallest number of a dtype, which
need not be that of the logits. All of them are right here, in every representation and
every function of a softmax: what is asked for is the definition at exactly these numbers,
in value, gradient and Hessian-vector product. What such a sweep hunts is infinity times
zero, and sums in which a mask meets a mask.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import jxent
from jxent import Labels, Logits, LogProbs, losses, Probs

INF = np.inf
least = lambda dtype: float(jnp.finfo(dtype).min)
MASKS = {
    "-inf": -INF,
    "-1e9": -1e9,
    "float32": least(jnp.float32),
    "bfloat16": least(jnp.bfloat16),
    "float16": least(jnp.float16),
}
ONE = np.float32([0.5, -1.5, 1.25, 0.75, -0.25])
OTHER = np.float32([0.25, 1.75, -0.5, 1.0, -2.0])
WHERE = np.array(
    [
        [0, 1, 0, 1, 0],
        [0, 0, 1, 0, 0],  # the leading class of one
        [0, 1, 1, 1, 1],  # all but one
        [0, 1, 0, 0, 0],  # the leading class of the other
    ],
    bool,
)
ALONE = np.float32([np.where(w, m, ONE) for w in WHERE for m in MASKS.values()])
# Masked in both, by any two masks.
ALIKE = [
    (np.where(w, m, ONE), np.where(w, n, OTHER))
    for w in WHERE[1:3]
    for m in MASKS.values()
    for n in MASKS.values()
]
# Impossible in the first alone; all but impossible in the second alone.
APART = [(np.where(w, m, ONE), OTHER) for w in WHERE[:3] for m in MASKS.values()] + [
    (ONE, np.where(w, m, OTHER)) for w in WHERE for m in (-1e9, least(jnp.float16))
]
VIEWS = {
    "Logits": lambda z: Logits(z),
    "LogProbs": lambda z: LogProbs(jax.nn.log_softmax(z)),
    "Probs": lambda z: Probs(jax.nn.softmax(z)),
}
MEASURES = ("cross_entropy", "kl_divergence", "js_divergence")


def derivatives(f, n):
    """Value, gradient and a Hessian-vector product of `f`, compiled, row by row."""
    by = tuple(range(n))

    def of_row(xs, v):
        slopes, product = jax.jvp(jax.grad(f, by), xs, v)
        return f(*xs), jnp.concatenate(slopes), jnp.concatenate(product)

    return jax.jit(jax.vmap(of_row))


@functools.cache
def direction(n, k=5):
    return np.float32(np.random.default_rng(0).normal(size=(n, k)))


def truth(definition, rows):
    """The same of the definition; 0 at a logit of −inf, which no step moves."""
    value, slope, product = [], [], []
    for row in rows:
        one, *other = row
        # A probability that underflows beside an impossible class counts as impossible.
        lost = np.any([(one < -100) & (x == -INF) for x in other], axis=0)
        xs = [oracles.exact(x) for x in (np.where(lost, -INF, one), *other)]
        value.append(float(definition(*xs)))
        slope.append(np.concatenate(oracles.gradient(definition, *xs)).astype(float))
        product.append(along(definition, xs))
    return map(np.asarray, (value, slope, product))


def along(definition, xs):
    """How the gradient changes in the direction."""
    steps = [oracles.STEP * v for v in direction(len(xs)).astype(float)]
    ahead, behind = (
        oracles.gradient(
            definition, *(x + s * h for x, h in zip(xs, steps, strict=True))
        )
        for s in (1, -1)
    )
    change = np.concatenate(ahead) - np.concatenate(behind)
    return (change / (2 * oracles.STEP)).astype(float)


def assert_right(f, definition, rows):
    rows = [tuple(map(np.float32, row)) for row in rows]
    n = len(rows[0])
    xs = tuple(np.stack([row[i] for row in rows]) for i in range(n))
    vs = tuple(np.broadcast_to(v, xs[0].shape) for v in direction(n))
    value, slope, product = map(np.asarray, derivatives(f, n)(xs, vs))
    right, right_slope, right_product = truth(definition, rows)
    np.testing.assert_allclose(value, right, rtol=2e-6, atol=1e-37)
    assert not np.signbit(value[right == 0]).any()
    # The truth is a difference of differences, and has no digits below these.
    floor = np.maximum(1e-30, 1e-46 * np.abs(right))
    for got, want in ((slope, right_slope), (product, right_product)):
        off = np.linalg.norm(np.float64(got) - want, axis=-1)
        size = np.maximum(np.linalg.norm(want, axis=-1), floor)
        assert (off <= 1e-5 * size).all(), (got, want)


@pytest.mark.parametrize("view", VIEWS)
def test_entropy(view):
    definition = oracles.at(oracles.entropy, Logits)
    f = lambda z: jxent.entropy(VIEWS[view](z))
    assert_right(f, definition, [(z,) for z in ALONE])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_label(smoothing):
    # The label's own class is not masked; a smoothed label has a share in those that are.
    t = oracles.one_hot(0, 5, smoothing)
    definition = lambda z: oracles.cross_entropy(t, oracles.softmax(z))
    label = Labels(jnp.array(0), smoothing)
    f = lambda z: jxent.cross_entropy(label, Logits(z))
    rows = [(z,) for z in ALONE if np.isfinite(z).all() or not smoothing]
    assert_right(f, definition, rows)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("one", VIEWS)
def test_pair(measure, one):
    definition = oracles.at(getattr(oracles, measure), Logits, Logits)
    compute = getattr(jxent, measure)
    f = lambda a, b: compute(VIEWS[one](a), Logits(b))
    rows = ALIKE + APART if one == "Logits" else ALIKE
    assert_right(f, definition, rows)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_has_the_masks_of_its_own(dtype):
    functions = {
        "entropy": lambda a, b: jxent.entropy(Logits(a)),
        "kl": lambda a, b: jxent.kl_divergence(Logits(a), Logits(b)),
        "js": lambda a, b: jxent.js_divergence(Logits(a), Logits(b)),
        "label": lambda a, b: jxent.cross_entropy(Labels(jnp.array(0)), Logits(a)),
    }

    @jax.jit
    def everything(a, b):
        return {
            name: (f(a, b), jax.grad(f, (0, 1))(a, b)) for name, f in functions.items()
        }

    one, other, where = (jnp.asarray(x) for x in (ONE, OTHER, WHERE[0]))
    mask = lambda z, by: jnp.where(where, by, z).astype(dtype)
    expected = everything(mask(one, -INF), mask(other, -INF))
    found = everything(mask(one, least(dtype)), mask(other, least(dtype)))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_float64_has_a_mask_of_its_own():
    with jax.enable_x64(True):
        one, other = np.float64(ONE), np.float64(OTHER)
        mask = lambda z, by: jnp.asarray(np.where(WHERE[0], by, z))
        kl = lambda a, b: jxent.kl_divergence(Logits(a), Logits(b))
        for f in (kl, lambda a, b: jxent.entropy(Logits(a))):
            everything = jax.jit(lambda a, b, f=f: (f(a, b), jax.grad(f, (0, 1))(a, b)))
            found = everything(*(mask(z, least(jnp.float64)) for z in (one, other)))
            expected = everything(*(mask(z, -INF) for z in (one, other)))
            close = functools.partial(np.testing.assert_allclose, rtol=1e-14)
            jax.tree.map(close, found, expected)


def test_an_underflowing_logit_counts_as_impossible_in_all_three():
    p, q = jnp.array([0.0, 1.0, -1e9]), jnp.array([1.0, 0.0, -INF])
    measures = [jxent.cross_entropy, jxent.kl_divergence]
    h, kl = (f(Logits(p), Logits(q)) for f in measures)
    np.testing.assert_allclose(h - jxent.entropy(Logits(p)), kl, rtol=1e-6)
    # Down to the last bit that is left of a probability, the two agree what is impossible.
    gap = jnp.linspace(-104, -86, 400)
    rows = jnp.stack([jnp.zeros_like(gap), jnp.full_like(gap, -0.5), gap], -1)
    h, kl = (jax.jit(f)(Logits(rows), Logits(q[None])) for f in measures)
    np.testing.assert_array_equal(jnp.isinf(h), jnp.isinf(kl))
    assert jnp.isinf(h).any() and not jnp.isinf(h).all()


def test_logits_as_far_apart_as_numbers_go():
    one, other = jnp.array([2e38, 0.0]), jnp.array([-2e38, 0.0])
    kl = lambda b: jxent.kl_divergence(Logits(one), Logits(b))
    np.testing.assert_allclose(kl(other), 2e38, rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(kl)(other), [-1, 1])
    assert (
        jxent.kl_divergence(Logits(one[:1].repeat(2)), Logits(other[:1].repeat(2))) == 0
    )
    loss = losses.softmax_cross_entropy_with_integer_labels
    masked = jnp.array([0.0, least(jnp.float32), least(jnp.float32)])
    right = 0.1 * 2 / 3 * -least(jnp.float32)
    np.testing.assert_allclose(loss(masked, 0, label_smoothing=0.1), right, rtol=1e-6)


FAR = {
    "a possible class is as good as masked": (ONE, np.where(WHERE[1], -1e9, OTHER)),
    "a rare class is as good as masked": (
        np.float32([3, -9.5, 2, 1, 0]),
        np.float32([3.1, -1e9, 2, 1, -0.1]),
    ),
    "gap of 100": (ONE, np.float32([0, -100, 0, 1, 2])),
    "gap of 1e4": (ONE, np.float32([0, 0, -1e4, 1, 2])),
    "gap of 3e8": (ONE, np.float32([-3e8, 0, -3e8, 1, 2])),
    "far from each other": (20 * ONE, -20 * OTHER),
}


@pytest.mark.parametrize("measure", MEASURES)
def test_logits_far_apart_keep_their_digits(measure):
    definition = oracles.at(getattr(oracles, measure), Logits, Logits)
    compute = getattr(jxent, measure)
    f = jax.jit(
        lambda a, b: jax.value_and_grad(
            lambda a, b: compute(Logits(a), Logits(b)), (0, 1)
        )(a, b)
    )
    for name, pair in FAR.items():
        if measure == "js_divergence" and name == "far from each other":
            continue
        pair = tuple(map(np.float32, pair))
        value, slopes = f(*pair)
        xs = [oracles.exact(x) for x in pair]
        right = float(definition(*xs))
        np.testing.assert_allclose(value, right, rtol=1e-6, err_msg=name)
        for got, want in zip(slopes, oracles.gradient(definition, *xs), strict=True):
            want = want.astype(float)
            off = np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-30)
            assert off <= 5e-6, (name, got, want)


def test_a_far_centre_costs_no_digits():
    # The argmax of a flat row is masked in the other: the divergence is a thousandth of
    # the distance to that class, which must not be what all others are measured from.
    a = np.float32(0.1 * np.random.default_rng(1).normal(size=1000))
    b = np.float32(a + 0.1 * np.random.default_rng(2).normal(size=1000))
    b[a.argmax()] = -1e9
    p, q = (np.exp(np.float64(z) - np.float64(z).max()) for z in (a, b))
    p, q = p / p.sum(), q / q.sum()
    kept = q > 0
    right = (p * (np.log(p) - np.log(np.where(kept, q, 1))))[kept].sum()
    right += (
        p[~kept].sum() * (np.log(p[~kept]) + 1e9 + np.log(np.exp(b[kept]).sum()))[0]
    )
    f = lambda a, b: jxent.kl_divergence(Logits(a), Logits(b))
    value, slope = jax.value_and_grad(f, 1)(jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_allclose(value, right, rtol=1e-6)
    assert np.linalg.norm(slope - (q - p)) <= 5e-6 * np.linalg.norm(q - p)


def test_certain_outcome_of_one_class_has_positive_zero():
    for h in (
        jxent.entropy(jnp.array([1.0])),
        jxent.entropy(LogProbs(jnp.array([0.0]))),
        jxent.kl_divergence(jnp.array([1.0]), jnp.array([1.0])),
        jxent.cross_entropy(jnp.array([1.0]), jnp.array([1.0])),
    ):
        assert h == 0 and not np.signbit(h)
