"""The accelerator that is here: its digits, and time and memory beside the floor.

One script that installs nothing: it needs jax, optax, chex, jaxtyping and mpmath, and
takes torch along where that is installed. What has been measured is kept after every
step, so that a run that was cut short goes on where it stopped.
"""

import functools
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import accuracy, libraries, passes, plot, projection, report
from .cases import Selection, Shape
from .programs import program, Run
from .regimes import REGIMES
from .report import Record, Result
from .timing import interleave

HELP = "digits, time and memory on the accelerator that jax finds"
BUDGET = 330  # seconds, after which no further step is begun


class Plan(NamedTuple):
    """What is measured: sizes that fill an accelerator, or tiny ones that show the page."""

    copied: int  # elements
    multiplied: int  # rows and columns
    dense: tuple[tuple[Shape, str], ...]
    projections: tuple[tuple[int, int, int], ...]  # tokens, width, classes
    samples: int  # rows of each regime
    rounds: int


FULL = Plan(
    copied=2**28,
    multiplied=8192,
    dense=(
        (Shape("Mistral 7B", 4096, 32768), "float32"),
        (Shape("Mistral 7B", 4096, 32768), "bfloat16"),
        (Shape("ImageNet", 4096, 1000), "float32"),
    ),
    projections=((8192, 4096, 128256), (32768, 2560, 128256)),
    samples=8,
    rounds=5,
)
TINY = Plan(2**16, 64, ((Shape("tiny", 8, 16), "float32"),), ((16, 8, 32),), 2, 2)
DENSE = (
    "labels",
    "soft targets",
    "entropy",
    "KL, student",
    "KL, both",
    "JS, both",
    "distillation",
    "KL of probabilities",
)


def run(selection: Selection) -> Result:
    if jax.default_backend() == "cpu" and not selection.quick:
        raise SystemExit("bench: jax finds no accelerator; --quick shows the page")
    plan = TINY if selection.quick else FULL
    kept = None if selection.quick else report.load("device")
    result = Result.now("device", [])
    if kept and kept.device == result.device and kept.versions == result.versions:
        result.records.extend(kept.records)
    done = {record.case for record in result.records}
    start = time.monotonic()
    for title, step in _steps(plan):
        late = time.monotonic() - start > BUDGET
        if title in done or late or not selection.has(title):
            continue
        report.progress(title)
        result.records.extend(step(title))
        if selection == Selection():
            result.save()
    return result


Step = Callable[[str], list[Record]]


def _steps(plan: Plan) -> Iterator[tuple[str, Step]]:
    """What there is to do, the most telling first."""
    yield "rates", functools.partial(_rates, plan)
    cases = [case for case in passes.CASES if case.name in DENSE]
    for (shape, dtype), case in itertools.product(plan.dense, cases):
        title = _dense_title(shape, dtype, case)
        yield title, functools.partial(_dense, plan, case, shape, dtype)
    for size in plan.projections:
        yield _projection_title(size), functools.partial(_projection, plan, size)
    for seed, regime in enumerate(REGIMES):
        title = f"digits, {regime.name}"
        yield title, functools.partial(_digits, plan, seed, regime)


# ------------------------------------------------------------------ what the device can


def _rates(plan: Plan, title: str) -> list[Record]:
    x = jax.random.normal(jax.random.key(0), (plan.copied,))
    w = jax.random.normal(jax.random.key(1), (plan.multiplied,) * 2, jnp.bfloat16)
    seconds = interleave(
        {"copy": _calls(lambda x: x + 1, x), "product": _calls(jnp.matmul, w, w)},
        plan.rounds,
    )
    moved, flops = 2 * x.nbytes, 2 * plan.multiplied**3
    return [
        Record.of(title, "copy", "rate", "GB/s", moved / seconds["copy"] / 1e9),
        Record.of(
            title, "product", "rate", "TFLOP/s", flops / seconds["product"] / 1e12
        ),
    ]


def _calls(function: Callable[..., Any], *args: Any) -> Run:
    compiled = jax.jit(function).lower(*args).compile()
    return lambda: jax.block_until_ready(compiled(*args))


# ------------------------------------------------------------------ dense losses


def _dense_title(shape: Shape, dtype: str, case: passes.Case) -> str:
    return f"{dtype}, {shape.rows}×{shape.classes}; {case.name}"


def _dense(
    plan: Plan, case: passes.Case, shape: Shape, dtype: str, title: str
) -> list[Record]:
    given = _given(case, shape, dtype)
    runs: dict[str, Run] = {}
    records = []
    for name, call in passes.spelled(case).items():
        function = jax.jit(program("gradient", call, case.wrt))
        compiled = function.lower(given, ()).compile()
        runs[name] = functools.partial(_run, compiled, given)
        memory: Any = compiled.memory_analysis()
        mib = memory.temp_size_in_bytes / 2**20
        records.append(Record.of(title, name, "memory", "MiB", [mib]))
    runs |= _by_torch(case, given)
    for name, seconds in interleave(runs, plan.rounds).items():
        records.append(Record.of(title, name, "time", "ms", seconds * 1e3))
    read = sum(x.nbytes for x in given)
    written = sum(given[i].nbytes for i in case.wrt)
    records.append(Record.of(title, "floor", "bytes", "MB", [(read + written) / 1e6]))
    return records


def _run(compiled: Callable[..., Any], given: Any) -> Any:
    return jax.block_until_ready(compiled(given, ()))


def _given(case: passes.Case, shape: Shape, dtype: str) -> tuple[jax.Array, ...]:
    keys = jax.random.split(jax.random.key(0), len(case.takes))
    full = shape.rows, shape.classes
    found = []
    for kind, key in zip(case.takes, keys, strict=True):
        if kind == "y":
            found.append(jax.random.randint(key, full[:1], 0, full[1]))
        else:
            z = 2 * jax.random.normal(key, full, jnp.float32)
            probs = "prob" in case.name or (case.name == "soft targets" and not found)
            found.append((jax.nn.softmax(z) if probs else z).astype(dtype))
    return tuple(found)


def _by_torch(case: passes.Case, given: tuple[jax.Array, ...]) -> dict[str, Run]:
    """The same by torch, as it is and compiled, where torch has the device too."""
    spelling = libraries.spellings().get("torch", {}).get(case.function)
    if spelling is None or jax.default_backend() != "gpu":
        return {}
    import torch

    arrays = [libraries.tensor(np.asarray(x)).cuda() for x in given]
    leaves = [arrays[i].requires_grad_() for i in case.wrt]

    def gradient(call):
        torch.autograd.grad(call(*arrays).float().mean(), leaves)
        torch.cuda.synchronize()

    calls = {
        "torch": spelling.function,
        "torch.compile": torch.compile(spelling.function),
    }
    return {name: functools.partial(gradient, call) for name, call in calls.items()}


# ------------------------------------------------------------------ the projection


def _projection_title(size: tuple[int, int, int]) -> str:
    return "projection, {} tokens, width {}, {} classes".format(*size)


def _projection(plan: Plan, size: tuple[int, int, int], title: str) -> list[Record]:
    tokens, width, classes = size
    keys = jax.random.split(jax.random.key(0), 3)
    h = jax.random.normal(keys[0], (tokens, width), jnp.bfloat16)
    w = jax.random.normal(keys[1], (classes, width), jnp.bfloat16) / width**0.5
    y = jax.random.randint(keys[2], (tokens,), 0, classes)
    runs, records = {}, []
    for name, load in projection.PEERS.items():
        try:
            gradient = jax.jit(jax.value_and_grad(load(), (0, 1)))
            compiled = gradient.lower(h, w, y).compile()
            jax.block_until_ready(compiled(h, w, y))
        except (ImportError, RuntimeError, TypeError, ValueError) as error:
            # Not installed, not for this device, or larger than its memory.
            report.progress(f"  {name}: {type(error).__name__}")
            continue
        runs[name] = lambda compiled=compiled: jax.block_until_ready(compiled(h, w, y))
        memory: Any = compiled.memory_analysis()
        mib = memory.temp_size_in_bytes / 2**20
        records.append(Record.of(title, name, "memory", "MiB", [mib]))
    for name, seconds in interleave(runs, plan.rounds).items():
        records.append(Record.of(title, name, "time", "ms", seconds * 1e3))
    flops = 3 * 2 * tokens * width * classes / 1e12
    records.append(Record.of(title, "floor", "products", "TFLOP", [flops]))
    return records


# ------------------------------------------------------------------ digits


def _digits(plan: Plan, seed: int, regime: Any, title: str) -> list[Record]:
    records = []
    for function in regime.functions:
        batches = accuracy.batches_of(regime, function, seed, plan.samples, few=True)
        spelled = libraries.spellings(regime.streamed)
        both = {name: spelled[name] for name in ("jxent", "optax") if name in spelled}
        records += accuracy.measure(f"{title}: {function}", batches, both)
    return [*records, Record.of(title, "jxent", "done", "", [1])]


# ------------------------------------------------------------------ the page


def summary(result: Result) -> str:
    rates = {name: result.find("rates", name, "rate") for name in ("copy", "product")}
    said = ", ".join(f"{n} {r.median:.0f} {r.unit}" for n, r in rates.items() if r)
    return (
        f"{result.device['kind']}: {said}. Milliseconds of a loss and its gradient, and "
        "what it needs of memory, in MiB; the floor is what those rates allow: to read "
        "the arguments once and write the gradients once, or to multiply three times.\n\n"
        + report.table(["loss", "floor", *_NAMES], _times(result), left=1)
    )


_NAMES = ("jxent", "optax", "torch", "torch.compile", "jax", "jax-cce", "tokamax")


def _times(result: Result) -> Iterator[list[str]]:
    cases = dict.fromkeys(r.case for r in result.records if r.quantity == "time")
    for case in cases:
        cells = []
        for name in _NAMES:
            found = (result.find(case, name, q) for q in ("time", "memory"))
            spent, mib = found
            beside = f" ({mib.median:.0f} MiB)" if mib else ""
            cells.append(f"{spent.median:.3g}{beside}" if spent else "–")
        yield [case, _floor(result, case), *cells]


def _floor(result: Result, case: str) -> str:
    """Milliseconds, by the rates that were measured."""
    for quantity, rate in (("bytes", "copy"), ("products", "product")):
        work = result.find(case, "floor", quantity)
        can = result.find("rates", rate, "rate")
        if work and can:  # MB by GB/s, TFLOP by TFLOP/s
            milliseconds = 1 if quantity == "bytes" else 1e3
            return f"{milliseconds * work.median / can.median:.3g}"
    return "–"


def details(result: Result) -> str:
    cells: dict[str, dict[str, dict[str, float]]] = {}
    for record in result.records:
        if record.unit == "ulp":
            row = cells.setdefault(record.case, {}).setdefault(record.subject, {})
            row[record.quantity] = record.high
    say = lambda errors: " · ".join(map(accuracy.readable, errors.values())) or "–"
    rows = [
        [case, *(say(found.get(name, {})) for name in ("jxent", "optax"))]
        for case, found in cells.items()
    ]
    return (
        f"{summary(result)}\n\nWorst errors against mpmath, of value · gradient · "
        f"Hessian-vector product.\n\n{report.table(['inputs', 'jxent', 'optax'], rows)}"
    )


def draw(result: Result) -> plot.Figure:
    cases = dict.fromkeys(r.case for r in result.records if r.quantity == "time")
    panel = {
        case: {
            name: record.median
            for name in _NAMES
            if (record := result.find(case, name, "time"))
        }
        for case in cases
    }
    return plot.dots({result.device["kind"]: panel}, "ms")
