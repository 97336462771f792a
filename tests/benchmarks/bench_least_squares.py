"""What the rest of a spectrum holds of a sound, and how near conjugate gradients come: `python bench_least_squares.py DATA`.

DATA: the folder with fsdd. The first 200 ms of a digit of each speaker, of take 2; STFT with a Hann window of 32 ms, hop
8 ms. SNR in dB of the sound, the mean over sounds: with zeros for what is lost, by `lem-reconstruct --method least-squares`
(200 steps) and with `--steps 5000`, and by a dense solver in float64, the singular value decomposition of the transform's
rows that are left, cut at 1e-7 of the largest (what float32 holds of a coefficient). Last the condition number: the largest
singular value over the smallest, the median over sounds.
"""

import sys
from pathlib import Path

import numpy as np

from lemtools.cli.fragment import losses
from lemtools.fragment import fragment
from lemtools.media import load
from lemtools.reconstruct import reconstruct
from lemtools.signal import Signal
from lemtools.transforms.short import ShortTime

SAMPLES, WINDOW = 1600, 256
LOSSES = (
    "--mask .5",
    "--mask .6",
    "--mask .7",
    "--mask .75",
    "--mask .2 --mask-shape band:500hz",
    "--mask .2 --mask-shape patch:500hzx50ms",
    "--lowpass 2000",
)


def snr(x: np.ndarray, y: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(x**2) / np.sum((x - y) ** 2)))


def exact(broken: Signal) -> tuple[np.ndarray, float]:
    """(sound [samples], condition number), by the definition of the transform."""
    rows, right = [], []
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    bins = np.exp(-2j * np.pi * np.outer(np.arange(WINDOW // 2 + 1), np.arange(WINDOW)) / WINDOW) * window
    weight = np.full(WINDOW // 2 + 1, 2**0.5)  # a row stands for its mirror image, too
    weight[[0, -1]] = 1
    value = (broken.data[0, 0].astype(float) + 1j * broken.data[0, 1]) * weight[:, None]
    for k, seen in enumerate(np.broadcast_to(broken.observed(), broken.data.shape)[0, 0].T):
        frame = np.zeros((seen.sum(), SAMPLES + WINDOW), complex)
        frame[:, k * WINDOW // 4 :][:, :WINDOW] = (bins * weight[:, None])[seen]
        rows += [frame.real[:, WINDOW // 2 : -WINDOW // 2], frame.imag[:, WINDOW // 2 : -WINDOW // 2]]
        right += [value[seen, k].real, value[seen, k].imag]
    # by the triangle of a QR factorisation, whose singular values are those of all rows
    triangle = np.linalg.qr(np.column_stack([np.concatenate(rows), np.concatenate(right)]), mode="r")[:SAMPLES]
    left, values, axes = np.linalg.svd(triangle[:, :-1])
    kept = values > 1e-7 * values[0]
    sound = axes[kept].T @ ((left.T @ triangle[:, -1])[kept] / values[kept])
    return sound, values[0] / max(values[-1], 1e-300)


def main() -> None:
    found_by: dict[str, np.ndarray] = {}
    for path in sorted((Path(sys.argv[1]) / "fsdd").glob("*_2.flac")):
        (clip,) = load([str(path)])
        if clip.data.shape[-1] >= SAMPLES:
            found_by.setdefault(path.stem.split("_")[1], np.ascontiguousarray(clip.data[:, :1, :SAMPLES]))
    sounds = list(found_by.values())
    front = ShortTime("stft", 8000.0, SAMPLES, WINDOW, WINDOW // 4)
    print("| lost | zeros | 200 steps | 5000 steps | dense solver | condition |\n|---|---|---|---|---|---|")
    for loss in LOSSES:
        found = []
        for x in sounds:
            whole = Signal("spectrum", front.encode(x), rate=8000.0, history=[{"tool": "lem-encode", **front.record}])
            (broken,) = fragment([whole], losses(loss))
            how = (("decode", {}), ("least-squares", {}), ("least-squares", {"steps": 5000}))
            made = [next(reconstruct([broken], method, **more)).data for method, more in how]
            sound, condition = exact(broken)
            found.append([*(snr(x[0, 0], front.decode(one)[0, 0]) for one in made), snr(x[0, 0], sound), condition])
        means = " | ".join(f"{v:.1f}" for v in np.mean(found, 0)[:-1])
        print(f"| `{loss}` | {means} | {np.median([row[-1] for row in found]):.1e} |", flush=True)


if __name__ == "__main__":
    main()
