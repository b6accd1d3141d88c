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
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, TypeVar

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import checkify
from jax.typing import ArrayLike
from jaxtyping import Array

from ._core.domains import Claim, ELEMENTWISE, holds, Report, report
from ._core.shapes import (
    check_class_axis,
    check_float,
    check_labels_dtype,
    indices,
    integers,
)

_P = ParamSpec("_P")
_R = TypeVar("_R")
_MODES = ("eager", "checkify", "callback", "off")


def _known_mode(value: str) -> str:
    if value in _MODES:
        return value
    raise ValueError(f"value checks: {value!r} is none of {', '.join(_MODES)}")


_mode = jax.make_user_context(_known_mode(os.environ.get("JXENT_CHECKS") or "eager"))


def mode(value: str) -> AbstractContextManager[Any]:
    """A `with` block, in this thread, under another mode of value checks.

    Raises:
      ValueError: If `value` is not "eager", "checkify", "callback" or "off".

    Example:
      >>> import jxent, jax.numpy as jnp
      >>> with jxent.checks.mode("off"):
      ...     jxent.checks.assert_simplex(jnp.array([0.5, 0.6]))
    """
    return _mode(_known_mode(value))


def set_mode(value: str) -> None:
    """Sets the mode of value checks for all threads, outside of `with mode(...)`.

    Raises:
      ValueError: As `mode`.

    Example:
      >>> import jxent
      >>> jxent.checks.set_mode("eager")
    """
    _mode.set_global(_known_mode(value))


def checked(fn: Callable[_P, _R]) -> Callable[_P, _R]:
    """The same function, with its value checks compiled in.

    `chex.chexify` in mode "checkify", so that chex's own value assertions run too. It
    goes outside of `jit` and all else. `fn` may have been jitted and run before; if it
    is not jitted, each call traces it anew.

    Returns:
      A function like `fn`, which waits for the verdict, and raises AssertionError.

    Example:
      >>> import jax, jxent, jax.numpy as jnp
      >>> double = jax.jit(lambda p: jxent.checks.assert_simplex(p) or 2 * p)
      >>> jxent.checks.checked(double)(jnp.array([[0.5, 0.5], [0.5, 0.375]]))
      Traceback (most recent call last):
      AssertionError: assert_simplex: row [1] of p sums to 0.875, not 1; did you mean...
    """

    def under_checkify(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with _mode("checkify"):
            return fn(*args, **kwargs)

    chexified = chex.chexify(under_checkify, async_check=False)

    @functools.wraps(fn)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return chexified(*args, **kwargs)
        except (AssertionError, checkify.JaxRuntimeError) as error:
            text = str(error)
            # The gradient of a `shard_map` has one report from every shard, behind a mark
            # by which chexify does not know them.
            if _PREFIX not in text and not isinstance(error, AssertionError):
                raise
        raise AssertionError(text.partition(_PREFIX)[2].partition(_SUFFIX)[0] or text)

    return wrapper


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
    _check(p, Claim("simplex", name, caller))


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
    _check(log_p, Claim("log_simplex", name, caller))


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
    _check(z, Claim("logits", name, caller))


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
    _check(y, Claim("labels", name, caller, num_classes))


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
    _check(p, Claim("binary_probs", name, caller))


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
    _check(x, Claim("binary_logits", name, caller))


def demand(
    flaw: Callable[..., tuple[Any, Any]],
    text: str,
    *arrays: Array,
    error: type[Exception] = AssertionError,
) -> None:
    """Raises `text` of a value if `flaw(*arrays)`, `(is_there, value)`, finds one.

    As the mode says: at once if the arrays are known, with `error`; staged, under
    `checked`, an AssertionError.

    Example:
      >>> import jxent, jax.numpy as jnp
      >>> jxent.checks.demand(lambda t: (t <= 0, t), "t is {}", jnp.array(-1.0))
      Traceback (most recent call last):
      AssertionError: t is -1.0
    """
    how = _mode.value
    known = [x.to_concrete_value() if isinstance(x, Tracer) else x for x in arrays]
    staged = any(x is None for x in known)
    if how == "off" or (staged and how == "eager") or _chex_is_disabled():
        return
    if not staged:
        with jax.ensure_compile_time_eval():
            bad, value = flaw(*(np.asarray(x) if x.size < 2 else x for x in known))
            if bad:
                raise error(text.format(value))
        return
    bad, value = flaw(*map(jax.lax.stop_gradient, arrays))
    if how == "checkify":
        checkify.debug_check(~jnp.asarray(bad), _PREFIX + text, jnp.asarray(value))
    else:
        jax.debug.callback(functools.partial(_raise_text, text), bad, value)


def _raise_text(text: str, bad: Any, value: Any) -> None:
    if bad:
        raise AssertionError(text.format(value))


_PREFIX = "[Chex] chexify assertion 'jxent' failed: "  # by which chexify knows its own
_SUFFIX = " (`check` failed)"  # which checkify adds


def _check(x: Any, claim: Claim) -> None:
    kind, name, caller, num_classes = claim
    if kind == "labels":
        x = integers(x)
        check_labels_dtype(x, name=name, caller=caller)
        x = indices(x)
    else:
        x = x if hasattr(x, "dtype") else jnp.asarray(x)
        integer = jnp.issubdtype(x.dtype, jnp.integer)
        fix = f"; did you mean Labels({name})?" if integer else ""
        check_float(x, name=name, caller=caller, fix=fix)
    if kind not in ELEMENTWISE:
        check_class_axis(x, name=name, caller=caller)
    how = _mode.value
    # Autodiff of eager code traces values that are known. `lax.stop_gradient` unwraps
    # them too, but leaves an equation in staged code.
    known = x.to_concrete_value() if isinstance(x, Tracer) else x
    if how == "off" or (known is None and how == "eager") or _chex_is_disabled():
        return
    if known is not None:
        with jax.ensure_compile_time_eval():  # even where all else is staged
            if not holds(known, kind, num_classes):
                _raise_if_bad(report(known, claim))
        return
    # Under vmap the mapped axis is one batch axis more: one verdict, the index in full.
    look = jax.custom_batching.custom_vmap(lambda x: report(x, claim))
    look.def_vmap(lambda _, __, x: (r := look(x), jax.tree.map(lambda _: False, r)))
    found = look(jax.lax.stop_gradient(x))
    if how == "checkify":
        checkify.debug_check(~found.bad, _PREFIX + "{}", found)
    else:
        jax.debug.callback(_raise_if_bad, found)


def _chex_is_disabled() -> bool:
    try:
        chex.assert_scalar(None)  # which it is not, unless chex does not look
    except AssertionError:
        return False
    return True


def _raise_if_bad(found: Report) -> None:
    if found.bad:
        raise AssertionError(f"{found}")
