"""What the measures need to know of rows of logits: sums over their classes."""

import abc
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..._core import arithmetic as num, meshes as mesh
from ..._core.autodiff import FIXED, priced
from . import log_sum as online
from .log_sum import log_sum, log_sum_terms, LogSum


class Whole:
    """A statistic that is complete as it is added up."""

    def finish(self, total):
        return total


class Sum(Whole, abc.ABC):
    """A statistic that just adds up: its terms are all that there is to it."""

    def of_tile(self, tile, logits, rows):
        terms = self.terms(tile, logits, rows, None)
        return jax.tree.map(lambda x: jnp.sum(x, axis=-1), terms)

    def merge(self, a, b):
        return jax.tree.map(jnp.add, a, b)

    def across(self, a, axis_name):
        return jax.lax.psum(a, axis_name)

    @abc.abstractmethod
    def terms(self, tile, logits, rows, total) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Together:
    """Several statistics in one pass."""

    statistics: tuple[Any, ...]

    def of_tile(self, tile, logits, rows):
        return tuple(s.of_tile(tile, logits, rows) for s in self.statistics)

    def merge(self, a, b):
        return tuple(s.merge(*ab) for s, *ab in zip(self.statistics, a, b, strict=True))

    def across(self, a, axis_name):
        pairs = zip(self.statistics, a, strict=True)
        return tuple(s.across(part, axis_name) for s, part in pairs)

    def finish(self, total):
        return tuple(s.finish(a) for s, a in zip(self.statistics, total, strict=True))

    def terms(self, tile, logits, rows, total):
        pairs = zip(self.statistics, total, strict=True)
        return tuple(s.terms(tile, logits, rows, part) for s, part in pairs)


class _WithRest(Whole):
    """Some logits, of classes that are each in one tile, and a sum over the others."""

    def merge(self, a, b):
        return type(a)(a[0] + b[0], online.merge(a.rest, b.rest))

    def across(self, a, axis_name):
        picked = jax.lax.psum(a[0], axis_name)
        return type(a)(picked, online.across(a.rest, axis_name))


class Choice(NamedTuple):
    """A label's logit, and the classes that it is chosen among."""

    at_label: Float[Array, "*batch"]
    rest: LogSum  # of all classes but the label


@dataclasses.dataclass(frozen=True)
class ChoiceOf(_WithRest):
    """The logit of class `rows["label"]`, and the sum of exponentials of the others.

    Apart, since −log p_y = log(1 + Σ_{j ≠ y} exp(zⱼ − z_y)) so keeps its digits.
    """

    def of_tile(self, tile, logits, rows):
        z, label = logits[0], _label(tile, logits[0], rows)
        at_label = jnp.sum(jnp.where(label, z, 0), axis=-1)
        return Choice(at_label, log_sum(jnp.where(label, -jnp.inf, z), tile.classes(z)))

    def terms(self, tile, logits, rows, total):
        z, label = logits[0], _label(tile, logits[0], rows)
        z_rest = jnp.where(label, -jnp.inf, z)
        rest = log_sum_terms(total.rest, z_rest, tile.classes(z))
        return Choice(jnp.where(label, z, 0), rest)


@dataclasses.dataclass(frozen=True)
class WeightOf(Sum):
    """The weight, the second source, of class `rows["label"]`."""

    def terms(self, tile, logits, rows, total):
        z, w = logits
        return jnp.where(_label(tile, z, rows), jnp.broadcast_to(w, z.shape), 0)


def _label(tile, z, rows):
    return tile.classes(z) == rows["label"][..., None]


class Spread(NamedTuple):
    total: LogSum
    lag: Float[Array, "*batch"]  # Σ pⱼ (top − zⱼ)
    entropy: Float[Array, "*batch"]


@dataclasses.dataclass(frozen=True)
class SpreadOf:
    """How far the classes are below the top on average, and with it the entropy."""

    def of_tile(self, tile, logits, rows):
        z, classes = logits[0], tile.classes(logits[0])
        total = log_sum(z, classes)
        e = online.exp_of_others(total, z, classes)
        return total, jnp.sum(num.weigh(e, self._lag(total, z)), axis=-1)

    def merge(self, a, b):
        total = online.merge(a[0], b[0])
        return total, self._seen_from(total, a) + self._seen_from(total, b)

    def across(self, a, axis_name):
        total = online.across(a[0], axis_name)
        return total, jax.lax.psum(self._seen_from(total, a), axis_name)

    def finish(self, a):
        # H = −log p_top + Σ pⱼ (top − zⱼ): no term is negative, so no digit is lost.
        total, below = a
        possible = jnp.where(total.top > -jnp.inf, 1, jnp.nan).astype(below.dtype)
        lag = below / (1 + total.others) * possible
        return Spread(total, lag, jnp.log1p(total.others) + lag)

    def terms(self, tile, logits, rows, total):
        # ∂H/∂zᵢ = −pᵢ (log pᵢ + H) = pᵢ ((top − zᵢ) − lag), which is small near the uniform
        # softmax, and for a confident leader.
        z, classes = logits[0], tile.classes(logits[0])
        lead, lag = online.leads(total.total, classes), total.lag[..., None]
        others = total.total.others[..., None]
        e = jnp.where(lead, 1, online.exp_of_others(total.total, z, classes))
        p = e / (1 + others)
        # The leader's own lag is 0 whatever moves: nothing that cancels is added up.
        below = jnp.where(lead, 0, self._lag(total.total, z))
        slope = num.weigh(p, below) - p * lag
        # 1 − p of a confident leader is what the others have, to the last digit.
        rest = jnp.where(lead, others / (1 + others), -p)
        return Spread(
            total=log_sum_terms(total.total, z, classes),
            lag=priced(slope + rest, z),
            entropy=priced(slope, z),
        )

    def _lag(self, total, z):
        return online.finite(total.top)[..., None] - z

    def _seen_from(self, total, a):
        part, below = a
        mass = jnp.where(part.top == -jnp.inf, 0, 1 + part.others)
        rise = online.finite(total.top) - online.finite(part.top)
        return num.weigh(jnp.exp(-rise), below + num.weigh(mass, rise))


class Depth(NamedTuple):
    top: Float[Array, "*batch"]  # any number near the logits, without a derivative
    weight: Float[Array, "*batch"]  # Σ wⱼ / k
    below: Float[Array, "*batch"]  # Σ wⱼ (top − zⱼ) / k


@dataclasses.dataclass(frozen=True)
class DepthOf(Whole):
    """How far the classes are below the top, by weights that are the second source.

    Without a second source, all weights are 1. Measured from the top, since a sum of logits
    would lose their differences; and divided by the number of classes `k` before it is
    added up, since masks as large as numbers go would overflow.
    """

    k: Any
    weighted: bool = False

    def of_tile(self, tile, logits, rows):
        z, w = self._weights(logits)
        top = jnp.max(z, axis=-1)
        below = num.weigh(w, online.finite(top)[..., None] - z)
        return Depth(top, jnp.sum(w, axis=-1), jnp.sum(below, axis=-1))

    def merge(self, a, b):
        top = jnp.maximum(a.top, b.top)
        below = self._seen_from(top, a) + self._seen_from(top, b)
        return Depth(top, a.weight + b.weight, below)

    def across(self, a, axis_name):
        top = jax.lax.pmax(a.top, axis_name)
        weight = jax.lax.psum(a.weight, axis_name)
        return Depth(top, weight, jax.lax.psum(self._seen_from(top, a), axis_name))

    def terms(self, tile, logits, rows, total):
        z, w = self._weights(logits)
        below = num.weigh(w, online.finite(total.top)[..., None] - z)
        return Depth(FIXED, w, below)

    def _weights(self, logits):
        w = logits[1] if self.weighted else jnp.ones_like(logits[0])
        z = logits[0]
        return z, jnp.broadcast_to(w.astype(z.dtype), z.shape) / self.k

    def _seen_from(self, top, a):
        rise = online.finite(top) - online.finite(a.top)
        return a.below + num.weigh(a.weight, rise)


class Told(NamedTuple):
    known: Float[Array, "*batch m"]
    rest: LogSum


@dataclasses.dataclass(frozen=True)
class ToldOf(_WithRest):
    """The logits of a few different classes `rows["told"]`, and the sum over all others."""

    def of_tile(self, tile, logits, rows):
        known, others = self._told(tile, logits[0], rows)
        return Told(known, log_sum(others, tile.classes(others)))

    def terms(self, tile, logits, rows, total):
        known, z = self._told(tile, logits[0], rows)
        others = log_sum_terms(total.rest, z, tile.classes(z))
        return Told(known[..., None], others)

    def _told(self, tile, z, rows):
        # By index: a comparison with every class would be an array of rows × told × tile.
        at = rows["told"] - tile.first
        here = (0 <= at) & (at < z.shape[-1])
        known = jnp.where(here, mesh.pick(z, jnp.where(here, at, 0)), 0)
        return known, mesh.partitioned(_without, z, at, out=mesh.layout(z))


def _without(z, at):
    """`z`, and −∞ at these indices, if they are in range."""
    at = jnp.where(at < 0, z.shape[-1], at)
    put = lambda z, at: z.at[at].set(-jnp.inf, mode="drop")
    return jnp.vectorize(put, signature="(k),(m)->(k)")(z, at)


class Leader(NamedTuple):
    logit: Float[Array, "*batch"]
    label: Int[Array, "*batch"]


@dataclasses.dataclass(frozen=True)
class LeaderOf(Whole):
    """The first class of the largest logit."""

    def of_tile(self, tile, logits, rows):
        z = logits[0]
        top = jnp.max(z, axis=-1, keepdims=True)
        last = jnp.iinfo(jnp.int32).max
        index = jnp.min(jnp.where(z == top, tile.classes(z), last), axis=-1)
        return Leader(top[..., 0], index)

    def merge(self, a, b):  # where `b` comes after `a`
        ahead = b.logit > a.logit
        return jax.tree.map(lambda a, b: jnp.where(ahead, b, a), a, b)

    def across(self, a, axis_name):
        top = jax.lax.pmax(a.logit, axis_name)
        last = jnp.iinfo(jnp.int32).max
        return Leader(
            top, jax.lax.pmin(jnp.where(a.logit == top, a.label, last), axis_name)
        )

    def terms(self, tile, logits, rows, total):
        return Leader(FIXED, FIXED)
