"""Files: how any of them is written, whole or not at all; and files of tensors that are read by name (encoders,
networks, states of runs, tables), each with records in JSON."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..signal import LemError, wire_type
from .source import write_all
from .wire import assemble

LEM, ENCODER = "lem", "lem_encoder"  # the record of a stream, model or run; that of a fitted encoder


def status(path: str | int) -> os.stat_result | None:
    """What the system says of a file or descriptor; None where there is none."""
    try:
        return os.stat(path)
    except OSError:
        return None


@contextlib.contextmanager
def blamed(path: str, temporary: str | None = None) -> Iterator[None]:
    """Errors of writing name the file that the user knows."""
    try:
        yield
    except OSError as error:
        if error.filename in (None, temporary):
            error.filename, error.filename2 = path, None
        raise


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[io.FileIO]:
    """An unbuffered binary file that gets its name only when it is complete.

    Pipes and devices are opened as they stand; of a symlink, the file behind it is replaced, not the link. Who may read
    and write a file that is replaced stays as it was.
    """
    there = status(path)  # before realpath: that of /dev/stdout or /dev/fd/63 is no path when it is a pipe
    if there is not None and not stat.S_ISREG(there.st_mode):
        with blamed(path), open(path, "wb", buffering=0) as file:
            yield file
        return
    folder, name = os.path.split(os.path.realpath(path))
    temporary = os.path.join(folder, f".{name[:40]}.{os.urandom(4).hex()}.part")
    with blamed(path, temporary):
        mode = 0o666 if there is None else 0o600  # nobody else reads along before its mode is set
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            if there is not None:
                os.fchmod(descriptor, there.st_mode & 0o777)
            with open(descriptor, "wb", buffering=0) as file:
                yield file
            os.replace(temporary, os.path.join(folder, name))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def save_tensors(path: str, tensors: Mapping[str, Any], records: Mapping[str, Any], sync: bool = False) -> None:
    """One safetensors file, whole or not at all.

    tensors: numpy arrays or torch tensors, bfloat16 among them, by name. records: text, or what JSON holds, by the key
    of the metadata that it goes under. sync: the bytes are on the disk before the file gets its name.
    """
    texts = {key: record if isinstance(record, str) else json.dumps(record) for key, record in records.items()}
    buffers = assemble({name: _named(tensor) for name, tensor in tensors.items()}, texts)
    with whole_file(path) as file:
        write_all(file, buffers)
        if sync:
            os.fsync(file.fileno())


def _named(tensor: Any) -> tuple[str, np.ndarray]:
    """(type on the wire, contiguous numpy array); bfloat16, which numpy lacks, as the 16 bits that it is."""
    if isinstance(tensor, np.ndarray):
        return wire_type(tensor), np.asarray(tensor, order="C")
    tensor = tensor.detach().cpu().contiguous()
    if str(tensor.dtype) == "torch.bfloat16":
        return "BF16", tensor.view(sys.modules["torch"].int16).numpy()
    return _named(tensor.numpy())


def load_tensors(
    path: str, key: str, what: str, framework: str = "np", finite: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the record under `key`, tensors of `framework`) of a file that `save_tensors` wrote.

    Raises LemError where it cannot be read; where it has no such record: it is not `what`; where its version is not 1;
    and, if `finite`, for numpy's tensors with NaN or infinity.
    """
    shown = os.fsdecode(path)
    with opened(path, framework) as file:
        record = _record(file, key)
        if record is None:
            raise LemError(f"{shown}: not {what}")
        if record.get("v", 1) != 1:
            raise LemError(f"{shown}: made by a newer lemtools (version {record['v']!r} of its format)")
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    for name, tensor in tensors.items() if finite else ():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise LemError(f"{shown}: damaged (NaN or infinite values in {name})")
    return record, tensors


def record_of(path: str, key: str) -> dict[str, Any] | None:
    """The record under `key` of a file of tensors, its tensors not read; None where there is no such whole file."""
    try:
        with opened(path, "np") as file:
            return _record(file, key)
    except LemError:
        return None


def _record(file: Any, key: str) -> dict[str, Any] | None:
    try:
        record = json.loads((file.metadata() or {}).get(key, "null"))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def write_fitted(path: str, record: dict[str, Any], tensors: Mapping[str, Any]) -> None:
    """The file of a fitted encoder."""
    save_tensors(path, tensors, {ENCODER: record})


def read_fitted(path: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(record, tensors) of a fitted encoder's file."""
    return load_tensors(path, ENCODER, "a fitted encoder (of lem-encode --fit)", finite=True)


@contextlib.contextmanager
def opened(path: str, framework: str) -> Iterator[Any]:
    """safetensors' safe_open, its tensors those of `framework` ('np', 'pt'): what it cannot open or read, there or in
    the block, is a LemError of one line that names the file."""
    from safetensors import SafetensorError, safe_open

    shown = os.fsdecode(path)
    try:
        with safe_open(path, framework) as file:
            yield file
    except FileNotFoundError as error:
        raise LemError(f"{shown}: no such file") from error
    except SafetensorError as error:
        raise LemError(f"{shown}: not a whole safetensors file ({error})") from error
    except OSError as error:
        raise LemError(f"{shown}: {error.strerror or error}") from error
