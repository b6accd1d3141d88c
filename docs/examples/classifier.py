"""A classifier, with flax.nnx and optax.

Handwritten digits, in batches. The last batch of an evaluation is padded, so that every
batch has one shape; a mask says which rows are real, and `Mean` merges the batches.
Afterwards one temperature is fitted on held-out rows, so that the probabilities mean
what they say.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

from jxent import losses, Mean

cross_entropy = losses.softmax_cross_entropy_with_integer_labels


class Classifier(nnx.Module):
    def __init__(self, width: int, rngs: nnx.Rngs):
        self.inner = nnx.Linear(64, width, rngs=rngs)
        self.outer = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, x):
        return self.outer(nnx.relu(self.inner(x)))


@nnx.jit
def train_step(model, optimizer, x, y):
    def loss(model):
        return cross_entropy(model(x), y, label_smoothing=0.05, reduction="mean")

    value, grads = nnx.value_and_grad(loss)(model)
    optimizer.update(model, grads)
    return value


@nnx.jit
def evaluate_batch(model, x, y, real):
    logits = model(x)
    hits = jnp.argmax(logits, axis=-1) == y
    return cross_entropy(logits, y, where=real, reduction=Mean), Mean.of(
        hits, where=real
    )


def evaluate(model, x, y, size):
    """The mean loss and the accuracy over all rows, however many there are."""
    spare = -len(x) % size
    x = np.pad(x, ((0, spare), (0, 0)))
    y, real = np.pad(y, (0, spare)), np.arange(len(x)) < len(x) - spare
    loss, accuracy = Mean.of(jnp.zeros(0)), Mean.of(jnp.zeros(0))
    for i in range(0, len(x), size):
        part = slice(i, i + size)
        of_batch = evaluate_batch(model, x[part], y[part], real[part])
        loss, accuracy = loss + of_batch[0], accuracy + of_batch[1]
    return loss, accuracy


def calibrate(logits, y, steps):
    """The temperature with the least log loss; its logarithm is what is learned."""

    def loss(log_t):
        return cross_entropy(logits, y, temperature=jnp.exp(log_t), reduction="mean")

    @jax.jit
    def newton(log_t):
        return log_t - jax.grad(loss)(log_t) / jnp.abs(jax.hessian(loss)(log_t))

    log_t = jnp.zeros(())
    for _ in range(steps):
        log_t = newton(log_t)
    return jnp.exp(log_t)


def main(steps=300, size=100):
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32), y[order].astype(np.int32)
    model = Classifier(64, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
    rng = np.random.default_rng(1)
    for step in range(steps):
        rows = rng.integers(0, 1000, size)
        value = train_step(model, optimizer, x[rows], y[rows])
        if step % 100 == 0:
            print(f"step {step}: {value:.3f} nats")
    loss, accuracy = evaluate(model, x[1397:], y[1397:], size)
    print(f"held out: {loss:.3f} nats, {100 * float(accuracy):.1f} % right")
    temperature = calibrate(model(x[1000:1397]), y[1000:1397], steps=5)
    print(f"temperature: {temperature:.2f}")
    return loss, accuracy, temperature


if __name__ == "__main__":
    main()
