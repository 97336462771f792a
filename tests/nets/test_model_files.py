"""Files of models that do not agree with themselves: told before a network of that size is built."""

import json
import time
import tracemalloc

import numpy as np
import pytest
import torch

from lemtools.nets import build
from lemtools.nets.model import HUGE, TRUSTED, Model, bounded, load
from lemtools.signal import LemError
from lemtools.stream.files import LEM, load_tensors, save_tensors

NETS = {
    "flat": ("image", [1, 8, 8], dict(channels=1, width=8, blocks=1)),
    "conv": ("image", [1, 8, 8], dict(channels=1, widths=[8, 8], blocks=[1, 1, 1], shuffle=1)),
    "gru": ("image", [1, 8, 8], dict(item=[1, 8, 8], width=8, steps=2)),
    "mlp": ("embedding", [8], dict(item=[8], width=8, depth=1)),
    "mlp-denoiser": ("embedding", [8], dict(item=[8], width=8, depth=1, conditioned=True)),
    "conv-step": ("field", [1, 8], dict(channels=1, width=8, blocks=1, side=3, axes=1)),
    "mlp-step": ("field", [1, 8], dict(item=[1, 8], width=8, depth=1)),
    "frames": ("tokens", [6], dict(vocabulary=8, places=6, depth=1, width=8, heads=1)),
    "lm": ("tokens", [9], dict(vocabulary=8, depth=1, width=8, heads=1, context=8)),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, (kind, item, arguments) in NETS.items():
        meta = {"v": 1, "net": {"net": name, **arguments}, "kind": kind, "item": item, "fragment": []}
        meta |= {"target": {"kind": kind, "item": item}}
        model = Model(build(meta["net"]), meta)
        save_tensors(str(folder / name), model.tensors(), {LEM: meta})
    return folder


LIES = {
    ("flat", "blocks"): (lambda m, t: m["net"].update(blocks=10**9), HUGE),
    ("flat", "width"): (lambda m, t: m["net"].update(width=10**9), HUGE),
    ("flat", "wide"): (lambda m, t: m["net"].update(width=4000), HUGE),
    ("flat", "text"): (lambda m, t: m["net"].update(blocks="1"), "blocks is 1"),
    ("flat", "dilations"): (lambda m, t: m["net"].update(dilations=[10**7]), "of 1 to 1024 pixels"),
    ("conv", "widths"): (lambda m, t: m["net"].update(widths=[10**6, 8]), HUGE),
    ("conv", "blocks"): (lambda m, t: m["net"].update(blocks=[1, 10**8, 1]), HUGE),
    ("conv", "details"): (lambda m, t: m["net"].update(details=[10**7, 3, 3]), "of 1 to 1024 pixels"),
    ("gru", "steps"): (lambda m, t: m["net"].update(steps=10**9), "steps is 1000000000"),
    ("mlp", "depth"): (lambda m, t: m["net"].update(depth=10**9), HUGE),
    ("mlp", "item"): (lambda m, t: m["net"].update(item=[10**6]), "a network that makes"),
    ("frames", "vocabulary"): (lambda m, t: m["net"].update(vocabulary=10**8), HUGE),
    ("frames", "context"): (lambda m, t: m["net"].update(context=10**8), HUGE),
    ("frames", "places"): (lambda m, t: m["net"].update(places=7), "a network that makes"),
    ("frames", "no places"): (lambda m, t: m["net"].pop("places"), "places"),
    ("frames", "target"): (lambda m, t: m["target"].update(item=[7]), "a network that makes"),
    ("lm", "vocabulary"): (lambda m, t: m["net"].update(vocabulary=10**8), HUGE),
    ("lm", "context"): (lambda m, t: m["net"].update(context=10**8), HUGE),
    ("lm", "depth"): (lambda m, t: m["net"].update(depth=10**8), HUGE),
    ("mlp-denoiser", "conditioned"): (lambda m, t: m["net"].update(conditioned="x"), "conditioned is 'x'"),
    ("flat", "axes"): (lambda m, t: m["net"].update(axes=1), "a network of 1 spatial axes"),
    ("conv-step", "axes"): (lambda m, t: m["net"].pop("axes"), "a network of 2 spatial axes"),
    ("conv-step", "side"): (lambda m, t: m["net"].update(side=10**9), "side is 1000000000"),
    ("conv-step", "blocks"): (lambda m, t: m["net"].update(blocks=10**9), HUGE),
    ("conv-step", "target"): (lambda m, t: m["target"].update(item=[1, 9]), "a network that makes"),
    ("mlp-step", "item"): (lambda m, t: m["net"].update(item=[1, 9]), "a network that makes"),
    ("flat", "unknown argument"): (lambda m, t: m["net"].update(moon=1), "unexpected keyword argument 'moon'"),
    ("flat", "item"): (lambda m, t: m.update(item=[3, 8, 8]), "a network that makes"),
    ("flat", "target"): (lambda m, t: m["target"].update(item=[3, 8, 8]), "a network that makes"),
    ("flat", "kind"): (lambda m, t: m.update(kind="smell"), "its record's kind is 'smell'"),
    ("conv", "kind"): (lambda m, t: m.update(kind="spectrum"), "conv is a network for image, not spectrum"),
    ("lm", "kind"): (lambda m, t: m.update(kind="embedding"), "lm is a network for tokens, not embedding"),
    ("flat", "no fragment"): (lambda m, t: m.pop("fragment"), "its record has no 'fragment'"),
    ("flat", "net"): (lambda m, t: m.update(net=[]), "not a model of lem-train|damaged"),
    ("flat", "missing"): (lambda m, t: t.pop("leave.bias"), "no tensor leave.bias"),
    ("flat", "type"): (lambda m, t: t.update({"leave.bias": t["leave.bias"].view(np.int32)}), "leave.bias is I32"),
    ("flat", "shape"): (lambda m, t: t.update({"leave.bias": np.zeros(2, np.float32)}), "leave.bias has the shape [2]"),
    ("flat", "gain 0"): (lambda m, t: t.update({"scale.gain": np.zeros((), np.float32)}), "damaged (scale)"),
    ("flat", "gain"): (lambda m, t: t.update({"scale.gain": np.ones(3, np.float32)}), "damaged (scale)"),
}


@pytest.mark.parametrize("file, lie", LIES)
def test_lies(made, tmp_path, file, lie):
    meta, tensors = load_tensors(str(made / file), LEM, "a model")
    tensors = {name: np.array(tensor) for name, tensor in tensors.items()}
    change, said = LIES[file, lie]
    change(meta, tensors)
    path = str(tmp_path / "x.safetensors")
    save_tensors(path, tensors, {LEM: json.dumps(meta)})
    begun = time.process_time()
    tracemalloc.start()
    with pytest.raises(LemError) as caught:
        load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert any(words in str(caught.value) for words in said.split("|")), str(caught.value)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert peak < 1 << 24 and time.process_time() - begun < 5


def test_the_files_themselves_are_read(made):
    for name, (kind, item, _) in NETS.items():
        model = load(str(made / name))
        assert (model.meta["kind"], model.meta["item"]) == (kind, item)


def test_what_is_counted_is_counted_no_more():
    with pytest.raises(LemError, match=HUGE):
        bounded({"net": "mlp", "item": [8], "width": 9000, "depth": 1}, {})
    assert sum(p.numel() for p in torch.nn.Linear(5000, 5000).parameters()) > TRUSTED
