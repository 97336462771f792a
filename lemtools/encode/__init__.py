"""Encode memories: signal -> embedding or tokens, and back where the encoding keeps enough.

An encoder is a class and a line in `ENCODERS`:

    name, reads, back     its name; the kinds it encodes; the kinds it decodes, () where it does not invert
    fitted                True: it is fitted to data, by the class method fit(signals, **settings), and kept in one file
    encode(signal)        batches of what the batch is encoded as (texts of one length may differ in tokens)
    record(signal)        what a decoder without a file has to know of the batch; goes into the history
    decode(signal, record)  batches of what it was made of

`encode`, `decode` and `fit` wrap them for whole streams. See contract.py for what they share.
"""

import glob
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib import import_module

import numpy as np

from .. import media, stream
from ..signal import LemError, Signal, bits_per_element
from ..stream.files import read_fitted
from .contract import latest
from .text import lines

__all__ = ["ENCODERS", "Coder", "again", "decode", "encode", "encoder", "fit", "lines", "load"]

PART = 4096  # items encoded or decoded at a time: what comes out may be far larger than what went in

ENCODERS = {
    "patches": "patches.Patches",  # image -> its patches in order; invertible
    "pca": "pca.PCA",  # images or embeddings -> principal components; fitted; invertible up to the dimensions left out
    "text": "text.Text",  # text -> bytes or byte-pair tokens; fitted; invertible
    "rvq": "dense.Dense",  # embeddings -> a few codes each, dense tokens; fitted; decoded to what the codes tell
    "token-ae": "token_ae.TokenAE",  # tokens -> a vector for every few; trained by lem-train token-ae; invertible
    "voice": "voice.Voice",  # sound -> a speaker's vector
    "minilm": "minilm.MiniLM",  # text -> a sentence's vector
    "activations": "activations.Activations",  # text or tokens -> hidden states of a language model
}


def encoder(name: str):
    """The class of an encoder."""
    if name not in ENCODERS:
        raise LemError(f"no encoder {name!r}; there are {', '.join(ENCODERS)}")
    module, cls = ENCODERS[name].split(".")
    return getattr(import_module(f".{module}", __package__), cls)


def load(path: str):
    """A fitted encoder from the one file that `fit` wrote; LemError for any other file."""
    record, tensors = read_fitted(path)
    if record.get("encoder") not in ENCODERS:
        raise LemError(f"{path}: made by a newer lemtools, which knows an encoder {record.get('encoder')!r}")
    cls = encoder(record["encoder"])
    try:
        return cls.restore(record, tensors)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, LemError):
            raise LemError(f"{path}: {error}") from error
        raise LemError(f"{path}: damaged record of {record['encoder']} ({error})") from error


class Coder:
    """An encoder at work on a stream: called with one batch after the other, it yields batches.

    encoder: an encoder, or None to decode by the latest encoding in the history. history: this stage's entry, to which
    the encoder's record is added.
    """

    def __init__(self, encoder=None, *, decode: bool = False, history: dict | None = None):
        self.encoder, self.decode, self.history, self.count = encoder, decode, history or {}, 0

    def __call__(self, signal: Signal) -> Iterator[Signal]:
        held = None
        for start in range(0, max(len(signal), 1), PART):
            part = signal if len(signal) <= PART else signal.take(slice(start, start + PART))
            for out in self._made(part):
                if held is not None:
                    yield held
                held = out
        if held is not None:
            held.last = signal.last
            yield held

    def _made(self, signal: Signal) -> Iterator[Signal]:
        coder = self.encoder
        if self.decode:
            record = latest(signal.history, coder and coder.name)
            coder = coder or _unfitted(record)
            _check(signal, coder.back, f"{coder.name} decodes" if coder.back else f"{coder.name} cannot be inverted:")
            made, entry = coder.decode(signal, record or {}), {"decoded": coder.name}
        else:
            _check(signal, coder.reads, f"{coder.name} encodes")
            made, entry = coder.encode(signal), {"encoder": coder.name, **coder.record(signal)}
        history = [*signal.history, {**self.history, **entry}]
        for out in made:
            if coder.splits and not self.decode:
                out.index = self.count + np.arange(len(out), dtype=np.int64)
            self.count += len(out)
            yield replace(out, history=history, cost=_cost(signal, out) if self.decode else None, last=None)


def encode(signals: Iterable[Signal], encoder, history: dict | None = None) -> Iterator[Signal]:
    """Yield the batches of `signals` encoded, their history told.

    An encoder that makes several items of one (windows, lines) numbers them anew. Raises LemError for a kind of memory
    that it does not read, and for a fragment: what is lost has to be recalled first.
    """
    coder = Coder(encoder, history=history)
    for signal in signals:
        yield from coder(signal)


def decode(signals: Iterable[Signal], encoder=None, history: dict | None = None) -> Iterator[Signal]:
    """Yield the batches of `signals` decoded by `encoder`, or by the latest encoding in their history.

    What the codes took is kept as `cost`, in bits per element of what they decode to.
    """
    coder = Coder(encoder, decode=True, history=history)
    for signal in signals:
        yield from coder(signal)


def _unfitted(record: dict | None):
    if record is None:
        raise LemError("nothing in its history says how it was encoded; name what to decode with: --model FILE")
    if record.get("fitted"):
        raise LemError(f"encoded by a fitted {record['encoder']}; name its file: --model FILE")
    cls = encoder(record["encoder"])
    if not cls.back:
        raise LemError(f"{cls.name} cannot be inverted")
    return cls()


def _check(signal: Signal, kinds: tuple[str, ...], does: str) -> None:
    if signal.kind not in kinds:
        raise LemError(f"{does} {' or '.join(kinds) or 'nothing'}, not {signal.kind}")
    if signal.ops:
        raise LemError(f"{does} whole memories, not fragments; recall them first (lem-reconstruct)")


def _cost(coded: Signal, decoded: Signal) -> np.ndarray | None:
    """Bits per element of what was decoded, where codes or a fragment of them were paid for; None where nothing was."""
    if coded.kind != "tokens" and coded.cost is None:
        return None
    bits = dict(zip(coded.index.tolist(), bits_per_element(coded) * coded.data[0].size))
    return np.array([bits[i] for i in decoded.index.tolist()]) / decoded.data[0].size


def fit(name: str, signals: Callable[[], Iterable[Signal]], **settings):
    """An encoder fitted to the batches that `signals()` yields, afresh at every call: they may be read several times.

    Returns (encoder, report): report maps names to numbers. encoder.save(path) keeps it. Raises LemError where nothing
    can be fitted to them.
    """
    cls = encoder(name)
    if not cls.fitted:
        able = [n for n in ENCODERS if encoder(n).fitted]
        raise LemError(f"{name} is not fitted to data; {', '.join(able)} are")
    return cls.fit(signals, **settings)


def again(paths: list[str], **options) -> Callable[[], Iterator[Signal]]:
    """What reads the inputs as often as it is called; of pipes it keeps a copy in an unnamed temporary file.

    options: of media.load. Every bad input is an error: nothing is fitted to what happens to be readable.
    """
    if all(os.path.isfile(path) or os.path.isdir(path) or glob.has_magic(path) for path in paths):
        return lambda: media.load(paths, **options)
    file = tempfile.TemporaryFile(buffering=0)
    stream.write(media.load(paths, **options), file)

    def read_again() -> Iterator[Signal]:
        file.seek(0)
        return stream.read(stream.Source(file, "standard input"))

    return read_again
