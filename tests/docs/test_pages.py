"""The documentation: what it shows is what the commands print, every command parses and runs, no number of 0.1.0 is lost."""

import argparse
import ast
import os
import re
import shlex
import shutil
from collections import Counter
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

import lemtools
from helpers.pages import PAGES, SCRIPT, Command, blocks, numbers, page_name, prose, sections, shell
from helpers.paths import ROOT
from lemtools.media import textgrid
from lemtools.stream import save_tensors

FLOAT = re.compile(r"-?\d+\.\d+")
COMMANDS = [(page, command) for page in PAGES for block in blocks(page) for command in block]
# What a training, and samples of a network by the hundred, take is shortened, by options behind those of the page.
# Everything else runs as it stands.
SHORT = {
    "lem-train feedforward": "--steps 2 --batch 4",
    "lem-train diffusion": "--steps 2 --batch 4 --width 8 --depth 1",
    "lem-train lm": "--steps 2 --batch 2 --context 32",
    "lem-train token-ae": "--steps 2 --batch 2",
    "lem-train rvq": "--steps 2",
    "lem-train translate": "--steps 2",
    "lem-train emulator": "--steps 2 --batch 4 --width 4 --depth 1",
    "lem-train frames": "--steps 2 --batch 4 --width 16 --depth 1",
    "lem-train thermalizer": "--steps 2 --batch 4 --width 8 --depth 1",
    "lem-thermalize --check": "--window 2 || [ $? = 1 ]",
    "lem-thermalize --report": "|| [ $? = 1 ]",
    "lem-train corrector": "--steps 2 --batch 4 --width 4 --depth 1",
    "lem-thermalize --prepare": "",
    "lem-thermalize --codebook codes.npy --window 2 --memory frames.safetensors --rows 64 tokens": "",
    "lem-thermalize": "--steps 3",
    "lem-els --bank digits.bank.safetensors --calibrate": "--seeds 1000 --sizes 3-5",
    "lem-els --bank digits.bank.safetensors --scales scales.txt --seeds": "--seeds 0-3",
    "lem-els --bank digits.bank.safetensors --scales scales.txt --against": "--seeds 0-1 --net-steps 5",
}
SLOW = {  # blocks that take more than some ten seconds of CPU, by words in them; all of a page's run in one folder
    "README.md": ["--seeds 0-9", "--preset quick"],
    "docs/cluster.md": ["lem-"],
    "docs/dreams-by-formula.md": ["lem-els"],
    "docs/embeddings-and-tokens.md": ["lem-"],
    "docs/recall.md": ["lem-"],
    "docs/text.md": ["lem-"],
    "docs/thermalize.md": ["lem-"],
    "docs/training.md": ["lem-"],
}


def is_slow(page: Path, block: list[Command]) -> bool:
    return any(words in command.text for words in SLOW.get(page_name(page), []) for command in block)


def runs(command: Command) -> bool:
    """Whether it is run here: pip, scripts over data sets and several GPUs are not."""
    return command.text.startswith(("lem-", "cd ")) and "…" not in command.text


def shortened(page: Path, command: str) -> str:
    more = next((more for words, more in SHORT.items() if command.startswith(words)), "")
    if more and page.name != "README.md":
        command = re.split(r"\s+# ", command)[0] + " " + more
    return command


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """Small stand-ins for the files that the pages name, and the files of the project that they name."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(64), np.arange(64))
    for name, count, shape in (("photos", 3, (40, 56, 3)), ("faces", 24, (16, 16)), ("digits", 12, (20, 20))):
        (folder / name).mkdir()
        for i in range(count):
            smooth = ramp[: shape[0], : shape[1]] * rng.uniform(1, 3) + rng.uniform(0, 60)
            values = np.stack([smooth] * 3, axis=-1) if len(shape) == 3 else smooth
            noisy = values + rng.normal(0, 3, values.shape)
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / name / f"{i:02}.png")
    shutil.copy(folder / "photos/00.png", folder / "photo.png")
    photo = Image.open(folder / "photo.png")
    mask = Image.new("L", photo.size)
    mask.paste(255, (10, 10, 30, 20))
    photo.save(folder / "damaged.png")
    mask.save(folder / "mask.png")
    photo.putalpha(mask.point(lambda value: 255 - value))
    photo.save(folder / "scratched.png")
    shutil.copy(ROOT / "lemtools/data/rooster.flac", folder)
    (folder / "sounds").mkdir()
    for i in range(8):
        soundfile.write(folder / f"sounds/{i}.wav", rng.uniform(-0.5, 0.5, 4800), 8000)
    shutil.copy(folder / "sounds/0.wav", folder / "sound.wav")
    (folder / "speech").mkdir()
    rows = ["name\temotion\tspeaker\tsex\tsentence"]
    for i in range(24):
        t, pitch = np.arange(8000) / 8000, 120 + 15 * (i // 6) + 40 * (i % 2)
        tone = sum(np.sin(2 * np.pi * k * pitch * t) / k for k in range(1, 20)) * (0.1 + np.sin((9 + i % 5) * t) ** 2)
        soundfile.write(folder / f"speech/{i}.wav", 0.2 * tone + rng.normal(0, 1e-3, 8000), 8000)
        rows.append(f"{i}\t{('neutral', 'joy')[i % 2]}\ts{i // 6}\t{'fm'[i // 6 % 2]}\tt{i % 3}")
    (folder / "labels.tsv").write_text("\n".join(rows) + "\n")
    for name, count in (("vectors", 300), ("train", 300), ("held", 100)):
        vectors = rng.normal(size=(count, 32)) / np.sqrt(np.arange(1, 33))
        np.save(folder / f"{name}.npy", vectors.astype(np.float32))
    people = rng.normal(size=(3, 100, 1))
    np.save(folder / "brains.npy", np.abs(people - people.swapaxes(1, 2)))
    phase = np.arange(64) / 5 + np.arange(32)[:, None, None] / 4 + rng.uniform(0, 6, (64, 1))
    states = np.sin(phase).astype(np.float32).reshape(-1, 1, 64)  # 64 rows side by side
    np.save(folder / "states.npy", states)
    np.save(folder / "l96.npy", states[:, :, :40])
    np.save(folder / "start.npy", states[:64])
    np.save(folder / "true.npy", states[:-64])
    lemtools.save(lemtools.load(states, kind="field"), folder / "states.safetensors")
    lemtools.save(lemtools.load(states[:256], kind="field"), folder / "held.safetensors")
    lemtools.save(lemtools.load(rng.integers(0, 8, (320, 6)), kind="tokens"), folder / "frames.safetensors")
    lemtools.save(
        lemtools.load(states[64:256], kind="field"), folder / "solved.safetensors"
    )  # after 3 steps of 64 rows
    np.save(folder / "codes.npy", rng.normal(size=(8, 4)).astype(np.float32))
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    weights = {f"layers.{i}.weight": rng.normal(size=(16, 48)).astype(np.float32) for i in range(2)}
    save_tensors(str(folder / "model" / "model.safetensors"), weights, {})
    words = "to remember is to denoise and to forget is to add noise ".split()
    for name, count in (("book", 3000), ("held-out", 300)):
        (folder / f"{name}.txt").write_text(" ".join(rng.choice(words, count)))
    for name, shift in (("speech", 0.0), ("truth", 0.0), ("guess", 0.012)):
        times = np.cumsum([0.3 + shift, 0.08, 0.15, 0.1, 0.2])
        rows = [(0.0, times[0], ""), *((*pair, text) for pair, text in zip(pairwise(times), ("h", "ə", "l", "oʊ")))]
        (folder / f"{name}.TextGrid").write_text(textgrid.write([textgrid.Tier("phones", rows)]))
    for name in ("lemtools", "examples"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture
def folder(inputs, tmp_path) -> Path:
    """A folder of its own with the inputs in it; what is written there is not written to the project."""
    shutil.copytree(inputs, tmp_path / "here", symlinks=True)
    examples = tmp_path / "here/examples"
    examples.unlink()
    shutil.copytree(ROOT / "examples", examples)
    return tmp_path / "here"


def parameters() -> list:
    """Of every page its quick and its slow blocks, each in their order in one folder."""
    found = []
    for page in PAGES:
        for slow in (False, True):
            chosen = [block for block in blocks(page) if is_slow(page, block) == slow]
            if any(runs(command) for block in chosen for command in block):
                name = f"{page_name(page)} slow" if slow else page_name(page)
                found.append(pytest.param(page, chosen, id=name, marks=[pytest.mark.slow] * slow))
    return found


def test_commands_and_output_stand_in_the_pages():
    assert sum(command.shown for _, command in COMMANDS) >= 4
    assert sum(runs(command) for _, command in COMMANDS) >= 40
    for page, words in ((ROOT / name, words) for name, words in SLOW.items()):
        for word in words:
            assert any(word in command.text for block in blocks(page) for command in block), (page, word)


@pytest.mark.parametrize(("page", "parts"), parameters())
def test_every_command_runs_and_prints_what_the_page_says(page, parts, folder):
    if page.name == "README.md":
        shell("lem-fragment --sample --bits 3 | lem-reconstruct > recalled.png", folder, installed=True)
    assert any(runs(command) for block in parts for command in block)
    for block in parts:
        here = folder
        for command in filter(runs, block):
            if command.text.startswith("cd "):
                here = here / command.text[3:]
                continue
            env = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "0"}
            printed = shell(shortened(page, command.text), here, **env).splitlines()
            if command.shown:
                compare(printed, command.output)


def compare(printed: list[str], shown: list[str]) -> None:
    """The same lines, and the same numbers to two in a thousand; the version may be another one."""
    printed, shown = ([re.sub(r'"version": "[^"]+"', '"version"', line) for line in x] for x in (printed, shown))
    assert [FLOAT.sub("#", line) for line in printed] == [FLOAT.sub("#", line) for line in shown]
    for found, said in zip(FLOAT.findall("\n".join(printed)), FLOAT.findall("\n".join(shown)), strict=True):
        assert float(found) == pytest.approx(float(said), rel=2e-3)


def stages(command: str) -> list[list[str]]:
    """The words of every lem command of a line."""
    found = []
    for stage in re.split(r"\||;|&&|--no-python(?= lem-)", re.split(r"\s#\s", command)[0]):
        words = shlex.split(re.split(r"\s*>\s*", stage)[0])
        if words and re.fullmatch(r"lem-\w+", words[0]):
            found.append(words)
    return found


def parse(name: str, words: list[str]) -> None:
    from click import Context

    cli = import_module(f"lemtools.cli.{name.removeprefix('lem-')}").cli
    # click keeps the help option of the first call
    cli.parse_args(Context(cli, info_name=name, **cli.context_settings), list(words))


def test_every_command_parses():
    """Those within lines may leave out what is needed besides, not name what there is not."""
    from click.exceptions import BadOptionUsage, Exit, MissingParameter

    count = 0
    for page, command in COMMANDS:
        for name, *words in stages(command.text):
            try:
                parse(name, words)
            except Exception as error:
                raise AssertionError(f"{page_name(page)}: {command.text}") from error
            count += 1
    for page in PAGES:
        for command in (c for section in sections(page) for c in section.commands if "…" not in c):
            for name, *words in stages(command):
                try:
                    parse(name, [{"RECIPE": "feedforward", "K": "1", "N": "1"}.get(word, word) for word in words])
                except (MissingParameter, BadOptionUsage, Exit):
                    pass
                except Exception as error:
                    raise AssertionError(f"{page_name(page)}: {command}") from error
                count += 1
    assert count >= 100


DOCS = sorted((ROOT / "docs").glob("*.md"))
# the reader's own files, and what a script is told to make
OWN = {
    "pretrained.pt",
    "l96.npy",
    "l96.safetensors",
    "l96-fresh.npy",
    "recall-image.safetensors",
    "states.safetensors",
    "states.npy",
    "start.npy",
    "true.npy",
    "held.safetensors",
    "solved.safetensors",
}


@pytest.mark.parametrize("page", DOCS, ids=page_name)
def test_numbers_have_their_command(page):
    """In the section of every table of numbers and every picture, or in the one above it, stands a command. Where the
    page's opening holds one with NAME in it, the name in the heading will do."""
    above: dict[int, list[str]] = {}
    for section in sections(page):
        above = {level: commands for level, commands in above.items() if level < section.level}
        near = [*section.commands, *(above.get(section.level - 1, []) if section.level > 2 else [])]
        if name := re.search(r"`(\w+)`", section.heading):
            near += [c.replace("NAME", name[1]) for c in above.get(1, []) if "NAME" in c]
        assert near or not section.numbers, (section.heading, section.numbers)
        above[section.level] = section.commands


def test_every_command_of_a_script_parses():
    """Its flags by its own argparse, which is built again from its source and not run; every word that it takes for a
    name stands in the source; every file that it reads is in the tree, the reader's, or a placeholder in capitals."""
    count = 0
    for page in PAGES:
        for section in sections(page):
            for command in section.commands:
                if not (named := re.match(SCRIPT, command)):
                    continue
                script = ROOT / ("tests/benchmarks/" * named[1].startswith("bench_") + named[1])
                words = shlex.split(
                    command[named.end() :].replace("NAME", re.findall(r"`(\w+)`|$", section.heading)[0])
                )
                check_script(f"{page_name(page)}: {command}", script, words)
                count += 1
    assert count >= 25


@pytest.mark.parametrize("words", ["--tabels gaussian", "--tables Gauss", "--bits x", "--count"])
def test_a_command_that_is_wrong_is_found(words):
    check_script("right", ROOT / "tests/benchmarks/bench_bits.py", ["--tables", "gaussian", "--bits", "1", "2"])
    with pytest.raises(AssertionError, match="wrong"):
        check_script("wrong", ROOT / "tests/benchmarks/bench_bits.py", words.split())
    with pytest.raises(AssertionError, match="wrong"):
        check_script("wrong", ROOT / "examples/recall.sh", ["DATA", "kodac"])
    with pytest.raises(AssertionError, match="wrong"):
        check_script("wrong", ROOT / "examples/recall.sh", ["data/kodak.txt", "kodak"])


def check_script(where: str, script: Path, words: list[str]) -> None:
    assert script.exists(), where
    source = "".join(path.read_text() for path in family(script))
    if script.suffix == ".py" and "ArgumentParser(" in source:
        try:
            parser_of(source).parse_args(words)
        except SystemExit as error:
            raise AssertionError(where) from error
    for word in words:
        for part in word.split(","):
            if re.fullmatch(r"[A-Z]*|[\d.e-]+", part):
                continue
            if re.search(r"\.\w+$|/", part):
                assert part in OWN or (ROOT / part).exists(), (where, part)
            else:
                assert re.search(rf"(?<![\w-]){re.escape(part)}(?![\w-])", source), (where, part)


def parser_of(source: str) -> argparse.ArgumentParser:
    """The parser that a script makes in its source, without help."""
    parser, types = argparse.ArgumentParser(), {"int": int, "float": float}
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument":
            given = {k.arg: k.value for k in call.keywords if k.arg in ("type", "nargs", "action", "choices")}
            kind = given.pop("type", None)
            if any(isinstance(name, ast.Name) for name in call.args):  # flags that are made in a loop
                continue
            if isinstance(given.get("choices"), ast.Name):  # a table, of which the source alone does not say
                del given["choices"]
            kept = {name: ast.literal_eval(value) for name, value in given.items()}
            if isinstance(kind, ast.Name) and kind.id in types:
                kept["type"] = types[kind.id]
            parser.add_argument(*(ast.literal_eval(name) for name in call.args), **kept)
    return parser


def test_every_option_that_is_named_exists():
    """Of the commands, of a script of the project, of torchrun or of ruff."""
    known = {"--nproc-per-node", "--no-python", "--check"}
    for path in (ROOT / "completion/bash").iterdir():
        known |= set(re.findall(r"--[a-z][\w-]*", path.read_text()))
    for path in (
        *(ROOT / "tests/benchmarks").glob("*.py"),
        *(ROOT / "examples").rglob("*.py"),
        ROOT / "tests/fuzz/__main__.py",
        ROOT / "tools/mutants.py",
    ):
        known |= set(re.findall(r"--[a-z][\w-]*", path.read_text()))
    for page in PAGES:
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", prose(page)):
            assert option in known, (page_name(page), option)


def test_every_script_and_file_that_is_named_exists():
    for page in PAGES:
        text = prose(page)
        for name in re.findall(r"(?:examples|tests|lemtools|man|tools)/[\w./-]+\.\w+", text):
            assert (ROOT / name).exists(), (page_name(page), name)
        for name in re.findall(r"\b(bench_\w+\.py)", text):
            assert (ROOT / "tests/benchmarks" / name).exists(), (page_name(page), name)
        for variables, name in re.findall(r"((?:[A-Z]+=\S+ )+)(examples/[\w./-]+)", text):
            source = "".join(path.read_text() for path in family(ROOT / name))
            for variable in re.findall(r"([A-Z]+)=", variables):
                assert re.search(rf"\b{variable}\b", source), (page_name(page), variable, name)
    for script in (ROOT / "examples").rglob("*.sh"):
        assert os.access(script, os.X_OK), script


def family(script: Path) -> list[Path]:
    """A script and the Python file that it calls, which has its name with underscores."""
    python = script.with_name(script.stem.replace("-", "_") + ".py")
    return [path for path in dict.fromkeys((script, python)) if path.exists()]


def anchors(page: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=page_name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


@pytest.mark.parametrize("page", DOCS, ids=page_name)
def test_a_page_opens_with_its_question_and_the_answer(page):
    lines = page.read_text().splitlines()
    assert re.fullmatch(r"# .*\?", lines[0])
    opening = " ".join(page.read_text().split("\n\n")[1].split())
    assert re.match(r"\*\*[^*]+\?\*\* \S.*\.", opening), opening


def test_no_number_is_lost():
    """numbers.tsv holds every number of version 0.1.0's README: rows of its tables in order, and those of its prose."""
    wanted: dict[str, Counter] = {}
    for line in Path(__file__).with_name("numbers.tsv").read_text().splitlines():
        name, sort, found = line.split("\t")
        text = (ROOT / name).read_text()
        if sort == "row":
            rows = [numbers(row) for row in text.splitlines() if row.startswith("|")]
            assert found.split() in rows, (name, found)
        else:
            wanted.setdefault(name, Counter()).update(found.split())
    for name, counts in wanted.items():
        assert not counts - Counter(numbers((ROOT / name).read_text())), name
