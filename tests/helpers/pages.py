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
