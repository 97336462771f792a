"""Methods that need neither memories nor training: what each makes of quantised values, lost ones, noise, resolution."""

from collections.abc import Callable

from ..signal import Signal
from .steps import restore

Method = Callable[[Signal], tuple[Signal, list[str]]]


def _by(*means: str) -> Callable[[], Method]:
    """What makes a method ready that undoes losses by these means, see ``steps.restore``."""
    return lambda: lambda signal: restore(signal, *means)


# what people do today, as controls: zero padding, bit replication
zero = _by("low", "plain", "keep", "nearest")
replicate = _by("replicate", "plain", "keep", "nearest")
# the honest baseline: the middle of the bin, or the centroid
decode = _by("middle", "plain", "keep", "nearest")
# lost sound by linear interpolation
linear = _by("middle", "linear", "keep", "nearest")
# what is lost from what surrounds it
inpaint = _by("middle", "inpaint", "keep", "interpolate")
# shrinkage inside the bins, and of noise; what is lost as by inpaint
smooth = _by("smooth", "inpaint", "shrink", "interpolate")
