"""Gaps and lost bands of spoken digits, recalled by a network of their spectra: `python sound_recall.py MODEL DATA [CLIPS]`.

MODEL: of `lem-train diffusion --encoder stft`, which learned takes 2 to 7. DATA: a folder of FSDD files, of which takes 0 and
1 are broken here: CLIPS of those that last .6 s or longer. Each loses one stretch of 20 to 300 ms at a seeded place where it is
active (the rms over the gap lies above -20 dB of the loudest such stretch), or of its spectrum a band of frequencies.

Beside the network, the mean of its 4 draws of 50 steps and the first of them: silence (0 dB by definition), linear interpolation, what
lem-reconstruct does by default with gaps of sounds (fill_gaps), and with spectra (least squares). Scores: the SNR in dB over the
gap alone, or over the whole sound that a broken spectrum becomes; the mean over clips with a 95 % interval (Student).
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from lemtools.compare.summary import mean_interval
from lemtools.media import load
from lemtools.reconstruct import Reconstructor
from lemtools.reconstruct.learned import NetworkRecaller
from lemtools.signal import Signal

GAPS = (20, 50, 100, 200, 300)  # ms
BANDS = ((500, 1500), (1500, 3000))  # Hz
MASK = [{"op": "mask", "mask_shape": "given"}]


def clips(data: Path, most: int) -> list[Signal]:
    """Some of those of takes 0 and 1 that last .6 s or longer."""
    paths = sorted(str(path) for path in data.glob("*_[01].flac"))
    found = [batch.take([i]) for batch in load(paths, batch=1) for i in range(len(batch))]
    long = [clip for clip in found if clip.data.shape[-1] >= 0.6 * clip.rate]
    return [long[i] for i in np.random.default_rng(0).permutation(len(long))[:most]]


def snr(x: np.ndarray, y: np.ndarray) -> float:
    x = x.astype(np.float64)
    return 10 * float(np.log10(np.square(x).sum() / max(np.square(x - y).sum(), 1e-30)))


def line(name: str, methods: dict, made: Iterator[tuple]) -> str:
    """A row of the table: (fragment, whole -> score) of every clip, by all methods."""
    scores: dict[str, list[float]] = {method: [] for method in [*methods, "mean of draws"]}
    for fragment, score in made:
        for method, recall in methods.items():
            back = recall(fragment)
            if method == "one draw":
                scores["mean of draws"].append(score(replace(back.take([0]), data=back.data.mean(0, keepdims=True))))
                back = back.take([0])
            scores[method].append(score(back))
    cells = [name, str(len(scores[next(iter(methods))]))]
    for found in scores.values():
        mean, low, high = mean_interval(np.array(found))
        cells.append(f"{mean:.2f}" if low is None else f"{mean:.2f} [{low:.2f}, {high:.2f}]")
    return "\t".join(cells)


def gaps(sounds: list[Signal], ms: int) -> Iterator[tuple]:
    for seed, clip in enumerate(sounds):
        count, length = clip.data.shape[-1], round(ms * clip.rate / 1000)
        power = np.convolve(clip.data[0, 0].astype(np.float64) ** 2, np.ones(length), "valid")
        power[: length // 4] = power[len(power) - length // 4 :] = 0
        at = int(np.random.default_rng(seed).choice(np.flatnonzero(power > 0.01 * power.max())))
        gap = slice(at, at + length)
        mask = np.ones((1, 1, count), bool)
        mask[..., gap] = False
        broken = replace(clip, data=clip.data * mask, mask=mask, ops=MASK)
        yield broken, lambda back, clip=clip, gap=gap: snr(clip.data[..., gap], back.data[..., gap])


def bands(sounds: list[Signal], band: tuple[int, int], front) -> Iterator[tuple]:
    for clip in sounds:
        here = replace(front, samples=clip.data.shape[-1])
        rows = (here.hz < band[0]) | (here.hz >= band[1])
        data = here.encode(clip.data)
        mask = np.broadcast_to(rows[None, None, :, None], (1, 1, len(rows), 1)).copy()
        history = [{"tool": "lem-encode", **here.record}]
        broken = Signal("spectrum", data * mask, mask, rate=clip.rate, history=history, ops=MASK)
        yield broken, lambda back, clip=clip, here=here: snr(clip.data, here.decode(back.data))


def main() -> None:
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__.splitlines()[0])
    model = sys.argv[1]
    front = NetworkRecaller(model, device="cpu").model.front
    sounds = clips(Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) == 4 else 12)
    net = {"one draw": Reconstructor(model=model, samples=4, steps=50)}
    plain = {"linear": Reconstructor("linear"), "lem-reconstruct": Reconstructor()}
    print("SNR in dB over the gap\tclips", *plain, *net, "mean of draws", sep="\t")
    for ms in GAPS:
        print(line(f"a gap of {ms} ms", plain | net, gaps(sounds, ms)), flush=True)
    plain = {"nothing (0)": lambda fragment: fragment, "lem-reconstruct": Reconstructor()}
    print("SNR in dB of the sound\tclips", *plain, *net, "mean of draws", sep="\t")
    for band in BANDS:
        print(line(f"{band[0]} to {band[1]} Hz lost", plain | net, bands(sounds, band, front)), flush=True)


if __name__ == "__main__":
    main()
