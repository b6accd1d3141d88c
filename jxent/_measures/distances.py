"""Symmetric distances: `total_variation` and `jeffreys_divergence`."""

import functools

import jax
from jaxtyping import Array, Float

from .._core import arithmetic as num
from .._distributions.admit import admit_pair, DensityLike, DistributionLike
from .._distributions.base import Distribution, Model
from .._kernels.distances import half_distance, jeffreys_term
from .pairs import total


def total_variation(p: DistributionLike, q: DensityLike) -> Float[Array, "*batch"]:
    """Total variation distance.

        TV(p, q) = ½ Σᵢ |pᵢ − qᵢ|

    The largest difference that the two give to the probability of any event, and a metric:
    0 for `p = q`, 1 if they share no class. The chance to tell which of the two a draw came
    from, when they are equally likely, is at best (1 + TV) / 2.

    Args:
      p: One distribution. A plain float array means probabilities.
      q: The other. Likewise.

    Returns:
      One number per row, in [0, 1]. Dtype and digits as for `kl_divergence`.

    Limits:
      Exactly 0 where the two are equal. The derivative with respect to pᵢ is ½ where
      pᵢ > qᵢ, −½ where pᵢ < qᵢ, and 0 where they are equal.

    Raises:
      TypeError, ValueError, AssertionError: As `kl_divergence`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> print(jxent.total_variation(jnp.array([0.5, 0.5]), jnp.array([0.75, 0.25])))
      0.25

    References:
      Levin, Peres and Wilmer, "Markov Chains and Mixing Times", 2009, section 4.1.
    """
    p, q = admit_pair(p, q, caller="total_variation")
    return _summed(half_distance, p, q)


def jeffreys_divergence(
    p: DistributionLike, q: DensityLike, *, base: float | None = None
) -> Float[Array, "*batch"]:
    """Jeffreys divergence, KL in both directions, in nats.

        J(p, q) = KL(p ‖ q) + KL(q ‖ p) = Σᵢ (pᵢ − qᵢ) log(pᵢ / qᵢ)

    The population stability index of risk models is this number.

    Args:
      p: One distribution. A plain float array means probabilities.
      q: The other. Likewise.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per row, in [0, ∞]. Dtype and digits as for `kl_divergence`.

    Limits:
      +∞ if a class is impossible in just one of the two. Exactly 0, with gradient 0, where
      the two are equal. Derivatives are finite: the smallest normal number stands in for 0.

    Raises:
      TypeError, ValueError, AssertionError: As `kl_divergence`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p, q = jnp.array([0.5, 0.5]), jnp.array([0.75, 0.25])
      >>> print(jxent.jeffreys_divergence(p, q))
      0.274653...

    References:
      Jeffreys, "An invariant form for the prior probability in estimation problems",
      Proceedings of the Royal Society A 186, 1946.
    """
    p, q = admit_pair(p, q, caller="jeffreys_divergence")
    return num.in_base(_summed(jeffreys_term, p, q), base, "jeffreys_divergence")


@functools.partial(jax.jit, inline=True, static_argnums=0)
def _summed(term, p: Distribution, q: Model) -> Float[Array, "*batch"]:
    return total(term, p, q)
