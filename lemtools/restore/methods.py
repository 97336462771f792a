"""Methods that need neither memories nor training: what each makes of quantised values, lost ones, noise, resolution."""

from collections.abc import Callable

from ..signal import Signal
from .steps import Steps, restore

Method = Callable[[Signal], tuple[Signal, list[str]]]


def _by(**means: str) -> Method:
    return lambda signal: restore(signal, Steps(**means))


def zero() -> Method:
    """What people do today, a control: zero padding."""
    return _by(values="low", lost="plain", noise="keep", resolution="nearest")


def replicate() -> Method:
    """What people do today, a control: bit replication."""
    return _by(values="replicate", lost="plain", noise="keep", resolution="nearest")


def decode() -> Method:
    """The honest baseline: middle of the bin, or centroid."""
    return _by(values="middle", lost="plain", noise="keep", resolution="nearest")


def linear() -> Method:
    """Linear interpolation of lost sound."""
    return _by(values="middle", lost="linear", noise="keep", resolution="nearest")


def inpaint() -> Method:
    """What is lost from what surrounds it."""
    return _by(values="middle", lost="inpaint", noise="keep", resolution="interpolate")


def smooth() -> Method:
    """Shrinkage inside the bins, and of noise; what is lost as by `inpaint`."""
    return _by(values="smooth", lost="inpaint", noise="shrink", resolution="interpolate")
