"""--map mlp: what is not linear is learnt, what is not there is not, and the file is one of lem-train translate."""

import numpy as np
import pytest
import torch

from helpers.commands import lem_fork
from lemtools import encode
from lemtools.align import linear
from lemtools.align.pairs import Paired
from lemtools.encode import learned
from lemtools.signal import LemError, Signal

rng = np.random.default_rng(6)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(learned, "STEPS", 300)


def bent(n=600, noise=0.0):
    """Pairs of which B has what A's numbers are without their signs."""
    x = rng.standard_normal((n, 3))
    return x, np.abs(x) @ np.array([[1, 2, 0, 1], [0, 1, 1, -1], [1, 0, 0, 2.0]]) + 1 + noise * rng.standard_normal(
        (n, 4)
    )


def fit(x, y, **how):
    sides = [Signal("embedding", side.astype(np.float32)) for side in (x, y)]
    return encode.fit("translate", lambda: sides[:1], onto=lambda: sides[1:], map="mlp", **how)


def lost(made, y):
    return float(np.square(made - y).sum() / np.square(y - y.mean(0)).sum())


def test_what_is_not_linear_is_learnt_and_kept(tmp_path):
    (x, y), (u, v) = bent(), bent(200)
    made, report = fit(x, y)
    assert report["map"] == "mlp" and report["pairs"] == 600 and report["width"] == 3 and report["width-onto"] == 4
    assert report["error-after"] < 0.7 * report["error-before"] and 0 < report["steps"] <= learned.STEPS
    (out,) = made.encode(Signal("embedding", u.astype(np.float32)))
    assert lost(out.data, v) < 0.3 < 0.8 < lost(linear.ridge(Paired.of(x, y)).apply(u), v)
    again, _ = fit(x, y)
    for name, tensor in made.tensors().items():
        assert np.array_equal(tensor, again.tensors()[name])
    made.save(path := str(tmp_path / "ab.safetensors"))
    (same,) = encode.load(path).encode(Signal("embedding", u.astype(np.float32)))
    assert np.array_equal(same.data, out.data)
    (back,) = encode.load(path).decode(out, {})
    assert back.data.shape == u.shape


def test_what_does_not_help_pairs_left_out_is_not_taken(monkeypatch):
    """Of noise ridge is best: no update is made, and the map is the ridge regression of all pairs."""
    monkeypatch.setattr(learned, "RATE", 3e-2)
    x, y = rng.standard_normal((40, 5)), 3 * rng.standard_normal((40, 4)) + 1
    made, report = fit(x, y)
    assert report["steps"] == 0 and report["error-before"] == report["error-after"]
    ridge = linear.ridge(Paired.of(x, y))
    (out,) = made.encode(Signal("embedding", x.astype(np.float32)))
    assert np.allclose(out.data, ridge.apply(x), atol=1e-4)


def test_it_begins_as_ridge_each_way(monkeypatch):
    """Without a step, of sides that differ in scale and are nearly linear in one another, so that ridge is far from 0."""
    monkeypatch.setattr(learned, "STEPS", 0)
    x = rng.standard_normal((60, 5)) - 2
    y = 30 * x @ rng.standard_normal((5, 4)) + rng.standard_normal((60, 4)) + 7
    made, report = fit(x, y)
    ridge = linear.ridge(Paired.of(x, y))
    (there,) = made.encode(Signal("embedding", x.astype(np.float32)))
    (back,) = made.decode(Signal("embedding", y.astype(np.float32)), {})
    assert report["steps"] == 0
    assert np.allclose(there.data, ridge.apply(x), atol=1e-3) and lost(there.data, y) < 0.01
    assert np.allclose(back.data, ridge.apply(y, True), atol=1e-4) and lost(back.data, x) < 0.5


def test_the_rate_falls_as_a_cosine(monkeypatch):
    rates = []

    class Noted(torch.optim.AdamW):
        def step(self, *args, **how):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args, **how)

    monkeypatch.setattr(torch.optim, "AdamW", Noted)
    monkeypatch.setattr(learned, "STEPS", 8)
    fit(*bent(40))
    assert np.allclose(rates, learned.RATE * np.cos(np.pi * np.arange(8) / 16) ** 2)


def test_the_error_is_that_of_pairs_left_out_both_ways():
    x, y = bent(200, 0.3)
    _, report = fit(x, y)
    out = np.random.default_rng(18).permutation(200)[:20]
    rest = np.setdiff1d(np.arange(200), out)
    net, sides, config, _ = learned._learnt(Paired.of(x[rest], y[rest]), report["steps"])
    made = learned.Learned(net, sides, {"map": "mlp", "count": 180, "net": config})
    (there,), (back,) = (
        made.encode(Signal("embedding", x[out].astype(np.float32))),
        made.decode(Signal("embedding", y[out].astype(np.float32)), {}),
    )
    found = [np.square(got.data - side[out]).mean() / side[rest].var(0).mean() for got, side in ((there, y), (back, x))]
    assert sum(found) == pytest.approx(report["error-after"], rel=1e-3)


def test_torchs_own_draws_are_left_as_they_were():
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    fit(*bent(60))
    assert torch.equal(torch.rand(4), wanted)


def test_what_is_learnt_from_must_vary():
    x, y = (np.array(side) for side in bent(40))
    rest = np.random.default_rng(18).permutation(40)[4:]
    for side, of in ((x, "the input"), (y, "--onto")):
        kept = side.copy()
        side[rest] = side[0]
        with pytest.raises(LemError, match=f"{of}, 36 of 40 pairs: all vectors are the same"):
            fit(x, y)
        side[:] = kept


def test_the_device_is_that_which_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    x, y = bent(60)
    made, _ = fit(x, y)
    made.save(str(tmp_path / "ab.safetensors"))
    np.save(tmp_path / "a.npy", x.astype(np.float32))
    done = lem_fork(*"encode --model ab.safetensors --device cuda a.npy -o b.npy".split(), cwd=tmp_path)
    assert done.returncode == 2 and b"device cuda is not here" in done.stderr and done.stderr.count(b"\n") == 1
    assert not (tmp_path / "b.npy").exists()
    done = lem_fork(*"encode --model ab.safetensors --device cpu a.npy -o b.npy".split(), cwd=tmp_path)
    assert done.returncode == 0 and np.load(tmp_path / "b.npy").shape == (60, 4)


def test_refusals_and_the_command(tmp_path):
    x, y = bent(60)
    for name, side in (("a", x), ("b", y), ("few", x[:19]), ("fewb", y[:19])):
        np.save(tmp_path / f"{name}.npy", side.astype(np.float32))
    with pytest.raises(LemError, match="19 pairs; --map mlp leaves some out and needs 20 at least"):
        fit(x[:19], y[:19])
    line = "encode --encoder translate --fit --map mlp -o ab.safetensors"
    refused = {
        "--onto fewb.npy few.npy": "19 pairs; --map mlp",
        "--onto b.npy --more a.npy --onto-more b.npy a.npy": "--more is not for --map mlp: lem-train translate learns",
    }
    for more, said in refused.items():
        done = lem_fork(*line.split(), *more.split(), cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr.decode() and done.stderr.count(b"\n") == 1
    done = lem_fork(*line.split(), "--onto", "b.npy", "a.npy", cwd=tmp_path)
    assert done.returncode == 0 and b"map\tmlp\nsteps\t" in done.stdout, done.stderr
