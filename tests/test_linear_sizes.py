"""The streamed projection at every size and precision: no worse than the plain program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jxent
from jxent import LinearLogits, losses

# Tokens, width, classes, and classes to a tile.
SIZES = [
    (1, 3, 1, None),
    (7, 5, 2, None),
    (513, 33, 127, 4096),
    (7, 17, 1000, 300),
    (513, 9, 2049, 512),
    (1, 33, 50257, None),
    (7, 9, 128256, None),
]
SCALES = {"near 0": 1e-3, "realistic": 3.0}  # the deviation of the logits


def streamed(h, w, b, y, block):
    loss, extra = losses.linear_softmax_cross_entropy(
        *(h, w, y), bias=b, block_size=block, returns=["entropy"]
    )
    return loss, extra["entropy"]


def plain(h, w, b, y, block):
    z = (h @ w + b).astype(jnp.float32)
    log_p = jax.nn.log_softmax(z)
    p = jnp.exp(log_p)
    at_label = jnp.take_along_axis(log_p, y[:, None], -1)[:, 0]
    return -at_label, -jnp.sum(jnp.where(p == 0, 0, p * log_p), -1)


def exact(h, w, b, y, weights):
    """Values, and slopes of their weighted sum by all that made the logits; in float64."""
    h, w, b, *weights = map(np.float64, (h, w, b, *weights))
    z = h @ w + b
    z -= z.max(-1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    p, hot = np.exp(log_p), y[:, None] == np.arange(w.shape[1])
    plogp = p * np.where(p == 0, 0, log_p)
    entropy = -plogp.sum(-1)
    by_z = weights[0][:, None] * (p - hot)
    by_z -= weights[1][:, None] * (plogp + p * entropy[:, None])
    return -log_p[hot], entropy, by_z @ w.T, h.T @ by_z, by_z.sum(0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size[:3])))
def test_no_worse_than_plain(size, dtype):
    n, d, v, block = size
    rng = np.random.default_rng(v)
    y = rng.integers(max(v - 1, 1), size=n)
    weights = jnp.asarray(rng.normal(size=(2, n)), jnp.float32)

    def program(f):
        def total(h, w, b):
            found = f(h, w, b, jnp.asarray(y), block)
            return sum(map(jnp.vdot, found, weights)), found

        slopes = jax.grad(total, (0, 1, 2), has_aux=True)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            # Every array as the program says, and not in more digits where XLA likes.
            options = {"xla_allow_excess_precision": False}
            return jax.jit(slopes).lower(*given(1.0)).compile(options)

    def given(scale):
        h, w, b = rng.normal(size=(n, d)), rng.normal(size=(d, v)), rng.normal(size=v)
        w *= scale / d**0.5
        if v > 2:
            b[-1] = -np.inf
        return [jnp.asarray(x, dtype) for x in (h, w, b)]

    run, run_plain = program(streamed), program(plain)
    parts = "loss", "entropy", "by hidden", "by weight", "by bias"
    for name, scale in SCALES.items():
        squares = np.zeros((3, len(parts)))
        for _ in range(
            300 if n * v < 1000 else 10
        ):  # the fewer numbers, the more chance
            args = given(scale)
            truth = exact(*args, y, weights)
            for i, f in enumerate((run, run_plain)):
                slopes, values = f(*args)
                found = [np.float64(x) for x in (*values, *slopes)]
                assert [x.shape for x in found] == [x.shape for x in truth]
                squares[i] += [
                    ((a - b) ** 2).sum() for a, b in zip(found, truth, strict=True)
                ]
            squares[2] += [(b**2).sum() for b in truth]
        ours, theirs, size_of_truth = np.sqrt(squares)
        # Where the two round the same numbers, they differ by chance.
        allowed = 1.1 * theirs + 4e-7 * size_of_truth
        worse = ours > allowed
        # Values have the digits of float32, whatever the dtype.
        worse[:2] |= ours[:2] > 4e-7 * size_of_truth[:2] + 1e-6
        assert not worse.any(), (name, dict(zip(parts, ours / allowed, strict=True)))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_no_token_costs_nothing(reduction):
    h, w = jnp.ones((2, 0, 5)), jnp.ones((5, 127))

    def f(h, w):
        y = jnp.zeros((2, 0), jnp.int32)
        loss = losses.linear_softmax_cross_entropy(h, w, y, reduction=reduction)
        return loss.sum() + jxent.entropy(LinearLogits(h, w)).sum(), loss

    slopes, loss = jax.jit(jax.grad(f, (0, 1), has_aux=True))(h, w)
    assert loss.shape == ((2, 0) if reduction == "none" else ()) and not loss.any()
    assert [x.shape for x in slopes] == [h.shape, w.shape] and not slopes[1].any()
