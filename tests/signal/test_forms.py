"""What an item costs is its own: not its neighbours', nor what a mask that loses nothing makes of it."""

import io

import numpy as np
import pytest

from lemtools.signal import Signal, bits_per_element, from_tensors, to_tensors
from lemtools.stream import Source, read, write


def through(signal: Signal) -> Signal:
    pipe = io.BytesIO()
    write([signal], pipe)
    (back,) = (one for one in read(Source(io.BytesIO(pipe.getvalue()), "x")) if len(one))
    return back


def floats(*values):
    return np.array(values, np.float32)[:, None]


PAIRS = {
    "tokens": (Signal("tokens", np.full((1, 8), 7), depth=3), Signal("tokens", np.full((1, 8), 8), depth=3), [3, 64]),
    "bfloat16": (
        Signal("embedding", floats(1.5), depth=16),
        Signal("embedding", floats(1.1), depth=16),
        [16, 32],
    ),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("turned", [False, True])
def test_an_item_beyond_its_depth_costs_its_neighbours_nothing_also_on_the_wire(name, turned):
    small, large, costs = PAIRS[name]
    parts, costs = ((large, small), costs[::-1]) if turned else ((small, large), costs)
    joined = Signal.concat(parts)
    assert bits_per_element(joined).tolist() == costs == bits_per_element(through(joined)).tolist()


@pytest.mark.parametrize("name", PAIRS)
def test_a_mask_that_loses_nothing_costs_itself_alone(name):
    whole = PAIRS[name][0]
    masked = Signal(whole.kind, whole.data, np.ones(whole.data.shape, bool), depth=whole.depth)
    alone = bits_per_element(whole)[0] * whole.data.size
    tensors, _ = to_tensors(masked)
    assert sum(v.nbytes for k, (_, v) in tensors.items() if k != "mask") == alone / 8
    assert bits_per_element(masked)[0] * whole.data.size == alone + 8  # a byte of mask
    back = through(masked)
    assert np.array_equal(back.data, whole.data) and back.data.dtype == whole.data.dtype and back.mask.all()


def test_half_of_the_tokens_are_sent_at_their_depth():
    data, mask = np.arange(16).reshape(2, 8) % 8, np.arange(16).reshape(2, 8) % 2 > 0
    back = through(Signal("tokens", data * mask, mask, depth=3))
    assert np.array_equal(back.data, data * mask) and np.array_equal(back.mask, mask)


def test_observed_tokens_as_older_files_hold_them():
    mask = np.array([[True, False, True]])
    meta = {
        "v": 1,
        "kind": "tokens",
        "n": 1,
        "first": 0,
        "shape": [3],
        "dtype": "I64",
        "mask": [3],
        "ops": [],
        "history": [],
    }
    back = from_tensors({"values": np.array([5, 6]), "mask": np.packbits(mask, axis=1)}, meta)
    assert back.data.tolist() == [[5, 0, 6]]
