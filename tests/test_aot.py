"""Compiled for TPU and GPU without one: no array of the logits' size is ever stored."""

import functools
import re

import jax
import pytest

from bench import aot, projection
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
