"""Tokens that have hidden states, and logits only where somebody multiplies."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Shaped

from .. import checks
from .._core import arithmetic as num
from .._core.shapes import indices
from .._distributions.projection import LinearLogits
from ._arguments import as_where, both, demand_number, spread, Where


def tokens_of(
    q: LinearLogits,
    labels: Any,
    where: Where,
    ignore_index: int | None,
    caller: str,
    name: str = "labels",
) -> tuple[LinearLogits, Int[Array, "*batch"], Bool[Array, "*batch"] | None]:
    """Checks the tokens of a loss; those that are removed get innocent ones in place."""
    q.check("logits", caller)
    checks.check_labels_dtype(jnp.asarray(labels), name=name, caller=caller)
    y, batch = indices(labels), q.batch
    if y.shape != batch:
        shapes = f"hidden has shape {q.data.shape}, {name} has shape {y.shape}"
        raise ValueError(f"{caller}: {shapes}, and there must be one for each token")
    kept = rows_where(where, batch, caller)
    if ignore_index is not None:
        kept = both(kept, y != ignore_index)
    if kept is not None:
        q, y = without_hidden(q, kept), jnp.where(kept, y, 0)
    checks.assert_labels(y, q.num_classes, name=name, caller=caller)
    return q, y, kept


def rows_where(
    where: Where, batch: tuple[int, ...], caller: str
) -> Bool[Array, "*batch"] | None:
    if where is None:
        return None
    return spread(as_where(where, caller), batch, "where", caller)


def without_hidden(q: LinearLogits, kept: Bool[Array, "*batch"] | None) -> LinearLogits:
    """`q` with hidden states of 0 in rows that are removed, whatever they held."""
    if kept is None:
        return q
    t, hidden = q.temperature, jnp.where(kept[..., None], q.data, 0)
    if t is not None and jnp.ndim(t):
        t = jnp.where(kept, t, 1)
    return dataclasses.replace(q, hidden=hidden, temperature=t)


def without_rows(
    x: Shaped[Array, "*batch"], kept: Bool[Array, "*batch"] | None
) -> Shaped[Array, "*batch"]:
    return x if kept is None else jnp.where(kept, x, jnp.zeros_like(x))


def cooler(q: LinearLogits, temperature: Any, caller: str) -> LinearLogits:
    """`q` with its logits divided by `temperature`, once more."""
    positive = lambda t: t > 0
    demand_number(temperature, positive, f"{caller}: temperature", "not positive")
    if isinstance(temperature, int | float) and temperature == 1:
        return q
    dtype = num.accumulator(q.data.dtype)
    t = jnp.asarray(temperature, dtype)
    if q.temperature is not None:
        t = t * jnp.asarray(q.temperature, dtype)
    return dataclasses.replace(q, temperature=t)
