"""The measures of `LinearLogits`, and of shards of any distribution, tile by tile."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._core import arithmetic as num
from .._distributions.base import Density, Distribution
from .._distributions.discrete import Labels, Logits, LogProbs
from .._distributions.projection import LinearLogits
from .._kernels.streamed import (
    ChoiceOf,
    class_sum,
    Dense,
    Linear,
    LogSumsOf,
    MomentOf,
    OfClasses,
    OneHot,
    PairOf,
    SpreadOf,
    Together,
)
from .._kernels.terms import log_bregman, skewed


def takes(*distributions: Distribution) -> bool:
    """Whether a measure of these goes tile by tile."""
    return any(
        isinstance(d, LinearLogits) or d.axis_name is not None for d in distributions
    )


def source(q: Density) -> Dense | Linear:
    """Where the numbers of every class come from, in arrays."""
    if not isinstance(q, LinearLogits):
        return Dense(q.data)
    dtype = num.accumulator(q.data.dtype)
    number = lambda x: None if x is None else jnp.asarray(x, dtype)
    bias, weight = (
        None if q.bias is None else jnp.asarray(q.bias),
        jnp.asarray(q.weight),
    )
    at = number(q.temperature), number(q.softcap)
    return Linear(q.data, weight, bias, *at, q.vocab_axis)


def sums_of(
    q: Density,
    statistics: dict[str, Any],
    rows: dict[str, Array] | None = None,
    weights: Float[Array, " v"] | None = None,
) -> dict[str, Any]:
    """Statistics of every row, by name, in one pass; some also of weights of classes."""
    sources, axis_name, block = _sources(q)
    sources = sources if weights is None else (*sources, OfClasses(weights))
    statistic = Together(tuple(statistics.values()))
    found = class_sum(statistic, axis_name, block, sources, rows or {})
    return dict(zip(statistics, found, strict=True))


def entropy(p: Density) -> Float[Array, "*batch"]:
    if not _normalised(p):
        return cross_entropy(p, p)
    return entropy_from(sums_of(p, {"spread": SpreadOf()})["spread"])


def entropy_from(spread) -> Float[Array, "*batch"]:
    # H = −log p_top + Σ pⱼ (top − zⱼ): no term is negative, so no digit is lost.
    others = spread.total.others
    h = jnp.log1p(others) + spread.below / (1 + others)
    possible = spread.total.top > -jnp.inf
    return h * jnp.where(possible, 1, jnp.nan).astype(h.dtype)  # NaN in its slope too


def surprise_from(
    choice, label: Int[Array, "*batch"], k: int
) -> Float[Array, "*batch"]:
    """−log p of the label; NaN for one that is no class, in its slope too."""
    # −log p_y = log(1 + Σ_{j ≠ y} exp(zⱼ − z_y)), with nothing subtracted from 1.
    rest = choice.rest
    odds = (rest.top - choice.at_label) + jnp.log1p(rest.others)
    valid = (0 <= label) & (label < k)
    return num.softplus(odds) * jnp.where(valid, 1, jnp.nan).astype(odds.dtype)


def log_loss(y: Labels, q: Density) -> Float[Array, "*batch"]:
    even = {"moment": MomentOf()} if y.smoothing else {}
    found = sums_of(q, {"choice": ChoiceOf(), **even}, {"label": y.data})
    nats = surprise_from(found["choice"], y.data, q.num_classes)
    if y.smoothing:
        step = lead_from(found["choice"], found["moment"], q.num_classes)
        nats = nats + y.smoothing / q.num_classes * step
    return nats


def lead_from(choice, moment, weight) -> Float[Array, "*batch"]:
    """`Σ wⱼ (z_y − zⱼ)`, of the sums of wⱼ zⱼ and wⱼ: what smoothing adds to a log loss."""
    # Σ wⱼ (−log pⱼ) = Σ wⱼ (−log p_y + z_y − zⱼ). For z_y = −inf that is infinite as it is.
    z_y = choice.at_label
    return jnp.where(z_y == -jnp.inf, 0, weight * z_y - moment)


def cross_entropy(p: Distribution, q: Density) -> Float[Array, "*batch"]:
    if isinstance(p, Labels) and _normalised(q):
        return log_loss(p, q)
    sums, a, b = _sums(_code_length, p, q)
    # Σ p (−log q) of p = p̂ / (1 + α) and q = q̂ / (1 + β), with U = Σ p̂ (−log q̂):
    #     U / (1 + α) + Σ p log(1 + β)
    mass = 1 if _normalised(p) else sums.p
    return sums.value / (1 + a) + mass * jnp.log1p(b)


def kl_divergence(p: Distribution, q: Density) -> Float[Array, "*batch"]:
    if isinstance(p, Labels) and p.smoothing == 0:
        return cross_entropy(p, q)
    sums, a, b = _sums(_bregman, p, q)
    # Likewise, with U = Σ p̂ log(p̂ / q̂) − p̂ + q̂, whose last two sums are α − β apart:
    #     (U + α − β) / (1 + α) − log(1 + α) + log(1 + β)
    return (sums.value + (a - b)) / (1 + a) - jnp.log1p(a) + jnp.log1p(b)


def js_divergence(p: Distribution, q: Density, w: float) -> Float[Array, "*batch"]:
    sources, axis_name, block = _sources(p, q)
    normal = _log_sums(p, q)
    statistic = PairOf((_kind(p), _kind(q)), functools.partial(_skewed, w))
    return class_sum(statistic, axis_name, block, sources, normal)


class _Sums(NamedTuple):
    value: Float[Array, "*batch"]
    p: Float[Array, "*batch"]
    q: Float[Array, "*batch"]


def _code_length(p, log_p, q, log_q):
    return _Sums(num.weigh(p, -log_q), p, q)


def _bregman(p, log_p, q, log_q):
    return _Sums(log_bregman(p, log_p, log_q), p, q)


def _skewed(w, p, log_p, q, log_q):
    t = num.finite_log(log_q) - num.finite_log(log_p)
    return skewed(w, p, q, num.rise(p, q, t))


def _sums(f, p, q):
    """`Σ f` of both, once normalised; and by how far α and β the normalisers are off.

    They are not off at all: α = β = 0, but their slopes are those of Σ p̂ and Σ q̂. So one
    more pass makes all of the gradient, that of the normalisers too.
    """
    sources, axis_name, block = _sources(p, q)
    rows = jax.lax.stop_gradient(_log_sums(p, q))
    statistic = PairOf((_kind(p), _kind(q)), f)
    sums = class_sum(statistic, axis_name, block, sources, rows)
    off = lambda x: x - jax.lax.stop_gradient(x)
    a = off(sums.p) if _normalised(p) else jnp.zeros_like(sums.p)
    b = off(sums.q) if _normalised(q) else jnp.zeros_like(sums.q)
    return sums, a, b


def _log_sums(p, q):
    """The normalisers of those that are logits."""
    named = {"p": p, "q": q}
    logits = {name: d for name, d in named.items() if _normalised(d)}
    sources, axis_name, block = _sources(p, q)
    which = [i for i, name in enumerate(named) if name in logits]
    if not which:
        return {}
    found = class_sum(
        LogSumsOf(), axis_name, block, tuple(sources[i] for i in which), {}
    )
    rows = {}
    for name, log_sum in zip(logits, found, strict=True):
        rows |= {f"{name} top": log_sum.top, f"{name} others": log_sum.others}
    return rows


def _sources(*distributions):
    axis_name = next((d.axis_name for d in distributions if d.axis_name), None)
    blocks = [d.block_size for d in distributions if isinstance(d, LinearLogits)]
    block = min((b for b in blocks if b is not None), default=None)
    density = next(d for d in distributions if isinstance(d, Density))
    here, dtype = source(density).num_classes, num.accumulator(density.data.dtype)
    of = lambda d: (
        OneHot(d.data, d.smoothing, here, axis_name, dtype)
        if isinstance(d, Labels)
        else source(d)
    )
    return tuple(map(of, distributions)), axis_name, block


def _kind(d):
    if isinstance(d, LinearLogits | Logits):
        return "logits"
    return "logs" if isinstance(d, LogProbs) else "probs"


def _normalised(d):
    return _kind(d) == "logits"
