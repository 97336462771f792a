"""Embeddings coded as whole vectors: the trellis, its encoders, the rotation; how such fragments travel and return."""

import itertools
import json
import subprocess
import sys
import zlib
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from helpers.commands import lem_fork
from lemtools import codes
from lemtools.codes import hadamard, trellis
from lemtools.fragment import apply, fragment
from lemtools.fragment.evidence import evidence
from lemtools.reconstruct import reconstruct
from lemtools.signal import LemError, Signal, bits_per_element, from_tensors, to_tensors

# what fragments already written decode by
TABLES = {1: 1710237181, 2: 2585509597, 3: 1955793504, 4: 3470489842, 5: 3530296288, 6: 2996421980}
SIGNS = [1, -1, -1, -1, 1, 1, 1, -1, 1, -1, 1, -1]
LLOYD_MAX = {1: 0.3634, 2: 0.1175, 3: 0.0345, 4: 0.0095}


def gaussian(count, dims, seed=0):
    return np.random.default_rng(seed).standard_normal((count, dims)).astype(np.float32)


def broken(x, seed=0, **spec):
    return apply(Signal("embedding", x), {"op": "bits", **spec}, seed)


def sent(signal):
    tensors, meta = to_tensors(signal)
    return from_tensors({k: v for k, (_, v) in tensors.items()}, json.loads(json.dumps(meta)))


def nmse(x, y):
    return np.mean(np.square(x - y, dtype=np.float64).sum(-1) / np.square(x, dtype=np.float64).sum(-1))


# --- the code


@pytest.mark.parametrize("bits, length", [(1, 11), (2, 7), (2, 128), (3, 70), (5, 6), (6, 40)])
def test_a_value_is_the_table_at_the_last_bits_of_the_code_round_the_end(bits, length):
    code = np.random.default_rng(bits).integers(0, 2**bits, (3, length)).astype(np.uint8)
    states = trellis.state_bits(bits, length)
    table, out = trellis.table(bits, states), trellis.decode(code, bits)
    for row, values in zip(code, out):
        text = "".join(f"{c:0{bits}b}" for c in row)
        for t in range(length):
            end = (t + 1) * bits
            assert values[t] == table[int((text + text)[end - states + len(text) : end + len(text)][-states:], 2)]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6])
def test_the_table_holds_every_quantile_once_and_branches_spread_over_it(bits):
    table = trellis.table(bits)
    spread = NormalDist(0, {1: 0.88, 2: 0.98, 3: 1.0}.get(bits, 1.05))
    quantiles = np.array([spread.inv_cdf((k + 0.5) / 2**16) for k in range(2**16)])
    assert np.abs(np.sort(table) - quantiles).max() < 2e-6 and len(np.unique(table)) == 2**16
    # the 2^b states that follow a state, and those before one, lie one in each of 2^b equal parts of the table
    part = (np.argsort(np.argsort(table, kind="stable"), kind="stable") >> 16 - bits).reshape(2**bits, -1, 2**bits)
    assert (np.sort(part, axis=0) == np.arange(2**bits)[:, None, None]).all()
    assert (np.sort(part, axis=2) == np.arange(2**bits)).all()


def test_the_table_is_what_it_was_when_fragments_were_written():
    steps = {bits: np.rint(trellis.table(bits).astype(np.float64) * 2**18).astype("<i4") for bits in TABLES}
    assert {bits: zlib.crc32(step.tobytes()) for bits, step in steps.items()} == TABLES


def test_codes_bite_their_tail():
    code = np.random.default_rng(0).integers(0, 4, (2, 100)).astype(np.uint8)
    for turn in (1, 37):
        assert np.array_equal(trellis.decode(np.roll(code, turn, 1), 2), np.roll(trellis.decode(code, 2), turn, 1))


# --- the encoders


def test_the_walk_finds_what_exhaustive_search_finds():
    # 10 samples of 1 bit, states of 4: of all 1024 codes, by the bits that cross the seam, the best
    states, x = 4, gaussian(3, 10)
    values = trellis.branches(1, states)
    every = np.array(list(itertools.product((0, 1), repeat=10)), np.uint8)
    window = sum(np.roll(every, back, 1).astype(int) << back for back in range(states)) & 15
    table = trellis.table(1, states)
    kept = window[:, -1] & 7
    for row in x:
        error = np.square(table[window] - row).sum(1)
        for crossing in range(8):
            errors = np.full((11, 8), np.inf, np.float32)
            errors[0, crossing] = 0
            trellis._forward(row, values, errors)
            code, path = trellis._back(row, values, errors, crossing)
            best = error[kept == crossing].min()
            assert errors[10, crossing] == pytest.approx(best, rel=1e-5) and path[0] == crossing
            assert np.array_equal(code, every[kept == crossing][error[kept == crossing].argmin()])


def test_the_free_walk_is_the_best_of_all_starts():
    values, x = trellis.branches(2, 6), gaussian(1, 5, 3)[0]
    table = trellis.table(2, 6)
    free = np.zeros((6, 16), np.float32)
    trellis._forward(x, values, free)
    best = np.inf
    for start in range(16):
        for code in itertools.product(range(4), repeat=5):
            state, error = start, 0.0
            for c, sample in zip(code, x):
                state = (state << 2 | c) & 63
                error += (table[state] - sample) ** 2
            best = min(best, error)
    assert free[5].min() == pytest.approx(best, rel=1e-5)


def test_what_the_encoder_found_is_near_the_best_of_all_codes():
    # the shorter the code, the more the choice of the bits across the seam matters, which is not searched
    x = gaussian(40, 8, 5)
    every = np.array(list(itertools.product(range(4), repeat=8)), np.uint8)
    values = trellis.decode(every, 2)
    best = np.array([np.square(values - row).sum(1).min() for row in x])
    found = np.square(trellis.decode(trellis.viterbi(x, 2), 2) - x).sum(1)
    assert (found >= best * (1 - 1e-5)).all() and found.mean() < 1.5 * best.mean()


@pytest.mark.parametrize("bits, length, count", [(1, 40, 11), (2, 128, 3), (3, 66, 3), (2, 2, 9), (4, 9, 9), (6, 5, 4)])
def test_torch_finds_the_codes_that_numpy_finds(bits, length, count):
    from lemtools.vq.viterbi import searcher

    x = gaussian(count, length, 7)
    assert np.array_equal(searcher("cpu")(x, bits), trellis.viterbi(x, bits))


KERNEL = """
import numpy as np
from lemtools.codes import trellis
from lemtools.vq.viterbi import searcher
for bits, length, count, order in ((2, 6, 5, "C"), (1, 9, 17, "F")):
    x = np.random.default_rng(0).standard_normal((count, length)).astype(np.float32, order=order)
    print(np.array_equal(searcher("cpu", fused=True)(x, bits), trellis.viterbi(x, bits)))
"""


def test_the_kernels_find_the_codes_that_numpy_finds():
    pytest.importorskip("triton")
    import os

    done = subprocess.run(
        [sys.executable, "-c", KERNEL],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.split() == ["True"] * 2, done.stderr[-500:]


@pytest.mark.parametrize("bits, most", [(1, 0.28), (2, 0.070), (3, 0.0182)])
def test_error_at_128_dimensions(bits, most):
    x = gaussian(48, 128)
    each = np.square(trellis.decode(trellis.viterbi(x, bits), bits) - x).mean(1)
    assert each.mean() < most and each.mean() > 4.0**-bits
    assert each.mean() == pytest.approx(trellis.distortion(bits), abs=4 * float(each.std()) / 48**0.5)


def test_long_vectors_are_coded_in_pieces():
    assert [s.stop - s.start for s in trellis.pieces(2500)] == [833, 833, 834] and len(trellis.pieces(1024)) == 1
    code = np.random.default_rng(0).integers(0, 4, (2, 2048)).astype(np.uint8)
    halves = [trellis.decode(code[:, s], 2) for s in (slice(0, 1024), slice(1024, 2048))]
    assert np.array_equal(trellis.decode(code, 2), np.concatenate(halves, 1))


# --- the rotation


@pytest.mark.parametrize("dims", [1, 2, 3, 5, 12, 100, 128, 384])
def test_rotation_is_orthogonal_seeded_and_turned_back(dims):
    matrix = hadamard.rotate(np.eye(dims, dtype=np.float32), 4).astype(np.float64)
    assert np.abs(matrix @ matrix.T - np.eye(dims)).max() < 2e-6
    x = gaussian(7, dims, 1)
    assert np.abs(hadamard.rotate(x, 4) - x @ matrix).max() < 1e-5
    assert np.abs(hadamard.rotate(hadamard.rotate(x, 4), 4, inverse=True) - x).max() < 1e-5
    if dims > 10:
        assert np.abs(hadamard.rotate(x, 5) - hadamard.rotate(x, 4)).max() > 0.1
        assert np.abs(matrix).max() < 5 / dims**0.5  # an axis is spread over all


def test_transform_is_the_hadamard_matrix():
    k = np.arange(16)
    parity = np.array([[bin(i & j).count("1") & 1 for j in k] for i in k])
    x = np.eye(16, dtype=np.float32)
    hadamard._transform(x)
    assert np.array_equal(x, (1 - 2 * parity) / 4)


@pytest.mark.parametrize("way", [{"quantizer": "trellis", "rotate": None}, {"quantizer": "lloyd-max", "rotate": 5}])
def test_many_vectors_are_coded_as_few_are(way, monkeypatch):
    x = gaussian(11, 32)
    op = {"bits": 2, "domain": "gaussian", "scale": np.ones(11, np.float32), **way}
    at_once = codes.encode(x, op)
    values = codes.decode(at_once, op)
    monkeypatch.setattr(codes, "_STEP", 3 * 32)  # three vectors at a time
    assert np.array_equal(codes.encode(x, op), at_once) and np.array_equal(codes.decode(at_once, op), values)


def test_rotation_is_what_it_was_when_fragments_were_written():
    assert np.sign(hadamard.rotate(np.eye(12, dtype=np.float32), 0)[0]).tolist() == SIGNS


@pytest.mark.parametrize("dims", [128, 100, 384])
def test_rotated_lloyd_max_reaches_its_row_whatever_the_spectrum(dims):
    for slope, room in ((0, 0.03), (1, 0.04)):
        x = gaussian(1500, dims) * np.arange(1, dims + 1, dtype=np.float32) ** (-slope / 2)
        for bits, row in LLOYD_MAX.items():
            seen = nmse(x, broken(x, bits=bits, quantizer="lloyd-max", rotate=True).data)
            assert abs(seen / row - 1) < room, (dims, slope, bits, seen)
    assert nmse(x, broken(x, bits=3, quantizer="lloyd-max").data) > 3 * row


@pytest.mark.parametrize("quantizer", ["uniform", "lloyd-max"])
def test_distortion_of_a_gaussian_in_closed_form(quantizer):
    x = gaussian(1, 200_000).reshape(1, -1)
    for bits in (1, 3, 6):
        op = {"bits": bits, "quantizer": quantizer, "domain": "gaussian", "scale": np.ones(1, np.float32)}
        seen = np.square(codes.decode(codes.encode(x, op), op) - x).mean()
        assert codes.distortion(op) == pytest.approx(seen, rel=0.02)


# --- how they travel


WAYS = {
    "trellis": {"quantizer": "trellis"},
    "trellis, rotated": {"quantizer": "trellis", "rotate": True},
    "Lloyd-Max, rotated": {"quantizer": "lloyd-max", "rotate": True},
    "uniform, rotated": {"quantizer": "uniform", "rotate": True},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(5, 24), (3, 4, 33)])
def test_fragments_travel_at_their_own_depth(way, shape):
    x = gaussian(int(np.prod(shape[:-1])), shape[-1]).reshape(shape)
    x *= np.arange(1, shape[-2] + 1, dtype=np.float32)[:, None]
    for bits in (3, (1, 4)):
        out = broken(x, bits=bits, seed=3, **WAYS[way])
        got = sent(out)
        assert np.array_equal(got.data, out.data) and np.array_equal(got.codes, out.codes)
        assert got.ops[0].get("rotate") == (3 if "rotated" in way else None)
        depth = np.broadcast_to(np.asarray(out.ops[0]["bits"]), len(x))
        vectors, count = int(np.prod(shape[1:-1])), int(np.prod(shape[1:]))
        tensors, drawn = to_tensors(out)[0], 8 if bits == (1, 4) else 0
        assert tensors["ops.0.scale"][0] == "F16" and tensors["ops.0.scale"][1].shape == shape[:-1]
        cost = -(-count * depth.astype(int) // 8) * 8 + 16 * vectors + drawn
        assert np.array_equal(bits_per_element(got), cost / count)
        if bits == 3:  # every vector at its own norm
            error = np.square(x - got.data).sum(-1) / np.square(x).sum(-1)
            assert error.max() < 0.2


def test_trellis_costs_the_bits_and_a_norm():
    assert bits_per_element(broken(gaussian(2, 128), bits=2, quantizer="trellis"))[0] == 2.125


def test_values_are_the_table_turned_back_times_the_norm():
    x = gaussian(4, 20) * 3
    out = broken(x, bits=2, seed=9, quantizer="trellis", rotate=True)
    scale = np.sqrt(np.square(x).mean(1)).astype(np.float16).astype(np.float32)[:, None]
    turned = hadamard.rotate((x / scale).astype(np.float32), 9)
    assert np.array_equal(out.codes, trellis.viterbi(turned, 2))
    again = hadamard.rotate(trellis.decode(out.codes, 2), 9, inverse=True) * scale
    assert np.array_equal(out.data, again)


def test_bytes_do_not_depend_on_batches_or_shards():
    x = gaussian(7, 36)
    whole = Signal("embedding", x)
    for spec in WAYS.values():
        spec = {"op": "bits", "bits": (1, 3), **spec}
        (one,) = fragment([whole], [spec], seed=5)
        for parts in ([[0, 1, 2], [3, 4, 5, 6]], [[i] for i in range(7)], [[6, 2]]):
            for part in parts:
                (some,) = fragment([whole.take(part)], [spec], seed=5)
                assert np.array_equal(some.codes, one.codes[part]) and np.array_equal(some.data, one.data[part])


@pytest.mark.parametrize("way", WAYS)
def test_zero_vectors_come_back_zero(way):
    x = gaussian(4, 30)
    x[2] = 0
    out = sent(broken(x, bits=2, **WAYS[way]))
    assert not out.data[2].any() and out.data[3].any() and np.isfinite(out.data).all()
    low, high = codes.bounds(out.codes, out.code_op)
    assert not low[2].any() and not high[2].any() and np.isposinf(high[[0, 1, 3]]).all() and np.isneginf(low[0]).all()


@pytest.mark.parametrize(
    "spec, signal, message",
    [
        ({"quantizer": "trellis"}, Signal("image", np.zeros((1, 1, 4, 4), np.uint8)), "is for embeddings"),
        ({"rotate": True}, Signal("audio", np.zeros((1, 1, 9), np.float32), rate=8.0), "is for embeddings"),
        ({"quantizer": "trellis", "scale": "peak"}, Signal("embedding", gaussian(2, 8)), "--scale rms"),
        ({"quantizer": "trellis", "bits": 7}, Signal("embedding", gaussian(2, 8)), "must lie in 1-6"),
        ({"quantizer": "trellis"}, Signal("embedding", gaussian(2, 1)), "2 dimensions"),
        (
            {"rotate": True},
            apply(Signal("embedding", gaussian(2, 8)), {"op": "mask", "mask": 0.5}),
            "put the --mask after",
        ),
        ({"rotate": True}, broken(gaussian(2, 8), bits=4), "cannot be quantised"),
        ({"quantizer": "uniform"}, broken(gaussian(2, 8), bits=4, rotate=True), "cannot be quantised"),
    ],
)
def test_refused(spec, signal, message):
    with pytest.raises(LemError, match=message):
        apply(signal, {"op": "bits", "bits": 2, **spec})


def test_no_fewer_bits_leave_a_fragment_as_it_is():
    out = broken(gaussian(2, 8), bits=2, quantizer="trellis", rotate=True)
    again = apply(out, {"op": "bits", "bits": 3, "quantizer": "trellis", "rotate": True})
    assert np.array_equal(again.codes, out.codes) and np.array_equal(sent(again).data, out.data)


@pytest.mark.parametrize(
    "change",
    [
        {"domain": "unit"},
        {"rotate": -1},
        {"rotate": True},
        {"rotate": "x"},
        {"bits": 7},
        {"scale": None},
        {"scale": np.ones((2, 8), np.float32)},
        {"quantizer": "magic"},
        {"scale": np.full(2, np.nan, np.float32)},
    ],
)
def test_a_damaged_record_is_told(change):
    out = broken(gaussian(2, 16), bits=2, quantizer="trellis", rotate=True)
    with pytest.raises(LemError, match="damaged|unknown quantiser"):
        sent(replace(out, ops=[{**out.ops[0], **change}]))


# --- what is known, and how they come back


def test_what_follows_makes_values_of_codes():
    out = broken(gaussian(3, 16), bits=2, quantizer="trellis", rotate=True)
    for spec in (
        {"op": "mask", "mask": 0.5},
        {"op": "keep-dims", "keep": 5},
        {"op": "crop", "crop": "4"},
        {"op": "noise", "sigma": 0.1},
    ):
        less = apply(out, spec)
        got = sent(less)
        assert got.codes is None and np.array_equal(got.data, less.data)
        (whole,) = reconstruct([got])
        assert whole.data.shape == (3, 16)
    masked = sent(apply(out, {"op": "mask", "mask": 0.5}))
    assert np.array_equal(masked.data, out.data * masked.mask) and bits_per_element(masked)[0] > 16


@pytest.mark.parametrize("way", WAYS)
def test_evidence_is_noise_of_the_size_that_there_is(way):
    x = gaussian(200, 64) * 5
    out = broken(x, bits=2, **WAYS[way])
    known = evidence(out)
    assert np.array_equal(known.value, out.data) and known.observed.all() and not known.width.any()
    assert (np.abs(x - out.data) ** 2).mean() == pytest.approx(np.square(known.sigma).mean(), rel=0.1)
    assert np.array_equal(known.hold(x), x)  # no bin holds a value


def test_methods_give_the_centroid_say_why_not_or_take_it_for_noise():
    x = gaussian(20, 32)
    out = broken(x, bits=3, quantizer="trellis", rotate=True)
    for method in ("auto", "decode", "smooth", "inpaint"):
        (whole,) = reconstruct([out], method)
        assert np.array_equal(whole.data, out.data) and whole.cost[0] == 3.5
    for method in ("zero", "replicate"):
        with pytest.raises(LemError, match="use decode"):
            list(reconstruct([out], method))
    (recalled,) = reconstruct([out], "recall", memory=x)
    assert np.abs(recalled.data - x).max() < 1e-4
    # a Gaussian memory knows which directions there are: it takes the error for noise, and some of it away
    rng = np.random.default_rng(2)
    basis = rng.standard_normal((4, 32)).astype(np.float32)
    store, new = (rng.standard_normal((n, 4)).astype(np.float32) @ basis for n in (400, 30))
    coarse = broken(new, bits=2, quantizer="trellis", rotate=True)
    (better,) = reconstruct([coarse], "gaussian", memory=store)
    assert nmse(new, better.data) < 0.5 * nmse(new, coarse.data)


def test_the_command_and_its_pipe(tmp_path):
    x = gaussian(6, 40).astype(np.float16)
    x[4] = 0
    np.save(tmp_path / "x.npy", x)
    line = ("fragment", "--bits", "3", "--quantizer", "trellis", "--rotate", "--seed", "2", "x.npy")
    plain = lem_fork(*line, cwd=tmp_path)
    assert plain.returncode == 0
    for more in (["--device", "cpu"], ["--batch", "4"]):
        other = lem_fork(*line, *more, "-o", "y.safetensors", cwd=tmp_path)
        assert other.returncode == 0, other.stderr
        lem_fork("reconstruct", "y.safetensors", "-o", f"{more[0]}.npy", cwd=tmp_path)
    lem_fork("reconstruct", "-o", "z.npy", stdin=plain.stdout, cwd=tmp_path)
    z = np.load(tmp_path / "z.npy")
    assert z.dtype == np.float16 and not z[4].any() and nmse(np.delete(x, 4, 0), np.delete(z, 4, 0)) < 0.03
    assert all(np.array_equal(np.load(tmp_path / f"{name}.npy"), z) for name in ("--device", "--batch"))
    for args, message in (
        (["--bits", "3", "--device", "cpu"], "--device is for --quantizer trellis"),
        (["--bits", "3", "--quantizer", "trellis", "--device", "tpu"], "is not here"),
        (["--rotate", "--bits", "3"], "--rotate belongs right after a --bits"),
    ):
        done = lem_fork("fragment", *args, "x.npy", cwd=tmp_path)
        assert done.returncode == 2 and message in done.stderr.decode() and not done.stdout
    x[1, 3] = np.nan
    np.save(tmp_path / "x.npy", x)
    done = lem_fork(*line, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.decode().count("\n") == 1 and "NaN" in done.stderr.decode()
