"""Which tokens are drawn among: the definitions of Holtzman et al. and of Meister et al. by brute force, and frequencies."""

from itertools import combinations

import numpy as np
import pytest
import torch

from lemtools.nets.draw import draw, likely


def smallest(p, rank, share):
    """Of the sets of tokens of least rank the smallest that has the share, by trying all sizes."""
    order = sorted(range(len(p)), key=lambda k: rank[k])
    return next(set(order[:n]) for n in range(1, len(p) + 1) if sum(p[k] for k in order[:n]) >= share)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["top_p", "typical"])
def test_the_tokens_are_those_of_the_definition(name, share):
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 2, (20, 6)))
    found = likely(logits, **{name: share})
    for row, p in zip(found, logits.softmax(-1).tolist(), strict=True):
        entropy = -sum(x * np.log(x) for x in p)
        rank = [-x if name == "top_p" else abs(-np.log(x) - entropy) for x in p]
        keep = smallest(p, rank, share)
        want = [x * (k in keep) / sum(p[j] for j in keep) for k, x in enumerate(p)]
        np.testing.assert_allclose(row, want, atol=1e-12)
        if name == "top_p":  # no smaller set of any tokens has the share
            assert not any(sum(part) >= share for part in combinations(p, len(keep) - 1))


def test_typical_tokens_may_not_be_the_likeliest():
    """.3 has a surprise of 1.2 nats, the 40 others of 4.0; the mean is 3.2."""
    logits = torch.tensor([0.3, *[0.0175] * 40], dtype=torch.float64).log()
    assert likely(logits, typical=0.3)[0] == 0 and likely(logits, top_p=0.2)[0] == 1


@pytest.mark.parametrize("kinds", [4, 8, 300])
def test_of_tokens_that_are_alike_the_first_remain(kinds):
    """However many there are, in whichever way they are chosen; so that --top 1 is temperature 0."""
    logits = torch.zeros(2, kinds)
    logits[1, -1] = 1
    for few, first in ((likely(logits, top=3), [0, 1]), (likely(logits[:1].double(), top_p=3 / kinds - 1e-9), None)):
        assert few[0].nonzero()[:, 0].tolist() == [0, 1, 2]
        assert first is None or few[1].nonzero()[:, 0].tolist() == [*first, kinds - 1]
    assert likely(logits, top=1).argmax(-1).tolist() == draw(logits, [], temperature=0).tolist()


def test_all_of_them_are_left_by_a_share_of_one():
    logits = torch.randn(5, 9, dtype=torch.float64)
    for name in ("top_p", "typical"):
        torch.testing.assert_close(likely(logits, 0.7, **{name: 1.0}), likely(logits, 0.7), atol=0, rtol=0)


def test_one_after_another_each_of_what_is_left():
    p = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    torch.testing.assert_close(likely(p.log(), top=2, top_p=0.57), torch.tensor([1.0, 0, 0, 0]).double())  # 4/7 of two
    torch.testing.assert_close(likely(p.log(), top=3, top_p=0.57), torch.tensor([4 / 7, 3 / 7, 0, 0]).double())
    torch.testing.assert_close(likely(p.log(), 0.5, top_p=0.5), torch.tensor([1.0, 0, 0, 0]).double())  # .16 of .30


def test_draws_are_as_frequent_as_that():
    logits = torch.log(torch.tensor([0.1, 0.5, 0.15, 0.25], dtype=torch.float64)).repeat(4000, 1)
    drawn = draw(logits, [np.random.default_rng(i) for i in range(4000)], top_p=0.7)
    share = np.bincount(drawn, minlength=4) / 4000
    want = np.array([0, 2 / 3, 0, 1 / 3])
    assert (np.abs(share - want) <= 4 * np.sqrt(want * (1 - want) / 4000)).all()
