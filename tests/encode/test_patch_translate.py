"""lem-encode --patch-back --translate: B's loss with A's activations, translated; its controls by definition; refusals."""

import json
import math
import os

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.commands import lem_fork
from lemtools import encode
from lemtools.encode.patch_translate import PUT, patch_translated
from lemtools.media import load
from lemtools.nets import model as kept
from lemtools.nets.lm import LM
from lemtools.signal import Signal
from lemtools.train.checkpoint import save_model

TEXT = (b"what is gone was here and none knew " * 40)[:1300]
SIZES = {"depth": 2, "width": 16, "heads": 2, "context": 12}


def saved(net, path, vocabulary=256, **sizes):
    record = {"net": "lm", "vocabulary": vocabulary, **SIZES, **sizes}
    meta = {"v": 1, "recipe": "lm", "net": record, "kind": "tokens", "item": [0], "fragment": []}
    save_model(kept.Model(net, meta | {"target": {"kind": "tokens", "item": [0]}}), str(path))
    return net


def lm(seed, **sizes):
    torch.manual_seed(seed)
    net = LM(**{"vocabulary": 256, **SIZES, **sizes})
    torch.nn.init.normal_(net.head.weight, std=0.5)
    return net.eval()


@torch.no_grad()
def turned(net, turn):
    """The same model, all that its stream holds turned: RMSNorm of unit weights does not notice."""
    other = LM(vocabulary=256, **SIZES)
    other.load_state_dict(net.state_dict())
    for block in other.trunk.blocks:
        for reads in (block.qkv, block.gate_up):
            reads.weight.copy_(reads.weight @ turn)
        for writes in (block.out, block.down):
            writes.weight.copy_(turn.T @ writes.weight)
    other.head.weight.copy_(other.head.weight @ turn)
    table = next(p for name, p in other.enter.named_parameters() if p.shape == (256, 16))
    table.copy_(table @ turn)
    return other.eval()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    here = tmp_path_factory.mktemp("patch")
    turn = torch.linalg.qr(torch.from_numpy(np.random.default_rng(3).standard_normal((16, 16)))).Q.float()
    a = saved(lm(1), here / "a.safetensors")
    saved(turned(a, turn), here / "b.safetensors")
    saved(lm(2, width=24), here / "wide.safetensors", width=24)
    saved(lm(2, vocabulary=300), here / "tokens.safetensors", vocabulary=300)
    (here / "held.txt").write_bytes(TEXT)
    (here / "short.txt").write_bytes(b"none")
    for name in "a", "b", "wide":
        run(here, f"--encoder activations --lm {name}.safetensors --layer 1 held.txt -o {name}h.safetensors --flat")
    for name, others in {"ab": ("b", "a"), "wb": ("b", "wide"), "bw": ("wide", "b")}.items():
        onto, of = others
        line = f"--encoder translate --fit --map procrustes --onto {onto}h.safetensors {of}h.safetensors -o {name}.safetensors"
        run(here, line)
    run(here, "--encoder pca --fit --dims 3 ah.safetensors -o pca.safetensors")
    run(here, "--encoder translate --fit --common 4 ah.safetensors bh.safetensors -o hub.safetensors")
    return here


def run(here, line):
    done = lem_fork("encode", *line.split(), cwd=here)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    return done.stdout.decode()


LINE = "--patch-back --translate ab.safetensors --lm b.safetensors --from-lm a.safetensors --layer 1"


def test_a_turned_copy_of_a_model_reads_the_turned_activations_as_its_own(bench):
    rows = {row["put"]: row for row in map(json.loads, run(bench, f"{LINE} --json held.txt").splitlines())}
    assert tuple(rows) == PUT and set(rows["own"]) == {"put", "nmse", "loss", "change", "interval"}
    assert abs(rows["translated"]["change"]) < 1e-4 and rows["translated"]["nmse"] < 1e-6
    assert rows["own"]["change"] == 0 and rows["mean"]["nmse"] == pytest.approx(1)
    assert min(rows[name]["nmse"] for name in ("identity", "shuffled")) > 0.9
    assert all(abs(rows[name]["change"]) > 1e-2 for name in ("mean", "identity", "shuffled"))


@pytest.mark.parametrize("pair", [("a", "b", "ab"), ("wide", "b", "wb"), ("b", "wide", "bw")])
def test_every_row_is_its_definition(bench, pair):
    first, second, name = pair
    coder = encode.load(str(bench / f"{name}.safetensors"))
    files = {"lm": str(bench / f"{second}.safetensors"), "from_lm": str(bench / f"{first}.safetensors")}
    (text,) = load([str(bench / "held.txt")])
    rows = {row["put"]: row for row in patch_translated([text], coder, **files, layer=1, window=10, batch=7, seed=5)}
    a, b = (kept.load(files[key], "cpu").net for key in ("from_lm", "lm"))
    ids = torch.from_numpy(np.frombuffer(TEXT, np.uint8).astype(np.int64)[: len(TEXT) // 11 * 11].reshape(-1, 11))
    with torch.no_grad():
        own, theirs = b.hidden(ids[:, :-1], 1), a.hidden(ids[:, :-1], 1)
        width = own.shape[-1]
        made = torch.from_numpy(coder.found.apply(theirs.reshape(-1, theirs.shape[-1]).numpy())).reshape(own.shape)
        mean = own.double().mean((0, 1)).float().expand_as(own)
        cut = torch.zeros_like(own)
        cut[..., : min(width, theirs.shape[-1])] = theirs[..., :width]
        for name, x in {"own": own, "translated": made, "mean": mean, "identity": cut}.items():
            nats = F.cross_entropy(b.resume(x, 1).transpose(1, 2), ids[:, 1:], reduction="none")
            assert rows[name]["loss"] == pytest.approx(float(nats.mean()) / math.log(2), rel=1e-5)
            wanted = float(((x - own).double() ** 2).sum() / ((own - mean).double() ** 2).sum())
            assert rows[name]["nmse"] == pytest.approx(wanted, rel=1e-4, abs=1e-9)
    assert rows["translated"]["nmse"] < rows["mean"]["nmse"] + 1e-6 < rows["shuffled"]["nmse"]


def test_the_interval_is_that_of_the_windows(bench):
    coder = encode.load(str(bench / "wb.safetensors"))
    files = {"lm": str(bench / "b.safetensors"), "from_lm": str(bench / "wide.safetensors")}
    one = [
        Signal("tokens", np.frombuffer(TEXT[i : i + 11], np.uint8)[None].astype(np.int64)) for i in range(0, 330, 11)
    ]
    changes = []
    for signal in one:
        rows = patch_translated([signal], coder, **files, layer=1, window=10)
        assert rows[1]["interval"] is None
        changes.append(rows[1]["change"])
    whole = patch_translated(one, coder, **files, layer=1, window=10)[1]
    assert whole["change"] == pytest.approx(np.mean(changes), rel=1e-4)
    assert whole["interval"] == pytest.approx(2.045 * np.std(changes, ddof=1) / np.sqrt(30), rel=1e-3)


def test_the_batch_makes_no_difference_but_to_what_is_shuffled(bench):
    coder = encode.load(str(bench / "ab.safetensors"))
    files = {"lm": str(bench / "b.safetensors"), "from_lm": str(bench / "a.safetensors")}
    (text,) = load([str(bench / "held.txt")])
    found = [patch_translated([text], coder, **files, layer=1, batch=size) for size in (1, 64)]
    for one, other in zip(*found, strict=True):
        assert one["put"] == "shuffled" or one["loss"] == pytest.approx(other["loss"], rel=1e-5)


REFUSED = {
    "--patch-back --translate ab.safetensors --lm b.safetensors --layer 1 held.txt": "--patch-back and --from-lm",
    "--translate ab.safetensors --from-lm a.safetensors --encoder minilm held.txt": "--patch-back and --from-lm",
    "--patch-back --model pca.safetensors --from-lm a.safetensors held.txt": "--from-lm is for --translate",
    "--encoder patches --from-layer 1 held.txt": "--from-layer is for --translate",
    f"{LINE} --model ab.safetensors held.txt": "leave out --model",
    f"{LINE} --flat held.txt": "no --hf and no --flat",
    "--patch-back --translate ab.safetensors --from-lm a.safetensors --layer 1 held.txt": "--lm B --layer K",
    "--patch-back --translate ab.safetensors --from-lm a.safetensors --lm b.safetensors held.txt": "--lm B --layer K",
    "--patch-back --translate pca.safetensors --lm b.safetensors --from-lm a.safetensors --layer 1 held.txt": "takes a map; pca.safetensors was fitted for pca",
    "--patch-back --translate hub.safetensors --lm b.safetensors --from-lm a.safetensors --layer 1 held.txt": "takes a map of two spaces, from --fit --onto; this is a hub",
    "--patch-back --translate bw.safetensors --lm b.safetensors --from-lm a.safetensors --layer 1 held.txt": "into vectors of 24 numbers; those of b.safetensors have 16",
    "--patch-back --translate wb.safetensors --lm b.safetensors --from-lm a.safetensors --layer 1 held.txt": "vectors of 16 numbers; this map translates from such of 24",
    "--patch-back --translate ab.safetensors --lm b.safetensors --from-lm tokens.safetensors --layer 1 held.txt": "tokens.safetensors knows 300 tokens and b.safetensors 256",
    f"{LINE} --from-layer 3 held.txt": "--layer 3: a.safetensors has 2 blocks",
    f"{LINE} short.txt": "no text has 13 tokens",
    f"{LINE} ah.safetensors": "whole texts or tokens, not embedding",
    f"{LINE} held.txt -o x.safetensors": "leave out --fit, --decode, -o",
}  # fmt: skip


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_is_one_line(bench, line):
    before = set(os.listdir(bench))
    done = lem_fork("encode", *line.split(), cwd=bench)
    said = done.stderr.decode()
    assert done.returncode == 2 and done.stdout == b"" and set(os.listdir(bench)) == before, said
    assert said.count("\n") == 1 and said.startswith("lem-encode: error: ") and REFUSED[line] in said, said
