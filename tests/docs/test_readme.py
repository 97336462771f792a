"""The README: its two set-up commands, its size, its example, and that its output is true."""

import re

from helpers.pages import blocks
from helpers.paths import ROOT

PAGE = ROOT / "README.md"
README = PAGE.read_text()


def test_the_two_commands_stand_alone():
    commands = re.findall(r"^    (pip install .*)$", README, re.M)
    assert commands == [
        "pip install . && lem-fragment --sample --bits 3 | lem-reconstruct > recalled.png",
        "pip install '.[test]' && pytest",
    ]


def test_it_stays_short():
    assert len(README.splitlines()) <= 200
    assert len(README.encode()) <= 14 * 1024


def test_it_shows_output_and_six_recipes():
    """What they print is compared, and whether they run is tested, in test_pages.py."""
    assert sum(command.shown for block in blocks(PAGE) for command in block) >= 3
    recipes = README.split("## Six recipes")[1].split("## ")[0]
    assert len(re.findall(r"\n\n    (?:\$ )?lem-", recipes)) == len(re.findall(r"[\d.]+ minutes\)", recipes)) == 6


def test_it_names_every_page_and_every_command():
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name}" in README, page.name
    for name in re.findall(r"^lem-\w+(?= = )", (ROOT / "pyproject.toml").read_text(), re.M):
        assert f"| `{name}` |" in README


def test_the_library_example_runs(tmp_path, monkeypatch, capsys):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for i in range(2):
        Image.new("RGB", (40, 30), (90 * i, 60, 200)).save(tmp_path / f"photos/{i}.png")
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", README, re.S)[1], {})
    out = capsys.readouterr().out
    assert "['0.png', '1.png'] (2, 3, 30, 40)" in out
    assert re.search(r"^psnr .* dB .* 2$", out, re.M)
