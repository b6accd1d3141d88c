"""One format for all results: JSON on disk, tables in Markdown."""

import dataclasses
import datetime
import functools
import json
import math
import os
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from . import libraries

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"


@dataclasses.dataclass(frozen=True)
class Record:
    """What was measured of one subject in one case, with its spread."""

    case: str  # "labels, 4096×1000, float32"
    subject: str  # "jxent"
    quantity: str  # "time"
    unit: str  # "ms"
    median: float
    low: float  # for times the quartiles, for errors the extremes
    high: float

    @classmethod
    def of(
        cls, case: str, subject: str, quantity: str, unit: str, samples: Iterable[float]
    ) -> "Record":
        """Of timings, or whatever else has noise to be left out."""
        low, median, high = np.percentile(np.asarray(samples), [25, 50, 75]).tolist()
        return cls(case, subject, quantity, unit, median, low, high)


@dataclasses.dataclass(frozen=True)
class Result:
    name: str
    date: str
    python: str
    versions: dict[str, str]
    missing: list[str]  # peers that were not installed
    device: dict[str, Any]
    records: list[Record]

    @classmethod
    def now(cls, name: str, records: list[Record]) -> "Result":
        return cls(
            name=name,
            date=datetime.date.today().isoformat(),
            python=platform.python_version(),
            versions=libraries.versions(),
            missing=libraries.missing(),
            device={
                "kind": jax.devices()[0].device_kind,
                "cpu": _cpu_model(),
                "cores": os.cpu_count(),
            },
            records=records,
        )

    def save(self) -> Path:
        data = dataclasses.asdict(self)
        for record in data["records"]:
            for key in ("median", "low", "high"):
                record[key] = _as_json(record[key])
        path = _path(self.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        # One record a line, so that a new run is a readable diff.
        records = ",\n".join(
            f"    {json.dumps(r, ensure_ascii=False)}" for r in data.pop("records")
        )
        head = json.dumps(data, ensure_ascii=False, indent=2).removesuffix("\n}")
        path.write_text(f'{head},\n  "records": [\n{records}\n  ]\n}}\n', "utf-8")
        return path

    def find(self, case: str, subject: str, quantity: str) -> Record | None:
        return self._found.get((case, subject, quantity))

    @functools.cached_property
    def _found(self) -> dict[tuple[str, str, str], Record]:
        return {(r.case, r.subject, r.quantity): r for r in self.records}

    def caption(self) -> str:
        """Where and with what this was measured."""
        versions = ", ".join(f"{name} {v}" for name, v in self.versions.items())
        absent = f"; not installed: {', '.join(self.missing)}" if self.missing else ""
        return (
            f"Measured on {self.date}: {self.device['cpu']}, {self.device['cores']} "
            f"cores; Python {self.python}, {versions}{absent}."
        )


def load(name: str) -> Result | None:
    """The last complete run, if there was one."""
    if not _path(name).exists():
        return None
    data = json.loads(_path(name).read_text("utf-8"))
    records = [_record(**fields) for fields in data.pop("records")]
    return Result(records=records, **data)


def _record(*, median: Any, low: Any, high: Any, **words: str) -> Record:
    return Record(**words, median=float(median), low=float(low), high=float(high))


def _path(name: str) -> Path:
    return RESULTS / f"{name}.json"


def _as_json(number: float) -> float | str:
    # JSON has neither NaN nor infinities; four digits are more than the noise leaves.
    return float(f"{number:.4g}") if math.isfinite(number) else str(number)


def _cpu_model() -> str:
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        info = ""
    found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table: `left` columns of words, then columns of numbers."""
    rule = ["---" if i < left else "---:" for i in range(len(head))]
    lines = (f"| {' | '.join(row)} |" for row in (head, rule, *rows))
    return "\n".join(lines)


def progress(title: str) -> None:
    print(title, file=sys.stderr, flush=True)
