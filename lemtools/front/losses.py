"""Losses as keywords: fragment(x, bits=3, mask=.5, mask_shape="patch:8")."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..catalogue import LemError, Option, Row
from ..catalogue.operations import OPERATIONS

Operation = dict[str, Any]


def operations(losses: Mapping[str, Any]) -> list[Operation]:
    """Operations from keywords, in their order: the words of lem-fragment's options, as in keep_dims or mask_shape.

    A pair (low, high) draws for each item. As on the command line, an option that is not the first of its operation
    belongs right after it. Raises LemError for words that no operation has.
    """
    words = _words()
    found: list[Operation] = []
    for word, value in losses.items():
        if word not in words:
            raise LemError(f"no loss {word!r}; there are {', '.join(words)}")
        row, option = words[word]
        if option is row.options[0]:
            if value is not None:
                found.append({"op": row.name, option.name: value})
        elif value not in (None, False):
            if not found or found[-1]["op"] != row.name:
                raise LemError(f"{word} belongs right after {_word(row.options[0])}")
            found[-1][option.name] = value
    return found


def text(operations: Iterable[Operation]) -> str:
    """Operations as lem-fragment is asked for them: '--bits 1-6 --mask 0.5 --mask-shape patch:8'."""
    parts = []
    for operation in operations:
        row = OPERATIONS.find(operation["op"])
        for option in row.options:
            value = operation.get(option.name)
            if value is True:
                parts.append(option.flag)
            elif value not in (None, False):
                parts.append(f"{option.flag} {'-'.join(map(str, value)) if isinstance(value, tuple | list) else value}")
    return " ".join(parts)


def _words() -> dict[str, tuple[Row, Option]]:
    return {_word(option): (row, option) for row in OPERATIONS.rows for option in row.options}


def _word(option: Option) -> str:
    return option.flag.lstrip("-").replace("-", "_")
