"""The front end of a record: which transform made a spectrum, by the table of encoders."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..catalogue import LemError, loaded
from ..catalogue.encoders import ENCODERS
from .contract import Front


def makes_spectra(record: Mapping[str, Any]) -> bool:
    """Whether an entry of a history is that of an encoder that makes spectra."""
    name = record.get("encoder")
    return isinstance(name, str) and name in ENCODERS and bool(ENCODERS[name].front)


def of(record: Mapping[str, Any]) -> Front:
    """The front end that a record describes: that of a history, of a checkpoint, or `front.record`.

    Raises LemError for the record of something else, and for settings that cannot be.
    """
    if not makes_spectra(record):
        made = ", ".join(row.name for row in ENCODERS.rows if row.front)
        raise LemError(f"made by {str(record.get('encoder'))[:40]!r}, which makes no spectra; {made} do")
    front: Front = loaded(ENCODERS[record["encoder"]].front).restored(record)
    return front


def unlike(one: Mapping[str, Any], other: Mapping[str, Any], but: Collection[str] = ("samples",)) -> list[str]:
    """Settings in which the records of two front ends differ. but: those that do not matter; of sounds the length alone."""
    return [key for key in {**one, **other} if key not in but and one.get(key) != other.get(key)]
