"""The numerical contract, row by row, in float32 against 100 digits.

Where it is cheap, a test also evaluates the formula that everyone would write first, and
asserts that it fails the same bound: a test that the naive formula passes has no teeth.
"""

import functools
import itertools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import jxent
from jxent import (
    BinaryLogits,
    BinaryProbs,
    Labels,
    LinearLogits,
    Logits,
    LogProbs,
    losses,
    Probs,
)

EPS = 2.0**-23
TINY = 1e-37  # below are the numbers that float32 flushes to zero
INF = np.inf


def ulps(got, truth):
    """The error of every number, in units of its last place; of 0, only 0 is right."""
    got, truth = np.asarray(got, np.float64), np.asarray(truth, np.float64)
    return np.abs(got - truth) / np.maximum(np.abs(truth) * EPS, 1e-300)


def relative(got, truth):
    return ulps(got, truth) * EPS


def normwise(got, truth, axis=-1):
    """The error of every row, in units of the row's length; of 0, only 0 is right."""
    got, truth = np.asarray(got, np.float64), np.asarray(truth, np.float64)
    truth = np.where(np.abs(truth) < TINY, 0, truth)  # the differences' noise, too
    error = np.linalg.norm(got - truth, axis=axis)
    return error / np.maximum(np.linalg.norm(truth, axis=axis), TINY)


def generator(*seed):
    return np.random.default_rng(zlib.crc32(repr(seed).encode()))


# ------------------------------------------------- cross-entropy and entropy from logits

MARGINS = [0, 0.25, 1, 4, 8, 10, 12, 15, 17, 20, 25, 40, 60, 80]
OFFSETS = [0, -1e4, 1e6, 1e8]


def confident(k, margins, offsets):
    """Rows whose top is class 1, ahead of all others by a margin, far from 0."""
    rng = generator("confident", k)
    z = -rng.exponential(2, (len(offsets), len(margins), k))
    z[..., 1] = -np.inf
    z -= z.max(-1, keepdims=True) + np.reshape(margins, (-1, 1))
    z[..., 1] = 0
    # The offset rounds the logits; what is left is what the truth is computed from.
    return np.float32(z + np.reshape(offsets, (-1, 1, 1))).reshape(-1, k)


def sizes(*more):
    return pytest.mark.parametrize(
        "k, margins, offsets",
        [
            (2, MARGINS, OFFSETS),
            (3, MARGINS, OFFSETS),
            (10, MARGINS, OFFSETS),
            (1000, MARGINS, OFFSETS),
            (10**5, [0, 9, 18, 80], [0, 1e8]),
            *more,
        ],
        ids=lambda x: str(x) if isinstance(x, int) else "",
    )


def naive_label_cross_entropy(z, y):
    at_y = jnp.take_along_axis(z, y[:, None], -1)[:, 0]
    return jax.nn.logsumexp(z, axis=-1) - at_y


def naive_entropy(z):
    log_p = jax.nn.log_softmax(z)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


label_cross_entropy = lambda z, y: jxent.cross_entropy(Labels(y), Logits(z))


def test_the_fast_oracles_agree_with_the_definitions():
    z = confident(10, MARGINS, OFFSETS)
    for y in (1, 4):
        truth = oracles.rows(
            lambda z, y=y: oracles.cross_entropy(
                oracles.one_hot(y, 10), oracles.softmax(z)
            ),
            z,
        )
        fast = oracles.label_cross_entropy64(z, np.full(len(z), y))
        np.testing.assert_allclose(fast, truth, rtol=1e-14)
    truth = oracles.rows(oracles.at(oracles.entropy, Logits), z)
    np.testing.assert_allclose(oracles.entropy64(z), truth, rtol=1e-14)


@sizes((10**7, [12], [0]))
def test_label_cross_entropy_keeps_its_digits(k, margins, offsets):
    z = confident(k, margins, offsets)
    rng = generator("labels", k)
    for y in (np.full(len(z), 1), rng.integers(0, k, len(z)), np.full(len(z), k - 1)):
        truth = oracles.label_cross_entropy64(z, y)
        # Beyond a margin of 20 the contract allows eight times as much.
        lead = np.float64(z)[:, 1] - np.delete(z, 1, axis=1).max(-1)
        bound = np.where((y == 1) & (lead > 20), 64, 8)
        y = jnp.asarray(y, jnp.int32)
        error = ulps(jax.jit(label_cross_entropy)(z, y), truth)
        assert (error <= bound).all(), error.max()
    if k <= 1000:
        y = jnp.ones(len(z), jnp.int32)
        truth = oracles.label_cross_entropy64(z, np.asarray(y))
        assert (ulps(naive_label_cross_entropy(z, y), truth) > 1e4).any()


@sizes((10**7, [12], [0]))
def test_entropy_of_logits_keeps_its_digits(k, margins, offsets):
    z = confident(k, margins, offsets)
    entropy = jax.jit(lambda z: jxent.entropy(Logits(z)))
    error = ulps(entropy(z), oracles.entropy64(z))
    assert (error <= 8).all(), error.max()
    if k <= 1000:
        assert (ulps(naive_entropy(z), oracles.entropy64(z)) > 100).any()


@sizes()
def test_soft_targets_keep_their_digits(k, margins, offsets):
    z = confident(k, margins, offsets)
    t = np.float32(generator("targets", k).dirichlet(np.ones(k), len(z)))
    t[::2] = np.arange(k) == 1  # every other row is a one-hot of the confident class
    # −log pᵢ as the loss of label i, whose oracle is float64 and exact to 1e-14.
    lead = oracles.label_cross_entropy64(z, np.ones(len(z), int))
    surprise = lead[:, None] + (np.float64(z[:, 1:2]) - z)
    surprise = np.where(np.arange(k) == 1, lead[:, None], surprise)
    truth = (np.float64(t) * surprise).sum(-1)
    soft = jax.jit(lambda t, z: jxent.cross_entropy(Probs(t), Logits(z)))
    error = ulps(soft(t, z), truth)
    assert (error <= 8).all(), error.max()


EVENTS = np.float32([*np.linspace(-80, 80, 65), 1e-6, -1e-6, 0.3, -17.3, 17.3])
TARGETS = np.float32([0, 1, 0.3, 1e-7, 0.99])


@pytest.mark.parametrize("target", TARGETS)
def test_binary_cross_entropy_keeps_its_digits(target):
    truth = oracles.rows(
        lambda x: oracles.cross_entropy(
            oracles.MEANING[BinaryProbs](*oracles.exact([target])), oracles.sigmoid(x)
        ),
        EVENTS,
    )
    p = BinaryProbs(jnp.full_like(EVENTS, target))
    values = [jxent.cross_entropy(p, BinaryLogits(EVENTS))]
    if target in (0, 1):
        y = Labels(jnp.full(EVENTS.shape, int(target)))
        values.append(jxent.cross_entropy(y, BinaryLogits(EVENTS)))
        event = jax.nn.sigmoid(EVENTS)
        naive = -jnp.log(event) if target else -jnp.log(1 - event)
        assert not (ulps(naive, truth) <= 1e4).all()
    for value in values:
        error = ulps(value, truth)
        assert (error <= 8).all(), error.max()


def test_binary_entropy_keeps_its_digits():
    truth = oracles.rows(oracles.at(oracles.entropy, BinaryLogits), EVENTS)
    error = ulps(jxent.entropy(BinaryLogits(EVENTS)), truth)
    assert (error <= 8).all(), error.max()
    p = jax.nn.sigmoid(EVENTS)
    naive = -p * jnp.log(p) - (1 - p) * jnp.log(1 - p)
    assert not (ulps(naive, truth) <= 1e4).all()


@pytest.mark.parametrize("smoothing", [0.1, 1e-8])
def test_smoothed_events_lose_nothing_on_either_side(smoothing):
    one = jxent.cross_entropy(
        Labels(jnp.ones(EVENTS.shape, jnp.int32), smoothing), BinaryLogits(EVENTS)
    )
    truth = oracles.rows(
        lambda x: oracles.cross_entropy(
            oracles.one_hot(1, 2, smoothing), oracles.sigmoid(x)
        ),
        EVENTS,
    )
    assert (ulps(one, truth) <= 8).all(), ulps(one, truth).max()


def test_bitwise_invariant_under_exact_shifts():
    # Multiples of 2⁻⁸ below 32 in size: their sums with the shifts have no rounding.
    rng = generator("shifts")
    z = np.float32(rng.integers(-(2**13), 2**13, (64, 7)) / 2**8)
    t = np.float32(rng.dirichlet(np.ones(7), 64))
    y = Labels(jnp.asarray(rng.integers(0, 7, 64), jnp.int32))
    smooth = Labels(y.y, 0.1)
    measures = {
        "labels": lambda z: jxent.cross_entropy(y, Logits(z)),
        "smoothed": lambda z: jxent.cross_entropy(smooth, Logits(z)),
        "soft": lambda z: jxent.cross_entropy(Probs(t), Logits(z)),
        "entropy": lambda z: jxent.entropy(Logits(z)),
        "KL of both shifted": lambda z: jxent.kl_divergence(Logits(z), Logits(z[::-1])),
    }
    shifts = np.float32([2**-8, 1, -3, 31.5, 1024, -30000])
    for name, measure in measures.items():
        measure = jax.jit(measure)
        for shift in shifts:
            np.testing.assert_array_equal(measure(z + shift), measure(z), name)
    at_top = jnp.asarray(z.argmax(-1), jnp.int32)
    naive = naive_label_cross_entropy
    assert (naive(z - 30000, at_top) != naive(z, at_top)).any()


def test_gradient_of_a_confident_right_label_is_never_flushed_to_zero():
    margins = np.linspace(0, 80, 81)
    z = confident(10, margins, [0])
    y = jnp.ones(len(z), jnp.int32)
    total = lambda loss: jax.grad(lambda z: loss(z, y).sum())(z)[:, 1]
    truth = oracles.rows(lambda z: -(sum(p := oracles.softmax(z)) - p[1]), z)
    got = total(label_cross_entropy)
    # Up to the eight ulp of the loss that it is made of.
    assert (got < 0).all() and (ulps(got, truth) <= 64).all(), ulps(got, truth).max()
    assert (relative(got, truth)[margins <= 20] <= 1e-6).all()
    assert (total(naive_label_cross_entropy)[margins > 17] == 0).any()


# ------------------------------------------------------------------ KL and JS

VIEWS = {
    "probs": (
        Probs,
        lambda z: np.float32(np.exp(z) / np.exp(z).sum(-1, keepdims=True)),
    ),
    "logits": (Logits, np.float32),
    "log-probs": (
        LogProbs,
        lambda z: np.float32(z - np.log(np.exp(z).sum(-1, keepdims=True))),
    ),
}
each_view = pytest.mark.parametrize("view", VIEWS)
DIVERGENCES = {
    "kl": (jxent.kl_divergence, oracles.kl_divergence),
    "js": (jxent.js_divergence, oracles.js_divergence),
    "js .1": (
        functools.partial(jxent.js_divergence, weight=0.1),
        functools.partial(oracles.js_divergence, weight=0.1),
    ),
}
each_divergence = pytest.mark.parametrize("name", DIVERGENCES)


def near_pairs(k, view, rows=2):
    """Data of pairs from far apart to a few rounding errors apart."""
    rng = generator("near", k)
    steps = np.repeat(10.0 ** np.arange(0, -8.5, -0.5), rows)[:, None]
    z = 2 * rng.normal(size=(len(steps), k))
    z[1::2] *= (
        4  # every other row is confident, with margins of which rounding eats more
    )
    data = VIEWS[view][1]
    return data(z), data(z + steps * rng.normal(size=z.shape))


def naive_kl(view, a, b):
    if view == "probs":
        log_p, log_q = jnp.log(a), jnp.log(b)
    else:
        log_p, log_q = jax.nn.log_softmax(a), jax.nn.log_softmax(b)
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


@each_view
@each_divergence
@pytest.mark.parametrize("k", [2, 3, 10, 300])
def test_divergence_keeps_its_digits_down_to_1e_15(name, view, k):
    measure, definition = DIVERGENCES[name]
    kind = VIEWS[view][0]
    a, b = near_pairs(k, view, rows=8 if k <= 10 else 1)
    truth = oracles.rows(oracles.at(definition, kind, kind), a, b)
    got = jax.jit(lambda a, b: measure(kind(a), kind(b)))(a, b)
    assert (got >= 0).all()
    promised = truth >= 1e-15
    error = relative(got[promised], truth[promised])
    assert (error <= 1e-6).all(), (error.max(), truth[promised][error.argmax()])
    assert (promised & (truth < 1e-13)).any() or name == "js .1"
    if name == "kl":
        naive = naive_kl(view, a, b)
        assert (relative(naive[promised], truth[promised]) > 0.1).any()


@each_view
@each_divergence
def test_divergence_of_far_apart_distributions(name, view):
    measure, definition = DIVERGENCES[name]
    kind, data = VIEWS[view]
    rng = generator("far")
    scale = np.repeat([1.0, 3, 8, 20, 40], 8)[:, None]
    # No probability below the smallest normal number: there nothing can be promised.
    a, b = (np.clip(scale * rng.normal(size=(40, 5)), -40, 40) for _ in range(2))
    a, b = data(a), data(b)
    truth = oracles.rows(oracles.at(definition, kind, kind), a, b)
    got = jax.jit(lambda a, b: measure(kind(a), kind(b)))(a, b)
    error = relative(got, truth)
    assert (error <= 1e-6).all(), (error.max(), truth[error.argmax()])


@each_view
@each_divergence
def test_divergence_from_itself_is_exactly_zero_with_gradient_zero(name, view):
    measure, _ = DIVERGENCES[name]
    kind = VIEWS[view][0]
    for k in (3, 1000):
        a, _ = near_pairs(k, view)
        total = lambda a, b: measure(kind(a), kind(b)).sum()
        value, gradients = jax.jit(jax.value_and_grad(total, (0, 1)))(a, a)
        assert value == 0
        assert not np.any(gradients[0]) and not np.any(gradients[1])


@pytest.mark.parametrize("kind", [BinaryProbs, BinaryLogits])
@each_divergence
def test_binary_divergence_keeps_its_digits(name, kind):
    measure, definition = DIVERGENCES[name]
    rng = generator("binary", kind)
    steps = np.repeat(10.0 ** np.arange(0, -8, -0.5), 6)
    x = 3 * rng.normal(size=steps.shape)
    x[:6] = [-30, 30, 15, -15, 0, 20]
    data = (
        np.float32
        if kind is BinaryLogits
        else lambda x: np.float32(1 / (1 + np.exp(-x)))
    )
    a, b = data(x), data(x + steps * rng.normal(size=x.shape))
    truth = oracles.rows(oracles.at(definition, kind, kind), a, b)
    got = jax.jit(lambda a, b: measure(kind(a), kind(b)))(a, b)
    assert (got >= 0).all()
    promised = truth >= 1e-15
    error = relative(got, truth)[promised]
    assert (error <= 1e-6).all(), (error.max(), truth[promised][error.argmax()])


# ------------------------------------------------------------------ gradients


def softmax32(z):
    z = np.float64(z)
    e = np.exp(z - z.max(-1, keepdims=True))
    return np.float32(e / e.sum(-1, keepdims=True))


def log_softmax32(z):
    z = np.float64(z) - np.max(z, -1, keepdims=True)
    return np.float32(z - np.log(np.exp(z).sum(-1, keepdims=True)))


def points(k, seed):
    """Logits: gentle, scaled up, nearly uniform, confident, with ties on top."""
    rng = generator("points", seed, k)
    z = rng.normal(size=(12, k))
    z[2:5] *= 5
    z[5] *= 1e-2
    z[6] *= 1e-4
    z[7:9] = 0.3 * rng.normal(size=(2, k)) + 20 * np.eye(k)[1]
    z[9, :2] = z[9].max() + 1
    z[10] = np.round(z[10]) + 1e6
    z[11] = 60 * np.eye(k)[2]
    return np.float32(z)


def label_view(y, k, smoothing=0.0):
    """Cross-entropy with label y, and its definition, as functions of the logits."""
    label = Labels(jnp.asarray(y), smoothing)
    truth = oracles.one_hot(y, k, smoothing)
    return (
        lambda z: jxent.cross_entropy(label, Logits(z)),
        lambda z: oracles.cross_entropy(truth, oracles.softmax(z)),
    )


def soft_view(t):
    """Cross-entropy with fixed targets, which may be 0, as functions of the logits."""
    return (
        lambda z: jxent.cross_entropy(jnp.float32(t), Logits(z)),
        lambda z: oracles.cross_entropy(oracles.exact(t), oracles.softmax(z)),
    )


def pair_view(measure, *kinds):
    definition = getattr(oracles, measure)
    ours = getattr(jxent, measure)
    return (
        lambda *data: ours(*(kind(x) for kind, x in zip(kinds, data, strict=True))),
        oracles.at(definition, *kinds),
    )


Z, Z2 = points(5, "p"), points(5, "q")
CLOSE = np.float32(Z + 1e-3 * generator("close").normal(size=Z.shape))
# Probabilities near 0 by rounding are not the subject here, so these are gentle.
GENTLE, GENTLE2 = Z[:6], Z2[:6]
# Targets a good way from the model: T p − t of nearly equal T p and t is not asked for.
T = softmax32(generator("targets").normal(size=Z.shape))
ONE_HOT = np.float32(np.eye(5)[[1] * 6 + [3] * 6])
# name: (function and definition, data, bound of the normwise error)
GRADIENTS = {
    "entropy": (pair_view("entropy", Logits), (Z,), 1e-6),
    "entropy of probs": (pair_view("entropy", Probs), (softmax32(GENTLE),), 1e-6),
    "entropy of log-probs": (
        pair_view("entropy", LogProbs),
        (log_softmax32(GENTLE),),
        1e-6,
    ),
    "label": (label_view(1, 5), (Z,), 1e-6),
    "wrong label": (label_view(3, 5), (Z,), 1e-6),
    "smoothed label": (label_view(1, 5, 0.1), (Z,), 5e-6),
    "soft": (pair_view("cross_entropy", Probs, Logits), (T, Z), 5e-6),
    "one-hot": (pair_view("cross_entropy", Probs, Logits), (ONE_HOT, Z), 1e-6),
    "soft of logits": (
        pair_view("cross_entropy", Logits, Logits),
        (generator("teacher").normal(size=GENTLE.shape).astype(np.float32), Z2[:6]),
        5e-6,
    ),
    "probs, probs": (
        pair_view("cross_entropy", Probs, Probs),
        (T[:6], softmax32(GENTLE)),
        1e-6,
    ),
    "kl near": (pair_view("kl_divergence", Logits, Logits), (Z, CLOSE), 1e-6),
    "kl far": (pair_view("kl_divergence", Logits, Logits), (Z, Z2), 5e-6),
    "kl of probs near": (
        pair_view("kl_divergence", Probs, Probs),
        (softmax32(GENTLE), softmax32(CLOSE[:6])),
        1e-6,
    ),
    "kl of probs far": (
        pair_view("kl_divergence", Probs, Probs),
        (softmax32(GENTLE), softmax32(GENTLE2)),
        5e-6,
    ),
    "kl of log-probs near": (
        pair_view("kl_divergence", LogProbs, LogProbs),
        (log_softmax32(GENTLE), log_softmax32(CLOSE[:6])),
        1e-6,
    ),
    "kl of log-probs far": (
        pair_view("kl_divergence", LogProbs, LogProbs),
        (log_softmax32(GENTLE), log_softmax32(GENTLE2)),
        5e-6,
    ),
    "js near": (pair_view("js_divergence", Logits, Logits), (Z, CLOSE), 1e-6),
    "js far": (pair_view("js_divergence", Logits, Logits), (Z, Z2), 5e-6),
    "js of probs near": (
        pair_view("js_divergence", Probs, Probs),
        (softmax32(GENTLE), softmax32(CLOSE[:6])),
        1e-6,
    ),
    "js of probs far": (
        pair_view("js_divergence", Probs, Probs),
        (softmax32(GENTLE), softmax32(GENTLE2)),
        5e-6,
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    (ours, definition), data, bound = GRADIENTS[name]
    slopes = jax.jit(jax.vmap(jax.grad(ours, tuple(range(len(data))))))(*data)
    for i, slope in enumerate(slopes):
        truth = oracles.rows(lambda *x, i=i: oracles.gradient(definition, *x)[i], *data)
        error = normwise(slope, truth)
        assert (error <= bound).all(), (i, error.argmax(), error.max())


X = np.float32([0, 1e-6, 1e-3, -1e-3, 0.3, -2, 5, 17.5, -20, 40, -80, 80])
X2 = np.float32([1e-3, 1e-6, 1.1e-3, -2, 0.31, -2.001, 4, 17, 20, 39, -79, 80.5])
P, P2 = (np.float32(1 / (1 + np.exp(-np.float64(np.clip(x, -15, 8))))) for x in (X, X2))
# No class axis, so that every number has its own bound: no large one hides a small one.
BINARY_GRADIENTS = {
    "entropy of logits": (pair_view("entropy", BinaryLogits), (X,)),
    "entropy of probs": (pair_view("entropy", BinaryProbs), (P[1:],)),
    "hard targets": (
        pair_view("cross_entropy", BinaryProbs, BinaryLogits),
        (np.float32(X > -1), X),
    ),
    "probs": (pair_view("cross_entropy", BinaryProbs, BinaryProbs), (P, P2)),
    "kl": (pair_view("kl_divergence", BinaryProbs, BinaryProbs), (P, P2)),
    "kl of logits": (pair_view("kl_divergence", BinaryLogits, BinaryLogits), (X, X2)),
    "js": (pair_view("js_divergence", BinaryProbs, BinaryProbs), (P, P2)),
    "js of logits": (pair_view("js_divergence", BinaryLogits, BinaryLogits), (X, X2)),
}


@pytest.mark.parametrize("name", BINARY_GRADIENTS)
def test_binary_gradients(name):
    (ours, definition), data = BINARY_GRADIENTS[name]
    total = lambda *data: ours(*data).sum()
    slopes = jax.jit(jax.grad(total, tuple(range(len(data)))))(*data)
    columns = [x[:, None] for x in data]  # rows of one number
    scalar = lambda *xs: definition(*(x[0] for x in xs))
    for i, slope in enumerate(slopes):
        truth = oracles.rows(lambda *x, i=i: oracles.gradient(scalar, *x)[i], *columns)
        error = normwise(slope[:, None], truth)
        assert (error <= 5e-6).all(), (i, error.argmax(), error.max())


def test_gradients_over_many_classes():
    k = 1000
    z = confident(k, [0, 5, 20], [0])
    y = jnp.array([1, 1, 3])
    got = jax.grad(lambda z: label_cross_entropy(z, y).sum())(z)
    p = np.exp(
        -np.stack(
            [oracles.label_cross_entropy64(z, np.full(3, j)) for j in range(k)], -1
        )
    )
    truth = p.copy()
    loss = oracles.label_cross_entropy64(z, np.asarray(y))
    truth[np.arange(3), y] = np.expm1(-loss)
    assert (normwise(got, truth) <= 1e-6).all()
    got = jax.grad(lambda z: jxent.entropy(Logits(z)).sum())(z)
    truth = -p * (np.log(p) + oracles.entropy64(z)[:, None])
    assert (normwise(got, truth) <= 1e-6).all()


# ------------------------------------------------------------------ second derivatives

NESTINGS = {
    "forward over forward": lambda f: jax.jacfwd(jax.jacfwd(f)),
    "forward over reverse": jax.hessian,
    "reverse over forward": lambda f: jax.jacrev(jax.jacfwd(f)),
    "reverse over reverse": lambda f: jax.jacrev(jax.jacrev(f)),
}
# Rows of two logit vectors of three classes, laid end to end as [a, b].
CURVED = np.float32(
    [
        [0, 0, 0, 0, 0, 0],  # all equal
        [0.5, -0.2, 0.1, 0.3, 0.4, -1],  # nothing special
        [1, 1, 0, 1, 1, -1],  # ties on top
        [1, 0, 1, 0, 2, 2],
        [20, 0, 0.5, 20, 0.3, 0],  # confident, and alike
        [0, 20, 0.5, 0.3, 1, 0],  # confident, and wrong about class 0
        [0.5, 1, 0.2, 1, 21, 0],
        [0.5, -0.2, 0.1, 0.5001, -0.2002, 0.1],  # nearly equal
    ]
)
MASKED = np.float32(
    [
        [0.5, -INF, 0.1, 0.3, -INF, -1],
        [-INF, 1, 1, -INF, 0, 3],
        [0.5, 0.2, -INF, 20, 0, -INF],
    ]
)


def of_halves(view):
    """A function of two rows as one of a row that holds both."""
    ours, definition = view
    return (
        lambda x: ours(x[:3], x[3:]),
        lambda x: definition(x[:3], x[3:]),
    )


def as_data(rows, *converters):
    """The data of CURVED for other views than logits."""
    return np.concatenate(
        [c(part) for c, part in zip(converters, np.split(rows, 2, -1), strict=True)], -1
    )


BOTH = np.concatenate([CURVED, MASKED])
SECOND = {
    "entropy": (pair_view("entropy", Logits), BOTH[:, :3], BOTH[:, 3:]),
    "label": (label_view(0, 3), BOTH[:, :3][BOTH[:, 0] > -INF], CURVED[:, 3:]),
    "smoothed label": (label_view(0, 3, 0.1), CURVED[:, :3], CURVED[:, 3:]),
    "soft": (
        of_halves(pair_view("cross_entropy", Probs, Logits)),
        as_data(CURVED, softmax32, np.float32),
        as_data(
            CURVED, lambda z: np.float32(z == z.max(-1, keepdims=True)), np.float32
        ),
    ),
    "masked soft": (soft_view([0.25, 0, 0.75]), MASKED[:1, :3], MASKED[:1, 3:]),
    "soft of logits": (of_halves(pair_view("cross_entropy", Logits, Logits)), BOTH),
    "kl": (of_halves(pair_view("kl_divergence", Logits, Logits)), BOTH),
    "js": (of_halves(pair_view("js_divergence", Logits, Logits)), BOTH),
    "entropy of probs": (pair_view("entropy", Probs), softmax32(CURVED[:, :3])),
    "cross-entropy of probs": (
        of_halves(pair_view("cross_entropy", Probs, Probs)),
        as_data(CURVED, softmax32, softmax32),
    ),
    "kl of probs": (
        of_halves(pair_view("kl_divergence", Probs, Probs)),
        as_data(CURVED, softmax32, softmax32),
    ),
    "js of probs": (
        of_halves(pair_view("js_divergence", Probs, Probs)),
        as_data(CURVED, softmax32, softmax32),
    ),
    "entropy of log-probs": (
        pair_view("entropy", LogProbs),
        log_softmax32(CURVED[:, :3]),
    ),
    "kl of log-probs": (
        of_halves(pair_view("kl_divergence", LogProbs, LogProbs)),
        as_data(BOTH, log_softmax32, log_softmax32),
    ),
    "kl of probs and logits": (
        of_halves(pair_view("kl_divergence", Probs, Logits)),
        as_data(CURVED, softmax32, np.float32),
    ),
}


@functools.cache
def curvature(name):
    (_, definition), *data = SECOND[name]
    data = np.concatenate(data)
    return data, oracles.rows(lambda x: oracles.hessian(definition, x), data)


@pytest.mark.parametrize("nesting", NESTINGS)
@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives(name, nesting):
    data, truth = curvature(name)
    ours = SECOND[name][0][0]
    got = np.asarray(jax.jit(jax.vmap(NESTINGS[nesting](ours)))(data))
    rows = len(data)
    error = normwise(got.reshape(rows, -1), truth.reshape(rows, -1))
    assert (error <= 1e-6).all(), (error.argmax(), error.max())
    # A mask stays one: the derivatives of an impossible class are exact zeros.
    masked = data == -INF
    assert not got[masked].any() and not got.swapaxes(1, 2)[masked].any()


# ------------------------------------------------------------------ far apart, and in tiles


def projected(z):
    """The logits as a projection that nobody multiplies out, in tiles of two classes."""
    return LinearLogits(z, jnp.eye(z.shape[-1], dtype=z.dtype), block_size=2)


LEAST = np.finfo(np.float32).min
APART = np.float32(
    [
        [0.5, -0.2, 0.1, 0.3, -1e2, -1],  # likely here, and a gap behind there
        [0.5, -0.2, 0.1, 0.3, -1e4, -1],
        [0.5, -0.2, 0.1, 0.3, -1e9, -1],
        [-1e9, 1, 0.2, 0.4, -1e9, 2],
        [20, 0, 0.5, 0.3, 20, 0],  # each is sure of a class of its own
        [-0.5, 40, 0, 0.3, 1, 40],
        [0.5, -1e9, 0.1, 0.3, -1e9, -1],  # masked in both
        [0.5, LEAST, 0.1, 0.3, LEAST, -1],
        [0.5, LEAST, 0.1, 0.3, -1e9, -1],
        [20, 0, 0.5, 20, 0.3, 0],  # confident, and alike
        [0, 0.5, 40, 0.3, 0, 41],
        [1, 2, 3, 1.001, 2, 3],  # nearly equal; here the leaders of the tiles are equal
        [0.5, -0.2, 0.1, 0.501, -0.2003, 0.0996],
        [0.5, -0.2, 0.1, 0.50001, -0.200004, 0.100003],
        [15, -0.2, 0.1, 15.00001, -0.200004, 0.100003],
    ]
)


def distillation(p, q):
    teacher, student = (x.data if isinstance(x, Logits) else x for x in (p, q))
    return losses.distillation_loss(student, teacher, temperature=2.0).loss


FAR = {
    "cross-entropy": (jxent.cross_entropy, oracles.cross_entropy),
    "kl": (jxent.kl_divergence, oracles.kl_divergence),
    "js": (jxent.js_divergence, oracles.js_divergence),
    "distillation": (distillation, lambda p, q: 4 * oracles.kl_divergence(p, q)),
}
PARTNERS = {
    "dense": (Logits, Logits),
    "streamed": (projected, projected),
    "mixed": (projected, Logits),
}


@functools.cache
def far_truth(name):
    """Value, gradient and Hessian of the definition at the rows of APART."""
    t = 2 if name == "distillation" else 1
    definition = lambda a, b: FAR[name][1](*(oracles.softmax(x / t) for x in (a, b)))
    _, whole = of_halves((None, definition))
    slope = lambda x: oracles.gradient(whole, x)[0]
    curve = lambda x: oracles.hessian(whole, x)
    return [oracles.rows(f, APART) for f in (whole, slope, curve)]


@pytest.mark.parametrize(
    "name, partners",
    [
        ("cross-entropy", "dense"),
        *itertools.product(["kl", "js"], ["dense", "streamed"]),
        ("distillation", "mixed"),
    ],
)
def test_far_apart_and_in_tiles_all_keep_their_digits(name, partners):
    one, other = PARTNERS[partners]
    f = lambda x: FAR[name][0](one(x[:3]), other(x[3:]))

    value, slope = jax.jit(jax.vmap(jax.value_and_grad(f)))(APART)
    true_value, true_slope, true_curve = far_truth(name)
    error = relative(value, true_value)
    assert (error <= 1e-6).all(), (error.argmax(), error.max())
    halves = lambda x: np.reshape(x, (len(APART), 2, 3))
    error = normwise(halves(slope), halves(true_slope)).max(-1)
    assert (error <= 5e-6).all(), (error.argmax(), error.max())
    if partners != "dense":
        return  # of tiles, `test_linear` has the nestings
    twice = lambda x: [nesting(f)(x) for nesting in NESTINGS.values()]
    curves = jax.jit(jax.vmap(twice))(APART)
    largest = np.abs(true_curve).max((1, 2))
    for nesting, curve in zip(NESTINGS, curves, strict=True):
        error = np.abs(curve - true_curve).max((1, 2)) / largest
        assert (error <= 1e-6).all(), (nesting, error.argmax(), error.max())


BINARY_SECOND = {
    "entropy": (pair_view("entropy", BinaryLogits), X[:, None]),
    "target": (
        pair_view("cross_entropy", BinaryProbs, BinaryLogits),
        np.stack([P, X2], -1),
    ),
    "logits": (
        pair_view("cross_entropy", BinaryLogits, BinaryLogits),
        np.stack([X, X2], -1)[:7],
    ),
    "kl": (
        pair_view("kl_divergence", BinaryLogits, BinaryLogits),
        np.stack([X, X2], -1),
    ),
    "js": (
        pair_view("js_divergence", BinaryLogits, BinaryLogits),
        np.stack([X, X2], -1),
    ),
    "kl of probs": (
        pair_view("kl_divergence", BinaryProbs, BinaryProbs),
        np.stack([P, P2], -1),
    ),
}


@pytest.mark.parametrize("name", BINARY_SECOND)
def test_binary_second_derivatives(name):
    (ours, definition), data = BINARY_SECOND[name]
    split = lambda f: lambda x: f(*(x[i] for i in range(data.shape[-1])))
    truth = oracles.rows(lambda x: oracles.hessian(split(definition), x), data)
    for nesting in NESTINGS.values():
        got = np.asarray(jax.jit(jax.vmap(nesting(split(ours))))(data))
        error = normwise(got.reshape(len(got), -1), truth.reshape(len(got), -1))
        assert (error <= 1e-6).all(), (error.argmax(), error.max())


# A softmax outside of jxent is the user's, but what comes back through it is ours: 0/0
# and the square of a small number must not turn up.
@pytest.mark.parametrize("nesting", NESTINGS)
@pytest.mark.parametrize("measure", ["entropy", "cross_entropy", "kl_divergence"])
def test_second_derivatives_through_a_softmax_that_rounds_to_zero(measure, nesting):
    p = jnp.array([1.0, 0, 0])
    z = np.float32([[0, -30, 1], [0, -50, 1], [0, -100, 1], [0, -INF, 1]])
    if measure == "entropy":
        ours = lambda z: jxent.entropy(jax.nn.softmax(z))
        definition = oracles.at(oracles.entropy, Logits)
    else:
        ours = lambda z: getattr(jxent, measure)(p, jax.nn.softmax(z))
        definition = lambda z: oracles.cross_entropy(
            oracles.exact(p), oracles.softmax(z)
        )
    got = jax.jit(jax.vmap(NESTINGS[nesting](ours)))(z)
    truth = oracles.rows(lambda z: oracles.hessian(definition, z), z)
    assert (normwise(got.reshape(4, -1), truth.reshape(4, -1)) <= 5e-6).all()


# ------------------------------------------------------------------ precision of the input

SINGLES = {Probs: softmax32, LogProbs: log_softmax32, Logits: np.float32}


@pytest.mark.parametrize(
    "dtype", [jnp.bfloat16, jnp.float16, jnp.float8_e4m3fn], ids=lambda d: d.__name__
)
@pytest.mark.parametrize("kind", SINGLES)
def test_half_precision_is_computed_in_float32_from_the_exact_inputs(kind, dtype):
    z, z2 = points(7, "half")[:6], points(7, "other half")[:6]
    p, q = (jnp.asarray(SINGLES[kind](x)).astype(dtype) for x in (z, z2))
    y = Labels(jnp.zeros(6, jnp.int32), 0.1)

    @jax.jit
    def found(p, q):
        values = (
            jxent.entropy(kind(p)),
            jxent.cross_entropy(y, kind(q)),
            jxent.cross_entropy(kind(p), kind(q)),
            jxent.kl_divergence(kind(p), kind(q)),
            jxent.js_divergence(kind(p), kind(q)),
        )
        return jnp.stack(values)

    got = found(p, q)
    wide = found(p.astype(jnp.float32), q.astype(jnp.float32))
    assert got.dtype == jnp.float32 and not got.weak_type
    # Not bit for bit: the conversion may be fused into another order of sums.
    np.testing.assert_allclose(got, wide, rtol=4 * EPS, atol=1e-7 * EPS)
    slopes = jax.eval_shape(jax.grad(lambda p, q: found(p, q).sum(), (0, 1)), p, q)
    assert [slope.dtype for slope in slopes] == [dtype, dtype]


@pytest.mark.parametrize("measure", ["cross_entropy", "kl_divergence", "js_divergence"])
@pytest.mark.parametrize("p_kind", SINGLES)
@pytest.mark.parametrize("q_kind", SINGLES)
def test_mixed_dtypes_meet_in_the_wider(measure, p_kind, q_kind):
    f = lambda p, q: getattr(jxent, measure)(p_kind(p), q_kind(q))
    widths = (jnp.float32, jnp.float64), (jnp.float64, jnp.bfloat16)
    with jax.enable_x64(True):
        for dtypes in widths:
            data = [jax.ShapeDtypeStruct((4,), dtype) for dtype in dtypes]
            # Tracing is enough: a type error under strict promotion happens there.
            assert jax.eval_shape(f, *data).dtype == jnp.float64
            for argument in (0, 1):
                curve = jax.eval_shape(jax.hessian(f, argument), *data)
                assert curve.dtype == dtypes[argument]


@pytest.mark.parametrize("measure", ["cross_entropy", "kl_divergence", "js_divergence"])
def test_mixed_dtypes_have_the_digits_of_the_wider(measure):
    compute = getattr(jxent, measure)
    definition = oracles.at(getattr(oracles, measure), Logits, Logits)
    with jax.enable_x64(True):
        z, wide = (jnp.asarray(generator("mixed", i).normal(size=(6, 5))) for i in "pq")
        pairs = (z.astype(jnp.float32), wide), (wide, z.astype(jnp.bfloat16))
        of = lambda one, pair: compute(one(pair[0]), Logits(pair[1]))
        views = Logits, projected
        found = jax.jit(lambda pairs: [[of(one, x) for one in views] for x in pairs])
        for pair, values in zip(pairs, found(pairs), strict=True):
            truth = oracles.rows(definition, *(np.float64(x) for x in pair))
            for got in values:
                assert got.dtype == jnp.float64
                assert (relative(got, truth) <= 3e-15).all(), pair[0].dtype


def test_float64_has_the_digits_of_float64():
    rng = generator("x64")
    z = 2 * rng.normal(size=(12, 5))
    z[0] = 30 * np.eye(5)[1]
    steps = 10.0 ** -np.arange(12)[:, None]
    with jax.enable_x64(True):
        for kind, data in {
            Probs: lambda z: np.exp(z) / np.exp(z).sum(-1, keepdims=True),
            Logits: lambda z: z,
            LogProbs: lambda z: z - np.log(np.exp(z).sum(-1, keepdims=True)),
        }.items():
            a, b = data(z), data(z + steps * rng.normal(size=z.shape))
            for name in ("cross_entropy", "kl_divergence", "js_divergence"):
                truth = oracles.rows(
                    oracles.at(getattr(oracles, name), kind, kind), a, b
                )
                got = getattr(jxent, name)(kind(a), kind(b))
                assert (relative(got, truth) <= 3e-15).all(), (kind, name)
            y = np.ones(12, int)
        loss = label_cross_entropy(z, jnp.asarray(y))
        truth = oracles.label_cross_entropy64(z, y)
        assert (relative(loss, truth) <= 3e-15).all()


# ------------------------------------------------------------------ ten million classes


def test_sums_over_ten_million_classes():
    k = 10**7
    rng = generator("many")
    p = rng.random(k) + 0.5
    q = p * (1 + 1e-2 * rng.normal(size=k))
    p, q = (np.float32(x / x.sum()) for x in (p, q))
    wide, other = np.float64(p), np.float64(q)
    truth = -(wide * np.log(wide)).sum()
    assert relative(jxent.entropy(Probs(p)), truth) <= 1e-6
    truth = -(wide * np.log(other)).sum()
    assert relative(jxent.cross_entropy(Probs(p), Probs(q)), truth) <= 1e-6
    # float64 has 12 digits left after the cancellation of the first order.
    d = other - wide
    truth = (d - wide * np.log1p(d / wide)).sum()
    assert relative(jxent.kl_divergence(Probs(p), Probs(q)), truth) <= 1e-6
    sequential = np.add.accumulate(p[: 10**6] * 10)[-1]
    assert relative(sequential, 10 * wide[: 10**6].sum()) > 1e-6
