# ruff: noqa: RUF001
"""Boundaries of phones: known answers by hand, alignment by brute force, intervals by closed form and by simulation."""

import functools
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.commands import lem_fork
from lemtools.catalogue.metrics import quick
from lemtools.compare import Comparison, measure, pair
from lemtools.compare.boundaries import boundaries
from lemtools.compare.strips import HEIGHT, WIDTH, strips
from lemtools.compare.summary import mean_interval, ratio_half, ratio_interval
from lemtools.fragment import fragment
from lemtools.media import Target, save
from lemtools.signal import Alphabet, LemError, Signal
from lemtools.signal import segments as aligning
from lemtools.signal.segments import Segments, align


def spoken(labels: str, times, alphabet="ipa", name="x.wav") -> Signal:
    """One item: labels between spaces (_ for an empty one), and either the times between them or pairs of times."""
    texts = [label.replace("_", "") for label in labels.split()]
    times = np.array(times, np.float64)
    spans = times if times.ndim == 2 else np.stack([times[:-1], times[1:]], axis=1)
    made = Alphabet(alphabet, tuple(sorted(set(texts))))
    return Signal("tokens", made.ids(texts)[None], spans=spans[None], alphabet=made, names=[name])


TRUE = spoken("_ h ɑ t _", [0, 0.1, 0.2, 0.4, 0.5, 0.6])
GUESS = spoken("SIL HH AA T SIL", [0, 0.11, 0.195, 0.43, 0.44, 0.6], "arpabet", "x.TextGrid")
HAND = {
    "boundary-mae": 26.25,  # 10, -5, 30, -60 ms
    "boundary-median": 20,
    "boundary-bias": -6.25,
    "boundary-within@10": 0.5,
    "boundary-within@20": 0.5,
    "boundary-within@25": 0.5,
    "boundary-within@50": 0.75,
    "boundary-f1@20": 0.5,
    "boundary-matched": 1,
    "boundaries": 4,
    "boundaries-all": 4,
}


def found(true, guess, metrics=None):
    return {result.metric: result.mean for result in measure(true, guess, metrics)}


def test_known_answers_are_measured_where_nothing_is_asked_for():
    results = measure(TRUE, GUESS)
    assert {r.metric: r.mean for r in results} == pytest.approx(HAND)
    assert [r.metric for r in results] == [*HAND] == [*quick("timed"), "boundaries-all"]
    assert [r.name for r in results[3:8]] == [
        "boundary_within[10ms]", "boundary_within[20ms]", "boundary_within[25ms]", "boundary_within[50ms]", "boundary_f1[20ms]",
    ]  # fmt: skip
    assert {r.unit for r in results[:3]} == {"ms"} and {r.low for r in results} == {None}
    assert found(TRUE, GUESS, "boundary-within@60,boundary-f1@4") == {"boundary-within@60": 1, "boundary-f1@4": 0}
    assert {**found(TRUE, TRUE, "all")}.items() >= {"boundary-mae": 0, "boundary-f1@20": 1, "accuracy": 1}.items()


def scaled(signal: Signal, by: float) -> Signal:
    return replace(signal, spans=by * signal.spans, names=["ms.TextGrid"])


@pytest.mark.parametrize(
    "true, guess, beside",
    [
        (TRUE, scaled(GUESS, 1000), "110 s or more and 0.1 s in the other"),
        (scaled(TRUE, 1000), GUESS, "100 s or more and 0.11 s in the other"),
        (scaled(TRUE, 1000), scaled(GUESS, 1000), "100 s or more; times"),  # phones last no minutes
    ],
)
def test_milliseconds_are_refused(true, guess, beside):
    with pytest.raises(LemError, match=f"ms.TextGrid: half of its spans last {beside}.*divide milliseconds by 1000"):
        boundaries(true, guess)


def test_where_nothing_matches_it_is_said():
    comparison = Comparison(None)
    comparison.add(next(iter(pair([TRUE], [spoken("x q z", [0, 0.1, 0.2, 0.3], "file")]))))
    (note,) = comparison.notes(comparison.results())
    assert note.startswith("no boundary of the one matches one of the other") and "--key" in note


def test_long_spans_that_are_no_phones_are_measured():
    """Words, chapters, whatever the other side has alike; and a guess that is bad."""
    chapters = spoken("one two three", [0, 90, 200, 300], "file")
    assert len(boundaries(chapters, chapters)[0].errors) == 2
    assert boundaries(TRUE, scaled(TRUE, 50))[0].errors.max() > 10


@pytest.mark.parametrize(
    "guess, errors, guessed",
    [
        # a phone of another class: its two boundaries do not match
        (spoken("SIL HH AA S SIL", [0, 0.1, 0.2, 0.4, 0.5, 0.6], "arpabet"), [0, 0], 4),
        # another vowel is one of the class
        (spoken("SIL HH IY T SIL", [0, 0.1, 0.25, 0.4, 0.5, 0.6], "arpabet"), [0, 50, 0, 0], 4),
        # a pause where there is none parts two neighbours, and counts as a boundary of the guess
        (spoken("_ h ɑ _ t _", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), [0, 0, 0], 5),
        # gaps are silence, from the beginning and to the end of both as well
        (spoken("h ɑ t", [0.13, 0.2, 0.4, 0.5]), [30, 0, 0, 0], 4),
        (spoken("h ɑ t", [(0.1, 0.2), (0.25, 0.4), (0.4, 0.5)]), [0, 0, 0], 5),
        # but short ones are nothing, and silences in a row are one
        (spoken("h ɑ t", [(0.1, 0.19), (0.2, 0.385), (0.4, 0.5)]), [0, 0, 0, 0], 4),
        (spoken("_ _ h ɑ t sil sp", [0, 0.05, 0.1, 0.2, 0.4, 0.5, 0.55, 0.6]), [0, 0, 0, 0], 4),
        (spoken("_ h ɑ t", [0, 0.1, 0.2, 0.4, 0.59]), [0, 0, 0], 3),  # the end of the sound is no boundary
        (spoken("_ x q", [0, 0.1, 0.2, 0.3], "file"), [], 3),  # silence up to the end of the other
    ],
)
def test_which_boundaries_match(guess, errors, guessed):
    ((measured,),) = [boundaries(TRUE, guess)]
    assert np.allclose(1e3 * measured.errors, errors) and (measured.true, measured.guessed) == (4, guessed)
    hits = sum(abs(error) <= 20 for error in errors)
    assert found(TRUE, guess, "boundary-f1")["boundary-f1"] == pytest.approx(2 * hits / (4 + guessed))
    assert found(TRUE, guess, "boundary-matched")["boundary-matched"] == pytest.approx(len(errors) / 4)


def test_words_are_like_themselves_alone():
    true = spoken("_ say Hello _ now", [0, 0.1, 0.5, 1, 1.5, 2], "file")
    guess = spoken("_ say hello _ yes", [0, 0.2, 0.5, 1.1, 1.5, 2], "file")
    assert np.allclose(boundaries(true, guess)[0].errors, [0.1, 0, 0.1])


def test_what_a_fragment_lost_matches_nothing():
    (broken,) = fragment([TRUE], [{"op": "mask", "mask": 1.0}])
    result = found(TRUE, broken)
    assert result["boundaries"] == 0 and result["boundaries-all"] == 4 and np.isnan(result["boundary-mae"])
    assert result["boundary-f1@20"] == 0 and "bits" in result
    part = replace(TRUE, mask=np.array([[True, True, True, False, True]]))
    assert len(boundaries(TRUE, part)[0].errors) == 2


def test_times_that_were_rounded_count_as_within():
    guess = spoken("_ h ɑ t _", [0, 0.1 + 0.01, 0.2 + 0.02, 0.4 - 0.025, 0.5 - 0.05, 0.6])
    shares = found(TRUE, guess, [f"boundary-within@{k}" for k in (10, 20, 25, 50)])
    assert [*shares.values()] == [0.25, 0.5, 0.75, 1]


# --- alignment


def seq(phones):
    """Segments of phones whose class is their letter: 'a1'."""
    zeros = np.zeros(len(phones))
    return Segments(zeros, zeros, [phone[0] for phone in phones], list(phones))


def cheapest(one, two):
    """By trying all: (segments left out or opposite another class, unequal phones)."""

    @functools.cache
    def of(i, j):
        if i == len(one) or j == len(two):
            return (len(one) - i + len(two) - j, 0)
        (a, b), (c, d), (e, f) = of(i + 1, j + 1), of(i + 1, j), of(i, j + 1)
        same = one[i][0] == two[j][0]
        return min((a + (not same), b + (same and one[i] != two[j])), (c + 1, d), (e + 1, f))

    return of(0, 0)


def cost(one, two, pairs):
    left = len(one) + len(two) - 2 * len(pairs)
    apart = sum(one[i][0] != two[j][0] for i, j in pairs)
    return left + apart, sum(one[i][0] == two[j][0] and one[i] != two[j] for i, j in pairs)


PHONES = st.lists(st.sampled_from([a + n for a in "abc" for n in "12"]), max_size=7)


@given(PHONES, PHONES)
def test_alignment_is_the_cheapest(one, two):
    pairs = align(seq(one), seq(two))
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(pairs))
    assert cost(one, two, pairs) == cheapest(tuple(one), tuple(two))


@given(PHONES, PHONES)
def test_in_little_memory_it_is_as_cheap(one, two):
    most, aligning.MOST = aligning.MOST, 4
    try:
        pairs = align(seq(one), seq(two))
    finally:
        aligning.MOST = most
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(pairs))
    assert cost(one, two, pairs) == cheapest(tuple(one), tuple(two))


def test_a_long_alignment(monkeypatch):
    rng = np.random.default_rng(0)
    one = [f"{c}1" for c in rng.choice(list("abcdef"), 3000)]
    two = [phone for phone in one if rng.random() > 0.02]
    for most in (aligning.MOST, 1 << 19):
        monkeypatch.setattr(aligning, "MOST", most)
        pairs = align(seq(one), seq(two))
        assert len(pairs) == len(two) and all(one[i] == two[j] for i, j in pairs)


# --- over items


def items(count, rng, spread=1.0):
    """Pairs of items of 3 to 12 boundaries, each of them with a bias of its own."""
    sides = [], []
    for i in range(count):
        size = int(rng.integers(4, 14))
        times = np.cumsum(rng.uniform(0.2, 0.4, size + 1))
        moved = times + 1e-3 * (spread * rng.normal(0, 10) + rng.normal(0, 10, size + 1))
        moved[-1] = times[-1]  # else there is a silence behind one of them
        labels = " ".join(rng.choice(["h", "ɑ", "t"], size))
        for side, edges in zip(sides, (times, moved)):
            side.append(replace(spoken(labels, edges, name=f"{i}"), index=np.array([i])))
    return sides


def test_means_are_over_boundaries_and_intervals_over_items():
    true, guess = items(9, np.random.default_rng(1))
    results = {r.metric: r for r in measure(true, guess)}
    errors = [1e3 * each.errors for a, b in zip(true, guess) for each in boundaries(a, b)]
    together = np.concatenate(errors)
    assert results["boundary-mae"].mean == pytest.approx(np.abs(together).mean())
    assert results["boundary-bias"].mean == pytest.approx(together.mean())
    assert results["boundary-median"].mean == pytest.approx(np.median(np.abs(together)))
    assert results["boundaries"].mean == len(together) == results["boundaries-all"].mean
    assert np.allclose(results["boundary-mae"].values, [np.abs(e).mean() for e in errors])
    assert np.allclose(results["boundary-median"].values, [np.median(np.abs(e)) for e in errors])
    for name in ("boundary-mae", "boundary-median", "boundary-bias", "boundary-within@20", "boundary-f1@20"):
        assert results[name].low < results[name].mean < results[name].high, name
    assert results["boundary-mae"].items == [f"{i}" for i in range(9)]
    # in batches, and one by one: the same
    assert {r.metric: (r.mean, r.low) for r in measure(iter(true), iter(guess))} == {
        name: (r.mean, r.low) for name, r in results.items()
    }


def test_a_ratio_over_equal_counts_is_a_mean():
    x, n = np.random.default_rng(0).random(12), np.full(12, 7.0)
    for ends in ((-np.inf, np.inf), (0, np.inf), (0, 1)):
        assert ratio_interval(x * n, n, ends) == pytest.approx(mean_interval(x, ends=ends))
    assert ratio_interval(x[:4], n[:4])[1:] == (None, None) and np.isnan(ratio_interval(x * 0, n * 0)[0])
    # items without a count say nothing
    assert ratio_interval(np.append(x * n, 0), np.append(n, 0)) == pytest.approx(ratio_interval(x * n, n))


def test_a_share_of_all_has_an_interval_with_a_width():
    n = np.full(9, 20.0)
    mean, low, high = ratio_interval(n, n, (0, 1))
    assert (mean, high) == (1, 1) and low == pytest.approx(9 / (9 + 1.959964**2))  # Wilson's, of 9 items


def test_intervals_cover_what_they_should():
    rng = np.random.default_rng(3)
    inside, halves, tries = 0, 0, 400
    for _ in range(tries):
        n = rng.integers(5, 40, 8).astype(float)
        each = np.clip(rng.normal(0.5, 0.1, 8), 0, 1)  # a level an item: what one item holds belongs together
        hits = rng.binomial(n.astype(int), each)
        _, low, high = ratio_interval(hits, n, (0, 1))
        inside += low <= 0.5 <= high
        halves += ratio_half(hits, n) >= abs(hits.sum() / n.sum() - 0.5)
    assert 0.91 <= inside / tries <= 0.985 and 0.91 <= halves / tries <= 0.985


def test_the_interval_of_a_median_covers_it():
    rng, inside = np.random.default_rng(4), 0
    tries = 120
    for _ in range(tries):
        (result,) = measure(*items(8, rng, spread=0.0), "boundary-median")
        inside += result.low <= 6.744898 <= result.high  # of |N(0, 10)|
    assert 0.9 <= inside / tries


# --- pictures


def test_strips_of_classes_along_time():
    guess = spoken("h ɑ t", [(0.1, 0.2), (0.2, 0.5), (0.5, 0.6)])
    one, two, apart = strips(boundaries(TRUE, guess)[0])
    assert one.shape == two.shape == apart.shape == (HEIGHT, WIDTH, 3)
    at = lambda seconds: int(seconds / 0.6 * WIDTH)
    # alike but where one says t and the other a vowel, and where one is silent, the other says t
    light = apart[0].sum(axis=1) > 300
    expected = np.zeros(WIDTH, bool)
    expected[at(0.4) : at(0.6) + 1] = True
    assert (light != expected).sum() <= 2
    assert (one[0, at(0.3)] == two[0, at(0.45)]).all() and (one[0, at(0.3)] != one[0, at(0.15)]).any()
    assert (one[0, at(0.05)] == two[0, at(0.05)]).all() and (one[0, at(0.05)] == 235).all()  # silence
    dark = [int(x) for x in np.flatnonzero((one[0] == 0).all(axis=1))]
    assert dark == [int(t * WIDTH / 0.6) for t in (0.1, 0.2, 0.4, 0.5)]
    words = spoken("say now", [0, 0.3, 0.6], "file")
    assert (strips(boundaries(words, words)[0])[0][0, at(0.1)] == 120).all()


# --- refusals


def test_what_is_refused():
    text = Signal("tokens", np.array([[104, 105]], np.uint8), names=["x.txt"])
    with pytest.raises(LemError, match=r"x\.wav: the original has times, the other, x\.txt, has none; TextGrids"):
        measure(TRUE, text)
    with pytest.raises(LemError, match="--metric boundary-mae needs labels with times: TextGrids"):
        measure(text, text, "boundary-mae")
    with pytest.raises(LemError, match="--metric accuracy compares ids, and these are of two alphabets"):
        measure(TRUE, GUESS, "accuracy")
    with pytest.raises(LemError, match="labels with times among tokens without"):
        measure([TRUE, text], [GUESS, text])
    with pytest.raises(LemError, match="boundary-mae"):
        measure(
            Signal("audio", np.zeros((1, 1, 9), np.float32)),
            Signal("audio", np.zeros((1, 1, 9), np.float32)),
            "boundary-mae",
        )
    assert {r.metric for r in measure(text, text)} == {"accuracy"}
    assert {r.metric for r in measure(text, text, "all")} == {"accuracy"}


def test_notes_and_a_comparison_of_nothing():
    comparison = Comparison()
    for both in pair([TRUE], [GUESS]):
        comparison.add(both)
    assert comparison.notes(comparison.results()) == []


def test_the_command(tmp_path):
    for side, item in (("true", TRUE), ("guess", GUESS)):
        save([item], Target(f"{tmp_path}/{side}.TextGrid"))
        (tmp_path / side).mkdir()
        for i in range(6):
            save(
                [replace(item, names=[f"{i}.wav"])],
                Target(f"{tmp_path}/{side}/", to="json" if side == "true" else "textgrid"),
            )
    done = lem_fork("compare", "true.TextGrid", "guess.TextGrid", cwd=tmp_path)
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert done.returncode == 0 and done.stderr == b"" and [float(line[1]) for line in lines] == [*HAND.values()]
    done = lem_fork("compare", "--json", "--metric", "boundary-mae", "true", "guess", cwd=tmp_path)
    (line,) = map(json.loads, done.stdout.splitlines())
    assert line["mean"] == pytest.approx(26.25) and line["n"] == 6 and line["low"] == pytest.approx(line["high"])
    done = lem_fork("compare", "--max", "boundary-mae=20", "--metric", "boundary-mae", "true", "guess", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr == b"lem-compare: boundary-mae is 26.25, above 20\n"
    short = spoken("h ɑ", [0, 0.11, 0.195], "ipa", "y.wav")
    save([short], Target(f"{tmp_path}/short.TextGrid"))
    done = lem_fork("compare", "--plot", "x.png", "--html", "x.html", "true.TextGrid", "short.TextGrid", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == b"" and (tmp_path / "x.png").stat().st_size
    done = lem_fork(
        "compare", "--plot", "y.png", "--fragment", "true.TextGrid", "true.TextGrid", "guess.TextGrid", cwd=tmp_path
    )
    assert done.returncode == 2 and b"--fragment does not suit labels with times" in done.stderr
    done = lem_fork("compare", "true", "guess", "--pair", "name", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.decode().startswith("boundary_mae\t26.25\t26.25\t26.25\t6\n")
