"""Training-free recall of sound against closed forms, dense linear algebra and its own contracts."""

import warnings

import numpy as np
import pytest

from lemtools.fragment import fragment
from lemtools.reconstruct import reconstruct
from lemtools.restore import autoregression as ar
from lemtools.restore import gaps
from lemtools.restore.dequantize_sound import dequantize, truncated_normal
from lemtools.restore.gaps import fill_gaps, linear
from lemtools.signal import Signal


def toeplitz(t):
    n = np.arange(len(t))
    return t[np.abs(n[:, None] - n)]


def snr(truth, estimate):
    return 10 * np.log10(np.sum(truth**2) / np.sum((truth - estimate) ** 2))


def ar2(n, seed=0):
    """A stationary AR(2) sample [n], its coefficients (1, a1, a2) and autocovariance [n] for unit innovations."""
    a = np.array([1.0, -1.6, 0.81])
    noise = np.random.default_rng(seed).standard_normal(n + 500)
    x = np.zeros(n + 500)
    for i in range(2, len(x)):
        x[i] = noise[i] - a[1] * x[i - 1] - a[2] * x[i - 2]
    c = np.zeros(n)  # Yule-Walker, solved by hand for p = 2
    c[0] = (1 + a[2]) / ((1 - a[2]) * ((1 + a[2]) ** 2 - a[1] ** 2))
    c[1] = -a[1] / (1 + a[2]) * c[0]
    for k in range(2, n):
        c[k] = -a[1] * c[k - 1] - a[2] * c[k - 2]
    return x[500:], a, c


def quantize(x, bits=6):
    """Bounds of a mid-riser over [-1, 1] of x divided by its own peak, and the divided x."""
    v, n = x / np.abs(x).max(), 2**bits
    code = np.clip(np.floor((v + 1) / 2 * n), 0, n - 1)
    return v, code / n * 2 - 1, (code + 1) / n * 2 - 1


def chord(seconds=1.0, rate=44100):
    t = np.arange(round(seconds * rate)) / rate
    partials = [(f, h) for f in (220, 277.2, 329.6) for h in (1, 2, 3, 4)]
    return sum(np.sin(2 * np.pi * f * h * t + f) / h * np.exp(-t * h) for f, h in partials)


def test_levinson_solves_the_normal_equations():
    x = np.random.default_rng(0).standard_normal(400)
    r = np.correlate(x, x, "full")[399:440] / 400
    a, error = ar.levinson(r)
    expected = np.zeros(41)
    expected[0] = error
    np.testing.assert_allclose(toeplitz(r) @ a, expected, atol=1e-12)
    np.testing.assert_allclose(a[1:], np.linalg.solve(toeplitz(r[:-1]), -r[1:]), atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 64, 333])
def test_toeplitz_solver_is_the_dense_one(n):
    t = 0.95 ** np.arange(n) * np.cos(0.3 * np.arange(n)) + 1e-3 * (np.arange(n) == 0)
    b = np.random.default_rng(n).standard_normal(n)
    np.testing.assert_allclose(ar.toeplitz_solver(t)(b), np.linalg.solve(toeplitz(t), b), rtol=1e-7, atol=1e-7)


def test_toeplitz_inverse_is_the_precision_matrix():
    _, a, c = ar2(30)
    np.testing.assert_allclose(ar.toeplitz_inverse(a, 30)(np.eye(30)), np.linalg.inv(toeplitz(c)), atol=1e-10)


@pytest.mark.parametrize(
    "lost",
    [np.arange(40, 60), np.arange(0, 7), np.arange(93, 100), np.arange(1, 99, 2), np.array([0, 3, 4, 50, 98, 99])],
    ids=["middle", "start", "end", "odd", "scattered"],
)
def test_conditional_mean_is_the_gaussian_one(lost):
    x, a, c = ar2(100)
    covariance, rest = toeplitz(c), np.setdiff1d(np.arange(100), lost)
    expected = covariance[np.ix_(lost, rest)] @ np.linalg.solve(covariance[np.ix_(rest, rest)], x[rest])
    np.testing.assert_allclose(ar.conditional_mean(x, lost, a), expected, atol=1e-8)


def test_weighted_least_squares_against_the_stacked_system():
    x, _, _ = ar2(120)
    lost, p, n = np.array([50, 51, 52, 70]), 3, 117
    variance = np.random.default_rng(1).uniform(0.5, 2, (2, n))
    root = np.sqrt(variance.ravel())[:, None]
    a, filled = ar.weighted_least_squares(x, lost, p, variance)
    rows = np.lib.stride_tricks.sliding_window_view(x, p + 1)
    both = np.concatenate([rows[:, ::-1], rows]) * np.sqrt(np.tile(np.hanning(n + 2)[1:-1], 2))[:, None] / root
    np.testing.assert_allclose(a[1:], np.linalg.lstsq(both[:, 1:], -both[:, 0], rcond=None)[0], atol=1e-7)
    filters = np.zeros((2, n, 120))  # the prediction errors are filters @ x
    for i in range(n):
        filters[0, i, i : i + p + 1], filters[1, i, i : i + p + 1] = a[::-1], a
    stacked = (filters / np.sqrt(variance)[:, :, None]).reshape(2 * n, 120)  # variance is now the local one
    known = np.delete(np.arange(120), lost)
    expected = np.linalg.lstsq(stacked[:, lost], -stacked[:, known] @ x[known], rcond=None)[0]
    np.testing.assert_allclose(filled, expected, atol=1e-8)
    assert variance.mean() == pytest.approx(1) and variance.min() > 0


def test_gaps_at_a_low_rate_follow_bursts_of_excitation():
    burst = np.random.default_rng(0).standard_normal(8000) * np.where(np.arange(8000) % 70 < 3, 1, 0.01)
    x = np.zeros(8000)
    for i in range(2, 8000):
        x[i] = burst[i] + 1.8 * x[i - 1] - 0.95 * x[i - 2]
    observed = np.ones(8000, bool)
    for at in range(500, 7500, 700):  # after a burst
        observed[at + 5 : at + 45] = False
    assert snr(x[~observed], fill_gaps(np.where(observed, x, 0)[None], observed, 8000)[0, ~observed]) > 15


def test_long_runs_take_the_fast_path_to_the_same_answer():
    x, a, _ = ar2(700)
    lost = np.arange(200, 201 + ar.TOGETHER)
    precision = ar.toeplitz_inverse(a, 700)(np.eye(700))
    rest = np.setdiff1d(np.arange(700), lost)
    expected = np.linalg.solve(precision[np.ix_(lost, lost)], -precision[np.ix_(lost, rest)] @ x[rest])
    np.testing.assert_allclose(ar.conditional_mean(x, lost, a), expected, atol=1e-8)


def test_burg_continues_sinusoids():
    n = np.arange(1200)
    x = np.sin(0.05 * n) + 0.5 * np.cos(0.31 * n + 1)
    assert snr(x[1000:], ar.extrapolate(x[:1000], 200, ar.burg(x[:1000], 32))) > 30


def test_models_weigh_by_the_inverse_cube_of_their_probe_errors(monkeypatch):
    off = 0.1, 0.2, 0.05  # what each model adds to a constant sound
    monkeypatch.setattr(gaps, "MODELS", [(k, 4) for k in (1, 2, 3)])
    monkeypatch.setattr(gaps, "_janssen", lambda x, lost, order, context: np.full(len(lost), 1 + off[order // 706 - 1]))
    observed = np.ones(40000, bool)
    observed[20000:20200] = False
    weight = np.array(off) ** -6.0
    expected = 1 + (weight * off).sum() / weight.sum()
    assert fill_gaps(np.ones((1, 40000)), observed)[0, 20100] == pytest.approx(expected, rel=1e-6)


def test_a_silent_side_does_not_choose_the_model(monkeypatch):
    monkeypatch.setattr(gaps, "MODELS", [(1, 4), (2, 4)])
    truth = np.where(np.arange(40000) < 19950, 0.0, 1.0)

    def model(x, lost, order, context):  # the first is right where there is sound, the second where there is none
        loud = x[lost[-1] + 1] > 0
        return np.full(
            len(lost), {(1, True): 1.0, (1, False): 1e-3, (2, True): 0.5, (2, False): 0.0}[order // 706, bool(loud)]
        )

    monkeypatch.setattr(gaps, "_janssen", model)
    observed = np.ones(40000, bool)
    observed[20000:20200] = False
    assert fill_gaps(truth[None], observed)[0, 20100] == pytest.approx(1, abs=1e-3)


def spied(x, observed, rate, monkeypatch):
    """The weights of the models, of a sound [T] with one gap."""
    seen = []
    kept = gaps._weights
    monkeypatch.setattr(gaps, "_weights", lambda *given: seen.append(kept(*given)) or seen[-1])
    out = fill_gaps(np.where(observed, x, 0)[None], observed, rate)[0]
    return seen[0], out


def test_the_order_follows_the_sound(monkeypatch):
    rate, n = 44100, 40000
    observed = np.ones(n, bool)
    observed[20000:20882] = False
    draws = np.random.default_rng(0)
    dense = sum(
        np.sin(2 * np.pi * f * np.arange(n) / rate + p) for f, p in draws.uniform((150, 0), (2000, 6), (120, 2))
    )
    noisy = ar2(n)[0]
    high, mended = spied(dense, observed, rate, monkeypatch)
    low, _ = spied(noisy, observed, rate, monkeypatch)
    orders = np.array(gaps.MODELS)[:, 0]
    assert low.argmax() == 0 and low @ orders < orders.mean() < 1.5 < high @ orders
    few = gaps._janssen(np.where(observed, dense, 0), np.flatnonzero(~observed), 88, 2824)
    assert snr(dense[~observed], mended[~observed]) > snr(dense[~observed], few) + 8


def test_an_autoregressive_sound_comes_back_almost_as_if_its_model_were_known():
    x, a, _ = ar2(30000, 3)
    observed = np.ones(30000, bool)
    for at in range(6000, 24000, 3000):
        observed[at : at + 60] = False
    known, ours = np.where(observed, x, 0), fill_gaps(np.where(observed, x, 0)[None], observed, 44100)[0]
    for run in np.split(np.flatnonzero(~observed), 6):
        near = slice(run[0] - 100, run[-1] + 101)
        known[run] = ar.conditional_mean(x[near], run - near.start, a)
    best = ((x - known)[~observed] ** 2).mean()
    assert best < ((x - ours)[~observed] ** 2).mean() < 1.2 * best
    assert ((ours - known)[~observed] ** 2).mean() < 0.15 * best


def test_probes_are_observed_samples_away_from_the_gap():
    x, gap = np.arange(9000.0), np.zeros(9000, bool)
    lost = np.arange(4000, 4300)
    gap[lost] = True
    gap[4750:4800] = True  # another gap, within the second probe
    before, after = gaps._beside(x, gap, lost, 500)
    for (near, at, known), start in zip((before, after), (3400, 4600)):
        np.testing.assert_array_equal(near[at], np.arange(start, start + 300))
        np.testing.assert_array_equal(known, ~gap[start : start + 300])
        assert len(near) == 1300 and near[0] == start - 500
    ((_, at, _),) = gaps._beside(x, np.zeros(9000, bool), np.arange(200, 500), 500)  # no room before it
    assert at[0] == 500
    ((near, at, known),) = gaps._before_the_end(x[:4300], gap[:4300], lost, 1000)
    np.testing.assert_array_equal(near, np.arange(2700, 4000))
    np.testing.assert_array_equal(near[at], np.arange(3700, 4000))
    ((near, at, _),) = gaps._before_the_end(x[4000:], gap[4000:] & (x[4000:] < 4300), lost - 4000, 1000)
    np.testing.assert_array_equal(near, np.arange(4300, 5600))
    np.testing.assert_array_equal(near[at], np.arange(4300, 4600))
    assert not list(gaps._before_the_end(x[3500:4300], gap[3500:4300], lost - 3500, 1000))  # too short for one


@pytest.mark.parametrize("where", [slice(0, 500), slice(-500, None)])
def test_the_ends_of_a_sound_go_on(where):
    t = np.arange(12000) / 44100
    x = np.sin(2 * np.pi * 440 * t) + 0.5 * np.sin(2 * np.pi * 1234.5 * t + 1)
    observed = np.ones(len(x), bool)
    observed[where] = False
    assert snr(x[~observed], fill_gaps(np.where(observed, x, 0)[None], observed, 44100)[0, ~observed]) > 30


def test_fast_sizes():
    smooth = sorted(2**i * 3**j * 5**k for i in range(14) for j in range(4) for k in range(3))
    for n in (1, 2, 7, 11, 97, 1000, 4097):
        assert ar.fast_size(n) == min(m for m in smooth if m >= n)


def test_a_cross_fade_continues_both_sides():
    n = np.arange(3000)
    before, after = np.sin(0.05 * n), np.cos(0.31 * n)
    mended = ar.cross_faded(before[:1200], after[1400:], 200, 32)
    fade = np.cos(np.pi / 2 * (np.arange(200) + 0.5) / 200) ** 2
    assert snr((fade * before[1200:1400] + (1 - fade) * after[1200:1400]), mended) > 30


@pytest.mark.parametrize("length", [40, 220, 882])
def test_sinusoids_come_back(length):
    t = np.arange(22050) / 44100
    x = sum(np.sin(2 * np.pi * f * t + f) for f in (440, 1234.5, 3000))[None] / 3
    observed = np.ones(22050, bool)
    observed[9000 : 9000 + length] = False
    out = fill_gaps(np.where(observed, x, 0), observed, 44100)
    assert snr(x[:, ~observed], out[:, ~observed]) > 40
    assert snr(x[:, ~observed], linear(np.where(observed, x, 0), observed)[:, ~observed]) < 10


def test_half_of_the_samples_lost():
    x = chord(0.2)[None]
    observed = np.random.default_rng(0).random(x.shape) > 0.5
    y = np.where(observed, x, 0)
    control = snr(x[~observed], linear(y, observed)[~observed])
    assert snr(x[~observed], fill_gaps(y, observed, 44100)[~observed]) > control + 10


@pytest.mark.parametrize(
    "where",
    [
        slice(0, 300),
        slice(-300, None),
        slice(0, 1),
        slice(-1, None),
        slice(50, 400),
        slice(700, 701),
        slice(0, 1999),
        slice(1, None),
        slice(0, None, 2),
    ],
)
def test_edges_are_finite_and_observed_samples_exact(where):
    x = np.stack([chord(0.1)[:2000], -chord(0.1)[1000:3000]]).astype(np.float32)
    observed = np.ones(2000, bool)
    observed[where] = False
    y = np.where(observed, x, np.float32(np.nan))  # what a lost sample holds must not matter
    for out in (fill_gaps(y, observed, 44100), linear(y, observed)):
        assert out.dtype == np.float32 and out.shape == x.shape and np.isfinite(out).all()
        np.testing.assert_array_equal(out[:, observed], x[:, observed])
        assert np.abs(out).max() < 4 * np.abs(x).max()


def test_masks_of_each_channel_and_of_one_row_agree():
    x = np.stack([chord(0.1)] * 2)
    observed = np.ones(x.shape[1], bool)
    observed[1000:1100] = False
    for shape in (observed[None], np.stack([observed] * 2)):
        np.testing.assert_array_equal(fill_gaps(x, shape, 44100), fill_gaps(x, observed, 44100))


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_tiny_sounds(n):
    for mask in range(2**n):
        observed = np.array([mask >> i & 1 for i in range(n)], bool)
        out = fill_gaps(np.ones((1, n)), observed, 8000)
        assert np.isfinite(out).all() and (out[:, observed] == 1).all()
    assert (fill_gaps(np.ones((2, n)), np.zeros(n, bool), 8000) == 0).all()


def test_a_gap_in_digital_silence_is_silence():
    observed = np.ones(4000, bool)
    observed[1000:1300] = False
    assert (fill_gaps(np.zeros((1, 4000)), observed, 8000) == 0).all()


def test_truncated_normal_against_a_fine_grid():
    for mean, deviation in [(0, 0.3), (0.9, 0.2), (-3, 1), (5, 2), (0.2, 10), (1.4, 0.1)]:
        x = np.linspace(0, 1, 200001)
        p = np.exp(-((x - mean) ** 2) / (2 * deviation**2))
        m = (p * x).sum() / p.sum()
        got = truncated_normal(np.zeros(1), np.ones(1), mean, np.array([deviation**2]))
        np.testing.assert_allclose([got[0][0], got[1][0]], [m, (p * (x - m) ** 2).sum() / p.sum()], atol=2e-3)


@pytest.mark.parametrize(("bits", "gain"), [(1, 0.2), (3, 1), (6, 4), (12, 4)])
def test_dequantised_sound_is_inside_the_bins_and_repeatable(bits, gain):
    v, lo, hi = quantize(np.stack([chord(0.2), chord(0.2)[::-1]]), bits)
    lo, hi = lo.astype(np.float32), hi.astype(np.float32)
    x = dequantize(lo, hi, 44100)
    assert x.dtype == np.float32 and (x >= lo).all() and (x <= hi).all()
    np.testing.assert_array_equal(x, dequantize(lo, hi, 44100))
    assert snr(v, x) > snr(v, (lo + hi) / 2) + gain


def test_a_chord_gains_six_decibels():
    v, lo, hi = quantize(chord()[None])
    assert snr(v, dequantize(lo, hi, 44100)) > snr(v, (lo + hi) / 2) + 6


def test_near_silence_between_two_loud_clicks_gains_six_decibels():
    x = 1e-3 * np.random.default_rng(0).standard_normal((1, 44100))
    x[0, [10000, 30000]] = 1, -1
    v, lo, hi = quantize(x)
    assert snr(v, dequantize(lo, hi, 44100)) > snr(v, (lo + hi) / 2) + 6


@pytest.mark.parametrize("distribution", ["standard_normal", "uniform"])
def test_loud_white_noise_is_left_alone(distribution):
    draw = np.random.default_rng(0)
    x = draw.standard_normal((1, 44100)) if distribution == "standard_normal" else draw.uniform(-1, 1, (1, 44100))
    v, lo, hi = quantize(x)
    assert snr(v, dequantize(lo, hi, 44100)) > snr(v, (lo + hi) / 2) - 0.05


def test_silence_constant_and_short_sounds():
    for n in (1, 2, 17, 5000):
        lo, hi = np.zeros((1, n)), np.full((1, n), 2 / 64)
        assert (dequantize(lo, hi, 44100) < 0.1 * hi).all()  # digital silence is coded as the bin that starts at 0
        np.testing.assert_array_equal(dequantize(lo + 0.25, lo + 0.25, 44100), lo + 0.25)  # zero width: known exactly
        assert (dequantize(lo, lo, 44100) == 0).all()


def test_lost_samples_of_a_quantised_sound():
    v, lo, hi = quantize(chord(0.5)[None])
    observed = np.ones(v.shape[1], bool)
    observed[9000:9220] = False
    x = dequantize(np.where(observed, lo, np.nan), np.where(observed, hi, np.nan), 44100, observed)
    assert (x >= lo)[:, observed].all() and (x <= hi)[:, observed].all()
    assert snr(v[:, ~observed], x[:, ~observed]) > 15
    assert (dequantize(lo, hi, 44100, np.zeros(v.shape[1], bool)) == 0).all()


def test_bad_bounds_are_refused():
    with pytest.raises(ValueError, match="lo <= hi"):
        dequantize(np.ones((1, 4)), np.zeros((1, 4)), 8000)
    with pytest.raises(ValueError, match="C, T"):
        dequantize(np.zeros((1, 4)), np.zeros((1, 5)), 8000)


# --- probes and groups


def test_no_model_sees_the_truth_of_a_probe():
    """What stands where a probe was taken away is what lies between its neighbours, and then what the model before made."""
    x, gap = np.random.default_rng(0).standard_normal(200), np.zeros(200, bool)
    gap[90:100] = True
    given = []

    def spy(value):
        def model(near, at):
            given.append(near[at].copy())
            return np.full(len(at), value)

        return model

    group = gaps.Group(np.arange(90, 100), [spy(0.5), spy(0.25)], gaps._beside)
    gaps._weights(x, gap, group, 8)
    begins = 70, 110
    between = [np.interp(np.arange(b, b + 10), [b - 1, b + 10], x[[b - 1, b + 10]]) for b in begins]
    np.testing.assert_allclose(given, [between[0], np.full(10, 0.5), between[1], np.full(10, 0.5)])


@pytest.mark.parametrize(
    "begin, length, other, sides",
    [
        (90, 200, None, [70, 110]),
        (30, 200, None, [10, 50]),
        (29, 200, None, [49]),  # before it there is no room for a third
        (160, 200, None, [140, 180]),
        (161, 200, None, [141]),
        (90, 200, (110, 115), [70]),  # half of the place of the probe is lost itself
        (90, 200, (110, 114), [70, 110]),
    ],
)
def test_probes_lie_two_gaps_on_where_there_is_room_for_a_third(begin, length, other, sides):
    x, gap = np.arange(length, dtype=float), np.zeros(length, bool)
    gap[begin : begin + 10] = True
    if other:
        gap[slice(*other)] = True
    found = [(near[at].tolist(), known) for near, at, known in gaps._beside(x, gap, np.arange(begin, begin + 10), 15)]
    assert [values for values, _ in found] == [list(range(b, b + 10)) for b in sides]
    assert all(np.array_equal(known, ~gap[b : b + 10]) for b, (_, known) in zip(sides, found))


def test_runs_go_together_while_they_start_within_reach_of_the_first():
    gap = np.zeros(100, bool)
    gap[[10, 11, 30, 50, 51, 52, 70]] = True
    found = [(lost.tolist(), longest) for lost, longest in gaps._clusters(gap, 40)]
    assert found == [([10, 11, 30, 50, 51, 52], 3), ([70], 1)]


def test_sounds_whose_bins_have_no_ends_keep_the_middle_and_the_others_are_recalled():
    """By the rms an outermost bin has no end; after that, bins of the peak say nothing of how far a value lay beyond theirs."""
    rng = np.random.default_rng(0)
    quiet = 0.3 * np.sin(0.05 * np.arange(2000)) + 0.01 * rng.standard_normal(2000)
    loud = np.where(np.arange(2000) == 700, 0.9, quiet)
    whole = Signal("audio", np.stack([quiet, loud]).astype(np.float32)[:, None], rate=8000.0)
    specs = [{"op": "bits", "bits": 5, "scale": "rms"}, {"op": "bits", "bits": 4, "scale": "peak"}]
    (broken,) = fragment([whole], specs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (back,) = reconstruct([broken])
    assert np.isinf(broken.code_op["slack"]).tolist() == [False, True]
    assert (
        np.array_equal(back.data[1], broken.data[1])
        and snr(quiet, back.data[0, 0]) > snr(quiet, broken.data[0, 0]) + 0.3
    )
    assert back.history[-1]["steps"] == [
        "bits: shrinkage inside the bins",
        "bits: middle of the bin or centroid where bins have no end",
    ]
