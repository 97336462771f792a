"""Arms at equal stored bits: what examples/learned_encodings.py measures and prints."""

import importlib
import json

import numpy as np
import pytest

from helpers.paths import EXAMPLES
from lemtools.train.loop import train
from lemtools.train.settings import Settings


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("learned_encodings")


def result(arm, seed, points, data="abc", ends=""):
    """points: [(bits, bits of every window)]; a window has 4 bytes."""
    sizes = [4] * len(points[0][1])
    line = [{"bits": bits, "loss": sum(each) / sum(sizes), "chosen": {}, "each": list(each)} for bits, each in points]
    return {"arm": arm, "seed": seed, "data": data, "as_trained": 1.5, "ends": ends, "sizes": sizes, "line": line}


def written(folder, *results):
    paths = []
    for found in results:
        path = folder / f"{found['arm']}-{found['seed']}.json"
        path.write_text(json.dumps(found))
        paths.append(str(path))
    return paths


def told(capsys):
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


def test_every_arm_has_the_best_of_what_fits_a_size(example, tmp_path, capsys):
    full = result("full", 0, [(8000, [8.0, 16.0]), (64000, [4.0, 8.0])], ends="fewest bits, 8000")
    small = result("learned-8", 0, [(8000, [6.0, 10.0]), (32000, [2.0, 6.0])])
    assert example.main(["table", *written(tmp_path, full, small)]) == 0
    (_, data), heads, *rows = told(capsys)
    assert (
        data == "abc"
        and heads[:3] == ["arm-ratio", "seeds", "as trained"]
        and heads[3] == "1 kB"
        and heads[-2] == "8 kB"
    )
    cells = {row[0]: dict(zip(heads, row)) for row in rows}
    assert (cells["full"]["1 kB"], cells["full"]["8 kB"]) == ("3.000", "1.500")
    assert cells["learned-8"]["1 kB"].startswith("2.000 (-1.000, ") and cells["learned-8"]["8 kB"].startswith(
        "1.000 (-0.500, "
    )
    assert cells["full"]["ends at"] == "fewest bits" and cells["learned-8"]["ends at"] == "no end of the search"


def test_an_arm_that_does_not_fit_has_no_number(example, tmp_path, capsys):
    full, large = result("full", 0, [(8000, [8.0] * 2)]), result("trellis-1", 0, [(64000, [4.0] * 2)])
    example.main(["table", *written(tmp_path, full, large)])
    rows = {row[0]: row for row in told(capsys)}
    assert rows["trellis-1"][3] == "-" and rows["trellis-1"][-2] != "-"


def test_a_difference_is_that_of_pairs(example):
    """What seeds and passages have in common is in no interval; a difference that is the same in all has none."""
    rng = np.random.default_rng(0)
    arms = {"full": {}, "a": {}, "b": {}}
    for seed in range(5):
        each = 8 + 3 * rng.standard_normal() + 2 * rng.standard_normal(64)
        for arm, apart in (("full", 0), ("a", 1), ("b", 0.5 * rng.standard_normal(64))):
            arms[arm][seed] = result(arm, seed, [(1000, (each + apart).tolist())])
    mean, low, high = example.compared(arms, "a", 1000)
    assert mean == pytest.approx(0.25) and low == pytest.approx(0.25) and high == pytest.approx(0.25)
    mean, low, high = example.compared(arms, "b", 1000)
    truth = np.mean(
        [np.subtract(arms["b"][s]["line"][0]["each"], arms["full"][s]["line"][0]["each"]).sum() for s in range(5)]
    )
    assert mean == pytest.approx(truth / 256) and low < mean < high
    exact = 1.96 * 0.5 / 4 / np.sqrt(5 * 64)  # of numbers that have neither seeds nor passages in common
    assert exact < (high - low) / 2 < 2 * exact
    assert example.compared(arms, "a", 999) is None


def test_models_of_other_texts_are_not_compared(example, tmp_path, capsys):
    one, other = result("full", 0, [(8, [8.0])]), result("learned-8", 0, [(8, [8.0])], data="abd")
    assert example.main(["table", *written(tmp_path, one, other)]) == 2
    assert "models of 2 texts (abc, abd); arms are compared on one" in capsys.readouterr().err
    assert example.main(["table", *written(tmp_path, result("learned-8", 0, [(8, [8.0])]))]) == 2
    assert "no result of the full table" in capsys.readouterr().err
    assert example.main(["draw"]) == 2


def test_a_model_is_searched_from_its_file(example, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    for name, count in (("learnt", 4000), ("held", 1500)):
        (tmp_path / f"{name}.txt").write_bytes(bytes(b"ACGT"[i] for i in rng.integers(4, size=count)))
    files = [str(tmp_path / f"{name}.txt") for name in ("learnt", "held")]
    model = tmp_path / "full-0.safetensors"
    plain = dict(
        width=16, depth=1, steps=4, batch=2, workers=0, device="cpu", options={"context": 16}, codec=["kmer:3"]
    )
    train(Settings("lm", files[:1], str(model), validate=files[1:], **plain))
    monkeypatch.setenv("DEVICE", "cpu")
    monkeypatch.setenv("WINDOWS", "10")
    out = str(tmp_path / "full-0.json")
    assert example.main(["search", str(model), *files, "kmer:3", out]) == 0
    found = json.loads(open(out).read())
    assert (found["arm"], found["seed"], len(found["sizes"])) == ("full", 0, 10) and found["sizes"][0] == 48
    assert found["as_trained"] == pytest.approx(2, abs=0.2)
    for point in found["line"]:
        assert point["loss"] == pytest.approx(sum(point["each"]) / sum(found["sizes"]))
    assert example.main(["table", out]) == 0 and len(told(capsys)) == 3
    (tmp_path / "one.txt").write_text("not a genome")
    assert example.main(["search", str(model), files[0], str(tmp_path / "one.txt"), "kmer:3", out]) == 2
    assert capsys.readouterr().err.count("\n") == 1
