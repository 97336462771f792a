"""examples/samplers.py: what it counts by its definitions, and its table on a small text."""

import importlib

import numpy as np
import pytest
import torch

from helpers.languages import log_p, model
from helpers.paths import EXAMPLES
from lemtools.reconstruct.language import Language
from lemtools.restore.ngram import NGram
from lemtools.train.checkpoint import save_model

LINES = [f"{a} {b} {c} or not so" for a in ("who", "what", "why") for b in ("is", "was", "are") for c in ("he", "it")]
TEXT = "\n".join(LINES * 40).encode()


@pytest.fixture
def samplers(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("samplers")


def test_runs_that_stood_before(samplers):
    """Of a b c d a b c d the runs are abcd bcda cdab dabc abcd: one of five stood before."""
    assert samplers.repeated(b"abcdabcd") == pytest.approx(1 / 5)
    assert samplers.repeated("to be or not to be or not".split()) == pytest.approx(1 / 5)
    assert samplers.repeated(b"aaaaaa") == pytest.approx(2 / 3)
    assert samplers.repeated(b"abcdefg") == samplers.repeated(b"abc") == 0


def test_pieces_are_of_the_last_tenth_and_begin_with_a_line(samplers):
    raw = np.frombuffer(TEXT, np.uint8)
    found = samplers.held_out(raw, 6, 40)
    assert found.shape == (6, 40)
    last = TEXT[len(TEXT) - len(TEXT) // 10 :]
    places = [last.index(b"\n" + row.tobytes()) for row in found]
    assert all(place >= 0 for place in places)
    with pytest.raises(samplers.LemError, match="no 6 pieces of 20000"):
        samplers.held_out(raw, 6, 20000)


def test_bits_are_those_of_the_definition(samplers):
    known = model(8, 6)
    reader, x = Language(known), np.random.default_rng(0).integers(0, 8, (3, 12))
    want = [(log_p(known, row[:5]) - log_p(known, row)) / 7 / np.log(2) for row in x]
    np.testing.assert_allclose(samplers.bits(reader, x[:, :5], x[:, 5:]), want, atol=1e-4)


def test_n_grams_draw_what_follows(samplers):
    counts = NGram([np.frombuffer(b"abcdef" * 400, np.uint8)], 256, 5)
    made = samplers.counted(counts, np.frombuffer(b"abcdefabcd", np.uint8)[None], 8, 0)
    assert made.tobytes() == b"efabcdef"


def test_each_piece_is_read_by_another_model(samplers, monkeypatch):
    """Model i's by the next one, the last one's by the first."""
    monkeypatch.setattr(samplers, "bits", lambda reader, prompts, made: np.full(len(made), 10.0 * reader + made[0, 0]))
    pieces = [np.full((2, 5), i, np.uint8) for i in range(3)]
    assert samplers.measured(pieces, None, [0, 1, 2])["bits"][:, 0].tolist() == [10, 21, 2]


def test_its_table(samplers, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(samplers, "SAMPLERS", [{}, {"temperature": 0}, {"typical": 0.5}])
    paths = []
    for name in ("a", "b"):
        known = model(256, 16)
        if name == "b":
            torch.nn.init.normal_(known.net.head.weight, std=0.5)
        paths.append(str(tmp_path / f"{name}.safetensors"))
        save_model(known, paths[-1])
    (tmp_path / "a.txt").write_bytes(TEXT)
    assert samplers.main([str(tmp_path / "a.txt"), *paths, *"--prompts 6 --prompt 20 --more 40".split()]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows[1:]] == [
        "held-out text",
        "n-grams of 6 bytes",
        "all, temperature 1",
        "temperature 0",
        "typical 0.5",
    ]
    assert all(len(row) == 7 for row in rows) and rows[1][-1].startswith("+0.000")
    assert all(float(row[4]) <= float(row[3].split()[0]) <= float(row[5]) for row in rows[1:])
    assert samplers.main([str(tmp_path / "a.txt"), paths[0]]) == 2
    assert capsys.readouterr().err == (
        "samplers.py: error: one model has no other to read what it writes; name two or more\n"
    )
