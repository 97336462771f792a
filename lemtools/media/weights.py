"""A model's weights as memories: the parts of a folder with config.json and safetensors, or of one file of tensors.

Every tensor is a batch of its own, so memory is that of the largest one. Which of them may lose something, patterns say:
a pattern picks the linear weights among the tensors that it matches; where there are none, all else of floats with two
axes or more, as tables of vectors and kernels of convolutions are.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np

from .. import stream
from ..catalogue.networks import NETWORKS
from ..signal import LemError, Part, Signal, name_of
from ..signal.layout import FLOATS
from ..signal.types import BF16
from ..stream.files import LEM, opened
from ..stream.wire import parsed
from . import find
from .how import Reading
from .large import rows

# names of what turns ids into vectors
_TABLE = re.compile(r"(^|\.)(\w*emb\w*|wte|wpe|shared|relative_attention_bias)\.weight$", re.IGNORECASE)
_OTHER = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".ot", ".onnx", ".gguf", ".tflite")  # weights once more
_BLOCK = 1 << 24  # bytes compared at a time


class Held(NamedTuple):
    """A file of tensors: where it lies and what it is called, how long its header is, and what stands there."""

    path: str
    name: str
    begin: int
    header: stream.Header


def read(path: str, how: Reading) -> Iterator[Signal]:
    """The parts of a model, in the order of its files: of each file of tensors the head, then the tensors as they lie there.

    Raises LemError, before anything is read, where a file of tensors is cut, where the index names tensors or files that
    are not there, where a name stands twice, where a pattern picks nothing, or one of two tensors that are tied.
    """
    for given, option in ((how.key, "--key"), (how.kind, "--kind")):
        if given:
            raise LemError(f"{path}: {option} is not for models; --tensors picks what may lose something")
    lone = not os.path.isdir(path)
    files = [(path, name_of(os.path.basename(path)))] if lone else list(_files(path, how))
    held = {file: _held(file, name) for file, name in files if lone or name.endswith(".safetensors")}
    if not held:
        raise LemError(f"{path}: no safetensors there, and no other weights are read")
    _check_names(path, held.values())
    if not lone:
        _check_index(path, held.values())
    picked = _picked(path, held.values(), how.tensors or ("*",))
    _check_tied(path, held.values(), picked)
    return _parts(files, held, picked)


def _files(folder: str, how: Reading) -> Iterator[tuple[str, str]]:
    for path in sorted(find.walk(folder, None)):
        name = name_of(os.path.relpath(path, folder))
        if name.endswith(_OTHER):
            how.say("other weights", f"{path}: left out, as are other weights that are no safetensors")
        else:
            yield path, name


def _held(path: str, name: str) -> Held:
    with opened(path) as (source, header):
        try:
            record = parsed(header.meta.get(LEM, "{}"))
        except ValueError:
            record = {}
        if "kind" in record and "n" in record:
            raise LemError(f"{path}: a stream of memories, no model; leave out --tensors")
        return Held(path, name, source.place, header)


def _check_names(path: str, held: Iterable[Held]) -> None:
    seen: dict[str, str] = {}
    for file in held:
        for name in file.header.tensors:
            if (other := seen.setdefault(name, file.name)) != file.name:
                raise LemError(
                    f"{path}: tensor {name} stands in {other} and in {file.name}; take one of the files away"
                )


def _check_index(path: str, held: Iterable[Held]) -> None:
    """Raise LemError where an index, which says in which file each tensor lies, is wrong."""
    found = {file.name: file for file in held}
    for index in sorted(name for name in os.listdir(path) if name.endswith(".safetensors.index.json")):
        where = os.path.join(path, index)
        try:
            with open(where, encoding="utf-8") as file:
                places = parsed(file.read())["weight_map"].items()
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise LemError(f"{where}: no index of tensors ({error})") from error
        for name, place in places:
            if place not in found:
                raise LemError(f"{where}: names {place}, which is not there; download it again")
            if name not in found[place].header.tensors:
                raise LemError(f"{where}: tensor {name} is not in {place}; download both again")


def _picked(path: str, held: Iterable[Held], patterns: str | Iterable[str]) -> set[str]:
    """Names of the tensors that may lose something."""
    every: dict[str, tuple[str, tuple[int, ...], bool]] = {}
    for file in held:
        tables = _tables(file.header)
        every |= {name: (*about, name in tables) for name, about in file.header.found.items()}
    picked: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matched = {name: each for name, each in every.items() if fnmatchcase(name, pattern)}
        floats = {k: v for k, v in matched.items() if v[0] in FLOATS and len(v[1]) > 1 and 0 not in v[1]}
        linear = {k for k, (_, shape, table) in floats.items() if len(shape) == 2 and min(shape) > 1 and not table}
        linear = {k for k in linear if "weight" in k.rpartition(".")[2]}
        if not floats:
            raise LemError(f"{path}: --tensors {pattern}: {_none(matched)}")
        picked |= linear or floats.keys()
    return picked


def _tables(header: stream.Header) -> set[str]:
    """Names of the tables of vectors: by the record of a model of ours, else by how such are called."""
    try:
        net: Any = parsed(header.meta[LEM])["net"]["net"]
        begins = NETWORKS[net].stored.get("embedding")
    except (KeyError, TypeError, ValueError):
        begins = None
    return {name for name in header.tensors if _TABLE.search(name) or (begins and name.startswith(begins))}


def _none(matched: dict[str, tuple[str, tuple[int, ...], bool]]) -> str:
    """Why a pattern picks nothing."""
    if not matched:
        return "no tensor is called so; lem-info FILE lists them"
    name, (dtype, shape, _) = next(iter(matched.items()))
    more = f" and {len(matched) - 1} more" if len(matched) > 1 else ""
    return f"{name} is {dtype} {list(shape)}{more}; only {', '.join(FLOATS)} of two axes or more can lose something"


def _check_tied(path: str, held: Iterable[Held], picked: set[str]) -> None:
    """Raise LemError where one tensor stands in the files under two names, and one of these is picked alone."""
    every = [(file, name, name in _tables(file.header)) for file in held for name in file.header.tensors]
    for where, table in [(file, name) for file, name, is_table in every if is_table]:
        about = where.header.found[table]
        for file, name, _ in every:
            apart = (name in picked) != (table in picked) and file.header.found[name] == about and 0 not in about[1]
            if apart and _digest(file, name) == _digest(where, table):
                way = f"pick both or neither: --tensors {name} --tensors {table}, or another pattern"
                raise LemError(f"{path}: {name} and {table} are one tensor (tied); {way}")


def _digest(file: Held, name: str) -> bytes:
    """Of a tensor's bytes."""
    _, _, begin, stop = file.header.tensors[name]
    made = hashlib.blake2b()
    with open(file.path, "rb", buffering=0) as source:
        source.seek(file.begin + begin)
        reader = stream.Source(source, file.path)
        for at in range(begin, stop, _BLOCK):
            made.update(reader.read(min(_BLOCK, stop - at)).data)
    return made.digest()


def _parts(files: list[tuple[str, str]], held: dict[str, Held], picked: set[str]) -> Iterator[Signal]:
    for path, name in files:
        with open(path, "rb", buffering=0) as file:
            if (tensors := held.get(path)) is None:
                size = os.fstat(file.fileno()).st_size
                yield _carried(stream.Source(file, path).read(size), Part(name, "file"))
                continue
            begin, header = tensors.begin, tensors.header
            yield _carried(stream.Source(file, path).read(begin), Part(name, "head"))
            for key, (dtype, shape, start, stop) in header.tensors.items():
                part = Part(name, "tensor", key, dtype, shape)
                if key in picked:
                    yield _weights(rows(file, path, begin, header.tensors[key]), part, path)
                    continue
                entry = ("U8", (stop - start,), start, stop)
                yield _carried(rows(file, path, begin, entry), part)


def _carried(raw: np.ndarray, part: Part) -> Signal:
    if part.what != "tensor":
        part = part._replace(shape=(len(raw),))
    return Signal("tokens", raw[None] if len(raw) else np.zeros((1, 1), np.uint8), part=part)


def _weights(values: np.ndarray, part: Part, path: str) -> Signal:
    if not np.isfinite(values).all():
        raise LemError(f"{path}: tensor {part.name}: NaN or infinite values; leave it out of --tensors")
    depth = 16 if part.type == BF16 else None
    return Signal("embedding", values.reshape(len(values), -1), part=part, depth=depth)
