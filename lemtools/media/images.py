"""Images by Pillow: bytes -> [C, H, W] and back."""

import io
import re
import warnings

import numpy as np

from ..signal import LemError, Signal
from ..stream import Source

MAX_PIXELS = 89_478_485  # where Pillow begins to warn, 1/4 GiB of RGB: a bomb is told by its header, undecoded
_OPAQUE = {"RGBA": "RGB", "LA": "L", "PA": "RGB"}


def png_bytes(source: Source) -> bytes:
    """One PNG, split off by its chunks, so that several may follow each other in a pipe."""
    parts, total = [source.read(8).tobytes()], 8
    while True:
        head = source.read(8).tobytes()
        size = int.from_bytes(head[:4], "big")
        total += 12 + size
        if size < 1 << 31 and total > source.max_bytes:  # 2**31 - 1 is the most a chunk may hold
            raise LemError(f"{source.name}: larger than {source.max_bytes} bytes; raise --max-bytes to read it")
        body = source.read(size + 4) if len(head) == 8 and size < 1 << 31 else b""
        if len(body) < size + 4:
            raise LemError(f"{source.name}: PNG cut short or damaged")
        parts += [head, body.tobytes()]
        if head[4:] == b"IEND":
            return b"".join(parts)


def read(source: Source, form: str) -> Signal:
    """The next image as a batch of one: uint8, or float32 with full scale 1 where the file holds 16 bits."""
    raw = png_bytes(source) if form == "PNG" else source.rest().tobytes()
    return Signal("image", decode(raw, form, source.name)[None])


def decode(raw: bytes, form: str, name: str) -> np.ndarray:
    """[C, H, W] with C = 1 or 3. Raises LemError for what cannot be read without silent loss."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which is not read
            image = _opened(raw, form)
            if image.width * image.height > MAX_PIXELS:
                raise LemError(f"{name}: a {form} of more than {MAX_PIXELS} pixels; cut it into tiles first")
            if form != "JPEG" and getattr(image, "n_frames", 1) > 1:
                raise LemError(
                    f"{name}: {image.n_frames} frames, of which only the first would be read; split them first"
                )
            if image.mode != "1" and _bits(image, raw, form) not in ((16,) if image.mode.startswith("I") else _EIGHT):
                raise LemError(
                    f"{name}: {form} with {_bits(image, raw, form)} bits a value and mode {image.mode}, "
                    "which would be read as other values; convert it to 8 bits, or to 16 bits of grey"
                )
            if form == "JPEG" and image.getexif().get(0x0112, 1) != 1:
                from PIL import ImageOps

                image = ImageOps.exif_transpose(image)
            return _pixels(image, name)
    except (LemError, MemoryError):
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, zlib.error and more
        text = " ".join(str(error).replace("<_io.BytesIO object", "<data").split())[:100]
        raise LemError(f"{name}: not a readable {form} ({text})") from error


def _opened(raw: bytes, form: str):
    """Pillow's image of this very format: its Image.open would first load the readers of all the others."""
    from importlib import import_module

    plugin = form.capitalize() if form != "WEBP" else "WebP"
    reader = getattr(import_module(f"PIL.{plugin}ImagePlugin"), f"{plugin}ImageFile")
    return reader(io.BytesIO(raw))


_EIGHT = (1, 2, 4, 8)  # bits a value that Pillow spreads over 8 without loss


def _bits(image, raw: bytes, form: str) -> int:
    """Bits a value that the file holds: Pillow reads 16 bits a colour as 8 without a word."""
    if form == "PNG":
        return raw[24]
    if form == "PPM":
        return 8 if int(re.sub(rb"#[^\n]*", b"", raw[:4096]).split(None, 4)[3]) < 256 else 16
    if form == "TIFF":
        return max(image.tag_v2.get(258, (1,)))
    return 8


def _pixels(image, name: str) -> np.ndarray:
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode in ("L", "RGB", "1") and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in _OPAQUE:
        if image.getchannel("A").getextrema()[0] < 255:
            raise LemError(f"{name}: has transparent pixels; flatten it on a ground first")
        image = image.convert(_OPAQUE[image.mode])
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        grey = np.asarray(image).astype(np.float32)
        if (grey == image.info.get("transparency", -1)).any():
            raise LemError(f"{name}: has transparent pixels; flatten it on a ground first")
        return (grey / 65535)[None]
    if image.mode in ("I", "F"):
        raise LemError(
            f"{name}: pixels of mode {image.mode}, whose full scale is not known; convert it to 8 or 16 bits"
        )
    array = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Pixels as 8 bits: uint8 as it stands; float, full scale 1, clipped and rounded."""
    return image if image.dtype == np.uint8 else np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def luma(images: np.ndarray) -> np.ndarray:
    """[..., 3, H, W] to [..., 1, H, W]: .299 R + .587 G + .114 B; bytes are rounded, all else becomes float32."""
    grey = np.tensordot(images.astype(np.float32), np.array([0.299, 0.587, 0.114], np.float32), (-3, 0))
    return np.expand_dims(np.rint(grey).astype(np.uint8) if images.dtype == np.uint8 else grey, -3)


def encode(image: np.ndarray, form: str) -> bytes:
    """File bytes of one image [C, H, W], C = 1 or 3. Grey float images become 16-bit PNG, all else 8 bits."""
    from PIL import Image

    if len(image) not in (1, 3):
        raise LemError(f"an image of {len(image)} channels does not fit a {form}; write safetensors or npy")
    if form == "PNG" and len(image) == 1 and image.dtype != np.uint8:
        pixels = np.rint(np.clip(image[0], 0, 1) * 65535).astype(np.uint16)
    else:
        pixels = to_uint8(image)
        pixels = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    out = io.BytesIO()
    try:
        Image.fromarray(np.ascontiguousarray(pixels)).save(out, form, **({"quality": 95} if form == "JPEG" else {}))
    except (OSError, ValueError) as error:  # a JPEG ends at 65,500 pixels a side
        raise LemError(f"an image of {pixels.shape[1]} x {len(pixels)} does not fit a {form} ({error})") from error
    return out.getvalue()
