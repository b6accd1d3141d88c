"""Divergences made of a convex function: `bregman_divergence` and `f_divergence`."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .._core import arithmetic as num, autodiff as ad
from .._core.shapes import as_array, check_float
from .._distributions.admit import admit_pair, DensityLike, DistributionLike
from .._kernels.quadrature import gap, rise_of_slope
from .._measures.pairs import total


def bregman_divergence(
    f: Callable[[Array], Array],
) -> Callable[[ArrayLike, ArrayLike], Array]:
    """The Bregman divergence of a convex function, as a function of two points.

        B(x, y) = F(x) − F(y) − ∇F(y) · (x − y)

    How far F is above its tangent plane at y: Euclid's squared distance for ½‖x‖², KL of
    probabilities for Σ x log x, KL of softmaxes, the other way round, for log Σ exp.
    Computed as an integral of F's curvature from y to x, which keeps its digits where the
    two points are near, and where the formula above is rounding.

    Args:
      f: F, a smooth convex function of JAX arrays to one number; or, of arrays with batch
        axes in front, to one number per row.

    Returns:
      B(x, y), of arrays of one shape; differentiable, and as many numbers as F gives.

    Limits:
      0 with slope 0 at x = y. Where F is not smooth between the two points, or they are
      far apart, it is the plain formula. Where F or its slope is not finite, so is this.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> from jax.scipy.special import logsumexp
      >>> divergence = jxent.bregman_divergence(logsumexp)
      >>> x, y = jnp.array([1.0, 0.0, 2.0]), jnp.array([1.0, 0.5, 2.0])
      >>> print(divergence(x, y))
      0.01335...
      >>> print(jxent.kl_divergence(jxent.Logits(y), jxent.Logits(x)))
      0.01335...

    References:
      Bregman, "The relaxation method of finding the common point of convex sets", USSR
      Computational Mathematics 7, 1967. Banerjee, Merugu, Dhillon and Ghosh, "Clustering
      with Bregman Divergences", Journal of Machine Learning Research 6, 2005.
    """

    @functools.wraps(f, assigned=(), updated=())
    def divergence(x: ArrayLike, y: ArrayLike) -> Array:
        caller = "bregman_divergence"
        x, y = as_array(x, "x", caller), as_array(y, "y", caller)
        check_float(x, name="x", caller=caller)
        check_float(y, name="y", caller=caller)
        x, y = num.widen(x, y)
        if x.shape != y.shape:
            raise ValueError(
                f"{caller}: x has shape {x.shape} and y has shape {y.shape}"
            )
        return gap(f, x, y, x - y)

    return divergence


def f_divergence(
    f: Callable[[Array], Array],
    *,
    at_zero: float | None = None,
    slope_at_infinity: float | None = None,
) -> Callable[[DistributionLike, DensityLike], Float[Array, "*batch"]]:
    """The f-divergence of a convex function, as a measure of two distributions.

        D_f(p ‖ q) = Σᵢ qᵢ f(pᵢ / qᵢ)       less its tangent at 1, f(1) + f′(1) (pᵢ/qᵢ − 1)

    f(r) = r log r gives KL, −log r the reverse, (√r − 1)²/2 the squared Hellinger distance,
    |r − 1|/2 total variation. These are here under their own names, and faster. The tangent
    adds nothing for distributions, and without it no term is negative.

    Args:
      f: A convex function of a positive array, elementwise.
      at_zero: lim f(r) as r → 0, which may be `math.inf`. By default, f(0), or f at the
        smallest normal number where that is NaN, as 0 · log 0 is.
      slope_at_infinity: lim f(r)/r as r → ∞, likewise. By default f′(∞); where that is NaN,
        f′ at a very large number, or ∞ if it still grows there.

    Returns:
      A measure of (p, q), of any representation, streamed and sharded ones too. It keeps
      its digits where `p` is near `q`, if f is smooth; near a kink of f at 1 it does not.

    Limits:
      `pᵢ = 0 < qᵢ` adds qᵢ (f(0) + f′(1) − f(1)), `qᵢ = 0 < pᵢ` adds pᵢ (f′(∞) − f′(1)).
      Derivatives there are those at the smallest normal number.

    Raises:
      TypeError, ValueError, AssertionError: As `kl_divergence`, from the measure.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> triangular = jxent.f_divergence(lambda r: (r - 1) ** 2 / (r + 1))
      >>> p, q = jnp.array([0.5, 0.5]), jnp.array([0.75, 0.25])
      >>> print(triangular(p, q), triangular(p, jxent.Logits(jnp.log(q))))
      0.1333... 0.1333...

    References:
      Csiszár, "Information-type measures of difference of probability distributions and
      indirect observations", Studia Scientiarum Mathematicarum Hungarica 2, 1967.
    """
    term = _term_of(f, at_zero, slope_at_infinity)

    @functools.partial(jax.jit, inline=True)
    def nats(p, q):
        return total(term, p, q)

    def divergence(p: DistributionLike, q: DensityLike) -> Float[Array, "*batch"]:
        return nats(*admit_pair(p, q, caller="f_divergence"))

    return divergence


def _term_of(f, at_zero, slope_at_infinity):
    """`q B(p/q)`, B(r) = f(r) − f(1) − f′(1) (r − 1); `d` is q − p, with its digits."""

    # With S = f′(r) − f′(1):
    #     ∂B/∂p = S/q  and  ∂B/∂q = −r S/q;     ∂S/∂p = f″(r)/q  and  ∂S/∂q = −r f″(r)/q
    @jax.custom_jvp
    def height(p, q, d):
        return gap(f, *_ratio(p, q, d))

    @height.defjvp
    def _(primals, tangents):
        (p, q, d), (p_dot, q_dot, _) = primals, tangents
        step = p_dot - p / q * q_dot
        return height(p, q, d), num.reciprocal(q) * (slope(p, q, d) * step)

    @jax.custom_jvp
    def slope(p, q, d):
        return rise_of_slope(f, *_ratio(p, q, d))

    @slope.defjvp
    def _(primals, tangents):
        (p, q, d), (p_dot, q_dot, _) = primals, tangents
        first = lambda r: jax.jvp(f, (r,), (jnp.ones_like(r),))[1]
        bend = jax.jvp(first, (p / q,), (jnp.ones_like(p),))[1]
        step = p_dot - p / q * q_dot
        return slope(p, q, d), num.reciprocal(q) * (bend * step)

    @jax.custom_jvp
    def term(p, q, d):
        zero, infinity = _ends(f, at_zero, slope_at_infinity, p.dtype)
        inside = q * height(*_positive(p, q, d))
        value = jnp.where((p == 0) & (q > 0), q * zero, inside)
        return jnp.where((q == 0) & (p > 0), p * infinity, value)

    @functools.partial(term.defjvp, symbolic_zeros=True)
    def _(primals, tangents):
        # ∂(q B)/∂p = S  and  ∂(q B)/∂q = B − r S, in which tiny stands in for 0.
        (p_dot, q_dot, _), (p, q, d) = tangents, _positive(*primals)
        value, most = term(*primals), float(jnp.finfo(p.dtype).max)
        finite = lambda x, inf: jnp.nan_to_num(x, nan=-most, posinf=inf, neginf=-most)
        along_p = p_dot, lambda dot: finite(slope(p, q, d), most) * dot
        by_q = lambda: height(p, q, d) - p / q * slope(p, q, d)
        along_q = (
            q_dot,
            lambda dot: finite(by_q(), -most) * dot,
        )  # B overflows before r S
        return value, ad.tangent_of(value, along_p, along_q)

    return term


def _positive(p, q, d):
    """The same, with the smallest normal number in place of 0."""
    floor = num.tiny(p.dtype)
    up = lambda x: x + jnp.where(x < floor, floor, 0)
    return up(p), up(q), d


def _ratio(p, q, d):
    """p/q, 1, and their difference."""
    return p / q, jnp.ones_like(q), -d / q


def _ends(f, at_zero, slope_at_infinity, dtype):
    """B(0), and lim B(r)/r as r → ∞."""

    def at(r):
        return jax.jvp(f, (jnp.asarray(r, dtype),), (jnp.ones((), dtype),))

    f1, slope1 = at(1.0)
    f0, far = at_zero, slope_at_infinity
    if f0 is None:
        there = at(0.0)[0]
        f0 = jnp.where(jnp.isnan(there), at(num.tiny(dtype))[0], there)
    if far is None:
        # Where ∞ itself gives NaN, a slope that still grows is taken to grow for ever.
        large = num.tiny(dtype) ** -0.4
        there, last, before = (at(r)[1] for r in (jnp.inf, large, large**0.5))
        grows = jnp.abs(last - before) > 0.02 * jnp.abs(last)
        far = jnp.where(jnp.isnan(there), jnp.where(grows, jnp.inf, last), there)
    return f0 - f1 + slope1, far - slope1
