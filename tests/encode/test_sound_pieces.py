"""Sounds that come in pieces: resampled and sliced to the same digits as whole ones, with no more than a piece held."""

import math
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.functional import resample

from lemtools.encode import sound
from lemtools.encode.phones import _mono
from lemtools.encode.sound import Forward, resampled, resampled_pieces
from lemtools.media import Reading, load, sounds
from lemtools.signal import LemError, Long

RNG = np.random.default_rng(7)


def cut(wave, *, rng):
    """A sound in pieces at random places."""
    places = np.sort(rng.integers(0, wave.shape[-1], rng.integers(0, 12)))
    return np.split(wave, places, axis=-1)


@pytest.mark.parametrize(
    "rates", [(44_100, 16_000), (8_000, 16_000), (16_000, 44_100), (22_050, 16_000), (3, 2), (100, 16_000)]
)
def test_resampled_in_pieces_is_resampled_whole(rates, monkeypatch):
    """To the last digit at every cut, and as torchaudio does it at once but for rounding; the length is exact."""
    monkeypatch.setattr(sound, "BLOCK", 5000)
    rng, count = np.random.default_rng(0), 41_237 if rates[0] > 100 else 501
    wave = rng.normal(0, 0.2, (1, 2, count)).astype(np.float32)
    whole = resampled(wave, *rates)
    assert whole.shape == (1, 2, math.ceil(count * rates[1] / rates[0])) and whole.dtype == np.float32
    for _ in range(4):
        found = list(resampled_pieces(cut(wave, rng=rng), *rates))
        assert np.array_equal(np.concatenate(found, -1), whole)
        assert max(part.shape[-1] for part in found) <= 5000
    once = resample(torch.from_numpy(wave), *rates, lowpass_filter_width=64).numpy()
    np.testing.assert_allclose(whole[..., : once.shape[-1]], once, atol=2e-6)


def test_as_many_samples_as_there_must_be():
    """Also where the number is a little more than a whole one, which is lost in single precision."""
    count = next(n for n in range(1_000_000, 1_001_000) if n * 160 % 441 == 1)
    found = resampled(np.ones((1, 1, count), np.float32), 44_100, 16_000)
    assert found.shape[-1] == count * 160 // 441 + 1


def test_the_same_rate_comes_through_as_it_is():
    pieces = [RNG.normal(size=(1, 1, n)).astype(np.float32) for n in (3, 5)]
    assert all(a is b for a, b in zip(resampled_pieces(pieces, 16_000, 16_000), pieces, strict=True))


def test_slices_are_those_of_the_array():
    """In order, overlapping, empty, beyond the end, and going back."""
    wave, begun = RNG.normal(size=1000).astype(np.float32), []

    def pieces():
        begun.append(1)
        return iter(cut(wave, rng=np.random.default_rng(3)))

    found = Forward(pieces, len(wave))
    assert len(found) == 1000
    for a, b in [
        (0, 10),
        (5, 300),
        (300, 300),
        (300, 301),
        (700, 900),
        (650, 651),
        (650, 5000),
        (999, 1000),
        (2000, 3000),
    ]:
        assert np.array_equal(found[a:b], wave[a:b]), (a, b)
    assert len(begun) == 2 and np.array_equal(found[:], wave) and len(begun) == 3
    with pytest.raises(LemError, match="became shorter"):
        Forward(pieces, 1001)[900:1001]


@pytest.mark.parametrize("channels", [1, 2, 3, 9])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_the_mean_of_the_channels_of_a_long_sound_is_that_of_the_array(channels, rate, monkeypatch):
    monkeypatch.setattr(sound, "BLOCK", 4000)
    data = RNG.normal(size=(1, channels, 30_011)).astype(np.float32)
    whole = _mono(data, rate)
    long = _mono(Long(channels, 30_011, lambda: iter(np.split(data[0], [1, 7000, 7001, 29_000], axis=1))), rate)
    assert isinstance(long, Forward) and len(long) == len(whole) == math.ceil(30_011 * 16_000 / rate)
    assert np.array_equal(long[:], whole) and np.array_equal(long[4000:9000], whole[4000:9000])


def test_memory_does_not_grow_with_the_sound(tmp_path, monkeypatch):
    """Of 2 and of 4 minutes in two channels at 44.1 kHz, 42 and 85 MB as floats, the same few are held: as they are read, and as they are
    sliced at 16 kHz from front to back."""
    second = (RNG.normal(0, 3000, (44_100, 2))).astype(np.int16)
    peaks = []
    for minutes in (2, 4):
        with soundfile.SoundFile(tmp_path / "long.wav", "w", 44_100, 2, "PCM_16") as file:
            for _ in range(60 * minutes):
                file.write(second)
        tracemalloc.start()
        (signal,) = load(tmp_path / "long.wav", Reading(long=True))
        wave = _mono(signal.data, 44_100)
        assert len(wave) == 60 * minutes * 16_000
        for begin in range(0, len(wave), 480_000):
            assert wave[begin : begin + 480_000].any()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.05 * peaks[0] and peaks[1] < 2 * sounds.BATCH_BYTES
