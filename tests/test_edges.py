"""The edges of the domain: one table for the docstrings, the code and these tests.

Each cell is a value and a derivative; derivatives are asked for in every way that JAX
has, because a mask that holds in reverse mode may be 0 · inf in forward mode. Compiling
is what takes the time, so cells that differ in values only share one program.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import jxent
from jxent import BinaryLogits, BinaryProbs, Labels, Logits, LogProbs, Probs

INF, NAN = np.inf, np.nan
TINY = float(np.finfo(np.float32).tiny)
BOUND = -math.log(TINY)  # 87.3, what stands in for an infinite −log

# A distribution of each class, as a function of logits, some of which may be −inf.
VIEWS = {
    "Logits": lambda z: Logits(z),
    "LogProbs": lambda z: LogProbs(jax.nn.log_softmax(z)),
    "Probs": lambda z: Probs(jax.nn.softmax(z)),
}
MEASURES = {
    "cross_entropy": jxent.cross_entropy,
    "kl_divergence": jxent.kl_divergence,
    "js_divergence": jxent.js_divergence,
}
each_view = pytest.mark.parametrize("view", VIEWS)
each_measure = pytest.mark.parametrize("measure", MEASURES)
each_pair = pytest.mark.parametrize("one, other", list(itertools.product(VIEWS, VIEWS)))


def everything(f, n, second=True):
    """The value of `f` and its derivatives by all `n` arguments, compiled, row by row."""
    arguments = tuple(range(n))

    def of_row(*xs):
        found = {
            "value": f(*xs),
            "gradient": jax.grad(f, arguments)(*xs),
            "jvp": jax.jacfwd(f, arguments)(*xs),
        }
        if second:
            found["hessian"] = jax.hessian(f, arguments)(*xs)
            twice = jax.jacrev(jax.jacrev(f, arguments), arguments)
            found["reverse twice"] = twice(*xs)
        return found

    compiled = jax.jit(jax.vmap(of_row))
    return lambda *rows: jax.tree.map(np.asarray, compiled(*map(np.float32, rows)))


@functools.cache
def of_pair(measure, one, other):
    return everything(lambda a, b: MEASURES[measure](VIEWS[one](a), VIEWS[other](b)), 2)


@functools.cache
def of_one(name, view):
    return everything(lambda z: getattr(jxent, name)(VIEWS[view](z)), 1)


@functools.cache
def of_label(measure, view, label, smoothing=0.0):
    label = Labels(jnp.asarray(label), smoothing)
    return everything(lambda z: MEASURES[measure](label, VIEWS[view](z)), 1)


def assert_finite(found, *but):
    for name, tree in found.items():
        for leaf in jax.tree.leaves(tree):
            assert name in but or np.isfinite(leaf).all(), (name, leaf)


def assert_no_nan(found, *but):
    for name, tree in found.items():
        for leaf in jax.tree.leaves(tree):
            assert name in but or not np.isnan(leaf).any(), (name, leaf)


# Every view of the same rows has the same truth.
definition_of = functools.cache(
    lambda name, n: oracles.at(getattr(oracles, name), *[Logits] * n)
)


@functools.cache
def truth(definition, rows):
    """Value, gradient and Hessian at rows of tuples, the arguments laid end to end."""
    rows = np.float32(rows)
    n, k = len(rows), rows.shape[-1]
    split = lambda x: definition(*(x[i * k : (i + 1) * k] for i in range(n)))
    both = np.concatenate(rows, -1)
    return (
        oracles.rows(definition, *rows),
        oracles.rows(lambda x: oracles.gradient(split, x)[0], both),
        oracles.rows(lambda x: oracles.hessian(split, x), both),
    )


def assert_as_defined(found, definition, *rows, atol=2e-6):
    """Every number as the definition has it; a class of logit −inf gets exact zeros."""
    hashable = tuple(tuple(map(tuple, x.tolist())) for x in rows)
    value, slope, curve = truth(definition, hashable)
    np.testing.assert_allclose(found["value"], value, rtol=2e-6, atol=1e-30)
    masked = np.concatenate(rows, -1) == -INF
    for name in ("gradient", "jvp"):
        got = np.concatenate(found[name], -1)
        np.testing.assert_allclose(got, slope, rtol=1e-5, atol=atol, err_msg=name)
        np.testing.assert_array_equal(got[masked], 0, name)
    for name in ("hessian", "reverse twice"):
        got = np.concatenate([np.concatenate(row, -1) for row in found[name]], -2)
        np.testing.assert_allclose(got, curve, rtol=1e-5, atol=atol, err_msg=name)
        np.testing.assert_array_equal(got[masked], 0, name)
        np.testing.assert_array_equal(got.swapaxes(1, 2)[masked], 0, name)


# ------------------------------------------------------------------ an impossible class

Z = np.float32([[0.5, -INF, 1.25, -0.5], [-INF, 2, -1, -INF]])
MASKED_ALIKE = np.float32([[1.0, -INF, -0.25, 2.0], [-INF, 1.5, 0, -INF]])
OPEN = np.float32([[1.0, 0.25, -0.25, 2.0], [0.5, 0.5, -1, 1]])


@each_view
def test_entropy_is_as_if_the_impossible_class_were_absent(view):
    for name in ("entropy", "perplexity"):
        assert_as_defined(of_one(name, view)(Z), definition_of(name, 1), Z)


@each_measure
@each_pair
def test_two_are_as_if_a_class_impossible_in_both_were_absent(measure, one, other):
    found = of_pair(measure, one, other)(Z, MASKED_ALIKE)
    assert_as_defined(found, definition_of(measure, 2), Z, MASKED_ALIKE)


@each_measure
@each_pair
def test_class_impossible_in_p_alone_is_harmless(measure, one, other):
    found = of_pair(measure, one, other)(Z, OPEN)
    assert_as_defined(found, definition_of(measure, 2), Z, OPEN)


@each_measure
@each_view
def test_label_is_as_if_the_impossible_class_were_absent(measure, view):
    label = oracles.one_hot(2, 4)
    definition = lambda z: getattr(oracles, measure)(label, oracles.softmax(z))
    assert_as_defined(of_label(measure, view, 2)(Z), definition, Z)


ZERO = jnp.array([0.75, 0.0, 0.25])


@pytest.mark.parametrize("q", [(0.5, 0.25, 0.25), (0.75, 0.0, 0.25)])
def test_derivative_by_a_probability_of_zero_is_that_at_the_smallest_number(q):
    found = {
        name: everything(lambda p, q, f=f: f(p, q), 2)(ZERO[None], np.array([q]))
        for name, f in MEASURES.items()
    }
    for tree in found.values():
        assert_finite(tree)
    slope = {name: tree["gradient"][0][0, 1] for name, tree in found.items()}
    log_ratio = -BOUND - math.log(q[1]) if q[1] else 0
    np.testing.assert_allclose(slope["kl_divergence"], log_ratio, rtol=1e-5)
    log_ratio = -BOUND - math.log(q[1] / 2) if q[1] else 0
    np.testing.assert_allclose(slope["js_divergence"], log_ratio / 2, rtol=1e-5)
    # −log q itself, which does not know about p.
    surprise = -math.log(q[1]) if q[1] else BOUND
    np.testing.assert_allclose(slope["cross_entropy"], surprise, rtol=1e-6)
    # By q it is 1 − p/q, which charges q for what it moves where p has nothing, and where
    # q has nothing yet too: mass costs itself. All the rest of a minimum's gradient is 0.
    by_p, by_q = found["kl_divergence"]["gradient"]
    assert by_q[0, 1] == 1
    assert found["cross_entropy"]["gradient"][1][0, 1] == 0
    if not q[1]:
        np.testing.assert_array_equal(by_p, 0)
        np.testing.assert_array_equal(by_q, [[0, 1, 0]])
        np.testing.assert_array_equal(found["js_divergence"]["gradient"], 0)


def test_derivative_of_entropy_by_a_probability_of_zero_is_finite():
    found = everything(jxent.entropy, 1)(ZERO[None])
    assert_finite(found)
    np.testing.assert_allclose(found["gradient"][0][0, 1], BOUND - 1, rtol=1e-6)


@each_view
def test_certain_outcome_has_no_entropy_and_no_slope(view):
    certain = np.float32([[-INF, 3, -INF, -INF], [0, -INF, -INF, -INF]])
    for found in (
        of_one("entropy", view)(certain),
        *(of_pair(name, view, view)(certain, certain) for name in MEASURES),
    ):
        assert_finite(found)
        h = found["value"]
        assert (h == 0).all() and not np.signbit(h).any()  # 0, not −0
        for tree in (found["gradient"], found["jvp"]):
            if view == "Logits":
                assert not any(leaf.any() for leaf in jax.tree.leaves(tree))
    np.testing.assert_array_equal(of_one("perplexity", view)(certain)["value"], 1)


def test_one_class_is_certain():
    z = np.float32([7])
    assert jxent.entropy(Logits(z)) == 0
    label = Labels(jnp.array(0))
    assert jxent.cross_entropy(label, Logits(z)) == 0
    assert jxent.kl_divergence(Logits(z), Logits(2 * z)) == 0
    assert jax.grad(lambda z: jxent.entropy(Logits(z)))(z) == 0
    assert jax.grad(lambda z: jxent.cross_entropy(label, Logits(z)))(z) == 0


# ------------------------------------------------------------------ an infinite surprise


@pytest.mark.parametrize("measure", ["cross_entropy", "kl_divergence"])
@each_pair
def test_possible_class_that_the_model_excludes_costs_infinity(measure, one, other):
    found = of_pair(measure, one, other)(OPEN, Z)
    assert (found["value"] == INF).all()
    assert_no_nan(found, "hessian", "reverse twice")
    # The gradient pulls away from the pole; were it 0, it would hide the fault.
    by_p, by_q = found["gradient"]
    assert (np.abs(by_p[0, 1]) > 1) and by_q.any()


@pytest.mark.parametrize("measure", ["cross_entropy", "kl_divergence"])
@each_view
def test_label_that_the_model_excludes_costs_infinity(measure, view):
    # Label 2 again, so that the program is the one that is there already.
    excluding = Z[:, [0, 2, 1, 3]]
    assert np.isneginf(excluding[0, 2])
    found = of_label(measure, view, 2)(excluding[[0, 0]])
    assert (found["value"] == INF).all()
    assert_no_nan(found)
    if view == "Logits":
        slope = jax.nn.softmax(excluding[[0, 0]]) - np.float32([[0, 0, 1, 0]])
        np.testing.assert_allclose(found["gradient"][0], slope, rtol=1e-6)


@pytest.mark.parametrize("measure", ["cross_entropy", "kl_divergence"])
def test_derivative_by_a_probability_that_excludes_the_truth(measure):
    p, q = jnp.array([0.5, 0.5, 0.0]), jnp.array([1.0, 0.0, 0.0])
    value, (by_p, by_q) = jax.value_and_grad(MEASURES[measure], (0, 1))(p, q)
    assert value == INF
    assert by_q[1] < -1e30 and not jnp.isnan(by_q).any()
    assert by_p[1] > 1 and jnp.isfinite(by_p).all()


def test_even_the_least_of_truths_that_the_model_excludes_costs_infinity():
    p, q = np.float32([1, 2 * TINY]), np.float32([1, 0])
    for measure in (jxent.cross_entropy, jxent.kl_divergence):
        assert measure(Probs(p), Probs(q)) == INF
        assert measure(LogProbs(jnp.log(p)), LogProbs(jnp.log(q))) == INF
        assert measure(Logits(jnp.log(p)), Logits(jnp.log(q))) == INF


@each_view
def test_js_is_finite_where_it_is_largest(view):
    a, b = np.float32([[0, -INF, 1, -INF], [-INF, 2, -INF, 0.5]])[[[0, 1], [1, 0]]]
    found = of_pair("js_divergence", view, view)(a, b)
    assert_finite(found)
    np.testing.assert_allclose(found["value"], np.log(2), rtol=1e-6)
    for slope in found["gradient"]:  # no logit can raise or lower it
        np.testing.assert_allclose(slope, 0, atol=1e-6)


# ------------------------------------------------------------------ not a distribution

GOOD = np.float32([[0.5, -0.25, 1, 0], [0.5, -0.25, 1, 0], [1, -0.5, 2, 0]])
PARTNER = np.float32([[0, 1, -0.25, 0.5], [0.5, -0.25, 1, 0], [-1, 0.5, -2, 0]])
ROWS = {
    "empty": np.full(4, -INF),
    "NaN": np.array([0, NAN, 1, 2]),
    "NaN and −inf": np.array([-INF, NAN, 1, -INF]),
    "+inf": np.array([0, INF, 1, 2]),
}


def replaced(row, rows=GOOD):
    rows = rows.copy()
    rows[1] = row
    return rows


def only_row_1_is_nan(f, good, bad_rows):
    """Value and derivatives: NaN in row 1, and elsewhere as if that row were good."""

    @jax.jit
    def found(x):
        value, tangent = jax.jvp(f, (x,), (jnp.ones_like(x),))
        slope, curve = jax.jvp(jax.grad(lambda x: f(x).sum()), (x,), (x,))
        return value, tangent, slope, curve

    expected = found(good)
    for bad in bad_rows:
        got = found(replaced(bad, np.asarray(good)))
        for name, a, b in zip(("f", "jvp", "vjp", "hvp"), got, expected, strict=True):
            assert name == "hvp" or np.isnan(a[1]).all() or bad_is_partly(name, bad, a)
            np.testing.assert_array_equal(a[::2], b[::2], name)


def bad_is_partly(name, bad, a):
    # What has slope 0 anyway may keep it: an impossible class beside a NaN.
    return name == "vjp" and np.isnan(a[1][~np.isneginf(bad)]).all()


@each_view
def test_nan_stays_in_its_row_of_one(view):
    f = lambda z: jxent.entropy(VIEWS[view](z))
    only_row_1_is_nan(f, GOOD, ROWS.values())


@each_measure
@pytest.mark.parametrize(
    "one, other",
    [(v, v) for v in VIEWS] + [("Probs", "Logits"), ("Logits", "LogProbs")],
)
def test_nan_stays_in_its_row_of_two(measure, one, other):
    f = lambda a, b: MEASURES[measure](VIEWS[one](a), VIEWS[other](b))
    only_row_1_is_nan(lambda z: f(z, PARTNER), GOOD, ROWS.values())
    only_row_1_is_nan(lambda z: f(PARTNER, z), GOOD, ROWS.values())


@each_view
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_nan_stays_in_its_row_of_labels(view, smoothing):
    labels = Labels(jnp.array([2, 2, 1]), smoothing)
    f = lambda z: jxent.cross_entropy(labels, VIEWS[view](z))
    only_row_1_is_nan(f, GOOD, ROWS.values())


def test_a_value_check_names_the_empty_row():
    bad = Logits(replaced(ROWS["empty"]))
    with pytest.raises(
        AssertionError, match=r"entropy: row \[1\] of p has no possible"
    ):
        jxent.entropy(bad)
    for name, measure in MEASURES.items():
        for pair, where in (((bad, Logits(GOOD)), "p"), ((Logits(GOOD), bad), "q")):
            match = rf"{name}: row \[1\] of {where} has no possible"
            with pytest.raises(AssertionError, match=match):
                measure(*pair)


def test_what_is_not_on_the_simplex_is_refused_or_taken_as_it_stands():
    p, q = jnp.array([0.5, 0.25, 0.75]), jnp.array([0.25, 0.25, 0.25])
    with pytest.raises(AssertionError, match=r"entropy: p sums to 1\.5"):
        jxent.entropy(p)
    for name, measure in MEASURES.items():
        with pytest.raises(AssertionError, match=rf"{name}: p sums to 1\.5"):
            measure(p, q)
        with jxent.checks.mode("off"):
            truth = getattr(oracles, name)(oracles.exact(p), oracles.exact(q))
            np.testing.assert_allclose(measure(p, q), float(truth), rtol=1e-6)
    with jxent.checks.mode("off"):
        truth = float(oracles.entropy(oracles.exact(p)))
        np.testing.assert_allclose(jxent.entropy(p), truth, rtol=1e-6)


# ------------------------------------------------------------------ labels out of range

WRONG = [-1, -2, -4, -100, 4, 5, 10**6, 2**31 - 1, -(2**31)]
each_smoothing = pytest.mark.parametrize("smoothing", [0.0, 0.1])


@each_smoothing
@each_view
@each_measure
def test_label_out_of_range_is_nan_and_never_another_class(measure, view, smoothing):
    f = lambda z, y: MEASURES[measure](Labels(y, smoothing), VIEWS[view](z))

    @jax.jit
    def found(z, y):
        value, tangent = jax.jvp(lambda z: f(z, y), (z,), (z,))
        return value, tangent, jax.grad(lambda z: f(z, y).sum())(z)

    right = found(GOOD, jnp.array([2, 1, 0]))
    for wrong in WRONG:
        got = found(GOOD, jnp.array([2, wrong, 0]))
        for a, b in zip(got, right, strict=True):
            assert np.isnan(a[1]).all(), (wrong, a)
            np.testing.assert_array_equal(a[::2], b[::2])


@each_smoothing
@pytest.mark.parametrize("kind", [BinaryLogits, BinaryProbs])
@each_measure
def test_event_that_is_neither_0_nor_1_is_nan(measure, kind, smoothing):
    f = lambda x, y: MEASURES[measure](Labels(y, smoothing), kind(x))
    found = jax.jit(lambda x, y: (f(x, y), jax.grad(lambda x: f(x, y).sum())(x)))
    for wrong in (-1, -2, 2, 3, -100, 2**31 - 1):
        for result in found(np.float32([0.25, 0.5, 0.75]), jnp.array([1, wrong, 0])):
            np.testing.assert_array_equal(np.isnan(result), [False, True, False])


def test_label_out_of_range_is_named_by_the_check():
    for wrong, hint in ((-100, "mask ignored rows out"), (4, "do they start at 1")):
        y = Labels(jnp.array([0, wrong, 1]))
        with pytest.raises(AssertionError, match=rf"label {wrong} .*\[1\].*{hint}"):
            jxent.cross_entropy(y, Logits(GOOD))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "uint32", "int64"])
def test_no_integer_dtype_wraps_a_label_around(dtype):
    highest = np.iinfo(dtype).max
    huge = [highest, highest - 3, *([2**32, 2**33 + 1] if dtype == "int64" else [])]
    y = np.array([1, *huge], dtype)
    z = np.broadcast_to(GOOD[0], (len(y), 4))
    expected = [False] + [True] * len(huge)
    for x64 in (False, True):
        with jax.enable_x64(x64), jxent.checks.mode("off"):
            loss = jxent.cross_entropy(Labels(y), Logits(z))
            np.testing.assert_array_equal(np.isnan(loss), expected)


def test_narrow_labels_reach_every_class_of_many():
    z = np.zeros((2, 300), np.float32)
    z[:, 200] = 3
    y = np.array([200, 255], np.uint8)
    wide = jxent.cross_entropy(Labels(y.astype(np.int32)), Logits(z))
    np.testing.assert_array_equal(jxent.cross_entropy(Labels(y), Logits(z)), wide)


# ------------------------------------------------------------------ events

P, Q = np.float32([0, 1, 0, 1, 0, 1]), np.float32([0, 1, 1, 0, 0.5, 0.5])
LOGIT = lambda p: np.float32(np.where(p == 0.5, 0, np.where(p > 0.5, INF, -INF)))
EVENT = {"probs": (BinaryProbs, np.asarray), "logits": (BinaryLogits, LOGIT)}
COST = {
    "cross_entropy": [0, 0, INF, INF, math.log(2), math.log(2)],
    "kl_divergence": [0, 0, INF, INF, math.log(2), math.log(2)],
    # Of 0 and 1/2: log(4/3)/2 + (log(2/3) + log 2)/4
    "js_divergence": [0, 0, math.log(2), math.log(2), *[math.log(64 / 27) / 4] * 2],
}


@pytest.mark.parametrize("q_view", EVENT)
@pytest.mark.parametrize("p_view", EVENT)
@each_measure
def test_certain_events(measure, p_view, q_view):
    (one, p_data), (other, q_data) = EVENT[p_view], EVENT[q_view]
    f = lambda a, b: MEASURES[measure](one(a), other(b))
    found = everything(f, 2, second=False)(p_data(P), q_data(Q))
    np.testing.assert_allclose(found["value"], COST[measure], rtol=1e-6)
    assert not np.signbit(found["value"]).any()
    assert_no_nan(found)


@pytest.mark.parametrize("view", EVENT)
@each_measure
def test_certain_events_by_labels(measure, view):
    kind, data = EVENT[view]
    f = lambda y, x: MEASURES[measure](Labels(y), kind(x))
    y, x = jnp.asarray(P, jnp.int32), data(Q)
    np.testing.assert_allclose(f(y, x), COST[measure], rtol=1e-6)
    assert not np.isnan(jax.grad(lambda x: f(y, x).sum())(x)).any()


def test_entropy_of_certain_events():
    for kind, edges, slopes in (
        (BinaryProbs, [0, 1], [BOUND, -BOUND]),
        (BinaryLogits, [-INF, INF], [0, 0]),
    ):
        found = everything(lambda x, kind=kind: jxent.entropy(kind(x)), 1)(edges)
        np.testing.assert_array_equal(found["value"], 0)
        assert not np.signbit(found["value"]).any()
        # At 1 it is that of 1 − p = 0, of the other sign.
        np.testing.assert_allclose(found["gradient"][0], slopes, rtol=1e-6)
        assert_finite(found)


def test_derivatives_of_an_event_at_logit_zero():
    # Through max(x, 0) or |x| autodiff would be off by 1/2 here.
    for target in (0.0, 0.25, 1.0):
        f = lambda x, t=target: jxent.cross_entropy(BinaryProbs(t), BinaryLogits(x))
        assert jax.grad(f)(0.0) == 0.5 - target
        assert jax.jvp(f, (0.0,), (1.0,))[1] == 0.5 - target
        assert jax.hessian(f)(0.0) == 0.25
    f = lambda x: jxent.entropy(BinaryLogits(x))
    assert jax.grad(f)(0.0) == 0 and jax.hessian(f)(0.0) == -0.25


@pytest.mark.parametrize("kind", [BinaryLogits, BinaryProbs])
def test_nan_stays_in_its_event(kind):
    x, half = np.float32([0.25, NAN, 0.5]), np.float32(0.5)
    functions = [lambda x: jxent.entropy(kind(x))]
    for measure in MEASURES.values():
        functions.append(lambda x, f=measure: f(kind(half), kind(x)))
        functions.append(lambda x, f=measure: f(kind(x), kind(half)))
    for f in functions:
        found = jax.jit(lambda x, f=f: (f(x), jax.grad(lambda x: f(x).sum())(x)))
        value, slope = found(x)
        np.testing.assert_array_equal(np.isnan(value), [False, True, False])
        # Cross-entropy is linear in p: the slope of a NaN there is known.
        np.testing.assert_array_equal(np.isnan(slope[::2]), False)


# ------------------------------------------------------------------ transformations

ROWS_OF_P, ROWS_OF_Q = np.concatenate([GOOD, Z]), np.concatenate([PARTNER, OPEN])


@pytest.mark.parametrize("one, other", [("Logits", "Logits"), ("Probs", "LogProbs")])
@each_measure
def test_vmap_and_jit_agree_with_the_call_on_a_batch(measure, one, other):
    f = lambda a, b: MEASURES[measure](VIEWS[one](a), VIEWS[other](b))
    expected = f(ROWS_OF_P, ROWS_OF_Q)
    # Near 0 the views are rounded differently before jxent sees them.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-13)
    close(jax.jit(f)(ROWS_OF_P, ROWS_OF_Q), expected)
    close(jax.vmap(f)(ROWS_OF_P, ROWS_OF_Q), expected)
    table = jax.vmap(jax.vmap(f, (None, 0)), (0, None))
    close(jnp.diagonal(jax.jit(table)(ROWS_OF_P, ROWS_OF_Q)), expected)
    # Batch axes broadcast without vmap, too.
    close(jnp.diagonal(f(ROWS_OF_P[:, None], ROWS_OF_Q)), expected)


def test_vmap_over_labels_alone():
    z, y = Logits(GOOD[0]), jnp.arange(4)
    expected = [jxent.cross_entropy(Labels(i), z) for i in y]
    got = jax.vmap(lambda y: jxent.cross_entropy(Labels(y), z))(y)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    np.testing.assert_allclose(jxent.cross_entropy(Labels(y), z), expected, rtol=1e-6)
    assert jxent.cross_entropy(Labels(y[:, None]), Logits(GOOD[None])).shape == (4, 3)


def test_empty_batches_have_no_numbers():
    p = jnp.zeros((0, 3))
    for f in (lambda z: jxent.entropy(Logits(z)), jxent.entropy):
        assert f(p).shape == (0,)
        assert jax.grad(lambda p, f=f: f(p).sum())(p).shape == (0, 3)
    loss = jxent.cross_entropy(Labels(jnp.zeros(0, jnp.int32)), Logits(p))
    assert loss.shape == (0,)


@pytest.mark.parametrize("kind", [list, np.float32, np.float64, jnp.float32])
def test_lists_numpy_and_jax_arrays_are_alike(kind):
    p = kind([0.25, 0.75])
    got = jxent.entropy(p)
    assert got.dtype == jnp.float32 and not got.weak_type
    np.testing.assert_array_equal(got, jxent.entropy(Probs(jnp.array([0.25, 0.75]))))
    assert not jxent.cross_entropy(p, p, base=2).weak_type


def test_weak_types_do_not_leak():
    p, q = BinaryProbs(0.25), BinaryLogits(0.5)
    for value in (
        jxent.entropy(p),
        jxent.entropy(q),
        *(f(p, q) for f in MEASURES.values()),
        *(f(p, p) for f in MEASURES.values()),
        *(f(q, q) for f in MEASURES.values()),
    ):
        assert value.dtype == jnp.float32 and not value.weak_type
