"""How right the f0 of lem-encode --encoder prosody is: tones of known pitch, and voicing against phones marked by hand.

    python tests/benchmarks/bench_pitch.py [FOLDER of emodb_2s]

Tones: 60 glides a line, between two pitches drawn from 80 to 550 Hz, 12 harmonics of amplitude 1 / k, white noise. octave:
frames more than 6 semitones off; missed: frames without voice; cents: median and largest error of the others. Phones: frames
whose centre lies 10 ms or more inside of a label; voiced: the share of them; leaps: of neighbouring voiced frames within
one label, those more than 6 semitones apart.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lemtools.encode.pitch import STEP, track

CLASSES = {"vowels": "aeiouyIEOUY@269", "nasals and l": "mnNl", "voiceless fricatives": "sSfCxXh", "p, t, k": "ptk"}
EDGE = 0.01  # s


def centres(samples: int, rate: float, frames: int) -> np.ndarray:
    return samples / 2 / rate + round(STEP * rate) / rate * (np.arange(frames) - (frames - 1) / 2)


def glide(rate: int, rng: np.random.Generator, snr: float | None) -> tuple[np.ndarray, np.ndarray]:
    low, high = 80 * (550 / 80) ** rng.uniform(size=2)
    hertz = low * (high / low) ** np.linspace(0, 1, rate)
    phase = 2 * np.pi * np.cumsum(hertz) / rate
    sound = sum(np.where(hertz * k < 0.45 * rate, np.sin(k * phase + k * k) / k, 0) for k in range(1, 13))
    if snr is not None:
        sound = sound + rng.standard_normal(rate) * np.sqrt(np.mean(sound**2) * 10 ** (-snr / 10))
    return sound / (2 * np.abs(sound).max()), hertz


def tones() -> None:
    print("rate\tnoise_dB\tframes\toctave\tmissed\tcents_median\tcents_largest")
    for rate in (8_000, 16_000, 44_100):
        for snr in (None, 20, 5, 0):
            rng, off, missed, count = np.random.default_rng(0), [], 0, 0
            for _ in range(60):
                sound, hertz = glide(rate, rng, snr)
                f0, _ = track(sound, rate)
                at = centres(len(sound), rate, len(f0))
                true = np.interp(at, np.arange(rate) / rate, hertz)
                voiced, count = f0 > 0, count + len(f0)
                missed += int((~voiced).sum())
                off += (1200 * np.log2(f0[voiced] / true[voiced])).tolist()
            cents = np.abs(off)
            near = cents[cents <= 600]
            row = count, int((cents > 600).sum()), missed, f"{np.median(near):.1f}", f"{near.max():.0f}"
            print(rate, "none" if snr is None else snr, *row, sep="\t")


def phones(folder: Path) -> None:
    print("phones\tframes\tvoiced\tleaps")
    found = {name: [[], 0, 0] for name in CLASSES}  # voiced, leaps, pairs
    for path in sorted(folder.glob("flac/*.flac")):
        sound, rate = soundfile.read(path)
        f0, _ = track(sound, rate)
        at = centres(len(sound), rate, len(f0))
        with open(folder / "phones" / f"{path.stem}.tsv", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                letter = row["label"].lstrip("!_").split()[0][:1] if row["label"][:1] not in "+-" else ""
                kind = next((name for name, letters in CLASSES.items() if letter and letter in letters), None)
                inside = (at >= float(row["start"]) + EDGE) & (at < float(row["end"]) - EDGE)
                if kind and inside.any():
                    here = f0[inside]
                    both = (here[1:] > 0) & (here[:-1] > 0)
                    leaps = np.abs(12 * np.log2(here[1:][both] / here[:-1][both])) > 6
                    found[kind][0] += (here > 0).tolist()
                    found[kind][1] += int(leaps.sum())
                    found[kind][2] += len(leaps)
    for name, (voiced, leaps, pairs) in found.items():
        print(name, len(voiced), f"{np.mean(voiced):.3f}", f"{leaps} of {pairs}", sep="\t")


if __name__ == "__main__":
    tones()
    if len(sys.argv) > 1:
        phones(Path(sys.argv[1]))
