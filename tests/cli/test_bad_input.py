"""Bad input: one clear line on standard error, the right exit status, no traceback, nothing half-written.

Every line of CASES is one run of a command in a folder of its own that holds the files of `good()` and the case's own.
"""

import gzip
import io
import json
import os
import pty
import resource
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
import tty
import zipfile
import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.ma
import pytest
import soundfile
from PIL import Image

import lemtools.compare.geometry  # what the forks would each have to load
import lemtools.compare.perceptual
import lemtools.compare.plot
import lemtools.compare.sound
import lemtools.fragment
import lemtools.media.describe
import lemtools.restore.inpaint  # noqa: F401
from helpers.commands import lem_fork
from helpers.forkserver import heed
from lemtools import stream
from lemtools.media import load
from lemtools.signal import LemError, Signal

# --- how inputs are made


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width=16, height=12, depth=8, colour=2, rows: bytes | None = None, extra: bytes = b"", interlace=0) -> bytes:
    """A PNG by hand, grey values or colours of one tone."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = b"\0" + b"\x55" * (width * channels * depth // 8)
    body = zlib.compress(row * height if rows is None else rows)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def picture(mode="RGB", size=(16, 12), form="PNG", **options) -> bytes:
    seed = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(seed).convert(mode).save(out, form, **options)
    return out.getvalue()


@cache
def sound(form="WAV", subtype="PCM_16", channels=1, n=400, rate=8000) -> bytes:
    out = io.BytesIO()
    data = np.random.default_rng(2).uniform(-0.5, 0.5, (n, channels)).astype("f4")
    soundfile.write(out, data, rate, format=form, subtype=subtype)
    return out.getvalue()


def npy(array, **how) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asanyarray(array), **how)
    return out.getvalue()


def npy_header(text: str, body: bytes = b"") -> bytes:
    text = text + " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode() + body


def npz(**arrays) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def idx(shape=(3, 4, 5), kind=8, body: bytes | None = None) -> bytes:
    head = bytes([0, 0, kind, len(shape)]) + b"".join(struct.pack(">I", s) for s in shape)
    return head + (bytes(int(np.prod(shape))) if body is None else body)


def doc(header, body: bytes = b"") -> bytes:
    """A safetensors document with any header at all."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + body


def tensor(dtype="F32", shape=(1, 4), at=(0, 16)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(at)}


def lem_doc(meta: dict, body=b"", **tensors) -> bytes:
    """A document of ours with any metadata."""
    return doc(
        {"__metadata__": {"lem": json.dumps({"v": 1, "kind": "embedding", "n": 1, "last": True} | meta)}, **tensors},
        body,
    )


@cache
def fragment(kind="image") -> bytes:
    """A small stream of one document."""
    data = {"image": np.arange(192, dtype=np.uint8).reshape(1, 3, 8, 8), "embedding": np.ones((2, 8), np.float32)}[kind]
    ops = [{"op": "mask", "mask": 0.5, "mask_shape": "pixel"}]
    mask = np.arange(64).reshape(1, 1, 8, 8) % 2 == 0 if kind == "image" else np.arange(16).reshape(2, 8) % 2 == 0
    signal = Signal(kind, data * mask, mask, ops=ops, history=[{"tool": "test"}], last=True)
    return b"".join(bytes(part) for part in stream.document(signal))


def documents() -> list[bytes]:
    """A stream of two documents."""
    one, two = (Signal("embedding", np.ones((1, 4), np.float32), history=[{}], index=np.array([i])) for i in (0, 1))
    two.last = True
    return [b"".join(bytes(part) for part in stream.document(each)) for each in (one, two)]


@cache
def good() -> dict[str, bytes]:
    """Files that stand in every case's folder."""
    rng = np.random.default_rng(0)
    return {
        "a.png": picture(),
        "b.png": picture(size=(20, 9)),
        "a.wav": sound(),
        "r.wav": sound(rate=16000),
        "t.txt": b"some text\n",
        "e.npy": npy(rng.standard_normal((3, 8)).astype("f4")),
        "i.npy": npy(np.arange(12).reshape(2, 6)),
        "frag.st": fragment(),
        "two.st": b"".join(documents()),
        "dir/x.png": picture(),
        "dir/y.png": picture(),
        "other/x.png": picture(),
        "other/z.png": picture(),
        "sounds/a.wav": sound(),
        "store.npy": npy(rng.integers(0, 256, (5, 3, 6, 6), np.uint8)),
        "nan.npy": npy(np.array([[0, 1], [np.nan, 2]], "f4")),
        "big.npy": npy(rng.standard_normal((500, 64)).astype("f4")),
        "dim.npy": npy(rng.standard_normal((4, 3)).astype("f4")),
    }


# --- the cases


@dataclass
class Case:
    """words: in the one line. lines: of standard error. left: what may stand in the folder afterwards besides."""

    name: str
    tool: str
    args: list[str]
    words: str
    files: dict | None = None
    stdin: bytes = b""
    status: int = 2
    lines: int = 1
    left: tuple = ()
    env: dict | None = None
    prepare: object = None


CASES: list[Case] = []


def case(name, tool, args, words, **more):
    CASES.append(Case(name, tool, args.split() if isinstance(args, str) else args, words, **more))


def bad_file(name, body, words, tool="fragment", extra=""):
    """A bad input: alone as FILE, named in the message; the command's output must not appear."""
    command = {
        "fragment": "x.bad --bits 3 -o out.safetensors",
        "reconstruct": "x.bad --method decode -o out.safetensors",
        "info": "x.bad",
        "compare": "x.bad x.bad",
    }[tool]
    case(name, tool, f"{command} {extra}", words, files={"x.bad": body})


def cuts(name, body, words, places, **more):
    for place in places:
        at = place if isinstance(place, int) else int(len(body) * place)
        bad_file(f"{name} cut to {at % len(body)} of {len(body)}", body[:at], words, **more)


# files that are nothing, or not what they say
for tool in ("fragment", "reconstruct", "compare"):
    bad_file("empty", b"", "x.bad: empty", tool)
    bad_file("garbage", b"\0\1\2\3garbage" * 9, "x.bad: not a known format", tool)
bad_file("garbage for info", b"\0\1\2\3garbage" * 9, "x.bad: not a safetensors stream", "info")
bad_file("a PNG for info", picture(), "PNG; lem-info reads streams", "info")
bad_file(
    "UTF-16", "memory".encode("utf-16"), "x.bad: not a known format, but text in UTF-16, it seems; convert it to UTF-8"
)
bad_file("latin-1", "mémoire".encode("latin-1"), "x.bad: not a known format, but text in ISO-8859-1")
bad_file("a PDF", b"%PDF-1.7\n\0\xff\xfe", "x.bad: PDF, which is not read")
bad_file("a zip that is no npz", b"PK\3\4" + bytes(100), "x.bad: not a readable npz")
bad_file("a gzip in a gzip", gzip.compress(gzip.compress(b"text")), "a gzip in a gzip")
bad_file("a gzip of nothing", gzip.compress(b""), "x.bad: a gzip of nothing")
bad_file("a gzip with a wrong check sum", gzip.compress(idx())[:-8] + bytes(8), "x.bad: damaged gzip")
bad_file(
    "a gzip bomb", gzip.compress(bytes(1 << 22)[:0] + b"a" * (1 << 22)), "raise --max-bytes", extra="--max-bytes 100000"
)
bad_file(
    "a text over --max-bytes", b"a" * 5000, "x.bad: larger than 4000 bytes; raise --max-bytes", extra="--max-bytes 4000"
)

# images
cuts("PNG", picture(), "x.bad: PNG cut short", [8, 12, 20, 33, 40, 0.5, 0.9, -12, -4, -1])
cuts("JPEG", picture(form="JPEG", size=(64, 64)), "x.bad: not a readable JPEG", [3, 20, 200, 0.7])
cuts("TIFF", picture(form="TIFF"), "x.bad: not a readable TIFF", [8, 0.5])
cuts("WebP", picture(form="WEBP"), "x.bad: not a readable WEBP", [16, 0.5])
cuts("PPM", picture(form="PPM"), "x.bad: not a readable PPM", [7, 0.5])
bad_file("PNG of 60000 x 60000", png(60000, 60000, rows=b"\0"), "a PNG of more than 89478485 pixels")
bad_file("PNG of 10000 x 9000", png(10000, 9000, rows=b"\0"), "a PNG of more than 89478485 pixels")
bad_file(
    "JPEG of 65000 x 65000",
    picture(form="JPEG")[:-2].replace(struct.pack(">HH", 12, 16), struct.pack(">HH", 65000, 65000), 1),
    "a JPEG of more than 89478485 pixels",
)
bad_file(
    "PNG with a bomb of text",
    png(extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 21)))),
    "x.bad: not a readable PNG",
)
bad_file("PNG of 0 x 0", png(0, 0, rows=b""), "x.bad:")
bad_file("PNG of 0 x 12", png(0, 12, rows=b""), "x.bad:")
bad_file(
    "PNG with damaged zlib",
    png(16, 12).replace(zlib.compress((b"\0" + b"\x55" * 48) * 12), b"\x78\x9c" + b"\xff" * 17),
    "x.bad: not a readable PNG",
)
bad_file("PNG with a wrong check sum", picture()[:29] + bytes(4) + picture()[33:], "x.bad: not a readable PNG")
bad_file(
    "PNG with a chunk of 2**32 - 1 bytes",
    picture()[:33] + b"\xff\xff\xff\xffIDAT" + bytes(99),
    "x.bad: PNG cut short or damaged",
)
bad_file(
    "PNG with a chunk of 2**30 bytes", picture()[:33] + b"\x40\0\0\0IDAT" + bytes(99), "x.bad: PNG cut short or damaged"
)
bad_file("PNG over --max-bytes", picture(), "x.bad: larger than 300 bytes; raise --max-bytes", extra="--max-bytes 300")
bad_file("TIFF of floats", picture("F", form="TIFF"), "x.bad: float pixels from")
bad_file("TIFF of 32-bit integers", picture("I", form="TIFF"), "x.bad: TIFF with 32 bits a value")
bad_file("PNG and then something else", picture() + picture(form="JPEG"), "x.bad: goes on after a PNG")
bad_file("two PNGs, the second cut", picture() + picture()[:-5], "x.bad: PNG cut short")

# sounds
WAV = sound()
cuts("WAV", WAV, "x.bad: ", [12, 20, 36, 44, 45, 0.5, -1])
cuts("FLAC", sound("FLAC"), "x.bad: not a readable FLAC", [4, 30, 0.3, 0.6, -1])
cuts("OGG", sound("OGG", "VORBIS"), "x.bad: OGG cut short", [4, 27, 60, 0.9, -1])
bad_file("WAV of no length", WAV[:4] + struct.pack("<I", 36) + WAV[8:40] + bytes(4), "x.bad: a sound of no length")
bad_file("WAV of unknown and no length", WAV[:4] + b"\xff" * 4 + WAV[8:40] + b"\xff" * 4, "x.bad: a sound of no length")
bad_file("WAV without samples", WAV[:36], "x.bad: WAV cut short, or damaged")
bad_file("WAV of 0 channels", WAV[:22] + bytes(2) + WAV[24:], "x.bad: not a readable WAV")
bad_file("WAV at 0 Hz", WAV[:24] + bytes(4) + WAV[28:], "x.bad:")
bad_file("WAV of an unknown codec", WAV[:20] + b"\x34\x12" + WAV[22:], "x.bad: not a readable WAV")
bad_file(
    "WAV with NaN",
    WAV[:20] + b"\3\0\1\0" + struct.pack("<IIHH", 8000, 32000, 4, 32) + b"data" + struct.pack("<If", 4, np.nan),
    "x.bad: NaN or infinite values",
)
bad_file(
    "WAV with infinity",
    sound("WAV", "FLOAT")[:-4] + struct.pack("<f", np.inf),
    "x.bad: NaN or infinite values (item 0)",
)
bad_file("two WAVs in a row", WAV + WAV, "x.bad: several WAVs in a row")
bad_file("WAV over --max-bytes", WAV, "x.bad: larger than 500 bytes", extra="--max-bytes 500")
bad_file("FLAC that unpacks over --max-bytes", sound("FLAC", n=1 << 17, rate=1), "x.bad: ", extra="--max-bytes 400000")
bad_file("FLAC of noise", b"fLaC" + bytes(200), "x.bad: not a readable FLAC")

# arrays
NPY = npy(np.ones((4, 6), "f4"))
cuts("npy", NPY, "x.bad: damaged npy header", [6, 7, 8, 9, 10, 60, 127])
cuts("npy", NPY, "x.bad: cut short", [128, 140, -1])
cuts("npz", npz(a=np.ones((4, 6))), "x.bad: not a readable npz", [5, 0.5, -1])
cuts("idx", idx(), "x.bad: damaged idx header", [4, 9, 15])
cuts("idx", idx(), "x.bad: cut short, ", [16, 40, -1])
cuts("idx.gz", gzip.compress(idx()), "x.bad: damaged gzip", [10, 0.7, -8, -1])
bad_file("npy of objects", npy(np.array([[{}]], object), allow_pickle=True), "x.bad: an array of object")
bad_file("npy of text", npy(np.array([["a"]])), "x.bad: an array of <U1")
bad_file("npy of truth", npy(np.ones((2, 2), bool)), "x.bad: an array of bool")
bad_file("npy of complex numbers", npy(np.ones((2, 2), complex)), "x.bad: an array of complex128")
bad_file("npy of one number", npy(np.float32(1)), "x.bad: an array of shape []")
bad_file("npy of no items", npy(np.ones((0, 4), "f4")), "x.bad: an array of shape [0, 4] holds nothing")
bad_file("npy of empty items", npy(np.ones((4, 0), "f4")), "x.bad: an array of shape [4, 0] holds nothing")
bad_file("npy of 5 dimensions", npy(np.ones((1, 1, 1, 1, 2), "f4")), "is no image, embedding or tokens")
bad_file("npy with NaN", npy(np.array([[0, 1], [np.nan, 2]])), "x.bad: NaN or infinite values (item 1)")
bad_file("npy with infinity", npy(np.array([[0, 1, -np.inf]], "f2")), "x.bad: NaN or infinite values (item 0)")
bad_file("npy of float images over 1", npy(np.full((2, 3, 4, 4), 7.0, "f4")), "x.bad: float images must lie in [0, 1]")
bad_file(
    "npy of negative sizes",
    npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4)}", bytes(64)),
    "x.bad: ",
)
bad_file(
    "npy of 2**60 items",
    npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976, 4)}", bytes(64)),
    "x.bad: cut short",
)
bad_file(
    "npy of an item of 2**60 bytes",
    npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1152921504606846976)}"),
    "raise --max-bytes",
)
bad_file(
    "npy in Fortran order of 2**60 bytes",
    npy_header("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1152921504606846976)}"),
    "raise --max-bytes",
)
bad_file("npy with a deep header", npy_header("(" * 9000), "x.bad: damaged npy header")
bad_file(
    "npy with code for a header", npy_header("__import__('os').system('touch owned')"), "x.bad: damaged npy header"
)
bad_file("two npy in a row", NPY + NPY, "x.bad: goes on after its array")
bad_file(
    "npz of several arrays",
    npz(one=np.ones((2, 3)), two=np.ones((2, 3))),
    "x.bad: several arrays (one, two); pick one with --key",
)
bad_file("npz without the array", npz(one=np.ones((2, 3))), "x.bad: no array 'two' (one)", extra="--key two")
bad_file("npz of a vector", npz(one=np.ones(3)), "x.bad: no array of 2 dimensions")


def zip_of(name: str, body: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, body)
    return out.getvalue()


bad_file(
    "npz that announces 2**60 bytes",
    zip_of("a.npy", npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (9, 1152921504606846976)}")),
    "raise --max-bytes",
)
bad_file(
    "npz with a wrong check sum",
    npz(a=np.ones((4, 6))).replace(struct.pack("<I", zlib.crc32(npy(np.ones((4, 6))))), bytes(4)),
    "x.bad: ",
)
bad_file("idx of labels", idx((9,)), "x.bad: an idx file of 9 labels")
bad_file(
    "idx of 2**32 - 1 images", idx((2**32 - 1, 28, 28), body=bytes(999)), "x.bad: cut short, 1 of 4294967295 items"
)
bad_file("idx of an image of 2**64 bytes", idx((1, 2**32 - 1, 2**32 - 1), body=b""), "raise --max-bytes")
bad_file("idx of nothing", idx((0, 28, 28)), "x.bad: an array of shape [0, 28, 28] holds nothing")
bad_file("idx that goes on", idx() + b"more", "x.bad: goes on after its array")
bad_file("idx of an unknown type", b"\0\0\x0a\2" + bytes(20), "x.bad: not a known format")

# streams
FRAGMENT = fragment()
for place in (8, 9, 50, 0.5, 0.8, -30, -1):
    at = place if isinstance(place, int) else int(len(FRAGMENT) * place)
    said = "cut short" if place != 8 else "x.bad:"
    bad_file(f"stream cut at {place}", FRAGMENT[:at], said, "reconstruct")
    case(f"stream cut at {place} for info", "info", "x.bad", said, files={"x.bad": FRAGMENT[:at]}, status=1)
bad_file(
    "stream that goes on after its end", FRAGMENT + FRAGMENT, "x.bad: goes on after its last document", "reconstruct"
)
bad_file("stream cut at a document's end", documents()[0], "the stream ends without its last document", "reconstruct")
bad_file("stream followed by garbage", FRAGMENT + b"garbage behind", "x.bad: ", "reconstruct")
bad_file("stream of no items", lem_doc({"n": 0}), "x.bad: holds no items", "reconstruct")
for name, body, words in (
    ("a header of 2**60 bytes", struct.pack("<Q", 1 << 60) + b"{" + bytes(99), "not a known format"),
    (
        "a header of 2**55 bytes",
        struct.pack("<Q", 1 << 55) + b"{" + bytes(99),
        "header of 36028797018963968 bytes, 100000000 at most",
    ),
    ("a header of 128 MiB", struct.pack("<Q", 1 << 27) + b"{" + bytes(99), "header of 134217728 bytes"),
    ("a header longer than the file", struct.pack("<Q", 500) + b"{" + bytes(99), "cut short in a header"),
    ("a header that is no JSON", doc(b"{oops"), "damaged header"),
    ("a header that is no UTF-8", doc(b'{"\xff\xfe":1}'), "damaged header"),
    ("a header that nests deep", doc(b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}"), "damaged header"),
    ("lem metadata that nests deep", doc({"__metadata__": {"lem": "[" * 100000}}), "damaged header (lem"),
    ("lem metadata that is a list", doc({"__metadata__": {"lem": "[]"}}), "lem: not a JSON object"),
    ("metadata of numbers", doc({"__metadata__": {"lem": 3}}), "must map text to text"),
    ("a tensor twice", doc(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":3}'), "a key stands twice"),
    ("a tensor that is a number", doc({"a": 3}), "damaged header"),
    ("a tensor without a type", doc({"a": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "damaged header"),
    ("an unknown type", doc({"a": tensor("Q7")}, bytes(16)), "unknown type Q7"),
    ("a type that is a list", doc({"a": tensor(["F32"])}, bytes(16)), "damaged header"),
    ("negative offsets", doc({"a": tensor(at=(-16, 0))}, bytes(16)), "damaged header"),
    ("reversed offsets", doc({"a": tensor(at=(16, 0))}, bytes(16)), "damaged header"),
    ("three offsets", doc({"a": tensor(at=(0, 8, 16))}, bytes(16)), "damaged header"),
    ("fractional offsets", doc({"a": tensor(at=(0, 16.0))}, bytes(16)), "damaged header"),
    ("overlapping tensors", doc({"a": tensor(), "b": tensor(at=(8, 24))}, bytes(24)), "tensor b: overlaps"),
    ("a hole between tensors", doc({"a": tensor(), "b": tensor(at=(32, 48))}, bytes(48)), "tensor b: leaves a hole"),
    ("a negative size", doc({"a": tensor(shape=(-1, -4))}, bytes(16)), "damaged header"),
    ("a size that does not fit", doc({"a": tensor(shape=(1, 5))}, bytes(16)), "16 bytes for F32 [1, 5]"),
    ("2**60 bytes of tensor", doc({"a": tensor(shape=(1, 1 << 58), at=(0, 1 << 60))}, bytes(16)), "raise --max-bytes"),
    (
        "a tensor longer than the file",
        doc({"a": tensor(shape=(1, 1 << 20), at=(0, 1 << 22))}, bytes(16)),
        "cut short, 16 of 4194304",
    ),
    (
        "several float tensors",
        doc({"a": tensor(), "b": tensor(at=(16, 32))}, bytes(32)),
        "several float tensors (a, b); pick one with --key",
    ),
    ("no float tensor", doc({"a": tensor("I32")}, bytes(16)), "no float tensor"),
    ("a tensor with NaN", doc({"a": tensor()}, struct.pack("<4f", 1, np.nan, 1, 1)), "NaN or infinite values (item 0)"),
    ("another version", lem_doc({"v": 2}, bytes(16), data=tensor()), "unknown version 2"),
    ("an unknown kind", lem_doc({"kind": "smell"}, bytes(16), data=tensor()), "its record's kind is 'smell'"),
    ("a kind of the wrong shape", lem_doc({"kind": "image"}, bytes(16), data=tensor()), "image data"),
    ("tokens of floats", lem_doc({"kind": "tokens"}, bytes(16), data=tensor()), "tokens data of type"),
    ("an embedding of integers", lem_doc({}, bytes(16), data=tensor("I32")), "embedding data of type"),
    ("too many items", lem_doc({"n": 2}, bytes(16), data=tensor()), "damaged document"),
    ("a negative number of items", lem_doc({"n": -1}, bytes(16), data=tensor()), "damaged document"),
    ("a number of items in words", lem_doc({"n": "one"}, bytes(16), data=tensor()), "damaged document"),
    ("no number of items", lem_doc({"n": None}, bytes(16), data=tensor()), "damaged document"),
    ("no tensors", lem_doc({}), "damaged document"),
    (
        "a mask of another shape",
        lem_doc(
            {"shape": [4], "dtype": "F32", "mask": [3], "ops": []},
            bytes(17),
            values=tensor(shape=(4,)),
            mask=tensor("U8", (1, 1), (16, 17)),
        ),
        "does not fit data",
    ),
    (
        "a mask of other dimensions",
        lem_doc(
            {"shape": [4], "dtype": "F32", "mask": [4, 1]},
            bytes(17),
            values=tensor(shape=(4,)),
            mask=tensor("U8", (1, 1), (16, 17)),
        ),
        "does not fit data",
    ),
    (
        "a mask too short",
        lem_doc(
            {"shape": [40], "dtype": "F32", "mask": [40]},
            bytes(17),
            values=tensor(shape=(4,)),
            mask=tensor("U8", (1, 1), (16, 17)),
        ),
        "damaged document (mask)",
    ),
    (
        "more values than the mask keeps",
        lem_doc(
            {"shape": [4], "dtype": "F32", "mask": [4]},
            bytes(17),
            values=tensor(shape=(4,)),
            mask=tensor("U8", (1, 1), (16, 17)),
        ),
        "4 values where the mask keeps 0",
    ),
    (
        "a shape of 2**50",
        lem_doc(
            {"shape": [1 << 50], "dtype": "U8", "mask": [1 << 50]},
            bytes(17),
            values=tensor(shape=(4,)),
            mask=tensor("U8", (1, 1), (16, 17)),
        ),
        "damaged document",
    ),
    (
        "codes without an operation",
        lem_doc({"shape": [4], "dtype": "F32", "ops": []}, bytes(4), codes=tensor("U8", (4,), (0, 4))),
        "damaged document",
    ),
    (
        "codes of an unknown quantiser",
        lem_doc(
            {"shape": [4], "dtype": "F32", "ops": [{"op": "bits", "bits": 8, "quantizer": "magic", "domain": "unit"}]},
            bytes(4),
            codes=tensor("U8", (4,), (0, 4)),
        ),
        "unknown quantiser magic",
    ),
    (
        "codes of 99 bits",
        lem_doc(
            {
                "shape": [4],
                "dtype": "F32",
                "ops": [{"op": "bits", "bits": 99, "quantizer": "uniform", "domain": "unit"}],
            },
            bytes(4),
            codes=tensor("U8", (4,), (0, 4)),
        ),
        "damaged document",
    ),
    (
        "too few codes",
        lem_doc(
            {
                "shape": [4],
                "dtype": "F32",
                "ops": [{"op": "bits", "bits": 16, "quantizer": "uniform", "domain": "unit"}],
            },
            bytes(4),
            codes=tensor("U8", (4,), (0, 4)),
        ),
        "4 bytes of codes, 8 expected",
    ),
    ("operations that are numbers", lem_doc({"ops": [1, 2]}, bytes(16), data=tensor()), "damaged document"),
    ("an operation without a name", lem_doc({"ops": [{"bits": 3}]}, bytes(16), data=tensor()), "damaged document"),
    (
        "a parameter of no operation",
        lem_doc({"ops": []}, bytes(20), data=tensor(), **{"ops.3.bits": tensor("U8", (4,), (16, 20))}),
        "damaged document",
    ),
    (
        "names that do not add up",
        lem_doc(
            {},
            bytes(33),
            data=tensor(),
            **{"names.offsets": tensor("I64", (2,), (16, 32)), "names.utf8": tensor("U8", (1,), (32, 33))},
        ),
        "damaged document (names)",
    ),
    ("a history that is no list", lem_doc({"history": "once"}, bytes(16), data=tensor()), "damaged document"),
    (
        "a negative rate",
        lem_doc({"rate": -8000, "kind": "audio"}, bytes(16), data=tensor(shape=(1, 1, 4))),
        "damaged document",
    ),
    ("a place beyond 64 bits", lem_doc({"first": 1 << 80}, bytes(16), data=tensor()), "damaged document"),
):
    bad_file("stream with " + name, body, words, "reconstruct")
case(
    "stream that announces too much, for info",
    "info",
    "x.bad",
    "x.bad: damaged document",
    status=1,
    files={"x.bad": lem_doc({"n": 1 << 99}, bytes(16), data=tensor())},
)
case(
    "stream with infinite sizes, for info",
    "info",
    "x.bad",
    "x.bad: damaged document",
    status=1,
    files={"x.bad": lem_doc({"shape": [float("inf")]}, bytes(16), data=tensor())},
)
case(
    "stream with words for sizes, for info",
    "info",
    "x.bad",
    "x.bad: damaged document",
    status=1,
    files={"x.bad": lem_doc({"shape": "big", "ops": ["shape"]}, bytes(16), data=tensor())},
)

# inputs that are not there
for tool, rest in (
    ("fragment", "--bits 3 -o out.safetensors"),
    ("reconstruct", "-o out.safetensors"),
    ("info", ""),
    ("compare", "a.png"),
):
    case("missing file", tool, f"nope.png {rest}", "nope.png: No such file or directory")
case("missing folder", "fragment", "nope/ --bits 3 -o out.safetensors", "nope/: No such file")
case("folder for info", "info", "dir", "dir: a folder that is no model; name its files")
case(
    "pattern that matches nothing",
    "fragment",
    ["no*.png", "--bits", "3", "-o", "out.safetensors"],
    "no*.png: nothing matches",
)
case(
    "folder without files",
    "fragment",
    "void --bits 3 -o out.safetensors",
    "void: a folder without files",
    files={"void/.hidden": b"x"},
)
case(
    "empty file in a folder of images",
    "fragment",
    "dir --bits 3 -o out/",
    "dir/empty.png: empty",
    files={"dir/empty.png": b""},
    left=("out/x.safetensors", "out/y.safetensors"),
)
case(
    "garbage named as an image in a folder",
    "fragment",
    "dir --bits 3 -o out/",
    "dir/page.jpg: not a known",
    left=("out/x.safetensors", "out/y.safetensors"),
    files={"dir/page.jpg": b"\0\1garbage"},
)
case(
    "list of inputs that is missing", "fragment", "--files-from nope --bits 3 -o out.safetensors", "nope: No such file"
)
case(
    "list of inputs that is empty",
    "fragment",
    "--files-from list --bits 3 -o out.safetensors",
    "list: names no input",
    files={"list": b"\n\n"},
)
case(
    "list of inputs on an empty stdin",
    "fragment",
    "--files-from - --bits 3 -o out.safetensors",
    "standard input: names no input",
)
case(
    "list that names a missing file",
    "fragment",
    "--files-from list --bits 3 -o out/",
    "nope.png: No such file",
    left=("out/a.safetensors",),
    files={"list": b"a.png\nnope.png\n"},
)
case(
    "list of a name that is no UTF-8",
    "fragment",
    "--files-from list --bits 3 -o out.safetensors",
    "\\udcff.png: No such file",
    files={"list": b"\xff.png\n"},
)
case(
    "name with a line end",
    "fragment",
    ["no\nsuch\x1b31m.png", "--bits", "3", "-o", "out.safetensors"],
    "no\\nsuch\\x1b31m.png: No such file",
)
case(
    "name in another script",
    "fragment",
    ["記憶 é.png", "--bits", "3", "-o", "out.safetensors"],
    "記憶 é.png: No such file",
)
case("name too long", "fragment", ["x" * 300, "--bits", "3", "-o", "out.safetensors"], "File name too long")
case("bundled memory that does not exist", "fragment", "--sample-name nope --bits 3", "--sample-name")
case("empty stdin", "reconstruct", "-", "standard input: empty")
case("empty stdin, not named", "fragment", "--bits 3", "standard input: empty")
case("cut stdin", "reconstruct", "--method decode -o out.png", "standard input: cut short", stdin=FRAGMENT[:-9])
case(
    "closed stdin",
    "fragment",
    "--bits 3 - -o out.png",
    "standard input: Bad file descriptor",
    prepare=lambda: os.close(0),
)
case(
    "stdin that is a folder",
    "fragment",
    "--bits 3 -o out.png",
    "standard input: Is a directory",
    prepare=lambda: os.dup2(os.open("dir", os.O_RDONLY), 0),
)

# several inputs: the others are done
case(
    "bad one in the middle",
    "fragment",
    "a.png x.bad b.png --bits 3 -o out/",
    "x.bad: empty",
    files={"x.bad": b""},
    left=("out/a.safetensors", "out/b.safetensors"),
)
case("missing one first", "fragment", "nope a.png --bits 3 -o out/", "nope: No such file", left=("out/a.safetensors",))
case(
    "unmatched pattern first",
    "fragment",
    ["no*", "a.png", "--bits", "3", "-o", "out/"],
    "no*: nothing matches",
    left=("out/a.safetensors",),
)
case(
    "two bad ones",
    "fragment",
    "x.bad a.png y.bad --bits 3 -o out/",
    "bad: ",
    files={"x.bad": b"", "y.bad": FRAGMENT[:-9]},
    lines=2,
    left=("out/a.safetensors",),
)
case(
    "all bad",
    "fragment",
    "x.bad y.bad --bits 3 -o out/",
    "bad: ",
    files={"x.bad": b"", "y.bad": FRAGMENT[:-9]},
    lines=2,
)
case(
    "bad one of several to reconstruct",
    "reconstruct",
    "frag.st x.bad --method decode -o out/",
    "x.bad: cut short",
    files={"x.bad": FRAGMENT[:-9]},
    left=("out/00000.png",),
)
case("bad one of several for info", "info", "frag.st a.png", "a.png: not a safetensors stream")
case(
    "NaN in one of several",
    "fragment",
    "nan.npy a.png --bits 3 -o out/",
    "nan.npy: NaN or infinite values (item 1)",
    left=("out/a.safetensors",),
)

case(
    "unsuitable one of several",
    "fragment",
    "a.png t.txt b.png --bits 3 -o out/",
    "t.txt: --bits does not suit tokens",
    left=("out/a.safetensors", "out/b.safetensors"),
)
case(
    "unsuitable batch of several",
    "fragment",
    "a.png e.npy --crop 5x5 -o out/",
    "item 1 and 2 more: --crop 5x5",
    left=("out/a.safetensors",),
)
for tool, flag in (
    ("compare", "--judge"),
    ("compare", "--labels"),
    ("reconstruct", "--memory"),
    ("fragment", "--files-from"),
):
    case(
        f"no name for {flag}",
        tool,
        ["a.png", "a.png"][: 1 + (tool == "compare")] + [flag, ""],
        f"{flag} '': names no file",
    )
case("no name for the output", "fragment", ["a.png", "--bits", "3", "-o", ""], "the output has no name")

# options of lem-fragment
for args, words in (
    ("", "nothing to take away"),
    ("--bits x", "'x' is not a whole number"),
    ("--bits 0", "--bits must lie in 1-16"),
    ("--bits 17", "--bits must lie in 1-16"),
    ("--bits 3.5", "not a whole number"),
    ("--bits -1", "not a whole number"),
    ("--bits 6-1", "the lower end comes first"),
    ("--bits 1-", "not a whole number"),
    ("--bits 0-3", "--bits must lie in 1-16"),
    ("--mask 1.5", "--mask is the fraction lost, 0 to 1"),
    ("--mask -0.1", "is not a number"),
    ("--mask nan", "is not a number"),
    ("--mask .9-.1", "the lower end comes first"),
    ("--mask .5-1.5", "--mask is the fraction lost"),
    ("--mask-shape patch:4 --mask .5", "--mask-shape belongs right after a --mask"),
    ("--mask .5 --mask-shape wheel", "no mask shape 'wheel'"),
    ("--mask .5 --mask-shape patch", "patch needs a size, as in patch:8"),
    ("--mask .5 --mask-shape patch:0", "'0' is not a length"),
    ("--mask .5 --mask-shape patch:x", "'x' is not a length"),
    ("--mask .5 --mask-shape patch:-3", "'-3' is not a length"),
    ("--mask .5 --mask-shape patch:20ms", "--mask-shape patch:20ms"),
    ("--mask .5 --mask-shape rows:3", "takes no size"),
    ("--mask .5 --mask-shape span", "not image"),
    ("--mask .5 --mask-shape dims", "not image"),
    ("--quantizer lloyd-max", "--quantizer belongs right after a --bits"),
    ("--mask .5 --quantizer lloyd-max", "belongs right after a --bits"),
    ("--bits 3 --quantizer magic", "'magic' is not one of"),
    ("--scale peak", "--scale belongs right after a --bits"),
    ("--bits 3 --scale rms", "images are quantised on their full scale"),
    ("--bits 3 --scale loud", "'loud' is not one of"),
    ("--clamp", "--clamp belongs right after a --noise"),
    ("--noise .1 --mask .5 --clamp", "--clamp belongs right after a --noise"),
    ("--keep-dims 4", "--keep-dims is for embeddings, not image"),
    ("--keep-dims 0", "--keep-dims"),
    ("--keep-dims x", "--keep-dims"),
    ("--downsample 1", "--downsample"),
    ("--downsample 999", "the factor is 2 to 12 here"),
    ("--crop 999x999", "--crop 999x999"),
    ("--crop abc", "--crop 'abc'"),
    ("--crop 0x0", "--crop 0x0"),
    ("--crop 8x8+99+99", "--crop 8x8+99+99"),
    ("--crop 8x8+1", "--crop 8x8+1"),
    ("--crop 1.5s", "--crop 1.5s"),
    ("--noise x", "is not a number"),
    ("--noise -1", "is not a number"),
    ("--noise 1e400", "is not a number"),
    ("--noise inf", "is not a number"),
    ("--bits 3 --seed -1", "--seed"),
    ("--bits 3 --seed x", "--seed"),
    ("--bits 3 --batch 0", "--batch"),
    ("--bits 3 --max-bytes 0", "--max-bytes"),
    ("--bits 3 --nope", "No such option"),
    ("--bits 3 --max_bytes 9", "No such option"),
    ("--bits 3 --shard 3/2", "--shard 3/2: K/N with 0 <= K < N"),
    ("--bits 3 --shard 2/2", "--shard 2/2"),
    ("--bits 3 --shard 0/0", "--shard 0/0"),
    ("--bits 3 --shard -1/2", "--shard -1/2"),
    ("--bits 3 --shard 1/2/3", "--shard 1/2/3"),
    ("--bits 3 --shard one", "--shard one"),
    ("--bits 3 --shard auto", "--shard auto needs SLURM_ARRAY_TASK_ID"),
    ("--bits 3 --to gif", "'gif' is not one of"),
    ("--bits 3 -o out.gif", "out.gif: no format 'gif'"),
    ("--bits 3 -o nodir/out.png", "nodir/out.png: no folder nodir"),
    ("--bits 3 -o nodir/out-%d.png", "no folder nodir"),
    ("--bits 3 --to wav", "image does not fit a wav"),
    ("--bits 3 -o out.txt", "out.txt: image does not fit a txt"),
    ("--bits 3 -o a.png", "a.png: is input and output at once"),
    ("--bits 3 -o link.png", "a.png: is input and output at once"),
    ("--bits 3 -o hard.png", "a.png: is input and output at once"),
    ("--bits 3 -o /proc/out.png", "/proc/out.png: No such file"),
    ("--bits 3 -o /proc/sub/", "/proc/sub"),
    ("--bits 3 -o t.txt/", "t.txt"),
    ("--bits 3 b.png -o out.png", "out.png: more than one item does not fit a png"),
    ("--bits 3 b.png -o out.npy", "items of different shapes do not fit one npy"),
    ("--bits 3 b.png --to png", "standard output: more than one item does not fit a png"),
    ("--bits 3 --to png -o ./", "./a.png: is input and output at once"),
    ("--bits 3 -o /dev/full", "/dev/full: No space left on device"),
):

    def links():
        os.symlink("a.png", "link.png")
        os.link("a.png", "hard.png")

    more = {"prepare": links, "left": ("link.png", "hard.png")} if "link" in args or "hard" in args else {}
    case(
        f"a.png {args}",
        "fragment",
        f"a.png {args}"
        if "-o" in args
        else f"a.png {args} -o out.safetensors"
        if "--to" not in args
        else f"a.png {args}",
        words,
        **more,
    )
for args, words in (
    ("t.txt --bits 3", "--bits does not suit tokens"),
    ("t.txt --noise .1", "--noise does not suit tokens"),
    ("t.txt --downsample 2", "not tokens"),
    ("i.npy --bits 3", "--bits does not suit tokens"),
    ("e.npy --keep-dims 9", "the embedding has 8 dimensions"),
    ("e.npy --downsample 2", "not embedding"),
    ("e.npy --bits 3 --scale full", "embedding values have no full scale"),
    ("e.npy --noise .1 --clamp", "--clamp is for images and sound"),
    ("a.wav --crop 10s", "--crop 10s"),
    ("a.wav --crop 5x5", "--crop 5x5"),
    ("a.wav --mask .5 --downsample 2", "put it before --mask"),
    ("a.wav --mask .5 --mask-shape span:0ms0s", "is not a length"),
    ("e.npy --mask .5 --mask-shape span:-1", "is not a length"),
    ("--bits 3 --shard 0/2 -", "standard input is not shared"),
    ("--bits 3 --shard 0/2", "standard input is not shared"),
    ("a.wav --bits 16 --quantizer lloyd-max", "lloyd-max fits at most"),
    ("a.wav --bits 8 --quantizer mu-law --scale rms", "mu-law is for values that have ends"),
    ("e.npy --bits 8 --quantizer mu-law", "mu-law is for sound, not embedding"),
    ("a.wav --mask .5 --mask-shape patch:4x4", "audio extends in 1 direction"),
    ("a.wav --mask .5 --mask-shape band", "band is for spectrum, not audio"),
    ("a.wav --lowpass 0", "--lowpass 0"),
    ("a.wav --lowpass 999999", "holds nothing above"),
    ("a.wav --mask .5 --lowpass 100", "put it before --mask"),
    ("e.npy --lowpass 100", "--lowpass is for sound and spectra, not embedding"),
    ("frag.st --bits 3 --to flac", "does not fit a flac"),
    (
        "dir other --bits 3 --to png -o out/",
        "out/x.png: two items would go into this file (dir/x.png and other/x.png); use a pattern, as in -o out-%05d.png",
    ),
    (
        "a.wav sounds --bits 3 --to flac -o out/",
        "out/a.flac: two items would go into this file (a.wav and sounds/a.wav); use a pattern, as in -o out-%05d.flac",
    ),
):
    case(
        args,
        "fragment",
        args if " -o" in args else f"{args} -o out.safetensors",
        words,
    )
case(
    "SLURM's variables in words",
    "fragment",
    "a.png --bits 3 --shard auto",
    "--shard one/two",
    env={"SLURM_ARRAY_TASK_ID": "one", "SLURM_ARRAY_TASK_COUNT": "two"},
)
case("seed of the environment in words", "fragment", "a.png --bits 3", "--seed", env={"LEM_SEED": "x"})
case(
    "stdin and output one file",
    "fragment",
    "--bits 3 --to png",
    "-: is input and output at once",
    prepare=lambda: (os.dup2(os.open("a.png", os.O_RDONLY), 0), os.dup2(os.open("a.png", os.O_WRONLY), 1)),
)
case(
    "redirected onto the input",
    "fragment",
    "a.png --bits 3",
    "a.png: is input and output at once",
    prepare=lambda: os.dup2(os.open("a.png", os.O_WRONLY), 1),
)

for tool, option in (
    ("fragment", "--bits"),
    ("fragment", "--mask"),
    ("fragment", "--crop"),
    ("fragment", "-o"),
    ("fragment", "--files-from"),
    ("reconstruct", "--memory"),
    ("reconstruct", "--method"),
    ("compare", "--min"),
    ("compare", "--plot"),
):
    case(f"{option} without a value", tool, f"a.png {option}", f"Option '{option}' requires an argument")

# options of lem-reconstruct
for args, words in (
    ("--method magic", "'magic' is not one of"),
    ("--method recall", "--method recall needs a store of memories: --memory STORE"),
    ("--method gaussian", "needs a store"),
    ("--method decode --memory store.npy", "--method decode does not use a --memory"),
    (
        "--samples 3",
        "--samples is for --method recall, gaussian, net, dream, continue, fill and ngram (with --memory or --model), not auto",
    ),
    ("--samples -1 --memory store.npy", "--samples"),
    ("--sigma -1", "--sigma"),
    ("--sigma nan", "nan is not a finite number"),
    ("--centred", "--centred is for --method recall"),
    ("--unaware", "--unaware is for --method recall"),
    ("--method gaussian --memory store.npy --unaware", "--unaware is for --method recall"),
    ("--method gaussian --memory store.npy --shrink x", "--shrink x: a number >= 0"),
    ("--memory nope.npy", "nope.npy: No such file"),
    (
        "--memory frag.st",
        "frag.st: fragments of --mask; a store takes whole memories, and fragments of --bits and --keep-dims",
    ),
    ("--memory dir --memory a.wav", "memories of several shapes"),
    ("--memory nan.npy", "nan.npy: NaN or infinite values (item 1)"),
    ("--memory cut.npy", "cut.npy: cut short"),
    ("--memory out.png", "out.png: No such file"),
    ("--method inpaint --to safetensors -o frag.st", "frag.st: is input and output at once"),
    ("--method inpaint -o out.wav", "out.wav: image does not fit a wav"),
    ("--method inpaint -o /dev/full", "/dev/full: No space left"),
    ("--method inpaint --nope", "No such option"),
    ("--memory store.npy -o store.npy", "store.npy: is input and output at once"),
):
    case(
        f"frag.st {args}",
        "reconstruct",
        f"frag.st {args}" if "-o" in args else f"frag.st {args} -o out.png",
        words,
        files={"cut.npy": good()["store.npy"][:-1]},
    )

# options of lem-compare
for args, words in (
    ("", "Missing argument 'ORIGINAL'"),
    ("a.png", "Missing argument 'RECALLED'"),
    ("a.png a.png a.png", "unexpected extra argument"),
    ("- -", "only one input can be standard input"),
    ("a.png a.png --metric magic", "no metric 'magic'"),
    ("a.png a.png --metric psnr@3", "no metric"),
    ("a.png a.png --min psnr", "is not NAME=VALUE"),
    ("a.png a.png --min =3", "no metric ''"),
    ("a.png a.png --min psnr=nan", "is not NAME=VALUE"),
    ("a.png a.png --max magic=3", "no metric 'magic'"),
    ("a.png a.png --pair magic", "--pair"),
    ("a.png a.png --peak 0", "--peak"),
    ("a.png a.png --peak -1", "--peak"),
    ("a.png a.png --peak nan", "nan is not a finite number"),
    ("a.png a.png --peak inf", "inf is not a finite number"),
    ("a.png a.png --fragment frag.st", "--fragment is for the --plot"),
    ("a.png a.png --plot nodir/x.png", "no folder nodir"),
    ("a.png a.png --plot -", "--plot"),
    ("a.png a.png --plot dir/", "name one file"),
    ("a.png a.png --plot sheet.jpg", "--plot sheet.jpg: a picture is a PNG; name it sheet.png"),
    ("a.png a.png --plot a.png", "input and output at once"),
    ("a.png a.png --plot /dev/full", "/dev/full: No space left"),
    ("a.png a.png --rows 0", "--rows"),
    ("a.png b.png", "original [3, 12, 16], recalled [3, 9, 20]"),
    ("a.png a.wav", "the original is image, the recalled audio"),
    ("a.wav r.wav", "original at 8000 Hz, recalled at 16000 Hz"),
    ("dir a.png", "there are more originals"),
    ("a.png dir", "there are more recalled"),
    ("dir other", "is paired with z.png: match by name with --pair name"),
    ("dir other --pair name", "y.png: no recalled item of that name"),
    ("e.npy e.npy --pair name", "no names to pair by"),
    ("e.npy e.npy --metric psnr", "needs the range of the values"),
    ("a.wav a.wav --metric ssim", "--metric ssim is for image, not audio"),
    ("b.png b.png --metric ssim", "SSIM gauss11 needs images of at least 11 x 11"),
    ("a.png a.png --metric bits", "--metric bits"),
    ("e.npy e.npy --metric mutual-knn@10", "--metric mutual-knn@10"),
    ("a.png nope.png", "nope.png: No such file"),
    ("nan.npy nan.npy", "nan.npy: NaN or infinite values"),
    ("frag.st frag.st --fragment - --plot -", ""),
    ("a.png -", "standard input: empty"),
    ("a.png t.txt", "the original is image, the recalled tokens"),
    ("e.npy dim.npy", "original [8], recalled [3]"),
):
    case(f"compare {args}", "compare", args, words)
case("info without input", "info", "", "standard input: empty", status=1)
case("info with an unknown option", "info", "frag.st --bits", "No such option")


# --- places that cannot be written


def small_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def full_stdout():
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


for tool, args in (("fragment", "big.npy --noise .1"), ("reconstruct", "big.npy --method decode")):
    case(
        f"{tool} into a full disk",
        tool,
        f"{args} -o out.safetensors",
        "out.safetensors: File too large",
        prepare=small_files,
    )
    case(
        f"{tool} of many into a full disk",
        tool,
        f"{args} --batch 9 -o out.safetensors",
        "out.safetensors: File too large",
        prepare=small_files,
    )
    case(f"{tool} into a full disk as npy", tool, f"{args} -o out.npy", "out.npy: File too large", prepare=small_files)
    case(f"{tool} to a full stdout", tool, args, "standard output: No space left on device", prepare=full_stdout)
    case(f"{tool} to a closed stdout", tool, args, "standard output: Bad file descriptor", prepare=lambda: os.close(1))
for tool, args in (("compare", "a.png a.png"), ("info", "frag.st"), ("compare", "--help"), ("info", "--version")):
    case(f"{tool} {args} to a full stdout", tool, args, "No space left on device", prepare=full_stdout)


def listing(folder) -> set[str]:
    return {os.path.join(top, name)[len(str(folder)) + 1 :] for top, _, names in os.walk(folder) for name in names}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """The good files, written once, to be linked into every case's folder."""
    folder = tmp_path_factory.mktemp("shelf")
    for name, body in good().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


@pytest.fixture
def place(shelf, tmp_path):
    for name in good():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        os.link(shelf / name, tmp_path / name)
    return tmp_path


def check(done, given: Case):
    said = done.stderr.decode()
    assert done.returncode == given.status, said
    lines = said.splitlines()
    assert len(lines) == given.lines and said.endswith("\n"), said
    for line in lines:
        assert line.startswith(f"lem-{given.tool}: " + ("error: " if given.status == 2 else "")), said
        assert given.words in line and "Traceback" not in line and "defect" not in line, said
        assert len(line) < 400, said


def test_there_are_enough_cases():
    assert len(CASES) >= 200
    assert len({(c.name, c.tool) for c in CASES}) == len(CASES)


@pytest.mark.parametrize("given", CASES, ids=[f"{c.tool}: {c.name}"[:80].replace("\n", " ") for c in CASES])
def test_case(given, place):
    for name, body in (given.files or {}).items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(body)
    before = listing(place)
    done = lem_fork(given.tool, *given.args, stdin=given.stdin, cwd=place, env=given.env, prepare=given.prepare)
    check(done, given)
    assert listing(place) - before == set(given.left)
    assert all((place / name).read_bytes() == body for name, body in good().items() if name in given.args)


# --- cut streams, in this process for speed


@pytest.mark.parametrize(
    "body", [fragment(), fragment("embedding"), b"".join(documents())], ids=["image", "embedding", "two"]
)
def test_a_stream_cut_at_any_byte_is_told(body):
    whole = list(stream.read(stream.Source(io.BytesIO(body), "x")))
    assert sum(map(len, whole)) == 1 + (body != fragment())
    for at in range(1, len(body)):
        with pytest.raises(LemError, match="x: "):
            list(stream.read(stream.Source(io.BytesIO(body[:at]), "x")))


@pytest.mark.parametrize(
    "body",
    [picture(), sound(n=40), sound("FLAC", n=40), npy(np.ones((2, 3), "f4")), gzip.compress(idx((2, 3, 4)))],
    ids=["png", "wav", "flac", "npy", "idx.gz"],
)
def test_a_file_cut_at_any_byte_is_told(body, tmp_path):
    path = tmp_path / "x"
    for at in range(6, len(body)):  # less of "RIFF" and "fLaC" is text
        path.write_bytes(body[:at])
        with pytest.raises(LemError) as problem:
            list(load([str(path)]))
        assert str(problem.value).startswith(f"{path}: ") and "\n" not in str(problem.value), at


def test_input_over_several_documents_is_not_lost_behind_a_single_one(place):
    """`cat a b | lem-reconstruct -o file`: the second stream must be told, not left out."""
    done = lem_fork(
        "reconstruct", "-", "-o", "out.safetensors", "--method", "decode", stdin=fragment() + fragment(), cwd=place
    )
    check(done, Case("", "reconstruct", [], "standard input: goes on after its last document"))
    assert "out.safetensors" not in listing(place)


# --- where output goes


def test_link_stays_a_link(place):
    (place / "real").mkdir()
    (place / "real/old.png").write_bytes(b"old")
    os.symlink("real/old.png", place / "link.png")
    os.symlink("real/new.png", place / "dangling.png")
    for name in ("link.png", "dangling.png"):
        assert lem_fork("fragment", "a.png", "--bits", "3", "-o", name, cwd=place).returncode == 0
        assert (place / name).is_symlink()
    assert sorted(os.listdir(place / "real")) == ["new.png", "old.png"]
    assert (place / "real/new.png").read_bytes() == (place / "real/old.png").read_bytes() != b"old"


@pytest.mark.parametrize("form", ["png", "safetensors"])
def test_fifo_is_opened_and_stays(place, form):
    fifo = place / f"out.{form}"
    os.mkfifo(fifo)
    got = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()), daemon=True)
    reader.start()
    assert lem_fork("fragment", "a.png", "--bits", "3", "-o", fifo, cwd=place).returncode == 0
    reader.join(10)
    assert stat.S_ISFIFO(fifo.stat().st_mode) and got and len(got[0]) > 100
    (place / "copy").write_bytes(got[0])
    assert next(load([str(place / "copy")])).data.shape == (1, 3, 12, 16)


def test_device_and_descriptor_are_opened(place):
    assert lem_fork("fragment", "a.png", "--bits", "3", "--to", "png", "-o", "/dev/null", cwd=place).returncode == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    ours, theirs = os.pipe()
    done = lem_fork("fragment", "a.png", "--bits", "3", "--to", "png", "-o", f"/dev/fd/{theirs}", cwd=place)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"") and os.read(ours, 1 << 16)[:4] == b"\x89PNG"
    os.close(ours)


def test_mode_is_that_of_a_new_file_or_stays(place):
    (place / "old.png").write_bytes(b"")
    (place / "old.png").chmod(0o600)
    for name in ("old.png", "new.png", "new.safetensors", "sub/"):
        assert (
            lem_fork(
                "fragment", "a.png", "--bits", "3", "-o", name, cwd=place, prepare=lambda: os.umask(0o027)
            ).returncode
            == 0
        )
    for name in ("old.png", "new.png", "new.safetensors", "sub/a.safetensors"):
        assert stat.S_IMODE((place / name).stat().st_mode) == (0o600 if name == "old.png" else 0o640), name


def test_a_failure_leaves_the_old_file(place):
    (place / "out.safetensors").write_bytes(b"old")
    done = lem_fork("fragment", "x.bad", "--bits", "3", "-o", "out.safetensors", cwd=place)
    assert done.returncode == 2 and (place / "out.safetensors").read_bytes() == b"old"
    done = lem_fork("fragment", "big.npy", "--noise", ".1", "-o", "out.safetensors", cwd=place, prepare=small_files)
    assert done.returncode == 2 and (place / "out.safetensors").read_bytes() == b"old"


# --- signals and pipes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("out", ["out.safetensors", "out.png"])
def test_a_signal_in_the_middle_leaves_nothing(place, number, out):
    ours, theirs = os.pipe()  # theirs stays open: the command waits for more
    os.write(theirs, documents()[0] if out.endswith("s") else fragment()[:-1])
    before = listing(place)

    def prepare():
        os.dup2(ours, 0)
        child = os.getpid()

        def kill():
            deadline = time.monotonic() + 20
            while (
                not any(name.endswith(".part") for name in os.listdir("."))
                and time.monotonic() < deadline
                and out.endswith("s")
            ):
                time.sleep(0.002)
            time.sleep(0.05)
            os.kill(child, number)

        threading.Thread(target=kill, daemon=True).start()

    tool = ("reconstruct", "--method", "decode")
    done = lem_fork(*tool, "-", "-o", out, cwd=place, prepare=prepare)
    os.close(ours), os.close(theirs)
    assert (done.returncode, done.stdout, done.stderr) == (-number, b"", b"")
    assert listing(place) == before


def shell(line: str, cwd, **more):
    """A line for bash, in which lem-fragment and the others run as from the package."""
    tools = "".join(
        f'lem-{t}() {{ "{sys.executable}" -c "from lemtools.cli.{t} import main; main()" "$@"; }}\n'
        for t in ("fragment", "reconstruct", "compare", "info")
    )
    return subprocess.run(["bash", "-c", tools + line], cwd=cwd, capture_output=True, timeout=60, **more)


def test_closed_pipe_is_silent(place):
    np.save(place / "large.npy", np.ones((5000, 256), np.float32))  # more than a pipe holds
    done = shell("lem-fragment large.npy --noise .1 | head -c 10 > head; echo ${PIPESTATUS[*]}", place)
    assert (done.stdout, done.stderr) == (b"141 0\n", b"")
    assert len((place / "head").read_bytes()) == 10


@pytest.mark.parametrize(
    "tool, args",
    [
        ("fragment", ["--help"]),
        ("compare", ["a.png", "a.png"]),
        ("info", ["frag.st"]),
        ("fragment", ["a.png", "--bits", "3"]),
        ("reconstruct", ["frag.st", "--method", "decode"]),
    ],
)
def test_nobody_reads(place, tool, args):
    def prepare():
        ours, theirs = os.pipe()
        os.dup2(theirs, 1), os.close(theirs), os.close(ours)

    done = lem_fork(tool, *args, cwd=place, prepare=prepare)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def test_ctrl_c_of_a_process(place):
    code = "from lemtools.cli.reconstruct import main; main()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, "--method", "decode", "-o", "out.safetensors"],
        cwd=place,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed,
    )
    child.stdin.write(documents()[0])
    child.stdin.flush()
    deadline = time.monotonic() + 30
    while not any(name.endswith(".part") for name in os.listdir(place)):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (-signal.SIGINT, b"", b"")
    assert not any("out" in name or ".part" in name for name in os.listdir(place))


# --- terminals


def terminal(descriptor: int, seen: list):
    """prepare() that makes `descriptor` a terminal, whose output is collected in `seen` once the command has ended."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    seen.append(master)
    return lambda: os.dup2(slave, descriptor)


@pytest.mark.parametrize(
    "tool, args", [("fragment", ["e.npy", "--bits", "3"]), ("reconstruct", ["frag.st", "--method", "decode"])]
)
def test_binary_never_goes_to_a_terminal(place, tool, args):
    masters = []
    done = lem_fork(tool, *args, cwd=place, prepare=terminal(1, masters))
    check(
        done,
        Case(
            "",
            tool,
            [],
            "binary output would go to the terminal; pipe it on, name a file with -o, or force it with -o -",
        ),
    )
    done = lem_fork(tool, *args, "-o", "-", cwd=place, prepare=terminal(1, masters))
    assert (done.returncode, done.stderr) == (0, b"") and len(os.read(masters[-1], 4096)) > 99


def test_no_input_at_a_terminal(place):
    done = lem_fork("fragment", "--bits", "3", "-o", "out.png", cwd=place, prepare=terminal(0, []))
    assert (done.returncode, done.stderr) == (0, b"lem-fragment: no input; taking the bundled photo (kodim23)\n")
    done = lem_fork("encode", "-o", "out.safetensors", cwd=place, prepare=terminal(0, []))
    assert (done.returncode, done.stderr) == (0, b"lem-encode: no input; taking the bundled photo (kodim23)\n")
    done = lem_fork("encode", "--encoder", "mel", "-o", "mel.safetensors", cwd=place, prepare=terminal(0, []))
    assert (done.returncode, done.stderr) == (0, b"lem-encode: no input; taking the bundled sound (rooster)\n")
    assert (place / "out.safetensors").exists() and (place / "mel.safetensors").exists()
    assert Image.open(place / "out.png").size == (384, 256)
    for tool in ("reconstruct", "info"):
        done = lem_fork(tool, cwd=place, prepare=terminal(0, []))
        assert done.returncode == 2 and not done.stdout
        assert done.stderr.startswith(f"Usage: lem-{tool} ".encode()) and f"lem-{tool} --help".encode() in done.stderr


def test_a_table_at_a_terminal(place):
    masters = []
    done = lem_fork("compare", "a.png", "a.png", cwd=place, prepare=terminal(1, masters))
    assert (done.returncode, done.stderr) == (0, b"")
    assert "ssim[gauss11,rgb]" in os.read(masters[0], 1 << 16).decode()


# --- names


@pytest.mark.parametrize(
    "name",
    [
        "記憶 é.png",
        "two\nlines.png",
        "-dash.png",
        "%d 100%.png",
        "[x].png",
        "tab\there.png",
        "a.b.c.png",
        ".hidden.png",
        os.fsdecode(b"not utf-8 \xff.png"),
        "no extension",
        "x" * 250 + ".png",
    ],
)
def test_any_name_goes_through(place, name):
    os.link(place / "a.png", place / name)
    done = lem_fork("fragment", "--bits", "3", "-o", "out/", "--to", "png", "--", name, cwd=place)
    assert (done.returncode, done.stderr) == (0, b"")
    stem = name.removesuffix(".png")
    assert listing(place / "out") == {f"{stem}.png"}
    items = lem_fork("compare", "--items", "--metric", "mse", "--", name, f"out/{stem}.png", cwd=place)
    assert (items.returncode, items.stderr) == (0, b"") and len(items.stdout.splitlines()) == 2
    whole = lem_fork("fragment", "--bits", "3", "--", name, cwd=place).stdout
    info = lem_fork("info", "--json", "-", stdin=whole, cwd=place)
    assert (info.returncode, info.stderr) == (0, b"") and json.loads(info.stdout)["items"] == 1


@pytest.mark.parametrize("name", ["../x.png", "/x.png", "sub/../../x.png", "x\0.png", ".", ".."])
def test_a_name_that_leads_out_of_the_folder(place, name):
    signal = Signal("image", np.zeros((1, 3, 4, 4), np.uint8), names=[name], last=True)
    body = b"".join(bytes(part) for part in stream.document(signal))
    before = listing(place)
    for more in ([], ["--skip-existing"]):
        done = lem_fork("reconstruct", "--method", "decode", "-q", "-o", "out/", *more, stdin=body, cwd=place)
        check(done, Case("", "reconstruct", [], "leads out of the folder out/"))
        assert listing(place) == before and not (place.parent / "x.png").exists()


def test_names_in_folders_stay_inside(place):
    signal = Signal("image", np.zeros((1, 3, 4, 4), np.uint8), names=["sub/deep/x.png"], last=True)
    body = b"".join(bytes(part) for part in stream.document(signal))
    assert lem_fork("reconstruct", "--method", "decode", "-o", "out/", stdin=body, cwd=place).returncode == 0
    assert listing(place / "out") == {"sub/deep/x.png"}


# --- the same command again


def test_the_same_command_again_resumes(place):
    command = ("fragment", "dir", "--bits", "3", "--mask", "0-.9", "-o", "out/", "--skip-existing")
    assert lem_fork(*command, cwd=place).returncode == 0
    first = {name: (place / "out" / name).read_bytes() for name in ("x.safetensors", "y.safetensors")}
    (place / "out/y.safetensors").unlink()
    (place / "out/x.safetensors").write_bytes(b"kept")
    assert lem_fork(*command, cwd=place).returncode == 0
    assert (place / "out/x.safetensors").read_bytes() == b"kept"
    assert (place / "out/y.safetensors").read_bytes() == first["y.safetensors"]


def test_skip_existing_by_pattern_and_by_own_medium(place):
    command = ("reconstruct", "two.st", "dir", "--method", "decode", "-o", "out-%02d", "--skip-existing")
    assert lem_fork(*command, cwd=place).returncode == 0
    made = {name for name in listing(place) if name.startswith("out-")}
    assert made == {"out-00.safetensors", "out-01.safetensors", "out-02.png", "out-03.png"}
    (place / "out-02.png").write_bytes(b"kept")
    assert lem_fork(*command, cwd=place).returncode == 0
    assert (place / "out-02.png").read_bytes() == b"kept"


def test_skip_existing_of_one_file(place):
    (place / "out.png").write_bytes(b"kept")
    done = lem_fork("fragment", "a.png", "--bits", "3", "-o", "out.png", "--skip-existing", cwd=place)
    assert (done.returncode, done.stderr) == (0, b"lem-fragment: out.png is there already; skipped\n")
    assert (place / "out.png").read_bytes() == b"kept"


def test_a_fragment_of_a_fragment(place):
    done = lem_fork("fragment", "--mask", ".5", "--bits", "2", "frag.st", cwd=place)
    assert (done.returncode, done.stderr) == (0, b"")
    (signal,) = stream.read(stream.Source(io.BytesIO(done.stdout), "x"))
    assert [op["op"] for op in signal.ops] == ["mask", "mask", "bits"] and not signal.mask.all()


@pytest.mark.parametrize(
    "status, body, said",
    [
        (1, fragment()[:-1], "cut short"),
        (1, documents()[0], "the stream ends without its last document"),
        (2, b"\0garbage and garbage", "not a safetensors stream"),
        (0, fragment(), ""),
    ],
)
def test_info_tells_a_cut_stream_from_garbage(place, status, body, said):
    done = lem_fork("info", "--json", "-", stdin=body, cwd=place)
    assert done.returncode == status and said in done.stderr.decode() and len(done.stderr.splitlines()) == bool(status)
    if status < 2:
        assert json.loads(done.stdout)["complete"] is (status == 0)


def test_debug_shows_the_traceback_and_keeps_the_status(place):
    done = lem_fork("fragment", "x.bad", "--bits", "3", "--debug", cwd=place)
    assert done.returncode == 2 and b"Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == b"lem-fragment: error: x.bad: No such file or directory"
