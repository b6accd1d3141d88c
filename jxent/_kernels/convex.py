"""How far a convex function is above its tangent, with every digit that it has."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float


def bregman_gap(
    height: Callable[..., Array],
    rise: Callable[..., Array],
    curvature: Callable[[Array], Array],
) -> Callable[..., Float[Array, "*shape"]]:
    """`f(c) − f(a) − f′(a)(c − a)` as a function of `c, a, d`, with its derivatives.

    The three arguments say how to compute it, none of them by a difference of two large
    numbers, from `d = c − a` with the digits that it has:

        height(c, a, d)    the gap itself
        rise(c, a, d)      f′(c) − f′(a)
        curvature(a)       f″(a), which autodiff can differentiate
    """

    @jax.custom_jvp
    def gap(c, a, d):
        return height(c, a, d)

    @gap.defjvp
    def _(primals, tangents):
        # ∂/∂c = f′(c) − f′(a)  and  ∂/∂a = −f″(a) (c − a)
        (c, a, d), (c_dot, a_dot, _) = primals, tangents
        slope = _difference(c, a, d) * curvature(a)
        return gap(c, a, d), slope_gap(c, a, d) * c_dot - slope * a_dot

    @jax.custom_jvp
    def slope_gap(c, a, d):
        return rise(c, a, d)

    @slope_gap.defjvp
    def _(primals, tangents):
        (c, a, d), (c_dot, a_dot, _) = primals, tangents
        return slope_gap(c, a, d), curvature(c) * c_dot - curvature(a) * a_dot

    return gap


@jax.custom_jvp
def _difference(c, a, d):
    return d


@_difference.defjvp
def _difference_jvp(primals, tangents):
    c_dot, a_dot, _ = tangents
    return _difference(*primals), c_dot - a_dot
