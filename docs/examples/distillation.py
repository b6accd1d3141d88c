"""Distillation from a teacher that tells its top few classes.

A teacher's whole rows are too much to store for a large vocabulary, so it tells the
log- probabilities of its likeliest classes. All other classes are merged into one rest
class: a student that spreads mass there pays for it. Labels are mixed in.
"""

import jax
import numpy as np
import optax
from sklearn.datasets import load_digits

from jxent import losses

TOLD, TEMPERATURE = 3, 2.0


def network(width, key):
    a, b = jax.random.split(key)
    return [
        jax.random.normal(a, (64, width)) / 8,
        jax.random.normal(b, (width, 10)) / 6,
    ]


def logits_of(params, x):
    return jax.nn.relu(x @ params[0]) @ params[1]


def train(loss, params, data, steps, size=100):
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(params, state, *batch):
        value, grads = jax.value_and_grad(loss)(params, *batch)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    state, rng = optimizer.init(params), np.random.default_rng(0)
    for _ in range(steps):
        rows = rng.integers(0, len(data[0]), size)
        params, state, value = step(params, state, *(x[rows] for x in data))
    return params, value


def label_loss(params, x, y):
    return losses.softmax_cross_entropy_with_integer_labels(
        logits_of(params, x), y, reduction="mean"
    )


def student_loss(params, x, y, told, classes):
    return losses.distillation_loss(
        logits_of(params, x),
        told,
        y,
        teacher_classes=classes,
        temperature=TEMPERATURE,
        hard_weight=0.2,
        reduction="mean",
    ).loss


def main(steps=300):
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32), y[order].astype(np.int32)
    teacher = network(128, jax.random.key(0))
    teacher, _ = train(label_loss, teacher, (x[:1000], y[:1000]), steps)
    log_probs = jax.nn.log_softmax(logits_of(teacher, x[:1000]) / TEMPERATURE)
    told, classes = map(np.asarray, jax.lax.top_k(log_probs, TOLD))
    student = network(16, jax.random.key(1))
    data = x[:1000], y[:1000], told, classes
    student, value = train(student_loss, student, data, steps)
    right = lambda params: np.mean(
        np.argmax(logits_of(params, x[1000:]), -1) == y[1000:]
    )
    print(f"teacher: {right(teacher):.3f} right; student: {right(student):.3f}")
    print(f"student's loss: {value:.3f} nats")
    return value


if __name__ == "__main__":
    main()
