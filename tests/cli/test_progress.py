"""What a command shows while it works: items of how many, loops within an item, the time left."""

from types import SimpleNamespace

import numpy as np
import pytest

from lemtools import progress
from lemtools.cli import run
from lemtools.cli.run import Session, Shown, amount, duration
from lemtools.media import load
from lemtools.restore.inpaint import inpaint
from lemtools.restore.smooth import dequantize


def test_levels_within_one_another():
    heard = []
    with progress.heard(lambda levels: heard.append((list(levels), progress.share(levels)))):
        for _ in progress.steps("ab", "letters"):
            list(progress.steps(range(2), "digits"))
    assert heard == [
        ([("letters", 0, 2)], 0.0),
        ([("letters", 0, 2), ("digits", 0, 2)], 0.0),
        ([("letters", 0, 2), ("digits", 1, 2)], 0.25),
        ([("letters", 1, 2)], 0.5),
        ([("letters", 1, 2), ("digits", 0, 2)], 0.5),
        ([("letters", 1, 2), ("digits", 1, 2)], 0.75),
    ]
    assert list(progress.steps("ab", "letters")) == ["a", "b"] and len(heard) == 6


def test_a_loop_that_breaks_off_leaves_nothing():
    with progress.heard(lambda levels: None), pytest.raises(ValueError, match="stop"):
        for _ in progress.steps("ab", "letters"):
            raise ValueError("stop")
    heard = []
    with progress.heard(lambda levels: heard.append(len(levels))):
        list(progress.steps("a", "letters"))
    assert heard == [1]


@pytest.mark.parametrize("method", ["inpaint", "smooth"])
def test_large_images_report(method):
    x, shares = np.random.default_rng(0).random((1, 40, 40), np.float32), []
    with progress.heard(lambda levels: shares.append(progress.share(levels))):
        if method == "inpaint":
            inpaint(x, x > 0.3)
        else:
            dequantize(np.floor(x * 8) / 8, np.floor(x * 8) / 8 + 0.1)
    assert len(shares) > 8 and min(shares) == 0 and max(shares) > 0.5


def shown(monkeypatch, terminal: bool, total: int | None) -> tuple[Shown, list, list]:
    clock, said = [0.0], []
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    session = Session("lem-x", False, False)
    monkeypatch.setattr(session, "note", said.append)
    return Shown(session, total, terminal), clock, said


def test_words(monkeypatch):
    shows, _, _ = shown(monkeypatch, True, 4)
    shows.count = 1
    assert shows.words([("rows", 5, 10)], 30.0) == "1 of 4 items, rows 5 of 10, 50 s left"
    shows.total = None
    assert shows.words([("rows", 5, 10)], 30.0) == "1 items, rows 5 of 10, 0.0333 a second"
    shows.count = 0
    assert shows.words([("rows", 5, 10)], 30.0) == "0 items, rows 5 of 10, 30 s left"
    shows.items = False
    assert shows.words([("updates", 5, 10)], 30.0) == "updates 5 of 10, 30 s left"


def test_without_a_terminal_a_line_a_minute(monkeypatch):
    shows, clock, said = shown(monkeypatch, False, 10)
    for clock[0] in (30.0, 59.0, 61.0, 100.0, 122.0):
        shows.count += 1
        shows.within([])
    assert said == ["3 of 10 items, 142 s left".replace("142 s", "2 min"), "5 of 10 items, 2 min left"]


@pytest.mark.parametrize(
    "seconds, text",
    [(0.034, "0.034 s"), (9.6, "9.6 s"), (40, "40 s"), (119, "119 s"), (150, "2 min"), (7300, "2 h"), (260000, "3 d")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_total_is_that_of_the_batches(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(run, "Shown", lambda *args: made.append(Shown(*args)) or made[-1])
    np.save(tmp_path / "x.npy", np.zeros((7, 2), np.float32))
    session = Session("lem-x", False, False)
    assert sum(map(len, session.progress(load(tmp_path / "x.npy", batch=3), lines=True))) == 7
    list(session.progress(load(tmp_path / "x.npy"), 4, lines=True))
    list(session.progress(iter([]), lines=True))
    assert [(shows.total, shows.count) for shows in made] == [(7, 7), (4, 7), (None, 0)]


def test_where_nobody_looks_nothing_is_counted():
    class Batches(list):
        @property
        def total(self):
            raise AssertionError("files are opened to count")

    assert list(Session("lem-x", True, False).progress(Batches("ab"), lines=True)) == ["a", "b"]


@pytest.mark.parametrize(
    ("number", "text"), [(517, "517 B"), (1234, "1.2 kB"), (1.2e8, "120 MB"), (3.44e12, "3.4 TB"), (5e17, "500 PB")]
)
def test_amounts(number, text):
    assert amount(number, "B") == text


def test_a_rest_is_counted_from_where_it_begins(monkeypatch):
    """A run that is resumed: 600 of 1000 steps are done when it begins."""
    shows, clock, _ = shown(monkeypatch, True, None)
    shows.items, shows.more = False, "loss 0.3"
    with progress.heard(shows.within):
        for step in progress.steps(iter(range(100)), "steps", 600, 1000):
            if step == 99:
                words = shows.words([("steps", 699, 1000)], 99.0)
    assert words == "steps 699 of 1000, 301 s left: loss 0.3".replace("301 s", "5 min")
