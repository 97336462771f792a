"""Undo what was taken away, operation by operation from the last to the first, by one of several means a step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .. import codes as _codes
from ..fragment.evidence import leaves, place
from ..signal import Signal
from . import baseline

# (lows, highs, starts or None, step), arrays [N,C,H,W] -> values: `smooth.dequantize` of a batch
Together = Callable[[np.ndarray, np.ndarray, np.ndarray | None, float], np.ndarray]


def restore(signal: Signal, values: str, lost: str, noise: str, resolution: str) -> tuple[Signal, list[str]]:
    """(whole memory, what was done step by step). Observed exact values stay as they are, quantised ones in bins.

    By what means each kind of loss is undone; where a kind of memory has no such means, the plain one is used:
    values: 'middle', 'low', 'replicate', or 'smooth' (shrinkage inside the bins: images and sound).
    lost: 'plain' (the mean of what an image shows; zero elsewhere), 'linear' (sound), 'inpaint' (images and sound).
    noise: 'keep' or 'shrink' (images). resolution: 'nearest' or 'interpolate' (images).
    """
    data, rate, done = undone(signal, values, lost, noise, resolution)
    dtype = signal.whole_dtype
    if signal.kind == "tokens" or dtype.kind == "f":
        data = data.astype(dtype, copy=False)
    elif dtype == np.uint8:
        data = np.rint(np.clip(data * np.float32(255), 0, 255)).astype(np.uint8)
    return replace(signal, data=data, mask=None, codes=None, ops=[], rate=rate), done


def undone(
    signal: Signal,
    values: str,
    lost: str,
    noise: str = "keep",
    resolution: str = "nearest",
    together: Together | None = None,
) -> tuple[np.ndarray, float | None, list[str]]:
    """As `restore`: (values in units of full scale, not rounded to the memory's own type, rate, what was done).

    together: what does the work of `smooth` on images instead.
    """
    way = _Way.of(signal, values, lost, noise, resolution, together)
    for op in reversed(signal.ops):
        left = leaves(op)
        if left == "window":
            way.place(op, signal.spatial_axes)
        elif left in ("noisy", "other"):
            way.settle()
            {"noise": way.denoise, "downsample": way.upsample}.get(op["op"], way.keep)(op)
    way.settle()
    return way.data, way.rate, list(dict.fromkeys(way.done))


@dataclass
class _Way:
    """A batch on its way back: values in units of full scale, what is known of them, by what means and what was done."""

    kind: str
    data: np.ndarray
    mask: np.ndarray | None
    codes: np.ndarray | None
    op: dict | None
    rate: float | None
    values: str
    lost: str
    noise: str
    resolution: str
    together: Together | None
    done: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, signal: Signal, values: str, lost: str, noise: str, resolution: str, together: Together | None
    ) -> "_Way":
        data = signal.data
        if data.dtype == np.uint8 and signal.kind == "image":
            data = data / np.float32(255)
        known = signal.mask, signal.codes, signal.code_op, signal.rate
        return cls(signal.kind, data, *known, values, lost, noise, resolution, together)

    def place(self, op: dict, axes: tuple[int, ...]) -> None:
        """Put a window back into its frame; all round it is lost."""
        seen = np.broadcast_to(np.True_ if self.mask is None else self.mask, self.data.shape)
        self.data, self.mask = place(self.data, 0, op, axes), place(seen, False, op, axes)
        if self.codes is not None:
            self.codes = place(self.codes, 0, op, axes)

    def settle(self) -> None:
        """Give every element a value: decode codes, fill what is lost."""
        lost = self.mask is not None and not self.mask.all()
        if self.codes is None and not lost:
            self.mask = None
            return
        unit, smooth = np.float32(1), False
        if self.codes is not None:
            assert self.op is not None
            unit = np.float32(255 if self.op["domain"] == "uint8" else 1)
            plain = {"low": baseline.low, "replicate": baseline.replicate}.get(self.values, baseline.middle)
            self.data = plain(self.codes, self.op) / unit
            # (a Gaussian's outer bins have no end to stay inside of: its centroid is the answer)
            smooth = self.values == "smooth" and self.kind in ("image", "audio") and self.op["domain"] != "gaussian"
            if not smooth:
                middle = "middle of the bin or centroid"
                self.done.append(f"bits: {self.values if self.values in ('low', 'replicate') else middle}")
        observed = None
        if lost:
            observed = np.broadcast_to(self.mask, self.data.shape)
            self.data = np.where(observed, self.data, 0).astype(self.data.dtype)
            fill = _filler(self.kind, self.lost)
            self.done.append(f"lost: {fill.__doc__.split('.')[0]}")
            for i in range(len(self.data)):
                self.data[i] = fill(self.data[i], observed[i], self.rate)
        if smooth:
            lows, highs = (end / unit for end in _codes.bounds(self.codes, self.op))
            ended = np.asarray((np.isfinite(lows) & np.isfinite(highs)).reshape(len(lows), -1).all(1))
            if ended.any():
                self.done.append("bits: shrinkage inside the bins")
            if not ended.all():  # quantised by the rms before: how far beyond its range a value lay nobody knows
                self.done.append("bits: middle of the bin or centroid where bins have no end")
            self.inside(lows, highs, ended, observed, bool(unit > 1))
        self.mask = self.codes = None

    def inside(
        self, lows: np.ndarray, highs: np.ndarray, ended: np.ndarray, observed: np.ndarray | None, whole: bool
    ) -> None:
        """Shrinkage inside the bins, of 8-bit values where `whole`; data holds what fills the lost elements, and all of sounds
        that are not `ended`, bool [N]: whose bins have no ends."""
        if self.kind == "audio":
            from .dequantize_sound import dequantize as dequantize_sound

            for i in np.flatnonzero(ended):
                seen = None if observed is None else observed[i]
                self.data[i] = dequantize_sound(lows[i], highs[i], self.rate, seen)
            return
        from .smooth import LEVEL

        if observed is not None:
            for start, seen, low, high in zip(self.data, observed, lows, highs):
                _widen(start, seen, low, high)
        work, step = self.together or one_by_one, LEVEL if whole else 0.0
        for items, lost in _by_loss(observed):
            self.data[items] = work(lows[items], highs[items], self.data[items] if lost else None, step)

    def keep(self, op: dict) -> None:
        """Leave what there is no means to undo."""
        self.done.append(f"{op['op']}: kept")

    def denoise(self, op: dict) -> None:
        """Remove noise that was added, where there is a means for it."""
        if self.noise == "keep" or self.kind != "image":
            self.done.append("noise: kept")
            return
        from .smooth import denoise

        self.done.append("noise: shrinkage")
        sigma = np.broadcast_to(np.asarray(op["sigma"], np.float32), (len(self.data),))
        for i, s in enumerate(sigma):
            if s > 0:
                self.data[i] = denoise(self.data[i], float(s))

    def upsample(self, op: dict) -> None:
        """Back to the resolution that there was."""
        factor, shape = op["factor"], tuple(op["shape"])
        if self.kind == "audio":  # the cut was sharp in frequency: so is the way back
            n, t = self.data.shape[-1], shape[-1]
            spectrum = np.fft.rfft(self.data.astype(np.float64), axis=-1)
            if n % 2 == 0 and t > n:
                spectrum[..., -1] *= 0.5  # the old Nyquist bin stands for two
            self.data = np.fft.irfft(spectrum, t, axis=-1).astype(np.float32) * np.float32(t / n)
            self.rate = op["rate"]
            self.done.append("resolution: band-limited interpolation")
        elif self.resolution == "nearest":
            self.data = self.data.repeat(factor, -2).repeat(factor, -1)[..., : shape[-2], : shape[-1]].copy()
            self.done.append("resolution: nearest")
        else:
            from .inpaint import upsample

            self.data = np.stack([upsample(x, factor, shape[-2:]) for x in self.data])
            self.done.append("resolution: interpolation that keeps the cells' means")


def one_by_one(lows: np.ndarray, highs: np.ndarray, starts: np.ndarray | None, step: float) -> np.ndarray:
    """`smooth.dequantize` of each item of a batch, arrays [N,C,H,W]; starts None: made from the bins."""
    from .smooth import dequantize

    begun = [None] * len(lows) if starts is None else starts
    return np.stack([dequantize(low, high, start, step) for low, high, start in zip(lows, highs, begun)])


def _by_loss(observed: np.ndarray | None) -> Iterator[tuple[Any, bool]]:
    """(items, whether they lost elements): each by its own, whatever the others of a batch lost."""
    lost = np.array([False]) if observed is None else np.array([not seen.all() for seen in observed])
    if lost.all() or not lost.any():
        yield slice(None), bool(lost.all())
        return
    yield np.flatnonzero(lost), True
    yield np.flatnonzero(~lost), False


def _widen(start: np.ndarray, seen: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Bins for what was filled, in place, two widths of those round it: fixed it would keep the shrinkage from the
    observed (BSDS400 crops, 3 bits: 2.5 dB at 30 % lost, 1 dB at 80 %)."""
    if seen.any():
        width = np.median((high - low)[seen])
        np.copyto(low, np.clip(start - width, 0, 1), where=~seen)
        np.copyto(high, np.clip(start + width, 0, 1), where=~seen)


def _filler(kind: str, means: str):
    """The function (values [C, ...], observed of the same shape, rate) -> values that fills lost elements."""

    def mean(x, seen, rate):
        """mean of what is observed"""
        return np.where(seen, x, x[seen].mean() if seen.any() else 0.5)

    def zero(x, seen, rate):
        """zero"""
        return x

    def inpaint_image(x, seen, rate):
        """inpainting from the pixels round it"""
        from .inpaint import inpaint

        return inpaint(x, seen)

    def inpaint_spectrum(x, seen, rate):
        """inpainting of each channel as a picture"""
        from .inpaint import inpaint

        return np.concatenate([inpaint(x[c : c + 1], seen[c : c + 1]) for c in range(len(x))])

    def fill_sound(x, seen, rate):
        """autoregressive interpolation (Janssen)"""
        from .gaps import fill_gaps

        return fill_gaps(x, seen, rate)

    def linear_sound(x, seen, rate):
        """linear interpolation"""
        from .gaps import linear

        return linear(x, seen)

    table = {
        ("image", "plain"): mean,
        ("image", "inpaint"): inpaint_image,
        ("spectrum", "inpaint"): inpaint_spectrum,
        ("audio", "inpaint"): fill_sound,
        ("audio", "linear"): linear_sound,
    }
    return table.get((kind, means)) or (mean if kind == "image" else zero)
