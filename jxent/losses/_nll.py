"""Regression as maximum likelihood: negative log-likelihoods of numbers and counts.

Predictions first, as optax has them. Each is `cross_entropy(Observed(targets), q)`.
"""

from typing import Annotated, Any, Generic, TypeAlias, Unpack

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float, Num

from .._core.shapes import as_array, check_float, check_real, is_float
from .._distributions.families import Gamma, Log, Normal, Observed, Poisson
from .._distributions.families.base import check_range
from .._measures.cross_entropy import cross_entropy_in_nats
from ._arguments import as_where, common_batch, spread
from ._counts import Counts
from ._options import loss, Option, R, Reduced, Where

Predictions: TypeAlias = Float[ArrayLike, "..."] | Log
Targets: TypeAlias = Num[ArrayLike, "..."]


class Likelihood(Reduced[R], Generic[R], total=False):
    """Options of negative log-likelihoods.

    where: Which elements count, of a shape that broadcasts to the losses'. The others are
      0, have gradient 0 whatever they hold, and no mean counts them.
    """

    where: Annotated[Where, Option()]


@loss
def gaussian_nll_loss(
    predictions: Float[ArrayLike, "..."],
    targets: Targets,
    scale: Predictions = 1.0,
    **options: Unpack[Likelihood[R]],
) -> R:
    """Negative log-likelihood of numbers under a normal distribution, in nats.

        ½ ((y − μ)/σ)² + log σ + ½ log 2π            μ = predictions, y = targets

    With a constant scale it is half the squared error, up to a constant. A network that
    predicts the scale too learns where it is unsure.

    Args:
      predictions: The means μ.
      targets: The numbers observed.
      scale: The standard deviations σ, or their logarithms as `Log(x)`; of a variance that
        is known by its logarithm, `Log(0.5 * log_var)`.
      where: Which elements count. The loss of the others is 0, and so is its gradient.
      weights, reduction: As for `softmax_cross_entropy_with_integer_labels`.

    Returns:
      One number per element, or what `reduction` makes of them; float32 for half
      precision.

    Raises:
      ValueError: If shapes do not match.
      AssertionError: If a scale is not positive, or a number not finite (see `checks`).

    Example:
      >>> import jax.numpy as jnp
      >>> from jxent import losses
      >>> means, targets = jnp.array([0.0, 1.0]), jnp.array([0.0, 3.0])
      >>> print(losses.gaussian_nll_loss(means, targets, 2.0))
      [1.612085... 2.112085...]

    References:
      Nix and Weigend, "Estimating the mean and variance of the target probability
      distribution", ICNN 1994.
    """
    parameters = {"predictions": (predictions, "finite"), "scale": (scale, "scale")}
    observed = targets, Normal.support
    return _nll(Normal, parameters, observed, "gaussian_nll_loss", **options)


@loss
def poisson_nll_loss(
    predictions: Predictions, targets: Targets, **options: Unpack[Likelihood[R]]
) -> R:
    """Negative log-likelihood of counts under Poisson's distribution, in nats.

        λ − k log λ + log k!                        λ = predictions, k = targets

    Args:
      predictions: The rates λ; what a network or a log-linear model gives is their
        logarithm, `Log(z)`.
      targets: The counts observed, as integers or as floats.
      where: Which elements count. The loss of the others is 0, and so is its gradient.
      weights, reduction: As for `softmax_cross_entropy_with_integer_labels`.

    Returns:
      One number per element, never negative, or what `reduction` makes of them. The term
      log k! is part of it: the losses of
      two models of one data set differ by the same with it and without.

    Raises:
      ValueError: If shapes do not match.
      AssertionError: If a target is no count, or a rate is negative (see `checks`).

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> from jxent import losses
      >>> z, counts = jnp.array([0.0, 1.0]), jnp.array([0, 3])
      >>> print(losses.poisson_nll_loss(jxent.Log(z), counts))
      [1.        1.510041...]

    References:
      McCullagh and Nelder, "Generalized Linear Models", 1989, chapter 6.
    """
    parameters = {"predictions": (predictions, "nonnegative")}
    observed = targets, Poisson.support
    return _nll(Poisson, parameters, observed, "poisson_nll_loss", **options)


@loss
def gamma_nll_loss(
    predictions: Predictions,
    targets: Targets,
    concentration: Predictions = 1.0,
    **options: Unpack[Likelihood[R]],
) -> R:
    """Negative log-likelihood of positive numbers of given mean, in nats.

        −log p(y) of a gamma distribution of concentration α and rate α/μ

    For durations, amounts and prices, whose spread grows with their mean μ: the
    coefficient of variation is 1/√α. A concentration of 1 is the exponential distribution.

    Args:
      predictions: The means μ, or their logarithms as `Log(z)`.
      targets: The positive numbers observed.
      concentration: α, or its logarithm as `Log(x)`.
      where: Which elements count. The loss of the others is 0, and so is its gradient.
      weights, reduction: As for `softmax_cross_entropy_with_integer_labels`.

    Returns:
      One number per element, or what `reduction` makes of them; float32 for half
      precision.

    Raises:
      ValueError: If shapes do not match.
      AssertionError: If a target, a mean or a concentration is not positive (see `checks`).

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> from jxent import losses
      >>> z, amounts = jnp.array([0.0, 1.0]), jnp.array([1.0, 2.0])
      >>> print(losses.gamma_nll_loss(jxent.Log(z), amounts, 2.0))
      [0.613705... 1.392076...]

    References:
      McCullagh and Nelder, "Generalized Linear Models", 1989, chapter 8.
    """

    def at(mean: Any, a: Any) -> Gamma:
        if not isinstance(mean, Log) and not isinstance(a, Log):
            return Gamma(a, a / mean)
        log: Any = lambda x: x.x if isinstance(x, Log) else jnp.log(x)
        return Gamma(a, Log(log(a) - log(mean)))

    parameters = {
        "predictions": (predictions, "positive"),
        "concentration": (concentration, "positive"),
    }
    observed = targets, Gamma.support
    return _nll(at, parameters, observed, "gamma_nll_loss", **options)


def _nll(
    family: Any,
    parameters: dict[str, tuple[Predictions, str]],
    observed: tuple[Targets, str],
    caller: str,
    where: Any,
    weights: Any,
    reduction: Any,
) -> Any:
    """−log p(targets), where removed elements are replaced before they are looked at."""
    targets, support = observed
    y = as_array(targets, "targets", caller)
    if not is_float(y.dtype):
        check_real(y, name="targets", caller=caller)
        y = y.astype(jnp.float32)
    logs = [isinstance(x, Log) for x, _ in parameters.values()]
    numbers = {
        name: as_array(x.x if isinstance(x, Log) else x, name, caller)
        for name, (x, _) in parameters.items()
    }
    for name, x in numbers.items():
        check_float(
            x, name=name, caller=caller, fix=f"; did you mean {name}.astype(float)?"
        )
    shape = numbers["predictions"].shape
    shapes = f"predictions have shape {shape}, targets have shape {y.shape}"
    batch = common_batch(shape, y.shape, caller, shapes)
    y = jnp.broadcast_to(y, batch)
    numbers = {name: spread(x, batch, name, caller) for name, x in numbers.items()}
    kept = None
    if where is not None:
        kept = spread(as_where(where, caller), batch, "where", caller)
    bad = ~jnp.isfinite(sum(x.astype(jnp.float32) for x in (y, *numbers.values())))
    counts = Counts.of(kept, weights, batch, caller, bad)
    if counts.kept is not None:  # 1 is legal for all of them, as its own logarithm too
        kept = counts.kept
        only = lambda x: jnp.where(kept, x, jnp.ones_like(x))
        y, numbers = only(y), {name: only(x) for name, x in numbers.items()}
    check_range(y, support, "targets", caller)
    for (name, x), (_, range), is_log in zip(
        numbers.items(), parameters.values(), logs, strict=True
    ):
        check_range(x, "finite" if is_log else range, name, caller)
    known = zip(numbers.values(), logs, strict=True)
    q = family(*(Log(x) if is_log else x for x, is_log in known))
    return counts.reduce(cross_entropy_in_nats(Observed(y), q), reduction)
