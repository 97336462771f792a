"""What is recalled of an item does not depend on what the others of its batch lost."""

import numpy as np
import pytest
import torch

from lemtools.fragment import fragment
from lemtools.reconstruct import reconstruct
from lemtools.signal import Signal


def memories(kind):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :56] / 56
    if kind == "image":  # wide bands, which the first pass bridges
        waves = [[60 + 150 * (a * x + (1 - a) * y) for _ in range(3)] for a in (0.2, 0.7, 0.9)]
        return Signal("image", np.rint(np.array(waves)).astype(np.uint8))
    waves = np.sin(np.outer([0.02, 0.05, 0.11], np.arange(3000)))[:, None] * 0.4
    return Signal("audio", (waves + 0.01 * rng.standard_normal(waves.shape)).astype(np.float32), rate=8000.0)


def some_lost(kind, bits):
    """Bits of all, and elements of the second alone."""
    (broken,) = fragment([memories(kind)], [{"op": "mask", "mask": 0.3}, {"op": "bits", "bits": bits}])
    (whole,) = fragment([memories(kind)], [{"op": "bits", "bits": bits}])
    mask = np.ones(broken.data.shape, bool)
    mask[1] = broken.observed()[1]
    return Signal(
        kind, whole.data * mask, mask=mask, codes=whole.codes * mask, ops=broken.ops, rate=whole.rate, index=whole.index
    )


@pytest.mark.parametrize("method", ["smooth", "decode", "inpaint", "auto"])
@pytest.mark.parametrize("kind, bits", [("image", 3), ("image", 6), ("audio", 5)])
def test_items_alone_are_what_they_are_together(kind, bits, method):
    fragments = some_lost(kind, bits)
    together = next(iter(reconstruct([fragments], method))).data
    rounding = int(kind == "image" and method == "auto" and torch.cuda.is_available())
    for i in range(3):
        alone = next(iter(reconstruct([fragments.take([i])], method))).data
        if rounding:  # a network's kernels on a GPU are chosen by the number of items: by a level, in few pixels
            apart = np.abs(alone[0].astype(int) - together[i])
            assert apart.max() <= rounding and np.count_nonzero(apart) < 0.05 * apart.size, f"item {i}"
        else:
            np.testing.assert_array_equal(alone[0], together[i], f"item {i}")
