"""The pages of the documentation, and the commands that stand in them."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from helpers.commands import fronts
from helpers.paths import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
NUMBER = re.compile(r"(?<![\w.,])[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?\.?\d+(?:e-?\d+)?")


@dataclass
class Command:
    """A command of a page, with the output that the page shows for it: `$ command`, then its lines."""

    text: str
    shown: bool = False
    output: list[str] = field(default_factory=list)


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[list[Command]]:
    """The indented blocks of a page that hold commands, in their order."""
    found, block = [], []
    for line in [*page.read_text().splitlines(), ""]:
        if line.startswith("    $ "):
            block.append(Command(line[6:], shown=True))
        elif line.startswith("    ") and block and block[-1].shown:
            block[-1].output.append(line[4:])
        elif line.startswith("    ") and not line.startswith("     "):
            block.append(Command(line[4:]))
        elif block:
            found.append(block)
            block = []
    return found


SCRIPT = r"(?:[A-Z]+=(?:'[^']*'|\"[^\"]*\"|\S+) )*(?:python )?((?:examples|tests/benchmarks)/[\w/-]+\.(?:sh|py)|bench_\w+\.py)\b"


@dataclass
class Section:
    """From one heading of a page to the next."""

    heading: str
    level: int
    text: str
    commands: list[str]  # of lem- commands and scripts, in blocks and within lines
    numbers: list[str]  # the heads of tables of numbers, and the pictures


def sections(page: Path) -> list[Section]:
    found = []
    for text in re.split(r"(?m)^(?=#+ )", prose(page))[1:]:
        heading, _, rest = text.partition("\n")
        spans = [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`", rest)]
        lines = [re.sub(r"^ {4}(\$ )?", "", line) for line in rest.splitlines() if line.startswith("    ")]
        commands = [
            c for c in [*lines, *spans] if re.match(SCRIPT, c) or re.match(r"(torchrun .*)?lem-\w+ |python tools/", c)
        ]
        tables = re.findall(r"(?m)(?:^\|.*\n)+", rest)
        measured = [table.splitlines()[0] for table in tables if _measured(table)]
        pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", rest)
        level = len(heading) - len(heading.lstrip("#"))
        found.append(Section(heading, level, rest, commands, [*measured, *pictures]))
    return found


def _measured(table: str) -> bool:
    """Whether half of the cells beside the first column begin with a number."""
    cells = [cell.strip(" *") for row in table.splitlines()[2:] for cell in row.strip("|").split("|")[1:]]
    return sum(bool(re.match(r"[-+]?\.?\d", cell)) for cell in cells if cell) * 2 >= max(
        len([c for c in cells if c]), 1
    )


def prose(page: Path) -> str:
    """A page without its fenced code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)


def numbers(text: str) -> list[str]:
    return NUMBER.findall(text.replace("*", ""))


def shell(command: str, folder: Path, installed: bool = False, **env: str) -> str:
    """What a command prints, run by bash in a folder. installed: it runs what pip installed, else the fork server does."""
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(path if installed else fronts()), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout
