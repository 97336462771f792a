"""Language models with thoughts: lem-train lm --thoughts."""

import json
import math
import shlex

import numpy as np
import pytest
import torch

from helpers.commands import lem, lem_fork
from helpers.training import dying, files, result
from lemtools.encode.patch_back import patch_back
from lemtools.media.describe import describe
from lemtools.nets.model import load
from lemtools.reconstruct.continuing import Continuer
from lemtools.signal import LemError, Signal
from lemtools.train import checkpoint
from lemtools.train.dry import dry_run
from lemtools.train.loop import train
from lemtools.train.prepare import prepare
from lemtools.train.settings import Settings

ARMS = [
    ("bptt:16", "normal"),
    ("bptt:5", "normal"),
    ("bptt:16", "shuffled"),
    ("bptt:16", "reset:8"),
    ("passes:2", "normal"),
    ("passes:2", "shuffled"),
    (None, "none"),
]
NAMED = pytest.mark.parametrize("by, carry", ARMS, ids=[f"{carry}-{by}" for by, carry in ARMS])


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A file of 2000 words, drawn alike."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("book") / "book.txt"
    words = ["what ", "is ", "gone ", "was ", "here ", "and ", "none ", "knew\n"]
    path.write_text("".join(words[i] for i in rng.integers(len(words), size=2000)))
    return path


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def run(folder, book, by="bptt:16", carry="normal", share=0.25, **more) -> Settings:
    """A small run on the CPU in `folder`: 12 steps, a checkpoint every 4, of width 16."""
    options = {"context": 16, "thoughts": share, "thoughts_by": by, "thoughts_carry": carry, **more.pop("options", {})}
    if not share:
        options = {"context": 16}
    plain = dict(steps=12, batch=2, save_every=4, holdout=3, width=16, depth=1, workers=0, device="cpu")
    names = {"data": [str(book)], "output": str(folder / "model.safetensors"), "log": str(folder / "log.jsonl")}
    return Settings("lm", **{**plain, **names, **more}, options=options)


@NAMED
def test_a_resumed_run_is_the_uninterrupted_one(by, carry, tmp_path, book):
    ends = []
    for name, dies in (("whole", 0), ("again", 0), ("cut", 5)):
        folder = tmp_path / name
        folder.mkdir()
        asked, lines = run(folder, book, by, carry), []
        if dies:
            dying(asked, dies)
        train(asked, lines.append)
        assert (lines[-1] == "going on from step 4") == bool(dies)
        ends.append((*result(folder), (folder / "model.state.safetensors").read_bytes()))
    assert ends[0] == ends[1] == ends[2]


@NAMED
def test_learns_and_the_log_has_what_the_model_measures(by, carry, tmp_path, book):
    asked = run(tmp_path, book, by, carry, steps=100, batch=8, lr=1e-2, ema=0.9, save_every=100)
    prepared = train(asked)
    (*_, last) = map(json.loads, open(asked.log))
    raw = np.frombuffer(book.read_bytes(), np.uint8)
    shares = np.unique(raw, return_counts=True)[1] / len(raw)
    assert last["held_out_bits_per_byte"] < 0.75 * -(shares * np.log2(shares)).sum()
    held, net = prepared.validation.items.data, load(asked.output).net
    with torch.no_grad():
        rate = net.rate(torch.from_numpy(np.stack([held[i] for i in range(len(held))])))
    assert float(rate.mean()) / math.log(2) == pytest.approx(last["held_out_bits_per_byte"], rel=1e-5)


def test_operations_in_closed_form(tmp_path, book):
    """K passes are K + 1 times those of one; the exact recurrence makes the products of one pass."""
    width, kept, hidden, places = 16, 8, 64, 16  # hidden: 8/3 of 16 in steps of 32
    blocks = 2 * places * (4 * width * width + 3 * width * hidden) + 4 * width * (places * (places + 1) // 2)
    for by, carry, passes in (("bptt:16", "normal", 1), ("passes:2", "normal", 3), (None, "none", 1)):
        prepared = prepare(run(tmp_path, book, by, carry, flops=1e9, steps=None))
        assert prepared.flops == 3 * (passes * blocks + 2 * places * kept * 256), by
        assert prepared.steps == round(1e9 / (2 * prepared.flops))
        asked = dry_run(run(tmp_path, book, by, carry))
        assert asked["flops_per_item"] == prepared.flops and asked["seconds_per_step"] > 0
        assert asked["parameters"] == sum(p.numel() for p in prepared.model.net.parameters())
    assert not files(tmp_path)


@NAMED
def test_whatever_takes_a_language_model_takes_it(by, carry, tmp_path, book):
    asked = run(tmp_path, book, by, carry, steps=4)
    train(asked)
    net, raw = load(asked.output).net, np.frombuffer(book.read_bytes(), np.uint8)
    recalled, _ = Continuer(asked.output, more=5, device="cpu")(Signal("tokens", raw[None, :20]))
    assert recalled.data.shape == (1, 25)
    same = type("Same", (), {"stages": 1, "dims": 16, "encode": lambda s, x: x, "decode": lambda s, c, stages=1: c})
    windows = raw[:34].reshape(2, 17).astype(np.int64)
    assert patch_back(net, 1, same(), windows)[-1]["change"] == pytest.approx(0, abs=1e-6)
    found = describe(asked.output)["thoughts"]
    assert found == {"thoughts": 0.25, "by": by, "carry": carry, "dims": 8}


def test_the_command_says_it(tmp_path, book):
    line = f"lm --data {book} --depth 1 --width 16 --context 16 --steps 2 --holdout 3 --device cpu -q"
    more = "--thoughts .5 --thoughts-carry reset:8 -o m.safetensors"
    done = lem_fork("train", *shlex.split(f"{line} {more}"), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = lem("info", tmp_path / "m.safetensors").stdout.decode()
    assert '\nthoughts\t{"thoughts": 0.5, "by": "bptt:64", "carry": "reset:8", "dims": 8}' in shown
    assert describe(str(tmp_path / "m.safetensors"))["embedding"]["bits"]["head"] == 32 * 256 * 8
    lem("encode", "-q", "--encoder", "activations", "--lm", tmp_path / "m.safetensors", "--layer", "1", "--flat", book)


def test_models_without_thoughts_are_as_they_were(tmp_path, book):
    asked = run(tmp_path, book, share=0)
    train(asked)
    assert describe(asked.output)["thoughts"] is None
    net = load(asked.output).net
    assert net.thoughts is None and net.head.weight.shape == (256, 16)
    assert not any("thoughts" in name for name in net.state_dict())


def test_another_way_is_not_the_run_that_was_begun(tmp_path, book):
    train(run(tmp_path, book, "passes:2", steps=4))
    with pytest.raises(LemError, match="its run has --thoughts-by passes:2, not passes:3"):
        train(run(tmp_path, book, "passes:3", steps=4))
    with pytest.raises(LemError, match="another network: thoughts_by passes:2, not bptt:16"):
        prepare(run(tmp_path, book, init=str(tmp_path / "model.safetensors")))


BAD = [
    ("--thoughts 1", "1.0 is not in the range 0<x<1"),
    ("--thoughts 0", "0.0 is not in the range 0<x<1"),
    ("--thoughts .9", "--thoughts 0.9: 16 of 16 dimensions leave none to the head; give less, or --width"),
    ("--thoughts .25 --thoughts-by passes", "--thoughts-by passes: it takes bptt:K, passes:K"),
    ("--thoughts .25 --thoughts-by bptt:0", "--thoughts-by bptt:0: a whole number from 1 on stands behind the colon"),
    ("--thoughts .25 --thoughts-carry off", "--thoughts-carry off: it takes normal, shuffled, reset:N, none"),
    ("--thoughts .25 --thoughts-carry none --thoughts-by bptt:3", "with --thoughts-carry none there are no thoughts"),
    ("--thoughts-by bptt:3", "--thoughts-by: of what? Give --thoughts SHARE"),
    ("--thoughts-carry none", "--thoughts-carry: of what? Give --thoughts SHARE"),
    ("--thoughts .25 --thoughts-carry shuffled --batch 1", "shuffled --batch 1: among which items? Two at least"),
    ("--thoughts .25 --thoughts-carry shuffled --holdout 1", "shuffled --holdout 1: among which items? Two at least"),
    ("--thoughts .25 --arch gru-lm", "--thoughts is for --arch lm, not gru-lm"),
    ("--thoughts-carry none --arch delta-lm", "--thoughts-carry is for --arch lm, not delta-lm"),
    ("--set thoughts=x", "--set thoughts=x: it takes a number"),
    ("--set thoughts_by=[3] --thoughts .25", "--thoughts-by [3]: it takes bptt:K, passes:K"),
]


@pytest.mark.parametrize("line, says", BAD)
def test_refused_in_one_line_before_anything_is_written(line, says, tmp_path, book):
    start = f"lm --data {book} --depth 1 --context 16 --width 16 --device cpu -q -o m.safetensors"
    done = lem_fork("train", *shlex.split(f"{start} {line}"), cwd=tmp_path)
    errors = done.stderr.decode().splitlines()
    assert done.returncode == 2 and len(errors) == 1 and says in errors[0] and "a defect" not in errors[0], errors
    assert not files(tmp_path)


def test_damaged_records_are_refused(tmp_path, book):
    asked = run(tmp_path, book, steps=4)
    train(asked)
    model, path = load(asked.output), str(tmp_path / "d.safetensors")
    for change in (
        {"thoughts": "x"},
        {"thoughts": 0.99},
        {"thoughts": 1e300},
        {"thoughts": 0},
        {"thoughts_by": None},
        {"thoughts_by": [1]},
        {"thoughts_carry": "reset"},
    ):
        meta = model.meta | {"net": model.meta["net"] | change}
        checkpoint.save_model(type(model)(model.net, meta, model.scale, model.target_scale), path)
        with pytest.raises(LemError, match=r"d\.safetensors: "):
            load(path)
        describe(path)


@pytest.mark.parametrize("by", ["bptt:8", "passes:7"])
def test_a_task_is_learnt_from_symbols_that_stand_anywhere(by, tmp_path):
    """Parity, which the exact form and as many passes as there are symbols learn in a moment; and with a second head."""
    options = {"context": 16, "thoughts": 0.25, "thoughts_by": by}
    more = dict(longest=8, steps=200, batch=32, width=32, depth=1, lr=4e-3, ema=0.9, save_every=200, holdout=64)
    names = {"data": ["task:parity"], "output": str(tmp_path / "m.safetensors"), "log": str(tmp_path / "log.jsonl")}
    train(Settings("lm", **names, **more, workers=0, device="cpu", options=options))
    (*_, last) = map(json.loads, open(names["log"]))
    assert last["held_out_right"] > 0.98, last
    names["output"] = str(tmp_path / "two.safetensors")
    more |= {"steps": 2, "asked": "end", "states": True}
    assert (
        train(Settings("lm", **names, **more, workers=0, device="cpu", options=options)).objective.second.in_features
        == 24
    )
