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


def made(by, carry, width=32, heads=2, depth=2, context=80, loud=0.05, seed=0):
    """A network with weights that all speak."""
    torch.manual_seed(seed)
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
    room = net.context - positions
    places = torch.randint(room + 1, (items, 1), generator=generator) + torch.arange(positions)
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


def beside(device="cpu", items=17, positions=4) -> dict[str, float]:
    """How far three networks side by side, each of another seed, are from each by itself: logits and gradients."""
    nets = [made("bptt:3", "normal", depth=1, seed=seed).to(device) for seed in range(3)]
    tokens = torch.randint(50, (3, items, positions), generator=torch.Generator().manual_seed(1)).to(device)
    weights = {name: torch.stack([net.state_dict()[name] for net in nets]) for name in nets[0].state_dict()}
    weights = {name: x.requires_grad_(x.is_floating_point()) for name, x in weights.items()}
    logits = torch.func.vmap(lambda mine, x: torch.func.functional_call(nets[0], mine, (x,)))(weights, tokens)
    logits.square().sum().backward()
    apart = {"logits": 0.0, "gradients": 0.0}
    for i, net in enumerate(nets):
        alone = net(tokens[i])
        apart["logits"] = max(apart["logits"], float((alone - logits[i]).detach().abs().max()))
        alone.square().sum().backward()
        for name, p in net.named_parameters():
            error = float((p.grad - weights[name].grad[i]).norm() / p.grad.norm())
            apart["gradients"] = max(apart["gradients"], error)
    return apart


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


def test_networks_side_by_side_are_each_by_itself(found):
    assert found["beside"]["logits"] < 2e-6 and found["beside"]["gradients"] < 5e-6


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_kernels_compile_for_a_gpu_where_there_is_none(kind):
    """What Triton's interpreter takes its compiler may not."""
    pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from lemtools.nets import recurrence_kernel as kernel

    net = made("bptt:4", "normal", depth=1)
    constants = recurrence.Scan(net.thoughts, net.trunk, kind).constants(8)
    small = {"qkv", "out", "gate_up", "down", "queries", "keys", "values", "sums"}
    for function, own in ((kernel.forward, {"SAVE": True}), (kernel.backward, {"CUT": 4})):
        fixed = {**constants, **own}
        types = {name: "*fp32" for name in function.arg_names if name not in fixed} | {"places": "*i32", "N": "i32"}
        types |= dict.fromkeys(small, "*bf16" if kind == torch.bfloat16 else "*fp32")
        signature = {name: "constexpr" if name in fixed else types[name] for name in function.arg_names}
        source = ASTSource(function, signature, {(function.arg_names.index(k),): v for k, v in fixed.items()})
        made_of = compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
        assert len(made_of.asm["cubin"]) > 1000 and made_of.metadata.shared < 1 << 17


def test_shuffled_thoughts_and_what_counts_operations_take_the_loop(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    x = torch.zeros(2, 4, 32)
    net = made("bptt:4", "normal").thoughts
    assert recurrence.usable(net, x) and not recurrence.usable(net, x.double())
    assert not recurrence.usable(net, torch.zeros(2, 4, 1024))
    assert not recurrence.usable(made("bptt:4", "shuffled").thoughts, x)
    assert recurrence.usable(made("bptt:4", "reset:3").thoughts, x)
    assert recurrence.arriving(made("bptt:4", "reset:3").thoughts, x).tolist() == [0, 1, 1, 0, 1]
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


@GPU
@pytest.mark.gpu
def test_networks_side_by_side_on_a_gpu():
    assert max(beside("cuda", 256, 40).values()) < 1e-3


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({name: both(*case[:4], **case[4]) for name, case in CASES.items()} | {"beside": beside()}))
