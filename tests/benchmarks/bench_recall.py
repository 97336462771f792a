"""Associative recall from a store on disk: time and peak memory against the store's size, and against a named peer.

    python tests/benchmarks/bench_recall.py [N ...]        (default 20,000 and 100,000; 1,000,000 needs 3 GB of disk)

Each N runs in a process of its own on a store of N x 3072 random bytes, mapped from an .npy file: 64 queries with masks of
their own, half of the elements lost. The peer, faiss.IndexFlatL2 with the whole store in memory as float32, sees whole queries,
since it knows no masks. With CUDA the GPU's time stands beside, taken with events, and the floor it cannot beat: the bytes of the
store over the bandwidth of a copy to the device measured in the same run.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DIM, QUERIES = 3072, 64


def make(path: Path, count: int) -> None:
    store = np.lib.format.open_memmap(path, "w+", np.uint8, (count, DIM))
    rng = np.random.default_rng(0)
    for at in range(0, count, 10_000):
        part = store[at : at + 10_000]
        part[:] = rng.integers(0, 256, part.shape, dtype=np.uint8)
    store.flush()


def peak_mb() -> float:
    """Peak resident memory; not ru_maxrss, which a process inherits from the one that started it."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def one(path: str) -> None:
    from lemtools.denoise.memory import Memory
    from lemtools.device import pick

    store = np.load(path, mmap_mode="r")
    rng = np.random.default_rng(1)
    asked = rng.choice(len(store), QUERIES, replace=False)
    query, mask = store[asked] / np.float32(255), rng.random((QUERIES, DIM)) < 0.5
    base = peak_mb()
    memory = Memory(store)
    begun = time.perf_counter()
    right = (memory.recall(query, mask).index[:, 0] == asked).mean()
    took, peak = time.perf_counter() - begun, peak_mb()
    print(
        len(store),
        f"{took:.2f}",
        f"{right:.3f}",
        f"{base:.0f}",
        f"{peak:.0f}",
        _peer(store, query, asked),
        _gpu(store, query, mask, asked, pick),
        sep="\t",
        flush=True,
    )


def _peer(store, query, asked) -> str:
    try:
        import faiss
    except ImportError:
        return "no faiss"
    if len(store) > 200_000:
        return "does not fit"
    index = faiss.IndexFlatL2(DIM)
    for at in range(0, len(store), 10_000):
        index.add(store[at : at + 10_000].astype(np.float32) / 255)
    begun = time.perf_counter()
    right = (index.search(query, 1)[1][:, 0] == asked).mean()
    return f"{time.perf_counter() - begun:.2f} ({right:.3f})"


def _gpu(store, query, mask, asked, pick) -> str:
    import torch

    if pick() != "cuda":
        return "no GPU"
    from lemtools.denoise.memory import Memory

    block = torch.from_numpy(np.array(store[:10_000]))
    memory = Memory(store, device="cuda")
    memory.recall(query[:2], mask[:2])
    events = [torch.cuda.Event(enable_timing=True) for _ in range(4)]
    events[0].record()
    found = memory.recall(query, mask)
    events[1].record()
    events[2].record()
    block.to("cuda")
    events[3].record()
    torch.cuda.synchronize()
    rate = block.numel() / events[2].elapsed_time(events[3])
    agree = (found.index[:, 0] == asked).mean()
    floor = store.size / rate / 1e3
    return f"{events[0].elapsed_time(events[1]) / 1e3:.2f} ({agree:.3f}), floor {floor:.2f}, {torch.cuda.get_device_name()}"


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        return one(sys.argv[2])
    print("memories\tseconds\tright\tMB before\tMB peak\tfaiss seconds (right)\tGPU seconds (right)")
    for count in [int(n) for n in sys.argv[1:]] or [20_000, 100_000]:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder) / "store.npy", count)
            subprocess.run([sys.executable, __file__, "--one", f"{folder}/store.npy"], check=True)


if __name__ == "__main__":
    main()
