"""Distributions of other libraries, given as they are, to those that are installed."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jxent
from jxent import Log
from jxent._distributions.adapters import adopt


def distrax():
    return pytest.importorskip("distrax")


def tfp():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name = "tensorflow_probability.substrates.jax"
        return pytest.importorskip(name, exc_type=ImportError).distributions


def numpyro():
    pytest.importorskip("numpyro")
    import numpyro.distributions as library

    return library


LIBRARIES = pytest.mark.parametrize("library", [distrax, tfp, numpyro])
TRIL = jnp.array([[1.0, 0.0], [0.5, 2.0]])
LOGITS, PROBS = jnp.log(jnp.array([0.25, 0.25, 0.5])), jnp.array([0.5, 0.25, 0.25])
two = jnp.array([0.5, 2.0])
COMMON = {
    "Normal": (lambda m: m.Normal(two, 2.0), jxent.Normal(two, 2.0)),
    "LogNormal": (lambda m: m.LogNormal(two, 2.0), jxent.LogNormal(two, 2.0)),
    "Laplace": (lambda m: m.Laplace(two, 2.0), jxent.Laplace(two, 2.0)),
    "Exponential": (lambda m: m.Exponential(two), jxent.Exponential(two)),
    "Gamma": (lambda m: m.Gamma(two, 2.0), jxent.Gamma(two, 2.0)),
    "Beta": (lambda m: m.Beta(two, 3.0), jxent.Beta(two, 3.0)),
    "Dirichlet": (lambda m: m.Dirichlet(two), jxent.Dirichlet(two)),
    "Poisson": (lambda m: m.Poisson(two), jxent.Poisson(two)),
    "Uniform": (lambda m: m.Uniform(0.0, two), jxent.Uniform(0.0, two)),
    "VonMises": (lambda m: m.VonMises(two, 2.0), jxent.VonMises(two, 2.0)),
    "Geometric": (lambda m: m.Geometric(probs=two / 4), jxent.Geometric(two / 4)),
    "Categorical": (lambda m: m.Categorical(logits=LOGITS), jxent.Logits(LOGITS)),
    "Bernoulli": (lambda m: m.Bernoulli(logits=LOGITS), jxent.BinaryLogits(LOGITS)),
}


def same(theirs, ours):
    got = adopt(theirs, caller="f", name="p")
    assert type(got) is type(ours)
    leaves = jax.tree.leaves(got), jax.tree.leaves(ours)
    for a, b in zip(*leaves, strict=True):
        # distrax normalises logits, which these are but for rounding.
        np.testing.assert_allclose(*np.broadcast_arrays(a, b), rtol=1e-6)


@LIBRARIES
@pytest.mark.parametrize("name", COMMON)
def test_a_distribution_is_taken_as_it_is(library, name):
    library = library()
    if not hasattr(library, name):
        pytest.skip(f"there is no {name}")
    theirs, ours = COMMON[name]
    same(theirs(library), ours)


@LIBRARIES
def test_probabilities_stay_probabilities(library):
    library = library()
    same(library.Categorical(probs=PROBS), jxent.Probs(PROBS))
    same(library.Bernoulli(probs=PROBS), jxent.BinaryProbs(PROBS))


def test_vectors():
    zero, ours = jnp.zeros(2), jxent.MultivariateNormal(jnp.zeros(2), scale_tril=TRIL)
    diagonal = jxent.MultivariateNormal(zero, scale_diag=two)
    same(distrax().MultivariateNormalTri(zero, TRIL), ours)
    same(distrax().MultivariateNormalDiag(zero, two), diagonal)
    with pytest.raises(TypeError, match=r"distrax's MultivariateNormalTri.*are known"):
        jxent.entropy(distrax().MultivariateNormalTri(zero, TRIL.T, is_lower=False))


def test_vectors_of_tfp():
    zero, ours = jnp.zeros(2), jxent.MultivariateNormal(jnp.zeros(2), scale_tril=TRIL)
    diagonal = jxent.MultivariateNormal(zero, scale_diag=two)
    same(tfp().MultivariateNormalTriL(zero, TRIL), ours)
    same(tfp().MultivariateNormalDiag(zero, two), diagonal)


def test_vectors_of_numpyro():
    zero, ours = jnp.zeros(2), jxent.MultivariateNormal(jnp.zeros(2), scale_tril=TRIL)
    same(numpyro().MultivariateNormal(zero, scale_tril=TRIL), ours)


def test_what_is_known_by_its_logarithm():
    same(tfp().Poisson(log_rate=two), jxent.Poisson(Log(two)))
    same(tfp().Gamma(2.0, log_rate=two), jxent.Gamma(2.0, Log(two)))
    same(distrax().LogStddevNormal(two, two), jxent.Normal(two, Log(two)))


def test_what_is_not_known_is_named():
    with pytest.raises(TypeError, match=r"entropy: p is distrax's Logistic, .*Normal"):
        jxent.entropy(distrax().Logistic(0.0, 1.0))


@LIBRARIES
def test_the_measures_take_them(library):
    library = library()
    p, q = library.Normal(two, 2.0), library.Normal(0.0, 1.0)
    ours = (
        jxent.Normal(two, jnp.full(2, 2.0)),
        jxent.Normal(jnp.zeros(()), jnp.ones(())),
    )
    for measure in (jxent.entropy, jxent.perplexity):
        np.testing.assert_array_equal(measure(p), measure(ours[0]))
    for measure in (jxent.cross_entropy, jxent.kl_divergence):
        np.testing.assert_array_equal(measure(p, q), measure(*ours))
    x = jxent.Observed(jnp.array([0.5, 1.0]))
    np.testing.assert_array_equal(
        jxent.cross_entropy(x, q), jxent.cross_entropy(x, ours[1])
    )
    classes = library.Categorical(logits=LOGITS)
    np.testing.assert_allclose(
        jxent.js_divergence(classes, PROBS),
        jxent.js_divergence(jxent.Logits(LOGITS), PROBS),
        rtol=1e-5,
    )
