"""Products with curvature, and divergences of convex functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from relatives import generator

import jxent
from jxent import BinaryLogits, Labels, LinearLogits, Logits

X = np.float32(generator("x").standard_normal((6, 4)))
A = np.float32(generator("a").standard_normal((4, 5)))
B = np.float32(generator("b").standard_normal((5, 3)))
PARAMS = {"a": jnp.asarray(A), "b": jnp.asarray(B)}
V = {
    name: jnp.asarray(np.float32(generator("v", name).standard_normal(x.shape)))
    for name, x in PARAMS.items()
}


def logits(params, x=X):
    return jnp.tanh(x @ params["a"]) @ params["b"]


MODELS = {
    "Logits": lambda w: Logits(logits(w)),
    "LinearLogits": lambda w: LinearLogits(jnp.tanh(X @ w["a"]), w["b"], block_size=2),
    "BinaryLogits": lambda w: BinaryLogits(logits(w)),
}


def fisher64(kind, params, v):
    """Σ E[s sᵀ] v over the model's own outcomes, in float64."""
    with jax.enable_x64(True):
        wide = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)
        params, v, x = wide(params), wide(v), wide(X)

        def log_p(w):
            z = logits(w, x)
            if kind != "BinaryLogits":
                return jax.nn.log_softmax(z)
            return jnp.stack([jax.nn.log_sigmoid(-z), jax.nn.log_sigmoid(z)], -1)

        scores, p = jax.jacobian(log_p)(params), jnp.exp(log_p(params))
        along = sum(jnp.tensordot(scores[k], v[k], 2) for k in v)
        return {k: np.asarray(jnp.tensordot(p * along, scores[k], p.ndim)) for k in v}


def product(kind):
    return jax.jit(lambda w, v: jxent.fisher_vp(MODELS[kind], w)(v))


def assert_same(got, want, rtol):
    for name in want:
        error = np.abs(got[name] - want[name]).max()
        assert error <= rtol * np.abs(want[name]).max()


@pytest.mark.parametrize("kind", MODELS)
def test_fisher_products_are_the_mean_of_squared_scores(kind):
    for scale in (1.0, 20.0) if kind == "Logits" else (1.0,):  # confident rows, too
        params = PARAMS | {"b": scale * PARAMS["b"]}
        got = product(kind)(params, V)
        assert_same(got, fisher64(kind, params, V), 5e-6)


def test_fisher_products_are_symmetric_and_the_curvature_of_kl():
    other = jax.tree.map(jnp.cos, V)
    fisher = product("Logits")
    inner = lambda a, b: sum(jnp.vdot(a[k], b[k]) for k in a)
    np.testing.assert_allclose(
        inner(other, fisher(PARAMS, V)), inner(V, fisher(PARAMS, other)), rtol=1e-5
    )
    near = jax.tree.map(lambda w, v: w + 1e-3 * v, PARAMS, V)
    kl = jxent.kl_divergence(Logits(logits(PARAMS)), Logits(logits(near))).sum()
    np.testing.assert_allclose(kl, 0.5e-6 * inner(V, fisher(PARAMS, V)), rtol=1e-2)


def test_the_log_loss_of_logits_has_the_fisher_for_its_gauss_newton():
    y = Labels(np.array([0, 1, 2, 0, 1, 2]))
    loss = lambda z: jxent.cross_entropy(y, Logits(z))
    got = jax.jit(lambda w, v: jxent.gauss_newton_vp(loss, logits, w)(v))(PARAMS, V)
    assert_same(got, product("Logits")(PARAMS, V), 1e-5)


def test_natural_gradients_beat_gradients_in_steps():
    x = np.float32(generator("data").standard_normal((64, 5)) * [1, 10, 0.1, 1, 5])
    y = Labels(np.argmax(x @ generator("true").standard_normal((5, 3)), -1))
    model = lambda w: Logits(x @ w)
    loss = lambda w: jxent.cross_entropy(y, model(w)).mean()

    @jax.jit
    def natural(w):
        fisher = jxent.fisher_vp(model, w)
        damped = lambda v: fisher(v) / len(x) + 1e-3 * v
        return w - jax.scipy.sparse.linalg.cg(damped, jax.grad(loss)(w), maxiter=15)[0]

    plain = jax.jit(lambda w: w - 0.02 * jax.grad(loss)(w))
    a = b = jnp.zeros((5, 3))
    for _ in range(10):
        a, b = natural(a), plain(b)
    assert loss(a) < 0.3 * loss(b)


def test_the_vocabulary_of_a_fisher_product_is_never_there():
    h, w = jnp.zeros((256, 8)), jnp.zeros((8, 8192))

    def temporary(head):
        product = jax.jit(lambda w: jxent.fisher_vp(head, w)(w))
        return product.lower(w).compile().memory_analysis().temp_size_in_bytes

    logits = 256 * 8192 * 4
    assert temporary(lambda w: LinearLogits(h, w, block_size=256)) < logits / 2
    assert temporary(lambda w: Logits(h @ w)) > logits


# ------------------------------------------------------------------ convex functions

CONVEX = {
    "negative entropy": (lambda x: jnp.sum(x * jnp.log(x), -1), True),
    "log-sum-exp": (lambda x: jax.nn.logsumexp(x, axis=-1), False),
    "log-gamma": (lambda x: jnp.sum(jax.scipy.special.gammaln(x), -1), True),
    "half square": (lambda x: 0.5 * jnp.sum(x * x, -1), False),
}


def bend(f, at, v):
    return np.asarray(jax.jvp(lambda x: jax.jvp(f, (x,), (v,))[1], (at,), (v,))[1])


@pytest.mark.parametrize("name", CONVEX)
def test_bregman_divergences_keep_their_digits(name):
    f, positive = CONVEX[name]
    rng = generator(name)
    y = rng.standard_normal((8, 5))
    y = np.float32(np.exp(y) if positive else y)
    divergence = jax.jit(jxent.bregman_divergence(f))
    for distance in (0.1, 1e-3, 1e-5):
        step = 1 + distance * rng.standard_normal(y.shape)
        x = np.float32(y * step)
        d = np.float64(x) - y
        with jax.enable_x64(True):
            # F″ at the middle is the integral's value to second order in d.
            want = bend(f, jnp.asarray(y + d / 3), jnp.asarray(d)) / 2
        got = divergence(x, y)
        assert (got >= 0).all()
        np.testing.assert_allclose(got, want, rtol=max(3 * distance**2, 3e-6))
    assert (divergence(y, y) == 0).all()
    slope = jax.grad(lambda x: divergence(x, y).sum())(y)
    np.testing.assert_allclose(slope, 0, atol=1e-6)


def test_bregman_divergences_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        jxent.bregman_divergence(jnp.sum)(jnp.ones(2), jnp.ones(3))
