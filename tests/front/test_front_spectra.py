"""Spectra of sounds in a notebook: made, and made back, by name or by what the Stream was made with."""

import numpy as np
import pytest

import lemtools as L
from lemtools.transforms.history import front


def sound(samples=4000, channels=1):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (1, channels, samples)).astype(np.float32)


def test_there_and_back():
    x = L.load(sound(), kind="audio", rate=8000)
    made = L.encode(x, "stft", n_fft=256, hop=64, window_fn="hamming", compress=0.5)
    assert made.one().data.shape == (1, 2, 129, 63)
    assert np.abs(L.encode(made, decode=True).one().data - sound()).max() < 1e-5
    assert np.abs(L.encode(made.one(), decode=True).one().data - sound()).max() < 1e-5
    record = front(made.one().history)
    assert (record.n_fft, record.hop, record.window_fn, record.compress, record.rate) == (256, 64, "hamming", 0.5, 8000)


def test_what_sounds_are_made_before():
    x = L.load(sound(4000, 2), kind="audio", rate=8000)
    made = L.encode(x, "log-mel", n_fft=256, bands=20, mono=True, length=0.25).one()
    assert made.data.shape == (1, 1, 20, 32) and front(made.history).samples == 2000
    assert L.encode(x, "stft", preset="els-audio", length="8").one().data.shape == (1, 4, 513, 173)


def test_mistakes_are_said_in_keywords():
    x = L.load(sound(), kind="audio", rate=8000)
    with pytest.raises(L.LemError, match="length 3:crop; 3:pad"):
        L.encode(x, "stft", length="3:crop").one()
    with pytest.raises(L.LemError, match="cannot be inverted"):
        L.encode(x, "stft", hop=5000)
    with pytest.raises(L.LemError, match="no keyword of encoder stft 'bands'|bands is for"):
        L.encode(x, "stft", bands=20)
    with pytest.raises(L.LemError, match="^window_fn='kaiser'"):
        L.encode(x, "stft", window_fn="kaiser")
    with pytest.raises(L.LemError, match="fewer bands or a larger n_fft"):
        L.encode(x, "mel", n_fft=64).one()
