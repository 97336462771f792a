"""Spectra of sounds to learn from: made once, batch by batch, and left in a file that has no name.

A clip of ESC-10 (2 s at 22.05 kHz, 513 x 173) takes 1.5 ms to be made of its waveform, .12 to .18 ms to come from the file; and
the file takes no memory that something else needs.
"""

from __future__ import annotations

import errno
import tempfile
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from .. import media
from ..catalogue.encoders import ENCODERS
from ..catalogue.training import SOUNDS
from ..signal import LemError, Signal
from .data import Items

if TYPE_CHECKING:
    from ..encode.spectra import Spectra

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
WAYS = {"rate": "--resample HZ makes", "samples": "--length S makes"}  # them alike


def coder(encoder: str | None, chosen: dict[str, Any] | None) -> Spectra | None:
    """What makes spectra of sounds, with the options (by keyword) that were chosen; None where no encoder is named.

    Raises LemError for an encoder that makes none, and for an option that it does not take.
    """
    chosen = chosen or {}
    if encoder is None:
        if chosen:
            flag = next(option.flag for option in SOUNDS if option.name in chosen)
            raise LemError(f"{flag} says how sounds become spectra: give --encoder, too, as in --encoder stft")
        return None
    row = ENCODERS.find(encoder)
    if not row.front:
        made = ", ".join(each.name for each in ENCODERS.rows if each.front)
        raise LemError(f"--encoder {encoder} makes no spectra of sounds; {made} do")
    for name in chosen:
        if problem := ENCODERS.refused(name, encoder, "--encoder"):
            raise LemError(problem)
    made_of: Spectra = row.load()(**chosen)
    return made_of


def spectra(paths: list[str], how: media.Reading | None, encoder: Spectra) -> Items:
    """The spectra of the sounds in files and folders, with the record of their front end.

    Raises LemError for what is no sound, for a fragment of one, and for sounds of several rates, lengths or channels.
    """
    first: tuple[str, dict, tuple[int, ...]] | None = None
    labels: list[np.ndarray] = []
    names: list[str] = []
    count = 0
    with tempfile.TemporaryFile(prefix="lem-train-") as file:
        for signal in media.load(paths, replace(how or media.Reading(), takes=("audio",))):
            name = signal.names[0] if signal.names else ", ".join(paths)
            made, record = _encoded(signal, encoder, name)
            first = first or (name, record, made.shape[1:])
            _check_alike(first, (name, record, made.shape[1:]))
            _write(made, file)
            count += len(made)
            labels += [] if signal.label is None else [signal.label]
            names += signal.names or []
        if first is None:
            raise LemError(f"{', '.join(paths)}: no sounds")
        file.flush()
        data = np.memmap(file, np.float32, "r", shape=(count, *first[2]))
    label = np.concatenate(labels).astype(np.int64) if sum(map(len, labels)) == count else None
    return Items("spectrum", data, label, front=first[1], names=names if len(names) == count else None)


def _encoded(signal: Signal, encoder: Spectra, name: str) -> tuple[np.ndarray, dict]:
    """(spectra of a batch, the record of their front end)."""
    if signal.kind != "audio":
        raise LemError(f"{name}: {signal.kind}; --encoder {encoder.name} makes spectra of sounds: leave it out")
    if signal.ops:
        raise LemError(f"{name}: a fragment of a sound; recall it first (lem-reconstruct), its spectra are then learnt")
    try:
        (made,) = encoder.encode(signal)
        return made.data, {"encoder": encoder.name, **encoder.record(signal)}
    except LemError as error:
        raise LemError(f"{name}: {error}") from error


def _check_alike(first: tuple[str, dict, tuple[int, ...]], here: tuple[str, dict, tuple[int, ...]]) -> None:
    """LemError where sounds make spectra that do not go together."""
    for key in {**first[1], **here[1]}:
        then, now = first[1].get(key), here[1].get(key)
        if then != now:
            way = WAYS.get(key, "lem-encode makes")
            raise LemError(f"{here[0]}: {key} {now}, where {first[0]} has {then}; {way} them alike")
    if first[2] != here[2]:
        raise LemError(f"{here[0]}: spectra of {list(here[2])}, where {first[0]} has {list(first[2])}; --mono")


def _write(made: np.ndarray, file: IO[bytes]) -> None:
    try:
        file.write(np.ascontiguousarray(made, np.float32).data)
    except OSError as error:
        if error.errno not in FULL:
            raise
        place = tempfile.gettempdir()
        raise LemError(
            f"no room in {place} for the spectra; TMPDIR names another folder, a larger --hop makes fewer"
        ) from error
