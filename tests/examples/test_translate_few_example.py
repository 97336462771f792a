"""examples/translate_few.py: its table on spaces made here."""

import importlib.util
import json

import numpy as np
import pytest

from helpers.paths import EXAMPLES
from lemtools.align import dictionary

COLUMN = "words, wordllama 256 to MiniLM 384"


@pytest.fixture
def few(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("translate_few_example", EXAMPLES / "translate_few.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((30, 20))[rng.integers(30, size=400)] * 2 + 0.5 * rng.standard_normal((400, 20))
    a, b = (z @ np.linalg.qr(rng.standard_normal((20, 20)))[0] + 0.05 * rng.standard_normal((400, 20)) for _ in "ab")
    held = np.zeros(400, bool)
    held[rng.permutation(400)[:100]] = True
    np.savez(tmp_path / "words.npz", held=held, wordllama=a.astype(np.float32), minilm=b.astype(np.float32))
    monkeypatch.setattr(example, "TEXTS", {COLUMN: ("words", "wordllama", "minilm")})
    monkeypatch.setattr(example, "HELD", {"words": 100})
    monkeypatch.setattr(example, "PAIRS", (9,))
    monkeypatch.setattr(example, "DRAWS", (0, 1))
    monkeypatch.setattr(dictionary, "PARTS", 3)
    return example, tmp_path


def test_a_table_with_controls_that_goes_on_where_it_stopped(few, capsys):
    example, out = few
    example.main(out, quick=False)
    whole = (out / "few.jsonl").read_bytes()
    done = [json.loads(line) for line in whole.splitlines()]
    assert [(one["same"], one["draw"]) for one in done] == [(False, 0), (False, 1), (True, 0)]
    for one in done:
        rows = one["rows"]
        assert max(rows[name][0] for name in rows if name.endswith(("pairs", "for B", "padded")) and "," in name) < 0.2
        assert rows["self-learning"][0] >= rows["pairs alone"][0] - 0.05
    assert [one["vectors"] for one in done] == [[145, 146], [145, 146], [291, 291]]
    text = (out / "few.md").read_text()
    assert (
        text.count("**other items") == text.count("**the same items") == 1
        and capsys.readouterr().out.strip() == text.strip()
    )
    (out / "few.jsonl").write_bytes(whole[: len(whole) - 30])
    example.main(out, quick=False)
    assert (out / "few.jsonl").read_bytes() == whole


def test_quick_and_again_are_the_headline_alone(few, monkeypatch, capsys):
    example, out = few
    monkeypatch.setattr(example, "HEADLINE", {"words": 11})
    data = dict(np.load(out / "words.npz"))
    np.savez(out / "words.npz", again=~data["held"] & (np.cumsum(~data["held"]) <= 60), **data)
    seen = []

    def measured(data, items, names, pairs, same, draw):
        seen.append((int(data["held"].sum()), pairs, same, draw))
        rows = {"self-learning": [0.5, 0.5]}
        return {"items": 60, "rows": rows, "rounds": 0, "mrr-before": 0.1, "mrr-after": 0.2}

    monkeypatch.setattr(example, "measured", measured)
    example.main(out, quick=True)
    example.main(out, quick=False, again=True)
    assert seen == [(100, 11, False, 0), (60, 11, False, 100), (60, 11, False, 101)]
    assert (out / "few-again.jsonl").read_text().count("\n") == 2 and (out / "few.jsonl").read_text().count("\n") == 1
    assert (out / "few-again.md").read_text().strip() in capsys.readouterr().out


def test_other_items_have_no_item_in_common(few):
    example, _ = few
    rest = np.arange(5, 50)
    known, one, other = example.sides(rest, 4, False, np.random.default_rng(1))
    assert sorted([*known, *one, *other]) == list(rest)
    known, one, other = example.sides(rest, 4, True, np.random.default_rng(1))
    assert set(one) == set(other) == set(rest) - set(known) and not np.array_equal(one, other)
