"""Settings: settled once, and those of runs begun by an earlier version are still the same run's."""

import json
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import numpy as np
import pytest

from lemtools.catalogue.recipes import RECIPES
from lemtools.cli.train import operations
from lemtools.signal import LemError
from lemtools.train import checkpoint
from lemtools.train.loop import train
from lemtools.train.prepare import prepare
from lemtools.train.settings import Settings, differences, resolve

STATES = json.loads((Path(__file__).parent / "states-84f507f.json").read_text())  # what that commit wrote down


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data of those runs."""
    here, k = tmp_path_factory.mktemp("states"), np.arange(60 * 64)
    np.save(here / "image.npy", (k * 7919 % 251).astype(np.uint8).reshape(60, 1, 8, 8))
    np.save(here / "embedding.npy", (k * 104729 % 1009 / np.float32(1009)).astype(np.float32).reshape(480, 8))
    np.save(here / "labels.npy", np.arange(60) % 3)
    (here / "book.txt").write_text("what is gone is gone, and none knew what was here\n" * 40)
    return here


def asked(name: str, **more) -> Settings:
    plain = STATES[name]["asked"]
    lost = [operations(text) for text in plain.get("fragment", [])]
    return Settings(**{**plain, "operations": lost, "output": "m.safetensors", "device": "cpu", "workers": 0, **more})


@pytest.mark.parametrize("name", STATES)
def test_a_state_of_an_earlier_version_is_gone_on_from(name, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    assert prepare(asked(name)).fingerprint == STATES[name]["settings"]
    output = str(tmp_path / "m.safetensors")
    train(asked(name, output=output))
    tensors, record, _ = checkpoint.load_state(output)
    checkpoint.save_state(output, tensors, record | {"settings": STATES[name]["settings"], "step": 1})
    lines = []
    train(asked(name, output=output), lines.append)
    assert lines[-1] == "going on from step 1"
    with pytest.raises(LemError, match="its run has --seed"):
        train(asked(name, output=output, seed=9))


def test_fields_that_came_later_are_none_where_they_are_not_used():
    """So that they count in no state that was written before them."""
    known = set(STATES["feedforward"]["settings"])
    from lemtools.train.settings import FREE

    later = [f for f in fields(Settings) if f.name not in known and f.name not in (*FREE, "operations", "card")]
    assert all(f.default is None for f in later)


def test_what_is_left_open_follows_from_the_recipe_and_stays():
    lost = [[{"op": "mask", "mask": 0.5}]]
    settled = resolve(Settings("feedforward", ["x"], "m.safetensors", operations=lost, device="cpu"))
    assert (settled.steps, settled.batch, settled.lr, settled.ema, settled.dtype) == (10000, 64, 1e-3, 0.999, "float32")
    with pytest.raises(FrozenInstanceError):
        settled.lr = 1.0
    for depth, lr in ((4, 2e-3), (1, 4e-3), (16, 1e-3)):
        assert resolve(Settings("lm", ["x"], "m.safetensors", depth=depth, device="cpu")).lr == lr
        assert resolve(Settings("lm", ["x"], "m.safetensors", options={"depth": depth}, device="cpu")).lr == lr
    assert resolve(Settings("rvq", ["x"], "m.safetensors", options={"codes": 8}, device="cpu")).options["beam"] == 16
    assert resolve(Settings("lm", ["x"], "m.safetensors", device="cpu"), begun="bfloat16").dtype == "bfloat16"


@pytest.mark.parametrize(
    "more, says",
    [
        ({"data": []}, "nothing to learn from: give --data"),
        ({"output": "m.pt"}, "-o m.pt: a model is a .safetensors file"),
        ({"steps": 3, "flops": 1e9}, "--steps and --flops both say how long: give one of them"),
        ({"decay": "linear"}, "--decay linear: cosine, constant, or exponential:R with R of 0 to 1"),
        ({"decay": "exponential:nan"}, "--decay exponential:nan: cosine"),
        ({"recipe": "backward"}, f"no recipe 'backward'; there are {', '.join(RECIPES)}"),
        ({"labels": "l.npy"}, "--labels is for diffusion and classifier, not feedforward"),
        ({"recipe": "token-ae", "on": "dense"}, "--on is for lm, not token-ae"),
        (
            {"recipe": "lm", "crop": 8},
            "--crop is for feedforward, recurrent, autoregressive, diffusion and classifier, not lm",
        ),
        ({"recipe": "rvq", "clip": 2.0}, "--clip is not for rvq"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(more, says):
    with pytest.raises(LemError) as error:
        resolve(
            Settings(**{"recipe": "feedforward", "data": ["x"], "output": "m.safetensors", "device": "cpu", **more})
        )
    assert str(error.value).startswith(says)


@pytest.mark.parametrize("row", [row for row in RECIPES.rows if "quick" in row.presets], ids=lambda row: row.name)
def test_a_preset_fills_what_is_left_open_and_nothing_else(row):
    plain = {"recipe": row.name, "data": ["x"], "output": "m.safetensors", "device": "cpu", "preset": "quick"}
    brought, settled = row.presets["quick"], resolve(Settings(**plain))
    assert all(getattr(settled, k) == v for k, v in brought.items() if k not in ("arch", "options"))
    assert settled.options.items() >= brought.get("options", {}).items()
    assert brought.get("operations") == (
        [operations(t) for t in brought["fragment"]] if "fragment" in brought else None
    )
    chosen = resolve(Settings(**plain, batch=7, steps=9))
    assert (chosen.batch, chosen.steps, chosen.flops) == (7, 9, None)
    budget = resolve(Settings(**plain, flops=5.0))
    assert (budget.flops, budget.steps) == (5.0, row.steps)
    if "fragment" in brought:
        lost = resolve(Settings(**plain, fragment=["--mask .5"], operations=[[{"op": "mask", "mask": 0.5}]]))
        assert lost.fragment == ["--mask .5"] and len(lost.operations[0]) == 1


def test_a_preset_makes_the_network_small_and_the_run_short(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    more = {"recipe": "diffusion", "data": ["image.npy"], "output": "m.safetensors", "device": "cpu", "preset": "quick"}
    prepared = prepare(Settings(**more))
    assert prepared.model.meta["net"]["net"] == "unet" and prepared.model.meta["net"]["widths"] == [16, 32, 48]
    assert prepared.steps == min(20_000, round(6e12 / (prepared.flops * 32)))
    assert prepare(Settings(**more, options={"widths": [8, 8]})).model.meta["net"]["widths"] == [8, 8]
    assert prepare(Settings(**more, arch="resnet")).model.meta["net"]["width"] == 32
    with pytest.raises(LemError, match="--preset slow is not one of diffusion, which has quick"):
        prepare(Settings(**{**more, "preset": "slow"}))


def test_what_differs_stands_under_the_names_by_which_it_is_given():
    then = {"recipe": "lm", "kind": None, "options": {"thoughts": 0.25, "reflections": 2}, "checksum": 1}
    now = {"recipe": "lm", "kind": "text", "options": {"thoughts": 0.5, "ratio": 8, "reflections": 3}, "checksum": 2}
    assert sorted(differences(then, now)) == [
        "--kind unset, not text",
        "--ratio unset, not 8",
        "--set reflections 2, not 3",
        "--thoughts 0.25, not 0.5",
        "other contents of the data",
    ]
    assert differences(then, then) == []
