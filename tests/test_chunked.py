"""Chunks change nothing but the memory: not the loss, nor any of its derivatives."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec as P

import jxent
from jxent import chunked, cross_entropy, Labels, Logits, Mean

D, V = 8, 40
rng = np.random.default_rng(0)
normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
PARAMS = {
    "scale": 1 + normal(D) / 5,
    "weight": normal(D, V),
    "bias": normal(V),
    "lora": (normal(D, 2), normal(2, V)),
}
TRANSFORMS = {
    "forward over reverse": lambda f, x, v: jax.jvp(jax.grad(f), (x,), (v,))[1],
    "reverse over forward": lambda f, x, v: jax.grad(
        lambda x: jax.jvp(f, (x,), (v,))[1]
    )(x),
    "reverse over reverse": lambda f, x, v: jax.vjp(jax.grad(f), x)[1](v)[0],
    "forward over forward": lambda f, x, v: jax.jvp(
        lambda x: jax.jvp(f, (x,), (v,))[1], (x,), (v,)
    )[1],
}


def row(x, shape):
    return jnp.broadcast_to(x, shape)


def head(params, hidden):
    """A norm without an epsilon, a weight with an adapter, a bias and a cap."""
    norm = jnp.sqrt(jnp.mean(hidden**2, axis=-1, keepdims=True))
    x = hidden / norm * row(params["scale"], hidden.shape)
    a, b = params["lora"]
    z = x @ params["weight"] + (x @ a) @ b
    return 5 * jnp.tanh((z + row(params["bias"], z.shape)) / 5)


def loss(logits, labels):
    return cross_entropy(Labels(labels), Logits(logits))


def dense(loss, head, has_aux=False):
    """What `chunked` computes, on all tokens at once."""

    def mean(params, hidden, *per_token, where=None, weights=None):
        found = loss(head(params, hidden), *per_token)
        of = lambda x: Mean.of(x, where=where, weights=weights)
        return (of(found[0]), jax.tree.map(of, found[1])) if has_aux else of(found)

    return mean


def data(n):
    return normal(n, D), jnp.asarray(rng.integers(0, V, n), jnp.int32)


def assert_close(got, expected, tolerance=2e-5):
    def check(a, b):
        assert a.dtype == b.dtype
        scale = np.abs(b).max(initial=1e-3)
        np.testing.assert_allclose(a, b, atol=tolerance * scale, rtol=0)

    jax.tree.map(check, got, expected)


@pytest.mark.parametrize(
    ("n", "size"), [(0, None), (1, 8), (7, 8), (513, 8), (513, 256), (513, 1000)]
)
def test_is_the_dense_loss_with_its_gradients(n, size):
    hidden, labels = data(n)
    weights = jnp.asarray(rng.gamma(2.0, size=n), jnp.float32)
    where = jnp.arange(n) % 3 != 1

    def objective(mean, params, hidden, weights):
        m = mean(params, hidden, labels, where=where, weights=weights)
        return jnp.sin(3 * m.value) + m.total / 100  # of which no cotangent is 1

    ours = functools.partial(objective, chunked(loss, head, chunk_size=size))
    theirs = functools.partial(objective, dense(loss, head))
    at = PARAMS, hidden, weights
    got = jax.jit(jax.value_and_grad(ours, (0, 1, 2)))(*at)
    assert_close(got, jax.jit(jax.value_and_grad(theirs, (0, 1, 2)))(*at))
    np.testing.assert_allclose(jax.jit(ours)(*at), got[0], rtol=1e-6)
    along = lambda f: jax.jit(lambda at: jax.jvp(f, (at,), (at,)))(at)
    got, expected = (along(lambda at, f=f: f(*at)) for f in (ours, theirs))
    assert_close(got, expected)


def test_a_boolean_weight_is_a_mask():
    hidden, labels = data(20)
    keep = labels < V // 2
    mean = chunked(loss, head, chunk_size=8)
    a = mean(PARAMS, hidden, labels, weights=keep)
    assert_close(a, mean(PARAMS, hidden, labels, where=keep))
    assert float(a.weight) == int(keep.sum())


def test_tokens_have_batch_axes_and_pytrees():
    # Distillation: both heads see their own hidden states, and labels come along.
    hidden, labels = data(24)
    both = hidden.reshape(2, 12, D), normal(2, 12, 3)
    params = PARAMS, normal(3, V)
    labels = Labels(labels.reshape(2, 12), smoothing=0.1)
    where = jnp.arange(12)[None] < jnp.array([[12], [5]])

    def heads(params, hidden):
        return head(params[0], hidden[0]), hidden[1] @ params[1]

    def distil(logits, labels, bonus):
        student, teacher = map(Logits, logits)
        return bonus * jxent.kl_divergence(teacher, student) + cross_entropy(
            labels, student
        )

    bonus = jnp.exp(normal(2, 12))
    value = lambda mean, *at: mean(*at[:2], labels, at[2], where=where).value
    ours = functools.partial(value, chunked(distil, heads, chunk_size=8))
    theirs = functools.partial(value, dense(distil, heads))
    at = params, both, bonus
    got, expected = (
        jax.jit(jax.value_and_grad(f, (0, 1, 2)))(*at) for f in (ours, theirs)
    )
    assert_close(got, expected)


def test_further_numbers_are_averaged_beside_it_without_a_derivative():
    hidden, labels = data(50)
    where = labels > 5

    def with_aux(logits, labels):
        z = jax.nn.logsumexp(logits, axis=-1) ** 2
        aux = {
            "z": z,
            "hit": jnp.argmax(logits, axis=-1) == labels,
            "entropy": (jxent.entropy(Logits(logits)), labels),
        }
        return loss(logits, labels) + 0.01 * z, aux

    ours = chunked(with_aux, head, has_aux=True, chunk_size=16)
    got = jax.jit(ours)(PARAMS, hidden, labels, where=where)
    theirs = dense(with_aux, head, has_aux=True)
    assert_close(got, jax.jit(theirs)(PARAMS, hidden, labels, where=where))

    def slope(mean, of):
        value = lambda p: of(mean(p, hidden, labels, where=where)).value
        return jax.jit(jax.grad(value))(PARAMS)

    first = lambda result: result[0]
    assert_close(slope(ours, first), slope(theirs, first))
    zeros = slope(ours, lambda result: result[1]["z"])
    jax.tree.map(lambda g: np.testing.assert_array_equal(g, 0), zeros)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_second_derivatives_are_those_of_the_dense_loss(transform):
    hidden, labels = data(20)
    weights = jnp.exp(normal(20))
    at = PARAMS, hidden, weights
    v = jax.tree.map(lambda x: jnp.cos(7 * x), at)
    value = lambda mean, at: mean(*at[:2], labels, weights=at[2]).value
    ours = functools.partial(value, chunked(loss, head, chunk_size=8))
    theirs = functools.partial(value, dense(loss, head))
    got, expected = (
        jax.jit(functools.partial(transform, f))(at, v) for f in (ours, theirs)
    )
    assert_close(got, expected, 1e-4)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_a_removed_token_reaches_neither_value_nor_gradient(bad):
    hidden, labels = data(30)
    target = jnp.exp(normal(30))
    keep = jnp.arange(30) % 4 > 0

    def scaled(logits, labels, target):
        return loss(logits, labels) / target

    def objective(params, hidden, target, labels, **how):
        return chunked(scaled, head, chunk_size=8)(
            params, hidden, labels, target, **how
        ).value

    grad = jax.jit(jax.value_and_grad(objective, (0, 1, 2)))
    expected = grad(PARAMS, hidden, target, labels, where=keep)
    poison = lambda x: jnp.where(jnp.expand_dims(keep, range(1, x.ndim)), x, bad)
    labels = jnp.where(keep, labels, -100)
    at = PARAMS, poison(hidden), poison(target)
    assert_close(grad(*at, labels, where=keep), expected)
    assert_close(grad(*at, labels, weights=keep.astype(jnp.float32)), expected)
    tangent = jax.tree.map(jnp.ones_like, PARAMS), poison(hidden), poison(target)
    f = lambda *at: objective(*at, labels, where=keep)
    assert np.isfinite(jax.jit(lambda: jax.jvp(f, at, tangent)[1])())
    # With nothing left the mean is 0, and so is its slope.
    nothing = grad(*at, labels, where=jnp.zeros(30, bool))
    jax.tree.map(lambda x: np.testing.assert_array_equal(x, 0), nothing)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_costs_one_more_rounding_at_most(dtype):
    # A chunk's gradient is rounded, as the head makes it, and so is their sum.
    n, d, v = 512, 32, 500
    params = {"w": (2 * normal(d, v) / d**0.5).astype(dtype), "scale": normal(d)}
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    hidden = normal(n, d).astype(dtype)
    labels = jnp.asarray(rng.integers(0, v, n))

    def head(params, hidden):
        return (hidden * row(params["scale"], hidden.shape)) @ params["w"]

    ours = lambda *at: chunked(loss, head, chunk_size=64)(*at, labels).value
    plain = lambda *at: jnp.mean(loss(head(*at), labels))
    at = params, hidden
    exact = jax.tree.map(lambda x: x.astype(jnp.float32), at)
    grad = lambda f, at: jax.jit(jax.value_and_grad(f, (0, 1)))(*at)
    (value, got), (plain_value, theirs) = grad(ours, at), grad(plain, at)
    true_value, truth = grad(plain, exact)
    assert value.dtype == jnp.float32
    assert abs(value - true_value) <= abs(plain_value - true_value) + 1e-6

    def check(got, theirs, truth):
        assert got.dtype == dtype
        error = lambda x: np.linalg.norm(x.astype(jnp.float32) - truth)
        rounding = error(truth.astype(dtype))
        assert error(got) <= 1.02 * np.hypot(error(theirs), rounding)

    jax.tree.map(check, got, theirs, truth)


def test_sums_over_many_chunks_do_not_stall_in_half_precision():
    # 4096 equal slopes of 1: a sum in bfloat16 would stop at 256.
    hidden, w = jnp.ones((4096, 1), jnp.bfloat16), jnp.ones((1, 1), jnp.bfloat16)
    mean = chunked(lambda z: z[:, 0], lambda w, h: h @ w, chunk_size=1)
    assert jax.grad(lambda w: mean(w, hidden).total)(w) == 4096


def test_what_loss_and_head_close_over_has_derivatives():
    hidden, labels = data(20)
    weight = PARAMS["weight"]

    def objective(chunks, temperature, weight, y):
        of = chunked if chunks else dense
        mean = of(lambda z: loss(z / temperature, y(z)), lambda _, h: h @ weight)
        return mean((), hidden).value

    y = lambda z: jnp.zeros(len(z), jnp.int32) + labels[0]
    for transform in (
        lambda f: jax.value_and_grad(f, (0, 1))(jnp.float32(2), weight),
        lambda f: jax.grad(jax.jit(f), (0, 1))(jnp.float32(2), weight),
        lambda f: jax.hessian(f)(jnp.float32(2), weight),
        lambda f: jax.vmap(jax.grad(f), (0, None))(jnp.arange(1.0, 4.0), weight),
    ):
        ours, theirs = (
            jax.jit(lambda t=transform, c=c: t(lambda *at: objective(c, *at, y)))()
            for c in (True, False)
        )
        assert_close(ours, theirs, 1e-4)


def test_inside_of_other_transforms():
    hidden, labels = data(24)
    value = lambda mean, p, h, y: mean(p, h, y).value
    ours = functools.partial(value, chunked(loss, head, chunk_size=4))
    theirs = functools.partial(value, dense(loss, head))
    rows = hidden.reshape(3, 8, D), labels.reshape(3, 8)

    def scanned(f):
        def step(total, row):
            value, slope = jax.value_and_grad(f)(PARAMS, *row)
            return total + value, slope

        return jax.lax.scan(step, jnp.float32(0), rows)

    for transform in (
        lambda f: jax.vmap(jax.value_and_grad(f), (None, 0, 0))(PARAMS, *rows),
        lambda f: jax.grad(jax.checkpoint(f), (0, 1))(PARAMS, hidden, labels),
        scanned,
    ):
        got, expected = (
            jax.jit(lambda t=transform, f=f: t(f))() for f in (ours, theirs)
        )
        assert_close(got, expected)


# ------------------------------------------------------------------ cost


def compiled(f, *args):
    return jax.jit(f).lower(*args).compile()


def dots(program):
    return len(re.findall(r" dot\(", program.as_text()))


N, WIDE, MANY = 2048, 64, 4096  # tokens, features, classes
LARGE = (
    jax.ShapeDtypeStruct((WIDE, MANY), jnp.float32),
    jax.ShapeDtypeStruct((N, WIDE), jnp.float32),
    jax.ShapeDtypeStruct((N,), jnp.int32),
)


def large(w, h, y):
    return chunked(loss, lambda w, h: h @ w, chunk_size=64)(w, h, y).value


def test_three_products_and_no_array_of_logits():
    assert dots(compiled(large, *LARGE)) == 1
    assert dots(compiled(jax.grad(large), *LARGE)) == 2
    program = compiled(jax.value_and_grad(large, (0, 1)), *LARGE)
    assert dots(program) == 3
    assert " conditional(" not in program.as_text()
    # Logits of 64 tokens, and the weight's gradient twice: a chunk's, and a transpose.
    logits, weight, hidden = 64 * MANY * 4, WIDE * MANY * 4, N * WIDE * 4
    temporary = program.memory_analysis().temp_size_in_bytes
    assert temporary < 1.1 * (logits + 2 * weight + 2 * hidden) < N * MANY * 4 / 6


@pytest.mark.parametrize("mode", ["forward over reverse", "reverse over forward"])
def test_second_derivatives_store_no_array_of_logits(mode):
    def product(w, h, y, v):
        return TRANSFORMS[mode](lambda w: large(w, h, y), w, v)

    program = compiled(product, *LARGE, LARGE[0])
    assert program.memory_analysis().temp_size_in_bytes < N * MANY * 4 / 3


def test_replaces_a_handwritten_chunked_loss():
    """As training code has it: z-loss, padding and prompt masks, weights, accuracy."""
    n, size = 128, 32
    hidden, labels = data(n)
    pad, prompt = labels == 0, jnp.arange(n) < 20
    weights = jnp.exp(normal(n))

    def handwritten(w, hidden):
        @jax.checkpoint
        def body(sums, start):
            part = functools.partial(
                jax.lax.dynamic_slice_in_dim, start_index=start, slice_size=size
            )
            logits = part(hidden) @ w
            top = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
            log_z = top[:, 0] + jnp.log(jnp.sum(jnp.exp(logits - top), axis=-1))
            y = part(labels)
            nats = log_z - jnp.take_along_axis(logits, y[:, None], axis=-1)[:, 0]
            count = jnp.where(part(pad) | part(prompt), 0, part(weights))
            hit = jnp.argmax(logits, axis=-1) == y
            new = (nats + 1e-3 * log_z**2, log_z**2, hit.astype(jnp.float32))
            new = [jnp.sum(count * x) for x in (*new, jnp.ones_like(nats))]
            return jax.tree.map(jnp.add, sums, new), None

        starts = jnp.arange(0, n, size)
        total, z, hits, count = jax.lax.scan(body, [jnp.float32(0)] * 4, starts)[0]
        return total / count, (z / count, hits / count)

    def terms(logits, labels):
        z = jax.nn.logsumexp(logits, axis=-1) ** 2
        hit = jnp.argmax(logits, axis=-1) == labels
        return loss(logits, labels) + 1e-3 * z, (z, hit)

    mean = chunked(terms, lambda w, h: h @ w, has_aux=True, chunk_size=size)

    def ours(w, hidden):
        where = ~(pad | prompt)
        nats, aux = mean(w, hidden, labels, where=where, weights=weights)
        return nats.value, tuple(x.value for x in aux)

    at = PARAMS["weight"], hidden
    got, expected = (
        jax.jit(jax.value_and_grad(f, (0, 1), has_aux=True))(*at)
        for f in (ours, handwritten)
    )
    assert_close(got, expected)


# ------------------------------------------------------------------ devices


def collectives(text):
    """The computation that each one is in, and its line."""
    names = r"all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    here = ""
    for line in text.splitlines():
        if line.startswith(("%", "ENTRY")):
            here = line.split()[0]
        if re.search(rf" ({names})(-start)?\(", line):
            yield here, line


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_sharded_tokens_under_jit_are_not_gathered(kind):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    hidden, labels = data(256)
    f = lambda w, h, y: chunked(loss, lambda w, h: h @ w, chunk_size=64)(w, h, y).value
    grad = jax.value_and_grad(f, (0, 1))
    at = PARAMS["weight"], hidden, labels
    expected = grad(*at)
    with jax.set_mesh(mesh):
        at = [
            jax.device_put(x, jax.NamedSharding(mesh, spec))
            for x, spec in zip(at, (P(), P("data"), P("data")), strict=True)
        ]
        program = compiled(grad, *at)
        got = program(*at)
    assert_close(jax.device_get(got), jax.device_get(expected))
    for _, line in collectives(program.as_text()):
        assert " all-reduce" in line


def test_devices_merge_by_psum_after_the_last_chunk():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    hidden, labels = data(256)
    mean = chunked(loss, head, chunk_size=8)
    merged = jax.shard_map(
        lambda *at: jax.lax.psum(mean(*at), "data").value,
        mesh=mesh,
        in_specs=(P(), P("data"), P("data")),
        out_specs=P(),
    )
    grad = lambda f: jax.value_and_grad(f, (0, 1))
    program = compiled(grad(merged), PARAMS, hidden, labels)
    plain = lambda *at: dense(loss, head)(*at).value
    expected = grad(plain)(PARAMS, hidden, labels)
    assert_close(
        jax.device_get(program(PARAMS, hidden, labels)), jax.device_get(expected)
    )
    assert all(here == "ENTRY" for here, _ in collectives(program.as_text()))


def test_a_vocabulary_shared_out_by_shard_map():
    mesh = jax.make_mesh((2, 4), ("data", "vocab"), axis_types=(AxisType.Auto,) * 2)
    hidden, labels = data(64)

    def sharded_loss(z, y):
        k = z.shape[-1]
        log_z = jnp.log(jax.lax.psum(jnp.sum(jnp.exp(z), axis=-1), "vocab"))
        here = (y - k * jax.lax.axis_index("vocab"))[:, None] == jnp.arange(k)[None]
        return log_z - jax.lax.psum(jnp.sum(jnp.where(here, z, 0), axis=-1), "vocab")

    mean = chunked(sharded_loss, lambda w, h: h @ w, chunk_size=8)
    sharded = jax.shard_map(
        lambda *at: jax.lax.psum(mean(*at), "data").value,
        mesh=mesh,
        in_specs=(P(None, "vocab"), P("data"), P("data")),
        out_specs=P(),
    )
    plain = lambda w, h, y: dense(loss, lambda w, h: h @ w)(w, h, y).value
    at = PARAMS["weight"], hidden
    v = jax.tree.map(jnp.cos, at)
    ours, theirs = (lambda at, f=f: f(*at, labels) for f in (sharded, plain))
    for transform in (
        lambda f: jax.value_and_grad(f)(at),
        lambda f: jax.jvp(f, (at,), (v,)),
        lambda f: TRANSFORMS["forward over reverse"](f, at, v),
    ):
        got = jax.jit(lambda t=transform: t(ours))()
        assert_close(jax.device_get(got), jax.device_get(transform(theirs)), 1e-4)


# ------------------------------------------------------------------ misuse


def test_errors_say_what_is_wrong():
    hidden, labels = data(6)
    mean = chunked(loss, head)
    with pytest.raises(ValueError, match=r"chunked: loss returned shape \(6, 40\)"):
        chunked(lambda z, y: z, head)(PARAMS, hidden, labels)
    with pytest.raises(ValueError, match=r"shape \(5,\).*batch axes of hidden, \(6,\)"):
        mean(PARAMS, hidden, labels[:5])
    with pytest.raises(ValueError, match=r"chunked: weights has shape \(5,\)"):
        mean(PARAMS, hidden, labels, weights=jnp.ones(5))
    with pytest.raises(TypeError, match="chunked: where is int32"):
        mean(PARAMS, hidden, labels, where=labels)


def test_losses_that_look_alike_are_told_apart():
    # Two rules for the same value: a program that is reused must not mix them up.
    def with_slope(slope):
        @jax.custom_jvp
        def loss(z):
            return jnp.sum(z, axis=-1)

        loss.defjvp(lambda z, dot: (loss(*z), slope * jnp.sum(dot[0], axis=-1)))
        return loss

    w, h = jnp.ones((3, 4)), jnp.ones((5, 3))
    head = lambda w, h: h @ w
    for slope in (1.0, 2.0):
        mean = jxent.chunked(with_slope(slope), head)
        found = jax.grad(lambda w, mean=mean: mean(w, h).value)(w)
        np.testing.assert_allclose(found, slope * jnp.ones_like(w), rtol=1e-6)
