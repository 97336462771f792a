"""Mel bands, their logarithms and cepstra: torchaudio's, and back by Griffin-Lim."""

import numpy as np
import pytest

from lemtools.catalogue import LemError
from lemtools.transforms import griffin_lim, mel, of, stft
from lemtools.transforms.bands import MFCC, LogMel, Mel

KINDS = {"mel": Mel, "log-mel": LogMel, "mfcc": MFCC}


def made(name, samples, **more):
    settings = {"n_fft": 512, "hop": 128, "rate": 16000.0, "bands": 40, **more}
    return KINDS[name](encoder=name, samples=samples, **settings)


def sweep(samples, rate=16000):
    t = np.arange(samples) / rate
    rng = np.random.default_rng(0)
    tone = np.sin(2 * np.pi * (200 * t + 900 * t**2)) * (0.3 + 0.2 * np.sin(40 * t))
    return (tone + 0.01 * rng.standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("bands, n_fft, rate", [(40, 400, 16000), (80, 1024, 44100), (13, 64, 1500), (20, 256, 8000)])
def test_the_filters_are_those_of_torchaudio(bands, n_fft, rate):
    functional = pytest.importorskip("torchaudio.functional")
    theirs = functional.melscale_fbanks(n_fft // 2 + 1, 0, rate / 2, bands, rate, norm="slaney", mel_scale="slaney")
    found = mel.filters(bands, n_fft, rate)
    assert np.abs(found - theirs.numpy().T).max() < 2e-5 * found.max() and found.dtype == np.float32


def test_bands_logarithms_and_cepstra_are_those_of_torchaudio():
    torch, transforms = pytest.importorskip("torch"), pytest.importorskip("torchaudio.transforms")
    x = sweep(8000)[None, None]
    how = {
        "n_fft": 512,
        "hop_length": 128,
        "n_mels": 40,
        "norm": "slaney",
        "mel_scale": "slaney",
        "pad_mode": "constant",
    }
    theirs = transforms.MelSpectrogram(16000, **how)(torch.from_numpy(x)).numpy()
    found = made("mel", 8000).encode(x)
    assert found.shape == (1, 1, 40, 63) and np.abs(found - theirs).max() < 1e-5 * theirs.max()
    assert np.allclose(made("log-mel", 8000).encode(x), np.log(theirs + 1e-6), atol=2e-3)
    theirs = transforms.MFCC(16000, 13, log_mels=True, melkwargs=how)(torch.from_numpy(x)).numpy()
    assert np.allclose(made("mfcc", 8000, coefficients=13).encode(x), theirs, atol=2e-3)


def test_cosines_are_orthonormal():
    rows = mel.cosines(30, 30)
    assert np.allclose(rows @ rows.T, np.eye(30), atol=1e-12) and np.array_equal(mel.cosines(7, 30), rows[:7])
    dct = pytest.importorskip("scipy.fft").dct
    assert np.allclose(rows, dct(np.eye(30), axis=0, norm="ortho"), atol=1e-12)


def test_powers_that_have_the_bands():
    bank, rng = mel.filters(20, 256, 8000), np.random.default_rng(0)
    power = rng.random((129, 4)) ** 4
    aim = bank @ power
    found = mel.power(aim, bank)
    assert (found >= 0).all() and np.abs(bank @ found / aim - 1).max() < 0.02
    assert not mel.power(aim * 0, bank).any()
    plain = np.maximum(np.linalg.pinv(bank) @ aim, 0)  # least squares, cut at 0, as torchaudio has it
    assert np.abs(bank @ found - aim).max() < 0.2 * np.abs(bank @ plain - aim).max()


def test_griffin_lim_is_as_near_as_that_of_torchaudio():
    torch, transforms = pytest.importorskip("torch"), pytest.importorskip("torchaudio.transforms")
    x, w = sweep(8000), stft.window("hann", 512)
    size = np.abs(stft.stft(x, w, 128))

    def off(sound):
        return np.linalg.norm(np.abs(stft.stft(sound, w, 128)) - size) / np.linalg.norm(size)

    torch.manual_seed(0)
    theirs = transforms.GriffinLim(512, 60, hop_length=128, power=1, length=8000)(torch.from_numpy(size)).numpy()
    found = griffin_lim.sound(size, w, 128, 8000)
    assert np.array_equal(found, griffin_lim.sound(size, w, 128, 8000))
    assert off(found) < 1.1 * off(theirs) and off(found) < 0.5 * off(griffin_lim.sound(size, w, 128, 8000, rounds=0))


@pytest.mark.parametrize("name, most", [("mel", 0.4), ("log-mel", 0.4), ("mfcc", 1.1)])
def test_a_sound_with_nearly_the_same_bands_comes_back(name, most):
    x = np.stack([sweep(6000), 0.5 * sweep(6000)[::-1]])[None]
    front, log = made(name, 6000), made("log-mel", 6000)
    spectrum = front.encode(x)
    back = front.decode(spectrum)
    assert back.shape == x.shape and back.dtype == np.float32
    a, b = log.encode(x), log.encode(back)
    loud = a > a.max() - 7
    assert np.sqrt(np.square(a - b)[loud].mean()) < most < 0.5 * np.sqrt(np.square(a - a.mean())[loud].mean())


def test_silence_is_silence():
    for name in KINDS:
        front = made(name, 1000)
        spectrum = front.encode(np.zeros((1, 1, 1000), np.float32))
        assert np.isfinite(spectrum).all() and np.abs(front.decode(spectrum)).max() < 1e-4


def test_records_and_refusals():
    for name in KINDS:
        front = made(name, 3000, window_fn="hamming")
        assert of(front.record) == front and not front.zero.any() and front.shape[1] == 24
    assert np.all(np.diff(front_hz := made("mel", 100).hz) > 0) and 0 < front_hz[0] and front_hz[-1] < 8000
    with pytest.raises(LemError, match="cepstral"):
        made("mfcc", 3000).hz  # noqa: B018
    with pytest.raises(LemError, match="100 mel bands are too many for windows of 128 samples"):
        made("mel", 3000, bands=100, n_fft=128, hop=32)
    with pytest.raises(LemError, match="coefficients 41"):
        made("mfcc", 3000, coefficients=41)
    with pytest.raises(LemError, match="are not the"):
        made("mel", 3000).decode(np.zeros((1, 1, 40, 5), np.float32))


def test_the_scale_is_linear_to_1000_hz_and_logarithmic_from_there():
    """Slaney: 3 mel for 200 Hz, and from 15 mel on 27 mel for a factor of 6.4."""
    assert mel.to_mel(400) == 6 and mel.to_mel(999.9) == pytest.approx(14.9985)
    assert mel.to_mel(6400) == pytest.approx(42) and mel.to_mel(1050) == pytest.approx(
        15 + 27 * np.log(1.05) / np.log(6.4)
    )
    np.testing.assert_allclose(
        mel.corners(13, 2100), [*np.arange(14) * mel.to_mel(1050) / 14 * 200 / 3, 1050][:15], rtol=1e-3
    )


def test_logarithms_beyond_any_sound_decode_to_a_finite_one():
    """What a network or a recall has made of log-mels may be far off: it is loud, and no overflow."""
    spectrum = np.zeros((1, 1, 40, 9), np.float32)
    spectrum[0, 0, 20, 4] = 1000
    assert np.isfinite(made("log-mel", 1024).decode(spectrum)).all()
