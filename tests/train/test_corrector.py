"""Correctors of an emulator: triples, what is learnt of them, and the trained network as a function and as a row."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from helpers.commands import lem
from helpers.training import settings, states
from lemtools.denoise.contract import Scale
from lemtools.nets import build
from lemtools.nets.emulator import Corrector, Emulator
from lemtools.nets.model import Model, load
from lemtools.signal import LemError
from lemtools.thermalize import prepared
from lemtools.train import objectives
from lemtools.train.data import Batches
from lemtools.train.loop import train
from lemtools.train.prepare import prepare

RNG = np.random.default_rng(0)


def asked(tmp_path, previous, claimed, solved, arch="conv-correct", **more):
    """A small run on triples of 5 rows."""
    for name, each in (("previous", previous), ("claimed", claimed), ("solved", solved)):
        np.save(tmp_path / f"{name}.npy", np.asarray(each, np.float32))
    files = {"drift": [str(tmp_path / "claimed.npy")], "target": [str(tmp_path / "solved.npy")]}
    paths = {"field": str(tmp_path / "previous.npy")}
    return settings(tmp_path, paths, recipe="corrector", kind="field", arch=arch, **{"rows": 5, **files, **more})


def triples(rows=5, steps=8):
    """An emulator that forgets a tenth of what moved."""
    x = states(rows, steps + 1)
    previous, solved = x[:-rows], x[rows:]
    return previous, solved + 0.1 * (previous - solved), solved


class Sum(nn.Module):
    """a times the previous state plus b times the claimed one."""

    family, shown = "correct", 2

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, 2.0]))

    def forward(self, previous, claimed):
        return self.weight[0] * previous + self.weight[1] * claimed


def test_the_loss_by_hand():
    """Previous 2, claimed 3, solved 4 in coordinates 4 (v - 1): .5 * 2 + 2 * 3 = 7."""
    net = Sum()
    goal = objectives.Correct(Model(net, {}, Scale(1.0, 4.0), Scale(1.0, 4.0)))
    batch = {"target": torch.tensor([[[2.0], [3.0], [4.0]]])[..., None] / 4 + 1}
    told = {name: value.item() for name, value in goal.measure(batch).items()}
    assert told == {"loss": 9.0, "claimed": 1.0, "corrected": 3.0}
    goal(batch).sum().backward()
    assert net.weight.grad.tolist() == [2 * 3 * 2, 2 * 3 * 3]


def test_an_item_is_what_belongs_together_and_the_last_steps_are_kept_back(tmp_path):
    x = triples()
    run = asked(tmp_path, *x)
    made = prepare(run)
    assert (
        len(made.spec.items) == 30 and len(made.validation.items) == 5
    )  # of 8 steps the last, the one before left out
    for item in Batches(made.spec)[0]["target"].numpy():
        (i,) = np.flatnonzero((x[0] == item[0]).all((1, 2)))
        assert i < 30 and np.array_equal(item, [part[i] for part in x])
    np.testing.assert_allclose(1 / made.model.scale.gain, x[0][:30].std(dtype=np.float64), rtol=1e-6)
    again = [np.concatenate([part, part]) for part in x]  # of two rounds as of one file
    twice = {k: [getattr(run, k)[0]] * 2 for k in ("data", "drift", "target")}
    one = Batches(prepare(replace(run, **twice)).spec)[0]["target"]
    assert torch.equal(one, Batches(prepare(asked(tmp_path, *again)).spec)[0]["target"])


@pytest.mark.parametrize("arch", ["conv-correct", "mlp-correct"])
def test_what_an_emulator_forgets_is_learnt(arch, tmp_path):
    rng, rows = np.random.default_rng(1), 64
    x = [rng.standard_normal((rows, 1, 8)).astype(np.float32)]
    for _ in range(4):
        x.append(0.9 * np.roll(x[-1], 1, -1))
    previous, solved = np.concatenate(x[:-1]), np.concatenate(x[1:])
    more = dict(rows=rows, holdout=64, steps=150, batch=32, lr=1e-2, save_every=150, ema=0.9)
    run = asked(tmp_path, previous, solved + 0.3 * previous, solved, arch, **more, width=32)
    model = train(run).model
    last = json.loads(open(run.log).readlines()[-1])
    assert last["held_out_corrected"] < 0.4 * last["held_out_claimed"]
    keep = slice(3 * rows, None)
    gain = model.scale.gain.item()
    error = np.square(Corrector(model)(previous[keep], (solved + 0.3 * previous)[keep]) - solved[keep])
    assert gain * np.sqrt(error.mean((1, 2))).mean() == pytest.approx(last["held_out_corrected"], rel=1e-5)


def corrector(name="conv-correct", item=(2, 12)):
    torch.manual_seed(0)
    shape = {"conv-correct": {"channels": item[0], "axes": len(item) - 1}, "mlp-correct": {"item": list(item)}}[name]
    net = build({"net": name, "width": 16, **shape}).eval()
    nn.init.normal_(net.leave.weight, std=0.05)
    scale = Scale(*(np.float32(v).reshape(2, *[1] * (len(item) - 1)) for v in ([3, -1], [0.5, 2])))
    return Model(
        net,
        {"recipe": "corrector", "item": list(item), "kind": "field", "target": {"item": list(item)}},
        scale,
        scale,
    )


@pytest.mark.parametrize(
    "name, item", [("conv-correct", (2, 12)), ("conv-correct", (2, 6, 5)), ("mlp-correct", (2, 12))]
)
def test_a_pair_is_corrected_alone(name, item):
    mend, rng = Corrector(corrector(name, item)), np.random.default_rng(0)
    previous, claimed = (rng.standard_normal((9, *item)).astype(np.float32) for _ in range(2))
    together = mend(previous, claimed)
    assert np.abs(together - claimed).max() > 0.1 and not np.array_equal(together, mend(previous[::-1], claimed))
    assert np.abs(mend(previous[3:5], claimed[3:5]) - together[3:5]).max() < 1e-5
    assert isinstance(mend(torch.from_numpy(previous), torch.from_numpy(claimed)), torch.Tensor)
    with pytest.raises(LemError, match="^9 claimed states after 8 previous ones$"):
        mend(previous[:8], claimed)
    with pytest.raises(LemError, match="where the corrector was trained on those of"):
        mend(previous[:, :1], claimed)


def test_the_row_residual_is_the_network():
    """In the coordinates of the network, from a Thermalizer that takes nothing else away."""
    rng, model = np.random.default_rng(0), corrector(item=(2, 12))
    stored = (model.scale.offset + rng.standard_normal((60, 2, 12)) / model.scale.gain).astype(np.float32)
    made = prepared(stored, 2, corrector="residual", model=model, every=True, clean=False, false_fire=0.3)
    previous, claimed = stored[:7], stored[7:14]
    done = made.step(claimed, previous)
    np.testing.assert_allclose(done.state, Corrector(model)(previous, claimed), rtol=0, atol=1e-5)
    assert done.calls.tolist() == [1] * 7
    alone = made.step(claimed)  # no previous state: nothing to tell it
    assert alone.calls.tolist() == [0] * 7
    with pytest.raises(LemError, match="^the network is for field of"):
        prepared(stored[..., :10], 2, corrector="residual", model=model, false_fire=0.3)
    for wrong in ("net", "conditional"):
        with pytest.raises(LemError, match="of the family 'correct' is no denoiser"):
            prepared(stored, 2, corrector=wrong, model=model, false_fire=0.3)


def test_what_it_is_for(tmp_path):
    run = asked(tmp_path, *triples())
    model = train(run).model
    again = load(run.output)
    assert model.family == again.family == "correct" and again.fits("field", (1, 8))
    shown = lem("info", run.output).stdout.decode()
    assert '"recipe": "corrector"' in shown and '"net": "conv-correct"' in shown
    refused = lem("reconstruct", "--model", run.output, tmp_path / "solved.npy", "--kind", "field", ok=False)
    said = "model.safetensors: a corrector, which mends steps and recalls no fragments; see lem-thermalize"
    assert refused.stderr.decode() == f"lem-reconstruct: error: {said}\n"
    with pytest.raises(LemError, match="^a model of corrector, no emulator; lem-train emulator makes one$"):
        Emulator(again)
    with pytest.raises(LemError, match="^a model of diffusion, no corrector; lem-train corrector makes one$"):
        net = build({"net": "resnet", "channels": 1, "width": 4, "blocks": 1})
        Corrector(Model(net, {"recipe": "diffusion", "item": [1, 8]}))


BAD = [
    ({"drift": None}, "^a corrector learns from triples: give --drift, what the emulator claimed after each state"),
    ({"target": []}, "^a corrector learns from triples: give --target, what a solver says comes after each state"),
    ({"drift": "short"}, "--data of 40 x 1 x 8 and --drift of 35 x 1 x 8: each state needs its claimed one$"),
    ({"target": "narrow"}, "--data of 40 x 1 x 8 and --target of 40 x 1 x 7: each state needs its successor$"),
    ({"drift": "nan"}, r"nan.npy: NaN or infinite values \(item 3\)"),
    ({"validate": "short"}, "--validate is not for corrector"),
    ({"rows": 7}, "--rows 7 does not divide the 40 states of --data$"),
    ({"arch": "conv-step"}, "--arch conv-step is not for corrector; there are conv-correct, mlp-correct$"),
]


@pytest.mark.parametrize("more, says", BAD, ids=[" ".join(map(str, (*m, *m.values()))) for m, _ in BAD])
def test_refused_in_one_line_before_anything_is_written(more, says, tmp_path):
    x = triples()
    broken = x[1].copy()
    broken[3, 0, 0] = np.nan
    for name, each in (("short", x[0][5:]), ("narrow", x[0][..., :7]), ("nan", broken)):
        np.save(tmp_path / f"{name}.npy", each)
    files = {k: [str(tmp_path / f"{v}.npy")] for k, v in more.items() if isinstance(v, str) and k != "arch"}
    run = replace(asked(tmp_path, *x), **{**more, **files})
    with pytest.raises(LemError) as error:
        train(run)
    assert re.search(says, str(error.value)) and "\n" not in str(error.value), error.value
    assert not list(tmp_path.glob("*.safetensors"))
