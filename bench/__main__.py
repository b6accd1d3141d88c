"""`python -m bench`: jxent side by side with its peers."""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

from . import (
    accuracy,
    aot,
    device,
    families,
    losses,
    memory,
    meshes,
    overhead,
    pages,
    passes,
    projection,
    scaling,
    speed,
    streaming,
)
from .cases import Selection
from .report import Result

BENCHMARKS: dict[str, ModuleType] = {
    "accuracy": accuracy,
    "families": families,
    "speed": speed,
    "losses": losses,
    "memory": memory,
    "scaling": scaling,
    "overhead": overhead,
    "aot": aot,
    "passes": passes,
    "device": device,
    "projection": projection,
    "streaming": streaming,
    "meshes": meshes,
}
# Compilers for accelerators, and peers of theirs, are in few environments: ask by name.
ASKED_FOR = ("aot", "passes", "device", "projection", "streaming", "meshes")

NEEDS_MPMATH = ("accuracy", "device", "families")  # for the truth


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    listed = "\n".join(f"  {name:10} {b.HELP}" for name, b in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Compares jxent with its peers, those that are installed. Without a\n"
        "name, a quick look at everything, which is only printed. A named benchmark that\n"
        "nothing narrows is kept: bench/results/NAME.json, NAME.md and NAME.png.",
        epilog=f"names:\n{listed}\n"
        "  all       every benchmark in full, and then the pages\n"
        "  pages     the tables in docs, bench/results/*.md and the plots once more",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "name", nargs="?", choices=[*BENCHMARKS, "all", "pages"], metavar="NAME"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="TEXT",
        help="cases with this in their titles, as printed; several must all be in",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rows and rounds")
    parser.add_argument("--check", action="store_true", help="pages: only compare")
    return parser.parse_args(argv)


def run(names: Sequence[str], selection: Selection) -> None:
    for name in names:
        if name in NEEDS_MPMATH and importlib.util.find_spec("mpmath") is None:
            print(f"{name} is left out: mpmath is not installed", file=sys.stderr)
            continue
        result: Result = BENCHMARKS[name].run(selection)
        print(f"{BENCHMARKS[name].details(result)}\n\n{result.caption()}\n", flush=True)
        if selection == Selection():
            result.save()


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    selection = Selection(tuple(options.only), options.quick or options.name is None)
    if options.name != "pages":
        here = [name for name in BENCHMARKS if name not in ASKED_FOR]
        run([options.name] if options.name in BENCHMARKS else here, selection)
        if selection != Selection():
            return 0
    try:
        pages.check(BENCHMARKS) if options.check else pages.write(BENCHMARKS)
    except pages.StalePage as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
