"""The manual and the shell completions say what the commands do: options, choices and examples, both ways."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import click
import numpy as np
import pytest
from click.testing import CliRunner

from helpers.commands import lem, lem_fork
from helpers.manual import COMMANDS, LINES, PAGES, completions, manpages, plain, section, source, stages
from helpers.paths import ROOT

SECTIONS = ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO")
each_command = pytest.mark.parametrize("name", COMMANDS)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)


def told(name: str) -> dict[str, str]:
    """{option as spelled: its entry} in the OPTIONS of a page."""
    out = {}
    for item in re.split(r"^\.It ", section(source(name), "OPTIONS"), flags=re.M)[1:]:
        entry = plain(item)
        for spelling in re.findall(r"Fl (-{0,1}[\w-]+)", entry.splitlines()[0]):
            out["-" + spelling] = entry
    return out


def helped(name: str) -> dict[str, str]:
    """{option as spelled: its entry} in what --help prints, of a command that has rows to choose from with each row."""
    command, out = COMMANDS[name], {}
    rows = [[]] + ([[*naming(command), row] for row in command.table] if getattr(command, "chosen", None) else [])
    for row in rows:
        text = CliRunner().invoke(command, [*row, "--help"], terminal_width=100).output
        listed = re.split(r"^(?:What it does|Input|Output|Running):\n", text, flags=re.M)[1:]
        assert len(listed) >= 2, text
        for entry in re.split(r"^  (?=-)", "".join(listed).split("\nExamples:")[0], flags=re.M)[1:]:
            head = re.split(r"\s{2,}|\n", entry)[0]
            for spelling in re.findall(r"(?<![\w-])--?[a-z][\w-]*", head):
                out[spelling] = re.sub(r"\s+", " ", entry)
    return out


def naming(command) -> list[str]:
    """What stands before a row's name on the command line."""
    return [word for word in command.naming.split()[:-1] if word.startswith("-")]


def brought(command) -> set[str]:
    """Options whose default is a fact of the row."""
    return {fact for row in command.table.rows for fact in row.facts} if getattr(command, "chosen", None) else set()


def words(items: str) -> set[str]:
    """Names that head the entries of a list in a page."""
    return {plain(w) for w in re.findall(r"^\.It Cm ([^\s:@]+)", items, re.M)}


@each_command
def test_options_of_the_page_are_those_of_help(name):
    page, shown = told(name), helped(name)
    assert len(page) >= 6
    assert set(page) == set(shown)


@each_command
def test_choices_and_defaults_of_the_page_are_those_of_help(name):
    page, shown = told(name), helped(name)
    counted = 0
    for option in manpages.options(COMMANDS[name]):
        spelled = option.opts[-1]
        for word in manpages.choices(option):
            counted += 1
            assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", page[spelled]), (spelled, word)
        if option.name in brought(COMMANDS[name]):  # by each row another one: see test_recipes.py
            continue
        default = re.search(r"\[default: ([^;\]]+)", shown[spelled])
        said = re.search(r"Default:\s+(.+?)\.(?:\s|\Z)", page[spelled])
        assert (default and default[1]) == (said and said[1]), spelled
    assert counted or name == "lem-info"


def test_a_choice_that_the_page_lacks_would_be_noticed():
    command = click.Command("x", params=[click.Option(["--colour"], type=click.Choice(["red", "green"]), help="Hue.")])
    block = manpages.block(command)
    assert ".It Fl \\-colour Cm red | green\nHue.\n" in block
    page = f".Sh OPTIONS\n{manpages.BEGIN}\nold\n{manpages.END}\n.Sh EXAMPLES\n"
    assert manpages.fill(page, command) == f".Sh OPTIONS\n{block}\n.Sh EXAMPLES\n"
    with pytest.raises(ValueError, match="markers"):
        manpages.fill(page.replace(manpages.END, ""), command)


def test_generated_parts_are_fresh(capsys):
    done = subprocess.run([sys.executable, ROOT / "tools" / "manpages.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, f"run: python tools/manpages.py\n{done.stdout}{done.stderr}"
    stale = manpages.renew(completions.files(), check=True)
    assert not stale, f"run: python tools/completions.py\n{capsys.readouterr().out}"


def test_a_stale_page_is_told_and_renewed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(manpages, "ROOT", tmp_path)
    folder = tmp_path / "man" / "man1"
    folder.mkdir(parents=True)
    for name in COMMANDS:
        (folder / f"{name}.1").write_text(source(name).replace("Show this message", "Show that message"), "utf-8")
    assert manpages.renew(manpages.pages(), check=True) == 1
    assert "-Show that message" in capsys.readouterr().out
    assert manpages.renew(manpages.pages(), check=False) == 0
    assert (folder / "lem-info.1").read_text("utf-8") == source("lem-info")
    assert manpages.renew(manpages.pages(), check=True) == 0


@each_command
def test_sections(name):
    headings = re.findall(r"^\.Sh (.+)$", source(name), re.M)
    assert [h for h in headings if h in SECTIONS] == list(SECTIONS)
    assert f".Dt {name.upper()} 1" in source(name)
    assert re.search(rf"^\.Nm {name}$", section(source(name), "NAME"), re.M)


def test_every_command_that_is_installed_has_a_page():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == set(COMMANDS) == {p.stem for p in PAGES if p.suffix == ".1"}


@each_page
def test_the_text_names_no_option_that_is_not_there(page):
    known = {name for command in COMMANDS.values() for option in manpages.options(command) for name in option.opts}
    own = known
    text = page.read_text("utf-8")
    if page.stem in COMMANDS:
        own = {name for option in manpages.options(COMMANDS[page.stem]) for name in option.opts}
        named = re.findall(r"Fl (\S+)", section(text, "SYNOPSIS"))
        assert named and {"-" + plain(n) for n in named} <= own
    assert {"-" + plain(n) for n in re.findall(r"Fl (\S+)", text)} <= known


@each_command
def test_environment_is_that_of_the_options(name):
    reads = {option.envvar for option in manpages.options(COMMANDS[name]) if option.envvar}
    listed = re.findall(r"^\.It Ev (LEM_\w+)", source(name), re.M)
    assert set(listed) == reads


def test_shapes_quantisers_and_scales_are_all_defined():
    from lemtools.catalogue.operations import SHAPES

    text = source("lem-fragment")
    values = {o.name: set(manpages.choices(o)) for o in manpages.options(COMMANDS["lem-fragment"])}
    assert words(section(text, "Masks", "Ss")) == set(SHAPES)
    assert words(section(text, "Bits and quantisers", "Ss")) == values["quantizer"] | values["scale"]


def test_methods_are_all_defined():
    text = source("lem-reconstruct")
    (method,) = (o for o in manpages.options(COMMANDS["lem-reconstruct"]) if o.name == "method")
    stored = words(section(text, "Methods that recall from a store", "Ss"))
    assert stored == {"recall", "gaussian"}
    learned = words(section(text, "Methods that ask a network", "Ss"))
    assert learned == {"net", "ensemble"}
    assert words(section(text, "Dreams", "Ss")) == {"dream"}
    trained = {"net", "ensemble", "dream"}
    assert words(section(text, "Methods without a store", "Ss")) == set(manpages.choices(method)) - stored - trained


def test_recipes_networks_and_what_a_run_is_told_are_all_defined():
    from lemtools.catalogue.networks import NETWORKS
    from lemtools.catalogue.recipes import RECIPES
    from lemtools.train.augment import AUGMENT

    text = source("lem-train")
    values = {o.name: set(manpages.choices(o)) for o in manpages.options(COMMANDS["lem-train"])}
    assert words(section(text, "Recipes", "Ss")) == set(RECIPES)
    assert words(section(text, "Networks", "Ss")) == set(NETWORKS)
    assert words(section(text, "Objectives and weighting", "Ss")) == values["weighting"] | values["predicts"]
    assert words(section(text, "Data", "Ss")) == {*AUGMENT, "zoom"}


def test_usual_settings_of_the_recipes_are_those_told():
    from lemtools.catalogue.recipes import RECIPES

    entries = re.split(r"^\.It Cm ", section(source("lem-train"), "Recipes", "Ss"), flags=re.M)[1:]
    for entry in map(plain, entries):
        recipe = RECIPES[entry.split()[0]]
        rate = re.search(r"rate ([\de.-]+),", entry)
        assert (rate and float(rate[1]), int(re.search(r"batch (\d+)", entry)[1])) == (recipe.lr, recipe.batch)
        named = re.findall(r"^\.Cm (\S+)\nfor ([a-z, ]+)", entry, re.M)
        kinds = {
            "images": "image",
            "spectra": "spectrum",
            "fields": "field",
            "embeddings": "embedding",
            "tokens": "tokens",
        }
