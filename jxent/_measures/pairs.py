"""Two discrete distributions, class by class: what every divergence is a sum over."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._core import arithmetic as num
from .._distributions.base import Density, Distribution
from .._distributions.binary import BinaryLogits, BinaryProbs
from .._distributions.discrete import Logits, Probs
from .._kernels.streamed import class_sum
from .._kernels.streamed.statistics import _as_density, Sum
from .._kernels.tilt import softmaxes, tilt
from . import streamed


def total(term: Callable[..., Array], p: Distribution, q: Density, *params: Array):
    """`Σᵢ term(pᵢ, qᵢ, dᵢ, *params)` over the classes, d = q − p with its digits."""
    if streamed.takes(p, q):
        return _in_tiles(term, p, q, params)
    return jnp.sum(term(*classes(p, q), *params), axis=-1)


def classes(p: Distribution, q: Density) -> tuple[Array, Array, Array]:
    p = p.among(q)
    match p, q:
        case BinaryProbs(), BinaryProbs():
            yes_p, yes_q = num.widen(p.data, q.data)
            d = yes_q - yes_p
            both = lambda no, yes: jnp.stack([no, yes], axis=-1)
            return both(1 - yes_p, yes_p), both(1 - yes_q, yes_q), both(-d, d)
        case Logits(), Logits():
            return _softmaxes(p.data, q.data)
        case BinaryLogits(), BinaryLogits():
            return _softmaxes(p.two_class(), q.two_class())
    p_, q_ = num.widen(p.probs(), q.probs())
    if isinstance(p, Probs) or isinstance(q, Probs):
        return p_, q_, q_ - p_
    return _of_logs(p_, *num.widen(p.log_probs()), q_, *num.widen(q.log_probs()))


def _softmaxes(a, b):
    a, b = num.widen(a, b)
    return softmaxes((a, b), tilt(*jax.lax.stop_gradient((a, b))))


def _of_logs(p, log_p, q, log_q):
    t = num.finite_log(log_q) - num.finite_log(log_p)
    return p, q, num.rise(p, q, t)


@dataclasses.dataclass(frozen=True)
class _TermOf(Sum):
    kinds: tuple[Any, Any]
    term: Callable[..., Array]
    num_params: int

    def terms(self, tile, logits, rows, total):
        p = _as_density(self.kinds[0], logits[0], rows, "p")
        q = _as_density(self.kinds[1], logits[1], rows, "q")
        params = [rows[f"param {i}"][..., None] for i in range(self.num_params)]
        return self.term(*_of_logs(*num.widen(*p, *q)), *params)


def _in_tiles(term, p, q, params):
    sources, axis_name, block = streamed._sources(p, q)
    rows = dict(streamed._log_sums(p, q))
    for i, x in enumerate(params):
        x = x[..., 0] if jnp.ndim(x) else x
        rows[f"param {i}"] = jnp.broadcast_to(x, q.batch)
    statistic = _TermOf((streamed._kind(p), streamed._kind(q)), term, len(params))
    return class_sum(statistic, axis_name, block, sources, rows)
