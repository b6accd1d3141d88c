"""One program for every platform: the CPU pays nothing for the choice; it is exported."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import jxent
from jxent import Labels, Logits
from jxent._core import schedules

Y = jnp.array([1, 0, 2])
FUNCTIONS = {
    "label": lambda z: jxent.cross_entropy(Labels(Y), Logits(z)).sum(),
    "entropy": lambda z: jxent.entropy(Logits(z)).sum(),
    "KL": lambda z: jxent.kl_divergence(Logits(z), Logits(2 * z)).sum(),
}
Z = np.float32(np.random.default_rng(0).normal(size=(3, 5)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_cpu_runs_its_own_form_and_nothing_else(name, monkeypatch):
    def instructions():
        jax.clear_caches()
        gradient = jax.jit(jax.value_and_grad(FUNCTIONS[name]))
        text = gradient.lower(Z).compile().as_text()
        return sorted(re.findall(r"= \S+ ([\w\-]+)\(", text))

    chosen = instructions()
    own = lambda *args, cpu, accelerator: cpu(*args)
    monkeypatch.setattr(schedules, "by_platform", own)
    assert chosen == instructions()
    jax.clear_caches()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_export_for_every_platform(name):
    gradient = jax.jit(jax.grad(FUNCTIONS[name]))
    outline = jax.ShapeDtypeStruct(Z.shape, Z.dtype)
    made = export.export(gradient, platforms=("cpu", "cuda", "tpu"))(outline)
    again = export.deserialize(made.serialize(vjp_order=1))
    np.testing.assert_allclose(again.call(Z), gradient(Z), rtol=1e-6, atol=1e-7)
