"""Sums over classes for measures that have an order: lags, overlaps, largest ratios."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._core import arithmetic as num
from ..._core.autodiff import FIXED
from ..escort import lag_terms
from ..overlap import mixed, ratios
from . import log_sum as online
from .alignment import Kind, Kinds
from .log_sum import log_sum, log_sum_terms, LogSum
from .pairs import compare
from .statistics import Sum, Whole


@dataclasses.dataclass(frozen=True)
class LagsOf(Sum):
    """The sums of `lag_terms`: behind `rows["top"]`, or of −log p of probabilities."""

    kind: Kind

    def terms(self, tile, logits, rows, total):
        (x,), order = logits, rows["order"][..., None]
        if self.kind == "logits":
            possible, lag = x > -jnp.inf, rows["top"][..., None] - x
            return lag_terms(jnp.where(possible, lag, 1), possible, order)
        log_p, possible = finite_logs(x, self.kind)
        return lag_terms(-log_p, possible, order)


def finite_logs(x, kind: Kind):
    """log p, with tiny in place of 0, and which of them are possible."""
    if kind == "probs":
        possible = x > 0
        return num.log(x + jnp.where(possible, 0, num.tiny(x.dtype))), possible
    return num.finite_log(x), x > -jnp.inf


class Overlap(NamedTuple):
    """`Σ p^α q^(1−α)`, and how many classes are possible in p alone."""

    total: LogSum
    lost: Float[Array, "*batch"]


class _OfPair(Whole):
    kinds: Kinds

    def _logs(self, numbers, rows):
        c = compare(self.kinds, *numbers, rows)
        return c.log_p, c.log_q


@dataclasses.dataclass(frozen=True)
class OverlapOf(_OfPair):
    kinds: Kinds

    def of_tile(self, tile, numbers, rows):
        z, lost = mixed(*self._logs(numbers, rows), rows["order"][..., None])
        return Overlap(log_sum(z, tile.classes(z)), jnp.sum(lost, axis=-1))

    def merge(self, a, b):
        return Overlap(online.merge(a.total, b.total), a.lost + b.lost)

    def across(self, a, axis_name):
        lost = jax.lax.psum(a.lost, axis_name)
        return Overlap(online.across(a.total, axis_name), lost)

    def terms(self, tile, numbers, rows, total):
        z, _ = mixed(*self._logs(numbers, rows), rows["order"][..., None])
        return Overlap(log_sum_terms(total.total, z, tile.classes(z)), FIXED)


@dataclasses.dataclass(frozen=True)
class LargestRatioOf(_OfPair):
    """`max log(pⱼ / qⱼ)`; where several classes share it, its slope is their sum's."""

    kinds: Kinds

    def of_tile(self, tile, numbers, rows):
        return jnp.max(ratios(*self._logs(numbers, rows)), axis=-1)

    def merge(self, a, b):
        return jnp.maximum(a, b)

    def across(self, a, axis_name):
        return jax.lax.pmax(a, axis_name)

    def terms(self, tile, numbers, rows, total):
        y = ratios(*self._logs(numbers, rows))
        return jnp.where(y == total[..., None], y, 0)
