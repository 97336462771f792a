"""The loop: batches, records, checkpoints, stop and go on. One for all recipes; what learns is a Run (run.py)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from ..catalogue.recipes import RECIPES
from ..progress import steps
from ..ranks import Ranks, join, leave
from ..signal import LemError
from . import checkpoint
from .data import Batches
from .log import Log
from .prepare import prepare
from .run import Prepared, Run
from .settings import Settings, device_of, differences
from .stop import Stopped, signals

LOG_EVERY = 50  # steps between records, at most; the loss is only then brought from the device
AGREE_EVERY = 10  # steps between questions whether any process caught a signal


def train(
    settings: Settings,
    note: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int, dict], None] = lambda step, steps, record: None,
) -> Prepared:
    """Train by `settings`; returns what was trained, its network with the weights that the model's file holds.

    The same call again resumes the run where it stopped, with dtype 'auto' in the precision that it was begun in.

    note: called with lines for a person. progress: called with (step, steps, record) for every record of the log.
    Raises LemError for settings or data that do not go together, a loss that is not finite, and memory that does not
    suffice; Stopped on SIGTERM and SIGUSR1, with the state on disk.
    """
    kind = device_of(settings)
    ranks = join("cuda" if kind.startswith("cuda") else "cpu")
    device = ranks.device(kind)
    try:
        with within_memory(settings, ranks.world), contextlib.ExitStack() as held:
            begun = ranks.together(lambda: _begin(settings, ranks, held), device)
            return _train(begun, ranks, device, *((note, progress) if ranks.first else [_nothing] * 2))
    except BaseException as error:
        if ranks.world > 1:  # its frames hold what uses the group; freed after the group, it can wait for ever (gloo)
            traceback.clear_frames(error.__traceback__)
        raise
    finally:
        leave(ranks)


def _nothing(*said) -> None:
    """What other processes than the first one say."""


@contextlib.contextmanager
def within_memory(settings: Settings, world: int) -> Iterator[None]:
    """Say what to try where memory does not suffice."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, (torch.OutOfMemoryError, MemoryError)) and "allocate memory" not in str(error):
            raise
        batch = settings.batch or RECIPES.find(settings.recipe).batch
        fewer = f"--batch {batch // 2 // world * world}, or " if batch >= 2 * world else ""
        raise LemError(f"out of memory at --batch {batch}; try {fewer}a smaller --crop or --width") from None


@dataclass
class Begun:
    """A run about to start: found: (state, record, note) of the one that it resumes, or None."""

    prepared: Prepared
    batches: Batches
    found: tuple | None
    log: Log


def _begin(settings: Settings, ranks: Ranks, held: contextlib.ExitStack) -> Begun:
    """All that can be found wrong before the first step. held: what the run holds until it ends."""
    if not settings.output:
        raise LemError("where does the model go? Give -o MODEL.safetensors")
    for path in (settings.output, settings.log):
        if path is not None:
            _check_place(path)
    if ranks.world > 1 and "-" in (*settings.data, *settings.target, *settings.validate):
        raise LemError("standard input cannot be shared by several processes; give files")
    for path in settings.outputs:
        if os.path.exists(path) and not os.path.isfile(path):
            raise LemError(f"{path}: no ordinary file, beside which the state of the run could lie; name another")
        if ranks.first:
            held.enter_context(checkpoint.alone(path))
    found = checkpoint.load_state(settings.output)
    then = None if found is None else found[1]["settings"]
    prepared = prepare(settings, None if then is None else then["dtype"])
    batches = prepared.batches(ranks.rank, ranks.world)
    for path in filter(os.path.exists, settings.outputs if then is None else ()):
        raise LemError(f"{path}: a model without the state of its run; move it away, or give another -o")
    if then is not None:
        # an older state may say 'auto' itself: what that was is not known
        now = prepared.fingerprint | ({"dtype": "auto"} if then["dtype"] == "auto" else {})
        if changed := differences(then, now):
            raise LemError(
                f"{settings.output}: its run has {'; '.join(changed)}. Give the same settings to go on, or another -o; "
                f"{checkpoint.state_path(settings.output)} is its state"
            )
    if settings.pictures:
        os.makedirs(settings.pictures, exist_ok=True)
    log = Log(settings.log if ranks.first else None, 0 if found is None else found[1]["step"])
    return Begun(prepared, batches, found, log)


def _train(begun: Begun, ranks: Ranks, device: str, note, progress) -> Prepared:
    prepared = begun.prepared
    run = prepared.run(prepared, ranks, device)
    note(prepared.summary(device, ranks.world))
    for line in (*prepared.settings.notes, *([prepared.note] if prepared.note else ())):
        note(line)
    if begun.found is not None:
        state, record, trouble = begun.found
        run.resume(state, record)
        done = record["step"] == run.steps
        note(trouble or (f"done already, {run.steps} steps" if done else f"going on from step {record['step']}"))
    if begun.found is None:
        _keep(run)
    if run.step < run.steps:
        with signals() as caught:
            _steps(run, begun.batches, begun.log, caught, progress, note)
    elif ranks.first and any(checkpoint.saved_step(path) != run.step for path in run.outputs):
        run.save_model()  # the end came between the state and the model
    return run.finish()


def _kept(run: Run) -> bool:
    """Whether the model is kept as it stands now."""
    every = run.settings.keep_every
    return every is not None and run.step % every == 0


def _keep(run: Run) -> None:
    """Keep the model where it is due: before the state of this step is written, so that a run that goes on lacks none."""
    if run.ranks.first and _kept(run):
        run.save_model(kept=True)


def _check_place(path: str) -> None:
    """Raise LemError where no file could be written."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise LemError(f"{path}: there is no folder {folder}")
    if os.path.isdir(path):
        raise LemError(f"{path}: a folder; name a file")
    if not os.access(folder, os.W_OK):
        raise LemError(f"{path}: the folder {folder} cannot be written to")


def _steps(run: Run, batches: Batches, log: Log, caught: list[int], progress, note) -> None:
    settings, ranks, first = run.settings, run.ranks, run.step
    gates, records = run.prepared.gates, []  # (none is written before the gates are passed, unless the run is stopped)
    begun, since = time.perf_counter(), first
    made = batches.steps(first, run.steps, settings.workers, run.device)
    for batch in steps(made, "steps", first, run.steps):
        run.advance(batch)
        step, last = run.step, run.step == run.steps
        stop = (step % AGREE_EVERY == 0 or ranks.world == 1) and bool(ranks.most(len(caught), run.device))
        due = last or step % settings.save_every == 0
        reported = due or step % LOG_EVERY == 0
        if reported or stop or _kept(run):
            run.check()
        _keep(run)
        if gates and (due or step >= settings.gates):
            paused = time.perf_counter()
            note(ranks.together(partial(gates, run) if ranks.first else str, run.device))
            gates, begun = None, begun + time.perf_counter() - paused
        if reported:
            mean = ranks.mean(torch.stack(run.losses).mean())
            seconds = time.perf_counter() - begun
            record = {
                "step": step,
                "loss": float(mean),
                **run.metrics(),
                "items_per_second": (step - since) * settings.batch / seconds,
                "seconds_per_step": seconds / (step - since),
            }
            if due and ranks.first:
                record |= run.validate()
            records.append(record)
            run.losses, begun, since = [], time.perf_counter(), step
        for record in records if stop or not gates else ():
            log.write(record)  # before the state: a resumed run drops what the log has beyond it, but adds nothing
            progress(record["step"], run.steps, record)
        records = records if gates else []
        if due or stop:
            run.save()
        if due and ranks.first:
            run.picture()
        if stop and not last:
            raise Stopped(caught[0] if caught else signal.SIGTERM, step, ranks.first)
