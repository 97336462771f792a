"""Text: the language model, K tokens as one vector, next-vector prediction, and activations put back."""

import contextlib
import json
import math

import numpy as np
import pytest
import torch

from helpers.commands import lem, lem_fork, lem_together
from helpers.training import Died, dying, files, result
from lemtools.encode.patch_back import HuggingFace, patch_back
from lemtools.encode.token_ae import TokenAE, recovered
from lemtools.media import Reading
from lemtools.nets.dense import DenseLM
from lemtools.nets.lm import LM, dial
from lemtools.nets.model import load
from lemtools.nets.token_ae import TokenAutoencoder, divergence
from lemtools.nets.transformer import rotate
from lemtools.ranks import Ranks
from lemtools.signal import LemError, Signal
from lemtools.train import corpus
from lemtools.train.data import Batches
from lemtools.train.dry import dry_run
from lemtools.train.loop import train
from lemtools.train.prepare import prepare
from lemtools.train.settings import Settings
from lemtools.train.trainer import Trainer

WORDS = ["what ", "is ", "gone ", "was ", "here ", "and ", "none ", "knew\n"]
SMALL = {
    "lm": dict(width=16, depth=1, options={"context": 16}),
    "token-ae": dict(width=16, options={"latent": 8}),
    "dense": dict(recipe="lm", on="dense", width=16, depth=1, options={"context": 16, "components": 2}),
    "codes": dict(recipe="lm", on="dense", width=16, depth=1, options={"context": 16}),
}


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A file of 3000 words, drawn alike."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("book") / "book.txt"
    path.write_text("".join(WORDS[i] for i in rng.integers(len(WORDS), size=3000)))
    return path


@pytest.fixture(scope="module")
def coded(book, tmp_path_factory):
    """A token autoencoder of that text."""
    asked = run(
        "token-ae",
        tmp_path_factory.mktemp("coded"),
        book,
        steps=100,
        batch=4,
        lr=1e-2,
        width=32,
        holdout=4,
        save_every=100,
        ema=0.9,
        options={"latent": 16, "token_dropout": 0.05, "latent_dropout": 0.05},
    )
    torch.set_num_threads(1)
    train(asked)
    return asked.output


class Residual:
    """A residual quantiser as train.text asks for it: tables drawn once, each code the nearest row."""

    name, dims, stages, groups, codes = "rvq", 16, 2, 1, 5

    def __init__(self):
        self.tables = np.random.default_rng(1).standard_normal((2, 5, 16)).astype(np.float32) * [[[2.0]], [[1.0]]]

    def tensors(self):
        return {"tables": self.tables}

    def encode(self, x):
        out, rest = [], x
        for table in self.tables:
            out.append(((rest[:, None] - table) ** 2).sum(-1).argmin(1))
            rest = rest - table[out[-1]]
        return np.stack(out, 1)

    def decode(self, codes, stages=2):
        return sum(self.tables[s][codes[:, s]] for s in range(stages)).astype(np.float32)


def run(which, folder, book, **more) -> Settings:
    """A small run on the CPU in `folder`: 12 steps, a checkpoint every 4."""
    plain = dict(
        recipe=which,
        data=[str(book)],
        output=str(folder / "model.safetensors"),
        steps=12,
        batch=2,
        save_every=4,
        workers=0,
        device="cpu",
        holdout=3,
        log=str(folder / "log.jsonl"),
    )
    return Settings(**{**plain, **SMALL[which], **more})


@pytest.fixture(params=["lm", "token-ae", "dense", "codes"])
def asked(request, tmp_path, book, coded, monkeypatch):
    """Settings of a small run of every kind, made by `asked(folder, **more)`."""
    more = {"codec": [coded]} if request.param in ("dense", "codes") else {}
    if request.param == "codes":
        both = corpus.Codecs(ae=TokenAE.load(coded), rvq=Residual())
        monkeypatch.setattr(corpus, "codecs", lambda paths, device: both)
    return lambda folder=tmp_path, **changed: run(request.param, folder, book, **{**more, **changed})


def test_bad_files_are_left_out_of_a_text(tmp_path, book):
    """And what is no text is one of them, where --skip-bad asks for it."""
    picture = tmp_path / "a.ppm"
    picture.write_bytes(b"P6 2 2 255\n" + bytes(12))
    both = [str(book), str(picture)]
    with pytest.raises(LemError, match="a.ppm: image, where text or tokens are learnt"):
        corpus.load_corpus(both, None, Reading())
    notes = []
    found = corpus.load_corpus(both, None, Reading(skip_bad=True, note=notes.append))
    assert np.array_equal(found.tokens, corpus.load_corpus([str(book)]).tokens) and len(notes) == 1
    assert "a.ppm: images, where tokens are taken" in str(notes[0])


# networks


def test_one_dial():
    assert dial(1) == {"depth": 1, "width": 64, "heads": 1, "context": 64}
    assert dial(12) == {"depth": 12, "width": 768, "heads": 12, "context": 768}
    assert dial(4, context=100)["context"] == 100 and dial(2, width=96)["heads"] == 1
    with pytest.raises(ValueError, match="a width is a multiple of 2 x 3 heads"):
        dial(2, width=64, heads=3)


def test_places_count_by_their_distances_alone():
    """Those one after the other are as none; all moved by as much change nothing; others do, of each item its own."""
    net = loud(LM(7, 2, 16, 2, 24))
    tokens, plain = torch.randint(7, (2, 8)), torch.arange(8).expand(2, 8)
    wanted = net(tokens)
    assert torch.equal(net(tokens, plain), wanted)
    assert torch.allclose(net(tokens, plain + 16), wanted, atol=1e-4)
    apart = (net(tokens, torch.stack([plain[0], 3 * plain[0]])) - wanted).abs().amax((1, 2))
    assert apart[0] == 0 and apart[1] > 1e-2


def test_rotation_is_a_product_of_complex_numbers_and_knows_distances_alone():
    trunk = LM(depth=1, width=8, heads=1, context=12).trunk
    wave = 10_000.0 ** -np.array([0, 0.25, 0.5, 0.75])
    q, k = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    angle = (trunk.cos.double(), trunk.sin.double())
    turned = rotate(q.expand(1, 1, 12, 8), angle)[0, 0]
    wanted = (q[:4] + 1j * q[4:]).numpy() * np.exp(1j * np.arange(12)[:, None] * wave)
    assert np.allclose(turned.numpy(), np.concatenate([wanted.real, wanted.imag], 1), atol=1e-6)
    products = turned @ rotate(k.expand(1, 1, 12, 8), angle)[0, 0].T
    assert torch.allclose(products[2:, 2:], products[:-2, :-2], atol=1e-5) and not torch.equal(products[0], products[1])


def loud(net):
    """A network with weights that all speak: fresh ones answer nothing."""
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return net


def test_the_future_changes_nothing_before_it():
    torch.manual_seed(0)
    net = loud(LM(50, depth=2, width=32, heads=2, context=16))
    tokens = torch.randint(50, (2, 16))
    for place in (0, 7, 15):
        other = tokens.clone()
        other[:, place] = (other[:, place] + 1) % 50
        apart = (net(tokens) - net(other)).abs().amax((0, 2))
        assert (apart[:place] == 0).all() and (apart[place:] > 1e-4).all()


@pytest.mark.parametrize("stages", [0, 2])
def test_the_next_vector_is_told_by_those_before_it_alone(stages):
    torch.manual_seed(0)
    net = loud(dense(stages))
    items, noise = windows(net, 3, 5), torch.randn(3, 5, net.dims)
    rate = net.rate(items, noise)
    assert rate.shape == (3, 4)
    other, stirred = items.clone(), noise.clone()
    other[:, 3] = (other[:, 3] + 1) % 3
    stirred[:, 3] = 0
    apart = (rate - net.rate(other, stirred)).abs().amax(0)
    assert (apart[:2] == 0).all() and (apart[2:] > 1e-5).all()


def dense(stages=0, **more) -> DenseLM:
    codec = {"net": "token-ae", "vocabulary": 7, "chunk": 2, "latent": 3, "width": 16}
    net = DenseLM(
        codec, stages=stages, codes=3 if stages else 0, depth=1, width=32, context=8, **{"components": 3, **more}
    )
    if stages:
        net.tables.copy_(torch.randn(stages, 3, 3))
    return net


def windows(net, n, rows):
    """[N, T + 1, S + K]."""
    return torch.cat([torch.randint(3, (n, rows, net.stages)), torch.randint(7, (n, rows, 2))], -1)


def test_probabilities_of_all_codes_sum_to_one():
    torch.manual_seed(0)
    net = loud(dense(2))
    items = windows(net, 1, 2).expand(9, -1, -1).clone()
    items[:, 1, :2] = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    chances = (-net.rate(items)[:, 0]).exp().detach()
    assert abs(float(chances.sum()) - 1) < 1e-5 and float(chances.std()) > 1e-3


def test_rate_and_rest_of_latents_by_their_definition():
    torch.manual_seed(0)
    net = loud(dense())
    net.offset.copy_(torch.tensor([0.5, -1.0, 0.0]))
    net.gain.copy_(torch.tensor([2.0, 0.5, 1.0]))
    items, noise = windows(net, 2, 3), torch.randn(2, 3, 3)
    mean, deviation = net.latents(items)
    drawn = mean + deviation.exp() * noise
    weights, means, deviations = net.mixture(net.trunked(mean[:, :-1]))
    parts = torch.distributions.Normal(means / net.gain + net.offset, deviations.exp() / net.gain)
    mixed = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=weights), torch.distributions.Independent(parts, 1)
    )
    posterior = torch.distributions.Normal(mean, deviation.exp()).log_prob(drawn).sum(-1)
    assert torch.allclose(net.rate(items, noise), posterior[:, 1:] - mixed.log_prob(drawn[:, 1:]), atol=1e-4)
    told = net.codec.decode(drawn).log_softmax(-1).gather(-1, items.flatten(1)[..., None])
    assert torch.allclose(net.rest(items, noise), -told.unflatten(1, (3, 2)).sum((2, 3))[:, 1:], atol=1e-5)


def test_the_bound_holds_and_is_met_where_the_model_is_true():
    """Chunks of one of two tokens, told apart by a code each: the message costs the entropy of the source, no less."""
    torch.manual_seed(0)
    codec = {"net": "token-ae", "vocabulary": 2, "chunk": 1, "latent": 1, "width": 16}
    net = DenseLM(codec, stages=1, codes=2, depth=1, width=32, context=4)
    items = torch.stack([torch.tensor([[0, 0], [c, c]]) for c in (0, 1)])  # codes as tokens
    rate = net.rate(items).detach()
    chances = (-rate - net.rest(items).detach()).exp()
    assert float(chances.sum()) <= 1 + 1e-6 and torch.allclose(rate, torch.tensor(math.log(2)), atol=1e-6)


def test_hidden_and_resume_are_the_network_cut_in_two():
    torch.manual_seed(0)
    net = loud(LM(depth=3, width=32, heads=1, context=8))
    tokens = torch.randint(256, (2, 8))
    assert all(torch.equal(net.resume(net.hidden(tokens, k), k), net(tokens)) for k in range(4))
    with pytest.raises(ValueError, match="layer 4: this network has 0 to 3"):
        net.hidden(tokens, 4)
    with pytest.raises(ValueError, match="9 positions; this network was made for 8"):
        net(torch.zeros(1, 9))


@pytest.mark.filterwarnings("error")
def test_products_alone_are_in_bfloat16(asked):
    """As on a GPU: what the blocks add to and norms are in float32, for vectors as for tokens, and nothing warns."""
    prepared = prepare(asked(dtype="bfloat16"))
    added, norms = [], [m for m in prepared.model.net.modules() if isinstance(m, torch.nn.RMSNorm)]
    for norm in norms:
        norm.register_forward_pre_hook(lambda module, args: added.append(args[0].dtype))
    Trainer(prepared, Ranks(), "cpu").advance(Batches(prepared.spec)[0])
    assert len(added) >= 3 and set(added) == {torch.float32}


def test_divergence_by_the_library():
    mean, deviation = torch.randn(9), torch.randn(9)
    normal = torch.distributions.Normal
    wanted = torch.distributions.kl_divergence(normal(mean, deviation.exp()), normal(0.0, 1.0))
    assert torch.allclose(divergence(mean, deviation), wanted, atol=1e-5)


# training


def test_overfits_one_batch_and_every_parameter_learns(asked):
    prepared = prepare(asked(lr=1e-2, warmup=0, decay="constant"))
    trainer, batch = Trainer(prepared, Ranks(), "cpu"), Batches(prepared.spec)[0]
    losses, reached = [], set()
    for _ in range(30):
        losses.append(float(trainer.advance(batch)))
        reached |= {k for k, p in trainer.weights.items() if p.grad is not None and float(p.grad.abs().sum()) > 0}
    assert np.mean(losses[-3:]) < 0.8 * losses[0] and reached == set(trainer.weights)


def test_a_resumed_run_is_the_uninterrupted_one(asked, tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    train(asked(whole))
    dying(asked(), 5)
    lines = []
    train(asked(), lines.append)
    assert lines[-1] == "going on from step 4" and result(tmp_path) == result(whole)


def test_what_is_returned_is_what_the_file_holds(asked):
    prepared = train(asked(lr=1e-2))
    mine, filed = prepared.model, load(prepared.settings.output)
    assert mine.meta == filed.meta and mine.meta["kind"] == "tokens"
    assert all(torch.equal(v, filed.tensors()[k]) for k, v in mine.tensors().items())


def test_two_processes_learn_what_one_does(tmp_path, book):
    line = f"lm --data {book} --width 16 --depth 1 --context 16 --steps 6 --batch 4 --holdout 3 --device cpu -o {{}}"
    done = lem_fork("train", *line.format("one.safetensors").split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ends = lem_together("train", line.format("two.safetensors"), tmp_path)
    assert [code for code, _ in ends] == [0, 0], ends
    one, two = (load(str(tmp_path / f"{n}.safetensors")).tensors() for n in ("one", "two"))
    assert max(float((one[k] - two[k]).abs().max()) for k in one) < 1e-5


def test_operations_of_the_language_model_are_those_counted_by_hand(tmp_path, book):
    prepared = prepare(run("lm", tmp_path, book))
    hidden, positions, width = 64, 16, 16  # 8/3 of 16 in steps of 32
    products = 4 * width * width + 3 * width * hidden + width * 256
    attention = 2 * width * (positions * (positions + 1) // 2)
    assert prepared.flops == 3 * 2 * (positions * products + attention)


def test_a_codec_that_does_not_learn_has_no_backward_pass(tmp_path, book, coded):
    """Latents: the autoencoder's encoder counts once, all that is learnt three times; codes come from the data."""
    width, dims, chunk, place, hidden = (
        32,
        16,
        4,
        16,
        64,
    )  # of the autoencoder; of the model on vectors: 8/3 of 16 is 64
    block = 3 * width * 96
    encoder = chunk * block + chunk * width * width + block + width * 2 * dims  # of a chunk
    rows = 4
    trunk = dims * place + 4 * place * place + 3 * place * hidden + place * 2 * (1 + 2 * dims)
    attention = 2 * place * (rows * (rows + 1) // 2)
    found = prepare(run("dense", tmp_path, book, codec=[coded])).flops
    assert found == 2 * (rows + 1) * encoder + 3 * 2 * (rows * trunk + attention)


# text


def test_the_end_of_the_text_is_kept_back_and_nothing_is_in_both(tmp_path, book):
    raw = np.frombuffer(book.read_bytes(), np.uint8)
    prepared = prepare(run("lm", tmp_path, book, holdout=None))
    learnt, held = prepared.spec.items.data, prepared.validation.items.data
    cut = len(learnt.tokens)
    assert np.array_equal(np.concatenate([learnt.tokens, held.tokens]), raw)
    assert len(held) == len(raw) // 10 // 16 and len(held.tokens) == len(held) * 16 + 1
    asked = np.concatenate([held[i][1:] for i in range(len(held))])  # every token of it once, but the first
    assert np.array_equal(asked, raw[cut + 1 :])
    assert len(learnt) == cut - 16 and np.array_equal(learnt[len(learnt) - 1], raw[cut - 17 : cut])
    assert prepare(run("lm", tmp_path, book, holdout=0)).validation is None


def test_another_text_to_validate_on(tmp_path, book):
    other = tmp_path / "other.txt"
    other.write_text("what was none knew")
    prepared = prepare(run("lm", tmp_path, book, holdout=None, validate=[str(other)]))
    assert (
        len(prepared.validation.items) == 1
        and bytes(prepared.validation.items.data[0].tobytes()) == b"what was none kne"
    )
    with pytest.raises(LemError, match="is among --data, too"):
        prepare(run("lm", tmp_path, book, validate=[str(book)]))


def test_chunks_and_their_codes_stay_together(tmp_path, book, coded):
    ae, quantiser, raw = TokenAE.load(coded), Residual(), np.frombuffer(book.read_bytes(), np.uint8)[:60]
    codes = corpus.chunk_codes(ae, quantiser, raw)
    items = corpus.Windows(raw, 5, 1, 4, codes)
    assert items.shape == (41, 5, 6) and codes.shape == (57, 2)
    for i in (0, 3, 40):
        found = items[i]
        assert np.array_equal(found[:, 2:].reshape(-1), raw[i : i + 20])
        assert np.array_equal(found[:, :2], quantiser.encode(ae.vectors(found[:, 2:])))


def test_tables_of_a_quantiser_give_its_vectors_and_no_others():
    quantiser = Residual()
    found, origin = corpus.tables(quantiser, 16)
    assert np.abs(found.mean(1)).max() < 1e-6
    codes = np.array([[1, 2], [4, 0]])
    assert np.allclose(origin + found[0][codes[:, 0]] + found[1][codes[:, 1]], quantiser.decode(codes), atol=1e-5)
    with pytest.raises(LemError, match="an rvq of 16 dimensions after a token-ae of 8"):
        corpus.tables(quantiser, 8)
    quantiser.gains = np.ones(4)
    with pytest.raises(LemError, match="an rvq with a gain are no sums over its stages"):
        corpus.tables(quantiser, 16)


def test_a_quantiser_is_known_again_on_another_device(coded):
    """Where its vectors come out with other last digits; and what it is not good for is told before it codes a text."""
    ae, quantiser = TokenAE.load(coded), Residual()
    there = corpus.Codecs(ae=ae, rvq=quantiser).weights()
    plain = quantiser.decode
    quantiser.decode = lambda codes, stages=2: plain(codes, stages) * np.float32(1 + 1e-6)
    assert np.array_equal(corpus.Codecs(ae=ae, rvq=quantiser).weights(), there)
    quantiser.tables = quantiser.tables + 1
    assert not np.array_equal(corpus.Codecs(ae=ae, rvq=quantiser).weights(), there)


def test_a_quantiser_with_a_gain_is_refused_before_it_codes_a_text(tmp_path, book, coded, monkeypatch):
    quantiser = Residual()
    quantiser.gains, quantiser.encode = np.ones(4), None
    monkeypatch.setattr(corpus, "codecs", lambda paths, device: corpus.Codecs(ae=TokenAE.load(coded), rvq=quantiser))
    with pytest.raises(LemError, match="an rvq with a gain are no sums over its stages"):
        prepare(run("codes", tmp_path, book, codec=[coded]))


class Pairs:
    """An encoding of bytes: 300 tokens, each byte one, and "is ", "was " and so on one each."""

    name, vocab = "text", 300

    def encode(self, signal):
        raw = signal.data.tobytes().decode()
        for i, word in enumerate(WORDS):
            raw = raw.replace(word, chr(256 + i))
        return [Signal("tokens", np.array([[ord(c) for c in raw]]))]

    def decode(self, signal, record):
        rows = [WORDS[t - 256].encode() if 256 <= t < 264 else bytes([t % 256]) for t in signal.data[:, 0].tolist()]
        return [Signal("tokens", np.frombuffer(row, np.uint8)[None]) for row in rows]


def test_bits_a_byte_of_longer_tokens(tmp_path, book, monkeypatch):
    """A fresh network gives each of 300 tokens one chance in 300, and the bytes are those that the tokens stand for."""
    monkeypatch.setattr(corpus, "codecs", lambda paths, device: corpus.Codecs(tokenizer=Pairs()))
    prepared = prepare(run("lm", tmp_path, book, codec=["bpe"]))
    assert prepared.model.net.vocabulary == 300 and prepared.model.net.lengths[258] == 5
    held = prepared.validation.items.data
    spoken = b"".join(WORDS[t - 256].encode() for i in range(len(held)) for t in held[i][1:])
    assert book.read_bytes().endswith(spoken)
    told = Trainer(prepared, Ranks(), "cpu").validate()
    assert told["held_out_bits_per_byte"] == pytest.approx(math.log2(300) * 48 / len(spoken), rel=1e-6)


def test_tokens_of_a_stream_are_counted_by_themselves(tmp_path):
    from lemtools import stream

    tokens = np.random.default_rng(0).integers(1000, size=(4, 100)).astype(np.uint16)
    signal = Signal("tokens", tokens, history=[{"tool": "lem-encode", "vocab": 1024}], last=True)
    with open(tmp_path / "t.safetensors", "wb", buffering=0) as file:
        stream.write([signal], file)
    prepared = prepare(run("lm", tmp_path, tmp_path / "t.safetensors"))
    assert prepared.model.net.vocabulary == 1024
    told = Trainer(prepared, Ranks(), "cpu").validate()
    assert told["held_out_bits_per_token"] == pytest.approx(10, abs=1e-6) and "held_out_bits_per_byte" not in told
    codes = [
        Signal("tokens", tokens.astype(np.uint8), history=[{"encoder": "rvq"}], last=True),
        Signal("tokens", tokens % 200, last=True),
    ]
    for i, part in enumerate(codes):  # few kinds of tokens are not yet bytes of a text
        with open(tmp_path / f"c{i}.safetensors", "wb", buffering=0) as file:
            stream.write([part], file)
        found = corpus.load_corpus([str(tmp_path / f"c{i}.safetensors")])
        assert (found.vocabulary, found.lengths, found.bytes) == (256, None, 1.0)
    with pytest.raises(LemError, match="tokens of 1024 kinds, where --codec has 300; give it the text"):
        corpus.load_corpus([str(tmp_path / "t.safetensors")], Pairs())


# known answers


def test_a_fresh_network_takes_8_bits_a_byte(tmp_path, book):
    told = Trainer(prepare(run("lm", tmp_path, book)), Ranks(), "cpu").validate()
    assert told == pytest.approx({"held_out_loss": 8, "held_out_bits_per_byte": 8}, abs=1e-6)


def test_a_source_without_memory_costs_its_entropy(tmp_path):
    chances = np.array([0.5, 0.25, 0.125, 0.125])
    rng = np.random.default_rng(0)
    (tmp_path / "b.txt").write_bytes(np.frombuffer(b"abcd", np.uint8)[rng.choice(4, p=chances, size=60_000)].tobytes())
    asked = run("lm", tmp_path, tmp_path / "b.txt", steps=150, save_every=150, batch=16, lr=1e-2, holdout=500, ema=0.95)
    train(asked)
    (*_, last) = map(json.loads, open(asked.log))
    spoken = (tmp_path / "b.txt").read_bytes()[-500 * 16 :]
    entropy = -sum(np.log2(chances["abcd".index(chr(c))]) for c in spoken) / len(spoken)
    assert entropy - 0.005 < last["held_out_bits_per_byte"] < entropy + 0.02


def test_a_source_with_memory_costs_less_than_its_letters(tmp_path, book):
    asked = run("lm", tmp_path, book, steps=200, save_every=200, batch=8, lr=1e-2, holdout=20, ema=0.95)
    train(asked)
    (*_, last) = map(json.loads, open(asked.log))
    raw = book.read_bytes()
    per_byte = 3 / np.mean([len(w) for w in WORDS])  # three bits a word
    unigram = np.unique(np.frombuffer(raw, np.uint8), return_counts=True)[1] / len(raw)
    assert per_byte < last["held_out_bits_per_byte"] < 1.6 * per_byte < -(unigram * np.log2(unigram)).sum() / 2


# several tokens in one vector


def test_tokens_come_back(coded, book):
    ae = TokenAE.load(coded)
    raw = np.frombuffer(book.read_bytes(), np.uint8)[-400:].reshape(2, 200)
    (vectors,) = ae.encode(Signal("tokens", raw, names=["a", "b"]))
    assert vectors.kind == "embedding" and vectors.data.shape == (2, 50, 16) and vectors.names == ["a", "b"]
    (back,) = ae.decode(vectors)
    assert back.data.dtype == np.uint8 and (back.data == raw).mean() > 0.99
    found = recovered(ae, raw, noises=(0.0, 3.0), bits=(8, 1))
    assert found["recovered"] == found["noise 0"] > 0.99 > found["noise 3"] and found["8 bits"] > found["1 bits"]


@pytest.mark.parametrize("length", [1, 3, 4, 7])
def test_a_last_chunk_that_is_not_whole_is_padded_and_cut(length, coded, book):
    ae = TokenAE.load(coded)
    raw = np.frombuffer(book.read_bytes()[:length], np.uint8)[None]
    signal = Signal("tokens", raw)
    (vectors,) = ae.encode(signal)
    assert vectors.data.shape == (1, -(-length // 4), 16)
    assert ae.decode(vectors, ae.record(signal))[0].data.shape == raw.shape
    (back,) = ae.decode(vectors)  # and by what the vectors tell alone
    assert back.data.shape[1] in range(length - length % 4, length + 4)


def test_vectors_do_not_depend_on_how_chunks_are_cut_into_batches(coded, book):
    ae = TokenAE.load(coded)
    chunks = np.frombuffer(book.read_bytes()[:2400], np.uint8).reshape(-1, 4)
    whole = ae.vectors(chunks)
    for size in (1, 7, 300):
        parts = np.concatenate([ae.vectors(chunks[i : i + size]) for i in range(0, len(chunks), size)])
        assert np.array_equal(parts, whole) and parts.shape == (600, 16)
    assert np.array_equal(ae.tokens(whole[:3]), ae.tokens(whole)[:3])


def test_padding_at_the_end_alone_is_cut():
    net = TokenAutoencoder(vocabulary=5, chunk=3, latent=4, width=16)
    ae = TokenAE(net, {})
    found = np.array([[0, 5, 2, 4, 5, 5], [1, 2, 3, 4, 5, 5]])
    ae.tokens = lambda vectors: found.reshape(-1, 3)
    (back,) = ae.decode(Signal("embedding", np.zeros((2, 2, 4), np.float32)))
    assert np.array_equal(back.data, [[0, 0, 2, 4], [1, 2, 3, 4]])


def test_the_file_is_read_by_either_way(coded):
    from safetensors import safe_open

    with safe_open(coded, "np") as file:
        record = json.loads(file.metadata()["lem_encoder"])
        tensors = {k: file.get_tensor(k) for k in file.keys()}
    assert record["encoder"] == TokenAE.name
    one, two = TokenAE.load(coded), TokenAE.restore(record, tensors)
    chunks = np.arange(20).reshape(5, 4)
    assert np.array_equal(one.vectors(chunks), two.vectors(chunks)) and one.config == two.config
    with pytest.raises(ValueError, match="in loading state_dict for TokenAutoencoder"):
        TokenAE.restore(record, {k: v for k, v in tensors.items() if k != "head.bias"})


def test_what_a_token_autoencoder_refuses(coded, tmp_path, book):
    ae = TokenAE.load(coded)
    with pytest.raises(LemError, match="embedding, where a token autoencoder takes tokens"):
        ae.encode(Signal("embedding", np.zeros((1, 4), np.float32)))
    with pytest.raises(LemError, match="token 300; this token autoencoder knows 0 to 255"):
        ae.encode(Signal("tokens", np.array([[300]])))
    with pytest.raises(LemError, match="token -2; this"):
        ae.encode(Signal("tokens", np.array([[7, -2]])))
    with pytest.raises(LemError, match="embedding of 4, where this token autoencoder takes embeddings of 16"):
        ae.decode(Signal("embedding", np.zeros((1, 4), np.float32)))
    train(run("lm", tmp_path, book, steps=1))
    with pytest.raises(LemError, match="a model of lm, not of lem-train token-ae"):
        TokenAE.load(str(tmp_path / "model.safetensors"))


# activations put back


class Same:
    stages, dims = 2, 32

    def encode(self, x):
        return x

    def decode(self, codes, stages=2):
        return codes if stages == 2 else np.zeros_like(codes)


def test_activations_put_back_as_they_are_change_nothing():
    torch.manual_seed(0)
    net = loud(LM(depth=3, width=32, heads=1, context=8))
    tokens = torch.randint(256, (5, 9)).numpy()
    for layer in (0, 1, 3):
        whole, mean, gone, same = patch_back(net, layer, Same(), tokens, batch=2)
        assert (whole["change"], whole["nmse"], same["change"], same["nmse"]) == (0, 0, 0, 0)
        assert [r["stages"] for r in (whole, mean, gone, same)] == [None, 0, 1, 2] and abs(mean["nmse"] - 1) < 1e-5
        assert gone["nmse"] > 1 and mean["change"] != 0
    logits = net(torch.from_numpy(tokens[:, :-1])).detach().transpose(1, 2)
    wanted = torch.nn.functional.cross_entropy(logits, torch.from_numpy(tokens[:, 1:])) / math.log(2)
    assert whole["loss"] == pytest.approx(float(wanted), rel=1e-5)
    with pytest.raises(LemError, match="a code of 32 dimensions for activations of 16"):
        patch_back(LM(depth=1, width=16, context=8), 0, Same(), tokens)


def test_a_model_of_transformers_is_cut_the_same_way():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=16,
    )
    gpt = transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=3, n_head=2, n_positions=16)
    for model in (transformers.LlamaForCausalLM(config), transformers.GPT2LMHeadModel(gpt)):
        cut, tokens = HuggingFace(model), torch.randint(64, (2, 9))
        with torch.no_grad():
            for layer in range(3):
                found = cut.resume(cut.hidden(tokens, layer), layer)
                assert torch.allclose(found, model(input_ids=tokens).logits, atol=1e-5)
        rows = patch_back(cut, 1, Same(), tokens.numpy())
        assert abs(rows[-1]["change"]) < 1e-6 and rows[1]["change"] != 0


# the command


BAD = [
    (
        "lm --data book.txt --fragment '--mask .5'",
        "--fragment is for feedforward, recurrent, autoregressive, diffusion and classifier, not lm",
    ),
    (
        "lm --data book.txt --crop 8",
        "--crop is for feedforward, recurrent, autoregressive, diffusion and classifier, not lm",
    ),
    ("lm --data book.txt --arch conv", "--arch conv is not for lm; there is lm"),
    ("lm --data book.txt --set latent=3", "--arch lm has no 'latent'; it has depth, width, heads, context"),
    ("lm --data book.txt --chunk 3", "--chunk is for token-ae, not lm"),
    (
        "lm --data book.txt --context 99999",
        "tokens is too short for windows of 100000 and --holdout 1; give more, or a smaller --context",
    ),
    ("lm --data book.txt --width 9", "--arch lm: depth 4, width 9: a width is a multiple of 2 x 1 heads"),
    (
        "lm --data book.txt --on dense --codec ae.safetensors --context 3",
        "--context 3: a vector of the --codec takes 4",
    ),
    ("lm --data book.txt --on dense", "--on dense: of what vectors? Give --codec AE"),
    ("lm --data book.txt --codec ae.safetensors", "--codec: a token-ae is for --on dense"),
    ("lm --data book.txt --on dense --codec ae.safetensors --codec ae.safetensors", "the second token-ae"),
    ("lm --data book.txt --validate pixels.npy", "image, where text or tokens are learnt"),
    ("lm --data pixels.npy", "pixels.npy: image, where text or tokens are learnt"),
    ("token-ae --data book.txt --on dense", "--on is for lm, not token-ae"),
    ("token-ae --data book.txt --chunk 4 --set latent=0", "--set latent=0: it takes a whole number from 1"),
    ("token-ae --data book.txt --context 9", "--context is for frames and lm, not token-ae"),
    ("diffusion --data pixels.npy --on dense", "--on is for lm, not diffusion"),
    ("feedforward --data pixels.npy --codec ae.safetensors", "--codec is for lm and token-ae, not feedforward"),
]


@pytest.fixture(scope="module")
def bad(tmp_path_factory, book, coded):
    folder = tmp_path_factory.mktemp("bad")
    (folder / "book.txt").write_bytes(book.read_bytes())
    (folder / "ae.safetensors").write_bytes(open(coded, "rb").read())
    np.save(folder / "pixels.npy", np.zeros((4, 1, 8, 8), np.uint8))
    return folder


@pytest.mark.parametrize("line, says", BAD)
def test_refused_in_one_line_before_anything_is_written(line, says, bad):
    import shlex

    before = files(bad)
    done = lem_fork("train", *shlex.split(line), "--device", "cpu", "-q", "-o", "m.safetensors", cwd=bad)
    errors = done.stderr.decode().splitlines()
    assert done.returncode == 2 and len(errors) == 1 and says in errors[0] and "a defect" not in errors[0], errors
    assert files(bad) == before


def test_another_encoding_is_not_the_run_that_was_begun(tmp_path, book, coded, monkeypatch):
    both = corpus.Codecs(ae=TokenAE.load(coded))
    monkeypatch.setattr(corpus, "codecs", lambda paths, device: both)
    asked = run("dense", tmp_path, book, codec=["ae"], steps=4)
    train(asked)
    with torch.no_grad():
        both.ae.net.head.bias += 1
    with pytest.raises(LemError, match="its run has other contents of the data"):
        train(run("dense", tmp_path, book, codec=["ae"], steps=4))


def test_a_language_model_recalls_no_fragment(tmp_path, book):
    train(run("lm", tmp_path, book, steps=1))
    fragment = lem_fork("fragment", "--mask", ".5", str(book), "-o", "f.safetensors", cwd=tmp_path)
    assert fragment.returncode == 0
    done = lem_fork(
        "reconstruct", "--method", "net", "--model", "model.safetensors", "f.safetensors", "-o", "o.txt", cwd=tmp_path
    )
    said = "a model of text (lm), which recalls no fragments; --method continue goes on with tokens"
    assert (done.returncode, done.stderr.decode()) == (2, f"lem-reconstruct: error: model.safetensors: {said}\n")


def test_dry_run_of_a_budget(tmp_path, book):
    each = prepare(run("lm", tmp_path, book)).flops
    with contextlib.suppress(Died):
        cost = dry_run(run("lm", tmp_path, book, steps=None, flops=each * 2 * 5))
    assert cost["steps"] == 5 and cost["flops"] == pytest.approx(each * 10)


def test_the_command_encodes_and_decodes_by_it(book, coded, tmp_path):
    """As users call it: --device auto, and back to the bytes that the library finds."""
    lem("encode", "-q", "--model", coded, book, "-o", tmp_path / "e.safetensors")
    lem("encode", "-q", "--model", coded, "--decode", tmp_path / "e.safetensors", "-o", tmp_path / "back.txt")
    by_line = lem("encode", "-q", "--model", coded, "--lines", book).stdout
    counts = [
        int(x.split(b"\t")[1]) for x in lem("info", "-", stdin=by_line).stdout.splitlines() if x[:6] == b"items\t"
    ]
    assert sum(counts) == book.read_text().count("\n") + (not book.read_text().endswith("\n"))
    ae, told = TokenAE.load(coded), np.frombuffer(book.read_bytes(), np.uint8)
    whole = Signal("tokens", told[None])
    (latents,) = ae.encode(whole)
    (found,) = ae.decode(latents, ae.record(whole))
    assert (tmp_path / "back.txt").read_bytes() == found.data[0].tobytes()
    assert (found.data[0] == told).mean() > 0.5  # (it was trained for a moment)


def test_the_command_puts_activations_back(book, tmp_path):
    """What it prints is what `patch_back` finds on the windows of the text."""
    asked = run("lm", tmp_path, book, steps=20, batch=4, lr=1e-2, width=32, holdout=4, save_every=20)
    train(asked)
    from lemtools.vq.residual import RVQ

    net, told = load(asked.output).net, np.frombuffer(book.read_bytes(), np.uint8)
    span = net.context + 1
    windows = told[: len(told) // span * span].reshape(-1, span)
    with torch.no_grad():
        x = net.hidden(torch.from_numpy(windows[:, :-1].astype(np.int64)), 1).flatten(0, 1).numpy()
    from lemtools.encode.dense import Dense

    code = RVQ.fit(x, stages=2, codes=8, beam=4, seed=0)
    Dense(code).save(str(tmp_path / "codes.safetensors"))
    line = [
        "encode",
        "-q",
        "--model",
        tmp_path / "codes.safetensors",
        "--patch-back",
        "--device",
        "cpu",
        "--lm",
        asked.output,
        "--layer",
        "1",
    ]
    lines = lem(*line, "--json", book).stdout.decode().splitlines()
    assert [json.loads(text) for text in lines] == [pytest.approx(row) for row in patch_back(net, 1, code, windows)]
    assert lem(*line, book).stdout.decode().startswith("as it is\t-\t0\t")
    assert b"no text has" in lem(*line, "-", stdin=b"too short", ok=False).stderr
