"""Two positive numbers, compared: their ratio, and how far it is from 1.

What families of scales, rates and concentrations say about two members of theirs depends
on ratios r = a/b of parameters. Near r = 1 a ratio has lost the digits of the difference
a − b, so a `Ratio` keeps three numbers, each with its own digits:

    r,    u = r − 1 = (a − b)/b,    t = log r

t carries the derivatives, and those of r and u follow from it: dr = du = r dt.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num, autodiff as ad
from .._core.pairs import two_product


class Ratio:
    """a/b for positive a and b."""

    def __init__(self, t: Array, r: Array, u: Array):
        self.t = t
        self._hints = jax.lax.stop_gradient((r, u))

    @property
    def value(self) -> Float[Array, "..."]:
        """`r`"""
        return _value(self.t, self._hints[0])

    @property
    def excess(self) -> Float[Array, "..."]:
        """`r − 1`"""
        return _excess(self.t, *self._hints)

    @property
    def gap(self) -> Float[Array, "..."]:
        """`r − 1 − log r`, never negative, 0 only at r = 1."""
        return _gap(self.t, *self._hints)

    @property
    def inverse(self) -> "Ratio":
        r, u = self._hints
        return Ratio(-self.t, 1 / r, -u / r)

    def __mul__(self, other: "Ratio") -> "Ratio":
        (r, u), (s, v) = self._hints, other._hints
        return Ratio(self.t + other.t, r * s, u + v + u * v)


def of_numbers(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> Ratio:
    """`a / b`"""
    x, y = jax.lax.stop_gradient((a, b))
    r, u = x / y, (x - y) / y
    return Ratio(_logarithm(((a,), (b,)), _log_of(r, u, (x,), (y,))), r, u)


def of_products(
    a: Float[Array, "*shape"],
    d: Float[Array, "*shape"],
    b: Float[Array, "*shape"],
    c: Float[Array, "*shape"],
    extra: Float[Array, "*shape"] | None = None,
) -> Ratio:
    """`(a d) / (b c)`; `extra` is what `a d − b c` is beyond what these numbers say."""
    over, under = jax.lax.stop_gradient(((a, d), (b, c)))
    # Powers of two are taken out first: the error of a tiny product is no float.
    (x, y), ((v, i), (w, j)) = over, map(jnp.frexp, under)
    x, y = jnp.ldexp(x, -j), jnp.ldexp(y, -i)
    r = (x / w) * (y / v)
    near = (r >= 0.5) & (r <= 2)
    rise = cross_difference(x, y, v, w)
    if extra is not None:
        rise = rise + jnp.ldexp(jax.lax.stop_gradient(extra), -(i + j))
    u = jnp.where(near, rise / (v * w), r - 1)
    return Ratio(_logarithm(((a, d), (b, c)), _log_of(r, u, over, under)), r, u)


def cross_difference(
    a: Float[Array, "*shape"],
    d: Float[Array, "*shape"],
    b: Float[Array, "*shape"],
    c: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """`a d − b c`, without its cancellation."""
    p, q = two_product(a, d), two_product(b, c)
    difference, error = num.two_diff(p.high, q.high)
    return difference + ((p.low - q.low) + error)


def of_logs(t: Float[Array, "*shape"]) -> Ratio:
    """`exp(t)`"""
    return Ratio(t, jnp.exp(t), jnp.expm1(t))


@ad.with_derivatives_of(
    lambda over, under: sum(map(num.log, over)) - sum(map(num.log, under))
)
def _logarithm(args, t):
    return t


def _log_of(r, u, over, under):
    # log r = 2 atanh(s) = 2s + 2s³ R(s²) near r = 1, s = (r − 1)/(r + 1)
    s = u / (2 + u)
    near = 2 * s * (1 + s * s * num.atanh_tail(jnp.clip(s, -1 / 3, 1 / 3)))
    apart = sum(map(jnp.log, over)) - sum(map(jnp.log, under))
    normal = (r >= num.tiny(r.dtype)) & (r < jnp.inf)
    far = jnp.where(normal, jnp.log(r), apart)
    return jnp.where(jnp.abs(s) <= 1 / 3, near, far)


@jax.custom_jvp
def _value(t, r):
    return r


@_value.defjvp
def _value_jvp(primals, tangents):
    r = _value(*primals)
    return r, r * tangents[0]


@jax.custom_jvp
def _excess(t, r, u):
    return u


@_excess.defjvp
def _excess_jvp(primals, tangents):
    t, r, _ = primals
    return _excess(*primals), _value(t, r) * tangents[0]


@jax.custom_jvp
def _gap(t, r, u):
    # u − log r = s (u − 2 s² R(s²)) near r = 1, in which nothing cancels.
    s = u / (2 + u)
    near = s * (u - 2 * s * s * num.atanh_tail(jnp.clip(s, -1 / 3, 1 / 3)))
    far = jnp.where(u < jnp.inf, u - t, u)
    return jnp.where(jnp.abs(s) <= 1 / 3, near, far)


@_gap.defjvp
def _gap_jvp(primals, tangents):
    # d(r − 1 − log r) = (r − 1) dt
    return _gap(*primals), _excess(*primals) * tangents[0]
