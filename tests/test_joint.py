"""Joint tables: digits near independence, slopes, chain rules, what is refused."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import oracles_of_relatives as truth
import pytest
from relatives import generator

import jxent
from jxent import Joint, Logits, LogProbs, Probs

SHAPE = (3, 4)
KINDS = {"Probs": Probs, "LogProbs": LogProbs, "Logits": Logits}


def table(interaction, shape=SHAPE):
    """Logits of two variables that are independent but for this."""
    rng = generator("table", interaction, shape)
    apart = sum(
        np.log(rng.dirichlet(np.ones(n))).reshape(
            [-1 if i == j else 1 for j in range(len(shape))]
        )
        for i, n in enumerate(shape)
    )
    return np.float32(apart + interaction * rng.standard_normal(shape))


def softmax64(z):
    e = np.exp(np.float64(z) - np.max(z))
    return e / e.sum()


DATA = {
    "Probs": lambda z: np.float32(softmax64(z)),
    "Logits": lambda z: z,
}
MEANING = {
    "Probs": lambda x: x,
    "Logits": lambda x: oracles.softmax(x.ravel()).reshape(SHAPE),
}


@functools.cache
def both(name, kind):
    f = getattr(jxent, name)
    return jax.jit(jax.value_and_grad(lambda x: f(Joint(KINDS[kind](x)))))


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("name", ["mutual_information", "conditional_entropy"])
def test_values_and_slopes_keep_their_digits(name, kind):
    for interaction in (3.0, 0.1, 1e-3, 1e-6):
        x = DATA[kind](table(interaction))
        value, slope = both(name, kind)(x)
        f = lambda flat: getattr(truth, name)(MEANING[kind](flat.reshape(SHAPE)))
        exact = oracles.exact(x)
        want = float(f(exact.ravel()))
        assert value >= 0 and abs(value - want) <= 3e-6 * want
        (of_want,) = oracles.gradient(f, exact.ravel())
        of_want = of_want.astype(float).reshape(SHAPE)
        error = np.linalg.norm(slope - of_want) / np.linalg.norm(of_want)
        assert error <= 1e-5, (interaction, error)


def test_the_textbook_has_no_digits_there():
    p = DATA["Probs"](table(1e-6))
    h = jxent.entropy
    textbook = h(p.sum(0)) + h(p.sum(1)) - h(p.ravel())
    want = float(truth.mutual_information(oracles.exact(p)))
    assert abs(textbook - want) > 1e3 * want


def test_second_derivatives_of_mutual_information():
    for kind in DATA:
        x = jnp.asarray(DATA[kind](table(0.3)))
        f = lambda x, kind=kind: jxent.mutual_information(
            Joint(KINDS[kind](x.reshape(SHAPE)))
        )
        got = jax.jit(jax.hessian(f))(x.ravel())
        exact = lambda x, kind=kind: truth.mutual_information(
            MEANING[kind](x.reshape(SHAPE))
        )
        want = oracles.hessian(exact, oracles.exact(x).ravel())
        np.testing.assert_allclose(got, want, atol=2e-6 * np.abs(want).max())


# ------------------------------------------------------------------ limits


def test_impossible_cells_rows_and_tables(hasty_compiler):
    copy = np.float32([[0.5, 0, 0], [0, 0.5, 0], [0, 0, 0]])
    with np.errstate(divide="ignore"):
        logs = np.log(copy)
    for j in (Joint(copy), Joint(LogProbs(logs)), Joint(Logits(logs))):
        np.testing.assert_allclose(jxent.mutual_information(j), math.log(2), rtol=1e-6)
        np.testing.assert_allclose(jxent.conditional_entropy(j), 0, atol=1e-7)
        slopes = jax.grad(
            lambda j: jxent.mutual_information(j) + jxent.joint_entropy(j)
        )(j)
        assert np.isfinite(jax.tree.leaves(slopes)[0]).all()
    table = jxent.pointwise_mutual_information(copy, base=2)
    np.testing.assert_array_equal(np.isneginf(table), copy == 0)
    np.testing.assert_allclose(np.diag(table)[:2], 1, rtol=1e-6)


def test_independent_tables_have_nothing_in_common():
    p = np.outer([0.5, 0.25, 0.25], [0.5, 0.5]).astype(np.float32)
    assert jxent.mutual_information(p) == 0
    z = np.add.outer(np.float32([1, 2, -3]), np.float32([0, 4]))
    assert jxent.mutual_information(Joint(Logits(z))) <= 1e-13
    slope = jax.grad(lambda z: jxent.mutual_information(Joint(Logits(z))))(z)
    assert np.abs(slope).max() <= 1e-6


def test_cells_that_underflow_are_no_infinite_information():
    z = table(30.0)
    f = lambda p: truth.mutual_information(oracles.exact(p))
    p = DATA["Probs"](z)
    np.testing.assert_allclose(jxent.mutual_information(p), float(f(p)), rtol=3e-6)


# ------------------------------------------------------------------ laws

THREE = (2, 3, 4)


@functools.cache
def of_three(kind):
    """Every measure of a table of three variables, in one program."""

    def f(x):
        j = Joint(KINDS[kind](x), variables=3)
        h = lambda of, given=(): jxent.conditional_entropy(j, of, given)
        i = lambda a, b, given=(): jxent.mutual_information(j, a, b, given)
        return {
            "H(X)": h(0), "H(Y)": h(1), "H(Z)": h(2), "H(X,Y)": h((0, 1)),
            "H(Y|X)": h(1, 0), "H(X|Y)": h(0, 1), "H(Z|X,Y)": h(2, (0, 1)),
            "H(X,Y,Z)": jxent.joint_entropy(j),
            "I(X;Y)": i(0, 1), "I(Y;X)": i(1, 0), "I(X;Z)": i(0, 2),
            "I(X;Y|Z)": i(0, 1, 2), "I(X;Z|Y)": i(0, 2, 1), "I(X;Y,Z)": i(0, (1, 2)),
            "VI": jxent.variation_of_information(j, 0, 1),
            "TC": jxent.total_correlation(j),
            "II": jxent.interaction_information(j),
            "II'": jxent.interaction_information(j, 2, 1, 0),
        }  # fmt: skip

    return jax.jit(jax.vmap(f))


@pytest.mark.parametrize("kind", DATA)
def test_chain_rules(kind, hasty_compiler):
    z = np.stack([table(x, THREE) for x in (0.01, 0.5, 3.0)])
    p = np.float32([softmax64(x) for x in z])
    data = {"Probs": p, "Logits": z}[kind]
    f = {name: np.float64(x) for name, x in of_three(kind)(data).items()}
    same = functools.partial(np.testing.assert_allclose, rtol=2e-6, atol=1e-6)
    same(f["H(X,Y)"], f["H(X)"] + f["H(Y|X)"])
    same(f["H(X,Y,Z)"], f["H(X,Y)"] + f["H(Z|X,Y)"])
    same(f["I(X;Y)"], f["H(X)"] - f["H(X|Y)"])
    same(f["I(X;Y)"], f["I(Y;X)"])
    same(f["I(X;Y,Z)"], f["I(X;Y)"] + f["I(X;Z|Y)"])
    same(f["VI"], f["H(X|Y)"] + f["H(Y|X)"])
    same(f["TC"], f["H(X)"] + f["H(Y)"] + f["H(Z)"] - f["H(X,Y,Z)"])
    same(f["II"], f["I(X;Y|Z)"] - f["I(X;Y)"])
    same(f["II"], f["II'"])
    assert all((x >= 0).all() for name, x in f.items() if not name.startswith("II"))
    # A pair alone: what is summed out is as if it had never been there.
    np.testing.assert_allclose(
        f["I(X;Y)"], jxent.mutual_information(p.sum(-1)), rtol=1e-3
    )


def test_processing_a_variable_tells_no_more():
    p = np.float32(softmax64(table(1.0)))
    channel = generator("channel").dirichlet(np.ones(3), SHAPE[1]).astype(np.float32)
    after = jxent.mutual_information(p @ channel)
    assert after <= jxent.mutual_information(p) + 1e-7


def test_tables_are_pytrees_in_batches():
    p = np.float32([softmax64(table(x)) for x in (0.1, 1.0)])
    each = [jxent.mutual_information(x, base=2) for x in p]
    np.testing.assert_allclose(
        jxent.mutual_information(Joint(p), base=2), each, rtol=1e-6
    )
    mapped = jax.vmap(lambda j: jxent.mutual_information(j, base=2))(Joint(p))
    np.testing.assert_allclose(mapped, each, rtol=1e-6)
    half = jxent.mutual_information(Joint(Logits(jnp.bfloat16([[0, 1], [1, 0]]))))
    assert half.dtype == jnp.float32


# ------------------------------------------------------------------ counts, and mistakes


def test_counts_become_a_distribution():
    n = np.array([[10, 0], [5, 5]])
    np.testing.assert_allclose(jxent.from_counts(n).probs(), [[1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(jxent.from_counts(n, variables=2).data, n / 20)
    smooth = jxent.from_counts(n, pseudocount=1.0)
    np.testing.assert_allclose(
        smooth.probs(), [[11 / 12, 1 / 12], [0.5, 0.5]], rtol=1e-6
    )
    million = jxent.from_counts(np.full(3000, 2**30))  # whose sum is no int32
    np.testing.assert_allclose(jxent.entropy(million), math.log(3000), rtol=1e-6)
    with pytest.raises(AssertionError, match="NaN"):
        jxent.entropy(jxent.from_counts(np.zeros(3, int)))
    with pytest.raises(ValueError, match="axis each"):
        jxent.from_counts(np.zeros(3, int), variables=2)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda p: jxent.mutual_information(p, 0, 2), ValueError, "from 0 to 1"),
        (lambda p: jxent.mutual_information(p, 0, 0), ValueError, "twice"),
        (lambda p: jxent.joint_entropy(Probs(p)), TypeError, "variables=2"),
        (lambda p: jxent.joint_entropy(p[0]), ValueError, "axis each"),
        (lambda p: jxent.joint_entropy(2 * p), AssertionError, "sums to 2"),
        (
            lambda p: jxent.joint_entropy(jnp.ones((2, 2), int)),
            TypeError,
            "from_counts",
        ),
        (lambda p: jxent.joint_entropy(Joint(p, variables=0)), ValueError, "from 1 on"),
    ],
)
def test_mistakes_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call(np.full((2, 2), 0.25, np.float32))
