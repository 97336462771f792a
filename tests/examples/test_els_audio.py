"""The stages of examples/els_audio.py that need no training: its sounds, and its table, over numbers that are known."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lemtools.media import load
from lemtools.transforms.history import front

SCRIPT = Path(__file__).parents[2] / "examples/els_audio.py"


@pytest.fixture
def script(monkeypatch):
    for name, value in {
        "SET": "fsdd",
        "REPS": "complex log",
        "NETS": "a",
        "RUNS": "0 1",
        "MACHINES": "both linear",
    }.items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("els_audio", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sounds_are_split_by_take_and_logarithms_are_standardised_by_the_bank(script, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "fsdd").mkdir()
    for take in (0, 2, 3):
        soundfile.write(tmp_path / f"fsdd/1_jo_{take}.flac", 0.1 * rng.standard_normal(3000), 8000)
    script.sounds(tmp_path, tmp_path)
    (bank,) = load([str(tmp_path / "complex.bank.safetensors")])
    (held,) = load([str(tmp_path / "complex.held.safetensors")])
    assert bank.data.shape == (2, 2, 65, 32) and len(held) == 1 and front(bank.history).samples == 1984
    (log,) = load([str(tmp_path / "log.bank.safetensors")])
    assert log.data.shape == (2, 1, 65, 32) and abs(log.data.mean()) < 1e-4 and abs(log.data.std() - 1) < 1e-4
    power = np.log(np.maximum((bank.data**2).sum(1), 1e-6 * (bank.data**2).sum(1).mean())) / 2
    assert np.allclose(log.data[:, 0], (power - power.mean()) / power.std(), atol=1e-4)


def test_the_table_pairs_seeds_and_puts_another_run_beside_the_machines(script, tmp_path, capsys):
    shared = np.random.default_rng(0).standard_normal((10, 400))
    for run in "01":
        rows = [
            {"machine": which, "net_steps": steps, "seed": seed, "r": r + 0.01 * seed, "R^2": 0.1, "mse": 1.0}
            for which, r in (("both", 0.6), ("linear", 0.4))
            for steps in (20, 150)
            for seed in range(10)
        ]
        (tmp_path / f"complex-a-{run}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        np.savez(
            tmp_path / f"complex-a-{run}-samples.npz",
            **{f"network-{steps}-{seed}": shared[seed] + 1e-3 * int(run) for steps in (20, 150) for seed in range(10)},
        )
    script.table(tmp_path, tmp_path)
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert ["complex-a-0", "20", "both less linear", "0.200 [0.200, 0.200]"] in lines
    assert ["complex-a-1", "150", "another run", "10 seeds", "r 1.000 [1.000, 1.000]"] in lines
    assert next(line for line in lines if line[2] == "both")[4].startswith("r 0.645 [0.623")
    (over,) = (line for line in lines if line[:3] == ["complex-a", "20", "both"])
    assert over[3:5] == ["10 seeds", "r 0.645 (0.645 to 0.645)"] and over[-1] == "2 runs"


def test_a_machine_says_its_equivariance_behind_a_hyphen(script):
    assert script.machine("linear-time") == ("linear", "time") and script.machine("freq") == ("freq", "both")
