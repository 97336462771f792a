"""Names of items: text that stands for a file's bytes, whatever the locale, with an extension and a sample's number."""

import itertools
import os
import re

import numpy as np

from ..catalogue.errors import LemError

_EXTENSION = re.compile(r"(?<=[^/])\.[A-Za-z][^./#\s]*(?=(#\d+)?$)")


def stem(name: str) -> str:
    """A name without its extension, which begins with a letter: 'a/C#4.png' is 'a/C#4', and 'scan.001' stays.

    The number of a sample stays, too: 'a.png#1' is 'a#1'.
    """
    return _EXTENSION.sub("", name, count=1)


def name_of(path: str) -> str:
    """A path as a name: its bytes as UTF-8, what is none as lone surrogates, in a locale of ASCII, too."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def path_of(name: str) -> str:
    """Inverse of `name_of`."""
    return os.fsdecode(name.encode("utf-8", "surrogateescape"))


def pack_texts(what: str, texts: list[str]) -> dict[str, np.ndarray]:
    """Texts as two tensors, `what`.utf8 and `what`.offsets, so that the header does not grow with their number."""
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    joined = np.frombuffer(b"".join(encoded), np.uint8)
    return {f"{what}.utf8": joined, f"{what}.offsets": np.cumsum([0, *map(len, encoded)], dtype=np.int64)}


def unpack_texts(text: np.ndarray, offsets: np.ndarray, n: int, what: str = "names") -> list[str]:
    """The n texts of the tensors that `pack_texts` makes. LemError where they do not fit together."""
    offsets, raw = offsets.astype(np.int64, casting="safe"), text.tobytes()
    if offsets.shape != (n + 1,) or offsets[0] != 0 or offsets[-1] != len(raw) or (np.diff(offsets) < 0).any():
        raise LemError(f"damaged document ({what})")
    return [raw[a:b].decode("utf-8", "surrogateescape") for a, b in itertools.pairwise(offsets)]
