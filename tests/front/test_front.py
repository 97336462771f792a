"""The library's front: whatever a user has goes in, and the same comes out as of the commands."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lemtools
import lemtools.fragment as room
from helpers.commands import lem
from helpers.paths import ROOT
from lemtools import LemError, Signal
from lemtools.front import Table
from lemtools.media import sample
from lemtools.nets.model import load as load_model

PHOTO = sample("kodim23")
RNG = np.random.default_rng(8)
RGB = RNG.integers(0, 256, (9, 13, 3), np.uint8)


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_nothing():
    loaded = python("import sys; old = {*sys.modules}; import lemtools; print(*sorted({*sys.modules} - old))")
    assert loaded.split() == ["lemtools"]


def test_the_names_are_there_and_no_others():
    assert {"load", "save", "fit", "fragment", "reconstruct", "encode", "compare", "train", "Signal"} <= set(
        dir(lemtools)
    )
    for name in lemtools.__all__:
        assert getattr(lemtools, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fragmnet'"):
        lemtools.fragmnet  # noqa: B018
    assert Signal is lemtools.Signal and issubclass(LemError, ValueError)


def test_rooms_can_be_called_and_are_rooms():
    """In whatever order they are imported."""
    assert room.apply is lemtools.fragment.apply and callable(room)
    code = "import lemtools{}; from lemtools.fragment import OPERATIONS; import numpy as np\n"
    code += "print(lemtools.fragment(np.zeros((1, 4), 'f4'), bits=3).one().ops[0]['bits'], 'bits' in OPERATIONS)"
    assert python(code.format("")) == python(code.format(".fragment")) == "3 True\n"


def test_the_commands_are_listed():
    shown = subprocess.run([sys.executable, "-m", "lemtools"], capture_output=True, text=True, cwd=ROOT).stdout
    lines = [line.split()[0] for line in shown.splitlines() if line.startswith("  lem-")]
    scripts = [
        line.split()[0] for line in (ROOT / "pyproject.toml").read_text().splitlines() if "lemtools.cli." in line
    ]
    assert sorted(lines) == sorted(name for name in scripts if name.startswith("lem-"))
    assert f"lemtools {lemtools.__version__}" in shown


# what goes in


def images(x, **more) -> np.ndarray:
    return lemtools.load(x, **more).numpy()


def test_one_picture_whatever_it_comes_as(tmp_path):
    path = tmp_path / "a" / "photo.png"
    path.parent.mkdir()
    Image.fromarray(RGB).save(path)
    wanted = RGB.transpose(2, 0, 1)[None]
    signal = Signal("image", wanted)
    things = [str(path), path, RGB, wanted, RGB[None], Image.fromarray(RGB), signal, [signal], [path], (path,)]
    things += [[Image.fromarray(RGB)], iter([signal]), lemtools.load(path), tmp_path / "a", str(tmp_path / "*" / "p*")]
    for thing in things:
        assert np.array_equal(images(thing), wanted), thing


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    assert np.array_equal(images(torch.from_numpy(RGB)), RGB.transpose(2, 0, 1)[None])
    vectors = torch.ones(2, 5, dtype=torch.bfloat16, requires_grad=True)
    out = lemtools.load(vectors).signal()
    assert out.kind == "embedding" and out.data.dtype == np.float32 and out.torch().tolist() == [[1.0] * 5] * 2


def test_several_things_are_counted():
    batches = list(lemtools.load([RGB, Signal("image", RGB[None, None, ..., 0]), Image.fromarray(RGB[..., 0])]))
    assert [batch.data.shape[1] for batch in batches] == [3, 1, 1]
    assert all(np.array_equal(batch.data[0, 0], RGB[..., 0]) for batch in batches)
    first, *_, last = lemtools.load([RGB, RGB, RGB])
    assert (first.index.tolist(), last.index.tolist()) == ([0], [2])


@pytest.mark.parametrize(
    "array, kind, shape",
    [
        (RGB[..., 0], "image", (1, 1, 9, 13)),
        (np.zeros((5, 9, 13), np.uint8), "image", (5, 1, 9, 13)),
        (np.full((5, 9, 13, 4), 255, np.uint8), "image", (5, 3, 9, 13)),
        (np.zeros((5, 9, 13, 3), np.float64), "image", (5, 3, 9, 13)),
        (np.zeros((5, 2, 9, 13), np.float32), "image", (5, 2, 9, 13)),
        (np.zeros(7), "embedding", (1, 7)),
        (np.zeros((2, 7), np.float16), "embedding", (2, 7)),
        (np.zeros((2, 5, 7)) - 1, "embedding", (2, 5, 7)),
        (np.arange(6), "tokens", (1, 6)),
        (np.zeros((2, 6), np.int16), "tokens", (2, 6)),
        (b"text", "tokens", (1, 4)),
    ],
)
def test_the_kind_of_an_array(array, kind, shape):
    signal = lemtools.load(array).signal()
    assert (signal.kind, signal.data.shape) == (kind, shape)


def test_kinds_that_are_said():
    sound = lemtools.load(np.zeros((2, 80)), kind="audio", rate=8000).one()
    assert sound.data.shape == (1, 2, 80) and sound.rate == 8000.0 and sound.data.dtype == np.float32
    assert lemtools.load(np.zeros(80), kind="audio", rate=8000).one().data.shape == (1, 1, 80)
    floats = RGB / 255
    assert images(floats, kind="image").shape == (1, 3, 9, 13)
    assert images(floats.transpose(2, 0, 1), kind="image").shape == (1, 3, 9, 13)
    assert lemtools.load(floats, kind="embedding").signal().kind == "embedding"


@pytest.mark.parametrize(
    "x, message",
    [
        (RGB / 255, "kind='image' or kind='embedding'"),
        (np.zeros((3, 9, 13), np.uint8), r"one picture in 3 channels is x\[None\], 3 grey ones are x\[:, None\]"),
        (np.full((1, 3, 4, 4), 200.0), "divide by 255"),
        (np.zeros((1, 7, 9, 13), np.uint8), "1 to 4 channels"),
        (np.zeros((2, 3, 4), np.int64), "no image, embedding or tokens"),
        (np.array([[1.0, np.nan]]), "NaN or infinite"),
        (np.zeros((2, 3), complex), "no image, embedding or tokens"),
        (3, "int holds no memories"),
        (None, "NoneType holds no memories"),
        ([RGB, 3], "int holds no memories"),
        ("nowhere/photo.png", "nowhere/photo.png"),
    ],
)
def test_what_cannot_be_read_is_refused(x, message):
    with pytest.raises((LemError, OSError), match=message) as caught:
        list(lemtools.load(x))
    assert "\n" not in str(caught.value)


def test_arguments_of_arrays_are_checked():
    for more, message in (
        ({"kind": "audio"}, r"needs its rate in Hz, as in load\(x, kind='audio', rate=16000\)"),
        ({"kind": "smell"}, "no kind 'smell'; there are image"),
        ({"kind": "tokens"}, "tokens of type float64: give integers"),
    ):
        with pytest.raises(LemError, match=message):
            lemtools.load(np.zeros((2, 80)), **more)


def test_media_load_takes_a_path():
    from lemtools.media import load

    for path in (PHOTO, Path(PHOTO), [PHOTO], [Path(PHOTO)]):
        assert [len(batch) for batch in load(path)] == [1]


# streams


def test_a_stream_may_be_gone_through_again_but_an_iterator_not(tmp_path):
    stream = lemtools.fragment(PHOTO, bits=3)
    assert np.array_equal(stream.numpy(), stream.numpy())
    assert "bits 3" in repr(stream.one()) and repr(stream) == "<Stream: fragments, --bits 3>"
    once = lemtools.fragment((batch for batch in lemtools.load(PHOTO)), bits=3)
    assert len(once.one()) == 1
    with pytest.raises(LemError, match="gone; keep them"):
        list(once)


def test_nothing_is_read_before_it_is_asked_for():
    stream = lemtools.reconstruct(lemtools.fragment("not/here.png", bits=3), "decode")
    assert "decode" in repr(stream)
    with pytest.raises((LemError, OSError), match=r"not/here.png"):
        stream.one()


def test_one_and_signal_say_what_is_wrong():
    many = lemtools.load(np.zeros((2, 5)))
    with pytest.raises(LemError, match="more than one item"):
        many.one()
    assert len(many.signal()) == 2
    with pytest.raises(LemError, match="no item"):
        lemtools.load([]).one()
    with pytest.raises(LemError, match="differ in data"):
        lemtools.load([np.zeros((1, 5)), np.zeros((1, 6))]).signal()


# what the commands do


def test_fragment_is_lem_fragment(tmp_path):
    line = "--bits 1-6 --mask .25 --mask-shape patch:8 --noise .1 --clamp --seed 3"
    lem("fragment", *line.split(), PHOTO, "-o", tmp_path / "x.safetensors")
    wanted = lemtools.load(tmp_path / "x.safetensors").one()
    words = {"bits": (1, 6), "mask": 0.25, "mask_shape": "patch:8", "noise": 0.1, "clamp": True}
    found = lemtools.fragment(PHOTO, seed=3, **words)
    assert repr(found) == "<Stream: fragments, --bits 1-6 --mask 0.25 --mask-shape patch:8 --noise 0.1 --clamp>"
    found = found.one()
    assert np.array_equal(found.data, wanted.data) and found.names == wanted.names
    assert json.dumps([op["op"] for op in found.ops]) == '["bits", "mask", "noise"]'
    assert found.history[-1] == {"tool": "lemtools.fragment", "version": lemtools.__version__, "seed": 3}
    listed = [{"op": "bits", "bits": (1, 6)}, {"op": "mask", "mask": 0.25, "shape": "patch:8"}]
    assert np.array_equal(
        lemtools.fragment(PHOTO, listed, seed=3).numpy(),
        lemtools.fragment(PHOTO, bits=(1, 6), mask=0.25, mask_shape="patch:8", seed=3).numpy(),
    )


def test_the_order_of_keywords_is_the_order_of_losses():
    ops = [[op["op"] for op in lemtools.fragment(PHOTO, **words).one().ops] for words in (
        {"bits": 3, "mask": 0.5}, {"mask": 0.5, "bits": 3}
    )]  # fmt: skip
    assert ops == [["bits", "mask"], ["mask", "bits"]]
    vectors = RNG.standard_normal((3, 8))
    kept = lemtools.fragment(vectors, keep_dims=4, bits=2, quantizer="lloyd-max", rotate=False).signal()
    assert kept.data.shape == (3, 4) and kept.ops[1]["quantizer"] == "lloyd-max"
    assert lemtools.fragment(PHOTO, downsample=2).one().data.shape == (1, 3, 128, 192)


@pytest.mark.parametrize(
    "words, message",
    [
        ({}, "nothing to take away"),
        ({"bit": 3}, "no loss 'bit'; there are bits, quantizer"),
        ({"mask_shape": "rows", "mask": 0.5}, "mask_shape belongs right after mask"),
        ({"bits": 3, "mask": 0.5, "scale": "peak"}, "scale belongs right after bits"),
    ],
)
def test_losses_that_are_refused(words, message):
    with pytest.raises(LemError, match=message):
        lemtools.fragment(PHOTO, **words)
    with pytest.raises(LemError, match="as a list or as keywords"):
        lemtools.fragment(PHOTO, [{"op": "bits", "bits": 3}], mask=0.5)


def test_reconstruct_and_compare():
    broken = lemtools.fragment(PHOTO, bits=3)
    back = lemtools.reconstruct(broken, "decode").one()
    assert not back.ops and back.history[-1]["method"] == "decode"
    table = lemtools.compare(PHOTO, back, metrics="psnr,mae")
    error = np.abs(back.data - images(PHOTO).astype(float)).mean()
    assert isinstance(table, Table) and table["mae"] == pytest.approx(error, rel=1e-6)
    assert table["bits"] == 3 and len(table) == 3 and list(table) == ["psnr", "mae", "bits"]
    assert set(table.rows()[0]) == {"name", "mean", "low", "high", "n", "unit", "better"}
    with pytest.raises(KeyError, match="no 'ssim'; there are psnr, mae, bits"):
        table["ssim"]
    shown = repr(table).splitlines()
    assert shown[0].split()[:2] == ["metric", "mean"] and shown[1].startswith("psnr") and len(shown) == 4
    assert table._repr_html_().count("<tr>") == 4


def test_compare_gives_intervals_of_several():
    x = RNG.random((6, 1, 16, 16))
    y = np.clip(x + RNG.normal(0, 0.1, x.shape), 0, 1)
    table = lemtools.compare(x, y, ["mse"])
    (row,) = table.rows()
    values = ((x - y) ** 2).mean((1, 2, 3))
    assert row["n"] == 6 and row["low"] < row["mean"] < row["high"] and " to " in repr(table)
    assert np.allclose(table.values("mse"), values, rtol=1e-4) and row["mean"] == pytest.approx(values.mean(), rel=1e-4)


def test_recall_from_a_memory(tmp_path):
    store = RNG.integers(0, 256, (5, 1, 8, 8), np.uint8)
    np.save(tmp_path / "store.npy", store)
    broken = lemtools.fragment(store[[3]], mask=0.5)
    for memory in (store, Signal("image", store), tmp_path / "store.npy", str(tmp_path / "store.npy")):
        assert np.array_equal(lemtools.reconstruct(broken, memory=memory, device="cpu").numpy(), store[[3]])


def test_encode_and_back():
    patches = lemtools.encode(PHOTO).one()
    assert patches.kind == "embedding" and patches.history[-1]["encoder"] == "patches"
    assert np.array_equal(lemtools.encode(patches, decode=True).numpy(), images(PHOTO))
    x = RNG.random((20, 1, 4, 4)).astype(np.float32)
    codes = lemtools.encode(x, "pca", dims=16)
    assert codes.numpy().shape == (20, 16)
    lines = lemtools.encode(b"one\ntwo\n\nthree\n", "text", lines=True)
    assert [row.tolist() for batch in lines for row in batch.data] == [[*b"one"], [*b"two"], [*b"three"]]
    with pytest.raises(LemError, match="rvq needs"):
        lemtools.encode(x, "rvq")
    with pytest.raises(LemError, match="no encoder 'pcb'"):
        lemtools.encode(x, "pcb")


def test_a_fitted_encoder_by_its_path(tmp_path):
    from lemtools.encode import fit

    x = RNG.random((20, 12)).astype(np.float32)
    coder, _ = fit("pca", lambda: lemtools.load(x), dims=12)
    coder.save(str(tmp_path / "pca.safetensors"))
    codes = lemtools.encode(x, tmp_path / "pca.safetensors").signal()
    back = lemtools.encode(codes, str(tmp_path / "pca.safetensors"), decode=True)
    assert np.allclose(back.numpy(), x, atol=1e-5)


def test_save(tmp_path):
    broken = lemtools.fragment(PHOTO, bits=3)
    assert lemtools.save(broken, tmp_path / "x.safetensors") == 1
    assert lemtools.load(tmp_path / "x.safetensors").one().ops[0]["bits"] == 3
    assert lemtools.save(PHOTO, tmp_path / "x.png") == 1 and np.array_equal(images(tmp_path / "x.png"), images(PHOTO))
    assert lemtools.save([RGB, RGB], tmp_path / "out") == 2
    assert lemtools.save(RGB, str(tmp_path / "n-%02d.png")) == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["00000.png", "00001.png"]
    assert lemtools.save(broken, f"{tmp_path}/broken/") == 1 and (tmp_path / "broken").is_dir()
    assert next((tmp_path / "broken").iterdir()).suffix == ".safetensors"
    assert lemtools.save([], tmp_path / "none.png") == 0 and not (tmp_path / "none.png").exists()


def test_train_and_use(tmp_path):
    x = RNG.standard_normal((40, 12)).astype(np.float32)
    said, seen = [], []
    model = lemtools.train(
        "feedforward",
        x,
        tmp_path / "m.safetensors",
        fragment={"bits": (1, 6), "mask": 0.5, "mask_shape": "dims"},
        steps=2,
        batch=4,
        width=8,
        device="cpu",
        workers=0,
        note=said.append,
        progress=lambda step, steps, record: seen.append((step, steps)),
    )
    assert model == str(tmp_path / "m.safetensors") and seen[-1] == (2, 2)
    assert np.array_equal(lemtools.load(tmp_path / "m.data.safetensors").numpy(), x)
    broken = lemtools.fragment(x[:2], bits=3)
    back = lemtools.reconstruct(broken, model=Path(model), device="cpu")
    assert back.numpy().shape == (2, 12)
    assert load_model(model).meta["fragment"] == ["--bits 1-6 --mask 0.5 --mask-shape dims"]
