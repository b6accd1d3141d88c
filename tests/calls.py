"""One table of sample calls of every public function: what the sweeps run.

A call is a function of arrays. Each array is of a kind, which says what it is made of,
which values of it are wrong, and which of its dimensions may be symbols. A new public name
without a call, or a new option without a range, fails in `test_sweeps`.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jxent
from jxent import losses

B, K, D, V = 3, 4, 5, 7
inf, nan = np.inf, np.nan


class Kind(NamedTuple):
    """An array's shape, in letters; good values; and what is wrong, by what it is."""

    shape: str
    good: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    bad: Mapping[str, Callable[[np.ndarray], np.ndarray]] = MappingProxyType({})


def entry(value):
    """The array with `value` for one of its numbers."""

    def spoil(x):
        x = x.copy()
        x[(1,) * x.ndim] = value
        return x

    return spoil


def whole(f):
    return lambda x: f(x).astype(x.dtype)


def softmax(rng, shape):
    z = np.exp(rng.normal(size=shape))
    return z / z.sum(-1, keepdims=True)


def table(rng, shape):
    return softmax(rng, (shape[0], math.prod(shape[1:]))).reshape(shape)


normal = lambda rng, shape: rng.normal(size=shape)
NAN, INF = {"NaN": entry(nan)}, {"inf": entry(inf)}
LABEL = {"label -1": entry(-1), "label 99": entry(99)}
TABLE = {
    **(NAN | INF),
    "wrong sums": whole(lambda p: p * 0.9),
    "negative": entry(-0.5),
}
KINDS = {
    "probs": Kind(
        "b k",
        softmax,
        NAN
        | INF
        | {
            "wrong sums": whole(lambda p: p * 0.9),
            "counts": whole(lambda p: np.arange(p.size).reshape(p.shape) + 1),
            "negative": whole(lambda p: np.log(p)),
        },
    ),
    "log_probs": Kind(
        "b k",
        lambda rng, shape: np.log(softmax(rng, shape)),
        NAN | INF | {"wrong sums": whole(lambda x: x + 0.5)},
    ),
    "logits": Kind(
        "b k", normal, NAN | INF | {"no class": whole(lambda z: z * 0 - inf)}
    ),
    "labels": Kind("b", lambda rng, shape: rng.integers(0, K, shape), LABEL),
    "events": Kind(
        "b k",
        lambda rng, shape: rng.uniform(0.1, 0.9, shape),
        NAN | {"above 1": entry(1.5)},
    ),
    "event logits": Kind("b k", normal, NAN),
    "outcomes": Kind("b k", lambda rng, shape: rng.integers(0, 2, shape), LABEL),
    "hidden": Kind("b d", normal, NAN | INF),
    "weight": Kind("d v", normal, NAN | INF),
    "tokens": Kind("b", lambda rng, shape: rng.integers(0, V, shape), LABEL),
    "told": Kind(
        "b 2",
        lambda rng, shape: np.log(0.9 * softmax(rng, shape)),
        NAN | INF | {"raw logits": whole(lambda x: x * 0 + 3)},
    ),
    # What a loss takes as it is, with optax: rows that need not be distributions.
    "log_predictions": Kind("b k", lambda rng, shape: np.log(softmax(rng, shape))),
    "targets": Kind("b k", softmax),
    "sampled": Kind("b", lambda rng, shape: -rng.uniform(0.5, 2, shape)),
    "values": Kind("b", normal),
    # Of families.
    "numbers": Kind("b", normal, NAN | INF),
    "sizes": Kind(
        "b",
        lambda rng, shape: np.exp(rng.normal(size=shape)),
        NAN | INF | {"negative": entry(-1)},
    ),
    "counts": Kind(
        "b", lambda rng, shape: rng.integers(0, 9, shape), {"count -1": entry(-1)}
    ),
    "rates": Kind(
        "b", lambda rng, shape: rng.uniform(0.5, 2, shape), NAN | {"-1": entry(-1)}
    ),
    "shares": Kind(
        "b",
        lambda rng, shape: rng.uniform(0.2, 0.8, shape),
        NAN | {"0": entry(0), "above 1": entry(1.5)},
    ),
    # Of vectors, and of whatever else has several numbers a row.
    "vectors": Kind("b k", normal, NAN | INF),
    "positive vectors": Kind(
        "b k",
        lambda rng, shape: rng.uniform(0.5, 2, shape),
        NAN | INF | {"negative": entry(-1)},
    ),
    "points": Kind("b k", normal),
    # Of several variables.
    "table": Kind("b k v", table, TABLE),
    "cube": Kind("b 2 k v", table, TABLE),
}
SIZES = {"b": B, "k": K, "d": D, "v": V, "2": 2}


class Call(NamedTuple):
    """`function(*arrays, **options)`, by its public name."""

    name: str  # of the function that the errors name
    function: Callable[..., Any]
    arrays: dict[str, str]  # the kind of each argument, by the name in errors
    owner: Callable[..., Any]  # whose options it takes
    looks: bool = True  # whether eager calls look at values; a scan's body does not
    trees: bool = False  # whether its arguments are pytrees, in which None is no array

    @property
    def kinds(self) -> list[Kind]:
        return [KINDS[kind] for kind in self.arrays.values()]

    def args(self, seed: int = 0, dtype: Any = np.float32) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        made = []
        for kind in self.kinds:
            x = kind.good(rng, tuple(SIZES[letter] for letter in kind.shape.split()))
            made.append(x.astype(np.int32 if x.dtype.kind == "i" else dtype))
        return made


MADE: dict[str, tuple[Any, dict[str, Any]]] = {  # how to make an argument of an array
    "Probs": (jxent.Probs, {"probs": "{}"}),
    "LogProbs": (jxent.LogProbs, {"log_probs": "{}"}),
    "Logits": (jxent.Logits, {"logits": "{}"}),
    "Labels": (jxent.Labels, {"labels": "{}"}),
    "smoothed Labels": (lambda y: jxent.Labels(y, 0.1), {"labels": "{}"}),
    "token Labels": (jxent.Labels, {"tokens": "{}"}),
    "BinaryProbs": (jxent.BinaryProbs, {"events": "{}"}),
    "BinaryLogits": (jxent.BinaryLogits, {"event logits": "{}"}),
    "Normal": (jxent.Normal, {"numbers": "{}.loc", "sizes": "{}.scale"}),
    "Gamma": (lambda rate: jxent.Gamma(2.0, rate), {"sizes": "{}.rate"}),
    "Poisson": (jxent.Poisson, {"sizes": "{}.rate"}),
    "Observed": (jxent.Observed, {"numbers": "{}.x"}),
    "LinearLogits": (
        jxent.LinearLogits,
        {"hidden": "{}.hidden", "weight": "{}.weight"},
    ),
}
ALONE = ["Probs", "LogProbs", "Logits", "BinaryProbs", "BinaryLogits", "LinearLogits"]
PAIRS = [
    ("Probs", "Probs"),
    ("Probs", "Logits"),
    ("LogProbs", "LogProbs"),
    ("Logits", "Logits"),
    ("Labels", "Logits"),
    ("smoothed Labels", "Logits"),
    ("BinaryProbs", "BinaryLogits"),
    ("BinaryLogits", "BinaryLogits"),
    ("token Labels", "LinearLogits"),
    ("LinearLogits", "LinearLogits"),
]


def measure(function, *views, **fixed) -> Call:
    arrays, arities = {}, []
    for view, name in zip(views, "pq", strict=False):
        made = {text.format(name): kind for kind, text in MADE[view][1].items()}
        arrays |= made
        arities.append(len(made))

    def call(*args, **options):
        given, made = list(args), []
        for view, arity in zip(views, arities, strict=True):
            made.append(MADE[view][0](*given[:arity]))
            given = given[arity:]
        return function(*made, **fixed | options)

    return Call(function.__name__, call, arrays, function)


def loss(name, /, *, of=None, **arrays) -> Call:
    function = getattr(losses, name)
    return Call(name, of or function, arrays, function)


def fenchel_young(scores, targets):
    return losses.make_fenchel_young_loss(jax.nn.logsumexp)(scores, targets)


def distillation(student, teacher, **options):
    return tuple(losses.distillation_loss(student, teacher, **options))


def top_k(student, teacher, **options):
    classes = jnp.broadcast_to(jnp.arange(2), teacher.shape)
    return distillation(student, teacher, teacher_classes=classes, **options)


def log_loss(logits, labels):
    return jxent.cross_entropy(jxent.Labels(labels), jxent.Logits(logits))


chunked_mean = jxent.chunked(log_loss, lambda weight, hidden: hidden @ weight)


def chunked(weight, hidden, labels):
    return chunked_mean(weight, hidden, labels).value


CALLS = {
    **{f"entropy {v}": measure(jxent.entropy, v) for v in ALONE},
    "perplexity Logits": measure(jxent.perplexity, "Logits"),
    **{
        f"{f.__name__} {' '.join(pair)}": measure(f, *pair)
        for f in (jxent.cross_entropy, jxent.kl_divergence, jxent.js_divergence)
        for pair in PAIRS
    },
    "entropy Normal": measure(jxent.entropy, "Normal"),
    "cross_entropy Observed": measure(jxent.cross_entropy, "Observed", "Normal"),
    "kl_divergence Normal": measure(jxent.kl_divergence, "Normal", "Normal"),
    "kl_divergence Gamma": measure(jxent.kl_divergence, "Gamma", "Gamma"),
    "kl_divergence Poisson": measure(jxent.kl_divergence, "Poisson", "Poisson"),
    "gaussian_nll_loss": loss(
        "gaussian_nll_loss", predictions="numbers", targets="numbers", scale="sizes"
    ),
    "poisson_nll_loss": loss("poisson_nll_loss", predictions="sizes", targets="counts"),
    "gamma_nll_loss": loss(
        "gamma_nll_loss", predictions="sizes", targets="sizes", concentration="sizes"
    ),
    "Mean": Call(
        "Mean.of", lambda x: jxent.Mean.of(x).value, {"losses": "values"}, jxent.Mean.of
    ),
    "chunked": Call(
        "cross_entropy",
        chunked,
        {"weight": "weight", "hidden": "hidden", "p": "tokens"},
        jxent.chunked,
        looks=False,
    ),
    "softmax_cross_entropy": loss(
        "softmax_cross_entropy", logits="logits", labels="targets"
    ),
    "safe_softmax_cross_entropy": loss(
        "safe_softmax_cross_entropy", logits="logits", labels="targets"
    ),
    **{
        name: loss(name, logits="logits", labels="labels")
        for name in (
            "softmax_cross_entropy_with_integer_labels",
            "poly_loss_cross_entropy",
            "softmax_focal_loss",
            "generalized_cross_entropy",
        )
    },
    "log_prob_and_entropy": loss(
        "log_prob_and_entropy", logits="logits", actions="labels"
    ),
    **{
        name: loss(name, scores="logits", labels="labels")
        for name in ("multiclass_sparsemax_loss", "multiclass_entmax15_loss")
    },
    "sparsemax": loss("sparsemax", scores="logits"),
    "entmax15": loss("entmax15", scores="logits"),
    "sparsemax_loss": loss("sparsemax_loss", logits="event logits", labels="outcomes"),
    "sigmoid_binary_cross_entropy": loss(
        "sigmoid_binary_cross_entropy", logits="event logits", labels="outcomes"
    ),
    "sigmoid_focal_loss": loss(
        "sigmoid_focal_loss", logits="event logits", labels="events"
    ),
    "make_fenchel_young_loss": loss(
        "make_fenchel_young_loss",
        of=fenchel_young,
        scores="log_predictions",
        targets="targets",
    ),
    "smooth_labels": loss(
        "smooth_labels", of=lambda t: losses.smooth_labels(t, 0.1), labels="targets"
    ),
    **{
        name: loss(name, log_predictions="log_predictions", **{t: kind})
        for name, t, kind in (
            ("kl_divergence", "targets", "targets"),
            ("generalized_kl_divergence", "targets", "targets"),
            ("kl_divergence_with_log_targets", "log_targets", "log_predictions"),
        )
    },
    "distillation_loss": loss(
        "distillation_loss",
        of=distillation,
        student_logits="logits",
        teacher_logits="logits",
    ),
    "distillation_loss top-k": loss(
        "distillation_loss",
        of=top_k,
        student_logits="logits",
        teacher_logits="told",
    ),
    "kl_from_samples": loss("kl_from_samples", log_p="sampled", log_q="sampled"),
    "linear_softmax_cross_entropy": loss(
        "linear_softmax_cross_entropy",
        hidden="hidden",
        weight="weight",
        labels="tokens",
    ),
}

MADE |= {
    "LogNormal": (jxent.LogNormal, {"numbers": "{}.loc", "sizes": "{}.scale"}),
    "Laplace": (jxent.Laplace, {"numbers": "{}.loc", "sizes": "{}.scale"}),
    "Exponential": (jxent.Exponential, {"sizes": "{}.rate"}),
    "Beta": (lambda x: jxent.Beta(x, 2.0), {"sizes": "{}.concentration1"}),
    "VonMises": (jxent.VonMises, {"numbers": "{}.loc", "rates": "{}.concentration"}),
    "Uniform": (lambda x: jxent.Uniform(x, 9.0), {"numbers": "{}.low"}),
    "Geometric": (jxent.Geometric, {"shares": "{}.probs"}),
    "Dirichlet": (jxent.Dirichlet, {"positive vectors": "{}.concentration"}),
    "MultivariateNormal": (
        lambda m, s: jxent.MultivariateNormal(m, scale_diag=s),
        {"vectors": "{}.loc", "positive vectors": "{}.scale_diag"},
    ),
    "Joint": (jxent.Joint, {"table": "j"}),
    "Joint of 3": (lambda p: jxent.Joint(p, variables=3), {"cube": "j"}),
}
ORDER = {
    "renyi_entropy": {"order": 0.5},
    "tsallis_entropy": {"order": 0.5},
    "alpha_divergence": {"alpha": 0.5},
    "renyi_divergence": {"order": 0.5},
}


def relative(name, *views) -> Call:
    return measure(getattr(jxent, name), *views, **ORDER.get(name, {}))


def transform(function, of, **arrays) -> Call:
    """A call of what a function of functions gives."""
    return Call(function.__name__, of, arrays, function)


def from_counts(counts, **options):
    return jxent.from_counts(counts, **options).data


def euclid(x, y):
    return jxent.bregman_divergence(lambda x: jnp.sum(x**2))(x, y)


pearson_divergence = jxent.f_divergence(lambda r: (r - 1) ** 2)


def pearson(p, q):
    return pearson_divergence(p, q)


def fisher(z, v):
    return jxent.fisher_vp(jxent.Logits, z)(v)


def gauss_newton(z, v):
    return jxent.gauss_newton_vp(lambda z: jnp.sum(z**2), jnp.tanh, z)(v)


CALLS |= {
    **{
        f"{name} {view}": relative(name, view)
        for name in ("renyi_entropy", "tsallis_entropy")
        for view in ("Probs", "Logits")
    },
    **{
        f"{name} {' '.join(pair)}": relative(name, *pair)
        for name in (
            *("alpha_divergence", "renyi_divergence", "jeffreys_divergence"),
            *("squared_hellinger", "bhattacharyya_distance", "total_variation"),
            "chi2_divergence",
        )
        for pair in (("Probs", "Probs"), ("Logits", "Logits"))
    },
    **{
        f"{name} Joint": measure(getattr(jxent, name), "Joint")
        for name in (
            *("joint_entropy", "conditional_entropy", "mutual_information"),
            *("pointwise_mutual_information", "total_correlation"),
            "variation_of_information",
        )
    },
    "interaction_information Joint": measure(
        jxent.interaction_information, "Joint of 3"
    ),
    "from_counts": Call(
        "from_counts", from_counts, {"counts": "rates"}, jxent.from_counts
    ),
    **{
        f"entropy {view}": measure(jxent.entropy, view)
        for view in (
            *("LogNormal", "Laplace", "Exponential", "Beta", "VonMises", "Uniform"),
            *("Geometric", "Dirichlet", "MultivariateNormal"),
        )
    },
    "f_divergence": transform(jxent.f_divergence, pearson, p="probs", q="probs"),
    "bregman_divergence": transform(
        jxent.bregman_divergence, euclid, x="points", y="points"
    ),
    "fisher_vp": transform(
        jxent.fisher_vp, fisher, params="event logits", v="event logits"
    )._replace(trees=True, looks=False),
    "gauss_newton_vp": transform(
        jxent.gauss_newton_vp, gauss_newton, params="event logits", v="event logits"
    )._replace(trees=True, looks=False),
    **{
        name: loss(name, a="hidden", b="hidden")
        for name in ("contrastive_loss", "sigmoid_contrastive_loss")
    },
}

# What has no call of its own: values, wrappers, and modules.
NO_CALL = {
    *("checked", "checks", "losses", "Distillation", "Density", "Distribution"),
    *("Probs", "LogProbs", "Logits", "Labels", "BinaryProbs", "BinaryLogits"),
    *("LinearLogits", "Joint", "Family", "Log", "Observed", "MultivariateNormal"),
    *("Normal", "LogNormal", "Laplace", "Exponential", "Gamma", "Beta", "Dirichlet"),
    *("Poisson", "Geometric", "Uniform", "VonMises"),
}

# The range of every option that is a number, wherever it occurs; or in one function.
RANGES = {
    "alpha": "[0, 1]",
    "alpha_divergence alpha": "(-inf, inf)",
    "base": "(1, inf)",
    "sigmoid_contrastive_loss bias": "(-inf, inf)",
    "clip": "(0, inf)",
    "epsilon": "(-inf, inf)",
    "gamma": "[0, inf)",
    "hard_weight": "[0, 1]",
    "label_smoothing": "[0, 1)",
    "order": "[0, inf)",
    "pos_weight": "[0, inf)",
    "pseudocount": "[0, inf)",
    "q": "(0, 1]",
    "renyi_divergence order": "[0, inf]",
    "renyi_entropy order": "[0, inf]",
    "softcap": "(0, inf)",
    "teacher_weight": "(0, 1)",
    "temperature": "(0, inf)",
    "weight": "(0, 1)",
    "z_loss": "[0, inf)",
}
# Options that are something else: arrays, modes, functions, whole numbers.
NOT_NUMBERS = {
    *("axis", "axis_name", "bias", "block_size", "chunk_size", "class_mask"),
    *("class_weights",),
    *("divergence", "estimator", "has_aux", "head", "ignore_index", "labels", "log_b"),
    *("f", "at_zero", "slope_at_infinity", "variables"),
    *("loss", "max_fun", "reduction", "return_z_loss", "returns", "teacher_classes"),
    *("vocab_axis", "where", "weights"),
}
