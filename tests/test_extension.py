"""What it takes to add to jxent: each is added here, outside of the package's files."""

import dataclasses
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float

import jxent
from jxent import (
    BinaryLogits,
    BinaryProbs,
    Labels,
    LinearLogits,
    Logits,
    LogProbs,
    Probs,
)
from jxent._core.pytrees import pytree
from jxent._distributions.admit import admit_pair
from jxent._distributions.base import Density
from jxent._kernels.streamed import Dense
from jxent._measures.pairs import total

N = jnp.float32([[3, 0, 1, 4], [1, 5, 9, 2]])
Z = jnp.float32([[0.5, -1.25, 2, 0.25], [0, 3, -0.5, 1]])
SOFT = N / N.sum(-1, keepdims=True)

# ------------------------------------------------------------------ a representation


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Counts(Density):
    """How often each class was seen."""

    n: Float[Array, "*batch k"]

    @property
    def data(self):
        return self.n

    def check(self, name, caller):
        pass

    def probs(self):
        return self.n / jnp.sum(self.n, axis=-1, keepdims=True)

    def log_probs(self):
        return jnp.log(self.probs())

    def source(self, partner):
        return "probs", Dense(self.probs())


MEASURES = [jxent.cross_entropy, jxent.kl_divergence, jxent.js_divergence]


@pytest.mark.parametrize("measure", MEASURES)
def test_a_new_representation_is_right_against_every_partner(measure):
    partners = {
        "Logits": Logits(Z),
        "LinearLogits": LinearLogits(Z, jnp.eye(4)),
        "tiles": LinearLogits(Z, jnp.eye(4), block_size=3),
    }
    want = measure(SOFT, Logits(Z))
    for name, q in partners.items():
        np.testing.assert_allclose(measure(Counts(N), q), want, rtol=1e-6, err_msg=name)
        slope = jax.grad(lambda n, q=q: measure(Counts(n), q).sum())(N)
        truth = jax.grad(
            lambda n: measure(n / n.sum(-1, keepdims=True), Logits(Z)).sum()
        )(N)
        np.testing.assert_allclose(slope, truth, rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_representation_that_does_not_say_how_it_is_streamed_cannot_be_made():
    class Silent(Density):
        data = check = probs = log_probs = None  # pyright: ignore

    with pytest.raises(TypeError, match="source"):
        Silent()  # pyright: ignore[reportAbstractUsage]


# ------------------------------------------------------------------ a divergence


def hellinger_term(p, q, d):
    del d
    root = lambda x: jnp.sqrt(jnp.maximum(x, 1e-30))
    return (root(q) - root(p)) ** 2 / 2


def hellinger(p, q):
    return total(hellinger_term, *admit_pair(p, q, caller="hellinger"))


def test_a_new_divergence_takes_every_representation():
    softmax = jax.nn.softmax(Z)
    want = (jnp.sqrt(SOFT) - jnp.sqrt(softmax)) ** 2
    want = want.sum(-1) / 2
    for q in (softmax, Probs(softmax), LogProbs(jnp.log(softmax)), Logits(Z)):
        np.testing.assert_allclose(hellinger(SOFT, q), want, rtol=1e-5)
    for block in (None, 3):
        q = LinearLogits(Z, jnp.eye(4), block_size=block)
        np.testing.assert_allclose(hellinger(SOFT, q), want, rtol=1e-5)
        np.testing.assert_allclose(hellinger(q, q), 0, atol=1e-7)
        slope = jax.grad(lambda z, b=block: _to_linear(z, b).sum())(Z)
        dense = jax.grad(lambda z: hellinger(SOFT, Logits(z)).sum())(Z)
        np.testing.assert_allclose(slope, dense, atol=1e-6)
    x, y = jnp.float32([0.5, -2]), jnp.int32([1, 0])
    events = hellinger(Labels(y), BinaryLogits(x))
    np.testing.assert_allclose(
        events, hellinger(Labels(y), BinaryProbs(jax.nn.sigmoid(x))), rtol=1e-5
    )


def _to_linear(z, block):
    return hellinger(SOFT, LinearLogits(z, jnp.eye(4), block_size=block))


def in_shards(measure):
    """`measure` of two arrays of logits, whose classes are on two devices."""
    auto = jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((2,), ("v",), (auto,), devices=jax.devices()[:2])
    of_shards = lambda a, b: measure(Logits(a, "v"), Logits(b, "v"))
    specs = {"in_specs": P(None, "v"), "out_specs": P()}
    return jax.jit(jax.shard_map(of_shards, mesh=mesh, **specs))


def test_a_new_divergence_takes_shards():
    of_shards = in_shards(hellinger)
    want = hellinger(Logits(Z), Logits(Z[::-1]))
    np.testing.assert_allclose(of_shards(Z, Z[::-1]), want, rtol=1e-5)


# ------------------------------------------------------------------ a careless measure


def careless(p, q):
    """It did not think of what is never all there."""
    p, q = admit_pair(p, q, caller="careless")
    return jnp.sum(p.probs() * -q.log_probs(), axis=-1)  # pyright: ignore


def test_a_measure_that_forgot_tiles_and_shards_fails():
    np.testing.assert_allclose(
        careless(SOFT, Logits(Z)), jxent.cross_entropy(SOFT, Logits(Z)), rtol=1e-6
    )
    with pytest.raises(AttributeError, match="LinearLogits"):
        careless(SOFT, LinearLogits(Z, jnp.eye(4)))
    with pytest.raises(AttributeError, match="Shard"):
        in_shards(careless)(Z, Z)
