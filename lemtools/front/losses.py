"""Losses as keywords, as dicts or as text: fragment(x, bits=3, mask=.5, mask_shape="patch:8")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..catalogue import LemError, Option, Row
from ..catalogue.operations import OPERATIONS
from .words import unknown, value

Operation = dict[str, Any]


def operations(losses: str | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[Operation]:
    """Operations from lem-fragment's options as text, from keywords, or from dicts with `op`, one of these or a list.

    Keywords, in their order, are the words of lem-fragment's options, as in keep_dims or mask_shape. A pair (low, high)
    draws for each item. As on the command line, an option that is not the first of its operation belongs right after
    it. Raises LemError for words that no operation has, and for values that it does not take.
    """
    if isinstance(losses, str):
        from ..cli.fragment import losses as parsed

        try:
            return parsed(losses)
        except ValueError as error:
            raise error if isinstance(error, LemError) else LemError(f"{losses!r}: {error}") from None
    if isinstance(losses, Mapping) and "op" not in losses:
        return _of_words(losses)
    try:
        return [_checked(dict(each)) for each in ([losses] if isinstance(losses, Mapping) else losses)]
    except (TypeError, ValueError) as error:
        if isinstance(error, LemError):
            raise
        raise LemError(
            f"losses are text, keywords or dicts with op, as in {{'op': 'bits', 'bits': 3}}: {losses!r}"
        ) from None


def _of_words(losses: Mapping[str, Any]) -> list[Operation]:
    words = known()
    found: list[Operation] = []
    for word, given in losses.items():
        if word not in words:
            raise unknown("loss", word, words)
        row, option = words[word]
        if given is None or (given is False and option.type == "flag"):
            continue
        given = value(option, given, word)
        if option is row.options[0]:
            found.append({"op": row.name, option.name: given})
        elif not found or found[-1]["op"] != row.name:
            raise LemError(f"{word} belongs right after {_word(row.options[0])}")
        else:
            found[-1][option.name] = given
    return found


def _checked(operation: Operation) -> Operation:
    """An operation whose values are what its options take."""
    row = OPERATIONS.find(operation.get("op", ""))
    options = {option.name: option for option in row.options}
    found: Operation = {"op": row.name}
    for name, given in operation.items():
        if name == "search" or given is None:  # an encoder for the trellis: a function
            found[name] = given
        elif name in options:
            found[name] = value(options[name], given, name)
        elif name != "op":
            raise unknown(f"parameter of {row.name}", name, options)
    if found.get(row.options[0].name) is None:
        raise LemError(f"{{'op': {row.name!r}}} needs its {row.options[0].name!r}")
    return found


def text(operations: Iterable[Operation]) -> str:
    """Operations as lem-fragment is asked for them: '--bits 1-6 --mask 0.5 --mask-shape patch:8'."""
    parts = []
    for operation in operations:
        row = OPERATIONS.find(operation["op"])
        for option in row.options:
            given = operation.get(option.name)
            if given is True:
                parts.append(option.flag)
            elif given not in (None, False):
                parts.append(f"{option.flag} {'-'.join(map(str, given)) if isinstance(given, tuple | list) else given}")
    return " ".join(parts)


def known() -> dict[str, tuple[Row, Option]]:
    """{keyword: (operation, option)} of all losses."""
    return {_word(option): (row, option) for row in OPERATIONS.rows for option in row.options}


def _word(option: Option) -> str:
    return option.flag.lstrip("-").replace("-", "_")
