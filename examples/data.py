"""Bring the data sets into forms the commands read: `python data.py WHAT DATA OUT`.

cifar      OUT/cifar-10k.npy (first 10,000 training images, [N, H, W, C] uint8), OUT/cifar-test200.npy (first 200 test
           images)
luma       OUT/set5/, OUT/kodak/: luma rint(.299 R + .587 G + .114 B) as grey PNG
chords     OUT/chords/: eight seeded synthetic clips of decaying chords, 3 s at 44.1 kHz (DATA is not read)
astronaut  OUT/a.png, OUT/b.png: skimage's astronaut, and its top 4 bits with half a step added
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image


def cifar(data: Path, out: Path) -> None:
    def images(split, count):
        sheets = [
            np.asarray(Image.open(data / f"cifar10/{split}_{i:03d}.webp").convert("RGB"))
            for i in range(-(-count // 500))
        ]
        return np.concatenate([s.reshape(-1, 32, 32, 3) for s in sheets])[:count]

    np.save(out / "cifar-10k.npy", images("train", 10_000))
    np.save(out / "cifar-test200.npy", images("test", 200))


def luma(data: Path, out: Path) -> None:
    for name in ("set5", "kodak"):
        (out / name).mkdir(exist_ok=True)
        for path in sorted((data / name).glob("*.png")):
            rgb = np.asarray(Image.open(path).convert("RGB"), np.float64)
            Image.fromarray(np.rint(rgb @ [0.299, 0.587, 0.114]).astype(np.uint8)).save(out / name / path.name)


def chords(data: Path, out: Path) -> None:
    import soundfile

    rate = 44_100
    t = np.arange(3 * rate) / rate
    (out / "chords").mkdir(exist_ok=True)
    for seed in range(100, 108):
        rng, sound = np.random.default_rng(seed), np.zeros_like(t)
        for begin in (0.0, 0.9, 1.8):
            since = np.maximum(t - begin, 0)
            for step in rng.choice(np.arange(30), 3, replace=False):
                for overtone in range(1, 8):
                    decay = np.exp(-since * rng.uniform(0.6, 2) * (1 + 0.4 * overtone)) / overtone
                    wave = np.sin(2 * np.pi * 98 * 2 ** (step / 12) * overtone * since + rng.uniform(0, 6))
                    sound += (t >= begin) * decay * wave
        soundfile.write(out / f"chords/{seed}.wav", 0.9 * sound / np.abs(sound).max(), rate, subtype="FLOAT")


def astronaut(data: Path, out: Path) -> None:
    from skimage import data as pictures

    a = pictures.astronaut()
    Image.fromarray(a).save(out / "a.png")
    Image.fromarray((a >> 4 << 4) + 8).save(out / "b.png")


if __name__ == "__main__":
    what, data, out = sys.argv[1:]
    {"cifar": cifar, "luma": luma, "chords": chords, "astronaut": astronaut}[what](Path(data), Path(out))
