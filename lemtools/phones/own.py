"""Our own path through the same acoustic model, exact: nothing is pruned, so that it never gives up where there are frames enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..signal.phones import PAUSE
from .model import STATES, Model
from .sphinx import Spoken
from .viterbi import Path, Segments, viterbi
from .words import Entry

PAUSE_LEAST = STATES  # frames
PAUSE_COST = 34.4  # of a pause between words: a probability of .005 to the power 6.5, as pocketsphinx counts it


class Chain(NamedTuple):
    """What words emit, one state a segment: columns of `segments.symbols` are 0 for pauses, then `senones`; `owner` is the phone
    that a state belongs to, of `phones` and the numbers of their `words` (-1: a pause)."""

    segments: Segments
    senones: np.ndarray
    owner: np.ndarray
    phones: list[str]
    words: list[int]


def chain(model: Model, ways: Sequence[Sequence[str]], pauses: bool = True) -> Chain:
    """The chain of words that are spoken in these ways (ARPABET each). pauses: one may stand before, between and behind them."""
    phones, words = [PAUSE], [-1]
    for number, way in enumerate(ways):
        phones += [*way, PAUSE]
        words += [number] * len(way) + [-1]
    places = [i for i, phone in enumerate(phones) if phone != PAUSE]
    senones = model.senones([phones[i] for i in places], [words[i] for i in places])
    used, column = np.unique(senones, return_inverse=True)
    columns = dict(zip(places, (1 + column.reshape(-1, STATES)).tolist()))
    symbols: list[int] = []
    least: list[int] = []
    owner: list[int] = []
    for i, phone in enumerate(phones):
        if phone != PAUSE:
            symbols, least, owner = symbols + columns[i], least + [1] * STATES, owner + [i] * STATES
        elif pauses:
            symbols, least, owner = [*symbols, 0], [*least, PAUSE_LEAST], [*owner, i]
    return Chain(
        Segments(symbols, least, [s == 0 for s in symbols], [PAUSE_COST * (s == 0) for s in symbols]),
        used,
        np.array(owner),
        phones,
        words,
    )


def emissions(model: Model, streams: np.ndarray, senones: np.ndarray) -> torch.Tensor:
    """float32 [T, 1 + K]: of a pause the best of its states, then those of senones [K]."""
    found = model.emissions(streams, np.concatenate([model.senones([PAUSE], [0])[0], senones]))
    return torch.from_numpy(np.concatenate([found[:, :STATES].max(1, keepdims=True), found[:, STATES:]], 1))


def align(model: Model, streams: np.ndarray, words: Sequence[Entry], open_end: bool = False) -> list[Spoken]:
    """The phones of words in features [T, F, CEPSTRA], and the pauses. Each word is first taken as it is spoken in its first way; then
    every way is held against the frames that it got. open_end: the sound may end before the words do; what it does not reach
    is left out, and each word stays as in its first way: that tells where pauses are. LemError where there are fewer frames than the words need."""
    ways = [word.spoken[0] for word in words]
    found = _aligned(model, streams, chain(model, ways), open_end)
    better = ways if open_end else _ways(model, streams, words, found)
    return found if better == ways else _aligned(model, streams, chain(model, better), open_end)


def _aligned(model: Model, streams: np.ndarray, made: Chain, open_end: bool) -> list[Spoken]:
    path = viterbi(emissions(model, streams, made.senones)[None], [made.segments], open_end=open_end)
    return _spoken(path, made)


def _spoken(path: Path, made: Chain) -> list[Spoken]:
    spans = path.spans(0, len(made.owner)).numpy()
    first = np.flatnonzero(np.diff(made.owner, prepend=-1))
    last = np.append(first[1:], len(made.owner)) - 1
    return [
        Spoken(made.phones[owner], made.words[owner], int(begin), int(end))
        for owner, begin, end in zip(made.owner[first], spans[first, 0], spans[last, 1])
        if end > begin
    ]


def _ways(model: Model, streams: np.ndarray, words: Sequence[Entry], found: Sequence[Spoken]) -> list[tuple[str, ...]]:
    """The way in which each word fits best the frames that it got in its first way."""
    ways = [word.spoken[0] for word in words]
    for number, word in enumerate(words):
        mine = [spoken for spoken in found if spoken.word == number] if len(word.spoken) > 1 else []
        if not mine:
            continue
        begin, end = mine[0].begin, mine[-1].end
        chains = [chain(model, [way], pauses=False) for way in word.spoken if STATES * len(way) <= end - begin]
        scores = []
        for made in chains:
            part = emissions(model, streams[begin:end], made.senones)
            scores.append(float(viterbi(part[None].double(), [made.segments]).scores[0]))
        if scores:
            best = chains[int(np.argmax(scores))]
            ways[number] = tuple(phone for phone in best.phones if phone != PAUSE)
    return ways
