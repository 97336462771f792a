"""The rooms: each imports only from floors below its own, no files import one another, and what stays light does.

The floors stand in floors.toml beside this file.
"""

import tomllib
from pathlib import Path

import pytest

from helpers.imports import Edge, circles, edges, modules, reach
from helpers.paths import ROOT

PACKAGE = ROOT / "lemtools"
HOUSE = tomllib.loads((Path(__file__).parent / "floors.toml").read_text("utf-8"))
FLOOR = {room: number for number, rooms in enumerate(HOUSE["floors"]) for room in rooms}
EDGES = edges(PACKAGE)


def room(module: str) -> str | None:
    """The room of a module of lemtools: its second name, if it has one."""
    return (module.split(".") + [""])[1] or None if module.partition(".")[0] == PACKAGE.name else None


def crossed(found: list[Edge], floor: dict[str, int]) -> list[str]:
    """The imports between rooms that do not go down."""
    pairs = [(edge, room(edge.source), room(edge.target)) for edge in found]
    return [str(edge) for edge, a, b in pairs if a and b and a != b and floor[b] >= floor[a]]


def at_start(found: list[Edge], start: str) -> set[str]:
    """All that an import of `start` loads: modules of lemtools with the packages that hold them, and foreign ones."""
    after: dict[str, set[str]] = {}
    for edge in found:
        if edge.when == "load":
            above = edge.target.split(".")
            after.setdefault(edge.source, set()).update(".".join(above[: n + 1]) for n in range(len(above)))
    return reach(after, start) | reach(after, start.rpartition(".")[0])


def test_every_room_has_a_floor():
    rooms = {room(name) for name in modules(PACKAGE)} - {None}
    assert rooms == set(FLOOR), "give it a floor in tests/house/floors.toml"
    assert sum(map(len, HOUSE["floors"])) == len(FLOOR), "a room stands on two floors"
    assert set(HOUSE["no_torch"]) <= FLOOR.keys()


def test_rooms_import_only_from_floors_below():
    assert crossed(EDGES, FLOOR) == []


def test_no_files_import_one_another():
    """Imports inside functions and for types count: who needs to hide an import has a file in the wrong place."""
    found = circles(EDGES, PACKAGE.name)
    listed = [[str(e) for e in EDGES if {e.source, e.target} <= circle] for circle in found]
    assert not found, "\n".join("\n".join(circle) + "\n" for circle in listed)


def test_rooms_without_torch_do_not_load_it():
    """At import. (Inside functions some do, for what needs it.)"""
    wrong = [str(e) for e in EDGES if room(e.source) in HOUSE["no_torch"] and e.when == "load" and "torch" in e.target]
    assert wrong == []


@pytest.mark.parametrize("name", sorted(name for name in modules(PACKAGE) if room(name) == "cli"))
def test_help_loads_nothing_heavy(name):
    """Neither a command's module nor what it imports at its top, nor what those import."""
    assert at_start(EDGES, name).isdisjoint(HOUSE["heavy"])


def test_the_library_loads_nothing_heavy_until_it_is_used():
    assert at_start(EDGES, PACKAGE.name).isdisjoint({*HOUSE["heavy"], "click"})


def test_nothing_is_unpickled():
    assert [str(e) for e in EDGES if e.target in ("pickle", "cloudpickle", "dill", "joblib", "shelve")] == []


# the tests' own proof: what they look for is found in a house that was built wrong


@pytest.fixture
def wrong(tmp_path) -> list[Edge]:
    """Imports of a house of three rooms: up, inside a function, for types, through a package."""
    files = {
        "__init__.py": "",
        "low/__init__.py": "from .a import x",
        "low/a.py": "import os\ndef f():\n    from ..high import b\n",
        "low/c.py": "from . import a\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .d import y\n",
        "low/d.py": "from lemtools.low.c import z\n",
        "high/__init__.py": "",
        "high/b.py": "from ..low import x\nimport numpy.linalg\n",
        "top.py": "import lemtools.high.b\n",
    }
    for name, text in files.items():
        path = tmp_path / "lemtools" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return edges(tmp_path / "lemtools")


def test_an_import_that_goes_up_would_be_noticed(wrong):
    floor = {"low": 0, "high": 1, "top": 2}
    assert crossed(wrong, floor) == ["lemtools.low.a:3 imports lemtools.high.b (call)"]
    assert len(crossed(wrong, {"low": 0, "high": 0, "top": 0})) == 3  # neighbours


def test_circles_would_be_noticed(wrong):
    assert sorted(map(sorted, circles(wrong, "lemtools"))) == [
        ["lemtools.high.b", "lemtools.low", "lemtools.low.a"],
        ["lemtools.low.c", "lemtools.low.d"],
    ]
    assert {edge.when for edge in wrong} == {"load", "call", "types"}


def test_what_an_import_loads_through_others_would_be_noticed(wrong):
    assert "numpy" in at_start(wrong, "lemtools.top") and "os" in at_start(wrong, "lemtools.top")
    assert "numpy" not in at_start(wrong, "lemtools.low.a")


def test_an_import_of_what_is_not_there_would_be_noticed(tmp_path):
    (tmp_path / "lemtools").mkdir()
    (tmp_path / "lemtools" / "a.py").write_text("import lemtools.b")
    with pytest.raises(AssertionError, match=r"no module lemtools\.b"):
        edges(tmp_path / "lemtools")
