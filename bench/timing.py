"""Timing of contenders in turns: A B C, B C A, so that the machine's moods cancel."""

import time
from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np

from .programs import Run

_SHORTEST = 0.02  # seconds that a timing should take, to be one
Name = TypeVar("Name", bound=Hashable)


def interleave(runs: Mapping[Name, Run], rounds: int) -> dict[Name, np.ndarray]:
    """Seconds per call of each, in rounds that take turns in who is first."""
    calls = {}
    for name, run in runs.items():
        run()
        calls[name] = max(1, round(_SHORTEST / max(_time(run, 1), 1e-7)))
    times: dict[Name, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(0.002)  # for the threads of the one before to go to sleep
            times[name].append(_time(runs[name], calls[name]))
    return {name: np.array(seconds) for name, seconds in times.items()}


def _time(run: Run, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls
