"""The streamed projection: time of a log loss of hidden · weight, and its gradients.

On the CPU that is here, next to the three matrix products that no algorithm can do without:
the logits, and the gradients by hidden states and weight.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jxent

from . import plot, projection, report
from .cases import Selection
from .projection import Size
from .report import Record, Result
from .timing import interleave

HELP = "a vocabulary's projection, timed on this CPU"

SIZES = tuple(
    Size("CPU", *sizes, dtype)
    for dtype in ("float32", "bfloat16")
    for sizes in ((2048, 512, 32768), (1024, 1024, 131072), (8192, 256, 50257))
)
FLOOR = "three products"


def _chunked(h, w, y):
    loss = lambda z, y: jxent.cross_entropy(jxent.Labels(y), jxent.Logits(z))
    head = lambda w, h: jax.lax.dot_general(h, w, (((1,), (1,)), ((), ())))
    return jxent.chunked(loss, head)(w, h, y).value


def _checkpointed(h, w, y):
    """As one writes it by hand: logits of a few tokens at a time, made once more."""
    num = max(1, h.shape[0] // 512)

    @jax.checkpoint
    def of_chunk(total, chunk):
        h, y = chunk
        z = (h @ w.T).astype(jnp.float32)
        return total + jnp.sum(projection.by_hand(z, y)), None

    chunks = h.reshape(num, -1, h.shape[1]), y.reshape(num, -1)
    return jax.lax.scan(of_chunk, jnp.float32(0), chunks)[0] / y.size


def _products(h, w, y):
    z = h @ w.T
    return jnp.float32(0), (z @ w, z.T @ h)


LOSSES: dict[str, Callable[[], Callable[..., Any]]] = {
    "jxent": projection.PEERS["jxent"],
    "jxent.chunked": lambda: _chunked,
    "optax": projection.PEERS["optax"],
    "checkpointed scan": lambda: _checkpointed,
    "jax-cce": projection.PEERS["jax-cce"],
    "tokamax": projection.PEERS["tokamax"],
}


def run(selection: Selection) -> Result:
    records = []
    for size in SIZES[:1] if selection.quick else SIZES:
        if selection.has(str(size)):
            report.progress(str(size))
            times = interleave(_contenders(size), 2 if selection.quick else 5)
            for name, seconds in times.items():
                record = Record.of(str(size), name, "time", "ms", seconds * 1e3)
                ratio = seconds / times[FLOOR]
                records += [record, Record.of(str(size), name, "ratio", "×", ratio)]
    return Result.now("streaming", records)


def _contenders(size: Size) -> dict[str, Callable[[], Any]]:
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.standard_normal(shape, np.float32))
    given = (
        normal(size.tokens, size.width).astype(size.dtype),
        (normal(size.classes, size.width) / size.width**0.5).astype(size.dtype),
        jnp.asarray(rng.integers(size.classes, size=size.tokens)),
    )

    def runs(program):
        compiled = jax.jit(program).lower(*given).compile()
        return lambda: jax.block_until_ready(compiled(*given))

    contenders = {FLOOR: runs(_products)}
    for name, find in LOSSES.items():
        try:
            contenders[name] = runs(jax.value_and_grad(find(), (0, 1)))
        except ImportError:
            continue
    return contenders


_LEGEND = (
    "Time of the mean log loss and its gradients by hidden states and weight, divided by "
    "that of the three matrix products alone, which keep all logits: logits · weight, and "
    "both gradients. `jxent` makes a fourth, to keep none."
)


def summary(result: Result) -> str:
    rows = [
        [str(size), *cells]
        for size in SIZES
        for cells in [[_ratio(result, size, name) for name in LOSSES]]
        if set(cells) != {"–"}
    ]
    return f"{_LEGEND}\n\n{report.table(['sizes', *LOSSES], rows)}"


def details(result: Result) -> str:
    """The times as well."""
    times = [
        [r.case, r.subject, f"{r.median:,.0f}", f"{r.low:,.0f} to {r.high:,.0f}"]
        for r in result.records
        if r.quantity == "time"
    ]
    heads = ["sizes", "of", "ms", "quartiles"]
    table = report.table(heads, times, left=2)
    return f"{summary(result)}\n\nThe times themselves:\n\n{table}"


def _ratio(result: Result, size: Size, name: str) -> str:
    record = result.find(str(size), name, "ratio")
    return "–" if record is None else f"{record.median:.2f}"


def draw(result: Result) -> plot.Figure:
    panels = {}
    for dtype, sizes in itertools.groupby(SIZES, lambda size: size.dtype):
        panels[dtype] = {
            f"{size.tokens}×{size.width}×{size.classes}": {
                name: record.median
                for name in LOSSES
                if (record := result.find(str(size), name, "ratio"))
            }
            for size in sizes
        }
    return plot.dots(panels, "time / three products")
