"""Two sets of embeddings: centred cosine, CKA, spectra, complexity of signs, and their picture."""

import io
import json
import sys

import numpy as np
import pytest

from helpers.commands import lem_fork
from lemtools import codes
from lemtools.catalogue.metrics import members
from lemtools.compare import Comparison, complexity, geometry, pair, similarity, spectral
from lemtools.compare.distortion import nmse, sqnr
from lemtools.signal import LemError, Signal


def test_neighbours_that_tie_at_the_edge_share_its_places():
    """Of keys at nearly one distance float32 cannot tell which are nearest: those that tie share what places are left."""
    g = np.random.default_rng(0)
    for count in (6, 100):
        gaps = 1 + 2e-6 / count * (g.permutation(count) // 2)  # each distance twice
        places = g.integers(0, 8, count)
        keys = np.concatenate([np.zeros((1, 8)), np.eye(8)[places] * np.sqrt(gaps)[:, None]])
        square = keys[1:].max(1) ** 2
        both = geometry.Vectors(keys, False, "original")
        for k in (1, count // 2, count // 2 + 1, count - 1):
            edge = np.sort(square)[k - 1]
            inside, tied = square < edge * (1 - 1e-12), np.abs(square - edge) <= 1e-12 * edge
            (_, weight), *_ = geometry._kept(both, both, k)
            np.testing.assert_allclose(weight[0, 1:], inside + tied * (k - inside.sum()) / tied.sum(), atol=1e-6)


def gaussian(n, d, seed=0, decay=0.0):
    """[n, d] of variances i^-decay."""
    return np.random.default_rng(seed).standard_normal((n, d)) * np.arange(1, d + 1) ** (-decay / 2)


def with_spectrum(values, n, seed=0):
    """[n, len(values)]: no mean, and exactly these singular values."""
    x = gaussian(n, len(values), seed)
    u, _ = np.linalg.qr(x - x.mean(0))
    v, _ = np.linalg.qr(gaussian(len(values), len(values), seed + 1))
    return u * values @ v


def described(x, **k):
    """{metric: its one number for the set x}."""
    s = spectral.Spectrum(x), spectral.Spectrum(x)
    names = ("rankme", "effective_rank", "participation_ratio", "condition")
    return {name: getattr(spectral, name)(x, x, spectra=s).value for name in names}


# known answers


def test_isotropic_gaussian():
    found = described(gaussian(2048, 512))
    assert found["rankme"] == pytest.approx(494.7, abs=0.3)
    assert found["participation_ratio"] == pytest.approx(409.5, abs=1)
    assert found["condition"] == pytest.approx(2.98, abs=0.05)


def test_a_spectrum_of_1_over_i_has_two_effective_ranks():
    eigenvalues = 1 / np.arange(1, 513)
    x = with_spectrum(np.sqrt(eigenvalues), 600)
    found = described(x)
    p = eigenvalues / eigenvalues.sum()
    assert found["effective_rank"] == pytest.approx(np.exp(-(p @ np.log(p))), rel=1e-9)
    assert found["rankme"] / found["effective_rank"] == pytest.approx(3.5, abs=0.01)
    assert found["participation_ratio"] == pytest.approx(1 / (p @ p), rel=1e-9)
    assert found["condition"] == pytest.approx(np.sqrt(512), rel=1e-9)
    s = spectral.Spectrum(x)
    fit = spectral.alpha_req(x, x, spectra=(s, s))
    assert fit.value == pytest.approx(1, abs=1e-9) and fit.k == "11-100"


def test_alpha_is_the_weighted_least_squares_of_the_range_it_prints():
    a, b = gaussian(300, 60, decay=1), gaussian(300, 60, 1, decay=2)
    spectra = spectral.Spectrum(a), spectral.Spectrum(b)
    fit = spectral.alpha_req(a, b, spectra=spectra, k=50)
    i = np.arange(11, 51)
    for s, value in zip(spectra, (fit.beside, fit.value)):
        # numpy's weights multiply residuals, not their squares
        slope, _ = np.polyfit(np.log(i), np.log(s.eigenvalues[10:50]), 1, w=i**-0.5)
        assert value == pytest.approx(-slope)
    assert fit.k == "11-50" and spectral.alpha_req(a, b, spectra=spectra, k=1000).k == "11-60"
    with pytest.raises(ValueError, match="at least 22; asked are 20"):
        spectral.alpha_req(a, b, spectra=spectra, k=20)


def test_independent_gaussians():
    for n, d in (1000, 100), (1500, 500), (300, 800):
        found = similarity.cka(gaussian(n, d), gaussian(n, d, 1))
        assert found.beside == pytest.approx(d / (n + d), rel=0.03)
        assert abs(found.value) < 0.01
    chance = geometry.mutual_knn(gaussian(1500, 32), gaussian(1500, 32, 1), k=10)
    assert chance.mean() == pytest.approx(10 / 1499, abs=4 * chance.std() / np.sqrt(1500))


@pytest.mark.parametrize("bits, kept, blind", [(1, 0.39, 0.944), (2, 0.67, 0.988), (3, 0.82, 0.997), (4, 0.90, 0.999)])
def test_neighbours_that_bits_keep_and_cka_does_not_miss(bits, kept, blind):
    x = gaussian(3000, 256, decay=1)
    rotation, _ = np.linalg.qr(gaussian(256, 256, 1))
    y = x @ rotation
    op = {"bits": bits, "quantizer": "lloyd-max", "domain": "gaussian", "scale": np.sqrt((y**2).mean(1))}
    z = codes.decode(codes.encode(y, op), op) @ rotation.T
    assert geometry.mutual_knn_cosine(x, z).mean() == pytest.approx(kept, abs=0.015)
    assert similarity.cka(x, z).value == pytest.approx(blind, abs=0.006)


# definitions


def test_cka_is_its_definition_by_gram_matrices():
    def hsic(k, l):  # Song et al. 2012, eq. 5
        n = len(k)
        k, l = (m - np.diag(np.diag(m)) for m in (k, l))
        one = np.ones(n)
        pairs = one @ k @ one * (one @ l @ one) / ((n - 1) * (n - 2))
        return (np.trace(k @ l) + pairs - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3))

    def plain(k, l):
        h = np.eye(len(k)) - 1 / len(k)
        return np.trace(k @ h @ l @ h)

    for n, d, e in (40, 7, 7), (9, 30, 30), (4, 3, 3):
        a = gaussian(n, d) + 5
        b = 3 * np.tanh(a) + gaussian(n, e, 1)
        k, l = a @ a.T, b @ b.T
        found = similarity.cka(a, b)
        assert found.value == pytest.approx(hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l)), rel=1e-9)
        assert found.beside == pytest.approx(plain(k, l) / np.sqrt(plain(k, k) * plain(l, l)), rel=1e-9)
        turned = similarity.cka(a, -7 * a @ np.linalg.qr(gaussian(d, d, 2))[0] + 1)
        assert turned.value == pytest.approx(1) and turned.beside == pytest.approx(1)


@pytest.mark.parametrize("shape", [(90, 20), (21, 20), (20, 20), (19, 20), (12, 50), (2, 3), (5, 1)])
def test_both_spectra_are_those_of_an_svd_in_blocks_and_whole(shape, monkeypatch):
    x = gaussian(*shape) + 30
    for tile in (1 << 23, 200):
        monkeypatch.setattr(spectral, "_TILE", tile)
        s = spectral.Spectrum(x)
        raw = np.linalg.svd(x, compute_uv=False)
        centred = np.linalg.svd(x - x.mean(0), compute_uv=False)[: min(shape[0] - 1, shape[1])]
        np.testing.assert_allclose(s.raw, raw, rtol=1e-9)
        np.testing.assert_allclose(s.values, centred, rtol=1e-9)
        k = min(2, len(centred))
        axes = np.linalg.svd(x - x.mean(0))[2][:k]
        np.testing.assert_allclose(np.abs(axes @ s.axes(k)), np.eye(k), atol=1e-8)


@pytest.mark.parametrize("shape", [(60, 20), (12, 20)])
def test_what_is_rounding_goes_by_the_largest_value(shape):
    """Of a set without spread in some directions, in any unit: just those values are 0."""
    rank = 7
    x = gaussian(shape[0], rank) @ gaussian(rank, shape[1], 1)
    for scale in (2.0**-40, 1.0, 2.0**40):
        values = spectral.Spectrum(x * scale).values
        assert len(values) == min(shape[0] - 1, shape[1]) and (values[:rank] > 0).all() and not values[rank:].any()
        want = np.linalg.svd((x - x.mean(0)) * scale, compute_uv=False)[:rank]
        np.testing.assert_allclose(values[:rank], want, rtol=1e-9)


def test_a_condition_number_keeps_its_digits():
    # of the Gram matrix the smallest of these eigenvalues would be lost in rounding altogether
    x = with_spectrum(np.logspace(0, -9, 40), 500)
    assert described(x)["condition"] == pytest.approx(1e9, rel=1e-5)
    gram = np.linalg.eigvalsh(x.T @ x)
    assert np.sqrt(abs(gram[-1] / gram[0])) != pytest.approx(1000000000.0, rel=0.1)
    x[:, 7] = x[:, 8]
    assert described(x)["condition"] == np.inf
    with pytest.raises(ValueError, match="40 items cannot span 40 dimensions"):
        described(x[:40])


def test_rankme_is_of_the_set_as_it_stands_and_the_others_are_centred():
    x = gaussian(500, 16)
    off = described(x + 1000)
    assert off["rankme"] == pytest.approx(spectral.exp_entropy(np.linalg.svd(x + 1000, compute_uv=False)))
    assert off["rankme"] < 1.2 < 15 < described(x)["rankme"]
    assert off["effective_rank"] == pytest.approx(described(x)["effective_rank"])


def test_a_set_that_collapsed_to_one_point_has_no_spectrum():
    point = np.full((50, 30), 0.3, np.float32)
    found = described(point)
    assert found["rankme"] == 1 and all(np.isnan(v) for name, v in found.items() if name != "rankme")
    assert all(np.isnan(v) for v in similarity.cka(gaussian(50, 30), point)[:2])
    assert np.isnan(spectral.alpha_req(point, point, spectra=(spectral.Spectrum(point),) * 2).value)


def test_centred_cosine_removes_the_mean_of_the_originals_from_both():
    a = gaussian(60, 12) + 10
    b = a + gaussian(60, 12, 1)
    one, other = a - a.mean(0), b - a.mean(0)
    expected = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    np.testing.assert_allclose(similarity.cosine_centred(a, b), expected)
    assert expected.mean() < 0.8
    assert similarity.cosine_centred(a, a - a.mean(0)).mean() < 0.5  # an offset counts
    tokens = similarity.cosine_centred(a.reshape(60, 3, 4), b.reshape(60, 3, 4))
    np.testing.assert_allclose(tokens, expected)
    b[5] = a.mean(0)
    with pytest.raises(ValueError, match="recalled embedding 5 is the originals' mean"):
        similarity.cosine_centred(a, b)


def test_sqnr_is_nmse_in_decibels():
    a, b = gaussian(5, 40), gaussian(5, 40) + 0.1
    np.testing.assert_allclose(sqnr(a, b), -10 * np.log10(nmse(a, b)))
    assert sqnr(a, a).tolist() == [np.inf] * 5


def test_phrases_are_those_of_the_definition():
    def brute(text):
        count = start = 0
        while start < len(text):
            size = 1
            while start + size <= len(text) and text[start : start + size] in text[: start + size - 1]:
                size += 1
            count, start = count + 1, start + size
        return count

    # Kaspar and Schuster 1987: 0 . 001 . 10 . 100 . 1000 . 101
    assert complexity.phrases(np.array(list("0001101001000101")) == "1") == 6
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 7, 8, 9, 17, 60, 150):
        for share in (0, 0.05, 0.5, 1):
            bits = rng.random(n) < share
            assert complexity.phrases(bits) == brute("".join("01"[int(b)] for b in bits)), (n, share)
    period = np.tile(rng.random(20) < 0.5, 5000)
    assert complexity.phrases(period) < 12


def test_complexity_of_random_and_of_constant_signs():
    a, b = gaussian(40, 768), np.ones((40, 768))
    recalled, original = complexity.lempel_ziv(a, b)
    assert original.mean() == pytest.approx(1.075, abs=0.02)
    assert (recalled == 2 * np.log2(768) / 768).all()
    with pytest.raises(ValueError, match="at least 2 elements"):
        complexity.lempel_ziv(a[:, :1], b[:, :1])


# the command


def signal(x, names=None):
    return Signal("embedding", x.astype(np.float32), names=names)


def compared(a, b, metrics, **options):
    comparison = Comparison(metrics, **options)
    for batch in pair([signal(x) for x in np.array_split(a, 3)], [signal(b)]):
        comparison.add(batch)
    return {r.metric: r for r in comparison.results()}, comparison


def test_one_triangle_a_set_serves_all(monkeypatch):
    made = []
    real = spectral.triangle
    monkeypatch.setattr(spectral, "triangle", lambda blocks: made.append(1) or real(blocks))
    a, b = gaussian(80, 30), gaussian(80, 30, 1)
    found, comparison = compared(a, b, ["geometry"], keep=True)
    spectra = comparison.spectra()
    assert len(made) == 2 and [s.n for s in spectra] == [80, 80]
    np.testing.assert_allclose(found["rankme-original"].mean, spectral.exp_entropy(spectra[0].raw))
    np.testing.assert_allclose(found["rankme"].mean, spectral.exp_entropy(spectra[1].raw))
    assert found["rankme"].name == "rankme[recalled]" and found["rankme-original"].name == "rankme[original]"
    assert found["cka"].name == "cka[linear,debiased]" and found["cka-biased"].name == "cka[linear,biased]"
    assert {key for key in found if not key.endswith(("-original", "-biased"))} == set(members("geometry"))
    assert not comparison.left_out


def test_the_group_leaves_out_what_a_set_is_too_small_for_and_a_name_does_not():
    a = gaussian(12, 20)
    found, comparison = compared(a, a, ["geometry"])
    assert set(comparison.left_out) == {"alpha-req@100", "condition"} and "rankme" in found
    with pytest.raises(LemError, match="--metric condition: 12 items cannot span 20"):
        compared(a, a, ["geometry", "condition"])
    with pytest.raises(LemError, match="geometry is for embedding, not image"):
        c = Comparison(["geometry"])
        image = Signal("image", np.zeros((3, 1, 4, 4), np.uint8))
        c.add(next(pair([image], [image])))


@pytest.fixture
def folder(tmp_path):
    x = gaussian(64, 24, decay=1).astype(np.float32)
    zero = x.copy()
    zero[5] = 0
    for name, data in {"a": x, "b": x + 0.1, "zero": zero, "few": x[:3], "one": x[:1], "narrow": x[:, :8]}.items():
        np.save(tmp_path / f"{name}.npy", data)
    return tmp_path


@pytest.mark.parametrize(
    "args, words",
    [
        ("a few", "3 pairs, but there are more originals"),
        ("few a", "3 pairs, but there are more recalled items"),
        ("a narrow", "item 0: original [24], recalled [8]"),
        ("a zero --metric cosine", "--metric cosine: embedding 5 is zero"),
        ("a zero --metric mutual-knn-cosine", "recalled embedding 5 is zero: it has no direction"),
        ("zero a --metric recall-cosine", "original embedding 5 is zero"),
        ("one one --metric rankme", "--metric rankme: a spectrum needs at least 2 items, not 1"),
        ("one one --metric cosine-centred", "at least 2 items"),
        ("few few --metric cka", "--metric cka: needs at least 4 items, not 3"),
        ("few few --metric condition", "3 items cannot span 24 dimensions"),
        ("narrow narrow --metric alpha-req", "fits eigenvalues 11 to at least 22; asked are 100, above 0 are 8"),
        ("a a --metric rank-me", "no metric 'rank-me'; near it: rankme"),
        ("a a --metric zzz", "no metric 'zzz'; lem-compare --help lists them"),
        ("a a --min geometry=1", "--min and --max take one metric each, not geometry"),
        ("a a --max all=1", "one metric each, not all"),
        ("a a --plot pca:p.jpg", "a picture is a PNG"),
        ("a a --plot umap --rows 3", "--rows and --fragment are for --plot sheet:FILE, not for umap"),
    ],
)
def test_one_line_says_what_is_wrong(folder, args, words):
    one, other, *rest = args.split()
    done = lem_fork("compare", f"{one}.npy", f"{other}.npy", *rest, cwd=folder)
    assert done.returncode == 2 and words in done.stderr.decode(), done.stderr
    assert done.stderr.decode().splitlines()[-1].startswith(("lem-compare: error: ", "Error: ")) and not done.stdout


def test_lines_and_frozen_keys(folder):
    done = lem_fork("compare", "a.npy", "b.npy", "--metric", "rankme", "--metric", "cka", "--json", cwd=folder)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["metric"] for line in lines] == ["rankme", "rankme-original", "cka", "cka-biased"]
    assert all(list(line) == ["metric", "name", "unit", "mean", "low", "high", "n"] for line in lines)
    done = lem_fork("compare", "a.npy", "b.npy", "--metric", "alpha-req@24", cwd=folder)
    assert [line.split(b"\t")[0] for line in done.stdout.splitlines()] == [
        b"alpha_req[recalled,11-24]",
        b"alpha_req[original,11-24]",
    ]
    done = lem_fork("compare", "a.npy", "a.npy", "--metric", "geometry", "--max", "rankme=3", cwd=folder)
    assert done.returncode == 1 and b"rankme is" in done.stderr
    done = lem_fork("compare", "zero.npy", "zero.npy", cwd=folder)  # unasked, its cosine is undefined
    assert done.returncode == 0 and done.stdout.split()[5:7] == [b"cosine", b"nan"]


# pictures


def test_pictures_of_embeddings(folder):
    pytest.importorskip("matplotlib")
    from PIL import Image

    for plot, file in (("p.png", "p.png"), ("pca", "pca.png"), ("pca:q.png", "q.png")):
        assert lem_fork("compare", "a.npy", "b.npy", "--plot", plot, cwd=folder).returncode == 0
        pixels = np.asarray(Image.open(folder / file).convert("RGB")).astype(int)
        assert pixels.shape[1] > 2 * 0.9 * pixels.shape[0]
        left, right = np.array_split(pixels, 2, axis=1)
        for half in left, right:
            blue, orange = half[..., 2] - half[..., 0] > 60, half[..., 0] - half[..., 2] > 60
            assert blue.sum() > 50 and orange.sum() > 50
    assert lem_fork("compare", "a.npy", "b.npy", "--plot", "sheet:s.png", cwd=folder).returncode == 0
    assert np.asarray(Image.open(folder / "s.png")).shape != pixels.shape
    assert lem_fork("compare", "a.npy", "b.npy", "--plot", "r.png", "--rows", "2", cwd=folder).returncode == 0
    np.save(folder / "point.npy", np.full((9, 1), 0.3, np.float32))
    assert lem_fork("compare", "point.npy", "point.npy", "--plot", "pca", cwd=folder).returncode == 0
    done = lem_fork("compare", "one.npy", "one.npy", "--plot", "pca", cwd=folder)
    assert done.returncode == 2 and b"error: --plot pca: a spectrum needs at least 2 items" in done.stderr


def test_points_are_coordinates_on_the_axes_of_the_originals():
    from lemtools.compare.scatter import plane

    a = gaussian(7000, 5, decay=3) + 4
    spectra = spectral.Spectrum(a), spectral.Spectrum(a + 1)
    one, other, caption = plane(spectra, "pca")
    axes = np.linalg.svd(a - a.mean(0), full_matrices=False)[2][:2]
    np.testing.assert_allclose(np.abs(one), np.abs((a - a.mean(0))[::3] @ axes.T), atol=1e-9)
    np.testing.assert_allclose(np.abs(other - one), np.abs(np.ones(5) @ axes.T)[None].repeat(len(one), 0), atol=1e-9)
    share = spectra[0].eigenvalues[:2] / spectra[0].eigenvalues.sum()
    assert "{:.1%} and {:.1%}".format(*share) in caption


def test_a_missing_extra_is_named(folder, monkeypatch):
    from lemtools.compare import scatter

    for missing, view, extra in (("matplotlib", "pca", "plot"), ("umap", "umap", "umap")):
        monkeypatch.setitem(sys.modules, "matplotlib", io)  # found, whether it is here or not
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(LemError, match=rf"--plot {view} needs {missing}: pip install 'lemtools\[{extra}\]'"):
            scatter.needed(view)
