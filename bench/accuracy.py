"""How many digits are right: value, gradient and Hessian, against 120 of mpmath's."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import libraries, plot, report
from .cases import Arrays, Selection, softmax, WRT
from .definitions import DEFINITIONS
from .libraries import Convention
from .programs import gradient_and_product
from .regimes import FROM_PROBS, Regime, REGIMES
from .report import Record, Result
from .truth import Truth, truth

HELP = "worst errors of value, gradient and Hessian, by regime"
ULP = 2.0**-23  # float32's epsilon
_WRT = WRT | {name: wrt for name, (wrt, _) in DEFINITIONS.items()}
QUANTITIES = {
    "value": lambda row: (row.value,),
    "gradient": lambda row: row.gradient,
    "Hessian-vector product": lambda row: row.product,
}


def run(selection: Selection) -> Result:
    """Measures every library's functions in every regime."""
    records = []
    for seed, regime in enumerate(REGIMES):
        for function in regime.functions:
            if selection.has(_title(regime, function)):
                report.progress(_title(regime, function))
                rows = 8 if selection.quick else 64
                batches = batches_of(regime, function, seed, rows, selection.quick)
                spelled = libraries.spellings(regime.streamed)
                records += measure(_title(regime, function), batches, spelled)
    return Result.now("accuracy", records)


def batches_of(
    regime: Regime, function: str, seed: int, rows: int, few: bool
) -> list["Batch"]:
    """What the function is given in a regime: rows of every shape, or of the first."""
    samples = regime.samples(np.random.default_rng(seed), rows)
    if few:  # most of its time is compiling, shape by shape
        samples = itertools.islice(samples, 1)
    softmax = regime.through_softmax and function in FROM_PROBS
    return [
        Batch(function, sample.arguments(function, softmax), softmax)
        for sample in samples
    ]


def _title(regime: Regime, function: str) -> str:
    return f"{regime.name}: {function}"


class Batch(NamedTuple):
    function: str
    arguments: Arrays
    through_softmax: bool

    def directions(self) -> Arrays:
        """Any will do that are the same where the arguments are the same: a million
        classes of a thousand kinds remain of a thousand kinds."""
        arrays = []
        for i in _WRT[self.function]:
            x = self.arguments[i]
            wide = x.astype(np.float64)
            wave = np.sin(1e3 * np.where(np.isfinite(wide), wide, 0) + i)
            arrays.append(wave.astype(x.dtype))
        return tuple(arrays)

    def truths(self, convention: Convention) -> Iterator[Truth]:
        rows = zip(*self.arguments, strict=True)
        directions = zip(*self.directions(), strict=True)
        for row, direction in zip(rows, directions, strict=True):
            yield truth(self.function, convention, row, direction, self.through_softmax)


class _Outcome(NamedTuple):
    """Of all rows at once, what a `Truth` is of one, as far as the library has it."""

    value: Any
    gradient: Sequence[Any] = ()
    product: Sequence[Any] = ()

    def rows(self) -> Iterator[Truth]:
        values, gradient, product = jax.tree.map(np.asarray, tuple(self))
        for i, value in enumerate(values):
            yield Truth(value, *(tuple(x[i] for x in g) for g in (gradient, product)))


def measure(
    title: str, batches: Sequence[Batch], spelled: Mapping[str, libraries.Spellings]
) -> Iterator[Record]:
    """The errors of these libraries, those that have the function."""

    @functools.cache
    def expected(convention: Convention) -> list[Truth]:
        return [true for batch in batches for true in batch.truths(convention)]

    for library, spellings in spelled.items():
        if batches[0].function not in spellings:
            continue
        call, convention = spellings[batches[0].function]
        evaluate = _EVALUATE.get(library, _by_jax)
        try:
            outcomes = [evaluate(call, batch) for batch in batches]
        except NotImplementedError:  # a formula that the library lacks
            continue
        rows = [row for outcome in outcomes if outcome for row in outcome.rows()]
        if not rows:
            continue
        pairs = list(zip(rows, expected(convention), strict=True))
        for quantity, of in QUANTITIES.items():
            if of(rows[0]):
                errors = [
                    max(map(_relative, of(row), of(true)), key=_badness)
                    for row, true in pairs
                ]
                yield _record(title, library, quantity, errors)


def _relative(got: Any, true: Any) -> float:
    """The error, as a fraction of what is true; of an array, normwise."""
    got, true = np.asarray(got, np.float64), np.asarray(true, np.float64)
    with np.errstate(invalid="ignore"):
        return float(np.linalg.norm(got - true) / np.linalg.norm(true))


def _badness(error: float) -> float:
    return np.inf if np.isnan(error) else error


def _record(case: str, library: str, quantity: str, errors: list[float]) -> Record:
    ulps = np.array(errors) / ULP
    extremes = float(np.min(ulps)), float(np.max(ulps))  # NaN if any is
    return Record(case, library, quantity, "ulp", float(np.median(ulps)), *extremes)


def _by_jax(call: Callable, batch: Batch) -> _Outcome:
    program = _compiled(call, _WRT[batch.function], batch.through_softmax)
    arrays = jax.tree.map(jnp.asarray, (batch.arguments, batch.directions()))
    return _Outcome(*program(*arrays))


@functools.cache  # so that regimes of one shape share one compilation
def _compiled(call: Callable, wrt: tuple[int, ...], through_softmax: bool) -> Callable:
    through: Callable = jax.nn.softmax if through_softmax else lambda x: x

    def rows(*arguments):
        return call(*map(through, arguments))

    def everything(arguments, directions):
        total = lambda *args: jnp.sum(rows(*args))
        slopes = gradient_and_product(total, wrt, arguments, directions)
        return rows(*arguments), *slopes

    return jax.jit(everything)


def _by_torch(call: Callable, batch: Batch) -> _Outcome:
    import torch

    through = (lambda x: torch.softmax(x, -1)) if batch.through_softmax else lambda x: x
    arguments = [libraries.tensor(x) for x in batch.arguments]
    leaves = [arguments[i].requires_grad_() for i in _WRT[batch.function]]
    directions = [libraries.tensor(x) for x in batch.directions()]
    rows = call(*map(through, arguments))
    gradient = torch.autograd.grad(rows.sum(), leaves, create_graph=True)
    product = torch.autograd.grad(gradient, leaves, directions)
    array = lambda x: x.detach().float().numpy()
    return _Outcome(array(rows), [*map(array, gradient)], [*map(array, product)])


def _by_scipy(call: Callable, batch: Batch) -> _Outcome | None:
    if any(x.dtype.itemsize < 4 for x in batch.arguments):
        return None
    through = softmax if batch.through_softmax else lambda x: x
    with np.errstate(all="ignore"):
        return _Outcome(call(*map(through, batch.arguments)))


_EVALUATE = {"torch": _by_torch, "scipy": _by_scipy}


def readable(ulps: float) -> str:
    """An error as one says it: `2 ulp`, `5 %`, `0 digits`, `NaN`."""
    if not np.isfinite(ulps):
        return "NaN" if np.isnan(ulps) else "inf"
    fraction = ulps * ULP
    if ulps < 1000:
        return f"{np.ceil(ulps):.0f} ulp"
    return f"{100 * fraction:.2g} %" if fraction < 0.95 else "0 digits"


def digits(ulps: float) -> str:
    """How many are right: 6 or 7 is all that float32 has."""
    if np.isnan(ulps):
        return "NaN"
    return str(int(-np.log10(np.clip(ulps * ULP, 1e-7, 1))))


def summary(result: Result) -> str:
    """One row per regime, or kin of them: the worst of each library, in digits."""
    return (
        "How many digits are right, of the 6 to 7 that float32 has. Each cell is the "
        "worst function's and worst row's value · gradient · Hessian-vector product "
        "([each function, in ulp](bench/results/accuracy.md)). jax is what one writes with "
        "`jax.nn` and `jax.scipy`; derivatives of half-precision inputs are half "
        f"precision.\n\n{_table(result, _rows(), digits)}"
    )


def details(result: Result) -> str:
    """One row per regime and function, in ulp."""
    rows = {title: [title] for titles in _rows().values() for title in titles}
    return (
        "Worst relative error against mpmath; 1 ulp = 2⁻²³, float32's epsilon. "
        "Each cell is the worst row's value · gradient · Hessian-vector product.\n\n"
        + _table(result, rows, readable)
    )


def _rows() -> dict[str, list[str]]:
    """What the summary's rows are made of."""
    rows: dict[str, list[str]] = {}
    for regime in REGIMES:
        titles = [_title(regime, function) for function in regime.functions]
        rows.setdefault(regime.row, []).extend(titles)
    return rows


def _table(
    result: Result, rows: Mapping[str, list[str]], say: Callable[[float], str]
) -> str:
    measured = {record.subject for record in result.records}
    columns = [name for name in libraries.NAMES if name in measured]
    cells = []
    for name, titles in rows.items():
        worst = [_worst(result, titles, column) for column in columns]
        if any(worst):
            said = (" · ".join(map(say, errors.values())) or "–" for errors in worst)
            cells.append([name, *said])
    return report.table(["inputs", *columns], cells)


def _worst(result: Result, titles: Sequence[str], library: str) -> dict[str, float]:
    worst = {}
    for quantity in QUANTITIES:
        found = [result.find(title, library, quantity) for title in titles]
        if errors := [record.high for record in found if record]:
            worst[quantity] = max(errors, key=_badness)
    return worst


def draw(result: Result) -> plot.Figure:
    """The summary's errors, in ulp."""
    panels = {
        quantity: {
            row: {
                name: np.clip(worst[quantity], 0.1, 1e8)
                for name in libraries.NAMES
                for worst in [_worst(result, titles, name)]
                if quantity in worst
            }
            for row, titles in _rows().items()
        }
        for quantity in QUANTITIES
    }
    return plot.dots(panels, "worst error, ulp; NaN is last")
