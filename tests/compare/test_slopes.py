"""The slope of the power spectral density: power laws by construction, of images and of sounds, and what is refused."""

import numpy as np
import pytest

import lemtools
from helpers.commands import lem_fork
from lemtools.compare import measure
from lemtools.compare.slopes import fitted, psd_slope
from lemtools.signal import Signal

RNG = np.random.default_rng(0)


def images(slope, extent=(64, 64), n=60, larger=1):
    """Cut from periodic fields of density f^slope; larger: how many times as large the field is."""
    height, width = (larger * side for side in extent)
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    f[0, 0] = 1
    z = np.fft.rfft2(np.random.default_rng(4).standard_normal((n, 1, height, width))) * f ** (slope / 2)
    return np.fft.irfft2(z, s=(height, width))[..., : extent[0], : extent[1]]


@pytest.mark.parametrize("extent", [(64, 64), (128, 100)])
@pytest.mark.parametrize("larger", [1, 2])
@pytest.mark.parametrize("slope", [0, -1, -2, -3])
def test_images_of_a_power_law_have_its_exponent(slope, larger, extent):
    x = images(slope, extent, 300, larger)
    recalled, original = psd_slope(x, 3 * x + 1, kind="image")
    assert original.mean() == pytest.approx(slope, abs=0.05)
    np.testing.assert_allclose(recalled, original)  # neither scale nor offset counts


def test_one_over_f_squared_has_minus_2():
    x = images(-2, (128, 128), 100, 2)
    assert psd_slope(x, x, kind="image")[0].mean() == pytest.approx(-2, abs=0.035)


def test_a_slope_is_least_squares_with_weights():
    f, power = np.arange(3.0, 20), RNG.random((4, 17))
    for values, found in zip(power, fitted(f, power)):
        assert found == pytest.approx(np.polyfit(np.log(f), np.log(values), 1, w=np.sqrt(1 / f))[0])
    assert fitted(f, f[None] ** -1.7) == pytest.approx(-1.7)


@pytest.mark.parametrize("height, width", [(24, 24), (20, 33), (40, 7)])
def test_the_power_of_images_is_its_definition_coefficient_by_coefficient(height, width):
    x = RNG.random((1, 2, height, width))
    window = np.outer(*(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n) for n in (height, width)))
    longer, power = max(height, width), {}
    whole = sum(np.abs(np.fft.fft2((c - c.mean()) * window)) ** 2 for c in x[0])
    for i, fy in enumerate(np.fft.fftfreq(height)):
        for j, fx in enumerate(np.fft.fftfreq(width)):
            power.setdefault(round(longer * np.hypot(fy, fx)), []).append(whole[i, j])
    f = np.array([r for r in range(4, longer // 2) if r in power], float)
    expected = np.polyfit(np.log(f), [np.log(np.mean(power[int(r)])) for r in f], 1, w=np.sqrt(1 / f))[0]
    assert psd_slope(x, x, kind="image")[0][0] == pytest.approx(expected)


def test_the_power_of_spectra_is_its_definition_row_by_row():
    x = RNG.standard_normal((2, 4, 17, 6))
    power = (x**2).sum(1).mean(2)
    f = np.arange(17.0)
    expected = [np.polyfit(np.log(f[4:16]), np.log(p[4:16]), 1, w=np.sqrt(1 / f[4:16]))[0] for p in power]
    assert psd_slope(x, x, kind="spectrum")[0] == pytest.approx(np.array(expected))


def test_channels_are_added_and_noise_flattens():
    x = images(-2, n=80)
    both = np.concatenate([x, np.zeros_like(x), x], 1)
    np.testing.assert_allclose(psd_slope(both, both, kind="image")[0], psd_slope(x, x, kind="image")[0])
    noisy, plain = psd_slope(x, x + 0.5 * x.std() * RNG.standard_normal(x.shape), kind="image")
    assert noisy.mean() > plain.mean() + 0.3


def test_a_flat_image_has_none():
    x = images(-2, n=3)
    found = psd_slope(x, np.where(np.arange(3)[:, None, None, None] == 1, 7.0, x), kind="image")[0]
    assert np.isnan(found).tolist() == [False, True, False]


def noise(slope, samples=16000, n=6):
    f = np.fft.rfftfreq(samples)
    f[0] = 1
    x = np.fft.irfft(np.fft.rfft(np.random.default_rng(2).standard_normal((n, 1, samples))) * f ** (slope / 2))
    return Signal("audio", (0.2 * x / np.abs(x).max()).astype(np.float32), rate=8000.0)


@pytest.mark.parametrize("slope", [0, -1, -2])
def test_sounds_of_a_power_law_have_its_exponent(slope):
    spectra = lemtools.encode(noise(slope), "stft").signal()
    (recalled, original) = measure(spectra, spectra, "psd-slope")
    assert recalled.mean == original.mean == pytest.approx(slope, abs=0.05)
    foreign = Signal("spectrum", spectra.data)  # rows at equal steps
    assert measure(foreign, foreign, "psd-slope")[0].mean == pytest.approx(recalled.mean, abs=1e-6)


def test_compressed_spectra_have_the_slope_of_the_sound():
    sound = noise(-1)
    plain, squeezed = (lemtools.encode(sound, "stft", compress=c).signal() for c in (1.0, 0.5))
    found = [measure(x, x, "psd-slope")[0].mean for x in (plain, squeezed)]
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_photos_of_two_shapes_have_one_mean(tmp_path, monkeypatch):
    """Item by item, a batch a shape."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    x = [images(-2, extent, 1)[0, 0] for extent in [(40, 64), (64, 40)]]
    x = [np.uint8(255 * (v - v.min()) / np.ptp(v)) for v in x]
    for i, each in enumerate(x):
        Image.fromarray(each).save(f"a/{i}.png")
    done = lem_fork("compare", "--metric", "psd-slope", "a", "a").stdout.decode().splitlines()
    mean = np.mean([psd_slope(v[None, None], v[None, None], kind="image")[0][0] for v in x])
    assert done == [f"psd_slope[{of}]\t{mean:.7g}\t-\t-\t2" for of in ("recalled", "original")]


def test_what_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lemtools.save(lemtools.encode(noise(-1, 2000, 2), "morlet"), "morlet.safetensors")
    lemtools.save(lemtools.encode(noise(-1, 2000, 2), "mel"), "mel.safetensors")
    lemtools.save([Signal("spectrum", np.ones((2, 2, 5, 3), np.float32))], "low.safetensors")
    lemtools.save([Signal("image", RNG.integers(0, 256, (2, 1, 15, 40), np.uint8))], "low-image.safetensors")
    for name, shape in ("flat-image", (15, 9)), ("line", (1, 40)):
        lemtools.save([Signal("image", RNG.integers(0, 256, (2, 1, *shape), np.uint8))], f"{name}.safetensors")
    np.save("x.npy", RNG.standard_normal((4, 3)).astype(np.float32))
    for name, said in {
        "morlet.safetensors": "needs the power of rows at equal steps of frequency, as of stft, not morlet",
        "mel.safetensors": "needs the power of rows at equal steps of frequency, as of stft, not mel",
        "low.safetensors": "needs 9 rows at least, not 5",
        "flat-image.safetensors": "needs images of 16 px one way and 2 the other, not 15 x 9",
        "line.safetensors": "needs images of 16 px one way and 2 the other, not 1 x 40",
        "x.npy": "is for image and spectrum, not embedding",
    }.items():
        done = lem_fork("compare", "--metric", "psd-slope", name, name)
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.decode() == f"lem-compare: error: --metric psd-slope {said}\n"
        assert lem_fork("compare", "--metric", "all", name, name).returncode == 0
    assert b"psd" not in lem_fork("compare", "--metric", "all", "low-image.safetensors", "low-image.safetensors").stdout
    with pytest.raises(ValueError, match="not finite"):
        psd_slope(np.full((1, 1, 20, 20), np.nan), np.ones((1, 1, 20, 20)), kind="image")
    with pytest.raises(ValueError, match=r"a slope is of images \[N, C, H, W\]"):
        psd_slope(np.ones((4, 3)), np.ones((4, 3)), kind="image")
