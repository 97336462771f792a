"""Names of items: text that stands for a file's bytes, whatever the locale, with an extension and a sample's number."""

import os
import re

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
