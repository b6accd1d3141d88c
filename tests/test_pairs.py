"""Every ordered pair of kinds: the right number, or an error that says why."""

import itertools

import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import jxent
from jxent import (
    BinaryLogits,
    BinaryProbs,
    Labels,
    LinearLogits,
    Logits,
    LogProbs,
    Probs,
)

# Two rows of three classes, two labels, two events: every pair has the same batch.
Z = np.float32([[0.5, -1.25, 2], [0, 3, -0.5]])
SOFT = np.float32(np.exp(Z) / np.exp(Z).sum(-1, keepdims=True))
LOG_SOFT = np.float32(Z - np.log(np.exp(Z).sum(-1, keepdims=True)))
OTHER = np.float32([[0.25, 0.5, 0.25], [0.125, 0.25, 0.625]])
EVENT, EVENT_LOGIT = np.float32([0.25, 0.875]), np.float32([-0.5, 2.5])
Y = np.int32([1, 0])  # a class of three, and of two

KINDS = {
    "array": OTHER,
    "Probs": Probs(SOFT),
    "LogProbs": LogProbs(LOG_SOFT),
    "Logits": Logits(Z),
    "LinearLogits": LinearLogits(Z, np.eye(3, dtype=np.float32)),
    "Labels": Labels(Y),
    "smoothed Labels": Labels(Y, 0.1),
    "BinaryProbs": BinaryProbs(EVENT),
    "BinaryLogits": BinaryLogits(EVENT_LOGIT),
}
LABELS = ("Labels", "smoothed Labels")
BINARY = ("BinaryProbs", "BinaryLogits")
MEASURES = ("cross_entropy", "kl_divergence", "js_divergence")


def meaning(name, row, k):
    """The exact probabilities of one row of KINDS[name]."""
    x = KINDS[name]
    if isinstance(x, Labels):
        return oracles.one_hot(int(Y[row]), k, x.smoothing)
    kind, data = (Probs, x) if name == "array" else (type(x), x.data)
    kind = Logits if kind is LinearLogits else kind  # of which the hidden states are Z
    return oracles.MEANING[kind](*oracles.exact(np.asarray(data)[row][None]))


def complaint(p, q):
    """The error that a pair deserves, and words that its message must have."""
    if q in LABELS:
        return TypeError, ("q is Labels", "no log-probabilities", "swapped")
    if p not in LABELS and (p in BINARY) != (q in BINARY):
        names = [type(KINDS[x]).__name__ if x != "array" else "Probs" for x in (p, q)]
        return TypeError, (*names, "only one", "class axis", "binary distributions")
    return None


def refuses(call, error, words, caller):
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(f"{caller}: ")
    for word in words:
        assert word in message, message
    return message


@pytest.mark.parametrize("p, q", list(itertools.product(KINDS, KINDS)))
@pytest.mark.parametrize("measure", MEASURES)
def test_pair(measure, p, q):
    call = lambda: getattr(jxent, measure)(KINDS[p], KINDS[q])
    if why := complaint(p, q):
        refuses(call, *why, measure)
        return
    k = 2 if q in BINARY else 3
    definition = getattr(oracles, measure)
    truth = [
        float(definition(meaning(p, row, k), meaning(q, row, k))) for row in range(2)
    ]
    got = call()
    assert got.shape == (2,) and got.dtype == jnp.float32
    np.testing.assert_allclose(got, truth, rtol=1e-6, atol=1e-6 * np.log(k))
    bits = getattr(jxent, measure)(KINDS[p], KINDS[q], base=2)
    np.testing.assert_allclose(bits, got / np.log(2), rtol=1e-6)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("measure", ["entropy", "perplexity"])
def test_single(measure, name):
    call = lambda: getattr(jxent, measure)(KINDS[name])
    if name in LABELS:
        refuses(
            call,
            TypeError,
            ("p is Labels", "how many classes", "as probabilities"),
            measure,
        )
        return
    definition = getattr(oracles, measure)
    truth = [float(definition(meaning(name, row, 3))) for row in range(2)]
    np.testing.assert_allclose(call(), truth, rtol=1e-6)


# ------------------------------------------------------------------ wrong arguments


@pytest.mark.parametrize("measure", MEASURES)
def test_integer_arrays_are_refused_and_labels_named(measure):
    f = getattr(jxent, measure)
    for y in (Y, jnp.asarray(Y), [1, 0]):
        refuses(
            lambda y=y: f(y, Logits(Z)), TypeError, ("p is int", "Labels(p)"), measure
        )
        words = ("q is int", "Labels(q)", "were the two swapped?")
        refuses(lambda y=y: f(OTHER, y), TypeError, words, measure)
    refuses(
        lambda: f(Labels(EVENT), Logits(Z)),
        TypeError,
        ("float32", "labels are integer", "Probs(p)"),
        measure,
    )
    refuses(lambda: f(Y > 0, OTHER), TypeError, ("bool",), measure)


def test_integer_array_has_no_entropy():
    for f in ("entropy", "perplexity"):
        call = lambda f=f: getattr(jxent, f)(Y)
        refuses(call, TypeError, ("p is int32", "divided by their sum"), f)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("kind", [Probs, LogProbs, Logits])
def test_class_axes_must_be_the_same(measure, kind):
    f = getattr(jxent, measure)
    two = kind(
        {Probs: np.full((2, 2), 0.5, np.float32)}.get(kind, np.log([[0.5, 0.5]] * 2))
    )
    for p, q in ((two, KINDS["Logits"]), (KINDS["Probs"], two)):
        shapes = str(p.data.shape), str(q.data.shape)
        words = ("class axis", *shapes)
        refuses(lambda p=p, q=q: f(p, q), ValueError, words, measure)
    # One class would broadcast; a class axis never does.
    one = kind(np.zeros((2, 1), np.float32) + (kind is Probs))
    refuses(lambda: f(one, KINDS["Logits"]), ValueError, ("(2, 1)", "(2, 3)"), measure)


@pytest.mark.parametrize("measure", MEASURES)
def test_batch_axes_must_broadcast(measure):
    f = getattr(jxent, measure)
    three = Logits(np.zeros((3, 3), np.float32))
    words = ("batch axes do not broadcast", "(3, 3)", "(2, 3)")
    refuses(lambda: f(three, KINDS["Logits"]), ValueError, words, measure)
    labels = Labels(np.zeros(3, np.int32))
    words = ("batch axes do not broadcast", "(3,)", "(2, 3)")
    refuses(lambda: f(labels, KINDS["Logits"]), ValueError, words, measure)
    events = BinaryProbs(np.full(3, 0.5, np.float32))
    words = ("batch axes do not broadcast", "(3,)", "(2,)")
    refuses(lambda: f(events, KINDS["BinaryLogits"]), ValueError, words, measure)
    # What broadcasts has the rank that numpy would give it.
    assert f(KINDS["Probs"], Logits(Z[0])).shape == (2,)
    assert f(Labels(Y[:, None]), Logits(Z[None])).shape == (2, 2)
    assert f(Probs(SOFT[:, None]), Logits(Z)).shape == (2, 2)
    # A table that nobody asked for is an error; the classic is labels of shape (n, 1).
    for p, q in (
        (Labels(Y[:, None]), Logits(Z)),
        (KINDS["BinaryProbs"], BinaryLogits(np.zeros((2, 1), np.float32))),
    ):
        words = ("(2, 1) and (2,)", "a table of (2, 2)")
        words = words if q.batch == (2,) else ("(2,) and (2, 1)", words[1])
        refuses(lambda p=p, q=q: f(p, q), ValueError, words, measure)
    assert f(Labels(np.int32(1)), Logits(Z)).shape == (2,)
    assert f(Probs(SOFT[0]), Logits(Z[None])).shape == (1, 2)
    assert f(BinaryProbs(0.5), KINDS["BinaryLogits"]).shape == (2,)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 2])
@pytest.mark.parametrize("measure", MEASURES)
def test_smoothing_is_a_share(measure, smoothing):
    call = lambda: getattr(jxent, measure)(Labels(Y, smoothing), KINDS["Logits"])
    refuses(call, ValueError, (f"smoothing of p is {smoothing}", "[0, 1)"), measure)


@pytest.mark.parametrize("weight", [0, 1, -0.5, 1.5, float("nan")])
def test_the_weight_of_js_is_a_share(weight):
    call = lambda: jxent.js_divergence(OTHER, OTHER, weight=weight)
    refuses(call, ValueError, (f"weight is {weight}", "(0, 1)"), "js_divergence")


@pytest.mark.parametrize("measure", MEASURES)
def test_scalars_and_empty_class_axes_are_refused(measure):
    f = getattr(jxent, measure)
    refuses(lambda: f(0.5, OTHER), ValueError, ("p has no class", "()"), measure)
    empty = np.zeros((2, 0), np.float32)
    refuses(lambda: f(OTHER, Logits(empty)), ValueError, ("q has no class",), measure)


@pytest.mark.parametrize("measure", MEASURES)
def test_the_argument_and_its_flaw_are_named_eagerly(measure):
    f = getattr(jxent, measure)
    bad = OTHER.copy()
    bad[1, 2] = 0.5
    for p, q, name in ((bad, OTHER, "p"), (OTHER, bad, "q")):
        words = (f"row [1] of {name} sums to 0.875",)
        refuses(lambda p=p, q=q: f(p, q), AssertionError, words, measure)
    words = ("entry [1] of p is 1.5", "BinaryLogits(p)")
    events = BinaryProbs(np.float32([0.5, 1.5]))
    refuses(lambda: f(events, events), AssertionError, words, measure)
