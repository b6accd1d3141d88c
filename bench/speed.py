"""How long a loss and its gradient take, and the memory they need, next to a peer's.

All contenders run in one process and in turns, A B C A B C, and what is reported is the
median of the ratios of one round: the machine's moods cancel. The floor is a copy, which
reads each floating-point argument once and writes one array per gradient.
"""

import functools
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from . import libraries, report
from .cases import softmax
from .report import Record, Result

Shape = tuple[int, int]
Run = Callable[[], Any]

SHAPES: tuple[Shape, ...] = ((4096, 1000), (1024, 32768), (256, 131072))
DTYPES = ("float32", "bfloat16")
REPEATS = 7
_SHORTEST = 0.02  # seconds that a timing should take, to be one


class Case(NamedTuple):
    """A loss, the mean of a function's rows, and the arguments it is differentiated by."""

    name: str
    function: str
    wrt: tuple[int, ...]
    rivals: tuple[str, ...]  # "naive" is the spelling with jax.nn and jax.scipy


CASES = (
    Case("labels", "labels", (1,), ("optax", "torch")),
    Case("soft", "soft", (1,), ("naive", "optax")),
    Case("entropy", "entropy_logits", (0,), ("naive",)),
    Case("binary", "binary", (1,), ("naive", "optax")),
    Case("kl, logits, student", "kl_logits", (1,), ("naive",)),
    Case("kl, logits, both", "kl_logits", (0, 1), ("naive",)),
    Case("kl, probs, both", "kl_probs", (0, 1), ("naive", "jax.scipy")),
)
NAMES = tuple(case.name for case in CASES)


def _naive_kl(p, q):
    return jnp.sum(p * (jnp.log(p) - jnp.log(q)), axis=-1)


def _spelling(case: Case, rival: str) -> Callable | None:
    """How `rival` spells the case; None if it is not installed."""
    if rival == "naive" and case.function == "kl_probs":
        return _naive_kl  # jax.scipy's guards zeros, and is a rival of its own
    library = "jax" if rival in ("naive", "jax.scipy") else rival
    spellings = libraries.spellings().get(library)
    return spellings[case.function].function if spellings else None


def run(
    only: Sequence[str] = NAMES,
    shapes: Sequence[Shape] = SHAPES,
    dtypes: Sequence[str] = DTYPES,
    repeats: int = REPEATS,
    progress: Callable[[str], None] = lambda line: None,
) -> Result:
    """Measures every case at every shape and dtype."""
    records = []
    for case, shape, dtype in itertools.product(CASES, shapes, dtypes):
        if case.name in only:
            progress(_title(case, shape, dtype))
            records += _measure(case, shape, dtype, repeats)
    return Result.now("speed", records)


def _title(case: Case, shape: Shape, dtype: str) -> str:
    return f"{case.name}; {shape[0]}×{shape[1]}; {dtype}"


def _arguments(case: Case, shape: Shape, dtype: str) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    a, b = (2 * rng.standard_normal((2, *shape), np.float32)).astype(dtype)
    match case.function:
        case "labels":
            return rng.integers(shape[1], size=shape[0], dtype=np.int32), a
        case "soft":
            return softmax(b).astype(dtype), a
        case "entropy_logits":
            return (a,)
        case "binary":
            return rng.random(shape, np.float32).astype(dtype), a
        case "kl_probs":
            return softmax(a).astype(dtype), softmax(b).astype(dtype)
        case _:
            return a, b


def _measure(case: Case, shape: Shape, dtype: str, repeats: int) -> Iterator[Record]:
    title = _title(case, shape, dtype)
    arrays = _arguments(case, shape, dtype)
    arguments = [jnp.asarray(x) for x in arrays]
    runs: dict[str, Run] = {}
    for name in ("jxent", *case.rivals):
        function = _spelling(case, name)
        if function is None:
            continue
        if name == "torch":
            runs[name] = _torch_run(function, case, arrays)
            continue
        loss = functools.partial(_mean, function)
        compiled = _compile(jax.value_and_grad(loss, case.wrt), arguments)
        runs[name] = _jax_run(compiled, arguments)
        temporary = compiled.memory_analysis().temp_size_in_bytes / 2**20
        yield Record.of(title, name, "temporary memory", "MiB", [temporary])
    floats = [x for x in arguments if jnp.issubdtype(x.dtype, jnp.floating)]
    copy = functools.partial(_copy, len(case.wrt))
    runs["copy"] = _jax_run(_compile(copy, floats), floats)

    times = interleave(runs, repeats)
    for name, seconds in times.items():
        yield Record.of(title, name, "time", "ms", seconds * 1e3)
        if name != "jxent":
            ratio = times["jxent"] / seconds
            yield Record.of(title, "jxent", f"time / {name}", "×", ratio)


def _mean(function: Callable, *arguments: jax.Array) -> jax.Array:
    return jnp.mean(function(*arguments))


def _copy(gradients: int, *arguments: jax.Array) -> list[jax.Array]:
    total = functools.reduce(jnp.add, arguments)
    return [total + (i + 1) for i in range(gradients)]


def _compile(function: Callable, arguments: Sequence[jax.Array]) -> Any:
    return jax.jit(function).lower(*arguments).compile()


def _jax_run(compiled: Any, arguments: Sequence[jax.Array]) -> Run:
    return lambda: jax.block_until_ready(compiled(*arguments))


def _torch_run(function: Callable, case: Case, arrays: Sequence[np.ndarray]) -> Run:
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    tensors = []
    for x in arrays:
        wide = np.int64 if np.issubdtype(x.dtype, np.integer) else np.float32
        tensor = torch.from_numpy(x.astype(wide))
        half = x.dtype == jnp.bfloat16
        tensors.append(tensor.to(torch.bfloat16) if half else tensor)
    leaves = [tensors[i].requires_grad_() for i in case.wrt]

    def run():
        loss = function(*tensors).mean()
        return loss, torch.autograd.grad(loss, leaves)

    return run


def interleave(
    runs: dict[str, Run], repeats: int, shortest: float = _SHORTEST
) -> dict[str, np.ndarray]:
    """Seconds per call of each, in rounds that take turns in who is first."""
    calls = {}
    for name, go in runs.items():
        go()
        calls[name] = max(1, round(shortest / max(_time(go, 1), 1e-7)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for i in range(repeats):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(0.002)  # for the threads of the one before to go to sleep
            times[name].append(_time(runs[name], calls[name]))
    return {name: np.array(seconds) for name, seconds in times.items()}


def _time(go: Run, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        go()
    return (time.perf_counter() - start) / calls


def tables(result: Result) -> str:
    """Ratios of time for every shape, then temporary memory at the largest."""
    found = {(r.case, r.subject, r.quantity): r for r in result.records}
    columns = _columns(result)
    heads = [f"{shape[0]}×{shape[1]} {dtype}" for shape, dtype in columns]

    def cell(case, column, subject, quantity, digits):
        record = found.get((_title(case, *column), subject, quantity))
        return f"{record.median:.{digits}f}" if record else "–"

    ratios = []
    for case in CASES:
        for rival in (*case.rivals, "copy"):
            cells = [cell(case, c, "jxent", f"time / {rival}", 2) for c in columns]
            if any(text != "–" for text in cells):
                ratios.append([case.name, rival, *cells])
    memory = []
    for case in CASES:
        for subject in ("jxent", *case.rivals):
            cells = [cell(case, c, subject, "temporary memory", 1) for c in columns]
            if any(text != "–" for text in cells):
                memory.append([case.name, subject, *cells])
    return "\n\n".join(
        [
            "Time of jxent's value and gradient, divided by that of:",
            report.table(["loss", "divided by", *heads], ratios, left=2),
            "Temporary memory, in MiB:",
            report.table(["loss", "of", *heads], memory, left=2),
        ]
    )


def full_tables(result: Result) -> str:
    """The times themselves, with their quartiles."""
    rows = [
        [r.case, r.subject, f"{r.median:.3g}", f"{r.low:.3g} to {r.high:.3g}"]
        for r in result.records
        if r.quantity == "time"
    ]
    times = report.table(["case", "of", "ms", "quartiles"], rows, left=2)
    return f"{times}\n\n{tables(result)}"


def _columns(result: Result) -> list[tuple[Shape, str]]:
    titles = {record.case for record in result.records}
    return [
        (shape, dtype)
        for shape, dtype in itertools.product(_shapes(titles), DTYPES)
        if any(_title(case, shape, dtype) in titles for case in CASES)
    ]


def _shapes(titles: set[str]) -> list[Shape]:
    sizes = {tuple(map(int, t.split("; ")[1].split("×"))) for t in titles}
    return sorted(((n, k) for n, k in sizes), key=lambda shape: shape[1])
