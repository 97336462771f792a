"""Time spectra of sounds beside torch and scipy, in one run: python tests/benchmarks/bench_spectra.py [--mel FILE...]

Speed: 30 s of noise at 44.1 kHz, Hann windows of 1024 samples every 256, one thread, CPU time, the best of several runs that
take turns. Printed: seconds of sound a second of CPU time, and that of the peer divided by ours (above 1: the peer is
faster), and the most memory that encoding takes beside the sound and the spectrum. Peers that are not installed are left
out. Round trips: the lowest SNR in dB of white noise of 100 lengths from 1 to 4,000 samples, there and back in float32.
With --mel, of sounds: how far the log-mel bands of what mel bands decode to lie from the sound's own, in dB, root mean
square over the bands within 60 dB of the loudest, the mean over sounds and its 95 % interval; torchaudio has the same
bands (InverseMelScale, then GriffinLim of 60 rounds), and 'magnitudes' is Griffin-Lim from the true ones.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lemtools.catalogue import LemError
from lemtools.transforms.short import ShortTime

RATE, N_FFT, HOP = 44_100, 1024, 256


def best(calls: dict[str, Callable], runs: int = 5) -> dict[str, float]:
    """Shortest CPU time of each call, the calls taking turns after one warm-up each."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return {name: min(values) for name, values in times.items()}


def peers(sound: np.ndarray) -> tuple[dict[str, Callable], dict[str, Callable]]:
    """(there, back) of torch and scipy, as far as they are installed."""
    there: dict[str, Callable] = {}
    back: dict[str, Callable] = {}
    try:
        import torch

        torch.set_num_threads(1)
        x, w = torch.from_numpy(sound[0]), torch.hann_window(N_FFT)
        spectrum = torch.stft(x, N_FFT, HOP, window=w, pad_mode="constant", return_complex=True)
        there["torch.stft"] = lambda: torch.stft(x, N_FFT, HOP, window=w, pad_mode="constant", return_complex=True)
        there["torch.stft, as channels"] = lambda: (
            torch.view_as_real(torch.stft(x, N_FFT, HOP, window=w, pad_mode="constant", return_complex=True))
            .movedim(-1, 1)
            .contiguous()
        )
        back["torch.istft"] = lambda: torch.istft(spectrum, N_FFT, HOP, window=w, length=sound.shape[-1])
    except ImportError:
        pass
    try:
        from scipy.signal import ShortTimeFFT
        from scipy.signal.windows import hann

        made = ShortTimeFFT(hann(N_FFT, sym=False).astype(np.float32), HOP, RATE)
        theirs = made.stft(sound[0, 0])
        there["scipy ShortTimeFFT.stft"] = lambda: made.stft(sound[0, 0])
        back["scipy ShortTimeFFT.istft"] = lambda: made.istft(theirs, k1=sound.shape[-1])
    except ImportError:
        pass
    return there, back


def main(seconds: float) -> None:
    samples = round(seconds * RATE)
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 1, samples)).astype(np.float32)
    front = ShortTime(encoder="stft", rate=float(RATE), samples=samples, n_fft=N_FFT, hop=HOP)
    spectrum = front.encode(sound)
    theirs_there, theirs_back = peers(sound)
    print(f"{'':<32}{'x real time':>14}{'peer / ours':>14}")
    for name, ours, others in (
        ("stft", lambda: front.encode(sound), theirs_there),
        ("inverse", lambda: front.decode(spectrum), theirs_back),
    ):
        times = best({name: ours, **others})
        for each, spent in times.items():
            ratio = "" if each == name else f"{times[name] / spent:14.2f}"
            print(f"{each:<32}{seconds / spent:14.0f}{ratio}")
    tracemalloc.start()
    front.encode(sound)
    most = tracemalloc.get_traced_memory()[1]
    print(f"{'memory beside the spectrum':<32}{(most - spectrum.nbytes) / 1e6:14.1f} MB of {spectrum.nbytes / 1e6:.0f}")
    trips()


def trips() -> None:
    """Lowest SNR of round trips, by window and hop."""
    rng = np.random.default_rng(0)
    lengths = np.unique(np.geomspace(1, 4000, 130).astype(int))
    hops = (64, 128, 100, 171, 192)
    print(f"\n{'window of 256 samples, hop':<32}" + "".join(f"{hop:>8}" for hop in hops))
    for name in ("hann", "hamming", "blackman", "sine", "rect"):
        cells = []
        for hop in hops:
            lowest = np.inf
            try:
                for samples in map(int, lengths):
                    sound = rng.standard_normal((1, 1, samples)).astype(np.float32)
                    front = ShortTime("stft", float(RATE), samples, 256, hop, name)
                    error = np.square(front.decode(front.encode(sound)) - sound, dtype=np.float64).sum()
                    power = np.square(sound, dtype=np.float64).sum()
                    lowest = min(lowest, 10 * np.log10(power / error) if error else np.inf)
                cells.append(f"{lowest:8.1f}")
            except LemError:
                cells.append(f"{'refused':>8}")
        print(f"{name:<32}" + "".join(cells))


def bands(paths: list[str]) -> None:
    """The table of --mel."""
    import torch
    from torchaudio.transforms import GriffinLim, InverseMelScale

    from lemtools.compare.summary import mean_interval
    from lemtools.media import load
    from lemtools.transforms import griffin_lim, stft
    from lemtools.transforms.bands import LogMel, Mel

    torch.set_num_threads(1)
    names = ("lemtools", "torchaudio", "magnitudes")
    errors: dict[str, list[float]] = {name: [] for name in names}
    spent = dict.fromkeys(names, 0.0)
    for signal in load(paths, batch=1):
        sound, rate = signal.data[:, :1], float(signal.rate or 0)
        settings = {"rate": rate, "samples": sound.shape[-1], "n_fft": N_FFT, "hop": HOP}
        front, log = Mel("mel", **settings), LogMel("log-mel", **settings)
        mels, own, samples = front.encode(sound), log.encode(sound), sound.shape[-1]
        inverse = InverseMelScale(N_FFT // 2 + 1, front.bands, round(rate), norm="slaney", mel_scale="slaney")
        phases = GriffinLim(N_FFT, 60, hop_length=HOP, power=2, length=samples)
        torch.manual_seed(0)
        size = np.abs(stft.stft(sound[0, 0], front.weights, HOP))
        ways: dict[str, Callable] = {
            "lemtools": lambda: front.decode(mels),
            "torchaudio": lambda: phases(inverse(torch.from_numpy(mels))).numpy(),
            "magnitudes": lambda: griffin_lim.sound(size, front.weights, HOP, samples)[None, None],
        }
        for name, way in ways.items():
            start = time.process_time()
            back = way()
            spent[name] += time.process_time() - start
            loud = own > own.max() - 6 * np.log(10)
            off = (log.encode(np.ascontiguousarray(back, np.float32)) - own)[loud]
            errors[name].append(10 / np.log(10) * float(np.sqrt(np.square(off).mean())))
    for name in names:
        mean, low, high = mean_interval(np.array(errors[name]))
        print(
            f"{name:<32}{mean:8.2f} [{low or mean:.2f}, {high or mean:.2f}] dB{spent[name] / len(errors[name]):8.2f} s a sound"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--mel", nargs="+")
    asked = parser.parse_args()
    if asked.mel:
        bands(asked.mel)
    else:
        main(asked.seconds)
