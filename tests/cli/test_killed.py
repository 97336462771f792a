"""SIGKILL at seeded moments: nothing half-written under the final name, and the same command makes the same bytes."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

MOMENTS = 4
COMMANDS = {
    "fragment": "fragment --bits 3 images.npy -o out.safetensors",
    "reconstruct": "reconstruct --method smooth lost.safetensors -o out.npy",
    "compare": "compare --metric psnr --html out.html images.npy images.npy",
    "encode": "encode --encoder pca --fit vectors.npy --dims 4 -o out.safetensors",
    "prepare": "els --bank images.npy --prepare -o out.safetensors",
    "rvq": "train rvq --data vectors.npy --stages 2 --codes 16 --steps 40 --save-every 5 -q -o out.safetensors",
    "token-ae": "train token-ae --data text.txt --width 16 --depth 1 --steps 40 --save-every 5 --batch 4 -q -o out.safetensors",
}


@pytest.fixture
def place(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.integers(0, 256, (64, 3, 32, 32), dtype=np.uint8))
    np.save(tmp_path / "vectors.npy", rng.standard_normal((2000, 16)).astype(np.float32))
    (tmp_path / "text.txt").write_text(" ".join(map(str, rng.integers(0, 99, 4000))))
    made = subprocess.run(start("fragment --bits 3 images.npy -o lost.safetensors"), cwd=tmp_path, capture_output=True)
    assert made.returncode == 0, made.stderr
    return tmp_path


def start(line):
    command, _, rest = line.partition(" ")
    words = rest.split()
    return [sys.executable, "-c", f"from lemtools.cli.{command} import main; main()", *words]


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_half_written(place, name):
    line = COMMANDS[name]
    before = set(os.listdir(place))
    begun = time.monotonic()
    done = subprocess.run(start(line), cwd=place, capture_output=True)
    whole_time = time.monotonic() - begun
    assert done.returncode == 0, done.stderr
    (out,) = (place / word for word in line.split() if word.startswith("out."))
    whole = out.read_bytes()
    for moment in np.random.default_rng(0).uniform(0.2, 1, MOMENTS):
        for extra in set(os.listdir(place)) - before:
            os.remove(place / extra)
        process = subprocess.Popen(start(line), cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(whole_time * moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if line.startswith("train") and out.exists():  # the model as it was at a checkpoint
            assert subprocess.run(start(f"info {out.name}"), cwd=place, capture_output=True).returncode == 0, moment
        else:
            assert not out.exists() or out.read_bytes() == whole, moment
        left = {n for n in set(os.listdir(place)) - before - {out.name} if not n.startswith(".")}
        assert all(n.startswith("out.") for n in left), left  # states of a run
        again = subprocess.run(start(line), cwd=place, capture_output=True)
        assert again.returncode == 0 and out.read_bytes() == whole, (moment, again.stderr)
