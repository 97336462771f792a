"""Fewer bits: `bits` keeps the top bits of images, quantises sound and embeddings, and keeps the codes to travel packed."""

from dataclasses import replace

import numpy as np

from .. import codes as _codes
from ..signal import LemError, Signal
from .draws import draw

# kind: (domain of one value, the scale that is natural to it)
NATURAL = {
    "image": ("unit", "full"),
    "audio": ("signed", "full"),
    "spectrum": ("gaussian", "rms"),
    "embedding": ("gaussian", "rms"),
}


def bits(signal: Signal, spec: dict, draws) -> tuple[Signal, dict]:
    """Quantise to `bits` (1-16, or a pair).

    quantizer 'uniform': equal bins; 8-bit images keep their top bits, v >> (8 - bits). 'lloyd-max': least squared error,
    fitted to each image or sound (its codebook travels and counts), fixed for the Gaussian of embeddings and spectra.
    scale 'full': bins span full scale. 'peak': they span +-the item's largest magnitude. 'rms': the item is divided by
    its rms (kept as float16 where that can hold it) and quantised as N(0, 1). Lost elements are left out.
    Where an item already has as few bits, nothing more is taken away.
    """
    if signal.kind not in NATURAL:
        raise LemError(f"--bits does not suit {signal.kind}: an index has no nearby values; use --mask")
    depth, quantizer = draw(spec["bits"], draws, integer=True), spec.get("quantizer") or "uniform"
    low, high = np.min(depth, initial=16), np.max(depth, initial=1)
    if not 1 <= low <= high <= _codes.MAX_BITS:
        raise LemError(f"--bits must lie in 1-{_codes.MAX_BITS}, not {depth}")
    domain, natural = NATURAL[signal.kind]
    scale_by = spec.get("scale") or natural
    if signal.kind == "image" and scale_by != "full":
        raise LemError("--scale is for sound, spectra and embeddings; images are quantised on their full scale")
    if scale_by == "full" and natural == "rms":
        raise LemError(f"a {signal.kind} has no full scale; use --scale rms or --scale peak")
    if signal.code_op is not None:
        had = np.asarray(signal.code_op["bits"])
        if (depth >= had).all():  # its values already lie on a coarser grid; finer bins would claim too much
            return signal, dict(signal.code_op, op="bits", kept=True)
        depth = np.minimum(depth, had).astype(np.uint8)
    if signal.data.dtype == np.uint8:
        domain = "uint8"
    elif scale_by != "full":
        domain = "gaussian" if scale_by == "rms" else "signed"
    op = {"bits": depth, "quantizer": quantizer, "domain": domain, "scale": None, "levels": None}
    values = signal.data if signal.data.dtype == np.uint8 else signal.data.astype(np.float32, copy=False)
    observed = None if signal.mask is None else signal.observed()
    if scale_by != "full":
        op["scale"] = _scale(values, observed, scale_by)
    if quantizer == "lloyd-max" and domain != "gaussian":
        if np.max(depth) > _codes.MAX_FITTED_BITS:
            raise LemError(f"--quantizer lloyd-max fits at most {_codes.MAX_FITTED_BITS} bits to a {signal.kind}")
        op["levels"] = _fit(values, observed, op, spec)
    codes = _codes.encode(values, op)
    data = _codes.decode(codes, op)
    if observed is not None:
        codes, data = codes * observed, data * observed
    old = signal.code_op
    if old is not None and (old["quantizer"], old["domain"]) == (quantizer, domain):
        rows = np.flatnonzero(np.broadcast_to(depth == old["bits"], (len(values),)))  # unchanged: already as coarse
        codes[rows], data[rows] = signal.codes[rows], signal.data[rows]
        for name in ("scale", "levels"):
            if op[name] is not None:
                op[name][rows, ..., : old[name][0].size] = old[name][rows]
    return replace(signal, data=data, codes=codes), op


def _scale(values: np.ndarray, observed: np.ndarray | None, by: str) -> np.ndarray:
    """float32 [N]: rms or peak magnitude of what is observed, rounded to float16 where that is a normal number there."""
    axes = tuple(range(1, values.ndim))
    x = values.astype(np.float64)
    if by == "peak":
        size = np.abs(x).max(axis=axes, initial=0.0, where=True if observed is None else observed)
    else:
        count = np.prod(values.shape[1:]) if observed is None else np.maximum(observed.sum(axis=axes), 1)
        size = np.sqrt((x * x).sum(axis=axes, where=True if observed is None else observed) / count)
    size = size.astype(np.float32)
    with np.errstate(over="ignore"):
        small = size.astype(np.float16)
    if by == "peak":  # rounding down would clip the peak itself
        small = np.where(small.astype(np.float32) < size, np.nextafter(small, np.float16(np.inf)), small)
    fits = np.isfinite(small) & (small >= np.float16(2**-14))
    return np.where(fits, small.astype(np.float32), size)


def _fit(values, observed, op, spec) -> np.ndarray:
    depth = np.broadcast_to(np.asarray(op["bits"]), (len(values),))
    most = spec["bits"][1] if isinstance(spec["bits"], (tuple, list)) else spec["bits"]
    levels = np.zeros((len(values), 2 ** int(most)), np.float32)
    for i, b in enumerate(depth):
        item = values[i] if observed is None else values[i][observed[i]]
        if op["scale"] is not None:
            item = item / (op["scale"][i] or 1)
        fitted = _codes.fit_levels(item, int(b), op["domain"])
        levels[i, : len(fitted)] = fitted
    return levels
