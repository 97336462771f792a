"""examples/hub_bits.py: few bits of hub vectors, on spaces made here, beside the bits of the text."""

import importlib.util
import json
import lzma

import numpy as np
import pytest

from helpers.paths import EXAMPLES
from lemtools import stream
from lemtools.signal import Signal

spec = importlib.util.spec_from_file_location("hub_bits_example", EXAMPLES / "hub_bits.py")
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)


@pytest.fixture
def spaces(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((400, 8))
    made = {
        name: (z @ rng.standard_normal((8, d)) + 0.02 * rng.standard_normal((400, d))).astype(np.float32)
        for name, d in (("glove", 10), ("wordllama", 12), ("minilm", 16))
    }
    np.savez(tmp_path / "sentences.npz", held=np.arange(400) >= 300, wordllama=made["wordllama"])
    np.save(tmp_path / "sentences.glove.npy", made["glove"])
    (tmp_path / "sentences.txt").write_text("".join(f"Sentence {i} of four hundred.\n" for i in range(400)))
    with open(tmp_path / "sentences.minilm.safetensors", "wb") as file:
        stream.write([Signal("embedding", made["minilm"])], file)
    monkeypatch.setattr(example, "WIDTHS", (8,))
    monkeypatch.setattr(example, "BITS", (1, 6))
    monkeypatch.setattr(example, "STAGES", (1, 2))
    monkeypatch.setattr(example, "CODES", 16)
    monkeypatch.setattr(example.table.translate, "HELD", {"sentences": 100})
    monkeypatch.setattr(example.table.translate, "MOST", {"sentences": 300})
    monkeypatch.setattr(example.table.translate, "DRAWS", 2)
    return tmp_path


def test_more_bits_find_more_and_the_text_stands_beside_them(spaces, capsys):
    example.main(spaces, quick=False)
    one, other = (json.loads(line) for line in (spaces / "hub-bits.jsonl").read_text().splitlines())
    assert one != other and list(one) == list(other)
    bits = {name: row[0] for name, row in one.items()}
    assert list(bits.values()) == [256, 8 + 16, 6 * 8 + 16, 4, 8]
    right = [row[1] for row in one.values()]
    assert right[0] > 0.85 and right[0] + 0.03 > right[2] > right[1] > right[3] and right[4] > right[3] > 0.01
    lines = capsys.readouterr().out.splitlines()
    asked = [float(line.split("|")[2].replace(",", "")) for line in lines[2:] if line]
    assert asked == sorted(asked) and len(asked) == 5 + 4


def test_bits_of_the_text_are_those_of_its_bytes_and_of_xz():
    found = example.texts(["abc", "abcde"])
    assert found["the sentence, UTF-8"] == 8 * 4
    assert (
        found["its share of 2 sentences in one xz"]
        == 8 * len(lzma.compress(b"abc\nabcde", preset=9 | lzma.PRESET_EXTREME)) / 2
    )
    assert found["a number for each of 2"] == 1


def test_a_draw_that_was_cut_off_is_made_again(spaces, capsys):
    example.main(spaces, quick=False)
    whole = (spaces / "hub-bits.jsonl").read_bytes()
    (spaces / "hub-bits.jsonl").write_bytes(whole[: len(whole) * 2 // 3])
    example.main(spaces, quick=False)
    assert (spaces / "hub-bits.jsonl").read_bytes() == whole
