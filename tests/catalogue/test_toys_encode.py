"""A toy encoder, and one that is fitted: one class and one row each, and they are there; without the row, gone."""

from dataclasses import replace

import numpy as np

from helpers.commands import lem_fork
from helpers.toys import shows
from lemtools.align.maps import Map
from lemtools.catalogue import Option, Row
from lemtools.catalogue.encoders import ENCODERS
from lemtools.catalogue.maps import MAPS
from lemtools.encode.contract import Encoder, Fitted
from lemtools.media import load, sample


class Dimmed(Encoder):
    """Images divided by a number, row by row."""

    name = "dimmed"

    def __init__(self, divisor: int = 2):
        self.divisor = divisor

    def record(self, signal):
        return {"by": self.divisor, "channels": signal.data.shape[1]}

    def encode(self, signal):
        n, w = len(signal), signal.data.shape[-1]
        data = signal.data.astype(np.float32).reshape(n, -1, w) / self.divisor
        return [replace(signal, kind="embedding", data=data)]

    def decode(self, signal, record):
        data = np.rint(signal.data * record["by"]).astype(np.uint8)
        n, w = len(data), data.shape[-1]
        return [replace(signal, kind="image", data=data.reshape(n, record["channels"], -1, w))]


class Brightest(Fitted):
    """Images in units of the largest value that was fitted to."""

    name = "brightest"

    def __init__(self, most: float):
        self.most = most

    @classmethod
    def fit(cls, signals, *, at_least: int = 1):
        most = max(at_least, *(int(signal.data.max()) for signal in signals()))
        return cls(most), {"most": most}

    @classmethod
    def restore(cls, record, tensors):
        return cls(float(tensors["most"]))

    def tensors(self):
        return {"most": np.array(self.most, np.float32)}

    def card(self):
        return {}

    def encode(self, signal):
        data = signal.data.reshape(len(signal), -1) / np.float32(self.most)
        return [replace(signal, kind="embedding", data=data)]


DIMMED = Row(
    "dimmed",
    Dimmed,
    "images divided by a number",
    kinds=("image",),
    options=(Option("--divisor", "What to divide by.", "whole", low=1, high=9, default=2, metavar="D"),),
    facts={"back": ("embedding",)},
)
BRIGHTEST = Row(
    "brightest",
    Brightest,
    "images in units of the brightest",
    kinds=("image",),
    options=(Option("--at-least", "Smallest unit.", "whole", low=1, default=1, metavar="U", settled=True),),
    facts={"fitted": True, "made": "its unit: --model FILE, from --fit"},
)


def refused(*line, **more) -> str:
    done = lem_fork("encode", *line, **more)
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1, done.stderr.decode()
    return done.stderr.decode()


def test_a_class_and_a_row_are_an_encoder(tmp_path):
    photo = sample("kodim23")
    (tmp_path / "t.txt").write_text("hello")
    assert shows("dimmed", "encode") == shows("--divisor", "encode") == (False, False)
    with ENCODERS.added(DIMMED):
        assert shows("dimmed", "encode") == (True, True) and shows("--divisor", "encode") == (False, True)
        assert shows("--divisor", "encode", "--encoder", "dimmed") == (True, True)
        assert not shows("--vocab", "encode", "--encoder", "dimmed")[0]
        coded = lem_fork("encode", "--encoder", "dimmed", "--divisor", "3", photo)
        assert coded.returncode == 0, coded.stderr.decode()
        back = lem_fork("encode", "--decode", "-o", "back.png", stdin=coded.stdout, cwd=tmp_path)
        assert back.returncode == 0, back.stderr.decode()
        assert np.array_equal(next(load([str(tmp_path / "back.png")])).data, next(load([photo])).data)
        assert "--divisor is for dimmed" in refused("--encoder", "patches", "--divisor", "3", photo)
        assert "'--divisor': 10 is not in the range" in refused("--encoder", "dimmed", "--divisor", "10", photo)
        assert "--size is for patches" in refused("--encoder", "dimmed", "--size", "3", photo)
        assert "dimmed encodes image, not tokens" in refused("--encoder", "dimmed", str(tmp_path / "t.txt"))
        assert "dimmed is not fitted to data" in refused("--encoder", "dimmed", "--fit", photo, "-o", "x.safetensors")
    assert shows("dimmed", "encode") == shows("--divisor", "encode") == (False, False)
    assert "'dimmed' is not one of" in refused("--encoder", "dimmed", photo)
    assert "No such option" in refused("--divisor", "3", photo)
    assert f"no encoder 'dimmed'; there are {', '.join(ENCODERS)}" in refused(
        "--decode", "-o", str(tmp_path), stdin=coded.stdout
    )


def test_a_fitted_class_and_a_row_are_an_encoder_with_a_file(tmp_path):
    photo, path = sample("kodim23"), str(tmp_path / "unit.safetensors")
    with ENCODERS.added(BRIGHTEST):
        assert "needs its unit: --model FILE, from --fit" in refused("--encoder", "brightest", photo)
        line = f"--encoder brightest --fit --at-least 510 -o {path}".split()
        assert lem_fork("encode", *line, photo).stdout == b"most\t510\n"
        assert "--at-least is for brightest, where it is fitted" in refused("--model", path, "--at-least", "3", photo)
        done = lem_fork("encode", "--model", path, photo, "-o", str(tmp_path / "e.safetensors"))
        assert done.returncode == 0, done.stderr.decode()
        (coded,) = load([str(tmp_path / "e.safetensors")])
        assert np.allclose(coded.data[0], next(load([photo])).data.ravel() / 510)
        stream = (tmp_path / "e.safetensors").read_bytes()
        assert "brightest cannot be inverted" in refused("--decode", "--model", path, stdin=stream)
    assert "a newer lemtools, which knows an encoder 'brightest'" in refused("--model", path, photo)


def middle(pairs):
    """Everything becomes the mean of the other side."""
    d, e = len(pairs.mean[0]), len(pairs.mean[1])
    return Map(pairs.mean, np.zeros((d, e)), np.zeros((e, d)), facts={"lost": 1.0})


def test_a_map_is_one_function_and_one_row(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).standard_normal((30, 4)))
    np.save(tmp_path / "b.npy", np.random.default_rng(1).standard_normal((30, 3)))
    line = ("encode", "--encoder", "translate", "--fit", "--onto", "b.npy", "a.npy", "-o", "ab.safetensors", "--map")
    with MAPS.added(Row("middle", middle, "the mean")):
        done = lem_fork(*line, "middle", cwd=tmp_path)
        assert done.returncode == 0 and b"map\tmiddle\nlost\t1\n" in done.stdout, done.stderr.decode()
        assert b"mrr-middle" in lem_fork(*line, "auto", cwd=tmp_path).stdout
        assert shows("middle", "encode") == (True, True)
    out = lem_fork("encode", "--model", "ab.safetensors", "a.npy", "--to", "npy", "-o", "out.npy", cwd=tmp_path)
    assert out.returncode == 0 and np.load(tmp_path / "out.npy").shape == (30, 3)
    assert "'middle' is not one of" in refused(*line[1:], "middle", cwd=tmp_path)
