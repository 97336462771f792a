"""Descriptions of files: what they let through, and what they name."""

import math

import numpy as np
import pytest

from lemtools.signal import Layout, LemError, Tensor, Value
from lemtools.signal.layout import of_arrays

GOOD = {
    Value("whole", 1, 9): (1, 9),
    Value("number", 0, 1): (0, 1, 0.5),
    Value("text"): ("", "x"),
    Value("flag"): (True, False),
    Value("list"): ([], [1, "a"]),
    Value("object"): ({}, {"a": 1}),
    Value("sizes", 1, 9): ([1], [2, 9]),
    Value("objects"): ([], [{}]),
    Value(("a", "b")): ("a", "b"),
}
BAD = {
    Value("whole", 1, 9): (0, 10, 1.0, True, "1", None, math.nan, 10**400),
    Value("number", 0, 1): (-1e-9, 1.1, math.nan, False, "0"),
    Value("number"): (math.inf, -math.inf, 10**400),
    Value("text"): (1, None, b"x"),
    Value("flag"): (1, "true", None),
    Value("list"): ({}, "ab"),
    Value("object"): ([], "{}"),
    Value("sizes", 1, 9): ([], [0], [True], [1.0], 3, [1, [2]]),
    Value("objects"): ([1], {}, [[]]),
    Value(("a", "b")): ("c", ["a"], None),
}


def test_values():
    for value, good in GOOD.items():
        assert all(map(value.fits, good)), value
    for value, bad in BAD.items():
        assert not any(map(value.fits, bad)), value


BOOK = Layout(
    {"parts": Value("whole", 1), "depth": Value("whole", 1), "name": Value("text", needed=False)},
    {
        "mean": Tensor("F32", "D", -9, 9),
        "basis": Tensor("float", "R D"),
        "ends": Tensor("whole", "R+1", needed=False),
        "book.*parts": Tensor("F32", "depth 4 ?"),
        "more.*": Tensor("any", "R ...", needed=False),
    },
)


def book(**other):
    """A file as BOOK says, and what is other in it; None: not there."""
    record = {"parts": 2, "depth": 3}
    tensors = {"mean": np.zeros(5, np.float32), "basis": np.zeros((2, 5)), "ends": np.zeros(3, np.int64)}
    tensors |= {f"book.{i}": np.zeros((3, 4, i + 1), np.float32) for i in range(2)}
    tensors |= {"more.x": np.zeros((2, 1, 7), bool), "unknown": np.zeros(1, np.uint8)}
    for name, value in other.items():
        name = name.replace("_", ".")
        held = record if name in (*BOOK.record, "x") else tensors
        held[name] = value
        if value is None:
            del held[name]
    return record, tensors


def checked(record, tensors):
    BOOK.check(record, of_arrays(tensors))
    BOOK.check_values(tensors)


LIES = {
    "its record has no 'parts'": {"parts": None},
    "its record's depth is '0'": {"depth": 0},
    "its record's name is '7'": {"name": 7},
    "no tensor mean": {"mean": None},
    "no tensor book.1": {"book_1": None},
    "no tensor book.2": {"parts": 3},
    "mean is I32, not F32": {"mean": np.zeros(5, np.int32)},
    "basis is U8, not float": {"basis": np.zeros((2, 5), np.uint8)},
    "basis has the shape [2, 6], not [R D] with R=2 D=5": {"basis": np.zeros((2, 6))},
    "mean has the shape [5, 1], not [D]": {"mean": np.zeros((5, 1), np.float32)},
    "ends has the shape [4], not [R+1] with R=2": {"ends": np.zeros(4, np.int64)},
    "book.1 has the shape [3, 5, 1], not [depth 4 ?] with depth=3": {"book_1": np.zeros((3, 5, 1), np.float32)},
    "more.x has the shape [3], not [R ...] with R=2": {"more_x": np.zeros(3)},
    "NaN or infinite values in unknown": {"unknown": np.array([np.nan])},
    "values of mean from 0.0 to 10.0": {"mean": np.array([0, 0, 0, 0, 10], np.float32)},
}


def test_a_file_as_it_is_described():
    checked(*book())
    checked(*book(ends=None, more_x=None, name="x", x=object()))
    checked(*book(parts=1))


@pytest.mark.parametrize("said", LIES)
def test_what_is_not_as_described(said):
    with pytest.raises(LemError) as caught:
        checked(*book(**LIES[said]))
    assert str(caught.value) == said


def test_a_count_beyond_all_bounds_takes_no_time():
    with pytest.raises(LemError, match="no tensor book.2"):
        checked(*book(parts=10**12))
