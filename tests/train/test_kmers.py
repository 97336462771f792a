"""Genomes as tokens of k bases, what is no genome, and texts of which nothing can be learnt."""

import gzip
import itertools
import json
import math
import shlex
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.commands import lem_fork
from helpers.training import files
from lemtools.encode.kmers import Kmers, records
from lemtools.media.describe import describe
from lemtools.nets.model import load
from lemtools.signal import LemError, Signal
from lemtools.train import corpus
from lemtools.train.loop import train
from lemtools.train.settings import Settings


def bases(n, seed=0) -> bytes:
    return bytes(b"ACGT"[i] for i in np.random.default_rng(seed).integers(4, size=n))


def signal(raw: bytes) -> Signal:
    return Signal("tokens", np.frombuffer(raw, np.uint8)[None], names=["x.fasta"])


@pytest.mark.parametrize("k", [1, 3, 4, 6, 8])
def test_tokens_are_the_words_of_k_letters_in_their_order(k):
    words, raw = ["".join(word) for word in itertools.product("ACGT", repeat=k)], bases(50 * k + k - 1)
    coder = Kmers.named(f"kmer:{k}")
    (found,) = coder.encode(signal(raw))
    assert [words[t] for t in found.data[0]] == [raw.decode()[i : i + k] for i in range(0, 50 * k, k)]
    assert (coder.vocab, coder.left, found.depth) == (4**k, k - 1, 2 * k)
    assert coder.decode(found, {})[0].data.tobytes() == raw[: 50 * k]
    assert (corpus.lengths(coder) == k).all() and len(corpus.lengths(coder)) == 4**k


def test_no_token_has_bases_of_two_records():
    raw = b">one AAA\nACGT\r\nAC\n\n>two\nGG\n>three\nTTTTT"
    assert records(raw) == [b"ACGTAC", b"GG", b"TTTTT"]
    coder = Kmers(3)
    (found,) = coder.encode(signal(raw))
    assert found.data[0].tolist() == [6, 49, 63] and coder.left == 2 + 2


@pytest.mark.parametrize(
    "raw, says",
    [
        (b">a\nACGNNNACGT", r"^3 letters 'N' beside A, C, G and T; split the records there first"),
        (b">a\nACGTacgta", r"^5 letters 'acgt' beside A, C, G and T; make them capitals"),
        (
            b">a\nACGTACGTacgtNNNTT",
            r"^7 letters 'Nacgt' beside A, C, G and T; make them capitals, .*, and for others split the records",
        ),
        (b">a\nAC\n>b\nGT", r"^no 3 bases in a row"),
        (b">a\n", r"^no 3 bases in a row"),
    ],
)
def test_what_is_no_genome_is_refused(raw, says):
    with pytest.raises(LemError, match=says):
        Kmers(3).encode(signal(raw))


def test_names_of_kmers():
    assert Kmers.named("book.safetensors") is None and Kmers.named("kmer:8").vocab == 65536
    for name in ("kmer:", "kmer:0", "kmer:9", "kmer:x", "kmer:-3", "kmer:3.5"):
        with pytest.raises(LemError, match="kmer:K has a K of 1 to 8"):
            Kmers.named(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("genome")
    (made / "g.fasta.gz").write_bytes(gzip.compress(b">a\n" + bases(6001) + b"\n>b\n" + bases(900, 1)))
    (made / "masked.fasta").write_bytes(b">a\n" + bases(600).lower())
    (made / "unknown.fasta").write_bytes(b">a\n" + bases(600) + b"NNN")
    (made / "short.fasta").write_bytes(b">a\n" + bases(30))
    (made / "other.fasta").write_bytes(b">c\n" + bases(600, 2))
    (made / "one.txt").write_bytes(b"a" * 900)
    (made / "polya.fasta").write_bytes(b">a\n" + b"A" * 900)
    (made / "none.txt").write_bytes(b"")
    return made


def asked(folder, name, **more) -> Settings:
    plain = dict(width=16, depth=1, steps=4, batch=2, save_every=4, workers=0, device="cpu", holdout=3)
    return Settings(
        "lm",
        [str(folder / name)],
        str(folder / "m.safetensors"),
        log=str(folder / "log.jsonl"),
        options={"context": 16},
        codec=["kmer:4"],
        **{**plain, **more},
    )


def test_the_log_has_bits_a_base(tmp_path, folder):
    """A network that says nothing takes two bits for each, whatever the token."""
    torch.set_num_threads(1)
    (tmp_path / "g.fasta.gz").write_bytes((folder / "g.fasta.gz").read_bytes())
    lines = []
    prepared = train(asked(tmp_path, "g.fasta.gz", lr=1e-9), lines.append)
    (*_, last) = map(json.loads, open(tmp_path / "log.jsonl"))
    assert last["held_out_bits_per_base"] == pytest.approx(2, abs=1e-4) and "held_out_bits_per_byte" not in last
    assert last["loss"] == pytest.approx(2, abs=1e-4)
    model = load(str(tmp_path / "m.safetensors"))
    assert model.net.vocabulary == 256 and (model.net.lengths == 4).all() and model.meta["unit"] == "base"
    tokens = prepared.spec.items.data.tokens
    common = (np.bincount(tokens, minlength=256) >= 10).mean()
    assert 0 < common < 1 and model.meta["common"] == common
    assert (
        f"256 tokens, {100 * common:.1f} % of them 10 times or more in what is learnt; 1 bases at the ends" in lines[1]
    )
    found = describe(str(tmp_path / "m.safetensors"))["embedding"]
    assert (found["common"], found["data"]) == (common, model.meta["data"])


def test_texts_are_known_again_by_all_of_their_tokens():
    one, two = (corpus.Corpus(np.arange(9) + i, 10, None) for i in range(2))
    assert one.digest() == corpus.Corpus(np.arange(9, dtype=np.uint8), 10, None).digest()
    every = [one.digest(), two.digest(), one.digest(two), one.digest(None), two.digest(one)]
    assert len(set(every)) == 5 and all(len(digest) == 16 for digest in every)


BAD = [
    ("--data masked.fasta --codec kmer:3", "masked.fasta: 600 letters 'acgt' beside A, C, G and T"),
    ("--data unknown.fasta --codec kmer:3", "unknown.fasta: 3 letters 'N' beside A, C, G and T"),
    ("--data g.fasta.gz --codec kmer:3 --validate unknown.fasta", "unknown.fasta: 3 letters 'N' beside"),
    ("--data g.fasta.gz --codec kmer:9", "--codec kmer:9: kmer:K has a K of 1 to 8"),
    ("--data g.fasta.gz --codec kmer:3 --codec kmer:6", "--codec kmer:6: the second kmer; give one of each"),
    ("--data short.fasta --codec kmer:3", "a text of 10 tokens is too short for windows of 17"),
    ("--data g.fasta.gz --codec kmer:3 --validate short.fasta", "--validate: 10 tokens, where a window takes 17"),
    ("--data one.txt", "one.txt: one token 97 all along; there is nothing to learn"),
    ("--data polya.fasta --codec kmer:6", "polya.fasta: one token 0 all along; there is nothing to learn"),
    ("--data none.txt", "none.txt: empty"),
]


@pytest.mark.parametrize("line, says", BAD)
def test_refused_in_one_line_before_anything_is_written(line, says, folder):
    before = files(folder)
    start = "lm --depth 1 --context 16 --width 16 --device cpu -q -o m.safetensors"
    done = lem_fork("train", *shlex.split(f"{start} {line}"), cwd=folder)
    errors = done.stderr.decode().splitlines()
    assert done.returncode == 2 and len(errors) == 1 and says in errors[0] and "a defect" not in errors[0], errors
    assert files(folder) == before


def test_a_run_of_kmers_is_another_than_one_of_bytes(tmp_path, folder):
    (tmp_path / "g.fasta.gz").write_bytes((folder / "g.fasta.gz").read_bytes())
    train(asked(tmp_path, "g.fasta.gz"))
    with pytest.raises(LemError, match="--codec"):
        train(replace(asked(tmp_path, "g.fasta.gz"), codec=["kmer:3"]))


def test_a_base_is_worth_as_much_in_every_k(folder):
    """Bits of a fresh network: two a base, so log2(4^k) a token."""
    for k in (3, 6):
        text = corpus.load_corpus([str(folder / "g.fasta.gz")], Kmers(k))
        assert (text.vocabulary, text.bytes, text.unit) == (4**k, k, "base")
        assert math.log2(text.vocabulary) / text.bytes == 2


def test_prose_is_no_genome():
    prose = Signal("tokens", np.frombuffer(b"What is a gene, and who reads it?", np.uint8)[None])
    with pytest.raises(LemError, match="beside A, C, G and T; kmer:K is for genomes"):
        Kmers(3).encode(prose)
