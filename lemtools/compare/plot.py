"""The picture of a comparison: a contact sheet, or the points and spectra of two sets of embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

import numpy as np

from ..signal import LemError, Signal
from ..transforms import Front
from .comparison import Comparison
from .pairs import Pair
from .sheet import difference, sheet, vectors_picture
from .spectrogram import CELL, loudest, of_sound, of_spectrum
from .strips import WIDTH, strips
from .summary import Result

ROWS = 8
_GAIN = 8
_SPECTRAL = ("audio", "spectrum")  # kinds whose error is drawn as they are


def picture(
    kind: str, item: np.ndarray, rate: float | None, scale: float | None = None, front: Front | None = None
) -> np.ndarray:
    """One item as a uint8 picture [H, W] or [H, W, 3]: images as they are, sounds and complex spectra as spectrograms,
    vectors a strip. scale: of spectra the power, of others the magnitude that is full."""
    if kind == "image":
        pixels = item if item.dtype == np.uint8 else np.rint(np.clip(item, 0, 1) * 255).astype(np.uint8)
        return pixels[0] if len(pixels) == 1 else pixels[:3].transpose(1, 2, 0)
    if kind == "audio":
        return of_sound(item, rate)
    if _complex(kind, item, front):
        return of_spectrum(item, loudest(item) if scale is None else scale, front)
    item = item[:, ::-1] if kind == "spectrum" else item  # row 0 below, as of complex spectra
    flat = item.reshape(-1, item.shape[-1]) if item.ndim > 1 else item
    return vectors_picture(flat.astype(np.float32), scale=scale)


def _complex(kind: str, item: np.ndarray, front: Front | None) -> bool:
    """Whether it is a spectrum whose channels are real and imaginary parts."""
    return kind == "spectrum" and (front.is_complex if front else len(item) % 2 == 0)


def _scale(kind: str, item: np.ndarray, front: Front | None) -> float | None:
    """What is full in all pictures of one row; None for kinds that have a range."""
    if kind in ("image", "audio"):
        return None
    return loudest(item) if _complex(kind, item, front) else float(np.abs(item).max())


def _difference(pair: Pair, a: np.ndarray, b: np.ndarray, scale: float | None) -> np.ndarray:
    """The error as a picture: of sounds and spectra on the colours of the others, else its magnitude, enlarged so that
    small errors show."""
    if pair.kind == "image":
        return difference(picture("image", a, None), picture("image", b, None), gain=_GAIN)
    error = b.astype(np.float32) - a.astype(np.float32)
    if pair.kind in _SPECTRAL:
        return picture(pair.kind, error, pair.rate, scale, pair.front)
    return picture(pair.kind, np.abs(_GAIN * error), pair.rate, scale)


class Plot:
    """Collect pairs as a comparison does, then draw.

    view: 'sheet' (a row for each of the first `rows` items: original, fragment, recalled, difference), 'pca' or 'umap';
    None: sheet, but of embeddings pca, unless rows or fragments ask for a sheet. fragments: of the originals, by order.
    """

    def __init__(self, view: str | None = None, rows: int | None = None, fragments: Iterable[Signal] | None = None):
        self.view, self.fragments, self.rows = view, fragments, rows or ROWS
        if view is None and (rows or fragments is not None):
            self.view = "sheet"
        self.names: list[str] = []
        self.kind, self.scales, self.front, self.timed = "", [], None, False
        self.columns = {name: [] for name in ("original", "fragment", "recalled", "difference")}
        if fragments is None:
            del self.columns["fragment"]

    def add(self, pair: Pair, comparison: Comparison) -> None:
        """Take what is shown of a batch, before the comparison measures it. LemError where the view does not suit it."""
        if pair.a.shape != pair.b.shape and pair.boundaries is None:
            shapes = f"original {list(pair.a.shape[1:])}, recalled {list(pair.b.shape[1:])}"
            raise LemError(f"{pair.names[0]}: {shapes}; a picture is of two sides of one width")
        if self.view is None:
            self.view = "pca" if pair.kind == "embedding" else "sheet"
        if self.view != "sheet":
            from .scatter import needed

            if pair.kind != "embedding":
                raise LemError(f"--plot {self.view} is for embedding, not {pair.kind}")
            needed(self.view)
            comparison.keep = True
            return
        self.timed = pair.boundaries is not None
        if self.timed and self.fragments is not None:
            raise LemError("--fragment does not suit labels with times: leave it out")
        for item, name in zip(pair.boundaries or (), pair.names):
            if len(self.names) < self.rows:
                self._row(name, *strips(item))
        for a, b, name in () if self.timed else zip(pair.a, pair.b, pair.names):
            if len(self.names) >= self.rows:
                return
            self.kind, self.front, scale = pair.kind, pair.front, _scale(pair.kind, a, pair.front)
            self.scales.append(scale)
            one, other = (picture(pair.kind, x, pair.rate, scale, pair.front) for x in (a, b))
            self._row(name, one, other, _difference(pair, a, b, scale))

    def _row(self, name: str, original: np.ndarray, recalled: np.ndarray, apart: np.ndarray) -> None:
        self.names.append(name)
        for column, drawn in (("original", original), ("recalled", recalled), ("difference", apart)):
            self.columns[column].append(drawn)

    def draw(self, file: IO[bytes], comparison: Comparison, results: list[Result]) -> None:
        """Write the picture to an open binary file as PNG."""
        if self.view != "sheet":
            from .scatter import draw

            try:
                return draw(file, comparison.spectra(), self.view)
            except LemError:
                raise
            except ValueError as error:
                raise LemError(f"--plot {self.view}: {error}") from error
        if self.fragments is not None:
            self.columns["fragment"] = self._fragments()
        columns = dict(self.columns)
        spectral = self.kind in _SPECTRAL
        head = "recalled - original" if spectral else f"{_GAIN} |recalled - original|"
        head = "of another class" if self.timed else head
        columns[head] = columns.pop("difference")
        notes = {"recalled": self._captions(results)}
        sheet(
            columns,
            file,
            row_names=self.names,
            notes=notes,
            **({"cell": CELL if spectral else WIDTH} if spectral or self.timed else {}),
        )

    def _captions(self, results: list[Result]) -> list[str]:
        """One measurement of each item shown: decibels before raw errors."""
        each = [result for result in results if len(result.values)]
        shown = next((result for result in each if result.unit == "dB"), results[0])
        values = dict(zip(shown.items, shown.values))
        return [f"{shown.name} {values[name]:.4g} {shown.unit}" if name in values else "" for name in self.names]

    def _fragments(self) -> list[np.ndarray | None]:
        out: list[np.ndarray | None] = []
        for signal in self.fragments:
            for item in signal.data:
                if len(out) == len(self.names):
                    return out
                out.append(picture(signal.kind, item, signal.rate, self.scales[len(out)], self.front))
        return out + [None] * (len(self.names) - len(out))
