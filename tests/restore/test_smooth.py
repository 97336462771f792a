"""De-quantisation and denoising by DCT shrinkage: known answers, bounds, and what it must gain."""

import math

import numpy as np
import pytest

from helpers.paths import data_dir
from lemtools.restore.blocks import dct_matrix
from lemtools.restore.smooth import BLOCKS, _both_axes, bin_mean, denoise, dequantize


def bins(image: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Bins of the truncating quantiser for an 8-bit image."""
    shift = 8 - bits
    low = (image >> shift).astype(np.int32) << shift
    return (low / 255).astype(np.float32), ((low + (1 << shift) - 1) / 255).astype(np.float32)


def psnr(x: np.ndarray, image: np.ndarray) -> float:
    """Against an 8-bit image, x rounded to 8 bits."""
    return 10 * math.log10(255**2 / np.mean((np.rint(x * 255.0) - image) ** 2))


def mid(lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    return (lo + hi) / 2


@pytest.mark.parametrize("n", BLOCKS)
def test_dct_is_orthonormal_and_equals_scipy(n):
    fft = pytest.importorskip("scipy.fft")
    d = dct_matrix(n)
    np.testing.assert_allclose(d @ d.T, np.eye(n), atol=1e-6)
    x = np.random.default_rng(0).normal(size=(n, n, 3, 700)).astype(np.float32)  # more columns than one part
    flat, tmp, out = x.reshape(n * n, 3, 700), *np.empty((2, n * n, 3, 700), np.float32)
    _both_axes(d, flat, tmp, out)
    np.testing.assert_allclose(out.reshape(x.shape), fft.dctn(x, axes=(0, 1), norm="ortho"), atol=1e-5)


def test_bin_mean_equals_numerical_integration():
    u = (np.arange(20000) + 0.5) / 20000 - 0.5
    for sd in (0.05, 0.11, 0.25, 0.6, 1.0):
        for m in np.linspace(-1.9, 1.9, 39):
            log = -((u - m) ** 2) / (2 * sd**2)
            weight = np.exp(log - log.max())
            want = 0.3 + 0.2 * (u @ weight) / weight.sum()
            got = bin_mean(*(np.array([v], np.float32) for v in (0.3 + 0.2 * m, 0.2 * sd, 0.2, 0.4)))
            assert abs(got[0] - want) <= 0.01 * 0.2, (m, sd)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 1), (3, 3, 5), (1, 7, 200), (3, 200, 7), (2, 17, 16), (5, 40, 33)])
def test_stays_inside_bins_of_any_width(shape):
    rng = np.random.default_rng(sum(shape))
    truth = rng.random(shape, dtype=np.float32)
    edges = np.concatenate([[0], np.sort(rng.random(6)), [1]]).astype(np.float32)  # widths as of a Lloyd-Max codebook
    code = np.clip(np.searchsorted(edges, truth, "right") - 1, 0, 6)
    lo, hi = edges[code], edges[code + 1]
    lost = rng.random(shape) < 0.2
    lo[lost], hi[lost] = 0, 1
    start = np.clip(truth + 0.1, lo, hi)
    for x in (dequantize(lo, hi), dequantize(lo, hi, start, step=0)):
        assert x.dtype == np.float32 and x.shape == shape
        assert (x >= lo).all() and (x <= hi).all()


def test_known_pixels_are_returned_exactly():
    x = np.random.default_rng(3).random((3, 20, 30), dtype=np.float32)
    assert np.array_equal(dequantize(x, x), x)
    assert np.array_equal(dequantize(x, x, step=0), x)


@pytest.mark.parametrize("bits", [1, 3, 6, 7])
def test_constant_image_is_the_middle_of_its_bin(bits):
    image = np.full((3, 21, 34), 90, np.uint8)
    lo, hi = bins(image, bits)
    if bits == 1:  # one of the two bins that reach beyond the scale: inside it, still constant
        assert np.ptp(dequantize(lo, hi)) < 1e-5
    else:
        np.testing.assert_allclose(dequantize(lo, hi), mid(lo, hi), atol=1e-5)


def test_saturated_white_is_restored():
    """The last bin is taken to be open: an area of it is nearer to white than its middle is."""
    lo, hi = bins(np.full((1, 24, 24), 255, np.uint8), 6)
    assert np.array_equal(np.rint(dequantize(lo, hi) * 255), np.full((1, 24, 24), 255))


@pytest.mark.parametrize("width, gain", [(64, 3), (128, 6), (256, 6)])
def test_ramp_loses_its_bands(width, gain):
    """40 to 210 at 3 bits, bands of 12, 24, 48 pixels: mid-bin 29.1 dB, here 34.7, 38.2, 38.0 dB when written."""
    image = np.broadcast_to(np.rint(np.linspace(40, 210, width)), (1, 64, width)).astype(np.uint8)
    lo, hi = bins(image, 3)
    assert psnr(dequantize(lo, hi), image) >= psnr(mid(lo, hi), image) + gain


def checks(height: int = 96, width: int = 128) -> np.ndarray:
    """Smooth shading, edges and a texture, [3,H,W] in [0,1]."""
    y, x = np.mgrid[:height, :width] / 64
    shade = 0.5 + 0.25 * np.sin(1.3 * x + y) + 0.15 * ((x - 1) ** 2 + (y - 0.7) ** 2 < 0.2)
    return np.stack([shade, 0.9 * shade + 0.05 * np.sin(30 * x), 0.8 * shade]).clip(0, 1).astype(np.float32)


def test_lost_pixels_improve_on_their_start():
    """30 % lost, started 20 levels (rms) off the truth, the others at 3 bits: 8 levels off when written."""
    truth = checks()
    rng = np.random.default_rng(1)
    lost = rng.random(truth.shape[1:]) < 0.3
    lo, hi = bins(np.rint(truth * 255).astype(np.uint8), 3)
    start = np.where(lost, truth + 0.08 * rng.normal(size=truth.shape), mid(lo, hi))
    x = dequantize(np.where(lost, 0, lo), np.where(lost, 1, hi), start)
    error, first = (np.sqrt(np.mean((v - truth)[:, lost] ** 2)) for v in (x, start))
    assert error < 0.6 * first


@pytest.mark.parametrize("channels", [1, 3])
def test_denoise_gains_10_db(channels):
    clean = checks()[:channels]
    noisy = clean + 0.1 * np.random.default_rng(0).normal(size=clean.shape).astype(np.float32)
    x = denoise(noisy, 0.1)
    assert x.dtype == np.float32
    gain = 10 * math.log10(np.mean((noisy - clean) ** 2) / np.mean((x - clean) ** 2))
    assert gain >= 10
    assert np.array_equal(denoise(noisy, 0), noisy)


def test_same_input_same_output_and_input_untouched():
    image = np.rint(checks() * 255).astype(np.uint8)
    lo, hi = bins(image, 3)
    lo0, hi0 = lo.copy(), hi.copy()
    start = mid(lo, hi).astype(np.float32)
    assert np.array_equal(dequantize(lo, hi, start), dequantize(lo, hi, start))
    assert np.array_equal(lo, lo0) and np.array_equal(hi, hi0) and np.array_equal(start, mid(lo, hi))
    assert np.array_equal(denoise(lo, 0.03), denoise(lo, 0.03)) and np.array_equal(lo, lo0)


def test_errors():
    z = np.zeros((1, 4, 4), np.float32)
    for lo, hi, start in ((z, z[:, :2], None), (z[0], z[0], None), (z, z, z[:, 1:]), (z[:, :0], z[:, :0], None)):
        with pytest.raises(ValueError, match="one shape"):
            dequantize(lo, hi, start)
    for lo in (z + 1, z * np.nan):
        with pytest.raises(ValueError, match="exceed"):
            dequantize(lo, z)
    with pytest.raises(ValueError, match="sigma"):
        denoise(z, -1)
    with pytest.raises(ValueError, match="C,H,W"):
        denoise(z[0], 0.1)


@pytest.mark.parametrize("bits, gain", [(3, 2.5), (4, 2.5), (6, 1.5)])
def test_photo_gains_over_mid_bin(bits, gain):
    from PIL import Image

    path = sorted((data_dir("bsds400") / "images").glob("*.jpg"))[7]
    image = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)[:, 60:220, 60:220]
    lo, hi = bins(image, bits)
    assert psnr(dequantize(lo, hi), image) >= psnr(mid(lo, hi), image) + gain
