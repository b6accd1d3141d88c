"""Small inputs that once gave a wrong number, and their kin; one test for each kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jxent
from jxent import LinearLogits, Logits, LogProbs, Probs

EVEN = np.float32([0.5, 0.5])


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


def test_a_ratio_of_probabilities_that_underflows():
    p, q = np.float32([1.1754944e-38, 1]), np.float32([1.0000001, 1e-10])
    right = 0.5 * np.sum((np.sqrt(np.float64(p)) - np.sqrt(np.float64(q))) ** 2)
    np.testing.assert_allclose(jxent.squared_hellinger(p, q), right, rtol=1e-6)
    slope = jax.grad(jxent.squared_hellinger)(p, q)
    assert slope[0] < -1e18 and np.isfinite(slope).all()
