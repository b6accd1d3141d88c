"""How results are drawn: dots beside names, and lines over sizes.

Colours are those of Okabe and Ito, which people with any colour vision can tell apart;
each library has a marker of its own as well.
"""

import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Figure: TypeAlias = Any  # matplotlib's, which is imported by those who draw
Dots: TypeAlias = Mapping[str, Mapping[str, float]]  # row, subject
Lines: TypeAlias = Mapping[str, Mapping[float, float]]  # subject, x

_STYLES = {
    "jxent": ("#000000", "o"),
    "optax": ("#D55E00", "s"),
    "distrax": ("#009E73", "^"),
    "tfp": ("#009E73", "^"),
    "numpyro": ("#CC79A7", "v"),
    "jax": ("#0072B2", "D"),
    "torch": ("#E69F00", "P"),
    "scipy": ("#56B4E9", "X"),
    "copy": ("#7F7F7F", "|"),
    "tokamax": ("#56B4E9", "X"),
    "jax-cce": ("#009E73", "^"),
    "jxent.chunked": ("#000000", "x"),
    "checkpointed scan": ("#CC79A7", "v"),
    "jxent, checks off": ("#000000", "x"),
    "compiled": ("#7F7F7F", "*"),
    "dense": ("#D55E00", "s"),
    "shard_map": ("#000000", "o"),
    "Explicit axes": ("#009E73", "^"),
    "Auto axes, named": ("#CC79A7", "v"),
    "Auto axes": ("#0072B2", "D"),
}


def _style(subject: str) -> dict[str, Any]:
    color, marker = _STYLES[subject]
    return {"color": color, "marker": marker, "label": subject}


def dots(panels: Mapping[str, Dots], axis: str, log: bool = True) -> Figure:
    """A dot for each subject in each row. NaN and infinity stand at the right edge."""
    panels = {title: rows for title, rows in panels.items() if any(rows.values())}
    names = list(dict.fromkeys(row for rows in panels.values() for row in rows))
    figure, axes = _grid(len(panels), 3, (4, 0.3 * len(names) + 1))
    numbers = (x for rows in panels.values() for f in rows.values() for x in f.values())
    edge = max(filter(math.isfinite, numbers)) * (10 if log else 1)
    for (title, rows), ax in zip(panels.items(), axes, strict=True):
        for row, found in rows.items():
            for i, (subject, x) in enumerate(found.items()):
                y = names.index(row) + 0.6 * ((i + 0.5) / len(found) - 0.5)
                ax.plot(x if math.isfinite(x) else edge, y, ls="", **_style(subject))
        ax.set(title=title, xlabel=axis, ylim=(len(names) - 0.5, -0.5))
        ax.label_outer()
        ax.set_yticks(range(len(names)), names)
        if log:
            ax.set_xscale("log")
    return _legend(figure)


def lines(panels: Mapping[str, Lines], x: str, y: str) -> Figure:
    panels = {title: found for title, found in panels.items() if any(found.values())}
    figure, axes = _grid(len(panels), 3, (4, 2.6))
    for (title, found), ax in zip(panels.items(), axes, strict=True):
        for subject, points in found.items():
            ax.plot(list(points), list(points.values()), **_style(subject))
        ax.set(title=title, xlabel=x, ylabel=y, yscale="log")
        ax.set_xscale("log", base=2)
        ax.label_outer()
    return _legend(figure)


def _grid(
    panels: int, columns: int, size: tuple[float, float]
) -> tuple[Figure, Sequence[Any]]:
    from matplotlib import pyplot as plt

    columns = min(columns, panels)
    rows = math.ceil(panels / columns)
    figure, axes = plt.subplots(
        *(rows, columns),
        figsize=(columns * size[0] + 1, rows * size[1] + 0.5),
        layout="constrained",
        squeeze=False,
        sharex=True,
        sharey=True,
    )
    for ax in axes.flat[panels:]:
        ax.remove()
    for ax in axes.flat[:panels]:
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes.flat[:panels])


def _legend(figure: Figure) -> Figure:
    handles = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    names = [name for name in _STYLES if name in handles]
    figure.legend(
        [handles[n] for n in names], names, loc="outside upper center", ncols=len(names)
    )
    return figure


def possible() -> bool:
    """Whether there is something to draw with."""
    return importlib.util.find_spec("matplotlib") is not None


def save(figure: Figure, path: Path) -> None:
    # Without the date and version, so that equal results are equal files.
    figure.savefig(path, dpi=100, metadata={"Software": None})
