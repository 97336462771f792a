"""What was lost before anything was read, as a mask says it: a scratched photo, a hole."""

from dataclasses import replace

import numpy as np

from ..signal import LemError, Signal


def lose(signal: Signal, lost: np.ndarray) -> Signal:
    """The whole memories as fragments: where `lost` (bool, broadcastable to data [N, ...]) is True, nothing is known.

    It is on record as any mask of lem-fragment is, so it counts in the cost. Raises LemError for fragments, and where
    nothing is left of an item.
    """
    if signal.ops:
        raise LemError("a fragment, whose losses are on record")
    lost = np.broadcast_to(lost, (len(signal), *lost.shape[1:]))
    if lost.reshape(len(signal), -1).all(axis=1).any():
        raise LemError("everything is lost by its mask; what is lost is white in it, what is known black")
    operation = {"op": "mask", "mask_shape": "given"}
    return replace(signal, data=signal.data * ~lost, mask=~lost, ops=[operation], last=signal.last)
