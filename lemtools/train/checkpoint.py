"""What a run leaves on disk: the model, and the state from which the same run is resumed.

MODEL.safetensors is what others use: weights averaged over the run (EMA) and the record of nets.model. Beside it
MODEL.state.safetensors holds the weights, the average and the optimiser's moments of one step, and
MODEL.previous.safetensors the state before that one. Models that are kept as they stood at a step are
MODEL.step-0001000.safetensors. Every file gets its name only when it is whole and on disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from ..nets.model import Model
from ..signal import Layout, LemError, Value
from ..stream.files import ENCODER, LEM, blamed, load_tensors, record_of, save_tensors

STATE = Layout({"step": Value("whole", 0, 2**53), "settings": Value("object")}, finite=False)
_sound: dict[str, tuple[int, ...]] = {}  # states that this process wrote, or read whole, and which they were


def state_path(path: str) -> str:
    """Where the state of the run that writes the model `path` lies."""
    return str(Path(path).with_suffix(".state.safetensors"))


def kept_path(path: str, step: int) -> str:
    """Where the model `path` is kept as it stood at a step."""
    return str(Path(path).with_suffix(f".step-{step:07d}.safetensors"))


def previous_path(path: str) -> str:
    return str(Path(path).with_suffix(".previous.safetensors"))


@contextlib.contextmanager
def alone(path: str) -> Iterator[None]:
    """No other process trains the model `path` meanwhile, on this machine or another one that sees the file. Raises LemError
    where one does. The lock is the system's: it ends with the process, however that ends.
    """
    folder, name = os.path.split(os.path.realpath(path))
    lock = os.path.join(folder, f".{name[:200]}.lock")
    with blamed(path, lock):
        file = open(lock, "ab")  # noqa: SIM115
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            taken = not os.path.samestat(os.fstat(file.fileno()), os.stat(lock))  # (of a run that just ended)
        except OSError as error:
            taken = error.errno in (errno.EACCES, errno.EAGAIN, errno.ENOENT)  # else a file system without locks
        if taken:
            raise LemError(f"{path}: another lem-train writes this model now; wait for it, or give another -o")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(lock)


def save_model(model: Model, path: str, dtype: torch.dtype | None = None, weights: dict | None = None) -> None:
    """Write a model. dtype: of its weights on disk, else as they are. weights: in place of the network's own."""
    tensors = model.tensors()
    tensors |= {k: v.detach().cpu() for k, v in (weights or {}).items()}
    scales = ("scale.", "target_scale.")
    if dtype is not None:
        plain = {k for k, v in tensors.items() if k.startswith(scales) or not v.is_floating_point()}
        tensors = {k: v if k in plain else v.to(dtype) for k, v in tensors.items()}
    write_tensors(path, tensors, model.meta)


def write_tensors(path: str, tensors: dict[str, torch.Tensor], record: dict, digest: bool = False) -> None:
    """Tensors and a JSON record as one safetensors file, whole or not at all. digest: as of stream.files.save_tensors."""
    records = {LEM: record}
    if "encoder" in record:  # a model that is an encoder, too, is read as one (encode.load)
        records[ENCODER] = record["encoder"]
    save_tensors(path, tensors, records, sync=True, digest=digest)


def save_state(path: str, tensors: dict[str, torch.Tensor], record: dict) -> None:
    """Write the state of a run; the one that is there becomes the previous one."""
    state, previous = state_path(path), previous_path(path)
    if _whole(state):  # else the previous one is all there is: it stays
        # a second name for the old state: at every moment one of the names holds a whole state
        staged = f"{previous}.part"
        if os.path.lexists(staged):
            os.unlink(staged)
        try:
            os.link(state, staged)
            os.replace(staged, previous)
        except OSError:  # no hard links here
            os.replace(state, previous)
    write_tensors(state, tensors, record, digest=True)
    _sound[state] = _which(state)


def _which(path: str) -> tuple[int, ...]:
    there = os.stat(path)
    return there.st_ino, there.st_size, there.st_mtime_ns


def _whole(path: str) -> bool:
    """Whether a state is there whose header fits to its size, and its digest to its bytes."""
    try:
        if _sound.get(path) != _which(path):
            load_tensors(path, LEM, "the state of a run", described=STATE)
    except (LemError, OSError):
        return False
    return True


def saved_step(path: str) -> int | None:
    """The step of the model in a file, or None where there is no whole model."""
    return (record_of(path, LEM) or {}).get("step")


def load_state(path: str) -> tuple[dict[str, torch.Tensor], dict, str | None] | None:
    """(tensors, record, a note where the last state was not whole and the previous one was taken), or None without one.

    Raises LemError where neither is whole.
    """
    trouble = None
    for name in (state_path(path), previous_path(path)):
        if not os.path.exists(name):
            continue
        try:
            record, tensors = load_tensors(name, LEM, "the state of a run", "pt", described=STATE)
        except LemError as error:
            reason = str(error).splitlines()[0].removeprefix(f"{name}: ")
            trouble = f"{name}: not a whole state ({reason})"
            continue
        _sound[name] = _which(name)
        return tensors, record, None if trouble is None else f"{trouble}; going on from {name}, step {record['step']}"
    if trouble is not None:
        raise LemError(f"{trouble}, and there is no earlier one; move it away to begin again")
    return None
