"""Patch sizes by whole samples: bands, the descent, and that the sizes of a machine are found again from its samples."""

import numpy as np
import pytest
import torch

from lemtools.denoise.samplers import ddim
from lemtools.dreams import study as studies
from lemtools.dreams.study import Study
from lemtools.dreams.whole import Choice, Walk, bands, descend, text
from lemtools.els import machine
from lemtools.els.bank import Bank
from lemtools.els.scales import levels, parse_sizes


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 20, 150])
def test_bands_share_all_steps_out(steps):
    found = bands(steps)
    assert [step for band in found for step in band] == list(range(steps))
    assert len(found) == min(steps, 5) or steps < 20
    if steps == 20:
        assert [len(band) for band in found] == [5, 5, 5, 3, 2]


def test_the_descent_finds_a_peak_band_by_band_and_tries_no_list_twice():
    best, asked = {0: (1, 1), 5: (3, 1), 10: (3, 5), 15: (5, 5), 18: (7, 7)}, []

    def ask(sizes):
        asked.append(sizes)
        loss = sum(abs(np.log(a / b)) for at, goal in best.items() for a, b in zip(sizes[at], goal))
        return np.array([1 - 0.01 * loss] * 2)

    found = descend(ask, lambda sizes: 0.5, [1, 3, 5, 7], lambda size: True, 20, True)
    assert [found.sizes[at] for at in best] == list(best.values())
    assert found.sizes[4] == (1, 1) and found.sizes[17] == (5, 5)
    assert found.score == pytest.approx(1) and found.square_score < found.score
    assert len(asked) == len(set(asked)) == found.tried
    squares = descend(ask, lambda sizes: 0.5, [1, 3, 5, 7], lambda size: size != (7, 7), 20, False)
    assert all(a == b and a < 7 for a, b in squares.sizes)


def test_a_walk_goes_on_from_what_it_has_walked_and_ends_at_the_same_place_to_the_bit():
    rng, calls = np.random.default_rng(0), []
    bank = Bank(rng.random((6, 1, 6, 5)).astype(np.float32))
    x, at = torch.from_numpy(rng.standard_normal((2, 1, 6, 5))).float(), levels(20)

    def make(size):
        denoise = machine("bbels", bank, size)
        return lambda x, alpha_bar: (calls.append(alpha_bar), denoise(x, alpha_bar))[1]

    walk, lists = Walk(make, x, at), [[(3, 3)] * 20, [(3, 3)] * 15 + [(1, 3)] * 5, [(3, 3)] * 2 + [(5, 3)] * 18]
    for sizes, steps in zip(lists, (20, 5, 18)):  # noisiest first; bands end after 2, 5, 10, 15 and 20 steps
        calls.clear()
        found = walk(sizes)
        assert len(calls) == steps
        want = ddim(lambda x, a, sizes=sizes: machine("bbels", bank, sizes[list(at).index(a)])(x, a), x, at)
        assert torch.equal(found, want)
        calls.clear()
        assert torch.equal(walk(sizes, anew=True), want) and len(calls) == 20
    walk(lists[0])
    assert not calls[20:]  # known to its end
    for k in range(300):
        walk._keep(((k, k),), x)
    assert len(walk.states) == 256 and () in walk.states


def test_the_sizes_of_a_machine_are_found_from_its_samples(monkeypatch):
    """A network that is the machine itself, with other sizes at little and at much noise."""
    rng = np.random.default_rng(0)
    images = rng.random((12, 1, 9, 8)).cumsum(3)
    bank = Bank((images / images.max()).astype(np.float32))
    asked = Study(bank, ((1, 3),) * 10 + ((3, 5),) * 10)
    monkeypatch.setattr(Study, "network", lambda self, path: path)
    monkeypatch.setattr(Study, "_of", lambda self, model, path: self)
    monkeypatch.setattr(studies, "NetworkDenoiser", lambda model, **more: asked.machine("bbels", bank))
    found = Study(bank).whole("bbels", "net", [1000, 1001], [1, 3, 5], True)
    assert found.score > 0.999 and found.square_score < 0.995
    assert found.sizes[0] == (1, 3) and found.sizes[12] == (3, 5)


def test_what_is_written_is_read_again(tmp_path):
    sizes = [(1, 1)] * 5 + [(3, 5)] * 15
    written = text(Choice(sizes, 0.7, (3, 3), 0.6, 40, 2.5), 2, False, ["made by hand"])
    (tmp_path / "s.txt").write_text(written)
    assert parse_sizes(str(tmp_path / "s.txt"), 20) == (1,) * 5 + ((3, 5),) * 15
    assert "r 0.7000, of one size for all steps 0.6000 (3)" in written
