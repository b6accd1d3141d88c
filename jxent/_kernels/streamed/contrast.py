"""Whether each of two things belongs to the other, over all pairs of a row."""

import dataclasses

import jax.numpy as jnp

from ..._core import arithmetic as num
from .statistics import Sum


@dataclasses.dataclass(frozen=True)
class BelongingOf(Sum):
    """`log(1 + exp(−z))` of class `rows["label"]`, and `log(1 + exp(z))` of the others.

    Of logits z that have `rows["bias"]` added.
    """

    def terms(self, tile, logits, rows, total):
        z = logits[0] + rows["bias"][..., None]
        match = tile.classes(z) == rows["label"][..., None]
        return num.softplus(jnp.where(match, -z, z))
