"""States of simulations, kind `field`: any range, one or two directions, a unit a channel."""

import numpy as np
import pytest

from lemtools import codes
from lemtools.catalogue import LemError
from lemtools.fragment import fragment
from lemtools.fragment.evidence import evidence
from lemtools.signal import Signal, from_tensors, to_tensors
from lemtools.train.recipes.values import moments

UNITS = np.array([1e-3, 5.0, 2e4], np.float32)  # of three channels


def states(*extent, count=5, seed=0):
    values = np.random.default_rng(seed).standard_normal((count, 3, *extent))
    return (values * UNITS.reshape(3, *[1] * len(extent))).astype(np.float32)


def back(signal):
    tensors, meta = to_tensors(signal)
    return from_tensors({name: array for name, (_, array) in tensors.items()}, meta)


@pytest.mark.parametrize("extent", [(24,), (6, 8)])
def test_axes_are_those_behind_the_channels(extent):
    whole = Signal("field", states(*extent))
    assert whole.spatial_axes == tuple(range(-len(extent), 0))
    (broken,) = fragment([whole], [{"op": "mask", "mask": 0.5}], seed=1)
    assert broken.mask.shape == (5, 1, *extent)  # channels are lost together
    assert broken.mask.sum() == 5 * np.prod(extent) // 2


@pytest.mark.parametrize("extent", [(24,), (6, 8)])
@pytest.mark.parametrize(
    "spec", [{}, {"quantizer": "lloyd-max"}, {"scale": "peak"}, {"scale": "peak", "quantizer": "lloyd-max"}]
)
def test_each_channel_is_quantised_in_its_own_unit_and_travels(extent, spec):
    whole = Signal("field", states(*extent))
    (broken,) = fragment([whole], [{"op": "bits", "bits": 4, **spec}], seed=1)
    axes = tuple(range(2, whole.data.ndim))
    error = np.square(broken.data - whole.data).mean((0, *axes)) / np.square(whole.data).mean((0, *axes))
    assert error.max() < 0.03, error
    scale = broken.ops[0]["scale"]
    if not spec:
        assert np.allclose(scale, np.sqrt(np.square(whole.data).mean(axis=axes)), rtol=1e-3)
    low, high = codes.bounds(broken.codes, broken.ops[0])
    assert ((low <= whole.data) & (whole.data <= high)).all()
    again = back(broken)
    assert np.array_equal(again.data, broken.data) and np.array_equal(again.ops[0]["scale"], scale)
    known = evidence(broken)
    assert known.sigma.shape == (5,) and (known.low <= whole.data).all()


def test_one_channel_is_quantised_as_a_spectrum_is():
    data = states(6, 8)[:, :1]
    one, other = (
        next(iter(fragment([Signal(kind, data)], [{"op": "bits", "bits": 3}], seed=1)))
        for kind in ("field", "spectrum")
    )
    assert np.array_equal(one.data, other.data) and np.array_equal(one.codes, other.codes)


def test_noise_after_bits_knows_one_sigma_an_item():
    (noisy,) = fragment(
        [Signal("field", states(24))], [{"op": "bits", "bits": 4}, {"op": "noise", "sigma": 0.1}], seed=1
    )
    rms = np.sqrt(np.square(noisy.ops[1]["std"]))
    assert rms.shape == (5,) and evidence(noisy).sigma.shape == (5,)


def test_a_scale_of_another_shape_is_damage():
    (broken,) = fragment([Signal("field", states(24))], [{"op": "bits", "bits": 4}], seed=1)
    broken.ops[0]["scale"] = np.ones((5, 2), np.float32)
    with pytest.raises(LemError, match="scale"):
        back(broken)


@pytest.mark.parametrize("extent", [(24,), (6, 8)])
def test_coordinates_centre_each_channel_on_its_mean_in_its_own_unit(extent):
    data = states(*extent, count=300) + 10 * UNITS.reshape(3, *[1] * len(extent))
    offset, gain = moments(data, "field")
    assert offset.shape == gain.shape == (3, *[1] * len(extent))
    x = ((data - offset) * gain).astype(np.float64)
    axes = (0, *range(2, data.ndim))
    assert np.allclose(x.mean(axes), 0, atol=1e-3) and np.allclose(x.std(axes), 1, atol=1e-3)
    seen = np.random.default_rng(1).random(data.shape) < 0.5
    part, _ = moments(np.where(seen, data, 0), "field", seen)
    assert np.allclose(part.reshape(-1), np.where(seen, data, 0).sum(axes) / seen.sum(axes), rtol=1e-5)


def test_a_constant_channel_has_the_unit_one():
    data = states(24, count=50)
    data[:, 1] = 7
    offset, gain = moments(data, "field")
    assert gain[1, 0] == 1 and offset[1, 0] == 7
