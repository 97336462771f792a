"""The experiment of examples/: every arm is searched and trained alike; the controls of both tables are the same."""

import importlib
import sys

import numpy as np
import pytest

from helpers.paths import EXAMPLES
from helpers.training import images
from lemtools.cli.train import operations
from lemtools.fragment import fragment
from lemtools.signal import Signal


@pytest.fixture
def example(monkeypatch):
    """A module of examples/ by its name; what it reads of the environment is as given."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def get(name, **environment):
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    return get


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_every_arm_has_the_same_search(example, tmp_path):
    """Each rate once, at an eighth of the operations of the runs proper; the best one is then the rate of all seeds."""
    dream = example("recall_vs_dream", SETS="mnist fashion", SEEDS="0 1 2", FLOPS="1e15", BATCH="128")
    arms = {*dream.ARMS, dream.ONLY, *dream.CODES}
    search, folder = dream.jobs(tmp_path, True), tmp_path / "mnist"
    assert set(search) == {
        tmp_path / name / f"search/{arm}-{lr}.safetensors" for name in dream.SETS for arm in arms for lr in dream.RATES
    }
    (folder / "search").mkdir(parents=True)
    (tmp_path / "fashion" / "search").mkdir(parents=True)
    best = {}
    for k, (model, words) in enumerate(search.items()):
        arm, lr = model.stem.split("-3e" if "-3e" in model.stem else "-1e")[0], option(words, "--lr")
        loss = 9 - k if arm == "image" else k
        best.setdefault((model.parent.parent, arm), []).append((loss, lr))
        model.with_suffix(".jsonl").write_text(f'{{"held_out_loss": {loss}}}\n')
    runs = dream.jobs(tmp_path, False)
    assert set(runs) == {
        tmp_path / name / f"{arm}-{seed}.safetensors" for name in dream.SETS for arm in arms for seed in (0, 1, 2)
    }
    for model, words in runs.items():
        arm, seed = model.stem.rsplit("-", 1)
        assert option(words, "--seed") == seed and option(words, "--lr") == min(best[model.parent, arm])[1]
        tried = [search[model.parent / f"search/{arm}-{lr}.safetensors"] for lr in dream.RATES]
        for lr, other in zip(dream.RATES, tried):
            changed = {"--lr": lr, "--seed": "9", "--flops": f"{float(option(words, '--flops')) / 8:g}"}
            wanted = list(words)
            for name, value in changed.items():
                wanted[wanted.index(name) + 1] = value
            assert other == wanted
        assert float(option(words, "--flops")) == 1e15 / (50 if arm in dream.CODES else 1)


def test_controls_of_both_tables(example):
    controls = example("controls")
    train, whole = images(60, 1, 16), Signal("image", images(6, 1, 16, seed=1))
    ways = controls.controls(train, 0)
    for spec, names in (("--mask .5", [*ways][:-1]), ("--bits 2", [*ways])):
        (broken,) = fragment([whole], operations(spec), 1)
        found = {name: back for name, back, seconds in controls.recalled(ways, broken) if seconds > 0}
        assert list(found) == names
        for name, back in found.items():
            assert np.array_equal(controls.held(broken, back), back) or name == "wiener"
    head, *rows = controls.table(train, whole, ["--mask .5", "--bits 2"], 1)
    assert head[:2] == ["fragment", "control"] and all(len(row) == len(head) for row in rows)
    first = ["mean", "nearest", "recall", "gaussian = wiener", "sample", "originals"]
    assert [row[1] for row in rows] == first + [
        "mean",
        "nearest",
        "recall",
        "gaussian",
        "sample",
        "wiener",
        "originals",
    ]
