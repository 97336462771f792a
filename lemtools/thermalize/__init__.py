"""Thermalize: keep a rollout on the manifold of the states that it learned from.

A model that is fed its own output drifts. The gate reads how much noise a state holds; above a threshold a corrector, any
denoiser, is called (after Thermalizer: Pedersen, Zanna & Bruna, arXiv 2503.18731).

    states       States: stored ones, their nearest neighbours and successors
    boxes        exact nearest neighbours among many states
    on_device    rollouts of tensors, and a step as one CUDA graph
    gate         Gate: what is read in a state, and the threshold of it
    heads        the gate that is a network
    budget       budgeted: the threshold that spends a number of calls
    correctors   the table's functions
    patches      local, the corrector that goes patch by patch, by cells of a k-d tree
    loop         Thermalizer, Step, rollout
    process      Coprocess: an emulator in any language
    judge        check: whether rollouts can be told from clean states
    symmetry     doubts: whether states look as a symmetry says
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from .loop import Thermalizer, rollout
    from .process import Coprocess
    from .step import Step

__all__ = ["Coprocess", "Step", "Thermalizer", "prepared", "rollout"]
SOME = 4096  # states of which a scale is judged
HELD = 10  # a tenth of the steps is held out: thresholds and choices are made on them
_HOMES = {"Coprocess": "process", "Step": "step", "Thermalizer": "loop", "rollout": "loop"}


def __getattr__(name: str) -> Any:
    if (home := _HOMES.get(name)) is None:
        raise AttributeError(name)
    from importlib import import_module

    return getattr(import_module(f".{home}", __name__), name)


def prepared(
    states: np.ndarray,
    rows: int = 1,
    *,
    corrector: str = "next",
    gate: str = "level",
    model: Any = None,
    symmetry: tuple[str, ...] = (),
    false_fire: float = 0.01,
    threshold: float | None = None,
    device: str = "cpu",
    **options: Any,
) -> Thermalizer:
    """A Thermalizer from stored states [T R, C, ...] of R rows side by side (item t R + r: row r at step t).

    The last tenth of the steps is held out: on it the threshold is set, which a share `false_fire` of clean states exceeds
    (or it is given, in units of the std), and what the corrector leaves open is chosen. gate: a row of catalogue.gates.
    model: a network of lem-train diffusion, as nets.model.Model, for the correctors that need one; its coordinates are
    taken. device: where the states lie and all is computed, 'cpu' or 'cuda'; a corrector that is not `static` is computed on
    the CPU, its network where that lies. options: of Thermalizer, of the corrector and of the gate. Raises LemError for
    states that do not suit.
    """
    import math

    import numpy as np

    from ..catalogue import LemError
    from ..catalogue.correctors import CORRECTORS
    from ..catalogue.gates import GATES
    from ..denoise.contract import Scale
    from ..denoise.moments import of_channels
    from .codec import check_scale
    from .gate import Gate
    from .loop import Thermalizer
    from .states import Known, States

    row, states = CORRECTORS.find(corrector), np.asarray(states)
    if "model" in row.needs and model is None:
        raise LemError(f"--corrector {corrector} needs a network: --model MODEL")
    if rows < 1 or len(states) % rows:
        raise LemError(f"{len(states)} states are no whole number of steps of {rows} rows side by side")
    if model is not None and "model" not in row.needs:
        raise LemError(f"--corrector {corrector} does not use a --model")
    steps = len(states) // rows
    held = max(steps // HELD, 2)
    if steps < held + 2:
        raise LemError(f"{steps} steps of {rows} rows are too few to hold some out: 4 or more are needed")
    kept = states[: (steps - held) * rows]
    if not np.isfinite(states).all():
        raise LemError("the stored states have values that are NaN or infinite")
    if not (kept != kept[:1]).any():
        raise LemError("all stored states are the same: there is nothing that they differ by")
    if model is None:
        mean, gain = of_channels(kept)
        scale = Scale(mean, gain)
    else:
        if not model.fits("field", states.shape[1:]):
            raise LemError(
                f"the network is for {model.meta['kind']} of {model.meta['item']}, not for states of {list(states.shape[1:])}"
            )
        scale = model.target_scale
        check_scale(kept[:: max(len(kept) // SOME, 1)], scale, "--model", "the network learned from")
    stored = States(kept, rows, scale, symmetry, device if row.static else "cpu")
    out = stored.encoded(states[(steps - held) * rows :])
    known = Known(stored, out, model)
    given = {name: options.pop(name) for name in list(options) if GATES.find(gate).takes(name)}
    own = {name: value for name, value in given.items() if value is not None}
    reader = GATES.load(gate)(known, **own)
    if threshold is None and options.get("every") and len(out) * false_fire < 1:
        threshold = math.inf  # (nothing asks for it)
    made = (
        Gate(stored.gaussian, threshold, reader)
        if threshold is not None
        else Gate.calibrated(stored.gaussian, out, false_fire, reader, rows)
    )
    return Thermalizer(known, made, corrector, **options)
