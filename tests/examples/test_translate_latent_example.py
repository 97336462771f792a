"""examples/translate_latent.py: its arms and its table, on spaces made here."""

import importlib.util
import json

import numpy as np
import pytest

from helpers.paths import EXAMPLES
from lemtools.align import gromov, unpaired


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("translate_latent_example", EXAMPLES / "translate_latent.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.setattr(unpaired, "AXES", 3)
    monkeypatch.setattr(unpaired, "MATCHED", 3)
    monkeypatch.setattr(unpaired, "PROFILES", 0)
    monkeypatch.setattr(unpaired, "HEATS", (unpaired.Heat(150, 8, 8, 2),))
    monkeypatch.setattr(gromov, "RUNS", 2)
    monkeypatch.setattr(example, "STEPS", 40)
    monkeypatch.setitem(example.HELD, "words", 150)
    small = {"latent": 20, "width": 8}
    monkeypatch.setattr(
        example, "ARMS", {name: ({**small, **set_}, done) for name, (set_, done) in example.ARMS.items()}
    )
    column = {"views": ("words", "one", "other")}
    monkeypatch.setattr(example, "TEXTS", column)
    monkeypatch.setattr(example, "SETTINGS", {"few": ("views", 12, False), "none": ("views", 0, False)})
    return example


@pytest.fixture
def spaces(tmp_path):
    rng = np.random.default_rng(0)
    groups = rng.standard_normal((30, 20)) * np.geomspace(3, 0.5, 20)
    z = groups[rng.integers(30, size=700)] + 0.4 * rng.standard_normal((700, 20))
    held = np.arange(700) < 150
    other = z @ np.linalg.qr(rng.standard_normal((20, 20)))[0] + 0.05 * rng.standard_normal(z.shape)
    np.savez(tmp_path / "words.npz", held=held, again=np.roll(held, 200), one=z, other=other)
    return tmp_path


def test_every_arm_is_measured_once_and_shown(example, spaces, capsys):
    example.main(spaces, True, False, "cpu", 3)
    rows = [json.loads(line) for line in (spaces / "latent.jsonl").read_text().splitlines()]
    assert [(one["setting"], one["arm"]) for one in rows] == [("few", arm) for arm in example.QUICK] + [
        ("none", arm) for arm in example.QUICK if arm in example.NONE
    ]
    found = {(one["setting"], one["arm"]): one["top1"] for one in rows}
    assert found["few", "all losses"] > 0.6 and found["none", "all losses"] > 0.6
    assert max(top for (_, arm), top in found.items() if "shuffled" in arm or "Gaussian" in arm) < 0.05
    text = (spaces / "latent.md").read_text()
    assert text.count("\n") == 2 + len(example.QUICK) and capsys.readouterr().out.strip() == text.strip()
    before = (spaces / "latent.jsonl").read_bytes()
    example.main(spaces, True, False, "cpu", 3)
    assert (spaces / "latent.jsonl").read_bytes() == before


def test_arms_are_what_they_are_called(example, spaces):
    data = example.load(spaces, "words")
    settings = {
        arm: example.written(
            spaces,
            data["one"],
            data["other"],
            known,
            known,
            (rest, rest),
            example.ARMS[arm][0],
            3,
            "cpu",
            arm == "the linear map it begins as",
        )
        for arm in example.ARMS
        for known, rest in [(np.arange(150, 162), np.arange(200, 300))]
    }
    assert settings["all losses"].steps == 40 and settings["the linear map it begins as"].steps == 1
    assert (
        settings["without neighbours"].options["neighbours"] == 0
        and settings["without residuals"].options["depth"] == 0
    )
    assert all(one.arch == "latent" and one.holdout == 0 and one.seed == 3 for one in settings.values())
    assert np.array_equal(np.load(spaces / "onto.npy"), data["other"][200:300])


def test_a_cell_has_the_mean_of_the_draws_and_their_spread(example):
    one = {"setting": "few", "arm": "all losses", "draw": 20, "top1": 0.5, "csls": 0.6}
    text = example.shown(
        [one, {**one, "draw": 21, "top1": 0.7, "csls": 0.8}, {**one, "arm": "other", "setting": "none"}]
    )
    assert "| all losses | .600 / .700 (.500 to .700) |  |\n| other |  | .500 / .600 |\n" in text
