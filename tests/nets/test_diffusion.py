"""Denoising networks: what they see, what they answer, and how an answer becomes x0."""

import itertools
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lemtools.denoise.contract import Scale
from lemtools.denoise.gaussian import Gaussian
from lemtools.nets import build
from lemtools.nets.condition import Condition
from lemtools.nets.denoiser import NetworkDenoiser, noisy, target, to_x0
from lemtools.nets.diffusion import ResNet, UNet, Vector
from lemtools.nets.grid import Circular
from lemtools.nets.model import Model, load
from lemtools.signal import LemError

LEVELS = (1e-6, 1e-4, 0.3, 0.9, 1 - 1e-5, 1 - 1e-9)


@pytest.fixture(autouse=True)
def one_thread():
    """A pool of threads costs more than these small products."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(make, seed=0, **keywords):
    torch.manual_seed(seed)
    shape = {ResNet: {"width": 8, "blocks": 2}, UNet: {"widths": (4, 8, 12)}, Vector: {"width": 16, "depth": 2}}[make]
    return make(**{**shape, **keywords})


def model(net, kind="image", item=(3, 8, 8), scale=None):
    scale = scale or Scale.image()
    return Model(net, {"item": list(item), "kind": kind, "target": {"kind": kind, "item": list(item)}}, scale, scale)


def condition(items, item, seed=0):
    """A fragment with about half of its elements exact and the others lost."""
    generator = torch.Generator().manual_seed(seed)
    value = torch.randn(items, *item, generator=generator)
    known = (torch.rand(items, *item, generator=generator) < 0.5).float()
    low, high = (torch.where(known > 0, value, end) for end in (torch.tensor(-torch.inf), torch.tensor(torch.inf)))
    return Condition(value * known, known, low, high, torch.zeros(items))


def normal(*shape, seed=1, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


NETS = [
    (ResNet, {}, (3, 8, 8)),
    (ResNet, {"padding": "circular", "channels": 1}, (1, 5, 7)),
    (UNet, {}, (3, 8, 8)),
    (UNet, {"padding": "circular"}, (3, 4, 12)),
    (UNet, {"channels": 2}, (2, 9, 6)),
    (Vector, {"item": (6,)}, (6,)),
    (Vector, {"item": (2, 5)}, (2, 5)),
]


# ---- what a network sees


@pytest.mark.parametrize("blocks, side", [(6, 17), (1, 7)])
def test_receptive_field_is_the_documented_window(blocks, side):
    net = tiny(ResNet, channels=1, width=4, blocks=blocks).double()
    assert net.receptive_field == side
    assert ResNet(width=2).receptive_field == 17, "the paper's shape"
    for conv in [net.first, *net.convs, net.last]:  # positive weights: no path is cut by a ReLU, none cancels another
        conv.weight.data.abs_()
        conv.bias.data.abs_()
    x = torch.rand(1, 1, 25, 23, dtype=torch.float64, requires_grad=True)
    net(x, torch.tensor([0.5], dtype=torch.float64))[0, 0, 12, 11].backward()
    window = torch.zeros(25, 23, dtype=torch.bool)
    window[12 - side // 2 : 13 + side // 2, 11 - side // 2 : 12 + side // 2] = True
    assert torch.equal(x.grad[0, 0] != 0, window)


@pytest.mark.parametrize("widths, reach", [((2, 2), 10), ((2, 3, 4), 24)])
def test_the_reach_of_a_unet(widths, reach):
    net = UNet(1, widths).double()
    for p in net.parameters():  # positive weights: no path is cut by a ReLU, none cancels another
        p.data.abs_()
    found = []
    for place in range(40, 40 + 2 * net.multiple):
        x = torch.rand(1, 1, 8, 90, dtype=torch.float64, requires_grad=True)
        net(x, torch.tensor([0.5], dtype=torch.float64))[0, 0, 4, place].backward()
        seen = (x.grad[0, 0] != 0).any(0).nonzero().flatten()
        found.append(max(place - int(seen.min()), int(seen.max()) - place))
    assert max(found) == net.reach == reach


@pytest.mark.parametrize("shape", [(2, 4, 5, 7), (1, 4, 1, 3), (1, 4, 2, 2)])
def test_circular_convolutions_are_those_of_torch_and_stay_channels_last(shape, monkeypatch):
    ours, theirs = Circular(4, 3, 3), nn.Conv2d(4, 3, 3, padding=1, padding_mode="circular")
    theirs.load_state_dict(ours.state_dict())
    x, seen = normal(*shape).contiguous(memory_format=torch.channels_last), []
    conv2d = torch.nn.functional.conv2d
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda x, *rest: seen.append(x) or conv2d(x, *rest))
    torch.testing.assert_close(ours(x), theirs(x.contiguous()))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("make, shift", [(ResNet, (3, 5)), (UNet, (4, 8))])
def test_circular_padding_commutes_with_shifts_and_zeros_padding_does_not(make, shift):
    x, level = normal(2, 3, 12, 16, dtype=torch.float64), torch.tensor([0.2, 0.9], dtype=torch.float64)
    error = {}
    for padding in ("circular", "zeros"):
        net = tiny(make, padding=padding).double()
        here, there = net(x, level), net(x.roll(shift, (2, 3)), level)
        error[padding] = (here.roll(shift, (2, 3)) - there).abs()
    assert error["circular"].max() < 1e-13
    assert error["zeros"].max() > 1e-3


def test_zeros_padding_breaks_equivariance_at_borders_only():
    net = tiny(ResNet, channels=1, blocks=1).double()  # 7 x 7 window
    x, level = normal(1, 1, 20, 20, dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
    error = (net(x, level).roll(1, 2) - net(x.roll(1, 2), level)).abs()[0, 0]
    inside = error[4:-3, :]
    assert inside.max() < 1e-13 and error[0].max() > 1e-3


def test_unet_has_the_symmetry_of_its_coarsest_stride_only():
    net = tiny(UNet, padding="circular").double()
    x, level = normal(1, 3, 16, 16, dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
    assert net.multiple == 4
    assert (net(x, level).roll(2, 2) - net(x.roll(2, 2), level)).abs().max() > 1e-6


@pytest.mark.parametrize("make, keywords, item", NETS)
def test_no_normalisation_and_items_do_not_see_each_other(make, keywords, item):
    net = tiny(make, **keywords)
    kinds = {type(module).__name__ for module in net.modules()}
    assert not [kind for kind in kinds if "Norm" in kind or "Dropout" in kind], kinds
    x, level = normal(3, *item), torch.tensor([0.1, 0.5, 0.999], dtype=torch.float64)
    alone = torch.cat([net(x[i : i + 1], level[i : i + 1]) for i in range(3)])
    assert alone.shape == x.shape
    torch.testing.assert_close(net(x, level), alone, rtol=0, atol=1e-6)


def test_other_sizes_are_padded_or_refused():
    x, level = normal(1, 3, 9, 6), torch.tensor([0.5], dtype=torch.float64)
    net = tiny(UNet)
    assert net(x, level).shape == x.shape
    padded = nn.functional.pad(x, (0, 2, 0, 3))
    torch.testing.assert_close(net(x, level), net(padded, level)[..., :9, :6])
    with pytest.raises(LemError, match=r"6 x 9 px.*multiples of 4"):
        tiny(UNet, padding="circular")(x, level)


@pytest.mark.parametrize(
    "record",
    [
        {"net": "resnet", "channels": 1, "width": 4, "blocks": 1, "padding": "circular"},
        {"net": "unet", "widths": [4, 6], "classes": 2, "conditioned": True},
        {"net": "mlp-denoiser", "item": [2, 3], "width": 8, "predicts": "v"},
    ],
)
def test_saved_and_read(record, tmp_path):
    """What JSON and safetensors keep of a network is the network."""
    item = record.get("item", [record.get("channels", 3), 8, 8])
    made = model(build(record), item=item)
    assert made.family == "denoise"
    meta = {"v": 1, "net": record, "fragment": [], **made.meta}
    save_file(made.tensors(), tmp_path / "m.safetensors", {"lem": json.dumps(meta)})
    back, x = load(tmp_path / "m.safetensors"), normal(2, *item)
    told = condition(2, tuple(item)) if made.net.conditioned else None
    assert torch.equal(NetworkDenoiser(back, told)(x, 0.5), NetworkDenoiser(made, told)(x, 0.5))
    assert (back.net.predicts, back.net.classes) == (record.get("predicts", "eps"), record.get("classes", 0))


# ---- what it is told


@pytest.mark.parametrize("make, item", [(ResNet, (3, 8, 8)), (UNet, (3, 8, 8)), (Vector, (6,))])
def test_label_changes_the_answer_and_a_negative_one_is_none(make, item):
    net = tiny(make, classes=3, **({"item": item} if make is Vector else {}))
    x, level = normal(4, *item)[:1].expand(4, *item), torch.full((4,), 0.5, dtype=torch.float64)
    answers = net(x, level, label=torch.tensor([0, 1, 2, -1]))
    for i in range(4):
        for j in range(i):
            assert (answers[i] - answers[j]).abs().max() > 1e-4, (i, j)
    torch.testing.assert_close(answers[3:], net(x[:1], level[:1]))


@pytest.mark.parametrize("make, keywords, item", NETS)
def test_gradients_reach_every_parameter(make, keywords, item):
    net = tiny(make, classes=3, conditioned=True, **keywords)
    level = torch.linspace(0.1, 0.9, 8, dtype=torch.float64)
    net(normal(8, *item), level, condition(8, item), torch.arange(8) % 4 - 1).square().mean().backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("make, item", [(ResNet, (3, 8, 8)), (UNet, (3, 8, 8)), (Vector, (6,))])
def test_level_is_told_at_both_ends_and_in_float64(make, item):
    """Levels apart by less than float32 can hold are told apart, and alpha_bar = 0 and 1 are finite."""
    net = tiny(make, **({"item": item} if make is Vector else {}))
    x = normal(1, *item)
    answers = [net(x, torch.tensor([v], dtype=torch.float64)) for v in (0.0, 0.5, 1 - 1e-7, 1 - 1e-8, 1.0)]
    assert all(torch.isfinite(answer).all() for answer in answers)
    assert min((p - q).abs().max() for p, q in itertools.pairwise(answers)) > 1e-5


@pytest.mark.parametrize("make, item", [(ResNet, (3, 8, 8)), (UNet, (3, 8, 8)), (Vector, (2, 5))])
def test_every_part_of_a_condition_counts(make, item):
    net = tiny(make, conditioned=True, **({"item": item} if make is Vector else {}))
    x, level, told = normal(2, *item), torch.full((2,), 0.5, dtype=torch.float64), condition(2, item)
    answer = net(x, level, told)
    other = condition(2, item, seed=5)
    for change in (
        {"value": other.value},
        {"known": other.known},
        {"low": other.low, "high": other.high},
        {"sigma": torch.ones(2)},
    ):
        assert (net(x, level, Condition(**{**told.__dict__, **change})) - answer).abs().max() > 1e-5, change.keys()


def test_an_image_from_an_embedding():
    net = tiny(Vector, item=(3, 4, 4), source=(6,), conditioned=True)
    level = torch.full((2,), 0.5, dtype=torch.float64)
    one, other = (net(normal(2, 3, 4, 4), level, condition(2, (6,), seed)) for seed in (0, 1))
    assert one.shape == (2, 3, 4, 4) and (one - other).abs().max() > 1e-4


def test_autocast_channels_last_and_float32_agree():
    for make in (ResNet, UNet):
        net, x = tiny(make, padding="circular"), normal(2, 3, 8, 8)
        level = torch.tensor([0.3, 1 - 1e-6], dtype=torch.float64)
        answer = net(x, level)
        last = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last), level)
        torch.testing.assert_close(last, answer, rtol=0, atol=1e-6)
        with torch.autocast("cpu", torch.bfloat16):
            half = net(x, level)
        assert half.dtype == torch.bfloat16 and (half.float() - answer).norm() < 0.02 * answer.norm()


def test_graph_has_no_breaks():
    """torch.compile can take a network whole: no python control flow depends on values."""
    x, level = normal(2, 3, 8, 8), torch.tensor([0.3, 0.7], dtype=torch.float64)
    net = tiny(UNet, classes=2, conditioned=True, widths=(4, 8))
    given = (x, level, condition(2, (3, 8, 8)), torch.tensor([1, -1]))
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*given), net(*given))


def test_wrong_calls_say_what_is_wrong():
    x, level = normal(1, 3, 8, 8), torch.tensor([0.5], dtype=torch.float64)
    with pytest.raises(ValueError, match="takes no condition"):
        tiny(ResNet)(x, level, condition(1, (3, 8, 8)))
    with pytest.raises(ValueError, match="takes a condition"):
        tiny(UNet, conditioned=True)(x, level)
    with pytest.raises(ValueError, match="no classes"):
        tiny(ResNet)(x, level, label=torch.tensor([0]))
    with pytest.raises(ValueError, match=r"\[1, 3, 8, 8\]: expected \[N, 1, H, W\]"):
        tiny(ResNet, channels=1)(x, level)
    with pytest.raises(ValueError, match=r"expected \[N, 6\]"):
        tiny(Vector, item=(6,))(normal(2, 7), level)
    with pytest.raises(LemError, match="eps, x0, v"):
        tiny(ResNet, predicts="score")
    with pytest.raises(LemError, match="zeros, circular"):
        tiny(UNet, padding="reflect")


# ---- eps, x0, v


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_conversions_are_inverse(predicts):
    x0, noise = (normal(len(LEVELS), 50, seed=seed, dtype=torch.float64) for seed in (2, 3))
    level = torch.tensor(LEVELS, dtype=torch.float64)
    x_t = noisy(x0, noise, level)
    back = to_x0(predicts, target(predicts, x0, noise, level), x_t, level)
    assert (back - x0).abs().max() < 1e-12
    for i, value in enumerate(LEVELS):  # one number, and one per item
        one = to_x0(predicts, target(predicts, x0[i : i + 1], noise[i : i + 1], value), x_t[i : i + 1], value)
        torch.testing.assert_close(one, back[i : i + 1], rtol=0, atol=0)


def test_levels_are_those_of_the_definition():
    x0, noise = normal(2, 3, dtype=torch.float64), normal(2, 3, seed=2, dtype=torch.float64)
    torch.testing.assert_close(noisy(x0, noise, 0.36), 0.6 * x0 + 0.8 * noise)
    torch.testing.assert_close(target("v", x0, noise, 0.36), 0.6 * noise - 0.8 * x0)
    # the amplitude of noise, also at float32, is right where float32 has no 1 - alpha_bar
    small = noisy(torch.zeros(1, 1), torch.ones(1, 1), torch.tensor([1 - 1e-10], dtype=torch.float64))
    assert small.dtype == torch.float32 and abs(small.item() / 1e-5 - 1) < 1e-6
    with pytest.raises(TypeError, match="float64"):
        to_x0("v", x0, x0, torch.tensor([0.5, 0.5]))


# ---- the contract


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_edges_of_the_contract(predicts):
    denoiser = NetworkDenoiser(model(tiny(ResNet, predicts=predicts)))
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = 3 * normal(4, 3, 8, 8).to(dtype)
        assert torch.equal(denoiser(x, 1.0), x) and denoiser(x, 1.0).dtype == dtype
        assert torch.isfinite(denoiser(x, 0.0)).all()
    levels = np.array([0.0, 0.4, 1 - 1e-9, 1.0])
    x = x.double().numpy()
    together = denoiser(x, levels[:, None, None, None])
    assert type(together) is np.ndarray and together.dtype == np.float64 and together.shape == x.shape
    apart = np.concatenate([denoiser(x[i : i + 1], float(levels[i])) for i in range(4)])
    np.testing.assert_allclose(together, apart, rtol=0, atol=2e-5)
    assert np.array_equal(together[3], x[3])
    assert denoiser(x.astype(np.float16), levels).dtype == np.float16
    np.testing.assert_allclose(denoiser(torch.from_numpy(x), levels).numpy(), together, rtol=0, atol=0)
    with pytest.raises(TypeError, match="float64"):
        denoiser(x, np.float32(levels))
    with pytest.raises(ValueError, match="one per item"):
        denoiser(x, levels[:3])


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_answer_is_the_converted_output(predicts):
    net = tiny(UNet, predicts=predicts)
    x, level = normal(2, 3, 8, 8), torch.tensor([0.4, 0.999], dtype=torch.float64)
    a, b = (v.sqrt().float()[:, None, None, None] for v in (level, 1 - level))
    with torch.no_grad():
        output = net(x, level)
    expected = {"eps": (x - b * output) / a, "x0": output, "v": a * x - b * output}[predicts]
    answer = NetworkDenoiser(model(net), clip=False)(x, level)
    torch.testing.assert_close(answer, expected, rtol=0, atol=1e-5)
    assert not answer.requires_grad
    assert predicts == "x0" or answer.abs().max() > 1, "or clipping would not be seen"
    torch.testing.assert_close(NetworkDenoiser(model(net))(x, level), expected.clamp(-1, 1), rtol=0, atol=1e-5)
    half = NetworkDenoiser(model(net), clip=False, dtype=torch.bfloat16)(x, level)
    assert half.dtype == torch.float32 and 0 < (half - expected).abs().max() < 0.05 * expected.abs().max()


def test_clip_is_the_range_of_images_in_coordinates():
    net, x = tiny(ResNet), 9 * normal(2, 3, 8, 8)
    scale = Scale(offset=np.full((3, 1, 1), 0.25, np.float32), gain=np.float32([1, 2, 4])[:, None, None])
    answer = NetworkDenoiser(model(net, scale=scale))(x, 0.3)
    assert answer.amax((0, 2, 3)).tolist() == [0.75, 1.5, 3.0]
    assert answer.amin((0, 2, 3)).tolist() == [-0.25, -0.5, -1.0]
    embedding = NetworkDenoiser(model(tiny(Vector, item=(6,)), kind="embedding", item=(6,), scale=Scale()))
    assert embedding(9 * normal(2, 6), 0.3).abs().max() > 1.5


def test_below_the_lowest_level_it_is_asked_there():
    denoiser = NetworkDenoiser(model(tiny(ResNet)), clip=False)
    x = normal(2, 3, 8, 8)
    assert torch.equal(denoiser(x, 0.0), denoiser(x, 1e-4)) and not torch.equal(denoiser(x, 0.0), denoiser(x, 2e-4))
    assert torch.equal(NetworkDenoiser(model(denoiser.net), clip=False, lowest=0.01)(x, 0.0), denoiser(x, 0.01))


def test_what_is_bound_follows_the_rows():
    net = tiny(ResNet, classes=3, conditioned=True)
    told, x, level = condition(2, (3, 8, 8)), normal(6, 3, 8, 8), torch.linspace(0.2, 0.8, 6, dtype=torch.float64)
    denoiser = NetworkDenoiser(model(net), told, torch.tensor([2, -1]))
    answer = denoiser(x, level)
    for row in range(6):
        one = told.each(lambda t: t[row // 3 : row // 3 + 1])
        alone = NetworkDenoiser(model(net), one, (2, -1)[row // 3])(x[row : row + 1], level[row].item())
        torch.testing.assert_close(answer[row : row + 1], alone, rtol=0, atol=1e-5)
    swapped = NetworkDenoiser(model(net), told.each(lambda t: t.flip(0)), torch.tensor([2, -1]))(x, level)
    assert (swapped - answer).abs().amax((1, 2, 3)).min() > 1e-3
    with pytest.raises(ValueError, match="5 rows, no multiple of the 2 items"):
        denoiser(x[:5], 0.5)
    with pytest.raises(ValueError, match="knows 3 classes"):
        NetworkDenoiser(model(net), told, 3)


# ---- learning


def shapes():
    """Four images [4, 1, 8, 8] of -1 and 1: a half, a chessboard, stripes either way."""
    half, board, stripes = torch.ones(3, 8, 8)
    half[:4], stripes[::2] = -1, -1
    board[::2, 1::2], board[1::2, ::2] = -1, -1
    return torch.stack([half, board, stripes, stripes.T])[:, None]


@pytest.mark.parametrize(
    "make, predicts, steps, keywords",
    [
        (ResNet, "eps", 300, {"width": 16, "channels": 1}),
        (UNet, "v", 150, {"widths": (12, 24), "channels": 1}),
        (Vector, "x0", 150, {"width": 64, "item": (1, 8, 8)}),
    ],
)
def test_a_batch_is_learned_beyond_the_gaussian(make, predicts, steps, keywords):
    """A few hundred steps on four images: better than their mean and than the Wiener filter of their covariance."""
    images, generator = shapes(), torch.Generator().manual_seed(0)
    net = tiny(make, predicts=predicts, **keywords)
    optimiser = torch.optim.Adam(net.parameters(), 6e-3)

    def draw(x0):
        return torch.randn(x0.shape, generator=generator)

    for _ in range(steps):
        x0 = images.repeat(4, 1, 1, 1)
        level, noise = torch.rand(16, generator=generator, dtype=torch.float64) * 0.4 + 0.3, draw(x0)
        loss = (net(noisy(x0, noise, level), level) - target(predicts, x0, noise, level)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    x0, level = images.repeat(32, 1, 1, 1), 0.5
    x_t = noisy(x0, draw(x0), level)
    answers = {
        "network": NetworkDenoiser(model(net, item=(1, 8, 8)))(x_t, level),
        "mean": images.mean(0),
        "wiener": Gaussian.fit(images.numpy(), scale=Scale())(x_t, level),
    }
    error = {name: (answer - x0).square().mean().item() for name, answer in answers.items()}
    assert error["network"] < min(error["mean"], error["wiener"]), error
