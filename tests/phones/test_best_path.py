"""The best path: against all paths, against torchaudio's forced alignment, and one by one."""

import itertools

import pytest
import torch

from lemtools.phones.viterbi import Segments, ctc, viterbi
from lemtools.signal import LemError


def every_path(segments, frames):
    """All tuples of segments, a frame each, that the definition allows."""
    length = len(segments.symbols)
    for counts in itertools.product(range(frames + 1), repeat=length):
        if sum(counts) == frames and all(
            (c >= least) or (c == 0 and free) for c, least, free in zip(counts, segments.least, segments.optional)
        ):
            yield tuple(s for s, c in enumerate(counts) for _ in range(c))


def brute(emissions, segments):
    """(score, path) of the best by trying all."""
    costs = segments.costs or [0] * len(segments.symbols)
    scored = [
        (
            sum(float(emissions[t, segments.symbols[s]]) for t, s in enumerate(path)) - sum(costs[s] for s in {*path}),
            path,
        )
        for path in every_path(segments, len(emissions))
    ]
    return max(scored)


CASES = [
    Segments([0, 1, 0, 2], [1, 1, 1, 1], [False] * 4),
    Segments([0, 1, 2], [2, 1, 3], [False] * 3),
    Segments([2, 0, 2, 1, 2], [2, 1, 2, 2, 2], [True, False, True, False, True]),
    Segments([0, 2, 1], [3, 1, 1], [False, True, False]),
    Segments([1], [2], [False]),
    Segments([2, 0, 2, 1, 2], [2, 1, 1, 2, 2], [True, False, True, False, True], [0.5, 1.0, 0.7, 0.9, 1.5]),
    ctc([1, 1, 2]),
]


@pytest.mark.parametrize("segments", CASES)
@pytest.mark.parametrize("seed", range(6))
def test_the_best_of_all_paths(segments, seed):
    emissions = torch.randn(1, 8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = viterbi(emissions, [segments])
    score, path = brute(emissions[0], segments)
    assert found.scores.dtype == torch.float64 and float(found.scores[0]) == pytest.approx(score, rel=1e-12)
    assert tuple(found.frames[0].tolist()) == path
    spans = found.spans(0, len(segments.symbols))
    assert [path.count(s) for s in range(len(segments.symbols))] == (spans[:, 1] - spans[:, 0]).tolist()
    assert spans[0, 0] == 0 and spans[-1, 1] == 8 and (spans[1:, 0] == spans[:-1, 1]).all()


@pytest.mark.parametrize("seed", range(8))
def test_ctc_is_torchaudios_forced_alignment(seed):
    align = pytest.importorskip("torchaudio.functional").forced_align
    generator = torch.Generator().manual_seed(seed)
    emissions = torch.randn(1, 60, 6, generator=generator).log_softmax(2)
    labels = torch.randint(1, 6, (1, 17), generator=generator)
    theirs, scores = align(emissions, labels, blank=0)
    segments = ctc(labels[0].tolist())
    ours = viterbi(emissions, [segments])
    assert [segments.symbols[s] for s in ours.frames[0].tolist()] == theirs[0].tolist()
    torch.testing.assert_close(ours.scores, scores.sum(1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_items_of_other_lengths_do_as_they_do_alone(seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = [8, 23, 11, 40, 9, 30, 17]
    emissions = torch.randn(7, 40, 3, generator=generator)
    together = viterbi(emissions, CASES, lengths)
    for i, (segments, length) in enumerate(zip(CASES, lengths)):
        alone = viterbi(emissions[i : i + 1, :length], [segments])
        assert torch.equal(together.frames[i, :length], alone.frames[0]) and (together.frames[i, length:] == -1).all()
        assert torch.equal(together.scores[i], alone.scores[0])


def test_too_few_frames_and_no_segments():
    with pytest.raises(LemError, match=r"item 1: 5 frames are too few for what it says \(6 at least\)"):
        viterbi(torch.zeros(2, 9, 3), [CASES[0], CASES[1]], [9, 5])
    with pytest.raises(LemError, match="item 0: no segments"):
        viterbi(torch.zeros(1, 9, 3), [Segments([], [], [])])
    with pytest.raises(LemError, match="two optional ones in a row"):
        viterbi(torch.zeros(1, 9, 3), [Segments([0, 1], [1, 1], [True, True])])


def test_what_cannot_be_is_not_taken():
    """Emissions of minus infinity: the path goes round them."""
    emissions = torch.zeros(1, 6, 2)
    emissions[0, :3, 1], emissions[0, 4:, 0] = -torch.inf, -torch.inf
    assert viterbi(emissions, [Segments([0, 1], [1, 1], [False, False])]).frames[0].tolist()[:3] == [0, 0, 0]


@pytest.mark.parametrize("segments", [*CASES[:6], Segments([0, 1], [1, 2], [False, True])])
def test_of_equal_paths_the_last_segments_begin_first(segments):
    """All emissions are equal: of all paths of the best score, the one that ends first and, read from its end, stays longest."""
    costs = segments.costs or [0] * len(segments.symbols)
    scored = [(-sum(costs[s] for s in {*path}), path) for path in every_path(segments, 9)]
    most = max(score for score, _ in scored)
    best = max((path for score, path in scored if score > most - 1e-9), key=lambda path: (-path[-1], path[::-1]))
    assert tuple(viterbi(torch.zeros(1, 9, 3, dtype=torch.float64), [segments]).frames[0].tolist()) == best
