"""Recall by trained networks: what is asked of them, what stays, tiles, draws, dreams, and models that do not suit."""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import lemtools.reconstruct as rooms
from helpers.commands import lem_fork
from lemtools import stream
from lemtools.catalogue import Row
from lemtools.catalogue.networks import NETWORKS
from lemtools.codes import bounds
from lemtools.denoise.contract import Scale
from lemtools.fragment import fragment
from lemtools.nets.model import Model
from lemtools.reconstruct import choose, learned, reconstruct
from lemtools.reconstruct.dream import BUDGET, LIVE, _centred, budget, footprint
from lemtools.reconstruct.learned import NetworkRecaller
from lemtools.signal import LemError, Signal

# --- stand-ins: networks so small that their answers are known


class Blur(nn.Module):
    """An estimator with a known reach: 5 x 5 means of what is decoded, over channels too; iterated `steps` times."""

    family, reach, steps = "estimate", 6, 1

    def __init__(self, channels=3, value=0.04):
        super().__init__()
        self.channels = channels
        self.conv = nn.Conv2d(channels, channels, 5, padding=2, padding_mode="zeros")
        with torch.no_grad():
            self.conv.weight.fill_(value / channels)
            self.conv.bias.zero_()

    def forward(self, condition, steps=None):
        x = condition.value
        for _ in range(steps or 1):
            x = self.conv(x)
        return x


class Fixed(nn.Module):
    """An estimator without steps that answers one learned value everywhere; target: the shape of its answer."""

    family = "estimate"

    def __init__(self, target=None):
        super().__init__()
        self.target, self.value = target, nn.Parameter(torch.zeros(()))

    def forward(self, condition, steps=None):
        shape = condition.value.shape if self.target is None else (len(condition), *self.target)
        return self.value.expand(shape)


class Coin(nn.Module):
    """A sequence model that draws every value by itself, from N(0, temperature^2)."""

    family = "sequence"

    def __init__(self, places=20, order="any"):
        super().__init__()
        self.places, self.order, self.asked = places, order, []
        self.weight = nn.Parameter(torch.ones(()))

    def orders(self, generators):
        return torch.from_numpy(np.stack([g.permutation(self.places) for g in generators]))

    def log_prob(self, target, condition, order):
        return target.flatten(1).sum(1)

    def sample(self, condition, order, generators, temperature=1.0):
        self.asked.append(order)
        shape = condition.value.shape[1:]
        x = np.stack([g.standard_normal(shape) for g in generators]).astype(np.float32)
        return condition.hold(torch.from_numpy(x) * temperature)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    with contextlib.ExitStack() as rows:
        for net in (Blur, Fixed, Coin):
            rows.enter_context(NETWORKS.added(Row(net.__name__.lower(), net, facts={"family": net.family})))
        # what is shipped must not change what the tests below choose
        monkeypatch.setattr(rooms, "BUNDLED", rooms.BUNDLED.with_name("none.safetensors"))
        yield


def record(net, kind="image", item=(3, 0, 0), target=None, fragments=(), **keywords):
    target = target or {"kind": kind, "item": list(item)}
    return {
        "v": 1,
        "tool": "lem-train",
        "version": "0",
        "recipe": "test",
        "net": {"net": net, **keywords},
        "kind": kind,
        "item": list(item),
        "target": target,
        "fragment": list(fragments),
        "classes": 0,
        "step": 1,
        "seconds": 1.0,
        "card": {},
    }


def model(net, kind="image", item=(3, 0, 0), target=None, fragments=(), **keywords):
    from lemtools.nets import build

    torch.manual_seed(0)
    meta = record(net, kind, item, target, fragments, **keywords)
    if "shape" in keywords:  # of the networks that call it `item`
        meta["net"]["item"] = meta["net"].pop("shape")
    scales = [
        Scale.image() if k == "image" else Scale.centred(np.float32(0), 1.0) for k in (kind, meta["target"]["kind"])
    ]
    return Model(build(meta["net"]), meta, *scales)


def saved(path, made):
    save_file(made.tensors(), path, {"lem": json.dumps(made.meta)})
    return str(path)


def photos(n=2, shape=(3, 40, 56), seed=0, dtype=np.uint8):
    data = np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(np.uint8)
    data = data if dtype == np.uint8 else (data / np.float32(255)).astype(dtype)
    return Signal("image", data, names=[f"{i}.png" for i in range(n)])


def vectors(n=6, d=20, seed=0):
    return Signal(
        "embedding",
        np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32),
        names=[str(i) for i in range(n)],
    )


def broken(whole, *operations, seed=0):
    (out,) = fragment([whole], list(operations), seed)
    return out


def recalled(signal, made, method="auto", **options):
    (out,) = reconstruct([signal], method, model=made, device="cpu", **options)
    return out


BITS, MASK = {"op": "bits", "bits": (1, 7)}, {"op": "mask", "mask": 0.5}


# --- estimators


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("operations", [[BITS], [MASK], [MASK, BITS], [{"op": "crop", "crop": "30x20"}, BITS, MASK]])
def test_what_was_observed_comes_back(operations, dtype):
    whole = photos(3, dtype=dtype)
    lossy = broken(whole, *operations)
    out = recalled(lossy, model("blur"))
    assert out.data.dtype == dtype and out.data.shape == whole.data.shape and out.names == whole.names
    assert out.ops == [] and out.mask is None and out.codes is None and (out.cost > 0).all()
    assert out.history[-1]["method"] == "net" and "one call of the model" in out.history[-1]["steps"][0]
    place = np.s_[:]
    for i in range(3):
        if operations[0]["op"] == "crop":
            top, left = lossy.ops[0]["place"][i]
            place = np.s_[:, top : top + 20, left : left + 30]
        seen, mine = lossy.observed()[i], out.data[i][place]
        if lossy.codes is None:
            assert (mine[seen] == whole.data[i][place][seen]).all()
        else:
            low, high = (end[i] for end in bounds(lossy.codes, lossy.code_op))
            assert (mine[seen] >= low[seen]).all() and (mine[seen] <= high[seen]).all()
            assert (mine[seen] != lossy.data[i][seen]).mean() > 0.2  # and they are not simply the decoded ones


def test_the_answer_is_the_networks_where_nothing_was_observed():
    whole = photos(2)
    lossy = broken(whole, MASK)
    out = recalled(lossy, model("blur"))
    x = np.where(lossy.observed(), whole.data / 255 * 2 - 1, 0)
    padded = np.pad(x.mean(1), ((0, 0), (2, 2), (2, 2)))
    mean = sum(padded[:, i : i + 40, j : j + 56] for i in range(5) for j in range(5)) / 25
    expected = np.rint(np.clip((mean[:, None] + 1) / 2, 0, 1) * 255)
    lost = ~lossy.observed()
    assert np.abs(out.data.astype(int) - expected)[lost].max() <= 1


def test_a_network_answers_in_float32_unless_halves_are_asked_for():
    """In halves of 8 bits a mean of 25 values is off by one in some hundreds."""
    whole = photos(1, dtype=np.float32)
    lossy = broken(whole, MASK)
    made = model("blur")
    with torch.inference_mode():
        x = torch.from_numpy(np.where(lossy.observed(), whole.data * 2 - 1, 0).astype(np.float32))
        direct = np.clip((made.net.conv(x).numpy() + 1) / 2, 0, 1)
    lost = ~lossy.observed()
    single, half = (
        np.abs(NetworkRecaller(made, device="cpu", **more)(lossy)[0].data - direct)[lost].max()
        for more in ({}, {"dtype": "bfloat16"})
    )
    assert single < 1e-6 and half > 1e-4


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_only_one_call_on_images_on_cuda_is_in_halves_unasked(device, monkeypatch):
    """The devices are names here: nothing is computed on them."""
    monkeypatch.setattr(learned, "pick", lambda name: name)
    nets = {"images": model("blur"), "embeddings": model("fixed", "embedding", (9,)), "draws": model("coin")}
    for name, made in nets.items():
        made.net.to = lambda device, net=made.net: net
        made.meta = json.loads(json.dumps(made.meta))  # as out of a file
        usual = NetworkRecaller(made, device=device).dtype
        assert usual == (torch.bfloat16 if (device, name) == ("cuda", "images") else torch.float32)
        for asked in ("float32", "bfloat16"):
            assert NetworkRecaller(made, device=device, dtype=asked).dtype == getattr(torch, asked)
    if device != "cuda":
        assert budget(torch.device(device)) == BUDGET


def test_values_of_64_bits_and_halves_stay_to_the_last_bit():
    for dtype in (np.float64, np.float16):
        whole = Signal("embedding", (1e3 * np.random.default_rng(0).standard_normal((4, 9))).astype(dtype))
        lossy = broken(whole, MASK)
        out = recalled(lossy, model("fixed", "embedding", (9,)))
        seen = lossy.observed()
        assert out.data.dtype == dtype and (out.data[seen] == whole.data[seen]).all() and (out.data[~seen] == 0).all()


def test_noisy_values_are_not_held():
    lossy = broken(photos(), {"op": "noise", "sigma": 0.2}, MASK)
    out = recalled(lossy, model("fixed"))
    assert out.data.dtype == np.uint8 and (out.data == 128).all()


def test_steps_are_passed_on_and_refused():
    lossy = broken(photos(), MASK)
    once, thrice = (recalled(lossy, model("blur", value=0.03), steps=k) for k in (1, 3))
    assert np.abs(once.data.astype(int) - thrice.data).max() > 2 and "3 steps" in thrice.history[-1]["steps"][0]
    assert (once.data == recalled(lossy, model("blur", value=0.03)).data).all()
    with pytest.raises(LemError, match="no number of steps"):
        recalled(lossy, model("fixed"), steps=2)


def test_grey_goes_through_colours_as_three_equal_channels():
    grey = photos(2, (1, 20, 24))
    lossy = broken(grey, MASK)
    out = recalled(lossy, model("blur"))
    colour = replace(lossy, data=lossy.data.repeat(3, 1), mask=lossy.mask)
    assert out.data.shape == grey.data.shape
    assert np.abs(out.data.astype(int) - recalled(colour, model("blur")).data.mean(1, keepdims=True)).max() <= 1


def test_another_kind_is_recalled():
    net = Model(
        Fixed([3, 4, 5]),
        record("fixed", "embedding", (20,), {"kind": "image", "item": [3, 4, 5]}),
        Scale(),
        Scale.image(),
    )
    out = recalled(broken(vectors(), MASK), net)
    assert out.kind == "image" and out.data.shape == (6, 3, 4, 5) and (out.data == 128).all() and len(out.names) == 6


# --- tiles and batches


@pytest.mark.parametrize("net, keywords", [("blur", {}), ("conv", {"widths": [8, 8], "blocks": [1, 1, 1]})])
def test_tiles_are_the_whole(net, keywords):
    whole = photos(1, (3, 200, 270), dtype=np.float32)
    ramp = np.linspace(0, 1, 270, dtype=np.float32)
    whole.data[:] = 0.8 * whole.data * 0.2 + 0.7 * ramp * np.linspace(1, 0.2, 200, dtype=np.float32)[:, None]
    made = model(net, **keywords)
    if net == "conv":
        nn.init.normal_(made.net.leave.weight, std=0.05)
    holes = [[{"op": "mask", "mask": 0.5, "shape": shape}, BITS] for shape in ("patch:4", "patch:64", "half", "block")]
    for operations in ([BITS], [{"op": "mask", "mask": 0.9}], *holes, [{"op": "crop", "crop": "90x40+30+20"}]):
        lossy = broken(whole, *operations)
        at_once, tiled = recalled(lossy, made), recalled(lossy, made, tile=64)
        assert "tiles of 64 px" in tiled.history[-1]["steps"][0] and "tiles" not in at_once.history[-1]["steps"][0]
        assert np.abs(at_once.data - tiled.data).max() < 1e-3
    eight = broken(replace(whole, data=np.rint(whole.data * 255).astype(np.uint8)), MASK, BITS)
    difference = recalled(eight, made).data.astype(int) - recalled(eight, made, tile=100).data
    assert np.abs(difference).max() <= 1


def test_the_plan_keeps_to_its_memory():
    from lemtools.reconstruct.tiles import Pieces, pieces

    def made(height, width, *rest):
        return pieces(Signal("image", np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (1, 3, height, width))), *rest)

    assert made(100, 100, 10, 1e6, 20) == Pieces(10)
    for shape in ((4000, 6000), (600, 600), (70, 9000)):
        tiled = made(*shape, 1000, 5e8, 90)
        assert tiled.items == 1 and (
            not tiled.side or ((tiled.side + 2 * tiled.halo) ** 2 * 1000 <= 5e8 and tiled.halo == 96)
        )
    assert made(4000, 6000, 1000, 5e8, 90).side == 512
    assert made(4000, 6000, 1000, 5e8, None) == Pieces(1)
    assert made(4000, 6000, 1e9, 1.0, 90).side == 32


def test_the_overlap_of_tiles_is_the_reach_on_the_grid():
    """Rounded up to 32 pixels; where something is lost, two cells more to fill it from."""
    from lemtools.reconstruct.tiles import pieces

    whole = Signal("image", np.zeros((1, 3, 300, 300), np.uint8))
    lossy = broken(whole, MASK)
    for reach, halo in ((32, 32), (33, 64), (64, 64), (1, 32)):
        assert pieces(whole, 10, 1e9, reach, 64).halo == halo
        assert pieces(lossy, 10, 1e9, reach, 64).halo == halo + 64


def test_a_mask_of_one_row_stands_for_all_in_a_window():
    from lemtools.reconstruct.tiles import window

    data = np.random.default_rng(0).random((2, 3, 70, 90), np.float32)
    mask = np.arange(180).reshape(2, 1, 1, 90) % 7 > 0
    part = window(Signal("image", data, mask=mask), (slice(32, 64), slice(64, 90)))
    assert np.array_equal(part.data, data[:, :, 32:64, 64:]) and part.codes is None
    assert np.array_equal(part.observed(), np.broadcast_to(mask[..., 64:], part.data.shape))


def test_the_memory_of_a_network_is_that_of_what_its_layers_give():
    """4 -> 8 -> 2 numbers, three items, 4 bytes each; the largest output counts LIVE times, or all that there is stays."""
    net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))

    def call():
        return net(torch.zeros(3, 4))

    assert footprint(net, call) == LIVE * 3 * 8 * 4
    assert footprint(net, call, keeps=True) == 3 * (8 + 2) * 4
    assert not any(layer._forward_hooks for layer in net)


def test_no_item_gives_no_item():
    for made in (model("blur"), model("fixed")):
        nothing = broken(photos(2), MASK).take(slice(0, 0))
        assert recalled(nothing, made).data.shape == (0, 3, 40, 56)


def test_cells_are_the_means_of_what_is_observed():
    from lemtools.nets.conv import COARSE
    from lemtools.reconstruct.tiles import GRID, cells

    assert GRID == 2**COARSE
    whole = photos(2, (3, 300, 70))
    lossy = broken(whole, {"op": "mask", "mask": 0.7})
    means, counts = cells(lossy)
    assert means.shape == counts.shape == (2, 3, 10, 3)
    for row, column in ((0, 0), (7, 1), (8, 2), (9, 2)):
        cell = np.s_[:, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
        seen = lossy.observed()[cell]
        assert np.array_equal(counts[..., row, column], seen.sum((-2, -1)))
        direct = (whole.data[cell] / 255 * seen).sum((-2, -1)) / np.maximum(seen.sum((-2, -1)), 1)
        assert np.abs(means[..., row, column] - direct).max() < 1e-5


def test_the_default_is_what_recalls_most(monkeypatch):
    monkeypatch.setattr(rooms, "BUNDLED", type(rooms.BUNDLED)(__file__))
    photo = photos(1)

    def chosen(*operations):
        return choose(broken(photo, *operations))

    exact = {"op": "mask", "mask": 0.5}
    for bits in (1, 5, (1, 7), (6, 7)):
        assert chosen({"op": "bits", "bits": bits}) == "ensemble"
    for bits in (6, 7):
        assert (
            chosen({"op": "bits", "bits": bits}) == "smooth"
            and chosen({"op": "bits", "bits": bits}, exact) == "ensemble"
        )
    assert chosen(exact) == "ensemble" and chosen({"op": "bits", "bits": 3, "quantizer": "lloyd-max"}) == "smooth"
    assert (
        chosen(exact, {"op": "noise", "sigma": 0.1}) == "smooth"
        and chosen({"op": "downsample", "factor": 2}) == "inpaint"
    )


def test_batches_change_nothing():
    whole = photos(5)
    lossy = broken(whole, {"op": "mask", "mask": (0.2, 0.9)}, BITS)
    made = model("conv", widths=[8, 8], blocks=[1, 1, 1])
    nn.init.normal_(made.net.leave.weight, std=0.05)
    together = recalled(lossy, made).data.astype(int)
    single = np.concatenate([recalled(lossy.take([i]), made).data for i in range(5)])
    assert np.abs(together - single).max() <= 1
    draws = [
        recalled(part, model("coin", "embedding", (20,)), samples=3)
        for part in (broken(vectors(), MASK), *(broken(vectors(), MASK).take([i]) for i in range(6)))
    ]
    assert np.array_equal(draws[0].data, np.concatenate([d.data for d in draws[1:]]))


# --- draws


@pytest.mark.parametrize("conditioned", [True, False])
def test_a_class_is_asked_for(conditioned):
    made = model(
        "resnet", item=(1, 8, 8), channels=1, width=8, blocks=1, classes=3, conditioned=conditioned, predicts="v"
    )
    lossy = broken(photos(2, (1, 8, 8)), MASK)
    draws = [recalled(lossy, made, samples=2, steps=4, label=label).data for label in (None, 0, 2, 2)]
    assert np.array_equal(draws[2], draws[3])
    assert not np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[1], draws[2])
    with pytest.raises(LemError, match="knows classes 0 to 2: --label 3"):
        recalled(lossy, made, label=3)
    with pytest.raises(LemError, match="knows no classes"):
        recalled(broken(photos(1), MASK), model("blur"), label=0)


def test_samples_are_named_counted_and_averaged():
    lossy = broken(vectors(), MASK)
    made = model("coin", "embedding", (20,))
    four, five = (recalled(lossy, made, samples=m, seed=3) for m in (4, 5))
    assert four.data.shape == (24, 20) and list(four.index) == list(range(24))
    assert four.names[:5] == ["0#0", "0#1", "0#2", "0#3", "1#0"] and four.cost.shape == (24,)
    assert np.array_equal(four.data.reshape(6, 4, 20), five.data.reshape(6, 5, 20)[:, :4])  # more draws change no draw
    draws, lost = four.data.reshape(6, 4, 20), ~lossy.observed()
    assert (np.ptp(draws, 1)[lost] > 0).all() and (np.ptp(draws, 1)[~lost] == 0).all()
    sixteen, mean = recalled(lossy, made, samples=16), recalled(lossy, made)
    assert np.allclose(sixteen.data.reshape(6, 16, 20).mean(1), mean.data, atol=1e-6)
    assert "mean of 16 draws of the model, in an order drawn for each, temperature 1" in mean.history[-1]["steps"][0]
    cold = recalled(lossy, made, samples=4, seed=3, temperature=0.5)
    free = np.broadcast_to(lost[:, None], draws.shape)
    assert np.allclose(cold.data.reshape(draws.shape)[free], draws[free] / 2, atol=1e-6)
    orders = made.net.asked[0]
    assert orders.shape == (24, 20) and (orders.sort(1).values == torch.arange(20)).all()
    assert len({tuple(o.tolist()) for o in orders}) == 24


def test_the_seed_is_0_where_none_is_given():
    lossy, made = broken(vectors(), MASK), model("coin", "embedding", (20,))
    usual, zero, one = (
        NetworkRecaller(made, samples=2, device="cpu", **seed)(lossy)[0].data for seed in ({}, {"seed": 0}, {"seed": 1})
    )
    assert np.array_equal(usual, zero) and not np.array_equal(usual, one)


def test_one_answer_has_no_samples():
    for options in ({"samples": 3}, {"temperature": 0.5}):
        with pytest.raises(LemError, match="gives one answer"):
            recalled(broken(photos(), MASK), model("blur"), **options)


@pytest.mark.parametrize("conditioned", [True, False])
def test_denoisers_draw(conditioned):
    lossy = broken(vectors(), MASK)
    made = model(
        "mlp-denoiser", "embedding", (20,), width=16, depth=1, conditioned=conditioned, predicts="x0", shape=[20]
    )
    calls = []
    made.net.register_forward_hook(lambda net, given, out: calls.append(len(out)))
    out = recalled(lossy, made, samples=3, steps=4)
    assert out.history[-1]["method"] == ("net" if conditioned else "dream") and len(calls) == 4 + 1 and calls[-1] == 18
    assert ("ancestral sampling" if conditioned else "Langevin") in out.history[-1]["steps"][0]
    held = "4 calls each, what was observed held at each, temperature 1"
    assert out.history[-1]["steps"][0].endswith(held) == conditioned
    assert "3 draws of the model" in out.history[-1]["steps"][0] and "4 calls each" in out.history[-1]["steps"][0]
    draws, lost = out.data.reshape(6, 3, 20), ~lossy.observed()
    assert (draws[:, 0][~lost] == vectors().data[~lost]).all() and (np.ptp(draws, 1)[~lost] == 0).all()
    assert (np.ptp(draws, 1)[lost] > 0).all()
    mean = recalled(lossy, made, steps=4).data
    assert np.allclose(mean, recalled(lossy, made, steps=4, samples=16).data.reshape(6, 16, 20).mean(1), atol=1e-5)
    single = [recalled(lossy.take([i]), made, steps=4).data for i in range(6)]
    assert np.allclose(mean, np.concatenate(single), atol=1e-5)
    wrong = "net" if not conditioned else "dream"
    with pytest.raises(
        LemError, match=f"--method {wrong}: the model .*: --method {'dream' if wrong == 'net' else 'net'}"
    ):
        recalled(lossy, made, wrong)


def test_a_denoiser_recalls_another_kind():
    from lemtools.nets.diffusion import Vector

    net = Vector([1, 4, 4], width=16, depth=1, conditioned=True, predicts="v", source=[20])
    made = Model(
        net, record("mlp-denoiser", "embedding", (20,), {"kind": "image", "item": [1, 4, 4]}), Scale(), Scale.image()
    )
    out = recalled(broken(vectors(), MASK), made, samples=2, steps=3)
    assert out.history[-1]["steps"][0].endswith("ancestral sampling, 3 calls each, temperature 1")  # nothing to hold
    assert (
        out.kind == "image" and out.data.shape == (12, 1, 4, 4) and out.data.dtype == np.uint8 and out.names[1] == "0#1"
    )


# --- dreams of a store


def test_a_dream_of_memories_is_one_of_those_that_agree():
    """Four memories; the half that is left fits two of them equally: they come back, each about half of the time."""
    rng = np.random.default_rng(0)
    memories = rng.integers(0, 256, (4, 1, 6, 6)).astype(np.uint8)
    memories[1, :, :3] = memories[0, :, :3]
    whole = Signal("image", memories[:1], names=["m.png"])
    lossy = broken(whole, {"op": "mask", "mask": 0.5, "shape": "half"})
    (out,) = reconstruct([lossy], "dream", memory=memories, samples=24, steps=100, device="cpu")
    distance = np.abs(out.data[:, None].astype(float) - memories[None]).mean((2, 3, 4))
    nearest = distance.argmin(1)
    assert (distance.min(1) < 8).mean() > 0.9 and (nearest <= 1).mean() > 0.9
    assert 6 <= (nearest == 0).sum() <= 18  # of 24 fair coins: outside once in 450 times
    assert (out.data[:, :, :3] == memories[0, :, :3]).all()
    step = out.history[-1]["steps"][0]
    assert "24 draws under 4 memories (recall), annealed Langevin" in step and "100 calls each" in step
    assert out.names[23] == "m.png#23"


def test_the_mean_of_dreams_is_one_answer_an_item():
    memories = np.random.default_rng(0).integers(0, 256, (4, 1, 4, 4)).astype(np.uint8)
    for count in (1, 3):
        lossy = broken(Signal("image", memories[:count]), MASK)
        (out,) = reconstruct([lossy], "dream", memory=memories, steps=30, device="cpu")
        assert out.data.shape == (count, 1, 4, 4) and (out.data == memories[:count])[lossy.observed()].all()


def test_memories_that_suit_no_dream():
    fragment_ = broken(Signal("embedding", np.zeros((1, 6), np.float32)), MASK)
    for dtype in (np.int8, np.int64, bool):
        for method in ("dream", "recall"):
            with pytest.raises(LemError, match="values are tokens"):
                list(reconstruct([fragment_], method, memory=np.ones((3, 6), dtype), device="cpu"))
    for width in (5, 7):
        with pytest.raises(LemError, match=f"memories of shape \\[{width}\\] cannot recall items of \\[6\\]"):
            list(reconstruct([fragment_], "dream", memory=np.ones((3, width), np.float32), device="cpu"))


def test_a_dream_of_a_gaussian_is_its_conditional_mean():
    rng = np.random.default_rng(1)
    store = (rng.standard_normal((500, 8)) @ rng.standard_normal((8, 8)) + 3).astype(np.float32)
    lossy = broken(Signal("embedding", store[:3]), {"op": "mask", "mask": 0.4})
    (exact,) = reconstruct([lossy], "gaussian", memory=store, device="cpu")
    (out,) = reconstruct([lossy], "dream", memory=store, prior="gaussian", samples=256, steps=100, device="cpu")
    mean = out.data.reshape(3, 256, 8).mean(1)
    error = np.sqrt(np.square(mean - exact.data).mean() / store.var())
    assert error < 0.12, error
    assert "(gaussian, shrink 0.0001)" in out.history[-1]["steps"][0]


def test_a_dream_of_patches_as_large_as_the_image_is_one_of_the_images():
    memories = np.random.default_rng(0).integers(0, 256, (6, 1, 4, 4)).astype(np.uint8)
    lossy, answers = broken(Signal("image", memories[:2]), MASK), {}
    for prior in ("recall", "ls:7", "ls:1", "bbels:1,1,3"):
        (out,) = reconstruct([lossy], "dream", memory=memories, prior=prior, samples=3, steps=60, device="cpu")
        answers[prior] = out.data.astype(int)
        assert f"({prior})" in out.history[-1]["steps"][0]
        assert (out.data == memories[:2].repeat(3, 0))[lossy.observed().repeat(3, 0)].all()
    assert np.abs(answers["ls:7"] - answers["recall"]).max() <= 1
    assert all(np.abs(answers[p] - answers["recall"]).max() > 10 for p in ("ls:1", "bbels:1,1,3"))


@pytest.mark.parametrize("shape", [(1, 8), (2, 4, 6)], ids=str)
def test_states_are_dreamt_by_patches_of_them(shape):
    """By patches as large as the states they are the states; by small ones of all places what is seen stays."""
    states = (100 + 9 * np.random.default_rng(0).standard_normal((6, *shape))).astype(np.float32)
    lossy, answers = broken(Signal("field", states[:2]), MASK), {}
    for prior in ("ls:11", "els:3", "els:1"):
        (out,) = reconstruct([lossy], "dream", memory=states, prior=prior, samples=2, steps=60, device="cpu")
        answers[prior] = out.data
        assert out.kind == "field" and np.isfinite(out.data).all()
        assert np.array_equal(
            out.data[lossy.observed().repeat(2, 0)], states[:2].repeat(2, 0)[lossy.observed().repeat(2, 0)]
        )
    assert np.abs(answers["ls:11"] - states[:2].repeat(2, 0)).max() < 0.5
    assert np.abs(answers["els:1"] - states[:2].repeat(2, 0)).max() > 1


@pytest.mark.parametrize("shape", [(1, 3), (5, 6), (3, 1 << 21)], ids=str)
def test_coordinates_of_a_store_are_about_its_mean_and_of_spread_one(shape):
    """The last one comes in two pieces."""
    values = np.array([2, 7, 1, 8, 2])[: shape[0]]
    memory = np.broadcast_to(values[:, None], shape).astype(np.float32)
    want = (values - values.mean()) / (values.std() or 1)
    found = _centred(memory).encode(memory)
    np.testing.assert_allclose(found[:, [0, -1]], want[:, None].repeat(2, 1), atol=1e-6)


@pytest.mark.parametrize(
    "prior, message",
    [
        ("bbels", "there are recall, gaussian, and ls, els, bbels, both, time, freq, none with sizes, as in bbels:5"),
        ("is:3", "no prior 'is:3'"),
        ("is", "no prior 'is'"),
        ("recall:3", "no prior 'recall:3'"),
        ("gaussian:3,5", "no prior 'gaussian:3,5'"),
        ("ls:", "no prior 'ls:'"),
        ("els:3,", "no prior 'els:3,'"),
        ("bbels:3;5", "no prior 'bbels:3;5'"),
        ("els:5", "a patch of 5 px is too large for els on 4 x 4 px: at most 3"),
        ("ls:2", "a patch of 2 px has no centre"),
    ],
)
def test_priors_that_are_none(prior, message):
    memories = np.zeros((3, 1, 4, 4), np.uint8)
    with pytest.raises(LemError, match=re.escape(message)):
        list(
            reconstruct(
                [broken(Signal("image", memories[:1]), MASK)], "dream", memory=memories, prior=prior, device="cpu"
            )
        )


@pytest.mark.parametrize(
    "operations", [[BITS], [MASK, BITS], [{"op": "noise", "sigma": 0.1}], [{"op": "crop", "crop": "3x2"}]]
)
def test_dreams_hold_bins_and_windows(operations):
    memories = np.random.default_rng(0).integers(0, 256, (5, 1, 4, 4)).astype(np.uint8)
    lossy = broken(Signal("image", memories[:2]), *operations)
    (out,) = reconstruct([lossy], "dream", memory=memories, samples=2, steps=20, device="cpu")
    assert out.data.shape == (4, 1, 4, 4) and out.data.dtype == np.uint8
    if lossy.codes is not None:
        low, high = (end.repeat(2, 0) for end in bounds(lossy.codes, lossy.code_op))
        seen = lossy.observed().repeat(2, 0)
        assert ((out.data >= low) & (out.data <= high))[seen].all()


# --- what does not suit


def test_models_that_do_not_fit_say_so():
    cases = [
        (photos(1, (4, 20, 20)), model("blur"), MASK, "recalls images of 3 channels, not images of 4x20x20; train one"),
        (vectors(), model("blur"), MASK, "recalls images of 3 channels, not embeddings of 20"),
        (vectors(), model("fixed", "embedding", (21,)), MASK, "recalls embeddings of 21, not embeddings of 20"),
        (photos(), model("blur", item=(1, 0, 0), channels=1), MASK, "images of 1 channel, not images of 3x40x56"),
        (photos(), model("blur"), {"op": "downsample", "factor": 2}, "not of --downsample"),
    ]
    for kind, item, many, words in (  # one channel stands for three of images alone, and where images come back
        ("embedding", (3, 20), (1, 20), "embeddings of 3x20, not embeddings of 1x20"),
        ("audio", (3, 0), (1, 50), "sounds of 3 channels, not sounds of 1x50"),
        ("spectrum", (3, 0, 0), (1, 5, 8), "spectra of 3 channels, not spectra of 1x5x8"),
        ("image", (3, 0, 0), (1, 5, 8), "images of 3 channels, not images of 1x5x8"),
        ("image", (3, 0, 0), (2, 5, 8), "images of 3 channels, not images of 2x5x8"),
    ):
        rate = 8000.0 if kind in ("audio", "spectrum") else None
        target = {"kind": "embedding", "item": [4]} if kind == "image" else None
        whole = Signal(kind, np.full((2, *many), 0.5, np.float32), rate=rate)
        cases.append((whole, model("fixed", kind, item, target), MASK, words))
    for signal, made, operation, words in cases:
        with pytest.raises(LemError, match=words):
            recalled(broken(signal, operation), made)


def test_losses_that_were_not_trained_are_told():
    made = model("blur", fragments=["--bits 1-7 --mask 0-.95"])
    note = "{}: not among what the model was trained on".format
    for operations, notes in (
        ([BITS, MASK], []),
        ([{"op": "crop", "crop": "20"}], []),
        ([{"op": "noise", "sigma": 0.1}, MASK], [note("noise")]),
        ([{"op": "bits", "bits": 2, "quantizer": "lloyd-max"}], [note("lloyd-max")]),
    ):
        assert recalled(broken(photos(), *operations), made).history[-1]["steps"][1:] == notes


# --- files


def files(tmp_path):
    """A fragment, and models: good, cut short, of another tool, of a network nobody knows, without its weights, with NaN."""
    lossy = broken(photos(2), MASK)
    lossy.last = True
    with open(tmp_path / "f.st", "wb") as file:
        for part in stream.document(lossy):
            file.write(bytes(part))
    good = saved(tmp_path / "good.safetensors", model("blur"))
    body = (tmp_path / "good.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(body[:-40])
    (tmp_path / "text.safetensors").write_text("a text, and a long one at that: " * 9)
    save_file({"x": torch.ones(3)}, tmp_path / "foreign.safetensors")
    other = model("blur")
    other.meta = {**other.meta, "net": {"net": "hologram"}}
    saved(tmp_path / "unknown.safetensors", other)
    less = model("blur")
    save_file({"conv.bias": torch.zeros(3)}, tmp_path / "less.safetensors", {"lem": json.dumps(less.meta)})
    wild = model("blur")
    wild.net.conv.bias.data.fill_(torch.nan)
    saved(tmp_path / "wild.safetensors", wild)
    saved(tmp_path / "grey.safetensors", model("blur", item=(1, 0, 0), channels=1))
    saved(tmp_path / "dream.safetensors", model("resnet", width=4, blocks=1))
    return good


@pytest.mark.parametrize(
    "line, words",
    [
        ("--model nope.safetensors", "nope.safetensors: no such file"),
        ("--model cut.safetensors", "cut.safetensors: not a whole safetensors file"),
        ("--model text.safetensors", "text.safetensors: not a whole safetensors file"),
        ("--model foreign.safetensors", "foreign.safetensors: not a model of lem-train"),
        ("--model f.st", "f.st: not a model of lem-train"),
        ("--model unknown.safetensors", "unknown.safetensors: made by a newer lemtools"),
        ("--model less.safetensors", "less.safetensors: its weights do not fit its record"),
        ("--model wild.safetensors", "wild.safetensors: its answer is not finite (NaN)"),
        ("--model grey.safetensors", "grey.safetensors recalls images of 1 channel, not images of 3x40x56; train one"),
        ("--model good.safetensors --samples 2", "good.safetensors gives one answer: --samples is for"),
        ("--model good.safetensors --temperature .5", "good.safetensors gives one answer: --temperature is for"),
        ("--model good.safetensors --device abacus", "device abacus is not here"),
        (
            "--model good.safetensors --method smooth",
            "--method smooth does not use a --model; net, ensemble, dream, continue and fill do",
        ),
        ("--model good.safetensors --method dream", "good.safetensors sees the fragment: --method net"),
        ("--model dream.safetensors --method net", "dream.safetensors never saw one: --method dream"),
        ("--model dream.safetensors --tile 64", "dream.safetensors does not go in tiles"),
        ("--model good.safetensors --memory f.st", "--memory and --model: give one of them"),
        (
            "--model good.safetensors --prior gaussian",
            "--prior is for --method dream (with --memory or --model), not net",
        ),
        ("--model good.safetensors --sigma .1", "--sigma is for --method recall and gaussian (with --memory), not net"),
        ("--method dream", "--method dream needs what to dream of"),
        ("--method net", "--method net needs a --model: none comes with this installation"),
        ("--steps 3", "--steps is for --method least-squares, net and dream, not auto"),
        ("--method smooth --tile 64", "--tile is for --method auto, net and ensemble, not smooth"),
        (
            "--method smooth --device cpu",
            "--device is for --method auto, recall, gaussian, net, ensemble, dream, continue and fill, not smooth",
        ),
        ("--model good.safetensors -o good.safetensors", "good.safetensors: is input and output at once"),
    ],
)
def test_one_line_for_what_is_wrong(tmp_path, line, words):
    files(tmp_path)
    before = sorted(p.name for p in tmp_path.iterdir())
    done = lem_fork(
        "reconstruct", "f.st", *line.split(), *([] if "-o" in line else ["-o", "out.safetensors"]), cwd=tmp_path
    )
    assert done.returncode == 2 and done.stdout == b""
    (said,) = done.stderr.decode().splitlines()
    assert said.startswith("lem-reconstruct: error: ") and words in said and "defect" not in said
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_the_command_recalls_and_tells(tmp_path):
    good = files(tmp_path)
    done = lem_fork("reconstruct", "f.st", "--model", good, "-o", "out/", "--tile", "32", "-v", cwd=tmp_path)
    assert (
        done.returncode == 0
        and b"net (net: one call of good.safetensors, tiles of 32 px, 96 px overlap)" in done.stderr
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["0.png", "1.png"]
    done = lem_fork("reconstruct", "f.st", "--model", good, "--method", "net", "--to", "safetensors", cwd=tmp_path)
    entry = json.loads(done.stdout[8 : 8 + int.from_bytes(done.stdout[:8], "little")])["__metadata__"]["lem"]
    digest = hashlib.sha256((tmp_path / "good.safetensors").read_bytes()).hexdigest()
    assert json.loads(entry)["history"][-1]["model"] == f"good.safetensors sha256:{digest[:12]}"
    done = lem_fork(
        "reconstruct",
        "f.st",
        "--model",
        "dream.safetensors",
        "--samples",
        "2",
        "--steps",
        "2",
        "-o",
        "two/",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == ["0#0.png", "0#1.png", "1#0.png", "1#1.png"]


# --- what auto does


@pytest.mark.parametrize(
    "operations, name",
    [
        ([BITS], "ensemble"),
        ([MASK], "ensemble"),
        ([{"op": "crop", "crop": "20"}, BITS, MASK, {"op": "bits", "bits": 1}], "ensemble"),
        ([{"op": "bits", "bits": 8}], "smooth"),
        ([{"op": "bits", "bits": 3, "quantizer": "lloyd-max"}], "smooth"),
        ([{"op": "noise", "sigma": 0.1}, MASK], "smooth"),
        ([{"op": "downsample", "factor": 2}], "inpaint"),
        ([], "decode"),
    ],
)
def test_auto_takes_the_bundled_network_for_what_it_knows(tmp_path, monkeypatch, operations, name):
    path = saved(tmp_path / "bundled.safetensors", model("blur"))
    lossy = broken(photos(), *operations) if operations else photos()
    without = choose(lossy)
    assert without != "ensemble"
    monkeypatch.setattr(rooms, "BUNDLED", type(rooms.BUNDLED)(path))
    assert choose(lossy) == name and choose(replace(lossy, data=lossy.data), memory=True) == "recall"
    (out,) = reconstruct([lossy], device="cpu")
    assert out.history[-1]["method"] == name and out.history[-1].get("model", "").startswith(
        "bundled" * (name == "ensemble")
    )
    assert choose(broken(photos(1, (4, 8, 8)), MASK)) == "inpaint" and choose(broken(vectors(), MASK)) == "decode"
    (asked,) = reconstruct([lossy], "net", device="cpu") if name != "inpaint" else [None]
    assert asked is None or asked.history[-1]["method"] == "net"


def test_what_the_network_does_not_cover_never_loads_torch():
    code = (
        "import sys, numpy as np\nfrom lemtools.signal import Signal\nfrom lemtools.fragment import fragment\n"
        "from lemtools.reconstruct import reconstruct\n"
        "s = Signal('image', np.zeros((1, 3, 16, 16), np.uint8))\n"
        "(f,) = fragment([s], [{'op': 'noise', 'sigma': .1}])\nlist(reconstruct([f]))\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_a_large_image_takes_little_more_than_itself():
    """Within 64 MB of activations, where those of the whole image would be some 200 MB."""
    code = (
        "import resource, numpy as np\n"
        "from lemtools.nets.conv import Flat\nfrom lemtools.nets.model import Model\n"
        "from lemtools.signal import Signal\nfrom lemtools.reconstruct import Reconstructor, learned\n"
        f"model = Model(Flat(3, width=16, blocks=1), {record('flat', channels=3)!r})\n"
        "recall = Reconstructor('net', model=model, device='cpu')\n"
        "learned.budget = lambda device: 64 << 20\n"
        "def peak(side):\n"
        "    mask, ops = np.ones((1, 1, side, side), bool), [{'op': 'mask', 'dtype': 'uint8', 'shape': [3, side, side]}]\n"
        "    mask[..., ::2] = False\n"
        "    recall(Signal('image', np.zeros((1, 3, side, side), np.uint8), mask=mask, ops=ops))\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "print(peak(64), peak(560))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr.decode()
    before, after = map(float, done.stdout.split())
    assert after - before < 120, (before, after)
