"""How long a loss, its gradient and its Hessian's product take, next to its peers'.

What is reported is the median of the ratios of one round, in which all contenders run.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from . import plot, report
from .cases import Case, CASES, Selection, Shape, SHAPES
from .programs import contenders, FLOOR
from .report import Record, Result
from .timing import interleave

HELP = "time, divided by the peers' and by the floor's"

# Half precision costs no digits in jxent, so its gradient is timed as well.
COLUMNS = (
    ("value", "float32"),
    ("gradient", "float32"),
    ("gradient", "bfloat16"),
    ("Hessian", "float32"),
)


def run(selection: Selection) -> Result:
    """Measures every case at every shape."""
    records = []
    shapes = SHAPES[1:2] if selection.quick else SHAPES
    for shape, (kind, dtype), case in itertools.product(shapes, COLUMNS, CASES):
        title = _title(case, shape, kind, dtype)
        if selection.has(title):
            report.progress(title)
            records += _measure(
                title, case, shape, kind, dtype, 3 if selection.quick else 7
            )
    return Result.now("speed", records)


def _title(case: Case, shape: Shape, kind: str, dtype: str) -> str:
    return f"{kind}, {dtype}; {shape}; {case.name}"


def _measure(
    title: str, case: Case, shape: Shape, kind: str, dtype: str, rounds: int
) -> Iterator[Record]:
    times = interleave(contenders(kind, case, shape, dtype), rounds)
    for name, seconds in times.items():
        yield Record.of(title, name, "time", "ms", seconds * 1e3)
        if name != "jxent":
            ratio = times["jxent"] / seconds
            yield Record.of(title, "jxent", f"time / {name}", "×", ratio)


_LEGEND = (
    "Time of jxent divided by a peer's: under 1, jxent is the faster. *copy* is the "
    "floor, a program that only reads the arguments and writes arrays of the results' "
    "sizes; jax is what one writes with `jax.nn` and `jax.scipy`."
)


def summary(result: Result) -> str:
    """One number for all shapes and peers."""
    shapes = _shapes(result)
    rows = []
    for case in CASES:
        ratios = [_ratios(result, case, shapes, c, case.peers) for c in COLUMNS]
        if any(ratios):
            floor = _ratios(result, case, shapes, COLUMNS[1], (FLOOR,))
            rows.append([case.name, *map(_mean_and_worst, [*ratios, floor])])
    peers = [f"{kind}, {dtype}" for kind, dtype in COLUMNS]
    return (
        "Time of jxent divided by that of the fastest peer that has the function, the "
        "geometric mean over shapes and, in brackets, the worst of them; under 1, jxent "
        "is the faster. The last column is the gradient, divided by a copy. Shapes, in "
        f"rows×classes: {', '.join(map(str, shapes))}. "
        "[Each of them, each peer](bench/results/speed.md).\n\n"
        + report.table(["loss", *peers, "gradient / copy"], rows)
    )


def details(result: Result) -> str:
    """Every shape and peer, and then the times themselves."""
    parts = [_LEGEND]
    for shape in _shapes(result):
        rows = [
            [case.name, rival, *(f"{r[0]:.2f}" if r else "–" for r in ratios)]
            for case in CASES
            for rival in (*case.peers, FLOOR)
            for ratios in [
                [_ratios(result, case, [shape], c, (rival,)) for c in COLUMNS]
            ]
            if any(ratios)
        ]
        heads = [f"{kind}, {dtype}" for kind, dtype in COLUMNS]
        table = report.table(["loss", "divided by", *heads], rows, left=2)
        parts += [f"## {shape}", table]
    times = [
        [r.case, r.subject, f"{r.median:.3g}", f"{r.low:.3g} to {r.high:.3g}"]
        for r in result.records
        if r.quantity == "time"
    ]
    heads = ["program", "of", "ms", "quartiles"]
    return "\n\n".join([*parts, "## Times", report.table(heads, times, left=2)])


def _ratios(
    result: Result,
    case: Case,
    shapes: Sequence[Shape],
    column: tuple[str, str],
    rivals: Sequence[str],
) -> list[float]:
    """Of each shape that was measured, to the fastest of the rivals."""
    ratios = []
    for shape in shapes:
        title = _title(case, shape, *column)
        found = (result.find(title, "jxent", f"time / {rival}") for rival in rivals)
        medians = [record.median for record in found if record]
        ratios += [max(medians)] if medians else []
    return ratios


def _mean_and_worst(ratios: Sequence[float]) -> str:
    if not ratios:
        return "–"
    return f"{np.exp(np.mean(np.log(ratios))):.2f} ({max(ratios):.2f})"


def _shapes(result: Result) -> list[Shape]:
    measured = {record.case.split("; ")[1] for record in result.records}
    return [shape for shape in SHAPES if str(shape) in measured]


def draw(result: Result) -> plot.Figure:
    """Times as multiples of the floor's, at the shape with the most classes."""
    shape = _shapes(result)[-1]
    panels = {}
    for column in COLUMNS:
        panel = panels[f"{column[0]}, {column[1]}"] = {}
        for case in CASES:
            title = _title(case, shape, *column)
            if floor := result.find(title, FLOOR, "time"):
                for name in ("jxent", *case.peers):
                    if record := result.find(title, name, "time"):
                        ratio = record.median / floor.median
                        panel.setdefault(case.name, {})[name] = ratio
    return plot.dots(panels, f"time / copy, {shape}")
