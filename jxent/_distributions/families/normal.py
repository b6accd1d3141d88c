"""Normal distributions: of numbers, of their logarithms, of vectors."""

import dataclasses
from typing import ClassVar, final, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..._core.pytrees import pytree
from ..._kernels.means import log_moments
from .base import check_range, Family, Numbers, parameter, Positive
from .positive import Log, log, LOG_2PI, over, ratio, value


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Normal(Family):
    """Normal distributions, one for each number.

        −log p(x) = ½ z² + log σ + ½ log 2π,          z = (x − μ)/σ
        H = log σ + ½ log 2πe
        KL(p ‖ q) = ½ z² + ½ u² + (u − log(1 + u)),   z = (μp − μq)/σq, u = σp/σq − 1

    Elementwise: there is no axis for an event. A vector of independent numbers is a sum of
    these, or a `MultivariateNormal` with `scale_diag`.

    Args:
      loc: The mean μ.
      scale: The standard deviation σ, or its logarithm as `Log(x)`.

    Limits:
      The divergence is +inf for σq → 0, and for σp = 0 < σq.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p, q = jxent.Normal(jnp.array([0.0, 1.0]), 1.0), jxent.Normal(0.0, 1.0)
      >>> print(jxent.kl_divergence(p, q), jxent.entropy(q, base=2))
      [0.  0.5] 2.047095...

    References:
      Cover and Thomas, "Elements of Information Theory", 2006, section 8.1.
    """

    loc: Numbers = parameter("finite")
    scale: Positive = parameter("scale")

    def entropy(self) -> Float[Array, "*batch"]:
        return log(self.scale) + 0.5 * (1 + LOG_2PI)

    def surprise(self, x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        z = over(x - self.loc, self.scale)
        return 0.5 * z * z + log(self.scale) + 0.5 * LOG_2PI

    def cross_entropy(self, q: Self) -> Float[Array, "*batch"]:
        z, r = over(self.loc - q.loc, q.scale), ratio(self.scale, q.scale).value
        return 0.5 * (z * z + r * r) + log(q.scale) + 0.5 * LOG_2PI

    def divergence(self, q: Self) -> Float[Array, "*batch"]:
        z, scales = over(self.loc - q.loc, q.scale), ratio(self.scale, q.scale)
        return 0.5 * (z * z + scales.excess**2) + scales.gap

    def surprise_over(self, low: Array, high: Array) -> Float[Array, "*batch"]:
        z, w = (
            over(0.5 * (low + high) - self.loc, self.scale),
            over(high - low, self.scale),
        )
        return 0.5 * (z * z + w * w / 12) + log(self.scale) + 0.5 * LOG_2PI

    def wider(self) -> "MultivariateNormal":
        scale = jax.tree.map(lambda x: x[..., None], self.scale)
        return MultivariateNormal(self.loc[..., None], scale_diag=scale)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class LogNormal(Family):
    """Numbers whose logarithms are normally distributed, one distribution for each.

        −log p(x) = −log p_Normal(log x) + log x,     H = μ + log σ + ½ log 2πe

    The divergence is that of the two normal distributions.

    Args:
      loc: The mean μ of the logarithm.
      scale: Its standard deviation σ, or the logarithm of that as `Log(x)`.

    Example:
      >>> import jxent
      >>> p, q = jxent.LogNormal(0.0, 1.0), jxent.LogNormal(1.0, 1.0)
      >>> print(jxent.kl_divergence(p, q), jxent.entropy(p))
      0.5 1.4189385

    References:
      Cover and Thomas, "Elements of Information Theory", 2006, table 17.1.
    """

    support: ClassVar[str] = "observed above 0"

    loc: Numbers = parameter("finite")
    scale: Positive = parameter("scale")

    def _of_logarithm(self) -> Normal:
        return Normal(self.loc, self.scale)

    def entropy(self) -> Float[Array, "*batch"]:
        return self._of_logarithm().entropy() + self.loc

    def surprise(self, x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        y = jnp.log(jnp.where(x <= 0, 1, x))
        return jnp.where(x <= 0, jnp.inf, self._of_logarithm().surprise(y) + y)

    def cross_entropy(self, q: Self) -> Float[Array, "*batch"]:
        return self._of_logarithm().cross_entropy(q._of_logarithm()) + self.loc

    def divergence(self, q: Self) -> Float[Array, "*batch"]:
        return self._of_logarithm().divergence(q._of_logarithm())

    def surprise_over(self, low: Array, high: Array) -> Float[Array, "*batch"]:
        mean, variance = log_moments(low, high)
        z, s = over(mean - self.loc, self.scale), over(jnp.ones_like(mean), self.scale)
        nats = 0.5 * (z * z + variance * s * s) + log(self.scale) + 0.5 * LOG_2PI + mean
        return jnp.where(low >= 0, nats, jnp.inf)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class MultivariateNormal(Family):
    """Normal distributions of vectors, the last axis of `loc`.

        −log p(x) = ½‖L⁻¹(x − μ)‖² + Σᵢ log Lᵢᵢ + (k/2) log 2π
        H = Σᵢ log Lᵢᵢ + (k/2) log 2πe
        KL(p ‖ q) = ½‖z‖² + ½‖N‖² + Σᵢ (Nᵢᵢ − log(1 + Nᵢᵢ)),
                    z = Lq⁻¹(μp − μq),  N = Lq⁻¹(Lp − Lq)

    The covariance is L Lᵀ. It is given by its Cholesky factor L, or by its diagonal where
    the coordinates are independent.

    Args:
      loc: The mean μ, one vector per row.
      scale_tril: L, lower triangular with a positive diagonal. What is above the diagonal
        takes no part.
      scale_diag: The standard deviations, in place of `scale_tril`; or their logarithms as
        `Log(x)`.

    Raises:
      TypeError: By a measure, if not exactly one of the two scales is given.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> L = jnp.array([[1.0, 0.0], [0.5, 2.0]])
      >>> p = jxent.MultivariateNormal(jnp.zeros(2), scale_tril=L)
      >>> q = jxent.MultivariateNormal(jnp.zeros(2), scale_diag=jnp.ones(2))
      >>> print(jxent.kl_divergence(p, q), jxent.entropy(p))
      0.931852... 3.5310242...

    References:
      Cover and Thomas, "Elements of Information Theory", 2006, theorem 8.4.1. Golub and
      Van Loan, "Matrix Computations", 2013, section 4.2.
    """

    event_axes: ClassVar[int] = 1

    loc: Numbers = parameter("finite", axes=1)
    _: dataclasses.KW_ONLY
    scale_tril: Numbers | None = parameter("finite", axes=2, default=None)
    scale_diag: Positive | None = parameter("scale", axes=1, default=None)

    def check(self, name: str, caller: str) -> None:
        super().check(name, caller)
        if (self.scale_tril is None) == (self.scale_diag is None):
            raise TypeError(
                f"{caller}: {name} is a MultivariateNormal, and has either scale_tril or "
                "scale_diag"
            )
        if self.scale_tril is not None:
            square = jnp.shape(self.scale_tril)[-2:]
            if square[0] != square[1]:
                shape = jnp.shape(self.scale_tril)
                message = f"{name}.scale_tril has shape {shape}, and is not square"
                raise ValueError(f"{caller}: {message}")
            upper = jnp.triu(self.scale_tril, 1)
            field = f"{name}.scale_tril"
            check_range(upper, "zero", field, caller)
            diagonal = jnp.diagonal(self.scale_tril, axis1=-2, axis2=-1)
            field = f"the diagonal of {field}"
            check_range(diagonal, "scale", field, caller)

    def _diagonal(self) -> Array | Log:
        if self.scale_diag is not None:
            return self.scale_diag
        d = jnp.diagonal(self._factor(), axis1=-2, axis2=-1)
        return jnp.where(d >= 0, d, jnp.nan)

    def _factor(self) -> Float[Array, "*batch k k"]:
        if self.scale_tril is not None:
            return jnp.tril(self.scale_tril)
        return _on_diagonal(value(self._diagonal()))

    def _sum_of_logs(self) -> Float[Array, "*batch"]:
        logs = log(self._diagonal())
        return jnp.sum(logs, axis=-1) + 0.5 * logs.shape[-1] * LOG_2PI

    def _whiten(self, x: Float[Array, "*batch k"]) -> Float[Array, "*batch k"]:
        if self.scale_diag is not None:
            return over(x, self.scale_diag)
        return _solve(self._factor(), x[..., None])[..., 0]

    def entropy(self) -> Float[Array, "*batch"]:
        return self._sum_of_logs() + 0.5 * self.loc.shape[-1]

    def surprise(self, x: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
        return 0.5 * jnp.sum(self._whiten(x - self.loc) ** 2, -1) + self._sum_of_logs()

    def cross_entropy(self, q: Self) -> Float[Array, "*batch"]:
        square = jnp.sum(q._whiten(self.loc - q.loc) ** 2, axis=-1)
        if self.scale_diag is not None and q.scale_diag is not None:
            r = ratio(self.scale_diag, q.scale_diag).value
            return 0.5 * (square + jnp.sum(r * r, axis=-1)) + q._sum_of_logs()
        r = _solve(q._factor(), self._factor())
        return 0.5 * (square + jnp.sum(r * r, axis=(-2, -1))) + q._sum_of_logs()

    def divergence(self, q: Self) -> Float[Array, "*batch"]:
        square = jnp.sum(q._whiten(self.loc - q.loc) ** 2, axis=-1)
        scales = ratio(self._diagonal(), q._diagonal())
        if self.scale_diag is not None and q.scale_diag is not None:
            excess = jnp.sum(scales.excess**2, axis=-1)
        else:
            lower = self._factor(), q._factor()
            excess = jnp.sum(_solve(lower[1], lower[0] - lower[1]) ** 2, axis=(-2, -1))
        return 0.5 * (square + excess) + jnp.sum(scales.gap, axis=-1)


def _on_diagonal(d: Float[Array, "*batch k"]) -> Float[Array, "*batch k k"]:
    one = jnp.broadcast_to(jnp.eye(d.shape[-1], dtype=d.dtype), (*d.shape, d.shape[-1]))
    return d[..., None] * one


def _solve(
    lower: Float[Array, "*batch k k"], x: Float[Array, "*batch k m"]
) -> Float[Array, "*batch k m"]:
    return jax.lax.linalg.triangular_solve(lower, x, left_side=True, lower=True)
