"""Thoughts that are broken before they are carried on."""

import numpy as np
import pytest
import torch

from helpers import languages, parity
from lemtools.fragment import fragment
from lemtools.nets.breaking import Breaking, breaking
from lemtools.nets.lm import LM
from lemtools.signal import LemError, Signal
from lemtools.train.by_length import by_length, stream

BITS = [{"op": "bits", "bits": 2}]
NOISE = [{"op": "noise", "sigma": 0.5}]


def made(by="bptt:12"):
    torch.manual_seed(0)
    net = LM(9, 2, 32, 2, 12, thoughts=0.25, thoughts_by=by)
    torch.nn.init.normal_(net.head.weight)
    return net.eval()


def right(model, broken=(), lengths=(1, 8, 64), **more):
    return [float(found.right.mean()) for found in by_length(model, lengths, 60, broken=broken, **more)]


@pytest.mark.parametrize("by", ["bptt:8", "passes:63"])
def test_what_was_built_by_hand_knows_parity(by):
    model = parity.model(by=by)
    symbols = torch.randint(2, (20, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        left = model.net.thoughts(model.net.trunk, model.net.enter(symbols))[..., model.net.readable :]
    signs = 1.0 - 2 * (symbols.cumsum(1) % 2)
    assert torch.allclose(left, signs[..., None].expand(-1, -1, 8), atol=2e-3)
    assert right(model) == [1, 1, 1]


def test_a_sign_needs_one_bit():
    """A thought of one size in all dimensions loses nothing to 1 bit, and 16 change nothing; with a norm it is 8 + 16 bits."""
    model = parity.model()
    for bits in (1, 16):
        assert right(model, [{"op": "bits", "bits": bits}]) == [1, 1, 1]
    found = list(by_length(model, [8], 4, broken=[{"op": "bits", "bits": 1}]))
    assert found[0].bits == 24 and next(by_length(model, [8], 4)).bits is None


def test_signs_that_turn_are_parity_lost():
    """Noise of three times their size turns the mean of 8 signs at nearly every second position; what is lost wholly is lost."""
    model = parity.model()
    first, *_, last = right(model, [{"op": "noise", "sigma": 3.0}])
    assert first == 1 and 0.3 < last < 0.7  # nothing arrives at the first position
    lost = [{"op": "mask", "mask": 1.0}]
    (found,) = by_length(model, [8], 60, broken=lost)
    tested = stream(model, 8, 60)
    alone = [bool(item[1, -1] == item[0, -1]) for item in map(tested.__getitem__, range(60))]
    assert found.right.tolist() == alone  # the last symbol is all that it knows


@pytest.mark.parametrize("operations", [BITS, NOISE, [{"op": "mask", "mask": 0.5, "shape": "dims"}], [*NOISE, *BITS]])
def test_what_arrives_is_what_lem_fragment_leaves(operations):
    """Position by position, by hand: every thought a memory whose index is item * places + place."""
    net, tokens = made(), torch.randint(9, (3, 12), generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), breaking(net, operations, seed=4) as broke:
        broke.first = 7
        got = net.features(tokens)
    with torch.no_grad():
        e, x = net.enter(tokens), []
        for t in range(12):
            come = torch.zeros(3, 8)
            if t:
                left = net.trunk.run(torch.stack(x, 1), 0, 2)[:, -1, 24:]
                memory = Signal("embedding", left.numpy(), index=(7 + np.arange(3)) * 12 + t - 1)
                (broken,) = fragment([memory], operations, 4)
                come = net.thoughts.norm(torch.from_numpy(broken.data))
            x.append(e[:, t] + torch.nn.functional.pad(come, (24, 0)))
        want = net.read(net.trunk.run(torch.stack(x, 1), 0, 2))
    assert torch.allclose(got, want, atol=1e-4)
    assert not torch.allclose(got, net.features(tokens), atol=1e-2)


def test_many_passes_are_the_recurrence():
    tokens = torch.randint(9, (3, 12), generator=torch.Generator().manual_seed(1))
    found = []
    for by in ("bptt:12", "passes:11"):
        net = made(by)
        with torch.no_grad(), breaking(net, NOISE):
            found.append(net.features(tokens))
    assert torch.allclose(*found, atol=1e-3)


@pytest.mark.parametrize("operations", [BITS, NOISE])
def test_the_batch_changes_nothing(operations):
    model = parity.model()
    (one,), (two,) = (by_length(model, [30], 50, batch=batch, broken=operations) for batch in (50, 7))
    assert one.right.tolist() == two.right.tolist()


def test_the_seed_draws():
    model, loud = parity.model(), [{"op": "noise", "sigma": 3.0}]
    same, again, other = (next(by_length(model, [30], 50, seed=s, broken=loud)).right.tolist() for s in (0, 0, 1))
    assert same == again != other


def test_afterwards_they_are_whole_again():
    net, tokens = made(), torch.zeros(1, 12, dtype=torch.long)
    with torch.no_grad():
        before = net.features(tokens)
        with pytest.raises(LemError, match="not embedding"), breaking(net, [{"op": "lowpass", "lowpass": 3}]):
            net.features(tokens)
        assert net.thoughts.broken is None and torch.equal(net.features(tokens), before)


def test_kernels_are_not_asked(monkeypatch):
    """They would carry thoughts on as they are."""
    monkeypatch.setattr("lemtools.nets.thoughts.usable", lambda *given: True)
    monkeypatch.setattr("lemtools.nets.thoughts.recurrence", None)
    net = made()
    with torch.no_grad(), breaking(net, BITS):
        net.features(torch.zeros(1, 12, dtype=torch.long))
    with pytest.raises(TypeError):
        net.features(torch.zeros(1, 12, dtype=torch.long))


def test_what_cannot_be_broken_is_refused():
    without = languages.model()
    for net in (without.net, LM(9, 1, 16, 1, 8, thoughts=0.5, thoughts_carry="none")):
        with pytest.raises(LemError, match="carries no thoughts"), breaking(net, BITS):
            pass
    broke = Breaking([{"op": "keep-dims", "keep": 2}], 0, 12)
    with pytest.raises(LemError, match="--keep-dims: 2 of 8 dimensions of a thought; --mask loses some"):
        broke(torch.ones(1, 1, 8), 0)
