"""The measures beside KL, by name, and pairs of rows to compare."""

import math
import zlib

import numpy as np
import oracles_of_relatives as truth

import jxent
from jxent import BinaryLogits, BinaryProbs, Logits, LogProbs, Probs

ROWS, K = 4, 5
INF = math.inf
MEASURES = (
    "alpha_divergence",
    "renyi_divergence",
    "jeffreys_divergence",
    "squared_hellinger",
    "bhattacharyya_distance",
    "chi2_divergence",
    "total_variation",
)
ORDER = {"alpha_divergence": "alpha", "renyi_divergence": "order"}
ORDERS = {
    "alpha_divergence": (-2.0, 0.0, 1e-4, 0.5, 0.9999, 1.0, 2.0, 6.0),
    "renyi_divergence": (1e-3, 0.5, 0.9999, 1.0, 1.0001, 2.0, 6.0),
}


def measure(name):
    """As a function of p, q and the order, which most of them do not have."""
    f, keyword = getattr(jxent, name), ORDER.get(name)
    return lambda p, q, a: f(p, q, **({keyword: a} if keyword else {}))


def exactly(name, p, q, a):
    return getattr(truth, name)(p, q, *([a] if name in ORDER else []))


def generator(*seed):
    return np.random.default_rng(zlib.crc32(repr(seed).encode()))


def pair(distance, *seed):
    """Rows of logits, and others that far from them, the leading class left alone."""
    rng = generator(distance, *seed)
    a = 2 * rng.standard_normal((ROWS, K))
    return np.float32(a), np.float32(a + distance * rng.standard_normal(a.shape))


def softmax32(z):
    e = np.exp(np.float64(z) - np.max(z, -1, keepdims=True))
    return np.float32(e / e.sum(-1, keepdims=True))


DATA = {  # the data of rows of logits
    Probs: softmax32,
    LogProbs: lambda z: np.log(softmax32(z)),
    Logits: np.float32,
    BinaryProbs: lambda z: softmax32(np.stack([z, 0 * z], -1))[..., 0],
    BinaryLogits: np.float32,
}
