"""What a fragment says of its memory: intervals that hold it, and noise of the size that there is."""

import io

import numpy as np
import pytest

from lemtools.fragment import apply, fragment
from lemtools.fragment.evidence import bin_std, check_geometry, evidence
from lemtools.fragment.lost import lose
from lemtools.signal import LemError, Signal
from lemtools.stream import Source, read, write


def filled(kind, seed=0):
    """A memory whose values fill the quantiser's range evenly."""
    rng = np.random.default_rng(seed)
    if kind == "image8":
        return Signal("image", rng.integers(0, 256, (2, 1, 100, 100), dtype=np.uint8))
    if kind == "image":
        return Signal("image", rng.random((2, 1, 100, 100), np.float32))
    if kind == "audio":
        return Signal("audio", rng.uniform(-1, 1, (2, 1, 10_000)).astype(np.float32), rate=8000.0)
    return Signal("embedding", rng.uniform(-1, 1, (2, 10_000)).astype(np.float32) * [[1], [20]])


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("kind", ["image8", "image", "audio"])
def test_the_error_of_a_bin_is_its_width_over_root_12(kind, bits):
    whole = filled(kind)
    broken = apply(whole, {"op": "bits", "bits": bits})
    full = 255 if kind == "image8" else 1
    error = (broken.data.astype(float) - whole.data) / full
    measured = np.sqrt((error**2).reshape(2, -1).mean(1))
    np.testing.assert_allclose(bin_std(broken.code_op, 2), measured, rtol=0.03)


def test_the_error_of_a_bin_of_an_embedding():
    """Uniform values of rms 1 / sqrt 3 stay within the bins of 4 bits, whose step is that of the Gaussian's quantiser."""
    whole = filled("embedding")
    broken = apply(whole, {"op": "bits", "bits": 4})
    measured = np.sqrt(((broken.data - whole.data) ** 2).mean(1))
    np.testing.assert_allclose(bin_std(broken.code_op, 2), measured, rtol=0.03)


@pytest.mark.parametrize("kind", ["image8", "image", "audio"])
def test_noise_upon_bits_adds_up(kind):
    whole = filled(kind)
    (broken,) = fragment([whole], [{"op": "bits", "bits": 2}, {"op": "noise", "sigma": 0.1}])
    full = 255 if kind == "image8" else 1
    measured = np.sqrt(((broken.data - whole.data / np.float32(full)) ** 2).reshape(2, -1).mean(1))
    np.testing.assert_allclose(evidence(broken).sigma, measured, rtol=0.03)


@pytest.mark.parametrize("kind", ["image8", "image", "audio", "embedding"])
def test_the_interval_of_a_code_holds_the_memory(kind):
    whole = filled(kind)
    unit = np.float32(255 if kind == "image8" else 1)
    for bits in (1, 3, 5):
        says = evidence(apply(whole, {"op": "bits", "bits": bits}))
        x = whole.data / unit
        assert (says.low <= x).all() and (x <= says.high).all() and not says.sigma.any()
        levels = 255 / 256 if kind == "image8" else 1
        if kind != "embedding":
            full = 2 if kind == "audio" else 1
            assert np.allclose(says.width, full * 2.0**-bits / levels, rtol=1e-5)


@pytest.mark.parametrize("scale", ["rms", "peak"])
def test_the_scale_of_a_fragment_is_that_of_what_is_left(scale):
    x = np.random.default_rng(0).standard_normal((3, 400)).astype(np.float32)
    whole = Signal("embedding", x)
    (broken,) = fragment([whole], [{"op": "mask", "mask": 0.75}, {"op": "bits", "bits": 3, "scale": scale}])
    left = [item[seen] for item, seen in zip(x, broken.observed())]
    want = [np.abs(v).max() if scale == "peak" else np.sqrt((v.astype(float) ** 2).mean()) for v in left]
    np.testing.assert_allclose(broken.ops[1]["scale"], want, rtol=1e-3)


def test_the_scale_of_a_fragment_of_a_fragment_is_the_first_one():
    """Bins of coarser codes are those of finer ones put together: the scale stays, and nothing else is to be said."""
    whole = filled("embedding")
    once = apply(whole, {"op": "bits", "bits": 6})
    twice = apply(once, {"op": "bits", "bits": 3})
    assert np.array_equal(twice.code_op["scale"], once.code_op["scale"])
    sound = apply(filled("audio"), {"op": "bits", "bits": 6, "scale": "peak"})
    again = apply(sound, {"op": "bits", "bits": 3, "scale": "peak"})
    assert np.array_equal(again.code_op["scale"], sound.code_op["scale"]) and again.code_op["slack"] is None


@pytest.mark.parametrize("kind", ["embedding", "spectrum", "field", "audio", "image"])
@pytest.mark.parametrize(
    "first, second",
    [
        ({"bits": 8}, {"bits": 4}),
        ({"bits": 4}, {"bits": 3}),
        ({"bits": (3, 6)}, {"bits": 3}),
        ({"bits": 5, "quantizer": "lloyd-max"}, {"bits": 3}),
        ({"bits": 5}, {"bits": 3, "quantizer": "lloyd-max"}),
        ({"bits": 6, "scale": "peak"}, {"bits": 3, "scale": "rms"}),
        ({"bits": 6, "scale": "rms"}, {"bits": 3, "scale": "peak"}),
    ],
)
def test_a_value_quantised_twice_lies_in_its_bin_and_the_bin_says_something(kind, first, second):
    """The bin holds the original; inner values have a bin with two ends, though the outermost values of a Gaussian had none."""
    rng = np.random.default_rng(5)
    shape = {"embedding": (4, 600), "spectrum": (4, 2, 15, 20), "field": (4, 2, 300)}.get(kind, (4, 1, 20, 30))
    if kind == "audio":
        shape = (4, 1, 600)
    if (
        kind in ("audio", "image")
        and "scale" in first
        and (kind == "image" or "rms" in (first["scale"], second["scale"]))
    ):
        pytest.skip("has no such scale")
    x = rng.standard_normal(shape) ** 3
    x = np.clip(0.5 + x / 20, 0, 1) if kind == "image" else np.clip(x / 20, -1, 1) if kind == "audio" else x
    whole = Signal(kind, x.astype(np.float32), rate=8000.0 if kind in ("audio", "spectrum") else None)
    twice = apply(apply(whole, {"op": "bits"} | first), {"op": "bits"} | second)
    says = evidence(twice)
    assert (says.low <= whole.data).all() and (whole.data <= says.high).all()
    ended = np.isfinite(says.low) & np.isfinite(says.high)
    if not (
        first.get("scale") == "rms" and kind != "audio"
    ):  # a value beyond the last bin may lie anywhere over the peak
        assert ended.mean() > 0.5
        assert (says.high - says.low)[ended].max() < 2.5 * np.abs(whole.data).max()


def test_noise_is_added_to_values_over_the_full_scale():
    """Of 8-bit images v / 255, to the last bit: noise of no size leaves just that."""
    x = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    out = apply(Signal("image", x), {"op": "noise", "sigma": 0.0})
    np.testing.assert_allclose(out.data, x / 255, rtol=1e-6)


def test_the_error_of_vectors_of_sequences_is_the_mean_of_theirs():
    """Each vector of a sequence has a norm of its own: [N, L] scales."""
    rng = np.random.default_rng(1)
    whole = Signal("embedding", (rng.standard_normal((3, 8, 128)) * rng.uniform(0.1, 5, (3, 8, 1))).astype(np.float32))
    broken = apply(whole, {"op": "bits", "bits": 2, "quantizer": "trellis"})
    measured = np.sqrt(((broken.data - whole.data) ** 2).mean((1, 2)))
    np.testing.assert_allclose(bin_std(broken.code_op, 3), measured, rtol=0.1)


def small(kind):
    """A memory without a value 0."""
    rng = np.random.default_rng(4)
    if kind == "image8":
        return Signal("image", rng.integers(1, 256, (3, 3, 12, 15), dtype=np.uint8))
    if kind == "audio":
        return Signal("audio", rng.uniform(0.1, 1, (3, 2, 60)).astype(np.float32), rate=8000.0)
    return Signal("embedding", rng.uniform(0.1, 1, (3, 40)).astype(np.float32))


CROPS = {"image8": "7x5", "audio": "20", "embedding": "20"}


@pytest.mark.parametrize("kind", CROPS)
@pytest.mark.parametrize(
    "names", ["mask", "mask bits", "bits mask", "crop", "crop mask", "bits crop", "bits crop mask"]
)
def test_nothing_is_known_of_what_is_lost(kind, names):
    """Neither inside a window nor round it: value 0, between no ends, of no width; all else lies in its interval."""
    whole = small(kind)
    specs = {"mask": {"op": "mask", "mask": 0.4}, "bits": {"op": "bits", "bits": 3}}
    specs["crop"] = {"op": "crop", "crop": CROPS[kind]}
    (broken,) = fragment([whole], [specs[name] for name in names.split()])
    says, left = evidence(broken), np.zeros(whole.data.shape, bool)
    for i, seen in enumerate(broken.observed()):
        corner = next((op["place"][i] for op in broken.ops if op["op"] == "crop"), [0] * len(whole.spatial_axes))
        left[(i, ..., *(slice(a, a + n) for a, n in zip(corner, seen.shape[-len(corner) :])))] = seen
    assert np.array_equal(says.observed, left) and 0 < left.mean() < 1
    for part, nothing in ((says.value, 0), (says.low, -np.inf), (says.high, np.inf), (says.width, 0)):
        assert (part[~left] == nothing).all()
    x = (whole.data / np.float32(255 if kind == "image8" else 1))[left]
    assert (says.value[left] != 0).all() and (says.low[left] <= x).all() and (x <= says.high[left]).all()
    assert (says.width[left] > 0).all() if "bits" in names else (says.value[left] == x).all()


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("quantizer", ["uniform", "lloyd-max"])
def test_a_bin_without_an_end_is_twice_as_wide_as_its_half_that_has_one(bits, quantizer):
    whole = filled("embedding", 1)
    whole.data[:, ::9] *= 3  # so that the outer bins are not empty
    broken = apply(whole, {"op": "bits", "bits": bits, "quantizer": quantizer})
    says, code = evidence(broken), broken.codes
    first, last = code == 0, code == 2**bits - 1
    assert first.any() and last.any()
    assert (says.low[first] == -np.inf).all() and (says.high[last] == np.inf).all()
    np.testing.assert_allclose(says.width[first], 2 * (says.high - says.value)[first], rtol=1e-6)
    np.testing.assert_allclose(says.width[last], 2 * (says.value - says.low)[last], rtol=1e-6)
    inner = ~first & ~last
    np.testing.assert_allclose(says.width[inner], (says.high - says.low)[inner], rtol=1e-6)
    assert np.isfinite(says.width).all() and (says.width > 0).all()


LOSSES = [
    {"op": "mask", "mask": 0.4},
    {"op": "bits", "bits": 3},
    {"op": "crop", "crop": "5"},
    {"op": "downsample", "factor": 2},
    {"op": "noise", "sigma": (0.1, 0.2)},
    {"op": "keep-dims", "keep": 7},
]


@pytest.mark.parametrize("kind", CROPS)
@pytest.mark.parametrize("spec", LOSSES, ids=lambda spec: spec["op"])
def test_what_a_fragment_from_a_file_says_of_itself_fits(kind, spec):
    if (spec["op"], kind) in {("downsample", "embedding"), ("keep-dims", "image8"), ("keep-dims", "audio")}:
        pytest.skip("no such fragments")
    out = io.BytesIO()
    write([apply(small(kind), spec)], out)
    (broken,) = read(Source(io.BytesIO(out.getvalue()), "file"))
    assert broken.ops[0]["op"] == spec["op"]
    check_geometry(broken)


@pytest.mark.parametrize(
    "spec, change",
    [
        (LOSSES[0], {"shape": [3, 12, 16]}),
        (LOSSES[1], {"shape": [3, 13, 15]}),
        (LOSSES[0], {"shape": [3, 12]}),
        (LOSSES[2], {"place": np.array([[8, 0], [0, 0], [0, 0]])}),
        (LOSSES[2], {"place": np.array([[0, 0], [0, 11], [0, 0]])}),
        (LOSSES[2], {"place": np.array([[0, 0], [0, -1], [0, 0]])}),
        (LOSSES[2], {"place": np.zeros((2, 2), int)}),
        (LOSSES[3], {"factor": 3}),
        (LOSSES[3], {"shape": [4, 12, 15]}),
        (LOSSES[4], {"sigma": np.array([0.1, -0.1, 0.1])}),
        (LOSSES[4], {"sigma": np.inf}),
        (LOSSES[4], {"sigma": np.nan}),
        (LOSSES[4], {"sigma": np.full(2, 0.1)}),
        (LOSSES[4], {"sigma": "0.1"}),
    ],
)
def test_a_damaged_record_is_refused(spec, change):
    broken = apply(small("image8"), spec)
    broken.ops[0].setdefault("shape", list(broken.data.shape[1:]))
    broken.ops[0].update(place=np.array([[7, 10], [0, 0], [7, 0]])) if spec["op"] == "crop" else None
    check_geometry(broken)
    broken.ops[0].update(change)
    with pytest.raises(LemError, match=f"record of {spec['op']} does not fit"):
        check_geometry(broken)


@pytest.mark.parametrize("change", [{"rate": -1.0}, {"rate": 0}, {"rate": "x"}, {"factor": 1}, {"factor": 2.0}])
def test_a_damaged_record_of_a_resolution_is_refused(change):
    whole = Signal("audio", np.zeros((1, 1, 100), np.float32), rate=8000.0)
    broken = apply(whole, {"op": "downsample", "factor": 2})
    check_geometry(broken)
    broken.ops[0].update(change)
    with pytest.raises(LemError, match="record of downsample"):
        check_geometry(broken)


@pytest.mark.parametrize("kind", ["image8", "image", "audio"])
def test_what_a_mask_says_is_lost_is_zero_and_the_rest_as_it_was(kind):
    whole = filled(kind)
    lost = np.random.default_rng(2).random((1, 1, *whole.data.shape[2:])) < 0.3
    broken = lose(whole, lost)
    assert np.array_equal(broken.data, np.where(lost, 0, whole.data)) and broken.data.dtype == whole.data.dtype
    assert np.array_equal(broken.observed(), np.broadcast_to(~lost, whole.data.shape)) and broken.ops[0]["op"] == "mask"
    with pytest.raises(LemError, match="everything is lost"):
        lose(whole, np.ones_like(lost))
    with pytest.raises(LemError, match="a fragment"):
        lose(broken, lost)


@pytest.mark.parametrize("n, length", [(40, 2), (41, 5), (100, 7)])
def test_spans_that_stay_apart_lose_as_much_as_is_said(n, length):
    """Runs of `length` with one sample between neighbours: the most that fit, and the share that they are."""
    most = next(k for k in range(n, 0, -1) if k * length + k - 1 <= n) * length / n
    whole = Signal("audio", np.ones((1, 1, n), np.float32), rate=1000.0)
    spec = {"op": "mask", "mask": 0.99, "shape": f"span:{length}"}
    with pytest.raises(LemError, match=f"at most {most:.4g} of {n}"):
        apply(whole, spec)
    lost = ~apply(whole, {**spec, "mask": most}).mask
    assert lost.sum() == round(most * n)


def test_dimensions_are_those_of_the_vectors_of_a_sequence():
    whole = Signal("embedding", np.arange(2 * 3 * 8, dtype=np.float32).reshape(2, 3, 8))
    assert np.array_equal(apply(whole, {"op": "keep-dims", "keep": 7}).data, whole.data[..., :7])
    with pytest.raises(LemError, match="has 8 dimensions"):
        apply(whole, {"op": "keep-dims", "keep": 9})
