"""Time the metrics beside named peers, in one run: python tests/benchmarks/bench_metrics.py

Two tables. In one process: this library and skimage, torchmetrics or faiss on the same arrays, CPU time (which
neighbours on the machine disturb less than wall time). From the shell: a whole Python that reads two PNGs and prints,
beside ImageMagick's `compare -metric PSNR`, wall time. The best of several runs each, taken in turns; one thread each
(OPENBLAS_NUM_THREADS=1, which also halves the time numpy takes to start). Peers that are not installed are left out.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # before numpy is loaded

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lemtools.compare import distortion, geometry, perceptual  # noqa: E402

COMPARE = "from lemtools.cli.compare import main; main()"


def best(calls: dict[str, Callable], clock: Callable[[], float], runs: int) -> dict[str, float]:
    """Shortest time of each call, the calls taking turns after one warm-up each."""
    for call in calls.values():
        call()
    times = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            start = clock()
            call()
            times[name].append(clock() - start)
    return {name: min(values) for name, values in times.items()}


def report(title: str, calls: dict[str, Callable], clock: Callable[[], float], runs: int) -> None:
    """One line for each peer: its time, ours, ours divided by the peer's."""
    (_, ours), *peers = best(calls, clock, runs).items()
    for name, seconds in peers or [("(no peer)", float("nan"))]:
        print(f"{title:<34}{name:<34}{1e3 * seconds:10.1f}{1e3 * ours:10.1f}{ours / seconds:9.2f}")


def photos() -> tuple[np.ndarray, np.ndarray]:
    """A 768 x 512 RGB photo and its 3-bit recall, [H,W,3] uint8."""
    if importlib.util.find_spec("skimage"):
        import skimage.data

        photo = skimage.data.astronaut()
    else:
        photo = np.random.default_rng(0).integers(0, 256, (512, 512, 3)).astype(np.uint8)
    photo = np.concatenate([photo, photo[:, :256]], axis=1)
    return photo, ((photo >> 5) << 5) + 16


def in_process(photo: np.ndarray, recalled: np.ndarray) -> None:
    a, b = (np.ascontiguousarray(x.transpose(2, 0, 1))[None] for x in (photo, recalled))
    psnr: dict[str, Callable] = {"lemtools": lambda: distortion.psnr(a, b, peak=255)}
    gauss: dict[str, Callable] = {"lemtools": lambda: perceptual.ssim(a, b, peak=255)}
    uniform: dict[str, Callable] = {"lemtools": lambda: perceptual.ssim(a, b, peak=255, window="uniform7")}
    multi: dict[str, Callable] = {"lemtools": lambda: perceptual.ms_ssim(a, b, peak=255)}
    x = np.random.default_rng(0).standard_normal((3000, 768)).astype(np.float32)
    y = x + np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    knn: dict[str, Callable] = {"lemtools": lambda: geometry.mutual_knn(x, y, k=10)}
    if importlib.util.find_spec("skimage"):
        from skimage.metrics import peak_signal_noise_ratio, structural_similarity

        psnr["skimage"] = lambda: peak_signal_noise_ratio(photo, recalled, data_range=255)
        gauss["skimage"] = lambda: structural_similarity(
            photo, recalled, channel_axis=-1, gaussian_weights=True, use_sample_covariance=False
        )
        uniform["skimage"] = lambda: structural_similarity(photo, recalled, channel_axis=-1)
    if importlib.util.find_spec("torchmetrics"):
        import torch
        import torchmetrics.functional.image as tm

        torch.set_num_threads(1)
        p, q = torch.from_numpy(a).float(), torch.from_numpy(b).float()
        psnr["torchmetrics float32"] = lambda: tm.peak_signal_noise_ratio(q, p, data_range=255.0)
        gauss["torchmetrics float32"] = lambda: tm.structural_similarity_index_measure(q, p, data_range=255.0)
        multi["torchmetrics float32"] = lambda: tm.multiscale_structural_similarity_index_measure(
            q, p, data_range=255.0
        )
    if importlib.util.find_spec("faiss"):
        import faiss

        def faiss_knn() -> float:
            found = []
            for z in (x, y):
                index = faiss.IndexFlatL2(z.shape[1])
                index.add(z)
                found.append(index.search(z, 11)[1][:, 1:])
            return float(np.mean([len(np.intersect1d(s, t)) for s, t in zip(*found)]))

        knn["faiss IndexFlatL2"] = faiss_knn
    print(f"{'CPU time, one process':<34}{'peer':<34}{'peer ms':>10}{'ours ms':>10}{'ratio':>9}")
    report("psnr 768x512 RGB", psnr, time.process_time, 7)
    report("ssim[gauss11,rgb] 768x512", gauss, time.process_time, 5)
    report("ssim[uniform7,rgb] 768x512", uniform, time.process_time, 5)
    report("ms_ssim[gauss11,rgb] 768x512", multi, time.process_time, 5)
    report("mutual_knn[k10] 3000 x 768", knn, time.process_time, 3)


def from_shell(photo: np.ndarray, recalled: np.ndarray) -> None:
    from PIL import Image

    magick = shutil.which("compare")
    with tempfile.TemporaryDirectory() as folder:
        sides = [Path(folder, name) for name in ("a", "b")]
        for side, picture in zip(sides, (photo, recalled)):
            side.mkdir()
            for i in range(24):
                Image.fromarray(picture).save(side / f"{i:02d}.png")
        one = [str(side / "00.png") for side in sides]

        def ours(*args: str) -> Callable:
            return lambda: subprocess.run(
                [sys.executable, "-c", COMPARE, *args], cwd=folder, check=True, stdout=subprocess.DEVNULL
            )

        def peer(count: int) -> Callable:
            def run() -> None:
                for i in range(count):  # exit status 1 says only that the pictures differ
                    files = [str(side / f"{i:02d}.png") for side in sides]
                    subprocess.run([magick, "-metric", "PSNR", *files, "null:"], stderr=subprocess.DEVNULL)

            return run

        print(f"\n{'wall time, whole processes':<34}{'peer':<34}{'peer ms':>10}{'ours ms':>10}{'ratio':>9}")
        for title, args, count in (
            ("--metric psnr, two PNGs", [*one, "--metric", "psnr"], 1),
            ("--metric all, two PNGs", [*one, "--metric", "all"], 1),
            ("--metric psnr, two folders of 24", [*map(str, sides), "--metric", "psnr"], 24),
        ):
            calls = {"lemtools": ours(*args)}
            if magick:
                calls[f"ImageMagick compare, {count} call{'s' * (count > 1)}"] = peer(count)
            calls["python, numpy, Pillow started"] = lambda: subprocess.run(
                [sys.executable, "-c", "import numpy; from PIL import Image"], cwd=folder, check=True
            )
            report(title, calls, time.perf_counter, 7)


if __name__ == "__main__":
    pair = photos()
    in_process(*pair)
    from_shell(*pair)
