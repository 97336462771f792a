"""A toy metric, and a toy resource: one function and one row each, and they are there; without the row, gone."""

import numpy as np
import pytest

from helpers.commands import lem_fork
from helpers.toys import seen, shows
from lemtools import stream
from lemtools.catalogue import LemError, Row
from lemtools.catalogue.labelled import LABELLED
from lemtools.catalogue.metrics import METRICS, spelled
from lemtools.compare import measure
from lemtools.compare.labelled import Estimate
from lemtools.compare.resources import RESOURCES, Resource
from lemtools.fragment import fragment
from lemtools.signal import Signal

RNG = np.random.default_rng(0)
A, B = (Signal("image", RNG.integers(0, 256, (4, 3, 9, 9), dtype=np.uint8)) for _ in "ab")
SOUND = Signal("audio", np.zeros((2, 1, 64), np.float32), rate=8000.0)


def glare(a, b, *, k):
    return np.sort(b.reshape(len(b), -1), axis=1)[:, -k].astype(float)


TOY = Row(
    "glare",
    glare,
    "the K-th brightest value",
    kinds=("image",),
    shown="glare@K",
    facts={"k": 1, "quick": ("image",), "groups": ("all",), "better": "lower", "printed": "glare[{k}]"},
)


def test_a_toy_metric(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shows("glare", "compare") == (False, False)
    (broken,) = fragment([A], [{"op": "bits", "bits": 2}])
    for name, signal in (("a.safetensors", A), ("b.safetensors", broken), ("s.safetensors", SOUND)):
        with open(name, "wb") as file:
            stream.write([signal], file)
    with METRICS.added(TOY):
        assert shows("glare@K", "compare") == (True, True)
        told = lem_fork(
            "compare", "--metric", "GLARE@3,psnr", "a.safetensors", "-", stdin=open("b.safetensors", "rb").read()
        )
        name, mean, *_ = told.stdout.decode().splitlines()[0].split("\t")
        assert name == "glare[3]" and float(mean) == pytest.approx(glare(A.data, broken.data, k=3).mean(), rel=1e-6)
        for words in ((), ("--metric", "all")):
            assert b"glare[1]\t" in lem_fork("compare", "a.safetensors", "b.safetensors", *words).stdout
        told = lem_fork("compare", "s.safetensors", "s.safetensors", "--metric", "glare")
        assert told.returncode == 2 and told.stderr == b"lem-compare: error: --metric glare is for image, not audio\n"
        with pytest.raises(LemError, match="no metric 'glaer'; near it: glare"):
            spelled("glaer")
        assert lem_fork("compare", "a.safetensors", "b.safetensors", "--max", "glare=0").returncode == 1
    assert shows("glare", "compare") == (False, False)
    with pytest.raises(LemError, match="no metric 'glare'"):
        measure(A, B, "glare")


def test_a_toy_metric_of_labelled_sets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def items(groups, asked):
        yield Estimate("", lambda weights: weights @ groups.count(), len(groups))

    data = np.arange(8, dtype=np.float32).reshape(4, 2)
    with open("a.safetensors", "wb") as file:
        stream.write([Signal("embedding", data, names=list("wxyz"))], file)
    (tmp_path / "l.tsv").write_text("name\tkind\twho\nw\ta\ts\nx\tb\ts\ny\ta\tt\nz\tb\tt\n")
    line = ("compare", "--labels", "l.tsv", "--by", "kind", "--leave", "who", "--metric", "items", "a.safetensors")
    with LABELLED.added(Row("items", items, "how many", facts={"centred": False, "shuffled": False})):
        assert lem_fork(*line).stdout == b"a\titems\t4\t-\t-\t4\t-\t-\t-\n"
    assert b"--metric items: with --labels there are purity" in lem_fork(*line).stderr


def test_a_toy_resource(monkeypatch):
    made = []

    def mean(sides):
        made.append(len(sides.pair))
        return sides.pair.a.mean()

    def brightness(a, b, *, mean, ruler=None):
        return np.abs(b - mean).mean((1, 2, 3)) + (ruler or 0)

    monkeypatch.setitem(RESOURCES, "mean", Resource(mean))
    known = Resource(
        lambda sides: sides.given["ruler"], lambda sides: "" if "ruler" in sides.given else "needs a ruler"
    )
    monkeypatch.setitem(RESOURCES, "ruler", known)
    halves = [[x.take([0, 1]), x.take([2, 3])] for x in (A, B)]
    with (
        METRICS.added(Row("brightness", brightness, needs=("mean",), facts={"uses": ("ruler",)})),
        METRICS.added(Row("level", brightness, needs=("mean",))),
        METRICS.added(Row("ruled", brightness, needs=("mean", "ruler"), facts={"of_set": True})),
    ):
        found = measure(*halves, "brightness,level", ruler=1.0)
        assert made == [2, 2]  # once a batch, for both metrics
        assert np.allclose(found[0].values, found[1].values + 1) and found[1].values.min() > 1
        assert np.allclose(measure(*halves, "brightness")[0].values, found[1].values)
        with pytest.raises(LemError, match="--metric ruled needs a ruler"):
            measure(A, B, "ruled")
        made.clear()
        (whole,) = measure(*halves, "ruled", ruler=1.0)
        assert made == [4] and whole.name == "ruled" and len(whole.values) == 4
    assert "brightness" not in "".join(seen("compare"))
    with pytest.raises(TypeError, match="'glow'"):
        measure(A, B, glow=1)
