"""Tasks whose state is known: what is drawn, what is learnt, and how often it is right by length."""

import itertools
import json
import math

import numpy as np
import pytest
import torch

from helpers.commands import lem_fork
from helpers.training import dying, files, result, told
from lemtools.catalogue.networks import NETWORKS
from lemtools.media.describe import describe
from lemtools.nets import build
from lemtools.nets.model import load
from lemtools.nets.rnn import Delta, Gru
from lemtools.reconstruct.continuing import Continuer
from lemtools.signal import LemError
from lemtools.train.answers import Answers, Supervised, bits, last
from lemtools.train.by_length import by_length
from lemtools.train.data import Batches
from lemtools.train.loop import train
from lemtools.train.prepare import prepare
from lemtools.train.settings import Settings
from lemtools.train.tasks import ASKED, KNOWN, Asking, Parts, Stream, task

ARCHS = [row.name for row in NETWORKS.rows if row.reads == "tokens"]
GROUPS = ("parity", "counter:7", "s5", "s5:swaps")
EVERY = (*GROUPS, "hops:3")
FIVE = list(itertools.permutations(range(5)))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def stream(name, length=40, count=200, every=True, seed=0, part="learnt", **more) -> Stream:
    """Sequences of one length."""
    asked = task(f"task:{name}", 400)
    return Stream(asked, Asking(length, length, every, **more), count, seed, part)


def drawn(made: Stream) -> Parts:
    return Parts.of(torch.from_numpy(np.stack([made[i] for i in range(len(made))])))


def asked(folder, name="parity", **more) -> Settings:
    """A small run on the CPU: 12 steps, a checkpoint every 4."""
    plain = dict(steps=12, batch=4, save_every=4, holdout=6, width=16, depth=1, workers=0, device="cpu")
    names = {"data": [f"task:{name}"], "output": str(folder / "model.safetensors"), "log": str(folder / "log.jsonl")}
    return Settings("lm", **{**plain, **names, **more})


# what is drawn


@pytest.mark.parametrize("name", GROUPS)
def test_states_by_brute_force(name):
    parts = drawn(stream(name))
    for symbols, states in zip(parts.symbols.tolist(), parts.states.tolist()):
        if name.startswith("s5"):
            found = list(
                itertools.accumulate((FIVE[g] for g in symbols), lambda s, g: tuple(g[s[i]] for i in range(5)))
            )
            assert [FIVE[s] for s in states] == found
        else:
            modulo = 2 if name == "parity" else 7
            assert states == [sum(symbols[: t + 1]) % modulo for t in range(len(symbols))]


def test_the_group_of_five_things_is_one():
    """Every row and column holds all states; the product is associative; the first is the one that changes nothing."""
    from lemtools.train.tasks import products

    table, rng = products(), np.random.default_rng(0)
    assert np.array_equal(np.sort(table), np.tile(np.arange(120), (120, 1)))
    assert np.array_equal(np.sort(table, 0).T, np.tile(np.arange(120), (120, 1)))
    assert np.array_equal(table[0], np.arange(120)) and np.array_equal(table[:, 0], np.arange(120))
    a, b, c = rng.integers(120, size=(3, 500))
    assert np.array_equal(table[table[a, b], c], table[a, table[b, c]])
    assert (table != table.T).mean() > 0.9  # the order counts


def test_swaps_are_those_of_neighbours_but_for_the_first():
    parts = drawn(stream("s5:swaps", count=400))
    moved = {int(g): [i for i in range(5) if FIVE[g][i] != i] for g in parts.symbols[:, 1:].unique()}
    assert sorted(moved.values()) == [[0, 1], [1, 2], [2, 3], [3, 4]]
    assert len(parts.symbols[:, 0].unique()) > 100


@pytest.mark.parametrize("length, steps", [(13, 3), (40, 1), (40, 12), (100, 3)])
def test_hops_by_walking(length, steps):
    parts = drawn(stream(f"hops:{steps}", length))
    count = (length - 1) // 3
    for symbols, states, known in zip(parts.symbols.tolist(), parts.states.tolist(), parts.known.tolist()):
        follows = dict(zip(symbols[: 2 * count : 2], symbols[1 : 2 * count : 2]))
        assert len(follows) == count and set(follows.values()) == set(follows)
        assert symbols[2 * count] == 133 and known == [t > 2 * count for t in range(length)]  # the mark
        for t in range(2 * count + 1, length):
            at = symbols[t]
            for _ in range(steps):
                at = follows[at]
            assert at == states[t] != symbols[t]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("pause", [0, 2])
def test_an_item_follows_from_its_number_alone(name, pause):
    made = [
        stream(name, 16, 9, pause=pause, part=part, seed=seed, context=48)
        for part, seed in (("learnt", 0), ("tested", 0), ("learnt", 1))
    ]
    first, again = [made[0][i] for i in range(9)], [made[0][i] for i in reversed(range(9))][::-1]
    assert np.array_equal(first, again) and first[0].dtype == np.int32
    for other in made[1:]:
        assert all(not np.array_equal(a[0], other[i][0]) for i, a in enumerate(first))


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("at", [0, 1, 39])
def test_states_are_even_at_every_position(name, at):
    """So that chance is what it says: chi-square within six of its standard deviations."""
    made, many = stream(name, count=4000), task(f"task:{name}", 400).states
    counts = np.bincount(drawn(made).states[:, at], minlength=many)
    chi = ((counts - 4000 / many) ** 2 / (4000 / many)).sum()
    assert abs(chi - (many - 1)) < 6 * (2 * (many - 1)) ** 0.5 and made.task.chance(40) == 1 / many


def test_of_hops_every_name_but_the_asked_one_is_as_likely():
    """Among those that are shown; and all names are as likely to be shown."""
    parts = drawn(stream("hops:3", 16, 3000))
    place = (parts.symbols[:, :10:2] == parts.states[:, -1:]).long().argmax(1)
    away = (parts.symbols[:, :10:2] == parts.symbols[:, -1:]).long().argmax(1)
    assert np.bincount(place, minlength=5).min() > 500 and not bool((place == away).any())
    assert task("task:hops:3", 400).chance(16) == 1 / 4
    counts = np.bincount(parts.states[:, -1], minlength=133)
    assert abs(((counts - 3000 / 133) ** 2 / (3000 / 133)).sum() - 132) < 6 * 264**0.5


@pytest.mark.parametrize("name", GROUPS)
def test_what_is_read_does_not_hold_the_answer(name):
    """The last symbols, known without the first, say nothing of the state: each state is as likely after each of them."""
    parts = drawn(stream(name, 12, 6000))
    many = min(task(f"task:{name}", 400).states, 7)
    symbol, state = parts.symbols[:, -1] % many, parts.states[:, -1] % many
    counts = np.bincount(symbol * many + state, minlength=many * many).reshape(many, many)
    expected = counts.sum(1, keepdims=True) * counts.sum(0) / counts.sum()
    kept = expected.min(1) > 5
    chi, free = ((counts - expected)[kept] ** 2 / expected[kept]).sum(), (kept.sum() - 1) * (many - 1)
    assert abs(chi - free) < 6 * (2 * free) ** 0.5


def test_a_network_reads_symbols_and_places_alone():
    """With other states, and asked elsewhere, an item has the same logits."""
    made = prepare(asked_of("counter:7"))
    batch = Batches(made.spec)[0]["target"]
    other = batch.clone()
    other[:, 1], other[:, 2] = (other[:, 1] + 1) % 7, KNOWN
    assert torch.equal(*(made.objective.logits(Parts.of(items)) for items in (batch, other)))


def asked_of(name, **more) -> Settings:
    return Settings("lm", [f"task:{name}"], "m.safetensors", width=16, depth=1, device="cpu", batch=4, **more)


# how it is asked


def test_the_end_alone_and_every_position():
    for length in (1, 7):
        ends = drawn(stream("parity", length, 5, every=False))
        assert ends.asked.sum(1).tolist() == [1] * 5 and bool(ends.asked[:, -1].all()) and bool(ends.known.all())
    assert bool(drawn(stream("parity", 7, 5)).asked.all())


def test_short_sequences_end_in_blanks_that_count_for_nothing():
    made = Stream(task("task:parity", 400), Asking(1, 8, every=False), 400, 0, "learnt")
    parts = drawn(made)
    lengths = parts.known.sum(1)
    assert sorted(lengths.unique().tolist()) == list(range(1, 9)) and np.bincount(lengths)[1:].min() > 25
    for row in range(400):
        length = int(lengths[row])
        assert (parts.symbols[row, length:] == 2).all() and (parts.symbols[row, :length] < 2).all()
        assert parts.asked[row].nonzero().tolist() == [[length - 1]]
    assert torch.equal(last(parts.asked), lengths - 1)


def test_a_pause_of_none_is_none_and_others_move_the_answer_behind_the_blanks():
    plain, none = (stream("counter:7", 5, 20, **more) for more in ({}, {"pause": 0}))
    paused = stream("counter:7", 5, 20, pause=2)
    for i in range(20):
        assert np.array_equal(plain[i], none[i])
        a, b = Parts.of(torch.from_numpy(plain[i])), Parts.of(torch.from_numpy(paused[i]))
        assert torch.equal(a.symbols, b.symbols[::3]) and torch.equal(a.states, b.states[2::3])
        assert (b.symbols.reshape(5, 3)[:, 1:] == 7).all() and b.asked.reshape(5, 3).tolist() == [
            [False, False, True]
        ] * 5
        assert b.places.tolist() == list(range(15))


def test_positions():
    """plain: in a row; moved: from anywhere, evenly; spread: in order, all distances within the context."""
    plain, moved, spread = (
        drawn(stream("parity", 4, 3000, positions=name, context=20)).places for name in ("plain", "moved", "spread")
    )
    assert bool((plain == torch.arange(4)).all())
    assert bool((moved.diff() == 1).all()) and moved.min() == 0 and moved.max() == 19
    counts = np.bincount(moved[:, 0], minlength=17)
    assert abs(((counts - 3000 / 17) ** 2 / (3000 / 17)).sum() - 16) < 6 * 32**0.5
    assert bool((spread.diff() >= 1).all()) and spread.min() == 0 and spread.max() == 19
    reach = np.arange(4, 21)
    ends = np.log(np.clip([reach - 0.5, reach + 0.5], 4, 20)) / np.log(5)  # of the ranges that are rounded to each
    likely = [
        sum(
            (high - low) * (r - d) * math.comb(d - 1, 2) / math.comb(r, 4)
            for r, low, high in zip(reach, *ends)
            if r > d
        )
        for d in range(3, 20)
    ]
    assert sum(likely) == pytest.approx(1)
    expected, counts = 3000 * np.array(likely), np.bincount(spread[:, -1] - spread[:, 0], minlength=20)[3:]
    chi = ((counts - expected) ** 2 / expected)[expected > 5].sum()
    assert chi < 15 + 6 * 30**0.5 and counts[-4:].sum() > 20
    whole = drawn(stream("parity", 20, 5, positions="spread", context=20)).places
    assert bool((whole == torch.arange(20)).all())


def test_positions_change_no_symbols():
    made = [stream("s5", positions=name, count=5) for name in ("plain", "moved", "spread")]
    for i in range(5):
        assert all(np.array_equal(each[i][:3], made[0][i][:3]) for each in made[1:])


# networks


@pytest.mark.parametrize("arch", ARCHS)
def test_the_future_changes_nothing_before_it(arch):
    net = build({"net": arch, "vocabulary": 9, "depth": 2, "width": 16, "context": 12})
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn_like(p))
    tokens = torch.randint(9, (2, 12))
    for place in (0, 5, 11):
        other = tokens.clone()
        other[:, place] = (other[:, place] + 1) % 9
        apart = (net(tokens) - net(other)).abs().amax((0, 2))
        assert (apart[:place] == 0).all() and (apart[place:] > 1e-5).all()


@pytest.mark.parametrize("arch", ARCHS)
def test_what_enters_a_layer_leads_to_the_same_logits(arch):
    torch.manual_seed(0)
    net, tokens = (
        build({"net": arch, "vocabulary": 9, "depth": 2, "width": 16, "context": 12}),
        torch.randint(9, (2, 12)),
    )
    torch.nn.init.normal_(net.head.weight)
    states, wanted = [net.hidden(tokens, layer) for layer in range(3)], net(tokens)
    assert all(torch.allclose(net.resume(state, i), wanted, atol=1e-5) for i, state in enumerate(states))
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(states, 2))
    assert torch.equal(states[0], net.enter(tokens))
    with pytest.raises(ValueError, match="layer 3: this network has 0 to 2"):
        net.hidden(tokens, 3)
    twice = net.double()(tokens)
    assert twice.dtype == torch.float64 and torch.allclose(twice.float(), wanted, atol=1e-2)


@pytest.mark.parametrize("depth, width", [(1, 64), (2, 128), (3, 192)])
def test_as_many_weights_as_the_transformer(depth, width):
    counts = {
        (arch, more): sum(
            p.numel()
            for p in build({"net": arch, "vocabulary": 9, "depth": depth, "width": width, **dict(more)}).parameters()
        )
        for arch, more in [("lm", ()), ("gru-lm", ()), *(("delta-lm", (("reflections", r),)) for r in (1, 2, 4))]
    }
    least = counts["lm", ()]
    assert all(abs(count / least - 1) < 0.02 for count in counts.values()), counts


def test_a_step_of_reflections_by_its_matrices():
    """Against the products of (1 - b k k^T), made as matrices in float64."""
    torch.manual_seed(0)
    net, x = Delta(12, 2, 2), torch.randn(2, 5, 12)
    with torch.no_grad():
        found = net(x)
        net, x = net.double(), x.double()
        f = net.features
        keys = torch.nn.functional.silu(net.key(x).view(2, 5, 2, 2, f))
        keys, values = keys / keys.norm(dim=-1, keepdim=True), net.value(x).view(2, 5, 2, 2, f)
        strengths = 2 * net.strength(x).sigmoid().view(2, 5, 2, 2)
        queries = torch.nn.functional.silu(net.query(x).view(2, 5, 2, f))
        queries = queries / queries.norm(dim=-1, keepdim=True)
        out = torch.zeros(2, 5, 2, f, dtype=torch.float64)
        for n, h in itertools.product(range(2), range(2)):
            state = torch.zeros(f, f, dtype=torch.float64)
            for t in range(5):
                for r in range(2):
                    k, b = keys[n, t, r, h], strengths[n, t, r, h]
                    turn = torch.eye(f, dtype=torch.float64) - b * torch.outer(k, k)
                    assert -1 < float(torch.linalg.eigvalsh(turn)[0]) < 1
                    state = turn @ state + b * torch.outer(k, values[n, t, r, h])
                out[n, t, h] = state.T @ queries[n, t, h]
        wanted = net.out(net.norm(out).flatten(2))
    assert torch.allclose(found.double(), wanted, atol=1e-5)


def test_a_gru_by_its_equations():
    torch.manual_seed(0)
    net, x = Gru(9), torch.randn(1, 4, 9)
    with torch.no_grad():
        w, u, b, c = (getattr(net.gru, f"{part}_l0") for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h, out = torch.zeros(6), []
        for row in x[0]:
            (r, z, n), (s, y, m) = (w @ row + b).chunk(3), (u @ h + c).chunk(3)
            keep = (z + y).sigmoid()
            h = (1 - keep) * torch.tanh(n + (r + s).sigmoid() * m) + keep * h
            out.append(net.out.weight @ h)
        assert torch.allclose(net(x)[0], torch.stack(out), atol=1e-5)


@pytest.mark.parametrize("arch", ["gru-lm", "delta-lm"])
def test_states_are_in_float32_where_products_are_not(arch):
    """What a long sequence leaves is nearer to float32 than bfloat16's steps, of 1 in 256, would let it be."""
    torch.manual_seed(0)
    net, tokens = (
        build({"net": arch, "vocabulary": 9, "depth": 1, "width": 32, "context": 8}),
        torch.randint(9, (2, 50)),
    )
    seen = {}
    recurrence = net.layers[0].recurrence
    recurrence.out.register_forward_pre_hook(lambda module, args: seen.setdefault("state", args[0]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert net(tokens).isfinite().all()
    assert seen["state"].dtype == torch.float32
    assert (seen["state"] != seen["state"].bfloat16().float()).float().mean() > 0.9


# runs


@pytest.mark.parametrize("arch", [*ARCHS, "thoughts"])
@pytest.mark.parametrize("more", [{}, {"asked": "end", "states": True, "pause": 1}], ids=["every", "end"])
def test_a_run_that_died_ends_in_the_same_bytes(arch, more, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    chosen = {"options": {"thoughts": 0.5, "thoughts_by": "bptt:4"}} if arch == "thoughts" else {"arch": arch}
    train(asked(one, "counter:5", longest=6, **chosen, **more))
    dying(asked(two, "counter:5", longest=6, **chosen, **more), 8)
    train(asked(two, "counter:5", longest=6, **chosen, **more))
    assert result(one) == result(two) and files(one)["model.safetensors"] == files(two)["model.safetensors"]
    records = told(one / "log.jsonl")
    assert {"held_out_loss", "held_out_right", "held_out_right_at_end"} <= set(records[-1])
    model = load(str(one / "model.safetensors"))
    assert not any("second" in name for name in model.net.state_dict())


def test_what_is_kept_back_is_not_learnt_and_stands_plainly(tmp_path):
    made = prepare(asked(tmp_path, "s5", longest=12))
    learnt, kept = (set() for _ in range(2))
    for i in range(300):
        learnt.add(made.spec.items.data[i][0].tobytes())
    for i in range(len(made.validation.items)):
        item = made.validation.items.data[i]
        kept.add(item[0].tobytes())
        assert item[3].tolist() == list(range(12))
    assert len(kept) == 6 and not learnt & kept


def test_bits_are_a_mean_over_the_positions_that_count():
    logits, states, where = torch.randn(3, 5, 4), torch.randint(4, (3, 5)), torch.rand(3, 5) < 0.6
    where[:, 0] = True
    found = bits(logits, states, where)
    for n in range(3):
        each = [-math.log2(float(logits[n, t].softmax(0)[states[n, t]])) for t in range(5) if where[n, t]]
        assert float(found[n]) == pytest.approx(sum(each) / len(each), rel=1e-5)


def test_the_bits_of_an_answer_in_closed_form(tmp_path):
    """A fresh network gives all of the alphabet the same probability; of these objectives one is twice the other."""
    plain = prepare(asked(tmp_path, "counter:7", asked="end", longest=6))
    both = prepare(asked(tmp_path, "counter:7", asked="end", longest=6, states=True))
    batch = Batches(plain.spec)[0]
    assert isinstance(both.objective, Supervised) and isinstance(plain.objective, Answers)
    assert torch.allclose(plain.objective(batch), torch.tensor(3.0)) and torch.allclose(
        both.objective(batch), torch.tensor(6.0)
    )
    weight = plain.model.net.head.weight
    with torch.no_grad():  # a network that always says 3
        weight.zero_()
        plain.model.net.forward = lambda tokens, places=None: torch.eye(8)[3].expand(*tokens.shape, 8)
    found = plain.objective.measure(batch)
    parts = Parts.of(batch["target"])
    ends = parts.states[torch.arange(4), last(parts.asked)]
    assert found["right_at_end"].tolist() == (ends == 3).float().tolist() == found["right"][0].float().tolist()
    assert found["right"][1].tolist() == [1] * 4


def test_a_second_head_learns_the_state_where_it_is_known(tmp_path):
    """Its bits are a mean over those positions; the first head's are those of the end."""
    made = prepare(asked(tmp_path, "hops:1", asked="end", longest=13, states=True))
    goal, batch = made.objective, Batches(made.spec)[0]
    parts = Parts.of(batch["target"])
    assert set(batch["target"][:, 2].flatten().tolist()) == {0, KNOWN, ASKED}
    with torch.no_grad():
        torch.nn.init.normal_(goal.second.weight)
        torch.nn.init.normal_(goal.net.head.weight)
        x = goal.net.features(parts.symbols, parts.places)
        for n, found in enumerate(goal(batch).tolist()):
            known = parts.known[n].nonzero()[:, 0].tolist()
            first, second = ((head(x[n]).log_softmax(-1) / -math.log(2)) for head in (goal.net.head, goal.second))
            each = [float(second[t, parts.states[n, t]]) for t in known]
            assert found == pytest.approx(float(first[known[-1], parts.states[n, known[-1]]]) + np.mean(each), rel=1e-4)


def test_a_gru_learns_parity_and_keeps_it_at_twice_the_length(tmp_path):
    train(
        asked(
            tmp_path, arch="gru-lm", width=32, steps=500, batch=32, lr=1e-2, ema=0.9, save_every=500, longest=20, seed=1
        )
    )
    model = load(str(tmp_path / "model.safetensors"))
    found = {each.length: each for each in by_length(model, (40, 80), count=200)}
    assert all(each.right.mean() > 0.99 and each.share > 0.99 for each in found.values())
    assert all(each.chance == 0.5 and 0.4 < each.majority < 0.6 for each in found.values())
    assert told(tmp_path / "log.jsonl")[-1]["held_out_right"] > 0.99


# by length


def test_answers_do_not_depend_on_the_batch(tmp_path):
    train(asked(tmp_path, "counter:3", arch="gru-lm", longest=5))
    model = load(str(tmp_path / "model.safetensors"))
    found = [list(by_length(model, (5, 9), 30, batch=batch)) for batch in (1, 7, 64)]
    for one, *others in zip(*found):
        assert len(one.right) == 30
        for other in others:
            assert np.array_equal(one.right, other.right) and one.share == pytest.approx(other.share, abs=1e-12)
    assert [each.length for each in found[0]] == [5, 9]


def test_right_answers_are_counted_by_hand(tmp_path):
    """Of a network that says the last symbol: right where what came before it adds to nothing."""
    train(asked(tmp_path, "counter:3", longest=5))
    model = load(str(tmp_path / "model.safetensors"))
    model.net.forward = lambda tokens, places=None: torch.eye(4)[tokens]
    (found,) = by_length(model, (4,), 500)
    parts = drawn(stream("counter:3", 4, 500, part="tested"))
    before = parts.symbols[:, :-1].sum(1) % 3 == 0
    assert np.array_equal(found.right, before.numpy()) and found.right.mean() == pytest.approx(1 / 3, abs=0.07)
    assert found.share == pytest.approx(float((parts.symbols == parts.states).double().mean()), abs=1e-9)


def test_a_pause_counts_for_nothing(tmp_path):
    """The same sequences, answered by the symbol before the blank: as those without one by the symbol itself."""
    train(asked(tmp_path, "counter:3", longest=5))
    model = load(str(tmp_path / "model.safetensors"))
    model.net.forward = lambda tokens, places=None: torch.eye(4)[tokens]
    (plain,) = by_length(model, (4,), 100)
    model.meta["task"] |= {"pause": 1, "context": 800}
    model.net.forward = lambda tokens, places=None: torch.eye(4)[tokens.roll(1, 1)]
    (paused,) = by_length(model, (4,), 100)
    assert np.array_equal(plain.right, paused.right) and (plain.share, plain.majority) == (
        paused.share,
        paused.majority,
    )


# what is said


def test_lem_info_and_a_model_of_a_task(tmp_path):
    train(asked(tmp_path, "hops:2", longest=13, positions="moved"))
    path = str(tmp_path / "model.safetensors")
    assert describe(path)["task"] == {
        "task": "hops:2", "states": 133, "supervised": False, "least": 10, "longest": 13, "every": True,
        "positions": "moved", "pause": 0, "context": 400,
    }  # fmt: skip
    said = lem_fork("info", path).stdout.decode()
    assert '"task": "hops:2"' in said
    with pytest.raises(LemError, match=r"a model of a task \(hops:2\), which says states"):
        Continuer(path)


def test_a_dry_run_prints_the_parameters(tmp_path):
    args = ("lm", "--data", "task:parity", "--depth", 1, "--dry-run", "-o", "m.safetensors")
    plain, wider = (
        lem_fork("train", *args, *more, cwd=tmp_path).stdout.decode().splitlines()[0].split("\t")
        for more in ((), ("--width", 80))
    )
    assert plain[:2] == ["parameters", "53824"] and int(wider[1]) > 1.3 * 53824
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "line, says",
    [
        ("--data task:parity --longest 0", "0 is not in the range x>=1"),
        ("--data task:counter:0", "--data task:counter:0: M is a whole number from 2 to 1024, as in task:counter:M"),
        ("--data task:counter", "--data task:counter: M is a whole number from 2 to 1024"),
        ("--data task:counter:x", "M is a whole number from 2 to 1024"),
        ("--data task:parity:3", "parity takes no value; write task:parity"),
        ("--data task:s5:3", "WORD is all, swaps, as in task:s5[:swaps]"),
        ("--data task:countr:3", "no task 'countr'; there are parity, counter:M, s5[:swaps], hops:K; near it: counter"),
        ("--data task:", "no task ''"),
        ("--data task:hops:13", "task:hops:13: sequences of 40 symbols, where it takes 43 or more"),
        (
            "--data task:parity --longest 500",
            "task:parity: 500 positions, where there are 400; take shorter sequences, or train with a larger --context",
        ),
        ("--data task:parity --context 30", "task:parity: 40 positions, where there are 30"),
        ("--data task:parity --data task:s5", "--data: 2 of them, where a task is learnt alone"),
        (
            "--data task:parity --states",
            "--states: the state is asked for at every position as it is; give --asked end",
        ),
        ("--data task:parity --codec x", "--codec is for texts, not for task:parity"),
        ("--data task:parity --validate x", "--validate is for texts"),
        ("--data task:parity --on dense", "--on dense is for texts"),
        ("--data task:parity --embedding pca", "--embedding pca is made of a text's table"),
        ("--data task:parity --arch dense-lm", "--arch dense-lm is not for lm; there is lm, gru-lm, delta-lm"),
        ("--data task:parity --arch gru-lm --embedding learned", "--embedding is for --arch lm, not gru-lm"),
        ("--data book.txt --pause 2", "--pause is for a task, as in --data task:parity"),
        ("--data book.txt --arch gru-lm --table x", "--table: codes of an embedding are for --arch lm, not gru-lm"),
    ],
)
def test_what_does_not_go_together(line, says, tmp_path):
    (tmp_path / "book.txt").write_text("what is gone is gone\n" * 200)
    done = lem_fork("train", "lm", *line.split(), "--steps", 1, "--device", "cpu", "-o", "m.safetensors", cwd=tmp_path)
    said = done.stderr.decode()
    assert done.returncode == 2 and says in said and said.splitlines()[-1].startswith("lem-train: error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["book.txt"]


def test_models_of_no_task_and_damaged_ones(tmp_path):
    (tmp_path / "book.txt").write_text("what is gone is gone\n" * 200)
    text = Settings(
        "lm",
        [str(tmp_path / "book.txt")],
        str(tmp_path / "t.safetensors"),
        steps=1,
        batch=2,
        width=16,
        depth=1,
        options={"context": 16},
        device="cpu",
        holdout=2,
    )
    train(text)
    with pytest.raises(LemError, match="a model of lm, which has learnt no task"):
        list(by_length(load(text.output)))
    train(asked(tmp_path))
    model = load(str(tmp_path / "model.safetensors"))
    with pytest.raises(LemError, match="401 positions, where there are 400"):
        list(by_length(model, (401,)))


@pytest.mark.parametrize("arch", ["gru-lm", "delta-lm"])
def test_they_learn_text_too(arch, tmp_path):
    (tmp_path / "book.txt").write_text("what is gone is gone\n" * 200)
    made = Settings(
        "lm",
        [str(tmp_path / "book.txt")],
        str(tmp_path / "t.safetensors"),
        arch=arch,
        steps=60,
        batch=4,
        width=32,
        depth=1,
        options={"context": 32},
        device="cpu",
        holdout=2,
        lr=1e-2,
        ema=0.8,
        log=str(tmp_path / "log.jsonl"),
    )
    train(made)
    record = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert record["held_out_bits_per_byte"] < 2
