"""docs/python.md and the notebook: every block runs, in order, and prints what the page says."""

import contextlib
import io
import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from helpers.paths import ROOT

PAGE = (ROOT / "docs/python.md").read_text()
BLOCKS = re.findall(r"^```(python|text)\n(.*?)^```", PAGE, re.S | re.M)
NUMBER = re.compile(r"\d+\.\d+")


def run(code: str, names: dict) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "page", "exec"), names)
    return out.getvalue()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copy(ROOT / "lemtools/data/kodim23-384x256.png", tmp_path / "photo.png")
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 56, 3), np.uint8)).save(tmp_path / f"photos/{i:02}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_runs_and_prints_what_it_says(folder):
    names, printed, shown = {}, "", 0
    for sort, block in [*BLOCKS, ("python", "")]:
        if sort == "python":
            assert printed == "", "output that the page does not show"
            printed = run(block, names)
        else:
            assert NUMBER.sub("#", printed).split() == NUMBER.sub("#", block).split()
            for found, wanted in zip(NUMBER.findall(printed), NUMBER.findall(block)):
                assert float(found) == pytest.approx(float(wanted), rel=2e-3)
            printed, shown = "", shown + 1
    assert shown >= 7


def test_the_page_of_spectra_prints_what_it_says():
    page, names = (ROOT / "docs/spectra.md").read_text(), {}
    (_, code), (_, shown) = re.findall(r"^```(python|text)\n(.*?)^```", page, re.S | re.M)
    printed = run(code, names)
    assert NUMBER.sub("#", printed).split() == NUMBER.sub("#", shown).split()
    for found, wanted in zip(NUMBER.findall(printed), NUMBER.findall(shown)):
        assert float(found) == pytest.approx(float(wanted), rel=5e-3)
    made, words = re.search(r"^`(lemtools\..*?)` is the \*front end\*(.*?)^$", page, re.S | re.M).groups()
    front = eval(made, names)
    assert {name for name in re.findall(r"`(\w+)`", words) if hasattr(front, name)} == set(
        re.findall(r"`(.*?)`", words)
    )


def test_the_functions_of_the_table_are_those_of_the_library():
    import lemtools

    named = set(re.findall(r"^\| `(\w+)\(", PAGE, re.M))
    assert named == {"load", "save", "fit", *(set(lemtools.__all__) & set(os.listdir(ROOT / "lemtools")))}


def test_the_notebook_runs(folder):
    notebook = json.loads((ROOT / "examples/notebook.ipynb").read_text())
    assert notebook["nbformat"] == 4
    names = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            *head, last = "".join(cell["source"]).rstrip().split("\n")
            if last.startswith((" ", ")", "print(")) or " = " in last:
                printed = run("\n".join([*head, last]), names)
            else:  # what a notebook shows of a cell is its last line
                printed = run("\n".join(head), names)
                value = eval(last, names)
                assert value._repr_html_() and "\n" not in repr(value).split("metric")[0]
    assert len(names["back"].signal()) == 50 and names["table"]["psnr"] > names["baseline"]["psnr"]
    assert printed == ""
