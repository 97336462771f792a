"""The aligner on a toy model of tones with known edges: no pocketsphinx, or one that refuses."""

from itertools import pairwise

import numpy as np
import pytest

from helpers.acoustics import sound, toy
from lemtools.phones import aligner, own, pieces
from lemtools.phones.aligner import Aligner
from lemtools.phones.cepstra import HOP, RATE, bands, cepstra, denoised, features
from lemtools.phones.model import Model
from lemtools.phones.sphinx import Refused, Spoken
from lemtools.phones.words import Lexicon
from lemtools.signal import LemError

SAID = "see as ah"
PARTS = [("SIL", 0.3), ("S", 0.2), ("IY", 0.25), ("AA", 0.3), ("S", 0.15), ("SIL", 0.3), ("AA", 0.2), ("SIL", 0.4)]


class Refusing:
    """In place of pocketsphinx: gives up so many times, then finds what our own path finds."""

    times = 99

    def __init__(self, folder):
        self.model, self.left = Model(folder), self.times

    def align(self, sound, words):
        self.left -= 1
        if self.left >= 0:
            raise Refused("no path")
        return own.align(self.model, streams_of(sound), words)


def streams_of(sound):
    return features(cepstra(denoised(bands(sound))))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def made(place, monkeypatch):
    """(way, even, how often pocketsphinx refuses) -> Aligner."""
    monkeypatch.setattr(aligner, "folder", lambda: place)
    monkeypatch.setattr(aligner, "Sphinx", Refusing)

    def make(way="spectral", even=False, times=99):
        monkeypatch.setattr(Refusing, "times", times)
        return Aligner(way, even)

    return make


@pytest.fixture
def lexicon(place):
    return Lexicon(f"{place}/cmudict-en-us.dict")


@pytest.mark.parametrize(("way", "most"), [("constant", 0.008), ("spectral", 0.0081)])
def test_edges_of_tones(made, lexicon, way, most):
    wave, edges = sound(PARTS)
    found = made(way).align(wave, lexicon.words(SAID))
    assert found.phones == [phone for phone, _ in PARTS] and found.words == [-1, 0, 0, 1, 1, -1, 2, -1]
    assert np.abs(found.spans[1:, 0] - edges).max() < most
    assert found.spans[0, 0] == 0 and found.spans[-1, 1] == len(wave) / RATE
    assert np.array_equal(found.spans[1:, 0], found.spans[:-1, 1])
    assert found.record["engine"] == "viterbi" and found.record["retries"] == 3 and found.record["gaps"] == 1
    assert found.record["score"] > -0.5 and found.scores.shape == (8,) and found.scores.max() <= 0


def test_the_score_tells_another_text(made, lexicon):
    wave, _ = sound(PARTS)
    right, wrong = (made().align(wave, lexicon.words(text)).record["score"] for text in (SAID, "as see ee"))
    assert wrong < right - 5


def test_of_several_ways_the_one_that_is_heard(place, lexicon):
    model = Model(place)
    for first in ("AA", "IY"):
        wave, _ = sound([("SIL", 0.3), (first, 0.2), ("S", 0.2), ("SIL", 0.3)])
        found = own.align(model, streams_of(wave), lexicon.words("either"))
        assert [s.phone for s in found] == ["SIL", first, "S", "SIL"]


@pytest.mark.parametrize(("times", "padding"), [(0, 0.0), (1, -0.3), (2, 0.2)])
def test_retries_are_counted_and_change_nothing_but_the_frames(made, lexicon, times, padding):
    """Refused once the silence is trimmed to .2 s at each end, refused twice faint noise is put around the sound."""
    wave, edges = sound([("SIL", 0.5), *PARTS[1:-1], ("SIL", 0.5)], seed=1)
    wave[: RATE // 2], wave[-RATE // 2 :] = 1e-5, 1e-5
    found = made(times=times).align(wave, lexicon.words(SAID))
    assert (found.record["engine"], found.record["retries"]) == ("pocketsphinx", times)
    assert found.record["padding"] == pytest.approx(padding, abs=0.011)
    assert np.abs(found.spans[1:, 0] - edges).max() < 0.012 and found.spans[-1, 1] == len(wave) / RATE


def test_what_lies_outside_a_sound_is_refused():
    inside = [Spoken("SIL", -1, 0, 20), Spoken("AA", 0, 20, 30), Spoken("SIL", -1, 30, 60)]
    assert aligner._moved(inside, 10, 40) == [
        Spoken("SIL", -1, 0, 10),
        Spoken("AA", 0, 10, 20),
        Spoken("SIL", -1, 20, 40),
    ]
    assert aligner._moved(inside[1:2], 0, 40) == [
        *(Spoken("SIL", -1, 0, 20), Spoken("AA", 0, 20, 30), Spoken("SIL", -1, 30, 40))
    ]
    with pytest.raises(Refused, match="outside"):
        aligner._moved(inside, 31, 40)


def test_silence_and_too_short_a_sound(made, lexicon):
    words = lexicon.words(SAID)
    with pytest.raises(LemError, match="silence; there is nothing"):
        made().align(np.zeros(RATE, np.float32), words)
    with pytest.raises(LemError, match=r"0\.01 s of sound for 5 phones: too short for 30 ms each"):
        made().align(np.ones(160, np.float32), words)
    with pytest.raises(LemError, match="without words"):
        made(even=True).align(np.ones(160, np.float32), [])
    for wave in (np.zeros(RATE, np.float32), np.ones(160, np.float32)):
        found = made(even=True).align(wave, words)
        assert found.record["engine"] == "even" and found.record["score"] is None
        np.testing.assert_allclose(np.diff(found.spans), len(wave) / RATE / 5)


def long(seconds, seed=2):
    """(sound, edges, text): words with pauses of .05 to .5 s between them."""
    rng = np.random.default_rng(seed)
    spoken = {"see": ["S", "IY"], "as": ["AA", "S"], "ah": ["AA"], "say": ["S", "IY", "AA"]}
    parts, said = [("SIL", 0.3)], []
    while sum(s for _, s in parts) < seconds:
        said.append(str(rng.choice(list(spoken))))
        parts += [(phone, float(rng.uniform(0.08, 0.25))) for phone in spoken[said[-1]]]
        parts.append(("SIL", float(rng.uniform(0.05, 0.5))))
    return *sound(parts), " ".join(said)


def test_a_long_sound_is_cut_at_pauses(made, place, lexicon):
    wave, edges, text = long(95)
    words = lexicon.words(text)
    cut = list(pieces.cut(Model(place), wave, words))
    assert len(cut) >= 3 and [w for *_, some in cut for w in some] == words
    assert [a for a, *_ in cut] == [0, *[b for _, b, _ in cut[:-1]]] and cut[-1][1] == len(wave)
    assert max(b - a for a, b, _ in cut) <= pieces.LONGEST and all(a % HOP == 0 for a, *_ in cut)
    found = made(times=0).align(wave, words)
    assert found.record["pieces"] == len(cut) and len(found.spans) == len(edges) + 1
    assert np.abs(found.spans[1:, 0] - edges).max() < 0.02
    assert found.words[-2] == len(words) - 1


def test_no_more_than_a_piece_of_a_sound_is_asked_for(made, lexicon, monkeypatch):
    """From its beginning to its end, in windows of 2 s; what comes back is that of the array."""
    for name, seconds in (("WINDOW", 2), ("LONGEST", 3)):
        monkeypatch.setattr(pieces, name, seconds * RATE)
    for name, frames in (("MARGIN", 20), ("EARLIEST", 40)):
        monkeypatch.setattr(pieces, name, frames)

    class Asked:
        def __init__(self):
            self.slices = []

        def __len__(self):
            return len(wave)

        def __getitem__(self, part):
            self.slices.append(part.indices(len(wave))[:2])
            return wave[part]

    wave, _, text = long(12)
    asked = Asked()
    found, array = (made(times=0).align(sound, lexicon.words(text)) for sound in (asked, wave))
    assert np.array_equal(found.spans, array.spans) and np.array_equal(found.scores, array.scores)
    assert found.record == array.record and found.words == array.words and found.record["pieces"] > 3
    begins = [a for a, _ in asked.slices]
    assert begins == sorted(begins) and max(b - a for a, b in asked.slices) <= pieces.LONGEST


def test_a_long_silence_behind_a_short_text(made, lexicon):
    wave, edges = sound(PARTS)
    quiet = np.random.default_rng(0).normal(0, 1e-3, 60 * RATE).astype(np.float32)
    found = made().align(np.concatenate([wave, quiet]), lexicon.words(SAID))
    assert found.phones == [phone for phone, _ in PARTS] and np.abs(found.spans[1:, 0] - edges).max() < 0.02
    assert found.spans[-1, 1] == pytest.approx(60 + len(wave) / RATE)
    rest = pieces.cut(made().model, np.concatenate([wave, quiet, quiet]), lexicon.words(SAID))
    assert (
        max(b - a for a, b, _ in rest) <= pieces.LONGEST
    )  # what says nothing is cut, too, so that memory stays bounded
    before = made().align(np.concatenate([quiet, wave]), lexicon.words(SAID))
    assert before.phones == found.phones and np.abs(before.spans[1:, 0] - 60 - edges).max() < 0.02


def test_without_pauses_a_cut_lies_between_two_words(place, lexicon):
    parts, said = [("SIL", 0.2)], []
    rng = np.random.default_rng(4)
    while sum(seconds for _, seconds in parts) < 60:
        parts += [(phone, float(rng.uniform(0.1, 0.25))) for phone in ("S", "IY", "AA")]
        said.append("say")
    wave, edges = sound(parts)
    words = lexicon.words(" ".join(said))
    cut, before = list(pieces.cut(Model(place), wave, words)), 0
    assert len(cut) >= 2 and sum(len(some) for *_, some in cut) == len(words)
    for (_, end, some), (begin, *_) in pairwise(cut):
        before += len(some)
        assert begin == end and abs(end / RATE - edges[3 * before]) < 0.021  # where the next word begins


def test_where_a_window_is_cut():
    def found(*pauses, count=3000):
        """A window of words, a phone each, with pauses [begin, end)."""
        edges = [0, *(edge for pause in pauses for edge in pause), count]
        rows = [
            Spoken("SIL", -1, a, b) if i % 2 else Spoken("AA", i // 2, a, b) for i, (a, b) in enumerate(pairwise(edges))
        ]
        return [row for row in rows if row.end > row.begin]

    assert pieces._where(found((1000, 1040), (2000, 2020)), 3000) == 2010  # the last long one
    assert pieces._where(found((1000, 1008), (2000, 2004)), 3000) == 1004  # the longest, where none is long
    assert pieces._where(found((100, 200), (1000, 1008)), 3000) == 1004  # none too early
    assert pieces._where(found((2700, 3000)), 3000) == 2750  # a pause that the window's end cuts
    assert pieces._where(found((2850, 2900)), 3000) == 2800  # none too late
    words = [
        Spoken("AA", 0, 0, 1500),
        Spoken("AA", 1, 1500, 1900),
        Spoken("S", 1, 1900, 2900),
        Spoken("AA", 2, 2900, 3000),
    ]
    assert pieces._where(words, 3000) == 1500


def test_what_a_pause_costs_and_how_short_a_phone_may_be(place, lexicon):
    model, words = Model(place), lexicon.words("say ah")
    made = own.chain(model, [word.spoken[0] for word in words])
    assert made.phones == ["SIL", "S", "IY", "AA", "SIL", "AA", "SIL"]
    costs = dict(zip(made.segments.symbols, made.segments.costs))
    assert costs[0] == own.PAUSE_COST > 0 and {costs[s] for s in costs if s} == {0}
    streams = np.random.default_rng(0).normal(size=(12, 3, 13)).astype(np.float32)
    assert [(s.begin, s.end) for s in own.align(model, streams, words)] == [(0, 3), (3, 6), (6, 9), (9, 12)]
    with pytest.raises(LemError, match="too few for what it says"):
        own.align(model, streams[:11], words)


def test_the_record_of_several_pieces(lexicon):
    """Pauses on both sides of a cut are one; phones of 30 ms or less are counted; the score weighs phones by their frames."""
    one = [Spoken("S", 0, 0, 3), Spoken("IY", 0, 3, 7), Spoken("SIL", -1, 7, 10)]
    two = [Spoken("SIL", -1, 0, 6), Spoken("AA", 0, 6, 10)]
    parts = [
        aligner._Part(
            one, np.array([0, 0.03, 0.07, 0.1]), np.array([-1.0, -2.0, -3.0]), {"engine": "viterbi", "retries": 3}
        ),
        aligner._Part(
            two, np.array([0.1, 0.16, 0.2]), np.array([-6.0, -1.0]), {"engine": "pocketsphinx", "padding": -0.3}
        ),
    ]
    found = aligner._joined(parts, 0.2)
    assert found.phones == ["S", "IY", "SIL", "AA"] and found.words == [0, 0, -1, 1]
    np.testing.assert_allclose(found.spans, [[0, 0.03], [0.03, 0.07], [0.07, 0.16], [0.16, 0.2]])
    np.testing.assert_allclose(found.scores, [-1, -2, -5, -1])
    assert found.record == {
        "engine": "pocketsphinx+viterbi",
        "retries": 3,
        "padding": -0.3,
        "pieces": 2,
        "gaps": 1,
        "least": 1,
        "score": round((-3 - 8 - 4) / 11, 4),
    }
