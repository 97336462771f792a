"""A network averaged with what needs no training: its definition, the trial, what others in the batch do not change."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lemtools.catalogue import Row
from lemtools.catalogue.networks import NETWORKS
from lemtools.denoise.contract import Scale
from lemtools.fragment import fragment
from lemtools.nets import build
from lemtools.nets.model import Model
from lemtools.reconstruct import BUNDLED, ensemble, reconstruct
from lemtools.reconstruct.ensemble import DOUBT, HELD, PRIOR, SIDE, WEIGHTS, Ensemble
from lemtools.restore.steps import undone
from lemtools.signal import LemError, Signal


class Near(nn.Module):
    """Answers what is decoded, blurred 5 x 5 over what is observed, and `offset` more; or, where `flat`, 1/2 everywhere."""

    family, reach = "estimate", 2

    def __init__(self, offset=0.0, flat=False, channels=3):
        super().__init__()
        self.flat = flat
        self.offset = nn.Parameter(torch.tensor(float(offset)))

    def forward(self, condition, steps=None):
        kernel = torch.ones(3, 1, 5, 5, device=condition.value.device)
        seen = condition.observed.to(condition.value.dtype)
        total, count = (nn.functional.conv2d(x, kernel, padding=2, groups=3) for x in (condition.value * seen, seen))
        blurred = total / count.clamp(min=1) + self.offset
        return torch.zeros_like(blurred) if self.flat else blurred


@pytest.fixture(autouse=True)
def stand_in():
    with contextlib.ExitStack() as rows:
        rows.enter_context(NETWORKS.added(Row("near", Near, facts={"family": "estimate"})))
        yield


def network(offset=0.0, kind="image", item=(3, 0, 0), flat=False):
    meta = {
        "net": {"net": "near", "offset": offset, "flat": flat},
        "kind": kind,
        "item": list(item),
        "target": {"kind": kind, "item": list(item)},
        "fragment": [],
        "recipe": "test",
    }
    return Model(build(meta["net"]), meta, Scale.image(), Scale.image())


def pictures(n=2, side=128, seed=0, dtype=np.uint8, channels=3, rough=0.05):
    """Smooth waves, and some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    waves = [
        [0.5 + 0.4 * np.sin(rng.uniform(5, 25) * x + rng.uniform(5, 25) * y) for _ in range(channels)] for _ in range(n)
    ]
    data = np.clip(np.array(waves) + rough * rng.standard_normal((n, channels, side, side)), 0, 1)
    data = np.rint(data * 255).astype(np.uint8)
    return Signal("image", data if dtype == np.uint8 else (data / 255).astype(dtype))


def broken(whole, *operations, seed=0):
    (out,) = fragment([whole], list(operations), seed)
    return out


def recalled(signal, method, **options):
    if method in ("net", "ensemble", "auto"):  # (what a GPU makes of it: test_shrink.py)
        options.setdefault("device", "cpu")
    (out,) = reconstruct([signal], method, **options)
    return out


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7])
def test_the_mean_of_two_by_depth(bits):
    """Of floats, so that nothing is rounded; each half by its own method."""
    signal, made = broken(pictures(1, 64, dtype=np.float32), {"op": "bits", "bits": bits}), network(0.02)
    both, net, smooth = (
        recalled(signal, m, **({"model": made} if m != "smooth" else {})).data for m in ("ensemble", "net", "smooth")
    )
    weight = {1: 1, 2: 0.85, 3: 0.8, 4: 0.6, 5: 0.4, 6: 0, 7: 0}[bits]
    assert not np.allclose(net, smooth, atol=1e-4)
    np.testing.assert_allclose(both, weight * net + (1 - weight) * smooth, atol=2e-6)


def test_every_item_by_its_own_depth_and_pixels():
    """An item alone is what it is among others, whatever these lost."""
    whole = pictures(3, 112)
    signal = broken(whole, {"op": "bits", "bits": (2, 7)}, {"op": "mask", "mask": (0, 0.6)})
    assert len(set(signal.ops[0]["bits"])) > 2
    together = recalled(signal, "ensemble", model=network(0.01)).data
    for i in range(3):
        alone = recalled(signal.take([i]), "ensemble", model=network(0.01)).data
        np.testing.assert_array_equal(alone[0], together[i])


def least_squares(item, made):
    """The weight by its definition: windows cut, pixels held out, both asked, a line fitted through them and the prior."""
    height, width = item.data.shape[-2:]
    spots = np.random.default_rng(0).random((height, width)) < HELD
    a, b = [], []
    for y in (int((height - SIDE) / 4), int(3 * (height - SIDE) / 4)):
        for x in (int((width - SIDE) / 4), int(3 * (width - SIDE) / 4)):
            here = (..., slice(y, y + SIDE), slice(x, x + SIDE))
            mask = np.broadcast_to(item.mask, item.data.shape)[here]
            held = mask & spots[here[1:]]
            rest = Signal("image", np.where(held, 0, item.data[here]), mask=mask & ~held, ops=item.ops)
            rest = replace(rest, data=rest.data.astype(item.data.dtype))
            truth = item.data[here][held]
            a.append(recalled(rest, "net", model=made).data[held] - truth)
            b.append(np.clip(undone(rest, "middle", "inpaint")[0], 0, 1)[held] - truth)
    a, b = np.concatenate(a).astype(float), np.concatenate(b).astype(float)
    # b + w (a - b) = 0 for all, and w = PRIOR as often as DOUBT says
    rows = np.concatenate([a - b, np.full(1, np.sqrt(DOUBT * np.mean((a - b) ** 2)))])
    sides = np.concatenate([-b, [PRIOR * rows[-1]]])
    weight = float(np.clip(np.linalg.lstsq(rows[:, None], sides)[0][0], 0, 1))
    mixed = weight * a + (1 - weight) * b
    return weight, np.mean(a**2) / np.mean(mixed**2)


@pytest.mark.parametrize("offset, lost", [(0.002, 0.4), (0.005, 0.4)])
def test_a_trial_on_held_out_pixels(offset, lost, monkeypatch):
    """Weight and gain are those of a least-squares fit made otherwise."""
    made = network(offset)
    monkeypatch.setattr(ensemble, "STEP", 1e-7)
    item = broken(pictures(1, 160, dtype=np.float32, rough=0.1), {"op": "mask", "mask": lost})
    weight, gain = least_squares(item, made)
    assert 0.15 < weight < 0.95 and gain > 1.03, (weight, gain)
    found = Ensemble(made, device="cpu")._weight(item)
    assert abs(found - weight) < 1e-4
    both, net, plain = (
        recalled(item, m, **({"model": made} if m != "inpaint" else {})).data for m in ("ensemble", "net", "inpaint")
    )
    np.testing.assert_allclose(both, np.clip(found * net + (1 - found) * plain, 0, 1), atol=2e-6)
    monkeypatch.undo()
    assert abs(Ensemble(made, device="cpu")._weight(item) - round(weight / 0.05) * 0.05) < 1e-9


def test_a_useless_network_is_left_out_and_a_better_one_stays_alone():
    smooth = broken(pictures(1, 128, rough=0), {"op": "mask", "mask": 0.4})
    np.testing.assert_array_equal(
        recalled(smooth, "ensemble", model=network(0.3)).data, recalled(smooth, "inpaint").data
    )
    noise = np.random.default_rng(0).integers(0, 256, (1, 3, 128, 128)).astype(np.uint8)  # nothing beats its mean
    signal = broken(Signal("image", noise), {"op": "mask", "mask": 0.4})
    np.testing.assert_array_equal(
        recalled(signal, "ensemble", model=network(flat=True)).data,
        recalled(signal, "net", model=network(flat=True)).data,
    )


@pytest.mark.parametrize(
    "why, operations",
    [
        ("lost otherwise than single pixels", [{"op": "mask", "mask": 0.5, "shape": "patch:8"}]),
        ("lost otherwise than single pixels", [{"op": "mask", "mask": 0.2, "shape": "block"}]),
        ("a frame", [{"op": "crop", "crop": "96x96"}]),
        ("all lost", [{"op": "mask", "mask": 1.0}]),
    ],
)
def test_no_trial(why, operations):
    """The network alone, though it is a poor one."""
    signal, made = broken(pictures(1, 128), *operations), network(0.3)
    np.testing.assert_array_equal(
        recalled(signal, "ensemble", model=made).data, recalled(signal, "net", model=made).data
    )


def test_bins_too_coarse_to_score_by():
    """At 4 bits the depth decides; from 5 on the trial."""
    for bits, weight in ((4, WEIGHTS[4]), (5, 0.0)):
        item = broken(pictures(1, 128, rough=0), {"op": "mask", "mask": 0.3}, {"op": "bits", "bits": bits})
        assert Ensemble(network(0.3), device="cpu")._weight(item) == weight


def test_too_few_pixels_for_a_trial():
    item = broken(pictures(1, 24), {"op": "mask", "mask": 0.3})
    assert Ensemble(network(0.3), device="cpu")._weight(item) == 1


@pytest.mark.parametrize("operation", [{"op": "bits", "bits": 4}, {"op": "mask", "mask": 0.4}])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_are_what_the_whole_is(operation, channels):
    signal = broken(pictures(1, 160, channels=channels, rough=0.1), operation)
    whole, tiled = (recalled(signal, "ensemble", model=network(0.02), tile=t).data for t in (None, 64))
    assert np.abs(whole.astype(int) - tiled).max() <= 1 and (whole != tiled).mean() < 1e-3


def test_a_large_image_without_the_network():
    """What was observed is put back in strips."""
    whole = pictures(2, 600, rough=0.1)
    signal = broken(replace(whole, data=whole.data[..., :40].copy()), {"op": "bits", "bits": 6})
    np.testing.assert_array_equal(recalled(signal, "ensemble", model=network()).data, recalled(signal, "smooth").data)


def test_what_was_observed_stays():
    signal = broken(pictures(2, 112), {"op": "mask", "mask": 0.4}, {"op": "bits", "bits": 5})
    from lemtools.fragment.evidence import evidence

    seen, out = evidence(signal), recalled(signal, "ensemble", model=network(0.02)).data / 255
    assert (out >= seen.low - 1e-6).all() and (out <= seen.high + 1e-6).all()


def test_the_bundled_network_is_the_usual_one():
    signal = broken(pictures(1, 32), {"op": "bits", "bits": 3})
    out = recalled(signal, "ensemble")
    assert out.history[-1]["method"] == "ensemble" and out.history[-1]["model"].startswith(BUNDLED.name + " sha256:")
    assert out.history[-1]["steps"][-1] == "averaged: 0.2 of bits: shrinkage inside the bins"
    np.testing.assert_array_equal(out.data, recalled(signal, "auto").data)


def test_other_networks_are_refused():
    with pytest.raises(LemError, match="ensemble averages networks that give one answer for images"):
        recalled(
            broken(pictures(1, 32), {"op": "bits", "bits": 3}), "ensemble", model=network(kind="embedding", item=(4,))
        )


def test_pixels_beside_observed_ones():
    """Counted one by one."""
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 5, 7), (1, 3, 4, 4)):
        observed, which = (rng.random(shape) < share for share in (0.3, 0.5))
        counts = []
        for n, c, y, x in np.argwhere(which):
            ends = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            counts.append(any(observed[n, c, j, i] for j, i in ends if 0 <= j < shape[2] and 0 <= i < shape[3]))
        assert ensemble._beside_observed(which, observed) == pytest.approx(np.mean(counts))


def test_weights_fall_with_the_depth():
    depths = list(ensemble.WEIGHTS.values())
    assert depths == sorted(depths, reverse=True) and ensemble.SCORED == 5
