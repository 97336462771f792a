"""Arrays and pictures as batches."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np

from ..catalogue import LemError
from ..media import Reading
from ..media.how import check_finite
from ..media.images import one_image
from ..signal import KINDS, Signal, type_fits
from .words import note

COLOURS = (1, 3, 4)  # sizes of an axis of channels


def picture(image: Any, how: Any) -> Signal:
    """An image of Pillow, read as its file would be. how: media.Reading."""
    mode, turned = image.mode, image.getexif().get(0x0112, 1) != 1
    if mode == "I" and 0 <= image.getextrema()[0] and image.getextrema()[1] < 1 << 16:
        mode = "I;16"
    mode = {"RGBa": "RGBA", "La": "LA", "PA": "RGBA", "I;16B": "I", "I;16L": "I;16"}.get(mode, mode)
    mode = "RGB" if mode in ("CMYK", "YCbCr", "LAB", "HSV", "RGBX") else mode
    form = "TIFF" if mode in ("F", "I") else "PNG"  # a PNG holds neither floats nor 32 bits
    out = io.BytesIO()
    image = image if mode == image.mode else image.convert(mode)
    image.save(
        out, form, **({"compress_level": 0} if form == "PNG" else {}), **({"exif": image.getexif()} if turned else {})
    )
    return one_image(out.getvalue(), form, "the picture", replace(how, max_bytes=1 << 60))  # it is in memory already


def from_array(array: np.ndarray, kind: str | None = None, rate: float | None = None, how: Any = None) -> Signal:
    """An array as a batch; without a `kind`, by its type and shape.

    uint8 of 2 to 4 dimensions is images, [H, W], [H, W, C], [N, H, W], [N, C, H, W] or [N, H, W, C] with C = 1, 3 or 4;
    so are floats of 4 dimensions. Other floats are embeddings, [D], [N, D] or [N, L, D]; integers [L], [N, L] tokens.
    Pixels of red, green, blue and alpha are laid on the background of `how`, a media.Reading.
    kind 'audio': [T], [C, T] or [N, C, T], with its `rate`. kind 'field' (states of a simulation): [L], [C, L],
    [N, C, L] or [N, C, H, W]. Raises LemError where it could be one or the other.
    """
    if kind is None:
        kind = _guessed(array)
    if rate is not None and kind not in ("audio", "spectrum"):
        raise LemError(f"rate is for kind='audio' and 'spectrum', not for {kind}")
    data = _images(array, how) if kind == "image" else array
    least = min(KINDS[kind][0])
    if kind != "image" and array.ndim < least:
        data = array[(None,) * (least - array.ndim if kind in ("audio", "spectrum", "field") else 1)]
    if not type_fits(kind, data.dtype):
        raise LemError(f"{kind} of type {data.dtype}: {_TYPES.get(kind, 'give floats')}")
    if len(data):
        check_finite(data, "the array", 0)
    if kind in ("audio", "spectrum"):
        if rate is None:
            raise LemError(f"{kind} needs its rate in Hz, as in load(x, kind={kind!r}, rate=16000)")
        if kind == "audio" and data.ndim == 3 and data.shape[1] > data.shape[2]:
            shape = f"{data.shape[1]} channels of {data.shape[2]} samples"
            raise LemError(f"a sound is [C, T], its channels first, and this one would have {shape}; give x.T")
        return Signal(kind, data.astype(np.float32, copy=False), rate=float(rate))
    single = kind == "field" or (kind == "image" and data.dtype != np.uint8)
    return Signal(kind, data.astype(np.float32, copy=False) if single else data)


_TYPES = {"image": "give uint8, or floats in [0, 1]", "tokens": "give integers"}


def looks_like_a_picture(array: np.ndarray) -> bool:
    """Whether floats of 3 dimensions may be one picture: three or four values come last; or first, none below 0."""
    if array.dtype.kind != "f" or array.ndim != 3 or not array.size:
        return False
    return array.shape[2] in (3, 4) or (array.shape[0] in (3, 4) and bool(array.min() >= 0))


def _guessed(array: np.ndarray) -> str:
    if array.dtype.kind == "f":
        if looks_like_a_picture(array):
            what = f"floats of shape {list(array.shape)} may be a picture, in [0, 1], or embeddings"
            raise LemError(f"{what}: say load(x, kind='image' or kind='embedding')")
        return "image" if array.ndim == 4 else "embedding"
    if array.dtype == np.uint8 and 2 <= array.ndim <= 4:
        if array.ndim == 3 and array.shape[0] in (3, 4) and array.shape[-1] not in COLOURS:
            what = f"one picture in {array.shape[0]} channels is x[None], {array.shape[0]} grey ones are x[:, None]"
            raise LemError(f"uint8 of shape {list(array.shape)}: {what}")
        return "image"
    if array.dtype.kind in "iu" and array.ndim in (1, 2):
        return "tokens"
    raise LemError(
        f"an array of {array.dtype} {list(array.shape)} is no image, embedding or tokens; say which: kind=..."
    )


def _images(array: np.ndarray, how: Any) -> np.ndarray:
    """[N, C, H, W] of images as they usually come."""
    shape, last = array.shape, False
    if array.ndim == 2:
        return array[None, None]
    if array.ndim == 3:
        last = shape[-1] in COLOURS and shape[0] not in COLOURS
        first = shape[0] in COLOURS and shape[-1] not in COLOURS
        array = array[None] if first or last else array[:, None]
    elif array.ndim == 4:
        last = shape[1] > 4 and shape[3] in COLOURS
    if last:
        array = array.transpose(0, 3, 1, 2)
    return (
        _opaque(array, how) if array.ndim == 4 and array.shape[1] == 4 and (last or array.dtype == np.uint8) else array
    )


def _opaque(images: np.ndarray, how: Any) -> np.ndarray:
    """[N, 3, H, W] of red, green, blue and alpha, as a file of them is read."""
    from ..media.pixels import flatten

    colours, alpha = images[:, :3], images[:, 3]
    if not alpha.size or alpha.min() >= (255 if images.dtype == np.uint8 else 1):
        return colours
    how = how or Reading(note=note)
    laid = np.stack([flatten(image, a, how.background) for image, a in zip(colours, alpha)])
    how.say("alpha", f"transparent pixels were laid on {how.background} (background=COLOUR)")
    return laid
