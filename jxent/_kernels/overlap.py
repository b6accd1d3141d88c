"""Two rows of log-probabilities, class by class, where they are far apart."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num

Logs = Float[Array, "*batch k"]


def mixed(log_p: Logs, log_q: Logs, order: Float[Array, "*#batch 1"]):
    """log p^α q^(1−α); and 1 for each class that is possible in p and not in q.

    What is possible in p alone adds 0 for α < 1, and an infinite amount for α > 1, which
    the caller sees by the count.
    """
    in_p, in_q = log_p > -jnp.inf, log_q > -jnp.inf
    here = in_p & (in_q | (order >= 1))
    z = order * num.finite_log(log_p) + (1 - order) * num.finite_log(log_q)
    lost = jnp.where(in_p & ~in_q, 1, 0).astype(z.dtype)
    return jnp.where(here, z, -jnp.inf), lost


def ratios(log_p: Logs, log_q: Logs) -> Logs:
    """log(p/q); −∞ where p is 0, and +∞ where only q is."""
    y = num.finite_log(log_p) - num.finite_log(log_q)
    y = jnp.where(log_q == -jnp.inf, jnp.inf, y)
    return jnp.where(log_p == -jnp.inf, -jnp.inf, y)
