"""Optax's own tests, of its losses that are here, with the names swapped.

What they find wrong is a mistake, or a difference that is declared below with its reason.
"""

import importlib
import unittest

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jxent import losses

FILES = ("_classification", "_smoothing", "_fenchel_young")
# Tests of optax that are not run, by class or by name, and why.
DECLARED = {
    "HingeTest": "a margin, and no loss of probabilities",
    "PerceptronTest": "a margin, and no loss of probabilities",
    "CTCTest": "a sum over alignments, which is not here",
    "test_deprecated_alias": "an alias that optax itself has deprecated",
}


def cases():
    for file in FILES:
        try:
            tests = importlib.import_module(f"optax.losses.{file}_test")
        except ImportError:  # a version of optax that ships no tests
            continue
        for name, case in vars(tests).items():
            if isinstance(case, type) and issubclass(case, unittest.TestCase):
                if name not in DECLARED:
                    yield pytest.param(tests, case, id=name)


@pytest.mark.parametrize("tests, case", [*cases()])
@pytest.mark.filterwarnings("default")
def test_optaxs_own_tests_pass(tests, case, monkeypatch):
    for file in FILES:
        monkeypatch.setattr(tests, file, losses, raising=False)
    loader = unittest.defaultTestLoader
    names = [n for n in loader.getTestCaseNames(case) if n not in DECLARED]
    assert names
    np.random.seed(0)
    result = unittest.TestResult()
    # optax needs the rank promotion that our tests forbid to ourselves.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        unittest.TestSuite(map(case, names)).run(result)
    assert result.testsRun == len(names)
    assert not result.errors and not result.failures


# Declared differences that no test of optax sees.


def test_a_row_without_a_possible_class_is_named():
    # optax has NaN there, eagerly too. Here it is an error that says which row it is.
    z, y = jnp.full((1, 3), -jnp.inf), jnp.array([0])
    name = "softmax_cross_entropy_with_integer_labels"
    ours, theirs = (getattr(x, name) for x in (losses, optax.losses))
    with jax.numpy_rank_promotion("allow"):
        assert np.isnan(theirs(z, y)).all()
    with pytest.raises(AssertionError, match="has no possible class"):
        ours(z, y)
    assert np.isnan(jax.jit(ours)(z, y)).all()


def test_a_row_without_any_class_is_an_error():
    # optax has a number there, the sum of nothing.
    z = jnp.zeros((2, 0))
    with pytest.raises(ValueError, match="has no class"):
        losses.softmax_cross_entropy(z, z)
