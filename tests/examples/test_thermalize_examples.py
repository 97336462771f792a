"""The table of rollouts: what it judges by, on sets of states of which the answers are known."""

import importlib
import sys

import numpy as np
import pytest

from helpers.paths import EXAMPLES

MODULES = ("thermalize", "thermalize_jobs", "thermalize_train")


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    for name in MODULES:
        sys.modules.pop(name, None)
    yield importlib.import_module("thermalize")
    for name in MODULES:
        sys.modules.pop(name, None)


def states(size=1.0):
    rng = np.random.default_rng(0)
    return (size * rng.standard_normal((20 * 8, 1, 32))).astype(np.float32)


def test_the_truth_is_alive_and_at_no_distance(example):
    found = example.judged(states(), states(), np.full((20, 8), 0.5))
    assert found["alive"].all() and found["rms"] == found["median"] == 0.5
    assert found["band"] == found["all"] == found["W1"] == 0


def test_a_gain_shows_in_the_spectra_and_a_dead_row_hides_them(example):
    found = example.judged(states(), states(2.0), np.zeros((20, 8)))
    assert np.isclose(found["band"], 2 * np.log10(2)) and np.isclose(found["all"], 2 * np.log10(2))
    dead, residuals = states(), np.ones((20, 8))
    dead[-3], residuals[:, 5] = np.nan, np.nan
    found = example.judged(states(), dead, residuals)
    assert found["alive"].tolist() == [1, 1, 1, 1, 1, 0, 1, 1] and found["rms"] == 1 and "band" not in found
    assert example.cells([found, found], ("rms", "band"))[1:] == ["1 +- 0", "-"]


def test_every_way_is_one_that_can_be_made(example):
    from lemtools.catalogue.correctors import CORRECTORS
    from lemtools.catalogue.gates import GATES

    common = {"corrector", "model", "every", "clean", "budget", "threshold", "gate", "calls"}
    for how in filter(None, example.WAYS.values()):
        if "oracle" in how:
            assert how["oracle"] > 1
            continue
        row = CORRECTORS.find(how["corrector"])
        assert set(how) <= common | {option.name for option in row.options}
        assert how.get("gate", "level") in GATES
        assert ("model" in how) == ("model" in row.needs)
    assert set(example.CORRECTED) <= set(example.GRADES)
    rows = example.rows_of_table()
    assert len(set(rows)) == len(rows) and {way for _, way in rows} == {*example.WAYS, *example.ALONE}


@pytest.fixture
def small(example, tmp_path, monkeypatch):
    """Rollouts of 12 steps of 4 rows of Lorenz-96, in this process; states that stand still."""
    import thermalize_jobs

    for name, value in (("SYSTEM", "lorenz96"), ("STEPS", 12), ("ROWS", 4), ("EVERY", 2), ("JOBS", 1), ("MARKS", (6,))):
        monkeypatch.setattr(thermalize_jobs, name, value)
    from dynamics import SYSTEMS

    system = SYSTEMS["lorenz96"]
    first = 3.6 * np.random.default_rng(0).standard_normal((4, 1, 40))
    np.save(tmp_path / "lorenz96-start.npy", first.astype(np.float32))
    np.save(tmp_path / "lorenz96-true.npy", np.concatenate([system.step(first, k) for k in range(1, 13, 2)]))
    return thermalize_jobs, tmp_path


def test_a_run_that_is_cut_goes_on_where_it_stood(small, monkeypatch):
    jobs, out = small
    monkeypatch.setattr(jobs, "emulator", lambda model: lambda x: (0.9 * x).astype(np.float32))
    whole, cut = jobs.Job("a", 0, "oracle, every 4th"), jobs.Job("b", 0, "oracle, every 4th")
    jobs.run(out, [whole])
    monkeypatch.setattr(jobs, "PAUSE", -1.0)
    monkeypatch.setattr(jobs.os, "getppid", lambda: 1)
    for _ in range(7):  # it ends after every record; of 12 steps there are five
        try:
            jobs.run(out, [cut])
        except SystemExit as ended:
            assert ended.code is None, ended
    one, other = (jobs.finished(out)[job] for job in (whole, cut))
    assert one["steps"] == other["steps"] == 12 and one["calls"] == 0.25
    timed = {"emulator", "ms", "alive"}
    assert {k: v for k, v in one.items() if k not in timed} == {k: v for k, v in other.items() if k not in timed}
    lines = jobs.results(out).read_text().splitlines()
    assert len(lines) == 4 and not list((out / "lorenz96-jobs").iterdir())  # two each, at 6 and at 12 steps
    jobs.run(out, [whole, cut])
    assert jobs.results(out).read_text().splitlines() == lines  # nothing is missing


def test_the_oracle_is_the_solver_at_every_kth_step(small):
    jobs, _ = small
    from dynamics import SYSTEMS

    oracle, x = jobs.Oracle(3), np.random.default_rng(0).standard_normal((2, 1, 40)).astype(np.float32)
    for t in range(1, 7):
        done = oracle.step(2 * x, x)
        want = SYSTEMS["lorenz96"].step(x.astype(np.float64)).astype(np.float32) if t % 3 == 0 else 2 * x
        assert np.array_equal(done.state, want) and done.calls.tolist() == [int(t % 3 == 0)] * 2


def test_states_that_have_left_are_not_learned_from(small, monkeypatch):
    import thermalize_train

    monkeypatch.setattr(thermalize_train, "SYSTEM", "lorenz96")
    x = 3 * np.random.default_rng(0).standard_normal((5, 4, 1, 40)).astype(np.float32)
    claimed = x.copy()
    claimed[2, 1], claimed[3, 3, 0, 0], x[4, 0] = 1e6, np.nan, np.inf
    previous, said, after = thermalize_train.solved(x[0], [(x, claimed)])
    assert len(previous) == len(said) == len(after) == 17 and np.isfinite(after).all()
    from dynamics import SYSTEMS

    assert np.array_equal(after, SYSTEMS["lorenz96"].step(previous.astype(np.float64)).astype(np.float32))


def test_steps_that_are_judged_are_in_step_with_nothing(small):
    jobs, _ = small
    for every in (1, 2, 10):
        jobs.EVERY = every
        seen = [t for t in range(1, every * every * 3 + 1) if jobs.looked_at(t)]
        assert [(t - 1) // every for t in seen] == list(range(3 * every))  # one in each block
        assert sorted(t % every for t in seen) == sorted(3 * list(range(every)))
