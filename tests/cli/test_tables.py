"""What the commands offer is what the rooms hold: options that list names list exactly the names of the tables."""

import re

from lemtools.catalogue.operations import OPERATIONS, SHAPES
from lemtools.catalogue.recipes import RECIPES
from lemtools.cli import compare, fragment, reconstruct, train
from lemtools.compare import METRICS
from lemtools.media.find import SAMPLES
from lemtools.media.save import FORMATS
from lemtools.reconstruct import METHODS
from lemtools.train.augment import AUGMENT


def option(command, name):
    return next(p for p in command.params if "--" + name.replace("_", "-") in p.opts or p.name == name)


def test_choices_are_the_tables():
    assert set(option(reconstruct.cli, "method").type.choices) == set(METHODS)
    assert tuple(option(train.cli, "recipe").type.choices) == tuple(RECIPES)
    assert set(option(fragment.cli, "sample_name").type.choices) == set(SAMPLES)
    for command in (fragment.cli, reconstruct.cli):
        assert tuple(option(command, "to").type.choices) == FORMATS
    assert {row.options[0].flag for row in OPERATIONS.rows} <= {p.opts[0] for p in fragment.cli.params}


def test_help_texts_list_the_tables():
    shapes = option(fragment.cli, "mask_shape").help.split(":", 1)[1].split(".")[0]
    assert {re.match(r"[a-z]+", word)[0] for word in shapes.split()} == set(SHAPES)
    metrics = option(compare.cli, "metric").help.split(":", 1)[1].split(";")[0]
    assert {word.strip().partition("@")[0] for word in metrics.split(",")} == set(METRICS)
    shown = re.sub(r"\[.*?\]|\(.*?\)", "", option(train.cli, "augment").help).split(": ", 1)[1]
    assert set(re.findall(r"\w+", shown)) == {*AUGMENT, "zoom", "or"}
