"""Learning from a teacher's predictions."""

from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from .. import checks
from .._core import arithmetic as num, meshes as mesh
from .._core.domains import Different, SubLogSimplex
from .._core.shapes import indices
from .._core.verdicts import Claim, look
from .._distributions.discrete import Labels, Logits
from .._distributions.projection import LinearLogits
from .._kernels.streamed import ToldOf
from .._measures import streamed
from .._measures.cross_entropy import cross_entropy
from .._measures.divergence import js_divergence, kl_divergence
from ._arguments import at_temperature, both, demand, Where
from ._rows import measured
from ._softmax import softmax_cross_entropy_with_integer_labels
from ._tokens import cooler, rows_where, tokens_of, without_hidden, without_rows


class Distillation(NamedTuple):
    """The loss, and what it is made of, before these are weighed: one number per row.

    Example:
      >>> from jxent import losses
      >>> out = losses.distillation_loss([0.0, 0.0], [0.0, 0.0])
      >>> print(out.loss, out.soft, out.hard)
      0.0 0.0 0.0
    """

    loss: Float[Array, "*batch"]
    soft: Float[Array, "*batch"]  # the divergence from the teacher, times T²
    hard: Float[Array, "*batch"]  # the cross-entropy of the labels, or 0


def distillation_loss(
    student_logits: Float[ArrayLike, "*batch k"] | LinearLogits,
    teacher_logits: Float[ArrayLike, "*batch k"]
    | Float[ArrayLike, "*batch m"]
    | LinearLogits,
    labels: Int[ArrayLike, "*batch"] | None = None,
    *,
    divergence: Literal["forward", "reverse", "js"] = "forward",
    teacher_weight: float = 0.5,
    temperature: float = 1.0,
    hard_weight: float = 0.0,
    teacher_classes: Int[ArrayLike, "*batch m"] | None = None,
    ignore_index: int | None = None,
    where: Where = None,
) -> Distillation:
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
      temperature: T.
      hard_weight: h, in [0, 1), a Python number; positive if and only if there are
        `labels`.
      teacher_classes: The m classes that a shortened teacher tells of, all different. The
        others are one class more, for which both have the mass that is left: a student
        who spreads mass there pays for it.
      ignore_index: A label whose rows are 0, in every term.
      where: Which rows count, of the batch's shape; the others are 0.

    Returns:
      A named tuple `(loss, soft, hard)`, one number per row each, float32 for half
      precision: the loss, T² D, and the cross-entropy.

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
    caller = "distillation_loss"
    if divergence not in ("forward", "reverse", "js"):
        raise ValueError(f"{caller}: divergence is {divergence!r}, none of the three")
    if divergence != "js" and teacher_weight != 0.5:
        raise ValueError(f'{caller}: teacher_weight is for divergence="js"')
    demand(hard_weight, lambda h: 0 <= h < 1, f"{caller}: hard_weight", "not in [0, 1)")
    if (labels is None) != (hard_weight == 0):
        given = "missing" if labels is None else "given"
        raise ValueError(f"{caller}: hard_weight is {hard_weight}, labels are {given}")
    if ignore_index is not None and labels is None:
        raise ValueError(f"{caller}: ignore_index, but no labels")
    student = _admit(student_logits, "student_logits", caller)
    teacher = _admit(teacher_logits, "teacher_logits", caller)
    k, m = student.num_classes, teacher.num_classes
    batch = student.batch
    if teacher.batch != batch or (teacher_classes is None and m != k):
        shapes = (
            f"student has shape {(*batch, k)}, teacher has shape {(*teacher.batch, m)}"
        )
        raise ValueError(f"{caller}: {shapes}")

    kept = rows_where(where, batch, caller)
    if labels is not None and ignore_index is not None:
        kept = both(kept, indices(labels) != ignore_index)
    hard = jnp.zeros(batch, num.accumulator(student.data.dtype))
    if labels is not None:
        hard = _log_loss(student, labels, kept, caller)

    s, t = _without(student, kept), _without(teacher, kept)
    s = _cooled(s, "student_logits", temperature, caller)
    if teacher_classes is None:
        t = _cooled(t, "teacher_logits", temperature, caller)
    elif isinstance(t, LinearLogits):
        raise TypeError(f"{caller}: teacher_classes, but the teacher has all classes")
    else:
        classes = _classes_of(teacher_classes, t.data.shape, k, kept, caller)
        told = t.data if kept is None else jnp.where(kept[..., None], t.data, -jnp.inf)
        look(told, Claim(SubLogSimplex(), "teacher_logits", caller))
        s, t = _with_tail(s, t.data, classes)
    if divergence == "js":
        inside = lambda w: 0 < w < 1
        demand(teacher_weight, inside, f"{caller}: teacher_weight", "not in (0, 1)")
        soft = measured(lambda *pair: js_divergence(*pair, weight=teacher_weight), t, s)
    else:
        pair = (t, s) if divergence == "forward" else (s, t)
        soft = measured(kl_divergence, *pair)
    soft = jnp.asarray(temperature, soft.dtype) ** 2 * soft
    soft = soft if kept is None else jnp.where(kept, soft, 0)
    soft, hard = num.widen(soft, hard)
    return Distillation((1 - hard_weight) * soft + hard_weight * hard, soft, hard)


_Model: TypeAlias = Logits | LinearLogits


def _admit(x: Any, name: str, caller: str) -> _Model:
    if isinstance(x, LinearLogits):
        x.check(name, caller)
        return x
    x = jnp.asarray(x)
    checks.check_float(x, name=name, caller=caller)
    checks.check_class_axis(x, name=name, caller=caller)
    return Logits(x)


def _log_loss(student: _Model, labels: Any, kept: Any, caller: str) -> Array:
    if isinstance(student, Logits):
        loss = softmax_cross_entropy_with_integer_labels
        return loss(student.data, labels, where=kept)
    q, y, kept = tokens_of(student, labels, kept, None, caller)
    return without_rows(measured(cross_entropy, Labels(y), q), kept)


def _without(q: _Model, kept: Bool[Array, "*batch"] | None) -> _Model:
    if isinstance(q, LinearLogits):
        return without_hidden(q, kept)
    return q if kept is None else Logits(jnp.where(kept[..., None], q.data, 0))


def _cooled(q: _Model, name: str, temperature: float, caller: str) -> _Model:
    if isinstance(q, LinearLogits):
        return cooler(q, temperature, caller)
    checks.assert_logits(q.data, name=name, caller=caller)
    return Logits(at_temperature(q.data, temperature, caller))


def _classes_of(classes: Any, shape: tuple[int, ...], k: int, kept: Any, caller: str):
    classes = jnp.asarray(classes)
    checks.check_labels_dtype(classes, name="teacher_classes", caller=caller)
    if classes.shape != shape:
        raise ValueError(
            f"{caller}: teacher_classes has shape {classes.shape}, teacher_logits {shape}"
        )
    classes = indices(classes)
    if kept is not None:
        any_m = jnp.broadcast_to(jnp.arange(shape[-1], dtype=jnp.int32), shape)
        classes = jnp.where(kept[..., None], classes, any_m)
    checks.assert_labels(classes, k, name="teacher_classes", caller=caller)
    look(classes, Claim(Different(), "teacher_classes", caller))
    return classes


def _with_tail(
    student: _Model,
    log_teacher: Float[Array, "*batch m"],
    classes: Int[Array, "*batch m"],
) -> tuple[Logits, Logits]:
    """Logits of both among `classes`, and one class for all others."""
    valid = (0 <= classes) & (classes < student.num_classes)
    told = jnp.where(valid, classes, 0)
    known, rest = _known_and_rest(student, told)
    known, rest, log_teacher = num.widen(known, rest, log_teacher)
    known = jnp.where(valid, known, jnp.nan)
    left = 1 - jnp.sum(jnp.exp(log_teacher), axis=-1, keepdims=True)
    # What rounding leaves of a teacher who has told all is no mass to be found missing.
    rounding = log_teacher.shape[-1] * float(jnp.finfo(left.dtype).eps)
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
