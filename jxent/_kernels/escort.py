"""How a distribution is spread, in every order: sums of powers of one row.

With lags lᵢ = top − zᵢ ≥ 0 and F(α) = log Σᵢ exp(−α lᵢ), the Rényi entropy of a softmax is

    H_α = (F(α) − α F(1)) / (1 − α) = F(1) + (F(α) − F(1)) / (1 − α)

and both parts of the last sum are ≥ 0, since F falls. The second is a divided difference.
With w(l) = (exp(−l) − exp(−αl)) / (α − 1), or l exp(−l) at α = 1, and v the mean of w:

    exp(F(α) − F(1)) = 1 + (1 − α) v,       hence  H_α = F(1) + log(1 + (1−α) v) / (1−α)

which has no singularity at α = 1. Probabilities are the same formula with lags −log pᵢ,
F(1) = 0, and a sum in place of the mean; only what is raised to a power is measured from
the top, for it underflows.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num, autodiff as ad
from . import softmax as sm
from .powers import exprel, log1prel


class LagSums(NamedTuple):
    """Sums over the classes; those of lag 0 are counted, and all others are added up."""

    leaders: Float[Array, "*batch"]
    plain: Float[Array, "*batch"]  # Σ exp(−l)
    powers: Float[Array, "*batch"]  # Σ exp(−αl)
    spread: Float[Array, "*batch"]  # Σ w(l)


def lag_terms(lag, behind, possible, order) -> LagSums:
    """What each class adds; a class that is not possible adds 0.

    `lag` is that of the formula, and `behind` how far a class is behind the top.
    """
    # At a lag of 0, expm1 is the exponential less the leader itself, with the same slope.
    excess = lambda a: jnp.where(
        behind == 0, jnp.expm1(-a * behind), jnp.exp(-a * behind)
    )
    # The larger of the two exponentials comes out, so that nothing overflows.
    upper = order >= 1
    low, gap = jnp.where(upper, 1, order), jnp.where(upper, 1 - order, order - 1)
    spread = jnp.exp(-low * lag) * lag * exprel(gap * lag)
    leaders = jnp.where(possible & (behind == 0), 1, 0).astype(lag.dtype)
    counted = functools.partial(_counted, possible)
    return LagSums(leaders, *map(counted, (excess(1), excess(order), spread)))


def _counted(possible, term):
    # Not a mask on the slope: tiny stands in for a probability of 0, and has one.
    return term - jax.lax.stop_gradient(jnp.where(possible, 0, term))


def entropy_of_lags(
    sums: LagSums, order, log_top: Float[Array, "*batch"] | None = None
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """F(1), and H_α − F(1): of a softmax, or of probabilities of which this is the top."""
    log_powers = jnp.log1p((sums.leaders - 1) + sums.powers)
    if log_top is None:
        mass = sums.leaders + sums.plain
        log_mass = jnp.log1p((sums.leaders - 1) + sums.plain)
    else:
        mass, log_mass = jnp.ones_like(sums.plain), jnp.zeros_like(sums.plain)
        log_powers = order * log_top + log_powers
    v = sums.spread / mass
    x = (1 - order) * v
    near = jnp.abs(x) <= 0.5
    rise = (log_powers - log_mass) / jnp.where(near, 1, 1 - order)
    return log_mass, jnp.where(near, v * log1prel(jnp.where(near, x, 0)), rise)


@jax.custom_jvp
def softmax_renyi_entropy(
    z: Float[Array, "*batch k"], order: Float[Array, "*#batch"]
) -> Float[Array, "*batch"]:
    return _softmax_value(z, order)


@functools.partial(softmax_renyi_entropy.defjvp, symbolic_zeros=True)
def _softmax_renyi_entropy_jvp(primals, tangents):
    # With the escort Pᵢ = pᵢ^α / Σⱼ pⱼ^α = pᵢ exp((α−1) sᵢ),  sᵢ = log pᵢ + H_α:
    #     ∂H/∂zᵢ = α (Pᵢ − pᵢ) / (1 − α) = −α pᵢ sᵢ E((α−1) sᵢ),   E(x) = (eˣ − 1) / x
    (z, order), (z_dot, order_dot) = primals, tangents
    value = softmax_renyi_entropy(z, order)

    def along_order(dot):
        orders, dots = (jnp.broadcast_to(x, value.shape) for x in (order, dot))
        return jax.jvp(functools.partial(_softmax_value, z), (orders,), (dots,))[1]

    along_z = z_dot, lambda dot: ad.along(dot, _slope, z, order)
    return value, ad.tangent_of(value, along_z, (order_dot, along_order))


def _softmax_value(z, order):
    z = num.at_least_float32(z)
    _, possible, sums = _softmax_sums(z, order)
    log_mass, rest = entropy_of_lags(sums, order)
    some = jnp.any(possible, axis=-1)
    return (log_mass + rest) * jnp.where(some, 1, jnp.nan).astype(z.dtype)


def _slope(z, order):
    # sᵢ = −lᵢ + (H − F(1)), in which both are small where the softmax is nearly uniform.
    # The larger of pᵢ and Pᵢ comes out, so that nothing overflows.
    z = num.at_least_float32(z)
    lag, possible, sums = _softmax_sums(z, order)
    rest = entropy_of_lags(sums, order)[1][..., None]
    a = column(order)
    escort = jnp.exp(-a * lag) / (sums.leaders + sums.powers)[..., None]
    s = rest - lag
    x = (a - 1) * s
    larger = jnp.where(x > 0, escort, sm.softmax(z))
    return jnp.where(possible, -a * larger * s * exprel(jnp.where(x > 0, -x, x)), 0)


def _softmax_sums(z, order):
    top = jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
    possible = z > -jnp.inf
    lag = jnp.where(possible, top - z, 1)
    return lag, possible, _sums(lag, lag, possible, order)


def renyi_entropy_of_logs(log_p, possible, order) -> Float[Array, "*batch"]:
    """H_α of probabilities, by their logarithms, which are finite."""
    some = jnp.where(possible, log_p, -jnp.inf)
    top = jax.lax.stop_gradient(jnp.max(some, axis=-1, keepdims=True))
    sums = _sums(-log_p, top - log_p, possible, order)
    return entropy_of_lags(sums, order, top[..., 0])[1]


def _sums(lag, behind, possible, order):
    terms = lag_terms(lag, behind, possible, column(order))
    return LagSums(*(jnp.sum(x, axis=-1) for x in terms))


def column(order: Float[Array, "*#batch"]) -> Float[Array, "*#batch 1"]:
    """An order per row, beside the classes of that row."""
    return jnp.expand_dims(order, -1) if jnp.ndim(order) else order
