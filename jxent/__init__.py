"""Entropy, cross-entropy and KL divergence as pure functions of distributions, for JAX.

Distributions, which say what numbers mean:

    classes     Probs, LogProbs, Logits, Labels, LinearLogits, from_counts
    events      BinaryProbs, BinaryLogits
    variables   Joint
    numbers     Normal, LogNormal, MultivariateNormal, Laplace, Exponential, Gamma, Beta,
                Dirichlet, Poisson, Geometric, Uniform, VonMises; Log, Observed

Measures, the truth first:

    entropy     entropy, perplexity, renyi_entropy, tsallis_entropy
    divergence  cross_entropy, kl_divergence, js_divergence, jeffreys_divergence,
                renyi_divergence, alpha_divergence, chi2_divergence, squared_hellinger,
                bhattacharyya_distance, total_variation, f_divergence, bregman_divergence
    dependence  mutual_information, pointwise_mutual_information, joint_entropy,
                conditional_entropy, total_correlation, interaction_information,
                variation_of_information

Training:

    losses      losses in optax's names, predictions first
    means       Mean, which merges; chunked, for a large vocabulary
    curvature   fisher_vp, gauss_newton_vp
    checks      checks, checked
"""

from . import checks, losses
from ._core.means import Mean
from ._distributions.base import Density, Distribution
from ._distributions.binary import BinaryLogits, BinaryProbs
from ._distributions.discrete import Labels, Logits, LogProbs, Probs
from ._distributions.families import (
    Beta,
    Dirichlet,
    Exponential,
    Family,
    Gamma,
    Geometric,
    Laplace,
    Log,
    LogNormal,
    MultivariateNormal,
    Normal,
    Observed,
    Poisson,
    Uniform,
    VonMises,
)
from ._distributions.joint import from_counts, Joint
from ._distributions.projection import LinearLogits
from ._measures.alpha import alpha_divergence, chi2_divergence, squared_hellinger
from ._measures.cross_entropy import cross_entropy
from ._measures.distances import jeffreys_divergence, total_variation
from ._measures.divergence import js_divergence, kl_divergence
from ._measures.entropy import entropy, perplexity
from ._measures.joint_entropy import conditional_entropy, joint_entropy
from ._measures.mutual_information import (
    mutual_information,
    pointwise_mutual_information,
)
from ._measures.renyi import bhattacharyya_distance, renyi_divergence
from ._measures.renyi_entropy import renyi_entropy, tsallis_entropy
from ._measures.several import (
    interaction_information,
    total_correlation,
    variation_of_information,
)
from ._transforms.bregman import bregman_divergence, f_divergence
from ._transforms.chunked import chunked
from ._transforms.fisher import fisher_vp, gauss_newton_vp
from .checks import checked

__version__ = "0.2.0"

__all__ = [
    "Beta",
    "BinaryLogits",
    "BinaryProbs",
    "Density",
    "Dirichlet",
    "Distribution",
    "Exponential",
    "Family",
    "Gamma",
    "Geometric",
    "Joint",
    "Labels",
    "Laplace",
    "LinearLogits",
    "Log",
    "LogNormal",
    "LogProbs",
    "Logits",
    "Mean",
    "MultivariateNormal",
    "Normal",
    "Observed",
    "Poisson",
    "Probs",
    "Uniform",
    "VonMises",
    "alpha_divergence",
    "bhattacharyya_distance",
    "bregman_divergence",
    "checked",
    "checks",
    "chi2_divergence",
    "chunked",
    "conditional_entropy",
    "cross_entropy",
    "entropy",
    "f_divergence",
    "fisher_vp",
    "from_counts",
    "gauss_newton_vp",
    "interaction_information",
    "jeffreys_divergence",
    "joint_entropy",
    "js_divergence",
    "kl_divergence",
    "losses",
    "mutual_information",
    "perplexity",
    "pointwise_mutual_information",
    "renyi_divergence",
    "renyi_entropy",
    "squared_hellinger",
    "total_correlation",
    "total_variation",
    "tsallis_entropy",
    "variation_of_information",
]


def __dir__() -> list[str]:
    return [*__all__, "__doc__", "__version__"]
