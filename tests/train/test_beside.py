"""Runs side by side are the runs by themselves, to rounding; they stop and go on together."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from helpers.commands import lem, lem_fork
from helpers.training import dying, files
from lemtools.ranks import Ranks
from lemtools.signal import LemError
from lemtools.train import gates
from lemtools.train.beside import Runs
from lemtools.train.dry import dry_run
from lemtools.train.loop import train
from lemtools.train.prepare import prepare
from lemtools.train.settings import Settings

SEEDS = 3, 4, 5
SHORT = dict(steps=24, batch=4, lr=3e-2, save_every=8, holdout=2, clip=0.3, device="cpu")
TEXT = dict(width=16, depth=1, options={"context": 12})


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("book") / "book.txt"
    path.write_bytes(rng.choice(np.frombuffer(b"abcd efgh\n", np.uint8), 3000).tobytes())
    return path


def asked(folder, data, name="%d.safetensors", **more) -> Settings:
    return Settings("lm", [str(data)], str(folder / name), **{**SHORT, **TEXT, **more})


def tables(**more):
    return {"options": {"context": 12, **more}}


WAYS = {
    "full": {},
    "learned": tables(embedding="learned", ratio=4),
    "random": tables(embedding="random", ratio=4),
    "tied": tables(head="tied"),
    "passes": tables(thoughts=0.25, thoughts_by="passes:2"),
    "exact": tables(thoughts=0.25, thoughts_by="bptt:4"),
    "gru": {"arch": "gru-lm"},
    "delta": {"arch": "delta-lm"},
    "task": {"data": ["task:parity"], "longest": 8, "steps": 12},
    "states": {"data": ["task:parity"], "longest": 8, "asked": "end", "states": True, "steps": 12},
}


def each_is_itself(way, tmp_path, book, most, **how):
    """Trains three runs side by side, and each by itself; their weights are the same but for rounding, and those of no two runs."""
    more = dict(WAYS[way])
    data = more.pop("data", [str(book)])
    common = {**SHORT, **TEXT, **more, **how}
    train(Settings("lm", data, str(tmp_path / "%d.safetensors"), runs=3, seed=3, **common))
    others = []
    for seed in SEEDS:
        train(Settings("lm", data, str(tmp_path / f"alone-{seed}.safetensors"), seed=seed, **common))
        mine, alone = (load_file(tmp_path / f"{name}{seed}.safetensors") for name in ("", "alone-"))
        assert mine.keys() == alone.keys()
        for name, tensor in alone.items():
            torch.testing.assert_close(mine[name], tensor, rtol=1e-3, atol=most, msg=lambda said: f"{name}: {said}")
        others.append(mine)
    assert not all(torch.equal(others[0][name], others[1][name]) for name in others[0])


@pytest.mark.parametrize("way", WAYS)
def test_each_run_is_the_one_by_itself(way, tmp_path, book):
    each_is_itself(way, tmp_path, book, 2e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
@pytest.mark.parametrize("way", WAYS)
def test_each_run_is_the_one_by_itself_on_a_gpu(way, tmp_path, book):
    each_is_itself(way, tmp_path, book, 2e-3, device="cuda", dtype="float32", lr=1e-2)


def test_each_seed_has_its_own_table(tmp_path, book):
    train(asked(tmp_path, book, "full-%d.safetensors", runs=2))
    arm = {"runs": 2, **tables(embedding="pca", ratio=4)}
    for name, table in (("own", "full-%d.safetensors"), ("one", "full-1.safetensors")):
        train(asked(tmp_path, book, f"{name}-%d.safetensors", table=str(tmp_path / table), **arm))
    own, one = (
        [load_file(tmp_path / f"{name}-{seed}.safetensors")["enter.weight"] for seed in (0, 1)]
        for name in ("own", "one")
    )
    assert torch.equal(own[1], one[1]) and torch.equal(one[0], one[1]) and not torch.equal(own[0], one[0])
    # another table of a seed that is not the first is another run
    (tmp_path / "full-1.safetensors").write_bytes((tmp_path / "full-0.safetensors").read_bytes())
    with pytest.raises(LemError, match="its run has other contents of the tables"):
        train(asked(tmp_path, book, "own-%d.safetensors", table=str(tmp_path / "full-%d.safetensors"), **arm))


OF_A_TABLE = {
    "trellis": tables(embedding="trellis", code_bits=2),
    "rvq": tables(embedding="rvq", stages=2, codes=4),
    "tuned": tables(embedding="autoencoder", ratio=4, coding="tuned"),
    "joint": tables(embedding="autoencoder", ratio=4, coding="joint"),
}


@pytest.mark.parametrize("arm", OF_A_TABLE)
def test_codes_of_a_table_are_those_of_their_own_seed(arm, tmp_path, book):
    train(asked(tmp_path, book, "full-%d.safetensors", runs=2))
    more = OF_A_TABLE[arm]
    train(asked(tmp_path, book, runs=2, table=str(tmp_path / "full-%d.safetensors"), **more))
    for seed in (0, 1):
        name, table = f"alone-{seed}.safetensors", str(tmp_path / f"full-{seed}.safetensors")
        train(asked(tmp_path, book, name, seed=seed, table=table, **more))
        mine, alone = (load_file(tmp_path / file) for file in (f"{seed}.safetensors", name))
        for key, tensor in alone.items():
            torch.testing.assert_close(mine[key], tensor, rtol=1e-3, atol=2e-4, msg=key)


def test_the_log_has_each_run_and_their_mean(tmp_path, book):
    train(asked(tmp_path, book, runs=2, seed=7, log=str(tmp_path / "log")))
    last = json.loads((tmp_path / "log").read_text().splitlines()[-1])
    each = [last[f"held_out_loss_{seed}"] for seed in (7, 8)]
    assert last["held_out_loss"] == pytest.approx(np.mean(each)) and each[0] != each[1]


def test_gradients_are_clipped_run_by_run(tmp_path, book):
    """A run whose loss is steep leaves the others their own steps."""
    settings = asked(tmp_path, book, runs=2, seed=0)
    run = prepare(settings)
    found = Runs(run, Ranks(), "cpu")
    for k, weight in enumerate(found.weights.values()):
        weight.grad = torch.full_like(weight, 0.1)
        weight.grad[1] = 100.0 + k
    before = [weight.grad[0].norm() for weight in found.weights.values()]
    want = torch.stack(before).norm()
    norms = found._clip()
    assert norms[0] == pytest.approx(float(want), rel=1e-5)
    for i in (0, 1):
        left = torch.stack([weight.grad[i].norm() for weight in found.weights.values()]).norm()
        assert float(left) == pytest.approx(0.3, rel=1e-4)


def test_a_run_that_died_ends_with_the_same_bytes(tmp_path, book):
    for name in ("whole", "died"):
        (tmp_path / name).mkdir()
    train(asked(tmp_path / "whole", book, runs=2))
    dying(asked(tmp_path / "died", book, runs=2), 16)
    assert (tmp_path / "died" / "%d.state.safetensors").exists()
    train(asked(tmp_path / "died", book, runs=2))
    for seed in (0, 1):
        one, other = ((tmp_path / name / f"{seed}.safetensors").read_bytes() for name in ("whole", "died"))
        assert one == other


def one_fails(monkeypatch, *seeds):
    """Gates that these seeds do not pass."""

    def check(subject):
        if subject.seed in seeds:
            raise gates.Failed(f"failed by {subject.seed}")
        return "all well"

    monkeypatch.setattr(gates, "check", check)


def not_finite(monkeypatch, step, *runs):
    """Weights that are not finite from a step on, of these runs."""
    advance = Runs.advance

    def broken(run, batch):
        if run.step >= step:
            for weight in run.weights.values():
                weight.data[list(runs)] = torch.nan
        return advance(run, batch)

    monkeypatch.setattr(Runs, "advance", broken)


@pytest.mark.parametrize("how", ["gates", "not finite"])
def test_a_seed_that_fails_is_named_and_the_others_go_on(how, tmp_path, book, monkeypatch):
    """They end with the same bytes as without it, also where the run was killed; the log has no number of it from there on."""
    for name in ("well", "whole", "died"):
        (tmp_path / name).mkdir()
    more = {"runs": 3, "gates": 6}

    def at(name):
        return asked(tmp_path / name, book, log=str(tmp_path / name / "log"), **more)

    one_fails(monkeypatch)
    train(at("well"))
    if how == "gates":
        one_fails(monkeypatch, 1)
        why = "failed by 1"
    else:
        not_finite(monkeypatch, 10, 1)
        why = "the loss is not finite since step 11"
    lines = []
    assert train(at("whole"), lines.append).failed == {1: why}
    (passed,) = [line for line in lines if "gates passed at step 6: all well" in line]
    assert "seed 0: " in passed and ("seed 1: " in passed) == (how != "gates")
    dying(at("died"), 16)
    assert train(at("died")).failed == {1: why}
    for seed in (0, 2):
        one, two, three = ((tmp_path / n / f"{seed}.safetensors").read_bytes() for n in ("well", "whole", "died"))
        assert one == two == three
    assert not (tmp_path / "whole/1.safetensors").exists() and not (tmp_path / "died/1.safetensors").exists()
    well, whole, died = (
        list(map(json.loads, (tmp_path / n / "log").read_text().splitlines())) for n in ("well", "whole", "died")
    )
    for record in (whole[-1], died[-1]):
        assert "held_out_loss_1" not in record and record["held_out_loss_2"] == well[-1]["held_out_loss_2"]
        assert record["held_out_loss"] == pytest.approx(np.mean([well[-1][f"held_out_loss_{seed}"] for seed in (0, 2)]))
        assert np.isfinite(record["loss"]) and np.isfinite(record["gradient"])
    before = files(tmp_path / "whole")
    assert train(at("whole")).failed == {1: why} and files(tmp_path / "whole") == before  # done already


def test_where_all_seeds_fail_nothing_is_left(tmp_path, book, monkeypatch):
    with monkeypatch.context() as patched:
        one_fails(patched, 0, 1)
        with pytest.raises(gates.Failed, match="^seed 0: failed by 0; seed 1: failed by 1$"):
            train(asked(tmp_path, book, runs=2, gates=6))
    not_finite(monkeypatch, 3, 0, 1)
    with pytest.raises(LemError, match=r"^the loss of the seeds 0, 1 is not finite since step 4; try --lr 0.01$"):
        train(asked(tmp_path, book, runs=2))
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_seed_that_has_no_table_is_left_out(tmp_path, book):
    train(asked(tmp_path, book, "full-%d.safetensors", runs=3))
    gone = tmp_path / "full-1.safetensors"
    more = {"runs": 3, "table": str(tmp_path / "full-%d.safetensors"), **tables(embedding="pca", ratio=4)}
    train(asked(tmp_path, book, "every-%d.safetensors", **more))
    gone.unlink()
    assert train(asked(tmp_path, book, "pca-%d.safetensors", **more)).failed == {1: f"{gone}: no such file"}
    assert not (tmp_path / "pca-1.safetensors").exists()
    for seed in (0, 2):
        one, two = (load_file(tmp_path / f"{name}-{seed}.safetensors") for name in ("every", "pca"))
        for key, tensor in one.items():
            torch.testing.assert_close(two[key], tensor, rtol=1e-3, atol=2e-4)
    with pytest.raises(LemError, match="none-0.safetensors: no such file"):
        train(asked(tmp_path, book, "none-%d.safetensors", **more | {"table": str(tmp_path / "none-%d.safetensors")}))


def test_a_command_of_which_a_seed_fails_ends_with_status_1(tmp_path, book):
    line = f"lm --data {book} --depth 1 --width 16 --context 12 --steps 4 --batch 2 --runs 2 --device cpu -q"
    assert lem_fork("train", *line.split(), "-o", "full-%d.safetensors", cwd=tmp_path).returncode == 0
    (tmp_path / "full-0.safetensors").unlink()
    more = [*line.split(), *"--embedding pca --table full-%d.safetensors -o pca-%d.safetensors".split()]
    done = lem_fork("train", *more, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, b"lem-train: seed 0: full-0.safetensors: no such file\n")
    assert (tmp_path / "pca-1.safetensors").exists() and not (tmp_path / "pca-0.safetensors").exists()


def test_what_is_refused(tmp_path, book):
    with pytest.raises(LemError, match="has its seed in its name, as in -o full-%d.safetensors"):
        train(asked(tmp_path, book, "a.safetensors", runs=2))
    with pytest.raises(LemError, match="has its seed in its name"):
        train(asked(tmp_path, book, "%d-%d.safetensors", runs=2))
    train(asked(tmp_path, book, "1.safetensors", seed=1))
    with pytest.raises(LemError, match="1.safetensors: a model without the state of its run"):
        train(asked(tmp_path, book, runs=2))
    (tmp_path / "new").mkdir()
    train(asked(tmp_path / "new", book, runs=2))
    with pytest.raises(LemError, match="its run has --runs 2, not 3"):
        train(asked(tmp_path / "new", book, runs=3))


def test_the_cost_of_all(tmp_path, book):
    one, two = (dry_run(asked(tmp_path, book, **more)) for more in ({"runs": 1}, {"runs": 2}))
    assert two["flops"] == 2 * one["flops"] and two["parameters"] == one["parameters"]


def test_the_command(tmp_path, book):
    line = f"lm --data {book} --depth 1 --width 16 --context 12 --steps 4 --batch 2 --runs 2 --seed 8"
    done = lem("train", *line.split(), "-o", tmp_path / "m-%03d.safetensors")
    assert b"side by side with the seeds 8, 9" in done.stderr
    assert {path.name for path in tmp_path.glob("m-0*")} == {"m-008.safetensors", "m-009.safetensors"}
