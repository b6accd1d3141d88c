"""One event: its entropy, and its cross-entropy with logits and with probabilities."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num, autodiff as ad


@jax.custom_jvp
def binary_entropy(p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return num.weigh(p, -jnp.log(p)) + num.weigh(1 - p, -jnp.log1p(-p))


@binary_entropy.defjvp
def _binary_entropy_jvp(primals, tangents):
    # ∂(−p log p − (1−p) log(1−p)) = −log(p / (1−p)); tiny stands in for 0.
    (p,), (p_dot,) = primals, tangents
    return binary_entropy(p), -num.log_odds(p) * p_dot


@jax.custom_jvp
def sigmoid_entropy(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    # H = log(1 + e^−|x|) + |x| / (1 + e^|x|): the surprise of the likelier event, and
    # what the other one adds to it. No term is negative, so no digit is lost.
    _, unlikely = num.sigmoids(jnp.abs(x))
    return jnp.log1p(jnp.exp(-jnp.abs(x))) + num.weigh(unlikely, jnp.abs(x))


@sigmoid_entropy.defjvp
def _sigmoid_entropy_jvp(primals, tangents):
    # ∂H = −x p (1−p)
    (x,), (x_dot,) = primals, tangents
    yes, no = num.sigmoids(x)
    return sigmoid_entropy(x), -num.weigh(yes * no, x) * x_dot


# Events against logits.


@jax.custom_jvp
def logistic_cross_entropy(
    yes: Float[Array, "*batch"], no: Float[Array, "*batch"], x: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    # −yes log σ(x) − no log σ(−x), where the likelier event costs log(1 + e^−|x|), and
    # the other one |x| more. No term is negative, so no digit is lost.
    yes, no, x = num.widen(yes, no, x)
    unlikely, far = jnp.where(x < 0, yes, no), jnp.abs(x)
    return jnp.log1p(jnp.exp(-far)) + num.weigh(unlikely, far)


@functools.partial(logistic_cross_entropy.defjvp, symbolic_zeros=True)
def _logistic_cross_entropy_jvp(primals, tangents):
    # ∂/∂x = no σ(x) − yes σ(−x), two terms that are small each on its own side.
    # ∂/∂yes = log σ(−x) − log σ(x) = −x, which leaves nothing for no = 1 − yes.
    yes, no, x = num.widen(*primals)
    yes_dot, _, x_dot = tangents
    p_yes, p_no = num.sigmoids(x)
    nats = logistic_cross_entropy(*primals)
    along_yes = yes_dot, lambda yes_dot: -num.finite_log(x) * yes_dot.astype(x.dtype)
    along_x = x_dot, lambda x_dot: (no * p_yes - yes * p_no) * x_dot.astype(x.dtype)
    return nats, ad.tangent_of(nats, along_yes, along_x)


# Events against probabilities.


@jax.custom_jvp
def event_cross_entropy(
    yes: Float[Array, "*batch"], no: Float[Array, "*batch"], q: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    # −yes log q − no log(1 − q)
    yes, no, q = num.widen(yes, no, q)
    return num.weigh(yes, -num.log(q)) + num.weigh(no, -num.log1m(q))


@functools.partial(event_cross_entropy.defjvp, symbolic_zeros=True)
def _event_cross_entropy_jvp(primals, tangents):
    # ∂/∂yes = −log(q / (1−q))  and  ∂/∂q = no / (1−q) − yes / q.
    yes, no, q = num.widen(*primals)
    yes_dot, _, q_dot = tangents
    nats = event_cross_entropy(*primals)
    by_yes, by_q = -num.log_odds(q), _slope_by_event((yes, q), no)
    along_yes = yes_dot, lambda yes_dot: by_yes * yes_dot.astype(q.dtype)
    along_q = q_dot, lambda q_dot: by_q * q_dot.astype(q.dtype)
    return nats, ad.tangent_of(nats, along_yes, along_q)


def _slope_by_event_plainly(yes, q):
    return (1 - yes) * num.reciprocal(1 - q) - yes * num.reciprocal(q)


@ad.with_derivatives_of(_slope_by_event_plainly)
def _slope_by_event(args, no):
    # (q − yes) / (q (1−q)), where nothing cancels; for yes = 0 or no = 0, one factor.
    yes, q = args
    slope = (q - yes) * num.reciprocal(q) * num.reciprocal(1 - q)
    slope = jnp.where(yes == 0, num.reciprocal(1 - q), slope)
    return jnp.where(no == 0, -num.reciprocal(q), slope)
