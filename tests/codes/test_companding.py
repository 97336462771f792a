"""The mu-law: its bins and levels by the formula of G.711, its error by the textbook, its evidence by what it holds."""

import io
import math

import numpy as np
import pytest

from lemtools import codes
from lemtools.catalogue import LemError
from lemtools.fragment import apply, fragment
from lemtools.fragment.evidence import bin_std, evidence
from lemtools.reconstruct import reconstruct
from lemtools.restore.methods import decode
from lemtools.signal import Signal, bits_per_element
from lemtools.stream import Source, read, write

MU = {"op": "bits", "bits": 8, "quantizer": "mu-law"}


def compressed(x, bits):
    """F(x) as G.711 has it."""
    mu = 2.0**bits - 1
    return np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)


def noise(n=4000, sigma=0.2, seed=0, items=2):
    x = sigma * np.random.default_rng(seed).standard_normal((items, 1, n))
    return Signal("audio", np.clip(x, -1, 1).astype(np.float32), rate=8000.0)


@pytest.mark.parametrize("bits", [1, 2, 5, 8, 12, 16])
def test_codes_count_equal_steps_of_the_companded_value(bits):
    whole = noise(20_000, 0.4)
    broken = apply(whole, {**MU, "bits": bits})
    expected = np.floor((compressed(whole.data.astype(np.float64), bits) + 1) / 2 * 2**bits)
    # at 12 bits and more float32 decides a few samples that lie on an edge
    assert np.mean(broken.codes != np.clip(expected, 0, 2**bits - 1)) <= (0 if bits <= 8 else 3e-4)
    np.testing.assert_allclose(
        compressed(broken.data.astype(np.float64), bits), (broken.codes + 0.5) / 2 ** (bits - 1) - 1, atol=1e-6
    )
    assert np.array_equal(bits_per_element(broken), [bits] * 2)


@pytest.mark.parametrize("bits", [1, 3, 8, 16])
def test_bins_meet_from_end_to_end_and_zero_is_an_edge(bits):
    op = {"bits": bits, "quantizer": "mu-law", "domain": "signed"}
    every = np.arange(2**bits, dtype=np.uint16)[None]
    low, high = codes.bounds(every, op)
    level = codes.decode(every, op)
    assert low[0, 0] == -1 and high[0, -1] == 1 and (low[0, 1:] == high[0, :-1]).all()
    assert (low < level).all() and (level < high).all() and low[0, 2 ** (bits - 1)] == 0
    assert np.array_equal(level, -level[:, ::-1]) and np.array_equal(codes.encode(level, op), every)
    assert np.array_equal(codes.encode(low[:, 1:], op), every[:, 1:])  # the lower end belongs to its bin
    assert (
        (np.diff(high - low)[0, 2 ** (bits - 1) :] > -1e-7).all()
        and (high - low)[0, -1] > 1.3 * (high - low)[0, 2**bits // 2]
    ) or bits == 1


def test_the_error_of_8_bits_is_the_textbook_s_over_40_dB():
    """3 2^2B / ln(1 + mu)^2, 38.0 dB, whatever the level (Jayant & Noll 1984, 5.4): of uniform bins it falls as the level."""
    found = {}
    for quantizer in ("mu-law", "uniform"):
        for level in (0.25, 0.025, 0.0025):
            whole = noise(100_000, level, items=1)
            error = apply(whole, {**MU, "quantizer": quantizer}).data.astype(np.float64) - whole.data
            found[quantizer, level] = 10 * math.log10(np.mean(whole.data.astype(np.float64) ** 2) / np.mean(error**2))
    theory = 10 * math.log10(3 * 2**16 / math.log(256) ** 2)
    assert found["mu-law", 0.25] == pytest.approx(theory, abs=0.3)
    assert found["mu-law", 0.025] == pytest.approx(theory, abs=2) and found["mu-law", 0.0025] > 25
    assert found["uniform", 0.0025] < 12


@pytest.mark.parametrize("scale", ["full", "peak"])
@pytest.mark.parametrize("bits", [2, 7, (1, 6)])
def test_the_bin_holds_the_sound_through_a_pipe_and_after_more(scale, bits):
    whole = noise()
    for specs in (
        [{**MU, "bits": bits, "scale": scale}],
        [{**MU, "bits": bits, "scale": scale}, {"op": "mask", "mask": 0.5}],
        [{**MU, "bits": 9, "scale": scale}, {**MU, "bits": bits, "scale": scale}],
        [{"op": "bits", "bits": 7}, {**MU, "bits": bits, "scale": scale}],
    ):
        (broken,) = fragment([whole], specs)
        out = io.BytesIO()
        write([broken], out)
        (back,) = read(Source(io.BytesIO(out.getvalue()), "pipe"))
        assert np.array_equal(back.data, broken.data) and np.array_equal(back.codes, broken.codes)
        says, x = evidence(back), whole.data
        assert (says.low <= x)[says.observed].all() and (x <= says.high)[says.observed].all()
        assert (says.width[says.observed] > 0).all()
        recalled, _ = decode()(back)
        assert np.array_equal(recalled.data[says.observed], back.data[says.observed])
        (smooth,) = reconstruct([back], "smooth")
        inside = (says.low - 1e-6 <= smooth.data) & (smooth.data <= says.high + 1e-6)
        assert inside[says.observed].all()


def test_the_error_it_is_known_by_is_that_of_values_over_the_whole_range():
    x = np.random.default_rng(1).uniform(-1, 1, (2, 1, 50_000)).astype(np.float32)
    for bits in (1, 3, 8):
        broken = apply(Signal("audio", x, rate=8000.0), {**MU, "bits": bits})
        measured = np.sqrt(((broken.data.astype(np.float64) - x) ** 2).mean((1, 2)))
        np.testing.assert_allclose(bin_std(broken.code_op, 2), measured, rtol=0.02)


@pytest.mark.parametrize(
    "kind, change, message",
    [
        ("audio", {"scale": "rms"}, "mu-law is for values that have ends; use --scale full or --scale peak"),
        ("image", {}, "mu-law is for sound, not image"),
        ("embedding", {}, "mu-law is for sound, not embedding"),
        ("spectrum", {"scale": "peak"}, "mu-law is for sound, not spectrum"),
        ("audio", {"bits": 17}, "1-16, not 17"),
        ("audio", {"rotate": True}, "--rotate is for embeddings"),
    ],
)
def test_refused(kind, change, message):
    shape = {"audio": (1, 1, 8), "image": (1, 1, 4, 4), "embedding": (1, 8), "spectrum": (1, 2, 4, 4)}[kind]
    whole = Signal(kind, np.full(shape, 0.5, np.float32), rate=8000.0 if kind in ("audio", "spectrum") else None)
    with pytest.raises(LemError, match=message):
        apply(whole, {**MU, **change})
    if kind == "audio" and "bits" not in change and "rotate" not in change:
        broken = apply(whole, MU)
        broken.ops[0]["domain"], broken.ops[0]["scale"] = "gaussian", np.ones(1, np.float32)
        out = io.BytesIO()
        write([broken], out)
        with pytest.raises(LemError, match="unknown quantiser mu-law on gaussian"):
            list(read(Source(io.BytesIO(out.getvalue()), "pipe")))


@pytest.mark.parametrize("method", ["zero", "replicate"])
def test_controls_of_uniform_bins_are_for_those(method):
    with pytest.raises(LemError, match="for uniform bins"):
        list(reconstruct([apply(noise(), MU)], method))


def test_the_compression_is_torchaudio_s():
    functional = pytest.importorskip("torchaudio").functional
    import torch

    x = noise(10_000, 0.3).data
    theirs = functional.mu_law_encoding(torch.from_numpy(x), 256).numpy()  # 256 levels at the ends of 255 equal steps
    ours = apply(Signal("audio", x, rate=8000.0), MU).codes.astype(int)
    assert np.abs(theirs - ours).max() <= 1
    assert np.array_equal(theirs, np.floor((compressed(x.astype(np.float64), 8) + 1) / 2 * 255 + 0.5))
