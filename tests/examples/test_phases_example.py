"""examples/phases.sh: what stands where in a text, what is read of a model, and its tables on a small one."""

import importlib
import os
import subprocess

import numpy as np
import pytest
import torch

from helpers.languages import model
from helpers.paths import EXAMPLES, ROOT

WORDS = "the and walking Walked runs slowly maker doth oak stone a Be of river mouths singing called ills boldly other".split()
SMALL = {
    "SEEDS": "0 1",
    "DECAYS": "cosine",
    "DEPTH": "2",
    "WIDTH": "32",
    "CONTEXT": "24",
    "BATCH": "2",
    "STEPS": "6",
    "EVERY": "2",
}


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module


@pytest.fixture
def concepts(example):
    return example("concepts")


@pytest.fixture
def phases(example, monkeypatch):
    for name in ("SEEDS", "DECAYS", "STEPS", "EVERY", "ITEMS"):
        monkeypatch.delenv(name, raising=False)
    return example("phases")


def as_array(raw: bytes) -> np.ndarray:
    return np.frombuffer(raw, np.uint8)


def text(count=9000) -> bytes:
    """Words of which some are common, and most are not."""
    rng = np.random.default_rng(0)
    rare = ["".join(rng.choice(list("abdeginorst"), rng.integers(2, 8))) + WORDS[k % 18][-2:] for k in range(2000)]
    words = np.array(WORDS + rare)
    chance = 1 / (np.arange(len(words)) + 8)
    ends = rng.choice([" ", " ", " ", "\n", ", "], count)
    drawn = rng.choice(words, count, p=chance / chance.sum())
    return "".join(w + e for w, e in zip(drawn, ends, strict=True)).encode()


# what stands where


def test_kinds_of_bytes(concepts):
    assert concepts.kinds(as_array(b"aubzAZ \n,3")).tolist() == [0, 0, 1, 1, 2, 2, 3, 4, 5, 5]


def test_words_are_runs_of_letters(concepts):
    raw = as_array(b"he's 3 Oaks")
    assert [concepts.spelled(raw, *word) for word in concepts.words(raw)] == ["he", "s", "oaks"]


def test_concepts_of_every_place(concepts):
    learnt = as_array(b" ".join([b"so"] * 9 + [f"x{chr(97 + i)}".encode() for i in range(12)]))
    windows = np.stack([as_array(b"a so, singing xl xy d")])
    found = concepts.concepts(learnt, windows)
    #                                        a     s  o  ,     s  i  n  g  i  n  g     x   l     x   y
    assert found["inside"][0].tolist() == [-1, -1, 0, 1, -1, -1, 0, 1, 2, 3, 4, 5, 5, -1, 0, 1, -1, 0, 1, -1]
    word, ending = (dict(enumerate(found[name][0].tolist())) for name in ("word", "ending"))
    assert {k: v for k, v in word.items() if v >= 0} == {4: 0, 13: 3, 16: 1, 19: 3}
    assert {k: v for k, v in ending.items() if v >= 0} == {4: 6, 13: 0, 16: 6, 19: 6}
    assert found["letter"][0].tolist() == concepts.kinds(windows[0, :-1]).tolist()
    assert found["next"][0].tolist() == concepts.kinds(windows[0, 1:]).tolist()
    assert found["place"][0].tolist() == [k * 8 // 20 for k in range(20)]


def test_as_many_places_of_each_class_and_none_of_the_other_part(concepts):
    classes = np.random.default_rng(0).choice(6, p=[0.5, 0.2, 0.1, 0.1, 0.06, 0.04], size=(50, 20))
    classes[:, 0] = -1
    fitted, tested = concepts.picked(classes, "letter", 120)
    assert fitted.max() < 30 * 20 <= tested.min() and len({*fitted}) == len(fitted) and len({*tested}) == len(tested)
    for part, most in ((fitted, 20), (tested, 10)):
        count = np.bincount(classes.ravel()[part])
        assert len(count) == 6 and len(set(count)) == 1 and count[0] <= most
    with pytest.raises(concepts.LemError, match="a class of `letter` is not there"):
        concepts.picked(np.zeros((50, 20), int), "letter", 120)


def test_what_is_read_is_what_the_network_has(concepts):
    net, rng = model(256, 12).net, np.random.default_rng(0)
    windows = rng.integers(0, 256, (40, 13)).astype(np.uint8)
    places = np.sort(rng.permutation(40 * 12)[:99])
    found, bits = concepts.read(net, windows, places)
    tokens = torch.from_numpy(windows.astype(np.int64))
    with torch.no_grad():
        for layer in range(net.depth + 1):
            want = net.hidden(tokens[:, :-1], layer).flatten(0, 1)[places]
            np.testing.assert_allclose(found["features", layer], want, atol=1e-5)
        np.testing.assert_allclose(found["head", 0], net.features(tokens[:, :-1]).flatten(0, 1)[places], atol=1e-5)
        np.testing.assert_allclose(bits, net.rate(tokens) / np.log(2), atol=1e-4)
        x = net.hidden(tokens[:, :-1], 1)
        block = net.trunk.blocks[1]
        opened = []
        block.down.register_forward_hook(lambda module, given, made: opened.append(given[0]))
        net.trunk.run(x, 1, 2)
    units = opened[0].flatten(0, 1)[places].numpy()
    np.testing.assert_allclose(found["units", 2], units, atol=1e-5)
    assert 0.2 < found["active", 2].mean() < 0.8 and set(np.unique(found["active", 2])) == {0, 1}
    assert len(concepts.read(net, windows, places, units=False)[0]) == net.depth + 2


def test_the_last_four_bytes(concepts):
    found = concepts.ends(np.array([[3, 5, 3, 3, 5], [5, 5, 3, 5, 3]]))  # of 3 and 5
    assert found.shape == (8, 8)
    assert found[0].tolist() == [1, 0] + [0, 0] * 3 and found[3].tolist() == [1, 0, 1, 0, 0, 1, 1, 0]
    assert found[4].tolist() == [0, 1] + [0, 0] * 3


# what is made of it


def test_turns_are_the_ends_of_the_greatest_rise(phases):
    assert phases.turns(np.array([5.0, 2, 1, 3, 6, 4, 5])) == (2, 4)
    assert phases.turns(np.array([1.0, 2, 3])) == (0, 2) and phases.turns(np.array([3.0, 2, 1])) == (0, 0)
    y = np.random.default_rng(0).standard_normal(30)
    i, j = phases.turns(y)
    assert y[j] - y[i] == max(y[b] - y[a] for a in range(30) for b in range(a, 30))


def test_geometry_of_known_spectra(phases):
    """Even axes: a rank of D, and no decay; eigenvalues i^-2: an exponent of 2."""
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((400, 41)) - 0.0)[0]
    q = np.linalg.qr(q - q.mean(0))[0][:, :40]
    even = phases.geometry(q)
    assert even["rankme"] == pytest.approx(40) and even["effective_rank"] == pytest.approx(40)
    assert even["alpha"] == pytest.approx(0, abs=1e-9)
    assert phases.geometry(q / np.arange(1, 41))["alpha"] == pytest.approx(2)


def test_codes_that_no_other_place_has(phases):
    codes = np.array([[0, 1, 1], [0, 1, 1], [1, 1, 1], [0, 0, 0]], np.float32)
    assert phases.distinct(codes) == 0.5


def test_the_depth_has_nearly_all_of_the_gain(phases):
    gains = np.array([[0.1, 0.5], [0.39, 0.5], [0.4, 0.2]])
    assert phases.first_depth(gains).tolist() == [1, 0]


def test_updates_are_dense_at_first(phases, monkeypatch):
    monkeypatch.setattr(phases, "STEPS", 1000)
    assert phases.updates() == [0, 20, 40, 60, 80, 100, 140, 200, 280, 400, 560, 800, 1000]


def test_a_probe_reads_classes_and_not_their_random_order(phases, monkeypatch):
    monkeypatch.setattr(phases, "ITEMS", 1200)
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 6, (100, 20))
    x = rng.standard_normal((6, 12))[classes.ravel()] + 0.3 * rng.standard_normal((2000, 12))
    places = np.arange(2000)
    assert phases.probed(x, places, classes, "letter") > 0.95
    mixed = [phases.probed(x, places, classes, "letter", shuffled=seed) for seed in range(5)]
    assert len(set(mixed)) == 5 and np.mean(mixed) < 0.4


def test_signs_are_about_the_mean_of_what_is_fitted(phases):
    x = np.array([[1.0, 5], [3, 1], [90, 90]])
    made = phases.layers({("features", 0): x, ("head", 0): x}, np.array([True, True, False]))
    assert list(made) == [("features", 0), ("signs", 0)] and made["signs", 0].tolist() == [[0, 1], [1, 0], [1, 1]]


# the whole of it


def run(tmp_path, *words, **more) -> subprocess.CompletedProcess:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ITEMS": "240", **SMALL, **more}
    line = [str(EXAMPLES / "phases.sh"), str(tmp_path / "data"), str(tmp_path / "out"), *words]
    return subprocess.run(line, env=env, capture_output=True, text=True)


def test_the_whole_on_a_small_text(tmp_path):
    (tmp_path / "data" / "text").mkdir(parents=True)
    (tmp_path / "data" / "text" / "tinyshakespeare.txt").write_bytes(text())
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert rows[0][0] == "cosine: update" and [row[0] for row in rows[1:5]] == ["0", "2", "4", "6"]
    assert rows[1][1].startswith("8.000 ")  # an untrained model says nothing
    assert float(rows[4][1].split()[0]) < 7.9
    named = {row[0]: row[1:] for row in rows[5:]}
    assert {
        "cosine: rankme",
        "cosine: alpha",
        "features 2",
        "signs 0",
        "units 2",
        "untrained: active 1",
        "chance",
    } <= set(named)
    assert (
        float(named["last four bytes"][0].split()[0])
        > 0.9
        > 0.4
        > float(named["classes in random order"][0].split()[0])
    )
    signs, features, less = (
        named[name][1].split()[0] for name in ("signs 2", "features 2", "signs less features, layer 2")
    )
    assert float(less) == pytest.approx(float(signs) - float(features), abs=2e-3)
    for path in (tmp_path / "out").glob("*.step-*"):
        path.unlink()
    again = run(tmp_path, "curves", "turns", "depth")  # of what was kept
    assert again.stdout == done.stdout
    bad = run(tmp_path, "curve")
    assert bad.returncode == 2 and bad.stderr.startswith("phases.sh: no stage curve")
    gone = run(tmp_path, "depth", SEEDS="7")
    assert gone.returncode == 2 and gone.stderr.startswith("phases.py: error: ") and len(gone.stderr.splitlines()) == 1


def test_a_part_of_the_text_is_learnt(tmp_path):
    (tmp_path / "data" / "text").mkdir(parents=True)
    (tmp_path / "data" / "text" / "tinyshakespeare.txt").write_bytes(text())
    done = run(tmp_path, "train", LEARN="3000", SEEDS="0", STEPS="2")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "learnt.txt").read_bytes() == text()[:3000]
    assert {path.name for path in (tmp_path / "out").glob("*.step-*")} == {
        "cosine-0.step-0000000.safetensors",
        "cosine-0.step-0000002.safetensors",
    }
