"""Which device computes."""

import torch

from .catalogue.errors import LemError


def pick(name: str = "auto", float64: bool = False) -> str:
    """'cpu', 'cuda' or 'mps' as named; 'auto' takes CUDA, else MPS, else the CPU.

    float64: for what computes in it, which MPS cannot. LemError for a device that is not there or does not do.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    able = [device for device, here in there.items() if here and not (float64 and device == "mps")]
    kind = name.split(":")[0]
    if name == "auto":
        return able[0]
    if float64 and kind == "mps":
        raise LemError(f"device {name} knows no float64, in which this is computed; take {' or '.join(able)}")
    try:
        torch.device(name)
    except RuntimeError:
        kind = ""
    if kind not in able:
        raise LemError(f"device {name} is not here; there is {', '.join(able)}")
    return name
