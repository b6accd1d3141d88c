"""A language model, with equinox and the linear loss.

Lines of text have unequal lengths, so micro-batches have unequal numbers of tokens, and
the mean of their means is wrong. Here each micro-batch gives the gradient of its
*total* and a `Mean`; both add up, and the gradient is divided once, by the merged
weight. The output layer is the embedding: `vocab_axis=0`, and no array of logits.
"""

from pydoc_data.topics import topics

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jxent import losses, Mean

LENGTH, PADDING = 64, -100


class Model(eqx.Module):
    embedding: jax.Array  # [vocabulary, width], of inputs and of outputs
    cell: eqx.nn.GRUCell

    def __init__(self, width, key):
        a, b = jax.random.split(key)
        self.embedding = jax.random.normal(a, (256, width)) / width**0.5
        self.cell = eqx.nn.GRUCell(width, width, key=b)

    def hidden(self, tokens):
        """The state after each token of a line, [length, width]."""

        def step(state, token):
            state = self.cell(self.embedding[token], state)
            return state, state

        start = jnp.zeros(self.embedding.shape[1])
        return jax.lax.scan(step, start, tokens)[1]


def total(model, lines):
    """The summed loss of a micro-batch, and the `Mean` that it belongs to."""
    before = jnp.pad(jnp.maximum(lines, 0)[:, :-1], ((0, 0), (1, 0)))
    mean = losses.linear_softmax_cross_entropy(
        jax.vmap(model.hidden)(before),
        model.embedding,
        lines,
        vocab_axis=0,
        ignore_index=PADDING,
        reduction=Mean,
    )
    return mean.total, mean


@eqx.filter_jit
def train_step(model, state, optimizer, micro_batches):
    """One step on several micro-batches, as if they were one batch."""

    def accumulate(carry, lines):
        grads, mean = carry
        more, mean_here = jax.grad(total, has_aux=True)(model, lines)
        return (jax.tree.map(jnp.add, grads, more), mean + mean_here), None

    nothing = jax.tree.map(jnp.zeros_like, model)
    empty = Mean.of(jnp.zeros(0)) + Mean.of(jnp.zeros(0))
    (grads, mean), _ = jax.lax.scan(accumulate, (nothing, empty), micro_batches)
    grads = jax.tree.map(lambda g: g / mean.weight, grads)
    updates, state = optimizer.update(grads, state, model)
    return eqx.apply_updates(model, updates), state, mean


def lines_of(text):
    """Rows of bytes, padded with a label that is ignored."""
    rows = np.full((len(text), LENGTH), PADDING, np.int32)
    for row, line in zip(rows, text, strict=True):
        data = np.frombuffer(line.encode()[:LENGTH], np.uint8)
        row[: len(data)] = data
    return rows


def main(steps=60, width=64, batch=16, micro_batches=4):
    text = [line + "\n" for topic in topics.values() for line in topic.split("\n")]
    lines, rng = lines_of(text), np.random.default_rng(0)
    model = Model(width, jax.random.key(0))
    optimizer = optax.adam(1e-2)
    state = optimizer.init(eqx.filter(model, eqx.is_array))
    for step in range(steps):
        rows = rng.integers(0, len(lines), (micro_batches, batch))
        model, state, mean = train_step(model, state, optimizer, lines[rows])
        if step % 20 == 0 or step == steps - 1:
            bits = float(mean) / np.log(2)
            print(
                f"step {step}: {bits:.2f} bits per byte, over {mean.weight:.0f} bytes"
            )
    return mean


if __name__ == "__main__":
    main()
