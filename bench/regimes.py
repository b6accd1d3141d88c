"""The inputs of the accuracy benchmark: every regime that a loss meets, or fails in."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.random import Generator

from .cases import Arrays, softmax, WRT

FUNCTIONS = tuple(WRT)
FROM_LOGITS = ("labels", "soft", "entropy_logits", "kl_logits")
FROM_PROBS = ("entropy_probs", "kl_probs", "js_probs")
DIVERGENCES = ("kl_logits", "kl_probs", "js_probs", "js_logits")
OF_PAIRS = ("kl_logits", "js_logits")
OF_LOGITS = (*FROM_LOGITS, "js_logits")


class Sample(NamedTuple):
    """Rows that all functions can be given."""

    a: np.ndarray  # logits [n, k]
    b: np.ndarray  # logits [n, k]
    y: np.ndarray  # labels [n]
    t: np.ndarray  # soft targets [n, k]
    event: np.ndarray  # [n], 0 or 1
    x: np.ndarray  # its logits [n]

    def arguments(self, function: str, as_logits: bool = False) -> Arrays:
        """What the function is given, or logits in the place of its probabilities."""
        p, q = (self.a, self.b) if as_logits else map(softmax, (self.a, self.b))
        return {
            "labels": (self.y, self.a),
            "soft": (self.t, self.a),
            "binary": (self.event, self.x),
            "entropy_logits": (self.a,),
            "entropy_probs": (p,),
            "kl_logits": (self.a, self.b),
            "kl_probs": (p, q),
            "js_probs": (p, q),
            "js_logits": (self.a, self.b),
        }[function]


class Regime(NamedTuple):
    name: str
    samples: Callable[[Generator, int], Iterator[Sample]]
    functions: tuple[str, ...] = FUNCTIONS
    # Where a probability is 0, its derivative may be infinite. What counts there are the
    # derivatives by the logits.
    through_softmax: bool = False
    # jxent gets the logits as a projection by the identity, in tiles; others as they are.
    streamed: bool = False
    group: str = ""  # the summary's row, where several regimes share one

    @property
    def row(self) -> str:
        return self.group or self.name


def _sample(rng: Generator, a, b, *, y=None, t=None, event=None, x=None, dtype="f4"):
    """Fills in what is not given, and rounds all of it to `dtype`."""
    n, k = a.shape
    y = rng.integers(k, size=n) if y is None else y
    t = softmax(rng.normal(size=(n, k))) if t is None else t
    event = rng.integers(2, size=n) if event is None else event
    x = rng.normal(scale=4, size=n) if x is None else x
    floats = (array.astype(dtype) for array in (a, b, t, event, x))
    a, b, t, event, x = floats
    return Sample(a, b, y.astype(np.int32), t, event, x)


def _random(dtype: Any = "f4"):
    def samples(rng, rows):
        for n, k in ((rows, 10), (max(1, rows // 16), 1000)):
            a, b = rng.normal(scale=3, size=(2, n, k))
            yield _sample(rng, a, b, dtype=dtype)

    return samples


def _near_equal(kl: float):
    # KL of logits that differ by noise of variance s is about s/2 · (1 − Σp²).
    def samples(rng, rows):
        for n, k in ((rows, 10), (max(1, rows // 16), 1000)):
            a = rng.normal(size=(n, k))
            yield _sample(rng, a, a + rng.normal(scale=np.sqrt(2 * kl), size=(n, k)))

    return samples


def _confident(margin: float):
    # The label is right, the targets are one-hot or nearly, and both models agree.
    def samples(rng, rows):
        a, b = rng.normal(size=(2, rows, 10))
        y = rng.integers(10, size=rows)
        at_y = np.arange(10) == y[:, None]
        for z in (a, b):
            rival = np.where(at_y, -np.inf, z).max(-1, keepdims=True)
            z[...] = np.where(at_y, rival + margin, z)
        one_hot = np.arange(rows)[:, None] % 2 == 0
        t = np.where(one_hot, at_y, softmax(b))
        event = rng.integers(2, size=rows)
        x = np.where(event == 1, margin, -margin) + rng.normal(scale=0.1, size=rows)
        yield _sample(rng, a, b, y=y, t=t, event=event, x=x)

    return samples


def _offset(size: float):
    def samples(rng, rows):
        a, b = rng.normal(scale=3, size=(2, rows, 10))
        yield _sample(rng, a + size, b - size)

    return samples


def _zeros(rng, rows):
    # Two classes are impossible after softmax in float32, one of them in p alone, and
    # the targets of both are 0. An event's logit is 0, which is a kink of |x|.
    a, b = rng.normal(size=(2, rows, 10))
    a[:, :2], b[:, :1] = -200, -200
    t = softmax(rng.normal(size=(rows, 10)))
    t[:, :2] = 0
    yield _sample(rng, a, b, t=t, x=np.zeros(rows))


def _masked(by: float):
    def samples(rng, rows):
        a, b = rng.normal(scale=3, size=(2, rows, 10))
        t = softmax(rng.normal(size=(rows, 10)))
        for x, impossible in ((a, by), (b, by), (t, 0)):
            x[:, :3] = impossible
        yield _sample(rng, a, b, y=rng.integers(3, 10, size=rows), t=t)

    return samples


def _far_apart(gap: float):
    # What one of the two takes for likely is that far behind in the other.
    def samples(rng, rows):
        a, b = rng.normal(size=(2, rows, 10))
        a[:, 0] -= gap
        b[:, 1] -= gap
        yield _sample(rng, a, b, y=np.arange(rows) % 2)

    return samples


def _disjoint(rng, rows):
    # Each is sure of a class of its own: JS is log 2 but for the last digits.
    a, b = rng.normal(size=(2, rows, 10))
    margins = rng.uniform(10, 40, size=(2, rows))
    for z, y, margin in ((a, 0, margins[0]), (b, 1, margins[1])):
        z[:, y] = z.max(-1) + margin
    yield _sample(rng, a, b)


def _many_classes(rng, rows):
    # A million classes of a thousand kinds, of which the truth has to know no more.
    kinds, k = 1024, 10**6
    kind_of = rng.integers(kinds, size=k)
    a, b = rng.normal(scale=2, size=(2, 1, kinds))[..., kind_of]
    t = softmax(rng.normal(size=(1, kinds))[..., kind_of])
    yield _sample(rng, a, b, t=t)


_FINITE = "masked, −1e9 or finfo.min"
_FAR = "far apart, gaps 1e2 to 1e9"
_SURE = "streamed, margins 20 and 40"
_ALIKE = "streamed, KL ≈ 1e-6 and 1e-12"
REGIMES = (
    Regime("random", _random()),
    Regime("near-equal, KL ≈ 1e-6", _near_equal(1e-6), DIVERGENCES),
    Regime("near-equal, KL ≈ 1e-12", _near_equal(1e-12), DIVERGENCES),
    Regime("confident, margin 10", _confident(10)),
    Regime("confident, margin 20", _confident(20)),
    Regime("confident, margin 40", _confident(40)),
    Regime("offset 1e4", _offset(1e4), FROM_LOGITS),
    Regime("offset 1e6", _offset(1e6), FROM_LOGITS),
    Regime("zeros", _zeros, ("soft", "binary", *FROM_PROBS), through_softmax=True),
    Regime("masked, −inf logits", _masked(-np.inf), FROM_LOGITS),
    Regime("bfloat16", _random(jnp.bfloat16)),
    # A thousand probabilities and what is divided by them are out of its range.
    Regime("float16", _random(np.float16), (*FROM_LOGITS, "binary")),
    Regime("a million classes", _many_classes, FROM_LOGITS + FROM_PROBS),
    *(
        Regime(f"masked, {name} logits", _masked(by), OF_LOGITS, group=_FINITE)
        for name, by in (("−1e9", -1e9), ("least float32", float(np.finfo("f4").min)))
    ),
    *(
        Regime(f"far apart, gap {name}", _far_apart(gap), OF_LOGITS, group=_FAR)
        for name, gap in (("1e2", 1e2), ("1e4", 1e4), ("1e9", 1e9))
    ),
    Regime("disjoint, JS ≈ log 2", _disjoint, ("js_logits", "js_probs")),
    *(
        Regime(f"streamed, margin {m}", _confident(m), OF_LOGITS, False, True, _SURE)
        for m in (20, 40)
    ),
    *(
        Regime(
            f"streamed, KL ≈ {kl}",
            _near_equal(float(kl)),
            OF_PAIRS,
            False,
            True,
            _ALIKE,
        )
        for kl in ("1e-6", "1e-12")
    ),
)
