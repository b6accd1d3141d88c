"""The benchmarks run, and the pages say what their results say."""

import importlib.util
import json
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bench import pages, projection, scaling, speed, streaming
from bench.__main__ import BENCHMARKS, run
from bench.cases import Selection
from bench.hlo import estimated_cycles
from bench.report import load, RESULTS, ROOT


def bench(*arguments):
    # Of its own process: the peers need promotion that the tests forbid.
    ended = subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def rows(markdown):
    """The cells of every line of every table."""
    lines = [line for line in markdown.split("\n") if line.startswith("| ")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def test_pages_say_what_the_results_say():
    bench("pages", "--check")


def test_a_page_that_says_otherwise_is_stale(monkeypatch, tmp_path):
    said = (pages.DOCS / "accuracy.md").read_text("utf-8")
    monkeypatch.setattr(pages, "DOCS", tmp_path)
    monkeypatch.setattr(pages, "NAMES", ["accuracy"])
    stale = said.replace("Measured on 2", "Measured on 1")
    (tmp_path / "accuracy.md").write_text(stale, "utf-8")
    with pytest.raises(pages.StalePage, match=r"accuracy\.md is stale"):
        pages.check(BENCHMARKS)


def test_figures_of_the_readme_are_those_of_the_results():
    page = (ROOT / "README.md").read_text("utf-8")
    cells = {row[0]: row[1:] for row in rows(page) if len(row) == 3}
    found = {name: load(name) for name in ("accuracy", "projection", "speed")}

    def worst(case, quantity, subject="jxent"):
        return found["accuracy"].find(case, subject, quantity).high

    def ulp(*case):
        return f"{worst(*case):.0f} ulp"

    def memory(subject):
        case = "H100, 8192 tokens, width 4096, 131072 classes, bfloat16"
        return f"{found['projection'].find(case, subject, 'temp').median:,.0f} MiB"

    label = "confident, margin 20: labels"
    ours, theirs = cells["log loss at margin 20, and its gradient"]
    assert ours == f"{ulp(label, 'value')}, {ulp(label, 'gradient')}"
    everything = 2**23  # a relative error of 1, in ulp
    for peer in ("optax", "distrax", "numpyro", "jax", "torch"):
        assert worst(label, "value", peer) > 0.999 * everything
        assert (
            f"{100 * worst(label, 'gradient', peer) / everything:.0f} % off" in theirs
        )

    near = "near-equal, KL ≈ 1e-6: kl_logits"
    ours, theirs = cells["KL of logits where KL ≈ 1e-6"]
    assert ours == ulp(near, "value")
    least = min(
        worst(near, "value", peer)
        for peer in ("optax", "distrax", "jax", "torch", "scipy")
    )
    assert theirs.startswith(f"{100 * least / everything:.0f} % off or worse")

    zeros = "zeros: kl_probs"
    ours, _ = cells["gradient of KL of probabilities with zeros"]
    assert ours == ulp(zeros, "gradient")
    for peer in ("optax", "distrax", "numpyro", "torch"):
        assert math.isnan(worst(zeros, "gradient", peer))

    name = "memory of a log loss and its gradients, H100: 8192 tokens, 131072 classes"
    ours, theirs = cells[name]
    assert ours == memory("jxent")
    assert theirs == f"{memory('tokamax')}: tokamax; {memory('optax')}: optax"

    times = {row[0]: row[1:] for row in rows(speed.summary(found["speed"]))}
    single, half = (times["labels"][i].split()[0] for i in (1, 2))
    name = "time of the log loss's gradient on CPU, over the fastest peer"
    assert cells[name] == [f"{single} float32, {half} bfloat16", "1"]
    slowest = times["kl, logits, student"][1].partition("(")[2].rstrip(")")
    assert f"takes up to {float(slowest):.1f} times as long" in page.replace("\n", " ")


def test_without_mpmath_accuracy_is_left_out_by_name(monkeypatch, capsys):
    found = importlib.util.find_spec
    absent = lambda name, *rest: None if name == "mpmath" else found(name, *rest)
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    run(["accuracy"], Selection(quick=True))
    out, err = capsys.readouterr()
    assert not out and err == "accuracy is left out: mpmath is not installed\n"


def test_smallest_accuracy_case():
    kept = {path: path.read_bytes() for path in RESULTS.iterdir()}
    printed = bench("accuracy", "--quick", "--only", "confident, margin 40: labels")
    head, _, row = rows(printed)
    assert row[0] == "confident, margin 40: labels"
    worst = [cell.split()[0] for cell in row[head.index("jxent")].split(" · ")]
    assert len(worst) == 3 and all(float(ulps) <= 8 for ulps in worst)
    # A run that is narrowed is not kept.
    assert kept == {path: path.read_bytes() for path in RESULTS.iterdir()}


@pytest.mark.parametrize("kind", ["value", "gradient", "Hessian"])
def test_smallest_speed_case(kind):
    printed = bench(
        *("speed", "--quick", "--only", f"{kind}, float32"),
        *("--only", "entropy, probs"),
    )
    assert {"jax", "copy"} <= {row[1] for row in rows(printed)}


def test_smallest_overhead_case():
    printed = bench("overhead", "--quick", "--only", "entropy, probs")
    assert {"jxent", "jax", "compiled"} <= {row[1] for row in rows(printed)}


def test_the_script_for_a_device_runs_on_the_cpu_too():
    table = rows(bench("device", "--quick", "--only", "8×16; KL, student"))
    (found,) = [row for row in table if row[0].endswith("KL, student")]
    assert all(float(cell.split()[0]) > 0 for cell in found[2:4])


def test_exponent_of_a_power():
    times = {size: np.array([1e-9, 2e-9]) * size**1.5 for size in (10, 100, 1000)}
    np.testing.assert_allclose(scaling.exponents(times), [1.5, 1.5])


def test_contenders_for_a_loss_compute_the_same():
    code = """
from bench import losses
from bench.cases import Shape
for case in losses.CASES:
    runs = losses.contenders(case, Shape('', 16, 32))
    values = {name: float(run()[0]) for name, run in runs.items()}
    far = [v for v in values.values() if abs(v - values["jxent"]) > 1e-5 * abs(v)]
    assert not far, (case.name, values)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("name", ["accuracy", "speed", "memory", "scaling", "overhead"])
def test_results_say_where_they_come_from(name):
    path = RESULTS / f"{name}.json"
    if not path.exists():
        pytest.skip(f"python -m bench {name} has not been run")
    result = json.loads(path.read_text("utf-8"))
    assert result["name"] == name and result["records"]
    assert {"jxent", "jax", "jaxlib", "numpy"} <= result["versions"].keys()
    assert result["device"]["cpu"] and result["device"]["cores"]
    for record in result["records"]:
        low, median, high = (float(record[key]) for key in ("low", "median", "high"))
        assert low <= median <= high or math.isnan(median) or math.isnan(high)


def test_cycles_are_those_of_every_turn_of_a_loop():
    text = """HloModule step
%body (x: f32[8]) -> f32[8] {
  ROOT %y = f32[8] add(%x, %x), backend_config={"estimated_cycles":"30"}
}
%until (i: s32[]) -> pred[] {
  %n = s32[] constant(7)
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}
ENTRY %main (x: f32[8]) -> f32[8] {
  %unknown = f32[8] copy(%x), backend_config={"estimated_cycles":"9223372036854775807"}
  %once = f32[8] copy(%x), backend_config={"estimated_cycles":"500"}
  ROOT %loop = f32[8] while(%once), condition=%until, body=%body
}
"""
    assert estimated_cycles(text) == 500 + 7 * 30


@pytest.mark.parametrize("name", streaming.LOSSES)
def test_losses_of_a_projection_agree(name):
    try:
        loss = streaming.LOSSES[name]()
    except ImportError:
        pytest.skip(f"{name} is not installed")
    rng = np.random.default_rng(0)
    shapes = (1024, 8), (100, 8)  # two chunks of tokens
    h, w = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)
    y = jnp.asarray(rng.integers(100, size=1024))
    found, truth = (
        jax.jit(jax.value_and_grad(f, (0, 1)))(h, w, y)
        for f in (loss, projection.PEERS["jax"]())
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(truth), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-7)
