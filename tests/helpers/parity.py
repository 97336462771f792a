"""A model of parity whose weights are set by hand: its thoughts are known."""

import torch

from lemtools.nets import build
from lemtools.nets.model import Model

LOUD, STEEP, WIDTH, GAIN = 1000.0, 50.0, 32, 2.0


def model(context=64, by="bptt:8", carry="normal"):
    """Every thought is (-1)^s in all 8 dimensions, s the parity so far; the answer is s.

    A symbol enters as b = 1 or -1, where the bit is 0 or 1, and into the thoughts as b; LOUD in dimension 0 keeps the norms
    constant. With s = 1 or -1 arriving, or 0 at the first position, the product of both is b - 2 b relu(-s), of which relu(x) is
    silu(STEEP x) / STEEP in the SwiGLU; what arrived, GAIN s = GAIN (relu(s) - relu(-s)), is taken away again.
    """
    net = {"net": "lm", "vocabulary": 3, "depth": 1, "width": WIDTH, "heads": 1, "context": context}
    net |= {"thoughts": 0.25, "thoughts_by": by, "thoughts_carry": carry}
    made = build(net).eval()
    block, mine = made.trunk.blocks[0], slice(made.readable, WIDTH)
    with torch.no_grad():
        for weight in (made.enter.weight, block.out.weight, block.gate_up.weight, block.down.weight, made.head.weight):
            weight.zero_()
        made.enter.weight[:, 0] = LOUD
        made.enter.weight[:2, 1:3] = torch.tensor([[1.0], [-1.0]])
        made.enter.weight[:2, mine] = torch.tensor([[1.0], [-1.0]])
        block.norm_2.weight.fill_(LOUD * WIDTH**-0.5)  # the norm takes away what LOUD brings
        gate, up = block.gate_up.weight.chunk(2)
        for unit, sign in enumerate((-STEEP, STEEP, -STEEP)):
            gate[unit, made.readable], gate[unit, 1] = sign / GAIN, -sign / GAIN
        up[0, 1], up[1, 0], up[2, 0] = 1.0, 1 / LOUD, 1 / LOUD
        block.down.weight[2, 0] = -2 / STEEP
        block.down.weight[mine, 0] = -2 / STEEP
        block.down.weight[mine, 1], block.down.weight[mine, 2] = -GAIN / STEEP, GAIN / STEEP
        made.head.weight[0, 2], made.head.weight[1, 2] = 1.0, -1.0
        made.head.weight[2, 0] = -1.0
    task = {"task": "parity", "states": 2, "supervised": False, "every": True, "positions": "spread", "pause": 0}
    task |= {"least": 8, "longest": 8, "context": context}
    meta = {"v": 1, "recipe": "lm", "net": net, "kind": "tokens", "item": [8], "fragment": [], "classes": 0}
    return Model(made, meta | {"target": {"kind": "tokens", "item": [8]}, "task": task})
