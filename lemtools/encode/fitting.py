"""Encoders by name or from a file, and how they are fitted to data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ..catalogue import listed
from ..catalogue.encoders import ENCODERS
from ..media.repeat import check_apart, repeatable, rereadable
from ..signal import Layout, LemError, Signal, stem
from ..signal.layout import Found
from ..stream.files import ENCODER, LEM, read_fitted, record_of
from .contract import Encoder, Fitted
from .text import lines as each_line

TAKEN = {  # models of lem-train that are no encoders, and what takes them
    "lm": "; lem-encode --encoder thoughts takes one, or --encoder activations --lm",
    "classifier": "; lem-encode --encoder features takes one",
}


def load(path: str) -> Fitted:
    """A fitted encoder from the one file that `fit` or lem-train wrote; LemError for any other file."""
    recipe = (record_of(path, LEM) or {}).get("recipe")
    if isinstance(recipe, str) and record_of(path, ENCODER) is None:  # a recipe such as token-ae writes encoders
        way = TAKEN.get(recipe, "")
        raise LemError(f"{path}: not a fitted encoder (of lem-encode --fit) but a model of lem-train {recipe}{way}")
    record, tensors = read_fitted(path, _described)
    try:
        return ENCODERS.load(record["encoder"]).restore(record, tensors)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, LemError):
            raise LemError(f"{path}: {error}") from error
        raise LemError(f"{path}: damaged record of {record['encoder']} ({error})") from error


def _described(record: dict[str, Any], found: Found) -> Layout:
    """What the file of an encoder holds, by its record."""
    name = record.get("encoder")
    if not isinstance(name, str) or name not in ENCODERS or not ENCODERS[name].fitted:
        raise LemError(f"made by a newer lemtools, which knows an encoder {str(name)[:40]!r}")
    layout: Layout = ENCODERS.load(name).described(record, found)
    return layout._replace(wrong=f"damaged record of {name}")


def fit(name: str, signals: Callable[[], Iterable[Signal]], **settings) -> tuple[Fitted, dict]:
    """An encoder fitted to the batches that `signals()` yields, afresh at every call: they may be read several times.

    settings: of the encoder's own `fit`. Returns (encoder, report): report maps names to numbers, and `note`, where
    there is something to be said, to a sentence. encoder.save(path) keeps it. Raises LemError where nothing can be
    fitted to them.
    """
    if not ENCODERS.find(name).fitted:
        raise LemError(f"{name} is not fitted to data; {listed(r.name for r in ENCODERS.rows if r.fitted)} are")
    return ENCODERS.load(name).fit(signals, **settings)


def fit_files(
    name: str,
    paths: list[str],
    *,
    validate: str | None = None,
    onto: str | None = None,
    more: str | None = None,
    onto_more: str | None = None,
    add: str | None = None,
    lines: bool = False,
    reading: Mapping[str, Any] = MappingProxyType({}),
    **settings: Any,
) -> tuple[Fitted, dict]:
    """As `fit`, to files and folders, or '-' for standard input.

    validate: files to report on, of which none may be among the others. onto: what they are paired with. more, onto_more: vectors of either
    side without partners. add: what joins a hub; then, and to make one (common=W), each of the paths is a space. lines: every line of a text is a memory.
    reading: options of media.load. An input that cannot be read is an error: nothing is fitted to the others alone.
    """
    if validate:
        check_apart(paths, [validate], "the input")
        settings["validate"] = repeatable([validate], **reading)
    for key, path in (("onto", onto), ("more", more), ("onto_more", onto_more)):
        if path:
            settings[key] = repeatable([path], **reading)
    if add or settings.get("common"):
        if add:
            settings["add"] = _spaces([add], reading)
        return ENCODERS.load(name).fit(_spaces(paths, reading), **settings)
    source = repeatable(paths, **reading)
    return fit(name, (lambda: each_line(source())) if lines else source, **settings)


def _spaces(paths: list[str], reading: Mapping[str, Any]) -> dict[str, Callable[[], Iterable[Signal]]]:
    """What reads each of the files or folders, by its name without extension. LemError for standard input, and for two of a name."""
    found = {}
    for path in paths:
        name = stem(os.path.basename(os.path.normpath(path)))
        if path == "-" or name in found:
            raise LemError(
                "standard input has no name; a space is called as its file"
                if path == "-"
                else f"two spaces of the name {name}"
            )
        found[name] = repeatable([path], **reading)
    return found


def without_file(
    name: str,
    signals: Iterable[Signal],
    paths: list[str] | None = None,
    *,
    reading: Mapping[str, Any] = MappingProxyType({}),
    **settings: Any,
) -> tuple[Encoder, Iterable[Signal]]:
    """(an encoder to be used without a file, the batches that it is used on).

    paths: of the signals; None: to decode them. pca is fitted to all that the paths hold, also where the signals are a
    part of it (a shard): the parts are then coded alike. Raises LemError for an encoder that works by its file alone.
    """
    row = ENCODERS.find(name)
    if row.of_itself and paths is not None:
        if not settings.get("dims"):
            raise LemError(f"--encoder {name} needs --dims K, or a --model from --fit")
        source = repeatable(paths, **reading)
        encoder = row.load().fit(source, **settings)[0]
        return encoder, signals if rereadable(paths) else source()  # (the fit has emptied a pipe)
    if row.made:
        raise LemError(f"--encoder {name} needs {row.made}")
    return row.load()(**settings), signals
