"""Quantised sounds: `python dequantize.py DIR`, the middle of the bin and PHADQ beside `lem-reconstruct`'s method.

DIR: a checkout of github.com/vojtechkovanda/PHADQ (Kovanda & Rajmic 2025, "Audio dequantization using instantaneous
frequency"), whose dataset/EBU_SQAM holds ten sounds and whose listening_test what became of them at 6, 7 and 8 bits.
Each sound is divided by its own peak and quantised as there (quant.m): mid-riser, levels at odd multiples of 2^-bits.

First table: all ten sounds at 4, 6, 7 and 8 bits, quantised here. Second: their files, `_c_` and `_i_` of PHADQ
(consistent, inconsistent), `_s_` their l1 control (Chambolle-Pock), `_q_` the quantised sound, each against `_n`, its
original there, after the one gain that brings it nearest (files were scaled to be listened to). SNR in dB, the mean
over sounds and its 95 % interval.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lemtools.compare.summary import mean_interval
from lemtools.media import load
from lemtools.restore.dequantize_sound import dequantize


def quantised(x: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of x [C, T] in [-1, 1] under a mid-riser of 2**bits levels."""
    step = 2.0 ** (1 - bits)
    low = np.clip(np.floor(x / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * step
    return low, low + step


def snr(x: np.ndarray, y: np.ndarray) -> float:
    return float(10 * np.log10((x**2).sum() / max(((x - y) ** 2).sum(), 1e-30)))


def scaled(x: np.ndarray, y: np.ndarray) -> float:
    """SNR after the gain that brings y nearest to x."""
    return snr(x, y * ((x * y).sum() / max((y * y).sum(), 1e-30)))


def sound(path: Path) -> tuple[np.ndarray, float]:
    """The first channel [1, T] as float64, and the rate."""
    clip = next(iter(load([str(path)])))
    return clip.data[0][:1].astype(np.float64), float(clip.rate)


def cell(values: list[float]) -> str:
    mean, low, high = mean_interval(np.array(values))
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def table(folder: Path) -> Iterator[str]:
    originals = sorted((folder / "dataset/EBU_SQAM").glob("*.wav"), key=lambda path: int(path.stem))
    kinds = {"q": "quantised", "s": "l1", "c": "PHADQ consistent", "i": "PHADQ inconsistent"}
    yield "\t".join(["bits", "middle of the bin", "recalled", "gain", *kinds.values(), "recalled, more than the best"])
    for bits in (4, 6, 7, 8):
        rows, theirs = [], []
        for path in originals:
            x, rate = sound(path)
            x = x / np.abs(x).max()
            low, high = quantised(x, bits)
            rows.append((snr(x, (low + high) / 2), snr(x, dequantize(low, high, rate))))
            files = {
                kind: next(folder.glob(f"listening_test/{path.stem} */{path.stem}_{kind}_{bits}.wav"), None)
                for kind in kinds
            }
            if bits > 4:
                n, _ = sound(next(folder.glob(f"listening_test/{path.stem} */{path.stem}_n.wav")))
                theirs.append([scaled(n, sound(file)[0]) if file else np.nan for file in files.values()])
        middle, ours = np.array(rows).T
        line = [str(bits), cell(middle), cell(ours), cell(ours - middle)]
        if theirs:
            peers = np.array(theirs)
            line += [*(cell(peer) for peer in peers.T), cell(ours - peers[:, 1:].max(1))]
        yield "\t".join(line)
        yield "\t".join(
            [f"{bits}, {originals[0].stem}: violin", *(f"{v:.2f}" for v in [*rows[0], *(theirs[0] if theirs else [])])]
        )


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    for line in table(Path(sys.argv[1])):
        print(line, flush=True)


if __name__ == "__main__":
    main()
