"""What a projection's loss moves between the chips of a mesh, and what it stores there.

Compiled for a TPU v5e of 2×4 chips that need not be there. Bytes are those of the results
of the collectives as the compiled text has them, times the trip counts of their loops.
"""

import functools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P

from jxent import cross_entropy, Labels, LinearLogits, Logits

from . import aot, report
from .report import Record, Result

SHAPE = (16384, 2048, 131072)  # tokens, hidden axis, vocabulary


class Case(NamedTuple):
    """A mesh, and how the hidden states [n, d] and the weight [v, d] lie on it."""

    axes: dict[str, int]
    hidden: P
    weight: P

    @property
    def vocab(self) -> str | None:
        return self.weight[0]


CASES = {
    "data 2 × vocab 4": Case({"data": 2, "vocab": 4}, P("data"), P("vocab", None)),
    "vocab 8": Case({"vocab": 8}, P(), P("vocab", None)),
    "data 8": Case({"data": 8}, P("data"), P(None, None)),
    "fully sharded 8": Case({"data": 8}, P("data"), P(None, "data")),
}
WAYS = ("dense", "shard_map", "Explicit axes", "Auto axes")


def compiled(
    case: Case,
    way: str,
    devices: Sequence[Any],
    shape: Sequence[int],
    dtype: Any,
    block_size: int | None = None,
) -> Any:
    """The mean log loss and its gradients by both factors, compiled."""
    kind = AxisType.Explicit if way == "Explicit axes" else AxisType.Auto
    sizes = tuple(case.axes.values())
    mesh = Mesh(
        np.reshape(np.array(devices), sizes),
        tuple(case.axes),
        axis_types=(kind,) * len(sizes),
    )
    tokens = P(*case.hidden[:1])
    n, d, v = shape
    arguments = [
        jax.ShapeDtypeStruct(size, kind, sharding=NamedSharding(mesh, spec))
        for size, kind, spec in [
            ((n, d), dtype, case.hidden),
            ((v, d), dtype, case.weight),
            ((n,), jnp.int32, tokens),
        ]
    ]
    linear = functools.partial(LinearLogits, vocab_axis=0, block_size=block_size)
    q = linear if way != "dense" else lambda h, w: Logits(h @ w.T)
    loss = lambda h, w, y: jnp.mean(cross_entropy(Labels(y), q(h, w)))
    if way == "shard_map":
        loss = _in_shard_map(linear, case, mesh)
    results = tuple(x.sharding for x in arguments[:2])
    out = NamedSharding(mesh, P()), results
    program = jax.jit(jax.value_and_grad(loss, (0, 1)), out_shardings=out)
    return program.lower(*arguments).compile(aot.options(devices))


def _in_shard_map(linear: Any, case: Case, mesh: Mesh) -> Any:
    def here(h, w, y):
        if case.weight[1] is not None:
            w = jax.lax.all_gather(w, case.weight[1], axis=1, tiled=True)
        q = linear(h, w, axis_name=case.vocab)
        loss = jnp.mean(cross_entropy(Labels(y), q))
        return jax.lax.pmean(loss, case.hidden[0]) if len(case.hidden) else loss

    specs = case.hidden, case.weight, P(*case.hidden[:1])
    return jax.shard_map(here, mesh=mesh, in_specs=specs, out_specs=P())


# Reading compiled programs.

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
    computations = dict(_computations(text))
    entry = re.search(r"^ENTRY %?([\w.\-]+)", text, re.MULTILINE)
    assert entry is not None
    found = []

    def visit(name: str, times: int) -> None:
        for line in computations[name]:
            if match := re.search(rf" = (.*?) ({KINDS})(?:-done)?\(", line):
                shapes, kind = match.groups()
                found.append(Moved(kind, _size(shapes), times))
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


# The benchmark.


@functools.cache
def devices(platform: str = "TPU v5e") -> list[Any]:
    """Eight devices that are known by their figures only."""
    return aot.devices(platform, {"TPU v5e": "v5e:2x4", "H100": "1x1x8"}[platform])


def run() -> Result:
    """Compiles every mesh in every way."""
    records = []
    for name, case in CASES.items():
        for way in WAYS:
            program = compiled(case, way, devices(), SHAPE, jnp.bfloat16)
            temporary = program.memory_analysis().temp_size_in_bytes
            collectives = moved(program.as_text())
            gathers = [c for c in collectives if c.kind == "all-gather"]
            total = lambda found: sum(c.size * c.times for c in found) / 2**20
            for what, mib in (
                ("temporary memory", temporary / 2**20),
                ("moved", total(collectives)),
                ("gathered", total(gathers)),
            ):
                records.append(Record.of(name, way, what, "MiB", [mib]))
    return Result.now("meshes", records)


def tables(result: Result) -> str:
    found = {(r.case, r.subject, r.quantity): r.median for r in result.records}
    cell = lambda name, way: " / ".join(
        f"{found[name, way, what]:.0f}"
        for what in ("moved", "gathered", "temporary memory")
    )
    rows = [[name, *(cell(name, way) for way in WAYS)] for name in CASES]
    n, d, v = SHAPE
    return (
        f"A loss and its gradients by hidden states and weight, {n} tokens, {d} × {v}, "
        "bfloat16, on each of the eight chips of a TPU v5e: MiB that collectives move, "
        "of them by gathers, and of temporary memory, as XLA's compiler reports it.\n\n"
        f"{report.table(['mesh', *WAYS], rows)}"
    )


full_tables = tables
