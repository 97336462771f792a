"""Patch sizes for every noise level, and the levels themselves: a list, low noise first, or the file that holds it.

A sampler of K steps calls its denoiser at t = i / K, i = K ... 1; sizes[i - 1] belongs to t = i / K. A file of scales
is text: lines that begin with # are comments; of every other line the first word is a size, the rest is for readers.
A size is one number, of a square, or ROWSxCOLUMNS. Of the comments one counts, where it is there: `# compat kamb` or `# compat none`, how the sizes were found.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..catalogue.denoisers import DENOISERS
from ..denoise import schedule
from ..denoise.how import How
from ..signal import LemError
from .plan import Size, check_size, rules

MOST = 1 << 20  # characters of a file of scales: a larger one is something else


@dataclass(frozen=True)
class Scales:
    """alpha_bar -> patch size, of the step that lies nearest. sizes: one a step, low noise first.

    shifted: every step takes the size of the one after it in noise, as the paper's released code reads its lists.
    """

    sizes: tuple[Size, ...]
    shifted: bool = False

    def __call__(self, alpha_bar: float) -> Size:
        steps = len(self.sizes)
        step = min(max(round(time(alpha_bar) * steps), 1), steps)
        return self.sizes[min(step + self.shifted, steps) - 1]


def time(alpha_bar: float) -> float:
    """t of the cosine schedule, its inverse."""
    return schedule.OFFSET * 2 / math.pi * math.acos(math.sqrt(min(max(alpha_bar, 0.0), 1.0)))


def levels(steps: int, kamb: bool = False) -> np.ndarray:
    """alpha_bar of a sampler of `steps` steps, rising to 1; kamb: without the noisiest, as in the released code."""
    if steps < 1 + kamb:
        raise LemError(f"a sampler needs at least {1 + kamb} steps, not {steps}")
    return schedule.grid(steps)[int(kamb) :]


def compat(kamb: bool) -> str:
    """The word of --compat."""
    return "kamb" if kamb else "none"


def parse_size(word: str) -> Size:
    """A size from '5' or '3x9', of 3 rows and 9 columns. Raises ValueError for another word."""
    if re.fullmatch(r"\d{1,9}(x\d{1,9})?", word) is None:
        raise ValueError(word)
    rows, _, columns = word.partition("x")
    return int(rows) if columns in ("", rows) else (int(rows), int(columns))


def parse_sizes(text: str, steps: int, kamb: bool = False) -> tuple[Size, ...]:
    """Sizes from '5' (every step), '3,3x9,5' (low noise first) or the name of a file.

    LemError for a wrong length, and for a file that says it was made with the other `kamb`, see ``study.Study``.
    """
    if re.fullmatch(r"\s*\d{1,9}(x\d{1,9})?\s*(,\s*\d{1,9}(x\d{1,9})?\s*)*", text):
        sizes, where = tuple(parse_size(word.strip()) for word in text.split(",")), "--scales"
        if len(sizes) == 1:
            return sizes * steps
    else:
        sizes, where = tuple(_file(text, compat(kamb))), text
    if len(sizes) != steps:
        raise LemError(f"{where}: {len(sizes)} sizes for {steps} steps; give one a step, or --steps {len(sizes)}")
    return sizes


def _file(path: str, asked: str) -> Iterable[Size]:
    if not os.path.exists(path):
        raise LemError(f"--scales {path}: neither a size, nor a list of sizes, nor a file that is there")
    with open(path, "rb") as file:
        raw = file.read(MOST + 1)
    try:
        lines = [line.split() for line in raw.decode("utf-8-sig").splitlines()] if len(raw) <= MOST else [[""]]
        sizes = [parse_size(words[0]) for words in lines if words and not words[0].startswith("#")]
    except ValueError:
        way = "a whole number, or two as in 3x9, at the head of every line"
        raise LemError(f"{path}: not a list of scales, which has {way}") from None
    if not sizes:
        raise LemError(f"{path}: holds no sizes")
    for made in (compat(False), compat(True)):
        if ["#", "compat", made] in lines and made != asked:
            way = f"give --compat {made}, calibrate again, or give the sizes as a list"
            raise LemError(f"{path}: found with --compat {made}, asked for with --compat {asked}; {way}")
    return sizes


def fitted_on(path: str | None) -> set[int]:
    """The seeds that a file of --calibrate says its sizes were found on; none for sizes from elsewhere."""
    if path is None or not os.path.isfile(path):
        return set()
    with open(path, "rb") as file:
        found = re.search(rb"^# machine .*\bseeds ([\d,]+)$", file.read(MOST), re.MULTILINE)
    return {int(seed) for seed in found[1].split(b",") if seed} if found else set()


def check(
    machines: Iterable[str], sizes: Iterable[Size], item: Sequence[int], how: How | None = None, unit: str = " px"
) -> None:
    """Raise LemError for a size that one of the machines does not allow on items (C, H, W). how: of it the equivariance
    and the padding. unit: of sizes."""
    how = how or How()
    for name in machines:
        for size in dict.fromkeys(sizes) if DENOISERS[name].local else ():
            check_size(rules(name, how.equivariance, how.padding), size, item[1], item[2], name, unit)


def allowed(machine: str, sizes: Iterable[Size], item: Sequence[int], how: How | None = None) -> list[Size]:
    """Those of the sizes that a machine takes on such items."""

    def fits(size: Size) -> bool:
        try:
            check([machine], [size], item, how)
        except LemError:
            return False
        return True

    return [size for size in sizes if fits(size)]
