"""examples/activations.py: its table, of small models that are made here."""

import importlib.util
import json
import subprocess

import numpy as np
import pytest
import torch

from helpers.paths import EXAMPLES
from lemtools.nets import model as kept
from lemtools.nets.lm import LM
from lemtools.train.checkpoint import save_model

spec = importlib.util.spec_from_file_location("activations_example", EXAMPLES / "activations.py")
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)
SIZES = {"depth": 2, "width": 16, "heads": 2, "context": 16}


@pytest.fixture
def out(tmp_path, monkeypatch):
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        net = LM(vocabulary=256, **SIZES)
        torch.nn.init.normal_(net.head.weight, std=0.5)
        meta = {"v": 1, "recipe": "lm", "net": {"net": "lm", "vocabulary": 256, **SIZES}, "kind": "tokens", "item": [0]}
        meta |= {"fragment": [], "target": {"kind": "tokens", "item": [0]}}
        save_model(kept.Model(net, meta), str(tmp_path / f"{name}.safetensors"))
    (tmp_path / "text").mkdir()
    letters = np.random.default_rng(0).integers(97, 105, 4000).astype(np.uint8).tobytes()
    (tmp_path / "text/tinyshakespeare.txt").write_bytes(letters)
    monkeypatch.setattr(example, "HELD", 1000)
    monkeypatch.setattr(example, "TESTED", 20)
    monkeypatch.setattr(example, "PAIRS", (160, 320))
    monkeypatch.setattr(example, "DRAWS", 2)
    quick = {name: {**settings, "steps": 20} for name, settings in example.LEARNT.items()}
    monkeypatch.setattr(example, "LEARNT", quick)
    example.text(tmp_path, tmp_path)
    assert (tmp_path / "train.txt").read_bytes() + (tmp_path / "held.txt").read_bytes() == letters
    return tmp_path


def test_the_table_has_every_map_and_control_and_goes_on_where_it_stopped(out, capsys):
    example.table(out)
    done = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [(one["pairs"], one["draw"]) for one in done] == [(160, 0), (160, 1), (320, 0), (320, 1)]
    for one in done:
        rows = one["rows"]
        assert rows["B's own"][1:] == [0.0, 0.0] and rows["its mean"][2] == pytest.approx(1)
        assert (
            rows["ridge"][2]
            < 0.9
            < min(rows[name][2] for name in ("ridge, of shuffled pairs", "ridge, of other positions"))
        )
        assert {*example.SINGLE, *example.LEARNT, "A's, as they are"} <= rows.keys()
        assert rows["a matrix, by its reader"] != rows["ridge"] != rows["mlp, by squared error"]
    text = (out / "table.md").read_text()
    assert "| 160 pairs | 320 pairs |" in text and capsys.readouterr().out.endswith(text)
    whole = (out / "results.jsonl").read_bytes()
    (out / "results.jsonl").write_bytes(whole[: len(whole) * 2 // 3])
    example.table(out)
    assert (out / "results.jsonl").read_bytes() == whole


def test_the_script_of_other_tokens_wants_two_folders():
    done = subprocess.run(["bash", EXAMPLES / "other-tokens.sh", "DATA"], capture_output=True, text=True)
    assert done.returncode and "where does it go?" in done.stderr and not done.stdout
