"""Losses over a large vocabulary, a few tokens at a time: `chunked`."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Num

from .._core import arithmetic as num, autodiff as ad
from .._core.means import counts, Mean

Tree = Any


def chunked(
    loss: Callable[..., Any],
    head: Callable[[Any, Any], Any],
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """The weighted mean of a loss on logits that are there for a few tokens at a time.

        mean(params, hidden, *per_token) = Σₜ wₜ loss(head(params, hiddenₜ), *per_tokenₜ)
                                           ──────────────────────────────────────────────
                                                               Σₜ wₜ

    The logits of a language model, tokens × vocabulary, are larger than all else in it.
    Here a chunk of them is made, reduced and forgotten, and its part of every gradient is
    made while it is there: as many matrix products as without chunks, three for a linear
    head, and no array of the size of the logits.

    Args:
      loss: One number for each token, `loss(logits, *per_token)`: [n], of logits [n, v].
      head: What makes logits of hidden states, `head(params, hidden)`: final norm, tied
        embedding, bias, cap and all. It may return a pytree, say a teacher's logits too.
      has_aux: Whether `loss` returns `(losses, aux)`, with a pytree of further numbers for
        each token: accuracy, entropy, a term of the loss. They have no derivative.
      chunk_size: How many tokens to take at a time, at most. By default half as many as
        a hidden state has features, and 256 at least: the logits of a chunk are then half
        as large as a linear head's weight.

    Returns:
      A function of `params`, a pytree; `hidden`, an array [*batch, d] or a pytree of such;
      whatever else `loss` needs of each token, such as labels, arrays [*batch, ...] in any
      pytree; `where`, which tokens count; and `weights`, how much. It returns a `Mean`, or
      `(Mean, aux)` with a Mean for each number of `aux`. Its derivatives, by all of these
      and by what `loss` and `head` close over, are those of the formula. In half precision
      sums are in float32, also of the gradients of `params`; those of a chunk are not.

    Limits:
      A token with `where` False or weight 0 reaches neither value nor gradient, NaN or not:
      `head` and `loss` see ones in its place, or 0 for an integer. They do so too in what
      fills up the last chunk, if tokens do not divide into chunks. No token: 0, slope 0.
      Tokens must not depend on each other: `loss` and `head` see them flat, out of order.
      Under `jit`, tokens may be sharded. In a `shard_map`, devices merge by `psum` of the
      Mean; the gradient of `params` is then summed across them once, after the last chunk.
      Hessian-vector products as `jax.jvp` of `jax.grad` keep no logits either, nor do those
      as `jax.grad` of `jax.jvp`; JAX's reverse mode of reverse mode keeps them all.

    Raises:
      ValueError: If arrays differ in batch axes, `loss` does not return a number for each
        token, or `where` or `weights` do not broadcast to the tokens.
      TypeError: If `where` is not boolean.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> def loss(logits, labels):
      ...     q = jxent.Logits(logits)
      ...     z_loss = jax.nn.logsumexp(logits, axis=-1) ** 2
      ...     hit = jnp.argmax(logits, axis=-1) == labels
      ...     return jxent.cross_entropy(jxent.Labels(labels), q) + 1e-4 * z_loss, hit
      >>> mean = jxent.chunked(loss, lambda w, h: jnp.tanh(h @ w), has_aux=True)
      >>> w, hidden = jnp.eye(4, 50), jnp.ones((2, 3, 4))
      >>> labels = jnp.array([[0, 1, 49], [2, -1, -1]])
      >>> def objective(w):
      ...     nats, hits = mean(w, hidden, labels, where=labels >= 0)
      ...     return nats.value, hits.value
      >>> (value, accuracy), slope = jax.value_and_grad(objective, has_aux=True)(w)
      >>> print(value, accuracy, slope.shape)
      3.4298... 0.25 (4, 50)

    References:
      Hsu et al., "Liger Kernel: Efficient Triton Kernels for LLM Training", 2024, for
      gradients that are made in the forward pass.
    """

    def of_chunk(params, chunk):
        hidden, per_token, w = chunk
        found = loss(head(params, hidden), *per_token)
        losses, aux = found if has_aux else (found, ())
        return _total(losses, w), jax.tree.map(lambda x: _total(x, w), aux)

    def mean(
        params: Tree,
        hidden: Tree,
        *per_token: Tree,
        where: Bool[ArrayLike, "*#batch"] | None = None,
        weights: Num[ArrayLike, "*#batch"] | Bool[ArrayLike, "*#batch"] | None = None,
    ) -> Any:
        arrays = jax.tree.map(jnp.asarray, (params, hidden, per_token))
        params, hidden, per_token = arrays
        *batch, features = jax.tree.leaves(hidden)[0].shape
        dtype = num.accumulator(*(x.dtype for x in jax.tree.leaves(hidden)))
        w = counts(tuple(batch), dtype, where, weights, caller="chunked")
        masked = where is not None or weights is not None
        size = chunk_size or max(features // 2, 256)
        chunks = _split((hidden, per_token), w, size, masked)
        # Varied here, the slopes are added up across devices once, and not in every step.
        axes = _axes(chunks)
        params = jax.tree.map(lambda x: _vary(x, axes), params)
        # What `loss` and `head` close over is an argument from here on, with derivatives.
        explicit, closed = jax.closure_convert(of_chunk, params, _first(chunks))
        of_all = lambda p, chunk: explicit(p[0], chunk, *p[1])
        total, aux = _sums(of_all, (params, closed), chunks)
        weight = jnp.sum(w)
        mean_of = lambda total: Mean(total, weight.astype(total.dtype))
        if not has_aux:
            return mean_of(total)
        return mean_of(total), jax.lax.stop_gradient(jax.tree.map(mean_of, aux))

    return mean


def _total(x: Array, w: Array) -> Array:
    """Σ wᵢ xᵢ, whatever xᵢ is where wᵢ = 0."""
    x = jnp.asarray(x)
    if x.shape != w.shape:
        raise ValueError(
            f"chunked: loss returned shape {x.shape} for {w.size} tokens, and not one "
            "number for each"
        )
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(w.dtype)
    x, w = num.widen(x, w)
    return jnp.sum(w * jnp.where(w != 0, x, 0))


def _split(rows: Tree, w: Array, size: int, masked: bool) -> Tree:
    """Rows and weights as [num_chunks, tokens, ...]; token t is in chunk t mod num_chunks.

    Every chunk then has tokens of every shard, if the tokens are sharded.
    """
    batch, n = w.shape, w.size
    least = max(-(-n // size), 1)
    # Chunks of equal length without padding, if there are any such of half the size.
    if isinstance(n, int):
        k = next((k for k in range(least, 2 * least) if n % k == 0 < n), least)
        length = max(-(-n // k), 1)
    else:  # an export has a symbol for the tokens
        k, length = least, size
    even = isinstance(n, int) and n == length * k

    def split(x):
        if x.shape[: len(batch)] != batch:
            raise ValueError(
                f"chunked: an array has shape {x.shape}, and does not begin with the "
                f"batch axes of hidden, {batch}"
            )
        x = x.reshape(n, *x.shape[len(batch) :])
        if not even:
            x = jnp.pad(x, [(0, length * k - n), *[(0, 0)] * (x.ndim - 1)])
        return x.reshape(length, k, *x.shape[1:]).swapaxes(0, 1)

    w = split(w)
    if not masked and even:
        return *jax.tree.map(split, rows), w

    def innocent(x):
        # Ones and not zeros: no norm is without a slope there. But any label 0 is a class.
        kept = jnp.expand_dims(w != 0, range(2, x.ndim))
        one = jnp.issubdtype(x.dtype, jnp.floating)
        return jnp.where(jnp.broadcast_to(kept, x.shape), x, jnp.full_like(x, one))

    return *jax.tree.map(lambda x: innocent(split(x)), rows), w


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _sums(of_chunk: Callable[[Tree, Tree], Tree], params: Tree, chunks: Tree) -> Tree:
    """Σ of_chunk(params, chunk) over all chunks: a total, and those beside it."""
    step = lambda chunk: (of_chunk(params, chunk), ())
    return _scan(step, _zeros(of_chunk, params, chunks), lambda chunk: (), chunks)[0]


@functools.partial(_sums.defjvp, symbolic_zeros=True)
def _sums_jvp(of_chunk, primals, tangents):
    # ∂ Σ w ℓ = Σ ⟨∂(w ℓ)/∂x, ∂x⟩.  The slopes are made in the pass that makes the value,
    # while the logits of a chunk are there: reverse mode has but to scale them.
    params, chunks = primals
    of_params, of_rows = map(ad.Moving, tangents)
    moving = of_params.pick(params)

    def step(chunk):
        at = lambda p, rows: of_chunk(
            of_params.put(p, params), of_rows.put(rows, chunk)
        )
        slopes = jax.value_and_grad(at, (0, 1), has_aux=True)
        sums, (by_params, by_rows) = slopes(moving, of_rows.pick(chunk))
        return (sums, by_params), by_rows

    wide = [jnp.zeros_like(x, dtype=num.accumulator(x.dtype)) for x in moving]
    zeros = _zeros(of_chunk, params, chunks), wide
    skip = lambda chunk: [jnp.zeros_like(x) for x in of_rows.pick(chunk)]
    ((total, aux), by_params), by_rows = _scan(step, zeros, skip, chunks)
    slopes, dots = [*by_params, *by_rows], [*of_params.dots, *of_rows.dots]
    tangent = jnp.zeros_like(total)
    for slope, dot in zip(slopes, dots, strict=True):
        slope, dot = num.widen(slope, dot)
        part = jnp.sum(slope * dot).astype(total.dtype)
        tangent += _psum(part, _axes(part) - _axes(total))
    return (total, aux), (tangent, jax.tree.map(jnp.zeros_like, aux))


def _scan(
    step: Callable[[Tree], tuple[Tree, Tree]],
    zeros: Tree,
    skip: Callable[[Tree], Tree],
    chunks: Tree,
) -> tuple[Tree, Tree]:
    """The sums of the first of what `step(chunk)` returns, and all of the second."""
    # When it differentiates a loop, JAX moves out of it what is the same in every step, and
    # would keep arrays as large as a chunk's logits, such as the index of every class. It
    # does not look into a branch on what changes; XLA sees that this one is always taken.
    always = jnp.ones(jax.tree.leaves(chunks)[0].shape[0], bool)

    # The checkpoint is for derivatives of this: no chunk's logits are kept for them.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def body(sums, now):
        def go(sums, chunk):
            new, out = step(chunk)
            return jax.tree.map(lambda s, x: s + x.astype(s.dtype), sums, new), out

        stay = lambda sums, chunk: (sums, skip(chunk))
        return jax.lax.cond(now[0], go, stay, sums, now[1])

    return jax.lax.scan(body, zeros, (always, chunks))


def _zeros(of_chunk: Callable[[Tree, Tree], Tree], params: Tree, chunks: Tree) -> Tree:
    shapes = jax.eval_shape(of_chunk, params, _first(chunks))
    return jax.tree.map(lambda s: _vary(jnp.zeros(s.shape, s.dtype), _axes(s)), shapes)


def _first(chunks: Tree) -> Tree:
    return jax.tree.map(lambda x: jax.lax.index_in_dim(x, 0, keepdims=False), chunks)


def _axes(tree: Tree) -> frozenset[str]:
    """The axes of a surrounding `shard_map` along which anything in `tree` differs."""
    types = [jax.typeof(x).manual_axis_type for x in jax.tree.leaves(tree)]
    return frozenset().union(*(t.varying for t in types))


def _vary(x: Array, axes: frozenset[str]) -> Array:
    """`x` as one that may differ along `axes`. The transpose is a sum over them."""
    new = tuple(sorted(axes - _axes(x)))
    return jax.lax.pcast(x, new, to="varying") if new else x


def _psum(x: Array, axes: frozenset[str]) -> Array:
    return jax.lax.psum(x, tuple(sorted(axes))) if axes else x
