"""What a call costs beyond its arithmetic: eager, to compile, to import."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jxent import checks

from . import plot, report
from .cases import arguments, Case, CASES, Selection
from .programs import directions, program, spelled
from .report import Record, Result
from .timing import interleave

HELP = "eager calls, compile time, import time"
SHAPE = (8, 10)
_OFF, _COMPILED = "jxent, checks off", "compiled"
_PAUSE = 100e-6  # seconds of Python, as there are in an eager call too
_IMPORTS = {
    "jxent, beyond jax": "jxent",
    "of which chex and jaxtyping": "chex, jaxtyping",
}


def run(selection: Selection) -> Result:
    records = [*_imports(5)] if selection.has("import") else []
    for case in CASES:
        if selection.has(case.name):
            report.progress(case.name)
            given = arguments(case.function, *SHAPE, "float32")
            records += _calls(case, given, 5 if selection.quick else 15)
            records += _programs(case, given, 1 if selection.quick else 5)
    return Result.now("overhead", records)


def _calls(case: Case, given: tuple[np.ndarray, ...], rounds: int) -> Iterator[Record]:
    arrays = jax.tree.map(jnp.asarray, given)
    calls = spelled(case)
    run = lambda call: lambda: jax.block_until_ready(call(*arrays))
    runs = {name: run(call) for name, call in calls.items()}

    def unchecked():
        with checks.mode("off"):
            runs["jxent"]()

    compiled = run(jax.jit(calls["jxent"]))

    def after_a_pause():
        end = time.perf_counter() + _PAUSE
        while time.perf_counter() < end:
            pass
        compiled()

    times = interleave(runs | {_OFF: unchecked, _COMPILED: after_a_pause}, rounds)
    times[_COMPILED] = times[_COMPILED] - _PAUSE
    for name, seconds in times.items():
        yield Record.of(case.name, name, "call", "µs", seconds * 1e6)


def _programs(
    case: Case, given: tuple[np.ndarray, ...], repeats: int
) -> Iterator[Record]:
    """The compiled loss and gradient: how long it takes to make, how much it is."""
    along = directions(given, case.wrt)
    seconds: dict[str, list[float]] = {}
    for repeat in range(repeats + 1):  # the first warms the compiler up
        for library, call in spelled(case).items():
            jax.clear_caches()
            start = time.perf_counter()
            traced = jax.jit(program("gradient", call, case.wrt)).trace(given, along)
            compiled = traced.lower().compile()
            seconds.setdefault(library, []).append(time.perf_counter() - start)
            if repeat == 0:
                equations = _count(traced.jaxpr)
                operations = _operations(compiled.as_text() or "")
                yield _exactly(case.name, library, "jaxpr equations", equations)
                yield _exactly(case.name, library, "HLO operations", operations)
    for library, samples in seconds.items():
        milliseconds = np.array(samples[1:]) * 1e3
        yield Record.of(case.name, library, "compile time", "ms", milliseconds)


def _exactly(case: str, subject: str, quantity: str, count: int) -> Record:
    return Record(case, subject, quantity, "", count, count, count)


def _count(jaxpr: Any) -> int:
    """Equations, with those of inner jaxprs."""
    return sum(1 + sum(map(_count, _inside(e.params))) for e in jaxpr.eqns)


def _inside(params: dict[str, Any]) -> list[Any]:
    is_jaxpr = lambda x: hasattr(x, "eqns")
    return [x for x in jax.tree.leaves(params, is_leaf=is_jaxpr) if is_jaxpr(x)]


def _operations(hlo: str) -> int:
    return len(re.findall(r"^\s+(?:ROOT )?%?[\w.-]+ = ", hlo, re.MULTILINE))


def _imports(repeats: int) -> Iterator[Record]:
    for title, modules in _IMPORTS.items():
        program = (
            "import time, jax, jax.numpy; start = time.perf_counter(); "
            f"import {modules}; print(time.perf_counter() - start)"
        )
        samples = [_seconds(program) for _ in range(repeats + 1)][1:]
        yield Record.of("import", title, "time", "ms", np.array(samples) * 1e3)


def _seconds(program: str) -> float:
    command = [sys.executable, "-c", program]
    ended = subprocess.run(
        command, cwd=report.ROOT, capture_output=True, text=True, check=True
    )
    return float(ended.stdout)


_LEGEND = (
    f"With arrays of {SHAPE[0]}×{SHAPE[1]}: a call in µs, eager and, last, compiled, after "
    f"{_PAUSE * 1e6:.0f} µs of Python, in which XLA's threads go to sleep; then the time "
    "to compile the mean and its gradient. Checks look at every value of an eager call, "
    "and leave nothing in a compiled one."
)
_CALLS = ("jxent", _OFF, "optax", "distrax", "jax", _COMPILED)


def summary(result: Result) -> str:
    rows = []
    for case in CASES:
        rows.append([case.name, *(_cell(result, case, s, "call") for s in _CALLS)])
        fastest = [
            record.median
            for peer in case.peers
            if (record := result.find(case.name, peer, "compile time"))
        ]
        peer = f" ({min(fastest):.0f})" if fastest else ""
        rows[-1] += [_cell(result, case, "jxent", "compile time") + peer]
    heads = ["loss", *_CALLS, "compiling, ms (peer)"]
    return f"{_LEGEND}\n\n{report.table(heads, rows)}\n\n{_import_times(result)}"


def details(result: Result) -> str:
    quantities = ("call", "compile time", "jaxpr equations", "HLO operations")
    rows = []
    for case in CASES:
        for subject in _CALLS:
            cells = [_cell(result, case, subject, q) for q in quantities]
            if set(cells) != {"–"}:
                rows.append([case.name, subject, *cells])
    heads = ["loss", "of", "call, µs", "compiling, ms", *quantities[2:]]
    return (
        f"{_LEGEND}\n\n{report.table(heads, rows, left=2)}\n\n{_import_times(result)}"
    )


def _cell(result: Result, case: Case, subject: str, quantity: str) -> str:
    record = result.find(case.name, subject, quantity)
    return f"{record.median:.0f}" if record else "–"


def _import_times(result: Result) -> str:
    found = {title: result.find("import", title, "time") for title in _IMPORTS}
    times = (f"{title}: {r.median:.0f} ms" for title, r in found.items() if r)
    return f"Import of {', '.join(times)}."


def draw(result: Result) -> plot.Figure:
    panels = {"eager call, µs": "call", "compiling, ms": "compile time"}
    return plot.dots(
        {
            title: {
                case.name: {
                    subject: record.median
                    for subject in _CALLS
                    if (record := result.find(case.name, subject, quantity))
                }
                for case in CASES
            }
            for title, quantity in panels.items()
        },
        "",
    )
