"""What recall asks for beside fragments: memories as one array, and what is lost of images that come whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..catalogue import LemError
from ..media import Reading, load
from ..media import store as stored
from ..media.kept import kept
from ..media.lost import Masks
from ..media.store import classes as of_labels
from ..media.store import classes_of
from ..media.store import nature as of_files
from ..media.store import sequences as of_texts
from ..media.store import sounds as of_sounds
from ..signal import Signal
from .arrays import from_array
from .inputs import Stream, Words, signals
from .words import note


def store(memory: Any, key: str | None = None, fragments: bool = False, coded: bool = False) -> Any:
    """Memories to look up as one array [N, ...item], read as `load` reads them; that of a file may stay on disk.
    fragments, coded: as of media.store.store."""
    if memory is None:
        return None
    things = memory if isinstance(memory, list | tuple) else [memory]
    if things and all(isinstance(thing, str | os.PathLike) for thing in things):
        paths = [os.fspath(thing) for thing in things]
        return stored(paths, key, Reading(note=note), fragments=fragments, coded=coded)
    if key is not None:
        raise LemError("memory_key is for a memory in a file")
    batches = [from_array(memory)] if isinstance(memory, np.ndarray) else list(signals(memory))
    if coded or (fragments and any(batch.ops for batch in batches)):
        return kept(batches, "memory")
    batch = Signal.concat(batches)
    if batch.ops:
        raise LemError("the memory holds fragments; it takes whole memories")
    return batch.data


def classes(memory: Any, labels: str | None, key: str | None = None) -> np.ndarray:
    """Classes [N] of those memories: of a file of them, or such as they carry."""
    things = memory if isinstance(memory, list | tuple) else [memory]
    if things and all(isinstance(thing, str | os.PathLike) for thing in things):
        return of_labels([os.fspath(thing) for thing in things], labels, key, Reading(note=note))[0]
    batches = [from_array(memory)] if isinstance(memory, np.ndarray) else signals(memory)
    return classes_of(batches, "memory", labels)[0]


def sequences(memory: Any, kind: str, key: str | None = None) -> list[np.ndarray]:
    """Memories of any length, texts or rows of tokens [n] (kind 'tokens') or sounds [C, T] ('audio'), read as `load` reads them."""
    things = memory if isinstance(memory, list | tuple) else [memory]
    if things and all(isinstance(thing, str | os.PathLike) for thing in things):
        of_paths = of_sounds if kind == "audio" else of_texts
        return of_paths([os.fspath(thing) for thing in things], key, Reading(note=note))
    return [row for thing in things for batch in signals(thing) for row in batch.data]


def nature(memory: Any, key: str | None = None) -> Signal | None:
    """What those memories are of, where files or a Signal say it, see media.store.nature."""
    if isinstance(memory, Signal):
        return memory
    things = memory if isinstance(memory, list | tuple) else [memory]
    if things and all(isinstance(thing, str | os.PathLike) for thing in things):
        return of_files([os.fspath(thing) for thing in things], key, Reading(note=note))
    return None


def is_whole(batch: Signal) -> bool:
    """Whether a batch is of images or sounds that nothing was taken away from and that no tool has seen."""
    return batch.kind in ("image", "audio") and not (batch.ops or batch.history)


def lose(x: Any, lost: Any) -> Stream:
    """What a user gave, without what `lost` says: None; 'alpha'; a path; or one picture, as `load` takes it."""
    if lost is None:
        return signals(x)
    if isinstance(lost, str) and lost == "alpha":
        return signals(x, Words.checked({"lost": "alpha"}))
    whole = signals(x)
    sources = whole.sources
    if isinstance(lost, str | os.PathLike):
        name = os.fspath(lost)
        plain = Reading(background="black", kind="image", note=note)
        masks = Masks(name, load([name], plain), plain)
        sources = (*sources, name)
    else:
        if hasattr(lost, "detach"):
            lost = lost.detach().cpu().numpy()
        if isinstance(lost, np.ndarray):
            lost = lost * np.uint8(255) if lost.dtype == bool else lost
        words = Words.checked({"kind": "image"} | ({"background": "black"} if hasattr(lost, "getbands") else {}))
        masks = Masks("lost=", signals(lost, words), words.how)

    def work() -> Iterator[Signal]:
        for batch in whole:
            yield masks.lose(batch, batch.names[0] if batch.names else f"item {batch.index[0]}")

    return Stream(work, repr(whole)[9:-1], sources)
