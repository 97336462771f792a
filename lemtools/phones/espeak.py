"""The letter-to-sound rules of espeak-ng, where its library is installed (PyPI's espeakng-loader; GPL, and so never required)."""

from __future__ import annotations

import ctypes
import functools
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ..signal import LemError
from ..signal.phones import read

RETRIEVE, UTF8, IPA = 1, 1, 2  # of espeak_Initialize, espeak_TextToPhonemes and its phoneme mode


@functools.cache
def _library() -> Any:
    """The library, ready; None where it is not installed."""
    if find_spec("espeakng_loader") is None:
        return None
    loader = import_module("espeakng_loader")
    library = ctypes.CDLL(loader.get_library_path())
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    if library.espeak_Initialize(RETRIEVE, 0, str(loader.get_data_path()).encode(), 0) < 0:
        raise LemError(f"espeak-ng does not start with the data in {loader.get_data_path()}")
    return library


def installed() -> bool:
    """Whether the rules can be asked."""
    return _library() is not None


def phones(word: str, language: str) -> list[str] | None:
    """The ARPABET phones nearest to those that espeak-ng speaks a word with; None where it is not installed, or says nothing.

    LemError for a language that it does not speak.
    """
    library = _library()
    if library is None:
        return None
    voice = "en-us" if language == "en" else language
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise LemError(f"espeak-ng speaks no {language!r}; --language takes its codes, such as en, de, fr or es")
    asked = ctypes.c_char_p(word.encode())
    text = (library.espeak_TextToPhonemes(ctypes.byref(asked), UTF8, IPA) or b"").decode("utf-8", "replace")
    return read(text if language == "en" else text.replace("ɾ", "r"), "ipa") or None  # English alone taps a t
