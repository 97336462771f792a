"""Emulators: what an item is, what is kept back, what is learnt, and the trained network as a function."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from helpers.commands import lem
from helpers.training import settings, states
from lemtools.catalogue import Row
from lemtools.catalogue.networks import NETWORKS
from lemtools.denoise.contract import Scale
from lemtools.nets import build
from lemtools.nets.emulator import Emulator
from lemtools.nets.model import Model, load
from lemtools.signal import LemError
from lemtools.train import objectives
from lemtools.train.data import Batches, Items, Spec
from lemtools.train.loop import train
from lemtools.train.prepare import prepare
from lemtools.train.rollout import Rollout, Stretches, moments
from lemtools.train.settings import resolve


def asked(tmp_path, data=None, arch="conv-step", **more):
    """A small run on a rollout of 5 rows."""
    np.save(tmp_path / "x.npy", states() if data is None else data)
    return settings(
        tmp_path, {"field": str(tmp_path / "x.npy")}, recipe="emulator", kind="field", arch=arch, **{"rows": 5, **more}
    )


# what an item is


def numbered(steps, rows):
    """States whose one value is 100 times the step and the row."""
    return np.array([[[100 * t + r]] for t in range(steps) for r in range(rows)], np.float32)


@pytest.mark.parametrize("steps, rows, ahead", [(2, 1, 1), (7, 1, 1), (7, 3, 1), (7, 3, 4), (2, 9, 1)])
def test_an_item_is_one_row_at_steps_that_follow(steps, rows, ahead):
    stretches = Rollout(numbered(steps, rows), None, rows, ahead).stretches
    assert len(stretches) == (steps - ahead) * rows and stretches.shape == (len(stretches), ahead + 1, 1, 1)
    for i in range(len(stretches)):
        t, row = divmod(i, rows)
        assert stretches[i][:, 0, 0].tolist() == [100 * (t + k) + row for k in range(ahead + 1)]
    every = np.arange(len(stretches))[::-1]
    assert np.array_equal(stretches[every], np.stack([stretches[i] for i in every]))


@pytest.mark.parametrize("ahead", [1, 2, 5])
@pytest.mark.parametrize("steps, rows", [(12, 1), (12, 4), (8, 6), (6, 5), (40, 1)])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_no_state_is_in_both_parts(steps, rows, ahead, count):
    rollout = Rollout(numbered(steps, rows), None, rows, ahead)
    try:
        back, learnt = rollout.split(3, count)
    except LemError as error:
        assert rows == 1 and "leaves nothing" in str(error)
        return
    assert len(back) >= count and len(learnt) and set(back).isdisjoint(learnt)
    seen = [set(rollout.stretches[part].ravel().tolist()) for part in (back, learnt)]
    assert seen[0].isdisjoint(seen[1])
    spare = len(rollout.stretches) - len(back) - len(learnt)
    assert spare in (0, ahead * rows), "or more is left out than must be"
    if spare:  # the last steps of all rows
        assert back.tolist() == list(range(len(rollout.stretches) - len(back), len(rollout.stretches)))
        assert len(back) < count + rows


def test_of_pairs_the_last_ones_are_kept_back_and_those_before_them_left_out():
    x = numbered(10, 2)
    rollout = Rollout(x[:-2], x[2:], 2)
    back, learnt = rollout.split(0, 3)
    assert (back.tolist(), learnt.tolist()) == ([14, 15, 16, 17], list(range(12)))
    assert rollout.stretches[15].ravel().tolist() == [701, 801]


def test_moments_are_those_of_every_channel_over_items_and_places():
    rng = np.random.default_rng(0)
    x = (1e3 + rng.standard_normal((500, 2, 4, 3)) * np.reshape([1e-2, 5.0], (2, 1, 1))).astype(np.float32)
    mean, std = moments(Stretches([(x, 0), (x[1:], 0)], 499))
    wide = x[:499].astype(np.float64)
    assert mean.shape == std.shape == (2, 1, 1) and mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, wide.mean((0, 2, 3))[:, None, None], rtol=1e-7)
    np.testing.assert_allclose(std, wide.std((0, 2, 3))[:, None, None], rtol=1e-6)
    x[:, 1] = 7
    with pytest.raises(LemError, match=r"^channel 2 of the states is constant \(7\)"):
        moments(Stretches([(x, 0), (x[1:], 0)], 499))


def test_what_is_kept_back_fits_nothing(tmp_path):
    x = states()
    x[-15:] += 100  # the last 3 of 8 steps: one that is left out, and those of 4 items that are kept back
    model = prepare(asked(tmp_path, x)).model
    np.testing.assert_allclose(1 / model.scale.gain, x[:25].std(dtype=np.float64), rtol=1e-6)
    assert model.meta["item"] == [1, 8] and model.meta["net"]["axes"] == 1


# what is learnt


class Times(nn.Module):
    """x times a number."""

    family = "step"

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return self.factor * x


def step_loss(x, noise=0.0, drawn=None):
    """(loss of every item, its derivative by the factor, the objective): a network that multiplies by .5; coordinates
    are 4 (v - 1)."""
    net = Times(0.5)
    goal = objectives.Step(Model(net, {}, Scale(1.0, 4.0), Scale(1.0, 4.0)), noise)
    batch = {"target": torch.tensor(x)[..., None] / 4 + 1} | ({} if drawn is None else {"noise": torch.tensor(drawn)})
    loss = goal(batch)
    loss.sum().backward()
    return loss.tolist(), net.factor.grad.item(), goal.measure(batch)["one_step"].tolist()


def test_a_step_by_hand():
    """Items [N, K + 1, C] of one place."""
    assert step_loss([[[2.0], [3.0]], [[4.0], [4.0]]]) == ([4.0, 4.0], 2 * 2 * -2 + 2 * 4 * -2, [2.0, 2.0])


def test_noise_is_on_what_is_shown_alone():
    (loss,), slope, (told,) = step_loss([[[2.0], [3.0]]], 0.5, [[4.0]])
    assert (loss, slope, told) == (1.0, 2 * 4 * -1, 2.0)  # .5 (2 + .5 * 4) - 3; the error that is told knows no noise


def test_pushforward_has_the_gradient_of_its_last_step_alone():
    """x0 = 8, x2 = 6, x3 = 5: led to 8 .5^2 = 2, and on to 1; from the true state to 3."""
    (loss,), slope, (told,) = step_loss([[[8.0], [7.0], [6.0], [5.0]]])
    assert loss == (4**2 + 2**2) / 2 and told == 2.0
    assert slope == (2 * -4 * 2 + 2 * -2 * 6) / 2  # (through all three steps it would be 2 (-4) 3 8 .5^2 for the first)


def unrolled_loss(x, steps=True):
    net = Times(0.5)
    goal = objectives.Step(Model(net, {}, Scale(1.0, 4.0), Scale(1.0, 4.0)), unrolled=steps)
    batch = {"target": torch.tensor(x)[..., None] / 4 + 1}
    loss = goal(batch)
    loss.sum().backward()
    return loss.tolist(), net.factor.grad.item(), goal.measure(batch)["one_step"].tolist()


def test_own_rollouts_have_the_gradient_of_the_whole_way():
    """x0 = 8, then 7, 6, 5: led to 4, 2, 1; of each step k the derivative by the factor a is 8 k a^(k - 1)."""
    x = [[[8.0], [7.0], [6.0], [5.0]]]
    (loss,), slope, (told,) = unrolled_loss(x)
    assert loss == pytest.approx(((4 - 7) ** 2 + (2 - 6) ** 2 + (1 - 5) ** 2) / 3) and told == 2.0
    assert slope == pytest.approx((2 * -3 * 8 + 2 * -4 * 8 * 2 * 0.5 + 2 * -4 * 8 * 3 * 0.25) / 3)
    assert slope != step_loss(x)[1]
    assert unrolled_loss([[[2.0], [3.0]]]) == step_loss([[[2.0], [3.0]]])  # of one step there is no difference


def test_own_rollouts_count_every_step():
    """Its operations are those of K steps; of pushforward those that have no gradient count once."""
    from lemtools.train.flops import per_item

    cost = {}
    for name, more in (("one", {}), ("own", {"unrolled": True})):
        torch.manual_seed(0)
        model = Model(build({"net": "conv-step", "width": 4, "channels": 1, "axes": 1}), {}, Scale(), Scale())
        x = states(rows=1, steps=40)
        spec = Spec(Items("field", Rollout(x, None, 1, 3 if more else 1).stretches), 4, 0, operations=[])
        cost[name] = per_item(spec, objectives.Step(model, **more))
    assert cost["own"] == pytest.approx(3 * cost["one"])


class Line(nn.Module):
    """One linear map of all values."""

    family = "step"

    def __init__(self, item):
        super().__init__()
        self.map = nn.Linear(item[-1], item[-1])

    def forward(self, x):
        return self.map(x)


TOY = Row("ruler", Line, "one linear map", ("field",), facts={"family": "step"})


def test_noise_shrinks_the_map_that_is_learnt(tmp_path):
    """Of white states the best linear map from x + S n is A / (1 + S^2)."""
    x = np.random.default_rng(0).standard_normal((4000, 1, 2)).astype(np.float32)
    np.save(tmp_path / "next.npy", x[..., ::-1] * np.float32(0.8))
    for noise, size, most in ((None, 0.8, 1e-3), (1.0, 0.4, 0.04)):
        folder = tmp_path / str(noise)
        folder.mkdir()
        more = dict(noise_injection=noise, target=[str(tmp_path / "next.npy")], rows=1, arch="mlp-step", width=None)
        run = asked(folder, x, steps=300, batch=128, lr=5e-2, save_every=300, ema=0.9, holdout=200, **more)
        with NETWORKS.added(TOY):
            train(replace(run, arch="ruler", depth=None))
            (origin, first, second) = Emulator(load(run.output))(np.float32([[[0, 0]], [[1, 0]], [[0, 1]]]))
        assert np.abs([first - origin - [[0, size]], second - origin - [[size, 0]]]).max() < most
        told = json.loads(open(run.log).readlines()[-1])
        assert told["held_out_one_step"] == pytest.approx((0.8 - size) * (np.pi / 4) ** 0.5, abs=3 * most)


@pytest.mark.parametrize("more, most", [({}, 1e-5), ({"pushforward": 3}, 0.04), ({"own_rollouts": 3}, 1e-5)])
def test_a_linear_map_is_learnt_exactly(more, most, tmp_path):
    """Rows side by side, turned a little at every step."""
    turn = np.float32([[0.8, -0.6], [0.6, 0.8]])
    x = [np.random.default_rng(0).standard_normal((64, 1, 2)).astype(np.float32)]
    for _ in range(7):
        x.append(x[-1] @ turn.T)
    more = dict(rows=64, holdout=64, arch="mlp-step", width=None, **more)
    run = asked(tmp_path, np.concatenate(x), steps=500, batch=32, lr=5e-2, save_every=500, ema=0.9, **more)
    with NETWORKS.added(TOY):
        train(replace(run, arch="ruler", depth=None))
        model = load(run.output)
    error = np.square(Emulator(model)(x[-2]) - x[-1]).mean((1, 2)) ** 0.5 * model.scale.gain.item()
    assert json.loads(open(run.log).readlines()[-1])["held_out_one_step"] == pytest.approx(error.mean(), abs=1e-6)
    assert error.mean() < most


@pytest.mark.parametrize("arch", ["conv-step", "mlp-step"])
def test_the_networks_learn(arch, tmp_path):
    """A ring that turns and is smoothed: far better than no change."""
    x = [np.random.default_rng(0).standard_normal((64, 1, 8)).astype(np.float32)]
    for _ in range(4):
        x.append(0.6 * np.roll(x[-1], 1, -1) + 0.3 * np.tanh(x[-1]))
    more = dict(rows=64, holdout=32, width={"conv-step": 12, "mlp-step": 64}[arch], depth=1)
    run = asked(tmp_path, np.concatenate(x), arch, steps=150, batch=32, lr=1e-2, save_every=150, ema=0.9, **more)
    gain = train(run).model.scale.gain.item()
    still = np.square(x[-2] - x[-1]).mean((1, 2)) ** 0.5 * gain
    assert json.loads(open(run.log).readlines()[-1])["held_out_one_step"] < 0.4 * still.mean()


def test_precision_is_not_halved_by_default(tmp_path, monkeypatch):
    monkeypatch.setattr("lemtools.train.settings.device_of", lambda settings: "cuda:0")
    dtypes = [
        resolve(settings(tmp_path, {"field": "x"}, recipe=r, kind="field", arch=None)).dtype
        for r in ("emulator", "diffusion")
    ]
    assert dtypes == ["float32", "bfloat16"]


def test_rows_and_batches_are_what_was_asked(tmp_path):
    prepared = prepare(asked(tmp_path, pushforward=2, holdout=0))
    x = states()
    assert len(prepared.spec.items) == 30 and prepared.validation is None
    batch = Batches(prepared.spec)[0]["target"].numpy()
    assert batch.shape == (4, 3, 1, 8)
    for item in batch:
        (i,) = np.flatnonzero((x == item[0]).all((1, 2)))
        assert np.array_equal(item, x[i : i + 11 : 5])
    noisy = Batches(prepare(asked(tmp_path, noise_injection=0.1)).spec)[0]
    assert noisy["noise"].shape == (4, 1, 8) and "noise" not in Batches(prepared.spec)[0]
    np.save(tmp_path / "y.npy", states(seed=1))
    other = prepare(asked(tmp_path, validate=[str(tmp_path / "y.npy")], holdout=None))
    assert len(other.spec.items) == len(other.validation.items) == 35


# the function


def emulator(name="conv-step", item=(2, 12), seed=0):
    torch.manual_seed(seed)
    shape = {"conv-step": {"channels": item[0], "axes": len(item) - 1}, "mlp-step": {"item": list(item)}}[name]
    net = build({"net": name, "width": 16, **shape}).eval()
    nn.init.normal_(net.leave.weight, std=0.05)
    scale = Scale(
        np.float32([3, -1]).reshape(2, *[1] * (len(item) - 1)), np.float32([0.5, 2]).reshape(2, *[1] * (len(item) - 1))
    )
    return Emulator(Model(net, {"recipe": "emulator", "item": list(item)}, scale, scale))


@pytest.mark.parametrize("name, item", [("conv-step", (2, 12)), ("conv-step", (2, 6, 5)), ("mlp-step", (2, 12))])
def test_a_state_steps_alone(name, item):
    step, rng = emulator(name, item), np.random.default_rng(0)
    std = np.float32([2, 0.5]).reshape(2, *[1] * (len(item) - 1))
    x = (step.scale.offset + rng.standard_normal((9, *item)) * std).astype(np.float32)
    together = step(x)
    assert np.abs((together - x) / std).max() > 0.1 and np.array_equal(step(x), together)
    for rows in (slice(0, 1), slice(3, 5), slice(2, 9)):
        assert (np.abs(step(x[rows]) - together[rows]) / std).max() < 1e-6
    x[4, 0] = np.nan
    broken = step(x)
    keep = np.arange(9) != 4
    assert np.array_equal(broken[keep], together[keep]) and np.isnan(broken[4]).any()


@pytest.mark.parametrize("name", ["conv-step", "mlp-step"])
def test_untrained_it_changes_nothing(name, tmp_path):
    x = states()
    np.testing.assert_allclose(Emulator(prepare(asked(tmp_path, x, name)).model)(x), x, rtol=0, atol=1e-6)


def test_it_takes_and_gives_any_array():
    step = emulator()
    x = np.random.default_rng(0).standard_normal((3, 2, 12))
    wanted = step(x.astype(np.float32))
    assert type(wanted) is np.ndarray and wanted.dtype == np.float32
    for one in (x, torch.from_numpy(x), torch.from_numpy(x).float()):
        answer = step(one)
        assert type(answer) is type(one) and answer.dtype == one.dtype and not getattr(answer, "requires_grad", False)
        np.testing.assert_allclose(np.asarray(answer), wanted, rtol=0, atol=1e-6)
    assert step(x[:0]).shape == (0, 2, 12)
    for shape in ((3, 2, 11), (3, 1, 12), (2, 12), (3, 2, 12, 1)):
        with pytest.raises(
            LemError, match=f"^states of {' x '.join(map(str, shape[1:]))}, where the emulator was .* 2 x 12$"
        ):
            step(np.zeros(shape, np.float32))


def test_shifted_states_step_to_shifted_ones():
    step = emulator()
    x = np.random.default_rng(0).standard_normal((3, 2, 12)).astype(np.float32)
    assert np.abs(np.roll(step(x), 5, -1) - step(np.roll(x, 5, -1))).max() < 1e-6


# the commands


def test_what_it_is_for(tmp_path):
    run = asked(tmp_path, card={"licence": "CC0"})
    model = train(run).model
    again = load(run.output)
    assert model.family == again.family == "step" and again.fits("field", (1, 8)) and not again.fits("field", (1, 9))
    x = states()
    assert np.array_equal(Emulator(again)(x), Emulator(model)(x)) and not np.array_equal(Emulator(model)(x), x)
    shown = lem("info", run.output).stdout.decode()
    assert '"licence": "CC0"' in shown and '"recipe": "emulator"' in shown
    refused = lem("reconstruct", "--model", run.output, tmp_path / "x.npy", "--kind", "field", ok=False)
    said = "model.safetensors: an emulator, which makes steps and recalls no fragments; see lem-thermalize"
    assert refused.stderr.decode() == f"lem-reconstruct: error: {said}\n"
    for other in ("resnet", "flat"):
        with pytest.raises(LemError, match="a model of diffusion, no emulator; lem-train emulator makes one"):
            torch.manual_seed(0)
            net = build({"net": other, "channels": 1, "width": 4, "blocks": 1})
            Emulator(Model(net, {"recipe": "diffusion", "item": [1, 8]}))


def saved(tmp_path, **arrays):
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", np.asarray(array, np.float32))


BAD = [
    (
        {"rows": 40},
        "none of 40 states, 1 for each of --rows 40, has a successor; give a longer rollout, or other --rows",
    ),
    ({"rows": 7}, "--rows 7 does not divide the 40 states of --data$"),
    ({"pushforward": 8}, "none of 40 states, 8 for each of --rows 5, has 8 successors"),
    ({"pushforward": 2, "noise_injection": 0.1}, "--noise-injection and --pushforward: give one of them$"),
    ({"own_rollouts": 2, "noise_injection": 0.1}, "--noise-injection and --own-rollouts: give one of them$"),
    ({"own_rollouts": 2, "pushforward": 2}, "--pushforward and --own-rollouts: give one of them$"),
    ({"own_rollouts": 8}, "none of 40 states, 8 for each of --rows 5, has 8 successors"),
    (
        {"target": "y", "own_rollouts": 3},
        "--own-rollouts 3 needs 4 states in a row: a rollout as --data, and no --target$",
    ),
    (
        {"target": "y", "pushforward": 3},
        "--pushforward 3 needs 4 states in a row: a rollout as --data, and no --target$",
    ),
    ({"target": "short"}, "--data of 40 x 1 x 8 and --target of 35 x 1 x 8: each state needs its successor$"),
    ({"target": "narrow"}, "--data of 40 x 1 x 8 and --target of 40 x 1 x 7: each state needs its successor$"),
    ({"target": "y", "validate": "y"}, "--validate is for rollouts; of pairs --holdout N keeps some back$"),
    ({"validate": "narrow"}, "--validate: states of 1 x 7, where those of --data are 1 x 8$"),
    ({"data": "nan"}, r"nan.npy: NaN or infinite values \(item 3\)"),
    ({"data": "still"}, r"channel 2 of the states is constant \(3\): there is nothing to learn of it$"),
    ({"data": "zero"}, r"the one channel of the states is constant \(0\)"),
    ({"holdout": 35}, "--holdout 35 leaves nothing of 35 steps to learn from; give fewer, or 0$"),
    ({"arch": "flat"}, "--arch flat is not for emulator; there are conv-step, mlp-step$"),
    ({"options": {"side": 4}}, "--arch conv-step: side 4: a window has a middle, so it is odd$"),
]


@pytest.mark.parametrize("more, says", BAD, ids=[" ".join(map(str, (*m, *m.values()))) for m, _ in BAD])
def test_refused_in_one_line_before_anything_is_written(more, says, tmp_path):
    x = states()
    broken, wide = x.copy(), np.concatenate([x, np.full_like(x, 3)], 1)
    broken[3, 0, 0] = np.nan
    saved(tmp_path, y=x, short=x[5:], narrow=x[..., :7], nan=broken, still=wide, zero=0 * x)
    run = asked(tmp_path)
    files = {k: [str(tmp_path / f"{v}.npy")] for k, v in more.items() if k in ("data", "target", "validate")}
    run = replace(run, **{**more, **files})
    before = set(tmp_path.iterdir())
    with pytest.raises(LemError) as error:
        train(run)
    assert re.search(says, str(error.value)) and "\n" not in str(error.value), error.value
    assert not {path for path in set(tmp_path.iterdir()) - before if path.suffix == ".safetensors"}


def test_fragments_are_no_states(tmp_path):
    run = asked(tmp_path)
    lem("fragment", tmp_path / "x.npy", "--kind", "field", "--mask", ".5", "-o", tmp_path / "lost.safetensors")
    run = replace(run, data=[str(tmp_path / "lost.safetensors")])
    with pytest.raises(LemError, match="lost.safetensors: fragments; an emulator learns from states that are whole"):
        prepare(run)


@pytest.mark.parametrize(
    "recipe, arch", [("emulator", "conv-step"), ("corrector", "conv-correct"), ("thermalizer", "conv-level")]
)
def test_networks_of_states_in_two_directions_are_made_of_their_data(recipe, arch, tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((60, 2, 6, 8)).astype(np.float32))
    path, more = str(tmp_path / "x.npy"), {}
    if recipe == "corrector":
        more = {"drift": [path], "target": [path]}
    found = settings(
        tmp_path, {"field": path}, recipe=recipe, kind="field", arch=arch, rows=5, steps=1, batch=4, **more
    )
    train(replace(found, kind="field"))
    model = load(str(tmp_path / "model.safetensors"))
    assert model.meta["net"]["axes"] == 2 and model.meta["item"] == [2, 6, 8]


def test_rows_that_do_not_stand_side_by_side_are_noted(tmp_path):
    turn = 0.3 * np.arange(60)[:, None] + np.random.default_rng(0).uniform(0, 6, 5)
    data = np.stack([np.cos(turn), np.sin(turn)], -1).reshape(300, 1, 2).repeat(4, 2).astype(np.float32)
    for rows, said in ((5, []), (1, ["--rows 1: states 5 apart differ by 0.3 "]), (10, ["--rows 10: states 5 apart"])):
        found = prepare(asked(tmp_path, data, rows=rows)).settings.notes
        assert len(found) == len(said) and all(map(str.startswith, found, said))
