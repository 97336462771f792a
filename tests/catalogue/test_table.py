"""Tables of the catalogue: rows, what follows from them, and that a ground floor imports nothing of the house."""

import subprocess
import sys

import pytest

from lemtools.catalogue import LemError, Option, Row, Table, listed


def table() -> Table:
    size = Option("--size", "Side.", "whole", low=1)
    first = Row("one", len, "the first", kinds=("image",), options=(size,), facts={"most": 3})
    return Table(
        "toy", first, Row("two", "rng:generator", options=(size, Option("--deep-end", "Depth.", param="depth"))), most=9
    )


def test_rows_by_name_in_their_order():
    toys = table()
    assert list(toys) == ["one", "two"] and toys["one"].most == 3 and toys["two"].most == 9
    assert toys["two"].load().__name__ == "generator" and toys["one"].load() is len
    with pytest.raises(LemError, match="^no toy 'three'; there are one, two$"):
        toys.find("three")
    with pytest.raises(AttributeError, match="'least' is no fact of one"):
        _ = toys["one"].least


def test_refusals_follow_from_the_rows():
    toys = table()
    assert toys.refused("depth", "one") == "--deep-end is for two, not one"
    assert toys.refused("size", "one") is toys.refused("depth", "two") is toys.refused("unknown", "one") is None
    assert toys.check_kind("two", "audio", "--toy two") is toys["two"]
    with pytest.raises(LemError, match="^--toy one is for image, not audio$"):
        toys.check_kind("one", "audio", "--toy one")
    assert [names for _, names in toys.options().values()] == [("one", "two"), ("two",)]


def test_a_row_for_a_while():
    toys = table()
    with toys.added(Row("three", max)) as row:
        assert toys["three"] is row and row.most == 9
        with pytest.raises(ValueError, match="two toys of the name 'three'"):
            toys.add(row)
    assert list(toys) == ["one", "two"]


def test_words_of_a_list():
    assert [listed("abc"[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


def test_the_catalogue_loads_nothing_heavy():
    code = (
        "import sys, pkgutil, importlib, lemtools.catalogue as c\n"
        "[importlib.import_module(f'{c.__name__}.{m.name}') for m in pkgutil.iter_modules(c.__path__)]\n"
        "loaded = {m.split('.')[1] for m in sys.modules if m.startswith('lemtools.')}\n"
        "print(loaded, {'numpy', 'torch', 'click'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "{'catalogue'} set()\n", done.stderr


def test_every_row_names_something_that_is_there():
    import importlib
    import pkgutil

    import lemtools.catalogue as package

    count = 0
    for module in pkgutil.iter_modules(package.__path__):
        for value in vars(importlib.import_module(f"{package.__name__}.{module.name}")).values():
            for row in value.rows if isinstance(value, Table) else ():
                assert row.load() is not None and row.help, row.name
                count += 1
    assert count >= 16
