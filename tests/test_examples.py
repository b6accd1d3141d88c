"""The documentation's examples run, made tiny; the reference names every public name."""

import importlib.util
import math
import re
from pathlib import Path

import jax
import pytest

import jxent

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))
TINY = {
    "classifier": {"steps": 2, "size": 50},
    "distillation": {"steps": 2},
    "language_model": {"steps": 2, "width": 8, "batch": 2, "micro_batches": 2},
    "mesh": {"steps": 2, "tokens": 64, "vocabulary": 512},
    "natural_gradients": {"steps": 2, "iterations": 5, "rows": 200},
    "policy": {"steps": 2, "size": 4},
    "vae": {"steps": 2, "size": 10},
}


def run(path, **options):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # As users run them, and not under the rules that the tests set for jxent itself.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        try:
            spec.loader.exec_module(module)
        except ModuleNotFoundError as error:
            pytest.skip(f"{error.name} is not installed")
        return module.main(**options)


@pytest.mark.parametrize("name", TINY)
def test_an_example_runs(name):
    result = run(DOCS / "examples" / f"{name}.py", **TINY[name])
    numbers = [float(x) for x in (result if isinstance(result, tuple) else [result])]
    assert numbers and all(math.isfinite(x) for x in numbers)


def test_the_example_of_checks_names_the_bad_label():
    said = run(DOCS / "examples" / "checks_in_training.py", steps=3, bad=2, size=8)
    assert "label 5 (entry [3] of labels) is not in [0, 5)" in said


def test_natural_gradients_are_ahead_of_plain_ones():
    natural, plain = run(DOCS / "examples" / "natural_gradients.py", steps=3, rows=200)
    assert natural < 0.2 * plain


def test_each_example_is_tested_and_listed():
    assert {path.stem for path in EXAMPLES} == {*TINY, "checks_in_training"}
    listed = (DOCS / "examples.md").read_text("utf-8")
    assert all(f"(examples/{path.name})" in listed for path in EXAMPLES)


@pytest.mark.parametrize("module", [jxent, jxent.losses, jxent.checks])
def test_the_reference_names_every_public_name(module):
    pages = "\n".join(p.read_text("utf-8") for p in (DOCS / "api").glob("*.md"))
    listed = set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))
    public = {f"{module.__name__}.{name}" for name in module.__all__}
    assert public - listed <= {"jxent.losses", "jxent.checks"}


def test_notebooks_are_in_the_gallery():
    gallery = (DOCS / "notebooks.md").read_text("utf-8")
    for path in DOCS.parent.glob("notebooks/*.ipynb"):
        assert f"(../notebooks/{path.name})" in gallery
