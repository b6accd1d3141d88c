"""Ctrl-C ends `python -m jxent` quietly, from the moment on when it imports jax."""

import os
import signal
import sys
from typing import NoReturn


def interrupted(signum: int, frame: object) -> NoReturn:
    """Ends at once: an exception could surface inside a callback, as a traceback."""
    os.write(2, b"\ninterrupted\n" if sys.stdout.isatty() else b"interrupted\n")
    os._exit(130)


def is_the_program() -> bool:
    """Whether Python was started as `python -m jxent`, and not by who imports it."""
    words = sys.orig_argv
    return "-m" in words and words[words.index("-m") + 1 :][:1] == ["jxent"]


if is_the_program():
    signal.signal(signal.SIGINT, interrupted)
