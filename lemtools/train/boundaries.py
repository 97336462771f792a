"""Boundaries of phones to learn from: where an aligner put them, what the sound is around there, and where labels have them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from .. import media
from ..encode.sound import resampled
from ..media import Reading
from ..media.find import expand, sniff
from ..nets.boundary import places
from ..nets.model import Model
from ..phones.cepstra import MIDDLE, RATE
from ..phones.learned import HOP, SIDE, frames, middles, windows
from ..phones.refine import pairs
from ..signal import LemError, Signal, path_of, stem
from ..signal.phones import READ
from ..signal.segments import segments, shared
from .data import Items
from .objectives import Objective

MS = 1000 * HOP  # of a frame
CLOSE = 20.0  # ms
FRAME, NEAR = 0.01, 0.1  # s from a frame of an aligner to the next; by how much of one a time may be rounded
FAR = 0.5  # s that no boundary is moved: the median of labels and alignments that belong together is some .01


class Windows:
    """Windows of the spectra of many sounds, cut when they are used. spectra: [T', F] each; of: int64 [N], the sound of a window;
    centres: int64 [N], its middle. As an array of float32 [N, F, 2 SIDE + 1]."""

    dtype = np.dtype(np.float32)

    def __init__(self, spectra: Sequence[np.ndarray], of: np.ndarray, centres: np.ndarray):
        self.spectra, self.of, self.centres = spectra, of, centres
        self.shape = (len(of), spectra[0].shape[1], 2 * SIDE + 1)

    def __len__(self) -> int:
        return len(self.of)

    def __getitem__(self, rows: int | np.ndarray) -> np.ndarray:
        several = np.atleast_1d(rows)
        cut = [windows(self.spectra[self.of[i]], self.centres[i : i + 1]) for i in several]
        found = np.concatenate([*cut, np.zeros((0, *self.shape[1:]), np.float32)])
        return found if np.ndim(rows) else found[0]


class Learnt(NamedTuple):
    """items: the windows of all boundaries that match; label float32 [N, 4]: the class that ends, the one that begins, and, in frames
    from the middle of the window, the labelled time and the aligner's with the constant shift. of: int64 [N], which sound."""

    items: Items
    of: np.ndarray


def read(data: list[str], aligned: list[str], how: Reading) -> Learnt:
    """The boundaries of the sounds in `data`, whose labels lie beside them, as the files of the same names in `aligned` have them
    before they are refined. Both sequences are aligned by phone class, as lem-compare does.

    Raises LemError for a sound without labels or without alignment, which `how.skip_bad` leaves out; for an alignment that was refined,
    where nothing matches, and for labels that lie too far from it.
    """
    labels, found = _by_stem(data, how, "--data"), _by_stem(aligned, replace(how, key=None), "--aligned")
    spectra, rows, of = [], [], []
    for name, sound, path in _sounds(data, how):
        if (wrong := _missing(path, name not in labels, name not in found)) is not None:
            if not how.skip_bad:
                raise wrong
            if how.note is not None:
                how.note(f"left out: {wrong}")
            continue
        spectra.append(frames(sound))
        rows.append(_matches(labels[name], found[name], len(spectra[-1])))
        of.append(np.full(len(rows[-1]), len(of)))
    shown = ", ".join(data)
    if not rows:
        raise LemError(f"{shown}: no sounds; boundaries are learnt from sounds with labels beside them")
    table = np.concatenate(rows)
    if not len(table):
        raise LemError(
            f"{shown}: no boundary of the labels matches one of --aligned; are they phones? --key picks a tier"
        )
    _remark(found.values(), how)
    off = float(np.median(np.abs(table[:, 2] - table[:, 3]))) * HOP
    if off > FAR:
        raise LemError(
            f"{shown}: half of the labels lie more than {off:.3g} s from --aligned; are their times in seconds, and of these sounds?"
        )
    items = Items(
        "audio", Windows(spectra, np.concatenate(of), table[:, 4].astype(np.int64)), table[:, :4].astype(np.float32)
    )
    return Learnt(items, np.concatenate(of))


def _remark(found: Iterable[Signal], how: Reading) -> None:
    """Say where boundaries do not lie where frames begin, as those of --refine none do: a TextGrid does not say that it was refined."""
    frames = np.concatenate([item.spans[0, 1:, 0] for item in found if item.spans is not None]) / FRAME
    if how.note is not None and np.mean(np.abs(frames - np.rint(frames)) < NEAR) < 0.5:
        how.note(
            "most boundaries of --aligned lie between frames of 10 ms: were they refined? The model is asked about those of --refine none"
        )


def _missing(path: str, labels: bool, alignment: bool) -> LemError | None:
    """What a sound lacks."""
    if labels:
        return LemError(f"{path}: no labels beside it; a TextGrid or .lab of the same name has them")
    if alignment:
        return LemError(f"{path}: not among --aligned; lem-encode --encoder phones --refine none aligns it")
    return None


def _matches(labels: Signal, found: Signal, count: int) -> np.ndarray:
    """float64 [B, 5]: the columns of `Learnt.items.label`, and the middle of the window, of the boundaries that match."""
    end = max(float(side.spans[0, -1, 1]) for side in (labels, found))
    true, guess = (segments(side, 0, end) for side in (labels, found))
    both = shared(true, guess)
    at = np.array([j for _, j in both], np.int64)
    ending, beginning = (side[at] for side in pairs(guess.phones))
    wanted = true.begins[np.array([i for i, _ in both], np.int64) + 1]
    times = guess.begins[at + 1]
    centres = middles(times, count)
    offsets = [(when / HOP - centres) for when in (wanted, times + MIDDLE)]
    return np.stack([ending, beginning, *offsets, centres], 1)


def _by_stem(paths: list[str], how: Reading, flag: str) -> dict[str, Signal]:
    """Labels with times by the names of their files. LemError for what has none, and for two of one name."""
    found: dict[str, Signal] = {}
    for item in _labels(paths, replace(how, takes=("tokens",))):
        name = item.names[0] if item.names else flag
        if item.spans is None or item.alphabet is None or item.alphabet.name not in READ:
            raise LemError(f"{name}: no phones with times, which {flag} takes; --key picks a tier")
        if any(entry.get("encoder") == "phones" and entry.get("refine") != "none" for entry in item.history):
            raise LemError(f"{name}: boundaries that are refined already; align with --refine none")
        key = _key(name)
        if key in found:
            raise LemError(f"{flag}: two files of labels are called {key}; leave one of them")
        found[key] = item
    return found


def _labels(paths: list[str], how: Reading) -> Iterator[Signal]:
    """Each item of the files that are no sounds."""
    files = []
    for path, _ in expand(paths, how.report, labels=True):
        with open(path, "rb") as file:
            if sniff(file.read(16))[1] != "sound":
                files.append(path)
    for batch in media.load(files, how) if files else ():
        yield from (batch.take([i]) for i in range(len(batch)))


def _sounds(paths: list[str], how: Reading) -> Iterator[tuple[str, np.ndarray, str]]:
    """(key, mean of the channels [T] at 16 kHz, name) of each sound."""
    for batch in media.load(paths, replace(how, key=None, takes=("audio",))):
        if batch.kind != "audio" or batch.rate is None:
            continue
        mono = batch.data.mean(axis=1, keepdims=True)
        for i in range(len(batch)):
            name = batch.names[i] if batch.names else ""
            yield _key(name), resampled(mono[i : i + 1], batch.rate, RATE)[0, 0], name


def _key(name: str) -> str:
    return os.path.basename(path_of(stem(name)))


class Offsets(Objective):
    """ms between where the network puts a boundary and where its label does."""

    needs_fragments = False

    def __init__(self, model: Model):
        super().__init__(model, "plain")

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        ending_beginning, wanted = batch["label"][:, :2].long(), batch["label"][:, 2]
        return MS * (places(self.net(batch["target"], ending_beginning)) - wanted).abs()

    def measure(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        """The loss, which is in ms; the share within CLOSE ms; and, as controls, both of the constant shift."""
        loss, constant = self(batch), MS * (batch["label"][:, 3] - batch["label"][:, 2]).abs()
        found = {"loss": loss, "constant": constant}
        return found | {
            name: (value <= CLOSE).float() for name, value in (("within_20", loss), ("constant_within_20", constant))
        }
