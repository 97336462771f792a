"""Arithmetic on images [..., C, H, W]: depth, grey and colour, size, transparency."""

import numpy as np

from ..signal import LemError


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Pixels as 8 bits: uint8 as it stands; float, full scale 1, clipped and rounded."""
    return image if image.dtype == np.uint8 else np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def luma(images: np.ndarray) -> np.ndarray:
    """[..., 3, H, W] to [..., 1, H, W]: .299 R + .587 G + .114 B; bytes are rounded, all else becomes float32."""
    grey = np.tensordot(images.astype(np.float32), np.array([0.299, 0.587, 0.114], np.float32), (-3, 0))
    return np.expand_dims(np.rint(grey).astype(np.uint8) if images.dtype == np.uint8 else grey, -3)


def in_colour(images: np.ndarray, colour: str) -> np.ndarray:
    """[N, 1|3, H, W] as 'grey' (luma) or 'rgb' (grey in all three channels)."""
    if colour == "grey":
        return luma(images) if images.shape[1] == 3 else images
    return images.repeat(3, axis=1) if images.shape[1] == 1 else images


def resize(images: np.ndarray, size: tuple[int, int], crop: bool = False, where: str = "images") -> np.ndarray:
    """[N, C, H, W] to (width, height) px, bilinear as Pillow does it, bytes to bytes.

    crop: of an image of another aspect, the largest window of this one in its middle; else a LemError.
    """
    from PIL import Image

    height, width = images.shape[2:]
    if size == (width, height):
        return images
    if not crop and width * size[1] != height * size[0]:
        raise LemError(
            f"{where}: {width} x {height} px would be distorted to {size[0]} x {size[1]}; crop it first, "
            "or give --size WIDTHxHEIGHT of its aspect"
        )
    inner = min(width, height * size[0] / size[1]), min(height, width * size[1] / size[0])
    left, top = (width - inner[0]) / 2, (height - inner[1]) / 2
    box = (left, top, left + inner[0], top + inner[1])
    out = np.empty((*images.shape[:2], size[1], size[0]), images.dtype)
    for image, small in zip(images.reshape(-1, height, width), out.reshape(-1, size[1], size[0])):
        small[:] = Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BILINEAR, box)
    return out


def flatten(image: np.ndarray, alpha: np.ndarray, background: str) -> np.ndarray:
    """[C, H, W] laid on a colour: alpha * image + (1 - alpha) * colour, bytes rounded.

    alpha [H, W] has the full scale of the image. Grey stays grey on a background of grey.
    """
    from PIL import ImageColor

    try:
        colour = ImageColor.getrgb(background)[:3]
    except ValueError as error:
        raise LemError(f"--background {background}: no colour; as in white, '#808080' or 'rgb(255, 0, 0)'") from error
    colour = colour[: 1 if len(image) == 1 and len(set(colour)) == 1 else 3]
    ground = np.array(colour, np.float32).reshape(-1, 1, 1)
    if image.dtype == np.uint8:
        weight = alpha.astype(np.float32)
        return np.rint((image * weight + ground * (255 - weight)) / 255).astype(np.uint8)
    return (image * alpha + ground / 255 * (1 - alpha)).astype(np.float32)
