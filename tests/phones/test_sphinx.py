"""How pocketsphinx is asked, by one that only says what it was told; and, where it is installed, the real one."""

import sys
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from helpers.acoustics import sound
from lemtools.phones.sphinx import Refused, Sphinx, Spoken
from lemtools.phones.words import Entry
from lemtools.signal import LemError

WORDS = [Entry("a", (("AH",), ("EY",))), Entry("b", (("B", "IY"),)), Entry("a", (("AH",), ("EY",)))]


def entry(name, phones, start):
    """A word of an alignment: its phones, 10 frames each."""
    made = [SimpleNamespace(name=phone, start=start + 10 * k, duration=10) for k, phone in enumerate(phones)]
    return type("Entry", (list,), {"name": name})(made)


class Told:
    """In place of a decoder."""

    made: ClassVar[list] = []
    words: ClassVar[list[str]] = ["<sil>", "w0(2)", "w1", "[NOISE]", "w0"]
    hypothesis, fails = "w0 w1 w0", False

    def __init__(self, **how):
        self.how, self.told = how, []
        Told.made.append(self)

    def __getattr__(self, name):
        return lambda *args, **more: self.told.append((name, *args))

    def hyp(self):
        return self.hypothesis

    def set_alignment(self):
        self.told.append(("set_alignment",))
        if self.fails:
            raise RuntimeError("no alignment")

    def get_alignment(self):
        phones = {"w0(2)": ["EY"], "w0": ["AH"], "w1": ["B", "IY"]}
        starts = [0, 10, 20, 40, 50]
        return [entry(name, phones.get(name, ["SIL"]), at) for name, at in zip(self.words, starts)]


@pytest.fixture
def decoder(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", SimpleNamespace(Decoder=Told))
    monkeypatch.setattr(Told, "made", [])
    return Told


def test_words_by_names_of_their_own_and_pauses_by_none(decoder):
    found = Sphinx("M").align(np.array([0.5, -2.0], np.float32), WORDS)
    assert found == [
        *(Spoken("SIL", -1, 0, 10), Spoken("EY", 0, 10, 20), Spoken("B", 1, 20, 30)),
        *(Spoken("IY", 1, 30, 40), Spoken("SIL", -1, 40, 50), Spoken("AH", 2, 50, 60)),
    ]
    (made,) = decoder.made
    assert made.how["hmm"] == "M/en-us" and made.how["dict"] is None and made.how["lm"] is None
    run = [("start_utt",), ("process_raw", b"\x00\x40\x01\x80"), ("end_utt",)]
    assert made.told == [
        *(("add_word", "w0", "AH", True), ("add_word", "w0(2)", "EY", True), ("add_word", "w1", "B IY", True)),
        *(("set_align_text", "w0 w1 w0"), *run, ("set_alignment",), *run),
    ]


def test_each_sound_has_a_decoder_that_heard_no_other(decoder):
    sphinx = Sphinx("M")
    for _ in range(2):
        sphinx.align(np.zeros(2, np.float32), WORDS)
    one, two = decoder.made
    assert one.told == two.told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hypothesis": None}, "no path"),
        ({"fails": True}, "no alignment"),
        ({"words": ["<sil>", "w0"]}, "not all words"),
    ],
)
def test_what_it_gives_up(decoder, monkeypatch, change, said):
    for name, value in change.items():
        monkeypatch.setattr(Told, name, value)
    with pytest.raises(Refused, match=said):
        Sphinx("M").align(np.zeros(2, np.float32), WORDS)


def test_without_pocketsphinx(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(LemError, match=r"phones needs pocketsphinx: pip install 'lemtools\[align\]'"):
        Sphinx("M")


def test_the_real_one_answers_or_refuses_and_says_the_same_again(sphinx):
    from lemtools.phones.model import folder

    wave, _ = sound([("SIL", 0.3), ("S", 0.2), ("IY", 0.25), ("SIL", 0.3)])
    other, _ = sound([("SIL", 0.2), ("AA", 0.4), ("SIL", 0.2)])
    real = Sphinx(folder())

    def ask(wave, phones):
        try:
            return real.align(wave, [Entry("x", (tuple(phones),))])
        except Refused as refused:
            return str(refused)

    first = ask(wave, ["S", "IY"])
    ask(other, ["AA"])
    assert ask(wave, ["S", "IY"]) == first
    assert isinstance(first, str) or [s.phone for s in first if s.word == 0] == ["S", "IY"]
    assert isinstance(ask(wave[:160], ["S", "IY"]), str)
