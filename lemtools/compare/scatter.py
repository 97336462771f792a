"""A picture of two sets of embeddings: their points in a plane, and their spectra. matplotlib draws it."""

from __future__ import annotations

from typing import IO

import numpy as np

from ..signal import LemError
from .spectral import Spectra

POINTS = 3000  # of each set; of more an even choice is drawn
_BLUE, _ORANGE = "#2152a4", "#d55e00"


def needed(view: str) -> None:
    """LemError where what draws a view is not installed."""
    from importlib.util import find_spec

    for module, extra in {"pca": {"matplotlib": "plot"}, "umap": {"matplotlib": "umap", "umap": "umap"}}[view].items():
        if find_spec(module) is None:
            hint = f"pip install 'lemtools[{extra}]', or draw --plot sheet:FILE"
            raise LemError(f"--plot {view} needs {module}: {hint}")


def plane(spectra: Spectra, view: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, str]:
    """(originals [m, 2], recalled [m, 2], what the axes are) of at most POINTS items, the same of both sets.

    pca: coordinates on the two principal axes of the originals, about their mean. umap: UMAP (McInnes et al. 2018) of
    both sets together, with its own settings. Its picture is not evidence: distances, sizes and gaps of its clouds mean
    little.
    """
    one, _other = spectra
    step = -(-one.n // POINTS)
    sets = [np.asarray(s.x[::step], np.float64) - one.mean for s in spectra]
    if view == "pca":
        axes = one.axes(min(2, one.dim))
        a, b = (np.pad(x @ axes, ((0, 0), (0, 2 - axes.shape[1]))) for x in sets)
        share = np.pad(one.values**2 / max((one.values**2).sum(), np.finfo(float).tiny), (0, 2))
        return a, b, "principal axes of the originals: {:.1%} and {:.1%} of their variance".format(*share[:2])
    import warnings

    from umap import UMAP

    both = np.concatenate(sets).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads, which a seed excludes
        points = UMAP(random_state=seed, n_neighbors=min(15, len(both) - 1)).fit_transform(both)
    return *np.split(np.asarray(points), 2), "UMAP of both sets: not evidence"


def draw(file: IO[bytes], spectra: Spectra, view: str = "pca") -> None:
    """Write the picture as PNG: points of both sets to the left, eigenvalues of both covariances to the right.

    The scatter has equal scales on both axes, but for umap, whose axes have none. Both spectra are in the square of the
    values' unit, on logarithmic axes, so that a power law is a straight line; eigenvalues of 0 are left out.
    """
    needed(view)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    a, b, caption = plane(spectra, view)
    figure = Figure(figsize=(11, 5), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    size = float(np.clip(3000 / len(a), 2, 20))
    for points, colour, name in (a, _BLUE, "original"), (b, _ORANGE, "recalled"):
        left.scatter(*points.T, s=size, c=colour, alpha=0.5, linewidths=0, label=name, rasterized=True)
    if view == "pca":
        left.set_aspect("equal", "datalim")
    left.set_title(f"{len(a)} of {spectra[0].n} items", fontsize=10)
    left.set_xlabel(caption)
    left.legend(markerscale=2)
    for spectrum, colour, name in zip(spectra, (_BLUE, _ORANGE), ("original", "recalled")):
        values = spectrum.eigenvalues[spectrum.eigenvalues > 0]
        right.plot(np.arange(1, len(values) + 1), values, ".-", color=colour, label=name, markersize=4, linewidth=1)
    scale = "log" if any(s.values.any() for s in spectra) else "linear"  # of points without any spread
    right.set(xscale=scale, yscale=scale, xlabel="i", ylabel="eigenvalue i of the covariance")
    right.set_title(f"spectrum: {spectra[0].n} items, {spectra[0].dim} dimensions", fontsize=10)
    right.legend()
    FigureCanvasAgg(figure).print_png(file)
