"""Every test runs under JAX's strictest rules, on eight CPU devices."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "8"

import jax
from hypothesis import settings

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Compiling dominates the tests; hypothesis varies the values, not the shapes.
settings.register_profile("jxent", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("jxent")
