"""The acoustic model of English in the wheel of pocketsphinx (BSD), read from its files: triphones of 3 states whose emissions are
mixtures of the 128 Gaussians of their phone (a phonetically tied mixture; Huggins-Daines 2011), in three streams of features.

Letters: T frames, P phones, G Gaussians of a phone, F streams (cepstra and their two differences).
"""

from __future__ import annotations

import functools
import os
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..signal import LemError
from ..signal.phones import PAUSE

STATES = 3
LEAST = 1e-4  # of a variance
WEIGHT = -np.log(1.0001) * 1024  # of a step of a mixture weight, as its logarithm
INSIDE, BEGIN, END, SINGLE = range(4)  # where in a word a triphone stands
FEW = (
    200.0  # how far below the best of a frame a stream's Gaussians are kept, in logarithms: what is below adds nothing
)


def folder() -> str:
    """Where pocketsphinx keeps its English model. LemError, with the way to it, where it is not installed."""
    found = find_spec("pocketsphinx")
    if found is None or found.origin is None:
        raise LemError("phones needs pocketsphinx: pip install 'lemtools[align]'")
    return os.path.join(os.path.dirname(found.origin), "model", "en-us")


class Model:
    """An acoustic model.

    names: its P phones. senones(...) names what a sequence of phones emits, `emissions` says how well that fits each frame.
    """

    def __init__(self, path: str):
        try:
            self._read(os.path.join(path, "en-us"))
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise LemError(f"{path}: not the English model of pocketsphinx 5.1.1 ({error})") from error

    def _read(self, path: str) -> None:
        means, variances = (_gaussians(os.path.join(path, name)) for name in ("means", "variances"))
        self._means, self._inverse = means, 0.5 / np.maximum(variances, LEAST)
        self._constant = -0.5 * np.log(np.maximum(variances, LEAST) * 2 * np.pi).sum(3)  # [P, F, G]
        self._weights = _mixtures(os.path.join(path, "sendump"), means.shape[1:3])
        self.names, keys, self._sequences, sequence, self._owner = _phones(os.path.join(path, "mdef"))
        self._number = {name: i for i, name in enumerate(self.names)}
        order = np.argsort(keys, kind="stable")
        self._keys, self._sequence = keys[order], sequence[order]

    def senones(self, phones: list[str], words: list[int]) -> np.ndarray:
        """int64 [L, STATES]: what the states of phones (ARPABET, PAUSE for silence) emit, each between its neighbours.

        words: the number of the word that each belongs to. A triphone that the model does not have is taken from another place
        in a word, else between pauses, else its phone alone.
        """
        places = [PAUSE, *phones, PAUSE]
        found = np.empty((len(phones), STATES), np.int64)
        for i, (phone, word) in enumerate(zip(phones, words)):
            first, last = i == 0 or words[i - 1] != word, i + 1 == len(words) or words[i + 1] != word
            place = SINGLE if first and last else BEGIN if first else END if last else INSIDE
            found[i] = self._sequences[self._triphone(phone, places[i], places[i + 2], place)]
        return found

    def _triphone(self, phone: str, left: str, right: str, place: int) -> int:
        alone = self._number[phone]
        if phone == PAUSE:
            return alone
        for a, b in ((left, right), (PAUSE, PAUSE)):
            for where in (place, INSIDE, BEGIN, END, SINGLE):
                key = _key(where, alone, self._number[a], self._number[b])
                at = int(np.searchsorted(self._keys, key))
                if at < len(self._keys) and self._keys[at] == key:
                    return int(self._sequence[at])
        return alone

    def emissions(self, streams: np.ndarray, senones: np.ndarray) -> np.ndarray:
        """float32 [T, K]: the log-likelihood of features [T, F, CEPSTRA] under senones [K], without the decoder's pruning: the sum
        over streams of the logarithm of a mixture."""
        total = np.zeros((len(streams), len(senones)), np.float32)
        owners = self._owner[senones]
        for stream in range(streams.shape[1]):
            x = streams[:, stream]
            square = np.square(x)
            for phone in np.unique(owners):
                which = np.flatnonzero(owners == phone)
                inverse = self._inverse[phone, stream]
                fit = square @ -inverse.T + x @ (2 * inverse * self._means[phone, stream]).T
                fit += self._constant[phone, stream] - (inverse * np.square(self._means[phone, stream])).sum(1)
                top = fit.max(1, keepdims=True)
                mixed = np.exp(fit - top) @ self._weights[stream, :, senones[which]].T
                total[:, which] += top + np.log(np.maximum(mixed, 1e-30))
        return total

    @functools.cached_property
    def alone(self) -> np.ndarray:
        """int64 [P, STATES]: the senones of the phones without neighbours."""
        return np.asarray(self._sequences[: len(self.names)])


def _gaussians(path: str) -> np.ndarray:
    """float32 [P, F, G, D] of a file of Sphinx 3."""
    with open(path, "rb") as file:
        raw = file.read()
    at = raw.index(b"endhdr\n") + 7
    order, phones, streams, count = np.frombuffer(raw, "<u4", 4, at)
    if order != 0x11223344:
        raise ValueError("byte order")
    sizes = np.frombuffer(raw, "<u4", streams, at + 16)
    values = np.frombuffer(raw, "<f4", int(phones * count * sizes.sum()), at + 20 + 4 * int(streams))
    return values.reshape(int(phones), int(streams), int(count), int(sizes[0]))


def _mixtures(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 [F, G, senones]: the weights of mixtures, 8 bits each in the file."""
    with open(path, "rb") as file:
        raw = file.read()
    at = 0
    while length := int(np.frombuffer(raw, "<i4", 1, at)[0]):
        at += 4 + length
    count, senones = (int(n) for n in np.frombuffer(raw, "<i4", 2, at + 4))
    if count != shape[1]:
        raise ValueError("mixtures")
    steps = np.frombuffer(raw, np.uint8, shape[0] * count * senones, at + 12).reshape(shape[0], count, senones)
    return np.exp(np.float32(WEIGHT) * steps, dtype=np.float32)


def _key(place: Any, phone: Any, left: Any, right: Any) -> Any:
    """A triphone as one number."""
    return ((place * 64 + phone) * 64 + left) * 64 + right


def _phones(path: str) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(names of the phones, keys [M] of all triphones, senones of every sequence [Q, STATES], sequence of each triphone [M], phone of
    each senone) of a binary model definition."""
    with open(path, "rb") as file:
        raw = file.read()
    if raw[:4] not in (b"BMDF", b"FDMB"):
        raise ValueError("no binary model definition")
    at = 12 + int(np.frombuffer(raw, "<i4", 1, 8)[0])
    base, count, states, _, senones, _, sequences, _, nodes, _ = (int(n) for n in np.frombuffer(raw, "<i4", 10, at))
    if states != STATES:
        raise ValueError("states of a phone")
    names = raw[at + 40 :].split(b"\0", base)[:base]
    size = sum(len(name) + 1 for name in names)
    at += 40 + size + -size % 4 + 8 * nodes
    table = np.frombuffer(
        raw, np.dtype([("seq", "<i4"), ("matrix", "<i4"), ("place", "u1"), ("context", "u1", 3)]), count, at
    )
    of = np.frombuffer(raw, "<u2", sequences * STATES, at + 12 * count + 4).reshape(sequences, STATES).astype(np.int64)
    triphones = table[base:]
    context = triphones["context"].astype(np.int64)
    keys = _key(triphones["place"].astype(np.int64), context[:, 0], context[:, 1], context[:, 2])
    owner = np.zeros(senones, np.int64)
    owner[of[triphones["seq"]]] = context[:, :1]
    owner[of[table["seq"][:base]]] = np.arange(base)[:, None]
    # a phone without neighbours comes first, by its number
    order = np.concatenate([of[table["seq"][:base]], of])
    return [name.decode() for name in names], keys, order, triphones["seq"].astype(np.int64) + base, owner
