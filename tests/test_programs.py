"""Programs as users compile them: no bit changed, and no cost that need not be."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from test_transforms import A, close, each_measure, Y, Z

import jxent
from jxent import kl_divergence, Labels, LinearLogits, Logits, losses, Probs
from jxent._kernels.entropy import softmax_entropy
from jxent._kernels.label_loss import label_cross_entropy


@each_measure
def test_differentiation_does_not_change_the_value(f):
    value, _ = jax.jvp(f, (Z, A), (jnp.ones_like(Z), jnp.ones_like(A)))
    np.testing.assert_array_equal(value, f(Z, A))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    "f",
    [
        lambda z: jxent.cross_entropy(Labels(jnp.arange(8)), Logits(z)),
        lambda z: jxent.entropy(Logits(z)),
        lambda z: jxent.kl_divergence(Logits(jax.lax.stop_gradient(z)), Logits(z)),
    ],
    ids=["labels", "entropy", "KL"],
)
def test_the_backward_pass_keeps_the_logits_and_a_few_numbers_per_row(f, dtype):
    z = jnp.zeros((8, 1000), dtype)
    _, vjp = jax.vjp(f, z)
    kept = jax.tree.leaves(vjp)
    # The logits as they came, twice where there are two, and never in float32.
    large = [x for x in kept if x.size >= z.size]
    assert all(x.dtype == dtype for x in large) and len(large) <= 2
    assert sum(x.nbytes for x in kept if x.size < z.size) <= 8 * 4 * 16


def compiled(f, *args):
    """The program that XLA makes of `f`, without the names of what it came from."""
    text = jax.jit(f).lower(*args).compile().as_text()
    body = text[text.index("ENTRY") :]
    return re.sub(r"metadata=\{[^}]*\}|jit_\w+|%main[.\d]*", "", body)


def test_jit_sees_the_arithmetic_and_nothing_else():
    measure = lambda z, y: jxent.cross_entropy(Labels(y), Logits(z))
    kernel = lambda z, y: label_cross_entropy(z, y, 0.0)
    assert compiled(measure, Z, Y) == compiled(kernel, Z, Y)
    slope = lambda f: jax.grad(lambda z: f(z).sum())
    measure = lambda z: jxent.entropy(Logits(z))
    assert compiled(slope(measure), Z) == compiled(slope(softmax_entropy), Z)


def test_vmap_over_tokens_needs_no_more_memory_than_batch_axes():
    def loss(h, w, y, class_weights):
        options = {"class_weights": class_weights, "label_smoothing": 0.1}
        return losses.linear_softmax_cross_entropy(h, w, y, block_size=512, **options)

    shapes = ((8, 32, 16), "f4"), ((16, 8192), "f4"), ((8, 32), "i4"), ((8192,), "f4")
    shapes = [jax.ShapeDtypeStruct(*x) for x in shapes]

    def memory(loss):
        slope = jax.jit(jax.grad(lambda *x: jnp.sum(loss(*x)), (0, 1)))
        return slope.lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    one_by_one = jax.vmap(jax.vmap(loss, (0, None, 0, None)), (0, None, 0, None))
    assert memory(one_by_one) <= 1.05 * memory(loss)


def test_vmap_over_tokens_does_not_repeat_what_they_share():
    n, t, v = 8, 32, 8192
    row = lambda p, h, w: kl_divergence(Probs(p), LinearLogits(h, w, block_size=512))
    total = lambda *x: jnp.sum(jax.vmap(row, (None, 0, None))(*x))
    shapes = [jax.ShapeDtypeStruct(s, "f4") for s in ((t, v), (n, t, 16), (16, v))]
    program = jax.jit(jax.grad(total, (1, 2))).lower(*shapes).compile()
    assert program.memory_analysis().temp_size_in_bytes < 4 * n * t * v


@each_measure
def test_shards_of_the_batch_need_no_communication(f):
    mesh = jax.make_mesh((2,), ("rows",), (jax.sharding.AxisType.Auto,))
    spec = PartitionSpec("rows")
    sharded = jax.shard_map(f, mesh=mesh, in_specs=(spec, spec), out_specs=spec)
    compiled = jax.jit(sharded).lower(Z, A).compile()
    assert "all-" not in compiled.as_text()
    close(compiled(*jax.device_put((Z, A), jax.NamedSharding(mesh, spec))), f(Z, A))
