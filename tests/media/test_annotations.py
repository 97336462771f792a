# ruff: noqa: RUF001
"""Labels with times: TextGrids long and short, HTK, tables, Emu's JSON and our own, read, written, refused."""

import json
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.commands import lem_fork
from lemtools.media import Target, load, save, textgrid
from lemtools.media.annotations import PHONES, WRITERS
from lemtools.media.textgrid import Tier
from lemtools.signal import Alphabet, LemError, Signal, Word
from lemtools.signal.phones import symbols_of

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0 
xmax = 2.5 
tiers? <exists> 
size = 3 
item []: 
    item [1]:
        class = "IntervalTier" 
        name = "{words}" 
        xmin = 0 
        xmax = 2.5 
        intervals: size = 2 
        intervals [1]:
            xmin = 0 
            xmax = 1.25 
            text = "say ""hi"" ! 3 <exists>" 
        intervals [2]:
            xmin = 1.25 
            xmax = 2.5 
            text = "" 
    item [2]:
        class = "TextTier" 
        name = "clicks" 
        xmin = 0 
        xmax = 2.5 
        points: size = 1 
        points [1]:
            number = 1.5 
            mark = "x" 
    item [3]:
        class = "IntervalTier" 
        name = "{phones}" 
        xmin = 0 
        xmax = 2.5 
        intervals: size = 3 
        intervals [1]:
            xmin = 0 
            xmax = 0.7 
            text = "" 
        intervals [2]:
            xmin = 0.7 
            xmax = 1.25 
            text = "ʃ" 
        intervals [3]:
            xmin = 1.25 
            xmax = 2.5 
            text = "aɪ" 
"""  # noqa: W291  as Praat writes it, with a space behind each line
SHORT = """File type = "ooTextFile"
"TextGrid"

0
2.5
<exists>
3
"IntervalTier" "{words}" 0 2.5 2
0 1.25 "say ""hi"" ! 3 <exists>" ! a comment with "quotes" and 7
1.25 2.5 ""
"TextTier" "clicks" 0 2.5 1
1.5 "x"
"IntervalTier" "{phones}" 0 2.5 3
0 0.7 ""
0.7 1.25 "ʃ"
1.25 2.5 "aɪ"
"""
NAMED = {"words": "words", "phones": "phones"}
SPANS = [[0, 0.7], [0.7, 1.25], [1.25, 2.5]]


def loaded(path, raw, **how) -> Signal:
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    (signal,) = load(str(path), **how)
    return signal


def texts(signal: Signal, item: int = 0) -> list[str]:
    return signal.alphabet.texts(signal.data[item])


@pytest.mark.parametrize("form", [LONG, SHORT], ids=["long", "short"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_textgrid_of_praat(tmp_path, form, codec, end):
    raw = form.format(**NAMED).replace("\n", end).encode(codec)
    raw = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(codec, b"") + raw
    signal = loaded(tmp_path / "a.grid", raw)  # known by its bytes, not by its name
    assert signal.kind == "tokens" and signal.names == ["a.grid"] and signal.last
    assert texts(signal) == ["", "ʃ", "aɪ"] and signal.alphabet.name == "ipa" and signal.depth == 6
    assert signal.spans.tolist() == [SPANS] and signal.scores is None
    assert signal.words == [[Word('say "hi" ! 3 <exists>', 0, 1.25)]]


@pytest.mark.parametrize("phones", [*PHONES, "MAU", "Phonetic", "mary - phones"])
@pytest.mark.parametrize("words", ["ORT", "ORT-MAU", "mary - words"])
def test_tiers_by_the_names_that_programs_give_them(tmp_path, phones, words):
    signal = loaded(tmp_path / "a.TextGrid", LONG.format(words=words, phones=phones))
    assert texts(signal) == ["", "ʃ", "aɪ"] and len(signal.words[0]) == 1


def test_other_tiers_are_picked_by_key(tmp_path):
    raw = LONG.format(words="said", phones="sounds")
    with pytest.raises(
        LemError, match=r"a\.TextGrid: which interval tier holds the phones\? --key NAME .*said, sounds$"
    ):
        loaded(tmp_path / "a.TextGrid", raw)
    assert texts(loaded(tmp_path / "a.TextGrid", raw, key="sounds")) == ["", "ʃ", "aɪ"]
    words = loaded(tmp_path / "a.TextGrid", LONG.format(**NAMED), key="words")
    assert texts(words) == ['say "hi" ! 3 <exists>', ""] and words.words is None and words.alphabet.name == "file"
    with pytest.raises(
        LemError,
        match=r"no interval tiers called 'clicks'; there are: said, sounds; .* --key NAME,NAME takes the first",
    ):
        loaded(tmp_path / "a.TextGrid", raw, key="clicks")
    assert texts(loaded(tmp_path / "a.TextGrid", raw, key="clicks,sounds,said")) == ["", "ʃ", "aɪ"]
    comma = loaded(tmp_path / "a.TextGrid", LONG.format(words="sounds", phones="sounds,said"), key="sounds,said")
    assert texts(comma) == ["", "ʃ", "aɪ"]
    with pytest.raises(LemError, match="several interval tiers called 'x'"):
        loaded(tmp_path / "a.TextGrid", LONG.format(words="x", phones="x"), key="x")
    with pytest.raises(LemError, match="which interval tier"):
        loaded(tmp_path / "a.TextGrid", LONG.format(words="Phones", phones="phones"))


@pytest.mark.parametrize(
    "labels, name",
    [
        ("HH AH0 L OW1 SIL", "arpabet"),
        ("hh ah l ow sil", "arpabet"),
        ("h ə l oʊ ˈaɪ", "ipa"),
        ("h @ l aU_n 9 {", "sampa"),
        ("the tin is at the sea", "file"),
        ("b1 xq17 zz", "file"),
    ],
)
def test_which_alphabet_labels_are_in(tmp_path, labels, name):
    rows = [(i, i + 1, label) for i, label in enumerate(labels.split())]
    assert loaded(tmp_path / "a", textgrid.write([Tier("phones", rows)])).alphabet.name == name


def test_ids_of_files_in_one_alphabet_mean_the_same(tmp_path):
    made = []
    for i, labels in enumerate(("HH AY SIL", "SIL OW")):
        rows = [(k, k + 1, label) for k, label in enumerate(labels.split())]
        made.append(loaded(tmp_path / f"{i}", textgrid.write([Tier("phones", rows)])))
    assert made[0].alphabet == made[1].alphabet == Alphabet("arpabet", symbols_of("arpabet"))
    assert texts(made[1]) == ["SIL", "OW"] and made[0].data[0, 2] == made[1].data[0, 0] == 0
    # labels that are not all in it have an alphabet of their own
    rows = [(0, 1, "HH"), (1, 2, "AH0"), (2, 3, "L"), (3, 4, "X9")]
    own = loaded(tmp_path / "own", textgrid.write([Tier("phones", rows)])).alphabet
    assert own == Alphabet("arpabet", ("AH0", "HH", "L", "X9"))


def grids(folder, **labels):
    for name, line in labels.items():
        rows = [(k, k + 1, label) for k, label in enumerate(line.split())]
        (folder / f"{name}.TextGrid").write_text(textgrid.write([Tier("phones", rows)]))


def test_lost_phones_are_recalled_from_a_store_in_their_own_alphabet(tmp_path):
    grids(tmp_path, a="HH AY SIL HH AY SIL HH AY SIL HH AY SIL", b="SIL HH AY SIL", x="h aɪ _x aɪ")
    run = lambda *words: lem_fork(*words, cwd=tmp_path)
    (tmp_path / "s.st").write_bytes(run("fragment", "--mask", ".25", "b.TextGrid").stdout)
    done = run("reconstruct", "--memory", "a.TextGrid", "s.st", "-o", "back.TextGrid")
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    (back,) = load(str(tmp_path / "back.TextGrid"))
    assert texts(back) == ["SIL", "HH", "AY", "SIL"] and back.spans.tolist() == [[[k, k + 1] for k in range(4)]]
    for words, message in {
        "reconstruct --memory x.TextGrid s.st": b"memory: tokens of ipa with 3 symbols cannot recall tokens of arpabet",
        "reconstruct --memory a.TextGrid x.TextGrid s.st": b"tokens of ipa with 3 symbols among others of arpabet with 40",
        "train lm --data a.TextGrid --steps 1 -o m.safetensors": b"symbols of arpabet, where text or its tokens are learnt; write",
    }.items():
        words = words.replace("a.TextGrid x.TextGrid", "a.TextGrid --memory x.TextGrid")
        done = run(*words.split())
        assert done.returncode == 2 and message in done.stderr and done.stderr.count(b"\n") == 1, done.stderr
    # a window is recalled, but when what lies round it was said is not known
    (tmp_path / "c.st").write_bytes(run("fragment", "--crop", "2+1", "b.TextGrid").stdout)
    done = run("reconstruct", "--memory", "a.TextGrid", "c.st", "--to", "txt")
    assert done.returncode == 0 and done.stdout == b"SIL HH AY SIL\n", done.stderr


def test_the_only_tier_needs_no_name(tmp_path):
    (tmp_path / "a").write_text(textgrid.write([Tier("anything", [(0, 1, "a")])]))
    (signal,) = load(str(tmp_path / "a"))
    assert texts(signal) == ["a"] and signal.words is None


@pytest.mark.parametrize(
    "change, message",
    [
        (("xmin = 1.25 \n            xmax = 2.5 \n            text = \"a", "xmin = 1.0 \n xmax = 2.5 \n text = \"a"),
         "tier phones: one begins before the one before it ends, at 1.25 s; mend that tier, or take another one with --key"),
        (("xmax = 0.7 ", "xmax = -0.7 "), "tier phones: -0.7 s, an end before its begin, 0 s"),
        (("xmin = 0.7 \n            xmax = 1.25", "xmin = 3 \n xmax = 4"), "tier phones: times out of order"),
        (('"aɪ"', "7"), "damaged TextGrid: a number, '7.0', for a text (in tier phones, interval 3 of 3)"),
        (("intervals: size = 3", "intervals: size = 4"), "a TextGrid cut short (in tier phones, interval 4 of 4)"),
        (("intervals: size = 3", "intervals: size = -1"), "damaged TextGrid: -1 as the number of tier phones"),
        (("intervals: size = 3", "intervals: size = 1e300"), "cut short"),
        (("xmax = 0.7 ", "xmax = 1e999 "), "tier phones: times that are not finite"),
        (('"TextGrid"', '"Sound 2"'), "a Praat file of Sound 2, not a TextGrid"),
        (('"TextTier"', '"OddTier"'), "tier 2 (clicks): a 'OddTier', where intervals or points are known"),
        (("<exists> \nsize", "<absent> \nsize"), "no tier of intervals; tiers of points"),
        (("ʃ", "\udcff"), "a TextGrid in neither UTF-8 nor UTF-16"),
    ],
)  # fmt: skip
def test_damaged_textgrids(tmp_path, change, message):
    raw = LONG.format(**NAMED).replace(*change).encode("utf-8", "surrogateescape")
    with pytest.raises(LemError) as caught:
        loaded(tmp_path / "a.TextGrid", raw)
    assert message in str(caught.value) and "\n" not in str(caught.value) and "a.TextGrid" in str(caught.value)


HEAD = 'File type = "ooTextFile" "TextGrid" '


@pytest.mark.parametrize("run", ['"', "1", "1.", "1e", "<a", "!", "a ", '""', "-", "\\", "<a> "])
def test_long_runs_take_no_longer_than_they_are(tmp_path, run):
    started = time.process_time()
    with pytest.raises(LemError, match="TextGrid"):
        loaded(tmp_path / "a.TextGrid", HEAD + run * 300_000 + "x")
    assert time.process_time() - started < 3


def test_numbers_of_any_length_are_numbers(tmp_path):
    long = "9" * 5000
    with pytest.raises(LemError, match="times that are not finite"):
        loaded(tmp_path / "a.lab", f"0 {long} a\n")
    with pytest.raises(LemError, match="times that are not finite"):
        loaded(tmp_path / "a.TextGrid", LONG.format(**NAMED).replace("xmax = 0.7 ", f"xmax = {long} "))
    with pytest.raises(LemError, match="70000 symbols, of which an alphabet has 65536 at most"):
        loaded(tmp_path / "a.lab", "".join(f"{i} {i + 1} w{i}\n" for i in range(70000)))
    record = {"annotation": 1, "phones": [{"text": "a", "begin": 0, "end": 10**400}]}
    with pytest.raises(LemError, match="damaged annotation"):
        loaded(tmp_path / "a.json", json.dumps(record))


@pytest.mark.parametrize("raw", [b"ooBinaryFile\x08TextGrid", b'"Praat chronological TextGrid text file"\n0 1'])
def test_other_files_of_praat(tmp_path, raw):
    with pytest.raises(LemError, match="which is not read"):
        loaded(tmp_path / "a.TextGrid", raw)


def test_a_textgrid_is_text_where_it_is_asked_for(tmp_path):
    signal = loaded(tmp_path / "a.TextGrid", LONG, kind="text")
    assert signal.data.tobytes() == LONG.encode() and signal.spans is None


def test_a_gap_in_a_tier_stays_a_gap(tmp_path):
    raw = LONG.format(**NAMED).replace("xmin = 0.7 ", "xmin = 0.9 ")
    assert loaded(tmp_path / "a", raw).spans.tolist() == [[[0, 0.7], [0.9, 1.25], [1.25, 2.5]]]


# --- round trips

LABELS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=4)


@st.composite
def items(draw, labels=LABELS, gaps=True, tick=None):
    """A batch of one spoken item."""
    said = draw(st.lists(labels, min_size=1, max_size=6))
    count = 2 * len(said) if gaps else len(said) + 1
    if tick:
        times = sorted(draw(st.sets(st.integers(0, 10**9), min_size=count, max_size=count)))
        times = [time / tick for time in times]
    else:
        times = sorted(draw(st.sets(st.floats(0, 1e4), min_size=count, max_size=count)))
    spans = [times[i : i + 2] for i in range(0, count, 2)] if gaps else [list(pair) for pair in pairwise(times)]
    symbols = tuple(sorted(set(said)))
    alphabet = Alphabet("file", symbols)
    words = [[Word(text or "w", *span) for text, span in zip(said, spans) if (text or "w").strip()]]
    scores = np.array(draw(st.lists(st.floats(-9, 9, width=32), min_size=len(said), max_size=len(said))), np.float32)
    fields = {"spans": np.array([spans]), "scores": scores[None], "words": words, "alphabet": alphabet}
    return Signal("tokens", alphabet.ids(said)[None], depth=alphabet.depth, names=["a.wav"], last=True, **fields)


def back(item: Signal, form: str, folder) -> Signal:
    save([item], Target(str(folder / f"a.{form}")))
    (read,) = load(str(folder / f"a.{form}"))
    return read


@given(item=items())
def test_json_keeps_all(item, tmp_path_factory):
    item.history = [{"tool": "x", "engine": "y", "gaps": 2}]
    read = back(item, "json", tmp_path_factory.mktemp("json"))
    assert texts(read) == texts(item) and np.array_equal(read.spans, item.spans) and read.words == item.words
    assert np.array_equal(read.scores, item.scores) and read.history == item.history
    assert read.alphabet == item.alphabet and read.data.dtype == item.data.dtype


@given(item=items(gaps=False))
def test_a_textgrid_keeps_all_but_scores(item, tmp_path_factory):
    read = back(item, "TextGrid", tmp_path_factory.mktemp("grid"))
    begin = item.spans[0, 0, 0]
    before = 1 if begin > 0 else 0  # a gap at the head becomes an interval
    assert texts(read) == [""] * before + texts(item) and read.words == item.words and read.scores is None
    assert np.array_equal(read.spans[:, before:], item.spans) and read.spans[0, 0, 0] == 0


@given(item=items())
def test_gaps_are_empty_intervals_of_a_textgrid(item, tmp_path_factory):
    read = back(item, "TextGrid", tmp_path_factory.mktemp("grid"))
    assert (read.spans[0, 1:, 0] == read.spans[0, :-1, 1]).all()  # nothing is left open
    kept = [(text, *span) for text, span in zip(texts(read), read.spans[0].tolist()) if text]
    assert kept == [(text, *span) for text, span in zip(texts(item), item.spans[0].tolist()) if text]


@given(item=items(st.text("abʃ:~@{ ", max_size=4), tick=10**7))
def test_htk_keeps_labels_scores_and_times_of_100_ns(item, tmp_path_factory):
    read = back(item, "lab", tmp_path_factory.mktemp("lab"))
    assert texts(read) == texts(item) and np.array_equal(read.spans, item.spans) and read.words is None
    assert np.array_equal(read.scores, item.scores)


def test_tiers_of_a_textgrid_end_together_and_do_not_overlap(tmp_path):
    words, phones = Tier("words", [(0, 1, "w")]), Tier("phones", [(0, 1.0000004, "a"), (1, 3, "b")])
    assert textgrid.read(textgrid.write([words, phones])) == [
        Tier("words", [(0, 1, "w"), (1, 3, "")]),
        Tier("phones", [(0, 1.0000004, "a"), (1.0000004, 3, "b")]),
    ]


def test_a_folder_of_several_items(tmp_path):
    alphabet = Alphabet("arpabet", ("SIL", "AA"))
    spans = np.array([[[0.0, 1.0], [1.0, 2.0]], [[0.0, 0.5], [0.5, 2.0]]])
    both = Signal("tokens", np.array([[0, 1], [1, 0]]), spans=spans, alphabet=alphabet, names=["a.wav", "b/c.flac"])
    save([both], Target(f"{tmp_path}/", to="textgrid"))
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == [
        "a.TextGrid",
        "b/c.TextGrid",
    ]
    (read,) = load(str(tmp_path))
    assert read.names == ["a.TextGrid", "b/c.TextGrid"] and np.array_equal(read.spans, spans)
    assert [texts(read, i) for i in (0, 1)] == [["SIL", "AA"], ["AA", "SIL"]]
    with pytest.raises(LemError, match="more than one item does not fit a textgrid"):
        save([both], Target(str(tmp_path / "x.TextGrid")))


@pytest.mark.parametrize(
    "spans, form, message",
    [
        ([[-0.5, 1]], "TextGrid", "'a' begins at -0.5 s; a TextGrid written here begins at 0: write json"),
        ([[1, 1]], "TextGrid", "'a' at 1 s has no length, which a TextGrid does not hold; write json"),
        ([[-0.5, 1]], "lab", "HTK's times at 0; write json"),
        (None, "TextGrid", "tokens without times or an alphabet; write safetensors or npy"),
        (None, "json", "tokens without times or an alphabet"),
    ],
)
def test_what_a_format_does_not_hold(tmp_path, spans, form, message):
    spans = None if spans is None else np.array([spans], float)
    item = Signal("tokens", np.array([[0]]), spans=spans, alphabet=Alphabet("file", ("a",)))
    with pytest.raises(LemError, match=message):
        save([item], Target(str(tmp_path / f"a.{form}")))
    assert not list(tmp_path.iterdir())


def test_what_is_lost_is_written_as_lost():
    item = Signal(
        "tokens", np.array([[1, 1]]), spans=np.array([[[0.0, 1], [1, 2]]]), alphabet=Alphabet("x", ("a", "b"))
    )
    lost = replace(item, mask=np.array([[True, False]]))
    assert [line.split()[2] for line in WRITERS["lab"](lost).splitlines()] == ["b", "<lost>"]


# --- other files


def test_htk_by_name_or_by_kind(tmp_path):
    raw = '0 2500000 sil -5.5\n2500000 4000000 hh -1.25 hello\r\n4000000 9999999 "a b" 3\n\n'
    signal = loaded(tmp_path / "x.lab", raw)
    assert texts(signal) == ["sil", "hh", "a b"] and signal.scores.tolist() == [[-5.5, -1.25, 3]]
    assert signal.spans.tolist() == [[[0, 0.25], [0.25, 0.4], [0.4, 0.9999999]]]
    assert loaded(tmp_path / "x.txt", raw).spans is None  # it has no magic
    assert texts(loaded(tmp_path / "x.txt", raw, kind="lab")) == ["sil", "hh", "a b"]
    assert loaded(tmp_path / "x.lab", raw.replace(" 3\n", "\n")).scores is None  # one has none
    # what else is called .lab, such as the words that are said, is text
    assert loaded(tmp_path / "y.lab", "say hello\n").spans is None
    for bad, message in {
        "0 1 a\n5 b c\n": "line 2: '5 b c' is no begin and end in whole 100 ns",
        "0 1 a\n1.5 2 b\n": "line 2: '1.5 2 b' is no begin",
        "#!MLF!#\n": "a master label file of HTK",
        "0 5 a\n4999 9 b\n": "tier lab: 9e-07 s, an end before its begin",
    }.items():
        with pytest.raises(LemError, match=message):
            loaded(tmp_path / "x.lab", bad, kind="lab")
    with pytest.raises(LemError, match="line 1: '0 0.5 a' is no begin .*; seconds go into a table with a first row of"):
        loaded(tmp_path / "x.lab", "0 0.5 a\n0.5 .7 b\n")  # no text that is said


@pytest.mark.parametrize("mark", ["\t", ",", ";"])
def test_a_table_of_labels(tmp_path, mark):
    rows = [("Begin", "end", "note", "Label"), ("0.1", "0.25", "x", "_d -sth"), ("0.25", "0.5", "", "a")]
    signal = loaded(tmp_path / "x.tsv", "\n".join(mark.join(row) for row in rows) + "\n")
    assert texts(signal) == ["_d -sth", "a"] and signal.spans.tolist() == [[[0.1, 0.25], [0.25, 0.5]]]
    with pytest.raises(
        LemError, match="x.tsv: line 3: no begin, end and label; times are seconds with a decimal point"
    ):
        loaded(tmp_path / "x.tsv", "\n".join(mark.join(row) for row in [*rows[:2], ("b", "1", "", "c")]))
    with pytest.warns(UserWarning, match="a table of numbers"):
        numbers = loaded(tmp_path / "x.csv", mark.join(["start", "end", "value"]) + "\n" + mark.join("123") + "\n")
    assert numbers.kind == "embedding"


def emu(**changes):
    segments = [("V", 0, 99), ("@", 100, 49)]
    items = [
        {"id": i, "sampleStart": begin, "sampleDur": count, "labels": [{"name": "Phonetic", "value": label}]}
        for i, (label, begin, count) in enumerate(segments)
    ]
    levels = [
        {"name": "Utterance", "type": "ITEM", "items": [{"id": 9, "labels": []}]},
        {"name": "Phonetic", "type": "SEGMENT", "items": items},
        {"name": "Tone", "type": "EVENT", "items": []},
    ]
    return {"name": "x", "annotates": "x.wav", "sampleRate": 1000, "levels": levels, "links": []} | changes


def test_an_annotation_of_emu(tmp_path):
    signal = loaded(tmp_path / "x_annot.json", json.dumps(emu(), indent=1))
    assert texts(signal) == ["V", "@"] and signal.spans.tolist() == [[[0, 0.1], [0.1, 0.15]]]
    assert signal.alphabet.name == "sampa"
    # words last over the segments that they lead to, on whatever way; what leads to none has no time
    labels = lambda text: [{"name": "Word", "value": "F"}, {"name": "Text", "value": text}]
    words = [
        {"id": 10, "labels": labels("both")},
        {"id": 11, "labels": labels("none")},
        {"id": 12, "labels": labels("more")},
    ]
    level = {"name": "Word", "type": "ITEM", "items": words}
    pairs = [(10, 9), (9, 10), (9, 0), (10, 1), (12, 1), (12, 2)]  # there is a circle, and a segment of two words
    third = {"id": 2, "sampleStart": 150, "sampleDur": 49, "labels": [{"name": "Phonetic", "value": "s"}]}
    emu_levels = emu()["levels"]
    emu_levels[1]["items"].append(third)
    links = [{"fromID": a, "toID": b} for a, b in pairs]
    said = loaded(tmp_path / "x_annot.json", json.dumps(emu(levels=[level, *emu_levels], links=links)))
    assert said.words == [[Word("both", 0, 0.15), Word("more", 0.15, 0.2)]] and texts(said) == ["V", "@", "s"]
    old = json.dumps(emu()).replace('"sampleDur": 99', '"sampleDur": 100')  # without the one that is added
    assert loaded(tmp_path / "x_annot.json", old).spans.tolist() == [[[0, 0.1], [0.1, 0.15]]]
    with pytest.raises(LemError, match="begins before the one before it ends"):
        loaded(tmp_path / "x_annot.json", old.replace('"sampleDur": 100', '"sampleDur": 101'))
    for damaged in (
        {"levels": 3},
        {"sampleRate": 0},
        {"levels": [{"name": "Phonetic", "type": "SEGMENT", "items": [{}]}]},
        {"levels": [{"name": "Word", "type": "ITEM", "items": []}], "links": [3]},
    ):
        with pytest.raises(LemError, match="damaged annotation of Emu"):
            loaded(tmp_path / "x_annot.json", json.dumps(emu(**damaged)))
    assert loaded(tmp_path / "y.json", '{"a": 1}').spans is None  # other JSON is text


@pytest.mark.parametrize(
    "change",
    [{"phones": 3}, {"phones": [{"text": "a"}]}, {"phones": [{"text": 1, "begin": 0, "end": 1}]}, {"history": 5}],
)
def test_damaged_json_of_our_own(tmp_path, change):
    record = {"annotation": 1, "phones": [{"text": "a", "begin": 0, "end": 1}]} | change
    with pytest.raises(LemError, match=r"x\.json: damaged annotation"):
        loaded(tmp_path / "x.json", json.dumps(record))


# --- folders, commands


def folder(tmp_path):
    import soundfile

    rng = np.random.default_rng(0)
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", rng.uniform(-0.5, 0.5, 800), 8000)
        (tmp_path / f"{name}.TextGrid").write_text(LONG.format(**NAMED))
    (tmp_path / "SOURCE.txt").write_text("where it is from")
    return tmp_path


def test_of_a_folder_with_sounds_the_sounds_are_read_or_the_labels(tmp_path):
    place = str(folder(tmp_path))
    assert [signal.names for signal in load(place)] == [["a.wav", "b.wav"]]
    assert [signal.names for signal in load(place, kind="tokens")] == [["a.TextGrid", "b.TextGrid"]]
    for name in "ab":
        (tmp_path / f"{name}.wav").unlink()
    assert [signal.names for signal in load(place)] == [["a.TextGrid", "b.TextGrid"]]


def test_commands(tmp_path):
    place = folder(tmp_path)
    for form in ("json", "lab", "textgrid"):
        done = lem_fork("fragment", "--mask", "0", "a.TextGrid", "--to", form, "-o", "-", cwd=place)
        assert done.returncode == 0 and done.stderr == b"", done.stderr
        assert done.stdout.startswith({"json": b'{"annotation": 1', "lab": b'0 7000000 ""\n'}.get(form, b"File type"))
    done = lem_fork("fragment", "--kind", "tokens", "--mask", "0", ".", "-o", "b.TextGrid", cwd=place)
    assert done.returncode == 2 and b"is input and output at once" in done.stderr
    done = lem_fork("encode", "--encoder", "text", "a.TextGrid", cwd=place)
    assert done.returncode == 2 and done.stderr.startswith(
        b"lem-encode: error: a.TextGrid: text encodes tokens, not symbols of"
    )
    (place / "bad.TextGrid").write_text(LONG.format(words="x", phones="y"))
    done = lem_fork("fragment", "--mask", "0", "bad.TextGrid", cwd=place)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and b"there are: x, y" in done.stderr
    done = lem_fork("fragment", "--mask", "0", "a.wav", "--to", "textgrid", cwd=place)
    assert done.returncode == 2 and b"audio does not fit a textgrid; write safetensors or npy" in done.stderr
    done = lem_fork("fragment", "--mask", "0", "a.TextGrid", "-o", "a.png", cwd=place)
    assert (
        done.returncode == 2 and b"tokens does not fit a png; write textgrid, lab, json or safetensors" in done.stderr
    )
