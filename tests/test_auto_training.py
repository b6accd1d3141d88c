"""Training steps on Auto axes, in the way people write them, with a tied embedding."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P
from test_sharding import close, mesh_of

from bench.hlo import moved
from jxent import cross_entropy, Labels, LinearLogits, losses

nnx, linen = map(pytest.importorskip, ("flax.nnx", "flax.linen"))
D, V = 8, 256
rng = np.random.default_rng(0)


def put(x, *spec):
    return jax.device_put(x, NamedSharding(mesh_of(), P(*spec)))


TOKENS = rng.integers(0, V, (8, 6)).astype("i4")


def trained(step, state, batch):
    for _ in range(3):
        state, value = step(state, batch)
    return value, state


class Model(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(V, D, rngs=rngs)
        self.dense = nnx.Linear(D, D, rngs=rngs)

    @nnx.remat
    def __call__(self, tokens):
        return jnp.tanh(self.dense(self.embed(tokens)))


def nnx_step(axis_name):
    model = Model(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adamw(1e-2), wrt=nnx.Param)
    graph, state = nnx.split((model, optimizer))

    @jax.jit
    def step(state, batch):
        model, optimizer = nnx.merge(graph, state)

        def objective(model):
            return losses.linear_softmax_cross_entropy(
                model(batch[:, :-1]),
                model.embed.embedding[...],
                batch[:, 1:],
                vocab_axis=0,
                axis_name=axis_name,
                reduction="mean",
            )

        value, gradient = nnx.value_and_grad(objective)(model)
        optimizer.update(model, gradient)
        return nnx.state((model, optimizer)), value

    return step, state


class LinenModel(linen.Module):
    @linen.compact
    def __call__(self, tokens):
        embed = linen.Embed(V, D)
        hidden = linen.remat(linen.Dense)(D)(embed(tokens))
        return jnp.tanh(hidden), embed.embedding


def linen_step(axis_name):
    model, optimizer = LinenModel(), optax.adamw(1e-2)
    params = model.init(jax.random.key(0), TOKENS[:, :-1])

    @jax.jit
    def step(state, batch):
        params, inner = state

        def objective(params):
            hidden, weight = model.apply(params, batch[:, :-1])
            q = LinearLogits(hidden, weight, vocab_axis=0, axis_name=axis_name)
            return jnp.mean(cross_entropy(Labels(batch[:, 1:]), q))

        value, gradient = jax.value_and_grad(objective)(params)
        updates, inner = optimizer.update(gradient, inner, params)
        return (optax.apply_updates(params, updates), inner), value

    return step, (params, optimizer.init(params))


@pytest.mark.parametrize("made", [nnx_step, linen_step])
@jax.numpy_dtype_promotion("standard")  # which optax and flax want
@jax.numpy_rank_promotion("allow")
def test_a_training_step_agrees_with_one_device(made):
    # Embeddings, and the optimizer's moments of them, lie on the vocabulary's axis.
    by_class = lambda x: put(x, *(["vocab"] if jnp.shape(x) == (V, D) else []))
    step, state = made("vocab")
    state = jax.tree.map(by_class, state)
    got = trained(step, state, put(TOKENS, "data"))
    close(got, trained(*made(None), TOKENS), rtol=2e-5)
    text = step.lower(state, put(TOKENS, "data")).compile().as_text()
    assert all(c.times == 1 for c in moved(text))
