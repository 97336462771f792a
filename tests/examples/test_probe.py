"""examples/probe.py: what is linear is read, and nothing else; its weights by their definition."""

import importlib

import numpy as np
import pytest

from helpers.paths import EXAMPLES


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("probe")


def test_a_probe_reads_what_is_linear_and_nothing_else(script):
    rng = np.random.default_rng(0)
    states = rng.integers(0, 3, (200, 5))
    vectors = rng.standard_normal((3, 8))[states] + 0.05 * rng.standard_normal((200, 5, 8)) + 7
    read = script.fit(vectors[:100], states[:100], 3)
    assert (read(vectors[100:]) == states[100:]).mean() == 1
    noise = rng.standard_normal((200, 5, 8))
    assert 0.2 < (script.fit(noise[:100], states[:100], 3)(noise[100:]) == states[100:]).mean() < 0.46


def test_its_weight_is_the_one_that_reads_others_best(script):
    """As many dimensions as vectors: hardly any weight fits all, and reads nothing."""
    rng = np.random.default_rng(0)
    states = rng.integers(0, 2, (60, 1))
    vectors = 3 * rng.standard_normal((60, 1, 50))
    vectors[..., 0] += 6 * states - 3
    other = rng.integers(0, 2, (500, 1))
    test = 3 * rng.standard_normal((500, 1, 50))
    test[..., 0] += 6 * other - 3
    chosen = (script.fit(vectors, states, 2)(test) == other).mean()
    least = (script.ridge(vectors, states, 2)[0](test) == other).mean()
    assert chosen > least + 0.02


def test_the_map_is_that_of_the_normal_equations(script):
    rng = np.random.default_rng(1)
    x, classes, new = (
        rng.standard_normal((40, 1, 6)) + 2,
        rng.integers(0, 3, (40, 1)),
        rng.standard_normal((200, 6)) + 2,
    )
    rows = x[:, 0] - x[:, 0].mean(0)
    wanted = np.eye(3)[classes[:, 0]]
    for weight, read in zip(script.RIDGES, script.ridge(x, classes, 3), strict=True):
        gram = rows.T @ rows / 40 + weight * np.square(rows).mean() * np.eye(6)
        map_ = np.linalg.solve(gram, rows.T @ (wanted - wanted.mean(0)) / 40)
        said = (new - x[:, 0].mean(0)) @ map_ + wanted.mean(0)
        assert (read(new) == said.argmax(1)).all()
