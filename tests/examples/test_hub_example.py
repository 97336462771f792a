"""examples/hub.py: its tables on spaces made here. The real ones need packages, and are not fetched."""

import importlib.util
import json

import numpy as np
import pytest

from helpers.paths import EXAMPLES
from lemtools import stream
from lemtools.signal import Signal

spec = importlib.util.spec_from_file_location("hub_example", EXAMPLES / "hub.py")
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)


@pytest.fixture
def spaces(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((200, 8))
    made = {
        name: (z @ rng.standard_normal((8, d)) + 0.05 * rng.standard_normal((200, d)) + 1).astype(np.float32)
        for name, d in (("glove", 10), ("wordllama", 12), ("minilm", 16), ("late", 14))
    }
    held = np.arange(200) >= 120
    three = {name: made[name] for name in example.SPACES}
    np.savez(tmp_path / "words.npz", held=held, **three)
    np.savez(tmp_path / "sentences.npz", held=held, wordllama=made["wordllama"])
    np.save(tmp_path / "sentences.glove.npy", made["glove"])
    for name, x in (("sentences", made["minilm"]), ("words", made["late"])):
        with open(tmp_path / f"{name}.minilm.safetensors", "wb") as file:
            stream.write([Signal("embedding", x)], file)
    monkeypatch.setattr(example, "PAIRS", (16, 100))
    monkeypatch.setattr(example, "WIDTH", 12)
    monkeypatch.setattr(example, "WIDTHS", (4, 12))
    monkeypatch.setattr(example, "FEW", 40)
    monkeypatch.setattr(example.translate, "HELD", {"words": 80, "sentences": 80})
    monkeypatch.setattr(example.translate, "MOST", {"words": 100, "sentences": 90})
    monkeypatch.setattr(example.translate, "DRAWS", 2)
    return tmp_path


def test_the_tables_have_widths_controls_and_what_joins(spaces, capsys):
    example.table(spaces, quick=False)
    done = [json.loads(line) for line in (spaces / "hub.jsonl").read_text().splitlines()]
    assert [(one["set"], one["pairs"]) for one in done] == [
        (items, pairs) for items, most in (("words", 100), ("sentences", 90)) for pairs in (16, most) for _ in range(2)
    ]
    for one in done:
        top = {name: np.mean(list(row.values())) for name, row in one["rows"].items()}
        assert top["hub, shuffled items"] < 0.1 < 0.3 < top["A -> hub of 12 -> B"]
        loss = np.mean([top["A -> hub of 12 -> B"] - top["A -> B, auto"]])
        assert one["loss"]["all ways"][0] == pytest.approx(loss, abs=1e-9)
        assert ("joins" in one) == (one["set"] == "words" and one["pairs"] == 100)
    joins = {name: np.mean(list(row.values())) for name, row in done[2]["joins"].items()}
    assert joins["joined by shuffled pairs"] < 0.1 < 0.5 < joins["joined by 40 pairs"]
    text = (spaces / "hub.md").read_text()
    assert "| A -> hub of 4 -> B |" in text and "±" in text and capsys.readouterr().out.strip() == text.strip()
    whole = (spaces / "hub.jsonl").read_bytes()
    (spaces / "hub.jsonl").write_bytes(whole[: len(whole) // 2])  # in the middle of a line
    example.table(spaces, quick=False)
    assert (spaces / "hub.jsonl").read_bytes() == whole


def test_maxvar_is_exact_for_rotations_of_one_space():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((300, 6)) * np.linspace(2, 1, 6)
    turned = {name: x @ np.linalg.qr(rng.standard_normal((6, 6)))[0] for name in "ab"}
    made, mean = example.maxvar(turned, 6)("a", "b", turned["a"])
    assert np.allclose(mean, turned["b"].mean(0))
    cosine = np.sum((made - mean) * (turned["b"] - mean), 1)
    cosine /= np.linalg.norm(made - mean, axis=1) * np.linalg.norm(turned["b"] - mean, axis=1)
    assert cosine.min() > 0.999
