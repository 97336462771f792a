"""Gaps in sounds: `python gaps.py DATA`, or `python gaps.py --published DIR` beside published methods.

DATA: up to ten gaps of 5, 20 and 50 ms a clip, at seeded places where the sound is active: the rms over the gap lies
above -40 dB of the clip's loudest stretch of that length. Gaps keep one gap length from each other and from both ends;
clips too short for a gap are left out. Printed beside `lem-reconstruct`'s method: linear interpolation, which is worse
than silence (0 dB).

DIR: a checkout of a repository that holds sounds, the same with gaps, and what each method made of them; all are scored
here alike. The gaps are where the sound with gaps is not the original. Two are known by their folders:
docs/wavs  github.com/ondrejmokry/InpaintingRevisited, Mokry & Rajmic 2020, ten SQAM sounds (`--sqam` is the same)
docs/audio github.com/ondrejmokry/InpaintingAutoregressive, Mokry & Rajmic 2024, three of them, other gaps

Scores: the SNR in dB inside a gap, its mean over all gaps, with a 95 % interval in which a clip's gaps count as one
draw.
"""

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lemtools.compare.summary import student_t
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


def recalled(clip: Signal, gaps: list[slice], method: str) -> np.ndarray:
    """A clip [C, T] as a method fills its gaps."""
    mask = np.ones((1, 1, clip.data.shape[-1]), bool)
    for gap in gaps:
        mask[..., gap] = False
    ops = [{"op": "mask", "mask_shape": "given"}]
    (back,) = reconstruct([Signal("audio", clip.data * mask, mask, rate=clip.rate, ops=ops)], method)
    return back.data[0]


def snr(clip: Signal, back: np.ndarray, gaps: list[slice]) -> list[float]:
    """In dB inside each gap."""
    pairs = [(clip.data[0][:, gap].astype(np.float64), back[:, gap]) for gap in gaps]
    return [10 * np.log10((x**2).sum() / max(((x - y) ** 2).sum(), 1e-30)) for x, y in pairs]


def cell(clips: list[list[float]]) -> str:
    """Mean over all gaps of all clips, and its interval over clips."""
    count = sum(map(len, clips))
    mean = sum(map(sum, clips)) / count
    strays = np.array([sum(clip) - len(clip) * mean for clip in clips]) / count
    n = len(clips)
    half = student_t(0.95, n - 1) * math.sqrt(n / (n - 1) * float((strays**2).sum()))
    return f"{mean:.2f} [{mean - half:.2f}, {mean + half:.2f}]"


def active(data: Path) -> Iterator[str]:
    sets = {
        "ESC-10 fold 5, rooster": [str(data / "esc10/009_rooster/5-*.ogg")],
        "ESC-10 fold 5, baby cry": [str(data / "esc10/004_baby_cry/5-*.ogg")],
        "FSDD, takes 0 and 1": [str(data / "fsdd/*_[01].flac")],
    }
    yield "SNR in dB inside the gap\tms\tclips\tgaps\tlinear\trecalled\tslowest clip, s"
    for name, paths in sets.items():
        clips = [batch.take([i]) for batch in load(paths, batch=1) for i in range(len(batch))]
        for ms in (5, 20, 50):
            scores: dict[str, list[list[float]]] = {"linear": [], "auto": []}
            slowest = 0.0
            for seed, clip in enumerate(clips):
                length = round(ms * clip.rate / 1000)
                gaps = [slice(at, at + length) for at in places(clip.data[0][0], length, seed)]
                for method, found in scores.items() if gaps else ():
                    begun = time.perf_counter()
                    back = recalled(clip, gaps, method)
                    slowest = max(slowest, time.perf_counter() - begun)
                    found.append(snr(clip, back, gaps))
            ours = scores["auto"]
            counts = f"{len(ours)}\t{sum(map(len, ours))}"
            yield f"{name}\t{ms}\t{counts}\t{cell(scores['linear'])}\t{cell(ours)}\t{slowest:.2f}"


def layouts(folder: Path) -> list[tuple[int, str, Path, Path, dict[str, Path]]]:
    """(ms, sound, the original, the one with gaps, and what each method made of it), as each repository names them."""
    found = []
    if (wavs := folder / "docs/wavs").is_dir():
        methods = sorted(path.name for path in wavs.iterdir() if path.name not in ("original", "anchor"))
        for original in sorted((wavs / "original").glob("*.wav")):
            for ms in (5, 10, 20, 30, 40, 50):
                made = {name: wavs / f"{name}/{original.name[:3]}_{ms}_{name}.wav" for name in ["anchor", *methods]}
                found.append((ms, original.stem, original, made.pop("anchor"), made))
    elif (wavs := folder / "docs/audio").is_dir():
        for original in sorted(wavs.glob("*_clean.wav")):
            sound = original.name.removesuffix("_clean.wav")
            for ms in (20, 50, 80):
                made = {path.stem.removeprefix(f"{sound}_{ms}_"): path for path in wavs.glob(f"{sound}_{ms}_*.wav")}
                found.append((ms, sound, original, made.pop("anchor"), made))
    return sorted(found, key=lambda cell: cell[:2])


def published(folder: Path) -> Iterator[str]:
    cells = layouts(folder)
    lengths = sorted({cell[0] for cell in cells})
    methods = sorted({name for cell in cells for name in cell[4]})
    scores: dict[str, dict[int, list[list[float]]]] = {name: {ms: [] for ms in lengths} for name in ["ours", *methods]}

    def sound(path: Path) -> Signal:
        return next(iter(load([str(path)])))

    for ms, _, original, gapped, made in cells:
        clip = sound(original)
        lost = np.flatnonzero((sound(gapped).data != clip.data)[0, 0])
        runs = np.split(lost, np.flatnonzero(np.diff(lost) > clip.rate // 1000) + 1)
        gaps = [slice(int(run[0]), int(run[-1]) + 1) for run in runs]
        scores["ours"][ms].append(snr(clip, recalled(clip, gaps, "auto"), gaps))
        for name, path in made.items():
            scores[name][ms].append(snr(clip, sound(path).data[0], gaps))
    yield "\t".join(["SNR in dB inside the gap", *(f"{ms} ms" for ms in lengths)])
    for name, found in scores.items():
        yield "\t".join([name, *(cell(found[ms]) for ms in lengths)])
    for name in methods:
        gains = [[np.subtract(*pair) for pair in zip(scores["ours"][ms], scores[name][ms])] for ms in lengths]
        yield "\t".join([f"ours, more than {name}", *(cell(found) for found in gains)])


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] in ("--published", "--sqam"):
        lines = published(Path(sys.argv[2]))
    elif len(sys.argv) == 2:
        lines = active(Path(sys.argv[1]))
    else:
        sys.exit(__doc__.splitlines()[0])
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
