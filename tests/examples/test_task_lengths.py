"""examples/task_lengths.py: its lines are what the library finds."""

import subprocess
import sys

import pytest
import torch

from helpers import parity
from helpers.paths import EXAMPLES
from lemtools.nets.model import load
from lemtools.train.by_length import by_length
from lemtools.train.checkpoint import save_model
from lemtools.train.loop import train
from lemtools.train.settings import Settings


@pytest.fixture
def model(tmp_path):
    torch.set_num_threads(1)
    path = str(tmp_path / "gru.safetensors")
    plain = dict(steps=20, batch=8, width=16, depth=1, lr=1e-2, ema=0.5, holdout=2, device="cpu", arch="gru-lm")
    train(Settings("lm", ["task:counter:3"], path, longest=6, **plain))
    return path


def run(*args) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, EXAMPLES / "task_lengths.py", *map(str, args)], capture_output=True, text=True
    )


def test_a_line_for_every_length(model):
    done = run(model, "--lengths", "4,9", "--count", 50, "--seed", 3)
    assert done.returncode == 0 and done.stderr == ""
    head, *rows = [line.split("\t") for line in done.stdout.splitlines()]
    found = list(by_length(load(model), (4, 9), 50, seed=3))
    for row, one in zip(rows, found, strict=True):
        line = dict(zip(head, row, strict=True))
        assert (line["network"], line["task"], int(line["length"])) == ("gru-lm", "counter:3", one.length)
        assert float(line["right"]) == pytest.approx(one.right.mean(), abs=6e-4)
        assert float(line["low"]) <= float(line["right"]) <= float(line["high"])
        assert (line["broken"], line["bits"]) == ("-", "-")
        assert (line["all"], line["chance"], line["majority"]) == tuple(
            f"{number:.3f}" for number in (one.share, one.chance, one.majority)
        )


def test_thoughts_broken_on_their_way(tmp_path):
    path = tmp_path / "parity.safetensors"
    save_model(parity.model(), str(path))
    ways = ("-", "--bits 1", "--mask 1")
    done = run(path, "--lengths", "8", "--count", 50, *(word for way in ways for word in ("--break", way)))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()[1:]]
    assert [row[-2] for row in rows] == list(ways) and [row[-1] for row in rows] == ["-", "24", "8"]
    assert [row[5] for row in rows[:2]] == ["1.000", "1.000"] and float(rows[2][5]) < 0.8


def test_losses_that_there_are_not(model):
    for way, says in (("--bits 2", "carries no thoughts"), ("--bit 2", "--break: no such option")):
        done = run(model, "--lengths", "4", "--break", way)
        assert done.returncode == 2 and says in done.stderr.lower() and done.stderr.count("\n") == 1, done.stderr


def test_what_is_no_model_of_a_task(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"no model at all")
    done = run(tmp_path / "x.safetensors")
    assert done.returncode == 2 and done.stderr.startswith(
        f"task_lengths.py: error: {tmp_path / 'x.safetensors'}: not a"
    )
    assert done.stderr.count("x.safetensors") == 1 and done.stderr.count("\n") == 1
