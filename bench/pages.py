"""What readers see of the results: tables in README.md and in bench/results, and plots."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from . import plot, report

README = report.ROOT / "README.md"


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
            raise StalePage(f"{path.name} is stale; run python -m bench readme")


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
    return {README: filled(README.read_text("utf-8"), summaries), **pages}


def filled(text: str, tables: Mapping[str, str]) -> str:
    """`text`, with each table between its markers."""

    def fill(marked: re.Match) -> str:
        start, name, end = marked.groups()
        if name not in tables:
            raise StalePage(f"README.md has room for {name}, which is no benchmark")
        return f"{start}\n{tables[name]}\n{end}"

    pattern = r"(<!-- bench:(\w+) -->).*?(<!-- /bench:\2 -->)"
    return re.sub(pattern, fill, text, flags=re.DOTALL)
