"""K tokens as one vector: the encoder of a token autoencoder that lem-train token-ae made, and what it can be trusted with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from ..fragment import fragment
from ..nets.model import Model, load
from ..signal import LemError, Signal

BLOCK = 4096  # chunks at a time


class TokenAE:
    """tokens [N, L] to embeddings [N, L / K, D], the means of the latents, and back."""

    def __init__(self, model: Model, path: str = "the token autoencoder"):
        if model.family != "autoencoder":
            raise LemError(f"{path}: a model of {model.meta['recipe']}, not of lem-train token-ae")
        self.net, self.record = model.net, model.meta["net"]
        self.chunk, self.dims = self.net.chunk, self.net.latent

    @classmethod
    def load(cls, path: str, device: str = "cpu") -> TokenAE:
        """Read what lem-train token-ae wrote. Raises LemError for any other file."""
        return cls(load(path, device), path)

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def encode(self, signal: Signal) -> Signal:
        """Tokens [N, L] to an embedding [N, L / K, D], float32. A last chunk that is not whole is padded."""
        if signal.kind != "tokens":
            raise LemError(f"{signal.kind}, where a token autoencoder takes tokens")
        if signal.mask is not None:
            raise LemError("tokens with gaps; a token autoencoder takes whole ones")
        tokens = signal.data
        if int(tokens.max(initial=0)) >= self.net.vocabulary or int(tokens.min(initial=0)) < 0:
            raise LemError(f"token {int(tokens.max())}; this token autoencoder knows 0 to {self.net.vocabulary - 1}")
        n, length = tokens.shape
        places = -(-length // self.chunk)
        padded = np.full((n, places * self.chunk), self.net.vocabulary, np.int64)
        padded[:, :length] = tokens
        return replace(signal, kind="embedding", data=self.vectors(padded.reshape(-1, self.chunk)).reshape(n, places, -1))

    def decode(self, signal: Signal) -> Signal:
        """The likeliest tokens [N, L] of an embedding [N, L / K, D] or [L / K, D]; padding that all items end in is cut.

        Padding elsewhere, which only a damaged vector tells, comes back as token 0.
        """
        data = signal.data
        if signal.kind != "embedding" or data.shape[-1] != self.dims:
            shape = "x".join(map(str, data.shape[1:]))
            raise LemError(f"{signal.kind} of {shape}, where this token autoencoder takes embeddings of {self.dims}")
        n = len(data)
        found = self.tokens(data.reshape(-1, self.dims)).reshape(n, -1)
        pads = found == self.net.vocabulary
        tail = pads[:, -(self.chunk - 1) or found.shape[1] :].all(0)
        length = found.shape[1] - int(np.argmin(np.append(tail[::-1], False)))
        found = np.where(pads, 0, found)[:, : max(length, 1)]
        kind = np.uint8 if self.net.vocabulary <= 256 else np.int32
        return Signal("tokens", found.astype(kind), label=signal.label, names=signal.names, index=signal.index,
                      history=signal.history, last=signal.last)

    @torch.no_grad()
    def vectors(self, chunks: np.ndarray, device: str | torch.device | None = None) -> np.ndarray:
        """Chunks [M, K] to the means of their latents, float32 [M, D]; V pads."""
        self.net.to(device or self.device)
        found = [self.net.encode(part)[0].flatten(0, 1).cpu() for part in self._blocks(chunks)]
        return torch.cat(found).numpy() if found else np.zeros((0, self.dims), np.float32)

    @torch.no_grad()
    def tokens(self, vectors: np.ndarray) -> np.ndarray:
        """The likeliest tokens [M, K] of vectors [M, D]; V pads."""
        parts = (self.net.decode(part[:, None]).argmax(-1).cpu() for part in self._blocks(vectors.astype(np.float32)))
        return np.concatenate([part.numpy() for part in parts] or [np.zeros((0, self.chunk), np.int64)])

    def _blocks(self, rows: np.ndarray) -> Iterator[torch.Tensor]:
        for start in range(0, len(rows), BLOCK):
            part = np.ascontiguousarray(rows[start : start + BLOCK])
            yield torch.from_numpy(part.astype(np.int64) if part.dtype.kind in "iu" else part).to(self.device)


def recovered(ae: TokenAE, tokens: np.ndarray, noises: Sequence[float] = (0.1, 0.2, 0.3, 0.5),
              bits: Sequence[int] = (8, 4, 3), seed: int = 0) -> dict[str, float]:
    """Share of tokens [N, L] that come back: from the latents as they are, seen through noise, and quantised.

    noises: in units of the rms of the item's latents; bits: a latent, as lem-fragment --bits has them.
    """
    whole = ae.encode(Signal("tokens", tokens))
    flat = replace(whole, data=whole.data.reshape(-1, ae.dims), index=None)

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
