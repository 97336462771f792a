"""What a fragment says of its memory: intervals that hold it, and noise of the size that there is."""

import numpy as np
import pytest

from lemtools.fragment import apply, fragment
from lemtools.fragment.evidence import bin_std, evidence
from lemtools.signal import Signal


def filled(kind, seed=0):
    """A memory whose values fill the quantiser's range evenly."""
    rng = np.random.default_rng(seed)
    if kind == "image8":
        return Signal("image", rng.integers(0, 256, (2, 1, 100, 100), dtype=np.uint8))
    if kind == "image":
        return Signal("image", rng.random((2, 1, 100, 100), np.float32))
    if kind == "audio":
        return Signal("audio", rng.uniform(-1, 1, (2, 1, 10_000)).astype(np.float32), rate=8000.0)
    return Signal("embedding", rng.uniform(-1, 1, (2, 10_000)).astype(np.float32) * [[1], [20]])


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("kind", ["image8", "image", "audio"])
def test_the_error_of_a_bin_is_its_width_over_root_12(kind, bits):
    whole = filled(kind)
    broken = apply(whole, {"op": "bits", "bits": bits})
    full = 255 if kind == "image8" else 1
    error = (broken.data.astype(float) - whole.data) / full
    measured = np.sqrt((error**2).reshape(2, -1).mean(1))
    np.testing.assert_allclose(bin_std(broken.code_op, 2), measured, rtol=0.03)


def test_the_error_of_a_bin_of_an_embedding():
    """Uniform values of rms 1 / sqrt 3 stay within the bins of 4 bits, whose step is that of the Gaussian's quantiser."""
    whole = filled("embedding")
    broken = apply(whole, {"op": "bits", "bits": 4})
    measured = np.sqrt(((broken.data - whole.data) ** 2).mean(1))
    np.testing.assert_allclose(bin_std(broken.code_op, 2), measured, rtol=0.03)


@pytest.mark.parametrize("kind", ["image8", "image", "audio"])
def test_noise_upon_bits_adds_up(kind):
    whole = filled(kind)
    (broken,) = fragment([whole], [{"op": "bits", "bits": 2}, {"op": "noise", "sigma": 0.1}])
    full = 255 if kind == "image8" else 1
    measured = np.sqrt(((broken.data - whole.data / np.float32(full)) ** 2).reshape(2, -1).mean(1))
    np.testing.assert_allclose(evidence(broken).sigma, measured, rtol=0.03)


@pytest.mark.parametrize("kind", ["image8", "image", "audio", "embedding"])
def test_the_interval_of_a_code_holds_the_memory(kind):
    whole = filled(kind)
    unit = np.float32(255 if kind == "image8" else 1)
    for bits in (1, 3, 5):
        says = evidence(apply(whole, {"op": "bits", "bits": bits}))
        x = whole.data / unit
        assert (says.low <= x).all() and (x <= says.high).all() and not says.sigma.any()
        levels = 255 / 256 if kind == "image8" else 1
        if kind != "embedding":
            full = 2 if kind == "audio" else 1
            assert np.allclose(says.width, full * 2.0**-bits / levels, rtol=1e-5)


@pytest.mark.parametrize("scale", ["rms", "peak"])
def test_the_scale_of_a_fragment_is_that_of_what_is_left(scale):
    x = np.random.default_rng(0).standard_normal((3, 400)).astype(np.float32)
    whole = Signal("embedding", x)
    (broken,) = fragment([whole], [{"op": "mask", "mask": 0.75}, {"op": "bits", "bits": 3, "scale": scale}])
    left = [item[seen] for item, seen in zip(x, broken.observed())]
    want = [np.abs(v).max() if scale == "peak" else np.sqrt((v.astype(float) ** 2).mean()) for v in left]
    np.testing.assert_allclose(broken.ops[1]["scale"], want, rtol=1e-3)
