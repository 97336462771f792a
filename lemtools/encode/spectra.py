"""Sounds as spectra, and back, each by its front end (transforms)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..catalogue import listed, loaded
from ..catalogue.encoders import ENCODERS
from ..signal import LemError, Signal
from ..stream import MAX_BYTES
from ..transforms import Front, of, stft
from .contract import Encoder
from .sound import Alike


@dataclass(kw_only=True, eq=False)
class Spectra(Encoder):
    """Audio [N, C, T] <-> spectrum, by the front end that the row of the catalogue names. Its record is in the history.

    mono, resample, length: what sounds are made before. Fields of subclasses are what their front ends are asked for.
    """

    mono: bool = False
    resample: int | None = None
    length: str | None = None

    def __post_init__(self) -> None:
        self.alike = Alike.read(self.mono, self.resample, self.length)
        self.settings = self.chosen()
        self.shapes: set[tuple[int, float, int]] = set()  # (samples, rate, channels) of what was encoded

    @abstractmethod
    def chosen(self) -> dict[str, Any]:
        """Settings of the front end. LemError for what cannot be, before any sound is read."""

    def front(self, samples: int, rate: float) -> Front:
        """The front end for sounds of that many samples."""
        made: Front = loaded(ENCODERS[self.name].front)(encoder=self.name, samples=samples, rate=rate, **self.settings)
        return made

    def record(self, signal: Signal) -> dict:
        return self.front(*self.alike.sizes(signal.data.shape[-1], float(signal.rate or 0))).record

    def encode(self, signal: Signal) -> list[Signal]:
        sound = self.alike.applied(signal)
        front = self.front(sound.data.shape[-1], float(sound.rate or 0))
        rows, frames = front.shape
        if (large := 4 * (1 + front.is_complex) * sound.data.shape[1] * rows * frames) > MAX_BYTES:
            raise LemError(f"{large} bytes of spectrum a sound; give a larger --hop, or --length S:crop")
        with np.errstate(over="ignore", invalid="ignore"):
            data = front.encode(np.ascontiguousarray(sound.data, np.float32))
        if not np.isfinite(data).all():
            raise LemError(
                "its spectrum has values beyond the largest 32-bit float; make the sound quieter, or --rms smaller"
            )
        rate = float(sound.rate or 0)
        self.shapes.add((sound.data.shape[-1] / (rate or 1), rate, sound.data.shape[1]))
        return [replace(sound, kind="spectrum", data=data)]

    def decode(self, signal: Signal, record: dict) -> list[Signal]:
        if not record:
            raise LemError(f"nothing in its history says how {self.name} made it; what lem-encode makes says it")
        front = of(record)
        if signal.rate is not None and signal.rate != front.rate:
            raise LemError(
                f"a spectrum at {signal.rate:g} Hz whose record says {front.rate:g} Hz; one of the two was changed"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            data = front.decode(signal.data)
        if not np.isfinite(data).all():
            raise LemError(
                "decodes to values that are not finite numbers; its coefficients are too large, or not finite"
            )
        return [replace(signal, kind="audio", data=data, rate=float(front.rate), depth=None)]

    def remark(self) -> str | None:
        """That sounds differ, where they do: they cannot be one batch."""
        asked = {"lengths": "--length S", "rates": "--resample HZ", "numbers of channels": "--mono"}
        apart = {what: len(set(values)) for what, values in zip(asked, zip(*self.shapes)) if len(set(values)) > 1}
        if not apart:
            return None
        units, ways = listed(f"{count} {what}" for what, count in apart.items()), listed(asked[what] for what in apart)
        return f"sounds of {units}, each encoded as it is; {ways} make{'s' * (len(apart) == 1)} them alike"


PRESETS: dict[str, dict[str, Any]] = {
    # clips as els-audio's network sees them; its random gain is undone by its own normalisation
    "els-audio": {"n_fft": 1024, "hop": 256, "window_fn": "hann", "rms": 0.2, "middle": 173},
}


@dataclass(kw_only=True, eq=False)
class Short(Spectra):
    """By a front end that looks through short windows."""

    n_fft: int | None = None
    hop: int | None = None
    window_fn: str | None = None
    rms: float | None = None
    middle: int | None = None

    def usual(self) -> dict[str, Any]:
        """What is taken where nothing is given; without a hop that is a quarter of the window."""
        return {"n_fft": 1024, "window_fn": "hann"}

    def chosen(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in ("n_fft", "hop", "window_fn", "rms", "middle")}
        found = self.usual() | {name: value for name, value in given.items() if value is not None}
        found = {"hop": max(1, found["n_fft"] // 4), **found}
        stft.check(found["n_fft"], found["hop"], found["window_fn"])
        return found


@dataclass(kw_only=True, eq=False)
class STFT(Short):
    """Audio [N, C, T] <-> spectrum [N, 2C, n_fft / 2 + 1, frames], by transforms.short.ShortTime."""

    name = "stft"
    preset: str | None = None
    compress: float = 1

    def usual(self) -> dict[str, Any]:
        return super().usual() | (PRESETS[self.preset] if self.preset else {})

    def chosen(self) -> dict[str, Any]:
        return super().chosen() | {"compress": float(self.compress)}


@dataclass(kw_only=True, eq=False)
class MorletRows(Spectra):
    """Audio [N, C, T] <-> spectrum [N, 2C, F, frames], by transforms.morlet.Morlet."""

    name = "morlet"
    voices: int = 24
    lowest: float = 20
    hop: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.front(1 << 21, 44100.0)  # what cannot be is refused at once

    def chosen(self) -> dict[str, Any]:
        return {"voices": self.voices, "lowest": float(self.lowest), "hop": self.hop or 1}


@dataclass(kw_only=True, eq=False)
class Mel(Short):
    """Audio [N, C, T] <-> spectrum [N, C, bands, frames], by transforms.bands.Mel; sounds come back with other phases."""

    name = "mel"
    bands: int = 80

    def chosen(self) -> dict[str, Any]:
        return super().chosen() | {"bands": self.bands}


class LogMel(Mel):
    """The same, of logarithms."""

    name = "log-mel"


@dataclass(kw_only=True, eq=False)
class MFCC(Mel):
    """Audio [N, C, T] <-> spectrum [N, C, coefficients, frames], by transforms.bands.MFCC."""

    name = "mfcc"
    coefficients: int = 20

    def chosen(self) -> dict[str, Any]:
        if self.coefficients > self.bands:
            raise LemError(
                f"--coefficients {self.coefficients}: of {self.bands} --bands there are no more than {self.bands}"
            )
        return super().chosen() | {"coefficients": self.coefficients}
