"""Policies and students: what is promised of values and of gradients, term by term."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jxent import entropy, js_divergence, kl_divergence, Logits, losses, Mean

pytestmark = pytest.mark.usefixtures("hasty_compiler")
rng = np.random.default_rng(0)
normal = lambda *shape: jnp.asarray(rng.normal(size=shape) * 2, jnp.float32)
Z, ACTIONS = normal(4, 5), jnp.array([0, 4, 2, 1])
ROWS = jnp.array([True, False, True, True])
BAD = [jnp.nan, jnp.inf, -jnp.inf]
TERMS = ("loss", "soft", "hard")


# Log-probability and entropy.


def test_log_prob_and_entropy_are_what_they_say():
    log_prob, h = jax.jit(losses.log_prob_and_entropy)(Z, ACTIONS)
    log_p = jax.nn.log_softmax(Z)
    expected = jnp.take_along_axis(log_p, ACTIONS[:, None], -1)[:, 0]
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5)
    np.testing.assert_allclose(h, -jnp.sum(jnp.exp(log_p) * log_p, -1), rtol=1e-5)


def test_illegal_actions_are_impossible_in_value_and_gradient():
    legal = jnp.arange(5) != 3
    legal = jnp.broadcast_to(legal, Z.shape)
    f = lambda z, **kw: sum(map(jnp.sum, losses.log_prob_and_entropy(z, ACTIONS, **kw)))
    value, grad = jax.value_and_grad(f)(Z, where=legal)
    masked, masked_grad = jax.value_and_grad(f)(jnp.where(legal, Z, -jnp.inf))
    np.testing.assert_allclose(value, masked)
    np.testing.assert_allclose(grad, masked_grad)
    assert (grad[:, 3] == 0).all() and jnp.isfinite(grad).all()
    log_prob, h = losses.log_prob_and_entropy(Z[0], jnp.array(3), where=legal[0])
    assert log_prob == -jnp.inf and jnp.isfinite(h)


def test_policy_temperature_and_half_precision():
    for temperature in (1.0, 2.0):
        z = Z.astype(jnp.bfloat16)
        out = losses.log_prob_and_entropy(z, ACTIONS, temperature=temperature)
        wide = z.astype(jnp.float32) / temperature
        for x, y in zip(out, losses.log_prob_and_entropy(wide, ACTIONS), strict=True):
            assert x.dtype == jnp.float32
            np.testing.assert_allclose(x, y, rtol=1e-6)


@pytest.mark.parametrize("bad", BAD)
def test_padding_does_not_leak_into_a_policy_loss(bad):
    def loss(z, actions):
        log_prob, h = losses.log_prob_and_entropy(z, actions, where=ROWS)
        return Mean.of(-2.0 * log_prob - 0.01 * h, where=ROWS).value

    z = jnp.where(ROWS[:, None], Z, bad)
    value, grad = jax.value_and_grad(loss)(z, jnp.where(ROWS, ACTIONS, -100))
    clean, clean_grad = jax.value_and_grad(loss)(Z, ACTIONS)
    np.testing.assert_array_equal(value, clean)
    np.testing.assert_array_equal(grad, clean_grad)
    assert (grad[1] == 0).all()


# KL from samples. Every outcome is a sample once, weighed by its probability, so that
# means are exact expectations.

A, B, C = normal(5), normal(5), normal(5)  # the policy, the reference, an older policy


def mean_of(estimator, z, sampled_from, on_policy=False, older=None):
    p, q = jax.nn.log_softmax(z), jax.nn.log_softmax(B)
    log_b = jax.lax.stop_gradient(p) if on_policy else older
    k = losses.kl_from_samples(p, q, estimator=estimator, log_b=log_b)
    return Mean.of(k, weights=jax.nn.softmax(sampled_from)).value


KL_PQ = lambda z: kl_divergence(Logits(z), Logits(B))
KL_QP = lambda z: kl_divergence(Logits(B), Logits(z))


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_estimators_without_bias(estimator):
    np.testing.assert_allclose(mean_of(estimator, A, A), KL_PQ(A), rtol=1e-5)
    older = jax.nn.log_softmax(C)
    off_policy = mean_of(estimator, A, C, older=older)
    np.testing.assert_allclose(off_policy, KL_PQ(A), rtol=1e-5)


@pytest.mark.parametrize(
    "estimator, gradient_of",
    [("k1", lambda z: 0 * KL_PQ(z)), ("k2", KL_PQ), ("k3", KL_QP)],
)
def test_the_gradient_that_an_estimator_really_has(estimator, gradient_of):
    grad = jax.grad(lambda z: mean_of(estimator, z, A))(A)
    np.testing.assert_allclose(grad, jax.grad(gradient_of)(A), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_gradient_without_bias(estimator):
    expected = jax.grad(KL_PQ)(A)
    grad = jax.grad(lambda z: mean_of(estimator, z, A, on_policy=True))(A)
    np.testing.assert_allclose(grad, expected, rtol=1e-4, atol=1e-6)
    older = jax.nn.log_softmax(C)
    grad = jax.grad(lambda z: mean_of(estimator, z, C, older=older))(A)
    np.testing.assert_allclose(grad, expected, rtol=1e-4, atol=1e-6)
    values = mean_of(estimator, A, A), mean_of(estimator, A, A, on_policy=True)
    np.testing.assert_array_equal(*values)


def test_k3_keeps_its_digits_and_its_sign():
    log_p, r = jnp.float32(-3.0), np.float32(2.0) ** -14
    k = losses.kl_from_samples(log_p, log_p + r)
    np.testing.assert_allclose(k, np.expm1(np.float64(r)) - np.float64(r), rtol=1e-4)
    assert losses.kl_from_samples(log_p, log_p) == 0
    assert losses.kl_from_samples(log_p, jnp.float32(-jnp.inf)) == jnp.inf


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_padding_does_not_leak_into_an_estimate(estimator, bad):
    log_p = jnp.where(ROWS, -1.0, bad)

    def loss(p, q):
        k = losses.kl_from_samples(p, q, estimator=estimator, where=ROWS)
        return Mean.of(k, where=ROWS, weights=jnp.arange(4.0)).value

    value, grad = jax.value_and_grad(loss)(log_p, log_p - 0.5)
    same = losses.kl_from_samples(log_p[0], log_p[0] - 0.5, estimator=estimator)
    np.testing.assert_allclose(value, same, rtol=1e-6)
    assert jnp.isfinite(grad).all() and grad[1] == 0


def test_mistakes_with_samples_are_refused():
    with pytest.raises(ValueError, match="not k1, k2 or k3"):
        losses.kl_from_samples(A, B, estimator="k4")  # pyright: ignore
    with pytest.raises(ValueError, match=r"log_q has shape \(4,\)"):
        losses.kl_from_samples(A, B[:4])
    with pytest.raises(ValueError, match="no use for log_b"):
        losses.kl_from_samples(A, B, estimator="k2", log_b=A)


# Distillation.

S, T, Y = normal(4, 5), normal(4, 5), jnp.array([1, 0, 4, 4])
DIVERGENCES = {
    "forward": lambda s, t: kl_divergence(t, s),
    "reverse": lambda s, t: kl_divergence(s, t),
    "js": lambda s, t: js_divergence(t, s),
}
each_divergence = pytest.mark.parametrize("divergence", DIVERGENCES)


@each_divergence
def test_distillation_is_the_divergence_at_a_temperature(divergence):
    out = losses.distillation_loss(S, T, divergence=divergence, temperature=2.0)
    expected = 4 * DIVERGENCES[divergence](Logits(S / 2), Logits(T / 2))
    np.testing.assert_allclose(out.loss, expected, rtol=1e-6)
    np.testing.assert_array_equal(out.loss, out.soft)
    np.testing.assert_array_equal(out.hard, 0)


def test_terms_of_the_mix_come_apart():
    out = losses.distillation_loss(S, T, Y, hard_weight=0.25, temperature=3.0)
    hard = losses.softmax_cross_entropy_with_integer_labels(S, Y)
    np.testing.assert_allclose(out.hard, hard, rtol=1e-6)
    np.testing.assert_allclose(out.loss, 0.75 * out.soft + 0.25 * hard, rtol=1e-6)


def test_teacher_weight_is_that_of_js():
    out = losses.distillation_loss(S, T, divergence="js", teacher_weight=0.1)
    expected = js_divergence(Logits(T), Logits(S), weight=0.1)
    np.testing.assert_allclose(out.loss, expected, rtol=1e-6)


def shortened(teacher, m, temperature=1.0):
    log_t = jax.nn.log_softmax(teacher / temperature)
    top, classes = jax.lax.top_k(log_t, m)
    return top, classes


@each_divergence
def test_a_shortened_teacher_has_a_tail(divergence):
    top, classes = shortened(T, 2, 2.0)
    coarse = lambda z: jnp.log(
        jnp.concatenate(
            [
                jnp.take_along_axis(p := jax.nn.softmax(z / 2), classes, -1),
                1 - jnp.take_along_axis(p, classes, -1).sum(-1, keepdims=True),
            ],
            -1,
        )
    )
    out = losses.distillation_loss(
        S, top, divergence=divergence, temperature=2.0, teacher_classes=classes
    )
    expected = DIVERGENCES[divergence](Logits(coarse(S)), Logits(coarse(T)))
    np.testing.assert_allclose(out.loss, 4 * expected, rtol=1e-5)


def test_a_teacher_that_tells_all_but_one_class_is_the_whole_teacher():
    top, classes = shortened(T, 4)
    f = lambda s: losses.distillation_loss(s, top, teacher_classes=classes).loss
    whole = lambda s: losses.distillation_loss(s, T).loss
    np.testing.assert_allclose(f(S), whole(S), rtol=1e-5)
    grads = (jax.grad(lambda s, g=g: g(s).sum())(S) for g in (f, whole))
    np.testing.assert_allclose(*grads, rtol=1e-4, atol=1e-6)


def test_mass_outside_of_the_teachers_classes_costs():
    top, classes = shortened(T, 2)
    outside = jnp.ones((4, 5), bool)
    outside = jnp.put_along_axis(outside, classes, False, axis=-1, inplace=False)
    worse = jnp.where(outside, S + 5, S)
    f = lambda s: losses.distillation_loss(s, top, teacher_classes=classes).loss
    assert (f(worse) > f(S)).all()


@functools.cache
def distillation_of_rows(divergence, short):
    """A teacher, and the mean loss with its gradients; the same for all bad numbers."""
    top, classes = shortened(T, 2)
    teacher = top if short else T
    classes = jnp.where(ROWS[:, None], classes, -1) if short else None

    def loss(s, t, y):
        out = losses.distillation_loss(
            s,
            t,
            y,
            hard_weight=0.5,
            divergence=divergence,
            teacher_classes=classes,
            ignore_index=-100,
        )
        return Mean.of(out.loss, where=ROWS).value, out.loss

    return teacher, jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("short", [False, True])
@each_divergence
def test_padding_does_not_leak_into_distillation(divergence, short, bad):
    teacher, run = distillation_of_rows(divergence, short)
    y = jnp.where(ROWS, Y, -100)
    poison = lambda x: jnp.where(ROWS[:, None], x, bad)
    (value, rows), grads = run(poison(S), poison(teacher), y)
    (clean, _), clean_grads = run(S, teacher, y)
    np.testing.assert_array_equal(value, clean)
    assert rows[1] == 0
    for g, h in zip(grads, clean_grads, strict=True):
        np.testing.assert_array_equal(g, h)
        assert (g[1] == 0).all() and jnp.isfinite(g).all()


@pytest.mark.parametrize(
    "options, match",
    [
        ({"divergence": "both"}, "none of the three"),
        ({"teacher_weight": 0.3}, "teacher_weight is for"),
        ({"divergence": "js", "teacher_weight": 1.0}, r"not in \(0, 1\)"),
        ({"hard_weight": 0.5}, "hard_weight is for labels"),
        ({"labels": Y}, r"hard_weight > 0 \(it is 0.0\)"),
        ({"ignore_index": -100}, "no labels"),
        ({"temperature": -1.0}, r"not in \(0, inf\)"),
        ({"teacher_classes": Y}, "teacher_classes has shape"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        losses.distillation_loss(S, T, **options)
    with pytest.raises(ValueError, match=r"teacher has shape \(4, 4\)"):
        losses.distillation_loss(S, T[:, :4])


def test_a_student_that_equals_its_teacher_has_nothing_to_learn():
    f = functools.partial(losses.distillation_loss, temperature=2.0)
    value, grad = jax.value_and_grad(lambda s: f(s, T).loss.sum())(T)
    assert value == 0 and (grad == 0).all()


def test_entropy_of_a_policy_is_the_measure():
    _, h = losses.log_prob_and_entropy(Z, ACTIONS)
    np.testing.assert_array_equal(h, entropy(Logits(Z)))
