"""Files that go on behind their first image or sound, or end too early: all is read, or it is said what is not."""

import io
import struct
import zlib

import numpy as np
import pytest
import soundfile
from PIL import Image

from lemtools.media import load
from lemtools.media.ends import jpeg_end
from lemtools.signal import LemError, Signal

RNG = np.random.default_rng(5)
IMAGES = [Image.fromarray(RNG.integers(0, 256, (20, 24, 3), np.uint8)) for _ in range(3)]
ROW = "in a row, of which only the first would be read"


def encoded(image: Image.Image, form: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def sound(form: str, frequency: float = 0.05, channels: int = 1, **options) -> bytes:
    out, wave = io.BytesIO(), np.sin(np.arange(20000) * frequency) * 0.4
    soundfile.write(out, np.repeat(wave[:, None], channels, 1), 44100, format=form, **options)
    return out.getvalue()


def read(tmp_path, body: bytes, **options) -> list[Signal]:
    (tmp_path / "x").write_bytes(body)
    return list(load(tmp_path / "x", batch=1, **options))


@pytest.mark.parametrize("form, options", [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("PPM", {})])
def test_images_in_a_row_are_all_read(tmp_path, form, options):
    """In order, each as it is read alone, and only the last one says that it is the last."""
    files = [encoded(image, form, **options) for image in IMAGES]
    alone = [read(tmp_path, file)[0].data for file in files]
    together = read(tmp_path, b"".join(files))
    assert all(np.array_equal(a, b.data) for a, b in zip(alone, together, strict=True))
    assert [bool(batch.last) for batch in together] == [False, False, True]


def test_what_belongs_to_a_jpeg_is_no_second_one(tmp_path):
    """A camera appends a depth map or a second exposure and says so (MPF); other bytes behind a JPEG are no image."""
    first, second = (encoded(image, "JPEG") for image in IMAGES[:2])
    segment = b"MPF\0" + bytes(40)
    album = first[:2] + b"\xff\xe2" + (2 + len(segment)).to_bytes(2, "big") + segment + first[2:]
    assert len(read(tmp_path, album + second)) == len(read(tmp_path, first + b"appended")) == 1
    assert jpeg_end(first + second) == (len(first), False) and jpeg_end(first[:-2])[0] is None


@pytest.mark.parametrize(
    "form, options",
    [
        ("GIF", {}),
        ("WEBP", {}),
        ("AVIF", {}),
        ("TIFF", {}),
        ("TIFF", {"big_tiff": True}),
        ("TIFF", {"big_tiff": True, "compression": "tiff_lzw"}),
    ],
)
def test_images_that_are_not_split_are_refused(tmp_path, form, options):
    one = encoded(IMAGES[0], form, **options)
    with pytest.raises(LemError, match=f"several images {ROW}"):
        read(tmp_path, one + encoded(IMAGES[1], form))
    assert len(read(tmp_path, one + b"\n")) == 1


def test_pages_of_a_tiff_are_no_files_in_a_row(tmp_path):
    for options in (
        {"compression": "tiff_lzw"},
        {"save_all": True, "append_images": IMAGES[1:]},
        {"big_tiff": True},
        {"big_tiff": True, "save_all": True, "append_images": IMAGES[1:]},
    ):
        assert len(read(tmp_path, encoded(IMAGES[0], "TIFF", **options), note=lambda text: None)) == 1


@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("way, turn", [(6, 3), (3, 2), (8, 1)])
def test_orientation_of_every_format(tmp_path, form, way, turn):
    """What EXIF calls 6 is turned by 270 degrees to stand upright, 3 by 180, 8 by 90."""
    exif = Image.Exif()
    exif[0x0112] = way
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}, "AVIF": {"quality": 100}}
    smooth = np.add.outer(np.arange(16) * 9, np.arange(24) * 4).astype(np.uint8)
    image = Image.fromarray(np.repeat(smooth[..., None], 3, 2))
    (batch,) = read(tmp_path, encoded(image, form, exif=exif, **options.get(form, {})))
    wanted = np.rot90(np.asarray(image), turn).transpose(2, 0, 1).astype(int)
    assert batch.data[0].shape == wanted.shape and np.abs(batch.data[0] - wanted).max() <= 6


def test_every_link_of_a_chained_ogg_is_read(tmp_path):
    first, second = (sound("OGG", frequency, subtype="VORBIS") for frequency in (0.05, 0.1))
    alone = [read(tmp_path, file)[0].data for file in (first, second)]
    (chain,) = read(tmp_path, first + second)
    assert np.array_equal(chain.data, np.concatenate(alone, 2)) and chain.rate == 44100
    with pytest.raises(LemError, match="several rates or channels"):
        read(tmp_path, first + sound("OGG", channels=2, subtype="VORBIS"))
    with pytest.raises(LemError, match="OGG cut short"):
        read(tmp_path, first + second[:-500])


def png(values: np.ndarray, laced: bool, rows: int | None = None) -> bytes:
    """A PNG of bytes [H, W, 3], of which the first `rows` (of the passes, where it is interlaced) are there."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = [values[y::down, x::across] for x, y, across, down in (passes if laced else [(0, 0, 1, 1)])]
    lines = [b"\0" + row.tobytes() for part in parts if part.size for row in part]
    head = struct.pack(">IIBBBBB", values.shape[1], len(values), 8, 2, 0, 0, laced)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"".join(lines[:rows]))), (b"IEND", b"")]
    whole = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(whole)


@pytest.mark.parametrize("laced", [False, True])
@pytest.mark.parametrize("size", [(7, 9), (1, 1), (3, 2), (8, 5)])
def test_a_png_without_its_last_row(tmp_path, laced, size):
    """Its packed data end in order, so that Pillow leaves the rest black."""
    values = RNG.integers(1, 256, (*size, 3), np.uint8)
    assert np.array_equal(read(tmp_path, png(values, laced))[0].data[0], values.transpose(2, 0, 1))
    with pytest.raises(LemError, match="x: not a readable PNG .cut short, [0-9]+ of [0-9]+ bytes of pixels"):
        read(tmp_path, png(values, laced, -1))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_page_of_an_ogg_that_is_damaged_or_missing(tmp_path, subtype):
    """libsndfile ends there, or passes over it, and says nothing."""
    out, wave = io.BytesIO(), RNG.uniform(-0.5, 0.5, 200000)
    soundfile.write(out, wave, 48000, format="OGG", subtype=subtype)
    whole = out.getvalue()
    assert read(tmp_path, whole)[0].data.shape[2] == len(wave)
    pages = [at for at in range(len(whole)) if whole[at : at + 4] == b"OggS"]
    begin, end = pages[-3], pages[-2]  # one in the middle
    flipped = bytearray(whole)
    flipped[(begin + end) // 2] ^= 1
    wrongs = [(bytes(flipped), "damaged OGG .*checksum"), (whole[:begin] + whole[end:], "damaged OGG .*missing")]
    wrongs += [(whole[:begin] + b"?" * 50 + whole[begin:], "damaged OGG .*no page")]
    for body, message in wrongs:
        with pytest.raises(LemError, match=message):
            read(tmp_path, body)
    for cut in (begin + 4, begin + 26, begin + 30, len(whole) - 1, *(len(whole) + more for more in (0, 4, 10, 26))):
        with pytest.raises(LemError, match="OGG cut short"):
            read(tmp_path, (whole + whole[pages[-1] :])[: cut + 4 * (cut == len(whole))])
    assert read(tmp_path, whole + b"TAG" + bytes(125))[0].data.shape[2] == len(wave)


def test_a_tag_behind_a_flac(tmp_path):
    """As old programs set one behind every sound (ID3v1): its decoder fails on it."""
    whole = sound("FLAC")
    assert np.array_equal(read(tmp_path, whole + b"TAG" + b"x" * 125)[0].data, read(tmp_path, whole)[0].data)


SOUNDS = [("WAV", {"subtype": "FLOAT"}), ("RF64", {"subtype": "FLOAT"}), ("WAV", {"subtype": "FLOAT", "endian": "BIG"})]
SOUNDS += [("AIFF", {}), ("AU", {"subtype": "PCM_16"}), ("W64", {"subtype": "PCM_16"}), ("FLAC", {}), ("MP3", {})]


@pytest.mark.parametrize("form, options", SOUNDS)
def test_sounds_that_are_cut_or_in_a_row_are_refused(tmp_path, form, options):
    one, kind = sound(form, **options), {"kind": "audio"} if form in ("AIFF", "AU", "W64") else {}
    assert read(tmp_path, one, **kind)[0].data.shape == (1, 1, 20000)
    with pytest.raises(LemError, match="cut short|not a readable FLAC"):
        read(tmp_path, one[: len(one) // 2], **kind)
    with pytest.raises(LemError, match=f"several .*s {ROW}"):
        read(tmp_path, one + one, **kind)
