"""Where a file of an image ends by its own structure, so that several in a row are told apart, and how large it says it is."""

import re
import zlib
from collections.abc import Iterator
from typing import Literal

from ..signal import LemError
from ..stream import Source
from .find import sniff

_TIFF_WIDE = {5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 17: 8, 18: 8}  # bytes of a value, by the number of its type
_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")  # within the data of a JPEG: what is neither stuffed nor a restart

_PIECE = 1 << 14  # bytes that are unpacked at a time, to a thousand times as many at most
# first column and row, steps across and down, of the passes of an interlaced PNG (PNG, section 8.2)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def files(source: Source, form: str) -> Iterator[tuple[bytes, bool]]:
    """(bytes, whether it is the last) of each image of an input: PNGs, PNMs and JPEGs may follow one another.

    Raises LemError where something else follows, or files of another format do, which are not split.
    """
    if form in ("PNG", "PPM"):
        more = True
        while more:
            raw = png_bytes(source) if form == "PNG" else pnm_bytes(source)
            while form == "PPM" and source.peek(1) and source.peek(1) in b" \t\r\n":
                source.read(1)
            more = bool(source.peek(1))
            if more and sniff(source.peek(16))[0] != form:
                raise LemError(f"{source.name}: goes on after a {form} with what is no {form}")
            yield raw, not more
        return
    raw = source.rest().tobytes()
    if form == "JPEG":
        yield from _jpegs(raw)
        return
    end = {"GIF": gif_end, "WEBP": _webp_end, "AVIF": _avif_end, "TIFF": _tiff_end}.get(form, len)(raw)
    if end is not None and sniff(raw[end : end + 16])[1] == "image":
        raise LemError(
            f"{source.name}: several images in a row, of which only the first would be read; name the files instead"
        )
    yield raw, True


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


def check_png_rows(raw: bytes) -> None:
    """ValueError for a PNG whose packed data end before its last row, which Pillow leaves black (PNG, section 7 and 8)."""
    width, height = (int.from_bytes(raw[at : at + 4], "big") for at in (16, 20))
    depth, colour, laced = raw[24], raw[25], raw[28]
    bits = depth * {0: 1, 2: 3, 4: 2, 6: 4}.get(colour, 1)
    steps = _ADAM7 if laced else ((0, 0, 1, 1),)
    sizes = ((-(-(width - x) // across), -(-(height - y) // down)) for x, y, across, down in steps)
    wanted = sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0 and rows > 0)
    have, at, unpack = 0, 8, zlib.decompressobj()
    while at < len(raw) and have < wanted and not unpack.eof:
        size = int.from_bytes(raw[at : at + 4], "big")
        packed = raw[at + 8 : at + 8 + size] if raw[at + 4 : at + 8] == b"IDAT" else b""
        for cut in range(0, len(packed), _PIECE):
            have += 0 if have >= wanted else len(unpack.decompress(packed[cut : cut + _PIECE]))
        at += 12 + size
    if have < wanted:
        raise ValueError(f"cut short, {have} of {wanted} bytes of pixels")


def pnm_bytes(source: Source) -> bytes:
    """One PNM, split off by the sizes that its header says; of plain ones (numbers as text) a file holds one."""
    head, fields = b"", []
    wanted = 3 if source.peek(2)[1:] in b"14" else 4  # bitmaps have no largest value
    while len(fields) < wanted and len(head) < 1 << 16:
        letter = source.read(1).tobytes()
        if not letter:
            break
        head += letter
        if letter.isspace():
            fields = re.sub(rb"#[^\n]*(\n|$)", b" ", head).split()
    form = head[1:2]
    if form in b"123":
        raw = head + source.rest().tobytes()
        if re.search(rb"\sP[1-6]\s", re.sub(rb"#[^\n]*", b"", raw)):
            raise LemError(
                f"{source.name}: several images in a row, of which only the first would be read; name the files instead"
            )
        return raw
    try:
        width, height, most = (*map(int, fields[1:]), 255)[:3]
    except ValueError:
        return head + source.rest().tobytes()  # damaged, which its reader says
    row = -(-width // 8) if form == b"4" else width * (3 if form == b"6" else 1) * (2 if most > 255 else 1)
    if row * height > source.item_bytes:
        raise LemError(f"{source.name}: an image of {row * height} bytes; raise --max-bytes to read it")
    return head + source.read(max(row * height, 0)).tobytes()


def _jpegs(raw: bytes) -> Iterator[tuple[bytes, bool]]:
    """JPEGs in a row, as ffmpeg writes them to a pipe; but what a camera appends to its picture (an MPF: depth, a second
    exposure, light for other screens) belongs to it, and so does what is no JPEG."""
    begin = 0
    while True:
        end, album = jpeg_end(raw, begin)
        following = len(raw) if end is None or album else end
        while raw[following : following + 1] in (b"\0", b"\n", b"\r"):
            following += 1
        last = raw[following : following + 3] != b"\xff\xd8\xff"
        yield raw[begin:] if last else raw[begin:end], last
        if last:
            return
        begin = following


def jpeg_end(raw: bytes, at: int = 0) -> tuple[int | None, bool]:
    """(where the JPEG that begins there ends, None: it is cut or damaged; whether it says that others belong to it)."""
    at, album = at + 2, False
    while True:
        if raw[at : at + 1] != b"\xff":
            return None, album
        while raw[at : at + 1] == b"\xff":
            at += 1
        marker, size = raw[at : at + 1], int.from_bytes(raw[at + 1 : at + 3], "big")
        if marker == b"\xd9":
            return at + 1, album
        if size < 2:
            return None, album
        album |= marker == b"\xe2" and raw[at + 3 : at + 7] == b"MPF\0"
        at += 1 + size
        if marker == b"\xda":
            found = _MARKER.search(raw, at)
            if found is None:
                return None, album
            at = found.start()


def gif_end(raw: bytes) -> int | None:
    """Behind the trailer of a GIF, past its blocks of extensions and images."""

    def table(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    try:
        at = 13 + table(raw[10])
        while raw[at] != 0x3B:
            if raw[at] == 0x2C:
                at += 11 + table(raw[at + 9])
            elif raw[at] == 0x21:
                at += 2
            else:
                return None
            while raw[at]:
                at += 1 + raw[at]
            at += 1
        return at + 1
    except IndexError:
        return None


def _webp_end(raw: bytes) -> int:
    size = int.from_bytes(raw[4:8], "little")
    return 8 + size + size % 2


def _avif_end(raw: bytes) -> int | None:
    """Where a second box 'ftyp' begins: a file has one."""
    at = int.from_bytes(raw[:4], "big")
    while at + 8 <= len(raw):
        size, kind = int.from_bytes(raw[at : at + 4], "big"), raw[at + 4 : at + 8]
        if kind == b"ftyp":
            return at
        if size < 8:  # to the end, or in 64 bits
            return None
        at += size
    return None


def _tiff_end(raw: bytes) -> int | None:
    """Behind all that the directories of a TIFF point to, also of one with 64-bit offsets (BigTIFF); None for a damaged one."""
    order: Literal["little", "big"] = "little" if raw[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(raw[at : at + size], order)

    # bytes of an offset and of the number of entries
    word, many = {42: (4, 2), 43: (8, 8)}.get(number(2, 2), (0, 0))
    if not word:
        return None
    at, end, seen = number(word, word), 2 * word, set()
    while 0 < at < len(raw) and at not in seen and len(seen) < 1000:
        seen.add(at)
        places: dict[int, list[int]] = {}
        after = at + many + (4 + 2 * word) * number(at, many)
        for entry in range(at + many, min(after, len(raw)), 4 + 2 * word):
            tag, kind, count, value = number(entry, 2), number(entry + 2, 2), number(entry + 4, word), entry + 4 + word
            wide = {3: 2, 4: 4, 16: 8}.get(kind)
            size = (wide or _TIFF_WIDE.get(kind, 1)) * count
            start = number(value, word) if size > word else value
            end = max(end, start + size if size > word else 0)
            if (
                tag in (273, 279, 324, 325) and wide and start + size <= len(raw)
            ):  # strips and tiles: where, how many bytes
                places[tag] = [number(start + wide * k, wide) for k in range(count)]
        for where, length in ((273, 279), (324, 325)):
            end = max([end, *(a + b for a, b in zip(places.get(where, ()), places.get(length, ())))])
        end, at = max(end, after + word), number(after, word)
    return end + end % 2 if raw[end : end + 2] not in (b"II", b"MM") else end


def webp_size(raw: bytes) -> tuple[int, int]:
    """(width, height) that a WebP says: its reader would take memory for them as it opens it (RFC 9649)."""
    kind, number = raw[12:16], lambda at, size: int.from_bytes(raw[at : at + size], "little")
    if kind == b"VP8X":
        return 1 + number(24, 3), 1 + number(27, 3)
    if kind == b"VP8L":
        return 1 + (number(21, 4) & 0x3FFF), 1 + (number(21, 4) >> 14 & 0x3FFF)
    return number(26, 2) & 0x3FFF, number(28, 2) & 0x3FFF
