"""What one variable tells about another, all in all and case by case."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num
from .._distributions.discrete import Probs
from .._distributions.joint import Joint
from .._kernels.tables import (
    pointwise,
    softmax_information,
    softmax_pointwise,
    table_information,
)
from .tables import admit_joint, JointLike, marginal, named, slices, Variables


def mutual_information(
    j: JointLike,
    a: Variables = 0,
    b: Variables = 1,
    given: Variables = (),
    *,
    base: float | None = None,
) -> Float[Array, "*batch"]:
    """Mutual information of two variables, in nats.

        I(A; B) = Σ p(a, b) log(p(a, b) / (p(a) p(b))) = H(A) + H(B) − H(A, B)
        I(A; B | C) = Σ p(c) I(A; B) of p(a, b | c)

    What each tells about the other: 0 if they are independent, and their entropy if one
    determines the other. It is KL(p(a, b) ‖ p(a) p(b)), computed class by class with the
    digits of every difference, never as the difference of entropies, which is noise, and
    negative half of the time, where variables are nearly independent.

    Args:
      j: The table. A plain float array is the probabilities of two variables.
      a: One variable by its index, or several as a tuple.
      b: The other. Likewise.
      given: What is known besides. Likewise; `()` is nothing.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per table, in [0, min(H(A), H(B))]. All other variables are summed out.
      From probabilities it keeps its digits down to 1e-13 and less; from logits too, unless
      others have to be summed out, which rounds. Probabilities that do not sum to 1 are not
      renormalised.

    Limits:
      A row, a column or a slice that is impossible adds 0. The derivative with respect to
      a probability, log(p(a, b) / (p(a) p(b))), is finite: the smallest normal number
      stands in for 0. Exactly independent variables give 0 up to the rounding of the table
      itself, which is about 1e-15.

    Raises:
      TypeError, ValueError, AssertionError: As `joint_entropy`; ValueError too if a
        variable is not in the table, or named twice.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> noisy_copy = jnp.array([[0.375, 0.125], [0.125, 0.375]])
      >>> print(jxent.mutual_information(noisy_copy, 0, 1, base=2))
      0.1887...
      >>> table = jnp.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]]) / 4
      >>> xor = jxent.Joint(table, variables=3)
      >>> print(jxent.mutual_information(xor, 0, 1))
      0.0
      >>> print(jxent.mutual_information(xor, 0, 1, given=2, base=2))
      1.0

    References:
      Cover and Thomas, "Elements of Information Theory", 2006, sections 2.3 and 2.5.
    """
    j = admit_joint(j, caller="mutual_information")
    groups = named(j, "mutual_information", a, b, given)
    return num.in_base(information_in_nats(j, *groups), base, "mutual_information")


def pointwise_mutual_information(
    j: JointLike, a: Variables = 0, b: Variables = 1, *, base: float | None = None
) -> Float[Array, "*batch a b"]:
    """Pointwise mutual information of every pair of values, in nats.

        log(p(a, b) / (p(a) p(b)))

    How much likelier the two are together than if they were independent, 0 if not at all.
    Its mean over p(a, b) is the mutual information; counts of words near each other, so
    transformed, are what word vectors factorise.

    Args:
      j: The table. A plain float array is the probabilities of two variables.
      a: The variable of the rows, or several as a tuple, which make one axis.
      b: The variable of the columns. Likewise.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      A table per table, of numbers of either sign. Digits as for `mutual_information`.

    Limits:
      −∞ for pairs that never happen.

    Raises:
      TypeError, ValueError, AssertionError: As `mutual_information`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p = jnp.array([[0.5, 0.0], [0.25, 0.25]])
      >>> print(jxent.pointwise_mutual_information(p, base=2))
      [[ 0.415...      -inf]
       [-0.584...  1.       ]]

    References:
      Church and Hanks, "Word association norms, mutual information, and lexicography",
      Computational Linguistics 16, 1990.
    """
    j = admit_joint(j, caller="pointwise_mutual_information")
    a, b = named(j, "pointwise_mutual_information", a, b)
    return num.in_base(_pointwise(j, a, b), base, "pointwise_mutual_information")


@functools.partial(jax.jit, inline=True, static_argnums=(1, 2, 3))
def information_in_nats(
    j: Joint, a: tuple[int, ...], b: tuple[int, ...], given: tuple[int, ...]
) -> Float[Array, "*batch"]:
    table = marginal(j, given, a, b)
    if isinstance(table, Probs):
        return jnp.sum(table_information(table.data), axis=-1)
    share, z = slices(table.data, (-2, -1))
    return jnp.sum(num.weigh(share, softmax_information(z)), axis=-1)


@functools.partial(jax.jit, inline=True, static_argnums=(1, 2))
def _pointwise(j, a, b):
    table = marginal(j, a, b)
    of = pointwise if isinstance(table, Probs) else softmax_pointwise
    never = table.data == (0 if isinstance(table, Probs) else -jnp.inf)
    return jnp.where(never, -jnp.inf, of(table.data))
