"""Tokens with times, scores, words and an alphabet: what a batch holds of them, and what is left of it on the way."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.signals import same
from lemtools.encode import Coder
from lemtools.encode.text import Text, as_bytes, is_text
from lemtools.fragment import fragment
from lemtools.media import load
from lemtools.media.describe import describe
from lemtools.signal import Alphabet, LemError, Signal, Word, bits_per_element, from_tensors, to_tensors
from lemtools.stream import Source, document, read, write, write_one

ABC = Alphabet("file", ("", "a", "ʃ", "b\udcff"))


def spoken(count=3, length=4, seed=0, **more):
    """Items of `length` tokens, of which the i-th has i words."""
    rng = np.random.default_rng(seed)
    ends = np.cumsum(rng.random((count, length, 2)), axis=-1).reshape(count, -1).cumsum(axis=1)
    words = [[Word(f"wö{i}", k, k + 0.5) for k in range(i)] for i in range(count)]
    fields = {
        "spans": ends.reshape(count, length, 2),
        "scores": rng.standard_normal((count, length), np.float32),
        "words": words,
        "alphabet": ABC,
        "depth": ABC.depth,
        "names": [f"{i}.wav" for i in range(count)],
    }
    return Signal("tokens", rng.integers(0, 4, (count, length)).astype(np.uint16), **fields | more)


def alike(a: Signal, b: Signal) -> None:
    same(a, b)
    for name in ("spans", "scores"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None) and (x is None or (x.dtype == y.dtype and np.array_equal(x, y))), name
    assert (a.words, a.alphabet, a.depth) == (b.words, b.alphabet, b.depth)


def through(*signals: Signal) -> list[Signal]:
    out = io.BytesIO()
    write(list(signals), out)
    return list(read(Source(io.BytesIO(out.getvalue()), "x")))


@pytest.mark.parametrize("without", [(), ("words",), ("scores", "alphabet"), ("spans",), ("words", "scores", "spans")])
def test_round_trip(without):
    for count in (1, 3):
        signal = replace(spoken(count), **dict.fromkeys(without))
        (back,) = through(signal)
        alike(signal, back)
        assert all(isinstance(word, Word) for item in back.words or () for word in item)


@given(st.data())
def test_what_is_taken_and_put_together_again(data):
    signal = spoken(5, data.draw(st.integers(1, 4)))
    items = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True))
    part = signal.take(items)
    assert part.words == [signal.words[i] for i in items] and np.array_equal(part.spans, signal.spans[items])
    alike(part, through(part)[0])
    cut = data.draw(st.integers(1, 4))
    alike(signal, Signal.concat([signal.take(slice(0, cut)), signal.take(slice(cut, 5))]))


@pytest.mark.parametrize("change", [{"alphabet": None}, {"words": None}, {"spans": None}, {"scores": None}])
def test_other_batches_are_not_put_together(change):
    signal = spoken()
    with pytest.raises(LemError, match=f"differ in {[*change][0]}"):
        Signal.concat([signal, replace(signal, **change)])
    other = Alphabet("arpabet", ABC.symbols)
    with pytest.raises(LemError, match="differ in alphabet"):
        Signal.concat([signal, replace(signal, alphabet=other)])


def test_one_document_of_several_batches(tmp_path):
    whole, parts = spoken(5), [spoken(5).take(slice(i, i + 2)) for i in (0, 2, 4)]
    with open(tmp_path / "x.safetensors", "wb") as file:
        assert write_one(parts, file, str(tmp_path)) == 1
    (back,) = load(str(tmp_path / "x.safetensors"))
    alike(whole, replace(back, last=None))
    # one of another length, or in another alphabet, is a document of its own
    others = [spoken(2), spoken(2, 5), replace(spoken(2), alphabet=Alphabet("x", ABC.symbols))]
    with open(tmp_path / "y.safetensors", "wb") as file:
        assert write_one(others, file, str(tmp_path), several=True) == 3
    for one, back in zip(others, load(str(tmp_path / "y.safetensors"))):
        assert back.words == one.words and np.array_equal(back.spans, one.spans) and back.alphabet == one.alphabet


def test_the_header_does_not_grow_with_the_words():
    sizes = [len(document(spoken(n))[0]) for n in (10, 90)]
    assert abs(sizes[1] - sizes[0]) <= 64  # digits of sizes alone


def test_times_do_not_count_as_cost():
    assert (bits_per_element(spoken()) == ABC.depth).all() and ABC.depth == 2
    assert [Alphabet("x", tuple(map(str, range(n)))).depth for n in (1, 2, 3, 256, 257)] == [1, 1, 2, 8, 9]


def test_lem_fragment_keeps_the_times_of_what_is_lost_but_not_the_words():
    signal = spoken()
    (masked,) = fragment([signal], [{"op": "mask", "mask": 0.5}])
    assert np.array_equal(masked.spans, signal.spans) and masked.alphabet == ABC
    assert masked.words is None and masked.scores is None
    alike(masked, through(masked)[0])
    (cut,) = fragment([signal], [{"op": "crop", "crop": "2"}], seed=4)
    for i, (start,) in enumerate(cut.ops[0]["place"]):
        assert np.array_equal(cut.spans[i], signal.spans[i, start : start + 2])
        assert np.array_equal(cut.data[i], signal.data[i, start : start + 2])
    assert cut.words is None and cut.scores is None and len({int(p) for p in cut.ops[0]["place"].ravel()}) > 1
    alike(cut, through(cut)[0])
    for op in ({"op": "bits", "bits": 2}, {"op": "noise", "sigma": 0.1}):
        with pytest.raises(LemError, match="an index has no nearby values"):
            list(fragment([signal], [op]))


def test_encoders_of_text_refuse_symbols():
    signal = replace(spoken(), data=spoken().data.astype(np.uint8))
    assert not is_text(signal) and is_text(replace(signal, alphabet=None))
    with pytest.raises(LemError, match="bytes of text are needed, not symbols of file"):
        as_bytes(signal)
    with pytest.raises(LemError, match="encodes tokens, not symbols of file with their times"):
        list(Coder(Text())(signal))


def bad_spans(*rows):
    return {"spans": np.array([rows], float).reshape(1, -1, 2)}


@pytest.mark.parametrize(
    "fields, message",
    [
        (bad_spans((0, 1), (1, 2), (2, 3)), r"spans float64 \[1, 3, 2\] do not fit tokens \[1, 2\]"),
        ({"spans": np.zeros((1, 2, 2), np.float32)}, "spans float32"),
        (bad_spans((0, 1), (1, np.nan)), "item 0: times that are not finite"),
        (bad_spans((0, 1), (2, 1.5)), "1.5 s, an end before its begin, 2 s"),
        (bad_spans((3, 4), (1, 2)), "times out of order, at 3 s"),
        (bad_spans((0, 1), (0.9, 2)), "one begins before the one before it ends, at 1 s"),
        ({"scores": np.zeros((1, 2))}, "scores float64"),
        ({"scores": np.zeros((1, 3), np.float32)}, r"scores float32 \[1, 3\] do not fit"),
        ({"words": [[], []]}, "words of 2 items do not fit 1"),
        ({"alphabet": Alphabet("x", ("a",))}, "token 1: the alphabet x has 1 symbols"),
        ({"alphabet": Alphabet("x", ("a", "a"))}, "each once, not 2"),
        ({"alphabet": Alphabet("x", ())}, "each once, not 0"),
    ],
)
def test_refused(fields, message):
    with pytest.raises(LemError, match=message):
        Signal("tokens", np.array([[0, 1]]), **fields)


def test_only_tokens_are_spoken():
    data = np.zeros((1, 2, 3), np.float32)
    for name, value in {"spans": np.zeros((1, 2, 2)), "words": [[]], "alphabet": ABC}.items():
        with pytest.raises(LemError, match="for tokens, not audio"):
            Signal("audio", data, **{name: value})


def test_rounded_times_may_overlap_a_little():
    signal = Signal("tokens", np.array([[0, 1]]), **bad_spans((0, 1), (1 - 1e-9, 2)))
    assert signal.spans[0, 1, 0] == 1 - 1e-9


def test_symbols_and_ids():
    assert ABC.ids(["ʃ", "", "a"]).tolist() == [2, 0, 1] and ABC.ids([]).dtype == np.uint16
    assert ABC.texts(np.array([3, 1])) == ["b\udcff", "a"]
    with pytest.raises(LemError, match="no symbol 'q' in file; there are"):
        ABC.ids(["a", "q"])


def lied(change):
    tensors, meta = to_tensors(spoken())
    tensors = {name: array.copy() for name, (_, array) in tensors.items()}
    change(tensors, meta)
    return tensors, meta


@pytest.mark.parametrize(
    "change",
    [
        lambda t, m: t.pop("words.items"),
        lambda t, m: t.update({"words.items": t["words.items"][::-1].copy()}),
        lambda t, m: t.update({"words.items": t["words.items"][1:]}),
        lambda t, m: t.update({"words.items": t["words.items"] + 1}),
        lambda t, m: t.update({"words.items": np.array([0, 2, 1, 3])}),
        lambda t, m: t.update({"words.offsets": t["words.offsets"] + 1}),
        lambda t, m: t.update({"words.spans": t["words.spans"][:, ::-1].copy()}),
        lambda t, m: t.update({"words.spans": np.full_like(t["words.spans"], np.nan)}),
        lambda t, m: t.update(spans=t["spans"].astype(np.float32)),
        lambda t, m: t.update(spans=t["spans"][:, :3]),
        lambda t, m: t.update(spans=-t["spans"]),
        lambda t, m: t.update(scores=t["scores"][:, :3]),
        lambda t, m: m.update(alphabet="abc"),
        lambda t, m: m.update(alphabet={"name": "x"}),
        lambda t, m: m.update(alphabet={"name": "x", "symbols": [1, 2]}),
        lambda t, m: m.update(alphabet={"name": "x", "symbols": ["a"]}),
    ],
)
def test_damaged_documents(change):
    with pytest.raises(LemError, match=r"damaged document|do not fit|spans of item|the alphabet x has"):
        from_tensors(*lied(change))


def test_lem_info_says_what_stands_beside(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"".join(document(replace(spoken(), last=True))))
    facts = describe(str(path))
    assert facts["beside"] == ["scores", "spans", "words"]
    assert facts["alphabet"] == {"name": "file", "symbols": list(ABC.symbols)}
    path.write_bytes(b"".join(document(Signal("tokens", np.zeros((1, 2), int), last=True))))
    assert describe(str(path))["beside"] is describe(str(path))["alphabet"] is None


def test_a_notebook_shows_symbols():
    shown = spoken(1)._element(0)
    assert shown == f"<pre>{' '.join(ABC.texts(spoken(1).data[0]))}</pre>"
