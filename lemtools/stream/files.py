"""Files: how any of them is written, whole or not at all; and files of tensors that are read by name (encoders,
networks, states of runs, tables), each with records in JSON."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np

from ..signal import Layout, LemError, wire_type
from ..signal.layout import Found
from ..signal.types import BF16
from .source import Source, write_all
from .wire import Header, arrays_of, assemble, parsed, read_body, read_header

DIGEST = "lem_digest"  # the key of the metadata for the digest of all else
LEM, ENCODER = "lem", "lem_encoder"  # the record of a stream, model or run; that of a fitted encoder


def status(path: str | int) -> os.stat_result | None:
    """What the system says of a file or descriptor; None where there is none."""
    try:
        return os.stat(path)
    except OSError:
        return None


@contextlib.contextmanager
def blamed(path: str, temporary: str | None = None) -> Iterator[None]:
    """Errors of reading and writing name the file that the user knows."""
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


def save_tensors(
    path: str, tensors: Mapping[str, Any], records: Mapping[str, Any], sync: bool = False, digest: bool = False
) -> None:
    """One safetensors file, whole or not at all.

    tensors: numpy arrays or torch tensors, bfloat16 among them, by name. records: text, or what JSON holds, by the key
    of the metadata that it goes under. sync: the bytes are on the disk before the file gets its name. digest: the file
    holds one, by which `load_tensors` finds a changed bit.
    """
    texts = {key: record if isinstance(record, str) else json.dumps(record) for key, record in records.items()}
    named = {name: _named(tensor) for name, tensor in tensors.items()}
    if digest:
        texts[DIGEST] = _digest(
            texts, {name: (kind, array.shape, _raw(array)) for name, (kind, array) in named.items()}
        )
    with whole_file(path) as file:
        write_all(file, assemble(named, texts))
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


def _raw(array: np.ndarray) -> Any:
    return array.reshape(-1).view(np.uint8).data if array.size else b""


def _digest(texts: Mapping[str, str], tensors: Mapping[str, tuple[str, tuple[int, ...], Any]]) -> str:
    """BLAKE2 of records, and of tensors with their names, types and shapes, in the order of their names."""
    made = hashlib.blake2b(digest_size=16)
    for part in [[key, texts[key]] for key in sorted(texts) if key != DIGEST]:
        made.update(json.dumps(part).encode())
    for name in sorted(tensors):
        dtype, shape, raw = tensors[name]
        made.update(json.dumps([name, dtype, shape]).encode())
        made.update(raw)
    return made.hexdigest()


def load_tensors(
    path: str,
    key: str,
    what: str,
    framework: str = "np",
    finite: bool = False,
    described: Layout | Callable[[dict[str, Any], Found], Layout] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the record under `key`, tensors of `framework`, 'np' or 'pt') of a file that `save_tensors` wrote. numpy's bfloat16
    is float32.

    described: what the record and the tensors must be, or what makes that of the record and the tensors' header; they
    are compared before the tensors are read. finite: without NaN and infinity. Raises LemError where the file cannot be
    read; where it has no such record: it is not `what`; where its version is not 1; and where it is not as described, or
    has another digest than it says.
    """
    shown = os.fsdecode(path)
    with opened(path) as (source, header):
        layout = Layout(finite=finite)
        try:
            record = _record(header, key)
            if record is None:
                raise LemError(f"{shown}: not {what}")
            if record.get("v", 1) != 1:
                raise LemError(f"{shown}: made by a newer lemtools (version {str(record['v'])[:20]} of its format)")
            if described is not None:
                try:
                    layout = described(record, header.found) if callable(described) else described
                except LemError as error:
                    raise LemError(f"{shown}: {str(error).removeprefix(f'{shown}: ')}") from error
            layout.check(record, header.found)
            body = read_body(source, header)
            if DIGEST in header.meta:
                parts = {name: (kind, shape, body[a:b]) for name, (kind, shape, a, b) in header.tensors.items()}
                if _digest(header.meta, parts) != header.meta[DIGEST]:
                    raise LemError("its bytes are not those that were written")
            tensors = arrays_of(body, header, shown)
            layout.check_values(tensors)
        except LemError as error:
            raise LemError(str(error) if shown in str(error) else f"{shown}: {layout.wrong} ({error})") from error
    if framework == "pt":
        torch: Any = import_module("torch")
        for name, (kind, *_) in header.tensors.items():
            tensor = torch.from_numpy(tensors[name])
            tensors[name] = tensor.bfloat16() if kind == BF16 else tensor  # (exact: it was widened from that)
    return record, tensors


def record_of(path: str, key: str) -> dict[str, Any] | None:
    """The record under `key` of a file of tensors, its tensors not read; None where there is no such whole file."""
    try:
        with opened(path) as (_, header):
            return _record(header, key)
    except LemError:
        return None


def _record(header: Header, key: str) -> dict[str, Any] | None:
    try:
        return parsed(header.meta[key])
    except (KeyError, ValueError):
        return None


def write_fitted(path: str, record: dict[str, Any], tensors: Mapping[str, Any]) -> None:
    """The file of a fitted encoder."""
    save_tensors(path, tensors, {ENCODER: record})


def read_fitted(
    path: str, described: Layout | Callable[[dict[str, Any], Found], Layout]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(record, tensors) of a fitted encoder's file."""
    return load_tensors(path, ENCODER, "a fitted encoder (of lem-encode --fit)", described=described)


@contextlib.contextmanager
def opened(path: str) -> Iterator[tuple[Source, Header]]:
    """A file of tensors, read up to the end of its header; what cannot be opened or read, there or in the block, is a
    LemError of one line that names the file. It is not mapped: a file that is cut while it is read is such an error."""
    shown = os.fsdecode(path)
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise LemError(f"{shown}: a pipe or device, which can be read only once; save it as a file")
    try:
        with open(path, "rb", buffering=0) as file:
            source = Source(file, shown, sys.maxsize)
            try:
                header = read_header(source, own=False)
                size = os.fstat(file.fileno()).st_size
                if header is None or size != source.place + header.size:
                    raise LemError(
                        f"{size} bytes" + (f", {source.place + header.size} by its header" if header else "")
                    )
            except LemError as error:
                reason = str(error).removeprefix(f"{shown}: ")
                raise LemError(f"{shown}: not a whole safetensors file ({reason})") from error
            yield source, header
    except FileNotFoundError as error:
        raise LemError(f"{shown}: no such file") from error
    except OSError as error:
        raise LemError(f"{shown}: {error.strerror or error}") from error
