"""Files of fitted encoders that do not agree with themselves: one line, and nothing is made of them."""

import json
import re

import numpy as np
import pytest

from lemtools import encode
from lemtools.signal import LemError, Signal
from lemtools.stream.files import ENCODER, LEM, load_tensors, save_tensors

RNG = np.random.default_rng(3)
VECTORS = RNG.standard_normal((40, 6)).astype(np.float32)
FITS = {
    "pca": ("pca", {"dims": 3}),
    "white": ("pca", {"dims": 3, "whiten": True}),
    "rvq": ("rvq", {"stages": 2, "codes": 4, "updates": 1}),
    "turn": ("translate", {"map": "procrustes", "onto": lambda: [Signal("embedding", VECTORS[:, ::-1])]}),
    "near": ("translate", {"map": "relative", "onto": lambda: [Signal("embedding", VECTORS[:, :4])]}),
    "gain": ("rvq", {"stages": 1, "codes": 4, "groups": 2, "gain_shape": True, "updates": 1}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    for name, (kind, settings) in FITS.items():
        encode.fit(kind, lambda: [Signal("embedding", VECTORS)], **settings)[0].save(str(folder / name))
    return folder


# file: (what becomes of record and tensors, what is said)
LIES = {
    ("rvq", "mean of integers"): (lambda r, t: t.update(mean=t["mean"].view(np.int32)), "mean is I32, not F32"),
    ("rvq", "codes"): (lambda r, t: r.update(codes=5), "codebooks.0 has the shape [2, 4, "),
    ("rvq", "stages"): (lambda r, t: r.update(stages=1), "codebooks.0 has the shape [2, 4, "),
    ("rvq", "groups"): (lambda r, t: r.update(groups=10**9), "no tensor codebooks.1"),
    ("rvq", "groups text"): (lambda r, t: r.update(groups="1"), "its record's groups is '1'"),
    ("rvq", "beam"): (lambda r, t: r.update(beam=0), "its record's beam is '0'"),
    ("rvq", "energy"): (lambda r, t: r.update(energy=float("nan")), "its record's energy is 'nan'"),
    ("rvq", "no seed"): (lambda r, t: r.pop("seed"), "its record has no 'seed'"),
    ("rvq", "scale 0"): (lambda r, t: t["scale"].fill(0), "values of scale from 0.0 to 0.0"),
    ("rvq", "basis"): (lambda r, t: t.update(basis=t["basis"][:, 1:]), "basis has the shape"),
    ("rvq", "ranks"): (
        lambda r, t: t.update({k: t[k][1:] for k in ("basis", "scale", "variance")}),
        "do not fit together",
    ),
    ("gain", "no gains"): (lambda r, t: t.update(gains=t["gains"][:0]), "do not fit together"),
    ("gain", "infinite"): (lambda r, t: t["gains"].fill(np.inf), "NaN or infinite values in gains"),
    ("pca", "kind"): (lambda r, t: r.update(kind="audio"), "its record's kind is 'audio'"),
    ("pca", "item"): (lambda r, t: r.update(item=[7]), "items of [7], vectors of 6"),
    ("pca", "image"): (lambda r, t: r.update(kind="image"), "items of [6], vectors of 6"),
    ("pca", "mean"): (lambda r, t: t.update(mean=t["mean"][:-1]), "components has the shape [3, 6], not [K D]"),
    ("white", "no variance"): (lambda r, t: t["spectrum"].fill(0), "3 components of 6"),
    ("turn", "back"): (lambda r, t: t.update(back=t["back"][1:]), "back has the shape [5, 6], not [E D]"),
    ("turn", "there"): (lambda r, t: t.pop("there"), "no tensor there"),
    ("turn", "infinite"): (lambda r, t: t["there"].fill(np.inf), "NaN or infinite values in there"),
    ("turn", "count"): (lambda r, t: r.update(count=-1), "its record's count is '-1'"),
    ("near", "anchors"): (lambda r, t: t.update(anchors_b=t["anchors_b"][1:]), "anchors_b has the shape [39, 4]"),
    ("near", "sharp"): (lambda r, t: r.update(sharp_there=-1.0), "its record's sharp_there is '-1.0'"),
    ("near", "no sharp"): (lambda r, t: r.pop("sharp_back"), "its record has no 'sharp_back'"),
    ("pca", "another encoder"): (lambda r, t: r.update(encoder="voice"), "made by a newer lemtools"),
    ("pca", "no name"): (lambda r, t: r.update(encoder=["pca"]), "made by a newer lemtools"),
    ("pca", "version"): (lambda r, t: r.update(v=2), "made by a newer lemtools (version 2"),
    ("pca", "token-ae"): (lambda r, t: r.update(encoder="token-ae"), "no network of a token autoencoder"),
}


@pytest.mark.parametrize("file, lie", LIES)
def test_lies(made, tmp_path, file, lie):
    record, tensors = load_tensors(str(made / file), ENCODER, "an encoder")
    tensors = {name: np.array(tensor) for name, tensor in tensors.items()}
    change, said = LIES[file, lie]
    change(record, tensors)
    path = str(tmp_path / "x.enc")
    save_tensors(path, tensors, {ENCODER: json.dumps(record)})
    with pytest.raises(LemError) as caught:
        encode.load(path)
    assert str(caught.value).startswith(f"{path}: ") and said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"v":1,', '{"v":1,"v":1}', "[1]", "[" * 9000, ""])
def test_a_record_that_is_none(tmp_path, text):
    path = str(tmp_path / "x.enc")
    save_tensors(path, {"mean": np.zeros(3, np.float32)}, {ENCODER: text})
    with pytest.raises(LemError, match=r"x\.enc: not a fitted encoder"):
        encode.load(path)


def test_a_model_is_no_encoder(tmp_path):
    path = str(tmp_path / "m.safetensors")
    save_tensors(path, {"mean": np.zeros(3, np.float32)}, {LEM: {"recipe": "lm"}})
    said = "not a fitted encoder (of lem-encode --fit) but a model of lem-train lm; lem-encode --encoder thoughts"
    with pytest.raises(LemError, match=re.escape(f"{path}: {said}")):
        encode.load(path)


def test_an_encoder_of_lem_train_is_one(tmp_path):
    """Its file has the record of a model beside that of an encoder."""
    from lemtools.encode.token_ae import TokenAE
    from lemtools.nets import build

    net = {"net": "token-ae", "vocabulary": 8, "chunk": 2, "latent": 2, "width": 8}
    made, path = TokenAE(build(net), net), str(tmp_path / "ae.safetensors")
    card = {"v": 1, "encoder": "token-ae", **made.card()}
    save_tensors(path, made.tensors(), {LEM: {"recipe": "token-ae", "net": net}, ENCODER: card})
    assert encode.load(path).name == "token-ae"


def test_the_files_themselves_are_read(made):
    for file in FITS:
        (codes,) = encode.encode([Signal("embedding", VECTORS[:5])], encode.load(str(made / file)))
        assert len(codes) == 5
