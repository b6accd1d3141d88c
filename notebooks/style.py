"""How the notebooks look: one palette, one figure style, one kind of table.

Colours are those of Okabe and Ito, which people with any colour vision can tell apart;
where lines could be confused, dashes or markers tell them apart as well.
"""

import matplotlib.pyplot as plt
from cycler import cycler
from IPython.display import display, Markdown

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PINK, SKY, GREY = "#CC79A7", "#56B4E9", "#7F7F7F"

plt.rcParams |= {
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=[BLUE, RED, GREEN, ORANGE, PINK, SKY]),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.figsize": (9, 4),
    "grid.alpha": 0.3,
    "image.cmap": "cividis",
    "legend.framealpha": 1,
    "lines.linewidth": 2,
}


def table(header: list[str], rows: list[list[str]]) -> None:
    """Shows a table: text to the left in the first column, numbers to the right."""
    line = lambda cells: "| " + " | ".join(map(str, cells)) + " |"
    rule = "| --- |" + " ---: |" * (len(header) - 1)
    display(Markdown("\n".join([line(header), rule, *map(line, rows)])))
