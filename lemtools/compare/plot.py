"""Which picture is drawn, and the contact sheet: original, fragment, recalled, difference, a row an item."""

import numpy as np

from ..signal import LemError, Signal
from .pairs import Pair
from .sheet import difference, sheet, sound_picture, vectors_picture

_GAIN = 8


def view(asked: str | None, kind: str, sheet: bool = False) -> str:
    """'sheet', 'pca' or 'umap': as asked, else what suits the kind. sheet: what only a sheet shows was asked for.

    LemError where it does not suit the kind, or what draws it is not installed.
    """
    if asked == "sheet" or (asked is None and (kind != "embedding" or sheet)):
        return "sheet"
    asked = asked or "pca"
    if kind != "embedding":
        raise LemError(f"--plot {asked} is for embedding, not {kind}")
    from .scatter import needed

    needed(asked)
    return asked


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
    """Collect up to `rows` items, then draw. fragments: None, or an iterable of signals paired by order."""

    def __init__(self, rows: int, fragments=None):
        self.rows, self.names, self.columns = (
            rows,
            [],
            {"original": [], "fragment": [], "recalled": [], "difference": []},
        )
        self.fragments = fragments
        if fragments is None:
            del self.columns["fragment"]

    def add(self, pair: Pair) -> None:
        """Take what of a batch still fits."""
        for a, b, name in zip(pair.a, pair.b, pair.names):
            if len(self.names) >= self.rows:
                return
            scale = float(np.abs(a).max()) if pair.kind not in ("image", "audio") else None
            one, other = (picture(pair.kind, x, pair.rate, scale) for x in (a, b))
            self.names.append(name)
            self.columns["original"].append(one)
            self.columns["recalled"].append(other)
            self.columns["difference"].append(_difference(pair, a, b, scale))

    def draw(self, target, notes: dict[str, list[str]] | None = None) -> None:
        """Write the sheet to an open binary file as PNG."""
        if self.fragments is not None:
            self.columns["fragment"] = self._fragments()
        columns = dict(self.columns)
        columns[f"{_GAIN} |recalled - original|"] = columns.pop("difference")
        sheet(columns, target, row_names=self.names, notes=notes)

    def _fragments(self) -> list[np.ndarray | None]:
        out: list[np.ndarray | None] = []
        for signal in self.fragments:
            for item in signal.data:
                if len(out) == len(self.names):
                    return out
                out.append(_shown(signal, item))
        return out + [None] * (len(self.names) - len(out))


def _shown(signal: Signal, item: np.ndarray) -> np.ndarray:
    return picture(signal.kind, item, signal.rate)
