"""Losses on plain arrays, in optax's names and argument order: predictions first.

Optax's losses of probabilities are here, under optax's names. Nineteen names of
`optax.losses` are not: those for regression, ranking, hinge, CTC, overlap, and for
embeddings. Each loss is a few lines on top of a measure, in which the truth comes first.
"""

from ._contrastive import (
    contrastive_loss,
    sigmoid_contrastive_loss,
)
from ._distill import (
    Distillation,
    distillation_loss,
)
from ._kl import (
    generalized_kl_divergence,
    kl_divergence,
    kl_divergence_with_log_targets,
)
from ._linear import linear_softmax_cross_entropy
from ._nll import (
    gamma_nll_loss,
    gaussian_nll_loss,
    poisson_nll_loss,
)
from ._policy import (
    kl_from_samples,
    log_prob_and_entropy,
)
from ._sigmoid import (
    sigmoid_binary_cross_entropy,
    sigmoid_focal_loss,
)
from ._softmax import (
    safe_softmax_cross_entropy,
    smooth_labels,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)
from ._sparse import (
    entmax15,
    make_fenchel_young_loss,
    multiclass_entmax15_loss,
    multiclass_sparsemax_loss,
    sparsemax,
    sparsemax_loss,
)
from ._surprise import (
    generalized_cross_entropy,
    poly_loss_cross_entropy,
    softmax_focal_loss,
)

__all__ = [
    "Distillation",
    "contrastive_loss",
    "distillation_loss",
    "entmax15",
    "gamma_nll_loss",
    "gaussian_nll_loss",
    "generalized_cross_entropy",
    "generalized_kl_divergence",
    "kl_divergence",
    "kl_divergence_with_log_targets",
    "kl_from_samples",
    "linear_softmax_cross_entropy",
    "log_prob_and_entropy",
    "make_fenchel_young_loss",
    "multiclass_entmax15_loss",
    "multiclass_sparsemax_loss",
    "poisson_nll_loss",
    "poly_loss_cross_entropy",
    "safe_softmax_cross_entropy",
    "sigmoid_binary_cross_entropy",
    "sigmoid_contrastive_loss",
    "sigmoid_focal_loss",
    "smooth_labels",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
    "softmax_focal_loss",
    "sparsemax",
    "sparsemax_loss",
]


def __dir__() -> list[str]:
    return [*__all__, "__doc__"]
