"""Images by Pillow: bytes -> [C, H, W] and back."""

import io
import warnings

import numpy as np

from ..signal import LemError, Signal
from ..stream import Source

MAX_PIXELS = 1 << 27  # 134 megapixels: a bomb is told by its header, before it is decoded
_OPAQUE = {"RGBA": "RGB", "LA": "L", "PA": "RGB"}


def png_bytes(source: Source) -> bytes:
    """One PNG, split off by its chunks, so that several may follow each other in a pipe."""
    parts = [source.read(8).tobytes()]
    while True:
        head = source.read(8).tobytes()
        size = int.from_bytes(head[:4], "big")
        if len(head) < 8 or size > source.max_bytes:
            raise LemError(f"{source.name}: PNG cut short or damaged")
        body = source.read(size + 4)
        if len(body) < size + 4:
            raise LemError(f"{source.name}: PNG cut short")
        parts += [head, body.tobytes()]
        if head[4:] == b"IEND":
            return b"".join(parts)


def read(source: Source, form: str) -> Signal:
    """The next image as a batch of one: uint8, or float32 with full scale 1 where the file holds 16 bits."""
    raw = png_bytes(source) if form == "PNG" else source.rest().tobytes()
    return Signal("image", decode(raw, form, source.name)[None])


def decode(raw: bytes, form: str, name: str) -> np.ndarray:
    """[C, H, W] with C = 1 or 3. Raises LemError for what cannot be read without silent loss."""
    from PIL import Image

    if form == "PNG" and len(raw) > 26 and raw[24] == 16 and raw[25] not in (0, 4):
        raise LemError(f"{name}: PNG with 16 bits a colour, of which only 8 would be read; convert it to 8 bits or to grey")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image = Image.open(io.BytesIO(raw), formats=[form])
            if image.width * image.height > MAX_PIXELS:
                raise LemError(f"{name}: {image.width} x {image.height} pixels, {MAX_PIXELS} at most")
            if form == "JPEG" and image.getexif().get(0x0112, 1) != 1:
                from PIL import ImageOps

                image = ImageOps.exif_transpose(image)
            return _pixels(image, name)
    except LemError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, zlib.error and warnings
        text = " ".join(str(error).replace("<_io.BytesIO object", "<data").split())[:100]
        raise LemError(f"{name}: not a readable {form} ({text})") from error


def _pixels(image, name: str) -> np.ndarray:
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode in ("L", "RGB", "1") and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in _OPAQUE:
        if image.getchannel("A").getextrema()[0] < 255:
            raise LemError(f"{name}: has transparent pixels; flatten it on a ground first")
        image = image.convert(_OPAQUE[image.mode])
    if image.mode.startswith("I;16"):
        return (np.asarray(image).astype(np.float32) / 65535)[None]
    if image.mode in ("I", "F"):
        raise LemError(f"{name}: pixels of mode {image.mode}, whose full scale is not known; convert it to 8 or 16 bits")
    array = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Pixels as 8 bits: uint8 as it stands; float, full scale 1, clipped and rounded."""
    return image if image.dtype == np.uint8 else np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


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
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, form, **({"quality": 95} if form == "JPEG" else {}))
    return out.getvalue()
