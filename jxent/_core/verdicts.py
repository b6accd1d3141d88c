"""Whether an array is in its domain: at once if its values are known, else compiled in.

Small arrays are looked at in numpy, for a call of XLA costs more than they do. Only where
the quick verdict is no does `report` look for the first flaw, in compiled code too.
"""

import functools
import sys
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Num

from . import modes
from .domains import Domain, Flaw, Interval
from .pytrees import pytree
from .shapes import as_array

_NONE = 2**31 - 1  # no such index
_SMALL = 1 << 13  # entries, which numpy looks at sooner than XLA is called


class Claim(NamedTuple):
    """What an array is said to be, by which function, under which name."""

    domain: Domain
    name: str
    caller: str


def look(x: Any, claim: Claim, error: type[Exception] = AssertionError) -> None:
    """Raises `error` if the values of an array are not as claimed; as the mode says."""
    known = x
    if isinstance(x, Tracer):
        # Autodiff of eager code traces values that are known. `lax.stop_gradient` unwraps
        # them too, but leaves an equation in staged code.
        known = x.to_concrete_value()
        if known is None:
            _look_when_run(x, claim)
            return
    if modes.of_values() == "off" or _chex_is_disabled():
        return
    if not isinstance(
        known, jax.Array | np.ndarray
    ):  # JAX's literals are Python numbers
        known = np.asarray(known, x.dtype)
    if not _known_to_hold(known, claim.domain):
        # Integers of 64 bits are told by their true value.
        x64 = jax.config.jax_enable_x64 or known.dtype.itemsize == 8
        with jax.ensure_compile_time_eval(), jax.enable_x64(x64):
            with jax.debug_nans(False), jax.debug_infs(False):
                _raise_if_bad(report(known, claim), error)


def _known_to_hold(x: Any, domain: Domain) -> bool:
    on_host = isinstance(x, np.ndarray) and domain.integer
    if on_host or (x.size <= _SMALL and _is_here(x)):
        x = np.asarray(x)
        dtype, x = x.dtype, _wide(x, np) if x.dtype.itemsize < 4 else x
        with np.errstate(all="ignore"):
            return bool(domain.holds(x, dtype, np))
    with jax.ensure_compile_time_eval():  # even where all else is staged
        return bool(holds(x, domain))


def _look_when_run(x: Array, claim: Claim) -> None:
    how = modes.of_staged_code()
    if how in ("eager", "off") or _chex_is_disabled():
        return
    # Under vmap the mapped axis is one batch axis more: one verdict, the index in full.
    seen = jax.custom_batching.custom_vmap(lambda x: report(x, claim))
    seen.def_vmap(lambda _, __, x: (r := seen(x), jax.tree.map(lambda _: False, r)))
    found = seen(jax.lax.stop_gradient(x))
    if how == "checkify":
        from jax.experimental import checkify  # half the time of an import

        checkify.debug_check(~found.bad, PREFIX + "{}", found)
    else:
        jax.debug.callback(_raise_if_bad, found)


PREFIX = "[Chex] chexify assertion 'jxent' failed: "  # by which chexify knows its own


def demand(x: Any, interval: Interval, name: str, caller: str) -> Any:
    """An option that is one number: ValueError if it is known and out of range.

    Python numbers, numpy's and arrays without axes. A tracer passes, for `checked` to look
    at; all but Python numbers come back as arrays.
    """
    if type(x) in (int, float):
        if not interval.entries(x, None):
            raise ValueError(f"{caller}: {_words(x, interval, name)}")
        return x
    x = _as_number(x, name, caller)
    if x.shape:
        raise ValueError(f"{caller}: {name} has shape {x.shape}, and is one number")
    look(x, Claim(interval, name, caller), ValueError)
    return x


def demand_all(x: Any, interval: Interval, name: str, caller: str) -> Any:
    """As `demand`, of an option that may have a number for each row or event."""
    if np.ndim(x) == 0:
        return demand(x, interval, name, caller)
    x = _as_number(x, name, caller)
    look(x, Claim(interval, name, caller), ValueError)
    return x


def demand_static(x: Any, interval: Interval, name: str, caller: str) -> float:
    """As `demand`, of an option that is part of the program: a tracer is refused."""
    x = demand(x, interval, name, caller)
    if isinstance(x, Tracer):
        raise TypeError(
            f"{caller}: {name} is traced, and must be known while tracing; close over it, "
            "or name it in static_argnames"
        )
    return float(x)


def _as_number(x: Any, name: str, caller: str) -> Array | np.ndarray:
    if isinstance(x, str | bytes | bool | list | tuple | None):
        kind = type(x).__name__
        raise TypeError(f"{caller}: {name} is a {kind}, not a number")
    x = np.asarray(x) if isinstance(x, np.generic) else as_array(x, name, caller)
    if not (
        jnp.issubdtype(x.dtype, jnp.floating) or jnp.issubdtype(x.dtype, jnp.integer)
    ):
        raise TypeError(f"{caller}: {name} is {x.dtype}, not a real number")
    return x


def _words(x: Any, interval: Interval, name: str) -> str:
    return interval.words(Flaw(name, name, x, ()))


@functools.partial(jax.jit, static_argnums=1)
def holds(x: Num[Array, "..."], domain: Domain) -> Bool[Array, ""]:
    """Whether there is no flaw; sure if it is yes."""
    dtype, x = x.dtype, _wide(x, jnp)
    return domain.holds(x, dtype, jnp)


def report(x: Any, claim: Claim) -> "Report":
    """The first flaw, if there is one."""
    bad, index, entry, value, facts = _flaw(x, claim.domain)
    return Report(bad, index, entry, value, facts, claim)


@functools.partial(jax.jit, static_argnums=1)
def _flaw(x, domain):  # compiled once for all names
    suspect = ~holds(x, domain)
    first = lambda suspect, x: _first_flaw(suspect, x, domain)

    def none(suspect, x):  # made of it, which is False, to vary over a mesh as it does
        zero = lambda like: jnp.broadcast_to(suspect.astype(like.dtype), like.shape)
        return jax.tree.map(zero, jax.eval_shape(first, suspect, x))

    return jax.lax.cond(suspect, first, none, suspect, x)


def _first_flaw(suspect, x, domain):
    dtype = x.dtype
    x = _wide(x, jnp)
    x = x if domain.rows else jnp.expand_dims(x, -1)
    entries = ~domain.entries(x, jnp)
    rows = ~domain.whole(x, dtype, jnp) | jnp.any(entries, axis=-1, keepdims=True)
    (*index, _), row = _first(rows)
    (*_, entry), here = _first(row & entries)
    facts = domain.facts(x, jnp)
    facts = tuple(jnp.sum(jnp.where(row, fact.astype(x.dtype), 0)) for fact in facts)
    # Of one length, for vmap must not change what a compiled check carries; and made of
    # `suspect`, which is True, to vary over a mesh as the rest does.
    absent = jnp.where(suspect, jnp.int32(_NONE), 0)
    index = jnp.stack((index + 8 * [absent])[:8])
    value = jnp.sum(jnp.where(here, x, 0))
    return jnp.any(rows), index, entry, value, facts


def _wide(x, xp):
    # Not promote_types, as float8 promotes with nothing.
    if x.dtype.itemsize >= 4:
        return x
    return x.astype(xp.float32 if jnp.issubdtype(x.dtype, jnp.floating) else xp.int32)


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
        domain, name, caller = self.claim
        value, *facts = (np.asarray(x)[()] for x in (self.value, *self.facts))
        index = [int(i) for i in np.asarray(self.index) if i != _NONE]
        unit = "row" if domain.rows else "entry"
        at = f"{unit} {index} of {name}" if index else name
        if self.entry == _NONE:
            value = None
        elif domain.rows:
            at = f"entry {self.entry} of {at}"
        return f"{caller}: {domain.words(Flaw(name, at, value, tuple(facts)))}"


def _raise_if_bad(found: Report, error: type[Exception] = AssertionError) -> None:
    if found.bad:
        raise error(f"{found}")


def _is_here(x: Any) -> bool:
    return isinstance(x, np.ndarray) or x.is_fully_addressable


def _chex_is_disabled() -> bool:
    """What `chex.disable_asserts()` says, if anybody has imported chex."""
    chex: Any = sys.modules.get("chex")
    if chex is None:
        return False
    try:
        chex.assert_scalar(None)  # which it is not, unless chex does not look
    except AssertionError:
        return False
    return True
