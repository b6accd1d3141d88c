"""What the numbers of an array have to be: one class for each domain.

A domain says when an entry is right by itself, when a row is right as a whole, and in
which words a flaw is told. It is written once: for numpy, which looks at small arrays, and
for jax.numpy, which looks at large ones and is compiled. A new domain is a new subclass.
"""

import abc
import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np

Flags = Any  # arrays of bools, of numpy or of JAX


class Flaw(NamedTuple):
    """The first thing that is wrong with an array."""

    name: str  # of the array
    at: str  # where in it, by name
    value: Any  # of the entry; None if the row is wrong as a whole
    facts: tuple[Any, ...]  # what `Domain.facts` says of that row


class Domain(abc.ABC):
    """What every row of an array, or every number in it, has to be.

    Frozen and hashable: it is part of the program, not of the data. `xp` is `numpy` or
    `jax.numpy`. Rows are the last axis, and reductions keep it: elementwise operations and
    such reductions run as they are under Explicit meshes, where indexing does not.
    """

    def __eq__(self, other: object) -> bool:  # of those that have no fields
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    rows: ClassVar[bool] = True  # False: every number is by itself, a row of one
    integer: ClassVar[bool] = False  # whether it is of integers

    @abc.abstractmethod
    def entries(self, x: Any, xp: Any) -> Flags:
        """Where an entry is right by itself."""

    def whole(self, x: Any, dtype: Any, xp: Any) -> Flags:
        """Which rows are right as a whole, [*batch, 1]; NaN is never right.

        `dtype` is what `x` was rounded to, before it was widened to compute with.
        """
        del dtype
        return self.entries(x, xp).all(axis=-1, keepdims=True)

    def holds(self, x: Any, dtype: Any, xp: Any) -> Any:
        """A quick verdict on the array, sure if it is yes."""
        return self.whole(x, dtype, xp).all()

    def facts(self, x: Any, xp: Any) -> tuple[Any, ...]:
        """What else the words need to know of each row."""
        return ()

    def words(self, flaw: Flaw) -> str:
        """What is wrong, and what may have been meant."""
        v = flaw.value
        if v is not None and not self.integer and not v < math.inf:
            return f"{flaw.at} is {'inf' if v == math.inf else 'NaN'}"
        return self.explain(flaw)

    @abc.abstractmethod
    def explain(self, flaw: Flaw) -> str:
        """The words for a flaw that is not just a NaN or +inf."""


class Simplex(Domain):
    """`pᵢ ≥ 0` and `Σᵢ pᵢ = 1`."""

    def entries(self, x, xp):
        return (x >= 0) & (x < math.inf)

    def whole(self, x, dtype, xp):
        # An honest entry is off by ε/2 of itself or by s/2, then come exp and division.
        k, info = x.shape[-1], jnp.finfo(dtype)
        rounding = float(info.eps) * (4 + k * float(info.tiny) / 2)  # s = ε · tiny
        off = x.sum(axis=-1, keepdims=True) - 1
        positive = x.min(axis=-1, keepdims=True) >= 0
        return positive & (xp.abs(off) <= rounding + _adding(k, x.dtype))

    def facts(self, x, xp):
        total = x.sum(axis=-1, keepdims=True)
        negative = (x < 0).any(axis=-1, keepdims=True)
        broken = (x != xp.round(x)).any(axis=-1, keepdims=True)
        return total, _logsumexp(x, xp), negative, broken, x.sum()

    def explain(self, flaw):
        total, lse, negative, broken, of_all = flaw.facts
        p = flaw.name
        if flaw.value is not None:
            kin = "LogProbs" if abs(lse) < 0.1 else "Logits"
            tiny = flaw.value > -1e-3
            fix = "clip it to 0" if tiny else f"did you mean {kin}({p})?"
            return f"{flaw.at} is {flaw.value!s}; {fix}"
        if negative:  # by the rounding of what is otherwise a distribution
            fix = f"did you mean Logits({p})?"
        elif abs(total - 1) < 0.1:
            fix = "divide by its sum"
        elif not broken:
            fix = (
                f"counts are divided by their sum: {p} / {p}.sum(-1, keepdims=True); a "
                f"table of counts is from_counts({p}, variables=2)"
            )
        elif abs(of_all - 1) < 1e-3:
            fix = f"all rows together sum to 1, so did you mean Joint({p})?"
        else:
            fix = f"did you mean Logits({p})?"
        return f"{flaw.at} sums to {total!s}, not 1; {fix}"


class LogSimplex(Domain):
    """`log Σᵢ exp xᵢ = 0`."""

    def entries(self, x, xp):
        return x < math.inf

    def whole(self, x, dtype, xp):
        # Rounding log pᵢ moves it by |log pᵢ| ε/2, hence log Σ exp by Σ pᵢ |log pᵢ| ε/2
        # = H(p) ε/2 ≤ log k ε/2; rounding log_softmax's normaliser does as much again.
        # One taken without the maximum is rounded by |z| ε/2: 16 ε for |z| up to 32.
        k = x.shape[-1]
        rounding = (16 + math.log(k)) * float(jnp.finfo(dtype).eps)
        return xp.abs(_logsumexp(x, xp)) <= rounding + _adding(k, x.dtype)

    def facts(self, x, xp):
        return x.sum(axis=-1, keepdims=True), _logsumexp(x, xp)

    def explain(self, flaw):
        total, lse = flaw.facts
        if lse == -math.inf:
            return _NO_CLASS.format(flaw.at)
        kin = "Probs" if abs(total - 1) < 0.1 else "Logits"
        fix = "subtract it" if abs(lse) < 0.1 else f"did you mean {kin}({flaw.name})?"
        return f"{flaw.at} has logsumexp {lse!s}, not 0; {fix}"


class SubLogSimplex(LogSimplex):
    """`Σᵢ exp xᵢ ≤ 1`: log-probabilities of some of the classes."""

    def whole(self, x, dtype, xp):
        k = x.shape[-1]
        rounding = (16 + math.log(k)) * float(jnp.finfo(dtype).eps)
        return _logsumexp(x, xp) <= rounding + _adding(k, x.dtype)

    def explain(self, flaw):
        _, lse = flaw.facts
        fix = "they are log-probabilities among all classes, as log_softmax gives them"
        return f"{flaw.at} has logsumexp {lse!s}, above 0; {fix}"


_NO_CLASS = "{} has no possible class: every entry is -inf; mask that row out"


class HasSoftmax(Domain):
    """`xᵢ < +∞`, and some `xᵢ > −∞`."""

    def entries(self, x, xp):
        return x < math.inf

    def whole(self, x, dtype, xp):
        possible = x.max(axis=-1, keepdims=True) > -math.inf
        return possible & super().whole(x, dtype, xp)

    def holds(self, x, dtype, xp):
        # The sum sees a NaN, which XLA's maximum may lose on a CPU; it may overflow.
        return (x.max(axis=-1) > -math.inf).all() & (x.sum() < math.inf)

    def explain(self, flaw):
        return _NO_CLASS.format(flaw.at)


class Finite(Domain):
    """`−∞ < xᵢ < +∞`: hidden states and weights."""

    def entries(self, x, xp):
        return xp.abs(x) < math.inf

    def holds(self, x, dtype, xp):
        return xp.abs(x.sum()) < math.inf

    def explain(self, flaw):
        return f"{flaw.at} is -inf"


class Elementwise(Domain):
    """Every number is by itself: there is no class axis."""

    rows = False

    def holds(self, x, dtype, xp):
        return self.entries(x, xp).all()


@dataclass(frozen=True)
class Indices(Elementwise):
    """`0 ≤ y < k`."""

    k: int
    integer = True

    def entries(self, x, xp):
        if self.k > jnp.iinfo(x.dtype).max:  # and no uint8 is 1000 or more
            return x >= 0
        return (x >= 0) & (x < self.k)

    def explain(self, flaw):
        hints = {-100: "; mask ignored rows out", self.k: "; do they start at 1?"}
        hint = hints.get(int(flaw.value), "")
        return f"label {flaw.value} ({flaw.at}) is not in [0, {self.k}){hint}"


class Different(Domain):
    """No index twice in a row: the classes that a shortened teacher tells of."""

    integer = True

    def entries(self, x, xp):
        # Of equal numbers all but the first are wrong; sorting would lose which they are.
        k = x.shape[-1]
        before = np.tri(k, k=-1, dtype=bool)
        same = x[..., :, None] == x[..., None, :]
        return ~(same & xp.broadcast_to(before, same.shape)).any(axis=-1)

    def holds(self, x, dtype, xp):
        ordered = xp.sort(x, axis=-1)
        return (ordered[..., 1:] != ordered[..., :-1]).all()

    def explain(self, flaw):
        return f"{flaw.at} is class {flaw.value}, which stands in that row already"


class EventProbs(Elementwise):
    """`0 ≤ p ≤ 1`."""

    def entries(self, x, xp):
        return (x >= 0) & (x <= 1)

    def explain(self, flaw):
        fix = f"did you mean BinaryLogits({flaw.name})?"
        return f"{flaw.at} is {flaw.value!s}, not in [0, 1]; {fix}"


class EventTargets(EventProbs):
    """`0 ≤ p ≤ 1`, of a loss, which takes the logits apart from them."""

    def explain(self, flaw):
        return f"{flaw.at} is {flaw.value!s}, not in [0, 1]"


class Outcomes(Elementwise):
    """0 or 1: whether an event happened. Integers or not."""

    def entries(self, x, xp):
        return (x == 0) | (x == 1)

    def explain(self, flaw):
        hint = "; mask ignored events out" if flaw.value == -100 else ""
        return f"{flaw.at} is {flaw.value!s}, neither 0 nor 1{hint}"


class NotNaN(Elementwise):
    """`−∞ ≤ x ≤ +∞`: the logit of one event."""

    def entries(self, x, xp):
        return x == x  # which no NaN is

    def explain(self, flaw):
        return f"{flaw.at} is NaN"


@dataclass(frozen=True)
class Interval(Elementwise):
    """The numbers in an interval such as "[0, 1)": an option's range."""

    within: str

    @functools.cached_property
    def ends(self) -> tuple[float, float]:
        low, high = self.within[1:-1].split(", ")
        return float(low), float(high)

    def entries(self, x, xp):
        del xp  # it takes Python's numbers too
        low, high = self.ends
        above = x >= low if self.within[0] == "[" else x > low
        return above & (x <= high if self.within[-1] == "]" else x < high)

    def words(self, flaw):
        return self.explain(flaw)

    def explain(self, flaw):
        return f"{flaw.at} is {flaw.value!s}, not in {self.within}"


POSITIVE, NOT_NEGATIVE = Interval("(0, inf)"), Interval("[0, inf)")
INSIDE, BELOW_ONE, SHARE = Interval("(0, 1)"), Interval("[0, 1)"), Interval("[0, 1]")
BASE = Interval("(1, inf)")
MASK = Interval("[-inf, inf)")  # a bias: −∞ makes a class impossible


def _adding(k: int, dtype: Any) -> float:
    """How far the sum of k honest numbers is off by adding them."""
    return math.sqrt(k) * float(jnp.finfo(dtype).eps)


def _logsumexp(x: Any, xp: Any) -> Any:
    top = x.max(axis=-1, keepdims=True)
    top = xp.where(xp.abs(top) < math.inf, top, 0)
    return xp.log(xp.exp(x - top).sum(axis=-1, keepdims=True)) + top
