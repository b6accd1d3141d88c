"""What a compiled program moves, within a device and between devices, by its text."""

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
    "s16": 2,
    "u16": 2,
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


class Traffic(NamedTuple):
    """Bytes that a program reads from the device's memory, and writes to it."""

    read: int
    written: int


def traffic(text: str, least: int) -> Traffic:
    """Of arrays with at least `least` elements; those of which rows are picked aside."""
    computations = dict(_computations(text))
    shapes = {}
    for lines in computations.values():
        for line in lines:
            if parsed := _instruction(line):
                shapes[parsed.name] = parsed.shape
    read = written = 0
    for line, times in _lines(text, fused=False):
        found = _instruction(line)
        if found is None or found.opcode in _FREE:
            continue
        callee = re.search(r"calls=%?([\w.\-]+)", found.rest)
        for i, operand in enumerate(found.operands):
            fused = computations[callee[1]] if callee else []
            picks = found.opcode in _PICKS or _is_picked_from(fused, i)
            if not picks:
                read += times * _large(shapes.get(operand, ""), least)
        shape = found.shape
        if found.opcode == "copy-start":  # (destination, source, context)
            shape = shape.split("},")[0]
        written += times * _large(shape, least)
    return Traffic(read, written)


_FREE = {
    "parameter", "bitcast", "get-tuple-element", "tuple", "constant", "iota", "while",
    "conditional", "call", "after-all", "opt-barrier", "copy-done", "partition-id",
}  # fmt: skip
_PICKS = {"gather", "dynamic-slice", "slice"}


class _Instruction(NamedTuple):
    name: str
    shape: str
    opcode: str
    operands: list[str]
    rest: str


def _instruction(line: str) -> _Instruction | None:
    line = re.sub(r"/\*.*?\*/", "", line.strip())
    if not (match := re.match(r"(?:ROOT )?%?([\w.\-]+) = ", line)):
        return None
    shape, rest = _balanced(line[match.end() :], " ")
    opcode, rest = rest.strip().split("(", 1)
    inside, rest = _balanced("(" + rest, ")")
    return _Instruction(
        match[1], shape, opcode, re.findall(r"%([\w.\-]+)", inside), rest
    )


def _balanced(text: str, end: str) -> tuple[str, str]:
    """`text` up to `end` outside of all brackets, and after it."""
    depth = 0
    for i, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        if depth == 0 and c == end:
            return text[: i + 1], text[i + 1 :]
    return text, ""


def _is_picked_from(lines: list[str], parameter: int) -> bool:
    """Whether a fusion does no more with its parameter than to pick rows from it."""
    found = [x for x in map(_instruction, lines) if x]
    names = {
        x.name
        for x, line in zip(found, (n for n in lines if _instruction(n)), strict=True)
        if x.opcode == "parameter" and f"parameter({parameter})" in line
    }
    names |= {x.name for x in found if x.opcode == "bitcast" and names & {*x.operands}}
    uses = [x.opcode for x in found if names & {*x.operands} and x.opcode != "bitcast"]
    return bool(uses) and all(opcode in _PICKS for opcode in uses)


def _large(shapes: str, least: int) -> int:
    """Bytes of the large arrays among these; what is in a TPU's own memory is free."""
    arrays = re.findall(r"(\w+)\[([\d,]*)\](\{[^}]*\})?", shapes)
    sizes = [
        (math.prod(int(n) for n in axes.split(",") if n), WIDTHS.get(dtype, 4))
        for dtype, axes, layout in arrays
        if "S(1)" not in layout
    ]
    return sum(n * width for n, width in sizes if n >= least)


def _lines(text: str, fused: bool = True) -> list[tuple[str, int]]:
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
            inside = "body|calls|to_apply" if fused else "body"
            for callee in re.findall(rf"(?:{inside})=%?([\w.\-]+)", line):
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
