"""The running sum of exponentials: of a tile of logits, merged, across a mesh axis.

A sum of exponentials is kept as (top, others): Σ exp(zⱼ) = exp(top) · (1 + others), where
`others` is the sum over all classes but the leading one. So the log-probability of a
confident leader, −log(1 + others), keeps its digits, and nothing overflows.

Both are functions of the logits: `top` is that of the leader, and `others` of what lies
between it and each of the others. So a common shift moves `top` alone, and the derivatives
of `others` add up to 0 in every row.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..._core.autodiff import FIXED, priced
from ..._core.meshes import AxisName


class LogSum(NamedTuple):
    """`Σ exp(zⱼ) = exp(top) · (1 + others)`; no class at all is `top = −inf`."""

    top: Float[Array, "*batch"]
    others: Float[Array, "*batch"]
    lead: Int[Array, "*batch"]  # the class that has the top, the first of several

    @property
    def log(self) -> Float[Array, "*batch"]:
        return self.top + jnp.log1p(self.others)


def log_sum(z: Float[Array, "*batch w"], classes: Int[Array, "*batch w"]) -> LogSum:
    """The sum over a tile of classes."""
    top = jnp.max(z, axis=-1)
    last = jnp.iinfo(jnp.int32).max
    lead = jnp.min(jnp.where(z == top[..., None], classes, last), axis=-1)
    total = LogSum(top, jnp.zeros_like(top), lead)
    return total._replace(others=jnp.sum(exp_of_others(total, z, classes), axis=-1))


def log_sum_terms(
    total: LogSum, z: Float[Array, "*batch w"], classes: Int[Array, "*batch w"]
) -> Any:
    """What each class adds to `total`, for its derivatives."""
    # ∂ Σ_{j ≠ l} exp(zⱼ − z_l) / ∂z_l = −others, where l leads.
    here, others = leads(total, classes), total.others[..., None]
    return LogSum(
        top=jnp.where(here, z, 0),
        others=jnp.where(here, priced(-others, z), exp_of_others(total, z, classes)),
        lead=FIXED,
    )


def merge(a: LogSum, b: LogSum) -> LogSum:
    """The sum over the classes of both; those of `b` come after those of `a`."""
    # The loser's leader becomes one of the others.
    a_leads = a.top >= b.top
    top, low = jnp.maximum(a.top, b.top), jnp.minimum(a.top, b.top)
    winner = lambda a, b: jnp.where(a_leads, a, b)
    lost = 1 + winner(b.others, a.others)
    others = winner(a.others, b.others) + jnp.exp(low - finite(top)) * lost
    return LogSum(top, others, winner(a.lead, b.lead))


def across(a: LogSum, axis_name: AxisName) -> LogSum:
    """The sum over the classes of all shards."""
    # The first shard that has the top keeps it, the others' leaders join the others.
    top = jax.lax.pmax(a.top, axis_name)
    last = jnp.iinfo(jnp.int32).max
    lead = jax.lax.pmin(jnp.where(a.top == top, a.lead, last), axis_name)
    share = jnp.where(a.lead == lead, 0, 1) + a.others
    share = jnp.where(a.top == -jnp.inf, 0, share)
    others = jax.lax.psum(share * jnp.exp(a.top - finite(top)), axis_name)
    return LogSum(top, others, lead)


def leads(total: LogSum, classes: Int[Array, "*batch w"]) -> Bool[Array, "*batch w"]:
    """True at the leading class, if it is one of `classes`."""
    return classes == total.lead[..., None]


def exp_of_others(
    total: LogSum, z: Float[Array, "*batch w"], classes: Int[Array, "*batch w"]
) -> Float[Array, "*batch w"]:
    """`exp(zⱼ − top)`, and 0 for the leading class."""
    z = jnp.where(leads(total, classes), -jnp.inf, z)
    return jnp.exp(z - finite(total.top)[..., None])


def finite(top: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`top`, or any finite number where there is no possible class."""
    return jnp.where(top == -jnp.inf, 0, top)
