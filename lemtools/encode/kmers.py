"""Genomes as tokens: k bases in a row, side by side, as one of 4^k."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..catalogue.encoders import LONGEST
from ..signal import LemError, Signal
from .contract import Encoder
from .text import as_bytes

BASES = b"ACGT"


class Kmers(Encoder):
    """Bases, whole letters A, C, G and T, to tokens [1, M] of k of them, the first base as the highest digit to base 4.

    Of a FASTA file every record is cut by itself: no token has bases of two. Up to k - 1 bases at the end of a record
    make no token; `left` counts them, and where the bases are to come back `whole` they are refused.
    """

    name, unit = "kmer", "base"

    def __init__(self, bases: int = 6, *, whole: bool = False):
        self.k, self.vocab, self.whole, self.left = bases, 4**bases, whole, 0

    @classmethod
    def named(cls, name: str, whole: bool = False) -> Kmers | None:
        """Of 'kmer:6'; None for a name of another kind. LemError for a k that is none."""
        kind, _, k = name.partition(":")
        if kind != cls.name:
            return None
        if not (k.isascii() and k.isdigit() and 1 <= int(k) <= LONGEST):
            raise LemError(f"--codec {name}: kmer:K has a K of 1 to {LONGEST}, as in kmer:6")
        return cls(int(k), whole=whole)

    def record(self, signal: Signal) -> dict:
        return {"bases": self.k, "vocab": self.vocab}

    def remark(self) -> str | None:
        return f"{self.left} bases at the ends of records make no token" if self.left else None

    def encode(self, signal: Signal) -> list[Signal]:
        """Tokens of texts [N, L], of each by itself. LemError for letters that are no bases."""
        made = []
        for i, row in enumerate(as_bytes(signal)):
            found = [self._record(record) for record in records(row.tobytes())]
            tokens = np.concatenate(found) if found else np.empty(0, np.uint16)
            if not len(tokens):
                raise LemError(f"no {self.k} bases in a row, where a token has so many")
            made.append(replace(signal.take([i]), data=tokens[None], depth=2 * self.k))
        return made

    def decode(self, signal: Signal, record: dict) -> list[Signal]:
        """Letters [N, k M] of tokens [N, M], of as many bases as their record says."""
        k = record.get("bases", self.k)
        if type(k) is not int or not 1 <= k <= LONGEST:
            raise LemError(f"the history has tokens of {str(k)[:20]} bases, where there are 1 to {LONGEST}")
        least, most = int(signal.data.min(initial=0)), int(signal.data.max(initial=0))
        if least < 0 or most >= 4**k:
            raise LemError(f"token {least if least < 0 else most}, where those of {k} bases are 0 to {4**k - 1}")
        digits = signal.data[:, :, None].astype(np.int64) // 4 ** np.arange(k - 1, -1, -1) % 4
        letters = np.frombuffer(BASES, np.uint8)[digits].reshape(len(signal.data), -1)
        return [replace(signal, data=letters, depth=None)]

    def _record(self, letters: bytes) -> np.ndarray:
        if others := letters.translate(None, BASES):
            kinds = bytes(sorted(set(others)))
            shown = kinds[:20].decode("latin-1")
            small = kinds.translate(None, BASES.lower()) == b""
            way = "split the records there first"
            if kinds != kinds.upper():
                way = "make them capitals, if they are no mask" + ("" if small else f", and for others {way}")
            if 2 * len(others) > len(letters) and not small:
                way = "kmer:K is for genomes"
            raise LemError(f"{len(others)} letters {shown!r} beside A, C, G and T; {way}")
        digits = np.frombuffer(letters.translate(bytes.maketrans(BASES, bytes(range(4)))), np.uint8)
        count, left = divmod(len(digits), self.k)
        if left and self.whole:
            raise LemError(f"{len(digits)} bases, where a token has {self.k}; leave out the last {left}")
        self.left += left
        places = 4 ** np.arange(self.k - 1, -1, -1)
        return (digits[: count * self.k].reshape(count, self.k).astype(np.int64) @ places).astype(np.uint16)


def records(raw: bytes) -> list[bytes]:
    """The letters of every record of a FASTA text, without white space; of another text, of all of it."""
    found: list[list[bytes]] = [[]]
    for line in raw.split(b"\n"):
        if line.startswith(b">"):
            found.append([])
        else:
            found[-1].append(b"".join(line.split()))
    return [letters for letters in map(b"".join, found) if letters]
