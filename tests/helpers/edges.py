"""Sounds of bursts of noise with known edges, labels beside them, and what a careless aligner would say."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile

from lemtools.phones.cepstra import MIDDLE, RATE

BURSTS = {"AA": (200, 900), "S": (4000, 7500), "N": (1200, 2500)}  # Hz
SECONDS = 0.8


def burst(phone, count, rng):
    """[count] noise of rms .1 in the band of a phone."""
    power = np.fft.rfft(rng.standard_normal(count))
    hz = np.fft.rfftfreq(count, 1 / RATE)
    low, high = BURSTS[phone]
    wave = np.fft.irfft(power * ((hz >= low) & (hz < high)), count)
    return 0.1 * wave / (wave.std() + 1e-9)


def noise(seed=0, least=0.09):
    """(sound [T] at 16 kHz, phones, the times between them in s)."""
    rng = np.random.default_rng(seed)
    lengths, phones = [], []
    while SECONDS - sum(lengths) > 2 * least:
        lengths.append(rng.uniform(least, 1.8 * least))
        phones.append(str(rng.choice([name for name in BURSTS if name != (phones or [""])[-1]])))
    lengths[-1] = SECONDS - sum(lengths[:-1])
    edges = np.cumsum(lengths)[:-1]
    ends = [*np.rint(edges * RATE).astype(int), round(SECONDS * RATE)]
    parts = [burst(phone, end - begin, rng) for phone, begin, end in zip(phones, [0, *ends], ends)]
    return (np.concatenate(parts) + rng.normal(0, 1e-3, ends[-1])).astype(np.float32), phones, edges


def lab(path, phones, edges, end=SECONDS):
    """Labels as HTK has them, in units of 100 ns."""
    times = [round(1e7 * time) for time in (0.0, *edges, end)]
    Path(path).write_text("".join(f"{a} {b} {phone}\n" for phone, (a, b) in zip(phones, pairwise(times))))


def corpus(folder, count=12, seed=0, off=0.02):
    """Write folder/audio (WAV, and labels beside each) and folder/aligned: the edges at multiples of 10 ms, up to `off` s away, less
    the constant shift. Returns both, as text."""
    audio, aligned = Path(folder) / "audio", Path(folder) / "aligned"
    audio.mkdir(), aligned.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(count):
        wave, phones, edges = noise(1000 * seed + number)
        soundfile.write(audio / f"s{number:02}.wav", wave, RATE)
        lab(audio / f"s{number:02}.lab", phones, edges)
        moved = np.rint((edges - MIDDLE + rng.uniform(-off, off, len(edges))) * 100) / 100
        lab(aligned / f"s{number:02}.lab", phones, moved)
    return str(audio), str(aligned)
