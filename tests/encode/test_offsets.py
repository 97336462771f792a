"""Activations of other tokens pair where tokens of both end at the same byte: by brute force, in files, and put back."""

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from encode.test_patch_translate import lm, run, saved
from helpers.commands import lem_fork
from lemtools import encode
from lemtools.encode.offsets import by_text, ended, side_by_side
from lemtools.encode.pairing import paired
from lemtools.encode.patch_back import windows_of
from lemtools.encode.text import Text, bytes_of
from lemtools.media import load
from lemtools.nets import model as kept
from lemtools.signal import LemError, Signal

pytest.importorskip("tokenizers")
TEXT = ("Wörter fehlen … naïve cafés, 日本語 und 🌙; what is gone was here, and none knew it. " * 6)[:400]


def raw(text):
    return Signal("tokens", np.frombuffer(text.encode(), np.uint8)[None])


@pytest.fixture(scope="module")
def coders():
    """Bytes, and byte pairs of two vocabularies; the least of all cuts the characters that are rare."""
    texts = TEXT, "none knew what is gone; was it here? " * 9
    fitted = [Text.fit(lambda text=text: [raw(text)], vocab=v)[0] for text, v in zip(texts, (300, 280), strict=True)]
    return [Text(), *fitted]


def side(coder, texts, width, seed, sizes, flat=False):
    """Activations (random) of texts in windows of so many tokens, and [(vector, bytes read)] of all positions."""
    rng, batches, found, past = np.random.default_rng(seed), [], [], 0
    history = [{"encoder": "activations", **coder.pieces()}, {"encoder": "pca"}]
    table = bytes_of(coder.pieces().get("pieces"))
    for text in texts:
        (made,) = coder.encode(raw(text))
        at = 0
        while at < made.data.shape[1]:
            ids = made.data[:, at : at + int(rng.integers(1, sizes))].astype(np.int32)
            at, data = at + ids.shape[1], rng.standard_normal((1, ids.shape[1], width)).astype(np.float32)
            for token, vector in zip(ids[0], data[0], strict=True):
                past += len(table[token])
                found.append((past, vector))
            one = {"data": data[0], "tokens": ids[0]} if flat else {"data": data, "tokens": ids}
            batches.append(Signal("embedding", **one, history=history))
    return batches, found


@pytest.mark.parametrize("which", [(0, 1), (1, 0), (1, 2), (0, 1, 2), (2, 2, 0)])
@pytest.mark.parametrize("flat", [False, True])
def test_vectors_pair_where_all_have_read_the_same_bytes(coders, which, flat):
    texts = [TEXT, "", "äh, none knew", TEXT[7:90]]
    texts = [text for text in texts if text]
    sides = [side(coders[k], texts, 3 + i, i, 5 + 30 * i, flat and i == 0) for i, k in enumerate(which)]
    got = [np.concatenate(column) for column in zip(*by_text([("x", batches) for batches, _ in sides]), strict=True)]
    maps = [dict(found) for _, found in sides]
    common = [end for end, _ in sides[0][1] if all(end in each for each in maps)]
    assert 20 < len(common) <= min(len(found) for _, found in sides)
    for vectors, each in zip(got, maps, strict=True):
        np.testing.assert_array_equal(vectors, [each[end] for end in common])
    if len(which) == 2:
        again = [np.concatenate(column) for column in zip(*paired(sides[0][0], sides[1][0]), strict=True)]
        assert all(np.array_equal(*both) for both in zip(got, again, strict=True))


def test_equal_tokens_pair_one_to_one_as_ever(coders):
    a, b = side(coders[1], [TEXT], 3, 1, 9), side(coders[1], [TEXT], 3, 1, 9)
    blocks = list(paired(a[0], b[0]))
    assert [len(block[0]) for block in blocks] == [batch.data.shape[1] for batch in a[0]]
    np.testing.assert_array_equal(np.concatenate([block[1] for block in blocks]), [vector for _, vector in b[1]])


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["abc ñandu", "none"], "at byte 3"),
        (["abcdefgh", "non"], "at byte 11"),
        (["abcdefghnone", "a"], "at byte 12"),
        (["Abcdefgh", "none"], "at byte 0"),
    ],
)
def test_other_texts_are_refused(coders, texts, said):
    sides = [side(coders[0], ["abcdefgh", "none"], 2, 0, 4)[0], side(coders[1], texts, 2, 1, 4)[0]]
    for one, other in sides, sides[::-1]:
        with pytest.raises(LemError, match=f"texts that differ {said}"):
            list(paired(one, other))


def test_what_says_nothing_of_its_text_is_refused(coders):
    a, b = side(coders[0], [TEXT], 2, 0, 9)[0], side(coders[1], [TEXT], 2, 0, 9)[0]
    for change, said in (
        ({"tokens": None}, "no tokens beside"),
        ({"tokens": a[0].tokens + 256}, "nothing says what it stands for"),
    ):
        wrong = Signal("embedding", a[0].data, **change)
        with pytest.raises(LemError, match=said):
            list(paired([wrong], b))
    with pytest.raises(LemError, match="damaged history"):
        list(paired(a, [Signal("embedding", b[0].data, tokens=b[0].tokens, history=[{"pieces": "a \n"}])]))


def texts_of(coders, which, texts):
    for text in texts:
        both = []
        for k in which:
            (made,) = coders[k].encode(raw(text))
            ids, table = made.data[0].astype(np.int64), bytes_of(coders[k].pieces().get("pieces"))
            both.append(ended(ids, table, text.encode(), "x"))
        yield tuple(both)


@pytest.mark.parametrize("which", [(0, 1), (1, 0), (1, 2), (2, 1)])
@pytest.mark.parametrize("most", [(9, 9), (40, 12), (7, 30)])
def test_windows_are_the_same_text_and_read_no_more_of_it(coders, which, most):
    texts = [TEXT, TEXT[11:200]]
    found = side_by_side(texts_of(coders, which, texts), most)
    tables = [bytes_of(coders[k].pieces().get("pieces")) for k in which]
    at, whole, left = 0, "".join(texts).encode(), 0
    for a, b, last, seen in zip(*found, strict=True):
        n = int(seen.sum()) + 1
        piece = b"".join(tables[1][token] for token in b[:n])
        start = whole.index(piece, at)
        left, at = left + start - at, start + len(piece)
        assert seen[: n - 1].all() and 2 <= n <= most[1] and not b[n:].any()
        read = [b"".join(tables[0][token] for token in a[: i + 1]) for i in range(len(a))]
        assert len(a) < most[0] and b"!" not in whole and b"\0" not in whole  # (token 0, which pads)
        for place in range(n - 1):
            of_b = b"".join(tables[1][token] for token in b[: place + 1])
            fits = [i for i, text in enumerate(read) if len(text) <= len(of_b) and piece.startswith(text)]
            assert last[place] == (fits[-1] if fits else -1)
            assert not fits or of_b.startswith(read[fits[-1]])
    assert left <= 12 * most[0] * len(texts)  # only the ends of texts are left out, and tokens longer than a window


def test_windows_of_equal_tokens_are_those_that_they_always_were(coders):
    found = side_by_side(texts_of(coders, (1, 1), [TEXT, TEXT[5:]]), (10, 10))

    class Model:
        ids = staticmethod(lambda signal: [coders[1].encode(signal)[0].data[0].astype(np.int64)])

    expected = windows_of([raw(TEXT), raw(TEXT[5:])], Model, 10)
    np.testing.assert_array_equal(found.b, expected)
    np.testing.assert_array_equal(found.a, expected[:, :-1])
    assert found.seen.all() and (found.last == np.arange(9)).all()
    with pytest.raises(LemError, match="no text has 500 tokens"):
        side_by_side(texts_of(coders, (1, 1), [TEXT]), (500, 500))


@pytest.fixture(scope="module")
def bench(tmp_path_factory, coders):
    here = tmp_path_factory.mktemp("offsets")
    for name, coder, seed, width in ("a", coders[0], 1, 16), ("b", coders[1], 2, 24), ("c", coders[2], 3, 16):
        saved(lm(seed, vocabulary=coder.vocab, width=width), here / f"{name}.safetensors", coder.vocab, width=width)
        if coder.tokenizer:
            coder.save(str(here / f"{name}.bpe.safetensors"))
    (here / "held.txt").write_text(TEXT)
    (here / "other.txt").write_text(TEXT.replace("none", "nine"))
    for name in "abc":
        codec = "" if name == "a" else f"--codec {name}.bpe.safetensors"
        for text in "held", "other":
            line = f"--encoder activations --lm {name}.safetensors {codec} --layer 1 {text}.txt --flat"
            run(here, f"{line} -o {name}.{text}.safetensors")
    for one, two in ("a", "b"), ("b", "a"), ("b", "c"):
        line = f"--encoder translate --fit --map ridge --onto {two}.held.safetensors {one}.held.safetensors"
        said = run(here, f"{line} -o {one}{two}.safetensors")
        common = set.intersection(*(ends(here, coders["abc".index(name)]) for name in (one, two)))
        assert f"pairs\t{len(common)}\n" in said
    return here


def ends(here, coder):
    table = bytes_of(coder.pieces().get("pieces"))
    ids = coder.encode(raw((here / "held.txt").read_text()))[0].data[0]
    return set(np.cumsum([len(table[token]) for token in ids]).tolist())


@pytest.mark.parametrize("pair", ["ab", "ba", "bc"])
@torch.no_grad()
def test_what_is_put_back_is_its_definition(bench, coders, pair):
    """B's position reads what A makes of the tokens that have ended by then, and of no others."""
    one, two = pair
    names = {"lm": two, "from_lm": one, "codec": two + ".bpe", "from_codec": one + ".bpe"}
    files = {key: str(bench / f"{n}.safetensors") for key, n in names.items() if n != "a.bpe"}
    line = " ".join(f"--{key.replace('_', '-')} {path}" for key, path in files.items())
    said = run(bench, f"--patch-back --translate {pair}.safetensors {line} --layer 1 --window 9 --json held.txt")
    rows = {row["put"]: row for row in map(json.loads, said.splitlines())}
    coder = encode.load(str(bench / f"{pair}.safetensors"))
    a, b = (kept.load(files[key], "cpu").net for key in ("from_lm", "lm"))
    which = ["abc".index(name) for name in pair]
    windows = side_by_side(texts_of(coders, which, [TEXT]), (13, 10))
    tables = [bytes_of(coders[k].pieces().get("pieces")) for k in which]
    everything = [b.hidden(torch.from_numpy(ids[None, :n]), 1)[0, :-1] for ids, n in _rows(windows)]
    mean = torch.cat(everything).double().mean(0).float()
    nats = dict.fromkeys(("own", "translated", "mean"), 0.0)
    size, errors, spread = 0, 0.0, 0.0
    for row, (ids, n) in enumerate(_rows(windows)):
        made = torch.zeros(1, n - 1, len(mean))
        for place in range(n - 1):
            read = sum(len(tables[1][token]) for token in ids[: place + 1])
            past, taken = 0, []
            for token in windows.a[row]:
                past += len(tables[0][token])
                if past > read or not token:  # (token 0 pads)
                    break
                taken.append(int(token))
            made[0, place] = mean
            if taken:
                hidden = a.hidden(torch.tensor([taken]), 1)[0, -1:]
                made[0, place] = torch.from_numpy(coder.found.apply(hidden.numpy()))[0]
        wanted = torch.from_numpy(ids[1:n])
        size += sum(len(tables[1][token]) for token in ids[1:n])
        own = everything[row]
        errors, spread = errors + float((made[0] - own).square().sum()), spread + float((own - mean).square().sum())
        for name, x in (("own", own[None]), ("translated", made), ("mean", mean.expand(1, n - 1, -1))):
            nats[name] += float(F.cross_entropy(b.resume(x, 1)[0], wanted, reduction="sum"))
    for name, each in nats.items():
        assert rows[name]["loss"] == pytest.approx(each / size / math.log(2), rel=1e-4), name
    assert rows["translated"]["nmse"] == pytest.approx(errors / spread, rel=1e-3)
    assert all(math.isfinite(row["loss"]) for row in rows.values()) and rows["shuffled"]["nmse"] > 0


def _rows(windows):
    return [(ids, int(seen.sum()) + 1) for ids, seen in zip(windows.b, windows.seen, strict=True)]


def test_the_batch_makes_no_difference(bench, coders):
    coder = encode.load(str(bench / "ba.safetensors"))
    files = {"lm": "a", "from_lm": "b", "from_codec": "b.bpe"}
    files = {key: str(bench / f"{name}.safetensors") for key, name in files.items()}
    (text,) = load([str(bench / "held.txt")])
    from lemtools.encode.patch_translate import patch_translated

    found = [patch_translated([text], coder, **files, layer=1, batch=size) for size in (1, 64)]
    for one, other in zip(*found, strict=True):
        assert one["put"] == "shuffled" or one["loss"] == pytest.approx(other["loss"], rel=1e-5)


MADE = "--encoder activations --layer 1 held.txt -o x.safetensors"
PUT = "--patch-back --translate ab.safetensors --layer 1 --lm b.safetensors --from-lm a.safetensors"
REFUSED = {
    f"{MADE} --lm b.safetensors": "knows 300 tokens, not bytes: make them first",
    f"{MADE} --lm b.safetensors --codec c.bpe.safetensors": "278 tokens; b.safetensors knows 300",
    f"{MADE} --lm b.safetensors --codec ab.safetensors": "byte pairs are needed",
    f"{MADE} --hf nowhere --codec b.bpe.safetensors": "--codec is for --lm",
    "--encoder translate --fit --onto b.other.safetensors a.held.safetensors -o x.safetensors": "texts that differ at byte",
    f"{PUT} held.txt": "name the byte pairs of b.safetensors (--codec BPE)",
    f"{PUT} --codec b.bpe.safetensors a.held.safetensors": "bytes of text are needed",
    f"{PUT} --codec b.bpe.safetensors --from-codec b.bpe.safetensors held.txt": "300 tokens; a.safetensors knows 256",
    f"{MADE} --from-codec b.bpe.safetensors --lm a.safetensors": "--from-codec is for --translate",
}  # fmt: skip


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_is_one_line(bench, line):
    done = lem_fork("encode", *line.split(), cwd=bench)
    said = done.stderr.decode()
    assert done.returncode == 2 and done.stdout == b"" and not (bench / "x.safetensors").exists(), said
    assert said.count("\n") == 1 and said.startswith("lem-encode: error: ") and REFUSED[line] in said, said
