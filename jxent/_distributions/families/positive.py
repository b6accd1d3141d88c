"""A positive parameter, known as a number or by its logarithm."""

import dataclasses
import math
from typing import Any, final, TYPE_CHECKING, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ..._core import arithmetic as num
from ..._core.pytrees import pytree
from ..._kernels import ratios
from ..._kernels.ratios import Ratio

# What may be given. In a formula they are arrays, which a type checker cannot know.
if TYPE_CHECKING:
    Numbers: TypeAlias = Any
else:
    Numbers: TypeAlias = Float[ArrayLike, "..."]


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Log:
    """A positive parameter that is known by its logarithm, as `Logits` are to `Probs`.

        Normal(m, Log(x))  is a normal distribution of scale eˣ

    What networks give for a scale or a rate is its logarithm; or the logarithm of a
    variance, which is `Log(0.5 * log_var)`. The digits of a scale near 1 are those of its
    logarithm, and `exp` would round them off.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> q = jxent.Normal(jnp.array([0.0, 0.5]), jxent.Log(jnp.array([0.0, -1e-4])))
      >>> print(jxent.kl_divergence(q, jxent.Normal(0.0, 1.0)))
      [0.    0.125]
    """

    x: Numbers


Number = Array | Log


def value(a: Number) -> Float[Array, "..."]:
    return jnp.exp(a.x) if isinstance(a, Log) else a


def log(a: Number) -> Float[Array, "..."]:
    return a.x if isinstance(a, Log) else num.log(a)


def over(x: Float[Array, "*shape"], a: Number) -> Float[Array, "*shape"]:
    """`x / a`"""
    return x * jnp.exp(-a.x) if isinstance(a, Log) else num.quotient(x, a)


def times(x: Float[Array, "*shape"], a: Number) -> Float[Array, "*shape"]:
    """`x · a`"""
    return x * value(a)


def ratio(a: Number, b: Number) -> Ratio:
    """`a / b`, with the digits that it has."""
    if isinstance(a, Log) and isinstance(b, Log):
        return ratios.of_logs(a.x - b.x)
    if not isinstance(a, Log) and not isinstance(b, Log):
        return ratios.of_numbers(a, b)
    t = log(a) - log(b)
    # The rounding of a logarithm costs more digits than that of the number, where it is
    # more than 1.
    x, y = jax.lax.stop_gradient((value(a), value(b)))
    known = jax.lax.stop_gradient(log(b) if isinstance(a, Log) else log(a))
    small = jnp.abs(known) < 1
    r = jnp.where(small, jnp.exp(t), x / y)
    return Ratio(t, r, jnp.where(small, jnp.expm1(t), (x - y) / y))


LOG_2PI = math.log(2 * math.pi)
