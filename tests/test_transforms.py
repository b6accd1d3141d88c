"""Every transform of JAX gives the same numbers."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jxent
from jxent import BinaryLogits, BinaryProbs, Labels, Logits, LogProbs, Probs

pytestmark = pytest.mark.usefixtures("hasty_compiler")

N, K = 6, 5
Z = jax.random.normal(jax.random.key(0), (N, K)) * 3
A = jax.random.normal(jax.random.key(1), (N, K)) * 3
Y = jnp.arange(N) % K

# Each measure as a function of float arrays [n, k], one number per row.
MEASURES = {
    "entropy of logits": lambda z, a: jxent.entropy(Logits(z)),
    "entropy of probabilities": lambda z, a: jxent.entropy(jax.nn.softmax(z)),
    "entropy of events": lambda z, a: jxent.entropy(BinaryLogits(z)).sum(-1),
    "perplexity": lambda z, a: jxent.perplexity(LogProbs(jax.nn.log_softmax(z))),
    "labels, logits": lambda z, a: jxent.cross_entropy(
        Labels(jnp.argmax(a, axis=-1)), Logits(z)
    ),
    "smooth labels, logits": lambda z, a: jxent.cross_entropy(
        Labels(jnp.argmax(a, axis=-1), smoothing=0.1), Logits(z)
    ),
    "soft labels, logits": lambda z, a: jxent.cross_entropy(
        jax.nn.softmax(a), Logits(z)
    ),
    "logits, logits": lambda z, a: jxent.cross_entropy(Logits(a), Logits(z)),
    "labels, probabilities": lambda z, a: jxent.cross_entropy(
        Labels(jnp.argmax(a, axis=-1)), jax.nn.softmax(z)
    ),
    "events, logits": lambda z, a: jxent.cross_entropy(
        BinaryProbs(jax.nn.sigmoid(a)), BinaryLogits(z)
    ).sum(-1),
    "events, probabilities": lambda z, a: jxent.cross_entropy(
        BinaryLogits(a), BinaryProbs(jax.nn.sigmoid(z))
    ).sum(-1),
    "KL of logits": lambda z, a: jxent.kl_divergence(Logits(a), Logits(z)),
    "KL of probabilities": lambda z, a: jxent.kl_divergence(
        jax.nn.softmax(a), Probs(jax.nn.softmax(z))
    ),
    "KL of both": lambda z, a: jxent.kl_divergence(jax.nn.softmax(a), Logits(z)),
    "KL of events": lambda z, a: jxent.kl_divergence(
        BinaryLogits(a), BinaryLogits(z)
    ).sum(-1),
    "JS of logits": lambda z, a: jxent.js_divergence(Logits(a), Logits(z)),
    "JS of probabilities": lambda z, a: jxent.js_divergence(
        jax.nn.softmax(a), jax.nn.softmax(z), weight=0.3
    ),
}
each_measure = pytest.mark.parametrize("f", MEASURES.values(), ids=MEASURES.keys())


def close(actual, expected, rtol=3e-6, atol=3e-7):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


@each_measure
def test_eager_jit_vmap_scan_and_cond_agree(f):
    expected = f(Z, A)
    assert expected.shape == (N,)

    @jax.jit  # one program, as compiling takes the time
    def others(z, a, yes):
        return {
            "jit": f(z, a),
            "vmap": jax.vmap(f)(z, a),
            "scan": jax.lax.scan(lambda c, za: (c, f(*za)), 0, (z, a))[1],
            "cond": jax.lax.cond(yes, f, lambda z, a: jnp.zeros(N), z, a),
        }, (jax.vmap(f, in_axes=(1, None))(z[:, None, :], a[0]), f(z, a[:1])[None])

    found, one_against_all = others(Z, A, True)
    for value in found.values():
        close(value, expected)
    close(*one_against_all)


@each_measure
def test_every_way_to_a_gradient_agrees(f):
    total = lambda z, a: f(z, a).sum()
    expected = jax.grad(total)(Z, A)
    step = lambda c, za: (c + f(*za), None)
    scanned = lambda z, a: jax.lax.scan(step, jnp.zeros(()), (z, a))[0]
    ways = [
        jax.grad(total),
        jax.jacfwd(total),
        jax.vmap(jax.grad(lambda z, a: f(z, a))),
        jax.grad(jax.checkpoint(total)),
        jax.grad(scanned),
    ]
    for gradient in jax.jit(lambda z, a: [way(z, a) for way in ways])(Z, A):
        close(gradient, expected)


@each_measure
def test_the_four_nestings_of_second_derivatives_agree(f):
    z, a = Z[0], A[0]
    f = lambda z, a, f=f: f(z, a)
    nestings = [
        outer(inner(f))
        for outer in (jax.jacfwd, jax.jacrev)
        for inner in (jax.jacfwd, jax.jacrev)
    ]
    hessians = jax.jit(lambda z, a: [nesting(z, a) for nesting in nestings])(z, a)
    for hessian in hessians[1:]:
        close(hessian, hessians[0], rtol=2e-5, atol=2e-6)


# Those that take the logits as they are, with no softmax of the caller's in between.
BARE = """entropy of logits, entropy of events, labels, logits, smooth labels, logits,
KL of logits, KL of events, JS of logits"""


@pytest.mark.parametrize("name", [name for name in MEASURES if name in BARE])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_computed_in_float32(name, dtype):
    f, z, a = MEASURES[name], Z.astype(dtype), A.astype(dtype)
    total = jax.jit(jax.value_and_grad(lambda z, a: f(z, a).sum()))
    value, gradient = total(z, a)
    exact = f(z.astype(jnp.float32), a.astype(jnp.float32)).sum()
    assert value.dtype == jnp.float32 and gradient.dtype == dtype
    close(value, exact)


def test_distributions_are_pytrees_through_every_transform():
    both = jax.jit(lambda p, q: (p, jxent.kl_divergence(p, q)))
    p, kl = both(Logits(A), Logits(Z))
    assert isinstance(p, Logits)
    close(kl, jxent.kl_divergence(Logits(A), Logits(Z)))
    gradient = jax.grad(lambda q: jxent.kl_divergence(Logits(A), q).sum())(Logits(Z))
    assert isinstance(gradient, Logits) and gradient.z.shape == Z.shape
    labels = Labels(Y, smoothing=0.1)
    close(
        jax.vmap(jxent.cross_entropy)(labels, Logits(Z)),
        jxent.cross_entropy(labels, Logits(Z)),
    )
    _, rows = jax.lax.scan(lambda _, q: (0.0, jxent.entropy(q)), 0.0, Logits(Z))
    close(rows, jxent.entropy(Logits(Z)))
    table = jax.vmap(jax.vmap(jxent.kl_divergence, (None, 0)), (0, None))
    p, q = jax.nn.softmax(A), jax.nn.softmax(Z[:4])
    close(table(p, q), jxent.kl_divergence(p[:, None], q[None]))


@pytest.mark.parametrize("name", ["labels, logits", "KL of logits", "JS of logits"])
def test_export_for_three_platforms_with_two_gradients(name):
    f = jax.jit(lambda z, a: MEASURES[name](z, a).sum())
    exported = jax.export.export(f, platforms=["cpu", "cuda", "tpu"])(Z, A)
    again = jax.export.deserialize(exported.serialize(vjp_order=2))
    close(again.call(Z, A), f(Z, A))
    close(jax.grad(again.call)(Z, A), jax.grad(f)(Z, A))
    hvp = lambda f: jax.jit(jax.grad(lambda z: jnp.vdot(jax.grad(f)(z, A), A)))(Z)
    close(hvp(again.call), hvp(f), atol=2e-6)


@each_measure
def test_float64_is_computed_in_float64(f):
    with jax.enable_x64(True):
        z, a = jnp.array(np.float64(Z)), jnp.array(np.float64(A))
        total = jax.jit(jax.value_and_grad(lambda z, a: f(z, a).sum()))
        value, gradient = jax.block_until_ready(total(z, a))
        assert value.dtype == gradient.dtype == jnp.float64
        value = float(value)  # float64 arrays are not to leave this block
        step = 1e-6 * jax.random.normal(jax.random.key(2), z.shape, jnp.float64)
        f_wide = jax.jit(f)
        slope = (f_wide(z + step, a).sum() - f_wide(z - step, a).sum()) / 2
        close(jnp.vdot(gradient, step), slope, rtol=1e-8, atol=1e-14)
    close(f(Z, A).sum(), value)


@pytest.mark.parametrize(
    "as_input",
    [
        lambda p: p,
        np.asarray,
        lambda p: np.float64(p),
        lambda p: np.asarray(p).tolist(),
    ],
    ids=["jax", "numpy", "float64", "list"],
)
def test_arrays_of_every_kind_mean_the_same(as_input):
    p, q = np.float32([[0.5, 0.5, 0.0]]), np.float32([[0.25, 0.5, 0.25]])
    kl = jxent.kl_divergence(as_input(p), as_input(q))
    assert kl.dtype == jnp.float32 and not kl.weak_type
    np.testing.assert_array_equal(kl, jxent.kl_divergence(jnp.array(p), jnp.array(q)))
    labels = jxent.cross_entropy(Labels([1]), Logits(as_input(q)))
    expected = jxent.cross_entropy(Labels(jnp.array([1])), Logits(jnp.array(q)))
    np.testing.assert_array_equal(labels, expected)


def test_the_structure_of_a_pytree_knows_its_class():
    """Or else `jit` takes one class for another, now and then."""

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Foreign:
        p: float

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class ForeignPair:
        total: float
        weight: float

    one = [Probs, LogProbs, Logits, BinaryProbs, BinaryLogits, Foreign]
    trees = [kind(0.5) for kind in one] + [Labels(1), Labels(1, smoothing=0.5)]
    trees += [jxent.Mean(1.0, 2.0), ForeignPair(1.0, 2.0)]
    for a, b in itertools.combinations(map(jax.tree.structure, trees), 2):
        assert a != b


@pytest.mark.parametrize("tree", [Probs(0.5), Labels(1, 0.5), jxent.Mean(1.0, 2.0)])
def test_pytrees_are_rebuilt_and_their_leaves_have_names(tree):
    leaves, structure = jax.tree.flatten(tree)
    assert jax.tree.unflatten(structure, leaves) == tree
    paths, same = jax.tree_util.tree_flatten_with_path(tree)
    assert same == structure
    names = {Probs: [".p"], Labels: [".y"], jxent.Mean: [".total", ".weight"]}
    assert [jax.tree_util.keystr(path) for path, _ in paths] == names[type(tree)]
    assert [leaf for _, leaf in paths] == leaves


def test_scalars_do_not_leak_weak_types():
    for x in (0.25, np.float32(0.25), jnp.float32(0.25)):
        h = jxent.entropy(BinaryProbs(x))
        assert h.dtype == jnp.float32 and not h.weak_type


def test_second_derivatives_of_kl_do_not_see_offsets():
    a, b = jnp.float32([0.5, -1.25, 2]), jnp.float32([0, 3, -0.5])
    kl = lambda a, b: jxent.kl_divergence(Logits(a), Logits(b))
    curves = jax.hessian(kl, (0, 1))
    close(curves(a + 2.0**20, b - 2.0**20), curves(a, b), rtol=1e-6)


def test_second_derivatives_of_kl_are_right_for_small_probabilities():
    p, q = np.float32([1, 1e-20]), np.float32([1, 3e-20])
    slope = jax.grad(lambda p, q: jxent.kl_divergence(p, q), (0, 1))
    ones = np.ones_like(p)
    along_p, along_q = jax.jit(lambda *x: jax.jvp(slope, x, (ones, ones))[1])(p, q)
    # Of the Hessian [1/p, −1/q; −1/q, p/q²], whose q² is no float32.
    wide = p.astype(float), q.astype(float)
    close(along_p, 1 / wide[0] - 1 / wide[1], rtol=1e-6)
    close(along_q, wide[0] / wide[1] ** 2 - 1 / wide[1], rtol=1e-6)
