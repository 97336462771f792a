"""Texts through lem-reconstruct: prompts, gaps, encodings, counts; and what is refused in one line."""

import os

import numpy as np
import pytest
import torch

import lemtools
from helpers.commands import lem_fork
from helpers.languages import model
from lemtools.encode.text import Text
from lemtools.nets.model import Model
from lemtools.reconstruct import Reconstructor
from lemtools.reconstruct.counting import Counter
from lemtools.restore.ngram import NGram, Segment
from lemtools.signal import LemError, Signal
from lemtools.train.checkpoint import save_model

PROMPT = "to be or not to be, that is the question"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of bytes of text, and prompts."""
    path = tmp_path_factory.mktemp("texts")
    known = model(256, 16)
    known.meta["measured"] = True
    save_model(known, str(path / "lm.safetensors"))
    (path / "a.txt").write_text(PROMPT)
    (path / "b.txt").write_text("another one, longer than the first of the two prompts")
    return path


@pytest.fixture(scope="module")
def coded(folder):
    """The same folder, with a byte-pair encoding and a model of its tokens."""
    pytest.importorskip("tokenizers")
    save_model(model(260, 16), str(folder / "bpe-lm.safetensors"))
    text = Signal("tokens", np.frombuffer(PROMPT.encode(), np.uint8)[None])
    made, _ = Text.fit(lambda: [text], vocab=260)
    made.save(str(folder / "bpe.safetensors"))
    return folder


def run(folder, *words, name="reconstruct", **more):
    return lem_fork(name, *words, cwd=folder, **more)


def no_input():
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def refused(folder, *words, **more):
    done = run(folder, *words, **more)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 2 and len(lines) == 1 and not done.stdout, (words, done)
    return lines[0]


def test_a_prompt_goes_on_from_a_file_a_pipe_and_a_folder(folder):
    done = run(folder, "--model", "lm.safetensors", "a.txt", "--to", "safetensors", "-o", "whole.safetensors")
    assert done.returncode == 0 and not done.stderr
    (whole,) = lemtools.load(folder / "whole.safetensors")
    assert whole.data.shape == (1, len(PROMPT) + 200) and whole.history[-1]["method"] == "continue"
    assert whole.data[0].tobytes().startswith(PROMPT.encode())
    asked = ("--model", "lm.safetensors", "--more", 9, "--temperature", 0)
    one = run(folder, *asked, "a.txt")
    piped = run(folder, *asked, stdin=PROMPT.encode())
    assert one.stdout == piped.stdout and one.stdout.startswith(PROMPT.encode())
    done = run(folder, *asked, "a.txt", "b.txt", "-o", "both/")
    assert done.returncode == 0 and (folder / "both/a.txt").read_bytes() == one.stdout
    assert (folder / "both/b.txt").read_bytes().startswith((folder / "b.txt").read_bytes())


def test_how_fast_is_said_where_it_is_asked_for(folder):
    done = run(folder, "--model", "lm.safetensors", "--more", 9, "a.txt", "-o", "c.txt", "-v")
    assert "lem-reconstruct: 9 tokens, " in done.stderr.decode() and done.stderr.endswith(b" a second\n")


def test_the_same_draws_in_any_batch_and_number(folder):
    asked = ("--model", "lm.safetensors", "--more", 30, "--to", "safetensors", "--top-p", 0.9, "--typical", 0.9)
    for name, files, samples in (
        ("two", ("a.txt", "b.txt"), 2),
        ("three", ("a.txt", "b.txt"), 3),
        ("one", ("a.txt",), 3),
    ):
        done = run(folder, *asked, "--samples", samples, *files, "-o", f"{name}.safetensors")
        assert done.returncode == 0, done.stderr
    two, three, one = (
        [batch.data.tolist() for batch in lemtools.load(folder / f"{name}.safetensors")]
        for name in ("two", "three", "one")
    )
    assert two[0] == three[0][:2] and two[1] == three[1][:2] and one[0] == three[0]
    assert three[0][0] != three[0][1] != three[0][2]


def test_no_prompt_is_one_too(folder):
    """What a model may begin with stands after a line end; an empty file is refused."""
    asked = ("--model", "lm.safetensors", "--more", 5, "--samples", 2, "--to", "safetensors")
    done = run(folder, *asked, "-o", "blank.safetensors", prepare=no_input)
    assert done.returncode == 0, done.stderr
    (made,) = lemtools.load(folder / "blank.safetensors")
    (folder / "line.txt").write_text("\n")
    assert made.data.shape == (2, 5)
    (folder / "empty.txt").write_text("")
    assert refused(folder, "--model", "lm.safetensors", "empty.txt") == "lem-reconstruct: error: empty.txt: empty"


def test_gaps_are_filled_and_what_is_left_stays(folder):
    run(folder, "--mask", 0.3, "--mask-shape", "span:4", "a.txt", "-o", "f.safetensors", name="fragment")
    (left,) = lemtools.load(folder / "f.safetensors")
    seen = left.observed()[0] != 0
    for asked in (("--model", "lm.safetensors"), ("--memory", "b.txt"), ("--memory", "a.txt", "--memory", "b.txt")):
        out = run(folder, *asked, "f.safetensors", "--to", "safetensors", "-o", "g.safetensors", "--samples", 2)
        assert out.returncode == 0, out.stderr
        (back,) = lemtools.load(folder / "g.safetensors")
        assert back.data.shape == (2, len(PROMPT)) and (back.data[:, seen] == left.data[0, seen]).all() and not back.ops
    done = run(folder, "--memory", "a.txt", "f.safetensors")
    assert done.stdout.decode() == PROMPT  # it is what was counted


def test_bytes_that_are_no_text_are_written_as_question_marks(folder):
    """Places stay: one for each byte."""
    made = Signal("tokens", np.frombuffer(b"caf\xc3\xa9 \xc3", np.uint8)[None], last=True)
    lemtools.save([made], folder / "cut.txt")
    assert (folder / "cut.txt").read_text() == "café ?"


def test_texts_of_a_byte_pair_encoding(coded):
    """By --codec, and by the same three commands in a pipe."""
    folder = coded
    asked = ("--model", "bpe-lm.safetensors", "--more", 6, "--temperature", 0)
    done = run(folder, *asked, "--codec", "bpe.safetensors", "a.txt")
    assert done.returncode == 0 and done.stdout.startswith(PROMPT.encode())
    tokens = run(folder, "--model", "bpe.safetensors", "a.txt", name="encode").stdout
    more = run(folder, *asked, "--to", "safetensors", stdin=tokens).stdout
    back = run(folder, "--decode", "--model", "bpe.safetensors", "--to", "txt", name="encode", stdin=more).stdout
    assert back == done.stdout
    done = run(folder, *asked, "--samples", 2, "--codec", "bpe.safetensors", "-o", "drawn/", prepare=no_input)
    assert done.returncode == 0, done.stderr


def test_what_does_not_suit_is_refused_in_one_line(folder):
    np.save(folder / "v.npy", np.zeros((2, 3), np.float32))
    lm = ("--model", "lm.safetensors")
    for words, said in (
        ((*lm, "--top-p", 0, "a.txt"), "'--top-p': 0.0 is not in the range 0<x<=1"),
        ((*lm, "--typical", 1.5, "a.txt"), "'--typical': 1.5 is not in the range"),
        ((*lm, "--temperature", -1, "a.txt"), "'--temperature': -1.0 is not in the range"),
        ((*lm, "--beam", 0, "a.txt"), "'--beam': 0 is not in the range"),
        ((*lm, "--beam", 3, "--more", 3, "a.txt"), "--beam is for --method fill (with --model), not continue"),
        ((*lm, "--order", 3, "a.txt"), "--order is for --method ngram (with --memory), not continue"),
        ((*lm, "--steps", 3, "a.txt"), "--steps is for"),
        ((*lm, "v.npy"), "lm.safetensors goes on with tokens, not with embedding"),
        ((*lm, "--codec", "lm.safetensors", "a.txt"), "lm.safetensors: not a fitted encoder"),
        (("--codec", "bpe.safetensors", "a.txt"), "--codec is for texts and a --model of lem-train lm"),
        (("--method", "net", *lm, "a.txt"), "a model of text (lm), which recalls no fragments"),
        (("--method", "ngram", "--memory", "v.npy", "a.txt"), "embedding, where texts or tokens are counted"),
        (("--method", "ngram", "--memory", "a.txt", "v.npy"), "--method ngram recalls tokens, not embedding"),
        (("--method", "ngram", "a.txt"), "--method ngram needs texts to count: --memory STORE"),
        (
            ("--memory", "a.txt", "--sigma", 1, "a.txt"),
            "--sigma is for --method recall and gaussian (with --memory), not ngram",
        ),
        (
            ("--memory", "a.txt", "--sigma", 1, "--order", 2, "a.txt"),
            "--order is for --method ngram (with --memory), not recall",
        ),
    ):
        assert said in refused(folder, *words), words


def test_what_does_not_suit_a_byte_pair_encoding_is_refused(coded):
    folder, lm = coded, ("--model", "lm.safetensors")
    said = "tokens of 260 kinds, where lm.safetensors knows 256"
    assert said in refused(folder, *lm, "--codec", "bpe.safetensors", "a.txt")
    run(folder, "--model", "bpe.safetensors", "a.txt", "-o", "t.safetensors", name="encode")
    assert said in refused(folder, *lm, "t.safetensors")
    run(folder, "--mask", 0.5, "a.txt", "-o", "h.safetensors", name="fragment")
    words = ("--model", "bpe-lm.safetensors", "--codec", "bpe.safetensors", "h.safetensors")
    assert "encode it first, and break its tokens" in refused(folder, *words)


@pytest.mark.parametrize(
    ("name", "says"),
    [("none.safetensors", "none.safetensors: no such file"), ("a.txt", "a.txt: not a whole safetensors file")],
)
def test_what_is_wrong_with_a_model_comes_before_what_its_options_are_for(folder, name, says):
    assert refused(folder, "--model", name, "--more", 4, "a.txt").startswith(f"lem-reconstruct: error: {says}")
    said = "--tile is for --method auto, net and ensemble, not continue"
    assert said in refused(folder, "--model", "lm.safetensors", "--tile", 4, "a.txt")


def test_byte_pairs_of_another_text_are_refused(coded):
    """As many tokens, of other bytes: nonsense would follow. One that does not know for how many bytes its tokens stand takes both."""
    pairs = {}
    for name, text in (("own", PROMPT * 2), ("other", "Les Misérables: ééé ààà, ééé ààà.")):
        texts = Signal("tokens", np.frombuffer(text.encode(), np.uint8)[None])
        pairs[name], _ = Text.fit(lambda texts=texts: [texts], vocab=260)
        pairs[name].save(str(coded / f"{name}-pairs.safetensors"))
    assert not np.array_equal(pairs["own"].lengths, pairs["other"].lengths)
    known = model(260, 16)
    known.net.lengths.copy_(torch.from_numpy(pairs["own"].lengths))
    save_model(known, str(coded / "known-lm.safetensors"))
    asked = ("--more", 3, "a.txt", "--codec")
    for name in ("own", "other"):
        assert run(coded, "--model", "bpe-lm.safetensors", *asked, f"{name}-pairs.safetensors").returncode == 0
    assert run(coded, "--model", "known-lm.safetensors", *asked, "own-pairs.safetensors").returncode == 0
    said = "its tokens are not those of known-lm.safetensors, which was learnt with other byte pairs; give the encoding"
    assert said in refused(coded, "--model", "known-lm.safetensors", *asked, "other-pairs.safetensors")


def test_tokens_with_gaps_are_filled_and_decoded(coded):
    """By --codec, and by decoding what is filled without it."""
    run(coded, "--model", "bpe.safetensors", "a.txt", "-o", "whole.safetensors", name="encode")
    run(coded, "--mask", 0.3, "--seed", 1, "whole.safetensors", "-o", "gaps.safetensors", name="fragment")
    words = ("--model", "bpe-lm.safetensors", "--beam", 4, "gaps.safetensors")
    done = run(coded, *words, "--codec", "bpe.safetensors", "--to", "txt")
    filled = run(coded, *words, "--to", "safetensors").stdout
    back = run(coded, "--decode", "--model", "bpe.safetensors", "--to", "txt", name="encode", stdin=filled).stdout
    assert done.returncode == 0 and back and back == done.stdout, done.stderr


def test_a_text_is_not_taken_for_tokens(coded, genome):
    """Bytes of a text are below 256 as other tokens are: nonsense would follow."""
    said = "text, where bpe-lm.safetensors goes on with tokens of 260 kinds; give the encoding that it was trained by, --codec FILE"
    assert said in refused(coded, "--model", "bpe-lm.safetensors", "a.txt")
    run(coded, "--mask", 0.5, "a.txt", "-o", "h.safetensors", name="fragment")
    assert said in refused(coded, "--model", "bpe-lm.safetensors", "h.safetensors")
    for k in (2, 4):
        said = f"text, where k{k}.safetensors goes on with tokens of {4**k} kinds; give the encoding that it was trained by, "
        assert f"{said}--codec kmer:{k}" in refused(genome, "--model", f"k{k}.safetensors", "g.txt")
        words = ("--encoder", "activations", "--lm", f"k{k}.safetensors", "--layer", 1, "g.txt")
        said = (
            f"k{k}.safetensors knows {4**k} tokens, not bytes: make them first (lem-encode --encoder kmer --bases {k})"
        )
        assert said in refused(genome, *words, name="encode")


@pytest.fixture(scope="module")
def genome(tmp_path_factory):
    """Models of tokens of 2 and of 4 bases, and bases."""
    path = tmp_path_factory.mktemp("genome")
    for k in (2, 4):
        known = model(4**k, 16)
        known.meta |= {"measured": True, "unit": "base"}
        save_model(known, str(path / f"k{k}.safetensors"))
    (path / "g.txt").write_text("ACGTTGCATTAACCGG")
    (path / "r.fasta").write_text(">one\nACGT\nTGCA\n>two\nTTAACCGG\n")
    (path / "odd.txt").write_text("ACGTTGCAT")
    return path


@pytest.mark.parametrize("k", [2, 4])
def test_genomes_go_on_and_are_filled(genome, k):
    """By --codec kmer:K, and by tokens of lem-encode; of records the bases come back, what is known stays."""
    asked = ("--model", f"k{k}.safetensors", "--codec", f"kmer:{k}")
    done = run(genome, *asked, "--more", 5, "g.txt")
    assert done.returncode == 0 and done.stdout.startswith(b"ACGTTGCATTAACCGG"), done.stderr
    assert len(done.stdout) == 16 + 5 * k and not done.stdout.strip(b"ACGT")
    assert run(genome, *asked, "--more", 5, "r.fasta").stdout == done.stdout
    run(genome, "--encoder", "kmer", "--bases", k, "g.txt", "-o", f"t{k}.safetensors", name="encode")
    assert run(genome, "--decode", f"t{k}.safetensors", name="encode").stdout == b"ACGTTGCATTAACCGG"
    more = run(genome, *asked[:2], "--more", 5, f"t{k}.safetensors", "--to", "safetensors").stdout
    assert run(genome, "--decode", "--to", "txt", name="encode", stdin=more).stdout == done.stdout
    assert run(genome, *asked, "--more", 5, f"t{k}.safetensors").stdout == done.stdout
    run(genome, "--mask", 0.5, f"t{k}.safetensors", "-o", "gaps.safetensors", name="fragment")
    filled = run(genome, *asked, "--to", "txt", "gaps.safetensors").stdout
    assert len(filled) == 16 and not filled.strip(b"ACGT")
    drawn = run(genome, *asked, "--samples", 2, "--more", 3, "-o", f"drawn{k}/", prepare=no_input)
    assert drawn.returncode == 0 and [len(p.read_text()) for p in (genome / f"drawn{k}").iterdir()] == [3 * k] * 2


def test_what_is_no_whole_token_of_bases_is_refused(genome):
    words = ("--model", "k4.safetensors", "--codec")
    assert "odd.txt: 9 bases, where a token has 4; leave out the last 1" in refused(genome, *words, "kmer:4", "odd.txt")
    assert "tokens of 16 kinds, where k4.safetensors knows 256" in refused(genome, *words, "kmer:2", "g.txt")
    assert "kmer:K has a K of 1 to 8" in refused(genome, *words, "kmer:9", "g.txt")
    done = run(genome, "--encoder", "kmer", "--bases", 4, "odd.txt", "-o", "odd.safetensors", name="encode")
    assert done.stderr == b"lem-encode: 1 bases at the ends of records make no token\n"


def test_the_likeliest_byte_by_counts_is_that_of_its_posterior():
    memory = np.frombuffer((PROMPT * 3).encode(), np.uint8)
    x = np.frombuffer(b"to be or xxx xo bx, that", np.uint8).copy()
    known = x != ord("x")
    known[[2]] = False
    signal = Signal("tokens", (x * known)[None], mask=known[None], ops=[{"op": "mask"}])
    out, (step,) = Counter([memory], order=3)(signal)
    assert step == "ngram: the likeliest by counts of 120 tokens, 3 before"
    counts, rest = NGram([memory], 256, 3), x * known
    want = Segment(counts, 0, rest, known).posterior().argmax(1)
    assert out.data[0, ~known].tolist() == want.tolist() and (out.data[0, known] == x[known]).all()
    assert out.data[0].tobytes().startswith(b"to be or not to be, that")
    drawn, _ = Counter([memory], order=3, samples=3, seed=1)(signal)
    fewer, _ = Counter([memory], order=3, samples=2, seed=1)(signal)
    assert np.array_equal(drawn.data[:2], fewer.data) and len({row.tobytes() for row in drawn.data}) > 1


def test_tokens_of_as_many_kinds_as_the_memory_has():
    memory = [np.array([5, 1, 2, 5, 1, 2], np.int64)]
    lost = Signal("tokens", np.array([[5, 0, 2]]), mask=np.array([[True, False, True]]), ops=[{"op": "mask"}])
    assert Reconstructor("ngram", memory=memory, order=1)(lost).data.tolist() == [[5, 1, 2]]
    lost.data[0, 0] = 6
    with pytest.raises(LemError, match="^token 6, where the memory has 0 to 5"):
        Reconstructor(memory=memory)(lost)
    with pytest.raises(LemError, match="^memory: --method ngram counts texts or tokens"):
        Reconstructor("ngram", memory=[np.zeros(3)])


def test_the_same_from_python(folder):
    back = lemtools.reconstruct(folder / "a.txt", model=folder / "lm.safetensors", more=4, top_p=0.5)
    assert [batch.data.shape for batch in back] == [(1, len(PROMPT) + 4)]
    broken = lemtools.fragment(folder / "a.txt", mask=0.3, seed=2)
    for how in ({"model": str(folder / "lm.safetensors"), "beam": 4}, {"memory": str(folder / "a.txt")}):
        assert [batch.data.shape for batch in lemtools.reconstruct(broken, **how)] == [(1, len(PROMPT))]
    back = lemtools.reconstruct(broken, "ngram", memory=[PROMPT.encode(), b"another"], order=4)
    assert b"".join(batch.data.tobytes() for batch in back) == PROMPT.encode()
    with pytest.raises(LemError, match="beam is for method fill"):
        lemtools.reconstruct(broken, "continue", model=str(folder / "lm.safetensors"), beam=4)


def test_a_dense_model_is_refused_in_words_of_its_own(folder):
    class Dense:
        family = "language"

    with pytest.raises(LemError, match="draws no token after another; --method continue takes one of lem-train lm"):
        Reconstructor(model=Model(Dense(), {"recipe": "lm", "net": {"net": "dense-lm"}}))(
            Signal("tokens", np.zeros((1, 3), np.uint8))
        )
