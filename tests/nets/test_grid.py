"""Networks for states: one spatial axis or two by one code, on a torus or not."""

import numpy as np
import pytest
import torch
from torch import nn

from lemtools.nets import build
from lemtools.nets.condition import Condition
from lemtools.nets.grid import Circular, conv
from lemtools.signal import LemError

LEVEL = torch.tensor([0.2, 0.9], dtype=torch.float64)
SMALL = {
    "resnet": {"channels": 2, "width": 8, "blocks": 2},
    "unet": {"channels": 2, "widths": [4, 8, 12]},
    "conv-step": {"channels": 2, "width": 8, "blocks": 2, "side": 5, "dilations": [1, 3]},
}
DENOISERS = ("resnet", "unet")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def net(name, seed=0, **more):
    """A network in float64 whose last layer says something."""
    torch.manual_seed(seed)
    made = build({"net": name, **SMALL[name], **more}).double()
    for p in made.parameters():
        if not p.any():
            nn.init.normal_(p, std=0.1)
    return made


def normal(*shape, seed=1, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def called(name, made, x):
    return made(x, LEVEL[: len(x)]) if name in DENOISERS else made(x)


@pytest.mark.parametrize("padding, mode", [("zeros", "zeros"), ("circular", "circular")])
@pytest.mark.parametrize("side, dilation, length", [(3, 1, 9), (5, 1, 9), (5, 3, 9), (5, 4, 8), (3, 1, 1)])
def test_a_convolution_over_one_axis_is_torchs_own(padding, mode, side, dilation, length):
    ours = conv(2, 3, side, axes=1, padding=padding, dilation=dilation)
    theirs = nn.Conv1d(2, 3, side, padding=side // 2 * dilation, dilation=dilation, padding_mode=mode)
    theirs.weight, theirs.bias = nn.Parameter(ours.weight[:, :, 0]), ours.bias
    x = normal(4, 2, length, dtype=torch.float32)
    torch.testing.assert_close(ours(x[:, :, None])[:, :, 0], theirs(x))


def test_wider_than_the_torus_goes_round_it_again():
    """(torch's own refuses that)"""
    ours, x = conv(1, 1, 3, axes=1, padding="circular", dilation=7), normal(1, 1, 3, dtype=torch.float32)
    left, middle, right = ours.weight[0, 0, 0]
    wanted = left * x.roll(7, -1) + middle * x + right * x.roll(-7, -1) + ours.bias
    torch.testing.assert_close(ours(x[:, :, None])[:, :, 0], wanted)


@pytest.mark.parametrize("side, dilation", [(3, 1), (5, 2)])
@pytest.mark.parametrize("padding", ["zeros,circular", "circular,zeros"])
def test_each_axis_has_its_own_border(padding, side, dilation):
    """Against the definition: a window around every place, wrapped along one axis, zeros beyond the other."""
    ours, x = conv(2, 3, side, padding=padding, dilation=dilation).double(), normal(1, 2, 6, 9)
    rows, columns = (word == "circular" for word in padding.split(","))
    wanted = torch.zeros(3, 6, 9, dtype=torch.float64) + ours.bias.detach()[:, None, None]
    for i in range(6):
        for j in range(9):
            for p in range(side):
                for q in range(side):
                    k, m = i + (p - side // 2) * dilation, j + (q - side // 2) * dilation
                    if (rows or 0 <= k < 6) and (columns or 0 <= m < 9):
                        wanted[:, i, j] += ours.weight.detach()[:, :, p, q] @ x[0, :, k % 6, m % 9]
    assert isinstance(ours, Circular)
    torch.testing.assert_close(ours(x)[0].detach(), wanted)


@pytest.mark.parametrize("name, shift", [("resnet", 3), ("unet", 4), ("conv-step", 3)])
@pytest.mark.parametrize("padding", ["zeros,circular", "circular,zeros"])
def test_networks_are_equivariant_along_the_axis_that_goes_round_alone(name, shift, padding):
    made, x = net(name, padding=padding, axes=2), normal(2, 2, 12, 16)
    error = [(called(name, made, x).roll(shift, k) - called(name, made, x.roll(shift, k))).abs() for k in (2, 3)]
    round_, zero = reversed(error) if padding == "zeros,circular" else error
    assert round_.max() < 1e-13 and zero.max() > 1e-3


def test_a_unet_takes_any_size_along_the_axis_that_ends():
    x = normal(2, 2, 9, 8)
    assert net("unet", padding="zeros,circular")(x, LEVEL).shape == x.shape
    with pytest.raises(LemError, match="^9 rows: this network's circular padding needs multiples of 4$"):
        net("unet", padding="circular,zeros")(x, LEVEL)
    with pytest.raises(LemError, match="^9 columns: this network's circular padding needs multiples of 4$"):
        net("unet", padding="zeros,circular")(x.mT, LEVEL)


def test_states_along_one_axis_have_one_border():
    with pytest.raises(LemError, match="^padding zeros,circular is of rows and columns; states .* take circular$"):
        net("conv-step", axes=1, padding="zeros,circular")
    with pytest.raises(LemError, match="one of zeros, circular, zeros,circular, circular,zeros, not 'reflect'"):
        conv(1, 1, padding="reflect")


@pytest.mark.parametrize("name", DENOISERS)
@pytest.mark.parametrize("coordinates, planes", [("frequency", [2]), ("time", [3]), ("both", [2, 3])])
def test_coordinates_tell_the_place_along_an_axis(name, coordinates, planes):
    """The network with planes is the one without, shown the planes as channels of its input."""
    made = net(name, coordinates=coordinates, padding="circular")
    x, places = normal(2, 2, 8, 12), [torch.linspace(-1, 1, 8)[:, None], torch.linspace(-1, 1, 12)]
    shown = torch.cat([x, *(places[k - 2].expand(2, 1, 8, 12) for k in planes)], 1).double()
    torch.testing.assert_close(made.inputs(x, None, None), shown)
    assert made.planes == 2 + len(planes) and made(x, LEVEL).shape == x.shape
    shifted = [(made(x, LEVEL).roll(4, k) - made(x.roll(4, k), LEVEL)).abs().max() for k in (2, 3)]
    assert [k for k, error in zip((2, 3), shifted) if error > 1e-4] == planes and min(shifted + [0]) < 1e-13


def test_a_circular_axis_stays_equivariant_where_the_other_one_is_told():
    made, x = net("resnet", padding="zeros,circular", coordinates="frequency"), normal(2, 2, 9, 12)
    assert (made(x, LEVEL).roll(5, 3) - made(x.roll(5, 3), LEVEL)).abs().max() < 1e-13
    assert made.receptive_field == net("resnet").receptive_field == 9


def test_coordinates_that_there_are_not():
    with pytest.raises(LemError, match="one of none, frequency, time, both, not 'pitch'"):
        net("resnet", coordinates="pitch")
    with pytest.raises(LemError, match="^coordinates both are of rows; states along one axis take time$"):
        net("resnet", coordinates="both", axes=1)
    torch.testing.assert_close(
        net("resnet", coordinates="time", axes=1).inputs(normal(1, 2, 5), None, None)[0, 2, 0],
        torch.linspace(-1, 1, 5, dtype=torch.float64),
    )


@pytest.mark.parametrize("name", SMALL)
def test_one_axis_is_two_where_nothing_changes_along_the_other(name):
    """A plane of equal rows under windows whose rows sum up to those of the network over one axis."""
    one, two = net(name, axes=1, padding="circular"), net(name, axes=2, padding="circular")
    for p, q in zip(one.parameters(), two.parameters()):
        if p.shape == q.shape:
            q.data = p.data
        elif "unet" in name and q.shape[-1] == 2:  # up to a finer grid: each row of it comes of one
            q.data = p.data.expand_as(q).clone()
        else:
            q.data = p.data.expand_as(q).clone() / q.shape[-2]
    x = normal(2, 2, 12)
    found = called(name, two, x[:, :, None].expand(-1, -1, 8, -1))
    torch.testing.assert_close(found, called(name, one, x)[:, :, None].expand_as(found))


@pytest.mark.parametrize("name, shift", [("resnet", 5), ("unet", 4), ("conv-step", 5)])
def test_shifts_on_a_circle(name, shift):
    x, error = normal(2, 2, 16), {}
    for padding in ("circular", "zeros"):
        made = net(name, axes=1, padding=padding)
        error[padding] = (called(name, made, x).roll(shift, 2) - called(name, made, x.roll(shift, 2))).abs().max()
    assert error["circular"] < 1e-13 and error["zeros"] > 1e-3


@pytest.mark.parametrize("axes, shape", [(1, (45,)), (2, (45, 45))])
def test_reach_of_an_emulator(axes, shape):
    made = net("conv-step", axes=axes, padding="circular", blocks=2)
    for module in made.modules():  # positive weights: no path is cut by a ReLU, none cancels another
        if isinstance(module, nn.Conv2d):
            module.weight.data.abs_()
            module.bias.data.abs_()
    x = normal(1, 2, *shape).abs().requires_grad_()
    made(x)[(0, 0, *[20] * axes)].backward()
    near = (torch.arange(45) - 20).abs() <= made.reach
    assert made.reach == 20 and not near.all()
    seen = x.grad[0, 0] != 0
    assert torch.equal(seen, near if axes == 1 else near[:, None] & near)


def test_sides_that_strides_do_not_divide():
    x = normal(2, 2, 9)
    padded, made = torch.cat([x, torch.zeros(2, 2, 3)], 2), net("unet", axes=1)
    torch.testing.assert_close(made(x, LEVEL), made(padded, LEVEL)[..., :9])
    with pytest.raises(LemError, match="^9 places: this network's circular padding needs multiples of 4$"):
        net("unet", axes=1, padding="circular")(x, LEVEL)
    with pytest.raises(LemError, match="^9 x 8 px: this network's circular padding needs multiples of 4$"):
        net("unet", padding="circular")(normal(2, 2, 8, 9), LEVEL)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("axes, shape", [(1, (2, 8, 8)), (2, (2, 8)), (1, (3, 8))])
def test_states_of_another_shape_are_refused(name, axes, shape):
    with pytest.raises(ValueError, match=r"expected \[N, 2, (L|H, W)\]"):
        called(name, net(name, axes=axes), normal(2, *shape))
    with pytest.raises(ValueError, match="one axis or two, not 3"):
        net(name, axes=3)


@pytest.mark.parametrize("name", ["resnet", "unet", "flat"])
def test_networks_that_see_a_fragment(name):
    """Of a state that is exact here and lost there; nothing of what is lost comes through."""
    torch.manual_seed(0)
    value = normal(3, 2, 12, dtype=torch.float32)
    known = (torch.rand(3, 1, 12) < 0.5).float().expand_as(value)
    low, high = (torch.where(known > 0, value, end) for end in (torch.tensor(-torch.inf), torch.tensor(torch.inf)))
    condition = Condition(value * known, known, low, high, torch.zeros(3))
    assert condition.planes().shape == (3, 5, 12)
    if name == "flat":
        made = build({"net": name, "channels": 2, "width": 8, "blocks": 2, "axes": 1})
        first = made(condition)
        nn.init.normal_(made.leave.weight)
        found = made(condition)
        for answer in (first, found):
            assert answer.shape == value.shape and torch.equal(answer[known > 0], value[known > 0])
        assert (found - first).abs().max() > 0.1
        return
    made = build({"net": name, **SMALL[name], "axes": 1, "conditioned": True})
    x, level = normal(3, 2, 12, dtype=torch.float32), torch.full((3,), 0.5, dtype=torch.float64)
    assert made(x, level, condition).shape == value.shape
    other = condition.each(lambda part: part.roll(1, -1) if part.ndim == 3 else part)
    assert not torch.allclose(made(x, level, condition), made(x, level, other))


def test_weights_are_drawn_as_before():
    """The same seed makes the same network as it did before there was a choice of axes."""
    torch.manual_seed(0)
    made = build({"net": "flat", "channels": 1, "width": 4, "blocks": 1})
    torch.manual_seed(0)
    before = nn.Conv2d(5, 4, 3, padding=1)
    assert torch.equal(made.enter.weight, before.weight) and made.enter.padding == before.padding
    assert np.array_equal([tuple(c.dilation) for c in (made.blocks[0].first, made.leave)], [(1, 1), (1, 1)])
