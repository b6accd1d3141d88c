"""Learning from a teacher's predictions."""

from types import SimpleNamespace
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeAlias, Unpack

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from .. import checks
from .._core import arithmetic as num, meshes as mesh
from .._core.domains import Different, SubLogSimplex
from .._core.shapes import as_array, as_given, indices
from .._core.verdicts import Claim, look
from .._distributions.discrete import Labels, Logits
from .._distributions.projection import LinearLogits
from .._kernels.streamed import ToldOf
from .._measures import streamed
from .._measures.cross_entropy import cross_entropy_in_nats
from .._measures.divergence import js_in_nats, kl_in_nats
from ._arguments import at_temperature, both, split_where
from ._counts import Counts, kept_events
from ._options import loss, Number, Option, R, Reduced, Where
from ._rows import without_softmax
from ._tokens import check_shapes, temper, without_hidden


class Distilled(Reduced[R], Generic[R], total=False):
    """What distillation takes besides."""

    teacher_weight: Annotated[Number, Option(0.5, "(0, 1)")]
    temperature: Annotated[
        Number | Float[ArrayLike, "..."], Option(1.0, "(0, inf)", per_row=True)
    ]
    hard_weight: Annotated[Number, Option(0.0, "[0, 1]")]
    ignore_index: Annotated[int | None, Option()]


class Distillation(NamedTuple, Generic[R]):
    """The loss, and what it is made of, before these are mixed.

    Example:
      >>> from jxent import losses
      >>> out = losses.distillation_loss([0.0, 0.0], [0.0, 0.0])
      >>> print(out.loss, out.soft, out.hard)
      0.0 0.0 0.0
    """

    loss: R
    soft: R  # the divergence from the teacher, times T²
    hard: R  # the cross-entropy of the labels, or 0


@loss
def distillation_loss(
    student_logits: Float[ArrayLike, "*batch k"] | LinearLogits,
    teacher_logits: Float[ArrayLike, "*batch k"]
    | Float[ArrayLike, "*batch m"]
    | LinearLogits,
    labels: Int[ArrayLike, "*batch"] | None = None,
    *,
    divergence: Literal["forward", "reverse", "js"] = "forward",
    teacher_classes: Int[ArrayLike, "*batch m"] | None = None,
    where: Where = None,
    **options: Unpack[Distilled[R]],
) -> Distillation[R]:
    """Divergence of a student from its teacher, in nats, with or without true labels.

        (1 − h) T² D(t, s) + h H(y, softmax(x)),      t, s = softmax(teacher/T, student/T)
        D = KL(t ‖ s) forward, KL(s ‖ t) reverse, JS(t, s) with weight w of the teacher

    The forward divergence makes the student cover all that the teacher thinks possible,
    the reverse one keeps it from what the teacher does not. T² makes up for gradients
    that shrink with it.

    Args:
      student_logits: x, the predictions. Either may be `LinearLogits(hidden, weight)`:
        then no array of the student's logits, or of both, is made.
      teacher_logits: The targets. With `teacher_classes`, log-probabilities among all
        classes, at the temperature of this loss.
      labels: True classes, for the mix; at temperature 1.
      divergence: "forward", "reverse" or "js".
      teacher_weight: w, in (0, 1), for "js" alone.
      temperature: T; one number, or one for each row.
      hard_weight: h, in [0, 1]; if it is known to be 0, there are no `labels`.
      teacher_classes: The m classes that a shortened teacher tells of, all different. The
        others are one class more, for which both have the mass that is left: a student
        who spreads mass there pays for it.
      ignore_index: A label whose rows are removed from every term.
      where: Which rows count, of the batch's shape; the others are 0. Or which classes
        exist, of the student's shape, say without a vocabulary's padding.
      weights, reduction: As for `softmax_cross_entropy_with_integer_labels`, of all three.

    Returns:
      A named tuple `(loss, soft, hard)` of the loss, T² D, and the cross-entropy: one
      number per row each, or what `reduction` makes of them, float32 for half precision.

    Limits:
      Those of `jxent.kl_divergence` and `jxent.js_divergence`. A row that is removed has
      gradient 0, whatever it holds.

    Raises:
      ValueError: If shapes do not match, or options contradict each other.
      AssertionError: If a row of logits has no softmax, or an index no class.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> student, teacher = jnp.array([0.0, 0.0, 0.0]), jnp.array([2.0, 0.0, 0.0])
      >>> out = losses.distillation_loss(
      ...     student, teacher, jnp.array(0), temperature=2.0, hard_weight=0.5
      ... )
      >>> print(f"{out.loss:.4f} {out.soft:.4f} {out.hard:.4f}")
      0.7959 0.4931 1.0986

    References:
      Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.
      Agarwal, Vieillard, Zhou, Stanczyk, Ramos, Geist and Bachem, "On-Policy Distillation
      of Language Models", ICLR 2024, section 3.
    """
    caller, o = "distillation_loss", SimpleNamespace(**options)
    temperature, h, w = o.temperature, o.hard_weight, o.teacher_weight
    if divergence not in ("forward", "reverse", "js"):
        raise ValueError(f"{caller}: divergence is {divergence!r}, none of the three")
    if divergence != "js" and not num.is_known(w, 0.5):
        raise ValueError(f'{caller}: teacher_weight is for divergence="js"')
    if labels is None and not num.is_known(h, 0):
        raise ValueError(f"{caller}: hard_weight is for labels, and there are none")
    if labels is not None and num.is_known(h, 0):
        raise ValueError(f"{caller}: labels need hard_weight > 0 (it is {h})")
    if o.ignore_index is not None and labels is None:
        raise ValueError(f"{caller}: ignore_index, but there are no labels")
    student = _admit(student_logits, "student_logits", caller)
    teacher = _admit(teacher_logits, "teacher_logits", caller)
    k, m, batch = student.num_classes, teacher.num_classes, student.batch
    if teacher.batch != batch or (teacher_classes is None and m != k):
        shapes = (
            f"student has shape {(*batch, k)}, teacher has shape {(*teacher.batch, m)}"
        )
        raise ValueError(f"{caller}: {shapes}")

    exist: Any = None
    if where is not None and jnp.ndim(where) > len(batch):
        exist = split_where(where, (*batch, k), (-1,), caller)[0]
        student = _among(exist, student, caller)
        if teacher_classes is None:
            teacher = _among(exist, teacher, caller)
    rows = None if exist is not None else where
    kept = kept_events(
        0 if labels is None else labels, batch, rows, o.ignore_index, caller
    )
    kept = kept if exist is None else both(kept, jnp.any(exist, axis=-1))
    bad = None if o.weights is None else _bad(student) | _bad(teacher)
    y = None if labels is None else _labels(labels, batch, caller)
    if y is not None and bad is not None:
        bad |= (y < 0) | (y >= k)
    counts = Counts.of(kept, o.weights, batch, caller, bad)
    s, t = _without(student, counts), _without(teacher, counts)
    s = _checked(s, "student_logits", caller)
    hard = jnp.zeros(batch, num.accumulator(student.data.dtype))
    if y is not None:
        y = counts.only(y)
        checks.assert_labels(y, k, name="labels", caller=caller)
        hard = cross_entropy_in_nats(Labels(y), s)

    s = _tempered(s, temperature, caller)
    if teacher_classes is None:
        t = _tempered(_checked(t, "teacher_logits", caller), temperature, caller)
    elif isinstance(t, LinearLogits):
        raise TypeError(f"{caller}: teacher_classes, but the teacher has all classes")
    else:
        classes = _classes_of(teacher_classes, t.data, k, counts, caller)
        s, t = _with_tail(s, t.data, classes)
    if divergence == "js":
        soft = js_in_nats(t, s, w)
    else:
        soft = kl_in_nats(*((t, s) if divergence == "forward" else (s, t)))
    square = jnp.asarray(temperature, soft.dtype) ** 2
    soft = jnp.broadcast_to(square, batch) * soft
    soft, hard = num.widen(soft, hard)
    h = jnp.asarray(h, soft.dtype)
    mixed = soft if y is None else _mix(h, soft, hard)
    return Distillation(*(counts.reduce(x, o.reduction) for x in (mixed, soft, hard)))


_Model: TypeAlias = Logits | LinearLogits


def _admit(x: Any, name: str, caller: str) -> _Model:
    if isinstance(x, LinearLogits):
        check_shapes(x, name, caller)
        return x
    x = as_array(x, name, caller)
    checks.check_float(x, name=name, caller=caller)
    checks.check_class_axis(x, name=name, caller=caller)
    return Logits(x)


def _among(exist: Array, q: _Model, caller: str) -> _Model:
    """`q` without the classes that do not exist."""
    if isinstance(q, LinearLogits):
        raise TypeError(
            f"{caller}: where masks classes, and LinearLogits have theirs masked by a bias "
            "of -inf; a mask of tokens has no class axis"
        )
    return Logits(jnp.where(exist, q.data, -jnp.inf))


def _bad(q: _Model) -> Bool[Array, "*batch"]:
    """Rows without a softmax."""
    if isinstance(q, LinearLogits):
        return ~jnp.all(jnp.isfinite(q.data), axis=-1)
    return without_softmax(q.data)


def _without(q: _Model, counts: Counts) -> _Model:
    if isinstance(q, LinearLogits):
        return without_hidden(q, counts)
    kept = counts.kept
    return q if kept is None else Logits(jnp.where(kept[..., None], q.data, 0))


def _checked(q: _Model, name: str, caller: str) -> _Model:
    if isinstance(q, LinearLogits):
        q.check(name, caller)
    else:
        checks.assert_logits(q.data, name=name, caller=caller)
    return q


def _tempered(q: _Model, temperature: Any, caller: str) -> _Model:
    if isinstance(q, LinearLogits):
        return temper(q, temperature)
    return Logits(at_temperature(q.data, temperature, caller))


def _labels(labels: Any, batch: tuple[int, ...], caller: str) -> Int[Array, "*batch"]:
    y = as_given(labels, "labels", caller)
    checks.check_labels_dtype(y, name="labels", caller=caller)
    if y.shape != batch:
        shapes = f"labels have shape {y.shape}, and rows {batch}"
        raise ValueError(f"{caller}: {shapes}; there is one class index for each")
    return indices(labels)


def _mix(h: Array, soft: Array, hard: Array) -> Array:
    h = jnp.broadcast_to(h, soft.shape)
    return num.weigh(1 - h, soft) + num.weigh(h, hard)


def _classes_of(
    classes: Any, log_t: Array, k: int, counts: Counts, caller: str
) -> Int[Array, "*batch m"]:
    shape = log_t.shape
    classes = as_given(classes, "teacher_classes", caller)
    checks.check_labels_dtype(classes, name="teacher_classes", caller=caller)
    if classes.shape != shape:
        raise ValueError(
            f"{caller}: teacher_classes has shape {classes.shape}, teacher_logits {shape}"
        )
    classes = indices(classes)
    if (kept := counts.kept) is not None:  # the first ones, which differ
        first = jnp.arange(shape[-1], dtype=classes.dtype)
        classes = jnp.where(kept[..., None], classes, jnp.broadcast_to(first, shape))
        log_t = jnp.where(kept[..., None], log_t, -jnp.inf)
    checks.assert_labels(classes, k, name="teacher_classes", caller=caller)
    look(classes, Claim(Different(), "teacher_classes", caller))
    look(log_t, Claim(SubLogSimplex(), "teacher_logits", caller))
    return classes


def _rounding(log_t: Array) -> float:
    """Of Σ exp(log t), where log t was rounded to its dtype: by |log t| ε/2 at most."""
    return (16 + log_t.shape[-1]) * float(jnp.finfo(log_t.dtype).eps)


def _with_tail(
    student: _Model,
    log_teacher: Float[Array, "*batch m"],
    classes: Int[Array, "*batch m"],
) -> tuple[Logits, Logits]:
    """Logits of both among `classes`, and one class for all others."""
    valid = (0 <= classes) & (classes < student.num_classes)
    told = jnp.where(valid, classes, 0)
    known, rest = _known_and_rest(student, told)
    rounding = _rounding(log_teacher)
    known, rest, log_teacher = num.widen(known, rest, log_teacher)
    known = jnp.where(valid, known, jnp.nan)
    left = 1 - jnp.sum(jnp.exp(log_teacher), axis=-1, keepdims=True)
    # What rounding leaves of a teacher who has told all is no mass to be found missing.
    left = jnp.where((rest == -jnp.inf) & (left <= rounding), 0, left)
    tail = jnp.where(left > 0, jnp.log(jnp.where(left > 0, left, 1)), -jnp.inf)
    student_logits = jnp.concatenate([known, rest], -1)
    return Logits(student_logits), Logits(jnp.concatenate([log_teacher, tail], -1))


def _known_and_rest(student: _Model, told: Int[Array, "*batch m"]):
    """The logits at the classes `told`, and the log of the sum over all others."""
    if isinstance(student, LinearLogits):
        found = streamed.sums_of(student, {"told": ToldOf()}, {"told": told})["told"]
        return found.known, found.rest.log[..., None]
    z = num.at_least_float32(student.data)
    others = mesh.partitioned(_others, z, told, out=mesh.layout(z))
    rest = jax.nn.logsumexp(z, axis=-1, keepdims=True, where=others)
    return mesh.pick(z, told), rest


def _others(z: Float[Array, "*batch k"], classes: Int[Array, "*batch m"]) -> Array:
    """False at `classes`, True elsewhere."""
    without = lambda every, classes: every.at[classes].set(False)
    of_rows = jnp.vectorize(without, signature="(k),(m)->(k)")
    return of_rows(jnp.ones(z.shape, bool), classes)
