"""Boundaries made finer than the frames of 10 ms in which a path was found.

`none` leaves them where their frames begin; `constant` moves all to the middle between the windows of two frames; `classes` by
a time for the classes of the two phones; `spectral` from there to where the spectrum changes most. A trained network is one more
way (learned.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..signal.phones import KINDS
from ..transforms.mel import filters
from .cepstra import MIDDLE, RATE

WAYS = ("none", "constant", "classes", "spectral")
Mover = Callable[[np.ndarray, Sequence[str], np.ndarray], np.ndarray]  # see learned.Learned
ENDING, BEGINNING = {"affricate": "fricative"}, {"affricate": "stop"}  # what a phone of two parts is at an end of it
CLASSES = ("vowel", "approximant", "nasal", "fricative", "stop", "silence")
# ms from a frame's begin to the boundary: the medians over hand-made labels of Emo-DB (Burkhardt et al. 2005; German, 10
# speakers), drawn to the median of all by FEW; a row for the class that ends, a column for the one that begins, as in CLASSES
# (examples/phones.py fit)
SHIFTS = np.array(
    [
        [1.7, 1.9, 14.4, 13.1, 9.1, 24.2],
        [2.4, 5.5, 12.1, 4.3, 11.8, 7.4],
        [1.7, 9.5, 0.3, 10.8, 14.6, 7.4],
        [5.5, 11.3, 5.8, 4.9, 7.7, 9.7],
        [0.9, 5.3, 3.5, 2.3, 3.8, 25.6],
        [5.6, -2.3, 6.1, 5.2, 3.9, 7.4],
    ]
)
FEW = 10  # boundaries of a pair as which the median of all counts

STEP, WINDOW, N_FFT, BANDS = (
    40,
    160,
    512,
    24,
)  # samples (2.5 and 10 ms), and mel bands, of the spectra that are compared
SIDE = 8  # spectra on each side of a boundary: 20 ms
NEAR, POWER = (
    0.01,
    1.5,
)  # s that a boundary lies from where `classes` puts it, and how much the change counts beside that
REACH = 16  # spectra: how far from there it is looked for


class Boundaries(NamedTuple):
    """times [L + 1] in seconds, ascending: the ends of the sound, and between them where a phone gives way to the next; phones [L],
    ARPABET."""

    times: np.ndarray
    phones: list[str]


def refine(found: Boundaries, sound: np.ndarray, way: str | Mover, shifts: np.ndarray = SHIFTS) -> np.ndarray:
    """Times [L + 1], in the same order, that a way of WAYS, or a trained network, makes of those of a path. sound: [T] at 16 kHz,
    full scale 1. shifts: ms [CLASSES, CLASSES].

    No boundary moves further than half way to its neighbours, and the ends of the sound stay.
    """
    inner = found.times[1:-1]
    if way == "none" or not len(inner):
        moved = inner
    elif way == "constant":
        moved = inner + MIDDLE
    elif isinstance(way, str):
        moved = inner + shifts[pairs(found.phones)] / 1000
        moved = _changes(moved, sound) if way == "spectral" else moved
    else:
        moved = way(inner, found.phones, sound)
    middles = (found.times[1:] + found.times[:-1]) / 2
    return np.concatenate([found.times[:1], np.clip(moved, middles[:-1], middles[1:]), found.times[-1:]])


def pairs(phones: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(class that ends, class that begins) of the boundaries between phones [L]: int64 [L - 1] each, places in CLASSES."""
    kinds = [KINDS.get(phone, "silence") for phone in phones]
    ending = [CLASSES.index(ENDING.get(kind, kind)) for kind in kinds[:-1]]
    beginning = [CLASSES.index(BEGINNING.get(kind, kind)) for kind in kinds[1:]]
    return np.array(ending, np.int64), np.array(beginning, np.int64)


def fitted(late: np.ndarray, ending: np.ndarray, beginning: np.ndarray) -> np.ndarray:
    """A table of shifts: float64 [CLASSES, CLASSES] in the unit of `late` [B], the times from boundaries found to those that were
    labelled; ending, beginning: as of `pairs`."""
    overall = np.median(late)
    table = np.full((len(CLASSES), len(CLASSES)), overall)
    for a, b in {*zip(ending.tolist(), beginning.tolist())}:
        mine = late[(ending == a) & (beginning == b)]
        table[a, b] = (len(mine) * np.median(mine) + FEW * overall) / (len(mine) + FEW)
    return table


def _changes(times: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """Near each of the times [B] in seconds that of the largest change: between the means of log-mel spectra of the 20 ms before and
    behind it. The change to the power POWER is weighed against the distance, as by a normal distribution of NEAR."""
    spectra = log_mel(sound)
    wide = np.pad(
        np.cumsum(np.pad(spectra, ((SIDE + REACH,) * 2, (0, 0)), "edge"), 0, dtype=np.float64), ((1, 0), (0, 0))
    )
    steps = np.arange(-REACH, REACH + 1)
    places = np.rint(times * RATE / STEP).astype(np.int64).clip(0, len(spectra))[:, None] + steps
    at = places + SIDE + REACH
    at = at.clip(SIDE, len(wide) - 1 - SIDE)
    change = np.linalg.norm(wide[at + SIDE] - 2 * wide[at] + wide[at - SIDE], axis=2) / SIDE
    away = places * STEP / RATE - times[:, None]
    weight = POWER * np.log(change + 1e-6) - np.square(away / NEAR) / 2
    return np.asarray(times + np.take_along_axis(away, weight.argmax(1)[:, None], 1)[:, 0])


def log_mel(sound: np.ndarray) -> np.ndarray:
    """float32 [T // STEP, BANDS]: natural logarithms of mel powers of Hann windows; spectrum k is centred at k * STEP samples."""
    wave = np.pad(sound.astype(np.float64), (WINDOW // 2, WINDOW))
    wave[1:] -= 0.97 * wave[:-1]
    count = max(1, len(sound) // STEP)
    framed = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[: count * STEP : STEP]
    power = np.square(np.abs(np.fft.rfft(framed * np.hanning(WINDOW), N_FFT)))
    return np.log(power @ filters(BANDS, N_FFT, RATE).T + 1e-6).astype(np.float32)
