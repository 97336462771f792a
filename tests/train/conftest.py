"""Fixtures of the tests of training."""

import json

import numpy as np
import pytest
import torch

from helpers.training import images, spectra, vectors


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
    meta = {"v": 1, "kind": "spectrum", "n": 40, "first": 0, "rate": 8000, "ops": [], "history": [], "last": True}
    (tmp_path / "spectrum.safetensors").write_bytes(save({"data": spectra()}, {"lem": json.dumps(meta)}))
    return {p.stem: str(p) for p in tmp_path.iterdir()}
