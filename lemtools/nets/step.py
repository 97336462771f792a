"""One token after another as one CUDA graph: the same as LM.said, of which a step of a small network is mostly waiting.

A graph does the same on the same tensors at every step. So its caches have all slots from the beginning, the place of the next
token is a tensor, and attention is masked behind it. Without CUDA it is computed so, too, but not captured: to be checked.
"""

from __future__ import annotations

import torch

from .lm import LM
from .transformer import Cache

WARM = 3  # steps before a capture, in which libraries make ready what may not be made within one


class Fixed(Cache):
    """Keys and values of all slots, filled up to a place [1] that several of them share."""

    def __init__(self, like: Cache, place: torch.Tensor):
        super().__init__(like.slots)
        self.place = place
        self.keys, self.values = torch.zeros_like(like.keys), torch.zeros_like(like.values)

    def fill(self, other: Cache) -> None:
        """Hold what another one holds."""
        self.keys[:, :, : other.used] = other.keys[:, :, : other.used]
        self.values[:, :, : other.used] = other.values[:, :, : other.used]

    def put(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys.index_copy_(2, self.place, k)
        self.values.index_copy_(2, self.place, v)
        return self.keys, self.values

    def places(self, count: int) -> torch.Tensor:
        return self.place

    def mask(self, count: int, device: torch.device) -> torch.Tensor:
        return (torch.arange(self.slots, device=device) <= self.place)[None]


class Step:
    """caches: of R rows, to begin with; on CUDA the step is captured, for these rows. Call it under inference_mode."""

    def __init__(self, net: LM, caches: list[Cache]):
        device = caches[0].keys.device
        self.net, self.slots, self.used = net, caches[0].slots, 0
        self.place = torch.zeros(1, dtype=torch.int64, device=device)
        self.fixed = [Fixed(cache, self.place) for cache in caches]
        self.token = torch.zeros(len(caches[0].keys), 1, dtype=torch.int64, device=device)
        self.graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            self._capture()
        self.begin(caches)

    def begin(self, caches: list[Cache]) -> None:
        """Go on from these, of as many rows."""
        self.used = caches[0].used
        self.place.fill_(self.used)
        for mine, theirs in zip(self.fixed, caches, strict=True):
            mine.fill(theirs)

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [R, 1, V] of the token after `tokens` [R, 1]; the next call writes over them. ValueError where there is no
        more room."""
        if self.used == self.slots:
            raise ValueError(f"{self.used + 1} positions; this network was made for {self.slots}")
        self.used += 1
        self.token.copy_(tokens)
        if self.graph is None:
            return self._step()
        self.graph.replay()
        return self.held

    def _step(self) -> torch.Tensor:
        said = self.net.said(self.token, self.fixed)
        self.place += 1
        return said

    def _capture(self) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM):
                self.place.zero_()
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        self.place.zero_()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.held = self._step()
        self.graph = graph
