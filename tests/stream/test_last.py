"""Batches that are put together, each of which says that it is the last one: none is lost, each draws by itself."""

import io
import os

import numpy as np
import pytest

from lemtools.fragment import fragment
from lemtools.signal import LemError, Signal
from lemtools.stream import Source, read, write, write_one


def vectors(n: int, value: float = 1.0, **more) -> Signal:
    return Signal("embedding", np.full((n, 4), value, np.float32), last=True, **more)


def back(raw: bytes) -> list[Signal]:
    return list(read(Source(io.BytesIO(raw), "it")))


@pytest.mark.parametrize("writer", [write, write_one])
@pytest.mark.parametrize("given", [list, iter, tuple])
def test_all_batches_that_say_last_are_written(writer, given):
    batches = [vectors(2), vectors(1, 2.0), vectors(3, 3.0)]
    out = io.BytesIO()
    writer(given(batches), out)
    found = back(out.getvalue())
    assert [row[0] for signal in found for row in signal.data] == [1, 1, 2, 3, 3, 3]
    assert found[-1].last and not any(signal.last for signal in found[:-1])
    assert all(batch.last for batch in batches)  # what the caller holds is not changed


def test_a_lone_batch_that_says_last_is_one_plain_document():
    for writer in (write, write_one):
        out = io.BytesIO()
        writer(iter([vectors(2)]), out)
        (found,) = back(out.getvalue())
        assert found.last and out.getvalue().count(b"__metadata__") == 1


@pytest.mark.parametrize("writer", [write, write_one])
def test_into_a_pipe_the_last_batch_does_not_wait(writer):
    reading, writing = os.pipe()
    os.set_blocking(reading, False)  # a writer that waits is an error here, not a test that hangs
    seen = []

    def batches():
        yield vectors(1)
        seen.append(len(os.read(reading, 1 << 16)))  # what came out before the next one was asked for

    with open(writing, "wb", buffering=0) as file:
        writer(batches(), file)
        assert seen[0] > 0
        with pytest.raises(LemError, match="follows one that says it is the last"):
            writer(iter([vectors(1), vectors(1)]), file)
        writer([vectors(1), vectors(1)], file)  # of a list the end is known
    os.close(reading)


@pytest.mark.parametrize(
    "one, two",
    [
        (fragment([vectors(3)], [{"op": "bits", "bits": (1, 3)}]), fragment([vectors(3)], [{"op": "bits", "bits": 2}])),
        (vectors(2, label=np.array([1, 2])), vectors(2, label=np.array([1, 2], np.uint64))),
        (vectors(2, tokens=np.array([1, 2])), vectors(2, tokens=np.array([1, 2], np.uint64))),
        (Signal("tokens", np.ones((2, 3), np.int64)), Signal("tokens", np.ones((2, 3), np.uint64))),
    ],
)
def test_small_tensors_that_differ_part_documents(one, two):
    batches = [s if isinstance(s, Signal) else next(s) for s in (one, two)]
    with pytest.raises(LemError, match="do not fit one file"):
        write_one(batches, io.BytesIO())
    out = io.BytesIO()
    assert write_one(batches, out, several=True) == 2
    for found, wanted in zip(back(out.getvalue()), batches):
        for name in ("label", "tokens"):
            value = getattr(wanted, name)
            assert value is None or (getattr(found, name).dtype, getattr(found, name).tolist()) == (
                value.dtype,
                value.tolist(),
            )
        assert np.array_equal(found.data, wanted.data) and found.data.dtype == wanted.data.dtype


def test_codebooks_of_other_depths_part_documents():
    images = Signal("image", np.random.default_rng(0).integers(0, 256, (4, 1, 6, 6), np.uint8))
    both = [
        next(fragment([images], [{"op": "bits", "bits": bits, "quantizer": "lloyd-max"}])) for bits in ((1, 3), (1, 4))
    ]
    assert both[0].ops[0]["levels"].shape[1:] != both[1].ops[0]["levels"].shape[1:]
    out = io.BytesIO()
    assert write_one(both, out, several=True) == 2
    assert all(np.array_equal(a.data, b.data) for a, b in zip(back(out.getvalue()), both))


def test_what_is_narrow_beside_what_is_not_is_one_document():
    """Parameters of operations travel as float16 where that is exact; a batch where it is not may join."""
    both = [
        Signal("embedding", np.float32([[1, 2]]) * k, ops=[{"op": "noise", "std": np.float32([k])}], last=True)
        for k in (0.5, 0.1)
    ]
    out = io.BytesIO()
    assert write_one(both, out) == 1
    (found,) = back(out.getvalue())
    assert found.ops[0]["std"].tolist() == [np.float32(0.5), np.float32(0.1)]


def test_items_put_together_have_places_of_their_own():
    a, b, c = vectors(2), vectors(3), vectors(1, index=np.array([9]))
    assert Signal.concat([a, b]).index.tolist() == [0, 1, 2, 3, 4]
    assert Signal.concat([c, a, b]).index.tolist() == [9, 0, 1, 10, 11, 12]
    assert Signal.concat([a.take([1]), a.take([0])]).index.tolist() == [1, 0]  # those that differ stay
