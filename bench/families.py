"""Families of distributions over numbers, and the relatives of KL, beside their peers."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jxent

from . import accuracy, plot, report
from .accuracy import QUANTITIES, readable
from .cases import Arrays, Selection
from .definitions import DEFINITIONS
from .libraries import Spelling, Spellings
from .report import Result

HELP = "worst errors on continuous families and counts, and of KL's relatives"
RELATIVES = ("Jeffreys", "Hellinger²", "χ²", "total variation")
FAMILIES = ("Normal", "Laplace", "Exponential", "Gamma", "Beta", "Poisson", "VonMises")
LOCATED = ("Normal", "Laplace", "VonMises")
LARGE = (1e4, 1e6)  # concentrations, or counts
REGIMES: dict[str, tuple[tuple[float, float], float]] = {
    "far": ((0.1, 10), 1.0),  # sizes between, and how far q is from p
    "near": ((0.1, 10), 1e-3),
    "large": (LARGE, 1e-3),
}


def run(selection: Selection) -> Result:
    """Measures every function of `DEFINITIONS` in every regime that it has."""
    spelled, records = _spellings(), []
    for title, name, arrays in _cases(8 if selection.quick else 32):
        if selection.has(title):
            report.progress(title)
            batches = [accuracy.Batch(name, arrays, False)]
            records += accuracy.measure(title, batches, spelled)
    found = Result.now("families", records)
    return replace(found, versions=found.versions | _version_of_tfp())


def _cases(rows: int) -> Iterator[tuple[str, str, Arrays]]:
    for seed, name in enumerate(DEFINITIONS):
        for regime, (sizes, distance) in REGIMES.items():
            rng = np.random.default_rng(seed)
            what, _, family = name.partition(", ")
            arrays = None
            if name in RELATIVES and regime != "large":
                a, noise = rng.normal(size=(2, max(1, rows // 4), 10))
                arrays = a, a + distance * noise
            elif family and (what == "KL" or regime != "near"):
                arrays = _drawn(rng, what, family, sizes, distance, rows)
            if arrays is not None:
                yield f"{name}: {regime}", name, tuple(x.astype("f4") for x in arrays)


def _drawn(rng, what, family, sizes, distance, rows) -> list[np.ndarray]:
    """Parameters of p, and for KL of a q at some distance; for NLL an outcome first."""
    count = 1 if family in ("Exponential", "Poisson") else 2
    p = [np.exp(rng.uniform(*np.log(sizes), rows)) for _ in range(count)]
    if family in LOCATED:
        p[0] = rng.normal(size=rows) * (1 if family == "VonMises" else p[1])
    if what == "entropy":
        return p
    if what == "NLL":
        counts = lambda rate: np.maximum(rng.poisson(rate), 1)  # 0 has no curvature
        draw = {"Normal": rng.normal, "Gamma": rng.gamma, "Poisson": counts}
        scaled = [*p[:1], 1 / p[1]] if family == "Gamma" else p
        return [draw[family](*scaled), *p]
    noise = distance * rng.normal(size=(count, rows))
    q = [x * np.exp(step) for x, step in zip(p, noise, strict=True)]
    if family in LOCATED:
        q[0] = p[0] + noise[0] * (1 if family == "VonMises" else p[1])
    return [*p, *q]


# ------------------------------------------------------------------- spellings


def _of_classes(
    where: Any,
    kl: Callable,
    entropy: Callable,
    nll: Callable,
) -> Spellings:
    """What a library has of its classes; it says itself what it lacks."""

    def spelled(name: str) -> Spelling:
        what, _, family = name.partition(", ")
        cls = getattr(where, family)

        def kl_of(*args):
            half = len(args) // 2
            return kl(cls(*args[:half]), cls(*args[half:]))

        calls = {
            "KL": kl_of,
            "entropy": lambda *args: entropy(cls(*args)),
            "NLL": lambda x, *args: nll(cls(*args), x),
        }
        return Spelling(calls[what])

    return {n: spelled(n) for n in DEFINITIONS if ", " in n}


def _jxent() -> Spellings:
    nll = lambda q, x: jxent.cross_entropy(jxent.Observed(x), q)
    families = _of_classes(jxent, jxent.kl_divergence, jxent.entropy, nll)
    of = lambda f: Spelling(lambda a, b: f(jxent.Logits(a), jxent.Logits(b)))
    relatives = (
        jxent.jeffreys_divergence,
        jxent.squared_hellinger,
        jxent.chi2_divergence,
        jxent.total_variation,
    )
    return families | dict(zip(RELATIVES, map(of, relatives), strict=True))


_entropy = lambda p: p.entropy()
_nll = lambda q, x: -q.log_prob(x)


def _tfp() -> Spellings:
    from tensorflow_probability.substrates import jax as tfp

    families = _of_classes(
        tfp.distributions, lambda p, q: p.kl_divergence(q), _entropy, _nll
    )

    def csiszar(f, weight=1.0):  # D = E_q f(log p/q)
        def divergence(a, b):
            log_p, log_q = jax.nn.log_softmax(a), jax.nn.log_softmax(b)
            return weight * jnp.sum(jnp.exp(log_q) * f(log_p - log_q), axis=-1)

        return Spelling(divergence)

    vi = tfp.vi
    return families | {
        "Jeffreys": csiszar(vi.jeffreys, 2.0),
        "Hellinger²": csiszar(vi.squared_hellinger, 0.5),
        "χ²": csiszar(vi.pearson),
        "total variation": csiszar(vi.total_variation),
    }


def _numpyro() -> Spellings:
    from numpyro import distributions as d

    return _of_classes(d, d.kl_divergence, _entropy, _nll)


def _torch() -> Spellings:
    from torch import distributions as d

    return _of_classes(d, d.kl_divergence, _entropy, _nll)


def _jax() -> Spellings:
    """What one writes with jax.nn and jax.scipy alone."""
    from jax.scipy import stats

    def of(f):
        def divergence(a, b):
            p, q = jax.nn.softmax(a), jax.nn.softmax(b)
            return jnp.sum(f(p, q), axis=-1)

        return Spelling(divergence)

    def kl_normal(m, s, n, t):
        return jnp.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - 0.5

    return {
        "KL, Normal": Spelling(kl_normal),
        "KL, Exponential": Spelling(lambda a, b: jnp.log(a / b) + b / a - 1),
        "KL, Poisson": Spelling(lambda a, b: a * jnp.log(a / b) - a + b),
        "NLL, Normal": Spelling(lambda x, m, s: -stats.norm.logpdf(x, m, s)),
        "NLL, Gamma": Spelling(lambda x, a, b: -stats.gamma.logpdf(x, a, scale=1 / b)),
        "NLL, Poisson": Spelling(lambda k, r: -stats.poisson.logpmf(k, r)),
        "Jeffreys": of(lambda p, q: (p - q) * jnp.log(p / q)),
        "Hellinger²": of(lambda p, q: (jnp.sqrt(p) - jnp.sqrt(q)) ** 2 / 2),
        "χ²": of(lambda p, q: (p - q) ** 2 / q),
        "total variation": of(lambda p, q: jnp.abs(p - q) / 2),
    }


def _scipy() -> Spellings:
    from scipy import special, stats
    from scipy.spatial.distance import cityblock

    softmax = functools.partial(special.softmax, axis=-1)
    kl = lambda p, q: special.rel_entr(p, q).sum(-1)

    def jeffreys(a, b):
        p, q = softmax(a), softmax(b)
        return kl(p, q) + kl(q, p)

    def total_variation(a, b):
        rows = zip(softmax(a), softmax(b), strict=True)
        return np.array([cityblock(p, q) / 2 for p, q in rows])

    return {
        "entropy, Gamma": Spelling(lambda a, b: stats.gamma.entropy(a, scale=1 / b)),
        "entropy, Beta": Spelling(stats.beta.entropy),
        "entropy, VonMises": Spelling(lambda m, k: stats.vonmises.entropy(k, m)),
        "NLL, Normal": Spelling(lambda x, m, s: -stats.norm.logpdf(x, m, s)),
        "NLL, Gamma": Spelling(lambda x, a, b: -stats.gamma.logpdf(x, a, scale=1 / b)),
        "NLL, Poisson": Spelling(lambda k, r: -stats.poisson.logpmf(k, r)),
        "Jeffreys": Spelling(jeffreys),
        "total variation": Spelling(total_variation),
    }


_LIBRARIES = {
    "jxent": _jxent,
    "tfp": _tfp,
    "numpyro": _numpyro,
    "jax": _jax,
    "torch": _torch,
    "scipy": _scipy,
}


@functools.cache
def _spellings() -> dict[str, Spellings]:
    found = {}
    for name, load in _LIBRARIES.items():
        try:
            found[name] = load()
        except ImportError:
            continue
    return found


def _version_of_tfp() -> dict[str, str]:
    if "tfp" not in _spellings():
        return {}
    import tensorflow_probability

    return {"tfp": tensorflow_probability.__version__}


# ------------------------------------------------------------------- the page


def details(result: Result) -> str:
    columns = [n for n in _LIBRARIES if any(r.subject == n for r in result.records)]
    cells = []
    for title in dict.fromkeys(record.case for record in result.records):
        worst = (_worst(result, title, column) for column in columns)
        cells.append([title, *(" · ".join(map(readable, w)) or "–" for w in worst)])
    return (
        "Worst relative error against mpmath; 1 ulp = 2⁻²³, float32's epsilon. Each cell "
        "is the worst row's value · gradient · Hessian-vector product; the slopes by each "
        "parameter count by themselves. *far* and *near*: parameters from 0.1 to 10, and q "
        "a factor of about e¹ or e^0.001 from p. *large*: from 1e4 to 1e6, q near p. tfp "
        "is TensorFlow Probability on JAX; jax is what one writes with `jax.nn` and "
        "`jax.scipy`. A dash: the library has no such function.\n\n"
        + report.table(["inputs", *columns], cells)
    )


summary = details


def _worst(result: Result, title: str, library: str) -> list[float]:
    found = (result.find(title, library, quantity) for quantity in QUANTITIES)
    return [record.high for record in found if record]


def draw(result: Result) -> plot.Figure:
    titles = dict.fromkeys(record.case for record in result.records)
    panels = {
        quantity: {
            title: {
                name: np.clip(record.high, 0.1, 1e8)
                for name in _LIBRARIES
                if (record := result.find(title, name, quantity))
            }
            for title in titles
        }
        for quantity in QUANTITIES
    }
    return plot.dots(panels, "worst error, ulp; NaN is last")
