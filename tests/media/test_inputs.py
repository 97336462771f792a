"""What goes in: transparency, depth, frames, tables, masks of what is lost, folders with bad files; known answers each."""

import gzip
import json
import os
import pickle
import re
import struct
import sys
import zipfile
import zlib

import numpy as np
import pytest
import soundfile
from PIL import Image, features

from helpers.commands import lem_fork
from lemtools import media, stream
from lemtools.fragment.lost import lose
from lemtools.media import load
from lemtools.media.sounds import wav
from lemtools.signal import LemError, Signal, bits_per_element

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (6, 9, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (6, 9, 3), np.uint16)


def read(path, **options) -> tuple[list[Signal], list[str]]:
    """(batches, notes) of an input."""
    notes: list[str] = []
    return list(load(path, note=notes.append, **options)), notes


def one(path, **options) -> Signal:
    (signal,), _ = read(path, **options)
    return signal


def pixels(path, **options) -> list:
    """[H, W, C] as numbers."""
    return one(path, **options).data[0].transpose(1, 2, 0).tolist()


def png(path, rows: np.ndarray, bits: int, colour: int, *chunks: tuple[bytes, bytes]) -> None:
    """A PNG written by its specification: rows [H, bytes], its header's depth and colour type, chunks before IDAT."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    head = struct.pack(">IIBBBBB", rows.shape[1] * 8 // (bits * samples), len(rows), bits, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in ((b"IHDR", head), *chunks, (b"IDAT", body), (b"IEND", b"")):
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def big(values: np.ndarray) -> np.ndarray:
    """Numbers of 16 bits as rows of bytes, the upper first."""
    return values.astype(">u2").reshape(len(values), -1).view(np.uint8)


def tiff(path, values: np.ndarray, order: str, photometric: int, form: int = 1, compression: int = 1) -> None:
    """A TIFF of one strip, by its specification: values [H, W, C]; form: 1 whole numbers, 3 floats."""
    height, width, channels = values.shape
    body = np.ascontiguousarray(values, values.dtype.newbyteorder(order)).tobytes()
    body = body if compression == 1 else zlib.compress(body)
    bits = 8 * values.itemsize
    entries = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits] * channels), (259, 3, [compression])]
    entries += [(262, 3, [photometric]), (273, 4, [0]), (277, 3, [channels]), (278, 4, [height]), (279, 4, [len(body)])]
    entries += [(339, 3, [form] * channels)]
    after = 8 + 2 + 12 * len(entries) + 4
    extra, table = b"", struct.pack(order + "H", len(entries))
    sizes = {3: "H", 4: "I"}
    start = after + sum(2 * len(v) for _, kind, v in entries if kind == 3 and len(v) > 2)
    for tag, kind, numbers in entries:
        numbers = [start] if tag == 273 else numbers
        raw = struct.pack(order + sizes[kind] * len(numbers), *numbers)
        if len(raw) > 4:
            raw, extra = struct.pack(order + "I", after + len(extra)), extra + raw
        table += struct.pack(order + "HHI", tag, kind, len(numbers)) + raw.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    with open(path, "wb") as file:
        file.write(head + table + bytes(4) + extra + body)


# --- transparency


@pytest.mark.parametrize(
    "background, half, none",
    [
        ("white", [227, 178, 127], [255, 255, 255]),  # 128/255 of the pixel, 127/255 of the ground, rounded
        ("black", [100, 51, 0], [0, 0, 0]),
        ("#0000ff", [100, 51, 127], [0, 0, 255]),
        ("rgb(10, 20, 30)", [105, 61, 15], [10, 20, 30]),
    ],
)
def test_alpha_is_laid_on_a_background(tmp_path, background, half, none):
    values = np.array([[[200, 101, 0, 255], [200, 101, 0, 128], [200, 101, 0, 0]]], np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(values).save(tmp_path / name)
    (signal,), notes = read(tmp_path, background=background)
    assert signal.data[1].transpose(1, 2, 0).tolist() == [[[200, 101, 0], half, none]]
    assert notes == [f"{tmp_path / 'a.png'}: transparent pixels were laid on {background} (--background COLOUR)"]


def test_opaque_alpha_needs_no_note(tmp_path):
    Image.fromarray(RGB).convert("RGBA").save(tmp_path / "x.png")
    (signal,), notes = read(tmp_path / "x.png")
    assert np.array_equal(signal.data[0].transpose(1, 2, 0), RGB) and notes == []


def test_grey_with_alpha_stays_grey_on_grey(tmp_path):
    Image.fromarray(np.array([[[200, 255], [200, 128]]], np.uint8), "LA").save(tmp_path / "x.png")
    assert pixels(tmp_path / "x.png") == [[[200], [227]]]
    assert pixels(tmp_path / "x.png", background="red") == [[[200, 200, 200], [227, 100, 100]]]


def test_palette_and_keyed_transparency(tmp_path):
    path, index = tmp_path / "x.png", np.array([[0, 1]], np.uint8)
    colours = (b"PLTE", bytes([10, 20, 30, 40, 50, 60]))
    png(path, index, 8, 3, colours, (b"tRNS", bytes([255, 0])))
    assert pixels(path) == [[[10, 20, 30], [255, 255, 255]]]
    png(path, index, 8, 3, colours, (b"tRNS", bytes([255, 51])))  # a fifth of the colour, four of black
    assert pixels(path, background="black") == [[[10, 20, 30], [8, 10, 12]]]
    png(path, np.array([[7, 8]], np.uint8), 8, 0, (b"tRNS", struct.pack(">H", 7)))
    assert pixels(path) == [[[255], [8]]]
    png(path, np.array([[0b00011011]], np.uint8), 2, 0, (b"tRNS", struct.pack(">H", 1)))
    assert pixels(path) == [[[0], [255], [170], [255]]]
    png(path, np.array([[1, 2, 3, 1, 2, 4]], np.uint8), 8, 2, (b"tRNS", struct.pack(">3H", 1, 2, 3)))
    assert pixels(path) == [[[255, 255, 255], [1, 2, 4]]]
    deep = np.array([[[1, 2, 3], [1, 2, 4]]])  # of the same upper bytes
    png(path, big(deep), 16, 2, (b"tRNS", struct.pack(">3H", 1, 2, 3)))
    assert np.rint(np.array(pixels(path)) * 65535).tolist() == [[[65535] * 3, [1, 2, 4]]]
    png(path, big(np.array([[300, 301]])), 16, 0, (b"tRNS", struct.pack(">H", 300)))
    assert np.rint(np.array(pixels(path)) * 65535).tolist() == [[[65535], [301]]]


def test_an_unknown_background(tmp_path):
    Image.fromarray(np.zeros((1, 1, 4), np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(LemError, match=r"x.png: --background mauvish: no colour; as in white"):
        read(tmp_path / "x.png", background="mauvish")


# --- more than 8 bits


def full(path) -> np.ndarray:
    """[H, W, C] of a file of 16 bits a value, in its own whole numbers; exact, or it fails."""
    data = one(path).data[0].transpose(1, 2, 0)
    whole = np.rint(data.astype(np.float64) * 65535)
    assert data.dtype == np.float32 and np.array_equal(data, (whole / 65535).astype(np.float32))
    return whole


def test_colour_png_of_16_bits(tmp_path):
    path = tmp_path / "x.png"
    png(path, big(DEEP), 16, 2)
    assert np.array_equal(full(path), DEEP)
    png(path, big(np.dstack([DEEP, np.full((6, 9), 65535)])), 16, 6)
    assert np.array_equal(full(path), DEEP)
    png(path, big(np.dstack([DEEP[..., :1], np.full((6, 9), 65535)])), 16, 4)
    assert np.array_equal(full(path), DEEP[..., :1])


@pytest.mark.parametrize("colour, channels", [(4, 1), (6, 3)])
def test_alpha_of_16_bits(tmp_path, colour, channels):
    alpha = RNG.integers(0, 65536, (6, 9, 1), np.uint16)
    png(tmp_path / "x.png", big(np.dstack([DEEP[..., :channels], alpha])), 16, colour)
    share = alpha / 65535
    expected = share * DEEP[..., :channels] / 65535 + (1 - share)
    assert np.abs(np.array(pixels(tmp_path / "x.png")) - expected).max() < 1e-6


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_of_16_bits(tmp_path, order):
    tiff(tmp_path / "x.tif", DEEP, order, 2)
    assert np.array_equal(full(tmp_path / "x.tif"), DEEP)
    tiff(tmp_path / "x.tif", DEEP[..., :1], order, 1)
    assert np.array_equal(full(tmp_path / "x.tif"), DEEP[..., :1])


@pytest.mark.parametrize("order", ["<", ">"])
def test_white_is_zero(tmp_path, order):
    tiff(tmp_path / "x.tif", DEEP[..., :1], order, 0)
    if order == "<":
        assert np.array_equal(full(tmp_path / "x.tif"), 65535 - DEEP[..., :1].astype(int))
    else:
        with pytest.raises(LemError, match="x.tif: not a readable TIFF"):  # no mode of Pillow's
            read(tmp_path / "x.tif")
    tiff(tmp_path / "x.tif", RGB[..., :1], order, 0)
    assert np.array_equal(pixels(tmp_path / "x.tif"), 255 - RGB[..., :1])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels, compression, dtype", [(1, 1, "f4"), (3, 1, "f4"), (3, 8, "f4"), (3, 1, "f8")])
def test_tiff_of_floats(tmp_path, order, channels, compression, dtype):
    values = RNG.random((6, 9, channels)).astype(dtype)
    tiff(tmp_path / "x.tif", values, order, 2 if channels == 3 else 1, 3, compression)
    signal = one(tmp_path / "x.tif")
    assert signal.data.dtype == np.float32
    assert np.array_equal(signal.data[0].transpose(1, 2, 0), values.astype(np.float32))
    values[0, 0, 0] = 1.5
    tiff(tmp_path / "x.tif", values, order, 2 if channels == 3 else 1, 3, compression)
    with pytest.raises(LemError, match=r"x.tif: float pixels from .* to 1.5; an image lies in \[0, 1\]: divide"):
        read(tmp_path / "x.tif")


def test_colour_pnm_of_16_bits(tmp_path):
    (tmp_path / "x.ppm").write_bytes(b"P6 9 6 65535\n" + DEEP.astype(">u2").tobytes())
    assert np.array_equal(full(tmp_path / "x.ppm"), DEEP)


# --- formats, frames, orientation


def test_gif(tmp_path):
    image = Image.fromarray(RGB).quantize(16)
    image.save(tmp_path / "x.gif")
    (signal,), notes = read(tmp_path / "x.gif")
    assert np.array_equal(signal.data[0].transpose(1, 2, 0), np.asarray(image.convert("RGB"))) and notes == []


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif(tmp_path):
    flat = np.broadcast_to(np.array([200, 100, 50], np.uint8), (16, 16, 3))
    Image.fromarray(np.ascontiguousarray(flat)).save(tmp_path / "x.avif", quality=100)
    (signal,), notes = read(tmp_path / "x.avif")
    assert signal.data.shape == (1, 3, 16, 16) and signal.data.dtype == np.uint8 and notes == []
    assert np.abs(signal.data[0].transpose(1, 2, 0).astype(int) - flat).max() <= 2


@pytest.mark.parametrize("form, options", [("webp", {"lossless": True}), ("png", {}), ("gif", {})])
def test_the_first_of_several_frames(tmp_path, form, options):
    first, second = (Image.fromarray(np.full((6, 9, 3), v, np.uint8)) for v in (50, 200))
    path = tmp_path / f"x.{form}"
    first.save(path, save_all=True, append_images=[second], duration=100, **options)
    (signal,), notes = read(path)
    assert signal.data.shape == (1, 3, 6, 9) and (signal.data == 50).all()
    assert notes == [f"{path}: 2 frames, of which the first is read"]


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form, options", [("JPEG", {"quality": 95}), ("WEBP", {"lossless": True}), ("PNG", {})])
def test_orientation(tmp_path, form, options, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / "x"
    Image.fromarray(RGB).save(path, form, exif=exif, **options)
    with Image.open(path) as image:
        raw = np.asarray(image)
    way = {2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 6: lambda x: np.rot90(x, 3), 8: np.rot90}
    way |= {1: lambda x: x, 5: lambda x: x.swapaxes(0, 1), 7: lambda x: np.rot90(x, 2).swapaxes(0, 1)}
    assert np.array_equal(pixels(path), way[turn](raw))


def test_orientation_of_16_bits(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    png(tmp_path / "x.png", big(DEEP), 16, 2, (b"eXIf", exif.tobytes()[6:]))
    assert np.array_equal(full(tmp_path / "x.png"), np.rot90(DEEP, 3))


@pytest.mark.skipif("MP3" not in soundfile.available_formats(), reason="this libsndfile writes no MP3")
def test_mp3(tmp_path):
    path = tmp_path / "x"
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    soundfile.write(path, tone, 16000, format="MP3")
    heard, rate = soundfile.read(path, dtype="float32", always_2d=True)
    signal = one(path)
    assert (signal.kind, signal.rate, rate, signal.data.shape) == ("audio", 16000, 16000, (1, 1, 16000))
    assert np.abs(signal.data[0] - heard.T).max() < 1e-6  # libsndfile's last bit depends on how much is asked for
    assert np.corrcoef(signal.data[0, 0, 2000:14000], tone[2000:14000])[0, 1] > 0.99
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(LemError, match=rf"x: MP3 cut short, {len(raw) // 2} of {len(raw)} bytes"):
        one(path)


# --- tables of numbers


TABLE = np.array([[1, 2.5, -3e-2], [4, 0.5, 6]], np.float32)


@pytest.mark.parametrize("between", [",", "\t", ";", ", "])
@pytest.mark.parametrize("head", [[], ["a", "b", "c"], ['"a x"', "b", "c"]])
def test_a_table_is_embeddings(tmp_path, between, head):
    rows = [head] * bool(head) + [["1", "2.5", "-3e-2"], ["4", ".5", '"6"']]
    path = tmp_path / "x"
    path.write_text("".join(between.join(row) + "\r\n" for row in rows))
    (signal,), notes = read(path)
    assert signal.kind == "embedding" and signal.data.dtype == np.float32 and np.array_equal(signal.data, TABLE)
    names = f", line 1 ({','.join(head)}) taken for names of its columns".replace('"', "") if head else ""
    words = f"{path}: a table of numbers, read as 2 embeddings of 3 dimensions{names} (--kind text for its text)"
    assert notes == [words]
    text = one(path, kind="text")
    assert text.kind == "tokens" and bytes(text.data[0].tolist()) == path.read_bytes()


def test_a_column_that_numbers_the_rows_is_left_out(tmp_path):
    (tmp_path / "x.csv").write_text(",a,b,c\n0,1,2.5,-0.03\n1,4,.5,6\n")
    (signal,), notes = read(tmp_path / "x.csv")
    assert np.array_equal(signal.data, TABLE) and "the column that numbers them left out" in notes[0]


@pytest.mark.parametrize(
    "text",
    [
        "It was late, and 3, or 4, of us had gone.\n",
        "1, 2 and 3\n4, 5 and 6\n",
        "Chapter 1\n1,2,3\n",  # a heading is no row of names
        "12\n13\n",
        "name,age\nAda,36\n",
    ],
)
def test_prose_stays_text(tmp_path, text):
    (tmp_path / "x").write_text(text)
    (signal,), notes = read(tmp_path / "x")
    assert signal.kind == "tokens" and bytes(signal.data[0].tolist()) == text.encode() and notes == []


def test_numbers_between_spaces(tmp_path):
    path = tmp_path / "x"
    path.write_text("1 2\n3 4\n")
    (signal,), notes = read(path)
    assert signal.kind == "tokens" and bytes(signal.data[0].tolist()) == b"1 2\n3 4\n"
    assert notes == [f"{path}: numbers between spaces are read as text; --kind embedding reads them as numbers"]
    assert one(path, kind="embedding").data.tolist() == [[1, 2], [3, 4]]
    tokens = one(path, kind="tokens")
    assert tokens.kind == "tokens" and tokens.data.tolist() == [[1, 2], [3, 4]]
    path.write_text("1,2.5\n")
    with pytest.raises(LemError, match="x: tokens are whole numbers"):
        one(path, kind="tokens")


@pytest.mark.parametrize(
    "text, words",
    [
        ("1,2\n3,x\n", "a table of numbers, but .* in line 2; --kind text reads it as text"),
        ("a,b\n1,2\n3\n", "a table of numbers, but .* in line 3; --kind text reads it as text"),
        ("1,2\n3,nan\n", "NaN or infinite values"),
    ],
)
def test_a_table_that_is_none_further_down(tmp_path, text, words):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(LemError, match=f"x.csv: {words}"):
        read(tmp_path / "x.csv")


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path, rows = tmp_path / "x", TABLE.tolist()
    parquet.write_table(pyarrow.table({"text": ["a", "b"], "vector": rows, "other": [1, 2]}), path)
    signal = one(path)
    assert signal.kind == "embedding" and signal.last and np.array_equal(signal.data, TABLE)
    assert one(path, key="other").data.tolist() == [[1], [2]]
    with pytest.raises(LemError, match="x: no column of numbers 'text'; there is vector, other"):
        read(path, key="text")
    columns = {name: TABLE[:, i].tolist() for i, name in enumerate("abc")}
    parquet.write_table(pyarrow.table({"text": ["a", "b"], **columns}), path)
    assert np.array_equal(one(path).data, TABLE)
    parquet.write_table(pyarrow.table({"vector": [[1.0, 2.0], [3.0]]}), path)
    with pytest.raises(LemError, match="x: lists of several lengths, or with empty values, in the column vector"):
        read(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LemError, match="x: not a readable parquet"):
        read(path)


def test_parquet_without_its_reader(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"PAR1" + bytes(20))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(LemError, match=r"x: parquet needs pyarrow, which is not installed: pip install 'lemtools\["):
        read(tmp_path / "x")


# --- what an array is


@pytest.mark.parametrize(
    "array, kind, expected",
    [
        (RGB[..., 0], "embedding", ("embedding", RGB[..., 0].astype("f4"))),
        (RGB[..., 0], "tokens", ("tokens", RGB[..., 0])),
        (DEEP[..., 0], "image", ("image", (DEEP[None, None, ..., 0] / np.float32(65535)))),
        (TABLE[None] / 20 + 0.5, "image", ("image", TABLE[None, None] / 20 + 0.5)),
        (np.arange(6).reshape(2, 3), "embedding", ("embedding", np.arange(6, dtype="f4").reshape(2, 3))),
    ],
)
def test_kind_says_what_an_array_is(tmp_path, array, kind, expected):
    np.save(tmp_path / "x.npy", array)
    signal = one(tmp_path / "x.npy", kind=kind)
    assert signal.kind == expected[0] and np.array_equal(signal.data, expected[1])
    assert np.array_equal(media.store([str(tmp_path / "x.npy")], kind=kind), expected[1])


def test_kind_that_an_input_is_not(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "x.png")
    with pytest.raises(LemError, match="x.png: a PNG, which holds images; it cannot be read as --kind audio"):
        read(tmp_path / "x.png", kind="audio")
    np.save(tmp_path / "x.npy", TABLE)
    with pytest.raises(LemError, match="x.npy: an array has no sample rate; save the sound as WAV"):
        read(tmp_path / "x.npy", kind="audio")
    with pytest.raises(LemError, match="no kind 'photo'; there are image, audio"):
        load(tmp_path / "x.npy", kind="photo")


def test_one_colour_image_in_an_array(tmp_path):
    np.save(tmp_path / "x.npy", RGB)
    (signal,), notes = read(tmp_path / "x.npy")
    assert np.array_equal(signal.data, RGB.transpose(2, 0, 1)[None])
    text = "one RGB image of 9 x 6 px; 6 grey ones 3 px wide would be [6, 1, 9, 3]"
    assert notes == [f"{tmp_path / 'x.npy'}: {text}"]


@pytest.mark.parametrize("form", ["zip", "plain"])
@pytest.mark.parametrize("name", ["model.pt", "x.npy"])
def test_pickles_are_refused(tmp_path, form, name):
    path = tmp_path / name
    if form == "zip":  # as torch.save writes it
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", pickle.dumps([1, 2]))
            archive.writestr("model/data/0", bytes(8))
    else:
        path.write_bytes(pickle.dumps({"weights": [1.0, 2.0]}))
    with pytest.raises(LemError, match=rf"{name}: a pickle \(.pt, .pkl\), which can run any code .* safetensors.torch"):
        read(path)


# --- size and colour


def test_grey_among_colours(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    Image.fromarray(RGB[..., 0]).save(tmp_path / "b.png")
    assert [batch.data.shape for batch in read(tmp_path)[0]] == [(1, 3, 6, 9), (1, 1, 6, 9)]
    data = one(tmp_path, colour="rgb").data
    assert np.array_equal(data[0].transpose(1, 2, 0), RGB) and np.array_equal(data[1], np.stack([RGB[..., 0]] * 3))
    data = one(tmp_path, colour="grey").data
    luma = np.rint(RGB.astype(np.float64) @ [0.299, 0.587, 0.114])
    assert np.array_equal(data[0, 0], luma) and np.array_equal(data[1, 0], RGB[..., 0])
    with pytest.raises(LemError, match="memories of several shapes or kinds; .*--grey and --rgb"):
        media.store([str(tmp_path)])
    assert media.store([str(tmp_path)], colour="grey").shape == (2, 1, 6, 9)


def test_resize(tmp_path):
    path, image = tmp_path / "x.png", Image.fromarray(RGB)
    image.save(path)
    assert np.array_equal(pixels(path, size=(3, 2)), np.asarray(image.resize((3, 2), Image.Resampling.BILINEAR)))
    (signal,), notes = read(path, size=(4, 4))
    cut = image.resize((4, 4), Image.Resampling.BILINEAR, (1.5, 0, 7.5, 6))
    assert np.array_equal(signal.data[0].transpose(1, 2, 0), np.asarray(cut))
    assert notes == [f"{path}: 9 x 6 px cut to the aspect of 4 x 4, in the middle, before it was resized"]
    np.save(tmp_path / "x.npy", TABLE)
    with pytest.raises(LemError, match="x.npy: embedding; --resize is for whole images"):
        read(tmp_path / "x.npy", size=(4, 4))


def test_a_store_of_images_that_are_changed_is_read(tmp_path):
    np.save(tmp_path / "x.npy", RGB.transpose(2, 0, 1)[None])
    assert media.on_disk(str(tmp_path / "x.npy")) is not None
    assert media.store([str(tmp_path / "x.npy")], size=(3, 2)).shape == (1, 3, 2, 3)


# --- bad files


@pytest.fixture
def album(tmp_path):
    """A folder of two photos, a broken one between them."""
    folder = tmp_path / "album"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        Image.fromarray(RGB).save(folder / name)
    (folder / "b.jpg").write_bytes((folder / "a.jpg").read_bytes()[:200])
    return folder


def test_bad_files_of_a_folder(album):
    errors: list[Exception] = []
    batches = list(load(album, report=errors.append))
    assert [batch.names for batch in batches] == [["a.jpg", "c.jpg"]] and len(errors) == 1
    with pytest.raises(LemError, match="b.jpg: not a readable JPEG"):
        list(load(album))
    errors.clear()
    (batch,), notes = read(album, skip_bad=True, report=errors.append)
    assert batch.names == ["a.jpg", "c.jpg"] and batch.last and not errors
    assert len(notes) == 1 and notes[0].startswith(f"left out: {album / 'b.jpg'}: not a readable JPEG")
    with pytest.raises(LemError, match="nothing could be read: .*b.jpg"):
        read(album / "b.jpg", skip_bad=True)


def test_skip_bad_of_a_command(album, tmp_path):
    out = tmp_path / "out.safetensors"
    done = lem_fork("fragment", "--bits", "3", album, "-o", out)
    assert done.returncode == 2 and b"lem-fragment: error: " in done.stderr and b"b.jpg" in done.stderr
    done = lem_fork("fragment", "--bits", "3", album, "--skip-bad", "-o", out)
    assert done.returncode == 0 and b"lem-fragment: left out: " in done.stderr
    (signal,) = load(out)
    assert signal.names == ["a.jpg", "c.jpg"]


@pytest.fixture
def sounds(tmp_path):
    """Three sounds, and beside them a picture and a text."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    for k in range(3):
        soundfile.write(folder / f"{k}.wav", np.random.default_rng(k).uniform(-0.5, 0.5, 100), 8000)
    Image.fromarray(RGB).save(folder / "p.png")
    (folder / "notes.wav").write_text("a text by the name of a sound")
    return folder


STFT = ["--encoder", "stft", "--n-fft", "16"]


@pytest.mark.parametrize(
    "line, kinds",
    [
        (["encode", *STFT], "sounds"),
        (["fragment", "--lowpass", "1000"], "sounds and spectra"),
        (["fragment", "--bits", "4", "--mask", ".5", "--mask-shape", "span"], "sounds, spectra, states and embeddings"),
        (
            ["train", "feedforward", *STFT, "--steps", "1", "--batch", "2", "--fragment", "--mask .5", "--data"],
            "sounds",
        ),
    ],
)
def test_what_is_of_another_kind_is_left_out_where_asked(sounds, tmp_path, line, kinds):
    refused = lem_fork(*line, sounds, "-o", tmp_path / "a.safetensors")
    assert refused.returncode == 2 and b"error: " in refused.stderr and b"left out" not in refused.stderr
    done = lem_fork(*line, sounds, "--skip-bad", "-o", tmp_path / "b.safetensors")
    notes = [said for said in done.stderr.decode().splitlines() if "left out" in said]
    assert done.returncode == 0 and len(notes) == 2 and b"error" not in done.stderr
    assert notes[0].endswith(f"notes.wav: tokens, where {kinds} are taken")
    assert notes[1].endswith(f"p.png: images, where {kinds} are taken")
    alone = lem_fork(*line, sounds / "p.png", "--skip-bad", "-o", tmp_path / "c.safetensors")
    assert alone.returncode == 2 and b"nothing could be read: " in alone.stderr


@pytest.mark.parametrize("form", ["npy", "npz", "safetensors"])
def test_arrays_of_others_are_spectra_where_it_is_said(tmp_path, form):
    from safetensors.numpy import save_file

    values = np.random.default_rng(0).standard_normal((5, 2, 9, 8)).astype(np.float32)

    def written(array, name):
        path = tmp_path / f"{name}.{form}"
        save = {
            "npy": np.save,
            "npz": lambda p, a: np.savez(p, a=a),
            "safetensors": lambda p, a: save_file({"a": a}, p),
        }
        save[form](path, array)
        return path

    path = written(values, "x")
    with pytest.raises(
        LemError, match="--kind spectrum(, field or image reads those of 4$| reads spectra .N, C, F, T.)"
    ):
        list(load(path))
    (batch,) = load(path, kind="spectrum")
    assert batch.kind == "spectrum" and np.array_equal(batch.data, values) and batch.rate is None
    assert np.array_equal(media.store([str(path)], how=media.Reading(kind="spectrum"))[:], values)
    (batch,) = load(written(values[:, 0].astype(np.float64), "y"), kind="spectrum")
    assert batch.data.dtype == np.float32 and np.array_equal(batch.data, values[:, :1])
    if form != "safetensors":
        with pytest.raises(LemError, match="complex64; save its real and imaginary parts as channels, .N, 2C, F, T."):
            list(load(written((values[:, 0] + 1j * values[:, 1]).astype(np.complex64), "z"), kind="spectrum"))
    out = tmp_path / "out.safetensors"
    assert lem_fork("fragment", "--kind", "spectrum", "--mask", ".5", path, "-o", out).returncode == 0
    done = lem_fork("compare", "--kind", "spectrum", path, path, "--metric", "nmse")
    assert done.returncode == 0 and done.stdout.split()[1:] == [b"0", b"0", b"0", b"5"]
    done = lem_fork("els", "--kind", "spectrum", "--bank", path, "--machine", "is", "--seeds", "0", "-o", out)
    assert done.returncode == 0 and next(iter(load(out))).kind == "spectrum"


def test_a_comparison_of_several_kinds_says_how_one_is_compared(sounds):
    done = lem_fork("compare", sounds, sounds)
    assert done.returncode == 2 and b"compare one kind at a time (--kind audio --skip-bad)" in done.stderr
    done = lem_fork("compare", sounds, sounds, "--kind", "audio", "--skip-bad", "--metric", "snr")
    assert done.returncode == 0 and done.stdout.split()[-1] == b"3"


def test_training_images_are_read_as_any_input(album):
    from lemtools.els import prepare
    from lemtools.train.corpus import load_corpus
    from lemtools.train.data import load_items

    Image.fromarray(RGB[..., 0]).save(album / "d.png")
    notes: list[str] = []
    how = media.Reading(colour="rgb", skip_bad=True, note=notes.append)
    assert load_items([str(album)], how).data.shape == (3, 3, 6, 9) and len(notes) == 1
    assert len(prepare.bank([str(album)], how=how)) == 3 and len(notes) == 2
    with pytest.raises(LemError, match="b.jpg: not a readable JPEG"):
        load_items([str(album)])
    np.save(album / "x.npy", RGB.transpose(2, 0, 1)[None])
    assert load_items([str(album / "x.npy")], media.Reading(size=(3, 2))).data.shape == (1, 3, 2, 3)
    (album / "x.csv").write_text("1,2\n3,4\n")
    assert bytes(load_corpus([str(album / "x.csv")], how=media.Reading(kind="text")).tokens) == b"1,2\n3,4\n"


# --- what is lost


@pytest.fixture
def damaged(tmp_path):
    """(photo, its mask, where it is lost)"""
    lost = np.zeros((6, 9), bool)
    lost[2:4, 3:6] = True
    Image.fromarray(RGB).save(tmp_path / "photo.png")
    Image.fromarray(np.where(lost, 255, 0).astype(np.uint8)).save(tmp_path / "mask.png")
    return tmp_path / "photo.png", tmp_path / "mask.png", lost


def test_a_mask_of_what_is_lost(damaged):
    photo, mask, lost = damaged
    (signal,), notes = read(photo, lost=str(mask))
    assert np.array_equal(np.broadcast_to(signal.mask, signal.data.shape)[0, 0], ~lost) and notes == []
    assert np.array_equal(signal.data[0].transpose(1, 2, 0), np.where(lost[..., None], 0, RGB))
    assert [op["op"] for op in signal.ops] == ["mask"] and signal.last
    assert bits_per_element(signal) == pytest.approx(8 * (~lost).mean() + 1 / 3, abs=0.05)  # of 54 bits, whole bytes


def test_a_mask_of_colours_and_shades(damaged):
    photo, mask, _ = damaged
    Image.fromarray(np.array([[127, 128] * 27], np.uint8).reshape(6, 9)).convert("RGB").save(mask)
    assert np.array_equal(one(photo, lost=str(mask)).mask.reshape(-1), [True, False] * 27)


def test_a_mask_for_each(damaged, tmp_path):
    photo, mask, lost = damaged
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    photos.mkdir()
    masks.mkdir()
    for name in ("a", "b"):
        Image.fromarray(RGB).save(photos / f"{name}.png")
        Image.fromarray(np.where(lost == (name == "a"), 255, 0).astype(np.uint8)).save(masks / f"{name}.gif")
    signal = one(photos, lost=str(masks))
    assert np.array_equal(signal.mask[0, 0], ~lost) and np.array_equal(signal.mask[1, 0], lost)
    Image.fromarray(RGB).save(masks / "a.png")
    with pytest.raises(LemError, match="masks: two masks of one name, a"):
        read(photos, lost=str(masks))
    (masks / "a.png").unlink()
    Image.fromarray(RGB).save(photos / "c.png")
    with pytest.raises(LemError, match=r"c.png: no mask of its name in .*masks"):
        read(photos, lost=str(masks))
    with pytest.raises(LemError, match="several masks; name one, or a folder"):
        np.save(tmp_path / "two.npy", np.zeros((2, 6, 9), np.uint8))
        read(photo, lost=str(tmp_path / "two.npy"))


def test_lost_by_alpha(tmp_path):
    alpha = np.full((6, 9), 255, np.uint8)
    alpha[0, 0], alpha[0, 1] = 127, 128
    Image.fromarray(np.dstack([RGB, alpha])).save(tmp_path / "x.png")
    (signal,), notes = read(tmp_path / "x.png", lost="alpha")
    assert np.flatnonzero(~signal.mask).tolist() == [0] and notes == []
    expected = RGB.copy()
    expected[0, 0] = 0
    assert np.array_equal(signal.data[0].transpose(1, 2, 0), expected)


def test_masks_that_do_not_fit(damaged, tmp_path):
    photo, mask, _ = damaged
    Image.fromarray(np.zeros((5, 9), np.uint8)).save(mask)
    words = "photo.png: 9 x 6 px, where the mask of .*mask.png has 9 x 5; a mask has the size of its image"
    with pytest.raises(LemError, match=words):
        read(photo, lost=str(mask))
    Image.fromarray(np.full((6, 9), 255, np.uint8)).save(mask)
    with pytest.raises(LemError, match="photo.png: everything is lost by its mask; what is lost is white in it"):
        read(photo, lost=str(mask))
    Image.fromarray(np.zeros((6, 9), np.uint8)).save(mask)
    _, notes = read(photo, lost=str(mask))
    assert notes == [f"{photo}: nothing of it is lost by {mask}, where white is lost"]
    np.save(tmp_path / "x.npy", TABLE)
    with pytest.raises(LemError, match="x.npy: embedding; --lost is for images"):
        read(tmp_path / "x.npy", lost=str(mask))
    with pytest.raises(LemError, match="a fragment, whose losses are on record"):
        lose(Signal("embedding", TABLE, ops=[{"op": "bits", "bits": 3}]), np.zeros((2, 3), bool))


def test_a_damaged_photo_is_recalled(damaged, tmp_path):
    photo, mask, lost = damaged
    done = lem_fork("reconstruct", photo, "--lost", mask, "--method", "inpaint", "-o", tmp_path / "out.png")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out.png") as image:
        out = np.asarray(image)
    assert np.array_equal(out[~lost], RGB[~lost]) and out[lost].any() and b"no loss on record" not in done.stderr
    before = photo.read_bytes()
    done = lem_fork("reconstruct", photo, "--lost", mask, "--method", "inpaint", "-o", mask)
    assert done.returncode == 2 and b"is input and output at once" in done.stderr and photo.read_bytes() == before


def test_a_whole_photo_is_not_recalled_without_a_word(damaged):
    photo, _, _ = damaged
    Image.fromarray(RGB[:4]).save(photo.parent / "other.png")  # of another size: another batch
    done = lem_fork("reconstruct", photo, photo.parent / "other.png", "--to", "safetensors")
    words = b"a whole image, with no loss on record, comes back as it is; --lost MASK.png or alpha says what is lost"
    assert done.returncode == 0 and done.stderr.count(words) == 1, done.stderr


def test_a_whole_sound_is_not_recalled_without_a_word(tmp_path):
    (tmp_path / "broken.wav").write_bytes(wav(np.zeros((1, 2000), np.float32), 8000.0))
    done = lem_fork("reconstruct", tmp_path / "broken.wav", "-o", tmp_path / "out.wav")
    words = b"a whole sound, with no loss on record, comes back as it is; a fragment that is kept as .safetensors says"
    assert done.returncode == 0 and done.stderr.count(words) == 1, done.stderr


# --- what comes out


def test_a_small_fragment_is_a_plain_safetensors_file(tmp_path):
    from safetensors.numpy import load_file

    np.save(tmp_path / "x.npy", RNG.standard_normal((5, 8)).astype("f4"))
    done = lem_fork("fragment", "--bits", "3", tmp_path / "x.npy")
    assert done.returncode == 0
    (tmp_path / "f.safetensors").write_bytes(done.stdout)
    assert load_file(tmp_path / "f.safetensors")["codes"].nbytes == 5 * 8 * 3 / 8


def test_items_of_two_sizes_are_a_stream_in_one_file(tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "x.safetensors"
    folder.mkdir()
    for name, width in (("a", 9), ("b", 8), ("c", 8), ("d", 9)):
        Image.fromarray(RGB[:, :width]).save(folder / f"{name}.png")
    done = lem_fork("fragment", "--bits", "8", folder, "-o", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr.decode().count(f"{out}: a stream of 3 documents, for items of several shapes or kinds; ") == 1
    with open(out, "rb", buffering=0) as file:
        documents = list(stream.read(stream.Source(file, "x")))
    assert [d.names for d in documents] == [["a.png"], ["b.png", "c.png"], ["d.png"]] and documents[-1].last
    done = lem_fork("fragment", "--bits", "8", folder, "--resize", "4x4", "-o", out)
    assert done.returncode == 0 and b"a stream of" not in done.stderr
    (signal,) = load(out)
    assert signal.data.shape == (4, 3, 4, 4)


# --- how many


def test_the_number_of_items_is_known_before_they_are_read(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    for name in "abc":
        Image.fromarray(RGB).save(folder / f"{name}.png")
    soundfile.write(folder / "d.wav", np.zeros(9), 8000)
    np.save(folder / "e.npy", np.zeros((7, 2), "f4"))
    np.save(folder / "g.npy", RGB)  # one image
    idx = bytes([0, 0, 8, 3]) + struct.pack(">3I", 5, 2, 2) + bytes(20)
    (folder / "h.idx").write_bytes(idx)
    (folder / "i.gz").write_bytes(gzip.compress(idx))
    media.save([Signal("embedding", np.zeros((11, 2), "f4"))], media.Target(str(folder / "j.safetensors")))
    batches = load(folder, note=lambda text: None)
    assert batches.total == 3 + 1 + 7 + 1 + 5 + 5 + 11
    assert sum(map(len, batches)) == batches.total
    (folder / "k.png").write_bytes(b"")  # cannot be read, so it holds nothing
    assert load(folder, note=lambda text: None).total == batches.total
    assert load([str(folder / "a.png"), "-"]).total is None
    assert load(folder, wanted=lambda index, name: index % 2).total is None


def test_the_number_of_items_is_not_known(tmp_path):
    (tmp_path / "x.txt").write_text("1,2\n3,4\n")
    assert load(tmp_path / "x.txt").total is None
    raw = b"".join(lem_fork("fragment", "--sample", "--mask", ".5", "--seed", str(k)).stdout for k in range(2))
    (tmp_path / "two").write_bytes(raw)
    assert load(tmp_path / "two").total is None


@pytest.mark.parametrize("wanted", [None, lambda index, name: index == 0])
def test_the_last_batch_of_files_is_marked(tmp_path, wanted):
    """Also of a foreign file, which does not say it, and where what comes last is bad or not asked for."""
    from safetensors.numpy import save_file

    save_file({"x": RNG.standard_normal((5, 8)).astype("f4")}, tmp_path / "foreign.safetensors")
    (signal,) = load(tmp_path / "foreign.safetensors", wanted=wanted)
    assert signal.last
    for name in "ab":
        Image.fromarray(RGB[:, : 7 + (name == "b")]).save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"")
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    batches = list(load(paths, wanted=wanted, report=lambda error: None))
    assert [batch.last for batch in batches] == ([True] if wanted else [None, True])


def test_a_file_as_standard_input_ends_where_it_ends(tmp_path):
    from safetensors.numpy import load_file, save_file

    save_file({"x": RNG.standard_normal((5, 8)).astype("f4")}, tmp_path / "foreign.safetensors")
    done = lem_fork("fragment", "--bits", "3", stdin=(tmp_path / "foreign.safetensors").read_bytes())
    (tmp_path / "f.safetensors").write_bytes(done.stdout)
    assert done.returncode == 0 and set(load_file(tmp_path / "f.safetensors")) == {"codes", "ops.0.scale"}


def test_stores_are_made_alike(tmp_path):
    """Photos in colour, one of another size, as the memory for grey fragments; and as what a model was trained on."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(RNG.integers(0, 256, (8, 8 + 4 * i, 3), np.uint8)).save(folder / f"{i}.png")
    alike, lossy = ["--grey", "--resize", "8x8"], tmp_path / "lossy.safetensors"
    assert lem_fork("fragment", "--mask", ".5", folder, *alike, "-o", lossy).returncode == 0
    done = lem_fork("reconstruct", lossy, "--memory", folder, "-o", tmp_path / "out.safetensors")
    assert done.returncode == 2 and b"several shapes or kinds" in done.stderr
    done = lem_fork(
        "reconstruct", lossy, "--memory", folder, *alike, "--device", "cpu", "-o", tmp_path / "out.safetensors"
    )
    assert done.returncode == 0, done.stderr
    (out,), (whole,) = load(tmp_path / "out.safetensors"), load(folder, colour="grey", size=(8, 8), note=[].append)
    assert np.array_equal(out.data, whole.data)
    done = lem_fork("compare", folder, folder, "--metric", "nearest", "--train", folder, *alike, "-q")
    assert done.returncode == 0 and done.stdout.startswith(b"nearest"), done.stderr


def test_no_batch_of_a_pipe_waits_for_the_next_one():
    """In a closed loop the next one is made from the one before."""
    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as out:

        def send(i: int, last: bool):
            signal = Signal("embedding", np.full((2, 3), i, "f4"), history=[{"tool": "x"}], last=last or None)
            stream.write_all(out, stream.document(signal))

        send(0, False)
        batches = load(f"/dev/fd/{reading}")
        assert next(batches).data[0, 0] == 0  # would wait for ever
        send(1, True)
        batch = next(batches)
        assert batch.data[0, 0] == 1 and batch.last
    os.close(reading)


@pytest.mark.parametrize(
    "shape, kind, items, note",
    [
        ((40, 50, 3), np.uint8, (1, 3, 40, 50), "one RGB image of 50 x 40 px"),
        ((40, 50, 1), np.uint8, (1, 1, 40, 50), "one grey image of 50 x 40 px"),
        ((3, 40, 50), np.uint8, (3, 1, 40, 50), "three grey images .*; one in RGB would be"),
        ((9, 4, 4), np.uint8, (9, 1, 4, 4), None),
        ((9, 3, 3), np.uint8, (9, 1, 3, 3), None),
        ((40, 50, 4), np.uint8, None, "looks like one image with alpha"),
        ((40, 50, 2), np.uint8, None, "looks like one image with alpha"),
        ((40, 50, 3), np.float32, (40, 50, 3), "--kind image reads one RGB image"),
        ((40, 50, 5), np.float32, (40, 50, 5), None),
    ],
)
def test_an_array_that_may_be_one_image(tmp_path, shape, kind, items, note):
    np.save(tmp_path / "x.npy", np.zeros(shape, kind))
    np.savez(tmp_path / "x.npz", a=np.zeros(shape, kind))
    for name in ("x.npy", "x.npz"):
        if items is None:
            with pytest.raises(LemError, match=note):
                read(tmp_path / name)
            continue
        batches, notes = read(tmp_path / name)
        assert (sum(map(len, batches)), *batches[0].data.shape[1:]) == items
        assert [bool(re.search(note, text)) for text in notes] == [True] if note else not notes


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 32])
def test_tiff_whose_white_is_zero(tmp_path, bits):
    """The same picture, by the other of the two ways to count, is the same picture; of 32 bits, floats in [0, 1]."""
    values = RNG.integers(0, min(256, 2**bits), (8, 16))
    values = values * 257 if bits == 16 else values
    for name, photometric in (("black", 1), ("white", 0)):
        level = values if photometric else 2 ** min(bits, 16) - 1 - values
        if bits == 32:
            share = (values / 256).astype(np.float32)
            body, form = (share if photometric else 1 - share).astype("<f4").tobytes(), 3
        else:
            rows = level.astype(np.uint8 if bits <= 8 else "<u2")
            packed = np.unpackbits(rows[..., None], axis=2)[..., 8 - bits :] if bits < 8 else None
            body, form = (rows if packed is None else np.packbits(packed.reshape(8, -1), axis=1)).tobytes(), 1
        entries = [(256, 16), (257, 8), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 8)]
        entries += [(279, len(body)), (339, form)]
        head = b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(entries))
        tags = b"".join(struct.pack("<HHII", tag, 4 if tag in (256, 257, 273, 279) else 3, 1, v) for tag, v in entries)
        (tmp_path / name).write_bytes(head + tags + bytes(4))
    black, white = (one(tmp_path / name).data for name in ("black", "white"))
    full = 2**bits - 1 if bits < 32 else 256
    assert np.abs(black[0, 0] / (255 if black.dtype == np.uint8 else 1) - values / full).max() < 1e-6
    assert np.abs(black.astype(np.float64) - white).max() < 1e-6


def test_tables_with_a_mark_at_their_head(tmp_path):
    """Windows puts one there; it hides neither the first row nor that a column only numbers the rows."""
    for text, wanted in (
        ("1,2\r\n3,4\r\n", [[1, 2], [3, 4]]),
        ("a,b\n1,2\n", [[1, 2]]),
        (",a,b\n0,1,2\n1,3,4\n", [[1, 2], [3, 4]]),
        ("1,2\r3,4\r5,6", [[1, 2], [3, 4], [5, 6]]),
    ):
        for mark in ("", "\ufeff"):
            (tmp_path / "x.csv").write_bytes((mark + text).encode())
            assert one(tmp_path / "x.csv").data.tolist() == wanted


@pytest.mark.parametrize(
    "body, form",
    [(b"%PDF-1.4\n1 0 obj", "PDF"), (b"P7\nWIDTH 2\nHEIGHT 1", "PAM"), (b"PF\n2 1\n-1.0\n" + b"abcd" * 6, "PFM")],
)
def test_what_only_looks_like_text_is_none(tmp_path, body, form):
    (tmp_path / "x").write_bytes(body)
    with pytest.raises(LemError, match=f"{form}, which is not read"):
        one(tmp_path / "x")
    assert one(tmp_path / "x", kind="text").data[0].tobytes() == body
    (tmp_path / "y").write_bytes(b"P1 2 is no bitmap")
    assert one(tmp_path / "y", kind="text").data[0].tobytes() == b"P1 2 is no bitmap"


def test_a_text_with_a_nul_wherever_it_stands(tmp_path):
    for place in (0, 100, 5000, 2_000_000):
        (tmp_path / "x.txt").write_bytes(b"a" * place + b"\0b\n")
        with pytest.raises(LemError, match="not a known format|holds"):
            one(tmp_path / "x.txt")


def test_texts_beside_a_file_of_no_known_format(tmp_path):
    """The texts are read, and the other file is reported, by its name."""
    for i in range(3):
        (tmp_path / f"{i}.txt").write_text(f"text {i}")
    (tmp_path / "desktop.ini").write_bytes("[x]".encode("utf-16"))
    told: list[Exception] = []
    batches, _ = read(tmp_path, report=told.append)
    assert sum(map(len, batches)) == 3
    assert [str(error).partition(":")[0] for error in told] == [f"{tmp_path}/desktop.ini"]


@pytest.mark.parametrize("change", [{"first": "x"}, {"first": [1]}, {"n": "3"}, {"first": -1}])
def test_a_large_document_whose_record_is_damaged(tmp_path, monkeypatch, change):
    """What is read in pieces is checked as what is read whole is."""
    monkeypatch.setattr("lemtools.media.large.LEAST", 100)
    signal = Signal("image", np.zeros((3, 1, 8, 8), np.uint8), names=["a", "b", "c"])
    signal.last = True
    raw = b"".join(bytes(part) for part in stream.document(signal))
    size = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8 : 8 + size])
    head["__metadata__"]["lem"] = json.dumps(json.loads(head["__metadata__"]["lem"]) | change)
    text = json.dumps(head).encode()
    (tmp_path / "x").write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :])
    with pytest.raises(LemError, match="damaged document"):
        read(tmp_path / "x")


WORDS = "naïve café, 日本語 🙂 the end of é".encode()


def test_a_text_that_is_cut_within_a_character_says_where_it_is_whole(tmp_path):
    """At every place, at one end or at both; what is said to do leaves a text that is read."""
    path, cut = tmp_path / "cut.txt", 0
    for first, last in (
        (0, 7),
        (0, 41),
        (3, 30),
        (4, 30),
        *((first, len(WORDS) - 1) for first in range(len(WORDS) - 8)),
    ):
        raw = WORDS[first:last]
        path.write_bytes(raw)
        try:
            raw.decode()
        except UnicodeDecodeError:
            with pytest.raises(
                LemError, match="cut.txt: not a known format, but text in UTF-8, it seems, whose"
            ) as error:
                list(load([path]))
            begin = re.search(r"tail -c \+(\d+)", str(error.value))
            end = re.search(r"head -c (\d+)", str(error.value))
            left = raw[: int(end[1])] if end else raw
            left = left[int(begin[1]) - 1 :] if begin else left
            assert left and left.decode() in WORDS.decode() and len(raw) - len(left) <= 6
            assert ("first" in str(error.value), "last" in str(error.value)) == (bool(begin), bool(end))
            cut += 1
        else:
            assert next(iter(load([path]))).data.tobytes() == raw
    assert cut > 20
    for other in (b"m\xe9moire", b"\xc3\xa9" * 9 + b"\xff and more", b"\0\1\2 \xc3"):
        path.write_bytes(other)
        with pytest.raises(LemError, match="^((?!UTF-8, it seems).)*$"):
            list(load([path]))
