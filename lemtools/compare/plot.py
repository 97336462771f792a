"""The picture of a comparison: a contact sheet, or the points and spectra of two sets of embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO

import numpy as np

from ..signal import LemError, Signal
from .comparison import Comparison
from .pairs import Pair
from .sheet import difference, sheet, sound_picture, vectors_picture
from .summary import Result

ROWS = 8
_GAIN = 8


def picture(kind: str, item: np.ndarray, rate: float | None, scale: float | None = None) -> np.ndarray:
    """One item as a uint8 picture [H, W] or [H, W, 3]: images as they are, sound as a spectrogram, vectors a strip."""
    if kind == "image":
        pixels = item if item.dtype == np.uint8 else np.rint(np.clip(item, 0, 1) * 255).astype(np.uint8)
        return pixels[0] if len(pixels) == 1 else pixels[:3].transpose(1, 2, 0)
    if kind == "audio":
        return sound_picture(item, rate)
    flat = item.reshape(-1, item.shape[-1]) if item.ndim > 1 else item
    return vectors_picture(flat.astype(np.float32), scale=scale)


def _difference(pair: Pair, a: np.ndarray, b: np.ndarray, scale: float | None) -> np.ndarray:
    """The magnitude of the error as a picture, enlarged so that small errors show."""
    if pair.kind == "image":
        return difference(picture("image", a, None), picture("image", b, None), gain=_GAIN)
    error = _GAIN * (b.astype(np.float32) - a.astype(np.float32))
    return picture(pair.kind, error if pair.kind == "audio" else np.abs(error), pair.rate, scale)


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
        self.columns = {name: [] for name in ("original", "fragment", "recalled", "difference")}
        if fragments is None:
            del self.columns["fragment"]

    def add(self, pair: Pair, comparison: Comparison) -> None:
        """Take what is shown of a batch, before the comparison measures it. LemError where the view does not suit it."""
        if self.view is None:
            self.view = "pca" if pair.kind == "embedding" else "sheet"
        if self.view != "sheet":
            from .scatter import needed

            if pair.kind != "embedding":
                raise LemError(f"--plot {self.view} is for embedding, not {pair.kind}")
            needed(self.view)
            comparison.keep = True
            return
        for a, b, name in zip(pair.a, pair.b, pair.names):
            if len(self.names) >= self.rows:
                return
            scale = float(np.abs(a).max()) if pair.kind not in ("image", "audio") else None
            one, other = (picture(pair.kind, x, pair.rate, scale) for x in (a, b))
            self.names.append(name)
            self.columns["original"].append(one)
            self.columns["recalled"].append(other)
            self.columns["difference"].append(_difference(pair, a, b, scale))

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
        columns[f"{_GAIN} |recalled - original|"] = columns.pop("difference")
        sheet(columns, file, row_names=self.names, notes={"recalled": self._captions(results)})

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
                out.append(picture(signal.kind, item, signal.rate))
        return out + [None] * (len(self.names) - len(out))
