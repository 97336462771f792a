"""Recall memories: fragment -> signal.

A training-free method is a row of `METHODS`: what becomes of quantised values, of lost ones, of noise and of
resolution. `recall` and `gaussian` ask a store of memories, `net` a trained network, `dream` a denoiser of either. A
method is one short function in its own file and a line here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..fragment.evidence import check_geometry
from ..restore.steps import Steps, restore
from ..signal import LemError, Signal, bits_per_element

METHODS = {
    # what people do today, as controls
    "zero": Steps(values="low", lost="plain", noise="keep", resolution="nearest"),
    "replicate": Steps(values="replicate", lost="plain", noise="keep", resolution="nearest"),
    # the honest baseline: middle of the bin, or centroid
    "decode": Steps(values="middle", lost="plain", noise="keep", resolution="nearest"),
    "linear": Steps(values="middle", lost="linear", noise="keep", resolution="nearest"),
    "inpaint": Steps(values="middle", lost="inpaint", noise="keep", resolution="interpolate"),
    "smooth": Steps(values="smooth", lost="inpaint", noise="shrink", resolution="interpolate"),
}
FROM_MEMORY = ("recall", "gaussian")
LEARNED = ("net", "dream")
# a network for images, trained on what `_covered` says
BUNDLED = Path(__file__).parent.parent / "data" / "recall-image.safetensors"

AUTO = (
    # the first method that suits, by (the batch, what was taken away)
    ("net", lambda signal, lost: _covered(signal) and BUNDLED.exists()),
    # only a memory knows what a lost dimension was
    ("decode", lambda signal, lost: not lost or signal.kind not in ("image", "audio")),
    ("smooth", lambda signal, lost: lost & {"bits", "noise"}),
    ("inpaint", lambda signal, lost: True),
)


def choose(signal: Signal, memory: bool = False) -> str:
    """The method `auto` stands for, from the kind and from what was taken away."""
    if memory:
        return "recall"
    return next(name for name, suits in AUTO if suits(signal, {op["op"] for op in signal.ops}))


def _covered(signal: Signal) -> bool:
    """Whether the bundled network was trained on such losses, 1-7 bits in equal bins, lost pixels or both, and is best.

    Of 6 and 7 bits of every image and nothing lost, shrinkage inside the bins recalls more. (Drawn depths, one an item,
    all go to the network: what becomes of an item may not depend on its neighbours in the batch.)
    """
    if signal.kind != "image" or signal.data.shape[1] not in (1, 3) or not signal.ops:
        return False
    depths = [op["bits"] for op in signal.ops if op["op"] == "bits" and op["quantizer"] == "uniform"]
    known = len(depths) + sum(op["op"] in ("mask", "crop") for op in signal.ops) == len(signal.ops)
    faint = len(depths) == len(signal.ops) and all(np.ndim(d) == 0 and d >= 6 for d in depths)
    return known and not faint and all(np.max(d, initial=0) <= 7 for d in depths)


class Reconstructor:
    """A method made ready, to be called with one batch of fragments after the other.

    method: 'auto', a key of METHODS; with a `memory` (an array [N, ...item] of whole memories, uint8 or float, that may
    be a np.memmap) 'recall', 'gaussian' or 'dream'; with a `model` (a path, or a nets.model.Model) 'net' or, for a
    denoiser trained without fragments, 'dream'; 'net' without one asks the network that comes with the package. options
    go to `remember.Recaller`, `dream.Dreamer` or `learned.NetworkRecaller`. history: the stage's entry; what the method truly
    did is added to it as `method`, `steps`, `ops` and, of a network, `model`.
    """

    def __init__(
        self, method: str = "auto", *, memory=None, model=None, history: dict | None = None, seed: int = 0, **options
    ):
        self.method, self.history, self.asked = method, history or {}, {}
        self.options = {"seed": seed, **options}
        self._check(memory is not None, model is not None)
        if memory is not None:
            name = "recall" if method == "auto" else method
            if name == "dream":
                from .dream import Dreamer

                self.asked[name] = Dreamer(memory, **self.options)
            else:
                from .remember import Recaller

                self.asked[name] = Recaller(memory, name, **self.options)
            self.method = name
        elif model is not None or method == "net":
            learned = self._learned(model or BUNDLED)
            if method not in ("auto", learned.method):
                way = {"net": "sees the fragment", "dream": "never saw one"}[learned.method]
                raise LemError(f"--method {method}: {learned.name} {way}: --method {learned.method}")
            self.method, self.asked[learned.method] = learned.method, learned

    def _check(self, memory: bool, model: bool) -> None:
        method = self.method
        if method not in (known := ["auto", *METHODS, *FROM_MEMORY, *LEARNED]):
            raise LemError(f"no method {method!r}; there are {', '.join(known)}")
        if memory and model:
            raise LemError("--memory and --model: give one of them")
        if method in METHODS and (memory or model):
            raise LemError(
                f"--method {method} does not use a --{'memory' if memory else 'model'}; "
                f"{'recall, gaussian and dream' if memory else 'net and dream'} do"
            )
        if method in FROM_MEMORY and not memory:
            raise LemError(f"--method {method} needs a store of memories: --memory STORE")
        if method == "dream" and not (memory or model):
            raise LemError("--method dream needs what to dream of: --memory STORE or an unconditional --model")
        if method == "net" and memory:
            raise LemError("--method net does not use a --memory; recall, gaussian and dream do")
        if method == "net" and not model and not BUNDLED.exists():
            raise LemError("--method net needs a --model: none comes with this installation")

    def _learned(self, model):
        from .learned import NetworkRecaller

        return NetworkRecaller(model, **self.options)

    def __call__(self, signal: Signal) -> Signal:
        """The batch recalled, whole again: `ops` empty, `cost` what its fragment cost in bits per element.

        Raises LemError where the method does not suit, or the fragment's record does not fit its data.
        """
        name = choose(signal) if self.method == "auto" else self.method
        check_geometry(signal)
        cost = bits_per_element(signal) if signal.ops or signal.cost is not None else None
        if name in METHODS:
            out, steps = restore(signal, METHODS[name])
        else:
            if name not in self.asked:  # chosen by auto
                self.asked[name] = self._learned(BUNDLED)
            out, steps = self.asked[name](signal)
        entry = {**self.history, "method": name, "steps": steps, "ops": _plain(signal.ops)}
        if identity := getattr(self.asked.get(name), "identity", None):
            entry["model"] = identity
        return replace(
            out,
            ops=[],
            history=[*signal.history, entry],
            last=signal.last,
            cost=None if cost is None else cost.repeat(len(out) // max(len(signal), 1)),
        )


def reconstruct(signals: Iterable[Signal], method: str = "auto", **options) -> Iterator[Signal]:
    """Yield every fragment recalled; method and options as in `Reconstructor`."""
    recall = Reconstructor(method, **options)
    for signal in signals:
        yield recall(signal)


def _plain(ops: list[dict]) -> list[dict]:
    """Operations without what belongs to single items."""
    return [{k: v for k, v in op.items() if isinstance(v, (str, int, float, list))} for op in ops]
