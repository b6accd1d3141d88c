"""Fenchel-Young losses: optax's where it has them, and their definition where not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jxent import losses

rng = np.random.default_rng(0)
X = rng.normal(size=(6, 5)).astype(np.float32) * 1.5
Y = rng.integers(0, 5, 6)
INF = np.inf
FAMILY = {
    "sparsemax": (losses.sparsemax, losses.multiclass_sparsemax_loss, 2.0),
    "entmax15": (losses.entmax15, losses.multiclass_entmax15_loss, 1.5),
}
each = pytest.mark.parametrize("mapping, loss, alpha", FAMILY.values(), ids=FAMILY)


def entmax64(x, alpha):
    """By bisection for the threshold, in float64 numpy."""
    u = (alpha - 1) * np.asarray(x, np.float64)
    low, high = u.max(-1, keepdims=True) - 1, u.max(-1, keepdims=True)
    p = lambda tau: np.maximum(u - tau, 0) ** (1 / (alpha - 1))
    for _ in range(80):
        middle = (low + high) / 2
        heavy = p(middle).sum(-1, keepdims=True) >= 1
        low, high = np.where(heavy, middle, low), np.where(heavy, high, middle)
    return p(low)


def loss64(x, y, alpha):
    p, x = entmax64(x, alpha), np.asarray(x, np.float64)
    omega = (p**alpha - p).sum(-1) / (alpha * (alpha - 1))
    inner = np.where(p > 0, p * np.where(p > 0, x, 0), 0).sum(-1)
    return inner - omega - x[np.arange(len(y)), y]


@each
def test_mapping_and_loss_are_their_definition(mapping, loss, alpha):
    np.testing.assert_allclose(mapping(X), entmax64(X, alpha), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loss(X, Y), loss64(X, Y, alpha), rtol=1e-5, atol=1e-6)
    grad = jax.grad(lambda x: loss(x, Y).sum())(X)
    np.testing.assert_allclose(grad, entmax64(X, alpha) - np.eye(5)[Y], atol=1e-6)


@each
def test_derivatives_of_the_mapping_and_curvature_of_the_loss(mapping, loss, alpha):
    h = 1e-6
    step = np.eye(5)[:, None] * h
    wide = np.float64(X)
    exact = (entmax64(wide + step, alpha) - entmax64(wide - step, alpha)) / (2 * h)
    for jacobian in (jax.jacfwd, jax.jacrev):
        slope = jax.vmap(jacobian(mapping))(X)
        np.testing.assert_allclose(slope, exact.transpose(1, 2, 0), atol=1e-5)
    hessian = jax.vmap(jax.hessian(loss))(X, Y)
    np.testing.assert_allclose(hessian, jax.vmap(jax.jacrev(mapping))(X), atol=1e-6)


@each
def test_impossible_classes_and_wide_scores(mapping, loss, alpha):
    x = jnp.array([[0.5, -INF, 0.4], [1e5, 0.0, 0.0], [0.0, -INF, 1.0]])
    y = jnp.array([0, 0, 1])
    p = mapping(x)
    alone = entmax64([0.5, 0.4], alpha)
    np.testing.assert_allclose(p[0], [alone[0], 0, alone[1]], rtol=1e-5)
    np.testing.assert_array_equal(p[1], [1, 0, 0])
    value, pullback = jax.vjp(lambda x: loss(x, y), x)
    assert 0 < value[0] < 1 and value[1] == 0 and value[2] == INF
    (grad,) = pullback(jnp.ones(3))
    assert jnp.isfinite(grad).all() and grad[0, 1] == 0
    np.testing.assert_array_equal(grad[1], 0)


@each
def test_sparse_losses_mask_ignore_and_widen(mapping, loss, alpha):
    rows = np.array([1, 1, 0, 1, 0, 1], bool)
    x = np.where(rows[:, None], X, np.nan)
    y = np.where(rows, Y, -100)
    clean = np.where(rows, loss(X, Y), 0)
    for options in ({"where": rows}, {"ignore_index": -100}):
        f = lambda x, options=options: loss(x, y, **options)
        value, pullback = jax.vjp(f, x)
        np.testing.assert_array_equal(value, clean)
        (grad,) = pullback(jnp.ones(6))
        assert jnp.isfinite(grad).all() and (grad[~rows] == 0).all()
    value, grad = jax.jit(jax.value_and_grad(lambda x, y: loss(x, y)[2]))(X, y)
    assert np.isnan(value) and np.isnan(grad[2]).all()
    half = jnp.asarray(X, jnp.bfloat16)
    wide = loss(half.astype(jnp.float32), Y)
    assert wide.dtype == loss(half, Y).dtype
    np.testing.assert_array_equal(loss(half, Y), wide)


def test_sparsemax_losses_equal_optax():
    ours, theirs = (
        losses.multiclass_sparsemax_loss,
        optax.losses.multiclass_sparsemax_loss,
    )
    with jax.numpy_dtype_promotion("standard"):
        expected = theirs(X, Y)
    np.testing.assert_allclose(ours(X, Y), expected, rtol=1e-5, atol=1e-6)
    assert ours(X[:, None], Y[:, None]).shape == (6, 1)
    x, y = X[:, 0], Y % 2
    f, g = losses.sparsemax_loss, optax.losses.sparsemax_loss
    np.testing.assert_allclose(f(x, y), g(x, y), rtol=1e-6)
    pair = jnp.stack([jnp.zeros(6), x], -1)
    np.testing.assert_allclose(f(x, y), ours(pair, y), rtol=1e-5, atol=1e-6)
    assert g(X[:, :1], y).shape == (6, 6)
    with pytest.raises(ValueError, match="do not match"):
        f(X[:, :1], y)


def test_the_loss_of_logsumexp_is_cross_entropy_and_equals_optax():
    ours = losses.make_fenchel_young_loss(jax.nn.logsumexp)
    theirs = optax.losses.make_fenchel_young_loss(
        lambda scores: jax.nn.logsumexp(scores)
    )
    t = np.asarray(jax.nn.softmax(X[::-1]))
    np.testing.assert_allclose(ours(X, t), theirs(X, t), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        ours(X, t), losses.softmax_cross_entropy(X, t), rtol=1e-5, atol=1e-6
    )
    grad = jax.grad(lambda x: jax.jit(ours)(x, t).sum())(X)
    np.testing.assert_allclose(grad, jax.nn.softmax(X) - t, atol=1e-6)
    masked = jnp.array([0.0, -INF, 0.0]), jnp.array([1.0, 0.0, 0.0])
    assert np.isnan(theirs(*masked))
    np.testing.assert_allclose(ours(*masked), np.log(2), rtol=1e-6)
    with pytest.raises(ValueError, match="class axes differ"):
        ours(X, t[:, :3])


def test_arguments_of_the_maximum_pass_through():
    sharp = lambda x, scale: jax.nn.logsumexp(scale * x) / scale
    loss = losses.make_fenchel_young_loss(sharp)
    np.testing.assert_allclose(
        loss(X, np.eye(5, dtype="f4")[Y], scale=2.0),
        losses.softmax_cross_entropy_with_integer_labels(2 * X, Y) / 2,
        rtol=1e-5,
        atol=1e-6,
    )
