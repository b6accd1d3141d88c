"""Bregman gaps of any smooth convex function, as an integral of its curvature.

    F(y + d) − F(y) − F′(y) d = ∫₀¹ (1 − t) F″(y + t d) d² dt
    F′(y + d) − F′(y)         = ∫₀¹ F″(y + t d) d dt

Nothing cancels under the integrals, however small d is. Gauss's rules of 8 and of 5 points
take them, and where the two agree, that is the result; elsewhere d is so large, or F so
far from smooth, that the plain difference has its digits.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

Rule = tuple[list[float], list[float]]  # nodes in [0, 1], and weights


def _gauss(n: int, a: int) -> Rule:
    """Gauss's rule of n points for ∫₀¹ (1 − t)ᵃ f(t) dt, a = 0 or 1."""
    # Golub and Welsch, "Calculation of Gauss quadrature rules", Mathematics of Computation
    # 23, 1969: nodes are the eigenvalues of the Jacobi matrix of the polynomials that are
    # orthogonal under that weight, on [−1, 1].
    k = np.arange(n)
    j = k[1:]
    if a:
        diagonal, beside = (
            -1 / ((2 * k + 1) * (2 * k + 3)),
            j * (j + 1) / (2 * j + 1) ** 2,
        )
    else:
        diagonal, beside = 0.0 * k, j**2 / (4 * j**2 - 1)
    off = np.sqrt(beside)
    nodes, vectors = np.linalg.eigh(
        np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1)
    )
    weights = vectors[0] ** 2 / (a + 1)
    return ((nodes + 1) / 2).tolist(), weights.tolist()


def gap(f: Callable[[Array], Array], x: Array, y: Array, d: Array) -> Array:
    """`F(x) − F(y) − F′(y) d`, with d = x − y in its digits; F may add up over axes."""
    _, slope = jax.jvp(f, (y,), (d,))
    at_x, at_y = jax.vmap(f)(jnp.stack([x, y]))  # one program: equal where x and y are
    scale = jnp.abs(at_x) + jnp.abs(at_y) + jnp.abs(slope)
    return _smooth_or(f, y, d, d, (at_x - at_y) - slope, scale, 1)


def rise_of_slope(f: Callable[[Array], Array], x: Array, y: Array, d: Array) -> Array:
    """`F′(x) − F′(y)`, elementwise; likewise."""
    slope = lambda y: jax.jvp(f, (y,), (jnp.ones_like(y),))[1]
    at_x, at_y = slope(x), slope(y)
    scale = jnp.abs(at_x) + jnp.abs(at_y)
    return _smooth_or(f, y, d, jnp.ones_like(y), at_x - at_y, scale, 0)


def _smooth_or(f, y, d, e, plain, scale, a):
    """The integral of F″ d e where it can be trusted, or `plain`, which is rounded."""

    def curvature(t):
        along = lambda s: jax.jvp(f, (y + s * d,), (e,))[1]
        return jax.jvp(along, (t,), (jnp.ones_like(t),))[1]

    # Mapped over the points, so that F is compiled once and not for each of them.
    (nodes, fine), (more, coarse) = _gauss(8, a), _gauss(5, a)
    found = jax.vmap(curvature)(jnp.asarray([*nodes, *more], y.dtype))
    add_up = lambda x, weights: jnp.tensordot(jnp.asarray(weights, x.dtype), x, 1)
    fine, coarse = add_up(found[:8], fine), add_up(found[8:], coarse)
    # They have to agree within the rounding of `plain`; and within a thousandth of their
    # value, since both are small where both miss a peak of the curvature, and both are 0
    # beside a kink, which has none.
    eps, size, apart = (
        float(jnp.finfo(y.dtype).eps),
        jnp.abs(fine),
        jnp.abs(fine - coarse),
    )
    bound = jnp.maximum(4 * eps * size, jnp.minimum(eps * scale, 1e-3 * size))
    return jnp.where((apart <= bound) & (fine != 0), fine, plain)
