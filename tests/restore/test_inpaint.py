import numpy as np
import pytest
from PIL import Image

from helpers.paths import data_dir
from lemtools.restore.blocks import box_sums, dct_matrix, gather, scatter
from lemtools.restore.inpaint import inpaint, upsample


def scene(h: int, w: int, channels: int = 1) -> np.ndarray:
    """Discs, a slanted grating and a ramp: edges, texture and smooth shade, [C, H, W] in [0, 1]."""
    y, x = np.mgrid[:h, :w]
    image = 0.2 + 0.3 * x / w + 0.12 * np.sin(0.55 * x + 0.35 * y) * (y > h / 2)
    image[np.hypot(y - h / 3, x - w / 2) < w / 5] += 0.35
    image[np.abs(y - 0.6 * x - h / 4) < 2.5] -= 0.15
    return np.stack([image * (1 - 0.2 * c) for c in range(channels)]).astype(np.float32)


def keep(shape: tuple[int, int], lost: float, seed: int = 0) -> np.ndarray:
    """A mask that has lost exactly this fraction of the pixels."""
    n = shape[0] * shape[1]
    return (np.random.default_rng(seed).permutation(n) >= round(lost * n)).reshape(shape)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((np.asarray(a, float) - b) ** 2)))


def averages(x: np.ndarray, f: int) -> np.ndarray:
    """Cell means of [C, H, W], by definition."""
    cells = [
        [x[:, i : i + f, j : j + f].mean((1, 2), np.float64) for j in range(0, x.shape[2], f)]
        for i in range(0, x.shape[1], f)
    ]
    return np.moveaxis(np.array(cells), 2, 0).astype(np.float32)


def test_blocks_against_their_definition():
    x = np.random.default_rng(0).random((11, 14), dtype=np.float32)
    blocks = gather(x, 4, 3)
    corners = [(i, j) for i in range(0, 8, 3) for j in range(0, 11, 3)]
    assert np.array_equal(blocks.T, [x[i : i + 4, j : j + 4].ravel() for i, j in corners])
    order = np.random.default_rng(1).permutation(len(corners))
    assert np.array_equal(gather(x, 4, 3, order), blocks[:, order])
    v = np.random.default_rng(2).random(blocks.shape, dtype=np.float32)
    back = scatter(v, x.shape, 4, 3)
    assert np.isclose((v * blocks).sum(), (back * x).sum())
    assert np.allclose(scatter(np.ascontiguousarray(v[:, order]), x.shape, 4, 3, np.argsort(order)), back)
    assert np.allclose(box_sums(x, 4)[::3, ::3].ravel(), blocks.sum(0))


def test_dct_is_orthonormal_and_that_of_the_definition():
    c = dct_matrix(16)
    assert np.allclose(c @ c.T, np.eye(16), atol=1e-6)
    assert np.allclose(c[3], np.sqrt(2 / 16) * np.cos(np.pi * 3 * (np.arange(16) + 0.5) / 16), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (1, 3, 5), (3, 7, 2), (1, 28, 28), (3, 33, 31), (2, 40, 57)])
@pytest.mark.parametrize("lost", [0.3, 0.5, 0.9, 0.99])
def test_observed_pixels_come_back_exactly_and_the_rest_stays_in_range(shape, lost):
    x = np.random.default_rng(1).random(shape, dtype=np.float32) * 0.5 + 0.25
    mask = keep(shape[1:], lost)
    y = np.where(mask, x, np.float32(np.nan))
    out = inpaint(y, mask)
    assert out.dtype == np.float32 and out.shape == shape
    assert np.array_equal(out[:, mask], x[:, mask])
    assert np.isfinite(out).all() and out.min() >= 0.2 - 1e-6 and out.max() <= 0.8 + 1e-6


def test_the_mask_may_be_given_per_image_or_per_channel():
    x, mask = scene(32, 40, 3), keep((32, 40), 0.5)
    out = inpaint(x, mask)
    assert np.array_equal(inpaint(x, mask[None]), out)
    assert np.array_equal(inpaint(x, np.stack([mask] * 3)), out)
    apart = np.stack([keep((32, 40), 0.5, seed) for seed in range(3)])
    out = inpaint(x, apart)
    assert np.array_equal(out[apart], x[apart]) and psnr(out, x) > 24


@pytest.mark.parametrize("masked", [keep((48, 64), 0.5), keep((48, 64), 0.9)])
def test_smooth_images_are_recovered(masked):
    y, x = np.mgrid[:48, :64] / 64
    for image in (0.1 + 0.5 * x + 0.3 * y, 0.3 + 0.4 * x * x - 0.5 * x * y + 0.3 * y * y):
        out = inpaint(image[None].astype(np.float32), masked)[0]
        assert np.sqrt(np.mean((out - image) ** 2)) < 1e-3
    assert np.allclose(inpaint(np.full((1, 48, 64), 0.7, np.float32), masked), 0.7)


def test_extremes():
    x = scene(48, 40)
    none = np.zeros((48, 40), bool)
    assert np.array_equal(inpaint(x, none), np.full_like(x, 0.5))
    assert np.array_equal(inpaint(x, ~none), x)
    one = none.copy()
    one[7, 9] = True
    assert np.array_equal(inpaint(x, one), np.full_like(x, x[0, 7, 9]))
    two = np.stack([keep((48, 40), 0.5), none])
    out = inpaint(np.concatenate([x, x]), two)
    assert np.allclose(out[1], out[1, 0, 0], atol=1e-3) and abs(out[1].mean() - x[0][two[0]].mean()) < 1e-3


def test_one_pixel_of_which_channels_are_left():
    y = np.array([0.2, 0.6, 0.0], np.float32).reshape(3, 1, 1)
    out = inpaint(y, np.array([True, True, False]).reshape(3, 1, 1)).ravel()
    assert np.allclose(out, [0.2, 0.6, 0.4], atol=1e-6)


def holes(h: int, w: int) -> dict[str, np.ndarray]:
    full = np.ones((h, w), bool)
    block, half, rows = full.copy(), full.copy(), full.copy()
    block[h // 3 : h // 3 + 24, w // 4 : w // 4 + 24] = False
    half[h // 2 :] = False
    rows[np.random.default_rng(3).permutation(h)[: h // 2]] = False
    return {"block": block, "half": half, "rows": rows}


@pytest.mark.parametrize("name", ["half", "rows"])
def test_holes_are_filled_better_than_by_biharmonic(name):
    restoration = pytest.importorskip("skimage.restoration")
    x, mask = scene(96, 96), holes(96, 96)[name]
    oracle = restoration.inpaint_biharmonic(np.where(mask, x[0], 0).astype(float), ~mask)
    assert psnr(inpaint(x, mask), x) > psnr(np.clip(oracle, 0, 1), x[0]) + 1


def test_a_block_is_filled_better_than_by_the_mean():
    x, mask = scene(96, 96), holes(96, 96)["block"]
    out = inpaint(x, mask)
    assert np.array_equal(out[:, mask], x[:, mask])
    assert psnr(out, x) > psnr(np.where(mask, x, x[:, mask].mean()), x) + 3


def test_a_transposed_image_gives_the_transposed_result():
    x, mask = scene(64, 64), keep((64, 64), 0.6)
    straight, turned = inpaint(x, mask), inpaint(x.transpose(0, 2, 1), mask.T).transpose(0, 2, 1)
    assert np.abs(straight - turned).max() < 0.05 and psnr(straight, turned) > 45


def test_brightness_and_contrast_do_not_matter():
    x, mask = scene(48, 48), keep((48, 48), 0.7)
    assert np.allclose(inpaint(0.25 * x + 0.5, mask), 0.25 * inpaint(x, mask) + 0.5, atol=2e-3)


def test_the_same_call_gives_the_same_bits():
    # Large enough to be shared out between threads.
    x, mask = scene(200, 200), keep((200, 200), 0.5)
    assert np.array_equal(inpaint(x, mask), inpaint(x, mask))


@pytest.mark.parametrize("lost, margin", [(0.5, 1.5), (0.8, 0.7), (0.9, 0.3)])
def test_edges_and_texture_beat_biharmonic(lost, margin):
    restoration = pytest.importorskip("skimage.restoration")
    x, mask = scene(96, 96), keep((96, 96), lost)
    oracle = restoration.inpaint_biharmonic(np.where(mask, x[0], 0).astype(float), ~mask)
    assert psnr(inpaint(x, mask), x) > psnr(np.clip(oracle, 0, 1), x[0]) + margin


@pytest.mark.parametrize("lost, margin", [(0.5, 1.0), (0.8, 0.6), (0.9, 0.3)])
def test_photographs_beat_biharmonic(lost, margin):
    restoration = pytest.importorskip("skimage.restoration")
    files = sorted((data_dir("bsds400") / "images").iterdir())[5:300:60]
    gains = []
    for k, path in enumerate(files):
        x = np.asarray(Image.open(path).convert("L"), np.float32)[None, 64:192, 64:192] / 255
        mask = keep((128, 128), lost, k)
        oracle = restoration.inpaint_biharmonic(np.where(mask, x[0], 0).astype(float), ~mask)
        gains.append(psnr(inpaint(x, mask), x) - psnr(np.clip(oracle, 0, 1), x[0]))
    assert np.mean(gains) > margin


@pytest.mark.parametrize("image, mask", [((8, 8), (8, 8)), ((1, 8, 8), (8, 9)), ((3, 8, 8), (2, 8, 8))])
def test_shapes_that_do_not_fit_are_refused(image, mask):
    with pytest.raises(ValueError, match="expected"):
        inpaint(np.zeros(image, np.float32), np.ones(mask, bool))


def test_values_that_are_not_finite_are_refused():
    x = scene(8, 8)
    x[0, 3, 3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        inpaint(x, keep((8, 8), 0.1) | np.eye(8, dtype=bool))
    with pytest.raises(ValueError, match="finite"):
        upsample(x, 2, (16, 16))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 5), (3, 17, 33), (1, 64, 64), (3, 47, 62)])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_box_averages_are_kept(shape, factor):
    y = averages(np.random.default_rng(0).random(shape, dtype=np.float32), factor)
    out = upsample(y, factor, shape[1:])
    assert out.dtype == np.float32 and out.shape == shape
    assert np.abs(averages(out, factor) - y).max() < 1e-5


def test_constants_are_kept():
    assert np.allclose(upsample(np.full((3, 9, 7), 0.3, np.float32), 4, (35, 26)), 0.3, atol=1e-6)


@pytest.mark.parametrize("factor, margin", [(2, 3.0), (4, 1.0)])
def test_upsampling_beats_repetition_and_lanczos(factor, margin):
    x = scene(96, 96)
    y = averages(x, factor)
    out = upsample(y, factor, (96, 96))
    lanczos = np.asarray(Image.fromarray(y[0]).resize((96, 96), Image.Resampling.LANCZOS))
    assert psnr(out, x) > psnr(y.repeat(factor, 1).repeat(factor, 2), x) + margin
    assert psnr(out, x) > psnr(lanczos, x[0]) + 0.2
    assert np.array_equal(out, upsample(y, factor, (96, 96)))


def test_averages_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="not those of an image"):
        upsample(np.zeros((1, 8, 8), np.float32), 2, (17, 16))
