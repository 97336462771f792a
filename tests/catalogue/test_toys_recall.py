"""A toy method and a toy denoiser: one function and one row each, and they are there; without the row, gone."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.commands import lem_fork
from helpers.toys import seen, shows
from lemtools import stream
from lemtools.catalogue import LemError, Option, Row
from lemtools.catalogue.denoisers import DENOISERS, SKIP, named
from lemtools.catalogue.methods import METHODS
from lemtools.denoise.contract import split
from lemtools.denoise.how import How
from lemtools.els import machine
from lemtools.els.bank import Bank
from lemtools.fragment import fragment
from lemtools.reconstruct import choose, reconstruct
from lemtools.signal import Signal

RNG = np.random.default_rng(0)
PHOTOS = Signal("image", RNG.integers(0, 256, (4, 1, 8, 8), dtype=np.uint8))
SOUNDS = Signal("audio", np.zeros((1, 1, 64), np.float32), rate=8000.0)


def written(signal: Signal) -> bytes:
    file = io.BytesIO()
    stream.write([signal], file)
    return file.getvalue()


def read(raw: bytes) -> Signal:
    (signal,) = stream.read(stream.Source(io.BytesIO(raw), "x"))
    return signal


(LOST,) = fragment([PHOTOS], [{"op": "mask", "mask": 0.5}])


def paint():
    def recall(signal):
        data = np.where(signal.observed(), signal.data, np.uint8(10))
        return replace(signal, data=data, mask=None), ["painted"]

    return recall


def noisy_spectra(signal, lost):
    return lost == {"noise"} and signal.kind == "spectrum"


TOY_METHOD = Row("paint", paint, "lost pixels in one shade", kinds=("image",), facts={"auto": (1.5, noisy_spectra)})


def shade(*, memory, model=None, seed=0, gloom=0):
    dark = np.min(memory) + gloom
    return lambda signal: (replace(signal, data=np.where(signal.observed(), signal.data, dark), mask=None), [f"{dark}"])


GLOOM = Option("--gloom", "How much brighter.", "whole", low=0, high=255, metavar="V")
TOY_RECALL = Row("shade", shade, "the darkest stored value", kinds=("image",), options=(GLOOM,), needs=("memory",))


def test_a_toy_method(tmp_path):
    np.save(tmp_path / "store.npy", PHOTOS.data)
    assert shows("paint", "reconstruct") == (False, False)
    with METHODS.added(TOY_METHOD), METHODS.added(TOY_RECALL):
        assert shows("paint", "reconstruct") == (True, True)
        assert shows("--gloom", "reconstruct", "--method", "shade") == (True, True)
        done = lem_fork("reconstruct", "--method", "paint", "--to", "safetensors", stdin=written(LOST))
        back = read(done.stdout)
        assert (back.data[~LOST.observed()] == 10).all()
        assert np.array_equal(back.data[LOST.observed()], PHOTOS.data[LOST.observed()])
        assert back.history[-1]["method"] == "paint" and back.history[-1]["steps"] == ["painted"]
        line = ("--method", "shade", "--memory", "store.npy", "--gloom", "3", "--to", "safetensors")
        back = read(lem_fork("reconstruct", *line, stdin=written(LOST), cwd=tmp_path).stdout)
        assert (back.data[~LOST.observed()] == PHOTOS.data.min() + 3).all()
        for words, problem in (
            (("--method", "smooth", "--gloom", "1"), "--gloom is for --method shade (with --memory), not smooth"),
            (
                ("--method", "paint", "--sigma", "1"),
                "--sigma is for --method recall and gaussian (with --memory), not paint",
            ),
            (("--method", "paint", "--memory", "x.npy"), "--method paint does not use a --memory"),
            (("--method", "shade"), "--method shade needs a store of memories: --memory STORE"),
        ):
            done = lem_fork("reconstruct", *words, stdin=written(LOST))
            assert done.returncode == 2 and problem in done.stderr.decode()
        noisy = Signal("spectrum", np.zeros((1, 1, 4, 4), np.float32), ops=[{"op": "noise", "sigma": 0.1}])
        assert choose(noisy) == "paint" and choose(replace(noisy, ops=[])) == "decode"
    assert shows("paint", "reconstruct") == (False, False)
    with pytest.raises(LemError, match="no method 'paint'"):
        list(reconstruct([LOST], "paint"))


class Mean:
    """Always the mean of what is stored, moved by what may be left out."""

    def __init__(self, memories, how):
        store = getattr(memories, "store", memories)
        self.scale, self.lift, self.mean = store.scale, how.skip, store.mean.reshape(store.item)

    def __call__(self, x_t, alpha_bar):
        level, _ = split(alpha_bar, len(x_t))
        whole = torch.where(level.reshape(-1, 1, 1, 1) == 1, torch.as_tensor(x_t).double(), self.mean + self.lift)
        return whole.to(torch.as_tensor(x_t).dtype)


FACTS = {"machine": True, "prior": True}
TOY_DENOISER = Row("mean", Mean, "the mean alone", kinds=("image",), options=(SKIP,), facts=FACTS)


def test_a_toy_denoiser(tmp_path):
    np.save(tmp_path / "bank.npy", PHOTOS.data)
    assert not any("wiener|mean]" in text or "wiener, mean." in text for text in seen("els"))
    mean = PHOTOS.data.mean(0) / 255
    with DENOISERS.added(TOY_DENOISER):
        help, manual = seen("els")
        assert "wiener|mean]" in help and "wiener, mean." in " ".join(manual.split())
        done = lem_fork(
            "els", "--bank", "bank.npy", "--machine", "mean", "--seeds", "0-1", "--steps", "3", cwd=tmp_path
        )
        drawn = read(done.stdout)
        assert np.abs(drawn.data - mean).max() < 1e-5 and drawn.history[-1]["machine"] == "mean"
        line = ("--method", "dream", "--memory", "bank.npy", "--prior", "mean", "--steps", "9", "--to", "safetensors")
        back = read(lem_fork("reconstruct", *line, stdin=written(LOST), cwd=tmp_path).stdout)
        assert np.abs(back.data - 255 * mean)[~LOST.observed()].max() < 2
        lifted = machine("mean", Bank(PHOTOS.data), how=How(skip=0.5))
        assert torch.allclose(lifted(torch.zeros(1, 1, 8, 8), 0.5), lifted.mean.float() + 0.5)
        line = ("--bank", "bank.npy", "--machine", "mean")
        refused = lem_fork("els", *line, "--scales", "3", cwd=tmp_path)
        assert b"--scales does nothing for mean: leave it out, or ask ls, els, bbels" in refused.stderr
        refused = lem_fork("els", *line, "--explain", "m.png", cwd=tmp_path)
        assert b"--explain is for the local machines, ls, els, bbels" in refused.stderr
        refused = lem_fork("els", "--bank", "bank.npy", "--machine", "is", "--skip", "0", cwd=tmp_path)
        assert b"or ask es, ls, els, bbels, both, time, freq, none, mean" in refused.stderr
        with pytest.raises(LemError, match="--prior mean is of patches of images, not of embedding"):
            vectors = Signal("embedding", RNG.standard_normal((3, 4)).astype(np.float32))
            list(reconstruct([vectors], "dream", memory=vectors.data, prior="mean"))
    assert not any("wiener|mean]" in text or "wiener, mean." in text for text in seen("els"))
    with pytest.raises(LemError, match=f"no machine 'mean'; there are {', '.join(named('machine'))}"):
        machine("mean", Bank(PHOTOS.data))
