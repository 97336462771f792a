"""CPU seconds of short commands, best of several runs, as they are and as ratios to a bare interpreter.

python tests/benchmarks/bench_startup.py [RUNS]
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 7
PHOTO = str(Path(__file__).parents[2] / "lemtools" / "data" / "kodim23-384x256.png")


def seconds(code: str, *args: str, cwd: str) -> float:
    """User and system time of `python -c code args`, the least of RUNS runs."""
    best = float("inf")
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code, *args], cwd=cwd, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def tool(name: str) -> str:
    return f"from lemtools.cli.{name} import main; main()"


with tempfile.TemporaryDirectory() as folder:
    subprocess.run(
        [sys.executable, "-c", tool("fragment"), PHOTO, "--bits", "3", "-o", "x.safetensors"], cwd=folder, check=True
    )
    rows = [
        ("python -c pass", "pass"),
        ("import click", "import click"),
        ("import numpy, PIL.Image", "import numpy, PIL.Image"),
    ]
    rows += [(f"lem-{name} --help", tool(name), "--help") for name in ("fragment", "reconstruct", "compare", "info")]
    rows += [
        ("lem-fragment --bits 3 PHOTO", tool("fragment"), PHOTO, "--bits", "3", "-o", "y.safetensors"),
        ("lem-reconstruct --method decode", tool("reconstruct"), "x.safetensors", "--method", "decode", "-o", "y.png"),
        ("lem-reconstruct (auto)", tool("reconstruct"), "x.safetensors", "-o", "y.png"),
        ("lem-compare --metric psnr", tool("compare"), PHOTO, PHOTO, "--metric", "psnr"),
        ("lem-compare", tool("compare"), PHOTO, PHOTO),
        ("lem-info", tool("info"), "x.safetensors"),
    ]
    bare = None
    for name, code, *args in rows:
        took = seconds(code, *args, cwd=folder)
        bare = bare or took
        print(f"{name:34}{1000 * took:8.0f} ms CPU{took / bare:8.1f} x a bare interpreter", flush=True)
