"""The denoiser contract in types: the call, its coordinates, its noise level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, overload

import numpy as np
import torch

Array = np.ndarray | torch.Tensor
Some = TypeVar("Some", np.ndarray, torch.Tensor)  # the same kind of array out as in
AlphaBar = float | np.ndarray | torch.Tensor


class Denoiser(Protocol):
    """``(x_t, alpha_bar) -> E[x_0 | x_t]``; see the package docstring."""

    scale: Scale

    def __call__(self, x_t: Some, alpha_bar: AlphaBar) -> Some: ...


@dataclass(frozen=True, eq=False)
class Scale:
    """Affine map between signal values v and a denoiser's coordinates x.

        encode: x = ((v - offset) @ basis) * gain        decode: v = (x / gain) @ basis.T + offset

    offset: number or array of the item's shape. gain: number or array of the coordinates' shape, non-zero.
    basis: None, or [D, R] with orthonormal columns (principal axes), for items of shape [D].
    uint8 values stand for v / 255, as in a ``Signal``. The default is the identity.
    """

    offset: float | Array = 0.0
    gain: float | Array = 1.0
    basis: Array | None = None

    @classmethod
    def image(cls) -> Scale:
        """Images: v in [0, 1] to 2v - 1 in [-1, 1]."""
        return cls(offset=0.5, gain=2.0)

    @classmethod
    def centred(cls, mean: Array, std: float | Array = 1.0) -> Scale:
        """Remove the mean and divide by a standard deviation (one number, or one per element)."""
        return cls(offset=mean, gain=1.0 / std)

    @classmethod
    def whitened(cls, mean: Array, eigenvalues: Array, eigenvectors: Array) -> Scale:
        """Unit variance along principal axes: eigenvalues [R] > 0, eigenvectors [D, R] of the covariance."""
        return cls(offset=mean, gain=eigenvalues**-0.5, basis=eigenvectors)

    def encode(self, v: Some) -> Some:
        """Signal values [..., item] to coordinates; float in, same dtype out; uint8 gives float32."""
        if v.dtype in (np.uint8, torch.uint8):
            v = v.astype(np.float32) / np.float32(255) if isinstance(v, np.ndarray) else v.float() / 255
        x = v if self._is(self.offset, 0) else v - _like(self.offset, v)
        if self.basis is not None:
            x = x @ _like(self.basis, v)
        return x if self._is(self.gain, 1) else x * _like(self.gain, v)

    @staticmethod
    def _is(value: float | Array, number: float) -> bool:
        """Spares a tile of a large store two passes over it."""
        return isinstance(value, (int, float)) and value == number

    def decode(self, x: Some) -> Some:
        """Coordinates to signal values, the inverse of ``encode`` on the span of the basis; no clamping."""
        v = x / _like(self.gain, x)
        if self.basis is not None:
            v = v @ _like(self.basis, x).T
        return v + _like(self.offset, x)


def _like(value: float | Array, x: Array) -> Any:
    """``value`` as the same kind of array as ``x``, in its dtype and on its device."""
    if isinstance(value, (int, float)):
        return value
    if isinstance(x, torch.Tensor):
        return torch.as_tensor(value).to(x)
    return np.asarray(value, dtype=x.dtype)


def wide(device: torch.device) -> torch.dtype:
    """float64, or float32 where the device has no float64 (MPS)."""
    return torch.float32 if device.type == "mps" else torch.float64


def split(alpha_bar: AlphaBar, items: int) -> tuple[torch.Tensor, torch.Tensor]:
    """alpha_bar as (alpha_bar, 1 - alpha_bar), each [items] float64 on the CPU.

    Takes one number, or one per item in any shape with ``items`` elements. Raises TypeError for an array that is not
    float64 (1 - alpha_bar would be lost already) and ValueError for another count or a value outside [0, 1].
    """
    if not isinstance(alpha_bar, (int, float)) and alpha_bar.dtype not in (np.float64, torch.float64):
        raise TypeError(f"alpha_bar must be float64, not {alpha_bar.dtype}: 1 - alpha_bar loses its digits below it")
    value = torch.as_tensor(alpha_bar, dtype=torch.float64).detach().cpu().reshape(-1)
    if value.numel() not in (1, items):
        raise ValueError(f"alpha_bar has {value.numel()} values for {items} items: give one number or one per item")
    if not bool(((value >= 0) & (value <= 1)).all()):
        raise ValueError("alpha_bar must lie in [0, 1]")
    value = value.expand(items)
    return value, 1.0 - value


def tensor(x: float | Array) -> torch.Tensor:
    """Any array as a tensor on the CPU. Read-only numpy memory (a batch from a pipe) is copied: torch warns of it."""
    if isinstance(x, torch.Tensor):
        return x.detach().cpu()
    x = np.asarray(x)
    return torch.from_numpy(x if x.flags.writeable and min(x.strides, default=0) >= 0 else x.copy())


def flat(x: Array, dim: int, name: str = "x") -> torch.Tensor:
    """[N, ...] to float64 [N, dim] on the CPU; uint8 stands for v / 255. Raises ValueError on another size."""
    t = tensor(x)
    t = t.double() / 255 if t.dtype == torch.uint8 else t.double()
    if t.ndim < 2 or t.shape[1:].numel() != dim:
        raise ValueError(f"{name} has shape {tuple(t.shape)}: expected [N, ...] with {dim} elements an item")
    return t.reshape(t.shape[0], dim)


@overload
def like(result: torch.Tensor, x: np.ndarray, shape: Sequence[int] | None = None) -> np.ndarray: ...


@overload
def like(result: torch.Tensor, x: torch.Tensor, shape: Sequence[int] | None = None) -> torch.Tensor: ...


def like(result: torch.Tensor, x: Array, shape: Sequence[int] | None = None) -> Array:
    """``result`` in the kind of array, float dtype and device of ``x``, reshaped to ``shape`` (default: that of x)."""
    result = result.reshape(tuple(x.shape) if shape is None else tuple(shape))
    if isinstance(x, torch.Tensor):
        return result.to(device=x.device, dtype=x.dtype if x.is_floating_point() else torch.float32)
    return result.cpu().numpy().astype(x.dtype if np.issubdtype(x.dtype, np.floating) else np.float32, copy=False)


def per_item(value: float | Array, items: int, item: tuple[int, ...], name: str) -> torch.Tensor:
    """A mask or a variance as float64 [N or 1, D] on the CPU, D = prod(item).

    Takes one number, [N], [N or 1, D], or anything that broadcasts to [N or 1, *item] ([N, 1, H, W] for images).
    Raises ValueError for another shape or a negative or non-finite value.
    """
    t = tensor(value).double()
    dim = int(np.prod(item))
    rows = t.shape[0] if t.ndim else 1
    if t.ndim < 2:
        t = t.reshape(rows, *[1] * len(item))
    elif t.ndim == 2 and t.shape[1] == dim:
        t = t.reshape(rows, *item)
    try:
        if rows not in (1, items):
            raise RuntimeError
        t = t.broadcast_to((rows, *item)).reshape(rows, dim)
    except RuntimeError:
        raise ValueError(f"{name} of shape {tuple(t.shape)} does not fit {items} items of shape {item}") from None
    if not bool((torch.isfinite(t) & (t >= 0)).all()):
        raise ValueError(f"{name} must be finite and not negative")
    return t
