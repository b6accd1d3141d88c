"""What a projection's loss moves between the chips of a mesh, and what it stores there.

Compiled for a TPU v5e of 2×4 chips that need not be there. Bytes are those of the results
of the collectives as the compiled text has them, times the trip counts of their loops.
"""

import functools
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P

import jxent
from jxent import Labels, LinearLogits, Logits

from . import aot, report
from .report import Record, Result

SHAPE = (16384, 2048, 131072)
KINDS = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f64": 8, "s64": 8, "u64": 8}


class Moved(NamedTuple):
    """A collective of a compiled program."""

    kind: str
    size: int  # bytes of its result
    times: int  # how often it runs


def moved(text: str) -> list[Moved]:
    """The collectives of a compiled program, loops multiplied in."""
    computations = dict(_computations(text))
    entry = re.search(r"^ENTRY %?([\w.\-]+)", text, re.MULTILINE)
    assert entry is not None
    found = []

    def visit(name: str, times: int) -> None:
        for line in computations[name]:
            if match := re.search(rf" = (.*?) ({KINDS})(?:-start)?\(", line):
                shapes, kind = match.groups()
                found.append(Moved(kind, _size(shapes, kind, line), times))
            trips = 1
            if loop := re.search(r" while\(.*condition=%?([\w.\-]+)", line):
                limits = re.findall(r"constant\((\d+)\)", "".join(computations[loop[1]]))
                trips = max(map(int, limits))  # it counts up to that
            for callee in re.findall(r"(?:body|calls|to_apply)=%?([\w.\-]+)", line):
                visit(callee, times * trips)
            for callees in re.findall(r"(?:branch|called)_computations=\{(.*?)\}", line):
                for callee in callees.split(","):
                    visit(callee.strip().lstrip("%"), times)

    visit(entry[1], 1)
    return found


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
    for block in re.split(r"^(?=(?:ENTRY )?%?[\w.\-]+ .*\{$)", text, flags=re.MULTILINE):
        if match := re.match(r"(?:ENTRY )?%?([\w.\-]+) ", block):
            yield match[1], block.splitlines()[1:]


def _size(shapes: str, kind: str, line: str) -> int:
    sizes = [
        math.prod(int(n) for n in axes.split(",") if n) * WIDTHS.get(dtype, 4)
        for dtype, axes in re.findall(r"(\w+)\[([\d,]*)\]", shapes)
    ]
    # A gather that is only started names its operand first, and a permutation context.
    if "-start(" in line and kind != "all-reduce":
        return max(sizes) if kind == "all-gather" else sizes[-1]
    return sum(sizes)
