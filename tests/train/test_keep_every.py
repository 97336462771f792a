"""Models that are kept as they stood: at every N-th step, the same bytes after kill -9, whatever the recipe."""

import contextlib
import os
import signal
import time

import numpy as np
import pytest
import torch

from helpers.commands import fork, lem_fork
from helpers.training import Died, dying, settings, vectors
from lemtools.encode import load as load_encoder
from lemtools.nets.model import load
from lemtools.train.loop import train
from lemtools.train.settings import FREE, Settings

KINDS = {
    "feedforward": "image",
    "autoregressive": "embedding",
    "diffusion": "image",
    "recurrent": "spectrum",
    "emulator": "field",
    "thermalizer": "field",
    "classifier": "image",
    "translate": "embedding",
}
NAMES = ["model.step-0000000.safetensors", "model.step-0000003.safetensors", "model.step-0000006.safetensors"]


def text(folder, **more) -> Settings:
    (folder / "book.txt").write_bytes(np.random.default_rng(0).choice(np.frombuffer(b"abc d\n", np.uint8), 3000))
    plain = dict(steps=8, batch=4, save_every=4, holdout=3, width=16, depth=1, workers=0, device="cpu")
    names = {"recipe": "lm", "data": [str(folder / "book.txt")], "output": str(folder / "model.safetensors")}
    return Settings(**{**names, **plain, "options": {"context": 12}, **more})


def asked(recipe, folder, kept, **more) -> Settings:
    """A run of 8 steps, with a checkpoint every 4, of which every third is kept."""
    how = {"keep_every": 3, **more}
    if recipe in KINDS:
        return settings(folder, kept, recipe=recipe, kind=KINDS[recipe], arch=None, steps=8, save_every=4, **how)
    if recipe == "token-ae":
        return text(folder, recipe=recipe, options={"latent": 8, "chunk": 4}, **how)
    if recipe == "rvq":
        np.save(folder / "x.npy", np.random.default_rng(0).standard_normal((500, 8)).astype(np.float32))
        data = {"recipe": recipe, "data": [str(folder / "x.npy")], "width": None, "depth": None, "batch": 32}
        return text(folder, **data, options={"stages": 2, "codes": 4}, **how)
    return text(folder, **how)


def kept_models(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("model.step-*")}


@pytest.mark.parametrize("recipe", [*KINDS, "lm", "token-ae", "rvq"])
def test_every_third_is_there_and_the_same_after_death(recipe, tmp_path, kept, tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole")
    train(asked(recipe, whole, kept))
    wanted = kept_models(whole)
    assert sorted(wanted) == NAMES and len(set(wanted.values())) == 3
    for step in (2, 3, 7):
        dying(asked(recipe, tmp_path, kept), step)
        train(asked(recipe, tmp_path, kept))
        assert kept_models(tmp_path) == wanted
        assert (tmp_path / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
        for path in (*tmp_path.glob("model.*"), tmp_path / "log.jsonl"):
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("recipe", ["diffusion", "lm", "rvq"])
def test_what_is_kept_is_the_model_of_a_run_that_was_stopped_there(recipe, tmp_path, kept):
    """Of a checkpoint at the same step, which others can read; and what is kept changes nothing of what is learnt."""
    train(asked(recipe, tmp_path, kept, keep_every=4))
    there = kept_models(tmp_path)
    last = (tmp_path / "model.safetensors").read_bytes()
    assert there["model.step-0000008.safetensors"] == last
    for path in tmp_path.glob("model.*"):
        path.unlink()
    (tmp_path / "log.jsonl").unlink(missing_ok=True)
    dying(asked(recipe, tmp_path, kept, keep_every=None), 6)
    assert kept_models(tmp_path) == {}
    assert (tmp_path / "model.safetensors").read_bytes() == there["model.step-0000004.safetensors"]
    train(asked(recipe, tmp_path, kept, keep_every=None))
    assert kept_models(tmp_path) == {} and (tmp_path / "model.safetensors").read_bytes() == last


def test_a_kept_model_is_a_model(tmp_path, kept):
    train(text(tmp_path, keep_every=4))
    models = [load(str(tmp_path / f"model.step-000000{step}.safetensors")) for step in (0, 4, 8)]
    assert [model.meta["step"] for model in models] == [0, 4, 8]
    first, last = (dict(model.net.named_parameters()) for model in models[::2])
    assert any(not torch.equal(first[name], last[name]) for name in first)
    train(asked("rvq", tmp_path, kept, output=str(tmp_path / "books.safetensors")))
    assert load_encoder(str(tmp_path / "books.step-0000000.safetensors")).encode is not None


def test_it_may_be_asked_for_later_and_no_longer(tmp_path, kept):
    assert "keep_every" in FREE
    dying(text(tmp_path), 5)
    train(text(tmp_path, keep_every=2))  # from the state of step 4 on
    assert sorted(kept_models(tmp_path)) == ["model.step-0000006.safetensors", "model.step-0000008.safetensors"]


def test_runs_side_by_side_are_kept_each(tmp_path):
    train(text(tmp_path, output=str(tmp_path / "model-%d.safetensors"), runs=2, keep_every=8))
    for seed in (0, 1):
        first, last = (tmp_path / f"model-{seed}.step-000000{step}.safetensors" for step in (0, 8))
        assert last.read_bytes() == (tmp_path / f"model-{seed}.safetensors").read_bytes() != first.read_bytes()


def test_nothing_that_is_not_finite_is_kept(tmp_path):
    with pytest.raises(Exception, match="not finite since step"):
        train(text(tmp_path, lr=1e30, warmup=0, keep_every=1, save_every=8))
    for path in tmp_path.glob("model.step-*"):
        assert all(bool(p.isfinite().all()) for p in load(str(path)).net.parameters()), path


def test_kill_9_at_random_moments(tmp_path, tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole")
    more = dict(steps=60, save_every=7, keep_every=5)
    train(text(whole, **more))
    wanted, run = kept_models(whole), text(tmp_path, **more)
    assert len(wanted) == 13
    killed = 0
    for patience in (*np.random.default_rng(0).uniform(0.02, 0.4, 8), 60):
        child = fork()
        if child == 0:
            train(run)
            os._exit(0)
        end = time.monotonic() + patience
        while time.monotonic() < end and (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
            time.sleep(0.005)
        if done == (0, 0):
            os.kill(child, signal.SIGKILL)
            done = os.waitpid(child, 0)
            killed += 1
        there = {name: data for name, data in kept_models(tmp_path).items() if not name.endswith(".part")}
        assert there.items() <= wanted.items()
    assert killed and os.waitstatus_to_exitcode(done[1]) == 0 and kept_models(tmp_path) == wanted


def test_death_at_any_rename_loses_none(tmp_path, tmp_path_factory, monkeypatch):
    """Also where a step is kept and a checkpoint: the model is kept before the state says that the step was made."""
    whole, more = tmp_path_factory.mktemp("whole"), dict(keep_every=4, save_every=4)
    train(text(whole, **more))
    wanted, real, calls = kept_models(whole), os.replace, []

    def replace(*args):
        calls.append(args)
        if len(calls) == at:
            raise Died
        real(*args)

    for at in range(1, 9):
        folder = tmp_path / str(at)
        folder.mkdir()
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace)
            with contextlib.suppress(Died):
                train(text(folder, **more))
            assert len(calls) == at
        train(text(folder, **more))
        assert kept_models(folder) == wanted, at


def test_the_option(tmp_path):
    np.save(tmp_path / "x.npy", vectors())
    line = "rvq --data x.npy --stages 1 --codes 4 --steps 4 --holdout 4 --workers 0 --device cpu -q -o m.safetensors"
    done = lem_fork("train", *line.split(), "--keep-every", "2", cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr
    assert sorted(p.name for p in tmp_path.glob("m.step*")) == [f"m.step-000000{n}.safetensors" for n in (0, 2, 4)]
    bad = lem_fork("train", *line.split(), "--keep-every", "0", cwd=tmp_path)
    assert bad.returncode == 2 and b"--keep-every" in bad.stderr
