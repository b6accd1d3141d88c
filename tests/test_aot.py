"""Compiled for TPU and GPU without one: no array of the logits' size is ever stored."""

import pytest

from bench import aot

pytestmark = pytest.mark.skipif(
    not aot.installed(), reason="needs the compilers of the extra `aot`"
)


@pytest.mark.parametrize("dtype", aot.DTYPES)
@pytest.mark.parametrize("platform", aot.PLATFORMS)
@pytest.mark.parametrize("function", ["labels", "entropy_logits"])
def test_a_loss_and_its_gradient_fit_beside_the_logits(function, platform, dtype):
    # The logits are 128 MiB in float32; a few numbers per row are well under 2.
    assert aot.temporary_mib(function, "jxent", platform, dtype) < 2
