"""CSV and TSV: what is names, what is numbers, what is refused, and what stays text; known answers each."""

import numpy as np
import pytest

from lemtools.media import load
from lemtools.signal import LemError


def read(path, **how):
    """(the values of a file: rows of an embedding, or its text; the notes)."""
    notes: list[str] = []
    (signal,) = load([str(path)], note=notes.append, **how)
    return bytes(signal.data[0].tolist()).decode() if signal.kind == "tokens" else signal.data.tolist(), notes


@pytest.mark.parametrize(
    "text, line, cell",
    [
        ("n/a,2\n3,4\n5,6\n", 1, "cell 1 is 'n/a'"),
        ("0.1,abc\n3,4\n", 1, "cell 2 is 'abc'"),
        ("1 000,2\n3,4\n", 1, "cell 1 is '1 000'"),
        ("$1,2\n3,4\n", 1, "cell 1 is '$1'"),
        ("1_000,2\n3,4\n", 1, "cell 1 is '1_000'"),
        ("0x10,2\n3,4\n", 1, "cell 1 is '0x10'"),
        ("0x10,0x11\n3,4\n", 1, "cell 1 is '0x10'"),
        ("NA,NA\n3,4\n", 1, "cell 1 is 'NA'"),
        (",2\n3,4\n5,6\n", 1, "cell 1 is empty"),
        ("a,b\n3,4\n5,x\n", 3, "cell 2 is 'x'"),
        ("# made by\n\na,b\n3,4\n5,\n", 5, "cell 2 is empty"),
        ("a,b,c\n1,2,\n3,4,5\n6,7,8\n", 2, "cell 3 is empty"),
        ("1,2\n3\n", 2, "1 cell, not 2,"),
        ("1,5;2\n1.5;2\n", 2, "cell 1 is '1.5'"),
    ],
)
@pytest.mark.parametrize("name", ["x.csv", "x"])
def test_what_is_no_number_is_refused_with_its_place(tmp_path, text, line, cell, name):
    if name == "x" and "#" in text:
        pytest.skip("a file of another name is text then")
    (tmp_path / name).write_text(text)
    with pytest.raises(LemError) as error:
        read(tmp_path / name)
    assert cell in str(error.value) and f"in line {line}; --kind text reads it as text" in str(error.value)
    assert read(tmp_path / name, kind="text")[0] == text


@pytest.mark.parametrize(
    "text, rows, said",
    [
        ("a,b\n1,2\n", [[1, 2]], "line 1 (a,b) taken for names"),
        ("1,5;2,5;3\n4;5,25;6\n", [[1.5, 2.5, 3], [4, 5.25, 6]], "decimal commas"),
        ("a;b\n1,5;2\n", [[1.5, 2]], "line 1 (a;b) taken for names".replace(";b", ",b")),
        ("1,2,\n3,4,\n", [[1, 2], [3, 4]], "2 dimensions"),
        ("a,b,\n1,2,\n3,4,\n", [[1, 2], [3, 4]], "line 1"),
        ("a,b\n1,2,\n3,4,\n", [[1, 2], [3, 4]], "line 1"),
        ("# by hand\n1,2\n# half way\n3,4\n", [[1, 2], [3, 4]], "begin with # left out"),
        (",a\n0,5\n1,6\n", [[5], [6]], "numbers them left out"),
        (",a\n1,5\n2,6\n", [[5], [6]], "numbers them left out"),
        (",a\n3,4\n5,6\n", [[3, 4], [5, 6]], "does not count the rows"),
        ("i,a\n0,5\n1,6\n", [[0, 5], [1, 6]], "line 1"),
    ],
)
@pytest.mark.parametrize("name", ["x.csv", "x"])
def test_numbers_as_people_write_them(tmp_path, text, rows, said, name):
    (tmp_path / name).write_text(text)
    found, notes = read(tmp_path / name)
    assert found == rows and len(notes) == 1 and said in notes[0]


@pytest.mark.parametrize(
    "text, rows",
    [
        ("1\n2.5\n", [[1], [2.5]]),
        ("my value\n1\n2\n", [[1], [2]]),
        ("time,volt\ns,V\n1,2\n", [[1, 2]]),
    ],
)
def test_the_name_of_a_file_says_that_it_is_a_table(tmp_path, text, rows):
    (tmp_path / "x.CSV").write_text(text)
    found, notes = read(tmp_path / "x.CSV")
    assert found == rows and len(notes) == 1
    (tmp_path / "x").write_text(text + "and so on\n")
    assert read(tmp_path / "x")[0] == text + "and so on\n"
    (tmp_path / "x").write_text(text)
    assert read(tmp_path / "x", kind="embedding")[0] == rows


@pytest.mark.parametrize(
    "text, why",
    [
        ("name,age\nAda,36\n", "cell 1 in line 2 is 'Ada'"),
        ("2020-01-01,1,2\n2020-01-02,3,4\n", "cell 1 in line 2 is '2020-01-02'"),
        ("a,b\n1,2,3\n4,5,6\n", "not of one length"),
    ],
)
def test_a_csv_that_is_read_as_text_says_why(tmp_path, text, why):
    (tmp_path / "x.csv").write_text(text)
    found, notes = read(tmp_path / "x.csv")
    assert found == text and len(notes) == 1 and why in notes[0] and "read as text" in notes[0]


def test_a_column_of_dates_is_said_without_a_name_too(tmp_path):
    (tmp_path / "x").write_text("2020-01-01,1,2\n2020-01-02,3,4\n")
    assert "cell 1 in line 2" in read(tmp_path / "x")[1][0]


def test_a_large_table_is_read_as_it_was(tmp_path):
    table = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
    np.savetxt(tmp_path / "x.csv", table, delimiter=",", fmt="%.9g", header="made by numpy")
    found = np.concatenate([signal.data for signal in load([str(tmp_path / "x.csv")], note=str)])
    assert np.array_equal(found, table)


def test_tokens_are_read_exactly_or_not_at_all(tmp_path):
    (tmp_path / "x.csv").write_text(f"{2**53},1\n")
    (signal,) = load([str(tmp_path / "x.csv")], kind="tokens", note=str)
    assert signal.data.tolist() == [[2**53, 1]]
    (tmp_path / "x.csv").write_text(f"{2**53 + 3},1\n")
    with pytest.raises(LemError, match="x.csv: tokens beyond 2.53; save them as NPY"):
        list(load([str(tmp_path / "x.csv")], kind="tokens"))
