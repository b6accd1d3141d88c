"""The measures of what is streamed: its classes in tiles, or in shards, or both."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._core import arithmetic as num
from .._distributions.base import Distribution, Model
from .._distributions.discrete import Labels
from .._kernels.label_loss import surprise
from .._kernels.streamed import (
    Bregman,
    ChoiceOf,
    class_sum,
    CodeLength,
    Depth,
    DepthOf,
    OfClasses,
    pair_sum,
    Skewed,
    SpreadOf,
    TermOf,
    Together,
)


def sums_of(
    q: Model,
    statistics: dict[str, Any],
    rows: dict[str, Array] | None = None,
    weights: Float[Array, " v"] | None = None,
) -> dict[str, Any]:
    """Statistics of every row, by name, in one pass; some also of weights of classes."""
    _, source = q.source(q)
    sources = (source,) if weights is None else (source, OfClasses(weights))
    statistic = Together(tuple(statistics.values()))
    found = class_sum(statistic, q.axis_name, q.block_size, sources, rows or {})
    return dict(zip(statistics, found, strict=True))


def entropy(p: Model) -> Float[Array, "*batch"]:
    kind, _ = p.source(p)
    if kind != "logits":
        return cross_entropy(p, p)
    return sums_of(p, {"spread": SpreadOf()})["spread"].entropy


def surprise_from(
    choice, label: Int[Array, "*batch"], k: Any
) -> Float[Array, "*batch"]:
    """−log p of the label; NaN for one that is no class, in its slope too."""
    rest, valid = choice.rest, (0 <= label) & (label < k)
    nats = surprise(rest.top, 1 + rest.others, choice.at_label)
    return nats * jnp.where(valid, 1, jnp.nan).astype(nats.dtype)


def log_loss(y: Labels, q: Model) -> Float[Array, "*batch"]:
    hard = num.is_known(y.smoothing, 0)
    even = {} if hard else {"depth": DepthOf(q.num_classes)}
    found = sums_of(q, {"choice": ChoiceOf(), **even}, {"label": y.data})
    nats = surprise_from(found["choice"], y.data, q.num_classes)
    if hard:
        return nats
    return nats + y.share(nats.dtype) * lead_from(found["choice"], found["depth"])


def lead_from(choice, depth: Depth) -> Float[Array, "*batch"]:
    """`Σ wⱼ (z_y − zⱼ) / k`: what smoothing adds to a log loss."""
    # Σ wⱼ (−log pⱼ) = Σ wⱼ (−log p_y + z_y − zⱼ). For z_y = −inf that is infinite as it is.
    possible = choice.at_label > -jnp.inf
    behind = jnp.where(possible, choice.at_label, depth.top) - depth.top
    return jnp.where(possible, num.weigh(depth.weight, behind) + depth.below, 0)


def cross_entropy(p: Distribution, q: Model) -> Float[Array, "*batch"]:
    kind, _ = q.source(q)
    if isinstance(p, Labels) and kind == "logits":
        return log_loss(p, q)
    return _total(CodeLength(kind == "logits"), p, q)


def kl_divergence(p: Distribution, q: Model) -> Float[Array, "*batch"]:
    if isinstance(p, Labels) and num.is_known(p.smoothing, 0):
        return cross_entropy(p, q)
    return _total(Bregman(), p, q)


def js_divergence(
    p: Distribution, q: Model, w: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    return _total(Skewed(), p, q, w)


def total(term: Any, p: Distribution, q: Model, *params: Array) -> Array:
    return _total(TermOf(term), p, q, *params)


def pair_of(p: Distribution, q: Model) -> tuple[Any, ...]:
    """What the kernels need to know: kinds, axis, tiles, and where numbers come from."""
    (kind_p, source_p), (kind_q, source_q) = p.source(q), q.source(q)
    blocks = (getattr(d, "block_size", None) for d in (p, q))
    block = min((b for b in blocks if b is not None), default=None)
    return (kind_p, kind_q), q.axis_name, block, (source_p, source_q)


def _total(term, p, q, *params):
    params = tuple(jnp.broadcast_to(x, q.batch) for x in params)
    return pair_sum(term, *pair_of(p, q), params)
