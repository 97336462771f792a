"""The search for the best codes of a model's embedding, up-projection and head at each number of stored bits."""

import itertools
import math

import numpy as np
import pytest
import torch

from lemtools import codes
from lemtools.catalogue.embeddings import EMBEDDINGS
from lemtools.nets import build
from lemtools.nets.lm import LM
from lemtools.nets.model import Model
from lemtools.signal import LemError
from lemtools.train import storing, tables
from lemtools.train.corpus import Corpus
from lemtools.train.storing import Point, Way
from lemtools.vq.residual import RVQ

FEW = storing.ways(scalar=(1, 2, 4), trellis=(2,), stages=(1,))


def matrix(n=80, d=32, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) * np.exp(rng.standard_normal((n, 1)))).astype(np.float32)


def made(arm="full", head="untied", ratio=4, **more) -> Model:
    """A network whose weights all speak."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    row = EMBEDDINGS[arm]
    ratio, coding = (ratio if row.coded else 1), next(iter(row.learns))
    net = LM(80, 1, 32, 1, 8, embedding=arm, ratio=ratio, coding=coding, head=head, **more)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn_like(p))
    net.lengths[:] = 2
    return Model(net.eval(), {})


def text(n=12, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).integers(80, size=(n, 9)))


# ways


@pytest.mark.parametrize("bits", [1, 3, 8])
@pytest.mark.parametrize("quantizer", ["lloyd-max", "trellis"])
def test_bits_are_those_of_packed_codes_and_scales(quantizer, bits):
    if quantizer == "trellis" and bits > 4:
        return
    rows, (n, d) = matrix(), (80, 32)
    for columns, scales in ((False, n), (True, d)):
        values, size = storing.kept(rows, Way(quantizer, bits, columns))
        assert size == n * d * bits + 16 * scales and values.shape == (n, d)
    turned = storing.kept(np.ascontiguousarray(rows.T), Way(quantizer, bits))
    assert np.array_equal(turned[0].T, values)
    found, scale = tables.quantise(rows, quantizer, bits)
    assert len(codes.pack(found.reshape(-1), bits)) * 8 == n * d * bits
    assert np.array_equal(tables.restored(found, scale, quantizer, bits), storing.kept(rows, Way(quantizer, bits))[0])


def test_more_bits_come_nearer():
    rows = matrix()
    errors = [np.square(storing.kept(rows, Way("lloyd-max", bits))[0] - rows).mean() for bits in range(1, 9)]
    errors.append(np.square(storing.kept(rows, Way("float16"))[0] - rows).mean())
    assert all(b < 0.5 * a for a, b in itertools.pairwise(errors))


def test_rows_of_many_sizes_want_scales_of_rows_and_columns_those_of_columns():
    for rows, columns in ((matrix(), False), (np.ascontiguousarray(matrix(32, 80).T), True)):
        error = {c: np.square(storing.kept(rows, Way("lloyd-max", 3, c))[0] - rows).mean() for c in (False, True)}
        assert error[columns] < 0.7 * error[not columns]


def test_sums_of_codebooks_are_stored_in_the_smaller_of_two_forms():
    rows = matrix()
    values, size = storing.kept(rows, Way("rvq", 4, False, 2))
    assert size <= 80 * 2 * 4 + 16 * 2 * 16 * 32 and np.square(values - rows).mean() < np.square(rows).mean()
    flat = matrix()[:, :1] * np.ones((1, 32), np.float32)  # one direction: it takes little
    assert storing.kept(flat, Way("rvq", 4, False, 2))[1] == 80 * 2 * 4 + 16 * (1 * (32 + 32) + 32)
    assert storing.kept(rows, Way("rvq", 8, False, 2)) is None  # too few rows for 256 codes
    assert storing.kept(np.zeros((80, 4), np.float32), Way("rvq", 4, False, 2)) is None


@pytest.mark.parametrize("rank, form", [(32, "vectors"), (4, "directions")])
def test_numbers_of_codebooks_have_16_bits(rank, form):
    rows, way = matrix(80, rank) @ matrix(rank, 32, 1), Way("rvq", 4, False, 2)
    rvq = RVQ.fit(rows, stages=2, codes=16)
    basis, mean, books = (x.double().numpy() for x in (rvq.frame.basis, rvq.frame.mean, rvq.codebooks[0]))
    if form == "vectors":
        books, basis, mean = books @ basis + np.multiply.outer([1, 0], mean)[:, None], np.eye(32), 0
    books, basis, mean = (np.asarray(x, np.float16).astype(float) for x in (books, basis, mean))
    want = sum(book[code] for book, code in zip(books, rvq.encode(rows).T)) @ basis + mean
    values, size = storing.kept(rows, way)
    numbers = 2 * 16 * 32 if form == "vectors" else len(basis) * (2 * 16 + 32) + 32
    assert size == 80 * 2 * 4 + 16 * numbers and np.abs(values - want).max() < 1e-5 * np.abs(want).max()


def test_ways_by_name():
    assert [str(way) for way in storing.ways((3,), (2,), (4,))] == [
        "lloyd-max 3", "lloyd-max 3 by columns", "trellis 2", "trellis 2 by columns", "rvq 4 x 4", "rvq 4 x 8", "float16", "drawn"
    ]  # fmt: skip


# hulls, in numbers that anyone can check


def test_a_hull_is_that_of_all_points():
    """Of every point left out a mixture of two others is as good or better, by brute force."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        found = {i: (int(b), float(v)) for i, (b, v) in enumerate(zip(rng.integers(1, 50, 12), rng.random(12)))}
        line = storing.hull(found)
        xs, ys = [b for _, b, _ in line], [v for _, _, v in line]
        assert xs == sorted(set(xs)) and ys == sorted(ys, reverse=True)
        assert xs[0] == min(b for b, _ in found.values()) and ys[-1] == min(v for _, v in found.values())
        for bits, loss in found.values():
            assert loss >= np.interp(bits, xs, ys) - 1e-12


def test_choices_along_hulls_are_the_best_of_all_where_losses_add_up():
    rng = np.random.default_rng(1)
    found = {
        name: {f"{name}{i}": (int(b), float(v)) for i, (b, v) in enumerate(zip(rng.integers(1, 30, 6), rng.random(6)))}
        for name in "abc"
    }
    chosen = list(storing.along({name: storing.hull(ways) for name, ways in found.items()}))
    sums = [tuple(sum(found[n][w][k] for n, w in each.items()) for k in (0, 1)) for each in chosen]
    every = [
        tuple(map(sum, zip(*combination)))
        for combination in itertools.product(*(ways.values() for ways in found.values()))
    ]
    assert len(sums) > 3 and [b for b, _ in sums] == sorted(b for b, _ in sums)
    for bits, loss in sums:
        assert loss <= min(v for b, v in every if b <= bits) + 1e-12


def test_an_envelope_has_no_point_that_another_beats():
    """By the text that chooses: that of the other text, which would have another best, decides nothing."""
    found = [Point(b, v, -v, {}) for b, v in ((5, 2.0), (3, 3.0), (4, 3.5), (5, 1.5), (9, 1.5), (8, 1.4))]
    line = storing.envelope(found)
    assert [(p.bits, p.learnt) for p in line] == [(3, 3.0), (5, 1.5), (8, 1.4)]
    assert storing.within(found, 7).loss == -1.5
    assert storing.within(line, 7).bits == 5 and storing.within(line, 2) is None


def test_an_envelope_that_ends_at_an_end_of_the_search_says_so():
    low, middle, high = Point(3, 3.0, 3.0, {}, low=True), Point(5, 2.0, 2.0, {}), Point(8, 1.0, 1.0, {}, high=True)
    assert storing.ends([low, middle]) == "fewest bits, 3"
    assert storing.ends([middle, high]) == "most bits, 8"
    assert storing.ends([low, middle, high]) == "fewest bits, 3 and most bits, 8"
    assert storing.ends([middle]) == ""


# a model


def test_cost_is_bits_a_byte():
    model, windows = made(), text(40)
    nats = model.net.rate(windows).detach().double()
    assert storing.cost(model.net, windows) == pytest.approx(float(nats.sum()) / math.log(2) / (40 * 8 * 2))
    bits, sizes = storing.costs(model.net, windows)
    assert np.allclose(bits, nats.sum(1) / math.log(2)) and (sizes == 8 * 2).all()


ARMS = [
    ("full", "untied"),
    ("full", "tied"),
    ("learned", "untied"),
    ("learned", "tied"),
    ("random", "untied"),
    ("trellis", "untied"),
]


@pytest.mark.parametrize("arm, head", ARMS)
def test_every_point_is_the_loss_of_a_network_with_its_tensors_so_kept(arm, head):
    model, windows = made(arm, head), text()
    if EMBEDDINGS[arm].packed:
        tables.scaled(model.net.enter, torch.from_numpy(matrix()), torch.ones(80, dtype=torch.bool))
    before = {k: v.clone() for k, v in model.net.state_dict().items()}
    points = list(storing.search(model, text(6, 2), windows, FEW))
    after = model.net.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    names = {str(way): way for way in FEW}
    tensors = {"embedding": ["enter.weight"], "up-projection": ["enter.up.0.weight"], "head": ["head.weight"]}
    assert len(points) >= 2 and points[0].low and [p.bits for p in points] == sorted({p.bits for p in points})
    for point in (points[0], points[len(points) // 2], points[-1]):
        again, bits = made(arm, head), 0
        again.net.load_state_dict(before)
        for part, name in point.chosen.items():
            if not name:
                assert (arm, part) in (("trellis", "embedding"), ("random", "embedding"))
                bits += 80 * 32 * 2 + 16 * 80 if arm == "trellis" else 64
                continue
            for key in tensors[part]:
                values, size = storing.kept(before[key].numpy(), names[name])
                again.net.state_dict()[key].copy_(torch.from_numpy(values))
                bits += size
        bits += 16 * 32 if arm in ("learned", "random") else 0  # the bias of the up-projection
        assert point.bits == bits and point.loss == pytest.approx(storing.cost(again.net, windows), rel=1e-6)
        assert point.learnt == pytest.approx(storing.cost(again.net, text(6, 2)), rel=1e-6)
    wanted = (
        {"embedding"}
        | ({"up-projection"} if arm in ("learned", "random") else set())
        | ({"head"} if head == "untied" else set())
    )
    assert set(points[0].chosen) == wanted


def seeded(seed=5) -> Model:
    """A network that has learnt a little since it was drawn, but for its head."""
    config = {
        "net": "lm",
        "vocabulary": 80,
        "depth": 1,
        "width": 32,
        "heads": 1,
        "context": 8,
        "embedding": "learned",
        "ratio": 4,
    }
    torch.manual_seed(seed)
    net = build(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator))
    return Model(net.eval(), {"seed": seed, "net": config})


def test_of_what_stays_near_its_draw_the_difference_is_stored_and_the_seed():
    model, windows, named = seeded(), text(), {str(way): way for way in FEW}
    torch.manual_seed(5)
    start = build(model.meta["net"]).state_dict()
    before = {k: v.clone() for k, v in model.net.state_dict().items()}
    state = torch.random.get_rng_state()
    points = list(storing.search(model, windows, windows, FEW))
    assert torch.equal(state, torch.random.get_rng_state())
    keys = {"embedding": "enter.weight", "up-projection": "enter.up.0.weight", "head": "head.weight"}
    assert set(points[0].chosen.values()) == {"drawn"} and points[0].low
    for point in points:
        again, bits = seeded(), 16 * 32
        for part, name in point.chosen.items():
            key, way = keys[part], named[name]
            base = start[key] if part != "head" else torch.zeros_like(start[key])
            values, size = storing.kept((before[key] - base).numpy(), way)
            again.net.state_dict()[key].copy_(torch.from_numpy(values) + base)
            bits += size + (64 if part != "head" or name == "drawn" else 0)
        assert point.bits == bits and point.loss == pytest.approx(storing.cost(again.net, windows), rel=1e-6)


def test_a_draw_that_is_forgotten_is_no_base():
    """Another seed's draw is farther away than 0."""
    model = seeded()
    model.meta["seed"] = 6
    plain = Model(model.net, {})
    windows, ways = text(), storing.ways(scalar=(4,))[:-1]
    one, other = ([(p.bits, p.loss) for p in storing.search(m, windows, windows, ways)] for m in (model, plain))
    assert one == other


def test_the_last_point_is_about_as_good_as_the_network_itself():
    model, windows = made("learned"), text(30)
    *_, last = storing.search(model, windows, windows, storing.ways(scalar=range(1, 9)))
    assert last.loss < storing.cost(model.net, windows) + 0.002


def test_a_search_that_knows_16_bits_alone_says_so():
    (point,) = storing.search(made(), text(), text(), storing.ways(scalar=()))
    assert point.low and point.high and point.bits == 2 * 80 * 32 * 16


def test_parts_may_have_ways_of_their_own():
    model, windows = made("learned"), text()
    own = {"embedding": storing.ways((2,)), "up-projection": [Way("float16")], "head": [Way("lloyd-max", 3)]}
    points = list(storing.search(model, windows, windows, own))
    assert {p.chosen["head"] for p in points} == {"lloyd-max 3"} and {p.chosen["up-projection"] for p in points} == {
        "float16"
    }
    assert {p.chosen["embedding"] for p in points} <= {str(way) for way in own["embedding"]}
    # those on the hulls of a search find its points again
    every = list(storing.search(model, windows, windows, FEW))
    named = {str(way): way for way in FEW}
    hulls = {part: [named[w] for w in {p.chosen[part] for p in every}] for part in every[0].chosen}
    assert [(p.bits, p.loss) for p in storing.search(model, windows, windows, hulls)] == [
        (p.bits, p.loss) for p in every
    ]


def test_windows_stand_side_by_side_over_all_of_a_text():
    model, tokens = made(), np.random.default_rng(0).integers(80, size=100)
    found = storing.windows(model, Corpus(tokens, 80, None))
    assert found.shape == (12, 9) and all(np.array_equal(found[i], tokens[8 * i : 8 * i + 9]) for i in range(12))
    some = storing.windows(model, Corpus(tokens, 80, None), 3)
    assert torch.equal(some, found[[0, 5, 11]])
    with pytest.raises(LemError, match="a text of 81 tokens, where the model has 80; give the codec"):
        storing.windows(model, Corpus(tokens, 81, None))
    with pytest.raises(LemError, match="a text of 8 tokens, where a window takes 9"):
        storing.windows(model, Corpus(tokens[:8], 80, None))
