"""Operations one after the other, drawn by seed: what a fragment says holds of its memory, and what is recalled keeps to it."""

import io
import warnings

import numpy as np
import pytest

from lemtools.fragment import fragment
from lemtools.fragment.evidence import evidence
from lemtools.reconstruct import reconstruct
from lemtools.signal import LemError, Signal
from lemtools.stream import Source, read, write
from lemtools.transforms.bands import LogMel
from lemtools.transforms.short import ShortTime

RATE = 8000.0
SHAPES = {
    "spectrum": ["pixel", "span:8ms", "band:500hz", "patch:4x3", "rows", "half"],
    "audio": ["pixel", "span:8ms", "half"],
}
CROPS = {"spectrum": ["20x15", "33x10+0+3"], "audio": ["100", "20ms", "50+13"]}
SCALES, QUANTISERS = (
    {"spectrum": ["peak", "rms"], "audio": ["peak", "rms", "full"]},
    {"audio": ["mu-law"], "spectrum": []},
)


def operation(kind, rng):
    which = rng.choice(["bits", "bits", "bits", "bits", "mask", "crop", "lowpass", "noise"])
    if which == "bits":
        quantizer = rng.choice(["uniform", "uniform", "lloyd-max", *QUANTISERS[kind]])
        return {
            "op": "bits",
            "bits": int(rng.integers(1, 9)),
            "scale": rng.choice(SCALES[kind]),
            "quantizer": quantizer,
        }
    return {
        "mask": {"op": "mask", "mask": float(rng.uniform(0, 0.9)), "shape": rng.choice(SHAPES[kind])},
        "crop": {"op": "crop", "crop": rng.choice(CROPS[kind])},
        "lowpass": {"op": "lowpass", "lowpass": float(rng.uniform(100, 3900))},
        "noise": {"op": "noise", "sigma": float(rng.uniform(0, 0.3))},
    }[which]


def memory(kind, rng):
    samples = int(rng.integers(40, 700))
    x = (rng.standard_normal((2, 2, samples)) * 10 ** rng.uniform(-4, 0.2)).astype(np.float32)
    if kind == "audio":
        return Signal("audio", x.clip(-1, 1), rate=RATE)
    compress = float(rng.choice([1.0, 0.5]))
    front = ShortTime("stft", RATE, samples, 64, int(rng.choice([16, 20, 32])), compress=compress)
    if rng.random() < 0.2:
        front = LogMel("log-mel", RATE, samples, 256, 64, bands=33)
    return Signal("spectrum", front.encode(x), rate=RATE, history=[{"tool": "lem-encode", **front.record}])


@pytest.mark.parametrize("kind", ["spectrum", "audio"])
@pytest.mark.parametrize("block", range(4))
def test_what_is_said_is_true_and_what_is_recalled_keeps_to_it(kind, block):
    done = 0
    for seed in range(25 * block, 25 * block + 25):
        rng = np.random.default_rng(seed)
        whole, specs = memory(kind, rng), [operation(kind, rng) for _ in range(rng.integers(2, 4))]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                (broken,) = fragment([whole], specs, seed)
                says = evidence(broken)
            except LemError:  # such a window, frequency or quantiser there is not, or no element is the memory's own
                continue
            raw = io.BytesIO()
            write([broken], raw)
            raw.seek(0)
            (sent,) = read(Source(raw, "x"))
            (back,) = reconstruct([sent])
        assert np.array_equal(evidence(sent).low, says.low) and np.array_equal(evidence(sent).high, says.high), specs
        assert np.isfinite(back.data).all() and back.data.shape == whole.data.shape, specs
        if not says.sigma.any():
            for known in (whole, back):
                assert (says.low <= known.data).all() and (known.data <= says.high).all(), (seed, specs)
        done += 1
    assert done > 7
