"""Results a line each in a file, so that a command that was stopped goes on where it was."""

import json
from pathlib import Path


def resumed(path: Path) -> list[dict]:
    """The lines of a file of results that are whole; the last one may have been cut off, and goes."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("}\n")]
    if whole != lines:
        path.write_text("".join(whole))
    return [json.loads(line) for line in whole]


def keep(path: Path, done: list[dict], one: dict) -> None:
    """One result more, in the list and in the file."""
    done.append(one)
    with open(path, "a") as file:
        file.write(json.dumps(one) + "\n")
