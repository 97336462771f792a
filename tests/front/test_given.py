"""What the library takes, and that nothing of it is lost or read as something else."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import lemtools as L
from helpers.commands import lem
from helpers.paths import ROOT
from lemtools import LemError, Signal
from lemtools.catalogue.shared import IMAGES, KIND, SKIP_BAD

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (12, 16, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (12, 16), np.uint8)
RGBA = np.dstack([RGB, ALPHA])
X = RNG.standard_normal((8, 16)).astype(np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(RGB).save("a.png")
    Image.fromarray(255 - RGB).save("b.png")
    Image.fromarray(RGB).save("e.jpg")


# several at once


def test_signals_that_each_say_last_are_all_kept():
    one, two = L.load("a.png").one(), L.load("b.png").one()
    assert one.last and two.last
    wanted = np.concatenate([one.data, two.data])
    assert L.save([one, two], "ab.safetensors") == 2
    assert np.array_equal(L.load("ab.safetensors").numpy(), wanted)
    assert L.save((s for s in [one, two]), "ab.npy") == 2 and len(np.load("ab.npy")) == 2
    assert L.save([one, two], "out/") == 2
    with open("stream", "wb", buffering=0) as file:
        L.stream.write([one, two], file)
    assert np.array_equal(L.load("stream").numpy(), wanted)


def test_training_learns_all_of_them():
    from lemtools.front.training import paths_of

    (path,) = paths_of([L.load(X).signal(), L.load(X + 1).signal()], "m.safetensors")
    assert np.array_equal(L.load(path).numpy(), np.concatenate([X, X + 1]))


def test_items_given_together_draw_independently():
    one, two = L.load(X).signal(), L.load(X).signal()
    for given in ([one, two], (s for s in [one, two]), [L.load(X), X], [Signal.concat([one, two])]):
        broken = L.fragment(given, mask=0.5).signal()
        assert broken.index.tolist() == list(range(16)) and len(np.unique(broken.mask, axis=0)) == 16
    parts = [one.take(slice(0, 3)), one.take(slice(3, 8))]  # a batch in parts draws what it draws whole
    assert np.array_equal(L.fragment(parts, mask=0.5).numpy(), L.fragment(one, mask=0.5).numpy())


def test_batches_of_other_losses_are_one_stream():
    images = L.load([RGB, RGB])
    mixed = [
        *L.fragment(images, bits=(1, 3), quantizer="lloyd-max"),
        *L.fragment(images, bits=(1, 4), quantizer="lloyd-max"),
    ]
    with pytest.warns(UserWarning, match="a stream of"):
        assert L.save(mixed, "mixed.safetensors") == 4
    found = [row for batch in L.load("mixed.safetensors") for row in batch.data]
    assert np.array_equal(found, np.concatenate([batch.data for batch in mixed]))


@pytest.mark.parametrize("path, given", [("a.png", "a.png"), ("e.jpg", lambda: L.fragment("e.jpg", bits=3))])
def test_what_is_read_is_not_written_over(path, given):
    before = open(path, "rb").read()
    things = given() if callable(given) else given
    for thing in (things, [things, RGB], L.reconstruct(things, "decode")):
        with pytest.raises(LemError, match="input and output at once"):
            L.save(thing, path)
    with pytest.raises(LemError, match="input and output at once"):
        L.save(path, "./", to=path[-3:])
    assert open(path, "rb").read() == before


# words of load


def test_every_look_of_the_commands_is_a_keyword():
    import inspect

    words = set(inspect.signature(L.load).parameters)
    assert {option.name for option in (KIND, *IMAGES, SKIP_BAD)} | {"key", "rate"} <= words
    for given in ("a.png", RGB, Image.fromarray(RGB), L.load("a.png"), L.load("a.png").one(), [RGB], iter([RGB])):
        grey = L.load(given, grey=True).numpy()
        assert grey.shape == (1, 1, 12, 16), given
    lem("encode", "--encoder", "patches", "--resize", "8", "--grey", "a.png", "-o", "p.safetensors")
    with pytest.warns(UserWarning, match="cut to the aspect"):
        small = L.load(["a.png"], resize=8, grey=True).one()
    assert np.array_equal(L.encode(small).numpy(), L.load("p.safetensors").numpy())
    assert L.load(RGB, resize=(8, 6)).numpy().shape == (1, 3, 6, 8)
    assert L.load("a.png", kind="image").one().kind == "image"
    with open("bad.png", "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
    with pytest.warns(UserWarning, match="left out"):
        assert len(list(L.load(["bad.png", "a.png"], skip_bad=True))) == 1
    np.savez("two.npz", one=X, two=X + 1)
    assert np.array_equal(L.load("two.npz", key="two").numpy(), X + 1)
    np.save("sound.npy", np.zeros(80))
    assert L.load("sound.npy", kind="audio", rate=8000).one().data.shape == (1, 1, 80)


def test_floats_that_may_be_a_picture_are_refused_in_any_range():
    for scale, shift in ((1, 0), (255, 0), (2, -1)):
        floats = RGB / 255 * scale + shift
        with pytest.raises(LemError, match="say load"):
            L.load(floats)
        assert L.load(floats, kind="embedding").signal().kind == "embedding"
        if scale > 1:
            with pytest.raises(LemError, match=r"must lie in \[0, 1\]"):
                L.load(floats, kind="image")
    assert L.load(RNG.standard_normal((3, 5, 7))).signal().kind == "embedding"
    np.save("f3.npy", RGB / 255)
    with pytest.warns(UserWarning, match="f3.npy: 12 embeddings .*; kind image reads one RGB image"):
        assert L.load("f3.npy").signal().kind == "embedding"
    assert L.load("f3.npy", kind="image").numpy().shape == (1, 3, 12, 16)


def test_alpha_is_laid_on_the_background_whatever_it_comes_as():
    Image.fromarray(RGBA).save("rgba.png")
    for colour in (None, "black", "#10ff30"):
        found = []
        for given in ("rgba.png", Image.fromarray(RGBA), RGBA, RGBA[None], RGBA.transpose(2, 0, 1)[None]):
            with pytest.warns(UserWarning, match="transparent pixels were laid on"):
                found.append(L.load(given, background=colour).numpy())
        assert all(np.array_equal(each, found[0]) for each in found) and found[0].shape == (1, 3, 12, 16)
    with pytest.warns(UserWarning, match="transparent"):
        floats = L.load(RGBA / 255, kind="image").numpy()
    with pytest.warns(UserWarning, match="transparent"):
        assert np.abs(floats * 255 - L.load(RGBA).numpy()).max() <= 0.51
    assert L.load(np.zeros((2, 4, 6, 7), np.float32)).numpy().shape[1] == 4  # four channels, not colours


@pytest.mark.parametrize(
    "mode, values",
    [
        ("F", RGB[..., 0] / np.float32(255)),
        ("I", RGB[..., 0].astype(np.int32) * 200),
        ("I;16", RGB[..., 0].astype(np.uint16) * 200),
        ("L", RGB[..., 0]),
    ],
)
def test_a_picture_is_read_as_its_file_would_be(mode, values):
    image = Image.fromarray(values)
    assert image.mode == mode
    image.save("x.png" if mode in ("L", "I;16") else "x.tif")
    if mode == "I":
        assert np.abs(L.load(image).numpy()[0, 0] * 65535 - values).max() < 0.01
    else:
        found = L.load("x.png" if mode in ("L", "I;16") else "x.tif").numpy()
        assert np.array_equal(L.load(image).numpy(), found)


def test_a_turned_picture_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save("turned.jpg", exif=exif, quality=95)
    with Image.open("turned.jpg") as image:
        assert np.array_equal(L.load(image).numpy(), L.load("turned.jpg").numpy())


# losses


def test_losses_as_text_and_as_dicts():
    wanted = L.fragment(RGB, bits=3, mask=0.5, mask_shape="rows").one()
    for losses in (
        "--bits 3 --mask .5 --mask-shape rows",
        [{"op": "bits", "bits": 3}, {"op": "mask", "mask": 0.5, "shape": "rows"}],
        {"bits": "3", "mask": ".5", "mask_shape": "rows"},
    ):
        found = L.fragment(RGB, losses).one()
        assert np.array_equal(found.data, wanted.data) and found.ops == wanted.ops
    assert L.fragment(RGB, {"op": "bits", "bits": 3}).one().ops[0]["bits"] == 3
    assert repr(L.fragment(RGB, bits="1-6")) == repr(L.fragment(RGB, bits=(1, 6)))
    assert L.fragment(RGB, crop=10).one().data.shape == (1, 3, 10, 10)


# recall


def test_lost_is_lem_reconstruct_lost():
    lost = np.zeros((12, 16), bool)
    lost[3:6, 4:9] = True
    Image.fromarray(lost).save("mask.png")
    lem("reconstruct", "--lost", "mask.png", "--method", "inpaint", "a.png", "-o", "back.png")
    wanted = L.load("back.png").numpy()
    picture = Image.fromarray(lost)
    for mask in ("mask.png", lost, lost * np.uint8(255), picture, lost.astype(np.float32)):
        for given in ("a.png", RGB):
            back = L.reconstruct(given, "inpaint", lost=mask).one()
            assert np.array_equal(back.data, wanted) and back.cost is not None
    Image.fromarray(np.dstack([RGB, np.where(lost, 0, 255).astype(np.uint8)])).save("holes.png")
    for given in ("holes.png", Image.open("holes.png")):
        back = L.reconstruct(given, "inpaint", lost="alpha").one()
        assert np.array_equal(back.data[..., ~lost], RGB.transpose(2, 0, 1)[None][..., ~lost]) and back.cost is not None


def test_a_whole_image_comes_back_with_a_note():
    with pytest.warns(UserWarning, match="comes back as it is; lost="):
        assert np.array_equal(L.reconstruct("a.png").numpy(), L.load("a.png").numpy())


def test_a_memory_is_read_as_load_reads_it():
    torch = pytest.importorskip("torch")
    grey = RNG.integers(0, 256, (20, 12, 12), np.uint8)
    colour = RNG.integers(0, 256, (20, 12, 12, 3), np.uint8)
    for stored, more in ((grey, [grey[:, None]]), (colour, [colour.transpose(0, 3, 1, 2)])):
        broken = L.fragment(stored[4:5], mask=0.5)
        wanted = L.load(stored[4:5]).numpy()
        for memory in (stored, [*stored], torch.from_numpy(stored), L.load(stored), *more):
            assert np.array_equal(L.reconstruct(broken, memory=memory, device="cpu").numpy(), wanted)
    held, broken = L.fragment(RGB, bits=3), L.fragment(RGB, mask=0.5)
    (decoded,) = held
    assert np.array_equal(L.reconstruct(broken, memory=held).numpy(), decoded.data)
    with pytest.raises(LemError, match="fragments of mask; a store takes whole memories"):
        L.reconstruct(RGB, memory=broken)
    coder = L.fit(X, "pca", dims=7)
    coder.save("c.safetensors")
    found = L.reconstruct(
        L.fragment(X, mask=0.2), memory=L.encode(X, coder), memory_model=["c.safetensors"], sigma=1e-3
    )
    assert np.allclose(found.numpy(), L.encode(L.encode(X, coder), coder, decode=True).numpy(), atol=1e-5)


def test_what_was_fitted_decodes():
    coder = L.fit(X, "pca", dims=7)
    codes = L.encode(X, coder)
    back = L.encode(codes.signal(), coder, decode=True).numpy()
    wanted = X - X.mean(0)
    u, s, v = np.linalg.svd(wanted, full_matrices=False)
    assert np.allclose(back, (u[:, :7] * s[:7]) @ v[:7] + X.mean(0), atol=1e-5)
    own = L.encode(X, "pca", dims=7)
    assert np.allclose(L.encode(own, decode=True).numpy(), back, atol=1e-5)
    assert np.allclose(L.encode(own.signal(), own.encoder, decode=True).numpy(), back, atol=1e-5)
    coder.save("pca.safetensors")
    assert np.array_equal(L.encode(X, "pca.safetensors").numpy(), codes.numpy())
    books = L.fit(RNG.standard_normal((200, 8)), "rvq", stages=2, codes=8, device="cpu", validate=X[:, :8])
    assert L.encode(L.encode(X[:, :8], books), books, decode=True).numpy().shape == (8, 8)


def test_only_what_is_missing_is_compared():
    broken = L.fragment("a.png", mask=0.5)
    back = L.reconstruct(broken, "decode").one()
    one = L.compare("a.png", back, "mae", where="missing", fragment=broken)
    assert (
        one["mae"] == L.compare("a.png", back, "mae", fragments=broken)["mae"] > L.compare("a.png", back, "mae")["mae"]
    )


# rooms


def test_rooms_are_there_after_import_lemtools_alone():
    names = ["media.sample", "stream.read", "signal.Signal", "fragment.fragment", "rng", "denoise.samplers"]
    code = "import sys, lemtools; assert 'numpy' not in sys.modules; "
    ask = "; ".join(f"lemtools.{name}" for name in names)
    done = subprocess.run([sys.executable, "-c", code + ask], cwd=ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    for name in ("stream.write", "train.loop.train", "reconstruct.Reconstructor", "encode.Coder", "compare.Comparison"):
        assert callable(eval(f"L.{name}"))
    for name in ("nonsense", "train.nonsense", "media.nonsense"):
        with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
            eval(f"L.{name}")
    assert not callable(L.media) and callable(L.train)
