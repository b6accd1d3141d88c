"""The running sum of exponentials: of a block of logits, merged, across a mesh axis.

A sum of exponentials is kept as (top, others): Σ exp(zⱼ) = exp(top) · (1 + others), where
`others` is the sum over all classes but the leading one. So the log-probability of a
confident leader, −log(1 + others), keeps its digits, and nothing overflows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._core.meshes import AxisName


class LogSum(NamedTuple):
    """`Σ exp(zⱼ) = exp(top) · (1 + others)`; no class at all is `top = −inf`."""

    top: Float[Array, "*batch"]
    others: Float[Array, "*batch"]

    @property
    def log(self) -> Float[Array, "*batch"]:
        return self.top + jnp.log1p(self.others)


def log_sum(z: Float[Array, "*batch k"], *, leads: bool = True) -> LogSum:
    """The sum over a block; if `leads` is False, `others` has no more digits than the sum.

    That will do where the leader is not of interest, and saves a third of the work.
    """
    top = jnp.max(z, axis=-1)
    e = exp_from(top, z)
    total = jnp.sum(e, axis=-1)
    others = total - 1
    if leads:
        # Several classes may share the top; then the plain sum has all of its digits.
        below = jnp.sum(jnp.where(z == top[..., None], 0, e), axis=-1)
        others = jnp.where(total < 1.5, below, others)
    return LogSum(top, jnp.where(top == -jnp.inf, 0, others))


def merge(a: LogSum, b: LogSum) -> LogSum:
    """The sum over the classes of both."""
    # The loser's leader becomes one of the others.
    a_leads = a.top >= b.top
    top, low = jnp.maximum(a.top, b.top), jnp.minimum(a.top, b.top)
    led, lost = (
        jnp.where(a_leads, a.others, b.others),
        jnp.where(a_leads, b.others, a.others),
    )
    return LogSum(top, led + jnp.exp(low - finite(top)) * (1 + lost))


def across(a: LogSum, axis_name: AxisName) -> LogSum:
    """The sum over the classes of all shards."""
    # The first shard that has the top keeps it, the others' leaders join the others.
    top = jax.lax.pmax(a.top, axis_name)
    here = jax.lax.axis_index(axis_name)
    size = jax.lax.axis_size(axis_name)
    first = jax.lax.pmin(jnp.where(a.top == top, here, size), axis_name)
    share = jnp.where(first == here, 0, 1) + a.others
    share = jnp.where(a.top == -jnp.inf, 0, share)
    return LogSum(top, jax.lax.psum(share * jnp.exp(a.top - finite(top)), axis_name))


def finite(top: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`top`, or any finite number where there is no possible class."""
    return jnp.where(top == -jnp.inf, 0, top)


def exp_from(
    top: Float[Array, "*batch"], z: Float[Array, "*batch k"]
) -> Float[Array, "*batch k"]:
    """`exp(zⱼ − top)`"""
    return jnp.exp(z - finite(top)[..., None])
