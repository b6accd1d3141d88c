"""Entropy, cross-entropy and KL divergence as pure functions of distributions, for JAX."""

from . import checks as checks, losses as losses
from ._core.means import Mean as Mean
from ._distributions.binary import (
    BinaryLogits as BinaryLogits,
    BinaryProbs as BinaryProbs,
)
from ._distributions.discrete import (
    Labels as Labels,
    Logits as Logits,
    LogProbs as LogProbs,
    Probs as Probs,
)
from ._distributions.projection import LinearLogits as LinearLogits
from ._measures.cross_entropy import cross_entropy as cross_entropy
from ._measures.divergence import (
    js_divergence as js_divergence,
    kl_divergence as kl_divergence,
)
from ._measures.entropy import entropy as entropy, perplexity as perplexity
from ._transforms.chunked import chunked as chunked
from .checks import checked as checked

__version__ = "0.1.0"
