"""Every kind of bad input, in every mode, under every transformation."""

import functools
import importlib.machinery
import importlib.util
import math
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.experimental import checkify
from jax.sharding import AxisType, NamedSharding, PartitionSpec as Spec

from jxent import checks
from jxent._core import modes, verdicts

GOOD = np.full((3, 4), 0.25, np.float32)
BAD = GOOD.copy()
BAD[1, 2] = 0.18
COMPLAINT = "kl: row [1] of q sums to 0.93, not 1; divide by its sum"


def f(p):
    checks.assert_simplex(p, name="q", caller="kl")
    return (p * p).sum()


def scan(p):
    """The gradient is taken in the body, since a gradient of the loop has no checks."""
    step = lambda total, row: (total + jax.value_and_grad(f)(row)[0], None)
    return jax.lax.scan(step, jnp.zeros(()), p)[0]


def with_entry(value, *index):
    p = GOOD.copy()
    p[index] = value
    return p


def complaint_of(fn, *args, **kwargs):
    with pytest.raises(AssertionError) as caught:
        fn(*args, **kwargs)
    return str(caught.value)


# ------------------------------------------------------------------ what is said

inf, nan = np.inf, np.nan
CASES = [
    (checks.assert_simplex, BAD, "row [1] of p sums to 0.93, not 1; divide by its sum"),
    (checks.assert_simplex, 7 * GOOD, "row [0] of p sums to 7.0, not 1"),
    (checks.assert_simplex, 7 * GOOD, "did you mean Logits(p)?"),
    (
        checks.assert_simplex,
        GOOD[0] / 2,
        "p sums to 0.5, not 1; did you mean Logits(p)?",
    ),
    (checks.assert_simplex, with_entry(-0.5, 2, 3), "entry 3 of row [2] of p is -0.5"),
    (checks.assert_simplex, with_entry(-0.5, 2, 3), "did you mean Logits(p)?"),
    (checks.assert_simplex, with_entry(-1e-7, 2, 3), "of p is -1e-07; clip it to 0"),
    (checks.assert_simplex, np.log(GOOD), "is -1.3862944; did you mean LogProbs(p)?"),
    (checks.assert_simplex, with_entry(nan, 1, 0), "entry 0 of row [1] of p is NaN"),
    (checks.assert_simplex, with_entry(inf, 0, 1), "entry 1 of row [0] of p is inf"),
    (checks.assert_log_simplex, np.log(BAD), "row [1] of log_p has logsumexp -0.0725"),
    (checks.assert_log_simplex, np.log(BAD), "not 0; subtract it"),
    (checks.assert_log_simplex, GOOD, "has logsumexp 1.63629"),
    (checks.assert_log_simplex, GOOD, "did you mean Probs(log_p)?"),
    (checks.assert_log_simplex, 12 * GOOD, "did you mean Logits(log_p)?"),
    (checks.assert_log_simplex, np.log(GOOD) * inf, "row [0] of log_p has no possible"),
    (
        checks.assert_log_simplex,
        with_entry(nan, 0, 1),
        "entry 1 of row [0] of log_p is NaN",
    ),
    (checks.assert_logits, with_entry(nan, 1, 1), "entry 1 of row [1] of z is NaN"),
    (checks.assert_logits, with_entry(inf, 1, 1), "entry 1 of row [1] of z is inf"),
    (checks.assert_logits, with_entry(-inf, 1), "row [1] of z has no possible class"),
    (
        checks.assert_binary_probs,
        with_entry(1.5, 1, 2),
        "entry [1, 2] of p is 1.5, not in",
    ),
    (
        checks.assert_binary_probs,
        with_entry(1.5, 1, 2),
        "did you mean BinaryLogits(p)?",
    ),
    (checks.assert_binary_probs, with_entry(-0.5, 1, 2), "entry [1, 2] of p is -0.5"),
    (checks.assert_binary_probs, with_entry(nan, 1, 2), "entry [1, 2] of p is NaN"),
    (checks.assert_binary_probs, np.float32(2), "p is 2.0, not in [0, 1]"),
]
LABELS = [
    ([3, 12], "assert_labels: label 12 (entry [1] of y) is not in [0, 10)"),
    ([-1, 3], "assert_labels: label -1 (entry [0] of y) is not in [0, 10)"),
    ([3, 10], "is not in [0, 10); do they start at 1?"),
    ([3, -100], "label -100 (entry [1] of y) is not in [0, 10); mask ignored rows out"),
]


@pytest.mark.parametrize("check, x, expected", CASES)
def test_names_function_argument_row_flaw_and_fix_in_each_mode(check, x, expected):
    eager = complaint_of(check, jnp.asarray(x))
    assert eager.startswith(check.__name__ + ": ") and expected in eager
    checked, chexified = compiled(check)
    assert complaint_of(checked, x) == eager
    with checks.mode("checkify"):
        assert eager in complaint_of(chexified, x)


@functools.cache
def compiled(check):
    jitted = jax.jit(check)
    return checks.checked(jitted), chex.chexify(jitted, async_check=False)


@pytest.mark.parametrize("y, expected", LABELS)
@pytest.mark.parametrize("dtype", [jnp.int32, jnp.int8])
def test_names_a_wrong_label(y, expected, dtype):
    check = lambda y: checks.assert_labels(y, 10)
    eager = complaint_of(check, jnp.array(y, dtype))
    assert expected in eager
    assert complaint_of(checks.checked(jax.jit(check)), jnp.array(y, dtype)) == eager


def test_narrow_labels_may_have_more_classes_than_their_dtype_has_values():
    checks.assert_labels(jnp.array([0, 255], jnp.uint8), 1000)
    assert "255" in complaint_of(checks.assert_labels, jnp.array([255], jnp.uint8), 255)


@pytest.mark.parametrize("shape", [(1, 4096), (64, 64), (3, 4097)])
@pytest.mark.parametrize("at", [0, 1, -1])
def test_no_nan_is_lost_in_a_long_row(shape, at):
    z = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    z[:, 1::2], z[0, 3] = -inf, 3e38  # of which no sum may overflow
    z[:, 5:9] = 3e38
    checked = checks.checked(jax.jit(checks.assert_logits))
    checks.assert_logits(z)
    checked(z)
    z[-1, at] = nan
    expected = f"entry {at % shape[1]} of row [{shape[0] - 1}] of z is NaN"
    assert expected in complaint_of(checks.assert_logits, z)
    assert expected in complaint_of(checked, z)


def test_what_is_right_passes():
    checks.assert_simplex(jnp.array([[1.0, 0.0], [0.5, 0.5]]))
    checks.assert_simplex(np.zeros((0, 3), np.float32))
    checks.assert_log_simplex(jnp.array([0.0, -inf]))
    checks.assert_logits(jnp.array([-inf, 1e30]))
    checks.assert_labels(jnp.array([[0, 9]]), 10)
    checks.assert_labels(3, 10)
    checks.assert_labels([], 10)
    checks.assert_binary_probs(jnp.array([0.0, 1.0]))
    checks.assert_binary_probs(0.5)
    checks.assert_binary_logits(jnp.array([-jnp.inf, 0.0, jnp.inf]))


# ------------------------------------------------------------------ static facts


@pytest.mark.parametrize("value_checks", ["eager", "off"])
@pytest.mark.parametrize("transform", [lambda g: g, jax.jit])
def test_dtypes_and_class_axis_are_checked_in_each_mode(value_checks, transform):
    labels = lambda y: checks.assert_labels(y, 3)
    no_class = lambda y: checks.assert_labels(y, 0)
    with checks.mode(value_checks):
        for check in (
            checks.assert_simplex,
            checks.assert_log_simplex,
            checks.assert_logits,
        ):
            with pytest.raises(TypeError, match=check.__name__ + r".*Labels\("):
                transform(check)(jnp.array([0, 1]))
            for x in (jnp.zeros((2, 0)), jnp.zeros(())):
                with pytest.raises(ValueError, match=check.__name__ + ".*no class"):
                    transform(check)(x)
        with pytest.raises(TypeError, match=r"int32.*Labels\(p\)"):
            transform(checks.assert_binary_probs)(jnp.array([0, 1]))
        with pytest.raises(TypeError, match=r"integer class indices.*Probs\(y\)"):
            transform(labels)(jnp.array([0.0]))
        with pytest.raises(TypeError, match=r"bool, not floating point(?!;)"):
            transform(checks.assert_simplex)(jnp.array([True]))
        with pytest.raises(ValueError, match="no class"):
            transform(no_class)(jnp.array([0]))


# ------------------------------------------------------------------ eager


def test_eager_autodiff_is_checked():
    for eager in (f, jax.grad(f), jax.hessian(f), jax.value_and_grad(f)):
        assert complaint_of(eager, jnp.asarray(BAD)) == COMPLAINT
    assert (
        complaint_of(jax.jvp, f, (jnp.asarray(BAD),), (jnp.asarray(BAD),)) == COMPLAINT
    )


@pytest.mark.parametrize("p", [BAD, jnp.asarray(BAD)], ids=["numpy", "jax"])
def test_constants_of_staged_code_are_checked_while_tracing_without_a_trace(p):
    assert complaint_of(jax.jit(lambda: f(p))) == COMPLAINT
    right = lambda check: jax.make_jaxpr(lambda x: check(p + (0.25 - p)) or 2 * x)(1.0)
    assert len(right(checks.assert_simplex).eqns) == len(right(lambda p: None).eqns)


def shard_mapped(p):
    mesh = jax.make_mesh((1,), ("rows",), axis_types=(AxisType.Auto,))
    total = lambda p: jax.lax.psum(f(p), "rows")
    return jax.shard_map(total, mesh=mesh, in_specs=Spec("rows"), out_specs=Spec())(p)


STAGED = {
    "jit": jax.jit(f),
    "vmap": jax.vmap(f),
    "jit of grad": jax.jit(jax.grad(f)),
    "jit of hessian": jax.jit(jax.hessian(f)),
    "grad of jit": jax.grad(jax.jit(f)),
    "vmap of grad": jax.vmap(jax.grad(f)),
    "scan": scan,
    "cond": lambda p: jax.lax.cond(p[0, 0] > 0, f, lambda p: p.sum(), p),
    "remat": jax.checkpoint(f),
    "shard_map": shard_mapped,
}
each_staging = pytest.mark.parametrize("staged", STAGED.values(), ids=STAGED.keys())


@each_staging
def test_staged_code_holds_nothing_by_default(staged):
    jaxpr = {}
    for value_checks in ("eager", "off", "checkify"):
        with checks.mode(value_checks):
            jaxpr[value_checks] = re.sub(
                r"0x[0-9a-f]+", "", str(jax.make_jaxpr(staged)(jnp.asarray(BAD)))
            )
    assert jaxpr["eager"] == jaxpr["off"] != jaxpr["checkify"]


def test_export_holds_nothing_by_default():
    plain = export.export(jax.jit(lambda q: (q * q).sum()))(BAD).mlir_module()
    ours = export.export(jax.jit(f))(BAD).mlir_module()
    body = lambda text: text.split("func.func", 1)[1].replace("jit_f", "jit__lambda")
    assert re.sub(r"loc\(.*|%\w+", "", body(ours)) == re.sub(
        r"loc\(.*|%\w+", "", body(plain)
    )
    symbolic = jax.ShapeDtypeStruct(export.symbolic_shape("b, k"), jnp.float32)
    export.export(jax.jit(f))(symbolic)


@pytest.mark.parametrize("value_checks", ["off", "eager"])
def test_nothing_runs_when_off_or_staged(value_checks, monkeypatch):
    def unwanted(*args):
        raise RuntimeError("a check was run")

    for name in ("holds", "report", "_known_to_hold"):
        monkeypatch.setattr(verdicts, name, unwanted)
    with checks.mode(value_checks):
        jax.jit(lambda p: f(p))(BAD)
        jax.vmap(f)(BAD)
        if value_checks == "off":
            f(BAD)
        else:
            with pytest.raises(RuntimeError, match="a check was run"):
                f(BAD)


def test_logits_whose_sum_overflows_are_logits():
    z = jnp.full((3, 4096), 3e38)  # of 3.4e38 that float32 has
    checks.assert_logits(z)
    checks.checked(jax.jit(checks.assert_logits))(z)
    with pytest.raises(AssertionError, match=r"entry 77 of row \[1\] of z is NaN"):
        checks.assert_logits(z.at[1, 77].set(jnp.nan))


# ------------------------------------------------------------------ checkify


@each_staging
def test_checked_raises_under_each_transformation(staged):
    before = staged(
        jnp.asarray(BAD)
    )  # traced and run without checks, which is right too
    checked = checks.checked(staged)
    with pytest.raises(
        AssertionError, match=r"^kl: .*of row|^kl: .*q sums to 0.93, not 1"
    ):
        checked(jnp.asarray(BAD))
    jax.tree.map(np.testing.assert_array_equal, staged(jnp.asarray(BAD)), before)
    jax.tree.map(
        np.testing.assert_array_equal,
        checked(jnp.asarray(GOOD)),
        staged(jnp.asarray(GOOD)),
    )


def test_checked_eager_function_keeps_signature_and_other_assertions():
    @checks.checked
    def g(p, *, scale: float):
        """Doc."""
        chex.assert_tree_all_finite(p)
        return scale * f(p)

    assert (g.__name__, g.__doc__) == ("g", "Doc.")
    np.testing.assert_allclose(g(GOOD, scale=2.0), 1.5)
    assert complaint_of(g, BAD, scale=2.0) == COMPLAINT
    assert "assert_tree_all_finite" in complaint_of(
        checks.checked(jax.jit(lambda p: chex.assert_tree_all_finite(p))), GOOD * inf
    )


def test_row_index_counts_mapped_dimensions():
    p = np.full((2, 3, 4), 0.25, np.float32)
    p[1, 2, 3] = 0.5
    p = jnp.asarray(p)
    checked = lambda g: checks.checked(jax.jit(g))
    assert "row [1, 2] of q" in complaint_of(checked(f), p)
    assert "row [1, 2] of q" in complaint_of(checked(jax.vmap(f)), p)
    assert "row [1, 2] of q" in complaint_of(checked(jax.vmap(jax.vmap(f))), p)
    assert "row [1, 2] of q" in complaint_of(
        checked(jax.vmap(jax.jit(jax.vmap(jax.grad(f))))), p
    )
    assert "row [2, 1] of q" in complaint_of(checked(jax.vmap(f, in_axes=1)), p)
    assert "row [1] of q" in complaint_of(checked(jax.vmap(scan)), p)
    both = jax.vmap(jax.vmap(lambda p, q: f(q), (0, None)), (None, 0))  # every pair
    assert "row [1] of q" in complaint_of(checked(both), p[0], p[:, 2])
    labels = jax.vmap(lambda y: checks.assert_labels(y, 4))
    assert "label 7 (entry [1, 2] of y)" in complaint_of(
        checked(labels), jnp.array([[0, 1, 2], [3, 0, 7]])
    )


def test_checks_survive_a_switch_of_modes():
    jitted = jax.jit(f)
    jitted(BAD)
    for _ in range(2):
        with checks.mode("checkify"):
            error, _ = checkify.checkify(jitted)(BAD)
            assert COMPLAINT in str(error.get())
            assert COMPLAINT in complaint_of(
                chex.chexify(jitted, async_check=False), BAD
            )
            jitted(BAD)  # nobody listens
        jitted(BAD)
        assert checkify.checkify(jitted)(BAD)[0].get() is None


@pytest.mark.parametrize("name", ["simplex", "logits", "binary_probs"])
def test_one_row_at_a_time_in_a_shard_map(name):
    check = getattr(checks, f"assert_{name}")
    mesh = jax.make_mesh((jax.device_count(),), ("rows",), axis_types=(AxisType.Auto,))
    each = lambda row: check(row) or row.sum()
    p = np.full((jax.device_count(), 4), 0.25, np.float32)
    one = (lambda p: p[0]) if name != "binary_probs" else (lambda p: p[0, 0])
    ways = {
        "alone": lambda p: each(one(p))[None],
        "vmap": jax.vmap(each),
    }
    for way in ways.values():
        spread = jax.shard_map(
            way, mesh=mesh, in_specs=Spec("rows"), out_specs=Spec("rows")
        )
        total = lambda p, spread=spread: spread(p).sum()
        for program in (total, jax.grad(total)):
            checked = checks.checked(jax.jit(program))
            checked(p)
            assert complaint_of(checked, p * nan).startswith(check.__name__)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("spec", [Spec("a", "b"), Spec(None, "b"), Spec(("a", "b"))])
def test_sharded_rows(axis_type, spec):
    devices = jax.device_count()
    sizes = (devices // 2, 2) if devices % 2 == 0 else (1, 1)
    mesh = jax.make_mesh(sizes, ("a", "b"), axis_types=(axis_type,) * 2)
    p = np.full((2 * devices, 4), 0.25, np.float32)
    p[-1, -1] = 0.125
    with jax.set_mesh(mesh):
        p = jax.device_put(p, NamedSharding(mesh, spec))
        expected = (
            f"kl: row [{len(p) - 1}] of q sums to 0.875, not 1; did you mean Logits(q)?"
        )
        assert complaint_of(f, p) == expected
        assert complaint_of(checks.checked(jax.jit(f)), p) == expected
        assert complaint_of(checks.checked(jax.jit(jax.vmap(f))), p) == expected


# ------------------------------------------------------------------ the other modes


@pytest.mark.parametrize("staged", [jax.jit(f), jax.jit(jax.vmap(jax.grad(f)))])
def test_callback_raises_from_plain_jit(staged, capfd):
    staged(BAD)
    with checks.mode("callback"):
        jax.block_until_ready(staged(GOOD))
        with pytest.raises(Exception, match=re.escape(COMPLAINT)):
            jax.block_until_ready(staged(BAD))
            jax.effects_barrier()
        assert complaint_of(f, BAD) == COMPLAINT
    jax.block_until_ready(staged(BAD))


def test_off_and_disabled_asserts_look_at_nothing():
    with checks.mode("off"):
        f(BAD)
    chex.disable_asserts()
    try:
        f(BAD)
        checks.checked(jax.jit(lambda p: f(p)))(BAD)
        with pytest.raises(TypeError, match="Labels"):
            checks.assert_simplex(jnp.array([0, 1]))
    finally:
        chex.enable_asserts()
    assert complaint_of(f, BAD) == COMPLAINT


def test_set_mode_is_global_and_reaches_functions_jitted_before():
    jitted = jax.jit(f)
    jitted(BAD)
    checks.set_mode("checkify")
    try:
        assert COMPLAINT in complaint_of(chex.chexify(jitted, async_check=False), BAD)
        with checks.mode("off"):
            f(BAD)
    finally:
        checks.set_mode("eager")
    jitted(BAD)


def test_modes_have_names(monkeypatch):
    names = "eager, checkify, callback, off"
    for switch in (checks.mode, checks.set_mode):
        with pytest.raises(ValueError, match=f"'on' is none of {names}"):
            switch("on")

    def reimport():
        loader = importlib.machinery.SourceFileLoader(
            "jxent._core.again", modes.__file__
        )
        spec = importlib.machinery.ModuleSpec(loader.name, loader)
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        return module

    monkeypatch.setenv("JXENT_CHECKS", "on")
    with pytest.raises(ValueError, match=f"'on' is none of {names}"):
        reimport()
    monkeypatch.setenv("JXENT_CHECKS", "off")
    assert reimport().of_values() == "off"
    monkeypatch.delenv("JXENT_CHECKS")
    assert reimport().of_values() == "eager"


# ------------------------------------------------------------------ tolerance


@pytest.mark.parametrize("k", [2, 1000, 1_000_000])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64])
def test_every_honest_softmax_passes_and_a_row_that_is_off_does_not(dtype, k):
    with jax.enable_x64(dtype == jnp.float64):
        rows = 2 if k > 1000 else 20
        scale = jnp.linspace(0, 10, rows, dtype=dtype)[:, None]  # the first is uniform
        z = scale * jax.random.normal(jax.random.key(k), (rows, k), dtype)
        # float16 cannot even count to 10⁶, so its normaliser would be infinite.
        wide = z.astype(jnp.float32) if dtype == jnp.float16 and k > 1000 else z
        p = jax.nn.softmax(wide).astype(dtype)
        log_p = jax.nn.log_softmax(wide).astype(dtype)
        checks.assert_simplex(p)
        checks.assert_simplex(jnp.exp(log_p))
        checks.assert_log_simplex(log_p)
        if k < 1000:
            checks.assert_log_simplex(z - jax.nn.logsumexp(z, -1, keepdims=True))
        # 1% off, or more where the rounding of half precision amounts to that itself.
        eps = float(jnp.finfo(dtype).eps)
        factor = 1 + max(0.01, 8 * eps * (1 + k / 100_000))
        assert "not 1; " in complaint_of(checks.assert_simplex, p * factor)
        shift = max(0.01, 4 * eps * (16 + math.log(k)))
        assert "not 0; " in complaint_of(checks.assert_log_simplex, log_p + shift)


def test_normalising_by_a_sum_taken_one_by_one_is_honest_too():
    weights = np.random.default_rng(2).exponential(size=10_000).astype(np.float32)
    p = weights / np.cumsum(weights)[-1]
    assert abs(p.astype(np.float64).sum() - 1) > 10 * np.finfo(np.float32).eps
    checks.assert_simplex(p)
    checks.assert_log_simplex(np.log(p))
