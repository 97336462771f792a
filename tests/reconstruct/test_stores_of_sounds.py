"""A store of sounds or spectra is asked by what it holds: the same rate, and spectra of the same front end."""

import numpy as np
import pytest

from lemtools.catalogue import LemError
from lemtools.encode import encode
from lemtools.encode.spectra import STFT
from lemtools.fragment import fragment
from lemtools.media.store import nature, store
from lemtools.reconstruct import reconstruct
from lemtools.signal import Signal
from lemtools.stream import write

SOUNDS = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 1, 400)).astype(np.float32)


def spectra(rate=8000.0, **settings):
    (made,) = encode([Signal("audio", SOUNDS, rate=rate)], STFT(n_fft=64, **settings))
    return made


@pytest.mark.parametrize(
    "other, words",
    [
        ({}, None),
        ({"compress": 0.3}, "compress 0.3 cannot recall spectra with compress 1.0"),
        ({"window_fn": "sine"}, "window_fn sine"),
        ({"rate": 16000.0}, "spectra at 16000 Hz cannot recall spectra at 8000 Hz; encode both alike"),
    ],
)
def test_spectra_are_recalled_by_those_of_one_front_end(tmp_path, other, words):
    path = str(tmp_path / "store.safetensors")
    with open(path, "wb") as file:
        write([spectra(**other)], file)
    broken = list(fragment([spectra()], [{"op": "mask", "mask": 0.5}], 0))
    asked = {"memory": store([path]), "of": nature([path])}
    if words is None:
        (back,) = reconstruct(broken, "recall", **asked)
        assert np.allclose(back.data, spectra().data, atol=1e-4)
        return
    with pytest.raises(LemError, match=words):
        list(reconstruct(broken, "recall", **asked))


@pytest.mark.parametrize("method", ["recall", "dream", "gaussian"])
def test_sounds_are_not_recalled_by_spectra_nor_spectra_by_sounds(method):
    sound, mask = Signal("audio", SOUNDS, rate=8000.0), {"op": "mask", "mask": 0.5}
    for one, other, words in (
        (sound, spectra(), "memory: spectra cannot recall sounds; name whole sounds as the memory, or a network"),
        (spectra(), sound, "memory: sounds cannot recall spectra; encode them as these were"),
    ):
        with pytest.raises(LemError, match=words):
            list(reconstruct(fragment([one], [mask], 0), method, memory=other.data, of=other))


def test_sounds_are_recalled_by_those_at_one_rate():
    broken = list(fragment([Signal("audio", SOUNDS, rate=8000.0)], [{"op": "mask", "mask": 0.5}], 0))
    with pytest.raises(LemError, match="sounds at 44100 Hz cannot recall sounds at 8000 Hz; resample one"):
        list(reconstruct(broken, "recall", memory=SOUNDS, of=Signal("audio", SOUNDS[:1], rate=44100.0)))
