"""Frames of tokens: what the network sees, what is drawn, and what does not depend on the others of a batch."""

import numpy as np
import pytest
import torch

from lemtools.nets import build
from lemtools.nets.draw import draw, likely
from lemtools.nets.frames import ROWS, Frames
from lemtools.nets.model import Model
from lemtools.rng import generators
from lemtools.signal import LemError

RECORD = {"net": "frames", "vocabulary": 7, "places": 6, "context": 2, "depth": 2, "width": 16, "heads": 2}


def made(**more):
    """A network with weights that say something."""
    torch.manual_seed(0)
    net = build(RECORD | more).eval()
    torch.nn.init.normal_(net.head.weight, std=0.5)
    return net


def frames(**more):
    return Frames(Model(made(**more), {"recipe": "frames"}))


def tokens(rows, context=2, seed=0):
    return np.random.default_rng(seed).integers(0, 7, (rows, context, 6)).astype(np.int32)


def test_an_untrained_network_gives_every_token_the_same_probability():
    net = build(RECORD)
    assert net(torch.from_numpy(tokens(3))).abs().max() == 0
    nats, likeliest = net.nats(torch.from_numpy(tokens(3, 3)))
    assert nats.shape == likeliest.shape == (3, 6)
    torch.testing.assert_close(nats, torch.full((3, 6), float(np.log(7))))


@pytest.mark.parametrize("context", [1, 2, 3])
def test_every_place_of_every_frame_is_seen_at_every_place(context):
    net = made(context=context)
    one = torch.from_numpy(tokens(1, context))
    said = net(one)
    for c in range(context):
        for p in range(6):
            other = one.clone()
            other[0, c, p] = (other[0, c, p] + 1) % 7
            moved = (net(other) - said).abs().amax(2)[0]
            assert (moved > 1e-4).all(), (c, p, moved)


def test_nats_are_those_of_the_frame_that_follows():
    net, x = made().requires_grad_(False), torch.from_numpy(tokens(4, 3)).long()
    nats, likeliest = net.nats(x)
    logits = net(x[:, :2])
    for n in range(4):
        for p in range(6):
            want = -torch.log_softmax(logits[n, p].double(), 0)[x[n, 2, p]]
            assert abs(float(nats[n, p]) - float(want)) < 1e-5
    assert torch.equal(likeliest, logits.argmax(2))


def test_a_row_does_not_depend_on_the_others():
    whole, x = frames(), tokens(ROWS + 5)
    every = whole.logits(x)
    for row in (0, 3, ROWS, ROWS + 4):
        np.testing.assert_allclose(whole.logits(x[row : row + 1])[0], every[row], atol=1e-5)
    drawn = whole.sample(x, generators(3, np.arange(len(x)), 9, "frames"))
    assert drawn.shape == (ROWS + 5, 6) and drawn.dtype == np.int32
    some = [2, ROWS + 1, 7]
    assert np.array_equal(whole.sample(x[some], generators(3, some, 9, "frames")), drawn[some])
    assert not np.array_equal(whole.sample(x, generators(3, np.arange(len(x)), 10, "frames")), drawn)


def test_the_same_kind_of_array_comes_back():
    whole, x = frames(), tokens(2)
    assert isinstance(whole.logits(x), np.ndarray) and whole.logits(x).dtype == np.float32
    tensor = whole.sample(torch.from_numpy(x), generators(0, [0, 1], 0, "frames"))
    assert isinstance(tensor, torch.Tensor) and tensor.dtype == torch.int32
    assert whole.logits(x[:0]).shape == (0, 6, 7) and whole.sample(x[:0], []).shape == (0, 6)


def test_what_is_no_context_is_refused():
    whole = frames()
    with pytest.raises(LemError, match=r"^frames of shape \[2, 3, 6\] .*expected tokens \[R, 2, 6\]"):
        whole.logits(tokens(2, 3))
    with pytest.raises(LemError, match="expected tokens"):
        whole.logits(tokens(2).astype(np.float32))
    for bad in (-1, 7):
        x = tokens(2)
        x[1, 0, 3] = bad
        with pytest.raises(LemError, match=f"^frames: token {bad}; the network knows 0 to 6"):
            whole.logits(x)
    net = build({"net": "lm", "vocabulary": 8, "depth": 1, "width": 8, "heads": 1, "context": 4})
    with pytest.raises(LemError, match="^a model of lm, which makes no frames"):
        Frames(Model(net, {"recipe": "lm"}))


# draws


def test_draws_are_as_frequent_as_they_are_likely():
    logits = torch.tensor([2.0, 0.0, -1.0, 0.5, -30.0])
    for temperature, top in ((1.0, None), (0.5, None), (2.0, 3)):
        kept = (logits / temperature).double()
        if top:
            kept[kept < kept.sort(descending=True).values[top - 1]] = -torch.inf
        want = (kept.exp() / kept.exp().sum()).numpy()
        np.testing.assert_allclose(likely(logits, temperature, top).numpy(), want, atol=1e-12)
        many = draw(logits.expand(4, 5000, 5), generators(1, range(4), 0, "draw"), temperature, top)
        assert many.shape == (4, 5000)
        share = np.bincount(many.ravel(), minlength=5) / many.size
        error = np.sqrt(want * (1 - want) / many.size)
        assert (np.abs(share - want) <= 4 * error + 1e-12).all(), (share, want)


def test_a_draw_is_where_the_cumulative_probability_exceeds_the_number():
    class Given:
        def __init__(self, *numbers):
            self.numbers = numbers

        def random(self, shape):
            return np.array(self.numbers).reshape(shape)

    logits = torch.log(torch.tensor([0.0, 0.25, 0.0, 0.5, 0.25, 0.0])).expand(1, 5, 6)
    numbers = (0.0, 0.2499, 0.25, 0.7501, np.nextafter(1, 0))
    assert draw(logits, [Given(*numbers)]).tolist() == [[1, 1, 3, 4, 4]]


def test_at_temperature_0_the_first_of_the_likeliest_and_no_number_is_drawn():
    logits = torch.tensor([[0.0, 3.0, 3.0, 1.0]])
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert draw(logits, [rng], 0).tolist() == [1]
    assert rng.bit_generator.state == before
    assert np.count_nonzero(likely(torch.zeros(4), top=2)) == 2, "and no more than these, where several are alike"
