"""Images by Pillow: bytes -> [C, H, W] and back."""

import io
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..signal import LemError, Signal
from ..stream import Source
from . import deep
from .ends import check_png_rows, files, webp_size
from .how import Reading
from .pixels import flatten, to_uint8

MAX_PIXELS = 89_478_485  # where Pillow begins to warn, 1/4 GiB of RGB: a bomb is known by its header, undecoded
_PLUGINS = {"WEBP": "WebP"}  # else the format's name with a capital
_COLOURS = {8: "L*a*b*", 9: "L*a*b*", 10: "L*a*b*", 32803: "those of a sensor", 32844: "LogL", 32845: "LogLuv"}
_UPRIGHT = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")  # where Pillow looks for an orientation


def each_image(source: Source, form: str, how: Reading) -> Iterator[Signal]:
    """Every image of an input, as batches of one; the last one says so."""
    for raw, last in files(source, form):
        yield replace(one_image(raw, form, source.name, how), last=last)


def one_image(raw: bytes, form: str, name: str, how: Reading) -> Signal:
    """A file as a batch of one: uint8, or float32 with full scale 1 where the file holds more than 8 bits.

    Transparent pixels lie on `how.background`; with `how.lost` 'alpha' those that are more transparent than not are
    lost.
    """
    image, alpha = decode_image(raw, form, name, how)
    full = 255 if image.dtype == np.uint8 else 1
    if how.lost == "alpha":
        from ..fragment.lost import lose

        whole = np.zeros(image.shape[1:], bool) if alpha is None else alpha < full / 2
        if not whole.any():
            how.say("nothing lost", f"{name}: nothing of it is transparent, so --lost alpha takes nothing from it")
        return lose(Signal("image", image[None]), whole[None, None])
    if alpha is not None and alpha.min() < full:
        image = flatten(image, alpha, how.background)
        how.say("alpha", f"{name}: transparent pixels were laid on {how.background} (--background COLOUR)")
    return Signal("image", image[None])


def decode_image(raw: bytes, form: str, name: str, how: Reading) -> tuple[np.ndarray, np.ndarray | None]:
    """([C, H, W], alpha [H, W] or None), C = 1 or 3, as its orientation says; of several frames the first.

    Raises LemError for what cannot be read without silent loss.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which is not read
            if form == "PPM" and (values := deep.netpbm(raw)) is not None:
                return values, None
            if form == "TIFF" and (values := deep.float_colours(raw, how.item_bytes)) is not None:
                return values, None
            if form == "WEBP":
                _check_size(form, *webp_size(raw), 12, how)  # its reader holds the image three times, with alpha
            image = _opened(raw, form)
            _check_size(form, image.width, image.height, _bytes_a_pixel(image, raw, form), how)
            if form != "JPEG" and getattr(image, "n_frames", 1) > 1:
                how.say("frames", f"{name}: {image.n_frames} frames, of which the first is read")
            if form == "PNG":
                check_png_rows(raw)
            if form == "TIFF":
                _check_tiff(image, name, how)
            if image.mode == "CMYK":
                how.say("inks", f"{name}: CMYK, turned into RGB as (1 - ink) (1 - black), by no profile of colours")
            bits = _bits(image, raw, form)
            again = lambda: _opened(raw, form)
            if image.mode == "F":
                return deep.floats(again, _upright), None
            if bits == 16 and form in ("PNG", "TIFF"):
                values, alpha = deep.sixteen_bits(again, _upright)
                return values, _keyed(values, image.info.get("transparency"), 65535) if alpha is None else alpha
            if bits > 8 and form == "AVIF":
                how.say("bits", f"{name}: an AVIF of {bits} bits a value is read with 8")
            elif bits > 8 or image.mode == "I":
                raise LemError(f"{form} with {bits} bits a value and mode {image.mode}; convert it to 8 or 16 bits")
            return _pixels(_upright(image), bits)
    except MemoryError:
        raise
    except LemError as error:
        raise LemError(f"{name}: {error}") from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, zlib.error and more
        text = " ".join(str(error).replace("<_io.BytesIO object", "<data").split())[:100]
        raise LemError(f"{name}: not a readable {form} ({text})") from error


def _check_tiff(image, name: str, how: Reading) -> None:
    """Note values of a pixel that are left out. LemError for a TIFF of values that are no intensities from 0 up."""
    tags = image.tag_v2
    meaning, colours = tags.get(262, 1), {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}  # TIFF 6.0, PhotometricInterpretation
    if 2 in tags.get(339, ()) and max(tags.get(258, (1,))) <= 16:  # (more bits are refused as such)
        raise LemError("a TIFF of values with a sign; shift them to 0 and more, and save them without one")
    if meaning not in colours:
        raise LemError(f"a TIFF whose colours are {_COLOURS.get(meaning, f'of kind {meaning}')}; save it as RGB")
    extra = [kind for kind in tags.get(338, ()) if kind not in (1, 2)]  # what is no alpha
    if (count := len(extra)) and tags.get(277, 1) > colours[meaning]:
        what = "a value of each pixel is" if count == 1 else f"{count} values of each pixel are"
        how.say("channels", f"{name}: {what} left out, beside its colours")


def _check_size(form: str, width: int, height: int, wide: int, how: Reading) -> None:
    """LemError for an image that says it is too large, before memory is taken for it."""
    if how.max_bytes is None and width * height > MAX_PIXELS:
        raise LemError(f"a {form} of more than {MAX_PIXELS} pixels; cut it into tiles first, or raise --max-bytes")
    if (size := width * height * wide) > how.item_bytes:
        raise LemError(f"a {form} of {width} x {height} pixels, {size} bytes; raise --max-bytes to read it")


def _bytes_a_pixel(image, raw: bytes, form: str) -> int:
    """Of what an image is read as."""
    return (1 if image.mode in ("1", "L", "LA", "La") or image.mode[0] in "IF" else 3) * (
        4 if _bits(image, raw, form) > 8 or image.mode[0] in "IF" else 1
    )


def _opened(raw: bytes, form: str):
    """Pillow's image of this very format: its Image.open would first load the readers of all the others."""
    from importlib import import_module

    plugin = _PLUGINS.get(form, form.capitalize())
    reader = getattr(import_module(f"PIL.{plugin}ImagePlugin"), f"{plugin}ImageFile")
    return reader(io.BytesIO(raw))


def _upright(image):
    """The image with its pixels decoded and turned as its EXIF record says."""
    image.load()
    if any(key in image.info for key in _UPRIGHT) and image.getexif().get(0x0112, 1) != 1:
        from PIL import ImageOps

        return ImageOps.exif_transpose(image)
    return image


def _bits(image, raw: bytes, form: str) -> int:
    """Bits a value that the file holds: Pillow reads 16 bits a colour as 8 without a word."""
    if form == "PNG":
        return raw[24]
    if form == "TIFF":
        return max(image.tag_v2.get(258, (1,)))
    if form == "AVIF" and (at := raw.find(b"av1C")) >= 0 and raw[at + 6] & 0x40:  # AV1 in ISOBMFF, section 2.3.3
        return 12 if raw[at + 6] & 0x20 else 10
    return 8


def _pixels(image, bits: int) -> tuple[np.ndarray, np.ndarray | None]:
    """([C, H, W], alpha or None) of an image of 8 bits."""
    key = image.info.get("transparency")
    if image.mode == "P":
        image = image.convert("RGBA" if key is not None else "RGB")
    elif image.mode == "RGBa":
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA", "PA"):
        alpha = np.asarray(image.getchannel("A"))
        image = image.convert("L" if image.mode == "LA" else "RGB")
        key = None
    else:
        alpha, image = None, image.convert("L" if image.mode in ("1", "L") else "RGB")
    array = np.asarray(image)
    array = array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))
    return array, _keyed(array, key, 2 ** min(bits, 8) - 1) if alpha is None else alpha


def _keyed(image: np.ndarray, key, most: int) -> np.ndarray | None:
    """alpha [H, W] where one value of a pixel stands for transparent: `key`, a number or three, of full scale `most`."""
    if key is None or isinstance(key, bytes):
        return None
    full = 255 if image.dtype == np.uint8 else 1
    asked = np.atleast_1d(np.array(key, np.float64)).reshape(-1, 1, 1) * full / most
    return np.where((np.abs(image - asked) < 0.25 * full / most).all(axis=0), 0, full).astype(image.dtype)


def encode_image(image: np.ndarray, form: str) -> bytes:
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
