"""lem-compare --labels: sets of embeddings by the labels of their items."""

import os

import click

from ..catalogue import listed
from ..catalogue.labelled import LABELLED, OPTIONS
from ..catalogue.metrics import taking
from . import common, results
from .options import written

options = common.chain(*(common.option(source) for source in OPTIONS))
FOR_PAIRS = "minimum maximum pair peak train rdm where fragment items plot html rows"
HEADS = ("set", "name", "value", "95 % low", "95 % high", "n", "shuffled", "p", "verdict")


def check(given: dict, recalled: str | None, metrics) -> bool:
    """Whether sets are compared by labels, and not items that have some. UsageError for options that do not go together.
    given: by keyword, all options. metrics: as they are asked for."""
    context = click.get_current_context()
    there = written(context)
    flags = {p.name: p.opts[0] for p in context.command.params if isinstance(p, click.Option)}
    own = [source.name for source in OPTIONS]
    pairs = "--judge" if "judge" in there else _of_pairs(metrics)
    if not given["labels"] or pairs:
        if alone := next((name for name in own if name in there and name != "labels"), None):
            raise click.UsageError(f"{flags[alone]} is for --labels FILE{f' without {pairs}' if pairs else ''}")
        if recalled is None:
            param = next(p for p in context.command.params if p.name == "recalled")
            raise click.MissingParameter(ctx=context, param=param, param_hint="'RECALLED'")
        return False
    if other := next((name for name in FOR_PAIRS.split() if name in there), None):
        raise click.UsageError(f"{flags[other]} is for pairs of items, not for --labels")
    if missing := next((name for name in ("by", "leave") if not given[name]), None):
        raise click.UsageError(
            f"--labels needs --by COLUMN, what is told apart, and --leave COLUMN: --{missing} is missing"
        )
    if given["same"] and recalled is None:
        raise click.UsageError("--same is for two sets")
    if given["control"] and not given["cross"]:
        raise click.UsageError("--control is for --cross COLUMN")
    return True


def _of_pairs(metrics) -> str:
    """The first metric of pairs that takes labels, as in '--metric probe'; empty where there is none."""
    for word in (word.strip().lower() for value in metrics for word in value.split(",")):
        if word.partition("@")[0].replace("_", "-") in taking("classes"):
            return f"--metric {word}"
    return ""


def names(metrics) -> list[str] | None:
    """The metrics that are asked for. UsageError for one that is not of labelled sets."""
    words = [word.strip().lower() for value in metrics for word in value.split(",")]
    for word in words:
        if word not in LABELLED:
            raise click.UsageError(f"--metric {word}: with --labels there are {listed(LABELLED)}")
    return list(dict.fromkeys(words)) or None


def run(session, files, metric, how, labels, by, leave, cross, neutral, features, control, bound, same, as_json) -> int:
    """Print the table. files: one or two sets of embeddings."""
    from ..compare.groups import groups
    from ..compare.labelled import Asked, measure
    from ..compare.labelled import same as alike
    from ..media import load
    from ..media.labels import table

    if [*files, control].count("-") > 1:
        raise click.UsageError("only one input can be standard input")
    wanted, known = names(metric), table(labels)
    every = {_name(path, files): path for path in files}
    if len(every) < len(files):
        raise click.UsageError(f"{files[0]} twice: there is nothing to compare")
    sets = [groups(load([path], how), known, by, leave, cross, same, name) for name, path in every.items()]
    sets = alike(sets) if same else sets
    rules = groups(load([control], how), known, by, leave, cross, None, "control") if control else None
    parts = tuple(dict.fromkeys(part.strip() for part in (features or "").split(",") if part.strip()))
    found = measure(sets, wanted, Asked(neutral, parts, bound), rules, session.note)
    rows = [
        [*map(results.cell, (x.set, x.name, x.value, x.low, x.high, x.n, x.shuffled, x.p)), x.verdict or "-"]
        for x in found
    ]
    results.show(session, as_json, [line.as_dict() for line in found], rows, HEADS)
    return 0


def _name(path: str, files) -> str:
    """Of a set: of its file, without folder and extension, where no other one is called so."""
    stems = [os.path.basename(file).partition(".")[0] or file for file in files]
    own = stems[list(files).index(path)]
    return own if stems.count(own) == 1 else path
