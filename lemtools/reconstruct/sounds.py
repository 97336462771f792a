"""Gaps in sounds by what knows spectra: frames that see a lost sample are lost, all others are the condition.

Of a lost frame most samples may be observed. So every estimate of it is decoded, the observed samples are put back, and it is
encoded again: what is left to guess are the lost samples alone. (Without that, means of draws of a Gaussian were one to two
standard deviations off at the ends of a gap, their variances twice to three times too large; see the test.) What is recalled
in the end is decoded, and every observed sample put back. A long sound is recalled in windows around its gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..signal import LemError, Signal
from ..transforms import Front
from . import tiles

Hold = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (estimates [R, 2C, F, L], item of each) -> estimates
Ask = Callable[[Signal, Hold], tuple[Signal, list[str]]]  # fragments of spectra -> (spectra, what was done)
APART = 1 << 40  # between the numbers of two windows of an item: each window has its own draws


class Windows(NamedTuple):
    """How many frames may be asked for at once.

    usual: as many as were learnt. fixed: no other number. reach: frames beyond which nothing matters to a frame.
    multiple: of which their number must be one.
    """

    usual: int
    fixed: bool = False
    reach: int = 0
    multiple: int = 1

    def length(self, gap: int) -> int:
        """Frames of the window round a gap of so many. LemError for a gap that does not fit."""
        if self.fixed:
            if gap > self.usual:
                raise LemError(f"a gap of {gap} frames, where the network sees {self.usual}; train a convolutional one")
            return self.usual
        most = max(self.usual, gap + 2 * self.reach)
        return -(-most // self.multiple) * self.multiple


def recalled(front: Front, fragment: Signal, ask: Ask, windows: Windows, samples: int = 0) -> tuple[Signal, list[str]]:
    """Sounds of which samples are lost, recalled: (batch, steps), of `samples` draws an item where it is not 0.

    front: of the spectra that `ask` knows, for sounds of any length; of its settings the rms is that of what is observed, and
    no frame is cut off. ask: fragments of spectra [n, 2C, F, frames], exact or lost, to n spectra or to n * samples; it may
    hold estimates to the observed samples. Raises LemError for fragments of which samples are not exact.
    """
    whole = tiles.framed(fragment)
    if whole.codes is not None or any(op["op"] != "mask" for op in whole.ops):
        named = next((op["op"] for op in whole.ops if op["op"] != "mask"), "bits")
        raise LemError(f"sounds that lost samples are recalled by spectra, not --{named}; recall them without --model")
    seen = np.ascontiguousarray(whole.observed())
    out = tiles.repeated(whole, samples) if samples else whole
    if seen.all():
        return replace(out, mask=None, ops=[]), ["nothing is lost"]
    data = np.where(seen, whole.data, 0).astype(np.float32)
    here, gain = _front(front, data, seen)
    spectrum, known = here.encode(data * gain), here.observed_frames(seen)
    mask = known.repeat(spectrum.shape[1] // known.shape[1], 1)[:, :, None]
    made = spectrum.repeat(samples or 1, 0)
    steps: list[str] = []
    for length, places in _grouped(~known.all(1), windows).items():
        part, spans = _windows(whole, spectrum, mask, places, length)
        held = [_Held(here, data[item] * gain[item], seen[item], span) for span in spans for item in span[:1]]
        answer, steps = ask(part, _holding(held, part.observed()))
        answers = answer.data.reshape(len(part), samples or 1, *answer.data.shape[1:])
        for (item, start, gap), window in zip(spans, answers):
            rows = slice(item * (samples or 1), (item + 1) * (samples or 1))
            made[rows, ..., gap] = window[..., gap.start - start : gap.stop - start]
    sound = here.decode(made) / gain.repeat(samples or 1, 0)
    sound = np.where(seen.repeat(samples or 1, 0), data.repeat(samples or 1, 0), sound)
    lost = int((~known.all(1)).sum())
    steps = [f"{lost} of {known.shape[0] * known.shape[2]} frames ({front.encoder}) see a lost sample", *steps]
    return replace(out, data=sound.astype(np.float32), mask=None, codes=None, ops=[]), steps


class _Held:
    """The frames of one gap, held to the observed samples of its sound [C, T], which is at the level of the spectra.

    All frames that see a lost sample belong to the gap, so what is decoded there depends on them alone; some frames more on
    either side are encoded with them, lest a frame of the gap sees the end of the piece.
    """

    def __init__(self, front: Front, sound: np.ndarray, seen: np.ndarray, span: tuple[int, int, slice]):
        _, self.start, self.gap = span
        frames, record = front.shape[1], front.record
        more = -(-record["n_fft"] // record["hop"]) if {"n_fft", "hop"} <= record.keys() else frames
        first, last = max(0, self.gap.start - more), min(frames, self.gap.stop + more)
        hop = record.get("hop", 1)
        begin, count = first * hop, (last - 1 - first) * hop
        count = sound.shape[-1] - begin if last == frames else count
        self.front = replace(front, samples=count)
        self.sound, self.seen = sound[:, begin : begin + count], seen[:, begin : begin + count]
        self.whole = self.front.encode(self.sound[None])
        self.within = slice(self.gap.start - first, self.gap.stop - first)

    def __call__(self, estimates: np.ndarray) -> np.ndarray:
        """The frames of the gap [R, 2C, F, G] of the windows' estimates [R, 2C, F, L]."""
        there = slice(self.gap.start - self.start, self.gap.stop - self.start)
        spectra = self.whole.repeat(len(estimates), 0)
        spectra[..., self.within] = estimates[..., there]
        sounds = np.where(self.seen, self.sound, self.front.decode(spectra))
        return self.front.encode(sounds.astype(np.float32))[..., self.within]


def _holding(held: list[_Held], mask: np.ndarray) -> Hold:
    """What holds estimates to the observed samples. Spectra that are not complex do not tell samples: they stay."""

    def hold(estimates: np.ndarray, items: np.ndarray) -> np.ndarray:
        out = np.array(estimates, np.float32)
        for item in np.unique(items):
            rows, one = items == item, held[item]
            there = slice(one.gap.start - one.start, one.gap.stop - one.start)
            out[rows, ..., there] = np.where(mask[item, ..., there], out[rows, ..., there], one(out[rows]))
        return out

    return hold if all(one.front.is_complex for one in held) else lambda estimates, items: estimates


def _front(front: Front, data: np.ndarray, seen: np.ndarray) -> tuple[Front, np.ndarray]:
    """(the front end for sounds of this length, whole, the gain [N, 1, 1] that brings what is observed to its rms)."""
    given = {"rms": None, "middle": None}
    asked = {name: value for name, value in given.items() if name in front.record}
    gain = np.ones((len(data), 1, 1), np.float32)
    if (rms := front.record.get("rms")) is not None:
        found = np.sqrt(np.square(data, dtype=np.float64).sum((1, 2)) / np.maximum(seen.sum((1, 2)), 1))
        gain = (rms / np.where(found > 0, found, rms)).astype(np.float32).reshape(gain.shape)
    return replace(front, samples=data.shape[-1], **asked), gain


def _grouped(lost: np.ndarray, windows: Windows) -> dict[int, list[tuple[int, int, slice, int]]]:
    """{frames of a window: [(item, its first frame, the gap, number of the gap in the item)]} of lost [N, frames]."""
    found: dict[int, list[tuple[int, int, slice, int]]] = {}
    for item, row in enumerate(lost):
        for k, (begin, end) in enumerate(_gaps(row, windows)):
            length = windows.length(end - begin)
            if not windows.fixed:
                length = min(length, -(-len(row) // windows.multiple) * windows.multiple)
            start = min(max(0, begin - (length - (end - begin)) // 2), max(0, len(row) - length))
            found.setdefault(length, []).append((item, start, slice(begin, end), k))
    return found


def _gaps(lost: np.ndarray, windows: Windows) -> Iterator[tuple[int, int]]:
    """(begin, end) of runs of lost frames; those that one window would see are one where it may be as wide."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lost.astype(np.int8), [0]])))
    runs = [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)]
    begin, end = runs[0] if runs else (0, 0)
    for first, last in runs[1:]:
        if first - end < windows.reach and not (windows.fixed and last - begin > windows.usual):
            end = last
            continue
        yield begin, end
        begin, end = first, last
    if runs:
        yield begin, end


def _windows(
    whole: Signal, spectrum: np.ndarray, mask: np.ndarray, places: list[tuple[int, int, slice, int]], length: int
) -> tuple[Signal, list[tuple[int, int, slice]]]:
    """(windows as fragments of spectra, (item, first frame, gap) of each). Beyond the end of a sound is silence."""
    data = np.zeros((len(places), *spectrum.shape[1:3], length), np.float32)
    seen = np.ones((len(places), *mask.shape[1:3], length), bool)
    for k, (item, start, _, _) in enumerate(places):
        part = spectrum[item, ..., start : start + length]
        data[k, ..., : part.shape[-1]] = part
        seen[k, ..., : part.shape[-1]] = mask[item, ..., start : start + length]
    index = np.array([whole.index[item] + APART * number for item, _, _, number in places], np.int64)
    data = np.where(seen, data, 0)
    made = Signal("spectrum", data, mask=seen, index=index, rate=whole.rate)
    return made, [(item, start, gap) for item, start, gap, _ in places]
