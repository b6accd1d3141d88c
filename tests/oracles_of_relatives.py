"""The relatives by their definitions at 100 digits, as in `oracles`."""

from typing import Any

import numpy as np
from oracles import entropy, kl_divergence, mp, Row


def _power(x: Any, a: Any) -> Any:
    """xᵃ, with 0⁰ = 0: a class that is impossible has no part in any order."""
    if x:
        return mp.power(x, a)
    return mp.inf if a < 0 else mp.mpf(0)


def alpha_divergence(p: Row, q: Row, alpha: Any) -> Any:
    a = mp.mpf(alpha)
    if a == 1:
        return kl_divergence(p, q)
    if a == 0:
        return kl_divergence(q, p)
    pairs = list(zip(p, q, strict=True))
    total = mp.fsum(
        a * x + (1 - a) * y - _power(x, a) * _power(y, 1 - a) for x, y in pairs
    )
    return total / (a * (1 - a))


def renyi_divergence(p: Row, q: Row, order: Any) -> Any:
    """Of rows that do not quite add up to 1, the one that is 0 for equal rows."""
    if order == mp.inf:
        return max(mp.log(x / y) for x, y in zip(p, q, strict=True) if x)
    a = mp.mpf(order)
    if a == 1:
        return kl_divergence(p, q)
    return mp.log1p(-a * (1 - a) * alpha_divergence(p, q, a)) / (a - 1)


def squared_hellinger(p: Row, q: Row) -> Any:
    pairs = zip(p, q, strict=True)
    return mp.fsum((mp.sqrt(x) - mp.sqrt(y)) ** 2 for x, y in pairs) / 2


def bhattacharyya_distance(p: Row, q: Row) -> Any:
    return -mp.log1p(-squared_hellinger(p, q))


def chi2_divergence(p: Row, q: Row) -> Any:
    return mp.fsum((x - y) ** 2 / y for x, y in zip(p, q, strict=True))


def jeffreys_divergence(p: Row, q: Row) -> Any:
    return kl_divergence(p, q) + kl_divergence(q, p)


def total_variation(p: Row, q: Row) -> Any:
    return mp.fsum(abs(x - y) for x, y in zip(p, q, strict=True)) / 2


def renyi_entropy(p: Row, order: Any) -> Any:
    if order == mp.inf:
        return -mp.log(max(p))
    a = mp.mpf(order)
    if a == 1:
        return entropy(p)
    # As the Tsallis entropy has it for rows that do not quite add up to 1.
    return mp.log1p((1 - a) * tsallis_entropy(p, a)) / (1 - a)


def tsallis_entropy(p: Row, order: Any) -> Any:
    a = mp.mpf(order)
    if a == 1:
        return entropy(p)
    return mp.fsum(x - _power(x, a) for x in p) / (a - 1)


def mutual_information(p: Any) -> Any:
    """Of a table, an object array; not renormalised, 0 for a product of any total."""
    apart = np.outer(p.sum(1), p.sum(0)).ravel() / p.sum()
    pairs = zip(p.ravel(), apart, strict=True)
    return mp.fsum(x * mp.log(x / y) for x, y in pairs if x)


def conditional_entropy(p: Any) -> Any:
    """Of the columns, given the row."""
    rows = np.repeat(p.sum(1), p.shape[1])
    return mp.fsum(x * mp.log(r / x) for x, r in zip(p.ravel(), rows, strict=True) if x)
