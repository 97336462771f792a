"""What may happen to a file: bits that flip, parts that are lost or come twice, and headers that lie.

`mutated(raw, form, rng)` is one changed file; the same `rng` makes the same one. The changes know the form (an envelope
of safetensors, chunks of PNG and RIFF, headers of npy and idx), so that they get past its check sums and lengths.
"""

from __future__ import annotations

import copy
import gzip
import json
import math
import random
import re
import struct
import zlib
from collections.abc import Callable, Iterator

WIDTH = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2}
WIDTH |= {"U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8, "C64": 8}
NUMBERS = [-1, 0, 1, 2, 3, 5, 16, 255, 256, 65535, 65536, 10**6, 10**9, 2**31 - 1, 2**31, 2**32, 2**40, 2**53, 2**62]
NUMBERS += [2**63 - 1, 2**63, 2**64, 10**30, 10**400, -(2**31), -(2**63), 0.5, 1.5, -1.0, -0.0, 1e-300, 1e308]
NUMBERS += [math.nan, math.inf, -math.inf]
WORDS = ["", "x", "0", "\0", "\n", "\x1b[31m", "../../x", "é", "\ud800", "A" * 3000, "uint8", "float32", "object"]
WORDS += [
    "F32",
    "U8",
    "image",
    "audio",
    "embedding",
    "tokens",
    "spectrum",
    "bits",
    "mask",
    "noise",
    "crop",
    "downsample",
]
WORDS += [
    "keep-dims",
    "lowpass",
    "mu-law",
    "stft",
    "uniform",
    "lloyd-max",
    "trellis",
    "gaussian",
    "unit",
    "signed",
    "conv",
    "mlp",
    "lm",
    "pca",
    "rvq",
]
OTHERS = [
    None,
    True,
    False,
    [],
    {},
    [0],
    [1],
    [-1],
    [1, 1],
    [2**40, 2**40],
    [[1]],
    ["a"],
    {"a": 1},
    [1] * 70,
    [{}],
    [0.5],
]
EXTRA = "op bits shape dtype kind n v scale levels rotate mask rate first step depth domain quantizer place factor std".split()
NAMES = "data codes values packed mask index label cost tokens names.utf8 names.offsets ops.0.bits ops.9.bits".split()
NAMES += "spans scores words.utf8 words.offsets words.items words.spans".split()
NAMES += "ops.-1.x ops.0.scale ops.0.levels ops.0.rotate ops.0.shape ops.0.place ops.0.std ops.1.std ops.x mean".split()

Rng = random.Random


def value(rng: Rng) -> object:
    return copy.deepcopy(rng.choice(rng.choice([NUMBERS, NUMBERS, WORDS, OTHERS])))


def anything(raw: bytes, rng: Rng) -> bytes:
    """Bytes that know nothing of a form."""
    data, way = bytearray(raw), rng.randrange(9)
    if not data:
        return rng.randbytes(rng.randrange(1, 40))
    at = rng.randrange(len(data))
    length = rng.randrange(1, rng.choice([2, 8, 64, 512]) + 1)
    if way in (0, 1):  # flips, anywhere or among the first bytes, which decide most
        for _ in range(rng.choice([1, 1, 1, 2, 8])):
            data[rng.randrange(min(len(data), 64) if way else len(data))] ^= 1 << rng.randrange(8)
    elif way == 2:
        return raw[:at]
    elif way == 3:
        data[at : at + length] = b""
    elif way == 4:
        data[at:at] = rng.randbytes(length)
    elif way == 5:
        data[at:at] = data[at : at + length]
    elif way == 6:
        data[at : at + length] = rng.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * min(length, len(data) - at)
    elif way == 7:
        data += rng.choice([b"\0", b"\n", rng.randbytes(9), raw])
    else:
        size = rng.choice([1, 2, 4, 8])
        data[at : at + size] = rng.choice([0, 1, 2**31, 2**32 - 1, 255, 65535, 10**6]).to_bytes(8, "little")[:size]
    return bytes(data)


# --- JSON


def places(value: object) -> Iterator[tuple[dict | list, object]]:
    """(container, key) of everything in what JSON holds."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from places(value[key])


def lie(record: dict, rng: Rng) -> None:
    """Change something in a record: a value, a key that goes, comes or is another's."""
    found = list(places(record))
    if not found:
        record["v"] = value(rng)
        return
    holder, key = rng.choice(found)
    way = rng.randrange(10)
    if way < 5:
        was = holder[key]
        near = type(was) is int and rng.random() < 0.5
        holder[key] = rng.choice([was - 1, was + 1, 2 * was, -was, 1000 * was]) if near else value(rng)
    elif way < 7:
        del holder[key]
    elif way == 7 and isinstance(holder, dict):
        holder[rng.choice(EXTRA)] = value(rng)
    elif way == 8 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(rng.choice(holder)))
    else:
        other, place = rng.choice(found)
        holder[key] = copy.deepcopy(other[place])


def text(record: dict, rng: Rng) -> str:
    """A record as text, now and then not quite JSON."""
    made = json.dumps(record)
    if rng.random() < 0.06:
        ends = [made[:-1], made[:-1] + ', "v": 2}', made[:-1] + ', "n": 1, "n": 2}', "[" * 5000, "1" * 5000, "", "null"]
        made = rng.choice(ends)
    return made


# --- safetensors: [metadata, {name: [type, shape, bytes]}] a document


def documents(raw: bytes) -> list[list]:
    out, at = [], 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 8], "little")
        header = json.loads(raw[at + 8 : at + 8 + size])
        at += 8 + size
        meta = header.pop("__metadata__", {})
        ends = [entry["data_offsets"] for entry in header.values()]
        tensors = {k: [e["dtype"], e["shape"], raw[at + a : at + b]] for (k, e), (a, b) in zip(header.items(), ends)}
        out.append([meta, tensors])
        at += max((b for _, b in ends), default=0)
    return out


def assembled(meta: dict, tensors: dict, rng: Rng | None = None) -> bytes:
    """A document; rng: whose header lies."""
    header, at = {"__metadata__": meta} if meta else {}, 0
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    made = json.dumps(header)
    if rng is not None:
        lie(header, rng)
        made = text(header, rng)
    packed = made.encode("utf-8", "surrogatepass")
    return len(packed).to_bytes(8, "little") + packed + b"".join(raw for _, _, raw in tensors.values())


def bend(tensors: dict, rng: Rng) -> None:
    """Change a tensor, with a header that agrees."""
    if not tensors:
        return
    name = rng.choice(list(tensors))
    dtype, shape, raw = tensors[name]
    width, way = WIDTH.get(dtype, 1), rng.randrange(9)
    if way == 0:
        del tensors[name]
    elif way == 1 and raw:  # one number
        at = rng.randrange(len(raw) // width) * width
        code = {"F16": "<e", "F32": "<f", "F64": "<d"}.get(dtype)
        plain = rng.choice([b"\0" * 8, b"\xff" * 8, b"\x80" * 8, b"\xff" * (width - 1) + b"\x7f", rng.randbytes(8)])
        number = rng.choice([math.nan, math.inf, -math.inf, -1.0, 0.0, 6e4, 1e-7])
        tensors[name][2] = raw[:at] + (struct.pack(code, number) if code else plain[:width]) + raw[at + width :]
    elif way == 2:  # another type of the same width
        tensors[name][0] = rng.choice([t for t, w in WIDTH.items() if w == width])
    elif way == 3:  # another type
        other = rng.choice(list(WIDTH))
        size = math.prod(shape) * WIDTH[other]
        tensors[name] = [other, shape, (raw * 9 + bytes(size))[:size]]
    elif way == 4:  # another shape of the same numbers
        count = math.prod(shape)
        tensors[name][1] = rng.choice([[count], [1, *shape], [*shape, 1], shape[::-1], [1] * 70 + [count], [count, 1]])
    elif way == 5:  # another size
        shape = shape or [1]
        axis = rng.randrange(len(shape))
        sizes = [
            *shape[:axis],
            rng.choice([0, 1, shape[axis] + 1, max(shape[axis] - 1, 0), 2 * shape[axis]]),
            *shape[axis + 1 :],
        ]
        size = math.prod(sizes) * width
        tensors[name] = [dtype, sizes, (raw * 3 + b"\1" * size)[:size]]
    elif way == 6:
        tensors[rng.choice(NAMES)] = list(tensors[name])
    elif way == 7:
        other = rng.choice(list(tensors))
        tensors[name], tensors[other] = tensors[other], tensors[name]
    else:
        tensors[name][2] = rng.randbytes(len(raw))


def safetensors(raw: bytes, rng: Rng) -> bytes:
    parts = documents(raw)
    place, way, rest = rng.randrange(len(parts)), rng.random(), None
    meta, tensors = parts[place]
    if way < 0.5 and meta:
        key = rng.choice(list(meta))
        try:
            record = json.loads(meta[key])
        except ValueError:
            record = {}
        record = record if isinstance(record, dict) else {}
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            lie(record, rng)
        meta[key] = text(record, rng)
        if key == "lem" and "lem_encoder" in meta and isinstance(record.get("encoder"), dict):
            meta["lem_encoder"] = json.dumps(record["encoder"])
    elif way < 0.85:
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            bend(tensors, rng)
    elif way < 0.95:
        rest = rng
    elif way < 0.975:
        parts.insert(rng.randrange(len(parts) + 1), copy.deepcopy(rng.choice(parts)))
    else:
        parts.pop(place)
    return b"".join(assembled(*part, rest if part is parts[min(place, len(parts) - 1)] else None) for part in parts)


# --- pictures, sounds, arrays, text


def png(raw: bytes, rng: Rng) -> bytes:
    """Chunks with right check sums."""
    chunks, at = [], 8
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "big")
        chunks.append([raw[at + 4 : at + 8], raw[at + 8 : at + 8 + size]])
        at += 12 + size
    place, way = rng.randrange(len(chunks)), rng.randrange(5)
    if way == 0:
        chunks[place][1] = anything(chunks[place][1], rng)
    elif way == 1:
        name = rng.choice(
            [b"IDAT", b"IHDR", b"PLTE", b"tRNS", b"acTL", b"iCCP", b"zTXt", b"gAMA", b"IEND", b"eXIf", b"iTXt"]
        )
        chunks.insert(place, [name, rng.randbytes(rng.randrange(40))])
    elif way == 2:
        chunks.pop(place)
    elif way == 3:
        sizes = [rng.choice([0, 1, 12, 3000, 70000, 2**31 - 1, 2**32 - 1]) for _ in range(2)]
        kinds = [rng.choice([1, 2, 4, 8, 16, 3]), rng.choice([0, 2, 3, 4, 6, 1]), 0, 0, rng.choice([0, 1, 9])]
        chunks[0][1] = struct.pack(">II", *sizes) + bytes(kinds)
    elif chunks[place][0] == b"IDAT":
        chunks[place][1] = zlib.compress(anything(zlib.decompress(chunks[place][1]), rng))
    out = (struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in chunks)
    return raw[:8] + b"".join(out)


def head(raw: bytes, rng: Rng) -> bytes:
    """A number among the first 64 bytes, of 2 or 4 bytes in either order."""
    at, size = 2 * rng.randrange(min(len(raw), 64) // 2), rng.choice([2, 4])
    number = rng.choice([0, 1, 2, 3, 17, 255, 65534, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 70000])
    packed = number.to_bytes(4, rng.choice(["little", "big"]))
    return raw[:at] + packed[: size if rng.random() < 0.5 else 4][-size:] + raw[at + size :]


SHAPES = (
    "(0,) (-1,) (1000000000,) (1000000000,8) (4611686018427387904,2) (2,3,4) () (1.5,2) ('a',) None (True,8)".split()
)
TYPES = "'|O' '<f8' '<c8' '|S99' '<U3' '>i4' '>f4' '<f2' '|b1' '<M8[s]' [('a','<f4')] '<f16' 'V0' '|u1' '<u2' 3".split()
HEADERS = [
    "{",
    "{'descr':" + "[" * 500,
    "__import__('os')",
    "{}",
    "(" * 3000,
    "'" * 7,
    "{'descr': '<f4'}",
    "\0",
    "1" * 5000,
]


def npy(raw: bytes, rng: Rng) -> bytes:
    size = int.from_bytes(raw[8:10], "little")
    said, way = raw[10 : 10 + size].decode("latin-1"), rng.randrange(6)
    if way < 2:
        said = re.sub(r"'shape': \([^)]*\)", lambda _: f"'shape': {rng.choice(SHAPES)}", said)
    elif way < 4:
        said = re.sub(r"'descr': '[^']*'", lambda _: f"'descr': {rng.choice(TYPES)}", said)
    elif way == 4:
        said = said.replace("False", rng.choice(["True", "None", "2"]))
    else:
        said = rng.choice(HEADERS)
    version, packed = rng.choice([1, 1, 1, 2, 3, 9]), said.encode("latin-1")
    return (
        raw[:6]
        + bytes([version, 0])
        + len(packed).to_bytes(2 if version == 1 else 4, "little")
        + packed
        + raw[10 + size :]
    )


CELLS = [
    "3",
    "-1",
    "0",
    "9" * 25,
    "3.5",
    "1e3",
    "1e999",
    "nan",
    "inf",
    " 3",
    "3_0",
    "0x3",
    "٣",
    "x",
    "",
    "\0",
    '"',
    "é",
    ",",
    "\t",
]
CELLS += ["# compat kamb", "#", "=1+1", "\ufeff3", "A" * 9000]


def lines(raw: bytes, rng: Rng) -> bytes:
    """Text with other words, lines and ends of lines."""
    words = re.split(r"([,\t\n ])", raw.decode("utf-8", "replace"))
    for _ in range(rng.choice([1, 1, 2, 5])):
        way, at = rng.randrange(4), rng.randrange(len(words))
        if way == 0:
            words[at] = rng.choice(CELLS)
        elif way == 1:
            words.insert(at, rng.choice(["\n", ",", "\t", "\r\n", "\x0b", "\n\n", "\u2028", "\x85"]))
        elif way == 2 and len(words) > 1:
            words.pop(at)
        else:
            words[at:at] = words[at : at + rng.randrange(1, 20)]
    return "".join(words).encode("utf-8", "surrogatepass")


def unzipped(change: Callable[[bytes, Rng], bytes]) -> Callable[[bytes, Rng], bytes]:
    """A change within a gzip."""
    return lambda raw, rng: gzip.compress(change(gzip.decompress(raw), rng), mtime=0)


WAYS: dict[str, Callable[[bytes, Rng], bytes]] = {
    "safetensors": safetensors,
    "png": png,
    "npy": npy,
    "text": lines,
    "head": head,
    "gzip": unzipped(head),
    "bytes": anything,
}


def mutated(raw: bytes, form: str, rng: Rng) -> bytes:
    """One changed file: in four of five by what its form allows, else anywhere."""
    return anything(raw, rng) if rng.random() < 0.2 else WAYS[form](raw, rng)
