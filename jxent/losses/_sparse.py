"""Fenchel-Young losses, and the sparse relatives of softmax that they train."""

import functools
from collections.abc import Callable
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from .. import checks
from .._core import arithmetic as num, meshes as mesh
from .._kernels import softmax as sm
from ._arguments import common_batch, FloatLike, TargetLike
from ._counts import Counts, events
from ._options import loss, R, Rowwise
from ._rows import rows_of


def make_fenchel_young_loss(
    max_fun: Callable[..., Any],
) -> Callable[..., Float[Array, "*batch"]]:
    """The loss whose gradient is the gradient of `max_fun`, minus the targets.

        L(x, t) = Ω*(x) − ⟨x, t⟩,     Ω*(x) = max ⟨x, p⟩ − Ω(p) over distributions p

    −Ω is an entropy: Shannon's gives logsumexp, softmax and cross-entropy, Tsallis's of
    order 2 gives sparsemax. Ω(t), which does not depend on x, is left out: for one-hot
    targets it is 0.

    Args:
      max_fun: Ω*, from one row of scores to a number.

    Returns:
      `loss(scores, targets, *args, **kwargs)`, over the last axis, one number per row, or
      what `reduction` and `weights` make of them; what is left of the arguments goes to
      `max_fun`. Half precision is widened first.

    Limits:
      A score of −inf costs nothing where its target is 0, if `max_fun` can take it.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> loss = losses.make_fenchel_young_loss(jax.nn.logsumexp)
      >>> print(loss(jnp.array([2.0, 0.0, 1.0]), jnp.array([0.0, 1.0, 0.0])))
      2.4076061

    References:
      Blondel, Martins and Niculae, "Learning with Fenchel-Young Losses", Journal of
      Machine Learning Research 21, 2020, section 3.
    """

    def fenchel_young_loss(
        scores, targets, *args, weights=None, reduction=None, **kwargs
    ):
        x, t = jnp.asarray(scores), jnp.asarray(targets)
        caller = "fenchel_young_loss"
        checks.check_float(x, name="scores", caller=caller)
        checks.check_float(t, name="targets", caller=caller)
        checks.check_class_axis(x, name="scores", caller=caller)
        shapes = f"scores have shape {x.shape}, targets have shape {t.shape}"
        if t.shape[-1:] != x.shape[-1:]:
            raise ValueError(f"{caller}: the class axes differ: {shapes}")
        batch = common_batch(x.shape[:-1], t.shape[:-1], caller, shapes)
        x, t = (jnp.broadcast_to(a, (*batch, a.shape[-1])) for a in num.widen(x, t))
        of_row = jnp.vectorize(
            lambda x: max_fun(x, *args, **kwargs), signature="(n)->()"
        )
        losses = of_row(x) - jnp.sum(num.weigh(t, x), axis=-1)
        return Counts.of(None, weights, batch, caller).reduce(losses, reduction)

    return fenchel_young_loss


def sparsemax(scores: Float[ArrayLike, "*batch k"]) -> Float[Array, "*batch k"]:
    """The distribution nearest to the scores: softmax with exact zeros.

        argmin |p − x|²  over distributions p = max(x − τ, 0)             last axis

    Args:
      scores: One number per class. −inf is an impossible class.

    Returns:
      Probabilities; float32 for half precision.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> print(losses.sparsemax(jnp.array([1.0, 0.5, -1.0])))
      [0.75 0.25 0.  ]

    References:
      Martins and Astudillo, "From Softmax to Sparsemax", ICML 2016, section 2.
    """
    return _entmax(_scores(scores, "sparsemax"), 2.0)


def entmax15(scores: Float[ArrayLike, "*batch k"]) -> Float[Array, "*batch k"]:
    """Between softmax and sparsemax: exact zeros, and smooth where it is not zero.

        p = max(x/2 − τ, 0)²                                               last axis

    Args:
      scores: One number per class. −inf is an impossible class.

    Returns:
      Probabilities; float32 for half precision.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> print([f"{p:.2f}" for p in losses.entmax15(jnp.array([0.4, 0.0, -1.5]))])
      ['0.64', '0.36', '0.00']

    References:
      Peters, Niculae and Martins, "Sparse Sequence-to-Sequence Models", ACL 2019,
      section 3.
    """
    return _entmax(_scores(scores, "entmax15"), 1.5)


@loss
def multiclass_sparsemax_loss(
    scores: FloatLike, labels: Int[ArrayLike, "*batch"], **options: Unpack[Rowwise[R]]
) -> R:
    """Fenchel-Young loss of sparsemax: exactly 0 once the label leads by 1.

        ⟨p − e_y, x⟩ + ½ Σᵢ pᵢ (1 − pᵢ),   p = sparsemax(x)               last axis

    Args:
      scores: Predictions. −inf is an impossible class.
      labels: The index of each row's class.
      options: As for `softmax_cross_entropy_with_integer_labels`.

    Returns:
      One number per row, in [0, ∞], or what `reduction` makes of them; float32 for half
      precision.

    Limits:
      The gradient is p − e_y. A label out of range gives NaN.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> scores = jnp.array([[1.0, 0.5, -1.0], [1.0, 0.0, 0.0]])
      >>> print(losses.multiclass_sparsemax_loss(scores, jnp.array([0, 0])))
      [0.0625 0.    ]

    References:
      Martins and Astudillo, "From Softmax to Sparsemax", ICML 2016, section 3.
    """
    caller = "multiclass_sparsemax_loss"
    return _entmax_loss(scores, labels, 2.0, caller=caller, **options)


@loss
def multiclass_entmax15_loss(
    scores: FloatLike, labels: Int[ArrayLike, "*batch"], **options: Unpack[Rowwise[R]]
) -> R:
    """Fenchel-Young loss of entmax-1.5: exactly 0 once the label leads by 2.

        ⟨p − e_y, x⟩ + 4/3 Σᵢ pᵢ (1 − √pᵢ),   p = entmax15(x)             last axis

    Args:
      scores: Predictions. −inf is an impossible class.
      labels: The index of each row's class.
      options: As for `softmax_cross_entropy_with_integer_labels`.

    Returns:
      One number per row, in [0, ∞], or what `reduction` makes of them; float32 for half
      precision.

    Limits:
      The gradient is p − e_y. A label out of range gives NaN.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> scores = jnp.array([[2.0, 2.0, -1.0], [2.0, 0.0, 0.0]])
      >>> print(losses.multiclass_entmax15_loss(scores, jnp.array([0, 0])))
      [0.3905... 0.    ]

    References:
      Peters, Niculae and Martins, "Sparse Sequence-to-Sequence Models", ACL 2019,
      section 3.
    """
    caller = "multiclass_entmax15_loss"
    return _entmax_loss(scores, labels, 1.5, caller=caller, **options)


@loss
def sparsemax_loss(
    logits: FloatLike, labels: TargetLike, **options: Unpack[Rowwise[R]]
) -> R:
    """Fenchel-Young loss of sparsemax for one event: exactly 0 beyond a margin of 1.

        max(0, ¼ (1 − m)²) for |m| ≤ 1, max(0, −m) beyond,   m = x if y = 1 else −x

    `multiclass_sparsemax_loss` of the two classes [0, x].

    Args:
      logits: Predictions, one number per event.
      labels: 0 or 1. One of the two shapes must be the other's after broadcasting.
      options: As for `sigmoid_binary_cross_entropy`.

    Returns:
      One number per event, in [0, ∞], or what `reduction` makes of them; float32 for half
      precision.

    Limits:
      An infinite logit costs 0 or +∞, with slope 0 or ±1. A label that is neither 0 nor 1
      gives NaN, in value and gradient.

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> print(losses.sparsemax_loss(jnp.array([2.0, 0.0, -2.0]), jnp.array([1, 1, 1])))
      [0.   0.25 2.  ]

    References:
      Blondel, Martins and Niculae, "Learning with Fenchel-Young Losses", Journal of
      Machine Learning Research 21, 2020, section 4.4.
    """
    caller = "sparsemax_loss"
    x, y, counts, reduction = events(logits, labels, caller=caller, **options)
    x, y = num.widen(x, y)
    text = f"{caller}: a label is {{}}, neither 0 nor 1"
    checks.demand(_between, text, y)
    y = jnp.where((y == 0) | (y == 1), y, jnp.nan)
    return counts.reduce(_sparse_plus((1 - 2 * y) * x), reduction)


def _between(y):
    wrong = (y != 0) & (y != 1)
    return jnp.any(wrong), jnp.max(jnp.where(wrong, y, -jnp.inf), initial=-jnp.inf)


@jax.custom_jvp
def _sparse_plus(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    inside = (jnp.clip(x, -1, 1) + 1) ** 2 / 4
    return jnp.where(x > 1, x, inside)


@_sparse_plus.defjvp
def _sparse_plus_jvp(primals, tangents):
    # ∂ = (x + 1) / 2 between −1 and 1, and there alone is it curved.
    (x,), (x_dot,) = primals, tangents
    inside = (x > -1) & (x < 1)
    slope = jnp.where(inside, (jnp.where(inside, x, 0) + 1) / 2, jnp.where(x > 0, 1, 0))
    slope = jnp.where(jnp.isnan(x), jnp.nan, slope.astype(x.dtype))
    return _sparse_plus(x), slope * x_dot


def _scores(scores, caller):
    x = jnp.asarray(scores)
    checks.assert_logits(x, name="scores", caller=caller)
    return num.at_least_float32(x)


def _entmax_loss(scores, labels, alpha, *, where, **options):
    rows = rows_of(scores, labels, -1, where, kinds="hard", **options)
    x = num.at_least_float32(rows.q.data)
    return rows.finish(_fenchel_young(x, rows.p.data, alpha))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _fenchel_young(
    x: Float[Array, "*batch k"], y: Int[Array, "*batch"], alpha: float
) -> Float[Array, "*batch"]:
    # Ω(p) = −Σ (p − p^α) / (α (α − 1)), Tsallis's entropy of order α over α, is 0 at e_y.
    valid = (0 <= y) & (y < x.shape[-1])
    x_y = mesh.pick(x, jnp.where(valid, y, 0)[..., None])
    p = _entmax(x, alpha)
    tsallis = jnp.sum(p * (1 - p ** (alpha - 1)), axis=-1) / (alpha * (alpha - 1))
    loss = jnp.sum(num.weigh(p, x - x_y), axis=-1) + tsallis
    # It is not negative, but by the rounding of its two terms.
    return jnp.where(valid, jnp.maximum(loss, 0), jnp.nan)


@_fenchel_young.defjvp
def _fenchel_young_jvp(alpha, primals, tangents):
    # p is a maximum, so that ∂Ω* = p (Danskin), and ∂L = p − e_y.
    (x, y), (x_dot, _) = primals, tangents
    valid = ((0 <= y) & (y < x.shape[-1]))[..., None]
    slope = _entmax(x, alpha) - sm.at_class(y, x).astype(x.dtype)
    slope = jnp.where(valid, slope, jnp.nan)
    return _fenchel_young(x, y, alpha), jnp.sum(slope * x_dot, axis=-1)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _entmax(x: Float[Array, "*batch k"], alpha: float) -> Float[Array, "*batch k"]:
    project = functools.partial(_projection, alpha)
    return mesh.partitioned(project, x, out=mesh.layout(x))


@_entmax.defjvp
def _entmax_jvp(alpha, primals, tangents):
    # ∂pᵢ = sᵢ (ẋᵢ − Σ s ẋ / Σ s) with s = p^(2 − α), and 0 where p is.
    (x,), (x_dot,) = primals, tangents
    p = _entmax(x, alpha)
    s = (p > 0).astype(p.dtype) if alpha == 2 else jnp.sqrt(p)
    centre = jnp.sum(s * x_dot, axis=-1, keepdims=True)
    return p, s * (x_dot - centre / jnp.sum(s, axis=-1, keepdims=True))


def _projection(alpha: float, x: Float[Array, "*batch k"]) -> Float[Array, "*batch k"]:
    # p = max(u − τ, 0)^(1 / (α − 1)) with u = (α − 1) x, for α = 2 or 3/2. Scores more
    # than 1 below the leader have p = 0, so that u may as well end there, −inf too.
    u = (alpha - 1) * (x - jnp.max(x, axis=-1, keepdims=True))
    u = jnp.maximum(u, -1)
    # Among the j largest, τ would be the root of Σ (uᵢ − τ)^(1 / (α − 1)) = 1. The support
    # is as large as it can be with τ below all of it.
    top = -jnp.sort(-u, axis=-1)
    j = jnp.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    j = jnp.broadcast_to(j, x.shape)
    mean = jnp.cumsum(top, axis=-1) / j
    if alpha == 2:
        tau = mean - 1 / j
    else:
        spread = jnp.cumsum(top * top, axis=-1) - j * mean * mean
        tau = mean - jnp.sqrt(jnp.maximum(1 - spread, 0) / j)
    size = jnp.sum(tau <= top, axis=-1, keepdims=True)
    tau = jnp.take_along_axis(tau, size - 1, axis=-1)
    p = jnp.maximum(u - tau, 0)
    return p if alpha == 2 else p * p
