"""How far is one distribution from another: `kl_divergence` and `js_divergence`."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._core import arithmetic as num
from .._core.domains import INSIDE
from .._core.verdicts import demand_all
from .._distributions.admit import admit_pair, AnyDensity, AnyDistribution
from .._distributions.base import Model, Streamed
from .._distributions.binary import BinaryLogits
from .._distributions.discrete import Labels, Logits, LogProbs
from .._distributions.families import Family, meet
from .._kernels.kl import softmax_kl
from .._kernels.terms import bregman, log_bregman, skewed
from . import pairs, streamed
from .cross_entropy import cross_entropy_in_nats


def kl_divergence(
    p: AnyDistribution, q: AnyDensity, *, base: float | None = None
) -> Float[Array, "*batch"]:
    """Kullback-Leibler divergence of `q` from the truth `p`, in nats.

        KL(p ‖ q) = Σᵢ pᵢ log(pᵢ / qᵢ) − pᵢ + qᵢ = H(p, q) − H(p)      over the last axis

    What coding draws from `p` costs beyond the least possible, when the code was built
    for `q`; relative entropy. It is 0 only if `p = q`, and it is not symmetric. The sum of
    −pᵢ + qᵢ is 0 for distributions; with it no term is negative, and neither is the result
    for probabilities that rounding has kept from summing to 1 (Bregman's form).

    Args:
      p: The truth. A plain float array means probabilities.
      q: The model. Likewise; a network's output is `Logits(z)`. Or two members of a family
        of numbers, such as `Normal`, whose digits are kept likewise.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per row, in [0, ∞]. Half-precision input is computed and returned in
      float32; otherwise the wider dtype of the two. When both are probabilities, both
      log-probabilities or both logits, the result keeps its digits down to 1e-15 and
      less, and is an exact 0, with gradient 0, where the two are equal. Mixed, the digits
      below about 1e-7 · √KL are rounding.

    Limits:
      `pᵢ = 0` adds qᵢ, which the other terms make up for; `qᵢ = 0 < pᵢ` gives +∞. The
      derivatives by `pᵢ`, log(pᵢ / qᵢ), and by `qᵢ`, 1 − pᵢ / qᵢ, are finite: the smallest
      normal number stands in for 0. Where `pᵢ = 0`, the gradient of a logit
      of −inf is 0. A row of logits that are all −inf gives NaN.

    Raises:
      TypeError: If `q` is Labels, `p` is an integer array, or only one of the two has a
        class axis.
      ValueError: If class axes differ, or batch axes do not broadcast, or if labels or
        events of shape (n, 1) meet a batch of n.
      AssertionError: If a row is not a distribution (see `checks`).

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p, q = jnp.array([0.5, 0.5]), jnp.array([0.75, 0.25])
      >>> print(jxent.kl_divergence(p, q), jxent.kl_divergence(q, p))
      0.14384104 0.13081203
      >>> print(jxent.kl_divergence(p, jnp.array([1.0, 0.0])))
      inf

    References:
      Kullback and Leibler, "On Information and Sufficiency", Annals of Mathematical
      Statistics 22, 1951. Bregman, "The relaxation method of finding the common point of
      convex sets", USSR Computational Mathematics 7, 1967, section 1.
    """
    p, q = admit_pair(p, q, caller="kl_divergence", families=True)
    return num.in_base(kl_in_nats(p, q), base, "kl_divergence")


@functools.partial(jax.jit, inline=True)
def kl_in_nats(p: Any, q: Model | Family) -> Float[Array, "*batch"]:
    """KL divergence in nats, of distributions that have been admitted."""
    match p, q:
        case _, Family():
            return meet.kl_divergence(p, q)
        case (Streamed(), _) | (_, Streamed()):
            return streamed.kl_divergence(p, q)
        case Labels(), Logits() | BinaryLogits() if num.is_known(p.smoothing, 0):
            return cross_entropy_in_nats(p, q)
        case Logits(), Logits():
            return softmax_kl(p.data, q.data)
        case BinaryLogits(), BinaryLogits():
            return softmax_kl(p.two_class(), q.two_class())
        case _, Logits() | LogProbs() | BinaryLogits():
            p = p.among(q)
            terms = log_bregman(*num.widen(p.probs(), p.log_probs(), q.log_probs()))
            return jnp.sum(terms, axis=-1)
    return pairs.total(bregman, p, q)


def js_divergence(
    p: AnyDistribution,
    q: AnyDensity,
    *,
    weight: float | Float[ArrayLike, "*#batch"] = 0.5,
    base: float | None = None,
) -> Float[Array, "*batch"]:
    """Jensen-Shannon divergence, in nats.

        JS(p, q) = w KL(p ‖ m) + (1 − w) KL(q ‖ m)            m = w p + (1 − w) q

    What one draw tells about which of the two it came from, when `p` is picked with
    probability `w`: 0 only if `p = q`, and never more than the entropy of that pick, log 2
    for w = 1/2, where it is symmetric and its square root a metric.

    Args:
      p: One distribution. A plain float array means probabilities.
      q: The other. Likewise.
      weight: The weight `w` of `p`, in (0, 1): a number, or one for each row.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per row, in [0, H(w)]. Dtype and digits as for `kl_divergence`.

    Limits:
      Finite everywhere: an impossible class of one of the two costs no more than its
      share. The derivative by `pᵢ` is w log(pᵢ / mᵢ), in which the smallest normal number
      stands in for 0. A row of logits that are all −inf gives NaN.

    Raises:
      TypeError, ValueError, AssertionError: As `kl_divergence`; ValueError too if
        `weight` is not in (0, 1).

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p, q = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
      >>> print(jxent.js_divergence(p, q, base=2), jxent.js_divergence(p, p))
      1.0 0.0

    References:
      Lin, "Divergence Measures Based on the Shannon Entropy", IEEE Transactions on
      Information Theory 37, 1991, section 4.
    """
    weight = demand_all(weight, INSIDE, "weight", "js_divergence")
    p, q = admit_pair(p, q, caller="js_divergence", families=True)
    return num.in_base(js_in_nats(p, q, weight), base, "js_divergence")


@functools.partial(jax.jit, inline=True)
def js_in_nats(
    p: Any, q: Model | Family, weight: Float[ArrayLike, "*#batch"]
) -> Float[Array, "*batch"]:
    """Jensen-Shannon divergence in nats, of distributions that have been admitted."""
    if isinstance(q, Family):
        return meet.js_divergence(p, q, weight)
    w = jnp.asarray(weight, num.accumulator(q.data.dtype))
    if isinstance(p, Streamed) or isinstance(q, Streamed):
        js = streamed.js_divergence(p, q, w)
    else:
        c, column = pairs.compare(p, q), jnp.broadcast_to(w, q.batch)[..., None]
        js = jnp.sum(skewed(c.p, c.q, c.d, column, c.apart), axis=-1)
    # Never more than the entropy of the pick, but for the rounding of the sum.
    most = -w * jnp.log(w) - (1 - w) * jnp.log1p(-w)
    return js - jax.lax.stop_gradient(jnp.maximum(js - most, 0))
