"""Codes of the trained table of a language model: what an embedding that is made of one begins with.

Shapes: V vocabulary, W width, D numbers of a code.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from .. import codes
from ..catalogue.operations import QUANTISERS
from ..codes import trellis
from ..nets.embedding import Embedding
from ..nets.model import load
from ..signal import LemError
from ..vq.residual import RVQ
from ..vq.viterbi import searcher
from .corpus import Corpus

STEPS = 3000  # of an autoencoder's fit
ROWS = 4096  # of the table, in each of them
RATE = 1e-2


def read(path: str, text: Corpus, width: int) -> torch.Tensor:
    """The table [V, W] of a model of lem-train lm with a full embedding. LemError for another model, or one of another text's
    tokens."""
    model = load(path)
    net = model.meta["net"]
    if net["net"] != "lm" or net.get("embedding", "full") != "full":
        what = f"{net['net']} ({net['embedding']})" if "embedding" in net else net["net"]
        raise LemError(f"--table {path}: its network is {what}, where codes are made of lm's with a full embedding")
    table, lengths = model.net.enter.weight.detach(), model.net.lengths
    known = torch.ones(text.vocabulary) if text.lengths is None else torch.from_numpy(text.lengths).float()
    if len(table) != text.vocabulary:
        raise LemError(
            f"--table {path}: a table of {len(table)} tokens, where the text has {text.vocabulary}; give the same --codec"
        )
    if not torch.equal(lengths, known):
        raise LemError(
            f"--table {path}: its tokens stand for other bytes than those of the text; give the same --codec"
        )
    if not bool(table.isfinite().all()):
        raise LemError(f"--table {path}: NaN or infinite numbers")
    if table.shape[1] != width:
        raise LemError(f"--table {path}: vectors of {table.shape[1]}, where the network has {width}; give --width")
    return table


def centred(table: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """(rows [V, W] less the mean of the seen ones, over their spread; that mean [W]; the spread). The seen rows have a mean
    square of 1, so that a mean squared error of theirs is the share of the variance that is lost. LemError where they are
    alike."""
    rows = table[seen]
    mean = rows.mean(0)
    spread = float((rows - mean).double().square().mean().sqrt())
    if not spread:
        raise LemError("--table: codes of tokens that are all alike say nothing; give a text of more than one token")
    return (table - mean) / spread, mean, spread


def pca(embedding: Embedding, table: torch.Tensor, seen: torch.Tensor) -> dict[str, float]:
    """The principal components of largest variance: of all codes with an affine map behind them those that leave the
    smallest squared error (Eckart & Young 1936), over the rows of tokens that the text has.

    Returns {'lost': the share of the variance of those rows that the codes lose, 'flops': of the covariance and, by 9 W^3
    (Golub & Van Loan), its eigenvectors}.
    """
    every, mean, spread = centred(table.cpu().double(), seen)
    rows, width = every[seen], table.shape[1]
    _, vectors = torch.linalg.eigh(rows.T @ rows)
    basis = vectors.flip(-1)[:, : embedding.dims]
    basis = basis * basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()  # (eigenvectors have no sign)
    with torch.no_grad():
        embedding.weight.copy_(spread * every @ basis)
        embedding.up[0].weight.copy_(basis)
        embedding.up[0].bias.copy_(mean)
    return {"lost": lost(embedding, table, seen), "flops": 2.0 * len(rows) * width**2 + 9.0 * width**3}


def autoencoder(embedding: Embedding, table: torch.Tensor, seen: torch.Tensor) -> dict[str, float]:
    """The code in the middle of an autoencoder, fitted by Adam to the squared error of the same rows.

    The up-projection is its decoder; where that has a hidden layer, so has the encoder. Nothing is fitted where the encoder
    is to learn with the task (objectives.Joint). Returns the same as `pca`.
    """
    if embedding.coding == "joint":
        return {}
    encoder, decoder = embedding.encoder().to(table.device), embedding.decoder().to(table.device)
    every, mean, spread = centred(table, seen)
    rows, learnt = every[seen], [*encoder.parameters(), *decoder.parameters()]
    optimizer, count = torch.optim.Adam(learnt), min(ROWS, len(rows))
    for step in range(STEPS):
        some = rows if count == len(rows) else rows[torch.randint(len(rows), (count,)).to(rows.device)]
        loss = (decoder(encoder(some)) - some).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        optimizer.step()
    with torch.no_grad():
        decoder[-1].weight.mul_(spread)
        decoder[-1].bias.mul_(spread).add_(mean)
        embedding.weight.copy_(encoder(every))
        embedding.up.load_state_dict(decoder.state_dict())
    weights = sum(p.numel() for p in learnt if p.ndim == 2)
    return {"lost": lost(embedding, table, seen), "flops": 6.0 * weights * count * STEPS}


def scaled(embedding: Embedding, table: torch.Tensor, seen: torch.Tensor) -> dict[str, float]:
    """Every row by its rms, and its numbers by a quantiser for N(0, 1): one by one, or along a trellis (codes.trellis).

    Returns {'lost': as of `pca`}, and of a trellis 'flops' of its search.
    """
    kept = embedding.weight
    rows = table.cpu().numpy()
    kept.fill(*quantise(rows, kept.quantizer, kept.bits, str(table.device)))
    facts = {"lost": lost(embedding, table, seen)}
    return facts | ({"flops": searched(rows.shape, kept.bits)} if kept.quantizer == "trellis" else {})


def quantise(rows: np.ndarray, quantizer: str, bits: int, device: str = "cpu") -> tuple[np.ndarray, np.ndarray]:
    """(codes [N, D], scales [N]) of rows [N, D]. The codes are those of the rows over their rms; then the scale is the one
    with which they leave the least squared error, as a number of float16. A row of zeros has the scale 0."""
    op = {"bits": bits, "quantizer": quantizer, "domain": "gaussian"}
    wide = rows.astype(np.float64)
    rms = np.sqrt(np.square(wide).mean(1))
    search = searcher(device) if QUANTISERS[quantizer].joint else None
    found = codes.encode(rows, op | {"scale": rms}, search)
    plain = codes.decode(found, op | {"scale": np.ones(len(rows))}).astype(np.float64)
    best = (wide * plain).sum(1) / np.maximum(np.square(plain).sum(1), 1e-30)
    return found, np.where(rms > 0, best, 0).astype(np.float16).astype(np.float32)


def restored(found: np.ndarray, scale: np.ndarray, quantizer: str, bits: int) -> np.ndarray:
    """float32 [N, D] of codes and scales of `quantise`."""
    return codes.decode(
        found, {"bits": bits, "quantizer": quantizer, "domain": "gaussian", "scale": scale.astype(np.float64)}
    )


def searched(shape: tuple[int, ...], bits: int) -> float:
    """Operations of the search for codes of rows [N, T] along a trellis: a difference, a square and a sum for every state and
    sample, those around the seam twice."""
    count, length = shape
    return 3.0 * count * (length + 2 * min(trellis.SEAM, length // 2)) * 2 ** trellis.state_bits(bits, length)


def summed(embedding: Embedding, table: torch.Tensor, seen: torch.Tensor) -> dict[str, float]:
    """Sums of rows of codebooks, by a residual quantiser (vq.residual) fitted to the rows of tokens that the text has.

    Returns {'lost': as of `pca`}. LemError for fewer such rows than codes.
    """
    kept, rows = embedding.weight, table.cpu().numpy()
    stages, size, _ = kept.books.shape
    try:
        rvq = RVQ.fit(rows[seen.cpu().numpy()], stages=stages, codes=size, device=str(table.device))
    except LemError as error:
        raise LemError(f"--embedding rvq: {error}") from error
    kept.fill(rvq.encode(rows), books(rvq))
    return {"lost": lost(embedding, table, seen)}


def books(rvq: RVQ) -> torch.Tensor:
    """[S, K, W]: what the codes of each stage add to a vector; the mean is in those of the first."""
    frame = rvq.frame
    found = (rvq.codebooks[0] * frame.scale) @ frame.basis
    found[0] += frame.mean
    return found.half().float().cpu()


@torch.no_grad()
def lost(embedding: Embedding, table: torch.Tensor, seen: torch.Tensor) -> float:
    """The share of the variance of the seen rows of a table that the embedding's vectors lose."""
    rows = table[seen].cpu().double()
    error = embedding(seen.nonzero()[:, 0]) - rows
    return float(error.square().sum() / (rows - rows.mean(0)).square().sum())
