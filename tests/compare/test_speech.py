"""PESQ, STOI and ViSQOL: the numbers of their packages, and what is refused; the Frechet distance of log-mel frames."""

import sys

import numpy as np
import pytest

from lemtools.compare import log_mel, measure, speech
from lemtools.signal import LemError, Signal

RNG = np.random.default_rng(15)
NAMES = ("pesq", "pesq-nb", "stoi", "estoi", "visqol")
FUNCTIONS = dict(zip(NAMES, (speech.pesq_wide, speech.pesq_narrow, speech.stoi, speech.estoi, speech.visqol)))
MODULES = {
    "pesq": "pesq",
    "pesq-nb": "pesq",
    "stoi": "pystoi",
    "estoi": "pystoi",
    "visqol": "ai_edge_litert.interpreter",
}


def voice(seconds=2.5, rate=16000):
    """Something like speech [1,1,T]: syllables of harmonics at 4 a second, with pauses."""
    t = np.arange(int(seconds * rate)) / rate
    pitch = 2 * np.pi * np.cumsum(120 + 25 * np.sin(2 * np.pi * 0.7 * t)) / rate
    formant = 500 + 300 * np.sin(2 * np.pi * 2 * t)
    tones = sum(np.exp(-(((120 * h - formant) / 400) ** 2)) * np.sin(h * pitch) for h in range(1, 25))
    x = tones * np.maximum(0, np.sin(2 * np.pi * 4 * t)) + 1e-4 * np.random.default_rng(1).standard_normal(len(t))
    return (0.3 * x / np.abs(x).max())[None, None].astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_more_noise_scores_lower(name):
    pytest.importorskip(MODULES[name])
    a = voice()
    noise = np.random.default_rng(2).standard_normal(a.shape).astype(np.float32)
    found = [FUNCTIONS[name](a, a + level * noise, rate=16000)[0] for level in (0, 0.0003, 0.002)]
    assert np.isfinite(found).all() and (np.diff(found) < 0).all(), found


def test_pesq_and_stoi_are_what_their_packages_say_channel_by_channel():
    pesq, pystoi = pytest.importorskip("pesq"), pytest.importorskip("pystoi")
    a = np.concatenate([voice(), voice()[..., ::-1]], axis=1)
    b = (a + 0.02 * np.random.default_rng(3).standard_normal(a.shape)).astype(np.float32)
    for mode, function in (("wb", speech.pesq_wide), ("nb", speech.pesq_narrow)):
        expected = np.mean([pesq.pesq(16000, p, q, mode) for p, q in zip(a[0], b[0])])
        assert function(a, b, rate=16000)[0] == pytest.approx(expected)
    for extended, function in ((False, speech.stoi), (True, speech.estoi)):
        expected = np.mean([pystoi.stoi(p, q, 8000, extended) for p, q in zip(a[0], b[0])])
        assert function(a, b, rate=8000)[0] == pytest.approx(expected, abs=1e-6)


def test_visqol_is_what_its_package_says_and_hears_holes():
    visqol = pytest.importorskip("visqol")
    pytest.importorskip("ai_edge_litert.interpreter")
    a = voice()
    b = a.copy()
    for start in range(4000, 40000, 4000):
        b[..., start : start + 800] = 0
    api = visqol.VisqolApi()
    api.create(mode="speech", use_lattice_model=True)
    expected = api.measure_from_arrays(a[0, 0].astype(float), b[0, 0].astype(float), 16000).moslqo
    assert speech.visqol(a, b, rate=16000)[0] == pytest.approx(expected)
    assert expected < speech.visqol(a, a, rate=16000)[0] - 0.2


def test_too_little_speech_is_nan():
    silent, short = np.zeros((1, 1, 16000), np.float32), voice(0.1)
    for name in NAMES:
        pytest.importorskip(MODULES[name])
        assert np.isnan(FUNCTIONS[name](silent, silent, rate=16000)[0]), name
        assert np.isnan(FUNCTIONS[name](short, short, rate=16000)[0]) or name == "visqol", name


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_package_is_named(name, monkeypatch):
    sound = Signal("audio", voice(0.5), rate=16000)
    monkeypatch.setitem(sys.modules, MODULES[name], None)
    if name == "visqol":  # the package is there, but not what makes its numbers right
        monkeypatch.setitem(sys.modules, "visqol", type(sys)("visqol"))
        sys.modules["visqol"].VisqolApi = object
    with pytest.raises(LemError, match=rf"--metric {name} needs .*: pip install 'lemtools\[speech\]'"):
        measure(sound, sound, name)


@pytest.mark.parametrize("name, rate", [("pesq", 8000), ("pesq", 44100), ("pesq-nb", 22050), ("visqol", 48000)])
def test_other_rates_are_refused(name, rate):
    sound = Signal("audio", voice(0.5), rate=rate)
    with pytest.raises(LemError, match=f"--metric {name} is defined at .* not at {rate}: resample"):
        measure(sound, sound, name)


# -- log-mel frames --------------------------------------------------------------------------------------------------


def coloured(n, rate=8000, tilt=0.9):
    x = RNG.standard_normal((n, 1, rate // 4))
    return (x[..., 1:] + tilt * x[..., :-1]) * 0.1


def test_frechet_of_log_mels_tells_other_sounds_from_others_alike():
    a, alike, other = coloured(24), coloured(24), coloured(24, tilt=-0.9)
    found = log_mel.frechet_log_mel(a, alike, rate=8000)
    assert found.k == 16 and 0 < found.value < 3 * found.beside
    assert log_mel.frechet_log_mel(a, a, rate=8000).value == pytest.approx(found.beside, rel=1e-6)
    assert log_mel.frechet_log_mel(a, other, rate=8000).value > 100 * found.value
    assert log_mel.frechet_log_mel(a, alike, rate=8000, k=99).k == 40


def test_frechet_of_a_gain_is_its_shift():
    # 20 dB more in all bands: the means differ by 20 along each, the covariances do not
    a = coloured(24)
    floor = log_mel.frechet_log_mel(a, a, rate=8000, k=40).value
    assert log_mel.frechet_log_mel(a, 10 * a, rate=8000, k=40).value == pytest.approx(
        40 * 400, abs=20 * floor**0.5 * 20
    )


def test_log_mels_and_their_distance_are_their_definitions():
    """Written out: triangles of area 1 on Slaney's scale, one frame after the other, roots of matrices by scipy."""
    linalg = pytest.importorskip("scipy.linalg")
    rate, size, hop = 8000, 256, 80
    edge = np.linspace(0, 15 + np.log(4) * 27 / np.log(6.4), 42)
    edge = [m * 200 / 3 if m < 15 else 1000 * 6.4 ** ((m - 15) / 27) for m in edge]
    bins = np.arange(size // 2 + 1) * rate / size

    def features(x):
        out = []
        for start in range(0, len(x) - size + 1, hop):
            window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
            power = np.abs(np.fft.rfft(x[start : start + size] * window)) ** 2 * rate / size / (window**2).sum()
            rise = [
                np.interp(bins, [a, b, c], [0, 2 / (c - a), 0]) @ power for a, b, c in zip(edge, edge[1:], edge[2:])
            ]
            out.append(10 * np.log10(np.maximum(rise, 1e-10)))
        return np.array(out)

    a, b = coloured(6), coloured(6, tilt=0.5)
    one, other = ([features(x[0]) for x in set_] for set_ in (a, b))
    np.testing.assert_allclose(log_mel.log_mels(a, rate), one, atol=2e-4)
    frames = np.concatenate(one)
    axes = np.linalg.eigh(np.cov(frames.T))[1][:, :-5:-1]

    def distance(x, y):
        x, y = (np.concatenate(v) @ axes for v in (x, y))
        s, t, shift = np.cov(x.T, bias=True), np.cov(y.T, bias=True), x.mean(0) - y.mean(0)
        return shift @ shift + np.trace(s + t - 2 * linalg.sqrtm(s @ t).real)

    rng, values, floors = np.random.default_rng(0), [], []
    for _ in range(16):
        order = rng.permutation(6)
        first, second = order[:3], order[3:]
        for p, q in ((first, second), (second, first)):
            values.append(distance([one[i] for i in p], [other[i] for i in q]))
            floors.append(distance([one[i] for i in p], [one[i] for i in q]))
    found = log_mel.frechet_log_mel(a, b, rate=rate, k=4)
    assert found.value == pytest.approx(np.mean(values), rel=1e-3)
    assert found.beside == pytest.approx(np.mean(floors), rel=1e-3)


def test_log_mels_of_noise_and_of_silence():
    x = RNG.standard_normal((2, 2, 16000))
    found = log_mel.log_mels(x, 16000)
    assert found.shape == (2, 2 * 97, 40)
    np.testing.assert_allclose(log_mel.log_mels(0.1 * x, 16000), found - 20, atol=1e-3)
    level = 10 * np.log10(np.mean(10 ** (found.astype(float) / 10), axis=(0, 1)))
    np.testing.assert_allclose(level[:-1], 0, atol=0.9)  # variance 1 in each band
    assert (log_mel.log_mels(np.zeros((1, 1, 5)), 8000) == -100).all()


def test_a_set_of_sounds_has_one_number():
    a, b = (Signal("audio", coloured(12).astype(np.float32), rate=8000.0) for _ in "ab")
    found = {r.name: r.mean for r in measure(a, b, "frechet-log-mel@5")}
    assert found.keys() == {"frechet[log-mel,pca5]", "frechet_floor[log-mel,pca5]"}
