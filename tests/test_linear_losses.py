"""Losses of a projection: what the dense losses say of its logits, with every option."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jxent import LinearLogits, losses, Mean

pytestmark = pytest.mark.usefixtures("hasty_compiler")
rng = np.random.default_rng(0)
N, D, V = 6, 5, 19
H = jnp.asarray(rng.normal(size=(N, D)), jnp.float32)
W = jnp.asarray(rng.normal(size=(D, V)), jnp.float32)
B = jnp.asarray(rng.normal(size=V), jnp.float32)
Y = jnp.asarray(rng.integers(0, V, N)).at[2].set(-100)
C = jnp.asarray(rng.uniform(0.5, 2, V), jnp.float32).at[3].set(0)
KEEP = jnp.array([True, True, True, True, False, True])
CT = jnp.asarray(rng.normal(size=N), jnp.float32)

OPTIONS = {
    "plain": {},
    "ignored": {"ignore_index": -100},
    "where": {"where": KEEP & (Y >= 0)},
    "smoothed": {"ignore_index": -100, "label_smoothing": 0.1},
    "weighted": {"ignore_index": -100, "class_weights": C},
    "smoothed and weighted": {
        "ignore_index": -100,
        "class_weights": C,
        "label_smoothing": 0.1,
    },
    "everything": {
        "ignore_index": -100,
        "where": KEEP,
        "class_weights": C,
        "label_smoothing": 0.1,
        "temperature": 1.5,
        "z_loss": 0.01,
    },
}
each_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())


def close(got, expected, rtol=1e-5):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        scale = np.abs(b[np.isfinite(b)]).max(initial=1e-30)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


def streamed(h, w, b, **options):
    return losses.linear_softmax_cross_entropy(
        h, w, options.pop("labels", Y), bias=b, block_size=8, **options
    )


def dense(h, w, b, **options):
    z = h @ w + b[None]
    y = options.pop("labels", Y)
    return losses.softmax_cross_entropy_with_integer_labels(z, y, **options)


@each_option
def test_means_what_the_dense_loss_means(options):
    if not options:
        options = {"labels": jnp.maximum(Y, 0)}
    weigh = lambda f: lambda *x: jnp.vdot(f(*x, **options), CT)
    close(streamed(H, W, B, **options), dense(H, W, B, **options))
    slopes = jax.jit(jax.grad(weigh(streamed), (0, 1, 2)))(H, W, B)
    close(slopes, jax.jit(jax.grad(weigh(dense), (0, 1, 2)))(H, W, B))


def test_softcap_and_rows_of_classes():
    y, w = jnp.maximum(Y, 0), W.T
    got = losses.linear_softmax_cross_entropy(H, w, y, softcap=2.0, vocab_axis=0)
    z = 2 * jnp.tanh(H @ W / 2)
    close(got, losses.softmax_cross_entropy_with_integer_labels(z, y))


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_what_a_removed_token_holds_reaches_nothing(bad):
    h = H.at[4].set(bad)
    labels = Y.at[4].set(V + 7)
    weights = jnp.where(KEEP, 2.0, 0.0)
    returns = ["log_normalizer", "entropy", "argmax", "correct", "z_loss"]
    for options in ({"where": KEEP}, {"weights": weights}):
        options = {
            **options,
            "labels": labels,
            "ignore_index": -100,
            "returns": returns,
        }

        def total(h, w, options=options):
            loss, extra = streamed(h, w, B, z_loss=0.1, **options)
            extra = {k: x.astype(jnp.float32) for k, x in extra.items()}
            return loss.sum() + sum(x.sum() for x in extra.values()), (loss, extra)

        run = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))
        (_, (loss, extra)), slopes = run(h, W)
        assert loss[4] == 0 and all(x[4] == 0 for x in extra.values())
        assert all(jnp.isfinite(s).all() for s in slopes) and (slopes[0][4] == 0).all()


def test_a_label_that_is_no_class_is_nan_in_its_row_alone():
    y = jnp.maximum(Y, 0).at[1].set(V).at[3].set(-1)
    f = jax.jit(lambda h, y: streamed(h, W, B, labels=y))
    bad = jnp.isin(jnp.arange(N), jnp.array([1, 3]))
    assert (jnp.isnan(f(H, y)) == bad).all()
    slope = jax.grad(lambda h: f(h, y).sum())(H)
    assert (jnp.isnan(slope) == bad[:, None]).all()
    with pytest.raises(AssertionError, match="label"):
        streamed(H, W, B, labels=y)


def test_reductions_weigh_inside():
    weights = jnp.asarray(rng.uniform(size=N), jnp.float32).at[0].set(0)
    options = {"ignore_index": -100, "label_smoothing": 0.1}
    each = streamed(H, W, B, **options)
    kept = Y != -100
    mean = Mean.of(each, where=kept, weights=weights)
    reduced = lambda r, **o: streamed(H, W, B, reduction=r, **options, **o)
    close(reduced("mean", weights=weights), mean.value)
    close(reduced("sum", weights=weights), mean.total)
    close(reduced("mean"), Mean.of(each, where=kept).value)
    # Over classes' weights, the mean divides by those of the labels.
    each = streamed(H, W, B, class_weights=C, **options)
    counts = jnp.where(kept, C[jnp.maximum(Y, 0)], 0)
    close(reduced("mean", class_weights=C), each.sum() / counts.sum())
    nothing = jnp.zeros(N, bool)
    value, slope = jax.value_and_grad(
        lambda h: streamed(h, W, B, where=nothing, reduction="mean")
    )(H)
    assert value == 0 and (slope == 0).all()


def test_what_else_a_pass_can_tell():
    names = ["log_normalizer", "entropy", "argmax", "correct", "z_loss"]
    y = jnp.maximum(Y, 0).at[0].set(jnp.argmax(H @ W + B[None], -1)[0])
    z = H @ W + B[None]
    for few in itertools.chain([names], ([name] for name in names)):
        _, extra = streamed(H, W, B, labels=y, z_loss=0.5, returns=few)
        assert list(extra) == few
        log_p = jax.nn.log_softmax(z)
        expected = {
            "log_normalizer": jax.nn.logsumexp(z, -1),
            "entropy": -jnp.sum(jnp.exp(log_p) * log_p, -1),
            "argmax": jnp.argmax(z, -1),
            "correct": jnp.argmax(z, -1) == y,
            "z_loss": 0.5 * jax.nn.logsumexp(z, -1) ** 2,
        }
        close(extra, {name: expected[name] for name in few})


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="reduction"):
        streamed(H, W, B, reduction="avg")
    with pytest.raises(ValueError, match="argmin"):
        streamed(H, W, B, returns=["argmin"])
    with pytest.raises(ValueError, match="did you mean vocab_axis=0"):
        losses.linear_softmax_cross_entropy(H, W.T, Y)
    with pytest.raises(ValueError, match="one for each token"):
        losses.linear_softmax_cross_entropy(H, W, Y[:, None])
    with pytest.raises(ValueError, match="class_weights"):
        streamed(H, W, B, class_weights=C[:-1], labels=jnp.maximum(Y, 0))
    with pytest.raises(TypeError, match="labels"):
        losses.linear_softmax_cross_entropy(H, W, Y.astype(jnp.float32))


# What else takes hidden states.


def policy(head):
    def f(h, w):
        pair = losses.log_prob_and_entropy(head(h, w), Y, where=KEEP & (Y >= 0))
        return jnp.stack(pair, -1)

    return f


H2 = jnp.asarray(rng.normal(size=(N, D + 1)), jnp.float32)
W2 = jnp.asarray(rng.normal(size=(D + 1, V)), jnp.float32)
STREAM = lambda h, w: LinearLogits(h, w, block_size=8)
DENSE = lambda h, w: h @ w
TOLD = jnp.asarray(np.argsort(rng.normal(size=(N, V)), -1)[:, :4])
LOG_T = jnp.log(0.2 * jnp.ones((N, 4)))


def student_of(head, **options):
    y = jnp.maximum(Y, 0)
    options = {"temperature": 2.0, "where": KEEP, **options}
    if options.get("hard_weight"):
        options["labels"] = y

    def f(h, w):
        teacher = options.pop("teacher", None)
        teacher = head(H2, W2) if teacher is None else teacher
        return jnp.stack(losses.distillation_loss(head(h, w), teacher, **options), -1)

    return f


STUDENTS = {
    "policy": policy,
    "forward": lambda head: student_of(head, hard_weight=0.3),
    "reverse": lambda head: student_of(head, divergence="reverse"),
    "js": lambda head: student_of(head, divergence="js", teacher_weight=0.3),
    "dense teacher": lambda head: student_of(head, teacher=H2 @ W2),
    "short teacher": lambda head: student_of(head, teacher=LOG_T, teacher_classes=TOLD),
}


@pytest.mark.parametrize("name", STUDENTS)
def test_hidden_states_may_take_the_place_of_logits(name):
    weigh = lambda head: lambda *x: jnp.sum(STUDENTS[name](head)(*x) * CT[:, None])
    close(STUDENTS[name](STREAM)(H, W), jax.jit(STUDENTS[name](DENSE))(H, W))
    slopes = jax.jit(jax.grad(weigh(STREAM), (0, 1)))(H, W)
    close(slopes, jax.jit(jax.grad(weigh(DENSE), (0, 1)))(H, W), rtol=2e-5)


def test_a_short_teacher_with_all_classes_is_refused():
    with pytest.raises(TypeError, match="has all classes"):
        student_of(STREAM, teacher_classes=TOLD)(H, W)
