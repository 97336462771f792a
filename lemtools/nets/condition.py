"""A fragment as a network sees it.

N items; item: [C, H, W] of images, spectra and states, [C, L] of states along one axis, [D] or [L, D] of embeddings. Coordinates: those of a ``Scale``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch

from ..denoise.contract import Scale
from ..fragment.evidence import Evidence

FULL_RANGE = {"image": 2.0}  # full range of a value in coordinates; other kinds: two standard deviations either way
RANGE = 4.0
DEEPEST = 8.0  # bits from which on a value counts as known
EVIDENCE = tuple(part.name for part in fields(Evidence))


@dataclass
class Condition:
    """What is known of N items, in a network's coordinates.

    value [N, ...item]: the decoded value, 0 where it is lost. known [N, ...item] in [0, 1]: how many of 8 bits of a
    value are known, log2(range / width of its bin) / 8; 1 for an exact value, 0 for a lost one. low, high [N, ...item]:
    ends of the interval the value lies in (equal for an exact one, infinite for a lost one). sigma [N]: standard
    deviation of noise on what is observed. coarse: of a part of a larger image, the filled grid of cells of the whole
    (see conv.fill), else None. All float32, on one device.
    """

    value: torch.Tensor
    known: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    sigma: torch.Tensor
    coarse: torch.Tensor | None = None

    @classmethod
    def of(cls, evidence: Evidence, scale: Scale, kind: str, device: str | torch.device = "cpu") -> Condition:
        """The evidence of a batch in the coordinates of `scale` (number or per-element offset and gain; no basis).

        The evidence may hold tensors in place of arrays.
        """
        known = {name: torch.as_tensor(getattr(evidence, name), device=device) for name in EVIDENCE}
        value, low, high = (scale.encode(known[name]) for name in ("value", "low", "high"))
        gain, observed = scale.gain, known["observed"]
        if not isinstance(gain, (int, float)):  # (a number need not go to the device, which would wait for it)
            gain = torch.as_tensor(gain, dtype=torch.float32, device=device)
        bits = -torch.log2(known["width"] * abs(gain) / FULL_RANGE.get(kind, RANGE))
        depth = (bits / DEEPEST).clamp(0, 1)
        # noise has no one size where elements have different gains: its mean stands for it
        sigma = known["sigma"] * (abs(gain).mean() if isinstance(gain, torch.Tensor) else abs(gain))
        return cls(*(t.float() for t in (value * observed, depth * observed, low, high, sigma)))

    def __len__(self) -> int:
        return len(self.value)

    @property
    def observed(self) -> torch.Tensor:
        """bool, shaped like value: quantised values and exact ones."""
        return (self.low > -torch.inf) | (self.high < torch.inf)

    def each(self, function) -> Condition:
        """The same with function(tensor) applied to every field: indexing, moving, repeating."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: None if part is None else function(part) for name, part in parts.items()})

    def planes(self) -> torch.Tensor:
        """[N, C + 3, H, W], or [N, C + 3, L], for convolutions: the values, then observed, known (means over channels) and sigma."""
        observed = self.observed.to(self.value).mean(1, keepdim=True)
        sigma = self.sigma.reshape(-1, *[1] * (observed.ndim - 1)).expand_as(observed)
        return torch.cat([self.value, observed, self.known.mean(1, keepdim=True), sigma], 1)

    def vector(self) -> torch.Tensor:
        """[N, 3 D + 1] for products: the values, observed, known, sigma, each flattened."""
        parts = (self.value, self.observed.to(self.value), self.known, self.sigma[:, None])
        return torch.cat([p.reshape(len(self), -1) for p in parts], 1)

    def hold(self, x: torch.Tensor) -> torch.Tensor:
        """x with every element put into its interval; items seen through noise stay as they are."""
        free = (self.sigma > 0).reshape(-1, *[1] * (x.ndim - 1))
        return torch.where(free, x, torch.maximum(torch.minimum(x, self.high), self.low))
