"""Options that move: schedules and learnable numbers, traced, with right derivatives."""

import inspect
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jxent
from jxent import cross_entropy, kl_divergence, Labels, LinearLogits, Logits, losses
from jxent.losses._options import Option

pytestmark = pytest.mark.usefixtures("hasty_compiler")
rng = np.random.default_rng(0)
normal = lambda *shape: jnp.asarray(rng.normal(size=shape) * 2, jnp.float32)
N, K = 5, 4
Z, T, H, V = normal(N, K), jax.nn.softmax(normal(N, K)), normal(N, 3), normal(3, K)
Y, E = jnp.array([0, 3, 1, 2, 1]), jnp.array([0.0, 1.0, 1.0, 0.0, 1.0])
hard = losses.softmax_cross_entropy_with_integer_labels
linear = losses.linear_softmax_cross_entropy

# loss, and the options of it that are numbers, each with a value and a bad one.
SHARES = {"label_smoothing": (0.1, 1.0)}
ROWS: dict[str, Any] = {**SHARES, "temperature": (1.5, 0.0)}
MOVING: dict[str, tuple[Any, dict[str, Any]]] = {
    "softmax_cross_entropy_with_integer_labels": (
        lambda **o: hard(Z, Y, **o),
        {**ROWS, "z_loss": (0.1, -1.0)},
    ),
    "softmax_cross_entropy": (
        lambda **o: losses.softmax_cross_entropy(Z, T, **o),
        {**ROWS, "z_loss": (0.1, -1.0)},
    ),
    "safe_softmax_cross_entropy": (
        lambda **o: losses.safe_softmax_cross_entropy(Z, T, **o),
        ROWS,
    ),
    "linear_softmax_cross_entropy": (
        lambda **o: linear(H, V, Y, block_size=3, **o),
        {**ROWS, "z_loss": (0.1, -1.0), "softcap": (3.0, 0.0)},
    ),
    "poly_loss_cross_entropy": (
        lambda **o: losses.poly_loss_cross_entropy(Z, Y, **o),
        {**ROWS, "epsilon": (0.7, np.inf)},
    ),
    "softmax_focal_loss": (
        lambda **o: losses.softmax_focal_loss(Z, Y, **o),
        {**ROWS, "gamma": (1.3, -1.0)},
    ),
    "generalized_cross_entropy": (
        lambda **o: losses.generalized_cross_entropy(Z, Y, **o),
        {**ROWS, "q": (0.6, 0.0)},
    ),
    "sigmoid_binary_cross_entropy": (
        lambda **o: losses.sigmoid_binary_cross_entropy(Z[:, 0], E, **o),
        {**SHARES, "pos_weight": (1.7, -1.0)},
    ),
    "sigmoid_focal_loss": (
        lambda **o: losses.sigmoid_focal_loss(Z[:, 0], E, **o),
        {**SHARES, "alpha": (0.3, 1.5), "gamma": (1.3, -1.0)},
    ),
    "distillation_loss": (
        lambda **o: (
            losses.distillation_loss(
                Z, normal_teacher, Y if "hard_weight" in o else None, **needed(o)
            ).loss
        ),
        {
            "temperature": (1.5, 0.0),
            "hard_weight": (0.4, 1.5),
            "teacher_weight": (0.3, 1.0),
        },
    ),
    "log_prob_and_entropy": (
        lambda **o: sum(losses.log_prob_and_entropy(Z, Y, **o)),
        {"temperature": (1.5, 0.0)},
    ),
    "contrastive_loss": (
        lambda **o: losses.contrastive_loss(Z, T, **o),
        {"temperature": (0.7, 0.0)},
    ),
    "sigmoid_contrastive_loss": (
        lambda **o: losses.sigmoid_contrastive_loss(Z, T, **o),
        {"temperature": (0.7, 0.0), "bias": (-1.0, np.inf)},
    ),
    "kl_from_samples": (
        lambda **o: losses.kl_from_samples(Z[:, 0], Z[:, 1], **o),
        {"clip": (1.1, 0.0)},
    ),
}
normal_teacher = normal(N, K)
CASES = [(name, option) for name, (_, options) in MOVING.items() for option in options]
each_case = pytest.mark.parametrize("name, option", CASES)


def needed(options):
    js = {"divergence": "js"} if "teacher_weight" in options else {}
    return {**options, **js}


def test_every_number_among_the_options_is_here():
    for name in losses.__all__:
        f = getattr(losses, name)
        hints = getattr(inspect.unwrap(f), "__annotations__", {})
        if "options" not in hints:
            continue
        (fields,) = get_args(hints["options"])
        fields = getattr(fields, "__origin__", fields)
        found = {
            option
            for owner in (fields, *fields.__orig_bases__)
            for option, hint in getattr(owner, "__annotations__", {}).items()
            for o in getattr(hint, "__metadata__", ())
            if isinstance(o, Option) and o.within
        }
        assert found <= MOVING.get(name, (None, {}))[1].keys(), name


@each_case
def test_an_option_may_be_traced_and_has_its_slope(name, option):
    f, options = MOVING[name]
    at, _ = options[option]
    total = lambda x: jnp.sum(f(**{option: x}) * jnp.arange(1.0, N + 1))
    value, slope = jax.jit(jax.value_and_grad(total))(at)
    np.testing.assert_allclose(value, total(at), rtol=1e-5)
    step = 1e-2
    around = [float(total(at + d * step)) for d in (-2, -1, 1, 2)]
    exact = np.dot([1, -8, 8, -1], around) / (12 * step)
    np.testing.assert_allclose(slope, exact, rtol=2e-3, atol=2e-3)


@each_case
def test_a_bad_number_is_refused_in_whatever_it_is_given(name, option):
    f, options = MOVING[name]
    bad = options[option][1]
    for x in (bad, np.float32(bad), np.array(bad, "f4"), jnp.float32(bad)):
        with pytest.raises(ValueError, match=f"{name}: {option} is .*not in"):
            f(**{option: x})
    with pytest.raises(AssertionError, match=f"{name}: {option} is .*not in"):
        jxent.checked(jax.jit(lambda x: f(**{option: x})))(jnp.float32(bad))


@pytest.mark.parametrize(
    "name",
    [
        n
        for n, (_, o) in MOVING.items()
        if "temperature" in o and "contrastive" not in n
    ],
)
def test_a_temperature_for_each_row(name):
    f, _ = MOVING[name]
    t = jnp.array([0.5, 1.0, 2.0, 3.0, 1.0])
    got = jax.jit(lambda t: f(temperature=t))(t)
    each = [f(temperature=float(t[i]))[i] for i in range(N)]
    np.testing.assert_allclose(got, jnp.stack(each), rtol=1e-5)


def test_what_is_part_of_the_program_says_so():
    with pytest.raises(TypeError, match=r"ignore_index is .* Python integer"):
        jax.jit(lambda i: hard(Z, Y, ignore_index=i))(-100)


def test_a_label_that_no_dtype_holds_is_nobodys():
    np.testing.assert_array_equal(hard(Z, Y, ignore_index=2**32 - 1), hard(Z, Y))


def test_hard_weight_reaches_both_ends():
    # An infinite divergence that counts for nothing is nothing.
    s = jnp.array([[0.0, -jnp.inf, 1.0]])
    t, y = jnp.array([[0.0, 1.0, 2.0]]), jnp.array([2])
    out = losses.distillation_loss(s, t, y, hard_weight=1.0)
    assert out.soft == jnp.inf
    np.testing.assert_allclose(out.loss, out.hard, rtol=1e-6)
    at = lambda h: losses.distillation_loss(Z, normal_teacher, Y, hard_weight=h)
    np.testing.assert_allclose(jax.jit(at)(0.0).loss, at(1e-9).soft, rtol=1e-5)


VIEWS = {
    "logits": lambda: Logits(Z),
    "log": lambda: jxent.LogProbs(jax.nn.log_softmax(Z)),
    "probs": lambda: jxent.Probs(T),
    "linear": lambda: LinearLogits(H, V, block_size=3),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("measure", [cross_entropy, kl_divergence, jxent.js_divergence])
def test_smoothing_of_labels_is_data_if_it_is_an_array(view, measure):
    if view == "linear" and measure is jxent.js_divergence:
        return  # the same path as that of KL, and a long one to compile
    q = VIEWS[view]()
    total = lambda s: jnp.sum(measure(Labels(Y, s), q))
    value, slope = jax.jit(jax.value_and_grad(total))(0.1)
    np.testing.assert_allclose(value, total(0.1), rtol=1e-5)
    np.testing.assert_allclose(slope, (total(0.101) - total(0.099)) / 2e-3, rtol=1e-2)


def test_no_smoothing_is_part_of_the_program_and_costs_nothing():
    loss = lambda s: lambda z: cross_entropy(Labels(Y, s), Logits(z))
    text = lambda s: str(jax.make_jaxpr(loss(s))(Z))
    assert text(0.0) == text(0) and len(text(0.0)) < len(text(0.1))
    assert len(jax.tree.leaves(Labels(Y, 0.1))) == 1
    assert len(jax.tree.leaves(Labels(Y, jnp.float32(0.1)))) == 2
    with pytest.raises(ValueError, match=r"smoothing of p is 1\.0"):
        cross_entropy(Labels(Y, jnp.float32(1)), Logits(Z))
