"""Policies: what an action cost, how random it was, how far the policy has moved."""

import functools
from typing import Annotated, Any, Generic, Literal, NamedTuple, Unpack

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from .. import checks
from .._core import arithmetic as num
from .._core.shapes import as_array
from .._distributions.projection import LinearLogits
from .._kernels.streamed import ChoiceOf, SpreadOf
from .._measures import streamed
from .._measures.entropy import entropy_in_nats
from ._arguments import as_where, spread
from ._counts import Counts
from ._options import loss, Number, Option, R, Reduced, Where
from ._rows import expected, rows_of
from ._tokens import temper, tokens_of


class Tempered(Reduced[R], Generic[R], total=False):
    """temperature: What to divide the logits by; one number, or one for each row."""

    temperature: Annotated[
        Number | Float[ArrayLike, "..."], Option(1.0, "(0, inf)", per_row=True)
    ]


class Clipped(Reduced[R], Generic[R], total=False):
    """clip: The bound of |log q − log p| and of |log p − log b|; None for none."""

    clip: Annotated[Number | None, Option(None, "(0, inf)")]


class Policy(NamedTuple, Generic[R]):
    """Of the actions taken: the log-probability, and the entropy of the policy."""

    log_prob: R
    entropy: R


@loss
def log_prob_and_entropy(
    logits: Float[ArrayLike, "*batch k"] | LinearLogits,
    actions: Int[ArrayLike, "*batch"],
    *,
    where: Where = None,
    **options: Unpack[Tempered[R]],
) -> Policy[R]:
    """Log-probability of the actions taken, and the entropy of the policy, in nats.

        log p_a   and   −Σᵢ pᵢ log pᵢ,   p = softmax(x)                 over the last axis

    What a policy gradient and its entropy bonus are made of.

    Args:
      logits: The policy. An illegal action has logit −inf. A policy over tokens may stay
        `LinearLogits(hidden, weight)`: both numbers then come from one pass, without an
        array of logits.
      actions: The index of each row's action, or token.
      where: Which rows count, of the batch's shape: the others are 0, as padding should
        be. Or which actions are legal, of the logits' shape.
      temperature: What to divide the logits by: that at which the actions were sampled;
        one number, or one for each row.
      weights, reduction: As for `softmax_cross_entropy_with_integer_labels`, of both.

    Returns:
      A named tuple `(log_prob, entropy)`: two numbers per row, the first ≤ 0, the second
      ≥ 0, or what `reduction` makes of them; float32 for half precision.

    Limits:
      An illegal action adds nothing to the entropy, and its logit has gradient 0; its
      log-probability is −∞. An action outside of [0, k) gives NaN in the first.

    Raises:
      TypeError: If `actions` is not an integer array, or `where` is not boolean.
      ValueError: If shapes do not match, or `temperature` is not positive.
      AssertionError: If a row of logits has no softmax, or an action no class.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> logits = jnp.array([0.0, 0.0, -jnp.inf])
      >>> log_prob, entropy = losses.log_prob_and_entropy(logits, jnp.array(1))
      >>> print(log_prob, entropy)
      -0.6931472 0.6931472
    """
    given: Any = options
    caller, temperature = "log_prob_and_entropy", given["temperature"]
    if isinstance(logits, LinearLogits):
        q, y, counts = tokens_of(
            logits, actions, where, None, caller, "actions", given["weights"]
        )
        statistics = {"choice": ChoiceOf(), "spread": SpreadOf()}
        found = streamed.sums_of(temper(q, temperature), statistics, {"label": y})
        log_prob = -streamed.surprise_from(found["choice"], y, q.num_classes)
        both = log_prob, found["spread"].entropy
    else:
        rows = rows_of(
            logits,
            actions,
            -1,
            where,
            caller=caller,
            kinds="hard",
            names=("logits", "actions"),
            **options,
        )
        both, counts = (-expected(rows), entropy_in_nats(rows.q)), rows.counts
    return Policy(*(counts.reduce(x, given["reduction"]) for x in both))


@loss
def kl_from_samples(
    log_p: Float[ArrayLike, "*batch"],
    log_q: Float[ArrayLike, "*batch"],
    *,
    estimator: Literal["k1", "k2", "k3"] = "k3",
    log_b: Float[ArrayLike, "*batch"] | None = None,
    where: Where = None,
    **options: Unpack[Clipped[R]],
) -> R:
    """Estimates KL(p ‖ q) from log-probabilities of samples, one number per sample.

        k1 = −r      k2 = r²/2      k3 = eʳ − 1 − r           r = log q − log p, x ~ p
        kᵢ · exp(log p − log b)                              with `log_b`, and x ~ b
        r clipped to [−c, c], c = clip                       with `clip`

    The mean of k1 and k3 is the divergence; k1 varies most, and may be negative. k2 is
    biased, by little where p and q are near. As a *loss*, differentiated by the
    parameters of p, they do something else, since the samples do not move with them:

    - k1: its gradient is 0 on average. It trains nothing.
    - k2: the gradient of KL(p ‖ q), without bias.
    - k3: the gradient of KL(q ‖ p), the divergence the other way round.

    With `log_b` the estimate of k1 and k3, and its gradient as well, are those of
    KL(p ‖ q), without bias, and the samples may come from an older policy b. For samples
    from p itself that is `log_b=jax.lax.stop_gradient(log_p)`: the same values as
    without, with the right gradient.

    Args:
      log_p: log p(x), of the policy that is trained.
      log_q: log q(x), of the reference.
      estimator: Which of the three.
      log_b: log b(x), of the policy that the samples came from.
      clip: The bound c > 0 of |r|, and of |log p − log b|, which keeps one token from
        ruling the batch. Beyond it the sample's estimate is constant, and its gradient 0,
        as where PPO clips a ratio; exactly at it, the gradient is that of the inside.
      where: Which samples count; the others are 0.
      weights, reduction: As for `softmax_cross_entropy_with_integer_labels`.

    Returns:
      One number per sample, or what `reduction` makes of them; k2 and k3 are never
      negative. Float32 for half precision.

    Limits:
      At p = q all are 0, with the digits that r has; `q = 0` gives +∞. With `log_b`, a
      sample that p all but excludes counts p/b · (q/p − 1 − r) → q/b, without an overflow
      on the way, and so does one of p = 0; k1 is 0 there.

    Raises:
      ValueError: If shapes differ, the estimator is none of these, or k2 has a `log_b`,
        with which it would estimate nothing in particular.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jxent import losses
      >>> log_p, log_q = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.75, 0.25]))
      >>> print(losses.kl_from_samples(log_p, log_q).mean())  # each outcome came up once
      0.14384103

    References:
      Schulman, "Approximating KL Divergence", 2020.
    """
    given: Any = options
    caller, clip = "kl_from_samples", given["clip"]
    if estimator not in ("k1", "k2", "k3"):
        raise ValueError(f"{caller}: estimator is {estimator!r}, not k1, k2 or k3")
    if log_b is not None and estimator == "k2":
        raise ValueError(f"{caller}: k2 has no use for log_b; take k1 or k3")
    names = ("log_p", "log_q", "log_b")
    samples = (log_p, log_q) if log_b is None else (log_p, log_q, log_b)
    logs = [as_array(x, name, caller) for x, name in zip(samples, names, strict=False)]
    for x, name in zip(logs, names, strict=False):
        checks.check_float(x, name=name, caller=caller)
        if x.shape != logs[0].shape:
            shapes = f"log_p has shape {logs[0].shape}, {name} has shape {x.shape}"
            raise ValueError(f"{caller}: {shapes}")
    shape, kept = logs[0].shape, None
    if where is not None:
        kept = spread(as_where(where, caller), shape, "where", caller)
    bad = None
    if given["weights"] is not None:
        bad = jnp.any(jnp.stack([jnp.isnan(x) for x in logs]), axis=0)
    counts = Counts.of(kept, given["weights"], shape, caller, bad)
    losses = _estimate(estimator, clip, *map(counts.only, logs))
    return counts.reduce(losses, given["reduction"])


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _estimate(estimator: str, clip: Any, *logs: Array) -> Float[Array, "*batch"]:
    p, q, *b = num.widen(*logs)
    r = _clipped(_gap(q, p), clip)
    log_ratio = _clipped(_gap(p, b[0]), clip) if b else jnp.zeros_like(r)
    if estimator == "k1":
        return num.weigh(jnp.exp(log_ratio), -r)
    if estimator == "k2":
        return r * r / 2
    # log(q/b) without p, which may be 0.
    direct = b and clip is None
    return _k3(r, log_ratio, _gap(q, b[0]) if direct else r + log_ratio)


def _gap(a: Array, b: Array) -> Array:
    """`a − b`, and 0 where both are −∞."""
    neither = (a == -jnp.inf) & (b == -jnp.inf)
    return jnp.where(neither, 0, a - jnp.where(neither, 0, b))


def _clipped(r: Array, clip: Any) -> Array:
    """`r` in [−clip, clip]; its slope is 1 there, ends included, and 0 beyond."""
    if clip is None:
        return r
    clip = jnp.asarray(clip, r.dtype)
    return jnp.where(jnp.abs(r) <= clip, r, jnp.sign(r) * clip)


@jax.custom_jvp
def _k3(r: Array, log_w: Array, log_rest: Array) -> Float[Array, "*batch"]:
    """`(eʳ − 1 − r) w`, of r = log(q/p), log w = log(p/b), log_rest = log(q/b)."""
    # eʳ w is q/b, one exponential: eʳ may overflow where w underflows.
    w = jnp.exp(log_w)
    near = num.expm1_minus(jnp.clip(r, -1, 1)) * w
    far = jnp.exp(log_rest) - w - num.weigh(w, r)
    return jnp.where(jnp.abs(r) <= 1, near, far)


@_k3.defjvp
def _k3_jvp(primals, tangents):
    # With the value (q − p) / b − w r, and ∂ log(q/b) = ∂r + ∂ log w:
    #     ∂ = (q − p) / b ∂ log(q/b) − w r ∂ log w
    (r, log_w, log_rest), (_, w_dot, rest_dot) = primals, tangents
    w = jnp.exp(log_w)
    difference = jnp.where(jnp.abs(r) <= 1, jnp.expm1(r) * w, jnp.exp(log_rest) - w)
    slope = num.weigh(w, num.finite_log(r))
    return _k3(r, log_w, log_rest), difference * rest_dot - slope * w_dot
