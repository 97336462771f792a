"""CONTRIBUTING: the example of a new thing works, and every file and name in its tables is there."""

import re
import tomllib
from importlib import import_module

import numpy as np

from helpers.paths import ROOT
from helpers.toys import shows
from lemtools.catalogue import Table
from lemtools.catalogue.operations import SHAPES
from lemtools.cli.fragment import losses
from lemtools.fragment import fragment
from lemtools.signal import Signal

TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def section(name: str) -> str:
    return TEXT.split(f"\n## {name}\n")[1].split("\n## ")[0]


def test_the_example_of_a_new_mask_shape_works():
    code = re.search(r"```python\n(.*?)```", section("Add a thing"), re.S)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    exec(code, {})
    try:
        assert shows("diagonal", "fragment") == (True, True)
        photo = Signal("image", np.full((1, 3, 8, 8), 200, np.uint8))
        (fragments,) = fragment([photo], losses("--mask .1 --mask-shape diagonal"))
        assert np.array_equal(fragments.data[0, 0] == 0, np.eye(8, dtype=bool))
    finally:
        del SHAPES._rows["diagonal"]
    assert shows("diagonal", "fragment") == (False, False)


def test_every_row_of_what_to_add_names_a_table():
    rows = re.findall(
        r"^\| an? (.+?) \|.*\| `(\w+)` in `lemtools/catalogue/(\w+)\.py` \|$", section("Add a thing"), re.M
    )
    assert len(rows) == 17
    for thing, table, module in rows:
        found = getattr(import_module(f"lemtools.catalogue.{module}"), table)
        assert isinstance(found, Table) and found.thing in thing


def test_where_is_what():
    rows = re.findall(r"^\| (.+?) \| `(.+?)` \| `(\w+)` \|$", section("Where is what"), re.M)
    assert len(rows) == 20
    for behaviour, name, symbol in rows:
        source = (ROOT / name).read_text()
        assert re.search(rf"^\s*(def|class) {symbol}\b", source, re.M), (behaviour, name, symbol)


def test_the_floors_of_the_architecture_are_those_that_the_tests_hold():
    floors = tomllib.loads((ROOT / "tests/house/floors.toml").read_text())["floors"]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "docs/architecture.md").read_text(), re.M)
    assert [int(number) for number, _ in rows] == list(range(len(floors)))
    for (_, row), rooms in zip(rows, floors, strict=True):
        assert {part.split("`")[1] for part in row.split("; ")} == set(rooms)
