"""Probes, neural collapse, class means and clusters: definitions, known answers, chance, and what is refused."""

import itertools

import numpy as np
import pytest

import lemtools
from helpers.commands import lem_fork
from lemtools.compare import classes as module
from lemtools.compare import ridge
from lemtools.compare.classes import ami, mmcr, nc1, probe
from lemtools.compare.clusters import _starts, adjusted_mutual_information, k_means
from lemtools.rng import generator
from lemtools.signal import Signal

C = 4


def clouds(apart, n=200, d=12, seed=0):
    """(x [n, d], classes [n]): Gaussians about C points."""
    rng = np.random.default_rng(seed)
    by = rng.permutation(np.arange(n) % C)
    return rng.standard_normal((n, d)) + apart * np.eye(d)[:C][by], by


X, BY = clouds(3)
SHUFFLED = np.random.default_rng(5).permutation(BY)


def means(values):
    return [float(np.mean(v)) for v in values]


# --- the probe


def test_a_probe_is_ridge_regression_of_one_number_a_class(monkeypatch):
    """With one penalty, by the normal equations, fold by fold."""
    monkeypatch.setattr(ridge, "PENALTIES", np.array([0.5]))
    z = X + np.random.default_rng(1).standard_normal(X.shape)
    order = generator(0, 0, 0, "probe").permutation(len(X))
    fold = module._folds(X, BY, list(range(C)), order)
    expected = np.zeros((3, len(X)))
    for k in range(5):
        out, rest = fold == k, fold != k

        def fitted(x):
            x, y = x[rest], np.eye(C)[BY[rest]]
            gram = (x - x.mean(0)).T @ (x - x.mean(0))
            w = np.linalg.solve(gram + 0.5 * np.trace(gram) / 12 * np.eye(12), (x - x.mean(0)).T @ (y - y.mean(0)))
            return lambda new: ((new - x.mean(0)) @ w + y.mean(0)).argmax(1) == BY[out]

        expected[:, out] = fitted(X)(z[out]), fitted(z)(z[out]), fitted(X)(X[out])
    np.testing.assert_array_equal(probe(X, z, classes=BY)[:3], expected)
    assert 0.5 < expected[0].mean() < expected[2].mean() < 1


def test_one_penalty_for_all_classes_and_each_set_has_its_own(monkeypatch):
    rng = np.random.default_rng(7)
    x = rng.standard_normal((100, 40))
    y = np.stack([10 * x[:, 0], rng.standard_normal(100)], 1)
    apart, joint = ridge.penalties(x, y), ridge.penalties(x, y, joint=True)
    assert apart[0] < apart[1] and joint[0] == joint[1]
    errors = [0.0] * len(ridge.PENALTIES)
    for out, rest in ridge.apart(np.arange(100)):
        for i, made in enumerate(ridge.every(x[rest], y[rest], x[out])):
            errors[i] += ((made - y[out]) ** 2).sum()
    assert joint[0] == np.argmin(errors)
    used = []

    def places(x, y, joint):
        assert joint
        return np.full(y.shape[1], int(16 * x[0, -1]))

    def predicted(x, y, new, which):
        used.append((int(16 * x[0, -1]), int(which[0]), {*(16 * new[:, -1]).astype(int)}))
        return np.zeros((len(new), C))

    monkeypatch.setattr(module, "penalties", places)
    monkeypatch.setattr(module, "predicted", predicted)
    probe(np.c_[X, np.full(200, 3)], np.c_[X, np.full(200, 8)], classes=BY)
    assert used == 5 * [(3, 3, {3, 8}), (8, 8, {8})]


@pytest.mark.parametrize("exponent", [-600, 600])
def test_no_size_of_numbers_is_too_large_or_small(exponent):
    x, by = X[:80], BY[:80]
    z = x + np.random.default_rng(1).standard_normal(x.shape)
    sides = [np.ldexp(side, exponent) for side in (x, z)]
    for metric in probe, nc1, mmcr, ami:
        np.testing.assert_array_equal(metric(*sides, classes=by), metric(x, z, classes=by))


def test_a_classifier_of_originals_sees_recalled_items_at_their_own_size():
    x, by = clouds(3)
    x += 4  # (so that what is shrunk lies elsewhere)
    full, small = (means(probe(x, size * x, classes=by)) for size in (1, 2.0**-5))
    assert small[0] < full[0] - 0.3 and small[1:] == full[1:]


def test_folds_hold_all_classes_and_copies_together():
    twice = np.concatenate([X, X[:30]])
    by = np.concatenate([BY, BY[:30]])
    fold = module._folds(twice, by, list(range(C)), np.random.default_rng(0).permutation(230))
    assert (fold[200:] == fold[:30]).all()
    for k in range(5):
        assert np.bincount(by[:200][fold[:200] == k]).tolist() == [10] * C


def test_copies_do_not_help_a_probe():
    """Labels that mean nothing, each item there twice: in two folds, its copy would tell."""
    rng = np.random.default_rng(3)
    x, by = rng.standard_normal((60, 200)), rng.integers(0, 2, 60)
    found = probe(np.repeat(x, 2, 0), np.repeat(x, 2, 0), classes=np.repeat(by, 2))
    assert all(value < 0.66 for value in means(found[:3]))


def test_what_is_far_apart_is_found_and_a_fit_on_originals_misses_a_mirror():
    x, by = clouds(40)
    assert means(probe(x, x, classes=by)[:3]) == [1, 1, 1]
    fitted, again, original, majority = means(probe(x, -x, classes=by))
    assert again == original == 1 and fitted < 0.5 and 0.2 < majority <= 0.25


@pytest.mark.parametrize("n", [200, 2000])
def test_shuffled_labels_are_at_chance(n):
    x, by = clouds(3, n=n)
    by = np.random.default_rng(1).permutation(by)
    share = 4 * np.sqrt(0.25 * 0.75 / n)
    assert all(abs(value - 0.25) < share for value in means(probe(x, x, classes=by)[:3]))
    assert all(abs(value) < 0.02 for value in ami(x, x, classes=by, k=C))
    for measure in nc1, mmcr:
        recalled, original, chance = measure(x, x, classes=by)
        assert recalled == original == pytest.approx(chance, rel=0.5)


def test_the_majority_is_the_most_frequent_class():
    by = np.where(np.arange(200) < 150, 7, BY)
    assert means(probe(X, X, classes=by))[3] == 0.75


def test_the_majority_is_that_of_the_other_folds():
    """11 items of class 1 and 10 of class 0: without the fold that has one more of class 1 there are as many, and 0 comes first."""
    by = np.arange(21) % 2 == 0
    fold = module._folds(X[:21], by.astype(int), [0, 1], generator(0, 0, 0, "probe").permutation(21))
    tied = np.bincount(fold[by], minlength=5) == 3
    assert tied.sum() == 1
    assert (probe(X[:21], X[:21], classes=by.astype(int))[3] == np.where(tied[fold], ~by, by)).all()


# --- the spread


def test_nc1_is_a_trace_with_a_pseudo_inverse():
    z = X @ np.random.default_rng(1).standard_normal((12, 20))
    uneven = np.where(np.arange(200) < 90, 2, BY)
    for by, (recalled, original, _) in [
        (BY, nc1(X, z, classes=BY)),
        (BY, nc1(X, z, classes=10 * BY + 3)),
        (uneven, nc1(X, z, classes=uneven)),
    ]:
        for x, value in (X, original), (z, recalled):
            m = np.array([x[by == c].mean(0) for c in range(C)])
            within = (x - m[by]).T @ (x - m[by]) / len(x)
            between = (m - x.mean(0)).T @ (m - x.mean(0)) / C
            assert value == pytest.approx(np.trace(within @ np.linalg.pinv(between, rcond=1e-9)) / C)


def test_nc1_of_known_sets():
    points = np.eye(6)[BY]
    assert nc1(points, points, classes=BY)[0] == pytest.approx(0, abs=1e-12)
    # two classes at +-2, deviation 1: S_within over S_between = 1/4, over C = 2
    x = np.array([[2 + s, 0.0] for s in (1, -1)] + [[-2 + s, 0.0] for s in (1, -1)])
    assert nc1(x, 3 * x + 5, classes=np.array([0, 0, 1, 1]))[:2] == pytest.approx((0.125, 0.125))
    assert np.isnan(nc1(x, x[[0, 0, 0, 0]], classes=np.array([0, 0, 1, 1]))[0])


def test_mmcr_is_a_nuclear_norm_and_reaches_its_bound():
    z = X[:, :7]
    recalled, original, _ = mmcr(X, z, classes=BY)
    for x, value in (X, original), (z, recalled):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        m = np.array([unit[BY == c].mean(0) for c in range(C)])
        assert value == pytest.approx(np.sqrt(np.linalg.eigvalsh(m @ m.T)).sum())
    points = np.eye(6)[BY]
    assert mmcr(points, 9 * points, classes=BY)[:2] == pytest.approx((C, C))  # sqrt(C min(C, D))
    assert mmcr(points, np.ones((200, 1)), classes=BY)[0] == pytest.approx(np.sqrt(C))


def test_shuffled_labels_stand_beside():
    for measure, better in (nc1, np.less), (mmcr, np.greater):
        recalled, original, chance = measure(X, X + 0, classes=BY)
        assert recalled == original and better(recalled, chance)
        dealt = [measure(X, X, classes=generator(s, 0, 0, "classes").permutation(BY))[0] for s in range(10)]
        assert chance == pytest.approx(np.mean(dealt))


# --- clusters


def mutual(u, v):
    n = len(u)
    pairs = [(np.mean((u == i) & (v == j)), np.mean(u == i), np.mean(v == j)) for i in set(u) for j in set(v)]
    return sum(p * np.log(p / q / r) for p, q, r in pairs if p) if n else 0


@pytest.mark.parametrize(
    "u, v", [("aabbcc", "xxyyyx"), ("aaabbc", "xyxyzz"), ("aaaaab", "xxyzzz"), ("abcdef", "xxxyyy")]
)
def test_adjusted_mutual_information_is_about_all_deals(u, v):
    u, v = (np.unique(list(x), return_inverse=True)[1] for x in (u, v))
    expected = np.mean([mutual(u, v[list(deal)]) for deal in itertools.permutations(range(6))])
    most = (mutual(u, u) + mutual(v, v)) / 2
    assert adjusted_mutual_information(u, v) == pytest.approx((mutual(u, v) - expected) / (most - expected))


def test_adjusted_mutual_information_of_what_is_the_same():
    assert adjusted_mutual_information(BY, 7 - BY) == pytest.approx(1)
    assert adjusted_mutual_information(BY, np.zeros(200, int)) == pytest.approx(0)
    assert adjusted_mutual_information(np.zeros(5, int), np.ones(5, int)) == 1


def test_adjusted_mutual_information_beside_scikit_learn():
    score = pytest.importorskip("sklearn.metrics").adjusted_mutual_info_score
    rng = np.random.default_rng(0)
    for n in 20, 300, 2000:
        u = rng.integers(0, 9, n)
        v = np.where(rng.random(n) < 0.3, u, rng.integers(0, 13, n))
        assert adjusted_mutual_information(u, v) == pytest.approx(score(u, v), abs=1e-12)


def test_k_means_ends_where_each_is_nearest_to_its_own_mean():
    for seed in range(5):
        found = k_means(X, 6, generator(seed, 0, 0, "classes"))
        m = np.array([X[found == c].mean(0) for c in range(6)])
        assert (((X[:, None] - m) ** 2).sum(2).argmin(1) == found).all()


def test_starts_are_drawn_by_squared_distances():
    """k-means++ (Arthur and Vassilvitskii 2007): how often a lone item far away is the second start, against its share of the squared distances."""
    x = np.concatenate([np.random.default_rng(0).normal(0, 1, (60, 1)), [[10.0]]])
    square, drawn, expected = (x**2).sum(1), 0.0, 0.0
    for seed in range(400):
        first, second = _starts(x, square, 2, np.random.default_rng(seed))
        if first[0] != 10:
            near = (x - first)[:, 0] ** 2
            expected += near[60] / near.sum()
            drawn += second[0] == 10
    assert 100 < expected < 350 and abs(drawn - expected) < 4 * np.sqrt(expected * 0.5)


def test_k_means_finds_what_is_far_apart_and_leaves_no_cluster_empty():
    x, by = clouds(100)
    assert ami(x, -x, classes=by, k=C) == pytest.approx((1, 1))
    few = np.repeat(np.arange(5.0), 40)[:, None] ** 3
    for k in 1, 4, 5:
        found = k_means(few, k, generator(0, 0, 0, "classes"))
        assert len(np.unique(found)) == k


def test_ami_is_the_mean_of_ten_starts():
    x, by = clouds(2)
    found = [adjusted_mutual_information(by, k_means(x, 7, generator(s, 0, 0, "classes"))) for s in range(10)]
    assert ami(x, x, classes=by, k=7)[0] == pytest.approx(np.mean(found)) and np.std(found) > 0


# --- refusals, and the command


@pytest.mark.parametrize(
    "measure, a, by, said",
    [
        (probe, X, BY[:-1], "199 labels for 200 items"),
        (nc1, X, np.zeros(200, int), "all items are of one class"),
        (mmcr, X, np.ones(200, int), "all items are of one class"),
        (ami, X, np.ones(200, int), "all items are of one class"),
        (probe, X[:20], np.arange(20) // 4, "class 0 has 4 items that no other equals; it needs 5, one for each fold"),
        (probe, np.repeat(X[:8], 3, 0), np.repeat(BY[:8] // 2, 3), "items that no other equals"),
        (nc1, X, np.where(np.arange(200) == 3, 9, BY), "class 9 has one item"),
        (mmcr, np.where(np.arange(200)[:, None] == 3, 0, X), BY, "original 3 is zero"),
        (probe, np.full((200, 2), np.nan), BY, "not finite"),
        (ami, X[:8], BY[:8], "10 clusters of 8 items that differ; ask for at most 8, as in ami@8"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured(measure, a, by, said):
    with pytest.raises(ValueError, match=said):
        measure(a, a, classes=by)


def test_a_probe_wants_one_width():
    with pytest.raises(ValueError, match="a classifier of 12 numbers cannot judge 5"):
        probe(X, X[:, :5], classes=BY)


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, names = X.astype(np.float32), [f"{'abcd'[k]}/v{i}.wav" for i, k in enumerate(BY)]
    np.save("x.npy", x)
    np.save("y.npy", np.sign(x))
    np.save("l.npy", BY)
    np.save("few.npy", BY[:-1])
    np.save("one.npy", 0 * BY)
    lemtools.save([Signal("embedding", x, names=names)], "named.safetensors")
    lemtools.save([Signal("embedding", x, label=BY)], "labelled.safetensors")
    rows = [f"{name}\t{'wxyz'[k]}\tm" for name, k in zip(names, BY)]
    (tmp_path / "l.tsv").write_text("name\tclass\twho\n" + "\n".join(rows) + "\n")
    return tmp_path


ASKED = ("--metric", "probe,nc1,mmcr,ami@4")


def test_classes_by_order_by_name_by_folder_and_with_the_items_are_the_same(there):
    outs = [
        lem_fork("compare", *ASKED, *line.split(), "y.npy")
        for line in (
            "--labels l.npy x.npy",
            "--labels l.npy --batch 7 x.npy",
            "--labels l.tsv:class named.safetensors",
            "--labels folder named.safetensors",
            "labelled.safetensors",
            "--batch 7 labelled.safetensors",
        )
    ]
    assert {(done.returncode, done.stderr, done.stdout) for done in outs} == {(0, b"", outs[0].stdout)}
    rows = {line.split("\t")[0]: line.split("\t") for line in outs[0].stdout.decode().splitlines()}
    assert [*rows] == (
        "probe[fitted] probe[refitted] probe[original] probe[majority] nc1[recalled] nc1[original] nc1[shuffled] "
        "mmcr[recalled] mmcr[original] mmcr[shuffled] ami[k4,recalled] ami[k4,original]"
    ).split()
    name, mean, low, high, n = rows["probe[fitted]"]
    assert 0 < float(low) < float(mean) < float(high) < 1 and n == "200"
    assert rows["nc1[recalled]"][2:] == ["-", "-", "200"]
    frame = lemtools.compare("x.npy", "y.npy", "probe,ami@4", labels=["wxyz"[k] for k in BY])
    assert f"{frame['probe']:.7g}" == mean and f"{frame['ami@4']:.7g}" == rows["ami[k4,recalled]"][1]
    assert lemtools.compare("x.npy", "y.npy", "probe", labels="l.npy")["probe"] == frame["probe"]


def test_a_class_is_called_as_its_user_calls_it(there):
    rows = [f"{i}\t{'dog' if i < 4 else 'cat'}" for i in range(200)]
    (there / "words.tsv").write_text("name\tclass\n" + "\n".join(rows) + "\n")
    for metric, said in ("probe", "class dog has 4 items that no other equals"), ("nc1", None):
        done = lem_fork("compare", "--metric", metric, "--labels", "words.tsv", "x.npy", "y.npy")
        assert done.returncode == (2 if said else 0) and (said or "") in done.stderr.decode()
    alone = ["dog", *["cat"] * 199]
    with pytest.raises(lemtools.LemError, match="nc1: class dog has one item"):
        lemtools.compare("x.npy", "y.npy", "nc1", labels=alone)
    with pytest.raises(lemtools.LemError, match="probe: class dog has 1 item that"):
        lemtools.compare("x.npy", "y.npy", "probe", labels=alone)


def test_the_two_uses_of_labels_do_not_mix(there):
    for line, said in {
        f"{ASKED[0]} probe x.npy y.npy": "--metric probe needs the classes of the originals: --labels FILE[:COLUMN]",
        f"{ASKED[0]} probe --labels few.npy x.npy y.npy": "few.npy: 199 labels for 200 items",
        f"{ASKED[0]} nc1 --labels one.npy x.npy y.npy": "--metric nc1: all items are of one class",
        f"{ASKED[0]} ami --labels l.tsv x.npy y.npy": "l.tsv has several columns, class, who: name one",
        f"{ASKED[0]} ami --labels l.tsv:class x.npy y.npy": "l.tsv: no row of 0; every item needs one, by its name or path",
        f"{ASKED[0]} AMI@3 --labels l.npy --by class x.npy y.npy": "--by is for --labels FILE without --metric ami@3",
        f"{ASKED[0]} probe --labels folder x.npy y.npy": "items that lie in no folders",
        f"{ASKED[0]} probe --labels l.npy x.npy": "Missing argument 'RECALLED'",
        "--metric purity --labels l.npy x.npy y.npy": "--labels needs --by COLUMN",
        "--metric probe --labels none.npy x.npy y.npy": "none.npy: No such file",
    }.items():
        done = lem_fork("compare", *line.split())
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.decode().splitlines()[-1].startswith(f"lem-compare: error: {said}"), done.stderr
