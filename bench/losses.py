"""How long each of `jxent.losses` and its gradient take, next to optax's and PyTorch's.

As in `speed`, all contenders take turns in one process. A loss is differentiated by its
first argument; where optax has no such loss, what one composes from its others.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jxent import losses

from . import libraries, plot, report
from .cases import Selection, Shape, SHAPES as ALL, softmax
from .programs import Run
from .report import Record, Result
from .timing import interleave

HELP = "time of each loss and its options, divided by the peers'"
SHAPES = ALL[1:3]
PEERS = ("optax", "torch")
HARD = losses.softmax_cross_entropy_with_integer_labels


class Case(NamedTuple):
    name: str
    arguments: tuple[str, ...]  # of `_arrays`; the first is differentiated
    jxent: Callable[..., Any]
    optax: Callable[..., Any] | None = None  # given `optax.losses` first
    torch: Callable[..., Any] | None = None  # given `torch.nn.functional` first


def _composed_z_loss(o, z, y):
    total = jax.nn.logsumexp(z, axis=-1)
    return o.softmax_cross_entropy_with_integer_labels(z, y) + 1e-4 * total**2


def _smoothed(o, z, y):
    one_hot = jax.nn.one_hot(y, z.shape[-1], dtype=z.dtype)
    return o.softmax_cross_entropy(z, o.smooth_labels(one_hot, 0.1))


def _policy(log_p, y, pick):
    return pick(log_p, y) - 0.01 * (log_p.exp() * log_p).sum(-1)


none = {"reduction": "none"}
CASES = (
    Case(
        "integer labels",
        ("z", "y"),
        HARD,
        lambda o, z, y: o.softmax_cross_entropy_with_integer_labels(z, y),
        lambda f, z, y: f.cross_entropy(z, y, **none),
    ),
    Case(
        "label_smoothing",
        ("z", "y"),
        lambda z, y: HARD(z, y, label_smoothing=0.1),
        _smoothed,
        lambda f, z, y: f.cross_entropy(z, y, label_smoothing=0.1, **none),
    ),
    Case(
        "class_weights",
        ("z", "y", "w"),
        lambda z, y, w: HARD(z, y, class_weights=w),
        lambda o, z, y, w: w[y] * o.softmax_cross_entropy_with_integer_labels(z, y),
        lambda f, z, y, w: f.cross_entropy(z, y, weight=w, **none),
    ),
    Case(
        "ignore_index",
        ("z", "y"),
        lambda z, y: HARD(z, y, ignore_index=0),
        lambda o, z, y: o.softmax_cross_entropy_with_integer_labels(z, y, where=y != 0),
        lambda f, z, y: f.cross_entropy(z, y, ignore_index=0, **none),
    ),
    Case("z_loss", ("z", "y"), lambda z, y: HARD(z, y, z_loss=1e-4), _composed_z_loss),
    Case(
        "label_smoothing, z_loss",
        ("z", "y"),
        lambda z, y: HARD(z, y, label_smoothing=0.1, z_loss=1e-4),
        lambda o, z, y: _smoothed(o, z, y) + 1e-4 * jax.nn.logsumexp(z, axis=-1) ** 2,
    ),
    Case(
        "soft targets",
        ("z", "t"),
        losses.softmax_cross_entropy,
        lambda o, z, t: o.softmax_cross_entropy(z, t),
        lambda f, z, t: f.cross_entropy(z, t, **none),
    ),
    Case(
        "poly",
        ("z", "t"),
        losses.poly_loss_cross_entropy,
        lambda o, z, t: o.poly_loss_cross_entropy(z, t),
    ),
    Case(
        "binary",
        ("z", "e"),
        losses.sigmoid_binary_cross_entropy,
        lambda o, x, e: o.sigmoid_binary_cross_entropy(x, e),
        lambda f, x, e: f.binary_cross_entropy_with_logits(x, e, **none),
    ),
    Case(
        "pos_weight",
        ("z", "e", "w"),
        lambda x, e, w: losses.sigmoid_binary_cross_entropy(x, e, pos_weight=w),
        None,
        lambda f, x, e, w: f.binary_cross_entropy_with_logits(
            x, e, pos_weight=w, **none
        ),
    ),
    Case(
        "sigmoid focal",
        ("z", "e"),
        losses.sigmoid_focal_loss,
        lambda o, x, e: o.sigmoid_focal_loss(x, e),
    ),
    Case(
        "kl_divergence",
        ("log_q", "t"),
        losses.kl_divergence,
        lambda o, log_q, t: o.kl_divergence(log_q, t),
        lambda f, log_q, t: f.kl_div(log_q, t, **none).sum(-1),
    ),
    Case(
        "kl, log targets",
        ("log_q", "log_t"),
        losses.kl_divergence_with_log_targets,
        lambda o, log_q, log_t: o.kl_divergence_with_log_targets(log_q, log_t),
        lambda f, log_q, log_t: f.kl_div(log_q, log_t, log_target=True, **none).sum(-1),
    ),
    Case(
        "kl, generalized",
        ("log_q", "t"),
        losses.generalized_kl_divergence,
        lambda o, log_q, t: o.generalized_kl_divergence(log_q, t),
    ),
    Case(
        "sparsemax",
        ("z", "y"),
        losses.multiclass_sparsemax_loss,
        lambda o, z, y: o.multiclass_sparsemax_loss(z, y),
    ),
    Case(
        "distillation",
        ("z", "teacher"),
        lambda z, a: losses.distillation_loss(z, a, temperature=2.0).loss,
        lambda o, z, a: (
            4
            * o.kl_divergence_with_log_targets(
                jax.nn.log_softmax(z / 2), jax.nn.log_softmax(a / 2)
            )
        ),
        lambda f, z, a: (
            4 * f.kl_div(f.log_softmax(z / 2, -1), f.softmax(a / 2, -1), **none).sum(-1)
        ),
    ),
    Case(
        "log_prob_and_entropy",
        ("z", "y"),
        lambda z, y: functools.reduce(
            lambda log_p, h: log_p + 0.01 * h, losses.log_prob_and_entropy(z, y)
        ),
        lambda o, z, y: (
            -o.softmax_cross_entropy_with_integer_labels(z, y)
            - 0.01 * jnp.sum(jax.nn.softmax(z) * jax.nn.log_softmax(z), axis=-1)
        ),
        lambda f, z, y: _policy(
            f.log_softmax(z, -1), y, lambda x, y: x.gather(-1, y[:, None])[:, 0]
        ),
    ),
)


@functools.cache
def _arrays(shape: Shape) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    size = shape.rows, shape.classes
    a, b = 2 * rng.standard_normal((2, *size), np.float32)
    p, q = softmax(a).astype("f4"), softmax(b).astype("f4")
    return {
        **{"z": a, "teacher": b, "t": q, "log_q": np.log(p), "log_t": np.log(q)},
        "y": rng.integers(shape.classes, size=shape.rows, dtype=np.int32),
        "e": (rng.random(size) < 0.5).astype("f4"),
        "w": rng.uniform(0.5, 2, shape.classes).astype("f4"),
    }


def _jax_run(loss: Callable, arrays: Sequence[np.ndarray]) -> Run:
    arguments = [jnp.asarray(x) for x in arrays]
    step = jax.jit(jax.value_and_grad(lambda *args: jnp.mean(loss(*args))))
    return lambda: jax.block_until_ready(step(*arguments))


def _torch_run(loss: Callable, arrays: Sequence[np.ndarray]) -> Run:
    import torch

    wide = lambda x: x.astype(np.int64) if x.dtype.kind == "i" else x
    leaf, *rest = (torch.from_numpy(wide(x)) for x in arrays)
    leaf.requires_grad_()

    def run():
        value = loss(torch.nn.functional, leaf, *rest).mean()
        return value, torch.autograd.grad(value, leaf)

    return run


def contenders(case: Case, shape: Shape) -> dict[str, Run]:
    arrays = [_arrays(shape)[name] for name in case.arguments]
    runs = {"jxent": _jax_run(case.jxent, arrays)}
    if case.optax:
        from optax import losses as theirs

        runs["optax"] = _jax_run(functools.partial(case.optax, theirs), arrays)
    if case.torch and "torch" in libraries.spellings():
        runs["torch"] = _torch_run(case.torch, arrays)
    return runs


def run(selection: Selection) -> Result:
    """Measures every loss at every shape, in float32."""
    records = []
    shapes = SHAPES[:1] if selection.quick else SHAPES
    for shape, case in itertools.product(shapes, CASES):
        title = f"{shape}; {case.name}"
        if not selection.has(title):
            continue
        report.progress(title)
        times = interleave(contenders(case, shape), 3 if selection.quick else 7)
        for name, seconds in times.items():
            records.append(Record.of(title, name, "time", "ms", seconds * 1e3))
            if name != "jxent":
                ratio = times["jxent"] / seconds
                records.append(Record.of(title, "jxent", f"time / {name}", "×", ratio))
    return Result.now("losses", records)


def details(result: Result) -> str:
    """Ratios of time for every shape and peer."""
    columns = list(itertools.product(SHAPES, PEERS))
    rows = [
        [case.name, *(_ratio(result, shape, case, peer) for shape, peer in columns)]
        for case in CASES
    ]
    rows = [row for row in rows if set(row[1:]) != {"–"}]
    heads = [f"{shape}, {peer}" for shape, peer in columns]
    legend = (
        "Time of a loss of `jxent.losses` and its gradient in float32, divided by that "
        "of the peer's, or of what one composes there:"
    )
    return f"{legend}\n\n{report.table(['loss', *heads], rows)}"


summary = details


def draw(result: Result) -> plot.Figure:
    panels = {
        str(shape): {
            case.name: {
                name: record.median
                for name in ("jxent", *PEERS)
                if (record := result.find(f"{shape}; {case.name}", name, "time"))
            }
            for case in CASES
        }
        for shape in SHAPES
    }
    return plot.dots(panels, "time, ms")


def _ratio(result: Result, shape: Shape, case: Case, peer: str) -> str:
    record = result.find(f"{shape}; {case.name}", "jxent", f"time / {peer}")
    return f"{record.median:.2f}" if record else "–"
