"""A toy network and a toy recipe: one class or function and one row each, and they train; without the row, gone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from helpers.toys import shows
from lemtools.catalogue import LemError, Option, Row
from lemtools.catalogue.networks import NETWORKS
from lemtools.catalogue.recipes import RECIPES, Family
from lemtools.catalogue.tasks import TASKS
from lemtools.catalogue.thoughts import CARRIES, WAYS
from lemtools.catalogue.training import EVERY, LEARNER, LOSSES
from lemtools.cli.train import cli
from lemtools.nets.lm import LM
from lemtools.nets.model import load
from lemtools.train import objectives
from lemtools.train.loop import train
from lemtools.train.prepare import prepare
from lemtools.train.recipes import values
from lemtools.train.settings import Settings
from lemtools.train.tasks import Task

LOST = [[{"op": "mask", "mask": 0.5}]]


class Line(nn.Module):
    """One linear map, `gain` times."""

    family = "estimate"

    def __init__(self, item, gain=1.0):
        super().__init__()
        self.gain, self.map = gain, nn.Linear(item[0], item[0])

    def forward(self, condition, steps=None):
        return self.gain * self.map(condition.value)


TOY_NETWORK = Row(
    "abacus",
    Line,
    "one linear map",
    ("embedding",),
    (Option("gain", "how strong it is", "number", default=1.0, low=0),),
    facts={"family": "estimate"},
)


def hum(settings):
    """A recipe with a property of its own."""
    slope = settings.options.get("slope", 1)
    prepared = values.prepare(replace(settings, options={}), objectives.Estimate)
    prepared.model.meta["slope"] = slope
    return prepared


TOY_RECIPE = Row(
    "hum",
    hum,
    "to hum along",
    ("embedding",),
    (Option("--slope", "How steep.", "whole", low=1, metavar="S"), *LOSSES, *LEARNER, *EVERY),
    facts={"arch": {"embedding": "mlp"}, "family": "estimate", "steps": 3, "batch": 4},
)


@pytest.fixture
def vectors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32))
    np.save("image.npy", np.zeros((40, 1, 8, 8), np.uint8))
    torch.set_num_threads(1)


def asked(recipe="feedforward", **more) -> Settings:
    plain = {"data": ["x.npy"], "output": "m.safetensors", "operations": LOST, "device": "cpu", "workers": 0}
    return Settings(recipe, **{**plain, **more})


def test_a_toy_network(vectors):
    words = ("train", "feedforward")
    assert shows("abacus", *words) == (False, False)
    with NETWORKS.added(TOY_NETWORK):
        assert shows("abacus", *words) == (True, True)
        prepared = train(asked(arch="abacus", options={"gain": 2}, steps=2, batch=4))
        model = load("m.safetensors")
        assert model.meta["net"] == {"net": "abacus", "gain": 2, "item": [8]} and model.net.gain == 2
        assert torch.equal(model.net.map.weight, prepared.model.net.map.weight)
        for more, says in (
            ({"data": ["image.npy"], "arch": "abacus"}, "--arch abacus is for embedding, not image"),
            ({"arch": "abacus", "options": {"loss": 1}}, "--set loss: --arch abacus has no 'loss'; it has gain"),
            ({"arch": "abacus", "options": {"gain": -1}}, "--set gain=-1: it takes a number from 0"),
            ({"arch": "resnet"}, f"--arch resnet is not for feedforward; there are {', '.join(Family('estimate'))}"),
        ):
            with pytest.raises(LemError) as error:
                prepare(asked(**more))
            assert str(error.value) == says
    assert shows("abacus", *words) == (False, False)
    with pytest.raises(LemError, match="--arch abacus is not for feedforward"):
        prepare(asked(arch="abacus"))
    with pytest.raises(LemError, match="made by a newer lemtools"):
        load("m.safetensors")


def test_a_toy_task(tmp_path, monkeypatch):
    """The largest symbol so far, of N."""

    def highest(value, most):
        def draw(rng, length):
            symbols = rng.integers(value, size=length)
            return symbols, np.maximum.accumulate(symbols), np.ones(length, bool)

        return Task(f"highest:{value}", draw, value, value, 1, True, lambda length: 1 / value)

    row = Row("highest", highest, options=(Option("N", "symbols", "whole", low=2, high=9),), shown="highest:N")
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    more = dict(data=["task:highest:5"], operations=[], width=16, depth=1, steps=2, batch=4, holdout=2)
    with TASKS.added(row):
        train(asked("lm", **more))
        model = load("m.safetensors")
        assert model.meta["task"]["task"] == "highest:5" and model.net.vocabulary == 6
        with pytest.raises(LemError, match="N is a whole number from 2 to 9, as in task:highest:N"):
            prepare(asked("lm", **more | {"data": ["task:highest:10"]}))
    with pytest.raises(LemError, match="no task 'highest'"):
        prepare(asked("lm", **more))


def test_a_toy_way_and_a_toy_carry_of_thoughts(tmp_path, monkeypatch):
    """What thoughts are without any, K times as large; and those that arrive at odd places."""

    def deaf(thoughts, trunk, embedded, past, places):
        return thoughts.count * trunk.run(embedded, 0, trunk.depth, None, places)

    def odd(number, places, items):
        return None, np.array(places) % 2 == 1

    way = Row("deaf", deaf, "no thoughts", shown="deaf:K")
    (tmp_path / "book.txt").write_text("what is gone was here " * 50)
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    more = dict(data=["book.txt"], operations=[], width=16, depth=1, steps=2, batch=4, holdout=2)
    chosen = {"context": 8, "thoughts": 0.5, "thoughts_by": "deaf:3", "thoughts_carry": "odd"}
    with WAYS.added(way), CARRIES.added(Row("odd", odd, "at odd places")):
        train(asked("lm", **more, options=chosen))
        net, tokens = load("m.safetensors").net, torch.arange(8)[None]
        assert torch.equal(net.thoughts(net.trunk, net.enter(tokens)), 3 * net.trunk.run(net.enter(tokens), 0, 1))
        passes = LM(9, 1, 16, 1, 8, thoughts=0.5, thoughts_by="passes:1", thoughts_carry="odd").thoughts
        arrived = passes.carried(torch.ones(1, 7, 16), 1)[0].abs().amax(-1) > 0
        assert arrived.tolist() == [True, False] * 3 + [True]
    with pytest.raises(LemError, match="--thoughts-carry odd: it takes normal, shuffled"):
        prepare(asked("lm", **more, options=chosen))


def test_a_toy_recipe(vectors):
    line = ["hum", "--data", "x.npy", "-o", "h.safetensors", "--device", "cpu", "--width", "4", "-q"]
    assert shows("hum", "train") == shows("slope", "train") == (False, False)
    with RECIPES.added(TOY_RECIPE):
        assert shows("hum", "train") == (True, True)  # (on the page, among those that its option is for)
        assert shows("slope", "train", "hum") == (True, True) and shows("slope", "train", "lm") == (False, True)
        assert "[default: 3]" in CliRunner().invoke(cli, ["hum", "--help"]).output
        problem = CliRunner().invoke(cli, ["lm", "--data", "x.npy", "--slope", "3"]).output
        assert "--slope is for hum, not lm" in problem
        with pytest.raises(LemError, match="hum is for embedding, not image"):
            prepare(asked("hum", data=["image.npy"]))
        with pytest.raises(LemError, match="--labels is for diffusion and classifier, not hum"):
            prepare(asked("hum", labels="x.npy"))
        done = CliRunner().invoke(cli, [*line, "--fragment", "--mask .5", "--slope", "7"])
        assert done.exit_code == 0, done.output
        meta = load("h.safetensors").meta
        assert (meta["recipe"], meta["step"], meta["slope"], meta["net"]["net"]) == ("hum", 3, 7, "mlp")
    assert shows("hum", "train") == shows("slope", "train") == (False, False)
    assert "'hum' is not one of" in CliRunner().invoke(cli, line).output
    with pytest.raises(LemError, match=f"no recipe 'hum'; there are {', '.join(RECIPES)}"):
        prepare(asked("hum"))
