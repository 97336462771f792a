"""Metrics of sets of states: Wasserstein-1 and spectra channel by channel, survival; and the interval of a share."""

import math
import warnings

import numpy as np
import pytest

from helpers.commands import lem_fork
from lemtools import stream
from lemtools.compare import measure
from lemtools.compare.states import log_spectrum, log_spectrum_low, power, shells, survival, w1, wasserstein
from lemtools.compare.summary import mean_interval, share_interval
from lemtools.signal import LemError, Signal

RNG = np.random.default_rng(0)
UNITS = np.array([1e-3, 5.0, 2e4])  # of three channels
EXTENTS = [(24,), (15,), (8, 8), (6, 9)]


def states(*extent, count=12, seed=0):
    """[count, 3, *extent] of white noise in very different units, float32."""
    x = np.random.default_rng(seed).standard_normal((count, 3, *extent))
    return (x * UNITS.reshape(3, *[1] * len(extent))).astype(np.float32)


def slow(rows, steps, keep, rng):
    """[steps * rows, 1, 4]: each value an AR(1) process of deviation 1, step after step, rows side by side."""
    x = rng.standard_normal((rows, 1, 4))
    out = []
    for _ in range(steps):
        out.append(x)
        x = keep * x + math.sqrt(1 - keep**2) * rng.standard_normal(x.shape)
    return np.concatenate(out)


def on_channels(x, values):
    return x * np.reshape(values, (3, *[1] * (x.ndim - 2)))


# Wasserstein-1


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_wasserstein_is_the_distance_of_the_quantiles(dtype, monkeypatch):
    scipy = pytest.importorskip("scipy.stats")
    monkeypatch.setattr("lemtools.compare.states._TILE", 7)
    for n in (1, 7, 20):
        u, v = (np.sort(RNG.uniform(0, 255, n).astype(dtype)) for _ in "uv")
        expected = scipy.wasserstein_distance(u.astype(float), v.astype(float))
        assert wasserstein(u, v) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("extent", EXTENTS)
def test_w1_agrees_with_scipy_channel_by_channel(extent):
    scipy = pytest.importorskip("scipy.stats")
    a, b = states(*extent).astype(float), 1.5 * states(*extent, seed=1).astype(float)
    each = [scipy.wasserstein_distance(a[:, c].ravel(), b[:, c].ravel()) / a[:, c].std() for c in range(3)]
    assert w1(a, b).value == pytest.approx(np.mean(each), rel=1e-9)
    assert w1(a, b[::-1][..., ::-1]).value == pytest.approx(w1(a, b).value, rel=1e-12)  # neither where nor when


@pytest.mark.parametrize("extent", EXTENTS)
def test_w1_of_a_shift_is_the_shift_in_deviations(extent):
    a = states(*extent).astype(float)
    unit = np.array([a[:, c].std() for c in range(3)])
    assert w1(a, a).value == 0
    assert w1(a, a + on_channels(np.ones_like(a), 0.3 * unit)).value == pytest.approx(0.3, rel=1e-9)
    only = w1(a, a + on_channels(np.ones_like(a), [0.3 * unit[0], 0, 0]))  # the smallest unit counts as the others
    assert only.value == pytest.approx(0.1, rel=1e-9)
    # a gain about the mean moves each value by (g - 1) of its distance from there
    centre = on_channels(np.ones_like(a), [a[:, c].mean() for c in range(3)])
    absolute = np.mean([np.abs(a[:, c] - a[:, c].mean()).mean() / unit[c] for c in range(3)])
    assert w1(a, centre + 1.25 * (a - centre)).value == pytest.approx(0.25 * absolute, rel=1e-9)


def test_the_floor_of_w1_is_what_independent_sets_of_as_many_have():
    """E W1 = 2 / sqrt(pi n) times the integral of sqrt(F (1 - F)) for n normal values: Brownian bridge over F."""
    scipy = pytest.importorskip("scipy.stats")
    x = np.linspace(-9, 9, 20_001)
    f = scipy.norm.cdf(x)
    n = 50 * 40
    theory = 2 / math.sqrt(math.pi * n) * np.trapezoid(np.sqrt(f * (1 - f)), x)
    sets = np.random.default_rng(0).standard_normal((1000, 50, 1, 40))
    found = np.array([w1(a, b) for a, b in zip(sets[::2], sets[1::2])], float)[:, :2]
    assert np.allclose(found.mean(0), theory, rtol=0.05), (found.mean(0), theory)
    assert w1(sets[0], sets[1]).beside > 0 and w1(sets[0][:1], sets[1][:1]).beside is None


def test_the_floor_holds_for_states_that_follow_each_other():
    """Halves in time have the distance of independent sets; halves that interleave have far less."""
    rng = np.random.default_rng(0)
    pairs = [[slow(2, 400, 0.95, rng) for _ in "ab"] for _ in range(40)]
    value, floor = np.array([w1(a, b) for a, b in pairs], float)[:, :2].mean(0)
    assert floor == pytest.approx(value, rel=0.2)
    inside = np.mean([w1(a[::4], a[2::4]).value for a, _ in pairs]) / math.sqrt(2)
    assert inside < 0.5 * value
    spectral, beside = np.array([log_spectrum(a, b) for a, b in pairs], float)[:, :2].mean(0)
    assert beside == pytest.approx(spectral, rel=0.2)


def test_an_odd_set_has_a_floor_without_its_middle_item():
    a = states(24, count=7).astype(float)
    one, other = a[:3], a[4:]
    assert w1(a, a).beside == pytest.approx(
        np.mean([wasserstein(np.sort(one[:, c], None), np.sort(other[:, c], None)) / a[:, c].std() for c in range(3)])
        / math.sqrt(2)
    )
    assert log_spectrum(a, a).beside == pytest.approx(log_spectrum(one, other).value / math.sqrt(2))


# Spectra


def brute(x):
    """Power [C, modes] by its definition: the full transform, each coefficient to its ring; mean over items."""
    extent = x.shape[2:]
    z = np.fft.fftn(x.astype(float), axes=range(2, x.ndim)) / math.prod(extent)
    square = (np.abs(z) ** 2).mean(0)
    out = {}
    for place in np.ndindex(extent):
        signed = [(i if i <= n // 2 else i - n) / n * max(extent) for i, n in zip(place, extent)]
        ring = round(math.hypot(*signed))
        out[ring] = out.get(ring, 0) + square[(slice(None), *place)]
    return np.stack([out.get(k, np.zeros(x.shape[1])) for k in range(1, max(out) + 1)], axis=1)


@pytest.mark.parametrize("extent", [*EXTENTS, (16, 2), (3, 16)])
def test_power_is_that_of_the_full_transform(extent, monkeypatch):
    monkeypatch.setattr("lemtools.compare.states._TILE", 100)
    x = states(*extent) + on_channels(np.ones((1, 3, *extent)), 3 * UNITS)
    np.testing.assert_allclose(power(x), brute(x), rtol=1e-9)
    variance = x.astype(float).var(axis=tuple(range(2, x.ndim))).mean(0)
    np.testing.assert_allclose(power(x).sum(1), variance, rtol=1e-9)


def test_waves_stand_at_their_wavenumber():
    x, y = np.meshgrid(np.arange(16), np.arange(16))
    p = power(np.cos(2 * np.pi * (3 * x + 4 * y) / 16)[None, None])[0]
    assert p[5 - 1] == pytest.approx(0.5) and np.delete(p, 4).max() < 1e-25
    p = power(np.cos(2 * np.pi * 8 * np.arange(16) / 16)[None, None])[0]
    assert p[8 - 1] == pytest.approx(1) and len(p) == 8
    k, _ = shells((8, 16))
    assert k[1, 0] == 2 and k[0, 2] == 2  # as long a wave: along the shorter side it fits half as often


@pytest.mark.parametrize("extent", EXTENTS)
def test_a_gain_moves_the_spectrum_by_its_square(extent):
    a = states(*extent).astype(float)
    for gain in (1.0, 0.5, 30.0):
        for found in (log_spectrum(a, gain * a), log_spectrum_low(a, gain * a, k=3)):
            assert found.value == pytest.approx(abs(2 * math.log10(gain)), abs=1e-12)
    one = log_spectrum(a, on_channels(a, [10, 1, 1]))  # a channel of a tiny unit counts as the others
    assert one.value == pytest.approx(2 / 3, rel=1e-9)


def test_noise_added_has_its_closed_form():
    """Impulses of both signs, as often: their power is the same at every wavenumber, and no cross term stays."""
    a = np.repeat(states(32, count=6).astype(float), 2, axis=0)
    noise = np.zeros_like(a)
    noise[..., 5] = on_channels(np.ones_like(a), UNITS)[..., 0]
    noise[1::2] *= -1
    p = power(a)
    q = p + 2 * UNITS[:, None] ** 2 / 32**2
    q[:, -1] = p[:, -1] + UNITS**2 / 32**2  # Nyquist's has no mirror image
    for k, found in (
        (16, log_spectrum(a, a + noise)),
        (7, log_spectrum_low(a, a + noise)),
        (2, log_spectrum_low(a, a + noise, k=2)),
    ):
        assert found.value == pytest.approx(np.log10(q / p)[:, :k].mean(), rel=1e-9) and found.k == k
    assert log_spectrum_low(a, a + noise, k=99).k == 16  # so many there are


def test_white_noise_on_a_steep_spectrum():
    rng = np.random.default_rng(0)
    k = np.arange(17)
    amplitude = np.where(k > 0, 32.0 * np.maximum(k, 1) ** -1.5, 0)
    a = np.fft.irfft(amplitude * np.exp(2j * np.pi * rng.random((3000, 1, 17))), 32)
    b = a + 0.1 * rng.standard_normal(a.shape)
    p, q = power(a)[0], 2 * 0.1**2 / 32
    expected = np.log10(1 + np.where(k[1:] < 16, q, q / 2) / p).mean()
    assert log_spectrum(a, b).value == pytest.approx(expected, rel=0.03)


def test_the_floor_of_the_spectrum_is_what_independent_sets_of_as_many_have():
    """The mean of N exponential powers has deviation 1 / sqrt(N) of itself: E |log10 ratio| = 2 / sqrt(pi N) / ln 10."""
    sets = np.random.default_rng(0).standard_normal((40, 300, 1, 33))  # odd: no mode is real
    found = np.array([log_spectrum(a, b) for a, b in zip(sets[::2], sets[1::2])], float)[:, :2].mean(0)
    assert np.allclose(found, 2 / math.sqrt(math.pi * 300) / math.log(10), rtol=0.1), found
    assert log_spectrum(sets[0, :1], sets[1, :1]).beside is None


def band(top, dtype=np.float32):
    """[8, 1, 32] with power in the modes 1 to top only."""
    rng = np.random.default_rng(0)
    z = np.where(np.arange(17) <= top, np.exp(2j * np.pi * rng.random((8, 1, 17))), 0)
    z[..., 0] = 100
    return np.fft.irfft(z, 32).astype(dtype)


def test_modes_that_neither_side_has_are_left_out():
    low = band(4)
    assert log_spectrum(low, 2 * low).value == pytest.approx(2 * math.log10(2), abs=1e-6)  # not rounding over rounding
    assert log_spectrum(low, np.nextafter(low, 9)).value < 1e-5
    assert log_spectrum(low, band(8)).value > 3 and log_spectrum(band(8), low).value > 3  # of one side: they count
    assert log_spectrum_low(low, band(8), k=4).value < 0.05


def test_no_power_is_a_millionth_of_a_millionth_of_that_of_all_modes():
    x = 2 * np.pi * np.arange(32) / 32
    for share, value in ((0.9e-12, 0), (1.1e-12, 0.5)):
        faint = math.sqrt(share) * np.cos(9 * x)
        a, b = ((np.cos(2 * x) + gain * faint)[None, None] for gain in (0.1, math.sqrt(0.1)))
        assert log_spectrum(a, b).value == pytest.approx(0, abs=1e-9)  # a tenth of it at most: on neither side
        b = (np.cos(2 * x) + faint)[None, None]
        # 1 decade in one of two modes, where one side has it
        assert log_spectrum((np.cos(2 * x) + math.sqrt(0.1) * faint)[None, None], b).value == pytest.approx(
            value, abs=1e-6
        )


def test_the_floor_is_that_of_modes_that_the_originals_have():
    low = band(4)
    assert log_spectrum(low, band(8)).beside == log_spectrum(low, low).beside


def test_a_spectrum_that_one_side_lacks_altogether_is_infinitely_far():
    a = np.zeros((4, 1, 16))
    a[:, 0, ::2] = 1
    a[:, 0, 1::2] = -1  # power at Nyquist only, exactly
    b = np.repeat([[[1.0, 0, -1, 0] * 4]], 4, axis=0)  # at 4 only, exactly
    assert log_spectrum(a, b).value == math.inf and log_spectrum(a, a).value == 0
    still = np.broadcast_to(RNG.standard_normal((4, 1, 1)), a.shape)  # constant in space
    assert log_spectrum(a, still).value == math.inf
    with pytest.raises(ValueError, match="neither set has power in the modes 1 to 2"):
        log_spectrum_low(a, a, k=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = log_spectrum_low(a, b, k=4)
    assert found.value == math.inf and math.isnan(found.beside)


# What cannot be measured


@pytest.mark.parametrize("extent", EXTENTS)
def test_constant_channels_are_refused_by_number(extent):
    a = states(*extent)
    a[:, 1] = 0.1
    for metric, word in ((w1, "deviation"), (log_spectrum, "spectrum"), (log_spectrum_low, "spectrum")):
        with pytest.raises(ValueError, match=f"channel 1 of the originals is constant.*no {word}"):
            metric(a, states(*extent, seed=1))
    survival(a, a)  # it has a size
    a[:, 1] = 0
    with pytest.raises(ValueError, match="channel 1 of the originals is 0 everywhere"):
        survival(a, a)
    with pytest.raises(LemError, match="^--metric w1: channel 1 of the originals is constant"):
        measure(Signal("field", a), Signal("field", a), "w1")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_recalled_values_that_are_not_finite_are_no_distance(bad):
    a, b = states(24), states(24, seed=1)
    b[3, 1, 4] = bad
    with np.errstate(all="raise"):
        assert not math.isfinite(w1(a, b).value) and math.isfinite(w1(a, b).beside)
        assert not any(math.isfinite(metric(a, b).value) for metric in (log_spectrum, log_spectrum_low))
    for metric in (w1, log_spectrum, log_spectrum_low, survival):
        with pytest.raises(ValueError, match="originals are not finite"):
            metric(b, a)


def test_shapes_that_are_no_states():
    with pytest.raises(ValueError, match=r"\[N, C, ...\]"):
        w1(np.zeros((4, 8)), np.zeros((4, 8)))
    with pytest.raises(ValueError, match="no modes"):
        log_spectrum(np.zeros((4, 8, 1)), np.zeros((4, 8, 1)))
    with pytest.raises(ValueError, match="not "):
        log_spectrum(np.zeros((4, 1, 2, 2, 2)), np.zeros((4, 1, 2, 2, 2)))


# Survival


@pytest.mark.parametrize("extent", EXTENTS)
def test_survival_counts_what_is_finite_and_of_the_size_of_the_originals(extent, monkeypatch):
    monkeypatch.setattr("lemtools.compare.states._TILE", 100)
    a = states(*extent)
    largest = np.sqrt(np.square(a.astype(float)).mean(axis=tuple(range(2, a.ndim)))).max(0)
    b = a.copy()
    first = (0,) * len(extent)
    b[(1, 0, *first)], b[(2, 2, *first)], b[(3, 1, *first)] = np.nan, np.inf, -np.inf
    b[4, 0], b[5, 0] = 3.01 * largest[0], 2.99 * largest[0]  # of a unit far below the others'
    b[6] = 3e38  # its square is beyond float32
    expected = np.ones(12)
    expected[[1, 2, 3, 4, 6]] = 0
    with np.errstate(all="raise"):
        assert np.array_equal(survival(a, b), expected)
        assert survival(a, 1e200 * a.astype(float)).sum() == 0 and survival(a, a).sum() == 12


def test_survival_of_batches_with_nan_is_printed_with_wilsons_interval():
    a = states(24, count=40)
    b = a.copy()
    b[[3, 17]] = np.nan
    halves = [[Signal("field", x[:15]), Signal("field", x[15:])] for x in (a, b)]
    (found,) = measure(*halves, "survival")
    assert found.name == "survival" and found.mean == 38 / 40 and len(found.values) == 40 and found.better == "higher"
    assert (found.low, found.high) == share_interval(found.values)[1:]
    (all_alive,) = measure(Signal("field", a), Signal("field", a), "survival")
    assert all_alive.mean == 1 and all_alive.low == pytest.approx(40 / (40 + 1.959964**2), rel=1e-6)  # not 1


def test_the_interval_of_a_share_is_wilsons():
    scipy = pytest.importorskip("scipy.stats")
    for yes, n in ((0, 5), (5, 5), (1, 7), (63, 64), (64, 64), (300, 1000)):
        values = np.arange(n) < yes
        share, low, high = share_interval(values.astype(float))
        wanted = scipy.binomtest(yes, n).proportion_ci(method="wilson")
        assert share == yes / n and (low, high) == pytest.approx(tuple(wanted), abs=1e-9)
    assert share_interval(np.ones(4)) == mean_interval(np.ones(4)) == (1, None, None)


# As commands


def test_lines_have_exact_names_and_their_floor(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, x in (("a", states(24)), ("b", 2 * states(24))):
        with open(f"{name}.safetensors", "wb") as file:
            stream.write([Signal("field", x)], file)
    words = ("--metric", "w1,log-spectrum,log-spectrum-low,log-spectrum-low@3,survival", "--max", "log_spectrum=.7")
    done = lem_fork("compare", *words, "a.safetensors", "b.safetensors")
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    stems = ["w1", "log_spectrum", "log_spectrum[1-7]", "log_spectrum[1-3]"]
    floors = ["w1_floor", "log_spectrum_floor", "log_spectrum_floor[1-7]", "log_spectrum_floor[1-3]"]
    assert [line[0] for line in lines] == [name for both in zip(stems, floors) for name in both] + ["survival"]
    assert [float(lines[i][1]) for i in (2, 4, 6)] == pytest.approx([2 * math.log10(2)] * 3, abs=1e-5)
    assert lines[0][2:] == ["-", "-", "12"] and float(lines[-1][2]) < 1
    assert lem_fork("compare", *words, "--max", "w1=.1", "a.safetensors", "b.safetensors").returncode == 1


@pytest.mark.parametrize("shape", [(6, 3, 9, 12), (6, 1, 11, 11)])
def test_images_have_them_too(shape):
    a, b = (Signal("image", RNG.integers(0, 256, shape, dtype=np.uint8)) for _ in "ab")
    for row in measure(a, b, "w1,log-spectrum,log-spectrum-low@2"):
        assert math.isfinite(row.mean) and row.mean > 0
    with pytest.raises(LemError, match="--metric survival is for field, not image"):
        measure(a, b, "survival")
    sound = Signal("audio", RNG.uniform(-1, 1, (4, 2, 64)).astype(np.float32))
    assert measure(sound, sound, "w1")[0].mean == 0
    with pytest.raises(LemError, match="--metric log-spectrum is for image and field, not audio"):
        measure(sound, sound, "log-spectrum")
