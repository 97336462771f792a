"""The kernels of the recurrence of thoughts beside the plain loop: in Triton's interpreter on the CPU, and on a GPU.

The interpreter must be chosen before triton is imported, so one process runs every case (this file as a script) and the
tests look at what it found.
"""

import json
import os
import subprocess
import sys

import pytest
import torch

from helpers.paths import ROOT
from lemtools.nets import recurrence, thoughts
from lemtools.nets.lm import LM
from lemtools.train.flops import flop_counter

CASES = {
    # name: bptt:K, carry, items, positions, and what is not the default of `made`
    "two programs": ("bptt:9", "normal", 18, 4, {}),
    "cut": ("bptt:3", "normal", 2, 8, {"depth": 1}),
    "cut everywhere": ("bptt:1", "normal", 2, 4, {"depth": 1}),
    "reset": ("bptt:5", "reset:3", 2, 8, {"depth": 1}),
    "more keys than are taken at a time": ("bptt:40", "normal", 1, 19, {"depth": 1, "heads": 1, "width": 16}),
    "no power of two": ("bptt:4", "normal", 2, 5, {"heads": 3, "width": 48}),
    "heads of few features": ("bptt:4", "normal", 2, 4, {"heads": 8, "depth": 1}),
    "two positions": ("bptt:4", "normal", 1, 2, {}),
    "one after another": ("bptt:9", "normal", 2, 6, {"plain": True, "depth": 1}),
}
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def made(by, carry, width=32, heads=2, depth=2, context=80, loud=0.05):
    """A network with weights that all speak."""
    torch.manual_seed(0)
    net = LM(50, depth, width, heads, context, thoughts=0.3, thoughts_by=by, thoughts_carry=carry)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(loud * torch.randn_like(p))
    return net


def both(by, carry, items, positions, plain=False, device="cpu", half=False, **more):
    """How far kernel and loop are apart: the largest of the logits, with and without gradients to come; the largest of the
    gradients of a parameter, as norm over norm; and the same of the loop and of itself in float64."""
    net = made(by, carry, **more).to(device)
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(50, (items, positions), generator=generator).to(device)
    places = torch.randint(40, (items, 1), generator=generator) + torch.arange(positions)
    wanted = torch.randn(items, positions, 50, generator=generator)

    def run(net, way):
        kept, thoughts.usable = thoughts.usable, way
        try:
            with torch.autocast("cuda", torch.bfloat16, enabled=half and net.head.weight.dtype == torch.float32):
                logits = net(tokens, None if plain else places.to(device)).double()
                with torch.no_grad():
                    again = net(tokens, None if plain else places.to(device)).double()
            loss = (logits * wanted.to(logits)).sum()
            return logits.detach(), again, torch.autograd.grad(loss, list(net.parameters()))
        finally:
            thoughts.usable = kept

    def apart(one, two):
        gradients = [float((a.double() - b.double()).norm() / b.double().norm()) for a, b in zip(one[2], two[2])]
        return {"logits": float((one[0] - two[0]).abs().max()), "again": float((one[1] - two[1]).abs().max())} | {
            "gradients": max(gradients)
        }

    calls = []
    fast = run(net, lambda *given: calls.append(recurrence.usable(*given)) or calls[-1])
    slow = run(net, lambda *given: False)
    exact = run(net.double(), lambda *given: False)
    return {"used": calls, "fast": apart(fast, exact), "slow": apart(slow, exact)}


@pytest.fixture(scope="module")
def found() -> dict:
    pytest.importorskip("triton")
    path = os.pathsep.join(map(str, filter(None, [ROOT, ROOT / "tests", os.environ.get("PYTHONPATH")])))
    env = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__], env=env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_kernels_are_the_loop(found, name):
    assert found[name]["used"] == [True, True]
    assert found[name]["fast"]["logits"] < 2e-6 and found[name]["fast"]["again"] < 2e-6
    assert found[name]["fast"]["gradients"] < 5e-6


def test_shuffled_thoughts_and_what_counts_operations_take_the_loop(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    x = torch.zeros(2, 4, 32)
    net, calls = made("bptt:4", "normal").thoughts, []
    assert recurrence.usable(net, x) and not recurrence.usable(net, x.double())
    assert not recurrence.usable(net, torch.zeros(2, 4, 1024))
    assert not recurrence.usable(made("bptt:4", "shuffled").thoughts, x)
    assert recurrence.usable(made("bptt:4", "reset:3").thoughts, x)
    assert recurrence.arriving(made("bptt:4", "reset:3").thoughts, x).tolist() == [0, 1, 1, 0, 1]
    torch.func.vmap(lambda each: calls.append(recurrence.usable(net, each)) or each)(torch.zeros(3, 2, 4, 32))
    assert calls == [False]
    with flop_counter():
        assert not recurrence.usable(net, x)
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    assert not recurrence.usable(net, x)


ON_GPU = [
    ("bptt:64", "normal", 256, 64, {"width": 128, "depth": 2}),
    ("bptt:16", "reset:8", 40, 70, {"width": 256, "heads": 4, "depth": 4}),
    ("bptt:64", "normal", 16, 33, {"width": 192, "heads": 3, "depth": 1}),
]


@GPU
@pytest.mark.gpu
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("by, carry, items, positions, more", ON_GPU)
def test_a_gpu_makes_of_them_what_the_loop_makes(by, carry, items, positions, more, half):
    """To float32's rounding; in bfloat16 to about the loop's own."""
    case = both(by, carry, items, positions, device="cuda", half=half, loud=0.02, **more)
    assert case["used"] == [True, True]
    for name, error in case["fast"].items():
        assert error < (2 * case["slow"][name] + 1e-3 if half else 1e-3), (name, case)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({name: both(*case[:4], **case[4]) for name, case in CASES.items()}))
