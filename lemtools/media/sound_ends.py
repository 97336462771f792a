"""Where files of sounds end by their own account: libsndfile reads a cut one as shorter, and one of several as all."""

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Literal

from ..signal import LemError
from .raw import Raw

_FIRST_FRAME = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb].{2,60}?(Xing|Info)\0\0\0", re.DOTALL)  # of an MP3
_LONGEST = 69  # bytes that it matches
_PAGE = 27 + 255  # bytes of the head of a page of OGG, at most

_Order = Literal["little", "big"]
_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def checked(raw: Raw, form: str, name: str) -> list[Raw]:
    """The sounds to read one after another: all links of a chained OGG, else the one there is.

    A WAV of unknown length is mended. Raises LemError for a sound that is cut short, and where another file
    begins behind it.
    """
    if form == "OGG":
        links = list(_links(raw))
        for link in links:
            _check_ogg(link, name)
        return links
    check: Callable[[Raw, str, str], None] = {"WAV": _wav, "FLAC": _flac, "MP3": _mp3}.get(form, _announced)
    check(raw, form, name)
    return [raw]


def _cut(name: str, form: str, have: int, size: int) -> LemError:
    return LemError(f"{name}: {form} cut short, {have} of {size} bytes")


def _several(name: str, form: str) -> LemError:
    return LemError(f"{name}: several {form}s in a row, of which only the first would be read; name the files instead")


def _number(raw: Raw, at: int, size: int = 4, order: _Order = "little") -> int:
    return int.from_bytes(raw[at : at + size], order)


def _wav(raw: Raw, form: str, name: str) -> None:
    """RIFF, RIFX (big-endian) and RF64 (sizes in 64 bits). Where a WAV written to a pipe does not know its length (0, or
    2 GiB and more), let it end where the bytes end."""
    kind = raw[:4]
    order: _Order = "big" if kind == b"RIFX" else "little"
    long = kind == b"RF64"  # its sizes stand in the chunk ds64, which is the first
    whole, at = _number(raw, 20, 8) if long else _number(raw, 4, 4, order), 12
    if raw[8 + whole : 12 + whole] == kind:
        raise _several(name, "WAV")
    while at + 8 <= len(raw):
        size, here = _number(raw, at + 4, 4, order), len(raw) - at - 8
        if raw[at : at + 4] == b"data":
            size = _number(raw, 28, 8) if long else size
            unknown = not long and ((size >= 0x7FFFF000 and size > here) or (size == 0 and whole != len(raw) - 8))
            if unknown:
                for place, value in ((at + 4, here), (4, len(raw) - 8)):
                    raw.mend(place, value.to_bytes(4, order))
            elif size > here:
                raise _cut(name, "WAV", here, size)
            return
        at += 8 + size + size % 2
    raise LemError(f"{name}: WAV cut short, or damaged: it has no samples")


def _links(raw: Raw) -> Iterator[Raw]:
    """The links of a chained OGG (RFC 3533, 4): a first page behind one that is none begins the next."""
    at, begin, within = 0, 0, False
    while (head := raw[at : at + _PAGE])[:4] == b"OggS" and len(head) >= 27:
        first = bool(head[5] & 2)
        if first and within:
            yield raw.part(begin, at)
            begin = at
        within = not first
        lacing = head[27 : 27 + head[26]]
        at += 27 + len(lacing) + sum(lacing)
    yield raw.part(begin, len(raw))


def _check_ogg(raw: Raw, name: str) -> None:
    """libsndfile ends a cut OGG at its last whole page, passes over damaged and missing ones, and says nothing. Here each
    page has its checksum and number, and the last one is marked (RFC 3533, 6)."""
    at, last = 0, False
    numbers: dict[bytes, int] = {}  # of the page before, by stream; after the heads of one it may begin anywhere
    while (head := raw[at : at + _PAGE])[:4] == b"OggS" and len(head) >= 27:
        size = 27 + head[26] + sum(head[27 : 27 + head[26]])
        if at + size > len(raw):
            break
        page = raw[at : at + size]
        if _ogg_checksum(page) != page[22:26]:
            raise LemError(f"{name}: damaged OGG (the page at byte {at} does not have its checksum)")
        number, stream = int.from_bytes(page[18:22], "little"), page[14:18]
        if stream in numbers and number != numbers[stream] + 1:
            raise LemError(f"{name}: damaged OGG (pages are missing before byte {at})")
        if int.from_bytes(page[6:14], "little"):
            numbers[stream] = number
        last, at = bool(page[5] & 4), at + size
    if raw.holds(b"OggS", at + 4):
        raise LemError(f"{name}: damaged OGG (no page at byte {at}, but others behind it)")
    if not last or raw[at : at + 4] == b"OggS":
        raise LemError(f"{name}: OGG cut short (its last page is missing)")


def _ogg_checksum(page: bytes) -> bytes:
    """That of a page: zlib's polynomial, the bits of all bytes in the other order, from a register of 0."""
    mirrored = (page[:22] + bytes(4) + page[26:]).translate(_MIRROR)
    return (zlib.crc32(mirrored, 0xFFFFFFFF) ^ 0xFFFFFFFF).to_bytes(4, "big").translate(_MIRROR)


def _flac(raw: Raw, form: str, name: str) -> None:
    head = raw[:8]  # its mark, and the head of the block that comes first in every FLAC
    if head[5:] == b"\0\0\x22" and raw.holds(head, 8):
        raise _several(name, form)


def _mp3(raw: Raw, form: str, name: str) -> None:
    """Most MP3s say in their first frame, under Xing or Info, how many bytes they have; libsndfile ends there."""
    head = raw[:10]
    start = 0
    if head[:3] == b"ID3":  # its size: 7 bits a byte
        start = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0)))
    frame = raw[start : start + 64]
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or at + 8 > len(frame) or not frame[at + 7] & 2:
        return
    at += 8 + 4 * (frame[at + 7] & 1)
    size = int.from_bytes(frame[at : at + 4], "big")
    if size > len(raw) - start:
        raise _cut(name, form, len(raw) - start, size)
    if any(map(_FIRST_FRAME.search, raw.pieces(start + size, _LONGEST - 1))):
        raise _several(name, form)


# of what is read as sound where --kind audio asks for it: (where its size stands, bytes, order, where it counts from)
_SIZES: dict[bytes, tuple[int, int, _Order, int | None]] = {
    b"FORM": (4, 4, "big", 8),
    b"riff": (16, 8, "little", 0),
    b".snd": (8, 4, "big", None),
}


def _announced(raw: Raw, form: str, name: str) -> None:
    """AIFF, W64 and AU say at their head how long they are."""
    kind = raw[:4]
    if kind not in _SIZES:
        return
    place, wide, order, start = _SIZES[kind]
    size = _number(raw, place, wide, order)
    end = size + (_number(raw, 4, 4, order) if start is None else start)
    if kind == b".snd" and size == 0xFFFFFFFF:  # written to a pipe
        return
    if end > len(raw):
        raise _cut(name, form, len(raw), end)
    if raw[end : end + 4] == kind:
        raise _several(name, form)
