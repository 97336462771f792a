"""Quality and intelligibility of speech by others' code, of the extra [speech]. One float64 value an item.

Sound is [N,C,T]; channels are rated one by one, and the mean counts. Nothing is resampled here: each metric is defined
at one or two rates, and refuses others. nan where a sound holds too little speech to be rated.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module

import numpy as np

from ..signal import LemError
from .sound import sounds


def _package(module: str, metric: str, package: str = ""):
    """A module of the extra. LemError where it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise LemError(f"--metric {metric} needs {package or module}: pip install 'lemtools[speech]'") from error


def _rated(metric: str, rate: float, taken: tuple[int, ...]) -> int:
    if rate not in taken:
        rates = " or ".join(map(str, taken))
        raise LemError(f"--metric {metric} is defined at {rates} Hz, not at {rate:g}: resample both sounds before")
    return int(rate)


def _each(a: np.ndarray, b: np.ndarray, rate_one: Callable[[np.ndarray, np.ndarray], float]) -> np.ndarray:
    a, b = sounds(a, b, "quality of speech")
    return np.array([np.mean([rate_one(p, q) for p, q in zip(x, y)]) for x, y in zip(a, b)], np.float64)


def _pesq(a: np.ndarray, b: np.ndarray, rate: int, mode: str, metric: str) -> np.ndarray:
    code = _package("pesq", metric)

    def one(p: np.ndarray, q: np.ndarray) -> float:
        if not q.any():
            return np.nan
        try:
            return code.pesq(rate, p, q, mode)
        except (code.NoUtterancesError, code.BufferTooShortError):
            return np.nan

    return _each(a, b, one)


def pesq_wide(a: np.ndarray, b: np.ndarray, *, rate: float) -> np.ndarray:
    """Wide-band PESQ (ITU-T P.862.2) [N], MOS-LQO of about 1 to 4.6. `pesq[wb]`. At 16 kHz.

    By the package pesq. nan where it finds no utterance, for sounds below 1/4 s, and for an answer of silence.
    """
    return _pesq(a, b, _rated("pesq", rate, (16000,)), "wb", "pesq")


def pesq_narrow(a: np.ndarray, b: np.ndarray, *, rate: float) -> np.ndarray:
    """Narrow-band PESQ (ITU-T P.862, mapped by P.862.1) [N], MOS-LQO of about 1 to 4.6. `pesq[nb]`. At 8 or 16 kHz.

    Otherwise as `pesq_wide`; the two are not to be compared with one another.
    """
    return _pesq(a, b, _rated("pesq-nb", rate, (8000, 16000)), "nb", "pesq-nb")


def _stoi(a: np.ndarray, b: np.ndarray, rate: float, extended: bool) -> np.ndarray:
    code = _package("pystoi", "estoi" if extended else "stoi")

    def one(p: np.ndarray, q: np.ndarray) -> float:
        if not p.any():
            return np.nan
        with warnings.catch_warnings():  # of too little speech it warns and answers 1e-5
            warnings.simplefilter("error", RuntimeWarning)
            try:
                return code.stoi(p.astype(np.float64), q.astype(np.float64), round(rate), extended=extended)
            except (RuntimeWarning, ValueError):  # ValueError: of sounds shorter than a frame
                return np.nan

    return _each(a, b, one)


def stoi(a: np.ndarray, b: np.ndarray, *, rate: float) -> np.ndarray:
    """Short-time objective intelligibility (Taal et al. 2011) [N], about 0 to 1. `stoi`. At any rate.

    By the package pystoi: by its definition at 10 kHz, to which the package brings both. nan for a silent
    original, and for sounds with less than 30 frames (.4 s) that are not silent.
    """
    return _stoi(a, b, rate, False)


def estoi(a: np.ndarray, b: np.ndarray, *, rate: float) -> np.ndarray:
    """Extended STOI (Jensen and Taal 2016) [N]. `estoi`. Otherwise as `stoi`."""
    return _stoi(a, b, rate, True)


def visqol(a: np.ndarray, b: np.ndarray, *, rate: float) -> np.ndarray:
    """ViSQOL in its mode for speech (Chinen et al. 2020) [N], MOS-LQO of 1 to 5. `visqol[speech]`. At 16 kHz.

    By the package visqol-python with the lattice network that the authors' code has as its default. Without the network
    the package falls back to an older curve, which rates speech with holes far too well: that is refused. nan for a
    sound in which it finds nothing to compare, and for a silent one.
    """
    rate = _rated("visqol", rate, (16000,))
    made = _package("visqol", "visqol", "visqol-python[lattice]").VisqolApi()
    _package("ai_edge_litert.interpreter", "visqol", "ai-edge-litert (of visqol-python[lattice])")
    with _quiet():
        made.create(mode="speech", use_lattice_model=True)

    def one(p: np.ndarray, q: np.ndarray) -> float:
        if not p.any() or not q.any():
            return np.nan
        try:
            return made.measure_from_arrays(p.astype(np.float64), q.astype(np.float64), rate).moslqo
        except (ValueError, IndexError, RuntimeError):
            return np.nan

    return _each(a, b, one)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what native code writes to the standard error, such as which processor it found."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
