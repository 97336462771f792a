"""Words and their phones: the dictionary's form, what a text is taken apart into, phones that are given."""

import pytest

from lemtools.phones import espeak
from lemtools.phones.words import Entry, Lexicon, given, read
from lemtools.signal import LemError

DICT = """;;; a comment
# another
hello HH AH0 L OW1
hello(2) HH EH L OW
world W ER1 L D # a remark
it's IH T S
rock R AA K
"""


@pytest.fixture
def lexicon(tmp_path):
    (tmp_path / "cmu.dict").write_text(DICT)
    return Lexicon(str(tmp_path / "cmu.dict"))


@pytest.fixture
def no_rules(monkeypatch):
    monkeypatch.setattr(espeak, "_library", lambda: None)


def test_the_form_of_a_dictionary(tmp_path):
    (tmp_path / "a.dict").write_text(DICT)
    found = read(str(tmp_path / "a.dict"))
    assert found["hello"] == (("HH", "AH", "L", "OW"), ("HH", "EH", "L", "OW"))
    assert found["world"] == (("W", "ER", "L", "D"),) and len(found) == 4


@pytest.mark.parametrize(
    ("line", "said"),
    [("hello HH XX", "line 1: 'XX' is no ARPABET phone"), ("hello", "line 1: 'hello' has no phones")],
)
def test_a_dictionary_that_is_none(tmp_path, line, said):
    (tmp_path / "a.dict").write_text(line)
    with pytest.raises(LemError, match=said):
        read(str(tmp_path / "a.dict"))
    with pytest.raises(LemError, match="b.dict: No such file or directory; --dict takes a file with lines"):
        read(str(tmp_path / "b.dict"))
    (tmp_path / "a.dict").write_bytes(b"caf\xe9 K AE F EY\n")
    with pytest.raises(
        LemError, match=r"a.dict: not UTF-8 text .*convert it to UTF-8 first: iconv -f ISO-8859-1 -t UTF-8"
    ):
        read(str(tmp_path / "a.dict"))


def test_a_text_is_taken_apart(lexicon, no_rules):
    found = lexicon.words("“Hello,” WORLD — it’s hello-world; 'rock'!\n")  # noqa: RUF001
    assert [word.text for word in found] == ["hello", "world", "it's", "hello", "world", "rock"]
    assert len(found[0].spoken) == 2 and lexicon.words("... -- !") == []


def test_a_word_that_nothing_tells(lexicon, no_rules):
    with pytest.raises(LemError, match=r"the word 'blorg' is not in the dictionary; give its phones with --dict FILE"):
        lexicon.words("hello Blorg.")


def test_what_is_said_is_never_left_out(lexicon, monkeypatch):
    """Signs that are spoken, and numbers with marks between their digits, are words, and go to the rules as they stand."""
    asked: list[str] = []
    monkeypatch.setattr(espeak, "phones", lambda word, language: asked.append(word) or ["AA"])
    lexicon.words("$5, 50% 1,000.50 3.5. 10:30! (7) 1,2-3 a.b R&B & c++ x=4")
    assert asked == ["$5", "50%", "1,000.50", "3.5", "10:30", "7", "1,2", "3", "a", "b", "r&b", "&", "c++", "x", "4"]


def test_the_way_out_is_one_that_leads_out(lexicon, monkeypatch, no_rules):
    with pytest.raises(
        LemError, match="'5%' is not in the dictionary; give .*, write it in letters, as it is spoken, or"
    ):
        lexicon.words("hello 5%")
    with pytest.raises(LemError, match="--language de is spoken by rules, not by the dictionary.*pip install espeakng"):
        Lexicon(lexicon.path, language="de").words("hello")
    monkeypatch.setattr(espeak, "installed", lambda: True)
    with pytest.raises(
        LemError, match=r"the rules of espeak-ng have no phones for 'blorg'; give its phones with --dict FILE$"
    ):
        lexicon.words("blorg")


def test_an_own_dictionary_comes_first(lexicon, tmp_path, no_rules):
    (tmp_path / "own.dict").write_text("hello HH AY\nblorg B L AO R G\n")
    own = Lexicon(lexicon.path, str(tmp_path / "own.dict"))
    assert [w.spoken[0] for w in own.words("hello blorg rock")] == [
        ("HH", "AY"),
        tuple("B L AO R G".split()),
        ("R", "AA", "K"),
    ]


def test_rules_of_espeak_where_they_are(lexicon, monkeypatch):
    monkeypatch.setattr(espeak, "phones", lambda word, language: ["B", "L"] if language == "en" else ["P"])
    assert lexicon.words("blorg") == [Entry("blorg", (("B", "L"),))] and lexicon.ruled == {"blorg"}
    german = Lexicon(lexicon.path, language="de")
    assert german.words("hello") == [Entry("hello", (("P",),))]


def test_phones_of_the_library_itself():
    pytest.importorskip("espeakng_loader", reason="no espeak-ng (espeakng-loader)")
    assert espeak.phones("strike", "en") == "S T R AY K".split()
    assert espeak.phones("ich", "de") == ["IH", "SH"]
    with pytest.raises(LemError, match="speaks no 'xx-none'"):
        espeak.phones("a", "xx-none")


def test_phones_that_are_given():
    found = given("d a s | v I l\n@ | (...)")
    assert found == [
        Entry("das", (("D", "AA", "S"),), ("d", "a", "s")),
        Entry("vIl", (("V", "IH", "L"),), ("v", "I", "l")),
        Entry("@", (("AH",),), ("@",)),
    ]
    with pytest.raises(LemError, match="'%' is no phone in"):
        given("d a %")
