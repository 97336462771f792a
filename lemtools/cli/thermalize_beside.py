"""What lem-thermalize writes beside the states: a log, what the emulator claimed, and from where it stepped."""

import contextlib
import json
import os
import tempfile

import click

from . import common
from .options import OUTPUT

OPTIONS = (
    common.option(
        "--log",
        "Write what was done: JSON Lines, one a step, with step, level, action, displacement, calls and score, what the gate read.",
        metavar="FILE",
        file=True,
        section=OUTPUT,
    ),
    common.option(
        "--claims",
        "Write what the emulator claimed, before it was corrected, of every step that is written.",
        metavar="FILE",
        file=True,
        section=OUTPUT,
    ),
    common.option(
        "--previous",
        "Write the states from which it stepped there: with --claims what lem-train corrector learns from.",
        metavar="FILE",
        file=True,
        section=OUTPUT,
    ),
)


def options(command):
    """The options, in this order."""
    for each in reversed(OPTIONS):
        command = each(command)
    return command


def check(claims, previous, steps, codebook):
    """UsageError for options that do not go together."""
    if previous is not None and steps is None:
        raise click.UsageError("--previous is for --exec and --rollout: a filter keeps what it wrote before")
    if codebook is not None and (claims or previous):
        raise click.UsageError("--claims and --previous are for states of simulations, not for tokens of a --codebook")


@contextlib.contextmanager
def written(run, target, inputs, seed, wanted):
    """What takes a line of the log, claimed and previous states. wanted: {option: its file or None}, in this order."""
    taken = {"--output": target.out} if not target.stdout else {}
    own = {name: _own(f"--{name}", path, taken, inputs) for name, path in wanted.items()}
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context((_log if name == "log" else _states)(run, each, seed)) for name, each in own.items()]


def _own(name, path, taken, inputs):
    """Where an option writes beside the output, None for nowhere. taken: {option: file} of what else is written."""
    if path is None:
        return None
    from ..media import Target

    own = Target(path, "txt" if name == "--log" else None)
    if own.stdout or own.folder or own.pattern:
        raise click.UsageError(f"{name} {path}: name one file; standard output is for the states")
    own.refuse([], inputs)
    for other, there in taken.items():
        if os.path.realpath(path) == os.path.realpath(there):
            raise click.UsageError(f"{name} and {other} would both write {path}")
    taken[name] = path
    return own


@contextlib.contextmanager
def _log(run, own, seed):
    """What writes a line of the log."""
    if own is None:
        yield lambda record: None
        return
    with open(own.out, "wb", buffering=0) as file:

        def write(record):
            left = (json.dumps(record) + "\n").encode()
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError as error:
                error.filename = own.out
                raise

        yield write


@contextlib.contextmanager
def _states(run, own, seed):
    """What takes states that are written, once all are there, beside the output."""
    if own is None:
        yield lambda states: None
        return
    from ..media import save
    from ..thermalize.driver import Spool

    with tempfile.TemporaryFile(dir=os.path.dirname(os.path.realpath(own.out))) as file:
        spool = Spool(file)
        yield spool.add
        save(spool.signals([run.history(seed=seed)]), own, run.note, run.error)
