"""`Joint`: the distribution of several variables at once, and tables of counts."""

import dataclasses
import math
from typing import final, Literal, overload

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from .._core import arithmetic as num
from .._core.domains import NOT_NEGATIVE
from .._core.pytrees import pytree, static
from .._core.shapes import check_real, is_float
from .._core.verdicts import Claim, demand, look
from .base import as_array
from .discrete import Logits, LogProbs, Probs


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Joint:
    """The joint distribution of several variables: the last axes are theirs.

        p(x₀, x₁, …),   Σ p = 1 over all of the variables' axes

    What comes before is the batch. The measures that take it name variables by their
    index, 0 for the first of their axes, or by a tuple of indices for several together.

    Args:
      p: The table: a float array of probabilities, or `Probs`, `LogProbs` or `Logits` of
        one. Near independence, logits keep digits that probabilities no longer have.
      variables: How many of the last axes are variables.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> rain_and_clouds = jxent.Joint(jnp.array([[0.5, 0.0], [0.25, 0.25]]))
      >>> print(jxent.joint_entropy(rain_and_clouds, base=2))
      1.5
      >>> print(jxent.conditional_entropy(rain_and_clouds, of=1, given=0, base=2))
      0.5

    See also: `from_counts`, for a table of counts.
    """

    p: Float[ArrayLike, "*batch_and_variables"] | Probs | LogProbs | Logits
    variables: int = static(2)

    @property
    def table(self) -> Probs | LogProbs | Logits:
        """The table, as what it means."""
        if isinstance(self.p, Probs | LogProbs | Logits):
            return self.p
        return Probs(as_array(self.p))

    @property
    def data(self) -> Array:
        return self.table.data

    @property
    def flat(self) -> Probs | LogProbs | Logits:
        """All variables as one: a distribution over the cells of the table."""
        cells = math.prod(self.data.shape[-self.variables :])
        return type(self.table)(self.data.reshape(*self.batch, cells))

    @property
    def batch(self) -> tuple[int, ...]:
        return self.data.shape[: -self.variables]

    def check(self, name: str, caller: str) -> None:
        """Raises if this is not a joint distribution; the values as the mode says."""
        _check_variables(self.variables, self.data.shape, name, caller)
        if self.table.axis_name is not None:
            raise TypeError(
                f"{caller}: {name} is a shard, and a joint table must be whole"
            )
        self.flat.check(name, caller)


@overload
def from_counts(
    counts: Num[ArrayLike, "*batch k"],
    *,
    variables: Literal[1] = 1,
    pseudocount: ArrayLike = 0.0,
) -> Probs: ...
@overload
def from_counts(
    counts: Num[ArrayLike, "*batch_and_variables"],
    *,
    variables: Literal[2, 3, 4, 5, 6, 7, 8],
    pseudocount: ArrayLike = 0.0,
) -> Joint: ...
@overload
def from_counts(
    counts: Num[ArrayLike, "*batch_and_variables"],
    *,
    variables: int,
    pseudocount: ArrayLike = 0.0,
) -> Probs | Joint: ...
def from_counts(
    counts: Num[ArrayLike, "*batch_and_variables"],
    *,
    variables: int = 1,
    pseudocount: ArrayLike = 0.0,
) -> Probs | Joint:
    """The distribution of counts: what share of them fell into each class.

        pᵢ = (nᵢ + c) / Σⱼ (nⱼ + c)

    Args:
      counts: How often each class was seen, of any dtype; the last axis the classes, or the
        last `variables` axes a contingency table.
      variables: How many of the last axes are variables; more than one makes a `Joint`.
      pseudocount: `c`, added to every class: 1 is Laplace's rule of succession, 1/2 that of
        Krichevsky and Trofimov. It may be traced.

    Returns:
      `Probs`, or a `Joint` of several variables; float32 for integers and half precision.

    Limits:
      Without any count, and `c = 0`, probabilities are NaN, which every measure refuses.

    Raises:
      TypeError: If counts are not real numbers.
      ValueError: If there are fewer axes than variables, or `pseudocount` is negative.
      AssertionError: If a count is negative or not finite (see `checks`).

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> print(jxent.entropy(jxent.from_counts(jnp.array([2, 1, 1])), base=2))
      1.5
      >>> tried = jxent.from_counts(jnp.array([[3, 3], [1, 1]]), variables=2)
      >>> print(jxent.mutual_information(tried, 0, 1))
      0.0
    """
    caller = "from_counts"
    n = as_array(counts, "counts", caller)
    check_real(n, name="counts", caller=caller)
    _check_variables(variables, n.shape, "counts", caller)
    if not is_float(n.dtype):
        n = n.astype(jnp.float32)
    n = num.at_least_float32(n)
    look(n, Claim(NOT_NEGATIVE, "counts", caller))
    c = demand(pseudocount, NOT_NEGATIVE, "pseudocount", caller)
    n = n + jnp.asarray(c, n.dtype)
    axes = tuple(range(-variables, 0))
    p = Probs(n / jnp.sum(n, axis=axes, keepdims=True))
    return p if variables == 1 else Joint(p, variables)


def _check_variables(
    variables: int, shape: tuple[int, ...], name: str, caller: str
) -> None:
    """Raises unless the last axes of a table can be so many variables."""
    if not isinstance(variables, int) or variables < 1:
        wrong = f"variables of {name} is {variables!r}"
        raise ValueError(f"{caller}: {wrong}, and must be a whole number from 1 on")
    if len(shape) < variables:
        raise ValueError(
            f"{caller}: {name} has shape {shape}, and {variables} variables need an axis "
            "each"
        )
