"""The benchmarks run, and README says what their results say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"


def bench(*arguments):
    # Of its own process: the peers need promotion that the tests forbid.
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="there is no README.md")
def test_readme_says_what_the_results_say():
    ended = bench("readme", "--check")
    assert ended.returncode == 0, ended.stderr


def test_smallest_accuracy_case():
    pytest.importorskip("mpmath")
    kept = {path: path.read_bytes() for path in RESULTS.glob("*.json")}
    ended = bench(
        "accuracy", "--only", "labels", "--regime", "margin 40", "--rows", "2"
    )
    assert ended.returncode == 0, ended.stderr
    head, _, row = (
        [cell.strip() for cell in line.split("|")]
        for line in ended.stdout.split("\n")[:3]
    )
    assert row[1] == "confident, margin 40: labels"
    worst = [cell.split()[0] for cell in row[head.index("jxent")].split(" · ")]
    assert all(float(ulps) <= 8 for ulps in worst)
    # A run that is narrowed is not kept.
    assert kept == {path: path.read_bytes() for path in RESULTS.glob("*.json")}


def test_smallest_speed_case():
    ended = bench(
        *("speed", "--only", "entropy", "--shape", "4,5", "--repeats", "2"),
        *("--dtype", "float32"),
    )
    assert ended.returncode == 0, ended.stderr
    assert "| entropy | copy |" in ended.stdout


def test_contenders_for_a_loss_compute_the_same():
    code = """
from bench import losses
for case in losses.CASES:
    runs = losses.contenders(case, (16, 32))
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


@pytest.mark.parametrize("name", ["accuracy", "speed", "overhead"])
def test_results_say_where_they_come_from(name):
    path = RESULTS / f"{name}.json"
    if not path.exists():
        pytest.skip(f"python -m bench {name} has not been run")
    result = json.loads(path.read_text("utf-8"))
    assert result["name"] == name and result["records"]
    assert {"jxent", "jax", "jaxlib", "numpy"} <= result["versions"].keys()
    assert result["device"]["cpu"] and result["device"]["cores"]
