"""Prosody: sounds of known pitch, level, tilt, rate and voicing."""

import numpy as np
import pytest

from lemtools.encode.pitch import STEP, track
from lemtools.encode.prosody import FEATURES, Prosody, features, nuclei
from lemtools.signal import LemError, Signal

RATES = (8_000, 16_000, 44_100)


def tone(rate, hertz, harmonics=12):
    """A voice-like sound [T] of that f0 [T]: harmonics k of amplitude 1 / k, below .45 of the rate."""
    phase = 2 * np.pi * np.cumsum(hertz) / rate
    x = sum(np.where(hertz * k < 0.45 * rate, np.sin(k * phase + k * k) / k, 0) for k in range(1, harmonics + 1))
    return x / (2 * np.abs(x).max())


def glide(rate, low, high, seconds=1.0):
    """(sound, its f0) of an even glide in semitones."""
    hertz = low * (high / low) ** (np.arange(int(seconds * rate)) / (seconds * rate))
    return tone(rate, hertz), hertz


def noisy(sound, decibels, seed=0):
    noise = np.random.default_rng(seed).standard_normal(len(sound))
    return sound + noise * np.sqrt(np.mean(sound**2) * 10 ** (-decibels / 10))


def centres(sound, rate, frames):
    return len(sound) / 2 + round(STEP * rate) * (np.arange(frames) - (frames - 1) / 2)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("low", "high"), [(80, 120), (300, 150), (250, 550)])
@pytest.mark.parametrize(("snr", "cents"), [(None, 1), (20, 10), (5, 60)])
def test_the_pitch_of_glides_with_no_octave_error(rate, low, high, snr, cents):
    sound, hertz = glide(rate, low, high)
    f0, _ = track(sound if snr is None else noisy(sound, snr), rate)
    assert (f0 > 0).all()
    apart = 1200 * np.log2(f0 / np.interp(centres(sound, rate, len(f0)), np.arange(len(hertz)), hertz))
    assert np.abs(apart).max() < cents


@pytest.mark.parametrize("rate", RATES)
def test_noise_and_silence_have_no_voice(rate):
    noise = 0.1 * np.random.default_rng(1).standard_normal(rate)
    assert (track(noise, rate)[0] > 0).mean() < 0.02
    sound = np.concatenate([np.zeros(rate // 2), tone(rate, np.full(rate // 2, 200.0)), np.zeros(rate // 2)])
    f0, _ = track(sound, rate)
    at = centres(sound, rate, len(f0)) / rate
    assert (f0[(at < 0.48) | (at > 1.02)] == 0).all() and (f0[(at > 0.52) & (at < 0.98)] > 0).all()


@pytest.mark.parametrize("rate", RATES)
def test_a_subharmonic_and_a_missing_fundamental_are_no_octave_errors(rate):
    t = np.arange(rate) / rate
    missing = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(2, 9)) / 4
    strong = np.sin(2 * np.pi * 180 * t) + 0.05 * np.sin(2 * np.pi * 90 * t)
    for sound, hertz in ((missing, 150), (strong / 2, 180)):
        f0, _ = track(sound, rate)
        assert np.abs(12 * np.log2(np.median(f0[f0 > 0]) / hertz)) < 0.1


@pytest.mark.parametrize("rate", RATES)
def test_features_of_a_glide(rate):
    got = dict(zip(FEATURES, features(glide(rate, 110, 220)[0], rate)))
    assert got["f0_median"] == pytest.approx(12 * np.log2(110 * 2**0.5 / 100), abs=0.05)
    assert got["f0_range"] == pytest.approx(0.8 * 12 * 0.96, abs=0.1)  # of the frames' centres, 40 ms less
    assert got["voiced"] == 1


@pytest.mark.parametrize("rate", RATES)
def test_level_in_decibels_of_full_scale(rate):
    sine = np.sin(2 * np.pi * 200 * np.arange(rate) / rate) + 1e-3 * np.random.default_rng(0).standard_normal(rate)
    at = list(FEATURES).index("level")
    assert features(sine, rate)[at] == pytest.approx(-3.01, abs=0.05)
    assert features(sine / 10, rate)[at] == pytest.approx(-23.01, abs=0.05)


@pytest.mark.parametrize("slope", [0, -6, -12])
def test_tilt_is_the_slope_of_the_harmonics(slope):
    for rate in RATES:
        hertz = np.full(rate, 100.0)
        phase = 2 * np.pi * np.cumsum(hertz) / rate
        loud = [k ** (slope / (20 * np.log10(2))) for k in range(1, 39)]
        sound = sum(a * np.sin(k * phase + k * k) for k, a in enumerate(loud, 1))
        found = features(0.3 * sound / np.abs(sound).max(), rate)[list(FEATURES).index("tilt")]
        assert found == pytest.approx(slope, abs=0.7)


@pytest.mark.parametrize("beats", [2, 4, 6])
def test_syllables_a_second_are_those_of_the_level(beats):
    rate, seconds = 16_000, 3.0
    t = np.arange(int(rate * seconds)) / rate
    sound = tone(rate, np.full(len(t), 140.0)) * (0.15 + 0.85 * np.sin(np.pi * beats * t) ** 2)
    assert features(sound, rate)[list(FEATURES).index("rate")] == pytest.approx(beats, abs=0.1)


def test_syllables_by_their_definition():
    level = np.array([0, 5, 1, 4, 3.5, 6, 2, -40, -30, -40, 0, 3.0])
    assert nuclei(level, np.ones(12, bool)) == 3  # 5, 6 and 3: the dip at 3.5 is none, the peak at -30 too weak
    assert nuclei(level, np.arange(12) < 4) == 1


def test_half_of_the_speech_is_voiced():
    rate = 16_000
    voice = tone(rate, np.full(rate, 150.0))
    hiss = 0.2 * np.random.default_rng(3).standard_normal(rate)
    still = np.zeros(rate // 2)
    sound = np.concatenate([still, voice, hiss, still])
    assert features(sound, rate)[-1] == pytest.approx(0.5, abs=0.03)


def batch(sounds, rate=16_000.0):
    return Signal("audio", np.asarray(sounds, np.float32), rate=rate, names=[f"{i}.wav" for i in range(len(sounds))])


def test_a_batch_says_what_each_sound_says_alone_and_channels_are_averaged():
    sounds = [[glide(16_000, low, 2 * low)[0]] * 2 for low in (100, 150, 200)]
    (whole,) = Prosody().encode(batch(sounds))
    assert whole.kind == "embedding" and whole.data.shape == (3, 6) and whole.data.dtype == np.float32
    for i, sound in enumerate(sounds):
        (alone,) = Prosody().encode(batch([sound[:1]]))
        np.testing.assert_allclose(alone.data[0], whole.data[i], rtol=1e-6)
        assert (Prosody().encode(batch([sound]))[0].data[0] == whole.data[i]).all()
    assert Prosody().record(batch(sounds))["features"] == list(FEATURES)


def test_long_sounds_are_read_in_pieces(monkeypatch):
    sound = noisy(glide(16_000, 90, 240, 2.0)[0], 15)
    wanted = features(sound, 16_000)
    monkeypatch.setattr("lemtools.encode.pitch.MANY", 7)
    np.testing.assert_allclose(features(sound, 16_000), wanted, rtol=1e-9)


@pytest.mark.parametrize(
    ("sound", "rate", "said"),
    [
        (np.zeros(16_000), 16_000, "^silence"),
        (np.ones(160), 16_000, "^0.01 s of sound; prosody needs 0.1 s or more"),
        (np.random.default_rng(0).standard_normal(8_000) / 9, 16_000, "too few for a pitch"),
        (np.ones(4_000), 4_000, "4000 Hz; prosody needs 8000 Hz or more"),
        (np.full(4_000, np.nan), 8_000, "not finite"),
    ],
)
def test_what_has_no_prosody_is_refused_by_name(sound, rate, said):
    with pytest.raises(LemError, match=said):
        Prosody().encode(batch([[sound]], rate))


def test_of_several_sounds_the_one_is_named():
    good = glide(16_000, 120, 150)[0]
    with pytest.raises(LemError, match="^1.wav: silence"):
        Prosody().encode(batch([[good], [0 * good]]))


def test_a_constant_added_changes_nothing():
    sound = noisy(glide(16_000, 110, 180)[0], 20)
    np.testing.assert_allclose(features(sound + 0.4, 16_000), features(sound, 16_000), atol=2e-3)


def test_a_hum_below_the_silence_threshold_is_no_voice():
    rate = 16_000
    voice = tone(rate, np.full(rate // 2, 200.0))
    for loud, heard in ((0.01, 0.0), (0.1, 1.0)):
        f0, _ = track(np.concatenate([voice, loud * voice]), rate)
        assert (f0[len(f0) // 2 + 3 :] > 0).mean() == pytest.approx(heard, abs=0.05)
