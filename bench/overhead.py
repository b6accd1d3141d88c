"""What a call costs beyond its arithmetic: eager, to compile, to import."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jxent import checks

from . import libraries, report
from .cases import softmax, WRT
from .report import Record, Result
from .speed import interleave

SHAPE = (8, 10)
REPEATS = 15
CALLS = {
    "labels": "cross_entropy(Labels(y), Logits(z))",
    "entropy_logits": "entropy(Logits(z))",
    "kl_probs": "kl_divergence(p, q)",
}
_LIBRARIES = ("jxent", "optax", "jax")
_IMPORTS = {
    "jxent, beyond jax": "jxent",
    "of which chex and jaxtyping": "chex, jaxtyping",
}


def run(repeats: int = REPEATS) -> Result:
    records = [*_imports(min(5, repeats))]
    for function in CALLS:
        records += _calls(function, repeats)
        records += _programs(function, min(5, repeats))
    return Result.now("overhead", records)


def _arguments(function: str) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, *SHAPE))
    y = rng.integers(SHAPE[1], size=SHAPE[0])
    arrays = {
        "labels": (y.astype(np.int32), a.astype(np.float32)),
        "entropy_logits": (a.astype(np.float32),),
        "kl_probs": tuple(softmax(z).astype(np.float32) for z in (a, b)),
    }[function]
    return tuple(map(jnp.asarray, arrays))


def _functions(function: str) -> dict[str, Callable]:
    found = libraries.spellings()
    return {
        library: found[library][function].function
        for library in _LIBRARIES
        if function in found.get(library, ())
    }


def _calls(function: str, repeats: int) -> Iterator[Record]:
    arguments = _arguments(function)
    call = _functions(function)["jxent"]
    compiled = jax.jit(call)

    def unchecked():
        with checks.mode("off"):
            call(*arguments).block_until_ready()

    runs = {
        "eager": lambda: call(*arguments).block_until_ready(),
        "eager, checks off": unchecked,
        "compiled": lambda: compiled(*arguments).block_until_ready(),
    }
    for library, peer in _functions(function).items():
        if library != "jxent":
            runs[f"eager, {library}"] = lambda f=peer: f(*arguments).block_until_ready()
    times = interleave(runs, repeats)
    for name, seconds in times.items():
        yield Record.of(function, name, "time", "µs", seconds * 1e6)
    for name in ("eager", "eager, checks off"):
        beyond = (times[name] - times["compiled"]) * 1e6
        yield Record.of(function, name, "overhead", "µs", beyond)


def _programs(function: str, repeats: int) -> Iterator[Record]:
    """The compiled loss and gradient: how long it takes to make, how much it is."""
    arguments = _arguments(function)
    seconds: dict[str, list[float]] = {}
    for repeat in range(repeats + 1):  # the first warms the compiler up
        for library, call in _functions(function).items():
            loss = _loss(call, WRT[function])
            jax.clear_caches()
            start = time.perf_counter()
            traced = jax.jit(loss).trace(*arguments)
            compiled = traced.lower().compile()
            seconds.setdefault(library, []).append(time.perf_counter() - start)
            if repeat == 0:
                equations = _count(traced.jaxpr)
                operations = _operations(compiled.as_text() or "")
                yield _exactly(function, library, "jaxpr equations", equations)
                yield _exactly(function, library, "HLO operations", operations)
    for library, samples in seconds.items():
        milliseconds = np.array(samples[1:]) * 1e3
        yield Record.of(function, library, "compile time", "ms", milliseconds)


def _loss(call: Callable, wrt: tuple[int, ...]) -> Callable:
    return jax.value_and_grad(lambda *args: jnp.mean(call(*args)), wrt)


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


def tables(result: Result) -> str:
    found = {(r.case, r.subject, r.quantity): r for r in result.records}

    def cell(case, subject, quantity):
        record = found.get((case, subject, quantity))
        return f"{record.median:.0f}" if record else "–"

    timings = ("eager", "eager, checks off", "compiled", "eager, optax", "eager, jax")
    calls = [
        [
            f"`{call}`",
            *(cell(case, subject, "time") for subject in timings),
            cell(case, "eager", "overhead"),
        ]
        for case, call in CALLS.items()
    ]
    quantities = ("jaxpr equations", "HLO operations", "compile time")
    programs = [
        [f"`{call}`", library, *(cell(case, library, q) for q in quantities)]
        for case, call in CALLS.items()
        for library in _LIBRARIES
        if (case, library, "compile time") in found
    ]
    imports = [f"{title}: {cell('import', title, 'time')} ms" for title in _IMPORTS]
    return "\n\n".join(
        [
            f"A call with arrays of shape {SHAPE}, in µs:",
            report.table(["call", *timings, "overhead"], calls),
            "The mean and its gradient, compiled:",
            report.table(
                ["loss", "of", *quantities[:2], "compile time, ms"], programs, left=2
            ),
            f"Import of {', '.join(imports)}.",
        ]
    )


full_tables = tables
