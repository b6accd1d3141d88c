"""Distributions of distrax, TensorFlow Probability on JAX, and numpyro, taken as they are.

One table says how each of their classes is read. None of the libraries is imported: a
class is known by the name of its package and its own.
"""

from collections.abc import Callable
from typing import Any

import jax

from .binary import BinaryLogits, BinaryProbs
from .discrete import Logits, Probs
from .families import (
    Beta,
    Dirichlet,
    Exponential,
    Gamma,
    Geometric,
    Laplace,
    Log,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    Uniform,
    VonMises,
)

_Reader = Callable[[Any], Any]


def _with(cls: Callable[..., Any], *names: str) -> _Reader:
    """Reads attributes; an attribute that is None means that the class has another."""

    def read(d):
        values = [getattr(d, name, None) for name in names]
        return None if any(x is None for x in values) else cls(*values)

    return read


def _either(*readers: _Reader) -> _Reader:
    def read(d):
        return next((found for r in readers if (found := r(d)) is not None), None)

    return read


def _factored(d: Any) -> MultivariateNormal | None:
    """Of a covariance given by a linear operator, which knows its dense form."""
    if type(d).__name__ == "MultivariateNormalDiag":
        return MultivariateNormal(d.loc, scale_diag=d.scale.diag_part())
    if type(d.scale).__name__ == "LinearOperatorLowerTriangular":
        return MultivariateNormal(d.loc, scale_tril=d.scale.to_dense())
    return None


def _lower(d: Any) -> MultivariateNormal | None:
    if not getattr(d, "is_lower", True):
        return None
    return MultivariateNormal(d.loc, scale_tril=d.scale_tri)


_log_rates = {
    "Exponential": _with(Exponential, "rate"),
    "Poisson": _either(
        _with(Poisson, "rate"), _with(lambda x: Poisson(Log(x)), "log_rate")
    ),
    "Gamma": _either(
        _with(Gamma, "concentration", "rate"),
        _with(lambda a, x: Gamma(a, Log(x)), "concentration", "log_rate"),
    ),
}
_locations = {
    "Normal": _with(Normal, "loc", "scale"),
    "LogNormal": _with(LogNormal, "loc", "scale"),
    "Laplace": _with(Laplace, "loc", "scale"),
    "Uniform": _with(Uniform, "low", "high"),
    "VonMises": _with(VonMises, "loc", "concentration"),
    "Dirichlet": _with(Dirichlet, "concentration"),
}
_of_logit = lambda x: Geometric(jax.nn.sigmoid(x))
_classes = _either(_with(Logits, "_logits"), _with(Probs, "_probs"))
_event = _either(_with(BinaryLogits, "_logits"), _with(BinaryProbs, "_probs"))
_READERS: dict[str, dict[str, _Reader]] = {
    "distrax": {
        **_locations,
        "Gamma": _log_rates["Gamma"],
        "Beta": _with(Beta, "alpha", "beta"),
        "LogStddevNormal": _with(lambda m, x: Normal(m, Log(x)), "loc", "log_scale"),
        "MultivariateNormalDiag": _with(
            lambda m, s: MultivariateNormal(m, scale_diag=s), "loc", "scale_diag"
        ),
        "MultivariateNormalTri": _lower,
        "MultivariateNormalFullCovariance": _lower,
        "Categorical": _classes,
        "OneHotCategorical": _classes,
        "Bernoulli": _event,
    },
    "tensorflow_probability": {
        **_locations,
        **_log_rates,
        "Beta": _with(Beta, "concentration1", "concentration0"),
        "Geometric": _either(_with(Geometric, "probs"), _with(_of_logit, "logits")),
        "MultivariateNormalDiag": _factored,
        "MultivariateNormalTriL": _factored,
        "MultivariateNormalFullCovariance": _factored,
        "MultivariateNormalLinearOperator": _factored,
        "Categorical": _either(_with(Logits, "logits"), _with(Probs, "probs")),
        "OneHotCategorical": _either(_with(Logits, "logits"), _with(Probs, "probs")),
        "Bernoulli": _either(
            _with(BinaryLogits, "logits"), _with(BinaryProbs, "probs")
        ),
    },
    "numpyro": {
        **_locations,
        **_log_rates,
        "Beta": _with(Beta, "concentration1", "concentration0"),
        "GeometricProbs": _with(Geometric, "probs"),
        "GeometricLogits": _with(_of_logit, "logits"),
        "MultivariateNormal": _with(
            lambda m, L: MultivariateNormal(m, scale_tril=L), "loc", "scale_tril"
        ),
        "CategoricalLogits": _with(Logits, "logits"),
        "CategoricalProbs": _with(Probs, "probs"),
        "BernoulliLogits": _with(BinaryLogits, "logits"),
        "BernoulliProbs": _with(BinaryProbs, "probs"),
    },
}


def adopt(p: Any, *, caller: str, name: str) -> Any:
    """Another library's distribution as one of ours; all else stays as it is."""
    library = type(p).__module__.partition(".")[0]
    readers = _READERS.get(library)
    if readers is None:
        return p
    kind = type(p).__name__
    found = readers[kind](p) if kind in readers else None
    if found is None:
        known = ", ".join(sorted(readers))
        raise TypeError(
            f"{caller}: {name} is {library}'s {kind}, and of {library} these are known: "
            f"{known}. Give its parameters to one of jxent's classes"
        )
    return found
