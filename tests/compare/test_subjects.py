"""Sets beside the dissimilarities of subjects: definitions, the noise ceiling, and what is refused."""

import itertools

import numpy as np
import pytest

import lemtools
from helpers.commands import lem_fork
from lemtools.compare import measure
from lemtools.compare.correlation import ranks
from lemtools.compare.representations import dissimilarities, rsa
from lemtools.compare.subjects import Subjects
from lemtools.signal import LemError, Signal

RNG = np.random.default_rng(0)
N = 9
PAIRS = list(itertools.combinations(range(N), 2))


def square(pairs):
    """[N, N] of one number a pair."""
    out = np.zeros((N, N))
    for (i, j), value in zip(PAIRS, pairs):
        out[i, j] = out[j, i] = value
    return out


def spearman(x, y):
    return np.corrcoef([sum(v < w for v in x) + (sum(v == w for v in x) + 1) / 2 for w in x], ranks(np.asarray(y)))[
        0, 1
    ]


TRUE = RNG.random(len(PAIRS))
SAID = np.round((TRUE + RNG.normal(0, 0.3, (5, 2, len(PAIRS)))) * 128) / 128  # (some are equal, and means are exact)
RDM = np.array([[square(session) for session in subject] for subject in SAID])
X, Y = RNG.standard_normal((N, 6)), RNG.standard_normal((N, 4))


def test_each_set_is_held_against_each_subject():
    found = rsa(X, Y, rdm=Subjects(RDM, "it.npy"))
    assert found[:2] == list(rsa(X, Y)[:2])
    for side, at in (Y, 2), (X, 3):
        own = [1 - np.corrcoef(side[i], side[j])[0, 1] for i, j in PAIRS]
        expected = [spearman(own, said.mean(0)) for said in SAID]
        np.testing.assert_allclose(found[at].values, expected, atol=1e-12)
    np.testing.assert_allclose(found[4].values, found[2].values - found[3].values)
    assert found[2].names == [f"subject {s}" for s in range(5)]


def test_means_over_sessions_tie_where_the_sessions_are_the_same_in_another_order():
    """.1 + .2 + .3 is not .3 + .2 + .1 in float64."""
    sessions = np.tile([0.1, 0.2, 0.3], (len(PAIRS), 1)).T.copy()
    sessions[:, ::2] = sessions[::-1, ::2]
    sessions[:, :3] += np.arange(3) * 1000.0
    assert len({*sessions.mean(0)[3:]}) == 2
    found = Subjects(np.stack([square(session) for session in sessions])[None], "x").ranks[0]
    assert np.ptp(found[3:]) < 1e-12 < np.ptp(found)


def test_the_ceiling_is_leave_one_out_below_and_the_mean_above():
    each = [ranks(said.mean(0)) for said in SAID]
    each = [(r - r.mean()) / r.std() for r in each]
    lower = [np.corrcoef(r, sum(each) - r)[0, 1] for r in each]
    upper = [np.corrcoef(r, sum(each))[0, 1] for r in each]
    subjects = Subjects(RDM, "it.npy")
    np.testing.assert_allclose(subjects.ceiling, [lower, upper], atol=1e-12)
    assert np.mean(lower) < np.mean(upper)
    rng, most = np.random.default_rng(1), np.mean(upper)
    for near in 0.0, 0.02, 0.2:  # nothing is above it, however near to the best
        for _ in range(50):
            other = sum(each) + near * rng.standard_normal(len(PAIRS)) * 10
            assert subjects.beside(ranks(other)).mean() <= most + 1e-12


def test_subjects_who_agree_have_a_ceiling_of_1_and_the_truth_reaches_it():
    found = rsa(X, X, rdm=Subjects(np.stack([square(dissimilarities(X, True, "x"))] * 4), "it.npy"))
    assert [each.values.tolist() for each in found[2:]] == [pytest.approx([v] * 4) for v in (1, 1, 0, 1, 1)]


def test_strangers_are_at_nothing_and_noisy_subjects_below_their_ceiling():
    rng, n = np.random.default_rng(2), 60
    upper = np.triu_indices(n, 1)
    x = rng.standard_normal((n, 40))
    rdm = np.zeros((6, n, n))
    for each in rdm:
        each[upper] = dissimilarities(x, True, "x") + rng.normal(0, 0.3, len(upper[0]))
        each += each.T
    subjects = Subjects(rdm, "it.npy")
    found = rsa(x, rng.standard_normal((n, 40)), rdm=subjects)
    assert abs(found[2].values.mean()) < 0.05
    low, high = (each.values.mean() for each in found[5:])
    assert low < found[3].values.mean() < high  # the true one is between them


def test_two_subjects_have_means_but_no_interval():
    rdm = np.array([[square(session) for session in subject] for subject in SAID[:2]])
    found = measure(Signal("embedding", X), Signal("embedding", Y), "rsa", rdm=Subjects(rdm, "it.npy"))
    assert [(one.low, one.high) for one in found[2:]] == [(None, None)] * 5 and len(found[2].values) == 2
    third = measure(Signal("embedding", X), Signal("embedding", Y), "rsa", rdm=Subjects(RDM[:3], "it.npy"))
    assert all(one.low < one.mean < one.high for one in third[2:])


def test_one_subject_has_no_ceiling():
    assert len(rsa(X, Y, rdm=Subjects(RDM[0, 0], "it.npy"))) == 5


def changed(at, value):
    out = RDM.copy()
    out[at] = value
    return out


@pytest.mark.parametrize(
    "rdm, said",
    [
        (RDM[..., :5], "not square"),
        (RDM[0, 0, :, 0], "not square"),
        (RDM[None], "not square; they are"),
        (changed((2, 1, 3, 4), 9.0), "subject 2 is not symmetric: a pair has one dissimilarity"),
        (changed((1, 0, 3, 3), 1.0), "subject 1 has a diagonal that is not 0; of similarities take 1 less each"),
        (changed((4, 0, 5, 3), np.nan), "subject 4 has dissimilarities that are not finite"),
        (changed(3, square(np.ones(len(PAIRS)))), "subject 3 finds all pairs of items as unlike"),
        (RDM[..., :1, :1], "subject 0 finds all pairs"),
    ],
)  # fmt: skip
def test_what_are_no_dissimilarities(rdm, said):
    with pytest.raises(LemError, match=f"^it.npy: .*{said}"):
        Subjects(rdm, "it.npy")


def test_a_diagonal_of_nan_is_none():
    assert Subjects(changed((..., range(N), range(N)), np.nan), "x").ranks == pytest.approx(Subjects(RDM, "x").ranks)


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X.astype(np.float32))
    np.save("y.npy", Y.astype(np.float32))
    np.save("it.npy", RDM)
    return tmp_path


def test_the_command_prints_subjects_with_intervals(there):
    done = lem_fork("compare", "--metric", "rsa", "--rdm", "it.npy", "x.npy", "y.npy")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    wanted = "correlation cosine recalled-to-subjects original-to-subjects recalled-less-original ceiling-lower ceiling-upper"
    assert [line[0] for line in lines] == [f"rsa[{of}]" for of in wanted.split()]
    assert [line[4] for line in lines] == ["9", "9", *"55555"] and lines[0][2] == "-"
    for _, mean, low, high, _ in lines[2:]:
        assert -1 < float(low) < float(mean) < float(high) < 1
    items = lem_fork("compare", "--metric", "rsa", "--rdm", "it.npy", "--items", "x.npy", "y.npy").stdout.decode()
    assert "\tsubject 4\n" in items
    for given in RDM, "it.npy", there / "it.npy":
        rows = lemtools.compare("x.npy", "y.npy", "rsa", rdm=given).rows()
        assert [f"{row['mean']:.7g}" for row in rows] == [line[1] for line in lines]


def test_files_in_fortran_order_and_of_another_order_of_bytes_are_the_same(there):
    np.save("f.npy", np.asfortranarray(RDM))
    np.save("s.npy", RDM.astype(">f8"))
    outs = [
        lem_fork("compare", "--metric", "rsa", "--rdm", f"{x}.npy", "x.npy", "y.npy").stdout for x in ("it", "f", "s")
    ]
    assert outs[0] == outs[1] == outs[2] != b""


def test_what_is_refused_in_one_line(there):
    np.save("few.npy", RDM[..., :8, :8])
    np.save("flat.npy", RDM[0, 0, 0])
    np.save("words.npy", np.array([["a", "b"]]))
    (there / "cut.npy").write_bytes((there / "it.npy").read_bytes()[:-3])
    (there / "more.npy").write_bytes((there / "it.npy").read_bytes() + b"x")
    (there / "text.npy").write_text("0 1\n1 0\n")
    for line, said in {
        "--metric rsa --rdm few.npy": "few.npy: dissimilarities of 8 items, and here are 9; they are of the same, in their order",
        "--metric rsa --rdm flat.npy": "flat.npy: float64 [9]; dissimilarities are real numbers [S, N, N] or",
        "--metric rsa --rdm words.npy": "words.npy: <U1 [1, 2]; dissimilarities are real numbers",
        "--metric rsa --rdm cut.npy": "cut.npy: cut short; save it again",
        "--metric rsa --rdm more.npy": "more.npy: goes on after its array; save it again",
        "--metric rsa --rdm text.npy": "text.npy: no npy file; save dissimilarities [S, N, N] or",
        "--metric rsa --rdm none.npy": "none.npy: No such file or directory",
        "--metric cka --rdm it.npy": "--rdm is for --metric rsa",
    }.items():
        done = lem_fork("compare", *line.split(), "x.npy", "y.npy")
        assert done.returncode == 2 and done.stdout == b""
        first = done.stderr.decode().splitlines()[-1]
        assert first.startswith(f"lem-compare: error: {said}"), first
    done = lem_fork("compare", "--labels", "l", "--by", "a", "--leave", "b", "--rdm", "it.npy", "x.npy")
    assert done.returncode == 2 and b"--rdm is for pairs of items, not for --labels" in done.stderr


def test_images_are_all_their_pixels():
    images = np.random.default_rng(3).integers(0, 256, (N, 3, 4, 5), np.uint8)
    assert rsa(images, images // 32) == rsa(*(x.reshape(N, -1).astype(float) for x in (images, images // 32)))
