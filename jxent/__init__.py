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
from ._distributions.joint import from_counts as from_counts, Joint as Joint
from ._distributions.projection import LinearLogits as LinearLogits
from ._measures.alpha import (
    alpha_divergence as alpha_divergence,
    chi2_divergence as chi2_divergence,
    squared_hellinger as squared_hellinger,
)
from ._measures.cross_entropy import cross_entropy as cross_entropy
from ._measures.distances import (
    jeffreys_divergence as jeffreys_divergence,
    total_variation as total_variation,
)
from ._measures.divergence import (
    js_divergence as js_divergence,
    kl_divergence as kl_divergence,
)
from ._measures.entropy import entropy as entropy, perplexity as perplexity
from ._measures.joint_entropy import (
    conditional_entropy as conditional_entropy,
    joint_entropy as joint_entropy,
)
from ._measures.mutual_information import (
    mutual_information as mutual_information,
    pointwise_mutual_information as pointwise_mutual_information,
)
from ._measures.renyi import (
    bhattacharyya_distance as bhattacharyya_distance,
    renyi_divergence as renyi_divergence,
)
from ._measures.renyi_entropy import (
    renyi_entropy as renyi_entropy,
    tsallis_entropy as tsallis_entropy,
)
from ._measures.several import (
    interaction_information as interaction_information,
    total_correlation as total_correlation,
    variation_of_information as variation_of_information,
)
from ._transforms.bregman import (
    bregman_divergence as bregman_divergence,
    f_divergence as f_divergence,
)
from ._transforms.chunked import chunked as chunked
from ._transforms.fisher import (
    fisher_vp as fisher_vp,
    gauss_newton_vp as gauss_newton_vp,
)
from .checks import checked as checked

__version__ = "0.1.0"
