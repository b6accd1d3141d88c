"""`python -m bench`: jxent side by side with its peers."""

import argparse
import sys
from collections.abc import Sequence

from . import accuracy, aot, cases, overhead, report, speed
from .report import Result, StaleReadme

BENCHMARKS = {
    "accuracy": accuracy,
    "speed": speed,
    "overhead": overhead,
    "aot": aot,
}


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Compares jxent with its peers, those that are installed. Without a "
        "name, a quick look at all benchmarks, which is printed only. A named benchmark "
        "that nothing narrows is kept as bench/results/NAME.json.",
    )
    commands = parser.add_subparsers(dest="name", metavar="NAME")

    command = commands.add_parser("accuracy", help="digits, against 60 of mpmath's")
    _add_only(command, cases.FUNCTIONS)
    command.add_argument(
        "--regime", action="append", default=[], help="one whose name contains this"
    )
    command.add_argument("--rows", type=int, default=accuracy.ROWS, metavar="N")

    command = commands.add_parser("speed", help="time and memory, against peers'")
    _add_only(command, speed.NAMES)
    command.add_argument(
        "--shape", action="append", type=_shape, metavar="N,K", help="rows, classes"
    )
    command.add_argument("--dtype", action="append", choices=speed.DTYPES)
    command.add_argument("--repeats", type=int, default=speed.REPEATS, metavar="N")

    command = commands.add_parser("overhead", help="eager calls, compiling, importing")
    command.add_argument("--repeats", type=int, default=overhead.REPEATS, metavar="N")

    commands.add_parser("aot", help="memory on accelerators, compiled without one")

    command = commands.add_parser("readme", help="rewrites the tables in README.md")
    command.add_argument("--check", action="store_true", help="only compare them")
    return parser.parse_args(argv)


def _add_only(command: argparse.ArgumentParser, names: Sequence[str]) -> None:
    command.add_argument(
        "--only", action="append", choices=names, metavar="FUNCTION", help=str(names)
    )


def _shape(text: str) -> tuple[int, int]:
    n, k = text.split(",")
    return int(n), int(k)


def run(options: argparse.Namespace) -> Result:
    match options.name:
        case "accuracy":
            return accuracy.run(
                options.only or cases.FUNCTIONS, options.regime, options.rows
            )
        case "speed":
            return speed.run(
                options.only or speed.NAMES,
                options.shape or speed.SHAPES,
                options.dtype or speed.DTYPES,
                options.repeats,
                _progress,
            )
        case "aot":
            return aot.run()
        case _:
            return overhead.run(options.repeats)


def is_complete(options: argparse.Namespace) -> bool:
    """Whether nothing narrows the run, so that it may replace the last one."""
    default = parse_arguments([options.name])
    return vars(options) == vars(default)


def show(result: Result) -> None:
    print(f"{BENCHMARKS[result.name].full_tables(result)}\n\n{result.caption()}\n")


def rendered() -> dict[str, str]:
    """What README.md says, of every benchmark that has results."""
    results = [report.load(name) for name in BENCHMARKS if report.exists(name)]
    return {r.name: f"{BENCHMARKS[r.name].tables(r)}\n\n{r.caption()}" for r in results}


def quick() -> None:
    show(accuracy.run(rows=16))
    shapes, dtypes = speed.SHAPES[:1], speed.DTYPES[:1]
    show(speed.run(shapes=shapes, dtypes=dtypes, repeats=5, progress=_progress))
    show(overhead.run(repeats=5))


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_arguments(argv)
    if options.name is None:
        quick()
    elif options.name == "readme":
        try:
            report.update_readme(rendered(), check=options.check)
        except StaleReadme as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    else:
        result = run(options)
        show(result)
        if is_complete(options):
            result.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
