"""lem-train translate: it begins as ridge regression, learns what is not linear, and by what a reader makes of it; refusals."""

import math

import numpy as np
import pytest
import torch

from lemtools import encode, stream
from lemtools.align import linear
from lemtools.align.pairs import Paired
from lemtools.nets import model as kept
from lemtools.nets.lm import LM
from lemtools.signal import LemError, Signal
from lemtools.train.checkpoint import save_model
from lemtools.train.data import Batches
from lemtools.train.loop import train
from lemtools.train.prepare import prepare
from lemtools.train.settings import Settings

rng = np.random.default_rng(4)
SIZES = {"depth": 2, "width": 16, "heads": 2, "context": 12}


def asked(here, a, b, **more):
    for name, x in (("a", a), ("b", b)):
        np.save(here / f"{name}.npy", x)
    plain = {"steps": 3, "batch": 50, "device": "cpu", "workers": 0, "holdout": 10, **more}
    files = {"data": [str(here / "a.npy")], "onto": [str(here / "b.npy")], "output": str(here / "ab.safetensors")}
    return Settings("translate", **(files | plain))


def pairs(n=300):
    z = rng.standard_normal((n, 4))
    return (z @ rng.standard_normal((4, 6)) + 3).astype(np.float32), (2 * z @ rng.standard_normal((4, 5)) - 1).astype(
        np.float32
    )


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_it_begins_as_ridge_each_way_of_what_is_learnt_from_alone(tmp_path, depth):
    x, y = pairs()
    y += 0.3 * rng.standard_normal(y.shape).astype(np.float32)
    train(asked(tmp_path, x, y, steps=1, lr=1e-9, depth=depth, holdout=50))
    coder = encode.load(str(tmp_path / "ab.safetensors"))
    learnt = prepare(asked(tmp_path, x, y, depth=depth, holdout=50)).spec.items
    ridge = linear.ridge(Paired.of(learnt.data[np.arange(250)], learnt.label))
    assert not np.allclose(linear.ridge(Paired.of(x, y)).there, ridge.there)
    (out,), (back,) = coder.encode(Signal("embedding", x)), coder.decode(Signal("embedding", y), {})
    assert np.allclose(out.data, ridge.apply(x), atol=1e-4) and np.allclose(back.data, ridge.apply(y, True), atol=1e-4)
    assert coder.card()["count"] == 250


def test_what_is_not_linear_is_learnt(tmp_path):
    x = rng.standard_normal((1500, 3)).astype(np.float32)
    y = np.abs(x) @ rng.standard_normal((3, 4)).astype(np.float32) + 1
    train(asked(tmp_path, x[:1000], y[:1000], steps=400, lr=1e-2, width=32))
    (out,) = encode.load(str(tmp_path / "ab.safetensors")).encode(Signal("embedding", x[1000:]))
    ridge = linear.ridge(Paired.of(x[:1000], y[:1000])).apply(x[1000:])
    left = [np.sum((made - y[1000:]) ** 2) / np.sum((y[1000:] - y.mean(0)) ** 2) for made in (out.data, ridge)]
    assert left[0] < 0.1 < 0.9 < left[1]


def test_the_file_says_and_does_the_same_there_and_back(tmp_path):
    x, y = pairs(60)
    train(asked(tmp_path, x.reshape(20, 3, 6), y.reshape(20, 3, 5), width=8, holdout=6, batch=20))
    made = encode.load(str(tmp_path / "ab.safetensors"))
    made.save(str(tmp_path / "again"))
    again = encode.load(str(tmp_path / "again"))
    (one,), (other,) = (list(encode.encode([Signal("embedding", x)], coder)) for coder in (made, again))
    assert np.array_equal(one.data, other.data) and one.history[-1]["map"] == "mlp"
    (rows,) = made.encode(Signal("embedding", x.reshape(20, 3, 6)))
    assert np.allclose(rows.data.reshape(60, 5), one.data, atol=1e-6)
    (back,) = encode.decode([one], again)
    assert back.data.shape == x.shape


@pytest.fixture
def reader(tmp_path):
    torch.manual_seed(0)
    net = LM(vocabulary=256, **SIZES)
    torch.nn.init.normal_(net.head.weight, std=0.5)
    meta = {"v": 1, "recipe": "lm", "net": {"net": "lm", "vocabulary": 256, **SIZES}, "kind": "tokens", "item": [0]}
    save_model(
        kept.Model(net, meta | {"fragment": [], "target": {"kind": "tokens", "item": [0]}}),
        str(tmp_path / "lm.safetensors"),
    )
    own = net.hidden(torch.from_numpy(rng.integers(0, 256, (24, 12))), 1).detach().numpy()
    return net.eval(), own


def test_the_loss_of_a_reader_is_its_divergence(tmp_path, reader):
    net, own = reader
    theirs = (own @ np.linalg.qr(rng.standard_normal((16, 16)))[0] + 0.1 * rng.standard_normal(own.shape)).astype(
        np.float32
    )
    settings = asked(tmp_path, theirs, own, reader=str(tmp_path / "lm.safetensors"), reader_layer=1, holdout=4, batch=5)
    prepared = prepare(settings)
    batch = Batches(prepared.spec)[0]
    found = prepared.objective.measure(batch)
    x, y = batch["target"], batch["label"]
    with torch.no_grad():
        made = prepared.model.target_scale.decode(prepared.model.net.there(prepared.model.scale.encode(x)))
        p, q = (net.resume(h, 1).softmax(-1).double() for h in (y, made))
    wanted = (p * (p.log() - q.log())).sum(-1).mean(1)
    assert torch.allclose(found["there"].double(), wanted, rtol=1e-3) and wanted.min() > 0
    assert torch.allclose(found["loss"], found["there"] + found["back"])


def test_a_reader_is_read_better_than_by_squares_and_does_not_change(tmp_path, reader):
    net, own = reader
    before = (tmp_path / "lm.safetensors").read_bytes()
    theirs = np.abs(own[..., :10]).astype(np.float32)
    lost = {}
    for name, more in {"squares": {}, "reader": {"reader": str(tmp_path / "lm.safetensors")}}.items():
        train(
            asked(
                tmp_path,
                theirs,
                own,
                steps=60,
                lr=1e-2,
                depth=0,
                batch=8,
                holdout=4,
                output=str(tmp_path / f"{name}.safetensors"),
                **more,
            )
        )
        (made,) = encode.load(str(tmp_path / f"{name}.safetensors")).encode(Signal("embedding", theirs))
        with torch.no_grad():
            p, q = (net.resume(torch.from_numpy(h), 1).log_softmax(-1) for h in (own, made.data))
        lost[name] = float((p.exp() * (p - q)).sum(-1).mean()) / math.log(2)
    assert lost["reader"] < 0.9 * lost["squares"]
    assert (tmp_path / "lm.safetensors").read_bytes() == before


X, Y = pairs(40)
NAMES = [f"w{i}" for i in range(40)]


def named(path, x, names):
    with open(path, "wb") as file:
        stream.write([Signal("embedding", x, names=names)], file)
    return [str(path)]


@pytest.mark.parametrize("shape", [(40,), (8, 5)])
def test_items_pair_by_name(tmp_path, shape):
    """The other side in another order, and with other extensions, is learnt from as in the same order."""
    x, y = (side.reshape(*shape, -1) for side in (X, Y))
    names, order = NAMES[: shape[0]], rng.permutation(shape[0])
    files = {
        "data": named(tmp_path / "x.safetensors", x, names),
        "onto": named(tmp_path / "y.safetensors", y[order], [f"{names[i]}.txt" for i in order]),
    }
    made = prepare(asked(tmp_path, x, y, **files)).spec.items
    plain = prepare(asked(tmp_path, x, y)).spec.items
    for one, other in zip((made.data[np.arange(20)], made.label), (plain.data[np.arange(20)], plain.label)):
        assert np.array_equal(one, other)


def test_what_a_text_ends_with_is_learnt_from_by_position_and_not_read(tmp_path, reader):
    """Activations of a text whose last window is shorter: all positions are pairs; a reader reads the whole windows alone."""
    own = reader[1]
    theirs = np.ascontiguousarray(own[..., ::-1])
    files = {}
    for name, x in (("data", theirs), ("onto", own)):
        with open(path := tmp_path / f"{name}.safetensors", "wb") as file:
            stream.write([Signal("embedding", x[:23]), Signal("embedding", x[23:, :5])], file)
        files[name] = [str(path)]
    made = prepare(asked(tmp_path, X, Y, **files))
    assert made.note is None and len(made.spec.items) == 23 * 12 + 5 - 10
    read = prepare(asked(tmp_path, X, Y, **files, reader=str(tmp_path / "lm.safetensors"), reader_layer=1, holdout=3))
    assert read.note == "sequences of fewer than 12 positions are left out: 1" and len(read.spec.items) == 20
    assert np.array_equal(read.spec.items.data[np.arange(20)], read.spec.items.label[..., ::-1])


def test_names_of_one_side_alone_are_refused(tmp_path):
    for change, said in ({3: "w5"}, "two items of the name w5"), ({3: "x"}, "w3 is there alone"):
        names = [change.get(i, name) for i, name in enumerate(NAMES)]
        files = {
            "data": named(tmp_path / "x.safetensors", X, NAMES),
            "onto": named(tmp_path / "y.safetensors", Y, names),
        }
        with pytest.raises(LemError, match=said):
            prepare(asked(tmp_path, X, Y, **files))
    with pytest.raises(LemError, match="x.safetensors has names, .*b.npy has none"):
        prepare(asked(tmp_path, X, Y, data=files["data"]))


REFUSED = {
    "no target": ({"onto": []}, "what the data are paired with is --onto FILE"),
    "other count": ({"b": Y[:-1]}, "a.npy: more items than the other side's 39"),
    "other lengths": ({"a": X.reshape(8, 5, 6), "b": Y.reshape(8, 5, 5)[:, :4]}, "positions pair one to one"),
    "pictures": ({"a": np.zeros((4, 3, 8, 8), np.uint8)}, "a.npy: image; translate is fitted to whole embeddings"),
    "a zero": ({"a": X * (np.arange(40) != 3)[:, None]}, "vector 3 of .*a.npy is zero"),
    "too long": ({"b": Y.astype(np.float64) * 1e60}, "vector 0 of .*b.npy has a length beyond"),
    "the same": ({"b": np.ones_like(Y)}, "--onto: all vectors are the same"),
    "validate": ({"validate": ["v.npy"]}, "--validate is not for translate"),
    "all kept back": ({"holdout": 40}, "leaves nothing"),
    "a layer alone": ({"reader_layer": 1}, "--reader-layer is for --reader"),
    "rows for a reader": ({"reader": "lm.safetensors"}, "reads sequences"),
    "no such layer": ({"reader": "lm.safetensors", "reader_layer": 3}, "has 0 to 2"),
    "another network": ({"arch": "mlp"}, "is not for translate; there are adapter, latent"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path, reader, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    change, said = REFUSED[name]
    more = {key: value for key, value in change.items() if key not in ("a", "b")}
    with pytest.raises(LemError, match=said):
        prepare(asked(tmp_path, change.get("a", X), change.get("b", Y), **more))
    assert not (tmp_path / "ab.safetensors").exists()


def test_a_damaged_file_is_one_line(tmp_path):
    x, y = pairs(60)
    train(asked(tmp_path, x, y, width=8))
    coder = encode.load(path := str(tmp_path / "ab.safetensors"))
    for change in ({"net": {**coder.made_of["net"], "width": 9}}, {"net": {"net": "lm"}}, {"net": {}}):
        coder.made_of = {**coder.made_of, **change}
        coder.save(path)
        with pytest.raises(LemError, match="damaged record of translate"):
            encode.load(path)
    with pytest.raises(LemError, match="vectors of 5 numbers; this map translates from such of 6"):
        coder.encode(Signal("embedding", y))
    with torch.no_grad():
        coder.net.there.linear.weight.fill_(1e38)
    with pytest.raises(LemError, match="more than float32 holds"):
        coder.encode(Signal("embedding", x))
