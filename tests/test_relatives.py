"""The divergences beside KL: digits, limits, views and laws, for one table of them all."""

import functools
import itertools
import math

import jax
import numpy as np
import oracles
import oracles_of_relatives as truth
import pytest
from relatives import (
    DATA,
    exactly,
    generator,
    K,
    measure,
    MEASURES,
    ORDER,
    ORDERS,
    pair,
    softmax32,
)

import jxent
from jxent import (
    BinaryLogits,
    BinaryProbs,
    Logits,
    LogProbs,
    Probs,
)

# ------------------------------------------------------------------ digits

BINARY = BinaryProbs, BinaryLogits
CASES = [
    *itertools.product(MEASURES[:3], [Probs, Logits, BinaryProbs]),
    *itertools.product(MEASURES[:1], [LogProbs, BinaryLogits]),
    *itertools.product(MEASURES[3:], [Logits]),
]


def rows(kind, *data):
    """The first two rows of the data, exactly; an event is a row of one number."""
    for row in zip(*(x[:2] for x in data), strict=True):
        yield [np.atleast_1d(oracles.exact(x)) for x in row]


def on(kind, f):
    """`f` of probabilities, as a function of the data."""
    of_row = lambda x: oracles.MEANING[kind](x[0] if kind in BINARY else x)
    return lambda *data: f(*map(of_row, data))


def assert_slopes(got, exact, row, rtol=1e-5, atol=0.0):
    for one, want in zip(got, oracles.gradient(exact, *row), strict=True):
        want = want.astype(float)
        error = np.linalg.norm(np.atleast_1d(np.float64(one)) - want)
        assert error <= rtol * np.linalg.norm(want) + atol


@pytest.mark.parametrize("name, kind", CASES)
def test_values_and_slopes_keep_their_digits_near_and_far(name, kind):
    f = measure(name)
    by_row = jax.value_and_grad(lambda p, q, a: f(kind(p), kind(q), a), argnums=(0, 1))
    by_row = jax.jit(jax.vmap(by_row, (0, 0, None)))
    orders = np.float32(ORDERS.get(name, (1.0,)))
    for distance, a in itertools.product((2.0, 0.1, 1e-3, 1e-6), orders):
        p, q = map(DATA[kind], pair(distance, name))
        if kind in BINARY:
            p, q = p[:, 0], q[:, 0]
        values, slopes = by_row(p, q, a)
        exact = on(kind, functools.partial(exactly, name, a=float(a)))
        for i, row in enumerate(rows(kind, p, q)):
            want = float(exact(*row))
            assert abs(values[i] - want) <= 3e-6 * want
            if distance < 2 or kind is not Probs:  # else up to a constant, see Limits
                assert_slopes([s[i] for s in slopes], exact, row)


def test_slopes_with_respect_to_the_order():
    p, q = map(softmax32, pair(1.0, "order"))
    for name in ORDER:
        slope = jax.jit(jax.vmap(jax.grad(measure(name), argnums=2), (0, 0, None)))
        for a in np.float32([0.25, 1.0, 1.0001, 3.0]):
            got = slope(p, q, a)
            for i, row in enumerate(rows(Probs, p, q)):
                at = functools.partial(exactly, name, *row)
                assert_slopes([got[i]], on_number(at), [oracles.exact([a])])


def on_number(f):
    return lambda a: f(a[0])


ENTROPY_ORDERS = (0.0, 0.3, 0.9999, 1.0, 1.0001, 2.0, 7.0)


@pytest.mark.parametrize("kind", [Probs, LogProbs, Logits, BinaryProbs])
@pytest.mark.parametrize("name", ["renyi_entropy", "tsallis_entropy"])
def test_entropies_of_every_order(name, kind):
    f = getattr(jxent, name)
    at = lambda p, a: f(kind(p), order=a)
    by_row = jax.jit(jax.vmap(jax.value_and_grad(at, argnums=(0, 1)), (0, None)))
    rng = generator(name)
    confident = np.array([0.0, *(-30 - rng.random(K - 1))])
    flat = 1e-3 * rng.standard_normal(K)
    z = [flat, confident] if kind is Logits else 2 * rng.standard_normal((2, K))
    p = DATA[kind](np.float32(z))
    p = p[:, 0] if kind in BINARY else p
    for a in np.float32(ENTROPY_ORDERS):
        values, (slopes, by_order) = by_row(p, a)
        exact = on(kind, functools.partial(getattr(truth, name), order=float(a)))
        for i, row in enumerate(rows(kind, p)):
            want = float(exact(*row))
            assert abs(values[i] - want) <= 3e-6 * want
            if kind in (Logits, *BINARY):  # else up to a constant, see Limits
                assert_slopes(slopes[i : i + 1], exact, row, atol=1e-7)
            if a > 0:
                at = lambda a, row=row: on(
                    kind, lambda p: getattr(truth, name)(p, a[0])
                )(*row)
                assert_slopes([by_order[i]], at, [oracles.exact([a])], rtol=2e-5)


@pytest.mark.parametrize("name", ["renyi_entropy", "tsallis_entropy"])
def test_slopes_of_entropies_by_probabilities_along_the_simplex(name):
    p = softmax32(pair(1.0, "simplex")[0])
    for a in np.float32([0.5, 1.0, 2.0]):
        slopes = jax.grad(lambda p, a=a: getattr(jxent, name)(Probs(p), order=a).sum())(
            p
        )
        at = functools.partial(getattr(truth, name), order=float(a))
        for i, row in enumerate(rows(Probs, p)):
            (want,) = (w.astype(float) for w in oracles.gradient(at, *row))
            centred = lambda x: x - np.mean(x)
            np.testing.assert_allclose(
                centred(slopes[i]), centred(want), rtol=1e-4, atol=1e-6
            )


def test_high_orders_do_not_underflow():
    even = np.full(1000, 1e-3, np.float32)
    for p in (Probs(even), LogProbs(np.log(even)), Logits(np.log(even))):
        h = jxent.renyi_entropy(p, order=40.0)
        np.testing.assert_allclose(h, math.log(1000), rtol=1e-6)
