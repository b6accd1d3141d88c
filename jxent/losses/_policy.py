"""Policies: what an action cost, how random it was, how far the policy has moved."""

from typing import Literal

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from .. import checks
from .._core import arithmetic as num
from .._distributions.projection import LinearLogits
from .._kernels.streamed import ChoiceOf, SpreadOf
from .._measures import streamed
from .._measures.entropy import entropy
from ._arguments import as_where, spread, Where
from ._rows import expected, measured, rows_of
from ._tokens import cooler, tokens_of, without_rows


def log_prob_and_entropy(
    logits: Float[ArrayLike, "*batch k"] | LinearLogits,
    actions: Int[ArrayLike, "*batch"],
    *,
    where: Where = None,
    temperature: float = 1.0,
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
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
      temperature: What to divide the logits by: that at which the actions were sampled.

    Returns:
      Two numbers per row, the first ≤ 0, the second ≥ 0; float32 for half precision.

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
    caller = "log_prob_and_entropy"
    if isinstance(logits, LinearLogits):
        return _streamed(logits, actions, where, temperature, caller)
    rows = rows_of(
        logits,
        actions,
        -1,
        where,
        caller=caller,
        kinds="hard",
        temperature=temperature,
    )
    return rows.finish(-expected(rows)), rows.finish(measured(entropy, rows.q))


def _streamed(q: LinearLogits, actions, where, temperature, caller):
    q, y, kept = tokens_of(q, actions, where, None, caller, "actions")
    statistics = {"choice": ChoiceOf(), "spread": SpreadOf()}
    found = streamed.sums_of(cooler(q, temperature, caller), statistics, {"label": y})
    log_prob = -streamed.surprise_from(found["choice"], y, q.num_classes)
    h = found["spread"].entropy
    return without_rows(log_prob, kept), without_rows(h, kept)


def kl_from_samples(
    log_p: Float[ArrayLike, "*batch"],
    log_q: Float[ArrayLike, "*batch"],
    *,
    estimator: Literal["k1", "k2", "k3"] = "k3",
    log_b: Float[ArrayLike, "*batch"] | None = None,
    where: Where = None,
) -> Float[Array, "*batch"]:
    """Estimates KL(p ‖ q) from log-probabilities of samples, one number per sample.

        k1 = −r      k2 = r²/2      k3 = eʳ − 1 − r           r = log q − log p, x ~ p
        kᵢ · exp(log p − log b)                              with `log_b`, and x ~ b

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
      where: Which samples count; the others are 0. For the mean over tokens give it to
        `Mean.of` too.

    Returns:
      One number per sample; k2 and k3 are never negative. Float32 for half precision.

    Limits:
      At p = q all are 0, with the digits that r has; `q = 0` gives +∞.

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
    caller = "kl_from_samples"
    if estimator not in ("k1", "k2", "k3"):
        raise ValueError(f"{caller}: estimator is {estimator!r}, not k1, k2 or k3")
    if log_b is not None and estimator == "k2":
        raise ValueError(f"{caller}: k2 has no use for log_b; take k1 or k3")
    names = ("log_p", "log_q", "log_b")
    logs = [jnp.asarray(x) for x in (log_p, log_q, log_b) if x is not None]
    for x, name in zip(logs, names, strict=False):
        checks.check_float(x, name=name, caller=caller)
        if x.shape != logs[0].shape:
            shapes = f"log_p has shape {logs[0].shape}, {name} has shape {x.shape}"
            raise ValueError(f"{caller}: {shapes}")
    kept = None
    if where is not None:
        kept = spread(as_where(where, caller), logs[0].shape, "where", caller)
        logs = [jnp.where(kept, x, 0) for x in logs]
    p, q, *b = num.widen(*logs)

    r = q - p
    if estimator == "k1":
        k = -r
    elif estimator == "k2":
        k = r * r / 2
    else:
        near = jnp.abs(r) <= 1
        far = jnp.expm1(r) - r
        k = jnp.where(near, num.expm1_minus(jnp.clip(r, -1, 1)), far)
    k = k * jnp.exp(p - b[0]) if b else k
    return k if kept is None else jnp.where(kept, k, 0)
