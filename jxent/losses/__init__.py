"""Losses on plain arrays, in optax's names and argument order: predictions first.

`from jxent import losses` takes the place of `from optax import losses`. Each loss is a few
lines on top of a measure, in which the truth comes first.
"""

from ._contrastive import (
    contrastive_loss as contrastive_loss,
    sigmoid_contrastive_loss as sigmoid_contrastive_loss,
)
from ._distill import (
    Distillation as Distillation,
    distillation_loss as distillation_loss,
)
from ._kl import (
    generalized_kl_divergence as generalized_kl_divergence,
    kl_divergence as kl_divergence,
    kl_divergence_with_log_targets as kl_divergence_with_log_targets,
)
from ._linear import linear_softmax_cross_entropy as linear_softmax_cross_entropy
from ._policy import (
    kl_from_samples as kl_from_samples,
    log_prob_and_entropy as log_prob_and_entropy,
)
from ._sigmoid import (
    sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy,
    sigmoid_focal_loss as sigmoid_focal_loss,
)
from ._softmax import (
    safe_softmax_cross_entropy as safe_softmax_cross_entropy,
    smooth_labels as smooth_labels,
    softmax_cross_entropy as softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,
)
from ._sparse import (
    entmax15 as entmax15,
    make_fenchel_young_loss as make_fenchel_young_loss,
    multiclass_entmax15_loss as multiclass_entmax15_loss,
    multiclass_sparsemax_loss as multiclass_sparsemax_loss,
    sparsemax as sparsemax,
    sparsemax_loss as sparsemax_loss,
)
from ._surprise import (
    generalized_cross_entropy as generalized_cross_entropy,
    poly_loss_cross_entropy as poly_loss_cross_entropy,
    softmax_focal_loss as softmax_focal_loss,
)
