"""Labels with times in files other than TextGrids: HTK's .lab, tables of begin, end and label, Emu's _annot.json, and a JSON of our
own, which keeps everything."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from ..catalogue import listed
from ..signal import LemError, Signal, Word
from .textgrid import Row, Tier

TICK = 1e7  # HTK's units a second: 100 ns
# what tiers of words are called, in lower case: by MFA and praatIO, by WebMAUS, by Emu
WORDS = ("words", "word", "ort", "ort-mau", "orthography")
_LAB = re.compile(r"\s*[\d.]+[ \t]+[\d.]+[ \t]+\S")
_HEADS = (("start", "begin", "onset", "xmin"), ("end", "offset", "xmax"), ("label", "text", "phone", "word"))


def lab(text: str) -> Tier:
    """HTK labels (The HTK Book, "Label files"): lines of begin and end in 100 ns, label, and perhaps a score; more is passed over.

    A label may be quoted. LemError, with the line, for anything else.
    """
    rows, scores = [], []
    for number, line in enumerate(text.split("\n"), 1):
        cells = _cells(line)
        if not cells:
            continue
        if cells[0] == "#!MLF!#":
            raise LemError("a master label file of HTK; split it into a .lab for each sound")
        if len(cells) < 3 or not (cells[0].isdecimal() and cells[1].isdecimal()):
            told = f"{line.strip()[:40]!r} is no begin and end in whole 100 ns, and a label"
            raise LemError(f"line {number}: {told}; seconds go into a table with a first row of begin, end and label")
        rows.append((float(cells[0]) / TICK, float(cells[1]) / TICK, cells[2]))
        scores.append(_score(cells[3]) if len(cells) > 3 else math.nan)
    known = bool(scores) and all(map(math.isfinite, scores))
    return Tier("lab", rows, scores if known else None)


def looks_like_lab(text: str) -> bool:
    """Whether a text may be HTK labels, by its first line: what has no magic is known by its name, too."""
    return _LAB.match(text) is not None


def _cells(line: str) -> list[str]:
    """The words of a line; one that begins with a quote ends with it."""
    found = re.finditer(r'"([^"]*)"(?!\S)|\S+', line)
    return [match[0] if match[1] is None else match[1] for match in found]


def _score(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def write_lab(rows: list[Row], scores: list[float] | None) -> str:
    """Lines of HTK, times rounded to 100 ns; a label that is empty or has spaces is quoted. LemError for times before 0."""
    lines = []
    for i, (begin, end, text) in enumerate(rows):
        if begin < 0:
            raise LemError(f"{text!r} begins at {begin:g} s, and HTK's times at 0; write json")
        if '"' in text or "\n" in text or "\r" in text:
            raise LemError(f"{text!r}: a label that a .lab does not hold; write json or textgrid")
        label = f'"{text}"' if len(text.split()) != 1 or text != text.strip() else text
        score = "" if scores is None else f" {scores[i]:.9g}"
        lines.append(f"{round(begin * TICK)} {round(end * TICK)} {label}{score}\n")
    return "".join(lines)


def table(text: str) -> Tier | None:
    """A table between tabs, commas or semicolons whose first row names columns for begin and end (in seconds) and label, as of
    _HEADS; None for any other text. LemError, with the line, where a row has no such times."""
    head, _, body = text.partition("\n")
    mark = next((mark for mark in "\t;," if mark in head), None)
    if mark is None:
        return None
    names = [name.strip().strip('"').lower() for name in head.rstrip("\r").split(mark)]
    places = [next((names.index(word) for word in words if word in names), None) for words in _HEADS]
    if None in places:
        return None
    begin, end, label = (place for place in places if place is not None)
    rows = []
    for number, line in enumerate(body.split("\n"), 2):
        if not line.strip():
            continue
        cells = line.rstrip("\r").split(mark)
        try:
            rows.append((float(cells[begin]), float(cells[end]), cells[label].strip()))
        except (IndexError, ValueError) as error:
            told = f"no {names[begin]}, {names[end]} and {names[label]}"
            raise LemError(f"line {number}: {told}; times are seconds with a decimal point") from error
    return Tier("labels", rows)


def emu(record: dict[str, Any]) -> list[Tier] | None:
    """The levels of segments of an annotation of Emu (_annot.json: Winkelmann et al. 2017), and that of the words, which last over
    the segments that they are linked to; None for another JSON object.

    A segment lasts from its sampleStart over sampleDur + 1 samples; older files have sampleDur itself: one that ends within a
    sample of where the next one begins lasts to there. LemError where it is damaged.
    """
    if not {"levels", "sampleRate"} <= record.keys():
        return None
    try:
        rate, tiers, spans = float(record["sampleRate"]), [], {}
        for level in record["levels"]:
            if level["type"] == "SEGMENT":
                items = level["items"]
                begins = [int(item["sampleStart"]) for item in items]
                ends = [begin + int(item["sampleDur"]) + 1 for begin, item in zip(begins, items)]
                ends = [
                    at if abs(at - end) <= 1 else end for end, at in zip(ends, [*begins[1:], ends[-1] if ends else 0])
                ]
                rows = [(b / rate, e / rate, _said(item, level)) for b, e, item in zip(begins, ends, items)]
                tiers.append(Tier(str(level["name"]), rows))
                spans |= {item.get("id"): row[:2] for item, row in zip(items, rows)}
        words = [each for each in record["levels"] if each["type"] == "ITEM" and str(each["name"]).lower() in WORDS]
        linked = [Tier(str(level["name"]), _linked(level, record.get("links", []), spans)) for level in words]
        return [*tiers, *linked]
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise LemError(f"damaged annotation of Emu ({type(error).__name__}: {str(error)[:60]})") from error


def _said(item: dict[str, Any], level: dict[str, Any]) -> str:
    """The label of an item: that called Text, where a level has several, else that called as the level is."""
    found = {each["name"]: str(each["value"]) for each in item["labels"]}
    return found.get("Text", found.get(level["name"], ""))


def _linked(level: dict[str, Any], links: list[dict[str, Any]], spans: dict[Any, tuple[float, float]]) -> list[Row]:
    """The items of a level that lead to segments, `spans` by their id, each with the first begin and the last end of these. What
    two of them share belongs to the first one."""
    above: dict[Any, list[Any]] = {}
    for link in links:
        above.setdefault(link["toID"], []).append(link["fromID"])

    def reached(place: int, latest: bool) -> dict[Any, float]:
        """For all that leads to a segment the least begin, or greatest end: the first that arrives, in that order."""
        found: dict[Any, float] = {}
        for id_, span in sorted(spans.items(), key=lambda pair: pair[1][place], reverse=latest):
            waiting = [id_]
            while waiting:
                if (here := waiting.pop()) not in found:
                    found[here] = span[place]
                    waiting += above.get(here, [])
        return found

    begins, ends = reached(0, False), reached(1, True)
    timed = [item for item in level["items"] if item.get("id") in begins]
    rows, at = [], -math.inf
    for begin, end, text in sorted((begins[item["id"]], ends[item["id"]], _said(item, level)) for item in timed):
        rows.append((max(begin, at), max(end, at), text))
        at = rows[-1][1]
    return rows


def parsed(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is; None for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def own(record: dict[str, Any]) -> tuple[list[Tier], dict[str, Any]] | None:
    """(tiers `phones` and `words`, {alphabet, history}) of a JSON of `write_own`; None for another JSON object."""
    if record.get("annotation") != 1:
        return None
    try:
        phones, words = record["phones"], record.get("words")
        rows = [(float(row["begin"]), float(row["end"]), _text(row["text"])) for row in phones]
        scores = [float(row["score"]) for row in phones] if phones and all("score" in row for row in phones) else None
        tiers = [Tier("phones", rows, scores)]
        if words is not None:
            tiers.append(Tier("words", [(float(w["begin"]), float(w["end"]), _text(w["text"])) for w in words]))
        facts = {"alphabet": _text(record.get("alphabet", "file")), "history": record.get("history", [])}
        if not (isinstance(facts["history"], list) and all(isinstance(entry, dict) for entry in facts["history"])):
            raise ValueError("history")
        return tiers, facts
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise LemError(f"damaged annotation ({type(error).__name__}: {str(error)[:60]})") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.20} is no text")
    return value


def write_own(item: Signal, rows: list[Row], scores: list[float] | None) -> str:
    """One item as JSON: its phones with their scores, its words, the name of its alphabet, and how it was made."""
    phones: list[dict[str, Any]] = [{"text": text, "begin": begin, "end": end} for begin, end, text in rows]
    for phone, score in zip(phones, scores or ()):
        if math.isfinite(score):
            phone["score"] = score
    record: dict[str, Any] = {"annotation": 1, "alphabet": item.alphabet.name if item.alphabet else "file"}
    record["phones"] = phones
    if item.words is not None:
        record["words"] = [Word(*word)._asdict() for word in item.words[0]]
    if item.history:
        record["history"] = item.history
    # a line a phone or word, so that two files can be told apart by eye
    lines = []
    for key, value in record.items():
        many = isinstance(value, list) and value
        body = "[\n  " + ",\n  ".join(json.dumps(each, ensure_ascii=False) for each in value) + "\n ]" if many else None
        lines.append(f" {json.dumps(key)}: {body or json.dumps(value, ensure_ascii=False)}")
    return "{" + ",\n".join(lines).lstrip() + "\n}\n"


def heads() -> str:
    """What the columns of a table of labels may be called, in a sentence."""
    return listed("/".join(words) for words in _HEADS)
