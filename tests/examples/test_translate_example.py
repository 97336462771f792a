"""examples/translate.py: its table on spaces made here. The real ones need packages, and are not fetched."""

import importlib.util
import json

import numpy as np
import pytest

from helpers.paths import EXAMPLES

spec = importlib.util.spec_from_file_location("translate_example", EXAMPLES / "translate.py")
example = importlib.util.module_from_spec(spec)
spec.loader.exec_module(example)
COLUMN = "words, wordllama 256 to MiniLM 384"


@pytest.fixture
def spaces(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((260, 16))
    a, b = (z @ rng.standard_normal((16, d)) + 0.05 * rng.standard_normal((260, d)) + 1 for d in (24, 20))
    held = np.zeros(260, bool)
    held[rng.permutation(260)[:100]] = True
    ranks = {"wordllama.rank": rng.permutation(260), "minilm.rank": rng.permutation(260)}
    np.savez(tmp_path / "words.npz", held=held, wordllama=a.astype(np.float32), minilm=b.astype(np.float32), **ranks)
    monkeypatch.setattr(example, "COLUMNS", {COLUMN: ("words", "wordllama", "minilm")})
    monkeypatch.setattr(example, "HELD", {"words": 100})
    monkeypatch.setattr(example, "PAIRS", (8, 64))
    monkeypatch.setattr(example, "DRAWS", 2)
    return tmp_path


def test_the_table_has_maps_controls_and_what_auto_is_behind(spaces, capsys):
    example.table(spaces, quick=False)
    done = [json.loads(line) for line in (spaces / "results.jsonl").read_text().splitlines()]
    assert [(one["asked"], one["draw"]) for one in done] == [(8, 0), (8, 1), (64, 0), (64, 1)]
    for one in done:
        top = {name: np.mean(row["top1"]) for name, row in one["rows"].items()}
        assert len(one["rows"]["auto"]["mrr"]) == 100 and one["rows"]["auto"] == one["rows"][one["chosen"]]
        assert max(top[name] for name in ("shuffled pairs", "Gaussian for B", "identity, cut or padded")) < 0.1
        assert one["asked"] == 8 or top["auto"] > 0.8
    text = (spaces / "table.md").read_text()
    assert text.count("\n") == 3 + len(done[0]["rows"]) + 2 + 1 + 4 and "| pairs | 8 | 64 |" in text and "±" in text
    assert capsys.readouterr().out.strip() == text.strip()


def test_a_table_that_was_stopped_goes_on_to_the_same_bytes(spaces, capsys):
    example.table(spaces, quick=False)
    whole = (spaces / "results.jsonl").read_bytes()
    (spaces / "results.jsonl").write_bytes(whole[: len(whole) // 2])  # in the middle of a line
    example.table(spaces, quick=False)
    assert (spaces / "results.jsonl").read_bytes() == whole


def test_other_items_are_held_out_again_by_whole_groups():
    groups = np.repeat(np.arange(60), 3)
    apart = example.held_out(groups, 40)
    assert list(apart) == ["held", "again"] and not (apart["held"] & apart["again"]).any()
    for mine in apart.values():
        assert 40 <= mine.sum() <= 42 and all(mine[groups == one].all() for one in groups[mine])


def test_again_has_other_items_other_draws_and_files_of_its_own(spaces, capsys):
    data = dict(np.load(spaces / "words.npz"))
    again = ~data["held"] & (np.cumsum(~data["held"]) <= 50)
    np.savez(spaces / "words.npz", again=again, **data)
    assert np.array_equal(example.load(spaces, "words", again=True)["held"], again)
    example.table(spaces, quick=False, again=True)
    done = [json.loads(line) for line in (spaces / "results-again.jsonl").read_text().splitlines()]
    assert [one["draw"] for one in done] == [100, 101, 100, 101] and {one["items"] for one in done} == {50}
    assert (spaces / "table-again.md").read_text().strip() == capsys.readouterr().out.strip()
    assert not (spaces / "results.jsonl").exists() and not (spaces / "table.md").exists()


def test_auto_is_held_against_the_map_that_is_best_on_other_draws():
    def run(best, auto):
        rows = {name: {"top1": [1.0 * (name == best)] * 4} for name in example.SINGLE}
        return {"rows": {**rows, "auto": {"top1": [auto, auto, auto, 0.0]}}}

    found = example.behind(
        [run("cca", 1.0), run("ridge", 0.0)]
    )  # ridge is taken for the first, cca for the second: both 0
    assert found.startswith("+.375")


def test_gaussians_have_the_spectrum_of_b_and_nothing_else_of_it():
    rng = np.random.default_rng(1)
    y = rng.standard_normal((4000, 5)) @ rng.standard_normal((5, 5)) + 3
    other = example.matched(y, rng)
    assert np.allclose(np.cov(other.T), np.cov(y.T), atol=0.5) and np.allclose(other.mean(0), y.mean(0), atol=0.3)
    assert abs(np.corrcoef(y[:, 0], other[:, 0])[0, 1]) < 0.1
