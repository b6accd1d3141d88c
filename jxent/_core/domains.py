"""What is wrong with an array that is said to be a distribution, and where.

`holds` is a quick verdict, sure if it is yes. Only where it is no does `report` look for
the first flaw, in compiled code too.
"""

import functools
import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Num

from .pytrees import pytree

ELEMENTWISE = ("labels", "binary_probs", "binary_logits")  # without a class axis
_NONE = 2**31 - 1  # no such index


class Claim(NamedTuple):
    """What an array is said to be, by which function, under which name."""

    kind: str
    name: str
    caller: str
    num_classes: int = 0


@functools.partial(jax.jit, static_argnums=(1, 2))
def holds(x: Num[Array, "..."], kind: str, num_classes: int) -> Bool[Array, ""]:
    """Whether there is no flaw; False also for logits so large that their sum overflows."""
    dtype, x = x.dtype, _wide(x)
    verdict = jnp.all(_rows_hold(x, dtype, kind, num_classes))
    if kind == "logits":
        verdict &= jnp.sum(x) < jnp.inf  # every zᵢ < +inf, and none of them is NaN
    return verdict


@functools.partial(jax.jit, static_argnums=1)
def report(x: Num[Array, "..."], claim: Claim) -> "Report":
    """The first flaw, if there is one."""
    suspect = ~holds(x, claim.kind, claim.num_classes)
    first = lambda suspect, x: _first_flaw(suspect, x, claim)

    def none(suspect, x):  # made of it, which is False, to vary over a mesh as it does
        zero = lambda like: jnp.broadcast_to(suspect.astype(like.dtype), like.shape)
        return jax.tree.map(zero, jax.eval_shape(first, suspect, x))

    return jax.lax.cond(suspect, first, none, suspect, x)


def _first_flaw(suspect, x, claim):
    kind, _, _, num_classes = claim
    dtype, x = x.dtype, _wide(x)
    rows = ~_rows_hold(x, dtype, kind, num_classes)
    x = jnp.expand_dims(x, -1) if kind in ELEMENTWISE else x
    entries = _entries_at_fault(x, kind, num_classes)
    rows |= jnp.any(entries, axis=-1, keepdims=True)
    (*index, _), row = _first(rows)
    (*_, entry), here = _first(row & entries)
    facts = ()
    if kind in ("simplex", "log_simplex"):
        of_rows = (f(x, axis=-1, keepdims=True) for f in (jnp.sum, jax.nn.logsumexp))
        facts = tuple(jnp.sum(jnp.where(row, fact, 0)) for fact in of_rows)
    # Of one length, for vmap must not change what a compiled check carries; and made of
    # `suspect`, which is True, to vary over a mesh as the rest does.
    absent = jnp.where(suspect, jnp.int32(_NONE), 0)
    index = jnp.stack((index + 8 * [absent])[:8])
    value = jnp.sum(jnp.where(here, x, 0))
    return Report(jnp.any(rows), index, entry, value, facts, claim)


def _wide(x):
    # Not promote_types, as float8 promotes with nothing; and no uint8 is above 1000.
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    narrow = x.dtype.itemsize < 4
    return x.astype(jnp.float32 if floating else jnp.int32) if narrow else x


# Elementwise operations and reductions that keep their axes only: these run as they are
# under Explicit meshes, where indexing and reshaping do not.


def _rows_hold(x, dtype, kind, num_classes) -> Bool[Array, "*batch 1"]:
    """Whether each row, or number, is as claimed; `dtype` is what it was rounded to.

    Of logits, only whether a class is possible: XLA's maximum may lose a NaN on a CPU.
    """
    if kind in ELEMENTWISE:
        return ~_entries_at_fault(jnp.expand_dims(x, -1), kind, num_classes)
    if kind == "logits":
        return jnp.max(x, axis=-1, keepdims=True) > -jnp.inf
    k, info = x.shape[-1], jnp.finfo(dtype)
    tolerance = math.sqrt(k) * float(jnp.finfo(x.dtype).eps)  # of adding k numbers
    if kind == "simplex":
        # An honest entry is off by ε/2 of itself or by s/2, then come exp and division.
        tolerance += float(info.eps) * (4 + k * float(info.tiny) / 2)  # s = ε · tiny
        off = jnp.sum(x, axis=-1, keepdims=True) - 1
        positive = jnp.min(x, axis=-1, keepdims=True) >= 0
        return positive & (jnp.abs(off) <= tolerance)  # which no NaN is
    # Rounding log pᵢ moves it by |log pᵢ| ε/2, hence log Σ exp by Σ pᵢ |log pᵢ| ε/2
    # = H(p) ε/2 ≤ log k ε/2; rounding log_softmax's normaliser does as much again.
    # One taken without the maximum is rounded by |z| ε/2: 16 ε for |z| up to 32.
    tolerance += (16 + math.log(k)) * float(info.eps)
    return jnp.abs(jax.nn.logsumexp(x, axis=-1, keepdims=True)) <= tolerance


def _entries_at_fault(x, kind, num_classes) -> Bool[Array, "*batch k"]:
    match kind:
        case "labels":
            return (x < 0) | (x >= num_classes)
        case "binary_probs":
            return ~((x >= 0) & (x <= 1))
        case "binary_logits":
            return jnp.isnan(x)
        case "simplex":
            return ~((x >= 0) & (x < jnp.inf))
    return ~(x < jnp.inf)


def _first(flags: Array) -> tuple[list[Array], Array]:
    """The index of the first True, and the mask that holds it alone."""
    index = []
    for axis in range(flags.ndim):
        i = jax.lax.broadcasted_iota(jnp.int32, flags.shape, axis)
        index.append(jnp.min(jnp.where(flags, i, _NONE), initial=_NONE))
        flags &= i == index[-1]
    return index, flags


@pytree
@dataclass(frozen=True)
class Report:
    """The first flaw, as data for compiled code to carry; formatted, its message."""

    bad: Any  # arrays, but JAX rebuilds it around other things as well
    index: Any  # of the row, then _NONE
    entry: Any  # within the row; _NONE if that is wrong as a whole
    value: Any  # of that entry
    facts: Any  # about that row, a tuple
    claim: Claim = field(metadata={"static": True})

    def __format__(self, spec: str) -> str:
        kind, name, caller, k = self.claim
        value, *facts = (np.asarray(x)[()] for x in (self.value, *self.facts))
        total, lse = facts or (math.nan, -math.inf)
        index = [int(i) for i in np.asarray(self.index) if i != _NONE]
        unit = "entry" if kind in ELEMENTWISE else "row"
        at = f"{unit} {index} of {name}" if index else name
        whole = self.entry == _NONE
        at = f"entry {self.entry} of {at}" if unit == "row" and not whole else at
        if not whole and not value < math.inf:
            text = f"{at} is {'inf' if value == math.inf else 'NaN'}"
        elif kind == "labels":
            hints = {-100: "; mask ignored rows out", k: "; do they start at 1?"}
            text = f"label {value} ({at}) is not in [0, {k}){hints.get(int(value), '')}"
        elif kind == "binary_probs":
            fix = f"did you mean BinaryLogits({name})?"
            text = f"{at} is {value!s}, not in [0, 1]; {fix}"
        elif kind != "simplex" and lse == -math.inf:
            text = f"{at} has no possible class: every entry is -inf; mask that row out"
        elif kind == "log_simplex":
            kin = "Probs" if abs(total - 1) < 0.1 else "Logits"
            fix = "subtract it" if abs(lse) < 0.1 else f"did you mean {kin}({name})?"
            text = f"{at} has logsumexp {lse!s}, not 0; {fix}"
        elif whole:
            fix = f"did you mean Logits({name})?"
            fix = "divide by its sum" if abs(total - 1) < 0.1 else fix
            text = f"{at} sums to {total!s}, not 1; {fix}"
        else:
            kin = "LogProbs" if abs(lse) < 0.1 else "Logits"
            fix = "clip it to 0" if value > -1e-3 else f"did you mean {kin}({name})?"
            text = f"{at} is {value!s}; {fix}"
        return f"{caller}: {text}"
