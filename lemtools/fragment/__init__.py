"""Break memories: signal -> fragment. numpy only.

An operation is one function `(signal, spec, draws) -> (signal, done)` and one row of the catalogue's OPERATIONS. `spec` holds its parameters
as the user gave them; a number may be a pair (low, high), then every item draws its own. What was truly done, drawn
values and side information included, is appended to `signal.ops`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..catalogue.operations import OPERATIONS
from ..signal import Signal
from .draws import Draws


def fragment(signals: Iterable[Signal], operations: list[dict], seed: int = 0) -> Iterator[Signal]:
    """Yield every batch with `operations` applied in order.

    operations: dicts with `op`, a name of OPERATIONS, and its parameters (see the functions). seed: >= 0; together with
    the item's index, the operation's place among all that the item went through, and its name, it fixes every draw.
    Raises LemError where an operation does not suit the kind of memory.
    """
    for spec in operations:
        OPERATIONS.find(spec.get("op", ""))
    for signal in signals:
        for spec in operations:
            signal = apply(signal, spec, seed)
        yield signal


def apply(signal: Signal, spec: dict, seed: int = 0) -> Signal:
    """One operation on one batch. Tokens keep their spans, which say when and not what; words and scores would say what was
    lost, and go. What is carried along of a model stays as it is."""
    if signal.carried:
        return signal
    name, position = spec["op"], len(signal.ops)
    lose = OPERATIONS.check_kind(name, signal.kind, f"--{name}").load()
    out, done = lose(signal, spec, Draws(seed, signal.index, position, name))
    # what the whole memory was, where this operation is the one that changes it
    if out.data.shape[1:] != signal.data.shape[1:]:
        done["shape"] = list(signal.data.shape[1:])
    if out.data.dtype != signal.data.dtype:
        done["dtype"] = signal.data.dtype.name
    return replace(out, cost=None, words=None, scores=None, ops=[*signal.ops, {"op": name, **done}], last=signal.last)
