"""Codebooks of embeddings, of files of any size: a residual quantiser, for lem-encode."""

from __future__ import annotations

import math

import numpy as np

from ...media import Reading
from ...media.repeat import check_apart
from ...rng import generator
from ...signal import LemError
from ...vq.frame import ROWS, checked_rows
from ...vq.residual import RVQ
from ..codebooks import Codebooks, Quantiser, Residual, blocks
from ..data import Items, Spec, View, held_out, load_items
from ..network import card
from ..run import Prepared
from ..settings import Settings

SAMPLE = 1 << 16  # vectors to begin with, or 64 a code
HELD = 10  # one item in so many is kept back,
MOST = 4096  # but no more vectors than these, or 16 a code


def codebooks(settings: Settings) -> Prepared:
    """Read, split, begin. Raises LemError for what does not go together."""
    check_apart(settings.data, settings.validate)
    chosen = settings.options
    items = whole(settings.data, settings.reading)
    learnt, kept = split(settings, items, max(MOST, 16 * chosen["codes"]))
    count = max(SAMPLE, 64 * chosen["codes"])
    rows = np.arange(len(learnt))
    if len(rows) > count:
        rows = np.sort(generator(settings.seed, 0, 0, "sample").permutation(len(rows))[:count])
    begin = dict(seed=settings.seed, device=settings.device, samples=count, updates=0)
    rvq = RVQ.fit(blocks(learnt, rows), **chosen, **begin)
    model = Quantiser(rvq, card(settings, {"net": "codebooks", **chosen}, "embedding", [rvq.dims]))
    spec, validation = (
        None if data is None else Spec(Items("embedding", data), settings.batch, settings.seed, [])
        for data in (learnt, kept)
    )
    fingerprint, note = settings.fingerprint(items), rvq.verdict()
    return Prepared(settings, model, Residual(rvq), spec, validation, fingerprint, Codebooks, note)


def whole(paths: list[str], how: Reading) -> Items:
    """Whole embeddings [N, D] or [N, L, D]; LemError for a vector that cannot be coded, by its number in the data."""
    items = load_items(paths, how)
    if items.kind != "embedding" or items.seen is not None:
        found = items.kind + " fragments" * (items.seen is not None)
        raise LemError(f"{', '.join(paths)}: rvq learns codebooks of whole embeddings, not {found}")
    vectors = items.data.reshape(-1, items.item[-1])
    try:
        for at in range(0, len(vectors), ROWS):
            checked_rows(vectors[at : at + ROWS], "cpu", at)
    except LemError as error:
        raise LemError(f"{', '.join(paths)}: {error}") from error
    return items


def split(settings: Settings, items: Items, most: int):
    """(vectors to learn from, vectors kept back or None), by the seed alone: items whole, of sequences all positions
    (neighbours resemble each other)."""
    vectors = items.data.reshape(-1, items.item[-1])
    if settings.validate:
        kept = whole(settings.validate, settings.reading)
        if kept.item[-1] != items.item[-1]:
            raise LemError(f"--validate: vectors of {kept.item[-1]} dimensions among those of {items.item[-1]}")
        return vectors, kept.data.reshape(-1, kept.item[-1])
    if settings.holdout == 0:
        return vectors, None
    each = math.prod(items.item[:-1])
    count = settings.holdout or max(1, min(len(items) // HELD, most // each))
    places = (part[:, None] * each + np.arange(each) for part in held_out(settings.seed, len(items), count))
    back, rows = (part.ravel() for part in places)
    return View(vectors, rows), vectors[back]
