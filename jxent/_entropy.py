"""How uncertain is one distribution: `entropy` and `perplexity`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from . import _numerics as num, _softmax as sm
from ._distributions import (
    admit_density,
    BinaryLogits,
    BinaryProbs,
    DensityLike,
    Logits,
    Probs,
)


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
      [0.6931472  0.00246756]

    References:
      Shannon, "A Mathematical Theory of Communication", Bell System Technical Journal
      27, 1948, section 6.
    """
    p = admit_density(p, caller="entropy")
    match p:
        case Logits():
            nats = _softmax_entropy(p.data)
        case BinaryLogits():
            nats = _sigmoid_entropy(num.at_least_float32(p.data))
        case BinaryProbs():
            nats = _binary_entropy(num.at_least_float32(p.data))
        case Probs():
            nats = jnp.sum(_surprise(p.probs()), axis=-1)
        case _:
            log_p = p.log_probs()
            nats = jnp.sum(num.weigh(p.probs(), -log_p), axis=-1)
    return num.in_base(nats, base)


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
      >>> print(jxent.perplexity(jnp.full(6, 1 / 6)))
      6.0

    References:
      Jelinek, Mercer, Bahl and Baker, "Perplexity: a measure of the difficulty of speech
      recognition tasks", Journal of the Acoustical Society of America 62, 1977.
    """
    return jnp.exp(entropy(admit_density(p, caller="perplexity")))


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
    # ∂(−p log p − (1−p) log(1−p)) = log(1−p) − log p; tiny stands in for 0.
    (p,), (p_dot,) = primals, tangents
    slope = num.finite_log(num.log1m(p)) - num.finite_log(num.log(p))
    return _binary_entropy(p), slope * p_dot


@jax.custom_jvp
def _sigmoid_entropy(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    # Σ p (−log p) of the two events, whose logits are x and −x; at |x| = ∞ it is 0.
    far = jnp.abs(x)
    return num.softplus(-far) + num.weigh(num.sigmoid(-far), far)


@_sigmoid_entropy.defjvp
def _sigmoid_entropy_jvp(primals, tangents):
    # ∂H = −x p (1−p)
    (x,), (x_dot,) = primals, tangents
    slope = -num.weigh(num.sigmoid(x) * num.sigmoid(-x), x)
    return _sigmoid_entropy(x), slope * x_dot


@jax.custom_jvp
def _softmax_entropy(z: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
    # H = −log p_top + Σ pᵢ (top − zᵢ): no term is negative, so no digit is lost.
    z = num.at_least_float32(z)
    part = sm.partition(z)
    spread = num.weigh(sm.probabilities(z, part), part.top - z)
    return part.surprise[..., 0] + jnp.sum(spread, axis=-1)


@_softmax_entropy.defjvp
def _softmax_entropy_jvp(primals, tangents):
    # With p = softmax(z):  ∂pⱼ/∂zᵢ = pⱼ (δᵢⱼ − pᵢ),  hence  ∂H/∂zᵢ = −pᵢ (log pᵢ + H).
    (z,), (z_dot,) = primals, tangents
    h = _softmax_entropy(z)
    hints = sm.partition(num.at_least_float32(jax.lax.stop_gradient(z)))
    return h, num.along(z_dot, _entropy_slope, z, h, hints)


def _entropy_slope(z, h, hints):
    return _entropy_slope_at((num.at_least_float32(z), h), hints)


def _entropy_slope_plainly(z, h):
    return -num.weigh(sm.softmax(z), sm.log_softmax(z) + h[..., None])


@num.with_derivatives_of(_entropy_slope_plainly)
def _entropy_slope_at(args, part):
    z, h = args
    p, log_p = sm.probabilities(z, part), sm.log_probabilities(z, part)
    return -num.weigh(p, log_p + h[..., None])
