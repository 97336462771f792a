"""Sets of labelled embeddings: every number by its definition, and what may be said of it."""

import warnings
from itertools import combinations

import numpy as np
import pytest

from lemtools.compare import labelled, separation, shifts
from lemtools.compare.groups import Groups, groups
from lemtools.compare.labelled import Asked, measure
from lemtools.compare.resampling import RESAMPLES, holm, interval, resamples
from lemtools.compare.shrinkage import ledoit_wolf
from lemtools.media.label_table import LabelTable
from lemtools.signal import LemError, Signal

CLASSES = ["anger", "joy", "neutral"]
RNG = np.random.default_rng(7)


def made(speakers=6, each=4, dims=3, spread=1.0, apart=2.0, seed=0, by_side=0.0, name="a") -> Groups:
    """Speakers with means, classes with shifts; the second half of the speakers has `by_side` more of them."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(speakers), 3 * each)
    by = np.tile(np.repeat(np.arange(3), each), speakers)
    side = (np.arange(speakers) >= speakers // 2).astype(int)
    far = np.array([1.0, -1.0, 0.0])[by, None] * np.ones(dims) * (apart + by_side * side[who])[:, None]
    x = 3 * rng.standard_normal((speakers, dims))[who] + far + spread * rng.standard_normal((len(who), dims))
    return Groups(name, x, by, who, CLASSES, [f"s{i}" for i in range(speakers)], side, ("f", "m"))


def once(groups):
    return np.ones((1, len(groups.speakers)))


# --- covariance


def brute_ledoit_wolf(x):
    """Definitions 1 to 4 and lemma 3.4 of the paper, items one by one."""
    n, dims = x.shape
    sample = sum(np.outer(row, row) for row in x) / n
    size = np.trace(sample) / dims
    norm = lambda m: np.sum(m**2) / dims
    away = norm(sample - size * np.eye(dims))
    error = min(sum(norm(np.outer(row, row) - sample) for row in x) / n**2, away)
    return error / away * size * np.eye(dims) + (1 - error / away) * sample, error / away


@pytest.mark.parametrize(("n", "dims"), [(40, 3), (10, 30), (7, 7)])
def test_ledoit_wolf_by_its_definition(n, dims):
    x = RNG.standard_normal((n, dims)) * np.linspace(0.1, 3, dims)
    found, shrinkage = ledoit_wolf(x)
    wanted, ratio = brute_ledoit_wolf(x)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
    assert shrinkage == pytest.approx(ratio) and 0 < shrinkage < 1


def test_ledoit_wolf_as_scikit_learn_has_it():
    covariance = pytest.importorskip("sklearn.covariance")
    x = RNG.standard_normal((30, 12)) * np.linspace(0.1, 3, 12)
    wanted, ratio = covariance.ledoit_wolf(x, assume_centered=True)
    found, shrinkage = ledoit_wolf(x)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    assert shrinkage == pytest.approx(ratio)


def test_a_covariance_without_spread_is_all_shrunk():
    found, shrinkage = ledoit_wolf(np.zeros((5, 3)))
    assert shrinkage == 1 and not found.any()


# --- separation


def test_purity_by_its_definition():
    g = made(apart=0.7)
    wanted = []
    for i in range(len(g)):
        others = np.flatnonzero(g.who != g.who[i])
        near = others[np.argsort(np.square(g.x[others] - g.x[i]).sum(1))[:5]]
        wanted.append(np.mean(g.by[near] == g.by[i]))
    np.testing.assert_allclose(separation.purity(g, k=5), wanted, atol=1e-6)


def test_neighbours_that_tie_share_the_places():
    x = np.array([[0.0], [1.0], [1.0], [1.0], [5.0]])
    g = Groups("t", x, np.array([0, 0, 1, 1, 0]), np.arange(5), ["a", "b"], list("vwxyz"))
    assert separation.purity(g, k=2)[0] == pytest.approx((2 / 3) / 2)  # one of three equal ones is of its class


def test_far_from_zero_neighbours_are_the_same():
    g = made(apart=0.7)
    far = made(apart=0.7)
    far.x = far.x + 1e6
    assert (separation.purity(far, k=5) == separation.purity(g, k=5)).mean() > 0.99


def test_accuracy_is_that_of_gaussians_of_the_other_speakers():
    g = made(speakers=4, apart=0.6, seed=3)
    wanted = np.zeros(len(g))
    for s in range(4):
        train, test = g.who != s, g.who == s
        mean, scale = g.x[train].mean(0), g.x[train].std(0)
        z, y = (g.x - mean) / scale, g.by
        means = np.stack([z[train & (y == k)].mean(0) for k in range(3)])
        covariance, _ = brute_ledoit_wolf(z[train] - means[y[train]])
        inverse = np.linalg.inv(covariance)
        far = np.stack([np.einsum("id,de,ie->i", z[test] - m, inverse, z[test] - m) for m in means])
        wanted[test] = far.argmin(0) == y[test]
    assert (separation.accuracy(g) == wanted).all() and 0.3 < wanted.mean() < 1


def test_a_class_that_no_other_speaker_has_is_not_found():
    g = made()
    g.by[(g.who == 0) & (g.by == 1)] = 3
    g.classes = [*CLASSES, "odd"]
    assert separation.accuracy(g)[g.by == 3].max() == 0


@pytest.mark.parametrize("speaker", [False, True])
def test_silhouettes_by_their_definition(speaker):
    g = made(speakers=3, each=2, apart=1.0)
    labels = g.who if speaker else g.by
    far = np.sqrt(np.square(g.x[:, None] - g.x[None]).sum(2))
    wanted = []
    for i in range(len(g)):
        own = np.flatnonzero((labels == labels[i]) & (np.arange(len(g)) != i))
        a = far[i, own].mean()
        b = min(far[i, labels == k].mean() for k in set(labels) - {labels[i]})
        wanted.append((b - a) / max(a, b))
    np.testing.assert_allclose(separation.silhouette(g, speaker=speaker), wanted, atol=1e-9)


def test_an_item_alone_in_its_class_has_silhouette_0():
    g = Groups("t", np.array([[0.0], [1.0], [3.0]]), np.array([0, 0, 1]), np.arange(3), ["a", "b"], list("xyz"))
    assert separation.silhouette(g)[2] == 0


def test_a_centred_set_knows_no_speakers_and_looks_at_no_label():
    g = made(apart=1.0)
    centred = g.about_speakers()
    assert centred.centred and np.abs(np.stack([centred.x[centred.who == s].mean(0) for s in range(6)])).max() < 1e-12
    assert (g.shuffled(RNG).about_speakers().x == centred.x).all()
    assert separation.purity(centred).mean() > separation.purity(g).mean() + 0.1


def test_labels_are_shuffled_within_speakers():
    g = made()
    other = g.shuffled(np.random.default_rng(0))
    for s in range(6):
        assert sorted(other.by[g.who == s]) == sorted(g.by[g.who == s])
    assert (other.by != g.by).any() and other.x is g.x


# --- dispersion


def test_every_choice_of_equally_many_items_a_cell_has_the_same_mean_variance():
    rng = np.random.default_rng(5)
    n = [2, 4, 3, 5]
    who, by = np.repeat([0, 0, 1, 1], n), np.repeat([0, 1, 0, 1], n)
    g = Groups("t", rng.standard_normal((14, 2)), by, who, ["a", "b"], ["x", "y"])
    spreads = []
    for s, k in ((0, 0), (0, 1), (1, 0), (1, 1)):
        rows = np.flatnonzero((who == s) & (by == k))
        spreads.append(np.mean([g.x[list(c)].var(0, ddof=1).sum() for c in combinations(rows, 2)]))
    assert shifts.within(g)(once(g))[0] == pytest.approx(np.mean(spreads))


@pytest.mark.parametrize("centred", [False, True])
def test_dispersion_is_the_share_of_the_variance_that_was_put_in(centred):
    found = []
    for seed in range(60):
        g = made(speakers=8, each=3, dims=2, spread=2.0, apart=1.5, seed=seed)
        found.append(shifts.dispersion(g.about_speakers() if centred else g)(once(g))[0])
    # an item: variance 4 about its cell; the classes 1.5, -1.5, 0: 1.5; speakers: 9 of which (S - 1) / S is seen
    wanted = 4 / (4 + 1.5) if centred else 4 / (4 + 1.5 + 9 * 7 / 8)
    assert np.mean(found) == pytest.approx(wanted, abs=0.03)


def test_dispersion_of_resampled_speakers_is_that_of_the_set_with_them_twice():
    g = made(speakers=4, apart=1.0, seed=2)
    weights = np.array([[2.0, 0, 1, 1]])
    rows = np.concatenate([np.flatnonzero(g.who == s) for s in (0, 0, 2, 3)])
    who = np.repeat(np.arange(4), 12)
    again = Groups("t", g.x[rows], g.by[rows], who, CLASSES, list("abcd"))
    for view in ("dispersion", "within"):
        one = getattr(shifts, view)(g)(weights)[0]
        assert one == pytest.approx(getattr(shifts, view)(again)(once(again))[0], rel=0.02)
    a, b = g.about_speakers(), again.about_speakers()
    assert shifts.dispersion(a)(weights)[0] == pytest.approx(shifts.dispersion(b)(once(b))[0])


def test_classes_that_say_nothing_leave_all_variance_within():
    found = [shifts.dispersion(made(apart=0.0, seed=s).about_speakers())(np.ones((1, 6)))[0] for s in range(40)]
    assert np.mean(found) == pytest.approx(1, abs=0.03)


# --- shifts


def test_shift_is_the_distance_that_was_put_in():
    found = [shifts.shift(made(apart=2.0, dims=3, seed=s), 2)(np.ones((1, 6)))[0] for s in range(60)]
    assert np.mean(found) == pytest.approx(4.0, rel=0.05)  # 3 times 2^2, over a variance of 3
    nothing = [shifts.shift(made(apart=0.0, seed=s), 2)(np.ones((1, 6)))[0] for s in range(30)]
    assert np.mean(nothing) == pytest.approx(0, abs=0.02)


def test_signed_shifts_have_the_units_of_the_feature():
    g = made(dims=2).of(["1"])
    wanted = np.mean(
        [g.x[(g.who == s) & (g.by == 0)].mean() - g.x[(g.who == s) & (g.by == 2)].mean() for s in range(6)]
    )
    assert shifts.signed(g, 2, 0)(once(g))[0] == pytest.approx(wanted)
    g.scale, g.x = np.array([10.0]), g.x / 10
    assert shifts.signed(g, 2, 0)(once(g))[0] == pytest.approx(wanted)


def brute_interaction(g, neutral=2):
    """(share between the sides, p) by every split, and sums of squares about means."""
    d = np.stack(
        [
            np.concatenate(
                [
                    g.x[(g.who == s) & (g.by == k)].mean(0) - g.x[(g.who == s) & (g.by == neutral)].mean(0)
                    for k in (0, 1)
                ]
            )
            for s in range(len(g.speakers))
        ]
    )
    square = lambda rows: np.square(rows - rows.mean(0)).sum()

    def share(side):
        return 1 - (square(d[side == 0]) + square(d[side == 1])) / square(d)

    every = []
    for chosen in combinations(range(len(d)), int(g.side.sum())):
        side = np.zeros(len(d), int)
        side[list(chosen)] = 1
        every.append(share(side))
    return share(g.side), np.mean(np.array(every) >= share(g.side) - 1e-12), np.mean(every)


@pytest.mark.parametrize("unequal", [False, True])
def test_interaction_by_its_definition(unequal):
    g = made(by_side=0.5, seed=4)
    if unequal:
        g.side = np.array([0, 0, 1, 1, 1, 1])
    found = shifts.interaction(g, 2)
    share, p, chance = brute_interaction(g)
    assert found.share == pytest.approx(share) and found.p == pytest.approx(p) and found.chance == pytest.approx(chance)
    assert found.splits == (15 if unequal else 10)


def test_ten_speakers_have_126_splits_and_no_smaller_p():
    found = shifts.interaction(made(speakers=10, by_side=5.0), 2)
    assert found.splits == 126 and found.p == pytest.approx(1 / 126)
    assert shifts.interaction(made(speakers=10, by_side=0.0, seed=1), 2).p > 0.05


def test_p_of_sides_without_difference_is_even():
    p = [shifts.interaction(made(speakers=8, each=2, dims=1, seed=s), 2).p for s in range(200)]
    assert np.mean(np.array(p) <= 0.2) == pytest.approx(0.2, abs=0.08)


def test_many_speakers_have_drawn_splits():
    found = shifts.splits((np.arange(24) % 2).astype(int))
    assert (
        found.shape == (shifts.MOST_SPLITS, 24) and (found.sum(1) == 12).all() and found[0].tolist() == [0.0, 1.0] * 12
    )


def test_speakers_without_neutral_take_no_part():
    g = made(speakers=7, by_side=1.0, seed=4)
    short = g.where(~((g.who == 0) & (g.by == 2)))
    without = g.where(g.who != 0)
    assert shifts.interaction(short, 2).p == shifts.interaction(without, 2).p
    lone = g.where(~((g.who <= 1) & (g.by == 2)))
    with pytest.raises(ValueError, match="fewer than two speakers of f with neutral"):
        shifts.interaction(lone, 2)


# --- what is printed


def test_holm_as_published():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        x = rng.standard_normal(10)
        weights = rng.multinomial(10, np.full(10, 0.1), RESAMPLES)
        low, high = interval(weights @ x / 10, 10)
        held += low <= 0 <= high
    assert 0.92 <= held / 200 <= 0.99
    assert interval(np.zeros(RESAMPLES), 2) == (None, None)


def by_name(lines, of=None):
    return {line.name: line for line in lines if of in (None, line.set)}


def test_lines_of_a_set():
    g = made(speakers=10, by_side=3.0, dims=2, seed=1)
    lines = by_name(measure([g], asked=Asked(features=("0", "1"), bound=0.1)))
    assert [*lines][:8] == [
        "purity[k5]",
        "purity[k5,centred]",
        "accuracy[lda]",
        "accuracy[lda,centred]",
        "silhouette",
        "silhouette[speaker]",
        "silhouette[centred]",
        "dispersion",
    ]
    for name in ("accuracy[lda]", "accuracy[lda,centred]"):
        assert lines[name].shuffled == pytest.approx(1 / 3, abs=0.05) and lines[name].p == 0.01
    assert (
        lines["accuracy[lda,centred]"].low
        <= lines["accuracy[lda,centred]"].value
        <= lines["accuracy[lda,centred]"].high
    )
    assert (
        lines["shift[0,anger]"].unit == "its unit" and lines["shift[0,anger]"].value > 0 > lines["shift[0,joy]"].value
    )
    assert lines["interaction"].verdict == "differs" and lines["interaction[0]"].verdict == "differs"
    assert lines["interaction[0]"].p == pytest.approx(2 / 126)  # Holm's, of two


def test_without_a_difference_nothing_is_called_the_same_but_with_a_bound():
    g = made(speakers=10, by_side=0.0, dims=2, seed=5)
    say = lambda bound: by_name(measure([g], ["interaction"], Asked(bound=bound)))["interaction"]
    assert say(None).verdict == "cannot tell" and say(0.01).verdict == "cannot tell"
    wide = say(50.0)
    assert wide.verdict == "within 50" and wide.p > 0.05


def test_a_control_that_differs_leaves_nothing_to_say():
    g, rules = made(speakers=10, by_side=3.0, seed=1), made(speakers=10, by_side=3.0, seed=2, name="control")
    lines = measure([g], ["interaction"], Asked(), rules)
    assert by_name(lines, "a")["interaction"].verdict == "cannot tell: the control differs"
    assert by_name(lines, "control")["interaction"].verdict == "differs"
    quiet = measure([g], ["interaction"], Asked(), made(speakers=10, by_side=0.0, seed=5, name="control"))
    assert by_name(quiet, "a")["interaction"].verdict == "differs"


def test_differences_of_two_sets():
    a, b = made(spread=1.0, seed=1), made(spread=3.0, seed=2, name="b")
    lines = by_name(measure([a, b], asked=Asked(bound=0.01)), "a - b")
    assert lines["dispersion[centred]"].value < 0 and lines["dispersion[centred]"].verdict == "differs"
    assert "interaction" not in lines and lines["dispersion[centred]"].p is None
    alike = by_name(measure([a, made(seed=9, name="b")], ["shift"], Asked()), "a - b")["shift"]
    assert alike.verdict == "cannot tell" and alike.low < 0 < alike.high
    near = by_name(measure([a, made(seed=9, name="b")], ["shift"], Asked(bound=9.0)), "a - b")["shift"]
    assert near.verdict == "within 9"


# --- labels and vectors


TABLE = LabelTable("t.tsv", "name\temotion\twho\tsex\nn0\ta\tx\tf\nn1\tb\tx\tf\nn2\ta\ty\tm\nn3\tb\ty\tm\n")


def vectors(n=4, features=None, first=0):
    data = np.arange(2.0 * n, dtype=np.float32).reshape(n, 2) ** 2
    history = [{"encoder": "prosody", "features": features}] if features else []
    return Signal("embedding", data, names=[f"d/n{first + i}.wav" for i in range(n)], history=history)


def test_a_set_is_the_same_in_any_batches():
    whole = groups([vectors()], TABLE, "emotion", "who", "sex", name="t")
    parts = groups([vectors().take([0]), vectors().take([1, 2, 3])], TABLE, "emotion", "who", "sex", name="t")
    assert (whole.x == parts.x).all() and (whole.by == parts.by).all() and whole.sides == ("f", "m")
    assert whole.classes == ["a", "b"] and whole.speakers == ["x", "y"] and whole.side.tolist() == [0, 1]
    named = groups([vectors(features=["p", "q"])], TABLE, "emotion", "who", name="t")
    np.testing.assert_allclose(named.x * named.scale, whole.x)
    np.testing.assert_allclose(named.x.std(0), 1)
    assert named.of(["q"]).x.shape == (4, 1)


@pytest.mark.parametrize(
    ("signals", "by", "leave", "cross", "said"),
    [
        ([vectors(first=9)], "emotion", "who", None, "no row of d/n9.wav"),
        ([vectors()], "mood", "who", None, "no column 'mood'"),
        ([vectors().take([0, 2])], "emotion", "who", None, "one emotion only, a: there is nothing"),
        ([vectors().take([0, 1])], "emotion", "who", None, "one who only, x"),
        ([vectors()], "who", "emotion", "sex", "emotion a is both f and m"),
        ([vectors()], "emotion", "who", "who who", "no column"),
        ([Signal("audio", np.zeros((1, 1, 9), np.float32), rate=8000, names=["n0"])], "emotion", "who", None, "audio"),
        ([Signal("embedding", np.zeros((4, 2), np.float32))], "emotion", "who", None, "without names"),
        (
            [Signal("embedding", np.full((4, 2), np.nan, np.float32), names=["n0", "n1", "n2", "n3"])],
            "emotion",
            "who",
            None,
            "n0: a number that is not finite",
        ),
        ([], "emotion", "who", None, "nothing to compare"),
    ],
)
def test_what_is_no_labelled_set(signals, by, leave, cross, said):
    with pytest.raises(LemError, match=said) as caught:
        groups(signals, TABLE, by, leave, cross, name="t")
    assert "\n" not in str(caught.value)


def test_three_sides_are_too_many_and_features_must_be_there():
    g = made()
    table = LabelTable("t", "n\te\tw\ts\n" + "".join(f"n{i}\t{'ab'[i % 2]}\t{i // 2}\t{i // 2}\n" for i in range(6)))
    signal = Signal("embedding", np.zeros((6, 2), np.float32), names=[f"n{i}" for i in range(6)])
    with pytest.raises(LemError, match="two values are compared, and the table has 3"):
        groups([signal], table, "e", "w", "s")
    with pytest.raises(LemError, match="no feature level; there are numbers from 0 to 2"):
        g.of(["level"])
    with pytest.raises(LemError, match="has anger, joy, neutral"):
        measure([g], ["shift"], Asked(neutral="calm"))
    g.side = None
    with pytest.raises(LemError, match="--cross COLUMN"):
        measure([g], ["interaction"])


def test_what_cannot_be_measured_is_left_out_with_a_line():
    g = made(each=1)
    said = []
    found = {line.metric for line in measure([g], note=said.append)}
    assert found == {"purity", "accuracy", "silhouette"} and any("no speaker has two items" in line for line in said)
    with pytest.raises(LemError, match="a: dispersion: no speaker has two items of one class"):
        measure([g], ["dispersion"])


def test_only_what_both_sets_have_is_kept():
    a, b = made(seed=1), made(seed=2, name="b")
    a.same, b.same = (["s1", "s2"] * 36, ["s2", "s3"] * 36)
    one, two = labelled.same([a, b])
    assert set(one.same) == set(two.same) == {"s2"} and len(one) == len(two) == 36
    b.same = ["s9"] * 72
    with pytest.raises(LemError, match="fewer than two classes"):
        labelled.same([a, b])


def test_the_size_of_an_interaction_is_right_on_average_and_its_interval_holds_it():
    sizes, held = [], 0
    for seed in range(40):
        g = made(speakers=10, dims=1, by_side=0.8, seed=seed)
        found = shifts.interaction(g, 2)
        square = found.size(once(g))[0]
        drawn = found.size(resamples(g))
        low, high = interval(np.sqrt(np.maximum(drawn - (np.nanmean(drawn) - square), 0)), 10)
        sizes.append(square)
        held += low <= 0.8 <= high
    assert np.mean(sizes) == pytest.approx(0.64, abs=0.12)
    assert held >= 36
    without = [shifts.interaction(made(speakers=10, dims=1, seed=s), 2).size(np.ones((1, 10)))[0] for s in range(60)]
    assert np.mean(without) == pytest.approx(0, abs=0.04)


def test_speakers_drawn_so_that_a_side_lacks_every_class_warn_of_nothing():
    """Such a draw has no size; the others keep theirs."""
    found = shifts.interaction(made(speakers=6, dims=1), 2)
    weights = np.ones((2, 6))
    weights[1, 1:] = 0  # one speaker, drawn over and over
    weights[1, 0] = 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sizes = found.size(weights)
    assert np.isfinite(sizes).tolist() == [True, False]


def test_items_that_are_all_alike_have_silhouette_0():
    g = Groups("t", np.ones((4, 2)), np.array([0, 0, 1, 1]), np.arange(4), ["a", "b"], list("wxyz"))
    assert (separation.silhouette(g) == 0).all()


def test_an_interval_of_even_draws_is_students():
    from statistics import NormalDist

    even = np.array([NormalDist().inv_cdf((i + 0.5) / RESAMPLES) for i in range(RESAMPLES)])
    low, high = interval(even, 10)
    assert high == pytest.approx(np.sqrt(10 / 9) * 2.262, abs=0.01) and low == pytest.approx(-high, abs=1e-9)


def test_cells_of_one_item_and_cells_that_are_not_there():
    found = []
    for seed in range(80):
        g = made(apart=2.0, seed=seed)
        kept = np.ones(len(g), bool)
        for s in range(6):
            kept[np.flatnonzero((g.who == s) & (g.by == 2))[1:]] = False  # one item of neutral each
        found.append(shifts.shift(g.where(kept), 2)(np.ones((1, 6)))[0])
    assert np.mean(found) == pytest.approx(4.0, rel=0.06)
    g = made(seed=3)
    short = g.where(~((g.who == 0) & (g.by == 1)))
    one, two = shifts.shift(short, 2, 1), shifts.shift(g.where(g.who != 0), 2, 1)
    ratio = shifts.within(g.where(g.who != 0))(np.ones((1, 5)))[0] / shifts.within(short)(once(short))[0]
    assert one(once(short))[0] == pytest.approx(two(np.ones((1, 5)))[0] * ratio)
    feature = short.of(["0"])
    wanted = [
        g.x[(g.who == s) & (g.by == 1), 0].mean() - g.x[(g.who == s) & (g.by == 2), 0].mean() for s in range(1, 6)
    ]
    assert shifts.signed(feature, 2, 1)(once(short))[0] == pytest.approx(np.mean(wanted))


def test_what_takes_no_part_and_what_can_never_be_found_is_said():
    g, said = made(speakers=10), []
    measure([g.where(~((g.who == 3) & (g.by != 0)))], ["shift"], note=said.append)
    assert said == ["a: no shift of s3: not both neutral and another class"]
    said.clear()
    measure([made(speakers=10, dims=7)], ["interaction"], Asked(features=tuple("0123456")), note=said.append)
    assert said == ["a: no p is below 0.0079, so of 7 nothing can be found at 0.05; name 6 --features at most"]
    said.clear()
    measure([made(speakers=10, dims=7)], ["interaction"], Asked(features=tuple("012345")), note=said.append)
    measure([made(speakers=4)], ["shift"], note=said.append)
    assert not said
    measure([made(speakers=4)], ["interaction"], note=said.append)
    assert said == ["a: no p is below 0.33, so of 1 nothing can be found at 0.05; more speakers are needed"]


def test_the_order_of_the_classes_says_nothing():
    g = made(by_side=0.5, seed=4)
    other = made(by_side=0.5, seed=4)
    other.by = np.array([2, 1, 0])[g.by]  # neutral comes first
    for k in (0, 1):
        for estimate in (shifts.shift, shifts.signed):
            a, b = estimate(g.of(["0"]), 2, k), estimate(other.of(["0"]), 0, 2 - k)
            assert a(once(g))[0] == pytest.approx(b(once(g))[0])
    assert shifts.shift(g, 2)(once(g))[0] == pytest.approx(shifts.shift(other, 0)(once(g))[0])
    one, two = shifts.interaction(g, 2), shifts.interaction(other, 0)
    assert one.p == two.p and one.share == pytest.approx(two.share)
