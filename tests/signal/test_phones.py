# ruff: noqa: RUF001
"""The table of phones: every alphabet says the same, and the classes are those of phonetics."""

import pytest

from lemtools.signal import LemError
from lemtools.signal.phones import (
    ALPHABETS,
    CLASSES,
    KINDS,
    PAUSE,
    PHONES,
    READ,
    alphabet_of,
    kind,
    nearest,
    read,
    spelt,
)


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_every_alphabet_round_trips(alphabet):
    names = [phone.arpabet for phone in PHONES] + [PAUSE]
    written = spelt(names, alphabet)
    assert len(set(written)) == len(names) == 40
    assert [nearest(symbol, alphabet) for symbol in written] == names


def test_an_alphabet_that_is_not_there():
    with pytest.raises(LemError, match="no alphabet 'x'; there are arpabet, ipa, kokoro"):
        spelt(["AA"], "x")


def test_letters_of_misaki_for_diphthongs():
    assert spelt("EY AY OW AW OY CH JH".split(), "kokoro") == list("AIOWYʧʤ")


@pytest.mark.parametrize(
    ("alphabet", "symbols", "phones"),
    [
        ("arpabet", "AH0 AX T", "AH AH T"),
        ("ipa", "ˈaɪ t͡ʃ iː r ç", "AY CH IY R SH"),
        ("sampa", "i: a6 @U D N S C 4", "IY AA OW DH NG SH SH R"),
        ("kokoro", "ˈA ə", "EY AH"),
    ],
)
def test_other_phones_are_read_as_the_nearest(alphabet, symbols, phones):
    assert [nearest(symbol, alphabet) for symbol in symbols.split()] == phones.split()


def test_a_text_without_spaces():
    assert read("hˈaʊtʃˌiː%əl", "ipa") == "HH AW CH IY AH L".split()
    assert read("wˈɜɹldʤO", "kokoro") == "W ER L D JH OW".split()


def test_unknown_symbols_are_unknown():
    assert [nearest("%", name) for name in READ] == [None] * 4 and kind("%", "ipa") is None
    assert nearest("TX", "arpabet") is None  # not T


@pytest.mark.parametrize(
    ("symbols", "alphabet"),
    [
        ("S T R AY K", "arpabet"),
        ("s t ɹ aɪ k", "ipa"),
        ("s t ɹ I k", "kokoro"),
        ("S t R aI k @", "sampa"),
        ("f aI n @", "sampa"),
        ("d E I n a l i6 S", "sampa"),
        ("hh ah0 l ow1 sil", "arpabet"),
        ("S IY QQ AA", "arpabet"),  # a slip: as SAMPA all could be read
    ],
)
def test_the_alphabet_of_a_sequence(symbols, alphabet):
    assert alphabet_of(symbols.split()) == alphabet


def test_classes():
    assert {kind(phone.arpabet, "arpabet") for phone in PHONES} | {"silence"} == set(CLASSES) == set(KINDS.values())
    assert [kind(s, "sampa") for s in ("a", "m", "S", "?", "tS", "l", "")] == [
        *("vowel", "nasal", "fricative", "stop", "affricate", "approximant", "silence")
    ]
    assert (kind("D", "arpabet"), kind("D", "sampa")) == ("stop", "fricative")
