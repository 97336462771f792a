"""The training images of a machine: loaded once, read in tiles, of one class if asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch

from ..denoise.contract import Array, Scale
from ..denoise.moments import Moments
from ..denoise.store import Store, from_rows
from ..signal import LemError, called
from ..stream import OnDisk
from ..transforms import Front
from ..transforms.history import front
from .plan import Size, said, sides

IMAGE = Scale.image()


class Bank:
    """N items [N, C, H, W]: images, uint8 (v / 255) or float in [0, 1]; or spectra or states, float of any range: numpy,
    torch or stream.OnDisk.

    labels: int [N] or None. names: source name of each item, or None. index: numbers of these items in the whole bank (a
    class keeps them). kind: 'image', 'spectrum' or 'field'; None: images where there is no scale, else states. scale:
    coordinates; None: of images 2v - 1, of spectra units of their rms. Those of states are the same for all places of a
    channel; states may have one direction, [N, C, L], and are then compared as images of height 1, by patches of 1 x P.
    history: what made the items, entries of a Signal. rate: of the sound of spectra, Hz. Raises LemError for another
    shape, no item, or values that are not finite.
    """

    def __init__(
        self,
        images: Array,
        labels: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        index: np.ndarray | None = None,
        scale: Scale | None = None,
        kind: str | None = None,
        history: Sequence[dict] = (),
        rate: float | None = None,
    ):
        self.kind = kind or ("image" if scale is None else "field")
        self.states, self.flat = self.kind != "image", self.kind == "field" and images.ndim == 3
        self.history, self.rate = list(history), rate
        if not (images.ndim == 4 or self.flat) or 0 in images.shape:
            raise LemError(f"a bank holds {called(self.kind)} [N, C, H, W], not an array of shape {list(images.shape)}")
        if labels is not None and len(labels) != len(images):
            raise LemError(f"{len(labels)} labels for the {len(images)} {called(self.kind)} of the bank")
        self.images, self.names = images, names
        self.labels = None if labels is None else np.asarray(labels).astype(np.int64)
        self.index = np.arange(len(images)) if index is None else index
        self.scale = scale or (IMAGE if self.kind == "image" else Scale(0.0, unit_gain(images)))
        if not np.isfinite(self.mean).all():
            bad = next(
                i + int((~torch.isfinite(t).flatten(1).all(1)).nonzero()[0])
                for i, t in self.tiles(256)
                if not bool(torch.isfinite(t).all())
            )
            raise LemError(f"{called(self.kind, 1)} {bad} of the bank has values that are not finite; leave it out")

    @classmethod
    def of_memories(cls, memories: Bank | Store) -> Bank:
        """A bank as it is; of a store its images, or its states where its coordinates are not those of images."""
        if isinstance(memories, Bank):
            return memories
        offset, gain = memories.scale.offset, memories.scale.gain
        images = np.ndim(offset) == np.ndim(gain) == 0 and (offset, gain) == (IMAGE.offset, IMAGE.gain)
        return cls(memories.array, scale=None if images else memories.scale)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def item(self) -> tuple[int, int, int]:
        """(C, H, W); H is 1 where there is one direction."""
        channels, *space = self.images.shape[1:]
        return (channels, 1, *space) if self.flat else (channels, *space)

    def patch(self, size: Size) -> tuple[int, int]:
        """Rows and columns of a patch of that size; one row where there is one direction."""
        if self.flat and not isinstance(size, int):
            raise LemError(f"a patch of {said(size)}: these items have one direction, so give one number")
        rows, columns = sides(size)
        return (1 if self.flat else rows), columns

    def high(self, x: torch.Tensor) -> torch.Tensor:
        """Items of its kind [S, C, ...] as [S, C, H, W]."""
        return x[:, :, None] if self.flat else x

    def of(self, label: int | None) -> Bank:
        """The images of one class; None: all. Raises LemError where there are none, or no labels."""
        if label is None:
            return self
        if self.labels is None:
            raise LemError(
                f"the bank has no labels, so none of its {called(self.kind)} is of class {label}; give --labels"
            )
        found = np.flatnonzero(self.labels == label)
        if not len(found):
            known = ", ".join(map(str, np.unique(self.labels)[:12]))
            raise LemError(f"no {called(self.kind, 1)} of the bank is of class {label}; its classes are {known}")
        chosen = torch.from_numpy(found) if isinstance(self.images, torch.Tensor) else found
        names = None if self.names is None else [self.names[i] for i in found]
        more = {"scale": self.scale, "kind": self.kind, "history": self.history, "rate": self.rate}
        return Bank(self.images[chosen], self.labels[found], names, self.index[found], **more)

    def scaled(self, scale: Scale) -> Bank:
        """The same in other coordinates, those of a network."""
        return self._with(scale=scale, moments=None)

    def cut(self, start: int, stop: int) -> Bank:
        """Images start ... stop - 1, maybe none, with the moments of all."""
        rows = slice(start, stop)
        labels, names = (None if v is None else v[rows] for v in (self.labels, self.names))
        images = self.images.cut(start, stop) if isinstance(self.images, OnDisk) else self.images[rows]
        return self._with(images=images, labels=labels, names=names, index=self.index[rows])

    def to(self, device: str | torch.device) -> Bank:
        """The same with its images, as they are stored, on a device; on the CPU they stay where they are."""
        if torch.device(device).type == "cpu":
            return self
        images = self.images
        images = images if isinstance(images, torch.Tensor) else torch.from_numpy(np.array(images))
        return self._with(images=images.to(device))

    def _with(self, **other) -> Bank:
        """The same but for some attributes; nothing is checked again."""
        new = Bank.__new__(Bank)
        new.__dict__ = {k: v for k, v in self.__dict__.items() if k != "store"} | {"moments": self.moments} | other
        if new.__dict__["moments"] is None:  # (to be found anew)
            del new.__dict__["moments"]
        return new

    def part(self, start: int, stop: int, dtype: torch.dtype, device: str | torch.device = "cpu") -> torch.Tensor:
        """Images start ... stop - 1 in coordinates: [I, C, H, W] of dtype."""
        raw = from_rows(self.images[start:stop])
        own = isinstance(self.images, torch.Tensor)  # (a slice of it is the bank's memory)
        if self.states:
            values = raw.to(device, dtype, copy=own)
            return self.high(self.scale.encode(values.div_(255) if raw.dtype == torch.uint8 else values))
        full = 255.0 if raw.dtype == torch.uint8 else 1.0
        return raw.to(device, dtype, copy=own).mul_(2 / full).sub_(1)

    def tiles(
        self, count: int, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """(number of the first image, [I, C, H, W]) over all images."""
        for start in range(0, len(self), count):
            yield start, self.part(start, start + count, dtype, device)

    @cached_property
    def store(self) -> Store:
        """The same images for what takes whole ones."""
        return Store(self.images, self.scale)

    @cached_property
    def moments(self) -> tuple[np.ndarray, float, float, torch.Tensor]:
        """Of the coordinates: mean of each channel, float64 [C]; rms of all pixels about it; largest absolute value; and
        whether an element is not zero in all items, bool [C, H, W]."""
        moments, peak, seen = Moments(full=False), 0.0, torch.zeros(self.item, dtype=torch.bool)
        for _, tile in self.tiles(max(1, min(1024, (1 << 24) // int(np.prod(self.item))))):
            peak = max(peak, float(tile.abs().max()))
            seen |= (tile != 0).any(0)
            moments.add(tile.flatten(1).double())
        mean = moments.mean.reshape(self.item[0], -1)  # of each place; the variance about a channel's is the sum of two
        rms = float(moments.variance.mean() + mean.var(1, correction=0).mean()) ** 0.5
        return mean.mean(1).numpy(), rms, peak, seen

    @property
    def mean(self) -> np.ndarray:
        """Mean of each channel in coordinates, float64 [C]."""
        return self.moments[0]

    @cached_property
    def front(self) -> Front | None:
        """What made the spectra, where their history says it."""
        return front(self.history) if self.kind == "spectrum" else None

    @property
    def shown(self) -> torch.Tensor | None:
        """bool [C, H, W]: which elements of spectra are not zero for every sound, as the imaginary parts at 0 Hz and at half
        the rate are; None where all are not, or that is not known."""
        if self.front is None or self.item[1] != self.front.shape[0] or not self.front.zero.any():
            return None
        zero = torch.from_numpy(self.front.zero)  # [channels of a sound's channel, H]
        return ~zero.repeat(self.item[0] // len(zero), 1)[:, :, None].expand(self.item)

    @property
    def alive(self) -> torch.Tensor:
        """bool [C, H, W]: which elements count. Of spectra those that are zero for every sound, or in all of the bank, do not:
        nothing can be said about them."""
        if self.kind != "spectrum":
            return torch.ones(self.item, dtype=torch.bool)
        return self.moments[3] if self.shown is None else self.moments[3] & self.shown

    @property
    def complex(self) -> bool:
        """Whether channels 2c and 2c + 1 are the real and the imaginary part of a number."""
        known = self.front is None or self.front.is_complex
        return self.kind == "spectrum" and self.item[0] % 2 == 0 and known


def unit_gain(data: Array, most: int = 10_000) -> float:
    """What puts spectra [N, ...] in units of their rms: 1 over it, of up to `most` of them; 1 where all are zero."""
    rows = np.linspace(0, len(data) - 1, min(len(data), most)).astype(int)
    square = count = 0.0
    for part in np.array_split(rows, -(-len(rows) // 64)):
        x = np.asarray(data[part], np.float64)
        square, count = square + float(np.square(x).sum()), count + x.size
    return (count / square) ** 0.5 if square > 0 else 1.0
