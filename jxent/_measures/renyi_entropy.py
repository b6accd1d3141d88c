"""How uncertain is one distribution, in every order: Rényi's and Tsallis's entropies."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._core import arithmetic as num
from .._core.domains import NOT_NEGATIVE
from .._distributions.admit import admit_density, DensityLike
from .._distributions.base import Model, Streamed
from .._distributions.binary import BinaryLogits, BinaryProbs
from .._distributions.discrete import Logits, Probs
from .._kernels.escort import (
    entropy_of_lags,
    renyi_entropy_of_logs,
    softmax_renyi_entropy,
)
from .._kernels.powers import stretched
from .._kernels.streamed import class_sum
from .._kernels.streamed.orders import finite_logs, LagsOf, TotalOf
from .orders import as_order, is_infinite


def renyi_entropy(
    p: DensityLike, *, order: ArrayLike, base: float | None = None
) -> Float[Array, "*batch"]:
    """Rényi entropy, in nats.

        H_α(p) = log Σᵢ pᵢ^α / (1 − α)

    It falls as its order grows: the log of the number of possible classes at 0 (Hartley),
    Shannon's entropy at 1, −log of the chance that two draws agree at 2 (collision
    entropy), and −log of the largest probability at ∞ (min-entropy).

    Args:
      p: One distribution per row. A plain float array means probabilities.
      order: α ≥ 0, one number, or one per row. It may be traced, and differentiated; ∞ is
        the Python number `math.inf`.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per row, in [0, log k], in the dtype of `entropy`, with its digits: the
      formula has no singularity at order 1. Confident rows of logits keep their digits.

    Limits:
      An impossible class adds 0, at order 0 too, and the gradient of its logit is 0. The
      derivative with respect to a probability of 0 is taken at the smallest normal number;
      those with respect to probabilities are determined up to a constant for each row,
      which no change sees that keeps their sum.
      A row of logits that are all −inf gives NaN; so does a traced order below 0.

    Raises:
      TypeError, AssertionError: As `entropy`.
      ValueError: If `order` is negative, or has a shape that is none of the batch.

    Example:
      >>> import math
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p = jnp.array([0.5, 0.25, 0.25])
      >>> for order in (0, 1, 2, math.inf):
      ...     print(jxent.renyi_entropy(p, order=order, base=2))
      1.5849...
      1.5
      1.4150...
      1.0

    References:
      Rényi, "On Measures of Entropy and Information", Fourth Berkeley Symposium, 1961,
      section 2.
    """
    p = admit_density(p, caller="renyi_entropy")
    if is_infinite(order):
        return num.in_base(_min_entropy(p), base, "renyi_entropy")
    nats = _renyi_entropy(p, _order(p, order, "renyi_entropy"))
    return num.in_base(nats, base, "renyi_entropy")


def tsallis_entropy(p: DensityLike, *, order: ArrayLike) -> Float[Array, "*batch"]:
    """Tsallis entropy.

        T_α(p) = (1 − Σᵢ pᵢ^α) / (α − 1) = (exp((1−α) H_α(p)) − 1) / (1 − α)

    Shannon's entropy at order 1, and the Gini impurity, 1 − Σ pᵢ², at order 2. The
    regularisers of sparsemax and entmax are halves of it, at orders 2 and 1.5.

    Args:
      p: One distribution per row. A plain float array means probabilities.
      order: α ≥ 0, one number, or one per row. It may be traced, and differentiated.

    Returns:
      One number per row, in [0, (k^(1−α) − 1) / (1 − α)], in the dtype of `entropy`, with
      its digits. It has no unit that a base could change.

    Limits:
      Those of `renyi_entropy`.

    Raises:
      TypeError, AssertionError: As `entropy`.
      ValueError: If `order` is negative or infinite, or has a shape that is none of the
        batch.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> print(jxent.tsallis_entropy(jnp.array([0.5, 0.25, 0.25]), order=2))
      0.625

    References:
      Tsallis, "Possible generalization of Boltzmann-Gibbs statistics", Journal of
      Statistical Physics 52, 1988.
    """
    p = admit_density(p, caller="tsallis_entropy")
    order = _order(p, order, "tsallis_entropy")
    h = _renyi_entropy(p, order)
    return stretched(h, 1 - order)


def _order(p, order, caller):
    dtype = num.accumulator(p.data.dtype)
    name, within = "order", NOT_NEGATIVE
    order = as_order(order, p.batch, dtype, within, name=name, caller=caller)
    return jnp.where(order >= 0, order, jnp.nan)


@functools.partial(jax.jit, inline=True)
def _renyi_entropy(p: Model, order: Float[Array, "*#batch"]):
    match p:
        case Streamed():
            return _of_tiles(p, order)
        case Logits():
            return softmax_renyi_entropy(p.data, order)
        case BinaryLogits():
            return softmax_renyi_entropy(p.two_class(), order)
        case Probs() | BinaryProbs():
            return renyi_entropy_of_logs(*finite_logs(p.probs(), "probs"), order)
    return renyi_entropy_of_logs(*finite_logs(p.log_probs(), "logs"), order)


def _of_tiles(p: Streamed, order):
    kind, source = p.source(p)
    top = jax.lax.stop_gradient(_total(p).top)
    rows = {"order": jnp.broadcast_to(order, p.batch), "top": top}
    sums = class_sum(LagsOf(kind), p.axis_name, p.block_size, (source,), rows)
    return sum(entropy_of_lags(sums, order, None if kind == "logits" else top))


@functools.partial(jax.jit, inline=True)
def _min_entropy(p: Model) -> Float[Array, "*batch"]:
    if isinstance(p, Streamed):
        total = _total(p)
        return jnp.log1p(total.others) if p.source(p)[0] == "logits" else -total.top
    return -jnp.max(p.log_probs(), axis=-1)


def _total(p: Streamed):
    kind, source = p.source(p)
    return class_sum(TotalOf(kind), p.axis_name, p.block_size, (source,), {})
