"""A variational autoencoder, with the KL of normal distributions.

The evidence lower bound is a cross-entropy and a divergence: what the image costs,
given its code, and what the code costs. `Log` says that the network gives the logarithm
of the scale. Where the posterior is nearly the prior, as it is for codes that are not
used, the divergence keeps its digits.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import jxent
from jxent import BinaryLogits, BinaryProbs, Log, Normal

CODES = 8


def layer(key, d, k):
    return jax.random.normal(key, (d, k)) / d**0.5


def bound(params, x, key):
    """The negative evidence lower bound: nats per image, in its two parts."""
    mean, log_scale = jnp.split(jnp.tanh(x @ params["read"]) @ params["encode"], 2, -1)
    posterior, prior = Normal(mean, Log(log_scale)), Normal(0.0, 1.0)
    code = mean + jnp.exp(log_scale) * jax.random.normal(key, mean.shape)
    image = BinaryLogits(jnp.tanh(code @ params["decode"]) @ params["draw"])
    of_code = jxent.kl_divergence(posterior, prior).sum(-1)
    of_image = jxent.cross_entropy(BinaryProbs(x), image).sum(-1)
    return (of_code + of_image).mean(), (of_code.mean(), of_image.mean())


def main(steps=400, size=100):
    x = (load_digits().data / 16).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 4)
    params = {
        "read": layer(keys[0], 64, 64),
        "encode": 0.1 * layer(keys[1], 64, 2 * CODES),
        "decode": layer(keys[2], CODES, 64),
        "draw": layer(keys[3], 64, 64),
    }
    optimizer = optax.adam(5e-3)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, x, key):
        (value, parts), grads = jax.value_and_grad(bound, has_aux=True)(params, x, key)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value, parts

    rng = np.random.default_rng(0)
    for i in range(steps):
        key = jax.random.fold_in(jax.random.key(1), i)
        batch = x[rng.integers(0, len(x), size)]
        params, state, value, (of_code, of_image) = step(params, state, batch, key)
        if i % 100 == 0 or i == steps - 1:
            print(
                f"step {i}: {value:.2f} nats; code {of_code:.2f}, image {of_image:.2f}"
            )
    return value


if __name__ == "__main__":
    main()
