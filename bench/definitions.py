"""Families and relatives as handbooks have them, at mpmath's working precision.

Functions of rows of mpf, one number each for a family; the relatives' are rows of logits.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING or find_spec("mpmath"):  # whoever reads results need not have it
    from mpmath import besseli, cos, digamma, exp, fsum, log, loggamma, mpf, pi, sqrt


def _scalars(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *rows: f(*(row[0] for row in rows))


def _kl_normal(m, s, n, t):
    return log(t / s) + (s * s + (m - n) ** 2) / (2 * t * t) - mpf(1) / 2


def _kl_laplace(m, a, n, b):
    d = abs(m - n)
    return log(b / a) + (a * exp(-d / a) + d) / b - 1


def _kl_gamma(a, b, c, d):
    logs = loggamma(c) - loggamma(a) + c * log(b / d)
    return (a - c) * digamma(a) + logs + a * (d - b) / b


def _kl_beta(a, b, c, d):
    norm = loggamma(a + b) - loggamma(c + d)
    parts = ((a, c), (b, d))
    logs = (loggamma(y) - loggamma(x) for x, y in parts)
    means = ((x - y) * (digamma(x) - digamma(a + b)) for x, y in parts)
    return norm + fsum(logs) + fsum(means)


def _kl_von_mises(m, k, n, c):
    mean = besseli(1, k) / besseli(0, k)
    return log(besseli(0, c) / besseli(0, k)) + mean * (k - c * cos(m - n))


def _entropy_gamma(a, b):
    return a - log(b) + loggamma(a) + (1 - a) * digamma(a)


def _entropy_beta(a, b):
    norm = loggamma(a) + loggamma(b) - loggamma(a + b)
    means = (a - 1) * digamma(a) + (b - 1) * digamma(b)
    return norm + (a + b - 2) * digamma(a + b) - means


def _entropy_von_mises(m, k):
    return log(2 * pi * besseli(0, k)) - k * besseli(1, k) / besseli(0, k)


def _nll_normal(x, m, s):
    return ((x - m) / s) ** 2 / 2 + log(s) + log(2 * pi) / 2


def _nll_gamma(x, a, b):
    return b * x - (a - 1) * log(x) - a * log(b) + loggamma(a)


def _of_softmaxes(f: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """`Σ f(pᵢ, qᵢ)` of rows of logits."""

    def total(a, b):
        e, g = map(exp, a), map(exp, b)
        p, q = list(e), list(g)
        s, t = fsum(p), fsum(q)
        return fsum(f(x / s, y / t) for x, y in zip(p, q, strict=True))

    return total


# By name, the arguments that it is differentiated by, and the formula.
DEFINITIONS: dict[str, tuple[tuple[int, ...], Callable[..., Any]]] = {
    "KL, Normal": ((0, 1, 2, 3), _scalars(_kl_normal)),
    "KL, Laplace": ((0, 1, 2, 3), _scalars(_kl_laplace)),
    "KL, Exponential": ((0, 1), _scalars(lambda a, b: log(a / b) + b / a - 1)),
    "KL, Gamma": ((0, 1, 2, 3), _scalars(_kl_gamma)),
    "KL, Beta": ((0, 1, 2, 3), _scalars(_kl_beta)),
    "KL, Poisson": ((0, 1), _scalars(lambda a, b: a * log(a / b) - a + b)),
    "KL, VonMises": ((0, 1, 2, 3), _scalars(_kl_von_mises)),
    "entropy, Gamma": ((0, 1), _scalars(_entropy_gamma)),
    "entropy, Beta": ((0, 1), _scalars(_entropy_beta)),
    "entropy, VonMises": ((1,), _scalars(_entropy_von_mises)),
    "NLL, Normal": ((1, 2), _scalars(_nll_normal)),
    "NLL, Gamma": ((1, 2), _scalars(_nll_gamma)),
    "NLL, Poisson": ((1,), _scalars(lambda k, r: r - k * log(r) + loggamma(k + 1))),
    "Jeffreys": ((0, 1), _of_softmaxes(lambda p, q: (p - q) * log(p / q))),
    "Hellinger²": ((0, 1), _of_softmaxes(lambda p, q: (sqrt(p) - sqrt(q)) ** 2 / 2)),
    "χ²": ((0, 1), _of_softmaxes(lambda p, q: (p - q) ** 2 / q)),
    "total variation": ((0, 1), _of_softmaxes(lambda p, q: abs(p - q) / 2)),
}
