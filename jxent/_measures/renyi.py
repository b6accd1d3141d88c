"""The divergences of every order: `renyi_divergence` and `bhattacharyya_distance`."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._core import arithmetic as num
from .._core.domains import NOT_NEGATIVE
from .._distributions.admit import admit_pair, DensityLike, DistributionLike
from .._distributions.base import Distribution, Model, Streamed
from .._kernels.escort import column
from .._kernels.overlap import mixed, ratios
from .._kernels.powers import alpha_term, log1prel
from .._kernels.streamed import class_sum
from .._kernels.streamed.orders import LargestRatioOf, OverlapOf, TotalOf
from .._kernels.terms import log_ratio
from . import pairs, streamed
from .orders import as_order, is_infinite


def renyi_divergence(
    p: DistributionLike,
    q: DensityLike,
    *,
    order: ArrayLike,
    base: float | None = None,
) -> Float[Array, "*batch"]:
    """Rényi divergence of `q` from the truth `p`, in nats.

        D_α(p ‖ q) = log Σᵢ pᵢ^α qᵢ^(1−α) / (α − 1)

    It grows with its order: −log Q(p > 0) at 0, twice the Bhattacharyya distance at 1/2,
    KL at 1, log(1 + χ²) at 2, and the largest log-ratio, log max pᵢ/qᵢ, at ∞, which is what
    pure differential privacy bounds.

    Args:
      p: The truth. A plain float array means probabilities.
      q: The model. Likewise; a network's output is `Logits(z)`.
      order: α ≥ 0, one number, or one per row. It may be traced, and differentiated; ∞ is
        the Python number `math.inf`.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per row, in [0, ∞], in the dtype of `kl_divergence`, with its digits: the
      formula has no singularity at order 1, nor where `p` is near `q`.

    Limits:
      0 if `p = q`, with gradient 0 (of a finite order). `qᵢ = 0 < pᵢ` gives +∞ for α ≥ 1.
      Distributions that share no class are +∞ apart. Derivatives with respect to
      probabilities are finite: the smallest normal number stands in for 0. They are
      determined up to a constant for each row, which no change sees that keeps the sum of
      probabilities. A traced order below 0 gives NaN.

    Raises:
      TypeError, ValueError, AssertionError: As `kl_divergence`; ValueError too if `order`
        is negative, or has a shape that is none of the batch.

    Example:
      >>> import math
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p, q = jnp.array([0.5, 0.5]), jnp.array([0.75, 0.25])
      >>> for order in (0.5, 1, 2, math.inf):
      ...     print(jxent.renyi_divergence(p, q, order=order))
      0.0693...
      0.1438...
      0.2876...
      0.6931...

    References:
      Rényi, "On Measures of Entropy and Information", Fourth Berkeley Symposium, 1961,
      section 3. Van Erven and Harremoës, "Rényi Divergence and Kullback-Leibler
      Divergence", IEEE Transactions on Information Theory 60, 2014.
    """
    p, q = admit_pair(p, q, caller="renyi_divergence")
    if is_infinite(order):
        return num.in_base(_largest_ratio(p, q), base, "renyi_divergence")
    dtype, caller = num.accumulator(q.data.dtype), "renyi_divergence"
    a = as_order(order, q.batch, dtype, NOT_NEGATIVE, name="order", caller=caller)
    nats = _renyi(p, q, a) * jnp.where(a >= 0, 1, jnp.nan).astype(dtype)
    return num.in_base(nats, base, caller)


def bhattacharyya_distance(
    p: DistributionLike, q: DensityLike, *, base: float | None = None
) -> Float[Array, "*batch"]:
    """Bhattacharyya distance, in nats.

        B(p, q) = −log Σᵢ √(pᵢ qᵢ) = −log(1 − H²(p, q)) = ½ D_½(p ‖ q)

    It bounds the chance to confuse the two: after n draws that is at most exp(−n B). Not a
    metric; the square root of H² is (`squared_hellinger`).

    Args:
      p: One distribution. A plain float array means probabilities.
      q: The other. Likewise.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per row, in [0, ∞]. Dtype and digits as for `kl_divergence`.

    Limits:
      +∞ only for distributions that share no class. Exactly 0, with gradient 0, where the
      two are equal.

    Raises:
      TypeError, ValueError, AssertionError: As `kl_divergence`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p, q = jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5])
      >>> print(jxent.bhattacharyya_distance(p, q, base=2))
      0.5

    References:
      Bhattacharyya, "On a measure of divergence between two statistical populations
      defined by their probability distributions", Bulletin of the Calcutta Mathematical
      Society 35, 1943.
    """
    p, q = admit_pair(p, q, caller="bhattacharyya_distance")
    half = jnp.asarray(0.5, num.accumulator(q.data.dtype))
    return num.in_base(_renyi(p, q, half) / 2, base, "bhattacharyya_distance")


@functools.partial(jax.jit, inline=True)
def _renyi(p: Distribution, q: Model, a: Float[Array, "*#batch"]):
    # With U = α Σ t_α, a sum without negative terms,  Σ p^α q^(1−α) = 1 + (α−1) U  and
    #     D = log(1 + (α−1) U) / (α−1)
    # which is U itself at α = 1. Where little is left of the 1, or U overflows, the sum is
    # taken of logarithms instead.
    u = pairs.total(_weighted_term, p, q, a)
    x = (a - 1) * jnp.where(u == jnp.inf, 0, u)
    far = (x < -0.5) | (x > 1e4) | (u == jnp.inf)
    near = u * log1prel(jnp.where(far, 0, x))
    log_overlap, lost = _overlap(p, q, a)
    apart = log_overlap / jnp.where(a == 1, 1, a - 1)
    apart = apart + jnp.where((lost > 0) & (a >= 1), jnp.inf, 0)
    return jnp.where(far, apart, near)


def _weighted_term(p, q, d, order):
    # α t_α. At α = 0 it is q where p = 0, and 0 elsewhere, and its slope is t₀: tiny stands
    # in for 0, and is taken off again.
    zero = order == 0
    order = order + jnp.where(zero, num.tiny(p.dtype), 0)
    term = order * alpha_term(p, q, d, order)
    return term - jax.lax.stop_gradient(jnp.where(zero & (p > 0), term, 0))


def _overlap(p, q, a):
    """log Σ p^α q^(1−α), and how many classes are possible in p alone."""
    if isinstance(p, Streamed) or isinstance(q, Streamed):
        order = {"order": jnp.broadcast_to(a, q.batch)}
        found, (off_p, off_q) = _streamed(OverlapOf, p, q, order)
        return found.total.log - a * off_p - (1 - a) * off_q, found.lost
    log_p, log_q = _logs(p, q)
    z, lost = mixed(log_p, log_q, column(a))
    return jax.nn.logsumexp(z, axis=-1), jnp.sum(lost, axis=-1)


@functools.partial(jax.jit, inline=True)
def _largest_ratio(p: Distribution, q: Model) -> Float[Array, "*batch"]:
    if isinstance(p, Streamed) or isinstance(q, Streamed):
        found, (off_p, off_q) = _streamed(LargestRatioOf, p, q, {})
        return jnp.maximum(found - off_p + off_q, 0)
    y = ratios(*_logs(p, q))
    a, b, d, _ = pairs.compare(p, q)
    y = jnp.where(jnp.abs(y) <= 0.5, log_ratio((a, b), d), y)
    return jnp.maximum(jnp.max(y, axis=-1), 0)


def _logs(p, q):
    return num.widen(p.among(q).log_probs(), q.log_probs())


def _streamed(statistic, p, q, rows):
    """A statistic of the logarithms behind their tops, and by what they are off then."""
    kinds, axis_name, block, sources = streamed.pair_of(p, q)
    off = []
    for name, kind, source in zip("pq", kinds, sources, strict=True):
        if kind != "logits":
            off.append(0)
            continue
        total = class_sum(TotalOf(kind), axis_name, block, (source,), {})
        rows |= {name: jax.lax.stop_gradient(total.top)}
        off.append((total.top - rows[name]) + jnp.log1p(total.others))
    return class_sum(statistic(kinds), axis_name, block, sources, rows), off
