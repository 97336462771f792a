"""Associative recall from a store of codes of 128 bits beside the same memories as float32: time and memory.

    python tests/benchmarks/bench_stored.py [N ...]        (default 100,000, and 1,000,000 of the codes alone)

Memories of 28 x 28 pixels: 64 principal components, coded by 16 codebooks of 256 (rvq), by 2 bits a component (uniform bins),
or by a trellis of 2 bits after a rotation; the components and codebooks are random ones, and so are the codes, since the time
depends on none of them. 64 queries, half of the pixels lost, a mask each. Each line is a process of its own: seconds of the
processor for the first recall and for another (the least of three), where the query is what is stored; the same where it is not,
and the whole softmax has to be summed in float64 (noise of .2 on the query); bytes that the store holds; MB that the process had
before the store was made, and most of all.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ITEM, DIMS, QUERIES = (1, 28, 28), 64, 64
MOST = 200_000  # memories that are held as float32, too
KINDS = ("float32", "rvq", "uniform", "trellis")


def peak_mb() -> float:
    """Peak resident memory; not ru_maxrss, which a process inherits from the one that started it."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def store(kind: str, count: int, folder: Path):
    """(the memories, float32 [N, ...item] or codes; seconds)."""
    from lemtools.encode.dense import Dense
    from lemtools.encode.pca import PCA
    from lemtools.media.kept import kept
    from lemtools.reconstruct.decoded import Decoded
    from lemtools.signal import Signal
    from lemtools.vq.residual import RVQ

    rng = np.random.default_rng(0)
    if kind == "float32":
        return rng.random((count, *ITEM), np.float32)
    width = int(np.prod(ITEM))
    axes = np.linalg.qr(rng.standard_normal((width, DIMS)))[0].T.astype(np.float32)
    spectrum = np.sort(rng.random(width))[::-1].copy()
    facts = {"kind": "image", "item": list(ITEM), "dtype": "uint8", "whiten": False, "count": count}
    pca = PCA(np.full(width, 0.5, np.float32), axes, spectrum, **facts)
    pca.save(str(folder / "pca.safetensors"))
    paths, history = [str(folder / "pca.safetensors")], [{"encoder": "pca", "fitted": True}]

    def batch(codes: np.ndarray) -> Signal:
        scale = np.full(len(codes), 0.1, np.float32)
        how = {"quantizer": kind, "rotate": 1 if kind == "trellis" else None}
        op = {"op": "bits", "bits": 2, "domain": "gaussian", "scale": scale, **how}
        return Signal("embedding", np.broadcast_to(np.float32(0), codes.shape), codes=codes, ops=[op], history=history)

    def dense(codes: np.ndarray) -> Signal:
        return Signal("tokens", codes, depth=8, history=[*history, {"encoder": "rvq", "fitted": True}])

    if kind == "rvq":
        vectors = rng.standard_normal((512, DIMS)).astype(np.float32)
        Dense(RVQ.fit(vectors, stages=16, codes=256, beam=1, updates=0)).save(str(folder / "rvq.safetensors"))
        paths.append(str(folder / "rvq.safetensors"))
    wide, top, make = (16, 256, dense) if kind == "rvq" else (DIMS, 4, batch)
    parts = (rng.integers(0, top, (min(1 << 14, count - at), wide), np.uint8) for at in range(0, count, 1 << 14))
    return Decoded(kept((make(codes) for codes in parts), "codes"), paths)


def one(kind: str, count: int) -> None:
    from lemtools.denoise.memory import Memory
    from lemtools.denoise.store import Store

    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        store("rvq" if kind == "float32" else kind, 8, Path(folder))  # what is loaded once
        base = peak_mb()
        memories = store(kind, count, Path(folder))
        asked = np.sort(rng.choice(count, QUERIES, replace=False))
        query, mask = memories[asked], rng.random((QUERIES, *ITEM)) < 0.5
        query = query / np.float32(255) if query.dtype == np.uint8 else query
        memory, took = Memory(Store(memories)), []
        for _ in range(4):
            begun = time.process_time()
            right = (memory.recall(query, mask).index[:, 0] == asked).mean()
            took.append(time.process_time() - begun)
        begun = time.process_time()
        if count <= MOST:
            memory.recall(query + 0.2 * rng.standard_normal(query.shape, np.float32), mask)
        every = f"{time.process_time() - begun:.2f}" if count <= MOST else "-"
        cells = f"{took[0]:.2f}", f"{min(took[1:]):.2f}", every, f"{right:.3f}", memories.nbytes
        cells = *cells, f"{base:.0f}", f"{peak_mb():.0f}"
        print(kind, count, *cells, sep="\t", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        return one(sys.argv[2], int(sys.argv[3]))
    print("store\tmemories\tseconds, first\tseconds\tseconds, all\tright\tbytes held\tMB before\tMB peak", flush=True)
    counts = [int(n) for n in sys.argv[1:]] or [100_000, 1_000_000]
    for count in counts:
        for kind in KINDS if count <= MOST else KINDS[1:]:
            subprocess.run([sys.executable, __file__, "--one", kind, str(count)], check=True)


if __name__ == "__main__":
    main()
