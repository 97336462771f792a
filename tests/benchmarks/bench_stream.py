"""Throughput of a stream between two processes, and the reader's memory: `python tests/benchmarks/bench_stream.py`.

A writer sends the same batch of 64 float32 images again and again through a pipe; the reader reads every batch whole.
The control is the pipe itself: the same bytes by write and readinto alone, into one buffer. Prints GB/s (1e9 bytes,
wall time from the first batch on), the reader's CPU seconds per GB, and its peak resident set at 1 and at 5 GB.
"""

import os
import resource
import subprocess
import sys
import time

import numpy as np

from lemtools.signal import Signal
from lemtools.stream import Source, read, widen_pipe, write, write_all
from lemtools.stream.source import _room

HERE = os.path.dirname(os.path.abspath(__file__))
READER = "import sys; sys.path[:0] = sys.argv[3:]; import bench_stream as b; b.drain(sys.argv[1], int(sys.argv[2]))"


def batches(file, way: str, size: int):
    """Last value of every batch that arrives."""
    if way == "stream":
        for batch in read(Source(file, "standard input")):
            yield float(batch.data[-1, -1, -1, -1])
        return
    whole = _room(size).view(np.float32)
    view = memoryview(whole).cast("B")
    while True:
        have = 0
        while have < size and (got := file.readinto(view[have:])):
            have += got
        if not have:
            return
        yield float(whole[-1])


def drain(way: str, size: int) -> None:
    """Read standard input to its end; print batches, seconds, CPU seconds, peak MiB, and the sum of last values."""
    count, check, begun, cpu = 0, 0.0, 0.0, 0.0
    with open(0, "rb", buffering=0, closefd=False) as file:
        widen_pipe(file)
        for value in batches(file, way, size):
            if not count:
                begun, cpu = time.perf_counter(), time.process_time()
            count, check = count + 1, check + value
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    print(count, seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, check)


def send(side: int, size: float, way: str) -> tuple[float, float, float]:
    """(GB/s, reader's CPU seconds per GB, reader's peak MiB) of `size` bytes of [64, 3, side, side] batches."""
    batch = Signal("image", np.random.default_rng(0).random((64, 3, side, side), dtype=np.float32))
    one = batch.data.nbytes
    count = max(round(size / one), 3)
    places = [HERE, os.path.dirname(os.path.dirname(HERE))]
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, way, str(one), *places], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    if way == "stream":
        write((batch for _ in range(count)), reader.stdin)
    else:
        write_all(reader.stdin, (memoryview(batch.data.reshape(-1)).cast("B") for _ in range(count)))
    reader.stdin.close()
    arrived, seconds, cpu, peak, check = map(float, reader.stdout.read().split())
    assert reader.wait() == 0 and arrived == count
    assert np.isclose(check, count * float(batch.data[-1, -1, -1, -1]))
    moved = (count - 1) * one / 1e9
    return moved / seconds, cpu / moved, peak


def main() -> None:
    print("batch\tGB sent\tway\tGB/s\treader CPU s/GB\treader peak MiB")
    for side in (64, 256):
        for size in (1e9, 5e9):
            for way in ("pipe alone", "stream"):
                speed, cpu, peak = send(side, size, way)
                print(f"[64, 3, {side}, {side}]\t{size / 1e9:g}\t{way}\t{speed:.2f}\t{cpu:.2f}\t{peak:.0f}", flush=True)


if __name__ == "__main__":
    main()
