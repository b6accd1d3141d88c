"""The textbook's formulas for families of distributions, at 60 digits.

No formula is shared with jxent: densities, entropies and divergences as handbooks have
them, which cancel by as many digits as they like. Parameters are rows of mpf.
"""

from typing import Any

from oracles import mp

log, gamma_log, psi, pi = mp.log, mp.loggamma, mp.digamma, mp.pi


# ------------------------------------------------------------------- −log density


def normal(x, m, s):
    return ((x - m) / s) ** 2 / 2 + log(s) + log(2 * pi) / 2


def log_normal(x, m, s):
    return normal(log(x), m, s) + log(x)


def laplace(x, m, b):
    return abs(x - m) / b + log(2 * b)


def exponential(x, r):
    return r * x - log(r)


def gamma(x, a, b):
    return b * x - (a - 1) * log(x) - a * log(b) + gamma_log(a)


def beta(x, a, b):
    return (
        -(a - 1) * log(x)
        - (b - 1) * log(1 - x)
        + gamma_log(a)
        + gamma_log(b)
        - gamma_log(a + b)
    )


def dirichlet(xs, alphas):
    total = mp.fsum(alphas)
    logs = mp.fsum((a - 1) * log(x) for x, a in zip(xs, alphas, strict=True))
    return mp.fsum(map(gamma_log, alphas)) - gamma_log(total) - logs


def poisson(k, r):
    return r - k * log(r) + gamma_log(k + 1)


def geometric(k, p):
    return -log(p) - (k * log(1 - p) if k else 0)


def uniform(x, a, b):
    return log(b - a) if a <= x <= b else mp.inf


def von_mises(x, m, k):
    return log(2 * pi * mp.besseli(0, k)) - k * mp.cos(x - m)


# ------------------------------------------------------------------ entropies


def h_normal(m, s):
    return log(2 * pi * mp.e * s * s) / 2


def h_log_normal(m, s):
    return h_normal(m, s) + m


def h_laplace(m, b):
    return 1 + log(2 * b)


def h_exponential(r):
    return 1 - log(r)


def h_gamma(a, b):
    return a - log(b) + gamma_log(a) + (1 - a) * psi(a)


def h_dirichlet(alphas):
    total, k = mp.fsum(alphas), len(alphas)
    norm = mp.fsum(map(gamma_log, alphas)) - gamma_log(total)
    return norm + (total - k) * psi(total) - mp.fsum((a - 1) * psi(a) for a in alphas)


def h_beta(a, b):
    return h_dirichlet([a, b])


def h_poisson(r):
    """By the definition, a sum over the counts."""
    n = int(r + 40 * mp.sqrt(r) + 80)
    p, total = mp.exp(-r), mp.mpf(0)
    for k in range(n):
        total -= p * (k * log(r) - r - gamma_log(k + 1))
        p *= r / (k + 1)
    return total


def h_geometric(p):
    return -(p * log(p) + (1 - p) * log(1 - p)) / p if p < 1 else mp.mpf(0)


def h_uniform(a, b):
    return log(b - a)


def _mean_length(k):
    return mp.besseli(1, k) / mp.besseli(0, k)


def h_von_mises(m, k):
    return log(2 * pi * mp.besseli(0, k)) - k * _mean_length(k)


# ---------------------------------------------------------------- divergences


def kl_normal(m, s, n, t):
    return log(t / s) + (s * s + (m - n) ** 2) / (2 * t * t) - mp.mpf(1) / 2


def kl_laplace(m, a, n, b):
    d = abs(m - n)
    return log(b / a) + (a * mp.exp(-d / a) + d) / b - 1


def kl_exponential(a, b):
    return log(a / b) + b / a - 1


def kl_gamma(a, b, c, d):
    return (
        (a - c) * psi(a)
        - gamma_log(a)
        + gamma_log(c)
        + c * log(b / d)
        + a * (d - b) / b
    )


def kl_dirichlet(alphas, betas):
    a0, b0 = mp.fsum(alphas), mp.fsum(betas)
    norm = gamma_log(a0) - gamma_log(b0)
    for a, b in zip(alphas, betas, strict=True):
        norm += gamma_log(b) - gamma_log(a) + (a - b) * (psi(a) - psi(a0))
    return norm


def kl_beta(a, b, c, d):
    return kl_dirichlet([a, b], [c, d])


def kl_poisson(a, b):
    return (a * log(a / b) if a else 0) - a + b


def kl_geometric(p, q):
    failures = (1 - p) * log((1 - p) / (1 - q)) if p < 1 else 0
    return (p * log(p / q) + failures) / p


def kl_uniform(a, b, c, d):
    return log((d - c) / (b - a)) if c <= a and b <= d else mp.inf


def kl_von_mises(m, k, n, c):
    length = _mean_length(k)
    bessels = log(mp.besseli(0, c) / mp.besseli(0, k))
    return bessels + length * (k - c * mp.cos(m - n))


def multivariate(lower):
    """A factor as a matrix, its inverse, and half the log determinant."""
    matrix = mp.matrix(lower)
    return matrix, matrix**-1, mp.fsum(log(matrix[i, i]) for i in range(matrix.rows))


def kl_multivariate(m, lower_p, n, lower_q):
    (p, _, log_p), (_, inverse, log_q) = multivariate(lower_p), multivariate(lower_q)
    between = inverse * p
    z = inverse * mp.matrix([a - b for a, b in zip(m, n, strict=True)])
    square = mp.fsum(x * x for x in between) + mp.fsum(x * x for x in z)
    return (square - p.rows) / 2 + log_q - log_p


def surprise_multivariate(x, n, lower):
    _, inverse, log_det = multivariate(lower)
    z = inverse * mp.matrix([a - b for a, b in zip(x, n, strict=True)])
    return mp.fsum(y * y for y in z) / 2 + log_det + len(x) * log(2 * pi) / 2


def slopes(f: Any, args: list[Any]) -> list[Any]:
    """The derivatives by each number in `args`, by central differences."""
    out = []
    for i, x in enumerate(args):
        h = (abs(x) or mp.mpf(1)) * mp.mpf(10) ** -25
        at = lambda y, i=i: f(*args[:i], y, *args[i + 1 :])
        out.append((at(x + h) - at(x - h)) / (2 * h))
    return out
