"""Masks of what is lost of images, from files: white is lost."""

import os
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from ..fragment.lost import lose
from ..signal import LemError, Signal, stem
from .how import Reading
from .pixels import luma, resize, to_uint8


class Masks:
    """A mask for all images, or a folder that holds one for each, by its name without the extension.

    A pixel of a mask is lost where it is nearer to white than to black; transparent ones are black.
    """

    def __init__(self, path: str, batches: Iterable[Signal], how: Reading):
        self.path, self.how, self.one, self.named = path, how, None, {}
        for batch in batches:
            for i in range(len(batch)):
                image = to_uint8(batch.data[i])
                self.one = (luma(image) if len(image) == 3 else image)[0] >= 128
                if batch.names is not None and self.named.setdefault(stem(batch.names[i]), self.one) is not self.one:
                    raise LemError(f"{path}: two masks of one name, {stem(batch.names[i])}; leave one of them")
        if os.path.isdir(path):
            self.one = None
        elif len(batch) > 1:
            raise LemError(f"{path}: several masks; name one, or a folder of masks with the names of the images")

    def of(self, signal: Signal, where: str) -> np.ndarray:
        """What is lost of each image, bool [N, 1, H, W]. Raises LemError where there is no mask of its size."""
        if signal.kind != "image":
            raise LemError(f"{where}: {signal.kind}; --lost is for images")
        return np.stack([self._of(signal, i, where) for i in range(len(signal))])[:, None]

    def lose(self, signal: Signal, where: str, lost: np.ndarray | None = None) -> Signal:
        """The images as fragments. lost: from `of`, before they were resized: then a pixel is lost if anything that was
        lost is in it. None: what their masks say now."""
        if lost is None:
            lost = self.of(signal, where)
        elif self.how.size is not None:
            lost = resize(np.where(lost, 255, 0).astype(np.uint8), self.how.size, self.how.crop, where) > 0
        try:
            out = lose(signal, lost)
        except LemError as error:
            raise LemError(f"{where}: {error}") from error
        if not lost.any():
            self.how.say("nothing lost", f"{where}: nothing of it is lost by {self.path}, where white is lost")
        return replace(out, last=signal.last)

    def _of(self, signal: Signal, i: int, where: str) -> np.ndarray:
        mask = self.one
        if mask is None:
            name = stem(signal.names[i]) if signal.names else ""
            if name not in self.named:
                raise LemError(f"{where}: no mask of its name in {self.path}")
            mask = self.named[name]
        height, width = signal.data.shape[2:]
        if mask.shape != (height, width):
            raise LemError(
                f"{where}: {width} x {height} px, where the mask of {self.path} has {mask.shape[1]} x {mask.shape[0]}; "
                "a mask has the size of its image"
            )
        return mask
