"""Quantisers against closed forms and published values; packing against its definition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lemtools import codes
from lemtools.fragment import apply
from lemtools.signal import LemError, Signal


def density(t):
    return np.where(np.isinf(t), 0.0, np.exp(-np.square(np.where(np.isinf(t), 0, t)) / 2) / math.sqrt(2 * math.pi))


def upper_tail(t):
    return np.array([math.erfc(v / math.sqrt(2)) / 2 for v in t])


def gaussian_error(levels, edges):
    """E (x - level)^2 for x ~ N(0, 1), in closed form over the bins."""
    a, b = edges[:-1], edges[1:]
    mass = upper_tail(a) - upper_tail(b)
    first = density(a) - density(b)
    xa, xb = (np.where(np.isinf(e), 0, e) * density(e) for e in (a, b))
    return float(np.sum(mass + xa - xb - 2 * levels * first + levels**2 * mass))


def gaussian_table(bits, quantizer):
    op = {"bits": bits, "quantizer": quantizer, "domain": "gaussian"}
    every = np.arange(2**bits, dtype=np.uint16)[None]
    low, high = (e[0].astype(np.float64) for e in codes.bounds(every, op))
    return codes.decode(every, op)[0].astype(np.float64), np.append(low, high[-1])


@pytest.mark.parametrize(
    "quantizer, published",
    [
        # distortion to 4 digits (Max 1960), beyond 4 bits as signal-to-noise in dB (Jayant & Noll 1984)
        ("lloyd-max", [0.3634, 0.1175, 0.0345, 0.0095, 26.01]),
        ("uniform", [0.3634, 0.1188, 0.0374, 0.0115, 24.57, 29.83]),
    ],
)
def test_error_on_a_gaussian_is_the_published_one(quantizer, published):
    for bits, value in enumerate(published, 1):
        error = gaussian_error(*gaussian_table(bits, quantizer))
        if bits <= 4:
            assert error == pytest.approx(value, abs=5.1e-5), bits
        else:
            assert -10 * math.log10(error) == pytest.approx(value, abs=0.006), bits


def test_closed_form_agrees_with_sampling_the_real_encoder():
    x = np.random.default_rng(0).standard_normal((4, 100_000)).astype(np.float32)
    for quantizer in ("uniform", "lloyd-max"):
        op = {"bits": 3, "quantizer": quantizer, "domain": "gaussian", "scale": np.ones(4, np.float32)}
        seen = np.mean((codes.decode(codes.encode(x, op), op) - x) ** 2)
        assert seen == pytest.approx(gaussian_error(*gaussian_table(3, quantizer)), rel=0.01)


@pytest.mark.parametrize("bits", range(1, 9))
def test_lloyd_max_levels_are_centroids_and_edges_midpoints(bits):
    levels = codes.lloyd_max_gaussian(bits)
    edges = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
    # on the positive half, where the tails lose no digits
    half = 2 ** (bits - 1)
    a, b = edges[half:-1], edges[half + 1 :]
    centroids = (density(a) - density(b)) / (upper_tail(a) - upper_tail(b))
    assert np.abs(levels[half:] - centroids).max() < 1e-9
    assert np.array_equal(levels, -levels[::-1]) and (np.diff(levels) > 0).all()
    assert np.abs(gaussian_table(bits, "lloyd-max")[1][1:-1] - edges[1:-1]).max() < 1e-6


@pytest.mark.parametrize("bits", range(1, 17))
def test_uniform_step_is_the_minimum(bits):
    def error(step):
        levels = (np.arange(2**bits) + 0.5 - 2 ** (bits - 1)) * step
        edges = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
        if bits <= 8:
            return gaussian_error(levels, edges)
        # above, the granular part is step^2 / 12 and the rest the tail beyond the last edge: nothing cancels
        t = edges[-2]
        tail = (1 + levels[-1] ** 2) * upper_tail([t])[0] + (t - 2 * levels[-1]) * density(t)
        return step**2 / 12 * (1 - 2 * upper_tail([t])[0]) + 2 * tail

    best = error(codes.UNIFORM_STEP[bits])
    assert best < error(codes.UNIFORM_STEP[bits] * 1.003) and best < error(codes.UNIFORM_STEP[bits] * 0.997)


@pytest.mark.parametrize("quantizer", ["uniform", "lloyd-max"])
def test_bins_of_8_bit_images_are_numbers_that_there_are(quantizer):
    x = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    for bits in (1, 3):
        levels = codes.fit_levels(x, bits, "uint8")[None] if quantizer == "lloyd-max" else None
        op = {"bits": bits, "quantizer": quantizer, "domain": "uint8", "levels": levels}
        low, high = codes.bounds(codes.encode(x, op), op)
        assert low.min() == 0 and high.max() == 255
        every = sorted({(a, b) for a, b in zip(low.ravel().tolist(), high.ravel().tolist())})
        assert [a for a, _ in every[1:]] == [b + 1 for _, b in every[:-1]]  # side by side


def test_lloyd_max_approaches_the_companding_limit_from_below():
    # Panter & Dite 1951: sqrt(3) pi / 2 / 4^bits
    errors = [gaussian_error(*gaussian_table(b, "lloyd-max")) * 4**b for b in range(1, 11)]
    limits = np.array(errors) / (math.sqrt(3) * math.pi / 2)
    assert (np.diff(limits) > 0).all() and 0.96 < limits[5] and 0.99 < limits[7] and limits[9] < 1


@given(st.integers(1, 16), st.integers(0, 400), st.integers(0, 2**32))
def test_pack_is_the_bits_in_order_and_unpack_its_inverse(bits, count, seed):
    values = np.random.default_rng(seed).integers(0, 2**bits, count).astype(np.uint8 if bits <= 8 else np.uint16)
    packed = codes.pack(values, bits)
    text = "".join(f"{v:0{bits}b}" for v in values)
    text += "0" * (-len(text) % 8)
    assert packed.tobytes() == bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
    assert len(packed) == codes.packed_size(count, bits)
    back = codes.unpack(packed, count, bits)
    assert back.dtype == values.dtype and np.array_equal(back, values)


@pytest.mark.parametrize("bits", [1, 3, 7, 8, 11, 16])
def test_pack_over_several_blocks(bits):
    count = 2 * codes.packing._BLOCK + 13
    values = np.random.default_rng(bits).integers(0, 2**bits, count).astype(np.uint8 if bits <= 8 else np.uint16)
    packed = codes.pack(values, bits)
    assert len(packed) == -(-count * bits // 8)
    assert np.array_equal(codes.unpack(packed, count, bits), values)
    at = codes.packing._BLOCK + 5  # a code in the second block lies where the definition says
    window = int.from_bytes(packed[at * bits // 8 : at * bits // 8 + 4].tobytes().ljust(4, b"\0"), "big")
    assert window >> (32 - bits - at * bits % 8) & (2**bits - 1) == values[at]


def test_uint8_keeps_the_top_bits_and_decodes_to_mid_bin():
    v = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    for bits in range(1, 17):
        out = apply(Signal("image", v), {"op": "bits", "bits": bits})
        shift = max(8 - bits, 0)
        assert np.array_equal(out.codes, v >> shift) and out.codes.dtype == np.uint8
        assert np.array_equal(out.data, (v >> shift << shift) + (1 << shift >> 1)) and out.data.dtype == np.uint8
        low, high = codes.bounds(out.codes, out.code_op)
        assert np.array_equal(low, v >> shift << shift) and np.array_equal(high - low + 1, np.full(v.shape, 1 << shift))
        assert out.code_op["bits"] == min(bits, 8)  # 8-bit values have no more


KINDS = [
    ("image", np.uint8, "full"),
    ("image", np.float32, "full"),
    ("audio", np.float32, "full"),
    ("audio", np.float32, "peak"),
    ("audio", np.float32, "rms"),
    ("embedding", np.float32, "rms"),
    ("embedding", np.float32, "peak"),
    ("embedding", np.float16, "rms"),
    ("embedding", np.float64, "rms"),
    ("embedding", np.float64, "peak"),
]
DIMS = {"image": (1, 5, 7), "audio": (2, 35), "embedding": (70,)}


def memories(kind, dtype, seed, magnitude):
    rng = np.random.default_rng(seed)
    shape = (5, *DIMS[kind])
    if dtype == np.uint8:
        x = rng.integers(0, 256, shape)
    elif kind == "image":
        x = rng.random(shape)
        x.reshape(5, -1)[0, :9] = np.arange(9) / 8  # on the edges of bins
    elif kind == "audio":
        x = rng.uniform(-1, 1, shape)
        x.reshape(5, -1)[0, :9] = np.linspace(-1, 1, 9)
        x.reshape(5, -1)[0, 9:12] = -1e-30, 1e-45, -0.0
    else:
        x = rng.standard_normal(shape) * magnitude
        x[0, 1:] *= 1e-4
        x[1, ::2] = np.round(x[1, ::2] / magnitude) * magnitude
        x[1, 1] = -1e-30 * magnitude
    x[-1] = 0
    return x.astype(dtype)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(["uniform", "lloyd-max"]),
    st.sampled_from([1, 2, 3, 5, 8, 11, 16, (1, 6)]),
    st.integers(0, 999),
    st.sampled_from([1.0, 1e30, 1e-30, 1e-42, 3.7e-5, 60000.0]),
)
def test_the_original_lies_inside_its_bin(kind, quantizer, bits, seed, magnitude):
    name, dtype, scale = kind
    if dtype == np.float16 and not 1e-6 < magnitude < 1e4:
        magnitude = 1.0
    whole = Signal(name, memories(name, dtype, seed, magnitude), rate=8000.0 if name == "audio" else None)
    spec = {"op": "bits", "bits": bits, "quantizer": quantizer, "scale": scale}
    if quantizer == "lloyd-max" and np.max(bits) > 8 and scale != "rms" and dtype != np.uint8:
        with pytest.raises(LemError, match="at most 8 bits"):
            apply(whole, spec)
        return
    out = apply(whole, spec, seed)
    low, high = codes.bounds(out.codes, out.code_op)
    x = whole.data.astype(np.float64)
    assert (low <= x).all() and (x <= high).all()
    assert (low <= out.data).all() and (out.data <= high).all()
    assert np.isfinite(out.data).all()
    again = codes.encode(out.data, out.code_op)
    assert np.array_equal(codes.decode(again, out.code_op), out.data)
    if name != "image":
        assert not out.data[-1].any() or scale == "full"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**32), st.sampled_from(["any", "few", "skew", "constant"]))
def test_fitted_lloyd_max_is_never_worse_than_uniform(bits, seed, shape):
    rng = np.random.default_rng(seed)
    v = (
        {
            "any": lambda: rng.integers(0, 256, 300),
            "few": lambda: rng.choice(rng.integers(0, 256, 5), 300),
            "skew": lambda: np.clip(rng.gamma(1, 20, 300), 0, 255),
            "constant": lambda: np.full(300, rng.integers(0, 256)),
        }[shape]()
        .astype(np.uint8)
        .reshape(1, 1, 15, 20)
    )
    errors = {}
    for quantizer in ("uniform", "lloyd-max"):
        out = apply(Signal("image", v), {"op": "bits", "bits": bits, "quantizer": quantizer})
        errors[quantizer] = np.mean((out.data.astype(float) - v) ** 2)
    assert errors["lloyd-max"] <= errors["uniform"]
    if shape == "constant":
        assert errors["lloyd-max"] == 0


def test_fitted_levels_of_a_known_mixture():
    # two spikes and one bit: the levels are the spikes
    x = np.repeat([0.125, 0.75], [300, 100]).astype(np.float32)
    assert np.allclose(codes.fit_levels(x, 1, "unit"), [0.125, 0.75], atol=2e-4)
    assert np.array_equal(codes.fit_levels(np.repeat([3, 250], [7, 9]).astype(np.uint8), 1, "uint8"), [3, 250])


def test_bits_per_item():
    x = np.random.default_rng(1).standard_normal((4, 300)).astype(np.float32)
    op = {
        "bits": np.array([1, 3, 9, 16], np.uint8),
        "quantizer": "uniform",
        "domain": "gaussian",
        "scale": np.array([1, 2, 1, 0.5], np.float32),
    }
    together = codes.decode(codes.encode(x, op), op)
    for i in range(4):
        alone = {**op, "bits": int(op["bits"][i]), "scale": op["scale"][i : i + 1]}
        assert np.array_equal(codes.decode(codes.encode(x[i : i + 1], alone), alone)[0], together[i])


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 7, 8, 11, 16])
@pytest.mark.parametrize("count, dims", [(0, 5), (1, 1), (9, 5), (3, 8), (70, 1001)])
def test_rows_are_packed_one_by_one(bits, count, dims):
    rows = np.random.default_rng(bits).integers(0, 2**bits, (count, dims)).astype(np.uint8 if bits <= 8 else np.uint16)
    packed = codes.pack_rows(rows, bits)
    assert packed.dtype == np.uint8 and packed.shape == (count, codes.packed_size(dims, bits))
    assert all((one == codes.pack(row, bits)).all() for one, row in zip(packed, rows, strict=True))
    back = codes.unpack_rows(packed, dims, bits)
    assert back.dtype == rows.dtype and back.shape == rows.shape and (back == rows).all()
