"""The loop: batches, records, checkpoints, stop and go on. One for all recipes; what learns is a Run of trainer.py."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import torch

from ..device import pick
from ..signal import LemError
from . import checkpoint
from .data import Batches
from .log import Log
from ..ranks import Ranks, join, leave
from .prepare import Prepared, prepare
from .settings import Settings, differences
from .stop import Stopped, signals
from .trainer import Run

LOG_EVERY = 50  # steps between records, at most; the loss is only then brought from the device
AGREE_EVERY = 10  # steps between questions whether any process was told to stop


def train(
    settings: Settings,
    tell: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int, dict], None] = lambda step, steps, record: None,
) -> Prepared:
    """Train by `settings`; returns what was trained, its network with the weights that the model's file holds.

    The same call again takes the run up where it stopped, with dtype 'auto' in the precision that it was begun in.

    tell: notes for a person. progress: called with (step, steps, record) for every record of the log. Raises LemError
    for settings or data that do not go together, a loss that is not finite, and memory that does not suffice; Stopped
    on SIGTERM and SIGUSR1, with the state on disk.
    """
    kind = _device(settings)
    ranks = join("cuda" if kind.startswith("cuda") else "cpu")
    try:
        with _memory(settings, ranks.world):
            return _train(
                settings,
                ranks,
                ranks.device(kind),
                tell if ranks.first else lambda line: None,
                progress if ranks.first else lambda step, steps, record: None,
            )
    finally:
        leave(ranks)


def _device(settings: Settings) -> str:
    try:
        return pick(settings.device, float64=settings.recipe == "diffusion")
    except ValueError as error:
        raise LemError(f"--device {settings.device}: {error}") from error


@contextlib.contextmanager
def _memory(settings: Settings, world: int) -> Iterator[None]:
    """Say what to try where memory does not suffice."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and "allocate memory" not in str(error):
            raise
        batch = settings.batch or world
        fewer = f"--batch {batch // 2 // world * world}, or " if batch >= 2 * world else ""
        raise LemError(f"out of memory at --batch {batch}; try {fewer}a smaller --crop or --width") from None


def dry_run(settings: Settings) -> dict[str, float]:
    """What the run would take on this device: parameters, operations, memory, time; nothing is written."""
    from .prepare import cost

    device = _device(settings)
    with _memory(settings, 1):
        prepared = prepare(settings)
        return cost(prepared, prepared.run(prepared, Ranks(), device))


def _train(settings: Settings, ranks: Ranks, device: str, tell, progress) -> Prepared:
    prepared, batches, found, log = ranks.together(lambda: _begin(settings, ranks), device)
    trainer = prepared.run(prepared, ranks, device)
    tell(prepared.summary(device, ranks.world))
    if prepared.note:
        tell(prepared.note)
    if found is not None:
        state, record, note = found
        trainer.resume(state, record)
        done = record["step"] == prepared.steps
        tell(note or (f"done already, {prepared.steps} steps" if done else f"going on from step {record['step']}"))
    if trainer.step < trainer.steps:
        with signals() as caught:
            _steps(trainer, batches, log, caught, progress)
    elif ranks.first and checkpoint.saved_step(settings.output) != trainer.step:
        trainer.save_model()  # the end came between the state and the model
    return trainer.finish()


def _begin(settings: Settings, ranks: Ranks) -> tuple[Prepared, Batches, tuple | None, Log]:
    """All that can be found wrong before the first step."""
    for path in (settings.output, settings.log):
        if path is not None:
            _check_place(path)
    if ranks.world > 1 and "-" in (*settings.data, *settings.target, *settings.validate):
        raise LemError("standard input cannot be shared by several processes; give files")
    prepared = prepare(settings)
    batches = Batches(prepared.spec, ranks.rank, ranks.world)
    found = checkpoint.load_state(settings.output)
    if found is None and os.path.exists(settings.output):
        raise LemError(f"{settings.output}: a model without the state of its run; move it away, or give another -o")
    if found is not None:
        then = found[1]["settings"]
        if settings.dtype == "auto":
            settings.dtype = then["dtype"]
        # an older state may say 'auto' itself: what that was is not known
        asked = "auto" if then["dtype"] == "auto" else settings.dtype
        if changed := differences(then, prepared.frozen | {"dtype": asked}):
            raise LemError(
                f"{settings.output}: its run has {'; '.join(changed)}. Give the same settings to go on, or another -o"
            )
    if settings.pictures:
        os.makedirs(settings.pictures, exist_ok=True)
    log = Log(settings.log if ranks.first else None, 0 if found is None else found[1]["step"])
    return prepared, batches, found, log


def _check_place(path: str) -> None:
    """Raise LemError where no file could be written."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise LemError(f"{path}: there is no folder {folder}")
    if os.path.isdir(path):
        raise LemError(f"{path}: a folder; name a file")
    if not os.access(folder, os.W_OK):
        raise LemError(f"{path}: the folder {folder} cannot be written to")


def _steps(trainer: Run, batches: Batches, log: Log, caught: list[int], progress) -> None:
    settings, ranks, first = trainer.settings, trainer.ranks, trainer.step
    begun, since = time.perf_counter(), first
    for batch in batches.steps(first, trainer.steps, settings.workers, trainer.device):
        trainer.advance(batch)
        step, last = trainer.step, trainer.step == trainer.steps
        stop = (step % AGREE_EVERY == 0 or ranks.world == 1) and bool(ranks.most(len(caught), trainer.device))
        due = last or step % settings.save_every == 0
        told = due or step % LOG_EVERY == 0
        if told or stop:
            trainer.check()
        if told:
            mean = ranks.mean(torch.stack(trainer.losses).mean())
            seconds = time.perf_counter() - begun
            record = {
                "step": step,
                "loss": float(mean),
                **trainer.told(),
                "items_per_second": (step - since) * settings.batch / seconds,
                "seconds_per_step": seconds / (step - since),
            }
            if due and ranks.first:
                record |= trainer.validate()
            log.write(record)  # before the state: to take a run up drops what the log has beyond it, but adds nothing
            progress(step, trainer.steps, record)
            trainer.losses, begun, since = [], time.perf_counter(), step
        if due or stop:
            trainer.save()
        if due and ranks.first:
            trainer.prepared.picture(trainer)
        if stop and not last:
            raise Stopped(caught[0] if caught else signal.SIGTERM, step, ranks.first)
