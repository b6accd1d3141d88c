"""Which losses count, how much, and what becomes of them all."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import checks
from .._core import arithmetic as num
from .._core.domains import EventTargets, Outcomes
from .._core.means import Mean, weigh
from .._core.shapes import as_array, as_given, check_real, is_float, is_integer
from .._core.verdicts import Claim, look
from ._arguments import (
    as_where,
    both,
    check_predictions,
    common_batch,
    ignored,
    spread,
)
from ._options import Weights, Where


def kept_events(
    labels: Any, batch: tuple[int, ...], where: Where, ignore_index: Any, caller: str
) -> Bool[Array, "*batch"] | None:
    """The events that neither `where` nor their label removes; None for all."""
    kept = None
    if where is not None:
        kept = spread(as_where(where, caller), batch, "where", caller)
    ignore = ignored(labels, ignore_index, caller)
    return kept if ignore is None else both(kept, ~jnp.broadcast_to(ignore, batch))


class Counts(NamedTuple):
    """Rows that are kept, None for all; and their weights, None for 1 each."""

    kept: Bool[Array, "*batch"] | None = None
    weights: Float[Array, "*batch"] | None = None

    @classmethod
    def of(
        cls,
        kept: Bool[Array, "*batch"] | None,
        weights: Weights,
        batch: tuple[int, ...],
        caller: str,
        bad: Bool[Array, "*batch"] | None = None,
    ) -> "Counts":
        """`bad` rows have no loss: a weight of 0 removes them."""
        if weights is None:
            return cls(kept)
        w = as_array(weights, "weights", caller)
        w = w if jnp.issubdtype(w.dtype, jnp.floating) else w.astype(jnp.float32)
        w = num.at_least_float32(spread(w, batch, "weights", caller))
        # A mask made of weights is nothing that a slope with respect to them could see:
        # it is of rows that have no loss, and so no slope.
        return cls(kept if bad is None else both(kept, ~((w == 0) & bad)), w)

    def only(self, x: Array) -> Array:
        """`x`, and 0 in rows that are removed."""
        return x if self.kept is None else jnp.where(self.kept, x, jnp.zeros_like(x))

    def reduce(
        self,
        losses: Float[Array, "*batch"],
        reduction: Any,
        *,
        of_class: Float[Array, "*batch"] | None = None,
        term: Float[Array, "*batch"] | None = None,
    ) -> Any:
        """The losses as `reduction` says.

        Args:
          losses: One for each row, by which class weights have been multiplied already.
          reduction: See `Reduced`.
          of_class: The class weight of each row's label, by which a mean divides too.
          term: What is added to the losses, and is not weighed by class.
        """
        each = self._weighed(losses)
        if term is not None and (of_class is None or reduction not in ("mean", Mean)):
            each, term = each + self._weighed(term), None
        if reduction in (None, "none"):
            return each
        if reduction == "sum":
            return jnp.sum(each)
        counts = jnp.ones_like(losses) if of_class is None else of_class
        mean = Mean(jnp.sum(each), jnp.sum(self._weighed(counts)))
        if term is not None:
            rows = self._weighed(jnp.ones_like(term))
            beside = Mean(jnp.sum(self._weighed(term)), jnp.sum(rows))
            mean = Mean(mean.total, mean.weight, mean.lost, beside)
        return mean if reduction is Mean else mean.value

    def _weighed(self, x: Array) -> Array:
        x = self.only(x)
        return x if self.weights is None else weigh(self.weights.astype(x.dtype), x)


def events(
    logits: Any,
    labels: Any,
    *,
    caller,
    where,
    ignore_index,
    weights,
    reduction,
    label_smoothing=0.0,
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"], Counts, Any]:
    """Logits and labels of events, without those that are removed."""
    x, y = as_array(logits, "logits", caller), as_given(labels, "labels", caller)
    check_real(y, name="labels", caller=caller)
    check_predictions(x, y, "logits", caller)
    shapes = f"logits have shape {x.shape}, labels have shape {y.shape}"
    batch = common_batch(x.shape, y.shape, caller, shapes)
    kept = kept_events(labels, batch, where, ignore_index, caller)
    given, y = y, jnp.asarray(y, None if is_float(y.dtype) else jnp.float32)
    x, y = jnp.broadcast_to(x, batch), jnp.broadcast_to(y, batch)
    bad = None if weights is None else jnp.isnan(x) | ~_is_event(y)
    counts = Counts.of(kept, weights, batch, caller, bad)
    x, y = counts.only(x), counts.only(y)
    checks.assert_binary_logits(x, name="logits", caller=caller)
    if counts.kept is None and is_integer(given.dtype):
        look(given, Claim(Outcomes(), "labels", caller))
    else:
        look(y, Claim(EventTargets(), "labels", caller))
    s = None if num.is_known(label_smoothing, 0) else label_smoothing
    return x, _targets(y, s), counts, reduction


def _is_event(y: Array) -> Bool[Array, "*batch"]:
    return (0 <= y) & (y <= 1)


@functools.partial(jax.jit, inline=True)
def _targets(y: Float[Array, "*batch"], s: Any) -> Float[Array, "*batch"]:
    y = jnp.where(_is_event(y), y, jnp.nan)
    if s is None:
        return y
    y = num.at_least_float32(y)
    s = jnp.asarray(s, y.dtype)
    return (1 - s) * y + s / 2
