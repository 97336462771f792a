"""Where the project and the data sets lie."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
DATA = Path(os.environ.get("LEM_DATA", ROOT.parent / "shared" / "data"))


def data_dir(name: str) -> Path:
    """Folder of a data set; the test is skipped, by that name, where it is absent."""
    path = DATA / name
    if not path.is_dir():
        pytest.skip(f"data set {name} is not here (LEM_DATA)")
    return path
