"""How often a compiled loss reads or writes an array of the logits' size.

On an accelerator a dense loss costs its passes over memory and little else. They are
counted in the programs that XLA's compilers for accelerators make, which needs the extra
`aot` and no device. What the TPU keeps in its own memory is not a pass.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jxent
from jxent import losses

from . import aot, hlo, libraries, plot, report
from .cases import DTYPES, Selection, Shape
from .programs import program
from .report import Record, Result

HELP = "passes over the logits on accelerators, counted without one"
PLATFORMS = ("H100", "TPU v6e")
SHAPES = (
    Shape("ImageNet", 4096, 1000),
    Shape("Mistral 7B", 1024, 32768),
    Shape("GPT-2", 2048, 50304),
    Shape("Mistral NeMo", 256, 131072),
)
KINDS = ("gradient", "Hessian")


class Case(NamedTuple):
    name: str
    function: str  # of `libraries`, if optax has it
    ours: Callable[..., Any]  # one number per row
    takes: str  # y: class indices, z: an array of the logits' size
    wrt: tuple[int, ...]


def _logits(measure: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    pair = jxent.Logits
    return lambda a, b: measure(pair(a), pair(b), **options)


def _probs(measure: Callable[..., Any]) -> Callable[..., Any]:
    return lambda p, q: measure(jxent.Probs(p), jxent.Probs(q))


def _labels(**options: Any) -> Callable[..., Any]:
    loss = losses.softmax_cross_entropy_with_integer_labels
    return lambda y, z: loss(z, y, **options)


def _soft(t: Any, z: Any) -> Any:
    return jxent.cross_entropy(jxent.Probs(t), jxent.Logits(z))


def _policy(y: Any, z: Any) -> Any:
    return sum(losses.log_prob_and_entropy(z, y))


def _distilled(divergence: Any) -> Callable[..., Any]:
    loss = losses.distillation_loss
    return lambda a, b: loss(b, a, divergence=divergence).loss


CASES = (
    Case("labels", "labels", _labels(), "yz", (1,)),
    Case("labels, smoothed", "", _labels(label_smoothing=0.1), "yz", (1,)),
    Case("labels, z-loss", "", _labels(z_loss=1e-4), "yz", (1,)),
    Case("soft targets", "soft", _soft, "zz", (1,)),
    Case("entropy", "", lambda z: jxent.entropy(jxent.Logits(z)), "z", (0,)),
    Case("log_prob_and_entropy", "", _policy, "yz", (1,)),
    Case("KL, student", "kl_logits", _logits(jxent.kl_divergence), "zz", (1,)),
    Case("KL, both", "kl_logits", _logits(jxent.kl_divergence), "zz", (0, 1)),
    Case("JS, both", "", _logits(jxent.js_divergence), "zz", (0, 1)),
    Case("distillation", "kl_logits", _distilled("forward"), "zz", (1,)),
    Case("distillation, reverse", "", _distilled("reverse"), "zz", (1,)),
    Case("KL of probabilities", "kl_probs", _probs(jxent.kl_divergence), "zz", (0, 1)),
    Case("JS of probabilities", "", _probs(jxent.js_divergence), "zz", (0, 1)),
)


class Counted(NamedTuple):
    passes: float  # one is an array of the logits' size, read or written once
    mib: float  # of temporary memory
    seconds: float  # that it took to compile


def spelled(case: Case) -> Mapping[str, Callable[..., Any]]:
    optax = libraries.spellings().get("optax", {})
    peers = {"optax": optax[case.function].function} if case.function in optax else {}
    return {"jxent": case.ours, **peers}


def outline(case: Case, shape: Shape, dtype: str) -> Any:
    """The case's arguments and directions, as shapes and dtypes that take no memory."""
    full = jax.ShapeDtypeStruct((shape.rows, shape.classes), dtype)
    label = jax.ShapeDtypeStruct((shape.rows,), jnp.int32)
    arguments = tuple({"y": label, "z": full}[kind] for kind in case.takes)
    return arguments, tuple(arguments[i] for i in case.wrt)


def count(
    call: Callable[..., Any],
    case: Case,
    kind: str,
    platform: str,
    shape: Shape,
    dtype: str,
) -> Counted:
    """What the compiler for `platform` makes of the loss's gradient or Hessian product."""
    start = time.perf_counter()
    function = program(kind, call, case.wrt)
    compiled = aot.compiled(function, platform, *outline(case, shape, dtype))
    seconds = time.perf_counter() - start
    size = shape.rows * shape.classes
    moved = hlo.traffic(compiled.as_text(), size // 2)
    unit = size * jnp.dtype(dtype).itemsize
    mib = compiled.memory_analysis().temp_size_in_bytes / 2**20
    return Counted((moved.read + moved.written) / unit, mib, seconds)


def title(kind: str, platform: str, shape: Shape, dtype: str, case: Case) -> str:
    return f"{kind}, {platform}, {dtype}, {shape.rows}×{shape.classes}; {case.name}"


def run(selection: Selection) -> Result:
    records = []
    heads = itertools.product(KINDS, PLATFORMS, DTYPES, SHAPES, CASES)
    for kind, platform, dtype, shape, case in heads:
        name = title(kind, platform, shape, dtype, case)
        # Hessian products are long to compile, and alike at every shape.
        short = selection.quick or kind == "Hessian"
        if not selection.has(name) or (short and shape != SHAPES[1]):
            continue
        report.progress(name)
        for library, call in spelled(case).items():
            found = count(call, case, kind, platform, shape, dtype)
            units = zip(("passes", "MiB", "s"), found, strict=True)
            for quantity, (unit, number) in zip(found._fields, units, strict=True):
                records.append(Record.of(name, library, quantity, unit, [number]))
    return Result.now("passes", records)


_LEGEND = (
    "How often an array of the logits' size is read or written by a loss and its "
    "gradient, in programs compiled for an H100 and a TPU v6e without one; in brackets "
    "optax. Of several shapes it is the worst."
)
_COLUMNS = tuple(itertools.product(PLATFORMS, DTYPES))


def _worst(
    result: Result,
    kind: str,
    column: tuple[str, str],
    case: Case,
    library: str,
    quantity: str = "passes",
) -> float | None:
    platform, dtype = column
    names = (title(kind, platform, shape, dtype, case) for shape in SHAPES)
    found = (result.find(name, library, quantity) for name in names)
    return max((record.median for record in found if record), default=None)


def _table(result: Result, kind: str, quantity: str, form: str) -> str:
    rows = []
    for case in CASES:
        cells = []
        for column in _COLUMNS:
            own, peer = (
                _worst(result, kind, column, case, library, quantity)
                for library in ("jxent", "optax")
            )
            beside = "" if peer is None else f" ({peer:{form}})"
            cells.append("–" if own is None else f"{own:{form}}{beside}")
        if {*cells} != {"–"}:
            rows.append([case.name, *cells])
    heads = [f"{platform}, {dtype}" for platform, dtype in _COLUMNS]
    return report.table(["loss", *heads], rows)


def summary(result: Result) -> str:
    return f"{_LEGEND}\n\n{_table(result, 'gradient', 'passes', '.3g')}"


def details(result: Result) -> str:
    parts: Sequence[tuple[str, str, str, str]] = (
        ("Passes of a Hessian-vector product.", "Hessian", "passes", ".3g"),
        ("Temporary memory of the gradient, in MiB.", "gradient", "mib", ".1f"),
        ("Seconds to compile the gradient.", "gradient", "seconds", ".1f"),
    )
    more = (f"{head}\n\n{_table(result, *rest)}" for head, *rest in parts)
    return "\n\n".join([summary(result), *more])


def draw(result: Result) -> plot.Figure:
    panels = {
        f"{column[0]}, {column[1]}": {
            case.name: {
                library: passes
                for library in ("jxent", "optax")
                if (passes := _worst(result, "gradient", column, case, library))
                is not None
            }
            for case in CASES
        }
        for column in _COLUMNS
    }
    return plot.dots(panels, "passes over the logits", log=False)
