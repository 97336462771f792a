"""What is taken from spectra, and from sound by frequency: lengths in ms and Hz, rectangles, bands, all above a frequency."""

import io
import itertools
from dataclasses import replace

import numpy as np
import pytest

from lemtools.catalogue import LemError
from lemtools.fragment import apply, fragment
from lemtools.fragment.evidence import check_geometry, evidence
from lemtools.fragment.lengths import UNITS
from lemtools.reconstruct import reconstruct
from lemtools.signal import Signal, bits_per_element
from lemtools.stream import Source, read, write
from lemtools.transforms.short import ShortTime

F, T = 33, 120


FRONT = ShortTime("stft", 8000.0, 3808, 64, 32)  # rows of 125 Hz, frames of 4 ms
HISTORY = [{"tool": "lem-encode", **FRONT.record}]


def ones(n=2, shape=(2, F, T), kind="spectrum", rate=8000.0, made=True):
    history = HISTORY if made and kind == "spectrum" else []
    return Signal(kind, np.ones((n, *shape), np.float32), rate=rate, history=history)


def gone(signal):
    """bool [N, F, T], once it was seen that channels are lost together and that lost values are 0."""
    lost = ~signal.observed()
    assert (lost == lost[:, :1]).all() and not signal.data[lost].any()
    return lost[:, 0]


def runs(line):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
    return (edges[1::2] - edges[::2]).tolist()


def lose(whole, shape, p=0.25, seed=0):
    return apply(whole, {"op": "mask", "mask": p, "shape": shape}, seed)


def test_spans_of_milliseconds_are_frames():
    for text, frames in (("20ms", 5), (".02s", 5), ("20MS", 5), ("4ms", 1), ("1ms", 1), ("30ms", 8)):
        out = gone(lose(ones(), f"span:{text}"))
        assert np.array_equal(out, gone(lose(ones(), f"span:{frames}")))
        assert (out == out[:, :1]).all() and set(runs(out[0, 0])) == {frames}
        assert 0 <= out[0, 0].sum() - 0.25 * T < frames


def test_frames_of_cepstra_are_milliseconds_and_their_rows_no_frequencies():
    record = {
        "encoder": "mfcc",
        "rate": 8000.0,
        "samples": 8000,
        "n_fft": 256,
        "hop": 64,
        "bands": 20,
        "coefficients": 13,
    }
    made = Signal("spectrum", np.ones((1, 1, 13, 126), np.float32), rate=8000.0, history=[record])
    for text, counted in (("span:40ms", "span:5"), ("patch:3x40ms", "patch:3x5")):
        assert np.array_equal(gone(lose(made, text)), gone(lose(made, counted)))
    for text in ("band:500hz", "patch:500hzx5"):
        with pytest.raises(LemError, match="cepstral coefficients, not frequencies"):
            lose(made, text)
    with pytest.raises(LemError, match="cepstral coefficients, not frequencies"):
        apply(made, {"op": "lowpass", "lowpass": 500.0})


@pytest.mark.parametrize("crops", [["20x50+4+10"], ["20x50"], ["25x80+3+0", "20x50"]])
def test_of_a_window_of_a_spectrum_the_rows_above_a_frequency_are_lost(crops):
    """Those of 125 Hz each, counted in the whole: what a window left, wherever each item has it."""
    broken = ones(5)
    for crop in crops:
        broken = apply(broken, {"op": "crop", "crop": crop}, 3)
    first = sum(np.asarray(op["place"])[:, 0] for op in broken.ops)
    out = gone(apply(broken, {"op": "lowpass", "lowpass": 1500.0}))
    assert np.array_equal(out, np.broadcast_to(((first[:, None] + np.arange(20)) * 125 > 1500)[..., None], out.shape))
    seen = evidence(apply(broken, {"op": "lowpass", "lowpass": 1500.0})).observed
    assert not seen[:, :, 13:].any() and seen.any()


def test_rows_that_are_not_those_of_the_record_have_no_frequency():
    with pytest.raises(LemError, match="a spectrum of 40 rows whose record says 33"):
        apply(ones(shape=(2, 40, T)), {"op": "lowpass", "lowpass": 1500.0})


def test_bands_are_runs_of_rows_that_stay_apart():
    for text, rows in (("4", 4), ("500hz", 4), (".5kHz", 4), ("60Hz", 1)):
        out = gone(lose(ones(), f"band:{text}"))
        assert (out == out[:, :, :1]).all() and set(runs(out[0, :, 0])) == {rows}
        assert 0 <= out[0, :, 0].sum() - round(0.25 * F) < rows
    one = gone(lose(ones(40), "band", 0.3))
    assert [runs(item[:, 0]) for item in one] == [[10]] * 40
    often = one[:, :, 0].mean(axis=0)
    assert 0 < often[0] < 0.3 and 0 < often[-1] < 0.3 < often[F // 2]  # anywhere
    assert not gone(lose(ones(), "band", 0.0)).any() and gone(lose(ones(), "band", 1.0)).all()


@pytest.mark.parametrize("kind", ["spectrum", "image", "field", "sequence"])
@pytest.mark.parametrize("rows, columns", [(3, 7), (7, 3), (5, 5), (40, 2), (2, 500)])
def test_rectangles_are_cells_of_a_grid(kind, rows, columns):
    """Rows x columns of a spectrum; width x height, as --crop and --resize have it, of all else."""
    shape = (F, T) if kind == "sequence" else (2, F, T)
    whole = ones(3, shape, "embedding" if kind == "sequence" else kind, 8000.0 if kind == "spectrum" else None)
    text = f"{rows}x{columns}" if kind == "spectrum" else f"{columns}x{rows}"
    out = lose(whole, f"patch:{text}", 0.4)
    lost = ~out.observed() if kind == "sequence" else gone(out)
    for item in lost:
        cells = {}
        for y, x in np.ndindex(F, T):
            cells.setdefault((y // rows, x // columns), set()).add(bool(item[y, x]))
        assert all(len(c) == 1 for c in cells.values())
        assert sum(c == {True} for c in cells.values()) == round(0.4 * len(cells))
    if rows == columns:
        assert np.array_equal(out.mask, lose(whole, f"patch:{rows}", 0.4).mask)


def test_rectangles_of_hz_and_ms():
    expected = lose(ones(), "patch:4x5")
    for text in ("500hzx20ms", "4x20ms", "500hzx5", ".5kHzx.02S"):
        assert np.array_equal(lose(ones(), f"patch:{text}").mask, expected.mask)


def test_rows_that_are_not_evenly_spaced_have_no_width_in_hz(monkeypatch):
    monkeypatch.setattr(ShortTime, "hz", 100 * 2.0 ** np.arange(F))
    assert set(runs(gone(lose(ones(), "span:20ms"))[0, 0])) == {5}
    for shape in ("band:500hz", "patch:500hzx3"):
        with pytest.raises(LemError, match="rows that are not evenly spaced in Hz; count rows"):
            lose(ones(), shape)


@pytest.mark.parametrize(
    "kind, shape, message",
    [
        ("spectrum", "span:20ms", "a spectrum without a record of what made it; count rows and frames"),
        ("spectrum", "band:20hz", "a spectrum without a record of what made it; count rows and frames"),
        ("spectrum", "patch:4x20ms", "a spectrum without a record of what made it; count rows and frames"),
        ("spectrum", "patch:4x4x4", "spectrum extends in 2 directions"),
        ("spectrum", "patch:4x", "'4x' is not a length, as in 16 or 16x8"),
        ("spectrum", "patch:x4", "'x4' is not a length"),
        ("spectrum", "patch:0x4", "'0' is not a length"),
        ("spectrum", "span:4x4", "'4x4' is not a length"),
        ("spectrum", "pixel:4", "takes no size"),
        ("audio", "patch:4x4", "audio extends in 1 direction$"),
        ("audio", "span:20hz", "Hz are for the rows of spectra"),
        ("audio", "span:20", None),
        ("audio", "band:20", "band is for spectrum, not audio"),
        ("image", "band", "band is for spectrum, not image"),
        ("image", "patch:20msx4", "seconds are for sound and the frames of spectra"),
    ],
)
def test_refused_without_a_record(kind, shape, message):
    whole = ones(1, {"audio": (1, 96), "image": (3, F, T)}.get(kind, (2, F, T)), kind, made=False)
    if message is None:
        lose(whole, shape)
        return
    with pytest.raises(LemError, match=message) as caught:
        lose(whole, shape)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 160


@pytest.mark.parametrize(
    "shape, message",
    [
        ("patch:20ms", "give rows x frames, as in 8x20ms"),
        ("span:20hz", "Hz are for the rows of spectra"),
        ("band:20ms", "seconds are for sound and the frames of spectra"),
        ("patch:20msx20hz", "seconds are for"),
        ("span:-3ms", "is not a length, as in 16 or 20ms"),
        ("band:nanhz", "is not a length, as in 16 or 500hz"),
        ("span:1e999s", "is not a length"),
    ],
)
def test_refused_with_a_record(shape, message):
    with pytest.raises(LemError, match=message):
        lose(ones(), shape)


# --- windows


def test_a_window_of_a_spectrum_is_rows_by_frames():
    x = np.arange(F * T, dtype=np.float32).reshape(1, 1, F, T).repeat(2, 1).repeat(60, 0)
    whole = Signal("spectrum", x, rate=8000.0, history=HISTORY)
    out = apply(whole, {"op": "crop", "crop": "5x7"})
    assert out.data.shape == (60, 2, 5, 7)
    for item, (row, column) in zip(out.data, out.ops[0]["place"]):
        assert np.array_equal(item, x[0, :, row : row + 5, column : column + 7])
    assert np.ptp(out.ops[0]["place"], axis=0).min() > 15
    for text, window in (
        ("5x7+3+9", (slice(3, 8), slice(9, 16))),
        ("625hzx28ms+3+9", (slice(3, 8), slice(9, 16))),
        ("20ms+9", (slice(0, F), slice(9, 14))),
        ("6+1+2", (slice(1, 7), slice(2, 8))),
    ):
        out = apply(whole, {"op": "crop", "crop": text})
        assert np.array_equal(out.data, x[(slice(None), slice(None), *window)])
        check_geometry(out)
        says = evidence(out)
        seen = np.zeros((F, T), bool)
        seen[window] = True
        assert (says.observed == seen).all() and np.array_equal(says.value, x * seen)
    for text, message in (
        ("34x7", "larger than the spectrum, 33x120"),
        ("5x7+30+0", "reaches beyond the spectrum, 33x120"),
        ("20ms+9+9", "2 directions"),
        ("5x7+3", "2 directions"),
        ("20ms+118", "reaches beyond"),
        ("5x7x2", "not a window"),
    ):
        with pytest.raises(LemError, match=message):
            apply(whole, {"op": "crop", "crop": text})


# --- low-pass


def sound(n=3, t=1000, seed=0):
    x = np.random.default_rng(seed).uniform(-0.5, 0.5, (n, 2, t)).astype(np.float32)
    return Signal("audio", x, rate=8000.0)


@pytest.mark.parametrize("t", [1000, 999, 2, 1])
def test_of_a_sound_all_above_is_gone_and_the_rest_stays(t):
    whole = sound(t=t)
    if t < 2:
        with pytest.raises(LemError, match="holds nothing above 0 Hz"):
            apply(whole, {"op": "lowpass", "lowpass": 1000.0})
        return
    out = apply(whole, {"op": "lowpass", "lowpass": 1000.0})
    before, after = (np.fft.rfft(x.data.astype(np.float64)) for x in (whole, out))
    low = np.arange(t // 2 + 1) * 8000 / t <= 1000
    assert np.abs(after[..., ~low]).max(initial=0) < 1e-4 and np.abs((after - before)[..., low]).max() < 1e-4
    assert out.ops == [{"op": "lowpass", "lowpass": 1000.0}] and out.data.dtype == np.float32 and out.rate == 8000
    again = apply(out, {"op": "lowpass", "lowpass": 1000.0})
    assert np.abs(again.data - out.data).max() < 1e-6


def test_of_a_sound_no_sample_is_known_and_the_recall_keeps_what_is_left():
    whole = sound()
    out = apply(whole, {"op": "lowpass", "lowpass": 2000.0})
    with pytest.raises(LemError, match="a fragment of --lowpass holds no element of the memory itself"):
        evidence(out)
    for method in ("auto", "decode", "smooth", "inpaint"):
        (back,) = reconstruct([out], method)
        assert np.array_equal(back.data, out.data) and "lowpass: kept" in back.history[-1]["steps"]
    with pytest.raises(LemError, match="put it before --mask"):
        list(fragment([whole], [{"op": "mask", "mask": 0.5}, {"op": "lowpass", "lowpass": 2000.0}]))
    (both,) = fragment([whole], [{"op": "lowpass", "lowpass": 2000.0}, {"op": "bits", "bits": 6}])
    (back,) = reconstruct([both], "smooth")
    error = [np.mean((x.data - out.data) ** 2) for x in (both, back)]
    assert error[1] < 0.7 * error[0]  # what is smoothed is the sound after the cut
    (after,) = fragment([whole], [{"op": "bits", "bits": 3}, {"op": "lowpass", "lowpass": 2000.0}])
    assert after.codes is None and bits_per_element(after) == pytest.approx([32] * 3)


def test_of_a_spectrum_the_rows_above_are_a_mask():
    x = np.random.default_rng(0).standard_normal((4, 2, F, T)).astype(np.float32)
    whole = Signal("spectrum", x, rate=8000.0, history=HISTORY)
    out = apply(whole, {"op": "lowpass", "lowpass": 1000.0})
    lost = gone(out)
    assert (lost[:, 9:].all() and not lost[:, :9].any()) and np.array_equal(out.data, x * ~lost[:, None])
    assert out.ops == [{"op": "mask", "mask_shape": "lowpass", "lowpass": 1000.0}]
    says = evidence(out)
    assert np.array_equal(says.observed[:, 0], ~lost) and (says.low[says.observed] == x[says.observed]).all()
    drawn = apply(whole, {"op": "lowpass", "lowpass": (500.0, 3000.0)}, 3)
    cut = drawn.ops[0]["lowpass"]
    assert cut.shape == (4,) and len(set(cut.tolist())) == 4
    assert np.array_equal((~gone(drawn)[:, :, 0]).sum(axis=1), np.floor(cut / 125) + 1)
    (both,) = fragment(
        [whole], [{"op": "bits", "bits": 3}, {"op": "mask", "mask": 0.5}, {"op": "lowpass", "lowpass": 1000.0}]
    )
    assert np.array_equal(both.mask, both.mask & out.mask) and not both.codes[~both.observed()].any()
    assert both.code_op["bits"] == 3


@pytest.mark.parametrize(
    "whole, value, message",
    [
        (sound(), 0.0, "a number of Hz above 0"),
        (sound(), (0.0, 5.0), "a number of Hz above 0"),
        (sound(), float("nan"), "a number of Hz above 0"),
        (sound(), float("inf"), "a number of Hz above 0"),
        (sound(), 4000.0, "--lowpass 4000: a sound at 8000 Hz holds nothing above 4000 Hz"),
        (sound(), (100.0, 9000.0), "--lowpass 100-9000: a sound at 8000 Hz holds nothing above 4000 Hz"),
        (ones(made=False), 1000.0, "a spectrum without a record of what made it, whose Hz are not known"),
        (Signal("audio", np.ones((1, 1, 9), np.float32)), 1.0, "a sound without a rate, whose Hz are not known"),
        (ones(1, (3, 8, 8), "image", None), 1000.0, "--lowpass is for sound and spectra, not image"),
    ],
)
def test_refused_frequencies(whole, value, message):
    with pytest.raises(LemError, match=message):
        apply(whole, {"op": "lowpass", "lowpass": value})


def test_above_the_highest_row_there_is_nothing():
    with pytest.raises(LemError, match="--lowpass 4000: this spectrum holds nothing above 4000 Hz"):
        apply(ones(), {"op": "lowpass", "lowpass": 4000.0})


# --- all of them travel


SPECS = [
    {"op": "mask", "mask": 0.3, "shape": "span:20ms"},
    {"op": "mask", "mask": (0.1, 0.4), "shape": "band:250hz"},
    {"op": "mask", "mask": 0.3, "shape": "patch:4x20ms"},
    {"op": "lowpass", "lowpass": (1000.0, 3000.0)},
    {"op": "bits", "bits": (2, 6)},
    {"op": "crop", "crop": "20x60"},
]


def test_in_a_pipe_or_in_one_command_and_cut_up_or_not():
    whole = Signal("spectrum", np.random.default_rng(2).standard_normal((5, 2, F, T)).astype(np.float32), rate=8000.0)
    whole.history = HISTORY
    for specs in itertools.permutations(SPECS, 2):
        if specs[0]["op"] == "crop" and specs[1]["op"] == "lowpass":
            continue
        (together,) = fragment([whole], list(specs), seed=3)
        (part,) = fragment([whole.take([3, 1])], list(specs), seed=3)
        assert np.array_equal(part.data, together.data[[3, 1]])
        out = io.BytesIO()
        write([together], out)
        (back,) = read(Source(io.BytesIO(out.getvalue()), "pipe"))
        assert np.array_equal(back.data, together.data) and np.array_equal(back.observed(), together.observed())
        check_geometry(back)
        says = evidence(back)
        assert (says.low <= whole.data)[says.observed].all() and (whole.data <= says.high)[says.observed].all()
        for cut in (10, len(out.getvalue()) // 2, len(out.getvalue()) - 1):
            with pytest.raises(LemError, match="cut"):
                list(read(Source(io.BytesIO(out.getvalue()[:cut]), "pipe")))


@pytest.mark.parametrize("kind", ["crop", "patch"])
@pytest.mark.parametrize("text", ["200hz", "20ms", ".02s", ".2khz"])
@pytest.mark.parametrize("frames", [T, 4])
def test_what_is_advised_for_one_length_of_two_is_taken(kind, text, frames):
    if kind == "crop" and UNITS[text.lstrip(".0123456789")][0] == "s":
        return  # of a crop that is all rows
    whole = ones(1, (2, F, T))
    whole = replace(whole, data=whole.data[..., :frames])
    ask = {"patch": {"op": "mask", "mask": 0.4, "shape": "patch:"}, "crop": {"op": "crop", "crop": ""}}[kind]
    key = "shape" if kind == "patch" else "crop"
    with pytest.raises(LemError, match="give rows x frames") as caught:
        apply(whole, ask | {key: ask[key] + text})
    advised = str(caught.value).rsplit(" ", 1)[1]
    assert text in advised and apply(whole, ask | {key: ask[key] + advised}).ops
    with pytest.raises(LemError, match="count rows and frames"):
        apply(ones(1, (2, F, T), made=False), ask | {key: ask[key] + text})


@pytest.mark.parametrize("shape", ["patch:10", "patch:12x20"])
@pytest.mark.parametrize("fraction", [0.2, 0.6, (0.1, 0.9)])
def test_a_patch_as_large_as_the_item_is_refused(shape, fraction):
    whole = Signal("spectrum", np.ones((3, 2, 10, 10), np.float32))
    with pytest.raises(LemError, match="the patch is as large as the item"):
        list(fragment([whole], [{"op": "mask", "mask": fraction, "shape": shape}], 0))


@pytest.mark.parametrize("shape, fraction, lost", [("patch:20x2", 0.2, 20), ("patch:20", 0, 0), ("patch:20", 1, 100)])
def test_a_patch_that_is_longer_one_way_takes_whole_frames(shape, fraction, lost):
    whole = Signal("spectrum", np.ones((1, 2, 10, 10), np.float32))
    (left,) = fragment([whole], [{"op": "mask", "mask": fraction, "shape": shape}], 0)
    assert (~left.observed()[0, 0]).sum() == lost


@pytest.mark.parametrize("shape", ["span:20", "band:20"])
def test_a_run_longer_than_the_item_is_refused(shape):
    with pytest.raises(LemError, match="a run of 20 is longer than the item, which has 10"):
        list(
            fragment(
                [Signal("spectrum", np.ones((1, 2, 10, 10), np.float32))],
                [{"op": "mask", "mask": 0.2, "shape": shape}],
                0,
            )
        )
