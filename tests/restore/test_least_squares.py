"""Spectra recalled by least squares: the answer of a dense solver, of the sound's own gaps, of bins; and as it is typed."""

import io
from dataclasses import replace

import numpy as np
import pytest

from helpers.commands import lem_fork
from lemtools.catalogue import LemError
from lemtools.fragment import fragment
from lemtools.fragment.evidence import evidence
from lemtools.reconstruct import choose, reconstruct
from lemtools.restore import least_squares
from lemtools.restore.gaps import fill_gaps
from lemtools.restore.least_squares import Solved, recall
from lemtools.signal import Signal
from lemtools.stream import Source, read, write
from lemtools.transforms import Front, of
from lemtools.transforms.morlet import Morlet
from lemtools.transforms.short import ShortTime

RATE = 8000.0


def sound(samples=1500, n=1, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / RATE
    x = np.sin(2 * np.pi * (300 + 200 * t) * t + rng.uniform(0, 6, (n, channels, 1)))
    return (0.3 * x + 0.03 * rng.standard_normal((n, channels, samples))).astype(np.float32)


def spectrum(x, n_fft=128, hop=32, **settings):
    front = ShortTime("stft", RATE, x.shape[-1], n_fft, hop, **settings)
    return front, Signal("spectrum", front.encode(x), rate=RATE, history=[{"tool": "lem-encode", **front.record}])


def snr(x, y):
    return 10 * np.log10(np.square(x, dtype=float).sum() / max(np.square(x.astype(float) - y).sum(), 1e-30))


def recalled(whole, *specs, method="auto", seed=0):
    (broken,) = fragment([whole], list(specs), seed)
    (back,) = reconstruct([broken], method)
    return broken, back


# --- the front end's side


@pytest.mark.parametrize(
    "samples, n_fft, hop, window", [(70, 16, 4, "hann"), (67, 16, 5, "hamming"), (61, 12, 6, "sine")]
)
@pytest.mark.parametrize("middle", [None, 5])
def test_the_cover_of_a_sample_is_the_diagonal_of_the_normal_equations(samples, n_fft, hop, window, middle):
    front = ShortTime("stft", RATE, samples, n_fft, hop, window, middle=middle)
    held = np.random.default_rng(1).random(front.shape)
    units = front.encode(np.eye(samples, dtype=np.float32)[:, None])
    expected = (units.astype(float) ** 2 * front.emphasis[:, None] * held).sum((1, 2, 3))
    np.testing.assert_allclose(front.cover(held), expected, rtol=1e-5, atol=1e-6)
    if middle is None:  # of a whole spectrum, all is known: nothing is left but this diagonal
        x = sound(samples)
        back = front.adjoint(front.emphasis[:, None] * front.encode(x))
        np.testing.assert_allclose(back[0, 0], front.cover(np.ones(front.shape)) * x[0, 0], rtol=1e-3, atol=1e-4)


def test_what_is_not_linear_is_taken_out_and_put_back():
    x = sound(n=2, channels=2)
    front, whole = spectrum(x, compress=0.4, rms=0.2)
    assert front.plain.compress == 1 and front.plain.rms is None and front.plain.plain == front.plain
    gain = 0.2 / np.sqrt(np.square(x, dtype=float).mean((1, 2), keepdims=True))
    linear = front.plain.encode((x * gain).astype(np.float32))
    np.testing.assert_allclose(front.expanded(whole.data), linear, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(front.squeezed(linear), whole.data, rtol=1e-3, atol=1e-3)
    assert front.plain.expanded(linear) is linear and front.plain.squeezed(linear) is linear


# --- the solver


@pytest.mark.parametrize("lost", [0.2, 0.9])
@pytest.mark.parametrize("samples", [64, 71])
def test_it_is_the_dense_answer_and_the_smallest_where_there_are_many(lost, samples):
    """numpy.linalg.lstsq on the matrix itself, of D^1/2 x, where D is what all coefficients hold of a sample."""
    front = ShortTime("stft", RATE, samples, 16, 4)
    rng = np.random.default_rng(3)
    known = np.broadcast_to(rng.random((1, 1, *front.shape)) >= lost, (1, 2, *front.shape))
    value = front.encode(sound(samples)) + rng.standard_normal((1, 2, *front.shape)).astype(np.float32) * 0.1
    root = np.sqrt(front.cover(np.ones(front.shape)))
    matrix = front.encode((np.eye(samples) / root[:, None]).astype(np.float32)[:, None]).astype(float)
    weight = (np.sqrt(front.emphasis)[:, None] * known)[0]
    flat = (matrix * weight).reshape(samples, -1).T
    dense = np.linalg.lstsq(flat, (value[0] * weight).ravel(), rcond=1e-6)[0] / root
    found = Solved(front, value, known, 1e-9, 2000)
    np.testing.assert_allclose(found.sound, dense, atol=2e-3 * np.abs(dense).max())
    assert not found.frames and (found.left <= 1e-9 or found.count == 2000)


@pytest.mark.parametrize("settings", [{}, {"compress": 0.5}, {"rms": 0.1}, {"hop": 20, "window_fn": "hamming"}])
@pytest.mark.parametrize("lost", [0.25, 0.5])
def test_half_of_the_coefficients_is_enough(settings, lost):
    x = sound(n=2, channels=2)
    front, whole = spectrum(x, **settings)
    broken, back = recalled(whole, {"op": "mask", "mask": lost})
    assert back.history[-1]["method"] == "least-squares" and back.kind == "spectrum" and back.mask is None
    steps = back.history[-1]["steps"]
    assert "conjugate gradients" in steps[0] and "of the first gradient left" in steps[1]
    seen = broken.observed()
    assert np.array_equal(back.data[seen], whole.data[seen])  # what was observed stays, to the last bit
    scale = 1 if "rms" not in settings else 0.1 / np.sqrt(np.square(x, dtype=float).mean((1, 2), keepdims=True))
    assert snr(x * scale, front.decode(back.data)) > (105 if "compress" not in settings else 95)
    assert snr(x * scale, front.decode(broken.data)) < 15
    (alone,) = reconstruct([broken.take([1])])
    assert np.allclose(alone.data, back.data[1:], atol=1e-5)


def test_of_three_quarters_lost_no_more_is_claimed_than_there_is():
    x = sound(3000)
    front, whole = spectrum(x)
    _, back = recalled(whole, {"op": "mask", "mask": 0.75})
    assert 5 < snr(x, front.decode(back.data)) < 60
    assert back.history[-1]["steps"][0] == "least squares: 200 conjugate gradients"


def test_how_far_it_goes_is_how_many_steps_it_takes():
    """The equations hold the sound, as a dense solver shows; conjugate gradients come nearer step by step."""
    x = sound(700)
    front, whole = spectrum(x, 64, 16)
    (broken,) = fragment([whole], [{"op": "mask", "mask": 0.65}], 0)
    found = {}
    for most in (20, None, 3000):
        (back,) = reconstruct([broken], "least-squares", steps=most)
        found[most] = snr(x, front.decode(back.data))
        taken = int(back.history[-1]["steps"][0].split()[2])
        assert taken == (most or 200) or taken < 3000 == most
    (usual,) = reconstruct([broken])
    assert snr(x, front.decode(usual.data)) == found[None]
    weight = np.sqrt(front.emphasis)[:, None] * broken.observed()[0]
    matrix = front.encode(np.eye(700, dtype=np.float32)[:, None]) * weight
    dense = np.linalg.lstsq(
        matrix.reshape(700, -1).T.astype(float), (weight * whole.data[0]).ravel().astype(float), rcond=1e-7
    )[0]
    assert found[20] + 10 < found[None] < found[3000] - 20 and snr(x[0, 0], dense) > 110


def test_middle_frames_are_enough_for_what_they_sound():
    x = sound(4000)
    front, whole = spectrum(x, middle=60)
    _, back = recalled(whole, {"op": "mask", "mask": 0.3})
    part = x[..., front.first * 32 :][..., : front.sounding]
    assert snr(part[..., 100:-100], front.decode(back.data)[..., 100:-100]) > 60


def test_frames_that_are_lost_whole_are_a_gap_in_the_sound():
    x = sound(4000)
    front, whole = spectrum(x)
    broken, back = recalled(whole, {"op": "mask", "mask": 0.1, "shape": "span:9"})
    frames = broken.observed()[0, 0].all(axis=0)
    seen = np.zeros(4000, bool)
    for k in np.flatnonzero(frames):  # a Hann window is 0 at its first sample
        seen[max(0, k * 32 - 63) : k * 32 + 64] = True
    assert 0 < (~seen).sum() < 4000 // 5
    heard = front.decode(back.data)
    expected = fill_gaps(np.where(seen, x[0], 0), seen, RATE)
    # the outermost samples are seen by the edge of a window alone
    assert snr(expected[0], heard[0, 0]) > 40 and snr(x, heard) > snr(x, front.decode(broken.data)) + 10
    said = [s for s in back.history[-1]["steps"] if "autoregressive" in s]
    assert said == [f"lost: autoregressive interpolation of {(~seen).sum()} samples that no coefficient holds"]
    short, mended = recalled(whole, {"op": "mask", "mask": 0.1, "shape": "span:2"})
    assert snr(x, front.decode(mended.data)) > 100 and snr(x, front.decode(short.data)) < 20  # other frames hold it


def test_lost_rows_with_lost_frames_make_nothing_loud():
    """Steps divided by what is known of a sample make the first of these 12 dB louder than it should be (see Solved)."""
    x = sound(4000)
    front, whole = spectrum(x)
    for specs in (
        [{"op": "lowpass", "lowpass": 300.0}, {"op": "mask", "mask": 0.5, "shape": "span:10"}],
        [{"op": "crop", "crop": "40x60"}],
        [{"op": "mask", "mask": 0.3, "shape": "patch:10x8"}],
        [{"op": "mask", "mask": 0.3, "shape": "band"}],
    ):
        broken, back = recalled(whole, *specs)
        assert back.history[-1]["method"] == "least-squares"
        assert snr(x, front.decode(back.data)) > -0.5
        seen = evidence(broken).observed
        assert np.array_equal(back.data[seen], whole.data[seen])


@pytest.mark.parametrize("compress", [1.0, 0.5])
@pytest.mark.parametrize(
    "specs",
    [[{"bits": 4}], [{"bits": 8}], [{"bits": (3, 6), "scale": "peak"}], [{"bits": 6, "quantizer": "lloyd-max"}, 0.3]],
)
def test_quantised_coefficients_end_in_their_bins_and_nearer(specs, compress):
    x = sound(2000, n=2)
    front, whole = spectrum(x, compress=compress)
    ops = [{"op": "mask", "mask": s} if isinstance(s, float) else {"op": "bits", **s} for s in specs]
    broken, back = recalled(whole, *ops)
    says = evidence(broken)
    assert (says.low <= back.data).all() and (back.data <= says.high).all()
    (plain,) = reconstruct([broken], "decode")
    better = [snr(x[i], front.decode(b.data)[i]) for b in (plain, back) for i in (0, 1)]
    least = 0.1 if "scale" in specs[0] else 5  # (by the peak, no loud one was clipped)
    assert min(better[2] - better[0], better[3] - better[1]) > least, better
    assert "bits: 40 projections into the bins" in back.history[-1]["steps"]


def test_clipped_coefficients_come_back_and_coarse_ones_do_not():
    """Why spectra are quantised by their rms: its open bins count as lost, and what overlaps tells what was in them."""
    x = sound(2000)
    front, whole = spectrum(x)
    rms, usual, peak = (
        recalled(whole, {"op": "bits", "bits": 8, **s}) for s in ({"scale": "rms"}, {}, {"scale": "peak"})
    )
    assert np.array_equal(rms[0].data, usual[0].data)
    decoded, back = (snr(x, front.decode(s.data)) for s in usual)
    assert snr(x, front.decode(peak[0].data)) > decoded + 10
    assert back > snr(x, front.decode(peak[1].data)) + 5


def test_noise_is_not_put_back():
    x = sound(2000)
    front, whole = spectrum(x)
    broken, back = recalled(whole, {"op": "noise", "sigma": 0.2}, {"op": "mask", "mask": 0.3})
    seen = broken.observed()
    error = [np.sqrt(np.square(s.data - whole.data)[seen].mean()) for s in (broken, back)]
    assert error[1] < 0.75 * error[0]  # a spectrum of a sound holds a part of the noise only


# --- when it is chosen, and when not


def test_which_method_a_spectrum_gets():
    front, whole = spectrum(sound())
    mask, bits, noise = {"op": "mask", "mask": 0.5}, {"op": "bits", "bits": 4}, {"op": "noise", "sigma": 0.1}

    def chosen(signal, *specs):
        (broken,) = fragment([signal], list(specs)) if specs else (signal,)
        return choose(broken)

    assert chosen(whole) == "decode" and chosen(whole, noise) == "decode"
    for specs in (
        [mask],
        [bits],
        [{"op": "crop", "crop": "9x9"}],
        [{"op": "lowpass", "lowpass": 900.0}],
        [noise, mask],
    ):
        assert chosen(whole, *specs) == "least-squares"
    assert chosen(replace(whole, history=[]), mask) == "decode"  # nothing says what made it
    decoded = [*whole.history, {"tool": "lem-encode", "decoded": "stft"}]
    assert chosen(replace(whole, history=decoded), mask) == "decode"
    record = {"encoder": "log-mel", "rate": RATE, "samples": 1500, "n_fft": 256, "hop": 64, "bands": 20}
    mels = of(record)
    picture = Signal("spectrum", mels.encode(sound()), rate=RATE, history=[{"tool": "lem-encode", **mels.record}])
    assert (
        chosen(picture, mask) == "inpaint"
        and chosen(picture, bits) == "decode"
        and chosen(picture, bits, mask) == "smooth"
    )
    broken, back = recalled(picture, mask)
    lost = ~broken.observed()
    error = [np.square(s.data - picture.data)[lost].mean() for s in (broken, back)]
    assert error[1] < error[0] / 10 and np.array_equal(back.data[~lost], picture.data[~lost])


@pytest.mark.parametrize(
    "kind, history", [("image", []), ("audio", []), ("spectrum", []), ("spectrum", [{"encoder": "pca"}])]
)
def test_refused(kind, history):
    shape = {"audio": (1, 1, 50), "image": (1, 1, 6, 6), "spectrum": (1, 2, 6, 6)}[kind]
    whole = Signal(kind, np.full(shape, 0.5, np.float32), rate=RATE, history=history)
    with pytest.raises(LemError, match="--method least-squares is for complex spectra with a record") as caught:
        recalled(whole, {"op": "mask", "mask": 0.5}, method="least-squares")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"hop": 0}, "hop 0"),
        ({"n_fft": 64}, "are not the"),
        ({"samples": 700}, "are not the"),
        ({"window_fn": "fog"}, "no window 'fog'"),
        ({"hop": None}, "hop"),
    ],
)
def test_a_damaged_record_is_one_line(change, message):
    _, whole = spectrum(sound())
    whole.history = [{k: v for k, v in {**whole.history[0], **change}.items() if v is not None}]
    (broken,) = fragment([whole], [{"op": "mask", "mask": 0.5}])
    with pytest.raises(LemError, match=message) as caught:
        list(reconstruct([broken]))
    assert "\n" not in str(caught.value)


def test_nothing_observed_is_silence():
    front, whole = spectrum(sound())
    _, back = recalled(whole, {"op": "mask", "mask": 1.0})
    assert not back.data.any() and not front.decode(back.data).any()


def test_a_fragment_that_was_cut_off_is_not_recalled():
    _, whole = spectrum(sound())
    (broken,) = fragment([whole], [{"op": "mask", "mask": 0.5}])
    out = io.BytesIO()
    write([broken], out)
    raw = out.getvalue()
    (back,) = read(Source(io.BytesIO(raw), "pipe"))
    assert back.history == broken.history and choose(back) == "least-squares"
    for cut in (4, 200, len(raw) // 2, len(raw) - 1):
        with pytest.raises(LemError, match="cut"):
            list(reconstruct(read(Source(io.BytesIO(raw[:cut]), "pipe"))))


# --- as it is typed


def test_the_outermost_rows_of_wavelets_weigh_more_since_what_they_hold_alone_has_a_small_gain(monkeypatch):
    x = 0.05 + 0.1 * np.random.default_rng(0).standard_normal((1, 1, 600)).astype(np.float32)
    front = Morlet("morlet", RATE, 600, lowest=100.0)
    known = np.random.default_rng(1).random((1, 1, *front.encode(x).shape[2:])) < 0.5
    known = np.broadcast_to(known, front.encode(x).shape)
    weighted = Solved(front, front.encode(x), known, 1e-8, 200)
    monkeypatch.setattr(Morlet, "emphasis", Front.emphasis)
    plain = Solved(front, front.encode(x), known, 1e-8, 200)
    assert weighted.count < 0.7 * plain.count and snr(x[0, 0], weighted.sound) > 100 < snr(x[0, 0], plain.sound)


@pytest.mark.parametrize("encoder, least", [("stft", 100), ("morlet", 90)])
def test_the_pipeline_of_the_manual(tmp_path, encoder, least):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.wav", sound(4000 if encoder == "stft" else 800)[0, 0], 8000, subtype="FLOAT")
    made = lem_fork("encode", "--encoder", encoder, "a.wav", cwd=tmp_path)
    for tool, *args in (("fragment", "--mask", ".5"), ("reconstruct",), ("encode", "--decode")):
        made = lem_fork(tool, *args, stdin=made.stdout, cwd=tmp_path)
        assert made.returncode == 0 and not made.stderr, made.stderr
    done = lem_fork("compare", "a.wav", "-", stdin=made.stdout, cwd=tmp_path)
    lines = dict(line.split("\t")[:2] for line in done.stdout.decode().splitlines())
    assert float(lines["snr"]) > least, lines


def test_sounds_of_several_lengths_come_back_each_at_its_own(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    lengths = {"a": 4000, "b": 3001, "c": 4000}
    for k, (name, samples) in enumerate(lengths.items()):
        soundfile.write(tmp_path / f"{name}.wav", sound(samples, seed=k)[0, 0], 8000, subtype="FLOAT")
    made = lem_fork("encode", "--encoder", "stft", "-q", *(f"{n}.wav" for n in lengths), cwd=tmp_path)
    made = lem_fork("fragment", "--mask", ".5", stdin=made.stdout, cwd=tmp_path)
    made = lem_fork("reconstruct", stdin=made.stdout, cwd=tmp_path)
    made = lem_fork("encode", "--decode", "-o", "back/", stdin=made.stdout, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    for name, samples in lengths.items():
        x, y = (soundfile.read(tmp_path / place, dtype="float32")[0] for place in (f"{name}.wav", f"back/{name}.wav"))
        assert len(y) == samples and snr(x, y) > 100


# --- what stops where


def test_what_hardly_any_coefficient_holds_of_noisy_ones_is_a_gap():
    """At the edges of lost frames windows end: what noise there was would be divided by next to nothing."""
    x = sound(3000)
    front, whole = spectrum(x)
    specs = {"op": "noise", "sigma": 0.05}, {"op": "mask", "mask": 0.2, "shape": "span:6"}
    (broken,) = fragment([whole], list(specs), 1)
    plain, back = (
        snr(x, front.decode(recalled.data)) for m in ("decode", "auto") for recalled in reconstruct([broken], m)
    )
    assert back > plain + 1, (plain, back)


def test_of_noisy_coefficients_few_steps_are_made():
    """More of them would bring back the noise, magnified."""
    _, whole = spectrum(sound(800))
    *_, back = recalled(whole, {"op": "noise", "sigma": 0.1}, {"op": "mask", "mask": 0.75})
    assert back.history[-1]["steps"][0] == "least squares: 60 conjugate gradients"
    *_, back = recalled(whole, {"op": "mask", "mask": 0.75})
    assert back.history[-1]["steps"][0] == "least squares: 200 conjugate gradients"


def test_where_nothing_is_left_there_is_silence_and_no_word_of_a_gap():
    front, whole = spectrum(sound(800))
    gone = replace(whole, data=whole.data * 0, mask=np.zeros((1, 1, *front.shape), bool), ops=[{"op": "mask"}])
    back, done = recall(gone)
    assert not back.data.any() and not any("interpolation" in line for line in done)


def test_a_number_of_which_one_part_is_lost_or_without_an_end_is_unknown_once_it_was_compressed(monkeypatch):
    """|c|^P e^(i arg c): without the imaginary part nothing is known of the real one."""
    front, whole = spectrum(sound(800), compress=0.5)
    known, asked = evidence(fragment_of_bits(whole)), []
    ends = np.isfinite(known.low) & np.isfinite(known.high)
    assert (ends[:, 0] != ends[:, 1]).any()

    class Seen(Solved):
        def __init__(self, front, value, known, *rest):
            asked.append(known)
            super().__init__(front, value, known, *rest)

        def unseen(self, observed, exact):
            asked.append(observed)
            return super().unseen(observed, exact)

    monkeypatch.setattr(least_squares, "Solved", Seen)
    known.observed[:, 1, 3:9] = False
    known.low[:, 1, 3:9], known.high[:, 1, 3:9] = -np.inf, np.inf
    least_squares.spectrum(front, known, least_squares.Done())
    for found, want in zip(asked, (known.observed & ends, known.observed), strict=True):
        assert np.array_equal(found, np.broadcast_to(want.all(1, keepdims=True), want.shape))


def fragment_of_bits(whole):
    (broken,) = fragment([whole], [{"op": "bits", "bits": 3}])
    return broken


def test_projections_into_bins_are_accelerated():
    """As many plain ones leave the spectrum several times as far from its bins."""
    front, whole = spectrum(sound(800))
    known = evidence(fragment_of_bits(whole))

    def apart(x):
        now = front.encode(x[None, None].astype(np.float32))
        return np.clip(now, known.low, known.high) - now

    def distance(x):
        return float((front.emphasis[:, None] * np.square(apart(x), dtype=float)).sum())

    plain = start = np.zeros(800)
    for _ in range(least_squares.PROJECTIONS):
        plain = plain + front.adjoint(front.emphasis[:, None] * apart(plain))[0, 0] / front.cover(np.ones(front.shape))
    assert 3 * distance(least_squares.projected(front, start, known)) < distance(plain) < distance(start)
