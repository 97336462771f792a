"""The man pages as text: their sections, and the lines of their examples."""

import importlib
import re
import shlex
import sys

from helpers.paths import ROOT

sys.path.insert(0, str(ROOT / "tools"))
completions, manpages = importlib.import_module("completions"), importlib.import_module("manpages")

COMMANDS = manpages.commands()
PAGES = [*sorted((ROOT / "man" / "man1").glob("*.1")), ROOT / "man" / "man7" / "lemtools.7"]


def source(name: str) -> str:
    return (ROOT / "man" / "man1" / f"{name}.1").read_text("utf-8")


def plain(text: str) -> str:
    """Roff escapes undone."""
    for escaped, char in ((r"\-", "-"), (r"\(aq", "'"), (r"\&", ""), (r"\e", "\\")):
        text = text.replace(escaped, char)
    return text


def section(text: str, title: str, macro: str = "Sh") -> str:
    """What stands under a heading, up to the next one."""
    found = re.search(rf"^\.{macro} {title}\n(.*?)(?=^\.S[hs] |\Z)", text, re.M | re.S)
    assert found, f"no section {title}"
    return found[1]


def examples(text: str) -> list[str]:
    bodies = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.M | re.S)
    return [plain(line) for body in bodies for line in body.splitlines()]


LINES = [(page.name, line) for page in PAGES for line in examples(page.read_text("utf-8"))]
LINES += [(f"{n} --help", line) for n, c in COMMANDS.items() for line in c.epilog.strip().splitlines()]


def stages(line: str) -> list[list[str]]:
    """The commands of a pipeline, redirections left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|><")
    lexer.whitespace_split = True
    out, skip = [[]], False
    for word in lexer:
        if word == "|":
            out.append([])
        elif word in (">", "<"):
            skip = True
        elif skip:
            skip = False
        else:
            out[-1].append(word)
    return out
