"""Compiled for TPU and GPU without one: no array of the logits' size is ever stored."""

import functools
import re

import jax
import pytest

from bench import aot, hlo, passes, projection
from bench.cases import CASES, DTYPES
from jxent import losses

pytestmark = pytest.mark.skipif(
    not aot.installed(), reason="needs the compilers of the extra `aot`"
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("platform", aot.PLATFORMS)
@pytest.mark.parametrize("name", ["labels", "entropy, logits"])
def test_a_loss_and_its_gradient_fit_beside_the_logits(name, platform, dtype):
    # The logits are 128 MiB in float32; a few numbers per row are well under 2.
    case = {case.name: case for case in CASES}[name]
    compiled = aot.gradient(case, "jxent", platform, dtype)
    assert compiled.memory_analysis().temp_size_in_bytes < 2 * 2**20


@pytest.mark.parametrize("platform", aot.PLATFORMS)
def test_a_projection_stores_neither_logits_nor_a_second_weight(platform):
    size = projection.Size(platform, 4096, 512, 50257)
    program = projection.compiled(size, projection.PEERS["jxent"]())
    mib = program.memory_analysis().temp_size_in_bytes / 2**20
    # The gradient of the hidden states in float32, and a tile; the logits are 785 MiB.
    assert mib <= 1.1 * 4 * size.tokens * size.width / 2**20 + 64
    weight = rf"= \w+\[{size.classes},{size.width}\]\S* (copy|convert|transpose)\("
    assert not re.findall(weight, program.as_text())


def test_a_weight_of_columns_is_not_copied_either():
    # Larger than what a chip can keep near its cores; there was a copy of 256 MiB.
    size = projection.Size("TPU v6e", 1024, 2048, 65536)
    loss = functools.partial(losses.linear_softmax_cross_entropy, reduction="mean")
    h, w, y = projection.outlines(size)
    w = jax.ShapeDtypeStruct(w.shape[::-1], w.dtype)
    program = aot.compiled(jax.value_and_grad(loss, (0, 1)), size.platform, h, w, y)
    mib = program.memory_analysis().temp_size_in_bytes / 2**20
    assert mib <= 1.1 * 4 * size.tokens * size.width / 2**20 + 64
    weight = rf"= \w+\[{size.width},{size.classes}\]\S* (copy|convert|transpose)\("
    assert not re.findall(weight, program.as_text())


# XLA's fusion is fragile: an innocent change may store what was made for one pass to
# read in the next. The whole table is `python -m bench passes`.
MOST = {
    "labels": 3,
    "labels, smoothed": 3,
    "labels, z-loss": 3,
    "soft targets": 6,
    "entropy": 4,
    "log_prob_and_entropy": 4,
    "KL, student": 9,
    "KL, both": 10,
    "distillation": 9,
    "distillation, reverse": 9,
    "KL of probabilities": 4,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MOST)
def test_a_gradient_makes_no_more_passes_than_it_has_to(name, dtype):
    case = {case.name: case for case in passes.CASES}[name]
    shape = passes.SHAPES[1]
    found = passes.count(case.ours, case, "gradient", "H100", shape, dtype)
    assert found.passes <= MOST[name] + 0.1
    assert found.mib < 8


def test_a_tpu_makes_as_few():
    case = {case.name: case for case in passes.CASES}["labels"]
    shape = passes.SHAPES[1]
    found = passes.count(case.ours, case, "gradient", "TPU v6e", shape, "float32")
    assert found.passes <= 3.1 and found.mib < 8


def test_traffic_is_counted_once_for_each_array_read_or_written():
    text = """
%fused (p.0: f32[8,64], p.1: f32[8]) -> f32[8,64] {
  %p.0 = f32[8,64]{1,0} parameter(0)
  ROOT %neg = f32[8,64]{1,0} negate(%p.0)
}
%picked (p.2: f32[8,64], p.3: s32[8]) -> f32[8] {
  %p.2 = f32[8,64]{1,0} parameter(0)
  %p.3 = s32[8]{0} parameter(1)
  ROOT %rows = f32[8]{0} gather(%p.2, %p.3), slice_sizes={1,1}
}
ENTRY %main (a: f32[8,64], i: s32[8]) -> f32[8,64] {
  %a = f32[8,64]{1,0} parameter(0)
  %i = s32[8]{0} parameter(1)
  %row = f32[8]{0} fusion(%a, %i), kind=kLoop, calls=%picked
  %near = f32[8,64]{1,0:S(1)} fusion(%a, %row), kind=kLoop, calls=%fused
  ROOT %out = f32[8,64]{1,0} fusion(%near, %row), kind=kLoop, calls=%fused
}
"""
    # Read once, written once; what stays in the TPU's own memory is neither.
    assert hlo.traffic(text, 8 * 32) == (4 * 8 * 64, 4 * 8 * 64)
