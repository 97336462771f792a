"""Recall memories: fragment -> signal.

A training-free method is a row of `METHODS`: what becomes of quantised values, of lost ones, of noise and of resolution.
`recall` and `gaussian` ask a store of memories instead. A method is one short function in its own file and a line here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..denoise.evidence import check_geometry
from ..signal import LemError, Signal, bits_per_element
from .restore import Steps, restore

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


def choose(signal: Signal, memory: bool = False) -> str:
    """The method `auto` stands for, from the kind and from what was taken away."""
    if memory:
        return "recall"
    if signal.kind not in ("image", "audio"):
        return "decode"  # nothing but a memory tells what a lost dimension was
    lossy = {op["op"] for op in signal.ops}
    return "smooth" if lossy & {"bits", "noise"} else "inpaint" if lossy else "decode"


class Reconstructor:
    """A method made ready, to be called with one batch of fragments after the other.

    method: 'auto', a key of METHODS, or, with a `memory` (an array [N, ...item] of whole memories, uint8 or float, that
    may be a np.memmap), 'recall' or 'gaussian'. options go to `remember.Recaller`. history: the stage's entry; what the
    method truly did is added to it as `method`, `steps` and `ops`.
    """

    def __init__(self, method: str = "auto", *, memory=None, history: dict | None = None, seed: int = 0, **options):
        if method not in ("auto", *METHODS, *FROM_MEMORY):
            raise LemError(f"no method {method!r}; there are auto, {', '.join([*METHODS, *FROM_MEMORY])}")
        if memory is None and method in FROM_MEMORY:
            raise LemError(f"--method {method} needs a store of memories: --memory STORE")
        if memory is not None and method in METHODS:
            raise LemError(f"--method {method} does not use a --memory; recall and gaussian do")
        self.method, self.memory, self.history = method, memory, history or {}
        self.recaller = None
        if memory is not None:
            from .remember import Recaller

            self.recaller = Recaller(memory, "recall" if method == "auto" else method, seed=seed, **options)

    def __call__(self, signal: Signal) -> Signal:
        """The batch recalled, whole again: `ops` empty, `cost` what its fragment cost in bits per element.

        Raises LemError where the method does not suit, or the fragment's record does not fit its data.
        """
        name = choose(signal, self.memory is not None) if self.method == "auto" else self.method
        check_geometry(signal)
        cost = bits_per_element(signal) if signal.ops or signal.cost is not None else None
        out, steps = restore(signal, METHODS[name]) if name in METHODS else self.recaller(signal)
        entry = {**self.history, "method": name, "steps": steps, "ops": _plain(signal.ops)}
        return replace(
            out, ops=[], history=[*signal.history, entry], last=signal.last,
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
