"""What an error says: what it got, what it wanted, the likely mistake, the remedy."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jxent
from jxent import BinaryProbs, checks, Labels, LinearLogits, Logits, losses

Z = jnp.zeros((2, 3))
HALVES = jnp.array([0.5, 0.5])
log_loss = losses.softmax_cross_entropy_with_integer_labels

WORDS = {
    "counts": (
        lambda: jxent.entropy(jnp.array([9.0, 1.0])),
        r"sums to 10.0, not 1; counts are divided by their sum: p / p.sum",
    ),
    "a table of counts": (
        lambda: jxent.mutual_information(jnp.array([[9.0, 1.0], [2.0, 3.0]])),
        r"a table of counts is from_counts\(j, variables=2\)",
    ),
    "one-hot labels": (
        lambda: log_loss(Z, jnp.eye(2, 3)),
        r"integer class indices. For soft or one-hot targets there is softmax_cross_en",
    ),
    "integer counts": (
        lambda: jxent.entropy(jnp.array([9, 1])),
        r"int32, not floating point; counts are divided by their sum(?!.*Labels)",
    ),
    "integer truth": (
        lambda: jxent.kl_divergence(jnp.array([9, 1]), HALVES),
        r"class indices are Labels\(p\), counts are divided",
    ),
    "integer model": (
        lambda: jxent.kl_divergence(HALVES, jnp.array([9, 1])),
        r"q is int32.*Labels\(q\) can only come first.*counts",
    ),
    "integer events as a model": (
        lambda: jxent.kl_divergence(
            BinaryProbs(HALVES), BinaryProbs(jnp.array([1, 0]))
        ),
        r"q is int32.*did you mean q.astype\(float\)\?$",
    ),
    "joint table": (
        lambda: jxent.entropy(jnp.array([[0.1, 0.2], [0.3, 0.4]])),
        r"all rows together sum to 1, so did you mean Joint\(p\)\?",
    ),
    "label of 32 bits": (
        lambda: jxent.cross_entropy(
            Labels(jnp.array([4294967295], jnp.uint32)), Logits(Z[:1])
        ),
        r"label 4294967295 \(entry \[0\] of p\)",
    ),
    "label of 64 bits": (
        lambda: log_loss(Z, np.array([0, 2**40])),
        r"label 1099511627776 \(entry \[1\] of labels\)",
    ),
    "a distribution for an array": (
        lambda: log_loss(Logits(Z), jnp.zeros(2, int)),
        r"logits is a Logits, not an array; pass the array in it, which is its z$",
    ),
    "base": (lambda: jxent.entropy(HALVES, base="2"), "entropy: base is a str"),
    "infinite base": (
        lambda: jxent.entropy(HALVES, base=jnp.inf),
        r"entropy: base is inf, not in \(1, inf\)",
    ),
    "batches": (
        lambda: jxent.cross_entropy(
            jnp.ones((2, 3)) / 3, LinearLogits(jnp.ones((4, 5)), jnp.ones((5, 3)))
        ),
        r"p has shape \(2, 3\) and q has shape \(4, 3\)",
    ),
    "hidden": (
        lambda: log_loss_of_hidden(jnp.full((2, 5), jnp.nan), jnp.ones((5, 3))),
        r"entry 0 of row \[0\] of logits.hidden is NaN",
    ),
    "weight": (
        lambda: log_loss_of_hidden(jnp.ones((2, 5)), jnp.full((5, 3), jnp.inf)),
        r"entry 0 of row \[0\] of logits.weight is inf",
    ),
    "bias": (
        lambda: log_loss_of_hidden(
            jnp.ones((2, 5)), jnp.ones((5, 3)), bias=jnp.array([0, jnp.inf, 0])
        ),
        r"entry \[1\] of logits.bias is inf, not in \[-inf, inf\)",
    ),
    "actions": (
        lambda: losses.log_prob_and_entropy(Z, jnp.array([0, 3])),
        r"label 3 \(entry \[1\] of actions\)",
    ),
    "raw logits of a teacher": (
        lambda: top_k(jnp.full((2, 2), 4.0), jnp.array([[0, 1], [1, 2]])),
        r"row \[0\] of teacher_logits has logsumexp 4.69.*log-probabilities among all",
    ),
    "a class told twice": (
        lambda: top_k(jnp.full((2, 2), -4.0), jnp.array([[0, 1], [2, 2]])),
        r"entry 1 of row \[1\] of teacher_classes is class 2, which stands in that row",
    ),
    "outcomes": (
        lambda: losses.sigmoid_binary_cross_entropy(HALVES, jnp.array([1, -100])),
        r"entry \[1\] of labels is -100, neither 0 nor 1; mask ignored events out",
    ),
    "complex labels": (
        lambda: losses.sigmoid_binary_cross_entropy(HALVES, HALVES.astype(complex)),
        r"labels is complex64, and must be real numbers",
    ),
    "a traced option": (
        lambda: jax.jit(lambda s: jxent.entropy(LinearLogits(Z, Z.T, block_size=s)))(8),
        "block_size of p is traced",
    ),
}


def log_loss_of_hidden(hidden, weight, **options):
    labels = jnp.zeros(hidden.shape[0], int)
    return losses.linear_softmax_cross_entropy(hidden, weight, labels, **options)


def top_k(teacher, classes):
    return losses.distillation_loss(Z, teacher, teacher_classes=classes)


@pytest.mark.parametrize("call, words", WORDS.values(), ids=WORDS)
def test_says_what_is_wrong(call, words):
    with pytest.raises((AssertionError, TypeError, ValueError), match=words) as caught:
        call()
    assert "Array(" not in str(caught.value)


def test_an_ignored_label_may_be_the_largest_of_its_dtype():
    labels = jnp.array([0, 2**32 - 1], jnp.uint32)
    loss = log_loss(Z, labels, ignore_index=2**32 - 1)
    np.testing.assert_allclose(loss, [np.log(3), 0], rtol=1e-6)
    with pytest.raises(AssertionError, match="label 4294967295"):
        log_loss(Z, labels, ignore_index=-1)


QUIET = """
import signal, sys
import jax, jax.numpy
handler, before = signal.getsignal(signal.SIGINT), set(sys.modules)
import jxent
assert signal.getsignal(signal.SIGINT) is handler
new = sys.modules.keys() - before
assert not {"chex", "optax", "flax", "jax.extend"} & new, new
import jax.numpy as jnp
jxent.checked(jax.jit(jxent.entropy))(jnp.array([0.5, 0.5]))
"""


def test_importing_loads_little_and_checked_is_silent_at_exit():
    run = subprocess.run(
        [sys.executable, "-c", QUIET], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "not inspected" not in run.stderr


def test_a_checked_function_gives_back_what_it_is_given():
    fn = checks.checked(jax.jit(lambda p: jxent.entropy(p)))
    np.testing.assert_allclose(fn(HALVES), np.log(2), rtol=1e-6)
