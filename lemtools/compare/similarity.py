"""Whether two sets of embeddings agree once what is common to a set is removed: centred cosine and linear CKA.

Sets are [N,D] or [N,L,D] (an item is then one vector of L D numbers), float64 sums in blocks.
"""

from __future__ import annotations

import numpy as np

from .distortion import cosine, items_paired, paired
from .spectral import Spectrum
from .summary import Whole


def cosine_centred(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine similarity [N] of each item, the mean of the originals removed from both sets. `cosine[centred]`.

    Embeddings often share one large direction, which alone makes a raw cosine high. One mean for both sets, so that an
    offset of the recalled still counts. ValueError: fewer than 2 items, a value that is not finite, or an item that is
    that mean and so has no direction.
    """
    a, b = paired(a, b)
    one, other = Spectrum(a, "original"), Spectrum(b, "recalled")
    other.mean = one.mean
    values = []
    for x, y in zip(one.rows(), other.rows()):
        for rows, of in (x, "original"), (y, "recalled"):
            short = np.linalg.norm(rows, axis=1) <= one.least
            if short.any():
                at = sum(map(len, values)) + int(np.argmax(short))
                raise ValueError(f"{of} embedding {at} is the originals' mean: without that it has no direction")
        values.append(cosine(x, y))
    return np.concatenate(values)


def cka(a: np.ndarray, b: np.ndarray) -> Whole:
    """Linear centred kernel alignment of two sets, debiased, with the biased one beside. `cka[linear,debiased]`.

    HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) of the Gram matrices K, L of the sets (Kornblith et al. 2019). Debiased:
    with the unbiased estimator of HSIC, eq. 5 of Song et al. 2012, as Nguyen et al. 2021 use it, over all items at
    once; 0 on average for independent sets, and it may be below. Biased: the plain one, about D / (N + D) for
    independent sets of D isotropic dimensions each; widths may differ. nan where a set is one point.
    A few strong directions decide it; it does not see the rest. ValueError: fewer than 4 items, or a value that is not finite.
    """
    a, b = items_paired(a, b)
    if len(a) < 4:
        raise ValueError(f"needs at least 4 items, not {len(a)}")
    one, other = Spectrum(a, "original"), Spectrum(b, "recalled")
    # All by sums over dimensions where N > D: |X'Y|^2 = tr(K L). The centred K has row sums 0, so that without its
    # diagonal they are -|x_i|^2, and eq. 5 reduces to the squared lengths.
    n = len(a)
    energy = [np.concatenate([np.einsum("ij,ij->i", x, x) for x in s.rows()]) for s in (one, other)]
    if any(e.mean() <= s.least**2 for e, s in zip(energy, (one, other))):
        return Whole(np.nan, np.nan)
    scale = [e.mean() for e in energy]
    energy = [e / s for e, s in zip(energy, scale)]
    whole, fair = {}, {}
    for i, j in (0, 0), (1, 1), (0, 1):
        whole[i, j] = _inner((one, other)[i], (one, other)[j]) / scale[i] / scale[j]
        both = energy[i] @ energy[j]
        total = energy[i].sum() * energy[j].sum()
        fair[i, j] = whole[i, j] - both * n / (n - 2) + total / ((n - 1) * (n - 2))
    return Whole(*(_ratio(h[0, 1], h[0, 0], h[1, 1]) for h in (fair, whole)))


def _inner(x: Spectrum, y: Spectrum) -> float:
    """tr(K L) of the Gram matrices of two centred sets, by whichever of [D, D] and [N, N] is the smaller."""
    if x.n > x.dim:
        cross = sum(p.T @ q for p, q in zip(x.rows(), y.rows()))
        return float(np.vdot(cross, cross))
    return float(np.vdot(*(sum(p @ p.T for p in s.columns()) for s in (x, y))))


def _ratio(xy: float, xx: float, yy: float) -> float:
    return float(xy / np.sqrt(xx * yy)) if xx > 0 and yy > 0 else np.nan
