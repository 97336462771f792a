"""Arms at equal stored bits: what examples/learned_encodings.py trains, searches and refuses, and learned_table.py prints."""

import importlib
import json
import os
import subprocess

import numpy as np
import pytest

from helpers.paths import EXAMPLES

SCRIPT = EXAMPLES / "learned-encodings.sh"
SMALL = {
    "CORPUS": "markov",
    "VOCAB": "bytes",
    "STEPS": "3",
    "BATCH": "2",
    "WINDOWS": "10",
    "JOBS": "1",
    "DEVICE": "cpu",
}


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("learned_encodings")


@pytest.fixture
def report(example):
    return example.report


def result(arm, seed, points, data="abc", ends="", passages=None):
    """points: [(bits, bits of every window)]; a window has 4 bytes."""
    each = points[-1][1]
    sizes = [4] * len(each)
    line = [
        {"bits": bits, "learnt": 9 - k, "loss": sum(each) / sum(sizes), "chosen": {}, "each": list(each)}
        for k, (bits, each) in enumerate(points)
    ]
    found = {"arm": arm, "seed": seed, "data": data, "unit": "byte", "as_trained": 1.5, "each": list(each)}
    return found | {"ends": ends, "sizes": sizes, "passages": passages or list(range(len(each))), "line": line}


def rows(lines):
    return {line.split("\t")[0]: line.split("\t") for line in lines}


def test_sizes_begin_where_something_is_kept(report):
    full = result("full", 0, [(64, [9.0, 9.0]), (8000, [8.0, 16.0]), (64000, [4.0, 8.0])])
    for point, ways in zip(full["line"], (("", "drawn"), ("drawn", "float16"), ("float16", "float16")), strict=True):
        point["chosen"] = dict(zip(("embedding", "head"), ways, strict=True))
    assert report.begun(full) == 8000 and report.common({"full": {0: full}})[0] == 8000


def test_every_arm_has_what_fits_a_size(report):
    full = result("full", 0, [(8000, [8.0, 16.0]), (64000, [4.0, 8.0])], ends="fewest bits, 8000")
    small = result("learned-8", 0, [(8000, [6.0, 10.0]), (32000, [2.0, 6.0])])
    found = rows(report.table([full, small]))
    heads = found["arm-ratio"]
    assert found["data of all arms"][1] == "abc" and heads[3] == "1 kB" and heads[-2] == "8 kB"
    cells = {arm: dict(zip(heads, found[arm], strict=True)) for arm in ("full", "learned-8")}
    assert (cells["full"]["1 kB"], cells["full"]["8 kB"]) == ("3.000", "1.500")
    assert cells["learned-8"]["1 kB"].startswith("2.000 (-1.000, ")
    assert cells["learned-8"]["8 kB"].startswith("1.000 (-0.500, ")
    assert cells["full"]["ends at"] == "fewest bits" and cells["learned-8"]["ends at"] == "no end of the search"


def test_an_arm_that_does_not_fit_has_no_number(report):
    full, large = result("full", 0, [(8000, [8.0] * 2)]), result("trellis", 0, [(64000, [4.0] * 2)])
    found = rows(report.table([full, large]))
    assert found["trellis"][3] == "-" and found["trellis"][-2] != "-"


def arms_of(apart, passages=None, count=64):
    """Full, and arms that differ from it by so much, {name: (rng) -> [windows]}, of five seeds."""
    rng, arms = np.random.default_rng(0), {"full": {}} | {name: {} for name in apart}
    for seed in range(5):
        each = 8 + 3 * rng.standard_normal() + 2 * rng.standard_normal(count)
        for arm, more in ({"full": lambda rng: 0} | apart).items():
            arms[arm][seed] = result(arm, seed, [(1000, (each + more(rng)).tolist())], passages=passages)
    return arms


def test_a_difference_is_that_of_pairs(report):
    """What seeds and passages have in common is in no interval; a difference that is the same in all has none."""
    arms = arms_of({"a": lambda rng: 1, "b": lambda rng: 0.5 * rng.standard_normal(64)})
    mean, low, high = report.compared(arms, "a", 1000)
    assert mean == pytest.approx(0.25) and low == pytest.approx(0.25) and high == pytest.approx(0.25)
    mean, low, high = report.compared(arms, "b", 1000)
    truth = np.mean([np.subtract(arms["b"][s]["each"], arms["full"][s]["each"]).sum() for s in range(5)])
    assert mean == pytest.approx(truth / 256) and low < mean < high
    exact = 1.96 * 0.5 / 4 / np.sqrt(5 * 64)  # of numbers that have neither seeds nor passages in common
    assert exact < (high - low) / 2 < 2.5 * exact
    assert report.compared(arms, "a", 999) is None


@pytest.mark.parametrize("seeds", [3, 5])
def test_few_seeds_make_an_interval_as_wide_as_student_s(report, seeds):
    """Arms that differ by a number a seed alone, many times: 95 % of the intervals have the truth in them, and their mean width is t's."""
    rng, one, inside, width = np.random.default_rng(5), {"sizes": [1, 1], "passages": [0, 1]}, 0, []
    for _ in range(300):
        gaps = rng.standard_normal(seeds)
        _, low, high = report.bootstrap([[g, g] for g in gaps], [[0, 0]] * seeds, one, many=1000)
        inside += low < 0 < high
        width.append((high - low) / 2 / (report.student_t(0.95, seeds - 1) * gaps.std(ddof=1) / seeds**0.5))
    assert inside / 300 > 0.9 and 0.85 < np.mean(width) < 1.1


def test_one_seed_has_no_spread_of_seeds(report):
    assert report.few(1) == 1 and report.few(5) == pytest.approx(2.7764 / 1.96 * 1.25**0.5, rel=1e-4)


def test_it_is_said_at_which_sizes_an_arm_is_ahead(report):
    """Steps between the sizes of the table: full's are at 1, 4 and 64 kB, the arm's at 2 and 32 kB."""
    full = [result("full", s, [(8000, [8.0] * 4), (32000, [4.0] * 4), (512000, [1.0] * 4)]) for s in range(5)]
    other = [result("learned-8", s, [(16000, [6.0] * 4), (24000, [5.0] * 4), (256000, [3.0] * 4)]) for s in range(5)]
    for one in full + other:
        for point in one["line"]:
            point["loss"] = sum(point["each"]) / 16
    found = rows(report.table(full + other))
    assert (
        found["learned-8 ahead of full, interval clear of zero"][1]
        == "2.0 to 4.0 kB (-0.750), 32.0 to 64.0 kB (-0.250)"
    )
    last = result("pca-8", 0, [(8000, [7.0] * 4)])
    last["line"][0]["loss"] = 1.75
    arms = report.by_arms([full[0], last])
    arms["full"][0]["line"] = arms["full"][0]["line"][:1]
    assert (
        report.ahead(arms, "pca-8") == "1.0 on (-0.250)"
        and report.ahead(report.by_arms(full + other[:1]), "full") == ""
    )


def test_windows_of_a_passage_are_drawn_together(report):
    """16 passages of 4 windows each, which differ by one number a passage: as wide as 16 numbers make it, not 64."""
    found = {}
    for name, passages in (("windows", list(range(64))), ("passages", [i // 4 for i in range(64)])):
        arms = arms_of({"b": lambda rng: np.repeat(np.random.default_rng(1).standard_normal(16), 4)}, passages)
        _, low, high = report.compared(arms, "b", 1000)
        found[name] = high - low
    assert 1.7 < found["passages"] / found["windows"] < 2.3


def test_a_share_is_that_of_the_other_arm(report):
    arms = arms_of({"learned-8": lambda rng: 0})
    for seed, one in arms["full"].items():
        arms["learned-8"][seed]["each"] = [1.02 * x for x in one["each"]]
    assert report.trained(arms, "learned-8", "full") == pytest.approx((0.02,) * 3)
    assert report.trained(arms, "random-1", "learned-1") is None


@pytest.mark.parametrize(
    ("interval", "says"),
    [((0, -1, 0.5), "confirmed"), ((2, 1.5, 3), "refuted"), ((0.9, 0.5, 1.2), "open"), (None, "not measured")],
)
def test_a_prediction_holds_where_all_of_its_interval_does(report, interval, says):
    assert report.verdict(interval, -np.inf, 1) == says


def test_another_case_than_predicted_settles_nothing(report):
    full, small = result("full", 0, [(8000, [8.0, 16.0])]), result("learned-8", 0, [(8000, [6.0, 10.0])])
    lines = [[line for line in report.table([full, small], it) if line.startswith("predicted")] for it in (True, False)]
    assert lines[0][0].endswith("confirmed") and lines[1][0].endswith("of another case")
    assert [line.rpartition("\t")[0] for line in lines[0]] == [line.rpartition("\t")[0] for line in lines[1]]


def test_the_trellis_is_held_against_the_best_learnt_arm(report):
    arms = arms_of({"trellis": lambda rng: 1, "learned-1": lambda rng: 4, "learned-8": lambda rng: 0})
    *_, last = report.predictions(arms, np.array([1000]))
    assert "nearest learned-8\t+0.250" in last and last.endswith("refuted")
    arms = arms_of({"trellis": lambda rng: -1, "learned-1": lambda rng: 4, "longer-8": lambda rng: -3})
    *_, last = report.predictions(arms, np.array([1000]))
    assert "nearest learned-1\t-1.250" in last and last.endswith("confirmed")


def test_models_of_other_texts_are_not_compared(example, report):
    one, other = result("full", 0, [(8, [8.0])]), result("learned-8", 0, [(8, [8.0])], data="abd")
    with pytest.raises(example.LemError, match=r"models of 2 texts \(abc, abd\); arms are compared on one"):
        list(report.table([one, other]))
    with pytest.raises(example.LemError, match="no result of the full table"):
        list(report.table([result("learned-8", 0, [(8, [8.0])])]))


def test_loss_by_updates_is_that_of_the_log(report, tmp_path):
    log = tmp_path / "full.jsonl"
    log.write_text('{"step": 50}\n' + "".join(f'{{"step": {n}, "held_out_bits_per_base": 2}}\n' for n in (60, 90)))
    assert list(report.by_steps({"full": log, "pca-8": tmp_path / "none"}, 5)) == [
        "kept back, by updates, mean of 5\t60\t90", "full\t2.000\t2.000"
    ]  # fmt: skip


def test_loss_by_updates_is_compared_seed_by_seed(report, tmp_path):
    for name, bits in (("full", (2.0, 2.2, 2.1)), ("pca-8", (2.1, 2.4, 2.2))):
        each = {f"held_out_bits_per_byte_{seed}": value for seed, value in enumerate(bits)}
        record = {"step": 60, "held_out_bits_per_byte": sum(bits) / 3, **each}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(record) + "\n")
    logs = {name: tmp_path / f"{name}.jsonl" for name in ("full", "pca-8")}
    # gaps .1, .2, .1: mean .133, deviation .0577, t of two degrees 4.303
    assert list(report.by_steps(logs, 3))[1:] == ["full\t2.100", "pca-8\t2.233 (+0.133 \u00b1 0.143)"]


def test_what_is_learnt_from_is_that_of_the_log(report, tmp_path):
    logs = {name: tmp_path / f"{name}.jsonl" for name in ("full", "pca-8", "none")}
    logs["full"].write_text('{"step": 50, "loss": 2.5}\n{"step": 100, "loss": 2.25}\n')
    logs["pca-8"].write_text('{"step": 50, "loss": 2.75}\n{"step": 60, "held_out_bits_per_byte": 2}\n')
    assert list(report.while_learning(logs, 5)) == [
        "learnt from, by updates, mean of 5\t50\t100", "full\t2.500\t2.250", "pca-8\t2.750\t-"
    ]  # fmt: skip


def test_the_picture_has_controls_near_what_is_shown(report, tmp_path):
    pytest.importorskip("matplotlib")
    controls = tmp_path / "controls.tsv"
    names = {
        "learnt": 1,
        "held out": 2,
        "unigram entropy": 2.2,
        "Witten-Bell, 1 before": 2.1,
        "Witten-Bell, 2 before": 1.9,
        "Witten-Bell, 3 before": 3.9,
    }
    controls.write_text("".join(f"{k}\t{v}\n" for k, v in (names | {"xz -9e": 9}).items()))
    assert report.lines_of(controls, 2) == [("Witten-Bell, best", 1.9)]
    assert report.lines_of(controls, 3) == [("unigram entropy", 2.2), ("Witten-Bell, best", 1.9)]
    found = [result("full", 0, [(8000, [8.0]), (64000, [7.0])]), result("learned-8", 0, [(800, [9.0])])]
    report.picture(found, controls, tmp_path / "a.png")
    report.picture(found, controls, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes() > b"\x89PNG"


def test_tokens_belong_to_the_article_that_they_begin_in(example, tmp_path, monkeypatch):
    monkeypatch.setenv("CORPUS", "wikitext")
    cell = example.Cell("DATA", str(tmp_path))
    cell.out.mkdir()
    raw = b" \n = One = \n \n = = Part = = \n text\n = Two = \n more"
    cell.held.write_bytes(raw)
    from lemtools.train.corpus import load_corpus

    found = example.documents(cell, load_corpus([str(cell.held)]))
    two = raw.index(b" = Two")
    assert found.tolist() == [0, 0] + [1] * (two - 2) + [2] * (len(raw) - two)


def test_all_of_the_grid_is_there(example, tmp_path, monkeypatch):
    monkeypatch.delenv("QUICK", raising=False)
    cell = example.Cell("DATA", str(tmp_path))
    main = [name for name in cell.every if name.split("-")[0] in "learned random pca autoencoder tuned joint".split()]
    assert len(main) * cell.runs == 210 and cell.every[0] == "full" and len(set(cell.every)) == len(cell.every)
    assert {"tied-full", "tied-learned-8", "longer-8", "trellis"} < set(
        cell.every
    ) and "tied-learned-1" not in cell.every


def test_a_search_of_few_ways_is_of_the_same_case(example, tmp_path, monkeypatch):
    """WAYS=few changes nothing but the search; all of --quick would look for another text, with one seed."""
    for name in ("QUICK", "CORPUS", "RUNS", "DEPTH"):
        monkeypatch.delenv(name, raising=False)
    full = vars(example.Cell("DATA", str(tmp_path)))
    monkeypatch.setenv("WAYS", "few")
    few = vars(example.Cell("DATA", str(tmp_path)))
    assert full.pop("ways") == "all" and few.pop("ways") == "few" and full == few
    monkeypatch.delenv("WAYS")
    monkeypatch.setenv("QUICK", "1")
    assert example.Cell("DATA", str(tmp_path)).ways == "few"


def test_the_search_has_the_ways_that_are_asked_for(example, tmp_path, monkeypatch):
    from lemtools.train import storing

    asked = []
    monkeypatch.setattr(example, "searched", lambda cell, path, ways: asked.append(ways) or {"ways": {}, "ends": ""})
    for ways in ("all", "few"):
        monkeypatch.setenv("WAYS", ways)
        monkeypatch.setenv("RUNS", "1")
        cell = example.Cell("DATA", str(tmp_path / ways))
        cell.out.mkdir(parents=True)
        (cell.out / "full-0.safetensors").touch()
        example.seeds(cell, "full")
    assert asked[0] is storing.WAYS and len(asked[1]) < len(asked[0])


@pytest.mark.parametrize(
    ("variables", "words", "says"),
    [
        ({"ARMS": "learned leaned"}, [], "ARMS leaned is none of full learned"),
        ({"CORPUS": "bible"}, [], "CORPUS bible is none of wikitext"),
        ({"VOCAB": "kmer:9"}, [], "VOCAB kmer:9: a number of tokens, bytes, or kmer:1 to kmer:8"),
        ({"RATIOS": "2 0"}, [], "RATIOS 0: a whole number, 1 or more"),
        ({"RUNS": "-1"}, [], "RUNS -1"),
        ({"WAYS": "some"}, [], "WAYS some is none of all few"),
        ({}, ["trian"], "stage trian is none of prepare train search table plot"),
    ],
)
def test_what_is_not_known_is_refused(example, variables, words, says, tmp_path, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert example.main(["DATA", str(tmp_path), *words]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_from_end_to_end_and_nothing_twice(example, tmp_path, monkeypatch):
    """Two seeds, with gates that let everything pass; the table of each arm is that of its own seed."""
    for name, value in (SMALL | {"QUICK": "1", "RUNS": "2", "ARMS": "pca random longer", "RATIOS": "8"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(example, "GATES", 1000)
    gate = tmp_path / "sitecustomize.py"
    gate.write_text("from lemtools.train import gates\ngates.GATES = {}\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    assert example.main(["DATA", str(tmp_path)]) == 0
    out = tmp_path / "markov-bytes"
    found = rows((out / "table.tsv").read_text().splitlines())
    assert {"entropy rate, exact", "full", "pca-8", "random-8", "longer-8"} < set(found)
    assert found["full"][1] == "2" and (out / "picture.png").exists()
    first, second = (json.loads((out / f"pca-8-{seed}.json").read_text()) for seed in (0, 1))
    assert len(second["ways"]["head"]) <= len(first["ways"]["head"]) and second["ends"] == ""
    from lemtools.nets.model import load

    tables = [load(str(out / f"{name}.safetensors")).meta for name in ("pca-8-0", "pca-8-1")]
    assert tables[0]["table"]["lost"] != tables[1]["table"]["lost"]
    times = {path: path.stat().st_mtime_ns for path in out.glob("*.safetensors")}
    (out / "random-8-1.json").unlink()
    assert example.main(["DATA", str(tmp_path), "train", "search"]) == 0
    assert (out / "random-8-1.json").exists()
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.safetensors")} == times


def test_an_arm_that_fails_is_named_and_not_tried_again(example, tmp_path, monkeypatch, capsys):
    for name, value in (SMALL | {"QUICK": "1", "ARMS": "full"}).items():
        monkeypatch.setenv(name, value)
    gate = tmp_path / "sitecustomize.py"
    gate.write_text("from lemtools.train import gates\ngates.GATES = {'never': lambda subject: (False, 'so it is')}\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    assert example.main(["DATA", str(tmp_path), "prepare", "train"]) == 0
    failed = tmp_path / "markov-bytes/full.failed"
    assert "never: so it is" in failed.read_text() and failed.read_text().count("\n") == 1
    monkeypatch.setattr(example, "called", None)  # it would be missed
    assert example.main(["DATA", str(tmp_path), "train"]) == 0
    monkeypatch.setenv("ARMS", "pca")
    assert example.main(["DATA", str(tmp_path), "train"]) == 2
    assert "full.failed: no table of it, of which pca-8 could be made" in capsys.readouterr().err


def test_a_seed_that_fails_leaves_the_others_of_its_arm_and_of_those_made_of_it(example, tmp_path, monkeypatch, capsys):
    for name, value in (SMALL | {"QUICK": "1", "RUNS": "2", "ARMS": "pca", "RATIOS": "8"}).items():
        monkeypatch.setenv(name, value)
    gate = tmp_path / "sitecustomize.py"
    gate.write_text(
        "from lemtools.train import gates\ngates.GATES = {'even': lambda subject: (subject.seed == 1, 'so it is')}\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    assert example.main(["DATA", str(tmp_path)]) == 0
    out = tmp_path / "markov-bytes"
    assert "seed 0: failed even: so it is" in (out / "full.failed").read_text()
    assert "seed 0: " in (out / "pca-8.failed").read_text() and "no such file" in (out / "pca-8.failed").read_text()
    found = rows((out / "table.tsv").read_text().splitlines())
    assert found["full"][1] == found["pca-8"][1] == "1" and not (out / "full-0.safetensors").exists()


def test_sizes_are_those_of_numbers_that_are_counted(report):
    found = rows(report.sizes())
    assert found["ratio 1"][1] == f"{50_000 * 4096 * 4 / 1e6:.1f}" and found["ratio 8"][3] == "27.7"  # 25.6 and 2.1
    assert found["ratio 64"][5] == f"{(50_000 * 64 + 64 * 4096) / 4 / 1e6:.1f}"


def test_the_script_wants_two_folders():
    done = subprocess.run(["bash", str(SCRIPT), "DATA"], capture_output=True, text=True)
    assert done.returncode == 2 and "usage: learned-encodings.sh DATA OUT" in done.stderr
