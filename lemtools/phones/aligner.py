"""One sound and what is said in it: when each phone is spoken, and how that was found.

pocketsphinx finds the path; where it gives up, it is asked again with less and with more silence around the speech; then our own
exact path is taken. Boundaries are made finer (refine.py), and every phone gets a score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..signal import LemError
from ..signal.phones import PAUSE
from . import own, pieces
from .cepstra import HOP, RATE, bands, cepstra, denoised, features
from .model import STATES, Model, folder
from .refine import Boundaries, Mover, refine
from .sphinx import Refused, Sphinx, Spoken
from .words import Entry

AROUND = 0.2  # s of silence around the speech where pocketsphinx is asked again
QUIET = 1e-2  # of the loudest 10 ms: what is below is silence
HISS = 1e-4  # of full scale: silence that is put around a sound is noise of that rms
FEWEST = 0.03  # s that a phone lasts at least
_WAY_OUT = "--fallback even spreads the phones evenly"


class Aligned(NamedTuple):
    """Phones of a sound in order, pauses among them: ARPABET, the number of the word (-1: pause), begin and end in seconds
    [L, 2], a score each (nats a frame by which it fits less well than the best phone there: 0 at best); and how it was made."""

    phones: list[str]
    words: list[int]
    spans: np.ndarray
    scores: np.ndarray
    record: dict[str, Any]


class Aligner:
    """refinement: a way of refine.WAYS, or a trained network (learned.Learned). even: where no path can be found, spread the phones evenly in place of an error."""

    def __init__(self, refinement: str | Mover = "spectral", even: bool = False):
        self.model, self.refinement, self.even = Model(folder()), refinement, even
        self._sphinx = Sphinx(folder())

    def align(self, sound: pieces.Sound, words: Sequence[Entry]) -> Aligned:
        """sound: [T] at 16 kHz, full scale 1, of which no more than a piece is asked for at a time. Raises LemError for a text without words, for silence, and for a sound that is too
        short for its phones, unless `even`."""
        if not words:
            raise LemError("a text without words; there is nothing to align")
        seconds, phones = len(sound) / RATE, sum(len(word.spoken[0]) for word in words)
        try:
            if not any(sound[at : at + pieces.WINDOW].any() for at in range(0, len(sound), pieces.WINDOW)):
                raise LemError(f"silence; there is nothing to align; {_WAY_OUT}")
            if seconds < FEWEST * phones:
                least = f"{seconds:.3g} s of sound for {phones} phones: too short for {1000 * FEWEST:g} ms each"
                raise LemError(f"{least}; is it the text of this sound? {_WAY_OUT}")
            parts = [self._part(sound[a:b], some, a) for a, b, some in pieces.cut(self.model, sound, words)]
        except LemError:
            if not self.even:
                raise
            return _even(seconds, words)
        return _joined(parts, seconds)

    def _part(self, sound: np.ndarray, words: Sequence[Entry], begin: int) -> _Part:
        """One piece, from its first sample on."""
        streams = features(cepstra(denoised(bands(sound))))
        found, record = self._path(sound, streams, words)
        scores = fit(self.model, streams, found)
        times = np.array([spoken.begin for spoken in found] + [found[-1].end]) * (HOP / RATE)
        times[[0, -1]] = 0, len(sound) / RATE
        times = refine(Boundaries(times, [spoken.phone for spoken in found]), sound, self.refinement)
        return _Part(found, times + begin / RATE, scores, record)

    def _path(
        self, sound: np.ndarray, streams: np.ndarray, words: Sequence[Entry]
    ) -> tuple[list[Spoken], dict[str, Any]]:
        if not words:
            return [Spoken(PAUSE, -1, 0, len(streams))], {"engine": "none"}
        for retries, change in enumerate(_CHANGES):
            changed, before = change(sound)
            try:
                found = _moved(self._sphinx.align(changed, words), before // HOP, len(streams))
            except Refused:
                continue
            return found, {"engine": "pocketsphinx", "retries": retries, "padding": before / RATE}
        found = own.align(self.model, streams, words)
        return found, {"engine": "viterbi", "retries": len(_CHANGES), "padding": 0.0}


class _Part(NamedTuple):
    found: list[Spoken]
    times: np.ndarray  # s, [L + 1]
    scores: np.ndarray
    record: dict[str, Any]


def fit(model: Model, streams: np.ndarray, found: Sequence[Spoken]) -> np.ndarray:
    """float32 [L], <= 0: the log-likelihood of each phone less that of the best phone, each without neighbours and by its best state,
    as a mean over its frames (a likelihood ratio in place of the posterior of Witt & Young 2000)."""
    each = model.emissions(streams, model.alone.reshape(-1)).reshape(len(streams), -1, STATES).max(2)
    less = each - each.max(1, keepdims=True)
    return np.array(
        [less[spoken.begin : spoken.end, model.names.index(spoken.phone)].mean() for spoken in found], np.float32
    )


def _same(sound: np.ndarray) -> tuple[np.ndarray, int]:
    return sound, 0


def _trimmed(sound: np.ndarray) -> tuple[np.ndarray, int]:
    """(the sound with at most AROUND s of silence at each end, minus the samples that went before it)."""
    hop, around = HOP, round(AROUND * RATE / HOP)
    power = np.sqrt(np.add.reduceat(np.square(sound, dtype=np.float64), np.arange(0, len(sound), hop)) / hop)
    loud = np.flatnonzero(power > QUIET * power.max())
    first, last = max(0, loud[0] - around), loud[-1] + around + 1
    return sound[first * hop : last * hop], -first * hop


def _padded(sound: np.ndarray) -> tuple[np.ndarray, int]:
    """(the sound with AROUND s of faint noise at both ends, the samples put before it)."""
    count = round(AROUND * RATE / HOP) * HOP
    noise = np.random.default_rng(0).normal(0, HISS, 2 * count).astype(np.float32)
    return np.concatenate([noise[:count], sound, noise[count:]]), count


_CHANGES: tuple[Callable[[np.ndarray], tuple[np.ndarray, int]], ...] = (_same, _trimmed, _padded)


def _moved(found: list[Spoken], frames: int, count: int) -> list[Spoken]:
    """Phones of a changed sound in the frames of the sound itself, whole from its first frame to its last."""
    inside = [
        Spoken(phone, word, min(max(begin - frames, 0), count), min(max(end - frames, 0), count))
        for phone, word, begin, end in found
    ]
    inside = [spoken for spoken in inside if spoken.end > spoken.begin]
    kept = sum(spoken.word >= 0 for spoken in inside) == sum(spoken.word >= 0 for spoken in found)
    if not kept:
        raise Refused("phones outside the sound")
    if inside[0].begin > 0:
        inside = [Spoken(PAUSE, -1, 0, inside[0].begin), *inside]
    if inside[-1].end < count:
        inside.append(Spoken(PAUSE, -1, inside[-1].end, count))
    return inside


def _joined(parts: Sequence[_Part], seconds: float) -> Aligned:
    """Pieces as one: the words counted through, pauses on both sides of a cut made one."""
    phones: list[str] = []
    of: list[int] = []
    begins: list[float] = []
    weights: list[float] = []
    scores: list[float] = []
    before = 0
    for part in parts:
        for spoken, begin, score in zip(part.found, part.times, part.scores):
            length = float(spoken.end - spoken.begin)
            if spoken.word < 0 and phones and of[-1] < 0:
                total = weights[-1] + length
                scores[-1] = (scores[-1] * weights[-1] + float(score) * length) / total
                weights[-1] = total
                continue
            phones.append(spoken.phone)
            of.append(spoken.word + before if spoken.word >= 0 else -1)
            begins.append(float(begin))
            weights.append(length)
            scores.append(float(score))
        before += 1 + max((spoken.word for spoken in part.found), default=-1)
    ends = [*begins[1:], seconds]
    said = np.array(of) >= 0
    frames = np.array(weights)
    record = {
        "engine": "+".join(sorted({part.record["engine"] for part in parts} - {"none"})),
        "retries": max(part.record.get("retries", 0) for part in parts),
        "padding": max((part.record.get("padding", 0.0) for part in parts), key=abs),
        "pieces": len(parts),
        "gaps": int((~said[1:-1]).sum()),
        "least": int((said & (frames <= STATES)).sum()),
        "score": round(float((np.array(scores) * frames)[said].sum() / frames[said].sum()), 4),
    }
    return Aligned(phones, of, np.array([begins, ends]).T, np.array(scores, np.float32), record)


def _even(seconds: float, words: Sequence[Entry]) -> Aligned:
    """The phones of all words, each as long as every other."""
    phones = [phone for word in words for phone in word.spoken[0]]
    of = [number for number, word in enumerate(words) for _ in word.spoken[0]]
    times = np.linspace(0, seconds, len(phones) + 1)
    record = {"engine": "even", "retries": 0, "padding": 0.0, "pieces": 1, "gaps": 0, "least": 0, "score": None}
    return Aligned(phones, of, np.stack([times[:-1], times[1:]], 1), np.zeros(len(phones), np.float32), record)
