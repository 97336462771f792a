"""examples/phones_net.py: files that lem-train reads, folds by speaker, the control that hears other boundaries."""

import importlib
import sys

import numpy as np
import pytest

from helpers.edges import SECONDS, corpus, noise
from helpers.paths import ROOT
from lemtools.media import Reading, load
from lemtools.train.boundaries import read


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    names = ("phones", "phones_net")
    for name in names:
        sys.modules.pop(name, None)
    yield importlib.import_module("phones_net")
    for name in names:
        sys.modules.pop(name, None)


def test_labels_come_back_as_they_were(script, tmp_path):
    _, phones, edges = noise(3)
    times = np.array([0, *edges, SECONDS])
    script.labelled(tmp_path / "a.lab", times, phones)
    (found,) = load([str(tmp_path / "a.lab")], Reading(kind="tokens"))
    assert found.alphabet.texts(found.data[0]) == phones
    np.testing.assert_allclose(found.spans[0, :, 0], times[:-1], atol=1e-7)


def test_no_speaker_is_in_two_folds(script, tmp_path):
    for number in range(10):
        (tmp_path / "sounds" / f"{number:02}").mkdir(parents=True)
    found = script.speakers(tmp_path)
    assert [len(fold) for fold in found] == [2] * 5 and len({name for fold in found for name in fold}) == 10


def test_the_control_hears_another_boundary_of_the_same_classes(script, tmp_path):
    audio, aligned = corpus(tmp_path)
    items = read([audio], [aligned], Reading()).items
    rows = np.arange(10, len(items))  # some were kept back
    before = np.stack([items.data.of, items.data.centres], 1)
    part = items.view(rows)
    script._exchange(part)
    after = np.stack([items.data.of, items.data.centres], 1)
    assert np.array_equal(after[:10], before[:10]) and (after[10:] != before[10:]).any(1).mean() > 0.6
    kinds = {tuple(place): tuple(pair) for place, pair in zip(before.tolist(), items.label[:, :2].tolist())}
    assert all(kinds[tuple(place)] == tuple(pair) for place, pair in zip(after.tolist(), items.label[:, :2].tolist()))
    assert sorted(map(tuple, after.tolist())) == sorted(map(tuple, before.tolist()))


def test_a_row_by_hand(script):
    text = script.row([np.array([5.0, -30.0]), np.array([12.0, 22.0])], 6)
    assert text.startswith("| 4 of 6 | 17.2") and "| 17.0 | +2.2 | 25 / 50 / 75 / 100 | 50.0" in text


def test_mean_spread_and_range_over_seeds(script):
    assert script.over([1.0, 2.0, 6.0]) == "3.00 ± 2.65 (1.00 to 6.00)"
    assert len(script.SEEDS) >= 3 and len(script.NETS) == len(script.SEEDS)


def test_every_seed_is_a_run_of_its_own(script, tmp_path):
    asked = [script.asked(tmp_path, "fold-0", seed, [tmp_path], []) for seed in script.SEEDS]
    assert len({one.output for one in asked}) == len({one.seed for one in asked}) == len(script.SEEDS)
