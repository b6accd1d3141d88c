"""The migration tables: what one writes now is what one wrote, and its definition."""

import importlib
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jxent
from jxent import losses, Mean

N, K = 6, 4
rng = np.random.default_rng(0)
softmax = lambda z: np.exp(z) / np.exp(z).sum(-1, keepdims=True)
NUMBERS = {
    "z": rng.normal(size=(N, K)),
    "teacher": rng.normal(size=(N, K)),
    "t": softmax(rng.normal(size=(N, K))),
    "q": softmax(rng.normal(size=(N, K))),
    "x": rng.normal(size=(N, K)),
    "p": rng.uniform(size=(N, K)),
    "e": (rng.uniform(size=(N, K)) < 0.5) * 1.0,
    "w": np.array([0.5, 1.0, 2.0, 3.0]),
    "y": np.array([0, 3, 1, 2, 2, 1]),
    "padded": np.array([0, 3, -100, 2, -100, 1]),
    "mask": np.array([1, 1, 0, 1, 0, 1], bool),
    "images": rng.normal(size=(2, K, 3, 3)),
    "maps": rng.integers(0, K, (2, 3, 3)),
}
NUMBERS["log_q"] = np.log(NUMBERS["q"])


def single(x):
    return x.astype({"f": np.float32, "i": np.int32, "b": np.bool_}[x.dtype.kind])


class D:
    """The definitions, in float64 numpy."""

    z, teacher, t, q, x, p, e, w, y, padded, mask, images, maps, log_q = (
        NUMBERS[name]
        for name in "z teacher t q x p e w y padded mask images maps log_q".split()
    )
    log_p = np.log(softmax(z))
    hard = -log_p[range(N), y]
    smooth = 0.9 * np.eye(K)[y] + 0.1 / K
    real = padded >= 0
    sigmoid = 1 / (1 + np.exp(-x))
    rival = np.log(softmax(np.moveaxis(images, 1, -1)))
    pixels = -np.take_along_axis(rival, maps[..., None], -1)[..., 0]


def entropy(p):
    return -(p * np.log(p)).sum(-1)


def kl(p, q):
    return (p * np.log(p / q)).sum(-1)


def binary(e, p, w=1):
    return -(w * e * np.log(p) + (1 - e) * np.log(1 - p))


# What each row is worth, by what one wrote.
WORTH = {
    "softmax_cross_entropy_with_integer_labels(z, y)": D.hard,
    "softmax_cross_entropy(z, smooth_labels(jax.nn.one_hot(y, k), 0.1))": -(
        D.smooth * D.log_p
    ).sum(-1),
    "safe_softmax_cross_entropy(z, t)": -(D.t * D.log_p).sum(-1),
    "(softmax_cross_entropy_with_integer_labels(z, y) * mask).sum() / mask.sum()": (
        D.hard[D.mask].mean()
    ),
    "kl_divergence(jax.nn.log_softmax(z), t)": kl(D.t, softmax(D.z)),
    "sigmoid_binary_cross_entropy(x, e).mean()": binary(D.e, D.sigmoid).mean(),
    "F.cross_entropy(z, y)": D.hard.mean(),
    "F.cross_entropy(z, t)": -(D.t * D.log_p).sum(-1).mean(),
    "F.cross_entropy(z, padded)": -(
        D.log_p[D.real, D.padded[D.real]].mean()  # where −100 is padding
    ),
    "F.cross_entropy(z, y, weight=w)": (D.w[D.y] * D.hard).sum() / D.w[D.y].sum(),
    "F.cross_entropy(z, y, label_smoothing=0.1)": -(D.smooth * D.log_p).sum(-1).mean(),
    "F.cross_entropy(z, y, weight=w, label_smoothing=0.1)": -(
        (D.w * D.smooth * D.log_p).sum() / D.w[D.y].sum()
    ),
    "F.cross_entropy(images, maps)": D.pixels.mean(),
    "F.nll_loss(log_q, y)": -D.log_q[range(N), D.y].mean(),
    "F.binary_cross_entropy_with_logits(x, e, pos_weight=w)": binary(
        D.e, D.sigmoid, D.w
    ).mean(),
    "F.binary_cross_entropy(p, e)": binary(D.e, D.p).mean(),
    'F.kl_div(log_q, t, reduction="batchmean")': kl(D.t, D.q).mean(),
    "Categorical(logits=z).entropy()": entropy(softmax(D.z)),
    "Categorical(logits=z).log_prob(y)": -D.hard,
    "4 * F.kl_div(F.log_softmax(z / 2, -1), F.softmax(teacher / 2, -1), "
    'reduction="batchmean")': (4 * kl(softmax(D.teacher / 2), softmax(D.z / 2)).mean()),
    "SparseCategoricalCrossentropy(from_logits=True)(y, z)": D.hard.mean(),
    "CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)(t, z)": -(
        ((0.9 * D.t + 0.1 / K) * D.log_p).sum(-1).mean()
    ),
    "CategoricalCrossentropy()(t, q)": -(D.t * D.log_q).sum(-1).mean(),
    "BinaryCrossentropy(from_logits=True, label_smoothing=0.1)(e, x)": binary(
        0.9 * D.e + 0.05, D.sigmoid
    ).mean(),
    "BinaryFocalCrossentropy(from_logits=True, gamma=2.0)(e, x)": (
        binary(D.e, D.sigmoid) * np.abs(D.e - D.sigmoid) ** 2
    ).mean(),
    "KLDivergence()(t, q)": kl(D.t, D.q).mean(),
}

ROOT = Path(__file__).parents[1]


def rows_of(page):
    """(library, what one wrote, what one writes now), of the migration table of a page."""
    text = (ROOT / page).read_text("utf-8")
    table = text.partition("| from | what you wrote |")[2].partition("\n\n")[0]
    return [
        (library.strip(), *re.findall("`(.*?)`", cells))
        for library, cells in re.findall(r"^\| (\w+) \| (.*)$", table, re.MULTILINE)
    ]


ROWS = rows_of("docs/switching.md")


def namespace(library):
    """What the old code of a library sees; None if the library is not installed."""
    arrays = {name: jnp.asarray(single(x)) for name, x in NUMBERS.items()}
    if library == "optax":
        return {**vars(optax.losses), **arrays, "jax": jax, "k": K}
    if library == "keras":
        os.environ.setdefault("KERAS_BACKEND", "jax")
    try:
        importlib.import_module(library)
    except ImportError:
        return None
    if library == "keras":
        return {**vars(importlib.import_module("keras.losses")), **arrays}
    torch = importlib.import_module("torch")
    categorical = importlib.import_module("torch.distributions").Categorical
    wide = lambda x: torch.from_numpy(x if x.dtype.kind == "i" else single(x))
    tensors = {name: wide(x) for name, x in NUMBERS.items()}
    return {"F": torch.nn.functional, "Categorical": categorical, **tensors}


def test_every_row_has_a_definition():
    assert {wrote for _, wrote, _ in ROWS} == WORTH.keys()
    assert {library for library, *_ in ROWS} == {"optax", "torch", "keras"}


def test_what_stays_in_optax_is_named():
    page = (ROOT / "docs" / "switching.md").read_text("utf-8")
    listed = page.partition("stay in `optax.losses`:")[2].partition("\n\n")[0]
    stay = set(re.findall(r"`(\w+)`", listed))
    theirs = {name for name in vars(optax.losses) if not name.startswith("_")}
    theirs = {name for name in theirs if callable(getattr(optax.losses, name))}
    assert theirs - set(losses.__all__) == stay and len(stay) == 19


def test_the_readme_shows_some_of_them():
    shown = rows_of("README.md")
    assert shown and set(shown) <= set(ROWS)


@pytest.mark.parametrize("library, wrote, now", ROWS, ids=[row[1] for row in ROWS])
def test_a_row_of_the_migration_table(library, wrote, now):
    arrays = {name: jnp.asarray(single(x)) for name, x in NUMBERS.items()}
    scope = {**vars(jxent), "losses": losses, "Mean": Mean, "jnp": jnp, **arrays}
    got = eval(now, scope)
    np.testing.assert_allclose(got, WORTH[wrote], rtol=3e-6)
    old = namespace(library)
    if old is not None:
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            then = eval(wrote, old)
        np.testing.assert_allclose(then, WORTH[wrote], rtol=1e-4)
