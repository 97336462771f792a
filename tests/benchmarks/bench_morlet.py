"""The Morlet transform of noise beside PyWavelets (and ssqueezepy, where it is installed): time, memory, and the way back.

    python tests/benchmarks/bench_morlet.py [SECONDS [RATE]]
    python tests/benchmarks/bench_morlet.py --back

Each in a process of its own, in turns, three times; the best time counts. `times` is how much faster than the sound
lasts, `memory` the most that was resident beyond the sound, over the size of the result. `peer / ours` is the ratio of
the times in this run. PyWavelets' wavelet is cmor, at the same scales (method fft; it has no inverse); ssqueezepy's is
its morlet at 24 voices and single precision, on as many threads as there are cores. Both inverses are measured from
20 Hz up (the sound has nothing below). With --back: white noise of all frequencies with a mean and a drift, of 25
lengths from 1 to 4,000 samples at 8 kHz, there and back; the lowest SNR.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PEERS = "ours", "pywt", "ssqueezepy"


def sound(seconds: float, rate: int) -> np.ndarray:
    """float32 [T]: white noise from 20 Hz up."""
    x = np.random.default_rng(0).standard_normal(int(seconds * rate))
    bins = np.fft.rfft(x)
    bins[np.fft.rfftfreq(len(x), 1 / rate) < 20] = 0
    return (0.1 * np.fft.irfft(bins, len(x))).astype(np.float32)


def one(peer: str, seconds: float, rate: int) -> dict:
    """Seconds there and back, decibels, and bytes; {} where the peer is not installed."""
    from lemtools.transforms.morlet import Morlet
    from lemtools.transforms.wavelets import MU, widths

    x = sound(seconds, rate)
    front = Morlet("morlet", rate, len(x))
    encode, decode = lambda: front.encode(x[None, None]), front.decode
    if peer == "pywt":
        try:
            import pywt
        except ImportError:
            return {}
        scales = widths(rate, front.hz)
        encode, decode = lambda: pywt.cwt(x, scales, f"cmor2.0-{MU / 2 / np.pi}", method="fft")[0], None
    elif peer == "ssqueezepy":
        os.environ["SSQ_PARALLEL"] = "1"
        try:
            import ssqueezepy
        except ImportError:
            return {}
        wavelet = ssqueezepy.Wavelet(("morlet", {"mu": MU}), dtype="float32")
        encode = lambda: ssqueezepy.cwt(x, wavelet, nv=24, fs=rate, padtype="reflect")
        decode = lambda made: ssqueezepy.icwt(made[0], wavelet, made[1], nv=24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    made = encode()
    there = time.perf_counter()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = {"encode": there - begun, "memory": (most - before) * 1024 / size(made)}
    if decode:
        begun = time.perf_counter()
        back = decode(made)
        said["decode"] = time.perf_counter() - begun
        error = np.abs(np.fft.rfft(np.ravel(back)[: len(x)].astype(np.float64) - x)) ** 2
        heard = np.fft.rfftfreq(len(x), 1 / rate) >= 20
        power = np.abs(np.fft.rfft(x.astype(np.float64))) ** 2
        said["decibels"] = 10 * np.log10(power[heard].sum() / error[heard].sum())
    return said


def back() -> None:
    """The lowest decibels over lengths, by voices and lowest row."""
    from lemtools.transforms.morlet import Morlet

    lengths = sorted({round(4000 ** (k / 24)) for k in range(25)})
    print("voices\tlowest\tdecibels")
    for voices in (4, 12, 24, 48, 96):
        for lowest in (5.0, 20.0, 100.0, 1000.0):
            found = []
            for length in lengths:
                x = 0.1 * np.random.default_rng(length).standard_normal(length) + np.linspace(-0.1, 0.2, length)
                x, front = (
                    x.astype(np.float32)[None, None],
                    Morlet("morlet", 8000, length, voices=voices, lowest=lowest),
                )
                error = np.square(front.decode(front.encode(x)).astype(np.float64) - x).sum()
                found.append(10 * np.log10(np.square(x, dtype=np.float64).sum() / max(error, 1e-30)))
            print(f"{voices}\t{lowest:g}\t{min(found):.1f}", flush=True)


def size(made) -> int:
    return made.nbytes if isinstance(made, np.ndarray) else made[0].nbytes


def main(seconds: float = 5, rate: int = 44100) -> None:
    found: dict[str, list[dict]] = {peer: [] for peer in PEERS}
    for _ in range(3):
        for peer in PEERS:
            if said := json.loads(
                subprocess.run(
                    [sys.executable, __file__, "--one", peer, str(seconds), str(rate)], capture_output=True, text=True
                ).stdout
                or "{}"
            ):
                found[peer].append(said)
    print("transform\tencode_s\ttimes\tdecode_s\ttimes\tmemory\tdecibels\tpeer / ours")
    for peer, runs in found.items():
        if not runs:
            print(f"{peer}\tnot installed")
            continue
        best = {name: min(run[name] for run in runs) for name in runs[0]}
        there, back = best["encode"], best.get("decode", np.nan)
        ratio = there / min(run["encode"] for run in found["ours"])
        print(
            f"{peer}\t{there:.2f}\t{seconds / there:.1f}\t{back:.2f}\t{seconds / back:.1f}\t{best['memory']:.2f}\t"
            f"{best.get('decibels', np.nan):.1f}\t{ratio:.1f}"
        )
    print(f"# {seconds:g} s at {rate} Hz, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))))
    elif sys.argv[1:2] == ["--back"]:
        back()
    else:
        main(*(kind(v) for kind, v in zip((float, int), sys.argv[1:])))
