"""How the time of a loss and its gradient grows with the rows and with the classes."""

from collections.abc import Callable, Mapping

import numpy as np

from . import plot, report
from .cases import Case, CASES, Selection, Shape
from .programs import contenders, FLOOR
from .report import Record, Result
from .timing import interleave

HELP = "time as rows and classes grow, and the exponent"

# Out of the caches, which have another speed, and of what the allocator keeps mapped.
SIZES = tuple(2**i for i in range(23, 27))  # elements, from 32 to 256 MiB
AXES: dict[str, Callable[[int], tuple[int, int]]] = {
    "classes": lambda size: (16, size // 16),
    "rows": lambda size: (size // 1024, 1024),
}


def run(selection: Selection) -> Result:
    records = []
    for case in CASES:
        for axis in AXES:
            title = f"{axis}; {case.name}"
            if selection.has(title):
                report.progress(title)
                records += _measure(title, case, axis, selection.quick)
    return Result.now("scaling", records)


def _measure(title: str, case: Case, axis: str, quick: bool) -> list[Record]:
    sizes = SIZES[:2] if quick else SIZES
    runs = {}
    for size in sizes:
        shape = Shape(axis, *AXES[axis](size))
        for name, run in contenders("gradient", case, shape, "float32").items():
            runs[name, size] = run
    times = interleave(runs, 3 if quick else 7)
    records = [
        Record.of(f"{title}; {size}", name, "time", "ms", seconds * 1e3)
        for (name, size), seconds in times.items()
    ]
    for name in dict.fromkeys(name for name, _ in runs):
        k = exponents({size: times[name, size] for size in sizes})
        records.append(Record.of(title, name, "exponent", "", k))
    return records


def exponents(times: Mapping[int, np.ndarray]) -> np.ndarray:
    """k of  time = c · sizeᵏ,  by least squares of its logarithm, in every round."""
    logs = np.log(np.stack(list(times.values())))
    return np.polyfit(np.log(list(times)), logs, 1)[0]


def summary(result: Result) -> str:
    """The exponents of jxent and of the floor."""
    rows = [
        [
            case.name,
            *(
                f"{record.median:.2f}" if record else "–"
                for axis in AXES
                for name in ("jxent", FLOOR)
                for record in [result.find(f"{axis}; {case.name}", name, "exponent")]
            ),
        ]
        for case in CASES
    ]
    heads = [f"{axis}, {name}" for axis in AXES for name in ("jxent", FLOOR)]
    low, high = min(SIZES), max(SIZES)
    return (
        "Time of a loss and its gradient grows like sizeᵏ; the fitted k, from "
        f"2^{low.bit_length() - 1} to 2^{high.bit_length() - 1} elements, as the classes "
        "of 16 rows or the rows of 1024 classes grow "
        "([the times](bench/results/scaling.md)):\n\n"
        + report.table(["loss", *heads], rows)
    )


def details(result: Result) -> str:
    """The times of every size, and exponents with their quartiles."""
    exponents = [
        [r.case, r.subject, f"{r.median:.3f}", f"{r.low:.3f} to {r.high:.3f}"]
        for r in result.records
        if r.quantity == "exponent"
    ]
    rows = []
    for record in result.records:
        if record.quantity == "exponent":
            found = [
                result.find(f"{record.case}; {size}", record.subject, "time")
                for size in SIZES
            ]
            cells = (f"{r.median:.3g}" if r else "–" for r in found)
            rows.append([record.case, record.subject, *cells])
    heads = [f"2^{size.bit_length() - 1}" for size in SIZES]
    return "\n\n".join(
        [
            "The exponent k of time ~ sizeᵏ, of a loss and its gradient in float32:",
            report.table(["growing; loss", "of", "k", "quartiles"], exponents, left=2),
            "The times, in ms, by the number of elements:",
            report.table(["growing; loss", "of", *heads], rows, left=2),
        ]
    )


def draw(result: Result) -> plot.Figure:
    """Time per element, which is level where the cost is linear."""
    panels = {}
    for axis in AXES:
        for case in CASES:
            panel = panels[f"{case.name}, as {axis} grow"] = {}
            for name in ("jxent", *case.peers, FLOOR):
                points = {
                    size: record.median * 1e6 / size
                    for size in SIZES
                    for title in [f"{axis}; {case.name}; {size}"]
                    if (record := result.find(title, name, "time"))
                }
                if points:
                    panel[name] = points
    return plot.lines(panels, "elements", "time per element, ns")
