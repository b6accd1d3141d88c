"""What a projection may be given, in every derivative: caps, temperatures, many tokens."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jxent
from jxent import cross_entropy, entropy, Labels, LinearLogits, Logits, losses
from jxent._kernels.streamed import blocks, tiles

rng = np.random.default_rng(0)
BATCH, D, V = (3, 4), 5, 40
normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
Y = jnp.asarray(rng.integers(0, V, BATCH), jnp.int32)
CT = normal(*BATCH)
# Hidden states, weight, bias, cap, and a temperature for each row.
ARGS = (
    normal(*BATCH, D),
    normal(D, V),
    normal(V),
    jnp.float32(2.0),
    1 + normal(*BATCH) ** 2,
)
DOTS = tuple(normal(*x.shape) for x in ARGS)


def streamed(h, w, b, c, t):
    q = LinearLogits(h, w, b, t, softcap=c, block_size=BLOCK)
    return jnp.sum(CT * (cross_entropy(Labels(Y, 0.1), q) + entropy(q)))


BLOCK: int | None = 16


def dense(h, w, b, c, t):
    b = jnp.expand_dims(b, (0, 1))
    q = Logits(c * jnp.tanh((h @ w + b) / c) / t[..., None])
    return jnp.sum(CT * (cross_entropy(Labels(Y, 0.1), q) + entropy(q)))


def derivatives(f, argnums=(0, 1, 2, 3, 4)):
    """Slopes, and what they change by along some way."""
    return jax.jit(lambda args, dots: jax.jvp(jax.grad(f, argnums), args, dots))


@functools.cache
def expected():
    return derivatives(dense)(ARGS, DOTS)


def close(got, expected, rtol=2e-5):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


def test_a_cap_and_temperatures_of_rows_have_all_derivatives():
    close(derivatives(streamed)(ARGS, DOTS), expected())


def test_temperatures_broadcast_to_the_rows():
    h, w, *_, t = ARGS
    of = lambda t: entropy(LinearLogits(h, w, temperature=t, block_size=16))
    close(of(t[:, :1]), of(jnp.broadcast_to(t[:, :1], BATCH)))
    close(of(t[0]), of(jnp.broadcast_to(t[:1], BATCH)))


def test_many_tokens_go_in_blocks(monkeypatch):
    # As 3 blocks of 4 tokens, and tiles of 16 classes, the last of which is narrower.
    module = sys.modules["jxent._kernels.streamed.class_sum"]
    monkeypatch.setattr(module, "num_blocks", lambda n: 3)
    monkeypatch.setattr(module, "width_in_blocks", lambda *_: 16)
    used = []
    of = blocks.over_blocks
    monkeypatch.setattr(module, "over_blocks", lambda *a: used.append(1) or of(*a))
    monkeypatch.setattr(sys.modules[__name__], "BLOCK", None)
    jax.clear_caches()
    got = derivatives(streamed)(ARGS, DOTS)
    jax.clear_caches()
    assert used
    close(got, expected())


def test_blocks_hold_all_tokens_or_there_is_one():
    assert tiles.num_blocks(8192) == 1
    assert tiles.num_blocks(32768) == 16
    assert tiles.num_blocks(3 * 8192) == 12
    assert tiles.num_blocks(16411) == 1  # a prime
    assert tiles.width_in_blocks(2048, 2, 4096) == 4096
    assert tiles.width_in_blocks(2048, 2, 8192) == 2048


def test_a_cap_makes_no_masked_class_possible():
    bias = jnp.where(jnp.arange(V) < V - 3, 0.0, -jnp.inf)

    def loss(h, w, b, c):
        q = LinearLogits(h, w, b, softcap=c, block_size=16)
        return jnp.sum(cross_entropy(Labels(Y % (V - 3)), q) + entropy(q))

    def real(h, w, b, c):
        q = LinearLogits(h, w[:, : V - 3], b[: V - 3], softcap=c)
        return jnp.sum(cross_entropy(Labels(Y % (V - 3)), q) + entropy(q))

    h, w, _, c, _ = ARGS
    slopes = lambda f: jax.jit(jax.grad(f, (0, 1, 2, 3)))(h, w, bias, c)
    got, expected = slopes(loss), slopes(real)
    cut = lambda g: (g[0], g[1][:, : V - 3], g[2][: V - 3], g[3])
    close(cut(got), cut(expected))
    assert not got[2][V - 3 :].any() and not got[1][:, V - 3 :].any()


@pytest.mark.parametrize("weighted", [False, True])
def test_classes_that_are_padding_get_no_smoothing(weighted):
    exist = jnp.arange(V) < V - 3
    per_class = jnp.linspace(0.5, 2, V) if weighted else None
    options = {"label_smoothing": 0.1, "z_loss": 1e-2, "reduction": "sum"}
    fused = lambda h, w, b, per_class, **masks: losses.linear_softmax_cross_entropy(
        h, w, Y % (V - 3), bias=b, class_weights=per_class, **options, **masks
    )
    slopes = lambda f, *args, **masks: jax.jit(
        jax.value_and_grad(lambda *args: f(*args, **masks), (0, 1, 2))
    )(*args)
    h, w, b, *_ = ARGS
    value, got = slopes(fused, h, w, b, per_class, class_mask=exist)
    cut = lambda x: None if x is None else x[..., : V - 3]
    expected, real = slopes(fused, h, cut(w), cut(b), cut(per_class))
    close((value, got[0], cut(got[1]), cut(got[2])), (expected, *real))
    assert not got[1][:, V - 3 :].any() and not got[2][V - 3 :].any()
    with pytest.raises(TypeError, match="class_mask is float32, not boolean"):
        fused(h, w, b, per_class, class_mask=jnp.ones(V))


def test_an_eager_call_compiles_once():
    h, w, *_ = ARGS
    compiled = []
    listen = lambda name, *_, **__: compiled.append(name)

    def call():
        q = LinearLogits(h, w, block_size=16)
        loss = lambda h, w: jnp.sum(entropy(LinearLogits(h, w, block_size=16)))
        value = cross_entropy(Labels(Y), q)
        # JAX 0.10 transposes outside of `jit` what it inlined: there a slope compiles anew.
        return value, jax.__version_info__ < (0, 11) or jax.grad(loss, (0, 1))(h, w)

    call()
    call()
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: listen(name) if "backend_compile" in name else None
    )
    call()
    assert not compiled
    jax.jit(lambda x: x + len(compiled))(h)  # that this would have been seen
    assert compiled


@pytest.mark.parametrize(
    "given, message",
    [
        (
            {"temperature": jnp.ones(3)},
            r"temperature of p has shape \(3,\), and must be one",
        ),
        (
            {"softcap": jnp.ones(2)},
            r"softcap of p has shape \(2,\), and is one number",
        ),
        ({"softcap": -1.0}, "softcap of p is -1.0, not in"),
    ],
)
def test_shapes_of_numbers(given, message):
    with pytest.raises(ValueError, match=message):
        entropy(LinearLogits(ARGS[0], ARGS[1], **given))


@pytest.mark.parametrize("vocab_axis", [0, 1])
def test_export_for_every_platform(vocab_axis):
    h, w = jnp.ones((4, 8)), jnp.ones((8, 40) if vocab_axis else (40, 8))
    q = lambda h, w: LinearLogits(h, w, vocab_axis=vocab_axis, block_size=16)
    slope = jax.jit(jax.grad(lambda h, w: jnp.sum(jxent.entropy(q(h, w))), (0, 1)))
    exported = jax.export.export(slope, platforms=["cpu", "cuda", "tpu"])(h, w)
    again = jax.export.deserialize(exported.serialize())
    close(again.call(h, w), slope(h, w))
