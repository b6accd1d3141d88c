"""Small inputs that once gave a wrong number, and their kin; one test for each kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jxent
from jxent import Labels, LinearLogits, Logits, LogProbs, losses, Probs

EVEN = np.array([0.5, 0.5], np.float32)


def without_the_second() -> LinearLogits:
    """All of the probability on the first of two classes, in tiles of one class."""
    return LinearLogits(
        jnp.zeros(2), jnp.eye(2), bias=jnp.array([0, -jnp.inf]), block_size=1
    )


@pytest.mark.parametrize(
    "p", [Probs(EVEN), LogProbs(np.log(EVEN)), LinearLogits(jnp.zeros(2), jnp.eye(2))]
)
def test_a_class_that_a_streamed_model_excludes_costs_infinity(p):
    assert jxent.kl_divergence(p, without_the_second()) == jnp.inf
    assert jxent.cross_entropy(p, without_the_second()) == jnp.inf


def test_streamed_logits_out_of_range_of_each_other_are_as_dense_ones():
    a, b = jnp.array([3e38, -3e38]), jnp.array([-3e38, 3e38])
    tiled = lambda z: LinearLogits(z, jnp.eye(2), block_size=1)
    assert jxent.kl_divergence(tiled(a), tiled(b)) == jnp.inf
    assert jxent.kl_divergence(Logits(a), Logits(b)) == jnp.inf


def test_streamed_smoothing_keeps_its_digits_at_any_offset_and_under_masks():
    z = jnp.array([[0.5, -1.25, 2, 0.25]]) + 1e6
    y, apart = jnp.array([1]), np.float64(z) - np.max(np.float64(z))
    log_p = apart - np.log(np.sum(np.exp(apart)))
    right = -0.9 * log_p[:, 1] - 0.1 * np.mean(log_p)
    tiled = LinearLogits(z, jnp.eye(4), block_size=3)
    found = jxent.cross_entropy(Labels(y, 0.1), tiled)
    np.testing.assert_allclose(found, right, rtol=3e-7)
    smoothed = {"label_smoothing": 0.1, "block_size": 3}
    loss = losses.linear_softmax_cross_entropy(z, jnp.eye(4), y, **smoothed)
    np.testing.assert_allclose(loss, right, rtol=3e-7)

    least = float(jnp.finfo(jnp.float32).min)
    masked = jnp.array([[0, least, least, 0]])
    for f in (
        lambda z: losses.linear_softmax_cross_entropy(z, jnp.eye(4), y * 0, **smoothed),
        lambda z: jxent.cross_entropy(
            Labels(y * 0, 0.1), LinearLogits(z, jnp.eye(4), block_size=3)
        ),
    ):
        (value,), back = jax.vjp(f, masked)
        np.testing.assert_allclose(value, -0.05 * least, rtol=1e-6)
        slope = [[0.5 - 0.925, -0.025, -0.025, 0.5 - 0.025]]
        np.testing.assert_allclose(back(jnp.ones(1))[0], slope, rtol=1e-6)


def test_a_ratio_of_probabilities_that_underflows():
    p, q = (
        np.array([1.1754944e-38, 1], np.float32),
        np.array([1.0000001, 1e-10], np.float32),
    )
    right = 0.5 * np.sum((np.sqrt(np.float64(p)) - np.sqrt(np.float64(q))) ** 2)
    np.testing.assert_allclose(jxent.squared_hellinger(p, q), right, rtol=1e-6)
    slope = jax.grad(jxent.squared_hellinger)(p, q)
    assert slope[0] < -1e18 and np.isfinite(slope).all()


@pytest.mark.parametrize("bad", [[-1.0, 2.0], [np.nan, 2.0], [1j, 2.0]])
def test_what_is_no_count_is_refused(bad):
    with pytest.raises((AssertionError, TypeError), match=r"from_counts: .*counts"):
        jxent.from_counts(jnp.array(bad))
    with pytest.raises(ValueError, match=r"pseudocount is -1\.0, not in"):
        jxent.from_counts(jnp.array([1, 2]), pseudocount=-1.0)
