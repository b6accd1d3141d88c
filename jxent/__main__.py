"""`python -m jxent`: a small language model, whose cross-entropy is a code length."""

import argparse
import importlib
import io
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np

from . import __version__
from ._demo.text import BadInput, python_topics, read

PROG = "python -m jxent"


class Parser(argparse.ArgumentParser):
    """Leaves the error line to `main`."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(message)


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """An argument type: an integer from `low` to `high`."""

    def parse(argument: str) -> int:
        if not argument.isdecimal() or not low <= int(argument) <= high:
            raise argparse.ArgumentTypeError(
                f"{argument!r} is not a whole number from {low:,} to {high:,}"
            )
        return int(argument)

    return parse


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog=PROG,
        description="Trains a small byte-level language model, with jxent's "
        "cross-entropy as its loss, and sets it beside gzip, bz2 and xz: on text that "
        "it has not seen, cross-entropy is code length.",
        epilog="It takes less than a minute on two cores.",
    )
    option = parser.add_argument
    option("--version", action="version", version=f"jxent {__version__}")
    option(
        "--text",
        metavar="FILE",
        help="the text to learn, in UTF-8 or any 8-bit encoding; its last tenth is "
        "held out (default: the documentation that ships inside Python)",
    )
    steps, seed = whole_number(1, 1_000_000), whole_number(0, 2**31 - 1)
    option("--steps", type=steps, default=500, metavar="N", help="default: %(default)s")
    option("--seed", type=seed, default=0, metavar="N", help="default: %(default)s")
    option("--plot", metavar="FILE.png", help="draw training; needs matplotlib")
    return parser.parse_args(argv)


def check_plot(path: str) -> None:
    """A minute of training should not end in a figure that cannot be written."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError:
        raise BadInput("--plot needs matplotlib: pip install matplotlib") from None
    if not path.lower().endswith(".png"):
        raise BadInput(f"cannot write {path!r}: the plot is a .png file")
    existed = os.path.lexists(path)
    try:
        with open(path, "ab"):
            pass
    except OSError as error:
        raise BadInput(f"cannot write {path!r}: {error.strerror}") from None
    if not existed:
        os.remove(path)


class Progress:
    """A bar on a terminal; elsewhere, such as in a log, a line now and then."""

    def __init__(self, steps: int):
        self.steps = steps
        self.losses: list[float] = []
        self.start = time.monotonic()

    def __call__(self, step: int, loss: float) -> None:
        self.losses.append(loss)
        recent = self.losses[-10:]
        bits = sum(recent) / len(recent) / math.log(2)
        seconds = time.monotonic() - self.start
        line = f"{step}/{self.steps}  {bits:.3f} bits/byte  {seconds:.0f} s"
        if sys.stdout.isatty():
            bar = "█" * (24 * step // self.steps)
            end = "\n" if step == self.steps else ""
            print(f"\r{bar:░<24}  {line}  ", end=end, flush=True)
        elif step in (1, self.steps) or step % max(1, self.steps // 10) == 0:
            print(f"step {line}", flush=True)


def run(argv: Sequence[str] | None) -> None:
    """The job: read, train, evaluate, report."""
    options = parse_arguments(argv)
    text = python_topics() if options.text is None else read(options.text)
    if options.plot is not None:
        check_plot(options.plot)

    from ._demo import model, report  # these import optax, and take a second

    print(f"Training on {len(text.train):,} bytes of {text.name}", flush=True)
    progress = Progress(options.steps)
    seen, n = (
        model.look_back(np.concatenate([text.train, text.held_out])),
        len(text.train),
    )
    params = model.train(text.train, seen[:n], options.steps, options.seed, progress)
    paid, expected = model.evaluate(params, text.held_out, seen[n:])
    print(f"\n{report.report(text, paid, expected)}", flush=True)
    if options.plot is not None:
        report.plot(options.plot, text, progress.losses, paid)
        print(f"\nThe training curve is in {options.plot}", flush=True)


def interrupted(signum: int, frame: object) -> NoReturn:
    """Ends at once: an exception could surface inside a callback, as a traceback."""
    os.write(2, b"\ninterrupted\n" if sys.stdout.isatty() else b"interrupted\n")
    os._exit(130)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job; the exit status is 0, or 2 for input that it cannot use."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may lack a "‖"
    try:
        run(argv)
    except BadInput as error:
        print(f"{PROG}: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, interrupted)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends the job quietly
    sys.exit(main())
