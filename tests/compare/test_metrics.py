"""The metrics against golden values, other libraries, brute-force definitions and closed forms."""

import math

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import skimage.data
import skimage.metrics
import torch
import torchmetrics.functional.audio as tm_audio
import torchmetrics.functional.image as tm_image

from lemtools.compare import distortion, geometry, perceptual, sound, summary

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def one_thread():
    """The oracles' threads cost more than they give on small arrays."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def chw(image: np.ndarray) -> np.ndarray:
    """[H,W] or [H,W,3] as one item [1,C,H,W]."""
    return np.ascontiguousarray(np.atleast_3d(image).transpose(2, 0, 1))[None]


def blobs(channels: int, height: int, width: int) -> np.ndarray:
    """Natural-ish images [2,C,H,W] uint8: noise with a falling spectrum."""
    spectrum = np.fft.rfft2(RNG.standard_normal((2, channels, height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    x = np.fft.irfft2(spectrum / (frequency + 0.01), s=(height, width))
    return np.clip(128 + 50 * x / x.std(), 0, 255).astype(np.uint8)


def noisy(x: np.ndarray, sigma: float = 12) -> np.ndarray:
    return np.clip(x + sigma * RNG.standard_normal(x.shape), 0, 255).astype(np.uint8)


ASTRONAUT = skimage.data.astronaut()
COARSE = ((ASTRONAUT >> 4) << 4) + 8


# -- images ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metric, golden, digits",
    [
        (lambda a, b: distortion.mse(a, b), 26.46552022, 8),
        (lambda a, b: distortion.psnr(a, b, peak=255), 33.9040, 4),
        (lambda a, b: perceptual.ssim(a, b, peak=255), 0.82112, 5),
        (lambda a, b: perceptual.ssim(a, b, peak=255, window="uniform7"), 0.824705, 6),
        (lambda a, b: perceptual.gmsd(a, b, peak=255), 0.026972, 6),
    ],
    ids=["mse", "psnr", "ssim-gauss11", "ssim-uniform7", "gmsd"],
)
def test_golden_astronaut(metric, golden, digits):
    assert round(float(metric(chw(ASTRONAUT), chw(COARSE))[0]), digits) == golden


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 3, 9, 7), (1, 1, 300, 301), (70, 2, 40, 50)])
def test_distortion_is_its_definition(dtype, shape):
    a, b = (RNG.integers(0, 256, shape).astype(dtype) for _ in "ab")
    if np.issubdtype(dtype, np.floating):
        a, b = a / dtype(255), b / dtype(255)
    x, y = (v.reshape(len(v), -1).astype(float) for v in (a, b))
    peak = 1.0 if dtype in (np.float32, np.float64) else 255
    np.testing.assert_allclose(distortion.mse(a, b), ((x - y) ** 2).mean(1), rtol=1e-12)
    np.testing.assert_allclose(distortion.mae(a, b), np.abs(x - y).mean(1), rtol=1e-12)
    np.testing.assert_array_equal(distortion.max_abs(a, b), np.abs(x - y).max(1))
    np.testing.assert_allclose(distortion.nmse(a, b), ((x - y) ** 2).sum(1) / (x**2).sum(1), rtol=1e-12)
    cosine = [p @ q / np.linalg.norm(p) / np.linalg.norm(q) for p, q in zip(x, y)]
    np.testing.assert_allclose(distortion.cosine(a, b), cosine, rtol=1e-12)
    psnr = [skimage.metrics.peak_signal_noise_ratio(p, q, data_range=peak) for p, q in zip(x, y)]
    np.testing.assert_allclose(distortion.psnr(a, b, peak=peak), psnr, rtol=1e-12)


def test_integer_error_is_an_exact_integer():
    a = RNG.integers(0, 65536, (1, 3, 200, 333)).astype(np.uint16)
    b = RNG.integers(0, 65536, a.shape).astype(np.uint16)
    d = a.astype(np.int64) - b
    assert distortion.mse(a, b)[0] * d.size == pytest.approx(int((d * d).sum()), rel=3e-16)
    # channel-last memory, as decoders leave it
    last = np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert distortion.mse(last, b)[0] == distortion.mse(a, b)[0]


def test_zero_items_and_zero_vectors():
    zero, one = np.zeros((1, 4)), np.ones((1, 4))
    assert distortion.nmse(zero, zero)[0] == 0
    assert np.isnan(distortion.nmse(zero, one)[0])
    assert distortion.nmse(one, zero)[0] == 1
    assert np.isnan(distortion.cosine(zero, one)[0]) and np.isnan(distortion.cosine(zero, zero)[0])
    assert distortion.psnr(one, one, peak=1.0)[0] == np.inf
    for metric in distortion.mse, distortion.mae, distortion.nmse, distortion.cosine, distortion.max_abs:
        assert metric(zero[:0], zero[:0]).shape == (0,)


@pytest.mark.parametrize("channels, peak", [(1, 255), (3, 255), (3, 1.0)])
@pytest.mark.parametrize("height, width", [(11, 11), (43, 75), (45, 140)])
def test_ssim_is_skimage(channels, peak, height, width):
    a = blobs(channels, height, width)
    b = noisy(a)
    if peak == 1.0:
        a, b = (a / 255).astype(np.float32), (b / 255).astype(np.float32)
    for window, options in {
        "gauss11": dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False),
        "uniform7": {},
    }.items():
        oracle = [
            skimage.metrics.structural_similarity(p, q, data_range=peak, channel_axis=0, **options)
            for p, q in zip(a.astype(np.float64), b.astype(np.float64))
        ]
        np.testing.assert_allclose(perceptual.ssim(a, b, peak=peak, window=window), oracle, rtol=0, atol=1e-9)


@pytest.mark.parametrize("channels, height, width", [(1, 176, 178), (3, 181, 190)])
def test_ms_ssim_is_torchmetrics_where_windows_are_whole(channels, height, width):
    a = blobs(channels, height, width)
    b = noisy(a, 25)
    ours = perceptual.ms_ssim(a, b, peak=255)
    p, q = (torch.from_numpy(x.astype(np.float64)) for x in (a, b))
    oracle = np.ones(2)
    for i, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        factor = tm_image.structural_similarity_index_measure(
            q, p, data_range=255.0, reduction="none", return_contrast_sensitivity=True
        )[1].numpy()
        if i == 4:  # torchmetrics averages the last scale over reflected borders too, skimage does not
            factor = np.array(
                [
                    skimage.metrics.structural_similarity(
                        *pair, data_range=255, channel_axis=0, gaussian_weights=True, use_sample_covariance=False
                    )
                    for pair in zip(p.numpy(), q.numpy())
                ]
            )
        oracle *= np.maximum(factor, 0) ** weight
        p, q = (torch.nn.functional.avg_pool2d(x, 2) for x in (p, q))
    np.testing.assert_allclose(ours, oracle, rtol=0, atol=1e-9)
    whole = tm_image.multiscale_structural_similarity_index_measure(
        *(torch.from_numpy(x.astype(np.float64)) for x in (b, a)), data_range=255.0, reduction="none"
    )
    np.testing.assert_allclose(ours, whole.numpy(), rtol=0, atol=5e-3)


def test_ms_ssim_counts_a_negative_factor_as_zero():
    a = blobs(1, 176, 176)
    assert perceptual.ssim(a, 255 - a, peak=255)[0] < 0
    np.testing.assert_array_equal(perceptual.ms_ssim(a, 255 - a, peak=255), 0)


@pytest.mark.parametrize("channels, height, width", [(1, 4, 4), (1, 31, 20), (3, 50, 41)])
def test_gmsd_is_its_definition(channels, height, width):
    a = RNG.integers(0, 256, (2, channels, height, width)).astype(np.uint8)
    b = noisy(a, 40)

    def gradient(x):
        y = np.tensordot([0.299, 0.587, 0.114], x.astype(float), 1) if channels == 3 else x[0].astype(float)
        y = scipy.signal.convolve2d(y, np.full((2, 2), 0.25))[1::2, 1::2]
        prewitt = np.array([[1, 0, -1]] * 3) / 3
        return np.hypot(*(scipy.signal.convolve2d(y, k, mode="same") for k in (prewitt, prewitt.T)))

    oracle = []
    for x, y in zip(a, b):
        g, h = gradient(x), gradient(y)
        oracle.append(np.std((2 * g * h + 170) / (g * g + h * h + 170), ddof=1))
    np.testing.assert_allclose(perceptual.gmsd(a, b, peak=255), oracle, rtol=1e-10)
    np.testing.assert_allclose(perceptual.gmsd(a / 255, b / 255, peak=1.0), oracle, rtol=1e-10)


def test_perfect_recall():
    for x in blobs(3, 176, 180), np.full((1, 3, 176, 176), 255, np.uint8):
        for member in perceptual.ssim, perceptual.ssim_uniform7, perceptual.ms_ssim:
            assert (member(x, x, peak=255) == 1).all()
        assert (perceptual.gmsd(x, x, peak=255) == 0).all()
        assert (distortion.psnr(x, x, peak=255) == np.inf).all()
        assert (distortion.mse(x, x) == 0).all()
        np.testing.assert_allclose(distortion.cosine(x, x), 1, rtol=1e-15)


@pytest.mark.parametrize("window", ["gauss11", "uniform7"])
def test_ssim_of_two_flat_images_is_its_luminance_term(window):
    # no structure at all: (2 x y + C1) / (x^2 + y^2 + C1), the case in which float32 variances go astray
    a, b = np.full((1, 1, 40, 50), 255, np.uint8), np.full((1, 1, 40, 50), 250, np.uint8)
    expected = (2 * 255 * 250 + 2.55**2) / (255**2 + 250**2 + 2.55**2)
    assert perceptual.ssim(a, b, peak=255, window=window)[0] == pytest.approx(expected, abs=1e-12)


def test_family_members_equal_the_single_metrics_in_any_order(monkeypatch):
    a = blobs(3, 177, 190)
    b = noisy(a)
    sizes, real = [], perceptual._ssim_means
    alone = [member(a, b, peak=255) for member in (perceptual.ssim, perceptual.ms_ssim)]
    monkeypatch.setattr(perceptual, "_ssim_means", lambda x, *rest: sizes.append(x.shape) or real(x, *rest))
    for order in (0, 1), (1, 0):
        shared = {}
        for i in order:
            found = (perceptual.ssim, perceptual.ms_ssim)[i](a, b, peak=255, shared=shared)
            np.testing.assert_array_equal(found, alone[i])
    assert sizes.count((177, 190)) == 2 * 2 * 3  # six planes in both orders: the full size is shared


# -- errors ----------------------------------------------------------------------------------------------------------

PIXELS = np.zeros((1, 3, 20, 24), np.uint8)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: distortion.mse(np.zeros((2, 3)), np.zeros((2, 4))), r"\(2, 3\).*\(2, 4\)"),
        (lambda: distortion.mse(np.zeros(3), np.zeros(3)), "item axis first"),
        (lambda: distortion.mse(np.zeros((2, 0)), np.zeros((2, 0))), "at least one value"),
        (lambda: distortion.mse(PIXELS, PIXELS / 255), "uint8 with float64"),
        (lambda: distortion.mse(PIXELS * 1j, PIXELS * 1j), "real numbers"),
        (lambda: distortion.psnr(PIXELS, PIXELS, peak=0), "peak must be"),
        (lambda: perceptual.gmsd(PIXELS, PIXELS, peak=-1), "peak must be"),
        (lambda: perceptual.ssim(PIXELS[0], PIXELS[0], peak=255), r"\[N,C,H,W\]"),
        (lambda: perceptual.ssim(PIXELS, PIXELS, peak=255, window="box"), "unknown SSIM 'box'"),
        (lambda: perceptual.ssim(PIXELS[..., :10], PIXELS[..., :10], peak=255), "11 x 11 pixels, not 10 x 20"),
        (lambda: perceptual.ms_ssim(PIXELS, PIXELS, peak=255), "176 x 176 pixels, not 24 x 20"),
        (lambda: perceptual.gmsd(PIXELS[:, :2], PIXELS[:, :2], peak=255), "not 2 channels"),
        (lambda: sound.snr(np.zeros((2, 3)), np.zeros((2, 3))), r"\[N,C,T\]"),
        (lambda: sound.log_spectral_distance(np.ones((1, 1, 9)), np.ones((1, 1, 9)), hop=0), "hop 0"),
        (lambda: geometry.mutual_knn(np.ones((10, 3)), np.ones((10, 3)), k=10), "k 10 and 10 items"),
        (lambda: geometry.recall_at_k(np.ones((10, 3)), np.ones((10, 3)), k=0), "k 0"),
        (lambda: geometry.mutual_knn(np.eye(3), np.eye(3), k=1, metric="l1"), "unknown metric"),
        (lambda: geometry.mutual_knn(np.eye(3), np.diag([1, 0, 1.0]), k=1, metric="cosine"), "embedding 1 is zero"),
        (lambda: geometry.recall_at_k(np.eye(3), np.diag([1, 1, np.nan]), k=1), "embedding 2 is not finite"),
        (lambda: summary.student_t(1.0, 3), "level 1.0"),
        (lambda: summary.student_t(-0.5, 3), "level -0.5"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -- sound -----------------------------------------------------------------------------------------------------------


def test_snr_and_si_sdr_are_torchmetrics():
    a = RNG.standard_normal((4, 1, 3000))
    b = 0.6 * a + 0.1 * RNG.standard_normal(a.shape) + 0.2
    p, q = torch.from_numpy(a), torch.from_numpy(b)
    np.testing.assert_allclose(sound.snr(a, b), tm_audio.signal_noise_ratio(q, p)[:, 0], rtol=1e-10)
    oracle = tm_audio.scale_invariant_signal_distortion_ratio(q, p, zero_mean=True)[:, 0]
    np.testing.assert_allclose(sound.si_sdr(a, b), oracle, rtol=1e-10)
    np.testing.assert_allclose(sound.si_sdr(a, -7 * b + 3), oracle, rtol=1e-10)
    b32 = b.astype(np.float32)
    np.testing.assert_allclose(sound.si_sdr(a.astype(np.float32), b32), oracle, rtol=1e-5)


def test_stereo_is_one_signal_with_one_gain():
    a, b = RNG.standard_normal((2, 3, 2, 500))
    a -= a.mean(-1, keepdims=True)
    b -= b.mean(-1, keepdims=True)
    joined = (x.reshape(3, 1, -1) for x in (a, b))
    np.testing.assert_allclose(sound.si_sdr(a, b), sound.si_sdr(*joined), rtol=1e-9)


def test_silence():
    silent, loud = np.zeros((1, 1, 64)), RNG.standard_normal((1, 1, 64))
    assert sound.snr(loud, loud)[0] == np.inf and sound.si_sdr(loud, loud)[0] == np.inf
    assert sound.snr(loud, silent)[0] == 0 and sound.si_sdr(loud, silent)[0] == -np.inf
    assert sound.snr(silent, silent)[0] == np.inf and np.isnan(sound.snr(silent, loud)[0])
    assert np.isnan(sound.si_sdr(silent, loud)[0])


@pytest.mark.parametrize("length", [100, 1024, 1025, 5000])
def test_log_spectral_distance_is_its_definition(length):
    a, b = RNG.standard_normal((2, 2, 2, length)) * 0.1
    b[..., length // 2 :] = 0  # the floor is reached
    frames = 1 + max(0, math.ceil((length - 1024) / 256))
    window = scipy.signal.get_window("hann", 1024)

    def log_power(x):
        x = np.append(x, np.zeros(1024 + 256 * frames))
        spectra = np.array([np.fft.rfft(window * x[256 * i : 256 * i + 1024]) for i in range(frames)])
        return 10 * np.log10(np.maximum(np.abs(spectra) ** 2, 1e-10))

    oracle = [
        np.mean([np.mean(np.sqrt(np.mean((log_power(p) - log_power(q)) ** 2, 1))) for p, q in zip(x, y)])
        for x, y in zip(a, b)
    ]
    np.testing.assert_allclose(sound.log_spectral_distance(a, b), oracle, rtol=1e-10)


def test_log_spectral_distance_of_a_gain_is_the_gain():
    a = RNG.standard_normal((1, 1, 4096))
    assert sound.log_spectral_distance(a, a)[0] == 0
    assert sound.log_spectral_distance(a, a / 10)[0] == pytest.approx(20, abs=1e-9)


# -- geometry --------------------------------------------------------------------------------------------------------


def kept(queries: np.ndarray, keys: np.ndarray, k: int, alone: bool, cosine: bool) -> np.ndarray:
    """[N,N] probability that a key is among the query's k nearest, ties in random order: the definition."""
    queries, keys = (x.reshape(len(x), -1).astype(float) for x in (queries, keys))
    if cosine:
        queries, keys = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, keys))
    out = np.zeros((len(queries), len(keys)))
    for i, q in enumerate(queries):
        d = ((q - keys) ** 2).sum(1)
        if alone:
            d[i] = np.inf
        edge = np.sort(d)[k - 1]
        inside = d < edge - 1e-10 * edge
        tied = ~inside & (d <= edge + 1e-10 * edge)
        out[i, inside] = 1
        out[i, tied] = (k - inside.sum()) / tied.sum()
    return out


SETS = {
    "normal": lambda: RNG.standard_normal((80, 24)),
    "float32 tokens": lambda: RNG.standard_normal((80, 4, 6)).astype(np.float32),
    "one bit": lambda: np.sign(RNG.standard_normal((80, 6))),
    "duplicates": lambda: RNG.standard_normal((9, 16))[RNG.integers(0, 9, 80)],
    "one point": lambda: np.ones((80, 4)),
    "far from zero": lambda: 1000 + 1e-3 * RNG.standard_normal((80, 16)),
    "one outlier": lambda: np.vstack([RNG.standard_normal((79, 5)), np.full((1, 5), 1e7)]),
    "tiny": lambda: 1e-30 * RNG.standard_normal((80, 5)),
    "huge": lambda: 1e30 * RNG.standard_normal((80, 5)),
}


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("k", [1, 7, 79])
@pytest.mark.parametrize("name", SETS)
def test_geometry_is_its_definition(name, k, metric):
    a, b, cosine = SETS[name](), SETS[name](), metric == "cosine"
    overlap = (kept(a, a, k, True, cosine) * kept(b, b, k, True, cosine)).sum(1) / k
    np.testing.assert_allclose(geometry.mutual_knn(a, b, k=k, metric=metric), overlap, rtol=0, atol=1e-6)
    recall = np.diag(kept(b, a, k, False, cosine))
    np.testing.assert_allclose(geometry.recall_at_k(a, b, k=k, metric=metric), recall, rtol=0, atol=1e-6)


def test_near_ties_are_decided_in_float64():
    # the true original is nearer by 1e-12 of the distance's scale: float32 cannot see it
    a = np.repeat(RNG.standard_normal((1, 300)), 40, 0)
    b = a.copy()
    b[:, 0] += 0.5
    a[np.arange(40), 1 + np.arange(40)] += 1e-6
    b[np.arange(40), 1 + np.arange(40)] += 1e-6
    np.testing.assert_array_equal(geometry.recall_at_k(a, b, k=1), 1)


def test_equal_distances_of_different_vectors_are_ties():
    # the same seven numbers in other orders: one length, but float64 sums that differ in the last digit
    a = np.array([RNG.permutation(np.sqrt([2, 3, 5, 7, 11, 13, 17]) / 10) for _ in range(40)])
    b = np.zeros_like(a)
    np.testing.assert_allclose(geometry.recall_at_k(a, b, k=1), 1 / 40, rtol=1e-6)
    np.testing.assert_allclose(geometry.recall_at_k(a, b, k=10), 10 / 40, rtol=1e-6)


def test_duplicates_cost_one_exact_distance(monkeypatch):
    pairs = []
    exact = geometry._distances
    monkeypatch.setattr(geometry, "_distances", lambda q, k, i, j: pairs.append(len(i)) or exact(q, k, i, j))
    geometry.recall_at_k(np.ones((80, 4)), np.ones((80, 4)), k=3)
    assert pairs == [80]


def test_chance_and_identity():
    x = RNG.standard_normal((60, 8))
    np.testing.assert_array_equal(geometry.mutual_knn(x, x, k=5), 1)
    np.testing.assert_array_equal(geometry.recall_at_k(x, x, k=1), 1)
    lost = np.zeros_like(x)
    np.testing.assert_allclose(geometry.mutual_knn(x, lost, k=5), 5 / 59, rtol=1e-6)
    twice = np.repeat(x, 2, axis=0)
    np.testing.assert_array_equal(geometry.recall_at_k(twice, twice, k=1), 0.5)
    np.testing.assert_array_equal(geometry.recall_at_k(twice, twice, k=2), 1)


def test_tiles_join_without_a_seam(monkeypatch):
    a = np.sign(RNG.standard_normal((50, 12)))
    b = a + RNG.standard_normal(a.shape)
    whole = geometry.mutual_knn(a, b, k=3), geometry.recall_at_k(a, b, k=3)
    monkeypatch.setattr(geometry, "TILE", 7 * 50)
    np.testing.assert_array_equal(geometry.mutual_knn(a, b, k=3), whole[0])
    np.testing.assert_array_equal(geometry.recall_at_k(a, b, k=3), whole[1])


# -- summary ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 10, 19, 23, 100, 999, 10_000, 100_000])
def test_student_t_is_scipy(df):
    for level in 0.5, 0.9, 0.95, 0.99:
        assert summary.student_t(level, df) == pytest.approx(scipy.stats.t.ppf((1 + level) / 2, df), rel=1e-9)
    assert summary.student_t(0.95, 10**9) == pytest.approx(scipy.stats.norm.ppf(0.975), rel=2e-5)


@pytest.mark.parametrize(
    "values", [[0, 0, 0, 0, 1], [1, 1, 1, 1, 0.9], [0.2, 0.5, 0.4, 0.9, 0.3, 0.6], [1, 1, 1, 1, 1]]
)
def test_an_interval_stays_where_its_metric_can_be(values):
    x = np.array(values, np.float64)
    half = scipy.stats.t.ppf(0.975, len(x) - 1) * scipy.stats.sem(x)
    for ends, scale, back in (
        ((0, 1), scipy.special.logit, scipy.special.expit),
        ((-1, 1), lambda m: np.arctanh(m), np.tanh),
        ((0, math.inf), np.log, np.exp),
    ):
        mean, low, high = summary.mean_interval(x, ends=ends)
        assert ends[0] <= low <= mean <= high <= ends[1] and mean == pytest.approx(x.mean())
        if half:  # the standard error on that scale is that of the mean times the slope there
            slope = (scale(mean + 1e-7) - scale(mean - 1e-7)) / 2e-7
            wanted = [back(scale(mean) + sign * half * slope) for sign in (-1, 1)]
            assert (low, high) == pytest.approx(wanted, rel=1e-5)
        else:
            assert low == mean == high


def test_an_interval_holds_the_mean_as_often_as_it_says():
    """Of few and lopsided values, oftener than Student's t by itself (.92 and .89)."""
    rng = np.random.default_rng(0)
    for draw, true, ends, least in (
        (lambda: rng.beta(8, 2, 5), 0.8, (0, 1), 0.935),
        (lambda: rng.lognormal(0, 0.7, 5), math.exp(0.245), (0, math.inf), 0.91),
    ):
        found = [summary.mean_interval(draw(), ends=ends)[1:] for _ in range(2000)]
        assert least <= np.mean([low <= true <= high for low, high in found]) <= 0.97


def test_mean_interval():
    x = RNG.standard_normal(24)
    mean, low, high = summary.mean_interval(x)
    reference = scipy.stats.t.interval(0.95, 23, x.mean(), scipy.stats.sem(x))
    assert (mean, low, high) == pytest.approx((x.mean(), *reference), rel=1e-9)
    assert summary.mean_interval(np.array([3.0])) == (3.0, None, None)
    assert summary.mean_interval(x[:4])[1:] == (None, None) and summary.mean_interval(x[:5])[1] is not None
    assert summary.mean_interval(np.full(5, 3.0)) == (3.0, 3.0, 3.0)
    assert summary.mean_interval(np.array([3.0, np.inf])) == (np.inf, None, None)
    for bad in [np.nan, 1.0], [np.inf, -np.inf], []:
        mean, low, high = summary.mean_interval(np.array(bad))
        assert math.isnan(mean) and low is None and high is None
