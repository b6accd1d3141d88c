"""How uncertain is one distribution: `entropy` and `perplexity`."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num
from .._distributions.admit import admit_density, AnyDensity
from .._distributions.base import Model, Streamed
from .._distributions.binary import BinaryLogits, BinaryProbs
from .._distributions.discrete import Logits, Probs
from .._distributions.families import Family, meet
from .._kernels.entropy import softmax_entropy, surprise
from .._kernels.events import binary_entropy, sigmoid_entropy
from . import streamed


def entropy(p: AnyDensity, *, base: float | None = None) -> Float[Array, "*batch"]:
    """Shannon entropy, in nats.

        H(p) = Σᵢ pᵢ · (−log pᵢ)          sum over the last axis; 0 · log 0 = 0

    The expected surprise of one draw from `p`, and the least mean length of a code for
    such draws: 0 when the outcome is certain, `log k` when all `k` classes are equally
    likely.

    Args:
      p: One distribution per row. A plain float array means probabilities; rows are not
        renormalised. Confident distributions lose digits when they are stored as
        probabilities: where there are logits, pass `Logits(z)`. Of a family of numbers,
        such as `Normal`, it is the differential entropy −∫ p log p, which may be negative;
        of counts, such as `Poisson`, the sum.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per row, in [0, log k]. Half-precision input is computed and returned
      in float32; otherwise the dtype of `p`.

    Limits:
      An impossible class (`pᵢ = 0`, or a logit of −inf) adds 0, and the gradient of its
      logit is 0. The derivative by `pᵢ` itself is −1 − log pᵢ, and at 0 that of the
      smallest normal number, which is finite. A row of logits that are all −inf is not
      a distribution, and gives NaN.

    Raises:
      TypeError: If `p` is an integer array, or Labels.
      AssertionError: If a row is not a distribution (see `checks`).

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> print(jxent.entropy(jnp.array([0.5, 0.5])))
      0.6931472
      >>> z = jnp.array([[0.0, 0.0, -jnp.inf], [9.0, 0.0, 0.0]])
      >>> print(jxent.entropy(jxent.Logits(z)))
      [0.69314...  0.00246...]

    References:
      Shannon, "A Mathematical Theory of Communication", Bell System Technical Journal
      27, 1948, section 6.
    """
    p = admit_density(p, caller="entropy", families=True)
    return num.in_base(entropy_in_nats(p), base, "entropy")


@functools.partial(jax.jit, inline=True)
def entropy_in_nats(p: Model | Family) -> Float[Array, "*batch"]:
    """Entropy in nats, of a distribution that has been admitted."""
    match p:
        case Streamed():
            return streamed.entropy(p)
        case Family():
            return meet.entropy(p)
        case Logits():
            return softmax_entropy(p.data)
        case BinaryLogits():
            return sigmoid_entropy(num.at_least_float32(p.data))
        case BinaryProbs():
            return binary_entropy(num.at_least_float32(p.data))
        case Probs():
            return jnp.sum(surprise(p.probs()), axis=-1)
    return jnp.sum(num.weigh(p.probs(), -p.log_probs()), axis=-1)


def perplexity(p: AnyDensity) -> Float[Array, "*batch"]:
    """Perplexity: how many equally likely classes would be as uncertain.

        exp H(p)

    From 1, when the outcome is certain, to `k`, when all `k` classes are equally likely.
    A model's perplexity on data is `jnp.exp` of its mean cross-entropy in nats.

    Args:
      p: One distribution per row. A plain float array means probabilities. Of a density,
        such as `Normal`, this is the width of the interval that is as uncertain.

    Returns:
      One number per row, whatever the base: in [1, k] for k classes.

    Limits:
      Those of `entropy`.

    Raises:
      TypeError, AssertionError: As `entropy`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> print(jxent.perplexity(jnp.full(4, 1 / 4)))
      4.0

    References:
      Jelinek, Mercer, Bahl and Baker, "Perplexity: a measure of the difficulty of speech
      recognition tasks", Journal of the Acoustical Society of America 62, 1977.
    """
    return jnp.exp(
        entropy_in_nats(admit_density(p, caller="perplexity", families=True))
    )
