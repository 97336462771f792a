"""Text as tokens: its bytes, or byte-pair encoding (Gage 1994; Sennrich et al. 2016) on bytes, through `tokenizers`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from ..signal import Layout, LemError, Signal, Tensor, Value
from ..transforms.history import latest
from .contract import Fitted, extra


class Text(Fitted):
    """Bytes [N, L] <-> tokens [N, M], packed at the bits that the vocabulary needs; decode restores every byte.

    Without a fitted tokenizer the tokens are the bytes, 8 bits each.
    """

    name = "text"
    layout = Layout({"vocab": Value("whole", 257, 1 << 16)}, {"tokenizer": Tensor("U8", "?")})

    def __init__(self, tokenizer=None):
        self.tokenizer = tokenizer
        self.vocab = tokenizer.get_vocab_size() if tokenizer else 256

    @property
    def depth(self) -> int:
        """Bits a token."""
        return max(1, (self.vocab - 1).bit_length())

    @classmethod
    def fit(cls, signals: Callable[[], Iterable[Signal]], *, vocab: int = 4096):
        """Byte-level byte-pair encoding of `vocab` tokens, the 256 bytes among them. Returns (Text, report)."""
        if not 256 < vocab <= 1 << 16:
            raise LemError(f"--vocab {vocab}: more than the 256 bytes, and 65536 at most")
        extra("tokenizers", "byte-pair encoding")
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=alphabet, show_progress=False)
        counted = {"texts": 0, "bytes": 0}

        def pieces():
            for signal in signals():
                for text in as_text(signal):
                    counted["bytes"] += len(text.encode())
                    counted["texts"] += 1
                    # in pieces that end with a line: the trainer holds each one whole
                    yield from text.splitlines(keepends=True)

        tokenizer.train_from_iterator(pieces(), trainer)
        made = cls(tokenizer)
        return made, {**counted, "vocab": made.vocab, "bits-a-token": made.depth}

    def tensors(self) -> dict[str, np.ndarray]:
        return {"tokenizer": np.frombuffer(self.tokenizer.to_str().encode(), np.uint8)}

    def card(self) -> dict:
        return {"vocab": self.vocab}

    @classmethod
    def restore(cls, record: dict, tensors: dict[str, np.ndarray]) -> Text:
        extra("tokenizers", "byte-pair encoding")
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(tensors["tokenizer"].tobytes().decode())
        except Exception as error:  # tokenizers raises plain Exception
            raise ValueError(f"tokenizer: {str(error)[:80]}") from error
        if tokenizer.get_vocab_size() != record["vocab"]:
            raise ValueError("vocab")
        return cls(tokenizer)

    def record(self, signal: Signal) -> dict:
        fitted = self.tokenizer is not None
        return {"fitted": fitted, "vocab": self.vocab, "tokens": "bpe" if fitted else "bytes"}

    def encode(self, signal: Signal) -> list[Signal]:
        made, raw = [], as_bytes(signal)
        texts = as_text(signal) if self.tokenizer else None
        for i in range(len(signal)):
            ids = np.array(self.tokenizer.encode(texts[i]).ids, np.uint16) if self.tokenizer else raw[i]
            if not len(ids):
                raise LemError("a text of no length")
            made.append(replace(signal.take([i]), data=ids[None], depth=self.depth))
        return together(made)

    def decode(self, signal: Signal, record: dict) -> list[Signal]:
        if int(signal.data.max(initial=0)) >= self.vocab or int(signal.data.min(initial=0)) < 0:
            raise LemError(f"token {int(signal.data.max())}: this vocabulary has {self.vocab}")
        if self.tokenizer is None:
            return [replace(signal, data=signal.data.astype(np.uint8), depth=None)]
        made = []
        for i, ids in enumerate(signal.data):
            raw = b"".join(self._bytes[token] for token in ids.tolist())
            made.append(replace(signal.take([i]), data=np.frombuffer(raw, np.uint8)[None], depth=None))
        return together(made)

    def pieces(self) -> dict[str, str]:
        """What every token stands for, as `bytes_of` reads it from a history; of bytes nothing is to be said."""
        if self.tokenizer is None:
            return {}
        names = sorted(self.tokenizer.get_vocab().items(), key=lambda pair: pair[1])
        return {"pieces": " ".join(name for name, _ in names)}

    @property
    def lengths(self) -> np.ndarray:
        """Bytes [V] that every token stands for."""
        return np.array([len(piece) for piece in self._bytes])

    def fits(self, lengths: np.ndarray) -> bool:
        """Whether a model may have learnt with these tokens. lengths: bytes [V] that it knows its tokens to stand for; all 1
        where it does not know."""
        return np.array_equal(lengths, self.lengths) or bool((lengths == 1).all())

    @property
    def _bytes(self) -> list[bytes]:
        """What every token stands for. Not the library's decode: a window may begin or end inside a character."""
        if not hasattr(self, "_table"):
            self._table = bytes_of(self.pieces().get("pieces"))
        return self._table


def bytes_of(pieces: str | None) -> list[bytes]:
    """The bytes of each token, by what `Text.pieces` says; None: each token is a byte. ValueError for what it never says."""
    if pieces is None:
        return [bytes([b]) for b in range(256)]
    to_byte = byte_of_char()
    try:
        return [bytes(to_byte[c] for c in name) for name in pieces.split(" ")]
    except KeyError as error:
        raise ValueError(f"no byte is written {error}") from error


def byte_of_char() -> dict[str, int]:
    """The characters that byte-level BPE writes bytes as (GPT-2): printable ones as they are, others from 256 up."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


def is_text(signal: Signal) -> bool:
    """Whether tokens are bytes of a text, by their type and history: neither an encoder's nor foreign numbers."""
    made = latest(signal.history)
    return (
        signal.alphabet is None
        and signal.kind == "tokens"
        and signal.data.dtype == np.uint8
        and (made is None or made.get("tokens") == "bytes")
    )


def codec_of(unit: str, vocabulary: int) -> str | None:
    """The encoding by which a text becomes tokens of a language model (of its record: their unit, and of how many kinds they are), as a
    user names it; None where they are its bytes."""
    if unit == "base":
        return f"kmer:{(vocabulary.bit_length() - 1) // 2}"
    return "FILE" if vocabulary > 256 else None


def as_bytes(signal: Signal) -> np.ndarray:
    """uint8 [N, L] of a batch of texts; LemError where it is none."""
    made = latest(signal.history)
    if signal.alphabet is not None:
        raise LemError(f"bytes of text are needed, not symbols of {signal.alphabet.name}")
    if made is not None and made.get("tokens") != "bytes":
        raise LemError(f"bytes of text are needed, not the tokens of {made['encoder']}")
    if signal.kind != "tokens" or signal.data.max(initial=0) > 255 or signal.data.min(initial=0) < 0 or signal.ops:
        raise LemError(f"bytes of text are needed, not {signal.kind if signal.kind != 'tokens' else 'other tokens'}")
    return signal.data.astype(np.uint8, copy=False)


def as_text(signal: Signal) -> list[str]:
    """The texts of a batch of bytes; LemError where they are none, or not UTF-8."""
    try:
        return [row.tobytes().decode("utf-8") for row in as_bytes(signal)]
    except UnicodeDecodeError as error:
        raise LemError(f"not UTF-8 text ({error.reason} at byte {error.start})") from error


def together(items: list[Signal]) -> list[Signal]:
    """Neighbours of one shape as one batch."""
    return [Signal.concat(list(batch)) for _, batch in itertools.groupby(items, lambda item: item.data.shape[1:])]


def lines(signals: Iterable[Signal]) -> Iterator[Signal]:
    """Yield every line of texts as an item of its own, without its end (LF or CR LF); blank ones are left out."""
    count = 0
    for signal in signals:
        made = []
        for i, text in enumerate(as_text(signal)):
            item = signal.take([i])
            for k, row in enumerate(line.removesuffix("\r") for line in text.split("\n") if line.strip()):
                name = None if item.names is None else [f"{item.names[0]}#{k}"]
                raw = np.frombuffer(row.encode(), np.uint8)[None]
                made.append(replace(item, data=raw, names=name, index=np.array([count])))
                count += 1
        if not made:
            raise LemError("no lines but blank ones")
        batches = together(made)
        batches[-1].last = signal.last
        yield from batches
