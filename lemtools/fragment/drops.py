"""Fewer dimensions, less resolution, no high frequencies, a smaller window, and noise."""

import re
from dataclasses import replace

import numpy as np

from ..signal import LemError, Signal
from ..transforms import Front
from ..transforms.history import front
from .draws import draw, ends, shown
from .lengths import axes, length, sides
from .quantise import parted


def keep_dims(signal: Signal, spec: dict, draws) -> tuple[Signal, dict]:
    """Keep the first `keep` dimensions of an embedding, as of one whose dimensions are nested or ordered (PCA)."""
    keep, have = spec["keep"], signal.data.shape[-1]
    if not 1 <= keep <= have:
        raise LemError(f"--keep-dims {keep}: the embedding has {have} dimension{'s' * (have != 1)}")
    return _window(parted(signal), (slice(None, keep),), 1), {"keep": keep}


def _window(signal: Signal, slices: tuple[slice, ...], axes: int) -> Signal:
    """The signal inside a window along its last `axes` axes."""

    def cut(array, size):
        if array is None:
            return None
        picks = [s if array.shape[-axes + i] == size[i] else slice(None) for i, s in enumerate(slices)]
        return array[(..., *picks)]

    size = signal.data.shape[-axes:]
    spans = None if signal.spans is None else signal.spans[:, slices[0]]
    data, mask, codes = (cut(array, size) for array in (signal.data, signal.mask, signal.codes))
    return replace(signal, data=data, mask=mask, codes=codes, spans=spans, scores=None, words=None)


def crop(signal: Signal, spec: dict, draws) -> tuple[Signal, dict]:
    """Keep one window: 'WxH' or 'N' (a square) of an image, 'N', '20ms' or '1.5s' of a sound, 'N' tokens or dimensions.

    Of a spectrum 'FxT', rows x frames ('500hzx20ms'), 'N' (a square), or '20ms', all rows of so many frames.
    '+X+Y' ('+X'; of a spectrum '+F+T', or '+T' behind a time) places its corner; without, every item draws its place. The
    place is known to who recalls: `place`.
    """
    signal, extent = parted(signal), [signal.data.shape[a] for a in signal.spatial_axes]
    size, place = _geometry(spec["crop"], signal, extent)
    if place is None:
        corners = np.array([[g.integers(0, n - s + 1) for n, s in zip(extent, size)] for g in draws], np.int32)
        corners = corners.reshape(len(signal), len(extent))
    else:
        corners = np.broadcast_to(np.array(place, np.int32), (len(signal), len(extent))).copy()
    items = [_window(signal.take(slice(0)), tuple(map(slice, size)), len(extent))]  # for a batch of no items
    for i, corner in enumerate(corners):
        window = tuple(slice(int(c), int(c) + s) for c, s in zip(corner, size))
        items.append(_window(signal.take([i]), window, len(extent)))
    return replace(Signal.concat(items), index=signal.index), {"place": corners}


def _geometry(text: str, signal: Signal, extent) -> tuple[list[int], list[int] | None]:
    match = re.fullmatch(r"([\d.]+[a-z]*(?:x[\d.]+[a-z]*)?)((?:\+\d+)*)", text.lower())
    if not match:
        raise LemError(f"--crop {text!r}: not a window; as in 64x48, 64x48+10+20 or, for sound, 1.5s")
    box, at = match.groups()
    place = [int(p) for p in at.split("+")[1:]]
    if signal.kind == "spectrum" and re.fullmatch(r"[\d.]+m?s", box):
        size, place = [extent[0], length(box, axes(signal)[1], f"--crop {text}")], place and [0, *place]
    else:
        size = sides(box, signal, f"--crop {text}")
        place = place if signal.kind == "spectrum" else place[::-1]  # width x height is written, rows come first
    if len(place) not in (0, len(extent)):
        raise LemError(f"--crop {text}: {signal.kind} extends in {len(extent)} direction{'s' * (len(extent) > 1)}")
    whole = f"the {signal.kind}, {'x'.join(map(str, extent if signal.kind == 'spectrum' else extent[::-1]))}"
    if any(s > n for s, n in zip(size, extent)):
        raise LemError(f"--crop {text}: larger than {whole}")
    if any(a + b > n for a, b, n in zip(size, place or [0] * len(size), extent)):
        raise LemError(f"--crop {text}: the window reaches beyond {whole}")
    return size, place or None


def downsample(signal: Signal, spec: dict, draws) -> tuple[Signal, dict]:
    """Divide the resolution by `factor` (2 or more).

    Images: the mean over factor x factor cells, those at the border over what there is. Sound: the spectrum above the
    new Nyquist frequency is cut (FFT over the clip), and the rate divided. Lost pixels do not enter a mean.
    """
    factor, kind = spec["factor"], signal.kind
    shortest = min(signal.data.shape[a] for a in signal.spatial_axes)
    if not 2 <= factor <= shortest:
        limits = f"the factor is 2 to {shortest} here" if shortest >= 2 else "there is nothing to divide"
        raise LemError(f"--downsample {factor}: {limits}; the shortest side has {shortest}")
    if kind == "audio":
        if signal.mask is not None:
            raise LemError("--downsample of a sound with lost samples is not defined; put it before --mask")
        t = signal.data.shape[-1]
        n = -(-t // factor)
        spectrum = np.fft.rfft(signal.data.astype(np.float64), axis=-1)[..., : n // 2 + 1] * (n / t)
        data = np.fft.irfft(spectrum, n, axis=-1).astype(np.float32)
        return replace(signal, data=data, codes=None, rate=signal.rate * n / t), {"factor": factor, "rate": signal.rate}
    weight = np.broadcast_to(np.float64(1) if signal.mask is None else signal.mask, signal.data.shape)
    total, count = _cells(signal.data * weight, factor), _cells(weight.astype(np.float64), factor)
    mask = None if signal.mask is None else count[:, : signal.mask.shape[1]] > 0
    data = total / np.maximum(count, 1)
    data = np.rint(data).astype(np.uint8) if signal.data.dtype == np.uint8 else data.astype(np.float32)
    return replace(signal, data=data, codes=None, mask=mask), {"factor": factor}


def _cells(x: np.ndarray, factor: int) -> np.ndarray:
    """Sums over cells of the last two axes."""
    for axis in (-2, -1):
        x = np.add.reduceat(x, range(0, x.shape[axis], factor), axis=axis)
    return x


def _hz(made: Front, signal: Signal) -> np.ndarray:
    """float64 [N, F]: the frequencies of the rows of spectra, of which a window may be left. LemError for others than the record's."""
    first, rows = np.zeros(len(signal), int), signal.data.shape[2]
    for op in signal.ops:
        if op["op"] == "crop":
            first += np.asarray(op["place"])[:, 0]
    if first.max(initial=0) + rows > made.shape[0]:
        raise LemError(f"a spectrum of {rows} rows whose record says {made.shape[0]}: one of the two was changed")
    return np.asarray(made.hz)[first[:, None] + np.arange(rows)]


def lowpass(signal: Signal, spec: dict, draws) -> tuple[Signal, dict]:
    """Lose all above `lowpass` Hz (a number or a pair).

    Sound: by one FFT over the clip; no sample is the memory's own any more. Spectra: the rows whose centre lies above
    are lost as by a mask, and the rest is as it was; on record this is a mask of the shape 'lowpass'.
    """
    low, high = ends(spec["lowpass"])
    if not 0 < low <= high < np.inf:
        raise LemError(f"--lowpass {shown(spec['lowpass'])}: a frequency is a number of Hz above 0")
    if signal.kind == "audio":
        hz = np.fft.rfftfreq(signal.data.shape[-1], 1 / signal.rate) if signal.rate else None
        what = f"a sound at {signal.rate:g} Hz holds" if signal.rate else ""
    else:
        made = front(signal.history)
        hz = None if made is None else _hz(made, signal)
        what = "this spectrum holds"
    if hz is None:
        lacks = "a sound without a rate" if signal.kind == "audio" else "a spectrum without a record of what made it"
        raise LemError(f"--lowpass {shown(spec['lowpass'])}: {lacks}, whose Hz are not known")
    if high >= hz.max():
        raise LemError(f"--lowpass {shown(spec['lowpass'])}: {what} nothing above {hz.max():g} Hz")
    cutoff = draw(spec["lowpass"], draws)
    kept = hz <= np.broadcast_to(cutoff, (len(signal),))[:, None]  # [N, frequencies]
    if signal.kind == "audio":
        if signal.mask is not None:
            raise LemError("--lowpass of a sound with lost samples is not defined; put it before --mask")
        spectrum = np.fft.rfft(signal.data.astype(np.float64), axis=-1) * kept[:, None]
        data = np.fft.irfft(spectrum, signal.data.shape[-1], axis=-1).astype(np.float32)
        return replace(signal, data=data, codes=None), {"lowpass": cutoff}
    signal = parted(signal)
    observed = np.repeat(kept[:, None, :, None], signal.data.shape[-1], axis=-1)
    if signal.mask is not None:
        observed = observed & signal.mask
    codes = None if signal.codes is None else signal.codes * observed
    done = {"op": "mask", "mask_shape": "lowpass", "lowpass": cutoff}
    return replace(signal, data=signal.data * observed, codes=codes, mask=observed), done


def noise(signal: Signal, spec: dict, draws) -> tuple[Signal, dict]:
    """Add Gaussian noise of standard deviation `sigma` (a number or a pair) to what is observed.

    Units: full scale of images (1 = 255) and sound, the item's own rms for all else. Values may leave the
    range unless `clamp` is set. Quantised values become real numbers again.
    """
    low, high = ends(spec["sigma"])
    if not 0 <= low <= high < np.inf:
        raise LemError(f"--noise {shown(spec['sigma'])}: a standard deviation is a number >= 0")
    if spec.get("clamp") and signal.kind not in ("image", "audio"):
        raise LemError(f"--clamp is for images and sound: {signal.kind} values have no range")
    sigma = draw(spec["sigma"], draws)
    if signal.data.dtype == np.float64 and np.abs(signal.data).max(initial=0) > 1e36:
        raise LemError("values beyond 1e36 are too large for --noise; divide them first")
    x = signal.data.astype(np.float32)
    if signal.data.dtype == np.uint8:
        x /= 255
    unit = np.ones(len(x), np.float32)
    if signal.kind not in ("image", "audio"):
        axes = tuple(range(1, x.ndim))
        power = np.square(x, dtype=np.float64).sum(axis=axes)
        unit = np.sqrt(power / np.maximum(signal.observed().sum(axis=axes), 1)).astype(np.float32)
    each = np.broadcast_to(np.asarray(sigma, np.float32), (len(x),)) * unit
    for i, g in enumerate(draws):
        x[i] += each[i] * g.standard_normal(x[i].shape, dtype=np.float32)
    if spec.get("clamp"):
        np.clip(x, 0 if signal.kind == "image" else -1, 1, out=x)
    if signal.mask is not None:
        x *= signal.mask
    std = {"std": each} if signal.kind not in ("image", "audio") else {}
    done = {"sigma": sigma, "clamp": bool(spec.get("clamp")), **std}
    return replace(signal, data=x, codes=None), done
