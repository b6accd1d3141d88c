"""Means of a logarithm over an interval."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._core import arithmetic as num


def log_moments(
    low: Float[Array, "*shape"], high: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """The mean and the variance of `log x` for x uniform between 0 ≤ low < high."""
    # x = m (1 + s v), v in [−1, 1]. For s well below 1, log(1 + s v) is smooth, and Gauss'
    # rule is exact; elsewhere the integrals of log and log² are, which cancel for small s.
    m, half = 0.5 * (low + high), 0.5 * (high - low)
    s = num.quotient(half, m)
    v, weights = np.polynomial.legendre.leggauss(24 if s.dtype == jnp.float64 else 10)
    small = jnp.minimum(s, 0.5)
    logs = [jnp.log1p(small * float(x)) for x in v]
    mean = sum(0.5 * float(w) * y for w, y in zip(weights, logs, strict=True))
    near = (
        mean,
        sum(
            0.5 * float(w) * (y - mean) ** 2 for w, y in zip(weights, logs, strict=True)
        ),
    )
    large = jnp.maximum(s, 0.5)
    (a, la), (b, lb) = ((1 + d, num.log(1 + d)) for d in (large, -large))
    first = (num.weigh(a, la) - num.weigh(b, lb)) / (2 * large)
    second = (num.weigh(a, la * la) - num.weigh(b, lb * lb)) / (2 * large)
    far = first - 1, second - first * first + 1
    mean, variance = (jnp.where(s <= 0.5, x, y) for x, y in zip(near, far, strict=True))
    return num.log(m) + mean, variance
