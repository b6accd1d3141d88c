"""The definitions at 100 digits, evaluated at the exact float inputs.

No formula, and no code, is shared with jxent: sums of `p log p` as the textbook has them,
with derivatives by central differences, which are exact to 1e-40 at this precision. The
few oracles in plain float64, for many classes, say why they keep their digits.
"""

from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import numpy as np

import jxent

mp = mpmath.MPContext()  # one of our own: nobody else's precision is changed
mp.dps = 100
STEP = mp.mpf(10) ** -25

Row = Any  # a one-dimensional object array of mpf


def exact(x: Any) -> Row:
    """The numbers of `x`, of any float dtype, as mpf, without rounding."""
    flat = [mp.mpf(v) for v in np.asarray(x).astype(np.float64).ravel().tolist()]
    out = np.empty(len(flat), object)
    out[:] = flat
    return out.reshape(np.shape(x))


_exp = np.frompyfunc(mp.exp, 1, 1)


def _log(x: Any) -> Any:
    return mp.log(x) if x else -mp.inf


# ------------------------------------------------------------------ definitions


def softmax(z: Row) -> Row:
    e = _exp(z - max(z))
    return e / sum(e)


def sigmoid(x: Any) -> Row:
    """The two probabilities of an event whose logit is `x`."""
    return np.array([1 / (1 + mp.exp(x)), 1 / (1 + mp.exp(-x))], object)


def one_hot(y: int, k: int, smoothing: float = 0.0) -> Row:
    s = mp.mpf(smoothing)
    return np.array([(1 - s) * (i == y) + s / k for i in range(k)], object)


def entropy(p: Row) -> Any:
    return -mp.fsum(x * _log(x) for x in p if x)


def perplexity(p: Row) -> Any:
    return mp.exp(entropy(p))


def cross_entropy(p: Row, q: Row) -> Any:
    return -mp.fsum(x * _log(y) for x, y in zip(p, q, strict=True) if x)


def kl_divergence(p: Row, q: Row) -> Any:
    """In Bregman's form, which is what jxent gives for probabilities."""
    logs = (x * (_log(x) - _log(y)) for x, y in zip(p, q, strict=True) if x)
    return mp.fsum(logs) - mp.fsum(p) + mp.fsum(q)


def js_divergence(p: Row, q: Row, weight: float = 0.5) -> Any:
    w = mp.mpf(weight)
    m = w * p + (1 - w) * q
    return w * kl_divergence(p, m) + (1 - w) * kl_divergence(q, m)


# What the data of each class mean: a row of data to a row of probabilities.
MEANING: dict[type, Callable[[Any], Row]] = {
    jxent.Probs: lambda p: p,
    jxent.LogProbs: _exp,
    jxent.Logits: softmax,
    jxent.BinaryProbs: lambda p: np.array([1 - p, p], object),
    jxent.BinaryLogits: sigmoid,
}


# ------------------------------------------------------------------ derivatives


def _moved(xs: Sequence[Row], steps: dict[tuple[int, int], Any]) -> list[Row]:
    xs = [x.copy() for x in xs]
    for (arg, i), step in steps.items():
        xs[arg][i] += step
    return xs


def gradient(f: Callable[..., Any], *xs: Row) -> list[Row]:
    """Of `f(*xs)` by every argument; 0 at a logit of −inf, which no step moves."""
    return [
        np.array(
            [
                (f(*_moved(xs, {(a, i): STEP})) - f(*_moved(xs, {(a, i): -STEP})))
                / (2 * STEP)
                for i in range(len(x))
            ],
            object,
        )
        for a, x in enumerate(xs)
    ]


def hessian(f: Callable[..., Any], *xs: Row) -> np.ndarray:
    """Of `f(*xs)` by all arguments, laid end to end."""
    where = [(a, i) for a, x in enumerate(xs) for i in range(len(x))]
    n = len(where)
    h = np.zeros((n, n))
    for r in range(n):
        for c in range(r + 1):
            total = mp.mpf(0)
            for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                steps = {where[r]: s * STEP}
                steps[where[c]] = steps.get(where[c], 0) + t * STEP
                total += s * t * f(*_moved(xs, steps))
            h[r, c] = h[c, r] = float(total / (4 * STEP**2))
    return h


def at(measure: Callable[..., Any], *kinds: type) -> Callable[..., Any]:
    """`measure` as a function of the data of distributions of these kinds."""
    return lambda *data: measure(
        *(MEANING[kind](x) for kind, x in zip(kinds, data, strict=True))
    )


def rows(f: Callable[..., Any], *arrays: Any) -> np.ndarray:
    """`f` of the exact numbers of each row, in float64."""
    return np.array(
        [np.asarray(f(*row), float) for row in zip(*map(exact, arrays), strict=True)]
    )


# ------------------------------------------------------------------ many classes


def label_cross_entropy64(z: Any, y: Any) -> np.ndarray:
    """log(1 + Σ_{j ≠ y} exp(zⱼ − z_y)): no term cancels, so float64 is plenty."""
    z, y = np.asarray(z, np.float64), np.asarray(y)
    lags = z - np.take_along_axis(z, y[..., None], -1)
    np.put_along_axis(lags, y[..., None], -np.inf, -1)
    top = np.maximum(lags.max(-1), 0)
    others = np.exp(lags - top[..., None]).sum(-1)
    return np.where(top > 0, top + np.log(others + np.exp(-top)), np.log1p(others))


def entropy64(z: Any) -> np.ndarray:
    """−log p_top + Σ pᵢ (z_top − zᵢ), both positive, with the top left out of its sum."""
    z = np.asarray(z, np.float64)
    lead = z.argmax(-1)[..., None]
    lags = z - np.take_along_axis(z, lead, -1)
    e = np.exp(lags)
    np.put_along_axis(e, lead, 0, -1)
    surprise = np.log1p(e.sum(-1))
    return surprise + np.exp(-surprise) * (e * -np.where(e > 0, lags, 0)).sum(-1)
