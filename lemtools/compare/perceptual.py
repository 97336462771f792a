"""Image similarity that follows structure rather than pixel error: SSIM, MS-SSIM, GMSD. One float64 value an item.

Images are [N,C,H,W], integer or float, with `peak` the range of the data (255 or 1.0). Everything is computed in
float64, one plane at a time and SSIM strip by strip, so memory does not grow with the number of images. Values are
means over one image; the name of a result says its variant, with `rgb` for C = 3 and `grey` for C = 1.
"""

from __future__ import annotations

import numpy as np

from .distortion import paired

# Rows (and columns) filtered by one matrix product. Small, so that the zeros of the band cost little, and below the
# size at which OpenBLAS starts threads: on a busy machine they spin, and made the same sums up to 600 times slower.
_STRIP = 32
_MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli, Bovik 2003, section 3.2
_MS_SIDE = 11 * 2 ** (len(_MS_WEIGHTS) - 1)


def _gauss11() -> np.ndarray:
    taps = np.exp(-(np.arange(-5, 6.0) ** 2) / (2 * 1.5**2))
    return taps / taps.sum()


# name -> (taps of the separable window, factor that makes its variances the wanted ones)
_WINDOWS = {
    "gauss11": (_gauss11(), 1.0),
    "uniform7": (np.full(7, 1 / 7), 49 / 48),
}


def _images(a: np.ndarray, b: np.ndarray, peak: float, side: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    a, b = paired(a, b, peak)
    if a.ndim != 4:
        raise ValueError(f"{what} needs images [N,C,H,W], not shape {a.shape}")
    if min(a.shape[2:]) < side:
        raise ValueError(f"{what} needs images of at least {side} x {side} pixels, not {a.shape[3]} x {a.shape[2]}")
    return a, b


def _band(taps: np.ndarray) -> np.ndarray:
    """[_STRIP+k-1, _STRIP] matrix whose columns are the shifted taps: x @ band is a block's 'valid' correlation."""
    band = np.zeros((_STRIP + len(taps) - 1, _STRIP))
    for i in range(_STRIP):
        band[i : i + len(taps), i] = taps
    return band


def _ssim_means(a: np.ndarray, b: np.ndarray, peak: float, window: str) -> tuple[float, float]:
    """Means over one plane [H,W] of SSIM and of its contrast-structure part (Wang et al. 2004, eq. 13; K1 .01, K2 .03).

    With s = a+b and d = a-b the two factors are
        luminance           1 - 2 E[d]^2 / (E[s]^2 + E[d]^2 + 2 C1)
        contrast-structure  1 - 2 var d  / (var s  + var d  + 2 C2)
    the same numbers, from four filtered maps instead of five and without cancellation where a and b nearly agree.
    """
    taps, unbias = _WINDOWS[window]
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    band, margin = _band(taps), len(taps) - 1
    rows, cols = a.shape[0] - margin, a.shape[1] - margin
    maps = np.empty((4, _STRIP + margin, a.shape[1]))
    tall = np.empty((4, _STRIP, a.shape[1]))
    mean = np.empty((4, _STRIP, cols))
    total_ssim = total_cs = 0.0
    for top in range(0, rows, _STRIP):
        n = min(_STRIP, rows - top)
        s, d, ss, dd = x = maps[:, : n + margin]
        np.add(a[top : top + n + margin], b[top : top + n + margin], out=s, dtype=np.float64)
        np.subtract(a[top : top + n + margin], b[top : top + n + margin], out=d, dtype=np.float64)
        np.multiply(s, s, out=ss)
        np.multiply(d, d, out=dd)
        y, z = tall[:, :n], mean[:, :n]
        for left in range(0, a.shape[1], 4 * _STRIP):
            part = np.s_[..., left : left + 4 * _STRIP]
            np.matmul(band[: n + margin, :n].T, x[part], out=y[part])
        for left in range(0, cols, _STRIP):
            m = min(_STRIP, cols - left)
            np.matmul(y[..., left : left + m + margin], band[: m + margin, :m], out=z[..., left : left + m])
        s, d, ss, dd = z
        s *= s
        d *= d
        ss -= s
        dd -= d
        # d, dd become the two quotients; s, ss their denominators
        s += d
        s += 2 * c1
        d /= s
        ss += dd
        ss += 2 * c2 / unbias
        dd /= ss
        cs = np.multiply(dd, -2, out=dd)
        cs += 1
        total_cs += cs.sum()
        d *= -2
        d += 1
        total_ssim += np.einsum("ij,ij->", d, cs)
    return total_ssim / (rows * cols), total_cs / (rows * cols)


def _halve(x: np.ndarray) -> np.ndarray:
    """Means of the 2 x 2 blocks of a plane, float64; an odd last row or column is dropped."""
    x = x[: x.shape[0] // 2 * 2, : x.shape[1] // 2 * 2]
    out = np.add(x[::2, ::2], x[1::2, ::2], dtype=np.float64)
    out += x[::2, 1::2]
    out += x[1::2, 1::2]
    out *= 0.25
    return out


def _scales(a: np.ndarray, b: np.ndarray, peak: float, window: str, scales: range) -> np.ndarray:
    """[N, scales, 2]: SSIM and its contrast-structure part, means over the channels; at scale i halved i times."""
    found = np.zeros((len(a), len(scales), 2))
    for image_a, image_b, means in zip(a, b, found):
        for plane_a, plane_b in zip(image_a, image_b):
            for scale in range(scales.stop):
                if scale:
                    plane_a, plane_b = _halve(plane_a), _halve(plane_b)
                if scale in scales:
                    part = _ssim_means(plane_a, plane_b, peak, window)
                    means[scale - scales.start] += np.array(part) / len(image_a)
    return found


def _at_full_size(a: np.ndarray, b: np.ndarray, peak: float, window: str, shared: dict | None) -> np.ndarray:
    """`_scales` of scale 0; kept in `shared`, as SSIM and MS-SSIM have it in common."""
    shared = {} if shared is None else shared
    if (key := ("ssim", window)) not in shared:
        shared[key] = _scales(a, b, peak, window, range(1))
    return shared[key]


def ssim(
    a: np.ndarray, b: np.ndarray, *, peak: float, window: str = "gauss11", shared: dict | None = None
) -> np.ndarray:
    """Structural similarity of each image [N], in [-1, 1], 1 when equal. `ssim[gauss11,rgb]`, `ssim[uniform7,rgb]`.

    Wang, Bovik, Sheikh, Simoncelli 2004, K1 = .01, K2 = .03, each channel by itself, then the mean; only where the
    whole window lies inside the image.
    window 'gauss11': the paper's 11 x 11 Gaussian of sigma 1.5, population variances; images of at least 11 x 11.
    (skimage: gaussian_weights=True, sigma=1.5, use_sample_covariance=False.)
    window 'uniform7': 7 x 7 means, sample variances (49/48), skimage's default; images of at least 7 x 7.
    shared: a dict for what the family has in common, of these images only.
    """
    if window not in _WINDOWS:
        raise ValueError(f"unknown SSIM {window!r}: one of {', '.join(_WINDOWS)}")
    a, b = _images(a, b, peak, len(_WINDOWS[window][0]), f"SSIM {window}")
    return _at_full_size(a, b, peak, window, shared)[:, 0, 0]


def ssim_uniform7(a: np.ndarray, b: np.ndarray, *, peak: float) -> np.ndarray:
    """`ssim` of window 'uniform7' [N]. `ssim[uniform7,rgb]`."""
    return ssim(a, b, peak=peak, window="uniform7")


def ms_ssim(a: np.ndarray, b: np.ndarray, *, peak: float, shared: dict | None = None) -> np.ndarray:
    """Multi-scale structural similarity of each image [N], in [0, 1], 1 when equal. `ms_ssim[gauss11,rgb]`.

    Wang, Simoncelli, Bovik 2003: 5 scales (2 x 2 means between them), weights .0448 .2856 .3001 .2363 .1333, the
    window of `ssim`'s gauss11. Each scale's factor is averaged over channels and positions; a negative one counts as 0
    (torchmetrics' normalize='relu'). Images of at least 176 x 176, so that the last scale holds one whole window.
    shared: as of `ssim`.
    """
    a, b = _images(a, b, peak, _MS_SIDE, "MS-SSIM")
    full = _at_full_size(a, b, peak, "gauss11", shared)
    means = np.concatenate((full, _scales(a, b, peak, "gauss11", range(1, len(_MS_WEIGHTS)))), axis=1)
    parts = np.append(means[:, :-1, 1], means[:, -1:, 0], axis=1)
    return np.prod(np.maximum(parts, 0) ** np.array(_MS_WEIGHTS), axis=1)


def _gradient(image: np.ndarray, peak: float) -> np.ndarray:
    """Prewitt gradient magnitude of an image's halved luma on 0..255, zeros outside the image as in GMSD.m."""
    channels, height, width = image.shape
    plane = np.zeros(((height + 1) // 2 + 2, (width + 1) // 2 + 2))
    for channel, weight in zip(image, (0.299, 0.587, 0.114) if channels == 3 else (1.0,)):
        even = np.pad(channel, ((0, height % 2), (0, width % 2)))
        plane[1:-1, 1:-1] += _halve(even) * (weight * 255 / peak / 3)
    across = plane[:, 2:] - plane[:, :-2]
    across = across[:-2] + across[1:-1] + across[2:]
    down = plane[2:] - plane[:-2]
    down = down[:, :-2] + down[:, 1:-1] + down[:, 2:]
    return np.sqrt(across * across + down * down)


def gmsd(a: np.ndarray, b: np.ndarray, *, peak: float) -> np.ndarray:
    """Gradient magnitude similarity deviation of each image [N], 0 when equal, larger is worse. `gmsd`.

    Xue, Zhang, Mou, Bovik 2014, as in the authors' GMSD.m: 2 x 2 means, Prewitt / 3 with zeros outside the image,
    T = 170 on 0..255, sample standard deviation. Colour is taken as the unrounded luma .299 R + .587 G + .114 B, so C
    must be 1 or 3. Images of at least 4 x 4.
    """
    a, b = _images(a, b, peak, 4, "GMSD")
    if a.shape[1] not in (1, 3):
        raise ValueError(f"GMSD needs grey or RGB images, not {a.shape[1]} channels")
    result = np.empty(len(a))
    for i, (image_a, image_b) in enumerate(zip(a, b)):
        ga, gb = _gradient(image_a, peak), _gradient(image_b, peak)
        result[i] = np.std((2 * ga * gb + 170) / (ga * ga + gb * gb + 170), ddof=1)
    return result
