"""Small files that say they are huge: refused before memory is taken, unless --max-bytes allows it; and labels."""

import gzip
import io
import resource
import struct
import zipfile
import zlib

import numpy as np
import pytest
import soundfile
from PIL import Image

from lemtools.media import load
from lemtools.media.ends import files
from lemtools.media.labels import MANY, labels
from lemtools.signal import LemError
from lemtools.stream import Source

SIDE = 40_000  # px: 4.8 GB as RGB


def webp(width: int, height: int) -> bytes:
    """A lossless WebP of one colour: 34 bytes, whatever its size."""
    out = io.BytesIO()
    Image.new("RGB", (9, 9)).save(out, "WEBP", lossless=True)
    raw = bytearray(out.getvalue())
    sizes = int.from_bytes(raw[21:25], "little") & ~0xFFFFFFF | (width - 1) | (height - 1) << 14
    raw[21:25] = sizes.to_bytes(4, "little")
    return bytes(raw)


def png(width: int, height: int, bits: int = 8) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    parts = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def resized(form: str, old: bytes, new: bytes) -> bytes:
    """A small image whose header says another size."""
    out = io.BytesIO()
    Image.new("RGB", (77, 79)).save(out, form)
    assert out.getvalue().count(old) >= 1
    return out.getvalue().replace(old, new)


def npy(shape: tuple[int, ...], fortran: bool = False) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|u1", "fortran_order": fortran, "shape": shape})
    return out.getvalue() + bytes(1000)


def npz(body: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", body)
    return out.getvalue()


BOMBS = {
    "WebP": webp(9459, 9459),
    "large WebP": webp(16383, 16383),
    "PNG": png(SIDE, SIDE),
    "PNG of 16 bits": png(8000, 6400, 16),
    "JPEG": resized("JPEG", struct.pack(">2H", 79, 77), struct.pack(">2H", 60000, 60000)),
    "GIF": resized("GIF", struct.pack("<2H", 77, 79), struct.pack("<2H", 60000, 60000)),
    "AVIF": resized("AVIF", struct.pack(">2I", 77, 79), struct.pack(">2I", 60000, 60000)),
    "PPM": b"P6\n40000 40000\n255\n" + bytes(99),
    "plain PPM of 16 bits": b"P3\n40000 40000\n65535\n" + b"1 " * 99,
    "bitmap": b"P4\n400000 40000\n" + bytes(99),
    "npy": npy((1, SIDE, SIDE)),
    "npy in a gzip": gzip.compress(npy((1, SIDE, SIDE))),
    "npy in Fortran order in a gzip": gzip.compress(npy((2000, 1000, 1000), True)),
    "npz in Fortran order": npz(npy((2000, 1000, 1000), True)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_says_it_is_huge_is_refused_unread(tmp_path, name):
    (tmp_path / "x").write_bytes(BOMBS[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(LemError, match="--max-bytes|not a readable") as refused:
        list(load(tmp_path / "x"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 16  # KiB
    if "not a readable" in str(refused.value):
        assert name in ("plain PPM of 16 bits", "AVIF")  # they hold too little, which their readers see at once


def test_max_bytes_allows_more_and_less(tmp_path):
    (tmp_path / "x").write_bytes(png(8000, 6400, 16))
    with pytest.raises(LemError, match="not a readable PNG"):  # its size is allowed; it is cut
        list(load(tmp_path / "x", max_bytes=1 << 30))
    Image.new("RGB", (40, 50)).save(tmp_path / "y.png")
    (batch,) = load(tmp_path / "y.png", max_bytes=6000)
    assert batch.data.nbytes == 6000
    with pytest.raises(LemError, match="40 x 50 pixels, 6000 bytes; raise --max-bytes"):
        list(load(tmp_path / "y.png", max_bytes=5999))
    soundfile.write(tmp_path / "z.flac", np.zeros((5000, 2)), 8000)
    assert next(load(tmp_path / "z.flac", max_bytes=40000)).data.nbytes == 40000
    with pytest.raises(LemError, match="over 39999 bytes of sound"):
        list(load(tmp_path / "z.flac", max_bytes=39999))


def test_what_a_gzip_holds_is_bounded_too(tmp_path, monkeypatch):
    monkeypatch.setattr("lemtools.stream.source.MAX_ITEM", 1 << 20)
    (tmp_path / "t.gz").write_bytes(gzip.compress(b"a" * ((1 << 20) + 1)))
    with pytest.raises(LemError, match="larger than 1048576 bytes; raise --max-bytes"):
        list(load(tmp_path / "t.gz"))
    assert len(list(load(tmp_path / "t.gz", max_bytes=1 << 21))) == 1


def test_a_sound_is_bounded_where_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("lemtools.stream.source.MAX_ITEM", 1 << 20)
    soundfile.write(tmp_path / "x.flac", np.zeros(300_000), 8000)
    with pytest.raises(LemError, match="over 1048576 bytes of sound"):
        list(load(tmp_path / "x.flac"))
    assert next(load(tmp_path / "x.flac", max_bytes=1 << 21)).data.size == 300_000


def test_a_pnm_that_is_too_large_is_not_read_on():
    source = Source(io.BytesIO(b"P5\n1000 1000\n255\n" + bytes(1_000_000)), "x", 999_999)
    with pytest.raises(LemError, match="an image of 1000000 bytes; raise --max-bytes"):
        list(files(source, "PPM"))
    assert source.place < 20


def test_labels_of_every_form(tmp_path):
    wanted = RNG.integers(0, 200, 1000)
    text = "\r\n".join(map(str, wanted)).encode()
    idx = b"\0\0\x08\1" + len(wanted).to_bytes(4, "big") + wanted.astype(np.uint8).tobytes()
    out = io.BytesIO()
    np.save(out, wanted[:, None].astype(np.int16))
    for body in (text, b"\xef\xbb\xbf" + text, b" " + text + b"\n", idx, out.getvalue()):
        for packed in (body, gzip.compress(body)):
            (tmp_path / "l").write_bytes(packed)
            assert labels(str(tmp_path / "l")).tolist() == wanted.tolist()


RNG = np.random.default_rng(3)


def test_labels_in_many_blocks(tmp_path, monkeypatch):
    """Numbers that lie across the ends of blocks stay whole."""
    monkeypatch.setattr("lemtools.media.labels._BLOCK", 7)
    wanted = RNG.integers(0, 100_000, 500)
    (tmp_path / "l").write_text(" ".join(map(str, wanted)))
    assert labels(str(tmp_path / "l")).tolist() == wanted.tolist()


def test_labels_that_are_none(tmp_path):
    whole = bytearray(gzip.compress(b"\0\0\x08\1\0\0\0\x40" + RNG.integers(0, 9, 64, np.uint8).tobytes()))
    damaged = bytes(whole[:20]) + b"\xff" * 6 + bytes(whole[26:])
    many = b"\0\0\x08\1" + (MANY + 1).to_bytes(4, "big")
    cases = [(damaged, "damaged gzip|no labels"), (bytes(whole[:-20]), "damaged gzip"), (many, "labels or more")]
    cases += [(b"1 2 x", "no labels"), (b"", "no labels"), (b"7" * 5000, "no labels"), (b"\xff\xfe1\0", "no labels")]
    cases += [(many[:4] + b"\0\0\0\5" + b"1234", "no labels"), (npy((10, 10)), "no labels")]
    for body, words in cases:
        (tmp_path / "l").write_bytes(body)
        with pytest.raises(LemError, match=words):
            labels(str(tmp_path / "l"))


def test_labels_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("lemtools.media.labels.MANY", 1000)
    (tmp_path / "l").write_bytes(gzip.compress(b"0 " * 3_000_000))
    with pytest.raises(LemError, match="labels or more, of which there may be 1000"):
        labels(str(tmp_path / "l"))
