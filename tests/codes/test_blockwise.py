"""Quantisers that scale blocks: by their definitions, value by value, and NF4 against the numbers of its paper."""

import math

import numpy as np
import pytest

from lemtools import codes
from lemtools.catalogue.operations import QUANTISERS
from lemtools.codes.blockwise import along, in_blocks, nf4
from lemtools.fragment import fragment
from lemtools.fragment.evidence import bin_std, evidence
from lemtools.signal import LemError, Signal, bits_per_element, from_tensors, to_tensors

RNG = np.random.default_rng(3)
# Dettmers et al. 2023, appendix E
PAPER = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip
EVERY = [("absmax", b) for b in (2, 3, 4, 8, 12)] + [("zero-point", b) for b in (1, 2, 4, 8)] + [("nf4", 4)]


def broken(x, **spec):
    (out,) = fragment([Signal("embedding", x)], [{"op": "bits", **spec}])
    return out


def test_nf4_has_the_numbers_of_its_paper():
    assert np.abs(nf4(4, "signed") - PAPER).max() < 1e-6


def up(value: float) -> float:
    """The least float16 at or above a value."""
    small = np.float16(value)
    return float(small if float(small) >= value else np.nextafter(small, np.float16(np.inf)))


def definition(block: np.ndarray, quantizer: str, bits: int) -> np.ndarray:
    """A block quantised as the literature says it, a value at a time."""
    if quantizer == "zero-point":
        low, span = min(float(block.min()), 0.0), up(float(np.float64(max(block.max(), 0)) - min(block.min(), 0)))
        step = span / (2**bits - 1)
        zero = round(-low / step)
        return np.array([(min(max(round(float(v) / step) + zero, 0), 2**bits - 1) - zero) * step for v in block])
    scale = up(float(np.abs(block).max()))
    most = 2 ** (bits - 1) - 1
    levels = PAPER if quantizer == "nf4" else [k / most for k in range(-most, most + 1)]
    return np.array([min((abs(v / scale - level), level) for level in levels)[1] * scale for v in map(float, block)])


@pytest.mark.parametrize(("quantizer", "bits"), EVERY)
@pytest.mark.parametrize(("dims", "block"), [(64, 16), (50, 16), (7, 64)])
def test_values_are_those_of_the_definition(quantizer, bits, dims, block):
    x = RNG.normal(size=(6, dims)).astype(np.float32) * np.float32(0.05)
    x[1] += 0.2  # all on one side
    out = broken(x, bits=bits, quantizer=quantizer, block=block)
    for row, made in zip(x, out.data):
        for at in range(0, dims, block):
            wanted = definition(row[at : at + block], quantizer, bits)
            assert np.abs(made[at : at + block] - wanted).max() < 1e-6


@pytest.mark.parametrize(("quantizer", "bits"), EVERY)
def test_zeros_stay_zeros(quantizer, bits):
    x = RNG.normal(size=(3, 96)).astype(np.float32)
    x[:, ::7] = 0
    x[1, :64] = 0
    out = broken(x, bits=bits, quantizer=quantizer)
    assert (out.data[x == 0] == 0).all()


@pytest.mark.parametrize(("quantizer", "bits"), EVERY)
def test_errors_are_at_most_half_a_step(quantizer, bits):
    x = RNG.normal(size=(50, 128)).astype(np.float32)
    out = broken(x, bits=bits, quantizer=quantizer)
    each = in_blocks(x, 64)
    if quantizer == "zero-point":  # the ends may be one half step beyond, as 0 has a whole code
        step = (np.maximum(each.max(-1), 0) - np.minimum(each.min(-1), 0)) / (2**bits - 1)
    else:
        gap = np.diff(nf4(4, "signed")).max() if quantizer == "nf4" else 1 / (2 ** (bits - 1) - 1)
        step = np.abs(each).max(-1) * gap
    assert (np.abs(out.data - x) <= along(step, 64, 128) * 0.5005).all()


def test_of_absmax_values_are_symmetric():
    x = RNG.normal(size=(20, 64)).astype(np.float32)
    one, two = (broken(sign * x, bits=3, quantizer="absmax").data for sign in (1, -1))
    assert (one == -two).mean() > 0.999  # but half way between two levels


@pytest.mark.parametrize(("quantizer", "bits"), EVERY)
def test_cost_counts_the_scales(quantizer, bits):
    """16 bits a scale of 64 values, and 8 for the code of 0."""
    out = broken(RNG.normal(size=(4, 640)).astype(np.float32), bits=bits, quantizer=quantizer)
    assert bits_per_element(out) == pytest.approx(bits + (16 + 8 * (quantizer == "zero-point")) / 64)
    out = broken(RNG.normal(size=(4, 384)).astype(np.float32), bits=bits, quantizer=quantizer, block=32)
    assert bits_per_element(out) == pytest.approx(bits + (16 + 8 * (quantizer == "zero-point")) / 32)


@pytest.mark.parametrize(("quantizer", "bits"), [*EVERY, ("uniform", 3), ("lloyd-max", 2)])
@pytest.mark.parametrize("shape", [(5, 70), (3, 4, 70)])
def test_what_travels_is_what_was_made(quantizer, bits, shape):
    out = broken(RNG.normal(size=shape).astype(np.float32), bits=bits, quantizer=quantizer, block=16)
    tensors, meta = to_tensors(out)
    back = from_tensors({name: array for name, (_, array) in tensors.items()}, meta)
    assert (back.data == out.data).all() and (back.codes == out.codes).all()
    assert bits_per_element(back) == pytest.approx(bits_per_element(out))
    assert back.ops[0]["block"] == 16


@pytest.mark.parametrize(("quantizer", "bits"), EVERY)
def test_bins_hold_the_values(quantizer, bits):
    """All of them where 0 has no code of its own; else those that were not clipped to the ends."""
    x = RNG.normal(size=(30, 100)).astype(np.float32)
    said = evidence(broken(x, bits=bits, quantizer=quantizer))
    inside = (said.low <= x) & (x <= said.high)
    assert inside.mean() >= ((0.4 if bits == 1 else 0.9) if quantizer == "zero-point" else 1)
    assert (said.hold(x) == np.clip(x, said.low, said.high)).all()


def test_a_block_of_its_own_has_the_error_of_its_own_scale():
    """Lloyd-Max by blocks of alike values is better than by rows, where blocks differ in size, as the closed form says."""
    x = RNG.normal(size=(200, 128)).astype(np.float32)
    x[:, :64] *= 10
    rows, by = (broken(x, bits=2, quantizer="lloyd-max", **more) for more in ({}, {"block": 64}))
    errors = [((out.data - x)[:, 64:] ** 2).mean() for out in (rows, by)]
    assert errors[1] == pytest.approx(codes.scalar.distortion(2, "lloyd-max"), rel=0.06)
    assert errors[0] > 3 * errors[1]


def test_noise_of_bins_grows_with_the_scales():
    x = RNG.normal(size=(4, 128)).astype(np.float32)
    one, two = (broken(k * x, bits=4, quantizer="absmax") for k in (1, 4))
    ratio = bin_std(two.ops[0], 4) / bin_std(one.ops[0], 4)
    assert ratio == pytest.approx(4, rel=1e-2)


def test_lost_places_do_not_set_the_scale():
    x = RNG.normal(size=(2, 64)).astype(np.float32)
    x[:, 3] = 1000
    mask = np.ones(x.shape, bool)
    mask[:, 3] = False
    for quantizer in ("absmax", "zero-point"):
        (out,) = fragment([Signal("embedding", x, mask)], [{"op": "bits", "bits": 4, "quantizer": quantizer}])
        assert (out.ops[0]["scale"] < 10).all() and (out.data[:, 3] == 0).all()


def test_fewer_bits_again():
    """Of codes that were there a block keeps its scale; what has as few bits stays as it is."""
    x = RNG.normal(size=(5, 128)).astype(np.float32)
    for quantizer in ("absmax", "zero-point"):
        first = broken(x, bits=8, quantizer=quantizer)
        (second,) = fragment([first], [{"op": "bits", "bits": 4, "quantizer": quantizer}])
        (same,) = fragment([first], [{"op": "bits", "bits": 8, "quantizer": quantizer}])
        assert (same.data == first.data).all()
        assert (np.abs(second.data - broken(x, bits=4, quantizer=quantizer).data) > 1e-2).mean() < 0.1
        said = evidence(second)
        assert ((said.low <= x) & (x <= said.high)).mean() > 0.95


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("embedding", {"bits": 1, "quantizer": "absmax"}, "--bits must lie in 2-16 with --quantizer absmax, not 1"),
        ("embedding", {"bits": 3, "quantizer": "nf4"}, "--bits must be 4 with --quantizer nf4, not 3"),
        ("embedding", {"bits": 9, "quantizer": "zero-point"}, "--bits must lie in 1-8 with --quantizer zero-point"),
        ("embedding", {"bits": 4, "quantizer": "nf4", "rotate": True}, "--quantizer nf4 scales blocks; --rotate"),
        ("embedding", {"bits": 2, "quantizer": "trellis", "block": 8}, "--block scales parts of a vector; --rotate"),
        ("embedding", {"bits": 4, "quantizer": "absmax", "scale": "rms"}, "absmax is scaled by the peak of each block"),
        ("image", {"bits": 4, "quantizer": "absmax"}, "--quantizer absmax is for embedding"),
        ("image", {"bits": 4, "block": 8}, "--block is for embeddings, not image"),
    ],
)
def test_refused(kind, spec, message):
    x = np.ones((2, 16), np.float32) if kind == "embedding" else np.zeros((1, 1, 8, 8), np.uint8)
    with pytest.raises(LemError, match=message):
        list(fragment([Signal(kind, x)], [{"op": "bits", **spec}]))


@pytest.mark.parametrize(
    "change",
    [
        {"block": 8},
        {"block": 0},
        {"block": "16"},
        {"block": None},
        {"zero": None},
        {"zero": np.zeros((5, 4), np.uint8)},
        {"zero": np.zeros((5, 5), np.int64)},
        {"scale": np.ones(5, np.float32)},
        {"scale": np.full((5, 5), np.nan, np.float32)},
        {"quantizer": "uniform"},
        {"quantizer": "absmax", "domain": "signed"},
        {"bits": 9},
    ],
)
def test_damaged_documents_are_refused(change):
    out = broken(RNG.normal(size=(5, 70)).astype(np.float32), bits=4, quantizer="zero-point", block=16)
    out.ops[0].update(change)
    tensors, meta = to_tensors(out)
    with pytest.raises(LemError):
        from_tensors({name: array for name, (_, array) in tensors.items()}, meta)


def test_the_rows_say_what_they_take():
    for name in ("absmax", "zero-point", "nf4"):
        row = QUANTISERS[name]
        for bits in range(row.least, min(row.most, 8) + 1):
            levels = row.load()(bits, row.domains[0])
            assert levels.shape == (2**bits,) and (np.diff(levels) >= 0).all()
            assert math.isclose(levels[-1], 1) and levels[0] == (0 if name == "zero-point" else -1)
