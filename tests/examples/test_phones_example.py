"""examples/phones.py: labels of Emo-DB as phones, controls, and what the score is measured by."""

import importlib
import sys

import numpy as np
import pytest

from helpers.paths import ROOT


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    sys.modules.pop("phones", None)
    yield importlib.import_module("phones")
    sys.modules.pop("phones", None)


def test_labels_of_one_phone_are_one(script):
    """A closure with its release and aspiration, segments of a modifier alone, and pauses."""
    labels = ["_t", "!t", "pasp", "a +lar 3", "-lar", "", "d -sth", "!b", "(gef", "i6", "gasp", "."]
    rows = [(k / 10, (k + 1) / 10, label) for k, label in enumerate(labels)]
    found = [(label, round(end - begin, 6)) for begin, end, label in script.merged(rows)]
    assert found == [("t", 0.3), ("a", 0.3), ("d", 0.1), ("b", 0.1), ("", 0.1), ("i6", 0.2)]


def test_what_the_cut_leaves_over(script):
    sound = np.zeros(16_000, np.float32)
    rows = [(0.1, 0.6, "a"), (0.6, 0.9, "s"), (0.9, 1.4, "t"), (1.4, 1.5, "a"), (0.985, 1.2, "n")]
    clip = script.german("03a01Fa", sound, rows[:4])
    assert (clip.speaker, clip.text) == ("03", "a01") and clip.true.spans[0, -1].tolist() == [0.9, 1.0]
    assert script.german("03a01Fa", sound, [rows[-1]]) is None


def test_area_under_the_curve(script):
    assert script.auc([3, 2], [1, 0]) == 1 and script.auc([1], [1]) == 0.5 and script.auc([0, 2], [1]) == 0.5


def test_controls_fill_the_sound(script):
    clip = script.german("03a01Fa", np.zeros(16_000, np.float32), [(0.1, 0.6, "a"), (0.6, 0.9, "s")])
    row = script.Found(clip, None, None, 0.0)
    even, means = script.evenly(row), script.by_duration(row, {"vowel": 0.2, "fricative": 0.1, "silence": 0.1})
    assert even.spans[0].tolist() == [[0, 0.5], [0.5, 1]]
    np.testing.assert_allclose(means.spans[0], [[0, 0.2], [0.2, 0.6], [0.6, 0.8], [0.8, 1]])
    assert script.class_means([clip]) == pytest.approx({"silence": 0.1, "vowel": 0.5, "fricative": 0.3})


def test_shifts_are_learnt_from_what_matches(script):
    """A path that is 12 ms early everywhere."""
    clip = script.german("03a01Fa", np.zeros(16_000, np.float32), [(0.1, 0.6, "a"), (0.6, 0.9, "s")])
    path = script.Aligned(
        ["SIL", "AA", "S", "SIL"],
        [-1, 0, 0, -1],
        np.array([[0, 0.088], [0.088, 0.588], [0.588, 0.888], [0.888, 1]]),
        None,
        {},
    )
    ms, ending, beginning = script.late([script.Found(clip, path, path, 0.0)])
    np.testing.assert_allclose(ms, 12)
    assert ending.tolist() == [5, 0, 3] and beginning.tolist() == [0, 3, 5]


def test_an_interval_over_speakers_has_a_speaker_for_a_unit(script):
    """Clips of six speakers, each clip like the others of its speaker: over clips the interval is narrower."""
    clips = [np.array([k, -k], float) for k in (2, 3, 4, 6, 7, 8)] * 10
    over = script.by_speaker(clips, list("abcdef") * 10)
    assert over == script.interval([20.0 * k for k in (2, 3, 4, 6, 7, 8)], [20] * 6, ends=(0, np.inf))
    narrow = script.by_speaker(clips, [str(i) for i in range(60)])
    ends = [[float(x) for x in text[text.index("[") + 1 : -1].split(", ")] for text in (over, narrow)]
    assert over.startswith("5.0 [") and narrow.startswith("5.0 [") and ends[0][0] < ends[1][0] < ends[1][1] < ends[0][1]


def test_a_long_sound_is_the_sentences_over_and_over(script, tmp_path):
    import soundfile

    sys.modules.pop("phones_long", None)
    long = importlib.import_module("phones_long")
    clips = [
        script.Clip("a", "a", "", np.full(8_000, level, np.float32), [script.Entry(word, (("AA",),))], None)
        for level, word in ((0.25, "one"), (0.5, "two"))
    ]
    assert long.written(clips, 16_000, 2.5 / 60, tmp_path / "a.wav") == 3
    wave, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == 16_000 and np.allclose(wave, np.tile(np.repeat([0.25, 0.5], 8_000), 3), atol=1e-4)
    assert (tmp_path / "a.txt").read_text() == 3 * "one two\n"
