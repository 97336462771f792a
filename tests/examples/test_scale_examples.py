"""What the examples of thermalizing judge memories by, and that every system has ways that can be made."""

import importlib
import sys
from pathlib import Path

import pytest

EXAMPLES = str(Path(__file__).parents[2] / "examples")
MODULES = ("thermalize", "thermalize_jobs", "thermalize_train", "thermalize_scale")


@pytest.fixture
def fresh(monkeypatch):
    """A module of the examples under a SYSTEM."""
    monkeypatch.syspath_prepend(EXAMPLES)

    def load(name, system="ks22"):
        monkeypatch.setenv("SYSTEM", system)
        for each in MODULES:
            sys.modules.pop(each, None)
        return importlib.import_module(name)

    yield load
    for each in MODULES:
        sys.modules.pop(each, None)


def line(system, way, rms, stored=20_000):
    return {"system": system, "way": way, "stored": stored, "rms": rms, "steps": 100}


@pytest.mark.parametrize(
    ("whole", "local", "words"),
    [
        (0.3, 0.005, "scale by patches alone"),
        (0.006, 0.005, "scale"),
        (0.006, 0.1, "scale as a whole alone"),
        (0.3, 0.0071, "do not scale"),
    ],
)
def test_the_verdict_is_that_of_the_most_stored_states(fresh, whole, local, words):
    lines = [line("ks64", "local", 1.0, 2500), line("ks22", "next", 0.003), line("ks64", "next", whole)]
    said = fresh("thermalize_scale").verdict([line("ks64", "local", local), *lines])
    assert f"memories {words}:" in said and f"{whole:.4f} at L = 64 by whole states, {local:.4f} by patches" in said


def test_without_all_three_there_is_no_verdict(fresh):
    assert fresh("thermalize_scale").verdict([line("ks64", "local", 0.1)]).startswith("no verdict")


@pytest.mark.parametrize("system", ["ks64", "lorenz96", "kolmogorov"])
def test_every_system_has_ways_that_can_be_made(fresh, system):
    from lemtools.catalogue.correctors import CORRECTORS

    example = fresh("thermalize", system)
    ways = {way for _, way in example.rows_of_table()}
    assert ways == {*example.WAYS, *example.ALONE} and "local, no emulator" in ways
    for how in (how for how in example.WAYS.values() if how and "corrector" in how):
        assert ("model" in how) == ("model" in CORRECTORS.find(how["corrector"]).needs)
        assert system != "lorenz96" or "threshold" not in how
