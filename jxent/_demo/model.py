"""A small byte-level language model with a long memory.

The next byte is predicted from the last few bytes, and from what came next when the
last 1, 2, 3, … 32 bytes were seen together before. One hidden layer learns how far to
trust each of these memories. The memories themselves are looked up, not learned, so
training takes seconds, and they keep growing while the held-out text is read.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, UInt8

import jxent
from jxent import Labels, Logits

RECENT = 6  # bytes seen directly
ORDERS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 32)  # lengths of the contexts looked up
MEMORIES = 3  # the latest occurrences of each
COLUMNS = RECENT + len(ORDERS) * MEMORIES
NOTHING = 256  # the symbol for: before the text, or no such memory
EMBED, HIDDEN, BATCH = 8, 256, 4096

Bytes = UInt8[np.ndarray, " n"]
Seen = Int[np.ndarray, "n columns"]


def look_back(text: Bytes) -> Seen:
    """What the model sees before each byte of the text: nothing but its past."""
    n = len(text)
    padded = np.concatenate([np.full(max(ORDERS), NOTHING), text]).astype(np.uint64)
    back = [padded[max(ORDERS) - i :][:n] for i in range(max(ORDERS) + 1)]
    columns = back[1 : RECENT + 1]  # back[i][t] is the byte i places before t

    followers = np.append(text.astype(np.int16), NOTHING)  # position n: no such memory
    context = np.zeros(n, np.uint64)  # a polynomial of the last `order` bytes, mod 2⁶⁴
    for order in range(1, max(ORDERS) + 1):
        context = context * np.uint64(0x9E3779B97F4A7C15) + back[order] + np.uint64(1)
        if order in ORDERS:
            # Sorted by context, and equal contexts by position, the previous occurrence
            # of a context is its neighbour.
            rank = np.argsort(context, kind="stable")
            again = context[rank[1:]] == context[rank[:-1]]
            previous = np.full(n + 1, n)
            previous[rank[1:]] = np.where(again, rank[:-1], n)
            where = np.arange(n)
            for _ in range(MEMORIES):
                where = previous[where]
                columns.append(followers[where])
    return np.stack([column.astype(np.int16) for column in columns], axis=1)


class Params(NamedTuple):
    """The weights of the model."""

    embed: Float[Array, "columns symbols embed"]
    hidden: Float[Array, "inputs hidden"]
    out: Float[Array, "hidden symbols"]
    trust: Float[Array, "hidden memories"]


def init(key: Array) -> Params:
    """Random features and no opinion yet: the first prediction is uniform."""
    embed_key, hidden_key = jax.random.split(key)
    symbols, inputs = NOTHING + 1, COLUMNS * EMBED
    return Params(
        embed=0.3 * jax.random.normal(embed_key, (COLUMNS, symbols, EMBED)),
        hidden=jax.random.normal(hidden_key, (inputs, HIDDEN)) / inputs**0.5,
        out=jnp.zeros((HIDDEN, symbols)),
        trust=jnp.zeros((HIDDEN, COLUMNS - RECENT)),
    )


def predict(params: Params, seen: Int[Array, "n columns"]) -> Logits:
    """The distribution of the next byte."""
    x = params.embed[jnp.arange(COLUMNS), seen].reshape(len(seen), COLUMNS * EMBED)
    h = jax.nn.gelu(x @ params.hidden)
    # Each memory votes for the byte that it remembers, with a weight read off h.
    rows = jnp.arange(len(seen))[:, None]
    z = (h @ params.out).at[rows, seen[:, RECENT:]].add(h @ params.trust)
    return Logits(z[:, :NOTHING])


def mean_loss(params: Params, seen: Array, text: Array) -> Float[Array, ""]:
    """Cross-entropy in nats per byte: −(1/n) Σₜ log q(byteₜ | the bytes before t)."""
    return jxent.cross_entropy(Labels(text), predict(params, seen)).mean()


def train(
    text: Bytes,
    seen: Seen,
    steps: int,
    seed: int,
    progress: Callable[[int, float], None],
) -> Params:
    """Adam on random batches. `progress` is told each step and its loss in nats."""
    rate = optax.warmup_cosine_decay_schedule(4e-4, 4e-3, 1 + steps // 10, 1 + steps)
    # At first all memories gain trust together, and too much; the clip dampens that.
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, b2=0.99))

    @jax.jit
    def train_step(params, state, seen, text):
        loss, grads = jax.value_and_grad(mean_loss)(params, seen, text)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, loss

    params = init(jax.random.key(seed))
    state = optimizer.init(params)
    rng = np.random.default_rng(seed)
    # A short text in small batches, so that 500 steps see it about 6 times.
    batch = min(BATCH, len(text) // 80)
    for step in range(1, steps + 1):
        i = rng.integers(len(text), size=batch)
        params, state, loss = train_step(
            params, state, seen[i], text[i].astype(np.int32)
        )
        progress(step, float(loss))
    return params


@jax.jit
def _paid_and_expected(params, seen, text):
    q = predict(params, seen)
    return jxent.cross_entropy(Labels(text), q), jxent.entropy(q)


def evaluate(params: Params, text: Bytes, seen: Seen) -> tuple[float, float]:
    """Nats per byte, each byte once: what the text costs, and what the model expected.

    That is, the cross-entropy and the mean entropy of the predictions.
    """
    costs = [
        _paid_and_expected(
            params, seen[i : i + BATCH], text[i : i + BATCH].astype(np.int32)
        )
        for i in range(0, len(text), BATCH)
    ]
    paid, expected = np.concatenate(costs, axis=1, dtype=np.float64).mean(axis=1)
    return float(paid), float(expected)
