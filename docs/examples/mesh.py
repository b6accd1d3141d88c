"""A language model on a mesh: data × model parallel, with Auto axes.

Eight virtual devices on the CPU, two for the tokens times four for the vocabulary, in
the way most frameworks do it: `jit`, with sharded arguments. One word keeps the
vocabulary where it is: `axis_name="model"`. The logits are made a tile at a time, and
no device gathers the embedding.
"""

import jax
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

from jxent import losses

WIDTH = 64


def loss(params, before, labels):
    hidden = jax.nn.gelu(params["embedding"][before] @ params["inner"])
    return losses.linear_softmax_cross_entropy(
        hidden,
        params["embedding"],
        labels,
        vocab_axis=0,
        axis_name="model",
        block_size=512,  # small arrays would be taken in one piece
        reduction="mean",
    )


def main(steps=20, tokens=4096, vocabulary=16384):
    mesh = jax.make_mesh((2, 4), ("data", "model"), (AxisType.Auto,) * 2)
    place = lambda x, *axes: jax.device_put(x, NamedSharding(mesh, P(*axes)))
    a, b = jax.random.split(jax.random.key(0))
    params = {
        "embedding": place(0.1 * jax.random.normal(a, (vocabulary, WIDTH)), "model"),
        "inner": place(0.1 * jax.random.normal(b, (WIDTH, WIDTH))),
    }
    optimizer = optax.adam(1e-2)
    state = jax.jit(optimizer.init)(params)

    @jax.jit
    def step(params, state, before, labels):
        value, grads = jax.value_and_grad(loss)(params, before, labels)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    # A language in which each word has one of two successors, by the toss of a coin.
    rng = np.random.default_rng(0)
    successors = rng.integers(0, vocabulary, (256, 2))
    with jax.set_mesh(mesh):
        for i in range(steps):
            before = rng.integers(0, len(successors), tokens)
            labels = successors[before, rng.integers(0, 2, tokens)]
            batch = place(before, "data"), place(labels, "data")
            if i == 0:
                compiled = step.lower(params, state, *batch).compile()
                memory = compiled.memory_analysis().temp_size_in_bytes / 2**20
                logits = tokens * vocabulary * 4 / 8 / 2**20
                print(f"temporary memory: {memory:.1f} MiB a device, where")
                print(f"its share of the logits would be {logits:.1f} MiB")
            params, state, value = compiled(params, state, *batch)
            if i % 10 == 0 or i == steps - 1:
                print(
                    f"step {i}: {value:.3f} nats (the least possible: {np.log(2):.3f})"
                )
    print("the embedding is still shared out as", params["embedding"].sharding.spec)
    return value


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    main()
