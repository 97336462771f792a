"""The table of rollouts: what it judges by, on sets of states of which the answers are known."""

import importlib
import sys

import numpy as np
import pytest

from helpers.paths import EXAMPLES


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    sys.modules.pop("thermalize", None)
    yield importlib.import_module("thermalize")
    sys.modules.pop("thermalize", None)


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

    for how in filter(None, example.WAYS.values()):
        assert how["corrector"] in CORRECTORS
        assert set(how) <= {"corrector", "every", "clean", "budget", "threshold"}
    assert set(example.CONTROLS) <= set(example.GRADES)
