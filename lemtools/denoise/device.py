"""Which device computes."""

import torch


def pick(name: str = "auto") -> str:
    """'cpu', 'cuda' or 'mps' as named; 'auto' takes CUDA, else MPS, else the CPU. ValueError for one that is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, here in there.items() if here)
    if not there.get(name.split(":")[0], False):
        raise ValueError(f"device {name} is not here; there is {', '.join(d for d, here in there.items() if here)}")
    return name
