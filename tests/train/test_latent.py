"""lem-train translate through a latent space: what it begins as, its losses by their definitions, and what vectors without partners add."""

import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.commands import fork
from lemtools import encode
from lemtools.align import linear, unpaired
from lemtools.align.maps import unit
from lemtools.align.pairs import Paired, drawn
from lemtools.nets.latent import Latent
from lemtools.nets.model import load
from lemtools.signal import LemError, Signal
from lemtools.train.data import Batches
from lemtools.train.loop import train
from lemtools.train.prepare import prepare
from lemtools.train.recipes import latent
from lemtools.train.settings import Settings

D, E = 24, 20
FILES = {"data": "a", "onto": "b", "more": "more", "onto_more": "onto"}


def views(n, seed=0, noise=0.05):
    """Two views of the same items, which lie in groups: of B the first 20 directions of A, turned, with noise."""
    rng, made = np.random.default_rng(seed), np.random.default_rng(99)
    groups = made.standard_normal((30, D)) * np.geomspace(3, 0.5, D)
    turn = np.linalg.qr(made.standard_normal((E, E)))[0]
    z = groups[rng.integers(30, size=n)] + 0.4 * rng.standard_normal((n, D))
    y = z[:, :E] @ turn + noise * rng.standard_normal((n, E)) - 2
    return (z + 1).astype(np.float32), y.astype(np.float32)


def asked(here, pairs=10, more=300, known=None, output="ab.safetensors", alone=False, **how):
    """Settings of a small run of pairs and of other vectors on either side; alone: without these; pairs=0: without any pairs."""
    x, y = views(pairs) if known is None else known
    sides = {"a": x, "b": y, "more": views(more, 1)[0], "onto": views(more - 20, 2)[1]}
    for name, rows in sides.items():
        np.save(here / f"{name}.npy", rows)
    files = {name: [str(here / f"{of}.npy")] for name, of in FILES.items()}
    if alone:
        files = {name: files[name] for name in ("data", "onto")}
    if not pairs:
        files = {"data": files["more"], "onto": files["onto_more"], "unpaired": True}
    plain = {"steps": 60, "lr": 2e-3, "batch": 128, "holdout": 0, "device": "cpu", "workers": 0}
    plain |= {"options": {"latent": 24, "width": 16, **how.pop("options", {})}}
    return Settings("translate", output=str(here / output), **(files | plain | how))


def top1(coder, x, y):
    (made,) = coder.encode(Signal("embedding", x))
    near = unit(made.data - y.mean(0)) @ unit(y - y.mean(0)).T
    return float((near.argmax(1) == np.arange(len(x))).mean())


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(unpaired, "AXES", 3)
    monkeypatch.setattr(unpaired, "MATCHED", 3)
    monkeypatch.setattr(unpaired, "PROFILES", 0)
    monkeypatch.setattr(unpaired, "HEATS", (unpaired.Heat(150, 8, 8, 3),))


def test_few_pairs_of_two_noisy_linear_views_beat_ridge(tmp_path):
    u, v = views(300, 3)
    train(asked(tmp_path))
    coder = encode.load(str(tmp_path / "ab.safetensors"))
    ridge = linear.ridge(Paired.of(*views(10)))
    alone = (unit(ridge.apply(u) - v.mean(0)) @ unit(v - v.mean(0)).T).argmax(1) == np.arange(300)
    assert top1(coder, u, v) > 0.75 > 0.5 > alone.mean()
    assert coder.card()["map"] == "latent" and coder.card()["count"] == 10
    (back,) = coder.decode(Signal("embedding", v), {})
    assert back.data.shape == u.shape and np.square(back.data - u).mean() < 0.5 * u.var()


def test_shuffled_pairs_stay_at_chance(tmp_path):
    x, y = views(10)
    train(asked(tmp_path, known=(x, np.roll(y, 5, axis=0))))
    assert top1(encode.load(str(tmp_path / "ab.safetensors")), *views(300, 3)) < 0.05


def test_without_pairs_it_learns_from_what_a_search_finds(tmp_path, quick):
    train(asked(tmp_path, 0, 600))
    coder, (u, v) = encode.load(str(tmp_path / "ab.safetensors")), views(300, 3)
    assert top1(coder, u, v) > 0.5 and coder.card()["count"] == 0


def test_it_begins_as_the_linear_map_each_way(tmp_path):
    x, y = views(200)
    settings = asked(tmp_path, 200, known=(x, y), alone=True, arch="latent", steps=1, lr=1e-12)
    train(settings)
    coder = encode.load(settings.output)
    found = latent.first(latent.Known((x[:0], y[:0]), (x, y)))
    for made, wanted in (
        (coder.encode(Signal("embedding", x)), found.apply(x)),
        (coder.decode(Signal("embedding", y), {}), found.apply(y, True)),
    ):
        assert np.allclose(made[0].data, wanted, atol=1e-3)


def test_a_narrow_latent_space_keeps_what_the_map_weighs_most(tmp_path):
    x, y = views(200)
    settings = asked(tmp_path, 200, known=(x, y), alone=True, arch="latent", steps=1, lr=1e-12, options={"latent": 7})
    train(settings)
    (made,) = encode.load(settings.output).encode(Signal("embedding", x))
    found = latent.first(latent.Known((x[:0], y[:0]), (x, y)))
    ratio = x.std(0) @ x.std(0) / D / (y.std(0) @ y.std(0) / E)
    u = np.linalg.svd(np.hstack([found.there * ratio**0.5, found.back.T / ratio**0.5]))[0][:, :7]
    assert np.allclose(made.data, (x - x.mean(0)) @ u @ u.T @ found.there + y.mean(0), atol=1e-3)


def test_drawn_matrices_know_nothing(tmp_path):
    train(asked(tmp_path, 0, 300, steps=1, lr=1e-12, options={"start": "none"}))
    assert top1(encode.load(str(tmp_path / "ab.safetensors")), *views(300, 3)) < 0.05


def test_the_losses_are_their_definitions(tmp_path):
    weights = {"pairs": 0.5, "reconstruct": 2, "cycle": 3, "similar": 5, "neighbours": 7, "spread": 11}
    prepared = prepare(asked(tmp_path, batch=30, options=weights))
    for way in (*prepared.model.net.into, *prepared.model.net.out):
        torch.nn.init.normal_(way.out.weight, std=0.3)
    batch = Batches(prepared.spec)[0]
    found = {name: loss.detach().double() for name, loss in prepared.objective.measured(batch).items()}
    reached = prepared.objective(batch).detach().double()
    model, label = prepared.model, batch["label"]
    net, a, b = model.net, model.scale, model.target_scale
    x, y, p, q = (
        side.double()
        for side in (
            a.encode(batch["target"]),
            b.encode(label[:, :E]),
            a.encode(label[:, E : E + D]),
            b.encode(label[:, E + D :]),
        )
    )
    net = net.double()
    with torch.no_grad():
        squares = lambda one, two: ((one - two) ** 2).mean(1)
        own = squares(net.lower(net.lift(x, 0), 0), x) + squares(net.lower(net.lift(y, 1), 1), y)
        cycle = squares(net.back(net.there(x)), x) + squares(net.there(net.back(y)), y)
        pairs = squares(net.there(p), q) + squares(net.back(q), p) + squares(net.lift(p, 0), net.lift(q, 1))
        there, back = net.there(x), net.back(y)
        cosine = lambda one, two: torch.tensor(
            [[float(i @ j / i.norm() / j.norm()) for j in two] for i in one], dtype=torch.double
        )
        similar = ((cosine(x, x) - cosine(there, there)) ** 2).mean(1) + (
            (cosine(y, y) - cosine(back, back)) ** 2
        ).mean(1)
        near = torch.zeros(30, dtype=torch.double)
        for made, other in ((there, y), (back, x)):
            c = cosine(made, other)
            for i in range(30):
                hub = [
                    2 * c[i, j] - c[i].sort().values[-10:].mean() - c[:, j].sort().values[-10:].mean()
                    for j in range(30)
                ]
                weight = torch.exp(latent.SHARP * torch.stack(hub))
                near[i] += 1 - (weight * c[i]).sum() / weight.sum()
        spread = torch.zeros(30, dtype=torch.double)
        for i, line in enumerate(batch["line"].double()):
            for made, other in ((there, y), (back, x)):
                along = line[: made.shape[1]] / line[: made.shape[1]].norm()
                one, two = (sorted(float(row @ along / row.norm()) for row in side) for side in (made, other))
                spread[i] += made.shape[1] * np.square(np.subtract(one, two)).mean()
    wanted = {
        "pairs": pairs,
        "reconstruct": own,
        "cycle": cycle,
        "similar": similar,
        "neighbours": near,
        "spread": spread,
    }
    for name, values in wanted.items():
        assert torch.allclose(found[name], values, rtol=1e-3, atol=1e-5), name
    total = sum(weights[name] * values for name, values in wanted.items())
    assert torch.allclose(reached, total, rtol=1e-3)


def test_neighbours_draw_as_they_are_weighted():
    """Through the softmax of CSLS no gradient goes: it is that of the cosines, with weights that stand still."""
    draw = np.random.default_rng(4)
    made, other = (torch.tensor(draw.standard_normal((n, 6))) for n in (30, 25))
    made.requires_grad_()
    near = (made / made.norm(dim=1, keepdim=True)) @ (other / other.norm(dim=1, keepdim=True)).T
    crowd = torch.stack([near[:, j].sort().values[-10:].mean() for j in range(25)])
    weight = torch.exp(latent.SHARP * (2 * near - crowd)).detach()
    wanted = 1 - (weight / weight.sum(1, keepdim=True) * near).sum(1)
    assert torch.allclose(latent._apart(made, other), wanted)
    one, two = (torch.autograd.grad(loss.sum(), made)[0] for loss in (latent._apart(made, other), wanted))
    assert torch.allclose(one, two)


def test_drawn_weights_are_by_the_seed(tmp_path):
    nets = [prepare(asked(tmp_path, alone=True, arch="latent", seed=seed)).model.net for seed in (1, 1, 2)]
    one, same, other = (net.trunk.hidden[0].weight for net in nets)
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_both_sides_pass_the_trunk():
    net = Latent([3], [4], width=5, depth=1, latent=6).double()
    draw = torch.Generator().manual_seed(0)
    for weight in net.parameters():
        weight.data = torch.randn(weight.shape, generator=draw, dtype=torch.double)

    def way(part, x):
        hidden = torch.nn.functional.gelu(x @ part.hidden[0].weight.T + part.hidden[0].bias)
        return x @ part.linear.weight.T + part.linear.bias + hidden @ part.out.weight.T

    for x, side, made in ((torch.ones(2, 3).double(), 0, net.there), (torch.ones(2, 4).double(), 1, net.back)):
        high = way(net.trunk, way(net.into[side], x))
        assert torch.allclose(net.lift(x, side), high)
        assert torch.allclose(made(x), way(net.out[1 - side], high))
        assert torch.allclose(net.lower(high, side), way(net.out[side], high))


def test_a_loss_without_weight_is_not_computed(tmp_path):
    prepared = prepare(asked(tmp_path, options={"neighbours": 0, "cycle": 0}))
    batch = Batches(prepared.spec)[0]
    assert set(prepared.objective.measured(batch)) == {"pairs", "reconstruct", "similar"} and "line" not in batch


def test_items_are_all_vectors_of_both_sides_and_all_pairs():
    x, y, p, q = (np.arange(n, dtype=np.float32)[:, None] + 100 * i for i, n in enumerate((5, 9, 2, 2)))
    one, beside = latent.Known((x, y), (p, q)).items()
    assert one.shape == (11, 1) and beside.shape == (11, 3)
    assert set(one[:, 0]) == set(np.concatenate([p, x])[:, 0]) and set(beside[:, 0]) == set(
        np.concatenate([q, y])[:, 0]
    )
    assert np.array_equal(beside[:, 1] + 100, beside[:, 2]) and set(beside[:, 1]) == set(p[:, 0])
    one, beside = latent.Known((x, y), (p[:0], q[:0])).items()
    assert one.shape == (9, 1) and beside.shape == (9, 1)


def test_pairs_are_those_of_a_fit(tmp_path):
    x, y = views(60)
    taken = Paired.read([(x[:33], y[:33]), (x[33:], y[33:])], pairs=12, seed=5)
    assert np.array_equal(taken.x.astype(np.float32), x[drawn(60, 12, 5)])
    for arch in ("adapter", "latent"):
        settings = replace(asked(tmp_path, 60, known=(x, y), alone=True, seed=5, arch=arch), pairs=12)
        settings.options.pop("latent") if arch == "adapter" else None
        items = prepare(settings).spec.items
        assert len(items) == 12 and np.array_equal(items.data[:], taken.x.astype(np.float32))


def test_what_is_kept_back_is_in_no_batch(tmp_path):
    prepared = prepare(asked(tmp_path, 40, holdout=6))
    kept = {row.tobytes() for row in prepared.validation.items.data}
    learnt = {row.tobytes() for row in prepared.spec.items.data}
    assert len(kept) == 6 and not kept & learnt
    beside = prepared.validation.items.label
    assert np.array_equal(beside[:, :E], beside[:, E + D :]) and np.array_equal(
        beside[:, E : E + D], prepared.validation.items.data
    )
    prepared = prepare(asked(tmp_path, 0, 100, holdout=20, options={"start": "none"}))
    assert len(prepared.validation.items) == 20 and len(prepared.spec.items) == 80
    assert not {r.tobytes() for r in prepared.validation.items.data} & {r.tobytes() for r in prepared.spec.items.data}


def test_killed_it_goes_on_to_the_same_bytes(tmp_path):
    (tmp_path / "whole").mkdir()
    whole = asked(tmp_path / "whole", steps=80, save_every=10, batch=64, options={"spread": 1})
    train(whole)
    cut = replace(whole, output=str(tmp_path / "ab.safetensors"))
    state, killed = tmp_path / "ab.state.safetensors", 0
    for seen in (0.05, 0.15, None):
        child = fork()
        if child == 0:
            train(cut)
            os._exit(0)
        while seen is not None and not state.exists():
            time.sleep(0.005)
        time.sleep(seen or 0)
        if seen is not None:
            os.kill(child, signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert killed and load(cut.output).meta["step"] == 80
    one, other = (load(s.output).tensors() for s in (whole, cut))
    assert all(torch.equal(one[name], other[name]) for name in one)


REFUSED = {
    "pairs without pairs": ({"pairs": 0, "how": {"pairs": 5}}, "--pairs is for pairs; --unpaired has none"),
    "one side": ({"how": {"onto_more": None}}, "--more and --onto-more go together"),
    "another network": ({"how": {"arch": "adapter"}}, "--more is for --arch latent, not adapter"),
    "too few": ({"more": 40}, "--more: 40 vectors; without pairs 50 are needed"),
    "more pairs than there are": ({"how": {"pairs": 15}}, "10 pairs; --pairs 15 are asked for"),
    "a reader": ({"how": {"reader": "lm.safetensors"}}, "--reader is for --arch adapter"),
    "a reader's layer": ({"how": {"reader_layer": 1}}, "--reader-layer is for --reader"),
    "too few beside those kept back": (
        {"pairs": 0, "how": {"holdout": 270}},
        "--data: 30 vectors to learn from beside the 270 of --holdout; without pairs 50",
    ),
    "no weights": (
        {"how": {"options": dict.fromkeys(("pairs", "reconstruct", "cycle", "similar", "neighbours"), 0)}},
        "no loss has a weight: --set reconstruct=1",
    ),
    "the weight of pairs alone, without pairs": (
        {
            "pairs": 0,
            "how": {"options": {"start": "none"} | dict.fromkeys(("reconstruct", "cycle", "similar", "neighbours"), 0)},
        },
        "no loss has a weight.*pairs has one, but there are none",
    ),
    "another weight": ({"how": {"options": {"cycle": -1}}}, "--set cycle=-1"),
}


@pytest.mark.parametrize("arch", [None, "latent"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path, name, arch):
    change, said = REFUSED[name]
    change = dict(change)
    how = {"arch": arch, **change.pop("how", {})}
    count = change.pop("pairs", 10)
    settings = asked(tmp_path, count, change.pop("more", 300), **{k: v for k, v in how.items() if k != "pairs"})
    if "pairs" in how:
        settings = replace(settings, pairs=how["pairs"])
    with pytest.raises(LemError, match=said):
        prepare(settings)


def test_pairs_that_cannot_be_told_apart_are_refused(tmp_path):
    x, y = views(30)
    for known, said, how in (
        ((np.repeat(x[:1], 30, axis=0), y), "--data: all vectors are the same", {}),
        ((x, np.repeat(y[:1], 30, axis=0)), "--onto: all vectors are the same", {}),
        ((x[:2], y[:2]), "1 pair to learn from; 2 are needed at least", {"holdout": 1}),
    ):
        with pytest.raises(LemError, match=said):
            prepare(asked(tmp_path, known=known, alone=True, arch="latent", **how))


def test_the_data_are_read_as_asked_also_without_pairs(tmp_path):
    settings = asked(tmp_path, 0, 100, options={"start": "none"})
    np.savez(tmp_path / "both.npz", one=views(100)[0], two=views(100)[0][:, :7])
    prepared = prepare(replace(settings, data=[str(tmp_path / "both.npz")], key="two"))
    assert prepared.spec.items.data.shape == (100, 7)


def test_vectors_of_one_number_are_learnt_without_pairs(tmp_path, quick):
    """They have two directions, so that there are two centres of clusters, and nothing that could be ranked."""
    settings = asked(tmp_path, 0, 100, steps=1)
    for name in ("more", "onto"):
        np.save(path := tmp_path / f"{name}.npy", np.load(path)[:, :1])
    train(settings)
    x = views(30)[0][:, :1]
    (made,) = encode.load(settings.output).encode(Signal("embedding", x))
    assert np.isfinite(made.data).all() and made.data.std() > 0


def test_widths_of_other_vectors_are_refused(tmp_path):
    settings = asked(tmp_path)
    np.save(tmp_path / "more.npy", views(60)[1])
    with pytest.raises(LemError, match="--more: vectors of 20 numbers, not 24"):
        prepare(settings)
