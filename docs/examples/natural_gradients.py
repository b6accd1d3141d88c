"""Natural gradients by conjugate gradients.

The Fisher information is the metric of distributions: a step of natural gradient is the
steepest one for a given KL. `fisher_vp` multiplies with it without making it, so that
conjugate gradients solve F v = g. A linear classifier of digits, whole-batch, beside
plain gradient descent.
"""

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg
from sklearn.datasets import load_digits

import jxent
from jxent import Labels, Logits

DAMPING = 1e-3


def natural(loss, model, w, iterations):
    """v with (F + damping) v = ∇ loss, of a mean over rows."""
    rows = model(w).data.shape[0]
    fisher = jxent.fisher_vp(model, w)
    return cg(
        lambda v: fisher(v) / rows + DAMPING * v, jax.grad(loss)(w), maxiter=iterations
    )[0]


def main(steps=10, iterations=20, rows=1000):
    x, y = load_digits(return_X_y=True)
    x, y = jnp.asarray(x[:rows] / 16, jnp.float32), jnp.asarray(y[:rows], jnp.int32)
    model = lambda w: Logits(x @ w)
    loss = lambda w: jxent.cross_entropy(Labels(y), model(w)).mean()

    @jax.jit
    def both(w, u):
        return w - 0.7 * natural(loss, model, w, iterations), u - 0.5 * jax.grad(loss)(
            u
        )

    w = u = jnp.zeros((64, 10))
    for i in range(steps):
        w, u = both(w, u)
        print(f"step {i + 1}: natural {loss(w):.4f}, plain {loss(u):.4f} nats")
    return loss(w), loss(u)


if __name__ == "__main__":
    main()
