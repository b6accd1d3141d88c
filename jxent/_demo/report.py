"""The report: what the model's cross-entropy means, beside what compressors need."""

import importlib
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

import jxent

from .text import Text

COMPRESSORS = {  # name: module and options, each at its strongest
    "gzip -9": ("gzip", {"compresslevel": 9}),
    "bz2 -9": ("bz2", {"compresslevel": 9}),
    "xz -9e": ("lzma", {"preset": 9 | 1 << 31}),
}


def compressed_sizes(text: Text) -> dict[str, tuple[int, int]]:
    """Bytes for the held-out text: alone, and as the end of the whole text."""
    train, held_out = text.train.tobytes(), text.held_out.tobytes()
    sizes = {}
    for name, (module, options) in COMPRESSORS.items():
        try:
            compress = importlib.import_module(module).compress
        except ImportError:  # CPython can be built without bz2 or lzma
            continue
        alone, before, whole = (
            len(compress(data, **options))
            for data in (held_out, train, train + held_out)
        )
        sizes[name] = alone, whole - before
    return sizes


def frequencies(
    data: UInt8[np.ndarray, " n"], pseudocount: float = 0.0
) -> Float[np.ndarray, "256"]:
    """How often each byte occurs, as a distribution."""
    counts = np.bincount(data, minlength=256) + pseudocount
    return (counts / counts.sum()).astype(np.float32)


def without_context(text: Text) -> tuple[float, float, float]:
    """H(P), KL(P‖Q) and H(P, Q) = H(P) + KL(P‖Q), in bits per held-out byte."""
    # Half a count for every byte (Krichevsky and Trofimov): one that the training text
    # lacks would otherwise have Q = 0, which costs infinitely many bits.
    p, q = frequencies(text.held_out), frequencies(text.train, pseudocount=0.5)
    return (
        float(jxent.entropy(p, base=2)),
        float(jxent.kl_divergence(p, q, base=2)),
        float(jxent.cross_entropy(p, q, base=2)),
    )


def report(text: Text, paid: float, expected: float) -> str:
    """Everything, for people. `paid` and `expected`: `evaluate`'s, in nats per byte."""
    n = len(text.held_out)
    sizes = compressed_sizes(text)
    h, _, hq = (round(x, 4) for x in without_context(text))
    model = paid / math.log(2)

    def size(bits):  # of the held-out text, in bytes
        return math.ceil(bits * n / 8)

    def row(name, meaning, bits, total, perplexity=None):
        perplexity = f"{2**bits:.2f}" if perplexity is None else perplexity
        return f"  {name:<10}{meaning:<28}{bits:>10.4f}{perplexity:>13}{total:>12,}"

    lines = [
        f"{'':40}{'bits/byte':>10}{'perplexity':>13}{'bytes':>12}",
        "Without context (P, Q: byte frequencies, held out and in training)",
        row("uniform", "log₂ 256", 8.0, n),
        row("H(P)", "entropy", h, size(h)),
        # Rounded so that both columns add up.
        row("KL(P‖Q)", "+ the price of expecting Q", hq - h, size(hq) - size(h), ""),
        row("H(P, Q)", "= cross-entropy", hq, size(hq)),
        "With context, from the held-out text alone",
        *(row(name, "", 8 * a / n, a) for name, (a, _) in sizes.items()),
        "With context, after the training text",
        *(row(name, "", 8 * b / n, b) for name, (_, b) in sizes.items()),
        row("model", "cross-entropy", model, size(model)),
    ]
    table = "\n".join(lines)
    guesses, doubt = f"{2**model:.2f}", f"{expected / math.log(2):.4f}"
    gain = 1 - size(model) / sizes["gzip -9"][0]
    less = f"{abs(gain):.0%} {'less' if gain >= 0 else 'more'}"
    return f"""\
Held out: the last {n:,} of {len(text.train) + n:,} bytes. The model has not trained on
them. It predicts each of them from all the bytes before it.

{table}

The model's cross-entropy is {paid:.4f} nats = {model:.4f} bits per byte, a perplexity
of {guesses}: its next byte is as hard to guess as one of {guesses} equally likely ones.

Cross-entropy is code length: an arithmetic coder that follows the predictions
writes the held-out text in {size(model):,} bytes (at most one more), {less} than gzip.
Not counted is what its decoder needs besides: the training text and the model.
In the last group the compressors had that text as well: their sizes are those of
the whole text less those of the training text. (gzip remembers only 32 KiB.)

Context gains the model {h - model:z.2f} bits per byte on H(P), which is a lower bound
only for codes without context. Q counts every byte half a time more than it occurs,
so that none is impossible. By the mean entropy of its own predictions the model
expected to pay {doubt} bits per byte; it paid {model:.4f}."""


def plot(path: str, text: Text, losses: Sequence[float], paid: float) -> None:
    """The falling cross-entropy as a PNG, with the code lengths that it passes."""
    from matplotlib.figure import Figure

    n, steps, bits = len(text.held_out), len(losses), np.array(losses) / math.log(2)
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(
        np.arange(1, steps + 1), bits, color="#0072B2", label="model, in training"
    )
    held_out = paid / math.log(2)
    axes.plot(steps, held_out, "ko", label=f"model, held out: {held_out:.2f}")
    marks = {"H(P), no context": without_context(text)[0]}
    marks |= {
        name: 8 * alone / n for name, (alone, _) in compressed_sizes(text).items()
    }
    # Colours of Okabe and Ito; the dashes tell them apart as well.
    styles = [("#009E73", ":"), ("#D55E00", "--"), ("#E69F00", "-."), ("#CC79A7", "-")]
    for (name, value), (color, dash) in zip(marks.items(), styles, strict=False):
        axes.axhline(value, color=color, linestyle=dash, label=f"{name}: {value:.2f}")
    axes.set(
        title=f"Cross-entropy is code length ({n:,} bytes held out)",
        xlabel="training step",
        ylabel="cross-entropy (bits per byte)",
        xscale="log",
        ylim=(0, max(8.2, bits.max(), held_out)),
    )
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.legend(framealpha=1)
    figure.savefig(path, format="png")
