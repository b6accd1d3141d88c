"""Are these numbers what they claim to be: assertions that cost nothing in production.

Dtypes and the class axis are always checked, while tracing. Values are checked as the
mode says: `with mode(...)`, `set_mode`, or the environment variable JXENT_CHECKS, which
is read once, at import.

    eager      values known at the call raise at once, under eager `grad` too; what
               `jit`, `vmap`, `scan` or `shard_map` stages holds no trace of a check
    checkify   staged code carries checks as well, for `checked`, `chex.chexify` or
               `checkify.checkify` to raise; without these they are silent
    callback   staged code raises by itself, in plain `jit`; for debugging one process
    off        values are not looked at

The mode is part of the key of JAX's caches: code compiled under another is traced anew.
`chex.disable_asserts()` means `off`. Messages call the argument `name`, the function
`caller`, and count mapped dimensions into a row's index, the outermost `vmap` first.

JAX limits staged checks. The gradient of `scan`, `map` or `fori_loop` drops those of
its body: check before the loop, or differentiate inside. Those in a `custom_jvp` do not
run when it is differentiated. `cond` under `vmap` runs those of both branches.
`shard_map` sees one shard at a time; `checkify` rejects it under an Explicit mesh, and
checks in a loop inside of it.
"""

import functools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar

import jax
import numpy as np
from jax.typing import ArrayLike

from ._core import domains, modes
from ._core.shapes import (
    as_given,
    check_class_axis,
    check_float,
    check_labels_dtype,
    integers,
    is_integer,
)
from ._core.verdicts import Claim, look, PREFIX

__all__ = [
    "assert_binary_logits",
    "assert_binary_probs",
    "assert_labels",
    "assert_log_simplex",
    "assert_logits",
    "assert_simplex",
    "checked",
    "mode",
    "set_mode",
]


def __dir__() -> list[str]:
    return [*__all__, "__doc__"]


Mode: TypeAlias = Literal["eager", "checkify", "callback", "off"]
_P = ParamSpec("_P")
_R = TypeVar("_R")


def mode(value: Mode) -> AbstractContextManager[Any]:
    """A `with` block under another mode of value checks.

    It holds for the asyncio task, or the thread, that opens it, and for what these call.
    A block that is open in a suspended generator holds inside of the generator alone,
    unless that is a context manager of `contextlib`. Tasks and generators may close their
    blocks in any order. Code that is staged while several tasks have blocks open at once
    may carry the checks of another: there, open "checkify" and "callback" outside of them.

    Raises:
      ValueError: If `value` is not "eager", "checkify", "callback" or "off".

    Example:
      >>> import jxent, jax.numpy as jnp
      >>> with jxent.checks.mode("off"):
      ...     jxent.checks.assert_simplex(jnp.array([0.5, 0.6]))
    """
    return modes.mode(value)


def set_mode(value: Mode) -> None:
    """Sets the mode of value checks for all threads, outside of `with mode(...)`.

    Raises:
      ValueError: As `mode`.

    Example:
      >>> import jxent
      >>> jxent.checks.set_mode("eager")
    """
    modes.set_mode(value)


def checked(fn: Callable[_P, _R]) -> Callable[_P, _R]:
    """The same function, with its value checks compiled in.

    `chex.chexify` in mode "checkify", so that chex's own value assertions run too. It
    goes outside of `jit`, `nnx.jit` and all else. `fn` may have been jitted and run before;
    if it is not jitted, each call traces it anew. Modules and optimizers of `flax.nnx` are
    to be arguments of `fn`, and are updated as it updates them.

    Returns:
      A function like `fn`, which waits for the verdict, and raises AssertionError.

    Example:
      >>> import jax, jxent, jax.numpy as jnp
      >>> double = jax.jit(lambda p: jxent.checks.assert_simplex(p) or 2 * p)
      >>> jxent.checks.checked(double)(jnp.array([[0.5, 0.5], [0.5, 0.375]]))
      Traceback (most recent call last):
      AssertionError: assert_simplex: row [1] of p sums to 0.875, not 1; did you mean...
    """

    plain = functools.cache(lambda: _chexified(fn))

    @functools.wraps(fn)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        modules = _Modules.among((args, kwargs))
        if not modules:
            return _verdict_of(plain(), args, kwargs)
        run = _chexified(modules.pure(fn))
        result, state = _verdict_of(run, modules.state, {})
        modules.update(state)
        return result

    return wrapper


def _chexified(fn: Callable[..., Any]) -> Callable[..., Any]:
    import chex  # a third of the time of importing jxent

    def under_checkify(*args, **kwargs):
        with modes.mode("checkify"):
            return fn(*args, **kwargs)

    run: Any = chex.chexify(under_checkify, async_check=False)
    # Chex keeps what to wait for, for good, and complains of it when the program ends. Here
    # there is nothing to wait for.
    from chex._src import asserts_internal

    storage: Any = asserts_internal.CHEXIFY_STORAGE
    storage.wait_fns.remove(run.wait_checks)
    return run


_SUFFIX = " (`check` failed)"  # which checkify adds


def _verdict_of(run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    from jax.experimental import checkify

    try:
        return run(*args, **kwargs)
    except (AssertionError, checkify.JaxRuntimeError) as error:
        text = str(error)
        # The gradient of a `shard_map` has one report from every shard, behind a mark by
        # which chexify does not know them.
        if PREFIX not in text and not isinstance(error, AssertionError):
            raise
    raise AssertionError(text.partition(PREFIX)[2].partition(_SUFFIX)[0] or text)


class _Modules:
    """The modules of flax.nnx among arguments, which checkify is to see as arrays.

    They may be changed only at the level of tracing at which they were made. So they are
    made anew inside, from their state, and updated outside to the state they end in.
    """

    def __init__(self, nnx: Any, leaves: list[Any], tree: Any):
        self._nnx, self._leaves, self._tree = nnx, leaves, tree
        self._modules = [x for x in leaves if _is_module(nnx, x)]
        self._graph, state = nnx.split(self._modules)
        self.state = state, [x for x in leaves if isinstance(x, jax.Array | np.ndarray)]

    @classmethod
    def among(cls, arguments: Any) -> "_Modules | None":
        nnx: Any = sys.modules.get("flax.nnx")
        if nnx is None:
            return None
        is_module = functools.partial(_is_module, nnx)
        leaves, tree = jax.tree.flatten(arguments, is_leaf=is_module)
        return cls(nnx, leaves, tree) if any(map(is_module, leaves)) else None

    def pure(self, fn: Callable[..., _R]) -> Callable[[Any, Any], tuple[_R, Any]]:
        """`fn` as a function of the state, which returns what it has become as well."""

        def of_state(state, arrays):
            modules = self._nnx.merge(self._graph, state)
            new, arrays = iter(modules), iter(arrays)

            def inside(x):
                if _is_module(self._nnx, x):
                    return next(new)
                return next(arrays) if isinstance(x, jax.Array | np.ndarray) else x

            args, kwargs = jax.tree.unflatten(self._tree, map(inside, self._leaves))
            return fn(*args, **kwargs), self._nnx.split(modules)[1]

        return jax.jit(
            of_state
        )  # checkify alone has no level that nnx would know again

    def update(self, state: Any) -> None:
        self._nnx.update(self._modules, state)


def _is_module(nnx: Any, x: Any) -> bool:
    return isinstance(x, nnx.Pytree | nnx.Variable)


def assert_simplex(
    p: ArrayLike, *, name: str = "p", caller: str = "assert_simplex"
) -> None:
    """Every row is a distribution, given by probabilities.

        pᵢ ≥ 0,   |Σᵢ pᵢ − 1| ≤ 4 ε + k s/2 + √k ε′            over the last axis

    This admits any softmax, in half precision over millions of classes too. ε and s are
    the dtype's epsilon and smallest subnormal, ε′ is float32's (or float64's) epsilon.

    Raises:
      AssertionError: If an entry is negative, infinite or NaN, or a sum is not 1.
      TypeError, ValueError: If `p` is not floating point; if it has no class.

    Example:
      >>> import jxent, jax.numpy as jnp
      >>> jxent.checks.assert_simplex(jnp.array([[0.5, 0.5], [-1.0, 2.0]]))
      Traceback (most recent call last):
      AssertionError: assert_simplex: entry 0 of row [1] of p is -1.0; did you mean...
    """
    _check(p, domains.Simplex(), name, caller)


def assert_log_simplex(
    log_p: ArrayLike, *, name: str = "log_p", caller: str = "assert_log_simplex"
) -> None:
    """Every row is a distribution, given by log-probabilities.

        |log Σᵢ exp(log pᵢ)| ≤ (16 + log k) ε + √k ε′           over the last axis

    An entry of −inf is an impossible class. This admits any `log_softmax`, and
    `z - logsumexp(z)` for |z| up to 32. ε and ε′ are as for `assert_simplex`.

    Raises:
      AssertionError: If an entry is +inf or NaN, or the probabilities' sum is not 1.
      TypeError, ValueError: If `log_p` is not floating point; if it has no class.

    Example:
      >>> import jxent, jax.numpy as jnp
      >>> jxent.checks.assert_log_simplex(jnp.array([0.5, 0.5]))
      Traceback (most recent call last):
      AssertionError: assert_log_simplex: log_p has logsumexp 1.193147..., not 0; did...
    """
    _check(log_p, domains.LogSimplex(), name, caller)


def assert_logits(
    z: ArrayLike, *, name: str = "z", caller: str = "assert_logits"
) -> None:
    """Every row has a softmax.

        zᵢ < +inf,   maxᵢ zᵢ > −inf                            over the last axis

    Raises:
      AssertionError: If an entry is +inf or NaN, or every entry of a row is −inf.
      TypeError, ValueError: If `z` is not floating point; if it has no class.

    Example:
      >>> import jxent, jax.numpy as jnp
      >>> jxent.checks.assert_logits(jnp.array([-jnp.inf, jnp.nan]))
      Traceback (most recent call last):
      AssertionError: assert_logits: entry 1 of z is NaN
    """
    _check(z, domains.HasSoftmax(), name, caller)


def assert_labels(
    y: ArrayLike, num_classes: int, *, name: str = "y", caller: str = "assert_labels"
) -> None:
    """Every label is the index of a class.

        0 ≤ y < k                                       k = num_classes; no class axis

    Raises:
      AssertionError: If a label is negative, or k or more.
      TypeError, ValueError: If `y` is not integer; if there is no class.

    Example:
      >>> import jxent, jax.numpy as jnp
      >>> jxent.checks.assert_labels(jnp.array([3, 12]), 10)
      Traceback (most recent call last):
      AssertionError: assert_labels: label 12 (entry [1] of y) is not in [0, 10)
    """
    if num_classes == 0:
        raise ValueError(f"{caller}: there is no class that {name} could name")
    y = integers(y, name, caller)
    check_labels_dtype(y, name=name, caller=caller)
    look(y, Claim(domains.Indices(num_classes), name, caller))


def assert_binary_probs(
    p: ArrayLike, *, name: str = "p", caller: str = "assert_binary_probs"
) -> None:
    """Every element is the probability of one event.

        0 ≤ p ≤ 1                                                      no class axis

    Raises:
      AssertionError: If an element is below 0, above 1, or NaN.
      TypeError: If `p` is not floating point.

    Example:
      >>> import jxent, jax.numpy as jnp
      >>> jxent.checks.assert_binary_probs(jnp.array([0.0, 1.5]))
      Traceback (most recent call last):
      AssertionError: assert_binary_probs: entry [1] of p is 1.5, not in [0, 1]; did...
    """
    _check(p, domains.EventProbs(), name, caller)


def assert_binary_logits(
    x: ArrayLike, *, name: str = "x", caller: str = "assert_binary_logits"
) -> None:
    """Every element is the logit of one event.

        −inf ≤ x ≤ +inf                                                no class axis

    An infinite logit is an event that is certain, or impossible.

    Raises:
      AssertionError: If an element is NaN.
      TypeError: If `x` is not floating point.

    Example:
      >>> import jxent, jax.numpy as jnp
      >>> jxent.checks.assert_binary_logits(jnp.array([jnp.inf, jnp.nan]))
      Traceback (most recent call last):
      AssertionError: assert_binary_logits: entry [1] of x is NaN
    """
    _check(x, domains.NotNaN(), name, caller)


def _check(x: Any, domain: domains.Domain, name: str, caller: str) -> None:
    x = as_given(x, name, caller)
    check_float(x, name=name, caller=caller, fix=_instead(x, domain, name))
    if isinstance(x, np.ndarray):
        x = x.astype(jax.dtypes.canonicalize_dtype(x.dtype), copy=False)
    if domain.rows:
        check_class_axis(x, name=name, caller=caller)
    look(x, Claim(domain, name, caller))


def _instead(x: Any, domain: domains.Domain, name: str) -> str:
    """What integers may have been meant for."""
    if not is_integer(x.dtype):
        return ""
    if not domain.rows:
        truth = "" if name == "q" else f" or Labels({name})"
        return f"; did you mean {name}.astype(float){truth}?"
    counts = f"counts are divided by their sum: {name} / {name}.sum(-1, keepdims=True)"
    return f"; class indices are Labels({name}), {counts}"
