"""Tokens by a language model: brute force, frequencies, what is kept, and what a draw does not depend on."""

from itertools import product

import numpy as np
import pytest
import torch

from helpers.commands import lem_fork
from lemtools.fragment import fragment
from lemtools.nets import build
from lemtools.nets.model import Model
from lemtools.reconstruct import Reconstructor
from lemtools.reconstruct.continuing import Continuer
from lemtools.signal import Alphabet, LemError, Signal
from lemtools.train.checkpoint import save_model

CONTEXT = 8


def model(vocabulary=5, context=CONTEXT):
    """One whose probabilities are far from even."""
    torch.manual_seed(1)
    net = build({"net": "lm", "vocabulary": vocabulary, "depth": 2, "width": 16, "heads": 2, "context": context}).eval()
    torch.nn.init.normal_(net.head.weight, std=0.5)
    item = [context + 1]
    meta = {"v": 1, "recipe": "lm", "net": {"net": "lm", "vocabulary": vocabulary, "depth": 2, "width": 16, "heads": 2}}
    meta["net"]["context"] = context
    return Model(
        net, meta | {"kind": "tokens", "item": item, "target": {"kind": "tokens", "item": item}, "fragment": []}
    )


def broken(rows=6, length=7, seed=0, keep=3, vocabulary=5):
    """Tokens of which all from `keep` on are lost."""
    x = np.random.default_rng(seed).integers(0, vocabulary, (rows, length)).astype(np.uint8)
    mask = np.ones((rows, length), bool)
    mask[:, keep:] = False
    return Signal("tokens", x * mask, mask=mask, ops=[{"op": "mask", "mask": 0.5, "mask_shape": "pixel"}])


def said(known, context):
    """Logits after `context`, without a cache, of at most as many tokens as a window has."""
    with torch.no_grad():
        return known.net(torch.tensor([context], device=known.net.head.weight.device))[0, -1].double().cpu()


def test_the_likeliest_token_is_that_of_brute_force():
    known, signal = model(), broken()
    out, (step,) = Continuer(known, temperature=0)(signal)
    for row in range(len(signal)):
        x = signal.data[row, :3].tolist()
        for _ in range(4):
            x.append(int(said(known, x).argmax()))
        assert out.data[row].tolist() == x
    assert out.mask is None and out.ops == [] and out.data.dtype == np.uint8
    assert step == "continue: a draw by the model, token after token, the likeliest"


def test_a_cache_says_what_no_cache_says():
    net = model().net
    x = torch.randint(0, 5, (3, CONTEXT))
    with torch.no_grad():
        whole, caches = net(x), net.caches()
        torch.testing.assert_close(net.after(x[:, :3], caches), whole[:, 2])
        for t in range(3, CONTEXT):
            torch.testing.assert_close(net.after(x[:, t : t + 1], caches), whole[:, t])
    with pytest.raises(ValueError, match="9 positions"):
        net.after(x[:, :1], caches)


def test_beyond_the_context_at_least_half_of_it_is_seen():
    known, length = model(), 3 * CONTEXT
    out, _ = Continuer(known, temperature=0, more=length - 7)(broken())
    for row in out.data.tolist():
        for t in range(3, length):
            start = 0 if t <= CONTEXT else next(s for s in range(0, t, CONTEXT // 2) if t - s <= CONTEXT)
            assert CONTEXT // 2 < t - start <= CONTEXT or start == 0
            assert row[t] == int(said(known, row[start:t]).argmax()), t


@pytest.mark.parametrize("temperature, top", [(1.0, None), (0.7, 2)])
def test_draws_of_two_tokens_are_as_frequent_as_the_model_says(temperature, top):
    """The second depends on the first, and what is known lies between them."""
    known, count = model(3), 1500

    def likely(context):
        x = said(known, context) / temperature
        return torch.where(x >= x.sort(descending=True).values[(top or 3) - 1], x, -torch.inf).softmax(0)

    x = np.tile(np.uint8([1, 0, 2, 0]), (1, 1))
    mask = np.array([[True, False, True, False]])
    signal = Signal("tokens", x * mask, mask=mask, ops=[{"op": "mask", "mask": 0.5, "mask_shape": "pixel"}])
    out, _ = Continuer(known, samples=count, temperature=temperature, top=top)(signal)
    assert out.data.shape == (count, 4) and (out.data[:, [0, 2]] == [1, 2]).all()
    for a, b in product(range(3), range(3)):
        want = float(likely([1])[a] * likely([1, a, 2])[b])
        share = ((out.data[:, 1] == a) & (out.data[:, 3] == b)).mean()
        assert abs(share - want) <= 4 * np.sqrt(want * (1 - want) / count), (a, b, share, want)


def test_a_draw_does_not_depend_on_the_others():
    known, signal = model(), broken(rows=5)
    signal.mask[2, 1] = signal.mask[4, 5] = ~signal.mask[4, 5]
    recall = Continuer(known, samples=3, seed=4, more=3)
    every, _ = recall(signal)
    for row in range(5):
        alone, _ = recall(signal.take(np.array([row])))
        assert np.array_equal(alone.data, every.data[3 * row : 3 * row + 3])
    fewer, _ = Continuer(known, samples=2, seed=4, more=3)(signal)
    assert np.array_equal(fewer.data.reshape(5, 2, -1), every.data.reshape(5, 3, -1)[:, :2])
    other, _ = Continuer(known, samples=3, seed=5, more=3)(signal)
    assert not np.array_equal(other.data, every.data)


def test_what_is_known_stays_and_what_is_whole_comes_back():
    whole = Signal("tokens", np.random.default_rng(0).integers(0, 5, (3, 11)).astype(np.uint8))
    out, _ = Continuer(model(), more=0)(whole)
    assert np.array_equal(out.data, whole.data)
    (left,) = fragment([whole], [{"op": "mask", "mask": 0.5, "mask_shape": "pixel"}], 1)
    out = Reconstructor("continue", model=model())(left)
    seen = np.broadcast_to(left.mask, left.data.shape) != 0
    assert (out.data == whole.data)[seen].all() and out.ops == [] and out.history[-1]["method"] == "continue"


def test_the_first_token_is_any_token():
    signal = Signal(
        "tokens", np.zeros((1, 1), np.uint8), mask=np.zeros((1, 1), bool), ops=[{"op": "mask", "mask": 1.0}]
    )
    out, _ = Continuer(model(), samples=1000)(signal)
    share = np.bincount(out.data[:, 0], minlength=5) / 1000
    assert np.abs(share - 0.2).max() < 4 * np.sqrt(0.2 * 0.8 / 1000)


def test_what_does_not_suit_is_refused(tmp_path):
    known = model()
    with pytest.raises(LemError, match="^token 7, where the model knows 0 to 4"):
        Continuer(known)(Signal("tokens", np.full((1, 3), 7, np.uint8)))
    with pytest.raises(LemError, match="goes on with tokens, not with embedding"):
        Continuer(known)(Signal("embedding", np.zeros((1, 3), np.float32)))
    phones = Signal("tokens", np.zeros((1, 3), np.uint8), alphabet=Alphabet("ipa", ("a", "b")))
    with pytest.raises(LemError, match="^the model goes on with text and its tokens, not with symbols of ipa"):
        Continuer(known)(phones)
    net = build({"net": "token-ae", "vocabulary": 8, "chunk": 2, "latent": 2, "width": 8})
    with pytest.raises(LemError, match=r"^the model: a model of token-ae .*takes one of lem-train lm"):
        Continuer(Model(net, {"recipe": "token-ae", "net": {"net": "token-ae"}}))


def test_a_text_goes_on(tmp_path):
    save_model(model(256, 16), str(tmp_path / "lm.safetensors"))
    (tmp_path / "a.txt").write_text("to be or not")
    asked = ("--method", "continue", "--model", "lm.safetensors", "--top", 1, "--more", 9, "-v", "a.txt")
    done = lem_fork("reconstruct", *asked, "-o", "b.txt", cwd=tmp_path)
    assert done.returncode == 0 and b"9 more" in done.stderr
    assert (tmp_path / "b.txt").read_bytes().startswith(b"to be or not") and (tmp_path / "b.txt").stat().st_size == 21
    done = lem_fork("reconstruct", "--method", "net", "--top", 2, "a.txt", "-o", "c.txt", cwd=tmp_path)
    assert done.returncode == 2 and b"--top is for --method continue (with --model), not net" in done.stderr
    done = lem_fork("reconstruct", "--method", "continue", "a.txt", "-o", "c.txt", cwd=tmp_path)
    assert done.returncode == 2 and b"--method continue needs a model of lem-train lm: --model MODEL" in done.stderr
