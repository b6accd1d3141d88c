"""What the measures need to know of a row of logits: sums over its classes."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .. import _numerics as num, _online as online
from .._online import LogSum


class Choice(NamedTuple):
    """A label's logit, and the classes that it is chosen among."""

    at_label: Float[Array, "*batch"]
    rest: LogSum  # of all classes but the label


@dataclasses.dataclass(frozen=True)
class ChoiceOf:
    """The logit of class `rows["label"]`, and the sum of exponentials of all others.

    The two apart, since −log p = log(1 + Σ_{j ≠ y} exp(zⱼ − z_y)) keeps its digits.
    """

    def of_tile(self, tile, logits, rows):
        (z,) = logits
        label = tile.classes(z) == rows["label"][..., None]
        at_label = jnp.sum(jnp.where(label, z, 0), axis=-1)
        return Choice(at_label, online.log_sum(jnp.where(label, -jnp.inf, z)))

    def merge(self, a, b):
        return Choice(a.at_label + b.at_label, online.merge(a.rest, b.rest))

    def across(self, a, axis_name):
        at_label = jax.lax.psum(a.at_label, axis_name)
        return Choice(at_label, online.across(a.rest, axis_name))

    def terms(self, tile, logits, rows, total):
        (z,) = logits
        label = tile.classes(z) == rows["label"][..., None]
        e = jnp.exp(jnp.where(label, -jnp.inf, z) - online.finite(total.rest.top)[..., None])
        return Choice(jnp.where(label, z, 0), LogSum(None, e))
