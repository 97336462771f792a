"""Fewer bits: `bits` keeps the top bits of images, quantises sound and embeddings; the codes travel packed."""

import math
from dataclasses import replace

import numpy as np

from .. import codes as _codes
from ..catalogue import Row
from ..catalogue.operations import QUANTISERS
from ..codes.blockwise import in_blocks, zeros_of
from ..signal import LemError, Signal
from .draws import draw, ends, shown

# kind: (domain of one value, the scale that is natural to it)
NATURAL = {
    "image": ("unit", "full"),
    "audio": ("signed", "full"),
    "spectrum": ("gaussian", "rms"),
    "field": ("gaussian", "rms"),  # of each channel: quantities have units of their own
    "embedding": ("gaussian", "rms"),
}


_AT_A_TIME = 1 << 21  # values
_LARGEST = 1e36  # rms or peak: levels and bins, some multiples of it, must remain float32


def bits(signal: Signal, spec: dict, draws) -> tuple[Signal, dict]:
    """Quantise to `bits` (1-16, or a pair).

    quantizer 'uniform': equal bins; 8-bit images keep their top bits, v >> (8 - bits). 'lloyd-max': least squares,
    fitted to each image or sound (its codebook travels and counts), fixed for the Gaussian of embeddings and spectra.
    'mu-law': bins of sound that are equal in the logarithm of the amplitude, over full scale or the peak.
    scale 'full': bins span full scale. 'peak': they span +-the item's largest magnitude. 'rms': the item is divided by
    its rms (kept as float16 where that can hold it) and quantised as N(0, 1). Of a field each channel has its own.
    Lost elements are left out.
    block: of embeddings, as many values along the last axis share a scale; quantizers 'absmax', 'zero-point' and 'nf4' take
    64 where it is not given, and the peak.
    quantizer 'trellis' (1-6 bits) and `rotate` are for whole embeddings, by the rms of each vector: a trellis-coded
    vector, and a random rotation before any quantiser, fixed by the seed alone. `search` may stand in for the trellis'
    encoder (codes.trellis.viterbi): it must find the same codes.
    An item that already has as few bits stays as it is. Bits of 8-bit images beyond 8 are none.
    """
    quantizer, (low, high) = spec.get("quantizer") or "uniform", ends(spec["bits"])
    row = QUANTISERS.find(quantizer)
    if not row.least <= low <= high <= row.most:
        by = f" with --quantizer {quantizer}" if row.most - row.least < _codes.MAX_BITS - 1 else ""
        within = f"lie in {row.least}-{row.most}" if row.least < row.most else f"be {row.most}"
        raise LemError(f"--bits must {within}{by}, not {shown(spec['bits'])}")
    depth = draw(spec["bits"], draws, integer=True)
    domain, natural = NATURAL[signal.kind]
    block = spec.get("block") or row.block
    scale_by = spec.get("scale") or ("peak" if row.block else natural)
    rotate = draws.seed if spec.get("rotate") else None
    joint = row.joint or rotate is not None
    if not row.joint:
        QUANTISERS.check_kind(quantizer, signal.kind, f"--quantizer {quantizer}")
    if block:
        _check_block(signal.kind, quantizer, row, scale_by, joint)
    if joint:
        _check_joint(signal, f"--quantizer {quantizer}" if row.joint else "--rotate", scale_by)
        signal = replace(signal, mask=None)
    if signal.kind == "image" and scale_by != "full":
        raise LemError("--scale is for sound, spectra, fields and embeddings; images are quantised on their full scale")
    if scale_by == "full" and natural == "rms":
        raise LemError(f"{signal.kind} values have no full scale; use --scale rms or --scale peak")
    old = signal.code_op
    if signal.data.dtype == np.uint8:
        depth, domain = np.minimum(depth, 8), "uint8"
    elif scale_by != "full":
        domain = "gaussian" if scale_by == "rms" else "unit" if row.shifted else "signed"
    if domain not in row.domains:
        raise LemError(f"--quantizer {quantizer} is for values that have ends; use --scale full or --scale peak")
    if old is not None:
        if joint or _codes.joint(old):
            _check_again(depth, old)
            return signal, dict(old)
        if np.ndim(depth) == np.ndim(old["bits"]) == 0 and depth >= old["bits"]:
            return signal, dict(old)  # its values already lie on a coarser grid; finer bins would claim too much
        depth = np.minimum(depth, old["bits"])
    depth = depth.astype(np.uint8) if np.ndim(depth) else int(depth)
    op = {
        "bits": depth,
        "quantizer": quantizer,
        "domain": domain,
        "scale": None,
        "levels": None,
        "slack": None,
        "block": block,
        "zero": None,
        "rotate": rotate,
    }
    alike = old is not None and (old["quantizer"], old["domain"], old.get("scale") is None, old.get("block")) == (
        quantizer,
        domain,
        scale_by == "full",
        block,
    )
    values = signal.data
    if domain != "uint8":
        values = values.astype(np.promote_types(values.dtype, np.float32), copy=False)
    observed = None if signal.mask is None else signal.observed()
    if scale_by != "full" and alike and not row.shifted:
        op["scale"] = old["scale"]
    elif scale_by != "full":
        op |= _scales(values, observed, scale_by, op, _each(signal.kind, values.ndim, joint), row.shifted)
    if domain in row.fitted:
        if (fitted := min(high, 8) if domain == "uint8" else high) > _codes.MAX_FITTED_BITS:
            raise LemError(f"--quantizer {quantizer} fits at most {_codes.MAX_FITTED_BITS} bits to a {signal.kind}")
        op["levels"] = _fit(values, observed, op, fitted)
    codes = _codes.encode(values, op, spec.get("search"))
    data = _codes.decode(codes, op)
    if observed is not None:
        codes, data = codes * observed, data * observed
    if old is not None:
        _keep(signal, old, op, codes, data, alike, observed)
    return replace(signal, data=data, codes=codes), op


def parted(signal: Signal) -> Signal:
    """The signal ready to lose elements: of codes that are joint a part is of no use, the values themselves remain."""
    return replace(signal, codes=None) if _codes.joint(signal.code_op) else signal


def _check_joint(signal: Signal, option: str, scale_by: str) -> None:
    """Raise LemError where vectors cannot be coded as wholes."""
    if signal.kind != "embedding":
        raise LemError(f"{option} is for embeddings, not {signal.kind}")
    if scale_by != "rms":
        raise LemError(f"{option} codes vectors as Gaussian ones: use --scale rms")
    if signal.mask is not None and not signal.mask.all():
        raise LemError(f"{option} codes whole vectors, and elements are lost here: put the --mask after --bits")
    if option != "--rotate" and signal.data.shape[-1] < 2:
        raise LemError(f"{option} needs vectors of 2 dimensions or more")


def _check_block(kind: str, quantizer: str, row: Row, scale_by: str, joint: bool) -> None:
    """Raise LemError where blocks cannot have scales of their own."""
    if kind != "embedding":
        raise LemError(f"--block is for embeddings, not {kind}")
    if joint:
        what = f"--quantizer {quantizer} scales blocks" if row.block else "--block scales parts of a vector"
        raise LemError(f"{what}; --rotate and --quantizer trellis code whole vectors by one scale")
    if row.block and scale_by != "peak":
        raise LemError(f"--quantizer {quantizer} is scaled by the peak of each block, not by --scale {scale_by}")


def _check_again(depth, old: dict) -> None:
    """Raise LemError where a quantised embedding would lose bits by, or after, a quantiser of whole vectors."""
    if np.min(depth) < np.max(old["bits"]):
        raise LemError(
            "a vector coded as a whole (--quantizer trellis, --rotate) cannot be quantised after, or for, another "
            "quantiser; recall the fragment first with lem-reconstruct"
        )


def _keep(signal: Signal, old: dict, op: dict, codes: np.ndarray, data: np.ndarray, alike: bool, observed) -> None:
    """Of values quantised before: leave items as they were that lose nothing more; note how far the others may be off.

    Bins of uniform codes over one range nest; elsewhere the new bin holds the old level, not always the original value, which
    may lie as far beyond an end of the new bin as the old bin does.
    """
    same = np.broadcast_to(np.equal(op["bits"], old["bits"]) & alike, (len(data),))
    rows = np.flatnonzero(same)
    codes[rows], data[rows] = signal.codes[rows], signal.data[rows]
    if op["levels"] is not None and alike:
        width = min(op["levels"].shape[1], old["levels"].shape[1])
        op["levels"][rows, :width] = old["levels"][rows, :width]
    if alike and op["quantizer"] == "uniform" and op["domain"] != "gaussian":
        op["slack"] = old.get("slack")
        return
    (low, high), (least, most) = _codes.bounds(signal.codes, old), _codes.bounds(codes, op)
    # where neither bin has an end nothing lies beyond one: inf - inf is not a number, which fmax leaves out
    with np.errstate(invalid="ignore"):
        gap = np.fmax(np.fmax(high - most, least - low), 0)
    slack = gap.max(axis=tuple(range(1, gap.ndim)), initial=0, where=True if observed is None else observed)
    before = np.zeros(len(data), np.float32) if old.get("slack") is None else old["slack"]
    if op["domain"] != "uint8":
        slack = np.nextafter(slack, np.float32(np.inf))  # the difference was rounded
    op["slack"] = np.where(same, before, slack).astype(np.float32)


def _each(kind: str, ndim: int, joint: bool) -> tuple[int, ...]:
    """The axes that share a scale: of an item; of a field those of a channel; of joint codes the last one."""
    return tuple(range(ndim - 1 if joint else 2 if kind == "field" else 1, ndim))


def _scales(
    values: np.ndarray, observed: np.ndarray | None, by: str, op: dict, axes: tuple[int, ...], shifted: bool
) -> dict:
    """The scale, of items or blocks, and the code of 0 where the quantiser has one."""
    if block := op["block"]:
        inside = np.ones(values.shape[-1:], bool) if observed is None else observed
        inside = in_blocks(inside, block, False)
        values = in_blocks(np.where(True if observed is None else observed, values, 0), block)
        observed, axes = np.broadcast_to(inside, values.shape), (values.ndim - 1,)
    if not shifted:
        return {"scale": _scale(values, observed, by, axes)}
    low = values.min(axis=axes, initial=0, where=observed)
    span = (values.max(axis=axes, initial=0, where=observed).astype(np.float64) - low)[..., None]
    scale = _scale(span, None, "peak", (span.ndim - 1,))
    depth = np.asarray(op["bits"]).reshape(-1, *[1] * (low.ndim - 1))
    return {"scale": scale, "zero": zeros_of(low, scale, depth)}


def _scale(values: np.ndarray, observed: np.ndarray | None, by: str, axes: tuple[int, ...]) -> np.ndarray:
    """float32 [N] or more: rms or peak magnitude of what is observed along `axes`, as a float16 where it is a normal
    number there."""
    step = max(_AT_A_TIME // max(values[:1].size, 1), 1)
    if len(values) > step:  # a large tensor in float64 would be several more of its size
        seen = None if observed is None else np.broadcast_to(observed, values.shape)
        cuts = [slice(at, at + step) for at in range(0, len(values), step)]
        parts = [_scale(values[cut], None if seen is None else seen[cut], by, axes) for cut in cuts]
        return np.concatenate(parts)
    x = values.astype(np.float64)
    if by == "peak":
        size = np.abs(x).max(axis=axes, initial=0.0, where=True if observed is None else observed)
    else:
        count = math.prod(values.shape[a] for a in axes) if observed is None else np.maximum(observed.sum(axis=axes), 1)
        with np.errstate(over="ignore"):
            size = np.sqrt((x * x).sum(axis=axes, where=True if observed is None else observed) / count)
    if np.max(size, initial=0) > _LARGEST:
        raise LemError(f"values of size {np.max(size):.3g} are too large to quantise; rescale to {_LARGEST:g} at most")
    size = np.maximum(size, np.where(size > 0, np.float64(2**-149), 0))  # the least float32
    with np.errstate(over="ignore"):
        small, single = size.astype(np.float16), size.astype(np.float32)
    if by == "peak":  # rounding down would clip the peak itself
        small = np.where(small.astype(np.float64) < size, np.nextafter(small, np.float16(np.inf)), small)
        single = np.where(single < size, np.nextafter(single, np.float32(np.inf)), single)
    fits = np.isfinite(small) & (small >= np.float16(2**-14))
    return np.where(fits, small.astype(np.float32), single)


def _fit(values: np.ndarray, observed: np.ndarray | None, op: dict, most: int) -> np.ndarray:
    """A codebook for each item: float32 [N, 2**most], of which an item of fewer bits fills the beginning."""
    depth = np.broadcast_to(np.asarray(op["bits"]), (len(values),))
    levels = np.zeros((len(values), 2**most), np.float32)
    if op["scale"] is not None:
        scale = _codes.spread(op, values.shape)
        values = values / np.where(scale == 0, 1, scale)
    for i, b in enumerate(depth):
        item = values[i] if observed is None else values[i][observed[i]]
        fitted = _codes.fit_levels(item, int(b), op["domain"])
        levels[i, : len(fitted)] = fitted
    return levels
