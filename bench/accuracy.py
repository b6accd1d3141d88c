"""How many digits are right: value and gradient, against 60 digits at the same inputs."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import libraries, report
from .cases import Arrays, FROM_PROBS, FUNCTIONS, Regime, REGIMES, WRT
from .libraries import Convention, Spelling
from .report import Record, Result
from .truth import Truth, truth

ULP = 2.0**-23  # float32's epsilon
ROWS = 64
_CLOSE = 1e-4  # of a value or gradient that is either right or wrong


def run(
    only: Sequence[str] = FUNCTIONS, regimes: Sequence[str] = (), rows: int = ROWS
) -> Result:
    """Measures every library's functions in every regime."""
    records = []
    for seed, regime in enumerate(REGIMES):
        if regimes and not any(name in regime.name for name in regimes):
            continue
        for function in (f for f in regime.functions if f in only):
            rng = np.random.default_rng(seed)
            batches = [s.arguments(function) for s in regime.samples(rng, rows)]
            records += _measure(regime, function, batches)
    return Result.now("accuracy", records)


def _measure(regime: Regime, function: str, batches: list[Arrays]) -> Iterator[Record]:
    # Where a probability is 0 its derivative may be infinite. What counts there is the
    # gradient that reaches the logits, so that one is looked at.
    chained = not regime.exact and function in FROM_PROBS

    @functools.cache
    def expected(convention: Convention) -> list[Truth]:
        rows = itertools.chain.from_iterable(
            zip(*batch, strict=True) for batch in batches
        )
        return [_expected(function, convention, row, chained) for row in rows]

    for library, spellings in libraries.spellings().items():
        if function not in spellings:
            continue
        spelling = spellings[function]
        evaluate = _EVALUATE.get(library, _by_jax)
        got = [evaluate(spelling, function, batch, chained) for batch in batches]
        if any(outcome is None for outcome in got):
            continue
        rows = list(itertools.chain.from_iterable(o.rows() for o in got if o))
        pairs = list(zip(rows, expected(spelling.convention), strict=True))
        case = f"{regime.name}: {function}"
        values = [_relative(row.value, true.value) for row, true in pairs]
        yield _record(case, library, "value", values)
        if rows[0].gradients:
            slopes = [
                max(map(_relative, row.gradients, true.gradients), key=_badness)
                for row, true in pairs
            ]
            yield _record(case, library, "gradient", slopes)


def _expected(
    function: str, convention: Convention, row: Arrays, chained: bool
) -> Truth:
    value, gradients = truth(function, convention, row)
    if chained:
        # Through softmax:  pᵢ (gᵢ − Σⱼ pⱼ gⱼ),  and 0 where pᵢ is 0.
        probs = [np.asarray(p, np.float64) for p in row]
        slopes = [np.where(p > 0, g, 0) for p, g in zip(probs, gradients, strict=True)]
        gradients = tuple(
            p * (g - np.sum(p * g)) for p, g in zip(probs, slopes, strict=True)
        )
    return Truth(value, gradients)


def _relative(got: Any, true: Any) -> float:
    """The error, as a fraction of what is true; of a gradient, normwise."""
    got, true = np.asarray(got, np.float64), np.asarray(true, np.float64)
    with np.errstate(invalid="ignore"):
        return float(np.linalg.norm(got - true) / np.linalg.norm(true))


def _badness(error: float) -> float:
    return np.inf if np.isnan(error) else error


def _record(case: str, library: str, quantity: str, errors: list[float]) -> Record:
    ulps = np.array(errors) / ULP
    extremes = float(np.min(ulps)), float(np.max(ulps))  # NaN if any is
    return Record(case, library, quantity, "ulp", float(np.median(ulps)), *extremes)


class _Outcome(NamedTuple):
    values: np.ndarray
    gradients: tuple[np.ndarray, ...]

    def rows(self) -> Iterator[Truth]:
        for i, value in enumerate(self.values):
            yield Truth(value, tuple(g[i] for g in self.gradients))


def _by_jax(
    spelling: Spelling, function: str, arrays: Arrays, chained: bool
) -> _Outcome | None:
    leaves = tuple(map(_logits_of, arrays)) if chained else arrays
    both = _compiled(spelling.function, WRT[function], chained)
    values, gradients = both(*jax.tree.map(jnp.asarray, (arrays, leaves)))
    return _Outcome(np.asarray(values), tuple(np.asarray(g) for g in gradients))


@functools.cache  # so that regimes of one shape share one compilation
def _compiled(call: Callable, wrt: tuple[int, ...], chained: bool) -> Callable:
    through: Callable = jax.nn.softmax if chained else lambda x: x

    def total(*leaves):
        return jnp.sum(call(*map(through, leaves)))

    return jax.jit(lambda args, leaves: (call(*args), jax.grad(total, wrt)(*leaves)))


def _by_torch(
    spelling: Spelling, function: str, arrays: Arrays, chained: bool
) -> _Outcome | None:
    import torch

    def tensor(x):
        if np.issubdtype(x.dtype, np.integer):
            return torch.from_numpy(x.astype(np.int64))
        wide = torch.from_numpy(x.astype(np.float32))
        return wide.to(torch.bfloat16) if x.dtype == jnp.bfloat16 else wide

    values = spelling.function(*map(tensor, arrays))
    arguments = [tensor(_logits_of(x) if chained else x) for x in arrays]
    leaves = [arguments[i].requires_grad_() for i in WRT[function]]
    through = (lambda x: torch.softmax(x, -1)) if chained else (lambda x: x)
    total = spelling.function(*map(through, arguments)).sum()
    gradients = torch.autograd.grad(total, leaves)
    return _Outcome(values.float().numpy(), tuple(g.float().numpy() for g in gradients))


def _by_scipy(
    spelling: Spelling, function: str, arrays: Arrays, chained: bool
) -> _Outcome | None:
    if any(x.dtype == jnp.bfloat16 for x in arrays):
        return None
    with np.errstate(all="ignore"):
        return _Outcome(spelling.function(*arrays), ())


_EVALUATE = {"torch": _by_torch, "scipy": _by_scipy}


def _logits_of(p: np.ndarray) -> np.ndarray:
    """Logits whose softmax is `p`, and a 0 in it an underflow, not −inf."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(p), -200).astype(p.dtype)


def readable(ulps: float) -> str:
    """An error as one says it: `2 ulp`, `5 %`, `0 digits`, `NaN`."""
    if not np.isfinite(ulps):
        return "NaN" if np.isnan(ulps) else "inf"
    fraction = ulps * ULP
    if ulps < 1000:
        return f"{np.ceil(ulps):.0f} ulp"
    return f"{100 * fraction:.2g} %" if fraction < 0.95 else "0 digits"


def right_or_wrong(ulps: float) -> str:
    if np.isnan(ulps):
        return "NaN"
    return "right" if ulps * ULP < _CLOSE else "wrong"


_LEGEND = (
    "Worst relative error, value · gradient, of the functions that each library has; "
    "1 ulp = 2⁻²³, float32's epsilon. Gradients of bfloat16 inputs are bfloat16. jax is "
    "what one writes with `jax.nn` and `jax.scipy`."
)


def tables(result: Result) -> str:
    """One row per regime: the worst of what each library has."""
    rows = [
        (regime.name, regime, regime.functions)
        for regime in REGIMES
        if any(record.case.startswith(f"{regime.name}: ") for record in result.records)
    ]
    return f"{_LEGEND}\n\n{_table(result, 'inputs', rows)}"


def full_tables(result: Result) -> str:
    """One row per regime and function."""
    measured = {record.case for record in result.records}
    rows = [
        (f"{regime.name}: {function}", regime, (function,))
        for regime in REGIMES
        for function in regime.functions
        if f"{regime.name}: {function}" in measured
    ]
    return f"{_table(result, 'inputs: function', rows)}\n\n{tables(result)}"


_Row = tuple[str, Regime, Sequence[str]]


def _table(result: Result, first: str, rows: Sequence[_Row]) -> str:
    measured = {record.subject for record in result.records}
    columns = [name for name in libraries.NAMES if name in measured]
    cells = [
        [title, *(_cell(result, regime, functions, column) for column in columns)]
        for title, regime, functions in rows
    ]
    return report.table([first, *columns], cells)


def _cell(
    result: Result, regime: Regime, functions: Sequence[str], library: str
) -> str:
    cases = {f"{regime.name}: {function}" for function in functions}
    say = readable if regime.exact else right_or_wrong
    worst = []
    for quantity in ("value", "gradient"):
        errors = [
            record.high
            for record in result.records
            if (record.subject, record.quantity) == (library, quantity)
            and record.case in cases
        ]
        worst += [say(max(errors, key=_badness))] if errors else []
    return " · ".join(worst) or "–"
