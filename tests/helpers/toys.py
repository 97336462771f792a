"""Asking the commands about a toy that is in the catalogue for a while."""

import re
import sys
from importlib import import_module
from pathlib import Path

from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
manpages = import_module("manpages")


def seen(tool: str, *words: str) -> tuple[str, str]:
    """(what `lem-<tool> words --help` prints, what the generator writes into its man page)."""
    command = import_module(f"lemtools.cli.{tool}").cli
    done = CliRunner().invoke(command, [*words, "--help"], terminal_width=200)
    assert done.exit_code == 0, done.output
    return done.output, manpages.block(command)


def shows(word: str, tool: str, *words: str) -> tuple[bool, bool]:
    """Whether help and man page name it, as a whole word."""
    whole = re.compile(rf"(?<!\w){re.escape(word.lstrip('-'))}(?!\w)")
    return tuple(whole.search(text.replace("\\-", "-")) is not None for text in seen(tool, *words))
