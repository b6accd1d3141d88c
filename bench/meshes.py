"""What the loss of a projection moves between the chips of a mesh, and stores on each.

Compiled for TPU v5es of 8, 64 and 256 chips that need not be there.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P

from jxent import cross_entropy, Labels, LinearLogits, Logits

from . import aot, plot, report
from .cases import Selection
from .hlo import moved
from .report import Record, Result

HELP = "what a projection moves on a mesh of chips, compiled without one"
SHAPE = (16384, 2048, 131072)  # tokens, hidden axis, vocabulary


class Case(NamedTuple):
    """A mesh, and how the hidden states [n, d] and the weight [v, d] lie on it."""

    axes: dict[str, int]
    hidden: P
    weight: P

    @property
    def vocab(self) -> str | None:
        return self.weight[0]

    def of_weight(self, vocab_axis: int) -> P:
        return P(*(self.weight if vocab_axis == 0 else reversed(self.weight)))


CASES = {
    "data 2 × vocab 4": Case({"data": 2, "vocab": 4}, P("data"), P("vocab", None)),
    "vocab 8": Case({"vocab": 8}, P(), P("vocab", None)),
    "data 8": Case({"data": 8}, P("data"), P(None, None)),
    "fully sharded 8": Case({"data": 8}, P("data"), P(None, "data")),
    "fully sharded 2 × vocab 4": Case(
        {"data": 2, "vocab": 4}, P("data"), P("vocab", "data")
    ),
}

# As the mesh grows with the work: chips, and how many chips share tokens and classes.
SCALES = {8: (2, 4), 64: (8, 8), 256: (16, 16)}
EACH = (16384, 4096, 16384)  # tokens of a row of chips, width, classes of a column
SCALED = ("dense", "Explicit axes", "Auto axes, named")
WAYS = ("dense", "shard_map", "Explicit axes", "Auto axes, named", "Auto axes")


def compiled(
    case: Case,
    way: str,
    devices: Sequence[Any],
    shape: Sequence[int],
    dtype: Any,
    block_size: int | None = None,
    vocab_axis: int = 0,
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
            ((v, d) if vocab_axis == 0 else (d, v), dtype, case.of_weight(vocab_axis)),
            ((n,), jnp.int32, tokens),
        ]
    ]
    linear = functools.partial(
        LinearLogits,
        vocab_axis=vocab_axis,
        block_size=block_size,
        axis_name=case.vocab if way == "Auto axes, named" else None,
    )
    dense = lambda h, w: Logits(h @ (w.T if vocab_axis == 0 else w))
    q = dense if way == "dense" else linear
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


@functools.cache
def devices(platform: str = "TPU v5e", chips: int = 8) -> list[Any]:
    """Devices that are known by their figures only."""
    if platform == "H100":
        return aot.devices(platform, f"1x1x{chips}")
    return aot.devices(platform, "v5e:{}x{}".format(*SCALES[chips]))


def at_scale(chips: int) -> tuple[Case, tuple[int, int, int]]:
    """A mesh of so many chips, and the sizes of what they share."""
    data, vocab = SCALES[chips]
    n, d, v = EACH
    case = CASES["data 2 × vocab 4"]._replace(axes={"data": data, "vocab": vocab})
    return case, (n * data, d, v * vocab)


def run(selection: Selection) -> Result:
    records = []
    programs = [
        (name, way, 8, (case, SHAPE))
        for (name, case), way in itertools.product(CASES.items(), WAYS)
    ]
    programs += [
        (_scale(chips), way, chips, at_scale(chips))
        for chips, way in itertools.product(SCALES, SCALED)
    ]
    for name, way, chips, (case, shape) in programs:
        if not selection.has(f"{name}; {way}") or not aot.installed():
            continue
        report.progress(f"{name}; {way}")
        program = compiled(case, way, devices(chips=chips), shape, jnp.bfloat16)
        temporary = program.memory_analysis().temp_size_in_bytes
        found = moved(program.as_text())
        gathered = [c for c in found if c.kind == "all-gather"]
        total = lambda collectives: sum(c.size * c.times for c in collectives)
        for what, size in (
            ("moved", total(found)),
            ("gathered", total(gathered)),
            ("temp", temporary),
        ):
            records.append(Record.of(name, way, what, "MiB", [size / 2**20]))
    return Result.now("meshes", records)


def _scale(chips: int) -> str:
    return f"{chips} chips, data {SCALES[chips][0]} × vocab {SCALES[chips][1]}"


_LEGEND = (
    f"The mean log loss of {SHAPE[0]} tokens, width {SHAPE[1]}, {SHAPE[2]} classes, "
    "bfloat16, and its gradients with respect to hidden states and weight, on each of the "
    "eight chips of a TPU v5e, as XLA's compiler for it has them. MiB in the results of "
    "collectives, loops multiplied in, and in parentheses temporary memory."
)
_GROWING = (
    f"The same as the mesh grows with the work: {EACH[0]} tokens for each step of the data "
    f"axis, {EACH[2]} classes for each step of the vocabulary's, width {EACH[1]}. On every "
    "chip the weight's gradient and that of the hidden states move, and nothing grows."
)


def summary(result: Result) -> str:
    rows = [[name, *(_cell(result, name, way) for way in WAYS)] for name in CASES]
    grown = [
        [_scale(n), *(_cell(result, _scale(n), way) for way in SCALED)] for n in SCALES
    ]
    return "\n\n".join(
        [
            _LEGEND,
            report.table(["mesh", *WAYS], rows),
            _GROWING,
            report.table(["mesh", *SCALED], grown),
        ]
    )


details = summary


def _cell(result: Result, name: str, way: str) -> str:
    moved = result.find(name, way, "moved")
    temporary = result.find(name, way, "temp")
    if moved is None or temporary is None:
        return "–"
    return f"{moved.median:,.0f} ({temporary.median:,.0f})"


def draw(result: Result) -> plot.Figure:
    panels = {
        name: {
            "log loss": {
                way: record.median
                for way in WAYS
                if (record := result.find(name, way, "moved"))
            }
        }
        for name in [*CASES, *map(_scale, SCALES)]
    }
    return plot.dots(panels, "moved between chips, MiB", log=True)
