"""The Morlet transform against convolution with the sampled wavelet, PyWavelets, its own transpose and its inverse."""

import tracemalloc

import numpy as np
import pytest

from lemtools.catalogue import LemError
from lemtools.transforms import morlet, wavelets
from lemtools.transforms.wavelets import MU


def Morlet(rate, samples, **settings):
    return morlet.Morlet("morlet", rate, samples, **settings)


def scales(front):
    return wavelets.widths(front.rate, front.hz)


def noise(*shape, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def rows(transform, sound):
    """complex128 [F, frames] of one sound, [samples]."""
    made = transform.encode(sound[None, None]).astype(np.float64)
    return made[0, 0] + 1j * made[0, 1]


def rms(x):
    return np.sqrt(np.mean(np.abs(x) ** 2))


def decibels(x, back):
    return 10 * np.log10(np.sum(x.astype(np.float64) ** 2) / np.sum((x - back.astype(np.float64)) ** 2))


def wavelet(s, t):
    """The analytic Morlet wavelet of s samples, peak 2 in frequency: the integral over w > 0 of g e^{i w t} / 2 pi.

    In closed form, by Faddeeva's function: of e^{-u^2 / 2 + (m + i t) u} it is sqrt(pi / 2) w((t - i m) / sqrt(2)).
    """
    faddeeva = pytest.importorskip("scipy.special").wofz
    t = t / s
    half = np.exp(-(MU**2) / 2) * np.sqrt(np.pi / 2)
    return half * (faddeeva((t - 1j * MU) / np.sqrt(2)) - faddeeva(t / np.sqrt(2))) / (np.pi * s)


def test_rows_are_convolutions_with_the_sampled_wavelet():
    """In float64, of the mirrored sound, at all scales of 8 samples and more; row 0 has its low-pass besides."""
    rate, samples = 8000, 3000
    transform, x = Morlet(rate, samples, voices=6, lowest=30.0), noise(samples)
    made, far = rows(transform, x), 6000
    ends = np.pad(x.astype(np.float64), far, "symmetric")
    compared = np.flatnonzero(scales(transform) >= 8)[1:]
    assert len(compared) > 25 and scales(transform)[compared].min() < 9
    for k in compared:
        kernel = wavelet(scales(transform)[k], np.arange(-far, far + 1.0))
        size = 1 << (len(ends) + len(kernel)).bit_length()
        right = np.fft.ifft(np.fft.fft(ends, size) * np.fft.fft(kernel, size))[2 * far : 2 * far + samples]
        assert rms(made[k] - right) < 1e-6 * rms(right), k


def test_the_textbook_s_wavelet_differs_by_its_negative_frequencies_alone():
    """psi(t) = (e^{5 i t / s} - e^{-25 / 2}) e^{-t^2 / 2 s^2}, sampled: some e^{-25 / 2} = 4e-6 of it, of which the analytic
    one has nothing. s = 5 / 2 pi f."""
    rate, samples, far = 8000, 1000, 600
    transform, x = Morlet(rate, samples, voices=4, lowest=90.0), noise(samples)
    made, ends = rows(transform, x), np.pad(x.astype(np.float64), far, "symmetric")
    for k in (1, 6, 11):
        s = 5 * rate / (2 * np.pi * 90.0 * 2 ** (k / 4))
        t = np.arange(-far, far + 1.0) / s
        kernel = 2 * (np.exp(5j * t) - np.exp(-12.5)) * np.exp(-(t**2) / 2) / (s * np.sqrt(2 * np.pi))
        right = np.convolve(ends, kernel, "valid")
        assert rms(made[k] - right) < 4e-6 * rms(right), k


def test_one_value_by_hand():
    """The sum over samples written out, so that nothing hangs on a Fourier transform."""
    samples, n, k = 3000, 1234, 30
    transform, x = Morlet(8000, samples, voices=6, lowest=30.0), noise(samples)
    ends = np.pad(x.astype(np.float64), 3000, "symmetric")
    at = np.arange(len(ends)) - 3000
    right = np.sum(ends * wavelet(scales(transform)[k], n - at.astype(float)))
    assert abs(rows(transform, x)[k, n] - right) < 3e-6 * abs(right)


def test_against_pywavelets():
    """Its cmor wavelet is the same without the term for the mean, in L2.

    Its own error: it takes the mean of the wavelet over each sample in place of its value, half a sample late. Without
    that the two agree to 3e-4.
    """
    pywt = pytest.importorskip("pywt")
    sizes = [256, 128, 64, 32, 16, 8]
    transform, x = Morlet(8000, 8192, voices=4, lowest=MU * 8000 / 2 / np.pi / 256), noise(8192)
    made = rows(transform, x)[::4][: len(sizes)]
    peer, _ = pywt.cwt(x.astype(np.float64), sizes, f"cmor2.0-{MU / 2 / np.pi}", method="fft", precision=14)
    late = np.exp(1j * np.pi * np.fft.fftfreq(8192))
    mean = np.sinc(np.fft.fftfreq(8192))
    peer = np.fft.fft(peer * 2 / np.sqrt(sizes)[:, None]) * late
    for own, right, least in ((1, 1e-2, 16), (mean, 1e-3, 8)):
        theirs = np.fft.ifft(peer / own)
        for s, a, b in list(zip(sizes, made[:, 2500:-2500], theirs[:, 2500:-2500]))[1:]:
            assert s < least or rms(a - b) < right * rms(a), s


@pytest.mark.parametrize("voices", [4, 12, 24])
def test_a_sine_of_amplitude_1_has_modulus_1_in_its_row(voices):
    transform = Morlet(8000, 6000, voices=voices, lowest=50.0)
    k = len(transform.hz) // 2
    x = np.sin(2 * np.pi * transform.hz[k] / 8000 * np.arange(6000))
    modulus = np.abs(rows(transform, x))[:, 2000:4000]
    np.testing.assert_allclose(modulus[k], 1, atol=1e-4)
    assert modulus.mean(1).argmax() == k


def test_the_low_pass_of_row_0_is_what_rows_below_it_would_hold():
    """In power: with the squares of all wavelets, over their sum where they are dense, it makes 1 at every frequency."""
    transform = Morlet(8000, 20000, voices=24, lowest=40.0)
    filters, power = transform._filters, np.zeros(transform.period // 2 + 1)
    for k in range(len(transform.hz)):
        g = filters.response(k)
        power[: len(g)] += g**2
    h, heard = filters.rest[0], int(1000 / 8000 * transform.period)
    power /= power[heard]
    power[: len(h)] += h**2
    np.testing.assert_allclose(power[:heard], 1, atol=1e-3)


def test_the_outermost_rows_hold_the_mean_and_the_fastest_change_with_a_gain_of_1():
    transform = Morlet(8000, 4001, voices=6, lowest=50.0)
    for k, x in ((0, np.full(4001, 0.5)), (-1, 0.5 * (-1.0) ** np.arange(4001))):
        made = rows(transform, x)[:, 1900:2100]
        np.testing.assert_allclose(made[k], x[1900:2100], atol=1e-5)
        assert np.abs(np.delete(made, k, 0)).max() < 1e-4


def test_rows_are_spaced_evenly_in_pitch_from_the_lowest_up():
    transform = Morlet(44100, 220500)
    assert len(transform.hz) == 243 and transform.hz[0] == 20
    np.testing.assert_allclose(transform.hz[24:] / transform.hz[:-24], 2)
    assert transform.hz[-1] < 22050 <= transform.hz[-1] * 2 ** (1 / 24)
    assert len(Morlet(8000, 10, voices=4, lowest=1000.0).hz) == 8, "4000 Hz is half the rate"


def test_a_step_in_frequency_is_a_transposition():
    """Two octaves up, and twice two times as short: the same rows, 2 voices x 2 octaves further up."""
    transform = Morlet(8000, 8192, voices=6, lowest=40.0)
    tone = lambda hz: np.sin(2 * np.pi * hz / 8000 * np.arange(8192))
    low, high = (np.abs(rows(transform, tone(hz)))[:, 4000:4100].mean(1) for hz in (200, 800))
    np.testing.assert_allclose(high[18:36], low[6:24], atol=1e-5)


@pytest.mark.parametrize("samples", [1, 2, 7, 997, 10007])
@pytest.mark.parametrize("how", [{}, {"voices": 4}, {"lowest": 700.0}, {"voices": 4, "lowest": 5.0}, {"voices": 48}])
def test_decoding_undoes_encoding_at_any_length(samples, how):
    """White noise, with a mean and a drift below the lowest row."""
    x = noise(2, 2, samples) + np.linspace(-0.5, 0.6, samples, dtype=np.float32)
    transform = Morlet(8000, samples, **how)
    back = transform.decode(transform.encode(x))
    assert back.shape == x.shape and back.dtype == np.float32
    assert decibels(x, back) > 105


@pytest.mark.parametrize("hz", [0.0, 3.0, 12.0, 20.0, 20.3, 441.0, 3700.0, 3799.0, 3900.0, 3990.0, 4000.0])
def test_every_tone_comes_back(hz):
    x = np.cos(2 * np.pi * hz / 8000 * np.arange(8000) + 0.3)[None, None].astype(np.float32)
    transform = Morlet(8000, 8000)
    assert decibels(x, transform.decode(transform.encode(x))) > 105


@pytest.mark.parametrize("hop", [2, 5, 64, 1000])
def test_a_hop_keeps_every_so_manieth_sample(hop):
    x = noise(1, 2, 2345)
    whole, some = Morlet(8000, 2345, voices=5), Morlet(8000, 2345, voices=5, hop=hop)
    kept = some.encode(x)
    assert kept.shape == (1, 4, len(some.hz), some.shape[1])
    right = whole.encode(x)[..., ::hop]
    assert np.abs(kept - right).max() < 2e-6 * np.abs(right).max()
    with pytest.raises(
        LemError, match=f"of {hop} numbers of a row one was kept .--hop {hop}., which cannot be decoded"
    ):
        some.decode(kept)


def test_sounds_do_not_depend_on_those_beside_them(monkeypatch):
    x = noise(5, 2, 700)
    transform = Morlet(8000, 700, voices=4)
    together = transform.encode(x)
    np.testing.assert_allclose(together[3:4], transform.encode(x[3:4]), atol=1e-7)
    monkeypatch.setattr(morlet, "BLOCK", 3 * transform.period)
    monkeypatch.setattr(morlet, "threads", lambda: 1)
    np.testing.assert_allclose(together, transform.encode(x), atol=1e-7)
    np.testing.assert_allclose(transform.decode(together)[3:4], transform.decode(together[3:4]), atol=1e-7)


def test_what_a_lost_sample_spoils():
    transform = Morlet(8000, 2000, voices=4, lowest=40.0, hop=7)
    observed = np.ones((2, 1, 2000), bool)
    observed[0, 0, [5, 900]] = observed[1, 0, 1999] = False
    made = transform.observed_frames(observed)
    reach = np.ceil(morlet.TOUCH * scales(transform)[0])
    right = np.ones((2, 1, transform.shape[1]), bool)
    for item, _, n in zip(*np.nonzero(~observed)):
        right[item] &= np.abs(np.arange(transform.shape[1]) * 7 - n) > reach
    np.testing.assert_array_equal(made, right)
    assert made.any(2).all() and not made.all(2).any()
    with pytest.raises(LemError, match="1999 samples"):
        transform.observed_frames(observed[..., 1:])


@pytest.mark.parametrize("lowest", [60.0, 1500.0])
def test_other_frames_change_little(lowest):
    """A lost sample changes the frames that it does not touch by less than a thousandth, in every row."""
    transform, x = Morlet(8000, 4000, voices=4, lowest=lowest), noise(4000)
    broken, observed = x.copy(), np.arange(4000) != 2000
    broken[2000] = 0
    change = np.abs(rows(transform, broken) - rows(transform, x))
    kept = transform.observed_frames(observed)
    assert 0 < kept.mean() < 1
    assert (change[:, kept].max(1) < 1e-3 * change.max(1)).all()


def test_the_memory_of_a_transform_is_that_of_its_output():
    """Numbers beside the result and the sound, at their most: half of the output (measured: a tenth)."""
    transform, x = Morlet(44100, 44100), noise(1, 1, 44100)
    tracemalloc.start()
    try:
        made = transform.encode(x)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * made.nbytes
        tracemalloc.reset_peak()
        transform.decode(made)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * made.nbytes
    finally:
        tracemalloc.stop()


def test_the_last_row_holds_the_uppermost_twentieth_of_the_band_and_no_more():
    transform = Morlet(8000, 4000, voices=6, lowest=100.0)
    filters, last = transform._filters, len(transform.hz) - 1
    hz = np.arange(len(filters.rest[last])) * 8000 / filters.period
    held = np.abs(filters.rest[last]) > 0
    assert not held[hz < 3799].any() and held[hz > 3802].all()
