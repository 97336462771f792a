"""Levels of noise that a network reads: what it learns from, how its calibration is measured and kept, what it reads."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.commands import lem
from helpers.training import settings
from lemtools.catalogue import LemError
from lemtools.denoise.contract import Scale
from lemtools.denoise.gaussian import Gaussian
from lemtools.nets import build, calibration
from lemtools.nets.level import Level, Reading, told
from lemtools.nets.model import Model, load
from lemtools.train.checkpoint import save_model
from lemtools.train.levels import Levels
from lemtools.train.loop import train
from lemtools.train.prepare import prepare

ROWS = 4


def field(count=800, points=16, seed=0):
    """A Gaussian field on a ring [N, 1, L] and its Gaussian: its spectrum falls as exp(-2 k), so that most modes have
    next to nothing."""
    rng = np.random.default_rng(seed)
    power = np.exp(-2 * np.abs(np.fft.fftfreq(points, 1 / points)))
    white = np.fft.fft(rng.standard_normal((count, 1, points)))
    x = np.fft.ifft(white * np.sqrt(power)).real
    away = (np.arange(points)[:, None] - np.arange(points)) % points
    return x.astype(np.float32), Gaussian(np.zeros((1, points)), np.fft.ifft(power).real[away])


def asked(tmp_path, x=None, arch="conv-level", **more):
    np.save(tmp_path / "x.npy", field(80)[0] if x is None else x)
    return settings(
        tmp_path,
        {"field": str(tmp_path / "x.npy")},
        recipe="thermalizer",
        kind="field",
        arch=arch,
        **{"rows": ROWS, "holdout": None, **more},
    )


# what is kept back


def test_what_is_kept_back_is_the_last_tenth_and_fits_nothing(tmp_path):
    x = field(80)[0]
    x[72:] += 100
    prepared = prepare(asked(tmp_path, x))
    assert np.array_equal(prepared.validation.items.rows(np.arange(8)), x[72:]) and len(prepared.spec.items) == 72
    np.testing.assert_allclose(1 / prepared.model.scale.gain, x[:72].std(dtype=np.float64), rtol=1e-5)
    other = field(12, seed=1)[0]
    np.save(tmp_path / "other.npy", other)
    prepared = prepare(asked(tmp_path, x[:72], validate=[str(tmp_path / "other.npy")]))
    assert np.array_equal(prepared.validation.items.rows(np.arange(12)), other) and len(prepared.spec.items) == 72
    assert prepare(asked(tmp_path, holdout=0)).validation is None


@pytest.mark.parametrize(
    "more, said",
    [
        ({"rows": 7}, "^--rows 7 does not divide the 80 states"),
        ({"levels": (0.0, 1.0)}, "^--levels 0-1: from above 0 to a higher one"),
        ({"levels": 0.5}, "^--levels 0.5-0.5: from above"),
        ({"arch": "conv-step"}, "^--arch conv-step is not for thermalizer; there are conv-level, mlp-level$"),
        ({"arch": "mlp-level", "width": 12}, "^--arch mlp-level: width 12: a multiple of 8$"),
        ({"options": {"side": 4}}, "^--arch conv-level: side 4: a window has a middle"),
        ({"noise_injection": 0.1}, "^--noise-injection is for emulator"),
    ],
)
def test_what_does_not_go_together(tmp_path, more, said):
    with pytest.raises(LemError, match=said):
        prepare(asked(tmp_path, **more))


def test_validation_of_another_shape(tmp_path):
    np.save(tmp_path / "other.npy", field(12, points=8)[0])
    with pytest.raises(LemError, match="^--validate: states of 1 x 8, where those of --data are 1 x 16$"):
        prepare(asked(tmp_path, validate=[str(tmp_path / "other.npy")]))


# the loss


class Told(torch.nn.Module):
    """Answers the same logits to all."""

    family = "level"

    def __init__(self, logits):
        super().__init__()
        self.read, self.logits, self.seen = Reading(1, 0.01, 1.0), logits, None

    def forward(self, x):
        self.seen = x
        return self.logits.expand(len(x), -1)


def test_the_loss_is_least_where_the_probabilities_are_those_of_the_draws():
    """Its expectation over all draws is a cross entropy: with the true probabilities of levels it is that of their entropy,
    and any others have more."""
    count = len(Reading(1, 0.01, 1.0).logs)
    places = torch.linspace(0, 1, 100 * (count - 1) + 1).double()
    batch = {
        "target": torch.full((len(places), 1, 4), 6.0),
        "share": places,
        "noise": torch.full((len(places), 1, 4), 3.0),
    }
    weight = torch.ones(count).double()
    weight[[0, -1]] = 0.5  # half a step belongs to either end
    right = 0.9 * weight / weight.sum()

    def expected(p):
        net = Told(torch.cat([torch.tensor([0.1], dtype=torch.float64), p]).log())
        goal = Levels(Model(net, {}, Scale(2.0, 0.5)))
        noisy = goal(batch | {"clean": torch.zeros(len(places), dtype=torch.bool)})
        clean = goal(batch | {"clean": torch.ones(len(places), dtype=torch.bool)})
        apart, ends = net.read.logs[1] - net.read.logs[0], torch.ones_like(noisy)
        ends[[0, -1]] = 0.5
        torch.testing.assert_close(clean[0], -torch.tensor(0.1, dtype=torch.float64).log())
        return net, goal, ((noisy - apart.log()) * ends).sum() / ends.sum()

    net, goal, least = expected(right)
    torch.testing.assert_close(least, -(right / 0.9 * right.log()).sum(), rtol=1e-6, atol=1e-6)
    for seed in range(3):
        other = right * torch.randn(count, generator=torch.Generator().manual_seed(seed)).mul(0.1).exp()
        assert expected(other * 0.9 / other.sum())[2] > least + 1e-4
    s = net.read.logs[0].exp() * (net.read.logs[-1] - net.read.logs[0]).mul(places).exp()
    goal(batch | {"clean": places > 0.5})
    wanted = 2 + torch.where(places > 0.5, 0, 3 * s)  # (6 - 2) / 2, and s times the noise
    torch.testing.assert_close(net.seen[:, 0, 0].double(), wanted, rtol=1e-5, atol=0)
    error, counts = goal.measure(batch | {"clean": places > 0.5})["log_error"]
    assert counts.sum() == (places <= 0.5).sum()
    mean = float(told(net, net.logits[None])[0])
    torch.testing.assert_close(
        error[: len(places) // 2].double(), (s.log() - mean).abs()[: len(places) // 2], atol=1e-5, rtol=0
    )


def test_what_probabilities_tell():
    """Mean and central 68 % of log s, of all probability in one level, in none, and of a normal distribution."""
    net = Told(torch.zeros(1))
    logs = net.read.logs.double()
    sure = torch.full((2, 1 + len(logs)), -torch.inf, dtype=torch.float64)
    sure[0, 5], sure[1, 0] = 0, 0
    normal = -(torch.cat([logs[:1] - 1, logs]) - math.log(0.1)).square()[None] / (2 * 0.5**2)
    normal[:, 0] = -torch.inf
    mean, low, high = told(net.double(), torch.cat([sure, normal]))
    apart = float(logs[1] - logs[0])
    torch.testing.assert_close(mean[:2], torch.stack([logs[4], logs[0] - 1]))
    torch.testing.assert_close(low[:1], logs[4] - 0.34 * apart * torch.ones(1).double())
    torch.testing.assert_close(high[:1], logs[4] + 0.34 * apart * torch.ones(1).double())
    assert logs[0] - 1 < low[1] < high[1] < logs[0]
    assert abs(mean[2] - math.log(0.1)) < 1e-3
    assert abs(high[2] - low[2] - 2 * 0.994 * 0.5) < 0.02 and abs((high[2] + low[2]) / 2 - mean[2]) < 1e-3


# the calibration


def test_a_reader_that_is_right_is_found_to_be_so():
    """A reader of known bias and spread, by the rms of states that are zero."""

    def read(x, bias=0.2, spread=0.3):
        rms = np.sqrt(np.mean(np.square(x, dtype=np.float64), (1, 2)))
        found = np.log(np.maximum(rms, 1e-3)) + bias + spread * np.random.default_rng(len(x)).standard_normal(len(x))
        return found, found - spread, found + spread

    record = calibration.measured(read, np.zeros((4000, 1, 400), np.float32), 0.01, 1.0)
    true = [row["true"] for row in record["table"]]
    np.testing.assert_allclose(true, np.geomspace(0.01, 1, calibration.LEVELS), rtol=1e-4)
    for row in record["table"]:
        assert abs(row["bias"] - 0.2) < 0.02 and abs(row["sd"] - 0.302) < 0.02
        assert abs(math.log(row["read"] / row["true"]) - 0.2) < 0.03
        assert abs(math.log(row["high"] / row["low"]) - 2 * 0.994 * 0.302) < 0.05
    assert abs(record["bias"] - 0.2) < 0.02
    off = 0.2 + 0.302 * np.random.default_rng(1).standard_normal(200_000)
    assert abs(record["log_error"] - np.abs(off).mean()) < 0.02
    assert abs(record["covered"] - (np.abs(off) < 0.3).mean()) < 0.03
    # E[log true | read] falls back towards the middle at both ends, so that it is more than the bias
    assert 0.15 < record["binned_ece"] < 0.35
    levels = dict(map(tuple, record["clean"]))
    assert abs(math.log(levels[0.1] / 1e-3) - (0.2 + 1.2816 * 0.3)) < 0.05
    assert calibration.threshold(record, 0.1) == pytest.approx(levels[0.1])
    between = calibration.threshold(record, 0.03)
    assert levels[0.05] < between < levels[0.02]
    calibration.check(json.loads(json.dumps(record)))


def test_few_states_tell_no_small_share():
    still = lambda x: (np.zeros(len(x)), -np.ones(len(x)), np.ones(len(x)))
    record = calibration.measured(still, np.zeros((40, 1, 4), np.float32), 0.01, 1.0)
    assert calibration.threshold(record, 0.05) == 1
    with pytest.raises(
        LemError, match="^a share of false fires of 0.01 is less than 40 states can tell, 0.05 at least$"
    ):
        calibration.threshold(record, 0.01)
    record = calibration.measured(still, np.zeros((1, 1, 4), np.float32), 0.01, 1.0)
    with pytest.raises(LemError, match="is less than 1 states can tell$"):
        calibration.threshold(record, 0.5)


# what a trained one reads


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network that learned for some seconds."""
    folder = tmp_path_factory.mktemp("level")
    x = field(4000)[0]
    more = dict(width=16, depth=1, steps=220, batch=48, lr=1e-2, ema=0.97, save_every=220, levels=(0.03, 1.0))
    train(asked(folder, x, options={"side": 5}, **more))
    return load(str(folder / "model.safetensors"))


@pytest.mark.parametrize("s", [0.05, 0.1, 0.3])
def test_the_level_of_a_gaussian_field(trained, s):
    """Unbiased, and at most a fifth less sharp than the level of greatest likelihood, which knows the covariance."""
    x, gaussian = field(3000, seed=7)
    std = float(1 / trained.scale.gain.ravel()[0])
    noisy = x + s * std * np.random.default_rng(3).standard_normal(x.shape)
    found, best = Level(trained)(noisy), gaussian.level(noisy) / std
    assert abs(np.median(found) / s - 1) < 0.08 and abs(np.mean(np.log(found / s))) < 0.08
    assert np.std(np.log(found)) < 1.2 * np.std(np.log(best))


def test_the_calibration_is_that_of_states_kept_back(trained):
    record = trained.meta["calibration"]
    assert record["states"] == 400 and record["table"][0]["true"] == 0.03
    assert record["log_error"] < 0.25 and record["binned_ece"] < 0.1 and 0.5 < record["covered"] < 0.85
    clean = Level(trained)(field(3000, seed=7)[0])
    assert 0.002 < (clean > calibration.threshold(record, 0.01)).mean() < 0.04


def test_a_reader_takes_rows_alone_and_what_is_not_finite_in_its_row(trained):
    x = torch.from_numpy(field(6)[0])
    level = Level(trained)
    whole = level(x)
    assert whole.dtype == torch.float32 and whole.shape == (6,)
    x[2, 0, 3] = torch.inf
    again = level(x.double())
    assert again.dtype == torch.float64 and torch.isnan(again).tolist() == [i == 2 for i in range(6)]
    keep = [0, 1, 3, 4, 5]
    torch.testing.assert_close(again[keep].float(), whole[keep], rtol=1e-5, atol=0)
    torch.testing.assert_close(level(x.roll(5, 2))[keep], whole[keep], rtol=1e-4, atol=0)  # on a ring
    with pytest.raises(LemError, match=r"^states of \[1, 8\], where the network was trained on those of \[1, 16\]$"):
        level(x[..., :8])


@pytest.mark.parametrize("axes, shape", [(1, (16,)), (2, (8, 8))])
def test_an_untrained_one_reads_the_middle(axes, shape):
    net = build({"net": "conv-level", "channels": 2, "low": 0.01, "high": 1.0, "width": 8, "blocks": 1, "axes": axes})
    logits = net(torch.randn(3, 2, *shape))
    mean, low, high = told(net, logits)
    assert not logits.any() and abs(mean.exp() - 0.1).max() < 0.02 and (low < mean).all() and (mean < high).all()
    with pytest.raises(ValueError, match=r"expected \[N, 2, "):
        net(torch.randn(3, 1, *shape))


def test_vectors(tmp_path):
    """Of vectors in three directions, with noise in all."""
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((600, 3)) @ rng.standard_normal((3, 24)) + 5).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    more = dict(recipe="thermalizer", kind="embedding", arch="mlp-level", holdout=100, width=32, levels=(0.03, 1.0))
    data = {"embedding": str(tmp_path / "x.npy")}
    found = settings(tmp_path, data, **more, steps=150, batch=32, lr=1e-2, ema=0.95, save_every=150)
    train(replace(found, kind="embedding"))
    model = load(str(tmp_path / "model.safetensors"))
    assert model.meta["calibration"]["states"] == 100 and model.meta["calibration"]["log_error"] < 0.4
    assert model.net(torch.zeros(2, 24)).shape == (2, 1 + len(model.net.read.logs))


# as a file


def test_the_card_is_shown_and_checked(trained, tmp_path):
    path = str(tmp_path / "m.safetensors")
    save_model(trained, path)
    shown = lem("info", path).stdout.decode()
    assert "calibration\tstates 400  log_error 0." in shown and "calibration\ttrue 0.03  read 0.0" in shown
    assert "calibration\tclean states: a share of 0.01 above 0.0" in shown
    (facts,) = map(json.loads, lem("info", "--json", path).stdout.splitlines())
    assert facts["calibration"] == trained.meta["calibration"] and "calibration" not in facts["card"]["lem"]
    for damage in ([], {"states": 0}, {**trained.meta["calibration"], "clean": [[2, "x"]]}):
        bad = Model(trained.net, {**trained.meta, "calibration": damage}, trained.scale, trained.target_scale)
        save_model(bad, path)
        with pytest.raises(LemError, match="calibration|states|clean"):
            load(path)
        assert b"calibration" in lem("info", path).stdout or damage == []


def test_of_another_family(trained, tmp_path):
    path = str(tmp_path / "m.safetensors")
    save_model(trained, path)
    np.save(tmp_path / "x.npy", field(4)[0])
    words = "--kind", "field", "--model", path, str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")
    done = lem("reconstruct", *words, ok=False)
    assert (
        done.returncode == 2 and b"a thermalizer, which reads levels of noise and recalls no fragments" in done.stderr
    )
    net = build({"net": "conv-step", "channels": 1, "axes": 1})
    with pytest.raises(
        LemError, match="^a model of emulator reads no level of noise; lem-train thermalizer makes one$"
    ):
        Level(Model(net, {"recipe": "emulator", "item": [1, 16]}))
