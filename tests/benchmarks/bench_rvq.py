"""Dense tokens against their bound and against faiss: error and dead codes, speed at equal error, memory.

    python tests/benchmarks/bench_rvq.py [error] [speed] [memory] [--device cuda] [--vectors N ...] [--threads T]
    python tests/benchmarks/bench_rvq.py real --sets FOLDER [--only NAME ...] [--seeds N]

real: the vectors of rvq_sets.py, which says where they come from: held-out NMSE and CPU seconds of fit and encoding, one
thread each, in the same run, of ours, of faiss and of plain residual k-means at 24, 32 and 64 bits. faiss is
ResidualQuantizer(D, stages, bits of a code) with max_beam_size = min(16, codes) for training and encoding, all else as it comes
(Train_progressive_dim, niter 10 a step, no refinement, no look-up tables). Plain residual k-means is faiss.Kmeans(D, K,
niter=25, nredo=1) a stage, on what the stages before leave, greedy in the fit and in the code.

Gaussian vectors, D = 128, variances 1/i, 8,000 to fit, 4,000 held out, 4 x 128 codes = 28 bits. error: three seeds, of
data and of fits. speed: vectors a second by the clock and by CPU time (of all threads; other work on the machine
disturbs it less), medians of 5 in turns with faiss in one run, and the ratio to faiss's beam 16; the first of ours with
an error as small is the one to compare. Where faiss is not installed its rows are left out, with a note, and the ratios
are to our own beam 16. With --device cuda the clock's rate of the same code there (and 4 x 1024 codes
of 768 dimensions). memory: peak above the start for fit and encoding of N x 768 float16 from disk, --vectors 1000000
for the issue's.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rvq_sets
import torch

from lemtools.train.loop import train
from lemtools.train.settings import Settings
from lemtools.vq.residual import RVQ

try:
    import faiss
except ImportError:
    faiss = None

DIMS, STAGES, BITS = 128, 4, 7
SEEDS = 20, 21, 22  # (constants of the fit were chosen on others)
SIZE = {"stages": 4, "codes": 256}  # of the quantiser whose memory is measured


def gaussian(draw, count, dims=DIMS):
    return (draw.standard_normal((count, dims)) / np.sqrt(np.arange(1, dims + 1))).astype(np.float32)


def nmse(x, y):
    return float(((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum())


def faiss_quantizer(x, beam):
    peer = faiss.ResidualQuantizer(DIMS, STAGES, BITS)
    peer.max_beam_size = beam
    peer.train(x)
    return peer


def error(device: str) -> None:
    beams = (1, 16) if faiss else ()
    table = {f"faiss, beam {beam}": [] for beam in beams} | {"rvq": [], "lem-train rvq": []}
    dead, bounds, told = {"rvq": [], "lem-train rvq": []}, [], {}
    for seed in SEEDS:
        draw = np.random.default_rng(seed)
        x, held = gaussian(draw, 8000), gaussian(draw, 4000)
        for beam in beams:
            peer = faiss_quantizer(x, beam)
            table[f"faiss, beam {beam}"].append(nmse(held, peer.decode(peer.compute_codes(held))))
        told["rvq"] = RVQ.fit(x, stages=STAGES, codes=2**BITS, seed=seed, device=device).report(held)
        told["lem-train rvq"] = trained(x, held, seed, device)
        for name, report in told.items():
            table[name].append(report["NMSE"])
            dead[name] += [report[f"dead[{s}]"] for s in range(1, STAGES + 1)]
        print(f"seed {seed}", *(f"{name} {values[-1]:.4f}" for name, values in table.items()), sep="\t", flush=True)
        bounds.append(told["rvq"]["bound-NMSE"])
    print("NMSE held out\tmean\tleast\tmost")
    for name, values in table.items():
        print(name, *(f"{f(values):.4f}" for f in (np.mean, min, max)), sep="\t")
    print(f"bound\t{np.mean(bounds):.4f}\n")
    for name, report in told.items():
        print(f"{name}, dead codes held out, most of any stage and seed\t{max(dead[name]):.1%}")
        print(f"{name}, last seed\t" + ", ".join(f"{k} {v:.4g}" for k, v in report.items()), flush=True)


def trained(x, held, seed: int, device: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("x", x), ("held", held)):
            np.save(f"{folder}/{name}.npy", part)
        asked = Settings(
            "rvq",
            [f"{folder}/x.npy"],
            f"{folder}/codebooks.safetensors",
            validate=[f"{folder}/held.npy"],
            options={"stages": STAGES, "codes": 2**BITS},
            seed=seed,
            device=device,
        )
        return train(asked).report


def speed(device: str, threads: int) -> None:
    draw = np.random.default_rng(0)
    x, held = gaussian(draw, 8000), gaussian(draw, 4096)
    ours, ways, first = RVQ.fit(x, stages=STAGES, codes=2**BITS, device=device), {}, "rvq, beam 16"
    if faiss:
        peer, first = faiss_quantizer(x, 16), "faiss, beam 16"
        ways[first] = (lambda: peer.compute_codes(held), peer.decode)
    for beam in (1, 2, 4, 8, 16):
        ways[f"rvq, beam {beam}"] = (lambda beam=beam: ours.encode(held, beam=beam), ours.decode)
    took = {name: [] for name in ways}
    for _ in range(6):  # the first warms up
        for name, (encode, _) in ways.items():
            clock, cpu = time.perf_counter(), time.process_time()
            encode()
            took[name].append((time.perf_counter() - clock, time.process_time() - cpu))
    median = {name: np.median(t[1:], axis=0) for name, t in took.items()}
    base = median[first]
    print(
        f"\nencoding, {threads} threads, rvq on {device}\tNMSE\tvectors/s\tvectors/CPU s\tratio to {first}\tratio, CPU"
    )
    for name, (encode, decode) in ways.items():
        clock, cpu = median[name]
        print(
            name,
            f"{nmse(held, decode(encode())):.4f}",
            f"{len(held) / clock:.0f}",
            f"{len(held) / cpu:.0f}",
            f"{base[0] / clock:.2f}",
            f"{base[1] / cpu:.2f}",
            sep="\t",
            flush=True,
        )
    if torch.device(device).type != "cpu":
        _large(draw, device, ours)


def _large(draw, device: str, ours: RVQ) -> None:
    """Rates of many vectors, from the host's memory and back."""
    x = gaussian(draw, 100_000, 768)
    begun = time.perf_counter()
    large = RVQ.fit(x, stages=4, codes=1024, device=device)
    print(f"fit of 4 x 1024 codes to 100,000 x 768: {time.perf_counter() - begun:.1f} s")
    for name, quantiser, data in (("4 x 128 of 128", ours, gaussian(draw, 400_000)), ("4 x 1024 of 768", large, x)):
        quantiser.encode(data[:10_000])
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            quantiser.encode(data)  # ends with a copy to the host
            times.append(time.perf_counter() - begun)
        print(f"encoding {name}, beam 16: {len(data) / np.median(times):.0f} vectors/s", flush=True)


def plain_kmeans(x, held, stages: int, codes: int, seed: int):
    """NMSE held out of residual k-means, each code the nearest to what is left."""
    mean, left, rest = x.mean(0), x - x.mean(0), held - x.mean(0)
    for stage in range(stages):
        peer = faiss.Kmeans(x.shape[1], codes, niter=25, seed=seed * 100 + stage + 1, min_points_per_centroid=1)
        peer.train(np.ascontiguousarray(left))
        left, rest = (part - peer.centroids[peer.index.search(part, 1)[1][:, 0]] for part in (left, rest))
    return nmse(held - mean, held - mean - rest)


def real(folder: str, only: list[str], seeds: int) -> None:
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    print(
        "set\tN x D\tcodes\tseed\tNMSE rvq\tfaiss\tk-means\tfit CPU s rvq\tfaiss\tratio\tencode CPU s rvq\tfaiss\tratio"
    )
    rows: dict = {}
    for name in only or rvq_sets.NAMES:
        for stages, codes in rvq_sets.settings(name):
            for seed in range(SEEDS[0], SEEDS[0] + seeds):
                x, held = rvq_sets.split(name, folder, seed)
                done = one_real(x, held, stages, codes, seed)
                rows.setdefault((name, f"{stages} x {codes}"), []).append(done)
                cells = [f"{v:.4f}" for v in done[:3]]
                cells += [f"{v:.3f}" for k in (3, 5) for v in (*done[k : k + 2], done[k] / max(done[k + 1], 1e-9))]
                print(name, f"{len(x)} x {x.shape[1]}", f"{stages} x {codes}", seed, *cells, sep="\t", flush=True)
    print("\nmeans\tcodes\tNMSE rvq\tfaiss\tk-means\tfit, ratio of CPU\tencoding, ratio of CPU")
    for (name, code), done in rows.items():
        mean = np.mean(done, 0)
        ratios = mean[3] / max(mean[4], 1e-9), mean[5] / max(mean[6], 1e-9)
        print(name, code, *(f"{v:.4f}" for v in mean[:3]), *(f"{v:.2f}" for v in ratios), sep="\t")


def one_real(x, held, stages: int, codes: int, seed: int) -> list[float]:
    """NMSE of ours, faiss and k-means; CPU seconds of fits, ours and faiss; of encoding, ours and faiss (least of 3)."""
    peer = faiss.ResidualQuantizer(x.shape[1], stages, codes.bit_length() - 1)
    peer.max_beam_size = min(16, codes)  # of more paths than there are it makes garbage
    ours, fit = cpu(lambda: RVQ.fit(x, stages=stages, codes=codes, seed=seed))
    theirs, begun = cpu(lambda: peer.train(x))
    found, encode = min((cpu(lambda: ours.encode(held)) for _ in range(3)), key=lambda f: f[1])
    codes_of_peer, their_encode = min((cpu(lambda: peer.compute_codes(held)) for _ in range(3)), key=lambda f: f[1])
    errors = nmse(held, ours.decode(found)), nmse(held, peer.decode(codes_of_peer))
    return [*errors, plain_kmeans(x, held, stages, codes, seed), fit, begun, encode, their_encode]


def cpu(call):
    begun = time.process_time()
    made = call()
    return made, time.process_time() - begun


def peak_mb() -> float:
    """Peak resident memory; not ru_maxrss, which a process inherits from the one that started it."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def one_memory(path: str, count: int) -> None:
    def read():
        with open(path, "rb") as file:
            while len(part := np.fromfile(file, np.float16, 4096 * 768)):
                yield part.reshape(-1, 768)

    RVQ.fit(next(read())[:600], stages=1, codes=16).encode(next(read()))  # libraries have loaded what they load
    base, begun = peak_mb(), time.perf_counter()
    quantiser = RVQ.fit(read, **SIZE)
    fitted = time.perf_counter()
    codes = sum(quantiser.encode(part).shape[0] for part in read())
    assert codes == count
    print(
        count,
        f"{base:.0f}",
        f"{peak_mb() - base:.0f}",
        f"{fitted - begun:.1f}",
        f"{time.perf_counter() - fitted:.1f}",
        sep="\t",
        flush=True,
    )


def memory(counts: list[int]) -> None:
    print(
        f"\nN x 768 float16 from disk, {SIZE['stages']} x {SIZE['codes']} codes\n"
        "N\tMB before\tMB more at peak\tfit s\tencode s",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/vectors.f16"
        for count in counts:
            draw = np.random.default_rng(0)
            with open(path, "wb") as file:
                for at in range(0, count, 10_000):
                    gaussian(draw, min(10_000, count - at), 768).astype(np.float16).tofile(file)
            subprocess.run([sys.executable, __file__, "one-memory", path, str(count)], check=True)


def main() -> None:
    if sys.argv[1:2] == ["one-memory"]:
        return one_memory(sys.argv[2], int(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["error", "speed", "memory"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sets", help="folder of rvq_sets.py")
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--vectors", type=int, nargs="+", default=[100_000, 300_000])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if faiss:
        faiss.omp_set_num_threads(args.threads)
    else:
        print("faiss is not installed: its rows are left out", flush=True)
    for part in args.parts:
        {
            "real": lambda: real(args.sets, args.only, args.seeds),
            "error": lambda: error(args.device),
            "speed": lambda: speed(args.device, args.threads),
            "memory": lambda: memory(args.vectors),
        }[part]()


if __name__ == "__main__":
    main()
