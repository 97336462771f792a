"""The file of a fitted encoder: its tensors, and a record in JSON."""

import json
import os

import numpy as np

from .. import stream
from ..signal import LemError
from .save import whole_file

KEY = "lem_encoder"


def write_fitted(path: str, record: dict, tensors: dict[str, np.ndarray]) -> None:
    """One safetensors file, whole or not at all; the record is JSON under the metadata key lem_encoder."""
    from safetensors.numpy import save

    raw = save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, {KEY: json.dumps(record)})
    with whole_file(path) as file:
        stream.write_all(file, [raw])


def read_fitted(path: str) -> tuple[dict, dict[str, np.ndarray]]:
    """(record, tensors) of a fitted encoder's file."""
    shown = os.fsdecode(path)
    with stream.opened(path, "np") as file:
        record = json.loads((file.metadata() or {}).get(KEY, "null"))
        if not isinstance(record, dict):
            raise LemError(f"{shown}: not a fitted encoder (of lem-encode --fit)")
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if record.get("v") != 1:
        raise LemError(f"{shown}: version {record.get('v')!r} of an encoder's file; a newer lemtools wrote it")
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise LemError(f"{shown}: damaged (NaN or infinite values in {name})")
    return record, tensors
