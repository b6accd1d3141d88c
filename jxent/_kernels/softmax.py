"""The softmax of a row of logits, exact in its value, its logarithm and every derivative.

A confident softmax is mostly one number near 1, and all that a loss or a gradient is made
of is the little that is left. So nothing here subtracts from 1: the row is split into its
leading class and the others, and the others are measured against the largest of them.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._core import arithmetic as num, schedules


class Rest(NamedTuple):
    """All classes but the excluded ones: `Σ exp(zⱼ) = exp(top) · total`."""

    top: Float[Array, "*batch 1"]
    total: Float[Array, "*batch 1"]


def rest_of(z: Float[Array, "*batch k"], excluded: Bool[Array, "*batch k"]) -> Rest:
    z = jnp.where(excluded, -jnp.inf, z)
    top = jnp.max(z, axis=-1, keepdims=True)
    total = jnp.sum(jnp.exp(z - reference(top)), axis=-1, keepdims=True)
    return Rest(top, total)


def rest_and_sums(
    z: Float[Array, "*batch k"],
    weighted: Sequence[Float[Array, "*batch k"]] = (),
    plain: Sequence[Float[Array, "*batch k"]] = (),
) -> tuple[Rest, list[Float[Array, "*batch 1"]]]:
    """Of classes that are not −inf, with `Σ exp(zⱼ − top) wⱼ`, and sums over all classes.

    All in one pass, in which two parts of a row are merged thus:

        Σ exp(zⱼ − max(r, u)) = Σ₁ exp(zⱼ − r) + exp(u − r) Σ₂ exp(zⱼ − u)        u ≤ r
    """
    count = 1 + len(weighted)

    def merge(x, y):
        (r, *xs), (u, *ys) = x, y
        factor = jnp.where(r == u, 1, jnp.exp(-jnp.abs(r - u)))
        one, other = jnp.where(r >= u, 1, factor), jnp.where(r >= u, factor, 1)
        sums = [
            num.weigh(one, i) + num.weigh(other, j)
            for i, j in zip(xs[:count], ys[:count], strict=True)
        ]
        more = [i + j for i, j in zip(xs[count:], ys[count:], strict=True)]
        return jnp.maximum(r, u), *sums, *more

    here = (z > -jnp.inf).astype(z.dtype)
    leaves = [z, here, *weighted, *plain]
    nothing = [-jnp.inf, *[0] * (len(leaves) - 1)]
    top, total, *sums = schedules.merge_rows(leaves, nothing, merge)
    return Rest(top, total), sums


def reference(top: Float[Array, "*batch 1"]) -> Float[Array, "*batch 1"]:
    """`top`, or any finite number where there is none: nothing left, all impossible."""
    return jnp.where(top == -jnp.inf, 0, top)


class Partition(NamedTuple):
    """A row of logits with its normaliser, in the numbers that keep every digit.

    `p = exp(−surprise)` for the top class, `exp(z − rival) · scale` for the others.
    """

    top: Float[Array, "*batch 1"]
    rival: Float[Array, "*batch 1"]
    surprise: Float[Array, "*batch 1"]
    scale: Float[Array, "*batch 1"]


def partition(z: Float[Array, "*batch k"]) -> Partition:
    return schedules.by_platform(
        z, cpu=_partition_on_cpu, accelerator=lambda z: parted(z, z.dtype)[0]
    )


def _partition_on_cpu(z):
    # With m = max z and r the largest logit below it,
    #     −log p_top = log Σ exp(zⱼ − m) = log1p(exp(r − m) · Σ_{zⱼ < m} exp(zⱼ − r)).
    # The right-hand side keeps its digits however small it is. Several classes may share
    # the top; then the sum is 2 or more, and the left-hand side has all of its digits.
    top = jnp.max(z, axis=-1, keepdims=True)
    rest = rest_of(z, z == top)
    odds = _odds(rest.top, top)
    # Behind the barrier, XLA does not see that others need z − top too, and store it.
    total = jnp.sum(jnp.exp(z - jax.lax.optimization_barrier(top)), -1, keepdims=True)
    surprise = jnp.log1p(jnp.where(total < 1.5, odds * rest.total, total - 1))
    return Partition(top, reference(rest.top), surprise, odds * jnp.exp(-surprise))


def parted(z, dtype, weighted=(), plain=(), args=()):
    """`partition` in two passes, with sums of terms that depend on the top."""
    # Of c classes that share the top, −log p_top = log1p((c − 1) + odds · Σ exp(zⱼ − r)).
    top = jnp.max(z, axis=-1, keepdims=True).astype(dtype)
    tied = lambda z, top, *_: (z.astype(top.dtype) == top).astype(top.dtype)
    below = lambda z, top, *_: jnp.where(
        tied(z, top) > 0, -jnp.inf, z.astype(top.dtype)
    )
    given = z, top, *args
    z, *weighted = schedules.each_of([below, *weighted], *given)
    rest, sums = rest_and_sums(z, weighted, schedules.each_of([tied, *plain], *given))
    ties = sums.pop(len(weighted))
    odds = _odds(rest.top, top)
    surprise = jnp.log1p((ties - 1) + odds * rest.total)
    surprise = jnp.where(top == -jnp.inf, jnp.nan, surprise)
    part = Partition(top, reference(rest.top), surprise, odds * jnp.exp(-surprise))
    return part, sums


def _odds(rival, top):
    gap, error = num.two_diff(rival, top)
    return jnp.exp(gap) * (1 + error)


def probabilities(
    z: Float[Array, "*batch k"], part: Partition
) -> Float[Array, "*batch k"]:
    below = below_top(z, part) * part.scale
    return jnp.where(z == part.top, jnp.exp(-part.surprise), below)


def below_top(z: Float[Array, "*batch k"], part: Partition) -> Float[Array, "*batch k"]:
    """`exp(z − rival)`, and 0 for the top class."""
    # The very numbers that `rest_of` adds up: where both are needed, XLA has them once.
    return jnp.exp(jnp.where(z == part.top, -jnp.inf, z) - part.rival)


def log_probabilities(
    z: Float[Array, "*batch k"], part: Partition
) -> Float[Array, "*batch k"]:
    return (z - part.top) - part.surprise


# Compiled in eager calls too: their steps have infinities, which jax_debug_infs would see.


@functools.partial(jax.jit, inline=True)
def softmax(z: Float[Array, "*batch k"]) -> Float[Array, "*batch k"]:
    return _softmax(z)


@jax.custom_jvp
def _softmax(z: Float[Array, "*batch k"]) -> Float[Array, "*batch k"]:
    return probabilities(z, partition(z))


@_softmax.defjvp
def _softmax_jvp(primals, tangents):
    # ∂pᵢ = pᵢ (żᵢ − Σⱼ pⱼ żⱼ), which a common shift of ż leaves alone. Measured from the
    # leading class, the bracket is small where p is large, and so no digits cancel,
    # neither forward nor, since `centre` is exact when transposed, backward.
    (z,), (z_dot,) = primals, tangents
    p = softmax(z)
    v = centre(z_dot, leader(z))
    return p, p * (v - jnp.sum(p * v, axis=-1, keepdims=True))


@functools.partial(jax.jit, inline=True)
def log_softmax(z: Float[Array, "*batch k"]) -> Float[Array, "*batch k"]:
    return _log_softmax(z)


@jax.custom_jvp
def _log_softmax(z: Float[Array, "*batch k"]) -> Float[Array, "*batch k"]:
    return log_probabilities(z, partition(z))


@_log_softmax.defjvp
def _log_softmax_jvp(primals, tangents):
    # ∂ log pᵢ = żᵢ − Σⱼ pⱼ żⱼ, measured from the leading class as above.
    (z,), (z_dot,) = primals, tangents
    v = centre(z_dot, leader(z))
    return log_softmax(z), v - jnp.sum(softmax(z) * v, axis=-1, keepdims=True)


def leader(z: Float[Array, "*batch k"]) -> Bool[Array, "*batch k"]:
    """True at the (first) largest entry of every row."""
    return at_class(jnp.argmax(z, axis=-1), z)


def at_class(
    y: Int[Array, "*batch"], like: Float[Array, "*batch k"]
) -> Bool[Array, "*batch k"]:
    """True at class `y` of every row: a one-hot that XLA never has to store."""
    classes = jax.lax.broadcasted_iota(jnp.int32, like.shape, like.ndim - 1)
    return classes == y.astype(jnp.int32)[..., None]


def centre(
    x: Float[Array, "*batch k"], lead: Bool[Array, "*batch k"]
) -> Float[Array, "*batch k"]:
    """`x` minus its entry at `lead`, which becomes an exact 0."""
    origin = jnp.sum(jnp.where(lead, x, 0), axis=-1, keepdims=True)
    return jnp.where(lead, 0, x - origin)
