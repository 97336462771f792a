"""How a language model turns tokens into vectors: the arms of lem-train lm --embedding."""

import json
import math
import shlex

import numpy as np
import pytest
import torch

from helpers.commands import lem, lem_fork
from helpers.training import dying, files, result
from lemtools.catalogue.embeddings import EMBEDDINGS
from lemtools.encode.patch_back import patch_back
from lemtools.media.describe import describe
from lemtools.nets import embedding
from lemtools.nets.embedding import Embedding
from lemtools.nets.lm import LM
from lemtools.nets.model import load
from lemtools.nets.packed import Packed
from lemtools.ranks import Ranks
from lemtools.reconstruct.continuing import Continuer
from lemtools.signal import LemError, Signal
from lemtools.train import checkpoint, tables
from lemtools.train.data import Batches
from lemtools.train.loop import train
from lemtools.train.prepare import prepare
from lemtools.train.settings import Settings
from lemtools.train.trainer import Trainer

ARMS = [(row.name, coding) for row in EMBEDDINGS.rows for coding in row.learns]
FEW = {"code_bits": 5, "stages": 2, "codes": 7}  # of tables that are kept as codes
NAMED = pytest.mark.parametrize("arm, coding", ARMS, ids=[f"{a}-{c or 'alone'}" for a, c in ARMS])
HEADS = pytest.mark.parametrize("head", ["untied", "tied"])


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A file of 2000 words, drawn alike."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("book") / "book.txt"
    words = ["what ", "is ", "gone ", "was ", "here ", "and ", "none ", "knew\n"]
    path.write_text("".join(words[i] for i in rng.integers(len(words), size=2000)))
    return path


@pytest.fixture(scope="module")
def full(book, tmp_path_factory):
    """A model of that text with a full embedding."""
    torch.set_num_threads(1)
    asked = run(tmp_path_factory.mktemp("full"), book, steps=30, save_every=30, lr=1e-2)
    train(asked)
    return asked.output


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Autoencoders that are fitted in a moment."""
    torch.set_num_threads(1)
    monkeypatch.setattr(tables, "STEPS", 20)


def run(folder, book, arm="full", coding=None, table=None, head="untied", ratio=4, **more) -> Settings:
    """A small run on the CPU in `folder`: 12 steps, a checkpoint every 4, of width 16."""
    options, row = {"context": 16, "embedding": arm, "head": head, **more.pop("options", {})}, EMBEDDINGS[arm]
    chosen = {"ratio": ratio, "coding": coding, **FEW}
    options |= {name: value for name, value in chosen.items() if row.takes(name) and name not in options}
    if row.needs:
        more = {"table": str(table), **more}
    plain = dict(steps=12, batch=2, save_every=4, holdout=3, width=16, depth=1, workers=0, device="cpu")
    names = {"data": [str(book)], "output": str(folder / "model.safetensors"), "log": str(folder / "log.jsonl")}
    return Settings("lm", **{**plain, **names, **more}, options=options)


def made(arm, coding, head="untied", hidden=0, ratio=4, vocabulary=50):
    torch.manual_seed(0)
    ratio = ratio if EMBEDDINGS[arm].coded else 1
    return LM(vocabulary, 2, 32, 2, 16, embedding=arm, ratio=ratio, coding=coding, hidden=hidden, head=head, **FEW)


def loud(net):
    """A network with weights that all speak: fresh ones answer nothing."""
    with torch.no_grad():
        if isinstance(net.enter.weight, Packed):
            for part in net.enter.weight.buffers():
                part.copy_(torch.randint(256, part.shape) if part.dtype == torch.uint8 else torch.randn(part.shape))
        for p in net.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return net


# networks


@NAMED
@HEADS
def test_shapes_and_numbers_in_closed_form(arm, coding, head):
    net, (v, w, r) = made(arm, coding, head), (50, 32, 4)
    table, up = (v * w // r, w // r * w + w) if EMBEDDINGS[arm].coded else (v * w, 0)
    kept = {"rvq": -(-v * 2 * 3 // 8) + 2 * 7 * w}.get(arm, v * w * 5 // 8 + v) if EMBEDDINGS[arm].packed else table
    top = 0 if head == "tied" else v * w
    learnt = {"weight": table, "up": up, "encoder": 0}
    hidden = 96  # 8/3 of 32 in steps of 32
    trunk = 2 * (4 * w * w + 3 * w * hidden + 2 * w) + w
    wanted = sum(learnt[part] for part in EMBEDDINGS[arm].learns[coding]) + trunk + top
    assert sum(p.numel() for p in net.parameters()) == wanted
    assert sum(t.numel() for t in net.state_dict().values()) == kept + up + trunk + top + v  # and the lengths
    vectors = net.enter(torch.arange(v))
    assert vectors.shape == (v, w)
    assert EMBEDDINGS[arm].packed or 0.7 < float(vectors.detach().square().mean()) < 1.4
    assert net(torch.zeros(3, 7, dtype=torch.uint8)).shape == (3, 7, v)


def test_a_hidden_layer_of_the_up_projection_in_closed_form():
    net = made("learned", None, hidden=24)
    assert sum(p.numel() for p in net.enter.parameters()) == 50 * 8 + (8 * 24 + 24) + (24 * 32 + 32)
    for arm, coding in (("full", None), ("pca", "frozen")):
        with pytest.raises(ValueError, match=f"an embedding that is {arm} has no hidden layer"):
            made(arm, coding, hidden=24)
    with pytest.raises(ValueError, match="a tied head for an up-projection with a hidden layer"):
        made("learned", None, head="tied", hidden=24)


@NAMED
@HEADS
def test_the_future_changes_nothing_before_it(arm, coding, head):
    net = loud(made(arm, coding, head))
    tokens = torch.randint(50, (2, 16))
    for place in (0, 7, 15):
        other = tokens.clone()
        other[:, place] = (other[:, place] + 1) % 50
        apart = (net(tokens) - net(other)).abs().amax((0, 2))
        assert (apart[:place] == 0).all() and (apart[place:] > 1e-4).all()


@pytest.mark.parametrize("arm", ["full", "learned"])
def test_a_tied_head_is_the_products_with_the_vectors_of_all_tokens(arm):
    net, x = made(arm, None, "tied"), torch.randn(3, 5, 32)
    if arm == "learned":
        torch.nn.init.normal_(net.enter.up[0].bias)
    apart = net.enter.logits(x) - x @ net.enter(torch.arange(50)).T
    assert torch.allclose(apart.log_softmax(-1), torch.full_like(apart, -math.log(50)), atol=1e-4)  # alike for all


@NAMED
def test_the_trunk_begins_alike_in_all_arms(arm, coding, monkeypatch):
    """To the last bit, at one seed, whatever was drawn before it; also where the numbers are drawn in parts."""
    monkeypatch.setattr(embedding, "DRAWN", 1 << 8)
    for vocabulary in (3, 50, 129):
        for ratio in (2, 8):
            arms = [made("full", None, vocabulary=vocabulary), made(arm, coding, ratio=ratio, vocabulary=vocabulary)]
            one, two = (net.trunk.state_dict() for net in arms)
            assert all(torch.equal(one[k], two[k]) for k in one) and float(one["blocks.0.qkv.weight"].std()) > 0.1


@NAMED
def test_a_fresh_network_is_fair(arm, coding):
    items = torch.randint(50, (8, 17))
    assert torch.allclose(made(arm, coding).rate(items), torch.tensor(math.log(50)))
    tied = made(arm, coding, "tied")
    assert abs(float(tied.rate(items).detach().mean()) - math.log(50)) < 0.2
    assert float(tied(items[:, :-1]).detach().amax()) < 4  # 32 where the norm begins at 1


def test_a_tied_head_of_zeros_would_learn_nothing():
    """No gradient reaches any part of it, where what it begins with reaches all."""
    net, items = made("full", None, "tied"), torch.randint(50, (8, 17))
    net.rate(items).mean().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in net.parameters())
    torch.nn.init.zeros_(net.enter.weight)
    net.zero_grad()
    net.rate(items).mean().backward()
    assert all(float(p.grad.abs().sum()) == 0 for p in net.parameters())


# codes of a table


def table_of(spectrum, v=200, seed=0):
    """[v, w] whose variance along orthogonal directions falls as the spectrum, about a mean."""
    rng = np.random.default_rng(seed)
    w = len(spectrum)
    turned = np.linalg.qr(rng.standard_normal((w, w)))[0]
    rows = rng.standard_normal((v, w)) * np.sqrt(spectrum) @ turned.T + rng.standard_normal(w)
    return torch.from_numpy(rows.astype(np.float32))


SPECTRUM = 2.0 ** -np.arange(16)
EVERY = torch.ones(200, dtype=torch.bool)


def test_all_components_give_the_table_back():
    table, embedding = table_of(SPECTRUM), Embedding(200, 16, "pca", 1, "frozen")
    assert tables.pca(embedding, table, EVERY)["lost"] < 1e-9
    assert torch.allclose(embedding(torch.arange(200)), table, atol=1e-4)


@pytest.mark.parametrize("ratio", [2, 4, 16])
def test_components_lose_what_the_other_eigenvalues_hold(ratio):
    table, embedding = table_of(SPECTRUM), Embedding(200, 16, "pca", ratio, "frozen")
    seen = torch.arange(200) < 150  # rows of tokens that the text does not have count for nothing
    table[150:] *= 100
    found = tables.pca(embedding, table, seen)["lost"]
    values = np.linalg.eigvalsh(np.cov(table[:150].numpy().astype(np.float64).T))
    assert found == pytest.approx(values[: 16 - 16 // ratio].sum() / values.sum(), rel=1e-4)
    assert torch.allclose(embedding.up[0].weight.T @ embedding.up[0].weight, torch.eye(16 // ratio), atol=1e-5)


@pytest.mark.parametrize("rows", [4096, 64])
def test_an_autoencoder_with_one_map_back_comes_to_the_components_and_never_below(rows, monkeypatch):
    """Eckart & Young: whatever the encoder. rows: of a step; of few, some are drawn."""
    monkeypatch.setattr(tables, "STEPS", 1500)
    monkeypatch.setattr(tables, "ROWS", rows)
    table = table_of(SPECTRUM) * 30
    least = tables.pca(Embedding(200, 16, "pca", 4, "frozen"), table, EVERY)["lost"]
    torch.manual_seed(1)
    embedding = Embedding(200, 16, "autoencoder", 4, "frozen")
    found = tables.autoencoder(embedding, table, EVERY)
    assert (1 - 1e-6) * least < found["lost"] < (1.01 if rows > 200 else 1.1) * least
    assert found["flops"] == 6 * 2 * 16 * 4 * min(rows, 200) * 1500


def test_a_hidden_layer_knows_a_curve_that_no_plane_holds(monkeypatch):
    monkeypatch.setattr(tables, "STEPS", 1500)
    angle = torch.linspace(-2, 2, 200)
    table = torch.stack([angle.sin(), angle.cos(), angle.sin() * angle.cos(), angle.cos() ** 2], 1)
    torch.manual_seed(1)
    plain, curved = (Embedding(200, 4, "autoencoder", 4, "frozen", hidden) for hidden in (0, 32))
    lost = [tables.autoencoder(each, table, EVERY)["lost"] for each in (plain, curved)]
    assert lost[1] < 0.1 * lost[0]


def test_rows_that_are_all_alike_have_no_codes():
    for fit in (tables.pca, tables.autoencoder):
        with pytest.raises(LemError, match="codes of tokens that are all alike say nothing"):
            fit(Embedding(200, 16, "autoencoder", 4, "frozen"), table_of(SPECTRUM), torch.arange(200) < 1)


# training


@NAMED
@HEADS
def test_what_is_frozen_does_not_move_and_all_else_does(arm, coding, head, tmp_path, book, full):
    prepared = prepare(run(tmp_path, book, arm, coding, full, head, lr=1e-2, warmup=0))
    net, trainer = prepared.model.net, Trainer(prepared, Ranks(), "cpu")
    before = {k: t.clone() for k, t in net.state_dict().items()}
    reached = set()
    for step in range(4):
        trainer.advance(Batches(prepared.spec)[step])
        reached |= {k for k, p in trainer.weights.items() if float(p.grad.abs().sum()) > 0}
    assert reached == set(trainer.weights)
    moved = {k for k, t in net.state_dict().items() if not torch.equal(t, before[k])}
    learns = EMBEDDINGS[arm].learns[coding]
    assert ("enter.weight" in moved) == ("weight" in learns)
    assert (
        ("enter.up.0.weight" in moved) == ("enter.up.0.bias" in moved or (head == "tied" and False)) == ("up" in learns)
    )
    assert {k for k in before if not k.startswith("enter.") and k != "lengths"} <= moved


def test_arms_have_one_text_one_order_of_batches_and_one_trunk(tmp_path, book, full):
    """At one seed; another seed has another order and another trunk, of the same text."""
    found = []
    for arm, coding, seed in (
        ("full", None, 0),
        ("learned", None, 0),
        ("random", None, 0),
        ("pca", "tuned", 0),
        ("full", None, 1),
    ):
        prepared = prepare(run(tmp_path, book, arm, coding, full, seed=seed))
        batches, net = Batches(prepared.spec), prepared.model.net
        order = torch.cat([batches[step]["target"].flatten() for step in (0, 7, 11)])
        found.append((prepared.model.meta["data"], order, net.trunk.blocks[0].qkv.weight))
    (data, order, trunk), *others, (_, shuffled, apart) = found
    assert all(each[0] == data for each in (*others, found[-1]))
    assert all(torch.equal(each[1], order) and torch.equal(each[2], trunk) for each in others)
    assert not torch.equal(shuffled, order) and not torch.equal(apart, trunk)
    other = tmp_path / "other.txt"
    other.write_bytes(book.read_bytes()[:-1] + b"!")
    assert prepare(run(tmp_path, other)).model.meta["data"] != data


def test_codes_that_are_drawn_follow_from_the_seed_alone(tmp_path, book):
    """So that their seed is all that is stored of them at equal bits (train.storing)."""
    assert [row.name for row in EMBEDDINGS.rows if row.seeded] == ["random"]
    train(run(tmp_path, book, "random", seed=9))
    codes = load(str(tmp_path / "model.safetensors")).net.enter.weight
    torch.manual_seed(9)
    assert torch.equal(codes, torch.randn(codes.shape))


@NAMED
def test_a_resumed_run_is_the_uninterrupted_one(arm, coding, tmp_path, book, full):
    ends = []
    for name, dies in (("whole", 0), ("again", 0), ("cut", 5)):
        folder = tmp_path / name
        folder.mkdir()
        asked, lines = run(folder, book, arm, coding, full), []
        if dies:
            dying(asked, dies)
        train(asked, lines.append)
        assert (lines[-1] == "going on from step 4") == bool(dies)
        ends.append((*result(folder), (folder / "model.state.safetensors").read_bytes()))
    assert ends[0] == ends[1] == ends[2]


def test_codes_that_were_made_are_gone_on_with(tmp_path, book, full, monkeypatch):
    """On another machine a fit may end with other last digits; the run has those that it began with."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    train(run(whole, book, "autoencoder", "frozen", full))
    dying(run(cut, book, "autoencoder", "frozen", full), 5)
    monkeypatch.setattr(tables, "STEPS", 21)
    train(run(cut, book, "autoencoder", "frozen", full))
    one, two = (load(str(folder / "model.safetensors")).tensors() for folder in (whole, cut))
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_a_state_without_buffers_is_gone_on_from(tmp_path, book):
    """As those of earlier versions are."""
    asked = run(tmp_path, book)
    dying(asked, 5)
    tensors, record, _ = checkpoint.load_state(asked.output)
    kept = {k: v for k, v in tensors.items() if not k.startswith("buffer.")}
    assert set(tensors) - set(kept) == {"buffer.lengths"}
    checkpoint.save_state(asked.output, kept, record)
    lines = []
    train(asked, lines.append)
    assert lines[-1] == "going on from step 4" and load(asked.output).meta["step"] == 12


@NAMED
@pytest.mark.parametrize("weights", ["float32", "float16"])
def test_what_is_returned_is_what_the_file_holds(arm, coding, weights, tmp_path, book, full):
    prepared = train(run(tmp_path, book, arm, coding, full, lr=1e-2, weights=weights))
    mine, filed = prepared.model, load(prepared.settings.output)
    assert mine.meta == filed.meta and mine.meta["net"]["embedding"] == arm
    assert mine.meta["net"]["coding"] == coding
    there = filed.tensors()
    assert all(torch.equal(v, there[k]) for k, v in mine.tensors().items())


def test_the_codes_in_the_file_are_those_of_the_encoder_that_learnt(tmp_path, book, full):
    """What the run measured at its end, the model in the file measures, too; and the encoder is not in it."""
    asked = run(tmp_path, book, "autoencoder", "joint", full, lr=1e-2)
    prepared = train(asked)
    (*_, last) = map(json.loads, open(asked.log))
    net = load(asked.output).net
    held = prepared.validation.items.data
    rate = net.rate(torch.from_numpy(np.stack([held[i] for i in range(len(held))])))
    assert float(rate.detach().mean()) / math.log(2) == pytest.approx(last["held_out_bits_per_byte"], rel=1e-5)
    assert net.enter.weight.shape == (256, 4) and not any("encoder" in k for k in net.state_dict())
    assert any(k.startswith("weight.objective.encoder") for k in checkpoint.load_state(asked.output)[0])


def test_codes_of_a_kept_model_are_those_of_its_step(tmp_path, book, full):
    """Joint codes are put into the network when it is written: at a step that is kept, too, and no checkpoint."""
    train(run(tmp_path, book, "autoencoder", "joint", full, lr=1e-2, steps=6, save_every=6, keep_every=3))
    there = tmp_path / "model.step-0000003.safetensors"
    (tmp_path / "other").mkdir()
    dying(run(tmp_path / "other", book, "autoencoder", "joint", full, lr=1e-2, steps=6, save_every=3), 5)
    assert there.read_bytes() == (tmp_path / "other" / "model.safetensors").read_bytes()


def test_what_a_joint_run_makes_small(tmp_path, book, full):
    """Bits a byte, and the share of the variance of the rows seen that is lost."""
    prepared = prepare(run(tmp_path, book, "autoencoder", "joint", full))
    goal, batch = prepared.objective, Batches(prepared.spec)[0]
    goal.settle()
    table, net = load(full).net.enter.weight, prepared.model.net
    seen = torch.from_numpy(np.bincount(prepared.spec.items.data.tokens, minlength=256) > 0)
    assert 10 < int(seen.sum()) < 100
    rate = net.rate(batch["target"]).mean(1) / math.log(2)
    assert torch.allclose(goal(batch), rate + tables.lost(net.enter, table, seen), rtol=1e-4)
    assert torch.allclose(goal.measure(batch)["loss"], rate, rtol=1e-5)


def test_operations_of_a_frozen_embedding_have_no_backward_pass(tmp_path, book, full):
    hidden, places, width, dims = 64, 16, 16, 4  # 8/3 of 16 in steps of 32
    rest = 4 * width * width + 3 * width * hidden + width * 256
    attention = 2 * width * (places * (places + 1) // 2)
    for coding, passes in (("frozen", 1), ("tuned", 3)):
        found = prepare(run(tmp_path, book, "pca", coding, full)).flops
        assert found == 2 * places * dims * width * passes + 3 * 2 * (places * rest + attention)


def test_learns_in_every_arm(tmp_path, book, full):
    """Words drawn alike cost three bits each: every arm comes far below the letters' own entropy."""
    raw = np.frombuffer(book.read_bytes(), np.uint8)
    shares = np.unique(raw, return_counts=True)[1] / len(raw)
    letters = -(shares * np.log2(shares)).sum()
    for arm, coding in ARMS:
        folder = tmp_path / f"{arm}-{coding}"
        folder.mkdir()
        asked = run(folder, book, arm, coding, full, ratio=2, steps=120, batch=8, lr=1e-2, ema=0.9, save_every=120)
        train(asked)
        (*_, last) = map(json.loads, open(asked.log))
        assert last["held_out_bits_per_byte"] < 0.75 * letters, (arm, coding, letters)


def test_a_tied_head_learns(tmp_path, book):
    for arm in ("full", "learned"):
        folder = tmp_path / arm
        folder.mkdir()
        more = {"steps": 120, "batch": 8, "lr": 1e-2, "ema": 0.9, "save_every": 120}
        train(run(folder, book, arm, head="tied", ratio=1, **more))
        (*_, last) = map(json.loads, open(folder / "log.jsonl"))
        assert last["held_out_bits_per_byte"] < 2.5


# what reads models


@NAMED
@HEADS
def test_whatever_takes_a_language_model_takes_it(arm, coding, head, tmp_path, book, full):
    asked = run(tmp_path, book, arm, coding, full, head, steps=4)
    train(asked)
    net, raw = load(asked.output).net, np.frombuffer(book.read_bytes(), np.uint8)
    tokens = torch.from_numpy(raw[:16].astype(np.int64))[None]
    with torch.no_grad():
        assert torch.equal(net.resume(net.hidden(tokens, 1), 1), net(tokens))
        caches = net.caches()
        steps = [net.after(tokens[:, :4], caches), *(net.after(tokens[:, i : i + 1], caches) for i in range(4, 16))]
        assert torch.allclose(torch.stack(steps, 1), net(tokens)[:, 3:], atol=1e-5)
    recalled, _ = Continuer(asked.output, more=5, device="cpu")(Signal("tokens", raw[None, :20]))
    assert recalled.data.shape == (1, 25)
    same = type("Same", (), {"stages": 1, "dims": 16, "encode": lambda s, x: x, "decode": lambda s, c, stages=1: c})
    assert patch_back(net, 1, same(), raw[:34].reshape(2, 17).astype(np.int64))[-1]["change"] == 0
    found = describe(asked.output)["embedding"]
    assert (found["embedding"], found["coding"], found["head"]) == (arm, coding, head)
    row, numbers = EMBEDDINGS[arm], 256 * 16
    assert found["ratio"] == (4 if row.coded else 1)
    table, up = (32 * numbers // 4, 16 * 4 + 16) if row.coded else (32 * numbers, 0)
    if row.packed:
        table = 256 * 2 * 3 + 32 * 2 * 7 * 16 if arm == "rvq" else 5 * numbers + 32 * 256
    assert found["bits"] == {
        "embedding": table,
        "up-projection": 32 * up,
        "head": 0 if head == "tied" else 32 * numbers,
    }
    assert ("lost" in found) == (bool(row.needs) and coding != "joint")


def test_the_command_says_it(tmp_path, book, full):
    line = f"lm --data {book} --depth 1 --width 16 --context 16 --steps 2 --holdout 3 --device cpu -q"
    more = f"--embedding pca --ratio 4 --table {full} --coding tuned --head tied --weights float16 -o m.safetensors"
    done = lem_fork("train", *shlex.split(f"{line} {more}"), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    found = json.loads(lem("info", "--json", tmp_path / "m.safetensors").stdout)["embedding"]
    assert found["bits"] == {"embedding": 16 * 256 * 4, "up-projection": 16 * (16 * 4 + 16), "head": 0}
    shown = lem("info", tmp_path / "m.safetensors").stdout.decode()
    assert '\nembedding\t{"embedding": "pca", "ratio": 4, "coding": "tuned"' in shown
    lem("encode", "-q", "--encoder", "activations", "--lm", tmp_path / "m.safetensors", "--layer", "0", "--flat", book)
    text = lem("reconstruct", "-q", "--method", "continue", "--model", tmp_path / "m.safetensors", "--more", "3", book)
    assert len(text.stdout) == len(book.read_bytes()) + 3


def test_records_of_before_are_full_and_untied():
    net = LM(7, 1, 16, 1, 8)
    assert list(net.state_dict())[:2] == ["lengths", "enter.weight"] and net.head.weight.shape == (7, 16)
    torch.manual_seed(3)
    table = LM(7, 1, 16, 1, 8).enter.weight
    torch.manual_seed(3)
    assert torch.equal(table, torch.nn.Embedding(7, 16).weight)  # and begin as they did


BAD = [
    ("--embedding learned --ratio 3", "--ratio 3: a width of 16 is no multiple of it"),
    ("--embedding learned --ratio 32", "--ratio 32: a width of 16 is no multiple of it"),
    ("--embedding learned --ratio 0", "0 is not in the range x>=1"),
    ("--ratio 4", "--ratio is for --embedding learned, random, pca and autoencoder, not full"),
    ("--embedding none", "'none' is not one of"),
    (
        "--set embedding=none",
        "--set embedding=none: it takes full, learned, random, pca, autoencoder, quantised, trellis, rvq",
    ),
    ("--set embedding=[1]", "it takes full, learned, random, pca, autoencoder, quantised, trellis, rvq"),
    (
        "--embedding learned --table full.safetensors",
        "--table is not for --embedding learned",
    ),
    ("--embedding random --coding tuned", "--coding is for --embedding pca and autoencoder (with --table), not random"),
    ("--embedding pca", "--embedding pca: of which table? Give --table FULL"),
    ("--embedding pca --table full.safetensors --coding joint", "--coding joint: that of pca is frozen or tuned"),
    ("--embedding pca --table full.safetensors --set hidden=3", "an embedding that is pca has no hidden layer"),
    ("--embedding learned --set hidden=3 --head tied", "a tied head for an up-projection with a hidden layer"),
    ("--embedding pca --table full.safetensors --width 32", "vectors of 16, where the network has 32; give --width"),
    ("--embedding pca --table learned.safetensors", "learned.safetensors: its network is lm (learned), where codes"),
    (
        "--embedding pca --table few.safetensors",
        "few.safetensors: a table of 7 tokens, where the text has 256; give the same --codec",
    ),
    ("--embedding pca --table other.safetensors", "other.safetensors: its tokens stand for other bytes than those"),
    ("--embedding pca --table nan.safetensors", "nan.safetensors: NaN or infinite numbers"),
    ("--embedding pca --table book.txt", "book.txt: not a"),
    ("--embedding pca --table gone.safetensors", "gone.safetensors: no such file"),
    ("--embedding learned --ratio 4 --init full.safetensors", "another network: embedding full, not learned; ratio 1"),
    ("--init learned.safetensors", "another network: embedding learned, not full; ratio 4, not 1"),
    (
        "--embedding autoencoder --table full.safetensors --coding joint --init full.safetensors",
        "--init: a model does not keep the encoder",
    ),
    ("--embedding trellis --table full.safetensors --code-bits 7", "--code-bits 7: trellis has up to 6"),
    ("--embedding quantised --table full.safetensors --code-bits 17", "17 is not in the range 1<=x<=16"),
    ("--embedding rvq --table full.safetensors --codes 64", "--embedding rvq: "),
    ("--embedding rvq --table full.safetensors --code-bits 3", "--code-bits is for --embedding quantised and trellis"),
    (
        "--embedding quantised --table full.safetensors --stages 3",
        "--stages is for --embedding rvq (with --table), not",
    ),
    ("--embedding trellis", "--embedding trellis: of which table? Give --table FULL"),
    ("--stages 3", "--stages is for --embedding rvq (with --table), not full"),
    ("--embedding quantised --table full.safetensors --set hidden=3", "that is quantised has no hidden layer"),
    ("--on dense --codec full.safetensors", "full.safetensors: not a fitted encoder"),
]


@pytest.fixture(scope="module")
def bad(tmp_path_factory, book, full):
    folder = tmp_path_factory.mktemp("bad")
    (folder / "book.txt").write_bytes(book.read_bytes())
    model = load(full)
    checkpoint.save_model(model, str(folder / "full.safetensors"))
    older = {
        k: v for k, v in model.meta["net"].items() if k in ("net", "vocabulary", "depth", "width", "heads", "context")
    }
    for name, record, change in (
        ("learned", model.meta["net"] | {"embedding": "learned", "ratio": 4}, None),
        ("few", older | {"vocabulary": 7}, None),
        ("other", older, "lengths"),
        ("nan", older, "enter.weight"),
    ):
        net = LM(**{k: v for k, v in record.items() if k != "net"})
        if change:
            net.state_dict()[change][3] = math.nan if name == "nan" else 2
        again = type(model)(net, model.meta | {"net": record}, model.scale, model.target_scale)
        checkpoint.save_model(again, str(folder / f"{name}.safetensors"))
    return folder


@pytest.mark.parametrize("line, says", BAD)
def test_refused_in_one_line_before_anything_is_written(line, says, bad):
    before = files(bad)
    width = "" if "--width" in line else "--width 16"
    start = f"lm --data book.txt --depth 1 --context 16 {width} --device cpu -q -o m.safetensors"
    done = lem_fork("train", *shlex.split(f"{start} {line}"), cwd=bad)
    errors = done.stderr.decode().splitlines()
    assert done.returncode == 2 and len(errors) == 1 and says in errors[0] and "a defect" not in errors[0], errors
    assert files(bad) == before


def test_a_table_of_the_time_before_there_were_arms_is_taken(bad, book):
    assert prepare(run(bad, book, "pca", "frozen", bad / "full.safetensors")).model.meta["table"]["lost"] > 0


def test_another_table_is_not_the_run_that_was_begun(tmp_path, book, full):
    table = tmp_path / "table.safetensors"
    checkpoint.save_model(load(full), str(table))
    asked = run(tmp_path, book, "pca", "frozen", table, steps=4)
    train(asked)
    again = load(full)
    with torch.no_grad():
        again.net.enter.weight += 1
    checkpoint.save_model(again, str(table))
    with pytest.raises(LemError, match="its run has other contents of the data"):
        train(run(tmp_path, book, "pca", "frozen", table, steps=4))


def test_damaged_records_are_refused(tmp_path, full):
    model = load(full)
    for change in ({"embedding": "pca"}, {"ratio": 4}, {"embedding": ["x"]}, {"coding": "joint"}):
        meta = model.meta | {"net": model.meta["net"] | change}
        checkpoint.save_model(
            type(model)(model.net, meta, model.scale, model.target_scale), str(tmp_path / "d.safetensors")
        )
        with pytest.raises(LemError, match=r"d\.safetensors: "):
            load(str(tmp_path / "d.safetensors"))
        describe(str(tmp_path / "d.safetensors"))
