"""Information in a table of two variables, exact where they are nearly independent.

A table is [*batch, a, b]: probabilities p of total N, rows r and columns c; or logits.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num, autodiff as ad
from .._core.pairs import exact_sum, Pair, two_product
from . import softmax as sm
from .terms import bregman, log_ratio

Table = Float[Array, "*batch a b"]


# Probabilities.


@jax.custom_jvp
def table_information(p: Table) -> Float[Array, "*batch"]:
    """`Σ p log(p N / (r c))`, never negative: N times the mutual information."""
    # Σ p log(p N / (r c)) = Σ (r/N) [s log(s / c) − s + c],  s = p N / r:  Bregman's form,
    # whose last two add up to N each.
    r, joint, apart, d, n = _against_independence(p)
    terms = r / jnp.where(n == 0, 1, n) * bregman(joint, apart, d)
    return jnp.sum(terms, axis=(-2, -1))


@functools.partial(table_information.defjvp, symbolic_zeros=True)
def _table_information_jvp(primals, tangents):
    # ∂/∂p = log(p N / (r c)): what N, r and c add is 1 − 1 − 1 + 1.
    (p,), (p_dot,) = primals, tangents
    value = table_information(p)
    along = lambda dot: jnp.sum(ad.along(dot, pointwise, p), axis=-1)
    return value, ad.tangent_of(value, (p_dot, along))


def pointwise(p: Table) -> Table:
    """`log(p N / (r c))`, with tiny in place of 0."""
    _, joint, apart, d, _ = _against_independence(jax.lax.stop_gradient(p))
    return _pointwise_at((p,), (joint, apart, d))


def _pointwise_plainly(p):
    rows, columns = jnp.sum(p, -1, keepdims=True), jnp.sum(p, -2, keepdims=True)
    total = jnp.sum(rows, -2, keepdims=True)
    return num.log(p) + num.log(total) - num.log(rows) - num.log(columns)


@ad.with_derivatives_of(_pointwise_plainly)
def _pointwise_at(args, hints):
    joint, apart, d = hints
    return log_ratio((joint, apart), d)


def _against_independence(p):
    """r; N p / r, c, and c − N p / r with its digits; and N."""
    # Of a total near 1, by a power of 2, so that no product is too small.
    _, exponent = jnp.frexp(jnp.sum(p, axis=(-2, -1), keepdims=True))
    scale = jnp.ldexp(jnp.ones((), p.dtype), exponent)
    p = p / scale
    rows, columns = exact_sum(p), exact_sum(jnp.swapaxes(p, -1, -2))
    n = exact_sum(rows.high)
    n = Pair(n.high, n.low + jnp.sum(rows.low, axis=-1))
    spread = lambda x, axis: jnp.broadcast_to(jnp.expand_dims(x, axis), p.shape)
    r, r_low = (spread(x, -1) for x in rows)
    c, c_low = (spread(x, -2) for x in columns)
    n_high, n_low = (spread(x[..., None], -2) for x in n)
    apart, joint = two_product(r, c), two_product(n_high, p)
    d, error = num.two_diff(apart.high, joint.high)
    lows = (r * c_low + c * r_low) - n_low * p
    d = d + (((apart.low - joint.low) + error) + lows)
    share = n_high * (p / jnp.where(r == 0, 1, r))
    far = apart.high < num.tiny(p.dtype) / jnp.finfo(p.dtype).eps ** 2
    d = jnp.where(far, c - share, d / jnp.where(r == 0, 1, r))
    return scale * r, share, c, d, n_high


@jax.custom_jvp
def conditional_information(p: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
    """`Σ p log(N / p)`, N = Σ p: N times the entropy of p / N."""
    return jnp.sum(num.weigh(p, _within(p)), axis=-1)


@functools.partial(conditional_information.defjvp, symbolic_zeros=True)
def _conditional_information_jvp(primals, tangents):
    # ∂/∂p = log(N / p): what N adds is 1 − 1.
    (p,), (p_dot,) = primals, tangents
    value = conditional_information(p)
    along = lambda dot: ad.along(dot, _within, p)
    return value, ad.tangent_of(value, (p_dot, along))


def _within(p):
    n = exact_sum(jax.lax.stop_gradient(p))
    d = jax.lax.stop_gradient(p) - n.high[..., None] - n.low[..., None]
    return _within_at((p,), (n.high[..., None], d))


def _within_plainly(p):
    return num.log(jnp.sum(p, axis=-1, keepdims=True)) - num.log(p)


@ad.with_derivatives_of(_within_plainly)
def _within_at(args, hints):
    (p,), (n, d) = args, hints
    return log_ratio((jnp.broadcast_to(n, p.shape), p), d)


# Logits.


@jax.custom_jvp
def softmax_information(z: Table) -> Float[Array, "*batch"]:
    """The mutual information of the softmax of a table, never negative."""
    # Σ p (eᵗ − 1 − t),  t = log(r c / p): Bregman's form again, and without cancellation
    # where t is small.
    t, p = -softmax_pointwise(z), _softmax(z)
    r, c = jnp.sum(p, -1, keepdims=True), jnp.sum(p, -2, keepdims=True)
    near = p * num.expm1_minus(jnp.clip(t, -1, 1))
    far = r * c - num.weigh(p, 1 + t)
    return jnp.sum(jnp.where(jnp.abs(t) <= 1, near, far), axis=(-2, -1))


@functools.partial(softmax_information.defjvp, symbolic_zeros=True)
def _softmax_information_jvp(primals, tangents):
    # ∂I/∂z = −p (t + I), whose sum is 0.
    (z,), (z_dot,) = primals, tangents
    value = softmax_information(z)
    along = lambda dot: jnp.sum(ad.along(dot, _slope, z), axis=-1)
    return value, ad.tangent_of(value, (z_dot, along))


def _slope(z):
    centred = softmax_pointwise(z) - softmax_information(z)[..., None, None]
    slope = num.weigh(_softmax(z), centred)
    # They add up to 0. The leading cell's is what the others leave: where that cell has
    # most of the probability, its own logarithm has no digits left.
    lead = _flat(sm.leader, z)
    others = jnp.where(lead, 0, slope)
    return jnp.where(lead, -jnp.sum(others, axis=(-2, -1), keepdims=True), others)


def softmax_pointwise(z: Table) -> Table:
    """`log(p / (r c))` of the softmax of a table; finite."""
    return _softmax_pointwise_at((z,), jax.lax.stop_gradient(z))


def _plainly(z):
    log_p = _flat(sm.log_softmax, z)
    lse = lambda axis: num.finite_log(log_sum_exp(log_p, axis))
    return num.finite_log(log_p) - (lse(-1) + lse(-2))


def log_sum_exp(x: Array, axes: int | tuple[int, ...]) -> Array:
    """`log Σ exp x`, whose slope is 0 where nothing is possible, and its value −∞."""
    possible = jnp.any(x > -jnp.inf, axis=axes, keepdims=True)
    total = jax.nn.logsumexp(jnp.where(possible, x, 0), axis=axes, keepdims=True)
    return jnp.where(possible, total, -jnp.inf)


@ad.with_derivatives_of(_plainly)
def _softmax_pointwise_at(args, z):
    # From the leading cell z₀₀:  e = (z − its row) − (its column − z₀₀) is the interaction,
    # 0 for independent variables, and exact as a difference of exact differences. With
    # u, v the softmaxes of that column and row, and m = expm1(e):
    #     p = u v (1 + m) / (1 + g),  r = u (1 + a) / (1 + g),  c = v (1 + b) / (1 + g)
    #     a = Σⱼ v m,  b = Σᵢ u m,  g = Σ u v m
    #     log(p / (r c)) = e + log(1 + g) − log(1 + a) − log(1 + b)
    del args
    lead = _flat(sm.leader, z)
    at = lambda axis: jnp.any(lead, axis=axis, keepdims=True)
    pick = lambda where, axis: jnp.max(
        jnp.where(where, z, -jnp.inf), axis=axis, keepdims=True
    )
    row, column, top = pick(at(-1), -2), pick(at(-2), -1), pick(lead, (-2, -1))
    step, error = num.two_diff(z, jnp.broadcast_to(row, z.shape))
    origin, error0 = num.two_diff(column, jnp.broadcast_to(top, column.shape))
    here = (row > -jnp.inf) & (column > -jnp.inf)
    e = jnp.where(here, (step - origin) + (error - error0), 0)
    m = jnp.expm1(jnp.minimum(e, 60))
    u, v = jnp.exp(origin), jnp.exp(row - top)
    total = lambda x, axis: jnp.sum(x, axis=axis, keepdims=True)
    u, v = u / total(u, -2), v / total(v, -1)
    a, b = total(v * m, -1), total(u * m, -2)
    exact = (e + jnp.log1p(total(u * a, (-2, -1)))) - (jnp.log1p(a) + jnp.log1p(b))
    # Not so where the leading row or column lacks a class that others have.
    missing = (z > -jnp.inf) & ~here
    apart = jnp.any(missing | (e > 60), axis=(-2, -1), keepdims=True)
    exact = jnp.where(z > -jnp.inf, exact, _plainly(z))
    return jnp.where(apart, _plainly(z), exact)


def _softmax(z):
    return _flat(sm.softmax, z)


def _flat(f, z):
    return f(z.reshape(*z.shape[:-2], -1)).reshape(z.shape)
