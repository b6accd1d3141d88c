"""What XLA's compilers for accelerators make of a loss and its gradient, without a device.

Needs the extra `aot`: the TPU compiler and the CUDA plugin. The memory figures are the
compilers' own. Nothing runs, so nothing is said about speed.
"""

import functools
import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from . import libraries, report
from .report import Record, Result

PLATFORMS = ("TPU v5e", "TPU v6e", "H100")
DTYPES = ("float32", "bfloat16")
SHAPE = (1024, 32768)

# The function, by what it is differentiated, and the peer that it is compared with.
CASES = {
    "labels": (1, "optax"),
    "soft": (1, "optax"),
    "entropy_logits": (0, "jax"),
    "kl_logits": (1, "jax"),
}


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


def compiled(function: Callable, platform: str, *shapes: jax.ShapeDtypeStruct) -> Any:
    """`function` compiled for a device that need not be there."""
    here = device(platform)
    sharding = SingleDeviceSharding(here)
    program = jax.jit(function, in_shardings=sharding, out_shardings=sharding)
    return program.lower(*shapes).compile(options([here]))


def temporary_mib(function: str, library: str, platform: str, dtype: str) -> float:
    """The memory that a loss and its gradient need beside arguments and results."""
    wrt, _ = CASES[function]
    logits = jax.ShapeDtypeStruct(SHAPE, jnp.dtype(dtype))
    labels = jax.ShapeDtypeStruct(SHAPE[:1], jnp.int32)
    soft = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
    first = {"labels": [labels], "soft": [soft], "entropy_logits": []}
    arguments = [*first.get(function, [logits]), logits]
    call = libraries.spellings()[library][function].function
    loss = jax.value_and_grad(lambda *args: jnp.mean(call(*args)), wrt)
    analysis = compiled(loss, platform, *arguments).memory_analysis()
    return analysis.temp_size_in_bytes / 2**20


def run() -> Result:
    """Compiles every case for every platform."""
    records = []
    for function, (_, peer) in CASES.items():
        for platform in PLATFORMS:
            for dtype in DTYPES:
                for library in ("jxent", peer):
                    mib = temporary_mib(function, library, platform, dtype)
                    case = f"{function}; {platform}; {dtype}"
                    record = Record.of(case, library, "temporary memory", "MiB", [mib])
                    records.append(record)
    return Result.now("aot", records)


def tables(result: Result) -> str:
    found = {(r.case, r.subject): r.median for r in result.records}
    rows = [
        [
            f"{function}, {dtype}",
            *(
                f"{found[case, 'jxent']:.1f} ({peer} {found[case, peer]:.1f})"
                for platform in PLATFORMS
                for case in [f"{function}; {platform}; {dtype}"]
            ),
        ]
        for function, (_, peer) in CASES.items()
        for dtype in DTYPES
    ]
    n, k = SHAPE
    return (
        f"Temporary memory of a loss and its gradient at {n}×{k}, in MiB, as XLA's "
        f"compilers for the devices report it (the logits are {n * k * 4 >> 20} MiB in "
        f"float32):\n\n{report.table(['loss', *PLATFORMS], rows)}"
    )


full_tables = tables
