"""A trained classifier that is shown memories."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..device import pick
from ..signal import LemError, called
from .model import load

AT_A_TIME = {"cpu": 64}  # items, of which a layer's features are in memory: on a CPU they stay in its cache
ELSEWHERE = 512


@dataclass(frozen=True)
class Seen:
    """What a judge makes of N items. classes: int64 [N], the likeliest ones; logits: float32 [N, K]; layers: float32 [N, F] of each layer,
    lowest first."""

    logits: np.ndarray
    layers: list[np.ndarray]

    @property
    def classes(self) -> np.ndarray:
        return self.logits.argmax(1)


class Judge:
    """path: a model of lem-train classifier. device: where it is computed, as of `device.pick`.

    ``judge(kind, data, rate)`` is what it sees of items [N, ...item]: images uint8, or floats in [0, 1], of any size; embeddings; spectra;
    where it was taught spectra of sounds also sounds [N, C, T], of which it makes these: they are cut or filled with silence to the length
    that it learnt (`fitted` counts them). An item's answer does not depend on the others but by rounding.

    Attributes: names: of the classes; named: whether these are more than their numbers; meta: the record of the model. LemError for another model, and for items of another kind or shape.
    """

    def __init__(self, path: str, device: str = "auto"):
        self.path, self.device = os.fsdecode(path), torch.device(pick(device))
        model = load(path)
        if model.family != "classify":
            raise LemError(
                f"{self.path}: a model of {model.meta['recipe']} tells no classes; lem-train classifier makes one"
            )
        self.meta, self.scale, self.front, self.model = model.meta, model.scale, model.front, model
        self.net: Any = model.net.to(self.device).eval()
        self.net.to(memory_format=torch.channels_last)  # (of its convolutions: on a CPU a fifth faster)
        self.fitted = 0
        names, numbers = model.meta.get("names"), [str(k) for k in range(self.net.classes)]
        self.names = numbers if names is None else [str(name) for name in names]
        self.named = self.names != numbers
        if len(self.names) != self.net.classes:
            raise LemError(
                f"{self.path}: damaged: names of {len(self.names)} classes, where it tells {self.net.classes}"
            )

    def remark(self, sounds: int) -> str | None:
        """What the user should know of so many sounds that were cut or filled."""
        if not sounds or self.front is None:
            return None
        length = self.front.samples / self.front.rate
        return f"sounds of another length than {self.path} learnt were cut, or filled with silence, to {length:.3g} s: {sounds}"

    def numbers(self, words: list[str]) -> np.ndarray:
        """int64 [N], the classes that are called so. LemError for one that it does not know."""
        known = {name: k for k, name in enumerate(self.names)}
        if strange := next((word for word in words if word not in known), None):
            raise LemError(f"class {strange!r}, which {self.path} was not taught; it knows {self.called()}")
        return np.array([known[word] for word in words], np.int64)

    def called(self) -> str:
        """The names of some of its classes."""
        return ", ".join(self.names[:5]) + (", ..." if len(self.names) > 5 else "")

    @torch.inference_mode()
    def __call__(self, kind: str, data: np.ndarray, rate: float | None = None) -> Seen:
        if kind == "audio":
            kind, data = "spectrum", self._spectra(data, rate)
        self.model.check_fits(self.path, kind, data.shape[1:])
        logits, layers = [], []
        several = AT_A_TIME.get(self.device.type, ELSEWHERE)
        for start in range(0, len(data), several):
            x = torch.from_numpy(np.ascontiguousarray(data[start : start + several])).to(self.device)
            x = self.scale.encode(x if x.dtype == torch.uint8 else x.float())
            found = self.net.layers(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x)
            layers.append([h.float().cpu().numpy() for h in found])
            logits.append(self.net.head(found[-1]).float().cpu().numpy())
        return Seen(np.concatenate(logits), [np.concatenate(each) for each in zip(*layers)])

    def _spectra(self, sound: np.ndarray, rate: float | None) -> np.ndarray:
        if self.front is None:
            raise LemError(f"{self.path} was taught {called(self.meta['kind'])}, and is shown sounds")
        if rate is not None and rate != self.front.rate:
            raise LemError(f"sounds at {rate:g} Hz, where {self.path} was taught {self.front.rate:g} Hz; resample them")
        wanted, here = self.front.samples, sound.shape[-1]
        if here != wanted:
            self.fitted += len(sound)
            sound = np.pad(sound[..., :wanted], ((0, 0), (0, 0), (0, max(0, wanted - here))))
        return replace(self.front).encode(np.ascontiguousarray(sound, np.float32))
