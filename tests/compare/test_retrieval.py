"""Reciprocal ranks and CSLS by their definitions, sets of two widths, and --centre."""

import numpy as np
import pytest

from helpers.commands import lem_fork
from lemtools.compare import centred, geometry, measure, pair, retrieval, similarity
from lemtools.signal import LemError, Signal

rng = np.random.default_rng(7)


def cosines(b, a):
    return (b @ a.T) / np.linalg.norm(b, axis=1)[:, None] / np.linalg.norm(a, axis=1)


def noisy(n=60, d=5, noise=1.2, rng=rng):
    a = rng.standard_normal((n, d)) + 0.5
    return a, a + noise * rng.standard_normal((n, d))


@pytest.mark.parametrize("tile", [1 << 21, 7 * 60])
def test_reciprocal_ranks_are_their_definition(monkeypatch, tile):
    monkeypatch.setattr(retrieval, "TILE", tile)
    monkeypatch.setattr(geometry, "TILE", tile)
    a, b = noisy()
    near = cosines(b, a)
    ranks = [1 + sum(near[i, j] > near[i, i] for j in range(60)) for i in range(60)]
    assert 0.1 < np.mean(1 / np.array(ranks)) < 0.9
    np.testing.assert_allclose(retrieval.reciprocal_rank(a, b), 1 / np.array(ranks))


def test_ties_share_their_places():
    a = np.array([[1.0, 0], [2, 0], [3, 0], [0, 1], [0, 5], [-1, 0]])
    found = retrieval.reciprocal_rank(a, a)
    assert np.allclose(found, [(1 + 1 / 2 + 1 / 3) / 3] * 3 + [3 / 4] * 2 + [1])
    one = retrieval.reciprocal_rank(rng.standard_normal((500, 3)), np.ones((500, 3)) * [1, 2, 3])
    places = 1 / np.arange(1, 501)
    assert np.isclose(one.mean(), places.mean())  # all recalled alike: chance
    assert np.isclose(retrieval.reciprocal_rank(np.ones((9, 2)), np.ones((9, 2))).mean(), (1 / np.arange(1, 10)).mean())


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("n", [400, 7])
def test_csls_is_its_definition(k, n):
    a, b = noisy(n, noise=2.5, rng=np.random.default_rng(3))  # (noise at which the number of neighbours decides)
    near = cosines(b, a)
    m = min(10, n)
    r_b, r_a = (np.sort(tile, axis=1)[:, -m:].mean(1) for tile in (near, near.T))
    csls = 2 * near - r_b[:, None] - r_a
    kept = (csls > csls.diagonal()[:, None]).sum(1) < k
    assert np.array_equal(retrieval.recall_csls(a, b, k=k), kept) and 0 < kept.mean() < 1
    assert (
        n == 7 or k == 1 or (kept != geometry.recall_cosine(a, b, k=k)).any()
    )  # it differs from recall by cosine here


def test_a_hub_is_nobodys():
    """An original that lies in the middle of all takes every recalled item by cosine, and none by CSLS."""
    a = np.eye(12)[:, :11] + 0.0
    a[11] = 1
    b = a + 0.5 * a[11]
    b[:11] = np.eye(11) + 0.35
    assert geometry.recall_cosine(a, b)[:11].mean() == 0 and retrieval.recall_csls(a, b)[:11].mean() == 1


def test_bad_sets():
    a, b = noisy()
    for metric in (retrieval.reciprocal_rank, retrieval.recall_csls):
        with pytest.raises(ValueError, match="recalled embedding 3 is zero"):
            metric(a, np.where(np.arange(60)[:, None] == 3, 0, b))
        with pytest.raises(ValueError, match="shapes differ"):
            metric(a, b[:, :4])
    with pytest.raises(ValueError, match="k must be"):
        retrieval.recall_csls(a, b, k=60)


# --- two widths


def test_neighbours_and_cka_compare_sets_of_two_widths():
    a, _ = noisy(80)
    turned = np.hstack([a, np.zeros((80, 3))]) @ np.linalg.qr(rng.standard_normal((8, 8)))[0]
    assert geometry.mutual_knn(a, turned, k=5).mean() == geometry.mutual_knn_cosine(a, turned, k=5).mean() == 1
    assert similarity.cka(a, turned).value == pytest.approx(1) == similarity.cka(a, turned).beside
    other = rng.standard_normal((80, 3))
    mine = np.hstack([other, np.zeros((80, 2))])  # the same geometry in the width of a
    assert np.array_equal(geometry.mutual_knn(a, other), geometry.mutual_knn(a, mine))
    assert similarity.cka(a, other).value == pytest.approx(similarity.cka(a, mine).value)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    here = tmp_path_factory.mktemp("retrieval")
    a, b = noisy()
    np.save(here / "a.npy", a.astype(np.float32))
    np.save(here / "b.npy", b.astype(np.float32))
    np.save(here / "wide.npy", np.hstack([b, b]).astype(np.float32))
    np.save(here / "photos.npy", rng.integers(0, 255, (2, 3, 8, 8), np.uint8))
    return here


def test_the_commands_lines(bench):
    done = lem_fork("compare", "--metric", "recall-csls,recall-csls@5,mrr", "a.npy", "b.npy", cwd=bench)
    assert [line.split("\t")[0] for line in done.stdout.decode().splitlines()] == [
        "recall@1[csls10]",
        "recall@5[csls10]",
        "mrr[cosine]",
    ]
    done = lem_fork("compare", "--metric", "geometry", "a.npy", "wide.npy", cwd=bench)
    assert done.returncode == 0 and [line.split("\t")[0] for line in done.stdout.decode().splitlines()] == [
        "mutual_knn[k10]",
        "mutual_knn[cosine,k10]",
        "cka[linear,debiased]",
        "cka[linear,biased]",
    ]


REFUSED = {
    "a.npy wide.npy": "original [5], recalled [10]; mutual-knn, mutual-knn-cosine, cka, rsa, linear-predictivity, nc1, mmcr and ami compare sets of two widths",
    "--metric cosine a.npy wide.npy": "original [5], recalled [10]",
    "--metric mutual-knn --plot p.png a.npy wide.npy": "a picture is of two sides of one width",
    "--centre photos.npy photos.npy": "--centre is for embeddings, not image",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_measured(bench, line):
    done = lem_fork("compare", *line.split(), cwd=bench)
    said = done.stderr.decode()
    assert (
        done.returncode == 2 and said.count("\n") == 1 and REFUSED[line] in said and not (bench / "p.png").exists()
    ), said


def test_centred_is_less_the_mean_of_the_originals(bench):
    a, b = np.load(bench / "a.npy"), np.load(bench / "b.npy")
    halves = [Signal("embedding", a[:20]), Signal("embedding", a[20:])]
    pairs = list(centred(pair(halves, [Signal("embedding", b)])))
    assert len(pairs) == 2 and all(p.a.dtype == np.float32 for p in pairs)
    assert np.allclose(np.concatenate([p.a for p in pairs]), a - a.mean(0), atol=1e-6)
    assert np.allclose(np.concatenate([p.b for p in pairs]), b - a.mean(0), atol=1e-6)
    wide = next(centred(pair([Signal("embedding", a)], [Signal("embedding", np.hstack([b, b]))])))
    assert np.allclose(wide.b, np.hstack([b - b.mean(0)] * 2), atol=1e-6)
    found = {r.name: r.mean for r in measure(Signal("embedding", a), Signal("embedding", b), "cosine,mrr", centre=True)}
    assert found["mrr[cosine][centred]"] == pytest.approx(
        retrieval.reciprocal_rank(a - a.mean(0), b - a.mean(0)).mean()
    )
    (plain,) = measure(Signal("embedding", a), Signal("embedding", b), "cosine-centred")
    assert found["cosine[centred]"] == pytest.approx(plain.mean)
    done = lem_fork("compare", "--centre", "--metric", "mrr", "a.npy", "b.npy", cwd=bench)
    name, mean, *_ = done.stdout.decode().split("\t")
    assert name == "mrr[cosine][centred]" and float(mean) == pytest.approx(found[name], rel=1e-5)


def test_centred_refuses_items_of_several_shapes():
    x = [Signal("embedding", np.ones((2, 3), np.float32)), Signal("embedding", np.ones((2, 4), np.float32))]
    with pytest.raises(LemError, match="items of one shape"):
        list(centred(pair(x, x)))
