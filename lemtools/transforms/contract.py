"""The front end: what made a spectrum, as one small frozen object that goes both ways."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from ..catalogue import LemError


@dataclasses.dataclass(frozen=True)
class Front(ABC):
    """What made a spectrum of a sound: all that is needed to go both ways.

    encoder: of its row in the catalogue. rate: of the sound, in Hz. samples: of the sound that was encoded.
    A subclass adds its settings as fields, checks them in `__post_init__` (a LemError for one that cannot be), and is
    the fact `front` of the row. `dataclasses.replace(front, samples=...)` is the same front end for another length.

    A complex spectrum is [N, 2C, F, frames]: channels 2c and 2c + 1 are the real and the imaginary part of channel c of
    the sound. Row 0 is the lowest frequency.
    """

    encoder: str
    rate: float
    samples: int

    def __post_init__(self) -> None:
        self._number("rate", self.rate, 0)
        self._whole("samples", 1)

    @property
    def record(self) -> dict[str, Any]:
        """The same as JSON, for a history or a checkpoint; `transforms.front.of` makes the object of it again."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def restored(cls, record: Mapping[str, Any]) -> Self:
        """The front end of a record. LemError where a setting is absent or cannot be."""
        fields = dataclasses.fields(cls)
        if absent := [f.name for f in fields if f.default is dataclasses.MISSING and f.name not in record]:
            raise LemError(f"damaged record of {record.get('encoder')}: without its {', '.join(absent)}")
        return cls(**{f.name: record[f.name] for f in fields if f.name in record})

    @abstractmethod
    def encode(self, sound: np.ndarray) -> np.ndarray:
        """Spectra float32 [N, 2C, F, frames] ([N, C, F, frames] where they are not complex) of sounds float32 [N, C, samples]."""

    @abstractmethod
    def decode(self, spectrum: np.ndarray) -> np.ndarray:
        """Sounds float32 [N, C, samples that `sounding` says] of spectra. LemError for spectra of another shape."""

    def adjoint(self, spectrum: np.ndarray) -> np.ndarray:
        """The transpose of `encode`, taken as a matrix of real numbers: spectra -> float32 [N, C, samples].

        What least squares of part of a spectrum need. LemError where `encode` is not linear.
        """
        raise LemError(f"{self.encoder} is not linear in the sound")

    @property
    def plain(self) -> Self | None:
        """The linear transform in it, that `adjoint` is of: without what is not linear. None where there is none."""
        return self if self.is_complex else None

    def expanded(self, spectrum: np.ndarray) -> np.ndarray:
        """Spectra as `plain` has them; the very same array where that is no other."""
        return spectrum

    def squeezed(self, spectrum: np.ndarray) -> np.ndarray:
        """Spectra of `plain` as this front end has them: the inverse of `expanded`."""
        return spectrum

    @property
    def emphasis(self) -> np.ndarray:
        """float32 [F]: weights of the rows of `plain` under which a spectrum is about as large as its sound, times a number."""
        return np.ones(self.shape[0], np.float32)

    def cover(self, observed: np.ndarray) -> np.ndarray | None:
        """float64 [samples]: how much of each sample the coefficients `observed` (weights [F, frames], 0 to 1) hold, by the
        diagonal of adjoint(emphasis * observed * encode) of `plain`; None where that is not known."""
        return None

    @property
    def sounding(self) -> int:
        """Samples of what `decode` makes: those that were encoded, but for what was cut off."""
        return self.samples

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(F, frames) of a spectrum."""

    @property
    @abstractmethod
    def is_complex(self) -> bool:
        """Whether channels are pairs of a real and an imaginary part."""

    @property
    @abstractmethod
    def hz(self) -> np.ndarray:
        """float64 [F]: centre frequencies of the rows, ascending. LemError where rows are no frequencies."""

    @property
    @abstractmethod
    def frame_seconds(self) -> float:
        """From one frame to the next, in seconds."""

    @abstractmethod
    def observed_frames(self, observed: np.ndarray) -> np.ndarray:
        """bool [..., frames] of bool [..., samples]: frames whose every sample was observed."""

    @property
    def zero(self) -> np.ndarray:
        """bool [2, F] ([1, F] where it is not complex): parts that are 0 for every sound, and so count in nothing."""
        return np.zeros((2 if self.is_complex else 1, self.shape[0]), bool)

    def check_sound(self, sound: np.ndarray) -> None:
        """LemError for sounds that are not [N, C, samples]."""
        if sound.ndim != 3 or sound.shape[2] != self.samples:
            raise LemError(
                f"sounds {list(sound.shape)} for a front end of [N, C, {self.samples}]; --length makes them so"
            )

    def check_spectrum(self, spectrum: np.ndarray) -> None:
        """LemError for spectra that this front end did not make."""
        pairs = 2 if self.is_complex else 1
        if spectrum.ndim != 4 or spectrum.shape[2:] != self.shape or spectrum.shape[1] % pairs:
            wanted = [f"{pairs}C" if pairs > 1 else "C", *self.shape]
            raise LemError(
                f"spectra {list(spectrum.shape[1:])} are not the [{', '.join(map(str, wanted))}] that their history says "
                f"{self.encoder} made; decode whole ones, of a fragment what lem-reconstruct recalls"
            )

    def _whole(self, name: str, low: int, high: float = float("inf")) -> None:
        value = getattr(self, name)
        if type(value) is not int or not low <= value <= high:
            limits = f"from {low}" + (f" to {high:g}" if high < float("inf") else "")
            raise LemError(f"{self.encoder}: {name} {value!r}: it is a whole number {limits}")

    def _number(self, name: str, value: Any, above: float, high: float = float("inf")) -> None:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not above < value <= high
            or value == high > 1e300
        ):
            limits = f"above {above:g}" + (f", to {high:g}" if high < float("inf") else "")
            raise LemError(f"{self.encoder}: {name} {value!r}: it is a number {limits}")
