"""Every public function under what users do to it: each sweep hunts one kind of fault.

The sweeps run over `calls.CALLS`, and the first tests below force that table to hold every
public name and every option, so that what is added later is swept as well.
"""

import asyncio
import gc
import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from calls import CALLS, KINDS, NO_CALL, NOT_NUMBERS, RANGES, SIZES
from flax import nnx
from jax import export

import jxent
from jxent import checks, losses

each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
# One call of each function, where what is swept does not depend on the representation.
ONCE = {c.owner: (key, c) for key, c in reversed(CALLS.items())}
ONCE = dict(ONCE.values())
each_function = pytest.mark.parametrize("call", ONCE.values(), ids=ONCE)


def covering():
    """Calls that hold every function, and every kind of argument under every name."""
    seen = set()
    for key, call in CALLS.items():
        if not (new := {call.owner, *call.arrays.items()}) <= seen:
            seen |= new
            yield key, call


COVERING = dict(covering())
each_argument = pytest.mark.parametrize("call", COVERING.values(), ids=COVERING)
REFUSED = (AssertionError, TypeError, ValueError)


def nothing(call):
    """The call without its result: nothing but its checks is compiled."""

    def function(*args):
        call.function(*args)

    return function


def options_of(function):
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind == p.KEYWORD_ONLY}


def range_of(call, name):
    """The interval of an option that is a number, or None."""
    return RANGES.get(f"{call.owner.__name__} {name}", RANGES.get(name))


def test_every_public_function_has_a_call():
    called = {call.owner for call in CALLS.values()} | {jxent.Mean}
    for owner in (jxent, losses):
        for name in set(owner.__all__) - NO_CALL:
            assert getattr(owner, name) in called, (
                f"tests/calls.py has no call of {name}"
            )


def test_every_option_has_a_range():
    for call in CALLS.values():
        options = options_of(call.owner) - NOT_NUMBERS
        unknown = {name for name in options if not range_of(call, name)}
        assert not unknown, (
            f"give {unknown} of {call.name} their line in tests/calls.py"
        )


# ------------------------------------------------------------------ shapes


@each_call
def test_exports_with_symbols_for_batch_and_classes(call, hasty_compiler):
    """Kind: a dimension used as a Python number, which an export's symbol is not.

    `np.broadcast_shapes`, `math.log(shape)`, a tile's width compared in Python.
    """
    scope, args = export.SymbolicScope(), call.args()
    symbol = lambda letter: letter if letter in "bkv" else str(SIZES[letter])
    dims = lambda kind: ", ".join(map(symbol, kind.shape.split()))
    specs = [
        jax.ShapeDtypeStruct(export.symbolic_shape(dims(kind), scope=scope), x.dtype)
        for kind, x in zip(call.kinds, args, strict=True)
    ]
    if call.owner is jxent.chunked:  # its weight comes first
        specs[0] = args[0]
    fn = jax.jit(lambda *args: jax.tree.leaves(call.function(*args)))
    exported = export.export(fn)(*specs)
    if call in COVERING.values():
        again = export.deserialize(exported.serialize())
        close(again.call(*args), jax.tree.leaves(call.function(*args)))


def close(got, expected):
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    for x, y in pairs:
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------ what is an array


class Parameters(nnx.Module):
    def __init__(self, args):
        self.args = nnx.List([nnx.Param(jnp.asarray(x)) for x in args])


@each_argument
def test_takes_what_converts_itself(call):
    """Kind: whatever has a dtype is taken for an array, such as a parameter of nnx."""
    of_module = lambda m: call.function(*m.args)
    module, args = Parameters(call.args()), call.args()
    got = nnx.eval_shape(of_module, module)
    expected = jax.eval_shape(call.function, *args)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(got)] == [
        (x.shape, x.dtype) for x in jax.tree.leaves(expected)
    ]
    close(of_module(module), call.function(*args))


def test_takes_a_module_inside_of_nnx_jit_and_under_checked(hasty_compiler):
    """Kind: a module that is traced, or changed, at another level than it was made at.

    Tracing finds it: the result is computed of one function alone.
    """
    for call in ONCE.values():
        module, f = Parameters(call.args()), nothing(call)
        fn = nnx.jit(lambda m, f=f: f(*m.args))
        fn(module)
        checks.checked(fn)(module)
    fn = nnx.jit(lambda m: call.function(*m.args))
    for got in (fn(module), checks.checked(fn)(module)):
        close(got, call.function(*call.args()))


# ------------------------------------------------------------------ bad values


def refusals(call):
    """The arguments with one of them bad, its name, and what is wrong with it."""
    for i, (name, kind) in enumerate(call.arrays.items() if call.looks else ()):
        for what, spoil in KINDS[kind].bad.items():
            args = call.args()
            args[i] = spoil(args[i])
            yield args, name, what


def assert_told(error, call, name, what):
    text = str(error)
    assert text.startswith(f"{call.name}: ") and name in text, (what, text)
    assert len(text) < 300 and "Array(" not in text and "\n" not in text, (what, text)


@each_argument
def test_bad_values_are_named(call):
    """Kind: an array that nobody looks at; words without its name, or full of numbers."""
    for args, name, what in refusals(call):
        with pytest.raises(REFUSED) as caught:
            call.function(*map(jnp.asarray, args))
        assert_told(caught.value, call, name, what)


@each_function
def test_bad_values_are_named_under_checked(call, hasty_compiler):
    """Kind: a check that eager calls have, and compiled ones have not."""
    fn = checks.checked(jax.jit(nothing(call)))
    for args, name, what in refusals(call):
        with pytest.raises(AssertionError) as caught:
            fn(*args)
        assert_told(caught.value, call, name, what)


@each_function
def test_what_is_no_array_is_named(call):
    """Kind: an error of `jnp.asarray`, which names nothing, and may print all numbers."""
    names = list(call.arrays)
    if call.owner in (jxent.chunked, jxent.Mean.of, losses.make_fenchel_young_loss):
        return
    kinds = ["three", 1j] if call.trees else ["three", 1j, None]
    for i, wrong in itertools.product(range(len(names)), kinds):
        args = list(map(jnp.asarray, call.args()))
        args[i] = jnp.full_like(args[i], wrong, complex) if wrong == 1j else wrong
        with pytest.raises(REFUSED) as caught:
            call.function(*args)
        assert call.name in str(caught.value) and "Array(" not in str(caught.value)


def outside(within):
    """Numbers that are not in an interval."""
    low, high = map(float, within[1:-1].split(", "))
    inside = [low] * (within[0] == "[") + [high] * (within[-1] == "]")
    near = dict.fromkeys([low - 1, low, high, high + 1, inf, nan])
    return [x for x in near if x not in inside]


inf, nan = np.inf, np.nan
OPTIONS = [
    pytest.param(call, name, id=f"{key} {name}")
    for key, call in ONCE.items()
    for name in sorted(options_of(call.owner))
    if range_of(call, name)
]


@pytest.mark.parametrize("call, name", OPTIONS)
def test_options_out_of_range_are_named(call, name):
    """Kind: a range that is checked of Python's numbers alone, not of arrays."""
    args = [jnp.asarray(x) for x in call.args()]
    others = {}
    if name == "teacher_weight":
        others["divergence"] = "js"
    if name == "hard_weight":
        others["labels"] = jnp.zeros(args[0].shape[:1], int)
    for value in outside(range_of(call, name)):
        for make in (float, np.float32, jnp.float32):
            with pytest.raises(REFUSED, match=f"^{call.name}: .*{name}") as caught:
                call.function(*args, **{name: make(value)}, **others)
            assert len(str(caught.value)) < 200
    for wrong in ("2", [0.5], 1j, jnp.zeros((2, 2))):
        with pytest.raises(REFUSED, match=name):
            call.function(*args, **{name: wrong}, **others)


# ------------------------------------------------------------------ modes


def bad_calls():
    for call in ONCE.values():
        if found := next(refusals(call), None):
            yield call, found[0]


def is_refused(call, args):
    try:
        call.function(*args)
    except REFUSED:
        return True
    return False


def test_a_mode_is_its_own_task_s():
    """Kind: a mode that belongs to the thread, which asyncio's tasks share."""

    async def careless(call, args):
        with checks.mode("off"):
            await asyncio.sleep(0)
            assert not is_refused(call, args)
            await asyncio.sleep(0)

    async def careful(call, args):
        for _ in range(3):
            assert is_refused(call, args)
            await asyncio.sleep(0)
            with checks.mode("eager"):
                await asyncio.sleep(0)

    async def together(call, args):
        tasks = careless(call, args), careful(call, args), careless(call, args)
        await asyncio.gather(*tasks)
        assert is_refused(call, args)

    for call, args in bad_calls():
        asyncio.run(together(call, args))
        assert is_refused(call, args)


def test_a_mode_is_its_own_generator_s():
    """Kind: a block that a suspended generator holds, and closes out of order."""

    def careless(call, args):
        with checks.mode("off"):
            for _ in range(2):
                yield is_refused(call, args)

    for call, args in bad_calls():
        a, b = careless(call, args), careless(call, args)
        assert not next(a) and is_refused(call, args)
        assert not next(b) and is_refused(call, args)
        assert not next(a)
        a.close()
        assert is_refused(call, args) and not next(b)
        b.close()
        assert is_refused(call, args)


# ------------------------------------------------------------------ what is left behind


COMPILED: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: COMPILED.append(event) if "compile" in event else None
)


@each_call
def test_eager_calls_make_no_nan_and_compile_once(call, hasty_compiler):
    """Two kinds: 0 · ∞ or ∞ − ∞ that is masked later, which `jax_debug_nans` sees; and a
    fresh closure in a scan, or a new static argument, which compiles at every call.
    """
    args = [jnp.asarray(x) for x in call.args()]
    total = lambda *args: sum(map(jnp.sum, jax.tree.leaves(call.function(*args))))
    moving = [i for i, x in enumerate(args) if jnp.issubdtype(x.dtype, jnp.floating)]
    # JAX 0.10 takes eager gradients of inlined functions apart, and looks at each piece:
    # there, of values only, and not of `fisher_vp`, which takes them itself.
    apart = jax.__version_info__ < (0, 11)
    look = not (apart and call.owner is jxent.fisher_vp)
    with jax.debug_nans(look), jax.debug_infs(look):
        for _ in range(3):
            COMPILED.clear()
            call.function(*args)
            if not apart:
                jax.grad(total, moving)(*args)
    # What a loss closes over may have changed: chunked traces it anew, but compiles once.
    of_loss = ["/jax/core/compile/jaxpr_trace_duration"]
    assert COMPILED in ([], of_loss if call.owner is jxent.chunked else [])


def test_eager_calls_keep_nothing():
    """Kind: a cache that grows with every call."""
    made = [(call, [jnp.asarray(x) for x in call.args()]) for call in ONCE.values()]
    for call, args in made:
        for _ in range(3):
            call.function(*args)
        gc.collect(0)
        gc.freeze()  # what is there already need not be looked at again
        for _ in range(20):
            call.function(*args)
        gc.collect()
        grown = len(gc.get_objects())
        gc.unfreeze()
        assert grown < 20, call.name


def test_a_row_without_any_class_is_refused_by_name():
    """Kind: a shape that some functions take and others do not. There is no class to be."""
    without = SIZES | {"k": 0}
    for call in ONCE.values():
        kinds = set(call.arrays.values())
        if not kinds & {
            "probs",
            "logits",
            "log_probs",
            "log_predictions",
            "table",
            "cube",
        }:
            continue  # it has no class axis, or passes on what it was given
        shapes = [[without[c] for c in kind.shape.split()] for kind in call.kinds]
        args = [np.zeros(s, x.dtype) for s, x in zip(shapes, call.args(), strict=True)]
        with pytest.raises(ValueError, match=f"^{call.name}: .*no class"):
            call.function(*args)
