"""Where every pixel of a sample comes from: the training image, the place in it, and the weight.

A local machine's last answer is a mean over patches. Where one of them has most of the weight, the pixel can be traced
to it; a patch that many images hold, as of a black ground, points to none of them. Kamb & Ganguli's
Theorem 4.1: in a sample of a local machine, every pixel is the centre of that admissible training patch which is
nearest to the sample's own patch around it. `equal` says where that holds, to half a grey level.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from ..denoise.samplers import ddim
from ..els.bank import Bank
from ..els.posterior import Local
from ..signal import LemError, called
from ..stream import opened
from .resources import Resources
from .sample import reporting, start
from .show import picture

NEAREST = 1 - 1e-6  # alpha_bar at which the likeliest patch is the nearest one
HALF = 1 / 255 + 1e-6  # half a grey level in [-1, 1], of spectra 1/255 of their rms, and rounding
TRACED = 0.5  # weight of a patch that a pixel is traced to
PALE = 235  # colour of pixels that are not traced


@dataclass
class Origins:
    """Of S samples, numpy. sample [S, C, H, W] float32 in [-1, 1]; mosaic, the same of the likeliest patches' centres.
    image, row, column int32 [S, H, W]: these patches, image counted in the whole bank, and weight float32, their
    posterior weights. nearest_image, nearest_row, nearest_column: the patches nearest to the finished sample's, and
    equal bool [S, H, W]: their centres are the sample's pixels. seed int64 [S]."""

    seed: np.ndarray
    sample: np.ndarray
    mosaic: np.ndarray
    image: np.ndarray
    row: np.ndarray
    column: np.ndarray
    weight: np.ndarray
    nearest_image: np.ndarray
    nearest_row: np.ndarray
    nearest_column: np.ndarray
    equal: np.ndarray

    def __len__(self) -> int:
        return len(self.seed)

    def take(self, count: int) -> Origins:
        """The first samples."""
        return Origins(**{f.name: getattr(self, f.name)[:count] for f in fields(self)})

    def join(self, other: Origins) -> Origins:
        both = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return Origins(**{name: np.concatenate(parts) for name, parts in both.items()})

    def facts(self) -> list[dict[str, float]]:
        """Of each sample: `equal`, share of its pixels that are the centre of their nearest patch; `weight`, mean
        weight of the likeliest patch; `traced`, share of the pixels of which it is at least TRACED; `equal_traced`,
        share of these that are equal, NaN of none; `sources`, number of the training images that they come from."""
        return [
            {
                "equal": float(e.mean()),
                "weight": float(w.mean(dtype=np.float64)),
                "traced": float(t.mean()),
                "equal_traced": float(e[t].mean()) if t.any() else float("nan"),
                "sources": len(np.unique(i[t])),
            }
            for e, w, t, i in zip(self.equal, self.weight, self.traced, self.image)
        ]

    def lines(self) -> list[dict[str, float | str]]:
        """`facts` of each sample under its name, and their means, of those that are defined."""
        facts = self.facts()
        known = {key: [each[key] for each in facts if each[key] == each[key]] for key in facts[0]}
        means = {key: sum(v) / len(v) if v else float("nan") for key, v in known.items()}
        named = zip((*(f"seed-{seed}" for seed in self.seed), "mean"), (*facts, means))
        return [{"name": name, **each} for name, each in named]

    @property
    def traced(self) -> np.ndarray:
        """bool [S, H, W]"""
        return self.weight >= TRACED


def explain(
    machine: Local,
    bank: Bank,
    seeds: Sequence[int],
    levels: np.ndarray,
    resources: Resources,
) -> Iterator[Origins]:
    """Samples of a local machine over a bank (of one class, maybe), and their origins, batch by batch.

    The nearest patches are of the size that the machine takes at NEAREST.
    """
    for part in resources.batches(seeds):
        x = start(part, bank.item, resources.device, resources.shown)
        if len(levels) > 2:  # all steps but the last, which is asked for more than its answer
            x = ddim(machine, x, levels[:-1], callback=reporting(machine, part, len(levels) - 1, resources))
        last = machine.posterior(x, float(levels[-2]), track=True)
        sample = last.mean.float().cpu()
        resources.say(
            f"seeds {part[0]} to {part[-1]}, step {len(levels) - 1} of {len(levels) - 1}: origins; "
            f"skipping moves x0 by at most {2 * bank.moments[2] * float(last.skipped.max()):.2g}"
        )
        # Scales ends at the last step's size, so that these are patches of it
        nearest = machine.posterior(sample.to(resources.device), NEAREST, track=True).best
        mosaic, centres = (_centres(bank, best) for best in (last.best, nearest))
        equal = np.abs(centres - sample.numpy()).max(1) <= HALF
        yield Origins(
            np.array(part, np.int64),
            sample.numpy(),
            mosaic.astype(np.float32),
            *_places(bank, last.best),
            last.weight.float().cpu().numpy(),
            *_places(bank, nearest),
            equal,
        )


def _split(bank: Bank, best: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of pixels as (image counted in this bank, row, column)."""
    _, height, width = bank.item
    best = best.cpu().numpy()
    return best // (height * width), best // width % height, best % width


def _places(bank: Bank, best: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image, row, column = _split(bank, best)
    return bank.index[image].astype(np.int32), row.astype(np.int32), column.astype(np.int32)


def _centres(bank: Bank, best: torch.Tensor) -> np.ndarray:
    """The pixels [S, C, H, W] that the numbers name, in coordinates."""
    image, row, column = _split(bank, best)
    used, place = np.unique(image, return_inverse=True)
    rows = bank.store.rows(used).numpy()  # [M, C, H, W]
    return np.moveaxis(rows[place.reshape(image.shape), :, row, column], -1, 1)


def table(origins: Origins, bank: Bank) -> dict[str, np.ndarray]:
    """All of it as named arrays: the fields of ``Origins``; `source`, the numbers of the images that gave pixels, and
    their names, where the bank has names, as `source.names.utf8` and `source.names.offsets`; of spectra `row.hz` and
    `column.ms`, the frequency of each row, where rows are frequencies, and the time of each column."""
    arrays = {f.name: getattr(origins, f.name) for f in fields(origins)}
    arrays["equal"] = arrays["equal"].astype(np.uint8)
    arrays["source"] = np.unique(origins.image).astype(np.int64)
    if bank.names is not None:
        names = [bank.names[i].encode("utf-8", "surrogateescape") for i in arrays["source"]]
        arrays["source.names.utf8"] = np.frombuffer(b"".join(names), np.uint8)
        arrays["source.names.offsets"] = np.cumsum([0, *map(len, names)], dtype=np.int64)
    if bank.front is not None and bank.front.shape == tuple(bank.item[1:]):
        with contextlib.suppress(LemError):  # rows of cepstra are no frequencies
            arrays["row.hz"] = np.asarray(bank.front.hz, np.float64)
        arrays["column.ms"] = 1000 * bank.front.frame_seconds * np.arange(bank.item[2])
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def is_table(path: str) -> bool:
    """Whether a file is such a table, written before."""
    try:
        with opened(path) as (_, header):
            return header.meta.get("tool") == "lem-els"
    except LemError:
        return False


def columns(origins: Origins, bank: Bank, most: int = 8, cell: int = 256) -> tuple[dict, dict]:
    """({caption: a picture a sample}, {caption: a note a sample}) of a sheet: each sample, its mosaic, the map of its
    sources, every training image in its own colour and pixels that are not traced pale, and the legend: the images
    that gave most pixels, framed in their colours.
    """
    out: dict[str, list] = {"sample": [], "mosaic of patches": [], "traced to": []}
    notes: dict[str, list[str]] = {name: [] for name in out}
    for k in range(1, most + 1):
        out[f"source {k}"], notes[f"source {k}"] = [], []
    for sample, mosaic, image, traced, facts in zip(
        origins.sample, origins.mosaic, origins.image, origins.traced, origins.facts()
    ):
        out["sample"].append(picture(sample, bank))
        out["mosaic of patches"].append(picture(mosaic, bank))
        out["traced to"].append(np.where(traced[..., None], colour(image), np.uint8(PALE)))
        notes["sample"].append(f"{100 * facts['equal']:.1f} % are a patch's centre")
        notes["mosaic of patches"].append(f"mean weight {facts['weight']:.3f}")
        notes["traced to"].append(
            f"{100 * facts['traced']:.1f} % to {facts['sources']} {called(bank.kind, facts['sources'])}"
        )
        source, count = np.unique(image[traced], return_counts=True)
        order = np.lexsort((source, -count))[:most]
        for k in range(most):
            known = k < len(order)
            number = source[order[k]] if known else 0
            out[f"source {k + 1}"].append(_framed(bank, number, cell) if known else None)
            name = bank.names[number] if known and bank.names is not None else f"{called(bank.kind, 1)} {number}"
            notes[f"source {k + 1}"].append(f"{100 * count[order[k]] / image.size:.1f} % {name}" if known else "")
    most = max(sum(p is not None for p in row) for row in zip(*[out[f"source {k + 1}"] for k in range(most)]))
    kept = ["sample", "mosaic of patches", "traced to", *(f"source {k + 1}" for k in range(most))]
    return {name: out[name] for name in kept}, {name: notes[name] for name in kept}


def colour(number: np.ndarray) -> np.ndarray:
    """A colour uint8 [..., 3] for every whole number: hues by the golden ratio, in three brightnesses."""
    number = np.asarray(number, np.int64)
    hue = (number * 0.6180339887498949) % 1
    value = 0.85 - 0.22 * (number // 2 % 3)
    wheel = np.abs((hue[..., None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    return np.rint(255 * value[..., None] * (0.25 + 0.75 * np.clip(wheel, 0, 1))).astype(np.uint8)


def _framed(bank: Bank, number: int, cell: int) -> np.ndarray:
    """A training image, by its number in the whole bank, enlarged, in a frame of its colour."""
    image = picture(bank.store.rows([int(number)]).numpy()[0], bank)
    image = np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image
    frame = max(2, cell // 24)
    factor = max(1, (cell - 2 * frame) // max(image.shape[:2]))
    image = image.repeat(factor, 0).repeat(factor, 1)
    page = np.empty((image.shape[0] + 2 * frame, image.shape[1] + 2 * frame, 3), np.uint8)
    page[:] = colour(number)
    page[frame:-frame, frame:-frame] = image
    return page
