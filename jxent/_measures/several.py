"""What several variables have in common: sums of mutual information."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from .._core import arithmetic as num
from .joint_entropy import conditional_in_nats
from .mutual_information import information_in_nats
from .tables import admit_joint, JointLike, named, Variables


def variation_of_information(
    j: JointLike, a: Variables = 0, b: Variables = 1, *, base: float | None = None
) -> Float[Array, "*batch"]:
    """Variation of information, in nats.

        VI(A, B) = H(A | B) + H(B | A) = H(A, B) − I(A; B)

    What is left to learn about both for one who knows the other: a metric, 0 if each
    determines the other. It compares clusterings of the same things.

    Args:
      j: The table. A plain float array is the probabilities of two variables.
      a: One variable by its index, or several as a tuple.
      b: The other. Likewise.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per table, in [0, H(A, B)].

    Limits:
      Those of `conditional_entropy`.

    Raises:
      TypeError, ValueError, AssertionError: As `mutual_information`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> print(jxent.variation_of_information(jnp.full((2, 2), 1 / 4), base=2))
      2.0

    References:
      Meilă, "Comparing clusterings: an information based distance", Journal of
      Multivariate Analysis 98, 2007.
    """
    j = admit_joint(j, caller="variation_of_information")
    a, b = named(j, "variation_of_information", a, b)
    nats = conditional_in_nats(j, a, b) + conditional_in_nats(j, b, a)
    return num.in_base(nats, base, "variation_of_information")


def total_correlation(
    j: JointLike, *groups: Variables, base: float | None = None
) -> Float[Array, "*batch"]:
    """Total correlation of several variables, in nats; multi-information.

        TC = Σₖ H(Xₖ) − H(X₀, X₁, …) = Σₖ I(X₀, …, Xₖ₋₁ ; Xₖ)

    How far the variables are from independent, as one number: KL of their joint
    distribution from the product of their own. For two variables it is their mutual
    information. Computed as the second sum, which has no negative terms.

    Args:
      j: The table. A plain float array is the probabilities of two variables.
      *groups: Which variables; a tuple counts as one. All of them, each for itself, if none
        is named.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per table, 0 only for independent variables.

    Limits:
      Those of `mutual_information`.

    Raises:
      TypeError, ValueError, AssertionError: As `mutual_information`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> table = jnp.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]]) / 4
      >>> xor = jxent.Joint(table, variables=3)
      >>> print(jxent.total_correlation(xor, base=2))
      1.0

    References:
      Watanabe, "Information Theoretical Analysis of Multivariate Correlation", IBM Journal
      of Research and Development 4, 1960.
    """
    j = admit_joint(j, caller="total_correlation")
    groups = groups or tuple(range(j.variables))
    first, *others = named(j, "total_correlation", *groups)
    nats, before = jnp.zeros(j.batch, num.accumulator(j.data.dtype)), first
    for group in others:
        nats = nats + information_in_nats(j, before, group, ())
        before = before + group
    return num.in_base(nats, base, "total_correlation")


def interaction_information(
    j: JointLike,
    a: Variables = 0,
    b: Variables = 1,
    c: Variables = 2,
    *,
    base: float | None = None,
) -> Float[Array, "*batch"]:
    """Interaction information of three variables, in nats.

        I(A; B | C) − I(A; B)

    What knowing C adds to what A and B tell about each other; the same whichever of the
    three is C. Positive where they say more together than apart, as in A xor B = C
    (synergy), and negative where they repeat each other (redundancy). The co-information
    is its negative.

    Args:
      j: The table, of three variables at least.
      a: One variable by its index, or several as a tuple.
      b: Another. Likewise.
      c: The third. Likewise.
      base: The unit: 2 for bits, 10 for hartleys, None for nats.

    Returns:
      One number per table, of either sign. As a difference of two numbers that are
      accurate, it is as accurate as the larger of them.

    Limits:
      Those of `mutual_information`.

    Raises:
      TypeError, ValueError, AssertionError: As `mutual_information`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> table = jnp.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]]) / 4
      >>> xor = jxent.Joint(table, variables=3)
      >>> print(jxent.interaction_information(xor, base=2))
      1.0

    References:
      McGill, "Multivariate information transmission", Psychometrika 19, 1954.
    """
    j = admit_joint(j, caller="interaction_information")
    a, b, c = named(j, "interaction_information", a, b, c)
    nats = information_in_nats(j, a, b, c) - information_in_nats(j, a, b, ())
    return num.in_base(nats, base, "interaction_information")
