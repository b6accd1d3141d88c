"""A power of a ratio of probabilities, smooth through the order where it is a logarithm."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num, autodiff as ad
from .terms import log_ratio

Shaped = Float[Array, "*shape"]
Order = Float[Array, "*#shape"]


@jax.custom_jvp
def exprel(x: Shaped) -> Shaped:
    """`(eˣ − 1) / x`, and 1 at 0."""
    near = jnp.abs(x) <= 1e-8
    return jnp.where(near, 1, jnp.expm1(x) / jnp.where(near, 1, x))


@exprel.defjvp
def _exprel_jvp(primals, tangents):
    # (x eˣ − eˣ + 1) / x² = 1/2! + 2x/3! + 3x²/4! + …, and the series where that cancels.
    (x,), (x_dot,) = primals, tangents
    terms = 14 if x.dtype == jnp.float32 else 21
    series = [(k + 1) / math.factorial(k + 2) for k in range(terms)]
    near = jnp.abs(x) <= 1
    far = jnp.where(near, 2, x)
    slope = jnp.where(
        near,
        num.polynomial(jnp.where(near, x, 0), series),
        (jnp.exp(far) - exprel(far)) / far,
    )
    return exprel(x), slope * x_dot


@jax.custom_jvp
def log1prel(x: Shaped) -> Shaped:
    """`log(1 + x) / x`, and 1 at 0."""
    near = jnp.abs(x) <= 1e-8
    return jnp.where(near, 1, jnp.log1p(x) / jnp.where(near, 1, x))


@log1prel.defjvp
def _log1prel_jvp(primals, tangents):
    # (x/(1+x) − log(1+x)) / x² = −1/2 + 2x/3 − 3x²/4 + …, the series where that cancels.
    (x,), (x_dot,) = primals, tangents
    terms = 14 if x.dtype == jnp.float32 else 32
    series = [(-1) ** (k + 1) * (k + 1) / (k + 2) for k in range(terms)]
    near = jnp.abs(x) <= 0.25
    far = jnp.where(near, 1, x)
    slope = jnp.where(
        near,
        num.polynomial(jnp.where(near, x, 0), series),
        (1 / (1 + far) - log1prel(far)) / far,
    )
    return log1prel(x), slope * x_dot


@jax.custom_jvp
def stretched(h: Shaped, a: Order) -> Shaped:
    """`(exp(a h) − 1) / a`, and h at a = 0."""
    return h * exprel(a * h)


@functools.partial(stretched.defjvp, symbolic_zeros=True)
def _stretched_jvp(primals, tangents):
    # ∂ = exp(a h) ∂h + h² E′(a h) ∂a
    (h, a), (h_dot, a_dot) = primals, tangents
    along_h = h_dot, lambda dot: jnp.exp(a * h) * dot
    along_a = a_dot, lambda dot: _by_exponent(h, a) * dot
    value = stretched(h, a)
    return value, ad.tangent_of(value, along_h, along_a)


# With y = log(p/q), and r = p/q = eʸ.


@jax.custom_jvp
def ratio_power(p: Shaped, q: Shaped, d: Shaped, a: Order) -> Shaped:
    """`(p/q)ᵃ`, with the smallest normal number in place of 0; `d` is q − p."""
    x = a * log_ratio((p, q), d)
    # A rounded exponent costs |x| ulps of the exponential; a rounded ratio, |a| ulps.
    # The ratio of the two may be below the floor as well.
    floor = num.tiny(p.dtype)
    r = jnp.maximum(jnp.maximum(p, floor) / jnp.maximum(q, floor), floor)
    return jnp.where(jnp.abs(x) <= 2, jnp.exp(x), jnp.power(r, a))


@functools.partial(ratio_power.defjvp, symbolic_zeros=True)
def _ratio_power_jvp(primals, tangents):
    # ∂rᵃ = a rᵃ (∂p/p − ∂q/q) + y rᵃ ∂a
    (p, q, d, a), (p_dot, q_dot, _, a_dot) = primals, tangents
    value = ratio_power(p, q, d, a)
    along_p = p_dot, lambda dot: a * _bounded(value * num.reciprocal(p)) * dot
    along_q = q_dot, lambda dot: -a * _bounded(value * num.reciprocal(q)) * dot
    along_a = a_dot, lambda dot: log_ratio((p, q), d) * value * dot
    return value, ad.tangent_of(value, along_p, along_q, along_a)


@jax.custom_jvp
def deformed_log(p: Shaped, q: Shaped, d: Shaped, a: Order) -> Shaped:
    """`((p/q)ᵃ − 1) / a`, which is log(p/q) at a = 0; tiny stands in for 0."""
    y = log_ratio((p, q), d)
    x = a * y
    near = jnp.abs(x) <= 2
    rise = (ratio_power(p, q, d, a) - 1) / jnp.where(near, 1, a)
    return jnp.where(near, y * exprel(jnp.where(near, x, 0)), rise)


@functools.partial(deformed_log.defjvp, symbolic_zeros=True)
def _deformed_log_jvp(primals, tangents):
    # ∂ = rᵃ (∂p/p − ∂q/q) + y² E′(a y) ∂a,   E(x) = (eˣ − 1) / x
    (p, q, d, a), (p_dot, q_dot, _, a_dot) = primals, tangents
    value, power = deformed_log(p, q, d, a), ratio_power(p, q, d, a)
    along_p = p_dot, lambda dot: _bounded(power * num.reciprocal(p)) * dot
    along_q = q_dot, lambda dot: -_bounded(power * num.reciprocal(q)) * dot
    along_a = a_dot, lambda dot: _by_exponent(log_ratio((p, q), d), a) * dot
    return value, ad.tangent_of(value, along_p, along_q, along_a)


def _by_exponent(y, a):
    x = a * y
    _, slope = jax.jvp(exprel, (x,), (jnp.ones_like(x),))
    return y * y * slope


def _bounded(slope):
    """`slope`, finite: so that a factor of 0 that comes later makes it 0, not NaN."""
    most = 1 / num.tiny(slope.dtype)  # a few times that is finite too
    return jnp.clip(slope, -most, most)


@jax.custom_jvp
def alpha_term(p: Shaped, q: Shaped, d: Shaped, alpha: Order) -> Shaped:
    """`(α p + (1−α) q − p^α q^(1−α)) / (α (1−α))`, never negative; `d` is q − p.

    At α = 1 it is p log(p/q) − p + q, and at α = 0 that of q and p.
    """
    # The term of (α, p, q) is that of (1−α, q, p). Of the two, take the one of β >= 1/2:
    #     t = (v − u + u ((u/v)^(β−1) − 1) / (β−1)) / β
    # whose parts cancel where y = log(u/v) is small. There it is a divided difference,
    #     t = v y² exp[0, βy, y] = v y² Σₖ yᵏ (1 + β + … + βᵏ) / (k+2)!
    u, v, e, beta = _mirrored(p, q, d, alpha)
    y = log_ratio((u, v), e)
    near = jnp.abs(y) * jnp.maximum(1, beta) <= 1
    small = v * _divided_difference(jnp.where(near, y, 0), beta)
    large = (e + u * deformed_log(u, v, e, beta - 1)) / beta
    large = jnp.where(u == 0, v / beta, large)
    none_left = jnp.where(beta < 1, u / jnp.where(beta < 1, 1 - beta, 1), jnp.inf)
    large = jnp.where((v == 0) & (u > 0), none_left, large)
    return jnp.where(near, small, large)


@functools.partial(alpha_term.defjvp, symbolic_zeros=True)
def _alpha_term_jvp(primals, tangents):
    # ∂t/∂p = (1 − r^(α−1)) / (1−α)  and  ∂t/∂q = −(r^α − 1) / α.
    (p, q, d, alpha), (p_dot, q_dot, _, alpha_dot) = primals, tangents
    value = alpha_term(p, q, d, alpha)
    along_p = p_dot, lambda dot: _bounded(deformed_log(p, q, d, alpha - 1)) * dot
    along_q = q_dot, lambda dot: -_bounded(deformed_log(p, q, d, alpha)) * dot
    along_alpha = alpha_dot, lambda dot: _by_order(p, q, d, alpha) * dot
    return value, ad.tangent_of(value, along_p, along_q, along_alpha)


def _by_order(p, q, d, alpha):
    # ∂t/∂β = v y² Σₖ yᵏ (1 + β + … + βᵏ)′ / (k+2)!  near,  (u y² E′((β−1) y) − t) / β  far.
    u, v, e, beta = _mirrored(p, q, d, alpha)
    y = log_ratio((u, v), e)
    near = jnp.abs(y) * jnp.maximum(1, beta) <= 1
    inside = functools.partial(_divided_difference, jnp.where(near, y, 0))
    beta = jnp.broadcast_to(beta, y.shape)
    _, small = jax.jvp(inside, (beta,), (jnp.ones_like(beta),))
    large = num.weigh(u, _by_exponent(y, beta - 1)) - alpha_term(u, v, e, beta)
    slope = jnp.where(near, v * small, large / beta)
    slope = jnp.where((u == 0) & (v == 0), 0, slope)
    return jnp.where(alpha >= 0.5, slope, -slope)


def _mirrored(p, q, d, alpha):
    upper = alpha >= 0.5
    swap = lambda a, b: jnp.where(upper, a, b)
    return swap(p, q), swap(q, p), swap(d, -d), swap(alpha, 1 - alpha)


def _divided_difference(y, beta):
    """`y² exp[0, βy, y]` for |y| and |βy| up to 1."""
    terms = 13 if y.dtype == jnp.float32 else 20
    # With sₖ = yᵏ (1 + β + … + βᵏ):  sₖ = y sₖ₋₁ + (βy)ᵏ
    x = beta * y
    s = power = jnp.ones_like(y)
    total = s / 2
    for k in range(1, terms):
        power = power * x
        s = y * s + power
        total += s * (1 / math.factorial(k + 2))
    return y * y * total
