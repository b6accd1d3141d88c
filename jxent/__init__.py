"""Entropy, cross-entropy and KL divergence as pure functions of distributions, for JAX."""

from . import checks, losses
from ._core.means import Mean
from ._distributions.base import Density, Distribution
from ._distributions.binary import BinaryLogits, BinaryProbs
from ._distributions.discrete import Labels, Logits, LogProbs, Probs
from ._distributions.projection import LinearLogits
from ._measures.cross_entropy import cross_entropy
from ._measures.divergence import js_divergence, kl_divergence
from ._measures.entropy import entropy, perplexity
from ._transforms.chunked import chunked
from .checks import checked

__version__ = "0.1.0"

__all__ = [
    "BinaryLogits",
    "BinaryProbs",
    "Density",
    "Distribution",
    "Labels",
    "LinearLogits",
    "LogProbs",
    "Logits",
    "Mean",
    "Probs",
    "checked",
    "checks",
    "chunked",
    "cross_entropy",
    "entropy",
    "js_divergence",
    "kl_divergence",
    "losses",
    "perplexity",
]


def __dir__() -> list[str]:
    return [*__all__, "__doc__", "__version__"]
