"""Two distributions, class by class: the one place that every divergence stands on."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._core import arithmetic as num
from .._distributions.base import Density, Distribution, Model, Streamed
from .._distributions.binary import BinaryLogits, BinaryProbs
from .._distributions.discrete import Logits, Probs
from .._kernels.terms import log_difference
from .._kernels.tilt import softmaxes, tilt
from . import streamed


class Compared(NamedTuple):
    """What every class has to say: p, q, and q − p with the digits that it has."""

    p: Float[Array, "*batch k"]
    q: Float[Array, "*batch k"]
    d: Float[Array, "*batch k"]
    apart: Bool[Array, "*batch 1"]  # of rows of logits that hardly overlap


def total(
    term: Callable[..., Array], p: Distribution, q: Model, *params: Array
) -> Float[Array, "*batch"]:
    """`Σᵢ term(pᵢ, qᵢ, dᵢ, *params)` over the classes, d = q − p with the digits it has.

    Args:
      term: A function of the module's, of arrays, that may be differentiated by p, q and
        the params. It takes `d` for a hint: see `bregman`.
      p, q: Two distributions that have been admitted, in any representation.
      params: Numbers of the rows, that broadcast with the batch.
    """
    if isinstance(p, Streamed) or isinstance(q, Streamed):
        return streamed.total(term, p, q, *params)
    c, columns = compare(p, q), _in_columns(q, params)
    return jnp.sum(term(c.p, c.q, c.d, *columns), axis=-1)


def compare(p: Distribution, q: Density) -> Compared:
    """The classes of two dense distributions; an event is two classes."""
    p = p.among(q)
    match p, q:
        case Logits(), Logits():
            return _of_logits(p.data, q.data)
        case BinaryLogits(), BinaryLogits():
            return _of_logits(p.two_class(), q.two_class())
        case BinaryProbs(), BinaryProbs():
            yes_p, yes_q = num.widen(p.data, q.data)
            d = yes_q - yes_p
            sides = [1 - yes_p, yes_p], [1 - yes_q, yes_q], [-d, d]
            return _compared(*(jnp.stack(side, axis=-1) for side in sides))
    p_, q_ = num.widen(p.probs(), q.probs())
    if isinstance(p, Probs | BinaryProbs) or isinstance(q, Probs | BinaryProbs):
        return _compared(p_, q_, q_ - p_)
    log_p, log_q = num.widen(p.log_probs(), q.log_probs())
    return _compared(p_, q_, num.rise(p_, q_, log_difference(log_p, log_q)))


def _of_logits(a, b) -> Compared:
    a, b = num.widen(a, b)
    hints = tilt(*jax.lax.stop_gradient((a, b)))
    p, q, d = softmaxes((a, b), hints)
    return Compared(p, q, d, hints.kl > 1)


def _compared(p, q, d) -> Compared:
    return Compared(p, q, d, jnp.zeros((), bool))


def _in_columns(q: Density, params):
    """Numbers of rows, to stand beside the classes."""
    return [jnp.broadcast_to(x, q.batch)[..., None] for x in params]
