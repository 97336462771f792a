"""States of simulations read from files: arrays of any range where they are said to be `field`."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from lemtools.media import Reading, load
from lemtools.signal import LemError


@pytest.mark.parametrize(("shape", "item"), [((7, 24), [1, 24]), ((7, 2, 24), [2, 24]), ((7, 2, 6, 8), [2, 6, 8])])
@pytest.mark.parametrize("form", ["npy", "safetensors"])
def test_arrays_of_any_range_are_states_where_they_are_said_to_be(tmp_path, shape, item, form):
    array = 300 + 50 * np.random.default_rng(0).standard_normal(shape)
    path = tmp_path / f"states.{form}"
    if form == "npy":
        np.save(path, array)
    else:
        save_file({"x": array.astype(np.float32)}, path)
    (signal,) = load([str(path)], Reading(kind="field"))
    assert signal.kind == "field" and list(signal.data.shape[1:]) == item and signal.data.dtype == np.float32
    assert np.array_equal(signal.data.reshape(shape), array.astype(np.float32))
    if len(shape) == 4 and form == "npy":
        with pytest.raises(LemError, match="--kind field"):
            list(load([str(path)], Reading()))
