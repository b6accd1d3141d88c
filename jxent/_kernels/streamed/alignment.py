"""How two distributions lie to each other: their normalisers, and how far they drift."""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._core import arithmetic as num
from ..._core.autodiff import FIXED
from ..tilt import step_between
from . import log_sum as online
from .log_sum import log_sum, log_sum_terms, LogSum

Kind = Literal["logits", "logs", "probs"]  # what the numbers of a source are
Kinds = tuple[Kind, Kind]


class Led(NamedTuple):
    """The normaliser of one side, and the other side's number at its leading class."""

    total: LogSum
    partner: Float[Array, "*batch"]


@dataclasses.dataclass(frozen=True)
class AlignmentOf:
    """The normalisers of the sides that are logits; of two such, how far they drift apart.

    With p ∝ exp(a), q ∝ exp(b), and class l leading p, all in one pass:
        drift = Σⱼ exp(aⱼ − a_l) (exp(eⱼ) − 1),   eⱼ = (bⱼ − aⱼ) − (b_l − a_l)
    Hence log(q_l / p_l) = −log(1 + drift / Σⱼ exp(aⱼ − a_l)), exact where a and b are near.
    """

    kinds: Kinds

    def of_tile(self, tile, numbers, rows):
        numbers = num.widen(*numbers)
        classes = tile.classes(numbers[0])
        led = []
        for x, other, kind in zip(numbers, numbers[::-1], self.kinds, strict=True):
            if kind != "logits":
                led.append(None)
                continue
            total = log_sum(x, classes)
            lead = online.leads(total, classes)
            led.append(Led(total, jnp.sum(jnp.where(lead, other, 0), axis=-1)))
        if self.kinds != ("logits", "logits"):
            return *led, None
        total, b0 = led[0]
        a, b = numbers
        e = step_between(a, b, total.top[..., None], b0[..., None])
        p_hat = online.exp_of_others(total, a, classes)
        q_hat = jnp.exp(b - online.finite(b0)[..., None])
        drift = jnp.sum(num.rise(p_hat, q_hat, e), axis=-1)
        return *led, jnp.where(b0 == -jnp.inf, jnp.inf, drift)

    def merge(self, a, b):
        *led, drift = (self._merged(*sides) for sides in zip(a, b, strict=True))
        if drift is not None:
            drift = _drift_from(led[0], a) + _drift_from(led[0], b)
        return *led, drift

    def _merged(self, a, b):
        if not isinstance(a, Led):
            return a
        first = a.total.top >= b.total.top
        partner = jnp.where(first, a.partner, b.partner)
        return Led(online.merge(a.total, b.total), partner)

    def across(self, a, axis_name):
        led = []
        for side in a[:2]:
            if side is None:
                led.append(None)
                continue
            total = online.across(side.total, axis_name)
            mine = jnp.where(side.total.lead == total.lead, side.partner, 0)
            led.append(Led(total, jax.lax.psum(mine, axis_name)))
        drift = a[2]
        if drift is not None:
            drift = jax.lax.psum(_drift_from(led[0], a), axis_name)
        return *led, drift

    def finish(self, a):
        rows = {}
        for name, side in zip("pq", a[:2], strict=True):
            if side is not None:
                total, partner = side
                rows |= {f"{name} top": total.top, f"{name} others": total.others}
                rows |= {f"{name} lead": total.lead, f"{name} partner": partner}
        if a[2] is not None:
            # No less than −70, where it is of no use.
            mass = 1 + a[0].total.others
            rows["t"] = -jnp.log1p(jnp.minimum(a[2] / mass, 1e30))
        return rows

    def terms(self, tile, numbers, rows, total):
        numbers = num.widen(*numbers)
        classes = tile.classes(numbers[0])
        found = {name: FIXED for name in total}
        for name, x, other in zip("pq", numbers, numbers[::-1], strict=True):
            if f"{name} top" in total:
                side = LogSum(*(total[f"{name} {part}"] for part in LogSum._fields))
                parts = log_sum_terms(side, x, classes)
                found |= {f"{name} {k}": v for k, v in parts._asdict().items()}
                lead = online.leads(side, classes)
                found[f"{name} partner"] = jnp.where(lead, other, 0)
        return found


def _drift_from(led: Led, part):
    """The drift of a part, seen from the leading class of all."""
    # exp(e′) − 1 of e′ = e − ε, and exp(a − a_l′) = exp(a − a_l) exp(a_l − a_l′):
    (side, _, drift), a_new = part, led.total.top
    a_old = side.total.top
    epsilon = step_between(a_old, side.partner, a_new, led.partner)
    mass = 1 + side.total.others
    moved = jnp.exp(epsilon) * drift + jnp.expm1(epsilon) * mass
    moved = moved * jnp.exp(online.finite(a_old) - online.finite(a_new))
    moved = jnp.where(jnp.isfinite(moved), moved, jnp.inf)  # too far apart to be of use
    return jnp.where(a_old == -jnp.inf, 0, moved)
