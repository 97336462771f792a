"""Files read and written: known answers by Pillow, soundfile and numpy."""

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import wave

import numpy as np
import pytest
import soundfile
from PIL import Image

from helpers.commands import lem_fork
from lemtools import stream
from lemtools.media import Target, inputs_named, load, sample, save, store
from lemtools.media.describe import describe
from lemtools.media.find import expand, sniff
from lemtools.signal import LemError, Signal, bits_per_element

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (13, 17, 3), np.uint8)
GREY = np.ascontiguousarray(RGB[..., 0])
WIDE = RNG.integers(0, 65536, (13, 17), np.uint16)
WAVES = RNG.uniform(-1, 1, (500, 2)).astype(np.float32)


def one(path, **options) -> Signal:
    (signal,) = load([str(path)], **options)
    return signal


def pixels(path) -> np.ndarray:
    """The only item of a file, as [H, W, C]."""
    return one(path).data[0].transpose(1, 2, 0)


def written(signal, path, **target) -> str:
    save([signal], Target(str(path), **target))
    return str(path)


# --- images


@pytest.mark.parametrize(
    "form, options",
    [
        ("PNG", {}),
        ("JPEG", {"quality": 80}),
        ("JPEG", {"quality": 80, "progressive": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
        ("PPM", {}),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_image_is_what_pillow_reads(tmp_path, form, options, mode):
    path = tmp_path / "x"
    Image.fromarray(RGB).convert(mode).save(path, form, **options)
    expected = np.asarray(Image.open(path))
    signal = one(path)
    assert (signal.kind, signal.data.dtype, signal.names, signal.last) == ("image", np.uint8, ["x"], True)
    assert np.array_equal(pixels(path), expected.reshape(13, 17, -1))


@pytest.mark.parametrize("mode, expected", [("P", "RGB"), ("1", "L"), ("RGBA", "RGB"), ("LA", "L")])
def test_palette_bilevel_and_opaque_alpha(tmp_path, mode, expected):
    image = Image.fromarray(RGB).convert(mode)
    image.save(tmp_path / "x.png")
    assert np.array_equal(pixels(tmp_path / "x.png"), np.asarray(image.convert(expected)).reshape(13, 17, -1))


def test_palette_with_opaque_transparency_table(tmp_path):
    image = Image.fromarray(RGB).quantize(8)
    image.save(tmp_path / "x.png", transparency=bytes([255] * 8))
    assert np.array_equal(pixels(tmp_path / "x.png"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_of_few_bits_is_spread_over_8(tmp_path, depth):
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = bytes([0b00011011])  # as 2 bits: 0, 1, 2, 3
    head = struct.pack(">IIBBBBB", 8 // depth, 1, depth, 0, 0, 0, 0)
    body = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    )
    (tmp_path / "x").write_bytes(body)
    values = {1: [0, 0, 0, 1, 1, 0, 1, 1], 2: [0, 1, 2, 3], 4: [1, 11]}[depth]
    assert one(tmp_path / "x").data.reshape(-1).tolist() == [v * 255 // (2**depth - 1) for v in values]


def test_interlaced_png(tmp_path):
    """Adam7 by hand, of 8 x 8 grey values: the pass of every pixel is given by the PNG specification, section 8.2."""
    import zlib

    grey = RNG.integers(0, 256, (8, 8), np.uint8)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(b"\0" + row.tobytes() for y, x, dy, dx in passes for row in grey[y::dy, x::dx])

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1))
    (tmp_path / "x").write_bytes(
        b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    assert np.array_equal(one(tmp_path / "x").data[0, 0], grey)


def test_sixteen_bit_grey_is_float_of_full_scale_1(tmp_path):
    Image.fromarray(WIDE).save(tmp_path / "x.png")
    Image.fromarray(WIDE).save(tmp_path / "x.tif")
    (tmp_path / "x.pgm").write_bytes(b"P5\n# full scale\n17 13\n65535\n" + WIDE.astype(">u2").tobytes())
    for name in ("x.png", "x.tif", "x.pgm"):
        signal = one(tmp_path / name)
        assert signal.data.dtype == np.float32
        assert np.array_equal(np.rint(signal.data[0, 0].astype(np.float64) * 65535), WIDE), name


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation_of_a_jpeg(tmp_path, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    path = tmp_path / "x.jpg"
    Image.fromarray(RGB).save(path, exif=exif, quality=95)
    raw = np.asarray(Image.open(path))
    turned = {
        1: raw,
        2: raw[:, ::-1],
        3: raw[::-1, ::-1],
        4: raw[::-1],
        5: raw.transpose(1, 0, 2),
        6: raw[::-1].transpose(1, 0, 2),
        7: raw[::-1, ::-1].transpose(1, 0, 2),
        8: raw[:, ::-1].transpose(1, 0, 2),
    }[turn]
    assert np.array_equal(pixels(path), turned)


def test_cmyk_jpeg_is_what_pillow_makes_of_it(tmp_path):
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "x.jpg")
    assert np.array_equal(pixels(tmp_path / "x.jpg"), np.asarray(Image.open(tmp_path / "x.jpg").convert("RGB")))


def test_odd_metadata_is_no_reason_to_refuse(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xffgarbage")
    assert pixels(tmp_path / "x.jpg").shape == RGB.shape


# --- sounds


@pytest.mark.parametrize(
    "form, subtype",
    [
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "PCM_32"),
        ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"),
        ("WAV", "ULAW"),
        ("RF64", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_is_what_soundfile_reads(tmp_path, form, subtype, channels):
    path = tmp_path / "x"
    soundfile.write(path, WAVES[:, :channels], 8000, subtype=subtype, format=form)
    expected, rate = soundfile.read(path, dtype="float32", always_2d=True)
    signal = one(path)
    assert (signal.kind, signal.rate, signal.data.dtype, signal.data.shape[0]) == ("audio", rate, np.float32, 1)
    assert np.array_equal(signal.data[0], expected.T) and len(expected) == 500


def test_wav_of_the_standard_library(tmp_path):
    """8 bits are unsigned with 128 as zero, 16 bits signed: full scale 1."""
    for width, raw, expected in (
        (1, bytes([0, 128, 255]), [-1, 0, 127 / 128]),
        (2, struct.pack("<3h", -32768, 0, 16384), [-1, 0, 0.5]),
    ):
        with wave.open(str(tmp_path / "x.wav"), "wb") as file:
            file.setparams((1, width, 11025, 0, "NONE", ""))
            file.writeframes(raw)
        signal = one(tmp_path / "x.wav")
        assert signal.data.tolist() == [[expected]] and signal.rate == 11025


@pytest.mark.parametrize(
    "riff, data", [(0xFFFFFFFF, 0xFFFFFFFF), (0, 0), (0x7FFFF024, 0x7FFFF000), (0xFFFFFFFF, 0x7FFFFFFF)]
)
def test_wav_of_unknown_length(tmp_path, riff, data):
    soundfile.write(tmp_path / "x.wav", WAVES, 8000, subtype="PCM_16")
    raw = bytearray((tmp_path / "x.wav").read_bytes())
    expected = one(tmp_path / "x.wav").data
    raw[4:8], raw[40:44] = struct.pack("<I", riff), struct.pack("<I", data)
    (tmp_path / "x.wav").write_bytes(raw)
    assert np.array_equal(one(tmp_path / "x.wav").data, expected)


def test_wav_with_odd_chunks(tmp_path):
    soundfile.write(tmp_path / "x.wav", WAVES[:, 0], 8000, subtype="PCM_16")
    raw = (tmp_path / "x.wav").read_bytes()
    expected = one(tmp_path / "x.wav").data
    extra = b"LIST" + struct.pack("<I", 5) + b"INFO!" + b"\0"  # 5 bytes, padded to 6
    body = raw[12:36] + extra + raw[36:] + extra
    (tmp_path / "y.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body)
    assert np.array_equal(one(tmp_path / "y.wav").data, expected)


@pytest.mark.parametrize(
    "levels, out, said",
    [
        ([3.5], "x.flac", "x.flac: a sound reaches 3.5 times full scale, to which a FLAC clips; a WAV keeps all of it"),
        ([0.5, 2.0, 1.5], "x-%d.flac", "x-%d.flac: 2 sounds reach up to 2 times full scale, to which a FLAC clips"),
        ([1.00001], "x.flac", None),
        ([3.5], "x.wav", None),
    ],
)
def test_a_flac_that_clips_says_so(tmp_path, levels, out, said):
    data = np.array(levels, np.float32)[:, None, None] * np.linspace(-1, 1, 50, dtype=np.float32)
    notes = []
    save([Signal("audio", data, rate=8000.0)], Target(str(tmp_path / out)), notes.append)
    assert len(notes) == (said is not None) and all(said in note for note in notes)
    back = one(tmp_path / out.replace("%d", "0")).data
    assert np.abs(back - (data[:1] if "wav" in out else data[:1].clip(-1, 1))).max() < 2**-22


def test_flac_of_unknown_length(tmp_path):
    soundfile.write(tmp_path / "x.flac", WAVES, 8000, subtype="PCM_16")
    raw = bytearray((tmp_path / "x.flac").read_bytes())
    expected = one(tmp_path / "x.flac").data
    raw[21] &= 0xF0  # the lowest 36 bits of STREAMINFO's bytes 10-17 count the samples
    raw[22:26] = bytes(4)
    (tmp_path / "x.flac").write_bytes(raw)
    assert np.array_equal(one(tmp_path / "x.flac").data, expected)


# --- arrays and text


def test_text_is_its_bytes(tmp_path):
    text = "Größe, 記憶\n".encode()
    (tmp_path / "x").write_bytes(text)
    signal = one(tmp_path / "x")
    assert signal.kind == "tokens" and bytes(signal.data[0].tolist()) == text


@pytest.mark.parametrize(
    "shape, dtype, kind, expected",
    [
        ((5, 8), "f4", "embedding", (5, 8)),
        ((5, 8), "f8", "embedding", (5, 8)),
        ((5, 8), "f2", "embedding", (5, 8)),
        ((5, 8), ">f4", "embedding", (5, 8)),
        ((8,), "f4", "embedding", (1, 8)),
        ((2, 3, 8), "f4", "embedding", (2, 3, 8)),
        ((5, 8), "i8", "tokens", (5, 8)),
        ((5, 8), "u2", "tokens", (5, 8)),
        ((5, 8), "u1", "image", (1, 1, 5, 8)),
        ((2, 5, 8), "u1", "image", (2, 1, 5, 8)),
        ((2, 3, 5, 8), "u1", "image", (2, 3, 5, 8)),
        ((2, 1, 5, 8), "u1", "image", (2, 1, 5, 8)),
        ((2, 3, 5, 8), "f4", "image", (2, 3, 5, 8)),
        ((2, 3, 5, 8), "f8", "image", (2, 3, 5, 8)),
    ],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_tells_its_kind_by_type_and_shape(tmp_path, shape, dtype, kind, expected, order):
    array = (RNG.integers(0, 2, shape)).astype(dtype, order=order)
    np.save(tmp_path / "x.npy", array)
    signal = one(tmp_path / "x.npy")
    assert (signal.kind, signal.data.shape) == (kind, expected) and signal.data.dtype.isnative
    assert np.array_equal(signal.data.reshape(shape), array)


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_channels_last_become_channels_first(tmp_path, dtype):
    array = RNG.integers(0, 2, (2, 5, 8, 3)).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    assert np.array_equal(one(tmp_path / "x.npy").data, array.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_versions(tmp_path, version):
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array(file, np.eye(3, dtype="f4"), version)
    assert np.array_equal(one(tmp_path / "x.npy").data, np.eye(3))


def test_npz_of_two_arrays_of_one_name(tmp_path):
    """As a zip has that was appended to: readers differ in which one they take."""
    import zipfile

    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.write(tmp_path / "x.npy", "a.npy")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.write(tmp_path / "x.npy", "a.npy")
    with pytest.raises(LemError, match="x.npz: two arrays called 'a'"):
        one(tmp_path / "x.npz")


@pytest.mark.parametrize("saver", [np.savez, np.savez_compressed])
def test_npz_and_key(tmp_path, saver):
    a, b = RNG.standard_normal((4, 6)).astype("f4"), RNG.standard_normal((6, 3)).T
    saver(tmp_path / "x.npz", a=a, b=b, step=np.float32(3), labels=np.arange(4))
    assert np.array_equal(one(tmp_path / "x.npz", key="a").data, a) and np.array_equal(
        one(tmp_path / "x.npz", key="b").data, b
    )
    with pytest.raises(LemError, match=r"several arrays \(a, b\)"):
        one(tmp_path / "x.npz")
    saver(tmp_path / "y.npz", a=a, step=np.float32(3))
    assert np.array_equal(one(tmp_path / "y.npz").data, a)  # the only one that can be memories


@pytest.mark.parametrize("code, dtype", [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")])
def test_idx(tmp_path, code, dtype):
    array = RNG.integers(0, 100, (4, 6)).astype(dtype)
    if code == 8:
        array = RNG.integers(0, 256, (4, 6, 5)).astype(dtype)
    body = bytes([0, 0, code, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape) + array.tobytes()
    (tmp_path / "x").write_bytes(gzip.compress(body))
    signal = one(tmp_path / "x")
    assert signal.kind == {8: "image", 13: "embedding", 14: "embedding"}.get(code, "tokens")
    assert np.array_equal(signal.data.reshape(array.shape), array)


def test_foreign_safetensors(tmp_path):
    from safetensors.numpy import save_file

    a, b = RNG.standard_normal((4, 6)).astype("f4"), RNG.standard_normal((2, 3, 5)).astype("f2")
    save_file({"a": a, "b": b, "ids": np.arange(4)}, tmp_path / "x")
    assert np.array_equal(one(tmp_path / "x", key="b").data, b)
    with pytest.raises(LemError, match=r"several float tensors \(a, b\); pick one with --key"):
        one(tmp_path / "x")
    save_file({"a": a, "ids": np.arange(4)}, tmp_path / "y")
    assert np.array_equal(one(tmp_path / "y").data, a) and one(tmp_path / "y").kind == "embedding"


# --- the kind by magic, not by name


@pytest.mark.parametrize(
    "text", ["", "P5 was a road", "P6", "AND THE WAVE came", "II* notes", "RIFF", "fLa", "OggSomething?", "{}", "PK"]
)
def test_text_that_looks_a_little_like_something_else(tmp_path, text):
    if text == "OggSomething?":
        return  # begins as OGG does; nothing short tells them apart
    path = tmp_path / "photo.png"
    path.write_text(text)
    assert sniff(text.encode()[:16]) == ("TXT", "text")
    if text:
        assert one(path).kind == "tokens"


def test_the_name_does_not_matter(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "x.wav", "PNG")
    soundfile.write(tmp_path / "x.png", WAVES, 8000, format="WAV")
    assert one(tmp_path / "x.wav").kind == "image" and one(tmp_path / "x.png").kind == "audio"


# --- written and read again


@pytest.mark.parametrize("array", [RGB.transpose(2, 0, 1), GREY[None]])
def test_png_is_exact(tmp_path, array):
    path = written(Signal("image", array[None]), tmp_path / "x.png")
    assert np.array_equal(one(path).data[0], array)
    assert np.array_equal(np.asarray(Image.open(path)).reshape(13, 17, -1), array.transpose(1, 2, 0))


def test_grey_of_16_bits_is_exact(tmp_path):
    path = written(Signal("image", (WIDE.astype("f4") / 65535)[None, None]), tmp_path / "x.png")
    assert np.array_equal(np.asarray(Image.open(path)), WIDE)
    assert np.array_equal(one(path).data[0, 0], WIDE.astype("f4") / 65535)


def test_float_images_are_clipped_and_rounded(tmp_path):
    values = np.array([-0.3, 0, 0.5 / 255, 0.4999 / 255, 0.5, 1, 1.7], "f4")
    path = written(
        Signal("image", np.broadcast_to(values, (1, 3, 1, 7)).copy(), index=np.arange(1)), tmp_path / "x.png"
    )
    assert one(path).data[0, 0, 0].tolist() == [0, 0, 0, 0, 128, 255, 255]


def test_jpeg(tmp_path):
    smooth = np.broadcast_to(np.arange(64, dtype=np.uint8) * 4, (1, 3, 64, 64)).copy()
    assert np.abs(one(written(Signal("image", smooth), tmp_path / "x.jpg")).data.astype(int) - smooth).max() <= 3


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_wav_is_exact(tmp_path, channels):
    loud = 3 * RNG.standard_normal((1, channels, 300)).astype("f4")  # beyond full scale too
    path = written(Signal("audio", loud, rate=8000.0), tmp_path / "x.wav")
    assert np.array_equal(one(path).data, loud) and one(path).rate == 8000
    heard, rate = soundfile.read(path, dtype="float32", always_2d=True)
    assert np.array_equal(heard.T, loud[0]) and rate == 8000 and soundfile.info(path).subtype == "FLOAT"


def test_flac_is_exact_to_24_bits(tmp_path):
    path = written(Signal("audio", WAVES.T[None], rate=8000.0), tmp_path / "x.flac")
    assert np.abs(one(path).data[0] - WAVES.T).max() <= 2**-23 and soundfile.info(path).subtype == "PCM_24"
    path = written(Signal("audio", 9 * WAVES.T[None], rate=8000.0), tmp_path / "x.flac")
    assert np.abs(one(path).data[0] - np.clip(9 * WAVES.T, -1, 1)).max() <= 2**-23


def test_text_and_npy_are_exact(tmp_path):
    text = np.frombuffer("récit".encode(), np.uint8)[None]
    assert (tmp_path / written(Signal("tokens", text), tmp_path / "x.txt")).read_bytes() == text.tobytes()
    data = RNG.standard_normal((4, 3)).astype("f4")
    save([Signal("embedding", data[:3]), Signal("embedding", data[3:])], Target(str(tmp_path / "x.npy")))
    assert np.array_equal(np.load(tmp_path / "x.npy"), data)
    with pytest.raises(LemError, match="tokens beyond 255"):
        save([Signal("tokens", text.astype(int) + 999)], Target(str(tmp_path / "x.txt")))


@pytest.mark.parametrize(
    "data, rate, form",
    [
        (np.zeros((1, 3, 4, 4), np.uint8), None, "wav"),
        (np.zeros((1, 2, 4, 4), np.uint8), None, "png"),
        (np.zeros((1, 1, 5), "f4"), 8000.0, "png"),
        (np.zeros((1, 1, 5), "f4"), 1e12, "wav"),
        (np.zeros((1, 1, 5), "f4"), 0.1, "wav"),
        (np.zeros((1, 40000, 1), "f4"), 8000.0, "wav"),
        (np.zeros((1, 9, 5), "f4"), 8000.0, "flac"),
        (np.zeros((1, 1, 1, 70000), np.uint8), None, "jpg"),
    ],
)
def test_what_a_format_cannot_hold(tmp_path, data, rate, form):
    kind = "audio" if rate else "image"
    with pytest.raises(LemError, match=f"(?i)x.{form}: .*do(es)? not fit a {'jpeg' if form == 'jpg' else form}"):
        save([Signal(kind, data, rate=rate)], Target(str(tmp_path / f"x.{form}")))
    assert not os.listdir(tmp_path)


# --- where items go


def named(names, **more) -> Signal:
    return Signal("image", np.zeros((len(names), 1, 2, 2), np.uint8), names=names, **more)


@pytest.mark.parametrize(
    "out, names, own, expected",
    [
        (
            "out/",
            ["a.png", "sub/b.c.jpg", "noext", ".hid"],
            False,
            ["a.safetensors", "sub/b.c.safetensors", "noext.safetensors", ".hid.safetensors"],
        ),
        ("out/", ["a.png", "b"], True, ["a.png", "b.png"]),
        ("out/", None, True, ["00000.png", "00001.png"]),
        ("out/", ["a.png#0", "a.png#1"], True, ["a#0.png", "a#1.png"]),
        ("out/", ["a#0", "a#12"], True, ["a#0.png", "a#12.png"]),
        ("x-%d.png", ["a", "b"], False, ["x-0.png", "x-1.png"]),
        ("x-%05d.jpg", ["a", "b"], False, ["x-00000.jpg", "x-00001.jpg"]),
        ("x-%03d", ["a", "b"], True, ["x-000.png", "x-001.png"]),
        ("50%-%d.png", ["a", "b"], False, ["50%-0.png", "50%-1.png"]),
        ("x-%s-%2d.png", ["a", "b"], False, ["x-%s- 0.png", "x-%s- 1.png"]),
    ],
)
def test_names_of_items(tmp_path, out, names, own, expected):
    os.chdir(tmp_path)
    signal = named(names) if names else Signal("image", np.zeros((2, 1, 2, 2), np.uint8))
    assert save([signal], Target(out, own=own)) == len(expected)
    folder = "out" if out == "out/" else "."
    assert {os.path.relpath(os.path.join(top, f), folder) for top, _, files in os.walk(folder) for f in files} == set(
        expected
    )


def test_two_items_never_share_a_file(tmp_path):
    with pytest.raises(LemError, match="two items would go into this file"):
        save([named(["a.png", "a.jpg"])], Target(f"{tmp_path}/"))


def test_a_file_in_a_folder_holds_its_item(tmp_path):
    data = RNG.integers(0, 256, (3, 1, 4, 4), np.uint8)
    save([Signal("image", data, names=list("abc"))], Target(f"{tmp_path}/"))
    for i, name in enumerate("abc"):
        signal = one(tmp_path / f"{name}.safetensors")
        assert np.array_equal(signal.data[0], data[i]) and signal.names == [name] and signal.last


# --- many inputs


@pytest.fixture
def tree(tmp_path):
    """Photos of two shapes in folders, a text beside them, hidden files."""
    for i, name in enumerate(["b/2.png", "a.png", "b/10.png", "c.png", "b/x/1.png"]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6 if name != "c.png" else 5), i, np.uint8)).save(path)
    (tmp_path / "SOURCE.txt").write_text("where they are from")
    (tmp_path / ".DS_Store").write_bytes(b"\0\0")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/x.png").write_bytes(b"")
    return tmp_path


ORDER = ["a.png", "b/10.png", "b/2.png", "b/x/1.png", "c.png"]


def test_folders_are_walked_in_sorted_order(tree):
    assert [name for _, name in expand([str(tree)])] == ORDER
    signals = list(load([str(tree)]))
    assert [n for s in signals for n in s.names] == ORDER
    assert [int(i) for s in signals for i in s.index] == [0, 1, 2, 3, 4]
    assert [len(s) for s in signals] == [4, 1]  # one shape a batch
    assert [int(v) for s in signals for v in s.data[:, 0, 0, 0]] == [1, 2, 0, 4, 3]
    assert [s.last for s in signals] == [None, True]


def test_a_folder_of_texts_is_read(tmp_path):
    for name in "ba":
        (tmp_path / f"{name}.txt").write_text(name)
    assert [n for s in load([str(tmp_path)]) for n in s.names] == ["a.txt", "b.txt"]


def test_patterns(tree):
    assert [name for _, name in expand([f"{tree}/b/*.png"])] == ["10.png", "2.png"]
    (tree / "[x].png").write_bytes((tree / "a.png").read_bytes())
    assert [name for _, name in expand([f"{tree}/[x].png"])] == ["[x].png"]  # a file of that name comes first


def test_inputs_from_a_list(tree):
    (tree / "list").write_text(f"{tree}/c.png\n\n{tree}/a.png\n")
    paths = inputs_named([f"{tree}/b/2.png"], str(tree / "list"))
    assert [n for s in load(paths) for n in s.names] == ["2.png", "c.png", "a.png"]


@pytest.mark.parametrize("batch", [1, 2, 3, None])
def test_batches_do_not_change_the_items(tree, batch):
    np.save(tree / "many.npy", np.arange(7 * 24, dtype=np.uint8).reshape(7, 1, 4, 6))
    signals = list(load([str(tree), str(tree / "many.npy")], batch=batch))
    whole = list(load([str(tree), str(tree / "many.npy")], batch=100))
    assert sum(map(len, signals)) == 19 and max(map(len, signals)) <= (batch or 100)
    for each in ("data", "index"):
        assert np.array_equal(
            np.concatenate([getattr(s, each).reshape(-1) for s in signals]),
            np.concatenate([getattr(s, each).reshape(-1) for s in whole]),
        )
    assert [int(i) for s in signals for i in s.index] == list(range(19))


def test_shards_part_the_items(tree):
    seen = []
    for k in range(3):
        for signal in load([str(tree)], wanted=lambda index, name, k=k: index % 3 == k):
            assert all(i % 3 == k for i in signal.index)
            seen += zip(signal.index.tolist(), signal.names)
    assert sorted(seen) == list(enumerate(ORDER))


def test_several_streams_are_numbered_anew(tmp_path):
    for name in "ab":
        written(
            Signal("embedding", np.ones((2, 3), "f4"), history=[{}], index=np.array([5, 6])),
            tmp_path / f"{name}.safetensors",
        )
    assert one(tmp_path / "a.safetensors").index.tolist() == [5, 6]
    both = list(load([str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")]))
    assert [i for s in both for i in s.index.tolist()] == [0, 1, 2, 3]


# --- pipes


def piped(body: bytes, *args) -> list[Signal]:
    done = lem_fork("fragment", "--mask", "0", *args, stdin=body)
    assert done.returncode == 0, done.stderr.decode()
    return list(stream.read(stream.Source(io.BytesIO(done.stdout), "x")))


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.wav", "x.flac", "x.npy", "x.txt", "x.idx.gz"])
def test_stdin_equals_the_file(tmp_path, name):
    path = tmp_path / name
    form = name.split(".")[1]
    if form in ("png", "jpg"):
        Image.fromarray(RGB).save(path)
    elif form in ("wav", "flac"):
        soundfile.write(path, WAVES, 8000)
    elif form == "npy":
        np.save(path, WAVES)
    else:
        path.write_bytes(
            b"text" if form == "txt" else gzip.compress(b"\0\0\x08\3" + struct.pack(">3I", 2, 3, 4) + bytes(24))
        )
    (got,) = piped(path.read_bytes())
    assert got.kind == one(path).kind and np.array_equal(got.data, one(path).data) and got.names is None


def test_a_real_pipe(tmp_path):
    """A pipe cannot be rewound, and gives its bytes in small pieces."""
    np.save(tmp_path / "x.npy", RNG.standard_normal((3000, 64)).astype("f4"))
    code = "from lemtools.cli.fragment import main; main()"
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, shutil; shutil.copyfileobj(open(sys.argv[1], 'rb'), sys.stdout.buffer, 999)",
            str(tmp_path / "x.npy"),
        ],
        stdout=subprocess.PIPE,
    )
    done = subprocess.run([sys.executable, "-c", code, "--mask", "0"], stdin=writer.stdout, capture_output=True)
    writer.stdout.close()
    writer.wait(20)
    got = list(stream.read(stream.Source(io.BytesIO(done.stdout), "x")))
    assert np.array_equal(np.concatenate([s.data for s in got]), np.load(tmp_path / "x.npy"))


def test_pngs_back_to_back(tmp_path):
    bodies = []
    for i in range(5):
        out = io.BytesIO()
        Image.fromarray(np.full((4, 6 + i // 3), i, np.uint8)).save(out, "PNG")
        bodies.append(out.getvalue())
    signals = piped(b"".join(bodies))
    assert [int(s.data[k, 0, 0, 0]) for s in signals for k in range(len(s))] == [0, 1, 2, 3, 4]
    assert [i for s in signals for i in s.index.tolist()] == [0, 1, 2, 3, 4] and signals[-1].last


def test_one_item_comes_out_in_its_own_medium(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "x.png")
    soundfile.write(tmp_path / "x.wav", WAVES, 8000)
    (tmp_path / "x.txt").write_text("text")
    np.save(tmp_path / "x.npy", np.ones((1, 4), "f4"))
    for name, magic in (("x.png", b"\x89PNG"), ("x.wav", b"RIFF"), ("x.txt", b"text")):
        done = lem_fork("reconstruct", tmp_path / name, "--method", "decode")
        assert done.returncode == 0 and done.stdout.startswith(magic), name
    for names in (["x.npy"], ["x.png", "x.png"], ["x.png", "x.wav"]):
        done = lem_fork("reconstruct", *(tmp_path / n for n in names), "--method", "decode")
        items = list(stream.read(stream.Source(io.BytesIO(done.stdout), "x")))
        assert done.returncode == 0 and sum(map(len, items)) == len(names)


# --- stores and facts


def stays(array) -> bool:
    return isinstance(array, stream.OnDisk)


@pytest.mark.parametrize(
    "shape, dtype",
    [((6, 8), "f4"), ((6, 3, 4, 4), "u1"), ((6, 3, 4, 4), "f4"), ((6, 4, 4), "u1"), ((6, 4, 4, 3), "u1")],
)
def test_a_store_stays_on_disk(tmp_path, shape, dtype):
    array = RNG.integers(0, 2, shape).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    kind = "embedding" if len(shape) == 2 else "image"
    from_npy = store([str(tmp_path / "x.npy")])
    assert stays(from_npy) and np.array_equal(from_npy, one(tmp_path / "x.npy").data)
    whole = one(tmp_path / "x.npy").data
    path = written(Signal(kind, whole, names=list("abcdef")), tmp_path / "x.safetensors")
    assert stays(store([path])) and np.array_equal(store([path]), whole)


def test_a_store_of_files_folders_and_streams(tree):
    for name in ("c.png", "SOURCE.txt"):
        (tree / name).unlink()
    assert store([str(tree)]).shape == (4, 1, 4, 6) and not stays(store([str(tree)]))
    (tree / "two.st").write_bytes(
        b"".join(
            bytes(part)
            for last in (None, True)
            for part in stream.document(Signal("embedding", np.ones((1, 3), "f4"), last=last))
        )
    )
    assert store([str(tree / "two.st")]).shape == (2, 3)
    for code in (np.ones(4, "f4"), np.ones((3, 4), "f4", order="F")):
        np.save(tree / "x.npy", code)
        assert (
            not stays(store([str(tree / "x.npy")])) and store([str(tree / "x.npy")]).shape == np.atleast_2d(code).shape
        )


def test_foreign_store_by_key(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.ones((4, 6), "f4"), "b": np.zeros((4, 6), "f4")}, tmp_path / "x")
    assert np.sum(store([str(tmp_path / "x")], "a")) == 24 and stays(store([str(tmp_path / "x")], "b"))


def test_facts_by_headers(tmp_path):
    from safetensors.numpy import save_file

    signal = Signal("image", np.zeros((4, 3, 8, 8), np.uint8), history=[{"tool": "x"}])
    facts = describe(written(signal, tmp_path / "x.safetensors"))
    assert (facts["items"], facts["kind"], facts["shape"], facts["bits_per_element"]) == (4, "image", [3, 8, 8], 8.0)
    assert (
        facts["complete"]
        and facts["problem"] is None
        and facts["history"] == [{"tool": "x"}]
        and facts["documents"] == 1
    )
    assert facts["bytes"] == os.path.getsize(tmp_path / "x.safetensors")
    save_file({"w": np.ones((2, 3), "f4")}, tmp_path / "y", {"recipe": json.dumps({"steps": 3}), "note": "plain"})
    facts = describe(str(tmp_path / "y"))
    assert (
        facts["tensors"] == ["w F32 [2, 3]"]
        and facts["card"] == {"recipe": {"steps": 3}, "note": "plain"}
        and facts["complete"]
    )


def test_facts_of_a_stream_whose_documents_differ(tmp_path):
    def batch(rate, ops=(), kind="spectrum", **made):
        item = np.zeros((1, 2, 3, 4) if kind == "spectrum" else (1, 1, 4), np.float32)
        return Signal(kind, item, rate=rate, ops=list(ops), history=[{"tool": "lem-encode", **made}, {"tool": "x"}])

    masks = [[{"op": "mask", "mask": share, "mask_shape": "pixel"}] for share in (0.25, 0.5)]
    documents = [
        batch(8000.0, masks[0], encoder="stft", hop=4, args=["a"]),
        batch(8000.0, masks[1], encoder="stft", hop=8, args=["a"], rms=0.2),
        batch(16000.0, encoder="mel", hop=4, args=["a"]),
        batch(16000.0, encoder="mel", hop=4, args=["b"], kind="audio"),
    ]
    path = written(documents[0], tmp_path / "x")
    with open(path, "wb") as file:
        stream.write(documents, file)
    facts = describe(path)
    assert facts["kind"] == ["spectrum", "audio"] and facts["shape"] == [[2, 3, 4], [1, 4]] and facts["items"] == 4
    assert facts["rate"] == [8000.0, 16000.0]
    assert facts["ops"] == [{"op": "mask", "mask": [0.25, 0.5], "mask_shape": "pixel"}]
    assert facts["history"] == [
        {"tool": "lem-encode", "encoder": "stft", "hop": [4, 8], "args": ["a"], "rms": [None, 0.2]},
        {"tool": "lem-encode", "encoder": "mel", "hop": 4, "args": [["a"], ["b"]]},
        {"tool": "x"},
    ]


def test_bundled_samples_are_what_pillow_and_soundfile_read():
    assert np.array_equal(pixels(sample("kodim23")), np.asarray(Image.open(sample("kodim23"))))
    heard, rate = soundfile.read(sample("rooster"), dtype="float32", always_2d=True)
    assert np.array_equal(one(sample("rooster")).data[0], heard.T) and one(sample("rooster")).rate == rate


# --- large documents


@pytest.mark.parametrize("form", ["foreign", "bfloat16", "ours"])
def test_a_large_document_is_read_in_pieces_and_is_the_same(tmp_path, monkeypatch, form):
    from safetensors.numpy import save_file

    from lemtools.media import large

    rng, path = np.random.default_rng(3), str(tmp_path / "x.safetensors")
    x = rng.standard_normal((50, 3, 7)).astype(np.float32)
    x = (x.view(np.uint32) >> 16 << 16).view(np.float32) if form == "bfloat16" else x
    if form == "foreign":
        save_file({"other": np.arange(9), "x": x.astype(np.float16), "y": x[:1, 0]}, path)
    else:
        ids = np.arange(150, dtype=np.int32).reshape(50, 3)
        told = {"names": [f"é{i}" * (i % 3) for i in range(50)], "label": np.arange(50) % 4, "tokens": ids}
        signal = Signal(
            "embedding",
            x,
            index=7 + 2 * np.arange(50),
            history=[{"tool": "t"}],
            depth=16 if form == "bfloat16" else None,
            last=True,
            **told,
        )
        with open(path, "wb", buffering=0) as file:
            stream.write([signal], file)
    key = "x" if form == "foreign" else None
    (whole,) = load([path], key=key)
    monkeypatch.setattr(large, "LEAST", 1)
    parts = list(load([path], key=key, batch=8))
    assert [len(p) for p in parts] == [8] * 6 + [2] and [p.last for p in parts] == [None] * 6 + [True]
    assert np.array_equal(np.concatenate([p.data for p in parts]), whole.data)
    assert parts[0].data.dtype == whole.data.dtype and parts[0].depth == whole.depth
    assert np.concatenate([p.index for p in parts]).tolist() == whole.index.tolist()
    if form != "foreign":
        assert [n for p in parts for n in p.names] == whole.names and parts[3].history == whole.history
        assert np.concatenate([p.tokens for p in parts]).tolist() == ids.tolist()
        assert np.concatenate([p.label for p in parts]).tolist() == whole.label.tolist()
    with pytest.raises(LemError, match="several float tensors" if form == "foreign" else "cut short"):
        if form != "foreign":
            os.truncate(path, os.path.getsize(path) - 5)
        list(load([path], batch=8))


@pytest.mark.parametrize("order", [(4, 12), (12, 4)])
def test_documents_of_tokens_cost_what_they_cost_alone(order, tmp_path):
    for depth in (4, 12):
        with open(tmp_path / f"{depth}", "wb", buffering=0) as file:
            tokens = np.full((1, 8), 2 ** (depth - 1), np.int16)
            stream.write([Signal("tokens", tokens, depth=depth, last=True)], file)
    batches = list(load([str(tmp_path / str(depth)) for depth in order]))
    assert [cost for batch in batches for cost in bits_per_element(batch)] == list(order)
    assert [batch.depth for batch in batches] == list(order)


def test_ids_of_tokens_stay_with_their_vectors(tmp_path):
    for i in range(2):
        with open(tmp_path / f"{i}", "wb", buffering=0) as file:
            vectors, ids = np.full((1, 3, 2), i, np.float32), np.full((1, 3), 7 + i)
            stream.write([Signal("embedding", vectors, tokens=ids, last=True)], file)
    (batch,) = load([str(tmp_path / "0"), str(tmp_path / "1")])
    assert batch.tokens.tolist() == [[7] * 3, [8] * 3] and batch.data[:, 0, 0].tolist() == [0, 1]
