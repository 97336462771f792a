"""examples/translate_none.py: its table, on spaces made here."""

import importlib.util
import json

import numpy as np
import pytest

from helpers.paths import EXAMPLES
from lemtools.align import gromov, unpaired


@pytest.fixture
def none(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("translate_none_example", EXAMPLES / "translate_none.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.setattr(unpaired, "AXES", 3)
    monkeypatch.setattr(unpaired, "MATCHED", 3)
    monkeypatch.setattr(unpaired, "PROFILES", 0)
    monkeypatch.setattr(gromov, "RUNS", 2)
    monkeypatch.setattr(gromov, "CENTRES", 40)
    monkeypatch.setattr(unpaired, "HEATS", (unpaired.Heat(150, 8, 8, 2),))
    monkeypatch.setattr(example, "FEW", 2)
    return example


def test_the_table_has_the_objective_beside_that_of_gaussians(none, tmp_path, monkeypatch, capsys):
    lost = np.random.default_rng(3)
    made = none.rotations(n=760, width=16)
    settings = {
        "rotations": lambda out, draw: made,
        "unrelated": lambda out, draw: (
            made[0],
            lost.standard_normal(made[1].shape),
            made[2],
            lost.standard_normal(made[3].shape),
        ),
    }
    monkeypatch.setattr(none, "SETTINGS", settings)
    none.main(tmp_path, quick=True)
    found, other = (json.loads(line) for line in (tmp_path / "none.jsonl").read_text().splitlines())
    assert found["top1"] > 0.8 and found["mutual"] > 2 * max(found["gaussian"]) and len(found["gaussian"]) == 2
    assert other["top1"] < 0.02 and other["mutual"] < 1.5 * max(other["gaussian"])
    assert all(
        chance < other["mutual"] for chance in other["gaussian"][:-1]
    )  # (it ends with the first that does as well)
    text = (tmp_path / "none.md").read_text()
    assert (
        text.count("\n") == 4
        and "| rotations | 260 and 260 |" in text
        and capsys.readouterr().out.strip() == text.strip()
    )
    before = (tmp_path / "none.jsonl").read_bytes()
    none.main(tmp_path, quick=True)
    assert (tmp_path / "none.jsonl").read_bytes() == before
    none.main(tmp_path, quick=False, wanted=3, draws=3)  # what is not yet decided gets its other Gaussians
    rows = [json.loads(line) for line in (tmp_path / "none.jsonl").read_text().splitlines()]
    assert rows[:2] == [found, other] and rows[2]["setting"] == "rotations" and len(rows[2]["gaussian"]) == 3
    assert [(one["setting"], one["draw"], len(one["gaussian"])) for one in rows[3:]] == [
        (name, draw, 0) for name, draw in (("rotations", 1), ("rotations", 2), ("unrelated", 1), ("unrelated", 2))
    ]
    assert (tmp_path / "none.md").read_text().count("| rotations |") == 1


def test_a_line_has_the_mean_of_the_draws_and_their_spread(none):
    one = {"top1": 0.5, "csls": 0.6, "mutual": 0.4, "vectors": [3, 4], "over": 0.02, "gaussian": [0.1, 0.3]}
    line = none.row("of both", [one, {**one, "top1": 0.7, "csls": 0.8, "mutual": 0.2, "gaussian": []}])
    assert line == "| of both | 3 and 4 | .600 / .700 (.500 to .700) ± .020 | .300 (.200 to .400) | .300 of 2 |"


def test_what_a_gaussian_does_as_well_is_not_found(none, tmp_path, monkeypatch, capsys):
    clouds = none.rotations(n=700, width=12)
    values = iter([0.5, 0.3, 0.5, 0.6])
    monkeypatch.setattr(
        none, "search", lambda a, b: unpaired.Found(unpaired.Turn(np.eye(2), np.eye(2), 1.0), next(values))
    )
    one = none.measured(*clouds, 19)
    assert (one["mutual"], one["gaussian"]) == (0.5, [0.3, 0.5]) and not none.decided({**one, "gaussian": [0.3]}, 2)
    monkeypatch.setattr(none, "measured", lambda *clouds: one)
    monkeypatch.setattr(none, "SETTINGS", {"lost": lambda out, draw: (), "left out": lambda out, draw: ()})
    monkeypatch.setattr(none, "QUICK", 1)
    none.main(tmp_path, quick=True)
    assert "| .500 | .500 of 2: no alignment found |" in capsys.readouterr().out
    assert "left out" not in (tmp_path / "none.md").read_text()


def test_rotations_are_two_views_of_the_same_items_in_other_orders(none):
    x, y, p, q = none.rotations(n=700, width=12)
    assert x.shape == y.shape == (200, 12) and p.shape == q.shape == (500, 12)
    turn = np.linalg.lstsq(p, q, rcond=None)[0]
    own = np.linalg.norm(p @ turn - q, axis=1).mean()
    apart = np.linalg.norm((x @ turn)[:, None] - y, axis=2)
    assert np.allclose(turn.T @ turn, np.eye(12), atol=0.1) and apart.min(1).mean() < 1.5 * own
    assert (apart.argmin(1) == np.arange(200)).mean() < 0.1
