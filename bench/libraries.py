"""How each library spells each function: the one table that all benchmarks share.

A function has one name and one argument order here, the truth first:

    labels(y, z)            cross-entropy of class indices, from logits
    soft(t, z)              cross-entropy of soft targets, from logits
    entropy_logits(z)       entropy, from logits
    entropy_probs(p)        entropy, from probabilities
    binary(y, x)            binary cross-entropy, from the logit of the event
    kl_logits(a, b)         KL(softmax a ‖ softmax b)
    kl_probs(p, q)          KL(p ‖ q)
    js_probs(p, q)          Jensen-Shannon divergence
    js_logits(a, b)         of softmax a and softmax b

Probabilities in float32 do not sum to 1, and the libraries read them in three ways. Each
is held to the truth of its own convention:

    plain                   the sum as it stands: −Σ p log p, Σ p log(p/q)
    bregman                 Σ p log(p/q) − p + q
    normalised              p/Σp and q/Σq first
"""

import functools
import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jxent

Convention = Literal["plain", "bregman", "normalised"]


class Spelling(NamedTuple):
    function: Callable[..., Any]  # one number per row
    convention: Convention = "plain"


Spellings = dict[str, Spelling]


def _jxent(logits: Callable[[Any], Any] = jxent.Logits) -> Spellings:
    labels, probs = jxent.Labels, jxent.Probs
    cross_entropy, kl_divergence = jxent.cross_entropy, jxent.kl_divergence
    return {
        "labels": Spelling(lambda y, z: cross_entropy(labels(y), logits(z))),
        "soft": Spelling(lambda t, z: cross_entropy(probs(t), logits(z))),
        "entropy_logits": Spelling(lambda z: jxent.entropy(logits(z))),
        "entropy_probs": Spelling(lambda p: jxent.entropy(probs(p))),
        "binary": Spelling(
            lambda y, x: cross_entropy(jxent.BinaryProbs(y), jxent.BinaryLogits(x))
        ),
        "kl_logits": Spelling(lambda a, b: kl_divergence(logits(a), logits(b))),
        "kl_probs": Spelling(lambda p, q: kl_divergence(probs(p), probs(q)), "bregman"),
        "js_probs": Spelling(lambda p, q: jxent.js_divergence(probs(p), probs(q))),
        "js_logits": Spelling(lambda a, b: jxent.js_divergence(logits(a), logits(b))),
    }


def _projected(z: Any) -> jxent.LinearLogits:
    """The logits as a projection that is never multiplied out, in tiles of four classes."""
    return jxent.LinearLogits(z, jnp.eye(z.shape[-1], dtype=z.dtype), block_size=4)


def _optax() -> Spellings:
    from optax import losses

    log_softmax = jax.nn.log_softmax
    kl_of_logs = losses.kl_divergence_with_log_targets
    return {
        "labels": Spelling(
            lambda y, z: losses.softmax_cross_entropy_with_integer_labels(z, y)
        ),
        "soft": Spelling(lambda t, z: losses.softmax_cross_entropy(z, t)),
        "binary": Spelling(lambda y, x: losses.sigmoid_binary_cross_entropy(x, y)),
        "kl_logits": Spelling(lambda a, b: kl_of_logs(log_softmax(b), log_softmax(a))),
        "kl_probs": Spelling(lambda p, q: losses.kl_divergence(jnp.log(q), p)),
    }


def _distrax() -> Spellings:
    from distrax import Bernoulli, Categorical

    of_logits = lambda z: Categorical(logits=z)
    of_probs = lambda p: Categorical(probs=p)
    return {
        "labels": Spelling(lambda y, z: jnp.negative(of_logits(z).log_prob(y))),
        "soft": Spelling(
            lambda t, z: of_probs(t).cross_entropy(of_logits(z)), "normalised"
        ),
        "entropy_logits": Spelling(lambda z: of_logits(z).entropy()),
        "entropy_probs": Spelling(lambda p: of_probs(p).entropy(), "normalised"),
        "binary": Spelling(lambda y, x: jnp.negative(Bernoulli(logits=x).log_prob(y))),
        "kl_logits": Spelling(lambda a, b: of_logits(a).kl_divergence(of_logits(b))),
        "kl_probs": Spelling(
            lambda p, q: of_probs(p).kl_divergence(of_probs(q)), "normalised"
        ),
    }


def _numpyro() -> Spellings:
    from numpyro.distributions import (
        Bernoulli,
        CategoricalLogits,
        CategoricalProbs,
        kl_divergence,
    )

    return {
        "labels": Spelling(lambda y, z: -CategoricalLogits(z).log_prob(y)),
        "entropy_logits": Spelling(lambda z: CategoricalLogits(z).entropy()),
        "entropy_probs": Spelling(lambda p: CategoricalProbs(p).entropy()),
        "binary": Spelling(lambda y, x: jnp.negative(Bernoulli(logits=x).log_prob(y))),
        "kl_probs": Spelling(
            lambda p, q: kl_divergence(CategoricalProbs(p), CategoricalProbs(q))
        ),
    }


def _jax() -> Spellings:
    """What one writes with jax.nn and jax.scipy alone."""
    softmax, log_softmax = jax.nn.softmax, jax.nn.log_softmax
    entr, kl_div = jax.scipy.special.entr, jax.scipy.special.kl_div
    total = functools.partial(jnp.sum, axis=-1)

    def labels(y, z):
        at_y = jnp.take_along_axis(log_softmax(z), y[..., None], axis=-1)
        return -jnp.squeeze(at_y, -1)

    def kl_logits(a, b):
        return total(softmax(a) * (log_softmax(a) - log_softmax(b)))

    def js_probs(p, q):
        m = (p + q) / 2
        return (total(kl_div(p, m)) + total(kl_div(q, m))) / 2

    def js_logits(a, b):
        log_p, log_q = log_softmax(a), log_softmax(b)
        log_m = jnp.logaddexp(log_p, log_q) - jnp.log(jnp.asarray(2, a.dtype))
        of = lambda log_p: total(jnp.exp(log_p) * (log_p - log_m))
        return (of(log_p) + of(log_q)) / 2

    return {
        "labels": Spelling(labels),
        "soft": Spelling(lambda t, z: -total(t * log_softmax(z))),
        "entropy_logits": Spelling(lambda z: -total(softmax(z) * log_softmax(z))),
        "entropy_probs": Spelling(lambda p: total(entr(p))),
        "binary": Spelling(
            lambda y, x: jnp.maximum(x, 0) - x * y + jnp.log1p(jnp.exp(-jnp.abs(x)))
        ),
        "kl_logits": Spelling(kl_logits),
        "kl_probs": Spelling(lambda p, q: total(kl_div(p, q)), "bregman"),
        "js_probs": Spelling(js_probs),
        "js_logits": Spelling(js_logits),
    }


def _torch() -> Spellings:
    import torch
    from torch.nn import functional as f

    def kl_probs(p, q):
        return f.kl_div(q.log(), p, reduction="none").sum(-1)

    def kl_logits(a, b):
        logs = f.log_softmax(b, -1), f.log_softmax(a, -1)
        return f.kl_div(*logs, reduction="none", log_target=True).sum(-1)

    def js_probs(p, q):
        m = (p + q) / 2
        return (kl_probs(p, m) + kl_probs(q, m)) / 2

    def js_logits(a, b):
        log_p, log_q = f.log_softmax(a, -1), f.log_softmax(b, -1)
        log_m = torch.logaddexp(log_p, log_q) - np.log(2)
        of = lambda x: f.kl_div(log_m, x, reduction="none", log_target=True).sum(-1)
        return (of(log_p) + of(log_q)) / 2

    def binary(y, x):
        return f.binary_cross_entropy_with_logits(x, y, reduction="none")

    return {
        "labels": Spelling(lambda y, z: f.cross_entropy(z, y, reduction="none")),
        "soft": Spelling(lambda t, z: f.cross_entropy(z, t, reduction="none")),
        "entropy_logits": Spelling(
            lambda z: torch.distributions.Categorical(logits=z).entropy()
        ),
        "entropy_probs": Spelling(lambda p: torch.special.entr(p).sum(-1)),
        "binary": Spelling(binary),
        "kl_logits": Spelling(kl_logits),
        "kl_probs": Spelling(kl_probs),
        "js_probs": Spelling(js_probs),
        "js_logits": Spelling(js_logits),
    }


def tensor(x: np.ndarray) -> Any:
    """The array as torch's, which reads class indices as int64 only."""
    import torch

    if np.issubdtype(x.dtype, np.integer):
        return torch.from_numpy(x.astype(np.int64))
    wide = torch.from_numpy(x.astype(np.float32))  # NumPy has no bfloat16 to share
    return wide.to(getattr(torch, x.dtype.name))


def _scipy() -> Spellings:
    from scipy import spatial, special

    log_softmax = functools.partial(special.log_softmax, axis=-1)

    def labels(y, z):
        return -np.take_along_axis(log_softmax(z), y[..., None], -1)[..., 0]

    def binary(y, x):
        return -(y * special.log_expit(x) + (1 - y) * special.log_expit(-x))

    def kl_logits(a, b):
        p = special.softmax(a, axis=-1)
        return (p * (log_softmax(a) - log_softmax(b))).sum(-1)

    def js_probs(p, q):
        distance = spatial.distance.jensenshannon(p, q, axis=-1)  # pyright: ignore[reportCallIssue]
        return distance**2

    return {
        "labels": Spelling(labels),
        "soft": Spelling(lambda t, z: -(t * log_softmax(z)).sum(-1)),
        "entropy_logits": Spelling(
            lambda z: special.entr(special.softmax(z, axis=-1)).sum(-1)
        ),
        "entropy_probs": Spelling(lambda p: special.entr(p).sum(-1)),
        "binary": Spelling(binary),
        "kl_logits": Spelling(kl_logits),
        "kl_probs": Spelling(lambda p, q: special.kl_div(p, q).sum(-1), "bregman"),
        "js_probs": Spelling(js_probs, "normalised"),
        "js_logits": Spelling(
            lambda a, b: js_probs(special.softmax(a, -1), special.softmax(b, -1))
        ),
    }


_LIBRARIES: dict[str, Callable[[], Spellings]] = {
    "jxent": _jxent,
    "optax": _optax,
    "distrax": _distrax,
    "numpyro": _numpyro,
    "jax": _jax,
    "torch": _torch,
    "scipy": _scipy,
}
NAMES = tuple(_LIBRARIES)


@functools.cache
def spellings(streamed: bool = False) -> dict[str, Spellings]:
    """The functions of every library that can be imported; jxent's may be streamed."""
    if streamed:
        return spellings() | {"jxent": _jxent(_projected)}
    found = {}
    for name, load in _LIBRARIES.items():
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        found[name] = load()
    return found


def missing() -> list[str]:
    return [name for name in NAMES if name not in spellings()]


def versions() -> dict[str, str]:
    """Of what was measured, and of what it stands on."""
    present = {"jaxlib", "numpy", *spellings()} - {"jxent"}
    found = {name: importlib.metadata.version(name) for name in sorted(present)}
    return {"jxent": jxent.__version__, **found}
