"""Checks in a training loop.

A compiled step holds no trace of a check, so a bad batch turns the loss into NaN and
nothing says why. A second step is compiled with checks, by `checked`. It runs on the
first batch, and on any batch whose loss is not finite; then it names the argument, the
row and the mistake.
"""

import jax
import jax.numpy as jnp
import numpy as np

import jxent
from jxent import losses


def loss(params, x, y):
    return losses.softmax_cross_entropy_with_integer_labels(
        x @ params, y, reduction="mean"
    )


def step(params, x, y):
    value, grads = jax.value_and_grad(loss)(params, x, y)
    return params - 0.5 * grads, value


fast, careful = jax.jit(step), jxent.checked(step)


def main(steps=20, bad=15, size=32):
    rng = np.random.default_rng(0)
    truth, params = rng.normal(size=(8, 5)), jnp.zeros((8, 5))
    for i in range(steps):
        x = rng.normal(size=(size, 8)).astype(np.float32)
        y = np.argmax(x @ truth, axis=-1).astype(np.int32)
        if i == bad:
            y[3] = 5  # labels are 0 to 4
        after, value = (careful if i == 0 else fast)(params, x, y)
        if not jnp.isfinite(value):
            print(f"step {i}: the loss is {value}. Once more, with checks:")
            try:
                careful(params, x, y)
            except AssertionError as error:
                print(" ", error)
                return str(error)
        params = after
        if i % 5 == 0:
            print(f"step {i}: {value:.3f} nats")
    return ""


if __name__ == "__main__":
    main()
