"""The mixture of logistics and the transformer over places: exact probabilities, what each step may see, sampling."""

import json
import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lemtools.denoise.contract import Scale
from lemtools.fragment.evidence import evidence
from lemtools.nets import build
from lemtools.nets.condition import Condition
from lemtools.nets.mixture import Grid, Mixture, log_mass, quantile
from lemtools.nets.transformer import Transformer
from lemtools.rng import generator
from lemtools.signal import Signal

INF = math.inf


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny(item=(1, 4, 4), sharp=6.0, **keywords) -> Transformer:
    """A small network whose answers differ from place to place: its head is scaled up."""
    torch.manual_seed(0)
    net = Transformer(item, **{"width": 16, "depth": 2, "heads": 2, "mixtures": 3, **keywords})
    with torch.no_grad():
        net.head[-1].weight *= sharp
    return net


def fragment(x: torch.Tensor, observed: torch.Tensor, bits: int = 0, levels: int = 256) -> Condition:
    """Condition of images x on the grid of `levels`: exact where observed, or known to 2^bits equal bins."""
    observed = observed.expand_as(x)
    low = high = x
    known = torch.ones_like(x)
    if bits:
        size, top = levels >> bits, (levels - 1) / 2
        first = ((x * top + top).round() / size).floor() * size
        low, high, known = first / top - 1, (first + size - 1) / top - 1, torch.full_like(x, bits / 8)
    value = (low + high) / 2
    return Condition(
        torch.where(observed, value, 0),
        torch.where(observed, known, 0),
        torch.where(observed, low, -INF),
        torch.where(observed, high, INF),
        torch.zeros(len(x)),
    )


def some(n=4, item=(1, 4, 4), levels=256, seed=0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, levels, (n, *item), generator=draw) * (2 / (levels - 1)) - 1


def generators(n, seed=0):
    return [generator(seed, i, 0, "test") for i in range(n)]


def mixed(n=6, item=(1, 4, 4)):
    """Images and a condition with exact, quantised and lost pixels, another number of each in every item."""
    x = some(n, item)
    draw = torch.rand((n, 1, *item[1:]), generator=torch.Generator().manual_seed(1))
    share = torch.linspace(0.1, 1.0, n)[:, None, None, None]
    exact, coarse = fragment(x, draw < share / 2), fragment(x, draw < share, bits=2)
    first = (draw < share / 2).expand_as(x)
    fields = ("value", "known", "low", "high")
    return x, Condition(*(torch.where(first, getattr(exact, f), getattr(coarse, f)) for f in fields), torch.zeros(n))


# the mixture


@pytest.mark.parametrize("size", [1.0, 10.0, 100.0])  # 100: all at their limits, weights of e^-200
@pytest.mark.parametrize("first, last", [(0, 255), (64, 127), (0, 31), (224, 255), (40, 41)])
def test_discretised_mixture_sums_to_one_over_the_interval(size, first, last):
    raw = (size * torch.randn(50, 30, generator=torch.Generator().manual_seed(0))).requires_grad_()
    mixture = Mixture(raw, 1, Grid(256))
    levels = torch.arange(first, last + 1) - 127.5
    x = levels[:, None, None].expand(-1, 50, 1)
    ends = (torch.full_like(x, end - 127.5) for end in (first, last))
    log_p = mixture.log_prob(x, *ends)[..., 0]
    assert log_p.double().logsumexp(0).abs().max() < (2e-3 if size == 100 else 2e-4)
    log_p.sum().backward()
    assert torch.isfinite(raw.grad).all()


def test_discretised_mixture_matches_the_definition_in_float64():
    """sum_k pi_k (sigmoid(b) - sigmoid(a)), with R, G | R and B | R, G as in PixelCNN++, and its ratio over the bin."""
    raw = 2 * torch.randn(1, Mixture.count(3, 4), generator=torch.Generator().manual_seed(2))
    mixture, grid = Mixture(raw, 3, Grid(256)), Grid(256)
    x = torch.tensor([[3.0, 200, 255]]) - 127.5
    low, high = torch.tensor([[0.0, 192, 0]]) - 127.5, torch.tensor([[63.0, 255, 255]]) - 127.5
    parts = (mixture.log_weights.exp(), mixture.means, mixture.log_scales.exp(), mixture.links)
    pi, m, s, link = (t[0].double() for t in parts)
    v = x[0].double()
    means = [m[0], m[1] + link[0] * v[0], m[2] + link[1] * v[0] + link[2] * v[1]]

    def mass(c, a, b):
        upper = 1.0 if b >= 127.5 else torch.sigmoid((b + 0.5 - means[c]) / s[c])
        return upper - (0.0 if a <= -127.5 else torch.sigmoid((a - 0.5 - means[c]) / s[c]))

    want, weights = [], pi
    for c in range(3):
        seen = weights * mass(c, v[c], v[c])
        want.append(torch.log(seen.sum() / (weights * mass(c, low[0, c].double(), high[0, c].double())).sum()))
        weights = seen
    torch.testing.assert_close(mixture.log_prob(x, low, high)[0].double(), torch.stack(want), atol=1e-4, rtol=1e-4)
    free = [torch.full_like(x, end) for end in (-127.5, 127.5)]
    assert mixture.log_prob(x, *free).sum().item() == pytest.approx(math.log(weights.sum()), abs=2e-4)
    assert grid.unit == 127.5


def test_channels_sum_to_one_over_all_completions():
    grid = Grid(5)
    raw = 3 * torch.randn(1, Mixture.count(3, 4), generator=torch.Generator().manual_seed(3))
    mixture = Mixture(raw, 3, grid)
    for ends in ([(-2, 2), (-2, 2), (-2, 2)], [(-1, 1), (1, 1), (-2, 0)]):
        ranges = [torch.arange(a, b + 1.0) for a, b in ends]
        x = torch.cartesian_prod(*ranges)[:, None]
        low, high = (torch.tensor([e[i] for e in ends], dtype=torch.float32).expand_as(x) for i in (0, 1))
        assert mixture.log_prob(x, low, high).sum(-1).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_continuous_density_integrates_to_one_and_exact_values_cost_nothing():
    raw = torch.randn(1, 9, generator=torch.Generator().manual_seed(4))
    mixture, x, dx = Mixture(raw, 1, Grid(0)), torch.linspace(-60, 60, 240001)[:, None, None], 120 / 240000
    for low, high in ((-INF, INF), (-0.5, 0.25), (1.0, INF)):
        inside = x[(x > low) & (x < high)][:, None, None]
        density = mixture.log_prob(inside, torch.full_like(inside, low), torch.full_like(inside, high)).exp()
        assert (density.sum() * dx).item() == pytest.approx(1, abs=2e-3)
    assert mixture.log_prob(x[:1], x[:1], x[:1]).item() == 0


def test_log_mass_is_right_far_in_the_tails_and_its_gradient_is_finite():
    low = torch.tensor([-INF, -3.5, 900.0, -901.0, 50.0, -INF, 2.0])
    high = torch.tensor([-9.5, -2.5, 901.0, -900.0, INF, INF, 2.0001])
    mean, log_scale = torch.zeros(7, requires_grad=True), torch.zeros(7, requires_grad=True)
    got = log_mass(low, high, mean, log_scale)
    a, b = low.double(), high.double()
    far = -a + torch.log1p(-torch.exp(a - b)) - torch.log1p(torch.exp(-a)) - torch.log1p(torch.exp(-b))
    want = torch.where(a >= 0, far, torch.log(torch.sigmoid(b) - torch.sigmoid(a)))
    want[3] = want[2]
    torch.testing.assert_close(got.double(), want, atol=1e-5, rtol=2e-4)
    got.sum().backward()
    assert torch.isfinite(mean.grad).all() and torch.isfinite(log_scale.grad).all()


def test_quantile_inverts_the_truncated_distribution():
    u = torch.linspace(0.01, 0.99, 50)
    cases = ((-INF, INF, 0.3, 0.7), (1.0, 2.0, 0.0, 1.0), (-9.0, -8.0, 3.0, 0.5), (40.0, INF, 0.0, 1.0))
    for low, high, mean, scale in cases:
        low, high, mean, log_scale = (torch.tensor(v) for v in (low, high, mean, math.log(scale)))
        x = quantile(u, low, high, mean, log_scale)
        share = (log_mass(low, x, mean, log_scale) - log_mass(low, high, mean, log_scale)).exp()
        torch.testing.assert_close(share, u, atol=2e-4, rtol=0)


# what a step may see


@pytest.mark.parametrize("order", ["any", "raster"])
def test_causality(order):
    """The value of a place moves the log-probabilities of later places only; its own only through its own term."""
    net = tiny(order=order)
    x, condition = some(1), fragment(some(1), torch.zeros(1, 1, 4, 4, dtype=torch.bool))
    sequence = net.orders(generators(1))
    base = net.log_probs(x, condition, sequence)
    rank = sequence[0].argsort()
    for place in (0, 5, 15):
        other = x.clone()
        other.view(-1)[place] = -other.view(-1)[place] + 0.5 / 127.5
        moved = (net.log_probs(other, condition, sequence) - base)[0].abs() > 1e-6
        assert not moved[rank < rank[place]].any()
        assert (moved[place] and moved[rank > rank[place]].float().mean() > 0.5) or rank[place] == 15


def test_a_place_does_not_predict_itself():
    """Probabilities over all levels of one place sum to 1 with everything else fixed: no step sees its own answer."""
    net = tiny(levels=8)
    x = some(8, levels=8)[:1].repeat(8, 1, 1, 1)
    x[:, 0, 1, 2] = torch.arange(8) * 2 / 7 - 1
    sequence = net.orders(generators(1)).expand(8, -1)
    condition = fragment(x[:1].repeat(8, 1, 1, 1), torch.zeros(1, 1, 4, 4, dtype=torch.bool), levels=8)
    assert net.log_probs(x, condition, sequence)[:, 6].exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_only_any_order_sees_below_the_gap():
    x = some(1)
    other = x.clone()
    other[0, 0, 3] *= -1
    observed = torch.tensor([True, False, False, True])[:, None].expand(1, 1, 4, 4)
    order = torch.arange(16)[None]
    changes = {}
    for name in ("any", "raster"):
        net = tiny(order=name)
        one, two = (net.log_probs(v, fragment(v, observed), order)[0, 4:12] for v in (x, other))
        changes[name] = (one - two).abs().max().item()
    assert changes["any"] > 1e-3 and changes["raster"] < 1e-6


@pytest.mark.parametrize("order", ["any", "raster"])
def test_a_step_is_told_the_fragment_of_its_own_place(order):
    """How far a value is known changes the answer, its bin being the same."""
    net = tiny(order=order)
    x = some(1)
    condition = fragment(x, torch.ones(1, 1, 4, 4, dtype=torch.bool), bits=2)
    told = condition.each(torch.clone)
    last = net.places - 1
    told.known.view(-1)[last] = 0.9
    one, two = (net.log_probs(x, c, torch.arange(16)[None])[0] for c in (condition, told))
    assert (one - two)[last].abs() > 1e-5
    if order == "raster":  # and nothing before it hears of it
        assert (one - two)[:last].abs().max() < 1e-6


# probabilities


@pytest.mark.parametrize(
    "item, levels, order",
    [((1, 1, 2), 4, "any"), ((1, 1, 2), 4, "raster"), ((3, 1, 1), 3, "any"), ((2, 2, 1), 3, "any")],
)
def test_log_prob_sums_to_one_over_all_completions(item, levels, order):
    net = tiny(item, sharp=20, levels=levels, order=order)
    size = math.prod(item)
    grid = torch.linspace(-1, 1, levels)
    every = torch.cartesian_prod(*[grid] * size).reshape(-1, *item)
    sequence = net.orders(generators(1, seed=5)).expand(len(every), -1)
    nothing = torch.zeros(1, *item, dtype=torch.bool)
    one = nothing.clone()
    one.view(-1)[-1] = True  # of several channels only the last one
    for observed in (nothing, one):
        condition = fragment(every[4:5].repeat(len(every), 1, 1, 1), observed)
        fits = ((every >= condition.low - 1e-6) & (every <= condition.high + 1e-6)).flatten(1).all(1)
        p = net.log_prob(every, condition, sequence)[fits].exp()
        assert p.sum().item() == pytest.approx(1, abs=1e-5)
        assert len(p) == levels ** (size - observed.sum().item()) and p.std() > 1e-3
    if levels == 4:
        condition = fragment(every[6:7].repeat(16, 1, 1, 1), ~nothing, bits=1, levels=4)
        fits = ((every >= condition.low - 1e-6) & (every <= condition.high + 1e-6)).flatten(1).all(1)
        assert fits.sum() == 4
        assert net.log_prob(every, condition, sequence)[fits].exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("order", ["any", "raster"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_equals_its_items(order, channels):
    net = tiny((channels, 4, 4), order=order)
    x, condition = mixed(item=(channels, 4, 4))
    sequence = net.orders(generators(6))
    whole = net.log_prob(x, condition, sequence)
    items = [net.log_prob(x[i : i + 1], condition.each(lambda t: t[i : i + 1]), sequence[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(whole, torch.cat(items), atol=1e-4, rtol=1e-5)
    count = (condition.low != condition.high).flatten(1).sum(1)
    assert torch.equal(net.unknown(condition), count)
    observed = condition.observed[:, 0].flatten(1).sum(1)
    assert torch.equal(net.tokens(condition), observed + count // channels if order == "any" else torch.full((6,), 16))


def test_no_item_is_run_at_the_length_of_another():
    """The operations of a batch are those of its items one by one: the short ones are not padded to the long ones."""
    net, n = tiny((1, 16, 16)), 6
    x, half = some(n, (1, 16, 16)), torch.arange(256).reshape(1, 1, 16, 16) % 2 == 0
    exact, coarse = fragment(x, half), fragment(x, half | True, bits=2)
    long = torch.arange(n)[:, None, None, None] % 3 == 0  # 512 tokens of every third item, 256 of the others
    fields = ("value", "known", "low", "high")
    condition = Condition(*(torch.where(long, getattr(coarse, f), getattr(exact, f)) for f in fields), torch.zeros(n))
    assert net.tokens(condition).tolist() == net.lengths(net.tokens(condition)).tolist() == [512, 256, 256] * 2
    order, costs = net.orders(generators(n)), []
    for rows in (torch.arange(n), *torch.arange(n)[:, None]):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            log_p = net.log_prob(x[rows], condition.each(lambda t: t[rows]), order[rows])
        costs.append(counter.get_total_flops())
    assert costs[0] == sum(costs[1:]) and costs[1] > 1.9 * costs[2] and torch.isfinite(log_p).all()


@pytest.mark.parametrize("places", [5, 64, 784, 1000])
def test_lengths_are_few_and_none_is_short(places):
    lengths = tiny((places,), kind="embedding").lengths(torch.arange(places, 2 * places + 1))
    padding = lengths - torch.arange(places, 2 * places + 1)
    assert len(lengths.unique()) <= 9 and padding.min() >= 0 and padding.max() < max(32, -(-places // 8))
    assert padding[-1] == 0 and (places == 5 or padding[0] == 0)


def test_exact_fragments_cost_nothing_and_noisy_ones_are_not_taken_for_truth():
    net, x = tiny(), some(2)
    condition = fragment(x, torch.ones(1, 1, 4, 4, dtype=torch.bool))
    order = net.orders(generators(2))
    assert net.log_prob(x, condition, order).tolist() == [0, 0]
    assert torch.equal(net.sample(condition, order, generators(2)), x)
    condition.sigma[1] = 0.1
    assert net.unknown(condition).tolist() == [0, 16]
    log_p = net.log_prob(x, condition, order)
    assert log_p[0] == 0 and log_p[1] < -16


def test_embeddings_have_a_density():
    """Truncated to bins it is the density over their mass; its integral over one free dimension is 1."""
    net = tiny((6,), kind="embedding", sharp=2)
    x = torch.linspace(-12, 12, 1201)[:, None].repeat(1, 6) * torch.tensor([0.0, 0, 1, 0, 0, 0]) + 0.3 * torch.arange(6)
    low, high = x.clone(), x.clone()
    low[:, 2], high[:, 2] = -INF, INF
    condition = Condition(torch.where(low == high, x, 0), (low == high).float(), low, high, torch.zeros(len(x)))
    order = net.orders(generators(1)).expand(len(x), -1)
    log_p = net.log_prob(x, condition, order)
    assert (log_p.exp().sum() * 24 / 1200).item() == pytest.approx(1, abs=1e-2)
    drawn = net.sample(condition, order, generators(len(x)))
    assert torch.equal(drawn[:, :2], x[:, :2]) and drawn[:, 2].std() > 0.1


# sampling


@pytest.mark.parametrize("order", ["any", "raster"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sample_with_its_cache_equals_the_uncached_forward(order, channels):
    """Place by place the longest way: the network from the start on all known so far, then the same uniforms."""
    net = tiny((channels, 4, 4), order=order)
    _, condition = mixed(item=(channels, 4, 4))
    sequence = net.orders(generators(6))
    got = net.sample(condition, sequence, generators(6, seed=9))
    for i, draw in enumerate(generators(6, seed=9)):
        uniforms = torch.from_numpy(draw.random((16, channels, 2), np.float32))
        one = condition.each(lambda t: t[i : i + 1])
        here = net._known(one)
        now, values = net._ordering(here, sequence[i : i + 1]), here.value.clone()
        for step in range(int(now.count[0])):
            place = int(now.places[0, 16 + step])
            index = torch.arange(int(now.before[0]) + step + 1)[None]
            with torch.no_grad():
                mixture = net._mixture(net._run(here, now, values, index)[:, -1])
            drawn = mixture.sample(here.low[:, place], here.high[:, place], uniforms[None, place]) / net.grid.unit
            values[:, place] = torch.where(here.free[:, place], drawn, values[:, place])
        torch.testing.assert_close(got[i], one.hold(net._by_item(values))[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 0.0])
def test_what_is_known_holds_and_the_batch_changes_nothing(temperature):
    net = tiny((3, 4, 4))
    x, condition = mixed(item=(3, 4, 4))
    sequence = net.orders(generators(6))
    drawn = net.sample(condition, sequence, generators(6, seed=3), temperature)
    exact = condition.low == condition.high
    assert torch.equal(drawn[exact], x[exact]) and exact.any() and not exact.all()
    assert ((drawn >= condition.low) & (drawn <= condition.high)).all()
    level = drawn * 127.5 + 127.5
    assert (level - level.round()).abs().max() < 1e-3
    alone = net.sample(condition.each(lambda t: t[2:3]), sequence[2:3], generators(6, seed=3)[2:3], temperature)
    torch.testing.assert_close(drawn[2:3], alone, atol=1e-5, rtol=0)
    again = net.sample(condition, sequence, generators(6, seed=4), temperature)
    assert (not torch.equal(drawn, again)) or temperature == 0


@pytest.mark.parametrize("item, bits", [((1, 1, 2), 0), ((1, 1, 2), 1), ((2, 1, 1), 0), ((2, 1, 1), 1)])
def test_sample_frequencies_are_the_probabilities(item, bits):
    """Chi-square of 8000 draws over all completions of two values, below the 99.9 % point (of 15, or of 3 degrees)."""
    net, n = tiny(item, sharp=12, levels=4), 8000
    grid = torch.linspace(-1, 1, 4)
    every = torch.cartesian_prod(grid, grid).reshape(-1, *item)
    observed = torch.full((1, *item), bits > 0)

    def condition(count):
        return fragment(every[7:8].expand(count, *item), observed, bits=bits, levels=4)

    order = torch.arange(net.places).flip(0)[None]
    log_p = net.log_prob(every, condition(16), order.expand(16, -1)).detach()
    fits = ((every >= condition(16).low - 1e-6) & (every <= condition(16).high + 1e-6)).flatten(1).all(1)
    drawn = net.sample(condition(n), order.expand(n, -1), generators(n))
    code = ((drawn.flatten(1) + 1) * 1.5).round().long() @ torch.tensor([4, 1])
    counts = torch.bincount(code, minlength=16)
    assert counts[~fits].sum() == 0
    expected = n * log_p[fits].exp()
    assert expected.sum().item() == pytest.approx(n, rel=1e-4) and expected.min() > 5
    assert ((counts[fits] - expected) ** 2 / expected).sum() < (37.7 if fits.sum() == 16 else 16.3)


def test_temperature_draws_nearer_to_the_mode():
    mixture = Mixture(torch.zeros(4000, 3), 1, Grid(0))
    uniforms = torch.rand(4000, 1, 2, generator=torch.Generator().manual_seed(0))
    ends = torch.full((4000, 1), -INF), torch.full((4000, 1), INF)
    spread = [mixture.sample(*ends, uniforms, t).std().item() for t in (1.0, 0.5, 0.0)]
    assert spread[0] == pytest.approx(math.pi / math.sqrt(3), rel=0.05)  # a logistic of scale 1
    assert spread[1] == pytest.approx(spread[0] / 2, rel=0.01) and spread[2] < 0.01


# training


def test_gradients_reach_every_parameter():
    net = tiny((3, 4, 4), sharp=1)
    x, condition = mixed(item=(3, 4, 4))
    net(x, condition, net.orders(generators(6))).sum().backward()
    for name, parameter in net.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().sum() > 0, name


def test_one_batch_is_learned():
    net = tiny(sharp=1, width=32)
    x = some(3, levels=2)
    condition = fragment(x, torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.4)
    order, optimiser = net.orders(generators(3)), torch.optim.Adam(net.parameters(), 3e-3)
    unknown, losses = net.unknown(condition), []
    for _ in range(60):
        loss = -(net(x, condition, order) / unknown).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 1 and losses[-1] < 0.1, losses


@pytest.mark.parametrize(
    "net", [{"item": [3, 4, 4]}, {"item": [6], "kind": "embedding"}, {"item": [2, 5], "kind": "embedding"}]
)
def test_bf16_autocast_and_the_record(net):
    """Built from a record that JSON holds; under autocast the probabilities stay float32 and near those of float32."""
    config = json.loads(json.dumps({"net": "transformer", "width": 16, "depth": 2, "heads": 2, "mixtures": 3, **net}))
    torch.manual_seed(0)
    net = build(config)
    assert net.family == "sequence"
    x = some(3, net.item)
    condition = fragment(x, torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5)
    order = net.orders(generators(3))
    want = net.log_prob(x, condition, order)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = net.log_prob(x, condition, order)
        drawn = net.sample(condition, order, generators(3))
    assert got.dtype == torch.float32 and drawn.dtype == torch.float32
    torch.testing.assert_close(got, want, rtol=0.02, atol=0.1)


def test_fragments_of_the_tool_are_understood():
    """From packed codes: the levels of a bin are counted right, 2 of 8 bits leave 64 of 256 levels."""
    from lemtools.fragment import fragment as break_it

    image = Signal("image", np.random.default_rng(0).integers(0, 256, (2, 1, 4, 4), dtype=np.uint8))
    (broken,) = break_it([image], [{"op": "bits", "bits": 2}], seed=0)
    condition = Condition.of(evidence(broken), Scale.image(), "image")
    known = tiny()._known(condition)
    assert ((known.high - known.low) == 63).all() and known.free.all()
    x = torch.from_numpy(Scale.image().encode(image.data))
    level = Grid(256).snap(tiny()._by_place(x))
    assert ((level >= known.low) & (level <= known.high)).all()


def test_wrong_use_is_told():
    with pytest.raises(ValueError, match="kind 'audio'"):
        Transformer([1, 4, 4], kind="audio")
    with pytest.raises(ValueError, match="'any' or 'raster'"):
        Transformer([1, 4, 4], order="spiral")
    with pytest.raises(ValueError, match="levels"):
        Transformer([1, 4, 4], levels=1)
    with pytest.raises(ValueError, match="multiple of 2 x 3 heads"):
        Transformer([1, 4, 4], heads=3)
    x, condition = mixed()
    with pytest.raises(ValueError, match="takes an order"):
        tiny().log_prob(x, condition)
    with pytest.raises(ValueError, match="permutation"):
        tiny().log_prob(x, condition, torch.arange(16)[None])
