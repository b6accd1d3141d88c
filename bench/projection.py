"""The streamed projection: memory of a log loss of hidden · weight, and its gradients.

Compiled for accelerators that are not there, as `aot` does, and for the CPU that is.
"""

import importlib
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jxent import losses

from . import aot, plot, report
from .cases import Selection
from .hlo import estimated_cycles
from .report import Record, Result

HELP = "a vocabulary's projection, on accelerators, compiled without one"


class Size(NamedTuple):
    platform: str
    tokens: int
    width: int
    classes: int
    dtype: str = "bfloat16"

    def __str__(self) -> str:
        sizes = f"{self.tokens} tokens, width {self.width}, {self.classes} classes"
        return f"{self.platform}, {sizes}, {self.dtype}"


SIZES = (
    Size("TPU v6e", 8192, 4096, 131072),
    Size("TPU v5e", 8192, 2048, 131072),
    Size("H100", 8192, 4096, 131072),
    Size("H100", 8192, 2304, 256000),
    Size("CPU", 8192, 256, 50257, "float32"),
)


def _jxent(h, w, y):
    return losses.linear_softmax_cross_entropy(h, w, y, vocab_axis=0, reduction="mean")


def by_hand(z, y):
    """The log loss of every row of logits."""
    at_label = jnp.take_along_axis(z, y[:, None], axis=-1)[:, 0]
    return jax.nn.logsumexp(z, axis=-1) - at_label


def _jax(h, w, y):
    contract = ((1,), (1,)), ((), ())
    z = jax.lax.dot_general(h, w, contract, preferred_element_type=jnp.float32)
    return jnp.mean(by_hand(z, y))


def _optax():
    from optax.losses import softmax_cross_entropy_with_integer_labels as loss

    def of_logits(h, w, y):
        return jnp.mean(loss((h @ w.T).astype(jnp.float32), y))

    return of_logits


def _jax_cce():
    return importlib.import_module("jax_cce").linear_cross_entropy


def _tokamax():
    loss = importlib.import_module("tokamax").linear_softmax_cross_entropy_loss
    options = {"reduction": "mean", "implementation": "chunked_xla"}
    return lambda h, w, y: loss(h, y, w.T, **options)


PEERS: dict[str, Callable[[], Callable[..., Any]]] = {
    "jxent": lambda: _jxent,
    "jax": lambda: _jax,
    "optax": _optax,
    "jax-cce": _jax_cce,
    "tokamax": _tokamax,
}


def outlines(size: Size) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Hidden states, a weight with one row for each class, and labels."""
    dtype = jnp.dtype(size.dtype)
    return (
        jax.ShapeDtypeStruct((size.tokens, size.width), dtype),
        jax.ShapeDtypeStruct((size.classes, size.width), dtype),
        jax.ShapeDtypeStruct((size.tokens,), jnp.int32),
    )


def compiled(size: Size, loss: Callable[..., Any]) -> Any:
    """The mean loss and its gradients by hidden and weight, compiled."""
    arguments = outlines(size)
    program = jax.value_and_grad(loss, (0, 1))
    if size.platform == "CPU":
        return jax.jit(program).lower(*arguments).compile()
    return aot.compiled(program, size.platform, *arguments)


def run(selection: Selection) -> Result:
    records = []
    for size, name in itertools.product(SIZES, PEERS):
        title = f"{size}; {name}"
        if not selection.has(title) or not (size.platform == "CPU" or aot.installed()):
            continue
        report.progress(title)
        try:
            loss = PEERS[name]()
        except ImportError:
            continue
        program = compiled(size, loss)
        memory = program.memory_analysis()
        for quantity in ("temp", "output"):
            mib = getattr(memory, f"{quantity}_size_in_bytes") / 2**20
            records.append(Record.of(str(size), name, quantity, "MiB", [mib]))
        if size.platform.startswith("TPU"):
            cycles = estimated_cycles(program.as_text()) / 1e6
            records.append(Record.of(str(size), name, "estimate", "Mcycles", [cycles]))
    return Result.now("projection", records)


_LEGEND = (
    "Memory of the mean log loss and its gradients by hidden states and weight, in MiB, "
    "beside arguments and results, as XLA's compiler for the device reports it. `jax` and "
    "`optax` make all logits, in float32, and in the dtype of the hidden states."
)


def summary(result: Result) -> str:
    rows = []
    for size in SIZES:
        cells = [_mib(result, size, name) for name in PEERS]
        floor = result.find(str(size), "jxent", "output")
        cells.append("–" if floor is None else f"{floor.median:.0f}")
        rows.append([str(size), *cells])
    head = ["device and sizes", *PEERS, "results themselves"]
    return f"{_LEGEND}\n\n{report.table(head, rows)}\n\n{_estimates(result)}"


def _estimates(result: Result) -> str:
    rows = []
    for size in SIZES:
        found = [result.find(str(size), name, "estimate") for name in PEERS]
        cycles = dict(zip(PEERS, (r and r.median for r in found), strict=True))
        if base := cycles["jax"]:
            rows.append(
                [str(size), *(f"{n / base:.2f}" if n else "–" for n in cycles.values())]
            )
    if not rows:
        return ""
    return (
        "The cycles that the TPU compiler itself expects, divided by those of `jax`; an "
        "estimate, for nothing was run. jxent makes the logits twice, and adds up the "
        "hidden states' gradient in float32, once for each tile of the vocabulary:\n\n"
        + report.table(["device and sizes", *PEERS], rows)
    )


details = summary


def _mib(result: Result, size: Size, name: str) -> str:
    record = result.find(str(size), name, "temp")
    return "–" if record is None else f"{record.median:,.1f}"


def draw(result: Result) -> plot.Figure:
    panels = {
        size.platform + f", {size.classes} classes": {
            "log loss": {
                name: record.median
                for name in PEERS
                if (record := result.find(str(size), name, "temp"))
            }
        }
        for size in SIZES
    }
    return plot.dots(panels, "temporary memory, MiB", log=True)
