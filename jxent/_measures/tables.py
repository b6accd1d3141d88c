"""How a measure reads a joint table: which variables it names, and their marginal."""

import math
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._core import arithmetic as num
from .._core.shapes import as_array, check_float
from .._distributions.admit import of_arrays
from .._distributions.discrete import Logits, LogProbs, Probs
from .._distributions.joint import Joint
from .._kernels import softmax as sm
from .._kernels.tables import log_sum_exp

JointLike: TypeAlias = Joint | Float[Array, "*batch_and_variables"]
Variables: TypeAlias = int | tuple[int, ...]
Table: TypeAlias = Probs | LogProbs | Logits


def admit_joint(j: JointLike, *, caller: str) -> Joint:
    """Makes an argument of a measure a joint table, and checks it."""
    if isinstance(j, Probs | LogProbs | Logits):
        kind = type(j).__name__
        raise TypeError(
            f"{caller}: j is {kind}, of one variable; if its last axes are several, say "
            f"how many, as in Joint({kind}(...), variables=2)"
        )
    fix = "; a table of counts is from_counts(j, variables=2)"
    given, variables = (j.p, j.variables) if isinstance(j, Joint) else (j, 2)
    if not isinstance(given, Probs | LogProbs | Logits):
        given = Probs(as_array(given, "j", caller))
    table = of_arrays(given, "j", caller)
    check_float(table.data, name="j", caller=caller, fix=fix)
    j = Joint(table, variables)
    j.check("j", caller)
    return j


def named(j: Joint, caller: str, *groups: Variables) -> list[tuple[int, ...]]:
    """Each group as a tuple of indices; no variable may be in two of them."""
    tuples = [tuple(g) if isinstance(g, tuple | list) else (g,) for g in groups]
    seen = [i for group in tuples for i in group]
    if not all(isinstance(i, int | np.integer) for i in seen):
        kinds = {type(i).__name__ for i in seen}
        raise TypeError(
            f"{caller}: a variable is named by its index, a Python integer, or several by "
            f"a tuple of them; here are {', '.join(sorted(kinds))}"
        )
    if not all(0 <= i < j.variables for i in seen):
        raise ValueError(
            f"{caller}: variables {groups}, and j has those from 0 to {j.variables - 1}"
        )
    if len(set(seen)) < len(seen):
        raise ValueError(f"{caller}: a variable is named twice in {groups}")
    return tuples


def marginal(j: Joint, *groups: tuple[int, ...]) -> Table:
    """The joint distribution of the groups, an axis each; other variables summed out."""
    table, first = j.table, len(j.batch)
    kept = [i for group in groups for i in group]
    rest = tuple(first + i for i in range(j.variables) if i not in kept)
    x = num.at_least_float32(table.data)
    if rest:
        logs = not isinstance(table, Probs)
        x = log_sum_exp(x, rest) if logs else jnp.sum(x, axis=rest, keepdims=True)
    sizes = [math.prod(x.shape[first + i] for i in group) for group in groups]
    order = [*range(first), *(first + i for i in kept), *rest]
    return type(table)(jnp.transpose(x, order).reshape(*j.batch, *sizes))


def slices(z: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """The probability of every slice, and its logits; 0 and zeros for impossible ones."""
    total = log_sum_exp(z, axes)
    return sm.softmax(jnp.squeeze(total, axes)), jnp.where(total > -jnp.inf, z, 0)
