"""Shrinkage inside the bins in PyTorch: what NumPy says, on any device, in any batch and in strips."""

from functools import partial

import numpy as np
import pytest
import torch

from lemtools.fragment import fragment
from lemtools.reconstruct import reconstruct, shrink
from lemtools.restore import smooth
from lemtools.signal import Signal

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]
SHAPES = [(1, 1, 1), (3, 3, 5), (3, 41, 70), (1, 150, 33), (2, 20, 20)]  # more and fewer rows of blocks than a strip


def picture(shape, seed=0):
    """8-bit values [C,H,W]: a shading whose bands are wide, waves, and grain on the right."""
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    y, x = np.mgrid[:height, :width] / 64
    waves = [0.5 + 0.3 * y - 0.1 * x + 0.15 * (x > 0.4) * np.sin(rng.uniform(5, 30) * x + k) for k in range(channels)]
    grain = 0.05 * rng.standard_normal(shape) * (x > 0.7)
    return np.rint(np.clip(np.stack(waves) + grain, 0, 1) * 255).astype(np.uint8)


def bins(image, bits):
    low = (image >> (8 - bits)).astype(int) << (8 - bits)
    return (low / 255).astype(np.float32), ((low + (1 << (8 - bits)) - 1) / 255).astype(np.float32)


def with_lost(lo, hi, seed=0):
    """Bins of full width where pixels are lost, bins of a width of their own where they are filled; and a start."""
    rng = np.random.default_rng(seed)
    lost = np.broadcast_to(rng.random(lo.shape[1:]) < 0.3, lo.shape)
    start = np.float32(np.clip((lo + hi) / 2 + 0.1 * rng.standard_normal(lo.shape), 0, 1))
    open_ = np.where(lost, np.float32(0), lo), np.where(lost, np.float32(1), hi), None
    filled = np.where(lost, np.clip(start - 0.2, 0, 1), lo), np.where(lost, np.clip(start + 0.2, 0, 1), hi), start
    return open_, filled


def alone(lo, hi, start, step, **options):
    start = None if start is None else start[None]
    return shrink.dequantize(lo[None], hi[None], start, step, **options)[0]


def steady(mean, sd, lo, hi):
    """In place of `bin_mean`, whose table jumps from entry to entry: where two round otherwise these show it greatly."""
    tanh = np.tanh if isinstance(mean, np.ndarray) else torch.tanh
    width = hi - lo + 1e-4
    return (lo + hi) / 2 + width / 2 * tanh(2 * (mean - (lo + hi) / 2) / (width + 2 * sd))


@pytest.fixture
def no_jumps(monkeypatch):
    for module in (smooth, shrink):
        monkeypatch.setattr(module, "bin_mean", steady)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_numpy(device, shape, no_jumps):
    """All but the table, of every pixel: blocks, gains, weights, errors, passes, and where the first one starts."""
    for bits in range(1, 8):
        lo, hi = bins(picture(shape), bits)
        for (lows, highs, start), step in zip(
            ((lo, hi, None), *with_lost(lo, hi, bits)), (smooth.LEVEL, 0.0, smooth.LEVEL)
        ):
            want = smooth.dequantize(lows, highs, start, step)
            found = alone(lows, highs, start, step, device=torch.device(device))
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, want, rtol=0, atol=5e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_the_mean_in_a_bin_is_that_of_numpy(device):
    """To the last bit; below, beyond and on the ends of the table, too."""
    rng = np.random.default_rng(0)
    lo = rng.random(20000, dtype=np.float32)
    width = rng.choice(np.float32([0, 1e-7, 0.004, 0.1, 1]), lo.shape)
    mean = lo + width * rng.uniform(-4, 5, lo.shape).astype(np.float32)
    sd = width * rng.choice(np.float32([0, 0.01, 0.3, 1, 7]), lo.shape) * rng.random(lo.shape, dtype=np.float32)
    given = mean, sd, lo, lo + width
    found = shrink.bin_mean(*(torch.from_numpy(x).to(device) for x in given)).cpu().numpy()
    np.testing.assert_array_equal(found, smooth.bin_mean(*given))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_whole_by_the_table(device, channels):
    """Rounding moves some pixels by an entry of the table, .005 of a bin, in each of the passes."""
    for bits in range(1, 8):
        lo, hi = bins(picture((channels, 64, 90)), bits)
        off = np.abs(alone(lo, hi, None, smooth.LEVEL, device=torch.device(device)) - smooth.dequantize(lo, hi))
        off *= 2**bits  # widths of the bin
        assert off.max() < 0.03 and off.mean() < 2e-4 and (off > 1e-3).mean() < 0.02


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("filled", [False, True])
def test_batches_and_strips_are_what_items_are(device, filled, no_jumps, monkeypatch):
    """Items of four depths, of which two take four passes and two take two."""
    items = [bins(picture((3, 90, 60), seed), bits) for seed, bits in enumerate((2, 4, 7, 6))]
    starts = [with_lost(*item)[1][2] for item in items] if filled else None
    lo, hi = (np.stack(ends) for ends in zip(*items))  # [4,3,90,60]
    ask = partial(shrink.dequantize, lo, hi, None if starts is None else np.stack(starts), smooth.LEVEL)
    want = [smooth.dequantize(*item, None if starts is None else starts[i]) for i, item in enumerate(items)]
    plenty = 1 << 40
    np.testing.assert_allclose(ask(device=torch.device(device), memory=plenty), want, rtol=0, atol=5e-6)
    sizes, pieces = [], shrink._Blocks.pieces

    def noted(self, planes):
        found = list(pieces(self, planes))
        sizes.append((planes, [rows for _, rows, _ in found]))
        return found

    monkeypatch.setattr(shrink._Blocks, "pieces", noted)
    # 93 rows of the smallest blocks, 5 strips and a rest: one at a time, or four where one of the largest fits
    for piece, some, cuts in ((1, 1, 6), (3 * 2 * shrink._strip(60, 16), 2, 3)):
        monkeypatch.setattr(shrink, "PIECE", piece)
        sizes.clear()
        np.testing.assert_allclose(ask(device=torch.device(device), memory=plenty), want, rtol=0, atol=5e-6)
        assert (max(planes for planes, _ in sizes), max(len(rows) for _, rows in sizes)) == (3 * some, cuts)


def test_what_a_device_has_no_room_for_is_computed_here():
    lo, hi = bins(picture((3, 40, 50)), 4)
    for start in (None, (lo + hi) / 2):
        found = alone(lo, hi, start, smooth.LEVEL, device=torch.device("cpu"), memory=1e4)
        np.testing.assert_array_equal(found, smooth.dequantize(lo, hi, start))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_memory_by_what_one_takes():
    """The largest image that is let in takes no more than it may."""
    lo, hi = (np.stack([x] * 2) for x in bins(picture((3, 800, 600)), 4))
    memory = 1.05 * max(shrink.PLANES * lo[:1].size / 0.75, 3 * shrink._strip(600, 16) / 0.25)
    ask = partial(shrink.dequantize, lo, hi, None, smooth.LEVEL, device=torch.device("cuda"), memory=memory)
    ask()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    ask()
    assert 0.2 * memory < torch.cuda.max_memory_allocated() - before < memory


def broken(*operations, items):
    whole = Signal("image", np.stack([picture((3, 97, 99), seed) for seed in range(items)]))
    (out,) = fragment([whole], list(operations), 0)
    return out


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "operations, widths",
    [
        ([{"op": "bits", "bits": 6}], [99]),
        ([{"op": "bits", "bits": (3, 7)}], [99, 99]),  # one item has a share of the network, one has none
        ([{"op": "mask", "mask": 0.3}, {"op": "bits", "bits": 6}], [96, 99]),  # the windows of the trial, too
    ],
)
def test_the_default_takes_it(device, operations, widths, monkeypatch):
    """The same but for rounding, and it is asked, whatever the batch."""
    signal, asked, there = broken(*operations, items=3 - len(operations)), [], torch.device(device)
    options = {"method": "ensemble", "device": device, "dtype": "float32"}
    monkeypatch.setattr(shrink, "on", lambda device: None)
    (want,) = reconstruct([signal], **options)

    def noted(*given):
        asked.append((given[0].shape[-1], given[2] is not None))
        return shrink.dequantize(*given, device=there)

    monkeypatch.setattr(shrink, "on", lambda device: noted)
    (found,) = reconstruct([signal], **options)
    off = np.abs(found.data.astype(int) - want.data)
    assert off.max() <= 1 and (off > 0).mean() < 0.01
    assert sorted(asked) == [(width, len(operations) == 2) for width in widths]  # where pixels are lost, from a start


@pytest.mark.parametrize("device", DEVICES)
def test_where_it_runs(device):
    there = torch.device(device)
    assert (shrink.on(there) is None) == (device == "cpu")
    if device != "cpu":
        assert shrink.on(there).keywords["device"] == there
