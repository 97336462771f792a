"""Gates of lem-train lm: sound models pass them all, and each is failed by a model that is broken on purpose."""

import copy
import math
import os
import shlex
import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.commands import lem_fork
from helpers.training import dying, files, result, told
from lemtools.catalogue.embeddings import EMBEDDINGS
from lemtools.nets.embedding import freeze
from lemtools.ranks import Ranks
from lemtools.signal import LemError
from lemtools.train import gates, tables
from lemtools.train.corpus import Corpus
from lemtools.train.data import Batches
from lemtools.train.loop import Stopped, train
from lemtools.train.prepare import prepare
from lemtools.train.settings import Settings
from lemtools.train.trainer import Trainer

UPDATES = 100


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A file of 3000 words, each of which says something of the next one."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("book") / "book.txt"
    words = ["what ", "is ", "gone ", "was ", "here ", "and ", "none ", "knew\n"]
    at, found = 0, []
    for step in rng.choice(3, size=3000, p=[0.7, 0.2, 0.1]):
        at = (at + 1 + step) % len(words)
        found.append(words[at])
    path.write_text("".join(found))
    return path


@pytest.fixture(autouse=True)
def short(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(tables, "STEPS", 20)
    monkeypatch.setattr(gates, "UPDATES", 100)
    monkeypatch.setattr(gates, "HEART", 250)
    monkeypatch.setattr(gates, "ROUNDS", 2)


def run(folder, book, arm="full", coding=None, table=None, **more) -> Settings:
    row, options = EMBEDDINGS[arm], {"context": 24, "embedding": arm, **more.pop("options", {})}
    chosen = {"ratio": 2, "coding": coding, "code_bits": 4, "stages": 2, "codes": 8}
    options = {name: value for name, value in chosen.items() if row.takes(name)} | options
    plain = dict(
        steps=UPDATES, batch=8, save_every=1000, holdout=20, width=32, depth=1, workers=0, device="cpu", lr=1e-2
    )
    more = {"table": str(table), **more} if row.needs else more
    names = {"data": [str(book)], "output": str(folder / "model.safetensors"), "log": str(folder / "log.jsonl")}
    return Settings("lm", **{**plain, **names, **more}, options=options)


@pytest.fixture(scope="module")
def full(book, tmp_path_factory):
    torch.set_num_threads(1)
    asked = run(tmp_path_factory.mktemp("full"), book, steps=60)
    train(asked)
    return asked.output


def text(prepared) -> Corpus:
    return Corpus(prepared.spec.items.data.tokens, 256, np.ones(256))


def learnt(asked, change=lambda net: None, updates=UPDATES) -> gates.Subject:
    """What the gates are shown of a run after some updates. change: what is done to its network before the first."""
    prepared = prepare(asked)
    change(prepared.model.net)
    trainer = Trainer(prepared, Ranks(), "cpu")
    batches = Batches(prepared.spec)
    for step in range(updates):
        trainer.advance(batches[step])
    net = prepared.model.meta["net"]
    learns = EMBEDDINGS[net["embedding"]].learns[net["coding"]]
    return gates.subject(trainer, text(prepared), prepared.validation.items.data, learns)


def failed(subject) -> set[str]:
    """Names of the gates that are not passed."""
    return {name for name, gate in gates.GATES.items() if not gate(subject)[0]}


SOUND = [
    ("full", None, {}),
    ("learned", None, {"head": "tied"}),
    ("autoencoder", "joint", {}),
    ("quantised", "frozen", {}),
]


@pytest.mark.parametrize("arm, coding, options", SOUND)
def test_a_sound_model_passes_all(arm, coding, options, tmp_path, book, full):
    said = gates.check(learnt(run(tmp_path, book, arm, coding, full, options=options)))
    assert all(name in said for name in gates.GATES) and "\n" not in said


def test_a_sound_model_of_another_network_passes(tmp_path, book):
    asked = run(tmp_path, book, arch="gru-lm", steps=1)
    asked.options.pop("embedding")
    prepared = prepare(asked)
    trainer = Trainer(prepared, Ranks(), "cpu")
    for step in range(40):
        trainer.advance(Batches(prepared.spec)[step])
    subject = gates.subject(trainer, text(prepared), prepared.validation.items.data, ("weight",))
    for gate in (gates.unigram, gates.reached, gates.causal, gates.slopes):
        assert gate(subject)[0], gate(subject)


# broken models, and the gates that catch them


def without_mask(net):
    """Every position sees those after it."""
    for block in net.trunk.blocks:
        block.causal = False


def one_frozen(net):
    net.trunk.blocks[0].qkv.weight.requires_grad_(False)


def no_way_back(net):
    net.enter.register_forward_hook(lambda module, given, vectors: vectors.detach())


def no_parameters(net):
    freeze(net.enter)


def tied_zeros(net):
    nn.init.zeros_(net.enter.weight)


def same_token(net):
    """It is asked for what it sees."""

    def rate(items, noise=None):
        return F.cross_entropy(net(items[:, :-1]).transpose(1, 2), items[:, :-1].long(), reduction="none")

    net.rate = rate


def token_after_next(net):
    """Inputs one place late: it is shown what it is asked for."""

    def rate(items, noise=None):
        return F.cross_entropy(net(items[:, 1:]).transpose(1, 2), items[:, 1:].long(), reduction="none")

    net.rate = rate


def formula(net):
    """ln V, whatever was learnt."""
    net.rate = lambda items, noise=None: 0 * net(items[:, :-1]).sum(2) + math.log(net.vocabulary)


def falling(net):
    """A loss that falls, whatever is learnt."""
    calls = []

    def rate(items, noise=None):
        calls.append(1)
        return 0 * net(items[:, :-1]).sum(2) + 3 / (1 + 0.01 * len(calls))

    net.rate = rate


def blind(net):
    """It reads no tokens: how often each is there is all it can know."""
    net.enter.register_forward_hook(lambda module, given, vectors: 0 * vectors + 1)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def wrong_gradient_of_vectors(net):
    class Wrong(nn.Module):
        def __init__(self, norm):
            super().__init__()
            self.norm = norm

        def forward(self, x):
            return Doubled.apply(self.norm(x))

    net.trunk.norm = Wrong(net.trunk.norm)


def wrong_gradient_of_parameters(net):
    net.enter.register_forward_hook(lambda module, given, vectors: Doubled.apply(vectors))


BROKEN = [
    (without_mask, {}, {"causal", "shuffled text"}),
    (one_frozen, {}, {"gradient for every parameter"}),
    (no_way_back, {}, {"gradient for every parameter"}),
    (no_parameters, {}, {"gradient for every parameter"}),
    (
        tied_zeros,
        {"head": "tied"},
        {"unigram", "shuffled text", "a row by heart", "gradient for every parameter", "causal"},
    ),
    (same_token, {}, {"shuffled text"}),
    (token_after_next, {}, {"shuffled text"}),
    (formula, {}, {"unigram", "shuffled text", "a row by heart", "gradient for every parameter"}),
    (falling, {}, {"shuffled text", "a row by heart", "gradient for every parameter"}),
    (blind, {}, {"unigram", "causal", "a row by heart", "gradient for every parameter"}),
    (wrong_gradient_of_vectors, {}, {"gradient of the embedding"}),
    (wrong_gradient_of_parameters, {}, {"gradient of the embedding"}),
]


@pytest.mark.parametrize("change, options, caught", BROKEN, ids=[each[0].__name__ for each in BROKEN])
def test_a_broken_model_is_caught(change, options, caught, tmp_path, book):
    subject = learnt(run(tmp_path, book, options=options), change)
    for name in caught:
        assert not gates.GATES[name](subject)[0], name


class Infinite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.full_like(gradient, torch.inf)


def test_a_gradient_that_is_not_finite_is_caught(tmp_path, book):
    """It comes up after the training; in it the weights would not be finite either."""
    subject = learnt(run(tmp_path, book), updates=3)
    assert gates.reached(subject)[0]
    subject.goal.net.enter.register_forward_hook(lambda module, given, vectors: Infinite.apply(vectors))
    passed, found = gates.reached(subject)
    assert not passed and found == "none, or none that is finite, for enter.weight"


def test_a_wrong_gradient_is_caught_where_nothing_of_the_embedding_learns(tmp_path, book, full):
    """That of the vectors, since there are no parameters."""
    subject = learnt(run(tmp_path, book, "quantised", "frozen", full), updates=3)
    assert gates.slopes(subject)[0] and not list(subject.goal.net.enter.parameters())
    wrong_gradient_of_vectors(subject.goal.net)
    assert not gates.slopes(subject)[0]


def test_all_that_is_wrong_is_said_in_one_line(tmp_path, book):
    subject = learnt(run(tmp_path, book), formula, updates=1)
    with pytest.raises(gates.Failed, match="^failed unigram: ") as error:
        gates.check(subject)
    said = str(error.value)
    assert (
        "\n" not in said and "a row by heart: " in said and "causal: logits before" in said and "enter.weight" in said
    )


def test_every_gate_catches_something():
    assert set().union(*(caught for _, _, caught in BROKEN)) == set(gates.GATES)


def test_a_loss_in_other_units_is_caught(tmp_path, book):
    """Bits that are called nats, or bytes counted twice."""
    whole = learnt(run(tmp_path, book))
    twice, bits = copy.deepcopy(whole), copy.deepcopy(whole)
    twice.goal.net.lengths *= 2
    rate = bits.goal.net.rate
    bits.goal.net.rate = lambda *given: rate(*given) / math.log(2)
    for subject in (twice, bits):
        assert not gates.shuffled(subject)[0]
    assert gates.shuffled(whole)[0]


def test_a_model_that_did_not_learn_yet_is_caught(tmp_path, book):
    assert "unigram" in failed(learnt(run(tmp_path, book), updates=1))


@pytest.mark.parametrize("arm", ["pca", "autoencoder"])
def test_codes_of_two_numbers_that_never_learn_are_enough_to_know_a_row_by_heart(
    arm, tmp_path, book, full, monkeypatch
):
    """To 1 %, whatever the text: one in which a token stands many times, twice at its beginning, too."""
    subject = learnt(run(tmp_path, book, arm, "frozen", full, options={"ratio": 16}), updates=3)
    monkeypatch.setattr(gates, "HEART", 400)
    again = gates.by_heart(subject)
    subject.windows[:] = subject.windows[0, 0]
    assert again[0] and gates.by_heart(subject)[0] and gates.KNOWN <= 0.01


def test_a_window_may_take_several_rounds(tmp_path, book, full, monkeypatch):
    """As frozen codes do; what is known by heart after the first one takes no more."""
    subject = learnt(run(tmp_path, book, "pca", "frozen", full), updates=3)
    monkeypatch.setattr(gates, "HEART", 1)
    monkeypatch.setattr(gates, "ROUNDS", 1)
    assert not gates.by_heart(subject)[0]
    monkeypatch.setattr(gates, "ROUNDS", 60)
    taught, teach = [], gates.Subject.teach
    monkeypatch.setattr(gates.Subject, "teach", lambda *given: (taught.append(1), teach(*given))[1])
    assert gates.by_heart(subject)[0] and 1 < len(taught) < 60


def test_counts_are_those_of_the_text(tmp_path, book):
    subject = learnt(run(tmp_path, book), updates=0)
    raw = np.frombuffer(book.read_bytes(), np.uint8)
    counts = np.bincount(raw[: len(subject.learnt)], minlength=256)
    counts = counts + (counts > 0).sum() / 256
    bits = [-math.log2(counts[t] / counts.sum()) for t in subject.windows[:, 1:].flatten().tolist()]
    assert subject.counted(subject.windows) == pytest.approx(np.mean(bits))
    subject.lengths = np.full(256, 4)
    assert subject.counted(subject.windows) == pytest.approx(np.mean(bits) / 4)


# a run


def test_gates_change_no_byte_of_a_run(tmp_path, book):
    ends = []
    for name, more, dies in (("plain", {}, 0), ("gates", {"gates": 30}, 0), ("cut", {"gates": 30}, 50)):
        folder = tmp_path / name
        folder.mkdir()
        asked = run(folder, book, steps=120, save_every=40, **more)
        lines: list[str] = []
        if dies:
            dying(asked, dies)
        train(asked, lines.append)
        passed = [line for line in lines if line.startswith("gates passed at step ")]
        assert len(passed) == ("gates" in more) and (not passed or "; data " in passed[0])
        ends.append((*result(folder), (folder / "model.state.safetensors").read_bytes()))
    assert ends[0] == ends[1] == ends[2]


@pytest.mark.parametrize("save_every, at", [(1000, 60), (40, 40)])
def test_no_number_is_printed_or_kept_before_the_gates_are_passed(save_every, at, tmp_path, book, monkeypatch):
    asked = run(tmp_path, book, steps=120, gates=60, save_every=save_every)
    seen = []
    monkeypatch.setattr(gates, "check", lambda subject: (seen.append(files(tmp_path)), "all well")[1])
    records, order = [], []
    train(
        asked, lambda line: order.append(line), lambda step, steps, record: (records.append(step), order.append(step))
    )
    assert len(seen) == 1 and all(not raw for raw in seen[0].values())  # (the log is there, and empty)
    assert next(i for i, each in enumerate(order) if each in records) > order.index(
        next(each for each in order if str(each).startswith(f"gates passed at step {at}: all well"))
    )
    assert records == ([50, 100, 120] if save_every == 1000 else [40, 50, 80, 100, 120])


def test_a_run_that_is_stopped_before_its_gates_has_its_log_and_goes_on(tmp_path, book, monkeypatch):
    ends = []
    for name in ("whole", "cut"):
        folder = tmp_path / name
        folder.mkdir()
        asked = run(folder, book, steps=90, gates=80)
        if name == "cut":
            with monkeypatch.context() as patched:
                advance = Trainer.advance

                def stopped(trainer, batch):
                    if trainer.step == 60:
                        os.kill(os.getpid(), signal.SIGTERM)
                    return advance(trainer, batch)

                patched.setattr(Trainer, "advance", stopped)
                with pytest.raises(Stopped):
                    train(asked)
            assert [record["step"] for record in told(folder / "log.jsonl")] == [50]
        lines: list[str] = []
        train(asked, lines.append)
        assert any(line.startswith("gates passed at step 80: ") for line in lines)
        ends.append(result(folder))
    assert ends[0] == ends[1]


def test_a_run_that_fails_leaves_nothing_and_ends_with_status_1(tmp_path, book):
    (tmp_path / "book.txt").write_bytes(book.read_bytes())
    line = "lm --data book.txt --depth 1 --width 16 --context 16 --steps 60 --holdout 9 --lr 1e-9 --device cpu -q --gates 5"
    done = lem_fork("train", *shlex.split(f"{line} -o m.safetensors --log-file log.jsonl"), cwd=tmp_path)
    errors = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout, len(errors)) == (1, b"", 1), errors
    assert errors[0].startswith("lem-train: failed unigram: ") and "by counts" in errors[0]
    assert {name: raw for name, raw in files(tmp_path).items() if name != "book.txt"} == {"log.jsonl": b""}


def test_gates_are_for_texts(tmp_path, book):
    with pytest.raises(LemError, match="--gates is for texts, not for task:parity"):
        prepare(Settings("lm", ["task:parity"], str(tmp_path / "m.safetensors"), gates=5, device="cpu"))
    with pytest.raises(LemError, match="--gates is for lm, not token-ae"):
        prepare(Settings("token-ae", [str(book)], str(tmp_path / "m.safetensors"), gates=5, device="cpu"))
