"""Distributions over probabilities: Dirichlet's, and beta for one event."""

import dataclasses
from typing import ClassVar, final, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ... import checks
from ..._core import arithmetic as num
from ..._core.pairs import exact_sum
from ..._core.pytrees import pytree
from ..._kernels import ratios
from ..._kernels.gamma_gap import gamma_gap, stirling, stirling_slope
from ..._kernels.means import log_moments
from ..._kernels.ratios import Ratio
from ..._kernels.terms import bregman
from .base import check_range, Family, parameter, Positive
from .positive import value


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Dirichlet(Family):
    """Distributions over the probabilities of k classes, the last axis.

        −log p(x) = −Σᵢ (αᵢ − 1) log xᵢ + Σᵢ log Γ(αᵢ) − log Γ(α₀),    α₀ = Σᵢ αᵢ
        H = Σᵢ [g(αᵢ) + (1 − αᵢ) g′(αᵢ) + log(αᵢ/α₀)] − g(α₀) + (α₀ − k) g′(α₀)
        KL(α ‖ β) = Σᵢ βᵢ (rᵢ − 1 − log rᵢ) + Σᵢ G(βᵢ ‖ αᵢ) − G(β₀ ‖ α₀)

    rᵢ is the ratio of the means, (αᵢ/α₀)/(βᵢ/β₀), g(x) = log Γ(x) − x log x + x, and G is
    how far g is above its tangent.

    Args:
      concentration: α, one row of positive numbers for each distribution; or their
        logarithms as `Log(x)`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> p, q = jxent.Dirichlet(jnp.ones(3)), jxent.Dirichlet(jnp.array([1.0, 2.0, 3.0]))
      >>> print(jxent.kl_divergence(p, q), jxent.entropy(p))
      1.0988... -0.69314...

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, appendix B.
    """

    event_axes: ClassVar[int] = 1

    concentration: Positive = parameter("positive", axes=1)

    def check_observation(self, x: Array, name: str, caller: str) -> None:
        checks.assert_simplex(x, name=name, caller=caller)
        check_range(x, "observed above 0", name, caller)

    def entropy(self) -> Float[Array, "*batch"]:
        return _mean_surprise(_rows(self), _rows(self))

    def surprise(self, x: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
        return _surprise(_rows(self), x, jnp.any(x <= 0, axis=-1))

    def cross_entropy(self, q: Self) -> Float[Array, "*batch"]:
        p, q_ = _rows(self), _rows(q)
        means = jnp.sum(q_[0] * _ratio_of_means(p, q_).gap, axis=-1)
        return means + _mean_surprise(p, q_)

    def divergence(self, q: Self) -> Float[Array, "*batch"]:
        p, q_ = _rows(self), _rows(q)
        (a, a0, a_rest), (c, c0, c_rest) = p, q_
        means = _ratio_of_means(p, q_)
        with_total = lambda x, total: jnp.concatenate([x, total[..., None]], axis=-1)
        less_total = lambda x: jnp.sum(x[..., :-1], axis=-1) - x[..., -1]
        x, y = with_total(a, a0), with_total(c, c0)
        d = with_total(c - a, (c0 - a0) + (c_rest - a_rest))
        # Where all are small, log Γ(x) = log Γ(1 + x) − log x says it without
        # cancellation: the gaps of −log x, and of log Γ(1 + x) = g(y) + y log y − y.
        small = a0 + c0 < 1
        shift = _whole(jnp.where(small, jnp.ones_like(a0), 0), x)
        gaps = less_total(gamma_gap(y + shift, x + shift, d))
        logs = _gaps_of_logs(p, q_, means) + less_total(bregman(1 + y, 1 + x, -d))
        nats = gaps + jnp.where(small, logs, jnp.sum(c * means.gap, axis=-1))
        # Rounding alone makes it negative, and says nothing of the slope.
        return nats + jax.lax.stop_gradient(jnp.where(nats < 0, -nats, 0))


_Rows = tuple[Array, Array, Array]


def _rows(p: Dirichlet) -> _Rows:
    """α, and its sum α₀ as a number and the rounding error of that."""
    a = value(p.concentration)
    total, rest = exact_sum(a)
    return a, total, jax.lax.stop_gradient(rest)


def _whole(x: Array, like: Array) -> Array:
    """One number for each row, as many times as the row has classes."""
    return jnp.broadcast_to(x[..., None], like.shape)


def _ratio_of_means(p: _Rows, q: _Rows) -> Ratio:
    """`(αᵢ/α₀)/(βᵢ/β₀)`"""
    (a, a0, a_rest), (c, c0, c_rest) = p, q
    extra = a * _whole(c_rest - a_rest, a) - (c - a) * _whole(a_rest, a)
    return ratios.of_products(a, _whole(c0, a), _whole(a0, a), c, extra)


def _gaps_of_logs(p: _Rows, q: _Rows, means: Ratio) -> Float[Array, "*batch"]:
    """`Σᵢ h(βᵢ/αᵢ) − h(β₀/α₀)`, h(r) = r − 1 − log r."""
    # The largest αᵢ, which may be nearly α₀, is taken together with it: of v, the
    # ratio of the two ratios,  h(r) − h(r₀) = h(v) + (v − 1)(r₀ − 1).
    (a, a0, a_rest), (c, c0, c_rest) = p, q
    v, one = means.inverse, jnp.ones_like(a)
    rest = _whole(c_rest - a_rest, a)
    total = ratios.of_products(_whole(c0, a), one, one, _whole(a0, a), rest)
    axis = a.ndim - 1
    at = _whole(jax.lax.argmax(a, axis, jnp.int32), a)
    largest = jax.lax.broadcasted_iota(jnp.int32, a.shape, axis) == at
    each = ratios.of_numbers(c, a).gap
    return jnp.sum(jnp.where(largest, v.gap + v.excess * total.excess, each), axis=-1)


def _mean_surprise(p: _Rows, q: _Rows) -> Float[Array, "*batch"]:
    """What the cross-entropy is beyond the distance of the means."""
    (a, a0, _), (c, c0, _) = p, q
    means = ratios.of_numbers(a, _whole(a0, a)).t
    each = stirling(c) + (1 - c) * stirling_slope(a) + means
    k = c.shape[-1]
    return jnp.sum(each, axis=-1) - stirling(c0) + (c0 - k) * stirling_slope(a0)


def _surprise(
    p: _Rows, x: Array, outside: Array, rest_of_x: Array | float = 0.0
) -> Float[Array, "*batch"]:
    # Σ [αᵢ (rᵢ − 1 − log rᵢ) + g(αᵢ) + log xᵢ] − g(α₀),  rᵢ = xᵢ α₀/αᵢ
    a, a0, rest = p
    x, extra = jnp.where(x <= 0, 1, x), x * _whole(rest, a) + rest_of_x * _whole(a0, a)
    r = ratios.of_products(x, _whole(a0, a), jnp.ones_like(a), a, extra)
    each = a * r.gap + stirling(a) + jnp.log(x)
    return jnp.where(outside, jnp.inf, jnp.sum(each, axis=-1) - stirling(a0))


@final
@pytree
@dataclasses.dataclass(frozen=True)
class Beta(Family):
    """Distributions over the probability of one event, one for each number.

        −log p(x) = −(α − 1) log x − (β − 1) log(1 − x) + log B(α, β),  0 < x < 1

    `Dirichlet` of two classes, without an axis for them; its formulas are the same.

    Args:
      concentration1: α, the weight of the event; or its logarithm as `Log(x)`.
      concentration0: β, the weight of its opposite; likewise.

    Example:
      >>> import jxent
      >>> p, q = jxent.Beta(1.0, 1.0), jxent.Beta(2.0, 2.0)
      >>> print(jxent.kl_divergence(p, q), jxent.entropy(p))
      0.20824... 1.19...e-07

    References:
      Bishop, "Pattern Recognition and Machine Learning", 2006, appendix B.
    """

    support: ClassVar[str] = "observed in (0, 1)"

    concentration1: Positive = parameter("positive")
    concentration0: Positive = parameter("positive")

    def wider(self) -> Dirichlet:
        both = value(self.concentration1), value(self.concentration0)
        return Dirichlet(jnp.stack(both, axis=-1))

    def entropy(self) -> Float[Array, "*batch"]:
        return self.wider().entropy()

    def surprise(self, x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        # Of a constant, XLA may take (1 − x) − 1 for −x, which has no rounding to find.
        no, rest = num.two_diff(1 + 0 * x, x)
        both, rests = (jnp.stack(y, axis=-1) for y in ((x, no), (0 * x, rest)))
        return _surprise(_rows(self.wider()), both, (x <= 0) | (x >= 1), rests)

    def cross_entropy(self, q: Self) -> Float[Array, "*batch"]:
        return self.wider().cross_entropy(q.wider())

    def divergence(self, q: Self) -> Float[Array, "*batch"]:
        return self.wider().divergence(q.wider())

    def surprise_over(self, low: Array, high: Array) -> Float[Array, "*batch"]:
        a, b = value(self.concentration1), value(self.concentration0)
        log_yes, _ = log_moments(low, high)
        log_no, _ = log_moments(1 - high, 1 - low)
        rest = stirling(a) + stirling(b) - stirling(a + b)
        one = ratios.of_numbers(a, a + b).t - log_yes
        other = ratios.of_numbers(b, a + b).t - log_no
        nats = a * one + b * other + rest + log_yes + log_no
        return jnp.where((low >= 0) & (high <= 1), nats, jnp.inf)
