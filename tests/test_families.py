"""Families of distributions over numbers: their digits, their edges, who meets whom."""

import functools
import itertools

import family_oracles as truth
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import mp

import jxent
from jxent import checks, Log, losses, Observed
from jxent._distributions.admit import admit_density, admit_pair

ROWS = 12  # one shape for all: compiling is what takes the time
RNG = np.random.default_rng(0)


def between(low, high, n=ROWS):
    return np.exp(RNG.uniform(np.log(low), np.log(high), n))


def exact(x):
    return mp.mpf(float(x))


class Case:
    """A family, draws of its parameters, and the textbook's formulas."""

    def __init__(self, cls, kinds, regimes, kl, entropy, surprise, observe, ulp=16):
        self.cls, self.kinds, self.regimes = cls, kinds, regimes
        self.kl, self.entropy, self.surprise = kl, entropy, surprise
        self.observe, self.ulp = observe, ulp

    def draw(self, regime):
        """Parameters: a location is as large as the scale after it."""
        low, high = regime
        size = between(low, high)
        draws = {
            "loc": size * RNG.standard_normal(ROWS),
            "angle": RNG.uniform(-3, 3, ROWS),
            "size": size,
            "probs": 1 / (1 + size),
            "other": between(low, high),
        }
        return [draws[kind] for kind in self.kinds]

    def move(self, params, by):
        """Others, of about that distance."""
        new = []
        for kind, x in zip(self.kinds, params, strict=True):
            noise = by * RNG.standard_normal(ROWS)
            match kind:
                case "loc":
                    new.append(x + noise * params[1])
                case "angle":
                    new.append(x + noise)
                case "probs":
                    new.append(1 / (1 + (1 / x - 1) * np.exp(noise)))
                case _:
                    new.append(x * np.exp(noise))
        return new


near_location = lambda p: p[0] + p[1] * RNG.standard_normal(ROWS)
J = jxent
CASES = {
    "Normal": Case(
        J.Normal,
        ("loc", "size"),
        [(1e-2, 1e2), (1e-30, 1e-28), (1e28, 1e30)],
        truth.kl_normal,
        truth.h_normal,
        truth.normal,
        near_location,
    ),
    "LogNormal": Case(
        J.LogNormal,
        ("loc", "size"),
        [(1e-1, 1e1)],
        truth.kl_normal,
        truth.h_log_normal,
        truth.log_normal,
        lambda p: np.exp(np.clip(near_location(p), -20, 20)),
    ),
    "Laplace": Case(
        J.Laplace,
        ("loc", "size"),
        [(1e-2, 1e2), (1e-30, 1e-28), (1e28, 1e30)],
        truth.kl_laplace,
        truth.h_laplace,
        truth.laplace,
        near_location,
    ),
    "Exponential": Case(
        J.Exponential,
        ("size",),
        [(1e-2, 1e2), (1e-30, 1e30)],
        truth.kl_exponential,
        truth.h_exponential,
        truth.exponential,
        lambda p: RNG.exponential(size=ROWS) / p[0],
    ),
    "Gamma": Case(
        J.Gamma,
        ("size", "other"),
        [(1e-4, 1e-1), (1e-1, 1e2), (1e2, 1e7)],
        truth.kl_gamma,
        truth.h_gamma,
        truth.gamma,
        lambda p: p[0] / p[1] * np.exp(RNG.standard_normal(ROWS) / np.sqrt(1 + p[0])),
    ),
    "Beta": Case(
        J.Beta,
        ("size", "other"),
        [(1e-4, 1e-1), (1e-1, 1e2), (1e2, 1e7)],
        truth.kl_beta,
        truth.h_beta,
        truth.beta,
        lambda p: np.clip(
            p[0] / (p[0] + p[1]) * np.exp(RNG.standard_normal(ROWS) / 9), 1e-6, 0.999
        ),
    ),
    "Poisson": Case(
        J.Poisson,
        ("size",),
        [(1e-4, 1e2), (1e2, 1e6)],
        truth.kl_poisson,
        truth.h_poisson,
        truth.poisson,
        lambda p: RNG.poisson(p[0]),
    ),
    "Geometric": Case(
        J.Geometric,
        ("probs",),
        [(1e-3, 1e6)],
        truth.kl_geometric,
        truth.h_geometric,
        truth.geometric,
        lambda p: RNG.geometric(p[0]) - 1,
    ),
    "VonMises": Case(
        J.VonMises,
        ("angle", "size"),
        [(1e-4, 1e1), (1e1, 1e5)],
        truth.kl_von_mises,
        truth.h_von_mises,
        truth.von_mises,
        lambda p: RNG.uniform(-3, 3, ROWS),
        ulp=64,
    ),
}
EACH = [
    pytest.param(case, regime, id=f"{name}-{regime[0]:g}")
    for name, case in CASES.items()
    for regime in case.regimes
]
each_case = pytest.mark.parametrize("case, regime", EACH)


def off(got, want, floor=0.0, dtype=np.float32):
    """The worst error, in units in the last place of the truth, or of `floor`."""
    eps = float(np.finfo(dtype).eps)
    pairs = zip(np.asarray(got).ravel(), want, strict=True)
    worst = [abs(exact(g) - w) / max(abs(w), mp.mpf(floor)) for g, w in pairs if w]
    return float(max(worst)) / eps


def moves_of_rows(case, regime, dtype, by):
    p = [x.astype(dtype) for x in case.draw(regime)]
    q = [x.astype(dtype) for x in case.move(p, by)]
    return p, q, [[exact(x) for x in row] for row in zip(*p, *q, strict=True)]


# Compiled once for each family.
per_family = functools.partial(jax.jit, static_argnums=0)
entropy_of = per_family(lambda cls, p: jxent.entropy(cls(*p)))
surprise_of = per_family(lambda cls, x, p: jxent.cross_entropy(Observed(x), cls(*p)))
cross_of = per_family(lambda cls, p, q: jxent.cross_entropy(cls(*p), cls(*q)))


@per_family
def kl_and_slopes(cls, p, q):
    f = lambda p, q: jxent.kl_divergence(cls(*p), cls(*q))
    nats, pull = jax.vjp(f, p, q)
    return nats, pull(jnp.ones_like(nats))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@each_case
def test_divergences_and_their_slopes_keep_their_digits_far_and_near(
    case, regime, dtype
):
    if dtype is np.float64:
        distances = (0.3, 1e-6) if regime is case.regimes[0] else ()
    else:
        distances = (2.0, 0.3, 1e-2, 1e-4)
    with jax.enable_x64(dtype is np.float64):
        for by in distances:
            p, q, rows = moves_of_rows(case, regime, dtype, by)
            nats, slopes = kl_and_slopes(case.cls, tuple(p), tuple(q))
            assert nats.dtype == dtype and (nats >= 0).all()
            want = [case.kl(*row) for row in rows]
            assert off(nats, want, dtype=dtype) <= case.ulp, by
            slopes = np.stack([*slopes[0], *slopes[1]], axis=-1)
            tolerance = 1e-5 if dtype is np.float32 else 1e-13
            for got, row in zip(slopes, rows, strict=True):
                want = truth.slopes(case.kl, row)
                # Per unit of each parameter's own size, as a row.
                sizes = [abs(x) for x in row]
                if case.kinds[0] == "loc":
                    sizes[0], sizes[2] = sizes[1], sizes[3]
                error = [
                    abs(exact(g) - w) * s
                    for g, w, s in zip(got, want, sizes, strict=True)
                ]
                scale = max(abs(w) * s for w, s in zip(want, sizes, strict=True))
                assert max(error) <= tolerance * scale + 1e-30, (by, row)


@each_case
def test_at_equality_the_divergence_is_0_and_so_is_its_slope(case, regime):
    p = tuple(x.astype(np.float32) for x in case.draw(regime))
    nats, slopes = kl_and_slopes(case.cls, p, p)
    for x in (nats, *jax.tree.leaves(slopes)):
        np.testing.assert_array_equal(x, 0)


@each_case
def test_entropies_keep_their_digits(case, regime):
    if case.cls is J.Poisson and regime[1] > 1e3:
        pytest.skip("the definition is a sum over the counts; the series has a test")
    p = [x.astype(np.float32) for x in case.draw(regime)]
    want = [case.entropy(*map(exact, row)) for row in zip(*p, strict=True)]
    got = entropy_of(case.cls, p)
    assert off(got, want, floor=1.0) <= 16
    assert got.dtype == jnp.float32


def test_the_entropy_of_counts_goes_over_into_its_series():
    rates = np.array([15.9, 16.1, 50.0, 400.0], np.float32)
    want = [truth.h_poisson(exact(x)) for x in rates]
    entropy = jax.jit(lambda r: jxent.entropy(J.Poisson(r)))
    assert off(entropy(rates), want) <= 16
    slopes = jax.jit(jax.grad(lambda r: entropy(r).sum()))(rates)
    want = [truth.slopes(truth.h_poisson, [exact(x)])[0] for x in rates]
    assert off(slopes, want) <= 84  # 1e-5


@each_case
def test_observations_cost_minus_the_log_of_their_density(case, regime):
    p = [x.astype(np.float32) for x in case.draw(regime)]
    x = case.observe(p).astype(np.float32)
    want = [case.surprise(*map(exact, row)) for row in zip(x, *p, strict=True)]
    # A density is a number per unit of x, whose size is not 1.
    assert off(surprise_of(case.cls, x, p), want, floor=1.0) <= 32


@each_case
def test_cross_entropy_is_entropy_and_divergence(case, regime):
    p, q, rows = moves_of_rows(case, regime, np.float32, 0.5)
    if case.cls is J.Poisson and regime[1] > 1e3:
        pytest.skip("it is their sum")
    k = len(case.kinds)
    want = [case.entropy(*row[:k]) + case.kl(*row) for row in rows]
    if max(abs(w) for w in want) < 1e36:
        assert off(cross_of(case.cls, p, q), want, floor=1.0) <= 64


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_second_derivatives_in_all_nestings(case):
    regime = case.regimes[0]
    p, q, rows = moves_of_rows(case, regime, np.float32, 0.5)
    row = rows[0]
    f = lambda args: jxent.kl_divergence(
        case.cls(*args[: len(p)]), case.cls(*args[len(p) :])
    )
    forward, reverse = jax.jacfwd, jax.jacrev
    args = jnp.array([x[0] for x in (*p, *q)])
    sizes = [float(abs(x)) for x in row]
    if case.kinds[0] == "loc":
        sizes[0], sizes[2] = sizes[1], sizes[3]
    with mp.workdps(60):
        want = [
            truth.slopes(lambda *y, i=i: truth.slopes(case.kl, list(y))[i], row)
            for i in range(len(row))
        ]
    want = np.array(want, float) * np.outer(sizes, sizes)
    both = list(itertools.product((forward, reverse), repeat=2))
    nestings = jax.jit(lambda x: [outer(inner(f))(x) for outer, inner in both])
    for got, nesting in zip(nestings(args), both, strict=True):
        error = np.abs(got * np.outer(sizes, sizes) - want).max()
        assert error <= 1e-5 * np.abs(want).max(), nesting


def test_second_derivatives_at_equality():
    # The Fisher information: 1/σ² and 2/σ² of a normal, 1/b² twice of a Laplace.
    at = jnp.array([0.5, 2.0])
    for cls, want in ((J.Normal, [0.25, 0.5]), (J.Laplace, [0.25, 0.25])):
        f = lambda x, cls=cls: jxent.kl_divergence(cls(*at), cls(*x))
        g = lambda x, cls=cls: jxent.kl_divergence(cls(*x), cls(*at))
        both = jax.jit(lambda x, f=f, g=g: (jax.hessian(f)(x), jax.hessian(g)(x)))
        for got in both(at):
            np.testing.assert_allclose(got, np.diag(want), atol=1e-6)


# ------------------------------------------------------------------ vectors


def factors(n, k, ill):
    a = RNG.standard_normal((n, k, k))
    return np.linalg.cholesky(a @ a.swapaxes(-1, -2) / k + ill * np.eye(k))


def of_factor(loc, lower):
    return J.MultivariateNormal(loc, scale_tril=lower)


@pytest.mark.parametrize("ill", [0.1, 1e-4])
@pytest.mark.parametrize("by", [None, 1e-2, 1e-4])
def test_divergences_of_vectors(ill, by):
    n, k = 6, 4
    lower, loc = factors(n, k, ill), RNG.standard_normal((n, k))
    lower_q, loc_q = factors(n, k, 0.1), RNG.standard_normal((n, k))
    if by is not None:
        lower_q = lower * (1 + by * RNG.standard_normal((n, k, k)))
        loc_q = loc + by * np.einsum("nij,nj->ni", lower, RNG.standard_normal((n, k)))
    p, q = (
        (m.astype(np.float32), np.tril(x).astype(np.float32))
        for m, x in ((loc, lower), (loc_q, lower_q))
    )
    nats, slopes = kl_and_slopes(of_factor, p, q)
    mpf = lambda x: [mpf(y) for y in x] if np.ndim(x) else exact(x)
    want = [truth.kl_multivariate(*map(mpf, row)) for row in zip(*p, *q, strict=True)]
    assert off(nats, want) <= 16
    if by is None and ill == 0.1:  # by the means and the factors' first columns
        for i, x in enumerate(p[0][0]):
            at = lambda y, i=i: truth.kl_multivariate(
                [*mpf(p[0][0])[:i], y, *mpf(p[0][0])[i + 1 :]],
                *map(mpf, (p[1][0], q[0][0], q[1][0])),
            )
            want = truth.slopes(at, [exact(x)])[0]
            assert off(slopes[0][0][0, i], [want], floor=0.1) <= 84
    for x in jax.tree.leaves(kl_and_slopes(of_factor, p, p)):
        np.testing.assert_array_equal(x, 0)


def test_a_diagonal_is_a_factor_and_a_sum_of_normals():
    loc, scale, z = (RNG.standard_normal((3, 4)).astype(np.float32) for _ in range(3))
    scale = np.exp(scale)
    full = J.MultivariateNormal(loc, scale_tril=jax.vmap(jnp.diag)(scale))
    diagonal = J.MultivariateNormal(loc, scale_diag=scale)
    logs = J.MultivariateNormal(loc, scale_diag=Log(np.log(scale)))
    q = J.MultivariateNormal(jnp.zeros(4), scale_diag=jnp.ones(4))
    one_by_one = jxent.kl_divergence(J.Normal(loc, scale), J.Normal(0.0, 1.0))
    for p in (full, diagonal, logs):
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6)
        close(jxent.kl_divergence(p, q), one_by_one.sum(-1))
        close(jxent.entropy(p), jxent.entropy(diagonal))
        close(jxent.cross_entropy(p, q), jxent.entropy(p) + one_by_one.sum(-1))
        nats = jxent.cross_entropy(Observed(z), p)
        close(nats, jxent.cross_entropy(Observed(z), J.Normal(loc, scale)).sum(-1))


def test_observed_vectors():
    lower = factors(3, 4, 0.1).astype(np.float32)
    loc, x = (RNG.standard_normal((3, 4)).astype(np.float32) for _ in range(2))
    got = jxent.cross_entropy(Observed(x), J.MultivariateNormal(loc, scale_tril=lower))
    mpf = lambda x: [mpf(y) for y in x] if np.ndim(x) else exact(x)
    rows = zip(x, loc, lower, strict=True)
    want = [truth.surprise_multivariate(*map(mpf, row)) for row in rows]
    assert off(got, want, floor=1.0) <= 16


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_dirichlets_of_many_classes(size):
    k = 7
    a = (size * between(0.1, 10, 6 * k)).reshape(6, k).astype(np.float32)
    rows = lambda x: [[exact(y) for y in row] for row in x]
    for by in (1.0, 1e-2, 1e-4):
        b = (a * np.exp(by * RNG.standard_normal(a.shape))).astype(np.float32)
        pairs = list(zip(rows(a), rows(b), strict=True))
        want = [truth.kl_dirichlet(*pair) for pair in pairs]
        nats, slopes = kl_and_slopes(J.Dirichlet, (a,), (b,))
        assert off(nats, want) <= 16
        flat = lambda *y: truth.kl_dirichlet(y[:k], y[k:])
        for i, pair in enumerate(pairs[:2]):
            row = [*pair[0], *pair[1]]
            want = np.array(
                [d * x for d, x in zip(truth.slopes(flat, row), row, strict=True)],
                float,
            )
            got = np.concatenate([x[i] for (x,) in slopes]) * np.array(row, float)
            assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()
    for same in jax.tree.leaves(kl_and_slopes(J.Dirichlet, (a,), (a,))):
        np.testing.assert_array_equal(same, 0)
    entropies = [truth.h_dirichlet(row) for row in rows(a)]
    assert off(entropy_of(J.Dirichlet, (a,)), entropies, floor=1.0) <= 32
    x = RNG.dirichlet(np.ones(k), 6).astype(np.float32)
    want = [truth.dirichlet(*row) for row in zip(rows(x), rows(a), strict=True)]
    assert off(surprise_of(J.Dirichlet, x, (a,)), want, floor=1.0) <= 32


# ------------------------------------------------------------- who meets whom


def test_a_vae_keeps_the_digits_of_its_divergence():
    m, t = (1e-3 * RNG.standard_normal(ROWS).astype(np.float32) for _ in range(2))
    f = lambda m, t: jxent.kl_divergence(J.Normal(m, Log(0.5 * t)), J.Normal(0.0, 1.0))
    want = [
        (exact(a) ** 2 + mp.expm1(exact(b)) - exact(b)) / 2
        for a, b in zip(m, t, strict=True)
    ]
    assert off(jax.jit(f)(m, t), want) <= 16
    slope = jax.jit(jax.grad(lambda t: f(m, t).sum()))(t)
    assert off(slope, [mp.expm1(exact(b)) / 2 for b in t]) <= 84


@pytest.mark.parametrize(
    "of",
    [
        lambda s: J.Normal(0.3, s),
        lambda s: J.LogNormal(0.3, s),
        lambda s: J.Laplace(0.3, s),
        J.Exponential,
        lambda s: J.Gamma(2.5, s),
        lambda s: J.Gamma(s, 2.5),
        lambda s: J.Beta(s, 2.5),
        J.Poisson,
    ],
)
def test_logarithms_are_numbers(of):
    x, y = jnp.array([-1.0, 0.25, 2.0]), jnp.array([0.5, 0.25, -0.5])
    in_01 = isinstance(of(1.0), J.Beta)
    observed = Observed(
        jnp.array([1, 2, 3]) if not in_01 else jnp.array([0.1, 0.2, 0.9])
    )

    @jax.jit
    def both(x, y):
        a, b, log_a, log_b = of(jnp.exp(x)), of(jnp.exp(y)), of(Log(x)), of(Log(y))
        kl, costs = jxent.kl_divergence, jxent.cross_entropy
        of_numbers = kl(a, b), kl(a, b), kl(a, b), costs(a, b), costs(observed, b)
        of_logs = kl(log_a, log_b), kl(log_a, b), kl(a, log_b), costs(log_a, log_b)
        entropies = jxent.entropy(a), jxent.entropy(log_a)
        return (*of_numbers, entropies[0]), (
            *of_logs,
            costs(observed, log_b),
            entropies[1],
        )

    for number, log in zip(*both(x, y), strict=True):
        np.testing.assert_allclose(number, log, rtol=2e-6, atol=2e-7)


def test_members_of_a_larger_family():
    kl, gamma = jxent.kl_divergence, J.Gamma(2.0, 3.0)
    dirichlet = J.Dirichlet(jnp.array([2.0, 3.0]))
    one = J.MultivariateNormal(jnp.zeros((2, 1)), scale_diag=2 * jnp.ones((2, 1)))

    @jax.jit
    def both(x):
        short, log_short = J.Exponential(x), J.Exponential(Log(jnp.log(x)))
        beta, normal = J.Beta(x, 2.0), J.Normal(x, 1.0)
        return [
            (kl(short, gamma), kl(J.Gamma(1.0, x), gamma)),
            (kl(log_short, gamma), kl(J.Gamma(1.0, x), gamma)),
            (kl(gamma, short), kl(gamma, J.Gamma(1.0, x))),
            (kl(beta, dirichlet), kl(beta, J.Beta(2.0, 3.0))),
            (kl(normal, one), kl(normal, J.Normal(0.0, 2.0))),
            (kl(one, normal), kl(J.Normal(0.0, 2.0), normal)),
        ]

    for got, want in both(jnp.array([0.5, 2.0])):
        np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize(
    "q, low, high",
    [
        (J.Normal(0.3, 0.7), -1.0, 2.0),
        (J.Laplace(0.3, 0.7), -1.0, 2.0),
        (J.Laplace(3.0, 0.7), -1.0, 2.0),
        (J.Laplace(-3.0, 0.7), -1.0, 2.0),
        (J.Exponential(1.5), 0.0, 2.0),
        (J.Gamma(2.5, 1.5), 0.0, 2.0),
        (J.Gamma(2.5, Log(0.5)), 1.0, 1.125),
        (J.LogNormal(0.3, 0.7), 0.0, 2.0),
        (J.LogNormal(0.3, 0.7), 1.0, 1.125),
        (J.Beta(2.5, 1.5), 0.0, 1.0),
        (J.Beta(2.5, 1.5), 0.25, 0.75),
        (J.VonMises(0.3, 1.5), -1.0, 2.0),
        (J.Uniform(-2.0, 2.0), -1.0, 2.0),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, J.Normal.__base__) else str(x),
)
def test_uniform_meets_all_whose_support_holds_it(q, low, high):
    p = J.Uniform(low, high)
    # The mean of −log q over the interval, by Gauss' rule on pieces that shrink to 0 at
    # the ends, where a logarithm may be.
    points, weights = np.polynomial.legendre.leggauss(30)
    ends = np.concatenate([[0], 2.0 ** np.arange(-40, 0)])
    ends = np.concatenate([ends, 1 - ends[::-1][1:]])
    ends = np.union1d(ends, np.clip((np.array([0.3]) - low) / (high - low), 0, 1))
    starts, widths = ends[:-1, None], np.diff(ends)[:, None]
    x = low + (high - low) * (starts + widths * (points + 1) / 2)
    with jax.enable_x64(True), checks.mode("off"):
        nats = np.asarray(jxent.cross_entropy(Observed(x), q))
    mean = (widths / 2 * weights * nats).sum()
    np.testing.assert_allclose(jxent.cross_entropy(p, q), mean, rtol=2e-6, atol=1e-6)
    want = mean - np.log(high - low)
    np.testing.assert_allclose(jxent.kl_divergence(p, q), want, rtol=2e-6, atol=1e-6)


def test_uniform_outside_of_a_support_is_infinitely_far():
    p = J.Uniform(-1.0, 2.0)
    others = J.Exponential(1.0), J.Gamma(2.0, 1.0), J.LogNormal(0.0, 1.0)
    for q in (*others, J.Beta(1.0, 2.0), J.Uniform(-0.5, 2.0)):
        assert jxent.kl_divergence(p, q) == jnp.inf
        assert jxent.cross_entropy(p, q) == jnp.inf


def test_jensen_shannon_is_closed_for_uniforms_alone():
    js = jxent.js_divergence
    assert js(J.Uniform(0.0, 1.0), J.Uniform(2.0, 3.0), base=2) == 1
    assert js(J.Uniform(0.0, 1.0), J.Uniform(0.0, 1.0)) == 0
    # By the definition: a fourth, a half and a fourth of the line, as classes.
    p, q = jnp.array([0.5, 0.5, 0.0]), jnp.array([0.0, 0.5, 0.5])
    got = js(J.Uniform(0.0, 2.0), J.Uniform(1.0, 3.0), weight=0.25)
    np.testing.assert_allclose(got, js(p, q, weight=0.25), rtol=1e-6)
    with pytest.raises(TypeError, match=r"Normal and q is Normal.*mixture"):
        js(J.Normal(0.0, 1.0), J.Normal(1.0, 1.0))


def test_pairs_without_a_closed_form_are_named():
    with pytest.raises(TypeError, match=r"p is Normal and q is Gamma.*Draw x from p"):
        jxent.kl_divergence(J.Normal(0.0, 1.0), J.Gamma(1.0, 1.0))
    with pytest.raises(TypeError, match=r"p is Normal and q is Laplace"):
        jxent.cross_entropy(J.Normal(0.0, 1.0), J.Laplace(1.0, 1.0))
    with pytest.raises(TypeError, match=r"p is Observed.*cross_entropy"):
        jxent.kl_divergence(Observed(1.0), J.Normal(0.0, 1.0))
    with pytest.raises(TypeError, match=r"p is Observed"):
        jxent.entropy(Observed(1.0))
    with pytest.raises(TypeError, match=r"q is Observed.*swapped"):
        jxent.cross_entropy(J.Normal(0.0, 1.0), Observed(1.0))
    with pytest.raises(TypeError, match=r"Observed and q is Logits.*Labels"):
        jxent.cross_entropy(Observed(1.0), jxent.Logits(jnp.zeros(3)))
    with pytest.raises(TypeError, match=r"p is Labels and q is Poisson.*Observed"):
        jxent.cross_entropy(jxent.Labels(jnp.array(3)), J.Poisson(1.0))
    with pytest.raises(TypeError, match=r"Normal and q is ArrayImpl"):
        jxent.kl_divergence(J.Normal(0.0, 1.0), jnp.ones(1))


def test_events_and_batches_that_do_not_fit():
    with pytest.raises(ValueError, match=r"make a table"):
        jxent.kl_divergence(
            J.Normal(jnp.zeros((3, 1)), 1.0), J.Normal(jnp.zeros(3), 1.0)
        )
    with pytest.raises(ValueError, match=r"event axis"):
        jxent.kl_divergence(J.Normal(jnp.zeros(3), 1.0), vector(3))
    with pytest.raises(ValueError, match=r"event axis"):
        jxent.kl_divergence(vector(2), vector(3))
    with pytest.raises(ValueError, match=r"event axis"):
        jxent.cross_entropy(Observed(jnp.zeros(2)), vector(3))
    with pytest.raises(TypeError, match=r"either scale_tril or scale_diag"):
        jxent.entropy(J.MultivariateNormal(jnp.zeros(3)))


def vector(k):
    return J.MultivariateNormal(jnp.zeros(k), scale_diag=jnp.ones(k))


# ------------------------------------------------------------------- the domain


INF, NAN = np.inf, np.nan
DOMAIN = [  # p, q, KL
    (J.Normal(0.0, 0.0), J.Normal(0.0, 1.0), INF),
    (J.Normal(0.0, 1.0), J.Normal(0.0, 0.0), INF),
    (J.Normal(0.0, -1.0), J.Normal(0.0, 1.0), NAN),
    (J.Normal(0.0, 1.0), J.Normal(0.0, -1.0), NAN),
    (J.Normal(NAN, 1.0), J.Normal(0.0, 1.0), NAN),
    (J.Laplace(0.0, 0.0), J.Laplace(1.0, 1.0), INF),
    (J.Laplace(0.0, 1.0), J.Laplace(1.0, 0.0), INF),
    (J.Laplace(0.0, -1.0), J.Laplace(1.0, 1.0), NAN),
    (J.Laplace(0.0, 1e-30), J.Laplace(1e30, 1.0), 1e30),
    (J.Exponential(-1.0), J.Exponential(1.0), NAN),
    (J.Exponential(0.0), J.Exponential(1.0), NAN),
    (J.Gamma(0.0, 1.0), J.Gamma(1.0, 1.0), NAN),
    (J.Gamma(1.0, -1.0), J.Gamma(1.0, 1.0), NAN),
    (J.Beta(1.0, -1.0), J.Beta(1.0, 1.0), NAN),
    (J.Dirichlet(jnp.array([1.0, 0.0])), J.Dirichlet(jnp.ones(2)), NAN),
    (J.Poisson(0.0), J.Poisson(3.0), 3.0),
    (J.Poisson(0.0), J.Poisson(0.0), 0.0),
    (J.Poisson(3.0), J.Poisson(0.0), INF),
    (J.Poisson(-1.0), J.Poisson(1.0), NAN),
    (J.Geometric(1.0), J.Geometric(0.25), float(np.log(4))),
    (J.Geometric(0.5), J.Geometric(1.0), INF),
    (J.Geometric(1.5), J.Geometric(0.5), NAN),
    (J.VonMises(0.0, 0.0), J.VonMises(1.0, 0.0), 0.0),
    (J.VonMises(0.0, -1.0), J.VonMises(1.0, 1.0), NAN),
    (J.Uniform(0.0, 1.0), J.Uniform(0.0, 0.5), INF),
    (J.Uniform(0.0, 1.0), J.Uniform(1.0, 0.0), NAN),
    (J.Uniform(1.0, 0.0), J.Uniform(0.0, 1.0), NAN),
]


@pytest.mark.parametrize("p, q, want", DOMAIN)
def test_the_edges_of_the_domain_unchecked(p, q, want):
    with checks.mode("off"):
        got = jxent.kl_divergence(p, q)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_slopes_are_finite_where_a_scale_or_a_rate_is_0():
    with checks.mode("off"):
        f = lambda s: jxent.kl_divergence(J.Normal(0.0, s), J.Normal(0.0, 1.0))
        assert jnp.isfinite(jax.grad(f)(0.0)) and jax.grad(f)(0.0) < 0
        f = lambda r: jxent.kl_divergence(J.Poisson(r), J.Poisson(3.0))
        assert -100 < jax.grad(f)(0.0) < -80
        f = lambda r: jxent.kl_divergence(J.Poisson(0.0), J.Poisson(r))
        assert jax.grad(f)(3.0) == 1


OUTSIDE = [  # x, q, what a check says
    (-1.0, J.Exponential(1.0), "negative"),
    (-1.0, J.Gamma(2.0, 1.0), "not positive"),
    (0.0, J.LogNormal(0.0, 1.0), "not positive"),
    (1.5, J.Beta(2.0, 1.0), "not in"),
    (1.5, J.Poisson(2.0), "no count"),
    (-1.0, J.Poisson(2.0), "no count"),
    (0.5, J.Geometric(0.5), "no count"),
    (3.0, J.Uniform(0.0, 1.0), "q.high - p.x is -2.0"),
]


@pytest.mark.parametrize("x, q, says", OUTSIDE)
def test_what_cannot_be_observed_is_named_and_costs_infinity(x, q, says):
    measure = jxent.cross_entropy
    with pytest.raises(AssertionError, match=f"cross_entropy: .*{says}"):
        measure(Observed(x), q)
    with checks.mode("off"):
        assert measure(Observed(x), q) == jnp.inf
        assert jnp.isnan(measure(Observed(jnp.nan), q))
        slope = jax.grad(lambda q: measure(Observed(x), q))(q)
        assert all(jnp.isfinite(s) for s in jax.tree.leaves(slope))


def test_parameters_that_are_wrong_are_named():
    scale = jnp.array([1.0, -2.0, 1.0])
    message = r"kl_divergence: entry \[1\] of q.scale is -2.0, not positive; .*Log"
    with pytest.raises(AssertionError, match=message):
        jxent.kl_divergence(J.Normal(0.0, 1.0), J.Normal(0.0, scale))
    with pytest.raises(AssertionError, match=message):
        f = jax.jit(lambda s: jxent.kl_divergence(J.Normal(0.0, 1.0), J.Normal(0.0, s)))
        checks.checked(f)(scale)
    with pytest.raises(AssertionError, match=r"entropy: p.loc is NaN|of p.loc is NaN"):
        jxent.entropy(J.Normal(jnp.nan, 1.0))
    with pytest.raises(AssertionError, match=r"above the diagonal.*cholesky"):
        covariance = jnp.array([[1.0, 0.5], [0.5, 1.0]])
        jxent.entropy(J.MultivariateNormal(jnp.zeros(2), scale_tril=covariance))
    with pytest.raises(AssertionError, match=r"low comes first"):
        jxent.entropy(J.Uniform(1.0, 0.0))
    with pytest.raises(TypeError, match=r"p.scale is int32, not floating"):
        jxent.entropy(J.Normal(0.0, jnp.array([1, 2])))


def test_losses_of_numbers_and_counts():
    y, m = jnp.array([0.5, 2.0, 3.0]), jnp.array([1.0, 2.5, 0.5])
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6)
    nats = lambda y, q: jxent.cross_entropy(Observed(y), q)
    close(losses.gaussian_nll_loss(m, y), 0.5 * (m - y) ** 2 + 0.5 * np.log(2 * np.pi))
    log_var = jnp.log(m)
    got = losses.gaussian_nll_loss(m, y, Log(0.5 * log_var))
    close(got, nats(y, J.Normal(m, jnp.sqrt(m))))
    counts = jnp.array([0, 2, 5])
    close(losses.poisson_nll_loss(m, counts), nats(counts, J.Poisson(m)))
    close(losses.poisson_nll_loss(Log(jnp.log(m)), counts), nats(counts, J.Poisson(m)))
    close(losses.gamma_nll_loss(m, y, 2.0), nats(y, J.Gamma(2.0, 2 / m)))
    close(losses.gamma_nll_loss(Log(jnp.log(m)), y, 2.0), nats(y, J.Gamma(2.0, 2 / m)))
    close(losses.gamma_nll_loss(m, y), nats(y, J.Exponential(1 / m)))
    mean = losses.gaussian_nll_loss(m, y, reduction="mean", weights=jnp.arange(3.0))
    close(mean, losses.gaussian_nll_loss(m, y) @ jnp.arange(3.0) / 3)
    with pytest.raises(ValueError, match=r"poisson_nll_loss: .*do not match"):
        losses.poisson_nll_loss(m[:, None], counts)
    with pytest.raises(
        AssertionError, match=r"entry \[2\] of targets is 0.5, no count"
    ):
        losses.poisson_nll_loss(m, jnp.array([1.0, 2.0, 0.5]))


@pytest.mark.parametrize("name", ["gaussian", "poisson", "gamma"])
def test_what_where_removes_costs_0_and_leaks_nothing(name):
    loss = getattr(losses, f"{name}_nll_loss")
    y, m = jnp.array([1.0, jnp.nan, -1.0]), jnp.array([1.5, 2.0, jnp.nan])
    kept = jnp.array([True, False, False])
    value, slope = jax.value_and_grad(lambda m: loss(m, y, where=kept).sum())(m)
    np.testing.assert_array_equal(value, loss(m[0], y[0]))
    np.testing.assert_array_equal(slope[1:], 0)
    np.testing.assert_array_equal(slope[0], jax.grad(loss)(m[0], y[0]))
    weights = jnp.array([1.0, 0.0, 0.0])
    np.testing.assert_array_equal(loss(m, y, weights=weights)[1:], 0)


def test_units_dtypes_and_transforms():
    p, q = J.Normal(jnp.arange(3.0), 1.0), J.Normal(0.0, jnp.array([1.0, 2.0, 3.0]))
    nats = jxent.kl_divergence(p, q)
    np.testing.assert_allclose(jxent.kl_divergence(p, q, base=2), nats / np.log(2))
    np.testing.assert_allclose(jxent.perplexity(q), np.exp(jxent.entropy(q)), 1e-6)
    vmapped = jax.vmap(
        lambda m, s: jxent.kl_divergence(J.Normal(m, 1.0), J.Normal(0.0, s))
    )
    np.testing.assert_allclose(vmapped(p.loc, q.scale), nats, rtol=1e-6)
    again = jax.jit(lambda p: p)(p)
    assert isinstance(again, J.Normal)
    half = J.Normal(jnp.zeros(3, jnp.bfloat16), 1.0)
    assert jxent.entropy(half).dtype == jnp.float32
    assert jxent.entropy(J.Normal(0, 1)).dtype == jnp.float32
    with jax.enable_x64(True):
        single, double = jnp.zeros(3, jnp.float32), jnp.zeros(3)
        assert jxent.kl_divergence(J.Normal(single, 1.0), q).dtype == jnp.float32
        assert jxent.kl_divergence(J.Normal(double, 1.0), q).dtype == jnp.float64
    row = jxent.cross_entropy(Observed(jnp.array([[0], [1]])), J.Poisson(2.0))
    assert row.shape == (2, 1)


def test_measures_of_classes_only_refuse_families():
    with pytest.raises(
        TypeError, match=r"f: p is Normal and q is Normal.*classes only"
    ):
        admit_pair(J.Normal(0.0, 1.0), J.Normal(0.0, 1.0), caller="f")
    with pytest.raises(TypeError, match=r"f: p is Normal; .*classes only"):
        admit_density(J.Normal(0.0, 1.0), caller="f")
