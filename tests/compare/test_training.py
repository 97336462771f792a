"""Metrics of sets: Frechet distances, nearest training items, memorised share, mosaic; and what is missing only."""

import json

import numpy as np
import pytest

from helpers.commands import lem
from lemtools.compare import Comparison, distortion, pair
from lemtools.compare.distribution import frechet_distance, frechet_patch, frechet_pca, halves, moments, patch_places
from lemtools.compare.training import Nearest, Training, memorised, mosaic, nearest, nearest_patch
from lemtools.fragment import fragment
from lemtools.signal import LemError, Signal

rng = np.random.default_rng(0)


def covariance(size, rank=None):
    x = rng.standard_normal((size, rank or 2 * size))
    return x @ x.T / size


# Frechet


def test_frechet_of_commuting_gaussians_is_the_closed_form():
    rotation = np.linalg.qr(rng.standard_normal((9, 9)))[0]
    s, t = rng.uniform(0, 3, (2, 9))
    m, n = rng.standard_normal((2, 9))
    expected = ((m - n) ** 2).sum() + ((np.sqrt(s) - np.sqrt(t)) ** 2).sum()
    turned = (rotation * s) @ rotation.T, (rotation * t) @ rotation.T
    assert frechet_distance(m, np.diag(s), n, np.diag(t)) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(rotation @ m, turned[0], rotation @ n, turned[1]) == pytest.approx(expected, rel=1e-10)


def test_frechet_agrees_with_sqrtm_and_is_symmetric():
    from scipy.linalg import sqrtm

    m, n = rng.standard_normal((2, 12))
    s, t = covariance(12), covariance(12)
    expected = ((m - n) ** 2).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real)
    assert frechet_distance(m, s, n, t) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(n, t, m, s) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rank", [2, 12, 40])
def test_frechet_of_equal_moments_is_zero_and_of_shifted_ones_the_shift(rank):
    m, s, d = rng.standard_normal(12), 1e4 * covariance(12, rank), rng.standard_normal(12)
    assert frechet_distance(m, s, m, s) < 1e-9  # with roots of eigenvalues 1e-3 where the rank is 2
    assert frechet_distance(m, s, m + d, s) == pytest.approx(d @ d, rel=1e-9)


@pytest.mark.parametrize("n", [4, 7, 20])
def test_halves_are_halves_that_share_no_item(n):
    a, seen = np.arange(n)[:, None], []

    def features(x):
        seen.append(x[:, 0].tolist())
        return x.astype(float)

    halves(a, a, features)
    for k in range(0, len(seen), 4):  # of both sets the one half and the other
        one, other, *recalled = seen[k : k + 4]
        assert len(one) == len(other) == n // 2 and not set(one) & set(other) and recalled == [one, other]


@pytest.mark.parametrize("size", [1e3, 1e-3])
def test_the_nearest_of_many_far_from_the_mean_is_the_nearest(size):
    """Two clusters, so that the mean lies far off: products in float32 do not tell their members apart."""
    g = np.random.default_rng(0)
    rows = (g.choice([-size, size], (600, 1)) + 1e-4 * size * g.standard_normal((600, 16))).astype(np.float32)
    queries = (rows[:40] + 1e-4 * size * g.standard_normal((40, 16))).astype(np.float32)
    found = Nearest(queries, rows.mean(0))
    for start in range(0, 600, 200):
        found.add(rows[start : start + 200], np.arange(start, start + 200))
    square = ((queries[:, None].astype(np.float64) - rows) ** 2).sum(2)
    order = np.argsort(square, axis=1)[:, :2]
    assert np.array_equal(found.index, order)
    np.testing.assert_allclose(found.square, np.take_along_axis(square, order, 1))


def test_patches_have_a_size():
    assert len(patch_places((1, 4, 4), 1, 1)) == 16
    for k in (0, -1, 5):
        with pytest.raises(ValueError, match="at least as large"):
            patch_places((1, 4, 4), k, 1)


def test_moments_are_those_of_all_rows():
    x = rng.integers(0, 256, (700, 3, 40, 40), dtype=np.uint8)  # several tiles
    mean, cov = moments(x, lambda t: t.reshape(len(t), -1)[:, :7].astype(np.float64))
    rows = x.reshape(700, -1)[:, :7].astype(float)
    assert np.allclose(mean, rows.mean(0)) and np.allclose(cov, np.cov(rows.T, bias=True))


def test_what_is_distributed_as_the_originals_gets_the_floor_and_what_is_not_does_not():
    gain = np.linspace(3, 0.1, 20)
    a, new = (rng.standard_normal((4000, 20)) * gain for _ in range(2))
    for alike in (a, new):
        value, floor = halves(a, alike, lambda x: x)
        assert value == pytest.approx(floor, rel=0.25) and 0 < floor < 0.01 * (gain**2).sum()
    value, floor = halves(a, 0.5 * a, lambda x: x)  # as posterior means do: too little spread
    assert value == pytest.approx(((0.5 * gain) ** 2).sum(), rel=0.05)


def test_principal_axes_are_those_of_an_svd_and_turning_the_items_changes_nothing():
    x = rng.standard_normal((300, 24)) * np.linspace(4, 0.2, 24) + 50
    b = 0.7 * (x - 50) + 50
    _, _, vectors = np.linalg.svd(x - x.mean(0))
    expected = halves(x, b, lambda t: (t - x.mean(0)) @ vectors[:5].T)
    whole = frechet_pca(x, b, k=5)
    assert (whole.value, whole.beside) == pytest.approx(expected, rel=1e-3) and whole.k == 5
    rotation = np.linalg.qr(rng.standard_normal((24, 24)))[0]
    assert frechet_pca(x @ rotation, b @ rotation, k=5).value == pytest.approx(whole.value, rel=1e-3)
    assert frechet_pca(x, b, k=64).k == 24 and frechet_pca(x[:50], b[:50], k=64).k == 6
    train = 2 * x[:, ::-1] + 7  # other axes, another scale: only the directions count
    assert frechet_pca(x, b, k=5, train=Training(train, x)).value < 0.1 * whole.value


def test_patch_features_see_texture_that_a_blur_loses():
    a = rng.integers(0, 256, (40, 1, 20, 20), dtype=np.uint8)
    flat = np.broadcast_to(a.mean((2, 3), keepdims=True), a.shape).astype(np.uint8)
    assert frechet_patch(a, a).value == pytest.approx(frechet_patch(a, a).beside)
    blurred = frechet_patch(a, flat)
    assert blurred.value == pytest.approx(64 * 255**2 / 12, rel=0.05)  # all the variance of the patches
    places = patch_places((1, 20, 21), 8, 8)
    assert [(i.start, j.start) for i, j in places] == [(i, j) for i in (0, 8, 12) for j in (0, 8, 13)]
    with pytest.raises(ValueError, match="at least as large"):
        frechet_patch(a[:, :, :7], a[:, :, :7])


# neighbours


def brute(queries, rows):
    d = ((queries[:, None].astype(np.float64) - rows[None].astype(np.float64)) ** 2).sum(2)
    order = np.argsort(d, axis=1, kind="stable")[:, :2]
    return np.take_along_axis(d, order, 1), order


@pytest.mark.parametrize("case", ["bytes", "floats", "offset", "ties"])
def test_two_nearest_are_those_of_brute_force(case):
    rows = {
        "bytes": lambda: rng.integers(0, 256, (900, 30), dtype=np.uint8),
        "floats": lambda: rng.standard_normal((900, 30)).astype(np.float32),
        "offset": lambda: 1e3 + 1e-4 * rng.standard_normal((900, 30)),
        "ties": lambda: rng.integers(0, 2, (900, 8), dtype=np.uint8),
    }[case]()
    queries = rows[rng.permutation(900)[:50]]
    if case in ("floats", "offset"):
        queries = queries + (queries.std() * 0.3 * rng.standard_normal(queries.shape)).astype(rows.dtype)
    found = Nearest(queries, rows[:100].mean(0))
    for i in range(0, 900, 130):
        found.add(rows[i : i + 130], np.arange(i, min(i + 130, 900)))
    square, index = brute(queries, rows)
    assert np.allclose(found.square, square, rtol=1e-12, atol=0) and (found.index == index).all()


@pytest.fixture(scope="module")
def training():
    return np.random.default_rng(3).integers(0, 256, (300, 3, 16, 16), dtype=np.uint8)


def collage(training):
    """Every 8 x 8 patch from another image."""
    out = training[:20].copy()
    for n, item in enumerate(out):
        for k, (i, j) in enumerate(patch_places(item.shape, 8, 8)):
            item[:, i, j] = training[(n + 17 * k) % 300, :, i, j]
    return out


def test_copies_collages_and_new_images_are_told_apart(training):
    new = np.random.default_rng(4).integers(0, 256, (20, 3, 16, 16), dtype=np.uint8)
    noisy = (training[40:60].astype(float) + np.random.default_rng(5).normal(0, 2, (20, 3, 16, 16))).clip(0, 255)
    arms = {"copy": training[20:40], "noisy": np.rint(noisy).astype(np.uint8), "collage": collage(training), "new": new}
    got = {}
    for name, items in arms.items():
        train = Training(training, new)
        got[name] = [f(new, items, train=train)[0].mean() for f in (nearest, memorised, nearest_patch, mosaic)]
        floor = [f(new, items, train=train)[1].mean() for f in (nearest, memorised, nearest_patch, mosaic)]
        assert floor == pytest.approx(got.get("new", floor))
    assert got["copy"] == [0, 1, 0, 0]
    assert 1 < got["noisy"][0] < 3 and got["noisy"][1:] == [1, pytest.approx(got["noisy"][0], rel=0.1), 0]
    assert got["collage"][0] > 50 and got["collage"][1:] == [0, 0, 0.75]
    assert got["new"][0] > 80 and got["new"][1] == 0 and got["new"][2] > 60 and got["new"][3] > 0.7


def test_mosaic_is_its_definition(training):
    items = np.random.default_rng(6).integers(0, 256, (12, 3, 16, 16), dtype=np.uint8)
    train = training.copy()
    train[:, :, :8, :8] = 0  # a corner that all have tells nothing
    _, whole = brute(items.reshape(12, -1), train.reshape(300, -1))
    share = []
    for i, j in patch_places((3, 16, 16), 8, 8)[1:]:
        _, at = brute(items[:, :, i, j].reshape(12, -1), train[:, :, i, j].reshape(300, -1))
        share.append(at[:, 0] != whole[:, 0])
    assert np.allclose(mosaic(items, items, train=Training(train, items))[0], np.mean(share, 0))
    black = np.zeros_like(train)
    black[0, 0, 0, 0] = 1
    assert (mosaic(items, items, train=Training(black, items))[0] == 0).all()


def test_equal_training_items_count_once(training):
    doubled = np.concatenate((training, training[::-1]))
    items = training[:9]
    assert (memorised(items, items, train=Training(doubled, items))[0] == 1).all()
    assert (mosaic(items, items, train=Training(doubled, items))[0] == 0).all()
    with pytest.raises(ValueError, match="two different"):
        nearest(items, items, train=Training(training[[1, 1]], items))


def test_the_training_set_is_read_in_the_unit_of_the_items(training, tmp_path):
    np.save(tmp_path / "t.npy", training)
    mapped = np.load(tmp_path / "t.npy", mmap_mode="r")
    new = np.random.default_rng(4).integers(0, 256, (5, 3, 16, 16), dtype=np.uint8)
    units = {"byte": new, "float": new / np.float32(255)}
    (byte, _), (unit, _) = (nearest(x, x, train=Training(mapped, x)) for x in units.values())
    assert np.allclose(byte, 255 * unit, rtol=1e-5)
    floats = training / np.float32(255)
    assert np.allclose(nearest(new, new, train=Training(floats, new))[0], byte, rtol=1e-5)
    copies = training[:5] / np.float32(255)
    assert nearest(copies, copies, train=Training(mapped, copies))[0].max() == 0
    with pytest.raises(LemError, match="beside items"):
        Training(training, new[:, :1])
    with pytest.raises(LemError, match="tokens"):
        Training(np.zeros((4, 7), np.int64), np.zeros((4, 7)))


# through the front door


def compared(a, b, metrics=None, fragments=None, **options):
    comparison = Comparison(metrics, **options)
    for batch in pair([a], [b], "order", fragments):
        comparison.add(batch)
    return {r.name: r for r in comparison.results()}


def test_lines_have_exact_names_and_their_floor(training):
    a, b = Signal("image", training[:30]), Signal("image", training[30:60])
    asked = ["frechet-pca@3", "frechet-patch", "nearest", "nearest-patch@4", "memorised", "mosaic", "psnr"]
    found = compared(a, b, asked, train=training[60:])
    stems = ["frechet[pca3]", "frechet[patch8]", "nearest", "nearest[patch4]", "memorised", "mosaic[patch8]"]
    floors = ["_floor[".join(s.split("[")) if "[" in s else f"{s}_floor" for s in stems]
    assert list(found) == [name for both in zip(stems, floors) for name in both] + ["psnr"]
    assert [r.metric for r in found.values()][:2] == ["frechet-pca@3", "frechet-pca@3-floor"]
    set_wide = found["frechet[patch8]"]
    assert len(set_wide.values) == 0 and len(set_wide.items) == 30 and set_wide.low is None and set_wide.mean > 0
    assert len(found["nearest_floor"].values) == 30 and found["nearest"].low < found["nearest"].mean
    with pytest.raises(LemError, match="--train STORE"):
        compared(a, b, ["mosaic"])
    with pytest.raises(LemError, match="at least 4"):
        compared(a.take([0, 1]), b.take([0, 1]), ["frechet-patch"])


@pytest.mark.parametrize("kind", ["image", "embedding"])
def test_only_what_is_missing_is_measured(kind, training):
    a = Signal("image", training[:6]) if kind == "image" else Signal("embedding", rng.standard_normal((6, 40)))
    peak = {"peak": 2.0} if kind == "embedding" else {}
    (f,) = fragment([a], [{"op": "mask", "mask": 0.5}])
    b = Signal(a.kind, np.where(f.observed(), a.data, a.data[::-1]))
    found = compared(a, b, ["mse", "mae", "max-abs", "psnr"], [f], **peak)
    d = np.abs(a.data.astype(float) - b.data)
    lost = ~f.observed()
    each = [d[i][lost[i]] for i in range(6)]
    expected = {"mse": [(e**2).mean() for e in each], "mae": [e.mean() for e in each]}
    expected["max_abs"] = [e.max() for e in each]
    for name, values in expected.items():
        assert np.allclose(found[f"{name}[missing]"].values, values)
    top = peak.get("peak", 255)
    assert np.allclose(found["psnr[missing]"].values, 10 * np.log10(top**2 / np.array(expected["mse"])))
    quantised = fragment([a], [{"op": "bits", "bits": 2}, {"op": "mask", "mask": 0.5}])
    assert np.allclose(compared(a, b, ["mse"], quantised)["mse[missing]"].values, distortion.mse(a.data, b.data))
    none = compared(a, b, ["mse"], fragment([a], [{"op": "mask", "mask": 0}]))
    assert np.isnan(none["mse[missing]"].values).all()
    with pytest.raises(LemError, match="cannot leave elements out"):
        compared(a, b, ["nmse"], [f])
    with pytest.raises(LemError, match="more fragments"):
        compared(a.take([0]), b.take([0]), ["mse"], [f])


def test_the_command(training, tmp_path):
    np.save(tmp_path / "a.npy", training[:8])
    np.save(tmp_path / "b.npy", training[8:16])
    np.save(tmp_path / "train.npy", training[8:])
    asked = [w for m in ("frechet-patch", "memorised", "mosaic") for w in ("--metric", m)]
    done = lem("compare", "a.npy", "b.npy", *asked, "--train", "train.npy", "--json", cwd=tmp_path)
    lines = {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert lines["memorised"]["mean"] == 1 and lines["memorised_floor"]["mean"] == 0
    assert lines["mosaic[patch8]"]["mean"] == 0 < lines["mosaic_floor[patch8]"]["mean"]
    assert lines["frechet[patch8]"]["low"] is None and lines["frechet[patch8]"]["n"] == 8
    done = lem("compare", "a.npy", "b.npy", "--max", "memorised=.5", "--train", "train.npy", cwd=tmp_path, ok=None)
    assert done.returncode == 1 and b"memorised is 1, above 0.5" in done.stderr
    fragments = lem("fragment", "--mask", ".5", "a.npy", cwd=tmp_path).stdout
    (tmp_path / "f.safetensors").write_bytes(fragments)
    where = ("--where", "missing", "--metric", "psnr")
    done = lem("compare", "a.npy", "b.npy", *where, "--fragment", "f.safetensors", cwd=tmp_path)
    assert done.stdout.startswith(b"psnr[missing]\t")
    for words in (where, ("--fragment", "f.safetensors"), ("--metric", "mosaic"), ("--train", "train.npy")):
        assert lem("compare", "a.npy", "b.npy", *words, cwd=tmp_path, ok=None).returncode == 2
