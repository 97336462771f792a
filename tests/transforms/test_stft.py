"""The short-time Fourier transform: by its definition, by torch, by scipy, and back again at any length."""

import json
import re

import numpy as np
import pytest

from lemtools.catalogue import LemError
from lemtools.catalogue.encoders import ENCODERS
from lemtools.transforms import of, stft
from lemtools.transforms.history import front as front_of
from lemtools.transforms.history import latest
from lemtools.transforms.short import ShortTime


def sounds(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def short(samples, n_fft=64, hop=16, **more):
    return ShortTime(encoder="stft", rate=8000.0, samples=samples, n_fft=n_fft, hop=hop, **more)


def snr(a, b):
    return 10 * np.log10(np.square(a, dtype=float).sum() / max(np.square(a.astype(float) - b).sum(), 1e-30))


def pairs(spectrum):
    return spectrum[:, 0::2] + 1j * spectrum[:, 1::2].astype(complex)


@pytest.mark.parametrize("name", stft.WINDOWS)
def test_frames_are_their_definition(name):
    samples, n_fft, hop = 75, 16, 3
    x, w = sounds(2, 2, samples), stft.window(name, n_fft)
    padded = np.pad(x.astype(float), ((0, 0), (0, 0), (n_fft // 2, n_fft)))
    n = np.arange(n_fft)
    wave = np.exp(-2j * np.pi * np.outer(np.arange(n_fft // 2 + 1), n) / n_fft)
    wanted = np.stack([(padded[..., k : k + n_fft] * w) @ wave.T for k in range(0, samples + 1, hop)], -1)
    front = short(samples, n_fft, hop, window_fn=name)
    found = front.encode(x)
    assert found.dtype == np.float32 and found.shape == (2, 4, *front.shape) == (2, 4, 9, 26)
    assert np.abs(pairs(found) - wanted).max() < 2e-6 * np.abs(wanted).max()
    assert np.abs(stft.stft(x, w, hop) - wanted).max() < 2e-6 * np.abs(wanted).max()


def test_frames_and_windows_are_those_of_torch_and_scipy():
    torch, windows = pytest.importorskip("torch"), pytest.importorskip("scipy.signal.windows")
    x = sounds(1, 2, 5000)
    for name, hop in (("hann", 64), ("hamming", 50), ("blackman", 33)):
        w = stft.window(name, 256)
        theirs = torch.stft(
            torch.from_numpy(x[0]),
            256,
            hop,
            window=torch.from_numpy(w).float(),
            pad_mode="constant",
            return_complex=True,
        )
        assert np.abs(pairs(short(5000, 256, hop, window_fn=name).encode(x))[0] - theirs.numpy()).max() < 3e-5
        assert np.allclose(w, windows.get_window(name, 256), atol=1e-12)
        assert np.allclose(w, getattr(torch, f"{name}_window")(256, dtype=torch.float64).numpy(), atol=1e-12)
    assert np.allclose(stft.window("blackmanharris", 64), windows.get_window("blackmanharris", 64), atol=1e-12)
    assert np.allclose(stft.window("sine", 64), windows.get_window("cosine", 64, fftbins=False), atol=1e-12)
    assert np.array_equal(stft.window("rect", 8), np.ones(8))
    assert np.allclose(stft.window("sqrt-hann", 64) ** 2, stft.window("hann", 64), atol=1e-12)


@pytest.mark.parametrize("n_fft, hop", [(64, 16), (64, 17), (64, 1), (64, 31), (64, 40), (1024, 256), (1024, 333)])
@pytest.mark.parametrize("name", ["hann", "hamming", "blackman", "sine"])
def test_every_length_comes_back(n_fft, hop, name):
    for samples in (1, 2, 5, hop, 63, 64, 65, 3 * hop + 1, 1000, 2500):
        x = sounds(1, 1, samples, seed=samples)
        try:
            front = short(samples, n_fft, hop, window_fn=name)
        except LemError:
            assert (name, n_fft, hop) == ("blackman", 64, 40)
            return
        back = front.decode(front.encode(x))
        assert back.shape == x.shape and back.dtype == np.float32 and snr(x, back) > 130, samples


@pytest.mark.parametrize("name", ["rect", "hann"])
@pytest.mark.parametrize("n_fft, hop", [(256, 1), (1024, 3), (2048, 16)])
def test_hundreds_of_frames_that_hold_a_sample_lose_no_digits(n_fft, hop, name):
    """Of a rect window each adds the same number, and float32 would round every sum the same way: 103 dB at 1024, 1."""
    x, front = sounds(1, 1, 1500), short(1500, n_fft, hop, window_fn=name)
    assert snr(x, front.decode(front.encode(x))) > 138


@pytest.mark.parametrize("name, hop", [("hann", 55), ("blackman", 51), ("sine", 62), ("blackmanharris", 45)])
def test_the_last_hops_that_are_taken(name, hop):
    """Where the sum of squared windows comes near .3 % of its peak; one sample more, and it is refused."""
    for samples in (50, 700, 4000):
        x, front = sounds(1, 1, samples, seed=samples), short(samples, 64, hop, window_fn=name)
        assert snr(x, front.decode(front.encode(x))) > 129
    with pytest.raises(LemError, match=f"a {name} window of 64 samples and a hop of {hop + 1} cannot be inverted"):
        stft.check(64, hop + 1, name)


def test_frames_are_as_many_as_in_torch_and_one_more_at_wide_hops():
    assert [stft.frames(n, 64, 16) for n in (1, 15, 16, 100)] == [1, 1, 2, 7]
    assert [stft.frames(n, 64, 17) for n in (1, 17, 18, 100)] == [2, 2, 3, 7]


def test_rect_windows_side_by_side_come_back():
    for samples in (1, 31, 32, 33, 64, 500):
        x, front = sounds(1, 2, samples), short(samples, 64, 64, window_fn="rect")
        assert snr(x, front.decode(front.encode(x))) > 130


@pytest.mark.parametrize("samples, count", [(7, None), (50, None), (50, 3), (9, 1)])
def test_the_inverse_is_that_of_least_squares(samples, count):
    """Of frames that belong to no sound: the sound whose own frames are nearest, by numpy's solver."""
    n_fft, hop, w = 16, 5, stft.window("hann", 16)
    count = count or stft.frames(samples, n_fft, hop)
    frames = sounds(n_fft, count, seed=4).astype(
        float
    )  # in time: the transform of a frame is unitary but for its scale
    spectrum = np.fft.rfft(frames, axis=0)
    found = stft.istft(spectrum[None], w, hop, samples)[0]
    place = np.zeros((n_fft * count, n_fft + hop * count + samples))
    for k in range(count):
        place[k * n_fft : (k + 1) * n_fft, k * hop : k * hop + n_fft] = np.diag(w)
    seen = place[:, n_fft // 2 : n_fft // 2 + samples]
    wanted = np.linalg.lstsq(seen, frames.T.ravel(), rcond=None)[0]
    assert np.abs(found - wanted).max() < 2e-4 * max(1, np.abs(wanted).max())


def test_compressed_magnitudes_come_back_and_phases_stay():
    x = sounds(1, 1, 4000) * 1e-2
    x[..., 1000:1600] = 0
    plain, front = short(4000), short(4000, compress=0.4)
    a, b = pairs(plain.encode(x)), pairs(front.encode(x))
    assert np.allclose(np.abs(b), np.abs(a) ** 0.4, rtol=1e-4, atol=1e-6)
    loud = np.abs(a) > 1e-3
    assert np.allclose(np.angle(b[loud] / a[loud]), 0, atol=1e-4) and np.isfinite(b).all()
    assert snr(x, front.decode(front.encode(x))) > 130


def test_rms_and_the_middle_frames():
    x = sounds(2, 2, 5001) * np.float32([[[0.1]], [[3]]])
    front, whole = short(5001, rms=0.2, middle=40), short(5001)
    same = (x / np.sqrt(np.square(x, dtype=float).mean((1, 2), keepdims=True)) * 0.2).astype(np.float32)
    all_frames = whole.encode(same)
    first = (all_frames.shape[-1] - 40) // 2
    cut = front.encode(x)
    assert cut.shape == (2, 4, *front.shape) and front.shape == (33, 40) and front.first == first
    assert np.allclose(cut, all_frames[..., first : first + 40], atol=1e-5)
    back = front.decode(cut)
    assert back.shape[-1] == front.sounding == 39 * 16
    assert snr(same[..., first * 16 : first * 16 + 39 * 16], back) > 130
    with pytest.raises(LemError, match="silent"):
        front.encode(x * 0)
    with pytest.raises(LemError, match="make 7 frames, not 40"):
        short(100, middle=40)


@pytest.mark.parametrize("more", [{}, {"middle": 5}, {"window_fn": "rect"}, {"window_fn": "sine"}])
def test_frames_whose_every_sample_was_observed(more):
    rng, samples = np.random.default_rng(0), 300
    front = short(samples, 32, 7, **more)
    observed = rng.random((20, samples)) > 0.02
    base = sounds(1, 1, samples)
    before = front.encode(base)
    for row, kept in zip(observed, front.observed_frames(observed)):
        other = np.where(row, base, base + 100)
        changed = (front.encode(other) != before).any((0, 1, 2))
        assert np.array_equal(kept, ~changed)
    assert front.observed_frames(np.ones((2, 3, samples), bool)).all()
    assert front.observed_frames(observed).shape[1] == front.shape[1]


def test_records_go_through_json_and_back():
    front = short(777, 32, 9, window_fn="hamming", compress=0.5)
    assert of(json.loads(json.dumps(front.record))) == front
    assert set(front.record) == {"encoder", "rate", "samples", "n_fft", "hop", "window_fn", "compress"}
    assert np.allclose(front.hz, np.fft.rfftfreq(32, 1 / 8000)) and front.frame_seconds == 9 / 8000
    assert front.zero.sum() == 2 and front.zero[1, 0] and front.zero[1, -1]
    spectrum = front.encode(sounds(3, 2, 777)).reshape(3, 2, 2, *front.shape)
    assert not spectrum[:, :, front.zero].any() and (np.abs(spectrum[:, :, ~front.zero]).max((0, 1, 3)) > 0).all()


@pytest.mark.parametrize(
    "change, says",
    [
        ({"n_fft": 33}, "even"),
        ({"n_fft": "64"}, "n_fft '64'"),
        ({"n_fft": True}, "n_fft True"),
        ({"n_fft": 1 << 40}, "n_fft"),
        ({"hop": 0}, "hop 0"),
        ({"hop": 65}, "cannot be inverted"),
        ({"hop": 64}, "cannot be inverted"),
        ({"window_fn": "kaiser"}, "no window 'kaiser'"),
        ({"window_fn": ["hann"]}, "no window"),
        ({"compress": 0}, "compress 0"),
        ({"compress": float("nan")}, "compress nan"),
        ({"rate": float("inf")}, "rate inf"),
        ({"samples": 0}, "samples 0"),
        ({"encoder": "text"}, "makes no spectra"),
        ({"encoder": "wavelet9"}, "'wavelet9', which makes no spectra; stft, "),
        ({"n_fft": None}, "n_fft None"),
    ],
)
def test_records_that_cannot_be_are_one_line(change, says):
    with pytest.raises(LemError, match=says) as error:
        of({**short(500).record, **change})
    assert "\n" not in str(error.value)
    with pytest.raises(LemError, match="without its rate, samples, n_fft, hop"):
        of({"encoder": "stft"})


@pytest.mark.parametrize("n_fft", [2, 6, 16, 50, 256])
@pytest.mark.parametrize("name", stft.WINDOWS)
def test_a_hop_that_is_refused_names_the_largest_that_is_taken(name, n_fft):
    taken = []
    for hop in range(1, n_fft + 2):
        try:
            stft.check(n_fft, hop, name)
        except LemError as error:
            named = int(re.search(r"take a hop of (\d+) or less$", str(error))[1])
        else:
            taken.append(hop)
    assert taken == list(range(1, named + 1)) and named >= n_fft / 2


def test_other_shapes_are_refused():
    front = short(500)
    with pytest.raises(LemError, match="sounds"):
        front.encode(sounds(1, 1, 499))
    for shape in ((1, 2, 33, 31), (1, 3, 33, 32), (1, 2, 32, 32)):
        with pytest.raises(LemError, match="are not the"):
            front.decode(sounds(*shape))
    with pytest.raises(LemError, match="499 samples"):
        front.observed_frames(np.ones(499, bool))


def test_the_front_of_a_history():
    record = {"tool": "lem-encode", **short(500).record}
    assert front_of([]) is None and front_of([{"tool": "x"}]) is None
    assert front_of([record, {"tool": "lem-fragment"}]) == short(500)
    assert front_of([record, {"decoded": "stft"}]) is None and latest([record, {"decoded": "stft"}]) is None
    assert front_of([record, {"encoder": "voice"}]) is None
    assert front_of([record, {"encoder": "voice"}, {"decoded": "voice"}]) == short(500)
    with pytest.raises(LemError, match="n_fft"):
        front_of([{**record, "n_fft": 3}])


def test_the_catalogue_offers_the_windows_there_are():
    option = ENCODERS.options()["window_fn"][0]
    assert option.type == stft.WINDOWS


@pytest.mark.parametrize(
    "samples, middle, begin, sounding", [(100, 5, 0, 100), (100, 3, 32, 64), (90, 4, 0, 90), (90, 1, 32, 1)]
)
def test_what_cut_frames_decode_to_ends_with_the_sound(samples, middle, begin, sounding):
    """At a hop of half a window the last frame is centred behind the last sample: nothing sounds there."""
    x, front = sounds(1, 1, samples), short(samples, 64, 32, window_fn="sine", middle=middle)
    back = front.decode(front.encode(x))
    assert front.first * 32 == begin and back.shape == (1, 1, sounding) == (1, 1, front.sounding)
    inner = back[0, 0, : max(1, sounding - 32)] if sounding > 1 else back[0, 0]
    if middle > 1 and begin == 0:
        np.testing.assert_allclose(inner, x[0, 0, : len(inner)], atol=1e-5)


def test_the_weights_of_rows_are_those_of_parseval():
    """Under them the squares of a frame sum to n_fft times those of its weighted samples: of a whole tone at half the rate, too."""
    front = short(512, 32, 8, window_fn="rect")
    for x in (sounds(1, 1, 512), np.resize([1.0, -1.0], (1, 1, 512)).astype(np.float32)):
        frame = np.sum(np.square(front.encode(x)[0, :, :, 30], dtype=float), axis=0)
        assert np.sum(front.emphasis * frame) == pytest.approx(
            32 * np.square(x[0, 0, 224:256], dtype=float).sum(), rel=1e-5
        )
