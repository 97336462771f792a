"""Sounds of few bits by the powers of others (restore.power, lem-reconstruct --method power)."""

import numpy as np
import pytest

import lemtools
from helpers.commands import lem
from lemtools.fragment import fragment
from lemtools.reconstruct import Reconstructor
from lemtools.restore.power import Power
from lemtools.signal import LemError, Signal

RATE = 8000.0


def swell(seed: int, length: int = 4000) -> np.ndarray:
    """A tone that comes after silence and is as loud as its pitch says, in a little noise: what one bit leaves tells the pitch."""
    rng = np.random.default_rng(seed)
    high = bool(seed % 2)
    tone = np.sin(2 * np.pi * (1500 if high else 400) * np.arange(length) / RATE + rng.uniform(0, 6))
    loud = np.where(np.arange(length) < length // 4, 0, 0.8 if high else 0.2)
    sound = loud * tone + 0.005 * rng.standard_normal(length)
    sound[-1] = 1.0  # (all have one peak)
    return sound.astype(np.float32)


def broken(sound: np.ndarray, bits: int = 1, scale: str = "peak") -> Signal:
    (left,) = fragment(
        [Signal("audio", sound[None, None], rate=RATE)], [{"op": "bits", "bits": bits, "scale": scale}], 0
    )
    return left


MEMORY = [swell(seed)[None] for seed in range(2, 22)]


def snr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * float(np.log10(np.square(a).sum() / np.square(a - b).sum()))


def test_what_was_loud_and_what_was_quiet_come_back():
    recall = Reconstructor("power", memory=MEMORY)
    for seed in (0, 1):
        sound = swell(seed)
        whole = recall(broken(sound))
        plain = Reconstructor()(broken(sound))
        assert whole.ops == [] and "of 20 sounds broken alike" in whole.history[-1]["steps"][0]
        assert snr(sound, whole.data[0, 0]) > max(8, snr(sound, plain.data[0, 0]) + 3)
        quiet = np.sqrt(np.mean(whole.data[0, 0, 100:900] ** 2))
        assert quiet < 0.05  # half a peak where nothing was recalled


def test_it_stays_in_the_bins_and_answers_alike_in_any_batch():
    sounds = np.stack([swell(0), swell(1)])[:, None]
    (left,) = fragment([Signal("audio", sounds, rate=RATE)], [{"op": "bits", "bits": 2, "scale": "peak"}], 0)
    both = Reconstructor("power", memory=MEMORY)(left).data

    assert np.abs(both - left.data).max() <= 0.25 + 1e-6  # half a bin
    one = Reconstructor("power", memory=MEMORY)(left.take([1])).data
    np.testing.assert_array_equal(one[0], both[1])


def test_how_loud_a_sound_is_as_a_whole_does_not_matter():
    """Of bits of a sound's own peak: neither that of the store's sounds nor its own, but that the answer is as loud."""
    louder = [sound * np.float32(2.0 ** -(i % 4)) for i, sound in enumerate(MEMORY)]
    known, other = Reconstructor("power", memory=MEMORY), Reconstructor("power", memory=louder)
    wanted = known(broken(swell(1), 2)).data
    for recall, loud in ((other, 1), (known, 0.25), (other, 0.125)):
        found = recall(broken(swell(1) * np.float32(loud), 2)).data
        np.testing.assert_allclose(found / loud, wanted, atol=1e-5)


def test_spectra_and_back_are_the_sound():
    power = Power([(s[0] - 0.1, s[0] + 0.1, s[0]) for s in np.float64(MEMORY[:2])], RATE)
    for length in (1, 63, 64, 1000):
        x = np.random.default_rng(length).standard_normal(length)
        np.testing.assert_allclose(power._sound(power._spectra(x), length), x, atol=1e-12)


def test_the_regression_is_that_of_ridge():
    """The weights solve the normal equations of a penalty that spares the constant."""
    pairs = [(s[0] - 0.1, s[0] + 0.1, s[0]) for s in np.float64(MEMORY[:3])]
    power = Power(pairs, RATE)
    x = np.concatenate([power._features(power._seen(a, b)[0]) for a, b, _ in pairs]).astype(float)
    y = np.concatenate([np.log(np.abs(power._spectra(w)) ** 2 + 1e-7) for *_, w in pairs])
    penalty = np.full(x.shape[1], 0.01 * len(x))
    penalty[-1] = 0
    left = x.T @ (y - x @ power.weights) - penalty[:, None] * power.weights
    assert np.abs(left).max() < 1e-3 * np.abs(x.T @ y).max()
    assert np.abs(left[-1]).max() < 1e-3 * len(x) < 0.1 * np.abs(penalty[0] * power.weights[-1]).max()


def test_the_command(tmp_path):
    lemtools.save([Signal("audio", sound[None], rate=RATE) for sound in MEMORY], str(tmp_path / "store.safetensors"))
    lemtools.save([Signal("audio", swell(0)[None, None], rate=RATE)], str(tmp_path / "x.safetensors"))
    lem("fragment", "--bits", "1", "--scale", "peak", "x.safetensors", "-o", "f.safetensors", cwd=tmp_path)
    line = ["--method", "power", "--memory", "store.safetensors", "f.safetensors", "-o", "r.safetensors"]
    assert lem("reconstruct", *line, cwd=tmp_path).returncode == 0
    (found,) = lemtools.load([str(tmp_path / "r.safetensors")])
    np.testing.assert_array_equal(found.data, Reconstructor("power", memory=MEMORY)(broken(swell(0))).data)
    (front,) = lemtools.reconstruct(
        str(tmp_path / "f.safetensors"), "power", memory=str(tmp_path / "store.safetensors")
    )
    np.testing.assert_array_equal(found.data, front.data)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: broken(swell(0), scale="rms"), "takes bits over full scale or the peak"),
        (lambda: Signal("audio", MEMORY[0][None], rate=RATE), "recalls sounds that lost bits, and nothing else"),
        (lambda: Signal("embedding", np.ones((2, 3), np.float32)), "recalls sounds that lost bits, and nothing else"),
    ],
)
def test_what_is_refused(made, said):
    with pytest.raises(LemError, match=said):
        Reconstructor("power", memory=MEMORY)(made())


def test_stores_that_are_refused():
    with pytest.raises(LemError, match="learns from sounds"):
        Reconstructor("power", memory=np.zeros((2, 3), np.float32))(broken(swell(0)))
    with pytest.raises(LemError, match="no sounds to learn from"):
        Reconstructor("power", memory=[np.zeros((1, 50), np.float32)])(broken(swell(0)))
