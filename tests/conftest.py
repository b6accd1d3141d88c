"""Every test runs under JAX's strictest rules, on eight CPU devices."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "8"

import jax
import pytest
from hypothesis import settings

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Compiling dominates the tests; hypothesis varies the values, not the shapes.
settings.register_profile("jxent", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("jxent")


@pytest.fixture(scope="module")
def hasty_compiler():
    """A third less compiling, for tests that ask for no digit and no byte.

    What promises digits, memory or collectives is tested as users compile it.
    """
    # Not part of the key of JAX's caches, which must not carry programs across.
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()
