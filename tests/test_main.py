"""The main job: its numbers, its report, and every way to end it early."""

import gzip
import math
import os
import re
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

import jxent
from jxent import __main__ as job
from jxent._demo import model, report
from jxent._demo.text import python_topics, read, SHORTEST

WORDS = ["entropy", "of", "the", "source", ",", "code", "length", "\n"]
SAMPLE = " ".join(np.random.default_rng(0).choice(WORDS, 1000).tolist()).encode()


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample.txt"
    path.write_bytes(SAMPLE)
    return str(path)


@pytest.fixture
def standard_promotion():
    # optax does not run under strict dtype promotion.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "jxent", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        job.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"jxent {jxent.__version__}\n"


def test_default_text_is_long_and_holds_no_paragraph_twice():
    text = python_topics()
    train, held_out = (
        set(part.tobytes().split(b"\n\n")) for part in (text.train, text.held_out)
    )
    assert len(text.train) > 300_000 and len(text.held_out) > 30_000
    assert not train & held_out - {b""}


@pytest.mark.usefixtures("standard_promotion")
def test_report_on_a_file(sample, capsys):
    assert job.main(["--text", sample, "--steps", "60"]) == 0
    out, err = capsys.readouterr()
    assert not err

    rows = {}
    for line in out.splitlines():
        if found := re.match(r"  (\S+(?: \S+)?) .*? (\d+\.\d{4}) .*?([\d,]+)$", line):
            name, bits, size = found.groups()
            rows.setdefault(name, []).append((float(bits), int(size.replace(",", ""))))
    held_out = SAMPLE[len(SAMPLE) - len(SAMPLE) // 10 :]

    # H(P) + KL(P‖Q) = H(P, Q), as printed.
    (h, h_size), (kl, kl_size), (hq, hq_size) = (
        rows[name][0] for name in ("H(P)", "KL(P‖Q)", "H(P, Q)")
    )
    assert h + kl == pytest.approx(hq, abs=1e-9) and h_size + kl_size == hq_size
    assert rows["uniform"] == [(8.0, len(held_out))]
    assert rows["gzip -9"][0][1] == len(gzip.compress(held_out, 9))
    assert [len(rows[name]) for name in report.COMPRESSORS] == [2, 2, 2]

    # The model learned something, and its three units agree.
    [(bits, size)] = rows["model"]
    sentence = re.search(r"is ([\d.]+) nats = ([\d.]+) bits.*\nof ([\d.]+):", out)
    assert sentence
    nats, again, perplexity = map(float, sentence.groups())
    assert bits == again < h
    assert nats == pytest.approx(bits * math.log(2), abs=1e-4)
    assert perplexity == pytest.approx(2**bits, abs=0.01)
    assert size == pytest.approx(bits * len(held_out) / 8, abs=1.01)


@pytest.mark.usefixtures("standard_promotion")
def test_a_fifth_of_the_training_beats_every_compressor_on_the_default_text():
    text = python_topics()
    n, seen = len(text.train), model.look_back(np.concatenate(text[1:]))
    params = model.train(text.train, seen[:n], 100, 0, lambda step, loss: None)
    paid, _ = model.evaluate(params, text.held_out, seen[n:])
    size = paid / math.log(2) * len(text.held_out) / 8
    assert size < 0.9 * min(
        alone for alone, _ in report.compressed_sizes(text).values()
    )


def test_numbers_without_context_match_their_definitions(sample):
    text = read(sample)
    p = np.bincount(text.held_out, minlength=256) / len(text.held_out)
    q = (np.bincount(text.train, minlength=256) + 0.5) / (len(text.train) + 128)
    seen = p > 0
    h = -np.sum(p[seen] * np.log2(p[seen]))
    hq = -np.sum(p * np.log2(q))
    np.testing.assert_allclose(
        report.without_context(text), (h, hq - h, hq), rtol=1e-5, atol=1e-6
    )


def test_a_byte_is_predicted_from_its_past_only():
    text = np.frombuffer(SAMPLE, np.uint8)
    changed = text.copy()
    changed[500:] += 1
    before, after = model.look_back(text), model.look_back(changed)
    np.testing.assert_array_equal(before[:501], after[:501])
    assert (before[501:] != after[501:]).any()


def test_memories_are_the_bytes_that_followed_the_same_context():
    text = b"abcabdabcab"
    seen = model.look_back(np.frombuffer(text, np.uint8))
    order = model.ORDERS.index(2)
    for t in range(len(text)):
        followers = [
            text[i]
            for i in range(2, t)
            if t >= 2 and text[i - 2 : i] == text[t - 2 : t]
        ][::-1]
        expected = (followers + [model.NOTHING] * model.MEMORIES)[: model.MEMORIES]
        at = model.RECENT + order * model.MEMORIES
        assert seen[t, at : at + model.MEMORIES].tolist() == expected
    assert seen[3, : model.RECENT].tolist() == [*b"cba", *[model.NOTHING] * 3]


@pytest.mark.usefixtures("standard_promotion")
def test_an_untrained_model_is_uniform_and_the_seed_decides_the_rest():
    text = np.frombuffer(SAMPLE, np.uint8)
    seen = model.look_back(text)
    untrained = model.evaluate(model.init(jax.random.key(0)), text, seen)
    np.testing.assert_allclose(untrained, math.log(256), rtol=1e-6)

    losses = {}
    for run, seed in (("first", 1), ("second", 1), ("other", 2)):
        losses[run] = []
        model.train(
            text, seen, 3, seed, lambda _, loss, run=run: losses[run].append(loss)
        )
    assert losses["first"] == losses["second"] != losses["other"]


@pytest.mark.parametrize(
    "content",
    [
        "Грамматика — наука о языке. 文法は言語の学問です。 ".encode() * 40,
        "Größe, façade, señor, naïve, œuvre\r\n".encode("cp1252") * 40,
        b"\x1b[1mbold\x1b[0m and o\bover\tstruck\f\n" * 60,
    ],
    ids=["utf-8", "8-bit", "terminal"],
)
def test_text_of_every_kind_is_read(tmp_path, content):
    path = tmp_path / "text"
    path.write_bytes(content)
    text = read(str(path))
    assert text.train.tobytes() + text.held_out.tobytes() == content


def bad_inputs(tmp_path):
    contents = {
        "empty": b"",
        "short": b"a" * (SHORTEST - 1),
        "nul": SAMPLE + b"\0",
        "utf16": SAMPLE.decode().encode("utf-16"),
        "control": np.random.default_rng(0)
        .integers(1, 256, 5000)
        .astype("u1")
        .tobytes(),
        "fine": SAMPLE,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return lambda arguments: [a.replace("@", f"{tmp_path}/") for a in arguments]


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--text", "@missing"], "No such file"),
        (["--text", "@"], "Is a directory"),
        (["--text", "@empty"], "is empty"),
        (["--text", "@short"], f"at least {SHORTEST}"),
        (["--text", "@nul"], "not text"),
        (["--text", "@utf16"], "not text"),
        (["--text", "@control"], "not text"),
        (["--steps", "0"], "--steps"),
        (["--steps", "many"], "--steps"),
        (["--seed", "-1"], "--seed"),
        (["--text", "@fine", "--plot", "@missing/curve.png"], "No such file"),
        (["--text", "@fine", "--plot", "@curve.pdf"], ".png"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, capsys, arguments, complaint):
    if any("curve" in a for a in arguments):
        pytest.importorskip("matplotlib")
    assert job.main(bad_inputs(tmp_path)(arguments)) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("python -m jxent: error: ") and err.count("\n") == 1
    assert complaint in err


def test_missing_matplotlib_is_said_before_training(sample, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert job.main(["--text", sample, "--plot", "curve.png"]) == 2
    assert "pip install matplotlib" in capsys.readouterr().err


def test_plot_is_a_png(sample, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "curve.png"
    report.plot(str(path), read(sample), [5.5, 3.0, 2.0], 1.5)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_checking_the_plot_path_leaves_no_trace(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "curve.png"
    job.check_plot(str(path))
    assert not path.exists()
    path.write_bytes(b"an older plot")
    job.check_plot(str(path))
    assert path.read_bytes() == b"an older plot"


def test_progress_is_a_bar_on_a_terminal_and_few_lines_elsewhere(monkeypatch, capsys):
    for terminal in (True, False):
        monkeypatch.setattr(sys.stdout, "isatty", lambda terminal=terminal: terminal)
        progress = job.Progress(100)
        for step in range(1, 101):
            progress(step, math.log(2))
        out = capsys.readouterr().out
        assert "100/100  1.000 bits/byte" in out
        assert out.count("\r") == (100 if terminal else 0)
        assert out.count("\n") == (1 if terminal else 11)


def test_bad_input_from_the_shell():
    with start("--text", "no such file") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert not out and err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_interrupt_leaves_one_line_and_no_traceback():
    with start("--steps", "100000") as process:
        assert process.stdout and "Training" in process.stdout.readline()
        process.stdout.readline()  # the first step: it is compiled and running
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "interrupted\n"


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_closed_pipe_ends_the_job_quietly():
    with start("--steps", "100000") as process:
        assert process.stdout and "Training" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=60) != 0
        assert process.stderr and process.stderr.read() == ""
