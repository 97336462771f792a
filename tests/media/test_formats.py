"""What every format holds, against the values that were put into it: by Pillow, soundfile, numpy, or by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
import soundfile
from PIL import Image

from lemtools.media import load
from lemtools.signal import LemError, Signal

RNG = np.random.default_rng(8)
RGB = RNG.integers(0, 256, (13, 17, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (13, 17, 4), np.uint16)
WAVES = (np.sin(np.arange(9000) / 9) * 0.5).astype(np.float32)


def one(path, **options) -> Signal:
    (signal,) = load([str(path)], **options)
    return signal


def noted(path, **options) -> tuple[Signal, list[str]]:
    notes: list[str] = []
    return one(path, note=notes.append, **options), notes


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png16(values: np.ndarray, colour: int, extra: bytes = b"") -> bytes:
    """A PNG of [H, W, C] of 16 bits, its rows filtered by Up and Sub in turn, as the specification has them (9.2)."""
    rows, before = [], np.zeros(values[0].nbytes, np.uint8)
    for i, row in enumerate(values.astype(">u2")):
        raw, step = np.frombuffer(row.tobytes(), np.uint8), 2 * values.shape[2]
        left = np.concatenate([np.zeros(step, np.uint8), raw[:-step]])
        rows.append(bytes([2 - i % 2]) + (raw - (before if i % 2 == 0 else left)).tobytes())
        before = raw
    head = struct.pack(">IIBBBBB", values.shape[1], len(values), 16, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + body + chunk(b"IEND", b"")


def tiff(values: np.ndarray, tags: dict[int, int], order: str = "<", deflate: bool = False) -> bytes:
    """A TIFF of [H, W, C] in one strip, by hand (TIFF 6.0, section 2)."""
    body = values.astype(values.dtype.newbyteorder(order)).tobytes()
    body = zlib.compress(body) if deflate else body
    channels, width = values.shape[2], 8 * values.dtype.itemsize
    entries = {
        256: values.shape[1],
        257: len(values),
        258: width,
        259: 8 if deflate else 1,
        262: 2 if channels >= 3 else 1,
        273: 8,
        277: channels,
        278: len(values),
        279: len(body),
        339: {"u": 1, "i": 2, "f": 3}[values.dtype.kind],
    } | tags
    where = 8 + len(body)
    after, parts, far = where + 2 + 12 * len(entries) + 4, [], b""
    for tag, value in sorted(entries.items()):
        per_channel = channels if tag in (258, 339) else 1
        if per_channel * 2 > 4:  # a list of shorts that does not fit into the entry
            parts.append(struct.pack(f"{order}HHII", tag, 3, per_channel, after + len(far)))
            far += struct.pack(f"{order}{per_channel}H", *[value] * per_channel)
        elif per_channel > 1:
            parts.append(struct.pack(f"{order}HHI2H", tag, 3, 2, value, value))
        else:
            parts.append(struct.pack(f"{order}HHII", tag, 4, 1, value))
    index = struct.pack(f"{order}H", len(entries)) + b"".join(parts) + bytes(4)
    magic = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", where)
    return magic + body + index + far


# --- more than 8 bits a value


@pytest.mark.parametrize("colour, channels", [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_png_of_16_bits(tmp_path, colour, channels):
    values = DEEP[..., :channels].copy()
    if channels in (2, 4):
        values[..., -1] = 65535
    (tmp_path / "x").write_bytes(png16(values, colour))
    signal, notes = noted(tmp_path / "x")
    colours = values[..., : channels - (channels in (2, 4))]
    assert signal.data.dtype == np.float32 and not notes
    assert np.array_equal(np.rint(signal.data[0].astype(np.float64) * 65535), colours.transpose(2, 0, 1))


def test_interlaced_png_of_16_bits_a_colour(tmp_path):
    """Adam7 by hand: the pass of every pixel is given by the PNG specification, section 8.2."""
    values = DEEP[:8, :8, :3]
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for y, x, dy, dx in passes for row in values[y::dy, x::dx])
    head = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 1)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "x").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    assert np.array_equal(np.rint(one(tmp_path / "x").data[0] * 65535.0), values.transpose(2, 0, 1))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("channels", [1, 3])
def test_tiff_of_16_bits(tmp_path, order, channels):
    values = DEEP[..., :channels]
    (tmp_path / "x").write_bytes(tiff(values, {}, order))
    signal = one(tmp_path / "x")
    assert np.array_equal(np.rint(signal.data[0].astype(np.float64) * 65535), values.transpose(2, 0, 1))


@pytest.mark.parametrize("order", "<>")
def test_deflated_tiff_of_16_bits_a_colour(tmp_path, order):
    (tmp_path / "x").write_bytes(tiff(DEEP[..., :3], {}, order, deflate=True))
    signal = one(tmp_path / "x")
    assert np.array_equal(np.rint(signal.data[0].astype(np.float64) * 65535), DEEP[..., :3].transpose(2, 0, 1))


@pytest.mark.parametrize("order", "<>")
def test_tiff_of_16_bits_where_white_is_zero(tmp_path, order):
    (tmp_path / "x").write_bytes(tiff(65535 - DEEP[..., :1], {262: 0}, order))
    try:
        data = one(tmp_path / "x").data
    except LemError as error:  # what Pillow does not read is refused, never read as its negative
        assert order == ">" and "not a readable TIFF" in str(error)
        return
    assert np.abs(data[0, 0] - DEEP[..., 0] / 65535).max() < 1e-6


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order, deflate", [("<", False), (">", False), ("<", True)])
def test_tiff_of_floats(tmp_path, channels, order, deflate):
    values = RNG.random((13, 17, channels), np.float32)
    (tmp_path / "x").write_bytes(tiff(values, {}, order, deflate))
    assert np.array_equal(one(tmp_path / "x").data[0], values.transpose(2, 0, 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_tiff_of_floats_beyond_full_scale_is_refused(tmp_path, channels):
    values = RNG.random((5, 7, channels), np.float32)
    values[2, 3] = 1.25
    (tmp_path / "x.tif").write_bytes(tiff(values, {}))
    with pytest.raises(LemError, match=r"x.tif: float pixels from .* to 1.25; an image lies in \[0, 1\]"):
        one(tmp_path / "x.tif")


@pytest.mark.parametrize("tags", [{284: 2}, {317: 3}, {274: 6}, {259: 5}])
def test_tiff_of_float_colours_in_a_way_that_is_not_read(tmp_path, tags):
    (tmp_path / "x").write_bytes(tiff(RNG.random((5, 7, 3), np.float32), tags))
    with pytest.raises(LemError, match="not a readable TIFF .*save it"):
        one(tmp_path / "x")


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("deflate", [False, True])
def test_tiff_of_floats_in_either_order_of_bytes(tmp_path, order, deflate):
    """Of 0, .5 and 1 the swapped bytes are numbers within [0, 1], too."""
    values = np.float32([0, 0.5, 1, 0.25]).repeat(6).reshape(4, 6, 1)
    (tmp_path / "x").write_bytes(tiff(values, {}, order, deflate))
    assert np.array_equal(one(tmp_path / "x").data[0, 0], values[..., 0])


BYTES = np.ascontiguousarray(DEEP.astype(np.uint8))
NOT_READ = [
    (BYTES[..., :1].view(np.int8), {}, "values with a sign"),
    ((DEEP[..., :1] // 2).view(np.int16), {}, "values with a sign"),
    (BYTES[..., :3], {262: 8}, r"L\*a\*b\*; save it as RGB"),
    (np.ascontiguousarray(DEEP[..., :3].transpose(2, 0, 1)).reshape(13, 17, 3), {284: 2}, "in planes"),
]


@pytest.mark.parametrize("values, tags, message", NOT_READ)
def test_tiff_of_values_that_mean_something_else_is_refused(tmp_path, values, tags, message):
    """Pillow reads the bytes of these as if they were ordinary ones."""
    for deflate in (False, True):
        body = tiff(values, tags, deflate=deflate)
        if 284 in tags and deflate:  # each plane is a strip
            strips = [zlib.compress(plane.tobytes()) for plane in values.reshape(3, 13, 17)]
            body = planes(strips, (13, 17))
        (tmp_path / "x").write_bytes(body)
        with pytest.raises(LemError, match=f"x: .*{message}"):
            one(tmp_path / "x")


def planes(strips: list[bytes], size: tuple[int, int]) -> bytes:
    """A deflated TIFF of three planes of 16 bits, each in one strip."""
    body, height, width = b"".join(strips), *size
    starts = [8 + sum(map(len, strips[:k])) for k in range(3)]
    lists = {258: [16] * 3, 273: starts, 279: [*map(len, strips)], 339: [1] * 3}
    single = {256: width, 257: height, 259: 8, 262: 2, 277: 3, 278: height, 284: 2}
    where = 8 + len(body)
    after, entries, far = where + 2 + 12 * (len(lists) + len(single)) + 4, [], b""
    for tag in sorted({**lists, **single}):
        value = [single[tag]] if tag in single else [after + len(far)]
        entries.append(struct.pack("<HHII", tag, 4, len(lists.get(tag, value)), *value))
        far += struct.pack("<3I", *lists[tag]) if tag in lists else b""
    index = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", where) + body + index + far


def test_what_a_tiff_holds_beside_its_colours_is_said(tmp_path):
    (tmp_path / "x").write_bytes(tiff(BYTES, {338: 0}))
    signal, notes = noted(tmp_path / "x")
    assert np.array_equal(signal.data[0], BYTES[..., :3].transpose(2, 0, 1))
    assert notes == [f"{tmp_path / 'x'}: a value of each pixel is left out, beside its colours"]
    (tmp_path / "x").write_bytes(tiff(BYTES[..., :2], {338: 0}))
    signal, notes = noted(tmp_path / "x")
    assert np.array_equal(signal.data[0, 0], BYTES[..., 0]) and "left out" in notes[0]
    (tmp_path / "x").write_bytes(tiff(BYTES, {338: 2}))
    assert "transparent" in noted(tmp_path / "x")[1][0]


def test_inks_become_colours_and_it_is_said(tmp_path):
    (tmp_path / "x").write_bytes(tiff(BYTES, {262: 5}))
    signal, notes = noted(tmp_path / "x")
    light = 1 - BYTES.transpose(2, 0, 1) / 255
    assert np.abs(signal.data[0] / 255 - light[:3] * light[3]).max() < 1 / 255
    assert len(notes) == 1 and "x: CMYK, turned into RGB" in notes[0]


def test_netpbm_of_any_depth(tmp_path):
    for most in (1023, 65535):
        values = RNG.integers(0, most + 1, (4, 5, 3))
        (tmp_path / "x").write_bytes(b"P6 5 4 # sizes\n%d\n" % most + values.astype(">u2").tobytes())
        (tmp_path / "y").write_bytes(b"P3\n# plain\n5 4\n%d\n" % most + " ".join(map(str, values.ravel())).encode())
        for name in "xy":
            expected = (values / most).transpose(2, 0, 1)
            assert np.abs(one(tmp_path / name).data[0] - expected).max() < 1e-7, (name, most)
    (tmp_path / "z").write_bytes(b"P2\n3 2\n15\n0 1 2 3 4 15\n")
    assert one(tmp_path / "z").data.ravel().tolist() == [0, 17, 34, 51, 68, 255]
    (tmp_path / "z").write_bytes(b"P1\n3 1\n0 1 0\n")
    assert one(tmp_path / "z").data.ravel().tolist() == [255, 0, 255]  # in a bitmap 1 is black


def test_netpbm_beyond_its_largest_value(tmp_path):
    for head in (b"P5 2 1 100\n", b"P6 1 1 100\n\0"):
        (tmp_path / "x").write_bytes(head + b"\x64\x32")
        assert one(tmp_path / "x").data.max() == 255
        (tmp_path / "x").write_bytes(head + b"\x65\x32")
        with pytest.raises(LemError, match="x: not a readable PPM .values above 100"):
            one(tmp_path / "x")


def test_netpbm_in_a_row_or_cut(tmp_path):
    colour, grey = b"P6\n8 6\n255\n" + bytes(144), b"P5 # one more\n8 6 1000\n" + bytes(96)
    black, white = (b"P4\n8 6\n" + six for six in (b"\xff" * 6, bytes(6)))  # in a bitmap 1 is black
    for body in (colour * 3, grey + grey, colour + grey + colour + b"\n", black + white + b"\n"):
        (tmp_path / "x").write_bytes(body)
        assert sum(map(len, load(str(tmp_path / "x")))) == body.count(b"P")
    assert [x.data.max() for x in load(str(tmp_path / "x"), batch=1)] == [0, 255]
    (tmp_path / "x").write_bytes(b"P2\n1 1\n255\n7\nP2\n1 1\n255\n7\n")
    with pytest.raises(LemError, match="several images in a row"):
        one(tmp_path / "x")
    (tmp_path / "x").write_bytes(colour + b"more")
    with pytest.raises(LemError, match="goes on after a PPM with what is no PPM"):
        one(tmp_path / "x")
    for body in (b"P5\n4 4\n65535\n" + bytes(31), b"P2\n2 2\n1000\n1 2 3\n", b"P2\n2 1\n1000\n1 1001\n"):
        (tmp_path / "x").write_bytes(body)
        with pytest.raises(LemError, match="not a readable PPM"):
            one(tmp_path / "x")


# --- transparency


def test_one_note_for_many_images_and_none_for_opaque_ones(tmp_path):
    for i in range(3):
        Image.fromarray(np.dstack([RGB, RGB[..., 0]])).save(tmp_path / f"{i}.png")
    assert len(noted(tmp_path)[1]) == 1
    Image.fromarray(RGB).convert("RGBA").save(tmp_path / "opaque.png")
    assert noted(tmp_path / "opaque.png")[1] == []


def test_a_colour_that_stands_for_transparent(tmp_path):
    key = struct.pack(">HHH", *DEEP[3, 4, :3])
    (tmp_path / "x").write_bytes(png16(DEEP[..., :3], 2, chunk(b"tRNS", key)))
    data = noted(tmp_path / "x", background="black")[0].data[0] * 65535.0
    expected = DEEP[..., :3].copy()
    expected[3, 4] = 0
    assert np.array_equal(np.rint(data), expected.transpose(2, 0, 1))
    head = struct.pack(">IIBBBBB", 4, 1, 2, 0, 0, 0, 0)  # 2 bits of grey: 0, 1, 2, 3, of which 2 is transparent
    body = chunk(b"IHDR", head) + chunk(b"tRNS", b"\0\2") + chunk(b"IDAT", zlib.compress(b"\0\x1b"))
    (tmp_path / "y").write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
    assert noted(tmp_path / "y")[0].data.ravel().tolist() == [0, 85, 255, 255]


# --- frames, orientation, other formats


# --- sounds


def test_mp3_is_what_libsndfile_reads(tmp_path):
    soundfile.write(tmp_path / "x", WAVES, 16000, format="MP3")
    heard, rate = soundfile.read(tmp_path / "x", dtype="float32", always_2d=True)
    signal = one(tmp_path / "x")
    assert np.abs(signal.data[0] - heard.T).max() < 1e-6 and signal.rate == rate == 16000
    assert signal.data.shape[2] == 9000
    assert np.abs(signal.data[0, 0, 500:8500] - WAVES[500:8500]).max() < 0.05
    raw = (tmp_path / "x").read_bytes()
    tagged = b"ID3\3\0\0\0\0\1\0" + bytes(128) + raw
    (tmp_path / "y").write_bytes(tagged)
    assert np.array_equal(one(tmp_path / "y").data, signal.data)
    for body in (raw[:-1], raw[: len(raw) // 2], tagged[:-1], raw[:20]):
        (tmp_path / "y").write_bytes(body)
        with pytest.raises(LemError, match="MP3"):
            one(tmp_path / "y")


def test_a_cut_rf64_is_refused(tmp_path):
    soundfile.write(tmp_path / "x", WAVES, 8000, format="RF64", subtype="FLOAT")
    assert np.array_equal(one(tmp_path / "x").data[0, 0], WAVES)
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:-4])
    with pytest.raises(LemError, match="WAV cut short, 35996 of 36000 bytes"):
        one(tmp_path / "x")


@pytest.mark.parametrize("form", ["AIFF", "AU", "CAF"])
def test_whatever_libsndfile_knows_by_kind(tmp_path, form):
    soundfile.write(tmp_path / "x", WAVES, 8000, format=form, subtype="FLOAT")
    assert np.array_equal(one(tmp_path / "x", kind="audio").data[0, 0], WAVES)


# --- tables of numbers

TABLE = RNG.standard_normal((6, 4)).astype(np.float32)


def rows(table, delimiter=",") -> str:
    return "".join(delimiter.join(f"{value:.9g}" for value in row) + "\n" for row in table)


@pytest.mark.parametrize(
    "text",
    [
        rows(TABLE),
        rows(TABLE, "\t"),
        rows(TABLE, "; "),
        "a,b,c,d\n" + rows(TABLE),
        "a,b,c,d\r\n" + rows(TABLE).replace("\n", "\r\n"),
        rows(TABLE).rstrip("\n"),
        ",a,b,c,d\n" + "".join(f"{i},{row}\n" for i, row in enumerate(rows(TABLE).splitlines())),  # as pandas has it
        '"a","b","c","d"\n' + "".join('"' + '","'.join(r.split(",")) + '"\n' for r in rows(TABLE).splitlines()),
    ],
)
def test_tables_of_numbers_are_embeddings(tmp_path, text):
    (tmp_path / "x").write_text(text, newline="")
    signal, notes = noted(tmp_path / "x")
    assert signal.kind == "embedding" and np.array_equal(signal.data, TABLE) and signal.last
    assert len(notes) == 1 and "6 embeddings of 4 dimensions" in notes[0]
    assert one(tmp_path / "x", kind="text").data.tobytes() == text.encode()
    assert [len(s) for s in load([str(tmp_path / "x")], batch=4, note=notes.append)] == [4, 2]


@pytest.mark.parametrize(
    "text",
    ["42\n", "Price, in euro\n1 apple, 2 pears\n", "a, b\nc, d\n", "one,two\n", "a\n1,2\n", ",\n"],
)
def test_what_looks_like_text_stays_text(tmp_path, text):
    (tmp_path / "x").write_text(text)
    signal, notes = noted(tmp_path / "x")
    assert signal.kind == "tokens" and signal.data.tobytes() == text.encode() and not notes


def test_a_table_in_a_folder_of_photos_is_passed_over(tmp_path):
    (tmp_path / "labels.csv").write_text("1,2\n3,4\n")
    Image.fromarray(RGB).save(tmp_path / "x.png")
    assert one(tmp_path).names == ["x.png"]


# --- arrays and --kind


def test_unknown_kind():
    with pytest.raises(LemError, match="no kind 'picture'; there are image, audio"):
        list(load(["x"], kind="picture"))


def test_png_of_a_large_depth_from_a_pipe(tmp_path):
    """Several PNGs in a row, of 8 and of 16 bits: each is split off, whatever it holds."""
    from lemtools.media import images
    from lemtools.media.how import Reading
    from lemtools.stream import Source

    out = io.BytesIO()
    Image.fromarray(RGB).save(out, "PNG")
    source = Source(io.BytesIO(png16(DEEP[..., :3], 2) + out.getvalue()), "x")
    first, second = images.each_image(source, "PNG", Reading())
    assert first.data.dtype == np.float32 and np.array_equal(second.data[0], RGB.transpose(2, 0, 1))
