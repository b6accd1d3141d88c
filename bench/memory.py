"""The memory that a loss, its gradient and its Hessian's product need, as XLA counts it."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax

from . import plot, report
from .cases import Case, CASES, DTYPES, Selection, SHAPES
from .programs import KINDS, outlines, program, spelled
from .report import Record, Result

HELP = "temporary bytes of the compiled programs"
SHAPE = SHAPES[2]  # memory is proportional to the logits: one shape tells it all
COLUMNS = tuple(itertools.product(KINDS, DTYPES))


def run(selection: Selection) -> Result:
    records = []
    for (kind, dtype), case in itertools.product(COLUMNS, CASES):
        name = title(f"{kind}, {dtype}", case)
        if selection.has(name) and not (selection.quick and kind != "gradient"):
            report.progress(name)
            outline = outlines(case, SHAPE, dtype)
            for library, call in spelled(case).items():
                made = jax.jit(program(kind, call, case.wrt)).lower(*outline).compile()
                records.append(temporary(name, library, made))
    return Result.now("memory", records)


def temporary(case: str, library: str, compiled: Any) -> Record:
    mib = compiled.memory_analysis().temp_size_in_bytes / 2**20
    return Record.of(case, library, "memory", "MiB", [mib])


def title(head: str, case: Case) -> str:
    return f"{head}; {case.name}"


_HEADS = [f"{kind}, {dtype}" for kind, dtype in COLUMNS]
_LEGEND = (
    f"Memory beside arguments and results, in MiB, at {SHAPE.rows}×{SHAPE.classes}, where "
    f"the logits are {SHAPE.rows * SHAPE.classes * 4 >> 20} MiB in float32."
)


def summary(result: Result) -> str:
    return f"{_LEGEND} {brief(result, _HEADS)}"


def details(result: Result) -> str:
    return f"{_LEGEND}\n\n{full(result, _HEADS)}"


def draw(result: Result) -> plot.Figure:
    return plot.dots(panels(result, _HEADS), "temporary memory, MiB", log=False)


def brief(result: Result, heads: Sequence[str]) -> str:
    """Of jxent and, in brackets, of the peer that needs least."""
    rows = []
    for case in CASES:
        cells = []
        for head in heads:
            own, *others = (_mib(result, head, case, name) for name in _names(case))
            peers = [mib for mib in others if mib is not None]
            least = f" ({min(peers):.0f})" if peers else ""
            cells.append("–" if own is None else f"{own:.0f}{least}")
        if set(cells) != {"–"}:
            rows.append([case.name, *cells])
    return (
        "In brackets that of the peer that needs least ([each peer]"
        f"(bench/results/{result.name}.md)).\n\n{report.table(['loss', *heads], rows)}"
    )


def full(result: Result, heads: Sequence[str]) -> str:
    """Of jxent and every peer."""
    rows = []
    for case in CASES:
        for name in _names(case):
            found = [_mib(result, head, case, name) for head in heads]
            if any(mib is not None for mib in found):
                cells = ("–" if mib is None else f"{mib:.1f}" for mib in found)
                rows.append([case.name, name, *cells])
    return report.table(["loss", "of", *heads], rows, left=2)


def panels(result: Result, heads: Sequence[str]) -> dict[str, plot.Dots]:
    return {
        head: {
            case.name: {
                name: mib
                for name in _names(case)
                if (mib := _mib(result, head, case, name)) is not None
            }
            for case in CASES
        }
        for head in heads
    }


def _names(case: Case) -> tuple[str, ...]:
    return "jxent", *case.peers


def _mib(result: Result, head: str, case: Case, name: str) -> float | None:
    record = result.find(title(head, case), name, "memory")
    return record.median if record else None
