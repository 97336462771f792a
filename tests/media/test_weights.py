"""A model as a memory: what is picked, what is carried along, how the files come back, and what is refused."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from safetensors.numpy import load_file

import lemtools
from helpers.commands import lem
from lemtools import stream
from lemtools.fragment import fragment
from lemtools.media import Target, load, save
from lemtools.reconstruct import reconstruct
from lemtools.signal import LemError, Part, Signal, bits_per_element
from lemtools.signal.types import DTYPES, bits_of, bytes_of, widened
from lemtools.stream.wire import assemble

RNG = np.random.default_rng(5)


def floats(*shape) -> tuple[str, np.ndarray]:
    return "F32", RNG.normal(size=shape).astype(np.float32)


def halves(*shape) -> tuple[str, np.ndarray]:
    """Numbers of bfloat16, as numpy can hold them: the upper halves of float32."""
    return "BF16", RNG.normal(size=shape).astype(np.float32).view("<u4").__rshift__(16).astype("<u2")


def tensors() -> dict[str, dict[str, tuple[str, np.ndarray]]]:
    """Two files of tensors of many types."""
    return {
        "model-00001-of-00002.safetensors": {
            "embed.weight": floats(40, 24),
            "layers.0.q.weight": floats(24, 24),
            "layers.0.q.bias": floats(24),
            "layers.0.up.weight": halves(96, 24),
            "layers.0.position_ids": ("I64", np.arange(12)[None]),
            "layers.0.scale.weight": floats(1, 24),
        },
        "model-00002-of-00002.safetensors": {
            "layers.0.down.weight": ("F16", RNG.normal(size=(24, 96)).astype(np.float16)),
            "layers.0.gate.weight": ("F64", RNG.normal(size=(8, 24))),
            "layers.0.conv.weight": floats(4, 2, 3, 3),
            "scale": ("F32", np.array(0.5, np.float32)),
            "none": ("F32", np.zeros((0, 4), np.float32)),
            "small": ("F8_E4M3", RNG.integers(0, 120, (4, 4), np.uint8)),
            "layers.1.norm.bias": ("F32", np.zeros(6, np.float32)),
            "layers.2.norm.bias": ("F32", np.zeros(6, np.float32)),
        },
    }


LINEAR = {f"layers.0.{name}.weight" for name in ("q", "up", "down", "gate")}


def make(folder, files=None, **texts):
    """A model of two files of tensors, an index, and files beside them."""
    files = files or tensors()
    folder.mkdir(parents=True)
    for name, held in files.items():
        (folder / name).write_bytes(b"".join(map(bytes, assemble(held, {"format": "pt"}))))
    index = {"metadata": {}, "weight_map": {tensor: name for name, held in files.items() for tensor in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "vocab.txt").write_text("a\nb\n")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "empty.txt").write_text("")
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def model(tmp_path):
    return make(tmp_path / "model")


def contents(folder) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def picked(path, *patterns) -> set[str]:
    return {s.part.name for s in load(path, tensors=patterns) if s.part.what == "tensor" and not s.carried}


def test_what_loses_nothing_comes_back_byte_for_byte(model, tmp_path):
    signals = list(load(model))
    assert {s.part.name for s in signals if not s.carried} == LINEAR
    save(iter(signals), Target(f"{tmp_path}/back/", own=True))
    assert contents(tmp_path / "back") == contents(model)


def test_a_stream_holds_a_model(model, tmp_path):
    """Names, types and shapes are on record, and the documents say which item is which."""
    lem("fragment", "--noise", "0", model, "-o", tmp_path / "whole.safetensors")
    signals = [s for s in load(tmp_path / "whole.safetensors") if s.part.what == "tensor"]
    files = tensors()
    assert [s.part.name for s in signals] == [
        name for held in files.values() for name in sorted(held, key=lambda n: (-held[n][1].dtype.itemsize, n))
    ]
    for signal in signals:
        dtype, array = files[signal.part.file][signal.part.name]
        assert (signal.part.type, signal.part.shape) == (dtype, array.shape)
        assert len(signal) == (1 if signal.carried else array.shape[0])
    places = np.concatenate([s.index for s in load(tmp_path / "whole.safetensors")])
    assert (places == np.arange(len(places))).all()


@pytest.mark.parametrize("losses", [["--bits", "3"], ["--bits", "2", "--quantizer", "trellis", "--rotate"]])
def test_fragments_come_back_as_the_files_they_were(model, tmp_path, losses):
    """What was picked is what the same rows would be by themselves, in its own type; all else is as it was."""
    lem("fragment", *losses, model, "-o", tmp_path / "small.safetensors")
    lem("reconstruct", tmp_path / "small.safetensors", "-o", f"{tmp_path}/back/")
    before, after = contents(model), contents(tmp_path / "back")
    names = [name for name in before if not name.endswith(".safetensors")]
    assert {name: after[name] for name in names} == {name: before[name] for name in names}
    spec = {"op": "bits", "bits": int(losses[1]), "quantizer": (losses + [None] * 3)[3], "rotate": "--rotate" in losses}
    for name in tensors():
        heads = [int.from_bytes(text[name][:8], "little") + 8 for text in (before, after)]
        assert before[name][: heads[0]] == after[name][: heads[1]]  # the same names, types, shapes and places
        one, two = (read_all(folder / name) for folder in (model, tmp_path / "back"))
        for tensor, (dtype, shape, raw) in one.items():
            if tensor not in LINEAR:
                assert two[tensor] == (dtype, shape, raw)
                continue
            rows = np.frombuffer(raw, np.uint8)
            rows = widened(rows, dtype) if dtype == "BF16" else rows.view(DTYPES[dtype])
            (lost,) = fragment([Signal("embedding", rows.reshape(shape))], [spec])
            assert two[tensor] == (dtype, shape, bytes_of(lost.data, dtype).tobytes())
            assert raw != two[tensor][2]


def read_all(path) -> dict:
    with stream.opened(str(path)) as (source, header):
        body = source.read(header.size)
    return {name: (d, s, body[a:b].tobytes()) for name, (d, s, a, b) in header.tensors.items()}


def test_one_file_is_a_model_when_it_is_said(model, tmp_path):
    """Its metadata are kept, and it comes back as one file, or into a folder."""
    path = model / "model-00001-of-00002.safetensors"
    lem("fragment", "--tensors", "layers.*", "--bits", "8", path, "-o", tmp_path / "small.safetensors")
    lem("reconstruct", tmp_path / "small.safetensors", "-o", tmp_path / "one.safetensors")
    lem("reconstruct", tmp_path / "small.safetensors", "-o", f"{tmp_path}/back/")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "back" / path.name).read_bytes()
    piped = lem("reconstruct", stdin=(tmp_path / "small.safetensors").read_bytes()).stdout
    (tmp_path / "piped.safetensors").write_bytes(piped)
    save(load(tmp_path / "piped.safetensors"), Target(f"{tmp_path}/piped/", own=True))
    assert contents(tmp_path / "piped") == contents(tmp_path / "back")
    with stream.opened(str(tmp_path / "one.safetensors")) as (_, header):
        assert header.meta == {"format": "pt"}


def test_models_of_lem_train(tmp_path):
    """They load as before, and their answers are near."""
    from helpers.paths import ROOT
    from lemtools.nets.model import load as load_model

    path = ROOT / "examples/fashion/resnet.safetensors"
    lem(
        "fragment",
        "--tensors",
        "*",
        "--tensors",
        "*conv*",
        "--bits",
        "14",
        "--scale",
        "peak",
        path,
        "-o",
        tmp_path / "small.safetensors",
    )
    lem("reconstruct", tmp_path / "small.safetensors", "-o", tmp_path / "back.safetensors")
    one, two = load_model(str(path)), load_model(str(tmp_path / "back.safetensors"))
    assert one.net.state_dict().keys() == two.net.state_dict().keys()
    different = 0
    for name, tensor in one.net.state_dict().items():
        other = two.net.state_dict()[name]
        different += not (tensor == other).all()
        assert (tensor - other).square().mean() <= 1e-5 * tensor.square().mean() + 1e-12
    assert different > 3


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (("*",), LINEAR),
        ((), LINEAR),
        (("layers.0.[qu]*",), {"layers.0.q.weight", "layers.0.up.weight"}),
        (("*embed*",), {"embed.weight"}),  # a table is picked by what matches no linear weight
        (("embed.weight", "*.q.*"), {"embed.weight", "layers.0.q.weight"}),
        (("*conv*",), {"layers.0.conv.weight"}),
    ],
)
def test_which_tensors_are_picked(model, patterns, names):
    assert picked(model, *patterns) == names


def test_a_row_alone_is_no_matrix(model):
    """A linear weight has two rows and columns; what else of two axes there is, a pattern picks by itself."""
    assert "layers.0.scale.weight" not in picked(model, "layers.0.*")
    assert picked(model, "*scale.weight") == {"layers.0.scale.weight"}


def test_what_is_kept_costs_its_own_type(tmp_path):
    """Half of the values of bfloat16 and float16 are 8 bits a weight, of float32 16."""
    held = {"b__weight": halves(8, 8), "s__weight": floats(8, 8)}
    write(tmp_path / "m" / "model.safetensors", h__weight=("F16", RNG.normal(size=(8, 8)).astype(np.float16)), **held)
    spec = {"op": "keep-dims", "keep": 4}
    lost = [s for s in fragment(load(tmp_path / "m", tensors="*"), [spec]) if not s.carried]
    assert {s.part.name: set(bits_per_element(s)) for s in lost} == {"b.weight": {8}, "h.weight": {8}, "s.weight": {16}}


def test_a_layer_inside_of_an_embedding_is_linear(tmp_path):
    names = ("embedding.out.weight", "embeddings.word_embeddings.weight", "wte.weight", "h.shared.weight")
    (tmp_path / "m").write_bytes(b"".join(map(bytes, assemble({name: floats(8, 8) for name in names}, {}))))
    assert picked(tmp_path / "m", "*") == {"embedding.out.weight"}


def test_tables_of_our_language_models(tmp_path):
    """The record says which one it is: its name does not."""
    held = {"enter.weight": floats(20, 8), "trunk.out.weight": floats(8, 8)}
    for net, names in (("lm", {"trunk.out.weight"}), ("mlp", {"enter.weight", "trunk.out.weight"})):
        record = {"lem": json.dumps({"v": 1, "net": {"net": net}})}
        (tmp_path / net).write_bytes(b"".join(map(bytes, assemble(held, record))))
        assert picked(tmp_path / net, "*") == names


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64"])
def test_numbers_round_to_the_nearest(dtype):
    """Against all neighbours: no number of the type is nearer; ends stay finite."""
    x = np.concatenate([RNG.normal(size=500) * 10.0 ** RNG.integers(-3, 4, 500), [0, -0.0, 3e38, -3.39e38]])
    x = x.astype(np.float32)
    raw = bytes_of(x, dtype)
    assert raw.size == len(x) * bits_of(dtype) // 8
    values = widened(raw, dtype) if dtype == "BF16" else raw.view(DTYPES[dtype])
    assert np.isfinite(values).all()
    if dtype in ("F32", "F64"):
        assert (values == x).all()
        return
    codes = raw.view("<u2").astype(np.int64)
    inner = np.abs(x) < 60000
    for step in (-1, 1):
        other = (codes + step).clip(0, 65535).astype("<u2").view(np.uint8)
        other = widened(other, dtype) if dtype == "BF16" else other.view("<f2")
        with np.errstate(invalid="ignore"):
            nearer = np.abs(other.astype(np.float64) - x) < np.abs(values.astype(np.float64) - x)
        assert not (nearer & inner).any()
    assert bytes_of(values, dtype).tobytes() == raw.tobytes()


def test_memory_is_that_of_the_largest_tensor(tmp_path):
    """Of 24 tensors of 1 MB no more than a few are there at once, whichever way they go."""
    make(tmp_path / "model", {"model.safetensors": {f"{i}.weight": floats(512, 512) for i in range(24)}})
    spec = {"op": "bits", "bits": 2, "quantizer": "lloyd-max"}
    save(reconstruct(fragment(load(tmp_path / "model"), [spec])), Target(os.devnull))  # what loads once
    tracemalloc.start()
    try:
        batches = fragment(load(tmp_path / "model"), [spec])
        save(batches, Target(str(tmp_path / "small.safetensors")))
        save(reconstruct(load(tmp_path / "small.safetensors")), Target(f"{tmp_path}/back/", own=True))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 12 << 20
    assert len(load_file(tmp_path / "back" / "model.safetensors")) == 24


def test_the_same_bytes_every_time(model, tmp_path):
    for i, more in enumerate(([], ["--batch", "1"])):
        lem("fragment", "--bits", "2", "--quantizer", "trellis", *more, model, "-o", tmp_path / f"{i}.safetensors")
    one, two = (list(load(tmp_path / f"{i}.safetensors")) for i in (0, 1))
    assert all((a.data == b.data).all() and a.part == b.part for a, b in zip(one, two, strict=True))


def test_info_says_the_bits_of_all_and_of_what_lost_some(model, tmp_path):
    """Against the sizes of the numbers, and the cost that every item says itself."""
    lem("fragment", "--bits", "3", "--rotate", model, "-o", tmp_path / "small.safetensors")
    facts = json.loads(lem("info", "--json", tmp_path / "small.safetensors").stdout)
    files = tensors()
    sizes = {name: (array.size, 8 * array.nbytes) for held in files.values() for name, (_, array) in held.items()}
    lost = [s for s in load(tmp_path / "small.safetensors") if not s.carried]
    bits = sum(float((bits_per_element(s) * s.data[0].size).sum()) for s in lost)
    count = sum(sizes[name][0] for name in LINEAR)
    assert facts["model"]["lossy_weights"] == count
    assert facts["model"]["bits_per_lossy_weight"] == pytest.approx(bits / count)
    kept = sum(size for name, (_, size) in sizes.items() if name not in LINEAR)
    every = sum(number for number, _ in sizes.values())
    assert facts["model"]["weights"] == every
    assert facts["model"]["bits_per_weight"] == facts["bits_per_element"] == pytest.approx((bits + kept) / every)
    assert facts["model"]["files"] == len(contents(model))
    lines = {line.partition(" ")[0]: line for line in facts["tensors"]}
    assert lines.keys() == sizes.keys()
    assert lines["layers.0.q.weight"] == f"layers.0.q.weight F32 [24, 24] {3 + 16 / 24:.4g} bits"
    assert lines["layers.0.position_ids"].endswith("I64 [1, 12] 64 bits")
    assert (facts["kind"], facts["shape"], facts["complete"]) == (["tokens", "embedding"], None, True)


def test_errors_of_weights_are_measured_row_by_row(model, tmp_path):
    """Of what was picked; against the definition."""
    lem("fragment", "--bits", "2", model, "-o", tmp_path / "small.safetensors")
    said = lem("compare", "--metric", "nmse", model, tmp_path / "small.safetensors").stdout.decode().split("\n")[0]
    sides = ([s.data for s in load(path) if not s.carried] for path in (model, tmp_path / "small.safetensors"))
    rows = [((a - b) ** 2).sum(1) / (a.astype(np.float64) ** 2).sum(1) for a, b in zip(*sides, strict=True)]
    assert float(said.split("\t")[1]) == pytest.approx(np.concatenate(rows).mean(), rel=1e-3)


def test_tensors_are_compared_by_name(model, tmp_path):
    """Those that were picked, whichever they are, with the same tensor of the original; a folder's, where they changed."""
    lem("fragment", "--tensors", "embed*", "--tensors", "*up*", "--bits", "3", model, "-o", tmp_path / "s.safetensors")
    (embed, up) = (s for s in load(tmp_path / "s.safetensors") if not s.carried)
    one = tensors()
    whole = {s.part.name: s.data for s in load(model, tensors=("embed*", "*up*")) if not s.carried}
    errors = [((whole[s.part.name] - s.data) ** 2).sum(1) / (whole[s.part.name] ** 2).sum(1) for s in (embed, up)]
    rows = np.concatenate(errors)

    def said(other) -> list[str]:
        return lem("compare", "--metric", "nmse", model, other).stdout.decode().split("\n")[0].split("\t")

    assert said(tmp_path / "s.safetensors")[4] == str(len(rows)) == "136"
    assert float(said(tmp_path / "s.safetensors")[1]) == pytest.approx(rows.mean(), rel=1e-3)
    lem("reconstruct", tmp_path / "s.safetensors", "-o", f"{tmp_path}/back/")
    back = {s.part.name: s.data for s in load(tmp_path / "back", tensors=("embed*", "*up*")) if not s.carried}
    errors = [
        ((whole[name] - back[name]) ** 2).sum(1) / (whole[name] ** 2).sum(1)
        for name in ("embed.weight", "layers.0.up.weight")
    ]
    others = sum(
        array.shape[0]
        for held in one.values()
        for name, (_, array) in held.items()
        if name in LINEAR and "up" not in name
    )
    assert int(said(tmp_path / "back")[4]) == 136 + others
    assert float(said(tmp_path / "back")[1]) == pytest.approx(np.concatenate(errors).sum() / (136 + others), rel=1e-3)
    assert said(model)[1:4] == ["0", "0", "0"]


@pytest.mark.parametrize("swap", [False, True])
def test_what_is_compared_with_a_model_is_one(model, tmp_path, swap):
    np.save(tmp_path / "x.npy", np.ones((24, 24), np.float32))
    write(tmp_path / "other" / "model.safetensors", a__weight=floats(24, 24))
    (tmp_path / "other" / "config.json").write_text("{}")
    for other, message in (("x.npy", "have no tensor"), ("other", "a.weight [24, 24]")):
        sides = (other, model) if swap else (model, other)
        done = lem("compare", "--metric", "nmse", *sides, cwd=tmp_path, ok=None)
        assert done.returncode == 2 and message in done.stderr.decode() and done.stderr.count(b"\n") == 1


def test_models_in_python(model, tmp_path):
    """A folder is taken by its path; fragments are saved as a stream, what is recalled as its files."""
    parts = list(lemtools.load(model, tensors="*embed*"))
    assert {s.part.name for s in parts if not s.carried} == {"embed.weight"}
    small = lemtools.fragment(model, bits=4)
    with pytest.warns(UserWarning, match="a stream of 21 documents"):
        lemtools.save(small, tmp_path / "small.safetensors")
    lemtools.save(lemtools.reconstruct(tmp_path / "small.safetensors"), tmp_path / "back")
    lem("reconstruct", tmp_path / "small.safetensors", "-o", f"{tmp_path}/again/")
    assert contents(tmp_path / "back") == contents(tmp_path / "again")


# --- what is refused


def cut(folder):
    path = folder / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def twice(folder):
    (folder / "more.safetensors").write_bytes((folder / "model-00002-of-00002.safetensors").read_bytes())


def missing(folder):
    (folder / "model-00002-of-00002.safetensors").unlink()


def elsewhere(folder):
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["lm_head.weight"] = "model-00001-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def no_index(folder):
    (folder / "model.safetensors.index.json").write_text("[]")


def not_finite(folder):
    held = {"layers.0.q.weight": ("F32", np.full((4, 4), np.nan, np.float32))}
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"".join(map(bytes, assemble(held, {}))))
    (folder / "model.safetensors.index.json").unlink()


def tied(folder):
    files = tensors()["model-00001-of-00002.safetensors"]
    held = {"embed.weight": files["embed.weight"], "lm_head.weight": files["embed.weight"]}
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    (folder / "model.safetensors").write_bytes(b"".join(map(bytes, assemble(held, {}))))


def write(path, **held):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(map(bytes, assemble({name.replace("__", "."): t for name, t in held.items()}, {}))))


def tied_layers(folder):
    """Two layers that are one, none of them a table; a third and a fourth of zeros, which are no less alike, and stay so."""
    nothing(folder)
    one, zeros = floats(8, 8), ("F32", np.zeros((8, 8), np.float32))
    write(folder / "model.safetensors", l__0__weight=one, l__1__weight=one)
    write(folder / "z.safetensors", z__0__weight=zeros, z__1__weight=zeros)


def shard(folder):
    missing(folder)
    (folder / "model.safetensors.index.json").unlink()


def index_below(folder):
    write(folder / "2_Dense" / "model.safetensors", linear__weight=floats(4, 4))
    index = {"weight_map": {"linear.weight": "model.safetensors", "linear.bias": "more.safetensors"}}
    (folder / "2_Dense" / "model.safetensors.index.json").write_text(json.dumps(index))


def no_tensors(folder):
    nothing(folder)
    write(folder / "model.safetensors")


def pickled(folder):
    nothing(folder)
    (folder / "pytorch_model.bin").write_bytes(b"PK\x03\x04")


def nothing(folder):
    """But a config.json that says it is a model's."""
    for path in folder.glob("*.safetensors*"):
        path.unlink()


def no_weights(folder):
    for path in folder.glob("*.safetensors"):
        path.unlink()


REFUSED = [
    (cut, ["--tensors", "*"], "model-00002-of-00002.safetensors: not a whole safetensors file"),
    (twice, [], "stands in model-00002-of-00002.safetensors and in more.safetensors; take one of the files away"),
    (missing, [], "index.json: names model-00002-of-00002.safetensors, which is not there; download it again"),
    (elsewhere, [], "tensor lm_head.weight is not in model-00001-of-00002.safetensors"),
    (no_index, [], "index.json: no index of tensors"),
    (not_finite, [], "tensor layers.0.q.weight: NaN or infinite values; leave it out of --tensors"),
    (tied, [], "lm_head.weight and embed.weight are one tensor (tied); pick both or neither"),
    (tied, ["--tensors", "embed.weight"], "embed.weight and lm_head.weight are one tensor (tied)"),
    (tied_layers, ["--tensors", "*.0.*"], "l.0.weight and l.1.weight are one tensor (tied)"),
    (shard, [], "model-00002-of-00002.safetensors is not there, of which model-00001-of-00002.safetensors speaks"),
    (index_below, [], "2_Dense/model.safetensors.index.json: names more.safetensors, which is not there"),
    (no_tensors, [], "model: no tensors there"),
    (pickled, [], "no other weights are read; save the tensors of pytorch_model.bin by safetensors.torch.save_file"),
    (pickled, ["--tensors", "*"], "no safetensors there"),
    (nothing, [], "model: no safetensors there, and no other weights are read"),
    (no_weights, ["--tensors", "*"], "no safetensors there"),
    (None, ["--tensors", "*position*"], "layers.0.position_ids is I64 [1, 12]; only F16, BF16, F32, F64"),
    (None, ["--tensors", "small"], "small is F8_E4M3 [4, 4]; only"),
    (None, ["--tensors", "*bias"], "layers.0.q.bias is F32 [24] and 2 more; only"),
    (None, ["--tensors", "lm_head*"], "--tensors lm_head*: no tensor is called so"),
    (None, ["--tensors", "none"], "none is F32 [0, 4]"),
    (None, ["--key", "scale"], "--key is not for models"),
    (None, ["--kind", "embedding"], "--kind is not for models"),
    (None, ["--shard", "0/2"], "--shard is for items; the tensors of a model stay together"),
    (None, ["model"], "a model is read by itself"),
    (None, ["-o", "parts/"], "a fragment; it goes into one stream, as -o NAME.safetensors"),
    (None, ["-o", "model/model-00001-of-00002.safetensors"], "lies in the model model, which is read"),
    (None, ["-o", "model/1_Pooling/small.safetensors"], "lies in the model model, which is read"),
    (None, ["-o", "model/small/"], "lies in the model model, which is read"),
    (None, ["--quantizer", "nf4"], "model: item 7 and 23 more: --bits must be 4 with --quantizer nf4, not 2"),
    (None, ["-o", "parts.npy"], "parts.npy: parts of a model do not fit there"),
    (None, ["--mask-shape", "rows"], "--mask-shape belongs right after"),
]


def test_ties_are_no_matter_where_nothing_is_taken(model, tmp_path):
    """A tied model is compared with its fragment, of both tensors, and written as it is."""
    tied(model)
    both = ["--tensors", "embed.weight", "--tensors", "lm_head.weight"]
    lem("fragment", *both, "--bits", "3", "--rotate", model, "-o", tmp_path / "small.safetensors")
    said = lem("compare", "--metric", "nmse", model, tmp_path / "small.safetensors").stdout.split(b"\n")[0].split(b"\t")
    assert said[4] == b"80" and 0.02 < float(said[1]) < 0.06
    lem("reconstruct", tmp_path / "small.safetensors", "-o", f"{tmp_path}/back/")
    back = load_file(tmp_path / "back" / "model.safetensors")
    assert (back["embed.weight"] == back["lm_head.weight"]).all()
    lem("reconstruct", model, "-o", f"{tmp_path}/same/")
    assert contents(tmp_path / "same") == contents(model)


def test_zeros_are_no_ties(tmp_path):
    """They come back as they were, whichever are picked."""
    zeros = ("F32", np.zeros((8, 8), np.float32))
    write(tmp_path / "m" / "model.safetensors", z__0__weight=zeros, z__1__weight=zeros)
    assert picked(tmp_path / "m", "z.0.*") == {"z.0.weight"}


def test_parts_in_folders_of_their_own(model, tmp_path):
    """Tensors of one name in two folders of a model are two, each picked by what it is itself."""
    for folder, held in (("2_Dense", floats(4, 6)), ("3_Dense", ("I32", np.ones((4, 4), np.int32)))):
        write(model / folder / "model.safetensors", linear__weight=held)
    parts = [s.part for s in load(model, tensors="linear*") if s.part.what == "tensor" and not s.carried]
    assert [(part.file, part.shape) for part in parts] == [("2_Dense/model.safetensors", (4, 6))]
    lem("fragment", "--bits", "8", model, "-o", tmp_path / "small.safetensors")
    lines = json.loads(lem("info", "--json", tmp_path / "small.safetensors").stdout)["tensors"]
    assert lines[0].startswith("2_Dense/linear.weight F32 [4, 6]")
    lem("reconstruct", tmp_path / "small.safetensors", "-o", f"{tmp_path}/back/")
    before, after = contents(model), contents(tmp_path / "back")
    assert before.keys() == after.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if name.endswith(".safetensors")} - {"3_Dense/model.safetensors"}


def test_the_tensors_of_a_folder(model):
    facts = json.loads(lem("info", "--json", model).stdout)
    files = tensors()
    every = {name: array for held in files.values() for name, (_, array) in held.items()}
    assert {line.partition(" ")[0] for line in facts["tensors"]} == every.keys()
    assert facts["model"]["weights"] == sum(array.size for array in every.values())
    whole = sum(array.nbytes for array in every.values()) * 8 / facts["model"]["weights"]
    assert facts["model"]["bits_per_weight"] == pytest.approx(whole)
    assert (facts["documents"], facts["model"]["files"]) == (2, len(contents(model)))
    assert (facts["model"]["lossy_weights"], facts["model"]["bits_per_lossy_weight"]) == (0, None)
    assert facts["bytes"] == sum(map(len, contents(model).values()))


def test_files_behind_links_are_inputs(model, tmp_path):
    """As hubs keep them: the folder holds links into a store of files, which are not written over."""
    (tmp_path / "blobs").mkdir()
    for path in model.glob("*.safetensors"):
        path.rename(tmp_path / "blobs" / path.name)
        path.symlink_to(tmp_path / "blobs" / path.name)
    before = contents(tmp_path / "blobs")
    for name in before:
        done = lem("fragment", "--bits", "2", model, "-o", tmp_path / "blobs" / name, ok=None)
        assert done.returncode == 2 and b"is input and output at once" in done.stderr
    assert contents(tmp_path / "blobs") == before
    lem("fragment", "--bits", "8", model, "-o", tmp_path / "small.safetensors")
    lem("reconstruct", tmp_path / "small.safetensors", "-o", f"{tmp_path}/back/")
    assert contents(tmp_path / "back").keys() == contents(model).keys()
    assert not any(path.is_symlink() for path in (tmp_path / "back").rglob("*"))


@pytest.mark.parametrize(("spoil", "options", "message"), REFUSED)
def test_bad_models_are_refused_in_one_line(model, tmp_path, spoil, options, message):
    if spoil:
        spoil(model)
    before = sorted(os.listdir(tmp_path))
    done = lem("fragment", "--bits", "2", "-o", "small.safetensors", *options, "model", cwd=tmp_path, ok=None)
    said = done.stderr.decode()
    assert (done.returncode, said.count("\n")) == (2, 1)
    assert message in said
    assert sorted(os.listdir(tmp_path)) == before


def test_a_cut_stream_leaves_nothing(model, tmp_path):
    lem("fragment", "--bits", "2", model, "-o", tmp_path / "small.safetensors")
    raw = (tmp_path / "small.safetensors").read_bytes()
    for part in (raw[: len(raw) // 2], raw[:-1]):
        done = lem("reconstruct", "-", "-o", f"{tmp_path}/back/", stdin=part, ok=False)
        assert done.stderr.count(b"\n") == 1
        assert not (tmp_path / "back").exists()
    done = lem("reconstruct", tmp_path / "small.safetensors", "-o", tmp_path / "back.safetensors", ok=False)
    assert b"a model of several files goes into a folder: -o DIR/" in done.stderr
    assert not (tmp_path / "back.safetensors").exists()


def written(signals, tmp_path, message):
    with pytest.raises(LemError, match=message):
        save(iter(signals), Target(f"{tmp_path}/out/", own=True))
    assert not (tmp_path / "out").exists()


def test_a_stream_is_no_model(model, tmp_path):
    """Of one document or of many."""
    lem("fragment", "--bits", "2", model, "-o", tmp_path / "many.safetensors")
    save(iter([Signal("embedding", np.ones((2, 4), np.float32))]), Target(str(tmp_path / "one.safetensors")))
    for name in ("many", "one"):
        with pytest.raises(LemError, match="a stream of memories, no model; leave out --tensors"):
            list(load(tmp_path / f"{name}.safetensors", tensors="*"))


def test_streams_that_are_no_model_are_refused(model, tmp_path):
    parts = list(load(model))
    heads = [i for i, s in enumerate(parts) if s.part.what == "head"]
    written(parts[: heads[0] + 3], tmp_path, "is missing; the stream is damaged")
    written(parts[: heads[0] + 2] + parts[heads[0] + 3 :], tmp_path, "is not what follows there")
    written([parts[heads[0] + 1]], tmp_path, "is not what follows there")
    written([*parts, Signal("tokens", np.zeros((1, 4), np.uint8))], tmp_path, "a memory among the parts of a model")
    at = next(i for i, s in enumerate(parts) if not s.carried)
    other = Signal("embedding", np.ones((3, 3), np.float32), part=parts[at].part)
    written([*parts[:at], other, *parts[at + 1 :]], tmp_path, "9 values for the shape")
    for name in ("../x", "/tmp/x", "a/../../x"):
        part = Part(name, "file", shape=(4,))
        written([Signal("tokens", np.zeros((1, 4), np.uint8), part=part)], tmp_path, "leads out of the folder")


@pytest.mark.parametrize(
    "change",
    [
        {"file": ""},
        {"file": 3},
        {"what": "thing"},
        {"type": "F7"},
        {"shape": [-1]},
        {"shape": [2**50]},
        {"shape": 4},
        {"shape": [True]},
        {"name": None},
    ],
)
def test_damaged_records_are_refused(change):
    good = Part("a", "tensor", "b", "F32", (2, 3))
    assert Part.read(good.record()) == good
    with pytest.raises(LemError, match="damaged document"):
        Part.read({**good.record(), **change})


def test_data_that_cannot_be_the_part():
    part = Part("a", "tensor", "b", "F32", (2, 3))
    Signal("embedding", np.zeros((2, 3), np.float32), part=part)
    Signal("tokens", np.zeros((1, 24), np.uint8), part=part)
    for kind, data in (
        ("tokens", np.zeros((1, 23), np.uint8)),
        ("tokens", np.zeros((1, 24), np.int64)),
        ("image", np.zeros((1, 1, 2, 3), np.uint8)),
    ):
        with pytest.raises(LemError, match="is not tensor b of a model"):
            Signal(kind, data, part=part)


def test_weights_of_other_formats_are_left_out_and_said(model, tmp_path):
    (model / "pytorch_model.bin").write_bytes(b"\x80\x02")
    done = lem("fragment", "--noise", "0", model, "-o", tmp_path / "small.safetensors")
    assert b"pytorch_model.bin: left out" in done.stderr
    assert not any("pytorch" in s.part.file for s in load(tmp_path / "small.safetensors"))
