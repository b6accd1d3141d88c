"""Shown in use: models trained on handwritten digits, to an accuracy that is stated."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jxent import losses, Mean

datasets = pytest.importorskip("sklearn.datasets")
IMAGES, DIGITS = datasets.load_digits(return_X_y=True)
ORDER = np.random.default_rng(0).permutation(len(DIGITS))
IMAGES = (IMAGES / 16).astype(np.float32)[ORDER]
DIGITS = DIGITS.astype(np.int32)[ORDER]
TRAIN, TEST = slice(0, 1400), slice(1400, None)
cross_entropy = losses.softmax_cross_entropy_with_integer_labels


def linear(params, x):
    y = x @ params["w"]
    return y + jnp.broadcast_to(params["b"], y.shape)


def zeros():
    return {"w": jnp.zeros((64, 10)), "b": jnp.zeros((10,))}


def two_layers(params, x):
    return linear(params[1], jax.nn.relu(linear(params[0], x)))


def two_layers_at(key):
    a, b = jax.random.split(key)
    return [
        {"w": jax.random.normal(a, (64, 32)) / 8, "b": jnp.zeros((32,))},
        {"w": jax.random.normal(b, (32, 10)) / 6, "b": jnp.zeros((10,))},
    ]


def update(optimizer, *args, **kwargs):
    # optax needs the promotion of dtypes that our tests forbid to ourselves.
    with jax.numpy_dtype_promotion("standard"):
        return optimizer.update(*args, **kwargs)


def accuracy(model, params) -> float:
    hits = jnp.argmax(model(params, IMAGES[TEST]), -1) == DIGITS[TEST]
    return float(Mean.of(hits).value)


def train(loss, params, model=two_layers, labels=DIGITS, epochs=15, size=100):
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params, state, x, y):
        mean = lambda params: Mean.of(loss(model(params, x), y)).value
        value, grads = jax.value_and_grad(mean)(params)
        updates, state = update(optimizer, grads, state)
        return optax.apply_updates(params, updates), state, value

    state, value = optimizer.init(params), None
    for _ in range(epochs):
        for i in range(0, 1400, size):
            x, y = IMAGES[i : i + size], labels[i : i + size]
            params, state, value = step(params, state, x, y)
    return params, value


one_hot = functools.partial(jax.nn.one_hot, num_classes=10)
LOSSES = {
    "integer labels": cross_entropy,
    "all options": functools.partial(
        cross_entropy,
        label_smoothing=0.1,
        class_weights=np.linspace(0.5, 1.5, 10).astype("f4"),
        z_loss=1e-4,
        temperature=2.0,
    ),
    "soft targets": lambda z, y: losses.softmax_cross_entropy(
        z, losses.smooth_labels(one_hot(y), 0.1)
    ),
    "one against all": lambda z, y: losses.sigmoid_binary_cross_entropy(z, one_hot(y)),
    "focal": losses.softmax_focal_loss,
    "poly": losses.poly_loss_cross_entropy,
    "sparsemax": losses.multiclass_sparsemax_loss,
    "entmax": losses.multiclass_entmax15_loss,
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_an_optax_step_trains_to_95_percent(loss):
    params, _ = train(loss, two_layers_at(jax.random.key(0)))
    assert accuracy(two_layers, params) > 0.95


def test_generalised_cross_entropy_bears_with_wrong_labels():
    rng = np.random.default_rng(1)
    wrong = rng.random(len(DIGITS)) < 0.4
    noisy = np.where(wrong, rng.integers(0, 10, len(DIGITS)), DIGITS).astype("i4")
    score = {}
    for loss in (cross_entropy, losses.generalized_cross_entropy):
        start = two_layers_at(jax.random.key(0))
        params, _ = train(loss, start, labels=noisy, epochs=40)
        score[loss] = accuracy(two_layers, params)
    assert score[losses.generalized_cross_entropy] > 0.9
    assert score[losses.generalized_cross_entropy] > score[cross_entropy] + 0.05


def test_a_student_learns_from_a_teacher_without_labels():
    teacher, _ = train(cross_entropy, two_layers_at(jax.random.key(0)))
    targets = two_layers(teacher, IMAGES)

    def distil(logits, teacher_logits):
        return losses.distillation_loss(logits, teacher_logits, temperature=3.0).loss

    student, _ = train(distil, zeros(), linear, labels=targets)
    assert accuracy(linear, student) > 0.93


def test_padded_examples_change_nothing():
    # The same images, with rows of garbage between them that no label belongs to.
    x = np.repeat(IMAGES[:200], 2, axis=0)
    y = np.repeat(DIGITS[:200], 2)
    x[1::2], y[1::2] = np.nan, -100

    def mean(params, x, y):
        real = y != -100
        x = jnp.where(real[:, None], x, 0)  # or NaN · 0 reaches the weights
        loss = cross_entropy(linear(params, x), y, ignore_index=-100)
        return Mean.of(loss, where=real).value

    value, grads = jax.value_and_grad(mean)(zeros(), x, y)
    clean, clean_grads = jax.value_and_grad(mean)(zeros(), IMAGES[:200], DIGITS[:200])
    np.testing.assert_allclose(value, clean, rtol=1e-6)
    same = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(same, grads, clean_grads)


def test_accumulated_gradients_are_those_of_the_whole_batch():
    # Micro-batches of 50, of which 50, 20, 0 and 7 rows are real.
    counts = np.array([50, 20, 0, 7])
    where = np.arange(50) < counts[:, None]
    x, y = IMAGES[:200].reshape(4, 50, 64), DIGITS[:200].reshape(4, 50)
    params = two_layers_at(jax.random.key(0))

    def total(params, x, y, where):
        mean = Mean.of(
            cross_entropy(two_layers(params, x), y, where=where), where=where
        )
        return mean.total, mean

    @jax.jit
    def accumulate(params):
        def step(carry, batch):
            grads, mean = jax.grad(total, has_aux=True)(params, *batch)
            return jax.tree.map(jnp.add, carry, (grads, mean)), None

        start = jax.tree.map(jnp.zeros_like, params), Mean.of(jnp.zeros(0))
        (grads, mean), _ = jax.lax.scan(step, start, (x, y, where))
        return mean.value, jax.tree.map(lambda g: g / mean.weight, grads)

    def whole(params):
        loss = cross_entropy(two_layers(params, x[where]), y[where])
        return Mean.of(loss).value

    value, grads = accumulate(params)
    expected, expected_grads = jax.value_and_grad(whole)(params)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    same = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(same, grads, expected_grads)


def full_loss(params):
    loss = cross_entropy(linear(params, IMAGES[TRAIN]), DIGITS[TRAIN])
    penalty = 1e-3 * jnp.sum(params["w"] ** 2)
    return Mean.of(loss).value + penalty


def test_lbfgs_converges():
    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(full_loss)

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            value, grad = value_and_grad(params, state=state)
            updates, state = update(
                optimizer,
                grad,
                state,
                params,
                value=value,
                grad=grad,
                value_fn=full_loss,
            )
            params = optax.apply_updates(params, updates)
            return (params, state), optax.tree.norm(grad)

        (params, _), norms = jax.lax.scan(
            step, (params, optimizer.init(params)), length=100
        )
        return params, norms

    params, norms = run(zeros())
    assert norms[-1] < 1e-3 * norms[0]
    assert accuracy(linear, params) > 0.95


def test_newton_steps_by_hessian_vector_products_converge():
    @jax.jit
    def newton(params):
        grad = jax.grad(full_loss)(params)
        hvp = lambda v: jax.jvp(jax.grad(full_loss), (params,), (v,))[1]
        step, _ = jax.scipy.sparse.linalg.cg(hvp, grad, maxiter=100)
        return jax.tree.map(jnp.subtract, params, step), optax.tree.norm(grad)

    params, norms = zeros(), []
    for _ in range(6):
        params, norm = newton(params)
        norms.append(norm)
    assert norms[-1] < 1e-4 * norms[0]
    assert accuracy(linear, params) > 0.95


def test_hessian_vector_products_agree_in_all_orders():
    params = zeros()
    v = jax.tree.map(lambda x: jnp.linspace(-1, 1, x.size).reshape(x.shape), params)
    over = lambda f: jax.jvp(f, (params,), (v,))[1]
    forward_over_reverse = over(jax.grad(full_loss))
    slope = lambda p: jax.jvp(full_loss, (p,), (v,))[1]
    reverse_over_forward = jax.grad(slope)(params)
    dot = lambda p: optax.tree.vdot(jax.grad(full_loss)(p), v)
    reverse_over_reverse = jax.grad(dot)(params)
    same = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(same, forward_over_reverse, reverse_over_forward)
    jax.tree.map(same, forward_over_reverse, reverse_over_reverse)


def test_an_equinox_model_trains():
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.MLP(64, 10, 32, 1, key=jax.random.key(0))
    optimizer = optax.adam(1e-2)
    state = optimizer.init(eqx.filter(model, eqx.is_array))

    @eqx.filter_jit
    def step(model, state, x, y):
        loss = lambda m: Mean.of(cross_entropy(jax.vmap(m)(x), y)).value
        updates, state = update(optimizer, eqx.filter_grad(loss)(model), state)
        return eqx.apply_updates(model, updates), state

    for _ in range(15):
        for i in range(0, 1400, 100):
            model, state = step(model, state, IMAGES[i : i + 100], DIGITS[i : i + 100])
    assert accuracy(lambda m, x: jax.vmap(m)(x), model) > 0.95
