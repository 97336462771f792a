"""Bytes of a spread of documents are those that version 0.1.0 wrote: files that people keep are read for ever."""

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest

from lemtools.signal import Signal
from lemtools.stream import write, write_one


def ramp(dtype, *shape, below=251):
    """Numbers without a generator, whose stream might change: 0 <= n < below."""
    return (np.arange(np.prod(shape), dtype=np.int64) * 37 % below).reshape(shape).astype(dtype)


def stripes(*shape):
    return ramp(np.int64, *shape, below=7) < 4


def bits(data, depth, domain, quantizer="uniform", mask=None, **more):
    """(codes, operation) of a batch: its codes are any that fit."""
    codes = ramp(np.uint8, *data.shape, below=251) % (2 ** np.min(depth))
    codes = codes.astype(np.uint16 if np.max(depth) > 8 else np.uint8)
    return codes if mask is None else codes * mask, {
        "op": "bits", "bits": depth, "quantizer": quantizer, "domain": domain, "scale": None, "levels": None, **more
    }  # fmt: skip


def signals() -> dict[str, Signal]:
    image, unit = ramp(np.uint8, 3, 3, 5, 6), (ramp(np.float32, 3, 3, 5, 6) / 256).astype(np.float32)
    sound, vectors = ramp(np.float32, 3, 2, 30) / 256 - 0.5, (ramp(np.float32, 3, 16) - 100) / 8
    tokens, scale = ramp(np.int32, 3, 11, below=50), np.array([0.5, 1.25, 3], np.float32)
    out = {
        "image8": Signal("image", image),
        "image float": Signal("image", unit),
        "sound": Signal("audio", sound, rate=8000.0),
        "spectrum": Signal("spectrum", ramp(np.float32, 3, 2, 4, 5), rate=100.5),
        "sequence": Signal("embedding", ramp(np.float64, 3, 4, 5), tokens=ramp(np.int64, 3, 4)),
        "half floats": Signal("embedding", ramp(np.float16, 3, 4)),
        "bfloat16": Signal("embedding", ramp(np.float32, 3, 8, below=128), depth=16),
        "no bfloat16": Signal("embedding", np.full((3, 8), 1 / 3, np.float32), depth=16),
        "tokens": Signal("tokens", tokens),
        "tokens of 6 bits": Signal("tokens", tokens, depth=6),
        "tokens beyond their depth": Signal("tokens", tokens, depth=3),
        "tokens of 13 bits": Signal("tokens", tokens.astype(np.uint16) * 100, depth=13),
        "scattered": Signal("image", image, index=np.array([7, 2, 40])),
        "every third": Signal("image", image, index=np.array([1, 4, 7]), label=np.array([3, -1, 2**40])),
        "paid for": Signal("image", image, cost=np.array([3.0, 0.5, 8.125])),
    }
    mask = stripes(3, 1, 5, 6)
    out["masked"] = Signal("image", image * mask, mask, ops=[{"op": "mask", "mask": 0.4, "mask_shape": "pixels"}])
    lost = stripes(3, 11)
    out["masked tokens"] = Signal("tokens", tokens * lost, lost, depth=6, ops=[{"op": "mask", "mask": 0.4}])
    seen = stripes(3, 16)
    for name, data, kept, depth, domain, more in (
        ("3 bits", image, None, 3, "uint8", {}),
        ("4 bits at once", ramp(np.uint8, 3, 1, 4, 4), None, 4, "uint8", {}),
        ("3 bits masked", image, mask, 3, "uint8", {}),
        ("drawn bits", unit, None, np.array([2, 5, 11], np.uint8), "unit", {}),
        ("drawn bits masked", vectors, seen, np.array([2, 5, 3], np.uint8), "gaussian", {"scale": scale}),
        ("wide scale", vectors, None, 4, "gaussian", {"scale": scale / np.float32(3), "slack": scale * 0}),
        ("levels", sound, None, 2, "signed", {"quantizer": "lloyd-max", "levels": ramp(np.float32, 3, 4) / 256}),
        ("trellis", vectors, None, 2, "gaussian", {"quantizer": "trellis", "scale": scale, "rotate": 5}),
    ):
        kind = "image" if data.ndim == 4 else "audio" if data.ndim == 3 else "embedding"
        codes, op = bits(data, depth, domain, mask=kept, **more)
        rate = 8000.0 if kind == "audio" else None
        out[name] = Signal(kind, data if kept is None else data * kept, kept, codes, ops=[op], rate=rate)
    crop = {"op": "crop", "crop": "4", "place": ramp(np.int32, 3, 2, below=3), "shape": [3, 9, 9], "dtype": "uint8"}
    out["cropped"] = Signal("image", image, ops=[crop], history=[{"tool": "x", "seed": 7, "args": ["--ä"]}])
    return out


def sent(how, *batches) -> bytes:
    file = io.BytesIO()
    how(batches, file)
    return file.getvalue()


def digests() -> dict[str, str]:
    found = {}
    for name, signal in signals().items():
        signal.names = ["a/ä.png", "", "b\udcff"]
        last, more = replace(signal, last=True), replace(signal.take([2, 0]), index=np.array([3, 9]))
        raw = [sent(write, signal), sent(write, last), sent(write, more, last), sent(write_one, signal, more, signal)]
        found[name] = " ".join(hashlib.sha256(each).hexdigest()[:16] for each in raw)
    return found


WRITTEN = {
    "image8": "384e7d874ddd2049 912120faceb38ad3 81342e5d9b9833d3 f90c896bdf809f04",
    "image float": "13d3826d01a9ec81 f1618c110c65cb15 2dc60975e47280a4 7f97a8a1ba470264",
    "sound": "7debd4549803404c 372acf931487adb9 ad568109d2053289 1a32cda6a7498053",
    "spectrum": "bc601ec8a5435274 b16ffac4a5fefa2c 579d71530df3fec8 86da019d9cf906df",
    "sequence": "6f61191a4210d689 03f50b9714490120 667f06fb78af8ef4 865107b5745231ad",
    "half floats": "31dbfbae601424b8 33196be7e8216771 495df307d9b80844 b6ea7624b177a824",
    "bfloat16": "62c189705a73fea0 6da4ee70bcebd1f5 39dfedf486f8a06a 5bd6afe0bf45ef53",
    "tokens": "068083b3481f98ad a45935b8dc271ce2 211b6ad5012f06b0 3369a0e2346cc5b6",
    "tokens of 6 bits": "436ad3f927f5a8f6 7a2186cdc143fccb 5148a728b1817869 4d63807e0c9e5fa5",
    "tokens of 13 bits": "f58f9cf3082dfae3 9f933bd20950a4fb 9fec3027540dcd1e ed3af0e80cc93306",
    "scattered": "d137e88b25e4d2d2 8b40c15c5b6347ad a85ce7b9a03c821a 45a4d6340ca4d4e1",
    "every third": "1b1a669daf539010 3c1d27ef016ba943 bb0a8b7aa3040b2c 343fb1df7ef2e210",
    "paid for": "aa65c87681e06d63 790a000df1683f57 a2bd9bf284ea7287 ddb061b54a8102ae",
    "masked": "ca07dde6b1d89da0 7dff411756c2f240 8a930e57d91d03e2 775f7b09b7e639d7",
    "3 bits": "fb746a3177067ad8 113857b7a03e4564 32add7ab98873e03 38886c27171b6742",
    "4 bits at once": "6d5e18bb3da4846f 19bfec4aeff0d57e 6599fc1f83dde188 23a26e89829b2d12",
    "3 bits masked": "fb4029cd42f65d8e 7234e36f5da11e10 5801a688abba0cde 426a016f9b4d38b6",
    "drawn bits": "fbb7341c0b77919c 1236d955b7ad107b 4660e8be559acea1 933ca375bd3170e9",
    "drawn bits masked": "7d7e4862c4f1f638 2af8dc62a180e7e9 ec308554cc70fdd4 26b6ab71517f582c",
    "wide scale": "086aae779a468961 788dafdf354776aa f454a6dd9acfe982 11821a363d9e764a",
    "levels": "b5b082661b5d44cc d2ce65cac0658d92 7cc9b9d4ad830fa4 f9bde5eb46eb8c9b",
    "trellis": "a3a709186246d54e 5c113dc0530545d6 e8ac0685e748000a 065660123249dbe5",
    "cropped": "4e908cfac0639be9 9740295da6df6a13 c7dc5ef3a034d763 2a7593bf503858ab",
}
# what is written otherwise since 0.3: depths are kept where one item is beyond them, observed tokens are packed
SINCE = {
    "no bfloat16": "b714dc59bcfb4913 ac772992ef52467a bfdf1c593be40277 dc19b6aa714f7199",
    "tokens beyond their depth": "7ae9c7abb590ff87 5d818ab67dc9b6a9 6a5f6c08859f7fa7 ddd0eb35d2480943",
    "masked tokens": "b46c13dee0181aec e4cecd144baef177 6aaa19bfc48125fe 662b2de9d326f6fb",
}


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    return digests()


@pytest.mark.parametrize("name", WRITTEN)
def test_the_bytes_are_those_of_0_1_0(name, found):
    assert found[name] == WRITTEN[name]


@pytest.mark.parametrize("name", SINCE)
def test_the_bytes_are_those_of_0_3(name, found):
    assert found[name] == SINCE[name]


def test_every_document_of_the_spread_is_compared(found):
    assert found.keys() == WRITTEN.keys() | SINCE.keys()
