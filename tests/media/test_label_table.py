"""Labels by name: one table for all tools."""

import numpy as np
import pytest

from lemtools.els.prepare import bank
from lemtools.media import Target, save
from lemtools.media.label_table import LabelTable, numbered
from lemtools.media.labels import Classes, labels, table
from lemtools.signal import LemError, Signal
from lemtools.train.data import load_items

TEXT = "name\temotion\tspeaker\na/1.wav\tanger\t03\nb/1.wav\tneutral\t08\n2\tneutral\t03\n'3\tjoy, or so\t08\n"


def test_names_by_path_by_stem_and_by_their_last_part():
    made = LabelTable("t.tsv", TEXT)
    assert made.columns == ["emotion", "speaker"]
    places = made.places(["b/1.flac", "./a/1", "some/where/2.wav", "'3.wav"])
    assert places.tolist() == [1, 0, 2, 3]
    assert made.column("emotion", places) == ["neutral", "anger", "neutral", "joy, or so"]
    assert made.column("speaker") == ["03", "08", "03", "08"]


def test_a_column_is_not_named_with_the_table(tmp_path):
    (tmp_path / "t.tsv").write_text(TEXT)
    with pytest.raises(
        LemError, match=r"t.tsv:emotion: the table alone is named here, .*t.tsv, and its column with --by emotion"
    ):
        table(f"{tmp_path}/t.tsv:emotion")


@pytest.mark.parametrize("mark", "\t,;")
def test_every_delimiter_quotes_and_the_mark_of_windows(tmp_path, mark):
    path = tmp_path / "t.txt"
    path.write_bytes(b"\xef\xbb\xbf" + f'name{mark}what\r\nx{mark}"a{mark}b"\r\n\r\ny{mark}c\r\n'.encode())
    assert table(str(path)).column(None) == [f"a{mark}b", "c"]


@pytest.mark.parametrize(
    ("text", "names", "said"),
    [
        (TEXT, ["9.wav"], "no row of 9.wav"),
        (TEXT, ["c/1.wav"], "2 rows end in the name of c/1.wav"),
        (TEXT, ["x/2.wav", "y/2.wav"], "2 is the row of both x/2.wav and y/2.wav"),
        (TEXT, ["2.wav", "2.wav"], "2 is the row of both"),
        (TEXT, None, "these items have none"),
        ("n\tx\na\t1\na.wav\t2\n", [], "a.wav stands there twice"),
        ("n\tx\na\t1\t2\n", [], "3 cells, not 2, in the row of a"),
        ("n\tx\tx\na\t1\t2\n", [], "two columns of one name"),
        ("n\tx\n", [], "no table of labels"),
        ("n\na\n", [], "no table of labels"),
        ("", [], "no table of labels"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text, names, said):
    with pytest.raises(LemError, match=said) as caught:
        LabelTable("t.tsv", text).places(names)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("t.tsv")


def test_one_item_may_come_again_where_it_is_asked_for():
    made = LabelTable("t.tsv", TEXT)
    assert made.places(["2.wav", "2.wav"], again=True).tolist() == made.places(["2.wav"]).tolist() * 2
    with pytest.raises(LemError, match="2 is the row of both x/2.wav and y/2.wav"):
        made.places(["x/2.wav", "y/2.wav"], again=True)


def test_lines_end_where_they_end():
    made = LabelTable("t", 'n\tx\r"a\n1"\tp\rb\u2028c\tq\r')
    assert made.column("x", made.places(["b\u2028c", "a\n1"])) == ["q", "p"]


def test_columns_that_are_not_there_or_have_gaps():
    made = LabelTable("t.tsv", TEXT)
    with pytest.raises(LemError, match="several columns, emotion, speaker"):
        made.column(None)
    with pytest.raises(LemError, match="no column 'sex'; there are emotion, speaker"):
        made.column("sex")
    for column in "xy":
        with pytest.raises(LemError, match=f"b has no {column}"):
            LabelTable("t.tsv", "n\tx\ty\na\t1\t2\nb\t \t\n").column(column)


def test_classes_of_words_and_of_whole_numbers():
    assert numbered(["b", "a", "c", "a"]).tolist() == [1, 0, 2, 0]
    assert numbered(["07", "3", "7"]).tolist() == [7, 3, 7]
    assert numbered(["7", "3", "x"]).tolist() == [1, 0, 2]
    assert numbered(["9999999", "1"]).tolist() == [1, 0]  # too large for a class: a word


def test_one_mechanism_for_banks_and_for_training(tmp_path):
    (tmp_path / "in").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 4, 4), np.uint8)
    save([Signal("image", images)], Target(f"{tmp_path}/in/%d.png"))
    where = str(tmp_path / "in")
    rows = "".join(f"in/{i}.png,{'ba'[i % 2]},{i}\n" for i in (3, 1, 4, 0, 2))
    path = tmp_path / "t.csv"
    path.write_text("name,kind,number\n" + rows)
    kinds = [1, 0, 1, 0, 1]
    assert bank([where], f"{path}:kind").labels.tolist() == kinds
    items = load_items([where])
    assert Classes(f"{path}:kind").of(len(items), items.names).tolist() == kinds
    assert Classes(f"{path}:number").of(len(items), items.names).tolist() == list(range(5))
    assert bank([where], f"{path}:number").labels.tolist() == list(range(5))
    with pytest.raises(LemError, match="a table of them"):
        labels(str(path))
    np.save(tmp_path / "l.npy", np.arange(5))
    with pytest.raises(LemError, match="have no column 'x'"):
        Classes(f"{tmp_path}/l.npy:x")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\r"])
def test_names_in_the_order_of_the_items(tmp_path, end):
    """One a line, with blanks inside, in any alphabet, as Windows writes them, too."""
    path = tmp_path / "l.txt"
    names = ["été", "c at", "冬", "c at", "1st"]
    path.write_bytes(end.join(["", *names, ""]).encode("utf-8-sig"))
    found = Classes(str(path))
    assert found.words == sorted(set(names)) and [found.words[k] for k in found.of(5, None)] == names
    assert labels(str(path)).tolist() == found.values.tolist()
    with pytest.raises(LemError, match="5 labels for 4 items"):
        found.of(4, None)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"up\n3\ndown\n", "3 stands among names of classes, as up"),
        (b"up\n-1e3\n", "-1e3 stands among names"),
        (b"0\nup\n", "no labels: an idx"),
        (b"0.5\n1.5\n", "no labels: an idx"),
        (b"0,1\n1,0\n", "no labels: an idx"),
        (b"\n\n", "no labels: an idx"),
        (b'{"a": 1}', "no labels: an idx"),
        (b"up\n\xff\xfe\n", "no labels: neither UTF-8"),
        (b"a\0b\n", "no labels: an idx"),
        (b"a b\n" * (1 << 25), "labels of more than 64 MiB"),
    ],
)
def test_what_is_neither_numbers_nor_names(tmp_path, raw, said):
    (tmp_path / "l.txt").write_bytes(raw)
    with pytest.raises(LemError, match=said) as caught:
        Classes(str(tmp_path / "l.txt"))
    assert "l.txt" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_whose_name_has_a_colon_is_itself(tmp_path):
    (tmp_path / "a:b").write_text("0 1 2\n")
    assert Classes(str(tmp_path / "a:b")).of(3, None).tolist() == [0, 1, 2]
