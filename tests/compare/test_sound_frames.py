"""SNR over gaps, segmental SNR and the multi-resolution STFT distance against their definitions and other libraries."""

import math

import numpy as np
import pytest
import torch

from lemtools.compare import measure, short_time, sound
from lemtools.signal import Signal

RNG = np.random.default_rng(15)


def noise(*shape):
    return RNG.standard_normal(shape) * 0.1


# -- gaps ------------------------------------------------------------------------------------------------------------


def by_hand(a, b, missing):
    """One item, moment by moment."""
    ratios, signal, error, inside = [], 0.0, 0.0, False
    for t in range(a.shape[1] + 1):
        here = t < a.shape[1] and missing[:, t].any()
        if here:
            for c in range(len(a)):
                if missing[c, t]:
                    signal, error = signal + a[c, t] ** 2, error + (a[c, t] - b[c, t]) ** 2
        elif inside and signal > 0:
            ratios.append(math.inf if error == 0 else 10 * math.log10(signal / error))
        if not here:
            signal = error = 0.0
        inside = here
    return np.mean(ratios) if ratios else math.nan


@pytest.mark.parametrize("channels", [1, 2])
def test_snr_over_gaps_is_its_definition(channels):
    a, b = noise(40, channels, 60), noise(40, channels, 60)
    missing = RNG.random(a.shape) < 0.4
    missing[0] = False
    missing[1] = True
    missing[2, :, :5] = missing[2, :, -5:] = True  # gaps at the ends
    a[3, :, :30] = 0  # gaps in silence
    found = sound.snr_gaps(a, b, gaps=missing)
    np.testing.assert_allclose(found, [by_hand(*each) for each in zip(a, b, missing)], rtol=1e-9)
    assert np.isnan(found[0]) and np.isfinite(found[1:]).all()
    assert found[1] == pytest.approx(sound.snr(a, b)[1])  # one gap


def test_each_gap_counts_once_and_all_lost_samples_together_are_another_number():
    a = np.ones((1, 1, 100))
    b, missing = a.copy(), np.zeros(a.shape, bool)
    missing[..., 10:20] = missing[..., 30:70] = True
    b[..., 10:20], b[..., 30:70] = 0.9, 0.0  # 20 dB, 0 dB
    assert sound.snr_gaps(a, b, gaps=missing)[0] == pytest.approx(10)
    assert sound.snr(a, b, where=missing)[0] == pytest.approx(10 * math.log10(50 / (10 * 0.01 + 40)))
    b[..., 80:] = 7  # outside of the gaps nothing counts
    assert sound.snr_gaps(a, b, gaps=missing)[0] == pytest.approx(10)
    b[..., 10:20] = 1
    assert sound.snr_gaps(a, b, gaps=missing)[0] == math.inf
    assert np.isnan(sound.snr(a, b, where=np.zeros(a.shape, bool))[0])


def broken(a, mask):
    op = {"op": "mask", "fraction": 0.5, "shape": "span"}
    return Signal("audio", np.where(mask, a, 0).astype(np.float32), mask=mask, rate=8000, ops=[op])


def test_where_missing_measures_both():
    a = noise(3, 1, 400).astype(np.float32)
    mask = np.ones(a.shape, bool)
    mask[..., 50:80] = mask[..., 200:300] = False
    b = np.where(mask, a, a * 0.5).astype(np.float32)
    one, other = (Signal("audio", x, rate=8000) for x in (a, b))
    found = {r.name: r.mean for r in measure(one, other, fragments=broken(a, mask))}
    assert found["snr[missing]"] == found["snr_gaps"] == pytest.approx(20 * math.log10(2), abs=1e-4)
    assert {"mse[missing]", "psnr[missing]"} < found.keys()
    with pytest.raises(Exception, match="--where missing"):
        measure(one, other, "snr-gaps")
    assert "snr_gaps" not in {r.name for r in measure(one, other, "all")}


# -- segmental SNR ---------------------------------------------------------------------------------------------------


def loizou(a, b, rate):
    """One channel, frame by frame, as comp_snr of Speech Enhancement (2007), all whole frames."""
    size = round(30 * rate / 1000)
    hop = size // 4
    window = [0.5 * (1 - math.cos(2 * math.pi * n / (size + 1))) for n in range(1, size + 1)]
    found = []
    for start in range(0, len(a) - size + 1, hop):
        p, q = (x[start : start + size] * window for x in (a, b))
        found.append(min(max(10 * math.log10((p @ p) / ((p - q) @ (p - q))), -10), 35))
    return np.mean(found)


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
def test_segmental_snr_is_its_definition(rate):
    a = noise(3, 2, 4001)
    b = a + noise(3, 2, 4001) * np.geomspace(1e-3, 30, 4001)  # from above 35 dB to below -10
    expected = [np.mean([loizou(p, q, rate) for p, q in zip(x, y)]) for x, y in zip(a, b)]
    np.testing.assert_allclose(short_time.segmental_snr(a, b, rate=rate), expected, rtol=1e-9)


def test_segmental_snr_is_limited_and_leaves_silence_out():
    a = np.zeros((1, 1, 4000))
    assert np.isnan(short_time.segmental_snr(a, a, rate=8000)[0])
    a[..., :2000] = noise(2000)
    assert short_time.segmental_snr(a, a, rate=8000)[0] == 35
    assert short_time.segmental_snr(a, a + 100 * noise(4000), rate=8000)[0] == -10
    b = a.copy()
    b[..., 2500:] = 1  # noise in silence has no ratio
    assert short_time.segmental_snr(a, b, rate=8000)[0] == 35
    assert short_time.segmental_snr(a, 0.9 * a, rate=8000)[0] == pytest.approx(20)
    short = noise(1, 1, 50)
    assert short_time.segmental_snr(short, 0.9 * short, rate=8000)[0] == pytest.approx(20)


def test_chunks_join_without_a_seam(monkeypatch):
    a = noise(1, 1, 9000)
    b = a + noise(1, 1, 9000)
    whole = short_time.segmental_snr(a, b, rate=8000)[0], short_time.multi_resolution_stft(a, b)[0]
    monkeypatch.setattr(short_time, "_CHUNK", 5000)
    assert short_time.segmental_snr(a, b, rate=8000)[0] == pytest.approx(whole[0], rel=1e-12)
    assert short_time.multi_resolution_stft(a, b)[0] == pytest.approx(whole[1], rel=1e-12)


def test_a_sound_without_its_rate_has_no_segments():
    a = Signal("audio", noise(1, 1, 800).astype(np.float32))
    with pytest.raises(Exception, match="needs the sample rate"):
        measure(a, a, "segsnr")
    assert "segsnr[30ms]" not in {r.name for r in measure(a, a, "all")}


# -- three resolutions -----------------------------------------------------------------------------------------------


def yamamoto(a, b):
    """One channel, by torch.stft in float64."""
    total = []
    for n_fft, hop, size in ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200)):
        window = torch.hann_window(size, dtype=torch.float64)
        x, y = (
            torch.stft(torch.from_numpy(v)[None], n_fft, hop, size, window, return_complex=True)
            .abs()
            .square()
            .clamp_min(1e-8)
            .sqrt()
            for v in (a, b)
        )
        total.append(torch.linalg.norm(x - y) / torch.linalg.norm(x) + (x.log() - y.log()).abs().mean())
    return float(sum(total) / 3)


@pytest.mark.parametrize("length", [1200, 5000])
def test_multi_resolution_stft_is_its_definition(length):
    a = noise(2, 2, length)
    b = 0.7 * a + noise(2, 2, length)
    b[1, :, 100:900] = 0
    expected = [np.mean([yamamoto(p, q) for p, q in zip(x, y)]) for x, y in zip(a, b)]
    np.testing.assert_allclose(short_time.multi_resolution_stft(a, b), expected, rtol=1e-9)


def test_multi_resolution_stft_is_auraloss():
    auraloss = pytest.importorskip("auraloss")
    a, b = noise(1, 1, 6000), noise(1, 1, 6000)
    theirs = auraloss.freq.MultiResolutionSTFTLoss(  # sizes in the order of its authors
        fft_sizes=[1024, 2048, 512], hop_sizes=[120, 240, 50], win_lengths=[600, 1200, 240]
    )
    found = theirs(torch.from_numpy(b).float(), torch.from_numpy(a).float())
    assert short_time.multi_resolution_stft(a, b)[0] == pytest.approx(float(found), rel=1e-5)


def test_multi_resolution_stft_knows_gains_and_has_no_holes():
    a = noise(1, 1, 5000)
    assert short_time.multi_resolution_stft(a, a)[0] == 0
    assert short_time.multi_resolution_stft(a, -a)[0] == 0  # phases are not seen
    assert short_time.multi_resolution_stft(a, 0.9 * a)[0] == pytest.approx(0.1 - math.log(0.9), rel=1e-4)
    for length in (1, 2, 300):
        x = noise(1, 1, length)
        assert np.isfinite(short_time.multi_resolution_stft(x, np.zeros_like(x))[0])
    silent = np.zeros((1, 1, 3000))
    assert short_time.multi_resolution_stft(silent, silent)[0] == 0
