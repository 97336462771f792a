"""Residual vector quantisation: a vector as a few codes, a dense token; fit, encode, decode, report.

    x  ->  s = x, or x / |x| with a gain of its own  ->  z = directions (s - mean) / scale  ->  sum of S codes a group

The principal directions are dealt to G groups, each with S codebooks of K codes. A path of codes is found by beam
search (search.py), codebooks by k-means stage by stage and then together (learn.py); directions in which no code has
anything to say are left out of the file.

Loss of a vector with recall y:  |x - y|^2 / E + w (1 - cos(x - mean, y - mean)),  E the mean of |x - mean|^2, w `cosine`
(in the coordinates that are coded). The search and the codebooks follow its square (``Frame.targets``); the choice among
the last `beam` paths of each group, the others' standing, is by the loss itself.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..progress import steps
from ..signal import Layout, LemError, Tensor, Value
from ..stream.files import read_fitted, write_fitted
from . import fit as fitting
from . import learn
from .bound import verdict
from .frame import Frame, Vectors, checked_rows, row_blocks
from .report import report
from .search import beam_search, distance_tables, sum_codes

CHUNK = {"cpu": 512}  # vectors searched at a time, always as many (a product of fewer may round differently)
ELSEWHERE = 4096
ERRORS = 1 << 20  # on a CPU: of a stage, at a time; they stay in the cache
ZERO_BITS = 10  # from which a path is kept for the zero vector
LAYOUT = Layout(  # of the file
    {
        "groups": Value("whole", 1),
        "stages": Value("whole", 1, 256),
        "codes": Value("whole", 2, 1 << 16),
        "beam": Value("whole", 1, 4096),
        "cosine": Value("number", 0, 1e6),
        "samples": Value("whole", 0),
        "seed": Value("whole"),
        "zero": Value("flag", needed=False),
        "whiten": Value("flag"),
        "energy": Value("number", 0, 1e300),
        "shrink": Value("number", 0, 1e6),
    },
    {
        "mean": Tensor("F32", "D"),
        "centre": Tensor("F64", "D"),
        "spectrum": Tensor("F64", "D", 0),
        "basis": Tensor("F32", "R D"),
        "scale": Tensor("F32", "R", 1e-30),
        "variance": Tensor("F32", "R", 0),
        "codebooks.*groups": Tensor("F32", "stages codes ?"),
        "gains": Tensor("F32", "?", needed=False),
    },
)


@dataclass
class RVQ:
    """A fitted quantiser. codebooks: for each of G groups float32 [S, K, W], W its coordinates. gains: None, or levels
    [L] of the gain. spectrum: float64 [D], variances of the vectors it was fitted to, descending. centre: float64 [D],
    their mean. beam, cosine: how it encodes. samples: vectors that the codebooks were fitted to. zero: all codes 0 are
    kept for the zero vector."""

    frame: Frame
    codebooks: list[torch.Tensor]
    gains: torch.Tensor | None
    spectrum: np.ndarray
    centre: np.ndarray
    beam: int
    cosine: float
    samples: int
    seed: int
    zero: bool = True
    device: str = "cpu"

    def __post_init__(self):
        self.to(self.device)

    def to(self, device: str) -> RVQ:
        self.device, self.frame = device, self.frame.to(device)
        self.gains = None if self.gains is None else self.gains.to(device)
        self.set_codebooks([c.to(device).contiguous() for c in self.codebooks])
        return self

    groups = property(lambda self: len(self.codebooks))
    stages = property(lambda self: self.codebooks[0].shape[0])
    codes = property(lambda self: self.codebooks[0].shape[1])
    dims = property(lambda self: self.frame.basis.shape[1])

    @property
    def levels(self) -> list[int]:
        """How many values each column of the codes takes: the first stage of all groups, the second, …; the gain."""
        return [self.codes] * (self.groups * self.stages) + ([] if self.gains is None else [len(self.gains)])

    @property
    def bits(self) -> float:
        """Bits a vector: sum of log2 of `levels`."""
        return sum(math.log2(n) for n in self.levels)

    @property
    def dtype(self) -> np.dtype:
        """Of the codes: uint8 or uint16."""
        return np.dtype(np.uint8 if max(self.levels) <= 256 else np.uint16)

    @classmethod
    def fit(
        cls,
        vectors: Vectors,
        *,
        stages: int = 4,
        codes: int = 1024,
        groups: int = 1,
        beam: int = 16,
        cosine: float = 0.0,
        gain_shape: bool = False,
        gains: int = 16,
        whiten: bool = False,
        seed: int = 0,
        device: str = "cpu",
        samples: int | None = None,
        updates: int = learn.UPDATES,
    ) -> RVQ:
        """vectors: [N, D], or a callable that yields batches [n, D] afresh at every call (it is read twice: for the
        moments of all, and for a sample).

        stages x groups codes a vector, of log2(codes) bits each; beam: paths kept in the search (at most 8 in the
        fit). cosine: weight w of the loss. gain_shape: code |x| apart, in one of `gains` levels, and x / |x| by the
        stages. whiten: every direction counts alike, none is left out. samples: vectors that the codebooks are fitted
        to, drawn evenly from all (default 64 a code, at least 65,536 or 2^25 numbers). updates: of all stages together, once k-means
        has made one after the other. Zero vectors are left out, and coded exactly: all codes 0 are kept for them, unless
        there were none and a vector has less than ZERO_BITS bits.
        LemError: NaN or infinity, fewer vectors than codes, settings out of range, D not a multiple of groups.
        """
        settings = {"stages": stages, "codes": codes, "groups": groups, "beam": beam, "cosine": cosine, "gains": gains}
        gains = min(gains, codes)
        with torch.no_grad():
            whole, coded, seen = fitting.read_moments(vectors, device, gain_shape)
            if not whole.count:
                raise LemError("no vectors to fit to (zero vectors do not count)")
            fitting.check_settings(len(whole.origin), whole.count, **settings | {"gains": gains})
            frame = Frame.of(coded, groups * stages * math.log2(codes), groups, whiten).to(device)
            count = max(samples or max(64 * codes, min(1 << 16, fitting.SPACE // len(frame.scale))), codes)
            z, energy = fitting.sample(vectors, frame, count, gain_shape, device, seed)
            generator = torch.Generator().manual_seed(seed)
            order = torch.randperm(len(z), generator=generator)
            weight, factor = (v.to(device) for v in frame.targets(energy[order], cosine))
            how = {"stages": stages, "codes": codes, "beam": beam, "updates": updates, "generator": generator}
            books = []
            for part, variance in steps(list(zip(frame.split(z), frame.variance.split(frame.widths))), "groups"):
                target = part[order].to(device) * factor[:, None]
                books.append(learn.Learner(target, weight, variance, **how).learn())
            if not whiten:
                kept = [learn.used(book) for book in books]
                frame, books = frame.narrow(kept), [book[:, :, k] for book, k in zip(books, kept)]
            spectrum = np.sort(np.maximum(np.linalg.eigvalsh(whole.covariance.cpu().numpy()), 0))[::-1].copy()
            mean = whole.mean.cpu().numpy()
            zero = whole.count < seen or groups * stages * math.log2(codes) >= ZERO_BITS
            made = cls(frame, books, None, spectrum, mean, beam, float(cosine), len(z), seed, zero, device)
            if gain_shape:
                made.fit_gains(vectors, gains)
            return made

    @torch.no_grad()
    def fit_gains(self, vectors: Vectors, levels: int) -> None:
        """Choose the levels of the gain, by the first blocks of vectors [N, D]."""
        first = [x for _, x in zip(range(16), (checked_rows(b, self.device) for _, b in row_blocks(vectors)))]
        x = torch.cat([x[(x != 0).any(1)] for x in first])
        self.gains = torch.ones(1, device=self.device)  # the shape is coded apart from now on
        shape = self._recall(self._search(self._shape(x)))
        best = (x * shape).sum(1) / shape.square().sum(1).clamp_min(1e-30)
        generator = torch.Generator().manual_seed(self.seed)
        self.gains = fitting.gain_levels(best[best > 0], levels, generator).to(self.device)

    def targets(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of vectors [N, D] (the coordinates [N, R] that a recall should meet, weight [N] of its squared error: 0 for
        zero vectors)."""
        z, energy = self.frame.coordinates(self._shape(x))
        weight, factor = self.frame.targets(energy, self.cosine)
        return z * factor[:, None], weight * (x != 0).any(1)

    def set_codebooks(self, codebooks: list[torch.Tensor]) -> None:
        """Take other codebooks of the same shapes."""
        self.codebooks, self._tables = codebooks, [distance_tables(c) for c in codebooks]

    def _shape(self, x: torch.Tensor) -> torch.Tensor:
        return x if self.gains is None else torch.nn.functional.normalize(x, dim=1)

    def _recall(self, codes: torch.Tensor) -> torch.Tensor:
        """[N, D] of codes [N, s, G], s <= S, without the gain."""
        parts = [sum_codes(book, codes[:, :, g]) for g, book in enumerate(self.codebooks)]
        return self.frame.back(torch.cat(parts, 1))

    def _search(self, shape: torch.Tensor, beam: int | None = None) -> torch.Tensor:
        """Codes int64 [N, S, G] of shapes [N, D]."""
        beam, cosine = beam or self.beam, self.cosine
        z, energy = self.frame.coordinates(shape)
        parts, found = self.frame.split(z), []
        factor = self.frame.targets(energy, cosine)[1][:, None] if cosine else 1.0
        for part, book, table in zip(parts, self.codebooks, self._tables):
            found.append(beam_search(part * factor, book, table, beam, beam if cosine else 1))
        if not cosine:
            return torch.stack([codes[:, 0] for codes, _ in found], 2)
        recalls = [t + (part * factor)[:, None] for part, (_, t) in zip(parts, found)]
        along = [(y * part[:, None]).sum(2) for y, part in zip(recalls, parts)]  # <y, z> of every path left
        length = [y.square().sum(2) for y in recalls]
        best = [(t.square().sum(2)).argmin(1, keepdim=True) for _, t in found]
        chosen = []
        for g, (codes, _) in enumerate(found):
            others = [h for h in range(self.groups) if h != g]
            p = along[g] + sum(along[h].gather(1, best[h]) for h in others)
            q = length[g] + sum(length[h].gather(1, best[h]) for h in others)
            loss = (q - 2 * p) / self.frame.energy - cosine * p / (q * energy[:, None]).clamp_min(1e-30).sqrt()
            best[g] = loss.argmin(1, keepdim=True)
            chosen.append(codes.gather(1, best[g][:, :, None].expand(-1, -1, self.stages))[:, 0])
        return torch.stack(chosen, 2)

    @torch.no_grad()
    def encode(self, x: np.ndarray | torch.Tensor, beam: int | None = None) -> np.ndarray:
        """Codes [N, S * G], and the gain's column where there is one: uint8 or uint16. x: [N, D], any float type.

        Where `zero`, a vector that is nearest to the path of all codes 0 takes another last code. The result does not depend on how the vectors are cut into batches. LemError for another width, NaN or infinity.
        """
        size = ELSEWHERE
        if torch.device(self.device).type == "cpu":
            size = min(max(1 << (ERRORS // ((beam or self.beam) * self.codes) | 1).bit_length() - 1, 16), 1024)
        return np.concatenate([self._codes(x[at : at + size], size, at, beam) for at in range(0, max(len(x), 1), size)])

    def _codes(self, block: np.ndarray | torch.Tensor, size: int, first: int, beam: int | None) -> np.ndarray:
        n, x = len(block), checked_rows(block, self.device, first, self.dims)
        x = torch.cat([x, x.new_zeros(size - n, self.dims)])
        shape, zero = self._shape(x), (x == 0).all(1)
        codes = self._search(shape, beam)
        taken = torch.nonzero((codes == 0).flatten(1).all(1) & ~zero & self.zero)[:, 0]
        if len(taken):
            book = self.codebooks[-1]
            left = self.frame.split(self.frame.coordinates(shape[taken])[0])[-1] - book[:-1, 0].sum(0)
            codes[taken, -1, -1] = 1 + torch.cdist(left, book[-1, 1:]).argmin(1)
        flat = codes.flatten(1)
        if self.gains is not None:
            recall = self._recall(codes)
            gain = (x * recall).sum(1) / recall.square().sum(1).clamp_min(1e-30)
            level = (gain[:, None] - self.gains).abs().argmin(1)  # nearest: the least squared error with this shape
            flat = torch.cat([flat, level[:, None]], 1)
        flat = torch.where(zero[:, None] & self.zero, 0, flat)[:n]
        return flat.cpu().numpy().astype(self.dtype)

    @torch.no_grad()
    def decode(self, codes: np.ndarray, stages: int | None = None) -> np.ndarray:
        """float32 [N, D] of codes as `encode` gives them. stages: of the first so many stages only (all the columns of
        the codes, or those of these stages: stage by stage they come first; not with a gain).

        LemError: another number of columns, or codes that are not there.
        """
        codes, use = np.asarray(codes), stages or self.stages
        if not 1 <= use <= self.stages or (stages is not None and self.gains is not None):
            raise LemError(
                f"this codebook has {self.stages} stages" + ", and a gain: decode all" * (self.gains is not None)
            )
        wide = (len(self.levels), use * self.groups)[codes.ndim == 2 and codes.shape[1] == use * self.groups]
        if codes.ndim != 2 or codes.shape[1] != wide or (stages is None and wide != len(self.levels)):
            raise LemError(f"codes of shape {list(codes.shape)}; this codebook's are [N, {len(self.levels)}]")
        if codes.dtype.kind not in "iu" or (
            codes.size and not (0 <= codes.min() and (codes.max(0) < self.levels[:wide]).all())
        ):
            raise LemError(
                f"codes must be integers from 0 to {self.codes - 1}; these are of another codebook, or damaged"
            )
        size = CHUNK.get(torch.device(self.device).type, ELSEWHERE)
        return np.concatenate([self._decoded(codes[at : at + size], use) for at in range(0, max(len(codes), 1), size)])

    def _decoded(self, codes: np.ndarray, use: int) -> np.ndarray:
        wide = torch.from_numpy(codes.astype(np.int64)).to(self.device)
        out = self._recall(wide[:, : use * self.groups].view(len(wide), use, self.groups))
        if self.gains is not None:
            out *= self.gains[wide[:, -1]][:, None]
        zero = (wide[:, : self.groups * self.stages] == 0).all(1) & self.zero
        if use < self.stages and wide.shape[1] <= use * self.groups:
            zero = torch.zeros_like(zero)  # the columns that mark a zero vector are not here
        return torch.where(zero[:, None], 0, out).cpu().numpy()

    def report(self, vectors: Vectors) -> dict[str, float]:
        """How well vectors, best such as it was not fitted to, are coded: ``report.report``."""
        return report(self, vectors)

    def verdict(self, cosine: float = 0.9) -> str | None:
        """A sentence where, by the bound, these settings cannot reach a cosine of `cosine`, and what could; or None."""
        extra = 0.0 if self.gains is None else math.log2(len(self.gains))
        return verdict(self.spectrum, self.stages, self.codes, self.groups, extra, cosine)

    def save(self, path: str | os.PathLike) -> None:
        """One safetensors file, whole or not at all."""
        write_fitted(os.fspath(path), {"v": 1, "encoder": "rvq", **self.card()}, self.tensors())

    @classmethod
    def load(cls, path: str | os.PathLike, device: str = "cpu") -> RVQ:
        """What `save` wrote, or lem-encode --encoder rvq --fit. LemError for any other file, or one that is not whole."""
        shown = os.fspath(path)
        record, tensors = read_fitted(shown, lambda record, found: LAYOUT)
        if record.get("encoder") != "rvq":
            raise LemError(f"{shown}: not a codebook of rvq")
        try:
            return cls.restore(record, tensors, device)
        except ValueError as error:
            raise LemError(f"{shown}: damaged ({error})") from error

    def tensors(self) -> dict[str, np.ndarray]:
        """What its file holds."""
        frame = self.frame
        out = {"mean": frame.mean, "basis": frame.basis, "scale": frame.scale, "variance": frame.variance}
        out |= {f"codebooks.{g}": c for g, c in enumerate(self.codebooks)}
        out |= {} if self.gains is None else {"gains": self.gains}
        return {k: v.cpu().numpy() for k, v in out.items()} | {"spectrum": self.spectrum, "centre": self.centre}

    def card(self) -> dict:
        """What its file says in words: JSON."""
        own = ("groups", "stages", "codes", "beam", "cosine", "samples", "seed", "zero")
        frame = ("whiten", "energy", "shrink")
        return {k: getattr(self, k) for k in own} | {k: getattr(self.frame, k) for k in frame}

    @classmethod
    def restore(cls, record: dict, tensors: dict[str, np.ndarray], device: str = "cpu") -> RVQ:
        """Inverse of `tensors` and `card`, which are as LAYOUT says. ValueError where they do not fit together."""
        t = {k: torch.from_numpy(np.array(v)) for k, v in tensors.items()}
        books = [t[f"codebooks.{g}"] for g in range(record["groups"])]
        if sum(book.shape[2] for book in books) != len(t["basis"]) or len(t.get("gains", [0])) < 1:
            raise ValueError("its tensors do not fit together")
        parts: list[Any] = [t[k] for k in ("mean", "basis", "scale", "variance")]
        parts += [[b.shape[2] for b in books], *(record[k] for k in ("energy", "shrink", "whiten"))]
        rest = [record[k] for k in ("beam", "cosine", "samples", "seed")] + [record.get("zero", True) is not False]
        return cls(Frame(*parts), books, t.get("gains"), tensors["spectrum"], tensors["centre"], *rest, device=device)
