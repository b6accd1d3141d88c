"""What holds for all distributions, in every view of them.

Hypothesis varies the values at one shape, since every new shape would be compiled anew;
all functions under test are jitted once, at the top.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

import jxent
from jxent import BinaryLogits, BinaryProbs, Labels, Logits, LogProbs, Probs

pytestmark = pytest.mark.usefixtures("hasty_compiler")

ROWS, K = 4, 5
RTOL, ATOL = 2e-6, 2e-6

# Views of the distribution that logits stand for; softmax in float64, rounded once.
VIEWS = {
    "array": lambda z: softmax32(z),
    "Probs": lambda z: Probs(softmax32(z)),
    "LogProbs": lambda z: LogProbs(log_softmax32(z)),
    "Logits": lambda z: Logits(z),
}
BINARY = {
    "BinaryProbs": lambda x: BinaryProbs(np.float32(1 / (1 + np.exp(-np.float64(x))))),
    "BinaryLogits": lambda x: BinaryLogits(x),
}
each_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
every_view = pytest.mark.parametrize(
    "view", [*VIEWS.values(), *BINARY.values()], ids=[*VIEWS, *BINARY]
)
PAIRS = [*itertools.product(VIEWS, VIEWS), *itertools.product(BINARY, BINARY)]
ALL = VIEWS | BINARY
each_pair = pytest.mark.parametrize("one, other", PAIRS)


def softmax32(z):
    e = np.exp(np.float64(z) - np.max(z, -1, keepdims=True))
    return np.float32(e / e.sum(-1, keepdims=True))


def log_softmax32(z):
    z = np.float64(z) - np.max(z, -1, keepdims=True)
    return np.float32(z - np.log(np.exp(z).sum(-1, keepdims=True)))


# A view of one event is made of the same numbers: each of the K columns is an event.
numbers = st.floats(-20, 20, width=32)
logits = hnp.arrays(np.float32, (ROWS, K), elements=numbers)
# With impossible classes, but never all of them.
masked = hnp.arrays(np.float32, (ROWS, K), elements=numbers | st.just(-np.inf)).map(
    lambda z: np.where(np.isneginf(z).all(-1, keepdims=True), np.float32(0), z)
)
weights = st.floats(0.015625, 0.984375, width=32)

entropy = jax.jit(jxent.entropy)
perplexity = jax.jit(jxent.perplexity)
cross_entropy = jax.jit(jxent.cross_entropy)
kl = jax.jit(jxent.kl_divergence)
js = jax.jit(jxent.js_divergence)
in_bits = {
    f: jax.jit(functools.partial(f, base=2))
    for f in (
        jxent.entropy,
        jxent.cross_entropy,
        jxent.kl_divergence,
        jxent.js_divergence,
    )
}
weighted_js = jax.jit(jxent.js_divergence, static_argnames="weight")
close = functools.partial(np.testing.assert_allclose, rtol=RTOL, atol=ATOL)


def at_most(a, b):
    """a <= b, within rounding; of infinite b there is nothing to ask."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert (a <= b + ATOL + RTOL * np.abs(b)).all(), (a, b)


# ------------------------------------------------------------------ entropy


@every_view
@given(z=masked)
def test_entropy_lies_between_certainty_and_uniform(view, z):
    p = view(z)
    h = entropy(p)
    k = 2 if isinstance(p, BinaryProbs | BinaryLogits) else K
    assert (h >= -1e-6).all()  # of probabilities that sum to more than 1
    at_most(h, math.log(k))
    if isinstance(p, Logits | BinaryLogits):
        assert (h >= 0).all()
    close(perplexity(p), np.exp(h), rtol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 7, 1000])
def test_uniform_has_the_most(k):
    z = np.full(k, 2.5, np.float32)
    for view in VIEWS.values():
        close(jxent.entropy(view(z)), math.log(k), rtol=1e-6)


@given(a=masked, b=masked, w=weights)
def test_entropy_is_concave(a, b, w):
    p, q = softmax32(a), softmax32(b)
    mixture = np.float32(w * p + (1 - w) * q)
    at_most(w * entropy(p) + (1 - w) * entropy(q), entropy(mixture))


@given(z=masked)
def test_every_view_has_the_same_entropy(z):
    truth = oracles.rows(oracles.at(oracles.entropy, Logits), z)
    for view in VIEWS.values():
        close(entropy(view(z)), truth)


gentle = hnp.arrays(np.float32, (ROWS, K), elements=st.floats(-4, 4, width=32))


@given(z=logits, x=gentle)
def test_an_event_is_a_distribution_over_two_classes(z, x):
    classes = lambda z: Logits(np.stack([np.zeros_like(z), z], -1))
    for view in BINARY.values():
        close(entropy(view(z)), entropy(classes(z)))
    for f in (cross_entropy, kl, js):
        close(
            f(BinaryLogits(z), BinaryLogits(z[::-1])), f(classes(z), classes(z[::-1]))
        )
        # Probabilities near 1 would not hold the digits of 1 − p.
        for one, other in itertools.product(BINARY.values(), repeat=2):
            truth = f(classes(x), classes(x[::-1]))
            close(f(one(x), other(x[::-1])), truth, rtol=2e-5, atol=1e-5)


# ------------------------------------------------------------------ two distributions


@each_pair
@settings(max_examples=20)
@given(a=logits, b=logits)
def test_two_distributions(one, other, a, b):
    """Gibbs, H(p, q) = H(p) + KL, and what JS may be, in every pair of views."""
    p, q = ALL[one](a), ALL[other](b)
    h, cross, divergence, shannon = entropy(p), cross_entropy(p, q), kl(p, q), js(p, q)
    assert (divergence >= 0).all() and (shannon >= 0).all()
    at_most(h, cross)
    # Bregman's form has Σ q − Σ p besides, which is rounding.
    close(h + divergence, cross, rtol=4e-6, atol=4e-6)
    at_most(shannon, math.log(2))
    close(shannon, js(q, p))
    at_most(shannon, (kl(p, q) + kl(q, p)) / 4)  # Lin's bound by Jeffreys' divergence


@given(a=masked, b=masked)
def test_laws_hold_with_impossible_classes(a, b):
    p, q = Logits(a), Logits(b)
    h, cross, divergence = entropy(p), cross_entropy(p, q), kl(p, q)
    assert (divergence >= 0).all()
    close(h + divergence, cross, rtol=4e-6)
    excluded = (np.isneginf(b) & ~np.isneginf(a)).any(-1)
    np.testing.assert_array_equal(np.isinf(divergence), excluded)
    at_most(js(p, q), math.log(2))


@given(a=logits, b=logits)
def test_every_pair_of_views_agrees(a, b):
    for f, definition in (
        (cross_entropy, oracles.cross_entropy),
        (kl, oracles.kl_divergence),
        (js, oracles.js_divergence),
    ):
        truth = oracles.rows(oracles.at(definition, Logits, Logits), a, b)
        for one, other in itertools.product(VIEWS.values(), repeat=2):
            close(f(one(a), other(b)), truth, rtol=4e-6, atol=4e-6)


@every_view
@given(a=logits)
def test_nothing_is_at_distance_zero_from_itself(view, a):
    p = view(a)
    assert not np.any(kl(p, p)) and not np.any(js(p, p))
    close(cross_entropy(p, p), entropy(p))


@given(a=logits, b=logits, w=weights)
def test_js_of_any_weight_is_symmetric_and_bounded_by_the_entropy_of_the_choice(
    a, b, w
):
    for w in (0.125, 0.75):
        for view in (VIEWS["Logits"], VIEWS["Probs"], BINARY["BinaryLogits"]):
            p, q = view(a), view(b)
            d = weighted_js(p, q, weight=w)
            choice = -w * math.log(w) - (1 - w) * math.log(1 - w)
            at_most(d, choice)
            close(d, weighted_js(q, p, weight=1 - w))


@given(a=logits, b=logits)
def test_js_is_the_mutual_information_of_the_draw_and_the_choice(a, b):
    p, q = softmax32(a), softmax32(b)
    middle = np.float32((p + q) / 2)
    close(js(p, q), entropy(middle) - (entropy(p) + entropy(q)) / 2, atol=4e-6)


@given(a=logits, b=logits, c=logits)
def test_the_root_of_js_is_a_metric(a, b, c):
    p, q, r = Logits(a), Logits(b), Logits(c)
    at_most(np.sqrt(js(p, r)), np.sqrt(js(p, q)) + np.sqrt(js(q, r)))


@given(a=logits, b=logits)
def test_pinsker(a, b):
    apart = np.abs(np.float64(softmax32(a)) - softmax32(b)).sum(-1)
    at_most(apart**2 / 2, kl(Logits(a), Logits(b)))


@given(a=logits, b=logits, c=logits, d=logits, w=weights)
def test_kl_is_jointly_convex(a, b, c, d, w):
    p, q, r, s = map(softmax32, (a, b, c, d))
    mixed = kl(np.float32(w * p + (1 - w) * r), np.float32(w * q + (1 - w) * s))
    at_most(mixed, w * kl(p, q) + (1 - w) * kl(r, s))


@given(a=logits, b=logits, channel=hnp.arrays(np.float32, (K, 3), elements=numbers))
def test_data_processing_tells_nothing_new(a, b, channel):
    p, q, channel = map(np.float64, map(softmax32, (a, b, channel)))
    through = [np.float32(x @ channel) for x in (p, q)]
    before = [np.float32(x) for x in (p, q)]
    at_most(kl(*through), kl(*before))
    at_most(js(*through), js(*before))


# ------------------------------------------------------------------ products and joints

rows = st.integers(0, ROWS - 1)


@given(a=logits, b=logits, i=rows, j=rows)
def test_independent_parts_add_up(a, b, i, j):
    joint = lambda x: (x[i][:, None] + x[j][None, :]).reshape(1, -1)  # logits add
    close(entropy(Logits(joint(a))), entropy(Logits(a))[i] + entropy(Logits(a))[j])
    parts = kl(Logits(a), Logits(b))
    close(kl(Logits(joint(a)), Logits(joint(b))), parts[i] + parts[j], rtol=4e-6)


@given(a=logits, b=logits, c=logits, d=logits)
def test_chain_rule(a, b, c, d):
    # p(x, y) = p(x) p(y | x): one row of `a` for x, the rows of `c` for y given x.
    joint = lambda x, y: log_softmax32(x[0, :ROWS])[:, None] + log_softmax32(y)
    p, q = joint(a, c), joint(b, d)
    p_x, q_x = Logits(a[0, :ROWS]), Logits(b[0, :ROWS])
    weight = softmax32(a[0, :ROWS])
    close(
        entropy(Logits(p.reshape(1, -1))),
        entropy(p_x) + weight @ np.asarray(entropy(Logits(c))),
        atol=4e-6,
    )
    close(
        kl(Logits(p.reshape(1, -1)), Logits(q.reshape(1, -1))),
        kl(p_x, q_x) + weight @ np.asarray(kl(Logits(c), Logits(d))),
        rtol=1e-5,
        atol=1e-5,
    )


# ------------------------------------------------------------------ invariances

orders = st.permutations(range(K))


@each_view
@given(a=logits, b=logits, order=orders)
def test_the_order_of_the_classes_does_not_matter(view, a, b, order):
    p, q, p2, q2 = view(a), view(b), view(a[:, order]), view(b[:, order])
    close(entropy(p2), entropy(p))
    for f in (cross_entropy, kl, js):
        close(f(p2, q2), f(p, q))


@given(a=logits, b=logits, shift=st.floats(-100, 100, width=32))
def test_a_constant_added_to_the_logits_changes_nothing(a, b, shift):
    # The sum is rounded, which moves logits by up to 4e-6; hence the tolerance.
    loose = functools.partial(close, rtol=1e-4, atol=2e-5)
    loose(entropy(Logits(a + shift)), entropy(Logits(a)))
    for f in (cross_entropy, kl, js):
        loose(f(Logits(a + shift), Logits(b - shift)), f(Logits(a), Logits(b)))


@given(a=logits, b=logits)
def test_bits_are_nats_over_log_2(a, b):
    for p, q in ((Logits(a), Logits(b)), (BinaryLogits(a), BinaryLogits(b))):
        for f, measure in in_bits.items():
            arguments = (p,) if f is jxent.entropy else (p, q)
            np.testing.assert_allclose(
                measure(*arguments), f(*arguments) / math.log(2), rtol=5e-7
            )


def test_a_base_is_a_number_above_1():
    p = jnp.array([0.25, 0.75])
    np.testing.assert_allclose(jxent.entropy(p, base=4), jxent.entropy(p, base=2) / 2)
    hartleys = jxent.kl_divergence(p, p[::-1], base=10) * math.log(10)
    np.testing.assert_allclose(hartleys, jxent.kl_divergence(p, p[::-1]), rtol=1e-6)
    for base in (1, 0.5, 0, -2, math.nan):
        with pytest.raises(ValueError, match=rf"base is {base}, not in \(1, inf\)"):
            jxent.entropy(p, base=base)


# ------------------------------------------------------------------ labels


@given(z=logits, y=hnp.arrays(np.int32, ROWS, elements=st.integers(0, K - 1)))
def test_labels_are_one_hots(z, y):
    one_hot = np.float32(np.eye(K)[y])
    for view in VIEWS.values():
        q = view(z)
        for f in (cross_entropy, kl, js):
            close(f(Labels(y), q), f(one_hot, q))
        s = np.float32(0.25)
        soft = (1 - s) * one_hot + s / K
        for f in (cross_entropy, kl, js):
            close(f(Labels(y, 0.25), q), f(soft, q), rtol=4e-6, atol=4e-6)


# ------------------------------------------------------------------ differentiation

measures_of_two = (jxent.cross_entropy, jxent.kl_divergence, jxent.js_divergence)


@every_view
@given(a=logits, b=logits)
def test_differentiation_does_not_change_the_value(view, a, b):
    p, q = view(a), view(b)
    value = values(p, q)
    # Other programs may fuse a · b + c otherwise, which moves the last digit.
    for differentiated in (forward, reverse):
        np.testing.assert_allclose(differentiated(p, q), value, rtol=2**-22)


@every_view
def test_differentiation_does_not_change_a_bit_where_nothing_is_fused(view):
    a, b = np.random.default_rng(0).normal(size=(2, ROWS, K)).astype(np.float32) * 10
    arguments = jax.tree.map(jnp.asarray, (view(a), view(b)))
    ones = jax.tree.map(jnp.ones_like, arguments)
    with jax.disable_jit():
        value, _ = jax.jvp(values, arguments, ones)
        np.testing.assert_array_equal(value, values(*arguments))


@jax.jit
def values(p, q):
    binary = isinstance(q, BinaryProbs | BinaryLogits)
    y = jnp.arange(ROWS)
    y = jnp.broadcast_to(y[:, None] % 2, (ROWS, K)) if binary else y
    return jnp.stack(
        [
            jxent.entropy(p),
            jxent.cross_entropy(Labels(y), q),
            jxent.cross_entropy(Labels(y, 0.1), q),
            jxent.cross_entropy(p, q),
            jxent.kl_divergence(p, q),
            jxent.js_divergence(p, q),
        ]
    )


@jax.jit
def forward(p, q):
    ones = jax.tree.map(jnp.ones_like, (p, q))
    value, tangent = jax.jvp(values, (p, q), ones)
    return jnp.where(jnp.isnan(tangent), jnp.nan, value)  # so that both are computed


@jax.jit
def reverse(p, q):
    value, pull = jax.vjp(values, p, q)
    total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(pull(jnp.ones_like(value))))
    return jnp.where(jnp.isnan(total), jnp.nan, value)


@given(z=masked, v=logits)
def test_gradient_of_any_measure_of_logits_adds_up_to_zero(z, v):
    for slope, bound in zip(slopes_of_logits(z, v), (10, 40, 40, 2), strict=True):
        assert np.isfinite(slope).all()
        np.testing.assert_allclose(slope.sum(-1), 0, atol=bound * 1e-6)
        np.testing.assert_array_equal(slope[np.isneginf(z)], 0)


@jax.jit
def slopes_of_logits(z, v):
    slope = lambda f: jax.grad(lambda z: f(z).sum())(z)
    return (
        slope(lambda z: jxent.entropy(Logits(z))),
        slope(lambda z: jxent.cross_entropy(Logits(z), Logits(v))),
        slope(lambda z: jxent.kl_divergence(Logits(z), Logits(v))),
        slope(lambda z: jxent.js_divergence(Logits(z), Logits(v))),
    )
