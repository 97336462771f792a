"""A comparison as one HTML file: numbers, contact sheet, spectra. It refers to nothing outside and runs no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import IO

import numpy as np

from ..signal import Signal
from .comparison import Comparison
from .pairs import Pair
from .plot import Plot
from .summary import Result

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #202020; max-width: 75em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; }
th, td { padding: .2em .9em; text-align: left; border-bottom: 1px solid #ddd; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
img, svg { max-width: 100%; height: auto; }
.quiet { color: #707070; }
"""
_BLUE, _ORANGE = "#2152a4", "#d55e00"
_BANDS = 64


class Report:
    """Collect pairs as a comparison does, then write the page. sides: what the originals and the recalled are called.

    rows, fragments: as of a contact sheet, see Plot.
    """

    def __init__(self, sides: Iterable[str] = (), rows: int | None = None, fragments: Iterable[Signal] | None = None):
        self.sides, self.sheet, self.bands = tuple(sides), Plot("sheet", rows, fragments), Bands()

    def add(self, pair: Pair, comparison: Comparison) -> None:
        """Take what is shown of a batch, before the comparison measures it."""
        self.sheet.add(pair, comparison)
        self.bands.add(pair)
        comparison.keep |= pair.kind == "embedding"

    def draw(self, file: IO[bytes], comparison: Comparison, results: list[Result]) -> None:
        """Write the page to an open binary file."""
        picture = io.BytesIO()
        self.sheet.draw(picture, comparison, results)
        image = base64.b64encode(picture.getvalue()).decode()
        notes = "".join(f'<p class="quiet">{escape(note)}</p>' for note in comparison.notes(results))
        shown, most = len(self.sheet.names), max(len(result.items) for result in results)
        few = f"{shown} of {most} items" if shown < most else f"{most} item{'s' * (most > 1)}"
        called = "".join(f"<br>{word}: {escape(name)}" for word, name in zip(("original", "recalled"), self.sides))
        page = (
            f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>lem-compare</title>\n'
            f"<style>{_STYLE}</style>\n<h1>lem-compare</h1>\n<p>What came back of a memory.{called}</p>\n<h2>Numbers</h2>\n{_numbers(results)}\n{notes}\n"
            f"<h2>Items</h2>\n<p>{few}.</p>\n"
            f'<img alt="Contact sheet: a row an item" src="data:image/png;base64,{image}">\n{self._spectra(comparison)}\n'
        )
        file.write(page.encode("utf-8", "backslashreplace"))

    def _spectra(self, comparison: Comparison) -> str:
        """The section of the spectra; empty for what has none."""
        if comparison.kind == "embedding":
            try:
                curves = [s.eigenvalues for s in comparison.spectra()]
            except ValueError as error:
                return f'<h2>Spectra</h2>\n<p class="quiet">{escape(str(error))}</p>'
            ranks, name = np.arange(1, 1 + len(curves[0])), "Eigenvalues of both covariances, in descending order."
            return _section(name, chart(ranks, curves, "i", "eigenvalue i", log=True))
        if (found := self.bands.means()) is None:
            return ""
        unit, x = self.bands.unit(), (np.arange(_BANDS) + 0.5) / _BANDS / 2
        x = x * (max(self.bands.rates) if unit == "Hz" else 1)
        return _section("Mean power of both sides by frequency.", chart(x, found, unit, "power"))


class Bands:
    """Mean power of images and sounds of any size in equal bands, from 0 to half a cycle per pixel or sample."""

    def __init__(self):
        self.count, self.power = np.zeros(_BANDS), np.zeros((2, _BANDS))
        self.rates: set[float | None] = set()

    def add(self, pair: Pair) -> None:
        """Take in a batch; one of another kind adds nothing."""
        if pair.kind not in ("image", "audio"):
            return
        self.rates.add(pair.rate)
        axes = (1, 2) if pair.kind == "image" else (1,)
        for one in zip(pair.a, pair.b):
            for side, item in enumerate(one):
                x = item.astype(np.float64) / (255 if item.dtype == np.uint8 else 1)
                power = np.abs(np.fft.rfftn(x - x.mean(axes, keepdims=True), axes=axes)) ** 2 / x[0].size
                place = np.fft.rfftfreq(x.shape[-1])
                if pair.kind == "image":
                    place = np.hypot(np.fft.fftfreq(x.shape[1])[:, None], place)
                # the corners of an image lie beyond the last band, and its mean in none
                band = np.where(place > 0, 2 * _BANDS * place, 2 * _BANDS - 1).astype(int).ravel()
                self.power[side] += np.bincount(band, power.mean(0).ravel(), 2 * _BANDS)[:_BANDS]
                self.count += np.bincount(band, minlength=2 * _BANDS)[:_BANDS] / 2

    def unit(self) -> str:
        """Of the frequency: Hz for sounds of one rate."""
        if len(self.rates) == 1 and None not in self.rates:
            return "Hz"
        return "cycles per pixel or sample"

    def means(self) -> np.ndarray | None:
        """[2, bands] of the originals and of the recalled; None where nothing was added. nan for a band that is empty."""
        with np.errstate(invalid="ignore"):
            return self.power / self.count if self.count.any() else None


def _numbers(results: list[Result]) -> str:
    rows = []
    for r in results:
        ends = "" if r.low is None else f"{r.low:.6g} to {r.high:.6g}"
        numbers = "".join(
            f'<td class="number">{escape(x)}</td>' for x in (f"{r.mean:.6g} {r.unit}".strip(), ends, str(len(r.items)))
        )
        rows.append(f"<tr><td>{escape(r.name)}</td>{numbers}<td>{r.better}</td><td>{escape(r.help)}</td></tr>")
    heads = "".join(f"<th>{head}</th>" for head in ("metric", "mean", "95 % interval", "items", "better", "what it is"))
    return f"<table>\n<tr>{heads}</tr>\n" + "\n".join(rows) + "\n</table>"


def _section(what: str, picture: str) -> str:
    return f"<h2>Spectra</h2>\n<p>{what}</p>\n{picture}"


def chart(x: np.ndarray, curves: Iterable[np.ndarray], across: str, up: str, log: bool = False) -> str:
    """Curves [n] of the originals and of the recalled over x [n] as SVG, on a logarithmic axis; log: so is x.

    Values that have no logarithm are left out.
    """
    curves = [np.asarray(y, np.float64)[: len(x)] for y in curves]
    kept = [np.flatnonzero(y > 0) for y in curves]
    low, high = _ends(np.concatenate([np.log10(y[i]) for y, i in zip(curves, kept)]))
    place = np.log10(x) if log else np.asarray(x, np.float64)
    left, right = _ends(place) if log else (0.0, float(place.max()) * len(x) / (len(x) - 0.5))
    width, height = 560, 300

    def across_to(v: float) -> float:
        return 80 + width * (v - left) / (right - left)

    def up_to(v: float) -> float:
        return 20 + height * (high - v) / (high - low)

    decades = range(int(np.ceil(low)), int(high) + 1, max(1, int(high - low) // 6))
    parts = [f'<path d="M80 {up_to(v):.1f}h{width}" stroke="#ddd"/>' for v in decades]
    parts += [_text(74, up_to(v) + 4, f"1e{v}", "end") for v in decades]
    ticks = range(int(np.ceil(left)), int(right) + 1) if log else np.linspace(0, right, 6)[1:]
    parts += [_text(across_to(v), 38 + height, f"{10.0**v if log else v:.3g}", "middle") for v in ticks]
    for i, (y, at, name) in enumerate(zip(curves, kept, ("original", "recalled"))):
        colour = (_BLUE, _ORANGE)[i]
        points = " ".join(f"{across_to(place[j]):.1f},{up_to(np.log10(y[j])):.1f}" for j in at)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(_text(width - 60 + 80 * i, 14, name, "start", colour))
    parts.append(f'<rect x="80" y="20" width="{width}" height="{height}" fill="none" stroke="#707070"/>')
    parts += [_text(80 + width / 2, 58 + height, across, "middle"), _text(80, 14, up, "middle")]
    size = f'viewBox="0 0 {width + 100} {height + 70}" width="{width + 100}" height="{height + 70}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-size="13" role="img">{"".join(parts)}</svg>'


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Of an axis: those of the values, a little apart where they are one."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    return (low, high) if high - low > 1e-9 else (low - 0.5, high + 0.5)


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#202020") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
