"""examples/texts.py: its controls and its bits by their definitions, and its table on a small text."""

import importlib

import numpy as np
import pytest
import torch

from helpers.languages import log_p, model
from helpers.paths import EXAMPLES
from lemtools.nets.reader import begins
from lemtools.reconstruct.filling import Filler
from lemtools.restore.ngram import NGram
from lemtools.restore.ngram import log_p as log_p_of_counts
from lemtools.train.checkpoint import save_model

TEXT = b"to be or not to be,\nthat is the question\nwhether it is nobler in the mind\n" * 20


@pytest.fixture
def texts(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("texts")


def as_array(raw: bytes) -> np.ndarray:
    return np.frombuffer(raw, np.uint8)


def test_pieces_begin_with_a_line(texts):
    found = texts.pieces(as_array(TEXT), 5, 40)
    assert found.shape == (5, 40)
    for row in found:
        assert b"\n" + row.tobytes() in TEXT
    with pytest.raises(texts.LemError, match="no 5 pieces of 2000"):
        texts.pieces(as_array(TEXT), 5, 2000)


def test_what_followed_the_longest_end_that_stood_before(texts):
    """The last place of those; where nothing stands before, it is the last byte of the memory."""
    for memory, broken, whole in (
        (b"any day now", b"xay bay ???? cay", b"xay bay bay  cay"),
        (b"a bay now, a day", b"no bay ???? cay", b"no bay now, cay"),
        (b"cabd", b"??ab??", b"ddabdd"),
    ):
        x = as_array(broken).astype(np.int64)
        assert texts.copied(memory, x, x != ord("?")).tobytes() == whole


def test_from_the_left_it_is_the_likeliest_after_what_was_made(texts):
    counts = NGram([as_array(TEXT)], 256, 4)
    x = as_array(b"to be or n????o be").astype(np.int64)
    made = texts.from_the_left(counts, x, x != ord("?"))
    assert made.astype(np.uint8).tobytes() == b"to be or not to be"


def test_bits_are_those_of_the_definition(texts):
    """Of the counts: over all 256 bytes, by log p of the whole; of the model the same up to so many bytes behind."""
    counts, x = NGram([as_array(TEXT)], 256, 3), as_array(TEXT[3:40]).astype(np.int64)
    everything = np.ones(len(x), bool)
    for place, right in ((10, 3), (20, 0)):
        each = []
        for byte in range(256):
            whole = x[: place + right + 1].copy()
            whole[place] = byte
            each.append(log_p_of_counts(counts, whole, everything[: len(whole)]))
        want = (np.logaddexp.reduce(each) - each[x[place]]) / np.log(2)
        np.testing.assert_allclose(texts.bits_by_counts(counts, x, place, right), want, atol=1e-9)
    lm = model(8, 6)
    fill, x = Filler(lm), np.random.default_rng(0).integers(0, 8, 14)
    for place, right in ((5, 4), (9, 0), (12, 6)):
        each = [log_p(lm, np.concatenate([x[:place], [k], x[place + 1 : place + 1 + right]])) for k in range(8)]
        want = (np.logaddexp.reduce(each) - each[x[place]]) / np.log(2)
        np.testing.assert_allclose(texts.bits_by_model(fill, x, place, right), want, atol=1e-4)
    assert begins(12, 6) > 0


def test_its_table(texts, tmp_path, capsys):
    save_model(model(256, 16), str(tmp_path / "lm.safetensors"))
    (tmp_path / "a.txt").write_bytes(TEXT)
    words = [str(tmp_path / name) for name in ("lm.safetensors", "a.txt", "a.txt")]
    more = "--pieces 5 --skip 1 --length 140 --gaps 4 --beam 2 3 --order 3".split()
    with torch.inference_mode():
        assert texts.main(words + more) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    found = {row[0]: row[1:] for row in rows[1:]}
    names = ("majority", "copy", "n-grams, left", "n-grams", "model, left", "model, 2 guesses", "model, 3 guesses")
    assert [f"gaps of 4: {name}" for name in names] == [row[0] for row in rows[1:8]]
    assert float(found["gaps of 4: n-grams"][0]) > 0.9 and found["gaps of 4: n-grams"][3] == "0.000"
    assert float(found["gaps of 4: majority"][0]) < 0.5
    assert float(found["a byte alone: n-grams"][0]) < float(found["a byte alone: n-grams, left"][0])
    assert len(rows) == 13 and all(len(row) == 7 for row in rows[:8])
    assert texts.main([words[0], words[1], str(tmp_path / "gone.txt")]) == 2
    assert capsys.readouterr().err.startswith("texts.py: error: ")
