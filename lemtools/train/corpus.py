"""Text to learn from: one long row of tokens, and windows of it as items.

Tokens are bytes unless an encoding that was fitted before makes others of them (`Settings.codec`): a BPE makes longer
tokens, a token autoencoder vectors of K of them, a residual quantiser the codes of those vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import media
from ..encode import load as load_encoder
from ..encode.kmers import Kmers
from ..encode.text import is_text
from ..encode.token_ae import TokenAE
from ..signal import LemError, Signal

COMMON = 10  # times that a text has a token of which it can tell something
BLOCK = 8192  # chunks that are encoded at a time


class Windows:
    """Windows of a row of tokens [n], as items: the one that begins at place stride i.

    rows: places of a window. chunk: 0: items are tokens [rows]; K: [rows, K]; with `codes` [n - K + 1, S] of the chunks
    that begin at every token, [rows, S + K], codes first.
    """

    def __init__(self, tokens: np.ndarray, rows: int, stride: int, chunk: int = 0, codes: np.ndarray | None = None):
        self.tokens, self.rows, self.stride, self.chunk, self.codes = tokens, rows, stride, chunk, codes
        self.span = rows * max(chunk, 1)

    def __len__(self) -> int:
        return max(0, (len(self.tokens) - self.span) // self.stride + 1)

    @property
    def shape(self) -> tuple[int, ...]:
        width = self.chunk + (0 if self.codes is None else self.codes.shape[1])
        return (len(self), self.rows, *((width,) if width else ()))

    def __getitem__(self, i: int) -> np.ndarray:
        start = int(i) * self.stride
        found = self.tokens[start : start + self.span]
        if not self.chunk:
            return found
        found = found.reshape(self.rows, self.chunk)
        if self.codes is None:
            return found
        return np.concatenate([self.codes[start : start + self.span : self.chunk].astype(np.int32), found], 1)


@dataclass
class Corpus:
    """tokens [n]: uint8 or int32, below `vocabulary`. lengths [vocabulary]: bytes of each, or what the unit is; None: not
    known."""

    tokens: np.ndarray
    vocabulary: int
    lengths: np.ndarray | None
    unit: str = "byte"

    @property
    def bytes(self) -> float:
        """Of a token, on average."""
        return 1.0 if self.lengths is None else float(self.lengths[self.tokens].mean())

    @property
    def known(self) -> float:
        """The share of the vocabulary that the text has COMMON times or more."""
        return float((np.bincount(self.tokens, minlength=self.vocabulary) >= COMMON).mean())

    def digest(self, *more: Corpus | None) -> str:
        """By which tokens, and those of other texts, are known again: 16 digits of SHA-256."""
        found = hashlib.sha256()
        for each in (self, *more):
            tokens = np.empty(0) if each is None else each.tokens
            found.update(f"{len(tokens)} ".encode() + np.ascontiguousarray(tokens, "<i4").data)
        return found.hexdigest()[:16]


def load_corpus(paths: Sequence[str], tokenizer=None, how: media.Reading | None = None) -> Corpus:
    """The text of files, one after another: bytes, or the tokens that `tokenizer` makes of them, or tokens as they stand,
    of which it is not known how many bytes they are.

    Raises LemError for anything but whole text or tokens.
    """
    how = how and replace(how, takes=("tokens",))
    parts, vocabulary, measured = [], 256 if tokenizer is None else tokenizer.vocab, True
    for signal in media.load(paths, how):
        where = signal.names[0] if signal.names else ", ".join(paths)
        if signal.kind != "tokens":
            raise LemError(f"{where}: {signal.kind}, where text or tokens are learnt; encode it to tokens first")
        if signal.ops or signal.mask is not None:
            raise LemError(f"{where}: a fragment; text is learnt whole")
        if signal.alphabet is not None:
            way = "write them as text, --to txt"
            raise LemError(f"{where}: symbols of {signal.alphabet.name}, where text or its tokens are learnt; {way}")
        known = [entry["vocab"] for entry in signal.history if isinstance(entry.get("vocab"), int)]
        if tokenizer is None:
            vocabulary = max(vocabulary, *known, int(signal.data.max(initial=0)) + 1)
        elif known and known[-1] != tokenizer.vocab:
            raise LemError(
                f"{where}: tokens of {known[-1]} kinds, where --codec has {tokenizer.vocab}; give it the text"
            )
        measured = measured and is_text(signal)
        try:
            made = tokenizer.encode(signal) if tokenizer is not None and not known else [signal]
        except LemError as error:
            raise LemError(f"{where}: {error}") from error
        parts += [each.data.reshape(-1) for each in made]
    whole = np.concatenate(parts)
    if int(whole.min()) < 0 or int(whole.max()) >= vocabulary:
        found = f"tokens {int(whole.min())} to {int(whole.max())}"
        raise LemError(f"{', '.join(paths)}: {found}; 0 to {vocabulary - 1} are known")
    if tokenizer is not None:
        return Corpus(whole.astype(np.int32), vocabulary, lengths(tokenizer), getattr(tokenizer, "unit", "byte"))
    if vocabulary == 256:
        return Corpus(whole.astype(np.uint8, copy=False), 256, np.ones(256) if measured else None)
    return Corpus(whole.astype(np.int32), vocabulary, None)


def lengths(tokenizer) -> np.ndarray:
    """Bytes [V] that each token stands for; of k-mers, bases."""
    each = tokenizer.decode(Signal("tokens", np.arange(tokenizer.vocab)[:, None]), {})
    return np.concatenate([np.full(len(part), part.data.shape[1]) for part in each])


@dataclass
class Codecs:
    """Encodings, in the order in which they apply: encode.text.Text or encode.kmers.Kmers, TokenAE, vq.residual.RVQ, or None."""

    tokenizer: Any = None
    ae: TokenAE | None = None
    rvq: Any = None

    def weights(self) -> np.ndarray | None:
        """Numbers by which they are known again, on any device, [M, 1]."""
        state = {} if self.ae is None else self.ae.net.state_dict()
        parts = [tensor.cpu().flatten().float().numpy() for tensor in state.values()]
        if self.rvq is not None:
            parts += [np.asarray(tensor, np.float32).ravel() for tensor in self.rvq.tensors().values()]
        return np.concatenate(parts)[:, None] if parts else None


def codecs(paths: Sequence[str], device: str = "cpu") -> Codecs:
    """Read fitted encodings, each known by its file, to work on `device`; kmer:K needs no file. LemError for two of a kind or
    other files."""
    found = Codecs()
    for path in paths:
        coder: Any = Kmers.named(path) or load_encoder(path)
        name = {"token-ae": "ae", "rvq": "rvq", "text": "tokenizer", "kmer": "tokenizer"}.get(coder.name)
        if name is None:
            raise LemError(f"--codec {path}: {coder.name} makes neither tokens of text nor codes of their vectors")
        if getattr(found, name) is not None:
            raise LemError(f"--codec {path}: the second {coder.name}; give one of each")
        if name != "tokenizer":
            coder.to(device)
        setattr(found, name, coder.rvq if name == "rvq" else coder)
    if found.rvq is not None and found.ae is None:
        raise LemError("--codec: an rvq quantises vectors; give the token-ae that makes them of text, too")
    return found


def tables(rvq, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """(tables [S, C, D], origin [D]) by which the vector of codes [S] is the origin plus one row of each table.

    The rows of a table have mean 0, so that the first tables alone give the mean over what the others may add. LemError
    for a quantiser whose vectors are no such sum (one with a gain), or of another width.
    """
    if rvq.dims != dims:
        raise LemError(f"--codec: an rvq of {rvq.dims} dimensions after a token-ae of {dims}")
    if getattr(rvq, "gains", None) is not None:
        raise LemError("--codec: the vectors of an rvq with a gain are no sums over its stages; fit one without")
    stages, codes = rvq.stages * rvq.groups, rvq.codes
    ask = np.full((1 + stages * codes, stages), codes - 1)  # (all codes 0 may stand for the zero vector)
    for s in range(stages):
        ask[1 + s * codes : 1 + (s + 1) * codes, s] = np.arange(codes)
    vectors = np.asarray(rvq.decode(ask), np.float32)
    found = (vectors[1:] - vectors[0]).reshape(stages, codes, dims)
    mean = found.mean(1, keepdims=True)
    return found - mean, vectors[0] + mean.sum((0, 1))


def chunk_codes(ae: TokenAE, rvq, tokens: np.ndarray) -> np.ndarray:
    """Codes uint16 [n - K + 1, S] of the chunks that begin at every token."""
    chunks = np.lib.stride_tricks.sliding_window_view(tokens, ae.chunk)
    starts = range(0, len(chunks), BLOCK)
    return np.concatenate([rvq.encode(ae.vectors(chunks[i : i + BLOCK])).astype(np.uint16) for i in starts])
