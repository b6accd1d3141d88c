"""How families meet in a measure: which pairs have a closed form, and in which shape."""

import dataclasses
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..._core import arithmetic as num, shapes as facts
from .base import as_float, broadcast, Family, Observed
from .positive import Log
from .uniform import Uniform

Truth: TypeAlias = Family | Observed


def check(p: Truth, q: Family, caller: str) -> None:
    """Raises unless p and q are distributions, or p an observation of q."""
    q.check("q", caller)
    if isinstance(p, Family):
        return p.check("p", caller)
    x = facts.as_array(as_float(p.x), "p.x", caller)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        facts.check_real(x, name="p.x", caller=caller)
        x = x.astype(jnp.result_type(float))
    if x.ndim < q.event_axes:
        raise ValueError(
            f"{caller}: p.x has shape {x.shape}; an observation of a {_name(q)} is a row"
        )
    q.check_observation(x, "p.x", caller)


def converted(p: Any, name: str, caller: str) -> Any:
    """`p` with arrays for what converts itself, such as parameters of nnx."""
    new = {}
    for field in dataclasses.fields(p):
        x = getattr(p, field.name)
        if isinstance(x, Log):
            new[field.name] = converted(x, f"{name}.{field.name}", caller)
        elif not isinstance(x, jax.Array | np.ndarray | int | float | None):
            new[field.name] = facts.as_array(x, f"{name}.{field.name}", caller)
    return dataclasses.replace(p, **new) if new else p


def entropy(p: Family) -> Float[Array, "*batch"]:
    return _aligned(p)[0].entropy()


def cross_entropy(p: Truth, q: Family) -> Float[Array, "*batch"]:
    if isinstance(p, Observed):
        x, q = _aligned(p, q)
        return q.surprise(x)
    p, q = _kin(p, q, "cross_entropy")
    if type(p) is type(q):
        return p.cross_entropy(q)
    return _over_interval(p, q, "cross_entropy")


def kl_divergence(p: Truth, q: Family) -> Float[Array, "*batch"]:
    if isinstance(p, Observed):
        raise TypeError(
            "kl_divergence: p is Observed, which has no density: its divergence from one "
            "is infinite. -log q(x) is cross_entropy(p, q)"
        )
    p, q = _kin(p, q, "kl_divergence")
    if type(p) is type(q):
        return p.divergence(q)
    return _over_interval(p, q, "kl_divergence") - p.entropy()


def js_divergence(p: Truth, q: Family, weight: Any) -> Float[Array, "*batch"]:
    if isinstance(p, Uniform) and isinstance(q, Uniform):
        aligned: tuple[Uniform, Uniform] = _aligned(p, q)  # pyright: ignore
        p, q = aligned
        w = jnp.asarray(weight, p.low.dtype)
        return p.js_divergence(q, jnp.broadcast_to(w, p.low.shape))
    raise TypeError(
        f"js_divergence: p is {_name(p)} and q is {_name(q)}; the entropy of their mixture "
        "has no closed form (of two Uniform it has). jeffreys_divergence, the sum of both "
        "KL divergences, may have one; or take the mean of draws"
    )


def _kin(p: Family, q: Family, caller: str) -> tuple[Family, Family]:
    """Both aligned, and as members of one family, where there is one for both."""
    p, q = _aligned(p, q)
    if type(p) is not type(q):
        p = _as(q, p)
        q = _as(p, q)
    if type(p) is type(q) and p.event != q.event:
        fix = ""
        if p.event_axes and 1 in (p.event + q.event):
            fix = "; independent numbers are MultivariateNormal(loc, scale_diag=scale)"
        events = f"p has {p.event}, q {q.event}"
        raise ValueError(f"{caller}: the event axis (the last) differs: {events}{fix}")
    return p, q


def _as(kin: Family, p: Family) -> Family:
    """`p` as a member of another's family, where it is one."""
    wide = p.wider()
    return wide if wide is not None and type(wide) is type(kin) else p


def _over_interval(p: Family, q: Family, caller: str) -> Float[Array, "*batch"]:
    nats = q.surprise_over(p.low, p.high) if isinstance(p, Uniform) else None
    if nats is not None:
        return nats
    raise TypeError(
        f"{caller}: p is {_name(p)} and q is {_name(q)}, which have no closed form. "
        "Draw x from p, and take the mean of log p(x) - log q(x), each of which is "
        "-cross_entropy(Observed(x), ...); or losses.kl_from_samples of the two"
    )


def _aligned(*parts: Truth) -> tuple[Any, ...]:
    """Families, and arrays of observations, in one batch shape and one dtype."""
    # A number of Python's takes the dtype of what it meets.
    leaves = [jnp.asarray(x) for x in jax.tree.leaves(parts)]
    floats = [x.dtype for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]
    strong = [
        x.dtype
        for x in leaves
        if not x.weak_type and jnp.issubdtype(x.dtype, jnp.floating)
    ]
    dtype = num.accumulator(*(strong or floats or [jnp.result_type(float)]))
    axes = max(p.event_axes for p in parts if isinstance(p, Family))
    batches, events = [], []
    for p in parts:
        shape = () if isinstance(p, Family) else jnp.shape(p.x)
        split = len(shape) - axes
        batches.append(p.batch if isinstance(p, Family) else shape[:split])
        events.append(p.event if isinstance(p, Family) else shape[split:])
    batch = broadcast(" and ".join(map(_name, parts)), *batches)
    if isinstance(parts[0], Observed) and events[0] != events[-1]:
        message = f"p.x has {events[0]}, q {events[-1]}"
        raise ValueError(f"cross_entropy: the event axis (the last) differs: {message}")
    return tuple(
        p.aligned(batch, dtype)
        if isinstance(p, Family)
        else jnp.broadcast_to(jnp.asarray(p.x).astype(dtype), batch + event)
        for p, event in zip(parts, events, strict=True)
    )


def _name(p: Any) -> str:
    return type(p).__name__
