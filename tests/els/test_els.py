"""The machines against their definitions: brute force in float64."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from helpers.machines import brute, kind, window
from lemtools.catalogue.denoisers import named
from lemtools.denoise.contract import Scale
from lemtools.denoise.how import How
from lemtools.denoise.moments import of_channels
from lemtools.denoise.store import Store
from lemtools.els import local, machine
from lemtools.els.bank import Bank
from lemtools.els.plan import rules
from lemtools.els.posterior import ROUNDING, Local
from lemtools.els.scales import Scales, levels, parse_sizes
from lemtools.els.sums import LOG2E, Sums
from lemtools.signal import LemError


def case(channels, height, width, count=5, seeds=2, seed=0):
    g = np.random.default_rng(seed)
    raw = g.integers(0, 256, (count, channels, height, width), dtype=np.uint8)
    return raw, raw / 127.5 - 1, g.standard_normal((seeds, channels, height, width))


@pytest.mark.parametrize("shape", [(1, 7, 7), (3, 6, 9)])
@pytest.mark.parametrize("name", ["ls", "els", "bbels"])
def test_machines_are_their_definition(name, shape):
    raw, bank, x = case(*shape)
    most = min(shape[1:]) if name == "els" else 2 * max(shape[1:]) - 1
    for size in range(1, most + 1, 2):
        for alpha_bar in (0.02, 0.5, 0.98):
            found = Local(Bank(raw), name, size, skip=0)(x, alpha_bar)
            for k in range(len(x)):
                want = brute(name, bank, x[k], alpha_bar, size)
                assert np.abs(found[k] - want).max() < 1e-4 * np.sqrt((want**2).mean()), (size, alpha_bar)


@pytest.mark.parametrize("name", ["els", "bbels", "ls"])
def test_machines_are_their_definition_by_single_columns(name, monkeypatch):
    """As large patches are compared: products of single columns, added up along the diagonals."""
    monkeypatch.setattr(local, "columns", lambda pairing, channels: 1)
    raw, bank, x = case(2, 6, 9)
    for size in (3, 5):
        for tile in (1, 300, 1 << 20):
            denoise = Local(Bank(raw), name, size, skip=0)
            denoise.tile = tile
            found = denoise(x, 0.5)
            for k in range(len(x)):
                want = brute(name, bank, x[k], 0.5, size)
                assert np.abs(found[k] - want).max() < 1e-4 * np.sqrt((want**2).mean()), (size, tile)


@pytest.mark.parametrize("name", ["ls", "els", "bbels"])
def test_machines_of_states_in_one_direction_are_their_definition(name):
    """Patches of P places of one axis, over all places of a ring (els), the same place, or those alike to the ends."""
    g = np.random.default_rng(3)
    states = 7 + 3 * g.standard_normal((6, 2, 9))
    scale = Scale(*of_channels(states))
    bank, x = scale.encode(states), g.standard_normal((3, 2, 9))
    for size in (1, 3, 5, 9) if name == "els" else (1, 3, 5, 11):
        for alpha_bar in (0.02, 0.5, 0.98):
            machine = Local(Bank(states.astype(np.float32), scale=scale), name, size, skip=0)
            found = machine(x, np.full(3, alpha_bar))
            d, want = size // 2, np.zeros_like(x)
            ends = "wrap" if name == "els" else "constant"
            patches, queries = (
                np.lib.stride_tricks.sliding_window_view(np.pad(v, ((0, 0), (0, 0), (d, d)), mode=ends), size, 2)
                for v in (bank, x)
            )
            for k, place in np.ndindex(3, 9):
                there = {"ls": [place], "els": range(9)}.get(name) or [
                    p for p in range(9) if kind(p, 9, size) == kind(place, 9, size)
                ]
                apart = queries[k, :, place] - np.sqrt(alpha_bar) * patches[:, :, there].transpose(0, 2, 1, 3)
                logits = -np.square(apart).sum((2, 3)) / (2 * (1 - alpha_bar))
                weight = np.exp(logits - logits.max())
                want[k, :, place] = np.einsum("nt,nct->c", weight / weight.sum(), bank[:, :, there])
            assert found.shape == x.shape and np.abs(found - want).max() < 1e-4 * np.sqrt((want**2).mean())


@pytest.mark.parametrize("name", named("machine"))
def test_machines_of_states_keep_the_contract(name):
    g = np.random.default_rng(4)
    states = (5 * g.standard_normal((7, 2, 8))).astype(np.float32)
    scale = Scale(*of_channels(states))
    x = torch.from_numpy(g.standard_normal((3, 2, 8)))
    denoise = machine(name, Bank(states, scale=scale), 3)
    found = denoise(x, 0.6)
    assert found.shape == x.shape and torch.equal(denoise(x, 1.0), x)
    assert torch.allclose(machine(name, Store(states, scale), 3, How())(x, 0.6), found, atol=1e-6)
    if name in ("els", "es"):  # the same on a ring that is turned
        assert torch.allclose(denoise(x.roll(3, 2), 0.6), found.roll(3, 2), atol=1e-5)
    labelled = Bank(states, np.arange(7) % 2, scale=scale).of(1)
    assert machine(name, labelled, 3)(x, 0.6).shape == x.shape


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("lane", [1, 3])
def test_sums_along_diagonals_are_their_definition(circular, lane):
    """Of whole numbers, so that no order of summation rounds: columns of queries and of keys step together."""
    width, g = 21, np.random.default_rng(2)
    for terms in range(1, 20):
        x = g.integers(-9, 10, (2, width, 3, width, lane))
        out = width if circular else width - terms + 1
        step = (np.arange(out)[:, None] + np.arange(terms)) % width  # [columns that come out, terms]
        want = sum(x[:, step[:, k]][:, :, :, step[:, k]] for k in range(terms))
        found = local.diagonals(torch.from_numpy(x).flatten(3), terms, lane, circular)
        assert np.array_equal(found.unflatten(3, (-1, lane)), want), terms


def test_sums_over_neighbours_are_their_definition():
    x = np.random.default_rng(2).integers(-9, 10, (3, 21, 20))
    for dim, length in ((1, 21), (2, 20)):
        for size in range(1, length + 1):
            want = np.lib.stride_tricks.sliding_window_view(x, size, dim).sum(-1)
            assert np.array_equal(local.sliding(torch.from_numpy(x), dim, size), want), size
        for reach in (0, 1, 4, length - 1, length, 30):
            around = [(reach, reach) if axis == dim else (0, 0) for axis in range(3)]
            want = np.lib.stride_tricks.sliding_window_view(np.pad(x, around), 2 * reach + 1, dim).sum(-1)
            assert np.array_equal(local.box(torch.from_numpy(x), dim, reach), want), reach


@pytest.mark.parametrize("name", ["ls", "els", "bbels"])
def test_a_machine_goes_by_the_letters_of_its_name(name):
    """Of a name out of a command line or a file, which is no constant of the program."""
    raw, bank, x = case(1, 5, 6, seeds=1)
    found = Local(Bank(raw), f"{name}:3".partition(":")[0], 3, skip=0)(x, 0.5)
    assert np.abs(found[0] - brute(name, bank, x[0], 0.5, 3)).max() < 1e-5


@pytest.mark.parametrize("name", ["els", "bbels", "ls"])
def test_the_best_patch_of_many_images_is_in_the_image_it_came_from(name):
    """Images so small that many go into a product: numbers go on from one product to the next."""
    g = np.random.default_rng(5)
    raw = g.integers(0, 256, (100, 1, 4, 5), dtype=np.uint8)
    x = torch.from_numpy(raw[[3, 40, 77, 99]] / 127.5 - 1)
    denoise = Local(Bank(raw), name, 3)
    for tile in (500, 3000, 10**6):
        denoise.tile = tile
        best = denoise.posterior(x, 1 - 1e-6, track=True).best
        assert torch.equal(best // 20, torch.tensor([3, 40, 77, 99]).view(4, 1, 1).expand(4, 4, 5))
        assert torch.equal(best % 20, torch.arange(20).view(1, 4, 5).expand(4, 4, 5))


def whole(bank: np.ndarray, x: np.ndarray, alpha_bar: float) -> np.ndarray:
    """The posterior mean over whole images [N, C, H, W], by the definition."""
    logits = -((x - np.sqrt(alpha_bar) * bank) ** 2).sum((1, 2, 3)) / (2 * (1 - alpha_bar))
    w = np.exp(logits - logits.max())
    return np.tensordot(w / w.sum(), bank, 1)


@pytest.mark.parametrize("name", ["is", "es", "wiener"])
@pytest.mark.parametrize("shape", [(1, 5, 6), (3, 4, 4)])
def test_machines_of_whole_images_are_their_definition(name, shape):
    raw, bank, x = case(*shape, count=7)
    for alpha_bar in (0.02, 0.5, 0.98):
        found = machine(name, Bank(raw))(x, alpha_bar)
        for k in range(len(x)):
            if name == "wiener":
                flat = bank.reshape(len(bank), -1)
                cov = np.cov(flat.T, bias=True)
                cov += 1e-4 * np.trace(cov) / len(cov) * np.eye(len(cov))
                gain = alpha_bar * cov + (1 - alpha_bar) * np.eye(len(cov))
                y = x[k].ravel() - np.sqrt(alpha_bar) * flat.mean(0)
                want = (flat.mean(0) + np.sqrt(alpha_bar) * cov @ np.linalg.solve(gain, y)).reshape(shape)
            else:
                moved = [np.roll(bank, (r, c), (2, 3)) for r in range(shape[1]) for c in range(shape[2])]
                want = whole(np.concatenate(moved) if name == "es" else bank, x[k], alpha_bar)
            assert np.abs(found[k] - want).max() < 1e-5, (alpha_bar, k)


@pytest.mark.parametrize("name", named("machine"))
def test_machines_keep_the_contract(name):
    raw, bank, x = case(3, 6, 6, seeds=3)
    labels = np.array([0, 1, 1, 0, 1])
    denoise = machine(name, Bank(raw, labels).of(1), 3)
    same = denoise(x, 1.0)
    assert np.array_equal(same, x) and denoise(torch.from_numpy(x).float(), 0.5).dtype == torch.float32
    mean = bank[labels == 1].mean(0)
    if name in ("els", "es"):
        mean = np.broadcast_to(mean.mean((1, 2), keepdims=True), mean.shape)
    if name in ("bbels", "both", "time", "freq", "linear"):
        asked = rules("both" if name == "linear" else name)
        mean = brute(asked, bank[labels == 1], x[0], 1e-12, 3)
    assert np.abs(denoise(x, 0.0) - mean).max() < 1e-5
    levels = np.array([0.1, 0.9, 0.5])
    each = np.concatenate([denoise(x[k : k + 1], levels[k]) for k in range(3)])
    assert np.abs(denoise(x, levels) - each).max() < 1e-5


@pytest.mark.parametrize("name", ["els", "bbels", "ls", "es"])
def test_what_is_skipped_stays_within_its_bound(name):
    g = np.random.default_rng(0)
    grey = 40 + 8 * np.arange(20)[:, None, None, None]  # the further down the bank, the further from the query
    raw = (grey + g.integers(0, 9, (20, 1, 8, 8))).astype(np.uint8)
    x = np.sqrt(0.9) * (raw[:2] / 127.5 - 1) + np.sqrt(0.1) * g.standard_normal((2, 1, 8, 8))
    exact, skipping = (machine(name, Bank(raw), 3, How(skip=skip, memory=8192)) for skip in (0, 1e-2))
    exact.tile = skipping.tile = 256
    alpha_bar = 0.2 if name == "es" else 0.9
    off = np.abs(exact(x, alpha_bar) - skipping(x, alpha_bar)).max()
    assert 1e-6 < off <= skipping.error <= 0.02 and exact.error == 0


@pytest.mark.parametrize("name", ["els", "bbels", "ls", "es"])
def test_the_bound_of_what_is_skipped_is_reached(name):
    """A white image is answered and a black one skipped: the answer is off by the whole distance times the share."""
    raw = np.zeros((2, 1, 5, 5), np.uint8)
    raw[0] = 255
    x, alpha_bar = np.full((1, 1, 5, 5), 0.2 if name != "es" else 0.01), 0.5  # (es sees the whole image)
    exact, skipping = (machine(name, Bank(raw), 3, How(skip=skip, memory=1)) for skip in (0, 0.5))
    exact.tile = skipping.tile = 1  # an image at a time
    assert exact.error == skipping.error == 0  # of no call yet
    off = np.abs(exact(x, alpha_bar) - skipping(x, alpha_bar))
    assert off.max() > 1e-3
    assert skipping.error == pytest.approx(off.max(), rel=0.01)
    assert np.array_equal(skipping(x, 1.0), x) and skipping.error == 0  # it is that of the last call


def test_the_weight_of_the_best_patch_is_relative_to_all():
    """A better patch may come after the first: the sums are then relative to another logit than the best one."""
    g = np.random.default_rng(0)
    keys, query = g.standard_normal((40, 3)), g.standard_normal(3)
    logits = torch.from_numpy(-((query - keys) ** 2).sum(1) / 2)
    sums = Sums.empty(1, 1, 1, logits, track=True)
    order = torch.argsort(logits)  # the best comes last
    for part in order.split(7):
        tile = (logits[part] * LOG2E)[None, None].clone()
        sums.add(tile, torch.ones(1, 2, len(part), dtype=torch.float64), keys=part[None])
    assert int(sums.best) == int(logits.argmax())
    assert float(sums.peak - sums.reference) > 1  # else the test tests nothing
    assert float(sums.weight()) == pytest.approx(float(torch.softmax(logits, 0).max()))


@pytest.mark.parametrize("size", [3, 15])
def test_products_are_in_float64_where_float32_would_show(size):
    """Sums of many products round more than those of few: alpha_bar lies where only the number of terms decides."""
    g = np.random.default_rng(1)
    raw = (g.integers(0, 2, (4, 3, 16, 16)) * 255).astype(np.uint8)
    bank = Bank(raw)
    alpha_bar, largest = 0.9, 1.0
    x = torch.from_numpy(g.choice([-largest, largest], (1, 3, 16, 16)))
    seen = Local(bank, "els", size)
    one = 2.0**-23 * np.sqrt(alpha_bar) * max(largest, np.sqrt(alpha_bar) * bank.moments[1])
    for factor, want in ((0.9, torch.float32), (1.1, torch.float64)):
        variance = one * 3 * size * size / (factor * ROUNDING)
        assert seen._dtype(x, np.sqrt(alpha_bar), variance / factor**2, size) == want


def test_results_do_not_depend_on_tiles_threads_or_batch():
    raw, _, x = case(3, 9, 8, count=30, seeds=4)
    machine_, given = machine("bbels", Bank(raw), 5), torch.from_numpy(x)
    want, best = machine_(x, 0.6), machine_.posterior(given, 0.6, track=True).best
    threads = torch.get_num_threads()
    for tile, count in ((50, 1), (200, 1), (5000, 2), (10**6, 3)):
        machine_.tile = tile
        try:
            torch.set_num_threads(count)
            assert np.abs(machine_(x, 0.6) - want).max() < 1e-5
            assert torch.equal(machine_.posterior(given, 0.6, track=True).best, best)
            assert torch.get_num_threads() == count
        finally:
            torch.set_num_threads(threads)
    assert np.abs(np.concatenate([machine_(x[k : k + 1], 0.6) for k in range(4)]) - want).max() < 1e-5


def test_best_patch_and_its_weight():
    raw, bank, x = case(1, 7, 8, count=4)
    for name, size in (("bbels", 3), ("els", 5), ("ls", 3), ("bbels", 7)):
        found = machine(name, Bank(raw), size).posterior(torch.from_numpy(x), 0.7, track=True)
        image, place = np.divmod(found.best.numpy(), 56)
        assert ((image >= 0) & (image < 4)).all()
        r, c = np.divmod(place, 8)
        _d, circular = size // 2, name == "els"
        for s, u, v in ((0, 0, 0), (1, 3, 4), (0, 6, 2), (1, 2, 7), (0, 0, 5)):
            q = window(x[s], u, v, size, circular)
            seen = (
                [(u, v)]
                if name == "ls"
                else [
                    (a, b)
                    for a in range(7)
                    for b in range(8)
                    if circular or (kind(a, 7, size) == kind(u, 7, size) and kind(b, 8, size) == kind(v, 8, size))
                ]
            )
            every = {
                (i, a, b): -((q - np.sqrt(0.7) * window(bank[i], a, b, size, circular)) ** 2).sum() / 0.6
                for i in range(4)
                for a, b in seen
            }
            likeliest = max(every, key=every.get)
            assert (image[s, u, v], r[s, u, v], c[s, u, v]) == likeliest
            weight = 1 / sum(np.exp(e - every[likeliest]) for e in every.values())
            assert abs(float(found.weight[s, u, v]) - weight) < 1e-4 * weight


class Beside:
    """Processes that share a bank, played by threads."""

    def __init__(self, rank, world, given, barrier):
        self.rank, self.world, self.given, self.barrier = rank, world, given, barrier

    def gather(self, tensor):
        self.given[self.rank] = tensor
        self.barrier.wait()
        every = list(self.given)
        self.barrier.wait()
        return every


@pytest.mark.parametrize("name", ["ls", "els", "bbels"])
def test_processes_that_share_a_bank_have_the_whole_answer(name):
    raw, _, x = case(3, 8, 7, count=5)
    x, world = torch.from_numpy(x), 3
    want = machine(name, Bank(raw), 3).posterior(x, 0.8, track=True)
    given, barrier = [None] * world, threading.Barrier(world)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def work(rank):
        torch.set_num_threads(1)
        return Local(Bank(raw), name, 3, share=Beside(rank, world, given, barrier)).posterior(x, 0.8, track=True)

    with ThreadPoolExecutor(world) as pool:
        found = list(pool.map(work, range(world)))
    torch.set_num_threads(threads)
    for answer in found:
        assert torch.equal(answer.mean, found[0].mean) and (answer.mean - want.mean).abs().max() < 1e-5
        assert torch.equal(answer.best, want.best) and torch.allclose(answer.weight, want.weight, rtol=1e-4)


def test_no_seed_is_rounded_for_the_sake_of_others():
    g = np.random.default_rng(3)
    raw = (g.integers(0, 2, (12, 1, 16, 16)) * 255).astype(np.uint8)
    alpha_bar = 0.994
    x = np.sqrt(alpha_bar) * (raw[:1] / 127.5 - 1) + np.sqrt(1 - alpha_bar) * g.standard_normal((1, 1, 16, 16))
    both = np.concatenate([x, np.zeros_like(x)])
    denoise = Local(Bank(raw), "bbels", 15, skip=0)
    want = brute("bbels", raw / 127.5 - 1, x[0], alpha_bar, 15)
    for given in (x, both):
        assert np.abs(denoise(given, alpha_bar)[0] - want).max() < 1e-4 * np.sqrt((want**2).mean())


def test_of_patches_alike_the_first_is_told():
    raw = np.zeros((6, 1, 8, 8), np.uint8)
    raw[:, :, 3, 4] = 255
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, 8, 8)))
    machine_ = Local(Bank(raw), "bbels", 3)
    for tile in (50, 500, 10**6):
        machine_.tile = tile
        best = machine_.posterior(x, 0.5, track=True).best
        assert int((best // 64).max()) == 0


def test_sizes_of_a_sampler_are_one_a_step():
    sizes = (3, 5, 7, 9)
    assert parse_sizes("5", 4) == (5,) * 4 and parse_sizes("3, 5,7,9", 4) == sizes
    assert [Scales(sizes)(float(level)) for level in levels(4)[:-1]] == [9, 7, 5, 3]  # from the noisiest
    assert [Scales(sizes, shifted=True)(float(level)) for level in levels(4)[:-1]] == [9, 9, 7, 5]
    assert Scales(sizes)(1.0) == 3 and Scales(sizes)(0.0) == 9
    with pytest.raises(LemError, match="4 sizes for 3 steps"):
        parse_sizes("3,5,7,9", 3)


def test_a_part_of_a_bank_is_a_bank():
    raw, _bank, _ = case(1, 4, 4, count=9)
    whole = Bank(raw, np.arange(9) % 3, [f"#{k}" for k in range(9)])
    part = whole.cut(4, 8)
    assert len(part) == 4 and part.mean == whole.mean and len(part.store) == 4
    one = part.of(2)
    assert one.index.tolist() == [5] and one.names == ["#5"] and np.array_equal(one.images, raw[5:6])


def test_what_no_machine_can_take():
    raw, *_ = case(3, 6, 6)
    for name, message in (("foo", "no machine 'foo'; there are is, es"), ("wiener", "raise --max-memory")):
        with pytest.raises(LemError, match=message):
            machine(name, Bank(raw), 3, How(memory=1000))
    with pytest.raises(LemError, match=re.escape(f"takes {32 * 108**2 / 2**30:.3g} GiB")):
        machine("wiener", Bank(raw), 3, How(memory=1000))
    for name, size, most in (("els", 7, 5), ("bbels", 13, 11), ("ls", 13, 11)):
        with pytest.raises(LemError, match=f"at most {most}$"):
            machine(name, Bank(raw), size)(np.zeros((1, 3, 6, 6)), 0.5)
    for shape in ((6, 6), (3, 6, 6), (0, 3, 6, 6)):
        with pytest.raises(LemError, match="a bank holds images"):
            Bank(np.zeros(shape, np.uint8))
    with pytest.raises(LemError, match="one image has no covariance"):
        machine("wiener", Bank(raw[:1]))
    with pytest.raises(LemError, match="not finite"):
        machine("bbels", Bank(raw))(np.full((1, 3, 6, 6), np.nan), 0.5)
