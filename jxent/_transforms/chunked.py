"""Losses over a large vocabulary, a few tokens at a time: `chunked`."""

import functools
import re
from collections.abc import Callable
from typing import Any, Literal, overload, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr, Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Num

from .._core import arithmetic as num, autodiff as ad
from .._core.domains import NotNaN
from .._core.means import counts, Mean, weigh
from .._core.verdicts import Claim, look

Tree = Any
Loss: TypeAlias = Callable[..., Any]
Head: TypeAlias = Callable[[Any, Any], Any]
Size: TypeAlias = int | None


@overload
def chunked(
    loss: Loss, head: Head, *, has_aux: Literal[False] = ..., chunk_size: Size = ...
) -> Callable[..., Mean]: ...
@overload
def chunked(
    loss: Loss, head: Head, *, has_aux: Literal[True], chunk_size: Size = ...
) -> Callable[..., tuple[Mean, Any]]: ...
def chunked(
    loss: Loss, head: Head, *, has_aux: bool = False, chunk_size: Size = None
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
      A function of `params`, a pytree; `hidden`, an array [*batch, d] or a pytree of such,
      or token ids [*batch]; whatever else `loss` needs of each token, such as labels,
      arrays [*batch, ...] in any pytree; `where`, which tokens count; and `weights`, how
      much. Leaves that are no arrays, as functions in an Equinox module or strings, go to
      `head` and `loss` as they are. It returns a `Mean`, or
      `(Mean, aux)` with a Mean for each number of `aux`. Its derivatives, by all of these
      and by what `loss` and `head` close over, are those of the formula. In half precision
      sums are in float32, also of the gradients of `params`; those of a chunk are not.

    Limits:
      A token with `where` False reaches neither value nor gradient, NaN or not: `head` and
      `loss` see ones in its place, or 0 for an integer. They do so too in what fills up the
      last chunk, if tokens do not divide into chunks. No token: 0, slope 0.
      A weight of 0 is a factor, whose slope is the loss. It removes a token only if that
      holds NaN, an infinity or a negative integer, such as a label of −100.
      Every chunk sees the same `params`: a PRNG key for dropout among them gives all chunks
      the same mask. Give one key for each token, `jax.random.split(key, batch)`, after the
      labels, and let `loss` use it.
      Tokens must not depend on each other: `loss` and `head` see them flat, out of order.
      Under `jit`, tokens may be sharded. In a `shard_map`, devices merge by `psum` of the
      Mean; the gradient of `params` is then summed across them once, after the last chunk.
      Hessian-vector products as `jax.jvp` of `jax.grad` keep no logits either, nor do those
      as `jax.grad` of `jax.jvp`; JAX's reverse mode of reverse mode keeps them all.

    Raises:
      ValueError: If arrays differ in batch axes, `loss` does not return a number for each
        token, `where` or `weights` do not broadcast to the tokens, or `chunk_size` is not
        positive.
      TypeError: If `where` is not boolean, or `chunk_size` no integer.
      AssertionError: If the loss is NaN in an eager call (see `checks`).

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

    if not isinstance(chunk_size, int | np.integer | None) or chunk_size is True:
        raise TypeError(
            f"chunked: chunk_size is {chunk_size!r}, and must be an integer"
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunked: chunk_size is {chunk_size}, and must be positive")

    def mean(
        params: Tree,
        hidden: Tree,
        *per_token: Tree,
        where: Bool[ArrayLike, "*#batch"] | None = None,
        weights: Num[ArrayLike, "*#batch"] | Bool[ArrayLike, "*#batch"] | None = None,
    ) -> Any:
        of_params, of_tokens = _Arrays(params), _Arrays((hidden, per_token))
        params, tokens = of_params.arrays, of_tokens.arrays
        batch, features, dtype = _tokens(_Arrays(hidden).arrays)
        w = counts(batch, dtype, where, weights, caller="chunked")
        kept = None
        if where is not None:
            kept = jnp.broadcast_to(jnp.asarray(where), batch)
        if weights is not None:
            gone = (w == 0) & _without_loss(tokens, batch)
            kept = ~gone if kept is None else kept & ~gone
        chunks = _split(tokens, w, kept, int(chunk_size or max(features // 2, 256)))

        def of_chunk(params, chunk):
            tokens, w = chunk
            hidden, per_token = of_tokens.put(tokens)
            found = loss(head(of_params.put(params), hidden), *per_token)
            losses, aux = found if has_aux else (found, ())
            return _total(losses, w), jax.tree.map(lambda x: _total(x, w), aux)

        # Varied here, the slopes are added up across devices once, and not in every step.
        axes = _axes(chunks)
        params = jax.tree.map(lambda x: _vary(x, axes), params)
        # What `loss` and `head` close over is an argument from here on, with derivatives.
        owner = loss, head
        program, closed = _program(owner, of_chunk, params, _first(chunks))
        total, aux = _sums(program, (params, closed), chunks)
        _check_number(total, tokens)
        weight = jnp.sum(w)
        mean_of = lambda total: Mean(total, weight.astype(total.dtype))
        if not has_aux:
            return mean_of(total)
        return mean_of(total), jax.lax.stop_gradient(jax.tree.map(mean_of, aux))

    return mean


class _Arrays:
    """The leaves of a pytree that are arrays, and what puts the others beside them."""

    def __init__(self, tree: Tree):
        leaves, self._structure = jax.tree.flatten(tree)
        is_array = lambda x: isinstance(x, ArrayLike) or hasattr(x, "__jax_array__")
        self._others = [None if is_array(x) else (x,) for x in leaves]
        self.arrays = [jnp.asarray(x) for x in leaves if is_array(x)]

    def put(self, arrays: list[Array]) -> Tree:
        now = iter(arrays)
        leaves = [next(now) if other is None else other[0] for other in self._others]
        return self._structure.unflatten(leaves)


def _is_float(x: Array) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)


def _tokens(hidden: list[Array]) -> tuple[tuple[int, ...], int, Any]:
    """The batch axes of hidden states, or of token ids; features; the dtype of sums."""
    if not hidden:
        raise ValueError("chunked: hidden holds no array")
    floats = [x for x in hidden if _is_float(x)]
    if not floats:
        return hidden[0].shape, 0, jnp.float32
    if not floats[0].ndim:
        raise ValueError("chunked: hidden is one number, and not an array [*batch, d]")
    *batch, features = floats[0].shape
    return tuple(batch), features, num.accumulator(*(x.dtype for x in floats))


def _without_loss(tokens: list[Array], batch: tuple[int, ...]) -> Array:
    """Tokens with NaN, an infinity or a negative integer."""
    bad = jnp.zeros(batch, bool)
    for x in tokens:
        if x.shape[: len(batch)] == batch and jnp.issubdtype(x.dtype, jnp.number):
            wrong = ~jnp.isfinite(x) if _is_float(x) else x < 0
            bad |= jnp.any(wrong, axis=tuple(range(len(batch), x.ndim)))
    return bad


def _check_number(total: Array, tokens: list[Array]) -> None:
    """Eagerly, a NaN has its say: no check that `loss` makes is run in a loop."""
    if isinstance(jax.lax.stop_gradient(total), Tracer):
        return
    integers = [x for x in tokens if jnp.issubdtype(x.dtype, jnp.signedinteger)]
    has = any(not isinstance(x, Tracer) and (x < 0).any() for x in integers)
    hint = " (one has a negative integer: is it a label, for where= to ignore?)"
    name = "the loss of some token" + (hint if has else "")
    look(total, Claim(NotNaN(), name, "chunked"))


def _total(x: Array, w: Array) -> Array:
    """Σ wᵢ xᵢ."""
    x = jnp.asarray(x)
    if x.shape != w.shape:
        raise ValueError(
            f"chunked: loss returned shape {x.shape} for {w.size} tokens, and not one "
            "number for each"
        )
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(w.dtype)
    x, w = num.widen(x, w)
    return jnp.sum(weigh(w, x))


def _split(rows: list[Array], w: Array, kept: Array | None, size: int) -> Tree:
    """Rows and weights as [num_chunks, tokens, ...]; token t is in chunk t mod num_chunks.

    Every chunk then has tokens of every shard, if the tokens are sharded. Tokens that are
    not `kept` are innocent ones.
    """
    batch, n = w.shape, w.size
    least = max(-(-n // size), 1)
    # Chunks of equal length without padding, if there are any such of half the size.
    if isinstance(n, int):
        k = next((k for k in range(least, 2 * least) if n % k == 0 < n), least)
        length = max(-(-n // k), 1)
    else:  # an export has a symbol for the tokens
        k, length = least, size
    padded = not isinstance(n, int) or n < length * k

    def split(x):
        if x.shape[: len(batch)] != batch:
            raise ValueError(
                f"chunked: an array has shape {x.shape}, and does not begin with the "
                f"batch axes of hidden, {batch}; what all tokens share belongs to params"
            )
        x = x.reshape(n, *x.shape[len(batch) :])
        if padded and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x = x[jnp.minimum(jnp.arange(length * k), n - 1)]
        elif padded:
            x = jnp.pad(x, [(0, length * k - n), *[(0, 0)] * (x.ndim - 1)])
        return x.reshape(length, k, *x.shape[1:]).swapaxes(0, 1)

    if kept is None and not padded:
        return jax.tree.map(split, rows), split(w)
    kept = split(jnp.ones(batch, bool) if kept is None else kept)

    def innocent(x):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return x
        # Ones and not zeros: no norm is without a slope there. But any label 0 is a class.
        row = jnp.broadcast_to(jnp.expand_dims(kept, range(2, x.ndim)), x.shape)
        return jnp.where(row, x, jnp.full_like(x, _is_float(x)))

    return jax.tree.map(lambda x: innocent(split(x)), rows), split(w)


_PROGRAMS: dict[Any, tuple[Callable[..., Tree], Any]] = {}  # of eager calls


def _program(owner: Any, of_chunk: Callable[..., Tree], params: Tree, chunk: Tree):
    """`of_chunk` as a function of what it closes over too, and that.

    The same code of the same `owner` makes the same function, however often an eager call
    traces it: so JAX finds what it has compiled.
    """
    closed, out = jax.make_jaxpr(of_chunk, return_shape=True)(params, chunk)
    jaxpr, structure = closed.jaxpr, jax.tree.structure(out)

    def program(both, chunk):
        params, consts = both
        leaves = jax.tree.leaves((params, chunk))
        flat = eval_jaxpr(jaxpr, consts, *leaves)
        return structure.unflatten(flat)

    leaves = jax.tree.leaves((params, chunk, closed.consts))
    if not any(isinstance(jax.lax.stop_gradient(x), Tracer) for x in leaves):
        while len(_PROGRAMS) > 100:
            _PROGRAMS.pop(next(iter(_PROGRAMS)))
        # Printed, a program is all that it says, but for which its functions are: so it is
        # shared by calls of one owner only, which is kept, or another might get its id.
        text = re.sub("0x[0-9a-f]+", "", str(jaxpr))
        key = *map(id, owner), text, structure
        program, _ = _PROGRAMS.setdefault(key, (program, owner))
    return program, closed.consts


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _sums(of_chunk: Callable[[Tree, Tree], Tree], params: Tree, chunks: Tree) -> Tree:
    """Σ of_chunk(params, chunk) over all chunks: a total, and those beside it."""
    return _values(of_chunk, params, chunks)


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _values(of_chunk, params, chunks):
    step = lambda chunk: (of_chunk(params, chunk), ())
    return _scan(step, _zeros(of_chunk, params, chunks), lambda chunk: (), chunks)[0]


@functools.partial(_sums.defjvp, symbolic_zeros=True)
def _sums_jvp(of_chunk, primals, tangents):
    # ∂ Σ w ℓ = Σ ⟨∂(w ℓ)/∂x, ∂x⟩.  The slopes are made in the pass that makes the value,
    # while the logits of a chunk are there: reverse mode has but to scale them.
    of_params, of_rows = map(ad.Moving, tangents)
    moves = tuple(of_params.moves), tuple(of_rows.moves)
    (total, aux), slopes = _values_and_slopes(of_chunk, moves, *primals)
    tangent = jnp.zeros_like(total)
    for slope, dot in zip(slopes, [*of_params.dots, *of_rows.dots], strict=True):
        slope, dot = num.widen(slope, dot)
        part = jnp.sum(slope * dot).astype(total.dtype)
        tangent += _psum(part, _axes(part) - _axes(total))
    none = lambda x: (
        jnp.zeros_like(x) if _is_float(x) else np.zeros(x.shape, jax.dtypes.float0)
    )
    return (total, aux), (tangent, jax.tree.map(none, aux))


@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _values_and_slopes(of_chunk, moves, params, chunks):
    of_params, of_rows = map(ad.Moving.at, moves)
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
    (sums, by_params), by_rows = _scan(step, zeros, skip, chunks)
    return sums, [*by_params, *by_rows]


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
