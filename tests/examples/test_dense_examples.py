"""examples/lm.py and the benchmark of dense tokens: what they compute on, and what they do without a peer."""

import importlib
import sys
from functools import partial

import numpy as np
import pytest
import torch

from helpers.paths import ROOT
from lemtools.nets.lm import LM
from lemtools.nets.token_ae import TokenAutoencoder


@pytest.fixture
def script(monkeypatch):
    """A script as a module, by folder and name; what it reads of the environment is as given."""

    def get(folder, name, **environment):
        monkeypatch.syspath_prepend(ROOT / folder)
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    return get


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(np.random.default_rng(0).choice(np.frombuffer(b"etaoin shrdlu", np.uint8), 4000).tobytes())
    return str(path)


class Asked:
    """lemtools.device.pick that keeps what it was asked for."""

    def __init__(self):
        self.names = []

    def __call__(self, name):
        self.names.append(name)
        return "cpu"


def test_activations_are_taken_quantised_and_put_back_on_the_device(script, text, monkeypatch, capsys):
    lm, asked, placed = script("examples", "lm", DEVICE="cuda:7"), Asked(), []
    torch.manual_seed(0)
    net = LM(depth=2, width=16, context=8)
    monkeypatch.setattr(lm, "pick", asked)
    monkeypatch.setattr(lm, "load", lambda path, device: placed.append(device) or type("Model", (), {"net": net}))
    lm.patch(text, "model", "1", "2", "8", windows=20)
    assert placed == ["cpu"] and set(asked.names) == {"cuda:7"} and len(asked.names) >= 3
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines[-4:]] == ["as it is", "the mean alone", "1", "2"]
    assert [line[1] for line in lines[-4:]] == ["", "0", "3", "6"]


def test_tokens_are_recovered_on_the_device(script, text, monkeypatch, capsys):
    from lemtools.encode import token_ae

    lm, asked = script("examples", "lm", DEVICE="cuda:7"), Asked()
    net = TokenAutoencoder(chunk=2, latent=4, width=16)
    monkeypatch.setattr(token_ae, "pick", asked)
    monkeypatch.setattr(lm.TokenAE, "load", classmethod(lambda cls, path: cls(net, {})))
    lm.recovered_table(text, "model")
    assert asked.names == ["cuda:7"] and capsys.readouterr().out.splitlines()[-1].startswith("2\t4\t0.")


def test_latents_cost_their_norms_too(script):
    lm, chunk = script("examples", "lm", DEVICE="cpu"), 2
    ae = lm.TokenAE(TokenAutoencoder(chunk=chunk, latent=8, width=16), {})
    assert lm.cost(ae, np.zeros((1, 8), np.uint8), 3) == (8 * 3 + 16) / chunk


def test_a_quantiser_is_made_once_and_reported_every_time(script, text, tmp_path, monkeypatch, capsys):
    lm = script("examples", "lm", DEVICE="cpu")
    net = TokenAutoencoder(chunk=2, latent=4, width=16)
    monkeypatch.setattr(lm.TokenAE, "load", classmethod(lambda cls, path: cls(net, {})))
    tables = []
    for _ in range(2):
        lm.quantiser(text, "model", str(tmp_path / "rvq.safetensors"), "2", "8")
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] and tables[0].splitlines()[-1].startswith("tokens recovered by 2 stages\t")


def test_runs_are_those_of_the_seeds_asked_for(script, tmp_path, monkeypatch, capsys):
    lm = script("examples", "lm", DEVICE="cpu")
    monkeypatch.setattr(lm, "load", lambda path: type("Model", (), {"parameters": 7}))
    for seed, bits in ((0, 2.0), (1, 9.0), (10, 3.0)):
        (tmp_path / f"lm-{seed}.jsonl").write_text(f'{{"step": 5, "bits": {bits}}}\n')
    lm.runs("name", "bits", str(tmp_path / "lm"), "0", "10")
    assert capsys.readouterr().out == "name\t2.500\t0.707\t5\t7\n"


def test_the_benchmark_leaves_a_peer_out_that_is_not_installed(script, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "faiss", None)
    bench = script("tests/benchmarks", "bench_rvq")
    whole = bench.gaussian
    monkeypatch.setattr(bench, "gaussian", lambda draw, count, dims=8: whole(draw, count // 16, dims))
    monkeypatch.setattr(bench, "BITS", 3)
    monkeypatch.setattr(bench, "SEEDS", (10,))
    # fits whose quality is not the question
    monkeypatch.setattr(bench.RVQ, "fit", partial(bench.RVQ.fit, updates=4))
    monkeypatch.setattr(bench, "Settings", partial(bench.Settings, steps=20))
    monkeypatch.setattr(sys, "argv", ["bench_rvq.py", "speed", "error", "--threads", str(torch.get_num_threads())])
    bench.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "faiss is not installed: its rows are left out" and not any("faiss, beam" in x for x in lines)
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in lines if line.startswith("rvq, beam")}
    assert list(rows) == [f"rvq, beam {b}" for b in (1, 2, 4, 8, 16)] and rows["rvq, beam 16"][3:] == ["1.00", "1.00"]
