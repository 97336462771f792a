"""Transforms of narrow bands against their definition, term by term in float64."""

import numpy as np
import pytest

from lemtools.transforms import narrow

# bins, length: interpolated by many ratios, by few, not at all, one bin, as many as samples, more (they fold)
CASES = [
    (3, 4096),
    (40, 4096),
    (200, 4096),
    (255, 4096),
    (300, 4096),
    (1, 64),
    (64, 64),
    (100, 64),
    (700, 120),
    (5, 97),
]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def waves(kept, length):
    """complex128 [kept, length]: e^{2 pi i k n / length}."""
    return np.exp(2j * np.pi * (np.outer(np.arange(kept), np.arange(length)) % length) / length)


@pytest.mark.parametrize("kept, length", CASES)
def test_samples_are_the_sum_of_their_waves(kept, length):
    bins = (noise(2, kept) + 1j * noise(2, kept, seed=1)).astype(np.complex64)
    right = bins.astype(np.complex128) @ waves(kept, length)
    for count in {length, length - 1, max(1, length // 3), 1}:
        out = np.full((2, 2, count), np.nan, np.float32)
        narrow.samples(bins, length, out)
        error = out[:, 0] + 1j * out[:, 1] - right[:, :count]
        assert np.abs(error).max() < 1e-6 * np.sqrt(np.mean(np.abs(right) ** 2))


@pytest.mark.parametrize("kept, length", CASES)
def test_a_spectrum_is_the_transpose(kept, length):
    parts = noise(2, 2, length).astype(np.float32)
    right = (parts[:, 0].astype(np.complex128) + 1j * parts[:, 1]) @ waves(kept, length).conj().T
    made = narrow.spectrum(parts, kept)
    assert made.dtype == np.complex64
    assert np.abs(made - right).max() < 1e-6 * np.sqrt(np.mean(np.abs(right) ** 2))


def test_several_ratios_are_tried():
    """The cases above interpolate at other ratios, and transform as a whole."""
    assert {narrow._ratio(length, kept)[0] for kept, length in CASES} >= {1, 4, 16, 256}


def test_a_smooth_length_is_near_and_splits():
    for least in (1, 2, 3, 97, 1000, 4099, 8192, 255_594, 10_000_019):
        length = narrow.smooth(least)
        assert least <= length <= max(least + 8, 1.06 * least)
        rest = length
        for prime in (2, 3, 5, 7, 11):
            while rest % prime == 0:
                rest //= prime
        assert rest == 1
        assert length % 64 == 0 or least < 8192
