"""One event: its probability, or its logit. No class axis."""

import dataclasses
from typing import final, Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from .. import checks
from .._core import arithmetic as num
from .._core.pytrees import pytree
from .._kernels import softmax as sm
from .._kernels.streamed import Dense, Kind, Source
from .base import as_array, Density, Model


@final
@pytree
@dataclasses.dataclass(frozen=True)
class BinaryProbs(Density):
    """The probability of one event, in [0, 1]. Elementwise: there is no class axis.

    As the truth p of a cross-entropy these are the targets, 0, 1 or anything between.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p = jnp.array([0.0, 0.25, 0.5])
      >>> print(jxent.entropy(jxent.BinaryProbs(p), base=2))
      [0.        0.81127... 1.       ]

    See also: `checks.assert_binary_probs`, which the measures apply.
    """

    p: Float[ArrayLike, "*batch"]

    @property
    def data(self) -> Array:
        x = self.p
        return x if isinstance(x, jax.Array) else as_array(x)

    @property
    def num_classes(self) -> Literal[2]:
        return 2

    @property
    def batch(self) -> tuple[int, ...]:
        return self.data.shape

    def check(self, name: str, caller: str) -> None:
        checks.assert_binary_probs(self.p, name=name, caller=caller)

    def source(self, partner: Model) -> tuple[Kind, Source]:
        return "probs", Dense(self.probs())

    def probs(self) -> Float[Array, "*batch 2"]:
        p = num.at_least_float32(self.data)
        return jnp.stack([1 - p, p], axis=-1)

    def log_probs(self) -> Float[Array, "*batch 2"]:
        p = num.at_least_float32(self.data)
        return jnp.stack([num.log1m(p), num.log(p)], axis=-1)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class BinaryLogits(Density):
    """The logit of one event. Elementwise: there is no class axis.

        p = 1 / (1 + exp(−x)),   x = log(p / (1 − p))

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> x, target = jnp.array([0.0, 3.0, -3.0]), jnp.array([1.0, 1.0, 0.5])
      >>> print(jxent.cross_entropy(jxent.BinaryProbs(target), jxent.BinaryLogits(x)))
      [0.6931472  0.04858735 1.5485873 ]

    See also: `checks.assert_binary_logits`, which the measures apply.
    """

    x: Float[ArrayLike, "*batch"]

    @property
    def data(self) -> Array:
        x = self.x
        return x if isinstance(x, jax.Array) else as_array(x)

    @property
    def num_classes(self) -> Literal[2]:
        return 2

    @property
    def batch(self) -> tuple[int, ...]:
        return self.data.shape

    def check(self, name: str, caller: str) -> None:
        checks.assert_binary_logits(self.x, name=name, caller=caller)

    def two_class(self) -> Float[Array, "*batch 2"]:
        """The logits of the two classes."""
        # The larger one is 0, so that an infinite x is no infinite difference.
        x = self.data
        return jnp.stack([jnp.where(x > 0, -x, 0), jnp.where(x > 0, 0, x)], axis=-1)

    def source(self, partner: Model) -> tuple[Kind, Source]:
        return "logits", Dense(self.two_class())

    def probs(self) -> Float[Array, "*batch 2"]:
        yes, no = num.sigmoids(num.at_least_float32(self.data))
        return jnp.stack([no, yes], axis=-1)

    def log_probs(self) -> Float[Array, "*batch 2"]:
        return sm.log_softmax(num.at_least_float32(self.two_class()))


Binary = (BinaryProbs, BinaryLogits)  # no class axis, two classes: elementwise
