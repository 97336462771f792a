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
_SHARD = re.compile(r"(.*-)(\d+)-of-(\d+)\.safetensors")
_BLOCK = 1 << 24  # bytes compared at a time
Key = tuple[str, str]  # of a tensor: the name of its file, and its own


class Held(NamedTuple):
    """A file of tensors: where it lies and what it is called, how long its header is, and what stands there."""

    path: str
    name: str
    begin: int
    header: stream.Header

    @property
    def folder(self) -> str:
        """Its folder in the model: what lies in one is one model."""
        return os.path.dirname(self.name)


def read(path: str, how: Reading) -> Iterator[Signal]:
    """The parts of a model, in the order of its files: of each file of tensors the head, then the tensors as they lie there.

    Raises LemError, before anything is read, where a file of tensors is cut, where the index names tensors or files that
    are not there, where a shard is missing, where a name stands twice in a folder, where a pattern picks nothing, or one of two
    tensors that are tied.
    """
    for given, option in ((how.key, "--key"), (how.kind, "--kind")):
        if given:
            raise LemError(f"{path}: {option} is not for models; --tensors picks what may lose something")
    lone = not os.path.isdir(path)
    every = [(path, name_of(os.path.basename(path)))] if lone else _files(path)
    other = [] if lone else [file for file, name in every if name.endswith(_OTHER)]
    files = [each for each in every if each[0] not in other]
    held = {file: _held(file, name) for file, name in files if lone or name.endswith(".safetensors")}
    if not held:
        way = f"; save the tensors of {os.path.basename(other[0])} by safetensors.torch.save_file" if other else ""
        raise LemError(f"{path}: no safetensors there, and no other weights are read{way}")
    if other:
        how.say("other weights", f"{other[0]}: left out, as are other weights that are no safetensors")
    _check_names(path, held.values())
    if not lone:
        _check_index(path, {name: file for file, name in files}, held)
        _check_shards(path, held.values())
    picked = _picked(path, held.values(), how.tensors or ("*",))
    if not how.whole:
        _check_tied(path, held.values(), picked)
    return _parts(files, held, picked)


def _files(folder: str) -> list[tuple[str, str]]:
    """(path, name in the folder) of all that are not hidden."""
    return [(path, name_of(os.path.relpath(path, folder))) for path in sorted(find.walk(folder, None))]


def _held(path: str, name: str) -> Held:
    if _is_stream(path):
        raise LemError(f"{path}: a stream of memories, no model; leave out --tensors")
    with opened(path) as (source, header):
        return Held(path, name, source.place, header)


def _is_stream(path: str) -> bool:
    """Whether a file begins with a batch of memories."""
    try:
        with open(path, "rb", buffering=0) as file:
            header = stream.read_header(stream.Source(file, path))
    except (LemError, OSError):
        return False  # what else is wrong with it, its reading says
    return header is not None and header.lem is not None


def _check_names(path: str, held: Iterable[Held]) -> None:
    """Raise LemError where two files of one folder, which are parts of one model, have a tensor of one name."""
    seen: dict[Key, str] = {}
    for file in held:
        for name in file.header.tensors:
            if (other := seen.setdefault((file.folder, name), file.name)) != file.name:
                raise LemError(
                    f"{path}: tensor {name} stands in {other} and in {file.name}; take one of the files away"
                )


def _check_index(path: str, files: dict[str, str], held: dict[str, Held]) -> None:
    """Raise LemError where an index, which says in which file each tensor lies, is wrong. files: paths by their names."""
    for index in sorted(name for name in files if name.endswith(".safetensors.index.json")):
        where = files[index]
        try:
            with open(where, encoding="utf-8") as file:
                places = parsed(file.read())["weight_map"].items()
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise LemError(f"{where}: no index of tensors ({error})") from error
        for name, place in places:
            if (found := held.get(files.get(os.path.join(os.path.dirname(index), str(place)), ""))) is None:
                raise LemError(f"{where}: names {place}, which is not there; download it again")
            if name not in found.header.tensors:
                raise LemError(f"{where}: tensor {name} is not in {place}; download both again")


def _check_shards(path: str, held: Iterable[Held]) -> None:
    """Raise LemError where the names of files speak of more of them than are there."""
    names = {file.name for file in held}
    for name in sorted(names):
        if match := _SHARD.fullmatch(name):
            begin, _, count = match.groups()
            every = (f"{begin}{k:0{len(count)}d}-of-{count}.safetensors" for k in range(1, int(count) + 1))
            if lost := next((other for other in every if other not in names), None):
                raise LemError(f"{path}: {lost} is not there, of which {name} speaks; download it again")


def _picked(path: str, held: Iterable[Held], patterns: str | Iterable[str]) -> set[Key]:
    """The tensors that may lose something, each by its file's name and its own."""
    every: dict[Key, tuple[str, tuple[int, ...], bool]] = {}
    for file in held:
        tables = _tables(file.header)
        every |= {(file.name, name): (*about, name in tables) for name, about in file.header.found.items()}
    if not every:
        raise LemError(f"{path}: no tensors there")
    picked: set[Key] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matched = {key: each for key, each in every.items() if fnmatchcase(key[1], pattern)}
        floats = {k: v for k, v in matched.items() if v[0] in FLOATS and len(v[1]) > 1 and 0 not in v[1]}
        linear = {k for k, (_, shape, table) in floats.items() if len(shape) == 2 and min(shape) > 1 and not table}
        linear = {k for k in linear if "weight" in k[1].rpartition(".")[2]}
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


def _none(matched: dict[Key, tuple[str, tuple[int, ...], bool]]) -> str:
    """Why a pattern picks nothing."""
    if not matched:
        return "no tensor is called so; lem-info lists them"
    (_, name), (dtype, shape, _) = next(iter(matched.items()))
    more = f" and {len(matched) - 1} more" if len(matched) > 1 else ""
    return f"{name} is {dtype} {list(shape)}{more}; only {', '.join(FLOATS)} of two axes or more can lose something"


def _check_tied(path: str, held: Iterable[Held], picked: set[Key]) -> None:
    """Raise LemError where one tensor stands in a folder under two names, and one of these is picked alone: what was
    one would be two afterwards. Zeros are not looked at: they stay what they are."""
    alike: dict[Any, list[tuple[Held, str]]] = {}
    for file in held:
        for name, (dtype, shape) in file.header.found.items():
            alike.setdefault((file.folder, dtype, shape), []).append((file, name))
    for each in alike.values():
        mine = [(file, name) for file, name in each if (file.name, name) in picked]
        if not 0 < len(mine) < len(each):
            continue
        seen = {digest: name for file, name in mine if (digest := _digest(file, name)) is not None}
        for file, name in each:
            if (file.name, name) not in picked and (other := seen.get(_digest(file, name) or b"")) is not None:
                way = f"pick both or neither: --tensors {other} --tensors {name}, or another pattern"
                raise LemError(f"{path}: {other} and {name} are one tensor (tied); {way}")


def _digest(file: Held, name: str) -> bytes | None:
    """Of a tensor's bytes; None of zeros."""
    _, _, begin, stop = file.header.tensors[name]
    made, some = hashlib.blake2b(), False
    with open(file.path, "rb", buffering=0) as source:
        source.seek(file.begin + begin)
        reader = stream.Source(source, file.path)
        for at in range(begin, stop, _BLOCK):
            raw = reader.read(min(_BLOCK, stop - at))
            made.update(raw.data)
            some = some or bool(raw.any())
    return made.digest() if some else None


def _parts(files: list[tuple[str, str]], held: dict[str, Held], picked: set[Key]) -> Iterator[Signal]:
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
                if (name, key) in picked:
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
