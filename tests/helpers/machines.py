"""The machines by brute force, in float64."""

import numpy as np

RULES = {"ls": ("ls", "ls"), "els": ("els", "els"), "bbels": ("bbels", "bbels")}


def sides(size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def extended(image: np.ndarray, size, circular) -> np.ndarray:
    """[..., H, W] with what windows see beyond the border: zeros, or the other end. circular: of both axes, or of each."""
    circular = (circular, circular) if isinstance(circular, bool) else circular
    for axis, side, turns in zip((-2, -1), sides(size), circular):
        places = np.arange(-(side // 2), image.shape[axis] + side // 2)
        wide = image.take(places % image.shape[axis], axis)
        there = np.array((places >= 0) & (places < image.shape[axis])) | turns
        image = wide * np.expand_dims(there, -1) if axis == -2 else wide * there
    return image


def window(image: np.ndarray, row: int, col: int, size, circular) -> np.ndarray:
    """The window of [C, H, W] around a pixel, zero-extended or circular."""
    high, wide = sides(size)
    return extended(image, size, circular)[:, row : row + high, col : col + wide]


def kind(c: int, length: int, size: int):
    """Class of a coordinate: interior, or its place at an edge; where the patch is as large as the axis, itself."""
    d = size // 2
    return c if size >= length or c < d or length - 1 - c < d else "interior"


def alike(rule: str, one: int, other: int, length: int, size: int, valid: bool = False) -> bool:
    """Whether a pixel at `one` sees keys at `other`, along an axis of that rule."""
    if rule == "ls":
        return one == other
    if rule == "els":
        return not valid or size // 2 <= other < length - size // 2
    return kind(one, length, size) == kind(other, length, size)


def windows(image: np.ndarray, size, circular) -> np.ndarray:
    """The windows around all pixels of [..., C, H, W]: [..., H, W, C, high, wide]."""
    found = np.lib.stride_tricks.sliding_window_view(extended(image, size, circular), sides(size), (-2, -1))
    return np.moveaxis(found, -5, -3)


def admissible(rules, height: int, width: int, size, row: int, col: int, valid: bool = False) -> list[tuple[int, int]]:
    """The places of keys that a pixel sees."""
    high, wide = sides(size)
    return [
        (s, t)
        for s in range(height)
        for t in range(width)
        if alike(rules[0], row, s, height, high, valid) and alike(rules[1], col, t, width, wide, valid)
    ]


def brute(machine, bank: np.ndarray, x: np.ndarray, alpha_bar: float, size, valid: bool = False) -> np.ndarray:
    """x0_hat of one x_t [C, H, W] by the definition; bank [N, C, H, W] in coordinates. machine: a rule, or one an axis."""
    channels, height, width = x.shape
    rules = RULES.get(machine, machine)
    circular, out = tuple(rule == "els" for rule in rules), np.zeros_like(x)
    queries, patches = windows(x, size, circular), windows(bank, size, circular)
    for r, c in np.ndindex(height, width):
        rows, columns = zip(*admissible(rules, height, width, size, r, c, valid))
        keys = patches[:, rows, columns].reshape(-1, channels, *sides(size))
        values = bank[:, :, rows, columns].swapaxes(1, 2).reshape(-1, channels)
        logits = -((queries[r, c] - np.sqrt(alpha_bar) * keys) ** 2).sum((1, 2, 3)) / (2 * (1 - alpha_bar))
        w = np.exp(logits - logits.max())
        out[:, r, c] = w @ values / w.sum()
    return out


def least_squares(rules, bank: np.ndarray, x: np.ndarray, alpha_bar: float, size) -> np.ndarray:
    """x0_hat of one x_t [C, H, W] by the best linear map of the noisy window, and its intercept, for each pixel by itself.

    The mean squared error over the noise is that without it plus (1 - alpha_bar) |weights|^2: rows of a least squares.
    """
    channels, height, width = x.shape
    circular, out = tuple(rule == "els" for rule in rules), np.zeros_like(x)
    queries, patches = windows(x, size, circular), windows(bank, size, circular)
    for r, c in np.ndindex(height, width):
        rows, columns = zip(*admissible(rules, height, width, size, r, c))
        keys = np.sqrt(alpha_bar) * patches[:, rows, columns].reshape(len(bank) * len(rows), -1)
        values = bank[:, :, rows, columns].swapaxes(1, 2).reshape(-1, channels)
        ridge = np.sqrt(len(keys) * (1 - alpha_bar)) * np.eye(keys.shape[1])
        design = np.vstack([np.hstack([keys, np.ones((len(keys), 1))]), np.hstack([ridge, np.zeros((len(ridge), 1))])])
        truth = np.vstack([values, np.zeros((len(ridge), channels))])
        weights = np.linalg.lstsq(design, truth, rcond=None)[0]
        out[:, r, c] = np.append(queries[r, c].ravel(), 1) @ weights
    return out
