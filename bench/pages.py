"""What readers see of the results: tables in docs and in bench/results, and plots."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from . import plot, report

DOCS = report.ROOT / "docs"
NAMES = ("accuracy", "speed", "projection", "sharding")  # the pages with tables


class StalePage(Exception):
    """A page does not say what the results say."""


Benchmarks: TypeAlias = Mapping[str, ModuleType]


def write(benchmarks: Benchmarks) -> None:
    for name, benchmark in benchmarks.items():
        if (result := report.load(name)) and plot.possible():
            plot.save(benchmark.draw(result), report.RESULTS / f"{name}.png")
    for path, text in _texts(benchmarks).items():
        path.write_text(text, "utf-8")


def check(benchmarks: Benchmarks) -> None:
    for path, text in _texts(benchmarks).items():
        if not path.exists() or path.read_text("utf-8") != text:
            raise StalePage(f"{path.name} is stale; run python -m bench pages")


def _texts(benchmarks: Benchmarks) -> dict[Path, str]:
    """Of every page, what it has to say."""
    pages, summaries = {}, {}
    for name, benchmark in benchmarks.items():
        result = report.load(name)
        if result is None:
            summaries[name] = f"(Not measured yet: `python -m bench {name}`.)"
            continue
        pages[report.RESULTS / f"{name}.md"] = (
            f"# {name.capitalize()}: {benchmark.HELP}\n\n![{name}]({name}.png)\n\n"
            f"{benchmark.details(result)}\n\n{result.caption()}\n"
        )
        summaries[name] = f"{benchmark.summary(result)}\n\n{result.caption()}"
    for path in (DOCS / f"{name}.md" for name in NAMES):
        pages[path] = filled(path.read_text("utf-8"), summaries, path.name)
    return pages


def filled(text: str, tables: Mapping[str, str], page: str) -> str:
    """The text of a page in docs, with each table between its markers."""

    def fill(marked: re.Match) -> str:
        start, name, end = marked.groups()
        if name not in tables:
            raise StalePage(f"{page} has room for {name}, which is no benchmark")
        table = tables[name].replace("(bench/results/", "(../bench/results/")
        return f"{start}\n{table}\n{end}"

    pattern = r"(<!-- bench:(\w+) -->).*?(<!-- /bench:\2 -->)"
    return re.sub(pattern, fill, text, flags=re.DOTALL)
