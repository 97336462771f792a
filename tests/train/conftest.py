"""Fixtures of the tests of training."""

import json

import numpy as np
import pytest
import torch

from helpers.edges import corpus
from helpers.training import images, spectra, states, vectors


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def kept(tmp_path):
    """Paths of data sets by kind."""
    from safetensors.numpy import save

    np.save(tmp_path / "image.npy", images())
    np.save(tmp_path / "embedding.npy", vectors())
    np.save(tmp_path / "solved.npy", states()[::-1].copy())
    for kind, data, more in (("spectrum", spectra(), {"rate": 8000}), ("field", states(), {})):
        meta = {"v": 1, "kind": kind, "n": 40, "first": 0, **more, "ops": [], "history": [], "last": True}
        (tmp_path / f"{kind}.safetensors").write_bytes(save({"data": data}, {"lem": json.dumps(meta)}))
    corpus(tmp_path)
    return {p.stem: str(p) for p in tmp_path.iterdir()}
