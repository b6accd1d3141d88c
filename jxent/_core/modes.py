"""Which values are looked at: a mode for each task, and in the key of JAX's caches."""

import dataclasses
import os
import sys
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import FrameType
from typing import Any

import jax

MODES = ("eager", "checkify", "callback", "off")


def known_mode(value: str) -> str:
    if value in MODES:
        return value
    raise ValueError(f"value checks: {value!r} is none of {', '.join(MODES)}")


# Two places hold the mode. JAX's caches compare this one, which belongs to a thread, and
# staged code obeys it, for it must be what its key says. The blocks below belong to the
# asyncio task that opened them, and eager checks obey those.
_key = jax.make_user_context(known_mode(os.environ.get("JXENT_CHECKS") or "eager"))


@dataclasses.dataclass(eq=False)
class _Block:
    """A `with mode(...)` block that is open."""

    mode: str
    generator: FrameType | None  # that holds it, and may be suspended


_blocks: ContextVar[tuple[_Block, ...]] = ContextVar("jxent_modes", default=())


class mode(AbstractContextManager[None]):
    """A `with` block under another mode; `jxent.checks.mode` documents it."""

    def __init__(self, value: str):
        self.value = known_mode(value)
        self.opened: list[tuple[_Block, Any]] = []

    def __enter__(self) -> None:
        block = _Block(self.value, _generator(sys._getframe(1)))
        key = _key(self.value)
        key.__enter__()
        _blocks.set((*_blocks.get(), block))
        self.opened.append((block, key))

    def __exit__(self, *error: object) -> None:
        block, key = self.opened.pop()
        # Tasks and generators may close their blocks in any order, so each takes out its
        # own and restores nothing.
        _blocks.set(tuple(b for b in _blocks.get() if b is not block))
        key.__exit__(*error)
        _follow(of_values())


def set_mode(value: str) -> None:
    """The mode outside of all blocks, in every thread."""
    _key.set_global(known_mode(value))
    _follow(of_values())


def of_values() -> str:
    """The mode of checks of values that are known now."""
    blocks = _blocks.get()
    if not blocks:
        now = _key.get_global()
    else:
        running = (b.mode for b in reversed(blocks) if _is_running(b.generator))
        now = next(running, _key.get_global())
    _follow(now)
    return now


def of_staged_code() -> str:
    """The mode of checks that are compiled in."""
    return _key.value


def _follow(now: str) -> None:
    """Lets JAX's caches know the mode of this task, where another left its own behind."""
    if _key.value != now:
        _key(now).__enter__()  # for good: the thread's value, whoever set it before


_GENERATOR = 0x20 | 0x200  # `inspect.CO_GENERATOR`, `inspect.CO_ASYNC_GENERATOR`
_MANAGERS = ("contextlib", "_pytest.fixtures")  # they suspend a generator on purpose


def _generator(frame: FrameType) -> FrameType | None:
    """The frame of a generator, unless it stands for a `with` block of its caller."""
    if not frame.f_code.co_flags & _GENERATOR:
        return None
    driver = frame.f_back
    managed = driver and driver.f_globals.get("__name__") in _MANAGERS
    return None if managed else frame


def _is_running(generator: FrameType | None) -> bool:
    frame: FrameType | None = sys._getframe(1)
    while generator is not None and frame is not None:
        if frame is generator:
            return True
        frame = frame.f_back
    return generator is None
