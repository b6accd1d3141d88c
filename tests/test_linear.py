"""`LinearLogits` in every measure: what the dense program says, in every derivative."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import jxent
from jxent import Labels, LinearLogits, Logits, LogProbs, Probs

rng = np.random.default_rng(0)
N, D, V = 7, 5, 24
Y = jnp.asarray(rng.integers(0, V, N), jnp.int32)
ARGS = {
    "hidden": rng.normal(size=(N, D)),
    "weight": rng.normal(size=(D, V)),
    "bias": rng.normal(size=V),
    "temperature": np.array(1.3),
    "other hidden": rng.normal(size=(N, D + 1)),
    "other weight": rng.normal(size=(V, D + 1)),
    "targets": rng.normal(size=(N, V)),
}
WAY = {name: rng.normal(size=x.shape) for name, x in ARGS.items()}
WEIGHTS = rng.normal(size=N)  # of the tokens: every cotangent is another


def streamed(h, w, b, t, h2, w2, block=8):
    q = LinearLogits(h, w, b, t, softcap=3.0, block_size=block)
    return q, LinearLogits(h2, w2, vocab_axis=0, block_size=block)


def dense(h, w, b, t, h2, w2):
    z = 3 * jnp.tanh((h @ w + b[None]) / 3) / t
    return Logits(z), Logits(h2 @ w2.T)


# Of the softmax of a projection, another one, and an array of logits.
MEASURES = {
    "entropy": lambda q, r, z: jxent.entropy(q),
    "perplexity": lambda q, r, z: jxent.perplexity(q),
    "labels": lambda q, r, z: jxent.cross_entropy(Labels(Y), q),
    "smooth labels": lambda q, r, z: jxent.cross_entropy(Labels(Y, 0.1), q),
    "Probs": lambda q, r, z: jxent.cross_entropy(Probs(jax.nn.softmax(z)), q),
    "LogProbs": lambda q, r, z: jxent.cross_entropy(LogProbs(jax.nn.log_softmax(z)), q),
    "Logits": lambda q, r, z: jxent.cross_entropy(Logits(z), q),
    "both": lambda q, r, z: jxent.cross_entropy(r, q),
    "reverse": lambda q, r, z: jxent.cross_entropy(q, Logits(z)),
    "reverse Probs": lambda q, r, z: jxent.cross_entropy(q, jax.nn.softmax(z)),
    "KL of labels": lambda q, r, z: jxent.kl_divergence(Labels(Y), q),
    "KL of smooth labels": lambda q, r, z: jxent.kl_divergence(Labels(Y, 0.1), q),
    "KL of Probs": lambda q, r, z: jxent.kl_divergence(jax.nn.softmax(z), q),
    "KL of Logits": lambda q, r, z: jxent.kl_divergence(Logits(z), q),
    "KL of both": lambda q, r, z: jxent.kl_divergence(r, q),
    "KL in reverse": lambda q, r, z: jxent.kl_divergence(
        q, LogProbs(jax.nn.log_softmax(z))
    ),
    "JS of smooth labels": lambda q, r, z: jxent.js_divergence(Labels(Y, 0.1), q),
    "JS of Probs": lambda q, r, z: jxent.js_divergence(jax.nn.softmax(z), q),
    "JS of both": lambda q, r, z: jxent.js_divergence(r, q, weight=0.3),
    "JS in reverse": lambda q, r, z: jxent.js_divergence(q, Logits(z), weight=0.3),
}
# Those that share no formula with another one here have second derivatives of their own.
TWICE = """entropy, labels, smooth labels, Logits, both, reverse Probs,
KL of smooth labels, KL of Probs, KL of both, JS of both""".replace("\n", " ")
each_measure = pytest.mark.parametrize("name", MEASURES)


def of(measure, heads):
    """A measure as a function of arrays, one number per token."""
    return lambda *args: measure(*heads(*args[:-1]), args[-1])


def derivatives(f, orders):
    """The derivatives of `f` at some arguments, of second order in all nestings."""

    def found(args, way, weights):
        every = range(len(args))
        along = lambda f: lambda *x: jax.jvp(f, x, way)[1]
        total = lambda *x: jnp.vdot(f(*x), weights)
        slope = jax.grad(total, every)
        dot = lambda g: lambda *x: sum(map(jnp.vdot, g(*x), way))
        derivatives = {"value": f, "gradient": slope, "tangent": along(f)}
        if orders > 1:
            derivatives |= {
                "forward over forward": along(along(f)),
                "forward over reverse": along(slope),
                "reverse over forward": jax.grad(along(total), every),
                "reverse over reverse": jax.grad(dot(slope), every),
            }
        return {name: g(*args) for name, g in derivatives.items()}

    # Compiling takes nearly all of the time.
    return jax.jit(found, compiler_options={"xla_backend_optimization_level": 0})


def numbers(f, dtype, orders):
    with jax.enable_x64(dtype == np.float64):
        cast = lambda x: jnp.asarray(x, dtype)
        args, way = (tuple(map(cast, x.values())) for x in (ARGS, WAY))
        found = derivatives(f, orders)(args, way, cast(WEIGHTS))
        assert all(x.dtype == dtype for x in jax.tree.leaves(found))
        return jax.tree.map(np.asarray, found)


def close(got, truth, tolerance):
    """Within `tolerance` of the largest number of each array; one alone, of its group."""
    for name, group in got.items():
        arrays = jax.tree.leaves(truth[name])
        for i, (a, b) in enumerate(zip(jax.tree.leaves(group), arrays, strict=True)):
            of = arrays if b.ndim == 0 else [b]
            scale = max(np.abs(x).max() for x in of) or 1
            error = np.abs(a - b).max() / scale
            assert error <= tolerance, (name, list(ARGS)[i], error)


@each_measure
def test_every_derivative_is_that_of_the_dense_program(name):
    f, orders = MEASURES[name], 2 if name in TWICE.split(", ") else 1
    truth = numbers(of(f, dense), np.float64, orders)
    close(numbers(of(f, streamed), np.float64, orders), truth, 1e-11)
    # In tiles that leave some classes for the last one.
    ragged = functools.partial(streamed, block=7)
    first = {name: truth[name] for name in ("value", "gradient", "tangent")}
    close(numbers(of(f, ragged), np.float32, 1), first, 3e-6)


# ------------------------------------------------------------------ transforms

FLOATS = tuple(jnp.asarray(x, jnp.float32) for x in ARGS.values())


def alike(got, expected, tolerance=1e-6):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        scale = np.abs(b).max(initial=1e-30)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


few_measures = pytest.mark.parametrize(
    "name", ["smooth labels", "entropy", "JS of both"]
)


@few_measures
def test_transforms_agree(name):
    if "labels" in name:  # one of them for each row that a transform gives
        f = lambda q, r, z: jxent.cross_entropy(Labels(jnp.argmax(z, -1), 0.1), q)
    else:
        f = MEASURES[name]
    f, (h, *shared, h2, w2, z) = of(f, streamed), FLOATS
    f = lambda h, h2, z, f=f: f(h, *shared, h2, w2, z)
    rows = h, h2, z
    total = lambda g: lambda h, h2, z: jnp.vdot(g(h, h2, z), jnp.float32(WEIGHTS))
    step = lambda carry, row: (carry, f(*row))
    ways = {
        "eager": f,
        "vmap": jax.vmap(f),
        "scan": lambda *x: jax.lax.scan(step, 0, x)[1],
        "cond": lambda *x: jax.lax.cond(x[0][0, 0] < 9, f, lambda *x: x[0][:, 0], *x),
        "remat": jax.checkpoint(f),
        "map": lambda *x: jax.lax.map(lambda row: f(*row), x),
    }
    value = jax.jit(f)(*rows)
    slope = jax.jit(jax.grad(total(f), (0, 1, 2)))(*rows)
    for g in ways.values():
        alike(g(*rows), value)
    slopes_of = lambda *rows: [
        jax.grad(total(g), (0, 1, 2))(*rows) for g in ways.values()
    ]
    for got in jax.jit(slopes_of)(*rows):
        alike(got, slope)


@few_measures
def test_many_projections_at_once(name):
    measure, few = MEASURES[name], lambda x: jnp.stack([x, x[::-1], 2 * x])
    h, w, b, t, h2, w2, z = FLOATS
    many = few(w), few(b)

    def total(w, b, heads):
        row = lambda w, b: of(measure, heads)(h, w, b, t, h2, w2, z)
        # The classes of the weights are on another axis than the batch of one of them.
        each = jax.vmap(row, (1, 0), 1)(jnp.moveaxis(w, 0, 1), b)
        return jnp.vdot(each[:, 1] - each[:, 2], jnp.float32(WEIGHTS)), each

    run = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True), static_argnums=2)
    got, expected = (run(*many, heads) for heads in (streamed, dense))
    alike(got, expected, 3e-6)
    assert (got[1][0][0] == 0).all()  # the first one is not among those that count


def test_eight_bits_do_not_lose_the_cotangents():
    e4m3 = jnp.float8_e4m3fn
    h, w = (jnp.asarray(rng.normal(size=s), e4m3) for s in ((4, 8), (8, 300)))
    y = jnp.array([3, 299, 0, 7])
    total = lambda q: 64 * jnp.sum(jxent.cross_entropy(Labels(y), q))
    streamed = lambda h, w: total(LinearLogits(h, w, block_size=128))
    dense = lambda h, w: total(Logits(h @ w))
    wide = h.astype(jnp.float32), w.astype(jnp.float32)
    value, slopes = jax.value_and_grad(streamed, (0, 1))(h, w)
    np.testing.assert_allclose(value, dense(*wide), rtol=1e-6)
    for got, truth in zip(slopes, jax.grad(dense, (0, 1))(*wide), strict=True):
        assert got.dtype == e4m3
        # Half a unit of the last of four binary digits, or of the smallest number.
        np.testing.assert_allclose(got.astype(truth.dtype), truth, 2**-3.9, 2**-10)


@pytest.mark.parametrize("name", ["smooth labels", "KL of both"])
def test_export_for_three_platforms_with_two_gradients(name):
    f = of(MEASURES[name], streamed)
    total = jax.jit(lambda h, w: f(h, w, *FLOATS[2:]).sum())
    exported = jax.export.export(total, platforms=["cpu", "cuda", "tpu"])(*FLOATS[:2])
    again = jax.export.deserialize(exported.serialize(vjp_order=2))
    way = jnp.asarray(WAY["weight"], jnp.float32)
    dot = lambda f: lambda h, w: jnp.vdot(jax.grad(f, 1)(h, w), way)
    first = lambda f: jax.grad(f, (0, 1))
    every = lambda f: lambda *x: (f(*x), first(f)(*x), first(dot(f))(*x))
    got, expected = (jax.jit(every(f))(*FLOATS[:2]) for f in (again.call, total))
    alike(got, expected, 3e-6)


@few_measures
def test_differentiation_does_not_change_the_value(name):
    f = of(MEASURES[name], streamed)
    value, _ = jax.jvp(f, FLOATS, FLOATS)
    np.testing.assert_array_equal(value, f(*FLOATS))


def test_a_distribution_is_a_pytree():
    q, _ = streamed(*FLOATS[:-1])
    f = lambda q: jxent.cross_entropy(Labels(Y), q).sum()
    slope = jax.jit(jax.grad(f))(q)
    assert isinstance(slope, LinearLogits)
    assert jax.tree.structure(slope) == jax.tree.structure(q)
    assert slope.weight.shape == (D, V) and slope.temperature.shape == ()


# ------------------------------------------------------------------ edges


def softmax64(z):
    e = np.exp(np.float64(z) - np.max(z, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("margin", [0, 5, 17, 40, 80])
def test_a_confident_label_keeps_its_digits(margin):
    k, h = 1000, jnp.eye(2, dtype=jnp.float32)
    w = jnp.zeros((2, k), jnp.float32).at[0, 700].set(margin)
    y = jnp.array([700, 3])
    f = lambda w, b: jxent.cross_entropy(
        Labels(y), LinearLogits(h, w, b, block_size=128)
    )
    value, back = jax.vjp(jax.jit(f), w, jnp.zeros(k, jnp.float32))
    z, y = np.float64(h @ w), np.asarray(y)
    rtol = (8 if margin < 20 else 64) * 2.0**-23
    np.testing.assert_allclose(value, oracles.label_cross_entropy64(z, y), rtol=rtol)
    slope, of_bias = back(jnp.array([1, 0], jnp.float32))
    others = (k - 1) * np.exp(-float(margin))
    np.testing.assert_allclose(of_bias[700], -others / (1 + others), rtol=rtol)
    np.testing.assert_allclose(slope[0, 700], of_bias[700], rtol=1e-6)
    certain = jxent.entropy(LinearLogits(h[:1], w, block_size=128))
    np.testing.assert_allclose(certain, oracles.entropy64(z[:1]), rtol=rtol)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("name", ["labels", "entropy", "KL of both"])
def test_a_bias_masks_classes_as_if_they_were_absent(name, softcap):
    h, w, b = FLOATS[:3]
    out = np.r_[0:8, 11, 23]  # a whole tile of 4, two of them, and the last class
    kept = np.setdiff1d(np.arange(V), out)
    y = jnp.arange(N)

    def total(w, b, y):
        q = LinearLogits(h, w, b, softcap=softcap, block_size=4)
        r = LinearLogits(h[:, ::-1], w, b, softcap=softcap, block_size=4)
        p = {"labels": Labels(y), "entropy": q, "KL of both": r}[name]
        f = jxent.kl_divergence if name == "KL of both" else jxent.cross_entropy
        return jnp.vdot(f(p, q), jnp.float32(np.abs(WEIGHTS)))

    def twice(w, b, y):
        way = w**2, jnp.where(b == -jnp.inf, 0, jnp.sin(b))
        slope = jax.value_and_grad(lambda w, b: total(w, b, y), (0, 1))
        return jax.jvp(slope, (w, b), way)

    got = jax.jit(twice)(w, b.at[out].set(-jnp.inf), jnp.asarray(kept)[y])
    expected = jax.jit(twice)(w[:, kept], b[kept], y)
    for a, c in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        if a.ndim:
            assert (a[..., out] == 0).all()
            a = a[..., kept]
        alike(a, c, 3e-6)


def test_the_surprise_of_a_masked_class_is_infinite_without_nan():
    h, w, b = FLOATS[:3]
    b = b.at[Y[0]].set(-jnp.inf)
    f = lambda h, w: jxent.cross_entropy(Labels(Y), LinearLogits(h, w, b, block_size=8))
    masked = Y == Y[0]
    assert (jnp.isposinf(f(h, w)) == masked).all()
    slopes = jax.grad(lambda *x: f(*x).sum(), (0, 1))(h, w)
    assert not any(jnp.isnan(x).any() for x in slopes)


BAD_ROWS = {"labels": MEASURES["labels"], "smooth labels": MEASURES["smooth labels"]}
BAD_ROWS |= {name: MEASURES[name] for name in ("entropy", "KL of both", "JS of both")}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_row_without_any_class_is_nan_alone(name):
    h, w, _, _, h2, w2, z = FLOATS
    h, w = h.at[3, 0].set(-jnp.inf), jnp.abs(w)

    def f(h):
        q, r = LinearLogits(h, w, block_size=7), LinearLogits(h2, w2.T, block_size=7)
        return MEASURES[name](q, r, z)

    row = np.arange(N) == 3
    with jxent.checks.mode("off"):
        assert (np.isnan(f(h)) == row).all()
        slope = jax.grad(lambda h: f(h).sum())(h)
        assert (np.isnan(slope).any(-1) == row).all()
        tangent = jax.jvp(f, (h,), (jnp.ones_like(h),))[1]
        assert (np.isnan(tangent) == row).all()


@pytest.mark.parametrize("wrong", [-1, V, 2**31 - 1])
@pytest.mark.parametrize("measure", ["cross_entropy", "kl_divergence", "js_divergence"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_label_that_is_no_class_is_nan_in_its_row_alone(wrong, measure, smoothing):
    h, w = FLOATS[:2]
    y, row = Y.at[2].set(wrong), np.arange(N) == 2

    @jax.jit
    def f(h, y):
        p, q = Labels(y, smoothing), LinearLogits(h, w, block_size=7)
        return getattr(jxent, measure)(p, q)

    assert (np.isnan(f(h, y)) == row).all()
    slope = jax.grad(lambda h: f(h, y).sum())(h)
    assert (np.isnan(slope) == row[:, None]).all()
    with pytest.raises(AssertionError, match="label"):
        f.__wrapped__(h, y)


# ------------------------------------------------------------------ wrong arguments


def test_what_does_not_fit_is_named():
    h, w, b = FLOATS[:3]

    def refused(error, match, *args, **options):
        with pytest.raises(error, match=match) as caught:
            jxent.entropy(LinearLogits(*args, **options))
        assert str(caught.value).startswith("entropy: ")

    refused(ValueError, "did you mean vocab_axis=0", h, w.T)
    refused(ValueError, "did you mean vocab_axis=1", h, w, vocab_axis=0)
    refused(ValueError, r"\(7, 5\).*\(4, 24\).*do not multiply$", h, w[:-1])
    refused(ValueError, "do not multiply", h, w[0])
    refused(ValueError, "do not multiply", h[0, 0], w)
    refused(ValueError, "no class", h, w[:, :0])
    refused(ValueError, r"vocab_axis of p is 2", h, w, vocab_axis=2)
    refused(ValueError, r"bias of shape \(5,\), and 24 classes", h, w, b[:5])
    refused(ValueError, r"bias of shape \(1, 24\)", h, w, b[None])
    for shape in ((V,), (N, 1)):
        match = rf"temperature of p has shape {re.escape(str(shape))}"
        refused(ValueError, match, h, w, temperature=jnp.ones(shape))
    for option in ("temperature", "softcap", "block_size"):
        for value in (0, -1, *([] if option == "block_size" else [-0.5])):
            match = rf"{option} of p is {value}, not in \(0, inf\)"
            refused(ValueError, match, h, w, **{option: value})
    refused(TypeError, "block_size of p is a float, and must", h, w, block_size=2.5)
    refused(TypeError, "p.hidden", h.astype(jnp.int32), w)
    refused(TypeError, "p.weight", h, w.astype(jnp.int32))
    refused(TypeError, "p.bias", h, w, b.astype(jnp.int32))


def test_pairs_that_do_not_fit_are_named():
    (q, r), z = streamed(*FLOATS[:-1]), FLOATS[-1]
    with pytest.raises(ValueError, match="class axis"):
        jxent.kl_divergence(Logits(z[:, :-1]), q)
    with pytest.raises(ValueError, match="class axis"):
        jxent.kl_divergence(r, LinearLogits(FLOATS[0], FLOATS[1][:, :-1]))
    with pytest.raises(ValueError, match="batch axes do not broadcast"):
        jxent.cross_entropy(Labels(Y[:-1]), q)
    with pytest.raises(TypeError, match="q is Labels"):
        jxent.cross_entropy(q, Labels(Y))


def test_what_needs_all_probabilities_says_so():
    q, _ = streamed(*FLOATS[:-1])
    for array in ("probs", "log_probs"):
        assert not hasattr(q, array)
        with pytest.raises(
            AttributeError, match=r"multiply: Logits\(hidden @ weight\)"
        ):
            getattr(q, array)
    with pytest.raises(TypeError, match=r"multiply: Logits\(hidden @ weight\)"):
        q.among(Logits(FLOATS[-1]))
