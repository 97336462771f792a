"""The stream on the wire: plain safetensors, back to back; whatever arrives instead is a LemError and nothing else."""

import io
import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from helpers.paths import ROOT
from helpers.signals import OPS, WHOLE, same
from lemtools import stream
from lemtools.fragment import fragment
from lemtools.signal import LemError, Signal, to_tensors
from lemtools.stream import Source, document, load_tensors, read, record_of, save_tensors, write, write_one
from lemtools.stream.source import _STEP
from lemtools.stream.wire import assemble, lem_record


def images(n, first=0, side=4, seed=0):
    data = np.random.default_rng(seed).integers(0, 256, (n, 1, side, side), dtype=np.uint8)
    return Signal("image", data, index=first + np.arange(n), names=[f"{first + i}.png" for i in range(n)])


def sent(signals, how=write) -> bytes:
    out = io.BytesIO()
    how(signals, out)
    return out.getvalue()


def received(raw: bytes, **options) -> list[Signal]:
    return list(read(Source(io.BytesIO(raw), "x"), **options))


def concatenated(signals: list[Signal]) -> Signal:
    """The definition that `write_one` is held against."""

    def join(values):
        return None if values[0] is None else np.concatenate(values)

    fields = {k: join([getattr(s, k) for s in signals]) for k in ("data", "mask", "codes", "label", "index", "cost")}
    ops = [
        {k: join([s.ops[i][k] for s in signals]) if isinstance(v, np.ndarray) else v for k, v in op.items()}
        for i, op in enumerate(signals[0].ops)
    ]
    names = None if signals[0].names is None else [n for s in signals for n in s.names]
    return replace(signals[0], **fields, ops=ops, names=names)


def test_a_whole_batch_is_a_plain_safetensors_file():
    for kind, make in WHOLE.items():
        whole = make(3)
        whole.last, whole.label = True, np.array([1, 2, 3], np.int32)
        raw = sent([whole])
        loaded = safetensors.numpy.load(raw)
        assert set(loaded) == {"data", "label"}, kind
        assert loaded["data"].dtype == whole.data.dtype and np.array_equal(loaded["data"], whole.data)
        assert np.array_equal(loaded["label"], whole.label)
        assert raw == sent([whole], write_one)


def test_every_document_of_a_fragment_is_plain_safetensors(tmp_path):
    (broken,) = fragment([WHOLE["image8"](4)], [{"op": "bits", "bits": (1, 6)}, {"op": "mask", "mask": 0.5}])
    path = tmp_path / "x.safetensors"
    path.write_bytes(sent([broken], write_one))
    with safetensors.safe_open(path, "np") as file:
        assert json.loads(file.metadata()["lem"])["last"] is True
        assert set(file.keys()) == {"codes", "mask", "ops.0.bits"}
        assert np.array_equal(file.get_tensor("ops.0.bits"), broken.ops[0]["bits"])


def test_reads_what_safetensors_writes():
    x = np.random.default_rng(0).standard_normal((5, 7))
    for array in (x.astype(np.float32), x.astype(np.float16), x, x[0].astype(np.float32), x.reshape(5, 7, 1)):
        raw = safetensors.numpy.save({"emb": array, "ids": np.arange(5)})
        (back,) = received(raw)
        assert back.kind == "embedding" and np.array_equal(back.data, np.atleast_2d(array))
        assert back.data.dtype == array.dtype
    two = safetensors.numpy.save({"a": x, "b": x + 1})
    with pytest.raises(LemError, match=r"several float tensors \(.*a, b.*\); pick one with --key"):
        received(two)
    assert np.array_equal(received(two, key="b")[0].data, x + 1)
    with pytest.raises(LemError, match="no float tensor 'c'"):
        received(two, key="c")
    with pytest.raises(LemError, match="no float tensor of"):
        received(safetensors.numpy.save({"ids": np.arange(5)}))


def raw_document(header, body=b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_bf16_against_torch_rule():
    # bfloat16 is the upper half of a float32
    exact = np.array([[1.0, -2.5, 3.140625, 1e38 * 0 + 2.0**-126]], np.float32)
    half = (exact.view(np.uint32) >> 16).astype("<u2")
    raw = raw_document({"x": {"dtype": "BF16", "shape": [1, 4], "data_offsets": [0, 8]}}, half.tobytes())
    (back,) = received(raw)
    assert back.data.dtype == np.float32 and np.array_equal(back.data, exact)


def test_float8_against_torch():
    codes = np.arange(256, dtype=np.uint8)
    for name, dtype in (("F8_E4M3", "float8_e4m3fn"), ("F8_E5M2", "float8_e5m2"), ("F8_E8M0", "float8_e8m0fnu")):
        wanted = torch.from_numpy(codes).view(getattr(torch, dtype)).float().numpy()
        raw = raw_document({"x": entry(name, (2, 128), (0, 256))}, codes.tobytes())
        (back,) = received(raw)
        assert back.data.dtype == np.float32 and np.array_equal(back.data.ravel(), wanted, equal_nan=True), name


@pytest.mark.parametrize("dtype, size", [("F4", 8), ("C64", 128), ("F6_E2M3", 12)])
def test_types_that_are_known_by_name_alone(dtype, size):
    entries = {"e": entry(shape=(4, 4), offsets=(0, 64)), "w": entry(dtype, (4, 4), (64, 64 + size))}
    raw = raw_document(entries, bytes(64 + size))
    (back,) = received(raw)  # the other tensor is not asked for
    assert back.data.shape == (4, 4)
    with pytest.raises(LemError, match=f"x: tensor w: values of type {dtype} are not read; save "):
        received(raw, key="w")
    with pytest.raises(LemError, match=rf"no float tensor of 1 to 3 dimensions to read \(w is {dtype}\)"):
        received(raw_document({"w": entry(dtype, (4, 4), (0, size))}, bytes(size)))


def test_a_header_beyond_a_mebibyte():
    entries = {f"{i:0200}": entry(shape=(1,), offsets=(4 * i, 4 * i + 4)) for i in range(5000)}
    raw = raw_document(entries, np.arange(5000, dtype="<f4").tobytes())
    (back,) = received(raw, key=f"{4000:0200}")
    assert len(raw) > 1 << 20 and back.data.tolist() == [[4000.0]]


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


DEEP = b'{"a":' * 100_000
DAMAGED = {
    "overlap": raw_document({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)),
    "hole": raw_document({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)),
    "not from the start": raw_document({"a": entry(offsets=(4, 12))}, bytes(12)),
    "negative offset": raw_document({"a": entry(offsets=(-8, 0))}, bytes(8)),
    "negative shape": raw_document({"a": entry(shape=(-1, -2))}, bytes(8)),
    "backwards": raw_document({"a": entry(offsets=(8, 0))}, bytes(8)),
    "wrong size": raw_document({"a": entry(shape=(3,))}, bytes(8)),
    "huge shape": raw_document({"a": entry(shape=(2**62, 2**62))}, bytes(8)),
    "huge beside zero": raw_document({"a": entry(shape=(0, 2**62, 2**62), offsets=(0, 0))}),
    "many dimensions": raw_document({"a": entry(shape=(1,) * 90 + (2,))}, bytes(8)),
    "float shape": raw_document({"a": entry(shape=(2.0,))}, bytes(8)),
    "bool shape": raw_document({"a": entry(shape=(True, 2))}, bytes(8)),
    "twins": raw_document(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":1}', bytes(8)),
    "unknown type": raw_document({"a": entry(dtype="F9_E4M4", shape=(8,))}, bytes(8)),
    "float8 of the wrong size": raw_document({"a": entry(dtype="F8_E4M3", shape=(7,))}, bytes(8)),
    "type of the wrong type": raw_document({"a": entry(dtype=["F32"])}, bytes(8)),
    "no type": raw_document({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "entry is a list": raw_document({"a": [1]}, bytes(8)),
    "deep json": raw_document(DEEP, bytes(8)),
    "deep lem": raw_document({"__metadata__": {"lem": (b"[" * 100_000).decode()}}),
    "no utf-8": raw_document(b'{"\xff":1}'),
    "no json": raw_document(b"{nonsense"),
    "no object": raw_document(b"[1,2]"),
    "metadata not text": raw_document({"__metadata__": {"lem": {"v": 1}}}),
    "lem not an object": raw_document({"__metadata__": {"lem": "3"}}),
    "header of 2^60": (2**60).to_bytes(8, "little") + b"{" + bytes(64),
    "header beyond the cap": (stream.MAX_HEADER + 1).to_bytes(8, "little") + b"{" + b" " * 99,
    "header of nothing": bytes(8),
    "body of 2^50": raw_document({"a": entry(shape=(2**48,), offsets=(0, 2**50))}),
    "empty": b"",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_headers(name):
    tracemalloc.start()
    with pytest.raises(LemError) as caught:
        received(DAMAGED[name])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value).startswith("x: ") and "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert peak < 1 << 25


def lem_document(meta, **tensors) -> bytes:
    arrays = {k: ({"u1": "U8", "f4": "F32", "i8": "I64", "f8": "F64"}[v.dtype.str[1:]], v) for k, v in tensors.items()}
    return b"".join(
        assemble(arrays, lem_record({"v": 1, "kind": "embedding", "n": 2, "last": True, "ops": [], **meta}))
    )


BITS = {"op": "bits", "bits": 3, "quantizer": "uniform", "domain": "gaussian"}
FLOAT = {"shape": [8], "dtype": "F32"}
SCALE = np.ones(2, np.float32)
LIES = {
    "another version": lem_document({"v": 2}, data=np.zeros((2, 8), np.float32)),
    "n wrong": lem_document({"n": 3}, data=np.zeros((2, 8), np.float32)),
    "n huge": lem_document({"n": 10**12, **FLOAT, "ops": [BITS]}, codes=np.zeros(6, np.uint8)),
    "n text": lem_document({"n": "2"}, data=np.zeros((2, 8), np.float32)),
    "kind unknown": lem_document({"kind": "smell"}, data=np.zeros((2, 8), np.float32)),
    "kind a list": lem_document({"kind": []}, data=np.zeros((2, 8), np.float32)),
    "no data": lem_document({}),
    "dimensions": lem_document({"kind": "image"}, data=np.zeros((2, 8), np.float32)),
    "type": lem_document({"kind": "tokens"}, data=np.zeros((2, 8), np.float32)),
    "shape beyond the codes": lem_document(
        {"shape": [2**39], "dtype": "F32", "ops": [BITS]}, codes=np.zeros(6, np.uint8)
    ),
    "shape beyond the mask": lem_document(
        {"shape": [1024, 4096, 4096], "dtype": "F64", "mask": [1, 1, 1]},
        values=np.zeros(0),
        mask=np.zeros((2, 1), np.uint8),
    ),
    "shape 0": lem_document({"shape": [0], "dtype": "F32", "ops": [BITS]}, codes=np.zeros(6, np.uint8)),
    "shape float": lem_document({"shape": [8.5], "dtype": "F32", "ops": [BITS]}, codes=np.zeros(6, np.uint8)),
    "codes without bits": lem_document(FLOAT, codes=np.zeros(6, np.uint8)),
    "codes short": lem_document({**FLOAT, "ops": [BITS]}, codes=np.zeros(5, np.uint8)),
    "bits 0": lem_document({**FLOAT, "ops": [{**BITS, "bits": 0}]}, codes=np.zeros(6, np.uint8)),
    "bits 17": lem_document({**FLOAT, "ops": [{**BITS, "bits": 17}]}, codes=np.zeros(34, np.uint8)),
    "bits 3.5": lem_document({**FLOAT, "ops": [{**BITS, "bits": 3.5}]}, codes=np.zeros(6, np.uint8)),
    "bits text": lem_document({**FLOAT, "ops": [{**BITS, "bits": "3"}]}, codes=np.zeros(6, np.uint8)),
    "domain and type": lem_document({**FLOAT, "ops": [{**BITS, "domain": "uint8"}]}, codes=np.zeros(6, np.uint8)),
    "domain unknown": lem_document({**FLOAT, "ops": [{**BITS, "domain": "moon"}]}, codes=np.zeros(6, np.uint8)),
    "scale missing": lem_document({**FLOAT, "ops": [BITS]}, codes=np.zeros(6, np.uint8)),
    "scale negative": lem_document({**FLOAT, "ops": [BITS]}, codes=np.zeros(6, np.uint8), **{"ops.0.scale": -SCALE}),
    "scale NaN": lem_document({**FLOAT, "ops": [BITS]}, codes=np.zeros(6, np.uint8), **{"ops.0.scale": SCALE * np.nan}),
    "scale of three": lem_document(
        {**FLOAT, "ops": [BITS]}, codes=np.zeros(6, np.uint8), **{"ops.0.scale": np.ones(3, np.float32)}
    ),
    "levels missing": lem_document(
        {**FLOAT, "ops": [{**BITS, "domain": "signed", "quantizer": "lloyd-max"}]}, codes=np.zeros(6, np.uint8)
    ),
    "parameter of no operation": lem_document({}, data=np.zeros((2, 8), np.float32), **{"ops.4.scale": SCALE}),
    "operation without a name": lem_document({"ops": [{"bits": 3}]}, data=np.zeros((2, 8), np.float32)),
    "operation of an evil type": lem_document(
        {"ops": [{"op": "noise", "dtype": "O"}]}, data=np.zeros((2, 8), np.float32)
    ),
    "operation of an evil shape": lem_document(
        {"ops": [{"op": "crop", "shape": [-1]}]}, data=np.zeros((2, 8), np.float32)
    ),
    "ops no list": lem_document({"ops": 3}, data=np.zeros((2, 8), np.float32)),
    "mask missing": lem_document({**FLOAT, "mask": [8]}, values=np.zeros(4, np.float32)),
    "mask of another shape": lem_document(
        {**FLOAT, "mask": [7]}, values=np.zeros(14, np.float32), mask=np.full((2, 1), 254, np.uint8)
    ),
    "values short": lem_document(
        {**FLOAT, "mask": [8]}, values=np.zeros(4, np.float32), mask=np.full((2, 1), 255, np.uint8)
    ),
    "values of another type": lem_document(
        {**FLOAT, "mask": [8]}, values=np.zeros(16, np.int64), mask=np.full((2, 1), 255, np.uint8)
    ),
    "names": lem_document(
        {},
        data=np.zeros((2, 8), np.float32),
        **{"names.utf8": np.zeros(3, np.uint8), "names.offsets": np.array([0, 5, 3])},
    ),
    "label": lem_document({}, data=np.zeros((2, 8), np.float32), label=np.zeros(3, np.int64)),
    "index negative": lem_document({"first": -5}, data=np.zeros((2, 8), np.float32)),
    "index beyond": lem_document({"first": 10**30}, data=np.zeros((2, 8), np.float32)),
    "rate": lem_document({"rate": -1}, data=np.zeros((2, 8), np.float32)),
    "rate infinite": lem_document({"rate": float("inf")}, data=np.zeros((2, 8), np.float32)),
    "history": lem_document({"history": ["x"]}, data=np.zeros((2, 8), np.float32)),
    "first no whole number": lem_document({"first": 1e-300}, data=np.zeros((2, 8), np.float32)),
    "last no flag": lem_document({"last": "yes"}, data=np.zeros((2, 8), np.float32)),
    "label of floats": lem_document({}, data=np.zeros((2, 8), np.float32), label=np.zeros(2)),
    "cost infinite": lem_document({}, data=np.zeros((2, 8), np.float32), cost=np.array([1, np.inf])),
    "parameter of operation -1": lem_document(
        {"ops": [{"op": "mask"}]}, data=np.zeros((2, 8), np.float32), **{"ops.-1.x": SCALE}
    ),
    "twin keys": raw_document(
        {"__metadata__": {"lem": '{"v": 1, "kind": "embedding", "n": 2, "n": 1}'}, "data": entry(shape=(1, 2))},
        bytes(8),
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_documents_that_do_not_agree_with_themselves(name):
    tracemalloc.start()
    with pytest.raises(LemError) as caught:
        received(LIES[name])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value).startswith("x: ") and "\n" not in str(caught.value)
    assert peak < 1 << 22


@pytest.mark.parametrize(
    "domain, inside, beyond",
    [
        ("unit", (0, 1), (-0.5, 0.5)),
        ("unit", (0.2, 0.3), (0.5, 1.5)),
        ("unit", (0.2, 0.3), (0.5, np.nan)),
        ("signed", (-1, 1), (-1.5, 0)),
        ("signed", (-0.2, 0.3), (0, 1.5)),
        ("uint8", (0, 255), (-1, 8)),
        ("uint8", (3, 4), (8, 256)),
    ],
)
def test_levels_lie_inside_the_domain(domain, inside, beyond):
    op = {**BITS, "bits": 1, "domain": domain, "quantizer": "lloyd-max"}
    meta = {
        "kind": "audio" if domain == "signed" else "image",
        "shape": [1, 8] if domain == "signed" else [1, 2, 4],
        "rate": 8000,
        "dtype": "U8" if domain == "uint8" else "F32",
        "ops": [op],
    }

    def got(levels):
        levels = np.array([levels, levels], np.float32)
        return received(lem_document(meta, codes=np.full(2, 0x55, np.uint8), **{"ops.0.levels": levels}))

    assert {*got(inside)[0].data.ravel().tolist()} <= {*np.float32(inside).tolist()}
    with pytest.raises(LemError, match="levels"):
        got(beyond)


def test_max_bytes():
    raw = sent([images(4)])
    assert len(list(read(Source(io.BytesIO(raw), "x", max_bytes=200)))) == 1
    with pytest.raises(LemError, match="raise --max-bytes"):
        list(read(Source(io.BytesIO(raw), "x", max_bytes=20)))


def small_stream() -> tuple[bytes, list[int]]:
    """Two documents and the end, and where each document ends."""
    broken = fragment([images(2), images(2, first=2)], [{"op": "bits", "bits": (1, 6)}, {"op": "mask", "mask": 0.5}])
    batches = list(broken)
    parts = [b"".join(document(b)) for b in batches]
    raw = sent(batches)
    return raw, [len(parts[0]), len(parts[0]) + len(parts[1])]


def test_a_stream_cut_anywhere_is_noticed():
    raw, borders = small_stream()
    assert [len(s) for s in received(raw)] == [2, 2]
    for end in range(len(raw)):
        with pytest.raises(LemError) as caught:
            received(raw[:end])
        assert "\n" not in str(caught.value)
        if end in borders:
            assert "ends without its last document" in str(caught.value)
    last = images(2)
    last.last = True
    marked = sent([images(2), last])
    for end in range(len(marked)):
        with pytest.raises(LemError):
            received(marked[:end])


def test_nothing_may_follow_the_last_document():
    raw, _ = small_stream()
    for more in (b"x", raw, bytes(9)):
        with pytest.raises(LemError, match="goes on after its last document"):
            received(raw + more)


def test_a_document_that_comes_twice_is_told():
    one, two = (b"".join(document(images(2, first))) for first in (0, 2))
    end = sent([images(2, 2)])[len(two) :]
    assert [len(s) for s in received(one + two + end)] == [2, 2]
    for raw in (one + one + end, one + two + one + end):
        with pytest.raises(LemError, match=r"x: damaged stream \(a document of items 0 to 1 comes twice\)"):
            received(raw)


def test_last_saves_the_end_document():
    one, two = images(2), images(2, first=2)
    open_ended = sent([one, two])
    two.last = True
    closed = sent([one, two])
    assert closed.count(rb"\"n\":0") == 0 and open_ended.count(rb"\"n\":0") == 1
    assert received(closed)[-1].last is True and received(open_ended)[-1].last is None
    assert sent([]) == b"" and sent([], write_one) == b""


def test_batches_are_sent_as_they_come():
    # a closed loop: the next batch is made only when the one before has arrived
    r, w = os.pipe()
    with open(r, "rb", buffering=0) as reading, open(w, "wb", buffering=0) as writing:
        arrived = read(Source(reading, "pipe"))

        def source():
            for i in range(3):
                yield images(2, first=2 * i)
                assert next(arrived).index[0] == 2 * i

        write(source(), writing)
        writing.close()
        assert list(arrived) == []


VALID, _ = small_stream()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_mutations_raise_nothing_else(changes):
    raw = bytearray(VALID)
    for at, value in changes:
        raw[at] = value
    check_outcome(bytes(raw))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 40))
@example(b"{}" + b" " * 6, 8)
def test_random_bytes_raise_nothing_else(body, length):
    check_outcome(body)
    check_outcome(length.to_bytes(8, "little") + b"{" + body)


LEAF = st.none() | st.booleans() | st.integers(-2, 70) | st.floats() | st.sampled_from(["", "bits", "F32", "U8"])
JSON = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["op", "bits", "shape"]), inner),
    max_leaves=6,
)
KEYS = ["v", "kind", "n", "first", "step", "shape", "dtype", "mask", "ops", "history", "rate", "last"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(KEYS), JSON)
def test_any_json_in_the_metadata_raises_nothing_else(key, value):
    (broken,) = fragment([images(2)], [{"op": "bits", "bits": (1, 6)}, {"op": "mask", "mask": 0.5}])
    tensors, meta = to_tensors(broken)
    check_outcome(b"".join(assemble(tensors, lem_record(meta | {key: value, "last": True}))))


def check_outcome(raw: bytes) -> None:
    """Reading either succeeds or is a LemError of one line, and memory stays near what arrived."""
    tracemalloc.start()
    try:
        for signal in received(raw):
            signal.whole_dtype, signal.whole_shape, signal.observed()
    except LemError as error:
        assert "\n" not in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2 * _STEP


@pytest.mark.parametrize("ops", OPS, ids=lambda ops: "+".join(op["op"] for op in ops))
@pytest.mark.parametrize("kind", ["image8", "embedding", "audio"])
def test_write_one_is_the_concatenation(kind, ops, tmp_path):
    whole = WHOLE[kind](7)
    whole.names, whole.label = [f"ü{i}" * i for i in range(7)], np.arange(7)
    batches = list(fragment([whole.take(slice(a, b)) for a, b in ((0, 3), (3, 4), (4, 4), (4, 7))], ops, seed=2))
    out = io.BytesIO()
    write_one(batches, out, str(tmp_path))
    (back,) = received(out.getvalue())
    expected = concatenated([b for b in batches if len(b)])
    same(back, expected)
    assert back.last is True
    safetensors.deserialize(out.getvalue())
    # the same as one batch sent whole
    whole_again = list(fragment([whole], ops, seed=2))[0]
    same(back, whole_again)
    assert list(tmp_path.iterdir()) == []


def test_write_one_of_no_items_is_a_closed_stream():
    raw = sent([images(0), images(0)], write_one)
    assert received(raw) == [] and rb"\"last\":true" in raw


@pytest.mark.parametrize(
    "other",
    [
        lambda: images(2, first=2, side=5),
        lambda: replace(images(2), names=None),
        lambda: WHOLE["embedding"](2),
        lambda: next(fragment([images(2)], [{"op": "mask", "mask": 0.5}])),
        lambda: replace(images(2), history=[{"tool": "x"}]),
    ],
)
def test_write_one_refuses_what_does_not_fit(other):
    with pytest.raises(LemError, match="do not fit one file"):
        sent([images(2), other()], write_one)


def test_write_one_of_several_shapes_is_a_stream_of_documents(tmp_path):
    parts = [images(2), images(1, first=2), images(2, first=3, side=5), images(0), images(1, first=5)]
    out = io.BytesIO()
    assert write_one(parts, out, str(tmp_path), several=True) == 3
    back = received(out.getvalue())
    assert [len(signal) for signal in back] == [3, 2, 1] and [signal.last for signal in back] == [None, None, True]
    same(back[0], concatenated(parts[:2]))
    for wanted, found in zip((parts[2], parts[4]), back[1:]):
        same(found, wanted)
    assert list(tmp_path.iterdir()) == []
    one = io.BytesIO()
    assert write_one(parts[:2], one, several=True) == 1 and one.getvalue() == sent(parts[:2], write_one)


def test_packed_tokens_begin_anew_in_every_document():
    def tokens(length, first):
        return Signal("tokens", np.arange(3 * length).reshape(3, length) % 7, depth=3, index=first + np.arange(3))

    parts = [tokens(5, 0), tokens(5, 3), tokens(3, 6)]
    out = io.BytesIO()
    assert write_one(parts, out, several=True) == 2
    back = received(out.getvalue())
    assert all(signal.depth == 3 for signal in back)
    assert np.array_equal(back[0].data, np.concatenate([parts[0].data, parts[1].data]))
    assert np.array_equal(back[1].data, parts[2].data)


def test_write_all_goes_on_after_a_short_write():
    class Short(io.BytesIO):
        def write(self, data):
            return super().write(bytes(data[:7]))

    out = Short()
    write([images(3)], out)
    assert out.getvalue() == sent([images(3)])


def test_a_kept_batch_is_never_written_over():
    # large bodies share memory between documents: only where nothing looks at it any more
    def big(i):
        return Signal("embedding", np.full((2, 1 << 20), i, np.float32), index=np.arange(2))

    raw = sent(big(i) for i in range(8))
    kept = []
    for i, batch in enumerate(read(Source(io.BytesIO(raw), "x"))):
        if i % 3 == 0:
            kept.append((i, batch.data[1, 5:]))  # a view is enough
        elif i == 4:
            kept.append((i, memoryview(batch.data[0])))
    for i, view in kept:
        assert (np.asarray(view) == i).all()


def test_memory_is_used_again():
    raw = sent(Signal("embedding", np.full((1, 1 << 21), i, np.float32)) for i in range(6))
    places = [batch.data.__array_interface__["data"][0] for batch in read(Source(io.BytesIO(raw), "x"))]
    assert len(set(places)) <= 2


def test_skip_and_peek():
    for file in (io.BytesIO(bytes(range(100))), io.BufferedReader(io.BytesIO(bytes(range(100))))):
        source = Source(file, "x")
        assert source.peek(3) == bytes([0, 1, 2]) and source.place == 0
        assert source.read(2).tobytes() == bytes([0, 1]) and source.skip(10) == 10
        assert source.read(1)[0] == 12 and source.place == 13
        assert source.skip(1000) == 87 and source.peek(1) == b""


def test_skip_in_a_file_and_past_its_end(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(range(100)))
    with open(path, "rb", buffering=0) as file:
        source = Source(file, "x")
        source.peek(5)
        assert source.skip(50) == 50 and source.read(1)[0] == 50
        assert source.skip(60) == 49 and source.place == 100


def test_the_readers_memory_is_flat():
    # 200 MB through a pipe, 4 MB a document: the peak of the second half is that of the first
    code = """if True:
        import resource, sys
        from lemtools.stream import Source, read
        peaks = []
        for batch in read(Source(open(0, "rb", buffering=0), "pipe")):
            assert batch.data[0, 0] == len(peaks)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        print(len(peaks), peaks[5], peaks[-1])
    """
    reader = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        cwd=ROOT,
    )
    data = np.zeros((64, 1 << 14), np.float32)

    def batches():
        for i in range(48):
            data[0, 0] = i
            yield Signal("embedding", data)

    write(batches(), reader.stdin)
    reader.stdin.close()
    with reader.stdout:
        count, early, late = map(int, reader.stdout.read().split())
    assert reader.wait() == 0 and count == 48
    assert late - early < 2 * 4096  # KiB: within two documents


TENSORS = {
    "weights": np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2],
    "scalar": np.array(2.5, np.float32),
    "none": np.zeros((0, 3), np.float64),
    "flags": np.array([True, False]),
    "ids": np.array([1, 2**40]),
}


def test_a_file_of_tensors_comes_back_and_others_read_it(tmp_path):
    path = str(tmp_path / "x.safetensors")
    save_tensors(path, TENSORS, {"lem": {"v": 1, "ä": [1, None]}, "tool": "text as it is"})
    record, back = load_tensors(path, "lem", "a file", finite=True)
    assert record == {"v": 1, "ä": [1, None]} == record_of(path, "lem") and record_of(path, "other") is None
    theirs = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata()["tool"] == "text as it is"
    assert back.keys() == theirs.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        for found in (back[name], theirs[name]):
            assert found.dtype == tensor.dtype and found.shape == tensor.shape and np.array_equal(found, tensor), name


def test_torch_tensors_are_written_bfloat16_too(tmp_path):
    torch = pytest.importorskip("torch")
    path = str(tmp_path / "x.safetensors")
    tensors = {
        "bf16": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).T,
        "scale": torch.tensor(1.5),
        "grown": torch.nn.Parameter(torch.ones(2, 2)),
        "half": torch.ones(3, dtype=torch.float16),
    }
    save_tensors(path, tensors, {"lem": {"v": 1}}, sync=True)
    _, back = load_tensors(path, "lem", "a model", "pt")
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype and torch.equal(back[name], tensor), name


def test_files_of_tensors_that_are_refused(tmp_path):
    path = str(tmp_path / "x.safetensors")
    with pytest.raises(LemError, match="x.safetensors: no such file"):
        load_tensors(path, "lem", "a model")
    save_tensors(path, {"a": np.array([1, np.nan])}, {"lem": {"v": 1}, "new": {"v": 2}, "bad": "{", "list": [1]})
    for key in ("bad", "list", "absent"):
        with pytest.raises(LemError, match="x.safetensors: not a model$"):
            load_tensors(path, key, "a model")
    with pytest.raises(LemError, match="newer lemtools"):
        load_tensors(path, "new", "a model")
    with pytest.raises(LemError, match="NaN or infinite values in a"):
        load_tensors(path, "lem", "a model", finite=True)
    before = (tmp_path / "x.safetensors").read_bytes()
    with pytest.raises(LemError, match="cannot travel"):
        save_tensors(path, {"a": np.zeros(2, complex)}, {})
    assert (tmp_path / "x.safetensors").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_documents_that_go_round():
    """The same one again, and others after one that says it is the last, as from a file that begins a loop."""
    same = Signal("field", np.full((2, 1, 4), np.nan, np.float32))
    parts = [Signal("field", same.data, last=True), same, same]
    raw = b"".join(bytes(buffer) for part in parts for buffer in stream.document(part))
    source = lambda more=b"": stream.Source(io.BytesIO(raw + more), "x")
    batches = stream.read(source(), loop=True)
    assert [next(batches).data.tobytes() for _ in range(3)] == [same.data.tobytes()] * 3
    with pytest.raises(LemError, match="ends without its last document"):
        next(batches)
    assert len(list(stream.read(source(b"".join(stream.end("field"))), loop=True))) == 3
    with pytest.raises(LemError, match="goes on after its last document"):
        list(stream.read(source()))
