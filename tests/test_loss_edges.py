"""Losses at their edges: off-policy samples, supports that tie, labels that are none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jxent
from jxent import LinearLogits, losses

pytestmark = pytest.mark.usefixtures("hasty_compiler")
INF = jnp.inf
value_and_slopes = lambda f, *at: jax.value_and_grad(f, tuple(range(len(at))))(*at)


# KL from samples.


@pytest.mark.parametrize("log_p", [-90.0, -200.0, -INF])
def test_a_sample_that_the_policy_has_given_up(log_p):
    f = lambda p, q, b: losses.kl_from_samples(p, q, log_b=b)
    value, slopes = value_and_slopes(f, log_p, -1.0, -1.0)
    # p/b (q/p − 1 − log(q/p)) → q/b, whose slopes are 1 by log q and −1 by log b.
    np.testing.assert_allclose(value, 1, rtol=1e-6)
    np.testing.assert_allclose(slopes, [0, 1, -1], atol=1e-6)
    k1 = lambda p: losses.kl_from_samples(p, -1.0, estimator="k1", log_b=-1.0)
    np.testing.assert_allclose(value_and_slopes(k1, log_p)[0], 0, atol=1e-30)
    assert np.isfinite(jax.grad(k1)(log_p))


@pytest.mark.parametrize(
    "r", [-1.0, 1.0, np.nextafter(np.float32(1), 2), 0.0, 1e-4, 5.0]
)
@pytest.mark.parametrize("log_b", [None, -2.5])
def test_slopes_of_k3_where_its_formulas_meet(r, log_b):
    p = jnp.float32(-2.0)
    f = lambda p, q: losses.kl_from_samples(p, q, log_b=log_b)
    q = p + jnp.float32(r)
    x, w = np.float64(q) - np.float64(p), 1 if log_b is None else np.exp(0.5)
    _, (by_p, by_q) = value_and_slopes(f, p, q)
    np.testing.assert_allclose(by_q, np.expm1(x) * w, rtol=1e-6)
    expected = -np.expm1(x) if log_b is None else -x * w
    np.testing.assert_allclose(by_p, expected, rtol=1e-6, atol=1e-12)
    second = jax.grad(jax.grad(f, 1), 1)(p, q)
    np.testing.assert_allclose(second, np.exp(x) * w, rtol=1e-6)


def test_clipping_bounds_the_estimate_and_cuts_the_slope():
    p = jnp.zeros(4)
    q = jnp.array([0.5, 2.0, 3.0, -3.0])
    for name in ("k1", "k2", "k3"):
        f = lambda p, q, n=name: losses.kl_from_samples(p, q, estimator=n, clip=2.0)
        inside = losses.kl_from_samples(p, jnp.clip(q, -2, 2), estimator=name)
        np.testing.assert_allclose(f(p, q), inside, rtol=1e-6)
        slope = jax.grad(lambda q, f=f: f(p, q).sum())(q)
        plain = lambda q, n=name: losses.kl_from_samples(p, q, estimator=n).sum()
        # At the bound the slope is that of the inside, and not half of it.
        expected = jnp.where(jnp.abs(q) <= 2, jax.grad(plain)(q), 0)
        np.testing.assert_allclose(slope, expected, rtol=1e-6)
    f = lambda b: losses.kl_from_samples(p[:1], q[:1], log_b=b, clip=2.0)
    assert f(jnp.array([-50.0])) == f(jnp.array([-2.0]))  # p/b is e² at most


# Sparse relatives.


def test_a_support_is_decided_exactly_at_a_tie():
    x = jnp.zeros((7, 2)).at[0].set(5.0)
    p = jax.vmap(losses.sparsemax, 1, 1)(x)[:, 0]
    np.testing.assert_array_equal(p, jnp.eye(7)[0])
    np.testing.assert_array_equal(jax.jacobian(losses.sparsemax)(x[:, 0]), 0)
    ties = jnp.array([[1.0, 0.5, 0.25, -0.25, -INF], [0.5, 0.25, 0.0, -0.25, -0.25]])
    for f in (losses.sparsemax, losses.entmax15):
        p = f(ties)
        np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(losses.sparsemax(ties)[0, 3:], 0)
    # entmax15: Σ (uᵢ − u_last)² is 1, exactly, for the last one here.
    p = losses.entmax15(
        jnp.array([2.0, 1.2, 0.8, 0.0]) * 0.0 + jnp.array([2.0, 0, -1, -1])
    )
    np.testing.assert_array_equal(p, [1, 0, 0, 0])


@pytest.mark.parametrize("f, scale", [(losses.sparsemax, 1.0), (losses.entmax15, 1.99)])
def test_many_classes_stay_on_the_simplex(f, scale):
    x = jnp.full(100_000, -0.9 * scale).at[0].set(0.0)
    p = f(x)
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)
    u = np.float64(x) * (1 if f is losses.sparsemax else 0.5)
    low, high = -1.0, 0.0
    for _ in range(60):
        middle = (low + high) / 2
        mass = np.maximum(u - middle, 0) ** (1 if f is losses.sparsemax else 2)
        low, high = (middle, high) if mass.sum() >= 1 else (low, middle)
    exact = (u[1] - low) ** (1 if f is losses.sparsemax else 2)
    np.testing.assert_allclose(p[1], exact, rtol=1e-4)


def test_a_sparsemax_loss_keeps_its_digits_up_to_its_margin():
    m = np.array([0.999, 0.9, 0.0, -1.0, -3.0], "f4")
    z = jnp.stack([jnp.asarray(m), jnp.zeros(5)], -1)
    y, exact = jnp.zeros(5, int), np.where(m > -1, (1 - np.float64(m)) ** 2 / 4, -m)
    loss = losses.multiclass_sparsemax_loss
    np.testing.assert_allclose(loss(z, y), exact, rtol=1e-6)
    np.testing.assert_allclose(losses.sparsemax_loss(m, y + 1), exact, rtol=1e-6)


def test_every_order_of_entmax_and_its_loss_is_a_number():
    x, y = jnp.array([0.4, 0.0, -1.5, -INF]), jnp.array(1)
    for f in (losses.sparsemax, losses.entmax15):
        second = jax.jacfwd(jax.jacrev(f))(x)
        assert np.isfinite(second).all() and (second[2:] == 0).all()
        np.testing.assert_allclose(second.sum(0), 0, atol=1e-6)
    for loss in (losses.multiclass_sparsemax_loss, losses.multiclass_entmax15_loss):
        third = jax.jacfwd(jax.jacfwd(jax.grad(loss)))(x, y)
        assert np.isfinite(third).all()


def test_sparsemax_loss_at_infinite_logits():
    x, y = jnp.array([INF, -INF, INF, -INF, 1.0, -1.0]), jnp.array([1, 0, 0, 1, 1, 1])
    value, back = jax.vjp(lambda x: losses.sparsemax_loss(x, y), x)
    np.testing.assert_array_equal(value, [0, 0, INF, INF, 0, 1])
    np.testing.assert_array_equal(back(jnp.ones(6))[0], [0, 0, 1, -1, 0, -1])
    for bad in (-1, 7, 0.5):
        with pytest.raises(AssertionError, match=r"sparsemax_loss: .*labels"):
            losses.sparsemax_loss(jnp.zeros(2), jnp.array([1, bad]))
    assert np.isnan(jax.jit(losses.sparsemax_loss)(jnp.zeros(1), jnp.array([0.5])))


# Focal and binary losses.

Y0 = jnp.array(0)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_keeps_its_digits_and_slopes_beyond_any_margin(gamma):
    for m in (20.0, 40.0, 50.0):
        s = np.log1p(np.exp(-m))
        miss = -np.expm1(-s)
        exact = miss**gamma * s
        slope = -(miss ** (gamma + 1)) * (1 + gamma * s / miss * (1 - miss))
        tiny = float(jnp.finfo(jnp.float32).tiny)
        for f in (
            lambda m: losses.softmax_focal_loss(jnp.stack([m, 0 * m]), Y0, gamma=gamma),
            lambda m: losses.sigmoid_focal_loss(m, 1.0, gamma=gamma),
        ):
            value, by_m = jax.value_and_grad(f)(jnp.float32(m))
            np.testing.assert_allclose(value, exact, rtol=1e-5, atol=tiny)
            np.testing.assert_allclose(by_m, slope, rtol=1e-5, atol=tiny)
            assert np.isfinite(jax.grad(jax.grad(f))(jnp.float32(m)))


BINARY = [
    losses.sigmoid_binary_cross_entropy,
    losses.sigmoid_focal_loss,
    losses.sparsemax_loss,
]


@pytest.mark.parametrize("f", BINARY)
def test_ignored_labels_of_binary_losses(f):
    x, y = jnp.array([1.0, jnp.nan, 2.0, -1.0]), jnp.array([1, -100, -100, 0])
    run = jax.jit(lambda x: f(x, y, ignore_index=-100, reduction="mean"))
    value, slope = jax.value_and_grad(run)(x)
    kept = f(x[jnp.array([0, 3])], y[jnp.array([0, 3])])
    np.testing.assert_allclose(value, kept.mean(), rtol=1e-6)
    assert (slope[1:3] == 0).all() and np.isfinite(slope).all()
    # Under jit, where nobody looks, a label that is no event is not put into a formula.
    run = jax.jit(lambda x, y: jax.vjp(lambda x: f(x, y), x))
    value, back = run(x.at[1].set(0.0), y)
    np.testing.assert_array_equal(np.isnan(value), [False, True, True, False])
    np.testing.assert_array_equal(np.isnan(back(jnp.ones(4))[0]), np.isnan(value))


# Distillation.

rng = np.random.default_rng(0)
S, T = (jnp.asarray(rng.normal(size=(3, 6)), jnp.float32) for _ in range(2))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_a_teacher_in_half_precision_that_tells_every_class(dtype):
    log_t, classes = jax.lax.top_k(jax.nn.log_softmax(T), 6)
    short = losses.distillation_loss(S, log_t.astype(dtype), teacher_classes=classes)
    np.testing.assert_allclose(
        short.loss, losses.distillation_loss(S, T).loss, rtol=0.05
    )


def test_raw_logits_and_a_class_twice_are_no_shortened_teacher():
    top, classes = jax.lax.top_k(T + 5, 3)
    with pytest.raises(AssertionError, match="teacher_logits has logsumexp"):
        losses.distillation_loss(S, top, teacher_classes=classes)
    top, _ = jax.lax.top_k(jax.nn.log_softmax(T), 3)
    with pytest.raises(AssertionError, match="teacher_classes is class 0"):
        losses.distillation_loss(S, top, teacher_classes=jnp.zeros((3, 3), int))


@pytest.mark.parametrize("divergence", ["forward", "reverse", "js"])
def test_a_vocabulary_without_its_padding(divergence):
    exist = jnp.broadcast_to(jnp.arange(6) < 4, S.shape)
    y = jnp.array([0, 3, 1])
    options = {"divergence": divergence, "hard_weight": 0.3, "temperature": 2.0}
    f = lambda s, t, **o: losses.distillation_loss(s, t, y, **options, **o).loss
    np.testing.assert_allclose(f(S, T, where=exist), f(S[:, :4], T[:, :4]), rtol=1e-6)
    slopes = jax.grad(lambda *at: f(*at, where=exist).sum(), (0, 1))(S, T)
    alone = jax.grad(lambda *at: f(*at).sum(), (0, 1))(S[:, :4], T[:, :4])
    for a, b in zip(slopes, alone, strict=True):
        np.testing.assert_allclose(a[:, :4], b, rtol=1e-5, atol=1e-7)
        assert (a[:, 4:] == 0).all()
    with pytest.raises(TypeError, match="bias of -inf"):
        head = LinearLogits(jnp.ones((3, 2)), jnp.ones((2, 6)))
        losses.distillation_loss(head, T, where=exist)


def test_a_streamed_short_teacher_makes_no_array_of_one_hots():
    h, w = jnp.ones((64, 4)), jnp.ones((4, 4096))
    log_t, classes = jax.lax.top_k(jax.nn.log_softmax(jnp.ones((64, 4096))), 50)

    def loss(h, w):
        q = LinearLogits(h, w, block_size=512)
        return losses.distillation_loss(q, log_t, teacher_classes=classes).loss.mean()

    memory = jax.jit(jax.grad(loss, (0, 1))).lower(h, w).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 64 * 50 * 512 * 4 / 4  # of one-hots of a tile


# Weights that are 0.


def test_a_weight_of_0_removes_what_has_no_loss():
    y = jnp.array([0, -100, 2])
    weights = jnp.array([1.0, 0.0, 2.0])
    z = S.at[1].set(jnp.nan)

    @jax.jit
    def run(z, w):
        f = losses.softmax_cross_entropy_with_integer_labels
        return f(z, y, weights=w, reduction="mean")

    value, (by_z, by_w) = jax.value_and_grad(run, (0, 1))(z, weights)
    assert np.isfinite(value) and np.isfinite(by_z).all() and (by_z[1] == 0).all()
    assert np.isfinite(by_w).all()
    with pytest.raises(AssertionError, match="label -100"):
        jxent.checked(run)(S, jnp.ones(3))


def test_the_checks_do_not_look_at_tokens_that_are_removed():
    h, w, y = S.at[1].set(jnp.nan), jnp.ones((6, 4)), jnp.array([0, -100, 2])
    linear, q = losses.linear_softmax_cross_entropy, LinearLogits(h, w)
    assert np.isfinite(linear(h, w, y, ignore_index=-100, reduction="mean"))
    assert np.isfinite(linear(h, w, y, weights=jnp.array([1.0, 0, 1]))).all()
    keep = jnp.array([True, False, True])
    assert np.isfinite(losses.log_prob_and_entropy(q, y, where=keep)[0]).all()
    assert np.isfinite(losses.distillation_loss(q, q, where=keep).loss).all()
    for f in (lambda: linear(h, w, y * 0), lambda: losses.distillation_loss(q, q)):
        with pytest.raises(AssertionError, match="hidden is NaN"):
            f()
