"""The divergences of powers: `alpha_divergence`, `squared_hellinger`, `chi2_divergence`."""

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._core import arithmetic as num
from .._distributions.admit import admit_pair, DensityLike, DistributionLike
from .._distributions.base import Distribution, Model
from .._kernels.powers import alpha_term
from .orders import as_order, FINITE
from .pairs import total


def alpha_divergence(
    p: DistributionLike, q: DensityLike, *, alpha: ArrayLike
) -> Float[Array, "*batch"]:
    """Alpha-divergence, also known as power divergence, of Cressie and Read and of Amari.

        D_α(p ‖ q) = Σᵢ (α pᵢ + (1−α) qᵢ − pᵢ^α qᵢ^(1−α)) / (α (1−α))

    One family that holds the others: α = 1 is KL(p ‖ q), α = 0 is KL(q ‖ p), 1/2 four
    times the squared Hellinger distance, 2 half of χ². Small α look for the classes of `q`
    that `p` misses, large α for those of `p` that `q` misses. D_α(p ‖ q) = D_{1−α}(q ‖ p).

    Args:
      p: The truth. A plain float array means probabilities.
      q: The model. Likewise; a network's output is `Logits(z)`.
      alpha: Any number, or one per row. It may be traced, and differentiated.

    Returns:
      One number per row, in [0, ∞], in the dtype of `kl_divergence`, with its digits: the
      formula has no singularity at α = 0 and α = 1, nor where `p` is near `q`.

    Limits:
      0 only if `p = q`, with gradient 0. `pᵢ = 0 < qᵢ` adds qᵢ/α, and makes it +∞ for
      α ≤ 0; `qᵢ = 0 < pᵢ` adds pᵢ/(1−α), and makes it +∞ for α ≥ 1. Derivatives are
      finite: the smallest normal number stands in for 0.

    Raises:
      TypeError, ValueError, AssertionError: As `kl_divergence`; ValueError too if the
        shape of `alpha` is none of the batch.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p, q = jnp.array([0.5, 0.5]), jnp.array([0.75, 0.25])
      >>> print(jxent.alpha_divergence(p, q, alpha=1.0), jxent.kl_divergence(p, q))
      0.1438410... 0.1438410...
      >>> print(jax.grad(lambda a: jxent.alpha_divergence(p, q, alpha=a))(1.0))
      0.01737...

    References:
      Cressie and Read, "Multinomial Goodness-of-Fit Tests", Journal of the Royal
      Statistical Society B 46, 1984, section 2. Amari, "Information Geometry and Its
      Applications", 2016, section 3.5.
    """
    p, q = admit_pair(p, q, caller="alpha_divergence")
    dtype, caller = num.accumulator(q.data.dtype), "alpha_divergence"
    a = as_order(alpha, q.batch, dtype, FINITE, name="alpha", caller=caller)
    return alpha_in_nats(p, q, a)


@functools.partial(jax.jit, inline=True)
def alpha_in_nats(
    p: Distribution, q: Model, alpha: Float[Array, "*#batch"]
) -> Float[Array, "*batch"]:
    return total(alpha_term, p, q, alpha)


def squared_hellinger(p: DistributionLike, q: DensityLike) -> Float[Array, "*batch"]:
    """Squared Hellinger distance.

        H²(p, q) = ½ Σᵢ (√pᵢ − √qᵢ)² = 1 − Σᵢ √(pᵢ qᵢ)

    Its square root is a metric, between 0 for `p = q` and 1 for distributions that share
    no class. H² ≤ TV ≤ √2 H.

    Args:
      p: One distribution. A plain float array means probabilities.
      q: The other. Likewise.

    Returns:
      One number per row, in [0, 1]. Dtype and digits as for `kl_divergence`.

    Limits:
      Finite everywhere, and exactly 0, with gradient 0, where the two are equal. Where
      `pᵢ = 0 < qᵢ` the derivative with respect to pᵢ is infinite; it is taken at the
      smallest normal number.

    Raises:
      TypeError, ValueError, AssertionError: As `kl_divergence`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p, q = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
      >>> print(jxent.squared_hellinger(p, q), jxent.squared_hellinger(p, p))
      1.0 0.0

    References:
      Hellinger, "Neue Begründung der Theorie quadratischer Formen von unendlichvielen
      Veränderlichen", Journal für die reine und angewandte Mathematik 136, 1909.
    """
    # Half of the second divided difference of the square root: D_½ = 2 Σ (√p − √q)².
    p, q = admit_pair(p, q, caller="squared_hellinger")
    return alpha_in_nats(p, q, _number(0.5, q)) / 4


def chi2_divergence(p: DistributionLike, q: DensityLike) -> Float[Array, "*batch"]:
    """Pearson's χ²-divergence.

        χ²(p ‖ q) = Σᵢ (pᵢ − qᵢ)² / qᵢ = Σᵢ pᵢ² / qᵢ − 1

    The variance of the weights p/q of importance sampling from `q`, and twice KL where the
    two are near. n χ² of observed frequencies `p` is the statistic of Pearson's test.

    Args:
      p: The truth. A plain float array means probabilities.
      q: The model. Likewise.

    Returns:
      One number per row, in [0, ∞]. Dtype and digits as for `kl_divergence`.

    Limits:
      `qᵢ = 0 < pᵢ` gives +∞. It is exactly 0, with gradient 0, where the two are equal.

    Raises:
      TypeError, ValueError, AssertionError: As `kl_divergence`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> print(jxent.chi2_divergence(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5])))
      1.0

    References:
      Pearson, "On the criterion that a given system of deviations from the probable ...",
      Philosophical Magazine 50, 1900.
    """
    p, q = admit_pair(p, q, caller="chi2_divergence")
    return 2 * alpha_in_nats(p, q, _number(2.0, q))


def _number(alpha, q):
    return jnp.asarray(alpha, num.accumulator(q.data.dtype))
