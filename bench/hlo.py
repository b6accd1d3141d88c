"""What a compiled program moves between devices, and what it may take, by its text."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

KINDS = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
WIDTHS = {
    "pred": 1,
    "s8": 1,
    "u8": 1,
    "bf16": 2,
    "f16": 2,
    "f64": 8,
    "s64": 8,
    "u64": 8,
}


class Moved(NamedTuple):
    """A collective of a compiled program."""

    kind: str
    size: int  # bytes of its result
    times: int  # how often it runs


def moved(text: str) -> list[Moved]:
    """The collectives of a compiled program, loops multiplied in."""
    found = []
    for line, times in _lines(text):
        if match := re.search(rf" = (.*?) ({KINDS})(?:-done)?\(", line):
            shapes, kind = match.groups()
            found.append(Moved(kind, _size(shapes), times))
    return found


def estimated_cycles(text: str) -> int:
    """What the TPU compiler itself thinks that its program takes, loops multiplied in."""
    found = (
        (re.search(r'"estimated_cycles":"(\d+)"', line), times)
        for line, times in _lines(text)
    )
    cycles = ((int(match[1]), times) for match, times in found if match)
    return sum(n * times for n, times in cycles if n < 2**62)  # else it does not know


def _lines(text: str) -> list[tuple[str, int]]:
    """Every instruction of a compiled program, and how often it runs."""
    computations = dict(_computations(text))
    entry = re.search(r"^ENTRY %?([\w.\-]+)", text, re.MULTILINE)
    assert entry is not None
    found = []

    def visit(name: str, times: int) -> None:
        for line in computations[name]:
            found.append((line, times))
            trips = 1
            if loop := re.search(r" while\(.*condition=%?([\w.\-]+)", line):
                known = re.findall(r'known_trip_count":\{"n":"(\d+)', line)
                limits = re.findall(
                    r"constant\((\d+)\)", "".join(computations[loop[1]])
                )
                trips = max(map(int, known or limits))  # it counts up to the limit
            for callee in re.findall(r"(?:body|calls|to_apply)=%?([\w.\-]+)", line):
                visit(callee, times * trips)
            for callees in re.findall(
                r"(?:branch|called)_computations=\{(.*?)\}", line
            ):
                for callee in callees.split(","):
                    visit(callee.strip().lstrip("%"), times)

    visit(entry[1], 1)
    return found


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
    for block in re.split(
        r"^(?=(?:ENTRY )?%?[\w.\-]+ .*\{$)", text, flags=re.MULTILINE
    ):
        if match := re.match(r"(?:ENTRY )?%?([\w.\-]+) ", block):
            yield match[1], block.splitlines()[1:]


def _size(shapes: str) -> int:
    return sum(
        math.prod(int(n) for n in axes.split(",") if n) * WIDTHS.get(dtype, 4)
        for dtype, axes in re.findall(r"(\w+)\[([\d,]*)\]", shapes)
    )
