"""Gaps of 5, 20 and 50 ms in sounds: `python gaps.py DATA`.

Up to ten gaps a clip, at seeded places where the sound is active: the rms over the gap lies above -40 dB of the clip's
loudest stretch of that length. Gaps keep one gap length from each other and from both ends. Printed: the mean over
gaps of the SNR inside the gap, for linear interpolation and for `lem-reconstruct`'s method; clips too short for a gap
are left out.
"""

import sys
import time
from pathlib import Path

import numpy as np

from lemtools.media import load
from lemtools.reconstruct import reconstruct
from lemtools.signal import Signal


def places(x: np.ndarray, length: int, seed: int, most: int = 10) -> list[int]:
    """Where gaps begin in x [T]."""
    rms = np.sqrt(np.maximum(np.convolve(x.astype(np.float64) ** 2, np.ones(length) / length, "valid"), 0))
    active = np.flatnonzero(rms > rms.max() * 0.01) if len(rms) else []
    found: list[int] = []
    for at in np.random.default_rng(seed).permutation(active):
        if length <= at <= len(x) - 2 * length and all(abs(at - other) >= 2 * length for other in found):
            found.append(int(at))
            if len(found) == most:
                break
    return found


def main() -> None:
    data = Path(sys.argv[1])
    sets = {
        "ESC-10 fold 5, rooster": [str(data / "esc10/009_rooster/5-*.ogg")],
        "ESC-10 fold 5, baby cry": [str(data / "esc10/004_baby_cry/5-*.ogg")],
        "FSDD, takes 0 and 1": [str(data / "fsdd/*_[01].flac")],
    }
    print("SNR in dB inside the gap\tms\tgaps\tlinear\trecalled\tgain\tslowest clip, s")
    for name, paths in sets.items():
        clips = [batch.take([i]) for batch in load(paths, batch=1) for i in range(len(batch))]
        for ms in (5, 20, 50):
            scores: dict[str, list[float]] = {"linear": [], "auto": []}
            slowest = 0.0
            for seed, clip in enumerate(clips):
                x, length = clip.data[0], round(ms * clip.rate / 1000)
                gaps = places(x[0], length, seed)
                if not gaps:
                    continue
                mask = np.ones((1, 1, x.shape[-1]), bool)
                for at in gaps:
                    mask[..., at : at + length] = False
                broken = Signal(
                    "audio", clip.data * mask, mask, rate=clip.rate, ops=[{"op": "mask", "mask_shape": "given"}]
                )
                for method, found in scores.items():
                    begun = time.perf_counter()
                    (back,) = reconstruct([broken], method)
                    slowest = max(slowest, time.perf_counter() - begun)
                    for at in gaps:
                        true, here = (v[:, at : at + length].astype(np.float64) for v in (x, back.data[0]))
                        found.append(10 * np.log10((true**2).sum() / max(((true - here) ** 2).sum(), 1e-30)))
            line, better = np.mean(scores["linear"]), np.mean(scores["auto"])
            print(
                name,
                ms,
                len(scores["auto"]),
                f"{line:.2f}",
                f"{better:.2f}",
                f"{better - line:+.2f}",
                f"{slowest:.2f}",
                sep="\t",
                flush=True,
            )


if __name__ == "__main__":
    main()
