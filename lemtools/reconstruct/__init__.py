"""Recall memories: fragment -> signal.

A method is one function in a file of `restore` or of this room, and one row of the catalogue's METHODS: some need
neither memories nor training, `recall` and `gaussian` ask a store of memories, `net` a trained network, `ensemble`
one and a method without training, `dream` a denoiser of either.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..catalogue import loaded
from ..catalogue.methods import METHODS
from ..fragment.evidence import check_geometry
from ..restore.least_squares import linear
from ..signal import LemError, Signal, bits_per_element, called, written
from ..transforms.history import apart, front
from . import decoded
from .asked import by_sides, changed, methods

# a network for images, trained on what `_covered` says
BUNDLED = Path(__file__).parent.parent / "data" / "recall-image.safetensors"


def choose(signal: Signal, memory: bool = False) -> str:
    """The method `auto` stands for, from the kind and from what was taken away."""
    if memory:
        return "recall"
    lost = {op["op"] for op in signal.ops}
    tried = sorted((row.auto[0], row.name) for row in METHODS.rows if row.auto)
    return next(name for _, name in tried if loaded(METHODS[name].auto[1])(signal, lost))


def anything(signal: Signal, lost: set[str]) -> bool:
    """The last one tried."""
    return True


def nothing_to_guess(signal: Signal, lost: set[str]) -> bool:
    """Nothing is lost, or only a memory knows what a lost dimension was."""
    return not lost or (signal.kind not in ("image", "audio") and not pictured(signal, lost))


def pictured(signal: Signal, lost: set[str]) -> bool:
    """Parts are lost of real spectra, which are smooth as pictures are."""
    made = front(signal.history) if signal.kind == "spectrum" and lost & {"mask", "crop"} else None
    return made is not None and not made.is_complex


def solvable(signal: Signal, lost: set[str]) -> bool:
    """The transform that made a spectrum is on record and linear, and coefficients are lost or quantised."""
    return (
        bool(lost & {"mask", "crop", "bits"})
        and lost <= {"mask", "crop", "bits", "noise"}
        and linear(signal) is not None
    )


def rough(signal: Signal, lost: set[str]) -> bool:
    """There is something to smooth."""
    return bool(lost & {"bits", "noise"})


def covered(signal: Signal, lost: set[str]) -> bool:
    """The bundled network is here and was trained on such losses."""
    return _covered(signal) and BUNDLED.exists()


def _covered(signal: Signal) -> bool:
    """Whether the bundled network was trained on such losses, 1-7 bits in equal bins, lost pixels or both, and has a say.

    Of 6 and 7 bits of every image and nothing lost it has none.
    """
    if signal.kind != "image" or signal.data.shape[1] not in (1, 3) or not signal.ops:
        return False
    depths = [op["bits"] for op in signal.ops if op["op"] == "bits" and op["quantizer"] == "uniform"]
    known = len(depths) + sum(op["op"] in ("mask", "crop") for op in signal.ops) == len(signal.ops)
    faint = len(depths) == len(signal.ops) and all(np.ndim(d) == 0 and d >= 6 for d in depths)
    return known and not faint and all(np.max(d, initial=0) <= 7 for d in depths)


class Reconstructor:
    """A method made ready, to be called with one batch of fragments after the other.

    method: a name of METHODS; with a `memory` (an array [N, ...item] of whole memories, uint8 or float, that may
    be a np.memmap, stream.OnDisk, media.kept.Kept or decoded.Decoded) 'recall', 'gaussian' or 'dream', of sequences of tokens 'ngram'; with a `model` (a path, or a nets.model.Model) 'net',
    'ensemble' or, for a denoiser trained without fragments, 'dream', for a language model 'continue' or 'fill'; 'net' and 'ensemble' without one ask the network that comes with the
    package. options
    go to what the method's row names. of: a batch of the store's kind, rate and history: fragments of sounds at another
    rate, and of spectra of another front end, are refused. coder: byte pairs (encode.text.Text) that texts are encoded by: those of another language
    model are refused. history: the stage's entry; what the method truly
    did is added to it as `method`, `steps`, `ops` and, of a network, `model`.
    """

    def __init__(
        self,
        method: str = "auto",
        *,
        memory=None,
        model=None,
        of: Signal | None = None,
        coder: Any = None,
        history: dict | None = None,
        seed: int = 0,
        **options,
    ):
        self.of, self.coder = of, coder
        self.history, self.options, self.ready = history or {}, {"seed": seed, **options}, {}
        given = {"memory": memory, "model": model}
        kind = of.kind if of is not None else "tokens" if isinstance(memory, list) else "other"
        asked = dict(memory=memory is not None, model=model, kind=kind, given=changed(options))
        self.several = methods(method, **asked)
        self.method, self.given = self.several[0], given
        if len(self.several) > 1:
            self.method = "auto"
        if METHODS[self.method].bundled and model is None:
            if not BUNDLED.exists():
                raise LemError(f"--method {method} needs a --model: none comes with this installation")
            given["model"] = BUNDLED
        if METHODS[self.method].needs:
            ready = self._ready(self.method)
            own = getattr(ready, "method", self.method)  # a network has seen fragments or not
            if method not in ("auto", own):
                way = {"net": "sees the fragment", "dream": "never saw one"}[own]
                raise LemError(f"--method {method}: {ready.name} {way}: --method {own}")
            self.method, self.ready[own] = own, ready

    def __call__(self, signal: Signal) -> Signal:
        """The batch recalled, whole again: `ops` empty, `cost` what its fragment cost in bits per element. What is carried along
        of a model stays as it is.

        Raises LemError where the method does not suit, or the fragment's record does not fit its data.
        """
        if signal.carried:
            return signal
        name = self.method
        if name == "auto":
            name = by_sides(signal, self.several) if len(self.several) > 1 else choose(signal)
        check_geometry(signal)
        if self.of is not None:
            _check_alike(signal, self.of)
        cost = bits_per_element(signal) if signal.ops or signal.cost is not None else None
        if name not in self.ready:
            self.ready[name] = self._ready(name)
        out, steps = self.ready[name](signal)
        entry = {**self.history, "method": name, "steps": steps, "ops": _plain(signal.ops)}
        if identity := getattr(self.ready[name], "identity", None):
            entry["model"] = identity
        return replace(
            out,
            ops=[],
            history=[*signal.history, entry],
            last=signal.last,
            cost=None if cost is None else cost.repeat(len(out) // max(len(signal), 1)),
        )

    def _ready(self, name: str) -> Any:
        """A method made ready, with what it needs, and without options of others that stand at their defaults."""
        row, known = METHODS[name], METHODS.options()
        spare = set(known) - set(changed(self.options)) if row.needs else set(self.options)
        own = {key: value for key, value in self.options.items() if row.takes(key) or key not in spare}
        if not row.needs:
            return row.load()(**own)
        given = self.given if self.method != "auto" or len(self.several) > 1 else {"model": BUNDLED}
        ready = row.load()(**given, **own)
        if self.coder is not None and hasattr(ready, "suits"):
            ready.suits(self.coder)
        return ready

    def speed(self) -> str:
        """How fast what writes tokens did so, in words; empty for all else."""
        said = [ready.speed() for ready in self.ready.values() if hasattr(ready, "speed")]
        return "; ".join(filter(None, said))

    def blank(self) -> Signal:
        """What draws without a fragment are asked of: one of which all is lost. LemError where no network draws."""
        if self.method == "auto" and len(self.several) > 1:
            self.ready[self.several[0]] = self._ready(self.several[0])
        for ready in self.ready.values():
            if hasattr(ready, "blank"):
                return ready.blank()
        raise LemError(f"--method {self.method} recalls fragments: name a FILE")


ACROSS = {  # kinds of a store and of a fragment: the way out
    ("spectrum", "audio"): "name whole sounds as the memory, or a network of their spectra: --model",
    ("audio", "spectrum"): "encode them as these were (lem-encode --encoder)",
}


def _check_alike(signal: Signal, store: Signal) -> None:
    """LemError where a store of sounds or spectra holds other ones than these, tokens of another alphabet, or codes of
    memories like these."""
    decoded.check(signal, store)
    if signal.kind == store.kind and (differ := apart(signal, store)):
        kind = called(signal.kind)
        way = "encode both alike" if signal.kind == "spectrum" else "resample one of the two (lem-encode --resample)"
        raise LemError(f"memory: {kind} {differ[1]} cannot recall {kind} {differ[0]}; {way}")
    if (way := ACROSS.get((store.kind, signal.kind))) is not None:
        raise LemError(f"memory: {called(store.kind)} cannot recall {called(signal.kind)}; {way}")
    if signal.kind == store.kind == "tokens" and signal.alphabet != store.alphabet:
        raise LemError(f"memory: tokens {written(store.alphabet)} cannot recall tokens {written(signal.alphabet)}")


def reconstruct(signals: Iterable[Signal], method: str = "auto", **options) -> Iterator[Signal]:
    """Yield every fragment recalled; method and options as in `Reconstructor`."""
    recall = Reconstructor(method, **options)
    for signal in signals:
        yield recall(signal)


def _plain(ops: list[dict]) -> list[dict]:
    """Operations without what belongs to single items."""
    return [{k: v for k, v in op.items() if isinstance(v, (str, int, float, list))} for op in ops]
