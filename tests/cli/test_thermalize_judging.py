"""lem-thermalize --check and --report: what they print, and how they end."""

import json

import numpy as np
import pytest

from helpers.commands import lem_fork

ROWS, STEPS, LENGTH = 8, 120, 8


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Waves that travel: states.npy, true.npy of other rows, shuffled.npy, the same states in any order."""
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
