"""One space for several: exact for rotations, widths, what is turned, and how one more joins."""

import numpy as np
import pytest

from lemtools.align import hub
from lemtools.align.maps import unit
from lemtools.align.pairs import Paired
from lemtools.signal import LemError

rng = np.random.default_rng(18)


def rotation(n, m=None):
    return np.linalg.qr(rng.standard_normal((n, n)))[0][:, : m or n]


def views(n, widths=(12, 9, 15), noise=0.2):
    """Spaces by name that see the same 8 numbers an item, each with a scale, a mean and noise of its own."""
    z = rng.standard_normal((n, 8)) * np.linspace(3, 1, 8)
    made = [z @ rotation(max(d, 8), d)[:8] + noise * rng.standard_normal((n, d)) for d in widths]
    return {name: scale * x + scale for name, x, scale in zip("ABC", made, (1, 5, 0.2), strict=True)}


def blocks(spaces, step=1000):
    n = len(next(iter(spaces.values())))
    return (tuple(x[i : i + step] for x in spaces.values()) for i in range(0, n, step))


def fitted(spaces, width, **how):
    return hub.fitted(list(spaces), blocks(spaces), width, **how)


def through(found, a, b, x):
    return found.maps[b].apply(found.maps[a].apply(x), back=True)


def top1(made, y, mean):
    near = unit(made - mean) @ unit(y - mean).T
    return float((near.argmax(1) == np.arange(len(y))).mean())


def test_a_hub_of_rotations_of_one_space_is_exact():
    x = rng.standard_normal((300, 10)) * np.linspace(3, 0.5, 10)
    turned = {"A": x + 1, "B": 4 * x @ rotation(10) - 2, "C": 0.1 * x @ rotation(14, 10).T}
    found = fitted(turned, 10)
    hubs = [found.maps[name].apply(x) for name, x in turned.items()]
    assert max(np.abs(h - hubs[0]).max() for h in hubs) < 1e-5
    for a in turned:
        for b in turned:
            assert np.abs(through(found, a, b, turned[a]) - turned[b]).max() < 1e-4
    assert max(found.facts[f"apart-{name}"] for name in turned) < 1e-6 and found.facts["axes"] == 10
    assert np.mean(np.sum(hubs[0] ** 2, 1)) == pytest.approx(1, abs=1e-4)  # the scale that is stated


def test_evened_is_its_definition():
    x = rng.standard_normal((50, 6)) @ rng.standard_normal((6, 6))
    c = np.cov(x.T, bias=True)
    s, back = hub.evened(c)
    values, axes = np.linalg.eigh(c)
    k = np.trace(c @ c) / np.trace(c)
    wanted = (axes * (values + k) ** -0.25) @ axes.T
    assert np.allclose(s, wanted / np.sqrt(np.trace(wanted @ c @ wanted)))
    assert np.allclose(s @ back, np.eye(6)) and np.trace(s @ c @ s) == pytest.approx(1)


def test_the_turns_are_where_no_small_turn_of_one_space_brings_it_nearer(monkeypatch):
    monkeypatch.setattr(hub, "RISE", 1e-14)
    monkeypatch.setattr(hub, "SWEEPS", 3000)
    spaces = views(400, noise=0.6)
    found = fitted(spaces, 15)
    turned = {name: found.maps[name].apply(x).astype(np.float64) for name, x in spaces.items()}

    def apart(changed):
        return sum(np.sum((x - sum(changed.values()) / 3) ** 2) for x in changed.values())

    least = apart(turned)
    for name in spaces:
        for i, j in ((0, 1), (1, 4), (2, 7)):
            for angle in (-0.02, 0.02):
                small = np.eye(15)
                small[[i, j], [i, j]], small[i, j], small[j, i] = np.cos(angle), np.sin(angle), -np.sin(angle)
                assert apart(turned | {name: turned[name] @ small}) > least


def test_axes_are_the_principal_ones_of_the_mean_and_a_narrow_hub_is_the_first_of_them():
    spaces = views(500)
    wide, narrow = fitted(spaces, 15), fitted(spaces, 4)
    mean = sum(wide.maps[name].apply(x) for name, x in spaces.items()) / 3
    c = np.cov(mean.T, bias=True)
    assert np.allclose(c - np.diag(c.diagonal()), 0, atol=1e-6) and (np.diff(c.diagonal()) < 1e-9).all()
    for name, x in spaces.items():
        assert np.allclose(wide.maps[name].apply(x)[:, :4], narrow.maps[name].apply(x), atol=1e-5)


def test_apart_is_the_share_that_is_not_the_mean_of_all():
    spaces = views(300, noise=0.5)
    found = fitted(spaces, 6)
    turned = {name: found.maps[name].apply(x).astype(np.float64) for name, x in spaces.items()}
    mean = sum(turned.values()) / 3
    for name, h in turned.items():
        assert found.facts[f"apart-{name}"] == pytest.approx(np.sum((h - mean) ** 2) / np.sum(h**2), rel=1e-4)


def test_items_are_found_in_every_other_space_and_of_shuffled_ones_by_chance():
    spaces = views(900)
    learnt, held = ({name: x[part] for name, x in spaces.items()} for part in (slice(300), slice(300, None)))
    found = fitted(learnt, 8)
    shuffled = fitted({name: rng.permutation(x) for name, x in learnt.items()}, 8)
    for a in spaces:
        for b in spaces:
            if a != b:
                mean = found.maps[b].mean[0]
                assert top1(through(found, a, b, held[a]), held[b], mean) > 0.8
                assert top1(through(shuffled, a, b, held[a]), held[b], mean) < 0.02


def test_the_blocks_make_no_difference_and_pairs_are_drawn_by_the_seed():
    spaces = views(400)
    one, other = (hub.fitted(list(spaces), blocks(spaces, step), 9) for step in (7, 400))
    few = [fitted(spaces, 9, pairs=50, seed=seed) for seed in (1, 1, 2)]
    for name in spaces:
        assert np.allclose(one.maps[name].there, other.maps[name].there)
        assert np.array_equal(few[0].maps[name].there, few[1].maps[name].there)
        assert not np.allclose(few[0].maps[name].there, few[2].maps[name].there)
    assert [f.count for f in few] == [50] * 3 and one.count == 400


def test_fewer_items_than_axes_leave_the_others_empty():
    found = fitted(views(6), 12)
    assert found.facts["axes"] == 5
    assert all(np.abs(m.there[:, 5:]).max() < 1e-6 * np.abs(m.there).max() for m in found.maps.values())


def test_a_space_joins_as_its_pairs_say():
    spaces = views(600, widths=(10, 10, 10), noise=0)
    new = spaces.pop("C")
    found = fitted(spaces, 8)
    h = found.maps["A"].apply(spaces["A"])
    one = hub.joined(Paired.of(new[:100], h[:100]), "ridge")
    assert np.abs(one.apply(new) - h).max() < 1e-4
    chosen = hub.joined(Paired.of(new[:100], h[:100]), "auto").facts
    assert chosen["chosen"] in ("procrustes", "cca", "ridge") and "mrr-relative" not in chosen
    with pytest.raises(
        LemError, match="--map relative: a space joins a hub by a matrix, of auto, procrustes, cca and ridge"
    ):
        hub.joined(Paired.of(new, h), "relative")


BAD = {
    "one space": (lambda s: {"A": s["A"]}, 4, "a hub of 1 space"),
    "one item": (lambda s: {name: x[:1] for name, x in s.items()}, 4, "1 items; a map needs 2"),
    "too wide": (lambda s: s, 37, "a hub of 37 numbers; its spaces have 36 together"),
    "zero": (lambda s: s | {"B": s["B"] * (np.arange(20) != 7)[:, None]}, 4, "vector 7 of B is zero"),
    "nan": (lambda s: s | {"C": np.where(np.arange(20)[:, None] == 9, np.nan, s["C"])}, 4, "vector 9 of C is not finite"),
    "the same": (lambda s: s | {"B": np.ones_like(s["B"])}, 4, "B: all vectors are the same"),
    "all too wide": (lambda s: {name: np.ones((3, 4000)) for name in "ABC"}, 4, "8192 in all"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name):
    change, width, said = BAD[name]
    with pytest.raises(LemError, match=said):
        fitted(change(views(20)), width)


def test_a_width_that_changes_is_refused():
    x = rng.standard_normal((4, 5))
    with pytest.raises(LemError, match="vectors of 4 numbers among such of 5 in B"):
        hub.fitted(["A", "B"], [(x, x), (x, x[:, :4])], 3)


def test_the_sign_of_an_axis_is_that_of_the_first_spaces_largest_weight():
    spaces = views(200)
    found = fitted(spaces, 9)
    turn = np.linalg.inv(hub.evened(np.cov(spaces["A"].T, bias=True))[0]) @ found.maps["A"].there
    assert (turn[np.abs(turn).argmax(0), np.arange(9)] > 0).all()


def test_turning_goes_on_until_it_no_longer_helps(monkeypatch):
    spaces = views(300, noise=1.5)

    def apart():
        found = fitted(spaces, 15)
        turned = [found.maps[name].apply(x).astype(np.float64) for name, x in spaces.items()]
        return sum(np.sum((x - sum(turned) / 3) ** 2) for x in turned)

    usual = apart()
    monkeypatch.setattr(hub, "SWEEPS", 1)
    assert usual < 0.999 * apart()
    monkeypatch.setattr(hub, "SWEEPS", 5000)
    monkeypatch.setattr(hub, "RISE", 1e-14)
    assert usual < 1.001 * apart()
