"""What the README shows is what its commands print."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import ROOT

README = (ROOT / "README.md").read_text()
NUMBER = re.compile(r"-?\d+\.\d+")


def shell(command: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def shown() -> list[tuple[str, list[str]]]:
    """Every `$ command` of the README and the lines under it."""
    blocks, lines = [], README.splitlines()
    for i, line in enumerate(lines):
        if line.startswith("    $ "):
            under = []
            for other in lines[i + 1 :]:
                if not other.startswith("    "):
                    break
                under.append(other[4:])
            blocks.append((line[6:], under))
    return blocks


def test_the_two_commands_stand_alone():
    commands = re.findall(r"^    (pip install .*)$", README, re.M)
    assert commands == [
        "pip install . && lem-fragment --sample --bits 3 | lem-reconstruct > recalled.png",
        "pip install '.[test]' && pytest",
    ]


def test_printed_output_is_true(tmp_path):
    (tmp_path / "lemtools").symlink_to(ROOT / "lemtools")
    shell("lem-fragment --sample --bits 3 | lem-reconstruct > recalled.png", tmp_path)
    blocks = shown()
    assert len(blocks) >= 2
    for command, lines in blocks:
        printed = shell(command, tmp_path).splitlines()
        assert [NUMBER.sub("#", line) for line in printed] == [NUMBER.sub("#", line) for line in lines]
        for found, said in zip(NUMBER.findall("\n".join(printed)), NUMBER.findall("\n".join(lines))):
            assert float(found) == pytest.approx(float(said), rel=2e-3)


def test_pipelines_of_the_readme_parse(tmp_path):
    from click import Context

    from lemtools.cli import compare, els, encode, fragment, info, reconstruct, train

    commands = {
        "lem-fragment": fragment,
        "lem-reconstruct": reconstruct,
        "lem-compare": compare,
        "lem-train": train,
        "lem-els": els,
        "lem-encode": encode,
        "lem-info": info,
    }
    count = 0
    for line in re.findall(r"^    (lem-.*)$", README, re.M):
        for stage in line.split("#")[0].split("|"):
            name, *words = shlex.split(re.split(r"\s*>\s*", stage)[0])
            cli = commands[name].cli
            context = Context(cli, info_name=name, **cli.context_settings)  # click keeps the help option of the first
            cli.parse_args(context, words)
            if name == "lem-train":
                assert all(map(train.operations, context.params["fragment"]))
            count += 1
    assert count >= 10


def test_the_library_example_runs(tmp_path, monkeypatch, capsys):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for i in range(2):
        Image.new("RGB", (40, 30), (90 * i, 60, 200)).save(tmp_path / f"photos/{i}.png")
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", README, re.S)[1], {})
    out = capsys.readouterr().out
    assert "['0.png', '1.png'] (2, 3, 30, 40)" in out
