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
from .statistics import Sum, Whole


@dataclasses.dataclass(frozen=True)
class TotalOf(Whole):
    """The sum of exponentials of logarithms, of any kind."""

    kind: Kind

    def of_tile(self, tile, logits, rows):
        return log_sum(_logs(self.kind, logits[0]), tile.classes(logits[0]))

    def merge(self, a, b):
        return online.merge(a, b)

    def across(self, a, axis_name):
        return online.across(a, axis_name)

    def terms(self, tile, logits, rows, total):
        return log_sum_terms(
            total, _logs(self.kind, logits[0]), tile.classes(logits[0])
        )


@dataclasses.dataclass(frozen=True)
class LagsOf(Sum):
    """The sums of `lag_terms`, of logits behind `rows["top"]`; or of probabilities."""

    kind: Kind

    def terms(self, tile, logits, rows, total):
        (x,), order, top = logits, rows["order"][..., None], rows["top"][..., None]
        if self.kind == "logits":
            possible = x > -jnp.inf
            lag = jnp.where(possible, top - x, 1)
            return lag_terms(lag, lag, possible, order)
        log_p, possible = finite_logs(x, self.kind)
        return lag_terms(-log_p, top - log_p, possible, order)


def finite_logs(x, kind: Kind):
    """log p, with tiny in place of 0, and which of them are possible."""
    if kind == "probs":
        possible = x > 0
        return num.log(x + jnp.where(possible, 0, num.tiny(x.dtype))), possible
    return num.finite_log(x), x > -jnp.inf


def _logs(kind: Kind, x):
    return num.log(x) if kind == "probs" else x


class _OfPair:
    kinds: Kinds

    def _logs(self, logits, rows):
        """The logarithms of both, behind the tops of those that are logits."""
        sides = zip("pq", self.kinds, logits, strict=True)
        behind = lambda name, x: x - rows[name][..., None] if name in rows else x
        return num.widen(*(behind(name, _logs(kind, x)) for name, kind, x in sides))


class Overlap(NamedTuple):
    """`Σ p^α q^(1−α)`, and how many classes are possible in p alone."""

    total: LogSum
    lost: Float[Array, "*batch"]


@dataclasses.dataclass(frozen=True)
class OverlapOf(_OfPair, Whole):
    kinds: Kinds

    def of_tile(self, tile, logits, rows):
        log_p, log_q = self._logs(logits, rows)
        z, lost = mixed(log_p, log_q, rows["order"][..., None])
        return Overlap(log_sum(z, tile.classes(z)), jnp.sum(lost, axis=-1))

    def merge(self, a, b):
        return Overlap(online.merge(a.total, b.total), a.lost + b.lost)

    def across(self, a, axis_name):
        lost = jax.lax.psum(a.lost, axis_name)
        return Overlap(online.across(a.total, axis_name), lost)

    def terms(self, tile, logits, rows, total):
        log_p, log_q = self._logs(logits, rows)
        z, _ = mixed(log_p, log_q, rows["order"][..., None])
        return Overlap(log_sum_terms(total.total, z, tile.classes(z)), FIXED)


@dataclasses.dataclass(frozen=True)
class LargestRatioOf(_OfPair, Whole):
    """`max log(pⱼ / qⱼ)`; where several classes share it, its slope is their sum's."""

    kinds: Kinds

    def of_tile(self, tile, logits, rows):
        return jnp.max(ratios(*self._logs(logits, rows)), axis=-1)

    def merge(self, a, b):
        return jnp.maximum(a, b)

    def across(self, a, axis_name):
        return jax.lax.pmax(a, axis_name)

    def terms(self, tile, logits, rows, total):
        y = ratios(*self._logs(logits, rows))
        return jnp.where(y == total[..., None], y, 0)
