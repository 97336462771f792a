"""K tokens as one vector: the encoder that lem-train token-ae made, and how much of the text comes back from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..device import pick
from ..fragment import fragment
from ..nets import build
from ..nets.model import bounded, described, filled, load
from ..signal import Layout, LemError, Signal
from ..signal.layout import Found
from .contract import Fitted

BLOCK = {"cpu": 256}  # chunks at a time, always as many (a product of fewer may round differently)
ELSEWHERE = 4096


class TokenAE(Fitted):
    """tokens [N, L] to embeddings [N, L / K, D], the means of the latents, and back. net: a nets.TokenAutoencoder."""

    name = "token-ae"

    def __init__(self, net: torch.nn.Module, record: dict):
        self.net, self.config = net.eval(), record
        self.chunk, self.dims = net.chunk, net.latent

    @classmethod
    def load(cls, path: str, device: str = "cpu") -> TokenAE:
        """Read what lem-train token-ae wrote. Raises LemError for any other file."""
        model = load(path, device)
        if model.family != "autoencoder":
            raise LemError(f"{path}: a model of {model.meta['recipe']}, not of lem-train token-ae")
        return cls(model.net, model.meta["net"])

    @classmethod
    def described(cls, record: dict, found: Found) -> Layout:
        if not isinstance(record.get("net"), dict) or record["net"].get("net") != cls.name:
            raise LemError("its record has no network of a token autoencoder")
        return Layout(tensors=described(bounded(record["net"], found)))

    @classmethod
    def restore(cls, record: dict, tensors: dict[str, np.ndarray]) -> TokenAE:
        return cls(filled(build(record["net"]), tensors), record["net"])

    @classmethod
    def fit(cls, signals, **settings):
        raise LemError("a token autoencoder is trained: lem-train token-ae --data TEXT -o AE.safetensors")

    def tensors(self) -> dict[str, np.ndarray]:
        return {k: v.cpu().numpy() for k, v in self.net.state_dict().items()}

    def card(self) -> dict:
        return {"net": self.config}

    def record(self, signal: Signal) -> dict:
        return {"fitted": True, "chunk": self.chunk, "length": int(signal.data.shape[1])}

    def to(self, device: str) -> TokenAE:
        self.net.to(pick(device))
        return self

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def encode(self, signal: Signal) -> list[Signal]:
        """Tokens [N, L] to one embedding [N, L / K, D], float32. A last chunk that is not whole is padded."""
        if signal.kind != "tokens":
            raise LemError(f"{signal.kind}, where a token autoencoder takes tokens")
        if signal.mask is not None:
            raise LemError("tokens with gaps; a token autoencoder takes whole ones")
        tokens = signal.data
        if int(tokens.max(initial=0)) >= self.net.vocabulary or int(tokens.min(initial=0)) < 0:
            bad = int(tokens.max()) if int(tokens.min()) >= 0 else int(tokens.min())
            raise LemError(f"token {bad}; this token autoencoder knows 0 to {self.net.vocabulary - 1}")
        n, length = tokens.shape
        places = -(-length // self.chunk)
        padded = np.full((n, places * self.chunk), self.net.vocabulary, np.int64)
        padded[:, :length] = tokens
        found = self.vectors(padded.reshape(-1, self.chunk)).reshape(n, places, -1)
        return [Signal("embedding", found, **_beside(signal))]

    def decode(self, signal: Signal, record: dict | None = None) -> list[Signal]:
        """The likeliest tokens [N, L] of an embedding [N, L / K, D], or [N, D] for a chunk each.

        L is what the record says, else as many as there are before the padding that every item ends in. Padding
        elsewhere, which only a damaged vector makes, comes back as token 0.
        """
        data = signal.data
        if signal.kind != "embedding" or data.shape[-1] != self.dims:
            shape = "x".join(map(str, data.shape[1:]))
            raise LemError(f"{signal.kind} of {shape}, where this token autoencoder takes embeddings of {self.dims}")
        found = self.tokens(data.reshape(-1, self.dims)).reshape(len(data), -1)
        pads = found == self.net.vocabulary
        length = (record or {}).get("length")
        if length is None:
            end = pads[:, found.shape[1] - self.chunk + 1 :].all(0)[::-1]
            length = found.shape[1] - int(np.argmin(np.append(end, False)))
        kind = np.uint8 if self.net.vocabulary <= 256 else np.int32
        depth = max((self.net.vocabulary - 1).bit_length(), 1)
        data = np.where(pads, 0, found)[:, :length].astype(kind)
        return [Signal("tokens", data, depth=None if depth == 8 else depth, **_beside(signal))]

    @torch.no_grad()
    def vectors(self, chunks: np.ndarray) -> np.ndarray:
        """Chunks [M, K] to the means of their latents, float32 [M, D]; V pads. However they are cut into batches."""
        found = [self.net.encode(part)[0].flatten(0, 1).cpu() for part in self._blocks(chunks)]
        return torch.cat(found)[: len(chunks)].numpy() if found else np.zeros((0, self.dims), np.float32)

    @torch.no_grad()
    def tokens(self, vectors: np.ndarray) -> np.ndarray:
        """The likeliest tokens [M, K] of vectors [M, D]; V pads."""
        parts = (self.net.decode(part[:, None]).argmax(-1).cpu() for part in self._blocks(vectors.astype(np.float32)))
        return np.concatenate([part.numpy() for part in parts] or [np.zeros((0, self.chunk), np.int64)])[: len(vectors)]

    def _blocks(self, rows: np.ndarray) -> Iterator[torch.Tensor]:
        size = BLOCK.get(self.device.type, ELSEWHERE)
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            whole = np.zeros((size, rows.shape[1]), np.int64 if rows.dtype.kind in "iu" else rows.dtype)
            whole[: len(part)] = part
            yield torch.from_numpy(whole).to(self.device)


def _beside(signal: Signal) -> dict:
    """What stays with the items."""
    return {k: getattr(signal, k) for k in ("label", "names", "index", "history", "last")}


def recovered(
    ae: TokenAE,
    tokens: np.ndarray,
    noises: Sequence[float] = (0.1, 0.2, 0.3, 0.5),
    bits: Sequence[int] = (8, 4, 3),
    seed: int = 0,
) -> dict[str, float]:
    """Share of tokens [N, L] that come back: from the latents as they are, seen through noise, and quantised.

    noises: in units of the rms of the item's latents; bits: a latent, as lem-fragment --bits has them.
    """
    (whole,) = ae.encode(Signal("tokens", tokens))
    flat = Signal("embedding", whole.data.reshape(-1, ae.dims))

    def share(data: np.ndarray) -> float:
        found = ae.tokens(data).reshape(len(tokens), -1)[:, : tokens.shape[1]]
        return float((found == tokens).mean())

    out = {"recovered": share(flat.data)}
    for sigma in noises:
        (noisy,) = fragment([flat], [{"op": "noise", "sigma": sigma}], seed)
        out[f"noise {sigma:g}"] = share(noisy.data)
    for depth in bits:
        (coarse,) = fragment([flat], [{"op": "bits", "bits": depth}], seed)
        out[f"{depth} bits"] = share(coarse.data)
    return out
