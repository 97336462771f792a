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
    "no look for the largest": ("bbels", (3, 7, 7), 3, 0.5, 33, 1, {"top": False}),
    "chunks": ("bbels", (3, 7, 7), 3, 0.9, 7, 3, {"memory": 60_000}),
    "skip": ("bbels", (3, 7, 8), 3, 0.99, 9, 1, {"skip": 1e-6, "block_k": 16}),
}


# name: side, P; see ``hard``
HARD = {"near duplicates, P 3": (8, 3), "near duplicates, P 7": (9, 7), "near duplicates, P 17": (18, 17),
        "halfway, P 3": (8, 3), "halfway, P 17": (18, 17)}


@pytest.fixture(scope="module")
def found() -> dict:
    pytest.importorskip("triton")
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
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
    assert any(case["bound"] > 0 for case in found["skip"])  # tiles were skipped


def test_sums_too_large_for_a_number_are_taken_again(found):
    assert found["again"]["redone"]
    assert found["again"]["definition"] < TOLERANCE


def test_sums_of_the_high_digit_are_exact(found):
    """Every one is a multiple of a grid of which float32 holds all that can be reached, in any order of summation."""
    assert found["exact"]["multiples"]
    assert found["exact"]["reach"] <= 1
    assert found["exact"]["rest"] < 2**-19  # of what the digits leave, relative to the largest


def test_banks_that_the_kernel_does_not_take(found):
    assert found["usable"] == [True, False, False]


# What follows runs in the interpreter's process.


def answered(bank, machine, x, alpha_bar, size, skip=0.0, valid=False, memory=1 << 30, **plan):
    """x0_hat [S, C, H, W] by the kernel, and its parts and sums."""
    import torch
    from lemtools.els import fused
    from lemtools.els.local import Level
    from lemtools.els.plan import axis

    x = torch.as_tensor(x, dtype=torch.float64)
    seeds, channels, height, width = x.shape
    rows, cols = (axis(machine, n, size, valid) for n in (height, width))
    level = Level(alpha_bar**0.5, 1 - alpha_bar)
    parts, sums, shift, factor = fused.run(bank, x, level, rows, cols, skip, memory,
                                           lambda *about: replace(fused.tiling(*about), **plan))
    out = torch.full((seeds * height * width, channels), float("nan"), dtype=torch.float64)
    for part, mine in zip(parts, sums):
        for state, place in zip(mine, part.pixels(height, width)):
            assert out[place].isnan().all()  # every pixel once
            out[place] = state.sums[..., :-1] / state.sums[..., -1:]
    out = out.view(seeds, height, width, channels).movedim(3, 1)
    return (out * factor + shift).numpy(), parts, [s for mine in sums for s in mine]


def off(answer, want):
    return float(np.abs(answer - want).max() / np.sqrt((want**2).mean()))


def cases():
    from lemtools.els.bank import Bank
    from lemtools.els.posterior import Local
    from test_els import brute

    out = {}
    for k, (name, (machine, shape, size, alpha_bar, images, seeds, other)) in enumerate(CASES.items()):
        g = np.random.default_rng(k)
        raw = g.integers(0, 256, (images, *shape), dtype=np.uint8)
        some = raw[g.integers(0, images, seeds)] / 127.5 - 1
        x = alpha_bar**0.5 * some + (1 - alpha_bar) ** 0.5 * g.standard_normal((seeds, *shape))
        answer, *_ = answered(Bank(raw), machine, x, alpha_bar, size, **other)
        valid = other.get("valid", False)
        want = np.stack([brute(machine, raw / 127.5 - 1, one, alpha_bar, size, valid) for one in x])
        plain = Local(Bank(raw), machine, size, skip=0, valid=valid)(x, alpha_bar)
        out[name] = {"definition": off(answer, want), "plain": off(answer, plain)}
    return out


def hard():
    """Images that differ by a grey level here and there, and queries halfway between two images that share nothing."""
    from lemtools.els.bank import Bank
    from lemtools.denoise.schedule import cosine
    from test_els import brute

    out, alpha_bar = {}, float(cosine(0.05))
    for name, (length, size) in HARD.items():
        g = np.random.default_rng(size)
        base = g.integers(0, 256, (2, 3, length, length)).astype(int)
        if "duplicates" in name:
            others = (6, *base.shape[1:])
            raw = np.clip(base[:1] + g.integers(-3, 4, others) * (g.random(others) < 20 / size**2), 0, 255)
            x = alpha_bar**0.5 * (raw[:1] / 127.5 - 1) + (1 - alpha_bar) ** 0.5 * g.standard_normal(raw[:1].shape)
        else:
            raw, inner = base.copy(), slice(size // 2, length - size // 2)
            raw[1][:, inner, inner] = 255 - raw[0][:, inner, inner]
            x = alpha_bar**0.5 * (raw.mean(0, keepdims=True) / 127.5 - 1)
        raw = raw.astype(np.uint8)
        answer, parts, sums = answered(Bank(raw), "bbels", x, alpha_bar, size)
        want = brute("bbels", raw / 127.5 - 1, x[0], alpha_bar, size)
        block = sums[0].sums[..., -1]  # of the largest weight and the others
        out[name] = {"definition": off(answer[0], want), "shared": float(block.max()) - 1}
    return out


def skip():
    from lemtools.els.bank import Bank

    out = []
    for k, (machine, size, alpha_bar, allowed) in enumerate(
            (("bbels", 3, 0.99, 1e-6), ("els", 3, 0.99, 1e-2))):
        g = np.random.default_rng(k)
        raw = g.integers(0, 256, (16, 1, 7, 7), dtype=np.uint8)
        x = alpha_bar**0.5 * (raw[:1] / 127.5 - 1) + (1 - alpha_bar) ** 0.5 * g.standard_normal((1, 1, 7, 7))
        plan = {"block_q": 16, "block_k": 16, "waves": 2}
        whole, kept = (answered(Bank(raw), machine, x, alpha_bar, size, skip=s, **plan)[2] for s in (0.0, allowed))
        for a, b in zip(whole, kept):
            total = a.sums[..., -1] * 2.0 ** (a.reference - b.reference)
            lost = ((total - b.sums[..., -1]) / total).max()
            bound = (b.skipped / (b.sums[..., -1] + b.skipped)).max()
            lost = max(float(lost) - 1e-6 * float(b.skipped == 0), 0.0)  # (what sums in float32 lose)
            out.append({"true": lost, "bound": float(bound), "allowed": allowed})
    return out


def again():
    """The first images are far from x, the last is x: 2^(l - reference) is larger than any number."""
    from lemtools.els import fused
    from lemtools.els.bank import Bank
    from test_els import brute

    g = np.random.default_rng(0)
    raw = g.integers(0, 256, (17, 3, 6, 6), dtype=np.uint8)
    raw[:16] = raw[:16] // 64
    alpha_bar, resets = 0.994, []
    x = (raw[16:] / 127.5 - 1) * alpha_bar**0.5
    reset = fused.Fused.reset
    fused.Fused.reset = lambda self: (resets.append(self), reset(self))[1]
    answer, parts, _ = answered(Bank(raw), "els", x, alpha_bar, 5, top=False)
    fused.Fused.reset = reset
    return {"redone": len(resets) == len(parts) + 1,
            "definition": off(answer[0], brute("els", raw / 127.5 - 1, x[0], alpha_bar, 5))}


def exact():
    import torch
    from lemtools.els.fused import Query
    from lemtools.els.local import Level

    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 20, 20, generator=g, dtype=torch.float64) * 0.6
    centre, size = (120, 130, 60), 17
    query = Query.of(x, Level(0.994**0.5, 0.006), size, centre)
    digits = query.digits.double()
    grid = 2.0 ** np.floor(np.log2(float(digits[0].abs()[digits[0] != 0].min())))
    while bool((digits[0] % grid != 0).any()):
        grid /= 2
    key = 195.0  # the largest |element| of a key
    reach = float(digits[0].abs().max()) * key * 3 * size**2 / (grid * 2.0**24)
    u = (x / 0.994**0.5 - (torch.tensor(centre)[:, None, None] / 127.5 - 1)) * 127.5
    scaled = u * (-2 * query.ratio)
    rest = float((scaled - digits.sum(0)).abs().max() / scaled.abs().max())
    return {"multiples": bool(grid >= 2.0**-10), "reach": float(reach), "rest": rest}


def usable():
    import torch
    from lemtools.els.bank import Bank
    from lemtools.els.fused import usable

    raw = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4), dtype=np.uint8)
    cpu = torch.device("cpu")
    return [usable(Bank(raw), cpu), usable(Bank(raw / np.float32(255)), cpu), usable(Bank(raw[:, :2]), cpu)]


if __name__ == "__main__":
    print(json.dumps({f.__name__: f() for f in (cases, hard, skip, again, exact, usable)}))
