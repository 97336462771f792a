"""The metrics of lem-compare, by the names a user writes.

A metric is one function in one of this folder's files and one line in `METRICS`. One that is `of_set` is given all
items at once, and answers with values [N], with a pair (values [N], others beside them [N]), or with a `summary.Whole`
where the set has one number. What stands beside, as a floor, which the originals themselves get, becomes a line of its
own.
"""

import re
from dataclasses import dataclass

from ..signal import LemError

ALL = ("image", "audio", "spectrum", "embedding", "tokens")
REAL = ("image", "audio", "spectrum", "embedding")
VECTORS = ("embedding",)


@dataclass(frozen=True)
class Metric:
    """How a metric is called, for whom it is, and whether more is better.

    name: as printed; the variant stands in brackets, and {of} for what `of` says of its first line and of the one
    beside it. family: the function in this room, 'module.function'. of_set: it needs all items at once. peak: it needs
    the range of the data. side: the least side of an image it can take. where: it can leave elements out. train: '' or
    whether it 'uses' or 'needs' the training items. spectral: it takes the `spectra` of both sets.
    """

    name: str
    kinds: tuple[str, ...]
    unit: str
    better: str
    family: str
    of_set: bool = False
    peak: bool = False
    side: int = 1
    where: bool = False
    train: str = ""
    spectral: bool = False
    of: tuple[str, str] = ("", "_floor")


def _described(name: str, family: str) -> Metric:
    """A metric that describes one set of embeddings: it has a line for the recalled and one for the originals."""
    sides = ("recalled", "original")
    return Metric(name, VECTORS, "", "", family, of_set=True, spectral=family.startswith("spectral."), of=sides)


METRICS = {
    "mse": Metric("mse", REAL, "", "lower", "distortion.mse", where=True),
    "mae": Metric("mae", REAL, "", "lower", "distortion.mae", where=True),
    "max-abs": Metric("max_abs", REAL, "", "lower", "distortion.max_abs", where=True),
    "psnr": Metric("psnr", REAL, "dB", "higher", "distortion.psnr", peak=True, where=True),
    "ssim": Metric("ssim[gauss11,{colour}]", ("image",), "", "higher", "ssim.gauss11", peak=True, side=11),
    "ssim-uniform7": Metric("ssim[uniform7,{colour}]", ("image",), "", "higher", "ssim.uniform7", peak=True, side=7),
    "ms-ssim": Metric("ms_ssim[gauss11,{colour}]", ("image",), "", "higher", "ssim.ms", peak=True, side=176),
    "gmsd": Metric("gmsd", ("image",), "", "lower", "perceptual.gmsd", peak=True, side=4),
    "snr": Metric("snr", ("audio",), "dB", "higher", "sound.snr"),
    "si-sdr": Metric("si_sdr", ("audio",), "dB", "higher", "sound.si_sdr"),
    "lsd": Metric("lsd[hann1024,hop256]", ("audio",), "dB", "lower", "sound.log_spectral_distance"),
    "nmse": Metric("nmse", REAL, "", "lower", "distortion.nmse"),
    "sqnr": Metric("sqnr", ("spectrum", "embedding"), "dB", "higher", "distortion.sqnr"),
    "cosine": Metric("cosine", REAL, "", "higher", "distortion.cosine"),
    "cosine-centred": Metric("cosine[centred]", VECTORS, "", "higher", "similarity.cosine_centred", of_set=True),
    "mutual-knn@10": Metric("mutual_knn[k{k}]", REAL, "", "higher", "geometry.mutual_knn", of_set=True),
    "mutual-knn-cosine@10": Metric(
        "mutual_knn[cosine,k{k}]", VECTORS, "", "higher", "geometry.mutual_knn_cosine", of_set=True
    ),
    "recall@1": Metric("recall@{k}", REAL, "", "higher", "geometry.recall_at_k", of_set=True),
    "recall-cosine@1": Metric("recall@{k}[cosine]", VECTORS, "", "higher", "geometry.recall_cosine", of_set=True),
    "cka": Metric("cka[linear,{of}]", VECTORS, "", "higher", "similarity.cka", True, of=("debiased", "biased")),
    "rankme": _described("rankme[{of}]", "spectral.rankme"),
    "effective-rank": _described("effective_rank[{of},eigenvalues]", "spectral.effective_rank"),
    "participation-ratio": _described("participation_ratio[{of}]", "spectral.participation_ratio"),
    "alpha-req@100": _described("alpha_req[{of},{k}]", "spectral.alpha_req"),
    "condition": _described("condition[{of}]", "spectral.condition"),
    "lempel-ziv": _described("lz76[{of},signs]", "complexity.lempel_ziv"),
    "frechet-pca@64": Metric(
        "frechet{of}[pca{k}]", REAL, "", "lower", "distribution.frechet_pca", of_set=True, train="uses"
    ),
    "frechet-patch@8": Metric(
        "frechet{of}[patch{k}]", ("image",), "", "lower", "distribution.frechet_patch", of_set=True
    ),
    "nearest": Metric("nearest{of}", REAL, "", "lower", "training.nearest", of_set=True, train="needs"),
    "nearest-patch@8": Metric(
        "nearest{of}[patch{k}]", ("image",), "", "lower", "training.nearest_patch", of_set=True, train="needs"
    ),
    "memorised": Metric("memorised{of}", REAL, "", "lower", "training.memorised", of_set=True, train="needs"),
    "mosaic@8": Metric("mosaic{of}[patch{k}]", ("image",), "", "lower", "training.mosaic", of_set=True, train="needs"),
    "accuracy": Metric("accuracy", ("tokens",), "", "higher", "accuracy"),
    "bits": Metric("bits_per_element", ALL, "bit", "lower", "bits"),
}
# what is measured where nothing is asked for
QUICK = {"image": ("mse", "psnr", "ssim"), "audio": ("snr", "si-sdr", "lsd"), "tokens": ("accuracy",)}
# a word for many: all that look at one item at a time, or those that embeddings are judged by
GROUPS = {
    "all": [key for key, m in METRICS.items() if not m.of_set and key != "bits"],
    "geometry": [
        key
        for key, m in METRICS.items()
        if key in ("nmse", "sqnr", "cosine") or (m.of_set and "embedding" in m.kinds and not m.train)
    ],
}


def named(text: str) -> tuple[str, int | None]:
    """(key of METRICS, k) of a metric as a user writes it: 'psnr', 'recall@5'. LemError for an unknown one."""
    base, at, k = text.partition("@")
    for key in METRICS:
        stem, has_k, default = key.partition("@")
        if base == stem and (not at or has_k) and re.fullmatch(r"\d*", k):
            k = int(k or default or 0)
            if has_k and k < 1:
                break
            return key, k or None
    from difflib import get_close_matches

    near = get_close_matches(base, [key.partition("@")[0] for key in (*METRICS, *GROUPS)], n=3, cutoff=0.5)
    hint = f"near it: {', '.join(near)}" if near else "lem-compare --help lists them"
    raise LemError(f"no metric {text!r}; {hint}")
