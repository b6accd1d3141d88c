"""Reductions that cannot be wrong: every loss knows its weights, and its means merge."""

import inspect
from typing import Annotated, Any, Generic, Unpack

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jxent import LinearLogits, losses, Mean
from jxent.losses._options import loss, Number, Option, R, Softmax

pytestmark = pytest.mark.usefixtures("hasty_compiler")
rng = np.random.default_rng(0)
normal = lambda *shape: jnp.asarray(rng.normal(size=shape) * 2, jnp.float32)
N, K = 6, 4
Z, T, H, V = normal(N, K), jax.nn.softmax(normal(N, K)), normal(N, 3), normal(3, K)
Y, W = jnp.array([0, 2, 1, 3, 1, 2]), jnp.array([10.0, 1.0, 2.0, 0.5])
E = jnp.asarray(rng.integers(0, 2, (N,)), jnp.float32)
KEEP = jnp.array([True, True, False, True, False, True])
WEIGHTS = jnp.array([1.0, 0.0, 3.0, 0.5, 2.0, 4.0])
hard = losses.softmax_cross_entropy_with_integer_labels
linear = losses.linear_softmax_cross_entropy

# Every loss, of rows that `where` may remove. What is added to `losses` gets its row here.
LOSSES = {
    "softmax_cross_entropy": lambda z, **o: losses.softmax_cross_entropy(z, T, **o),
    "softmax_cross_entropy_with_integer_labels": lambda z, **o: hard(z, Y, **o),
    "safe_softmax_cross_entropy": lambda z, **o: losses.safe_softmax_cross_entropy(
        z, T, **o
    ),
    "linear_softmax_cross_entropy": lambda z, **o: linear(z, jnp.eye(K), Y, **o),
    "poly_loss_cross_entropy": lambda z, **o: losses.poly_loss_cross_entropy(z, Y, **o),
    "softmax_focal_loss": lambda z, **o: losses.softmax_focal_loss(z, Y, **o),
    "generalized_cross_entropy": lambda z, **o: losses.generalized_cross_entropy(
        z, Y, **o
    ),
    "sigmoid_binary_cross_entropy": lambda z, **o: losses.sigmoid_binary_cross_entropy(
        z[:, 0], E, **o
    ),
    "sigmoid_focal_loss": lambda z, **o: losses.sigmoid_focal_loss(z[:, 0], E, **o),
    "sparsemax_loss": lambda z, **o: losses.sparsemax_loss(z[:, 0], E, **o),
    "multiclass_sparsemax_loss": lambda z, **o: losses.multiclass_sparsemax_loss(
        z, Y, **o
    ),
    "multiclass_entmax15_loss": lambda z, **o: losses.multiclass_entmax15_loss(
        z, Y, **o
    ),
    "kl_divergence": lambda z, **o: losses.kl_divergence(
        jax.nn.log_softmax(z), T, **rows(o)
    ),
    "kl_divergence_with_log_targets": lambda z, **o: (
        losses.kl_divergence_with_log_targets(
            jax.nn.log_softmax(z), jnp.log(T), **rows(o)
        )
    ),
    "generalized_kl_divergence": lambda z, **o: losses.generalized_kl_divergence(
        z, T, **rows(o)
    ),
    "kl_from_samples": lambda z, **o: losses.kl_from_samples(z[:, 0], E - 1, **o),
    "distillation_loss": lambda z, **o: losses.distillation_loss(z, T, **o).loss,
    "log_prob_and_entropy": lambda z, **o: losses.log_prob_and_entropy(z, Y, **o)[0],
    "contrastive_loss": lambda z, **o: losses.contrastive_loss(z, T, **o),
    "sigmoid_contrastive_loss": lambda z, **o: losses.sigmoid_contrastive_loss(
        z, T, **o
    ),
    "gaussian_nll_loss": lambda z, **o: losses.gaussian_nll_loss(z[:, 0], E, 2.0, **o),
    "gamma_nll_loss": lambda z, **o: losses.gamma_nll_loss(
        jnp.exp(z[:, 0]), E + 1, 2.0, **o
    ),
    "poisson_nll_loss": lambda z, **o: losses.poisson_nll_loss(
        jnp.exp(z[:, 0]), E, **o
    ),
}
NOT_LOSSES = {
    "smooth_labels",
    "sparsemax",
    "entmax15",
    "make_fenchel_young_loss",
    "Distillation",
}
each_loss = pytest.mark.parametrize("name", LOSSES)


def rows(options):
    """A mask of rows for losses whose `where` is of elements."""
    where = options.pop("where", None)
    return options if where is None else {**options, "where": where[:, None]}


def test_no_loss_is_left_out():
    assert set(losses.__all__) == LOSSES.keys() | NOT_LOSSES
    for name in LOSSES:
        listed = inspect.signature(getattr(losses, name)).parameters
        assert {"reduction", "weights"} <= listed.keys()


@each_loss
def test_reductions_are_what_they_say(name):
    f = LOSSES[name]
    masks = [{}, {"where": KEEP}]
    if "where" not in inspect.signature(getattr(losses, name)).parameters:
        masks = [{}]
    for mask in masks:

        @jax.jit
        def run(z, w, mask=mask):
            each = f(z, **mask)
            weighed = [
                f(z, weights=w, reduction=r, **mask)
                for r in (None, "sum", "mean", Mean)
            ]
            return each, weighed, f(z, reduction="mean", **mask)

        each, (weighed, total, mean, merging), plain = run(Z, WEIGHTS)
        w = np.where(mask.get("where", True), WEIGHTS, 0)
        np.testing.assert_allclose(weighed, w * each, rtol=1e-6)
        np.testing.assert_allclose(total, (w * each).sum(), rtol=1e-5)
        np.testing.assert_allclose(mean, (w * each).sum() / w.sum(), rtol=1e-5)
        np.testing.assert_allclose(merging.value, mean, rtol=1e-6)
        kept = np.broadcast_to(mask.get("where", True), N)
        np.testing.assert_allclose(plain, np.mean(each[kept]), rtol=1e-5)


@each_loss
def test_the_slope_by_a_weight_is_the_loss_also_at_0(name):
    f = LOSSES[name]
    total = lambda w: f(Z, weights=w, reduction="sum")
    slope = jax.jit(jax.grad(total))(jnp.zeros(N))
    np.testing.assert_allclose(slope, f(Z), rtol=1e-5)


def test_class_weighted_means_are_those_of_pytorch():
    # torch.nn.functional.cross_entropy(z, y, weight=w, ignore_index=-100)
    z = jax.random.normal(jax.random.key(0), (6, 3))
    y, w = jnp.array([0, 2, -100, 1, -100, 2]), jnp.array([10.0, 1.0, 2.0])
    options = {"ignore_index": -100, "class_weights": w, "reduction": "mean"}
    np.testing.assert_allclose(hard(z, y, **options), 1.1113148, rtol=1e-6)
    got = linear(z, jnp.eye(3), y, **options)
    np.testing.assert_allclose(got, 1.1113148, rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 0.01, 100.0])
@pytest.mark.parametrize(
    "f", [lambda **o: hard(H @ V, Y, **o), lambda **o: linear(H, V, Y, **o)]
)
def test_z_loss_counts_rows_and_not_class_weights(f, scale):
    options: dict[str, Any] = {
        "class_weights": jnp.full(K, scale),
        "where": KEEP,
        "weights": WEIGHTS,
    }
    without = f(reduction="mean", **options)
    z = 0.1 * jax.nn.logsumexp(H @ V, -1) ** 2
    expected = np.average(z, weights=np.where(KEEP, WEIGHTS, 0))
    for how in ("mean", Mean):
        with_z = f(reduction=how, z_loss=0.1, **options)
        np.testing.assert_allclose(float(with_z) - without, expected, rtol=1e-4)


def test_micro_batches_merge_to_the_whole_whatever_is_weighed():
    options: dict[str, Any] = {"ignore_index": 1, "class_weights": W, "z_loss": 0.1}

    def mean(i, j, how):
        return hard(Z[i:j], Y[i:j], weights=WEIGHTS[i:j], reduction=how, **options)

    merged = sum([mean(0, 1, Mean), mean(1, 4, Mean), mean(4, 6, Mean)])
    np.testing.assert_allclose(merged.value, mean(0, 6, "mean"), rtol=1e-6)


def test_dense_and_linear_agree_on_a_class_weight_of_0():
    w = jnp.array([0.0, 1.0, 2.0, 0.0])
    options: dict[str, Any] = {"class_weights": w, "z_loss": 0.1}
    slope = lambda f: jax.grad(lambda h, w: f(h, w).sum(), (0, 1))
    dense = lambda h, w: hard(h @ V, Y, class_weights=w, z_loss=0.1)
    fused = lambda h, w: linear(h, V, Y, class_weights=w, z_loss=0.1)
    np.testing.assert_allclose(dense(H, w), fused(H, w), rtol=1e-5)
    assert (dense(H, w) > 0).all()  # the z-loss is left
    for a, b in zip(slope(dense)(H, w), slope(fused)(H, w), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    bad = H.at[0].set(jnp.nan)
    for f in (
        lambda h: hard(h @ V, Y, **options),
        lambda h: linear(h, V, Y, **options),
    ):
        value, grad = jax.value_and_grad(lambda h, f=f: f(h).sum())(bad)
        assert np.isfinite(value) and np.isfinite(grad).all() and (grad[0] == 0).all()


def test_a_policy_of_hidden_states_reduces_both():
    options: dict[str, Any] = {"where": KEEP, "weights": WEIGHTS, "reduction": Mean}
    fused = losses.log_prob_and_entropy(LinearLogits(H, V), Y, **options)
    dense = losses.log_prob_and_entropy(H @ V, Y, **options)
    for a, b in zip(fused, dense, strict=True):
        np.testing.assert_allclose(a.value, b.value, rtol=1e-5)


# An option of one's own: its declaration, and the line that uses it.


class Margin(Softmax[R], Generic[R], total=False):
    """margin: How far the label's logit has to lead."""

    margin: Annotated[Number, Option(0.0, "[0, inf)")]


@loss
def large_margin_loss(logits, labels, **options: Unpack[Margin[R]]) -> R:
    given: Any = options
    lag = given.pop("margin") * jax.nn.one_hot(labels, logits.shape[-1])
    return hard(logits - lag, labels, **given)


def test_an_option_is_its_declaration_and_one_line():
    assert inspect.signature(large_margin_loss).parameters["margin"].default == 0
    at = lambda m: large_margin_loss(Z, Y, margin=m, weights=WEIGHTS, reduction="mean")
    np.testing.assert_allclose(at(0.0), hard(Z, Y, weights=WEIGHTS, reduction="mean"))
    assert jax.jit(jax.grad(at))(0.5) > 0
    with pytest.raises(ValueError, match=r"large_margin_loss: margin is -1.0, not in"):
        at(-1.0)
    with pytest.raises(ValueError, match=r"margin is -1.0, not in \[0, inf\)"):
        at(jnp.array(-1.0))
    with pytest.raises(TypeError, match="no option marign; did you mean margin"):
        large_margin_loss(Z, Y, marign=1.0)


# The mean itself.


def test_a_mean_over_many_tokens_keeps_its_digits():
    # 2.5, a token at a time, past 2²⁴; and 3e9 tokens, a hundred at a time.
    some = Mean(jnp.float32(2.5 * 2**24), jnp.float32(2**24))
    one = Mean.of(jnp.full(1, 4.0))
    step = lambda mean, _: (mean + one, None)
    mean, _ = jax.lax.scan(step, some, length=2**14)
    exact = (2.5 * 2**24 + 4 * 2**14) / (2**24 + 2**14)
    np.testing.assert_allclose(mean.value, exact, rtol=1e-7)
    mean = Mean.of(jnp.zeros(0))
    hundred = Mean.of(jnp.full(100, 2.0))

    def double(mean, _):
        return mean + mean + hundred, None

    mean, _ = jax.lax.scan(double, mean, length=25)
    np.testing.assert_allclose(mean.value, 2.0, rtol=1e-7)
    assert float(mean.weight) + float(mean.lost[1]) == 100 * (2**25 - 1)


def test_a_mean_is_a_number_and_adds_up_in_a_list():
    a, b = Mean.of(jnp.array([1.0, 2.0])), Mean.of(jnp.array([6.0]))
    assert float(sum([a, b])) == 3 and f"{a:.3f}" == "1.500" and f"{a}" == "1.5"
    slope = jax.grad(lambda x: sum([Mean.of(x), b]).value)(jnp.ones(2))
    np.testing.assert_allclose(slope, 1 / 3)


def test_slopes_of_a_mean_by_its_weights():
    x = jnp.array([1.0, 2.0, 4.0])
    slope = jax.grad(lambda w: Mean.of(x, weights=w).total)(jnp.zeros(3))
    np.testing.assert_array_equal(slope, x)
    w = jnp.full(3, 1e-20)
    slope = jax.grad(lambda w: Mean.of(x, weights=w).value)(w)
    np.testing.assert_allclose(slope, (x - x.mean()) / 3e-20, rtol=1e-5)
    assert np.isinf(Mean.of(x, weights=jnp.array([1.0, 1.0, -2.0])).value)
