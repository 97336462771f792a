"""Thoughts of a language model: dimensions that the head never reads, carried from position to position."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lemtools.catalogue.thoughts import CARRIES, WAYS, dims, spelled
from lemtools.nets import thoughts
from lemtools.nets.lm import LM
from lemtools.nets.thoughts import Growing
from lemtools.signal import LemError

T = 12
WAYS_OF = pytest.mark.parametrize("by", ["bptt:5", "bptt:12", "passes:1", "passes:3", "passes:11"])
CARRIED = pytest.mark.parametrize("carry", ["normal", "shuffled", "reset:4", "none"])


def made(by="bptt:12", carry="normal", share=0.25, head="untied", wide=True, context=T, depth=2, loud=0.2):
    """A network of width 32 with weights that all speak, in float64."""
    torch.manual_seed(0)
    net = LM(50, depth, 32, 2, context, head=head, thoughts=share, thoughts_by=by, thoughts_carry=carry)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(loud * torch.randn_like(p))
    return net.double() if wide else net


def some(items=3, length=T, seed=1):
    return torch.randint(50, (items, length), generator=torch.Generator().manual_seed(seed))


def gradients(net, logits):
    wanted = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2), dtype=logits.dtype)
    return torch.autograd.grad((logits * wanted).sum(), list(net.parameters()))


# what is thoughts, and who reads them


def test_a_share_of_the_width_in_units_of_eight():
    assert [dims(64, share) for share in (0.01, 0.25, 0.3, 0.5)] == [8, 16, 16, 32] and dims(256, 0.25) == 64
    with pytest.raises(LemError, match="--thoughts 0.9: 16 of 16 dimensions leave none to the head"):
        dims(16, 0.9)
    net = made()
    assert net.head.weight.shape == (50, 24) and net.trunk.norm.weight.shape == (24,)
    assert net.thoughts.norm.weight.shape == (8,)


@pytest.mark.parametrize("head", ["untied", "tied"])
def test_thoughts_never_move_the_logits_of_their_own_position(head):
    net = made(head=head)
    x = torch.randn(3, T, 32, dtype=torch.float64)
    moved = x.clone()
    moved[..., 24:] += 10 * torch.randn(3, T, 8)
    assert torch.equal(net.resume(moved, 2), net.resume(x, 2))
    moved[..., 23] += 1
    assert not torch.equal(net.resume(moved, 2), net.resume(x, 2))


def test_a_tied_head_is_the_products_with_what_is_read_of_the_vectors():
    net, x = made(head="tied"), torch.randn(3, 32, dtype=torch.float64)
    wanted = net.trunk.norm(x[:, :24]) @ net.enter.weight[:, :24].T
    assert torch.allclose(net.head(net.read(x)), wanted, atol=1e-12)


@WAYS_OF
@CARRIED
def test_the_future_changes_nothing_before_it(by, carry):
    net, tokens = made(by, carry), some()
    for place in (0, 5, T - 1):
        other = tokens.clone()
        other[:, place] = (other[:, place] + 1) % 50
        apart = (net(tokens) - net(other)).abs().amax((0, 2))
        assert (apart[:place] == 0).all() and (apart[place:] > 1e-9).all()


# the recurrence by its definition


def defined(net, tokens):
    """Logits by the recurrence as the module's docstring has it: at every position the whole past anew, no cache."""
    e = net.enter(tokens)
    came = [torch.zeros(len(tokens), 1, net.thoughts.size, dtype=e.dtype)]
    for t in range(tokens.shape[1]):
        y = net.trunk.run(e[:, : t + 1] + F.pad(torch.cat(came, 1), (net.readable, 0)), 0, net.depth)
        came.append(net.thoughts.norm(y[:, -1:, net.readable :]))
    return net.resume(y, net.depth)


def test_the_exact_form_and_its_gradient_are_those_of_the_definition():
    net, tokens = made("bptt:12"), some()
    one, two = net(tokens), defined(net, tokens)
    assert torch.allclose(one, two, rtol=0, atol=1e-12)
    for name, a, b in zip(dict(net.named_parameters()), gradients(net, one), gradients(net, two)):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-11), name


def test_a_cut_changes_gradients_and_nothing_else():
    tokens = some()
    found = {}
    for k in (1, 5, 11, 12):
        net = made(f"bptt:{k}")
        logits = net(tokens)
        found[k] = (logits, *gradients(net, logits))
    assert all(torch.equal(found[k][0], found[12][0]) for k in found)
    for k in (1, 5, 11):
        assert any(not torch.allclose(a, b, rtol=1e-6) for a, b in zip(found[k], found[12]))


def test_a_cut_is_one_of_thoughts_alone():
    """Of one block with no path but thoughts the first token learns nothing from a position behind the cut; by attention it
    does."""
    net = made("bptt:4", depth=1)
    tokens = some(1)
    e = net.enter(tokens).detach().requires_grad_()
    for blind in (True, False):
        if blind:
            torch.nn.init.zeros_(net.trunk.blocks[0].out.weight)  # nothing comes by attention
        else:
            torch.nn.init.normal_(net.trunk.blocks[0].out.weight)
        y = net.thoughts(net.trunk, e)
        (g,) = torch.autograd.grad(y[:, 7].sum(), e)
        reached = g[0].abs().amax(-1) > 1e-12
        assert reached.tolist() == [not blind] * 4 + [True] * 4 + [False] * 4


def test_after_k_passes_position_k_is_exact():
    """And with as many passes as there are positions to come from, the whole is, with its gradient."""
    tokens, exact = some(), made("bptt:12")
    wanted = exact(tokens)
    for k in (1, 3, 10, 11, 13):
        net = made(f"passes:{k}")
        apart = (net(tokens) - wanted).abs().amax((0, 2))
        assert (apart[: k + 1] < 1e-12).all() and (apart[k + 1 :] > 1e-9).all()
    every = made("passes:11")
    for a, b in zip(gradients(every, every(tokens)), gradients(exact, wanted)):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-10)


# what arrives


@pytest.mark.parametrize("by", ["bptt:12", "passes:3"])
def test_controls_are_what_they_say(by):
    tokens = some(5)
    plain, shuffled = made(by), made(by, "shuffled")
    none = made(by, "none")
    never = made(by, "reset:1")
    never.load_state_dict(none.state_dict(), strict=False)
    assert torch.equal(shuffled(tokens[:1]), plain(tokens[:1]))  # one item has but its own
    assert torch.allclose(never(tokens), none(tokens), rtol=0, atol=1e-12)
    assert not torch.allclose(shuffled(tokens), plain(tokens), atol=1e-3)
    assert not torch.allclose(none(tokens), plain(tokens), atol=1e-3)


@pytest.mark.parametrize("by", ["bptt:12", "passes:11"])
def test_a_reset_begins_anew(by):
    """Of one block that attention does not pass through, what comes after is a text of its own."""
    net = made(by, "reset:4", depth=1)
    torch.nn.init.zeros_(net.trunk.blocks[0].out.weight)
    tokens = some()
    apart = torch.cat([net(part) for part in tokens.split(4, 1)], 1)
    assert torch.allclose(net(tokens), apart, rtol=0, atol=1e-12)
    fewer = made("passes:3", "reset:4", depth=1)
    fewer.load_state_dict(net.state_dict())
    assert torch.allclose(fewer(tokens), apart, rtol=0, atol=1e-12)  # and three passes are all that it takes


def test_shuffled_thoughts_come_from_another_item_each_time():
    for items in (2, 5, 64):
        sources, kept = thoughts.shuffled(None, range(1, 400), items)
        assert kept is None and sources.shape == (399, items)
        assert (np.sort(sources, 1) == np.arange(items)).all() and (sources != np.arange(items)).all()
        again, _ = thoughts.shuffled(None, range(200, 300), items)
        assert (again == sources[199:299]).all()  # by the place, wherever one begins
    counts = np.bincount((sources[:, 0]), minlength=64)
    assert counts[0] == 0 and (counts[1:] > 0).mean() > 0.95 and counts.max() < 20
    assert thoughts.shuffled(None, range(1, 9), 1) == (None, None)


@pytest.mark.parametrize("by", ["bptt:12", "passes:3"])
def test_shuffled_thoughts_say_nothing_of_an_item_but_by_chance(by):
    """In a batch of very many, what an item's token changes is its own past by attention, and others by thoughts."""
    net = made(by, "shuffled", depth=1)
    torch.nn.init.zeros_(net.trunk.blocks[0].out.weight)
    tokens = some(40)
    other = tokens.clone()
    other[7, 0] = (other[7, 0] + 1) % 50
    moved = (net(tokens) - net(other)).abs().amax(-1) > 1e-9
    assert moved[:, 0].nonzero().tolist() == [[7]]
    sources, _ = thoughts.shuffled(None, range(1, T), 40)
    at = 7
    for t in range(1, T if by == "bptt:12" else 4):
        at = int(np.flatnonzero(sources[t - 1] == at)[0])
        assert moved[:, t].nonzero().tolist() == [[at]]


# token after token


@WAYS_OF
@CARRIED
@pytest.mark.parametrize("wide", [True, False])
def test_step_by_step_is_the_training_graph(by, carry, wide):
    net, tokens = made(by, carry, wide=wide, loud=0.2 if wide else 0.05), some()
    with torch.no_grad():
        whole = net(tokens)
        for begin in (1, 4, T):
            past = net.caches()
            steps = [net.after(tokens[:, :begin], past)]
            steps += [net.after(tokens[:, t : t + 1], past) for t in range(begin, T)]
            assert torch.allclose(torch.stack(steps, 1), whole[:, begin - 1 :], rtol=0, atol=1e-12 if wide else 1e-5)
    assert len(past.caches) == (1 if carry == "none" or by.startswith("bptt") else int(by[7:]) + 1)
    held = sum(c.keys[:, :, : c.used].numel() + c.values[:, :, : c.used].numel() for p in past.caches for c in p)
    assert held == net.room * T * 3
    with pytest.raises(ValueError, match="13 positions; this network was made for 12"):
        net.after(tokens[:, :1], past)


@WAYS_OF
def test_places_of_tokens_are_those_of_the_trunk(by):
    """One place further on for all is no change; one more between two halves is one behind them alone."""
    net, tokens = made(by, context=2 * T), some()
    one_by_one = torch.arange(T).expand(3, T)
    assert torch.allclose(net(tokens, one_by_one), net(tokens), rtol=0, atol=1e-12)
    assert torch.allclose(net(tokens, one_by_one + 5), net(tokens), rtol=0, atol=1e-4)  # (angles in float32)
    apart = (net(tokens, one_by_one + 5 * (one_by_one > 5)) - net(tokens)).abs().amax((0, 2))
    assert (apart[:6] < 1e-12).all() and (apart[6:] > 1e-3).all()


@WAYS_OF
@CARRIED
def test_hidden_and_resume_are_the_network_cut_in_two(by, carry):
    net, tokens = made(by, carry), some()
    for layer in range(3):
        assert torch.allclose(net.resume(net.hidden(tokens, layer), layer), net(tokens), rtol=0, atol=1e-12)


def test_growing_caches_pass_gradients():
    cache, k = Growing(4), torch.randn(2, 1, 3, 4, requires_grad=True)
    for part in k.split(1, 2):
        keys, values = cache.put(part, 2 * part)
    assert cache.used == 3 and torch.equal(keys, k) and torch.equal(values, 2 * k)
    (g,) = torch.autograd.grad((keys + values).sum(), k)
    assert torch.equal(g, torch.full_like(k, 3))


# words


def test_words_and_what_is_refused():
    assert spelled(WAYS, "bptt:64", "--by")[1] == 64 and spelled(CARRIES, "normal", "--carry")[1] is None
    for text in ("bptt", "passes:", "passes:x", "passes:-1", "rnn:3", None, ["passes:1"], ""):
        with pytest.raises(LemError, match=r"--by .*: it takes bptt:K, passes:K"):
            spelled(WAYS, text, "--by")
    for text in ("passes:0", "passes:99999999999"):
        with pytest.raises(LemError, match="a whole number from 1 on stands behind the colon"):
            spelled(WAYS, text, "--by")
    for text in ("reset", "normal:3", "none:"):
        with pytest.raises(LemError, match="it takes normal, shuffled, reset:N, none"):
            spelled(CARRIES, text, "--carry")


@WAYS_OF
def test_a_fresh_network_is_fair_and_every_parameter_can_learn(by):
    torch.manual_seed(0)
    net = LM(50, 2, 32, 2, T, thoughts=0.25, thoughts_by=by)
    items = torch.randint(50, (4, T + 1))
    assert torch.allclose(net.rate(items), torch.tensor(50.0).log())
    torch.nn.init.normal_(net.head.weight)
    net.rate(items).sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in net.parameters())


@pytest.mark.parametrize("by, carry", [("bptt:4", "normal"), ("bptt:4", "shuffled"), ("passes:2", "reset:3")])
def test_a_network_can_be_compiled(by, carry):
    net, tokens = made(by, carry, depth=1), some()
    with torch.inference_mode():
        net(tokens)  # what is kept of this must do for learning
    one, two = torch.compile(net, backend="eager")(tokens), net(tokens)
    assert torch.allclose(one, two, rtol=0, atol=1e-12)
    for a, b in zip(gradients(net, one), gradients(net, two)):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-11)
