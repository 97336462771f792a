"""Networks that estimate: shapes, exactness, gradients, equivariance, the first guess by its definition."""

import json

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from helpers.paths import data_dir
from lemtools.denoise.contract import Scale
from lemtools.fragment import fragment
from lemtools.fragment.evidence import evidence
from lemtools.nets import build, conv
from lemtools.nets.condition import Condition
from lemtools.signal import Signal

SMALL = {
    "conv": {"net": "conv", "channels": 3, "widths": [8, 12, 8], "blocks": [1, 1, 0, 1, 1]},
    "opponent": {"net": "conv", "channels": 3, "widths": [8, 8], "blocks": [1, 1, 1], "opponent": True},
    "flat": {"net": "flat", "channels": 3, "width": 8, "blocks": 3},
    "gru": {"net": "gru", "item": [3, 0, 0], "width": 8, "steps": 3},
    "mlp": {"net": "mlp", "item": [3, 9, 13], "width": 16, "depth": 2},
    "mlp-vector": {"net": "mlp", "item": [2, 5], "width": 16, "depth": 1},
    "gru-vector": {"net": "gru", "item": [10], "width": 16, "steps": 3},
}
IMAGES = ["conv", "opponent", "flat", "gru"]


def net(name: str, trained: bool = True):
    """A small network; trained: with nothing zero any more, neither its last layer nor its biases."""
    torch.manual_seed(5)
    out = build(json.loads(json.dumps(SMALL[name])))
    if trained:
        for parameter in out.parameters():
            torch.nn.init.normal_(parameter, std=0.3 if parameter.abs().max() == 0 else parameter.std().item())
    return out


def images(count: int, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Smooth ones with a little texture, uint8 [N, C, H, W]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[1], : shape[2]] / 16
    waves = sum(np.sin(a * y + b * x + c) for a, b, c in rng.uniform(-1, 1, (3, 3, count, shape[0], 1, 1)))
    return np.clip(128 + 35 * waves + rng.normal(0, 4, waves.shape), 0, 255).astype(np.uint8)


def broken(data: np.ndarray, *operations: dict, kind: str = "image") -> Condition:
    signal = next(fragment([Signal(kind=kind, data=data)], list(operations), seed=3))
    return Condition.of(evidence(signal), Scale.image() if kind == "image" else Scale(), kind)


BITS, HALF = {"op": "bits", "bits": 3}, {"op": "mask", "mask": 0.5}


def item_for(name: str, count: int = 2, shape: tuple[int, ...] = (3, 9, 13)) -> Condition:
    if "vector" in name:
        data = np.random.default_rng(1).normal(size=(count, *SMALL[name]["item"])).astype(np.float32)
        return broken(data, HALF, kind="embedding")
    return broken(images(count, shape), HALF, BITS)


def lone(mask_w: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The fill of one plane by its definition, cell by cell; bilinear between cell centres, constant beyond them."""
    height, width = values.shape
    depth = int(np.ceil(np.log2(max(height, width)))) if max(height, width) > 1 else 0
    above = None
    for k in range(depth, -1, -1):
        side = 2**k
        rows, columns = -(-height // side), -(-width // side)
        out = np.zeros((rows, columns))
        for i in range(rows):
            for j in range(columns):
                cell = np.s_[i * side : (i + 1) * side, j * side : (j + 1) * side]
                if mask_w[cell].any():
                    out[i, j] = values[cell][mask_w[cell]].mean()
                elif above is not None:
                    u, v = (min(max((q - 0.5) / 2, 0), n - 1) for q, n in zip((i, j), above.shape))
                    a, b = int(u), int(v)
                    c, d = min(a + 1, above.shape[0] - 1), min(b + 1, above.shape[1] - 1)
                    top = above[a, b] * (1 - v + b) + above[a, d] * (v - b)
                    low = above[c, b] * (1 - v + b) + above[c, d] * (v - b)
                    out[i, j] = top * (1 - u + a) + low * (u - a)
        above = out
    return above


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (5, 9), (16, 11), (13, 32)])
@pytest.mark.parametrize("share", [0.0, 0.04, 0.3, 1.0])
def test_fill_is_its_definition(shape, share):
    rng = np.random.default_rng(0)
    values, seen = rng.normal(size=(2, 3, *shape)), rng.random((2, 3, *shape)) < share
    got = conv.fill(torch.from_numpy(values), torch.from_numpy(seen)).numpy()
    want = np.array([[lone(s, v) for s, v in zip(ss, vv)] for ss, vv in zip(seen, values)])
    np.testing.assert_allclose(got, want, atol=1e-12)
    assert np.array_equal(got[seen], values[seen])


def test_fill_keeps_a_constant():
    seen = torch.rand(1, 1, 37, 23, generator=torch.manual_seed(0)) < 0.02
    assert seen.any()
    torch.testing.assert_close(conv.fill(torch.full((1, 1, 37, 23), 0.7), seen), torch.full((1, 1, 37, 23), 0.7))


def test_sizes_are_half_bins_noise_and_what_is_lost():
    data = images(2, (3, 8, 8))
    assert conv.sizes(broken(data), 0.25).abs().max() == 0
    half = (2 ** (8 - 3) - 1) / 255  # bins of 32 levels, 31 from the first to the last; one level is 2 / 255
    torch.testing.assert_close(conv.sizes(broken(data, BITS), 0.25), torch.full((2, 3, 8, 8), half))
    lost = broken(data, HALF)
    assert torch.equal(conv.sizes(lost, 0.25), torch.where(lost.observed, 0.0, 0.25))
    noisy = broken(data, {"op": "noise", "sigma": 0.1})
    torch.testing.assert_close(conv.sizes(noisy, 0.25), torch.full((2, 3, 8, 8), 0.2))
    normal = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    outer = broken(normal, {"op": "bits", "bits": 2}, kind="embedding")
    size = conv.sizes(outer, 1.0)
    assert (outer.low == -torch.inf).any() and size.isfinite().all() and (size > 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2), (8, 16), (17, 5)])
@pytest.mark.parametrize("name", IMAGES)
def test_any_height_and_width(name, shape):
    condition = broken(images(2, (3, *shape)), {"op": "mask", "mask": 0.3}, BITS)
    out = net(name)(condition)
    assert out.shape == (2, 3, *shape) and out.isfinite().all() and out.dtype == torch.float32


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", ["conv", "flat", "gru"])
def test_grey_images_and_spectra(name, channels):
    kind = "image" if channels == 1 else "spectrum"
    record = {**SMALL[name], **({"item": [channels, 0, 0]} if name == "gru" else {"channels": channels})}
    data = images(2, (channels, 6, 7))
    condition = broken(data if kind == "image" else data.astype(np.float32) / 255, HALF, kind=kind)
    assert build(record)(condition).shape == (2, channels, 6, 7)


@pytest.mark.parametrize(
    "record",
    [
        {"net": "mlp", "item": [10], "target": [3, 4, 5], "width": 8},
        {"net": "gru", "item": [10], "target": [3, 4, 5], "width": 8, "steps": 2},
        {"net": "mlp", "item": [10], "target": [6], "width": 8},
    ],
)
def test_another_target(record):
    out = build(record)(item_for("gru-vector"))
    assert out.shape == (2, *record["target"]) and out.abs().max() == 0  # starts at the mean


@pytest.mark.parametrize(
    "record",
    [
        {"net": "flat", "channels": 3, "target_channels": 1, "width": 8, "blocks": 1},
        {"net": "gru", "item": [3, 0, 0], "target": [1, 0, 0], "width": 8},
    ],
)
def test_images_with_other_channels(record):
    assert build(record)(item_for("flat")).shape == (2, 1, 9, 13)


def test_records_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="5 numbers of blocks, not 2"):
        build({"net": "conv", "blocks": [1, 1]})
    with pytest.raises(ValueError, match="an image of one channel has no opponent colours"):
        build({**SMALL["opponent"], "channels": 1})
    with pytest.raises(ValueError, match="opponent is true or false, not 'no'"):
        build({**SMALL["opponent"], "opponent": "no"})
    with pytest.raises(ValueError, match="images give images"):
        build({"net": "gru", "item": [3, 8, 8], "target": [10]})
    with pytest.raises(ValueError, match="steps is 0"):
        net("gru")(item_for("gru"), steps=0)


@pytest.mark.parametrize("name", SMALL)
def test_starts_at_the_guess_and_exact_values_stay_exact(name):
    condition = item_for(name)
    if "vector" not in name:
        condition = broken(images(2, (3, 9, 13)), HALF)
    assert torch.equal(net(name, trained=False)(condition), conv.guess(condition))
    out, seen = net(name)(condition), condition.observed
    assert torch.equal(out[seen], condition.value[seen])
    assert (out[~seen] - conv.guess(condition)[~seen]).abs().mean() > 1e-3


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_parameter(name):
    model = net(name)
    model(item_for(name)).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", SMALL)
def test_gradient_is_the_finite_difference(name):
    model, condition = net(name).double(), item_for(name).each(torch.Tensor.double)
    torch.manual_seed(0)
    ways = [torch.randn_like(p) for p in model.parameters()]

    def loss() -> torch.Tensor:
        return model(condition).square().mean()

    slope = sum((g * w).sum() for g, w in zip(torch.autograd.grad(loss(), list(model.parameters())), ways))
    step, ends = 1e-6, []
    with torch.no_grad():
        for move in (step, -2 * step):
            for parameter, way in zip(model.parameters(), ways):
                parameter += move * way
            ends.append(loss())
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope.item(), rel=1e-5)


@pytest.mark.parametrize("side", [3, 9])
def test_box_means_are_those_of_the_neighbours_there(side):
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 5, 11)))
    both = conv.box(conv.box(x, side, -1), side, -2)
    half = side // 2
    for row in range(5):
        for column in range(11):
            near = x[..., max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]
            torch.testing.assert_close(both[..., row, column], near.mean((-2, -1)))


@pytest.mark.parametrize("lost", [0.25, 0.05])
@pytest.mark.parametrize("operations", [[BITS], [HALF], [HALF, BITS], [{"op": "bits", "bits": 7}], []])
def test_opponent_colours_by_their_definition(operations, lost):
    """Of what is observed a channel less the mean over channels, filled as a plane of its own; its mean over a square is
    over what lies inside the image; the difference is told in units of the mean size and squashed."""
    condition = broken(images(2, (3, 7, 11)), *operations)
    first, size = conv.guess(condition), conv.sizes(condition, lost)
    planes = conv.inputs(condition, first, size, (3, 9), True).double().numpy()
    plain = conv.inputs(condition, first, size, (3, 9))
    assert planes.shape == (2, 3 + 6 + 6 + 3, 7, 11)
    assert torch.equal(plain, conv.inputs(condition, first, size, (3, 9), False))
    np.testing.assert_array_equal(plain, np.delete(planes, range(9, 15), 1))
    value, seen = condition.value.double().numpy(), condition.observed.numpy()
    colours = value - value.mean(1, keepdims=True)
    unit = np.maximum(size.double().numpy().mean(1), 1 / 255)
    for item in range(2):
        for channel in range(3):
            filled = lone(seen[item, channel], colours[item, channel])
            for k, half in enumerate((1, 4)):
                for y in range(7):
                    for x in range(11):
                        near = filled[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1].mean()
                        far = (filled[y, x] - near) / unit[item, y, x]
                        got = planes[item, 9 + 3 * k + channel, y, x]
                        assert abs(got - far / (1 + abs(far))) < 2e-5


def test_opponent_colours_are_told_beside_all_else():
    """Without weight on them the network is the one without them, and of a grey image they say nothing."""
    plain, more = net("conv"), build({**SMALL["conv"], "opponent": True})
    kept = [p for p in range(24) if not 12 <= p < 21]  # 3 of the guess, 9 of its details, 9 of colours, 3 of the rest
    rows = [4 * p + k for p in kept for k in range(4)]
    state = plain.state_dict()
    wide = torch.zeros_like(more.enter.weight)
    wide[:, rows] = state["enter.weight"]
    more.load_state_dict({**state, "enter.weight": wide})
    condition = item_for("conv")
    with torch.no_grad():
        torch.testing.assert_close(more(condition), plain(condition), atol=1e-6, rtol=0)
        more.enter.weight.copy_(torch.where(wide == 0, 0.3, wide))
        assert (more(condition) - plain(condition)).abs().max() > 1e-3
        grey = broken(images(2, (1, 9, 13)).repeat(3, 1), HALF, BITS)
        torch.testing.assert_close(more(grey), plain(grey), atol=1e-4, rtol=0)  # (means round)
    assert more.reach == plain.reach


@pytest.mark.parametrize("name", SMALL)
def test_an_item_alone_equals_itself_in_a_batch(name):
    model, condition = net(name), item_for(name, 3)
    with torch.no_grad():
        together = model(condition)
        for i in range(3):
            alone = model(condition.each(lambda t: t[i : i + 1]))
            torch.testing.assert_close(alone, together[i : i + 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", IMAGES)
def test_shifts_with_the_image(name):
    model, shift = net(name), getattr(net(name), "stride", 8)
    whole = broken(images(1, (3, 120 + shift, 120 + shift)), BITS, {"op": "mask", "mask": 0.3})
    with torch.no_grad():
        a, b = (model(whole.each(lambda t: t if t.ndim == 1 else t[..., s : 120 + s, s : 120 + s])) for s in (0, shift))
    edge = 58
    assert getattr(model, "reach", 16) <= edge - shift
    inner = np.s_[..., edge : 120 - edge, edge : 120 - edge]
    torch.testing.assert_close(
        a[..., edge + shift : 120 - edge + shift, edge + shift : 120 - edge + shift], b[inner], atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("name", ["conv", "opponent", "flat"])
def test_nothing_beyond_its_reach_matters(name):
    model = net(name)
    whole = broken(images(1, (3, 8, 128)), BITS)
    shown = (getattr(model, "details", (5,)), getattr(model, "opponent", False))
    planes = conv.inputs(whole, conv.guess(whole), conv.sizes(whole, 0.25), *shown).requires_grad_()
    out = model.leave(model.blocks(model.enter(planes))) if name == "flat" else model.residual(planes)
    out[..., 64].square().sum().backward()
    columns = torch.nonzero(planes.grad.abs().amax((0, 1, 2)))
    assert 0 < (columns - 64).abs().max() <= model.reach


@pytest.mark.parametrize("name", SMALL)
def test_overfits_one_batch(name):
    model, count = net(name, trained=False), 2
    torch.manual_seed(0)
    if "vector" in name:
        condition, truth = item_for(name, count), np.random.default_rng(1).normal(size=(count, *SMALL[name]["item"]))
        truth = torch.from_numpy(truth).float()
    else:
        data = images(count, SMALL["mlp"]["item"])
        condition, truth = broken(data, HALF, BITS), torch.from_numpy(data / 127.5 - 1).float()
    error = (conv.guess(condition) - truth).square().mean()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(80):
        loss = (model(condition) - truth).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < error / 4


@pytest.mark.parametrize("name", ["gru", "gru-vector"])
def test_steps_are_a_walk_along_the_trajectory(name):
    model, condition = net(name), item_for(name)
    with torch.no_grad():
        walk = model.trajectory(condition, 5)
        assert len(walk) == 5 and torch.equal(model(condition), model(condition, steps=3))
        for k in (1, 3, 5):
            torch.testing.assert_close(model(condition, steps=k), walk[k - 1])
        assert (walk[4] - walk[0]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["gru", "gru-vector"])
def test_more_steps_do_not_blow_up(name):
    model, condition = net(name), item_for(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
        walk = model.trajectory(condition, 4 * model.steps)
    sizes = (walk - conv.guess(condition)).abs().flatten(1).amax(1)
    assert walk.isfinite().all() and sizes[-1] < 3 * sizes[: model.steps].max()


@pytest.mark.parametrize("name", SMALL)
def test_under_autocast(name):
    model, condition = net(name), item_for(name)
    with torch.no_grad():
        want = model(condition)
        with torch.autocast("cpu", torch.bfloat16):
            got = model.to(memory_format=torch.channels_last)(condition)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want, atol=0.03 * (want - conv.guess(condition)).abs().max().item(), rtol=0)


def test_the_net_of_the_wheel_is_small():
    model = conv.Restorer()
    count = sum(p.numel() for p in model.parameters())
    assert count <= 1_950_000 and 2 * count < 4e6  # float16
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        model(broken(images(1, (3, 64, 64)), BITS))
    assert flops.get_total_flops() / 2 / 64**2 <= 400e3


def test_a_few_steps_on_photos_beat_the_guess():
    from PIL import Image

    files = sorted((data_dir("bsds400") / "images").iterdir())[:4]
    data = np.stack([np.asarray(Image.open(f).convert("RGB"))[100:132, 100:132].transpose(2, 0, 1) for f in files])
    condition, truth = broken(data, BITS), torch.from_numpy(data / 127.5 - 1).float()
    torch.manual_seed(0)
    model = conv.Restorer(widths=(24, 32), blocks=(2, 1, 2))
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(40):
        loss = (model(condition) - truth).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert 10 * torch.log10((conv.guess(condition) - truth).square().mean() / loss) > 1.5  # dB
