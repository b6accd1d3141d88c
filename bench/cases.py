"""The one table of cases: which functions are measured, and at which shapes.

A case is a function of `libraries`, whose rows are averaged to a loss. To add one, spell
the function there, say in `arguments` what it is given, and add a row to `CASES`.
"""

import functools
from typing import NamedTuple

import numpy as np

Arrays = tuple[np.ndarray, ...]


class Case(NamedTuple):
    name: str
    function: str  # of `libraries`
    wrt: tuple[int, ...]  # the arguments that it is differentiated by
    peers: tuple[str, ...]  # whose time and memory are set beside jxent's


CASES = (
    Case("labels", "labels", (1,), ("optax", "torch")),
    Case("soft targets", "soft", (1,), ("optax", "jax")),
    Case("binary", "binary", (1,), ("optax", "jax")),
    Case("entropy, logits", "entropy_logits", (0,), ("distrax", "jax")),
    Case("entropy, probs", "entropy_probs", (0,), ("jax",)),
    Case("kl, logits, student", "kl_logits", (1,), ("optax", "jax")),
    Case("kl, logits, both", "kl_logits", (0, 1), ("optax", "jax")),
    Case("kl, probs", "kl_probs", (0, 1), ("optax", "jax")),
    Case("js, probs", "js_probs", (0, 1), ("jax",)),
)

# All arguments that a function is ever differentiated by: the last row has them.
WRT = {case.function: case.wrt for case in CASES} | {"js_logits": (0, 1)}


class Shape(NamedTuple):
    """As many rows as keep the array in memory; the classes of a well-known model."""

    model: str
    rows: int
    classes: int

    def __str__(self) -> str:
        return f"{self.model} {self.rows}×{self.classes}"


SHAPES = (
    Shape("digits", 1797, 10),
    Shape("ImageNet", 4096, 1000),
    Shape("Mistral 7B", 1024, 32768),
    Shape("GPT-2", 512, 50257),
    Shape("Llama 3", 256, 128256),
    Shape("Mistral NeMo", 256, 131072),
    Shape("Gemma 2", 128, 256000),
)
DTYPES = ("float32", "bfloat16")


class Selection(NamedTuple):
    """What a run is to measure: all cases whose titles have all these words in them."""

    only: tuple[str, ...] = ()
    quick: bool = False

    def has(self, title: str) -> bool:
        return all(words in title for words in self.only)


@functools.lru_cache(maxsize=1)
def _normals(rows: int, classes: int, dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (2 * rng.standard_normal((2, rows, classes), np.float32)).astype(dtype)


def arguments(function: str, rows: int, classes: int, dtype: str) -> Arrays:
    """What a model that is being trained would give the function."""
    a, b = _normals(rows, classes, dtype)
    rng = np.random.default_rng(1)
    match function:
        case "labels":
            return rng.integers(classes, size=rows, dtype=np.int32), a
        case "soft":
            return softmax(b), a
        case "binary":
            return rng.random(a.shape, np.float32).astype(dtype), a
        case "entropy_logits":
            return (a,)
        case "entropy_probs":
            return (softmax(a),)
        case "kl_logits":
            return a, b
        case "kl_probs" | "js_probs":
            return softmax(a), softmax(b)
    raise ValueError(f"{function} has no arguments")


def softmax(z: np.ndarray) -> np.ndarray:
    """Computed in float64, and rounded to the dtype of `z`."""
    wide = z.astype(np.float64)
    e = np.exp(wide - wide.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype(z.dtype)
