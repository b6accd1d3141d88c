"""How uncertain is one distribution: `entropy` and `perplexity`."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import _numerics as num, _softmax as sm, _streamed as streamed
from ._arguments import admit_density, DensityLike
from ._distributions import BinaryLogits, BinaryProbs, Density, Logits, Probs


def entropy(p: DensityLike, *, base: float | None = None) -> Float[Array, "*batch"]:
    """Shannon entropy, in nats.

        H(p) = Σᵢ pᵢ · (−log pᵢ)          sum over the last axis; 0 · log 0 = 0

    The expected surprise of one draw from `p`, and the least mean length of a code for
    such draws: 0 when the outcome is certain, `log k` when all `k` classes are equally
    likely.

    Args:
      p: One distribution per row. A plain float array means probabilities; rows are not
        renormalised. Confident distributions lose digits when they are stored as
        probabilities: where there are logits, pass `Logits(z)`.
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
    p = admit_density(p, caller="entropy")
    return num.in_base(_entropy(p), base)


@functools.partial(jax.jit, inline=True)
def _entropy(p: Density) -> Float[Array, "*batch"]:
    if streamed.takes(p):
        return streamed.entropy(p)
    match p:
        case Logits():
            return _softmax_entropy(p.data)
        case BinaryLogits():
            return _sigmoid_entropy(num.at_least_float32(p.data))
        case BinaryProbs():
            return _binary_entropy(num.at_least_float32(p.data))
        case Probs():
            return jnp.sum(_surprise(p.probs()), axis=-1)
    return jnp.sum(num.weigh(p.probs(), -p.log_probs()), axis=-1)


def perplexity(p: DensityLike) -> Float[Array, "*batch"]:
    """Perplexity: how many equally likely classes would be as uncertain.

        exp H(p)

    From 1, when the outcome is certain, to `k`, when all `k` classes are equally likely.
    A model's perplexity on data is `jnp.exp` of its mean cross-entropy in nats.

    Args:
      p: One distribution per row. A plain float array means probabilities.

    Returns:
      One number per row, in [1, k], whatever the base.

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
    return jnp.exp(_entropy(admit_density(p, caller="perplexity")))


@jax.custom_jvp
def _surprise(p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return num.weigh(p, -jnp.log(p))


@_surprise.defjvp
def _surprise_jvp(primals, tangents):
    # ∂(−p log p) = −1 − log p, infinite at p = 0; tiny stands in for 0.
    (p,), (p_dot,) = primals, tangents
    return _surprise(p), (-1 - num.log(jnp.maximum(p, num.tiny(p.dtype)))) * p_dot


@jax.custom_jvp
def _binary_entropy(p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return num.weigh(p, -jnp.log(p)) + num.weigh(1 - p, -jnp.log1p(-p))


@_binary_entropy.defjvp
def _binary_entropy_jvp(primals, tangents):
    # ∂(−p log p − (1−p) log(1−p)) = −log(p / (1−p)); tiny stands in for 0.
    (p,), (p_dot,) = primals, tangents
    return _binary_entropy(p), -num.log_odds(p) * p_dot


@jax.custom_jvp
def _sigmoid_entropy(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    # H = log(1 + e^−|x|) + |x| / (1 + e^|x|): the surprise of the likelier event, and
    # what the other one adds to it. No term is negative, so no digit is lost.
    _, unlikely = num.sigmoids(jnp.abs(x))
    return jnp.log1p(jnp.exp(-jnp.abs(x))) + num.weigh(unlikely, jnp.abs(x))


@_sigmoid_entropy.defjvp
def _sigmoid_entropy_jvp(primals, tangents):
    # ∂H = −x p (1−p)
    (x,), (x_dot,) = primals, tangents
    yes, no = num.sigmoids(x)
    return _sigmoid_entropy(x), -num.weigh(yes * no, x) * x_dot


@jax.custom_jvp
def _softmax_entropy(z: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
    return _softmax_value(num.at_least_float32(z))[0]


@_softmax_entropy.defjvp
def _softmax_entropy_jvp(primals, tangents):
    # With p = softmax(z):  ∂pⱼ/∂zᵢ = pⱼ (δᵢⱼ − pᵢ),  hence  ∂H/∂zᵢ = −pᵢ (log pᵢ + H).
    (z,), (z_dot,) = primals, tangents
    _, hints = _softmax_value(num.at_least_float32(jax.lax.stop_gradient(z)))
    return _softmax_entropy(z), num.along(z_dot, _softmax_slope, z, hints)


def _softmax_value(z):
    # H = −log p_top + Σ pᵢ (top − zᵢ): no term is negative, so no digit is lost.
    # The factor comes after the sum, since exp(−88) underflows, but 88 times it does not.
    part = sm.partition(z)
    terms = num.weigh(sm.below_top(z, part), part.top - z)
    spread = part.scale * jnp.sum(terms, axis=-1, keepdims=True)
    return (part.surprise + spread)[..., 0], (part, spread)


def _softmax_slope(z, hints):
    return _softmax_slope_at((num.at_least_float32(z),), hints)


def _softmax_slope_plainly(z):
    h = _softmax_entropy(z)[..., None]
    return -num.weigh(sm.softmax(z), sm.log_softmax(z) + h)


@num.with_derivatives_of(_softmax_slope_plainly)
def _softmax_slope_at(args, hints):
    # log pᵢ + H = (zᵢ − top) + Σ pⱼ (top − zⱼ), which is small near the uniform softmax.
    (z,), (part, spread) = args, hints
    return -num.weigh(sm.probabilities(z, part), (z - part.top) + spread)
