"""What a classifier's layer makes of memories: features."""

from __future__ import annotations

from dataclasses import replace

from ..nets.judge import Judge
from ..signal import LemError, Signal
from .contract import Encoder


class Features(Encoder):
    """Images, spectra, sounds or embeddings, as the model was taught them -> embedding [N, F]: what a layer of a model of lem-train
    classifier makes of each, of images and spectra the means over places.

    model: its file. layer: 1 for the lowest; None: the last one, which the classes are read from. LemError for another model, for a layer
    that it has not, and for items of another kind or shape.
    """

    name = "features"

    def __init__(self, model: str | None = None, *, layer: int | None = None, device: str = "cpu"):
        if model is None:
            raise LemError("features need a model that makes them: --model FILE, from lem-train classifier")
        self.judge, self.layer = Judge(model, device), layer
        if layer is not None and not 1 <= layer <= self.judge.net.count:
            raise LemError(f"--layer {layer}: {self.judge.path} has layers 1 to {self.judge.net.count}")

    def encode(self, signal: Signal) -> list[Signal]:
        found = self.judge(signal.kind, signal.data, signal.rate).layers
        return [replace(signal, kind="embedding", data=found[(self.layer or 0) - 1], rate=None, depth=None)]

    def record(self, signal: Signal) -> dict:
        return {"layer": self.layer}

    def remark(self) -> str | None:
        return self.judge.remark(self.judge.fitted)
