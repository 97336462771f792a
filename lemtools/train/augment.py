"""Images seen otherwise: crops, symmetries, shifts, other sizes, grey. One function and one line in `AUGMENT` each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..media.pixels import luma
from ..signal import LemError


def flip(image: np.ndarray, rng: np.random.Generator, amount: tuple, crop: int) -> np.ndarray:
    """Mirrored left to right, half of the time."""
    return image[..., ::-1] if rng.random() < 0.5 else image


def dihedral(image: np.ndarray, rng: np.random.Generator, amount: tuple, crop: int) -> np.ndarray:
    """One of the eight symmetries of the square."""
    k = int(rng.integers(8))
    image = np.rot90(image, k % 4, (-2, -1))
    return image[..., ::-1] if k >= 4 else image


def shift(image: np.ndarray, rng: np.random.Generator, amount: tuple[float], crop: int) -> np.ndarray:
    """Moved up or down and to one side, each by up to a share of the side, whole pixels; what comes in is mirrored."""
    places = []
    for n in image.shape[1:]:
        most = min(round(amount[0] * n), n - 1)
        at = np.abs(np.arange(n) + rng.integers(-most, most + 1))
        places.append(np.minimum(at, 2 * (n - 1) - at))
    return image[:, places[0][:, None], places[1]]


def grey(image: np.ndarray, rng: np.random.Generator, amount: tuple[float], crop: int) -> np.ndarray:
    """Luma in all three channels, for a share of the images."""
    if rng.random() >= amount[0] or image.shape[0] != 3:
        return image
    return np.broadcast_to(luma(image), image.shape)


def zoom(image: np.ndarray, rng: np.random.Generator, amount: tuple[float, float], crop: int) -> np.ndarray:
    """A random window of side crop / factor, the factor drawn from amount[0] to amount[1], resized to the crop."""
    window = _window(image, round(crop / rng.uniform(amount[0], amount[-1])), crop, rng)
    if window.shape[-1] == crop:
        return window
    from PIL import Image

    if image.dtype != np.uint8:
        planes = [
            np.asarray(Image.fromarray(np.float32(p)).resize((crop, crop), Image.Resampling.BICUBIC)) for p in window
        ]
        return np.stack(planes).clip(0, 1)  # bicubic interpolation overshoots
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(p)).resize((crop, crop), Image.Resampling.BICUBIC))
        for p in window
    ]
    return np.stack(planes)


def _window(image: np.ndarray, side: int, crop: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of that side, or as near to it as crop and image allow."""
    _, height, width = image.shape
    if min(height, width) < crop:
        raise LemError(f"an image of {width} x {height} is smaller than --crop {crop}")
    side = min(max(side, crop), height, width)
    top, left = (int(rng.integers(n - side + 1)) for n in (height, width))
    return image[:, top : top + side, left : left + side]


@dataclass(frozen=True)
class Way:
    """show(image [C, H, W], rng, amount, crop): the image otherwise. usual: the amount by default, () for one
    that takes none. least: the smallest number in it; all are at most 1. crops: it takes the crop itself. square: it
    needs square images."""

    show: Callable[[np.ndarray, np.random.Generator, tuple, int], np.ndarray]
    usual: tuple[float, ...] = ()
    least: float = 0.0
    crops: bool = False
    square: bool = False


AUGMENT = {
    "flip": Way(flip),
    "dihedral": Way(dihedral, square=True),
    "shift": Way(shift, (0.125,)),
    "grey": Way(grey, (0.2,)),
    "zoom": Way(zoom, (0.5, 1.0), 0.05, crops=True),
}
Steps = tuple[tuple[str, tuple[float, ...]], ...]


def parse(texts) -> Steps:
    """('dihedral', 'grey:.2', 'zoom:.5-1') to (('dihedral', ()), ('grey', (0.2,)), ('zoom', (0.5, 1.0))).

    Of two numbers one stands for both. LemError for an unknown name or an amount that it does not take.
    """
    out = []
    for text in texts:
        name, _, amount = text.partition(":")
        if name not in AUGMENT:
            raise LemError(f"--augment {text}: there are {', '.join(AUGMENT)}")
        way = AUGMENT[name]
        if amount and not way.usual:
            raise LemError(f"--augment {text}: {name} takes no amount")
        try:
            ends = tuple(float(end) for end in amount.split("-")) if amount else way.usual
            rising = all(a <= b for a, b in pairwise((way.least, *ends, 1.0)))
            if len(ends) > len(way.usual) or not rising:
                raise ValueError
        except ValueError:
            form = "a factor, or A-B," if len(way.usual) > 1 else "a share"
            raise LemError(f"--augment {text}: {name} takes {form} of {way.least:g} to 1") from None
        out.append((name, ends))
    return tuple(out)


def augment(image: np.ndarray, crop: int, steps: Steps, rng: np.random.Generator) -> np.ndarray:
    """One image [C, H, W] after every step in order; a random window of side `crop` first, where that is not 0 and
    no step takes it."""
    if crop and not any(AUGMENT[name].crops for name, _ in steps):
        image = _window(image, crop, crop, rng)
    for name, amount in steps:
        image = AUGMENT[name].show(image, rng, amount, crop)
    return np.ascontiguousarray(image)
