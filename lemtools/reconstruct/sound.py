"""Training-free recall of sound: lost samples interpolated, quantised samples de-quantised.  numpy only.

Sounds are [C, T] in [-1, 1]; `observed` is bool and broadcastable to them, true where a sample is known.
"""

from lemtools.reconstruct.dequantize_sound import dequantize
from lemtools.reconstruct.gaps import fill_gaps, linear

__all__ = ["dequantize", "fill_gaps", "linear"]
