"""A rule an axis, rectangular patches, and the linear control: against brute force in float64, on the CPU and on CUDA."""

import itertools
import re

import numpy as np
import pytest
import torch

from helpers.machines import brute, least_squares
from lemtools.catalogue.denoisers import named
from lemtools.denoise.contract import Scale
from lemtools.denoise.factored import Factored
from lemtools.denoise.gaussian import Gaussian
from lemtools.denoise.how import How
from lemtools.denoise.store import Store
from lemtools.els import local, machine
from lemtools.els.bank import Bank, unit_gain
from lemtools.els.linear import Linear
from lemtools.els.plan import axis, check_size, rules, said
from lemtools.els.posterior import Local
from lemtools.els.scales import Scales, parse_size, parse_sizes
from lemtools.els.whole import wiener
from lemtools.signal import LemError

NEEDS = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NEEDS])]


@pytest.fixture(params=["plain", "kernel"] if torch.cuda.is_available() else ["plain"])
def by(request, monkeypatch):
    """By which path a GPU does it."""
    if torch.cuda.is_available():
        from lemtools.els.gpu import fused

        monkeypatch.setattr(fused, "WORTH", 0)
        if request.param == "plain":
            monkeypatch.setattr(fused, "usable", lambda *about: False)


EQUIVARIANCE = ("both", "time", "freq", "none")
PADDINGS = [("zeros", "zeros"), ("circular", "circular"), ("zeros", "circular"), ("circular", "zeros")]
SIZES = ((1, 1), (3, 5), (5, 3), (1, 7), (7, 1))


def spectra(channels: int = 2, height: int = 6, width: int = 7, count: int = 5, seeds: int = 2, seed: int = 0):
    """(bank, its items in coordinates, x_t)."""
    g = np.random.default_rng(seed)
    raw = (3 * g.standard_normal((count, channels, height, width))).astype(np.float32)
    bank = Bank(raw, kind="spectrum")
    return bank, raw.astype(np.float64) * bank.scale.gain, g.standard_normal((seeds, channels, height, width))


def fitting(size, asked, height: int, width: int) -> bool:
    return all(rule != "els" or side <= n for rule, side, n in zip(asked, size, (height, width)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("equivariance", EQUIVARIANCE)
def test_machines_are_their_definition_by_axis(equivariance, device, by):
    bank, items, x = spectra()
    done = set()
    for padding, size in itertools.product(PADDINGS, SIZES):
        asked = rules(equivariance, padding=padding)
        if (asked, size) in done or not fitting(size, asked, *x.shape[2:]):
            continue
        done.add((asked, size))
        for alpha_bar in (0.02, 0.5, 0.98):
            found = Local(bank, asked, size, skip=0, device=device)(x, alpha_bar)
            for k in range(len(x)):
                want = brute(asked, items, x[k], alpha_bar, size)
                assert np.abs(found[k] - want).max() < 1e-4 * np.sqrt((want**2).mean()), (asked, size, alpha_bar)
    assert len({asked for asked, _ in done}) == {"both": 4, "time": 2, "freq": 2, "none": 1}[equivariance]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "asked", [("ls", "bbels"), ("bbels", "ls"), ("bbels", "els"), ("els", "ls"), ("bbels", "bbels")]
)
def test_images_go_by_axis_and_patches_larger_than_the_image(asked, device, by):
    """Of 8 bits and one channel, where the GPU has a kernel for squares; patches that cover an axis, or both."""
    g = np.random.default_rng(1)
    raw, x = g.integers(0, 256, (4, 1, 5, 7), dtype=np.uint8), g.standard_normal((2, 1, 5, 7))
    for size in (3, (3, 9), (7, 5), (9, 13), 13):
        sides = (size, size) if isinstance(size, int) else size
        if not fitting(sides, asked, 5, 7):
            continue
        found = Local(Bank(raw), asked, size, skip=0, device=device)(x, 0.5)
        for k in range(len(x)):
            want = brute(asked, raw / 127.5 - 1, x[k], 0.5, size)
            assert np.abs(found[k] - want).max() < 1e-4 * np.sqrt((want**2).mean()), size


def test_a_bank_of_tensors_is_not_changed_by_being_read():
    g = torch.Generator().manual_seed(0)
    for raw, about in (
        (torch.rand(3, 1, 4, 4, generator=g), {}),
        (torch.randn(3, 2, 4, 4, generator=g), {"scale": Scale()}),
    ):
        bank, before = Bank(raw, **about), raw.clone()
        bank.part(0, 3, torch.float32).zero_()
        assert torch.equal(raw, before)


@pytest.mark.parametrize("single", [False, True])
def test_rectangles_by_whole_windows_and_by_single_columns(single, monkeypatch):
    monkeypatch.setattr(local, "columns", lambda pairing, channels: 1 if single else pairing.cols.size)
    bank, items, x = spectra(height=7, width=9)
    for asked, size in ((("bbels", "bbels"), (3, 5)), (("els", "bbels"), (5, 3)), (("bbels", "els"), (3, 7))):
        for tile in (300, 1 << 20):
            denoise = Local(bank, asked, size, skip=0)
            denoise.tile = tile
            want = brute(asked, items, x[0], 0.5, size)
            assert np.abs(denoise(x, 0.5)[0] - want).max() < 1e-4 * np.sqrt((want**2).mean()), (asked, tile)


def test_the_four_words_are_their_rules():
    assert rules("both") == ("bbels", "bbels") and rules("none") == ("ls", "ls") == rules("ls")
    assert rules("time") == ("ls", "bbels") and rules("freq") == ("bbels", "ls")
    assert rules("both", padding=("zeros", "circular")) == ("bbels", "els")
    assert (
        rules("time", padding=("circular", "circular"))
        == ("ls", "els")
        == rules("linear", "time", ("zeros", "circular"))
    )
    assert rules("els", padding=("zeros", "zeros")) == ("els", "els")
    bank, _, x = spectra()
    for word, same in (("both", "bbels"), ("none", "ls")):
        assert np.array_equal(machine(word, bank, 3)(x, 0.7), machine(same, bank, 3)(x, 0.7))
    circular = How(padding=("circular", "circular"))
    assert np.array_equal(machine("both", bank, 3, circular)(x, 0.7), machine("els", bank, 3)(x, 0.7))


@pytest.mark.parametrize("word", ["time", "freq"])
def test_a_machine_is_equivariant_along_its_axis_and_no_other(word):
    bank, _, x = spectra(height=8, width=9)
    denoise = machine(word, bank, (3, 5), How(padding=("circular", "circular")))
    along, other = (3, 2) if word == "time" else (2, 3)
    found, x = denoise(x, 0.6), torch.from_numpy(x)
    assert np.allclose(denoise(x.roll(2, along), 0.6), np.roll(found, 2, along), atol=1e-6)
    assert not np.allclose(denoise(x.roll(2, other), 0.6), np.roll(found, 2, other), atol=1e-2)


@pytest.mark.parametrize("name", ["both", "time", "linear"])
def test_answers_depend_neither_on_batch_nor_on_threads_nor_on_memory(name):
    bank, _, x = spectra(count=9, seeds=4)
    want, threads = machine(name, bank, (3, 5))(x, 0.6), torch.get_num_threads()
    each = np.concatenate([machine(name, bank, (3, 5))(x[k : k + 1], 0.6) for k in range(4)])
    assert np.abs(each - want).max() < 1e-5
    assert np.abs(machine(name, bank, (3, 5), How(memory=100_000))(x, 0.6) - want).max() < 1e-5
    try:
        torch.set_num_threads(2)
        assert np.abs(machine(name, bank, (3, 5))(x, 0.6) - want).max() < 1e-5
    finally:
        torch.set_num_threads(threads)


def test_tiny_weights_are_zero_only_while_sums_are_made():
    """A bank of which each key but one has a weight between 1e-45 and 1e-38: the answer is the same, and what a caller
    computes afterwards still holds such numbers."""
    tiny = torch.tensor([1e-40])
    with local.flushed():
        assert float(tiny * 1.0) == 0
        with local.flushed():
            pass
        assert float(tiny * 1.0) == 0
    assert float(tiny * 1.0) > 0
    raw = np.full((3, 1, 1, 1), np.sqrt(2 * 95), np.float32)  # e^-95 is 5e-42
    raw[0] = 0
    bank = Bank(raw, scale=Scale())
    assert (
        abs(float(Local(bank, "ls", 1, skip=0)(np.zeros((1, 1, 1, 1)), 0.5)[0, 0, 0, 0])) < 1e-6
        and float(tiny * 1.0) > 0
    )


# --- the best linear filter


@pytest.mark.parametrize("device", DEVICES)
def test_the_linear_filter_is_that_of_least_squares(device):
    bank, items, x = spectra(height=5, width=6)
    every = [rules(word, padding=padding) for word in EQUIVARIANCE for padding in PADDINGS]
    for asked, size in zip(dict.fromkeys(every), itertools.cycle([(3, 5), (3, 3), (1, 5), (5, 3)])):
        for alpha_bar in (0.02, 0.5, 0.98):
            found = Linear(bank, asked, size, device=device)(x, alpha_bar)
            for k in range(len(x)):
                want = least_squares(asked, items, x[k], alpha_bar, size)
                assert np.abs(found[k] - want).max() < 1e-8, (asked, size, alpha_bar)


def test_the_linear_filter_takes_a_size_for_each_level_in_any_order():
    """Moments of one size are no moments of another, though they are kept; filters are those of their level."""
    bank, items, x = spectra(height=5, width=6)
    asked, sizes = ("bbels", "bbels"), {0.2: (3, 5), 0.5: (5, 3), 0.9: (3, 5)}
    denoiser = Linear(bank, asked, sizes.get)
    for alpha_bar in (0.2, 0.5, 0.9, 0.2):
        want = np.stack([least_squares(asked, items, one, alpha_bar, sizes[alpha_bar]) for one in x])
        assert np.abs(denoiser(x, alpha_bar) - want).max() < 1e-8


def test_at_hardly_any_noise_the_linear_filter_is_that_of_the_noise_there_is():
    """A channel whose variance is 1e-7 of the other's stands far above a noise of 1e-9 and is kept, and goes under in 1e-5."""
    bank, items, _ = spectra(height=5, width=6, count=40)
    raw = bank.images * np.array([1, 3e-4], np.float32)[:, None, None]
    bank, asked = Bank(raw, kind="spectrum", scale=bank.scale), ("ls", "ls")
    items = raw.astype(np.float64) * bank.scale.gain
    for variance, kept in ((1e-9, True), (1e-5, False)):
        want = least_squares(asked, items, items[3], 1 - variance, (1, 1))
        found = Linear(bank, asked, (1, 1))(items[3:4], 1 - variance)[0]
        assert np.abs(found - want).max(axis=(1, 2))[1] < 1e-2 * np.abs(items[3, 1]).max()
        assert (np.abs(found[1] - items[3, 1]).max() < 0.1 * np.abs(items[3, 1]).max()) == kept


@pytest.mark.parametrize("asked", [("bbels", "bbels"), ("ls", "bbels"), ("els", "els")])
def test_at_little_noise_products_are_as_wide_as_they_must_be(asked):
    """Windows of 35 x 2 values at 1 - alpha_bar = 1e-5: rounded to float32 the logits would be off by more than 1."""
    bank, items, _ = spectra(height=8, width=9)
    alpha_bar = 1 - 1e-5
    g = np.random.default_rng(4)
    x = np.sqrt(alpha_bar) * items[:1] + 0.5 * np.sqrt(1 - alpha_bar) * g.standard_normal(items[:1].shape)
    x[0, :, 4, 4] += 2e-3 * g.standard_normal(2)
    near = bank.images.copy()
    near[1] = near[0] + 3e-3 * g.standard_normal(near[0].shape).astype(np.float32)  # a memory as likely as the first
    bank = Bank(near, kind="spectrum", scale=bank.scale)
    items = near.astype(np.float64) * bank.scale.gain
    found, want = Local(bank, asked, (5, 7), skip=0)(x, alpha_bar), brute(asked, items, x[0], alpha_bar, (5, 7))
    apart = np.abs(items[0] - items[1]).max()
    assert np.abs(found[0] - want).max() < 0.02 * apart


def test_the_linear_filter_of_images_has_their_mean_and_keeps_the_border():
    g = np.random.default_rng(3)
    raw, x = g.integers(90, 256, (6, 3, 4, 5), dtype=np.uint8), g.standard_normal((1, 3, 4, 5))
    for size in (3, 5):
        found = machine("linear", Bank(raw), size)(x, 0.4)
        want = least_squares(("bbels", "bbels"), raw / 127.5 - 1, x[0], 0.4, size)
        assert np.abs(found[0] - want).max() < 1e-8


def test_of_a_stationary_gaussian_field_the_linear_filter_is_the_conditional_mean():
    """A bank with all translations has a stationary covariance; windows as large as the field then say all that there is,
    and the filter is the Wiener filter of the field."""
    g = np.random.default_rng(0)
    kernel = g.standard_normal((1, 1, 5, 7))
    fields = np.fft.ifft2(np.fft.fft2(g.standard_normal((6, 2, 5, 7))) * np.fft.fft2(kernel)).real
    moved = np.concatenate([np.roll(fields, (r, c), (2, 3)) for r in range(5) for c in range(7)])
    flat = moved.reshape(len(moved), -1)
    mean, covariance = flat.mean(0), np.cov(flat.T, bias=True)
    bank, x = Bank(moved, scale=Scale()), g.standard_normal((2, 2, 5, 7))
    for alpha_bar in (0.1, 0.7):
        found = Linear(bank, ("els", "els"), (5, 7))(x, alpha_bar)
        want = Gaussian(mean.reshape(2, 5, 7), covariance)(x, alpha_bar)
        assert np.abs(found - want).max() < 1e-9


def test_with_one_image_a_place_nothing_is_left_to_filter():
    """No variance among the keys of a class: the answer is the image itself, whatever is seen."""
    bank, items, x = spectra(count=1)
    assert np.abs(machine("linear", bank, 3, How(equivariance="none"))(x, 0.5) - items).max() < 1e-12


def test_the_linear_filter_keeps_to_its_memory_and_says_so():
    bank, items, x = spectra(height=5, width=6)
    with pytest.raises(LemError, match=r"linear: the covariance of windows of 5 x 5 takes .* raise --max-memory"):
        machine("linear", bank, 5, How(memory=10_000))(x, 0.5)
    few = machine("linear", bank, 3, How(memory=40_000))
    for alpha_bar in (0.5, 0.5, 0.9):
        want = least_squares(("bbels", "bbels"), items, x[0], alpha_bar, 3)
        assert np.abs(few(x, alpha_bar)[0] - want).max() < 1e-8


# --- the Gaussian of few items


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [2, 7, 60])
def test_the_gaussian_by_products_of_items_is_that_by_covariance(count, device):
    g = np.random.default_rng(count)
    items = g.standard_normal((count, 2, 4, 5)) @ g.standard_normal((5, 5)) + 1
    x, levels = g.standard_normal((3, 2, 4, 5)), np.array([0.02, 0.5, 0.999])
    store = Store(items, Scale(0.5, 2.0), tile=3, device=device)
    found = Factored(store)(x, levels)
    assert np.abs(found - Gaussian.fit(store, device=device)(x, levels)).max() < 1e-9
    assert np.array_equal(Factored(store)(x, 1.0), x)
    assert np.abs(Factored(store)(x, 0.0) - store.mean.numpy().reshape(2, 4, 5)).max() < 1e-12


def test_large_items_and_dead_elements_go_by_products_of_items():
    bank, items, x = spectra(height=40, width=26)
    assert isinstance(wiener(bank, How(memory=1 << 20)), Factored)
    flat = items.reshape(len(items), -1)
    cov = np.cov(flat.T, bias=True)
    cov += 1e-4 * np.trace(cov) / len(cov) * np.eye(len(cov))
    want = Gaussian(flat.mean(0).reshape(items.shape[1:]), cov)(x, 0.3)
    assert np.abs(wiener(bank, How())(x, 0.3) - want).max() < 1e-6
    assert isinstance(wiener(Bank(np.zeros((3, 1, 4, 4), np.uint8)), How()), Gaussian)
    raw = bank.images.copy()
    raw[:, 1, 0] = 0
    dead = Bank(raw, kind="spectrum")
    assert (wiener(dead, How())(x, 0.3)[:, 1, 0] == 0).all() and int((~dead.alive).sum()) == 26
    alive = dead.alive.numpy()
    flat = (raw * dead.scale.gain).astype(np.float64)[:, alive]
    cov = np.cov(flat.T, bias=True)
    cov += 1e-4 * np.trace(cov) / len(cov) * np.eye(len(cov))
    want = Gaussian(flat.mean(0), cov)(x[:, alive], 0.3)
    assert np.abs(wiener(dead, How())(x, 0.3)[:, alive] - want).max() < 1e-6


def test_dead_elements_of_small_items_have_no_ridge_either():
    bank, _, x = spectra(height=4, width=3)
    raw = bank.images.copy()
    raw[:, 1, [0, 3]] = 0
    dead = Bank(raw, kind="spectrum")
    alive, found = dead.alive.numpy(), wiener(dead, How())(x, 0.3)
    flat = (raw * dead.scale.gain).astype(np.float64)[:, alive]
    cov = np.cov(flat.T, bias=True)
    cov += 1e-4 * np.trace(cov) / len(cov) * np.eye(len(cov))
    assert alive.sum() == 18 and not found[:, ~alive].any()
    assert np.abs(found[:, alive] - Gaussian(flat.mean(0), cov)(x[:, alive], 0.3)).max() < 1e-6


# --- sizes


def test_sizes_are_one_number_or_rows_x_columns(tmp_path):
    assert [parse_size(word) for word in ("5", "3x9", "7x7")] == [5, (3, 9), 7]
    assert [said(size) for size in (5, (3, 9), (7, 7))] == ["5", "3x9", "7"]
    assert parse_sizes("3x9", 2) == ((3, 9), (3, 9)) and parse_sizes("3, 5x7,9", 3) == (3, (5, 7), 9)
    file = tmp_path / "scales.txt"
    file.write_text("# compat none\n3x5\t0.5\n5\t1\n")
    assert Scales(parse_sizes(str(file), 2))(0.0) == 5 and Scales(parse_sizes(str(file), 2))(1.0) == (3, 5)
    file.write_text("3x5\n3y5\n")
    with pytest.raises(LemError, match="not a list of scales, which has a whole number, or two as in 3x9"):
        parse_sizes(str(file), 2)
    for text in ("3x", "x3", "3x5x7", "3 x 5"):
        with pytest.raises(LemError, match="neither a size"):
            parse_sizes(text, 2)


def test_sizes_that_no_machine_takes():
    both, mixed = ("bbels", "bbels"), ("ls", "els")
    for asked, size, said_ in (
        (both, (4, 5), "a patch of 4x5 px has no centre: give an odd size, such as 3x5"),
        (both, 0, "has no centre: give an odd size, such as 1"),
        (mixed, (3, 9), "a patch of 3x9 px is too large for rows by ls and columns by els on 8 x 6 px: at most 15x7"),
        (both, (3, 17), "too large for bbels on 8 x 6 px: at most 15x15"),
        (("els", "els"), 7, "a patch of 7 px is too large for els on 8 x 6 px: at most 5"),
    ):
        with pytest.raises(LemError, match=re.escape(said_)):
            check_size(asked, size, 6, 8)
    check_size(mixed, (15, 7), 6, 8)
    states = Bank(np.zeros((3, 2, 9), np.float32), scale=Scale())
    with pytest.raises(LemError, match="one direction, so give one number"):
        machine("bbels", states, (3, 5))(np.zeros((1, 2, 9)), 0.5)
    with pytest.raises(LemError, match="'foo' is no local machine"):
        Local(states, ("ls", "foo"))
    assert axis("bbels", 9, 3).alone == (0, 8)


# --- banks of spectra


def test_a_bank_of_spectra_is_in_units_of_its_rms_or_in_those_of_a_network():
    bank, items, _ = spectra()
    assert bank.scale.offset == 0 and np.sqrt((items**2).mean()) == pytest.approx(1)
    assert unit_gain(np.zeros((2, 1, 3, 3))) == 1 and unit_gain(np.full((300, 1, 2, 2), 4.0)) == 0.25
    other = bank.scaled(Scale(0.0, 2.0))
    assert torch.allclose(other.part(0, 2, torch.float64), torch.from_numpy(bank.images[:2].astype(np.float64) * 2))
    assert other.moments[1] == pytest.approx(bank.moments[1] * 2 / bank.scale.gain) and other.kind == "spectrum"
    assert np.array_equal(other.store.rows([1])[0].numpy(), bank.images[1].astype(np.float64) * 2)


def test_elements_that_are_zero_in_all_spectra_do_not_count():
    raw = np.random.default_rng(0).standard_normal((4, 2, 5, 6)).astype(np.float32)
    raw[:, 1, [0, -1]] = 0
    made = {
        "encoder": "stft",
        "rate": 8000.0,
        "samples": 20,
        "n_fft": 8,
        "hop": 4,
        "window_fn": "hann",
        "compress": 1.0,
    }
    bank = Bank(raw, np.array([0, 1, 0, 1]), kind="spectrum", history=[made], rate=8000.0)
    assert bank.alive.sum() == 2 * 5 * 6 - 12 and not bank.alive[1, 0].any() and bank.complex
    part = bank.of(1)
    near = raw.copy()
    near[:, 1, 0] = 1e-9  # what rounding leaves of a part that is zero for every sound
    assert torch.equal(Bank(near, kind="spectrum", history=[made]).alive, bank.alive)
    assert not torch.equal(Bank(near, kind="spectrum").alive, bank.alive)
    assert (part.kind, part.rate, part.history) == ("spectrum", 8000.0, bank.history)
    stereo = Bank(np.concatenate([raw, raw], 1) + 1e-9, kind="spectrum", history=[made])
    assert torch.equal(stereo.alive, torch.cat([bank.alive, bank.alive]))
    pieces = Bank(raw[:, :, 1:4] + 1e-9, kind="spectrum", history=[made])  # rows are not those of the record
    assert pieces.shown is None and pieces.alive.all()
    assert part.scale is bank.scale and bank.cut(0, 2).kind == "spectrum"
    assert not Bank(raw[:, :1], kind="spectrum").complex
    assert Bank(np.zeros((2, 1, 3, 3), np.uint8)).alive.all()  # of images all pixels count


@pytest.mark.parametrize("name", named("machine"))
def test_every_machine_takes_spectra(name):
    bank, _, x = spectra(height=6, width=6)
    found = machine(name, bank, 3)(torch.from_numpy(x), 0.6)
    assert found.shape == x.shape and bool(torch.isfinite(found).all())
    store = machine(name, Store(bank.images, bank.scale), 3, How())(torch.from_numpy(x), 0.6)
    assert torch.allclose(found, store, atol=1e-6)
