"""Sounds made alike before they are encoded: one channel, one rate, one length, each where it is asked for."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..signal import LemError, Signal


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
        """How many that are."""
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
    if rate != round(rate):
        raise LemError(f"a sample rate of {rate:g} Hz is no whole number: --resample cannot change it")
    import torch
    from torchaudio.functional import resample

    found = resample(
        torch.from_numpy(np.ascontiguousarray(sound, np.float32)), round(rate), wanted, lowpass_filter_width=64
    )
    return np.asarray(found.numpy(), np.float32)


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
