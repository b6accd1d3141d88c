"""What it costs to code one distribution with a code built for another."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num
from .._distributions.admit import admit_pair, AnyDensity, AnyDistribution
from .._distributions.base import Distribution, Model, Streamed
from .._distributions.binary import BinaryLogits, BinaryProbs
from .._distributions.discrete import Labels, Logits, Probs
from .._distributions.families import Family, meet
from .._kernels.events import event_cross_entropy, logistic_cross_entropy
from .._kernels.label_loss import label_cross_entropy, log_loss
from .._kernels.soft_loss import soft_cross_entropy, softmax_cross_entropy
from . import streamed


def cross_entropy(
    p: AnyDistribution, q: AnyDensity, *, base: float | None = None
) -> Float[Array, "*batch"]:
    """Cross-entropy of `q` relative to the truth `p`, in nats.

        H(p, q) = Σᵢ pᵢ · (−log qᵢ) = H(p) + KL(p ‖ q)       sum over the last axis

    The mean length of the messages when events drawn from `p` are coded with a code
    built for `q`: never less than the entropy H(p), and equal only if `p = q`. When `p`
    is `Labels(y)` it is −log q of the true class: log loss, whose mean is the negative
    log-likelihood. `BinaryProbs` and `BinaryLogits` give binary cross-entropy, one number
    per event.

    Args:
      p: The truth. A plain float array means probabilities, soft targets; class indices
        are `Labels(y)`, and numbers that were observed `Observed(x)`.
      q: The model. A plain float array means probabilities; a network's output is
        `Logits(z)`, or `BinaryLogits(x)` for one event each. A family, such as `Normal`,
        takes observations, whose cost is −log q(x), or its own kind.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per row, in [H(p), ∞]. Half-precision input is computed and returned in
      float32; otherwise the wider dtype of the two. Nothing is renormalised.

    Limits:
      `pᵢ = 0` adds 0, whatever `qᵢ` is. `qᵢ = 0 < pᵢ` gives +∞. The gradient of a logit of
      −inf is 0 where `pᵢ = 0`, and that of a confidently right label is −(1 − q_y), never
      rounded to 0. The derivative by `pᵢ` is −log qᵢ, and at `qᵢ = 0` that of the smallest
      normal number. A label outside of [0, k) gives NaN, in value and gradient, and so
      does a row of logits that are all −inf.

    Raises:
      TypeError: If `q` is Labels, labels are not integer or probabilities are, or only
        one of the two has a class axis.
      ValueError: If class axes differ, or batch axes do not broadcast, or if labels or
        events of shape (n, 1) meet a batch of n.
      AssertionError: If a row is not a distribution (see `checks`).

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p = jnp.array([0.5, 0.25, 0.25])
      >>> print(jxent.cross_entropy(p, p, base=2), jxent.cross_entropy(p, p[::-1], base=2))
      1.5 1.75
      >>> z = jnp.array([[9.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
      >>> print(jxent.cross_entropy(jxent.Labels(jnp.array([0, 1])), jxent.Logits(z)))
      [2.467...e-04 9.000...e+00]

    References:
      Good, "Some Terminology and Notation in Information Theory", Proceedings of the IEE
      103C, 1956. Cover and Thomas, "Elements of Information Theory", 2006, section 5.4.
    """
    p, q = admit_pair(p, q, caller="cross_entropy", families=True)
    return num.in_base(cross_entropy_in_nats(p, q), base, "cross_entropy")


@functools.partial(jax.jit, inline=True)
def cross_entropy_in_nats(p: Any, q: Model | Family) -> Float[Array, "*batch"]:
    """Cross-entropy in nats, of distributions that have been admitted."""
    match p, q:
        case _, Family():
            return meet.cross_entropy(p, q)
        case (Streamed(), _) | (_, Streamed()):
            return streamed.cross_entropy(p, q)
        case Labels(), Logits():
            return label_cross_entropy(q.data, p.data, p.smoothing)
        case _, BinaryLogits():
            return logistic_cross_entropy(*_two_sides(p, q.data.dtype), q.data)
        case _, BinaryProbs():
            return event_cross_entropy(*_two_sides(p, q.data.dtype), q.data)
        case Labels(), _:
            log_q = q.log_probs()
            return log_loss(log_q, p.data, p.share(log_q.dtype))
        case Logits(), Logits():
            return softmax_cross_entropy(p.data, q.data)
        case Probs(), Logits():
            return soft_cross_entropy(p.data, q.data)
        case _, Logits():
            return soft_cross_entropy(p.among(q).probs(), q.data)
    probs, log_q = num.widen(p.among(q).probs(), q.log_probs())
    return jnp.sum(num.weigh(probs, -log_q), axis=-1)


def _two_sides(p: Distribution, dtype) -> tuple[Array, Array]:
    """The probabilities of an event and of its opposite, each with all of its digits."""
    match p:
        case Labels():
            dtype = num.accumulator(dtype)
            y, s = p.data, p.share(dtype)
            zero, one = y == 0, y == 1
            valid = jnp.where(zero | one, 1, jnp.nan).astype(dtype)
            sides = jnp.where(one, 1 - s / 2, s / 2), jnp.where(zero, 1 - s / 2, s / 2)
            return sides[0] * valid, sides[1] * valid
        case BinaryLogits():
            return num.sigmoids(num.at_least_float32(p.data))
        case _:
            yes = num.at_least_float32(p.data)
            return yes, 1 - yes
