"""The experiments of examples/ about lem-els: what is made again and what is not, and on which GPUs."""

import importlib
import os
import subprocess
import sys

import numpy as np
import pytest

from helpers.paths import EXAMPLES


@pytest.fixture
def table(monkeypatch, tmp_path):
    """els_table.py for two sets, its commands only noted: (module, data, out, commands)."""
    monkeypatch.syspath_prepend(EXAMPLES)
    for key, value in {"SETS": "mnist", "IMAGES": "5", "SEEDS": "0-3"}.items():
        monkeypatch.setenv(key, value)
    sys.modules.pop("els_table", None)
    module, done, out = importlib.import_module("els_table"), [], tmp_path / "out"
    out.mkdir()
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    head = b"\0\0\x08\3" + b"".join(n.to_bytes(4, "big") for n in (7, 28, 28))
    import gzip

    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + bytes(7 * 28 * 28)))

    def command(*words, **more):
        done.append([getattr(w, "name", str(w)) for w in words])
        words[-1].write_text(f"{module.IMAGES} {len(done)}" if "--prepare" in words else "5\n" * 20)
        return subprocess.CompletedProcess(words, 0, b"{}\n")

    monkeypatch.setattr(module, "command", command)
    return module, tmp_path / "data", out, done


def test_what_other_settings_made_is_made_again(table, monkeypatch):
    module, data, out, done = table
    names = module.networks()
    for name in names:
        (out / f"{name}.safetensors").write_text(name)

    def stages() -> list[str]:
        done.clear()
        for stage in (module.banks, module.scales, module.compare):
            stage(data, out)
        return [next(w for w in words if w in ("--prepare", "--calibrate", "--against")) for words in done]

    every = ["--calibrate"] * len(names) + ["--against"] * len(names)
    assert len(names) == 3 and stages() == ["--prepare", *every] and stages() == []
    monkeypatch.setattr(module, "SEEDS", "0-9")
    assert stages() == ["--against"] * 3 and stages() == []
    (out / f"{names[0]}.safetensors").write_text("trained further")
    assert stages() == ["--calibrate", "--against"]
    monkeypatch.setattr(module, "IMAGES", 6)
    assert stages() == ["--prepare", *every] and stages() == []
    (out / f"{names[1]}-scales.txt.made").unlink()  # broken off, or of before
    assert stages() == ["--calibrate"]
    assert done[0][done[0].index("--machine") + 1] == "els" and names[1].endswith("circular")


@pytest.mark.parametrize("visible, found", [(None, ["0", "1"]), ("3, GPU-7f", ["3", "GPU-7f"]), ("", [])])
def test_only_the_gpus_that_the_user_made_visible(table, monkeypatch, visible, found):
    import torch

    module, _data, _out, _ = table
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 if visible != "" else 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: visible != "")
    assert module.gpus() == found
    used = set()
    module.on_every_gpu(lambda name, more: used.add(more.get("env", {}).get("CUDA_VISIBLE_DEVICES")))
    assert used <= ({*found} or {None}) and used


def test_the_script_makes_again_what_other_settings_made(tmp_path):
    tools, log, out = tmp_path / "bin", tmp_path / "log", tmp_path / "out"
    tools.mkdir()
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"digits")
    for name, body in (
        ("python", "cat > /dev/null"),
        ("lem-train", 'for last; do :; done; [ -f "$last" ] || echo weights > "$last"'),
        ("lem-els", f'echo "$*" >> {log}; for last; do :; done; case $* in *-o*) echo "7 $*" > "$last";; esac'),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)

    def made(**settings) -> list[str]:
        log.write_text("")
        environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "LEM_DATA": str(tmp_path)} | settings
        subprocess.run(["bash", EXAMPLES / "els-images.sh", out], env=environment, check=True, capture_output=True)
        return [job for line in log.read_text().splitlines() for job in ("--prepare", "--calibrate") if job in line]

    assert made() == ["--prepare", "--calibrate"] and made() == []
    assert made(TRIES="2000") == ["--calibrate"] and made(TRIES="2000") == []
    assert made(TRIES="2000", BANK="300", SIZE="8") == ["--prepare", "--calibrate"]
    (out / "toy.safetensors").write_text("other weights")
    assert made(TRIES="2000", BANK="300", SIZE="8") == ["--calibrate"]


def test_the_network_of_the_example_draws_what_its_machine_predicts():
    from lemtools.dreams.resources import Resources
    from lemtools.dreams.study import Study
    from lemtools.els import prepare, scales

    folder = EXAMPLES / "fashion"
    sizes = scales.parse_sizes(str(folder / "scales.txt"), 20)
    study = Study(prepare.bank([str(folder / "bank.safetensors")]), sizes, label="each", resources=Resources())
    (found,) = study.against(["bbels", "is"], str(folder / "resnet.safetensors"), [1], (20,))
    drawn = found.network[20].flatten()
    r = {name: float(np.corrcoef(x.flatten(), drawn)[0, 1]) for name, x in found.machines.items()}
    assert r["bbels"] > 0.75 > r["is"], r
