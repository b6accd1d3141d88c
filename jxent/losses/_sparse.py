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
from .._core.domains import Outcomes
from .._core.shapes import as_array
from .._core.verdicts import Claim, look
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
        caller = "make_fenchel_young_loss"
        x = as_array(scores, "scores", caller)
        t = as_array(targets, "targets", caller)
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
    look(y, Claim(Outcomes(), "labels", caller))
    y = jnp.where((y == 0) | (y == 1), y, jnp.nan)
    return counts.reduce(_sparse_plus((1 - 2 * y) * x), reduction)


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
    x = as_array(scores, "scores", caller)
    checks.assert_logits(x, name="scores", caller=caller)
    return num.at_least_float32(x)


def _entmax_loss(scores, labels, alpha, *, where, **options):
    names = "scores", "labels"
    rows = rows_of(scores, labels, -1, where, kinds="hard", names=names, **options)
    x = num.at_least_float32(rows.q.data)
    return rows.finish(_compiled_loss(x, rows.p.data, alpha))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _fenchel_young(
    x: Float[Array, "*batch k"], y: Int[Array, "*batch"], alpha: float
) -> Float[Array, "*batch"]:
    # Ω(p) = Σ (p^α − p) / (α (α − 1)), the negative of Tsallis's entropy over α, has
    # ∇Ω(p) = (u − τ) / (α − 1) on the support of p. So, of Bregman's divergence D of Ω,
    #     L = D(e_y ‖ p) + ⟨e_y − p, ∇Ω(p) − x⟩ = D(e_y ‖ p) + max(τ − u_y, 0) / (α − 1),
    # in which no term is negative, nor is anything subtracted from 1: 1 − p_y is Σ pⱼ over
    # the others.
    valid = (0 <= y) & (y < x.shape[-1])
    x_y = mesh.pick(x, jnp.where(valid, y, 0)[..., None])[..., 0]
    root, label = _root(x, alpha), sm.at_class(y, x)
    p, top = _power(root, alpha), jnp.max(x, axis=-1)
    miss = jnp.sum(jnp.where(label, 0, p), axis=-1)
    tau, u_y = -jnp.max(root, axis=-1), (alpha - 1) * (x_y - top)
    outside = jnp.maximum(tau - u_y, 0) / (alpha - 1)
    if alpha == 2:
        others, own = p * p / 2, miss * miss / 2
    else:
        r = jnp.sqrt(jnp.sum(jnp.where(label, p, 0), axis=-1))
        others, own = 2 / 3 * p * root, 2 / 3 * (miss / (1 + r)) ** 2 * (r + 2)
    loss = jnp.sum(jnp.where(label, 0, others), axis=-1) + own + outside
    return jnp.where(valid, loss, jnp.nan)


@_fenchel_young.defjvp
def _fenchel_young_jvp(alpha, primals, tangents):
    # p is a maximum, so that ∂Ω* = p (Danskin), and ∂L = p − e_y, whose entry at y is the
    # negative of what the others have.
    (x, y), (x_dot, _) = primals, tangents
    valid, label = ((0 <= y) & (y < x.shape[-1]))[..., None], sm.at_class(y, x)
    others = jnp.where(label, 0, _entmax(x, alpha))
    slope = jnp.where(label, -jnp.sum(others, axis=-1, keepdims=True), others)
    slope = jnp.where(valid, slope, jnp.nan)
    return _fenchel_young(x, y, alpha), jnp.sum(slope * x_dot, axis=-1)


# One step of an eager call.
_compiled_loss = jax.jit(_fenchel_young, static_argnums=2, inline=True)


@functools.partial(jax.jit, static_argnums=1, inline=True)
def _entmax(x: Float[Array, "*batch k"], alpha: float) -> Float[Array, "*batch k"]:
    return _power(_root(x, alpha), alpha)


def _power(root: Array, alpha: float) -> Array:
    return root if alpha == 2 else root * root


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _root(x: Float[Array, "*batch k"], alpha: float) -> Float[Array, "*batch k"]:
    """`p^(α − 1)`, which is `max(u − τ, 0)` with u = (α − 1) x."""
    project = functools.partial(_above_threshold, alpha)
    return mesh.partitioned(project, x, out=mesh.layout(x))


@_root.defjvp
def _root_jvp(alpha, primals, tangents):
    # Σ p = 1 fixes τ: on the support, ∂ root = (α − 1) (ẋ − Σ s ẋ / Σ s), s = p^(2 − α).
    # Of the root, and not of p, it has no power that is infinite where p is 0.
    (x,), (x_dot,) = primals, tangents
    root = _root(x, alpha)
    support = root > 0
    s = support.astype(root.dtype) if alpha == 2 else root
    centre = jnp.sum(s * x_dot, -1, keepdims=True) / jnp.sum(s, -1, keepdims=True)
    return root, jnp.where(support, (alpha - 1) * (x_dot - centre), 0)


def _above_threshold(alpha, x: Float[Array, "*batch k"]) -> Float[Array, "*batch k"]:
    # Scores more than 1 below the leader have p = 0, so u may as well end there, −inf too.
    u = (alpha - 1) * (x - jnp.max(x, axis=-1, keepdims=True))
    u = jnp.maximum(u, -1)
    # A class is in the support if the classes above it, seen from it, have less than 1:
    #     Aⱼ = Σ (uᵢ − uⱼ) < 1  for α = 2,      Bⱼ = Σ (uᵢ − uⱼ)² < 1  for α = 3/2.
    # From class to class they grow by gaps between neighbours: no term is negative, and at
    # a tie of numbers with few digits the sums are exact.
    top = -jnp.sort(-u, axis=-1)
    gap, above = top[..., :-1] - top[..., 1:], jnp.arange(1, x.shape[-1], dtype=x.dtype)
    first = jnp.zeros_like(top[..., :1])
    step = gap * jnp.broadcast_to(above, gap.shape)
    # The 0 in front is added up too, for an export may have a symbol for the classes.
    a = jnp.cumsum(jnp.concatenate([first, step], axis=-1), axis=-1)
    b = a
    if alpha != 2:
        step = gap * (2 * a[..., :-1] + step)
        b = jnp.cumsum(jnp.concatenate([first, step], axis=-1), axis=-1)
    size = jnp.sum(b < 1, axis=-1, keepdims=True)
    last, a, b = (jnp.take_along_axis(y, size - 1, axis=-1) for y in (top, a, b))
    # The last class of the support has t: Σ (uᵢ − u_last + t) = 1, or that of squares.
    n = size.astype(x.dtype)
    t = (1 - a) / n
    if alpha != 2:
        t = (1 - b) / (a + jnp.sqrt(a * a + n * (1 - b)))
    return jnp.where(u < last, 0, (u - last) + t)
