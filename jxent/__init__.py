"""Entropy, cross-entropy and KL divergence as pure functions of distributions, for JAX."""

from . import _interrupt as _interrupt, checks as checks, losses as losses
from ._chunked import chunked as chunked
from ._cross_entropy import cross_entropy as cross_entropy
from ._distributions import (
    BinaryLogits as BinaryLogits,
    BinaryProbs as BinaryProbs,
    Labels as Labels,
    Logits as Logits,
    LogProbs as LogProbs,
    Probs as Probs,
)
from ._divergence import (
    js_divergence as js_divergence,
    kl_divergence as kl_divergence,
)
from ._entropy import entropy as entropy, perplexity as perplexity
from ._linear_logits import LinearLogits as LinearLogits
from ._reduce import Mean as Mean
from .checks import checked as checked

__version__ = "0.1.0"
