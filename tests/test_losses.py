"""Losses equal optax's where optax is right, and are right where it is not."""

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jxent
from jxent import losses, Mean

rng = np.random.default_rng(0)
normal = lambda *shape: rng.normal(size=shape).astype(np.float32) * 2
dirichlet = lambda *shape: rng.dirichlet(np.ones(shape[-1]), shape[:-1]).astype("f4")
coin = lambda *shape: rng.random(shape) < 0.6
INF = np.inf


def log_softmax(z):
    """In float64 numpy, sharing no code with jxent."""
    z = np.asarray(z, np.float64)
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


@contextlib.contextmanager
def lenient():
    # optax needs the rank promotion that our tests forbid to ourselves.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def theirs(name):
    """optax's function of that name."""

    def call(*args, **kwargs):
        with lenient():
            return getattr(optax.losses, name)(*args, **kwargs)

    return call


def ours(name):
    return getattr(losses, name)


def gradient(f, *args, argnums=0, **kwargs):
    total = lambda *args: jnp.sum(f(*args, **kwargs))
    return jax.grad(total, argnums)(*args)


def assert_same(name, *args, argnums: Any = 0, rtol=2e-6, atol=2e-6, **kwargs):
    """Value and gradient equal optax's."""

    def run(f, *args):
        loss = lambda *args: (jnp.sum(x := f(*args, **kwargs)), x)
        return jax.value_and_grad(loss, argnums, has_aux=True)(*args)

    @jax.jit
    def both(*args):
        mine = run(ours(name), *args)
        with lenient():
            return mine, run(theirs(name), *args)

    ((_, mine), grads), ((_, other), their_grads) = both(*args)
    assert mine.shape == other.shape and mine.dtype == other.dtype
    np.testing.assert_allclose(mine, other, rtol=rtol, atol=atol)
    same = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol)
    jax.tree.map(same, grads, their_grads)


# Where optax is right.

# shape, axis, shape of the batch
AXES = [
    ((3,), -1, ()),
    ((2, 3), -1, (2,)),
    ((2, 3), 0, (3,)),
    ((2, 3, 4), (1, 2), (2,)),
    ((2, 3, 4), (-1, 0), (3,)),
]
SOFT = ["softmax_cross_entropy", "poly_loss_cross_entropy"]
KL = ["kl_divergence", "generalized_kl_divergence", "kl_divergence_with_log_targets"]
each_shape = pytest.mark.parametrize("shape, axis, batch", AXES, ids=str)


def masks(shape, axis, batch, rows):
    yield None
    some = np.moveaxis(coin(*shape), axis, range(-np.size(axis), 0))
    some[(0,) * len(batch)] = False  # a row without any class, or all of them
    yield np.moveaxis(some, range(-np.size(axis), 0), axis)
    if rows and batch:
        yield coin(*batch)


@each_shape
@pytest.mark.parametrize("name", ["softmax_cross_entropy"])
def test_soft_losses_equal_optax(name, shape, axis, batch):
    z, t = normal(*shape), dirichlet(*shape)
    rows = name == "softmax_cross_entropy"
    for where in masks(shape, axis, batch, rows):
        # optax's gradient by the labels of a masked class is NaN or an infinity.
        argnums = 0 if where is not None else (0, 1)
        assert_same(name, z, t, axis=axis, where=where, argnums=argnums)


@each_shape
def test_integer_labels_equal_optax(shape, axis, batch):
    name = "softmax_cross_entropy_with_integer_labels"
    z = normal(*shape)
    k = z.size // int(np.prod(batch))
    y = rng.integers(0, k, batch)
    for where in masks(shape, axis, batch, True):
        if where is not None and where.ndim == z.ndim:
            # The label's own class stays: see below for where it does not.
            last = np.moveaxis(where, axis, range(-np.size(axis), 0)).reshape(*batch, k)
            some = last.any(-1)
            y = np.where(some, last.argmax(-1), y)
        assert_same(name, z, y, axis=axis, where=where)


def test_axis_none_is_all_axes():
    z, t = normal(2, 3), dirichlet(2, 3)
    assert_same("softmax_cross_entropy", z, t, axis=None)


def test_safe_cross_entropy_equals_optax():
    z = np.array([[-INF, 0, 0], [-INF, 0, 0], [-INF, 0, -INF], [10, 1, -2]], "f4")
    t = np.array([[0, 0.5, 0.5], [0.5, 0.25, 0.25], [0, 1, 0], [0, 1, 0]], "f4")
    name = "safe_softmax_cross_entropy"
    np.testing.assert_allclose(ours(name)(z, t), theirs(name)(z, t), rtol=1e-6)
    mine, other = (
        gradient(f(name), z[[0, 2, 3]], t[[0, 2, 3]]) for f in (ours, theirs)
    )
    np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-6)


def test_targets_need_not_sum_to_one():
    # Advantages times one-hot actions are the usual policy gradient.
    z, t = normal(4, 3), normal(4, 3)
    assert_same("softmax_cross_entropy", z, t, argnums=(0, 1))


def test_targets_and_logits_broadcast_where_one_has_the_shape_of_the_result():
    z, t = normal(4, 3), dirichlet(3)
    for args in [(z, t), (z[0], dirichlet(4, 3)), (z[:1], dirichlet(4, 3))]:
        assert_same("softmax_cross_entropy", *args)
    assert_same("softmax_cross_entropy", normal(3, 4), dirichlet(3, 1), axis=0)


@each_shape
@pytest.mark.parametrize("given", [False, True])
def test_smooth_labels_equals_optax(shape, axis, batch, given):
    t, where = dirichlet(*shape), coin(*shape)
    where[..., 0] = True
    mine, other = (
        f("smooth_labels")(t, 0.1, axis=axis, where=where if given else None)
        for f in (ours, theirs)
    )
    # optax gives a share to the masked classes as well, so that rows exceed 1.
    other = jnp.where(where, other, 0) if given else other
    np.testing.assert_allclose(mine, other, rtol=1e-6)


# Where optax is wrong.


def hard(f, **kwargs):
    return functools.partial(f("softmax_cross_entropy_with_integer_labels"), **kwargs)


def test_masked_logits_in_the_plain_softmax_loss():
    z, t = jnp.array([1.0, -INF, 0.0]), jnp.array([0.5, 0.0, 0.5])
    assert np.isnan(theirs("softmax_cross_entropy")(z, t))
    value, grad = jax.value_and_grad(losses.softmax_cross_entropy)(z, t)
    np.testing.assert_allclose(value, -log_softmax(z)[[0, 2]].mean(), rtol=1e-6)
    np.testing.assert_allclose(grad, np.exp(log_softmax(z)) - t, rtol=1e-6)


@pytest.mark.parametrize(
    "name", ["softmax_cross_entropy", "safe_softmax_cross_entropy"]
)
def test_forward_mode_at_masked_logits(name):
    z, t = jnp.array([1.0, -INF, 0.0]), jnp.array([0.5, 0.0, 0.5])

    def jvp(f):
        with lenient():
            return jax.jvp(lambda z: f(name)(z, t), (z,), (jnp.ones(3),))[1]

    assert np.isnan(jvp(theirs)) == (name == "safe_softmax_cross_entropy")
    np.testing.assert_allclose(jvp(ours), 0, atol=1e-7)
    hessian = jax.hessian(lambda z: ours(name)(z, t))(z)
    p = np.exp(log_softmax(z))
    np.testing.assert_allclose(hessian, np.diag(p) - np.outer(p, p), atol=1e-6)


@pytest.mark.parametrize("label, wrapped", [(-100, 900), (-1, 999)])
def test_a_negative_label_is_no_class(label, wrapped):
    z = jnp.asarray(normal(1, 1000))
    y = jnp.array([label])
    np.testing.assert_array_equal(hard(theirs)(z, y), hard(theirs)(z, y + 1000))
    value, grad = jax.jit(jax.value_and_grad(lambda z, y: hard(ours)(z, y)[0]))(z, y)
    assert np.isnan(value) and np.isnan(grad).all()
    with pytest.raises(AssertionError, match=f"label {label} .* is not in"):
        hard(ours)(z, y)


@pytest.mark.parametrize("label", [-100, 3, 99])
def test_a_label_out_of_range_gives_nan_in_value_and_gradient(label):
    z, y = jnp.asarray(normal(2, 3)), jnp.array([label, 1])
    assert np.isfinite(gradient(hard(theirs), z, y)).all()  # the value is NaN
    grad = jax.jit(lambda z, y: gradient(hard(ours), z, y))(z, y)
    assert np.isnan(grad[0]).all() and np.isfinite(grad[1]).all()


def test_a_class_weight_of_0_does_not_hide_a_label_that_is_no_class():
    weights = jnp.array([0.0, 1.0, 0.0])
    f = jax.jit(lambda z, y: hard(ours)(z, y, class_weights=weights))
    loss = f(normal(4, 3), jnp.array([-1, 3, 0, 1]))
    np.testing.assert_array_equal(np.isnan(loss), [True, True, False, False])
    assert loss[2] == 0 < loss[3]


def test_masking_the_class_of_the_label_is_not_a_gain():
    z, y = jnp.array([5.0, 0.0, 0.0]), jnp.array(0)
    where = jnp.array([False, True, True])
    assert hard(theirs)(z, y, where=where) < -4
    value, grad = jax.value_and_grad(hard(ours))(z, y, where=where)
    assert value == INF
    np.testing.assert_allclose(grad, [0, 0.5, 0.5])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_logits_give_float32_losses(dtype):
    z, y = jnp.asarray(normal(4, 300) * 3).astype(dtype), jnp.arange(4)
    exact = -log_softmax(z)[np.arange(4), np.arange(4)]
    assert hard(theirs)(z, y).dtype == dtype
    assert abs(np.asarray(hard(theirs)(z, y), np.float64) / exact - 1).max() > 1e-4
    t = jax.nn.one_hot(y, 300)
    for loss in (hard(ours)(z, y), losses.softmax_cross_entropy(z, t)):
        assert loss.dtype == jnp.float32
        np.testing.assert_allclose(loss, exact, rtol=1e-6)
    assert gradient(hard(ours), z, y).dtype == dtype


def test_integer_labels_in_the_soft_loss_are_refused():
    z, y = normal(3, 3), np.array([0, 1, 2])
    assert theirs("softmax_cross_entropy")(z, y).shape == (3,)  # of what?
    with pytest.raises(TypeError, match="with_integer_labels"):
        losses.softmax_cross_entropy(z, y)
    with pytest.raises(TypeError, match="there is softmax_cross_entropy"):
        losses.softmax_cross_entropy_with_integer_labels(z, y.astype("f4"))


def test_swapped_arguments_are_named():
    for f in (hard(ours), losses.softmax_cross_entropy, losses.sigmoid_focal_loss):
        with pytest.raises(TypeError, match=r"logits is int.*swapped"):
            f(np.array([0, 1, 2]), normal(3, 3))


@pytest.mark.parametrize("y", [1, np.array([0, 1, 0]), np.eye(3, dtype=int)])
def test_class_indices_are_one_for_each_row(y):
    # As optax. One-hot integers would be three labels for one row of logits.
    z = normal(3) if np.ndim(y) == 1 else normal(3, 3)
    for name in ("softmax_cross_entropy_with_integer_labels", *BENT):
        with pytest.raises(ValueError, match="one class index for each"):
            ours(name)(z, y)


def test_one_hot_booleans_are_targets():
    z, y = normal(4, 3), np.array([0, 1, 2, 0])
    np.testing.assert_allclose(
        losses.softmax_cross_entropy(z, y[:, None] == np.arange(3)),
        hard(ours)(z, y),
        rtol=1e-6,
    )


def test_columns_against_rows_are_refused():
    column, row = normal(4, 1), np.zeros(4, "f4")
    assert theirs("softmax_cross_entropy")(column, row).shape == (4,)
    with pytest.raises(ValueError, match=r"class axes differ: .*\(4, 1\).*\(4,\)"):
        losses.softmax_cross_entropy(column, row)
    with pytest.raises(ValueError, match="batches"):
        losses.softmax_cross_entropy(normal(4, 1, 3), dirichlet(4, 3))
    with pytest.raises(ValueError, match=r"one class index .* \(4, 1\)"):
        hard(ours)(normal(4, 1, 3), np.zeros(4, int))
    with pytest.raises(ValueError, match="where has shape"):
        hard(ours)(normal(4, 3), np.zeros(4, int), where=coin(4, 1, 1))


def test_nothing_leaks_from_a_removed_row():
    y = np.array([0, -100, 2, 99])
    rows = np.array([True, False, True, False])
    full = np.broadcast_to(rows[:, None], (4, 3))
    weights = np.array([1.0, 0.0, 1.0], "f4")
    cases = [
        lambda z, t: hard(ours)(z, y, where=rows),
        lambda z, t: hard(ours)(z, y, where=full, label_smoothing=0.1),
        lambda z, t: hard(ours)(z, np.where(rows, y, -7), ignore_index=-7, z_loss=1e-3),
        lambda z, t: hard(ours)(z, np.where(rows, y, 1), class_weights=weights),
        lambda z, t: losses.softmax_cross_entropy(z, t, where=rows, z_loss=1e-3),
        lambda z, t: losses.softmax_cross_entropy(z, t, where=full),
    ]
    z, t = normal(4, 3), dirichlet(4, 3)
    for f in cases:

        @jax.jit
        def run(z, t, f=f):
            value, pullback = jax.vjp(f, z, t)
            tangent = jax.jvp(lambda z: f(z, t), (z,), (jnp.ones_like(z),))[1]
            return value, *pullback(jnp.ones_like(value)), tangent

        clean = run(z, t)
        assert (clean[0][rows] > 0).all()
        for bad in (np.nan, INF, -INF):
            z_bad, t_bad = (np.where(rows[:, None], x, bad) for x in (z, t))
            assert (f(z_bad, t_bad)[~rows] == 0).all()  # and the checks do not object
            for x, expected in zip(run(z_bad, t_bad), clean, strict=True):
                np.testing.assert_array_equal(x, expected)
                assert (x[~rows] == 0).all()


# What optax lacks.


def reference(z, y, s=0.0, weights=None, temperature=1.0, classes=None, q=log_softmax):
    """The definition of the options, by one-hot arrays in float64."""
    z = np.asarray(z, np.float64) / temperature
    k = z.shape[-1]
    classes = np.ones(z.shape, bool) if classes is None else classes
    log_q = q(np.where(classes, z, -INF))
    t = (1 - s) * np.eye(k)[y] + s * classes / classes.sum(-1, keepdims=True)
    weights = np.ones(k) if weights is None else weights
    return -(weights * t * np.where(classes, log_q, 0)).sum(-1)


Z, Y = normal(5, 4), np.array([0, 3, 2, 1, 0])
W = np.array([1.0, 0.5, 3.0, 0.0], "f4")
CLASSES = np.array([1, 1, 1, 0], bool) | (np.arange(4) == Y[:, None])
OPTIONS: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.1},
    {"class_weights": W},
    {"temperature": 2.5},
    {"where": CLASSES},
    {"label_smoothing": 0.1, "class_weights": W},
    {"label_smoothing": 0.2, "where": CLASSES, "temperature": 0.5},
    {"label_smoothing": 0.2, "where": CLASSES, "class_weights": W, "temperature": 3.0},
]


NAMES = {"label_smoothing": "s", "class_weights": "weights", "where": "classes"}


def to_reference(options: dict[str, Any]) -> dict[str, Any]:
    return {NAMES.get(name, name): value for name, value in options.items()}


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "+".join(o) or "none")
def test_options_compose_to_their_definition(options):
    expected = reference(Z, Y, **to_reference(options))
    np.testing.assert_allclose(hard(ours)(Z, Y, **options), expected, rtol=1e-6)
    one_hot = np.eye(4, dtype="f4")[Y]
    soft = losses.softmax_cross_entropy(Z, one_hot, **options)
    np.testing.assert_allclose(soft, expected, rtol=2e-6)
    grads = [
        gradient(hard(ours), Z, Y, **options),
        gradient(losses.softmax_cross_entropy, Z, one_hot, **options),
    ]
    np.testing.assert_allclose(*grads, rtol=1e-5, atol=1e-6)


def test_smoothing_on_integer_labels_is_smooth_labels_without_the_one_hot():
    t = optax.losses.smooth_labels(jax.nn.one_hot(Y, 4), 0.1)
    np.testing.assert_allclose(
        hard(ours)(Z, Y, label_smoothing=0.1),
        theirs("softmax_cross_entropy")(Z, t),
        rtol=1e-6,
    )


def test_class_weights_and_their_mean_are_those_of_pytorch():
    # F.cross_entropy(weight=w, label_smoothing=s, ignore_index=2), reduction "mean".
    kept = Y != 2
    loss = hard(ours)(Z, Y, label_smoothing=0.1, class_weights=W, ignore_index=2)
    expected = np.where(kept, reference(Z, Y, 0.1, W), 0)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(
        Mean(loss.sum(), jnp.sum(W[Y], where=kept)).value,
        expected.sum() / W[Y][kept].sum(),
        rtol=1e-6,
    )


def test_ignored_labels_and_their_mean():
    y = np.array([0, -100, 2, -100, 0])
    loss = hard(ours)(Z, y, ignore_index=-100)
    expected = np.where(y < 0, 0, reference(Z, np.maximum(y, 0)))
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    value, grad = jax.value_and_grad(
        lambda z: Mean.of(hard(ours)(z, y, ignore_index=-100), where=y != -100).value
    )(Z)
    np.testing.assert_allclose(value, expected.sum() / 3, rtol=1e-6)
    assert (grad[y < 0] == 0).all()


def test_z_loss_is_added_and_returned_apart():
    log_total = np.log(np.exp(np.float64(Z)).sum(-1))
    for f, y in ((hard(ours), Y), (losses.softmax_cross_entropy, np.eye(4)[Y])):
        y = y.astype("f4") if y.ndim == 2 else y
        loss, extra = f(Z, y, z_loss=1e-2, returns=["z_loss"])
        term = extra["z_loss"]
        np.testing.assert_allclose(term, 1e-2 * log_total**2, rtol=1e-5)
        np.testing.assert_allclose(loss, f(Z, y) + term, rtol=1e-6)
        np.testing.assert_array_equal(f(Z, y, z_loss=1e-2), loss)
        grad = gradient(f, Z, y, z_loss=1e-2)
        extra = 2e-2 * log_total[:, None] * np.exp(log_softmax(Z))
        np.testing.assert_allclose(
            grad, gradient(f, Z, y) + extra, rtol=1e-5, atol=1e-6
        )


def test_z_loss_counts_the_classes_that_exist_and_the_temperature():
    _, extra = hard(ours)(
        Z, Y, where=CLASSES, temperature=2.0, z_loss=1.0, returns=["z_loss"]
    )
    expected = np.log((np.exp(np.float64(Z) / 2) * CLASSES).sum(-1)) ** 2
    np.testing.assert_allclose(extra["z_loss"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "options, match",
    [
        ({"label_smoothing": 1.0}, r"label_smoothing is 1.0, not in \[0, 1\)"),
        ({"label_smoothing": -0.1}, "label_smoothing"),
        ({"temperature": 0.0}, r"temperature is 0.0, not in \(0, inf\)"),
        ({"z_loss": -1.0}, "z_loss"),
        ({"returns": ["loss"]}, "returns has"),
        ({"reduction": "avg"}, "reduction is 'avg'"),
        ({"class_weights": W[:3]}, r"class_weights has shape \(3,\).* 4 classes"),
        ({"axis": 2}, "axis is 2, and there are 2 axes"),
        # An array of numbers would meet the classes where there are as many.
        ({"temperature": np.ones(4, "f4")}, r"temperature has shape \(4,\)"),
        ({"z_loss": np.ones(5, "f4")}, r"z_loss has shape \(5,\)"),
        ({"axis": (0, -2)}, "axis is"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        hard(ours)(Z, Y, **options)
    with pytest.raises(ValueError, match=match):
        losses.softmax_cross_entropy(Z, dirichlet(5, 4), **options)
    with pytest.raises(ValueError, match="for integer labels"):
        losses.softmax_cross_entropy(Z, dirichlet(5, 4), ignore_index=0)
    with pytest.raises(TypeError, match="label_smothing; did you mean label_smoothing"):
        hard(ours)(Z, Y, label_smothing=0.1)
    with pytest.raises(TypeError, match="where is float32, not bool"):
        hard(ours)(Z, Y, where=np.ones(5, "f4"))


def test_a_confident_loss_keeps_its_digits():
    z, y = jnp.array([[30.0, 0.0, 0.0]]), jnp.array([0])
    assert hard(theirs)(z, y) == 0
    np.testing.assert_allclose(hard(ours)(z, y), 2 * np.exp(-30.0), rtol=1e-5)


def test_checks_name_the_function_and_the_argument():
    message = r"^softmax_cross_entropy: .* of logits is NaN"
    with pytest.raises(AssertionError, match=message):
        losses.softmax_cross_entropy(Z * np.nan, dirichlet(5, 4))
    message = r"^sigmoid_binary_cross_entropy: entry \[0, 0\] of logits is NaN"
    with pytest.raises(AssertionError, match=message):
        losses.sigmoid_binary_cross_entropy(Z * np.nan, dirichlet(5, 4))
    checked = jxent.checked(jax.jit(hard(ours)))
    with pytest.raises(AssertionError, match="with_integer_labels: label 9"):
        checked(Z, np.array([0, 9, 0, 0, 0]))


def test_jit_and_vmap_agree():
    f = functools.partial(hard(ours), label_smoothing=0.1, class_weights=W, z_loss=1e-2)
    np.testing.assert_allclose(jax.jit(f)(Z, Y), f(Z, Y), rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(f)(Z, Y), f(Z, Y), rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.1}, {"label_smoothing": 0.1, "z_loss": 1e-4}]
)
def test_smoothing_and_z_loss_make_no_array_of_one_hot_size(options):
    z, y = jnp.asarray(normal(64, 4096)), jnp.zeros(64, jnp.int32)
    step = jax.value_and_grad(lambda z, y: hard(ours)(z, y, **options).mean())
    memory = jax.jit(step).lower(z, y).compile().memory_analysis()
    assert memory is not None and memory.temp_size_in_bytes < z.nbytes / 10


def test_an_impossible_label_costs_infinity_under_every_option():
    z, y = jnp.array([[-INF, 0.0, 1.0]]), jnp.array([0])
    weights = jnp.ones(3)
    for options in OPTIONAL:
        value, grad = jax.value_and_grad(
            lambda z, o=options: hard(ours)(z, y, class_weights=weights, **o)[0]
        )(z)
        assert value == INF and not np.isnan(grad).any()


OPTIONAL: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.1},
    {"z_loss": 1e-3},
    {"label_smoothing": 0.1, "z_loss": 1e-3},
]


# Binary losses.

X, EVENTS = normal(4, 3), (rng.random((4, 3)) < 0.5).astype("f4")
BINARY = ["sigmoid_binary_cross_entropy", "sigmoid_focal_loss"]
sigmoid64 = lambda x: 1 / (1 + np.exp(-np.asarray(x, np.float64)))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("y", [EVENTS, EVENTS.astype(int), dirichlet(4, 3)], ids=str)
def test_binary_losses_equal_optax(name, y):
    assert_same(name, X, y)


@pytest.mark.parametrize("options", [{"alpha": 0.25}, {"gamma": 0.5}, {"gamma": 0.0}])
def test_focal_options_equal_optax(options):
    assert_same("sigmoid_focal_loss", X, EVENTS, **options)


@pytest.mark.parametrize("name", BINARY)
def test_labels_broadcast_to_logits_but_columns_do_not_meet_rows(name):
    assert_same(name, X, EVENTS[0])
    assert theirs(name)(X[:, :1], EVENTS[:, 0]).shape == (4, 4)
    with pytest.raises(ValueError, match=r"\(4, 1\) and \(4,\) do not match"):
        ours(name)(X[:, :1], EVENTS[:, 0])


def test_pos_weight_and_smoothing_are_those_of_pytorch_and_keras():
    # F.binary_cross_entropy_with_logits(pos_weight=w);
    # keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=s)
    w, s = np.array([2.0, 0.5, 1.0], "f4"), 0.1
    y = (1 - s) * EVENTS + s / 2
    log_p, log_not_p = np.log(sigmoid64(X)), np.log(sigmoid64(-X))
    loss = losses.sigmoid_binary_cross_entropy
    plain = -EVENTS * log_p * w - (1 - EVENTS) * log_not_p
    np.testing.assert_allclose(loss(X, EVENTS, pos_weight=w), plain, rtol=1e-6)
    smooth = -y * log_p - (1 - y) * log_not_p
    np.testing.assert_allclose(loss(X, EVENTS, label_smoothing=s), smooth, rtol=1e-6)
    both = loss(X, EVENTS, label_smoothing=s, pos_weight=2.0)
    np.testing.assert_allclose(both, -2 * y * log_p - (1 - y) * log_not_p, rtol=1e-6)
    slope = y * -2 * sigmoid64(-X) + (1 - y) * sigmoid64(X)
    grad = gradient(loss, X, EVENTS, label_smoothing=s, pos_weight=2.0)
    np.testing.assert_allclose(grad, slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("bad", [np.nan, INF, -INF])
def test_a_masked_event_does_not_leak(name, bad):
    where = coin(4, 3)
    x, y = np.where(where, X, bad), np.where(where, EVENTS, 7.0).astype("f4")
    f = lambda x: ours(name)(x, y, where=where)
    value, pullback = jax.vjp(f, x)
    expected = np.where(where, ours(name)(X, EVENTS), 0)
    np.testing.assert_array_equal(value, expected)
    (grad,) = pullback(jnp.ones_like(value))
    assert np.isfinite(grad).all() and (grad[~where] == 0).all()


@pytest.mark.parametrize("name", BINARY)
def test_certain_events(name):
    x, y = jnp.array([INF, -INF, INF, -INF]), jnp.array([1.0, 0.0, 0.0, 1.0])
    value, pullback = jax.vjp(lambda x: ours(name)(x, y), x)
    np.testing.assert_array_equal(value, [0, 0, INF, INF])
    assert not np.isnan(pullback(jnp.ones(4))[0]).any()


@pytest.mark.parametrize("name", BINARY)
def test_a_confident_event_keeps_its_digits_and_its_curvature(name):
    x, y = jnp.float32(20.0), jnp.float32(1.0)
    f = lambda x: ours(name)(x, y)
    p = sigmoid64(20.0)
    miss = sigmoid64(-20.0)
    exact = -np.log1p(-miss) * (1 if name.endswith("entropy") else miss**2)
    np.testing.assert_allclose(f(x), exact, rtol=1e-5)
    slope = -miss if name.endswith("entropy") else -miss * miss**2 * 3 * p
    np.testing.assert_allclose(jax.grad(f)(x), slope, rtol=1e-5)
    assert jax.hessian(f)(x) > 0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_events_give_float32_losses(dtype):
    x = jnp.asarray(X).astype(dtype)
    exact = losses.sigmoid_binary_cross_entropy(x.astype(jnp.float32), EVENTS)
    assert theirs(BINARY[0])(x, EVENTS).dtype == dtype
    np.testing.assert_array_equal(losses.sigmoid_binary_cross_entropy(x, EVENTS), exact)


def test_labels_of_minus_one_are_refused():
    with pytest.raises(AssertionError, match="of labels is -1"):
        losses.sigmoid_binary_cross_entropy(X, 2 * EVENTS - 1)
    for options in ({"pos_weight": -1.0}, {"label_smoothing": 1.0}):
        with pytest.raises(ValueError):
            losses.sigmoid_binary_cross_entropy(X, EVENTS, **options)
    with pytest.raises(ValueError, match="gamma"):
        losses.sigmoid_focal_loss(X, EVENTS, gamma=-1.0)


# Poly, focal and generalised cross-entropy.


@each_shape
def test_poly_equals_optax(shape, axis, batch):
    z, t = normal(*shape), dirichlet(*shape)
    for where in masks(shape, axis, batch, rows=False):
        assert_same("poly_loss_cross_entropy", z, t, axis=axis, where=where)


@pytest.mark.parametrize("epsilon", [-1.0, 0.0, 5.45])
def test_poly_epsilon_equals_optax(epsilon):
    assert_same("poly_loss_cross_entropy", Z, dirichlet(5, 4), epsilon=epsilon)


BENT = {
    "poly_loss_cross_entropy": lambda q: -np.log(q) + 2 * (1 - q),
    "softmax_focal_loss": lambda q: -np.log(q) * (1 - q) ** 2,
    "generalized_cross_entropy": lambda q: (1 - q**0.7) / 0.7,
}
each_bent = pytest.mark.parametrize("name", BENT)


@each_bent
@pytest.mark.parametrize("options", OPTIONS[::3] + OPTIONS[-2:], ids="+".join)
def test_bent_losses_on_labels_and_targets(name, options):
    def bent(z):
        with np.errstate(divide="ignore"):
            return -BENT[name](np.exp(log_softmax(z)))

    expected = reference(Z, Y, **to_reference(options), q=bent)
    np.testing.assert_allclose(ours(name)(Z, Y, **options), expected, rtol=2e-6)
    one_hot = np.eye(4, dtype="f4")[Y]
    np.testing.assert_allclose(
        ours(name)(Z, one_hot, **options), expected, rtol=2e-6, atol=1e-6
    )
    g, h = (gradient(ours(name), Z, y, **options) for y in (Y, one_hot))
    np.testing.assert_allclose(g, h, rtol=1e-5, atol=1e-6)


@each_bent
def test_bent_losses_at_the_edges(name):
    z = jnp.array([[0.0, -INF, 1.0], [200.0, 0.0, 0.0], [0.0, -INF, 1.0], [0.0] * 3])
    y, where = jnp.array([0, 0, 1, 9]), jnp.array([True, True, True, False])
    for labels in (y, jax.nn.one_hot(y, 3)):
        value, pullback = jax.vjp(lambda z, t=labels: ours(name)(z, t, where=where), z)
        (grad,) = pullback(jnp.ones(4))
        assert np.isfinite(grad).all() and (grad[3] == 0).all() and grad[0, 1] == 0
        wrong = 1 / 0.7 if name == "generalized_cross_entropy" else INF
        np.testing.assert_allclose(value[1:], [0, wrong, 0], rtol=1e-6)
    hessian = jax.hessian(lambda z: ours(name)(z, y[:2]).sum())(z[:2])
    assert np.isfinite(hessian).all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_focal_slopes_at_certainty(gamma):
    z, y = jnp.array([[300.0, 0.0], [0.0, 300.0], [0.0, -INF]]), jnp.zeros(3, int)
    x, t = jnp.array([300.0, -300.0, INF, -INF]), jnp.ones(4)
    for f in (
        lambda z: losses.softmax_focal_loss(z, y, gamma=gamma).sum(),
        lambda z: losses.softmax_focal_loss(z, jax.nn.one_hot(y, 2), gamma=gamma).sum(),
    ):
        np.testing.assert_allclose(jax.grad(f)(z), [[0, 0], [-1, 1], [0, 0]], atol=1e-6)
        assert np.isfinite(jax.hessian(f)(z)).all()
    f = lambda x: losses.sigmoid_focal_loss(x, t, gamma=gamma).sum()
    grad = jax.grad(f)(x)
    np.testing.assert_allclose(grad[:3], [0, -1, 0], atol=1e-6)
    assert np.isfinite(grad).all() and np.isfinite(jax.hessian(f)(x)[:2, :2]).all()


def test_focal_of_two_classes_is_that_of_one_event():
    x, y = X[:, 0], EVENTS[:, 0]
    z = np.stack([np.zeros_like(x), x], -1)
    for gamma in (0.0, 0.5, 2.0):
        np.testing.assert_allclose(
            losses.softmax_focal_loss(z, y.astype(int), gamma=gamma),
            losses.sigmoid_focal_loss(x, y, gamma=gamma),
            rtol=2e-6,
        )


def test_bent_options_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="ignore_index is for integer labels"):
        losses.softmax_focal_loss(Z, dirichlet(5, 4), ignore_index=0)
    with pytest.raises(ValueError, match=r"q is 1.5, not in \(0, 1\]"):
        losses.generalized_cross_entropy(Z, Y, q=1.5)
    with pytest.raises(ValueError, match="gamma"):
        losses.softmax_focal_loss(Z, Y, gamma=-1.0)
    for name, option in zip(BENT, ("epsilon", "gamma", "q"), strict=True):
        with pytest.raises(ValueError, match=rf"{option} has shape \(4,\)"):
            ours(name)(Z, dirichlet(5, 4), **{option: np.full(4, 0.5, "f4")})


# Kullback-Leibler divergences.


@each_shape
@pytest.mark.parametrize("name", KL)
def test_kl_losses_equal_optax(name, shape, axis, batch):
    log_q, t = normal(*shape), dirichlet(*shape)
    t = np.log(t) if name.endswith("log_targets") else t
    for where in masks(shape, axis, batch, rows=False):
        argnums = (0, 1) if where is None else 0
        assert_same(name, log_q, t, axis=axis, where=where, argnums=argnums, rtol=1e-5)


def kl64(t, log_q):
    t = np.asarray(t, np.float64)
    log_t = np.log(np.where(t > 0, t, 1))
    return np.where(t > 0, t * (log_t - np.asarray(log_q, np.float64)), 0).sum(-1)


def test_kl_with_zero_targets_in_value_and_gradient():
    log_q, t = jnp.log(jnp.array([0.5, 0.25, 0.25])), jnp.array([0.5, 0.5, 0.0])
    assert np.isnan(gradient(theirs("kl_divergence"), log_q, t, argnums=1)).any()
    value, grads = jax.value_and_grad(losses.kl_divergence, (0, 1))(log_q, t)
    np.testing.assert_allclose(value, kl64(t, log_q), rtol=1e-6)
    np.testing.assert_allclose(grads[0], -t)
    np.testing.assert_allclose(grads[1][:2], 1 + np.log(t[:2]) - log_q[:2], rtol=1e-6)
    assert np.isfinite(grads[1][2]) and grads[1][2] < -80


def test_kl_where_both_have_an_impossible_class():
    log_q, t = jnp.log(jnp.array([0.5, 0.5, 0.0])), jnp.array([0.25, 0.75, 0.0])
    assert np.isnan(theirs("kl_divergence")(log_q, t))
    assert np.isnan(theirs("kl_divergence_with_log_targets")(log_q, jnp.log(t)))
    expected = kl64(t[:2], log_q[:2])
    for name, target in ((KL[0], t), (KL[2], jnp.log(t)), (KL[1], t)):
        value, grad = jax.value_and_grad(ours(name))(log_q, target)
        np.testing.assert_allclose(value, expected, rtol=1e-6)
        assert np.isfinite(grad).all() and grad[2] == 0


def test_log_targets_of_minus_infinity():
    log_q, log_t = jnp.log(jnp.array([0.5, 0.25, 0.25])), jnp.array([0.0, -INF, -INF])
    assert np.isnan(theirs("kl_divergence_with_log_targets")(log_q, log_t))
    f = losses.kl_divergence_with_log_targets
    value, grads = jax.value_and_grad(f, (0, 1))(log_q, log_t)
    np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
    np.testing.assert_allclose(grads[0], [-1, 0, 0])
    np.testing.assert_allclose(grads[1], [1 + np.log(2), 0, 0], rtol=1e-6)


def test_an_impossible_prediction_costs_infinity():
    log_q, t = jnp.array([0.0, -INF]), jnp.array([0.5, 0.5])
    for name in KL[:2]:
        assert ours(name)(log_q, t) == INF
        assert not np.isnan(gradient(ours(name), log_q, t)).any()


def test_kl_of_near_distributions_keeps_its_digits_and_its_sign():
    z = normal(1000)
    log_q = jax.nn.log_softmax(z)
    t = jax.nn.softmax(z * (1 + 1e-5))
    wide = np.float64(t)
    exact = kl64(wide / wide.sum(), log_softmax(log_q))
    assert abs(theirs("kl_divergence")(log_q, t) / exact - 1) > 1
    np.testing.assert_allclose(losses.kl_divergence(log_q, t), exact, rtol=0.05)
    log_t = jax.nn.log_softmax(z * (1 + 1e-5))
    f = losses.kl_divergence_with_log_targets
    assert f(log_q, log_t) > 0 and f(log_q, log_q) == 0


def test_kl_of_raw_logits_is_the_formula_as_it_stands():
    log_q, t = normal(4, 3) * 20, dirichlet(4, 3)
    for name in KL[:1]:
        np.testing.assert_allclose(ours(name)(log_q, t), kl64(t, log_q), rtol=1e-5)


@pytest.mark.parametrize("name", KL)
@pytest.mark.parametrize("bad", [np.nan, INF])
def test_a_masked_element_does_not_leak(name, bad):
    where, log_q, t = (
        coin(4, 3),
        log_softmax(normal(4, 3)).astype("f4"),
        dirichlet(4, 3),
    )
    f = lambda log_q, t: ours(name)(log_q, t, where=where)
    clean = f(log_q, t)
    poisoned = np.where(where, log_q, bad), np.where(where, t, bad)
    value, pullback = jax.vjp(f, *poisoned)
    np.testing.assert_array_equal(value, clean)
    for grad in pullback(jnp.ones(4)):
        assert np.isfinite(grad).all() and (grad[~where] == 0).all()


def test_what_kl_masks_is_no_nan_on_the_way():
    with jax.debug_nans(True):
        log_q, t = jnp.full((2, 3), -1.0), jnp.full((2, 3), 0.3)
        where = jnp.array([True, True, False])
        value, slope = jax.value_and_grad(
            lambda x: losses.kl_divergence(x, t, where=where).sum()
        )(log_q)
        assert np.isfinite(value) and np.isfinite(slope).all()


def test_a_mask_of_rows_for_kl_has_its_axis():
    log_q, t, rows = normal(3, 3), dirichlet(3, 3), np.array([True, False, True])
    with pytest.raises(ValueError, match=r"where\[..., None\]"):
        losses.kl_divergence(log_q, t, where=rows)
    assert losses.kl_divergence(log_q, t, where=rows[:, None])[1] == 0
    with pytest.raises(ValueError, match="class axes differ"):
        losses.kl_divergence(log_q, t[:, :2])
    with pytest.raises(TypeError, match="targets is int32"):
        losses.kl_divergence(log_q, rows.astype("i4"))


def test_half_precision_kl_is_float32():
    log_q, t = (jnp.asarray(x, jnp.bfloat16) for x in (normal(3), dirichlet(3)))
    assert theirs("kl_divergence")(log_q, t).dtype == jnp.bfloat16
    value = losses.kl_divergence(log_q, t)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, kl64(t, log_q), rtol=1e-5)


# Dtypes.

EVERY = {
    "integer labels": lambda z, t, y: hard(ours)(
        z, y, label_smoothing=0.1, class_weights=W[:3], z_loss=1e-3, temperature=2.0
    ),
    "soft labels": lambda z, t, y: losses.softmax_cross_entropy(
        z, t, label_smoothing=0.1, class_weights=W[:3], z_loss=1e-3, temperature=2.0
    ),
    "binary": lambda z, t, y: losses.sigmoid_binary_cross_entropy(z, t, pos_weight=2.0),
    "sigmoid focal": lambda z, t, y: losses.sigmoid_focal_loss(z, t, alpha=0.25),
    "poly": lambda z, t, y: losses.poly_loss_cross_entropy(z, t),
    "focal": lambda z, t, y: losses.softmax_focal_loss(z, y, label_smoothing=0.1),
    "generalised": lambda z, t, y: losses.generalized_cross_entropy(z, t),
    "kl": lambda z, t, y: losses.kl_divergence(jax.nn.log_softmax(z), t),
    "distillation": lambda z, t, y: losses.distillation_loss(z, t, y, hard_weight=0.5)[
        0
    ],
    "sparsemax": lambda z, t, y: losses.multiclass_sparsemax_loss(z, y),
}


@pytest.mark.parametrize("f", EVERY.values(), ids=EVERY)
def test_the_wider_dtype_wins_and_float32_is_the_least(f):
    z, t, y = normal(4, 3), dirichlet(4, 3), np.array([0, 1, 2, 0])
    narrow = f(z, t, y)
    assert narrow.dtype == jnp.float32 and not narrow.weak_type
    half = f(jnp.asarray(z, jnp.bfloat16), jnp.asarray(t, jnp.float16), y)
    assert half.dtype == jnp.float32
    with jax.enable_x64(True):
        for wide in (f(z.astype("f8"), t, y), f(z.astype("f8"), t.astype("f8"), y)):
            assert wide.dtype == jnp.float64
            np.testing.assert_allclose(wide, narrow, rtol=1e-5)
        f(z, t.astype("f8"), y)
    np.testing.assert_array_equal(f(z, t, jnp.asarray(y, jnp.int8)), narrow)
