"""lem-thermalize --check and --report: what they print, and how they end."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from helpers.commands import gone, lem_fork
from helpers.paths import ROOT

ROWS, STEPS, LENGTH = 8, 120, 8


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Waves that travel: states.npy, true.npy of other rows, shuffled.npy, the same states in any order."""
    importlib.import_module("lemtools.thermalize.judge")  # here once, and not in every fork
    here = tmp_path_factory.mktemp("judging")
    rng = np.random.default_rng(0)
    x = 2 * np.pi * np.arange(LENGTH) / LENGTH

    def waves(rows, steps=STEPS):
        phase, size = 2 * np.pi * rng.random((1, rows, 1, 1)), 1 + 0.3 * rng.random((1, rows, 1, 1))
        time = np.arange(steps)[:, None, None, None]
        return (size * np.cos(x + phase - 0.7 * time)).reshape(-1, 1, LENGTH).astype(np.float32)

    def noisy(values):
        return values + np.float32(0.1) * rng.standard_normal(values.shape, np.float32)

    np.save(here / "states.npy", noisy(waves(ROWS)))
    true = noisy(waves(ROWS)).reshape(STEPS, ROWS, 1, LENGTH)
    np.save(here / "true.npy", true.reshape(-1, 1, LENGTH))
    np.save(here / "shuffled.npy", true[rng.permutation(STEPS)].reshape(-1, 1, LENGTH))
    return here


def run(place, *args, **how):
    return lem_fork("thermalize", *args, cwd=place, **how)


def said(done):
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.decode().splitlines()
    return line


CHECK = ("--check", "--memory", "states.npy", "--rows", ROWS, "--window", 3)


def test_check_says_at_which_granularity_a_judge_sees(place):
    done = run(place, *CHECK, "shuffled.npy")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [line[0] for line in lines] == ["vector", "state", "pair", "window"]
    ends = [line[-1] for line in lines]
    assert ends == ["invisible at this granularity"] * 2 + ["visible"] * 2
    done = run(place, *CHECK, "true.npy", "--json")
    assert done.returncode == 1
    found = [json.loads(line) for line in done.stdout.splitlines()]
    keys = ["granularity", "auc", "low", "high", "judge", "visible", "clean_rows", "drifted_rows"]
    assert [list(each) for each in found] == [keys] * 4
    assert all(each["low"] <= 0.5 <= each["high"] and each["visible"] is False for each in found)


def test_rows_of_states_that_blew_up_are_read(place):
    blown = np.load(place / "shuffled.npy")
    blown.reshape(STEPS, ROWS, 1, LENGTH)[60:, 3] = np.nan
    np.save(place / "blown.npy", blown)
    assert run(place, *CHECK, "blown.npy").returncode == 0


def test_what_does_not_go_with_a_check_is_one_line(place):
    assert "--check needs --memory STATES" in said(run(place, "--check", "true.npy"))
    assert "--rows R" in said(run(place, "--check", "--memory", "states.npy", "true.npy"))
    assert "--corrector does nothing with --check" in said(run(place, *CHECK, "--corrector", "snap", "true.npy"))
    assert "-o does nothing with --check" in said(run(place, *CHECK, "-o", "x.npy", "true.npy"))
    assert "--window is for --check" in said(run(place, "--memory", "states.npy", "--window", 3, "true.npy"))
    assert "--kind embedding is for --check" in said(
        run(place, "--memory", "states.npy", "--rows", 8, "--kind", "embedding", "true.npy")
    )
    assert "no whole number of steps of 9 rows" in said(run(place, *CHECK[:-2], "--rows", 9, "true.npy"))


SOLVER = """
import sys
from dataclasses import replace
import numpy as np
from lemtools import stream

with open(0, "rb", buffering=0) as source, open(1, "wb", buffering=0) as target:
    batches = stream.read(stream.Source(source, "standard input"), loop=True)
    turn = np.exp(-0.7j * np.arange(5))
    step = lambda x: np.fft.irfft(np.fft.rfft(x) * turn, 8).astype(np.float32)
    stream.write((replace(b, data=step(b.data)) for b in batches), target)
"""


@pytest.fixture(scope="module")
def reported(place):
    """solve.py; fine.npy and coarse.npy, rollouts of small and of large noise; dead.npy, half of whose rows die."""
    (place / "solve.py").write_text(SOLVER)
    true = np.load(place / "true.npy")
    rng = np.random.default_rng(0)
    for name, size in (("fine", 0.01), ("coarse", 0.5)):
        np.save(place / f"{name}.npy", true + np.float32(size) * rng.standard_normal(true.shape, np.float32))
    dead = true.reshape(STEPS, ROWS, 1, LENGTH).copy()
    dead[40:, ::2] = np.nan
    np.save(place / "dead.npy", dead.reshape(true.shape))
    return place


def report(place, *args):
    command = f"{sys.executable} solve.py"
    return run(place, "--report", "true.npy", "--rows", ROWS, "--solver", command, *args, env={"PYTHONPATH": str(ROOT)})


def test_report_says_whether_the_best_control_is_beaten(reported):
    controls = ("--control", "dead.npy", "--control", "rough=coarse.npy")
    done = report(reported, "--candidate", "fine.npy", *controls)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b"lem-thermalize: fine beats every control; the best of them is rough\n"
    lines = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [line[:2] for line in lines[:4]] == [
        ["true", "true"],
        ["fine", "candidate"],
        ["dead", "control"],
        ["rough", "control"],
    ]
    assert lines[2][2] == "0.5" and lines[2][-3:] == ["-", "-", "-"]
    assert [line[:3] for line in lines[4:]] == [["fine", "dead", "better"], ["fine", "rough", "better"]]
    done = report(reported, "--candidate", "coarse.npy", "--control", "fine.npy", "--json")
    assert done.returncode == 1
    assert b"coarse does not beat fine; the best control is fine" in done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert " ".join(found[0]) == (
        "rollout what alive alive_low alive_high residual residual_median residual_99 band all w1 rows"
    )
    assert list(found[-1])[:4] == ["candidate", "control", "verdict", "why"] and found[-1]["verdict"] == "worse"


def test_what_does_not_go_with_a_report_is_one_line(reported):
    both = ("--candidate", "fine.npy", "--control", "coarse.npy")
    assert "--report needs --control" in said(report(reported, "--candidate", "fine.npy"))
    assert "two rollouts are called fine" in said(report(reported, *both, "--control", "fine.npy"))
    assert "--budget does nothing with --report" in said(report(reported, *both, "--budget", 1))
    assert "--check and --report: give one" in said(report(reported, *both, "--check"))
    assert "--candidate is for --report" in said(run(reported, *CHECK[1:5], "--candidate", "x", "true.npy"))
    assert "none.npy: No such file" in said(report(reported, "--candidate", "none.npy", "--control", "fine.npy"))
    lone = ("--report", "true.npy", "--rows", ROWS, *both)
    done = run(reported, *lone, "--solver", "no-such-solver")
    assert b"no-such-solver: No such file or directory; --solver no-such-solver" in done.stderr and done.returncode == 2
    done = run(reported, *lone)
    assert b"no --solver: residuals are not judged" in done.stderr and done.returncode in (0, 1)


def test_a_symmetry_that_is_none_is_noted(place):
    np.save(place / "lopsided.npy", np.load(place / "states.npy") + np.float32(1))
    states = (
        "--rows",
        ROWS,
        "--threshold",
        1,
        "--symmetry",
        "translate,reflect",
        "-o",
        "mended.npy",
        "--corrector",
        "snap",
    )
    done = run(place, "--memory", "states.npy", *states, "states.npy")
    assert (done.returncode, done.stderr) == (0, b"")
    done = run(place, "--memory", "lopsided.npy", *states, "lopsided.npy")
    (line,) = done.stderr.decode().splitlines()
    assert done.returncode == 0 and "--symmetry reflect: the stored states do not look it (mean of channel 0" in line


def test_other_channels_are_named_with_their_file_and_so_is_a_full_log(place):
    states = np.load(place / "states.npy")
    np.save(place / "two.npy", np.concatenate([states, states], 1))
    np.save(place / "plane.npy", states[:ROWS].reshape(ROWS, 1, 2, 4))
    memory = ("--memory", "two.npy", "--memory-rows", ROWS, "--threshold", 1)
    for name, shape in (("states.npy", "[1, 8]"), ("plane.npy", "[1, 2, 4]")):
        for more in ((), ("--exec", "cat", "--steps", 2)):
            assert f"{name}: states of {shape}, where the memory has [2, 8]" in said(run(place, *memory, *more, name))
    whole = ("--memory", "states.npy", "--rows", ROWS, "--threshold", 1, "states.npy", "-o", "full.npy")
    assert "/dev/full: No space left on device" in said(run(place, *whole, "--log", "/dev/full"))
    assert not (place / "full.npy").exists()


def test_ctrl_c_ends_the_emulator_too(place):
    """It dies of the signal, leaves nothing under the name, and the emulator is gone."""
    (place / "sleepy.py").write_text(SOLVER.replace("import sys", "import os, sys, time") + "\ntime.sleep(100)\n")
    code = (
        "import signal; signal.signal(2, signal.default_int_handler); from lemtools.cli.thermalize import main; main()"
    )
    emulator = f"echo $$ > number; exec {sys.executable} sleepy.py"
    words = ("--memory", "states.npy", "--memory-rows", ROWS, "--threshold", 1, "--steps", 10**7, "true.npy")
    words += ("--exec", emulator, "--log", "begun.jsonl", "-o", "stopped.npy")
    line = [sys.executable, "-c", code, *map(str, words)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(line, cwd=place, env=env, stderr=subprocess.PIPE)
    while not ((place / "begun.jsonl").exists() and (place / "begun.jsonl").stat().st_size):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == -signal.SIGINT and process.stderr.read() == b""
    assert gone(int((place / "number").read_text())) and not (place / "stopped.npy").exists()
