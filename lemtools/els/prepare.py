"""The images or spectra of a bank: from folders and arrays, images resized, with their classes, read once; or left on disk,
if prepared."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..denoise.contract import Array
from ..media import Reading, load, on_disk
from ..media.labels import Classes
from ..signal import LemError, Signal, called
from ..transforms.history import front, latest
from .bank import Bank


def bank(
    paths: Sequence[str],
    labels: str | None = None,
    size: tuple[int, int] | None = None,
    grey: bool = False,
    key: str | None = None,
    how: Reading | None = None,
) -> Bank:
    """The bank in files and folders. A lone array or safetensors file that needs no change stays on disk.

    labels: file of classes, in place of those that the images bring along. size: (width, height) in px. grey: luma.
    key: which array of a foreign file. how: how they are read apart from that. Raises LemError for items of several
    kinds, shapes, rates or encoders, for what is no image and no spectrum, and for labels that do not fit.
    """
    whole = on_disk(paths[0], key, _reading(how, size, grey, key)) if len(paths) == 1 else None
    if whole is not None:
        classes = whole.label if labels is None else Classes(labels).of(len(whole), whole.names, called(whole.kind))
        return _bank(_whole(whole, paths[0]), whole.data, classes, whole.names)
    parts = list(images(paths, labels, size, grey, key, how))
    label = np.concatenate([p.label for p in parts]) if all(p.label is not None for p in parts) else None
    names = [n for p in parts for n in p.names] if all(p.names is not None for p in parts) else None
    return _bank(parts[0], np.concatenate([p.data for p in parts]), label, names)


def _bank(first: Signal, data: Array, labels: Sequence[int] | None, names: Sequence[str] | None) -> Bank:
    return Bank(data, labels, names, kind=first.kind, history=first.history, rate=first.rate)


def images(
    paths: Sequence[str],
    labels: str | None = None,
    size: tuple[int, int] | None = None,
    grey: bool = False,
    key: str | None = None,
    how: Reading | None = None,
    large: bool = False,
) -> Iterator[Signal]:
    """The same items batch by batch: `data` all of one shape and type, `label` where they have classes. large: they will be cut
    into pieces, so that rows and columns may be of any number, and the sounds of spectra of any length."""
    classes = None if labels is None else Classes(labels)
    listed = None if classes is None or classes.table else len(classes.values)
    first, begun, count, classed = None, None, 0, None
    for signal in load(list(paths), _reading(how, size, grey, key)):
        where = os.fsdecode(signal.names[0] if signal.names else paths[0])
        signal = _whole(signal, where)
        data, begun = signal.data, begun or signal
        first = data if first is None else first
        if signal.kind != begun.kind:
            raise LemError(f"{where}: {called(signal.kind)} in a bank of {called(begun.kind)}; a bank holds one kind")
        if signal.kind == "spectrum":
            _alike(signal, begun, where, large)
        if data.shape[1] != first.shape[1] or (not large and data.shape != (len(data), *first.shape[1:])):
            way = "--grey" if data.shape[2:] == first.shape[2:] else "--size"
            if signal.kind == "spectrum":
                way = "lem-encode --mono" if data.shape[2:] == first.shape[2:] else "lem-encode --length"
            one = f"a bank holds one shape ({way} makes it one)"
            raise LemError(
                f"{where}: {_shape(data, signal.kind)} among {called(signal.kind)} of {_shape(first, signal.kind)}; {one}"
            )
        if data.dtype != first.dtype:
            raise LemError(
                f"{where}: {data.dtype} among {called(signal.kind)} of {first.dtype}; save them all with as many bits"
            )
        index = count + np.arange(len(data), dtype=np.int64)
        count += len(data)
        if listed is not None and count > listed:
            raise LemError(f"{labels}: {listed} labels for more {called(signal.kind)} than that")
        label = signal.label if classes is None else classes.part(count - len(data), len(data), signal.names)
        if classed not in (None, label is not None):
            raise LemError(f"{where}: some {called(signal.kind)} have classes and others none; give --labels for all")
        classed = label is not None
        names = signal.names
        if names is None and len(paths) > 1:  # some have names: then all have
            names = [f"#{i}" for i in index]
        label = None if label is None else label.astype(np.int64)
        yield replace(signal, data=data, label=label, names=names, index=index, last=None)
    if listed is not None and count < listed:
        raise LemError(f"{labels}: {listed} labels for {count} {called(begun and begun.kind, count)}")


def _whole(signal: Signal, where: str) -> Signal:
    if signal.kind not in ("image", "spectrum"):
        way = "; lem-encode --encoder stft makes spectra of sounds" if signal.kind == "audio" else ""
        raise LemError(f"{where}: {called(signal.kind)}; a bank holds images or spectra{way}")
    if signal.ops:
        raise LemError(f"{where}: fragments; a bank holds whole {called(signal.kind)}")
    try:
        front(signal.history)
    except LemError as error:
        raise LemError(f"{where}: {error}") from error
    return signal


def _alike(signal: Signal, first: Signal, where: str, large: bool) -> None:
    """Raise LemError for spectra that another encoder made, or from sounds of another rate, or length if they are not large."""
    if signal.rate != first.rate:
        rates = " among ".join("an unknown rate" if s.rate is None else f"{s.rate:g} Hz" for s in (signal, first))
        raise LemError(f"{where}: {rates}; a bank holds one rate (lem-encode --resample makes it one)")
    mine, others = (_made(s) for s in (signal, first))
    names = sorted(k for k in mine.keys() | others.keys() if mine.get(k) != others.get(k))
    if names == ["samples"] and not large and signal.data.shape[1:] == first.data.shape[1:]:
        lengths = f"a sound of {mine['samples']} samples among those of {others['samples']}"
        raise LemError(f"{where}: {lengths}; a bank holds one length (lem-encode --length makes it one)")
    if names not in ([], ["samples"]):
        raise LemError(f"{where}: made by another encoder than the first ({', '.join(names)} differ); encode all alike")


def _made(signal: Signal) -> dict:
    """What the latest encoder of a history noted of itself, but for the tool's version and command."""
    entry = latest(signal.history) or {}
    return {k: v for k, v in entry.items() if k not in ("tool", "version", "args", "seed")}


def _reading(how: Reading | None, size: tuple[int, int] | None, grey: bool, key: str | None) -> Reading:
    how = how or Reading()
    return replace(
        how, takes=("image", "spectrum"), key=key, size=size, crop=False, colour="grey" if grey else how.colour
    )


def _shape(data: Array, kind: str) -> str:
    channels, height, width = data.shape[1:]
    size = f"{width} x {height} px" if kind == "image" else f"{height} rows x {width} columns"
    return f"{size}, {channels} channel{'s' * (channels > 1)}"
