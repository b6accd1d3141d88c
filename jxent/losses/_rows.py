"""From optax's arguments to distributions, and from these to what every softmax loss is."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .. import checks
from .._core import arithmetic as num, meshes as mesh
from .._core.shapes import as_array, as_given, indices
from .._distributions.discrete import Labels, Logits, Probs
from .._kernels import softmax as sm
from .._measures.cross_entropy import cross_entropy_in_nats
from ._arguments import (
    at_temperature,
    axes_from_the_end,
    Axis,
    both,
    check_predictions,
    classes_last,
    common_batch,
    FloatLike,
    ignored,
    split_where,
    spread,
    TargetLike,
)
from ._counts import Counts
from ._options import ClassWeights, Weights, Where


class Rows(NamedTuple):
    """Logits and truth of each row, without what `where` and ignored labels take out.

    A class that is masked is impossible: its logit is −inf, its probability 0. A row that
    is removed is an innocent one: logits 0, and label 0 or no probability at all.
    """

    q: Logits
    p: Labels | Probs  # Probs that need not sum to 1
    smoothing: Any
    class_weights: Float[Array, " k"] | None
    classes: Bool[Array, "*batch k"] | None  # which exist; None for all
    counts: Counts
    reduction: Any

    def finish(self, losses: Float[Array, "*batch"], term: Any = None) -> Any:
        """The losses of rows that count, reduced; `term` is not weighed by class."""
        of_class = None
        if self.class_weights is not None and isinstance(self.p, Labels):
            of_class = mesh.pick_each(self.class_weights, self.p.data)
            of_class = of_class.astype(losses.dtype)
        return self.counts.reduce(losses, self.reduction, of_class=of_class, term=term)


def rows_of(
    logits: FloatLike,
    labels: TargetLike,
    axis: Axis,
    where: Where,
    *,
    caller: str,
    kinds: Literal["soft", "hard", "both"],
    names: tuple[str, str] = ("logits", "labels"),
    weights: Weights = None,
    reduction: Any = None,
    label_smoothing: Any = 0.0,
    class_weights: ClassWeights = None,
    ignore_index: int | None = None,
    temperature: Any = 1.0,
) -> Rows:
    """Admits the arguments of a softmax loss. Integer labels are class indices."""
    of_logits, of_labels = names
    z, t = as_array(logits, of_logits, caller), as_given(labels, of_labels, caller)
    check_predictions(z, t, of_logits, caller)
    hard, given = _is_hard(t, kinds, of_labels, caller), t
    if ignore_index is not None and not hard:
        raise ValueError(f"{caller}: ignore_index is for integer labels")
    ignore = ignored(labels, ignore_index, caller)

    shapes = f"{of_logits} have shape {z.shape}, {of_labels} have shape {t.shape}"
    axes = axes_from_the_end(axis, z.ndim, caller)
    classes, kept = split_where(where, z.shape, axes, caller)
    z = classes_last(z, axes)
    checks.check_class_axis(z, name=of_logits, caller=caller)
    k = z.shape[-1]
    if hard:
        t, of_row = indices(t), ()
        if t.ndim != z.ndim - 1:
            raise ValueError(
                f"{caller}: {shapes}. There is one class index for each of the rows "
                f"{z.shape[:-1]}; one-hot labels are floating point or bool"
            )
    else:
        t, of_row = jnp.asarray(t, jnp.float32 if t.dtype == bool else None), (k,)
        t = classes_last(t, axes) if t.ndim >= -min(axes) else t[..., None][..., :0]
        if t.shape[-1] != k:
            raise ValueError(f"{caller}: the class axes differ: {shapes}")
    batch = t.shape[: t.ndim - len(of_row)]
    batch = common_batch(z.shape[:-1], batch, caller, shapes)
    z, t = jnp.broadcast_to(z, (*batch, k)), jnp.broadcast_to(t, (*batch, *of_row))
    per_class = _class_weights(class_weights, z, caller)

    if classes is not None:
        classes = spread(classes, z.shape, "where", caller)
        z = jnp.where(classes, z, -jnp.inf)
        t = t if hard else jnp.where(classes, t, 0)
        kept = jnp.any(classes, axis=-1)
    elif kept is not None:
        kept = spread(kept, batch, "where", caller)
    if ignore is not None:
        kept = both(kept, ~jnp.broadcast_to(ignore, batch))
    bad = None
    if weights is not None or (per_class is not None and hard):
        bad = without_softmax(z)
        if per_class is not None and hard and num.is_known(label_smoothing, 0):
            # A class weight of 0 does not hide a label that is no class.
            no_weight = (mesh.pick_each(per_class, t) == 0) & (0 <= t) & (t < k)
            kept = both(kept, ~(no_weight & bad))
        bad |= (t < 0) | (t >= k) if hard else jnp.any(~jnp.isfinite(t), axis=-1)
    counts = Counts.of(kept, weights, batch, caller, bad)
    kept = counts.kept
    if kept is not None:
        z = jnp.where(kept[..., None], z, 0)
        t = jnp.where(kept if hard else kept[..., None], t, 0)

    checks.assert_logits(z, name=of_logits, caller=caller)
    if hard:
        told = _as_given(given, t, kept)
        checks.assert_labels(told, k, name=of_labels, caller=caller)
    q = Logits(at_temperature(z, temperature, caller))
    p = Labels(t) if hard else Probs(t)
    return Rows(q, p, label_smoothing, per_class, classes, counts, reduction)


def _as_given(given: Any, y: Array, kept: Any) -> Any:
    """Labels of more bits than `y` has, for errors to tell them by their true value."""
    if given.shape != y.shape or given.dtype == y.dtype:
        return y
    if kept is None:
        return given
    return jnp.where(kept, given, 0) if isinstance(given, jax.Array) else y


def without_softmax(z: Float[Array, "*batch k"]) -> Bool[Array, "*batch"]:
    """Rows with NaN or +inf, or of −inf alone."""
    # The number of possible classes, or NaN: one pass.
    possible = jnp.where(z < jnp.inf, (z > -jnp.inf).astype(jnp.float32), jnp.nan)
    return ~(jnp.sum(possible, axis=-1) > 0)


def _is_hard(labels: Any, kinds: str, name: str, caller: str) -> bool:
    hard = jnp.issubdtype(labels.dtype, jnp.integer)
    if hard and kinds == "soft":
        raise TypeError(
            f"{caller}: {name} is {labels.dtype}, not floating point. For class indices "
            "there is softmax_cross_entropy_with_integer_labels; if they are one-hot, "
            "pass labels.astype(float)"
        )
    if not hard and kinds == "hard" and name == "labels":
        raise TypeError(
            f"{caller}: labels is {labels.dtype}; labels are integer class indices. For "
            "soft or one-hot targets there is softmax_cross_entropy"
        )
    if not hard and kinds == "hard":
        checks.check_labels_dtype(labels, name=name, caller=caller)
    if not hard and labels.dtype != bool:  # as one-hot `y[:, None] == classes` is
        checks.check_float(labels, name=name, caller=caller)
    return hard


def _class_weights(
    weights: ClassWeights, z: Float[Array, "*batch k"], caller: str
) -> Float[Array, " k"] | None:
    if weights is None:
        return None
    weights = as_array(weights, "class_weights", caller)
    if weights.shape != z.shape[-1:]:
        raise ValueError(
            f"{caller}: class_weights has shape {weights.shape}, and there are "
            f"{z.shape[-1]} classes"
        )
    return weights.astype(num.accumulator(z.dtype))


def expected(
    rows: Rows, f: Callable[[Array], Array] | None = None
) -> Float[Array, "*batch"]:
    """`Σᵢ wᵢ tᵢ f(−log qᵢ)`, over the smoothed truth t; without `f` a cross-entropy."""
    q, p, s, weights, classes, *_ = rows
    if isinstance(p, Probs):
        t = p.probs()
        if not num.is_known(s, 0):
            t = (1 - _as(s, t)) * t + _as(s, t) * _uniform(rows, t.dtype)
        t = _weighted(t, weights)
        return cross_entropy_in_nats(Probs(t), q) if f is None else _mean_of(f, t, q)
    if f is None and weights is None and classes is None:
        return cross_entropy_in_nats(Labels(p.data, s), q)
    cost = cross_entropy_in_nats(p, q)
    loss = cost if f is None else f(cost)
    if weights is not None:
        w_y = mesh.pick_each(weights, p.data)
        valid = (0 <= p.data) & (p.data < q.num_classes)
        loss = num.weigh(jnp.where(valid, w_y, jnp.nan), loss)
    if num.is_known(s, 0):
        return loss
    # A smoothed label is a mixture, and so is its loss: no one-hot is ever made.
    s, t = _as(s, cost), _weighted(_uniform(rows, cost.dtype), weights)
    if f is not None:
        return (1 - s) * loss + s * _mean_of(f, t, q)
    # −log qᵢ = −log q_y + x_y − xᵢ
    z = num.at_least_float32(q.data)
    at_y = logit_of(q.data, p.data)[..., None]
    lead = jnp.where(at_y > -jnp.inf, at_y - z, 0)
    even = jnp.sum(t, axis=-1) * cost + jnp.sum(num.weigh(t, lead), axis=-1)
    return (1 - s) * loss + s * even


def _as(number, like):
    return jnp.asarray(number, like.dtype)


def _mean_of(f, t, q):
    return jnp.sum(num.weigh(*num.widen(t, f(-q.log_probs()))), axis=-1)


def _weighted(t, weights):
    if weights is None:
        return t
    return t * jnp.broadcast_to(weights.astype(t.dtype), t.shape)


def _uniform(rows, dtype):
    if rows.classes is None:
        shape = rows.q.data.shape
        return jnp.full(shape, 1 / shape[-1], dtype)
    classes = rows.classes.astype(dtype)
    return classes / jnp.maximum(jnp.sum(classes, axis=-1, keepdims=True), 1)


def log_normalizer(rows: Rows) -> Float[Array, "*batch"]:
    """`log Σᵢ exp xᵢ`."""
    q, p = rows.q, rows.p
    if isinstance(p, Probs):
        return jax.nn.logsumexp(num.at_least_float32(q.data), axis=-1)
    # −log q_y = log Σᵢ exp xᵢ − x_y, and XLA has the left-hand side from the loss already.
    cost, x_y = cross_entropy_in_nats(p, q), logit_of(q.data, p.data)
    # An impossible label costs +∞ already, whatever the normaliser is.
    possible = x_y > -jnp.inf
    return jnp.where(possible, cost, 0) + jnp.where(possible, x_y, 0)


@jax.custom_jvp
def logit_of(
    z: Float[Array, "*batch k"], y: Int[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """The logit of class `y` in every row, or of class 0 if that is none."""
    return num.at_least_float32(mesh.pick(z, _known(z, y)[..., None]))[..., 0]


@logit_of.defjvp
def _logit_of_jvp(primals, tangents):
    # Transposed, a comparison fuses with what is added to it; a scatter is a pass alone.
    (z, y), (z_dot, _) = primals, tangents
    at_y = jnp.where(sm.at_class(_known(z, y), z), z_dot, 0)
    return logit_of(z, y), jnp.sum(num.at_least_float32(at_y), axis=-1)


def _known(z, y):
    return jnp.where((0 <= y) & (y < z.shape[-1]), y, 0)
