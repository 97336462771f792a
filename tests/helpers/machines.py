"""The machines by brute force, in float64."""

import numpy as np


def window(image: np.ndarray, row: int, col: int, size: int, circular: bool) -> np.ndarray:
    """The size x size window of [C, H, W] around a pixel, zero-extended or circular."""
    d = size // 2
    ext = np.pad(image, ((0, 0), (d, d), (d, d)), mode="wrap" if circular else "constant")
    return ext[:, row : row + size, col : col + size]


def kind(c: int, length: int, size: int):
    """Class of a coordinate: interior, or its place at an edge; where the patch is as large as the axis, itself."""
    d = size // 2
    return c if size >= length or c < d or length - 1 - c < d else "interior"


def windows(image: np.ndarray, size: int, circular: bool) -> np.ndarray:
    """The windows around all pixels of [C, H, W]: [H, W, C, size, size]."""
    _, height, width = image.shape
    rows = [[window(image, r, c, size, circular) for c in range(width)] for r in range(height)]
    return np.array(rows)


def brute(
    machine: str, bank: np.ndarray, x: np.ndarray, alpha_bar: float, size: int, valid: bool = False
) -> np.ndarray:
    """x0_hat of one x_t [C, H, W] by the definition; bank [N, C, H, W] in [-1, 1]."""
    channels, height, width = x.shape
    places = [(r, c) for r in range(height) for c in range(width)]
    circular, d, out = machine == "els", size // 2, np.zeros_like(x)
    queries, patches = windows(x, size, circular), np.stack([windows(y, size, circular) for y in bank])
    for r, c in places:
        if machine == "ls":
            seen = [(r, c)]
        elif machine == "els":
            seen = [(s, t) for s, t in places if not valid or (d <= s < height - d and d <= t < width - d)]
        else:
            seen = [
                (s, t)
                for s, t in places
                if kind(s, height, size) == kind(r, height, size) and kind(t, width, size) == kind(c, width, size)
            ]
        rows, columns = zip(*seen)
        keys = patches[:, rows, columns].reshape(-1, channels, size, size)
        values = bank[:, :, rows, columns].swapaxes(1, 2).reshape(-1, channels)
        logits = -((queries[r, c] - np.sqrt(alpha_bar) * keys) ** 2).sum((1, 2, 3)) / (2 * (1 - alpha_bar))
        w = np.exp(logits - logits.max())
        out[:, r, c] = w @ values / w.sum()
    return out
