"""What the functions of `libraries` are, to 120 digits, at the exact float inputs."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple, TYPE_CHECKING, TypeAlias

import numpy as np

from .definitions import DEFINITIONS
from .libraries import Convention

if TYPE_CHECKING or find_spec("mpmath"):  # whoever reads results need not have it
    import mpmath
    from mpmath import mpf

_DIGITS = 120
_Number: TypeAlias = Any  # an mpf
_Row: TypeAlias = list[_Number]


class Truth(NamedTuple):
    """Of a row: the slopes by each argument that has a direction, and the product of
    the Hessian with the directions."""

    value: float
    gradient: tuple[np.ndarray, ...]
    product: tuple[np.ndarray, ...]


def truth(
    function: str,
    convention: Convention,
    arguments: Sequence[np.ndarray],
    directions: Sequence[np.ndarray],
    through_softmax: bool = False,
) -> Truth:
    """Of one row: `arguments` are [k] arrays, or scalars for `labels` and `binary`.

    `directions` are of the last arguments, which are those that are differentiated.
    """
    call = _FUNCTIONS[function]
    if through_softmax:
        call = _of_logits(call)
    if function == "labels":
        y, z = arguments
        arguments = np.arange(z.shape[-1]) == y, z
    still = len(arguments) - len(directions)
    # Classes of one kind are computed once, so that there can be a million of them.
    columns = [np.atleast_1d(x).astype(np.float64) for x in (*arguments, *directions)]
    kinds, kind_of, counts = np.unique(
        np.stack(columns), axis=1, return_inverse=True, return_counts=True
    )
    kind_of = kind_of.reshape(-1)
    with mpmath.workdps(_DIGITS):
        rows = [[mpf(float(x)) for x in row] for row in kinds]
        fixed, x, v = (
            rows[:still],
            rows[still : -len(directions)],
            rows[-len(directions) :],
        )
        n = [mpf(int(c)) for c in counts]

        def at(step: _Number) -> tuple[_Number, Sequence[_Row]]:
            moved = [
                [a + step * b for a, b in zip(*pair, strict=True)]
                for pair in zip(x, v, strict=True)
            ]
            return call(n, *fixed, *moved, convention)

        value, slopes = at(mpf(0))
        # With this many digits the central difference is as good as the derivative.
        step = mpf(10) ** -40
        ahead, behind = at(step)[1], at(-step)[1]
        products = [
            [(a - b) / (2 * step) for a, b in zip(*pair, strict=True)]
            for pair in zip(ahead, behind, strict=True)
        ]

        def arrays(rows: Sequence[_Row]) -> tuple[np.ndarray, ...]:
            return tuple(np.array([float(x) for x in row])[kind_of] for row in rows)

        return Truth(float(value), arrays(slopes), arrays(products))


def _of_logits(call: Callable) -> Callable:
    """Of softmax:  pᵢ (gᵢ − Σⱼ pⱼ gⱼ)  is the slope by logit i."""

    def of_logits(n, *arguments):
        *logits, convention = arguments
        probs = [_softmax(n, z)[0] for z in logits]
        value, slopes = call(n, *probs, convention)
        chained = []
        for p, g in zip(probs, slopes, strict=True):
            mean = _total(n, p, g)
            chained.append([x * (y - mean) for x, y in zip(p, g, strict=True)])
        return value, chained

    return of_logits


def _total(n: _Row, *factors: _Row) -> _Number:
    """`Σᵢ nᵢ · product of the factors`, over classes whose first factor is not 0."""
    terms = zip(n, *factors, strict=True)
    return mpmath.fsum(mpmath.fprod(term) for term in terms if term[1] != 0)


def _log(x: _Number) -> _Number:
    return mpmath.log(x) if x > 0 else mpf("-inf")


def _softmax(n: _Row, z: _Row) -> tuple[_Row, _Row]:
    top = max(z)
    mass = [mpmath.exp(x - top) for x in z]
    total = _total(n, mass)
    return [m / total for m in mass], [x - top - mpmath.log(total) for x in z]


def _binary(n, y, x, convention):
    (y,), (x,) = y, x
    value = y * mpmath.log1p(mpmath.exp(-x)) + (1 - y) * mpmath.log1p(mpmath.exp(x))
    return value, ([1 / (1 + mpmath.exp(-x)) - y],)


def _soft(n, t, z, convention):
    if convention == "normalised":
        total = _total(n, t)
        t = [x / total for x in t]
    p, log_p = _softmax(n, z)
    total = _total(n, t)
    slope = [total * x - y for x, y in zip(p, t, strict=True)]
    return -_total(n, t, log_p), (slope,)


def _entropy_logits(n, z, convention):
    p, log_p = _softmax(n, z)
    value = -_total(n, p, log_p)
    slope = [-x * (y + value) if x else x for x, y in zip(p, log_p, strict=True)]
    return value, (slope,)


def _entropy_probs(n, p, convention):
    s = _total(n, p) if convention == "normalised" else mpf(1)
    log_p = [_log(x / s) for x in p]
    value = -_total(n, p, log_p) / s
    shift = value if convention == "normalised" else 1
    return value, ([-(x + shift) / s for x in log_p],)


def _kl_logits(n, a, b, convention):
    p, log_p = _softmax(n, a)
    q, log_q = _softmax(n, b)
    ratio = [x - y for x, y in zip(log_p, log_q, strict=True)]
    value = _total(n, p, ratio)
    by_a = [x * (r - value) if x else x for x, r in zip(p, ratio, strict=True)]
    return value, (by_a, [y - x for x, y in zip(p, q, strict=True)])


def _kl_probs(n, p, q, convention):
    # Of p/s and q/t; the slopes by p and q are those of each convention.
    normalised = convention == "normalised"
    s, t = (_total(n, p), _total(n, q)) if normalised else (mpf(1), mpf(1))
    ratio = [
        _log(x / s) - _log(y / t) if x else mpf("-inf")
        for x, y in zip(p, q, strict=True)
    ]
    value = _total(n, p, ratio) / s
    shift = {"plain": mpf(1), "bregman": mpf(0), "normalised": -value}[convention]
    if convention == "bregman":
        value += _total(n, q) - _total(n, p)
    by_p = [(r + shift) / s for r in ratio]
    lift = 0 if convention == "plain" else 1
    by_q = [
        (lift - (x / s) / (y / t)) / t if y else mpf(lift) / t
        for x, y in zip(p, q, strict=True)
    ]
    return value, (by_p, by_q)


def _js_probs(n, p, q, convention):
    # The sums of −p + m and −q + m cancel. The slopes are those by p/s and q/t.
    if convention == "normalised":
        s, t = _total(n, p), _total(n, q)
        p, q = [x / s for x in p], [x / t for x in q]
    m = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
    of_p, (by_p, _) = _kl_probs(n, p, m, "bregman")
    of_q, (by_q, _) = _kl_probs(n, q, m, "bregman")
    return (of_p + of_q) / 2, ([x / 2 for x in by_p], [x / 2 for x in by_q])


def _by_differences(wrt: Sequence[int], call: Callable) -> Callable:
    """With slopes by central differences, which are exact to 1e-50 at this precision."""

    def value_and_slopes(n, *arguments):
        *rows, _ = arguments

        def slope(i, j):
            step = (abs(rows[i][j]) or mpf(1)) * mpf(10) ** -25
            ends = [
                call(*rows[:i], [*rows[i][:j], x, *rows[i][j + 1 :]], *rows[i + 1 :])
                for x in (rows[i][j] + step, rows[i][j] - step)
            ]
            return (ends[0] - ends[1]) / (2 * step)

        return call(*rows), [[slope(i, j) for j in range(len(rows[i]))] for i in wrt]

    return value_and_slopes


_FUNCTIONS: dict[str, Callable] = {
    "labels": _soft,
    "soft": _soft,
    "binary": _binary,
    "entropy_logits": _entropy_logits,
    "entropy_probs": _entropy_probs,
    "kl_logits": _kl_logits,
    "kl_probs": _kl_probs,
    "js_probs": _js_probs,
    "js_logits": _of_logits(_js_probs),
} | {name: _by_differences(*of) for name, of in DEFINITIONS.items()}
