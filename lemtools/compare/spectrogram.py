"""Pictures of sounds and of complex spectra with their axes: Hz upwards, seconds to the right. Pillow draws them."""

from __future__ import annotations

import numpy as np

from ..transforms import Front
from .sheet import heat, sound_picture

WIDTH, HEIGHT, RANGE = 256, 128, 80.0  # pixels, pixels, dB from dark to light
LEFT, BELOW = 44, 16  # for what stands at the axes
CELL = LEFT + WIDTH
_STEPS = (1, 2, 5)


def of_sound(sound: np.ndarray, rate: float | None) -> np.ndarray:
    """Picture uint8 [H,W,3] of a sound [C,T]: `sound_picture`, with axes where its rate in Hz is known."""
    drawn = sound_picture(sound, rate or sound.shape[-1], width=WIDTH, height=HEIGHT)
    if not rate:
        return drawn
    return _with_axes(drawn, {f: 2 * f / rate for f in ticks(rate / 2)}, sound.shape[-1] / rate)


def loudest(spectrum: np.ndarray) -> float:
    """The largest power |c|^2, the mean over sound channels, of a complex spectrum [2C,F,frames]."""
    return float(_power(spectrum).max())


def of_spectrum(spectrum: np.ndarray, full: float, front: Front | None = None) -> np.ndarray:
    """Picture uint8 [H,W,3] of a complex spectrum [2C,F,frames] in dB below the power `full`, 80 dB of range.

    The mean over sound channels; where there are more rows or frames than pixels, the strongest of them. Give the same
    `full` to all pictures that are to be compared. Axes by the front end that made it; without one there are none.
    """
    power = _power(spectrum)
    decibels = 10 * np.log10(np.maximum(power / full if full > 0 else power, 1e-20))
    drawn = heat(1 + _fitted(_fitted(decibels, HEIGHT, 0), WIDTH, 1)[::-1] / RANGE)
    if front is None:
        return drawn
    hz = np.asarray(front.hz, float)
    rows = (np.arange(len(hz)) + 0.5) / len(hz)
    seconds = spectrum.shape[-1] * front.frame_seconds
    even = len(hz) < 3 or np.allclose(np.diff(hz), hz[1] - hz[0])
    marks = ticks(hz[-1]) if even else hz[-1] / 4.0 ** np.arange(4)
    return _with_axes(drawn, {f: float(np.interp(f, hz, rows, -1, 2)) for f in marks}, seconds)


def _power(spectrum: np.ndarray) -> np.ndarray:
    square = np.square(spectrum, dtype=np.float64)
    return 2 * square.mean(axis=0)


def _fitted(x: np.ndarray, size: int, axis: int) -> np.ndarray:
    """x brought to a size along an axis: the strongest of those that share a pixel, or each drawn several times."""
    length = x.shape[axis]
    if length <= size:
        return np.take(x, np.arange(size) * length // size, axis)
    return np.maximum.reduceat(x, np.arange(size) * length // size, axis)


def ticks(most: float, wanted: int = 4) -> np.ndarray:
    """Round numbers from 0 to `most` at equal steps of 1, 2 or 5 times a power of ten, about so many."""
    raw = most / wanted
    power = 10.0 ** np.floor(np.log10(raw))
    step = power * min((s for s in (*_STEPS, 10) if s * power >= raw * 0.999), default=10)
    return np.arange(0, most * 1.0001, step)


def _with_axes(drawn: np.ndarray, heights: dict[float, float], seconds: float) -> np.ndarray:
    """A picture with Hz at its left and seconds below. heights: of frequencies, 0 at the foot, 1 at the top."""
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("RGB", (LEFT + WIDTH, HEIGHT + BELOW), (255, 255, 255))
    page.paste(Image.fromarray(drawn), (LEFT, 0))
    draw, font, ink = ImageDraw.Draw(page), ImageFont.load_default_imagefont(), (32, 32, 32)
    for f, h in heights.items():
        if 0 <= h <= 1:
            y = round((1 - h) * (HEIGHT - 1))
            draw.line((LEFT - 4, y, LEFT - 1, y), fill=ink)
            text = f"{round(f)}"
            draw.text((LEFT - 6 - font.getlength(text), min(max(y - 6, 0), HEIGHT - 11)), text, fill=ink, font=font)
    draw.text((0, HEIGHT + 4), "Hz", fill=ink, font=font)
    for t in ticks(seconds):
        x = LEFT + round(t / seconds * (WIDTH - 1))
        draw.line((x, HEIGHT, x, HEIGHT + 3), fill=ink)
        text = f"{t:g}" if t else "0 s"
        draw.text((min(x, LEFT + WIDTH - font.getlength(text)), HEIGHT + 4), text, fill=ink, font=font)
    return np.asarray(page)
