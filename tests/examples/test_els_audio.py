"""The stages of examples/els_audio.py that need no training: its sounds, and its table, over numbers that are known."""

import importlib.util
import json
import os
import subprocess
import sys
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


def run(*words, **more):
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, words)], env=os.environ | more, capture_output=True, text=True, check=False
    )


def test_sounds_of_one_name_in_several_folders_stay_apart_and_what_is_done_to_them_is_said(script, tmp_path):
    for k in range(6):
        folder = tmp_path / "mine" / "abcdef"[k]
        folder.mkdir(parents=True)
        soundfile.write(folder / "x.wav", 0.1 * np.sin(np.arange(2000) * 0.1 * (k + 1)), 8000)
    for _ in range(2):  # the second run finds the WAVs of the first in OUT, which lies in DATA
        done = run("sounds", tmp_path / "mine", tmp_path / "mine/out", SET="folder", REPS="complex", SIZE="")
        assert done.returncode == 0, done.stderr
        (bank,) = load([str(tmp_path / "mine/out/complex.bank.safetensors")])
        assert len(bank) == 4 and len(np.unique(bank.data.reshape(4, -1), axis=0)) == 4
    soundfile.write(tmp_path / "mine/a/y.wav", np.ones(22050), 22050)
    done = run("sounds", tmp_path / "mine", tmp_path / "mine/out", SET="folder", REPS="complex", SIZE="")
    assert "bank-middles: 4 of 5 sounds are shorter than 0.998 s" in done.stderr and "22050 Hz" in done.stderr


def test_silent_sounds_are_left_out_where_all_are_brought_to_one_loudness(tmp_path):
    (tmp_path / "mine").mkdir()
    for k in range(7):
        sound = 0.1 * np.sin(np.arange(60000) * 0.01 * (k + 1)) * (k not in (1, 5))
        soundfile.write(tmp_path / f"mine/{k}.wav", sound, 44100)
    done = run("sounds", tmp_path / "mine", tmp_path / "out", SET="folder", REPS="complex", SIZE="els-audio")
    assert done.returncode == 0, done.stderr
    assert "bank-middles: 1 of 5 sounds are silent and left out" in done.stderr
    assert "held-middles: 1 of 2 sounds are silent and left out" in done.stderr
    (bank,) = load([str(tmp_path / "out/complex.bank.safetensors")])
    assert len(bank) == 4


@pytest.mark.parametrize(
    "stage, more, said",
    [
        ("tables", {}, "stage tables is none of sounds train"),
        ("sounds", {"SET": "fsd"}, "SET fsd is none of fsdd esc10 folder"),
        ("sounds", {"REPS": "logg"}, "REPS logg is none of complex root log morlet"),
        ("train", {"NETS": "z"}, "NETS z is none of a b c d w"),
        ("sizes", {"MACHINES": "boot"}, "MACHINES boot is none of both time"),
        ("sizes", {"NETS": "a"}, "complex.bank.safetensors: no such file; an earlier stage makes it"),
        ("table", {"NETS": "a"}, "nothing is compared there; run the stages before table"),
        ("sounds", {"SET": "folder"}, "bad.wav: WAV cut short"),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, stage, more, said):
    for name in ("a.wav", "bad.wav"):
        (tmp_path / name).write_bytes(b"RIFF\x10\0\0\0WAVEfmt ")
    soundfile.write(tmp_path / "a.wav", np.zeros(3000), 8000)
    done = run(stage, tmp_path, tmp_path / "out", **more)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and said in done.stderr, done.stderr
