"""What XLA's compilers for accelerators make of a loss and its gradient, without a device.

Needs the extra `aot`: the TPU compiler and the CUDA plugin. The memory figures are the
compilers' own. Nothing runs, so nothing is said about speed.
"""

import functools
import importlib.util
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from . import memory, plot, report
from .cases import Case, CASES, DTYPES, Selection
from .programs import outlines, program, spelled
from .report import Result

HELP = "temporary bytes on accelerators, compiled without one"
PLATFORMS = ("TPU v5e", "TPU v6e", "H100")


def installed() -> bool:
    modules = "libtpu", "jax_plugins.xla_cuda12"
    try:
        return all(importlib.util.find_spec(module) for module in modules)
    except ModuleNotFoundError:
        return False


def device(platform: str) -> Any:
    """A device that is known by its figures only."""
    return devices(platform, "1x1x1" if platform == "H100" else None)[0]


@functools.cache
def devices(platform: str, topology: str | None = None) -> list[Any]:
    """Devices that are known by their figures only, and by how they are connected."""
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    if platform == "H100":
        figures = (report.ROOT / "bench" / "h100.textproto").read_text()
        return topologies.get_topology_desc(
            platform="cuda", target_config=figures, topology=topology
        ).devices
    name = topology or f"{platform.removeprefix('TPU ')}:2x2"
    return topologies.get_topology_desc(platform="tpu", topology_name=name).devices


def options(devices: Sequence[Any]) -> dict[str, str] | None:
    """What to tell the compiler: tuning would need the device."""
    gpu = devices[0].platform in ("cuda", "gpu")
    return {"xla_gpu_autotune_level": "0"} if gpu else None


def compiled(function: Callable, platform: str, *arguments: Any) -> Any:
    """`function` compiled for a device that need not be there."""
    here = device(platform)
    sharding = SingleDeviceSharding(here)
    program = jax.jit(function, in_shardings=sharding, out_shardings=sharding)
    return program.lower(*arguments).compile(options([here]))


def gradient(case: Case, library: str, platform: str, dtype: str) -> Any:
    """A loss and its gradient, compiled."""
    function = program("gradient", spelled(case)[library], case.wrt)
    return compiled(function, platform, *outlines(case, memory.SHAPE, dtype))


def run(selection: Selection) -> Result:
    """Compiles every case for every platform."""
    records = []
    for case, platform, dtype in itertools.product(CASES, PLATFORMS, DTYPES):
        title = memory.title(f"{platform}, {dtype}", case)
        if selection.has(title):
            report.progress(title)
            for library in spelled(case):
                made = gradient(case, library, platform, dtype)
                records.append(memory.temporary(title, library, made))
    return Result.now("aot", records)


_HEADS = [f"{platform}, {dtype}" for platform in PLATFORMS for dtype in DTYPES]
_LEGEND = "The same of the gradient, as XLA's compilers for other devices report it."


def summary(result: Result) -> str:
    return f"{_LEGEND} {memory.brief(result, _HEADS)}"


def details(result: Result) -> str:
    return f"{_LEGEND}\n\n{memory.full(result, _HEADS)}"


def draw(result: Result) -> plot.Figure:
    panels = memory.panels(result, _HEADS)
    return plot.dots(panels, "temporary memory, MiB", log=False)
