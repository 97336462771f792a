"""CPU seconds of short commands, best of several runs, and their ratios to `python -c "import click"` in the same run.

    python tests/benchmarks/bench_startup.py [RUNS]

Every command has its turn in each of the rounds, so that other work on the machine slows all of them alike; with it the
seconds grow, the ratios little.
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 7
PHOTO = str(Path(__file__).parents[2] / "lemtools" / "data" / "kodim23-384x256.png")


def seconds(code: str, *args: str, cwd: str) -> float:
    """User and system time of one `python -c code args`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, *args], cwd=cwd, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
    least = dict.fromkeys((name for name, *_ in rows), float("inf"))
    for _ in range(RUNS):
        for name, code, *args in rows:
            least[name] = min(least[name], seconds(code, *args, cwd=folder))
    for name, took in least.items():
        print(f"{name:34}{1000 * took:8.0f} ms CPU{took / least['import click']:8.2f} x import click", flush=True)
