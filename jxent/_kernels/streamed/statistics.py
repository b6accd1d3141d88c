"""What the measures need to know of rows of logits: sums over their classes."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..._core import arithmetic as num
from . import log_sum as online
from .log_sum import LogSum

FIXED: Any = None  # the term of what has no derivative


class Sum(abc.ABC):
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

    def terms(self, tile, logits, rows, total):
        pairs = zip(self.statistics, total, strict=True)
        return tuple(s.terms(tile, logits, rows, part) for s, part in pairs)


class _WithRest:
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
        rest = online.log_sum(jnp.where(label, -jnp.inf, z), leads=False)
        return Choice(at_label, rest)

    def terms(self, tile, logits, rows, total):
        z, label = logits[0], _label(tile, logits[0], rows)
        others = online.exp_from(total.rest.top, jnp.where(label, -jnp.inf, z))
        return Choice(jnp.where(label, z, 0), LogSum(FIXED, others))


@dataclasses.dataclass(frozen=True)
class WeightOf(Sum):
    """The weight, the second source, of class `rows["label"]`."""

    def terms(self, tile, logits, rows, total):
        z, w = logits
        return jnp.where(_label(tile, z, rows), jnp.broadcast_to(w, z.shape), 0)


def _label(tile, z, rows):
    return tile.classes(z) == rows["label"][..., None]


class Spread(NamedTuple):
    """What the entropy is made of: `H = log(1 + others) + below / (1 + others)`."""

    total: LogSum
    below: Float[Array, "*batch"]  # Σ exp(zⱼ − top) (top − zⱼ)


@dataclasses.dataclass(frozen=True)
class SpreadOf:
    """The sum of exponentials, and how far below the top they are on average."""

    def of_tile(self, tile, logits, rows):
        total = online.log_sum(logits[0])
        below = self.terms(tile, logits, rows, Spread(total, total.others)).below
        return Spread(total, jnp.sum(below, axis=-1))

    def merge(self, a, b):
        total = online.merge(a.total, b.total)
        return Spread(
            total, self._seen_from(total.top, a) + self._seen_from(total.top, b)
        )

    def across(self, a, axis_name):
        total = online.across(a.total, axis_name)
        return Spread(total, jax.lax.psum(self._seen_from(total.top, a), axis_name))

    def terms(self, tile, logits, rows, total):
        (z, *_), top = logits, total.total.top
        e = online.exp_from(top, z)
        lag = online.finite(top)[..., None] - z
        return Spread(LogSum(FIXED, e), num.weigh(e, lag))

    def _seen_from(self, top, a):
        mass = jnp.where(a.total.top == -jnp.inf, 0, 1 + a.total.others)
        rise = online.finite(top) - online.finite(a.total.top)
        return num.weigh(jnp.exp(-rise), a.below + num.weigh(mass, rise))


@dataclasses.dataclass(frozen=True)
class MomentOf(Sum):
    """`Σ wⱼ zⱼ`, with the weights for the second source; without one, `Σ zⱼ`."""

    weighted: bool = False

    def terms(self, tile, logits, rows, total):
        if not self.weighted:
            return logits[0]
        z, w = logits
        return num.weigh(jnp.broadcast_to(w.astype(z.dtype), z.shape), z)


class Told(NamedTuple):
    known: Float[Array, "*batch m"]
    rest: LogSum


@dataclasses.dataclass(frozen=True)
class ToldOf(_WithRest):
    """The logits of a few classes `rows["told"]`, and the sum over all others."""

    def of_tile(self, tile, logits, rows):
        told = self._told(tile, logits[0], rows)
        z = jnp.where(jnp.any(told, axis=-2), -jnp.inf, logits[0])
        known = jnp.sum(jnp.where(told, logits[0][..., None, :], 0), axis=-1)
        return Told(known, online.log_sum(z))

    def terms(self, tile, logits, rows, total):
        told = self._told(tile, logits[0], rows)
        z = jnp.where(jnp.any(told, axis=-2), -jnp.inf, logits[0])
        others = online.exp_from(total.rest.top, z)
        return Told(jnp.where(told, logits[0][..., None, :], 0), LogSum(FIXED, others))

    def _told(self, tile, z, rows):
        return tile.classes(z)[..., None, :] == rows["told"][..., :, None]


class Leader(NamedTuple):
    logit: Float[Array, "*batch"]
    label: Int[Array, "*batch"]


@dataclasses.dataclass(frozen=True)
class LeaderOf:
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


Kind = Literal["logits", "logs", "probs"]  # what the numbers of a source are


@dataclasses.dataclass(frozen=True)
class LogSumsOf:
    """The sum of exponentials of each source."""

    def of_tile(self, tile, logits, rows):
        return tuple(online.log_sum(z) for z in logits)

    def merge(self, a, b):
        return tuple(online.merge(*ab) for ab in zip(a, b, strict=True))

    def across(self, a, axis_name):
        return tuple(online.across(part, axis_name) for part in a)

    def terms(self, tile, logits, rows, total):
        pairs = zip(logits, total, strict=True)
        return tuple(LogSum(FIXED, online.exp_from(t.top, z)) for z, t in pairs)


@dataclasses.dataclass(frozen=True)
class PairOf(Sum):
    """`Σ f(pⱼ, log pⱼ, qⱼ, log qⱼ)` of two sources.

    Logits are normalised by the LogSums `rows["p top"]`, `rows["p others"]` and so on.
    """

    kinds: tuple[Kind, Kind]
    f: Callable[[Array, Array, Array, Array], Any]

    def terms(self, tile, logits, rows, total):
        p = _as_density(self.kinds[0], logits[0], rows, "p")
        q = _as_density(self.kinds[1], logits[1], rows, "q")
        return self.f(*num.widen(*p, *q))


def _as_density(kind, x, rows, name):
    if kind == "probs":
        return x, num.log(x)
    if kind == "logits":
        top, others = rows[f"{name} top"], rows[f"{name} others"]
        x = (x - top[..., None]) - jnp.log1p(others)[..., None]
    return jnp.exp(x), x
