"""examples/translate_mlp.py: its table on spaces made here."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch):
    spec = importlib.util.spec_from_file_location("translate_mlp_example", EXAMPLES / "translate_mlp.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PAIRS", (40, 500))
    monkeypatch.setattr(module, "MOST", {"words": 300, "images": 10})
    monkeypatch.setattr(module, "HELD", {"words": 60})
    monkeypatch.setattr(module, "DRAWS", 1)
    monkeypatch.setattr(module, "COLUMNS", {"bent": ("words", "a", "b"), "pictures": ("images", "a", "b")})
    return module


def test_a_line_a_number_of_pairs_and_what_is_not_linear_is_found(example, tmp_path, capsys):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 3))
    np.savez(tmp_path / "words.npz", a=x, b=np.c_[np.abs(x), x[:, :1]], held=np.arange(400) >= 340)
    example.main(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[:2] for line in lines[2:]] == [["| bent", "40"], ["| bent", "300"]]
    ridge, mlp, gap, updates = lines[3].strip("| ").split(" | ")[2:]
    assert float(mlp.split(" / ")[0]) > float(ridge.split(" / ")[0]) + 0.3 and int(updates) > 0
    assert float(gap.split(" ± ")[0]) == pytest.approx(
        float(mlp.split(" / ")[0]) - float(ridge.split(" / ")[0]), abs=0.002
    )
