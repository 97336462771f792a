"""lem-encode --encoder thoughts: what each position of a text hands on."""

import io

import numpy as np
import pytest
import torch

from helpers import languages, parity
from helpers.commands import lem_fork
from lemtools import encode as room
from lemtools import stream
from lemtools.encode.thoughts import Thoughts
from lemtools.nets import build
from lemtools.nets.model import Model
from lemtools.signal import LemError, Signal
from lemtools.train.checkpoint import save_model


def kept(folder, model: Model, name="lm.safetensors") -> str:
    save_model(model, str(folder / name))
    return str(folder / name)


def drawn(by="bptt:12", carry="normal", context=12) -> Model:
    """One of bytes, with weights that are drawn."""
    torch.manual_seed(0)
    net = {"net": "lm", "vocabulary": 256, "depth": 2, "width": 32, "heads": 2, "context": context}
    net |= {"thoughts": 0.25, "thoughts_by": by, "thoughts_carry": carry}
    made = languages.model()
    return Model(build(net).eval(), made.meta | {"net": net, "item": [0], "target": {"kind": "tokens", "item": [0]}})


def symbols(rows=5, length=20, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (rows, length))


def whole(coder, tokens, **more) -> np.ndarray:
    return np.concatenate([out.data for out in room.encode([Signal("tokens", tokens, **more)], coder)])


def test_thoughts_of_parity_are_its_signs(tmp_path):
    """A model whose thought is known: every dimension of it is 1 where the ones so far are even in number, else -1."""
    tokens = symbols()
    made = list(room.encode([Signal("tokens", tokens, label=np.arange(5))], Thoughts(kept(tmp_path, parity.model()))))
    data = np.concatenate([out.data for out in made])
    assert data.shape == (5, 20, 8) and data.dtype == np.float32 and made[0].kind == "embedding"
    want = 1 - 2 * (tokens.cumsum(1) % 2)
    assert np.allclose(data, want[..., None], atol=2e-3)
    assert np.concatenate([out.tokens for out in made]).tolist() == tokens.tolist()
    assert [int(out.label[0]) for out in made] == list(range(5))
    record = made[0].history[-1]
    assert (record["encoder"], record["dims"], record["window"]) == ("thoughts", 8, 64)


@pytest.mark.parametrize("by", ["bptt:4", "passes:3"])
def test_they_are_what_the_network_carries(tmp_path, by):
    model, tokens = drawn(by), np.random.default_rng(0).integers(0, 256, (3, 12))
    with torch.no_grad():
        net = model.net
        left = net.thoughts(net.trunk, net.enter(torch.from_numpy(tokens)))[..., net.readable :].numpy()
    found = whole(Thoughts(kept(tmp_path, model)), tokens)
    assert found.shape == (3, 12, 8) and np.allclose(found, left, atol=1e-5) and found.std() > 0.1


def test_a_window_begins_without_thoughts(tmp_path):
    path, tokens = kept(tmp_path, drawn()), np.random.default_rng(0).integers(0, 256, (1, 30))
    made = list(room.encode([Signal("tokens", tokens, names=["a"])], Thoughts(path)))
    assert [out.data.shape for out in made] == [(1, 12, 8), (1, 12, 8), (1, 6, 8)]
    assert [out.names for out in made] == [["a#0"], ["a#1"], ["a#2"]]
    assert np.array_equal(made[1].data, whole(Thoughts(path), tokens[:, 12:24]))
    assert np.array_equal(made[2].data[0, :3], whole(Thoughts(path, window=3), tokens[:, 24:])[0])
    flat = list(room.encode([Signal("tokens", tokens)], Thoughts(path, flat=True)))
    assert np.array_equal(np.concatenate([out.data for out in flat]), np.concatenate([out.data[0] for out in made]))
    with pytest.raises(LemError, match="--window 13: .* takes 12 tokens at most"):
        Thoughts(path, window=13)


@pytest.mark.parametrize("by", ["bptt:12", "passes:3"])
def test_the_items_beside_one_change_no_bit_of_it(tmp_path, by):
    path, tokens = kept(tmp_path, drawn(by)), np.random.default_rng(0).integers(0, 256, (37, 12))
    found = whole(Thoughts(path), tokens)
    for batch in (1, 5, 16):
        parts = [whole(Thoughts(path), tokens[i : i + batch]) for i in range(0, 37, batch)]
        assert np.array_equal(found, np.concatenate(parts))


def test_from_the_command_line_through_a_fragment(tmp_path):
    kept(tmp_path, drawn(context=64))
    (tmp_path / "a.txt").write_text("some text")
    line = ["--encoder", "thoughts", "--model", "lm.safetensors", "--device", "cpu"]
    done = lem_fork("encode", *line, "a.txt", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    (out,) = stream.read(stream.Source(io.BytesIO(done.stdout), "x"))
    assert out.data.shape == (1, 9, 8) and bytes(out.tokens[0].tolist()) == b"some text"
    for losses in (["--bits", "2"], ["--noise", ".5"]):
        broken = lem_fork("fragment", *losses, stdin=done.stdout, cwd=tmp_path)
        assert (broken.returncode, broken.stderr) == (0, b"")
        (left,) = stream.read(stream.Source(io.BytesIO(broken.stdout), "x"))
        assert left.data.shape == (1, 9, 8) and not np.allclose(left.data, out.data, atol=0.05)
    back = lem_fork("encode", "--decode", stdin=done.stdout, cwd=tmp_path)
    assert back.returncode == 2 and b"thoughts cannot be inverted" in back.stderr


def test_what_has_no_thoughts_of_its_own_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    kept(tmp_path, languages.model(), "without.safetensors")
    kept(tmp_path, drawn(carry="none"), "none.safetensors")
    kept(tmp_path, drawn(carry="shuffled"), "shuffled.safetensors")
    kept(tmp_path, parity.model(), "parity.safetensors")
    gru = {"net": "gru-lm", "vocabulary": 256, "depth": 1, "width": 16, "context": 8}
    kept(tmp_path, Model(build(gru), drawn().meta | {"net": gru}), "gru.safetensors")
    for name, says in {
        "without": "carries no thoughts (lem-train lm --thoughts); --encoder activations --lm FILE",
        "none": "carries no thoughts",
        "gru": "carries no thoughts",
        "shuffled": "come from other items",
        "parity": "token 120, but parity.safetensors knows 3",
        "a.txt": "lem-encode: error: a.txt",
    }.items():
        file = name if "." in name else f"{name}.safetensors"
        done = lem_fork(
            "encode", "--encoder", "thoughts", "--model", file, "a.txt", "-o", "x.safetensors", cwd=tmp_path
        )
        said = done.stderr.decode()
        assert done.returncode == 2 and says in said and said.count("\n") == 1 and not done.stdout, said
        assert not (tmp_path / "x.safetensors").exists()
    line = ["--encoder", "thoughts", "--model", "parity.safetensors", "--patch-back", "a.txt"]
    assert b"--patch-back is for rvq" in lem_fork("encode", *line, cwd=tmp_path).stderr
