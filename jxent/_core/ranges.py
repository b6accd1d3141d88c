"""Ranges that parameters of families lie in, and observations of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool

from .domains import Elementwise


class _Rule(NamedTuple):
    holds: Callable[..., Any]  # what a value check asks of x; xp is numpy or jax.numpy
    wrong: str  # what it says of a number outside; {name} is the argument
    legal: Callable[[Array], Bool[Array, "..."]] | None = None  # unchecked: else NaN


_LOG = "not positive; a parameter known by its logarithm is Log({name})"
_finite = lambda x, xp: xp.abs(x) < xp.inf
_positive = lambda x, xp: (x > 0) & (x < xp.inf)
_nonnegative = lambda x, xp: (x >= 0) & (x < xp.inf)
_RULES = {
    "finite": _Rule(_finite, "not finite"),
    "positive": _Rule(_positive, _LOG, lambda x: x > 0),
    # Of scales, at whose edge the formulas have a limit.
    "scale": _Rule(_positive, _LOG, lambda x: x >= 0),
    "nonnegative": _Rule(_nonnegative, "negative", lambda x: x >= 0),
    "probability above 0": _Rule(
        lambda x, xp: (x > 0) & (x <= 1),
        "not in (0, 1]",
        lambda x: (x >= 0) & (x <= 1),
    ),
    "width": _Rule(_positive, "not positive; low comes first, then high"),
    "zero": _Rule(
        lambda x, xp: x == 0,
        "not 0, and above the diagonal of a lower triangular factor; did you mean "
        "jnp.linalg.cholesky({name})?",
    ),
    # Of observations, where some density is.
    "observed above 0": _Rule(_positive, "not positive, and outside of the support"),
    "observed from 0": _Rule(_nonnegative, "negative, and outside of the support"),
    "observed in (0, 1)": _Rule(
        lambda x, xp: (x > 0) & (x < 1), "not in (0, 1), and outside of the support"
    ),
    "count": _Rule(
        lambda x, xp: _nonnegative(x, xp) & (x == xp.floor(x)),
        "no count, and outside of the support, which is 0, 1, 2, …",
    ),
}


@dataclass(frozen=True)
class Range(Elementwise):
    """The numbers of a range that has a name."""

    range: str

    def entries(self, x, xp):
        return _RULES[self.range].holds(x, xp)

    def explain(self, flaw):
        wrong = _RULES[self.range].wrong.format(name=flaw.name)
        return f"{flaw.at} is {flaw.value!s}, {wrong}"

    def only(self, x: Array) -> Array:
        """`x`, and NaN outside of the range; at its edge, where there is a limit, `x`."""
        legal = _RULES[self.range].legal
        return x if legal is None else jnp.where(legal(x), x, jnp.nan)
