"""Weights that others published: read from a file, never run as code."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

from ..signal import LemError


def published(path: str, wanted: Mapping[str, torch.Tensor], whose: str) -> dict[str, torch.Tensor]:
    """Float32 tensors by the names and shapes of `wanted`, and no others, from a published .pt or .pth, or from a safetensors file.

    whose: what the file should hold, for the error. LemError: no such file, more in it than weights, or other weights.
    """
    shown = os.fsdecode(path)
    try:
        if shown.endswith(".safetensors"):
            from safetensors.torch import load

            with open(path, "rb") as file:  # read, not mapped: see stream.on_disk
                state = load(file.read())
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("model_state", state)
    except FileNotFoundError as error:
        raise LemError(f"{shown}: no such file") from error
    except Exception as error:  # pickle, zipfile, safetensors and torch each raise their own
        raise LemError(f"{shown}: not a file of weights, or one that holds more than weights") from error
    for name, tensor in wanted.items():
        if not isinstance(state, Mapping) or getattr(state.get(name), "shape", None) != tensor.shape:
            raise LemError(f"{shown}: not the weights of {whose} (no {name} {list(tensor.shape)})")
    return {name: state[name].float() for name in wanted}
