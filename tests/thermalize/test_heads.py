"""The gate `head`: a network whose answers are known reads the level, in units of the memory; what does not suit is refused."""

import json

import numpy as np
import pytest
import torch

from helpers.commands import lem
from lemtools.catalogue import LemError
from lemtools.denoise.contract import Scale
from lemtools.nets import build
from lemtools.nets.level import Reading
from lemtools.nets.model import Model
from lemtools.thermalize import prepared
from lemtools.train.checkpoint import save_model

POINTS = 8
CARD = {"states": 500, "table": [], "log_error": 0.1, "bias": 0.0, "binned_ece": 0.1, "covered": 0.7}


class Alternating(torch.nn.Module):
    """Reads the amplitude of the mode that alternates from point to point, which states without noise do not have."""

    family = "level"

    def __init__(self):
        super().__init__()
        self.read = Reading(1, 1e-4, 10.0)
        self.weight = torch.nn.Parameter(torch.zeros(1))  # (where it lies is asked)

    def forward(self, x):
        sign = torch.tensor([1.0, -1.0]).repeat(POINTS // 2)
        loud = (x * sign).mean((1, 2)).abs().clamp_min(1e-30).log()
        return -1e4 * (loud[:, None] - torch.cat([torch.full((1,), -30.0), self.read.logs])).square()


def states(count=400, std=2.0, seed=0):
    """Waves about 3, of the first mode alone."""
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * (np.arange(POINTS) / POINTS + rng.random((count, 1, 1)))
    return (3 + std * 2**0.5 * np.sin(angle)).astype(np.float32)


def model(std=2.0, mean=3.0, **more):
    item = [1, POINTS]
    meta = {
        "item": item,
        "kind": "field",
        "recipe": "thermalizer",
        "calibration": {**CARD, "clean": [[0.5, 1e-4], [0.01, 0.3]]},
    }
    scale = Scale(np.full((1, 1), mean, np.float32), np.full((1, 1), 1 / std, np.float32))
    return Model(Alternating(), {**meta, **more}, scale, scale)


def made(memory=None, network=None, **options):
    options = {"corrector": "memory", "neighbours": 8, "false_fire": 0.1, **options}
    return prepared(states() if memory is None else memory, 4, gate="head", gate_model=network or model(), **options)


def off(amplitude):
    return (states(6) + amplitude * np.array([1, -1] * (POINTS // 2))).astype(np.float32)


@pytest.mark.parametrize("std", [2.0, 2.2])
def test_the_level_is_in_units_of_the_memory(std):
    """Also where the network learned from states of another std: 0.4 is 0.2 of 2."""
    gate = made(network=model(std)).gate
    found = gate.level(torch.from_numpy((off(0.4).reshape(6, -1) - 3) / 2).double())
    np.testing.assert_allclose(found, 0.2, rtol=0.07)  # (levels stand .13 apart in log s)


def test_what_it_reads_calls_the_corrector_and_is_told_to_it():
    thermalizer, told = made(clean=False), []
    thermalizer.correct = lambda x, previous, level, draws: (told.append(level), (x * 0, 1))[1]
    x = np.concatenate([off(0.0)[:3], off(0.4)[3:]])
    x[1] = np.nan
    step = thermalizer.step(x)
    assert step.action.tolist() == ["nothing", "dead", "nothing"] + ["corrected"] * 3
    np.testing.assert_allclose(told[0], 0.2, rtol=0.07)
    assert np.isnan(step.level[1]) and thermalizer.gate.threshold < 1e-4


def test_the_threshold_is_that_of_states_held_out_or_of_the_card():
    noisy = states()
    noisy[-40:] = states(40) + np.linspace(0.02, 0.8, 40)[:, None, None] * np.array([1, -1] * (POINTS // 2))
    assert 0.3 < made(noisy).gate.threshold < 0.4  # nine in ten are less far off
    assert made(false_fire=0.01).gate.threshold == pytest.approx(0.3, rel=0.05)  # of 40 states held out none can tell
    with pytest.raises(
        LemError, match="^a share of false fires of 0.001 is less than 500 states can tell, 0.01 at least$"
    ):
        made(false_fire=0.001)
    assert made(threshold=0.7).gate.threshold == 0.7


@pytest.mark.parametrize(
    "network, said",
    [
        (
            model(2.6),
            "^--gate-model: it learned from states of mean 3 and std 2.6, where the memory has mean 3 and std 2$",
        ),
        (model(mean=3.9), "^--gate-model: it learned from states of mean 3.9 and std 2, where"),
        (
            model(calibration=None),
            "^--gate-model: a network of which is not known how well it reads; train it with --holdout$",
        ),
        (model(item=[1, 9]), r"^--gate-model: the network is for field of \[1, 9\], not for states of \[1, 8\]$"),
        (model(kind="embedding"), r"^--gate-model: the network is for embedding of \[1, 8\], not for"),
    ],
)
def test_what_does_not_suit(network, said):
    with pytest.raises(LemError, match=said):
        made(network=network)


def test_another_family_or_none():
    other = model(recipe="emulator")
    other.net.family = "step"
    with pytest.raises(LemError, match="^--gate-model: a model of emulator reads no level of noise"):
        made(network=other)
    with pytest.raises(LemError, match="^--gate head needs a network: --gate-model MODEL"):
        prepared(states(), 4, gate="head")


def test_the_command(tmp_path):
    torch.manual_seed(0)
    net = {"net": "conv-level", "channels": 1, "low": 0.01, "high": 1.0, "width": 8, "blocks": 1, "axes": 1}
    item = {"kind": "field", "item": [1, POINTS]}
    meta = {**model().meta, **item, "v": 1, "net": net, "target": item, "fragment": [], "classes": 0}
    save_model(Model(build(net), meta, model().scale, model().scale), str(tmp_path / "m.safetensors"))
    np.save(tmp_path / "memory.npy", states())
    np.save(tmp_path / "x.npy", off(0.4))
    words = "--memory memory.npy --memory-rows 4 --false-fire .1 --corrector memory --neighbours 8 --log log.jsonl x.npy -o y.npy"
    lem("thermalize", *words.split(), "--gate", "head", "--gate-model", "m.safetensors", cwd=tmp_path)
    (line,) = map(json.loads, open(tmp_path / "log.jsonl"))
    assert (
        np.allclose(line["level"], line["level"][0]) and 0.05 < line["level"][0] < 0.2
    )  # untrained, it reads the middle
    done = lem("thermalize", *words.split(), "--gate", "level", "--gate-model", "m.safetensors", cwd=tmp_path, ok=False)
    assert b"--gate-model is for --gate head" in done.stderr
    done = lem("thermalize", *words.split(), "--gate", "head", "--gate-model", "x.npy", cwd=tmp_path, ok=False)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1
