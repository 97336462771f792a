"""A trained network as a denoiser by the project's contract, and what eps, x0 and v are to each other.

x_t = a x0 + b n, a^2 = alpha_bar, b^2 = 1 - alpha_bar. A network predicts eps = n, x0, or v = a n - b x0 (Salimans & Ho
2022, arXiv 2202.00512, appendix D).
"""

from __future__ import annotations

from contextlib import nullcontext

import torch

from ..denoise.contract import AlphaBar, Array, split, tensor, wide
from .condition import Condition
from .model import Model

LOWEST = 1e-4  # no schedule trains far below it: cosine (offset .008) ends at 1.6e-4, sigma = 80 (EDM) is 1.6e-4


def noisy(x0: torch.Tensor, noise: torch.Tensor, alpha_bar: float | torch.Tensor) -> torch.Tensor:
    """x_t = a x0 + b noise, [N, ...]; alpha_bar: one number or float64 [N], on any device."""
    a, b = _levels(alpha_bar, x0)
    return _as(a, x0) * x0 + _as(b, x0) * noise


def target(predicts: str, x0: torch.Tensor, noise: torch.Tensor, alpha_bar: float | torch.Tensor) -> torch.Tensor:
    """What a network that predicts 'eps', 'x0' or 'v' must answer at x_t = a x0 + b noise, [N, ...]."""
    if predicts == "v":
        a, b = _levels(alpha_bar, x0)
        return _as(a, x0) * noise - _as(b, x0) * x0
    return {"eps": noise, "x0": x0}[predicts]


def to_x0(predicts: str, output: torch.Tensor, x_t: torch.Tensor, alpha_bar: float | torch.Tensor) -> torch.Tensor:
    """x0 from a network's answer at x_t: (x - b eps)/a, the answer itself, or a x - b v; in the dtype of x_t.

    An error of eps is b/a times as large in x0, without limit towards alpha_bar = 0; x0 and v have no such end.
    """
    output = output.to(x_t.dtype)
    if predicts == "x0":
        return output
    a, b = _levels(alpha_bar, x_t)
    of_x, of_output = {"eps": (1 / a, -b / a), "v": (a, -b)}[predicts]
    return _as(of_x, x_t) * x_t + _as(of_output, x_t) * output


class NetworkDenoiser:
    """A denoiser ``(x_t, alpha_bar) -> E[x_0 | x_t]`` of a network of the family 'denoise'.

    model: the network and its scales; ``scale``, the coordinates of x_t and of the answer, is model.target_scale.
    condition: what a conditioned network is shown of the memory (its answer then is E[x_0 | x_t, fragment]).
    label: None, one class, or int64 [N], a negative one standing for none. A condition or labels of N items serve x_t
    of N M rows: M rows in succession for each item. clip: put answers of images into their range, [0, 1] before
    ``scale.encode``; the true mean lies there, so this moves no answer away from it. dtype: torch.bfloat16 runs the
    network under autocast. lowest: the smallest alpha_bar the network was trained for.

    alpha_bar = 1 returns x_t bit for bit. Below `lowest`, x_t is next to pure noise: the network is asked, and its
    answer converted, at `lowest`, where it was trained and where eps still determines x0 (not so at alpha_bar = 0).
    Parts of a spectrum that are 0 for every sound are not shown, and 0 in the answer.
    So the answer at alpha_bar = 0 is finite, but it is the network's guess at pure noise: near the (class) mean for x0
    and v, and with the errors of eps magnified 100 times for eps. Closed forms return the mean itself.
    """

    def __init__(
        self,
        model: Model,
        condition: Condition | None = None,
        label: int | Array | None = None,
        *,
        clip: bool = True,
        dtype: torch.dtype | None = None,
        lowest: float = LOWEST,
    ):
        if model.family != "denoise":
            raise ValueError(f"a network of the family {model.family!r} is no denoiser")
        self.net, self.scale, self.dtype, self.lowest = model.net, model.target_scale, dtype, lowest
        self.device = next(model.net.parameters()).device
        self.counted = None if model.counted is None else model.counted.to(self.device)
        self.condition = None if condition is None else condition.each(lambda t: t.to(self.device))
        self.label = None if label is None else torch.as_tensor(label).reshape(-1).to(self.device, torch.int64)
        if self.label is not None and bool((self.label >= self.net.classes).any()):
            raise ValueError(f"label {int(self.label.max())}: this network knows {self.net.classes} classes, from 0")
        self.range = None
        if clip and model.meta["target"]["kind"] == "image":
            self.range = [self.scale.encode(torch.full((1,), v, device=self.device)) for v in (0.0, 1.0)]

    def __call__(self, x_t: Array, alpha_bar: AlphaBar) -> Array:
        """x_t: [N, ...item], numpy or torch; alpha_bar: float64, one number or one per item. Out: the same kind."""
        start = x_t if isinstance(x_t, torch.Tensor) else tensor(x_t)
        start = start if start.is_floating_point() else start.float()
        level, noise = split(alpha_bar, len(start))
        x = start.detach().to(self.device, wide(self.device) if start.dtype == torch.float64 else torch.float32)
        answer = self._x0(x, level.clamp_min(self.lowest))
        if self.range is not None:
            answer = torch.maximum(torch.minimum(answer, self.range[1].to(x)), self.range[0].to(x))
        clean = (noise == 0).reshape(-1, *[1] * (start.ndim - 1)).to(start.device)
        answer = torch.where(clean, start, answer.to(start))
        return answer if isinstance(x_t, torch.Tensor) else answer.numpy()

    @torch.no_grad()
    def _x0(self, x: torch.Tensor, alpha_bar: torch.Tensor) -> torch.Tensor:
        """The network's x0 at float64 levels [N] on the CPU."""
        rows = len(x)
        condition, label = self.condition, self.label
        if condition is not None:
            condition = condition.each(lambda t: _rows(t, rows, "the condition"))
        if label is not None:
            label = _rows(label, rows, "label")
        half = torch.autocast(self.device.type, self.dtype) if self.dtype else nullcontext()
        x = x if self.counted is None else x * self.counted
        with half:
            output = self.net(x.float(), alpha_bar, condition, label)
        answer = to_x0(self.net.predicts, output, x, alpha_bar)
        return answer if self.counted is None else answer * self.counted


def _rows(bound: torch.Tensor, rows: int, name: str) -> torch.Tensor:
    """Every item of what is bound, repeated in succession to fit `rows` rows."""
    times, rest = divmod(rows, len(bound))
    if rest:
        raise ValueError(f"x_t has {rows} rows, no multiple of the {len(bound)} items of {name}")
    return bound.repeat_interleave(times, 0)


def _levels(alpha_bar: float | torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """a and b as float64 that broadcasts to x, on the device of alpha_bar (so that no device waits)."""
    if isinstance(alpha_bar, torch.Tensor) and alpha_bar.dtype != torch.float64:
        raise TypeError(f"alpha_bar must be float64, not {alpha_bar.dtype}: 1 - alpha_bar loses its digits below it")
    alpha_bar = torch.as_tensor(alpha_bar, dtype=torch.float64).reshape(-1, *[1] * (x.ndim - 1))
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def _as(coefficient: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return coefficient.to(x.device, x.dtype, non_blocking=True)
