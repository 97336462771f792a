"""A contact sheet: one row an item, columns such as original, fragment, recalled, difference. Pillow draws it.

Sounds and embeddings are turned into pictures first (`sound_picture`, `vectors_picture`), so all kinds share one sheet.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import IO

import numpy as np

_CELL = 256  # wanted longer side of a picture: larger ones are reduced, smaller ones enlarged by a whole factor
_MARGIN, _GAP = 16, 8
_PAPER, _INK, _PALE = (255, 255, 255), (32, 32, 32), (112, 112, 112)
# Dark to light through blue, violet and orange, lightness rising all the way: reads in grey print as well.
_HEAT = np.array([(4, 4, 16), (40, 20, 92), (120, 30, 110), (200, 62, 76), (244, 136, 40), (252, 248, 190)], float)


def heat(x: np.ndarray) -> np.ndarray:
    """Values [H,W] in [0,1] as colours [H,W,3] uint8."""
    at = np.clip(x, 0, 1) * (len(_HEAT) - 1)
    steps = np.arange(len(_HEAT))
    return np.stack([np.interp(at, steps, c) for c in _HEAT.T], axis=-1).round().astype(np.uint8)


def sound_picture(audio: np.ndarray, rate: int, *, width: int = 256, height: int = 128) -> np.ndarray:
    """Spectrogram [height,width,3] uint8 of one sound [C,T]: time to the right, 0 .. rate/2 upwards, 80 dB of range.

    The mean over channels; 32 ms Hann windows spread evenly over the sound, one a column; each row the strongest of its
    frequencies. 0 dB (the lightest) is a full-scale sine, not the loudest moment, so an original and what was recalled
    of it can be compared by eye.
    """
    audio = np.asarray(audio, np.float64)
    if audio.ndim != 2 or audio.size == 0:
        raise ValueError(f"need a sound [C,T], not shape {audio.shape}")
    mono = audio.mean(0)
    size = max(2 * height, round(0.032 * rate))
    mono = np.pad(mono, (size // 2, size - size // 2))
    starts = np.linspace(0, len(mono) - size, width).round().astype(int)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    power = np.abs(np.fft.rfft(mono[starts[:, None] + np.arange(size)] * hann)) ** 2 / (size / 4) ** 2
    edges = np.linspace(0, power.shape[1], height + 1).astype(int)
    power = np.maximum.reduceat(power, edges[:-1], axis=1)
    return heat(1 + 10 * np.log10(np.maximum(power, 1e-20)).T[::-1] / 80)


def vectors_picture(embedding: np.ndarray, *, width: int = 256, scale: float | None = None) -> np.ndarray:
    """Heat strip uint8 [H,W,3] of one embedding [D] or [L,D]: blue below 0, white at 0, red above.

    A vector is wrapped into rows of at most `width` values, tokens are rows. `scale` is the value shown in full colour
    (default: the 99th percentile of the magnitudes); give the original's to all pictures of one row of the sheet.
    """
    x = np.asarray(embedding, np.float64)
    if x.ndim not in (1, 2) or x.size == 0:
        raise ValueError(f"need an embedding [D] or [L,D], not shape {x.shape}")
    rows = x if x.ndim == 2 else np.pad(x, (0, -len(x) % min(width, len(x)))).reshape(-1, min(width, len(x)))
    scale = scale or float(np.percentile(np.abs(x), 99)) or 1.0
    t = np.clip(rows / scale, -1, 1)[..., None]
    blue, white, red = (np.array(c, float) for c in ((33, 82, 164), (250, 250, 250), (178, 34, 40)))
    picture = (white + np.abs(t) * (np.where(t < 0, blue, red) - white)).round().astype(np.uint8)
    return np.repeat(picture, max(1, 96 // len(picture)), axis=0)


def difference(a: np.ndarray, b: np.ndarray, *, gain: float = 8) -> np.ndarray:
    """gain |recalled - original|, clipped, uint8: black where they agree. Two uint8 pictures of one shape.

    The magnitude, not the sign: a sheet reduces large pictures by means, which would cancel a signed error.
    """
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: original {a.shape}, recalled {b.shape}")
    return np.minimum(gain * np.abs(b.astype(np.float32) - a), 255).round().astype(np.uint8)


def _picture(x: np.ndarray, cell: int):
    """uint8 [H,W], [H,W,1] or [H,W,3] as a Pillow image whose longer side is at most `cell`, or a whole multiple."""
    from PIL import Image

    x = np.asarray(x)
    if x.dtype != np.uint8 or not (x.ndim == 2 or (x.ndim == 3 and x.shape[2] in (1, 3))) or x.size == 0:
        raise ValueError(f"a picture is uint8 [H,W] or [H,W,3], not {x.dtype} {x.shape}")
    image = Image.fromarray(x[..., 0] if x.shape[2:] == (1,) else x).convert("RGB")
    longer = max(image.size)
    if longer > cell:
        size = tuple(max(1, round(side * cell / longer)) for side in image.size)
        return image.resize(size, Image.Resampling.BOX)
    factor = cell // longer
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def sheet(
    columns: Mapping[str, Sequence[np.ndarray | None]],
    target: str | os.PathLike | IO[bytes] | None = None,
    *,
    row_names: Sequence[str] = (),
    notes: Mapping[str, Sequence[str]] | None = None,
    title: str = "",
    cell: int = _CELL,
) -> np.ndarray:
    """Draw `columns` {caption: one uint8 picture [H,W] or [H,W,3] an item} side by side; return it, uint8 [H,W,3].

    Each row is an item, named on its left edge's upper corner by `row_names`; `notes` {caption: one short text an item}
    stand under the pictures (a PSNR, say). None leaves a place empty. Pictures whose longer side exceeds `cell` pixels
    are reduced by box means, smaller ones enlarged by the largest whole factor, so that pixels stay sharp. `target` (a
    path or an open binary file) receives a PNG. ValueError for columns of unequal length or none.
    """
    from PIL import Image, ImageDraw, ImageFont

    notes = notes or {}
    lengths = {name: len(items) for name, items in columns.items()}
    if not lengths or len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"columns need the same number of pictures, at least one: {lengths}")
    pictures = {c: [None if x is None else _picture(x, cell) for x in items] for c, items in columns.items()}
    font = ImageFont.load_default_imagefont()
    line, under = 15, 4  # height of a line of text; air below the captions

    def fitted(text: str, width: int) -> str:
        # the bitmap font has Latin-1 only
        text = text.encode("latin-1", "replace").decode("latin-1")
        while font.getlength(text) > width and len(text) > 1:
            text = text[:-3] + ".." if len(text) > 3 else text[:-1]
        return text

    rows = range(next(iter(lengths.values())))
    drawn = {c: [p for p in items if p] for c, items in pictures.items()}
    widths = {c: max([p.width for p in ps] + [round(font.getlength(fitted(c, cell)))]) for c, ps in drawn.items()}
    heights = [max([items[r].height for items in pictures.values() if items[r]], default=line) for r in rows]
    named, noted = line * bool(row_names), line * bool(notes)
    total_width = 2 * _MARGIN + sum(widths.values()) + _GAP * (len(widths) - 1)
    head = _MARGIN + (line + _GAP if title else 0)
    total_height = head + line + under + sum(h + named + noted for h in heights) + _GAP * (len(heights) - 1) + _MARGIN
    page = Image.new("RGB", (total_width, total_height), _PAPER)
    draw = ImageDraw.Draw(page)
    if title:
        draw.text((_MARGIN, _MARGIN), fitted(title, total_width - 2 * _MARGIN), fill=_INK, font=font)
    left = _MARGIN
    for column, items in pictures.items():
        draw.text((left, head), fitted(column, widths[column]), fill=_INK, font=font)
        top = head + line + under
        for r in rows:
            if named and left == _MARGIN:
                draw.text((left, top), fitted(row_names[r], total_width - 2 * _MARGIN), fill=_PALE, font=font)
            top += named
            if items[r]:
                page.paste(items[r], (left, top))
            if column in notes:
                draw.text((left, top + heights[r] + 2), fitted(notes[column][r], widths[column]), fill=_PALE, font=font)
            top += heights[r] + noted + _GAP
        left += widths[column] + _GAP
    if target is not None:
        page.save(target, format="PNG")
    return np.asarray(page)
