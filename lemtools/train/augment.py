"""Images seen otherwise: crops, symmetries, other sizes, grey. One function and one line in `AUGMENT` each."""

from __future__ import annotations

import numpy as np

from ..signal import LemError


def flip(image: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Mirrored left to right, half of the time."""
    return image[..., ::-1] if rng.random() < 0.5 else image


def dihedral(image: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """One of the eight symmetries of the square."""
    k = int(rng.integers(8))
    image = np.rot90(image, k % 4, (-2, -1))
    return image[..., ::-1] if k >= 4 else image


def grey(image: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Luma in all three channels, for a share of the images."""
    if rng.random() >= share or image.shape[0] != 3:
        return image
    luma = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), image.astype(np.float32), 1)
    luma = np.rint(luma).astype(np.uint8) if image.dtype == np.uint8 else luma
    return np.broadcast_to(luma, image.shape)


# name: (function, share of the images where none is given, or None where there is no such choice)
AUGMENT = {"flip": (flip, None), "dihedral": (dihedral, None), "grey": (grey, 0.2)}
# `zoom` comes before the crop: a window of crop / factor, drawn for the item, is resized to the crop
ZOOM = (0.5, 1.0)


def parse(texts) -> tuple[tuple[str, tuple[float, float]], ...]:
    """('dihedral', 'grey:.2', 'zoom:.5-1') to ((name, (low, high)), …). LemError for an unknown one."""
    out = []
    for text in texts:
        name, _, amount = text.partition(":")
        if name not in (*AUGMENT, "zoom"):
            raise LemError(f"--augment {text}: there are {', '.join([*AUGMENT, 'zoom'])}")
        share = None if name == "zoom" else AUGMENT[name][1]
        if amount and name != "zoom" and share is None:
            raise LemError(f"--augment {text}: {name} takes no amount")
        try:
            plain = ZOOM if name == "zoom" else (share or 0.0,)
            ends = [float(end) for end in amount.split("-")] if amount else plain
            low, high = ends[0], ends[-1]
            if len(ends) > (2 if name == "zoom" else 1) or not 0 <= low <= high <= 1 or name == "zoom" and low < 0.05:
                raise ValueError
        except ValueError:
            raise LemError(f"--augment {text}: grey takes a share of 0-1, zoom a factor of .05-1, or A-B") from None
        out.append((name, (low, high)))
    return tuple(out)


def augment(image: np.ndarray, crop: int, steps, rng: np.random.Generator) -> np.ndarray:
    """One image [C, H, W], a random window of side `crop` where that is not 0, then every step in order."""
    if crop:
        zooms = [amount for name, amount in steps if name == "zoom"]
        factor = rng.uniform(*zooms[0]) if zooms else 1.0
        image = _window(image, crop, factor, rng)
    for name, amount in steps:
        if name != "zoom":
            image = AUGMENT[name][0](image, rng, amount[0])
    return np.ascontiguousarray(image)


def _window(image: np.ndarray, crop: int, factor: float, rng: np.random.Generator) -> np.ndarray:
    _, height, width = image.shape
    side = min(max(round(crop / factor), crop), height, width)
    if min(height, width) < crop:
        raise LemError(f"an image of {width} x {height} is smaller than --crop {crop}")
    top, left = (int(rng.integers(n - side + 1)) for n in (height, width))
    window = image[:, top : top + side, left : left + side]
    if side == crop:
        return window
    from PIL import Image

    if image.dtype != np.uint8:
        planes = [np.asarray(Image.fromarray(np.float32(p)).resize((crop, crop), Image.BICUBIC)) for p in window]
        return np.stack(planes).clip(0, 1)  # bicubic interpolation overshoots
    planes = [np.asarray(Image.fromarray(np.ascontiguousarray(p)).resize((crop, crop), Image.BICUBIC)) for p in window]
    return np.stack(planes)
