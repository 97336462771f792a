"""Genomes as tokens: k bases in a row, side by side, as one of 4^k."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..signal import LemError, Signal
from .text import as_bytes

BASES = b"ACGT"
LONGEST = 8  # 65,536 tokens


class Kmers:
    """Bases, whole letters A, C, G and T, to tokens [1, M] of k of them, the first base as the highest digit to base 4.

    Of a FASTA file every record is cut by itself: no token has bases of two. Up to k - 1 bases at the end of a record
    make no token; `left` counts them.
    """

    name, unit = "kmer", "base"

    def __init__(self, k: int):
        self.k, self.vocab, self.left = k, 4**k, 0

    @classmethod
    def named(cls, name: str) -> Kmers | None:
        """Of 'kmer:6'; None for a name of another kind. LemError for a k that is none."""
        kind, _, k = name.partition(":")
        if kind != cls.name:
            return None
        if not (k.isascii() and k.isdigit() and 1 <= int(k) <= LONGEST):
            raise LemError(f"--codec {name}: kmer:K has a K of 1 to {LONGEST}, as in kmer:6")
        return cls(int(k))

    def encode(self, signal: Signal) -> list[Signal]:
        """Tokens of texts [N, L], of each by itself. LemError for letters that are no bases."""
        made = []
        for i, row in enumerate(as_bytes(signal)):
            where = signal.names[i] if signal.names else "a text"
            found = [self._record(record, where) for record in records(row.tobytes())]
            tokens = np.concatenate(found) if found else np.empty(0, np.uint16)
            if not len(tokens):
                raise LemError(f"{where}: no {self.k} bases in a row, where a token has so many")
            made.append(replace(signal.take([i]), data=tokens[None], depth=2 * self.k))
        return made

    def decode(self, signal: Signal, record: dict) -> list[Signal]:
        """Letters [N, k M] of tokens [N, M]."""
        digits = signal.data[:, :, None].astype(np.int64) // 4 ** np.arange(self.k - 1, -1, -1) % 4
        letters = np.frombuffer(BASES, np.uint8)[digits].reshape(len(signal.data), -1)
        return [replace(signal, data=letters, depth=None)]

    def _record(self, letters: bytes, where: str) -> np.ndarray:
        if others := letters.translate(None, BASES):
            kinds = bytes(sorted(set(others)))
            shown = kinds[:20].decode("latin-1")
            small = kinds.translate(None, BASES.lower()) == b""
            way = "make them capitals, if they are no mask" if small else "split the records there first"
            if 2 * len(others) > len(letters) and not small:
                way = "kmer:K is for genomes"
            raise LemError(f"{where}: {len(others)} letters {shown!r} beside A, C, G and T; {way}")
        digits = np.frombuffer(letters.translate(bytes.maketrans(BASES, bytes(range(4)))), np.uint8)
        count = len(digits) // self.k
        self.left += len(digits) - count * self.k
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
