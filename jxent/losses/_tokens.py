"""Tokens that have hidden states, and logits only where somebody multiplies."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from .. import checks
from .._core import arithmetic as num, meshes as mesh
from .._core.shapes import indices, integers
from .._distributions.projection import LinearLogits
from ._counts import Counts, kept_events
from ._options import Weights, Where


def tokens_of(
    q: LinearLogits,
    labels: Any,
    where: Where,
    ignore_index: Any,
    caller: str,
    name: str = "labels",
    weights: Weights = None,
    class_weights: Any = None,
) -> tuple[LinearLogits, Int[Array, "*batch"], Counts]:
    """Checks the tokens of a loss; those that are removed get innocent ones in place."""
    check_shapes(q, "logits", caller)
    labels = integers(labels, name, caller)
    checks.check_labels_dtype(labels, name=name, caller=caller)
    y, batch, k = indices(labels), q.batch, q.num_classes
    if y.shape != batch:
        shapes = f"hidden has shape {q.data.shape}, {name} has shape {y.shape}"
        raise ValueError(f"{caller}: {shapes}, and there must be one for each token")
    kept = kept_events(labels, batch, where, ignore_index, caller)
    bad = None
    if weights is not None or class_weights is not None:
        bad = ~jnp.all(jnp.isfinite(q.data), axis=-1)
        if class_weights is not None:
            no_weight = (weights_of(class_weights, y, q) == 0) & (0 <= y) & (y < k)
            kept = ~(no_weight & bad) if kept is None else kept & ~(no_weight & bad)
        bad |= (y < 0) | (y >= k)
    counts = Counts.of(kept, weights, batch, caller, bad)
    q, y = without_hidden(q, counts), counts.only(y)
    q.check("logits", caller)
    told = labels if counts.kept is None else y  # of 64 bits, they are told by value
    checks.assert_labels(told, k, name=name, caller=caller)
    return q, y, counts


def check_shapes(q: LinearLogits, name: str, caller: str) -> None:
    """Raises if `q` does not fit together; values are looked at once rows are removed."""
    with checks.mode("off"):
        q.check(name, caller)


def weights_of(class_weights: Array, y: Int[Array, "*batch"], q: LinearLogits) -> Array:
    """The weight of each label's class, where a shard has only some of the classes."""
    if not mesh.is_manual(q.axis_name):
        return mesh.pick_each(class_weights, y)
    here = class_weights.shape[0]
    y = y - here * jax.lax.axis_index(q.axis_name)
    mine = (0 <= y) & (y < here)
    w = jnp.where(mine, mesh.pick_each(class_weights, jnp.where(mine, y, 0)), 0)
    return jax.lax.psum(w, q.axis_name)


def without_hidden(q: LinearLogits, counts: Counts) -> LinearLogits:
    """`q` with hidden states of 0 in rows that are removed, whatever they held."""
    if counts.kept is None:
        return q
    t, hidden = q.temperature, jnp.where(counts.kept[..., None], q.data, 0)
    if t is not None and jnp.ndim(t):
        t = jnp.where(counts.kept, t, 1)
    return dataclasses.replace(q, hidden=hidden, temperature=t)


def temper(q: LinearLogits, temperature: Any) -> LinearLogits:
    """`q` with its logits divided by `temperature`, once more."""
    if num.is_known(temperature, 1):
        return q
    dtype = num.accumulator(q.data.dtype)
    t = jnp.asarray(temperature, dtype)
    if q.temperature is not None:
        t = t * jnp.asarray(q.temperature, dtype)
    return dataclasses.replace(q, temperature=t)
