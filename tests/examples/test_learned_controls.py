"""examples/learned_controls.py: n-grams by their definition, a source by its entropy, the model of DNA by what is known of sequences."""

import bz2
import gzip
import importlib
import lzma
import sysconfig
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from helpers.paths import EXAMPLES

RNG = np.random.default_rng(0)


@pytest.fixture
def controls(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("learned_controls")


def symbols(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def witten_bell(learnt: str, context: str, symbol: str, kinds: int) -> float:
    """Its definition, by a walk through the text."""
    shorter = witten_bell(learnt, context[1:], symbol, kinds) if context else 1 / kinds
    span = len(context)
    after = Counter(learnt[i] for i in range(span, len(learnt)) if learnt[i - span : i] == context)
    if not after:
        return shorter
    return (after[symbol] + len(after) * shorter) / (after.total() + len(after))


@pytest.mark.parametrize(("learnt", "held"), [("abracadabra abra", "cadabra bad"), ("aaaa", "ab"), ("ab", "abcabc")])
def test_ngrams_are_witten_and_bells(controls, learnt, held):
    whole, start = learnt + held, len(learnt)
    for order, bits in enumerate(controls.ngrams(symbols(learnt), symbols(held), 256, 4)):
        places = [i for i in range(start, len(whole)) if i >= order]
        asked = [witten_bell(learnt, whole[i - order : i], whole[i], 256) for i in places]
        np.testing.assert_allclose(2 ** -bits[[i - start for i in places]], asked, rtol=1e-12)


def test_probabilities_of_every_context_sum_to_one(controls):
    learnt, kinds = RNG.integers(0, 5, 300), 6  # one symbol is never learnt
    for context in ((0, 1, 2), (3, 3, 3), (5, 5, 5), (4, 5, 0)):
        shares = [
            [2 ** -bits[-1] for bits in controls.ngrams(learnt, np.array([*context, c]), kinds, 3)]
            for c in range(kinds)
        ]
        np.testing.assert_allclose(np.sum(shares, 0), 1, rtol=1e-12)


def test_without_a_context_the_frequencies_are_the_entropy(controls):
    assert controls.entropy(np.array([0, 0, 1, 2])) == 1.5
    learnt = np.repeat(np.arange(4), [8000, 4000, 2000, 2000])
    assert controls.entropy(learnt) == pytest.approx(1.75, abs=1e-12)
    (bits,) = controls.ngrams(learnt, learnt, 4, 0)
    smoothed = (np.array([8000, 4000, 2000, 2000]) + 4 / 4) / (16000 + 4)
    assert bits.mean() == pytest.approx(-(np.array([8, 4, 2, 2]) / 16 * np.log2(smoothed)).sum(), rel=1e-12)


def test_the_rate_of_a_markov_source_is_the_cost_of_a_long_sample(controls):
    for order, kinds in ((1, 5), (3, 3)):
        source = controls.Markov(kinds, order, spread=0.3, seed=order)
        sample = source.sample(200_000)
        learnt, held = np.split(sample, [100_000])
        assert source.bits(learnt, held) / len(held) == pytest.approx(source.rate, rel=0.01)
        # the floor is one for those who do not know the table, too, and counts of its order come close to it
        costs = [bits.mean() for bits in controls.ngrams(learnt, held, kinds, order)]
        assert source.rate * 0.99 < costs[order] < source.rate * 1.02 < costs[order - 1]


def test_the_rate_of_a_source_of_two_symbols_is_the_textbooks(controls):
    source = controls.Markov(2, 1)
    source.table = np.array([[0.9, 0.1], [0.5, 0.5]])
    source.share = np.array([5, 1]) / 6
    h = -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1))
    assert source.rate == pytest.approx(5 / 6 * h + 1 / 6, rel=1e-12)
    assert np.allclose(controls.Markov(7, 2).share.sum(), 1)
    made = controls.Markov(4, 2, seed=1)
    step = np.zeros(16)
    for context in range(16):
        for c in range(4):
            step[context % 4 * 4 + c] += made.share[context] * made.table[context, c]
    np.testing.assert_allclose(step, made.share, atol=1e-12)


@pytest.mark.parametrize("until", [40, 60])
def test_counts_of_both_strands_are_those_of_a_walk(controls, until):
    bases, order = RNG.integers(0, 4, 60).astype(np.uint8), 2
    found = controls.counts_before(bases, order, until)
    seen: dict = defaultdict(lambda: np.zeros(4))
    padded = [0] * order + bases.tolist()
    for i, base in enumerate(bases):
        context = tuple(padded[i : i + order])
        np.testing.assert_array_equal(found[i], seen[context])
        if i < until:
            strand = [3 - b for b in reversed(padded[i : i + order + 1])]  # what the other strand reads
            seen[context][base] += 1
            seen[tuple(strand[:-1])][strand[-1]] += 1


def test_random_bases_cost_two_bits(controls):
    bits = controls.dna(RNG.integers(0, 4, 200_000).astype(np.uint8))
    assert 2 <= bits.mean() < 2.02


def test_repeats_cost_little_on_either_strand(controls):
    first = RNG.integers(0, 4, 50_000).astype(np.uint8)
    bits = controls.dna(np.concatenate([first, first, 3 - first[::-1]])).reshape(3, -1)
    assert bits[0].mean() > 1.99
    assert bits[1].mean() < 0.15
    assert bits[2].mean() < 0.05
    # a strand read backwards without its complement is no repeat
    assert controls.dna(np.concatenate([first, first[::-1]]))[50_000:].mean() > 1.99


def test_what_is_held_out_teaches_nothing_where_learning_ends(controls):
    first, other = RNG.integers(0, 4, (2, 30_000)).astype(np.uint8)
    row = np.concatenate([first, other, other])
    frozen, learning = (controls.dna(row, until=until)[60_000:].mean() for until in (30_000, None))
    assert frozen > 1.9
    assert learning < 0.3
    # where learning ended, a cost depends on the 32 bases before it alone, and nowhere on what comes later
    costs = [
        controls.dna(np.concatenate([first, between, other]), until=30_000)[-29_000:] for between in (first, other)
    ]
    np.testing.assert_array_equal(*costs)
    changed = np.concatenate([first, other, first])
    np.testing.assert_array_equal(controls.dna(row)[:60_000], controls.dna(changed)[:60_000])


def printed(controls, capsys, *words) -> dict[str, float]:
    assert controls.main([str(word) for word in words]) == 0
    out = capsys.readouterr()
    assert not out.err
    return {name: float(value) for name, value in (line.split("\t") for line in out.out.splitlines())}


def test_compressors_are_measured_after_what_was_learnt(controls, tmp_path, capsys):
    learnt, held = (" ".join(map(str, RNG.integers(0, 300, 4000))).encode() for _ in range(2))
    for name, part in (("a", learnt), ("b", held)):
        (tmp_path / name).write_bytes(part)
    rows = printed(controls, capsys, "text", tmp_path / "a", "--held", tmp_path / "b", "--parts", tmp_path / "parts")
    for name, size in (
        ("xz -9e", lambda x: len(lzma.compress(x, preset=9 | lzma.PRESET_EXTREME))),
        ("bzip2 -9", lambda x: len(bz2.compress(x))),
    ):
        assert rows[name] == pytest.approx(8 * (size(learnt + held) - size(learnt)) / len(held), abs=1e-4)
    assert (tmp_path / "parts/learnt.txt").read_bytes() == learnt
    assert (tmp_path / "parts/held.txt").read_bytes() == held


def test_the_cut_is_between_characters(controls):
    learnt, held = controls.split("é".encode() * 105)
    assert (len(learnt), len(held)) == (190, 20)
    learnt, held = controls.split(b"a" + "é".encode() * 105)
    assert learnt.decode() + held.decode() == "a" + "é" * 105


def test_tokens_of_a_bpe_are_measured_by_the_byte(controls, tmp_path, capsys):
    pytest.importorskip("tokenizers")
    (tmp_path / "a").write_text("one two three four five six seven eight nine ten\n" * 200)
    rows = printed(controls, capsys, "text", tmp_path / "a", "--vocab", 270)
    assert rows["BPE 270: bytes a token, held out"] > 1.5
    assert rows["BPE 270: unigram entropy"] <= rows["BPE 270: Witten-Bell, 0 before"]  # both a byte
    assert rows["BPE 270: Witten-Bell, 1 before"] < rows["Witten-Bell, 1 before"] / 2
    assert 0 < rows["BPE 270: share of the vocabulary learnt 10 times or more"] < 0.3  # 200 bytes are never seen
    assert rows["BPE 270: share of the vocabulary never learnt"] > 0.7


def test_dna_in_records_and_what_it_refuses(controls, tmp_path, capsys):
    bases = "".join(RNG.choice(list("ACGT"), 3000))
    whole, others = tmp_path / "a.fasta.gz", tmp_path / "b.fasta"
    whole.write_bytes(gzip.compress(f">one\n{bases[:1000]}\n>two ACGT\n{bases[1000:]}\n".encode()))
    rows = printed(controls, capsys, "dna", whole, "--parts", tmp_path)
    assert (rows["learnt"], rows["held out"]) == (2700, 300)
    assert (tmp_path / "learnt.txt").read_text() == bases[:2700]
    assert 1.9 < rows["orders 2, 11, 16 mixed, both strands, learning on"] < 2.3
    others.write_text(">x\nACGTNacg\n")
    assert controls.main(["dna", str(others)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "b.fasta: 4 letters 'Nacg' beside A, C, G and T; --skip-others" in error
    assert controls.read_bases([others], skip=True) == b"ACGT"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("text", "which FILE?"),
        ("stdlib book.txt", "it takes no FILE"),
        ("text none.txt", "none.txt"),
        ("text /dev/null", "0 learnt and 0 held out"),
        ("markov --kinds 1", "--kinds 1"),
        ("markov --order 9", "2^18 contexts"),
        ("dna x --orders 2 17", "--orders are 1 to 16"),
    ],
)
def test_bad_input_is_one_line(controls, capsys, words, said):
    assert controls.main(words.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("learned_controls.py: error: ")
    assert said in error
    assert error.count("\n") == 1


def test_whole_packages_of_the_standard_library_are_held_out(controls):
    learnt, held = controls.stdlib()
    assert 0.1 <= len(held) / (len(learnt) + len(held)) < 0.3
    for package in ("json", "email", "asyncio", "logging"):
        files = (Path(sysconfig.get_path("stdlib")) / package).glob("*.py")
        assert len({path.read_bytes() in held for path in files if path.stat().st_size > 2000}) == 1
    for whole in (learnt, held):
        whole.decode()
