"""Compiled for TPU and GPU without one: no array of the logits' size is ever stored."""

import pytest

from bench import aot
from bench.cases import CASES, DTYPES

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
