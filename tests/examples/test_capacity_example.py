"""examples/capacity.py and capacity_controls.py: their tables on small sets made here, and what they count by the definition."""

import gzip
import importlib.util
import math
import struct

import numpy as np
import pytest

from helpers.paths import EXAMPLES
from lemtools import stream
from lemtools.fragment import fragment
from lemtools.fragment.evidence import evidence
from lemtools.media import load
from lemtools.signal import Signal


def loaded(name):
    spec = importlib.util.spec_from_file_location(f"{name}_example", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example, controls = loaded("capacity"), loaded("capacity_controls")


def idx(path, array):
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


def test_training_images_are_stored_and_the_test_images_are_parted(tmp_path):
    rng = np.random.default_rng(0)
    made = {}
    for part, count in (("train", 12), ("t10k", 6)):
        made[part] = rng.integers(0, 256, (count, 28, 28)), np.arange(count) % 10
        idx(tmp_path / f"{part}-images-idx3-ubyte.gz", made[part][0])
        idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", made[part][1])
    example.images(tmp_path, tmp_path, False)
    stored, others, asked = (next(load([str(tmp_path / f"{n}.safetensors")])) for n in ("stored", "others", "asked"))
    place = [int(np.flatnonzero((made["train"][0] == image[0]).all((1, 2)))[0]) for image in stored.data]
    assert sorted(place) == list(range(12)) and (stored.label == made["train"][1][place]).all()
    both = np.concatenate([others.data, asked.data])[:, 0]
    assert len(others) == 3 and (both == made["t10k"][0]).all()


def test_right_memories_and_psnr_are_those_of_brute_force(monkeypatch):
    monkeypatch.setattr(example, "ASKED", 9)
    rng = np.random.default_rng(1)
    whole = rng.integers(0, 256, (40, 1, 6, 6)).astype(np.uint8)
    held = next(fragment([Signal("image", whole)], [{"op": "bits", "bits": 1}])).data
    found = example.recalled(held, whole, 3)
    asked = np.random.default_rng((1, 3)).choice(40, 9, replace=False)
    for name, operations in example.LOST.items():
        seen = evidence(next(fragment([Signal("image", whole[asked])], operations, 3)))
        energy = ((seen.value[:, None] - held[None] / 255.0) ** 2 * seen.observed[:, None]).sum((2, 3, 4))
        assert found[name][0] == (energy.argmin(1) == asked).mean()
        weight = np.exp(-8 * energy / energy.min(1, keepdims=True))
        mean = np.einsum("bn,nchw->bchw", weight / weight.sum(1, keepdims=True), held / 255.0)
        error = np.square(mean - whole[asked] / 255.0)[~seen.observed].mean()
        assert abs(found[name][1] + 10 * math.log10(error)) < 1e-4
    quick = example.recalled(held, whole, 3, mean=False)
    assert quick == {name: (right, None) for name, (right, _) in found.items()}
    exact = example.recalled(whole, whole, 3)
    assert all(right == 1 and db > 100 for right, db in exact.values())


def test_the_likelihood_with_a_white_error_is_the_nearest(monkeypatch):
    monkeypatch.setattr(example, "ASKED", 9)
    monkeypatch.setattr(example, "NEAREST", 20)
    whole = np.random.default_rng(2).integers(0, 256, (40, 1, 6, 6)).astype(np.uint8)
    held = np.random.default_rng(3).integers(whole // 2, whole // 2 + 128).astype(np.uint8)
    plain, likely = example.recalled(held, whole, 0), example.likely(held, whole, 0, 0.04 * np.eye(36))
    assert [likely[lost][0] for lost in example.LOST] == [plain[lost][0] for lost in example.LOST]


def test_the_tables_go_on_where_they_were_stopped(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    images = np.random.default_rng(0).integers(0, 256, (30, 1, 6, 6)).astype(np.uint8)
    held = next(fragment([Signal("image", images)], [{"op": "bits", "bits": 1}]))
    for name, batch in (("stored", Signal("image", images)), ("784.pixels.codes", held)):
        with open(tmp_path / f"{name}.safetensors", "wb") as file:
            stream.write([batch], file)
    for name, value in {"FEW": 20, "COUNTS": (10, 20, 30), "ASKED": 5}.items():
        monkeypatch.setattr(example, name, value)
    example.table(tmp_path, False)
    text = (tmp_path / "capacity.md").read_text()
    assert "| all, 8 bits a pixel | 6,272 | 0 | 1.000 | exact | 1.000 | exact | 1.000 | exact |" in text
    assert text.count("| 1 bit a pixel |") == 4 and (tmp_path / "capacity.png").read_bytes()[:4] == b"\x89PNG"
    lines = (tmp_path / "capacity.jsonl").read_text()
    (tmp_path / "capacity.jsonl").write_text(lines[: len(lines) * 2 // 3])
    example.table(tmp_path, False)
    assert (tmp_path / "capacity.md").read_text() == text and (tmp_path / "capacity.jsonl").read_text() == lines


def test_willshaws_matrix_is_that_of_the_definition(monkeypatch):
    """A unit answers where every unit of the cue was active with it in some pattern."""
    monkeypatch.setattr(controls, "UNITS", 40)
    monkeypatch.setattr(controls, "ACTIVE", 4)
    found = controls.willshaw(20, 2)
    rng = np.random.default_rng((2, 2))
    units = np.argsort(rng.random((20, 40), np.float32), 1)[:, :4]
    patterns = [set(row.tolist()) for row in units]
    together = {(a, b) for pattern in patterns for a in pattern for b in pattern}
    right = alone = 0
    for row, pattern in zip(units, patterns, strict=True):
        cue = row[:2].tolist()
        right += {u for u in range(40) if all((u, c) in together for c in cue)} == pattern
        alone += sum(set(cue) <= other for other in patterns) == 1
    assert (found["matrix"], found["list"]) == (right / 20, alone / 20)
    assert 0 < right < 20 and found["bits a pattern, matrix"] == 40 * 41 / 2 / 20
    assert found["bits a pattern, list"] == math.log2(math.comb(40, 4))


def test_few_random_patterns_are_read_from_a_sparse_distributed_memory(monkeypatch):
    monkeypatch.setattr(controls, "STORED", 20)
    monkeypatch.setattr(controls, "ASKED", 10)
    rng = np.random.default_rng(0)
    images, others = rng.random((30, 256)) < 0.5, rng.random((3000, 256)) < 0.5
    found = controls.distributed(images, others, 2000, 0)
    assert found["50 % of pixels"][0] > 0.8 and found["50 % of pixels"][2] == 2000 * 256 * 8 / 20
    few = controls.distributed(images, others, 1, 0)  # one location cannot tell twenty apart
    assert few["50 % of pixels"][0] < 0.3


def test_rules_learn_what_is_apart_and_softmax_forgets():
    rng = np.random.default_rng(0)
    centre = 4 * rng.standard_normal((10, 6))
    y = np.sort(rng.integers(0, 10, 600))
    x = centre[y] + 0.5 * rng.standard_normal((600, 6))
    for rule in (controls.means(x, y), controls.least_squares(x, y), controls.kept(x.astype(np.float32), y)):
        assert (rule(x).argmax(1) == y).mean() > 0.9
    assert (controls.softmax(x, y, 10.0)(x).argmax(1) == y).mean() < 0.5
    shuffled = rng.permutation(600)
    assert (controls.softmax(x[shuffled], y[shuffled], 0.1)(x).argmax(1) == y).mean() > 0.9
    bottleneck = controls.Bottleneck(x, 0)
    places = bottleneck.places(x)
    assert (bottleneck.counts(places, y)(places).argmax(1) == y).mean() > 0.9
    assert (bottleneck.descent(places, y, 1.0)(places).argmax(1) == y).mean() > 0.9
