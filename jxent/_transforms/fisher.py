"""Products with curvature that is never stored: `fisher_vp` and `gauss_newton_vp`."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._core.shapes import as_array, check_float
from .._distributions.base import Model
from .._measures.divergence import kl_divergence

Params = TypeVar("Params")


def fisher_vp(
    f: Callable[[Params], Model], params: Params
) -> Callable[[Params], Params]:
    """Products with the Fisher information of a model, F v, without F.

        F = Σ E[s sᵀ],  s = ∇ log q(y),  y ~ q = f(params)        sum over the rows of q
          = Σ ∇² KL(q ‖ f(params)),  where the first q is held constant
          = Jᵀ (Σ ∇²_q KL) J

    The metric of natural gradients and of trust regions: ½ vᵀF v is KL from the model at
    `params` to that at `params + v`, for small v. It is symmetric and never negative, and
    the curvature of a log loss wherever the model fits. The model is linearised once; each
    product is one pass forward and one backward, of the cost of a gradient. Solve F x = g
    with `jax.scipy.sparse.linalg.cg(lambda v: F v + λ v, g)`, λ > 0 for damping.

    Args:
      f: The model on its inputs, from parameters to a distribution: `Logits`, one event's
        `BinaryLogits`, `LinearLogits`, whose logits never exist here either, or whatever
        `kl_divergence` takes for its second argument.
      params: Where; a pytree of float arrays.

    Returns:
      v ↦ F v, of pytrees like `params`. Divide by the number of rows for the mean's.

    Limits:
      Confident rows keep the digits of their small curvature. A class that is impossible
      has none.

    Raises:
      TypeError: If `f` does not return a distribution that may come second.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> x = jnp.array([[1.0, 2.0], [0.5, -1.0]])
      >>> product = jxent.fisher_vp(lambda w: jxent.Logits(x @ w), jnp.zeros((2, 3)))
      >>> print(product(jnp.eye(2, 3)))
      [[ 0.111...  0.194... -0.305...]
       [-0.222...  0.944... -0.722...]]

    References:
      Amari, "Natural Gradient Works Efficiently in Learning", Neural Computation 10, 1998.
      Schraudolph, "Fast Curvature Matrix-Vector Products for Second-Order Gradient
      Descent", Neural Computation 14, 2002.
    """

    def distance(q):
        return kl_divergence(jax.lax.stop_gradient(q), q)

    return _product(distance, f, params, "fisher_vp")


def gauss_newton_vp(
    loss: Callable[[Any], Array], f: Callable[[Params], Any], params: Params
) -> Callable[[Params], Params]:
    """Products with the generalised Gauss-Newton matrix of a loss, G v, without G.

        G = Jᵀ (∇² loss) J,   J = ∂f/∂params,  ∇² that of the loss at f(params)

    The curvature of `loss(f(params))` without that of f itself: never negative for a
    convex loss. Of a log loss of logits it is the Fisher information.

    Args:
      loss: From what `f` returns to numbers, which are summed.
      f: The model on its inputs, from parameters to any pytree of float arrays.
      params: Where; a pytree of float arrays.

    Returns:
      v ↦ G v, of pytrees like `params`.

    Limits:
      Those of the second derivative of `loss`.

    Example:
      >>> import jax.numpy as jnp
      >>> import jxent
      >>> from jxent import Labels, Logits
      >>> x, y = jnp.array([[1.0, 2.0], [0.5, -1.0]]), Labels(jnp.array([0, 2]))
      >>> loss = lambda z: jxent.cross_entropy(y, Logits(z))
      >>> product = jxent.gauss_newton_vp(loss, lambda w: x @ w, jnp.zeros((2, 3)))
      >>> print(product(jnp.eye(2, 3)))
      [[ 0.111...  0.194... -0.305...]
       [-0.222...  0.944... -0.722...]]

    References:
      Schraudolph, "Fast Curvature Matrix-Vector Products for Second-Order Gradient
      Descent", Neural Computation 14, 2002, section 3.
    """
    return _product(loss, f, params, "gauss_newton_vp")


def _product(
    loss: Callable[[Any], Array],
    f: Callable[[Params], Any],
    params: Params,
    caller: str,
) -> Callable[[Params], Params]:
    params = _of_floats(params, "params", caller)
    out, push = jax.linearize(f, params)
    pull = jax.linear_transpose(push, params)
    slope = jax.grad(lambda out: jnp.sum(loss(out)))

    def product(v: Params) -> Params:
        v = _of_floats(v, "v", caller)
        _, bend = jax.jvp(slope, (out,), (push(v),))
        return pull(bend)[0]

    return product


def _of_floats(tree: Params, name: str, caller: str) -> Params:
    """A pytree of float arrays; TypeError if a leaf is none."""

    def leaf(path, x):
        at = name + jax.tree_util.keystr(path)
        x = as_array(x, at, caller)
        check_float(x, name=at, caller=caller)
        return x

    return jax.tree_util.tree_map_with_path(leaf, tree)
