"""How uncertain are several variables: `joint_entropy`, `conditional_entropy`."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num
from .._distributions.discrete import Probs
from .._distributions.joint import Joint
from .._kernels.entropy import softmax_entropy
from .._kernels.tables import conditional_information
from .entropy import entropy_in_nats
from .tables import admit_joint, JointLike, marginal, named, slices, Variables


def joint_entropy(j: JointLike, *, base: float | None = None) -> Float[Array, "*batch"]:
    """Joint entropy of all variables of a table, in nats.

        H(X₀, X₁, …) = Σ p · (−log p)          sum over the cells of the table

    The entropy of the table as one variable: at most the sum of the entropies of its
    variables, and equal to it if they are independent.

    Args:
      j: The table. A plain float array is the probabilities of two variables.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per table, in [0, log of how many cells there are].

    Limits:
      Those of `entropy`.

    Raises:
      TypeError, ValueError: If `j` is no table, or has fewer axes than variables.
      AssertionError: If a table is not a distribution (see `checks`).

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> print(jxent.joint_entropy(jnp.array([[0.5, 0.0], [0.25, 0.25]]), base=2))
      1.5

    References:
      Cover and Thomas, "Elements of Information Theory", 2006, section 2.2.
    """
    j = admit_joint(j, caller="joint_entropy")
    return num.in_base(entropy_in_nats(j.flat), base, "joint_entropy")


def conditional_entropy(
    j: JointLike,
    of: Variables = 1,
    given: Variables = 0,
    *,
    base: float | None = None,
) -> Float[Array, "*batch"]:
    """Conditional entropy, in nats.

        H(Y | X) = Σ p(x, y) · (−log p(y | x)) = H(X, Y) − H(X)

    What is still uncertain about Y for one who knows X: 0 if X determines it, H(Y) if the
    two are independent. Computed as the mean of the entropies of p(y | x), of which none
    is negative, and not as a difference.

    Args:
      j: The table. A plain float array is the probabilities of two variables.
      of: The variable Y, or several as a tuple.
      given: The variable X, or several, or none: `()`.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per table, in [0, H(Y)]. All other variables are summed out.

    Limits:
      What is impossible adds 0, a value of X that is as well. The derivative with respect
      to a probability of 0 is taken at the smallest normal number.

    Raises:
      TypeError, ValueError, AssertionError: As `joint_entropy`; ValueError too if a
        variable is not in the table, or named twice.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> rain_and_clouds = jnp.array([[0.5, 0.0], [0.25, 0.25]])
      >>> print(jxent.conditional_entropy(rain_and_clouds, of=1, given=0, base=2))
      0.5

    References:
      Shannon, "A Mathematical Theory of Communication", Bell System Technical Journal
      27, 1948, section 6.
    """
    j = admit_joint(j, caller="conditional_entropy")
    of, given = named(j, "conditional_entropy", of, given)
    return num.in_base(conditional_in_nats(j, of, given), base, "conditional_entropy")


@functools.partial(jax.jit, inline=True, static_argnums=(1, 2))
def conditional_in_nats(j: Joint, of: tuple[int, ...], given: tuple[int, ...]):
    table = marginal(j, given, of)
    if isinstance(table, Probs):
        return jnp.sum(conditional_information(table.data), axis=-1)
    share, z = slices(table.data, (-1,))
    return jnp.sum(num.weigh(share, softmax_entropy(z)), axis=-1)
