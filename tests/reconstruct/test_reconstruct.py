"""From fragments back to whole memories: every method through the one path that the command takes."""

import numpy as np
import pytest

from lemtools import reconstruct as room
from lemtools.fragment import fragment
from lemtools.fragment.evidence import bin_std
from lemtools.reconstruct import BUNDLED, METHODS, choose, reconstruct
from lemtools.reconstruct.remember import Recaller
from lemtools.signal import LemError, Signal


def images(n=3, shape=(3, 40, 56), seed=0):
    """Smooth colour fields with an edge: something a training-free method can recall."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : shape[1] * 1j, 0 : 1 : shape[2] * 1j]
    out = []
    for _ in range(n):
        a, b, c = rng.uniform(1, 4, (3, shape[0], 1, 1))
        field = 127 + 60 * np.sin(a * x + c) + 50 * np.cos(b * y * 2) + 40 * (x > 0.5 + 0.2 * y)
        out.append(np.clip(field, 0, 255))
    return Signal("image", np.rint(np.stack(out)).astype(np.uint8), names=[f"{i}.png" for i in range(n)])


def tones(n=2, t=6000, rate=8000.0):
    s = np.arange(t) / rate
    waves = [sum(np.sin(2 * np.pi * f * k * s) / k for k in (1, 2, 3)) * 0.3 for f in (220.0, 331.0)[:n]]
    return Signal("audio", np.stack(waves)[:, None].astype(np.float32), rate=rate)


def vectors(n=12, d=20, seed=0):
    mix = np.random.default_rng(seed).standard_normal((d, d))
    return Signal("embedding", (np.random.default_rng(seed + 1).standard_normal((n, d)) @ mix).astype(np.float32))


def there_and_back(signal, operations, method="auto", seed=0, **options):
    (out,) = reconstruct(fragment([signal], operations, seed), method, seed=seed, **options)
    return out


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 7, 8])
def test_baselines_are_their_integer_definitions(bits):
    v = Signal("image", np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16))
    ops, shift, code = [{"op": "bits", "bits": bits}], 8 - bits, v.data >> (8 - bits)
    assert (there_and_back(v, ops, "zero").data == code << shift).all()
    assert (there_and_back(v, ops, "decode").data == (code << shift) + (1 << shift >> 1)).all()
    text = ["".join(f"{c:0{bits}b}" for _ in range(8))[:8] for c in code.ravel()]
    assert (there_and_back(v, ops, "replicate").data.ravel() == [int(t, 2) for t in text]).all()


def test_replicate_of_sound_spans_the_full_scale():
    v = Signal("audio", np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 1, -1), rate=8000.0)
    out = there_and_back(v, [{"op": "bits", "bits": 2}], "replicate").data
    assert np.allclose(np.unique(out), [-1, -1 / 3, 1 / 3, 1], atol=1e-6)


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_observed_values_stay_exactly(kind):
    whole = images() if kind == "image" else tones()
    (broken,) = fragment([whole], [{"op": "mask", "mask": 0.3}], 1)
    for method in ("decode", "inpaint", "auto", "linear"):
        (out,) = reconstruct([broken], method)
        seen = broken.observed()
        assert (out.data[seen] == whole.data[seen]).all()
        assert (out.data[~seen] != 0).mean() > 0.5 or method in ("decode", "linear")


@pytest.mark.parametrize(
    "operations, gain",
    [
        ([{"op": "bits", "bits": 3}], 3),
        (
            [{"op": "bits", "bits": 2, "quantizer": "lloyd-max"}],
            0.5,
        ),  # levels at the fields' own values leave little to win
        ([{"op": "bits", "bits": 4}, {"op": "mask", "mask": 0.5}], 8),
        ([{"op": "mask", "mask": 0.4, "shape": "patch:4"}, {"op": "bits", "bits": (2, 5)}], 4),
    ],
)
def test_smooth_stays_inside_the_bins_and_beats_the_middle(operations, gain):
    from lemtools.codes import bounds

    whole = images()
    (broken,) = fragment([whole], operations, 3)
    (out,) = reconstruct([broken], "smooth")
    low, high = bounds(broken.codes, broken.code_op)
    seen = broken.observed()
    assert (out.data[seen] >= low[seen]).all() and (out.data[seen] <= high[seen]).all()
    (plain,) = reconstruct([broken], "decode")
    assert psnr(whole.data, out.data) > psnr(whole.data, plain.data) + gain


def test_bits_and_lost_pixels_together_beat_either_cure_alone():
    whole = images()
    (broken,) = fragment([whole], [{"op": "bits", "bits": 3}, {"op": "mask", "mask": 0.3}], 3)
    (both,), (filled,) = (list(reconstruct([broken], m)) for m in ("smooth", "inpaint"))
    assert psnr(whole.data, both.data) > psnr(whole.data, filled.data) + 2


def test_sound_dequantised_inside_the_bins_and_better():
    from lemtools.codes import bounds

    whole = tones()
    (broken,) = fragment([whole], [{"op": "bits", "bits": 5}])
    (out,) = reconstruct([broken])
    low, high = bounds(broken.codes, broken.code_op)
    assert (out.data >= low - 1e-6).all() and (out.data <= high + 1e-6).all()
    error = np.square(out.data - whole.data).mean(), np.square(broken.data - whole.data).mean()
    assert error[0] < error[1] / 2


def test_gap_in_a_tone_is_heard_again():
    whole = tones(1)
    out = there_and_back(whole, [{"op": "mask", "mask": 0.02, "shape": "span:5ms"}])
    line = there_and_back(whole, [{"op": "mask", "mask": 0.02, "shape": "span:5ms"}], "linear")
    assert np.square(out.data - whole.data).sum() < np.square(line.data - whole.data).sum() / 100


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "crop", "crop": "20x16"}],
        [{"op": "crop", "crop": "20x16+3+4"}, {"op": "bits", "bits": 4}],
        [{"op": "downsample", "factor": 2}],
        [{"op": "downsample", "factor": 3}, {"op": "crop", "crop": "9x8"}, {"op": "mask", "mask": 0.2}],
        [{"op": "noise", "sigma": 0.1}],
        [{"op": "noise", "sigma": 0.05}, {"op": "bits", "bits": 5}, {"op": "crop", "crop": "30"}],
        [{"op": "crop", "crop": "30"}, {"op": "downsample", "factor": 2}, {"op": "noise", "sigma": (0.01, 0.1)}],
    ],
)
@pytest.mark.parametrize("method", ["decode", "auto"])
def test_every_order_of_operations_comes_back_whole(operations, method):
    whole = images()
    out = there_and_back(whole, operations, method)
    assert out.data.shape == whole.data.shape and out.data.dtype == np.uint8
    assert out.ops == [] and out.mask is None and out.codes is None and out.names == whole.names
    assert out.cost.shape == (3,) and (out.cost > 0).all()
    assert out.history[-1]["steps"]
    assert out.history[-1]["method"] in (METHODS if method == "auto" else {method})
    assert psnr(whole.data, out.data) > 11


def test_the_cost_is_that_of_the_last_fragment():
    whole = images(1)
    once = there_and_back(whole, [{"op": "bits", "bits": 1}], "decode")
    (again,) = fragment([once], [{"op": "bits", "bits": 6}])
    assert (
        once.cost == 1 and there_and_back(once, [{"op": "bits", "bits": 6}], "decode").cost == 6 and again.cost is None
    )


def test_windows_that_take_nothing_come_back():
    assert (there_and_back(images(2), [{"op": "crop", "crop": "56x40"}]).data == images(2).data).all()
    whole = vectors()
    assert (
        there_and_back(whole, [{"op": "keep-dims", "keep": 20}, {"op": "keep-dims", "keep": 20}]).data == whole.data
    ).all()


def test_sound_on_its_rms_has_no_end_bins_to_stay_inside_of():
    for bits in (1, 3, 6):
        out = there_and_back(tones(1), [{"op": "bits", "bits": bits, "scale": "rms"}])
        assert np.isfinite(out.data).all() and "centroid" in out.history[-1]["steps"][0]


def test_values_of_64_bits_stay_what_they_are():
    whole = Signal("embedding", 1e3 * np.random.default_rng(0).standard_normal((4, 9)))
    (broken,) = fragment([whole], [{"op": "mask", "mask": 0.5}])
    (out,) = reconstruct([broken])
    assert out.data.dtype == np.float64 and (out.data[broken.observed()] == whole.data[broken.observed()]).all()


def test_lost_characters_are_shown_and_keep_their_places(tmp_path):
    from lemtools.media import Target, load, save

    text = "naïve façade, 12 €".encode()
    whole = Signal("tokens", np.frombuffer(text, np.uint8)[None].copy())
    out = there_and_back(whole, [{"op": "mask", "mask": 0.4}])
    save([out], Target(str(tmp_path / "t.txt")))
    (back,) = load([str(tmp_path / "t.txt")])
    assert back.data.shape == whole.data.shape
    same = (back.data == whole.data)[0]
    assert set(back.data[0][~same]) == {ord("?")} and 0.2 < same.mean() < 0.9


def test_a_crop_is_put_back_in_its_place():
    whole = images()
    (broken,) = fragment([whole], [{"op": "crop", "crop": "20x16"}], 5)
    (out,) = reconstruct([broken], "decode")
    for i, (top, left) in enumerate(broken.ops[0]["place"]):
        window = np.s_[i, :, top : top + 16, left : left + 20]
        assert (out.data[window] == whole.data[window]).all()


def test_denoising_and_resolution_gain_over_doing_nothing():
    whole = images()
    for operations, gain in (([{"op": "noise", "sigma": 0.1}], 5), ([{"op": "downsample", "factor": 2}], 1)):
        better, plain = (there_and_back(whole, operations, m) for m in ("auto", "decode"))
        assert psnr(whole.data, better.data) > psnr(whole.data, plain.data) + gain


def test_sound_below_the_new_nyquist_survives_downsampling():
    whole = tones(1, 8000)
    out = there_and_back(whole, [{"op": "downsample", "factor": 2}])
    assert out.rate == whole.rate and np.abs(out.data - whole.data).max() < 2e-3


def test_auto_says_what_it_chose(monkeypatch, tmp_path):
    broken = [
        *fragment([images(1)], [{"op": "bits", "bits": 3}]),
        *fragment([images(1)], [{"op": "mask", "mask": 0.5}]),
        *fragment([images(2)], [{"op": "bits", "bits": (6, 7)}]),  # drawn: no matter what the others in the batch draw
        *fragment([images(1)], [{"op": "bits", "bits": 6}]),
        *fragment([images(1)], [{"op": "bits", "bits": 3, "quantizer": "lloyd-max"}]),
        *fragment([images(1)], [{"op": "downsample", "factor": 2}]),
        images(1),
        *fragment([vectors()], [{"op": "bits", "bits": 3}]),
        *fragment([tones(1)], [{"op": "noise", "sigma": 0.1}]),
    ]
    # what the network was not trained on, or does not do best
    beyond = ["smooth", "smooth", "inpaint", "decode", "decode", "smooth"]
    assert BUNDLED.exists() and [choose(s) for s in broken] == ["ensemble", "ensemble", "ensemble", *beyond]
    monkeypatch.setattr(room, "BUNDLED", tmp_path / "none.safetensors")
    assert [choose(s) for s in broken] == ["smooth", "inpaint", "smooth", *beyond]
    assert choose(vectors(), memory=True) == "recall"


def test_kept_dimensions_are_recalled_from_a_memory():
    whole = vectors()
    ops = [{"op": "keep-dims", "keep": 7}]
    plain = there_and_back(whole, ops, "decode")
    assert (plain.data[:, :7] == whole.data[:, :7]).all() and (plain.data[:, 7:] == 0).all()
    recalled = there_and_back(whole, ops, "recall", memory=whole.data, device="cpu")
    assert np.allclose(recalled.data, whole.data, atol=1e-5)
    conditional = there_and_back(whole, ops, "gaussian", memory=vectors(400).data, device="cpu")
    assert np.allclose(conditional.data[:, :7], whole.data[:, :7], atol=1e-4)


@pytest.mark.parametrize("method", ["recall", "gaussian"])
def test_samples_are_named_counted_and_independent_of_the_batch(method):
    whole, store = vectors(5), vectors(30, seed=4).data
    (broken,) = fragment([whole], [{"op": "noise", "sigma": 0.5}, {"op": "mask", "mask": 0.5}])
    options = {"memory": store, "samples": 4, "device": "cpu", "seed": 9}
    (all_at_once,) = reconstruct([broken], method, **options)
    assert all_at_once.data.shape == (20, 20) and list(all_at_once.index) == list(range(20))
    one_by_one = list(reconstruct([broken.take([i]) for i in range(5)], method, **options))
    assert np.allclose(np.concatenate([s.data for s in one_by_one]), all_at_once.data, atol=1e-4)
    draws = all_at_once.data.reshape(5, 4, 20)
    assert np.abs(draws - draws[:, :1]).max() > 1e-3
    (other,) = reconstruct([broken], method, **(options | {"seed": 10}))
    assert np.abs(other.data - all_at_once.data).max() > 1e-3
    if method == "recall":
        assert all((np.abs(store - x).max(axis=1) < 1e-5).any() for x in all_at_once.data)


def test_quantised_fragments_recall_their_memory():
    whole = vectors(40, 32)
    for bits in (1, 2, (1, 6)):
        out = there_and_back(whole, [{"op": "bits", "bits": bits}], "recall", memory=whole.data, device="cpu")
        nearest = ((out.data[:, None] - whole.data[None]) ** 2).sum(-1).argmin(1)
        assert (nearest == np.arange(40)).mean() > 0.9


def test_errors_say_what_does_not_suit():
    whole = images(1)
    cases = [
        (whole, [{"op": "mask", "mask": 0.5}], "reverie", {}, "no method"),
        (whole, [{"op": "mask", "mask": 0.5}], "dream", {}, "what to dream of"),
        (whole, [{"op": "mask", "mask": 0.5}], "recall", {}, "--memory"),
        (whole, [{"op": "mask", "mask": 0.5}], "smooth", {"memory": whole.data}, "does not use"),
        (whole, [{"op": "mask", "mask": 0.5}], "recall", {"memory": whole.data[:, :, 1:]}, "cannot recall"),
        (whole, [{"op": "downsample", "factor": 2}], "gaussian", {"memory": np.repeat(whole.data, 3, 0)}, "resolution"),
        (vectors(), [{"op": "bits", "bits": 3}], "zero", {}, "uniform bins"),
        (
            Signal("tokens", np.arange(4)[None]),
            [{"op": "mask", "mask": 0.5}],
            "recall",
            {"memory": np.ones((3, 4))},
            "tokens",
        ),
        (whole, [{"op": "mask", "mask": 0.5}], "gaussian", {"memory": whole.data, "device": "cpu"}, "at least 2"),
        (whole, [{"op": "mask", "mask": 0.5}], "recall", {"memory": whole.data, "device": "abacus"}, "device"),
    ]
    for signal, operations, method, options, words in cases:
        with pytest.raises(LemError, match=words):
            there_and_back(signal, operations, method, **options)


def test_recalled_images_are_the_memories_to_the_last_bit():
    memories = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8)).astype(np.uint8)
    whole = Signal("image", memories[[3, 1]])
    out = there_and_back(whole, [{"op": "mask", "mask": 0.5}], "recall", memory=memories, device="cpu")
    assert out.data.dtype == np.uint8 and np.array_equal(out.data, whole.data)


def test_the_variance_of_what_is_observed():
    """Of noise and bins together; of a sigma that was asked for; none where values are exact."""
    whole, noise, mask = vectors(), {"op": "noise", "sigma": 0.1}, {"op": "mask", "mask": 0.5}

    def variance(*operations, **options):
        (broken,) = fragment([whole], operations)
        return Recaller(whole.data, "recall", device="cpu", **options)._variance(broken), broken

    assert variance(mask)[0] is None and variance(mask, sigma=0.0)[0] is None
    np.testing.assert_allclose(variance(mask, sigma=0.3)[0], np.full((12, 1), 0.09))
    found, broken = variance({"op": "bits", "bits": 3}, noise)
    width = bin_std(broken.ops[0], 12).astype(float) ** 2
    np.testing.assert_allclose(found[:, 0], width + broken.ops[1]["std"].astype(float) ** 2, rtol=1e-6)
