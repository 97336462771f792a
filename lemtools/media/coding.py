"""Texts that should be UTF-8, and how those seem to be written that are not."""

from ..signal import LemError


def text_of(raw: bytes) -> str:
    """A text, its mark of UTF-8 left out. LemError, with the way out, for what is no UTF-8."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"{error.reason} at byte {error.start}"
        said = coding(raw)
        way = f"text in {said}, it seems; {convert(said)}" if said else "give a text file"
        raise LemError(f"not UTF-8 text ({where}); {way}") from error


def convert(name: str) -> str:
    """The way out of another encoding."""
    return f"convert it to UTF-8 first: iconv -f {name} -t UTF-8 IN > OUT"


def coding(raw: bytes) -> str:
    """How a text that is no UTF-8 seems to be written: UTF-32 and UTF-16 by their marks, or where they say mostly ASCII; Latin-1 where
    its bytes are as in prose."""
    if raw[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return "UTF-32"
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") and len(raw) % 2 == 0:
        return "UTF-16"
    head = raw[: 1 << 16]
    for name, high, low in (("UTF-16LE", head[1::2], head[::2]), ("UTF-16BE", head[::2], head[1::2])):
        if len(raw) % 2 == 0 and not any(high) and all(byte in b"\t\n\r" or 0x20 <= byte < 0x7F for byte in low):
            return name
    letters = sum(byte >= 0xA0 for byte in head)
    plain = sum(byte in b"\t\n\r\f" or 0x20 <= byte < 0x7F for byte in head)
    return "ISO-8859-1" if letters + plain == len(head) and letters * 3 < len(head) else ""


def cut(raw: bytes) -> str:
    """What to do with a text in UTF-8 that begins or ends within a character, as head -c and tail -c leave it; '' for any other."""
    for first in range(4):
        if any(byte & 0xC0 != 0x80 for byte in raw[:first]):  # what goes on with a character
            break
        try:
            raw[first:].decode("utf-8")
            end = len(raw)
        except UnicodeDecodeError as error:
            end = first + error.start
            if error.reason != "unexpected end of data":
                continue
        if end - first < 4 or b"\0" in raw:
            break
        ways = [(end < len(raw), "last", f"head -c {end}"), (first > 0, "first", f"tail -c +{first + 1}")]
        found = [(which, way) for there, which, way in ways if there]
        names, commands = " and ".join(which for which, _ in found), " | ".join(way for _, way in found)
        return f"whose {names} character is cut; leave its bytes out: cat IN | {commands} > OUT"
    return ""
