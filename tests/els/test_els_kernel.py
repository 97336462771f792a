"""The Triton kernel of the local machines, in Triton's interpreter on the CPU: against the definition in float64.

The interpreter must be chosen before triton is imported, so one process runs every case (this file as a script) and the
tests look at what it found.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from helpers.machines import brute
from helpers.paths import ROOT

TOLERANCE = 1e-4  # of rms(x0), maximum over pixels

# name: machine, (C, H, W), P, alpha_bar, images, seeds, and what is not the default: of the tiling, or of the call
CASES = {
    "bbels, grey, P 1": ("bbels", (1, 6, 7), 1, 0.5, 5, 2, {}),
    "bbels, grey, P 3": ("bbels", (1, 7, 8), 3, 0.5, 5, 2, {}),
    "bbels, grey, P 5, much noise": ("bbels", (1, 8, 9), 5, 0.02, 5, 2, {}),
    "bbels, grey, P of one axis": ("bbels", (1, 7, 10), 7, 0.5, 5, 2, {}),
    "bbels, grey, P of both": ("bbels", (1, 7, 8), 9, 0.5, 5, 2, {}),
    "bbels, colour, P 3, next to all noise": ("bbels", (3, 6, 7), 3, 1.55e-4, 5, 2, {}),
    "bbels, colour, P 3": ("bbels", (3, 7, 8), 3, 0.9, 4, 3, {}),
    "bbels, colour, P 5": ("bbels", (3, 8, 9), 5, 0.5, 5, 2, {}),
    "bbels, colour, P 5, little noise": ("bbels", (3, 8, 9), 5, 0.994, 5, 2, {}),
    "bbels, colour, P 9": ("bbels", (3, 11, 10), 9, 0.3, 5, 1, {}),
    "els, grey, P 3": ("els", (1, 6, 8), 3, 0.7, 5, 2, {}),
    "els, colour, P 5": ("els", (3, 8, 6), 5, 0.5, 5, 2, {}),
    "els, colour, P 7, valid": ("els", (3, 8, 9), 7, 0.9, 5, 2, {"valid": True}),
    "els, colour, P 3, little noise": ("els", (3, 7, 6), 3, 0.994, 5, 2, {}),
    "ls, colour, P 5": ("ls", (3, 8, 7), 5, 0.9, 5, 2, {}),
    "no signal": ("els", (1, 5, 5), 3, 0.0, 4, 1, {}),
    "small tiles": ("bbels", (3, 7, 8), 3, 0.9, 5, 2, {"block_q": 16, "block_k": 16}),
    "many shares": ("bbels", (3, 7, 8), 3, 0.9, 9, 1, {"block_q": 16, "block_k": 32, "waves": 256}),
    "streamed": ("bbels", (3, 9, 8), 5, 0.9, 5, 2, {"resident": False, "step": 32}),
    "strips": ("bbels", (3, 7, 6), 3, 0.9, 5, 2, {"strip": True, "step": 16}),
    "strips, circular": ("els", (3, 7, 8), 5, 0.994, 5, 2, {"strip": True, "step": 32}),
    "strips, streamed": ("bbels", (1, 9, 8), 5, 0.9, 5, 2, {"strip": True, "resident": False, "step": 16}),
    "windows, large": ("bbels", (3, 9, 10), 7, 0.9, 5, 2, {"strip": False, "step": 32}),
    "sums one by one": ("bbels", (3, 6, 7), 3, 0.9, 5, 2, {"dot": False}),
    "sums by product, grey": ("bbels", (1, 6, 7), 3, 0.9, 5, 2, {"dot": True}),
    "square, grey, P 5": ("bbels", (1, 9, 9), 5, 0.5, 5, 3, {}),
    "square, strips, little noise": ("bbels", (3, 9, 9), 7, 0.994, 5, 2, {"strip": True, "step": 32}),
    "rows by ls, columns by bbels": (("ls", "bbels"), (3, 6, 7), 3, 0.9, 4, 2, {}),
    "rows by bbels, columns by ls": (("bbels", "ls"), (1, 7, 8), 5, 0.9, 4, 2, {}),
    "ls, grey, P larger than the image": ("ls", (1, 5, 6), 9, 0.9, 5, 3, {}),
    "seeds a few at a time": ("bbels", (3, 6, 7), 3, 0.9, 5, 6, {"memory": 90_000}),
    "chunks": ("bbels", (3, 7, 7), 3, 0.9, 7, 3, {"memory": 60_000}),
    "skip": ("bbels", (3, 7, 8), 3, 0.99, 9, 1, {"skip": 1e-6, "block_k": 16}),
    "rectangle": ("bbels", (3, 7, 8), (3, 5), 0.9, 5, 2, {}),
    "rectangle, strips": ("bbels", (3, 9, 10), (7, 3), 0.994, 4, 1, {"strip": True, "step": 16}),
    "columns go round": (("bbels", "els"), (1, 6, 7), (3, 5), 0.7, 5, 2, {}),
    "rows alone, columns go round": (("ls", "els"), (3, 5, 6), (5, 3), 0.7, 5, 2, {}),
    "floats, both": ("bbels", (2, 7, 8), 3, 0.9, 5, 2, {"floats": True}),
    "floats, time": (("ls", "bbels"), (2, 6, 9), 5, 0.9, 5, 2, {"floats": True}),
    "floats, time, little noise": (("ls", "bbels"), (2, 6, 9), (5, 3), 0.9994, 6, 1, {"floats": True}),
    "floats, freq": (("bbels", "ls"), (2, 9, 6), (3, 5), 0.994, 5, 2, {"floats": True}),
    "floats, none": ("ls", (2, 5, 6), 3, 0.9, 9, 2, {"floats": True}),
    "floats, none, one row": ("ls", (4, 1, 9), (1, 5), 0.9, 9, 2, {"floats": True}),
    "floats, circular": ("els", (2, 7, 8), (5, 7), 0.9, 5, 1, {"floats": True}),
    "floats, zeros and circular": (("bbels", "els"), (1, 7, 8), (3, 5), 0.99, 5, 2, {"floats": True}),
    "floats, four channels": ("bbels", (4, 6, 7), 3, 0.9, 5, 1, {"floats": True}),
    "floats, seven channels": ("bbels", (7, 5, 6), 3, 0.9, 5, 1, {"floats": True}),
    "floats, P 1": ("bbels", (2, 6, 7), 1, 0.9, 5, 2, {"floats": True}),
    "floats, P of both": ("bbels", (2, 6, 7), 9, 0.9, 6, 1, {"floats": True}),
    "floats, much noise": ("bbels", (2, 7, 8), 3, 0.006, 5, 2, {"floats": True}),
    "floats, next to all noise": ("bbels", (2, 6, 7), 3, 1e-8, 5, 2, {"floats": True}),
    "floats, no signal": ("bbels", (2, 6, 7), 3, 0.0, 5, 2, {"floats": True}),
    "floats, resident, small tiles": (
        "bbels",
        (2, 7, 8),
        3,
        0.9,
        5,
        2,
        {"floats": True, "block_q": 16, "block_k": 16, "resident": True},
    ),
    "floats, chunks": ("bbels", (2, 7, 8), 3, 0.9, 9, 3, {"floats": True, "memory": 90_000}),
    "floats, skip": ("bbels", (2, 7, 8), 3, 0.99, 9, 1, {"floats": True, "skip": 1e-6, "block_k": 16}),
}


# name: side, P; see ``hard``
HARD = {
    "near duplicates, P 3": (8, 3),
    "near duplicates, P 7": (9, 7),
    "near duplicates, P 11": (12, 11),
    "halfway, P 3": (8, 3),
    "halfway, P 17": (18, 17),
    "floats, near duplicates, P 3": (8, 3),
    "floats, near duplicates, P 9": (11, 9),
    "floats, halfway, P 3": (8, 3),
    "floats, halfway, P 9": (11, 9),
}


@pytest.fixture(scope="module")
def found() -> dict:
    pytest.importorskip("triton")
    path = os.pathsep.join(map(str, filter(None, [ROOT, ROOT / "tests", os.environ.get("PYTHONPATH")])))
    env = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-W", "ignore", __file__]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_the_definition(found, name):
    assert found["cases"][name]["definition"] < TOLERANCE
    assert found["cases"][name]["plain"] < TOLERANCE


@pytest.mark.parametrize("name", HARD)
def test_little_noise_between_patches_that_are_nearly_as_likely(found, name):
    """t = .05 of the cosine schedule, logits of up to 1e5: the answer hangs on differences of less than 1."""
    assert found["hard"][name]["shared"] > 0.01  # no pixel for which one patch has it all: else nothing is tested
    assert found["hard"][name]["definition"] < TOLERANCE


def test_what_is_skipped_is_within_its_bound(found):
    for case in found["skip"]:
        assert 0 <= case["true"] <= case["bound"] <= case["allowed"] * 1.01
        assert case["within"]
    assert any(case["bound"] > 0 for case in found["skip"])  # tiles were skipped


def test_keys_are_kept_for_calls_with_the_same_patch_size(found):
    assert found["kept"]["laid"] == [2, 0, 0, 2, 2, 0, 2]  # see ``kept``
    assert max(found["kept"]["definition"]) < TOLERANCE
    assert found["kept"]["left"] == 0


def test_corners_in_many_tiles_and_shares(found):
    assert max(found["corners"]) < TOLERANCE


def test_sums_of_the_high_digit_are_exact(found):
    """Every one is a multiple of a grid of which float32 holds all that can be reached, in any order of summation."""
    assert found["exact"]["multiples"]
    assert found["exact"]["reach"] <= 1
    assert found["exact"]["rest"] < 2**-19  # of what the digits leave, relative to the largest


def test_values_that_are_not_finite_are_refused(found):
    assert found["refused"] == 3


def test_banks_that_the_kernel_does_not_take(found):
    assert found["usable"] == [True, False, True, True, True, False, False]


def test_another_gpu_than_the_current_one():
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("two GPUs")
    from lemtools.els.bank import Bank
    from lemtools.els.posterior import Local

    rng = np.random.default_rng(0)
    bank = Bank(rng.integers(0, 256, (50, 3, 12, 12), dtype=np.uint8))
    x = rng.normal(size=(2, 3, 12, 12)).astype(np.float32)
    wanted = Local(bank, "bbels", 3)(x, 0.7)
    found = Local(bank, "bbels", 3, device="cuda:1")(torch.from_numpy(x).to("cuda:1"), 0.7).cpu().numpy()
    assert torch.cuda.current_device() == 0 and np.abs(found - wanted).max() < 1e-4


# What follows runs in the interpreter's process.


def answered(bank, machine, x, alpha_bar, size, skip=0.0, valid=False, memory=1 << 30, **plan):
    """x0_hat [S, C, H, W] by the kernel, and its sums."""
    import torch

    from lemtools.els import posterior
    from lemtools.els.gpu import fused
    from lemtools.els.local import Level
    from lemtools.els.plan import axis

    x = torch.as_tensor(x, dtype=torch.float64).transpose(2, 3).contiguous().transpose(2, 3)  # (any strides will do)
    machine = (machine, machine) if isinstance(machine, str) else machine
    sides = (size, size) if isinstance(size, int) else size
    rows, cols = (axis(rule, n, side, valid) for rule, n, side in zip(machine, x.shape[2:], sides))
    level = Level(alpha_bar**0.5, 1 - alpha_bar)
    sums, shift = fused.run(
        bank, x, level, rows, cols, skip, memory, lambda *about: replace(fused.tiling(*about), **plan)
    )
    return posterior.whole(sums, x.shape, shift).mean.numpy(), sums


def off(answer, want):
    return float(np.abs(answer - want).max() / np.sqrt((want**2).mean()))


def levels(images, shape, g):
    """A bank of bytes, and its items in coordinates."""
    from lemtools.els.bank import Bank

    raw = g.integers(0, 256, (images, *shape), dtype=np.uint8)
    return Bank(raw), raw / 127.5 - 1


def floats(images, shape, g):
    """The same of floats, in units of their rms: most are quiet, some a hundred times as loud, as in spectra of sounds; one
    item is near another, so that little noise leaves both likely."""
    from lemtools.els.bank import Bank

    raw = g.standard_normal((images, *shape)) * np.exp(1.5 * g.standard_normal((images, 1, *shape[1:]))) + 0.3
    raw[1] = raw[0] + 0.01 * g.standard_normal(shape)
    bank = Bank(raw.astype(np.float32), kind="spectrum")
    return bank, raw.astype(np.float32).astype(np.float64) * bank.scale.gain


def cases():
    from lemtools.els.posterior import Local

    out = {}
    for k, (name, (machine, shape, size, alpha_bar, images, seeds, other)) in enumerate(CASES.items()):
        g = np.random.default_rng(k)
        bank, items = floats(images, shape, g) if other.pop("floats", False) else levels(images, shape, g)
        some = items[g.integers(0, images, seeds)]
        x = alpha_bar**0.5 * some + (1 - alpha_bar) ** 0.5 * g.standard_normal((seeds, *shape))
        answer, *_ = answered(bank, machine, x, alpha_bar, size, **other)
        valid = other.get("valid", False)
        want = np.stack([brute(machine, items, one, alpha_bar, size, valid) for one in x])
        plain = Local(bank, machine, size, skip=0, valid=valid)(x, alpha_bar)
        out[name] = {"definition": off(answer, want), "plain": off(answer, plain)}
    return out


def hard():
    """Images that differ by a grey level here and there, and queries halfway between two images that share nothing; of
    floats, items that differ by the noise itself."""
    from lemtools.denoise.schedule import cosine
    from lemtools.els.bank import Bank

    out, alpha_bar = {}, float(cosine(0.05))
    for name, (length, size) in HARD.items():
        g = np.random.default_rng(size)
        inner = slice(size // 2, length - size // 2)
        if "floats" in name:
            base = g.standard_normal((7, 2, length, length)) * np.exp(1.5 * g.standard_normal((7, 1, length, length)))
            near = "duplicates" in name
            apart = (1 - alpha_bar) ** 0.5 / size * (1 if near else 20)  # (farther, and float32 itself decides)
            base[1:] = base[:1] + apart * g.standard_normal(base[1:].shape)
            raw = base[: 7 if near else 2].astype(np.float32)
            bank = Bank(raw, kind="spectrum")
            items = raw.astype(np.float64) * bank.scale.gain
            x = alpha_bar**0.5 * (items[:1] if near else items.mean(0, keepdims=True))
            x = x + (1 - alpha_bar) ** 0.5 * g.standard_normal(x.shape) * near
            answer, sums = answered(bank, "bbels", x, alpha_bar, size)
            want = brute("bbels", items, x[0], alpha_bar, size)
            block = sums.sums[0, :, -1].view(length, length)[inner, inner]
            out[name] = {"definition": off(answer[0], want), "shared": float(block.max()) - 1}
            continue
        base = g.integers(0, 256, (2, 3, length, length)).astype(int)
        if "duplicates" in name:
            others = (6, *base.shape[1:])
            raw = np.clip(base[:1] + g.integers(-3, 4, others) * (g.random(others) < 20 / size**2), 0, 255)
            x = alpha_bar**0.5 * (raw[:1] / 127.5 - 1) + (1 - alpha_bar) ** 0.5 * g.standard_normal(raw[:1].shape)
        else:
            raw = base.copy()
            raw[1][:, inner, inner] = 255 - raw[0][:, inner, inner]
            x = alpha_bar**0.5 * (raw.mean(0, keepdims=True) / 127.5 - 1)
        raw = raw.astype(np.uint8)
        answer, sums = answered(Bank(raw), "bbels", x, alpha_bar, size)
        want = brute("bbels", raw / 127.5 - 1, x[0], alpha_bar, size)
        block = sums.sums[0, :, -1].view(length, length)[inner, inner]  # of the largest weight and the others
        out[name] = {"definition": off(answer[0], want), "shared": float(block.max()) - 1}
    return out


def skip():
    from lemtools.els.bank import Bank

    out = []
    for k, (machine, size, alpha_bar, allowed) in enumerate((("bbels", 3, 0.99, 1e-6), ("els", 3, 0.99, 1e-2))):
        g = np.random.default_rng(k)
        raw = g.integers(0, 256, (16, 1, 7, 7), dtype=np.uint8)
        x = alpha_bar**0.5 * (raw[:1] / 127.5 - 1) + (1 - alpha_bar) ** 0.5 * g.standard_normal((1, 1, 7, 7))
        plan = {"block_q": 16, "block_k": 16, "waves": 2}
        a, b = (answered(Bank(raw), machine, x, alpha_bar, size, skip=s, **plan)[1] for s in (0.0, allowed))
        total = a.sums[..., -1] * 2.0 ** (a.reference - b.reference)
        lost = (total - b.sums[..., -1]) / total - 1e-6 * (b.skipped == 0)  # (what sums in float32 lose)
        bound = b.skipped / (b.sums[..., -1] + b.skipped)
        out.append(
            {
                "true": float(lost.clamp(min=0).max()),
                "bound": float(bound.max()),
                "allowed": allowed,
                "within": bool((lost <= bound * 1.01 + 1e-7).all()),
            }
        )
    return out


def kept():
    """Of calls in a row: how many parts laid out keys, and how far the answer is off."""
    from lemtools.els.bank import Bank
    from lemtools.els.gpu import fused, launches

    g = np.random.default_rng(0)
    raws = [g.integers(0, 256, (5, 1, 7, 7), dtype=np.uint8) for _ in range(2)]
    banks, count, fill = [Bank(raw) for raw in raws], [], launches.Launches.fill
    launches.Launches.fill = lambda self, *about: (count.append(self), fill(self, *about))[1]
    out = {"laid": [], "definition": []}
    for which, size, alpha_bar, seeds, memory in (
        (0, 3, 0.5, 1, 1 << 30),
        (0, 3, 0.999, 1, 1 << 30),
        (0, 3, 0.1, 2, 1 << 30),  # other noise, other seeds
        (0, 5, 0.5, 1, 1 << 30),
        (1, 5, 0.5, 1, 1 << 30),
        (1, 5, 0.5, 1, 1 << 30),
        (0, 5, 0.5, 1, 1 << 30),
    ):
        x = g.standard_normal((seeds, 1, 7, 7))
        answer, _ = answered(banks[which], "bbels", x, alpha_bar, size, memory=memory)
        want = np.stack([brute("bbels", raws[which] / 127.5 - 1, one, alpha_bar, size) for one in x])
        out["laid"].append(len(count))
        out["definition"].append(off(answer, want))
        count.clear()
    launches.Launches.fill = fill
    banks.clear()
    return {**out, "left": len(fused._kept)}


def corners():
    """Tiles of four images, some shares, seeds one by one or all at once; in float32 and float64."""
    from lemtools.els.bank import Bank
    from lemtools.els.gpu import fused

    class Small(fused.Corners):
        def __init__(self, *about):
            super().__init__(*about)
            self.block, self.columns = 4, 2

    out, plain = [], fused.Corners
    fused.Corners = Small
    for k, (shape, size, alpha_bar, memory) in enumerate(
        (((3, 5, 6), 3, 0.5, 1 << 30), ((1, 5, 6), 5, 0.999, 1 << 30), ((1, 5, 4), 5, 0.9, 40_000))
    ):
        g = np.random.default_rng(k)
        raw, x = g.integers(0, 256, (13, *shape), dtype=np.uint8), g.standard_normal((2, *shape))
        answer, _ = answered(Bank(raw), "bbels", x, alpha_bar, size, memory=memory)
        out.append(off(answer, np.stack([brute("bbels", raw / 127.5 - 1, one, alpha_bar, size) for one in x])))
    fused.Corners = plain
    return out


def exact():
    import torch

    from lemtools.els.gpu.fused import Query
    from lemtools.els.local import Level

    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 20, 20, generator=g, dtype=torch.float64) * 0.6
    centre, size = (120, 130, 60), 17
    query = Query.of(x, Level(0.994**0.5, 0.006), size**2, centre)
    digits = digits_of(query, centre)
    grid = 2.0 ** np.floor(np.log2(float(digits[0].abs()[digits[0] != 0].min())))
    while bool((digits[0] % grid != 0).any()):
        grid /= 2
    key = 195.0  # the largest |element| of a key
    reach = float(digits[0].abs().max()) * key * 3 * size**2 / (grid * 2.0**24)
    u = (x / 0.994**0.5 - (torch.tensor(centre)[:, None, None] / 127.5 - 1)) * 127.5
    scaled = u * query.power
    rest = float((scaled - digits.sum(0)).abs().max() / scaled.abs().max())
    return {"multiples": bool(grid >= 2.0**-10), "reach": float(reach), "rest": rest}


def digits_of(query, centre):
    """float64 [digits, S, C, H, W], from windows of 1 x 1."""
    import torch

    from lemtools.els.gpu.kernel import Tiling
    from lemtools.els.gpu.launches import Form, Launches, sections
    from lemtools.els.plan import axis

    seeds, channels, height, width = query.u.shape
    (section,) = sections(axis("els", height, 1), axis("els", width, 1))
    part = Launches(
        section, query.u.shape[1:], Form(centre), seeds, query.digits, query.apart, Tiling(step=16), query.u.device
    )
    out = torch.empty(part.query_shape(), dtype=torch.float16)
    part.spread(query, out)
    out = out[0].transpose(0, 1).flatten(1, 2)[:, : part.count, :channels].double()
    return out.view(query.digits, width, height, seeds, channels).permute(0, 3, 4, 2, 1)


def refused():
    from lemtools.els.bank import Bank
    from lemtools.signal import LemError

    bank, count = Bank(np.zeros((2, 1, 4, 4), dtype=np.uint8)), 0
    for bad, alpha_bar in ((np.nan, 0.5), (np.inf, 0.5), (np.nan, 0.0)):
        x = np.zeros((1, 1, 4, 4))
        x[0, 0, 1, 2] = bad
        try:
            answered(bank, "els", x, alpha_bar, 3)
        except LemError:
            count += 1
    return count


def usable():
    import torch

    from lemtools.denoise.contract import Scale
    from lemtools.els.bank import Bank
    from lemtools.els.gpu.fused import WORTH, usable
    from lemtools.els.plan import axis

    many = WORTH // (2 * 4**2) + 1  # seeds: 2 x 2 pixels against as many in each of two images

    raw = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4), dtype=np.uint8)
    cpu, images, square = torch.device("cpu"), Bank(raw), (axis("bbels", 4, 3), axis("bbels", 4, 3))
    wide, large = Bank(np.zeros((1, 17, 4, 4), np.float32), scale=Scale()), axis("bbels", 4096, 63)
    return [
        usable(images, cpu, *square),
        usable(Bank(raw / np.float32(255)), cpu, *square),
        usable(Bank(raw / np.float32(255)), cpu, *square, many),
        usable(Bank(raw[:, :2]), cpu, *square, many),
        usable(Bank(raw, scale=Scale()), cpu, *square, many),
        usable(wide, cpu, *square, many),
        usable(Bank(np.zeros((1, 1, 4096, 4096), np.uint8)), cpu, large, large),
    ]


if __name__ == "__main__":
    from triton.runtime import interpreter

    # it asks of every sum and product of indices whether 32 bits hold it: at these sizes all do, and it is a third
    interpreter.interpreter_builder.options = interpreter.InterpreterOptions(sanitize_overflow=False)
    print(json.dumps({f.__name__: f() for f in (cases, hard, skip, kept, corners, exact, refused, usable)}))
