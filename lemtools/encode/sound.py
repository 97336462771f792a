"""Sounds made alike before they are encoded: one channel, one rate, one length, each where it is asked for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..signal import LemError, Signal

MOST = 1 << 19  # values of a filter: the product of the two rates, each over their common factor
ZEROS = 64  # of the sinc on each side of its middle
BLOCK = 1 << 20  # samples that are resampled, or come out, at a time
LONGEST = 1 << 31  # samples of a sound that is made longer


def near(rate: int, wanted: int) -> int:
    """The rate nearest to the one wanted that is few enough steps of another from it."""
    return min(
        (k for k in range(max(1, wanted - 2000), wanted + 2001) if rate * k // math.gcd(rate, k) ** 2 <= MOST),
        key=lambda k: abs(k - wanted),
        default=rate,
    )


class Length(NamedTuple):
    """What --length S[:pad|crop] asks for: seconds; pad: shorter sounds get zeros behind them, else they are refused;
    crop: of longer ones the first S seconds are taken, else they are refused."""

    seconds: float
    pad: bool = True
    crop: bool = True

    @classmethod
    def read(cls, text: str) -> Length:
        """LemError for what is no length."""
        number, _, way = str(text).partition(":")
        try:
            seconds = float(number)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < math.inf or way not in ("", "pad", "crop"):
            raise LemError(f"--length {text}: it takes S, S:pad or S:crop, with S seconds above 0, as in 1.5 or 2:pad")
        return cls(seconds, way in ("", "pad"), way in ("", "crop"))

    def samples(self, rate: float) -> int:
        """How many that are. LemError for more than any sound has."""
        if self.seconds * rate > LONGEST:
            raise LemError(f"--length {self.seconds:g} at {rate:g} Hz: at most {LONGEST / rate:.4g} s")
        return max(1, round(self.seconds * rate))

    def applied(self, sound: np.ndarray, rate: float) -> np.ndarray:
        """Sounds [N, C, T] of that length. LemError where they are too short or too long for what is allowed."""
        wanted, there = self.samples(rate), sound.shape[-1]
        if there < wanted:
            if not self.pad:
                raise LemError(
                    f"{there / rate:.4g} s, shorter than --length {self.seconds:g}:crop; {self.seconds:g}:pad fills up with silence"
                )
            return np.pad(sound, ((0, 0), (0, 0), (0, wanted - there)))
        if there > wanted and not self.crop:
            raise LemError(
                f"{there / rate:.4g} s, longer than --length {self.seconds:g}:pad; {self.seconds:g}:crop takes its beginning"
            )
        return sound[..., :wanted]


def resampled(sound: np.ndarray, rate: float, wanted: int) -> np.ndarray:
    """float32 [N, C, ceil(T * wanted / rate)], by torchaudio's windowed sinc. LemError for a rate that is no whole number."""
    if rate == wanted:
        return sound
    return np.concatenate([*resampled_pieces([sound], rate, wanted)], axis=-1)


def resampled_pieces(pieces: Iterable[np.ndarray], rate: float, wanted: int) -> Iterator[np.ndarray]:
    """`resampled` of a sound that comes in pieces [N, C, t], in pieces, to the last digit, wherever it is cut: what is resampled at a
    time begins at the same places of the sound, and has beside it what the filter reaches."""
    if rate == wanted:
        yield from pieces
        return
    if rate != round(rate):
        raise LemError(f"a sample rate of {rate:g} Hz is no whole number: --resample cannot change it")
    part = math.gcd(round(rate), wanted)
    before, after = round(rate) // part, wanted // part  # so many samples become so many
    if (taps := before * after) > MOST:
        raise LemError(
            f"{rate:g} and {wanted} Hz have hardly a factor in common, and so need a filter of {taps:.2g} values or more; "
            f"--resample {near(round(rate), wanted)} does not"
        )
    step = before * max(1, BLOCK // max(before, after))
    side = before * (2 + math.ceil(ZEROS / min(before, after)))
    held, at = np.zeros((0, 0, 0), np.float32), 0  # of what is held `at` samples come before those that are due
    for piece in itertools.chain(pieces, [None]):
        if piece is not None:
            held = np.concatenate([held, piece], axis=-1) if held.size else piece
        while held.shape[-1] - at >= (1 if piece is None else step + side):
            count = min(step, held.shape[-1] - at)
            found = _filtered(held[..., : at + count + side], before, after)
            yield found[..., at // before * after :][..., : -(-count * after // before)]
            gone = max(0, at + count - side)
            held, at = held[..., gone:], at + count - gone


def _filtered(sound: np.ndarray, before: int, after: int) -> np.ndarray:
    """Sounds [N, C, T] resampled, to the next whole number of `after` samples; silence lies beyond both ends."""
    import torch
    from torchaudio.functional import resample

    whole = np.pad(sound, ((0, 0), (0, 0), (0, -sound.shape[-1] % before)))
    found = resample(
        torch.from_numpy(np.asarray(whole, np.float32, order="C")), before, after, lowpass_filter_width=ZEROS
    )
    return np.asarray(found.numpy(), np.float32)


class Forward:
    """A sequence [T] that comes in pieces, sliced as an array is: what lies before the last slice is let go, and where it is asked for
    once more all is made anew. pieces: () -> its pieces [t] from the beginning."""

    def __init__(self, pieces: Callable[[], Iterator[np.ndarray]], count: int):
        self._pieces, self._count = pieces, count
        self._anew()

    def _anew(self) -> None:
        self._coming, self._begin, self._held = self._pieces(), 0, np.zeros(0, np.float32)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: slice) -> np.ndarray:
        begin, end, _ = part.indices(self._count)
        if begin < self._begin:
            self._anew()
        held = [self._held]
        there = self._begin + len(self._held)
        while there < end:
            piece = next(self._coming, None)
            if piece is None:
                raise LemError("a sound that became shorter while it was read")
            there += len(piece)
            if there <= begin:
                self._begin, held = there, []
            else:
                held.append(piece)
        whole = np.concatenate([*held, np.zeros(0, np.float32)])
        self._held, self._begin = whole[max(0, begin - self._begin) :], max(self._begin, begin)
        return self._held[: max(0, end - begin)]


class Alike(NamedTuple):
    """What all sounds of an encoding are made: mono: the mean of their channels; resample: a rate in Hz; length."""

    mono: bool = False
    resample: int | None = None
    length: Length | None = None

    @classmethod
    def read(cls, mono: bool, resample: int | None, length: str | None) -> Alike:
        """From the options as they are written. LemError for what is no length."""
        return cls(mono, resample, None if length is None else Length.read(length))

    def sizes(self, samples: int, rate: float) -> tuple[int, float]:
        """(samples, rate) of what a sound of that many samples at that rate is made."""
        if self.resample and rate != self.resample:
            part = math.gcd(round(rate), self.resample)
            samples, rate = -(-samples * (self.resample // part) // (round(rate) // part)), float(self.resample)
        return (self.length.samples(rate) if self.length else samples), rate

    def applied(self, signal: Signal) -> Signal:
        """The batch of sounds as asked for. LemError for sounds without their rate."""
        if signal.rate is None:
            raise LemError("a sound without its sample rate; write it as a WAV, or give rate=HZ in Python")
        sound, rate = signal.data, float(signal.rate)
        if self.mono and sound.shape[1] > 1:
            sound = sound.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        if self.resample:
            sound, rate = resampled(sound, rate, self.resample), float(self.resample)
        if self.length:
            sound = self.length.applied(sound, rate)
        return signal if sound is signal.data and rate == signal.rate else replace(signal, data=sound, rate=rate)
