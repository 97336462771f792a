"""A toy operation, mask shape and quantiser: one function and one row each, and they are there; without the row, gone."""

import io
from dataclasses import replace

import numpy as np
import pytest

from helpers.toys import shows
from lemtools import stream
from lemtools.catalogue import LemError, Option, Row
from lemtools.catalogue.operations import OPERATIONS, QUANTISERS, SHAPES
from lemtools.cli.fragment import losses
from lemtools.fragment import fragment
from lemtools.fragment.evidence import evidence
from lemtools.reconstruct import reconstruct
from lemtools.signal import Signal, bits_per_element

PHOTO = Signal("image", np.arange(2 * 3 * 8 * 8, dtype=np.uint8).reshape(2, 3, 8, 8))
VECTORS = Signal("embedding", np.random.default_rng(0).standard_normal((40, 16)).astype(np.float32))


def through_a_stream(signal: Signal) -> Signal:
    file = io.BytesIO()
    stream.write([signal], file)
    file.seek(0)
    (back,) = stream.read(stream.Source(file, "x"))
    return back


def mirror(signal, spec, draws):
    return replace(signal, data=np.ascontiguousarray(signal.data[..., ::-1]), codes=None), {"times": spec["mirror"]}


TOY_OPERATION = Row(
    "mirror",
    mirror,
    "turned round",
    kinds=("image",),
    options=(Option("--mirror", "Turn it round N times.", "whole", low=1, metavar="N", multiple=True),),
)


def test_a_toy_operation():
    assert shows("--mirror", "fragment") == (False, False)
    with OPERATIONS.added(TOY_OPERATION):
        assert shows("--mirror", "fragment") == (True, True)
        operations = losses("--mirror 3 --bits 2")
        assert operations == [{"op": "mirror", "mirror": 3}, {"op": "bits", "bits": 2}]
        (broken,) = fragment([PHOTO], operations)
        back = through_a_stream(broken)
        assert back.ops[0] == {"op": "mirror", "times": 3}
        assert np.array_equal(back.data >> 6, PHOTO.data[..., ::-1] >> 6)
        (recalled,) = reconstruct([back], "decode")  # nothing undoes it, and no value counts as the memory's own
        assert recalled.history[-1]["steps"] == ["bits: middle of the bin or centroid", "mirror: kept"]
        assert recalled.data.shape == PHOTO.data.shape
        with pytest.raises(LemError, match="a fragment of --mirror holds no element of the memory itself"):
            evidence(back)
        with pytest.raises(LemError, match="not of --mirror; recall them without --model"):
            list(reconstruct([back], "net"))
        with pytest.raises(LemError, match="no operation 'melt'; there are .*mirror"):
            list(fragment([PHOTO], [{"op": "melt"}]))
        with pytest.raises(LemError, match="--mirror is for image, not embedding"):
            list(fragment([VECTORS], [{"op": "mirror", "mirror": 1}]))
    assert shows("--mirror", "fragment") == (False, False)
    with pytest.raises(LemError, match="an operation 'mirror' that this lemtools does not know; a newer one wrote it"):
        list(reconstruct([back], "decode"))
    with pytest.raises(LemError, match="no operation 'mirror'"):
        list(fragment([PHOTO], [{"op": "mirror", "mirror": 1}]))


def diagonal(extent, fraction, rng, size):
    return ~np.eye(*extent, dtype=bool)


def test_a_toy_mask_shape():
    assert shows("diagonal", "fragment") == (False, False)
    with SHAPES.added(Row("diagonal", diagonal, "the diagonal", kinds=("image",))):
        assert shows("diagonal", "fragment") == (True, True)
        (broken,) = fragment([PHOTO], losses("--mask .1 --mask-shape diagonal"))
        back = through_a_stream(broken)
        assert np.array_equal(back.mask[1, 0], ~np.eye(8, dtype=bool)) and back.ops[0]["mask_shape"] == "diagonal"
        with pytest.raises(LemError, match="--mask-shape diagonal is for image, not embedding"):
            list(fragment([VECTORS], losses("--mask .1 --mask-shape diagonal")))
        with pytest.raises(LemError, match="--mask-shape diagonal:3: takes no size"):
            list(fragment([PHOTO], losses("--mask .1 --mask-shape diagonal:3")))
    assert shows("diagonal", "fragment") == (False, False)
    with pytest.raises(LemError, match="no mask shape 'diagonal'"):
        list(fragment([PHOTO], losses("--mask .1 --mask-shape diagonal")))


def cubic(bits: int, domain: str) -> np.ndarray:
    """Levels denser at the middle of the domain."""
    t = (np.arange(2**bits) + 0.5) / 2 ** (bits - 1) - 1
    t = t**3
    return {"uint8": np.rint(127.5 * (t + 1)), "unit": (t + 1) / 2, "signed": t, "gaussian": 3 * t}[domain]


TOY_QUANTISER = Row("cubic", cubic, "levels denser in the middle", facts={"most": 5})


@pytest.mark.parametrize("whole", [PHOTO, VECTORS], ids=["image", "embedding"])
def test_a_toy_quantiser(whole):
    assert shows("cubic", "fragment") == (False, False)
    with QUANTISERS.added(TOY_QUANTISER):
        assert shows("cubic", "fragment") == (True, True)
        (broken,) = fragment([whole], losses("--bits 4 --quantizer cubic"))
        back = through_a_stream(broken)
        assert np.array_equal(back.data, broken.data) and np.array_equal(back.codes, broken.codes)
        assert bits_per_element(back) == pytest.approx(4 if whole is PHOTO else 4 + 1)  # one float16 for 16 values
        unit = 1 if whole is PHOTO else np.sqrt(np.square(whole.data).mean(1, keepdims=True))
        levels = cubic(4, "uint8" if whole is PHOTO else "gaussian")
        nearest = np.abs(whole.data[..., None] / np.float64(1) - np.asarray(unit)[..., None] * levels).min(-1)
        assert np.abs(np.abs(back.data.astype(float) - whole.data) - nearest).max() <= (0.5 if whole is PHOTO else 2e-3)
        (recalled,) = reconstruct([back], method="decode")
        assert np.array_equal(recalled.data, back.data)
        with pytest.raises(LemError, match="--bits must lie in 1-5 with --quantizer cubic, not 6"):
            list(fragment([whole], losses("--bits 6 --quantizer cubic")))
        file = io.BytesIO()
        stream.write([broken], file)
    assert shows("cubic", "fragment") == (False, False)
    file.seek(0)
    with pytest.raises(LemError, match="unknown quantiser cubic"):
        list(stream.read(stream.Source(file, "x")))
    with pytest.raises(LemError, match=f"no quantiser 'cubic'; there are {', '.join(QUANTISERS)}"):
        list(fragment([whole], [{"op": "bits", "bits": 3, "quantizer": "cubic"}]))
