"""Sounds at two rates, and spectra of two front ends, are not compared, though they have one shape."""

import numpy as np
import pytest

import lemtools
from helpers.commands import lem_fork
from lemtools.catalogue import LemError
from lemtools.compare import measure
from lemtools.encode import encode
from lemtools.encode.spectra import STFT
from lemtools.fragment import fragment
from lemtools.media.store import store
from lemtools.signal import Signal, called
from lemtools.stream import write

SOUNDS = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 1, 400)).astype(np.float32)


def spectra(rate=8000.0, samples=400, **settings):
    (made,) = encode([Signal("audio", SOUNDS[..., :samples], rate=rate)], STFT(**{"n_fft": 64, **settings}))
    return made


def written(path, signal):
    with open(path, "wb") as file:
        write([signal], file)
    return str(path)


OTHERS = [
    ({"compress": 0.3}, "item 0: original with compress 1.0, recalled with compress 0.3; encode both alike"),
    ({"window_fn": "sine"}, "original with window_fn hann, recalled with window_fn sine"),
    ({"rms": 0.2}, "original without rms, recalled with rms 0.2"),
    ({"rate": 16000.0}, "original at 8000 Hz, recalled at 16000 Hz; encode both alike"),
]


@pytest.mark.parametrize("other, words", OTHERS)
def test_spectra_of_two_front_ends_are_refused(tmp_path, other, words):
    with pytest.raises(LemError, match=words):
        measure(spectra(), spectra(**other), "nmse")
    paths = written(tmp_path / "a.safetensors", spectra()), written(tmp_path / "b.safetensors", spectra(**other))
    done = lem_fork("compare", *paths)
    assert done.returncode == 2 and done.stdout == b"" and words in done.stderr.decode()
    with pytest.raises(LemError, match="b.safetensors: spectra .* among others .*; encode all alike"):
        store(list(paths))


@pytest.mark.parametrize("one, other", [({}, {}), ({"samples": 399}, {"samples": 398})])
def test_spectra_of_one_front_end_are_compared_whatever_the_lengths_of_their_sounds(one, other):
    first, second = spectra(**one), spectra(**other)
    assert first.data.shape == second.data.shape
    assert measure(first, second, "nmse")[0].mean < 0.05


def test_what_does_not_say_how_it_was_made_is_compared():
    unknown = spectra(compress=0.3)
    unknown.history = []
    for a, b in ((spectra(), unknown), (unknown, spectra())):
        assert len(measure(a, b, "nmse")) == 1


def test_fragments_and_what_a_model_was_trained_on_are_alike_too(tmp_path):
    (broken,) = fragment([spectra(compress=0.5)], [{"op": "mask", "mask": 0.5}], 0)
    with pytest.raises(LemError, match="original with compress 1.0, its fragment with compress 0.5"):
        measure(spectra(), spectra(), "nmse", fragments=broken)
    a, b = written(tmp_path / "a.safetensors", spectra()), written(tmp_path / "b.safetensors", spectra(hop=8))
    train = written(tmp_path / "t.safetensors", spectra(compress=0.5))
    line = lem_fork("compare", a, a, "--metric", "nearest", "--train", train).stderr.decode()
    assert "original with compress 1.0, --train with compress 0.5; encode both alike" in line
    assert lem_fork("compare", a, a, "--metric", "nearest", "--train", a).returncode == 0
    assert lem_fork("compare", a, b).returncode == 2
    with pytest.raises(LemError, match="compress 1.0, train with compress 0.5"):
        lemtools.compare(spectra(), spectra(), "nearest", train=spectra(compress=0.5))


def test_sounds_at_two_rates_are_refused_with_a_way_out():
    a, b = (Signal("audio", SOUNDS, rate=rate) for rate in (8000.0, 44100.0))
    with pytest.raises(LemError, match="original at 8000 Hz, recalled at 44100 Hz; resample one of them"):
        measure(a, b, "snr")


def test_kinds_in_a_sentence():
    assert [called("spectrum"), called("audio", 1), called("image", 2), called(None)] == [
        "spectra",
        "sound",
        "images",
        "items",
    ]
