"""The text: where it comes from, what is refused, what is held out."""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

SHORTEST, LONGEST = 1_000, 2_000_000  # bytes
CONTROL = bytes({*range(32), 127} - set(b"\b\t\n\v\f\r\x1b"))


class BadInput(Exception):
    """What the user gave cannot be used; the message is one line that says why."""


class Text(NamedTuple):
    """One run of bytes, of which the last tenth is held out."""

    name: str
    train: UInt8[np.ndarray, " n"]
    held_out: UInt8[np.ndarray, " m"]

    @classmethod
    def split(cls, name: str, raw: bytes) -> "Text":
        """Training text first, held-out text last."""
        data, cut = np.frombuffer(raw, np.uint8), len(raw) - len(raw) // 10
        return cls(name, data[:cut], data[cut:])


def python_topics() -> Text:
    """The documentation inside every CPython, each paragraph once.

    The topics quote each other at length. Without the repetitions, no paragraph that is
    held out is in the training text too.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise BadInput("this Python has no pydoc_data: give --text FILE") from None
    paragraphs: dict[str, str] = {}
    for _, topic in sorted(topics.items()):
        for paragraph in topic.split("\n\n"):
            paragraphs.setdefault(" ".join(paragraph.split()), paragraph)
    raw = "\n\n".join(paragraphs.values()).encode()
    return Text.split("pydoc_data.topics, each paragraph once", raw)


def read(path: str) -> Text:
    """The user's own text; of a long file, the first `LONGEST` bytes.

    Text is any file without NUL bytes and with at most 1 % of control characters
    (backspace, tab, line ends and escape are none). So every language passes, in UTF-8
    or an 8-bit encoding such as Latin-1; archives, images and UTF-16 do not.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(LONGEST)
    except OSError as error:
        raise BadInput(f"cannot read {path!r}: {error.strerror}") from None
    control = len(raw) - len(raw.translate(None, CONTROL))
    if not raw:
        raise BadInput(f"{path!r} is empty")
    if 0 in raw or control > len(raw) / 100:
        raise BadInput(f"{path!r} is not text: it has NUL bytes or control characters")
    if len(raw) < SHORTEST:
        raise BadInput(
            f"{path!r} is too short: {len(raw)} bytes, at least {SHORTEST} needed"
        )
    return Text.split(repr(path), raw)
