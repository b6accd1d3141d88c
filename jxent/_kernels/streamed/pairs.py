"""Two distributions, class by class, whose numbers are never all there at once.

What a pair is asked for is `Σⱼ term(pⱼ, qⱼ, …)`. The first pass aligns the two: it finds
the normalisers of logits, and how p and q differ where p leads. The second adds up terms.
Every slope is then that of a term, less what the normaliser takes back, class by class.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..._core import arithmetic as num, autodiff as ad
from ..._core.autodiff import priced
from ..._core.meshes import AxisName
from .. import terms
from ..tilt import step_between
from .alignment import AlignmentOf, Kinds
from .class_sum import derivative, on_mesh, Rows, sum_here
from .sources import Source
from .statistics import Sum, Whole


class Classes(NamedTuple):
    """What every class of a pair has to say."""

    p: Float[Array, "*batch w"]
    q: Float[Array, "*batch w"]
    log_p: Float[Array, "*batch w"]
    log_q: Float[Array, "*batch w"]
    d: Float[Array, "*batch w"]  # q − p, with the digits that it has
    t: Float[Array, "*batch w"]  # log(q/p), likewise
    apart: Bool[Array, "*batch 1"]  # of two softmaxes that hardly overlap


# ------------------------------------------------------------------ class by class


def compare(kinds: Kinds, x: Array, y: Array, rows: Rows) -> Classes:
    """What classes have to say, of their numbers `x` and `y` on the two sides."""
    x, y = num.widen(x, y)
    moving = {k: v for k, v in rows.items() if jnp.issubdtype(v.dtype, jnp.floating)}
    return _compared(kinds)((x, y, moving), ())


def _compared(kinds: Kinds):
    @ad.with_derivatives_of(lambda x, y, rows: _plainly(kinds, x, y, rows))
    def compared(args, _):
        x, y, rows = args
        p, q, log_p, log_q, d, t, apart = _plainly(kinds, x, y, rows)
        if kinds == ("logits", "logits"):
            # log(q/p) is that of the leader, and the excess over it. Far apart, this would
            # be the difference of two large numbers.
            of = lambda name: rows[name][..., None]
            e = step_between(x, y, of("p top"), of("p partner"))
            near = (jnp.abs(of("t")) <= 1) & (jnp.abs(e) < jnp.inf)
            t = jnp.where(near, e + of("t"), t)
            d = jnp.where(near, num.rise(p, q, t), d)
        elif "probs" not in kinds:
            d = num.rise(p, q, t)
        return Classes(p, q, log_p, log_q, d, t, apart)

    return compared


def _plainly(kinds, x, y, rows):
    p, log_p = _side(kinds[0], x, rows, "p")
    q, log_q = _side(kinds[1], y, rows, "q")
    apart = jnp.zeros_like(p[..., :1], bool)
    if "t" in rows:
        apart = rows["t"][..., None] < -0.7
    t = terms.log_difference(log_p, log_q)
    return Classes(p, q, log_p, log_q, q - p, t, apart)


def _side(kind, x, rows, name):
    if kind == "probs":
        return x, num.log(x)
    if kind == "logs":
        return jnp.exp(x), x
    top, others = (rows[f"{name} {part}"][..., None] for part in ("top", "others"))
    return _softmax_of((x, top, others), ()), (x - top) - jnp.log1p(others)


@ad.with_derivatives_of(lambda x, top, others: jnp.exp(x - top) / (1 + others))
def _softmax_of(args, _):
    x, top, others = args
    return num.exp_of_difference(x, top) / (1 + others)


# ------------------------------------------------------------------ terms


class Slopes(NamedTuple):
    """The derivatives of a term by p and q, and by log p and log q."""

    by_p: Float[Array, "*batch w"]
    by_q: Float[Array, "*batch w"]
    by_log_p: Float[Array, "*batch w"]
    by_log_q: Float[Array, "*batch w"]


@dataclasses.dataclass(frozen=True)
class TermOf:
    """Any `term(p, q, d, *params)` that JAX can differentiate by p, by q and by params."""

    term: Any

    def value(self, c: Classes, params):
        return self.term(c.p, c.q, c.d, *params)

    def slopes(self, c: Classes, params):
        f = lambda p, q: self.term(p, q, c.d, *params)
        value, back = jax.vjp(f, c.p, c.q)
        by_p, by_q = back(jnp.ones_like(value))
        return Slopes(by_p, by_q, num.weigh(c.p, by_p), num.weigh(c.q, by_q))


@dataclasses.dataclass(frozen=True)
class CodeLength:
    """`−p log q`; of a softmax q, whose sum is 1, the slope is that of −p log q + q."""

    softmax: bool

    def value(self, c: Classes, params):
        return num.weigh(c.p, -c.log_q)

    def slopes(self, c: Classes, params):
        by_p = -num.finite_log(c.log_q)
        by_q, by_log_q = -num.quotient(c.p, c.q), c.d if self.softmax else -c.p
        return Slopes(by_p, by_q, num.weigh(c.p, by_p), by_log_q)


@dataclasses.dataclass(frozen=True)
class Bregman:
    """`p log(p/q) − p + q`"""

    def value(self, c: Classes, params):
        # `t` is finite, for the slopes; the value at q = 0 < p is not.
        lost = (c.p > 0) & (c.log_q == -jnp.inf)
        return jnp.where(lost, jnp.inf, terms.bregman_at(c.p, c.q, c.d, c.t))

    def slopes(self, c: Classes, params):
        by_q = terms.excess_ratio(c.p, c.q, c.d)
        return Slopes(-c.t, by_q, num.weigh(c.p, -c.t), c.d)


@dataclasses.dataclass(frozen=True)
class Skewed:
    """`w p log(p/m) + (1 − w) q log(q/m)`, m = w p + (1 − w) q"""

    def value(self, c: Classes, params):
        (w,) = params
        return terms.skewed(c.p, c.q, c.d, w, c.apart)

    def slopes(self, c: Classes, params):
        (w,) = params
        by_p, by_q, _ = terms.skewed_slopes(c.p, c.q, c.d, w, c.apart)
        return Slopes(by_p, by_q, num.weigh(c.p, by_p), num.weigh(c.q, by_q))


# ------------------------------------------------------------------ sums


@dataclasses.dataclass(frozen=True)
class PairOf:
    """What both statistics of a pair know: its term, and what its numbers are."""

    term: Any
    kinds: Kinds
    num_params: int

    @property
    def logits(self):
        """The names of the sides that are softmaxes."""
        return [n for n, kind in zip("pq", self.kinds, strict=True) if kind == "logits"]

    def classes(self, numbers, rows):
        x, y = numbers
        return compare(self.kinds, x, y, rows)

    def params(self, rows):
        return [rows[f"param {i}"][..., None] for i in range(self.num_params)]

    def risen(self, name, numbers, rows):
        """`uⱼ − pⱼ u_l / p_l`: the slope by log pⱼ, over that of the leading class."""
        c, at_lead = self.classes(numbers, rows), self._at_leader(name, rows)
        slopes = self.term.slopes(c, self.params(rows))
        of_lead = self.term.slopes(at_lead, self.params(rows))
        if name == "p":
            return slopes.by_log_p - c.p * (of_lead.by_log_p / at_lead.p)
        return slopes.by_log_q - c.q * (of_lead.by_log_q / at_lead.q)

    def _at_leader(self, name, rows):
        mine, other = rows[f"{name} top"][..., None], rows[f"{name} partner"][..., None]
        return self.classes((mine, other) if name == "p" else (other, mine), rows)


@dataclasses.dataclass(frozen=True)
class ValueOf(PairOf, Sum):
    """`Σ term`; and by side, how far the slopes rise over that of the leading class."""

    def terms(self, tile, logits, rows, total):
        numbers = logits  # of any kind
        # Apart from the slopes, or XLA would round the value otherwise where they are made.
        c = self.classes(jax.lax.optimization_barrier(numbers), rows)
        found = {"value": self.term.value(c, self.params(rows))}
        for name in self.logits:
            lead = tile.classes(numbers[0]) == rows[f"{name} lead"][..., None]
            found[name] = jnp.where(lead, 0, self.risen(name, numbers, rows))
        return found


@dataclasses.dataclass(frozen=True)
class SlopesOf(PairOf, Whole):
    """The derivatives of `Σ term`, of rows that know the sums of `ValueOf`."""

    def terms(self, tile, numbers, rows, total):
        # By a logit:  ∂ Σ term / ∂zᵢ = uᵢ − pᵢ Σ uⱼ,  where uᵢ is the slope by log pᵢ. With
        # rⱼ = uⱼ − pⱼ u_l / p_l, which is 0 for the leading class l, it is rᵢ − pᵢ Σ rⱼ:
        # nothing cancels where p_l is nearly 1, and slopes add up to 0.
        c, params = self.classes(numbers, rows), self.params(rows)
        slopes = self.term.slopes(c, params)
        by = {
            ("p", "probs"): slopes.by_p,
            ("q", "probs"): slopes.by_q,
            ("p", "logs"): slopes.by_log_p,
            ("q", "logs"): slopes.by_log_q,
        }
        for name in self.logits:
            lead = tile.classes(numbers[0]) == rows[f"{name} lead"][..., None]
            risen = jnp.where(lead, 0, self.risen(name, numbers, rows))
            mine = c.p if name == "p" else c.q
            by[name, "logits"] = risen - mine * rows[f"{name} sum"][..., None]
        sides = zip(zip("pq", self.kinds, strict=True), numbers, strict=True)
        prices = [priced(by[side], x) for side, x in sides]
        return sum(prices) + _by_params(self.term, params, c)


def _by_params(term, params, c):
    """Something whose first derivative is that of the term by its parameters."""

    @jax.custom_jvp
    def only(params, c):
        return jnp.zeros_like(c.p)

    @only.defjvp
    def _(primals, tangents):
        params, c = primals
        at = lambda params: term.value(c, params)
        return only(*primals), jax.jvp(at, (params,), (tangents[0],))[1]

    return only(params, c) if params else jnp.zeros_like(c.p)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3), inline=True)
def pair_sum(
    term: Any,
    kinds: Kinds,
    axis_name: AxisName | None,
    block: int | None,
    sources: tuple[Source, Source],
    params: tuple[Float[Array, "*batch"], ...] = (),
) -> Float[Array, "*batch"]:
    """`Σⱼ term(pⱼ, qⱼ, …)` of two sources, whose numbers are of these kinds."""
    statistic = ValueOf(term, kinds, len(params)), SlopesOf(term, kinds, len(params))
    here = functools.partial(_pair_sum, *statistic, block)
    rows = {f"param {i}": x for i, x in enumerate(params)}
    return on_mesh(here, axis_name, sources, rows)


def _pair_sum(values, slopes, block, axis_name, sources, params):
    sum_up = lambda statistic, rows: sum_here(
        statistic, axis_name, block, sources, rows
    )
    rows = sum_up(AlignmentOf(values.kinds), {}) if "logits" in values.kinds else {}
    sums = sum_up(values, params | rows)
    hints = {f"{name} sum": x for name, x in sums.items() if name != "value"} | rows
    return _sloped(slopes, axis_name, block, sources, params, hints, sums["value"])


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _sloped(slopes, axis_name, block, sources, params, hints, value):
    return value


@functools.partial(_sloped.defjvp, symbolic_zeros=True)
def _sloped_jvp(slopes, axis_name, block, primals, tangents):
    # The hints and the value depend on the same numbers: their derivatives are in `slopes`
    # already, but those of the slopes themselves go through the hints.
    sources, params, hints, value = primals
    again = _sloped(slopes, axis_name, block, sources, params, hints, value)
    rows = params | hints
    dot = derivative(slopes, axis_name, block, sources, rows, value, tangents[:2])
    return again, dot
