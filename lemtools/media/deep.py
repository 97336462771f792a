"""Images of more than 8 bits a value: float32 with full scale 1, no bit of theirs lost."""

import io
import re
import sys
import zlib
from collections.abc import Iterator

import numpy as np

from ..signal import LemError

_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def netpbm(raw: bytes) -> np.ndarray | None:
    """[C, H, W] of a PGM or PPM of more than 8 bits, None for any other."""
    head = re.match(rb"P([2356])(?:\s+|#[^\n]*\n)*(\d+)(?:\s+|#[^\n]*\n)*(\d+)(?:\s+|#[^\n]*\n)*(\d+)\s", raw)
    if head is None:
        return None
    form, width, height, most = map(int, head.groups())
    count = (3 if form in (3, 6) else 1) * width * height
    if most < 256:
        if form > 3 and raw[head.end() : head.end() + count].translate(None, bytes(range(most + 1))):
            raise ValueError(f"values above {most}")
        return None
    if most > 65535:
        raise ValueError("more than 16 bits a value")
    if form > 3:
        values = np.frombuffer(raw[: head.end() + 2 * count], ">u2", -1, head.end())
    else:
        values = np.array(re.sub(rb"#[^\n]*", b"", raw[head.end() :]).split(), np.uint32)
    if len(values) < count or values.max() > most:
        raise ValueError("cut short" if len(values) < count else f"values above {most}")
    values = values[:count].reshape(height, width, -1).transpose(2, 0, 1)
    return (values / np.float32(most)).astype(np.float32)


def sixteen_bits(opened, upright) -> tuple[np.ndarray, np.ndarray | None]:
    """([C, H, W], alpha [H, W] or None) of a PNG or TIFF with 16 bits a value.

    opened(): Pillow's image, afresh at every call. upright(image): it, as its orientation says. Pillow knows colours of
    8 bits only and takes the upper bytes. So it decodes twice: the order of bytes swapped, it takes the lower ones.
    """
    image = opened()
    if image.format == "TIFF" and image.tag_v2.get(277, 1) > 1 and image.tag_v2.get(284, 1) == 2:
        raise ValueError("16 bits a value in planes; save its values pixel by pixel")  # deflated: upper bytes twice
    args = image.tile[0].args
    rawmode = args if isinstance(args, str) else args[0]
    if image.mode.startswith("I"):
        grey = np.asarray(upright(image)).astype(np.float32)
        white_is_zero = image.format == "TIFF" and image.tag_v2.get(262) == 0
        return (65535 - grey if white_is_zero else grey)[None] / 65535, None
    if rawmode == "LA;16B":  # as many bytes a pixel as RGBA has
        high = _decoded(opened(), "RGBA", upright)
        values = high[..., ::2].astype(np.uint16) << 8 | high[..., 1::2]
    elif re.fullmatch(r"RGB[AX]?;16[BLN]", rawmode):
        high = _decoded(image, rawmode, upright)
        values = high.astype(np.uint16) << 8 | _decoded(opened(), rawmode[:-1] + _SWAPPED[rawmode[-1]], upright)
    else:
        raise ValueError(f"16 bits a value as {rawmode}, which is not known; save it as RGB")
    values = (values.transpose(2, 0, 1) / np.float32(65535)).astype(np.float32)
    return (values, None) if len(values) == 3 else (values[:-1], values[-1])


def _decoded(image, rawmode: str, upright) -> np.ndarray:
    """[H, W, C] of bytes, the file's values read as `rawmode`."""
    with_it = lambda args: rawmode if isinstance(args, str) else (rawmode, *args[1:])
    image.tile = [tile._replace(args=with_it(tile.args)) for tile in image.tile]
    return np.asarray(upright(image))


def floats(opened, upright) -> np.ndarray:
    """[1, H, W] of a TIFF of grey floats, which Pillow reads."""
    image = opened()
    if image.tile and image.tile[0].codec_name == "libtiff":  # which gives the machine's order, whatever the file's is
        image.tile = [tile._replace(args=("F;32NF", *tile.args[1:])) for tile in image.tile]
    white_is_zero = image.tag_v2.get(262) == 0
    grey = in_range(np.asarray(upright(image)).astype(np.float32)[None])
    return 1 - grey if white_is_zero else grey


def float_colours(raw: bytes, most: int) -> np.ndarray | None:
    """[3, H, W] of a TIFF with three floats a pixel, in strips, plain or deflated; None for any other file.

    most: bytes that they may have once they are unpacked.
    """
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    file = io.BytesIO(raw)
    tags = ImageFileDirectory_v2(raw[:16] if raw[2] == 43 or raw[3] == 43 else raw[:8])
    file.seek(tags.next)
    tags.load(file)
    if set(tags.get(339, (1,))) != {3} or tags.get(277, 1) != 3:
        return None
    bits, compression = tags.get(258, (0,))[0], tags.get(259, 1)
    if 273 not in tags or tags.get(284, 1) != 1 or tags.get(274, 1) != 1 or tags.get(317, 1) != 1:
        raise ValueError("tiles, planes, a predictor or an orientation; save it in plain strips")
    if bits not in (16, 32, 64) or compression not in (1, 8, 32946):
        raise ValueError(f"floats of {bits} bits, compression {compression}; save it plain, with 32 bits")
    size = 3 * tags[257] * tags[256] * (bits // 8)
    if size > most:
        raise LemError(f"a TIFF of {tags[256]} x {tags[257]} pixels, {size} bytes; raise --max-bytes to read it")
    parts = [raw[start : start + count] for start, count in zip(tags[273], tags[279])]
    body = b"".join(parts if compression == 1 else _inflated(parts, size))
    values = np.frombuffer(body, f"{'<' if raw[:2] == b'II' else '>'}f{bits // 8}")
    return in_range(values.reshape(tags[257], tags[256], 3).transpose(2, 0, 1).astype(np.float32))


def _inflated(parts: list[bytes], most: int) -> Iterator[bytes]:
    """Strips, unpacked; what goes beyond `most` bytes is left packed."""
    for part in parts:
        body = zlib.decompressobj().decompress(part, max(most, 0) + 1)
        most -= len(body)
        yield body


def in_range(values: np.ndarray) -> np.ndarray:
    """Float pixels, which must lie in [0, 1]. Raises LemError for others (those that are no numbers, the loader finds)."""
    if values.min() < 0 or values.max() > 1:
        raise LemError(
            f"float pixels from {values.min():.4g} to {values.max():.4g}; an image lies in [0, 1]: "
            "divide it by its full scale"
        )
    return values
